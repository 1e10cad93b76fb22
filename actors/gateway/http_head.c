/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/gateway/http_head.h"

#include <string.h>
#include <strings.h>

static const char *const method_names[] = {
    [HTTP_METHOD_GET] = "GET",         [HTTP_METHOD_HEAD] = "HEAD",
    [HTTP_METHOD_POST] = "POST",       [HTTP_METHOD_PUT] = "PUT",
    [HTTP_METHOD_PATCH] = "PATCH",     [HTTP_METHOD_DELETE] = "DELETE",
    [HTTP_METHOD_OPTIONS] = "OPTIONS",
};

const char *http_method_name(enum http_method method)
{
    ASSERT((size_t)method < COUNT_OF(method_names));
    return method_names[method];
}

bool http_method_find(const char *name, size_t size, enum http_method *method_out)
{
    struct http_text text = {name, size};
    for (size_t i = 0; i < COUNT_OF(method_names); i++) {
        if (http_text_is(text, method_names[i])) {
            *method_out = (enum http_method)i;
            return true;
        }
    }
    return false;
}

bool http_text_is(struct http_text text, const char *expected)
{
    return text.size == strlen(expected) && memcmp(text.bytes, expected, text.size) == 0;
}

bool http_text_is_nocase(struct http_text text, const char *expected)
{
    return text.size == strlen(expected) && strncasecmp(text.bytes, expected, text.size) == 0;
}

static bool bad(struct http_fault *fault_out, const char *code, const char *sentence)
{
    return http_fault_set(fault_out, 400, code, "%s", sentence);
}

/* RFC 9110 5.6.2: the bytes of method and field names. */
static bool is_token_byte(unsigned char byte)
{
    if ((byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
        (byte >= 'A' && byte <= 'Z'))
        return true;
    return byte != 0 && strchr("!#$%&'*+-.^_`|~", byte) != NULL;
}

static int hex_value(unsigned char byte)
{
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    if (byte >= 'a' && byte <= 'f')
        return byte - 'a' + 10;
    if (byte >= 'A' && byte <= 'F')
        return byte - 'A' + 10;
    return -1;
}

/* The limits are applied while the bytes come, so that nobody makes us keep more than they say. */
static bool check_line(const struct http_head_scan *scan, size_t end, struct http_fault *fault_out)
{
    size_t length = end - scan->line_start;
    if (scan->line_count == 0) {
        if (length > HTTP_REQUEST_LINE_SIZE_MAX)
            return http_fault_set(fault_out, 414, "request_line_too_long",
                                  "The request line is longer than %u bytes.",
                                  HTTP_REQUEST_LINE_SIZE_MAX);
        return true;
    }
    if (end > HTTP_HEAD_SIZE_MAX - 4 || scan->line_count - 1 > HTTP_HEADER_COUNT_MAX)
        return http_fault_set(fault_out, 431, "headers_too_large",
                              "The request has more than %u headers or %u bytes of them.",
                              HTTP_HEADER_COUNT_MAX, HTTP_HEADERS_SIZE_MAX);
    return true;
}

enum http_read http_head_scan(struct http_head_scan *scan, const char *bytes, size_t size,
                              size_t *head_size_out, struct http_fault *fault_out)
{
    for (; scan->scanned < size; scan->scanned++) {
        unsigned char byte = (unsigned char)bytes[scan->scanned];
        bool after_cr = scan->scanned > 0 && bytes[scan->scanned - 1] == '\r';
        if (after_cr != (byte == '\n')) {
            (void)bad(fault_out, "bare_line_end",
                      "The head has a CR or LF alone; lines end with CR LF.");
            return HTTP_READ_BAD;
        }
        if (byte == '\n') {
            size_t length = scan->scanned - 1 - scan->line_start;
            if (length == 0 && scan->line_count == 0) {
                (void)bad(fault_out, "empty_request_line", "The head begins with an empty line.");
                return HTTP_READ_BAD;
            }
            if (length == 0) {
                *head_size_out = scan->scanned + 1;
                scan->scanned++;
                return HTTP_READ_WHOLE;
            }
            scan->line_count++;
            scan->line_start = scan->scanned + 1;
        } else if ((byte < 0x20 && byte != '\t' && byte != '\r') || byte == 0x7f) {
            (void)bad(fault_out, "control_byte", "The head has a control byte.");
            return HTTP_READ_BAD;
        }
        if (!check_line(scan, scan->scanned, fault_out))
            return HTTP_READ_BAD;
    }
    return HTTP_READ_MORE;
}

/* RFC 3986: path and query bytes, each '%' with two hex digits that are not a control byte. */
static bool check_target(struct http_text target, struct http_fault *fault_out)
{
    if (target.size == 0 || target.bytes[0] != '/')
        return bad(fault_out, "bad_target",
                   "The request target must be a path that begins with /.");
    for (size_t i = 0; i < target.size; i++) {
        unsigned char byte = (unsigned char)target.bytes[i];
        if (byte == '%') {
            if (target.size - i < 3 || hex_value((unsigned char)target.bytes[i + 1]) < 0 ||
                hex_value((unsigned char)target.bytes[i + 2]) < 0)
                return bad(fault_out, "bad_target", "The request target has a bad % escape.");
            int value = hex_value((unsigned char)target.bytes[i + 1]) * 16 +
                        hex_value((unsigned char)target.bytes[i + 2]);
            if (value < 0x20 || value == 0x7f)
                return bad(fault_out, "bad_target", "The request target hides a control byte.");
        } else if (byte <= 0x20 || byte >= 0x7f || strchr("\"<>\\^`{|}#", byte) != NULL) {
            return bad(fault_out, "bad_target",
                       "The request target has a byte that must be escaped.");
        }
    }
    return true;
}

/* No dot segments: what a route sees is what everybody in between saw. */
static bool check_segments(struct http_text path, struct http_fault *fault_out)
{
    size_t start = 1;
    for (size_t i = 1; i <= path.size; i++) {
        if (i < path.size && path.bytes[i] != '/')
            continue;
        char segment[16];
        size_t decoded = 0;
        if (i - start <= 6) {
            struct http_text raw = {path.bytes + start, i - start};
            if (!http_percent_decode(raw, segment, &decoded) || strcmp(segment, ".") == 0 ||
                strcmp(segment, "..") == 0)
                return bad(fault_out, "bad_target", "The request path has a dot segment.");
        }
        start = i + 1;
    }
    return true;
}

static bool parse_request_line(struct http_text line, struct http_head *head,
                               struct http_fault *fault_out)
{
    const char *first = memchr(line.bytes, ' ', line.size);
    size_t method_size = first ? (size_t)(first - line.bytes) : 0;
    if (method_size == 0)
        return bad(fault_out, "bad_request_line",
                   "The request line must be METHOD SP PATH SP VERSION.");
    for (size_t i = 0; i < method_size; i++)
        if (!is_token_byte((unsigned char)line.bytes[i]))
            return bad(fault_out, "bad_request_line", "The method has a byte that is not allowed.");
    const char *target = first + 1;
    const char *end = line.bytes + line.size;
    const char *second = memchr(target, ' ', (size_t)(end - target));
    if (!second)
        return bad(fault_out, "bad_request_line", "The request line has no HTTP version.");
    struct http_text version = {second + 1, (size_t)(end - second - 1)};
    if (http_text_is(version, "HTTP/1.1"))
        head->minor_version = 1;
    else if (http_text_is(version, "HTTP/1.0"))
        head->minor_version = 0;
    else if (version.size == 8 && memcmp(version.bytes, "HTTP/", 5) == 0)
        return http_fault_set(fault_out, 505, "http_version", "Only HTTP/1.1 and 1.0 are spoken.");
    else
        return bad(fault_out, "bad_request_line", "The request line must end with HTTP/1.1.");
    if (!http_method_find(line.bytes, method_size, &head->method))
        return http_fault_set(fault_out, 501, "unknown_method", "This method is not implemented.");
    head->target = (struct http_text){target, (size_t)(second - target)};
    if (!check_target(head->target, fault_out))
        return false;
    const char *mark = memchr(target, '?', head->target.size);
    head->path = (struct http_text){target, mark ? (size_t)(mark - target) : head->target.size};
    if (mark)
        head->query = (struct http_text){mark + 1, (size_t)(second - mark - 1)};
    return check_segments(head->path, fault_out);
}

static bool parse_header(struct http_text line, struct http_head *head,
                         struct http_fault *fault_out)
{
    if (line.bytes[0] == ' ' || line.bytes[0] == '\t')
        return bad(fault_out, "folded_header", "A header line begins with white space.");
    const char *colon = memchr(line.bytes, ':', line.size);
    if (!colon || colon == line.bytes)
        return bad(fault_out, "bad_header", "A header line has no name or no colon.");
    struct http_header *header = &head->headers[head->header_count];
    header->name = (struct http_text){line.bytes, (size_t)(colon - line.bytes)};
    for (size_t i = 0; i < header->name.size; i++)
        if (!is_token_byte((unsigned char)header->name.bytes[i]))
            return bad(fault_out, "bad_header",
                       "A header name has a byte that is not allowed, such as a space.");
    const char *start = colon + 1;
    const char *end = line.bytes + line.size;
    while (start < end && (*start == ' ' || *start == '\t'))
        start++;
    while (end > start && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    header->value = (struct http_text){start, (size_t)(end - start)};
    head->header_count++;
    return true;
}

static bool parse_length(struct http_text value, struct http_head *head,
                         struct http_fault *fault_out)
{
    uint64_t length = 0;
    if (value.size == 0 || value.size > 15)
        return bad(fault_out, "bad_content_length", "Content-Length must be a plain number.");
    for (size_t i = 0; i < value.size; i++) {
        if (value.bytes[i] < '0' || value.bytes[i] > '9')
            return bad(fault_out, "bad_content_length", "Content-Length must be a plain number.");
        length = length * 10 + (uint64_t)(value.bytes[i] - '0');
    }
    if (length > HTTP_BODY_SIZE_MAX)
        return http_fault_set(fault_out, 413, "body_too_large", "The body is larger than %u bytes.",
                              HTTP_BODY_SIZE_MAX);
    head->has_length = true;
    head->length = length;
    return true;
}

/* RFC 9112 3.2: host, then a port.  Names, IPv4 and bracketed IPv6; nothing to guess about. */
static bool check_host(struct http_text host, struct http_fault *fault_out)
{
    size_t i = 0;
    if (host.size > 0 && host.bytes[0] == '[') {
        for (i = 1; i < host.size && host.bytes[i] != ']'; i++)
            if (hex_value((unsigned char)host.bytes[i]) < 0 && host.bytes[i] != ':' &&
                host.bytes[i] != '.')
                break;
        if (i < 3 || i == host.size || host.bytes[i] != ']')
            return bad(fault_out, "bad_host", "The Host header is not a host name.");
        i++;
    } else {
        for (; i < host.size && host.bytes[i] != ':'; i++) {
            unsigned char byte = (unsigned char)host.bytes[i];
            bool is_name = hex_value(byte) >= 0 || (byte >= 'a' && byte <= 'z') ||
                           (byte >= 'A' && byte <= 'Z') || byte == '-' || byte == '.' ||
                           byte == '_';
            if (!is_name)
                return bad(fault_out, "bad_host", "The Host header is not a host name.");
        }
        if (i == 0)
            return bad(fault_out, "bad_host", "The Host header is empty.");
    }
    if (i == host.size)
        return true;
    if (host.bytes[i] != ':' || host.size - i < 2 || host.size - i > 6)
        return bad(fault_out, "bad_host", "The Host header has a bad port.");
    for (i++; i < host.size; i++)
        if (host.bytes[i] < '0' || host.bytes[i] > '9')
            return bad(fault_out, "bad_host", "The Host header has a bad port.");
    return true;
}

/* Members of a comma list, without regard to case. */
static bool list_has(struct http_text list, const char *member)
{
    size_t start = 0;
    for (size_t i = 0; i <= list.size; i++) {
        if (i < list.size && list.bytes[i] != ',')
            continue;
        struct http_text entry = {list.bytes + start, i - start};
        while (entry.size > 0 && (entry.bytes[0] == ' ' || entry.bytes[0] == '\t')) {
            entry.bytes++;
            entry.size--;
        }
        while (entry.size > 0 &&
               (entry.bytes[entry.size - 1] == ' ' || entry.bytes[entry.size - 1] == '\t'))
            entry.size--;
        if (http_text_is_nocase(entry, member))
            return true;
        start = i + 1;
    }
    return false;
}

/* Headers that mean something to us and may come once only. */
struct single {
    const char *name;
    struct http_text *target;
};

static bool take_single(const struct http_header *header, const struct single *singles,
                        size_t count, uint32_t *seen, struct http_fault *fault_out)
{
    for (size_t i = 0; i < count; i++) {
        if (!http_text_is_nocase(header->name, singles[i].name))
            continue;
        if (*seen & (1u << i))
            return http_fault_set(fault_out, 400, "duplicate_header",
                                  "The header %s comes more than once.", singles[i].name);
        *seen |= 1u << i;
        *singles[i].target = header->value;
    }
    return true;
}

enum {
    SINGLE_HOST = 1u << 0,
    SINGLE_LENGTH = 1u << 1,
    SINGLE_CODING = 1u << 2,
    SINGLE_EXPECT = 1u << 3
};

static bool check_framing(struct http_head *head, uint32_t seen, struct http_text length,
                          struct http_text coding, struct http_fault *fault_out)
{
    if ((seen & SINGLE_LENGTH) && (seen & SINGLE_CODING))
        return bad(fault_out, "ambiguous_length",
                   "Content-Length and Transfer-Encoding come together; send one of them.");
    if ((seen & SINGLE_LENGTH) && !parse_length(length, head, fault_out))
        return false;
    if (seen & SINGLE_CODING) {
        if (head->minor_version == 0 || !http_text_is_nocase(coding, "chunked"))
            return bad(fault_out, "unknown_transfer_coding",
                       "The only transfer coding is chunked, in HTTP/1.1.");
        head->is_chunked = true;
    }
    bool may_have_body = head->method != HTTP_METHOD_GET && head->method != HTTP_METHOD_HEAD;
    if (!may_have_body && (head->is_chunked || head->length > 0))
        return bad(fault_out, "unexpected_body", "GET and HEAD requests carry no body.");
    return true;
}

static bool interpret(struct http_head *head, struct http_fault *fault_out)
{
    struct http_text length = {"", 0};
    struct http_text coding = {"", 0};
    struct http_text expect = {"", 0};
    const struct single singles[] = {
        {"host", &head->host},
        {"content-length", &length},
        {"transfer-encoding", &coding},
        {"expect", &expect},
        {"content-type", &head->content_type},
        {"authorization", &head->authorization},
        {"x-api-key", &head->api_key},
        {"origin", &head->origin},
        {"sec-fetch-site", &head->fetch_site},
        {"range", &head->range},
        {"if-range", &head->if_range},
        {"if-none-match", &head->if_none_match},
    };
    uint32_t seen = 0;
    for (unsigned i = 0; i < head->header_count; i++) {
        const struct http_header *header = &head->headers[i];
        if (!take_single(header, singles, COUNT_OF(singles), &seen, fault_out))
            return false;
        if (http_text_is_nocase(header->name, "accept"))
            head->accept = header->value;
        if (http_text_is_nocase(header->name, "connection") && list_has(header->value, "close"))
            head->wants_close = true;
    }
    if (!(seen & SINGLE_HOST))
        return bad(fault_out, "missing_host", "The request has no Host header.");
    if (!check_host(head->host, fault_out))
        return false;
    if (head->minor_version == 0)
        head->wants_close = true;
    if (seen & SINGLE_EXPECT) {
        if (!http_text_is_nocase(expect, "100-continue"))
            return http_fault_set(fault_out, 417, "unknown_expectation",
                                  "The only expectation that can be met is 100-continue.");
        head->wants_continue = head->minor_version > 0;
    }
    return check_framing(head, seen, length, coding, fault_out);
}

bool http_head_parse(const char *bytes, size_t size, struct http_head *head_out,
                     struct http_fault *fault_out)
{
    ASSERT(size >= 4 && memcmp(bytes + size - 4, "\r\n\r\n", 4) == 0);
    memset(head_out, 0, sizeof(*head_out));
    size_t start = 0;
    bool is_first = true;
    while (size - start > 2) {
        const char *end = memchr(bytes + start, '\r', size - start);
        struct http_text line = {bytes + start, (size_t)(end - (bytes + start))};
        if (!is_first && head_out->header_count == HTTP_HEADER_COUNT_MAX)
            return http_fault_set(fault_out, 431, "headers_too_large",
                                  "The request has more than %u headers.", HTTP_HEADER_COUNT_MAX);
        if (is_first ? !parse_request_line(line, head_out, fault_out)
                     : !parse_header(line, head_out, fault_out))
            return false;
        is_first = false;
        start += line.size + 2;
    }
    return interpret(head_out, fault_out);
}

bool http_percent_decode(struct http_text text, char *target, size_t *size_out)
{
    size_t length = 0;
    for (size_t i = 0; i < text.size; i++) {
        unsigned char byte = (unsigned char)text.bytes[i];
        if (byte == '%') {
            int high = text.size - i > 2 ? hex_value((unsigned char)text.bytes[i + 1]) : -1;
            int low = high >= 0 ? hex_value((unsigned char)text.bytes[i + 2]) : -1;
            if (low < 0)
                return false;
            byte = (unsigned char)(high * 16 + low);
            i += 2;
        }
        if (byte < 0x20 || byte == 0x7f)
            return false;
        target[length++] = (char)byte;
    }
    target[length] = '\0';
    *size_out = length;
    return true;
}

bool http_query_value(const char *query, const char *name, char *value_out, size_t size)
{
    size_t name_size = strlen(name);
    for (const char *at = query; *at;) {
        size_t length = strcspn(at, "&");
        if (length > name_size && at[name_size] == '=' && strncmp(at, name, name_size) == 0) {
            struct http_text value = {at + name_size + 1, length - name_size - 1};
            size_t decoded_size = 0;
            return value.size < size && http_percent_decode(value, value_out, &decoded_size);
        }
        at += length + (at[length] == '&');
    }
    return false;
}

enum { CHUNK_SIZE, CHUNK_SIZE_LF, CHUNK_BYTES, CHUNK_CR, CHUNK_LF, CHUNK_END_CR, CHUNK_END_LF };

/* The bytes between the pieces of a body.  False: refused. */
static bool chunk_framing(struct http_chunked *chunked, unsigned char byte,
                          struct http_fault *fault_out)
{
    int digit = hex_value(byte);
    switch (chunked->state) {
    case CHUNK_SIZE:
        if (digit >= 0 && chunked->digit_count < 8) {
            chunked->left = chunked->left * 16 + (uint64_t)digit;
            chunked->digit_count++;
            return true;
        }
        if (digit >= 0)
            return http_fault_set(fault_out, 400, "bad_chunk", "A chunk size is out of range.");
        if (byte != '\r' || chunked->digit_count == 0)
            return bad(fault_out, "bad_chunk", "A chunk size must be hex digits and CR LF.");
        if (chunked->received + chunked->left > HTTP_BODY_SIZE_MAX)
            return http_fault_set(fault_out, 413, "body_too_large",
                                  "The body is larger than %u bytes.", HTTP_BODY_SIZE_MAX);
        chunked->state = CHUNK_SIZE_LF;
        return true;
    case CHUNK_SIZE_LF:
        chunked->state = chunked->left ? CHUNK_BYTES : CHUNK_END_CR;
        return byte == '\n' || bad(fault_out, "bad_chunk", "A chunk size must end with CR LF.");
    case CHUNK_CR:
        chunked->state = CHUNK_LF;
        return byte == '\r' || bad(fault_out, "bad_chunk", "A chunk must end with CR LF.");
    case CHUNK_LF:
        chunked->state = CHUNK_SIZE;
        chunked->digit_count = 0;
        return byte == '\n' || bad(fault_out, "bad_chunk", "A chunk must end with CR LF.");
    default: /* CHUNK_END_CR: the last chunk is followed by an empty line, never by trailers */
        chunked->state = CHUNK_END_LF;
        return byte == '\r' || bad(fault_out, "bad_chunk", "Trailers are not taken.");
    }
}

enum http_read http_chunked_read(struct http_chunked *chunked, const char *bytes, size_t size,
                                 size_t *taken_out, struct http_text *piece_out,
                                 struct http_fault *fault_out)
{
    *piece_out = (struct http_text){bytes, 0};
    for (size_t i = 0; i < size; i++) {
        if (chunked->state == CHUNK_BYTES) {
            size_t length = size - i < chunked->left ? size - i : (size_t)chunked->left;
            *piece_out = (struct http_text){bytes + i, length};
            chunked->left -= length;
            chunked->received += length;
            if (chunked->left == 0)
                chunked->state = CHUNK_CR;
            *taken_out = i + length;
            return HTTP_READ_MORE;
        }
        if (chunked->state == CHUNK_END_LF) {
            *taken_out = i + 1;
            if (bytes[i] == '\n')
                return HTTP_READ_WHOLE;
            (void)bad(fault_out, "bad_chunk", "The last chunk must end with CR LF CR LF.");
            return HTTP_READ_BAD;
        }
        if (!chunk_framing(chunked, (unsigned char)bytes[i], fault_out)) {
            *taken_out = i + 1;
            return HTTP_READ_BAD;
        }
    }
    *taken_out = size;
    return HTTP_READ_MORE;
}
