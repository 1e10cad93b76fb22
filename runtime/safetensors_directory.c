/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/memory.h"
#include "runtime/hub_link.h"
#include "runtime/hub_names.h"
#include "runtime/safetensors.h"
#include "runtime/safetensors_scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define INDEX_NAME "model.safetensors.index.json"
#define INDEX_SIZE_MAX ((size_t)128 << 20)
#define PATH_SIZE_MAX 4096

struct file_names {
    char **names;
    size_t count;
};

static void names_free(struct file_names *list)
{
    for (size_t i = 0; i < list->count; i++)
        memory_free(list->names[i]);
    memory_free(list->names);
}

static int compare_text(const void *left, const void *right)
{
    char *const *a = left;
    char *const *b = right;
    return strcmp(*a, *b);
}

static enum status names_add(struct file_names *list, const char *name, struct reason *reason)
{
    for (size_t i = list->count; i > 0; i--) {
        if (strcmp(list->names[i - 1], name) == 0)
            return STATUS_OK;
    }
    if (list->count == SAFETENSORS_FILES_MAX)
        return refuse(reason, STATUS_TOO_LARGE, "more than %u weight files", SAFETENSORS_FILES_MAX);
    char **grown = memory_resized(list->names, list->count + 1, sizeof *grown);
    if (!grown)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for the list of weight files");
    list->names = grown;
    list->names[list->count] = memory_text(name, strlen(name));
    if (!list->names[list->count])
        return refuse(reason, STATUS_NO_MEMORY, "no memory for the list of weight files");
    list->count++;
    return STATUS_OK;
}

/* A name that the cache could have may be one of its links. */
static int open_below(const char *directory, const char *name)
{
    const int opened = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (opened < 0)
        return -1;
    const int file = hub_path_is_sound(name)
                         ? hub_file_open(opened, name, NULL)
                         : openat(opened, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    const int error = errno;
    (void)close(opened);
    errno = error;
    return file;
}

enum status model_file_open(const char *directory, const char *name, int *file_out,
                            uint64_t *size_out, struct reason *reason)
{
    char path[PATH_SIZE_MAX];
    int length = snprintf(path, sizeof path, "%s/%s", directory, name);
    if (length < 0 || (size_t)length >= sizeof path)
        return refuse(reason, STATUS_TOO_LARGE, "the path of %.100s is too long", name);
    int file = open_below(directory, name);
    if (file < 0 && errno == ELOOP)
        return refuse(reason, STATUS_REFUSED, "%s is a symbolic link out of the model; put the "
                      "file itself there", path);
    if (file < 0 && errno == EINVAL)
        return refuse(reason, STATUS_INVALID, "%s is not a regular file", path);
    if (file < 0 && errno == ENOENT)
        return refuse(reason, STATUS_NOT_FOUND,
                      "%s is missing; name a whole model directory in the MLX layout", path);
    if (file < 0)
        return refuse(reason, status_from_errno(errno), "%s cannot be read: %s", path,
                      strerror(errno));
    struct stat facts;
    if (fstat(file, &facts) != 0 || !S_ISREG(facts.st_mode)) {
        close(file);
        return refuse(reason, STATUS_INVALID, "%s is not a regular file", path);
    }
    *file_out = file;
    *size_out = (uint64_t)facts.st_size;
    return STATUS_OK;
}

static enum status read_all(int file, char *bytes, size_t size, const char *name,
                            struct reason *reason)
{
    for (size_t have = 0; have < size;) {
        ssize_t got = pread(file, bytes + have, size - have, (off_t)have);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return refuse(reason, STATUS_IO, "%s: %s", name, strerror(errno));
        if (got == 0)
            return refuse(reason, STATUS_IO, "%s shrank while it was read", name);
        have += (size_t)got;
    }
    return STATUS_OK;
}

enum status model_file_read(const char *directory, const char *name, size_t size_max,
                            char **text_out, size_t *size_out, struct reason *reason)
{
    int file = -1;
    uint64_t size = 0;
    enum status status = model_file_open(directory, name, &file, &size, reason);
    if (status != STATUS_OK)
        return status;
    char *text = NULL;
    if (size > size_max)
        status = refuse(reason, STATUS_TOO_LARGE, "%s has %llu bytes; at most %zu are read", name,
                        (unsigned long long)size, size_max);
    else if (!(text = memory_zeroed((size_t)size + 1, 1)))
        status = refuse(reason, STATUS_NO_MEMORY, "no memory to read %s", name);
    else
        status = read_all(file, text, (size_t)size, name, reason);
    close(file);
    if (status != STATUS_OK) {
        memory_free(text);
        return status;
    }
    *text_out = text;
    *size_out = (size_t)size;
    return STATUS_OK;
}

/* Reads 8 + N bytes of one file and parses them. */
static enum status open_file(const char *directory, const char *name,
                             struct tensor_table **table_out, struct reason *reason)
{
    int file = -1;
    uint64_t size = 0;
    unsigned char prefix[8] = {0};
    enum status status = model_file_open(directory, name, &file, &size, reason);
    if (status != STATUS_OK)
        return status;
    size_t want = size < 8 ? (size_t)size : 8;
    status = read_all(file, (char *)prefix, want, name, reason);
    if (status == STATUS_OK && want == 8) {
        uint64_t header = 0;
        for (int i = 7; i >= 0; i--)
            header = header << 8 | prefix[i];
        if (header <= SAFETENSORS_HEADER_SIZE_MAX && header <= size - 8)
            want = (size_t)header + 8;
    }
    char *bytes = status == STATUS_OK ? memory_zeroed(want + 1, 1) : NULL;
    if (status == STATUS_OK && !bytes)
        status = refuse(reason, STATUS_NO_MEMORY, "no memory for the header of %s", name);
    if (status == STATUS_OK)
        status = read_all(file, bytes, want, name, reason);
    if (status == STATUS_OK)
        status = safetensors_parse(bytes, want, size, name, table_out, reason);
    memory_free(bytes);
    close(file);
    return status;
}

/* The index's map from tensor to file; NULL and NOT_FOUND when there is no index. */
static enum status read_index(const char *directory, json_t **root_out, struct reason *reason)
{
    char *text = NULL;
    size_t size = 0;
    enum status status = model_file_read(directory, INDEX_NAME, INDEX_SIZE_MAX, &text, &size,
                                         reason);
    if (status != STATUS_OK)
        return status;
    /* The index may hold other numbers in its metadata; only depth and counts matter here. */
    status = safetensors_scan(text, size, INDEX_NAME, reason);
    json_error_t error;
    json_t *root = status == STATUS_OK ? json_loadb(text, size, JSON_REJECT_DUPLICATES, &error)
                                       : NULL;
    memory_free(text);
    if (status != STATUS_OK)
        return status;
    if (!json_is_object(json_object_get(root, "weight_map"))) {
        status = refuse(reason, STATUS_MALFORMED, INDEX_NAME ": %s",
                        root ? "no weight_map" : error.text);
        json_decref(root);
        return status;
    }
    *root_out = root;
    return STATUS_OK;
}

static enum status names_of_index(json_t *root, struct file_names *list, struct reason *reason)
{
    const char *tensor;
    json_t *file;
    json_object_foreach (json_object_get(root, "weight_map"), tensor, file) {
        const char *name = json_string_value(file);
        if (!name || !safetensors_is_file_name(name))
            return refuse(reason, STATUS_MALFORMED, INDEX_NAME ": the file of tensor %.200s is "
                          "not a plain .safetensors name", tensor);
        enum status status = names_add(list, name, reason);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

static enum status names_of_directory(const char *path, struct file_names *list,
                                      struct reason *reason)
{
    DIR *directory = opendir(path);
    if (!directory)
        return refuse(reason, status_from_errno(errno), "%s: %s", path, strerror(errno));
    enum status status = STATUS_OK;
    const struct dirent *entry;
    while (status == STATUS_OK && (entry = readdir(directory))) {
        if (strncmp(entry->d_name, "model", 5) == 0 && safetensors_is_file_name(entry->d_name))
            status = names_add(list, entry->d_name, reason);
    }
    closedir(directory);
    if (status == STATUS_OK && list->count == 0)
        status = refuse(reason, STATUS_NOT_FOUND, "%s holds no model*.safetensors file; name a "
                        "directory in the MLX layout", path);
    return status;
}

static const char *append_name(const char *name, char **next)
{
    const size_t length = strlen(name) + 1;
    char *copy = memcpy(*next, name, length);
    *next += length;
    return copy;
}

/* Copies `part` into `whole`, whose arrays and names have room; `next` is the end of the names. */
static void append_part(struct tensor_table *whole, const struct tensor_table *part, char **next)
{
    const uint32_t first = (uint32_t)whole->file_count;
    for (size_t i = 0; i < part->file_count; i++)
        whole->files[whole->file_count++] =
            (struct tensor_file){append_name(part->files[i].name, next), part->files[i].size};
    for (size_t i = 0; i < part->tensor_count; i++) {
        struct tensor *tensor = &whole->tensors[whole->tensor_count++];
        *tensor = part->tensors[i];
        tensor->name = append_name(tensor->name, next);
        tensor->file += first;
    }
}

static int compare_tensors(const void *left, const void *right)
{
    const struct tensor *a = left;
    const struct tensor *b = right;
    return strcmp(a->name, b->name);
}

static enum status make_table(const struct tensor_table *const *parts, size_t count,
                              struct tensor_table **table_out, struct reason *reason)
{
    size_t tensors = 0;
    size_t files = 0;
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        tensors += parts[i]->tensor_count;
        files += parts[i]->file_count;
        for (size_t f = 0; f < parts[i]->file_count; f++)
            bytes += strlen(parts[i]->files[f].name) + 1;
        for (size_t t = 0; t < parts[i]->tensor_count; t++)
            bytes += strlen(parts[i]->tensors[t].name) + 1;
    }
    if (tensors > SAFETENSORS_TENSORS_MAX)
        return refuse(reason, STATUS_TOO_LARGE, "more than %u tensors", SAFETENSORS_TENSORS_MAX);
    if (files > SAFETENSORS_FILES_MAX)
        return refuse(reason, STATUS_TOO_LARGE, "more than %u weight files", SAFETENSORS_FILES_MAX);
    struct tensor_table *table = memory_zeroed(1, sizeof *table);
    if (table) {
        table->tensors = memory_zeroed(tensors, sizeof *table->tensors);
        table->files = memory_zeroed(files, sizeof *table->files);
        table->names = memory_zeroed(bytes, 1);
    }
    if (!table || !table->tensors || !table->files || !table->names) {
        tensor_table_free(table);
        return refuse(reason, STATUS_NO_MEMORY, "no memory for a table of %zu tensors", tensors);
    }
    *table_out = table;
    return STATUS_OK;
}

static enum status check_twins(const struct tensor_table *table, struct reason *reason)
{
    for (size_t i = 1; i < table->file_count; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(table->files[i].name, table->files[k].name) == 0)
                return refuse(reason, STATUS_MALFORMED, "%.200s is there twice",
                              table->files[i].name);
    for (size_t i = 1; i < table->tensor_count; i++)
        if (strcmp(table->tensors[i].name, table->tensors[i - 1].name) == 0)
            return refuse(reason, STATUS_MALFORMED, "tensor %.200s is in two files: %s and %s",
                          table->tensors[i].name,
                          table->files[table->tensors[i - 1].file].name,
                          table->files[table->tensors[i].file].name);
    return STATUS_OK;
}

enum status tensor_table_merge(const struct tensor_table *const *parts, size_t count,
                               struct tensor_table **table_out, struct reason *reason)
{
    struct tensor_table *table = NULL;
    enum status status = make_table(parts, count, &table, reason);
    if (status != STATUS_OK)
        return status;
    char *next = table->names;
    for (size_t i = 0; i < count; i++)
        append_part(table, parts[i], &next);
    if (table->tensor_count > 0)
        qsort(table->tensors, table->tensor_count, sizeof *table->tensors, compare_tensors);
    status = check_twins(table, reason);
    if (status == STATUS_OK)
        *table_out = table;
    else
        tensor_table_free(table);
    return status;
}

/* Every tensor the index maps is in the file it names. */
static enum status check_index(json_t *root, const struct tensor_table *table,
                               struct reason *reason)
{
    const char *name;
    json_t *file;
    json_object_foreach (json_object_get(root, "weight_map"), name, file) {
        const struct tensor *tensor = tensor_table_find(table, name);
        if (!tensor || strcmp(table->files[tensor->file].name, json_string_value(file)) != 0)
            return refuse(reason, STATUS_NOT_FOUND,
                          "tensor %.200s is not in %.200s, where " INDEX_NAME " puts it; download "
                          "the model again", name, json_string_value(file));
    }
    return STATUS_OK;
}

enum status safetensors_open_files(const char *directory, const char *const *names, size_t count,
                                   _Atomic uint64_t *counted, struct tensor_table **table_out,
                                   struct reason *reason)
{
    struct tensor_table **parts = memory_zeroed(count, sizeof *parts);
    enum status status = STATUS_OK;
    if (!parts)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for %zu weight files", count);
    for (size_t i = 0; status == STATUS_OK && i < count; i++) {
        status = open_file(directory, names[i], &parts[i], reason);
        if (counted)
            (*counted)++;
    }
    if (status == STATUS_OK)
        status = tensor_table_merge((const struct tensor_table *const *)parts, count, table_out,
                                    reason);
    for (size_t i = 0; i < count; i++)
        tensor_table_free(parts[i]);
    memory_free(parts);
    return status;
}

enum status safetensors_open(const char *directory, struct tensor_table **table_out,
                             struct reason *reason)
{
    return safetensors_open_counted(directory, NULL, table_out, reason);
}

enum status safetensors_open_counted(const char *directory, _Atomic uint64_t *counted,
                                     struct tensor_table **table_out, struct reason *reason)
{
    struct file_names list = {NULL, 0};
    struct tensor_table *table = NULL;
    json_t *index = NULL;
    enum status status = read_index(directory, &index, reason);
    if (status == STATUS_OK)
        status = names_of_index(index, &list, reason);
    else if (status == STATUS_NOT_FOUND)
        status = names_of_directory(directory, &list, reason);
    if (status == STATUS_OK) {
        if (list.count > 0)
            qsort(list.names, list.count, sizeof *list.names, compare_text);
        status = safetensors_open_files(directory, (const char *const *)list.names, list.count,
                                        counted, &table, reason);
    }
    if (status == STATUS_OK && index)
        status = check_index(index, table, reason);
    json_decref(index);
    names_free(&list);
    if (status != STATUS_OK) {
        tensor_table_free(table);
        return status;
    }
    if (reason)
        reason->text[0] = '\0';
    *table_out = table;
    return STATUS_OK;
}
