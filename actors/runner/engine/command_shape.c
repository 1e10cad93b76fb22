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

struct shape {
    const char *name;
    uint32_t layers;
    uint32_t hidden;
    uint32_t heads;
    uint32_t kv_heads;
    uint32_t head_dim;
    uint32_t intermediate;
    uint32_t vocab;
    bool tied;
};

static const struct shape shapes[] = {
    {"qwen3-tiny", 2, 256, 4, 2, 64, 512, 2048, true},
    {"qwen3-0.6b", 28, 1024, 16, 8, 128, 3072, 151936, true},
    {"qwen3-1.7b", 28, 2048, 16, 8, 128, 6144, 151936, true},
    {"qwen3-4b", 36, 2560, 32, 8, 128, 9728, 151936, true},
    {"qwen3-8b", 36, 4096, 32, 8, 128, 12288, 151936, false},
};

struct writer {
    const struct shape *shape;
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

/* Adds an entry to the header, or nothing in the second pass. */
static void declare(struct writer *writer, const char *path, const char *part, const char *type,
                    uint64_t rows, uint64_t columns, uint64_t size)
{
    char shape[48];
    if (writer->file)
        return;
    if (rows == 0)
        (void)snprintf(shape, sizeof shape, "%llu", (unsigned long long)columns);
    else
        (void)snprintf(shape, sizeof shape, "%llu,%llu", (unsigned long long)rows,
                       (unsigned long long)columns);
    int length = snprintf(writer->header + writer->header_size, HEADER_ROOM - writer->header_size,
                          "%s\"%s.%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%llu,"
                          "%llu]}", writer->header_size > 1 ? "," : "", path, part, type, shape,
                          (unsigned long long)writer->offset,
                          (unsigned long long)(writer->offset + size));
    writer->header_size += (size_t)length;
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

static void norm(struct writer *writer, const char *path, uint64_t columns)
{
    declare(writer, path, "weight", "BF16", 0, columns, columns * 2);
    if (writer->file)
        put_constant(writer, columns, 1.0f);
}

/* Codes uniform, scaled so that outputs keep the size of the inputs. */
static void matrix(struct writer *writer, const char *path, uint64_t rows, uint64_t columns)
{
    uint64_t words = rows * columns * writer->bits / 32;
    uint64_t groups = rows * columns / writer->group;
    float top = (float)((1u << writer->bits) - 1);
    float scale = sqrtf(12.0f / (float)columns) / top;
    declare(writer, path, "biases", "BF16", rows, columns / writer->group, groups * 2);
    declare(writer, path, "scales", "BF16", rows, columns / writer->group, groups * 2);
    declare(writer, path, "weight", "U32", rows, columns * writer->bits / 32, words * 4);
    if (!writer->file)
        return;
    put_constant(writer, groups, -scale * top / 2.0f);
    put_constant(writer, groups, scale);
    static uint64_t chunk[CHUNK_WORDS / 2];
    for (uint64_t left = words; left > 0 && !writer->failed;) {
        size_t some = left < CHUNK_WORDS ? (size_t)left : CHUNK_WORDS;
        for (size_t i = 0; i < (some + 1) / 2; i++)
            chunk[i] = next_random(writer);
        put_bytes(writer, chunk, some * 4);
        left -= some;
    }
}

static void layer(struct writer *writer, uint32_t index)
{
    const struct shape *s = writer->shape;
    uint64_t queries = (uint64_t)s->heads * s->head_dim;
    uint64_t keys = (uint64_t)s->kv_heads * s->head_dim;
    const struct {
        const char *name;
        uint64_t rows; /* 0 for a norm */
        uint64_t columns;
    } rows[] = {
        {"input_layernorm", 0, s->hidden},
        {"mlp.down_proj", s->hidden, s->intermediate},
        {"mlp.gate_proj", s->intermediate, s->hidden},
        {"mlp.up_proj", s->intermediate, s->hidden},
        {"post_attention_layernorm", 0, s->hidden},
        {"self_attn.k_norm", 0, s->head_dim},
        {"self_attn.k_proj", keys, s->hidden},
        {"self_attn.o_proj", s->hidden, queries},
        {"self_attn.q_norm", 0, s->head_dim},
        {"self_attn.q_proj", queries, s->hidden},
        {"self_attn.v_proj", keys, s->hidden},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char path[96];
        (void)snprintf(path, sizeof path, "model.layers.%u.%s", index, rows[i].name);
        if (rows[i].rows == 0)
            norm(writer, path, rows[i].columns);
        else
            matrix(writer, path, rows[i].rows, rows[i].columns);
    }
}

static void tensors(struct writer *writer)
{
    if (!writer->shape->tied)
        matrix(writer, "lm_head", writer->shape->vocab, writer->shape->hidden);
    matrix(writer, "model.embed_tokens", writer->shape->vocab, writer->shape->hidden);
    for (uint32_t i = 0; i < writer->shape->layers; i++)
        layer(writer, i);
    norm(writer, "model.norm", writer->shape->hidden);
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

static enum status write_config(const char *directory, const struct writer *writer,
                                struct reason *reason)
{
    const struct shape *s = writer->shape;
    FILE *file = NULL;
    enum status status = open_file(directory, "config.json", &file, reason);
    if (status != STATUS_OK)
        return status;
    (void)fprintf(file,
                  "{\"model_type\": \"qwen3\", \"num_hidden_layers\": %u, \"hidden_size\": %u,\n"
                  " \"num_attention_heads\": %u, \"num_key_value_heads\": %u, \"head_dim\": %u,\n"
                  " \"intermediate_size\": %u, \"vocab_size\": %u, \"rms_norm_eps\": 1e-06,\n"
                  " \"rope_theta\": 1000000.0, \"max_position_embeddings\": 40960,\n"
                  " \"tie_word_embeddings\": %s, \"torch_dtype\": \"bfloat16\",\n"
                  " \"quantization\": {\"group_size\": %u, \"bits\": %u, \"mode\": \"affine\"}}\n",
                  s->layers, s->hidden, s->heads, s->kv_heads, s->head_dim, s->intermediate,
                  s->vocab, s->tied ? "true" : "false", writer->group, writer->bits);
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

int engine_command_shape(int argc, char **argv)
{
    const char *out = NULL;
    uint64_t bits = 4;
    uint64_t group = 64;
    struct writer writer = {.random = 20};
    struct reason reason = {""};
    for (int i = 1; i + 1 < argc; i += 2) {
        bool good = true;
        if (strcmp(argv[i], "--like") == 0) {
            for (size_t k = 0; k < COUNT_OF(shapes); k++)
                writer.shape = strcmp(shapes[k].name, argv[i + 1]) == 0 ? &shapes[k]
                                                                        : writer.shape;
        } else if (strcmp(argv[i], "--out") == 0) {
            out = argv[i + 1];
        } else if (strcmp(argv[i], "--bits") == 0) {
            good = engine_command_number(argv[i + 1], 2, 8, &bits) && bits != 7;
        } else if (strcmp(argv[i], "--group") == 0) {
            good = engine_command_number(argv[i + 1], 32, 128, &group) &&
                   (group & (group - 1)) == 0;
        } else {
            good = false;
        }
        if (!good)
            return engine_command_usage("shape", argv[i]);
    }
    if (!out || !writer.shape || argc % 2 == 0)
        return engine_command_usage("shape", "--like qwen3-0.6b, qwen3-1.7b, qwen3-4b, qwen3-8b or "
                                    "qwen3-tiny, and --out DIR");
    writer.bits = (uint32_t)bits;
    writer.group = (uint32_t)group;
    if (mkdir(out, 0777) != 0 && errno != EEXIST)
        return engine_command_failed(refuse(&reason, status_from_errno(errno), "%s: %s", out,
                                            strerror(errno)), &reason);
    enum status status = write_config(out, &writer, &reason);
    if (status == STATUS_OK)
        status = write_model(out, &writer, &reason);
    memory_free(writer.header);
    return status == STATUS_OK ? ENGINE_EXIT_OK : engine_command_failed(status, &reason);
}
