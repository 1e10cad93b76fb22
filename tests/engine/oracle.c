/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/engine/oracle.h"

#include "protocol/memory.h"
#include "tests/support/scratch.h"

#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const oracle_models[] = {
    "qwen3-untied__affine2-g128",         "qwen3-untied__affine3-g32",
    "qwen3-untied__affine4-g64",          "qwen3-untied__affine4-g64-sharded",
    "qwen3-untied__affine5-g128",         "qwen3-short__affine6-g32",
    "qwen3-short__affine8-g64",           "qwen3-slim__f16",
    "qwen3-untied__f16-affine4-g64",      "qwen3-short__mixed-false",
    "qwen3-tied__affine4-g64",
};
const size_t oracle_model_count = COUNT_OF(oracle_models);

bool oracle_is_outside(void)
{
    return getenv("TROUPE_ORACLES") != NULL;
}

static const char *directory(char *path_out)
{
    const char *outside = getenv("TROUPE_ORACLES");
    if (!outside)
        return source_path("tests/engine/models", path_out);
    (void)snprintf(path_out, 512, "%s", outside);
    return path_out;
}

/* Models and fixtures in folders of their own? */
static bool is_in_folders(const char *path)
{
    char fixtures[600];
    (void)snprintf(fixtures, sizeof fixtures, "%s/fixtures", path);
    return access(fixtures, F_OK) == 0;
}

const char *oracle_model_path(const char *name, char *path_out)
{
    char path[512];
    const char *variant = strstr(name, "__");
    (void)directory(path);
    int written = is_in_folders(path) && variant
                      ? snprintf(path_out, 512, "%s/models/%.*s/%s", path, (int)(variant - name),
                                 name, variant + 2)
                      : snprintf(path_out, 512, "%s/%s", path, name);
    ck_assert_int_lt(written, 512);
    return path_out;
}

static const char *oracle_path(const char *name, char *path_out)
{
    char path[512];
    (void)directory(path);
    int written = is_in_folders(path)
                      ? snprintf(path_out, 512, "%s/fixtures/%s.safetensors", path, name)
                      : snprintf(path_out, 512, "%s/%s.oracle", path, name);
    ck_assert_int_lt(written, 512);
    return path_out;
}

static int compare_names(const void *left, const void *right)
{
    return strcmp(left, right);
}

size_t oracle_names(char (*names_out)[ORACLE_NAME_SIZE])
{
    char path[512];
    char fixtures[600];
    size_t count = 0;
    const char *prefix = getenv("TROUPE_FAMILY");
    (void)directory(path);
    bool is_folder = is_in_folders(path);
    (void)snprintf(fixtures, sizeof fixtures, is_folder ? "%s/fixtures" : "%s", path);
    DIR *stream = opendir(fixtures);
    ck_assert_ptr_nonnull(stream);
    const struct dirent *entry;
    while ((entry = readdir(stream)) && count < ORACLE_NAMES_MAX) {
        const char *end = strstr(entry->d_name, is_folder ? ".safetensors" : ".oracle");
        if (!end || (prefix && strncmp(entry->d_name, prefix, strlen(prefix)) != 0))
            continue;
        (void)snprintf(names_out[count++], ORACLE_NAME_SIZE, "%.*s", (int)(end - entry->d_name),
                       entry->d_name);
    }
    closedir(stream);
    qsort(names_out, count, ORACLE_NAME_SIZE, compare_names);
    return count;
}

void oracle_model_open(const char *name, struct engine_model *model_out)
{
    char path[512];
    struct reason reason = {""};
    enum status status = engine_model_open(oracle_model_path(name, path), model_out, &reason);
    ck_assert_msg(status == STATUS_OK, "%s: %s", name, reason.text);
}

void oracle_open(const char *name, struct oracle *oracle_out)
{
    char path[512];
    size_t size = 0;
    struct reason reason = {""};
    char *read = file_bytes(oracle_path(name, path), &size);
    enum status status = safetensors_parse(read, size, size, name, &oracle_out->table, &reason);
    ck_assert_msg(status == STATUS_OK, "%s: %s", name, reason.text);
    /* Data may lie at any offset; every tensor is moved to an aligned place. */
    oracle_out->bytes = memory_zeroed(size + 8 * oracle_out->table->tensor_count + 8, 1);
    ck_assert_ptr_nonnull(oracle_out->bytes);
    uint64_t next = 0;
    for (size_t i = 0; i < oracle_out->table->tensor_count; i++) {
        struct tensor *tensor = &oracle_out->table->tensors[i];
        memcpy(oracle_out->bytes + next, read + tensor->offset, (size_t)tensor->size);
        tensor->offset = next;
        next += (tensor->size + 7) / 8 * 8;
    }
    memory_free(read);
}

void oracle_close(struct oracle *oracle)
{
    tensor_table_free(oracle->table);
    memory_free(oracle->bytes);
}

static const void *find(const struct oracle *oracle, const char *name, unsigned prompt,
                        enum tensor_type type, size_t *count_out)
{
    char full[64];
    (void)snprintf(full, sizeof full, "%s.%u", name, prompt);
    const struct tensor *tensor = tensor_table_find(oracle->table, full);
    ck_assert_msg(tensor && tensor->type == type, "%s is not in the oracle", full);
    *count_out = (size_t)tensor->size / 4;
    return oracle->bytes + tensor->offset;
}

const float *oracle_floats(const struct oracle *oracle, const char *name, unsigned prompt,
                           size_t *count_out)
{
    return find(oracle, name, prompt, TENSOR_F32, count_out);
}

const int32_t *oracle_ids(const struct oracle *oracle, const char *name, unsigned prompt,
                          size_t *count_out)
{
    return find(oracle, name, prompt, TENSOR_I32, count_out);
}
