/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/instance_wait.h"
#include "tests/support/check_main.h"
#include "tests/unit/protocol/apply_stage.h"

#include <string.h>

static char text[SENTENCE_SIZE_MAX];

static void expect_wait(const char *sentence)
{
    ck_assert_int_eq(instance_waits_for(&stage.state, stage_instance(), text), sentence[0] != '\0');
    ck_assert_str_eq(text, sentence);
}

static void bring(struct rank_record *rank, bool is_runner)
{
    ck_assert(text_set(is_runner ? &rank->runner_address : &rank->launcher_address,
                       "tcp://127.0.0.1:1"));
}

static struct instance_record *begin(void)
{
    stage_add_node(&node_one, "one");
    stage_add_node(&node_two, "two");
    struct instance_record *instance = stage_start_instance();
    for (uint32_t i = 0; i < stage.state.nodes.count; i++)
        stage.state.nodes.items[i].in_view = true;
    for (uint32_t i = 0; i < instance->ranks.count; i++) {
        ck_assert(text_set(&instance->ranks.items[i].launcher_address, ""));
        ck_assert(text_set(&instance->ranks.items[i].runner_address, ""));
        instance->ranks.items[i].status = RANK_PLACED;
    }
    return instance;
}

START_TEST(names_who_has_not_come_in_the_order_of_a_start)
{
    struct instance_record *instance = begin();
    struct rank_record *ranks = instance->ranks.items;
    expect_wait("rank 0 on one, whose launcher has not come yet");
    bring(&ranks[0], false);
    ranks[0].status = RANK_ADDRESSED;
    expect_wait("rank 1 on two, whose launcher has not come yet");
    bring(&ranks[1], false);
    ranks[1].status = RANK_ADDRESSED;
    bring(&ranks[0], true);
    expect_wait("rank 1 on two, whose runner has not come yet");
    bring(&ranks[1], true);
    ranks[0].status = RANK_JOINED;
    expect_wait("rank 1 on two, which has not joined the others yet");
    ranks[1].status = RANK_LOADED;
    ranks[0].status = RANK_LOADING;
    expect_wait("rank 0 on one, which is loading");
    ranks[0].status = RANK_READY;
    expect_wait("rank 1 on two, which computes a first step");
    instance->status = INSTANCE_READY;
    expect_wait("");
}
END_TEST

START_TEST(names_a_node_that_is_away_before_all)
{
    begin();
    stage.state.nodes.items[1].in_view = false;
    expect_wait("rank 1 on two, whose node is away");
}
END_TEST

START_TEST(gives_the_reason_of_the_last_end_while_it_waits_to_start_again)
{
    struct instance_record *instance = begin();
    stage_fail(&generation_one, 5000);
    instance = stage_instance();
    ck_assert(text_set(&instance->last_reason, "rank 1 on two: gone"));
    expect_wait("another start, after: rank 1 on two: gone");
    instance->status = INSTANCE_FAILED;
    expect_wait("");
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("instance wait");
    const TTest *const tests[] = {names_who_has_not_come_in_the_order_of_a_start,
                                  names_a_node_that_is_away_before_all,
                                  gives_the_reason_of_the_last_end_while_it_waits_to_start_again};
    stage_suite_add(suite, "instance wait", tests, COUNT_OF(tests));
    return suite;
}
