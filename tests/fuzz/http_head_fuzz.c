/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a request head and as a chunked body: cut in two places they are judged as they are
 * whole, what is accepted keeps to the limits, and what is accepted has one meaning only.
 */
#include "actors/gateway/http_head.h"
#include "protocol/assert.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check_accepted(const struct http_head *head)
{
    ASSERT(head->host.size > 0);
    ASSERT(head->path.size > 0 && head->path.bytes[0] == '/');
    ASSERT(head->target.size <= HTTP_REQUEST_LINE_SIZE_MAX);
    ASSERT(head->header_count <= HTTP_HEADER_COUNT_MAX);
    ASSERT(head->length <= HTTP_BODY_SIZE_MAX);
    ASSERT(!(head->is_chunked && head->has_length));
    unsigned hosts = 0;
    for (unsigned i = 0; i < head->header_count; i++) {
        const struct http_header *header = &head->headers[i];
        hosts += http_text_is_nocase(header->name, "host");
        for (size_t j = 0; j < header->value.size; j++)
            ASSERT((unsigned char)header->value.bytes[j] >= 0x20 || header->value.bytes[j] == '\t');
    }
    ASSERT(hosts == 1);
}

static void check_head(const char *bytes, size_t size)
{
    struct http_head_scan whole = {0};
    struct http_head_scan cut = {0};
    struct http_fault fault = {0};
    size_t head_size = 0;
    size_t cut_size = 0;
    enum http_read read = http_head_scan(&whole, bytes, size, &head_size, &fault);
    enum http_read read_cut = HTTP_READ_MORE;
    for (size_t i = 0; i <= size && read_cut == HTTP_READ_MORE; i += 1 + size / 7)
        read_cut = http_head_scan(&cut, bytes, i, &cut_size, &fault);
    if (read_cut == HTTP_READ_MORE)
        read_cut = http_head_scan(&cut, bytes, size, &cut_size, &fault);
    ASSERT(read == read_cut && head_size == cut_size);
    struct http_head head;
    if (read == HTTP_READ_WHOLE && http_head_parse(bytes, head_size, &head, &fault))
        check_accepted(&head);
    if (read == HTTP_READ_BAD) {
        char body[HTTP_FAULT_BODY_SIZE_MAX];
        ASSERT(http_fault_body(&fault, body) < sizeof(body));
    }
}

static enum http_read read_body(const char *bytes, size_t size, size_t step, uint64_t *received)
{
    struct http_chunked chunked = {0};
    struct http_fault fault;
    enum http_read read = HTTP_READ_MORE;
    size_t at = 0;
    while (read == HTTP_READ_MORE && at < size) {
        size_t taken = 0;
        struct http_text piece;
        size_t given = size - at < step ? size - at : step;
        read = http_chunked_read(&chunked, bytes + at, given, &taken, &piece, &fault);
        ASSERT(taken > 0 && taken <= given);
        ASSERT(piece.bytes >= bytes + at && piece.bytes + piece.size <= bytes + at + taken);
        at += taken;
    }
    ASSERT(chunked.received <= HTTP_BODY_SIZE_MAX);
    *received = chunked.received;
    return read;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    check_head((const char *)bytes, size);
    uint64_t whole = 0;
    uint64_t cut = 0;
    const char *body = (const char *)bytes;
    enum http_read read = read_body(body, size, SIZE_MAX, &whole);
    ASSERT(read == read_body(body, size, 1, &cut) && whole == cut);
    /* A whole message: the body follows the head. */
    const char *end = size > 4 ? memmem(bytes, size, "\r\n\r\n", 4) : NULL;
    if (end) {
        size_t left = size - (size_t)(end + 4 - (const char *)bytes);
        read = read_body(end + 4, left, SIZE_MAX, &whole);
        ASSERT(read == read_body(end + 4, left, 3, &cut) && whole == cut);
    }
    return 0;
}
