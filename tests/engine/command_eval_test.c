/* SPDX-License-Identifier: Apache-2.0 */
/* troupe-engine eval and loss as a user calls them: what they answer, what they refuse and how. */
#include "protocol/memory.h"
#include "tests/support/check_main.h"
#include "tests/support/run_program.h"
#include "tests/support/scratch.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OUTPUT_SIZE ((size_t)1 << 20)
#define EXPERTS "tests/engine/models/qwen3_moe-slim__affine4-g32"
#define LATENT "tests/engine/models/deepseek_v3-slim__affine4-g32"
#define DEMO "scripts/demo-model/model"

/* Runs it on a model of the repository with `input` before it; returns the exit code. */
static int run_engine(const char *before, const char *command, const char *model,
                      const char *options, char *text_out)
{
    char line[2048];
    char path[512];
    const char *build = getenv("TROUPE_BUILD_DIR");
    ck_assert_ptr_nonnull(build);
    (void)snprintf(line, sizeof line,
                   "%s '%s/actors/runner/engine/troupe-engine' %s --model '%s' %s", before, build,
                   command, source_path(model, path), options);
    const char *const arguments[] = {"/bin/sh", "-c", line, NULL};
    return run_program(arguments, text_out, OUTPUT_SIZE);
}

static json_t *answer_of(const char *before, const char *command, const char *model,
                         const char *options)
{
    char *text = memory_zeroed(OUTPUT_SIZE, 1);
    int code = run_engine(before, command, model, options, text);
    json_t *answer = json_loads(text, 0, NULL);
    ck_assert_msg(code == 0 && answer, "%s", text);
    memory_free(text);
    return answer;
}

START_TEST(each_rank_has_its_kernels_and_chooses_the_same_experts)
{
    json_t *answer = answer_of("", "eval", EXPERTS,
                               "--json --experts --hidden --greedy 3 --ids 5,6,7,8 "
                               "--sharding tensor --ranks 2 --kernels portable,best");
    const json_t *experts = json_object_get(answer, "experts");
    const json_t *first = json_array_get(experts, 0);
    ck_assert_str_eq(
        json_string_value(json_array_get(json_object_get(answer, "kernels"), 0)), "portable");
    ck_assert_uint_eq(json_array_size(experts), 2);
    ck_assert_uint_ge(json_array_size(first), 6);
    ck_assert(json_equal(first, json_array_get(experts, 1)));
    /* A layer, then as many experts as the model uses. */
    ck_assert_uint_ge(json_array_size(json_array_get(first, 0)), 3);
    ck_assert_uint_eq(json_array_size(json_object_get(answer, "greedy")), 3);
    json_decref(answer);
}
END_TEST

START_TEST(a_pipeline_shows_the_hidden_state_after_every_layer)
{
    json_t *one = answer_of("", "eval", LATENT, "--json --hidden --greedy 2 --ids 9,8,7");
    json_t *two = answer_of("", "eval", LATENT,
                            "--json --hidden --greedy 2 --ids 9,8,7 --sharding pipeline --ranks 2");
    const json_t *hidden = json_object_get(one, "hidden");
    ck_assert_uint_gt(json_array_size(hidden), 1);
    ck_assert(json_equal(hidden, json_object_get(two, "hidden")));
    ck_assert(json_equal(json_object_get(one, "greedy"), json_object_get(two, "greedy")));
    json_decref(one);
    json_decref(two);
}
END_TEST

static double error_of(const char *options)
{
    json_t *answer = answer_of("", "eval", EXPERTS, options);
    double error = json_number_value(
        json_object_get(json_object_get(answer, "stated_error"), "error"));
    json_decref(answer);
    return error;
}

/* Fast mode has experts of its own, until they are held to those of exact mode. */
START_TEST(experts_may_be_held_to_those_of_exact_mode)
{
    static const char ids[] = "--json --experts --ids "
                              "9,8,7,6,5,4,3,2,1,9,8,7,6,5,4,3,2,1,9,8,7,6,5,4,3,2,1,9,8,7,6,5,4,3";
    static const char *const modes[] = {"", "--fast", "--fast --exact-experts --kv-cache bf16"};
    json_t *answers[COUNT_OF(modes)];
    for (size_t i = 0; i < COUNT_OF(modes); i++) {
        char options[256];
        (void)snprintf(options, sizeof options, "%s %s", ids, modes[i]);
        answers[i] = answer_of("", "eval", EXPERTS, options);
    }
    const json_t *exact = json_object_get(answers[0], "experts");
    ck_assert(json_equal(exact, json_object_get(answers[2], "experts")));
    ck_assert(
        !json_equal(json_object_get(answers[0], "top5"), json_object_get(answers[2], "top5")));
    for (size_t i = 0; i < COUNT_OF(modes); i++)
        json_decref(answers[i]);
}
END_TEST

START_TEST(the_error_of_a_mode_is_stated)
{
    double exact = error_of("--json --ids 1");
    double fast = error_of("--json --ids 1 --fast");
    ck_assert(exact > 0.0 && exact < 0.001);
    ck_assert(fast > 0.05 && fast < 1.0);
}
END_TEST

START_TEST(what_cannot_be_done_is_refused_in_a_sentence)
{
    static const struct {
        const char *before;
        const char *command;
        const char *options;
        const char *says;
    } rows[] = {
        {"TROUPE_KERNELS=abacus", "eval", "--ids 1", "abacus, which do not exist; this CPU runs"},
        {"TROUPE_KERNELS=abacus", "bench", "", "portable"},
        {"", "bench", "--kernels abacus", "abacus, which do not exist; this CPU runs"},
        {"", "eval", "--ids 1 --kernels abacus", "abacus, which do not exist; this CPU runs"},
        {"", "eval", "--ids 1 --kernels portable,best", "one for each rank"},
        {"", "eval", "--ids 1 --kernels portable,", "--kernels takes names"},
        {"", "eval", "--ids 1 --sharding tensor --ranks 2 --exact-experts", "for one rank"},
        {"", "eval", "--ids 1 --ranks 2", "--sharding pipeline, tensor or"},
        {"", "eval", "--ids 1 --sharding pipeline-tensor --ranks 3", "belong together"},
        {"", "eval", "--ids 1 --sharding tensor --stages 2,1", "belong together"},
        {"", "eval", "--ids 1 --sharding pipeline-tensor --stages 2,0", "like 2,1"},
        {"", "eval", "--ids 1 --sharding pipeline-tensor --stages 3", "a pipeline has 2 to"},
        {"", "eval", "--ids 1 --sharding pipeline-tensor --stages 2,1 --ranks 2", "together as"},
        {"", "eval", "--ids 1 --sharding pipelines", "none, pipeline, tensor or pipeline-tensor"},
        {"", "eval", "--ids 1 --sharding pipeline --ranks 60", "layers"},
        {"", "eval", "--ids 1 --sharding tensor --ranks 65", "from 1 to 64, not 65"},
        {"", "eval", "--ids 1 --sharding tensor --shares 0,1", "--shares takes numbers above 0"},
        {"", "eval", "--ids 1 --sharding tensor --ranks 0", "from 1 to 64, not 0"},
        {"", "eval", "--ids 1 --sharding tensor --ranks 3 --shares 1,1", "for each of --ranks"},
        {"", "eval", "--ids 1,99999999", "99999999"},
        {"echo '[1, 99999999]' |", "loss", "", "text 1 of the input: id 1"},
        {"echo '[1, 2] {\"ids\": [1, 2], \"mask\": [1]}' |", "loss", "", "text 2 of the input"},
        {"echo '[1, 2' |", "loss", "", "not a JSON list or object"},
        {"echo '[1]' |", "loss", "", "no token of the input counts"},
        {"echo |", "loss", "", "no token of the input counts"},
        {"echo '[1, 2]' |", "loss", "--nonsense", "--nonsense"},
    };
    char *text = memory_zeroed(OUTPUT_SIZE, 1);
    for (size_t row = 0; row < COUNT_OF(rows); row++) {
        int code = run_engine(rows[row].before, rows[row].command, EXPERTS, rows[row].options,
                              text);
        ck_assert_msg(code == 1 || code == 2, "row %zu ended with %d: %s", row, code, text);
        ck_assert_msg(strstr(text, rows[row].says) != NULL, "row %zu: %s", row, text);
    }
    memory_free(text);
}
END_TEST

/* The loss of one token is what eval's logits say it is; the mask and the ids before it count. */
START_TEST(the_loss_is_that_of_the_logits)
{
    json_t *answer = answer_of("", "eval", DEMO, "--json --logits --ids 40,41,42");
    json_t *loss = answer_of("echo '{\"ids\": [40, 41, 42, 43], \"mask\": [1, 0, 0, 1]}' |", "loss",
                             DEMO, "--json");
    const json_t *logits = json_object_get(answer, "logits");
    double total = 0.0;
    for (size_t i = 0; i < json_array_size(logits); i++)
        total += exp(json_number_value(json_array_get(logits, i)));
    double expected = log(total) - json_number_value(json_array_get(logits, 43));
    ck_assert_int_eq((int)json_integer_value(json_object_get(loss, "tokens")), 1);
    ck_assert_double_eq_tol(json_number_value(json_object_get(loss, "loss")), expected, 1e-4);
    json_decref(loss);
    json_decref(answer);
    loss = answer_of("echo '[40, 41, 42, 43] [44, 45]' |", "loss", DEMO, "--json --fast");
    ck_assert_int_eq((int)json_integer_value(json_object_get(loss, "tokens")), 4);
    ck_assert_int_eq((int)json_integer_value(json_object_get(loss, "texts")), 2);
    json_decref(loss);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("troupe-engine eval and loss");
    const TTest *const tests[] = {each_rank_has_its_kernels_and_chooses_the_same_experts,
                                  a_pipeline_shows_the_hidden_state_after_every_layer,
                                  experts_may_be_held_to_those_of_exact_mode,
                                  the_error_of_a_mode_is_stated,
                                  what_cannot_be_done_is_refused_in_a_sentence,
                                  the_loss_is_that_of_the_logits};
    suite_add(suite, "commands", tests, COUNT_OF(tests));
    return suite;
}
