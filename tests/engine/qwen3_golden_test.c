/* SPDX-License-Identifier: Apache-2.0 */
/* Qwen3 in every quantisation, with both kernel sets, on two threads and in every cut. */
#include "tests/engine/golden.h"
#include "tests/engine/oracle.h"
#include "tests/support/check_main.h"
#include "tests/support/sanitized.h"

static void check_world(const char *name, enum sharding sharding, const uint64_t *shares,
                        uint32_t ranks, const struct kernel_set *kernels, uint32_t threads)
{
    /* The whole reference for one rank; cuts and the slow portable kernels part way. */
    const struct golden_run run = {sharding, shares,  ranks,
                                   kernels,  threads,
                                   ranks > 1 ? TIMES(24, 4) : kernels ? TIMES(12, 2) : TIMES(64, 8),
                                   GOLDEN_LOGIT_BOUND};
    golden_check(name, &run);
}

START_TEST(every_model_gives_the_reference_logits_and_tokens)
{
    for (size_t i = 0; i < oracle_model_count; i++)
        check_world(oracle_models[i], SHARDING_NONE, NULL, 1, NULL, 1);
}
END_TEST

START_TEST(the_portable_kernels_give_them_too)
{
    for (size_t i = 0; i < oracle_model_count; i += TIMES(1, 5))
        check_world(oracle_models[i], SHARDING_NONE, NULL, 1, kernel_set_portable(), 1);
}
END_TEST

START_TEST(two_threads_give_them_too)
{
    check_world("qwen3-untied__affine4-g64", SHARDING_NONE, NULL, 1, NULL, 2);
}
END_TEST

static const uint64_t shares_3[] = {50, 30, 20};
static const uint64_t shares_2[] = {43, 57};
static const uint64_t shares_uneven[] = {5, 1};

START_TEST(every_pipeline_cut_gives_them_too)
{
    check_world("qwen3-untied__affine4-g64", SHARDING_PIPELINE, NULL, 2, NULL, 1);
    check_world("qwen3-slim__f16", SHARDING_PIPELINE, shares_3, 3, NULL, 1);
    check_world("qwen3-tied__affine4-g64", SHARDING_PIPELINE, NULL, 4, NULL, 1);
}
END_TEST

START_TEST(every_tensor_cut_gives_them_too)
{
    check_world("qwen3-untied__affine4-g64", SHARDING_TENSOR, NULL, 2, NULL, 1);
    check_world("qwen3-untied__affine4-g64", SHARDING_TENSOR, shares_uneven, 2, NULL, 1);
    check_world("qwen3-tied__affine4-g64", SHARDING_TENSOR, shares_3, 3, NULL, 1);
    check_world("qwen3-untied__affine3-g32", SHARDING_TENSOR, shares_2, 2, NULL, 1);
    check_world("qwen3-short__affine6-g32", SHARDING_TENSOR, shares_3, 3, NULL, 1);
    check_world("qwen3-short__affine8-g64", SHARDING_TENSOR, NULL, 6, NULL, 1);
    check_world("qwen3-untied__affine5-g128", SHARDING_TENSOR, NULL, 3, NULL, 1);
    check_world("qwen3-slim__f16", SHARDING_TENSOR, shares_3, 3, NULL, 1);
    check_world("qwen3-short__mixed-false", SHARDING_TENSOR, shares_2, 2, NULL, 1);
}
END_TEST

START_TEST(the_hidden_state_after_every_layer_is_the_reference)
{
    for (size_t i = 0; i < oracle_model_count; i++)
        golden_check_hidden(oracle_models[i], GOLDEN_HIDDEN_BOUND);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("qwen3 golden");
    const TTest *const tests[] = {every_model_gives_the_reference_logits_and_tokens,
                                  the_portable_kernels_give_them_too,
                                  two_threads_give_them_too,
                                  every_pipeline_cut_gives_them_too,
                                  every_tensor_cut_gives_them_too,
                                  the_hidden_state_after_every_layer_is_the_reference};
    suite_add(suite, "golden", tests, COUNT_OF(tests));
    return suite;
}
