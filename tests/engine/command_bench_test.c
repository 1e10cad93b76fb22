/* SPDX-License-Identifier: Apache-2.0 */
/* troupe-engine shape, bench and measure: each kind of shape is made, opened and measured, and what
 * the profile says of a figure adds up. */
#include "tests/support/check_main.h"
#include "tests/support/run_program.h"
#include "tests/support/scratch.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

/* Runs troupe-engine with arguments in which "@" stands for the scratch directory's model. */
static int run_engine(const struct scratch *scratch, const char *command, const char *more)
{
    const char *build = getenv("TROUPE_BUILD_DIR");
    char line[2048];
    char said[1024];
    ck_assert_ptr_nonnull(build);
    snprintf(line, sizeof(line), "exec '%s/actors/runner/engine/troupe-engine' %s '%s/model' %s > "
             "'%s/output'", build, command, scratch->path, more, scratch->path);
    const char *const arguments[] = {"/bin/sh", "-c", line, NULL};
    int code = run_program(arguments, said, sizeof(said));
    ck_assert_msg(code == 0 || code == 2, "%s %s: %s", command, more, said);
    return code;
}

static void check_rows(const json_t *root, const char *name, size_t count)
{
    const json_t *rows = json_object_get(root, name);
    ck_assert_uint_eq(json_array_size(rows), count);
    for (size_t i = 0; i < count; i++) {
        const json_t *row = json_array_get(rows, i);
        const json_t *kinds = json_object_get(json_object_get(row, "profile"), "kinds");
        double shares = 0.0;
        ck_assert(json_real_value(json_object_get(row, "tokens_per_second")) > 0.0);
        for (size_t k = 0; k < json_array_size(kinds); k++)
            shares += json_real_value(json_object_get(json_array_get(kinds, k), "share"));
        ck_assert_msg(shares > 0.98 && shares < 1.02, "%s: shares add up to %g", name, shares);
    }
}

/* loop index: which shape */
START_TEST(shapes_are_made_and_measured)
{
    static const char *const shapes[] = {"qwen3-tiny", "llama-tiny", "qwen3.5-tiny",
                                         "qwen3-moe-tiny"};
    struct scratch scratch;
    char path[256];
    char more[128];
    scratch_open(&scratch);
    snprintf(more, sizeof(more), "--like %s", shapes[_i]);
    ck_assert_int_eq(run_engine(&scratch, "shape --out", more), 0);
    ck_assert_int_eq(run_engine(&scratch, "bench --json --profile --model",
                                "--prompt 8,20 --context 8 --batch 1,3 --decode 2 --threads 2"),
                     0);
    json_t *root = json_load_file(scratch_path(&scratch, "output", path), 0, NULL);
    ck_assert_ptr_nonnull(root);
    check_rows(root, "prompts", 2);
    check_rows(root, "decodes", 1);
    check_rows(root, "batches", 2);
    ck_assert(json_real_value(json_object_get(root, "load_seconds")) > 0.0);
    ck_assert(json_integer_value(json_object_get(root, "bytes_per_token")) > 0);
    json_decref(root);
    scratch_close(&scratch);
}
END_TEST

START_TEST(lists_that_are_none_are_refused)
{
    static const char *const wrong[] = {"--prompt 1,,2", "--prompt 1,", "--batch 0", "--batch 65",
                                        "--context 1,2,3,4,5,6,7,8,9", "--prompt ''", "--decode x"};
    struct scratch scratch;
    scratch_open(&scratch);
    ck_assert_int_eq(run_engine(&scratch, "bench --model", wrong[_i]), 2);
    scratch_close(&scratch);
}
END_TEST

/* Before anything is measured. */
START_TEST(what_cannot_be_measured_is_refused)
{
    static const char *const wrong[] = {"--bits 2", "--bits 5", "--bits 32", "--turns 0",
                                        "--turns 7"};
    struct scratch scratch;
    scratch_open(&scratch);
    ck_assert_int_eq(run_engine(&scratch, "measure --out", wrong[_i]), 2);
    scratch_close(&scratch);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("engine-command-bench");
    TCase *tcase = tcase_create("commands");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, shapes_are_made_and_measured, 0, 4);
    tcase_add_loop_test(tcase, lists_that_are_none_are_refused, 0, 7);
    tcase_add_loop_test(tcase, what_cannot_be_measured_is_refused, 0, 5);
    suite_add_tcase(suite, tcase);
    return suite;
}
