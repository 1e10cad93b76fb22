/* SPDX-License-Identifier: Apache-2.0 */
/* The deadline by bytes of a source of weights. */
#include "actors/runner/weight_pace.h"

#include "protocol/assert.h"
#include "tests/support/check_main.h"

#define MIB ((uint64_t)1 << 20)

/* When it ends, with `size` bytes through each `period_ms`, looked at each 10 ms; 0: not within a
 * minute. */
static uint64_t end_of(uint64_t rate, uint64_t grain, uint64_t size, uint64_t period_ms)
{
    struct weight_pace pace;
    weight_pace_begin(&pace, rate, grain, 5000);
    for (uint64_t ms = 10; ms <= 60000; ms += 10)
        if (!weight_pace_holds(&pace, ms / period_ms * size, 5000 + ms))
            return ms;
    return 0;
}

START_TEST(a_source_that_sends_nothing_ends_within_the_window)
{
    const uint64_t end = end_of(MIB, MIB, 0, 1000);
    ck_assert_msg(end >= 2900 && end <= 3500, "after %llu ms", (unsigned long long)end);
}
END_TEST

START_TEST(a_trickle_of_one_batch_just_within_the_window_ends)
{
    const uint64_t end = end_of(MIB, MIB, MIB, 2900);
    ck_assert_msg(end >= 2900 && end <= 4500, "after %llu ms", (unsigned long long)end);
}
END_TEST

START_TEST(a_source_at_the_rate_goes_on_whatever_its_batches)
{
    for (uint64_t grain = MIB / 16; grain <= 64 * MIB; grain *= 2)
        ck_assert_uint_eq(end_of(MIB, grain, grain, grain * 1000 / MIB), 0);
}
END_TEST

START_TEST(a_source_at_half_the_rate_ends_whatever_its_batches)
{
    for (uint64_t grain = MIB / 16; grain <= 4 * MIB; grain *= 2)
        ck_assert_uint_ne(end_of(MIB, grain, grain, grain * 2000 / MIB + 200), 0);
}
END_TEST

START_TEST(a_stall_after_much_ends_within_the_window)
{
    struct weight_pace pace;
    uint64_t ms = 0;
    weight_pace_begin(&pace, MIB, MIB, 0);
    for (; ms <= 20000; ms += 50)
        ck_assert(weight_pace_holds(&pace, ms * 1000 * 1000, ms));
    const uint64_t stalled_ms = ms;
    while (weight_pace_holds(&pace, 20000u * 1000 * 1000, ms) && ms < 60000)
        ms += 50;
    ck_assert_uint_le(ms - stalled_ms, 3500);
    ck_assert_uint_ge(ms - stalled_ms, 2500);
}
END_TEST

START_TEST(a_thread_that_did_not_run_has_not_waited)
{
    struct weight_pace pace;
    weight_pace_begin(&pace, MIB, MIB, 0);
    ck_assert(weight_pace_holds(&pace, 0, 60000));
    ck_assert(weight_pace_holds(&pace, 0, 120000));
    ck_assert_uint_eq(weight_pace_time(&pace), 2 * PACE_LOOK_MAX_MS);
    ck_assert(weight_pace_holds(&pace, 0, 100)); /* nor one whose clock went back */
}
END_TEST

START_TEST(without_a_rate_nothing_ends)
{
    ck_assert_uint_eq(end_of(0, MIB, 0, 1000), 0);
}
END_TEST

Suite *suite_of_tests(void)
{
    const TTest *const tests[] = {
        a_source_that_sends_nothing_ends_within_the_window,
        a_trickle_of_one_batch_just_within_the_window_ends,
        a_source_at_the_rate_goes_on_whatever_its_batches,
        a_source_at_half_the_rate_ends_whatever_its_batches,
        a_stall_after_much_ends_within_the_window,
        a_thread_that_did_not_run_has_not_waited,
        without_a_rate_nothing_ends,
    };
    Suite *suite = suite_create("weight_pace");
    suite_add(suite, "weight_pace", tests, COUNT_OF(tests));
    return suite;
}
