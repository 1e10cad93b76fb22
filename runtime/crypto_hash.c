/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/crypto_hash.h"

#include "protocol/ids.h"
#include "protocol/memory.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

struct etag_stream {
    EVP_MD_CTX *context;
    bool is_sound;
};

enum etag_kind etag_kind_of(const char *etag)
{
    const size_t length = etag ? strlen(etag) : 0;
    if (length == 0 || strspn(etag, "0123456789abcdef") != length)
        return ETAG_NONE;
    return length == 64 ? ETAG_SHA256 : length == 40 ? ETAG_GIT_SHA1 : ETAG_NONE;
}

enum status etag_stream_open(enum etag_kind kind, uint64_t size, struct etag_stream **stream_out,
                             struct reason *reason)
{
    char head[32];
    ASSERT(kind == ETAG_SHA256 || kind == ETAG_GIT_SHA1);
    struct etag_stream *stream = memory_zeroed(1, sizeof(*stream));
    if (stream)
        stream->context = EVP_MD_CTX_new();
    if (!stream || !stream->context) {
        etag_stream_close(stream);
        return refuse(reason, STATUS_NO_MEMORY, "no memory for a hash");
    }
    const EVP_MD *digest = kind == ETAG_SHA256 ? EVP_sha256() : EVP_sha1();
    stream->is_sound = EVP_DigestInit_ex(stream->context, digest, NULL) == 1;
    if (kind == ETAG_GIT_SHA1) {
        int length = snprintf(head, sizeof(head), "blob %llu", (unsigned long long)size);
        etag_stream_update(stream, head, (size_t)length + 1);
    }
    *stream_out = stream;
    return STATUS_OK;
}

void etag_stream_update(struct etag_stream *stream, const void *bytes, size_t size)
{
    stream->is_sound = stream->is_sound && EVP_DigestUpdate(stream->context, bytes, size) == 1;
}

enum status etag_stream_final(struct etag_stream *stream, char etag_out[ETAG_SIZE],
                              struct reason *reason)
{
    uint8_t bytes[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    if (!stream->is_sound || EVP_DigestFinal_ex(stream->context, bytes, &size) != 1 ||
        size > ETAG_BYTES_MAX)
        return refuse(reason, STATUS_INTERNAL, "libcrypto refuses to hash");
    (void)hex_print(bytes, size, etag_out);
    return STATUS_OK;
}

void etag_stream_close(struct etag_stream *stream)
{
    if (!stream)
        return;
    EVP_MD_CTX_free(stream->context);
    memory_free(stream);
}

enum status etag_of(enum etag_kind kind, const void *bytes, size_t size, char etag_out[ETAG_SIZE],
                    struct reason *reason)
{
    struct etag_stream *stream = NULL;
    enum status status = etag_stream_open(kind, size, &stream, reason);
    if (status != STATUS_OK)
        return status;
    etag_stream_update(stream, bytes, size);
    status = etag_stream_final(stream, etag_out, reason);
    etag_stream_close(stream);
    return status;
}
