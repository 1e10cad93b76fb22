/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/loop_internal.h"

#include "protocol/memory.h"
#include "runtime/service_notify.h"
#include "runtime/spawn.h"

#include <stdio.h>
#include <string.h>

enum status pending_push(struct pending_list *list, const struct pending *pending)
{
    if (list->taken > 0 && list->taken == list->count) {
        list->taken = 0;
        list->count = 0;
    }
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 16;
        struct pending *items = memory_resized(list->items, capacity, sizeof(*items));
        if (!items)
            return STATUS_NO_MEMORY;
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = *pending;
    return STATUS_OK;
}

void pending_list_fini(struct pending_list *list)
{
    for (size_t i = list->taken; i < list->count; i++)
        result_fini(&list->items[i].result);
    memory_free(list->items);
    *list = (struct pending_list){0};
}

static enum status carry_send(struct loop *loop, const struct outbox_item *item)
{
    enum status status = loop->transport
        ? transport_send(loop->transport, &item->peer, item->bytes, item->size)
        : STATUS_UNREACHABLE;
    if (status == STATUS_OK)
        return STATUS_OK;
    struct pending failed = {.kind = INPUT_SEND_FAILED, .peer = item->peer, .status = status};
    return pending_push(&loop->pending, &failed);
}

static enum status carry_link_open(struct loop *loop, const struct outbox_item *item)
{
    struct pending refused = {.kind = INPUT_LINK_REFUSED, .peer = item->peer};
    refused.status = loop->transport
        ? transport_link_open(loop->transport, item->peer.link, item->options, &refused.reason)
        : refuse(&refused.reason, STATUS_UNSUPPORTED, "this process has no transport");
    return refused.status == STATUS_OK ? STATUS_OK : pending_push(&loop->pending, &refused);
}

static enum status carry_effect(struct loop *loop, struct outbox_item *item,
                                struct reason *reason)
{
    if (!loop->options.shell.perform)
        return refuse(reason, STATUS_INTERNAL, "%s: nobody performs effect %u",
                      loop->options.ops->name, (unsigned)item->effect.kind);
    return loop->options.shell.perform(loop->options.shell.self, loop, &item->effect, reason);
}

static void carry_word(struct loop *loop, const struct outbox_item *item)
{
    char line[512];
    if (item->kind == OUTBOX_READY)
        ready_notify();
    if (!loop->options.notify_service)
        return;
    if (item->kind == OUTBOX_READY) {
        (void)service_notify("READY=1");
        return;
    }
    (void)snprintf(line, sizeof(line), "STATUS=%s", (const char *)item->bytes);
    char *end = strchr(line, '\n');
    if (end)
        *end = 0;
    (void)service_notify(line);
}

static enum status carry_item(struct loop *loop, struct outbox_item *item, struct reason *reason)
{
    switch (item->kind) {
    case OUTBOX_SEND:
        return carry_send(loop, item);
    case OUTBOX_LINK_OPEN:
        return carry_link_open(loop, item);
    case OUTBOX_LINK_CLOSE:
        if (loop->transport)
            transport_link_close(loop->transport, item->peer.link);
        return STATUS_OK;
    case OUTBOX_LINK_ALLOW:
        /* A list for a link that was refused or closed meanwhile concerns nobody. */
        if (loop->transport &&
            transport_allow(loop->transport, item->peer.link, item->keys, item->key_count) ==
                STATUS_NO_MEMORY)
            return STATUS_NO_MEMORY;
        return STATUS_OK;
    case OUTBOX_PEER_DROP:
        if (loop->transport)
            transport_peer_drop(loop->transport, &item->peer);
        return STATUS_OK;
    case OUTBOX_EFFECT:
        return carry_effect(loop, item, reason);
    case OUTBOX_READY:
    case OUTBOX_STATUS:
        carry_word(loop, item);
        return STATUS_OK;
    case OUTBOX_EXIT:
        loop->is_exiting = true;
        loop->exit_code = item->exit_code;
        return STATUS_OK;
    }
    return STATUS_INTERNAL;
}

enum status loop_carry_out(struct loop *loop, struct reason *reason)
{
    struct outbox *outbox = &loop->outbox;
    if (outbox->failed != STATUS_OK)
        return refuse(reason, outbox->failed, "%s: a step asked for more than can be held",
                      loop->options.ops->name);
    enum status status = STATUS_OK;
    for (size_t i = 0; i < outbox->count && status == STATUS_OK && !loop->is_exiting; i++)
        status = carry_item(loop, &outbox->items[i], reason);
    outbox_clear(outbox);
    return status;
}
