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
    body->works = runner->works;
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

void runner_watch_hear(struct runner *runner, const struct heartbeat *beat)
{
    if (beat->rank >= RANK_COUNT_MAX || beat->rank == runner->settings->rank ||
        !ID_EQUAL(beat->instance_id, runner->settings->instance_id) ||
        !generation_equal(&beat->generation, &runner->settings->generation))
        return;
    struct sibling_beat *sibling = &runner->sibling_beats[beat->rank];
    runner->has_one_worked = runner->has_one_worked || beat->works != sibling->works;
    *sibling = (struct sibling_beat){
        .entered = beat->entered, .finished = beat->finished, .works = beat->works};
}

/* ---- what moved since the look before; looks are counted, not time: a machine that slept has not
 * waited ---- */

static bool is_in_collective(const struct engine_beat *beat)
{
    return beat->entered != beat->finished;
}

static bool has_worked(const struct engine_beat *before, const struct engine_beat *beat)
{
    return beat->spent_ns != before->spent_ns;
}

/* It ran or was kept from running, rather than wait: who waits for MPI's start asks again and
 * again, but sleeps in between, and runs for a moment each time. */
static bool has_computed(const struct engine_beat *before, const struct engine_beat *beat)
{
    const uint64_t spent_ns = beat->spent_ns - before->spent_ns;
    const uint64_t delayed_ns = beat->delayed_ns - before->delayed_ns;
    const uint64_t runs = beat->runs - before->runs;
    return spent_ns + delayed_ns >= RUNNER_LOOK_MS * UINT64_C(1000000) / 2 &&
           spent_ns >= runs * RUNNER_RUN_NS_MIN;
}

static bool has_counted(const struct engine_beat *before, const struct engine_beat *beat)
{
    return !before->is_busy || beat->is_waiting || beat->marks != before->marks ||
           beat->turns != before->turns ||
           beat->entered != before->entered || beat->finished != before->finished ||
           beat->pieces != before->pieces;
}

/* Where the siblings are, seen from a collective. */
struct meeting {
    bool are_all_in;    /* or beyond it */
    bool is_one_at_work; /* behind, and heard of: its own watch judges it */
    uint32_t last;      /* finished the fewest, */
    uint64_t finished;  /* so many; */
    bool is_one_ahead;  /* of it */
    uint32_t silent;    /* not heard of for some time; RANK_COUNT_MAX: none */
};

static struct meeting meeting_of(const struct runner *runner, const struct engine_beat *beat)
{
    const struct instance_record *instance = runner_instance(runner);
    const uint32_t own = runner->settings->rank;
    struct meeting meeting = {.are_all_in = true, .last = own, .finished = beat->finished,
                              .silent = RANK_COUNT_MAX};
    for (uint32_t rank = 0; instance && rank < instance->ranks.count; rank++) {
        const struct sibling_beat *sibling = &runner->sibling_beats[rank];
        const struct rank_record *record = &instance->ranks.items[rank];
        if (rank == own || (record->is_source && record->status >= RANK_LOADED))
            continue; /* one that has sent all meets nobody any more */
        if (sibling->looks >= RUNNER_SILENT_MS / RUNNER_LOOK_MS)
            meeting.silent = rank;
        if (sibling->entered < beat->entered) {
            meeting.are_all_in = false;
            meeting.is_one_at_work = meeting.is_one_at_work ||
                                     sibling->looks < RUNNER_SIBLING_STILL_MS / RUNNER_LOOK_MS;
        }
        meeting.is_one_ahead = meeting.is_one_ahead || sibling->finished != meeting.finished;
        if (sibling->finished < meeting.finished) {
            meeting.last = rank;
            meeting.finished = sibling->finished;
        }
    }
    return meeting;
}

/* ---- leases ---- */

static bool is_until_ready(const struct runner *runner)
{
    return runner->status < RANK_READY;
}

/* Looks without anything that counts that end the rank; while loading, by its bytes besides. */
static uint64_t looks_max(const struct runner *runner)
{
    const struct instance_record *instance = runner_instance(runner);
    uint64_t limit_ms = RUNNER_STILL_MS;
    if (instance && runner->status >= RANK_JOINED && is_until_ready(runner))
        limit_ms += instance->ranks.items[runner->settings->rank].weight_bytes /
                    RUNNER_LOAD_BYTES_PER_MS;
    return limit_ms / RUNNER_LOOK_MS;
}

/* A file that is read, on this thread or beside it, and weights that are carried. */
static bool holds_stream(struct runner *runner, const struct engine_beat *before,
                         const struct engine_beat *beat, struct reason *reason_out)
{
    const bool is_stalled = beat->file[0] != '\0' && beat->reads == before->reads &&
                            strcmp(beat->file, before->file) == 0 &&
                            (beat->is_turning || !has_worked(before, beat));
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

/* A step that has nothing to count takes processor time, as long as its thread
 * is not held up by what is broken; so does waiting inside MPI, which asks again and again. */
static bool holds_work(struct runner *runner, const struct engine_beat *before,
                       const struct engine_beat *beat, struct reason *reason_out)
{
    const bool is_still = beat->reads == before->reads && !has_counted(before, beat) &&
                          !has_worked(before, beat);
    runner->still_works = is_still ? runner->still_works + 1 : 0;
    if (runner->still_works < RUNNER_WORK_STILL_MS / RUNNER_LOOK_MS)
        return true;
    if (is_in_collective(beat) && beat->entered > 1)
        (void)refuse(reason_out, STATUS_TIMED_OUT,
                     "the engine stood still for %u ms inside collective %" PRIu64 " (finished %"
                     PRIu64 "); see what else this machine does", RUNNER_WORK_STILL_MS,
                     beat->entered, beat->finished);
    else
        (void)refuse(reason_out, STATUS_TIMED_OUT,
                     "the engine stood still for %u ms while it %.40s; see what else this machine "
                     "does and whether its disk works", RUNNER_WORK_STILL_MS,
                     beat->step[0] ? beat->step : "worked on its own");
    return false;
}

/* A collective that every rank has entered passes at once, or a piece of it: what it waits for is
 * the network, or a rank that stopped within.  In the first, MPI's start, ranks compute before they
 * wait; of who is silent nobody knows whether it does. */
static bool holds_meeting(struct runner *runner, const struct engine_beat *before,
                          const struct engine_beat *beat, const struct meeting *meeting,
                          struct reason *reason_out)
{
    const bool is_joining = beat->entered == 1;
    const bool is_still =
        is_in_collective(beat) && meeting->are_all_in && !has_counted(before, beat);
    const bool is_at_work =
        is_joining && (runner->has_one_worked || meeting->silent != RANK_COUNT_MAX);
    const uint64_t bytes = is_joining ? 0 : beat->bytes;
    uint64_t limit_ms = RUNNER_MEETING_STILL_MS + bytes / RUNNER_MEETING_BYTES_PER_MS;
    runner->has_one_worked = false;
    runner->still_joins = is_still && is_joining ? runner->still_joins + 1 : 0;
    runner->still_meetings = is_still && !is_at_work ? runner->still_meetings + 1 : 0;
    if (runner->still_meetings < limit_ms / RUNNER_LOOK_MS) {
        if (runner->still_joins < RUNNER_JOIN_STILL_MS / RUNNER_LOOK_MS)
            return true;
        limit_ms = RUNNER_JOIN_STILL_MS;
    }
    char who[80] = "no rank has finished it";
    if (meeting->silent != RANK_COUNT_MAX)
        (void)snprintf(who, sizeof(who), "rank %" PRIu32 " was not heard for %u ms",
                       meeting->silent, RUNNER_SILENT_MS);
    else if (meeting->is_one_ahead)
        (void)snprintf(who, sizeof(who), "rank %" PRIu32 " has finished the fewest (%" PRIu64 ")",
                       meeting->last, meeting->finished);
    (void)refuse(reason_out, STATUS_TIMED_OUT,
                 "collective %" PRIu64 "%s is not over %" PRIu64 " ms after every rank entered "
                 "it; %s; the network of MPI between the nodes may be cut", beat->entered,
                 is_joining ? ", the start of MPI," : "", limit_ms, who);
    return false;
}

static bool holds_all(struct runner *runner, const struct engine_beat *before,
                      const struct engine_beat *beat, const struct meeting *meeting,
                      struct reason *reason_out)
{
    const bool is_for_sibling = is_in_collective(beat) && meeting->is_one_at_work;
    const uint64_t limit_s = looks_max(runner) * RUNNER_LOOK_MS / 1000u;
    if (has_counted(before, beat) || is_for_sibling) {
        runner->still_looks = 0;
        return true;
    }
    if (++runner->still_looks < looks_max(runner))
        return true;
    if (is_in_collective(beat))
        (void)refuse(reason_out, STATUS_TIMED_OUT,
                     "the engine waits for its siblings in collective %" PRIu64
                     " (finished %" PRIu64 ") for %" PRIu64 " s",
                     beat->entered, beat->finished, limit_s);
    else
        (void)refuse(reason_out, STATUS_TIMED_OUT,
                     "the engine is stuck in its own work for %" PRIu64 " s (collectives "
                     "entered %" PRIu64 ", finished %" PRIu64 ")",
                     limit_s, beat->entered, beat->finished);
    return false;
}

static void rest(struct runner *runner, const struct engine_beat *before,
                 const struct engine_beat *beat)
{
    runner->still_looks = 0;
    runner->still_reads = 0;
    runner->still_turns = 0;
    runner->still_works = 0;
    runner->still_meetings = 0;
    runner->still_joins = 0;
    runner->is_watched = ++runner->idle_looks < IDLE_LOOKS;
    if (before->is_busy && is_until_ready(runner))
        send_heartbeat(runner, beat); /* siblings may still be in what it has left */
}

bool runner_watch_take(struct runner *runner, const struct engine_beat *beat,
                       struct reason *reason_out)
{
    const struct engine_beat before = runner->beat;
    runner->beat = *beat;
    for (uint32_t rank = 0; rank < RANK_COUNT_MAX; rank++)
        runner->sibling_beats[rank].looks++;
    if (!beat->is_busy) {
        rest(runner, &before, beat);
        return true;
    }
    runner->idle_looks = 0;
    if (has_computed(&before, beat)) {
        runner->works++;
        runner->has_one_worked = true;
    }
    send_heartbeat(runner, beat);
    if (runner->failing.text[0] && ++runner->failing_looks >= RUNNER_FAILING_MS / RUNNER_LOOK_MS) {
        *reason_out = runner->failing;
        return false;
    }
    const struct meeting meeting = meeting_of(runner, beat);
    return holds_stream(runner, &before, beat, reason_out) &&
           holds_work(runner, &before, beat, reason_out) &&
           holds_meeting(runner, &before, beat, &meeting, reason_out) &&
           holds_all(runner, &before, beat, &meeting, reason_out);
}
