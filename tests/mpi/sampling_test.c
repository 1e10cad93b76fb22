/* SPDX-License-Identifier: Apache-2.0 */
/* Ranks over MPI draw the tokens of one rank from the rows that each has, whatever the sampling. */
#include "protocol/assert.h"
#include "tests/mpi/run_world.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <stdio.h>

static void expect_same(int ranks)
{
    struct scratch scratch;
    char directory[512];
    char program[2048];
    char text[4096];
    scratch_open(&scratch);
    (void)snprintf(program, sizeof(program), "./decode_rank %s %d 16 6 %s same",
                   source_path("scripts/demo-model/model", directory), ranks, scratch.path);
    const int code = run_world(&scratch, "", ranks, program, text, sizeof(text));
    scratch_close(&scratch);
    ck_assert_str_eq(text, "");
    ck_assert_int_eq(code, 0);
}

START_TEST(two_ranks_draw_the_tokens_of_one)
{
    expect_same(2);
}
END_TEST

START_TEST(three_ranks_draw_the_tokens_of_one)
{
    expect_same(3);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("sampling over MPI");
    const TTest *const tests[] = {two_ranks_draw_the_tokens_of_one,
                                  three_ranks_draw_the_tokens_of_one};
    suite_add(suite, "sampling", tests, COUNT_OF(tests));
    return suite;
}
