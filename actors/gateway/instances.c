/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/gateway/gateway.h"
#include "protocol/holdings.h"
#include "protocol/instance_wait.h"
#include "protocol/memory.h"
#include "protocol/sharding.h"
#include "runtime/partition.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define LIST_SIZE_MAX (16u << 20)

static void failed_if(struct gateway *gateway, enum status status)
{
    if (status != STATUS_OK)
        gateway->outbox->failed = status;
}

static enum status print_text(struct buffer *json, const char *before, const char *text)
{
    enum status status = buffer_append_text(json, before);
    const char *value = text_or_empty(text);
    return status == STATUS_OK ? json_append_text(json, value, strlen(value)) : status;
}

static const char *node_name(const struct gateway *gateway, const struct node_id *id)
{
    return state_node_name(gateway_state(gateway), id);
}

/* ---- models ---- */

static const struct instance_record *best_instance(const struct gateway *gateway,
                                                   const char *model_id)
{
    const struct instance_record *best = NULL;
    for (uint32_t i = 0; i < gateway_state(gateway)->instances.count; i++) {
        const struct instance_record *instance = &gateway_state(gateway)->instances.items[i];
        if (strcmp(text_or_empty(instance->model_id), model_id) != 0)
            continue;
        if (!best || instance->status < best->status)
            best = instance; /* of statuses other than ready the order says how near it is */
        if (instance->status == INSTANCE_READY)
            return instance;
    }
    return best;
}

/* A node whose disk has weights that none has who is here; NULL: nobody has. */
static bool holder_is_away(const struct gateway *gateway, const struct model_record *model,
                           const char **name_out)
{
    uint32_t file = 0;
    *name_out = NULL;
    if (model_is_held(gateway_state(gateway), model, true, &file))
        return false;
    for (uint32_t i = 0; i < model->holders.count; i++) {
        const struct holder_record *holder = &model->holders.items[i];
        const struct node_record *node = state_find_node(gateway_state(gateway), &holder->node_id);
        if (node && holder_has_file(holder, file))
            *name_out = text_or_empty(node->name);
    }
    return true;
}

bool model_is_away(const struct gateway *gateway, const char *model_id)
{
    const struct model_record *model = state_find_model(gateway_state(gateway), model_id);
    const struct instance_record *instance = best_instance(gateway, model_id);
    const char *name = NULL;
    return model && holder_is_away(gateway, model, &name) &&
           !(instance && instance->status == INSTANCE_READY);
}

bool model_is_loading(const struct gateway *gateway, const char *model_id)
{
    const struct instance_record *instance = best_instance(gateway, model_id);
    const struct model_record *model = state_find_model(gateway_state(gateway), model_id);
    const char *name = NULL;
    return instance && (!model || !holder_is_away(gateway, model, &name)) &&
           (instance->status == INSTANCE_STARTING || instance->status == INSTANCE_WAITING ||
            instance->status == INSTANCE_COPYING || instance->status == INSTANCE_DOWNLOADING);
}

void model_loading_print(const struct gateway *gateway, const char *model_id, char *text_out,
                         size_t size)
{
    const struct instance_record *instance = best_instance(gateway, model_id);
    uint32_t ready = 0;
    if (instance && instance->status == INSTANCE_COPYING && instance->ranks.count > 0) {
        (void)snprintf(text_out, size, "the model is being copied to %.64s",
                       node_name(gateway, &instance->ranks.items[0].node_id));
        return;
    }
    if (instance && instance->status == INSTANCE_DOWNLOADING && instance->ranks.count > 0) {
        (void)snprintf(text_out, size, "the model is being downloaded to %.64s",
                       node_name(gateway, &instance->ranks.items[0].node_id));
        return;
    }
    if (!instance || instance->status != INSTANCE_STARTING) {
        (void)snprintf(text_out, size, "waiting for a runner");
        return;
    }
    for (uint32_t i = 0; i < instance->ranks.count; i++)
        ready += instance->ranks.items[i].status == RANK_READY;
    (void)snprintf(text_out, size, "the model is being loaded: %u of %u ranks are ready", ready,
                   instance_computing(instance));
}

bool model_fault(const struct gateway *gateway, const char *model_id, struct http_fault *fault_out)
{
    const struct model_record *model = state_find_model(gateway_state(gateway), model_id);
    const struct instance_record *instance = best_instance(gateway, model_id);
    const char *name = NULL;
    if (!gateway->session.mirror.has_state) {
        (void)http_fault_set(fault_out, 503, "starting", "The node's master has not answered yet.");
    } else if (!model && !instance) {
        (void)http_fault_set_param(
            fault_out, 404, "model_not_found", "model",
            "The model %.100s is not known; GET /v1/models lists the models, "
            "`troupe add DIRECTORY` adds one.",
            model_id);
    } else if (instance && instance->status == INSTANCE_READY) {
        return false;
    } else if (model && holder_is_away(gateway, model, &name) && !name) {
        (void)http_fault_set_param(fault_out, 503, "no_holder", "model",
                                   "No node holds the weights of %.100s any more; add them again "
                                   "with `troupe add DIRECTORY`.",
                                   model_id);
        fault_out->retry_after_s = 0;
    } else if (model && name) {
        (void)http_fault_set(fault_out, 503, "no_holder",
                             "The only node that holds the weights of %.100s, %.64s, is away; it "
                             "is served again when that node is back.",
                             model_id, name);
        fault_out->retry_after_s = 5;
    } else if (!instance) {
        (void)http_fault_set_param(fault_out, 503, "model_not_placed", "model",
                                   "The model %.100s is here but runs nowhere; place it with "
                                   "`troupe place %.64s` or POST /instance.",
                                   model_id, model_id);
        fault_out->retry_after_s = 0;
    } else if (instance->status == INSTANCE_FAILED) {
        (void)http_fault_set(fault_out, 503, "instance_failed",
                             "The instance of %.64s gave up: %.180s. `troupe place` tries again.",
                             model_id, text_or_empty(instance->last_reason));
        fault_out->retry_after_s = 0;
    } else {
        const char *why = text_or_empty(instance->last_reason);
        (void)http_fault_set(fault_out, 503, "model_loading",
                             "The model %.100s is being %s%s%.160s; try again soon.", model_id,
                             instance->status == INSTANCE_COPYING       ? "copied"
                             : instance->status == INSTANCE_DOWNLOADING ? "downloaded"
                                                                        : "loaded",
                             *why ? ", after: " : "", why);
    }
    return true;
}

static const char *model_status(const struct gateway *gateway, const struct model_record *model)
{
    const struct instance_record *instance = best_instance(gateway, model->model_id);
    const char *name = NULL;
    if (instance)
        return instance_status_name(instance->status);
    return holder_is_away(gateway, model, &name) ? "away" : "not_placed";
}

static enum status model_print(const struct gateway *gateway, const struct model_record *model,
                               struct buffer *json)
{
    const struct instance_record *instance = best_instance(gateway, model->model_id);
    uint32_t context = instance ? instance->context : model->shape.context;
    enum status status = print_text(json, "{\"id\":", model->model_id);
    if (status == STATUS_OK)
        status = buffer_append_format(
            json,
            ",\"object\":\"model\",\"created\":0,\"owned_by\":\"troupe\",\"status\":\"%s\","
            "\"context_length\":%u,\"capabilities\":[\"chat\"],\"weight_bytes\":%" PRIu64
            ",\"model_type\":",
            model_status(gateway, model), context, model->shape.weight_bytes);
    if (status == STATUS_OK)
        status = print_text(json, "", model->shape.model_type);
    if (status == STATUS_OK)
        status = model_facts_print(gateway, model, json);
    return status == STATUS_OK ? buffer_append_text(json, "}") : status;
}

void route_models(struct gateway *gateway, const struct http_arrival *request)
{
    struct buffer json;
    buffer_init(&json, LIST_SIZE_MAX);
    enum status status = buffer_append_text(&json, "{\"object\":\"list\",\"data\":[");
    for (uint32_t i = 0; status == STATUS_OK && i < gateway_state(gateway)->models.count; i++) {
        if (i > 0)
            status = buffer_append_text(&json, ",");
        if (status == STATUS_OK)
            status = model_print(gateway, &gateway_state(gateway)->models.items[i], &json);
    }
    if (status == STATUS_OK)
        status = buffer_append_text(&json, "]}");
    failed_if(gateway, status);
    reply(gateway, request->exchange, 200, &json);
}

void route_model(struct gateway *gateway, const struct http_arrival *request)
{
    const char *model_id = request->path + strlen("/v1/models/");
    const struct model_record *model = state_find_model(gateway_state(gateway), model_id);
    if (!model) {
        struct http_fault fault;
        (void)http_fault_set_param(&fault, 404, "model_not_found", "model",
                                   "The model %.100s is not known; GET /v1/models lists them.",
                                   model_id);
        reply_fault(gateway, request->exchange, &fault);
        return;
    }
    struct buffer json;
    buffer_init(&json, LIST_SIZE_MAX);
    failed_if(gateway, model_print(gateway, model, &json));
    reply(gateway, request->exchange, 200, &json);
}

/* ---- instances ---- */

/* Ranks and who sends which weight file, of an instance or of a candidate. */
struct shown {
    const struct rank_record *ranks;
    uint32_t rank_count;
    const struct file_source *sources;
    uint32_t source_count;
};

/* How many weight files it reads into its own memory, and how many it gets slices of from whom. */
static enum status sources_print(const struct gateway *gateway, const struct shown *shown,
                                 uint32_t number, struct buffer *json)
{
    const uint32_t reads = file_sources_read(shown->sources, shown->source_count, number);
    const bool is_source = shown->ranks[number].is_source;
    uint32_t senders = 0;
    enum status status =
        buffer_append_format(json, ",\"is_source\":%s,\"reads\":%u,\"receives\":[",
                             is_source ? "true" : "false", is_source ? 0 : reads);
    for (uint32_t rank = 0; rank < shown->rank_count && status == STATUS_OK && !is_source; rank++) {
        const uint32_t files =
            file_sources_sent(shown->sources, shown->source_count, rank, number);
        if (files == 0)
            continue;
        status = buffer_append_format(json, "%s{\"from\":%u,\"files\":%u,\"node\":",
                                      senders++ ? "," : "", rank, files);
        if (status == STATUS_OK)
            status = print_text(json, "", node_name(gateway, &shown->ranks[rank].node_id));
        if (status == STATUS_OK)
            status = buffer_append_text(json, "}");
    }
    return status == STATUS_OK ? buffer_append_text(json, "]") : status;
}

/* Of each class what the rank holds, in steps of units counted through the layers of the class. */
static enum status cuts_print(const struct rank_record *rank, struct buffer *json)
{
    enum status status = buffer_append_text(json, ",\"cuts\":[");
    for (uint32_t i = 0; status == STATUS_OK && i < rank->cuts.count; i++) {
        const struct cut_record *cut = &rank->cuts.items[i];
        status = buffer_append_format(
            json,
            "%s{\"what\":\"%s\",\"layers\":%u,\"units\":%u,\"step\":%u,\"first\":%u,"
            "\"end\":%u}",
            i ? "," : "", partition_kind_name((enum partition_kind)cut->kind), cut->layers,
            cut->units, cut->step, cut->first, cut->end);
    }
    return status == STATUS_OK ? buffer_append_text(json, "]") : status;
}

static enum status rank_print(const struct gateway *gateway, const struct shown *shown,
                              uint32_t number, struct buffer *json)
{
    const struct rank_record *rank = &shown->ranks[number];
    char id[HEX_SIZE(16)];
    enum status status =
        buffer_append_format(json, "%s{\"rank\":%u,\"node_id\":\"%s\",\"node\":", number ? "," : "",
                             number, hex_print(&rank->node_id, sizeof(rank->node_id), id));
    if (status == STATUS_OK)
        status = print_text(json, "", node_name(gateway, &rank->node_id));
    if (status == STATUS_OK)
        status = buffer_append_format(
            json,
            ",\"status\":\"%s\",\"stage\":%u,\"share_percent\":%u.%02u,"
            "\"layers\":[%u,%u],\"vocab\":[%u,%u],\"threads\":%u,\"has_weights\":%s,"
            "\"weight_bytes\":%" PRIu64
            ",\"cache_bytes\":%" PRIu64 ",\"scratch_bytes\":%" PRIu64,
            rank_status_name(rank->status), rank->stage, rank->share / 100, rank->share % 100,
            rank->layer_first, rank->layer_end, rank->vocab_first, rank->vocab_end, rank->threads,
            rank->has_weights ? "true" : "false", rank->weight_bytes, rank->cache_bytes,
            rank->scratch_bytes);
    if (status == STATUS_OK)
        status = cuts_print(rank, json);
    if (status == STATUS_OK)
        status = sources_print(gateway, shown, number, json);
    return status == STATUS_OK ? buffer_append_text(json, "}") : status;
}

static enum status ranks_print(const struct gateway *gateway, const struct shown *shown,
                               struct buffer *json)
{
    enum status status = buffer_append_text(json, ",\"ranks\":[");
    for (uint32_t i = 0; status == STATUS_OK && i < shown->rank_count; i++)
        status = rank_print(gateway, shown, i, json);
    return status == STATUS_OK ? buffer_append_text(json, "]}") : status;
}

enum status instance_print(const struct gateway *gateway, const struct instance_record *instance,
                           struct buffer *json)
{
    char id[HEX_SIZE(16)];
    char generation[48];
    enum status status =
        buffer_append_format(json, "{\"instance_id\":\"%s\"",
                             hex_print(&instance->instance_id, sizeof(instance->instance_id), id));
    if (status == STATUS_OK)
        status = print_text(json, ",\"model_id\":", instance->model_id);
    if (status == STATUS_OK)
        status = buffer_append_format(
            json,
            ",\"status\":\"%s\",\"sharding\":\"%s\",\"is_asymmetric\":%s,"
            "\"mode\":\"%s\",\"context\":%u,\"positions\":%u,\"requests\":%u,"
            "\"reserve\":%u,\"kv_cache\":\"%s\",\"generation\":\"%s\",\"failures\":%u",
            instance_status_name(instance->status), sharding_name(instance->sharding),
            instance->is_asymmetric ? "true" : "false",
            mode_name(instance->mode), instance->context, instance->positions, instance->requests,
            instance->reserve, kv_format_name(instance->kv_format),
            generation_print(&instance->generation, generation), instance->failures);
    if (status == STATUS_OK)
        status = buffer_append_format(
            json,
            ",\"is_upgraded\":%s,\"predicted\":{\"tokens_per_s\":%.3f,"
            "\"first_token_s\":%.3f,\"load_s\":%.3f}",
            instance->is_upgraded ? "true" : "false", instance->tokens_per_s,
            instance->first_token_s, instance->load_s);
    if (status == STATUS_OK)
        status = buffer_append_text(json, ",\"observed\":");
    if (status == STATUS_OK)
        status = pace_print(instance,
                            pace_find(gateway->paces.items, gateway->paces.count, instance), json);
    if (status == STATUS_OK && instance->status == INSTANCE_COPYING)
        status = buffer_append_format(
            json, ",\"transfer_id\":\"%s\"",
            hex_print(&instance->transfer_id, sizeof(instance->transfer_id), id));
    if (status == STATUS_OK)
        status = print_text(json, ",\"why\":", instance->why);
    if (status == STATUS_OK)
        status = print_text(json, ",\"last_reason\":", instance->last_reason);
    char waited_for[SENTENCE_SIZE_MAX];
    if (status == STATUS_OK && instance_waits_for(gateway_state(gateway), instance, waited_for))
        status = print_text(json, ",\"waits_for\":", waited_for);
    const struct shown shown = {instance->ranks.items, instance->ranks.count,
                                instance->sources.items, instance->sources.count};
    return status == STATUS_OK ? ranks_print(gateway, &shown, json) : status;
}

void route_instances(struct gateway *gateway, const struct http_arrival *request)
{
    struct buffer json;
    buffer_init(&json, LIST_SIZE_MAX);
    enum status status = buffer_append_text(&json, "{\"instances\":[");
    for (uint32_t i = 0; status == STATUS_OK && i < gateway_state(gateway)->instances.count; i++) {
        if (i > 0)
            status = buffer_append_text(&json, ",");
        if (status == STATUS_OK)
            status = instance_print(gateway, &gateway_state(gateway)->instances.items[i], &json);
    }
    if (status == STATUS_OK)
        status = buffer_append_text(&json, "]}");
    failed_if(gateway, status);
    reply(gateway, request->exchange, 200, &json);
}

/* Answers 404 itself when there is no such instance. */
static const struct instance_record *named_instance(struct gateway *gateway,
                                                    const struct http_arrival *request)
{
    struct instance_id id;
    const struct instance_record *instance = NULL;
    if (hex_parse(request->path + strlen("/instance/"), &id, sizeof(id)))
        instance = state_find_instance(gateway_state(gateway), &id);
    if (!instance) {
        struct http_fault fault;
        (void)http_fault_set(&fault, 404, "instance_not_found",
                             "There is no instance %.64s; GET /instance lists them.",
                             request->path + strlen("/instance/"));
        reply_fault(gateway, request->exchange, &fault);
    }
    return instance;
}

void route_instance(struct gateway *gateway, const struct http_arrival *request)
{
    const struct instance_record *instance = named_instance(gateway, request);
    if (!instance)
        return;
    struct buffer json;
    buffer_init(&json, LIST_SIZE_MAX);
    failed_if(gateway, instance_print(gateway, instance, &json));
    reply(gateway, request->exchange, 200, &json);
}

void route_delete(struct gateway *gateway, const struct http_arrival *request)
{
    const struct instance_record *instance = named_instance(gateway, request);
    if (!instance)
        return;
    struct delete_instance body = {.instance_id = instance->instance_id};
    ask_begin(gateway, ASK_DELETE, request->exchange, COMMAND_DELETE_INSTANCE, &body,
              &instance->instance_id);
}

void reply_candidates(struct gateway *gateway, uint64_t exchange,
                      const struct candidates_listed *listed)
{
    struct buffer json;
    buffer_init(&json, LIST_SIZE_MAX);
    enum status status = buffer_append_text(&json, "{\"previews\":[");
    for (uint32_t i = 0; status == STATUS_OK && i < listed->candidates.count; i++) {
        const struct candidate *candidate = &listed->candidates.items[i];
        const struct shown shown = {candidate->ranks.items, candidate->ranks.count,
                                    candidate->sources.items, candidate->sources.count};
        status = print_text(&json, i ? ",{\"model_id\":" : "{\"model_id\":", listed->model_id);
        if (status == STATUS_OK)
            status = buffer_append_format(
                &json,
                ",\"sharding\":\"%s\",\"is_asymmetric\":%s,\"is_upgraded\":%s,"
                "\"mode\":\"%s\",\"is_possible\":%s,\"context\":%u,"
                "\"positions\":%u,\"requests\":%u,\"kv_cache\":\"%s\",\"tokens_per_s\":%.3f,"
                "\"first_token_s\":%.3f,\"load_s\":%.3f",
                sharding_name(candidate->sharding),
                candidate->is_asymmetric ? "true" : "false",
                candidate->is_upgraded ? "true" : "false", mode_name(candidate->mode),
                candidate->is_possible ? "true" : "false", candidate->context,
                candidate->positions, candidate->requests, kv_format_name(candidate->kv_format),
                candidate->tokens_per_s, candidate->first_token_s, candidate->load_s);
        if (status == STATUS_OK)
            status = print_text(&json, ",\"why\":", candidate->why);
        if (status == STATUS_OK)
            status = ranks_print(gateway, &shown, &json);
    }
    if (status == STATUS_OK)
        status = buffer_append_format(&json, "],\"left_off\":%u,\"running\":", listed->left_off);
    if (status == STATUS_OK)
        status = pace_print_all(gateway_state(gateway), text_or_empty(listed->model_id),
                                gateway->paces.items, gateway->paces.count, &json);
    if (status == STATUS_OK)
        status = buffer_append_text(&json, "}");
    failed_if(gateway, status);
    reply(gateway, exchange, 200, &json);
}
