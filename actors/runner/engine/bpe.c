/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/bpe.h"

#include "protocol/memory.h"

#include <string.h>

enum {
    SHORT_PIECE_MAX = 48, /* below it a scan for the lowest rank beats the heap */
    HEAP_CHILDREN = 4,
    NO_RANK = UINT32_MAX,
};
#define NOWHERE UINT32_MAX

struct pair {
    uint32_t left;
    uint32_t right;
    uint32_t rank;
    uint32_t merged;
};

struct bpe {
    uint32_t byte_ids[256];
    const struct token_table *characters; /* NULL: merging begins with bytes */
    struct pair *pairs; /* open addressing; rank NOWHERE is an empty slot */
    size_t slot_count;
    size_t used;
};

struct bpe_symbol {
    uint32_t id;
    uint32_t size; /* bytes; 0 once it was merged into the one before it */
    uint32_t previous;
    uint32_t next;
};

struct bpe_candidate {
    uint64_t order; /* rank, then place of the left symbol */
    uint32_t merged;
    uint32_t size; /* of both together: tells an outdated candidate */
};

enum { PAIR_SLOTS_FIRST = 4096 };

static struct pair *pairs_empty(size_t count)
{
    struct pair *pairs = memory_zeroed(count, sizeof(*pairs));
    for (size_t at = 0; pairs && at < count; at++)
        pairs[at].rank = NOWHERE;
    return pairs;
}

enum status bpe_open(struct bpe **bpe_out)
{
    struct bpe *bpe = memory_zeroed(1, sizeof(*bpe));
    if (!bpe)
        return STATUS_NO_MEMORY;
    bpe->pairs = pairs_empty(PAIR_SLOTS_FIRST);
    if (!bpe->pairs) {
        memory_free(bpe);
        return STATUS_NO_MEMORY;
    }
    bpe->slot_count = PAIR_SLOTS_FIRST;
    *bpe_out = bpe;
    return STATUS_OK;
}

void bpe_close(struct bpe *bpe)
{
    if (!bpe)
        return;
    memory_free(bpe->pairs);
    memory_free(bpe);
}

void bpe_set_byte(struct bpe *bpe, unsigned char byte, uint32_t id)
{
    bpe->byte_ids[byte] = id;
}

void bpe_use_characters(struct bpe *bpe, const struct token_table *table)
{
    bpe->characters = table;
}

/* Bytes of the character that begins with this one; 0 when none does. */
static size_t character_size(unsigned char byte)
{
    return byte < 0x80 ? 1 : byte < 0xc0 ? 0 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

/* The first symbol of a piece: its id and its bytes. */
static uint32_t symbol_first(const struct bpe *bpe, const char *piece, size_t size,
                             size_t *size_out)
{
    uint32_t id;
    *size_out = 1;
    if (!bpe->characters)
        return bpe->byte_ids[(unsigned char)piece[0]];
    size_t step = character_size((unsigned char)piece[0]);
    if (step > 0 && step <= size && token_table_find(bpe->characters, piece, step, &id)) {
        *size_out = step;
        return id;
    }
    return bpe->byte_ids[(unsigned char)piece[0]];
}

/* The pair's slot, or the empty one where it would go. */
static struct pair *pair_find(const struct bpe *bpe, uint32_t left, uint32_t right)
{
    uint64_t hash = ((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15U;
    size_t mask = bpe->slot_count - 1;
    size_t slot = (hash >> 32) & mask;
    for (;; slot = (slot + 1) & mask) {
        struct pair *pair = &bpe->pairs[slot];
        if (pair->rank == NOWHERE || (pair->left == left && pair->right == right))
            return pair;
    }
}

static enum status pairs_grow(struct bpe *bpe)
{
    if (bpe->used * 5 < bpe->slot_count * 3)
        return STATUS_OK;
    struct pair *old = bpe->pairs;
    size_t old_count = bpe->slot_count;
    struct pair *pairs = pairs_empty(old_count * 2);
    if (!pairs)
        return STATUS_NO_MEMORY;
    bpe->pairs = pairs;
    bpe->slot_count = old_count * 2;
    for (size_t at = 0; at < old_count; at++) {
        if (old[at].rank != NOWHERE)
            *pair_find(bpe, old[at].left, old[at].right) = old[at];
    }
    memory_free(old);
    return STATUS_OK;
}

enum status bpe_add(struct bpe *bpe, uint32_t left, uint32_t right, uint32_t merged,
                    uint32_t rank)
{
    ASSERT(rank < BPE_MERGES_MAX);
    enum status status = pairs_grow(bpe);
    if (status != STATUS_OK)
        return status;
    struct pair *pair = pair_find(bpe, left, right);
    if (pair->rank == NOWHERE)
        bpe->used++;
    *pair = (struct pair){left, right, rank, merged};
    return STATUS_OK;
}

enum status token_list_add(struct token_list *list, uint32_t id)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 64 : list->capacity * 2;
        uint32_t *ids = memory_resized(list->ids, capacity, sizeof(*ids));
        if (!ids)
            return STATUS_NO_MEMORY;
        list->ids = ids;
        list->capacity = capacity;
    }
    list->ids[list->count++] = id;
    return STATUS_OK;
}

void token_list_free(struct token_list *list)
{
    memory_free(list->ids);
    *list = (struct token_list){NULL, 0, 0};
}

/* Symbols of a short piece; returns how many. */
static size_t symbols_few(const struct bpe *bpe, const char *piece, size_t size, uint32_t *ids)
{
    size_t count = 0;
    size_t step;
    for (size_t at = 0; at < size; at += step, count++)
        ids[count] = symbol_first(bpe, piece + at, size - at, &step);
    return count;
}

static enum status merge_short(const struct bpe *bpe, const char *piece, size_t size,
                               struct token_list *list)
{
    uint32_t ids[SHORT_PIECE_MAX];
    struct pair pairs[SHORT_PIECE_MAX]; /* of id `at` and the one after it */
    size = symbols_few(bpe, piece, size, ids);
    for (size_t at = 0; at + 1 < size; at++)
        pairs[at] = *pair_find(bpe, ids[at], ids[at + 1]);
    for (;;) {
        size_t best = 0;
        uint32_t rank = NO_RANK;
        for (size_t at = 0; at + 1 < size; at++) {
            if (pairs[at].rank < rank) {
                rank = pairs[at].rank;
                best = at;
            }
        }
        if (rank == NO_RANK)
            break;
        ids[best] = pairs[best].merged;
        size--;
        memmove(ids + best + 1, ids + best + 2, (size - best - 1) * sizeof(*ids));
        if (best + 1 < size) {
            memmove(pairs + best + 1, pairs + best + 2,
                    (size - best - 2) * sizeof(*pairs));
            pairs[best] = *pair_find(bpe, ids[best], ids[best + 1]);
        }
        if (best > 0)
            pairs[best - 1] = *pair_find(bpe, ids[best - 1], ids[best]);
    }
    enum status status = STATUS_OK;
    for (size_t at = 0; at < size && status == STATUS_OK; at++)
        status = token_list_add(list, ids[at]);
    return status;
}

/* Four children to a parent: half the levels of two, and children share a cache line. */
static void heap_down(struct bpe_candidate *heap, size_t count, size_t at)
{
    const struct bpe_candidate moved = heap[at];
    for (;;) {
        size_t child = HEAP_CHILDREN * at + 1;
        size_t end = child + HEAP_CHILDREN < count ? child + HEAP_CHILDREN : count;
        if (child >= count)
            break;
        for (size_t other = child + 1; other < end; other++) {
            if (heap[other].order < heap[child].order)
                child = other;
        }
        if (heap[child].order >= moved.order)
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

static void heap_up(struct bpe_candidate *heap, size_t at)
{
    const struct bpe_candidate moved = heap[at];
    while (at > 0 && heap[(at - 1) / HEAP_CHILDREN].order > moved.order) {
        heap[at] = heap[(at - 1) / HEAP_CHILDREN];
        at = (at - 1) / HEAP_CHILDREN;
    }
    heap[at] = moved;
}

static enum status work_grow(struct bpe_work *work, size_t size)
{
    if (size > work->symbol_capacity) {
        struct bpe_symbol *symbols = memory_resized(work->symbols, size, sizeof(*symbols));
        if (!symbols)
            return STATUS_NO_MEMORY;
        work->symbols = symbols;
        work->symbol_capacity = size;
    }
    /* A merge takes one candidate out and puts at most two in, and there are fewer merges than
     * symbols: twice the symbols is always enough. */
    if (2 * size > work->heap_capacity) {
        struct bpe_candidate *heap = memory_resized(work->heap, 2 * size, sizeof(*heap));
        if (!heap)
            return STATUS_NO_MEMORY;
        work->heap = heap;
        work->heap_capacity = 2 * size;
    }
    return STATUS_OK;
}

/* The candidate of the symbol at `left` and the one after it; false when they do not merge. */
static int candidate_of(const struct bpe *bpe, const struct bpe_symbol *symbols, uint32_t left,
                        struct bpe_candidate *candidate_out)
{
    uint32_t right = symbols[left].next;
    if (right == NOWHERE)
        return 0;
    const struct pair *pair = pair_find(bpe, symbols[left].id, symbols[right].id);
    if (pair->rank == NOWHERE)
        return 0;
    *candidate_out = (struct bpe_candidate){
        .order = (uint64_t)pair->rank << 32 | left,
        .merged = pair->merged,
        .size = symbols[left].size + symbols[right].size,
    };
    return 1;
}

/* Merges the symbol at `left` with the next one; returns the new count of candidates. */
static size_t symbols_join(const struct bpe *bpe, struct bpe_work *work, uint32_t left,
                           uint32_t merged, size_t count)
{
    struct bpe_symbol *symbols = work->symbols;
    uint32_t right = symbols[left].next;
    symbols[left].id = merged;
    symbols[left].size += symbols[right].size;
    symbols[left].next = symbols[right].next;
    symbols[right].size = 0;
    if (symbols[left].next != NOWHERE)
        symbols[symbols[left].next].previous = left;
    const uint32_t places[2] = {left, symbols[left].previous};
    for (size_t at = 0; at < 2; at++) {
        if (places[at] != NOWHERE &&
            candidate_of(bpe, symbols, places[at], &work->heap[count])) {
            heap_up(work->heap, count);
            count++;
        }
    }
    return count;
}

/* Symbols of a long piece in a row; returns how many. */
static size_t symbols_many(const struct bpe *bpe, const char *piece, size_t size,
                           struct bpe_symbol *symbols)
{
    size_t count = 0;
    size_t step;
    for (size_t at = 0; at < size; at += step, count++) {
        uint32_t id = symbol_first(bpe, piece + at, size - at, &step);
        symbols[count] = (struct bpe_symbol){
            .id = id,
            .size = (uint32_t)step,
            .previous = count == 0 ? NOWHERE : (uint32_t)count - 1,
            .next = at + step == size ? NOWHERE : (uint32_t)count + 1,
        };
    }
    return count;
}

static enum status merge_long(const struct bpe *bpe, struct bpe_work *work, const char *piece,
                              size_t size, struct token_list *list)
{
    enum status status = work_grow(work, size);
    if (status != STATUS_OK)
        return status;
    struct bpe_symbol *symbols = work->symbols;
    struct bpe_candidate *heap = work->heap;
    size_t symbol_count = symbols_many(bpe, piece, size, symbols);
    size_t count = 0;
    for (size_t at = 0; at + 1 < symbol_count; at++)
        count += (size_t)candidate_of(bpe, symbols, (uint32_t)at, &heap[count]);
    for (size_t at = (count + HEAP_CHILDREN - 2) / HEAP_CHILDREN; at-- > 0;)
        heap_down(heap, count, at);
    while (count > 0) {
        const struct bpe_candidate best = heap[0];
        heap[0] = heap[--count];
        if (count > 0)
            heap_down(heap, count, 0);
        uint32_t left = (uint32_t)best.order;
        uint32_t right = symbols[left].size == 0 ? NOWHERE : symbols[left].next;
        if (right == NOWHERE || symbols[left].size + symbols[right].size != best.size)
            continue;
        count = symbols_join(bpe, work, left, best.merged, count);
    }
    for (uint32_t at = 0; at != NOWHERE && status == STATUS_OK; at = symbols[at].next)
        status = token_list_add(list, symbols[at].id);
    return status;
}

enum status bpe_merge(const struct bpe *bpe, struct bpe_work *work, const char *piece,
                      size_t size, struct token_list *list)
{
    ASSERT(size < UINT32_MAX / 2);
    if (size == 0)
        return STATUS_OK;
    if (size <= SHORT_PIECE_MAX)
        return merge_short(bpe, piece, size, list);
    return merge_long(bpe, work, piece, size, list);
}

void bpe_work_free(struct bpe_work *work)
{
    memory_free(work->symbols);
    memory_free(work->heap);
    *work = (struct bpe_work){NULL, 0, NULL, 0};
}
