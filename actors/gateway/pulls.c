/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pulls: the route about models on their way from a hub, and how the last of them ended.
 */
#include "actors/gateway/gateway.h"
#include "protocol/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LIST_SIZE_MAX (16u << 20)
#define PROGRESS_LIFE_MS 5000u /* told twice a second */

/* ---- how far they are ---- */

static bool is_of(const struct pull_progress *entry, const char *model_id,
                  const struct node_id *node_id)
{
    return entry->expires_ms > 0 && ID_EQUAL(entry->told.node_id, *node_id) &&
           strcmp(text_or_empty(entry->told.model_id), model_id) == 0;
}

void pulls_note(struct gateway *gateway, const struct message *message)
{
    struct pull_progress *place = &gateway->pulls[0];
    if (!message_is(message, MESSAGE_SIGNAL, SIGNAL_IMPORT_PROGRESSED))
        return;
    const struct import_progressed *told = message->body;
    for (size_t i = 0; i < COUNT_OF(gateway->pulls); i++) {
        struct pull_progress *entry = &gateway->pulls[i];
        if (is_of(entry, text_or_empty(told->model_id), &told->node_id)) {
            place = entry;
            break;
        }
        if (entry->expires_ms < place->expires_ms)
            place = entry;
    }
    record_fini(&import_progressed_type, &place->told);
    memset(place, 0, sizeof(*place));
    if (record_copy(&import_progressed_type, told, &place->told) == STATUS_OK)
        place->expires_ms = gateway->input->now_ms + PROGRESS_LIFE_MS;
}

void pulls_fini(struct gateway *gateway)
{
    for (size_t i = 0; i < COUNT_OF(gateway->pulls); i++)
        record_fini(&import_progressed_type, &gateway->pulls[i].told);
}

static const struct import_progressed *progress_of(const struct gateway *gateway,
                                                   const char *model_id,
                                                   const struct node_id *node_id)
{
    for (size_t i = 0; i < COUNT_OF(gateway->pulls); i++)
        if (is_of(&gateway->pulls[i], model_id, node_id) &&
            gateway->pulls[i].expires_ms > gateway->input->now_ms)
            return &gateway->pulls[i].told;
    return NULL;
}

/* ---- printing ---- */

/* The first failure stays; nothing is printed after it. */
struct page {
    const struct gateway *gateway;
    struct buffer *json;
    enum status status;
};

static void print(struct page *page, const char *text)
{
    if (page->status == STATUS_OK)
        page->status = buffer_append_text(page->json, text);
}

static void print_text(struct page *page, const char *before, const char *text)
{
    const char *value = text_or_empty(text);
    print(page, before);
    if (page->status == STATUS_OK)
        page->status = json_append_text(page->json, value, strlen(value));
}

static void print_number(struct page *page, const char *before, uint64_t number)
{
    print(page, before);
    if (page->status == STATUS_OK)
        page->status = buffer_append_format(page->json, "%" PRIu64, number);
}

static void print_node(struct page *page, const char *before, const struct node_id *node_id)
{
    char id[HEX_SIZE(16)];
    print_text(page, before, hex_print(node_id, sizeof(*node_id), id));
    print_text(page, ",\"node\":", state_node_name(gateway_state(page->gateway), node_id));
}

static void print_progress(struct page *page, const struct import_progressed *told)
{
    print_number(page, ",\"bytes_done\":", told->bytes_have);
    print_number(page, ",\"bytes_total\":", told->bytes_total);
    print_number(page, ",\"bytes_from_hub\":", told->bytes_hub);
    print_number(page, ",\"bytes_from_nodes\":", told->bytes_peers);
    print_number(page, ",\"bytes_per_s\":", told->bytes_per_s);
    if (told->bytes_per_s > 0 && told->bytes_have <= told->bytes_total)
        print_number(page, ",\"seconds_left\":",
                     (told->bytes_total - told->bytes_have + told->bytes_per_s - 1) /
                         told->bytes_per_s);
    if (!text_or_empty(told->file)[0])
        return;
    print_text(page, ",\"file\":{\"path\":", told->file);
    print_number(page, ",\"bytes_done\":", told->file_have);
    print_number(page, ",\"bytes_total\":", told->file_total);
    print(page, "}");
}

static void print_target(struct page *page, const struct download_record *download,
                         const struct download_target *target)
{
    const struct import_progressed *told =
        progress_of(page->gateway, text_or_empty(download->model_id), &target->node_id);
    print_node(page, "{\"node_id\":", &target->node_id);
    print(page, target->is_paused ? ",\"status\":\"paused\"" : ",\"status\":\"running\"");
    if (target->is_barred)
        print_text(page, ",\"reason\":", target->reason);
    if (told)
        print_progress(page, told);
    print(page, "}");
}

static void print_file(struct page *page, const struct download_file *file)
{
    print_text(page, "{\"path\":", file->path);
    print_number(page, ",\"bytes\":", file->size);
    if (ID_IS_ZERO(file->node_id))
        print(page, ",\"status\":\"waiting\"");
    else
        print_node(page, file->is_done ? ",\"status\":\"done\",\"node_id\":"
                                       : ",\"status\":\"fetched\",\"node_id\":",
                   &file->node_id);
    print(page, "}");
}

static void print_end(struct page *page, const struct download_end *end)
{
    const bool is_done = end->status == STATUS_OK;
    const bool is_cancelled = end->status == STATUS_CANCELLED;
    print_node(page, "{\"node_id\":", &end->node_id);
    print_text(page, ",\"status\":",
               is_done ? "done" : is_cancelled ? "cancelled" : "failed");
    if (!is_done) {
        print_text(page, ",\"code\":", status_code_name((enum status)end->status));
        print_text(page, ",\"reason\":", end->reason);
    }
    print(page, "}");
}

static bool is_together(const struct download_end *end, const char *model_id, uint64_t index)
{
    return end->requested_index == index && strcmp(text_or_empty(end->model_id), model_id) == 0;
}

/* The targets at which it is over; how many. */
static uint32_t print_ends(struct page *page, const char *model_id, uint64_t index)
{
    const struct state *state = gateway_state(page->gateway);
    uint32_t count = 0;
    for (uint32_t i = 0; i < state->download_ends.count; i++) {
        const struct download_end *end = &state->download_ends.items[i];
        if (!is_together(end, model_id, index))
            continue;
        print(page, count++ > 0 ? "," : "");
        print_end(page, end);
    }
    return count;
}

static void print_pull(struct page *page, const struct download_record *download)
{
    const char *model_id = text_or_empty(download->model_id);
    print_text(page, "{\"model_id\":", model_id);
    print(page, ",\"status\":\"running\"");
    print_text(page, ",\"revision\":", text_or_empty(download->hub_revision)[0]
                                           ? download->hub_revision
                                           : "main");
    print_text(page, ",\"commit\":", download->commit);
    print(page, download->no_peers ? ",\"no_peers\":true,\"files\":[" : ",\"files\":[");
    for (uint32_t i = 0; i < download->files.count; i++) {
        print(page, i > 0 ? "," : "");
        print_file(page, &download->files.items[i]);
    }
    print(page, "],\"targets\":[");
    const uint32_t ended = print_ends(page, model_id, download->requested_index);
    for (uint32_t i = 0; i < download->targets.count; i++) {
        print(page, i > 0 || ended > 0 ? "," : "");
        print_target(page, download, &download->targets.items[i]);
    }
    print(page, "]}");
}

/* Of ends that belong together the first stands for all. */
static bool is_first(const struct state *state, uint32_t at)
{
    const struct download_end *end = &state->download_ends.items[at];
    const struct download_record *running =
        state_find_download(state, text_or_empty(end->model_id));
    bool is_other = !running || running->requested_index != end->requested_index;
    for (uint32_t i = 0; i < at && is_other; i++)
        is_other = !is_together(&state->download_ends.items[i], text_or_empty(end->model_id),
                                end->requested_index);
    return is_other;
}

static void print_ended(struct page *page, const struct download_end *end)
{
    const struct state *state = gateway_state(page->gateway);
    const char *model_id = text_or_empty(end->model_id);
    bool is_any = false;
    for (uint32_t i = 0; i < state->download_ends.count; i++)
        is_any = is_any || (state->download_ends.items[i].status != STATUS_OK &&
                            is_together(&state->download_ends.items[i], model_id,
                                        end->requested_index));
    print_text(page, "{\"model_id\":", model_id);
    print(page, is_any ? ",\"status\":\"failed\"" : ",\"status\":\"done\"");
    print_text(page, ",\"commit\":", end->commit);
    print(page, ",\"targets\":[");
    (void)print_ends(page, model_id, end->requested_index);
    print(page, "]}");
}

void route_pulls(struct gateway *gateway, const struct http_arrival *request)
{
    const struct state *state = gateway_state(gateway);
    struct buffer json;
    struct page page = {gateway, &json, STATUS_OK};
    bool has_any = false;
    buffer_init(&json, LIST_SIZE_MAX);
    print(&page, "{\"pulls\":[");
    for (uint32_t i = 0; i < state->downloads.count; i++, has_any = true) {
        print(&page, has_any ? "," : "");
        print_pull(&page, &state->downloads.items[i]);
    }
    for (uint32_t i = 0; i < state->download_ends.count; i++) {
        if (!is_first(state, i))
            continue;
        print(&page, has_any ? "," : "");
        print_ended(&page, &state->download_ends.items[i]);
        has_any = true;
    }
    print(&page, "]}");
    if (page.status != STATUS_OK)
        gateway->outbox->failed = page.status;
    reply(gateway, request->exchange, 200, &json);
}
