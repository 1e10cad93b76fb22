/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/json_file.h"

#include "protocol/memory.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static enum status open_file(const char *directory, const char *name, size_t size_max,
                             FILE **file_out, size_t *size_out, struct reason *reason)
{
    char path[PATH_MAX];
    int size = snprintf(path, sizeof(path), "%s/%s", directory, name);
    if (size < 0 || (size_t)size >= sizeof(path))
        return refuse(reason, STATUS_INVALID, "the path of %s is too long", name);
    FILE *file = fopen(path, "rbe");
    if (!file) {
        enum status status = status_from_errno(errno);
        return refuse(reason, status, "cannot read %.300s: %s", path, strerror(errno));
    }
    struct stat facts;
    if (fstat(fileno(file), &facts) != 0 || !S_ISREG(facts.st_mode)) {
        fclose(file);
        return refuse(reason, STATUS_INVALID, "%.300s is not a regular file", path);
    }
    if ((uintmax_t)facts.st_size > size_max) {
        fclose(file);
        return refuse(reason, STATUS_TOO_LARGE, "%.300s has %jd bytes, more than %zu", path,
                      (intmax_t)facts.st_size, size_max);
    }
    *file_out = file;
    *size_out = (size_t)facts.st_size;
    return STATUS_OK;
}

enum status tokenizer_file_read(const char *directory, const char *name, size_t size_max,
                                char **bytes_out, size_t *size_out, struct reason *reason)
{
    FILE *file = NULL;
    size_t size = 0;
    enum status status = open_file(directory, name, size_max, &file, &size, reason);
    if (status != STATUS_OK)
        return status;
    char *bytes = memory_zeroed(size + 1, 1);
    size_t have = bytes ? fread(bytes, 1, size, file) : 0;
    fclose(file);
    if (!bytes)
        return refuse(reason, STATUS_NO_MEMORY, "no memory to read %s", name);
    if (have != size) {
        memory_free(bytes);
        return refuse(reason, STATUS_IO, "%s shrank while it was read; copy it again", name);
    }
    *bytes_out = bytes;
    *size_out = size;
    return STATUS_OK;
}

enum status json_bytes_read(const char *name, const char *bytes, size_t size, json_t **root_out,
                            struct reason *reason)
{
    json_error_t error;
    json_t *root = json_loadb(bytes, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (!root)
        return refuse(reason, STATUS_MALFORMED, "%s is not valid JSON at line %d, column %d",
                      name, error.line, error.column);
    *root_out = root;
    return STATUS_OK;
}

enum status json_file_read(const char *directory, const char *name, size_t size_max,
                           json_t **root_out, struct reason *reason)
{
    char *bytes = NULL;
    size_t size = 0;
    enum status status =
        tokenizer_file_read(directory, name, size_max, &bytes, &size, reason);
    if (status != STATUS_OK)
        return status;
    status = json_bytes_read(name, bytes, size, root_out, reason);
    memory_free(bytes);
    return status;
}

enum status json_file_read_optional(const char *directory, const char *name, size_t size_max,
                                    json_t **root_out, struct reason *reason)
{
    json_t *root = NULL;
    struct reason why = {""};
    enum status status = json_file_read(directory, name, size_max, &root, &why);
    if (status == STATUS_NOT_FOUND) {
        *root_out = NULL;
        return STATUS_OK;
    }
    if (status != STATUS_OK)
        return refuse(reason, status, "%s", why.text);
    if (!json_is_object(root)) {
        json_decref(root);
        return refuse(reason, STATUS_MALFORMED, "%s is not a JSON object", name);
    }
    *root_out = root;
    return STATUS_OK;
}
