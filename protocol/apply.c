/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apply: what each event means.  One small function per event, found by its code in one table.
 *
 * A handler returns false only without memory.  An event about a thing that is gone changes
 * nothing: refusing belongs to the leader before the event, not to those who read it.
 */
#include "protocol/apply_downloads.h"
#include "protocol/apply_transfers.h"
#include "protocol/holdings.h"

#include <stdio.h>
#include <string.h>

#define PUSH(type, list, record, max) record_list_push(&type##_type, RECORD_LIST(list), record, max)
#define REMOVE(type, list, index) record_list_remove(&type##_type, RECORD_LIST(list), index)

static bool replace(const struct record_type *type, void *record, const void *value)
{
    _Alignas(16) uint8_t copy[1024];
    ASSERT(type->size <= sizeof(copy));
    if (record_copy(type, value, copy) != STATUS_OK)
        return false;
    record_fini(type, record);
    memcpy(record, copy, type->size);
    return true;
}

/* ---- nodes, tokens, clients ---- */

static bool add_node(struct state *state, const struct node_record *node)
{
    struct node_record *known = state_find_node(state, &node->node_id);
    if (known)
        return replace(&node_record_type, known, node);
    if (state->nodes.count >= NODE_COUNT_MAX)
        return true;
    return PUSH(node_record, state->nodes, node, NODE_COUNT_MAX) != NULL;
}

static bool apply_cluster_founded(struct state *state, const struct message *event)
{
    const struct cluster_founded *body = event->body;
    state->cluster_id = body->cluster_id;
    return add_node(state, &body->node);
}

static bool apply_node_admitted(struct state *state, const struct message *event)
{
    const struct node_admitted *body = event->body;
    struct token_record *token = state_find_token(state, &body->token_key);
    if (token)
        token->spent_by = body->node.node_id;
    return add_node(state, &body->node);
}

static void forget_holder(struct model_record *model, const struct node_id *node_id)
{
    for (uint32_t i = model->holders.count; i-- > 0;)
        if (ID_EQUAL(model->holders.items[i].node_id, *node_id))
            REMOVE(holder_record, model->holders, i);
}

static bool apply_node_removed(struct state *state, const struct message *event)
{
    const struct node_removed *body = event->body;
    for (uint32_t i = state->nodes.count; i-- > 0;)
        if (ID_EQUAL(state->nodes.items[i].node_id, body->node_id))
            REMOVE(node_record, state->nodes, i);
    for (uint32_t i = state->endpoints.count; i-- > 0;)
        if (ID_EQUAL(state->endpoints.items[i].node_id, body->node_id))
            REMOVE(endpoint_record, state->endpoints, i);
    for (uint32_t i = state->imports.count; i-- > 0;)
        if (ID_EQUAL(state->imports.items[i].node_id, body->node_id))
            REMOVE(import_record, state->imports, i);
    for (uint32_t i = state->given_up.count; i-- > 0;)
        if (ID_EQUAL(state->given_up.items[i].node_id, body->node_id))
            REMOVE(given_up_record, state->given_up, i);
    for (uint32_t i = 0; i < state->models.count; i++)
        forget_holder(&state->models.items[i], &body->node_id);
    const struct download_ending ending = {STATUS_NOT_FOUND,
                                           "the node was removed from the cluster",
                                           event->head.index};
    return downloads_end_target(state, &body->node_id, NULL, &ending) &&
           transfers_forget_node(state, &body->node_id);
}

static bool apply_node_described(struct state *state, const struct message *event)
{
    const struct node_described *body = event->body;
    struct node_record *node = state_find_node(state, &body->node.node_id);
    if (!node)
        return true;
    node->machine_id = body->node.machine_id;
    node->cores = body->node.cores;
    node->memory_bytes = body->node.memory_bytes;
    return text_set(&node->address, body->node.address) && text_set(&node->name, body->node.name) &&
           text_set(&node->fabric, body->node.fabric) && text_set(&node->http, body->node.http) &&
           text_set(&node->build, body->node.build) && text_set(&node->hosts, body->node.hosts);
}

static bool apply_token_created(struct state *state, const struct message *event)
{
    const struct token_created *body = event->body;
    struct token_record *token = state_find_token(state, &body->token.key);
    if (token)
        return replace(&token_record_type, token, &body->token);
    /* Spent and expired ones make room, oldest first; the leader refuses when none can. */
    for (uint32_t i = 0; i < state->tokens.count && state->tokens.count >= TOKEN_COUNT_MAX; i++)
        if (!ID_IS_ZERO(state->tokens.items[i].spent_by) ||
            state->tokens.items[i].expires_ms < event->head.time_ms)
            REMOVE(token_record, state->tokens, i--);
    if (state->tokens.count >= TOKEN_COUNT_MAX)
        return true;
    return PUSH(token_record, state->tokens, &body->token, TOKEN_COUNT_MAX) != NULL;
}

static bool apply_token_revoked(struct state *state, const struct message *event)
{
    const struct token_revoked *body = event->body;
    for (uint32_t i = state->tokens.count; i-- > 0;)
        if (ID_EQUAL(state->tokens.items[i].key, body->key))
            REMOVE(token_record, state->tokens, i);
    return true;
}

static bool apply_client_admitted(struct state *state, const struct message *event)
{
    const struct client_admitted *body = event->body;
    struct client_record *client = state_find_client(state, &body->client.key);
    if (client)
        return replace(&client_record_type, client, &body->client);
    if (state->clients.count >= CLIENT_COUNT_MAX)
        return true;
    return PUSH(client_record, state->clients, &body->client, CLIENT_COUNT_MAX) != NULL;
}

static bool apply_client_removed(struct state *state, const struct message *event)
{
    const struct client_removed *body = event->body;
    for (uint32_t i = state->clients.count; i-- > 0;)
        if (ID_EQUAL(state->clients.items[i].key, body->key))
            REMOVE(client_record, state->clients, i);
    return true;
}

/* ---- leadership ---- */

static void set_view(struct state *state, const struct bytes *view)
{
    for (uint32_t i = 0; i < state->nodes.count; i++) {
        struct node_record *node = &state->nodes.items[i];
        node->in_view = false;
        for (uint32_t at = 0; at + sizeof(node->node_id) <= view->count;
             at += (uint32_t)sizeof(node->node_id))
            if (memcmp(view->items + at, &node->node_id, sizeof(node->node_id)) == 0)
                node->in_view = node->counts = true;
    }
}

static bool apply_epoch_begun(struct state *state, const struct message *event)
{
    const struct epoch_begun *body = event->body;
    state->epoch = body->epoch;
    set_view(state, &body->view);
    return true;
}

static bool apply_view_changed(struct state *state, const struct message *event)
{
    const struct view_changed *body = event->body;
    set_view(state, &body->view);
    return true;
}

/* ---- processes ---- */

static void forget_given_up(struct state *state, const struct node_id *node_id, uint32_t actor)
{
    for (uint32_t i = state->given_up.count; i-- > 0;)
        if (ID_EQUAL(state->given_up.items[i].node_id, *node_id) &&
            state->given_up.items[i].actor == actor)
            REMOVE(given_up_record, state->given_up, i);
}

static bool apply_endpoint_opened(struct state *state, const struct message *event)
{
    const struct endpoint_opened *body = event->body;
    forget_given_up(state, &body->endpoint.node_id, body->endpoint.actor);
    struct endpoint_record *known =
        state_find_endpoint(state, &body->endpoint.node_id, body->endpoint.actor);
    if (known)
        return replace(&endpoint_record_type, known, &body->endpoint);
    if (state->endpoints.count >= ENDPOINT_COUNT_MAX)
        return true;
    return PUSH(endpoint_record, state->endpoints, &body->endpoint, ENDPOINT_COUNT_MAX) != NULL;
}

static void forget_endpoint(struct state *state, const struct node_id *node_id, uint32_t actor,
                            uint64_t incarnation)
{
    for (uint32_t i = state->endpoints.count; i-- > 0;) {
        const struct endpoint_record *endpoint = &state->endpoints.items[i];
        if (ID_EQUAL(endpoint->node_id, *node_id) && endpoint->actor == actor &&
            endpoint->incarnation == incarnation)
            REMOVE(endpoint_record, state->endpoints, i);
    }
}

static bool apply_endpoint_closed(struct state *state, const struct message *event)
{
    const struct endpoint_closed *body = event->body;
    forget_endpoint(state, &body->node_id, body->actor, body->incarnation);
    return true;
}

static bool apply_process_ended(struct state *state, const struct message *event)
{
    const struct process_ended *body = event->body;
    forget_endpoint(state, &body->node_id, body->actor, body->incarnation);
    struct instance_record *instance = state_find_instance(state, &body->instance_id);
    /* Its rank is lost; the leader's generation_failed follows, from the next one if need be. */
    if ((body->actor == ACTOR_LAUNCHER || body->actor == ACTOR_RUNNER) && !body->was_asked &&
        instance && generation_equal(&instance->generation, &body->generation) &&
        body->rank < instance->ranks.count &&
        instance->ranks.items[body->rank].status != RANK_RELEASED)
        instance->ranks.items[body->rank].status = RANK_FAILED;
    return true;
}

static bool apply_process_given_up(struct state *state, const struct message *event)
{
    const struct process_given_up *body = event->body;
    forget_given_up(state, &body->process.node_id, body->process.actor);
    if (state->given_up.count >= ENDPOINT_COUNT_MAX)
        return true;
    return PUSH(given_up_record, state->given_up, &body->process, ENDPOINT_COUNT_MAX) != NULL;
}

/* ---- models ---- */

static void forget_import(struct state *state, const struct node_id *node_id,
                          const char *model_id)
{
    struct import_record *import = state_find_import(state, node_id, text_or_empty(model_id));
    if (import)
        REMOVE(import_record, state->imports, (uint32_t)(import - state->imports.items));
}

static bool apply_model_import_requested(struct state *state, const struct message *event)
{
    const struct model_import_requested *body = event->body;
    forget_import(state, &body->import.node_id, body->import.model_id);
    if (state->imports.count >= IMPORT_COUNT_MAX)
        return true;
    struct import_record *import =
        PUSH(import_record, state->imports, &body->import, IMPORT_COUNT_MAX);
    if (import)
        import->requested_index = event->head.index;
    return import != NULL;
}

/* A weight file of it that it did not have before. */
static bool has_gained(const struct model_record *model, const struct holder_record *known,
                       const struct holder_record *now)
{
    bool is_any = false;
    for (uint32_t i = 0; i < model->files.count && !is_any; i++)
        is_any = model->files.items[i].is_weight && holder_has_file(now, i) &&
                 !holder_has_file(known, i);
    return is_any;
}

/* By the event of that index. */
static bool set_holder(struct model_record *model, const struct node_id *node_id,
                       bool has_weights, const struct bytes *held, uint64_t index)
{
    struct holder_record *known = model_find_holder(model, node_id);
    struct holder_record holder;
    if (!known && model->holders.count >= NODE_COUNT_MAX)
        return true;
    if (!holder_make(model, node_id, has_weights, held, &holder))
        return false;
    const bool is_any = has_weights || holder.held.count > 0;
    const bool is_more = !known || (has_weights && !known->has_weights) ||
                         has_gained(model, known, &holder);
    holder.whole_index = !is_any ? 0 : is_more ? index : known->whole_index;
    const bool is_set =
        known ? replace(&holder_record_type, known, &holder)
              : PUSH(holder_record, model->holders, &holder, NODE_COUNT_MAX) != NULL;
    record_fini(&holder_record_type, &holder);
    return is_set;
}

/* Models of earlier versions come without the names that hubs have for them. */
static bool name_files(struct model_record *model, const struct model_record *named)
{
    if (text_or_empty(model->commit)[0] || model->files.count != named->files.count)
        return true;
    bool is_set = text_set(&model->commit, text_or_empty(named->commit));
    for (uint32_t i = 0; i < model->files.count && is_set; i++)
        is_set = text_set(&model->files.items[i].etag, text_or_empty(named->files.items[i].etag));
    return is_set;
}

static void forget_removed(struct state *state, const char *model_id, const struct hash *revision)
{
    struct removed_record *removed =
        state_find_removed(state, text_or_empty(model_id), revision);
    if (removed)
        REMOVE(removed_record, state->removed, (uint32_t)(removed - state->removed.items));
}

static bool remember_removed(struct state *state, const struct model_record *model)
{
    struct removed_record removed = {model->model_id, model->revision};
    forget_removed(state, model->model_id, &model->revision);
    if (state->removed.count >= REMOVED_COUNT_MAX)
        REMOVE(removed_record, state->removed, 0);
    return PUSH(removed_record, state->removed, &removed, REMOVED_COUNT_MAX) != NULL;
}

/* Branch, tag or commit by which a node was asked to pull it; empty: none was named. */
static void find_pulled(const struct state *state, const struct node_id *node_id,
                        const char *model_id, char branch_out[NAME_SIZE_MAX + 1])
{
    const struct import_record *import = state_find_import(state, node_id, model_id);
    const struct download_record *download = state_find_download(state, model_id);
    (void)snprintf(branch_out, NAME_SIZE_MAX + 1, "%s",
                   import     ? text_or_empty(import->hub_revision)
                   : download ? text_or_empty(download->hub_revision)
                              : "");
}

static bool apply_model_imported(struct state *state, const struct message *event)
{
    const struct model_imported *body = event->body;
    char branch[NAME_SIZE_MAX + 1];
    find_pulled(state, &body->node_id, text_or_empty(body->model.model_id), branch);
    forget_removed(state, body->model.model_id, &body->model.revision);
    forget_import(state, &body->node_id, body->model.model_id);
    const struct download_ending ending = {STATUS_OK, "", event->head.index};
    if (!downloads_end_target(state, &body->node_id, text_or_empty(body->model.model_id), &ending))
        return false;
    struct model_record *model = state_find_model(state, text_or_empty(body->model.model_id));
    const bool is_pinned = model && model->is_pinned;
    if (model && !ID_EQUAL(model->revision, body->model.revision)) {
        /* Another revision under the same name: the newer counts, older copies are no holders. */
        REMOVE(model_record, state->models, (uint32_t)(model - state->models.items));
        model = NULL;
    }
    if (!model) {
        if (state->models.count >= MODEL_COUNT_MAX)
            return true;
        model = PUSH(model_record, state->models, &body->model, MODEL_COUNT_MAX);
        if (!model)
            return false;
        while (model->holders.count > 0)
            REMOVE(holder_record, model->holders, model->holders.count - 1);
        model->is_pinned = model->is_pinned || is_pinned; /* the name is */
        if (!transfers_forget_model(state, model->model_id, &model->revision))
            return false;
    }
    if (ID_IS_ZERO(model->manifest)) {
        model->manifest = body->model.manifest;
        model->signer = body->model.signer;
        model->signature = body->model.signature;
    }
    return name_files(model, &body->model) && (!branch[0] || text_set(&model->branch, branch)) &&
           set_holder(model, &body->node_id, true, NULL, event->head.index);
}

static bool apply_model_import_failed(struct state *state, const struct message *event)
{
    const struct model_import_failed *body = event->body;
    forget_import(state, &body->node_id, body->model_id);
    const struct download_ending ending = {(enum status)body->status,
                                           text_or_empty(body->reason), event->head.index};
    return downloads_end_target(state, &body->node_id, text_or_empty(body->model_id), &ending);
}

static struct model_record *find_revision(const struct state *state, const char *model_id,
                                          const struct hash *revision)
{
    struct model_record *model = state_find_model(state, text_or_empty(model_id));
    return model && ID_EQUAL(model->revision, *revision) ? model : NULL;
}

static bool apply_small_files_stored(struct state *state, const struct message *event)
{
    const struct small_files_stored *body = event->body;
    struct model_record *model = find_revision(state, body->model_id, &body->revision);
    if (!model || model_find_holder(model, &body->node_id))
        return true;
    return set_holder(model, &body->node_id, false, NULL, event->head.index);
}

/* Ends the generations that wait for them, by events of the leader. */
static bool apply_small_files_failed(struct state *state, const struct message *event)
{
    (void)state;
    (void)event;
    return true;
}

static bool apply_holding_changed(struct state *state, const struct message *event)
{
    const struct holding_changed *body = event->body;
    struct model_record *model = find_revision(state, body->model_id, &body->revision);
    if (!model)
        return true;
    if (!body->has_small_files) {
        forget_holder(model, &body->node_id);
        return true;
    }
    return set_holder(model, &body->node_id, body->has_weights, &body->held,
                      event->head.index);
}

static bool apply_model_pinned(struct state *state, const struct message *event)
{
    const struct model_pinned *body = event->body;
    struct model_record *model = state_find_model(state, text_or_empty(body->model_id));
    if (model)
        model->is_pinned = body->is_pinned;
    return true;
}

static void note_use(struct state *state, const char *model_id, uint64_t time_ms)
{
    struct model_record *model = state_find_model(state, text_or_empty(model_id));
    if (model && time_ms > model->used_ms)
        model->used_ms = time_ms;
}

static bool apply_model_removed(struct state *state, const struct message *event)
{
    const struct model_removed *body = event->body;
    struct model_record *model = state_find_model(state, text_or_empty(body->model_id));
    if (model && !remember_removed(state, model))
        return false;
    if (model)
        REMOVE(model_record, state->models, (uint32_t)(model - state->models.items));
    /* What is still on its way is not wanted any more either. */
    for (uint32_t i = state->imports.count; i-- > 0;)
        if (strcmp(text_or_empty(state->imports.items[i].model_id),
                   text_or_empty(body->model_id)) == 0)
            REMOVE(import_record, state->imports, i);
    return downloads_end_model(state, text_or_empty(body->model_id), event->head.index) &&
           transfers_forget_model(state, text_or_empty(body->model_id), NULL);
}

/* ---- downloads ---- */

static bool apply_download_requested(struct state *state, const struct message *event)
{
    return downloads_apply_requested(state, event);
}

static bool apply_download_resolved(struct state *state, const struct message *event)
{
    return downloads_apply_resolved(state, event);
}

static bool apply_download_assigned(struct state *state, const struct message *event)
{
    return downloads_apply_assigned(state, event);
}

static bool apply_file_downloaded(struct state *state, const struct message *event)
{
    return downloads_apply_file(state, event);
}

static bool apply_download_hindered(struct state *state, const struct message *event)
{
    return downloads_apply_hindered(state, event);
}

static bool apply_download_paused(struct state *state, const struct message *event)
{
    return downloads_apply_paused(state, event);
}

static bool apply_file_lacking(struct state *state, const struct message *event)
{
    return downloads_apply_lacking(state, event);
}

/* ---- transfers ---- */

static bool apply_transfer_requested(struct state *state, const struct message *event)
{
    return transfers_apply_requested(state, event);
}

static bool apply_transfer_started(struct state *state, const struct message *event)
{
    return transfers_apply_started(state, event);
}

static bool apply_transfer_ended(struct state *state, const struct message *event)
{
    const struct transfer_ended *body = event->body;
    const struct transfer_record *transfer = state_find_transfer(state, &body->transfer_id);
    bool is_held = false;
    if (!transfers_apply_ended(state, body, &is_held))
        return false;
    struct model_record *model =
        is_held ? find_revision(state, transfer->model_id, &transfer->revision) : NULL;
    return !model || set_holder(model, &body->node_id, true, NULL, event->head.index);
}

static bool apply_transfer_cancelled(struct state *state, const struct message *event)
{
    return transfers_apply_cancelled(state, event);
}

/* ---- instances ---- */

static bool apply_instance_placed(struct state *state, const struct message *event)
{
    const struct instance_placed *body = event->body;
    if (state_find_instance(state, &body->instance.instance_id) ||
        state->instances.count >= INSTANCE_COUNT_MAX)
        return true;
    struct instance_record *instance =
        PUSH(instance_record, state->instances, &body->instance, INSTANCE_COUNT_MAX);
    if (instance) {
        instance->changed_index = event->head.index;
        instance->started_ms = event->head.time_ms;
    }
    note_use(state, body->instance.model_id, event->head.time_ms);
    return instance != NULL;
}

static bool apply_instance_deleted(struct state *state, const struct message *event)
{
    const struct instance_deleted *body = event->body;
    struct instance_record *instance = state_find_instance(state, &body->instance_id);
    if (instance)
        REMOVE(instance_record, state->instances, (uint32_t)(instance - state->instances.items));
    return true;
}

/* The instance whose present generation an event names, or NULL when that one is over. */
static struct instance_record *find_present(struct state *state, const struct instance_id *id,
                                            const struct generation *generation, uint64_t index)
{
    struct instance_record *instance = state_find_instance(state, id);
    if (!instance || !generation_equal(&instance->generation, generation))
        return NULL;
    instance->changed_index = index;
    return instance;
}

static bool apply_generation_started(struct state *state, const struct message *event)
{
    const struct generation_started *body = event->body;
    struct instance_record *instance = state_find_instance(state, &body->instance_id);
    if (!instance)
        return true;
    instance->changed_index = event->head.index;
    instance->started_ms = event->head.time_ms;
    note_use(state, instance->model_id, event->head.time_ms);
    instance->generation = body->generation;
    instance->sharding = body->sharding;
    instance->context = body->context;
    instance->positions = body->positions;
    instance->requests = body->requests;
    instance->reserve = body->reserve;
    instance->kv_format = body->kv_format;
    instance->is_asymmetric = body->is_asymmetric;
    instance->is_upgraded = body->is_upgraded;
    instance->tokens_per_s = body->tokens_per_s;
    instance->first_token_s = body->first_token_s;
    instance->load_s = body->load_s;
    instance->transfer_id = body->transfer_id;
    instance->status = body->is_downloading            ? INSTANCE_DOWNLOADING
                       : ID_IS_ZERO(body->transfer_id) ? INSTANCE_STARTING
                                                       : INSTANCE_COPYING;
    if (ID_IS_ZERO(instance->revision))
        instance->revision = body->revision;
    instance->retry_at_ms = 0;
    while (instance->ranks.count > 0)
        REMOVE(rank_record, instance->ranks, instance->ranks.count - 1);
    while (instance->sources.count > 0)
        REMOVE(file_source, instance->sources, instance->sources.count - 1);
    for (uint32_t i = 0; i < body->ranks.count; i++)
        if (!PUSH(rank_record, instance->ranks, &body->ranks.items[i], RANK_COUNT_MAX))
            return false;
    for (uint32_t i = 0; i < body->sources.count; i++)
        if (!PUSH(file_source, instance->sources, &body->sources.items[i], MODEL_FILE_COUNT_MAX))
            return false;
    return text_set(&instance->why, body->why);
}

static bool apply_rank_addressed(struct state *state, const struct message *event)
{
    const struct rank_addressed *body = event->body;
    struct instance_record *instance =
        find_present(state, &body->instance_id, &body->generation, event->head.index);
    if (!instance || body->rank >= instance->ranks.count)
        return true;
    struct rank_record *rank = &instance->ranks.items[body->rank];
    if (body->actor == ACTOR_LAUNCHER) {
        rank->launcher_key = body->key;
        return text_set(&rank->launcher_address, body->address);
    }
    rank->runner_key = body->key;
    if (rank->status == RANK_PLACED)
        rank->status = RANK_ADDRESSED;
    return text_set(&rank->runner_address, body->address) &&
           text_set(&rank->gateway_address, body->gateway_address);
}

static bool apply_generation_addressed(struct state *state, const struct message *event)
{
    const struct generation_addressed *body = event->body;
    struct instance_record *instance =
        find_present(state, &body->instance_id, &body->generation, event->head.index);
    if (!instance)
        return true;
    for (uint32_t i = 0; i < instance->ranks.count && i < body->ranks.count; i++) {
        struct rank_record *rank = &instance->ranks.items[i];
        const struct rank_record *told = &body->ranks.items[i];
        rank->launcher_key = told->launcher_key;
        rank->runner_key = told->runner_key;
        if (!text_set(&rank->launcher_address, told->launcher_address) ||
            !text_set(&rank->runner_address, told->runner_address) ||
            !text_set(&rank->gateway_address, told->gateway_address))
            return false;
    }
    return true;
}

static bool apply_runner_status_changed(struct state *state, const struct message *event)
{
    const struct runner_status_changed *body = event->body;
    struct instance_record *instance =
        find_present(state, &body->instance_id, &body->generation, event->head.index);
    if (!instance || body->rank >= instance->ranks.count)
        return true;
    instance->ranks.items[body->rank].status = body->status;
    bool all_ready = true;
    for (uint32_t i = 0; i < instance->ranks.count; i++) {
        const struct rank_record *rank = &instance->ranks.items[i];
        all_ready = all_ready && rank->status == (rank->is_source ? RANK_RELEASED : RANK_READY);
    }
    if (all_ready && instance->status == INSTANCE_STARTING) {
        instance->status = INSTANCE_READY;
        instance->ready_ms = event->head.time_ms;
    }
    return true;
}

/* RDMA by which no rank became ready is not tried again: TCP is. */
static bool note_transport(struct instance_record *instance, const char *why)
{
    const char *device = "";
    bool have_met = instance->ready_ms > 0;
    for (uint32_t i = 0; i < instance->ranks.count; i++) {
        const struct rank_record *rank = &instance->ranks.items[i];
        device = *device ? device : text_or_empty(rank->rdma);
        have_met = have_met || rank->status == RANK_READY || rank->status == RANK_RELEASED;
    }
    if (!*device || have_met)
        return true;
    char text[SENTENCE_SIZE_MAX];
    (void)snprintf(text, sizeof(text),
                   "TCP, because the ranks did not meet by RDMA (%.40s): %.400s", device, why);
    return text_set(&instance->transport, text);
}

static bool apply_generation_failed(struct state *state, const struct message *event)
{
    const struct generation_failed *body = event->body;
    struct instance_record *instance =
        find_present(state, &body->instance_id, &body->generation, event->head.index);
    if (!instance)
        return true;
    if (generation_failure_is_first(instance, event->head.time_ms)) {
        instance->window_ms = event->head.time_ms;
        instance->failures = 0;
    }
    instance->failures++;
    if (!note_transport(instance, text_or_empty(body->reason)))
        return false;
    instance->ready_ms = 0;
    instance->retry_at_ms = body->retry_at_ms;
    memset(&instance->transfer_id, 0, sizeof(instance->transfer_id));
    instance->status = body->retry_at_ms == UINT64_MAX ? INSTANCE_FAILED : INSTANCE_WAITING;
    for (uint32_t i = 0; i < instance->ranks.count; i++)
        instance->ranks.items[i].status = RANK_FAILED;
    return text_set(&instance->last_reason, body->reason);
}

static bool apply_instance_retried(struct state *state, const struct message *event)
{
    const struct instance_retried *body = event->body;
    struct instance_record *instance = state_find_instance(state, &body->instance_id);
    if (!instance)
        return true;
    instance->changed_index = event->head.index;
    instance->failures = 0;
    instance->window_ms = event->head.time_ms;
    instance->retry_at_ms = 0;
    if (instance->status == INSTANCE_FAILED)
        instance->status = INSTANCE_WAITING;
    return true;
}

/* ---- the table ---- */

typedef bool apply_event(struct state *state, const struct message *event);

#define APPLY_ROW(code, NAME, record, sentence) [code] = apply_##record,
static apply_event *const handlers[] = {EVENT_LIST(APPLY_ROW)};

/* What the leader must know to take a repeated report or command as one. */
static bool remember_origin(struct state *state, const struct envelope *head)
{
    if (head->incarnation != 0) {
        struct incarnation_record *known =
            state_find_incarnation(state, &head->node_id, head->actor, head->incarnation);
        if (!known) {
            const struct incarnation_record fresh = {head->node_id, head->actor,
                                                     head->incarnation, 0};
            if (state->incarnations.count >= INCARNATION_COUNT_MAX)
                REMOVE(incarnation_record, state->incarnations, 0);
            known = PUSH(incarnation_record, state->incarnations, &fresh, INCARNATION_COUNT_MAX);
            if (!known)
                return false;
        }
        known->sequence = head->sequence;
    }
    if (ID_IS_ZERO(head->key))
        return true;
    const struct command_record command = {head->key, head->index};
    if (state->commands.count >= COMMAND_KEY_COUNT_MAX)
        REMOVE(command_record, state->commands, 0);
    return PUSH(command_record, state->commands, &command, COMMAND_KEY_COUNT_MAX) != NULL;
}

enum status state_apply(struct state *state, const struct message *event)
{
    if (event->head.kind != MESSAGE_EVENT || event->head.code >= COUNT_OF(handlers) ||
        !handlers[event->head.code])
        return STATUS_MALFORMED;
    if (event->head.index != state->index + 1)
        return STATUS_GAP;
    if (!handlers[event->head.code](state, event) || !remember_origin(state, &event->head))
        return STATUS_NO_MEMORY;
    state->index = event->head.index;
    state->time_ms = event->head.time_ms;
    return STATUS_OK;
}
