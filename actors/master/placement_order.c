/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/placement_order.h"

#include "protocol/memory.h"

#include <string.h>

static bool are_twins(const struct candidate *first, const struct candidate *twin)
{
    if (first->sharding != twin->sharding || first->ranks.count != twin->ranks.count)
        return false;
    for (uint32_t i = 0; i < twin->ranks.count; i++)
        if (!record_equal(&rank_record_type, &first->ranks.items[i], &twin->ranks.items[i]))
            return false;
    /* Refused before it was cut. */
    return twin->ranks.count > 0 ||
           strcmp(text_or_empty(first->why), text_or_empty(twin->why)) == 0;
}

void candidates_drop_twin(struct candidates_listed *listed)
{
    const uint32_t last = listed->candidates.count - 1;
    const struct candidate *items = listed->candidates.items;
    if (listed->candidates.count < 2)
        return;
    bool is_twin = are_twins(&items[last - 1], &items[last]);
    for (uint32_t i = 0; items[last].ranks.count == 0 && i < last && !is_twin; i++)
        is_twin = are_twins(&items[i], &items[last]);
    if (is_twin)
        record_list_remove(&candidate_type, RECORD_LIST(listed->candidates), last);
}

/* What can begin at once before what waits for a copy, which also takes room on a disk. */
static bool is_better(const struct candidate *a, const struct candidate *b)
{
    if (a->is_possible != b->is_possible)
        return a->is_possible;
    if (ID_IS_ZERO(a->copied_to) != ID_IS_ZERO(b->copied_to))
        return ID_IS_ZERO(a->copied_to);
    return a->tokens_per_s > b->tokens_per_s;
}

void candidates_sort(struct candidates_listed *listed)
{
    for (uint32_t i = 1; i < listed->candidates.count; i++) {
        struct candidate moved = listed->candidates.items[i];
        uint32_t at = i;
        while (at > 0 && is_better(&moved, &listed->candidates.items[at - 1])) {
            listed->candidates.items[at] = listed->candidates.items[at - 1];
            at--;
        }
        listed->candidates.items[at] = moved;
    }
}
