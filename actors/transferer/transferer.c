/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/transferer/transferer.h"

#include "actors/transferer/pace.h"
#include "protocol/hash.h"
#include "protocol/memory.h"

#include <stdio.h>
#include <string.h>

#define ENDPOINT_CHECK_MS 500u

void contents_free(struct bytes *contents, uint32_t count)
{
    for (uint32_t i = 0; contents && i < count; i++)
        memory_free(contents[i].items);
    memory_free(contents);
}

void store_request_free(void *value)
{
    struct store_request *request = value;
    if (!request)
        return;
    contents_free(request->contents, request->record.files.count);
    record_fini(&model_record_type, &request->record);
    memory_free(request);
}

void read_request_free(void *value)
{
    struct read_request *request = value;
    if (!request)
        return;
    record_fini(&file_asked_type, &request->asked);
    record_fini(&file_part_type, &request->part_out);
    memory_free(request->piece_out.items);
    memory_free(request);
}

/* ---- addresses ---- */

bool transferer_listen(const char *listen, char endpoint_out[LINK_ENDPOINT_SIZE])
{
    const char *host = strncmp(listen, "tcp://", 6) == 0 ? listen + 6 : listen;
    const char *colon = strrchr(host, ':');
    if (!colon || colon == host)
        return false;
    int length = snprintf(endpoint_out, LINK_ENDPOINT_SIZE, "tcp://%.*s:0", (int)(colon - host),
                          host);
    return length > 0 && length < LINK_ENDPOINT_SIZE;
}

void transferer_address(const char *bound, const char *advertise,
                        char endpoint_out[LINK_ENDPOINT_SIZE])
{
    const char *host = strncmp(advertise, "tcp://", 6) == 0 ? advertise + 6 : advertise;
    const char *colon = strrchr(host, ':');
    const char *port = strrchr(bound, ':');
    (void)snprintf(endpoint_out, LINK_ENDPOINT_SIZE, "%s", bound);
    if (colon && colon != host && port)
        (void)snprintf(endpoint_out, LINK_ENDPOINT_SIZE, "tcp://%.*s%s", (int)(colon - host),
                       host, port);
}

/* ---- tasks ---- */

static struct task_held running(const struct command_key *key, enum task_code code)
{
    return (struct task_held){.key = *key, .code = code, .phase = TASK_RUNNING};
}

enum status transferer_answer_running(struct transferer_step *step, const struct command_key *key,
                                      enum task_code code)
{
    const struct task_held held = running(key, code);
    return session_answer_held(&step->transferer->session, &held, STATUS_OK, NULL, step->outbox);
}

static enum status list_push(struct tasks_listed *listed, const struct command_key *key,
                             enum task_code code)
{
    const struct task_held held = running(key, code);
    return record_list_push(&task_held_type, RECORD_LIST(listed->tasks), &held,
                            2 * TRANSFERER_TASKS_MAX + RECEIVES_MAX + GATHERS_MAX)
               ? STATUS_OK
               : STATUS_NO_MEMORY;
}

static enum status list_tasks(struct transferer_step *step, const struct message *task)
{
    const struct transferer *transferer = step->transferer;
    struct message answer;
    enum status status = message_init(&answer, MESSAGE_ANSWER, ANSWER_TASKS);
    if (status != STATUS_OK)
        return status;
    struct tasks_listed *body = answer.body;
    answer.head.key = task->head.key;
    for (uint32_t i = 0; i < transferer->task_count && status == STATUS_OK; i++)
        status = list_push(body, &transferer->tasks[i].key, TASK_FETCH_SMALL_FILES);
    for (uint32_t i = 0; i < transferer->receive_task_count && status == STATUS_OK; i++)
        status = list_push(body, &transferer->receive_tasks[i].key, TASK_FETCH_MODEL);
    for (size_t i = 0; i < RECEIVES_MAX && status == STATUS_OK; i++)
        if (transferer->receives[i].phase != RECEIVE_IDLE)
            status = list_push(body, &transferer->receives[i].task.key, TASK_FETCH_MODEL);
    for (size_t i = 0; i < GATHERS_MAX && status == STATUS_OK; i++)
        if (transferer->gathers[i].is_used)
            status = list_push(body, &transferer->gathers[i].key, TASK_GATHER_FILES);
    if (status == STATUS_OK)
        session_send(&step->transferer->session, &answer, step->outbox);
    message_fini(&answer);
    return status;
}

static enum status take_task(struct transferer_step *step, const struct message *message)
{
    struct transferer *transferer = step->transferer;
    if (message->head.code == TASK_LIST_TASKS)
        return list_tasks(step, message);
    if (message->head.code == TASK_FETCH_MODEL)
        return receive_take_task(step, message);
    if (message->head.code == TASK_GATHER_FILES)
        return gather_take_task(step, message);
    if (message->head.code != TASK_FETCH_SMALL_FILES)
        return session_answer(&transferer->session, message, STATUS_UNSUPPORTED,
                              "the transferer does not do that", step->outbox);
    for (uint32_t i = 0; i < transferer->task_count; i++)
        if (ID_EQUAL(transferer->tasks[i].key, message->head.key))
            return transferer_answer_running(step, &message->head.key, TASK_FETCH_SMALL_FILES);
    if (transferer->task_count == TRANSFERER_TASKS_MAX)
        return session_answer(&transferer->session, message, STATUS_BUSY,
                              "too many models are being fetched; it is tried again",
                              step->outbox);
    const struct fetch_small_files *body = MESSAGE_BODY(message, fetch_small_files);
    struct fetch_task *task = &transferer->tasks[transferer->task_count++];
    *task = (struct fetch_task){.key = message->head.key, .revision = body->revision};
    (void)snprintf(task->model_id, sizeof(task->model_id), "%s", text_or_empty(body->model_id));
    enum status status = transferer_answer_running(step, &task->key, TASK_FETCH_SMALL_FILES);
    return status == STATUS_OK ? fetch_begin(step) : status;
}

/* ---- our own address in the state ---- */

/* The master tells it when we say hello; where it could not (no leader then), we do. */
static enum status check_endpoint(struct transferer_step *step)
{
    struct transferer *transferer = step->transferer;
    const struct state *state = &transferer->session.mirror.state;
    const struct node_id *node_id = &transferer->session.mirror.node_id;
    if (transferer->endpoint_check_ms == 0 || !transferer->session.mirror.has_state)
        return STATUS_OK;
    if (step->input->now_ms < transferer->endpoint_check_ms) {
        outbox_wake(step->outbox, transferer->endpoint_check_ms);
        return STATUS_OK;
    }
    if (!state_find_node(state, node_id)) {
        transferer->endpoint_check_ms = step->input->now_ms + ENDPOINT_CHECK_MS;
        return STATUS_OK; /* not admitted yet; an event will wake us */
    }
    transferer->endpoint_check_ms = 0;
    const struct endpoint_record *known = state_find_endpoint(state, node_id, ACTOR_TRANSFERER);
    if (known && known->incarnation == transferer->settings->session.incarnation &&
        strcmp(text_or_empty(known->address), transferer->session.address) == 0)
        return STATUS_OK;
    struct message message;
    enum status status = message_init(&message, MESSAGE_REPORT, REPORT_ENDPOINT_OPENED);
    if (status != STATUS_OK)
        return status;
    struct endpoint_record *endpoint = &MESSAGE_BODY(&message, endpoint_opened)->endpoint;
    endpoint->node_id = *node_id;
    endpoint->actor = ACTOR_TRANSFERER;
    endpoint->incarnation = transferer->settings->session.incarnation;
    endpoint->key = transferer->settings->session.key;
    return session_report_end(&transferer->session, &message,
                              text_set(&endpoint->address, transferer->session.address),
                              step->input->now_ms, step->outbox);
}

/* ---- the step ---- */

static enum status take_change(struct transferer_step *step, enum mirror_change change)
{
    struct transferer *transferer = step->transferer;
    if (change == MIRROR_UNTOUCHED)
        return STATUS_OK;
    if (change == MIRROR_WELCOMED && !transferer->is_ready_told) {
        transferer->is_ready_told = true;
        outbox_ready(step->outbox);
    }
    const bool is_node_event =
        change == MIRROR_APPLIED &&
        (step->input->message->head.code == EVENT_NODE_ADMITTED ||
         step->input->message->head.code == EVENT_CLUSTER_FOUNDED ||
         step->input->message->head.code == EVENT_ENDPOINT_CLOSED);
    if (change != MIRROR_APPLIED || is_node_event)
        transferer->endpoint_check_ms = step->input->now_ms + ENDPOINT_CHECK_MS;
    serve_allow(step);
    lend_state_changed(step);
    enum status status = fetch_state_changed(step);
    if (status == STATUS_OK)
        status = receive_state_changed(step);
    return status == STATUS_OK ? gather_state_changed(step) : status;
}

static enum status take_bound(struct transferer_step *step)
{
    struct transferer *transferer = step->transferer;
    const bool is_first = transferer->session.address[0] == '\0';
    transferer_address(step->input->endpoint, transferer->settings->advertise,
                       transferer->session.address);
    if (is_first)
        session_open(&transferer->session, step->outbox);
    return STATUS_OK;
}

static enum status take_result(struct transferer_step *step)
{
    struct result *result = step->input->result;
    bool is_taken = false;
    enum status status = gather_result(step, &is_taken);
    if (is_taken)
        return status;
    if (result->kind == TRANSFERER_MANIFEST ||
        (result->kind >= BULK_FIRST && result->kind < BULK_RECEIVE_FIRST))
        return lend_result(step);
    if (result->kind == TRANSFERER_FIND || result->kind >= BULK_RECEIVE_FIRST)
        return receive_result(step);
    switch ((enum transferer_effect)result->kind) {
    case TRANSFERER_CHECK:
        return fetch_checked(step, result->value);
    case TRANSFERER_STORE:
        return fetch_stored(step);
    case TRANSFERER_READ:
        return serve_read(step, result->value);
    case TRANSFERER_MANIFEST:
    case TRANSFERER_FIND:
    case TRANSFERER_REFUSED:
        break;
    }
    return STATUS_INTERNAL;
}

static enum status take_input(struct transferer_step *step)
{
    const struct input *input = step->input;
    struct transferer *transferer = step->transferer;
    if (input->kind == INPUT_RESULT)
        return take_result(step);
    /* A rank of this node computes: our threads hold back. */
    if (input->kind == INPUT_MESSAGE && input->peer.link == SESSION_LINK &&
        message_is(input->message, MESSAGE_SIGNAL, SIGNAL_HEARTBEAT)) {
        outbox_effect(step->outbox, input->now_ms + PACE_BEAT_LIFE_MS, BULK_BUSY, NULL, NULL);
        return STATUS_OK;
    }
    if (session_is_task(input))
        return take_task(step, input->message);
    if (input->kind == INPUT_LINK_BOUND && input->peer.link == SERVE_LINK)
        return take_bound(step);
    if (input->kind == INPUT_LINK_REFUSED && input->peer.link == SERVE_LINK)
        return refuse(step->reason, input->status, "%s", input->reason);
    if ((input->kind == INPUT_MESSAGE || input->kind == INPUT_LINK_DOWN) &&
        input->peer.link == SERVE_LINK) {
        bool is_taken = false;
        if (input->kind == INPUT_MESSAGE &&
            !serve_may_ask(transferer, &input->peer, input->message))
            return serve_refuse(step);
        enum status status = lend_input(step, &is_taken);
        return is_taken ? status : serve_asked(step);
    }
    if (input->peer.link >= GATHER_LINK_FIRST)
        return gather_input(step);
    if (input->peer.link >= RECEIVE_LINK_FIRST)
        return receive_input(step);
    if (input->peer.link >= FETCH_LINK_FIRST && input->peer.link == transferer->fetch.link)
        return fetch_input(step);
    return STATUS_OK;
}

struct hash transferer_draw(struct transferer *transferer)
{
    struct hash_stream stream;
    struct hash drawn;
    transferer->drawn++;
    hash_init(&stream);
    hash_update(&stream, transferer->seed, sizeof(transferer->seed));
    hash_update(&stream, &transferer->drawn, sizeof(transferer->drawn));
    hash_final(&stream, &drawn);
    return drawn;
}

static void open_serving(struct transferer_step *step)
{
    struct link_options options = {.role = LINK_BIND, .message_size_max = TRANSFER_MESSAGE_MAX};
    (void)snprintf(options.endpoint, sizeof(options.endpoint), "%s",
                   step->transferer->settings->listen);
    outbox_link_open(step->outbox, SERVE_LINK, &options);
}

static enum status transferer_step(void *actor, const struct input *input, struct outbox *outbox,
                                   struct reason *reason)
{
    struct transferer *transferer = actor;
    struct transferer_step step = {transferer, input, outbox, reason};
    enum mirror_change change;
    if (input->kind == INPUT_START) {
        memcpy(transferer->seed, input->seed, sizeof(transferer->seed));
        open_serving(&step);
    }
    if (input->kind == INPUT_STOP) {
        outbox_exit(outbox, 0);
        return STATUS_OK;
    }
    enum status status = session_take(&transferer->session, input, outbox, &change, reason);
    if (status == STATUS_OK)
        status = take_change(&step, change);
    if (status == STATUS_OK)
        status = take_input(&step);
    if (status == STATUS_OK)
        status = check_endpoint(&step);
    if (status == STATUS_OK)
        status = fetch_time(&step);
    if (status == STATUS_OK)
        status = receive_time(&step);
    if (status == STATUS_OK)
        status = gather_time(&step);
    return status;
}

static enum status transferer_init(void *actor, const void *settings, struct reason *reason)
{
    (void)reason;
    struct transferer *transferer = actor;
    transferer->settings = settings;
    session_init(&transferer->session, &transferer->settings->session);
    return STATUS_OK;
}

static void transferer_fini(void *actor)
{
    struct transferer *transferer = actor;
    fetch_clear(&transferer->fetch);
    for (size_t i = 0; i < RECEIVES_MAX; i++)
        receive_clear(&transferer->receives[i]);
    for (size_t i = 0; i < GATHERS_MAX; i++)
        gather_clear(&transferer->gathers[i]);
    session_fini(&transferer->session);
}

const struct actor_ops transferer_ops = {.name = "transferer",
                                         .memory_size = sizeof(struct transferer),
                                         .init = transferer_init,
                                         .step = transferer_step,
                                         .fini = transferer_fini};
