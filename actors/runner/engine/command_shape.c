/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes a model of a real shape with random weights in the stock MLX layout, for measurements
 * where the real one is not at hand.  It has no tokenizer and says nothing sensible.
 */
#include "actors/runner/engine/commands.h"
#include "actors/runner/engine/made_shape.h"
#include "protocol/memory.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const struct made_shape shapes[] = {
    {"qwen3-tiny", MADE_QWEN3, 2, 256, 4, 2, 64, 512, 2048, true, 0, 0},
    {"qwen3-small", MADE_QWEN3, 16, 768, 8, 4, 128, 2048, 65536, true, 0, 0},
    {"qwen3-0.6b", MADE_QWEN3, 28, 1024, 16, 8, 128, 3072, 151936, true, 0, 0},
    {"qwen3-1.7b", MADE_QWEN3, 28, 2048, 16, 8, 128, 6144, 151936, true, 0, 0},
    {"qwen3-4b", MADE_QWEN3, 36, 2560, 32, 8, 128, 9728, 151936, true, 0, 0},
    {"qwen3-8b", MADE_QWEN3, 36, 4096, 32, 8, 128, 12288, 151936, false, 0, 0},
    {"llama-3.2-1b", MADE_LLAMA, 16, 2048, 32, 8, 64, 8192, 128256, true, 0, 0},
    {"llama-tiny", MADE_LLAMA, 2, 256, 4, 2, 64, 512, 2048, true, 0, 0},
    {"qwen3-moe-tiny", MADE_MOE, 2, 256, 4, 2, 64, 64, 2048, false, 0, 0},
    {"qwen3.5-tiny", MADE_DELTA, 4, 256, 4, 2, 64, 512, 2048, true, 0, 0},
    {"qwen3.5-2b", MADE_DELTA, 24, 2048, 8, 2, 256, 6144, 248320, true, 0, 0},
    {"qwen3-30b-a3b", MADE_MOE, 48, 2048, 32, 4, 128, 768, 151936, false, 0, 0},
};

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

static enum status write_config(const char *directory, const struct made_shape *shape,
                                struct reason *reason)
{
    FILE *file = NULL;
    enum status status = open_file(directory, "config.json", &file, reason);
    if (status != STATUS_OK)
        return status;
    made_shape_put_config(shape, file);
    bool good = !ferror(file);
    good = fclose(file) == 0 && good;
    return good ? STATUS_OK : refuse(reason, STATUS_IO, "config.json was not written whole");
}

static enum status write_model(const char *directory, const struct made_shape *shape,
                               struct reason *reason)
{
    FILE *file = NULL;
    char *header = NULL;
    size_t length = 0;
    uint64_t weights_size = 0;
    uint8_t size[8];
    enum status status = made_shape_header(shape, &header, &length, &weights_size, reason);
    if (status == STATUS_OK)
        status = open_file(directory, "model.safetensors", &file, reason);
    if (status == STATUS_OK) {
        for (size_t i = 0; i < 8; i++)
            size[i] = (uint8_t)((uint64_t)length >> (8 * i));
        bool good = fwrite(size, 1, sizeof size, file) == sizeof size &&
                    fwrite(header, 1, length, file) == length &&
                    made_shape_put_weights(shape, file);
        good = fclose(file) == 0 && good;
        if (!good)
            status = refuse(reason, STATUS_IO, "model.safetensors was not written whole; is the "
                            "disk full?");
    }
    memory_free(header);
    return status;
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

static bool take_like(const char *name, struct made_shape *shape)
{
    for (size_t i = 0; i < COUNT_OF(shapes); i++) {
        if (strcmp(shapes[i].name, name) != 0)
            continue;
        *shape = shapes[i];
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
    struct made_shape shape = {.name = NULL};
    struct reason reason = {""};
    for (int i = 1; i + 1 < argc; i += 2) {
        bool good = true;
        if (strcmp(argv[i], "--like") == 0)
            good = take_like(argv[i + 1], &shape);
        else if (strcmp(argv[i], "--out") == 0)
            out = argv[i + 1];
        else if (strcmp(argv[i], "--bits") == 0)
            good = engine_command_number(argv[i + 1], 2, 16, &bits) && bits != 7 &&
                   (bits <= 8 || bits == 16);
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
    if (!out || !shape.name || argc % 2 == 0)
        return usage_of_shape("--like and --out are needed");
    shape.bits = (uint32_t)bits;
    shape.group = (uint32_t)group;
    if (layers > 0 && layers < shape.layers)
        shape.layers = (uint32_t)layers;
    if (mkdir(out, 0777) != 0 && errno != EEXIST)
        return engine_command_failed(refuse(&reason, status_from_errno(errno), "%s: %s", out,
                                            strerror(errno)), &reason);
    enum status status = write_config(out, &shape, &reason);
    if (status == STATUS_OK)
        status = write_model(out, &shape, &reason);
    return status == STATUS_OK ? ENGINE_EXIT_OK : engine_command_failed(status, &reason);
}
