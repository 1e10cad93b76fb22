/* SPDX-License-Identifier: Apache-2.0 */
/* troupe-engine tokenize and detokenize as a user calls them, from tokenizer files alone. */
#include "protocol/memory.h"
#include "tests/support/check_main.h"
#include "tests/support/run_program.h"
#include "tests/support/scratch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Runs `troupe-engine COMMAND --model MODEL` with the scratch file `input` and returns its exit
 * code; what it wrote goes to the scratch file `output`. */
static int run_engine(const struct scratch *scratch, const char *command, const char *model,
                      char *text_out, size_t text_size)
{
    const char *build = getenv("TROUPE_BUILD_DIR");
    char line[2048];
    ck_assert_ptr_nonnull(build);
    snprintf(line, sizeof(line),
             "exec '%s/actors/runner/engine/troupe-engine' %s --model '%s' < '%s/input' > "
             "'%s/output'", build, command, model, scratch->path, scratch->path);
    const char *const arguments[] = {"/bin/sh", "-c", line, NULL};
    return run_program(arguments, text_out, text_size);
}

static void put_input(const struct scratch *scratch, const char *text)
{
    char path[256];
    file_put(scratch_path(scratch, "input", path), text, strlen(text));
}

static char *output(const struct scratch *scratch)
{
    char path[256];
    size_t size;
    return file_bytes(scratch_path(scratch, "output", path), &size);
}

START_TEST(strings_become_ids_and_strings_again)
{
    struct scratch scratch;
    char model[512];
    char said[512];
    scratch_open(&scratch);
    source_path("tests/golden/tokenizers/llama3", model);
    put_input(&scratch, "\"hello<|eot_id|>\"\n\"\"\n\"\\u0000 \\ud83d\\ude00\"\n");
    ck_assert_int_eq(run_engine(&scratch, "tokenize", model, said, sizeof(said)), 0);
    char *ids = output(&scratch);
    static const char first[] = "{\"ids\": [1544, 78, 2046]}\n{\"ids\": []}\n{\"ids\": [";
    ck_assert(strncmp(ids, first, strlen(first)) == 0);
    put_input(&scratch, ids);
    memory_free(ids);
    ck_assert_int_eq(run_engine(&scratch, "detokenize", model, said, sizeof(said)), 0);
    char *text = output(&scratch);
    ck_assert_str_eq(text, "\"hello<|eot_id|>\"\n\"\"\n\"\\u0000 \xf0\x9f\x98\x80\"\n");
    memory_free(text);
    put_input(&scratch, "\"hello\"\n");
    ck_assert_int_eq(run_engine(&scratch, "tokenize --post-process", model, said, sizeof(said)),
                     0);
    text = output(&scratch);
    ck_assert_str_eq(text, "{\"ids\": [2039, 1544, 78]}\n");
    memory_free(text);
    put_input(&scratch, "[2039, 64]\n");
    ck_assert_int_eq(run_engine(&scratch, "detokenize --skip-special", model, said,
                                sizeof(said)), 0);
    text = output(&scratch);
    ck_assert_str_eq(text, "\"a\"\n");
    memory_free(text);
    scratch_close(&scratch);
}
END_TEST

START_TEST(a_bad_line_is_named_and_ends_the_run)
{
    static const struct {
        const char *command;
        const char *input;
        const char *says;
    } rows[] = {
        {"tokenize", "\"ok\"\nnot json\n", "line 2 of the input"},
        {"tokenize", "[1]\n", "not a JSON string"},
        {"tokenize", "\"\\ud800\"\n", "not JSON in UTF-8"},
        {"detokenize", "{\"ids\": [1, 99999]}\n", "99999 is not defined"},
        {"detokenize", "{\"ids\": [-1]}\n", "not a token id"},
        {"detokenize", "\"text\"\n", "neither a list"},
    };
    struct scratch scratch;
    char model[512];
    scratch_open(&scratch);
    source_path("tests/golden/tokenizers/qwen", model);
    for (size_t row = 0; row < COUNT_OF(rows); row++) {
        char said[512];
        put_input(&scratch, rows[row].input);
        ck_assert_int_eq(
            run_engine(&scratch, rows[row].command, model, said, sizeof(said)), 1);
        ck_assert_msg(strstr(said, rows[row].says) != NULL, "%s", said);
    }
    scratch_close(&scratch);
}
END_TEST

START_TEST(wrong_arguments_and_a_directory_without_a_tokenizer)
{
    struct scratch scratch;
    char said[512];
    scratch_open(&scratch);
    put_input(&scratch, "\"a\"\n");
    ck_assert_int_eq(run_engine(&scratch, "tokenize", scratch.path, said, sizeof(said)), 1);
    ck_assert_ptr_nonnull(strstr(said, "holds no tokenizer"));
    ck_assert_int_eq(run_engine(&scratch, "tokenize --nonsense", scratch.path, said,
                                sizeof(said)), 2);
    scratch_close(&scratch);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("troupe-engine tokenize");
    const TTest *const tests[] = {strings_become_ids_and_strings_again,
                                  a_bad_line_is_named_and_ends_the_run,
                                  wrong_arguments_and_a_directory_without_a_tokenizer};
    suite_add(suite, "tokenize", tests, COUNT_OF(tests));
    return suite;
}
