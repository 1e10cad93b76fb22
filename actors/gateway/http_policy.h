/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_policy: which well-formed requests may reach the API: by host name, by origin, by key.
 *
 * Everything is denied unless a row here lets it through, so a new route cannot forget the key.
 * Against DNS rebinding only known host names are served; against requests forged by web pages
 * foreign origins are refused and bodies must be JSON, which makes browsers ask first.
 *
 * Owner    the guard; filled by the shell from the configuration before the guard opens.
 * Memory   fixed.
 * Threads  read-only after it is filled.
 */
#ifndef TROUPE_ACTORS_GATEWAY_HTTP_POLICY_H
#define TROUPE_ACTORS_GATEWAY_HTTP_POLICY_H

#include "actors/gateway/http_head.h"
#include "protocol/status.h"

#define HTTP_KEY_HASH_SIZE 32
#define HTTP_KEY_COUNT_MAX 64
#define HTTP_HOST_COUNT_MAX 32
#define HTTP_HOST_SIZE_MAX 128

/* BLAKE2b-256 of the key: what stands in the key file, one line of 64 hex digits each. */
struct http_key_hash {
    unsigned char bytes[HTTP_KEY_HASH_SIZE];
};

struct http_policy {
    char hosts[HTTP_HOST_COUNT_MAX][HTTP_HOST_SIZE_MAX]; /* without ports, lower case */
    unsigned host_count;
    struct http_key_hash keys[HTTP_KEY_COUNT_MAX];
    unsigned key_count; /* 0: no key is asked for; then the bind must be loopback */
    void (*hash)(const char *key, size_t size, struct http_key_hash *hash_out);
};

/* localhost, 127.0.0.1 and [::1] are served always; no keys. */
void http_policy_init(struct http_policy *policy);
/* Another name or address the API may be reached by. */
MUST_CHECK enum status http_policy_add_host(struct http_policy *policy, const char *host,
                                            struct reason *reason);
/* Reads the text of a key file: hex lines, empty lines and lines that begin with '#'. */
MUST_CHECK enum status http_policy_read_keys(struct http_policy *policy, const char *text,
                                             struct reason *reason);
/* The rule of the start: an address others can reach needs at least one key. */
MUST_CHECK enum status http_policy_check_bind(const struct http_policy *policy, const char *address,
                                              struct reason *reason);
/* True for 127.0.0.0/8, ::1 and localhost. */
bool http_address_is_loopback(const char *address);

/* Answered without a key, whoever asks: it says nothing but whether we are alive. */
bool http_policy_is_open(const struct http_head *head);
/* False: refused.  A fault with status 401 counts as a failed key of that address. */
MUST_CHECK bool http_policy_admit(const struct http_policy *policy, const struct http_head *head,
                                  struct http_fault *fault_out);

#endif
