/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layout of a file: u64 little-endian N, N bytes of JSON that begin with '{', tensor bytes.
 * `data_offsets` count from byte 8 + N.  Files made by MLX pad nothing: data may lie unaligned.
 */
#include "runtime/safetensors.h"

#include "protocol/memory.h"
#include "runtime/safetensors_scan.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    enum tensor_type type;
    uint32_t bits;
    const char *name;
} types[] = {
#define TENSOR_TYPE_ROW(code, NAME, bits) {TENSOR_##NAME, bits, #NAME},
    TENSOR_TYPE_LIST(TENSOR_TYPE_ROW)
#undef TENSOR_TYPE_ROW
};

uint32_t tensor_type_bits(enum tensor_type type)
{
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        if (types[i].type == type)
            return types[i].bits;
    }
    return 0;
}

const char *tensor_type_name(enum tensor_type type)
{
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        if (types[i].type == type)
            return types[i].name;
    }
    return "unknown";
}

bool tensor_bytes(enum tensor_type type, const uint64_t *shape, uint32_t rank, uint64_t *size_out)
{
    uint64_t bits = tensor_type_bits(type);
    if (bits == 0)
        return false;
    /* A zero anywhere makes the product zero, whatever the others are. */
    for (uint32_t i = 0; i < rank; i++) {
        if (shape[i] == 0) {
            *size_out = 0;
            return true;
        }
    }
    for (uint32_t i = 0; i < rank; i++) {
        if (__builtin_mul_overflow(bits, shape[i], &bits))
            return false;
    }
    if (bits % 8 != 0)
        return false;
    *size_out = bits / 8;
    return true;
}

bool safetensors_is_file_name(const char *name)
{
    size_t length = strlen(name);
    const char *ending = ".safetensors";
    size_t ending_length = strlen(ending);
    if (length <= ending_length || length >= SAFETENSORS_FILE_NAME_SIZE_MAX || name[0] == '.')
        return false;
    if (strcmp(name + length - ending_length, ending) != 0 || strstr(name, ".."))
        return false;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)name[i];
        if (c < 0x20 || c == 0x7f || c == '/' || c == '\\')
            return false;
    }
    return true;
}

void tensor_table_free(struct tensor_table *table)
{
    if (!table)
        return;
    memory_free(table->tensors);
    memory_free(table->files);
    memory_free(table->names);
    memory_free(table);
}

static int compare_names(const void *left, const void *right)
{
    const struct tensor *a = left;
    const struct tensor *b = right;
    return strcmp(a->name, b->name);
}

const struct tensor *tensor_table_find(const struct tensor_table *table, const char *name)
{
    struct tensor key = {.name = name};
    if (table->tensor_count == 0)
        return NULL;
    return bsearch(&key, table->tensors, table->tensor_count, sizeof *table->tensors,
                   compare_names);
}

static uint64_t little_endian(const unsigned char *bytes)
{
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--)
        value = value << 8 | bytes[i];
    return value;
}

/* Reads an array of non-negative integers of at most `count_max`. */
static bool read_numbers(const json_t *array, uint64_t *numbers_out, size_t count_max,
                         size_t *count_out)
{
    if (!json_is_array(array) || json_array_size(array) > count_max)
        return false;
    size_t count = json_array_size(array);
    for (size_t i = 0; i < count; i++) {
        const json_t *number = json_array_get(array, i);
        if (!json_is_integer(number) || json_integer_value(number) < 0)
            return false;
        numbers_out[i] = (uint64_t)json_integer_value(number);
    }
    *count_out = count;
    return true;
}

static bool read_type(const json_t *value, enum tensor_type *type_out)
{
    const char *name = json_string_value(value);
    for (size_t i = 0; name && i < COUNT_OF(types); i++) {
        if (strcmp(types[i].name, name) == 0) {
            *type_out = types[i].type;
            return true;
        }
    }
    return false;
}

/* One entry; offsets stay relative to the data until coverage was checked. */
static enum status read_entry(const char *label, const char *name, const json_t *entry,
                              struct tensor *tensor_out, struct reason *reason)
{
    uint64_t range[2] = {0, 0};
    size_t range_count = 0;
    size_t rank = 0;
    uint64_t bytes = 0;
    if (!json_is_object(entry) || json_object_size(entry) != 3)
        return refuse(reason, STATUS_MALFORMED,
                      "%s: tensor %.200s needs exactly dtype, shape and data_offsets", label, name);
    const json_t *type = json_object_get(entry, "dtype");
    if (!read_type(type, &tensor_out->type))
        return refuse(reason, STATUS_UNSUPPORTED, "%s: tensor %.200s has dtype %.40s, which is "
                      "not known", label, name,
                      json_is_string(type) ? json_string_value(type) : "(none)");
    if (!read_numbers(json_object_get(entry, "shape"), tensor_out->shape, SAFETENSORS_RANK_MAX,
                      &rank))
        return refuse(reason, STATUS_MALFORMED,
                      "%s: the shape of tensor %.200s is not a list of at most %u sizes", label,
                      name, SAFETENSORS_RANK_MAX);
    tensor_out->rank = (uint32_t)rank;
    if (!read_numbers(json_object_get(entry, "data_offsets"), range, 2, &range_count) ||
        range_count != 2 || range[0] > range[1])
        return refuse(reason, STATUS_MALFORMED,
                      "%s: data_offsets of tensor %.200s are not a begin and an end", label, name);
    if (!tensor_bytes(tensor_out->type, tensor_out->shape, tensor_out->rank, &bytes) ||
        bytes != range[1] - range[0])
        return refuse(reason, STATUS_MALFORMED,
                      "%s: tensor %.200s has %llu bytes but its shape asks for another size; "
                      "download the file again", label, name,
                      (unsigned long long)(range[1] - range[0]));
    tensor_out->offset = range[0];
    tensor_out->size = bytes;
    return STATUS_OK;
}

static bool is_metadata(const json_t *value)
{
    if (json_is_null(value))
        return true;
    if (!json_is_object(value))
        return false;
    const char *key;
    json_t *text;
    json_t *metadata = json_incref((json_t *)(uintptr_t)value);
    bool good = true;
    json_object_foreach (metadata, key, text) {
        if (!json_is_string(text))
            good = false;
    }
    json_decref(metadata);
    return good;
}

/* Copies names into one block and entries into the array. */
static enum status fill_table(const char *label, json_t *root, struct tensor_table *table,
                              struct reason *reason)
{
    const char *name;
    json_t *entry;
    size_t names_size = strlen(label) + 1;
    json_object_foreach (root, name, entry)
        names_size += strlen(name) + 1;
    table->names = memory_zeroed(names_size, 1);
    table->tensors = memory_zeroed(json_object_size(root), sizeof *table->tensors);
    table->files = memory_zeroed(1, sizeof *table->files);
    if (!table->names || !table->tensors || !table->files)
        return refuse(reason, STATUS_NO_MEMORY, "%s: no memory for its table of tensors", label);
    char *next = table->names;
    memcpy(next, label, strlen(label) + 1);
    table->files[0].name = next;
    table->file_count = 1;
    next += strlen(label) + 1;
    json_object_foreach (root, name, entry) {
        if (strcmp(name, "__metadata__") == 0) {
            if (!is_metadata(entry))
                return refuse(reason, STATUS_MALFORMED,
                              "%s: __metadata__ is not a map of strings", label);
            continue;
        }
        if (strlen(name) >= SAFETENSORS_NAME_SIZE_MAX)
            return refuse(reason, STATUS_TOO_LARGE, "%s: the name of tensor %.60s... is longer "
                          "than %u bytes", label, name, SAFETENSORS_NAME_SIZE_MAX);
        struct tensor *tensor = &table->tensors[table->tensor_count];
        enum status status = read_entry(label, name, entry, tensor, reason);
        if (status != STATUS_OK)
            return status;
        memcpy(next, name, strlen(name) + 1);
        tensor->name = next;
        next += strlen(name) + 1;
        table->tensor_count++;
    }
    return STATUS_OK;
}

static int compare_offsets(const void *left, const void *right)
{
    const struct tensor *a = left;
    const struct tensor *b = right;
    if (a->offset != b->offset)
        return a->offset < b->offset ? -1 : 1;
    return (a->size > b->size) - (a->size < b->size);
}

/* No hole, no overlap, no tail; then offsets count from the start of the file. */
static enum status check_coverage(const char *label, uint64_t data_start, uint64_t file_size,
                                  struct tensor_table *table, struct reason *reason)
{
    qsort(table->tensors, table->tensor_count, sizeof *table->tensors, compare_offsets);
    uint64_t end = 0;
    uint64_t data_size = file_size - data_start;
    for (size_t i = 0; i < table->tensor_count; i++) {
        struct tensor *tensor = &table->tensors[i];
        if (tensor->offset != end)
            return refuse(reason, STATUS_MALFORMED,
                          "%s: tensor %.200s begins at %llu where %llu was due (%s); download the "
                          "file again", label, tensor->name, (unsigned long long)tensor->offset,
                          (unsigned long long)end, tensor->offset < end ? "overlap" : "hole");
        if (tensor->size > data_size - end)
            return refuse(reason, STATUS_MALFORMED,
                          "%s: tensor %.200s ends beyond the file, which has %llu bytes; the "
                          "download was cut, fetch it again", label, tensor->name,
                          (unsigned long long)file_size);
        end += tensor->size;
        tensor->offset += data_start;
    }
    if (end != data_size)
        return refuse(reason, STATUS_MALFORMED,
                      "%s: %llu bytes after the last tensor; download the file again", label,
                      (unsigned long long)(data_size - end));
    qsort(table->tensors, table->tensor_count, sizeof *table->tensors, compare_names);
    return STATUS_OK;
}

static enum status check_size(const unsigned char *bytes, size_t size, uint64_t file_size,
                              const char *label, uint64_t *header_size_out, struct reason *reason)
{
    if (file_size < 8 || size < 8)
        return refuse(reason, STATUS_MALFORMED,
                      "%s: shorter than 8 bytes, so not a safetensors file", label);
    uint64_t header_size = little_endian(bytes);
    if (header_size == 0 || header_size > SAFETENSORS_HEADER_SIZE_MAX)
        return refuse(reason, STATUS_MALFORMED,
                      "%s: header of %llu bytes (1 to %llu allowed), so not a safetensors file",
                      label, (unsigned long long)header_size,
                      (unsigned long long)SAFETENSORS_HEADER_SIZE_MAX);
    if (header_size > file_size - 8 || header_size > size - 8)
        return refuse(reason, STATUS_MALFORMED,
                      "%s: the header ends beyond the file; the download was cut, fetch it again",
                      label);
    if (bytes[8] != '{')
        return refuse(reason, STATUS_MALFORMED, "%s: the header does not begin with '{'", label);
    *header_size_out = header_size;
    return STATUS_OK;
}

/* The name is where the reader stopped; jansson leaves long ones out of its own text. */
static enum status refuse_json(const char *label, const char *text, const json_error_t *error,
                               struct reason *reason)
{
    size_t end = error->position > 0 ? (size_t)error->position : 0;
    if (json_error_code(error) == json_error_duplicate_key) {
        while (end > 0 && text[end - 1] != '"')
            end--;
        size_t first = end > 0 ? end - 1 : 0;
        while (first > 0 && text[first - 1] != '"')
            first--;
        if (first > 0)
            return refuse(reason, STATUS_MALFORMED, "%s: tensor or key %.*s is there twice", label,
                          (int)(end - 1 - first < 200 ? end - 1 - first : 200), text + first);
    }
    return refuse(reason, STATUS_MALFORMED, "%s: header: %s", label, error->text);
}

enum status safetensors_parse(const void *bytes, size_t size, uint64_t file_size,
                              const char *label, struct tensor_table **table_out,
                              struct reason *reason)
{
    uint64_t header_size = 0;
    const char *text = (const char *)bytes + 8;
    enum status status = check_size(bytes, size, file_size, label, &header_size, reason);
    if (status == STATUS_OK)
        status = safetensors_scan(text, (size_t)header_size, label, reason);
    if (status != STATUS_OK)
        return status;
    json_error_t error;
    json_t *root = json_loadb(text, (size_t)header_size, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(root)) {
        json_decref(root);
        return root ? refuse(reason, STATUS_MALFORMED, "%s: header: not an object", label)
                    : refuse_json(label, text, &error, reason);
    }
    struct tensor_table *table = memory_zeroed(1, sizeof *table);
    if (!table)
        status = refuse(reason, STATUS_NO_MEMORY, "%s: no memory for its table", label);
    if (status == STATUS_OK)
        status = fill_table(label, root, table, reason);
    if (status == STATUS_OK) {
        table->files[0].size = file_size;
        status = check_coverage(label, 8 + header_size, file_size, table, reason);
    }
    json_decref(root);
    if (status != STATUS_OK) {
        tensor_table_free(table);
        return status;
    }
    *table_out = table;
    return STATUS_OK;
}
