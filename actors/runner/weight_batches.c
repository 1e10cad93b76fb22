/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/weight_batches.h"

#include "protocol/memory.h"

/* Slices lie so apart in a shard's memory. */
#define ALIGNMENT UINT64_C(64)

static bool is_sent_by(const struct shard_slice *slice, const struct weight_spread *spread,
                       uint32_t receiver, uint32_t source)
{
    const uint32_t file = slice->tensor->file;
    return spread->sources[file] == source && (spread->holders[file] >> receiver & 1) == 0;
}

/* An upper bound: each slice opens one piece and each boundary of a batch one more; what aligns
 * them fills less than as much again. */
static size_t pieces_max(const struct shard_plan *plan, uint64_t batch_size)
{
    return plan->slice_count * 2 + (size_t)(plan->target_size / batch_size) + 1;
}

static bool fits(const struct weight_batch *batch, const struct shard_slice *slice, uint64_t done,
                 uint64_t batch_size)
{
    const uint64_t end = batch->target + batch->size;
    const uint64_t next = slice->target + done;
    return batch->layer == slice->layer && next >= end && next - end < ALIGNMENT &&
           next - batch->target < batch_size;
}

/* Puts a slice into the last batch and as many new ones as it needs. */
static void add_slice(struct weight_batches *list, const struct shard_slice *slice, size_t index,
                      uint64_t batch_size)
{
    for (uint64_t done = 0; done < slice->size;) {
        struct weight_batch *batch =
            list->batch_count ? &list->batches[list->batch_count - 1] : NULL;
        if (!batch || !fits(batch, slice, done, batch_size)) {
            const uint32_t step = !batch ? 0 : batch->step + (batch->layer != slice->layer);
            batch = &list->batches[list->batch_count++];
            *batch = (struct weight_batch){.layer = slice->layer,
                                           .step = step,
                                           .piece_first = list->piece_count,
                                           .target = slice->target + done};
        }
        const uint64_t at = slice->target + done - batch->target;
        const uint64_t room = batch_size - at;
        const uint64_t size = slice->size - done < room ? slice->size - done : room;
        list->pieces[list->piece_count++] = (struct weight_piece){index, done, done + size, at};
        batch->piece_end = list->piece_count;
        batch->size = at + size;
        done += size;
    }
    list->bytes += slice->size;
}

enum status weight_batches_make(const struct shard_plan *plan, const struct weight_spread *spread,
                                uint32_t receiver, uint32_t source, uint64_t batch_size,
                                struct weight_batches **batches_out)
{
    ASSERT(batch_size > 0);
    size_t count_max = pieces_max(plan, batch_size);
    struct weight_batches *list = memory_zeroed(1, sizeof(*list));
    if (!list)
        return STATUS_NO_MEMORY;
    list->pieces = memory_zeroed(count_max, sizeof(*list->pieces));
    list->batches = memory_zeroed(count_max, sizeof(*list->batches));
    if (!list->pieces || !list->batches) {
        weight_batches_free(list);
        return STATUS_NO_MEMORY;
    }
    for (size_t i = 0; i < plan->slice_count; i++)
        if (is_sent_by(&plan->slices[i], spread, receiver, source))
            add_slice(list, &plan->slices[i], i, batch_size);
    ASSERT(list->piece_count <= count_max);
    *batches_out = list;
    return STATUS_OK;
}

void weight_batches_free(struct weight_batches *batches)
{
    if (!batches)
        return;
    memory_free(batches->pieces);
    memory_free(batches->batches);
    memory_free(batches);
}
