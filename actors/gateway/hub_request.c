/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/gateway/hub_request.h"

#include "protocol/holdings.h"
#include "protocol/schema.h"
#include "runtime/hub_names.h"
#include "runtime/model_manifest.h"

#include <string.h>

#define API_PREFIX "/api/models"
#define COMMIT_START 7u

struct span {
    const char *first;
    size_t size;
};

static bool copy_span(char *target, size_t size, struct span span)
{
    if (span.size >= size)
        return false;
    memcpy(target, span.first, span.size);
    target[span.size] = '\0';
    return true;
}

/* "name" or "org/name". */
static bool is_id(struct span span)
{
    size_t slashes = 0;
    for (size_t i = 0; i < span.size; i++)
        slashes += span.first[i] == '/';
    return span.size > 0 && span.size <= NAME_SIZE_MAX && slashes <= 1 && span.first[0] != '/' &&
           span.first[span.size - 1] != '/';
}

/* Takes `span` for the model when the state has it, or when nothing was taken yet. */
static bool take_model(struct hub_request *request, struct span span, const struct state *state)
{
    struct hub_request one = {.kind = HUB_NOTHING};
    if (request->model || span.size == 0 || !copy_span(one.model_id, sizeof(one.model_id), span))
        return false;
    one.model = state_find_model(state, one.model_id);
    if (!one.model && (request->kind != HUB_NOTHING || !is_id(span)))
        return false;
    *request = one;
    return true;
}

/* "main", "refs/pr/1" of more parts, or the branch it was pulled by, "feature/x" too; what follows
 * its '/' is the rest. */
static bool take_revision(struct hub_request *request, const char *from, const char **rest_out)
{
    const char *branch = request->model ? text_or_empty(request->model->branch) : "";
    const size_t branch_size = strlen(branch);
    size_t size = strcspn(from, "/");
    if (branch_size > size && strncmp(from, branch, branch_size) == 0 &&
        (from[branch_size] == '/' || !from[branch_size]))
        size = branch_size;
    for (int more = 0; size != branch_size && more < 2 && strncmp(from, "refs/", 5) == 0 &&
                       from[size]; more++)
        size += 1 + strcspn(from + size + 1, "/");
    *rest_out = from + size + (from[size] == '/');
    return size > 0 && copy_span(request->revision, sizeof(request->revision),
                                 (struct span){from, size});
}

static bool take_path(struct hub_request *request, const char *path)
{
    size_t size = strlen(path);
    size -= size > 0 && path[size - 1] == '/';
    return copy_span(request->path, sizeof(request->path), (struct span){path, size});
}

static bool read_file(const char *path, const struct state *state, struct hub_request *request)
{
    static const struct {
        const char *word;
        enum hub_kind kind;
    } words[] = {{"/resolve/", HUB_FILE}, {"/raw/", HUB_RAW}};
    const char *chosen = NULL;
    const char *rest = NULL;
    for (size_t i = 0; i < COUNT_OF(words); i++)
        for (const char *at = strstr(path, words[i].word); at; at = strstr(at + 1, words[i].word))
            if (take_model(request, (struct span){path + 1, (size_t)(at - path - 1)}, state)) {
                request->kind = words[i].kind;
                chosen = at + strlen(words[i].word);
            }
    return chosen && take_revision(request, chosen, &rest) && rest[0] &&
           rest[strlen(rest) - 1] != '/' && take_path(request, rest);
}

/* What stands after a model: "", "/revision/main", "/tree/main/directory", "/refs". */
static enum hub_kind kind_of(const char *after, const char **rest_out)
{
    static const struct {
        const char *word;
        enum hub_kind kind;
    } words[] = {{"/revision/", HUB_MODEL}, {"/tree/", HUB_TREE}, {"/paths-info/", HUB_PATHS},
                 {"/commits/", HUB_COMMITS}};
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        *rest_out = after + strlen(words[i].word);
        if (strncmp(after, words[i].word, strlen(words[i].word)) == 0)
            return words[i].kind;
    }
    *rest_out = "";
    if (strcmp(after, "/refs") == 0)
        return HUB_REFS;
    if (strcmp(after, "/auth-check") == 0)
        return HUB_AUTH;
    return *after ? HUB_NOTHING : HUB_MODEL;
}

static bool read_api(const char *path, const struct state *state, struct hub_request *request)
{
    const char *name = path + strlen(API_PREFIX);
    const char *chosen = "";
    const char *rest = "";
    if (!*name || strcmp(name, "/") == 0) {
        request->kind = HUB_MODELS;
        return true;
    }
    if (*name++ != '/')
        return false;
    for (const char *at = name + strcspn(name, "/");; at += 1 + strcspn(at + 1, "/")) {
        const enum hub_kind kind = kind_of(at, &rest);
        if (kind != HUB_NOTHING &&
            take_model(request, (struct span){name, (size_t)(at - name)}, state)) {
            request->kind = kind;
            chosen = rest;
        }
        if (!*at)
            break;
    }
    if (request->kind == HUB_NOTHING || !chosen[0])
        return request->kind == HUB_MODEL || request->kind == HUB_REFS ||
               request->kind == HUB_AUTH;
    return take_revision(request, chosen, &rest) && take_path(request, rest) &&
           (request->kind == HUB_TREE || !request->path[0]);
}

/* What has no model in it. */
static enum hub_kind kind_of_path(const char *path)
{
    static const char *const others[] = {"/api/datasets/", "/api/spaces/", "/datasets/",
                                         "/spaces/"};
    if (strcmp(path, "/api/whoami-v2") == 0)
        return HUB_WHO;
    for (size_t i = 0; i < COUNT_OF(others); i++)
        if (strncmp(path, others[i], strlen(others[i])) == 0)
            return HUB_OTHER;
    return HUB_NOTHING;
}

bool hub_request_read(const char *path, const struct state *state,
                      struct hub_request *request_out)
{
    struct hub_request request = {.kind = HUB_NOTHING};
    const bool is_api = strncmp(path, API_PREFIX, strlen(API_PREFIX)) == 0;
    bool is_read = (is_api && read_api(path, state, &request)) ||
                         (!is_api && path[0] == '/' && read_file(path, state, &request));
    if (!is_read) {
        request = (struct hub_request){.kind = kind_of_path(path)};
        is_read = request.kind != HUB_NOTHING;
    }
    if (is_read)
        *request_out = request;
    return is_read;
}

bool hub_revision_is_known(const struct hub_request *request)
{
    const char *revision = request->revision;
    const size_t size = strlen(revision);
    return size == 0 || strcmp(revision, "main") == 0 || strcmp(revision, "refs/heads/main") == 0 ||
           strcmp(revision, text_or_empty(request->model->branch)) == 0 ||
           (size >= COMMIT_START &&
            strncmp(text_or_empty(request->model->commit), revision, size) == 0);
}

bool hub_holder_has(const struct model_record *model, const struct holder_record *holder,
                    const struct file_entry *file)
{
    return model_file_is_small(file) ||
           holder_has_file(holder, (uint32_t)(file - model->files.items));
}

const struct file_entry *hub_find_file(const struct model_record *model, const char *name)
{
    for (uint32_t i = 0; i < model->files.count; i++)
        if (strcmp(text_or_empty(model->files.items[i].name), name) == 0)
            return &model->files.items[i];
    return NULL;
}

bool hub_model_is_sound(const struct model_record *model)
{
    bool is_sound = model_id_is_sound(model->model_id) && hub_commit_is_sound(model->commit);
    for (uint32_t i = 0; i < model->files.count && is_sound; i++) {
        const char *etag = text_or_empty(model->files.items[i].etag);
        const size_t size = strlen(etag);
        is_sound = hub_path_is_sound(model->files.items[i].name) && (size == 40 || size == 64) &&
                   strspn(etag, "0123456789abcdef") == size;
    }
    return is_sound;
}
