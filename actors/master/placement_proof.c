/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/placement_proof.h"

#include "runtime/network.h"

#include <string.h>

enum proof proof_of(const struct links_listed *links, const struct node_id *from,
                    const struct node_id *to, const char *host)
{
    return link_view_proof(links ? link_view_find(links, from, to) : NULL, host);
}

bool proof_is_trusted(const struct reach_question *question, const char *host)
{
    return !question->trusted || networks_contain(question->trusted, host);
}

uint64_t proof_worth(bool is_wired, uint64_t slowest_mbit)
{
    return 1 + (slowest_mbit < UINT32_MAX ? slowest_mbit : UINT32_MAX) +
           (is_wired ? 1ull << 33 : 0);
}

bool proof_is_wired(const struct address_offered *offer)
{
    return strcmp(text_or_empty(offer->kind), "wireless") != 0;
}
