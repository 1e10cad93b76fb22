/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/gateway/gateway.h"
#include "actors/gateway/http_head.h"
#include "actors/gateway/http_limits.h"
#include "actors/gateway/openai_fields.h"
#include "protocol/memory.h"
#include "protocol/sharding.h"
#include "runtime/partition_table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How something is to be placed, from the body of POST /instance or a query. */

static bool read_sharding(const char *name, struct place_instance *place,
                          struct http_fault *fault_out)
{
    enum sharding sharding = SHARDING_NONE;
    place->any_sharding = false;
    place->asymmetric = strcmp(name, "asymmetric") == 0;
    if (place->asymmetric)
        sharding = SHARDING_TENSOR;
    else if (strcmp(name, "auto") == 0)
        place->any_sharding = true;
    else if (!sharding_parse(name, &sharding))
        return field_is_wrong(fault_out, "sharding", "auto, asymmetric, " SHARDING_NAMES);
    place->sharding = (uint32_t)sharding;
    return true;
}

static bool read_mode(const char *name, struct place_instance *place, struct http_fault *fault_out)
{
    if (strcmp(name, "exact") == 0)
        place->mode = MODE_EXACT;
    else if (strcmp(name, "fast") == 0)
        place->mode = MODE_FAST;
    else
        return field_is_wrong(fault_out, "mode", "exact or fast");
    return true;
}

static bool read_kv_cache(const char *name, struct place_instance *place,
                          struct http_fault *fault_out)
{
    enum kv_format format = KV_FORMAT_NONE;
    if (!kv_format_parse(name, &format))
        return field_is_wrong(fault_out, "kv_cache", "bf16 or int8");
    place->kv_format = (uint32_t)format;
    return true;
}

static bool add_node(const struct gateway *gateway, const char *name, struct place_instance *place,
                     struct http_fault *fault_out)
{
    const struct node_record *node = state_find_node_named(gateway_state(gateway), name);
    char listed[NODES_LISTED_SIZE];
    if (!node)
        return http_fault_set_param(fault_out, 404, "node_not_found", "nodes",
                                    "There is no node %.64s; there are %s.", name,
                                    state_nodes_list(gateway_state(gateway), listed));
    uint32_t size = place->node_ids.count + (uint32_t)sizeof(node->node_id);
    uint8_t *items = memory_resized(place->node_ids.items, size, 1);
    if (!items)
        return http_fault_set(fault_out, 503, "no_memory", "No memory for the request.");
    memcpy(items + place->node_ids.count, &node->node_id, sizeof(node->node_id));
    place->node_ids.items = items;
    place->node_ids.count = size;
    return true;
}

static bool read_nodes(const struct gateway *gateway, const json_t *list,
                       struct place_instance *place, struct http_fault *fault_out)
{
    size_t index = 0;
    const json_t *entry = NULL;
    if (!json_is_array(list) || json_array_size(list) > NODE_COUNT_MAX)
        return field_is_wrong(fault_out, "nodes", "a list of names or ids of nodes");
    json_array_foreach(list, index, entry)
    {
        if (!json_is_string(entry))
            return field_is_wrong(fault_out, "nodes", "a list of names or ids of nodes");
        if (!add_node(gateway, json_string_value(entry), place, fault_out))
            return false;
    }
    return true;
}

static bool read_numbers(const json_t *list, const char *field, const char *what, int64_t least,
                         int64_t most, struct u32s *numbers, struct http_fault *fault_out)
{
    size_t count = json_array_size(list);
    int64_t given[RANK_COUNT_MAX];
    struct reason reason = {""};
    if (!json_is_array(list) || count == 0 || count > RANK_COUNT_MAX)
        return field_is_wrong(fault_out, field, what);
    for (size_t i = 0; i < count; i++)
        if (!field_integer(json_array_get(list, i), field, -most, most, &given[i], fault_out))
            return field_is_wrong(fault_out, field, what);
    if (least == 0 && partition_check_signs(given, (uint32_t)count, &reason) != STATUS_OK)
        return http_fault_set_param(fault_out, 400, "invalid_value", field, "%s: %s.", field,
                                    reason.text);
    numbers->items = memory_zeroed(count, sizeof(uint32_t));
    if (!numbers->items)
        return http_fault_set(fault_out, 503, "no_memory", "No memory for the request.");
    for (size_t i = 0; i < count; i++) {
        if (given[i] < least)
            return field_is_wrong(fault_out, field, what);
        numbers->items[numbers->count++] = (uint32_t)given[i];
    }
    return true;
}

static bool read_table(json_t *table, struct place_instance *place,
                       struct http_fault *fault_out)
{
    struct reason reason = {""};
    if (partition_table_read(table, place, &reason) == STATUS_OK)
        return true;
    return http_fault_set_param(fault_out, 400, "invalid_value", "table", "table: %s.",
                                reason.text);
}

static bool read_number(const json_t *value, const char *field, int64_t most, uint32_t *out,
                        struct http_fault *fault_out)
{
    int64_t number = 0;
    if (!field_integer(value, field, 0, most, &number, fault_out))
        return false;
    *out = (uint32_t)number;
    return true;
}

static bool read_place_field(const struct gateway *gateway, const char *name, json_t *value,
                             struct place_instance *place, struct http_fault *fault_out)
{
    static const char *const texts[] = {"model_id", "sharding", "mode", "kv_cache"};
    if (json_is_null(value))
        return true;
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        if (strcmp(name, texts[i]) == 0 && !json_is_string(value))
            return field_is_wrong(fault_out, name, "a string");
    if (strcmp(name, "model_id") == 0)
        return text_set(&place->model_id, json_string_value(value));
    if (strcmp(name, "sharding") == 0)
        return read_sharding(json_string_value(value), place, fault_out);
    if (strcmp(name, "mode") == 0)
        return read_mode(json_string_value(value), place, fault_out);
    if (strcmp(name, "kv_cache") == 0)
        return read_kv_cache(json_string_value(value), place, fault_out);
    if (strcmp(name, "requests") == 0)
        return read_number(value, name, REQUESTS_RUNNING_MAX, &place->requests, fault_out);
    if (strcmp(name, "min_nodes") == 0)
        return read_number(value, name, NODE_COUNT_MAX, &place->nodes_min, fault_out);
    if (strcmp(name, "context") == 0)
        return read_number(value, name, 1 << 24, &place->context, fault_out);
    if (strcmp(name, "threads") == 0)
        return read_number(value, name, 1024, &place->threads, fault_out);
    if (strcmp(name, "download") == 0) {
        place->may_download = json_is_true(value);
        return json_is_boolean(value) || field_is_wrong(fault_out, name, "true or false");
    }
    if (strcmp(name, "nodes") == 0 || strcmp(name, "node_ids") == 0)
        return read_nodes(gateway, value, place, fault_out);
    if (strcmp(name, "shares") == 0)
        return read_numbers(value, name, "a list of whole numbers, one for each rank", 0,
                            1000000, &place->shares, fault_out);
    if (strcmp(name, "stages") == 0)
        return read_numbers(value, name, "a list of the numbers of ranks of each stage", 1,
                            RANK_COUNT_MAX, &place->stages, fault_out);
    if (strcmp(name, "table") == 0)
        return read_table(value, place, fault_out);
    return http_fault_set_param(fault_out, 400, "unknown_parameter", name,
                                "%.64s is no field of a placement.", name);
}

static bool check_model(const struct gateway *gateway, const struct place_instance *place,
                        struct http_fault *fault_out)
{
    const char *model_id = text_or_empty(place->model_id);
    if (!*model_id)
        return http_fault_set_param(fault_out, 400, "missing_field", "model_id",
                                    "model_id is missing; GET /v1/models lists the names.");
    if (!state_find_model(gateway_state(gateway), model_id) && !place->may_download)
        return http_fault_set_param(fault_out, 404, "model_not_found", "model_id",
                                    "The model %.100s is not known; GET /v1/models lists them.",
                                    model_id);
    return true;
}

/* All fields of an object, which is given back. */
static bool read_fields(const struct gateway *gateway, json_t *root, struct place_instance *place,
                        struct http_fault *fault_out)
{
    bool is_good = root != NULL;
    const char *name = NULL;
    json_t *value = NULL;
    json_object_foreach(root, name, value)
    {
        is_good = is_good && read_place_field(gateway, name, value, place, fault_out);
    }
    json_decref(root);
    return is_good && check_model(gateway, place, fault_out);
}

void route_place(struct gateway *gateway, const struct http_arrival *request)
{
    struct place_instance place = {.any_sharding = true};
    struct http_fault fault;
    json_t *root =
        openai_parse_body(request->body ? request->body : "", request->body_size, &fault);
    if (read_fields(gateway, root, &place, &fault))
        ask_begin(gateway, ASK_PLACE, request->exchange, COMMAND_PLACE_INSTANCE, &place, NULL);
    else
        reply_fault(gateway, request->exchange, &fault);
    record_fini(&place_instance_type, &place);
}

/* ---- the same in a query ---- */

/* How a value is written there that is no text; what is no field of a placement is refused as one.
 */
static const struct query_field {
    const char *name;
    enum query_form { QUERY_NUMBER, QUERY_SWITCH, QUERY_NAMES, QUERY_NUMBERS, QUERY_JSON } form;
} query_fields[] = {
    {"requests", QUERY_NUMBER}, {"min_nodes", QUERY_NUMBER}, {"context", QUERY_NUMBER},
    {"threads", QUERY_NUMBER},  {"download", QUERY_SWITCH},  {"nodes", QUERY_NAMES},
    {"node_ids", QUERY_NAMES},  {"shares", QUERY_NUMBERS},   {"stages", QUERY_NUMBERS},
    {"table", QUERY_JSON}};

/* A text where it is no number: the field then says what it takes. */
static json_t *number_of(const char *text)
{
    char *end = NULL;
    errno = 0;
    const long long number = strtoll(text, &end, 10);
    const bool is_number = errno == 0 && end != text && *end == '\0' &&
                           (text[0] == '-' || (text[0] >= '0' && text[0] <= '9'));
    return is_number ? json_integer(number) : json_string(text);
}

/* "a,b" onto the end of the list. */
static bool add_parts(json_t *list, char *text, enum query_form form)
{
    for (char *at = text; at;) {
        char *comma = strchr(at, ',');
        if (comma)
            *comma = '\0';
        if (json_array_append_new(list, form == QUERY_NUMBERS ? number_of(at)
                                                              : json_string(at)) != 0)
            return false;
        at = comma ? comma + 1 : NULL;
    }
    return true;
}

/* As it would stand in a body; NULL: without memory. */
static json_t *value_of(const char *name, char *text, json_t *before)
{
    const struct query_field *field = NULL;
    for (size_t i = 0; i < COUNT_OF(query_fields); i++)
        if (strcmp(name, query_fields[i].name) == 0)
            field = &query_fields[i];
    if (!field)
        return json_string(text);
    json_t *list = NULL;
    switch (field->form) {
    case QUERY_NUMBER:
        return number_of(text);
    case QUERY_SWITCH:
        return strcmp(text, "true") == 0    ? json_true()
               : strcmp(text, "false") == 0 ? json_false()
                                            : json_string(text);
    case QUERY_JSON: {
        json_t *value = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
        return value ? value : json_string(text);
    }
    case QUERY_NAMES:
    case QUERY_NUMBERS:
        break;
    }
    list = before ? json_incref(before) : json_array();
    if (list && add_parts(list, text, field->form))
        return list;
    json_decref(list);
    return NULL;
}

/* One "name=value" into the object; lists may be given in parts. */
static bool add_pair(json_t *root, const char *pair, size_t size, struct http_fault *fault_out)
{
    char name[NAME_SIZE_MAX];
    char spaced[HTTP_REQUEST_LINE_SIZE_MAX + 1];
    char value[HTTP_REQUEST_LINE_SIZE_MAX + 1];
    const char *equals = memchr(pair, '=', size);
    const size_t name_size = equals ? (size_t)(equals - pair) : size;
    const struct http_text coded = {spaced, equals ? size - name_size - 1 : 0};
    size_t value_size = 0;
    for (size_t i = 0; i < coded.size && i < sizeof(spaced); i++)
        spaced[i] = equals[1 + i] == '+' ? ' ' : equals[1 + i]; /* as browsers write it */
    if (name_size == 0 || name_size >= sizeof(name) || coded.size >= sizeof(value) ||
        !http_percent_decode(coded, value, &value_size))
        return http_fault_set(fault_out, 400, "invalid_value",
                              "The query is no list of name=value with & between.");
    memcpy(name, pair, name_size);
    name[name_size] = '\0';
    json_t *before = json_object_get(root, name);
    if (before && !json_is_array(before))
        return http_fault_set_param(fault_out, 400, "invalid_value", name,
                                    "%.64s is given twice; give it once.", name);
    json_t *added = value_of(name, value, before);
    if (!added || json_object_set_new(root, name, added) != 0)
        return http_fault_set_param(fault_out, 400, "invalid_value", name,
                                    "%.64s holds what is no text.", name);
    return true;
}

/* As the object that a body is; NULL with a fault. */
static json_t *parse_query(const char *query, struct http_fault *fault_out)
{
    json_t *root = json_object();
    bool is_good = root != NULL;
    if (!root)
        (void)http_fault_set(fault_out, 503, "no_memory", "No memory for the request.");
    for (const char *at = query; is_good && *at;) {
        const size_t size = strcspn(at, "&");
        is_good = size == 0 || add_pair(root, at, size, fault_out);
        at += size + (at[size] == '&');
    }
    if (is_good)
        return root;
    json_decref(root);
    return NULL;
}

void route_previews(struct gateway *gateway, const struct http_arrival *request)
{
    struct ask_candidates body = {.request = {.any_sharding = true}};
    struct http_fault fault;
    json_t *root = parse_query(request->query ? request->query : "", &fault);
    if (read_fields(gateway, root, &body.request, &fault))
        ask_begin(gateway, ASK_CANDIDATES, request->exchange, COMMAND_ASK_CANDIDATES, &body, NULL);
    else
        reply_fault(gateway, request->exchange, &fault);
    record_fini(&ask_candidates_type, &body);
}
