/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/actor.h"

#include "protocol/buffer.h"
#include "protocol/limits.h"
#include "protocol/memory.h"
#include "protocol/message.h"

#include <string.h>

void outbox_init(struct outbox *outbox)
{
    *outbox = (struct outbox){.wake_ms = UINT64_MAX};
}

static void item_fini(struct outbox_item *item)
{
    memory_free(item->bytes);
    memory_free(item->options);
    memory_free(item->keys);
    if (item->effect.request && item->effect.request_free)
        item->effect.request_free(item->effect.request);
}

void outbox_clear(struct outbox *outbox)
{
    for (size_t i = 0; i < outbox->count; i++)
        item_fini(&outbox->items[i]);
    outbox->count = 0;
    outbox->failed = STATUS_OK;
}

void outbox_fini(struct outbox *outbox)
{
    outbox_clear(outbox);
    memory_free(outbox->items);
    outbox_init(outbox);
}

static void outbox_fail(struct outbox *outbox, enum status status)
{
    if (outbox->failed == STATUS_OK)
        outbox->failed = status;
}

static struct outbox_item *outbox_push(struct outbox *outbox, enum outbox_kind kind)
{
    if (outbox->count == OUTBOX_ITEMS_MAX) {
        outbox_fail(outbox, STATUS_TOO_LARGE);
        return NULL;
    }
    if (outbox->count == outbox->capacity) {
        size_t capacity = outbox->capacity ? outbox->capacity * 2 : 16;
        struct outbox_item *items = memory_resized(outbox->items, capacity, sizeof(*items));
        if (!items) {
            outbox_fail(outbox, STATUS_NO_MEMORY);
            return NULL;
        }
        outbox->items = items;
        outbox->capacity = capacity;
    }
    struct outbox_item *item = &outbox->items[outbox->count++];
    *item = (struct outbox_item){.kind = kind};
    return item;
}

void outbox_send(struct outbox *outbox, const struct peer *peer, const struct message *message)
{
    struct buffer buffer;
    buffer_init(&buffer, MESSAGE_SIZE_MAX);
    enum status status = message_encode(message, &buffer);
    struct outbox_item *item = status == STATUS_OK ? outbox_push(outbox, OUTBOX_SEND) : NULL;
    if (!item) {
        outbox_fail(outbox, status);
        buffer_fini(&buffer);
        return;
    }
    item->peer = *peer;
    item->bytes = buffer.bytes;
    item->size = buffer.size;
}

void outbox_send_bytes(struct outbox *outbox, const struct peer *peer, const void *bytes,
                       size_t size)
{
    uint8_t *copy = memory_copied(bytes, size);
    struct outbox_item *item = copy ? outbox_push(outbox, OUTBOX_SEND) : NULL;
    if (!item) {
        outbox_fail(outbox, STATUS_NO_MEMORY);
        memory_free(copy);
        return;
    }
    item->peer = *peer;
    item->bytes = copy;
    item->size = size;
}

void outbox_wake(struct outbox *outbox, uint64_t at_ms)
{
    if (at_ms < outbox->wake_ms)
        outbox->wake_ms = at_ms;
}

void outbox_link_open(struct outbox *outbox, uint32_t link, const struct link_options *options)
{
    struct link_options *copy = memory_copied(options, sizeof(*options));
    struct outbox_item *item = copy ? outbox_push(outbox, OUTBOX_LINK_OPEN) : NULL;
    if (!item) {
        outbox_fail(outbox, STATUS_NO_MEMORY);
        memory_free(copy);
        return;
    }
    item->peer = peer_of_link(link);
    item->options = copy;
}

void outbox_link_close(struct outbox *outbox, uint32_t link)
{
    struct outbox_item *item = outbox_push(outbox, OUTBOX_LINK_CLOSE);
    if (item)
        item->peer = peer_of_link(link);
}

void outbox_link_allow(struct outbox *outbox, uint32_t link, const struct public_key *keys,
                       size_t key_count)
{
    struct public_key *copy = memory_copied(keys, key_count * sizeof(*keys));
    struct outbox_item *item = copy ? outbox_push(outbox, OUTBOX_LINK_ALLOW) : NULL;
    if (!item) {
        outbox_fail(outbox, STATUS_NO_MEMORY);
        memory_free(copy);
        return;
    }
    item->peer = peer_of_link(link);
    item->keys = copy;
    item->key_count = key_count;
}

void outbox_peer_drop(struct outbox *outbox, const struct peer *peer)
{
    struct outbox_item *item = outbox_push(outbox, OUTBOX_PEER_DROP);
    if (item)
        item->peer = *peer;
}

void outbox_effect(struct outbox *outbox, uint64_t id, uint32_t kind, void *request,
                   void (*request_free)(void *request))
{
    struct outbox_item *item = outbox_push(outbox, OUTBOX_EFFECT);
    if (item)
        item->effect = (struct effect){id, kind, request, request_free};
    else if (request && request_free)
        request_free(request);
}

void outbox_ready(struct outbox *outbox)
{
    (void)outbox_push(outbox, OUTBOX_READY);
}

void outbox_status(struct outbox *outbox, const char *text)
{
    size_t length = strlen(text);
    char *copy = memory_text(text, length);
    struct outbox_item *item = copy ? outbox_push(outbox, OUTBOX_STATUS) : NULL;
    if (!item) {
        outbox_fail(outbox, STATUS_NO_MEMORY);
        memory_free(copy);
        return;
    }
    item->bytes = (uint8_t *)copy;
    item->size = length;
}

void outbox_exit(struct outbox *outbox, int32_t exit_code)
{
    struct outbox_item *item = outbox_push(outbox, OUTBOX_EXIT);
    if (item)
        item->exit_code = exit_code;
}

void *result_take(struct result *result)
{
    void *value = result->value;
    result->value = NULL;
    return value;
}

void result_fini(struct result *result)
{
    if (result->value && result->value_free)
        result->value_free(result->value);
    result->value = NULL;
}
