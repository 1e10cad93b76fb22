/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every family over MPI: two ranks, of which one gets its weights from the other, give the greedy
 * tokens of the reference in a pipeline and in a tensor cut.
 */
#include "protocol/assert.h"
#include "tests/engine/oracle.h"
#include "tests/mpi/run_world.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <stdio.h>
#include <string.h>

#define PROMPT 2u
#define TOKENS 16u

static const char *const names[] = {
    "deepseek_v3-slim__affine4-g32",
    "gemma3_text-slim__affine4-g32",
    "glm4_moe_lite-older__affine4-g32",
    "glm4_moe_lite-slim__affine4-g32",
    "gpt_oss-slim__mxfp4-q8",
    "llama-slim__affine4-g64",
    "qwen2-slim__affine4-g64",
    "qwen3_5-slim__affine4-g32",
    "qwen3_5_moe-slim__affine4-g32",
    "qwen3_moe-slim__affine4-g32",
    "step3p5-slim__affine4-g32",
    "qwen3-tied__affine4-g64",
};

static void join(const int32_t *ids, size_t count, char *text_out, size_t size)
{
    size_t length = 0;
    for (size_t i = 0; i < count && length < size; i++)
        length += (size_t)snprintf(text_out + length, size - length, "%s%d", i > 0 ? "," : "",
                                   ids[i]);
}

static void check_family(const char *name, const char *sharding)
{
    struct scratch scratch;
    struct oracle oracle;
    char relative[256];
    char path[512];
    char ids[512];
    char tokens[256];
    char program[2048];
    char text[4096];
    size_t id_count = 0;
    size_t token_count = 0;
    oracle_open(name, &oracle);
    const int32_t *prompt = oracle_ids(&oracle, "prompt", PROMPT, &id_count);
    const int32_t *greedy = oracle_ids(&oracle, "greedy", PROMPT, &token_count);
    ck_assert_uint_ge(token_count, TOKENS);
    join(prompt, id_count, ids, sizeof ids);
    join(greedy, TOKENS, tokens, sizeof tokens);
    (void)snprintf(relative, sizeof relative, "tests/engine/models/%s", name);
    (void)snprintf(program, sizeof program, "./family_rank %s %s %s %s",
                   source_path(relative, path), sharding, ids, tokens);
    scratch_open(&scratch);
    int code = run_world(&scratch, "", 2, program, text, sizeof text);
    ck_assert_msg(code == 0, "%s, %s: %s", name, sharding, text);
    scratch_close(&scratch);
    oracle_close(&oracle);
}

START_TEST(pipelines_of_two_give_the_reference)
{
    for (size_t i = 0; i < COUNT_OF(names); i++)
        check_family(names[i], "pipeline");
}
END_TEST

START_TEST(tensor_cuts_of_two_give_the_reference)
{
    for (size_t i = 0; i < COUNT_OF(names); i++)
        check_family(names[i], "tensor");
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("families over MPI");
    const TTest *const tests[] = {pipelines_of_two_give_the_reference,
                                  tensor_cuts_of_two_give_the_reference};
    suite_add(suite, "families", tests, COUNT_OF(tests));
    return suite;
}
