/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/supervisor/children.h"

#include "actors/actors.h"
#include "runtime/process.h"

#include <stdio.h>
#include <string.h>

#define ROW_ALWAYS RESTART_ALWAYS
#define ROW_ASKED RESTART_ASKED
#define ROW_PARENT RESTART_ASKED
#define ACTOR_ROW(NAME, name, restart, ready_ms, stop_ms, rights, decides)                         \
    {ACTOR_##NAME, #name, ROW_##restart, ready_ms, stop_ms},

const struct actor_row actor_rows[] = {ACTOR_LIST(ACTOR_ROW)};
const size_t actor_row_count = COUNT_OF(actor_rows);

enum { STOP_MARGIN_MS = 2000 };

uint64_t supervisor_stop_ms(const struct actor_row *rows, size_t row_count)
{
    uint64_t all_ms = STOP_MARGIN_MS;
    uint64_t ranks_ms = 0;
    for (size_t i = 0; i < row_count; i++) {
        if (rows[i].restart == RESTART_ALWAYS)
            all_ms += rows[i].stop_ms;
        else if (rows[i].stop_ms > ranks_ms)
            ranks_ms = rows[i].stop_ms;
    }
    return all_ms + ranks_ms;
}

static enum status supervisor_init(void *actor, const void *settings, struct reason *reason)
{
    struct supervisor *supervisor = actor;
    (void)reason;
    supervisor->settings = settings;
    ASSERT(supervisor->settings->row_count <= ACTOR_ROWS_MAX);
    session_init(&supervisor->session, &supervisor->settings->session);
    return STATUS_OK;
}

static void supervisor_fini(void *actor)
{
    struct supervisor *supervisor = actor;
    session_fini(&supervisor->session);
}

static bool is_always(const struct supervisor *supervisor, size_t i)
{
    return supervisor->settings->rows[i].restart == RESTART_ALWAYS;
}

static void start_all(struct supervisor *supervisor)
{
    session_open(&supervisor->session, supervisor->outbox);
    for (size_t i = 0; i < supervisor->settings->row_count; i++) {
        supervisor->children[i].row = &supervisor->settings->rows[i];
        if (is_always(supervisor, i))
            child_start(supervisor, &supervisor->children[i]);
    }
}

void supervisor_give_up(struct supervisor *supervisor, const struct supervised *child,
                        int32_t exit_code, const char *sentence)
{
    struct supervised *own = &supervisor->children[child - supervisor->children];
    own->state = CHILD_NONE;
    report_given_up(supervisor, child, sentence);
    if (supervisor->is_stopping)
        return;
    supervisor->is_stopping = true;
    supervisor->exit_code = exit_code;
    (void)snprintf(supervisor->given_up.text, sizeof(supervisor->given_up.text), "%s: %.370s",
                   child->row->name, sentence);
    say(supervisor, true, "giving up and stopping the node: %s", supervisor->given_up.text);
}

/* The master speaks another version: only a start of the whole node mends that. */
static void master_refused(struct supervisor *supervisor, const struct reason *reason)
{
    if (supervisor->is_stopping)
        return;
    supervisor->is_stopping = true;
    supervisor->exit_code = EXIT_CODE_FAILED;
    supervisor->given_up = *reason;
    say(supervisor, true, "stopping the node: %s", reason->text);
}

/* Ranks together first, then the actors one after the other, the master last: until then they can
 * still tell it what they must. */
static void stop_advance(struct supervisor *supervisor)
{
    bool is_any = false;
    if (!supervisor->is_stopping)
        return;
    for (size_t i = supervisor->settings->row_count; i < COUNT_OF(supervisor->children); i++) {
        struct supervised *child = &supervisor->children[i];
        child_end_politely(supervisor, child);
        is_any = is_any || child->state != CHILD_NONE;
    }
    for (size_t i = supervisor->settings->row_count; i-- > 0 && !is_any;) {
        struct supervised *child = &supervisor->children[i];
        child_end_politely(supervisor, child);
        is_any = child->state != CHILD_NONE;
    }
    if (is_any)
        return;
    /* The last line, so that whoever started us finds the reason there. */
    if (supervisor->given_up.text[0])
        say(supervisor, true, "%s", supervisor->given_up.text);
    else
        say(supervisor, false, "stopped");
    outbox_exit(supervisor->outbox, supervisor->exit_code);
}

/* One line for the service manager, and READY once. */
static void tell_service(struct supervisor *supervisor)
{
    char line[sizeof(supervisor->status_line)] = "serving";
    char missing[160] = "";
    size_t used = 0;
    bool is_complete = true;
    for (size_t i = 0; i < supervisor->settings->row_count; i++) {
        const struct supervised *child = &supervisor->children[i];
        if (!is_always(supervisor, i))
            continue;
        is_complete = is_complete && child->has_been_ready;
        if (child->state != CHILD_SERVING && used + 32 < sizeof(missing))
            used += (size_t)snprintf(missing + used, sizeof(missing) - used, " %.24s",
                                     child->row->name);
    }
    if (supervisor->is_stopping)
        (void)snprintf(line, sizeof(line), "stopping%s%.200s",
                       supervisor->given_up.text[0] ? ": " : "", supervisor->given_up.text);
    else if (used > 0)
        (void)snprintf(line, sizeof(line), "waiting for%s", missing);
    if (!supervisor->is_ready && is_complete && used == 0 && !supervisor->is_stopping) {
        supervisor->is_ready = true;
        say(supervisor, false, "ready: every actor is");
        outbox_ready(supervisor->outbox);
    }
    if (strcmp(line, supervisor->status_line) == 0)
        return;
    memcpy(supervisor->status_line, line, sizeof(line));
    outbox_status(supervisor->outbox, line);
}

static void take_result(struct supervisor *supervisor, const struct result *result)
{
    struct supervised *child = child_of_id(supervisor, result->id);
    if (!child)
        return;
    if (result->kind == SUPERVISOR_ENDED) {
        const struct child_end *end = result->value;
        child_has_ended(supervisor, child, end, result->reason.text);
    } else if (result->kind == SUPERVISOR_SPAWN && result->status != STATUS_OK) {
        child_spawn_failed(supervisor, child, result->status, result->reason.text);
    }
}

static void take_child(struct supervisor *supervisor, const struct input *input)
{
    struct supervised *child = child_of_id(supervisor, input->child.id);
    if (!child)
        return;
    if (input->kind == INPUT_CHILD_READY)
        child_became_ready(supervisor, child);
    else
        child_was_heard(supervisor, child);
}

/* What is left after the session had its look. */
static enum status take_input(struct supervisor *supervisor, const struct input *input)
{
    switch (input->kind) {
    case INPUT_START:
        start_all(supervisor);
        break;
    case INPUT_RESULT:
        take_result(supervisor, input->result);
        break;
    case INPUT_CHILD_READY:
    case INPUT_CHILD_BEAT:
        take_child(supervisor, input);
        break;
    case INPUT_STOP:
        supervisor->is_stopping = true;
        break;
    case INPUT_MESSAGE:
        if (session_is_task(input))
            return task_take(supervisor, input->message);
        if (message_is(input->message, MESSAGE_LINK, LINK_WELCOME)) {
            supervisor->must_compare = true;
            supervisor->compare_by_ms = input->now_ms + COMPARE_WAIT_MS;
            supervisor->master_index = MESSAGE_BODY(input->message, welcome)->index;
        }
        break;
    case INPUT_WAKE:
    case INPUT_CHILD_ENDED:
    case INPUT_LINK_BOUND:
    case INPUT_LINK_REFUSED:
    case INPUT_LINK_UP:
    case INPUT_LINK_DOWN:
    case INPUT_SEND_FAILED:
        break;
    }
    return STATUS_OK;
}

static enum status supervisor_step(void *actor, const struct input *input, struct outbox *outbox,
                                   struct reason *reason)
{
    struct supervisor *supervisor = actor;
    enum mirror_change change = MIRROR_UNTOUCHED;
    supervisor->input = input;
    supervisor->outbox = outbox;
    supervisor->random = input->random;
    enum status status = session_take(&supervisor->session, input, outbox, &change, reason);
    if (status == STATUS_VERSION) {
        master_refused(supervisor, reason);
        status = STATUS_OK;
    }
    if (status == STATUS_OK)
        status = take_input(supervisor, input);
    if (status != STATUS_OK)
        return status;
    ranks_compare(supervisor);
    stop_advance(supervisor);
    children_tick(supervisor);
    tell_service(supervisor);
    return STATUS_OK;
}

const struct actor_ops supervisor_ops = {.name = "supervisor",
                                         .memory_size = sizeof(struct supervisor),
                                         .init = supervisor_init,
                                         .step = supervisor_step,
                                         .fini = supervisor_fini};
