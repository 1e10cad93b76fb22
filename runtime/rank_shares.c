/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/rank_shares.h"

#include "protocol/sharding.h"
#include "runtime/partition.h"

void rank_shares_set(struct rank_record *ranks, uint32_t count)
{
    uint64_t weights[RANK_COUNT_MAX];
    uint32_t shares[RANK_COUNT_MAX] = {0};
    const uint32_t computing = ranks_computing(ranks, count);
    for (uint32_t i = 0; i < computing; i++)
        weights[i] = ranks[i].weight_bytes + 1; /* each above 0 */
    if (!partition_share_plain(RANK_SHARE_ALL, weights, computing, shares))
        return;
    for (uint32_t i = 0; i < count; i++)
        ranks[i].share = i < computing ? shares[i] : 0;
}

/* The classes are the same, and in the same order, on every rank. */
static bool is_uneven(const struct rank_record *ranks, uint32_t count, uint32_t class)
{
    uint32_t least = UINT32_MAX;
    uint32_t most = 0;
    uint32_t layers = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (class >= ranks[i].cuts.count)
            return false;
        const struct cut_record *cut = &ranks[i].cuts.items[class];
        const uint32_t held = cut->end > cut->first ? cut->end - cut->first : 0;
        least = held < least ? held : least;
        most = held > most ? held : most;
        layers = cut->layers;
    }
    return most - least > layers; /* a unit in each layer is what rounding may make */
}

bool ranks_are_asymmetric(enum sharding sharding, const struct rank_record *ranks, uint32_t count)
{
    const uint32_t computing = ranks_computing(ranks, count);
    bool is_any = false;
    for (uint32_t k = 0; computing > 1 && k < ranks[0].cuts.count && !is_any; k++)
        is_any = is_uneven(ranks, computing, k);
    return sharding == SHARDING_TENSOR && is_any;
}

const char *sharding_title(uint32_t sharding, bool is_asymmetric)
{
    return is_asymmetric && sharding == SHARDING_TENSOR ? "asymmetric tensor"
                                                        : sharding_name(sharding);
}
