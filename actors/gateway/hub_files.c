/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub_files: one file of a model, from this node's disk or from where it is.
 */
#include "actors/gateway/hub.h"
#include "actors/gateway/http_policy.h"
#include "actors/gateway/http_range.h"
#include "protocol/memory.h"
#include "runtime/model_manifest.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define HOST_SIZE 264
#define URL_SIZE 1024
/* In the query of a redirect: the next gateway answers itself, or says why not. */
#define HOP "hop=1"

void file_wish_free(void *argument)
{
    struct file_wish *wish = argument;
    if (!wish)
        return;
    http_file_close(wish->file);
    memory_free(wish->lines);
    memory_free(wish->elsewhere);
    memory_free(wish);
}

/* ---- where else it is ---- */

/* "127.0.0.1:8080", "[::1]:8080": both parts; false when there is no port. */
static bool split_host(const char *address, char host_out[HOST_SIZE], const char **port_out)
{
    const char *colon = strrchr(address, ':');
    if (!colon || (size_t)(colon - address) >= HOST_SIZE || strchr(colon, ']'))
        return false;
    (void)snprintf(host_out, HOST_SIZE, "%.*s", (int)(colon - address), address);
    *port_out = colon + 1;
    return true;
}

static bool is_wildcard(const char *host)
{
    return strcmp(host, "0.0.0.0") == 0 || strcmp(host, "[::]") == 0;
}

/* The address under which a client that reached us as `own_host` reaches that node's gateway. */
static bool reach(const struct gateway *gateway, const struct node_record *node,
                  const char *own_host, char authority_out[2 * HOST_SIZE])
{
    const struct node_record *self =
        state_find_node(gateway_state(gateway), &gateway->session.mirror.node_id);
    const char *port = NULL;
    const char *unused = NULL;
    char host[HOST_SIZE];
    char name[HOST_SIZE];
    if (!split_host(text_or_empty(node->http), host, &port))
        return false;
    if (!split_host(own_host, name, &unused))
        (void)snprintf(name, sizeof(name), "%.*s", HOST_SIZE - 1, own_host);
    const bool is_here = self && ID_EQUAL(self->machine_id, node->machine_id);
    if (is_wildcard(host)) {
        if (!is_here)
            return false;
        (void)snprintf(host, sizeof(host), "%s", name);
    } else if (http_address_is_loopback(host) && (!is_here || !http_address_is_loopback(name))) {
        return false;
    }
    (void)snprintf(authority_out, 2 * HOST_SIZE, "%s:%s", host, port);
    return true;
}

static bool has_file(const struct holder_record *holder, const struct file_entry *file)
{
    return holder->has_weights || model_file_is_small(file);
}

static bool has_it_here(const struct gateway *gateway, const struct model_record *model,
                        const struct file_entry *file)
{
    const struct holder_record *holder =
        model_find_holder(model, &gateway->session.mirror.node_id);
    return holder && has_file(holder, file);
}

/* The address of the file at another node; false: none that the client can reach. */
static bool find_elsewhere(const struct gateway *gateway, const struct http_arrival *arrival,
                           const struct hub_request *request, const struct file_entry *file,
                           char url_out[URL_SIZE])
{
    const struct model_record *model = request->model;
    char authority[2 * HOST_SIZE];
    char hop[8];
    if (http_query_value(arrival->query, "hop", hop, sizeof(hop)))
        return false;
    /* Another one for each request, so that they share the work. */
    for (uint32_t i = 0; i < model->holders.count; i++) {
        const struct holder_record *holder =
            &model->holders.items[(i + arrival->exchange) % model->holders.count];
        const struct node_record *node = state_find_node(gateway_state(gateway), &holder->node_id);
        if (!node || !node->in_view || !has_file(holder, file) ||
            ID_EQUAL(node->node_id, gateway->session.mirror.node_id) ||
            !reach(gateway, node, arrival->host, authority))
            continue;
        (void)snprintf(url_out, URL_SIZE, "http://%s/%s/resolve/%s/%s?" HOP, authority,
                       request->model_id, model->commit, file->name);
        return true;
    }
    return false;
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
    char text[URL_SIZE + 1024];
    const char *name = base_name(file->name);
    const int size = snprintf(
        text, sizeof(text),
        "X-Repo-Commit: %s\nETag: \"%s\"\nX-Linked-Etag: \"%s\"\nX-Linked-Size: %" PRIu64
        "\nAccept-Ranges: bytes\nContent-Disposition: inline; filename*=UTF-8''%s; "
        "filename=\"%s\";%s%s",
        model->commit, file->etag, file->etag, file->size, name, name, *more ? "\n" : "", more);
    return memory_text(text, (size_t)size);
}

static const char *content_type_of(const char *name)
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

static void redirect(struct gateway *gateway, uint64_t exchange, char *lines)
{
    struct buffer none;
    buffer_init(&none, 1);
    if (!lines)
        gateway->outbox->failed = STATUS_NO_MEMORY;
    reply_lines(gateway, exchange, 307, lines, &none);
}

/* Not on this disk: a head needs none, the bytes are at another node. */
static void answer_elsewhere(struct gateway *gateway, const struct http_arrival *arrival,
                             const struct hub_request *request, const struct file_entry *file,
                             const char *url)
{
    char location[URL_SIZE + 16] = "";
    if (arrival->method == HTTP_METHOD_HEAD) {
        send_file(gateway, (struct http_output){.exchange = arrival->exchange,
                                                .http_status = 200,
                                                .content_type = content_type_of(file->name),
                                                .lines = file_lines(request->model, file, ""),
                                                .size = file->size});
        return;
    }
    (void)snprintf(location, sizeof(location), "Location: %s", url);
    redirect(gateway, arrival->exchange, file_lines(request->model, file, location));
}

static void open_file(struct gateway *gateway, const struct http_arrival *arrival,
                      const struct hub_request *request, const struct file_entry *file,
                      const char *url)
{
    char range[96] = "";
    char location[URL_SIZE + 16];
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
        (void)snprintf(location, sizeof(location), "Location: %s", url);
        wish->elsewhere = *url ? file_lines(request->model, file, location) : NULL;
    }
    if (!wish || !wish->lines || (*url && !wish->elsewhere)) {
        file_wish_free(wish);
        gateway->outbox->failed = STATUS_NO_MEMORY;
        return;
    }
    outbox_effect(gateway->outbox, arrival->exchange, GATEWAY_OPEN_FILE, wish, file_wish_free);
}

void hub_file(struct gateway *gateway, const struct http_arrival *arrival,
              const struct hub_request *request)
{
    const struct file_entry *file = hub_request_file(request);
    char url[URL_SIZE] = "";
    if (!file) {
        char commit[80];
        (void)snprintf(commit, sizeof(commit), "X-Repo-Commit: %s", request->model->commit);
        hub_refuse(gateway, arrival->exchange, 404, "EntryNotFound", commit,
                   "There is no file %.100s in %.100s.", request->path, request->model_id);
        return;
    }
    const bool is_elsewhere = find_elsewhere(gateway, arrival, request, file, url);
    if (has_it_here(gateway, request->model, file))
        open_file(gateway, arrival, request, file, url);
    else if (is_elsewhere)
        answer_elsewhere(gateway, arrival, request, file, url);
    else
        refuse_absent(gateway, arrival->exchange, file->name, request->model_id,
                      "no node that you can reach has it; ask one that holds it, or troupe "
                      "distribute copies it to this one");
}

void hub_file_opened(struct gateway *gateway, const struct result *result)
{
    struct file_wish *wish = result->value;
    if (result->status == STATUS_OK) {
        struct http_output output = {.exchange = wish->exchange,
                                     .http_status = wish->http_status,
                                     .content_type = content_type_of(wish->name),
                                     .lines = wish->lines,
                                     .file = wish->file,
                                     .size = wish->size};
        wish->lines = NULL;
        wish->file = NULL;
        send_file(gateway, output);
    } else if (wish->elsewhere) {
        redirect(gateway, wish->exchange, wish->elsewhere);
        wish->elsewhere = NULL;
    } else {
        refuse_absent(gateway, wish->exchange, wish->name, wish->model_id, result->reason.text);
    }
}
