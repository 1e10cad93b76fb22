/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/rank_memory.h"

#include <inttypes.h>

uint64_t rank_memory_need(const struct rank_record *rank)
{
    const uint64_t parts[] = {rank->weight_bytes, rank->cache_bytes, rank->scratch_bytes};
    uint64_t need = 0;
    for (size_t i = 0; i < COUNT_OF(parts); i++)
        need = parts[i] > UINT64_MAX - need ? UINT64_MAX : need + parts[i];
    return need;
}

enum status rank_memory_check(const struct rank_record *rank, uint64_t bytes_free,
                              struct reason *reason)
{
    const uint64_t need = rank_memory_need(rank);
    if (need <= bytes_free)
        return STATUS_OK;
    return refuse(reason, STATUS_NO_CAPACITY,
                  "it needs %" PRIu64 " bytes of memory (weights %" PRIu64 ", KV cache %" PRIu64
                  ", scratch %" PRIu64 ") and %" PRIu64 " are free, fewer than when it was placed; "
                  "free %" PRIu64 " more, or ask for less context",
                  need, rank->weight_bytes, rank->cache_bytes, rank->scratch_bytes, bytes_free,
                  need - bytes_free);
}
