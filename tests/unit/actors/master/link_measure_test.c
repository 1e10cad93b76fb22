/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/link_measure.h"

#include "protocol/memory.h"
#include "tests/support/check_main.h"

#include <string.h>

/* A link of that latency and rate, on a clock of its own. */
struct line {
    struct link_measure measure;
    uint64_t now_us;
    uint64_t latency_us;
    uint64_t bytes_per_s;
    uint64_t number;
    uint64_t carried;    /* bytes of loads */
    uint64_t longest_us; /* that one load took */
};

static struct line line_of(uint64_t latency_us, uint64_t bytes_per_s)
{
    struct line line = {.now_us = 1000000, .latency_us = latency_us, .bytes_per_s = bytes_per_s};
    const struct node_id node = {.bytes = {7}};
    link_measure_begin(&line.measure, &node, line.now_us / 1000);
    return line;
}

/* Asks and answers, and again while a burst goes on. */
static void turn(struct line *line, bool may_burst)
{
    bool is_more = true;
    while (is_more) {
        const uint32_t load = link_measure_ask(&line->measure, ++line->number,
                                               line->now_us / 1000, line->now_us, may_burst);
        const uint64_t took_us = (uint64_t)load * 1000000u / line->bytes_per_s;
        line->carried += load;
        line->longest_us = took_us > line->longest_us ? took_us : line->longest_us;
        line->now_us += line->latency_us + took_us;
        const struct echo_told told = {.number = line->number, .size = load};
        is_more = link_measure_told(&line->measure, &told, line->now_us / 1000, line->now_us);
    }
}

static void run(struct line *line, uint64_t seconds, bool may_burst)
{
    for (uint64_t i = 0; i < seconds; i += LINK_TURN_MS / 1000) {
        turn(line, may_burst);
        line->now_us += LINK_TURN_MS * 1000u;
    }
}

static struct link_measured told_of(const struct line *line)
{
    struct link_measured told;
    memset(&told, 0, sizeof(told));
    (void)link_measure_tell(&line->measure, line->now_us / 1000, &told);
    return told;
}

START_TEST(latency_is_told_after_the_first_answer_and_follows_within_two_turns)
{
    struct line line = line_of(300, 125000000);
    ck_assert(!told_of(&line).reaches);
    turn(&line, false);
    ck_assert(told_of(&line).reaches);
    ck_assert_uint_eq(told_of(&line).latency_us, 300);
    line.latency_us = 50000;
    turn(&line, false);
    ck_assert_uint_eq(told_of(&line).latency_us, 300); /* one slow answer says little */
    turn(&line, false);
    ck_assert_uint_eq(told_of(&line).latency_us, 50000);
}
END_TEST

START_TEST(rates_from_a_megabit_to_ten_gigabits_are_measured_and_no_load_is_long)
{
    static const uint64_t rates[] = {125000, 1250000, 12500000, 125000000, 312500000, 900000000};
    for (size_t i = 0; i < COUNT_OF(rates); i++) {
        struct line line = line_of(200, rates[i]);
        run(&line, 30, true);
        const uint64_t got = told_of(&line).bytes_per_s;
        ck_assert_msg(got > rates[i] * 9 / 10 && got < rates[i] * 11 / 10, "%llu of %llu",
                      (unsigned long long)got, (unsigned long long)rates[i]);
        ck_assert_uint_le(line.longest_us, 140000);
        ck_assert_uint_eq(told_of(&line).latency_us, 200);
    }
}
END_TEST

START_TEST(a_burst_comes_once_a_minute_and_never_while_the_link_is_needed)
{
    struct line line = line_of(200, 125000000);
    run(&line, 600, false);
    ck_assert_uint_eq(line.carried, 0);
    ck_assert_uint_eq(told_of(&line).bytes_per_s, 0);
    run(&line, 300, true);
    ck_assert_uint_gt(told_of(&line).bytes_per_s, 0);
    ck_assert_uint_le(line.carried, 7u * 3u * LINK_LOAD_MAX);
    const uint64_t before = line.carried;
    run(&line, 120, false);
    ck_assert_uint_eq(line.carried, before);
    ck_assert_uint_ge(told_of(&line).bytes_age_ms, 120000); /* told with its age */
}
END_TEST

START_TEST(one_slow_answer_makes_no_slow_link)
{
    struct line line = line_of(200, 125000000);
    run(&line, 10, false);
    /* The first load meets a busy processor. */
    const uint64_t now_ms = line.now_us / 1000;
    ck_assert_uint_eq(link_measure_ask(&line.measure, ++line.number, now_ms, line.now_us, true),
                      LINK_LOAD_MIN);
    line.now_us += 30000;
    const struct echo_told told = {.number = line.number, .size = LINK_LOAD_MIN};
    ck_assert(link_measure_told(&line.measure, &told, line.now_us / 1000, line.now_us));
    turn(&line, true);
    ck_assert_uint_gt(told_of(&line).bytes_per_s, 110000000);
}
END_TEST

START_TEST(a_link_that_became_slower_is_told_after_two_bursts)
{
    struct line line = line_of(200, 125000000);
    run(&line, 30, true);
    const uint64_t fast = told_of(&line).bytes_per_s;
    ck_assert_uint_gt(fast, 110000000);
    line.bytes_per_s = 12500000;
    uint32_t bursts = 0;
    for (uint64_t carried = line.carried; bursts < 2 && line.now_us < 600u * 1000000u;) {
        ck_assert_uint_eq(told_of(&line).bytes_per_s, fast);
        turn(&line, true);
        bursts += line.carried > carried;
        carried = line.carried;
    }
    ck_assert_uint_eq(bursts, 2);
    ck_assert_uint_lt(told_of(&line).bytes_per_s, 14000000);
}
END_TEST

START_TEST(silence_is_told_after_two_turns)
{
    struct line line = line_of(200, 125000000);
    run(&line, 30, true);
    uint64_t now_ms = line.now_us / 1000;
    for (int i = 0; i < 3; i++) {
        now_ms += LINK_TURN_MS;
        (void)link_measure_ask(&line.measure, ++line.number, now_ms, now_ms * 1000, true);
        ck_assert(!line.measure.is_bursting); /* nothing heavy into silence */
    }
    struct link_measured told = {.address = NULL};
    ck_assert(link_measure_tell(&line.measure, now_ms, &told));
    ck_assert(!told.reaches);
    ck_assert_uint_eq(told.latency_us, 0);
    line.now_us = now_ms * 1000;
    turn(&line, false);
    ck_assert(told_of(&line).reaches);
    link_measure_lost(&line.measure, line.now_us / 1000);
    ck_assert(!told_of(&line).reaches);
}
END_TEST

START_TEST(a_node_that_comes_back_is_not_told_as_silent_before_it_was_asked)
{
    struct line line = line_of(200, 125000000);
    struct link_measured told = {.address = NULL};
    run(&line, 30, true);
    const uint64_t away_ms = line.now_us / 1000;
    link_measure_lost(&line.measure, away_ms);
    const uint64_t back_ms = away_ms + 2 * LINK_SILENT_MS;
    ck_assert(link_measure_tell(&line.measure, back_ms, &told) && !told.reaches);
    for (uint64_t ms = 0; ms <= LINK_SILENT_MS; ms += LINK_TURN_MS / 5) {
        if (ms % LINK_TURN_MS == 0) /* it goes on asking */
            ck_assert(link_measure_heard(&line.measure, back_ms + ms) == (ms == 0));
        ck_assert(link_measure_tell(&line.measure, back_ms + ms, &told) ==
                  (ms >= LINK_SILENT_MS));
    }
    ck_assert(!told.reaches); /* a way that works for it alone is told after all */
    /* One that answers is asked no less for it. */
    line.now_us = (back_ms + LINK_SILENT_MS) * 1000;
    turn(&line, false);
    (void)link_measure_heard(&line.measure, line.now_us / 1000 + LINK_AWAY_MS);
    ck_assert(told_of(&line).reaches);
}
END_TEST

START_TEST(a_node_that_had_no_time_to_answer_is_not_told_as_silent)
{
    struct line line = line_of(200, 125000000);
    struct link_measured told = {.address = NULL};
    const uint64_t begun_ms = line.now_us / 1000;
    ck_assert(!link_measure_tell(&line.measure, begun_ms, &told));
    ck_assert(!link_measure_tell(&line.measure, begun_ms + LINK_SILENT_MS - 1, &told));
    ck_assert(link_measure_tell(&line.measure, begun_ms + LINK_SILENT_MS, &told));
    ck_assert(!told.reaches);
    turn(&line, false);
    ck_assert(link_measure_tell(&line.measure, line.now_us / 1000, &told));
    /* It comes back within moments, or it is told. */
    line.now_us += 60000000;
    const uint64_t lost_ms = line.now_us / 1000;
    link_measure_lost(&line.measure, lost_ms);
    link_measure_lost(&line.measure, lost_ms + 5000);
    ck_assert(!link_measure_tell(&line.measure, lost_ms + LINK_SILENT_MS - 1, &told));
    ck_assert(link_measure_tell(&line.measure, lost_ms + LINK_SILENT_MS, &told));
    ck_assert(!told.reaches);
}
END_TEST

START_TEST(answers_of_another_number_or_size_are_not_ours)
{
    struct line line = line_of(200, 125000000);
    (void)link_measure_ask(&line.measure, 5, 1000, 1000000, false);
    const struct echo_told wrong[] = {{.number = 4}, {.number = 0}, {.number = 5, .size = 1}};
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        ck_assert(!link_measure_told(&line.measure, &wrong[i], 1001, 1001000));
    ck_assert(!told_of(&line).reaches);
    const struct echo_told right = {.number = 5};
    (void)link_measure_told(&line.measure, &right, 1001, 1000400);
    line.now_us = 1003000;
    ck_assert_uint_eq(told_of(&line).latency_us, 400);
    /* Said twice, it counts once. */
    (void)link_measure_told(&line.measure, &right, 1002, 1002000);
    ck_assert_uint_eq(told_of(&line).latency_us, 400);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("link_measure");
    const TTest *const tests[] = {
        latency_is_told_after_the_first_answer_and_follows_within_two_turns,
        rates_from_a_megabit_to_ten_gigabits_are_measured_and_no_load_is_long,
        a_burst_comes_once_a_minute_and_never_while_the_link_is_needed,
        one_slow_answer_makes_no_slow_link,
        a_link_that_became_slower_is_told_after_two_bursts,
        silence_is_told_after_two_turns,
        a_node_that_comes_back_is_not_told_as_silent_before_it_was_asked,
        a_node_that_had_no_time_to_answer_is_not_told_as_silent,
        answers_of_another_number_or_size_are_not_ours};
    suite_add(suite, "link_measure", tests, COUNT_OF(tests));
    return suite;
}
