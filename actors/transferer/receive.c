/* SPDX-License-Identifier: Apache-2.0 */
/*
 * receive: brings whole models to this node's disk, some at once.
 */
#include "actors/transferer/transferer.h"

#include "protocol/memory.h"

#include <stdio.h>
#include <string.h>

#define SIGNAL_LIFE_MS 5000u
#define IDLE_MS 500u
#define SPEED_MS 10000u

void receive_clear(struct receive *receive)
{
    sources_free(&receive->sources);
    buffer_fini(&receive->manifest_bytes);
    memory_free(receive->have);
    record_fini(&model_record_type, &receive->record);
    memset(receive, 0, sizeof(*receive));
}

const struct transfer_record *receive_transfer(const struct transferer *transferer,
                                               const struct receive *receive)
{
    return state_find_transfer(&transferer->session.mirror.state, &receive->task.transfer_id);
}

const struct model_record *receive_model(const struct transferer *transferer,
                                         const struct receive *receive)
{
    const struct model_record *model =
        state_find_model(&transferer->session.mirror.state, receive->task.model_id);
    return model && ID_EQUAL(model->revision, receive->task.revision) ? model : NULL;
}

/* The state still wants it: it was not cancelled, and its model is there. */
static bool is_wanted(const struct transferer *transferer, const struct receive *receive)
{
    const struct transfer_record *transfer = receive_transfer(transferer, receive);
    const struct transfer_target *target =
        transfer ? transfer_find_target(transfer, &transferer->session.mirror.node_id) : NULL;
    return target && transfer_target_is_open(target) && receive_model(transferer, receive);
}

/* ---- the end ---- */

static enum status report(struct transferer_step *step, const struct receive *receive,
                          enum report_code code, enum status how, const char *sentence)
{
    struct transferer *transferer = step->transferer;
    const struct receive_task *task = &receive->task;
    struct message message;
    bool is_filled = true;
    enum status status = message_init(&message, MESSAGE_REPORT, code);
    if (status != STATUS_OK)
        return status;
    if (code == REPORT_TRANSFER_STARTED) {
        struct transfer_started *body = message.body;
        body->node_id = transferer->session.mirror.node_id;
        body->transfer_id = task->transfer_id;
    } else {
        struct transfer_ended *body = message.body;
        body->node_id = transferer->session.mirror.node_id;
        body->transfer_id = task->transfer_id;
        body->status = how;
        is_filled = text_set(&body->reason, sentence);
    }
    return session_report_end(&transferer->session, &message, is_filled,
                              step->input->now_ms, step->outbox);
}

static enum status finish(struct transferer_step *step, struct receive *receive, enum status how,
                          const char *sentence)
{
    struct transferer *transferer = step->transferer;
    const struct command_key key = receive->task.key;
    const enum receive_phase phase = receive->phase;
    sources_close(step, &receive->sources);
    if (how != STATUS_OK && phase >= RECEIVE_OPENING)
        outbox_effect(step->outbox, receive->sources.number, BULK_RECEIVE_DROP, NULL, NULL);
    receive_clear(receive);
    return session_answer_key(&transferer->session, &key, how, sentence, step->outbox);
}

enum status receive_end(struct transferer_step *step, struct receive *receive, enum status how,
                        const char *sentence)
{
    enum status status =
        report(step, receive, REPORT_TRANSFER_ENDED, how,
               how == STATUS_OK || sentence[0] ? sentence : status_text(how));
    return status == STATUS_OK ? finish(step, receive, how, sentence) : status;
}

/* ---- tasks ---- */

enum status receive_take_task(struct transferer_step *step, const struct message *message)
{
    struct transferer *transferer = step->transferer;
    bool is_known = false;
    for (uint32_t i = 0; i < transferer->receive_task_count; i++)
        is_known = is_known || ID_EQUAL(transferer->receive_tasks[i].key, message->head.key);
    for (size_t i = 0; i < RECEIVES_MAX; i++)
        is_known = is_known || (transferer->receives[i].phase != RECEIVE_IDLE &&
                                ID_EQUAL(transferer->receives[i].task.key, message->head.key));
    if (is_known)
        return transferer_answer_running(step, &message->head.key, TASK_FETCH_MODEL);
    if (transferer->receive_task_count == TRANSFERER_TASKS_MAX)
        return session_answer(&transferer->session, message, STATUS_BUSY,
                              "too many models are being received; it is tried again",
                              step->outbox);
    const struct fetch_model *body = MESSAGE_BODY(message, fetch_model);
    struct receive_task *task = &transferer->receive_tasks[transferer->receive_task_count++];
    *task = (struct receive_task){.key = message->head.key, .transfer_id = body->transfer_id,
                                  .revision = body->revision};
    (void)snprintf(task->model_id, sizeof(task->model_id), "%s", text_or_empty(body->model_id));
    return transferer_answer_running(step, &task->key, TASK_FETCH_MODEL);
}

/* ---- beginning ---- */

/* By whom the manifest was signed, when that node is still here. */
static bool is_vouched_for(const struct transferer *transferer, const struct model_record *model)
{
    const struct node_record *signer =
        state_find_node(&transferer->session.mirror.state, &model->signer);
    return !signer || chunk_manifest_is_signed(model, &signer->sign_key);
}

static enum status begin(struct transferer_step *step, struct receive *receive)
{
    struct transferer *transferer = step->transferer;
    const struct model_record *model = receive_model(transferer, receive);
    if (!is_wanted(transferer, receive) || !model)
        return finish(step, receive, STATUS_STALE, "the transfer is over");
    if (!is_vouched_for(transferer, model))
        return receive_end(step, receive, STATUS_NOT_ADMITTED,
                           "the signature of the model's manifest does not hold; take the "
                           "model in again with `troupe add`");
    struct check_request *check = memory_zeroed(1, sizeof(*check));
    if (!check || record_copy(&model_record_type, model, &receive->record) != STATUS_OK) {
        memory_free(check);
        return STATUS_NO_MEMORY;
    }
    buffer_init(&receive->manifest_bytes, CHUNK_MANIFEST_SIZE_MAX);
    receive->phase = RECEIVE_CHECKING;
    receive->sources.kind = SOURCES_OF_COPY;
    receive->sources.number =
        RECEIVES_MAX * ++transferer->receives_begun + (uint64_t)(receive - transferer->receives);
    for (uint32_t i = 0; i < receive->record.files.count; i++)
        receive->bytes_total += receive->record.files.items[i].size;
    (void)snprintf(check->model_id, sizeof(check->model_id), "%s", receive->task.model_id);
    outbox_effect(step->outbox, receive->sources.number, TRANSFERER_FIND, check, memory_free);
    return report(step, receive, REPORT_TRANSFER_STARTED, STATUS_OK, "");
}

/* One that waits and whose model is not on its way already: two of one model, of different
 * revisions, would have one place. */
static bool take_waiting(struct transferer *transferer, struct receive_task *task_out)
{
    for (uint32_t i = 0; i < transferer->receive_task_count; i++) {
        bool is_free = true;
        *task_out = transferer->receive_tasks[i];
        for (size_t k = 0; k < RECEIVES_MAX; k++)
            is_free = is_free && (transferer->receives[k].phase == RECEIVE_IDLE ||
                                  strcmp(transferer->receives[k].task.model_id,
                                         task_out->model_id) != 0);
        if (!is_free)
            continue;
        transferer->receive_task_count--;
        memmove(&transferer->receive_tasks[i], &transferer->receive_tasks[i + 1],
                (transferer->receive_task_count - i) * sizeof(*task_out));
        return true;
    }
    return false;
}

static enum status begin_waiting(struct transferer_step *step)
{
    struct transferer *transferer = step->transferer;
    enum status status = STATUS_OK;
    for (size_t i = 0; i < RECEIVES_MAX && status == STATUS_OK; i++) {
        struct receive *receive = &transferer->receives[i];
        while (status == STATUS_OK && receive->phase == RECEIVE_IDLE &&
               take_waiting(transferer, &receive->task))
            status = begin(step, receive);
    }
    return status;
}

static enum status take_found(struct transferer_step *step, struct receive *receive,
                              const struct check_request *check)
{
    if (!check || receive->phase != RECEIVE_CHECKING)
        return STATUS_OK;
    if (!is_wanted(step->transferer, receive))
        return finish(step, receive, STATUS_CANCELLED, "the transfer is over");
    if (check->holding_out == MODEL_WHOLE &&
        ID_EQUAL(check->revision_out, receive->record.revision))
        return receive_end(step, receive, STATUS_OK, "");
    receive->phase = RECEIVE_ASKING;
    receive->silent_ms = step->input->now_ms + RECEIVE_SILENCE_MS;
    return receive_fill(step, receive);
}

enum status receive_open(struct transferer_step *step, struct receive *receive)
{
    struct receive_request *request = memory_zeroed(1, sizeof(*request));
    if (!request)
        return STATUS_NO_MEMORY;
    if (record_copy(&model_record_type, &receive->record, &request->record) != STATUS_OK ||
        !bytes_set(&request->manifest, receive->manifest_bytes.bytes,
                   receive->manifest_bytes.size)) {
        receive_request_free(request);
        return STATUS_NO_MEMORY;
    }
    receive->phase = RECEIVE_OPENING;
    outbox_effect(step->outbox, receive->sources.number, BULK_RECEIVE_OPEN, request,
                  receive_request_free);
    return STATUS_OK;
}

static enum status take_opened(struct transferer_step *step, struct receive *receive,
                               struct receive_request *request)
{
    const struct result *result = step->input->result;
    if (!is_wanted(step->transferer, receive))
        return finish(step, receive, STATUS_CANCELLED, "the transfer is over");
    if (result->status != STATUS_OK || !request)
        return receive_end(step, receive, result->status, result->reason.text);
    receive->bytes_have = request->bytes_out;
    receive->have = request->have_out;
    request->have_out = NULL;
    if (sources_begin(&receive->sources, request->count_out, receive->have) != STATUS_OK)
        return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < request->count_out; i++)
        receive->chunk_have += chunk_has(receive->have, i);
    for (size_t i = 0; i < SOURCES_MAX; i++)
        receive->sources.items[i].poll_ms = 0; /* what they have, and where their streams are */
    receive->phase = RECEIVE_RUNNING;
    receive->silent_ms = step->input->now_ms + RECEIVE_SILENCE_MS;
    receive->began_ms = receive->told_ms = step->input->now_ms;
    return receive_go_on(step, receive);
}

/* ---- going on ---- */

/* The mean of the first SPEED_MS, later one that forgets as slowly. */
static void measure_speed(struct receive *receive, uint64_t now_ms)
{
    const uint64_t since_ms = now_ms - receive->told_ms;
    const uint64_t all_ms = now_ms - receive->began_ms;
    const double share = (double)since_ms / (double)(all_ms < SPEED_MS ? all_ms : SPEED_MS);
    const double now = (double)(receive->bytes_received - receive->told_bytes) / (double)since_ms;
    receive->bytes_per_ms += (now - receive->bytes_per_ms) * (share < 1 ? share : 1);
    receive->told_ms = now_ms;
    receive->told_bytes = receive->bytes_received;
}

enum status receive_tell_progress(struct transferer_step *step, struct receive *receive)
{
    struct message signal;
    if (step->input->now_ms < receive->told_ms + RECEIVE_PROGRESS_MS)
        return STATUS_OK;
    enum status status = message_init(&signal, MESSAGE_SIGNAL, SIGNAL_TRANSFER_PROGRESSED);
    if (status != STATUS_OK)
        return status;
    struct transfer_progressed *body = signal.body;
    measure_speed(receive, step->input->now_ms);
    signal.head.expires_ms = step->input->wall_ms + SIGNAL_LIFE_MS;
    body->transfer_id = receive->task.transfer_id;
    body->bytes_have = receive->bytes_have;
    body->bytes_total = receive->bytes_total;
    body->bytes_received = receive->bytes_received;
    body->bytes_per_s = (uint64_t)(receive->bytes_per_ms * 1000);
    for (uint32_t i = 0; i < receive->sources.rest_count && status == STATUS_OK; i++) {
        const struct source_rest *rest = &receive->sources.rests[i];
        const struct transfer_source source = {rest->node_id, rest->bytes};
        if (source.bytes > 0 &&
            !record_list_push(&transfer_source_type, RECORD_LIST(body->sources), &source,
                              NODE_COUNT_MAX))
            status = STATUS_NO_MEMORY;
    }
    if (status == STATUS_OK)
        session_send(&step->transferer->session, &signal, step->outbox);
    message_fini(&signal);
    return status;
}

enum status receive_go_on(struct transferer_step *step, struct receive *receive)
{
    enum status status = receive_tell_progress(step, receive);
    if (status != STATUS_OK || receive->chunk_have < receive->sources.chunk_count)
        return status == STATUS_OK ? receive_fill(step, receive) : status;
    sources_close(step, &receive->sources);
    receive->phase = RECEIVE_PLACING;
    outbox_effect(step->outbox, receive->sources.number, BULK_RECEIVE_PLACE, NULL, NULL);
    return STATUS_OK;
}

static enum status take_placed(struct transferer_step *step, struct receive *receive)
{
    const struct result *result = step->input->result;
    /* Also when it was cancelled meanwhile: it is whole, and the store says so by itself. */
    if (!is_wanted(step->transferer, receive))
        return finish(step, receive, STATUS_CANCELLED, "the transfer is over");
    return receive_end(step, receive, result->status,
                       result->status == STATUS_OK ? "" : result->reason.text);
}

enum status receive_result(struct transferer_step *step)
{
    struct result *result = step->input->result;
    struct receive *receive = &step->transferer->receives[result->id % RECEIVES_MAX];
    if (result->id != receive->sources.number || receive->phase == RECEIVE_IDLE)
        return STATUS_OK;
    if (result->kind == BULK_CHUNK_TOLD)
        return result->value ? receive_chunk(step, receive, result->value) : STATUS_OK;
    if (result->kind == TRANSFERER_FIND)
        return take_found(step, receive, result->value);
    if (result->kind == BULK_RECEIVE_OPEN && receive->phase == RECEIVE_OPENING)
        return take_opened(step, receive, result->value);
    if (result->kind == BULK_RECEIVE_PLACE && receive->phase == RECEIVE_PLACING)
        return take_placed(step, receive);
    return STATUS_OK;
}

/* What lies about of transfers that are over, from before this process began. */
static enum status sweep(struct transferer_step *step)
{
    struct transferer *transferer = step->transferer;
    const struct state *state = &transferer->session.mirror.state;
    struct sweep_request *request = memory_zeroed(1, sizeof(*request));
    if (!request)
        return STATUS_NO_MEMORY;
    transferer->has_swept = true;
    for (uint32_t i = 0; i < state->transfers.count; i++) {
        const struct transfer_record *transfer = &state->transfers.items[i];
        const struct transfer_target *target =
            transfer_find_target(transfer, &transferer->session.mirror.node_id);
        if (target && transfer_target_is_open(target))
            model_receive_name(text_or_empty(transfer->model_id), &transfer->revision,
                               request->kept[request->count++]);
    }
    outbox_effect(step->outbox, 0, BULK_SWEEP, request, memory_free);
    return STATUS_OK;
}

static enum status look_at_state(struct transferer_step *step, struct receive *receive)
{
    /* What a thread works on is waited for: its result comes in any case. */
    const bool is_waiting = receive->phase == RECEIVE_ASKING || receive->phase == RECEIVE_RUNNING;
    if (is_waiting && !is_wanted(step->transferer, receive))
        return finish(step, receive, STATUS_CANCELLED, "the transfer is over");
    return is_waiting ? receive_fill(step, receive) : STATUS_OK;
}

enum status receive_state_changed(struct transferer_step *step)
{
    struct transferer *transferer = step->transferer;
    enum status status = STATUS_OK;
    if (!transferer->has_swept && transferer->session.mirror.has_state)
        status = sweep(step);
    for (size_t i = 0; i < RECEIVES_MAX && status == STATUS_OK; i++)
        status = look_at_state(step, &transferer->receives[i]);
    return status;
}

/* What lacks went everywhere, and did not come back. */
static bool is_hopeless(const struct transferer_step *step, struct receive *receive)
{
    const uint64_t now_ms = step->input->now_ms;
    if (now_ms >= receive->look_ms) {
        receive->look_ms = now_ms + RECEIVE_LOOK_MS;
        if (receive_has_hope(step->transferer, receive))
            receive->hope_ms = 0;
        else if (receive->hope_ms == 0)
            receive->hope_ms = now_ms + RECEIVE_HOPE_MS;
    }
    return receive->hope_ms > 0 && now_ms >= receive->hope_ms;
}

static enum status look_at_time(struct transferer_step *step, struct receive *receive)
{
    char sentence[SENTENCE_SIZE_MAX];
    if (receive->phase != RECEIVE_ASKING && receive->phase != RECEIVE_RUNNING)
        return STATUS_OK;
    if (is_hopeless(step, receive)) {
        (void)snprintf(sentence, sizeof(sentence), "no node has all of %.100s any more: %.300s",
                       text_or_empty(receive->record.model_id),
                       receive->lost.text[0]   ? receive->lost.text
                       : receive->last.text[0] ? receive->last.text
                                               : "its weights went; take the model in again");
        return receive_end(step, receive, STATUS_NO_HOLDER, sentence);
    }
    if (step->input->now_ms >= receive->silent_ms) {
        (void)snprintf(sentence, sizeof(sentence),
                       "no node sends %.100s any more: %.250s; start a node that holds it and ask "
                       "again", text_or_empty(receive->record.model_id),
                       receive->last.text[0] ? receive->last.text : "none that holds it is here");
        return receive_end(step, receive, STATUS_NO_HOLDER, sentence);
    }
    outbox_wake(step->outbox, step->input->now_ms + IDLE_MS);
    enum status status =
        receive->phase == RECEIVE_RUNNING ? receive_tell_progress(step, receive) : STATUS_OK;
    return status == STATUS_OK ? receive_sources_time(step, receive) : status;
}

enum status receive_time(struct transferer_step *step)
{
    enum status status = begin_waiting(step);
    for (size_t i = 0; i < RECEIVES_MAX && status == STATUS_OK; i++)
        status = look_at_time(step, &step->transferer->receives[i]);
    return status;
}
