/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Models in the layout of their first publishers give what they give in the MLX layout: other
 * names, experts one by one, norms stored less 1, tensors of later tokens' heads.
 *
 * Each is made here from the model of the repository.
 */
#include "actors/runner/engine/local_world.h"
#include "protocol/memory.h"
#include "tests/engine/golden.h"
#include "tests/engine/oracle.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <stdio.h>
#include <string.h>

#define HEADER_ROOM ((size_t)1 << 20)
#define RENAMES_MAX 5u

struct rename {
    const char *from;
    const char *to; /* a '#' is the number of an expert */
};

struct original {
    const char *model;
    struct rename renames[RENAMES_MAX];
    bool is_shifted;
    const char *extra; /* a tensor that is not used; NULL for none */
};

static const struct original originals[] = {
    {"qwen3_moe-slim__affine4-g32", {{".mlp.switch_mlp.", ".mlp.experts.#."}}, false, NULL},
    {"step3p5-slim__affine4-g32",
     {{".mlp.switch_mlp.", ".moe."},
      {".mlp.gate.gate", ".moe.gate"},
      {".mlp.gate.router_bias", ".moe.router_bias"},
      {".mlp.share_expert.", ".share_expert."}},
     true,
     "model.layers.3.eh_proj.weight"},
    {"llama-slim__affine4-g64", {{NULL, NULL}}, false,
     "model.layers.0.self_attn.rotary_emb.inv_freq"},
};

struct writer {
    char *header;
    size_t header_size;
    uint64_t offset;
    FILE *file; /* NULL in the first pass */
};

/* `text` with the first rename that fits; '#' gets the number. */
static void rename_text(const struct original *original, const char *text, size_t expert,
                        char *out, size_t size)
{
    for (size_t i = 0; i < RENAMES_MAX && original->renames[i].from; i++) {
        const struct rename *rename = &original->renames[i];
        const char *at = strstr(text, rename->from);
        if (!at)
            continue;
        const char *hash = strchr(rename->to, '#');
        int before = hash ? (int)(hash - rename->to) : (int)strlen(rename->to);
        char number[16] = "";
        if (hash)
            (void)snprintf(number, sizeof number, "%zu", expert);
        (void)snprintf(out, size, "%.*s%.*s%s%s%s", (int)(at - text), text, before, rename->to,
                       number, hash ? hash + 1 : "", at + strlen(rename->from));
        return;
    }
    (void)snprintf(out, size, "%s", text);
}

static void put(struct writer *writer, const char *name, const struct tensor *tensor,
                uint32_t first_side, const uint8_t *bytes, uint64_t size)
{
    if (writer->file) {
        ck_assert_uint_eq(fwrite(bytes, 1, (size_t)size, writer->file), size);
        return;
    }
    char *at = writer->header + writer->header_size;
    size_t room = HEADER_ROOM - writer->header_size;
    size_t length = (size_t)snprintf(at, room, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[",
                                     writer->header_size > 1 ? "," : "", name,
                                     tensor_type_name(tensor->type));
    for (uint32_t i = first_side; i < tensor->rank; i++)
        length += (size_t)snprintf(at + length, room - length, "%s%llu", i > first_side ? "," : "",
                                   (unsigned long long)tensor->shape[i]);
    length += (size_t)snprintf(at + length, room - length, "],\"data_offsets\":[%llu,%llu]}",
                               (unsigned long long)writer->offset,
                               (unsigned long long)(writer->offset + size));
    writer->header_size += length;
    writer->offset += size;
    ck_assert_uint_lt(writer->header_size + 2, HEADER_ROOM);
}

/* bf16 numbers less 1, as f32: in bf16 not all of them would be exact. */
static void shift(const uint8_t *bytes, uint64_t count, float *out)
{
    for (uint64_t i = 0; i < count; i++) {
        uint16_t half;
        memcpy(&half, bytes + 2 * i, sizeof half);
        uint32_t bits = (uint32_t)half << 16;
        memcpy(&out[i], &bits, sizeof out[i]);
        out[i] -= 1.0f;
    }
}

static void put_all(struct writer *writer, const struct original *original,
                    const struct engine_model *model)
{
    static float shifted[1 << 14];
    char name[512];
    for (size_t i = 0; i < model->table->tensor_count; i++) {
        const struct tensor *tensor = &model->table->tensors[i];
        const uint8_t *bytes = weight_files_tensor(model->files, tensor);
        rename_text(original, tensor->name, 0, name, sizeof name);
        bool is_stack = strchr(original->renames[0].to ? original->renames[0].to : "", '#') &&
                        strcmp(name, tensor->name) != 0;
        if (is_stack) {
            uint64_t size = tensor->size / tensor->shape[0];
            for (uint64_t e = 0; e < tensor->shape[0]; e++) {
                rename_text(original, tensor->name, (size_t)e, name, sizeof name);
                put(writer, name, tensor, 1, bytes + e * size, size);
            }
            continue;
        }
        if (original->is_shifted && strstr(name, "norm")) {
            struct tensor wide = *tensor;
            ck_assert(tensor->type == TENSOR_BF16 && tensor->size * 2 <= sizeof shifted);
            shift(bytes, tensor->size / 2, shifted);
            wide.type = TENSOR_F32;
            put(writer, name, &wide, 0, (const uint8_t *)shifted, tensor->size * 2);
            continue;
        }
        put(writer, name, tensor, 0, bytes, tensor->size);
    }
    if (original->extra) {
        const struct tensor *any = tensor_table_find(model->table, "model.norm.weight");
        put(writer, original->extra, any, 0, weight_files_tensor(model->files, any), any->size);
    }
}

static void write_weights(const struct original *original, const struct engine_model *model,
                          const char *directory)
{
    struct writer writer = {.header = memory_zeroed(HEADER_ROOM, 1)};
    char path[1024];
    uint8_t size[8];
    writer.header[writer.header_size++] = '{';
    put_all(&writer, original, model);
    writer.header[writer.header_size++] = '}';
    (void)snprintf(path, sizeof path, "%s/model.safetensors", directory);
    writer.file = fopen(path, "wb");
    ck_assert_ptr_nonnull(writer.file);
    for (size_t i = 0; i < 8; i++)
        size[i] = (uint8_t)((uint64_t)writer.header_size >> (8 * i));
    ck_assert_uint_eq(fwrite(size, 1, 8, writer.file), 8);
    ck_assert_uint_eq(fwrite(writer.header, 1, writer.header_size, writer.file),
                      writer.header_size);
    put_all(&writer, original, model);
    ck_assert_int_eq(fclose(writer.file), 0);
    memory_free(writer.header);
}

/* config.json with the paths of its quantisation renamed, line by line. */
static void write_config(const struct original *original, const char *directory)
{
    char relative[256];
    char path[1024];
    char line[1024];
    size_t size = 0;
    (void)snprintf(relative, sizeof relative, "tests/engine/models/%s/config.json",
                   original->model);
    char *text = file_bytes(source_path(relative, path), &size);
    (void)snprintf(path, sizeof path, "%s/config.json", directory);
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    for (char *at = text; *at != '\0';) {
        char *end = strchr(at, '\n');
        size_t length = end ? (size_t)(end - at) : strlen(at);
        char saved = at[length];
        at[length] = '\0';
        rename_text(original, at, 0, line, sizeof line);
        ck_assert_int_ge(fprintf(file, "%s\n", line), 0);
        at += length + (saved != '\0');
    }
    ck_assert_int_eq(fclose(file), 0);
    memory_free(text);
}

static void check_original(const struct original *original, enum sharding sharding, uint32_t ranks)
{
    struct scratch scratch;
    struct engine_model model;
    struct oracle oracle;
    struct local_world *world = NULL;
    struct reason reason = {""};
    const struct engine_options options = {.mode = ENGINE_EXACT, .threads = 1, .context = 512};
    const struct golden_run run = {.tokens = 16, .logit_bound = GOLDEN_LOGIT_BOUND};
    scratch_open(&scratch);
    oracle_model_open(original->model, &model);
    oracle_open(original->model, &oracle);
    write_weights(original, &model, scratch.path);
    write_config(original, scratch.path);
    engine_model_close(&model);
    enum status status = engine_model_open(scratch.path, &model, &reason);
    ck_assert_msg(status == STATUS_OK, "%s: %s", original->model, reason.text);
    status = local_world_open(&model, sharding, NULL, ranks, &options, &world, &reason);
    ck_assert_msg(status == STATUS_OK, "%s: %s", original->model, reason.text);
    for (unsigned prompt = 0; prompt < ORACLE_PROMPTS; prompt++)
        golden_check_prompt(original->model, world, &oracle, prompt, &run);
    local_world_close(world);
    oracle_close(&oracle);
    engine_model_close(&model);
    scratch_close(&scratch);
}

START_TEST(the_original_layout_gives_the_same)
{
    for (size_t i = 0; i < COUNT_OF(originals); i++)
        check_original(&originals[i], SHARDING_NONE, 1);
}
END_TEST

START_TEST(and_in_a_tensor_cut)
{
    for (size_t i = 0; i < COUNT_OF(originals); i++)
        check_original(&originals[i], SHARDING_TENSOR, 2);
}
END_TEST

/* A tensor nobody asked for is named, in any family. */
START_TEST(an_unknown_tensor_is_refused)
{
    /* A layer beyond the last is one only if it predicts later tokens. */
    static const struct original unknown[] = {
        {"qwen3_moe-slim__affine4-g32", {{NULL, NULL}}, false,
         "model.layers.1.self_attn.q_proj.bias"},
        {"step3p5-slim__affine4-g32", {{NULL, NULL}}, false, "model.layers.3.self_attn.zorg"},
        {"deepseek_v3-slim__affine4-g32", {{NULL, NULL}}, false,
         "model.layers.9.input_layernorm.weight"},
    };
    for (size_t i = 0; i < COUNT_OF(unknown); i++) {
        struct scratch scratch;
        struct engine_model model;
        struct reason reason = {""};
        scratch_open(&scratch);
        oracle_model_open(unknown[i].model, &model);
        write_weights(&unknown[i], &model, scratch.path);
        write_config(&unknown[i], scratch.path);
        engine_model_close(&model);
        ck_assert_int_eq(engine_model_open(scratch.path, &model, &reason), STATUS_MALFORMED);
        ck_assert_msg(strstr(reason.text, unknown[i].extra) != NULL, "%s", reason.text);
        scratch_close(&scratch);
    }
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("originals");
    const TTest *const tests[] = {the_original_layout_gives_the_same, and_in_a_tensor_cut,
                                  an_unknown_tensor_is_refused};
    suite_add(suite, "layouts", tests, COUNT_OF(tests));
    return suite;
}
