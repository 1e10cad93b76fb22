/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub_files: one file of a model, from this node's disk or from where it is.
 */
#include "actors/gateway/hub.h"
#include "actors/gateway/http_range.h"
#include "actors/gateway/relay.h"
#include "protocol/memory.h"
#include "runtime/model_manifest.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LINES_SIZE 2048

void file_wish_free(void *argument)
{
    struct file_wish *wish = argument;
    if (!wish)
        return;
    http_file_close(wish->file);
    memory_free(wish->lines);
    memory_free(wish);
}

struct http_output file_wish_output(struct file_wish *wish)
{
    const struct http_output output = {.exchange = wish->exchange,
                                       .http_status = wish->http_status,
                                       .content_type = hub_content_type(wish->name),
                                       .lines = wish->lines,
                                       .file = wish->file,
                                       .size = wish->size};
    wish->lines = NULL;
    wish->file = NULL;
    return output;
}

static bool has_it_here(const struct gateway *gateway, const struct model_record *model,
                        const struct file_entry *file)
{
    const struct holder_record *holder =
        model_find_holder(model, &gateway->session.mirror.node_id);
    return holder && hub_holder_has(model, holder, file);
}

static void refuse_absent(struct gateway *gateway, uint64_t exchange, const char *name,
                          const char *model_id, const char *why)
{
    hub_refuse(gateway, exchange, 503, "", "Retry-After: 5",
               "The file %.100s of %.100s cannot be had through this node now: %.200s.", name,
               model_id, why);
}

/* ---- answering ---- */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* What every answer about the file says of it. */
static char *file_lines(const struct model_record *model, const struct file_entry *file,
                        const char *more)
{
    char text[LINES_SIZE];
    const char *name = base_name(file->name);
    const int size = snprintf(
        text, sizeof(text),
        "X-Repo-Commit: %s\nETag: \"%s\"\nX-Linked-Etag: \"%s\"\nX-Linked-Size: %" PRIu64
        "\nAccept-Ranges: bytes\nContent-Disposition: inline; filename*=UTF-8''%s; "
        "filename=\"%s\";%s%s",
        model->commit, file->etag, file->etag, file->size, name, name, *more ? "\n" : "", more);
    return memory_text(text, (size_t)size);
}

const char *hub_content_type(const char *name)
{
    const size_t size = strlen(name);
    return size > 12 && strcmp(name + size - 12, ".safetensors") == 0 ? "application/octet-stream"
                                                                      : "text/plain; charset=utf-8";
}

static void send_file(struct gateway *gateway, struct http_output output)
{
    if (!output.lines) {
        gateway->outbox->failed = STATUS_NO_MEMORY;
        return;
    }
    reply_file(gateway, output);
}

/* What is here and cannot be sent, or was never here: from another node, when one has it. */
static void send_from_elsewhere(struct gateway *gateway, struct file_wish *wish, const char *why)
{
    const struct model_record *model = state_find_model(gateway_state(gateway), wish->model_id);
    const struct file_entry *file = model && ID_EQUAL(model->revision, wish->revision)
                                        ? hub_find_file(model, wish->name)
                                        : NULL;
    if (!file || !relay_is_possible(gateway, model, file)) {
        refuse_absent(gateway, wish->exchange, wish->name, wish->model_id, why);
        file_wish_free(wish);
    } else if (wish->is_head || wish->size == 0) {
        const struct http_output output = file_wish_output(wish);
        file_wish_free(wish);
        send_file(gateway, output);
    } else {
        relay_begin(gateway, wish);
    }
}

static void begin_file(struct gateway *gateway, const struct http_arrival *arrival,
                       const struct hub_request *request, const struct file_entry *file)
{
    char range[96] = "";
    char validator[80];
    uint64_t first = 0;
    uint64_t end = file->size;
    enum http_range part = HTTP_RANGE_ALL;
    (void)snprintf(validator, sizeof(validator), "\"%s\"", file->etag);
    if (arrival->method == HTTP_METHOD_GET)
        part = http_range_read(arrival->range, arrival->if_range, validator, file->size, &first,
                               &end);
    if (part == HTTP_RANGE_BEYOND) {
        (void)snprintf(range, sizeof(range), "Content-Range: bytes */%" PRIu64, file->size);
        hub_refuse(gateway, arrival->exchange, 416, "", range,
                   "%.100s has %" PRIu64 " bytes; the range begins beyond them.", file->name,
                   file->size);
        return;
    }
    if (part == HTTP_RANGE_PART)
        (void)snprintf(range, sizeof(range), "Content-Range: bytes %" PRIu64 "-%" PRIu64
                       "/%" PRIu64, first, end - 1, file->size);
    struct file_wish *wish = memory_zeroed(1, sizeof(*wish));
    if (wish) {
        *wish = (struct file_wish){.exchange = arrival->exchange,
                                   .is_head = arrival->method == HTTP_METHOD_HEAD,
                                   .revision = request->model->revision,
                                   .first = first,
                                   .size = end - first,
                                   .http_status = part == HTTP_RANGE_PART ? 206 : 200,
                                   .lines = file_lines(request->model, file, range)};
        (void)snprintf(wish->model_id, sizeof(wish->model_id), "%s", request->model_id);
        (void)snprintf(wish->name, sizeof(wish->name), "%s", file->name);
    }
    if (!wish || !wish->lines) {
        file_wish_free(wish);
        gateway->outbox->failed = STATUS_NO_MEMORY;
        return;
    }
    if (has_it_here(gateway, request->model, file))
        outbox_effect(gateway->outbox, arrival->exchange, GATEWAY_OPEN_FILE, wish, file_wish_free);
    else
        send_from_elsewhere(gateway, wish, "no node that has it is here; start one that does");
}

void hub_file(struct gateway *gateway, const struct http_arrival *arrival,
              const struct hub_request *request)
{
    const struct file_entry *file = hub_find_file(request->model, request->path);
    if (!file) {
        char commit[80];
        (void)snprintf(commit, sizeof(commit), "X-Repo-Commit: %s", request->model->commit);
        hub_refuse(gateway, arrival->exchange, 404, "EntryNotFound", commit,
                   "There is no file %.100s in %.100s.", request->path, request->model_id);
        return;
    }
    if (http_etag_is_among(arrival->if_none_match, file->etag)) {
        struct buffer none;
        char *lines = file_lines(request->model, file, "");
        buffer_init(&none, 1);
        if (!lines)
            gateway->outbox->failed = STATUS_NO_MEMORY;
        reply_lines(gateway, arrival->exchange, 304, lines, &none);
        return;
    }
    begin_file(gateway, arrival, request, file);
}

void hub_file_opened(struct gateway *gateway, struct result *result)
{
    struct file_wish *wish = result->value;
    if (result->status != STATUS_OK) {
        send_from_elsewhere(gateway, result_take(result), result->reason.text);
        return;
    }
    send_file(gateway, file_wish_output(wish));
}
