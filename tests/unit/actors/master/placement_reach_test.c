/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/placement_reach.h"

#include "protocol/memory.h"
#include "runtime/fabric_ways.h"
#include "tests/support/check_main.h"

#include <stdio.h>
#include <string.h>

#define NODES 4u

static struct node_record records[NODES];
static struct placement_node nodes[NODES];
static const struct placement_node *chosen[NODES];
static struct links_listed links;
static struct state state;
static struct networks trusted;
static struct reason reason;

/* Nodes a, b, c and d of 10, 20, 30 and 40 bytes; nobody told anything. */
static void setup(void)
{
    static char names[NODES][2] = {"a", "b", "c", "d"};
    static char fabrics[NODES][16];
    memset(records, 0, sizeof(records));
    memset(&links, 0, sizeof(links));
    memset(&state, 0, sizeof(state));
    reason.text[0] = '\0';
    ck_assert_int_eq(networks_parse("10.0.0.0/8", &trusted, &reason), STATUS_OK);
    for (uint32_t i = 0; i < NODES; i++) {
        (void)snprintf(fabrics[i], sizeof(fabrics[i]), "10.0.0.%u", i + 1);
        records[i].node_id.bytes[0] = (uint8_t)(i + 1);
        records[i].name = names[i];
        records[i].fabric = fabrics[i];
        nodes[i] = (struct placement_node){
            .node = &records[i], .memory_free = 10 * (i + 1), .is_heard = true};
        chosen[i] = &nodes[i];
    }
    state.nodes.items = records;
    state.nodes.count = NODES;
}

static void teardown(void)
{
    record_fini(&links_listed_type, &links);
}

static struct links_measured *row_of(uint32_t node)
{
    for (uint32_t i = 0; i < links.rows.count; i++)
        if (ID_EQUAL(links.rows.items[i].node_id, records[node].node_id))
            return &links.rows.items[i];
    const struct links_measured row = {.node_id = records[node].node_id};
    return record_list_push(&links_measured_type, RECORD_LIST(links.rows), &row, NODE_COUNT_MAX);
}

/* `from` tells whether it reaches `to` at its first address, 10.0.0.N. */
static struct link_measured *tell(uint32_t from, uint32_t to, bool reaches)
{
    char address[32];
    (void)snprintf(address, sizeof(address), "tcp://10.0.0.%u:7", to + 1);
    const struct link_measured link = {
        .node_id = records[to].node_id, .address = address, .reaches = reaches};
    return record_list_push(&link_measured_type, RECORD_LIST(row_of(from)->links), &link,
                            NODE_COUNT_MAX);
}

static void tell_all(bool reaches)
{
    for (uint32_t from = 0; from < NODES; from++)
        for (uint32_t to = 0; to < NODES; to++)
            if (from != to)
                ck_assert_ptr_nonnull(tell(from, to, reaches));
}

static struct link_measured *told_by(uint32_t from, uint32_t to)
{
    struct links_measured *row = row_of(from);
    for (uint32_t i = 0; i < row->links.count; i++)
        if (ID_EQUAL(row->links.items[i].node_id, records[to].node_id))
            return &row->links.items[i];
    return NULL;
}

static void offer(uint32_t node, const char *host)
{
    struct address_offered offered = {.host = NULL};
    ck_assert(text_set(&offered.host, host) && text_set(&offered.kind, "wired"));
    ck_assert_ptr_nonnull(record_list_push(&address_offered_type,
                                           RECORD_LIST(row_of(node)->offers), &offered,
                                           ADDRESS_OFFER_COUNT_MAX));
    record_fini(&address_offered_type, &offered);
}

/* The last one told is of that network, interface kind, speed and RDMA device. */
static void describe(uint32_t node, const char *network, const char *kind, uint64_t speed_mbit,
                     const char *rdma)
{
    struct links_measured *row = row_of(node);
    struct address_offered *offer = &row->offers.items[row->offers.count - 1];
    offer->speed_mbit = speed_mbit;
    ck_assert(text_set(&offer->network, network) && text_set(&offer->kind, kind) &&
              text_set(&offer->rdma, rdma));
}

/* Whether `from` reaches `to` at another of its addresses. */
static void tell_way(uint32_t from, uint32_t to, const char *host, bool reaches)
{
    struct way_measured way = {.reaches = reaches};
    ck_assert(text_set(&way.host, host));
    ck_assert_ptr_nonnull(record_list_push(&way_measured_type,
                                           RECORD_LIST(told_by(from, to)->ways), &way,
                                           ADDRESS_OFFER_COUNT_MAX));
    record_fini(&way_measured_type, &way);
}

/* ---- who can take part ---- */

START_TEST(nobody_told_anything_is_no_obstacle)
{
    ck_assert_int_eq(placement_reach_pair(NULL, &records[0], &records[1], &reason), STATUS_OK);
    ck_assert_int_eq(placement_reach_pair(&links, &records[0], &records[1], &reason), STATUS_OK);
    ck_assert_ptr_nonnull(tell(0, 1, false)); /* b has not said what it thinks */
    ck_assert_int_eq(placement_reach_pair(&links, &records[0], &records[1], &reason), STATUS_OK);
    ck_assert_int_eq(placement_reach_joins(NULL, chosen, 3, chosen[3], &reason), STATUS_OK);
    ck_assert_uint_eq(placement_reach_first(NULL, chosen, NODES), 3);
}
END_TEST

START_TEST(a_link_of_one_way_is_refused_as_such)
{
    ck_assert_ptr_nonnull(tell(0, 1, true));
    ck_assert_ptr_nonnull(tell(1, 0, false));
    for (int turn = 0; turn < 2; turn++) {
        reason.text[0] = '\0';
        ck_assert_int_eq(placement_reach_pair(&links, &records[turn], &records[1 - turn], &reason),
                         STATUS_UNREACHABLE);
        ck_assert_msg(strstr(reason.text, "a reaches b, but b does not reach a; open the way from "
                                          "b to a"),
                      "%s", reason.text);
    }
}
END_TEST

START_TEST(nodes_that_do_not_reach_each_other_are_both_named)
{
    tell_all(true);
    told_by(1, 3)->reaches = told_by(3, 1)->reaches = false;
    ck_assert_int_eq(placement_reach_joins(&links, chosen, 2, chosen[2], &reason), STATUS_OK);
    ck_assert_int_eq(placement_reach_joins(&links, chosen, 3, chosen[3], &reason),
                     STATUS_UNREACHABLE);
    ck_assert_msg(strstr(reason.text, "b and d do not reach each other"), "%s", reason.text);
    ck_assert_int_eq(placement_reach_joins(&links, chosen, 1, chosen[3], &reason), STATUS_OK);
}
END_TEST

START_TEST(another_address_that_answers_both_ways_is_enough)
{
    tell_all(true);
    told_by(0, 1)->reaches = false;
    ck_assert_int_eq(placement_reach_pair(&links, &records[0], &records[1], &reason),
                     STATUS_UNREACHABLE);
    tell_way(0, 1, "10.1.0.2", true);
    ck_assert_int_eq(placement_reach_pair(&links, &records[0], &records[1], &reason), STATUS_OK);
}
END_TEST

START_TEST(those_that_reach_each_other_are_picked_before_others)
{
    const struct placement_node *picked[NODES];
    placement_reach_pick(NULL, chosen, NODES, picked, 2);
    ck_assert(picked[0] == chosen[0] && picked[1] == chosen[1]);
    tell_all(true);
    told_by(1, 0)->reaches = false;
    placement_reach_pick(&links, chosen, NODES, picked, 3);
    ck_assert(picked[0] == chosen[0] && picked[1] == chosen[2] && picked[2] == chosen[3]);
    /* The first reaches nobody. */
    told_by(2, 0)->reaches = told_by(3, 0)->reaches = false;
    placement_reach_pick(&links, chosen, NODES, picked, 3);
    ck_assert(picked[0] == chosen[1] && picked[1] == chosen[2] && picked[2] == chosen[3]);
    placement_reach_pick(&links, chosen, NODES, picked, 4);
    ck_assert(picked[0] == chosen[0] && picked[3] == chosen[3]);
}
END_TEST

/* ---- rank 0 ---- */

static const char *order_of(uint32_t count)
{
    static char text[16];
    const enum status status = placement_reach_order(&links, chosen, count, &reason);
    for (uint32_t i = 0; i < count; i++)
        text[i] = chosen[i]->node->name[0];
    text[count] = '\0';
    return status == STATUS_OK ? text : "refused";
}

START_TEST(rank_0_is_the_largest_and_the_others_keep_their_order)
{
    tell_all(true);
    ck_assert_str_eq(order_of(NODES), "dabc");
    ck_assert_str_eq(order_of(NODES), "dabc");
    ck_assert_str_eq(order_of(1), "d");
}
END_TEST

START_TEST(of_equal_nodes_the_first_stays_rank_0)
{
    tell_all(true);
    for (uint32_t i = 0; i < NODES; i++)
        nodes[i].memory_free = 7;
    ck_assert_str_eq(order_of(NODES), "abcd");
}
END_TEST

START_TEST(nodes_of_one_machine_are_equal)
{
    tell_all(true);
    for (uint32_t i = 0; i < NODES; i++)
        records[i].machine_id.bytes[0] = i < 3 ? 9 : 8;
    ck_assert_str_eq(order_of(3), "abc");
    ck_assert_str_eq(order_of(NODES), "dabc");
}
END_TEST

START_TEST(the_largest_is_not_rank_0_when_one_does_not_reach_it)
{
    tell_all(true);
    told_by(0, 3)->reaches = false;
    ck_assert_str_eq(order_of(NODES), "cabd");
}
END_TEST

START_TEST(rank_0_unreachable_is_refused)
{
    tell_all(false);
    ck_assert_str_eq(order_of(NODES), "refused");
    ck_assert_msg(strstr(reason.text, "none of the 4 nodes is reached by all the others"), "%s",
                  reason.text);
}
END_TEST

/* ---- addresses ---- */

static struct candidate candidate_of(uint32_t count)
{
    struct candidate candidate = {.why = NULL};
    for (uint32_t i = 0; i < count; i++) {
        const struct rank_record rank = {.node_id = records[i].node_id};
        ck_assert_ptr_nonnull(record_list_push(&rank_record_type, RECORD_LIST(candidate.ranks),
                                               &rank, RANK_COUNT_MAX));
    }
    return candidate;
}

static enum status choose(uint32_t count, struct candidate *candidate_out)
{
    const struct reach_question question = {.state = &state,
                                            .nodes = nodes,
                                            .node_count = NODES,
                                            .links = &links,
                                            .trusted = &trusted,
                                            .may_rdma = true};
    *candidate_out = candidate_of(count);
    return placement_reach_addresses(&question, candidate_out, &reason);
}

static void expect(uint32_t count, const char *first, const char *second)
{
    struct candidate candidate;
    const enum status status = choose(count, &candidate);
    ck_assert_msg(status == STATUS_OK, "%s", reason.text);
    ck_assert_str_eq(text_or_empty(candidate.ranks.items[0].fabric), first);
    if (count > 1)
        ck_assert_str_eq(text_or_empty(candidate.ranks.items[1].fabric), second);
    record_fini(&candidate_type, &candidate);
}

START_TEST(nodes_without_choice_keep_their_own_address)
{
    expect(2, "", "");
    tell_all(true);
    expect(2, "", "");
    offer(0, "10.0.0.1");
    offer(1, "10.0.0.2");
    expect(2, "", "");
}
END_TEST

START_TEST(the_best_address_that_all_the_others_reach_is_taken)
{
    tell_all(true);
    offer(0, "10.1.0.1"); /* faster; the order is that of the offers */
    offer(0, "10.0.0.1");
    offer(1, "10.0.0.2");
    expect(3, "", ""); /* 10.1.0.1 was not tried yet */
    tell_way(1, 0, "10.1.0.1", true);
    expect(2, "10.1.0.1", "");
    expect(3, "", ""); /* c has not */
    tell_way(2, 0, "10.1.0.1", false);
    expect(3, "", "");
    told_by(2, 0)->ways.items[0].reaches = true;
    expect(3, "10.1.0.1", "");
}
END_TEST

START_TEST(a_first_address_that_is_dead_is_passed_over)
{
    tell_all(true);
    offer(0, "10.0.0.1");
    offer(0, "10.1.0.1");
    told_by(1, 0)->reaches = false;
    tell_way(1, 0, "10.1.0.1", true);
    expect(2, "10.1.0.1", "");
}
END_TEST

/* Where the node of rank `from` meets rank `to`. */
static const char *met(const struct candidate *candidate, uint32_t from, uint32_t to)
{
    return fabric_host(&state, &candidate->ranks.items[to], &records[from].node_id);
}

START_TEST(addresses_that_nobody_can_share_are_met_one_by_one)
{
    struct candidate candidate;
    tell_all(true);
    offer(0, "10.0.0.1");
    offer(0, "10.1.0.1");
    told_by(1, 0)->reaches = false;
    tell_way(1, 0, "10.1.0.1", true);
    tell_way(2, 0, "10.1.0.1", false);
    ck_assert_msg(choose(3, &candidate) == STATUS_OK, "%s", reason.text);
    ck_assert_str_eq(met(&candidate, 1, 0), "10.1.0.1");
    ck_assert_str_eq(met(&candidate, 2, 0), "10.0.0.1");
    ck_assert_str_eq(met(&candidate, 0, 2), "10.0.0.3");
    ck_assert_str_eq(met(&candidate, 1, 2), "10.0.0.3");
    record_fini(&candidate_type, &candidate);
}
END_TEST

START_TEST(a_proven_address_of_an_untrusted_network_carries_no_ranks)
{
    struct candidate candidate;
    tell_all(true);
    offer(0, "192.168.7.1");
    offer(0, "10.0.0.1");
    tell_way(1, 0, "192.168.7.1", true);
    expect(2, "", "");
    expect(1, "", ""); /* one rank alone talks to nobody */
    told_by(1, 0)->reaches = false;
    records[0].fabric = row_of(0)->offers.items[0].host;
    ck_assert_int_eq(choose(2, &candidate), STATUS_REFUSED);
    ck_assert_msg(strstr(reason.text, "with a at 192.168.7.1, which is in no trusted network"),
                  "%s", reason.text);
    record_fini(&candidate_type, &candidate);
}
END_TEST

START_TEST(gateways_are_shown_the_address_that_most_nodes_reach)
{
    struct candidate candidate;
    tell_all(true);
    offer(0, "10.1.0.1");
    offer(0, "10.2.0.1");
    offer(0, "10.0.0.1");
    for (uint32_t from = 1; from < NODES; from++) {
        tell_way(from, 0, "10.1.0.1", from == 1);
        tell_way(from, 0, "10.2.0.1", true);
    }
    ck_assert_int_eq(choose(2, &candidate), STATUS_OK);
    ck_assert_str_eq(text_or_empty(candidate.ranks.items[0].fabric), "10.1.0.1");
    ck_assert_str_eq(text_or_empty(candidate.ranks.items[0].front), "10.2.0.1");
    ck_assert_str_eq(text_or_empty(candidate.ranks.items[1].front), "");
    record_fini(&candidate_type, &candidate);
}
END_TEST

/* Both have 10.0.0.N in one network and 10.1.0.N in another. */
static void two_networks(void)
{
    tell_all(true);
    for (uint32_t node = 0; node < 2; node++) {
        char host[32];
        (void)snprintf(host, sizeof(host), "10.0.0.%u", node + 1);
        offer(node, host);
        describe(node, "10.0.0.0/24", "wired", 1000, "");
        host[3] = '1';
        offer(node, host);
        describe(node, "10.1.0.0/24", "wired", node == 0 ? 100 : 10000, "");
        tell_way(1 - node, node, host, true);
    }
}

START_TEST(ranks_meet_in_one_network_whose_slowest_is_the_fastest)
{
    two_networks();
    expect(2, "", ""); /* the second is slower at a */
    describe(0, "10.1.0.0/24", "wired", 2500, "");
    expect(2, "10.1.0.1", "10.1.0.2");
    describe(1, "10.1.0.0/24", "wireless", 10000, "");
    expect(2, "", "");
    told_by(0, 1)->reaches = false; /* what is left */
    expect(2, "10.1.0.1", "10.1.0.2");
}
END_TEST

START_TEST(rdma_is_used_when_every_rank_has_it_there)
{
    struct candidate candidate;
    two_networks();
    describe(0, "10.1.0.0/24", "infiniband", 100000, "mlx5_0");
    ck_assert_int_eq(choose(2, &candidate), STATUS_OK);
    ck_assert_str_eq(text_or_empty(candidate.ranks.items[0].rdma), "");
    record_fini(&candidate_type, &candidate);
    describe(1, "10.1.0.0/24", "infiniband", 100000, "mlx5_3");
    ck_assert_int_eq(choose(2, &candidate), STATUS_OK);
    ck_assert_str_eq(text_or_empty(candidate.ranks.items[0].rdma), "mlx5_0");
    ck_assert_str_eq(text_or_empty(candidate.ranks.items[1].rdma), "mlx5_3");
    record_fini(&candidate_type, &candidate);
    ck_assert_int_eq(choose(1, &candidate), STATUS_OK);
    ck_assert_str_eq(text_or_empty(candidate.ranks.items[0].rdma), "");
    record_fini(&candidate_type, &candidate);
}
END_TEST

/* ---- pair by pair ---- */

/* 10.NUMBER.0.0/24 between those nodes, and nobody else: a bit for each. */
static void network_of(uint32_t members, uint32_t number, const char *kind, uint64_t speed_mbit)
{
    char network[32];
    (void)snprintf(network, sizeof(network), "10.%u.0.0/24", number);
    for (uint32_t node = 0; node < NODES; node++) {
        char host[32];
        (void)snprintf(host, sizeof(host), "10.%u.0.%u", number, node + 1);
        if (!(members >> node & 1))
            continue;
        offer(node, host);
        describe(node, network, kind, speed_mbit, "");
        for (uint32_t from = 0; from < NODES; from++)
            if (from != node)
                tell_way(from, node, host, members >> from & 1);
    }
}

/* Three nodes joined by three cables, of a speed each. */
static void triangle(void)
{
    tell_all(false);
    network_of(3, 1, "wired", 1000);
    network_of(6, 2, "wired", 10000);
    network_of(5, 3, "thunderbolt", 40000);
}

static void expect_met(uint32_t from, uint32_t to, const char *host,
                       const struct candidate *candidate)
{
    ck_assert_msg(strcmp(met(candidate, from, to), host) == 0,
                  "rank %u meets rank %u at %s, not %s", from, to, met(candidate, from, to), host);
}

static void expect_triangle(void)
{
    struct candidate candidate;
    ck_assert_msg(choose(3, &candidate) == STATUS_OK, "%s", reason.text);
    expect_met(0, 1, "10.1.0.2", &candidate);
    expect_met(1, 0, "10.1.0.1", &candidate);
    expect_met(1, 2, "10.2.0.3", &candidate);
    expect_met(2, 1, "10.2.0.2", &candidate);
    expect_met(0, 2, "10.3.0.3", &candidate);
    expect_met(2, 0, "10.3.0.1", &candidate);
    /* Each is known by one of its own, that no other has. */
    ck_assert_str_eq(text_or_empty(candidate.ranks.items[0].fabric), "10.1.0.1");
    ck_assert_str_eq(text_or_empty(candidate.ranks.items[1].fabric), "10.1.0.2");
    ck_assert_str_eq(text_or_empty(candidate.ranks.items[2].fabric), "10.3.0.3");
    ck_assert_str_eq(text_or_empty(candidate.ranks.items[2].rdma), "");
    record_fini(&candidate_type, &candidate);
}

START_TEST(machines_that_share_no_network_meet_by_their_cables)
{
    triangle();
    expect_triangle();
}
END_TEST

/* The offers of every node the other way round. */
static void reverse_offers(void)
{
    for (uint32_t node = 0; node < NODES; node++) {
        struct links_measured *row = row_of(node);
        for (uint32_t i = 0; i < row->offers.count / 2; i++) {
            struct address_offered *other = &row->offers.items[row->offers.count - 1 - i];
            const struct address_offered kept = row->offers.items[i];
            row->offers.items[i] = *other;
            *other = kept;
        }
    }
}

START_TEST(the_order_of_interfaces_changes_no_pair)
{
    triangle();
    network_of(3, 4, "wired", 1000); /* no better than the first */
    network_of(6, 5, "wireless", 40000);
    expect_triangle();
    reverse_offers();
    expect_triangle();
}
END_TEST

START_TEST(the_faster_network_of_a_pair_is_taken_and_wired_before_wireless)
{
    struct candidate candidate;
    triangle();
    network_of(3, 4, "wired", 2500);
    network_of(6, 5, "wireless", 40000);
    ck_assert_msg(choose(3, &candidate) == STATUS_OK, "%s", reason.text);
    expect_met(0, 1, "10.4.0.2", &candidate);
    expect_met(1, 0, "10.4.0.1", &candidate);
    expect_met(1, 2, "10.2.0.3", &candidate);
    record_fini(&candidate_type, &candidate);
}
END_TEST

START_TEST(a_network_of_all_stays_where_no_pair_has_a_better_one)
{
    struct candidate candidate;
    tell_all(false);
    network_of(7, 1, "wired", 1000);
    network_of(3, 2, "wired", 1000);
    network_of(6, 3, "wired", 100);
    network_of(5, 4, "wireless", 5000);
    ck_assert_msg(choose(3, &candidate) == STATUS_OK, "%s", reason.text);
    for (uint32_t i = 0; i < 3; i++) {
        ck_assert_uint_eq(candidate.ranks.items[i].ways.count, 0);
        ck_assert_uint_eq(text_or_empty(candidate.ranks.items[i].fabric)[3], '1');
    }
    record_fini(&candidate_type, &candidate);
}
END_TEST

START_TEST(a_better_network_of_two_is_theirs_beside_that_of_all)
{
    struct candidate candidate;
    tell_all(false);
    network_of(7, 1, "wired", 1000);
    network_of(3, 2, "wired", 10000);
    ck_assert_msg(choose(3, &candidate) == STATUS_OK, "%s", reason.text);
    expect_met(0, 1, "10.2.0.2", &candidate);
    expect_met(1, 0, "10.2.0.1", &candidate);
    expect_met(0, 2, "10.1.0.3", &candidate);
    expect_met(2, 0, "10.1.0.1", &candidate);
    expect_met(2, 1, "10.1.0.2", &candidate);
    record_fini(&candidate_type, &candidate);
    /* Two ranks have their best network anyway. */
    ck_assert_int_eq(choose(2, &candidate), STATUS_OK);
    ck_assert_uint_eq(candidate.ranks.items[0].ways.count, 0);
    ck_assert_str_eq(text_or_empty(candidate.ranks.items[0].fabric), "10.2.0.1");
    record_fini(&candidate_type, &candidate);
}
END_TEST

static void expect_refused(enum status status, const char *sentence)
{
    struct candidate candidate;
    ck_assert_int_eq(choose(3, &candidate), status);
    ck_assert_msg(strstr(reason.text, sentence), "%s", reason.text);
    record_fini(&candidate_type, &candidate);
}

static struct way_measured *way_at(uint32_t from, uint32_t to, const char *host)
{
    struct link_measured *link = told_by(from, to);
    for (uint32_t i = 0; i < link->ways.count; i++)
        if (strcmp(link->ways.items[i].host, host) == 0)
            return &link->ways.items[i];
    return NULL;
}

START_TEST(a_pair_with_a_link_of_one_way_is_refused)
{
    triangle();
    way_at(2, 1, "10.2.0.2")->reaches = false;
    expect_refused(STATUS_UNREACHABLE, "b reaches c, but c does not reach b; open the way from c "
                                       "to b");
    way_at(1, 2, "10.2.0.3")->reaches = false;
    expect_refused(STATUS_UNREACHABLE, "b and c do not reach each other; check the network between "
                                       "them, or leave one of them out");
}
END_TEST

START_TEST(a_pair_that_meets_in_an_untrusted_network_alone_is_refused)
{
    triangle();
    ck_assert_int_eq(networks_parse("10.1.0.0/16, 10.3.0.0/16", &trusted, &reason), STATUS_OK);
    expect_refused(STATUS_REFUSED,
                   "the ranks of b and c would talk unencrypted with b at 10.2.0.2, which is in no "
                   "trusted network; name it in trusted_networks");
}
END_TEST

START_TEST(a_pair_without_a_family_for_all_is_refused)
{
    triangle();
    for (uint32_t node = 1; node < 3; node++) {
        struct links_measured *row = row_of(node);
        struct way_measured *way = way_at(3 - node, node, node == 1 ? "10.2.0.2" : "10.2.0.3");
        ck_assert(text_set(&way->host, "[fd00::1]"));
        for (uint32_t k = 0; k < row->offers.count; k++)
            if (strcmp(row->offers.items[k].network, "10.2.0.0/24") == 0)
                ck_assert(text_set(&row->offers.items[k].host, "[fd00::1]"));
    }
    expect_refused(STATUS_UNREACHABLE, "b and c have no IPv4 addresses that each has proven of the "
                                       "other's; give the link between them one each");
}
END_TEST

START_TEST(two_machines_are_not_known_by_one_address)
{
    struct candidate candidate;
    triangle();
    /* a calls itself on its cable to b as c does on its cable to a. */
    struct links_measured *row = row_of(0);
    ck_assert(text_set(&row->offers.items[0].host, "10.3.0.3") &&
              text_set(&way_at(1, 0, "10.1.0.1")->host, "10.3.0.3"));
    ck_assert_msg(choose(3, &candidate) == STATUS_OK, "%s", reason.text);
    ck_assert_str_eq(text_or_empty(candidate.ranks.items[0].fabric), "10.3.0.3");
    ck_assert_str_eq(text_or_empty(candidate.ranks.items[2].fabric), "10.2.0.3");
    expect_met(0, 2, "10.3.0.3", &candidate);
    record_fini(&candidate_type, &candidate);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("placement_reach");
    const TTest *const tests[] = {nobody_told_anything_is_no_obstacle,
                                  a_link_of_one_way_is_refused_as_such,
                                  nodes_that_do_not_reach_each_other_are_both_named,
                                  another_address_that_answers_both_ways_is_enough,
                                  those_that_reach_each_other_are_picked_before_others,
                                  nodes_of_one_machine_are_equal,
                                  rank_0_is_the_largest_and_the_others_keep_their_order,
                                  of_equal_nodes_the_first_stays_rank_0,
                                  the_largest_is_not_rank_0_when_one_does_not_reach_it,
                                  rank_0_unreachable_is_refused,
                                  nodes_without_choice_keep_their_own_address,
                                  the_best_address_that_all_the_others_reach_is_taken,
                                  a_first_address_that_is_dead_is_passed_over,
                                  addresses_that_nobody_can_share_are_met_one_by_one,
                                  a_proven_address_of_an_untrusted_network_carries_no_ranks,
                                  gateways_are_shown_the_address_that_most_nodes_reach,
                                  ranks_meet_in_one_network_whose_slowest_is_the_fastest,
                                  rdma_is_used_when_every_rank_has_it_there,
                                  machines_that_share_no_network_meet_by_their_cables,
                                  the_order_of_interfaces_changes_no_pair,
                                  the_faster_network_of_a_pair_is_taken_and_wired_before_wireless,
                                  a_network_of_all_stays_where_no_pair_has_a_better_one,
                                  a_better_network_of_two_is_theirs_beside_that_of_all,
                                  a_pair_with_a_link_of_one_way_is_refused,
                                  a_pair_that_meets_in_an_untrusted_network_alone_is_refused,
                                  a_pair_without_a_family_for_all_is_refused,
                                  two_machines_are_not_known_by_one_address};
    TCase *tcase = tcase_create("placement_reach");
    tcase_add_checked_fixture(tcase, setup, teardown);
    for (size_t i = 0; i < COUNT_OF(tests); i++)
        tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
    return suite;
}
