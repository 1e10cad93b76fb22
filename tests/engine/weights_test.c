/* SPDX-License-Identifier: Apache-2.0 */
/* Slices: what ranks keep together is the model, and a shard received equals a shard read. */
#include "actors/runner/engine/weights.h"
#include "protocol/memory.h"
#include "tests/engine/oracle.h"
#include "tests/support/check_main.h"

#include <string.h>

static const char *const names[] = {"qwen3-untied__affine4-g64-sharded",
                                    "qwen3-untied__affine3-g32", "qwen3-tied__affine4-g64",
                                    "qwen3-slim__f16"};

static struct shard_plan *plan_of(const struct engine_model *model,
                                  const struct partition *partition)
{
    struct shard_plan *plan = NULL;
    struct reason reason = {""};
    enum status status = shard_plan_make(model->config, model->layout, partition, &plan, &reason);
    ck_assert_msg(status == STATUS_OK, "%s", reason.text);
    return plan;
}

static uint64_t solve_and_sum(const struct engine_model *model, enum sharding sharding,
                              uint32_t ranks, struct partition *partitions)
{
    const uint64_t shares[] = {3, 2, 1};
    struct partition_units units = partition_units_of(model->config, model->layout);
    struct reason reason = {""};
    uint64_t bytes = 0;
    ck_assert_int_eq(partition_solve(sharding, &units, shares, ranks, partitions, &reason),
                     STATUS_OK);
    for (uint32_t i = 0; i < ranks; i++) {
        struct shard_plan *plan = plan_of(model, &partitions[i]);
        for (size_t k = 0; k < plan->slice_count; k++) {
            const struct shard_slice *slice = &plan->slices[k];
            ck_assert(slice->target % 64 == 0);
            ck_assert(slice->target + slice->size <= plan->target_size);
            ck_assert(slice->row_end * slice->row_bytes <= slice->tensor->size);
            ck_assert(k == 0 || slice->layer == plan->slices[k - 1].layer ||
                      slice->layer == plan->slices[k - 1].layer + 1 ||
                      plan->slices[k - 1].layer == MODULE_NO_LAYER);
        }
        bytes += plan->bytes;
        shard_plan_free(plan);
    }
    return bytes;
}

/* Rows of key-value heads that a rank keeps although another does. */
static uint64_t bytes_twice(const struct engine_model *model, const struct partition *partitions,
                            uint32_t ranks)
{
    uint64_t bytes = 0;
    for (size_t k = 0; k < model->layout->module_count; k++) {
        const struct model_module *module = &model->layout->modules[k];
        uint64_t end = 0;
        for (uint32_t i = 0; module->cut == MODULE_CUT_KV_ROWS && i < ranks; i++) {
            struct module_range range = model_module_range(model->layout, module, &partitions[i]);
            ck_assert_uint_le(range.row_first, end);
            bytes += (end - range.row_first) * (model_module_bytes(module) / module->rows);
            end = range.row_end;
        }
    }
    return bytes;
}

/* A table that serves both ends is on the first rank of a pipeline and on the last. */
static uint64_t bytes_at_both_ends(const struct engine_model *model)
{
    return model_layout_is_tied(model->layout)
               ? model_module_bytes(
                     model_layout_find(model->layout, MODULE_EMBEDDING, MODULE_NO_LAYER))
               : 0;
}

START_TEST(ranks_keep_once_all_but_norms_and_shared_heads)
{
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct engine_model model;
        struct partition partitions[3];
        uint64_t all = 0;
        uint64_t norms = 0;
        oracle_model_open(names[i], &model);
        for (size_t k = 0; k < model.layout->module_count; k++) {
            all += model_module_bytes(&model.layout->modules[k]);
            norms += model.layout->modules[k].cut == MODULE_CUT_NONE
                         ? model_module_bytes(&model.layout->modules[k])
                         : 0;
        }
        ck_assert_uint_eq(solve_and_sum(&model, SHARDING_PIPELINE, 3, partitions),
                          all + bytes_at_both_ends(&model));
        ck_assert_uint_eq(solve_and_sum(&model, SHARDING_PIPELINE, 1, partitions), all);
        const uint64_t kept = solve_and_sum(&model, SHARDING_TENSOR, 3, partitions);
        ck_assert_uint_eq(kept, all + 2 * norms + bytes_twice(&model, partitions, 3));
        engine_model_close(&model);
    }
}
END_TEST

/* Sender packs, receiver writes in pieces: the same bytes as a rank that has the files. */
static void check_received(const struct engine_model *model, const struct partition *partition)
{
    struct shard_plan *plan = plan_of(model, partition);
    struct shard *local = NULL;
    struct shard *remote = NULL;
    struct reason reason = {""};
    ck_assert_int_eq(shard_open(plan, &local, &reason), STATUS_OK);
    ck_assert_int_eq(shard_open(plan, &remote, &reason), STATUS_OK);
    ck_assert_int_eq(shard_fill(local, model->files, &reason), STATUS_OK);
    ck_assert(shard_is_complete(local) && !shard_is_complete(remote));
    for (size_t i = 0; i < plan->slice_count; i++) {
        const struct shard_slice *slice = &plan->slices[i];
        uint64_t size = 0;
        uint64_t local_row = 0;
        uint64_t remote_row = 0;
        uint8_t *target = shard_receive_target(remote, i, &size);
        ck_assert_uint_eq(size, slice->size);
        uint64_t middle = size / 3 + 1;
        middle = middle < size ? middle : size;
        ck_assert_int_eq(shard_slice_read_range(model->files, slice, middle, size,
                                                target + middle, &reason), STATUS_OK);
        ck_assert_int_eq(shard_slice_read_range(model->files, slice, 0, middle, target, &reason),
                         STATUS_OK);
        shard_received(remote, i);
        const uint8_t *a = shard_part(local, slice->module, slice->part, &local_row);
        const uint8_t *b = shard_part(remote, slice->module, slice->part, &remote_row);
        uint64_t width = slice->byte_end - slice->byte_first;
        for (uint64_t row = 0; row < slice->row_end - slice->row_first; row++)
            ck_assert_mem_eq(a + row * local_row, b + row * remote_row, (size_t)width);
        const uint8_t *mapped = weight_files_tensor(model->files, slice->tensor);
        for (uint64_t row = slice->row_first; row < slice->row_end; row++)
            ck_assert_mem_eq(mapped + row * slice->row_bytes + slice->byte_first,
                             b + (row - slice->row_first) * remote_row, (size_t)width);
    }
    ck_assert(shard_is_complete(remote));
    shard_close(local);
    shard_close(remote);
    shard_plan_free(plan);
}

START_TEST(a_received_shard_equals_one_that_was_read)
{
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct engine_model model;
        struct partition partitions[3];
        oracle_model_open(names[i], &model);
        for (int kind = SHARDING_PIPELINE; kind <= SHARDING_TENSOR; kind++) {
            (void)solve_and_sum(&model, (enum sharding)kind, 3, partitions);
            for (uint32_t rank = 0; rank < 3; rank++)
                check_received(&model, &partitions[rank]);
        }
        engine_model_close(&model);
    }
}
END_TEST

START_TEST(a_table_survives_the_wire_and_damage_does_not)
{
    struct engine_model model;
    struct reason reason = {""};
    uint8_t *bytes = NULL;
    size_t size = 0;
    struct tensor_table *table = NULL;
    oracle_model_open(names[0], &model);
    ck_assert_int_eq(weight_table_pack(model.table, &bytes, &size, &reason), STATUS_OK);
    ck_assert_int_eq(weight_table_parse(bytes, size, &table, &reason), STATUS_OK);
    ck_assert_uint_eq(table->tensor_count, model.table->tensor_count);
    ck_assert_uint_eq(table->file_count, model.table->file_count);
    for (size_t i = 0; i < table->tensor_count; i++) {
        const struct tensor *a = &table->tensors[i];
        const struct tensor *b = &model.table->tensors[i];
        ck_assert_str_eq(a->name, b->name);
        ck_assert(a->type == b->type && a->rank == b->rank && a->file == b->file &&
                  a->offset == b->offset && a->size == b->size);
        ck_assert_mem_eq(a->shape, b->shape, sizeof a->shape);
    }
    tensor_table_free(table);
    for (size_t cut = 0; cut < size; cut += cut < 40 ? 1 : 97) {
        uint8_t *part = memory_copied(bytes, cut);
        ck_assert_int_eq(weight_table_parse(part, cut, &table, &reason), STATUS_MALFORMED);
        memory_free(part);
    }
    memory_free(bytes);
    engine_model_close(&model);
}
END_TEST

START_TEST(an_engine_refuses_a_shard_that_is_not_whole)
{
    struct engine_model model;
    struct reason reason = {""};
    struct partition partition;
    struct shard *shard = NULL;
    struct engine *engine = NULL;
    struct engine_options options = {.threads = 1};
    oracle_model_open(names[2], &model);
    struct partition_units units = partition_units_of(model.config, model.layout);
    ck_assert_int_eq(partition_solve(SHARDING_NONE, &units, NULL, 1, &partition, &reason),
                     STATUS_OK);
    struct shard_plan *plan = plan_of(&model, &partition);
    ck_assert_int_eq(shard_open(plan, &shard, &reason), STATUS_OK);
    ck_assert_int_eq(engine_open(&model, &partition, shard, &options, &engine, &reason),
                     STATUS_NOT_READY);
    shard_close(shard);
    shard_plan_free(plan);
    engine_model_close(&model);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("weights");
    const TTest *const tests[] = {ranks_keep_once_all_but_norms_and_shared_heads,
                                  a_received_shard_equals_one_that_was_read,
                                  a_table_survives_the_wire_and_damage_does_not,
                                  an_engine_refuses_a_shard_that_is_not_whole};
    suite_add(suite, "weights", tests, COUNT_OF(tests));
    return suite;
}
