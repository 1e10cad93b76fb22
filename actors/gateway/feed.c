/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/gateway/gateway.h"
#include "protocol/memory.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define EVENT_TEXT_SIZE_MAX (4u << 20)

static void drop_oldest(struct gateway *gateway)
{
    struct feed_entry *entry = &gateway->feed[gateway->feed_first];
    gateway->feed_size -= entry->size;
    memory_free(entry->text);
    *entry = (struct feed_entry){0};
    gateway->feed_first = (gateway->feed_first + 1) % GATEWAY_FEED_COUNT_MAX;
    gateway->feed_count--;
}

static void write_entry(struct gateway *gateway, struct watcher *watcher, const char *text,
                        size_t size)
{
    struct buffer out;
    buffer_init(&out, EVENT_TEXT_SIZE_MAX + 64);
    if (buffer_append(&out, text, size) != STATUS_OK)
        gateway->outbox->failed = STATUS_NO_MEMORY;
    watcher->written_ms = gateway->input->now_ms;
    stream_write(gateway, watcher->exchange, &out);
}

/* One event as a server-sent one: its index is the id, its name the type. */
static char *print_event(const struct message *event, size_t *size_out)
{
    struct buffer text;
    buffer_init(&text, EVENT_TEXT_SIZE_MAX);
    const struct message_type *type = message_type_find(event->head.kind, event->head.code);
    enum status status =
        buffer_append_format(&text, "id: %" PRIu64 "\nevent: %s\ndata: ", event->head.index,
                             type ? type->name : "unknown");
    if (status == STATUS_OK)
        status = message_print(event, &text);
    if (status == STATUS_OK)
        status = buffer_append_text(&text, "\n\n");
    *size_out = text.size;
    char *taken = status == STATUS_OK ? buffer_take_text(&text) : NULL;
    buffer_fini(&text);
    return taken;
}

void feed_event(struct gateway *gateway, const struct message *event)
{
    size_t size = 0;
    char *text = print_event(event, &size);
    if (!text) {
        gateway->outbox->failed = STATUS_NO_MEMORY;
        return;
    }
    while (gateway->feed_count > 0 && (gateway->feed_count == GATEWAY_FEED_COUNT_MAX ||
                                       gateway->feed_size + size > GATEWAY_FEED_SIZE_MAX))
        drop_oldest(gateway);
    uint32_t at = (gateway->feed_first + gateway->feed_count) % GATEWAY_FEED_COUNT_MAX;
    gateway->feed[at] = (struct feed_entry){.index = event->head.index, .text = text, .size = size};
    gateway->feed_count++;
    gateway->feed_size += size;
    for (size_t i = 0; i < GATEWAY_WATCHER_COUNT_MAX; i++)
        if (gateway->watchers[i].is_used)
            write_entry(gateway, &gateway->watchers[i], text, size);
}

/* The state jumped: what is kept does not lead to it.  Watchers must ask anew. */
void feed_restart(struct gateway *gateway)
{
    while (gateway->feed_count > 0)
        drop_oldest(gateway);
    feed_end_all(gateway);
}

/* The oldest index that can still be sent after. */
static uint64_t feed_begin(const struct gateway *gateway)
{
    if (gateway->feed_count == 0)
        return gateway_state(gateway)->index;
    return gateway->feed[gateway->feed_first].index - 1;
}

static bool read_since(const char *query, uint64_t *since_out)
{
    const char *at = strstr(query, "since=");
    if (!at || (at != query && at[-1] != '&'))
        return false;
    *since_out = strtoull(at + 6, NULL, 10);
    return true;
}

void route_events(struct gateway *gateway, const struct http_arrival *request)
{
    struct http_fault fault;
    uint64_t since = gateway_state(gateway)->index;
    (void)read_since(request->query, &since);
    if (since < feed_begin(gateway)) {
        (void)http_fault_set_param(&fault, 410, "too_old", "since",
                                   "Events before %" PRIu64 " are not kept here; read them with "
                                   "`troupe events` or troupe-log.",
                                   feed_begin(gateway) + 1);
        reply_fault(gateway, request->exchange, &fault);
        return;
    }
    struct watcher *watcher = NULL;
    for (size_t i = 0; i < GATEWAY_WATCHER_COUNT_MAX && !watcher; i++)
        if (!gateway->watchers[i].is_used)
            watcher = &gateway->watchers[i];
    if (!watcher) {
        (void)http_fault_set(&fault, 429, "too_many_watchers",
                             "%u clients watch events, the limit.", GATEWAY_WATCHER_COUNT_MAX);
        reply_fault(gateway, request->exchange, &fault);
        return;
    }
    *watcher = (struct watcher){
        .is_used = true, .exchange = request->exchange, .written_ms = gateway->input->now_ms};
    stream_begin(gateway, request->exchange);
    write_entry(gateway, watcher, ": events\n\n", 10);
    for (uint32_t i = 0; i < gateway->feed_count; i++) {
        const struct feed_entry *entry =
            &gateway->feed[(gateway->feed_first + i) % GATEWAY_FEED_COUNT_MAX];
        if (entry->index > since)
            write_entry(gateway, watcher, entry->text, entry->size);
    }
}

void feed_tick(struct gateway *gateway)
{
    for (size_t i = 0; i < GATEWAY_WATCHER_COUNT_MAX; i++) {
        struct watcher *watcher = &gateway->watchers[i];
        if (watcher->is_used && gateway->input->now_ms - watcher->written_ms >= GATEWAY_COMMENT_MS)
            write_entry(gateway, watcher, ": nothing new\n\n", 15);
    }
}

void feed_forget(struct gateway *gateway, uint64_t exchange)
{
    for (size_t i = 0; i < GATEWAY_WATCHER_COUNT_MAX; i++)
        if (gateway->watchers[i].exchange == exchange)
            gateway->watchers[i] = (struct watcher){0};
}

bool feed_has_watchers(const struct gateway *gateway)
{
    for (size_t i = 0; i < GATEWAY_WATCHER_COUNT_MAX; i++)
        if (gateway->watchers[i].is_used)
            return true;
    return false;
}

void feed_end_all(struct gateway *gateway)
{
    for (size_t i = 0; i < GATEWAY_WATCHER_COUNT_MAX; i++) {
        if (gateway->watchers[i].is_used)
            stream_end(gateway, gateway->watchers[i].exchange);
        gateway->watchers[i] = (struct watcher){0};
    }
}

void feed_fini(struct gateway *gateway)
{
    while (gateway->feed_count > 0)
        drop_oldest(gateway);
}
