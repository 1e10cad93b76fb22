/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/placement_pairs.h"

#include "actors/master/placement_proof.h"
#include "protocol/memory.h"
#include "runtime/link_view.h"

#include <string.h>

/* The nodes of two ranks, and what they told of themselves and of each other; NULL: nothing. */
struct pair {
    const struct node_record *nodes[2];
    const struct links_measured *rows[2];
    const struct link_measured *links[2]; /* of each, to the other */
};

/* Where they meet. */
struct meeting {
    const char *hosts[2];
    const char *network; /* empty: each in its own */
    uint64_t worth;      /* 0: nowhere */
};

static bool pair_find(const struct reach_question *question, const struct node_id *a,
                      const struct node_id *b, struct pair *pair_out)
{
    const struct node_id *ids[2] = {a, b};
    for (uint32_t i = 0; i < 2; i++) {
        pair_out->nodes[i] = state_find_node(question->state, ids[i]);
        pair_out->rows[i] = question->links ? link_view_row(question->links, ids[i]) : NULL;
        pair_out->links[i] = link_view_of(pair_out->rows[i], ids[1 - i]);
    }
    return pair_out->nodes[0] && pair_out->nodes[1];
}

static bool is_v4(const char *host)
{
    return *host && !strchr(host, ':');
}

/* Has the other proven that host of the side? */
static bool is_proven(const struct pair *pair, uint32_t side, const char *host)
{
    return is_v4(host) && link_view_proof(pair->links[1 - side], host) == PROOF_GIVEN;
}

static bool is_better(uint64_t worth, const char *network, const struct meeting *than)
{
    return worth > than->worth || (worth == than->worth && strcmp(network, than->network) < 0);
}

static void meet_in(const struct reach_question *question, const struct pair *pair,
                    const struct address_offered *offer, struct meeting *best)
{
    const char *network = text_or_empty(offer->network);
    const char *host = text_or_empty(offer->host);
    for (uint32_t i = 0; *network && i < pair->rows[1]->offers.count; i++) {
        const struct address_offered *other = &pair->rows[1]->offers.items[i];
        const char *meets = text_or_empty(other->host);
        if (strcmp(network, text_or_empty(other->network)) != 0)
            continue;
        const uint64_t worth =
            proof_worth(proof_is_wired(offer) && proof_is_wired(other),
                        offer->speed_mbit < other->speed_mbit ? offer->speed_mbit
                                                              : other->speed_mbit);
        if (is_better(worth, network, best) && is_proven(pair, 0, host) &&
            is_proven(pair, 1, meets) && proof_is_trusted(question, host) &&
            proof_is_trusted(question, meets))
            *best = (struct meeting){{host, meets}, network, worth};
    }
}

/* The best host of that side that the other has proven, in no network of both; empty: none. */
static const char *host_alone(const struct reach_question *question, const struct pair *pair,
                              uint32_t side, bool is_any)
{
    const struct links_measured *row = pair->rows[side];
    const char *own = text_or_empty(pair->nodes[side]->fabric);
    const char *best = "";
    uint64_t most = 0;
    for (uint32_t i = 0; row && i < row->offers.count; i++) {
        const struct address_offered *offer = &row->offers.items[i];
        const char *host = text_or_empty(offer->host);
        const uint64_t worth = proof_worth(proof_is_wired(offer), offer->speed_mbit);
        if (!is_proven(pair, side, host) || !(is_any || proof_is_trusted(question, host)) ||
            worth < most || (worth == most && strcmp(host, best) > 0))
            continue;
        best = host;
        most = worth;
    }
    /* One that tells of no addresses has the one it is known by. */
    if (!*best && is_proven(pair, side, own) && (is_any || proof_is_trusted(question, own)))
        best = own;
    return best;
}

static struct meeting pair_meet(const struct reach_question *question, const struct pair *pair)
{
    struct meeting best = {{"", ""}, "", 0};
    for (uint32_t i = 0; pair->rows[0] && pair->rows[1] && i < pair->rows[0]->offers.count; i++)
        meet_in(question, pair, &pair->rows[0]->offers.items[i], &best);
    if (best.worth > 0)
        return best;
    best.hosts[0] = host_alone(question, pair, 0, false);
    best.hosts[1] = host_alone(question, pair, 1, false);
    best.worth = *best.hosts[0] && *best.hosts[1] ? 1 : 0;
    return best;
}

static enum status refuse_pair(const struct reach_question *question, const struct pair *pair,
                               struct reason *reason)
{
    const char *names[2] = {text_or_empty(pair->nodes[0]->name),
                            text_or_empty(pair->nodes[1]->name)};
    const char *any[2] = {host_alone(question, pair, 0, true),
                          host_alone(question, pair, 1, true)};
    for (uint32_t side = 0; *any[0] && *any[1] && side < 2; side++)
        if (!proof_is_trusted(question, any[side]))
            return refuse(reason, STATUS_REFUSED,
                          "the ranks of %.60s and %.60s would talk unencrypted with %.60s at "
                          "%.60s, which is in no trusted network; name it in trusted_networks of "
                          "every node's config.ini",
                          names[0], names[1], names[side], any[side]);
    return refuse(reason, STATUS_UNREACHABLE,
                  "%.60s and %.60s have no IPv4 addresses that each has proven of the other's; "
                  "give the link between them one each, or leave one of the two out",
                  names[0], names[1]);
}

/* ---- is it worth it? ---- */

static const struct address_offered *offer_at(const struct links_measured *row, const char *host)
{
    for (uint32_t i = 0; row && i < row->offers.count; i++)
        if (strcmp(text_or_empty(row->offers.items[i].host), host) == 0)
            return &row->offers.items[i];
    return NULL;
}

/* A rank's address for all, and the most that any of its node is worth; NULL: not told of. */
struct standing {
    const struct address_offered *own;
    uint64_t best;
};

static struct standing standing_of(const struct reach_question *question,
                                   const struct rank_record *rank)
{
    const struct node_record *node = state_find_node(question->state, &rank->node_id);
    const struct links_measured *row =
        question->links ? link_view_row(question->links, &rank->node_id) : NULL;
    const char *fabric = text_or_empty(rank->fabric);
    struct standing standing = {NULL, 0};
    if (!*fabric && node)
        fabric = text_or_empty(node->fabric);
    standing.own = offer_at(row, fabric);
    for (uint32_t i = 0; row && i < row->offers.count; i++) {
        const struct address_offered *offer = &row->offers.items[i];
        const uint64_t worth = proof_worth(proof_is_wired(offer), offer->speed_mbit);
        standing.best = worth > standing.best ? worth : standing.best;
    }
    return standing;
}

/* Where both have nothing better, which is so nearly always, their proofs need no look. */
static bool pair_gains(const struct reach_question *question, const struct standing *standings,
                       const struct rank_record *ranks, uint32_t i, uint32_t k)
{
    const struct address_offered *a = standings[i].own;
    const struct address_offered *b = standings[k].own;
    struct pair pair;
    if (!a || !b)
        return false; /* nothing to compare with */
    const uint64_t have =
        proof_worth(proof_is_wired(a) && proof_is_wired(b),
                    a->speed_mbit < b->speed_mbit ? a->speed_mbit : b->speed_mbit);
    if (standings[i].best <= have || standings[k].best <= have ||
        !pair_find(question, &ranks[i].node_id, &ranks[k].node_id, &pair))
        return false;
    const struct meeting meeting = pair_meet(question, &pair);
    return *meeting.network && meeting.worth > have;
}

bool placement_pairs_gain(const struct reach_question *question,
                          const struct candidate *candidate)
{
    struct standing standings[RANK_COUNT_MAX];
    const struct rank_record *ranks = candidate->ranks.items;
    for (uint32_t i = 0; i < candidate->ranks.count; i++) {
        standings[i] = standing_of(question, &ranks[i]);
        for (uint32_t k = 0; k < i; k++)
            if (pair_gains(question, standings, ranks, k, i))
                return true;
    }
    return false;
}

/* ---- choosing ---- */

/* hosts[i * count + k]: where rank k meets rank i. */
static enum status meet_all(const struct reach_question *question,
                            const struct candidate *candidate, const char **hosts,
                            struct reason *reason)
{
    const uint32_t count = candidate->ranks.count;
    for (uint32_t i = 1; i < count; i++)
        for (uint32_t k = 0; k < i; k++) {
            struct pair pair;
            if (!pair_find(question, &candidate->ranks.items[k].node_id,
                           &candidate->ranks.items[i].node_id, &pair))
                return refuse(reason, STATUS_NOT_FOUND, "a node left while it was placed on");
            const struct meeting meeting = pair_meet(question, &pair);
            if (meeting.worth == 0)
                return refuse_pair(question, &pair, reason);
            hosts[k * count + i] = meeting.hosts[0];
            hosts[i * count + k] = meeting.hosts[1];
        }
    return STATUS_OK;
}

static bool are_of_one_machine(const struct reach_question *question, const struct rank_record *a,
                               const struct rank_record *b)
{
    const struct node_record *first = state_find_node(question->state, &a->node_id);
    const struct node_record *second = state_find_node(question->state, &b->node_id);
    return first && second && !ID_IS_ZERO(first->machine_id) &&
           ID_EQUAL(first->machine_id, second->machine_id);
}

/* One for all to know it by, which no other machine has: Open MPI tells machines apart by it. */
static const char *known_host(const struct reach_question *question,
                              const struct candidate *candidate, const char *const *hosts,
                              const char *const *known, uint32_t rank)
{
    const uint32_t count = candidate->ranks.count;
    const struct rank_record *ranks = candidate->ranks.items;
    for (uint32_t i = 0; i < rank; i++)
        if (are_of_one_machine(question, &ranks[i], &ranks[rank]))
            return known[i]; /* whose addresses are its own as well */
    for (uint32_t k = 0; k < count; k++) {
        const char *host = k == rank ? "" : hosts[rank * count + k];
        bool is_free = *host != '\0';
        for (uint32_t i = 0; i < rank && is_free; i++)
            is_free = strcmp(known[i], host) != 0;
        if (is_free)
            return host;
    }
    return NULL;
}

static enum status write_rank(const struct candidate *candidate, const char *const *hosts,
                              const char *known, uint32_t rank)
{
    struct rank_record *record = &candidate->ranks.items[rank];
    const uint32_t count = candidate->ranks.count;
    if (!text_set(&record->fabric, known))
        return STATUS_NO_MEMORY;
    for (uint32_t k = 0; k < count; k++) {
        if (k == rank || strcmp(hosts[rank * count + k], known) == 0)
            continue;
        struct rank_way *way = record_list_push(&rank_way_type, RECORD_LIST(record->ways), NULL,
                                                RANK_COUNT_MAX);
        if (!way || !text_set(&way->host, hosts[rank * count + k]))
            return STATUS_NO_MEMORY;
        way->node_id = candidate->ranks.items[k].node_id;
    }
    return STATUS_OK;
}

static enum status choose(const struct reach_question *question, const struct candidate *candidate,
                          const char **hosts, struct reason *reason)
{
    const char *known[RANK_COUNT_MAX];
    enum status status = meet_all(question, candidate, hosts, reason);
    for (uint32_t i = 0; i < candidate->ranks.count && status == STATUS_OK; i++) {
        known[i] = known_host(question, candidate, hosts, known, i);
        if (!known[i])
            status = refuse(reason, STATUS_UNREACHABLE,
                            "two nodes of these have the same address %.60s; give one another",
                            i > 0 ? hosts[i * candidate->ranks.count] : "");
    }
    for (uint32_t i = 0; i < candidate->ranks.count && status == STATUS_OK; i++)
        status = write_rank(candidate, hosts, known[i], i);
    return status;
}

enum status placement_pairs_choose(const struct reach_question *question,
                                   struct candidate *candidate, struct reason *reason)
{
    const size_t count = candidate->ranks.count;
    const char **hosts = memory_zeroed(count * count + 1, sizeof(*hosts));
    if (!hosts)
        return STATUS_NO_MEMORY;
    const enum status status = choose(question, candidate, hosts, reason);
    memory_free(hosts);
    return status;
}
