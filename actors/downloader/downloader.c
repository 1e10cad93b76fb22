/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/downloader/downloader.h"
#include "actors/downloader/room_state.h"

#include "actors/downloader/hub_plan.h"
#include "protocol/holdings.h"
#include "protocol/memory.h"

#include <stdio.h>
#include <string.h>

#define SIGNAL_LIFE_MS 2000u

struct downloader_step {
    struct downloader *downloader;
    const struct input *input;
    struct outbox *outbox;
    struct reason *reason;
};

static const struct node_id *own_node(const struct downloader *downloader)
{
    return &downloader->session.mirror.node_id;
}

static const struct state *state_of(const struct downloader *downloader)
{
    return &downloader->session.mirror.state;
}

/* ---- reports ---- */

static enum status report(struct downloader_step *step, struct message *message, bool is_filled)
{
    return session_report_end(&step->downloader->session, message, is_filled,
                              step->input->now_ms, step->outbox);
}

static enum status report_imported(struct downloader_step *step, const struct model_record *record,
                                   bool is_found)
{
    struct message message;
    enum status status = message_init(&message, MESSAGE_REPORT, REPORT_MODEL_IMPORTED);
    if (status != STATUS_OK)
        return status;
    struct model_imported *body = message.body;
    body->node_id = *own_node(step->downloader);
    body->is_found = is_found;
    return report(step, &message,
                  record_copy(&model_record_type, record, &body->model) == STATUS_OK);
}

static enum status report_failed(struct downloader_step *step, const struct held_task *task)
{
    struct message message;
    enum status status = message_init(&message, MESSAGE_REPORT, REPORT_MODEL_IMPORT_FAILED);
    if (status != STATUS_OK)
        return status;
    struct model_import_failed *body = message.body;
    body->node_id = *own_node(step->downloader);
    body->status = task->status;
    return report(step, &message,
                  text_set(&body->model_id, task->model_id) &&
                      text_set(&body->reason, task->reason.text));
}

/* Of what is not whole, `held` says which files; it may be NULL: only the small ones. */
static enum status report_holding(struct downloader_step *step, const struct model_record *model,
                                  enum model_holding holding, const uint8_t *held)
{
    const bool is_part = holding == MODEL_SMALL_FILES && held;
    struct message message;
    enum status status = message_init(&message, MESSAGE_REPORT, REPORT_HOLDING_CHANGED);
    if (status != STATUS_OK)
        return status;
    struct holding_changed *body = message.body;
    body->node_id = *own_node(step->downloader);
    body->revision = model->revision;
    body->has_small_files = holding == MODEL_SMALL_FILES || holding == MODEL_WHOLE;
    body->has_weights = holding == MODEL_WHOLE;
    return report(step, &message,
                  text_set(&body->model_id, model->model_id) &&
                      (!is_part || bytes_set(&body->held, held, model->files.count / 8 + 1)));
}

/* ---- tasks ---- */

static struct held_task *task_of_key(struct downloader *downloader, const struct command_key *key)
{
    for (uint32_t i = 0; i < downloader->task_count; i++)
        if (ID_EQUAL(downloader->tasks[i].key, *key))
            return &downloader->tasks[i];
    return NULL;
}

static struct held_task *task_of_id(struct downloader *downloader, uint64_t id)
{
    for (uint32_t i = 0; i < downloader->task_count; i++)
        if (downloader->tasks[i].id == id)
            return &downloader->tasks[i];
    return NULL;
}

static struct held_task *task_of_model(struct downloader *downloader, const char *model_id)
{
    for (uint32_t i = 0; i < downloader->task_count; i++)
        if (strcmp(downloader->tasks[i].model_id, model_id) == 0)
            return &downloader->tasks[i];
    return NULL;
}

static void task_forget(struct downloader *downloader, struct held_task *task)
{
    *task = downloader->tasks[--downloader->task_count];
}

static struct task_held told_of(const struct held_task *task)
{
    return (struct task_held){.key = task->key, .code = task->code, .phase = task->phase};
}

static enum status answer_held(struct downloader_step *step, const struct held_task *task)
{
    const struct task_held held = told_of(task);
    return session_answer_held(&step->downloader->session, &held,
                               task->phase == TASK_FAILED ? task->status : STATUS_OK,
                               task->reason.text, step->outbox);
}

static enum status list_tasks(struct downloader_step *step, const struct message *task)
{
    struct downloader *downloader = step->downloader;
    struct message answer;
    enum status status = message_init(&answer, MESSAGE_ANSWER, ANSWER_TASKS);
    if (status != STATUS_OK)
        return status;
    struct tasks_listed *body = answer.body;
    answer.head.key = task->head.key;
    for (uint32_t i = 0; i < downloader->task_count && status == STATUS_OK; i++) {
        const struct task_held record = told_of(&downloader->tasks[i]);
        if (!record_list_push(&task_held_type, RECORD_LIST(body->tasks), &record,
                              DOWNLOADER_TASKS_MAX))
            status = STATUS_NO_MEMORY;
    }
    if (status == STATUS_OK)
        session_send(&downloader->session, &answer, step->outbox);
    message_fini(&answer);
    return status;
}

/* ---- deletions ---- */

/* What takes a model in meanwhile would lose files it placed, under the names of those that go. */
static bool is_being_deleted(const struct downloader *downloader, const char *model_id)
{
    bool is_any = downloader->deletion_count == DOWNLOADER_DELETIONS_MAX;
    for (uint32_t i = 0; i < downloader->deletion_count && !is_any; i++)
        is_any = strcmp(downloader->deletions[i].model_id, model_id) == 0;
    return is_any;
}

static void deletion_begun(struct downloader *downloader, uint64_t id, const char *model_id)
{
    if (downloader->deletion_count == DOWNLOADER_DELETIONS_MAX)
        return; /* nothing is taken in until one of the others ended */
    struct deletion *deletion = &downloader->deletions[downloader->deletion_count++];
    deletion->id = id;
    (void)snprintf(deletion->model_id, sizeof(deletion->model_id), "%s", model_id);
}

static void deletion_ended(struct downloader *downloader, uint64_t id)
{
    for (uint32_t i = 0; i < downloader->deletion_count; i++)
        if (downloader->deletions[i].id == id) {
            downloader->deletions[i] = downloader->deletions[--downloader->deletion_count];
            return;
        }
}

/* ---- wishes ---- */

struct wish {
    enum downloader_effect effect;
    const char *model_id;
    const char *path;
    const char *hub_revision;
    bool is_pinned;
    uint64_t used_ms;
    uint64_t bytes;
};

static enum status ask_shell(struct downloader_step *step, const struct wish *wish, uint64_t id)
{
    struct import_request *request = memory_zeroed(1, sizeof(*request));
    if (!request)
        return STATUS_NO_MEMORY;
    request->model_id = memory_text(wish->model_id, strlen(wish->model_id));
    request->path = memory_text(wish->path, strlen(wish->path));
    request->hub_revision = memory_text(wish->hub_revision, strlen(wish->hub_revision));
    if (!request->model_id || !request->path || !request->hub_revision) {
        import_request_free(request);
        return STATUS_NO_MEMORY;
    }
    const struct model_record *used = room_in_use(state_of(step->downloader), wish->model_id);
    request->revision_in_use = used ? used->revision : (struct hash){{0}};
    (void)snprintf(request->commit_in_use, sizeof(request->commit_in_use), "%s",
                   used ? text_or_empty(used->commit) : "");
    request->is_pinned = wish->is_pinned;
    request->used_ms = wish->used_ms;
    request->bytes = wish->bytes;
    if (wish->effect == DOWNLOADER_DELETE)
        deletion_begun(step->downloader, id, wish->model_id);
    outbox_effect(step->outbox, id, wish->effect, request, import_request_free);
    return STATUS_OK;
}

/* What this node does of a download, as the state has it now. */
static enum status tell_plan(struct downloader_step *step, const struct held_task *task)
{
    struct hub_plan *plan = memory_zeroed(1, sizeof(*plan));
    if (!plan)
        return STATUS_NO_MEMORY;
    enum status status = hub_plan_of(state_of(step->downloader), own_node(step->downloader),
                                     task->model_id, plan);
    if (status == STATUS_OK)
        outbox_effect(step->outbox, task->id, DOWNLOADER_PLAN, plan, plan_request_free);
    else
        plan_request_free(plan);
    return status;
}

static enum status tell_plans(struct downloader_step *step)
{
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < step->downloader->task_count && status == STATUS_OK; i++)
        if (step->downloader->tasks[i].is_pull && step->downloader->tasks[i].phase == TASK_RUNNING)
            status = tell_plan(step, &step->downloader->tasks[i]);
    return status;
}

/* A new task: held, and given to the shell. */
static enum status begin(struct downloader_step *step, const struct message *message,
                         const struct wish *wish)
{
    struct downloader *downloader = step->downloader;
    if (downloader->task_count == DOWNLOADER_TASKS_MAX)
        return session_answer(&downloader->session, message, STATUS_BUSY,
                              "too many models are being taken in; it is tried again",
                              step->outbox);
    if (wish->effect != DOWNLOADER_DELETE && is_being_deleted(downloader, wish->model_id))
        return session_answer(&downloader->session, message, STATUS_BUSY,
                              "its old files are being deleted; it is tried again", step->outbox);
    struct held_task *task = &downloader->tasks[downloader->task_count++];
    *task = (struct held_task){.id = ++downloader->last_id,
                               .key = message->head.key,
                               .code = message->head.code,
                               .is_pull = wish->effect == DOWNLOADER_PULL,
                               .phase = TASK_RUNNING};
    (void)snprintf(task->model_id, sizeof(task->model_id), "%s", wish->model_id);
    enum status status = ask_shell(step, wish, task->id);
    if (status == STATUS_OK && task->is_pull)
        status = tell_plan(step, task);
    return status == STATUS_OK ? answer_held(step, task) : status;
}

static enum status take_task(struct downloader_step *step, const struct message *message)
{
    struct downloader *downloader = step->downloader;
    const struct held_task *held = task_of_key(downloader, &message->head.key);
    if (message->head.code == TASK_LIST_TASKS)
        return list_tasks(step, message);
    if (held)
        return answer_held(step, held);
    if (message->head.code == TASK_IMPORT_MODEL) {
        const struct import_model *body = MESSAGE_BODY(message, import_model);
        const char *path = text_or_empty(body->path);
        const struct wish wish = {path[0] ? DOWNLOADER_IMPORT : DOWNLOADER_PULL,
                                  text_or_empty(body->model_id), path,
                                  text_or_empty(body->hub_revision), false, 0, 0};
        return begin(step, message, &wish);
    }
    if (message->head.code == TASK_DELETE_FILES) {
        const struct delete_files *body = MESSAGE_BODY(message, delete_files);
        const struct wish wish = {DOWNLOADER_DELETE, text_or_empty(body->model_id), "", "",
                                  false, 0, 0};
        return begin(step, message, &wish);
    }
    return session_answer(&downloader->session, message, STATUS_UNSUPPORTED,
                          "the downloader does not do that", step->outbox);
}

/* ---- results ---- */

static enum status task_ended(struct downloader_step *step)
{
    struct downloader *downloader = step->downloader;
    const struct result *result = step->input->result;
    struct held_task *task = task_of_id(downloader, result->id);
    deletion_ended(downloader, result->id);
    if (!task) /* model_removed asked for it */
        return STATUS_OK;
    const bool is_import = task->code == TASK_IMPORT_MODEL;
    task->phase = result->status == STATUS_OK ? TASK_DONE : TASK_FAILED;
    task->status = result->status;
    (void)snprintf(task->reason.text, sizeof(task->reason.text), "%s",
                   result->status == STATUS_OK ? ""
                   : result->reason.text[0]    ? result->reason.text
                                               : status_text(result->status));
    enum status status = STATUS_OK;
    if (is_import && task->phase == TASK_DONE)
        status = report_imported(step, result->value, false);
    else if (is_import)
        status = report_failed(step, task);
    if (status == STATUS_OK)
        status = answer_held(step, task);
    if (!is_import || !state_find_import(state_of(downloader), own_node(downloader),
                                         task->model_id))
        task_forget(downloader, task);
    return status;
}

/* What the others who pull it must know of. */
static enum status report_shared(struct downloader_step *step, enum report_code code,
                                 const struct record_type *type)
{
    const struct result *result = step->input->result;
    struct message message;
    if (!task_of_id(step->downloader, result->id))
        return STATUS_OK;
    enum status status = message_init(&message, MESSAGE_REPORT, code);
    if (status != STATUS_OK)
        return status;
    record_fini(type, message.body);
    return report(step, &message, record_copy(type, result->value, message.body) == STATUS_OK);
}

static enum status tell_progress(struct downloader_step *step)
{
    struct message signal;
    enum status status = message_init(&signal, MESSAGE_SIGNAL, SIGNAL_IMPORT_PROGRESSED);
    if (status != STATUS_OK)
        return status;
    signal.head.expires_ms = step->input->wall_ms + SIGNAL_LIFE_MS;
    record_fini(&import_progressed_type, signal.body);
    status = record_copy(&import_progressed_type, step->input->result->value, signal.body);
    if (status == STATUS_OK)
        MESSAGE_BODY(&signal, import_progressed)->node_id = *own_node(step->downloader);
    if (status == STATUS_OK)
        session_send(&step->downloader->session, &signal, step->outbox);
    message_fini(&signal);
    return status;
}

/* ---- what lies in the store against what the state says ---- */

static void look(struct downloader_step *step)
{
    struct downloader *downloader = step->downloader;
    downloader->is_looking = true;
    downloader->look_again = false;
    downloader->looked_index = state_of(downloader)->index;
    outbox_effect(step->outbox, LOOK_WHOLE, DOWNLOADER_LOOK, NULL, NULL);
}

/* While nothing is being stored or looked at.  What it finds changed, a whole look decides. */
static void glance(struct downloader_step *step)
{
    struct downloader *downloader = step->downloader;
    if (!downloader->session.mirror.has_state)
        return;
    if (step->input->now_ms >= downloader->glance_at_ms) {
        const bool is_first = downloader->glance_at_ms == 0;
        downloader->glance_at_ms = step->input->now_ms + DOWNLOADER_GLANCE_MS;
        if (!is_first && !downloader->is_looking && downloader->task_count == 0) {
            downloader->is_looking = true;
            outbox_effect(step->outbox, LOOK_GLANCE, DOWNLOADER_LOOK, NULL, NULL);
        }
    }
    outbox_wake(step->outbox, downloader->glance_at_ms);
}

static const struct found_model *found_of(const struct store_found *found,
                                          const struct model_record *model)
{
    for (uint32_t i = 0; i < found->count; i++)
        if (strcmp(text_or_empty(found->models[i].record.model_id),
                   text_or_empty(model->model_id)) == 0 &&
            ID_EQUAL(found->models[i].record.revision, model->revision))
            return &found->models[i];
    return NULL;
}

/* The state says of this node's disk what was found there. */
static bool is_as_told(const struct downloader *downloader, const struct model_record *model,
                       const struct found_model *here)
{
    const struct holder_record *holder = model_find_holder(model, own_node(downloader));
    if (!here || here->holding < MODEL_SMALL_FILES)
        return !holder;
    if (!holder || holder->has_weights != (here->holding == MODEL_WHOLE))
        return false;
    bool is_same = true;
    for (uint32_t i = 0; i < model->files.count && !holder->has_weights; i++)
        is_same = is_same && (model_file_is_small(&model->files.items[i]) ||
                              file_set_has(here->held, FILE_SET_BYTES_MAX, i) ==
                                  holder_has_file(holder, i));
    return is_same;
}

static enum status compare_known(struct downloader_step *step, const struct store_found *found)
{
    const struct state *state = state_of(step->downloader);
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < state->models.count && status == STATUS_OK; i++) {
        const struct model_record *model = &state->models.items[i];
        const struct found_model *here = found_of(found, model);
        const bool is_here = here && here->holding >= MODEL_SMALL_FILES;
        if (!is_as_told(step->downloader, model, here))
            status = report_holding(step, model, is_here ? here->holding : MODEL_ABSENT,
                                    is_here ? here->held : NULL);
    }
    return status;
}

static bool is_same_everywhere(const struct downloader *downloader,
                               const struct store_found *found)
{
    const struct state *state = state_of(downloader);
    for (uint32_t i = 0; i < state->models.count; i++)
        if (!is_as_told(downloader, &state->models.items[i],
                        found_of(found, &state->models.items[i])))
            return false;
    return true;
}

/* Told by an earlier version: without the names hubs have for its files, or never cut in chunks. */
static bool lacks_names(const struct model_record *known, const struct model_record *here)
{
    const bool has_new = (!text_or_empty(known->commit)[0] && text_or_empty(here->commit)[0]) ||
                         (ID_IS_ZERO(known->manifest) && !ID_IS_ZERO(here->manifest));
    return has_new && ID_EQUAL(known->revision, here->revision);
}

static enum status take_found(struct downloader_step *step)
{
    struct downloader *downloader = step->downloader;
    const struct store_found *found = step->input->result->value;
    const struct state *state = state_of(downloader);
    downloader->is_looking = false;
    if (step->input->result->status != STATUS_OK || !found)
        return refuse(step->reason, step->input->result->status, "%s",
                      step->input->result->reason.text);
    if (step->input->result->id == LOOK_GLANCE) {
        if (downloader->look_again || !is_same_everywhere(downloader, found))
            look(step);
        return STATUS_OK;
    }
    /* What was stored while we looked is no contradiction: a quiet look decides. */
    if (downloader->look_again ||
        (state->index != downloader->looked_index && !is_same_everywhere(downloader, found) &&
         ++downloader->looks < DOWNLOADER_LOOKS_MAX)) {
        look(step);
        return STATUS_OK;
    }
    downloader->looks = 0;
    /* What was told and is no event yet may be that it was taken in anew. */
    const bool is_quiet = downloader->session.report_count == 0;
    enum status status = compare_known(step, found);
    for (uint32_t i = 0; i < found->count && status == STATUS_OK; i++) {
        const struct found_model *here = &found->models[i];
        const char *model_id = text_or_empty(here->record.model_id);
        const struct model_record *known = state_find_model(state, model_id);
        const struct wish wish = {DOWNLOADER_DELETE, model_id, "", "", false, 0, 0};
        const bool is_removed =
            !known && state_find_removed(state, model_id, &here->record.revision);
        if (is_removed && is_quiet && !task_of_model(downloader, model_id))
            status = ask_shell(step, &wish, ++downloader->last_id); /* while we were away */
        else if (is_removed)
            continue;
        else if (here->holding == MODEL_WHOLE && (!known || lacks_names(known, &here->record)))
            status = report_imported(step, &here->record, true);
    }
    return status;
}

/* ---- room ---- */

/* What was promised to other work of this node, and does not lie in the store yet. */
static uint64_t promised(const struct downloader *downloader, const struct store_room *room)
{
    uint64_t bytes = room_promised(state_of(downloader), own_node(downloader), room->model_id);
    for (uint32_t i = 0; i < downloader->task_count; i++) {
        const struct held_task *task = &downloader->tasks[i];
        uint64_t here = 0;
        if (task->phase != TASK_RUNNING || strcmp(task->model_id, room->model_id) == 0)
            continue;
        for (uint32_t k = 0; k < room->count; k++)
            if (strcmp(room->models[k].model_id, task->model_id) == 0)
                here = room->models[k].usage.bytes;
        bytes += task->room_bytes > here ? task->room_bytes - here : 0;
    }
    return bytes;
}

static enum status choose_room(struct downloader_step *step, const struct store_room *room,
                               struct room_model *models, struct room_answer *answer)
{
    const struct state *state = state_of(step->downloader);
    const struct room_wanted wanted = {room->model_id, room->bytes, room->quota, room->free_bytes,
                                       promised(step->downloader, room)};
    struct held_task *task = task_of_id(step->downloader, step->input->result->id);
    for (uint32_t i = 0; i < room->count; i++) {
        const struct room_held *held = &room->models[i];
        models[i] = (struct room_model){.model_id = held->model_id,
                                        .bytes = held->usage.bytes,
                                        .used_ms = held->usage.used_ms,
                                        .is_kept = held->usage.is_pinned ||
                                                   strcmp(held->model_id, room->model_id) == 0 ||
                                                   room_is_kept(state, held->model_id)};
    }
    answer->status = room_choose(&wanted, models, room->count, &answer->reason);
    if (task && answer->status == STATUS_OK)
        task->room_bytes = room->bytes;
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < room->count && status == STATUS_OK; i++) {
        if (!models[i].is_chosen)
            continue;
        (void)snprintf(answer->names[answer->count++], sizeof(answer->names[0]), "%s",
                       models[i].model_id);
        status = report_holding(step, state_find_model(state, models[i].model_id), MODEL_ABSENT,
                                NULL);
    }
    return status;
}

/* The cluster hears first that this node has them no more, then the shell removes them. */
static enum status make_room(struct downloader_step *step)
{
    const struct store_room *room = step->input->result->value;
    struct room_model *models = memory_zeroed(MODEL_COUNT_MAX, sizeof(*models));
    struct room_answer *answer = memory_zeroed(1, sizeof(*answer));
    if (!models || !answer) {
        memory_free(models);
        memory_free(answer);
        return STATUS_NO_MEMORY;
    }
    const enum status status = choose_room(step, room, models, answer);
    memory_free(models);
    outbox_effect(step->outbox, step->input->result->id, DOWNLOADER_ROOM, answer, memory_free);
    return status;
}

/* A copy of a peer's model is on its way to this disk. */
static enum status clear_for_transfer(struct downloader_step *step)
{
    const struct state *state = state_of(step->downloader);
    const struct transfer_record *transfer =
        &MESSAGE_BODY(step->input->message, transfer_requested)->transfer;
    const struct model_record *model =
        state_find_model(state, text_or_empty(transfer->model_id));
    const struct transfer_target *target =
        transfer_find_target(transfer, own_node(step->downloader));
    if (!model || !target || !transfer_target_is_open(target))
        return STATUS_OK;
    struct wish wish = {.effect = DOWNLOADER_CLEAR,
                        .model_id = model->model_id,
                        .path = "",
                        .hub_revision = ""};
    const struct holder_record *held = model_find_holder(model, own_node(step->downloader));
    for (uint32_t i = 0; i < model->files.count; i++)
        wish.bytes += holder_has_file(held, i) ? 0 : model->files.items[i].size;
    return ask_shell(step, &wish, ++step->downloader->last_id);
}

static enum status take_result(struct downloader_step *step)
{
    switch ((enum downloader_effect)step->input->result->kind) {
    case DOWNLOADER_LOOK:
        return take_found(step);
    case DOWNLOADER_IMPORT:
    case DOWNLOADER_PULL:
    case DOWNLOADER_DELETE:
        return task_ended(step);
    case DOWNLOADER_CANCEL:
    case DOWNLOADER_PLAN:
    case DOWNLOADER_CLEAR:
    case DOWNLOADER_NOTE:
        return STATUS_OK;
    case DOWNLOADER_ROOM:
        return make_room(step);
    case DOWNLOADER_RESOLVED: {
        struct download_resolved *resolved = step->input->result->value;
        resolved->node_id = *own_node(step->downloader);
        return report_shared(step, REPORT_DOWNLOAD_RESOLVED, &download_resolved_type);
    }
    case DOWNLOADER_PLACED: {
        struct file_downloaded *placed = step->input->result->value;
        placed->node_id = *own_node(step->downloader);
        return report_shared(step, REPORT_FILE_DOWNLOADED, &file_downloaded_type);
    }
    case DOWNLOADER_HINDERED: {
        struct download_hindered *hindered = step->input->result->value;
        hindered->node_id = *own_node(step->downloader);
        return report_shared(step, REPORT_DOWNLOAD_HINDERED, &download_hindered_type);
    }
    case DOWNLOADER_PROGRESS:
        return tell_progress(step);
    }
    return STATUS_INTERNAL;
}

/* A runner or the transferer found files changed: what is right after all, as when they were only
 * touched, is told again.  Small files came: weights of an ended download may lie beside them. */
static void look_after_change(struct downloader_step *step)
{
    struct downloader *downloader = step->downloader;
    const struct message *event = step->input->message;
    const bool is_lost = message_is(event, MESSAGE_EVENT, EVENT_HOLDING_CHANGED) &&
                         ID_EQUAL(MESSAGE_BODY(event, holding_changed)->node_id,
                                  *own_node(downloader)) &&
                         event->head.actor != ACTOR_DOWNLOADER &&
                         !MESSAGE_BODY(event, holding_changed)->has_weights;
    const bool is_begun = message_is(event, MESSAGE_EVENT, EVENT_SMALL_FILES_STORED) &&
                          ID_EQUAL(MESSAGE_BODY(event, small_files_stored)->node_id,
                                   *own_node(downloader));
    if ((is_lost || is_begun) && downloader->is_looking)
        downloader->look_again = true;
    else if (is_lost || is_begun)
        look(step);
}

/* NULL: the event says nothing that is noted of a model. */
static const char *noted_model(const struct state *state, const struct message *event)
{
    const struct instance_record *instance = NULL;
    if (message_is(event, MESSAGE_EVENT, EVENT_MODEL_PINNED))
        return MESSAGE_BODY(event, model_pinned)->model_id;
    if (message_is(event, MESSAGE_EVENT, EVENT_INSTANCE_PLACED))
        return MESSAGE_BODY(event, instance_placed)->instance.model_id;
    if (message_is(event, MESSAGE_EVENT, EVENT_GENERATION_STARTED))
        instance =
            state_find_instance(state, &MESSAGE_BODY(event, generation_started)->instance_id);
    return instance ? instance->model_id : NULL;
}

/* What outlives this cluster: the node keeps it beside what it knows of the model's files. */
static enum status note(struct downloader_step *step)
{
    const struct state *state = state_of(step->downloader);
    const char *model_id = noted_model(state, step->input->message);
    const struct model_record *model = model_id ? state_find_model(state, model_id) : NULL;
    if (!model || !model_find_holder(model, own_node(step->downloader)))
        return STATUS_OK;
    const struct wish wish = {.effect = DOWNLOADER_NOTE,
                              .model_id = model_id,
                              .path = "",
                              .hub_revision = "",
                              .is_pinned = model->is_pinned,
                              .used_ms = model->used_ms};
    return ask_shell(step, &wish, ++step->downloader->last_id);
}

/* What of this node's work nobody wants any more; NULL: the event says nothing of that. */
static const char *unwanted_model(const struct downloader *downloader, const struct message *event)
{
    if (message_is(event, MESSAGE_EVENT, EVENT_MODEL_REMOVED))
        return text_or_empty(MESSAGE_BODY(event, model_removed)->model_id);
    /* Of work that runs another says so: the leader. */
    return message_is(event, MESSAGE_EVENT, EVENT_MODEL_IMPORT_FAILED) &&
                   ID_EQUAL(MESSAGE_BODY(event, model_import_failed)->node_id,
                            *own_node(downloader))
               ? text_or_empty(MESSAGE_BODY(event, model_import_failed)->model_id)
               : NULL;
}

static enum status take_event(struct downloader_step *step)
{
    struct downloader *downloader = step->downloader;
    look_after_change(step);
    for (uint32_t i = downloader->task_count; i-- > 0;) {
        struct held_task *task = &downloader->tasks[i];
        if (task->phase != TASK_RUNNING &&
            !state_find_import(state_of(downloader), own_node(downloader), task->model_id))
            task_forget(downloader, task);
    }
    enum status status =
        hub_plan_is_changed_by(step->input->message) ? tell_plans(step) : STATUS_OK;
    if (status == STATUS_OK &&
        message_is(step->input->message, MESSAGE_EVENT, EVENT_TRANSFER_REQUESTED))
        status = clear_for_transfer(step);
    const char *model_id = unwanted_model(downloader, step->input->message);
    if (!model_id)
        return status == STATUS_OK ? note(step) : status;
    for (uint32_t i = 0; i < downloader->task_count && status == STATUS_OK; i++) {
        const struct held_task *task = &downloader->tasks[i];
        const struct wish cancel = {DOWNLOADER_CANCEL, model_id, "", "", false, 0, 0};
        if (task->phase == TASK_RUNNING && task->code == TASK_IMPORT_MODEL &&
            strcmp(task->model_id, model_id) == 0)
            status = ask_shell(step, &cancel, task->id);
    }
    if (!message_is(step->input->message, MESSAGE_EVENT, EVENT_MODEL_REMOVED))
        return status;
    const struct wish wish = {DOWNLOADER_DELETE, model_id, "", "", false, 0, 0};
    return status == STATUS_OK ? ask_shell(step, &wish, ++downloader->last_id) : status;
}

static enum status take_change(struct downloader_step *step, enum mirror_change change)
{
    struct downloader *downloader = step->downloader;
    if (change == MIRROR_WELCOMED && !downloader->is_ready_told) {
        downloader->is_ready_told = true;
        outbox_ready(step->outbox);
    }
    if (change == MIRROR_APPLIED)
        return take_event(step);
    if (change == MIRROR_REPLACED && downloader->is_looking)
        downloader->look_again = true;
    else if (change == MIRROR_REPLACED)
        look(step);
    return change == MIRROR_REPLACED ? tell_plans(step) : STATUS_OK;
}

static enum status downloader_step(void *actor, const struct input *input, struct outbox *outbox,
                                   struct reason *reason)
{
    struct downloader *downloader = actor;
    struct downloader_step step = {downloader, input, outbox, reason};
    enum mirror_change change;
    if (input->kind == INPUT_START)
        session_open(&downloader->session, outbox);
    if (input->kind == INPUT_STOP) {
        outbox_exit(outbox, 0);
        return STATUS_OK;
    }
    enum status status = session_take(&downloader->session, input, outbox, &change, reason);
    if (status == STATUS_OK)
        status = take_change(&step, change);
    if (status == STATUS_OK && session_is_task(input))
        status = take_task(&step, input->message);
    if (status == STATUS_OK && input->kind == INPUT_RESULT)
        status = take_result(&step);
    if (status == STATUS_OK)
        glance(&step);
    return status;
}

static enum status downloader_init(void *actor, const void *settings, struct reason *reason)
{
    (void)reason;
    struct downloader *downloader = actor;
    session_init(&downloader->session, settings);
    return STATUS_OK;
}

static void downloader_fini(void *actor)
{
    struct downloader *downloader = actor;
    session_fini(&downloader->session);
}

const struct actor_ops downloader_ops = {.name = "downloader",
                                         .memory_size = sizeof(struct downloader),
                                         .init = downloader_init,
                                         .step = downloader_step,
                                         .fini = downloader_fini};
