/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any text as a path, a range and an entity tag of the hub's read protocol: what is taken from a
 * path fits and names a part of it, a range lies in the file, and a file is named by its own name
 * alone.
 */
#include "actors/gateway/http_range.h"
#include "actors/gateway/hub_request.h"
#include "protocol/assert.h"
#include "protocol/memory.h"
#include "protocol/schema.h"

#include <string.h>

#define ETAG "2222222222222222222222222222222222222222"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static struct state state;

static void add_model(const char *model_id)
{
    struct model_record *model =
        record_list_push(&model_record_type, RECORD_LIST(state.models), NULL, 8);
    struct file_entry *file =
        model ? record_list_push(&file_entry_type, RECORD_LIST(model->files), NULL, 8) : NULL;
    ASSERT(file && text_set(&model->model_id, model_id) && text_set(&model->commit, ETAG) &&
           text_set(&model->branch, "v1") && text_set(&file->name, "a/config.json") &&
           text_set(&file->etag, ETAG));
    file->size = 100;
}

static void check_path(const char *path)
{
    struct hub_request request = {.kind = HUB_NOTHING};
    if (!hub_request_read(path, &state, &request))
        return;
    ASSERT(request.kind != HUB_NOTHING && path[0] == '/');
    ASSERT(strlen(request.model_id) <= NAME_SIZE_MAX && strlen(request.path) <= NAME_SIZE_MAX);
    ASSERT(strstr(path, request.model_id) && strstr(path, request.revision) &&
           strstr(path, request.path));
    if (request.kind == HUB_FILE)
        ASSERT(request.model_id[0] && request.revision[0] && request.path[0]);
    if (!request.model)
        return;
    ASSERT(strcmp(request.model->model_id, request.model_id) == 0);
    (void)hub_revision_is_known(&request);
    const struct file_entry *file = hub_find_file(request.model, request.path);
    ASSERT(!file || strcmp(file->name, request.path) == 0);
}

static void check_range(const char *text)
{
    static const uint64_t sizes[] = {0, 1, 100, UINT64_MAX - 1};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        uint64_t first = 7;
        uint64_t end = 7;
        const enum http_range range =
            http_range_read(text, "", "\"" ETAG "\"", sizes[i], &first, &end);
        ASSERT(first <= end && end <= sizes[i]);
        if (range == HTTP_RANGE_PART)
            ASSERT(first < end);
        else
            ASSERT(first == 0 && end == sizes[i]);
    }
    if (http_etag_is_among(text, ETAG))
        ASSERT(strchr(text, '*') || strstr(text, "\"" ETAG "\""));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (state.models.count == 0) {
        add_model("org/name");
        add_model("plain");
    }
    char *text = memory_text((const char *)bytes, size);
    if (!text)
        return 0;
    check_path(text);
    check_range(text);
    /* What follows a line is a range, as a request has both. */
    char *rest = strchr(text, '\n');
    if (rest) {
        *rest = '\0';
        check_path(text);
        check_range(rest + 1);
    }
    memory_free(text);
    return 0;
}
