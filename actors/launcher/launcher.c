/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/launcher/launcher.h"

#include "protocol/memory.h"
#include "runtime/fabric_ways.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    MEET_MS = 40000,
    REACH_MS = 2000,
    JOIN_MS = 30000,
    LOSS_MS = 2000,
    PING_MS = 1000,
    HANG_MS = 4000,
    LOAD_HANG_MS = 3000,
    STOP_MS = 1000,
    /* How long the last report may take; the supervisor reports our own end in any case. */
    LEAVE_MS = 500
};

/* The rank's number as a child: there is one. */
enum { CHILD_ID = 1 };

static uint64_t given_or(uint64_t given, uint64_t standard)
{
    return given ? given : standard;
}

static enum status launcher_init(void *actor, const void *settings, struct reason *reason)
{
    (void)reason;
    struct launcher *launcher = actor;
    launcher->settings = settings;
    launcher->times = *launcher->settings;
    struct launcher_settings *times = &launcher->times;
    times->meet_ms = given_or(times->meet_ms, MEET_MS);
    times->reach_ms = given_or(times->reach_ms, REACH_MS);
    times->join_ms = given_or(times->join_ms, JOIN_MS);
    times->loss_ms = given_or(times->loss_ms, LOSS_MS);
    times->ping_ms = given_or(times->ping_ms, PING_MS);
    times->hang_ms = given_or(times->hang_ms, HANG_MS);
    times->load_hang_ms = given_or(times->load_hang_ms, LOAD_HANG_MS);
    times->stop_ms = given_or(times->stop_ms, STOP_MS);
    launcher->session_settings = (struct session_settings){
        .actor = ACTOR_LAUNCHER,
        .incarnation = launcher->settings->incarnation,
        .key = launcher->settings->key,
        .build = launcher->settings->build,
        .wants_events = true,
        .has_rank = true,
        .instance_id = launcher->settings->instance_id,
        .generation = launcher->settings->generation,
        .rank = launcher->settings->rank};
    session_init(&launcher->session, &launcher->session_settings);
    return STATUS_OK;
}

static void launcher_fini(void *actor)
{
    struct launcher *launcher = actor;
    session_fini(&launcher->session);
    for (size_t i = 0; i < launcher->blob_count; i++)
        memory_free(launcher->blobs[i].bytes);
}

/* ---- the master ---- */

static enum status tell_master(struct launcher *launcher, struct message *report)
{
    return session_report(&launcher->session, report, launcher->input->now_ms, launcher->outbox);
}

static enum status report_address(struct launcher *launcher)
{
    struct message message;
    enum status status = message_init(&message, MESSAGE_REPORT, REPORT_RANK_ADDRESSED);
    if (status != STATUS_OK)
        return status;
    struct rank_addressed *body = message.body;
    body->instance_id = launcher->settings->instance_id;
    body->generation = launcher->settings->generation;
    body->rank = launcher->settings->rank;
    body->actor = ACTOR_LAUNCHER;
    body->key = launcher->settings->key;
    launcher->is_address_told = true;
    status = text_set(&body->address, launcher->session.address) ? tell_master(launcher, &message)
                                                                 : STATUS_NO_MEMORY;
    message_fini(&message);
    return status;
}

/* The instance while it is of our generation; NULL when that is over. */
static const struct instance_record *own_instance(const struct launcher *launcher)
{
    const struct instance_record *instance =
        state_find_instance(&launcher->session.mirror.state, &launcher->settings->instance_id);
    if (!instance || !generation_equal(&instance->generation, &launcher->settings->generation) ||
        (instance->status != INSTANCE_STARTING && instance->status != INSTANCE_READY) ||
        launcher->settings->rank >= instance->ranks.count)
        return NULL;
    return instance;
}

static bool all_are_addressed(const struct instance_record *instance)
{
    for (uint32_t rank = 0; rank < instance->ranks.count; rank++)
        if (!*text_or_empty(instance->ranks.items[rank].launcher_address))
            return false;
    return true;
}

static void set_phase(struct launcher *launcher, enum launcher_phase phase, uint64_t limit_ms)
{
    launcher->phase = phase;
    launcher->deadline_ms = limit_ms ? launcher->input->now_ms + limit_ms : 0;
}

/* The PMIx server is there before a sibling may know us: whatever comes from one finds it. */
static enum status open_host(struct launcher *launcher, uint32_t rank_count)
{
    const struct launcher_settings *settings = launcher->settings;
    struct rank_start *start = memory_zeroed(1, sizeof(*start));
    if (!start)
        return STATUS_NO_MEMORY;
    char instance[HEX_SIZE(16)];
    char leader[HEX_SIZE(8)];
    (void)snprintf(start->name, sizeof(start->name), "%s-%" PRIu64 ".%s-%" PRIu64,
                   hex_print(settings->instance_id.bytes, 16, instance),
                   settings->generation.epoch,
                   hex_print(settings->generation.leader.bytes, 8, leader),
                   settings->generation.counter);
    start->rank = settings->rank;
    start->rank_count = rank_count;
    outbox_effect(launcher->outbox, CHILD_ID, EFFECT_HOST_OPEN, start, memory_free);
    return STATUS_OK;
}

/* The state moved: is our generation still wanted, where are the others? */
static enum status look_at_state(struct launcher *launcher)
{
    const struct instance_record *instance = own_instance(launcher);
    if (launcher->phase >= LAUNCHER_ENDING || !launcher->session.mirror.has_state)
        return STATUS_OK;
    if (!instance) {
        launcher_end(launcher, "the generation is over");
        return STATUS_OK;
    }
    siblings_release(launcher, instance);
    const struct rank_record *own = &instance->ranks.items[launcher->settings->rank];
    bool is_told = ID_EQUAL(own->launcher_key, launcher->settings->key);
    if (launcher->phase == LAUNCHER_STARTING && own->status >= RANK_JOINED &&
        own->status != RANK_FAILED)
        set_phase(launcher, LAUNCHER_RUNNING, 0);
    if (launcher->phase != LAUNCHER_ADDRESSING)
        return STATUS_OK;
    if (!is_told && !launcher->is_address_told)
        return report_address(launcher);
    if (is_told && all_are_addressed(instance)) {
        uint64_t limit_ms = launcher->deadline_ms - launcher->input->now_ms;
        set_phase(launcher, LAUNCHER_MEETING, limit_ms);
        launcher->reach_at_ms = launcher->input->now_ms + launcher->times.reach_ms;
        enum status status = open_host(launcher, instance->ranks.count);
        if (status != STATUS_OK)
            return status;
        siblings_open(launcher, instance);
    }
    return STATUS_OK;
}

/* Without a number it is about our hello. */
static void hear_answer(struct launcher *launcher, const struct message *answer)
{
    if (answer->head.status == STATUS_STALE || answer->head.status == STATUS_REFUSED ||
        (answer->head.sequence == 0 && answer->head.status != STATUS_OK))
        launcher_end(launcher, "the master refuses: %.300s", text_or_empty(answer->head.reason));
}

/* What the master said, after the session took it. */
static enum status hear_master(struct launcher *launcher, enum mirror_change change)
{
    if (message_is(launcher->input->message, MESSAGE_ANSWER, ANSWER_DONE))
        hear_answer(launcher, launcher->input->message);
    if (change == MIRROR_WELCOMED && !launcher->is_ready_told) {
        launcher->is_ready_told = true;
        outbox_ready(launcher->outbox);
    }
    return change == MIRROR_UNTOUCHED ? STATUS_OK : look_at_state(launcher);
}

/* ---- the rank ---- */

static void start_rank(struct launcher *launcher)
{
    set_phase(launcher, LAUNCHER_STARTING, launcher->times.join_ms);
    launcher->has_child = true;
    launcher->heard_ms = launcher->input->now_ms;
    launcher->ping_at_ms = launcher->input->now_ms + launcher->times.ping_ms;
    outbox_effect(launcher->outbox, CHILD_ID, EFFECT_RANK_START, NULL, NULL);
}

static void leave(struct launcher *launcher)
{
    /* Without a master nobody can be told; the supervisor will say that we ended. */
    uint64_t limit_ms =
        launcher->session.report_count > 0 && launcher->session.is_up ? LEAVE_MS : 1;
    set_phase(launcher, LAUNCHER_LEAVING, limit_ms);
}

static enum status rank_gone(struct launcher *launcher, int32_t exit_code, int32_t signal);

/* Nobody else knows why it was never started. */
static void leave_without_rank(struct launcher *launcher)
{
    const bool is_wanted =
        launcher->session.mirror.has_state && own_instance(launcher) && !launcher->was_asked;
    if (!is_wanted || rank_gone(launcher, -1, 0) != STATUS_OK)
        leave(launcher);
}

void launcher_end(struct launcher *launcher, const char *format, ...)
{
    if (launcher->phase >= LAUNCHER_ENDING)
        return;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(launcher->why, sizeof(launcher->why), format, arguments);
    va_end(arguments);
    launcher->exit_code = launcher->was_asked ? 0 : LAUNCHER_EXIT_FAILED;
    if (!launcher->has_child) {
        leave_without_rank(launcher);
        return;
    }
    /* One that was asked may leave in order; one whose world is broken cannot. */
    bool is_gentle = launcher->was_asked;
    set_phase(launcher, LAUNCHER_ENDING, launcher->times.stop_ms);
    outbox_effect(launcher->outbox, CHILD_ID, is_gentle ? EFFECT_RANK_STOP : EFFECT_RANK_KILL,
                  NULL, NULL);
}

/* One sentence about how the rank ended. */
static void describe_end(const struct launcher *launcher, int32_t exit_code, int32_t signal,
                         char *text_out, size_t text_size)
{
    if (launcher->why[0])
        (void)snprintf(text_out, text_size, "%s", launcher->why);
    else if (signal)
        (void)snprintf(text_out, text_size, "its process was killed by signal %" PRId32, signal);
    else
        (void)snprintf(text_out, text_size, "its process ended with exit code %" PRId32,
                       exit_code);
}

/* `exit_code` is -1 when it was killed by `signal`, or when it could not be started at all. */
static enum status rank_gone(struct launcher *launcher, int32_t exit_code, int32_t signal)
{
    const struct launcher_settings *settings = launcher->settings;
    char text[SENTENCE_SIZE_MAX];
    struct message message;
    launcher->has_child = false;
    describe_end(launcher, exit_code, signal, text, sizeof(text));
    if (!launcher->why[0])
        launcher->exit_code = signal ? 128 + signal : exit_code;
    enum status status = message_init(&message, MESSAGE_REPORT, REPORT_PROCESS_ENDED);
    if (status != STATUS_OK)
        return status;
    struct process_ended *body = message.body;
    body->node_id = launcher->session.mirror.node_id;
    body->actor = ACTOR_RUNNER;
    body->incarnation = settings->rank_incarnation;
    body->instance_id = settings->instance_id;
    body->generation = settings->generation;
    body->rank = settings->rank;
    body->exit_code = exit_code >= 0 && exit_code <= 255 ? (uint32_t)exit_code : 255;
    body->signal = signal > 0 && signal <= 128 ? (uint32_t)signal : 0;
    body->was_asked = launcher->was_asked;
    status = text_set(&body->reason, text) ? STATUS_OK : STATUS_NO_MEMORY;
    /* After an orderly end the siblings are about to end in order too. */
    bool is_orderly = launcher->was_asked || launcher->siblings[settings->rank].is_released ||
                      (exit_code == 0 && !launcher->why[0]);
    if (status == STATUS_OK && !is_orderly)
        status = siblings_tell_end(launcher, body);
    if (status == STATUS_OK)
        status = tell_master(launcher, &message);
    message_fini(&message);
    if (status == STATUS_OK)
        leave(launcher);
    return status;
}

static enum status hear_pmix(struct launcher *launcher, struct result *result)
{
    const struct pmix_host_event *event = result->value;
    switch (event->kind) {
    case PMIX_HOST_FENCE:
    case PMIX_HOST_MODEX_WANTED:
    case PMIX_HOST_MODEX_FOUND:
        return siblings_tell(launcher, event);
    case PMIX_HOST_ABORTED:
        launcher_end(launcher, "its MPI called abort with code %" PRId32, event->code);
        return STATUS_OK;
    case PMIX_HOST_CONNECTED:
    case PMIX_HOST_FINALIZED:
        return STATUS_OK;
    }
    return STATUS_OK;
}

static enum status hear_result(struct launcher *launcher)
{
    struct result *result = launcher->input->result;
    if (result->kind == RESULT_PMIX)
        return hear_pmix(launcher, result);
    if (result->status == STATUS_OK)
        return STATUS_OK;
    if (result->kind == EFFECT_HOST_OPEN || result->kind == EFFECT_RANK_START) {
        launcher->has_child = false;
        launcher_end(launcher, "%.400s", result->reason.text);
        return STATUS_OK;
    }
    if (result->kind == EFFECT_FENCE && result->status != STATUS_EXISTS)
        launcher_end(launcher, "a fence of the generation went wrong: %.300s",
                     result->reason.text);
    return STATUS_OK;
}

/* ---- time ---- */

static bool is_ready(const struct launcher *launcher)
{
    const struct instance_record *instance = own_instance(launcher);
    const uint32_t rank = launcher->settings->rank;
    return instance && (instance->ranks.items[rank].status == RANK_READY ||
                        instance->ranks.items[rank].status == RANK_RELEASED);
}

static uint64_t silence_max_ms(const struct launcher *launcher)
{
    return is_ready(launcher) ? launcher->times.hang_ms : launcher->times.load_hang_ms;
}

/* Pings count beside the time: a launcher that got no time itself, or slept with its machine, has
 * asked fewer. */
static bool was_asked_enough(const struct launcher *launcher)
{
    return launcher->pings_unanswered >= silence_max_ms(launcher) / launcher->times.ping_ms;
}

/* The rank may have answered nothing for too long. */
static void check_answers(struct launcher *launcher)
{
    const uint64_t limit_ms = silence_max_ms(launcher);
    if (!launcher->has_child || launcher->phase >= LAUNCHER_ENDING ||
        launcher->input->now_ms - launcher->heard_ms <= limit_ms || !was_asked_enough(launcher))
        return;
    const char *when = is_ready(launcher)                       ? ""
                       : launcher->phase == LAUNCHER_STARTING ? " before it had joined the others"
                                                              : " while it was loading";
    launcher_end(launcher, "its process answered nothing for %" PRIu64 " ms%s", limit_ms, when);
}

static void heard_rank(struct launcher *launcher)
{
    launcher->heard_ms = launcher->input->now_ms;
    launcher->pings_unanswered = 0;
}

/* A sibling that told its address is there: what keeps us from it is the address. */
static void check_reached(struct launcher *launcher)
{
    const uint32_t rank = sibling_unreached(launcher);
    const struct instance_record *instance = own_instance(launcher);
    if (launcher->phase != LAUNCHER_MEETING || launcher->input->now_ms < launcher->reach_at_ms ||
        rank == UINT32_MAX || !instance || rank >= instance->ranks.count)
        return;
    launcher_end(launcher, "the launcher of rank %" PRIu32 " was not reached at %.100s within %"
                 PRIu64 " ms; see whether that address leads to its node, and set listen there if"
                 " not", rank, text_or_empty(instance->ranks.items[rank].launcher_address),
                 launcher->times.reach_ms);
}

static void check_times(struct launcher *launcher)
{
    uint64_t now_ms = launcher->input->now_ms;
    check_reached(launcher);
    uint64_t look_again_ms;
    uint32_t lost = sibling_lost(launcher, &look_again_ms);
    if (lost != UINT32_MAX && launcher->phase < LAUNCHER_ENDING)
        launcher_end(launcher, "the launcher of rank %" PRIu32 " was not heard for %" PRIu64 " ms",
                     lost, launcher->times.loss_ms);
    if (launcher->has_child && now_ms >= launcher->ping_at_ms) {
        outbox_effect(launcher->outbox, CHILD_ID, EFFECT_RANK_PING, NULL, NULL);
        launcher->ping_at_ms = now_ms + launcher->times.ping_ms;
        launcher->pings_unanswered++;
    }
    check_answers(launcher);
    if (launcher->deadline_ms == 0 || now_ms < launcher->deadline_ms)
        return;
    if (launcher->phase == LAUNCHER_ADDRESSING || launcher->phase == LAUNCHER_MEETING) {
        char who[32] = "another rank";
        for (uint32_t rank = launcher->rank_count; rank-- > 0;)
            if (rank != launcher->settings->rank && !launcher->siblings[rank].has_said_hello)
                (void)snprintf(who, sizeof(who), "rank %" PRIu32, rank);
        launcher_end(launcher, "not all launchers of the generation were there within %" PRIu64
                     " ms: that of %s is missing", launcher->times.meet_ms, who);
    } else if (launcher->phase == LAUNCHER_STARTING) {
        launcher_end(launcher, "its process did not join the world within %" PRIu64 " ms",
                     launcher->times.join_ms);
    } else if (launcher->phase == LAUNCHER_ENDING) {
        outbox_effect(launcher->outbox, CHILD_ID, EFFECT_RANK_KILL, NULL, NULL);
        launcher->deadline_ms = now_ms + launcher->times.stop_ms;
    }
}

static void set_wake(struct launcher *launcher)
{
    uint64_t wake_ms;
    (void)sibling_lost(launcher, &wake_ms);
    if (launcher->deadline_ms && launcher->deadline_ms < wake_ms)
        wake_ms = launcher->deadline_ms;
    if (launcher->phase == LAUNCHER_MEETING && launcher->reach_at_ms < wake_ms &&
        sibling_unreached(launcher) != UINT32_MAX)
        wake_ms = launcher->reach_at_ms;
    if (launcher->has_child && launcher->ping_at_ms < wake_ms)
        wake_ms = launcher->ping_at_ms;
    const uint64_t hung_ms = launcher->heard_ms + silence_max_ms(launcher) + 1;
    if (launcher->has_child && launcher->phase < LAUNCHER_ENDING && was_asked_enough(launcher) &&
        hung_ms < wake_ms)
        wake_ms = hung_ms;
    if (wake_ms != UINT64_MAX)
        outbox_wake(launcher->outbox, wake_ms);
}

/* ---- the step ---- */

static void open_links(struct launcher *launcher)
{
    struct link_options bound = {.role = LINK_BIND};
    memcpy(bound.endpoint, launcher->settings->bind, sizeof(bound.endpoint));
    set_phase(launcher, LAUNCHER_ADDRESSING, launcher->times.meet_ms);
    outbox_link_open(launcher->outbox, LAUNCHER_LINK_BOUND, &bound);
}

static void link_changed(struct launcher *launcher, bool is_up)
{
    uint32_t link = launcher->input->peer.link;
    if (link >= LAUNCHER_LINK_SIBLING)
        sibling_link_changed(launcher, link - LAUNCHER_LINK_SIBLING, is_up);
}

/* Before the bound address is known there is nothing to say to the master. */
static void link_bound(struct launcher *launcher)
{
    if (launcher->input->peer.link != LAUNCHER_LINK_BOUND || launcher->session.address[0])
        return;
    char told[ADDRESS_SIZE_MAX];
    fabric_told(launcher->input->endpoint, launcher->settings->fabric, told);
    (void)snprintf(launcher->session.address, sizeof(launcher->session.address), "%.127s", told);
    session_open(&launcher->session, launcher->outbox);
}

static enum status handle(struct launcher *launcher, enum mirror_change change)
{
    const struct input *input = launcher->input;
    switch (input->kind) {
    case INPUT_START:
        open_links(launcher);
        return STATUS_OK;
    case INPUT_MESSAGE:
        return input->peer.link == LAUNCHER_LINK_MASTER ? hear_master(launcher, change)
                                                        : sibling_message(launcher);
    case INPUT_LINK_BOUND:
        link_bound(launcher);
        return STATUS_OK;
    case INPUT_LINK_REFUSED:
        launcher_end(launcher, "a connection cannot be opened: %.300s", input->reason);
        return STATUS_OK;
    case INPUT_LINK_UP:
        link_changed(launcher, true);
        return STATUS_OK;
    case INPUT_LINK_DOWN:
        link_changed(launcher, false);
        return STATUS_OK;
    case INPUT_RESULT:
        return hear_result(launcher);
    case INPUT_CHILD_READY:
    case INPUT_CHILD_BEAT:
        heard_rank(launcher);
        return STATUS_OK;
    case INPUT_CHILD_ENDED:
        return rank_gone(launcher, input->child.exit_code, input->child.signal);
    case INPUT_STOP:
        launcher->was_asked = true;
        launcher_end(launcher, "the launcher was told to stop");
        return STATUS_OK;
    case INPUT_SEND_FAILED: /* the link's end is told apart, and reports are repeated */
    case INPUT_WAKE:
        return STATUS_OK;
    }
    return STATUS_OK;
}

static enum status launcher_step(void *actor, const struct input *input, struct outbox *outbox,
                                 struct reason *reason)
{
    struct launcher *launcher = actor;
    enum mirror_change change;
    launcher->input = input;
    launcher->outbox = outbox;
    enum status status = session_take(&launcher->session, input, outbox, &change, reason);
    if (status == STATUS_VERSION)
        return status; /* its sentence says what to do */
    if (status == STATUS_OK)
        status = handle(launcher, change);
    if (status == STATUS_OK && launcher->phase == LAUNCHER_MEETING &&
        siblings_all_met(launcher))
        start_rank(launcher);
    if (status != STATUS_OK)
        return refuse(reason, status, "the launcher cannot go on: %s", status_text(status));
    check_times(launcher);
    if (launcher->phase == LAUNCHER_LEAVING &&
        (launcher->session.report_count == 0 || input->now_ms >= launcher->deadline_ms)) {
        outbox_exit(outbox, launcher->exit_code);
        return STATUS_OK;
    }
    set_wake(launcher);
    return STATUS_OK;
}

const struct actor_ops launcher_ops = {
    .name = "launcher",
    .memory_size = sizeof(struct launcher),
    .init = launcher_init,
    .step = launcher_step,
    .fini = launcher_fini,
};
