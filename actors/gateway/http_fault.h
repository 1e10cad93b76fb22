/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_fault: why a request is refused, in the shape OpenAI clients read.
 *
 * Memory   the caller's; codes are string constants.
 * Threads  any.
 */
#ifndef TROUPE_ACTORS_GATEWAY_HTTP_FAULT_H
#define TROUPE_ACTORS_GATEWAY_HTTP_FAULT_H

#include "protocol/assert.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http_fault {
    int http_status;        /* 400 ... 599 */
    const char *type;       /* "invalid_request_error"; a string constant */
    const char *code;       /* "missing_host"; a string constant */
    char param[64];         /* the field at fault; empty when none is */
    unsigned retry_after_s; /* 0: no Retry-After */
    char message[320];      /* one sentence: the thing and the remedy */
};

/* Fills `fault_out` and returns false, so that a failing branch is one line. */
bool http_fault_set(struct http_fault *fault_out, int http_status, const char *code,
                    const char *format, ...) PRINTF_LIKE(4, 5);
/* The same, naming the field at fault. */
bool http_fault_set_param(struct http_fault *fault_out, int http_status, const char *code,
                          const char *param, const char *format, ...) PRINTF_LIKE(5, 6);
/* "invalid_request_error", "authentication_error", ... for a status. */
const char *http_fault_type(int http_status);
/* "Bad Request"; never NULL. */
const char *http_reason_phrase(int http_status);
/* Writes {"error":{...}} with a NUL; the result always fits in HTTP_FAULT_BODY_SIZE_MAX bytes. */
#define HTTP_FAULT_BODY_SIZE_MAX 3072
size_t http_fault_body(const struct http_fault *fault, char body_out[HTTP_FAULT_BODY_SIZE_MAX]);

#endif
