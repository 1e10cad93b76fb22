/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/downloader/hub_tree.h"

#include "protocol/memory.h"
#include "runtime/hub_names.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define SMALL_SIZE_MAX ((uint64_t)128 << 20) /* as the store's */

void hub_tree_init(struct hub_tree *tree)
{
    memset(tree, 0, sizeof(*tree));
}

void hub_tree_fini(struct hub_tree *tree)
{
    memory_free(tree->files);
    hub_tree_init(tree);
}

/* Stays below its directory: parts of it are neither empty nor "." nor "..". */
static bool stays_below(const char *path)
{
    if (!path[0])
        return false;
    for (const char *c = path; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f || *c == '\\')
            return false;
    for (const char *part = path;; part++) {
        const size_t size = strcspn(part, "/");
        if (size == 0 || (size == 1 && part[0] == '.') ||
            (size == 2 && part[0] == '.' && part[1] == '.'))
            return false;
        part += size;
        if (!*part)
            return true;
    }
}

static bool ends_with(const char *text, const char *end)
{
    const size_t size = strlen(text);
    const size_t end_size = strlen(end);
    return size > end_size && strcmp(text + size - end_size, end) == 0;
}

static bool is_wanted(const char *path)
{
    static const char *const ends[] = {".safetensors", ".json", ".jinja", ".txt", ".model"};
    if (strchr(path, '/') || path[0] == '.' || strlen(path) > NAME_SIZE_MAX)
        return false;
    for (const char *c = path; *c; c++)
        if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') ||
              strchr("._-+", *c)))
            return false;
    for (size_t i = 0; i < COUNT_OF(ends); i++)
        if (ends_with(path, ends[i]))
            return true;
    return false;
}

static bool is_hash(const char *text, size_t digits)
{
    return strlen(text) == digits && strspn(text, "0123456789abcdef") == digits;
}

static enum status push_file(struct hub_tree *tree, const struct hub_file *file,
                             struct reason *reason)
{
    if (!file->is_weight && file->size > SMALL_SIZE_MAX)
        return refuse(reason, STATUS_TOO_LARGE, "%.100s is larger than any file beside the weights",
                      file->path);
    if (tree->count >= MODEL_FILE_COUNT_MAX)
        return refuse(reason, STATUS_TOO_LARGE, "the repository has more than %d files to fetch",
                      MODEL_FILE_COUNT_MAX);
    struct hub_file *files =
        memory_resized(tree->files, (size_t)tree->count + 1, sizeof(*tree->files));
    if (!files)
        return STATUS_NO_MEMORY;
    tree->files = files;
    tree->files[tree->count++] = *file;
    return STATUS_OK;
}

enum status hub_tree_add(struct hub_tree *tree, const struct hub_file *file, struct reason *reason)
{
    if (!stays_below(file->path) || !is_wanted(file->path) ||
        file->is_weight != ends_with(file->path, ".safetensors") ||
        file->size > HUB_FILE_SIZE_MAX || !(is_hash(file->etag, 64) || is_hash(file->etag, 40)))
        return refuse(reason, STATUS_MALFORMED,
                      "the list of files of the download is not to be trusted: %.100s", file->path);
    return push_file(tree, file, reason);
}

static enum status add_file(struct hub_tree *tree, const char *path, const json_t *entry,
                            struct reason *reason)
{
    const json_t *lfs = json_object_get(entry, "lfs");
    const json_t *size = json_object_get(json_is_object(lfs) ? lfs : entry, "size");
    const char *oid = json_string_value(json_object_get(json_is_object(lfs) ? lfs : entry, "oid"));
    struct hub_file file = {.is_weight = ends_with(path, ".safetensors")};
    if (!json_is_integer(size) || json_integer_value(size) < 0 ||
        (uint64_t)json_integer_value(size) > HUB_FILE_SIZE_MAX)
        return refuse(reason, STATUS_MALFORMED, "the hub gives no possible size for %.100s", path);
    file.size = (uint64_t)json_integer_value(size);
    /* Some write "sha256:" before it. */
    if (oid && strncmp(oid, "sha256:", 7) == 0)
        oid += 7;
    if (!oid || !is_hash(oid, json_is_object(lfs) ? 64 : 40))
        return refuse(reason, STATUS_UNSUPPORTED,
                      "the hub tells no hash of %.100s, so what comes could not be checked", path);
    memcpy(file.path, path, strlen(path) + 1);
    memcpy(file.etag, oid, strlen(oid) + 1);
    return push_file(tree, &file, reason);
}

static enum status add_entry(struct hub_tree *tree, const json_t *entry, struct reason *reason)
{
    const json_t *path_value = json_object_get(entry, "path");
    const char *type = json_string_value(json_object_get(entry, "type"));
    const char *path = json_string_value(path_value);
    if (++tree->entries > HUB_TREE_ENTRIES_MAX)
        return refuse(reason, STATUS_TOO_LARGE, "the repository has more than %u files",
                      HUB_TREE_ENTRIES_MAX);
    if (!type || !path)
        return refuse(reason, STATUS_MALFORMED, "the hub lists a file without type or path");
    if (strlen(path) != json_string_length(path_value) || !stays_below(path))
        return refuse(reason, STATUS_MALFORMED,
                      "the hub lists %.100s, a path that leads out of a directory; nothing of the "
                      "repository is fetched",
                      path);
    if (strcmp(type, "file") != 0)
        return STATUS_OK;
    if (!is_wanted(path)) {
        tree->passed_over++;
        tree->programs += ends_with(path, ".py");
        return STATUS_OK;
    }
    return add_file(tree, path, entry, reason);
}

enum status hub_tree_page(struct hub_tree *tree, const char *json, size_t size,
                          struct reason *reason)
{
    json_error_t error;
    json_t *page = json_loadb(json, size, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_array(page)) {
        json_decref(page);
        return refuse(reason, STATUS_MALFORMED, "the hub's list of files is no JSON array");
    }
    enum status status = STATUS_OK;
    for (size_t i = 0; i < json_array_size(page) && status == STATUS_OK; i++)
        status = add_entry(tree, json_array_get(page, i), reason);
    json_decref(page);
    return status;
}

static int compare_files(const void *a, const void *b)
{
    return strcmp(((const struct hub_file *)a)->path, ((const struct hub_file *)b)->path);
}

const struct hub_file *hub_tree_find(const struct hub_tree *tree, const char *path)
{
    for (uint32_t i = 0; i < tree->count; i++)
        if (strcmp(tree->files[i].path, path) == 0)
            return &tree->files[i];
    return NULL;
}

uint64_t hub_tree_bytes(const struct hub_tree *tree)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < tree->count; i++)
        bytes += tree->files[i].size;
    return bytes;
}

enum status hub_tree_check(struct hub_tree *tree, const char *repository, struct reason *reason)
{
    bool has_weights = false;
    if (tree->count > 0)
        qsort(tree->files, tree->count, sizeof(*tree->files), compare_files);
    for (uint32_t i = 0; i < tree->count; i++) {
        has_weights = has_weights || tree->files[i].is_weight;
        if (i > 0 && strcmp(tree->files[i - 1].path, tree->files[i].path) == 0)
            return refuse(reason, STATUS_MALFORMED, "the hub lists %.100s twice",
                          tree->files[i].path);
    }
    if (!hub_tree_find(tree, "config.json"))
        return refuse(reason, STATUS_UNSUPPORTED,
                      "%.100s has no config.json: it is no model that troupe can run; pull one in "
                      "the MLX layout",
                      repository);
    if (!has_weights)
        return refuse(reason, STATUS_UNSUPPORTED,
                      "%.100s has no *.safetensors: its weights are in a format troupe does not "
                      "read; pull one in the MLX layout",
                      repository);
    return STATUS_OK;
}

static bool is_named(const json_t *map, const char *path)
{
    const char *key;
    json_t *value;
    union {
        const json_t *borrowed;
        json_t *wanted;
    } object = {map};
    json_object_foreach(object.wanted, key, value)
    {
        if (json_is_string(value) && strcmp(json_string_value(value), path) == 0)
            return true;
    }
    return false;
}

static enum status check_named(const struct hub_tree *tree, json_t *map, const char *repository,
                               struct reason *reason)
{
    const char *key;
    json_t *value;
    const char *last = NULL;
    json_object_foreach(map, key, value)
    {
        const char *name = json_string_value(value);
        if (name && last && strcmp(name, last) == 0)
            continue;
        last = name;
        const struct hub_file *file = name ? hub_tree_find(tree, name) : NULL;
        if (!file || !file->is_weight)
            return refuse(reason, STATUS_NOT_FOUND,
                          "%.100s names a file of weights in " HUB_INDEX_NAME
                          " that it does not have: %.100s",
                          repository, name ? name : "no text");
    }
    return STATUS_OK;
}

enum status hub_tree_keep_weights(struct hub_tree *tree, const char *json, size_t size,
                                  const char *repository, struct reason *reason)
{
    json_error_t error;
    json_t *index = json_loadb(json, size, 0, &error);
    json_t *map = json_object_get(index, "weight_map");
    if (!json_is_object(map) || json_object_size(map) == 0) {
        json_decref(index);
        return refuse(reason, STATUS_MALFORMED, HUB_INDEX_NAME " of %.100s has no weight_map",
                      repository);
    }
    enum status status = check_named(tree, map, repository, reason);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < tree->count && status == STATUS_OK; i++) {
        if (!tree->files[i].is_weight || is_named(map, tree->files[i].path))
            tree->files[kept++] = tree->files[i];
        else
            tree->passed_over++;
    }
    if (status == STATUS_OK)
        tree->count = kept;
    json_decref(index);
    return status;
}

enum status hub_revision_commit(const char *json, size_t size, char commit_out[41],
                                struct reason *reason)
{
    json_error_t error;
    json_t *answer = json_loadb(json, size, 0, &error);
    const char *sha = json_string_value(json_object_get(answer, "sha"));
    const bool is_sound = sha && hub_commit_is_sound(sha);
    if (is_sound)
        memcpy(commit_out, sha, 41);
    json_decref(answer);
    if (!is_sound)
        return refuse(reason, STATUS_MALFORMED,
                      "the hub does not say which commit the revision is; is HF_ENDPOINT a hub?");
    return STATUS_OK;
}
