/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes a model of a real shape with random weights in the stock MLX layout, for measurements
 * where the real one is not at hand.  It has no tokenizer and says nothing sensible.
 */
#include "actors/runner/engine/commands.h"
#include "protocol/memory.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define HEADER_ROOM ((size_t)1 << 20)
#define CHUNK_WORDS 8192u

enum kind {
    KIND_QWEN3,
    KIND_LLAMA,
    KIND_MOE,   /* qwen3_moe */
    KIND_DELTA, /* qwen3_5 */
};

struct shape {
    const char *name;
    enum kind kind;
    uint32_t layers;
    uint32_t hidden;
    uint32_t heads;
    uint32_t kv_heads;
    uint32_t head_dim;
    uint32_t intermediate; /* of an expert, where there are some */
    uint32_t vocab;
    bool tied;
};

static const struct shape shapes[] = {
    {"qwen3-tiny", KIND_QWEN3, 2, 256, 4, 2, 64, 512, 2048, true},
    {"qwen3-small", KIND_QWEN3, 16, 768, 8, 4, 128, 2048, 65536, true},
    {"qwen3-0.6b", KIND_QWEN3, 28, 1024, 16, 8, 128, 3072, 151936, true},
    {"qwen3-1.7b", KIND_QWEN3, 28, 2048, 16, 8, 128, 6144, 151936, true},
    {"qwen3-4b", KIND_QWEN3, 36, 2560, 32, 8, 128, 9728, 151936, true},
    {"qwen3-8b", KIND_QWEN3, 36, 4096, 32, 8, 128, 12288, 151936, false},
    {"llama-3.2-1b", KIND_LLAMA, 16, 2048, 32, 8, 64, 8192, 128256, true},
    {"llama-tiny", KIND_LLAMA, 2, 256, 4, 2, 64, 512, 2048, true},
    {"qwen3-moe-tiny", KIND_MOE, 2, 256, 4, 2, 64, 64, 2048, false},
    {"qwen3.5-tiny", KIND_DELTA, 4, 256, 4, 2, 64, 512, 2048, true},
    {"qwen3.5-2b", KIND_DELTA, 24, 2048, 8, 2, 256, 6144, 248320, true},
    {"qwen3-30b-a3b", KIND_MOE, 48, 2048, 32, 4, 128, 768, 151936, false},
};

/* Of Qwen3-30B-A3B, and of the small Qwen3.5. */
#define EXPERTS 128u
#define EXPERTS_USED 8u
#define DELTA_HEADS 16u
#define DELTA_HEAD_DIM 128u
#define DELTA_TAPS 4u
#define FULL_INTERVAL 4u

struct writer {
    struct shape shape;
    uint32_t bits;
    uint32_t group;
    char *header;
    size_t header_size;
    uint64_t offset;
    FILE *file; /* NULL while the header is made */
    uint64_t random;
    bool failed;
};

static uint64_t next_random(struct writer *writer)
{
    uint64_t z = writer->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static void put_bytes(struct writer *writer, const void *bytes, size_t size)
{
    if (!writer->failed && fwrite(bytes, 1, size, writer->file) != size)
        writer->failed = true;
}

/* Adds an entry to the header, or nothing in the second pass.  Extents of 0 are none. */
static void declare(struct writer *writer, const char *path, const char *part, const char *type,
                    const uint64_t extents[3], uint64_t size)
{
    char shape[72] = "";
    size_t length = 0;
    if (writer->file)
        return;
    for (size_t i = 0; i < 3; i++) {
        if (extents[i] > 0)
            length += (size_t)snprintf(shape + length, sizeof shape - length, "%s%llu",
                                       length ? "," : "", (unsigned long long)extents[i]);
    }
    int added = snprintf(writer->header + writer->header_size, HEADER_ROOM - writer->header_size,
                         "%s\"%s%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":"
                         "[%llu,%llu]}", writer->header_size > 1 ? "," : "", path, part, type,
                         shape, (unsigned long long)writer->offset,
                         (unsigned long long)(writer->offset + size));
    writer->header_size += (size_t)added;
    writer->offset += size;
    if (writer->header_size >= HEADER_ROOM)
        writer->failed = true;
}

static void put_constant(struct writer *writer, uint64_t count, float value)
{
    uint32_t bits;
    uint16_t numbers[1024];
    memcpy(&bits, &value, sizeof bits);
    for (size_t i = 0; i < COUNT_OF(numbers); i++)
        numbers[i] = (uint16_t)(bits >> 16);
    for (uint64_t left = count; left > 0 && !writer->failed;) {
        size_t some = left < COUNT_OF(numbers) ? (size_t)left : COUNT_OF(numbers);
        put_bytes(writer, numbers, some * sizeof *numbers);
        left -= some;
    }
}

static void vector(struct writer *writer, const char *path, const char *part, uint64_t count,
                   float value)
{
    declare(writer, path, part, "BF16", (const uint64_t[]){0, 0, count}, count * 2);
    if (writer->file)
        put_constant(writer, count, value);
}

static void put_codes(struct writer *writer, uint64_t words)
{
    static uint64_t chunk[CHUNK_WORDS / 2];
    for (uint64_t left = words; left > 0 && !writer->failed;) {
        size_t some = left < CHUNK_WORDS ? (size_t)left : CHUNK_WORDS;
        for (size_t i = 0; i < (some + 1) / 2; i++)
            chunk[i] = next_random(writer);
        put_bytes(writer, chunk, some * 4);
        left -= some;
    }
}

/* `copies` matrices in one tensor, 0: one without an axis for it.  Codes uniform, scaled so that
 * outputs keep the size of the inputs. */
static void matrices(struct writer *writer, const char *path, uint64_t copies, uint64_t rows,
                     uint64_t columns, uint32_t bits)
{
    uint64_t count = (copies ? copies : 1) * rows * columns;
    uint64_t words = count * bits / 32;
    uint64_t groups = count / writer->group;
    float top = (float)((1u << bits) - 1);
    float scale = sqrtf(12.0f / (float)columns) / top;
    const uint64_t numbers[] = {copies, rows, columns / writer->group};
    declare(writer, path, ".biases", "BF16", numbers, groups * 2);
    declare(writer, path, ".scales", "BF16", numbers, groups * 2);
    declare(writer, path, ".weight", "U32", (const uint64_t[]){copies, rows, columns * bits / 32},
            words * 4);
    if (!writer->file)
        return;
    put_constant(writer, groups, -scale * top / 2.0f);
    put_constant(writer, groups, scale);
    put_codes(writer, words);
}

struct layer_row {
    const char *name;
    uint64_t copies;
    uint64_t rows; /* 0 for a norm */
    uint64_t columns;
};

static void layer_rows(struct writer *writer, const char *layer, const struct layer_row *rows,
                       size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char path[128];
        (void)snprintf(path, sizeof path, "%s.%s", layer, rows[i].name);
        if (rows[i].rows == 0)
            vector(writer, path, ".weight", rows[i].columns, 1.0f);
        else
            matrices(writer, path, rows[i].copies, rows[i].rows, rows[i].columns, writer->bits);
    }
}

static void attention(struct writer *writer, const char *layer)
{
    const struct shape *s = &writer->shape;
    uint64_t queries = (uint64_t)s->heads * s->head_dim;
    uint64_t keys = (uint64_t)s->kv_heads * s->head_dim;
    const struct layer_row rows[] = {
        {"self_attn.k_proj", 0, keys, s->hidden},
        {"self_attn.o_proj", 0, s->hidden, queries},
        {"self_attn.q_proj", 0, s->kind == KIND_DELTA ? 2 * queries : queries, s->hidden},
        {"self_attn.v_proj", 0, keys, s->hidden},
        {"self_attn.k_norm", 0, 0, s->head_dim},
        {"self_attn.q_norm", 0, 0, s->head_dim},
    };
    layer_rows(writer, layer, rows, COUNT_OF(rows) - (s->kind == KIND_LLAMA ? 2 : 0));
}

static void delta(struct writer *writer, const char *layer)
{
    uint64_t hidden = writer->shape.hidden;
    uint64_t width = (uint64_t)DELTA_HEADS * DELTA_HEAD_DIM;
    char path[128];
    const struct layer_row rows[] = {
        {"linear_attn.in_proj_a", 0, DELTA_HEADS, hidden},
        {"linear_attn.in_proj_b", 0, DELTA_HEADS, hidden},
        {"linear_attn.in_proj_qkv", 0, 3 * width, hidden},
        {"linear_attn.in_proj_z", 0, width, hidden},
        {"linear_attn.norm", 0, 0, DELTA_HEAD_DIM},
        {"linear_attn.out_proj", 0, hidden, width},
    };
    layer_rows(writer, layer, rows, COUNT_OF(rows));
    (void)snprintf(path, sizeof path, "%s.linear_attn", layer);
    vector(writer, path, ".A_log", DELTA_HEADS, -1.0f);
    vector(writer, path, ".dt_bias", DELTA_HEADS, 0.5f);
    uint64_t taps = 3 * width * DELTA_TAPS;
    declare(writer, path, ".conv1d.weight", "BF16", (const uint64_t[]){3 * width, DELTA_TAPS, 1},
            taps * 2);
    if (writer->file)
        put_constant(writer, taps, 0.25f);
}

static void feed_forward(struct writer *writer, const char *layer)
{
    const struct shape *s = &writer->shape;
    bool is_many = s->kind == KIND_MOE;
    uint64_t copies = is_many ? EXPERTS : 0;
    char path[128];
    const struct layer_row rows[] = {
        {is_many ? "mlp.switch_mlp.down_proj" : "mlp.down_proj", copies, s->hidden,
         s->intermediate},
        {is_many ? "mlp.switch_mlp.gate_proj" : "mlp.gate_proj", copies, s->intermediate,
         s->hidden},
        {is_many ? "mlp.switch_mlp.up_proj" : "mlp.up_proj", copies, s->intermediate, s->hidden},
        {"input_layernorm", 0, 0, s->hidden},
        {"post_attention_layernorm", 0, 0, s->hidden},
    };
    layer_rows(writer, layer, rows, COUNT_OF(rows));
    (void)snprintf(path, sizeof path, "%s.mlp.gate", layer);
    if (is_many)
        matrices(writer, path, 0, EXPERTS, s->hidden, 8);
}

static void tensors(struct writer *writer)
{
    const struct shape *s = &writer->shape;
    const char *before = s->kind == KIND_DELTA ? "language_model." : "";
    char path[64];
    if (!s->tied)
        matrices(writer, "lm_head", 0, s->vocab, s->hidden, writer->bits);
    (void)snprintf(path, sizeof path, "%smodel.embed_tokens", before);
    matrices(writer, path, 0, s->vocab, s->hidden, writer->bits);
    for (uint32_t i = 0; i < s->layers; i++) {
        (void)snprintf(path, sizeof path, "%smodel.layers.%u", before, i);
        if (s->kind == KIND_DELTA && (i + 1) % FULL_INTERVAL != 0)
            delta(writer, path);
        else
            attention(writer, path);
        feed_forward(writer, path);
    }
    (void)snprintf(path, sizeof path, "%smodel.norm", before);
    vector(writer, path, ".weight", s->hidden, 1.0f);
}

static enum status open_file(const char *directory, const char *name, FILE **file_out,
                             struct reason *reason)
{
    char path[1024];
    int length = snprintf(path, sizeof path, "%s/%s", directory, name);
    if (length < 0 || (size_t)length >= sizeof path)
        return refuse(reason, STATUS_TOO_LARGE, "the path %s is too long", directory);
    *file_out = fopen(path, "wbx");
    if (!*file_out)
        return refuse(reason, status_from_errno(errno), "%s: %s", path, strerror(errno));
    return STATUS_OK;
}

/* What the families' files have beside the usual keys. */
static void put_family_keys(FILE *file, const struct writer *writer)
{
    switch (writer->shape.kind) {
    case KIND_QWEN3:
        (void)fputs(" \"rope_theta\": 1000000.0,", file);
        break;
    case KIND_LLAMA:
        (void)fputs(" \"rope_theta\": 500000.0, \"rope_scaling\": {\"rope_type\": \"llama3\", "
                    "\"factor\": 32.0,\n \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, "
                    "\"original_max_position_embeddings\": 8192},", file);
        break;
    case KIND_MOE:
        (void)fprintf(file, " \"rope_theta\": 1000000.0, \"num_experts\": %u, "
                      "\"num_experts_per_tok\": %u,\n \"moe_intermediate_size\": %u, "
                      "\"norm_topk_prob\": true, \"decoder_sparse_step\": 1, "
                      "\"mlp_only_layers\": [],", EXPERTS, EXPERTS_USED,
                      writer->shape.intermediate);
        break;
    case KIND_DELTA:
        (void)fprintf(file, " \"rope_parameters\": {\"rope_type\": \"default\", "
                      "\"rope_theta\": 10000000.0, \"partial_rotary_factor\": 0.25},\n"
                      " \"linear_num_value_heads\": %u, \"linear_num_key_heads\": %u,\n"
                      " \"linear_key_head_dim\": %u, \"linear_value_head_dim\": %u,\n"
                      " \"linear_conv_kernel_dim\": %u, \"full_attention_interval\": %u,",
                      DELTA_HEADS, DELTA_HEADS, DELTA_HEAD_DIM, DELTA_HEAD_DIM, DELTA_TAPS,
                      FULL_INTERVAL);
        break;
    }
}

static void put_quantisation(FILE *file, const struct writer *writer)
{
    (void)fprintf(file, " \"quantization\": {\"group_size\": %u, \"bits\": %u, \"mode\": "
                  "\"affine\"", writer->group, writer->bits);
    /* Routers are kept in 8 bits. */
    for (uint32_t i = 0; writer->shape.kind == KIND_MOE && i < writer->shape.layers; i++)
        (void)fprintf(file, ",\n  \"model.layers.%u.mlp.gate\": {\"group_size\": %u, \"bits\": 8}",
                      i, writer->group);
    (void)fputs("}}\n", file);
}

static enum status write_config(const char *directory, const struct writer *writer,
                                struct reason *reason)
{
    static const char *const types[] = {"qwen3", "llama", "qwen3_moe", "qwen3_5"};
    const struct shape *s = &writer->shape;
    FILE *file = NULL;
    enum status status = open_file(directory, "config.json", &file, reason);
    if (status != STATUS_OK)
        return status;
    (void)fprintf(file, "{\"model_type\": \"%s\",\n", types[s->kind]);
    (void)fprintf(file,
                  " \"num_hidden_layers\": %u, \"hidden_size\": %u,\n"
                  " \"num_attention_heads\": %u, \"num_key_value_heads\": %u, \"head_dim\": %u,\n"
                  " \"intermediate_size\": %u, \"vocab_size\": %u, \"rms_norm_eps\": 1e-06,\n"
                  " \"max_position_embeddings\": 40960, \"tie_word_embeddings\": %s,\n"
                  " \"torch_dtype\": \"bfloat16\",", s->layers, s->hidden, s->heads, s->kv_heads,
                  s->head_dim, s->kind == KIND_MOE ? 6144 : s->intermediate, s->vocab,
                  s->tied ? "true" : "false");
    put_family_keys(file, writer);
    put_quantisation(file, writer);
    bool good = !ferror(file);
    good = fclose(file) == 0 && good;
    return good ? STATUS_OK : refuse(reason, STATUS_IO, "config.json was not written whole");
}

static enum status write_model(const char *directory, struct writer *writer,
                               struct reason *reason)
{
    FILE *file = NULL;
    writer->header = memory_zeroed(HEADER_ROOM, 1);
    if (!writer->header)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for a header");
    writer->header[writer->header_size++] = '{';
    tensors(writer);
    if (writer->failed || writer->header_size + 1 >= HEADER_ROOM)
        return refuse(reason, STATUS_TOO_LARGE, "the header is too large");
    writer->header[writer->header_size++] = '}';
    enum status status = open_file(directory, "model.safetensors", &file, reason);
    if (status != STATUS_OK)
        return status;
    writer->file = file;
    uint8_t size[8];
    for (size_t i = 0; i < 8; i++)
        size[i] = (uint8_t)((uint64_t)writer->header_size >> (8 * i));
    put_bytes(writer, size, sizeof size);
    put_bytes(writer, writer->header, writer->header_size);
    tensors(writer);
    bool good = fclose(file) == 0 && !writer->failed;
    return good ? STATUS_OK
                : refuse(reason, STATUS_IO, "model.safetensors was not written whole; is the disk "
                         "full?");
}

static int usage_of_shape(const char *problem)
{
    char text[512];
    int length = snprintf(text, sizeof text, "%s; --like NAME --out DIR [--bits N] [--group N] "
                          "[--layers N]; names:", problem);
    for (size_t i = 0; i < COUNT_OF(shapes); i++)
        length += snprintf(text + length, sizeof text - (size_t)length, " %s", shapes[i].name);
    return engine_command_usage("shape", text);
}

static bool take_like(const char *name, struct writer *writer)
{
    for (size_t i = 0; i < COUNT_OF(shapes); i++) {
        if (strcmp(shapes[i].name, name) != 0)
            continue;
        writer->shape = shapes[i];
        return true;
    }
    return false;
}

int engine_command_shape(int argc, char **argv)
{
    const char *out = NULL;
    uint64_t bits = 4;
    uint64_t group = 64;
    uint64_t layers = 0;
    struct writer writer = {.random = 20};
    struct reason reason = {""};
    for (int i = 1; i + 1 < argc; i += 2) {
        bool good = true;
        if (strcmp(argv[i], "--like") == 0)
            good = take_like(argv[i + 1], &writer);
        else if (strcmp(argv[i], "--out") == 0)
            out = argv[i + 1];
        else if (strcmp(argv[i], "--bits") == 0)
            good = engine_command_number(argv[i + 1], 2, 8, &bits) && bits != 7;
        else if (strcmp(argv[i], "--layers") == 0)
            good = engine_command_number(argv[i + 1], 1, 1000, &layers);
        else if (strcmp(argv[i], "--group") == 0)
            good = engine_command_number(argv[i + 1], 32, 128, &group) &&
                   (group & (group - 1)) == 0;
        else
            good = false;
        if (!good)
            return usage_of_shape(argv[i]);
    }
    if (!out || !writer.shape.name || argc % 2 == 0)
        return usage_of_shape("--like and --out are needed");
    writer.bits = (uint32_t)bits;
    writer.group = (uint32_t)group;
    if (layers > 0 && layers < writer.shape.layers)
        writer.shape.layers = (uint32_t)layers;
    if (mkdir(out, 0777) != 0 && errno != EEXIST)
        return engine_command_failed(refuse(&reason, status_from_errno(errno), "%s: %s", out,
                                            strerror(errno)), &reason);
    enum status status = write_config(out, &writer, &reason);
    if (status == STATUS_OK)
        status = write_model(out, &writer, &reason);
    memory_free(writer.header);
    return status == STATUS_OK ? ENGINE_EXIT_OK : engine_command_failed(status, &reason);
}
