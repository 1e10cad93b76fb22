/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/token_table.h"

#include "protocol/memory.h"

#include <string.h>

struct row {
    uint32_t offset;
    uint32_t size;
    uint32_t flags;
};

struct token_table {
    char *arena;
    size_t arena_size;
    size_t arena_capacity;
    struct row *rows;
    size_t row_count;
    size_t row_capacity;
    uint32_t *slots; /* id + 1, 0 is empty; a power of two of them, at most half full */
    size_t slot_count;
    size_t slot_used;
};

enum { SLOTS_FIRST = 1024 };

enum status token_table_open(struct token_table **table_out)
{
    struct token_table *table = memory_zeroed(1, sizeof(*table));
    if (!table)
        return STATUS_NO_MEMORY;
    table->slots = memory_zeroed(SLOTS_FIRST, sizeof(*table->slots));
    if (!table->slots) {
        memory_free(table);
        return STATUS_NO_MEMORY;
    }
    table->slot_count = SLOTS_FIRST;
    *table_out = table;
    return STATUS_OK;
}

void token_table_close(struct token_table *table)
{
    if (!table)
        return;
    memory_free(table->arena);
    memory_free(table->rows);
    memory_free(table->slots);
    memory_free(table);
}

static uint64_t bytes_hash(const char *bytes, size_t size)
{
    uint64_t hash = 0xcbf29ce484222325U;
    for (size_t at = 0; at < size; at++)
        hash = (hash ^ (unsigned char)bytes[at]) * 0x100000001b3U;
    return hash ^ hash >> 29;
}

/* The slot that holds these bytes, or the empty one where they would go. */
static size_t slot_find(const struct token_table *table, const char *bytes, size_t size)
{
    size_t mask = table->slot_count - 1;
    size_t slot = bytes_hash(bytes, size) & mask;
    for (;; slot = (slot + 1) & mask) {
        uint32_t held = table->slots[slot];
        if (held == 0)
            return slot;
        const struct row *row = &table->rows[held - 1];
        if (row->size == size && memcmp(table->arena + row->offset, bytes, size) == 0)
            return slot;
    }
}

static enum status slots_grow(struct token_table *table)
{
    if (table->slot_used * 2 < table->slot_count)
        return STATUS_OK;
    uint32_t *old = table->slots;
    size_t old_count = table->slot_count;
    uint32_t *slots = memory_zeroed(old_count * 2, sizeof(*slots));
    if (!slots)
        return STATUS_NO_MEMORY;
    table->slots = slots;
    table->slot_count = old_count * 2;
    for (size_t at = 0; at < old_count; at++) {
        if (old[at] == 0)
            continue;
        const struct row *row = &table->rows[old[at] - 1];
        slots[slot_find(table, table->arena + row->offset, row->size)] = old[at];
    }
    memory_free(old);
    return STATUS_OK;
}

static enum status rows_grow(struct token_table *table, uint32_t id)
{
    if (id < table->row_capacity)
        return STATUS_OK;
    size_t capacity = table->row_capacity == 0 ? 1024 : table->row_capacity;
    while (capacity <= id)
        capacity *= 2;
    struct row *rows = memory_resized(table->rows, capacity, sizeof(*rows));
    if (!rows)
        return STATUS_NO_MEMORY;
    memset(rows + table->row_capacity, 0, (capacity - table->row_capacity) * sizeof(*rows));
    table->rows = rows;
    table->row_capacity = capacity;
    return STATUS_OK;
}

static enum status arena_grow(struct token_table *table, size_t size)
{
    size_t needed = table->arena_size + size;
    if (needed >= UINT32_MAX)
        return STATUS_NO_MEMORY;
    if (needed <= table->arena_capacity)
        return STATUS_OK;
    size_t capacity = table->arena_capacity == 0 ? 16384 : table->arena_capacity;
    while (capacity < needed)
        capacity *= 2;
    char *arena = memory_resized(table->arena, capacity, 1);
    if (!arena)
        return STATUS_NO_MEMORY;
    table->arena = arena;
    table->arena_capacity = capacity;
    return STATUS_OK;
}

enum status token_table_put(struct token_table *table, uint32_t id, const char *bytes,
                            size_t size, unsigned flags)
{
    ASSERT(id < TOKEN_TABLE_IDS_MAX);
    if (id < table->row_count && (table->rows[id].flags & TOKEN_DEFINED))
        return STATUS_EXISTS;
    enum status status = rows_grow(table, id);
    if (status == STATUS_OK)
        status = arena_grow(table, size);
    if (status == STATUS_OK)
        status = slots_grow(table);
    if (status != STATUS_OK)
        return status;
    if (flags & TOKEN_MERGEABLE) {
        size_t slot = slot_find(table, bytes, size);
        if (table->slots[slot] != 0)
            return STATUS_EXISTS;
        table->slots[slot] = id + 1;
        table->slot_used++;
    }
    if (size > 0)
        memcpy(table->arena + table->arena_size, bytes, size);
    table->rows[id] = (struct row){(uint32_t)table->arena_size, (uint32_t)size,
                                   flags | TOKEN_DEFINED};
    table->arena_size += size;
    if (id >= table->row_count)
        table->row_count = (size_t)id + 1;
    return STATUS_OK;
}

void token_table_mark(struct token_table *table, uint32_t id, unsigned flags)
{
    ASSERT(id < table->row_count && (table->rows[id].flags & TOKEN_DEFINED));
    table->rows[id].flags |= flags;
}

size_t token_table_size(const struct token_table *table)
{
    return table->row_count;
}

int token_table_get(const struct token_table *table, uint32_t id, struct token_piece *piece_out)
{
    if (id >= table->row_count || !(table->rows[id].flags & TOKEN_DEFINED))
        return 0;
    const struct row *row = &table->rows[id];
    *piece_out = (struct token_piece){
        .bytes = table->arena + row->offset, .size = row->size, .flags = row->flags};
    return 1;
}

int token_table_find(const struct token_table *table, const char *bytes, size_t size,
                     uint32_t *id_out)
{
    uint32_t held = table->slots[slot_find(table, bytes, size)];
    if (held == 0)
        return 0;
    *id_out = held - 1;
    return 1;
}
