/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/gateway/gateway.h"
#include "actors/gateway/hub.h"

#include <stdio.h>
#include <string.h>

#define STATE_JSON_SIZE_MAX (64u << 20)

static void route_livez(struct gateway *gateway, const struct http_arrival *request)
{
    reply_text(gateway, request->exchange, 200, "{\"status\":\"alive\"}");
}

static void route_health(struct gateway *gateway, const struct http_arrival *request)
{
    struct http_fault fault;
    if (gateway->session.is_welcome && gateway->session.mirror.has_state) {
        reply_text(gateway, request->exchange, 200, "{\"status\":\"ok\"}");
        return;
    }
    (void)http_fault_set(&fault, 503, "starting", "The node's master has not answered yet.");
    reply_fault(gateway, request->exchange, &fault);
}

/* The state, and beside what it says of instances how fast they were. */
static void route_state(struct gateway *gateway, const struct http_arrival *request)
{
    struct buffer json;
    struct http_fault fault;
    buffer_init(&json, STATE_JSON_SIZE_MAX);
    enum status status = record_print(&state_type, gateway_state(gateway), &json);
    ASSERT(status != STATUS_OK || (json.size > 0 && json.bytes[json.size - 1] == '}'));
    if (status == STATUS_OK) {
        json.size--;
        status = buffer_append_text(&json, ",\"paces\":");
    }
    if (status == STATUS_OK)
        status = pace_print_all(gateway_state(gateway), NULL, gateway->paces.items,
                                gateway->paces.count, &json);
    if (status == STATUS_OK)
        status = buffer_append_text(&json, "}");
    if (status == STATUS_OK) {
        reply(gateway, request->exchange, 200, &json);
        return;
    }
    buffer_fini(&json);
    fault_of_status(&fault, status, "The state does not fit into one answer.");
    reply_fault(gateway, request->exchange, &fault);
}

/* Which nodes reach each other, as this node's master knows it. */
static void route_links(struct gateway *gateway, const struct http_arrival *request)
{
    struct ask_links body = {.unused = 0};
    ask_begin(gateway, ASK_LINKS, request->exchange, COMMAND_ASK_LINKS, &body, NULL);
}

static void route_node_id(struct gateway *gateway, const struct http_arrival *request)
{
    const struct node_id *own = &gateway->session.mirror.node_id;
    char id[HEX_SIZE(16)];
    char json[HEX_SIZE(16) + 4];
    struct http_fault fault;
    if (!gateway->session.is_welcome) {
        (void)http_fault_set(&fault, 503, "starting", "The node's master has not answered yet.");
        reply_fault(gateway, request->exchange, &fault);
        return;
    }
    (void)snprintf(json, sizeof(json), "\"%s\"", hex_print(own, sizeof(*own), id));
    reply_text(gateway, request->exchange, 200, json);
}

/* A path that ends with '/' stands for all that go on after it. */
static const struct {
    enum http_method method;
    const char *path;
    void (*serve)(struct gateway *gateway, const struct http_arrival *request);
} routes[] = {
    {HTTP_METHOD_POST, "/v1/chat/completions", chat_begin},
    {HTTP_METHOD_GET, "/v1/models", route_models},
    {HTTP_METHOD_GET, "/v1/models/pulls", route_pulls},
    {HTTP_METHOD_GET, "/v1/models/transfers", route_transfers},
    {HTTP_METHOD_GET, "/v1/models/transfers/", route_transfer},
    {HTTP_METHOD_DELETE, "/v1/models/transfers/", route_cancel_transfer},
    {HTTP_METHOD_GET, "/v1/models/", route_model},
    {HTTP_METHOD_POST, "/v1/models/", route_distribute},
    {HTTP_METHOD_GET, "/health", route_health},
    {HTTP_METHOD_GET, "/livez", route_livez},
    {HTTP_METHOD_GET, "/state", route_state},
    {HTTP_METHOD_GET, "/links", route_links},
    {HTTP_METHOD_GET, "/events", route_events},
    {HTTP_METHOD_GET, "/node_id", route_node_id},
    {HTTP_METHOD_GET, "/instance/previews", route_previews},
    {HTTP_METHOD_GET, "/instance", route_instances},
    {HTTP_METHOD_POST, "/instance", route_place},
    {HTTP_METHOD_GET, "/instance/", route_instance},
    {HTTP_METHOD_DELETE, "/instance/", route_delete},
};

static bool path_matches(const char *path, const char *pattern)
{
    size_t size = strlen(pattern);
    if (pattern[size - 1] == '/')
        return strncmp(path, pattern, size) == 0 && path[size];
    return strcmp(path, pattern) == 0;
}

/* What a path takes, as RFC 9110 wants it beside a 405. */
static const char *allow_header(const bool *takes)
{
    if (takes[HTTP_METHOD_GET] && takes[HTTP_METHOD_POST])
        return "Allow: GET, HEAD, POST";
    if (takes[HTTP_METHOD_GET])
        return takes[HTTP_METHOD_DELETE] ? "Allow: GET, HEAD, DELETE" : "Allow: GET, HEAD";
    return takes[HTTP_METHOD_POST] ? "Allow: POST" : "Allow: DELETE";
}

void route_request(struct gateway *gateway, const struct http_arrival *request)
{
    struct http_fault fault;
    bool takes[HTTP_METHOD_OPTIONS + 1] = {false};
    bool is_known = false;
    enum http_method method =
        request->method == HTTP_METHOD_HEAD ? HTTP_METHOD_GET : request->method;
    for (size_t i = 0; i < COUNT_OF(routes); i++) {
        if (!path_matches(request->path, routes[i].path))
            continue;
        is_known = takes[routes[i].method] = true;
        if (routes[i].method == method) {
            routes[i].serve(gateway, request);
            return;
        }
    }
    if (!is_known && route_hub(gateway, request))
        return;
    if (is_known)
        (void)http_fault_set(&fault, 405, "method_not_allowed", "%s is not allowed on this path.",
                             http_method_name(request->method));
    else
        (void)http_fault_set(&fault, 404, "unknown_path", "There is nothing at %.200s%s.",
                             request->path,
                             strncmp(request->path, "/v1/", 4) == 0
                                 ? "; POST /v1/chat/completions and GET /v1/models are served"
                                 : "");
    reply_fault_with(gateway, request->exchange, &fault, is_known ? allow_header(takes) : NULL);
}
