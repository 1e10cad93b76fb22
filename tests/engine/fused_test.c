/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Original layouts whose tensors hold more than one module give what the MLX layout gives, whole
 * and in every cut: gpt-oss with the rows of gate and up by turns in blocks of bytes, Qwen3.5 with
 * gate before up, other starts of names, shifted norms, turned axes and towers that are not used.
 *
 * Each is made here from the model of the repository.
 */
#include "actors/runner/engine/kernels/kernels.h"
#include "actors/runner/engine/local_world.h"
#include "protocol/memory.h"
#include "tests/engine/golden.h"
#include "tests/engine/oracle.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <stdio.h>
#include <string.h>

#define ENTRIES_MAX 256u
#define HEADER_ROOM ((size_t)1 << 17)

struct entry {
    char name[128];
    enum tensor_type type;
    uint32_t rank;
    uint64_t shape[4];
    uint8_t *bytes; /* owned */
    uint64_t size;
};

struct entries {
    struct entry rows[ENTRIES_MAX];
    size_t count;
};

static struct entry *add(struct entries *entries, const char *name, const struct tensor *like,
                         uint64_t size)
{
    ck_assert_uint_lt(entries->count, ENTRIES_MAX);
    struct entry *entry = &entries->rows[entries->count++];
    *entry = (struct entry){.type = like->type, .rank = like->rank, .size = size,
                            .bytes = memory_zeroed((size_t)size + 1, 1)};
    (void)snprintf(entry->name, sizeof entry->name, "%s", name);
    memcpy(entry->shape, like->shape, sizeof(uint64_t) * like->rank);
    ck_assert_ptr_nonnull(entry->bytes);
    return entry;
}

static struct entry *add_copy(struct entries *entries, const char *name,
                              const struct engine_model *model, const struct tensor *tensor)
{
    struct entry *entry = add(entries, name, tensor, tensor->size);
    memcpy(entry->bytes, weight_files_tensor(model->files, tensor), (size_t)tensor->size);
    return entry;
}

static void write_entries(const struct entries *entries, const char *directory)
{
    char *header = memory_zeroed(HEADER_ROOM, 1);
    char path[1024];
    uint8_t size[8];
    uint64_t offset = 0;
    size_t length = (size_t)snprintf(header, HEADER_ROOM, "{");
    for (size_t i = 0; i < entries->count; i++) {
        const struct entry *entry = &entries->rows[i];
        length += (size_t)snprintf(header + length, HEADER_ROOM - length,
                                   "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", i ? "," : "",
                                   entry->name, tensor_type_name(entry->type));
        for (uint32_t k = 0; k < entry->rank; k++)
            length += (size_t)snprintf(header + length, HEADER_ROOM - length, "%s%llu",
                                       k ? "," : "", (unsigned long long)entry->shape[k]);
        length += (size_t)snprintf(header + length, HEADER_ROOM - length,
                                   "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)offset,
                                   (unsigned long long)(offset + entry->size));
        offset += entry->size;
        ck_assert_uint_lt(length + 2, HEADER_ROOM);
    }
    header[length++] = '}';
    (void)snprintf(path, sizeof path, "%s/model.safetensors", directory);
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    for (size_t i = 0; i < 8; i++)
        size[i] = (uint8_t)((uint64_t)length >> (8 * i));
    ck_assert_uint_eq(fwrite(size, 1, 8, file), 8);
    ck_assert_uint_eq(fwrite(header, 1, length, file), length);
    for (size_t i = 0; i < entries->count; i++)
        ck_assert_uint_eq(fwrite(entries->rows[i].bytes, 1, (size_t)entries->rows[i].size, file),
                          entries->rows[i].size);
    ck_assert_int_eq(fclose(file), 0);
    memory_free(header);
}

static void copy_config(const char *model, const char *directory)
{
    char relative[256];
    char path[1024];
    size_t size = 0;
    (void)snprintf(relative, sizeof relative, "tests/engine/models/%s/config.json", model);
    char *text = file_bytes(source_path(relative, path), &size);
    (void)snprintf(path, sizeof path, "%s/config.json", directory);
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(text, 1, size, file), size);
    ck_assert_int_eq(fclose(file), 0);
    memory_free(text);
}

/* `name` with `from` replaced, which it contains. */
static void replaced(const char *name, const char *from, const char *to, char *out)
{
    const char *at = strstr(name, from);
    ck_assert_ptr_nonnull(at);
    (void)snprintf(out, 128, "%.*s%s%s", (int)(at - name), name, to, at + strlen(from));
}

static const struct tensor *beside(const struct engine_model *model, const char *name,
                                   const char *from, const char *to)
{
    char other[128];
    replaced(name, from, to, other);
    const struct tensor *tensor = tensor_table_find(model->table, other);
    ck_assert_msg(tensor != NULL, "%s", other);
    return tensor;
}

/* --- gpt-oss --- */

static void blocks_of(const char *name, char *out)
{
    char path[128];
    char part[128];
    replaced(name, strstr(name, "gate_proj") ? "gate_proj" : "down_proj",
             strstr(name, "gate_proj") ? "gate_up_proj" : "down_proj", path);
    const char *const parts[][2] = {{".weight", "_blocks"}, {".scales", "_scales"},
                                    {".bias", "_bias"}};
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        if (strstr(path, parts[i][0])) {
            replaced(path, parts[i][0], parts[i][1], part);
            (void)snprintf(out, 128, "%s", part);
            return;
        }
    }
}

/* Words as blocks of 16 bytes. */
static void settle_blocks(struct entry *entry)
{
    if (entry->type != TENSOR_U32)
        return;
    entry->type = TENSOR_U8;
    entry->rank = 4;
    entry->shape[2] = entry->shape[2] * 4 / 16;
    entry->shape[3] = 16;
}

static void make_gpt_oss(const struct engine_model *model, struct entries *entries)
{
    char name[128];
    for (size_t i = 0; i < model->table->tensor_count; i++) {
        const struct tensor *tensor = &model->table->tensors[i];
        if (strstr(tensor->name, ".experts.up_proj"))
            continue;
        if (!strstr(tensor->name, ".experts.")) {
            add_copy(entries, tensor->name, model, tensor);
            continue;
        }
        blocks_of(tensor->name, name);
        if (strstr(tensor->name, "down_proj")) {
            settle_blocks(add_copy(entries, name, model, tensor));
            continue;
        }
        const struct tensor *up = beside(model, tensor->name, "gate_proj", "up_proj");
        struct entry *both = add(entries, name, tensor, 2 * tensor->size);
        uint64_t rows = tensor->shape[0] * tensor->shape[1];
        uint64_t width = tensor->size / rows;
        both->shape[1] *= 2;
        for (uint64_t r = 0; r < rows; r++) {
            memcpy(both->bytes + 2 * r * width,
                   weight_files_tensor(model->files, tensor) + r * width, (size_t)width);
            memcpy(both->bytes + (2 * r + 1) * width,
                   weight_files_tensor(model->files, up) + r * width, (size_t)width);
        }
        settle_blocks(both);
    }
}

/* --- Qwen3.5 --- */

static void original_name(const char *name, char *out)
{
    if (strstr(name, "language_model.model."))
        replaced(name, "language_model.model.", "model.language_model.", out);
    else
        replaced(name, "language_model.", "", out);
}

/* Experts as floats: the tensor of `weight` from `row` on of each expert's `rows`. */
static void put_floats(const struct engine_model *model, const struct tensor *weight,
                       struct entry *entry, uint64_t row, uint64_t rows)
{
    const struct tensor *scales = beside(model, weight->name, ".weight", ".scales");
    const struct tensor *biases = beside(model, weight->name, ".weight", ".biases");
    struct matrix matrix = {.quantisation = {WEIGHT_AFFINE, 4, 32},
                            .rows = weight->shape[0] * weight->shape[1],
                            .columns = weight->shape[2] * 8,
                            .weight = weight_files_tensor(model->files, weight),
                            .weight_stride = weight->shape[2] * 4,
                            .scale_type = scales->type,
                            .scales = weight_files_tensor(model->files, scales),
                            .scale_stride = scales->shape[2] * 2,
                            .biases = weight_files_tensor(model->files, biases),
                            .bias_stride = scales->shape[2] * 2};
    float *floats = memory_zeroed((size_t)matrix.columns, sizeof *floats);
    for (uint64_t r = 0; r < matrix.rows; r++) {
        uint64_t target = r / weight->shape[1] * rows + row + r % weight->shape[1];
        kernel_dequantise_row(&matrix, r, floats);
        memcpy(entry->bytes + target * matrix.columns * sizeof *floats, floats,
               (size_t)matrix.columns * sizeof *floats);
    }
    memory_free(floats);
}

static void add_fused(const struct engine_model *model, const struct tensor *weight,
                      const char *name, struct entries *entries)
{
    bool is_gate = strstr(name, "gate_proj") != NULL;
    char path[128];
    replaced(name, is_gate ? "switch_mlp.gate_proj.weight" : "switch_mlp.down_proj.weight",
             is_gate ? "experts.gate_up_proj" : "experts.down_proj", path);
    uint64_t rows = weight->shape[1] * (is_gate ? 2 : 1);
    uint64_t columns = weight->shape[2] * 8;
    struct entry *entry = add(entries, path, weight, weight->shape[0] * rows * columns * 4);
    entry->type = TENSOR_F32;
    entry->shape[1] = rows;
    entry->shape[2] = columns;
    put_floats(model, weight, entry, 0, rows);
    if (is_gate)
        put_floats(model, beside(model, weight->name, "gate_proj", "up_proj"), entry,
                   weight->shape[1], rows);
}

/* bf16 numbers less 1, as f32. */
static void add_shifted(const struct engine_model *model, const struct tensor *tensor,
                        const char *name, struct entries *entries)
{
    struct entry *entry = add(entries, name, tensor, 2 * tensor->size);
    const uint8_t *bytes = weight_files_tensor(model->files, tensor);
    ck_assert_int_eq(tensor->type, TENSOR_BF16);
    entry->type = TENSOR_F32;
    for (uint64_t i = 0; i < tensor->size / 2; i++) {
        uint32_t bits = (uint32_t)(bytes[2 * i] | bytes[2 * i + 1] << 8) << 16;
        float value;
        memcpy(&value, &bits, sizeof value);
        value -= 1.0f;
        memcpy(entry->bytes + 4 * i, &value, sizeof value);
    }
}

static void make_qwen3_5(const struct engine_model *model, struct entries *entries)
{
    char name[128];
    for (size_t i = 0; i < model->table->tensor_count; i++) {
        const struct tensor *tensor = &model->table->tensors[i];
        original_name(tensor->name, name);
        if (strstr(name, ".switch_mlp.")) {
            if (strstr(name, ".weight") && !strstr(name, "up_proj"))
                add_fused(model, tensor, name, entries);
        } else if (strstr(name, "norm.weight") && !strstr(name, "linear_attn")) {
            add_shifted(model, tensor, name, entries);
        } else {
            struct entry *entry = add_copy(entries, name, model, tensor);
            if (strstr(name, "conv1d")) {
                entry->shape[2] = entry->shape[1];
                entry->shape[1] = 1;
            }
        }
    }
    const struct tensor any = {.type = TENSOR_F32, .rank = 1, .shape = {1}};
    add(entries, "model.visual.blocks.0.norm1.weight", &any, 4);
    add(entries, "mtp.layers.0.input_layernorm.weight", &any, 4);
}

/* --- the check --- */

struct fused {
    const char *model;
    void (*make)(const struct engine_model *model, struct entries *entries);
    float logit_bound;
};

static const struct fused rows[] = {
    {"gpt_oss-slim__mxfp4-q8", make_gpt_oss, GOLDEN_LOGIT_BOUND},
    {"qwen3_5_moe-slim__affine4-g32", make_qwen3_5, 1e-3f},
};

static void check_cut(const struct fused *fused, const struct engine_model *model,
                      const struct oracle *oracle, enum sharding sharding, const uint64_t *shares)
{
    struct local_world *world = NULL;
    struct reason reason = {""};
    const struct engine_options options = {.mode = ENGINE_EXACT, .threads = 1, .context = 512};
    const struct golden_run run = {.tokens = 8, .logit_bound = fused->logit_bound};
    uint32_t ranks = sharding == SHARDING_NONE ? 1 : 2;
    enum status status = local_world_open(model, sharding, shares, ranks, &options, &world,
                                          &reason);
    ck_assert_msg(status == STATUS_OK, "%s: %s", fused->model, reason.text);
    for (unsigned prompt = 0; prompt < ORACLE_PROMPTS; prompt++)
        golden_check_prompt(fused->model, world, oracle, prompt, &run);
    local_world_close(world);
}

START_TEST(fused_tensors_give_the_same_in_every_cut)
{
    static const uint64_t shares[] = {1, 3};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct scratch scratch;
        struct engine_model model;
        struct oracle oracle;
        struct reason reason = {""};
        static struct entries entries;
        scratch_open(&scratch);
        oracle_model_open(rows[i].model, &model);
        oracle_open(rows[i].model, &oracle);
        entries.count = 0;
        rows[i].make(&model, &entries);
        write_entries(&entries, scratch.path);
        copy_config(rows[i].model, scratch.path);
        for (size_t k = 0; k < entries.count; k++)
            memory_free(entries.rows[k].bytes);
        engine_model_close(&model);
        enum status status = engine_model_open(scratch.path, &model, &reason);
        ck_assert_msg(status == STATUS_OK, "%s: %s", rows[i].model, reason.text);
        check_cut(&rows[i], &model, &oracle, SHARDING_NONE, NULL);
        check_cut(&rows[i], &model, &oracle, SHARDING_PIPELINE, NULL);
        check_cut(&rows[i], &model, &oracle, SHARDING_TENSOR, NULL);
        check_cut(&rows[i], &model, &oracle, SHARDING_TENSOR, shares);
        engine_model_close(&model);
        oracle_close(&oracle);
        scratch_close(&scratch);
    }
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("fused");
    const TTest *const tests[] = {fused_tensors_give_the_same_in_every_cut};
    suite_add(suite, "layouts", tests, COUNT_OF(tests));
    return suite;
}
