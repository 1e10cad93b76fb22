/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/pace_view.h"

#include "protocol/record.h"

#include <math.h>
#include <string.h>

void pace_table_take(struct pace_table *table, const struct state *state,
                     const struct message *message)
{
    if (!message_is(message, MESSAGE_SIGNAL, SIGNAL_PACE_MEASURED))
        return;
    const struct pace_measured *told = message->body;
    const struct instance_record *instance = state_find_instance(state, &told->instance_id);
    struct pace_measured *place = NULL;
    if (!instance || !generation_equal(&instance->generation, &told->generation) ||
        instance->ranks.count == 0 ||
        !ID_EQUAL(instance->ranks.items[0].node_id, message->head.node_id))
        return;
    for (uint32_t i = 0; i < table->count; i++) {
        struct pace_measured *item = &table->items[i];
        if (ID_EQUAL(item->instance_id, told->instance_id)) {
            place = item;
            break;
        }
        if (!state_find_instance(state, &item->instance_id))
            place = item; /* its instance went */
    }
    if (!place && table->count < INSTANCE_COUNT_MAX)
        place = &table->items[table->count++];
    if (place)
        *place = *told;
}

const struct pace_measured *pace_find(const struct pace_measured *items, uint32_t count,
                                      const struct instance_record *instance)
{
    for (uint32_t i = 0; i < count; i++)
        if (ID_EQUAL(items[i].instance_id, instance->instance_id) &&
            generation_equal(&items[i].generation, &instance->generation))
            return &items[i];
    return NULL;
}

double pace_load_s(const struct instance_record *instance)
{
    if (instance->status != INSTANCE_READY || instance->started_ms == 0 ||
        instance->ready_ms < instance->started_ms)
        return 0;
    return (double)(instance->ready_ms - instance->started_ms) / 1e3;
}

/* A member, after others unless it is the first; null: there is no such figure yet. */
static enum status print_number(struct buffer *json, const char *key, double number)
{
    return number > 0 && isfinite(number) ? buffer_append_format(json, "%s%.3f", key, number)
                                          : buffer_append_format(json, "%snull", key);
}

static enum status print_three(struct buffer *json, double tokens_per_s, double first_token_s,
                               double load_s)
{
    enum status status = print_number(json, "{\"tokens_per_s\":", tokens_per_s);
    if (status == STATUS_OK)
        status = print_number(json, ",\"first_token_s\":", first_token_s);
    return status == STATUS_OK ? print_number(json, ",\"load_s\":", load_s) : status;
}

enum status pace_print(const struct instance_record *instance, const struct pace_measured *pace,
                       struct buffer *json)
{
    enum status status = print_three(json, pace ? pace->tokens_per_s : 0,
                                     pace ? pace->first_token_s : 0, pace_load_s(instance));
    if (status != STATUS_OK)
        return status;
    if (pace && pace->first_token_s > 0)
        return buffer_append_format(json, ",\"prompt_tokens\":%u}", pace->prompt_tokens);
    return buffer_append_text(json, ",\"prompt_tokens\":null}");
}

static enum status print_one(const struct instance_record *instance,
                             const struct pace_measured *pace, struct buffer *json)
{
    char id[HEX_SIZE(16)];
    enum status status =
        buffer_append_format(json, "{\"instance_id\":\"%s\",\"model_id\":",
                             hex_print(&instance->instance_id, 16, id));
    if (status == STATUS_OK)
        status = json_append_text(json, text_or_empty(instance->model_id),
                                  strlen(text_or_empty(instance->model_id)));
    if (status == STATUS_OK)
        status = buffer_append_text(json, ",\"predicted\":");
    if (status == STATUS_OK)
        status = print_three(json, instance->tokens_per_s, instance->first_token_s,
                             instance->load_s);
    if (status == STATUS_OK)
        status = buffer_append_text(json, "},\"observed\":");
    if (status == STATUS_OK)
        status = pace_print(instance, pace, json);
    return status == STATUS_OK ? buffer_append_text(json, "}") : status;
}

enum status pace_print_all(const struct state *state, const char *model_id,
                           const struct pace_measured *items, uint32_t count, struct buffer *json)
{
    enum status status = buffer_append_text(json, "[");
    bool is_first = true;
    for (uint32_t i = 0; status == STATUS_OK && i < state->instances.count; i++) {
        const struct instance_record *instance = &state->instances.items[i];
        if (model_id && strcmp(model_id, text_or_empty(instance->model_id)) != 0)
            continue;
        status = buffer_append_text(json, is_first ? "" : ",");
        is_first = false;
        if (status == STATUS_OK)
            status = print_one(instance, pace_find(items, count, instance), json);
    }
    return status == STATUS_OK ? buffer_append_text(json, "]") : status;
}
