/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fetch: gets the small files of one model, part by part, from one holder after the other.
 */
#include "actors/transferer/transferer.h"

#include "protocol/hash.h"
#include "protocol/memory.h"

#include <stdio.h>
#include <string.h>

void fetch_clear(struct fetch *fetch)
{
    contents_free(fetch->contents, fetch->record.files.count);
    memory_free(fetch->bytes_have);
    memory_free(fetch->is_right);
    record_fini(&model_record_type, &fetch->record);
    memset(fetch, 0, sizeof(*fetch));
}

static const struct model_record *wanted_model(const struct transferer *transferer)
{
    const struct model_record *model =
        state_find_model(&transferer->session.mirror.state, transferer->tasks[0].model_id);
    return model && ID_EQUAL(model->revision, transferer->tasks[0].revision) ? model : NULL;
}

static const char *node_name(const struct transferer *transferer, const struct node_id *id)
{
    return state_node_name(&transferer->session.mirror.state, id);
}

static void close_link(struct transferer_step *step)
{
    struct fetch *fetch = &step->transferer->fetch;
    if (fetch->link)
        outbox_link_close(step->outbox, fetch->link);
    fetch->link = 0;
    memset(fetch->window, 0, sizeof(fetch->window));
}

/* ---- the end ---- */

static enum status report_failed(struct transferer_step *step, enum status how,
                                 const char *sentence)
{
    struct transferer *transferer = step->transferer;
    const struct fetch_task *task = &transferer->tasks[0];
    struct message message;
    enum status status = message_init(&message, MESSAGE_REPORT, REPORT_SMALL_FILES_FAILED);
    if (status != STATUS_OK)
        return status;
    struct small_files_failed *body = message.body;
    body->node_id = transferer->session.mirror.node_id;
    body->revision = task->revision;
    body->status = how;
    const bool is_filled =
        text_set(&body->model_id, task->model_id) && text_set(&body->reason, sentence);
    return session_report_end(&transferer->session, &message, is_filled,
                              step->input->now_ms, step->outbox);
}

static enum status finish(struct transferer_step *step, enum status how, const char *sentence)
{
    struct transferer *transferer = step->transferer;
    const struct command_key key = transferer->tasks[0].key;
    if (how != STATUS_OK) {
        enum status status = report_failed(step, how, sentence);
        if (status != STATUS_OK)
            return status;
    }
    close_link(step);
    fetch_clear(&transferer->fetch);
    transferer->task_count--;
    memmove(&transferer->tasks[0], &transferer->tasks[1],
            transferer->task_count * sizeof(transferer->tasks[0]));
    enum status status =
        session_answer_key(&transferer->session, &key, how, sentence, step->outbox);
    return status == STATUS_OK ? fetch_begin(step) : status;
}

static enum status report_stored(struct transferer_step *step, enum model_holding holding)
{
    struct transferer *transferer = step->transferer;
    const struct fetch_task *task = &transferer->tasks[0];
    const bool is_whole = holding == MODEL_WHOLE;
    struct message message;
    enum status status = message_init(
        &message, MESSAGE_REPORT, is_whole ? REPORT_HOLDING_CHANGED : REPORT_SMALL_FILES_STORED);
    if (status != STATUS_OK)
        return status;
    bool is_filled = false;
    if (is_whole) {
        struct holding_changed *body = message.body;
        body->node_id = transferer->session.mirror.node_id;
        body->revision = task->revision;
        body->has_small_files = true;
        body->has_weights = true;
        is_filled = text_set(&body->model_id, task->model_id);
    } else {
        struct small_files_stored *body = message.body;
        body->node_id = transferer->session.mirror.node_id;
        body->revision = task->revision;
        is_filled = text_set(&body->model_id, task->model_id);
    }
    return session_report_end(&transferer->session, &message, is_filled,
                              step->input->now_ms, step->outbox);
}

/* ---- one holder ---- */

static bool was_tried(const struct fetch *fetch, const struct node_id *id)
{
    for (uint32_t i = 0; i < fetch->tried_count; i++)
        if (ID_EQUAL(fetch->tried[i], *id))
            return true;
    return false;
}

/* Nodes in view first; the others may be slow to be seen, or the state late. */
static const struct endpoint_record *next_holder(const struct transferer *transferer)
{
    const struct state *state = &transferer->session.mirror.state;
    const struct model_record *model = wanted_model(transferer);
    for (int pass = 0; model && pass < 2; pass++) {
        for (uint32_t i = 0; i < model->holders.count; i++) {
            const struct node_id *id = &model->holders.items[i].node_id;
            const struct node_record *node = state_find_node(state, id);
            const struct endpoint_record *endpoint =
                state_find_endpoint(state, id, ACTOR_TRANSFERER);
            if (!node || node->in_view != (pass == 0) || !endpoint ||
                !text_or_empty(endpoint->address)[0] ||
                strlen(endpoint->address) >= LINK_ENDPOINT_SIZE ||
                ID_EQUAL(*id, transferer->session.mirror.node_id) ||
                was_tried(&transferer->fetch, id))
                continue;
            return endpoint;
        }
    }
    return NULL;
}

static void connect_holder(struct transferer_step *step, const struct endpoint_record *endpoint)
{
    struct transferer *transferer = step->transferer;
    struct fetch *fetch = &transferer->fetch;
    struct link_options options = {.role = LINK_CONNECT, .server_key = endpoint->key,
                                   .message_size_max = TRANSFER_MESSAGE_MAX};
    char address[ADDRESS_SIZE_MAX];
    session_endpoint_address(&transferer->session, endpoint, address);
    (void)snprintf(options.endpoint, sizeof(options.endpoint), "%.127s", address);
    fetch->link = FETCH_LINK_FIRST + transferer->links_used++ % FETCH_LINK_COUNT;
    fetch->holder = endpoint->node_id;
    fetch->tried[fetch->tried_count++] = endpoint->node_id;
    fetch->phase = FETCH_CONNECTING;
    fetch->deadline_ms = step->input->now_ms + FETCH_CONNECT_MS;
    outbox_link_open(step->outbox, fetch->link, &options);
}

/* The next holder, another round after a pause, or the end. */
static enum status try_next(struct transferer_step *step)
{
    struct transferer *transferer = step->transferer;
    struct fetch *fetch = &transferer->fetch;
    char sentence[SENTENCE_SIZE_MAX];
    const struct endpoint_record *endpoint =
        fetch->tried_count < NODE_COUNT_MAX ? next_holder(transferer) : NULL;
    if (endpoint) {
        connect_holder(step, endpoint);
        return STATUS_OK;
    }
    if (++fetch->rounds < FETCH_ROUNDS) {
        fetch->tried_count = 0;
        fetch->phase = FETCH_BACKING_OFF;
        fetch->deadline_ms = step->input->now_ms + (FETCH_BACKOFF_MS << fetch->rounds);
        return STATUS_OK;
    }
    (void)snprintf(sentence, sizeof(sentence),
                   "no node sends the small files of %.100s: %.300s; start a node that holds it",
                   transferer->tasks[0].model_id,
                   fetch->last.text[0] ? fetch->last.text : "none that holds them is here");
    return finish(step, STATUS_NO_HOLDER, sentence);
}

static enum status holder_failed(struct transferer_step *step, const char *what)
{
    struct transferer *transferer = step->transferer;
    struct fetch *fetch = &transferer->fetch;
    (void)snprintf(fetch->last.text, sizeof(fetch->last.text), "%.100s %.250s",
                   node_name(transferer, &fetch->holder), what);
    close_link(step);
    return try_next(step);
}

/* ---- asking ---- */

static bool is_lacking(const struct fetch *fetch, uint32_t file)
{
    return model_file_is_small(&fetch->record.files.items[file]) && !fetch->is_right[file] &&
           fetch->record.files.items[file].size > 0;
}

static enum status ask_part(struct transferer_step *step, struct fetch_part *part)
{
    struct fetch *fetch = &step->transferer->fetch;
    const struct file_entry *file = &fetch->record.files.items[fetch->next_file];
    struct message message;
    enum status status = message_init(&message, MESSAGE_LINK, LINK_FILE_ASKED);
    if (status != STATUS_OK)
        return status;
    struct file_asked *body = message.body;
    body->revision = fetch->record.revision;
    body->offset = fetch->next_offset;
    const struct peer peer = peer_of_link(fetch->link);
    if (text_set(&body->model_id, fetch->record.model_id) && text_set(&body->name, file->name))
        outbox_send(step->outbox, &peer, &message);
    else
        status = STATUS_NO_MEMORY;
    message_fini(&message);
    *part = (struct fetch_part){true, fetch->next_file, fetch->next_offset};
    fetch->next_offset += FILE_PART_SIZE;
    if (fetch->next_offset >= file->size) {
        fetch->next_file++;
        fetch->next_offset = 0;
    }
    return status;
}

static enum status store_all(struct transferer_step *step)
{
    struct fetch *fetch = &step->transferer->fetch;
    struct store_request *request = memory_zeroed(1, sizeof(*request));
    if (!request)
        return STATUS_NO_MEMORY;
    enum status status = record_copy(&model_record_type, &fetch->record, &request->record);
    if (status != STATUS_OK) {
        memory_free(request);
        return status;
    }
    request->contents = fetch->contents;
    fetch->contents = NULL;
    fetch->phase = FETCH_STORING;
    close_link(step);
    outbox_effect(step->outbox, 0, TRANSFERER_STORE, request, store_request_free);
    return STATUS_OK;
}

static enum status ask_more(struct transferer_step *step)
{
    struct fetch *fetch = &step->transferer->fetch;
    bool is_waiting = false;
    for (size_t i = 0; i < FETCH_WINDOW; i++) {
        while (fetch->next_file < fetch->record.files.count &&
               !is_lacking(fetch, fetch->next_file))
            fetch->next_file++;
        if (!fetch->window[i].is_asked && fetch->next_file < fetch->record.files.count) {
            enum status status = ask_part(step, &fetch->window[i]);
            if (status != STATUS_OK)
                return status;
        }
        is_waiting = is_waiting || fetch->window[i].is_asked;
    }
    return is_waiting ? STATUS_OK : store_all(step);
}

static enum status start_asking(struct transferer_step *step)
{
    struct fetch *fetch = &step->transferer->fetch;
    fetch->phase = FETCH_ASKING;
    fetch->deadline_ms = step->input->now_ms + FETCH_PART_MS;
    fetch->next_file = 0;
    fetch->next_offset = 0;
    /* What another holder began is begun again: its parts may be of a wrong file. */
    for (uint32_t i = 0; i < fetch->record.files.count; i++)
        if (!fetch->is_right[i])
            fetch->bytes_have[i] = 0;
    return ask_more(step);
}

static struct fetch_part *asked_part(struct fetch *fetch, const struct file_part *part)
{
    if (!ID_EQUAL(part->revision, fetch->record.revision) ||
        strcmp(text_or_empty(part->model_id), text_or_empty(fetch->record.model_id)) != 0)
        return NULL;
    for (size_t i = 0; i < FETCH_WINDOW; i++)
        if (fetch->window[i].is_asked && fetch->window[i].offset == part->offset &&
            strcmp(fetch->record.files.items[fetch->window[i].file].name,
                   text_or_empty(part->name)) == 0)
            return &fetch->window[i];
    return NULL;
}

static enum status take_part(struct transferer_step *step, const struct file_part *part)
{
    struct fetch *fetch = &step->transferer->fetch;
    char what[200];
    struct fetch_part *asked = asked_part(fetch, part);
    if (!asked)
        return holder_failed(step, "sent a part nobody asked for");
    const uint32_t at = asked->file;
    const struct file_entry *file = &fetch->record.files.items[at];
    const uint64_t left = file->size - asked->offset;
    const size_t expected = left < FILE_PART_SIZE ? (size_t)left : FILE_PART_SIZE;
    if (part->status != STATUS_OK) {
        (void)snprintf(what, sizeof(what), "cannot send %.100s: %s", file->name,
                       status_text((enum status)part->status));
        return holder_failed(step, what);
    }
    if (part->total != file->size || part->part.count != expected) {
        (void)snprintf(what, sizeof(what), "sent a part of %.100s of a wrong size", file->name);
        return holder_failed(step, what);
    }
    memcpy(fetch->contents[at].items + asked->offset, part->part.items, expected);
    fetch->bytes_have[at] += expected;
    asked->is_asked = false;
    fetch->deadline_ms = step->input->now_ms + FETCH_PART_MS;
    if (fetch->bytes_have[at] == file->size) {
        struct hash digest;
        hash_of(fetch->contents[at].items, (size_t)file->size, &digest);
        if (!ID_EQUAL(digest, file->digest)) {
            (void)snprintf(what, sizeof(what), "sent %.100s with a wrong digest", file->name);
            return holder_failed(step, what);
        }
        fetch->is_right[at] = true;
    }
    return ask_more(step);
}

enum status fetch_input(struct transferer_step *step)
{
    const struct input *input = step->input;
    const enum fetch_phase phase = step->transferer->fetch.phase;
    if (phase != FETCH_CONNECTING && phase != FETCH_ASKING)
        return STATUS_OK;
    if (input->kind == INPUT_LINK_UP && phase == FETCH_CONNECTING)
        return start_asking(step);
    if (input->kind == INPUT_LINK_REFUSED)
        return holder_failed(step, input->reason);
    if (input->kind == INPUT_LINK_DOWN && phase == FETCH_ASKING)
        return holder_failed(step, "went away");
    if (input->kind == INPUT_SEND_FAILED)
        return holder_failed(step, "cannot be sent to");
    if (input->kind != INPUT_MESSAGE || phase != FETCH_ASKING)
        return STATUS_OK;
    if (!message_is(input->message, MESSAGE_LINK, LINK_FILE_PART))
        return holder_failed(step, "sent something that is no part of a file");
    return take_part(step, MESSAGE_BODY(input->message, file_part));
}

/* ---- beginning ---- */

static enum status make_room(struct fetch *fetch, const struct model_record *model)
{
    const uint32_t count = model->files.count;
    enum status status = record_copy(&model_record_type, model, &fetch->record);
    if (status != STATUS_OK)
        return status;
    fetch->contents = memory_zeroed(count, sizeof(fetch->contents[0]));
    fetch->bytes_have = memory_zeroed(count, sizeof(fetch->bytes_have[0]));
    fetch->is_right = memory_zeroed(count, sizeof(fetch->is_right[0]));
    if (!fetch->contents || !fetch->bytes_have || !fetch->is_right)
        return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < count; i++) {
        if (!model_file_is_small(&model->files.items[i]))
            continue;
        fetch->contents[i].count = (uint32_t)model->files.items[i].size;
        fetch->contents[i].items = memory_zeroed((size_t)model->files.items[i].size, 1);
        if (!fetch->contents[i].items)
            return STATUS_NO_MEMORY;
    }
    return STATUS_OK;
}

/* Every name and size is judged before anything is sized by it. */
static bool is_sound(const struct model_record *model)
{
    uint64_t bytes = 0;
    if (!model_id_is_sound(model->model_id))
        return false;
    for (uint32_t i = 0; i < model->files.count; i++) {
        const struct file_entry *file = &model->files.items[i];
        if (!model_file_name_is_sound(file->name))
            return false;
        if (!model_file_is_small(file))
            continue;
        if (file->size > SMALL_FILE_SIZE_MAX)
            return false;
        bytes += file->size;
    }
    return bytes <= FETCH_BYTES_MAX;
}

enum status fetch_begin(struct transferer_step *step)
{
    struct transferer *transferer = step->transferer;
    if (transferer->task_count == 0 || transferer->fetch.phase != FETCH_IDLE)
        return STATUS_OK;
    const struct model_record *model = wanted_model(transferer);
    if (!model)
        return finish(step, STATUS_STALE, "the model is gone or has another revision");
    if (!is_sound(model))
        return finish(step, STATUS_INVALID, "the list of files of the model is not to be trusted");
    enum status status = make_room(&transferer->fetch, model);
    struct check_request *check = memory_zeroed(1, sizeof(*check));
    if (status != STATUS_OK || !check) {
        memory_free(check);
        return STATUS_NO_MEMORY;
    }
    transferer->fetch.phase = FETCH_CHECKING;
    (void)snprintf(check->model_id, sizeof(check->model_id), "%s", transferer->tasks[0].model_id);
    outbox_effect(step->outbox, 0, TRANSFERER_CHECK, check, memory_free);
    return STATUS_OK;
}

enum status fetch_checked(struct transferer_step *step, const struct check_request *check)
{
    struct transferer *transferer = step->transferer;
    if (transferer->fetch.phase != FETCH_CHECKING || !check)
        return STATUS_OK;
    if ((check->holding_out == MODEL_SMALL_FILES || check->holding_out == MODEL_WHOLE) &&
        ID_EQUAL(check->revision_out, transferer->tasks[0].revision)) {
        enum status status = report_stored(step, check->holding_out);
        return status == STATUS_OK ? finish(step, STATUS_OK, "") : status;
    }
    return wanted_model(transferer)
               ? try_next(step)
               : finish(step, STATUS_STALE, "the model is gone or has another revision");
}

enum status fetch_stored(struct transferer_step *step)
{
    const struct result *result = step->input->result;
    if (step->transferer->fetch.phase != FETCH_STORING)
        return STATUS_OK;
    if (result->status != STATUS_OK)
        return finish(step, result->status, result->reason.text);
    enum status status = report_stored(step, MODEL_SMALL_FILES);
    return status == STATUS_OK ? finish(step, STATUS_OK, "") : status;
}

enum status fetch_state_changed(struct transferer_step *step)
{
    struct transferer *transferer = step->transferer;
    const enum fetch_phase phase = transferer->fetch.phase;
    /* What the shell works on is waited for: its result comes in any case. */
    if (phase == FETCH_IDLE || phase == FETCH_CHECKING || phase == FETCH_STORING ||
        wanted_model(transferer))
        return STATUS_OK;
    return finish(step, STATUS_STALE, "the model is gone or has another revision");
}

enum status fetch_time(struct transferer_step *step)
{
    struct fetch *fetch = &step->transferer->fetch;
    enum status status = STATUS_OK;
    if (fetch->phase != FETCH_CONNECTING && fetch->phase != FETCH_ASKING &&
        fetch->phase != FETCH_BACKING_OFF)
        return STATUS_OK;
    if (step->input->now_ms >= fetch->deadline_ms) {
        if (fetch->phase == FETCH_BACKING_OFF)
            status = try_next(step);
        else
            status = holder_failed(step, fetch->phase == FETCH_CONNECTING ? "cannot be reached"
                                                                          : "fell silent");
    }
    if (fetch->phase != FETCH_IDLE && fetch->deadline_ms > step->input->now_ms)
        outbox_wake(step->outbox, fetch->deadline_ms);
    return status;
}
