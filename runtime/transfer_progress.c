/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/transfer_progress.h"

#include "protocol/schema.h"

#include <string.h>

static bool is_of(const struct transfer_progress *entry, const struct transfer_id *transfer,
                  const struct node_id *target)
{
    return entry->expires_ms > 0 && ID_EQUAL(entry->told.transfer_id, *transfer) &&
           ID_EQUAL(entry->node_id, *target);
}

static void entry_fini(struct transfer_progress *entry)
{
    record_fini(&transfer_progressed_type, &entry->told);
    memset(entry, 0, sizeof(*entry));
}

void transfer_progress_take(struct transfer_progress_table *table, const struct message *message,
                            uint64_t now_ms)
{
    struct transfer_progress *place = &table->entries[0];
    if (!message_is(message, MESSAGE_SIGNAL, SIGNAL_TRANSFER_PROGRESSED))
        return;
    const struct transfer_progressed *told = message->body;
    for (size_t i = 0; i < TRANSFER_PROGRESS_MAX; i++) {
        struct transfer_progress *entry = &table->entries[i];
        if (is_of(entry, &told->transfer_id, &message->head.node_id)) {
            place = entry;
            break;
        }
        if (entry->expires_ms < place->expires_ms)
            place = entry;
    }
    entry_fini(place);
    if (record_copy(&transfer_progressed_type, told, &place->told) != STATUS_OK)
        return;
    place->node_id = message->head.node_id;
    place->expires_ms = now_ms + TRANSFER_PROGRESS_LIFE_MS;
}

const struct transfer_progressed *transfer_progress_find(
    const struct transfer_progress_table *table, const struct transfer_id *transfer,
    const struct node_id *target, uint64_t now_ms)
{
    for (size_t i = 0; i < TRANSFER_PROGRESS_MAX; i++)
        if (is_of(&table->entries[i], transfer, target) && table->entries[i].expires_ms > now_ms)
            return &table->entries[i].told;
    return NULL;
}

uint64_t transfer_seconds_left(const struct transfer_progressed *told)
{
    if (told->bytes_have >= told->bytes_total)
        return 0;
    return told->bytes_per_s > 0
               ? (told->bytes_total - told->bytes_have + told->bytes_per_s - 1) / told->bytes_per_s
               : UINT64_MAX;
}

void transfer_progress_fini(struct transfer_progress_table *table)
{
    for (size_t i = 0; i < TRANSFER_PROGRESS_MAX; i++)
        entry_fini(&table->entries[i]);
}
