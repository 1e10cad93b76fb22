/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_client: raw bytes to a server under test, and what came back.
 */
#ifndef TROUPE_TESTS_PROCESS_GATEWAY_HTTP_CLIENT_H
#define TROUPE_TESTS_PROCESS_GATEWAY_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http_reply {
    int http_status; /* 0: the connection closed without an answer */
    bool is_closed;  /* the server closed within the time */
    size_t size;
    char bytes[65536]; /* NUL after them */
};

/* A connected socket to 127.0.0.1; aborts the test when refused. */
int client_connect(unsigned port);
/* All bytes; false when the server closed first. */
bool client_send(int fd, const void *bytes, size_t size);
bool client_send_text(int fd, const char *text);
/* Reads until the server closes, `wanted` stands in the bytes (NULL: nothing), or the time is up.
 */
void client_read(int fd, const char *wanted, uint64_t timeout_ms, struct http_reply *reply_out);

#endif
