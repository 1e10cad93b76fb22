/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub_pages: what a hub says of a model, as JSON.
 */
#include "actors/gateway/hub.h"
#include "actors/gateway/http_head.h"
#include "protocol/memory.h"
#include "runtime/crypto_hash.h"
#include "runtime/hub_names.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_SIZE_MAX (8u << 20)
#define TREE_PAGE_COUNT 1000u
#define POINTER_SIZE 256
#define PATH_COUNT_MAX 2048u /* of one question */

static void fail(struct gateway *gateway)
{
    gateway->outbox->failed = STATUS_NO_MEMORY;
}

/* Takes the page; `lines` are more header lines, or NULL. */
static void reply_page(struct gateway *gateway, uint64_t exchange, int http_status, json_t *page,
                       const char *lines)
{
    struct buffer bytes;
    const size_t size = page ? json_dumpb(page, NULL, 0, JSON_COMPACT) : 0;
    char *copy = lines ? memory_text(lines, strlen(lines)) : NULL;
    buffer_init(&bytes, PAGE_SIZE_MAX);
    if (size > 0 && buffer_reserve(&bytes, size) == STATUS_OK)
        bytes.size = json_dumpb(page, (char *)bytes.bytes, size, JSON_COMPACT);
    if (bytes.size == 0 || (lines && !copy))
        fail(gateway);
    json_decref(page);
    reply_lines(gateway, exchange, http_status, copy, &bytes);
}

/* One line of plain bytes, whatever the client wrote. */
static void make_plain(char *text)
{
    for (; *text; text++)
        if (*text < ' ' || *text > '~')
            *text = '?';
}

void hub_refuse(struct gateway *gateway, uint64_t exchange, int http_status, const char *code,
                const char *lines, const char *format, ...)
{
    char sentence[512];
    char all[1024];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(sentence, sizeof(sentence), format, arguments);
    va_end(arguments);
    make_plain(sentence);
    (void)snprintf(all, sizeof(all), "X-Error-Message: %s%s%s%s%s", sentence,
                   *code ? "\nX-Error-Code: " : "", code, lines ? "\n" : "", lines ? lines : "");
    reply_page(gateway, exchange, http_status, json_pack("{s:s}", "error", sentence), all);
}

static bool query_is_true(const char *query, const char *name)
{
    char value[8];
    return http_query_value(query, name, value, sizeof(value)) &&
           (strcmp(value, "true") == 0 || strcmp(value, "True") == 0 || strcmp(value, "1") == 0);
}

static size_t query_number(const char *query, const char *name, size_t standard, size_t most)
{
    char value[32];
    if (!http_query_value(query, name, value, sizeof(value)) || !*value ||
        strspn(value, "0123456789") != strlen(value))
        return standard;
    const unsigned long long number = strtoull(value, NULL, 10);
    return number < most ? (size_t)number : most;
}

/* ---- a model ---- */

/* What the hub keeps of a large file in git: a few lines that name it. */
static int pointer_print(const struct file_entry *file, char text_out[POINTER_SIZE])
{
    return snprintf(text_out, POINTER_SIZE,
                    "version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %" PRIu64 "\n",
                    file->etag, file->size);
}

static json_t *lfs_page(const struct file_entry *file, char oid_out[ETAG_SIZE])
{
    char pointer[POINTER_SIZE];
    struct reason unread;
    const int size = pointer_print(file, pointer);
    if (etag_of(ETAG_GIT_SHA1, pointer, (size_t)size, oid_out, &unread) != STATUS_OK)
        return NULL;
    return json_pack("{s:s,s:I,s:i}", "oid", file->etag, "size", (json_int_t)file->size,
                     "pointerSize", size);
}

static json_t *file_page(const struct file_entry *file)
{
    char oid[ETAG_SIZE];
    json_t *lfs = NULL;
    if (etag_kind_of(file->etag) == ETAG_SHA256 && !(lfs = lfs_page(file, oid)))
        return NULL;
    json_t *page = json_pack("{s:s,s:s,s:I,s:s}", "type", "file", "oid", lfs ? oid : file->etag,
                             "size", (json_int_t)file->size, "path", file->name);
    if (lfs && json_object_set_new(page, "lfs", lfs) != 0) {
        json_decref(page);
        return NULL;
    }
    return page;
}

static json_t *sibling_page(const struct file_entry *file, bool has_blobs)
{
    if (!has_blobs)
        return json_pack("{s:s}", "rfilename", file->name);
    char oid[ETAG_SIZE];
    json_t *lfs =
        etag_kind_of(file->etag) == ETAG_SHA256 ? lfs_page(file, oid) : NULL;
    json_t *page = json_pack("{s:s,s:I,s:s}", "rfilename", file->name, "size",
                             (json_int_t)file->size, "blobId", lfs ? oid : file->etag);
    if (lfs && (json_object_set_new(lfs, "sha256", json_string(file->etag)) != 0 ||
                json_object_set_new(page, "lfs", lfs) != 0)) {
        json_decref(page);
        return NULL;
    }
    return page;
}

static json_t *model_page(const struct model_record *model, bool has_blobs)
{
    json_t *siblings = json_array();
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < model->files.count; i++) {
        bytes += model->files.items[i].size;
        if (json_array_append_new(siblings, sibling_page(&model->files.items[i], has_blobs)) != 0) {
            json_decref(siblings);
            return NULL;
        }
    }
    const char *type = text_or_empty(model->shape.model_type);
    return json_pack("{s:s%,s:s,s:s,s:s,s:b,s:b,s:b,s:i,s:i,s:[s,s],s:s,s:{s:s},s:I,s:o}", "_id",
                     model->commit, (size_t)24, "id", model->model_id, "modelId", model->model_id,
                     "sha", model->commit, "private", 0, "gated", 0, "disabled", 0, "downloads", 0,
                     "likes", 0, "tags", "safetensors", type, "pipeline_tag", "text-generation",
                     "config", "model_type", type, "usedStorage", (json_int_t)bytes, "siblings",
                     siblings);
}

/* Of the filters of the hub's list those that a name can answer. */
static bool is_listed(const struct model_record *model, const char *query)
{
    char value[NAME_SIZE_MAX + 1];
    const char *name = text_or_empty(model->model_id);
    const char *slash = strchr(name, '/');
    if (http_query_value(query, "search", value, sizeof(value)) && !strcasestr(name, value))
        return false;
    return !http_query_value(query, "author", value, sizeof(value)) ||
           (slash && strlen(value) == (size_t)(slash - name) &&
            strncmp(name, value, strlen(value)) == 0);
}

static json_t *models_page(const struct state *state, const char *query)
{
    json_t *models = json_array();
    const size_t limit = query_number(query, "limit", MODEL_COUNT_MAX, MODEL_COUNT_MAX);
    for (uint32_t i = 0; i < state->models.count && json_array_size(models) < limit; i++) {
        const struct model_record *model = &state->models.items[i];
        if (!hub_model_is_sound(model) || !is_listed(model, query))
            continue;
        if (json_array_append_new(models, model_page(model, false)) != 0) {
            json_decref(models);
            return NULL;
        }
    }
    return models;
}

static json_t *ref_page(const char *name, const char *commit)
{
    char ref[NAME_SIZE_MAX + 16];
    (void)snprintf(ref, sizeof(ref), "%s%s", strncmp(name, "refs/", 5) == 0 ? "" : "refs/heads/",
                   name);
    return json_pack("{s:s,s:s,s:s}", "name", name, "ref", ref, "targetCommit", commit);
}

static json_t *refs_page(const struct model_record *model)
{
    const char *branch = text_or_empty(model->branch);
    const bool has_more = *branch && strcmp(branch, "main") != 0 && hub_path_is_sound(branch) &&
                          !hub_commit_is_sound(branch);
    return json_pack("{s:[o,o*],s:[],s:[]}", "branches", ref_page("main", model->commit),
                     has_more ? ref_page(branch, model->commit) : NULL, "converts", "tags");
}

/* A model has one revision here; when it was made is not known. */
static json_t *commits_page(const struct model_record *model, const char *query)
{
    if (query_number(query, "p", 0, UINT32_MAX) > 0)
        return json_array();
    return json_pack("[{s:s,s:s,s:s,s:s,s:[]}]", "id", model->commit, "title",
                     "The revision of this cluster", "message", "", "date",
                     "1970-01-01T00:00:00.000Z", "authors");
}

/* What git has of a file: of a large one not the bytes, but the few lines that name it. */
static void raw_page(struct gateway *gateway, const struct http_arrival *arrival,
                     const struct hub_request *request)
{
    char pointer[POINTER_SIZE];
    char head[256];
    struct buffer bytes;
    const struct file_entry *file = hub_find_file(request->model, request->path);
    if (!file || etag_kind_of(file->etag) != ETAG_SHA256) {
        hub_file(gateway, arrival, request);
        return;
    }
    const int size = pointer_print(file, pointer);
    struct reason unread;
    char oid[ETAG_SIZE];
    buffer_init(&bytes, sizeof(pointer));
    enum status status = etag_of(ETAG_GIT_SHA1, pointer, (size_t)size, oid, &unread);
    if (status == STATUS_OK)
        status = buffer_append_text(&bytes, pointer);
    (void)snprintf(head, sizeof(head), "X-Repo-Commit: %s\nETag: \"%s\"", request->model->commit,
                   status == STATUS_OK ? oid : "");
    char *lines = memory_text(head, strlen(head));
    if (status != STATUS_OK || !lines)
        fail(gateway);
    reply_plain(gateway, arrival->exchange, lines, &bytes);
}

/* ---- its tree ---- */

struct tree {
    const struct hub_request *request;
    bool is_recursive;
    size_t first; /* entries before are on earlier pages */
    size_t count_max;
    size_t count; /* of all pages so far */
    json_t *entries;
    bool has_failed;
};

static void add_entry(struct tree *tree,
                      json_t *(*make)(const struct file_entry *file, size_t size),
                      const struct file_entry *file, size_t size)
{
    const size_t at = tree->count++;
    if (at < tree->first || at >= tree->first + tree->count_max)
        return;
    if (json_array_append_new(tree->entries, make(file, size)) != 0)
        tree->has_failed = true;
}

static json_t *make_file(const struct file_entry *file, size_t size)
{
    (void)size;
    return file_page(file);
}

/* A directory is named by its path alone: what git would call it is not known. */
static json_t *make_directory(const struct file_entry *file, size_t size)
{
    char oid[ETAG_SIZE];
    struct reason unread;
    if (etag_of(ETAG_GIT_SHA1, file->name, size, oid, &unread) != STATUS_OK)
        return NULL;
    return json_pack("{s:s,s:s,s:i,s:s%}", "type", "directory", "oid", oid, "size", 0, "path",
                     file->name, size);
}

static void list_tree(struct tree *tree)
{
    const struct model_record *model = tree->request->model;
    const char *path = tree->request->path;
    const size_t below = *path ? strlen(path) + 1 : 0;
    const char *before = "";
    for (uint32_t i = 0; i < model->files.count; i++) {
        const struct file_entry *file = &model->files.items[i];
        const char *name = file->name;
        if (below > 0 && (strncmp(name, path, below - 1) != 0 || name[below - 1] != '/'))
            continue;
        /* Directories the file before was not in, outermost first. */
        const char *slash = strchr(name + below, '/');
        for (const char *at = slash; at && (tree->is_recursive || at == slash);
             at = strchr(at + 1, '/'))
            if (strncmp(before, name, (size_t)(at - name) + 1) != 0)
                add_entry(tree, make_directory, file, (size_t)(at - name));
        if (tree->is_recursive || !slash)
            add_entry(tree, make_file, file, 0);
        before = name;
    }
}

static void tree_page(struct gateway *gateway, const struct http_arrival *arrival,
                      const struct hub_request *request)
{
    char next[1024];
    const size_t limit = query_number(arrival->query, "limit", TREE_PAGE_COUNT, TREE_PAGE_COUNT);
    struct tree tree = {.request = request,
                        .is_recursive = query_is_true(arrival->query, "recursive"),
                        .first = query_number(arrival->query, "cursor", 0, MODEL_FILE_COUNT_MAX *
                                                                               HUB_DEPTH_MAX),
                        .count_max = limit > 0 ? limit : TREE_PAGE_COUNT,
                        .entries = json_array()};
    list_tree(&tree);
    if (!tree.entries || tree.has_failed) {
        json_decref(tree.entries);
        fail(gateway);
        return;
    }
    if (tree.count == 0 && request->path[0]) {
        json_decref(tree.entries);
        hub_refuse(gateway, arrival->exchange, 404, "EntryNotFound", NULL,
                   "There is no directory %.100s in %.100s.", request->path, request->model_id);
        return;
    }
    const size_t end = tree.first + tree.count_max;
    const bool has_more = end < tree.count && strlen(arrival->host) < 256;
    if (has_more)
        (void)snprintf(next, sizeof(next),
                       "Link: <http://%s/api/models/%s/tree/%s%s%s?recursive=%s&limit=%zu"
                       "&cursor=%zu>; rel=\"next\"",
                       arrival->host, request->model_id, request->model->commit,
                       request->path[0] ? "/" : "", request->path,
                       tree.is_recursive ? "true" : "false", tree.count_max, end);
    reply_page(gateway, arrival->exchange, 200, tree.entries, has_more ? next : NULL);
}

/* ---- what is at some paths ---- */

static bool add_path(json_t *entries, const struct model_record *model, const char *name)
{
    const struct file_entry *file = hub_find_file(model, name);
    const size_t size = strlen(name);
    if (file)
        return json_array_append_new(entries, file_page(file)) == 0;
    for (uint32_t i = 0; i < model->files.count && size > 0; i++)
        if (strncmp(model->files.items[i].name, name, size) == 0 &&
            model->files.items[i].name[size] == '/')
            return json_array_append_new(entries, make_directory(&model->files.items[i], size)) ==
                   0;
    return true;
}

/* "paths=a&paths=b%2fc&expand=true".  False: no memory, or too many. */
static bool add_paths_of_form(json_t *entries, const struct model_record *model, const char *body,
                              size_t *left)
{
    static const char key[] = "paths=";
    for (const char *at = body; *at;) {
        const size_t size = strcspn(at, "&");
        char text[3 * NAME_SIZE_MAX + 16];
        char name[NAME_SIZE_MAX + 1];
        if (size < sizeof(text) && strncmp(at, key, strlen(key)) == 0) {
            memcpy(text, at, size);
            text[size] = '\0';
            for (char *plus = text; (plus = strchr(plus, '+')) != NULL;)
                *plus = ' ';
            if ((*left)-- == 0 || (http_query_value(text, "paths", name, sizeof(name)) &&
                                   !add_path(entries, model, name)))
                return false;
        }
        at += size + (at[size] == '&');
    }
    return true;
}

static bool add_paths_of_json(json_t *entries, const struct model_record *model, const json_t *body,
                              size_t *left)
{
    const json_t *paths = json_object_get(body, "paths");
    const char *name = json_string_value(paths);
    if (name)
        return add_path(entries, model, name);
    for (size_t i = 0; i < json_array_size(paths); i++) {
        name = json_string_value(json_array_get(paths, i));
        if ((*left)-- == 0 || (name && !add_path(entries, model, name)))
            return false;
    }
    return true;
}

static void paths_page(struct gateway *gateway, const struct http_arrival *arrival,
                       const struct hub_request *request)
{
    const char *text = arrival->body ? arrival->body : "";
    json_t *entries = json_array();
    size_t left = PATH_COUNT_MAX;
    bool is_whole = entries != NULL;
    if (text[strspn(text, " \t\r\n")] == '{') {
        json_t *body = json_loadb(text, arrival->body_size, JSON_REJECT_DUPLICATES, NULL);
        is_whole = is_whole && body && add_paths_of_json(entries, request->model, body, &left);
        json_decref(body);
    } else {
        is_whole = is_whole && add_paths_of_form(entries, request->model, text, &left);
    }
    if (is_whole) {
        reply_page(gateway, arrival->exchange, 200, entries, NULL);
        return;
    }
    json_decref(entries);
    hub_refuse(gateway, arrival->exchange, 400, "", NULL,
               "The body must be {\"paths\": [...]}, or a form of paths=..., of at most %u paths.",
               PATH_COUNT_MAX);
}

/* Whoever is let in may read everything; there are no accounts. */
static json_t *who_page(void)
{
    return json_pack("{s:s,s:s,s:s,s:s,s:b,s:[],s:{s:s,s:{s:s,s:s}}}", "type", "user", "id",
                     "troupe", "name", "troupe", "fullname", "troupe", "isPro", 0, "orgs", "auth",
                     "type", "access_token", "accessToken", "displayName", "troupe", "role",
                     "read");
}

/* ---- the routes ---- */

void hub_page(struct gateway *gateway, const struct http_arrival *arrival,
              const struct hub_request *request)
{
    switch (request->kind) {
    case HUB_MODELS:
        reply_page(gateway, arrival->exchange, 200,
                   models_page(gateway_state(gateway), arrival->query), NULL);
        break;
    case HUB_MODEL:
        reply_page(gateway, arrival->exchange, 200,
                   model_page(request->model, query_is_true(arrival->query, "blobs")), NULL);
        break;
    case HUB_REFS:
        reply_page(gateway, arrival->exchange, 200, refs_page(request->model), NULL);
        break;
    case HUB_TREE:
        tree_page(gateway, arrival, request);
        break;
    case HUB_PATHS:
        paths_page(gateway, arrival, request);
        break;
    case HUB_COMMITS:
        reply_page(gateway, arrival->exchange, 200,
                   commits_page(request->model, arrival->query), NULL);
        break;
    case HUB_RAW:
        raw_page(gateway, arrival, request);
        break;
    case HUB_AUTH:
        reply_page(gateway, arrival->exchange, 200, json_object(), NULL);
        break;
    case HUB_WHO:
        reply_page(gateway, arrival->exchange, 200, who_page(), NULL);
        break;
    case HUB_OTHER:
        hub_refuse(gateway, arrival->exchange, 404, "RepoNotFound", NULL,
                   "A cluster has models alone, no datasets and no spaces.");
        break;
    case HUB_FILE:
    case HUB_NOTHING:
        break;
    }
}

bool route_hub(struct gateway *gateway, const struct http_arrival *arrival)
{
    struct hub_request request;
    const bool is_read =
        arrival->method == HTTP_METHOD_GET || arrival->method == HTTP_METHOD_HEAD;
    if (!is_read && arrival->method != HTTP_METHOD_POST)
        return false;
    if (!hub_request_read(arrival->path, gateway_state(gateway), &request) ||
        is_read == (request.kind == HUB_PATHS))
        return false;
    if (!gateway->session.mirror.has_state)
        hub_refuse(gateway, arrival->exchange, 503, "", "Retry-After: 1",
                   "The node's master has not answered yet.");
    else if (request.kind == HUB_MODELS || request.kind == HUB_WHO ||
             request.kind == HUB_OTHER)
        hub_page(gateway, arrival, &request);
    else if (!request.model)
        hub_refuse(gateway, arrival->exchange, 404, "RepoNotFound", NULL,
                   "The model %.100s is not in this cluster; GET /v1/models lists the models.",
                   request.model_id);
    else if (!hub_model_is_sound(request.model))
        hub_refuse(gateway, arrival->exchange, 503, "", NULL,
                   "The hashes of the files of %.100s are not known yet; they are when a node that "
                   "holds it is back.", request.model_id);
    else if (!hub_revision_is_known(&request))
        hub_refuse(gateway, arrival->exchange, 404, "RevisionNotFound", NULL,
                   "This cluster has the commit %s of %.100s, as main, and no revision %.100s.",
                   request.model->commit, request.model_id, request.revision);
    else if (request.kind == HUB_FILE)
        hub_file(gateway, arrival, &request);
    else
        hub_page(gateway, arrival, &request);
    return true;
}
