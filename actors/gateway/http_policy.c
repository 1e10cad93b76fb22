/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/gateway/http_policy.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

void http_policy_init(struct http_policy *policy)
{
    memset(policy, 0, sizeof(*policy));
    struct reason reason;
    static const char *const always[] = {"localhost", "127.0.0.1", "[::1]"};
    for (size_t i = 0; i < COUNT_OF(always); i++)
        ASSERT(http_policy_add_host(policy, always[i], &reason) == STATUS_OK);
}

enum status http_policy_add_host(struct http_policy *policy, const char *host,
                                 struct reason *reason)
{
    size_t size = strlen(host);
    if (size == 0 || size >= HTTP_HOST_SIZE_MAX)
        return refuse(reason, STATUS_INVALID,
                      "A host name of the HTTP API has %zu characters; it may have 1 to %d.", size,
                      HTTP_HOST_SIZE_MAX - 1);
    if (policy->host_count == HTTP_HOST_COUNT_MAX)
        return refuse(reason, STATUS_TOO_LARGE, "The HTTP API may have at most %d host names.",
                      HTTP_HOST_COUNT_MAX);
    memcpy(policy->hosts[policy->host_count++], host, size + 1);
    return STATUS_OK;
}

static int hex_digit(char digit)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = digit ? strchr(digits, digit | 0x20) : NULL;
    return at ? (int)(at - digits) : -1;
}

enum status http_policy_read_keys(struct http_policy *policy, const char *text,
                                  struct reason *reason)
{
    unsigned line_number = 0;
    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        line_number++;
        size_t size = strcspn(line, "\r\n");
        if (size == 0 || line[0] == '#')
            continue;
        if (policy->key_count == HTTP_KEY_COUNT_MAX)
            return refuse(reason, STATUS_TOO_LARGE, "The key file has more than %d keys.",
                          HTTP_KEY_COUNT_MAX);
        /* A name may follow the hash, after a space. */
        bool is_hash = size == 2 * HTTP_KEY_HASH_SIZE ||
                       (size > 2 * HTTP_KEY_HASH_SIZE && line[2 * HTTP_KEY_HASH_SIZE] == ' ');
        struct http_key_hash *hash = &policy->keys[policy->key_count];
        for (size_t i = 0; is_hash && i < HTTP_KEY_HASH_SIZE; i++) {
            int high = hex_digit(line[2 * i]);
            int low = hex_digit(line[2 * i + 1]);
            is_hash = high >= 0 && low >= 0;
            hash->bytes[i] = (unsigned char)(high * 16 + low);
        }
        if (!is_hash)
            return refuse(reason, STATUS_MALFORMED,
                          "Line %u of the key file is not a key hash of 64 hex digits; make one "
                          "with `troupe-gateway hash-key`.",
                          line_number);
        policy->key_count++;
    }
    return STATUS_OK;
}

bool http_address_is_loopback(const char *address)
{
    return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0 ||
           strcmp(address, "[::1]") == 0 || strcmp(address, "localhost") == 0;
}

enum status http_policy_check_bind(const struct http_policy *policy, const char *address,
                                   struct reason *reason)
{
    if (policy->key_count > 0 || http_address_is_loopback(address))
        return STATUS_OK;
    return refuse(
        reason, STATUS_INVALID,
        "The HTTP API is set to listen on %s, where others can reach it, but it has no API key: "
        "make one with `troupe-gateway hash-key`, or listen on 127.0.0.1.",
        address);
}

/* The name without its port. */
static struct http_text host_name(struct http_text host)
{
    for (size_t i = host.size; i > 0; i--) {
        if (host.bytes[i - 1] == ']')
            break;
        if (host.bytes[i - 1] == ':')
            return (struct http_text){host.bytes, i - 1};
    }
    return host;
}

static bool is_served_name(const struct http_policy *policy, struct http_text name)
{
    for (unsigned i = 0; i < policy->host_count; i++)
        if (http_text_is_nocase(name, policy->hosts[i]))
            return true;
    return false;
}

/* An origin of ours is http or https at exactly the host and port of the request. */
static bool is_own_origin(const struct http_head *head)
{
    struct http_text origin = head->origin;
    size_t skip = 0;
    if (origin.size > 7 && strncasecmp(origin.bytes, "http://", 7) == 0)
        skip = 7;
    else if (origin.size > 8 && strncasecmp(origin.bytes, "https://", 8) == 0)
        skip = 8;
    else
        return false;
    return origin.size - skip == head->host.size &&
           strncasecmp(origin.bytes + skip, head->host.bytes, head->host.size) == 0;
}

static bool check_origin(const struct http_head *head, struct http_fault *fault_out)
{
    if (head->origin.size > 0 && !is_own_origin(head))
        return http_fault_set(fault_out, 403, "foreign_origin",
                              "Web pages of other origins may not use this API.");
    bool is_foreign = head->fetch_site.size > 0 &&
                      !http_text_is_nocase(head->fetch_site, "same-origin") &&
                      !http_text_is_nocase(head->fetch_site, "none");
    if (is_foreign)
        return http_fault_set(fault_out, 403, "foreign_origin",
                              "Requests that a page of another site makes are refused.");
    return true;
}

/* "application/json", parameters aside. */
static bool is_json(struct http_text type)
{
    const char *mark = memchr(type.bytes, ';', type.size);
    if (mark)
        type.size = (size_t)(mark - type.bytes);
    while (type.size > 0 && (type.bytes[type.size - 1] == ' ' || type.bytes[type.size - 1] == '\t'))
        type.size--;
    return http_text_is_nocase(type, "application/json");
}

/* Clients of the hub ask what is at several paths by a form; nothing is changed by it. */
static bool is_form_of_hub(const struct http_head *head)
{
    static const char prefix[] = "/api/models/";
    static const char word[] = "/paths-info/";
    const size_t size = strlen(prefix);
    return http_text_is_nocase(head->content_type, "application/x-www-form-urlencoded") &&
           head->path.size > size && memcmp(head->path.bytes, prefix, size) == 0 &&
           memmem(head->path.bytes, head->path.size, word, strlen(word)) != NULL;
}

bool http_policy_is_open(const struct http_head *head)
{
    bool is_read = head->method == HTTP_METHOD_GET || head->method == HTTP_METHOD_HEAD;
    return is_read && (http_text_is(head->path, "/livez") || http_text_is(head->path, "/health"));
}

/* All keys are compared in full, so that the time tells nothing. */
static bool key_is_known(const struct http_policy *policy, struct http_text key)
{
    struct http_key_hash hash;
    policy->hash(key.bytes, key.size, &hash);
    unsigned found = 0;
    for (unsigned i = 0; i < policy->key_count; i++) {
        volatile unsigned char difference = 0;
        for (size_t j = 0; j < HTTP_KEY_HASH_SIZE; j++)
            difference = (unsigned char)(difference | (hash.bytes[j] ^ policy->keys[i].bytes[j]));
        found |= (unsigned)(difference == 0);
    }
    return found != 0;
}

static bool check_key(const struct http_policy *policy, const struct http_head *head,
                      struct http_fault *fault_out)
{
    struct http_text key = head->api_key;
    if (head->authorization.size > 7 && strncasecmp(head->authorization.bytes, "Bearer ", 7) == 0)
        key = (struct http_text){head->authorization.bytes + 7, head->authorization.size - 7};
    if (key.size == 0)
        return http_fault_set(
            fault_out, 401, "missing_api_key",
            "This API asks for a key: send the header Authorization: Bearer KEY.");
    if (!key_is_known(policy, key))
        return http_fault_set(fault_out, 401, "invalid_api_key", "The API key is not known here.");
    return true;
}

bool http_policy_admit(const struct http_policy *policy, const struct http_head *head,
                       struct http_fault *fault_out)
{
    if (!is_served_name(policy, host_name(head->host)))
        return http_fault_set(fault_out, 421, "unknown_host",
                              "This API is not served under the host name of the request; "
                              "add the name to the setting http_hosts.");
    if (!check_origin(head, fault_out))
        return false;
    if (policy->key_count > 0 && !http_policy_is_open(head) && !check_key(policy, head, fault_out))
        return false;
    if ((head->is_chunked || head->length > 0) && !is_json(head->content_type) &&
        !is_form_of_hub(head))
        return http_fault_set(fault_out, 415, "content_type",
                              "A request body must come as Content-Type: application/json.");
    return true;
}
