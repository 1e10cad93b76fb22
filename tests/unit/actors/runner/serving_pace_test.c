/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/serving_pace.h"

#include "tests/support/check_main.h"

#include <string.h>

static struct serving_pace pace;

static void setup(void)
{
    memset(&pace, 0, sizeof(pace));
}

START_TEST(the_first_token_is_timed_from_the_question)
{
    serving_pace_ask(&pace, 5, 1000000, 40, true);
    ck_assert_double_eq(pace.first_token_s, 0);
    ck_assert(serving_pace_token(&pace, 5, 1750000));
    ck_assert_double_eq_tol(pace.first_token_s, 0.75, 1e-9);
    ck_assert_uint_eq(pace.prompt_tokens, 40);
    ck_assert_double_eq(serving_pace_tokens_per_s(&pace), 0);
}
END_TEST

START_TEST(the_rate_is_the_median_of_what_tokens_took)
{
    uint64_t now_us = 1000000;
    serving_pace_ask(&pace, 5, now_us, 40, true);
    for (unsigned i = 0; i < 2 * SERVING_PACE_TOKENS; i++) {
        now_us += i % 5 == 4 ? 900000 : 20000; /* the machine did something else */
        ck_assert(serving_pace_token(&pace, 5, now_us));
    }
    ck_assert_double_eq_tol(serving_pace_tokens_per_s(&pace), 50, 1e-6);
    for (unsigned i = 0; i < SERVING_PACE_TOKENS; i++)
        (void)serving_pace_token(&pace, 5, now_us += 40000);
    ck_assert_double_eq_tol(serving_pace_tokens_per_s(&pace), 25, 1e-6); /* the last ones count */
}
END_TEST

START_TEST(few_tokens_say_nothing)
{
    uint64_t now_us = 1000000;
    serving_pace_ask(&pace, 5, now_us, 40, true);
    for (unsigned i = 0; i < SERVING_PACE_TOKENS_LEAST; i++)
        (void)serving_pace_token(&pace, 5, now_us += 10000);
    ck_assert_double_eq(serving_pace_tokens_per_s(&pace), 0); /* one of them was the first */
    (void)serving_pace_token(&pace, 5, now_us += 10000);
    ck_assert_double_eq_tol(serving_pace_tokens_per_s(&pace), 100, 1e-6);
}
END_TEST

START_TEST(while_several_are_answered_nothing_counts)
{
    serving_pace_ask(&pace, 5, 1000000, 40, true);
    (void)serving_pace_token(&pace, 5, 1100000);
    serving_pace_ask(&pace, 6, 1150000, 40, false);
    ck_assert(!serving_pace_token(&pace, 5, 1200000));
    ck_assert(!serving_pace_token(&pace, 6, 1300000));
    ck_assert(!serving_pace_token(&pace, 5, 1400000)); /* alone again, but who knows since when */
    ck_assert_double_eq_tol(pace.first_token_s, 0.1, 1e-9);
    ck_assert_uint_eq(pace.token_count, 0);
    serving_pace_ask(&pace, 7, 2000000, 10, true);
    ck_assert(serving_pace_token(&pace, 7, 2300000));
    ck_assert_double_eq_tol(pace.first_token_s, 0.3, 1e-9);
    ck_assert_uint_eq(pace.prompt_tokens, 10);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("serving pace");
    const TTest *const tests[] = {the_first_token_is_timed_from_the_question,
                                  the_rate_is_the_median_of_what_tokens_took,
                                  few_tokens_say_nothing,
                                  while_several_are_answered_nothing_counts};
    TCase *group = tcase_create("paces");
    tcase_add_checked_fixture(group, setup, NULL);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(group, tests[i]);
    suite_add_tcase(suite, group);
    return suite;
}
