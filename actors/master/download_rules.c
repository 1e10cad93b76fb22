/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/download_rules.h"

#include "protocol/holdings.h"

#include <string.h>

/* ---- asking ---- */

struct asked {
    const struct state *state;
    const struct pull_model *body;
    const struct download_record *under_way; /* or NULL */
    struct download_record *download;
    struct reason *reason;
};

static enum status add_node(struct asked *asked, const struct node_id *node_id)
{
    const char *name = text_or_empty(asked->body->model_id);
    const struct download_target target = {.node_id = *node_id};
    if (!state_find_node(asked->state, node_id))
        return refuse(asked->reason, STATUS_NOT_FOUND, "there is no such node");
    const struct download_target *known =
        asked->under_way ? download_find_target(asked->under_way, node_id) : NULL;
    if ((known && !known->is_for_placement) || download_find_target(asked->download, node_id))
        return STATUS_OK;
    if (!known && state_find_import(asked->state, node_id, name))
        return refuse(asked->reason, STATUS_BUSY, "%.100s is being taken in already", name);
    if (asked->state->imports.count + asked->download->targets.count >= IMPORT_COUNT_MAX)
        return refuse(asked->reason, STATUS_BUSY,
                      "too many models are being taken in; wait until one is there");
    return record_list_push(&download_target_type, RECORD_LIST(asked->download->targets), &target,
                            NODE_COUNT_MAX)
               ? STATUS_OK
               : STATUS_NO_MEMORY;
}

static enum status add_named(struct asked *asked)
{
    const struct bytes *ids = &asked->body->node_ids;
    enum status status = STATUS_OK;
    struct node_id id;
    if (ids->count % sizeof(id) != 0)
        return refuse(asked->reason, STATUS_INVALID, "a node id has 16 bytes");
    for (uint32_t at = 0; at < ids->count && status == STATUS_OK; at += (uint32_t)sizeof(id)) {
        memcpy(&id, ids->items + at, sizeof(id));
        const struct node_record *node = state_find_node(asked->state, &id);
        if (node && !node->in_view)
            return refuse(asked->reason, STATUS_REFUSED,
                          "%.60s is away; leave it out, or start it and ask again",
                          text_or_empty(node->name));
        status = add_node(asked, &id);
    }
    return status;
}

static enum status add_targets(struct asked *asked)
{
    enum status status = STATUS_OK;
    if (!asked->body->is_all && asked->body->node_ids.count == 0)
        return add_node(asked, &asked->body->node_id);
    if (!asked->body->is_all)
        return add_named(asked);
    for (uint32_t i = 0; i < asked->state->nodes.count && status == STATUS_OK; i++)
        if (asked->state->nodes.items[i].in_view)
            status = add_node(asked, &asked->state->nodes.items[i].node_id);
    return status;
}

static enum status check_under_way(const struct asked *asked)
{
    if (!asked->under_way || strcmp(text_or_empty(asked->under_way->hub_revision),
                                    text_or_empty(asked->body->hub_revision)) == 0)
        return STATUS_OK;
    return refuse(asked->reason, STATUS_BUSY,
                  "%.100s is being pulled at the revision %.60s; wait for that, or end it with "
                  "`troupe remove`",
                  text_or_empty(asked->body->model_id),
                  text_or_empty(asked->under_way->hub_revision)[0] ? asked->under_way->hub_revision
                                                                   : "main");
}

enum status download_rules_pull(const struct state *state, const struct message *command,
                                struct message *event_out, struct reason *reason)
{
    const struct pull_model *body = command->body;
    struct download_record download = {.model_id = NULL};
    struct asked asked = {state, body, state_find_download(state, text_or_empty(body->model_id)),
                          &download, reason};
    enum status status = check_under_way(&asked);
    if (status == STATUS_OK)
        status = add_targets(&asked);
    if (status == STATUS_OK && download.targets.count > 0) {
        download.no_peers = body->no_peers;
        status = text_set(&download.model_id, body->model_id) &&
                         text_set(&download.hub_revision, body->hub_revision)
                     ? message_init(event_out, MESSAGE_EVENT, EVENT_DOWNLOAD_REQUESTED)
                     : STATUS_NO_MEMORY;
        if (status == STATUS_OK)
            status = record_copy(&download_record_type, &download,
                                 &MESSAGE_BODY(event_out, download_requested)->download);
    }
    record_fini(&download_record_type, &download);
    return status;
}

/* ---- who fetches what ---- */

static bool is_here(const struct state *state, const struct node_id *node_id)
{
    const struct node_record *node = state_find_node(state, node_id);
    return node && node->in_view;
}

static bool may_fetch(const struct state *state, const struct download_target *target)
{
    return !target->is_barred && !target->is_mute && !target->is_paused &&
           is_here(state, &target->node_id);
}

static const struct download_target *first_that_may(const struct state *state,
                                                    const struct download_record *download)
{
    for (uint32_t i = 0; i < download->targets.count; i++)
        if (may_fetch(state, &download->targets.items[i]))
            return &download->targets.items[i];
    return NULL;
}

/* Whoever fetched it is asked by the others; whoever shall, must be able to. */
static bool is_in_good_hands(const struct state *state, const struct download_record *download,
                             const struct download_file *file)
{
    const struct download_target *target = download_find_target(download, &file->node_id);
    if (file->is_done)
        return is_here(state, &file->node_id);
    return target && may_fetch(state, target);
}

static bool is_alike(const struct file_entry *held, const struct download_file *file)
{
    const bool has_names = text_or_empty(held->etag)[0] && text_or_empty(file->etag)[0];
    return held->size == file->size &&
           strcmp(text_or_empty(held->name), text_or_empty(file->path)) == 0 &&
           (!has_names || strcmp(held->etag, file->etag) == 0);
}

/* Who is here and has that file, as far as its names say, of the targets or of the other nodes;
 * NULL: nobody. */
static const struct node_id *holder_of(const struct state *state,
                                       const struct download_record *download,
                                       const struct download_file *file, bool is_target)
{
    const struct model_record *model = state_find_model(state, text_or_empty(download->model_id));
    const uint32_t count = model && !file->is_missing ? model->files.count : 0;
    uint32_t at = 0;
    while (at < count && !is_alike(&model->files.items[at], file))
        at++;
    for (uint32_t i = 0; at < count && i < model->holders.count; i++) {
        const struct holder_record *holder = &model->holders.items[i];
        if (holder_has_file(holder, at) && is_here(state, &holder->node_id) &&
            (download_find_target(download, &holder->node_id) != NULL) == is_target)
            return &holder->node_id;
    }
    return NULL;
}

static enum status give_to_holders(const struct state *state,
                                   const struct download_record *download,
                                   struct download_assigned *given)
{
    for (uint32_t i = 0; i < download->files.count; i++) {
        const struct download_file *file = &download->files.items[i];
        const bool is_had = file->is_done && is_here(state, &file->node_id);
        const struct node_id *holder = is_had ? NULL : holder_of(state, download, file, false);
        const struct download_claim claim = {i, holder ? *holder : file->node_id, true};
        if (holder && !record_list_push(&download_claim_type, RECORD_LIST(given->claims), &claim,
                                        MODEL_FILE_COUNT_MAX))
            return STATUS_NO_MEMORY;
    }
    return STATUS_OK;
}

struct burden {
    uint64_t bytes[NODE_COUNT_MAX]; /* by target: what it fetches and has not done */
};

static void weigh(const struct state *state, const struct download_record *download,
                  struct burden *burden)
{
    memset(burden, 0, sizeof(*burden));
    for (uint32_t i = 0; i < download->files.count; i++) {
        const struct download_file *file = &download->files.items[i];
        const struct download_target *target = download_find_target(download, &file->node_id);
        if (target && !file->is_done && is_in_good_hands(state, download, file))
            burden->bytes[target - download->targets.items] += file->size;
    }
}

/* UINT32_MAX: none may. */
static uint32_t least_burdened(const struct state *state, const struct download_record *download,
                               const struct burden *burden)
{
    uint32_t found = UINT32_MAX;
    for (uint32_t i = 0; i < download->targets.count; i++)
        if (may_fetch(state, &download->targets.items[i]) &&
            (found == UINT32_MAX || burden->bytes[i] < burden->bytes[found]))
            found = i;
    return found;
}

/* One that has the file already, so that the hub is not asked for it; else the least burdened. */
static uint32_t choose_target(const struct state *state, const struct download_record *download,
                              const struct download_file *file, const struct burden *burden)
{
    const struct node_id *id = holder_of(state, download, file, true);
    const struct download_target *holder = id ? download_find_target(download, id) : NULL;
    return holder && may_fetch(state, holder)
               ? (uint32_t)(holder - download->targets.items)
               : least_burdened(state, download, burden);
}

/* The largest file that nobody can be relied on for and that is not in `given` yet. */
static uint32_t largest_left(const struct state *state, const struct download_record *download,
                             const struct download_assigned *given)
{
    uint32_t found = UINT32_MAX;
    for (uint32_t i = 0; i < download->files.count; i++) {
        bool is_given = is_in_good_hands(state, download, &download->files.items[i]);
        for (uint32_t k = 0; k < given->claims.count && !is_given; k++)
            is_given = given->claims.items[k].file == i;
        if (!is_given && (found == UINT32_MAX ||
                          download->files.items[i].size > download->files.items[found].size))
            found = i;
    }
    return found;
}

static enum status give_files(const struct state *state, const struct download_record *download,
                              struct download_assigned *given)
{
    struct burden burden;
    uint32_t file;
    enum status status = give_to_holders(state, download, given);
    if (status != STATUS_OK)
        return status;
    weigh(state, download, &burden);
    while ((file = largest_left(state, download, given)) != UINT32_MAX) {
        const uint32_t target =
            choose_target(state, download, &download->files.items[file], &burden);
        if (target == UINT32_MAX)
            return STATUS_OK;
        const struct download_claim claim = {file, download->targets.items[target].node_id,
                                             false};
        if (!record_list_push(&download_claim_type, RECORD_LIST(given->claims), &claim,
                              MODEL_FILE_COUNT_MAX))
            return STATUS_NO_MEMORY;
        burden.bytes[target] += download->files.items[file].size;
    }
    return STATUS_OK;
}

static enum status assign(const struct state *state, const struct download_record *download,
                          struct download_assigned *given)
{
    const struct download_target *asks = download_find_target(download, &download->node_id);
    if (text_or_empty(download->commit)[0])
        return give_files(state, download, given);
    if (asks && may_fetch(state, asks))
        return STATUS_OK;
    asks = first_that_may(state, download);
    if (asks)
        given->node_id = asks->node_id;
    return STATUS_OK;
}

enum status download_rules_assign(const struct state *state, struct message *event_out,
                                  bool *has_event_out)
{
    *has_event_out = false;
    for (uint32_t i = 0; i < state->downloads.count; i++) {
        const struct download_record *download = &state->downloads.items[i];
        struct download_assigned given = {.model_id = NULL};
        if (download->no_peers)
            continue;
        enum status status = assign(state, download, &given);
        *has_event_out =
            status == STATUS_OK && (given.claims.count > 0 || !ID_IS_ZERO(given.node_id));
        if (*has_event_out)
            status = text_set(&given.model_id, download->model_id) &&
                             text_set(&given.commit, download->commit)
                         ? message_init(event_out, MESSAGE_EVENT, EVENT_DOWNLOAD_ASSIGNED)
                         : STATUS_NO_MEMORY;
        if (status == STATUS_OK && *has_event_out) {
            record_fini(&download_assigned_type, event_out->body);
            status = record_copy(&download_assigned_type, &given, event_out->body);
        }
        record_fini(&download_assigned_type, &given);
        if (status != STATUS_OK || *has_event_out)
            return status;
    }
    return STATUS_OK;
}

/* ---- the peers are complete ---- */

/* A node whose files came after the target was last let to the hub: it was not asked in vain. */
static bool is_fresh_peer(const struct state *state, const struct download_target *target,
                          const struct holder_record *holder)
{
    return holder->whole_index > target->hub_index &&
           !ID_EQUAL(holder->node_id, target->node_id) && is_here(state, &holder->node_id);
}

/* Who holds all of that commit, or the last of those who do together; NULL: nobody. */
static const struct node_id *complete_peer(const struct state *state,
                                           const struct download_record *download,
                                           const struct download_target *target)
{
    const struct node_id *peer = NULL;
    const struct model_record *model = state_find_model(state, text_or_empty(download->model_id));
    if (!model || !text_or_empty(download->commit)[0] ||
        strcmp(text_or_empty(model->commit), download->commit) != 0)
        return NULL;
    const struct holder_record *own = model_find_holder(model, &target->node_id);
    for (uint32_t i = 0; i < model->holders.count; i++)
        if (model->holders.items[i].has_weights &&
            is_fresh_peer(state, target, &model->holders.items[i]))
            return &model->holders.items[i].node_id;
    for (uint32_t i = 0; i < model->files.count; i++) {
        bool is_held = !model->files.items[i].is_weight || holder_has_file(own, i);
        for (uint32_t k = 0; k < model->holders.count && !is_held; k++) {
            const struct holder_record *holder = &model->holders.items[k];
            is_held = holder_has_file(holder, i) && is_fresh_peer(state, target, holder);
            if (is_held)
                peer = &holder->node_id;
        }
        if (!is_held)
            return NULL;
    }
    return peer;
}

enum status download_rules_pause(const struct state *state, struct message *event_out,
                                 bool *has_event_out)
{
    *has_event_out = false;
    for (uint32_t i = 0; i < state->downloads.count; i++) {
        const struct download_record *download = &state->downloads.items[i];
        for (uint32_t k = 0; k < download->targets.count; k++) {
            const struct download_target *target = &download->targets.items[k];
            const struct node_id *peer =
                target->is_paused ? NULL : complete_peer(state, download, target);
            if (!peer)
                continue;
            enum status status = message_init(event_out, MESSAGE_EVENT, EVENT_DOWNLOAD_PAUSED);
            if (status != STATUS_OK)
                return status;
            struct download_paused *body = event_out->body;
            body->node_id = target->node_id;
            body->peer_node_id = *peer;
            *has_event_out = true;
            return text_set(&body->model_id, download->model_id) ? STATUS_OK : STATUS_NO_MEMORY;
        }
    }
    return STATUS_OK;
}

/* ---- for instances ---- */

enum download_step download_rules_continue(const struct state *state, const char *model_id,
                                           const struct node_id *node_id)
{
    const struct model_record *model = state_find_model(state, model_id);
    const struct download_record *download = state_find_download(state, model_id);
    const struct download_target *target =
        download ? download_find_target(download, node_id) : NULL;
    if (!model || !target || !text_or_empty(download->commit)[0] ||
        strcmp(text_or_empty(model->commit), download->commit) != 0)
        return DOWNLOAD_IS_NONE;
    return download_target_rests(state, download, target) ? DOWNLOAD_GOES_ON : DOWNLOAD_WAITS;
}

enum status download_rules_want(const char *model_id, const struct node_id *node_id,
                                struct message *event_out)
{
    const struct download_target target = {.node_id = *node_id};
    enum status status = message_init(event_out, MESSAGE_EVENT, EVENT_DOWNLOAD_REQUESTED);
    if (status != STATUS_OK)
        return status;
    struct download_record *download = &MESSAGE_BODY(event_out, download_requested)->download;
    return text_set(&download->model_id, model_id) &&
                   record_list_push(&download_target_type, RECORD_LIST(download->targets), &target,
                                    NODE_COUNT_MAX)
               ? STATUS_OK
               : STATUS_NO_MEMORY;
}

static bool has_instance(const struct state *state, const char *model_id)
{
    for (uint32_t i = 0; i < state->instances.count; i++)
        if (strcmp(text_or_empty(state->instances.items[i].model_id), model_id) == 0)
            return true;
    return false;
}

enum status download_rules_cancel(const struct state *state, struct message *event_out,
                                  bool *has_event_out)
{
    *has_event_out = false;
    for (uint32_t i = 0; i < state->downloads.count; i++) {
        const struct download_record *download = &state->downloads.items[i];
        const char *model_id = text_or_empty(download->model_id);
        const struct model_record *model = state_find_model(state, model_id);
        if (has_instance(state, model_id) || (model && model->is_pinned))
            continue;
        for (uint32_t k = 0; k < download->targets.count; k++) {
            if (!download->targets.items[k].is_for_placement)
                continue;
            enum status status =
                message_init(event_out, MESSAGE_EVENT, EVENT_MODEL_IMPORT_FAILED);
            if (status != STATUS_OK)
                return status;
            struct model_import_failed *body = event_out->body;
            body->node_id = download->targets.items[k].node_id;
            body->status = STATUS_CANCELLED;
            *has_event_out = true;
            return text_set(&body->model_id, model_id) &&
                           text_set(&body->reason, "the instance it was downloaded for was deleted")
                       ? STATUS_OK
                       : STATUS_NO_MEMORY;
        }
    }
    return STATUS_OK;
}
