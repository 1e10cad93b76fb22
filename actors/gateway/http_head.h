/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_head: reads one HTTP/1.1 request head and chunked framing, and refuses what two readers
 * could understand differently.
 *
 * Refused with 400: Content-Length with Transfer-Encoding, any second Host, Content-Length,
 * Transfer-Encoding, Content-Type, Authorization, Origin, Expect or Range, a sign or list in a
 * length, bare CR, bare LF, NUL and other control bytes, folded lines, space before a colon, a
 * coding other than chunked, no Host, a target that is not an absolute path, trailers and chunk
 * extensions.
 *
 * Owner    the guard; one scan and one chunked reader per connection.
 * Memory   a head borrows the scanned bytes; nothing is allocated.
 * Threads  none.
 * Fails    HTTP_READ_BAD with a fault; the connection must then be closed.
 */
#ifndef TROUPE_ACTORS_GATEWAY_HTTP_HEAD_H
#define TROUPE_ACTORS_GATEWAY_HTTP_HEAD_H

#include "actors/gateway/http_fault.h"
#include "actors/gateway/http_limits.h"

enum http_read { HTTP_READ_MORE, HTTP_READ_WHOLE, HTTP_READ_BAD };

enum http_method {
    HTTP_METHOD_GET,
    HTTP_METHOD_HEAD,
    HTTP_METHOD_POST,
    HTTP_METHOD_PUT,
    HTTP_METHOD_PATCH,
    HTTP_METHOD_DELETE,
    HTTP_METHOD_OPTIONS,
};

/* "GET"; never NULL. */
const char *http_method_name(enum http_method method);
/* False when the name is none of ours. */
bool http_method_find(const char *name, size_t size, enum http_method *method_out);

/* Borrowed bytes, no NUL at the end. */
struct http_text {
    const char *bytes;
    size_t size;
};

bool http_text_is(struct http_text text, const char *expected);
/* ASCII letters compare equal in both cases. */
bool http_text_is_nocase(struct http_text text, const char *expected);

/* Looks for the end of a head in bytes that arrive in pieces; each byte is looked at once. */
struct http_head_scan {
    size_t scanned;
    size_t line_start;
    unsigned line_count; /* finished lines, the request line included */
};

/* `bytes` are all bytes since the first of this head.  On HTTP_READ_WHOLE `*head_size_out` is the
 * size of the head with its empty line. */
MUST_CHECK enum http_read http_head_scan(struct http_head_scan *scan, const char *bytes,
                                         size_t size, size_t *head_size_out,
                                         struct http_fault *fault_out);

struct http_header {
    struct http_text name;
    struct http_text value; /* without white space around it */
};

struct http_head {
    enum http_method method;
    unsigned minor_version;  /* 0 or 1 */
    struct http_text target; /* as sent: "/a%20b?x=1" */
    struct http_text path;   /* as sent, before '?' */
    struct http_text query;  /* after '?'; empty when none */
    struct http_text host;   /* with its port */
    struct http_text content_type;
    struct http_text authorization;
    struct http_text api_key; /* x-api-key */
    struct http_text origin;
    struct http_text fetch_site;
    struct http_text accept;
    struct http_text range;
    struct http_text if_range;
    struct http_text if_none_match;
    bool has_length;
    uint64_t length; /* at most HTTP_BODY_SIZE_MAX */
    bool is_chunked;
    bool wants_continue;
    bool wants_close;
    unsigned header_count;
    struct http_header headers[HTTP_HEADER_COUNT_MAX];
};

/* `size` is what the scan gave.  False: refused, `fault_out` says why. */
MUST_CHECK bool http_head_parse(const char *bytes, size_t size, struct http_head *head_out,
                                struct http_fault *fault_out);

/* Undoes percent signs in a path or query value ('+' stays).  The target has room for size + 1
 * bytes and gets a NUL.  False for a bad escape or a control byte. */
MUST_CHECK bool http_percent_decode(struct http_text text, char *target, size_t *size_out);

/* One value of a query string, decoded, into a buffer of `size` bytes.  False when it is absent,
 * too long or badly escaped. */
MUST_CHECK bool http_query_value(const char *query, const char *name, char *value_out, size_t size);

/* One reader per body.  Begins zeroed. */
struct http_chunked {
    unsigned state;
    unsigned digit_count;
    uint64_t left;     /* of the present chunk */
    uint64_t received; /* of the whole body */
};

/* Takes some of `bytes`: says how many, and which of them are body.  HTTP_READ_MORE with all bytes
 * taken means: more are needed.  Call again until then or until it is whole or bad. */
MUST_CHECK enum http_read http_chunked_read(struct http_chunked *chunked, const char *bytes,
                                            size_t size, size_t *taken_out,
                                            struct http_text *piece_out,
                                            struct http_fault *fault_out);

#endif
