/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a placement counts is what the engine takes: of every family, in every cut and format, the
 * KV cache to the byte and the weights within what alignment and rounding make of them.
 */
#include "actors/master/placement_bytes.h"
#include "actors/runner/engine/local_world.h"
#include "runtime/model_store.h"
#include "tests/engine/oracle.h"
#include "tests/support/check_main.h"

#include <string.h>

static const char *const models[] = {
    "deepseek_v3-slim__affine4-g32", "gemma3_text-slim__affine4-g32",
    "glm4_moe_lite-older__affine4-g32", "glm4_moe_lite-slim__affine4-g32",
    "gpt_oss-slim__mxfp4-q8", "llama-slim__affine4-g64", "qwen2-slim__affine4-g64",
    "qwen3-slim__f16", "qwen3-tied__affine4-g64", "qwen3-short__mixed-false",
    "qwen3_5-slim__affine4-g32", "qwen3_5_moe-slim__affine4-g32", "qwen3_moe-slim__affine4-g32",
    "step3p5-slim__affine4-g32",
};

static const struct {
    enum sharding sharding;
    uint32_t ranks;
    uint64_t shares[3];
    uint32_t sizes[2]; /* of stages */
} cuts[] = {
    {SHARDING_NONE, 1, {1}, {0}},           {SHARDING_PIPELINE, 2, {1, 1}, {0}},
    {SHARDING_PIPELINE, 3, {1, 2, 1}, {0}}, {SHARDING_PIPELINE, 2, {5, 1}, {0}},
    {SHARDING_PIPELINE, 1, {1}, {0}},       {SHARDING_TENSOR, 2, {1, 1}, {0}},
    {SHARDING_TENSOR, 2, {3, 1}, {0}},      {SHARDING_TENSOR, 3, {2, 1, 1}, {0}},
    {SHARDING_PIPELINE_TENSOR, 3, {1, 1, 2}, {2, 1}},
    {SHARDING_PIPELINE_TENSOR, 3, {2, 1, 1}, {1, 2}},
};

static const struct {
    enum engine_mode mode;
    struct placement_cache cache;
} caches[] = {
    {ENGINE_EXACT, {1024, 16, KV_F32}}, {ENGINE_FAST, {1024, 3, KV_BF16}},
    {ENGINE_FAST, {100, 1, KV_INT8}},   {ENGINE_FAST, {70000, 64, KV_INT8}},
    {ENGINE_FAST, {4096, 5, KV_BF16}},
};

static void check_weights(const char *name, const struct engine_model *model,
                          const struct model_shape *shape, const struct partition *cut)
{
    struct shard_plan *plan = NULL;
    struct reason reason = {""};
    ck_assert_int_eq(shard_plan_make(model->config, model->layout, cut, &plan, &reason),
                     STATUS_OK);
    const uint64_t counted = placement_weight_bytes(shape, cut);
    const uint64_t kept = plan->bytes;
    ck_assert_msg(counted + counted / 20 + 4096 >= kept && kept + kept / 20 + 4096 >= counted,
                  "%s: rank %u of %u keeps %llu bytes of weights, %llu were counted", name,
                  cut->rank, cut->rank_count, (unsigned long long)kept,
                  (unsigned long long)counted);
    shard_plan_free(plan);
}

static unsigned compared; /* cuts */

static void check_cut(const char *name, const struct engine_model *model,
                      const struct model_shape *shape, size_t at)
{
    for (size_t c = 0; c < COUNT_OF(caches); c++) {
        struct reason reason = {""};
        struct local_world *world = NULL;
        const struct placement_cache *cache = &caches[c].cache;
        const struct engine_options options = {.mode = caches[c].mode,
                                               .threads = 1,
                                               .context = 128,
                                               .positions = cache->positions,
                                               .sequences = cache->requests,
                                               .kv_format = cache->format};
        const struct engine_options each[] = {options, options, options};
        const enum status status =
            cuts[at].sizes[0] > 0
                ? local_world_open_stages(model, cuts[at].sizes, 2, cuts[at].shares, each, &world,
                                          &reason)
                : local_world_open(model, cuts[at].sharding, cuts[at].shares, cuts[at].ranks,
                                   &options, &world, &reason);
        if (status == STATUS_NO_CAPACITY || status == STATUS_UNSUPPORTED)
            return; /* fewer units than ranks, or groups that cannot be cut there */
        ck_assert_msg(status == STATUS_OK, "%s: %s", name, reason.text);
        uint32_t ranks = 0;
        const struct partition *parts = local_world_partitions(world, &ranks);
        for (uint32_t i = 0; i < ranks; i++) {
            const uint64_t counted = placement_cache_bytes(shape, &parts[i], cache);
            const uint64_t taken = engine_cache_bytes(local_world_engine(world, i));
            ck_assert_msg(counted == taken,
                          "%s: rank %u of %u takes %llu bytes of %s cache, %llu were counted", name,
                          i, ranks, (unsigned long long)taken, kv_format_name(cache->format),
                          (unsigned long long)counted);
            if (c == 0)
                check_weights(name, model, shape, &parts[i]);
        }
        local_world_close(world);
        compared++;
    }
}

START_TEST(what_is_counted_is_what_is_taken)
{
    for (size_t i = 0; i < COUNT_OF(models); i++) {
        char path[512];
        struct reason reason = {""};
        struct engine_model model;
        struct model_card *card = NULL;
        struct model_record record = {.model_id = NULL};
        oracle_model_open(models[i], &model);
        ck_assert_int_eq(model_card_read(oracle_model_path(models[i], path),
                                         MODEL_CARD_WEIGHTS_ONLY, &card, &reason),
                         STATUS_OK);
        ck_assert_int_eq(model_record_fill(card, &record, &reason), STATUS_OK);
        ck_assert(placement_shape_is_whole(&record.shape));
        for (size_t at = 0; at < COUNT_OF(cuts); at++)
            check_cut(models[i], &model, &record.shape, at);
        model_card_free(card);
        record_fini(&model_record_type, &record);
        engine_model_close(&model);
    }
    /* Few have no units for three ranks, or groups for unequal ones. */
    ck_assert_uint_gt(compared, COUNT_OF(models) * COUNT_OF(caches) * (COUNT_OF(cuts) - 2));
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("cache-bytes");
    const TTest *const tests[] = {what_is_counted_is_what_is_taken};
    suite_add(suite, "bytes", tests, COUNT_OF(tests));
    return suite;
}
