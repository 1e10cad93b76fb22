/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_facts: what the list of models says of each beyond what OpenAI's does: where it lies, how
 * much it is, whether it is kept.
 */
#include "actors/gateway/gateway.h"
#include "runtime/hub_names.h"

#include <inttypes.h>
#include <string.h>

static enum status holder_print(const struct gateway *gateway, const struct holder_record *holder,
                                bool is_first, struct buffer *json)
{
    char id[HEX_SIZE(16)];
    const struct node_record *node = state_find_node(gateway_state(gateway), &holder->node_id);
    const char *name = node ? text_or_empty(node->name) : "";
    enum status status = buffer_append_format(
        json, "%s{\"node_id\":\"%s\",\"node\":", is_first ? "" : ",",
        hex_print(&holder->node_id, sizeof(holder->node_id), id));
    if (status == STATUS_OK)
        status = json_append_text(json, name, strlen(name));
    if (status == STATUS_OK)
        status = buffer_append_format(json, ",\"has_weights\":%s,\"is_here\":%s}",
                                      holder->has_weights ? "true" : "false",
                                      node && node->in_view ? "true" : "false");
    return status;
}

enum status model_facts_print(const struct gateway *gateway, const struct model_record *model,
                              struct buffer *json)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < model->files.count; i++)
        bytes += model->files.items[i].size;
    enum status status = buffer_append_format(
        json,
        ",\"bytes\":%" PRIu64 ",\"commit\":\"%s\",\"is_pinned\":%s,\"last_used\":%" PRIu64
        ",\"holders\":[",
        bytes, hub_commit_is_sound(model->commit) ? model->commit : "",
        model->is_pinned ? "true" : "false", model->used_ms / 1000);
    for (uint32_t i = 0; i < model->holders.count && status == STATUS_OK; i++)
        status = holder_print(gateway, &model->holders.items[i], i == 0, json);
    return status == STATUS_OK ? buffer_append_text(json, "]") : status;
}
