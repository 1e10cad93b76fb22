/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/transferer/pace.h"

#include "protocol/assert.h"
#include "tests/support/check_main.h"

#define SECOND ((uint64_t)1000000)

/* Work in pieces of `piece_us` of processor time by as many threads, each of which asks before each
 * of its pieces; how much is spent in `for_us`. */
static uint64_t spent_in(struct pace *pace, uint64_t threads, uint64_t piece_us, uint64_t for_us)
{
    uint64_t now_us = 7 * SECOND;
    uint64_t spent_us = 3 * SECOND;
    while (now_us < 7 * SECOND + for_us) {
        const uint64_t rest_ms = pace_rest_ms(pace, true, now_us, spent_us);
        ck_assert_uint_le(rest_ms, PACE_REST_MS_MAX);
        now_us += rest_ms > 0 ? rest_ms * 1000 : piece_us;
        spent_us += rest_ms > 0 ? 0 : threads * piece_us;
    }
    return spent_us - 3 * SECOND;
}

START_TEST(without_a_generation_there_is_no_limit)
{
    struct pace pace = {.is_limited = false};
    for (uint64_t i = 0; i < 100; i++)
        ck_assert_uint_eq(pace_rest_ms(&pace, false, i, i * SECOND), 0);
}
END_TEST

START_TEST(beside_a_generation_a_share_of_one_core_is_spent)
{
    static const uint64_t pieces_us[] = {50, 300, 500};
    for (size_t i = 0; i < COUNT_OF(pieces_us); i++)
        for (uint64_t threads = 1; threads <= 8; threads *= 2) {
            struct pace pace = {.is_limited = false};
            const uint64_t spent_us = spent_in(&pace, threads, pieces_us[i], 60 * SECOND);
            const double share = (double)spent_us / (double)(60 * SECOND);
            ck_assert_msg(share < 1.02 * PACE_SHARE + 0.001 && share > 0.9 * PACE_SHARE,
                          "%u threads with pieces of %u us take %.4f of a core",
                          (unsigned)threads, (unsigned)pieces_us[i], share);
        }
}
END_TEST

START_TEST(what_was_spent_before_it_began_does_not_count)
{
    struct pace pace = {.is_limited = false};
    ck_assert_uint_eq(pace_rest_ms(&pace, false, 5 * SECOND, 4 * SECOND), 0);
    ck_assert_uint_eq(pace_rest_ms(&pace, true, 6 * SECOND, 5 * SECOND), 0);
    ck_assert_uint_gt(pace_rest_ms(&pace, true, 6 * SECOND + 1000, 5 * SECOND + 5000), 0);
    /* It ends, and all may work again; another one begins anew. */
    ck_assert_uint_eq(pace_rest_ms(&pace, false, 6 * SECOND + 2000, 5 * SECOND + 5000), 0);
    ck_assert_uint_eq(pace_rest_ms(&pace, true, 9 * SECOND, 8 * SECOND), 0);
}
END_TEST

START_TEST(what_was_not_spent_is_not_saved_up)
{
    struct pace pace = {.is_limited = false};
    ck_assert_uint_eq(pace_rest_ms(&pace, true, SECOND, 0), 0);
    ck_assert_uint_eq(pace_rest_ms(&pace, true, 100 * SECOND, 10), 0);
    /* A hundred idle seconds are worth no more than the slack. */
    ck_assert_uint_gt(pace_rest_ms(&pace, true, 100 * SECOND, 10 + 3 * PACE_SLACK_US), 0);
}
END_TEST

/* How long it rests after so much was spent at once. */
static uint64_t rest_after(uint64_t dear_us)
{
    struct pace pace = {.is_limited = false};
    uint64_t now_us = SECOND;
    uint64_t rest_ms;
    ck_assert_uint_eq(pace_rest_ms(&pace, true, now_us, 0), 0);
    while ((rest_ms = pace_rest_ms(&pace, true, now_us, dear_us)) > 0)
        now_us += rest_ms * 1000;
    return now_us - SECOND;
}

START_TEST(what_was_spent_is_worked_off)
{
    const double due_us = (7000.0 - PACE_SLACK_US) / PACE_SHARE;
    ck_assert_uint_ge(rest_after(7000), (uint64_t)due_us);
    ck_assert_uint_le(rest_after(7000), (uint64_t)due_us + 1001);
}
END_TEST

START_TEST(whatever_else_is_spent_a_piece_comes_now_and_then)
{
    ck_assert_uint_eq(rest_after(300000), PACE_REST_MS_MAX * 1000);
    ck_assert_uint_eq(rest_after(60 * SECOND), PACE_REST_MS_MAX * 1000);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("pace");
    const TTest *const tests[] = {
        without_a_generation_there_is_no_limit,
        beside_a_generation_a_share_of_one_core_is_spent,
        what_was_spent_before_it_began_does_not_count,
        what_was_not_spent_is_not_saved_up,
        what_was_spent_is_worked_off,
        whatever_else_is_spent_a_piece_comes_now_and_then,
    };
    suite_add(suite, "pace", tests, COUNT_OF(tests));
    return suite;
}
