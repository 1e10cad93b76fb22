/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream whose runner is lost at any moment, again and again, is whole in the end.
 */
#include "tests/support/check_main.h"
#include "tests/support/seeded.h"
#include "tests/unit/gateway/stage.h"

#include <stdio.h>
#include <string.h>

/* The answer a runner would give, cut at any token, with any overlap, text held back at will. */
static void run_to_a_cut(struct seeded *seeded, const char *answer, uint32_t *told)
{
    uint32_t length = (uint32_t)strlen(answer);
    uint32_t number = *told > 0 ? (uint32_t)seeded_below(seeded, *told + 1) : 0;
    uint32_t cut = number + (uint32_t)seeded_below(seeded, 2 * (length - number) + 2);
    /* A runner goes on with the text after what the gateway has, held back before or not. */
    uint32_t start = number < asked()->sent_text ? number : (uint32_t)asked()->sent_text;
    for (; number < length && number < cut; number++) {
        bool holds_back = number + 1 < length && seeded_below(seeded, 3) == 0;
        char piece[64] = "";
        if (!holds_back) {
            (void)snprintf(piece, sizeof(piece), "%.*s", (int)(number + 1 - start), answer + start);
            start = number + 1;
        }
        token(RUNNER, number, piece, start);
        if (number + 1 > *told)
            *told = number + 1;
    }
    if (cut > length)
        finish(RUNNER, FINISH_STOP, "", length);
}

START_TEST(repeats_and_loses_nothing_wherever_it_is_cut)
{
    static const char answer[] = "the quick brown fox jumps over it";
    struct seeded seeded = seeded_open(20261121);
    for (int round = 0; round < 300; round++) {
        open_ready();
        chat(1, ",\"stream\":true,\"stream_options\":{\"include_usage\":true}");
        uint32_t told = 0;
        for (uint64_t attempt = 1; !clients[1].is_ended; attempt++) {
            ck_assert_uint_lt(attempt, 31);
            accept_chat(RUNNER);
            run_to_a_cut(&seeded, answer, &told);
            if (clients[1].is_ended)
                break;
            step_kind(INPUT_LINK_DOWN, RUNNER);
            pass_ms(seeded_below(&seeded, 3000));
            clear_sent();
            if (seeded_below(&seeded, 2))
                next_generation(attempt + 1);
            else
                step_kind(INPUT_LINK_UP, RUNNER);
        }
        struct reading *reading = read_stream(1);
        ck_assert_str_eq(reading->text, answer);
        ck_assert_int_eq(reading->completion_tokens, (int)strlen(answer));
        close_gateway();
    }
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("gateway resume");
    const TTest *const tests[] = {repeats_and_loses_nothing_wherever_it_is_cut};
    suite_add(suite, "resume", tests, COUNT_OF(tests));
    return suite;
}
