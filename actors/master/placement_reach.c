/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/placement_reach.h"

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

enum proof {
    PROOF_NONE,    /* it was tried and does not answer */
    PROOF_UNKNOWN, /* not tried yet, or nothing told of late */
    PROOF_GIVEN
};

/* Does `from` reach `to` at that host? */
static enum proof proof_of(const struct links_listed *links, const struct node_id *from,
                           const struct node_id *to, const char *host)
{
    const struct link_measured *link = link_view_find(links, from, to);
    if (!link)
        return PROOF_UNKNOWN;
    if (link_view_address_is(text_or_empty(link->address), host))
        return link->reaches ? PROOF_GIVEN : PROOF_NONE;
    for (uint32_t i = 0; i < link->ways.count; i++)
        if (strcmp(text_or_empty(link->ways.items[i].host), host) == 0)
            return link->ways.items[i].reaches ? PROOF_GIVEN : PROOF_NONE;
    return PROOF_UNKNOWN;
}

static bool is_trusted(const struct reach_question *question, const char *host)
{
    return !question->trusted || networks_contain(question->trusted, host);
}

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

/* "n2 does not reach 10.0.0.1, n3 does not reach 10.0.1.1" */
static enum status refuse_hosts(const struct reach_question *question,
                                const struct candidate *candidate, const struct node_record *node,
                                const struct links_measured *row, struct reason *reason)
{
    char list[320] = "";
    int used = 0;
    for (uint32_t h = 0; h < row->offers.count; h++) {
        const char *host = text_or_empty(row->offers.items[h].host);
        for (uint32_t i = 0; i < candidate->ranks.count && (size_t)used < sizeof(list) / 2; i++) {
            const struct node_id *id = &candidate->ranks.items[i].node_id;
            const struct node_record *other = state_find_node(question->state, id);
            if (!other || ID_EQUAL(*id, node->node_id) ||
                proof_of(question->links, id, &node->node_id, host) != PROOF_NONE)
                continue;
            used += snprintf(list + used, sizeof(list) - (size_t)used,
                             "%s%.40s does not reach %.46s", used ? ", " : "", name_of(other),
                             host);
            break;
        }
    }
    return refuse(reason, STATUS_UNREACHABLE,
                  "no address of %.60s is reached by all the others: %s; put them on one network",
                  name_of(node), list);
}

/* The best that all have proven; else the node's own, unless someone does not reach that. */
static enum status choose_fabric(const struct reach_question *question,
                                 const struct candidate *candidate,
                                 const struct node_record *node, const char **fabric_out,
                                 struct reason *reason)
{
    const struct links_measured *row =
        question->links ? link_view_row(question->links, &node->node_id) : NULL;
    const char *own = text_or_empty(node->fabric);
    bool is_open = !row || row->offers.count == 0; /* something was not tried yet */
    bool is_proven_elsewhere = false;
    for (uint32_t i = 0; row && i < row->offers.count; i++) {
        const char *host = text_or_empty(row->offers.items[i].host);
        const enum proof proof = proof_of_all(question, candidate, &node->node_id, host);
        if (proof == PROOF_GIVEN && is_trusted(question, host)) {
            *fabric_out = host;
            return STATUS_OK;
        }
        is_proven_elsewhere = is_proven_elsewhere || proof == PROOF_GIVEN;
        is_open = is_open || proof == PROOF_UNKNOWN;
    }
    if (!is_open && !is_proven_elsewhere)
        return refuse_hosts(question, candidate, node, row, reason);
    *fabric_out = "";
    if (is_trusted(question, own))
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
            is_trusted(question, text_or_empty(offer->host)) &&
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
        is_wired = is_wired && strcmp(text_or_empty(offer->kind), "wireless") != 0;
        slowest = offer->speed_mbit < slowest ? offer->speed_mbit : slowest;
    }
    return 1 + slowest + (is_wired ? 1ull << 33 : 0);
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
                               struct rank_record *rank, struct reason *reason)
{
    const struct node_record *node = state_find_node(question->state, &rank->node_id);
    const char *fabric = "";
    const char *front = "";
    enum status status = STATUS_OK;
    if (!node)
        return STATUS_OK;
    if (network)
        fabric = text_or_empty(offer_in(question, candidate, &rank->node_id, network)->host);
    else if (candidate->ranks.count > 1)
        status = choose_fabric(question, candidate, node, &fabric, reason);
    if (status != STATUS_OK)
        return status;
    if (rank == &candidate->ranks.items[0])
        front = choose_front(question, node);
    /* That of its node needs no words of its own. */
    if (strcmp(fabric, text_or_empty(node->fabric)) == 0)
        fabric = "";
    if (strcmp(front, text_or_empty(node->fabric)) == 0)
        front = "";
    return text_set(&rank->fabric, fabric) && text_set(&rank->front, front) ? STATUS_OK
                                                                            : STATUS_NO_MEMORY;
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

enum status placement_reach_addresses(const struct reach_question *question,
                                      struct candidate *candidate, struct reason *reason)
{
    const char *network = choose_network(question, candidate);
    enum status status = check_pairs(question, candidate, reason);
    for (uint32_t i = 0; i < candidate->ranks.count && status == STATUS_OK; i++)
        status = choose_rank(question, candidate, network, &candidate->ranks.items[i], reason);
    return status == STATUS_OK ? choose_rdma(question, candidate) : status;
}
