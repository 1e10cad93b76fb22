/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/placement_reach.h"

#include "actors/master/placement_pairs.h"
#include "actors/master/placement_proof.h"
#include "protocol/memory.h"
#include "runtime/link_view.h"
#include "runtime/network.h"

#include <stdio.h>
#include <string.h>

static const char *name_of(const struct node_record *node)
{
    return text_or_empty(node->name);
}

/* ---- pairs ---- */

bool placement_reach_has_gaps(const struct links_listed *links)
{
    for (uint32_t r = 0; links && r < links->rows.count; r++)
        for (uint32_t i = 0; i < links->rows.items[r].links.count; i++)
            if (!link_view_reaches(&links->rows.items[r].links.items[i]))
                return true;
    return false;
}

enum status placement_reach_pair(const struct links_listed *links, const struct node_record *a,
                                 const struct node_record *b, struct reason *reason)
{
    const struct node_record *from = a;
    const struct node_record *to = b;
    const enum link_state state =
        links ? link_view_state(links, &a->node_id, &b->node_id) : LINK_STATE_UNKNOWN;
    if (state == LINK_STATE_PROVEN || state == LINK_STATE_UNKNOWN)
        return STATUS_OK;
    if (state == LINK_STATE_NONE)
        return refuse(reason, STATUS_UNREACHABLE,
                      "%.60s and %.60s do not reach each other; check the network between them, or "
                      "leave one of them out",
                      name_of(a), name_of(b));
    if (state == LINK_STATE_BACKWARD) {
        from = b;
        to = a;
    }
    return refuse(reason, STATUS_UNREACHABLE,
                  "%.60s reaches %.60s, but %.60s does not reach %.60s; open the way from %.60s to "
                  "%.60s (a firewall, an address that is not its own), or leave one of them out",
                  name_of(from), name_of(to), name_of(to), name_of(from), name_of(to),
                  name_of(from));
}

enum status placement_reach_joins(const struct links_listed *links,
                                  const struct placement_node *const *chosen, uint32_t count,
                                  const struct placement_node *node, struct reason *reason)
{
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < count && status == STATUS_OK; i++)
        if (chosen[i] != node)
            status = placement_reach_pair(links, chosen[i]->node, node->node, reason);
    return status;
}

void placement_reach_pick(const struct links_listed *links,
                          const struct placement_node *const *sorted, uint32_t sorted_count,
                          const struct placement_node **chosen_out, uint32_t count)
{
    struct reason reason;
    /* Each in turn is the first: one that reaches nobody shall not keep the others apart. */
    for (uint32_t first = 0; first < sorted_count; first++) {
        uint32_t picked = 0;
        for (uint32_t i = first; i < sorted_count && picked < count; i++)
            if (placement_reach_joins(links, chosen_out, picked, sorted[i], &reason) == STATUS_OK)
                chosen_out[picked++] = sorted[i];
        if (picked == count)
            return;
    }
    memcpy(chosen_out, sorted, count * sizeof(sorted[0]));
}

/* ---- rank 0 ---- */

static bool is_missed(const struct links_listed *links, const struct placement_node *from,
                      const struct placement_node *to)
{
    const enum link_state state =
        links ? link_view_state(links, &from->node->node_id, &to->node->node_id)
              : LINK_STATE_UNKNOWN;
    return state == LINK_STATE_NONE || state == LINK_STATE_BACKWARD;
}

static bool is_larger(const struct placement_node *a, const struct placement_node *b)
{
    const bool is_one_machine = !ID_IS_ZERO(a->node->machine_id) &&
                                ID_EQUAL(a->node->machine_id, b->node->machine_id);
    return !is_one_machine && a->memory_free > b->memory_free;
}

uint32_t placement_reach_first(const struct links_listed *links,
                               const struct placement_node *const *chosen, uint32_t count)
{
    const bool has_gaps = placement_reach_has_gaps(links);
    uint32_t first = count;
    for (uint32_t i = 0; i < count; i++) {
        bool is_reached = true;
        for (uint32_t k = 0; k < count && is_reached && has_gaps; k++)
            is_reached = k == i || !is_missed(links, chosen[k], chosen[i]);
        if (is_reached && (first == count || is_larger(chosen[i], chosen[first])))
            first = i;
    }
    return first;
}

enum status placement_reach_order(const struct links_listed *links,
                                  const struct placement_node **chosen, uint32_t count,
                                  struct reason *reason)
{
    const uint32_t first = placement_reach_first(links, chosen, count);
    if (first == count && count > 0)
        return refuse(reason, STATUS_UNREACHABLE,
                      "none of the %u nodes is reached by all the others, so none can be rank 0; "
                      "troupe nodes --links shows who reaches whom",
                      count);
    if (first == 0 || count == 0)
        return STATUS_OK;
    const struct placement_node *moved = chosen[first];
    memmove(&chosen[1], &chosen[0], first * sizeof(chosen[0]));
    chosen[0] = moved;
    return STATUS_OK;
}

/* ---- addresses ---- */

/* The least proof that the others have of that host; of several ranks only. */
static enum proof proof_of_all(const struct reach_question *question,
                               const struct candidate *candidate, const struct node_id *node,
                               const char *host)
{
    enum proof least = PROOF_GIVEN;
    for (uint32_t i = 0; i < candidate->ranks.count; i++) {
        const struct node_id *other = &candidate->ranks.items[i].node_id;
        if (ID_EQUAL(*other, *node))
            continue;
        const enum proof proof = proof_of(question->links, other, node, host);
        least = proof < least ? proof : least;
    }
    return least;
}

/* How many nodes that are heard have proven that host. */
static uint32_t proofs_given(const struct reach_question *question,
                             const struct node_id *node, const char *host)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < question->node_count; i++)
        count += question->nodes[i].is_heard &&
                 !ID_EQUAL(question->nodes[i].node->node_id, *node) &&
                 proof_of(question->links, &question->nodes[i].node->node_id, node, host) ==
                     PROOF_GIVEN;
    return count;
}

/* The best that all have proven; else the node's own, unless someone does not reach that: then it
 * is not sure that all do. */
static enum status choose_fabric(const struct reach_question *question,
                                 const struct candidate *candidate,
                                 const struct node_record *node, const char **fabric_out,
                                 bool *is_sure, struct reason *reason)
{
    const struct links_measured *row =
        question->links ? link_view_row(question->links, &node->node_id) : NULL;
    const char *own = text_or_empty(node->fabric);
    bool is_open = !row || row->offers.count == 0; /* something was not tried yet */
    bool is_proven_elsewhere = false;
    for (uint32_t i = 0; row && i < row->offers.count; i++) {
        const char *host = text_or_empty(row->offers.items[i].host);
        const enum proof proof = proof_of_all(question, candidate, &node->node_id, host);
        if (proof == PROOF_GIVEN && proof_is_trusted(question, host)) {
            *fabric_out = host;
            return STATUS_OK;
        }
        is_proven_elsewhere = is_proven_elsewhere || proof == PROOF_GIVEN;
        is_open = is_open || proof == PROOF_UNKNOWN;
    }
    if (!is_open && !is_proven_elsewhere)
        return STATUS_UNREACHABLE; /* placement_pairs says which two do not meet */
    *fabric_out = "";
    *is_sure = *is_sure &&
               proof_of_all(question, candidate, &node->node_id, own) == PROOF_GIVEN;
    if (proof_is_trusted(question, own))
        return STATUS_OK;
    return refuse(reason, STATUS_REFUSED,
                  "the ranks would talk unencrypted with %.60s at %.60s, which is in no trusted "
                  "network; name it in trusted_networks of every node's config.ini",
                  name_of(node), own);
}

/* The offer of that node in `network` that all the others have proven; NULL: none. */
static const struct address_offered *offer_in(const struct reach_question *question,
                                              const struct candidate *candidate,
                                              const struct node_id *node, const char *network)
{
    const struct links_measured *row = link_view_row(question->links, node);
    for (uint32_t i = 0; row && i < row->offers.count; i++) {
        const struct address_offered *offer = &row->offers.items[i];
        if (strcmp(text_or_empty(offer->network), network) == 0 &&
            proof_is_trusted(question, text_or_empty(offer->host)) &&
            proof_of_all(question, candidate, node, text_or_empty(offer->host)) == PROOF_GIVEN)
            return offer;
    }
    return NULL;
}

/* What a network is worth to these ranks; 0: not all of them share it. */
static uint64_t worth_of(const struct reach_question *question, const struct candidate *candidate,
                         const char *network)
{
    bool is_wired = true;
    uint64_t slowest = UINT32_MAX;
    for (uint32_t i = 0; i < candidate->ranks.count; i++) {
        const struct address_offered *offer =
            offer_in(question, candidate, &candidate->ranks.items[i].node_id, network);
        if (!offer)
            return 0;
        is_wired = is_wired && proof_is_wired(offer);
        slowest = offer->speed_mbit < slowest ? offer->speed_mbit : slowest;
    }
    return proof_worth(is_wired, slowest);
}

/* NULL: there is none that all share. */
static const char *choose_network(const struct reach_question *question,
                                  const struct candidate *candidate)
{
    const struct links_measured *row =
        question->links && candidate->ranks.count > 1
            ? link_view_row(question->links, &candidate->ranks.items[0].node_id)
            : NULL;
    const char *best = NULL;
    uint64_t most = 0;
    for (uint32_t i = 0; row && i < row->offers.count; i++) {
        const char *network = text_or_empty(row->offers.items[i].network);
        const uint64_t worth = *network ? worth_of(question, candidate, network) : 0;
        best = worth > most ? network : best;
        most = worth > most ? worth : most;
    }
    return best;
}

/* The RDMA device of the interface with that address; empty: none. */
static const char *rdma_of(const struct reach_question *question, const struct node_id *node,
                           const char *host)
{
    const struct links_measured *row =
        question->links ? link_view_row(question->links, node) : NULL;
    for (uint32_t i = 0; row && i < row->offers.count; i++)
        if (strcmp(text_or_empty(row->offers.items[i].host), host) == 0)
            return text_or_empty(row->offers.items[i].rdma);
    return "";
}

/* All ranks use it or none: two transports do not meet. */
static enum status choose_rdma(const struct reach_question *question, struct candidate *candidate)
{
    bool have_all = question->may_rdma && candidate->ranks.count > 1;
    for (uint32_t turn = 0; turn < 2; turn++)
        for (uint32_t i = 0; i < candidate->ranks.count; i++) {
            struct rank_record *rank = &candidate->ranks.items[i];
            const struct node_record *node = state_find_node(question->state, &rank->node_id);
            const char *fabric = text_or_empty(rank->fabric);
            const char *host = *fabric ? fabric : node ? text_or_empty(node->fabric) : "";
            const char *device = rdma_of(question, &rank->node_id, host);
            have_all = have_all && *device;
            if (turn == 1 && !text_set(&rank->rdma, have_all ? device : ""))
                return STATUS_NO_MEMORY;
        }
    return STATUS_OK;
}

/* Gateways of all nodes come to rank 0: where most of them do, the best of those. */
static const char *choose_front(const struct reach_question *question,
                                const struct node_record *node)
{
    const struct links_measured *row =
        question->links ? link_view_row(question->links, &node->node_id) : NULL;
    const char *front = "";
    uint32_t most = 0;
    for (uint32_t i = 0; row && i < row->offers.count; i++) {
        const char *host = text_or_empty(row->offers.items[i].host);
        const uint32_t given = proofs_given(question, &node->node_id, host);
        if (given > most) {
            most = given;
            front = host;
        }
    }
    return front;
}

static enum status choose_rank(const struct reach_question *question,
                               const struct candidate *candidate, const char *network,
                               struct rank_record *rank, bool *is_sure, struct reason *reason)
{
    const struct node_record *node = state_find_node(question->state, &rank->node_id);
    const char *fabric = "";
    enum status status = STATUS_OK;
    if (!node)
        return STATUS_OK;
    if (network)
        fabric = text_or_empty(offer_in(question, candidate, &rank->node_id, network)->host);
    else if (candidate->ranks.count > 1)
        status = choose_fabric(question, candidate, node, &fabric, is_sure, reason);
    if (status != STATUS_OK)
        return status;
    /* That of its node needs no words of its own. */
    if (strcmp(fabric, text_or_empty(node->fabric)) == 0)
        fabric = "";
    return text_set(&rank->fabric, fabric) ? STATUS_OK : STATUS_NO_MEMORY;
}

static enum status set_front(const struct reach_question *question, struct candidate *candidate)
{
    struct rank_record *rank = candidate->ranks.count > 0 ? &candidate->ranks.items[0] : NULL;
    const struct node_record *node =
        rank ? state_find_node(question->state, &rank->node_id) : NULL;
    const char *front = node ? choose_front(question, node) : "";
    if (!node)
        return STATUS_OK;
    if (strcmp(front, text_or_empty(node->fabric)) == 0)
        front = "";
    return text_set(&rank->front, front) ? STATUS_OK : STATUS_NO_MEMORY;
}

static enum status check_pairs(const struct reach_question *question,
                               const struct candidate *candidate, struct reason *reason)
{
    enum status status = STATUS_OK;
    if (!placement_reach_has_gaps(question->links))
        return STATUS_OK;
    for (uint32_t i = 1; i < candidate->ranks.count; i++)
        for (uint32_t k = 0; k < i && status == STATUS_OK; k++) {
            const struct node_record *a =
                state_find_node(question->state, &candidate->ranks.items[k].node_id);
            const struct node_record *b =
                state_find_node(question->state, &candidate->ranks.items[i].node_id);
            if (a && b && a != b)
                status = placement_reach_pair(question->links, a, b, reason);
        }
    return status;
}

/* One address of each for all the others. */
static enum status choose_for_all(const struct reach_question *question,
                                  struct candidate *candidate, bool *is_sure,
                                  struct reason *reason)
{
    const char *network = choose_network(question, candidate);
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < candidate->ranks.count && status == STATUS_OK; i++)
        status = choose_rank(question, candidate, network, &candidate->ranks.items[i], is_sure,
                             reason);
    return status == STATUS_OK ? choose_rdma(question, candidate) : status;
}

static enum status choose_by_pairs(const struct reach_question *question,
                                   struct candidate *candidate, enum status for_all,
                                   struct reason *reason)
{
    struct reason of_pair = {""};
    enum status status = placement_pairs_choose(question, candidate, &of_pair);
    if (status == STATUS_OK) {
        /* Of each pair another device: MPI knows one for all. */
        for (uint32_t i = 0; i < candidate->ranks.count; i++)
            if (!text_set(&candidate->ranks.items[i].rdma, ""))
                return STATUS_NO_MEMORY;
        return STATUS_OK;
    }
    /* Two that do not meet are named; but what nobody tried may work. */
    if (status == STATUS_NO_MEMORY || (for_all != STATUS_UNREACHABLE && for_all != status))
        return status == STATUS_NO_MEMORY ? status : for_all;
    return refuse(reason, status, "%s", of_pair.text);
}

enum status placement_reach_addresses(const struct reach_question *question,
                                      struct candidate *candidate, struct reason *reason)
{
    bool is_sure = true;
    enum status status = check_pairs(question, candidate, reason);
    if (status == STATUS_OK)
        status = set_front(question, candidate);
    if (status != STATUS_OK)
        return status;
    status = choose_for_all(question, candidate, &is_sure, reason);
    if (candidate->ranks.count < 2 || status == STATUS_NO_MEMORY)
        return status;
    if (status == STATUS_OK && is_sure &&
        (text_or_empty(candidate->ranks.items[0].rdma)[0] ||
         !placement_pairs_gain(question, candidate)))
        return STATUS_OK;
    return choose_by_pairs(question, candidate, status, reason);
}
