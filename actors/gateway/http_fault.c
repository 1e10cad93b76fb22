/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/gateway/http_fault.h"

#include "protocol/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void fault_begin(struct http_fault *fault, int http_status, const char *code)
{
    *fault = (struct http_fault){
        .http_status = http_status, .type = http_fault_type(http_status), .code = code};
    if (http_status == 429 || http_status == 503)
        fault->retry_after_s = 1;
}

bool http_fault_set(struct http_fault *fault_out, int http_status, const char *code,
                    const char *format, ...)
{
    fault_begin(fault_out, http_status, code);
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(fault_out->message, sizeof(fault_out->message), format, arguments);
    va_end(arguments);
    return false;
}

bool http_fault_set_param(struct http_fault *fault_out, int http_status, const char *code,
                          const char *param, const char *format, ...)
{
    fault_begin(fault_out, http_status, code);
    (void)snprintf(fault_out->param, sizeof(fault_out->param), "%s", param);
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(fault_out->message, sizeof(fault_out->message), format, arguments);
    va_end(arguments);
    return false;
}

const char *http_fault_type(int http_status)
{
    switch (http_status) {
    case 401:
        return "authentication_error";
    case 403:
        return "permission_error";
    case 404:
        return "not_found_error";
    case 409:
        return "conflict_error";
    case 429:
        return "rate_limit_error";
    default:
        return http_status >= 500 ? "server_error" : "invalid_request_error";
    }
}

const char *http_reason_phrase(int http_status)
{
    static const struct {
        int http_status;
        const char *phrase;
    } phrases[] = {
        {200, "OK"},
        {202, "Accepted"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {421, "Misdirected Request"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {505, "HTTP Version Not Supported"},
        {507, "Insufficient Storage"},
    };
    for (size_t i = 0; i < COUNT_OF(phrases); i++)
        if (phrases[i].http_status == http_status)
            return phrases[i].phrase;
    return "Error";
}

/* Appends `text` as a JSON string.  What is no UTF-8, such as a name cut in a character, becomes
 * the replacement character, so that nothing a client sent can break the document. */
static size_t json_string(char *target, size_t size, const char *text)
{
    size_t length = 0;
    const unsigned char *end = (const unsigned char *)text + strlen(text);
    target[length++] = '"';
    for (const unsigned char *at = (const unsigned char *)text; *at && length + 8 < size; at++) {
        if (*at == '"' || *at == '\\') {
            target[length++] = '\\';
            target[length++] = (char)*at;
        } else if (*at >= 0x80) {
            const size_t bytes = utf8_length(at, (size_t)(end - at));
            memcpy(target + length, bytes ? (const char *)at : "\xef\xbf\xbd", bytes ? bytes : 3);
            length += bytes ? bytes : 3;
            at += bytes ? bytes - 1 : 0;
        } else if (*at < 0x20 || *at == 0x7f) {
            length += (size_t)snprintf(target + length, 7, "\\u%04x", *at);
        } else {
            target[length++] = (char)*at;
        }
    }
    target[length++] = '"';
    return length;
}

static size_t put(char *body, size_t length, const char *text)
{
    size_t size = strlen(text);
    ASSERT(length + size < HTTP_FAULT_BODY_SIZE_MAX);
    memcpy(body + length, text, size);
    return length + size;
}

size_t http_fault_body(const struct http_fault *fault, char body_out[HTTP_FAULT_BODY_SIZE_MAX])
{
    size_t length = put(body_out, 0, "{\"error\":{\"message\":");
    length += json_string(body_out + length, 6 * sizeof(fault->message) + 16, fault->message);
    length = put(body_out, length, ",\"type\":");
    length += json_string(body_out + length, 128, fault->type);
    length = put(body_out, length, ",\"param\":");
    if (fault->param[0])
        length += json_string(body_out + length, 6 * sizeof(fault->param) + 16, fault->param);
    else
        length = put(body_out, length, "null");
    length = put(body_out, length, ",\"code\":");
    if (fault->code)
        length += json_string(body_out + length, 128, fault->code);
    else
        length = put(body_out, length, "null");
    length = put(body_out, length, "}}");
    body_out[length] = '\0';
    return length;
}
