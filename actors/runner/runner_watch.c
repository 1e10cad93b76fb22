/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/runner.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define IDLE_LOOKS 2u /* a command may be on its way to the thread at the first */

static void send_heartbeat(struct runner *runner, const struct engine_beat *beat)
{
    struct message signal;
    if (message_init(&signal, MESSAGE_SIGNAL, SIGNAL_HEARTBEAT) != STATUS_OK)
        return;
    struct heartbeat *body = signal.body;
    body->instance_id = runner->settings->instance_id;
    body->generation = runner->settings->generation;
    body->rank = runner->settings->rank;
    body->entered = beat->entered;
    body->finished = beat->finished;
    session_send(&runner->session, &signal, runner->outbox);
    message_fini(&signal);
}

void runner_watch(struct runner *runner)
{
    const bool was_idle = !runner->is_watched || runner->idle_looks > 0;
    runner->idle_looks = 0;
    if (was_idle)
        send_heartbeat(runner, &runner->beat); /* whoever is to hold back does so from now on */
    if (runner->is_watched)
        return;
    runner->is_watched = true;
    runner->still_looks = 0;
    runner->look_at_ms = runner->input->now_ms + RUNNER_LOOK_MS;
}

void runner_watch_tick(struct runner *runner)
{
    if (!runner->is_watched || runner->exit_at_ms != 0)
        return;
    if (runner->input->now_ms >= runner->look_at_ms) {
        runner->look_at_ms = runner->input->now_ms + RUNNER_LOOK_MS;
        outbox_effect(runner->outbox, 0, EFFECT_ENGINE_LOOK, NULL, NULL);
    }
    outbox_wake(runner->outbox, runner->look_at_ms);
}

/* Looks without progress that end the rank.  Looks are counted, not time: a machine that slept
 * has not waited. */
static uint64_t looks_max(const struct runner *runner)
{
    const struct instance_record *instance = runner_instance(runner);
    uint64_t limit_ms = RUNNER_STILL_MS;
    if (instance && runner->status >= RANK_JOINED && runner->status < RANK_LOADED)
        limit_ms += instance->ranks.items[runner->settings->rank].weight_bytes /
                    RUNNER_LOAD_BYTES_PER_MS;
    return limit_ms / RUNNER_LOOK_MS;
}

/* Leases that are shorter than that of the thread's other work. */
static bool has_short_lease(struct runner *runner, const struct engine_beat *before,
                            const struct engine_beat *beat, struct reason *reason_out)
{
    const bool is_stalled = beat->file[0] != '\0' && beat->reads == before->reads &&
                            strcmp(beat->file, before->file) == 0;
    const bool is_stuck = beat->is_turning && before->is_turning && beat->turns == before->turns;
    runner->still_reads = is_stalled ? runner->still_reads + 1 : 0;
    runner->still_turns = is_stuck ? runner->still_turns + 1 : 0;
    if (runner->still_reads >= RUNNER_READ_STILL_MS / RUNNER_LOOK_MS) {
        (void)refuse(reason_out, STATUS_TIMED_OUT,
                     "%.120s on this node's disk gave nothing for %u ms; see whether the disk "
                     "works", beat->file, RUNNER_READ_STILL_MS);
        return false;
    }
    if (runner->still_turns >= RUNNER_TURN_STILL_MS / RUNNER_LOOK_MS) {
        (void)refuse(reason_out, STATUS_TIMED_OUT,
                     "the engine carried no weights for %u ms while it should; see what else this "
                     "machine does", RUNNER_TURN_STILL_MS);
        return false;
    }
    return true;
}

bool runner_watch_take(struct runner *runner, const struct engine_beat *beat,
                       struct reason *reason_out)
{
    const struct engine_beat before = runner->beat;
    runner->beat = *beat;
    if (!beat->is_busy) {
        runner->still_looks = 0;
        runner->still_reads = 0;
        runner->still_turns = 0;
        runner->is_watched = ++runner->idle_looks < IDLE_LOOKS;
        return true;
    }
    runner->idle_looks = 0;
    send_heartbeat(runner, beat);
    if (!has_short_lease(runner, &before, beat, reason_out))
        return false;
    if (!before.is_busy || beat->is_waiting || beat->marks != before.marks ||
        beat->entered != before.entered || beat->finished != before.finished) {
        runner->still_looks = 0;
        return true;
    }
    if (++runner->still_looks < looks_max(runner))
        return true;
    if (beat->entered != beat->finished)
        (void)refuse(reason_out, STATUS_TIMED_OUT,
                     "the engine waits for its siblings in collective %" PRIu64
                     " (finished %" PRIu64 ") for %" PRIu64 " s",
                     beat->entered, beat->finished, looks_max(runner) * RUNNER_LOOK_MS / 1000u);
    else
        (void)refuse(reason_out, STATUS_TIMED_OUT,
                     "the engine is stuck in its own work for %" PRIu64 " s (collectives "
                     "entered %" PRIu64 ", finished %" PRIu64 ")",
                     looks_max(runner) * RUNNER_LOOK_MS / 1000u, beat->entered, beat->finished);
    return false;
}
