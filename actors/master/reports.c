/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reports: what an actor saw becomes the event of the same record, or is refused as stale.
 *
 * A repeated report (same incarnation, a sequence already seen) and one that would change nothing
 * are answered OK without an event.
 */
#include "actors/master/master.h"
#include "actors/master/model_names.h"

#include "protocol/holdings.h"
#include "runtime/hub_names.h"

#include <string.h>

struct decision {
    struct master *master;
    const struct message *report;
    struct reason *reason;
    bool is_needed; /* false: true already */
};

static enum status stale(struct decision *decision, const char *what)
{
    return refuse(decision->reason, STATUS_STALE, "%s is over", what);
}

static struct instance_record *present(struct decision *decision, const struct instance_id *id,
                                       const struct generation *generation)
{
    struct instance_record *instance = state_find_instance(&decision->master->state, id);
    if (!instance || !generation_equal(&instance->generation, generation) ||
        (instance->status != INSTANCE_STARTING && instance->status != INSTANCE_READY))
        return NULL;
    return instance;
}

static bool says_itself(const struct decision *decision, const struct node_id *node_id)
{
    return ID_EQUAL(*node_id, decision->report->head.node_id);
}

static enum status node_described(struct decision *decision)
{
    const struct node_described *body = decision->report->body;
    if (!says_itself(decision, &body->node.node_id) ||
        !state_find_node(&decision->master->state, &body->node.node_id))
        return refuse(decision->reason, STATUS_NOT_ADMITTED, "the node is not in the cluster");
    return STATUS_OK;
}

static enum status endpoint_opened(struct decision *decision)
{
    const struct endpoint_record *endpoint =
        &MESSAGE_BODY(decision->report, endpoint_opened)->endpoint;
    const struct endpoint_record *known = state_find_endpoint(
        &decision->master->state, &endpoint->node_id, (enum actor_kind)endpoint->actor);
    if (!says_itself(decision, &endpoint->node_id))
        return refuse(decision->reason, STATUS_REFUSED, "a node speaks for itself only");
    decision->is_needed = !known || !record_equal(&endpoint_record_type, known, endpoint);
    return STATUS_OK;
}

static enum status endpoint_closed(struct decision *decision)
{
    const struct endpoint_closed *body = decision->report->body;
    const struct endpoint_record *known =
        state_find_endpoint(&decision->master->state, &body->node_id, (enum actor_kind)body->actor);
    if (!says_itself(decision, &body->node_id))
        return refuse(decision->reason, STATUS_REFUSED, "a node speaks for itself only");
    decision->is_needed = known && known->incarnation == body->incarnation;
    return STATUS_OK;
}

/* What one node says it took in, all nodes name files and size memory by. */
static enum status check_files(const struct decision *decision, const struct model_record *model)
{
    uint64_t bytes = 0;
    if (!model_id_is_sound(model->model_id))
        return refuse(decision->reason, STATUS_INVALID, "%.100s is no name for a model",
                      text_or_empty(model->model_id));
    for (uint32_t i = 0; i < model->files.count; i++) {
        const struct file_entry *file = &model->files.items[i];
        if (!hub_path_is_sound(file->name) ||
            (i > 0 && strcmp(model->files.items[i - 1].name, file->name) >= 0))
            return refuse(decision->reason, STATUS_INVALID,
                          "%.100s is no name for a file of a model", text_or_empty(file->name));
        if (file->size > (uint64_t)INT64_MAX - bytes)
            return refuse(decision->reason, STATUS_TOO_LARGE,
                          "the files of %.100s are larger than any disk", model->model_id);
        bytes += file->size;
    }
    return STATUS_OK;
}

static enum status model_imported(struct decision *decision)
{
    const struct model_imported *body = decision->report->body;
    const struct model_record *model =
        state_find_model(&decision->master->state, text_or_empty(body->model.model_id));
    const struct holder_record *holder = model && ID_EQUAL(model->revision, body->model.revision)
                                             ? model_find_holder(model, &body->node_id)
                                             : NULL;
    if (!says_itself(decision, &body->node_id) || !body->model.model_id ||
        body->model.files.count == 0)
        return refuse(decision->reason, STATUS_INVALID, "the model has no name or no files");
    enum status status = check_files(decision, &body->model);
    if (status == STATUS_OK)
        status = model_name_check(&decision->master->state, body->model.model_id,
                                  decision->reason);
    if (status != STATUS_OK)
        return status;
    /* A node that was away still has it; who was asked to take it in takes it in anew. */
    if (body->is_found && state_find_removed(&decision->master->state, body->model.model_id,
                                             &body->model.revision))
        return refuse(decision->reason, STATUS_STALE,
                      "%.100s was removed from the cluster while this node was away",
                      body->model.model_id);
    decision->is_needed =
        !(holder && holder->has_weights) || ID_IS_ZERO(model->manifest) ||
        (!text_or_empty(model->commit)[0] && text_or_empty(body->model.commit)[0]) ||
        state_find_import(&decision->master->state, &body->node_id, body->model.model_id);
    return STATUS_OK;
}

static enum status model_import_failed(struct decision *decision)
{
    const struct model_import_failed *body = decision->report->body;
    if (!says_itself(decision, &body->node_id))
        return refuse(decision->reason, STATUS_REFUSED, "a node speaks for itself only");
    if (!state_find_import(&decision->master->state, &body->node_id, text_or_empty(body->model_id)))
        return stale(decision, "the import");
    return STATUS_OK;
}

static enum status small_files_stored(struct decision *decision)
{
    const struct small_files_stored *body = decision->report->body;
    const struct model_record *model =
        state_find_model(&decision->master->state, text_or_empty(body->model_id));
    if (!model || !ID_EQUAL(model->revision, body->revision))
        return stale(decision, "the revision of the model");
    if (!says_itself(decision, &body->node_id))
        return refuse(decision->reason, STATUS_REFUSED, "a node speaks for itself only");
    decision->is_needed = !model_find_holder(model, &body->node_id);
    return STATUS_OK;
}

static enum status small_files_failed(struct decision *decision)
{
    const struct small_files_failed *body = decision->report->body;
    const struct state *state = &decision->master->state;
    const struct model_record *model = state_find_model(state, text_or_empty(body->model_id));
    if (!model || !ID_EQUAL(model->revision, body->revision))
        return stale(decision, "the revision of the model");
    if (!says_itself(decision, &body->node_id))
        return refuse(decision->reason, STATUS_REFUSED, "a node speaks for itself only");
    decision->is_needed = false;
    for (uint32_t i = 0; i < state->instances.count; i++)
        if (instance_waits_for_files(&state->instances.items[i], body))
            decision->is_needed = true;
    return STATUS_OK;
}

static enum status holding_changed(struct decision *decision)
{
    const struct holding_changed *body = decision->report->body;
    const struct model_record *model =
        state_find_model(&decision->master->state, text_or_empty(body->model_id));
    if (!model || !ID_EQUAL(model->revision, body->revision))
        return stale(decision, "the revision of the model");
    if (!says_itself(decision, &body->node_id))
        return refuse(decision->reason, STATUS_REFUSED, "a node speaks for itself only");
    const struct holder_record *known = model_find_holder(model, &body->node_id);
    struct holder_record told;
    if (!holder_make(model, &body->node_id, body->has_weights, &body->held, &told))
        return STATUS_NO_MEMORY;
    told.whole_index = known ? known->whole_index : 0; /* the state's own */
    decision->is_needed = body->has_small_files
                              ? !known || !record_equal(&holder_record_type, known, &told)
                              : known != NULL;
    record_fini(&holder_record_type, &told);
    return STATUS_OK;
}

/* NULL when there is nothing left to end or to begin at this node. */
static const struct transfer_target *open_target(struct decision *decision,
                                                 const struct transfer_id *transfer_id,
                                                 const struct node_id *node_id)
{
    const struct transfer_record *transfer =
        state_find_transfer(&decision->master->state, transfer_id);
    const struct transfer_target *target =
        transfer ? transfer_find_target(transfer, node_id) : NULL;
    return target && transfer_target_is_open(target) ? target : NULL;
}

static enum status transfer_started(struct decision *decision)
{
    const struct transfer_started *body = decision->report->body;
    if (!says_itself(decision, &body->node_id))
        return refuse(decision->reason, STATUS_REFUSED, "a node speaks for itself only");
    const struct transfer_target *target =
        open_target(decision, &body->transfer_id, &body->node_id);
    if (!target)
        return stale(decision, "the transfer");
    decision->is_needed = target->phase == TRANSFER_ASKED;
    return STATUS_OK;
}

static enum status transfer_ended(struct decision *decision)
{
    const struct transfer_ended *body = decision->report->body;
    if (!says_itself(decision, &body->node_id))
        return refuse(decision->reason, STATUS_REFUSED, "a node speaks for itself only");
    return open_target(decision, &body->transfer_id, &body->node_id)
               ? STATUS_OK
               : stale(decision, "the transfer");
}

static enum status download_resolved(struct decision *decision)
{
    const struct download_resolved *body = decision->report->body;
    const struct download_record *download =
        state_find_download(&decision->master->state, text_or_empty(body->model_id));
    if (!says_itself(decision, &body->node_id))
        return refuse(decision->reason, STATUS_REFUSED, "a node speaks for itself only");
    if (!download || !download_find_target(download, &body->node_id))
        return stale(decision, "the download");
    if (!text_or_empty(body->commit)[0] || body->files.count == 0)
        return refuse(decision->reason, STATUS_INVALID, "a model has a commit and files");
    decision->is_needed = !text_or_empty(download->commit)[0];
    return STATUS_OK;
}

static enum status file_downloaded(struct decision *decision)
{
    const struct file_downloaded *body = decision->report->body;
    const struct download_record *download =
        state_find_download(&decision->master->state, text_or_empty(body->model_id));
    if (!says_itself(decision, &body->node_id))
        return refuse(decision->reason, STATUS_REFUSED, "a node speaks for itself only");
    const struct download_file *file = download ? download_find_file(download, body->path) : NULL;
    if (!file || strcmp(text_or_empty(download->commit), text_or_empty(body->commit)) != 0)
        return stale(decision, "the download");
    decision->is_needed = !file->is_done;
    return STATUS_OK;
}

static enum status file_lacking(struct decision *decision)
{
    const struct file_lacking *body = decision->report->body;
    const struct download_record *download =
        state_find_download(&decision->master->state, text_or_empty(body->model_id));
    if (!says_itself(decision, &body->node_id))
        return refuse(decision->reason, STATUS_REFUSED, "a node speaks for itself only");
    const struct download_file *file = download ? download_find_file(download, body->path) : NULL;
    if (!file || !download_find_target(download, &body->node_id) ||
        strcmp(text_or_empty(download->commit), text_or_empty(body->commit)) != 0)
        return stale(decision, "the download");
    const struct download_target *fetcher =
        download_find_target(download, &body->holder_node_id);
    decision->is_needed = ID_EQUAL(file->node_id, body->holder_node_id) &&
                          (file->is_done || (fetcher && !fetcher->is_mute));
    return STATUS_OK;
}

static enum status download_hindered(struct decision *decision)
{
    const struct download_hindered *body = decision->report->body;
    const struct download_record *download =
        state_find_download(&decision->master->state, text_or_empty(body->model_id));
    if (!says_itself(decision, &body->node_id))
        return refuse(decision->reason, STATUS_REFUSED, "a node speaks for itself only");
    const struct download_target *target =
        download ? download_find_target(download, &body->node_id) : NULL;
    if (!target)
        return stale(decision, "the download");
    decision->is_needed = body->is_alone ? !target->is_alone : !target->is_barred;
    return STATUS_OK;
}

static enum status rank_addressed(struct decision *decision)
{
    const struct rank_addressed *body = decision->report->body;
    const struct instance_record *instance =
        present(decision, &body->instance_id, &body->generation);
    if (!instance || body->rank >= instance->ranks.count)
        return stale(decision, "the generation");
    const struct rank_record *rank = &instance->ranks.items[body->rank];
    if (!says_itself(decision, &rank->node_id))
        return refuse(decision->reason, STATUS_REFUSED, "that rank is on another node");
    const char *known = text_or_empty(body->actor == ACTOR_LAUNCHER ? rank->launcher_address
                                                                    : rank->runner_address);
    decision->is_needed = strcmp(known, text_or_empty(body->address)) != 0;
    return STATUS_OK;
}

static enum status runner_status_changed(struct decision *decision)
{
    const struct runner_status_changed *body = decision->report->body;
    const struct instance_record *instance =
        present(decision, &body->instance_id, &body->generation);
    if (!instance || body->rank >= instance->ranks.count)
        return stale(decision, "the generation");
    if (!says_itself(decision, &instance->ranks.items[body->rank].node_id))
        return refuse(decision->reason, STATUS_REFUSED, "that rank is on another node");
    const struct rank_record *rank = &instance->ranks.items[body->rank];
    if (body->status == RANK_RELEASED && !rank->is_source)
        return refuse(decision->reason, STATUS_INVALID, "a rank that computes is never released");
    decision->is_needed = rank->status != body->status && rank->status != RANK_RELEASED;
    return STATUS_OK;
}

static enum status process_ended(struct decision *decision)
{
    const struct process_ended *body = decision->report->body;
    if (!says_itself(decision, &body->node_id))
        return refuse(decision->reason, STATUS_REFUSED, "a node speaks for itself only");
    return STATUS_OK;
}

static enum status process_given_up(struct decision *decision)
{
    const struct process_given_up *body = decision->report->body;
    if (!says_itself(decision, &body->process.node_id))
        return refuse(decision->reason, STATUS_REFUSED, "a node speaks for itself only");
    return STATUS_OK;
}

#define DECIDE_ROW(code, NAME, record, sentence) [code] = record,
static enum status (*const rules[])(struct decision *decision) = {REPORT_LIST(DECIDE_ROW)};
#define EVENT_ROW(code, NAME, record, sentence) [code] = EVENT_##NAME,
static const uint32_t events[] = {REPORT_LIST(EVENT_ROW)};

enum status report_decide(struct master *master, const struct message *report,
                          struct message *event_out, bool *has_event_out, struct reason *reason)
{
    struct decision decision = {master, report, reason, true};
    const struct incarnation_record *known = state_find_incarnation(
        &master->state, &report->head.node_id, report->head.actor, report->head.incarnation);
    *has_event_out = false;
    if (!state_find_node(&master->state, &report->head.node_id))
        return refuse(reason, STATUS_NOT_ADMITTED, "the node is not in the cluster");
    if (report->head.incarnation == 0 || report->head.sequence == 0)
        return refuse(reason, STATUS_INVALID, "a report needs an incarnation and a sequence");
    if (known && known->sequence >= report->head.sequence)
        return STATUS_OK;
    if (report->head.code >= COUNT_OF(rules) || !rules[report->head.code])
        return refuse(reason, STATUS_UNSUPPORTED, "nobody knows this report");
    enum status status = rules[report->head.code](&decision);
    if (status != STATUS_OK || !decision.is_needed)
        return status;
    status = message_copy(report, event_out);
    if (status != STATUS_OK)
        return status;
    /* Same record, another row: only kind and code change. */
    event_out->head.kind = MESSAGE_EVENT;
    event_out->head.code = events[report->head.code];
    *has_event_out = true;
    return STATUS_OK;
}
