/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/made_shape.h"

#include "protocol/memory.h"

#include <math.h>
#include <string.h>

#define HEADER_ROOM ((size_t)1 << 20)
#define CHUNK_WORDS 8192u
#define SEED 20u
#define DENSE_BITS 16u

/* Of Qwen3-30B-A3B, and of the small Qwen3.5. */
#define EXPERTS 128u
#define EXPERTS_USED 8u
#define DELTA_HEADS 16u
#define DELTA_HEAD_DIM 128u
#define DELTA_TAPS 4u
#define FULL_INTERVAL 4u

struct writer {
    struct made_shape shape;
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

/* Of one size, their signs random. */
static void put_dense(struct writer *writer, uint64_t count, float size)
{
    uint32_t bits;
    uint16_t numbers[1024];
    memcpy(&bits, &size, sizeof bits);
    for (uint64_t left = count; left > 0 && !writer->failed;) {
        size_t some = left < COUNT_OF(numbers) ? (size_t)left : COUNT_OF(numbers);
        for (size_t i = 0; i < some; i++)
            numbers[i] = (uint16_t)(bits >> 16 | (next_random(writer) & 1) << 15);
        put_bytes(writer, numbers, some * sizeof *numbers);
        left -= some;
    }
}

/* `copies` matrices in one tensor, 0: one without an axis for it.  Codes uniform, scaled so that
 * outputs keep the size of the inputs. */
static void matrices(struct writer *writer, const char *path, uint64_t copies, uint64_t rows,
                     uint64_t columns, uint32_t bits)
{
    uint64_t count = (copies ? copies : 1) * rows * columns;
    if (bits == DENSE_BITS) {
        declare(writer, path, ".weight", "BF16", (const uint64_t[]){copies, rows, columns},
                count * 2);
        if (writer->file)
            put_dense(writer, count, sqrtf(3.0f / (float)columns));
        return;
    }
    uint64_t words = count * bits / 32;
    uint64_t groups = count / writer->shape.group;
    float top = (float)((1u << bits) - 1);
    float scale = sqrtf(12.0f / (float)columns) / top;
    const uint64_t numbers[] = {copies, rows, columns / writer->shape.group};
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
            matrices(writer, path, rows[i].copies, rows[i].rows, rows[i].columns,
                     writer->shape.bits);
    }
}

static void attention(struct writer *writer, const char *layer)
{
    const struct made_shape *s = &writer->shape;
    uint64_t queries = (uint64_t)s->heads * s->head_dim;
    uint64_t keys = (uint64_t)s->kv_heads * s->head_dim;
    const struct layer_row rows[] = {
        {"self_attn.k_proj", 0, keys, s->hidden},
        {"self_attn.o_proj", 0, s->hidden, queries},
        {"self_attn.q_proj", 0, s->kind == MADE_DELTA ? 2 * queries : queries, s->hidden},
        {"self_attn.v_proj", 0, keys, s->hidden},
        {"self_attn.k_norm", 0, 0, s->head_dim},
        {"self_attn.q_norm", 0, 0, s->head_dim},
    };
    layer_rows(writer, layer, rows, COUNT_OF(rows) - (s->kind == MADE_LLAMA ? 2 : 0));
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
    const struct made_shape *s = &writer->shape;
    bool is_many = s->kind == MADE_MOE;
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
    const struct made_shape *s = &writer->shape;
    const char *before = s->kind == MADE_DELTA ? "language_model." : "";
    char path[64];
    if (!s->tied)
        matrices(writer, "lm_head", 0, s->vocab, s->hidden, writer->shape.bits);
    (void)snprintf(path, sizeof path, "%smodel.embed_tokens", before);
    matrices(writer, path, 0, s->vocab, s->hidden, writer->shape.bits);
    for (uint32_t i = 0; i < s->layers; i++) {
        (void)snprintf(path, sizeof path, "%smodel.layers.%u", before, i);
        if (s->kind == MADE_DELTA && (i + 1) % FULL_INTERVAL != 0)
            delta(writer, path);
        else
            attention(writer, path);
        feed_forward(writer, path);
    }
    (void)snprintf(path, sizeof path, "%smodel.norm", before);
    vector(writer, path, ".weight", s->hidden, 1.0f);
}

/* What the families' files have beside the usual keys. */
static void put_family_keys(FILE *file, const struct writer *writer)
{
    switch (writer->shape.kind) {
    case MADE_QWEN3:
        (void)fputs(" \"rope_theta\": 1000000.0,", file);
        break;
    case MADE_LLAMA:
        (void)fputs(" \"rope_theta\": 500000.0, \"rope_scaling\": {\"rope_type\": \"llama3\", "
                    "\"factor\": 32.0,\n \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, "
                    "\"original_max_position_embeddings\": 8192},", file);
        break;
    case MADE_MOE:
        (void)fprintf(file, " \"rope_theta\": 1000000.0, \"num_experts\": %u, "
                      "\"num_experts_per_tok\": %u,\n \"moe_intermediate_size\": %u, "
                      "\"norm_topk_prob\": true, \"decoder_sparse_step\": 1, "
                      "\"mlp_only_layers\": [],", EXPERTS, EXPERTS_USED,
                      writer->shape.intermediate);
        break;
    case MADE_DELTA:
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
    if (writer->shape.bits == DENSE_BITS) {
        (void)fputs(" \"use_cache\": true}\n", file);
        return;
    }
    (void)fprintf(file, " \"quantization\": {\"group_size\": %u, \"bits\": %u, \"mode\": "
                  "\"affine\"", writer->shape.group, writer->shape.bits);
    /* Routers are kept in 8 bits. */
    for (uint32_t i = 0; writer->shape.kind == MADE_MOE && i < writer->shape.layers; i++)
        (void)fprintf(file, ",\n  \"model.layers.%u.mlp.gate\": {\"group_size\": %u, \"bits\": 8}",
                      i, writer->shape.group);
    (void)fputs("}}\n", file);
}

void made_shape_put_config(const struct made_shape *s, FILE *file)
{
    static const char *const types[] = {"qwen3", "llama", "qwen3_moe", "qwen3_5"};
    const struct writer writer = {.shape = *s};
    (void)fprintf(file, "{\"model_type\": \"%s\",\n", types[s->kind]);
    (void)fprintf(file,
                  " \"num_hidden_layers\": %u, \"hidden_size\": %u,\n"
                  " \"num_attention_heads\": %u, \"num_key_value_heads\": %u, \"head_dim\": %u,\n"
                  " \"intermediate_size\": %u, \"vocab_size\": %u, \"rms_norm_eps\": 1e-06,\n"
                  " \"max_position_embeddings\": 40960, \"tie_word_embeddings\": %s,\n"
                  " \"torch_dtype\": \"bfloat16\",", s->layers, s->hidden, s->heads, s->kv_heads,
                  s->head_dim, s->kind == MADE_MOE ? 6144 : s->intermediate, s->vocab,
                  s->tied ? "true" : "false");
    put_family_keys(file, &writer);
    put_quantisation(file, &writer);
}

enum status made_shape_header(const struct made_shape *shape, char **header_out, size_t *size_out,
                              uint64_t *weights_size_out, struct reason *reason)
{
    struct writer writer = {.shape = *shape, .header = memory_zeroed(HEADER_ROOM, 1)};
    if (!writer.header)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for a header");
    writer.header[writer.header_size++] = '{';
    tensors(&writer);
    if (writer.failed || writer.header_size + 1 >= HEADER_ROOM) {
        memory_free(writer.header);
        return refuse(reason, STATUS_TOO_LARGE, "the header is too large");
    }
    writer.header[writer.header_size++] = '}';
    *header_out = writer.header;
    *size_out = writer.header_size;
    *weights_size_out = writer.offset;
    return STATUS_OK;
}

bool made_shape_put_weights(const struct made_shape *shape, FILE *file)
{
    struct writer writer = {.shape = *shape, .file = file, .random = SEED};
    tensors(&writer);
    return !writer.failed;
}
