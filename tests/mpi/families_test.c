/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every family over MPI: two ranks, of which one gets its weights from the other, give the greedy
 * tokens of the reference in a pipeline and in a tensor cut; three in stages of tensor groups.
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
#define TOKENS_OUTSIDE 64u

static void join(const int32_t *ids, size_t count, char *text_out, size_t size)
{
    size_t length = 0;
    for (size_t i = 0; i < count && length < size; i++)
        length += (size_t)snprintf(text_out + length, size - length, "%s%d", i > 0 ? "," : "",
                                   ids[i]);
}

static void check_cut(const char *family, const char *name, const char *sharding,
                      const char *shares)
{
    struct scratch scratch;
    struct oracle oracle;
    char path[512];
    char ids[512];
    char tokens[512];
    char program[2048];
    char text[4096];
    size_t id_count = 0;
    size_t token_count = 0;
    const size_t wanted = oracle_is_outside() ? TOKENS_OUTSIDE : TOKENS;
    oracle_open(name, &oracle);
    const int32_t *prompt = oracle_ids(&oracle, "prompt", PROMPT, &id_count);
    const int32_t *greedy = oracle_ids(&oracle, "greedy", PROMPT, &token_count);
    ck_assert_uint_ge(token_count, wanted);
    join(prompt, id_count, ids, sizeof ids);
    join(greedy, wanted, tokens, sizeof tokens);
    uint32_t ranks = 1;
    for (const char *at = shares; *at; at++)
        ranks += *at == ',';
    (void)snprintf(program, sizeof program, "./family_rank %s %s %s %s %s",
                   oracle_model_path(name, path), sharding, ids, tokens, shares);
    scratch_open(&scratch);
    int code = run_world(&scratch, "", (int)ranks, program, text, sizeof text);
    ck_assert_msg(code == 0, "%s, %s: %s", name, sharding, text);
    printf("# %s, %s, %s over MPI: %zu tokens\n", family, name, sharding, wanted);
    scratch_close(&scratch);
    oracle_close(&oracle);
}

/* The first fixture of each family; of what two layouts have, both. */
static void check_families(const char *sharding)
{
    static char names[ORACLE_NAMES_MAX][ORACLE_NAME_SIZE];
    static char families[ORACLE_NAMES_MAX][MODEL_TYPE_SIZE_MAX];
    size_t count = oracle_names(names);
    size_t family_count = 0;
    ck_assert_uint_gt(count, 0);
    for (size_t i = 0; i < count; i++) {
        struct engine_model model;
        size_t known = 0;
        oracle_model_open(names[i], &model);
        while (known < family_count && strcmp(families[known], model.config->model_type) != 0)
            known++;
        bool is_new = known == family_count || strstr(names[i], "-older");
        if (known == family_count)
            memcpy(families[family_count++], model.config->model_type, MODEL_TYPE_SIZE_MAX);
        engine_model_close(&model);
        if (is_new)
            check_cut(families[known], names[i], sharding, "1,1");
    }
}

START_TEST(pipelines_of_two_give_the_reference)
{
    check_families("pipeline");
}
END_TEST

START_TEST(tensor_cuts_of_two_give_the_reference)
{
    check_families("tensor");
}
END_TEST

/* One rank of them has the weight files. */
START_TEST(stages_of_tensor_groups_give_the_reference)
{
    check_cut("qwen3", "qwen3-tied__affine4-g64", "pipeline-tensor/2,1", "50,20,30");
    check_cut("qwen3_5_moe", "qwen3_5_moe-slim__affine4-g32", "pipeline-tensor/1,2", "1,1,1");
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("families over MPI");
    const TTest *const tests[] = {pipelines_of_two_give_the_reference,
                                  tensor_cuts_of_two_give_the_reference,
                                  stages_of_tensor_groups_give_the_reference};
    suite_add(suite, "families", tests, COUNT_OF(tests));
    return suite;
}
