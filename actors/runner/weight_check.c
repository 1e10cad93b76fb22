/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/weight_check.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

/* A weight kept in a floating type is read only up to this: norms, not unquantised matrices. */
#define WEIGHT_SIZE_MAX ((uint64_t)1 << 20)
/* Who watches the reading is told at each. */
#define ROWS_COUNTED 64u
#define BYTES_COUNTED ((uint64_t)256 << 10)
/* No page of any system is smaller. */
#define PAGE_LEAST 4096u

/* Bits of the exponent all set: an infinity or no number. */
static bool is_finite_row(const uint8_t *row, uint64_t size, enum tensor_type type)
{
    const uint32_t mask = type == TENSOR_F32    ? 0x7f800000u
                          : type == TENSOR_BF16 ? 0x7f80u
                                                : 0x7c00u;
    const size_t width = type == TENSOR_F32 ? 4 : 2;
    for (uint64_t at = 0; at + width <= size; at += width) {
        uint32_t wide = 0;
        uint16_t narrow = 0;
        memcpy(width == 4 ? (void *)&wide : (void *)&narrow, row + at, width);
        const uint32_t bits = width == 4 ? wide : narrow;
        if ((bits & mask) == mask)
            return false;
    }
    return true;
}

static bool is_checked(const struct shard_slice *slice)
{
    const enum tensor_type type = slice->tensor->type;
    if (type != TENSOR_F32 && type != TENSOR_BF16 && type != TENSOR_F16)
        return false;
    return slice->part != MODULE_PART_WEIGHT || slice->size <= WEIGHT_SIZE_MAX;
}

/* UINT64_MAX, or the row with a value that is none. */
static uint64_t bad_row(const struct shard_slice *slice, const uint8_t *first, uint64_t stride,
                        struct weight_reading *reading)
{
    for (uint64_t row = slice->row_first; row < slice->row_end; row++) {
        if (!is_finite_row(first + (row - slice->row_first) * stride,
                           slice->byte_end - slice->byte_first, slice->tensor->type))
            return row;
        if (reading && row % ROWS_COUNTED == 0)
            reading->count++;
    }
    return UINT64_MAX;
}

enum status weight_check(const struct shard_plan *plan, const struct shard *shard,
                         struct weight_reading *reading, struct reason *reason)
{
    for (size_t i = 0; i < plan->slice_count; i++) {
        const struct shard_slice *slice = &plan->slices[i];
        uint64_t stride = 0;
        const uint8_t *first = shard_part(shard, slice->module, slice->part, &stride);
        if (!first || !is_checked(slice))
            continue;
        const uint64_t row = bad_row(slice, first, stride, reading);
        if (row != UINT64_MAX)
            return refuse(reason, STATUS_DAMAGED,
                          "%.200s has a value that is not a number in row %" PRIu64
                          "; its file is damaged: add the model again", slice->tensor->name, row);
    }
    return STATUS_OK;
}

void weight_bring_ends(const struct shard_plan *plan, const struct shard *shard,
                       struct weight_reading *reading)
{
    for (size_t i = 0; i < plan->slice_count; i++) {
        const struct shard_slice *slice = &plan->slices[i];
        uint64_t stride = 0;
        if (slice->layer != MODULE_NO_LAYER)
            continue;
        const volatile uint8_t *bytes = shard_part(shard, slice->module, slice->part, &stride);
        const uint64_t size = bytes ? (slice->row_end - slice->row_first) * stride : 0;
        for (uint64_t at = 0; at < size; at += PAGE_LEAST) {
            (void)bytes[at];
            if (reading && at % BYTES_COUNTED == 0)
                reading->count++;
        }
    }
}
