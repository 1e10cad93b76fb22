/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/launcher/fence.h"

#include "protocol/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct blob {
    void *bytes;
    size_t size;
    bool wanted;
    bool here;
};

struct fence {
    char signature[FENCE_SIGNATURE_SIZE];
    uint64_t sequence;
    bool used;
    struct blob blobs[FENCE_RANKS_MAX];
};

/* The last fence of a signature that was taken: MPI goes through them in order. */
struct fence_done {
    char signature[FENCE_SIGNATURE_SIZE];
    uint64_t sequence;
};

struct fence_table {
    uint32_t rank_count;
    struct fence fences[FENCE_PENDING_MAX];
    struct fence_done done[FENCE_PENDING_MAX];
};

enum status fence_table_open(uint32_t rank_count, struct fence_table **table_out)
{
    if (rank_count == 0 || rank_count > FENCE_RANKS_MAX)
        return STATUS_INVALID;
    struct fence_table *table = memory_zeroed(1, sizeof(*table));
    if (!table)
        return STATUS_NO_MEMORY;
    table->rank_count = rank_count;
    *table_out = table;
    return STATUS_OK;
}

static void fence_forget(struct fence *fence)
{
    for (size_t i = 0; i < FENCE_RANKS_MAX; i++)
        memory_free(fence->blobs[i].bytes);
    *fence = (struct fence){.used = false};
}

void fence_table_close(struct fence_table *table)
{
    if (!table)
        return;
    for (size_t i = 0; i < FENCE_PENDING_MAX; i++)
        fence_forget(&table->fences[i]);
    memory_free(table);
}

static int compare_ranks(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left;
    uint32_t b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

enum status fence_signature(const uint32_t *ranks, size_t count,
                            char signature_out[FENCE_SIGNATURE_SIZE])
{
    if (count == 0) {
        (void)snprintf(signature_out, FENCE_SIGNATURE_SIZE, "*");
        return STATUS_OK;
    }
    if (count > FENCE_RANKS_MAX)
        return STATUS_TOO_LARGE;
    uint32_t sorted[FENCE_RANKS_MAX];
    memcpy(sorted, ranks, count * sizeof(*sorted));
    qsort(sorted, count, sizeof(*sorted), compare_ranks);
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        if (sorted[i] >= FENCE_RANKS_MAX || (i && sorted[i] == sorted[i - 1]))
            return STATUS_INVALID;
        int length = snprintf(signature_out + used, FENCE_SIGNATURE_SIZE - used, "%s%" PRIu32,
                              i ? "," : "", sorted[i]);
        used += (size_t)length;
    }
    return STATUS_OK;
}

/* Marks the participants; false when the signature is not one of fence_signature's. */
static bool fence_mark(struct fence *fence, uint32_t rank_count)
{
    if (strcmp(fence->signature, "*") == 0) {
        for (uint32_t i = 0; i < rank_count; i++)
            fence->blobs[i].wanted = true;
        return true;
    }
    const char *at = fence->signature;
    for (;;) {
        if (*at < '0' || *at > '9')
            return false;
        char *end = NULL;
        unsigned long rank = strtoul(at, &end, 10);
        if (rank >= rank_count || fence->blobs[rank].wanted)
            return false;
        fence->blobs[rank].wanted = true;
        if (*end == '\0')
            return true;
        if (*end != ',')
            return false;
        at = end + 1;
    }
}

/* The row of a signature, else a free one, else NULL. */
static struct fence_done *done_find(struct fence_table *table, const char *signature)
{
    struct fence_done *free_row = NULL;
    for (size_t i = 0; i < FENCE_PENDING_MAX; i++) {
        struct fence_done *done = &table->done[i];
        if (strcmp(done->signature, signature) == 0)
            return done;
        if (!free_row && done->signature[0] == '\0')
            free_row = done;
    }
    return free_row;
}

static struct fence *fence_find(struct fence_table *table, const char *signature,
                                uint64_t sequence)
{
    for (size_t i = 0; i < FENCE_PENDING_MAX; i++) {
        struct fence *fence = &table->fences[i];
        if (fence->used && fence->sequence == sequence &&
            strcmp(fence->signature, signature) == 0)
            return fence;
    }
    return NULL;
}

static enum status fence_create(struct fence_table *table, const char *signature,
                                uint64_t sequence, struct fence **fence_out,
                                struct reason *reason)
{
    struct fence *fence = NULL;
    for (size_t i = 0; i < FENCE_PENDING_MAX && !fence; i++)
        if (!table->fences[i].used)
            fence = &table->fences[i];
    if (!fence)
        return refuse(reason, STATUS_TOO_LARGE, "more than %d fences are open at once",
                      FENCE_PENDING_MAX);
    memcpy(fence->signature, signature, strlen(signature) + 1);
    fence->sequence = sequence;
    if (!fence_mark(fence, table->rank_count)) {
        fence_forget(fence);
        return refuse(reason, STATUS_INVALID, "fence of ranks outside this world");
    }
    fence->used = true;
    *fence_out = fence;
    return STATUS_OK;
}

enum status fence_table_add(struct fence_table *table, const char *signature, uint64_t sequence,
                            uint32_t rank, const void *bytes, size_t size, struct reason *reason)
{
    if (strnlen(signature, FENCE_SIGNATURE_SIZE) == FENCE_SIGNATURE_SIZE)
        return refuse(reason, STATUS_INVALID, "fence signature is too long");
    if (size > FENCE_BLOB_SIZE_MAX)
        return refuse(reason, STATUS_TOO_LARGE, "fence blob of %zu bytes is above the limit of %d",
                      size, FENCE_BLOB_SIZE_MAX);
    const struct fence_done *done = done_find(table, signature);
    if (done && sequence <= done->sequence && done->signature[0])
        return refuse(reason, STATUS_EXISTS, "this fence is over");
    struct fence *fence = fence_find(table, signature, sequence);
    if (!fence) {
        enum status status = fence_create(table, signature, sequence, &fence, reason);
        if (status != STATUS_OK)
            return status;
    }
    if (rank >= table->rank_count || !fence->blobs[rank].wanted)
        return refuse(reason, STATUS_INVALID, "rank %" PRIu32 " takes no part in this fence", rank);
    struct blob *blob = &fence->blobs[rank];
    if (blob->here)
        return refuse(reason, STATUS_EXISTS, "rank %" PRIu32 " gave its fence blob already", rank);
    blob->bytes = size ? memory_copied(bytes, size) : NULL;
    if (size && !blob->bytes)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for a fence blob of %zu bytes", size);
    blob->size = size;
    blob->here = true;
    return STATUS_OK;
}

bool fence_table_take(struct fence_table *table, const char *signature, uint64_t sequence,
                      void **bytes_out, size_t *size_out)
{
    struct fence *fence = fence_find(table, signature, sequence);
    if (!fence)
        return false;
    size_t size = 0;
    for (uint32_t i = 0; i < table->rank_count; i++) {
        if (fence->blobs[i].wanted && !fence->blobs[i].here)
            return false;
        size += fence->blobs[i].size;
    }
    unsigned char *bytes = memory_zeroed(size ? size : 1, 1);
    if (!bytes)
        return false;
    size_t used = 0;
    for (uint32_t i = 0; i < table->rank_count; i++) {
        if (fence->blobs[i].size)
            memcpy(bytes + used, fence->blobs[i].bytes, fence->blobs[i].size);
        used += fence->blobs[i].size;
    }
    fence_forget(fence);
    struct fence_done *done = done_find(table, signature);
    if (done) {
        memcpy(done->signature, signature, strlen(signature) + 1);
        done->sequence = sequence;
    }
    *bytes_out = bytes;
    *size_out = size;
    return true;
}
