/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/supervisor/children.h"

#include "protocol/memory.h"
#include "runtime/process.h"

#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { BACKOFF_DOUBLINGS_MAX = 20 };

void say(struct supervisor *supervisor, bool is_error, const char *format, ...)
{
    struct say_request *request = memory_zeroed(1, sizeof(*request));
    if (!request)
        return; /* a line of log is not worth a death */
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(request->text, sizeof(request->text), format, arguments);
    va_end(arguments);
    request->is_error = is_error;
    outbox_effect(supervisor->outbox, 0, SUPERVISOR_SAY, request, memory_free);
}

/* splitmix64 from the random number of the input: one step may need several. */
uint64_t random_next(struct supervisor *supervisor)
{
    supervisor->random += 0x9e3779b97f4a7c15u;
    uint64_t mixed = supervisor->random;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    return mixed ^ (mixed >> 31);
}

struct supervised *child_of_id(struct supervisor *supervisor, uint64_t id)
{
    for (size_t i = 0; i < COUNT_OF(supervisor->children); i++) {
        struct supervised *child = &supervisor->children[i];
        if (child->state != CHILD_NONE && child->state != CHILD_WAITING && child->id == id)
            return child;
    }
    return NULL;
}

static const char *child_name(const struct supervised *child, char text_out[96])
{
    if (child->has_rank)
        (void)snprintf(text_out, 96, "%s of rank %u (%02x%02x%02x%02x, generation %" PRIu64 ")",
                       child->row->name, child->rank, child->instance_id.bytes[0],
                       child->instance_id.bytes[1], child->instance_id.bytes[2],
                       child->instance_id.bytes[3], child->generation.counter);
    else
        (void)snprintf(text_out, 96, "%s", child->row->name);
    return text_out;
}

void child_start(struct supervisor *supervisor, struct supervised *child)
{
    struct spawn_request *request = memory_zeroed(1, sizeof(*request));
    child->id = ++supervisor->last_id;
    child->incarnation = random_next(supervisor) | 1;
    child->was_asked = false;
    child->ready_at_ms = 0;
    child->why.text[0] = '\0';
    child->state = CHILD_STARTING;
    child->due_ms = supervisor->input->now_ms + child->row->ready_ms;
    if (!request) {
        supervisor->outbox->failed = STATUS_NO_MEMORY;
        return;
    }
    *request = (struct spawn_request){.row = child->row,
                                      .incarnation = child->incarnation,
                                      .has_rank = child->has_rank,
                                      .instance_id = child->instance_id,
                                      .generation = child->generation,
                                      .rank = child->rank,
                                      .threads = child->threads};
    memcpy(request->fabric, child->fabric, sizeof(request->fabric));
    memcpy(request->front, child->front, sizeof(request->front));
    memcpy(request->rdma, child->rdma, sizeof(request->rdma));
    memcpy(request->ways, child->ways, sizeof(request->ways));
    outbox_effect(supervisor->outbox, child->id, SUPERVISOR_SPAWN, request, memory_free);
}

void child_end_politely(struct supervisor *supervisor, struct supervised *child)
{
    switch (child->state) {
    case CHILD_NONE:
        return;
    case CHILD_WAITING:
        child->state = CHILD_NONE;
        return;
    case CHILD_STARTING:
    case CHILD_SERVING:
        child->was_asked = true;
        child->state = CHILD_STOPPING;
        child->due_ms = supervisor->input->now_ms + child->row->stop_ms;
        outbox_effect(supervisor->outbox, child->id, SUPERVISOR_TERMINATE, NULL, NULL);
        return;
    case CHILD_STOPPING:
    case CHILD_KILLED:
        child->was_asked = true;
        return;
    }
}

void child_became_ready(struct supervisor *supervisor, struct supervised *child)
{
    if (child->state != CHILD_STARTING)
        return; /* told to end meanwhile */
    child->state = CHILD_SERVING;
    child->has_been_ready = true;
    child->ready_at_ms = supervisor->input->now_ms;
    child->due_ms = supervisor->input->now_ms + supervisor->settings->hang_ms;
}

void child_was_heard(struct supervisor *supervisor, struct supervised *child)
{
    if (child->state == CHILD_SERVING)
        child->due_ms = supervisor->input->now_ms + supervisor->settings->hang_ms;
}

/* ---- how it ended ---- */

static const char *signal_name(int number)
{
    static const struct {
        int number;
        const char *name;
    } names[] = {{SIGILL, "SIGILL"}, {SIGABRT, "SIGABRT"}, {SIGBUS, "SIGBUS"},
                 {SIGFPE, "SIGFPE"}, {SIGKILL, "SIGKILL"}, {SIGSEGV, "SIGSEGV"},
                 {SIGTERM, "SIGTERM"}, {SIGSYS, "SIGSYS"}, {SIGINT, "SIGINT"}};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (names[i].number == number)
            return names[i].name;
    return "a signal";
}

/* Its own last line without what the log puts before it. */
static const char *words_of(const struct supervised *child, const char *words)
{
    size_t length = strlen(child->row->name);
    if (words[0] == '<' && words[1] != '\0' && words[2] == '>')
        words += 3;
    if (strncmp(words, "troupe-", 7) == 0)
        words += 7;
    if (strncmp(words, child->row->name, length) == 0 && strncmp(words + length, ": ", 2) == 0)
        words += length + 2;
    return words;
}

static void sentence_write(const struct supervised *child, const struct child_end *end,
                           const char *words, struct reason *sentence)
{
    words = words_of(child, words);
    if (child->why.text[0])
        *sentence = child->why;
    else if (words[0] && (end->signal == 0 || end->signal == SIGABRT))
        (void)snprintf(sentence->text, sizeof(sentence->text), "%.390s", words);
    else if (end->signal != 0)
        (void)snprintf(sentence->text, sizeof(sentence->text), "it was killed by %s (%d)",
                       signal_name(end->signal), end->signal);
    else
        (void)snprintf(sentence->text, sizeof(sentence->text), "it exited with code %d",
                       end->exit_code);
}

/* Counts this death; the number of those in the window. */
static uint32_t tally_add(struct tally *tally, uint64_t now_ms, uint64_t window_ms)
{
    tally->times_ms[tally->count++ % DEATHS_KEPT_MAX] = now_ms;
    size_t kept = tally->count < DEATHS_KEPT_MAX ? tally->count : DEATHS_KEPT_MAX;
    uint32_t recent = 0;
    for (size_t i = 0; i < kept; i++)
        recent += now_ms - tally->times_ms[i] < window_ms;
    return recent;
}

/* Doubles up to the ceiling; between half and all of it, so that actors that died together do not
 * come back together.  The time it served counts as waited: whoever dies rarely is missed least. */
static uint64_t backoff_next(struct supervisor *supervisor, struct supervised *child)
{
    const struct supervisor_settings *settings = supervisor->settings;
    uint64_t wait_ms = settings->backoff_min_ms;
    for (uint32_t i = 0; i < child->backoffs && wait_ms < settings->backoff_max_ms; i++)
        wait_ms *= 2;
    if (wait_ms > settings->backoff_max_ms)
        wait_ms = settings->backoff_max_ms;
    if (child->backoffs < BACKOFF_DOUBLINGS_MAX)
        child->backoffs++;
    const uint64_t served_ms =
        child->ready_at_ms != 0 ? supervisor->input->now_ms - child->ready_at_ms : 0;
    wait_ms -= random_next(supervisor) % (wait_ms / 2 + 1);
    return wait_ms > served_ms ? wait_ms - served_ms : 0;
}

static void actor_died(struct supervisor *supervisor, struct supervised *child, bool is_hopeless,
                       const char *sentence)
{
    const struct supervisor_settings *settings = supervisor->settings;
    const uint64_t now_ms = supervisor->input->now_ms;
    uint32_t deaths = tally_add(&supervisor->tallies[child - supervisor->children], now_ms,
                                settings->deaths_window_ms);
    if (is_hopeless) {
        supervisor_give_up(supervisor, child, EXIT_CODE_CONFIGURATION, sentence);
        return;
    }
    if (deaths >= settings->deaths_max) {
        struct reason all;
        (void)snprintf(all.text, sizeof(all.text),
                       "it died %u times within %" PRIu64 " s; the last time: %.300s", deaths,
                       settings->deaths_window_ms / 1000, sentence);
        supervisor_give_up(supervisor, child, EXIT_CODE_FAILED, all.text);
        return;
    }
    if (child->ready_at_ms != 0 && now_ms - child->ready_at_ms >= settings->healthy_ms)
        child->backoffs = 0;
    uint64_t wait_ms = backoff_next(supervisor, child);
    child->state = CHILD_WAITING;
    child->due_ms = now_ms + wait_ms;
    say(supervisor, true, "%s ended: %.390s; it starts again in %" PRIu64 " ms (death %u of %u)",
        child->row->name, sentence, wait_ms, deaths, settings->deaths_max);
}

/* It asked for that itself, to read its disk again, which is no death.  Not more than once in the
 * longest backoff, though: else it counts. */
static bool starts_again(struct supervisor *supervisor, struct supervised *child,
                         const struct child_end *end)
{
    const uint64_t now_ms = supervisor->input->now_ms;
    if (end->exit_code != EXIT_CODE_AGAIN || end->signal != 0 || child->has_rank ||
        supervisor->is_stopping ||
        (child->again_ms != 0 && now_ms - child->again_ms < supervisor->settings->backoff_max_ms))
        return false;
    child->again_ms = now_ms;
    child->state = CHILD_WAITING;
    child->due_ms = now_ms;
    say(supervisor, false, "%s starts again, as it asked", child->row->name);
    return true;
}

static void child_is_over(struct supervisor *supervisor, struct supervised *child,
                          const struct child_end *end, bool is_hopeless, const char *sentence)
{
    /* Nobody in the cluster asked a rank to end because its node stops: others must know. */
    const bool was_asked = child->was_asked && !(child->has_rank && supervisor->is_stopping);
    char name[96];
    if (!supervisor->is_stopping || child->has_rank)
        report_ended(supervisor, child, end, was_asked,
                     child->was_asked && supervisor->is_stopping ? "its node is being stopped"
                                                                 : sentence);
    if (child->has_rank) {
        if (!child->was_asked)
            say(supervisor, true, "%s ended: %.390s", child_name(child, name), sentence);
        rank_remember(supervisor, child);
        *child = (struct supervised){.state = CHILD_NONE};
    } else if (supervisor->is_stopping) {
        child->state = CHILD_NONE;
    } else if (!starts_again(supervisor, child, end)) {
        actor_died(supervisor, child, is_hopeless, sentence);
    }
}

void child_has_ended(struct supervisor *supervisor, struct supervised *child,
                     const struct child_end *end, const char *words)
{
    struct reason sentence = {""};
    sentence_write(child, end, words, &sentence);
    child_is_over(supervisor, child, end, end->exit_code == EXIT_CODE_CONFIGURATION,
                  sentence.text);
}

void child_spawn_failed(struct supervisor *supervisor, struct supervised *child,
                        enum status status, const char *sentence)
{
    const struct child_end end = {.exit_code = EXIT_CODE_FAILED};
    child_is_over(supervisor, child, &end,
                  status == STATUS_NOT_FOUND || status == STATUS_NO_PERMISSION, sentence);
}

/* ---- time ---- */

static void child_kill_for(struct supervisor *supervisor, struct supervised *child)
{
    const struct supervisor_settings *settings = supervisor->settings;
    char name[96];
    if (child->state == CHILD_STARTING)
        (void)snprintf(child->why.text, sizeof(child->why.text),
                       "it was not ready within %u ms and was killed", child->row->ready_ms);
    else if (child->state == CHILD_SERVING)
        (void)snprintf(child->why.text, sizeof(child->why.text),
                       "it answered no ping for %" PRIu64 " ms and was killed",
                       settings->hang_ms);
    else
        (void)snprintf(child->why.text, sizeof(child->why.text),
                       "it did not stop within %u ms and was killed", child->row->stop_ms);
    if (child->state == CHILD_STOPPING)
        say(supervisor, true, "%s: %s", child_name(child, name), child->why.text);
    child->state = CHILD_KILLED;
    child->due_ms = UINT64_MAX;
    outbox_effect(supervisor->outbox, child->id, SUPERVISOR_KILL, NULL, NULL);
}

static void child_due(struct supervisor *supervisor, struct supervised *child)
{
    switch (child->state) {
    case CHILD_WAITING:
        child_start(supervisor, child);
        return;
    case CHILD_STARTING:
    case CHILD_SERVING:
    case CHILD_STOPPING:
        child_kill_for(supervisor, child);
        return;
    case CHILD_NONE:
    case CHILD_KILLED:
        return;
    }
}

/* Pings all that serve.  When we ourselves slept through more than a ping (the machine was
 * suspended, or we were stopped), their silence says nothing: they get the whole time anew. */
static void ping_all(struct supervisor *supervisor)
{
    const struct supervisor_settings *settings = supervisor->settings;
    const uint64_t now_ms = supervisor->input->now_ms;
    const bool is_late =
        supervisor->ping_at_ms != 0 && now_ms - supervisor->ping_at_ms > settings->ping_ms;
    for (size_t i = 0; i < COUNT_OF(supervisor->children); i++) {
        struct supervised *child = &supervisor->children[i];
        if (child->state != CHILD_SERVING)
            continue;
        if (is_late)
            child->due_ms = now_ms + settings->hang_ms;
        outbox_effect(supervisor->outbox, child->id, SUPERVISOR_PING, NULL, NULL);
    }
    supervisor->ping_at_ms = now_ms + settings->ping_ms;
}

void children_tick(struct supervisor *supervisor)
{
    const uint64_t now_ms = supervisor->input->now_ms;
    if (now_ms >= supervisor->ping_at_ms)
        ping_all(supervisor);
    uint64_t wake_ms = supervisor->ping_at_ms;
    for (size_t i = 0; i < COUNT_OF(supervisor->children); i++) {
        struct supervised *child = &supervisor->children[i];
        if (child->state == CHILD_NONE)
            continue;
        if (child->due_ms <= now_ms)
            child_due(supervisor, child);
        if (child->state != CHILD_NONE && child->due_ms < wake_ms)
            wake_ms = child->due_ms;
    }
    outbox_wake(supervisor->outbox, wake_ms);
}
