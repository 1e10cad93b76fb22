/* SPDX-License-Identifier: Apache-2.0 */
/* Which nodes are a tensor group, by the links between them. */
#include "actors/master/placement_groups.h"
#include "protocol/assert.h"
#include "tests/support/check_main.h"

#include <string.h>

#define NEAR 40e-6
#define WIRE 300e-6
#define AIR 4e-3
#define NODES_MAX 64u

static double seconds[NODES_MAX * NODES_MAX];

/* Nodes of the same letter are near, others as far as `far`. */
static bool find(const char *places, double near, double far, struct placement_groups *groups)
{
    const uint32_t count = (uint32_t)strlen(places);
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < count; k++)
            seconds[i * count + k] = places[i] == places[k] ? near : far;
    return placement_groups_find(seconds, count, groups);
}

/* As text: "aabc". */
static void check_groups(const char *places, const struct placement_groups *groups,
                         const char *expected)
{
    char text[2 * NODES_MAX] = "";
    uint32_t next = 0;
    uint32_t used = 0;
    for (uint32_t i = 0; i < groups->count; i++) {
        for (uint32_t k = 0; k < groups->sizes[i]; k++)
            text[used++] = places[groups->order[next++]];
        text[used++] = ' ';
    }
    text[used - 1] = '\0';
    ck_assert_str_eq(text, expected);
}

START_TEST(two_machines_on_one_switch_and_one_apart_are_two_groups)
{
    struct placement_groups groups;
    ck_assert(find("aab", NEAR, WIRE, &groups));
    check_groups("aab", &groups, "aa b");
    ck_assert(find("abb", NEAR, WIRE, &groups));
    check_groups("abb", &groups, "a bb");
    ck_assert(find("aba", WIRE, AIR, &groups));
    check_groups("aba", &groups, "aa b");
    ck_assert_uint_eq(groups.order[0], 0);
    ck_assert_uint_eq(groups.order[1], 2);
    ck_assert(find("abcabcab", NEAR, WIRE, &groups));
    check_groups("abcabcab", &groups, "aaa bbb cc");
}
END_TEST

START_TEST(links_that_are_alike_ask_for_no_groups)
{
    struct placement_groups groups;
    ck_assert(!find("aaaa", NEAR, WIRE, &groups));
    ck_assert(!find("abcd", NEAR, WIRE, &groups));
    ck_assert(!find("aab", 200e-6, 500e-6, &groups)); /* not three times as slow */
    ck_assert(!find("aab", 10e-6, 60e-6, &groups));   /* too fast both to matter */
    ck_assert(!find("ab", NEAR, AIR, &groups));       /* two nodes are no group and another */
    ck_assert(!find("a", NEAR, AIR, &groups));
}
END_TEST

START_TEST(the_widest_gap_parts_groups)
{
    /* a and b in one room by wire, c and d far: near 40 us, wire 300 us, air 30 ms */
    const char *places = "aabbcd";
    const uint32_t count = 6;
    struct placement_groups groups;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < count; k++) {
            const bool is_room = places[i] < 'c' && places[k] < 'c';
            seconds[i * count + k] = places[i] == places[k] ? NEAR : is_room ? WIRE : 30e-3;
        }
    ck_assert(placement_groups_find(seconds, count, &groups));
    check_groups(places, &groups, "aabb c d");
}
END_TEST

START_TEST(the_slower_way_of_a_link_counts)
{
    struct placement_groups groups;
    ck_assert(find("aab", NEAR, WIRE, &groups));
    seconds[1] = AIR; /* from the first to the second */
    ck_assert(!placement_groups_find(seconds, 3, &groups));
    seconds[2] = seconds[6] = NEAR; /* the first and the third */
    ck_assert(placement_groups_find(seconds, 3, &groups));
    check_groups("012", &groups, "02 1");
}
END_TEST

/* Each is near the next, and the first far from the last: a chain is no group. */
START_TEST(a_chain_is_no_group)
{
    const uint32_t count = 5;
    struct placement_groups groups;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < count; k++)
            seconds[i * count + k] = i + 1 == k || k + 1 == i ? NEAR : AIR;
    seconds[3 * count + 4] = seconds[4 * count + 3] = AIR;
    ck_assert(!placement_groups_find(seconds, count, &groups));
}
END_TEST

START_TEST(sixty_four_nodes_are_grouped)
{
    char places[NODES_MAX + 1] = "";
    struct placement_groups groups;
    for (uint32_t i = 0; i < NODES_MAX; i++)
        places[i] = (char)('a' + i % 8);
    ck_assert(find(places, WIRE, AIR, &groups));
    ck_assert_uint_eq(groups.count, 8);
    for (uint32_t i = 0; i < 8; i++)
        ck_assert_uint_eq(groups.sizes[i], 8);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("placement groups");
    const TTest *const tests[] = {two_machines_on_one_switch_and_one_apart_are_two_groups,
                                  links_that_are_alike_ask_for_no_groups,
                                  the_widest_gap_parts_groups,
                                  the_slower_way_of_a_link_counts,
                                  a_chain_is_no_group,
                                  sixty_four_nodes_are_grouped};
    suite_add(suite, "groups", tests, COUNT_OF(tests));
    return suite;
}
