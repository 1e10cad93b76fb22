/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transfers: routes about copying models between the disks of nodes.
 */
#include "actors/gateway/gateway.h"
#include "actors/gateway/openai_fields.h"
#include "protocol/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MODELS_PATH "/v1/models/"
#define TRANSFERS_PATH "/v1/models/transfers"
#define DISTRIBUTE_END "/distribute"
#define LIST_SIZE_MAX (16u << 20)

/* ---- printing ---- */

static enum status print_text(struct buffer *json, const char *before, const char *text)
{
    const char *value = text_or_empty(text);
    enum status status = buffer_append_text(json, before);
    return status == STATUS_OK ? json_append_text(json, value, strlen(value)) : status;
}

static enum status print_node(const struct gateway *gateway, const char *before,
                              const struct node_id *node_id, struct buffer *json)
{
    char id[HEX_SIZE(16)];
    enum status status = buffer_append_format(json, "%s\"%s\",\"node\":", before,
                                              hex_print(node_id, sizeof(*node_id), id));
    return status == STATUS_OK
               ? print_text(json, "", state_node_name(gateway_state(gateway), node_id))
               : status;
}

static uint64_t model_bytes(const struct state *state, const struct transfer_record *transfer)
{
    const struct model_record *model =
        state_find_model(state, text_or_empty(transfer->model_id));
    uint64_t bytes = 0;
    for (uint32_t i = 0; model && ID_EQUAL(model->revision, transfer->revision) &&
                         i < model->files.count;
         i++)
        bytes += model->files.items[i].size;
    return bytes;
}

static enum status print_sources(const struct gateway *gateway,
                                 const struct transfer_progressed *told, struct buffer *json)
{
    enum status status = buffer_append_text(json, ",\"sources\":[");
    for (uint32_t i = 0; i < told->sources.count && status == STATUS_OK; i++) {
        const struct transfer_source *source = &told->sources.items[i];
        status = print_node(gateway, i == 0 ? "{\"node_id\":" : ",{\"node_id\":",
                            &source->node_id, json);
        if (status == STATUS_OK)
            status = buffer_append_format(json, ",\"bytes\":%" PRIu64 "}", source->bytes);
    }
    return status == STATUS_OK ? buffer_append_text(json, "]") : status;
}

/* What is told by signals, and only while they come. */
static enum status print_progress(const struct gateway *gateway,
                                  const struct transfer_progressed *told, struct buffer *json)
{
    const uint64_t left_s = transfer_seconds_left(told);
    enum status status = buffer_append_format(
        json,
        ",\"bytes_done\":%" PRIu64 ",\"bytes_total\":%" PRIu64 ",\"bytes_received\":%" PRIu64
        ",\"bytes_per_s\":%" PRIu64,
        told->bytes_have, told->bytes_total, told->bytes_received, told->bytes_per_s);
    if (status == STATUS_OK && left_s < UINT64_MAX)
        status = buffer_append_format(json, ",\"seconds_left\":%" PRIu64, left_s);
    return status == STATUS_OK ? print_sources(gateway, told, json) : status;
}

static enum status print_target(const struct gateway *gateway,
                                const struct transfer_record *transfer,
                                const struct transfer_target *target, bool is_first,
                                struct buffer *json)
{
    const struct transfer_progressed *told =
        transfer_progress_find(&gateway->transfers, &transfer->transfer_id, &target->node_id,
                               gateway->input->now_ms);
    const uint64_t all = model_bytes(gateway_state(gateway), transfer);
    enum status status = print_node(gateway, is_first ? "{\"node_id\":" : ",{\"node_id\":",
                                    &target->node_id, json);
    if (status == STATUS_OK)
        status = buffer_append_format(json, ",\"status\":\"%s\"",
                                      transfer_phase_name(target->phase));
    if (status == STATUS_OK && target->phase == TRANSFER_FAILED)
        status = buffer_append_format(json, ",\"code\":\"%s\"",
                                      status_code_name(target->status));
    if (status == STATUS_OK && target->phase == TRANSFER_FAILED)
        status = print_text(json, ",\"reason\":", target->reason);
    if (status == STATUS_OK && target->phase == TRANSFER_RUNNING && told)
        status = print_progress(gateway, told, json);
    else if (status == STATUS_OK && target->phase == TRANSFER_DONE)
        status = buffer_append_format(
            json, ",\"bytes_done\":%" PRIu64 ",\"bytes_total\":%" PRIu64, all, all);
    return status == STATUS_OK ? buffer_append_text(json, "}") : status;
}

enum status transfer_print(const struct gateway *gateway, const struct transfer_record *transfer,
                           struct buffer *json)
{
    char id[HEX_SIZE(16)];
    char revision[HEX_SIZE(32)];
    enum status status = buffer_append_format(
        json, "{\"transfer_id\":\"%s\",\"status\":\"%s\",\"revision\":\"%s\",\"bytes\":%" PRIu64,
        hex_print(&transfer->transfer_id, sizeof(transfer->transfer_id), id),
        transfer_phase_name(transfer_phase_of(transfer)),
        hex_print(&transfer->revision, sizeof(transfer->revision), revision),
        model_bytes(gateway_state(gateway), transfer));
    if (status == STATUS_OK)
        status = print_text(json, ",\"model_id\":", transfer->model_id);
    if (status == STATUS_OK && !ID_IS_ZERO(transfer->source_node_id))
        status = buffer_append_format(json, ",\"source_node_id\":\"%s\"",
                                      hex_print(&transfer->source_node_id, 16, id));
    if (status == STATUS_OK)
        status = buffer_append_text(json, ",\"targets\":[");
    for (uint32_t i = 0; status == STATUS_OK && i < transfer->targets.count; i++)
        status = print_target(gateway, transfer, &transfer->targets.items[i], i == 0, json);
    return status == STATUS_OK ? buffer_append_text(json, "]}") : status;
}

/* ---- reading ---- */

static void failed_if(struct gateway *gateway, enum status status)
{
    if (status != STATUS_OK)
        gateway->outbox->failed = status;
}

void route_transfers(struct gateway *gateway, const struct http_arrival *request)
{
    const struct state *state = gateway_state(gateway);
    struct buffer json;
    buffer_init(&json, LIST_SIZE_MAX);
    enum status status = buffer_append_text(&json, "{\"transfers\":[");
    for (uint32_t i = 0; status == STATUS_OK && i < state->transfers.count; i++) {
        if (i > 0)
            status = buffer_append_text(&json, ",");
        if (status == STATUS_OK)
            status = transfer_print(gateway, &state->transfers.items[i], &json);
    }
    if (status == STATUS_OK)
        status = buffer_append_text(&json, "]}");
    failed_if(gateway, status);
    reply(gateway, request->exchange, 200, &json);
}

/* Answers 404 itself when there is no such transfer. */
static const struct transfer_record *named_transfer(struct gateway *gateway,
                                                    const struct http_arrival *request)
{
    const char *name = request->path + strlen(TRANSFERS_PATH "/");
    const struct transfer_record *transfer = NULL;
    struct transfer_id id;
    struct http_fault fault;
    if (hex_parse(name, &id, sizeof(id)))
        transfer = state_find_transfer(gateway_state(gateway), &id);
    if (!transfer) {
        (void)http_fault_set(&fault, 404, "transfer_not_found",
                             "There is no transfer %.64s; GET " TRANSFERS_PATH " lists them.",
                             name);
        reply_fault(gateway, request->exchange, &fault);
    }
    return transfer;
}

void route_transfer(struct gateway *gateway, const struct http_arrival *request)
{
    const struct transfer_record *transfer = named_transfer(gateway, request);
    struct buffer json;
    if (!transfer)
        return;
    buffer_init(&json, LIST_SIZE_MAX);
    failed_if(gateway, transfer_print(gateway, transfer, &json));
    reply(gateway, request->exchange, 200, &json);
}

void route_cancel_transfer(struct gateway *gateway, const struct http_arrival *request)
{
    const struct transfer_record *transfer = named_transfer(gateway, request);
    if (!transfer)
        return;
    struct cancel_transfer body = {.transfer_id = transfer->transfer_id};
    ask_begin(gateway, ASK_CANCEL_TRANSFER, request->exchange, COMMAND_CANCEL_TRANSFER, &body,
              NULL);
}

/* ---- asking ---- */

static const struct node_record *find_node(const struct gateway *gateway, const json_t *value,
                                           const char *field, struct http_fault *fault_out)
{
    if (!json_is_string(value)) {
        (void)field_is_wrong(fault_out, field, "an id or a name of a node");
        return NULL;
    }
    const struct node_record *node =
        state_find_node_named(gateway_state(gateway), json_string_value(value));
    if (!node)
        (void)http_fault_set_param(fault_out, 404, "node_not_found", field,
                                   "There is no node %.64s; GET /state lists them.",
                                   json_string_value(value));
    return node;
}

static bool read_targets(const struct gateway *gateway, const json_t *value,
                         struct distribute_model *body, struct http_fault *fault_out)
{
    static const char field[] = "target_node_ids";
    struct node_id ids[NODE_COUNT_MAX];
    size_t index = 0;
    const json_t *entry = NULL;
    if (json_is_string(value) && strcmp(json_string_value(value), "all") == 0) {
        body->is_all = true;
        return true;
    }
    if (!json_is_array(value) || json_array_size(value) == 0 ||
        json_array_size(value) > NODE_COUNT_MAX)
        return field_is_wrong(fault_out, field, "\"all\", or a list of ids or names of nodes");
    json_array_foreach(value, index, entry)
    {
        const struct node_record *node = find_node(gateway, entry, field, fault_out);
        if (!node)
            return false;
        ids[index] = node->node_id;
    }
    return bytes_set(&body->node_ids, ids, json_array_size(value) * sizeof(ids[0])) ||
           http_fault_set(fault_out, 503, "no_memory", "No memory for the request.");
}

static bool read_field(const struct gateway *gateway, const char *name, const json_t *value,
                       struct distribute_model *body, struct http_fault *fault_out)
{
    if (strcmp(name, "target_node_ids") == 0)
        return read_targets(gateway, value, body, fault_out);
    if (strcmp(name, "source_node_id") != 0)
        return http_fault_set_param(fault_out, 400, "unknown_parameter", name,
                                    "%.64s is no field of a distribution.", name);
    if (json_is_null(value))
        return true;
    const struct node_record *node = find_node(gateway, value, name, fault_out);
    if (node)
        body->source_node_id = node->node_id;
    return node != NULL;
}

static bool read_body(const struct gateway *gateway, const struct http_arrival *request,
                      struct distribute_model *body, struct http_fault *fault_out)
{
    json_error_t error;
    json_t *root = json_loadb(request->body ? request->body : "", request->body_size,
                              JSON_REJECT_DUPLICATES, &error);
    bool is_good = json_is_object(root);
    const char *name = NULL;
    json_t *value = NULL;
    if (!is_good)
        (void)http_fault_set(fault_out, 400, "invalid_json", "The body must be a JSON object.");
    json_object_foreach(root, name, value)
    {
        is_good = is_good && read_field(gateway, name, value, body, fault_out);
    }
    json_decref(root);
    if (is_good && !body->is_all && body->node_ids.count == 0)
        return http_fault_set_param(fault_out, 400, "missing_field", "target_node_ids",
                                    "target_node_ids is missing: a list of nodes, or \"all\".");
    return is_good;
}

/* "/v1/models/org/name/distribute" -> "org/name". */
static bool read_model(const struct http_arrival *request, char name_out[NAME_SIZE_MAX + 1])
{
    const char *name = request->path + strlen(MODELS_PATH);
    const size_t length = strlen(name);
    const size_t end = strlen(DISTRIBUTE_END);
    if (length <= end || strcmp(name + length - end, DISTRIBUTE_END) != 0 ||
        length - end > NAME_SIZE_MAX)
        return false;
    (void)snprintf(name_out, NAME_SIZE_MAX + 1, "%.*s", (int)(length - end), name);
    return true;
}

void route_distribute(struct gateway *gateway, const struct http_arrival *request)
{
    struct distribute_model body = {.is_all = false};
    struct http_fault fault;
    char name[NAME_SIZE_MAX + 1];
    bool is_good = read_model(request, name);
    if (!is_good) {
        (void)http_fault_set(&fault, 405, "method_not_allowed",
                             "POST is not allowed on this path; POST "
                             "/v1/models/{model_id}/distribute copies a model.");
        reply_fault_with(gateway, request->exchange, &fault, "Allow: GET, HEAD");
        return;
    }
    /* Whether there is such a model the leader says: our copy of the state may be late. */
    is_good = read_body(gateway, request, &body, &fault);
    if (is_good && text_set(&body.model_id, name)) {
        gateway_draw_id(gateway, &body.transfer_id);
        ask_begin(gateway, ASK_DISTRIBUTE, request->exchange, COMMAND_DISTRIBUTE_MODEL, &body,
                  NULL);
    } else {
        if (is_good)
            (void)http_fault_set(&fault, 503, "no_memory", "No memory for the request.");
        reply_fault(gateway, request->exchange, &fault);
    }
    record_fini(&distribute_model_type, &body);
}

/* ---- what a command came to ---- */

/* Ours, or the one that ours joined. */
static const struct transfer_record *distributed(const struct gateway *gateway,
                                                 const struct distribute_model *body)
{
    const struct state *state = gateway_state(gateway);
    const struct transfer_record *found = state_find_transfer(state, &body->transfer_id);
    const char *name = text_or_empty(body->model_id);
    const struct model_record *model = state_find_model(state, name);
    if (!found && model && !body->is_all)
        found = state_find_transfer_to(state, name, &model->revision, &body->node_ids);
    /* The joined one may have ended meanwhile, or was asked for some and we for all. */
    for (uint32_t i = state->transfers.count; !found && i-- > 0;)
        if (strcmp(text_or_empty(state->transfers.items[i].model_id), name) == 0)
            found = &state->transfers.items[i];
    return found;
}

enum status transfer_print_asked(const struct gateway *gateway, const struct ask *ask,
                                 struct buffer *json)
{
    struct message command;
    struct reason reason;
    char id[HEX_SIZE(16)];
    enum status status = message_decode(ask->bytes.bytes, ask->bytes.size, &command, &reason);
    if (status != STATUS_OK)
        return status;
    const struct transfer_record *transfer =
        ask->kind == ASK_DISTRIBUTE
            ? distributed(gateway, command.body)
            : state_find_transfer(gateway_state(gateway),
                                  &MESSAGE_BODY(&command, cancel_transfer)->transfer_id);
    message_fini(&command);
    if (!transfer)
        return STATUS_OK;
    status = buffer_append_format(json, ",\"transfer_id\":\"%s\",\"transfer\":",
                                  hex_print(&transfer->transfer_id, 16, id));
    return status == STATUS_OK ? transfer_print(gateway, transfer, json) : status;
}
