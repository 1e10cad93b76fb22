/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/mpi/kept_bytes.h"

#include "protocol/memory.h"
#include "tests/mpi/expect.h"

#include <string.h>

void kept_bytes_poison(void *context, const struct shard_plan *plan, struct shard *shard)
{
    (void)context;
    for (size_t i = 0; i < plan->slice_count; i++) {
        uint64_t size = 0;
        uint8_t *target = shard_receive_target(shard, i, &size);
        memset(target, 0xa5, size);
    }
}

void kept_bytes_compare(const char *model, const struct weight_load *load)
{
    struct reason reason = {""};
    struct weight_files *files = NULL;
    const struct shard_plan *plan = load->plans[load->rank];
    EXPECT(weight_files_open(model, load->table, &files, &reason) == STATUS_OK);
    EXPECT(plan->slice_count > 0);
    for (size_t i = 0; i < plan->slice_count; i++) {
        const struct shard_slice *slice = &plan->slices[i];
        uint64_t stride = 0;
        uint64_t width = slice->byte_end - slice->byte_first;
        const uint8_t *kept = shard_part(load->shard, slice->module, slice->part, &stride);
        uint8_t *expected = memory_zeroed(slice->size, 1);
        EXPECT(kept && expected);
        EXPECT(shard_slice_read(files, slice, expected, &reason) == STATUS_OK);
        for (uint64_t row = 0; row < slice->row_end - slice->row_first; row++)
            EXPECT(memcmp(kept + row * stride, expected + row * width, width) == 0);
        memory_free(expected);
    }
    weight_files_close(files);
}
