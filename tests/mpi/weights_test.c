/* SPDX-License-Identifier: Apache-2.0 */
/* Weights go from the ranks that have the files to those that do not, and arrive as they were. */
#include "tests/mpi/run_world.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include "protocol/assert.h"

#include <stdio.h>
#include <string.h>

#define UNTIED "qwen3-untied__affine4-g64"
#define TIED "qwen3-tied__affine4-g64"
#define SHARDED "qwen3-untied__affine4-g64-sharded"
#define DENSE "qwen3-slim__f16"

static int run_weights(int ranks, const char *model, const char *arguments, char *text_out,
                       size_t text_size)
{
    struct scratch scratch;
    char path[512];
    char name[128];
    char program[1024];
    scratch_open(&scratch);
    (void)snprintf(name, sizeof(name), "tests/engine/models/%s", model);
    (void)snprintf(program, sizeof(program), "./weight_rank %s %s", source_path(name, path),
                   arguments);
    int code = run_world(&scratch, "", ranks, program, text_out, text_size);
    ck_assert_int_eq(count_entries(scratch.path, "launcher"), 0);
    scratch_close(&scratch);
    return code;
}

static void expect_whole(int ranks, const char *model, const char *arguments)
{
    char text[4096];
    int code = run_weights(ranks, model, arguments, text, sizeof(text));
    ck_assert_msg(code == 0, "%s %s: %s", model, arguments, text);
    ck_assert_str_eq(text, "");
}

START_TEST(a_pipeline_of_two_gets_its_layers)
{
    expect_whole(2, UNTIED, "pipeline 1,1 0");
    expect_whole(2, TIED, "pipeline 3,1 1");
}
END_TEST

START_TEST(a_tensor_cut_of_two_gets_its_rows_and_columns)
{
    expect_whole(2, UNTIED, "tensor 1,1 0");
    expect_whole(2, TIED, "tensor 3,1 1");
    expect_whole(2, DENSE, "tensor 1,1 0");
}
END_TEST

START_TEST(odd_batches_cut_through_slices)
{
    expect_whole(2, UNTIED, "tensor 1,1 0 1000");
    expect_whole(2, "qwen3-untied__affine3-g32", "pipeline 1,1 0 77777");
}
END_TEST

START_TEST(two_receivers_are_served_by_one_source)
{
    expect_whole(3, UNTIED, "pipeline 1,1,1 1 20000");
}
END_TEST

START_TEST(one_receiver_is_served_by_two_sources)
{
    expect_whole(3, SHARDED, "pipeline 2,1,1 0,2 20000");
    expect_whole(2, SHARDED, "tensor 1,1 1 20000");
}
END_TEST

START_TEST(ranks_that_have_the_files_send_nothing)
{
    expect_whole(2, UNTIED, "tensor 1,1 0,1");
}
END_TEST

START_TEST(a_damaged_batch_is_sent_once_more)
{
    char text[4096];
    ck_assert_int_eq(run_weights(2, UNTIED, "tensor 1,1 0 20000 once", text, sizeof(text)), 0);
    ck_assert_ptr_nonnull(strstr(text, "repeated 1"));
}
END_TEST

START_TEST(a_batch_damaged_twice_ends_the_load_with_the_tensors_name)
{
    char text[4096];
    ck_assert_int_eq(run_weights(2, UNTIED, "tensor 1,1 0 20000 twice", text, sizeof(text)), 1);
    ck_assert_ptr_nonnull(strstr(text, "the bytes of tensor "));
    ck_assert_ptr_nonnull(strstr(text, ".weight came damaged twice from rank 0 to rank 1"));
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("weights");
    const TTest *const tests[] = {a_pipeline_of_two_gets_its_layers,
                                  a_tensor_cut_of_two_gets_its_rows_and_columns,
                                  odd_batches_cut_through_slices,
                                  two_receivers_are_served_by_one_source,
                                  one_receiver_is_served_by_two_sources,
                                  ranks_that_have_the_files_send_nothing,
                                  a_damaged_batch_is_sent_once_more,
                                  a_batch_damaged_twice_ends_the_load_with_the_tensors_name};
    suite_add(suite, "weights", tests, COUNT_OF(tests));
    return suite;
}
