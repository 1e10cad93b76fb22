/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/fabric_ways.h"

#include "tests/support/check_main.h"

#include <string.h>

static struct reason reason;
static struct fabric_ways ways;

START_TEST(ways_are_read_as_they_are_written)
{
    static const uint8_t known[4] = {10, 0, 0, 2};
    static const uint8_t own[4] = {10, 3, 0, 1};
    static const uint8_t peer[4] = {10, 3, 0, 255};
    ck_assert_int_eq(fabric_ways_parse(NULL, &ways, &reason), STATUS_OK);
    ck_assert_uint_eq(ways.count, 0);
    ck_assert_int_eq(fabric_ways_parse("", &ways, &reason), STATUS_OK);
    ck_assert_uint_eq(ways.count, 0);
    ck_assert_int_eq(fabric_ways_parse("10.0.0.2/10.3.0.1/10.3.0.255,10.0.0.3/10.0.0.1/10.0.0.3",
                                       &ways, &reason),
                     STATUS_OK);
    ck_assert_uint_eq(ways.count, 2);
    ck_assert_mem_eq(ways.items[0].known, known, 4);
    ck_assert_mem_eq(ways.items[0].own, own, 4);
    ck_assert_mem_eq(ways.items[0].peer, peer, 4);
    ck_assert_uint_eq(ways.items[1].known[3], 3);
}
END_TEST

START_TEST(what_is_no_way_is_refused_by_itself)
{
    static const char *const wrong[] = {"10.0.0.1",
                                        "10.0.0.1/10.0.0.2",
                                        "10.0.0.1/10.0.0.2/",
                                        "10.0.0.1/10.0.0.2/10.0.0.3/10.0.0.4",
                                        "10.0.0.1,10.0.0.2,10.0.0.3",
                                        "10.0.0.1/10.0.0.2/fd00::1",
                                        "10.0.0.1/n2/10.0.0.3",
                                        "10.0.0.1/10.0.0.2/10.0.0.300",
                                        "//",
                                        ","};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        reason.text[0] = '\0';
        ck_assert_msg(fabric_ways_parse(wrong[i], &ways, &reason) == STATUS_INVALID, "%s",
                      wrong[i]);
        ck_assert_msg(strstr(reason.text, "is no way to a rank"), "%s", reason.text);
    }
    char many[4096] = "";
    for (uint32_t i = 0; i <= RANK_COUNT_MAX; i++)
        memcpy(many + i * 25, "10.0.0.1/1.1.1.1/2.2.2.2,", 26);
    ck_assert_int_eq(fabric_ways_parse(many, &ways, &reason), STATUS_TOO_LARGE);
}
END_TEST

/* Three ranks on nodes a, b and c: known as 10.1.0.1, 10.1.0.2 and as what the node of c is. */
static struct node_record nodes[3];
static struct rank_record ranks[3];
static struct rank_way of_a = {.host = NULL};
static struct rank_way of_b = {.host = NULL};
static struct rank_way of_c[2];
static struct state state;
static struct instance_record instance;

static void setup(void)
{
    static char texts[8][16] = {"10.1.0.1", "10.1.0.2", "10.3.0.3", "10.3.0.1", "10.2.0.2",
                                "10.2.0.3"};
    memset(&state, 0, sizeof(state));
    memset(&instance, 0, sizeof(instance));
    memset(ranks, 0, sizeof(ranks));
    for (uint8_t i = 0; i < 3; i++)
        nodes[i].node_id.bytes[0] = ranks[i].node_id.bytes[0] = (uint8_t)(i + 1);
    ranks[0].fabric = texts[0];
    ranks[1].fabric = texts[1];
    nodes[2].fabric = texts[2];
    of_a = (struct rank_way){.node_id = nodes[2].node_id, .host = texts[3]};
    of_b = (struct rank_way){.node_id = nodes[2].node_id, .host = texts[4]};
    of_c[0] = (struct rank_way){.node_id = nodes[1].node_id, .host = texts[5]};
    ranks[0].ways.items = &of_a;
    ranks[1].ways.items = &of_b;
    ranks[2].ways.items = of_c;
    ranks[0].ways.count = ranks[1].ways.count = ranks[2].ways.count = 1;
    state.nodes.items = nodes;
    state.nodes.count = 3;
    instance.ranks.items = ranks;
    instance.ranks.count = 3;
}

START_TEST(a_rank_is_told_of_those_it_meets_elsewhere)
{
    char text[WAYS_SIZE_MAX];
    ck_assert_int_eq(fabric_ways_write(&state, &instance, 0, text), STATUS_OK);
    ck_assert_str_eq(text, "10.3.0.3/10.3.0.1/10.3.0.3");
    ck_assert_int_eq(fabric_ways_write(&state, &instance, 1, text), STATUS_OK);
    ck_assert_str_eq(text, "10.3.0.3/10.2.0.2/10.2.0.3");
    ck_assert_int_eq(fabric_ways_write(&state, &instance, 2, text), STATUS_OK);
    ck_assert_str_eq(text, "10.1.0.1/10.3.0.3/10.3.0.1,10.1.0.2/10.2.0.3/10.2.0.2");
    ck_assert_int_eq(fabric_ways_parse(text, &ways, &reason), STATUS_OK);
    ck_assert_uint_eq(ways.count, 2);
}
END_TEST

START_TEST(ranks_of_one_network_are_told_of_none)
{
    char text[WAYS_SIZE_MAX] = "x";
    for (uint32_t i = 0; i < 3; i++)
        ranks[i].ways.count = 0;
    for (uint32_t i = 0; i < 3; i++) {
        ck_assert_int_eq(fabric_ways_write(&state, &instance, i, text), STATUS_OK);
        ck_assert_str_eq(text, "");
    }
}
END_TEST

START_TEST(two_ranks_of_one_machine_are_one_way)
{
    char text[WAYS_SIZE_MAX];
    ranks[2].fabric = ranks[1].fabric; /* b and c are nodes of one machine */
    of_b = (struct rank_way){.node_id = nodes[0].node_id, .host = of_b.host};
    of_c[0] = (struct rank_way){.node_id = nodes[0].node_id, .host = of_b.host};
    ranks[0].ways.count = 0;
    ck_assert_int_eq(fabric_ways_write(&state, &instance, 0, text), STATUS_OK);
    ck_assert_str_eq(text, "10.1.0.2/10.1.0.1/10.2.0.2");
    ck_assert_int_eq(fabric_ways_write(&state, &instance, 1, text), STATUS_OK);
    ck_assert_str_eq(text, "10.1.0.1/10.2.0.2/10.1.0.1");
}
END_TEST

START_TEST(an_address_is_told_and_met_with_the_host_that_is_right)
{
    char address[ADDRESS_SIZE_MAX];
    fabric_told("tcp://0.0.0.0:4711", "10.1.0.1", address);
    ck_assert_str_eq(address, "tcp://10.1.0.1:4711");
    fabric_told("tcp://10.1.0.7:4711", "10.1.0.1", address);
    ck_assert_str_eq(address, "tcp://10.1.0.7:4711");
    fabric_told("tcp://0.0.0.0:4711", "", address);
    ck_assert_str_eq(address, "tcp://0.0.0.0:4711");
    fabric_address(&ranks[0], &nodes[2].node_id, "tcp://10.1.0.1:4711", address);
    ck_assert_str_eq(address, "tcp://10.3.0.1:4711");
    fabric_address(&ranks[0], &nodes[1].node_id, "tcp://10.1.0.1:4711", address);
    ck_assert_str_eq(address, "tcp://10.1.0.1:4711");
    ck_assert_str_eq(fabric_host(&state, &ranks[2], &nodes[0].node_id), "10.3.0.3");
    ck_assert_str_eq(fabric_host(&state, &ranks[2], &nodes[1].node_id), "10.2.0.3");
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("fabric_ways");
    const TTest *const tests[] = {ways_are_read_as_they_are_written,
                                  what_is_no_way_is_refused_by_itself,
                                  a_rank_is_told_of_those_it_meets_elsewhere,
                                  ranks_of_one_network_are_told_of_none,
                                  two_ranks_of_one_machine_are_one_way,
                                  an_address_is_told_and_met_with_the_host_that_is_right};
    TCase *tcase = tcase_create("fabric_ways");
    tcase_add_checked_fixture(tcase, setup, NULL);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
    return suite;
}
