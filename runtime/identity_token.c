/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A join token is "troupe1-" and base64url (no padding) of:
 *
 *   OFFSET  SIZE  WHAT
 *   0       1     version, 1
 *   1       16    cluster id
 *   17      32    CURVE public key of the master
 *   49      8     expiry, ms since 1970, little-endian
 *   57      32    secret key of the one-time CURVE pair (the public key follows from it)
 *   89      1     number of addresses, 1 to 8
 *   90      ...   each: length (1 byte), then that many printable characters
 *   end-8   8     BLAKE2b of all before, first 8 bytes: finds typing errors, proves nothing
 */
#include "runtime/identity.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define TOKEN_PREFIX "troupe1-"

enum {
    TOKEN_VERSION = 1,
    TOKEN_FIXED_SIZE = 90,
    TOKEN_CHECK_SIZE = 8,
    TOKEN_BYTES_MAX = TOKEN_FIXED_SIZE + JOIN_ADDRESSES_MAX * LINK_ENDPOINT_SIZE + TOKEN_CHECK_SIZE
};

_Static_assert(sizeof(TOKEN_PREFIX) + (TOKEN_BYTES_MAX * 4 + 2) / 3 < JOIN_TOKEN_TEXT_SIZE,
               "the longest token fits into its text");
_Static_assert(LINK_ENDPOINT_SIZE <= 256, "the length of an address is one byte");

static void token_check(const uint8_t *bytes, size_t size, uint8_t check[TOKEN_CHECK_SIZE])
{
    uint8_t hash[32];
    ASSERT(crypto_generichash(hash, sizeof(hash), bytes, size, NULL, 0) == 0);
    memcpy(check, hash, TOKEN_CHECK_SIZE);
}

/* Printable, without a blank, and a tcp address: it will be given to connect. */
static bool address_is_good(const char *address, size_t length)
{
    if (length < 8 || length >= LINK_ENDPOINT_SIZE || memcmp(address, "tcp://", 6) != 0)
        return false;
    for (size_t i = 0; i < length; i++) {
        if (address[i] <= 0x20 || address[i] >= 0x7f)
            return false;
    }
    return true;
}

enum status join_token_print(const struct join_token *token, char text_out[JOIN_TOKEN_TEXT_SIZE],
                             struct reason *reason)
{
    uint8_t bytes[TOKEN_BYTES_MAX];
    size_t size = TOKEN_FIXED_SIZE;
    if (sodium_init() < 0)
        return refuse(reason, STATUS_IO, "libsodium cannot start");
    if (token->address_count == 0 || token->address_count > JOIN_ADDRESSES_MAX)
        return refuse(reason, STATUS_INVALID, "a token carries 1 to %d addresses",
                      JOIN_ADDRESSES_MAX);
    bytes[0] = TOKEN_VERSION;
    memcpy(bytes + 1, token->cluster.bytes, 16);
    memcpy(bytes + 17, token->master_key.bytes, 32);
    for (int i = 0; i < 8; i++)
        bytes[49 + i] = (uint8_t)(token->expires_ms >> (8 * i));
    memcpy(bytes + 57, token->pair.secret, 32);
    bytes[89] = (uint8_t)token->address_count;
    for (uint32_t i = 0; i < token->address_count; i++) {
        size_t length = strnlen(token->addresses[i], LINK_ENDPOINT_SIZE);
        if (!address_is_good(token->addresses[i], length))
            return refuse(reason, STATUS_INVALID, "%.100s is no tcp address",
                          token->addresses[i]);
        bytes[size++] = (uint8_t)length;
        memcpy(bytes + size, token->addresses[i], length);
        size += length;
    }
    token_check(bytes, size, bytes + size);
    size += TOKEN_CHECK_SIZE;
    size_t prefix = strlen(TOKEN_PREFIX);
    memcpy(text_out, TOKEN_PREFIX, prefix);
    (void)sodium_bin2base64(text_out + prefix, JOIN_TOKEN_TEXT_SIZE - prefix, bytes, size,
                            sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    sodium_memzero(bytes, sizeof(bytes));
    return STATUS_OK;
}

static enum status malformed(struct reason *reason)
{
    return refuse(reason, STATUS_MALFORMED,
                  "this is no join token; copy it whole from the output of: troupe token");
}

static bool fields_read(const uint8_t *bytes, size_t size, struct join_token *token)
{
    size_t at = TOKEN_FIXED_SIZE;
    memcpy(token->cluster.bytes, bytes + 1, 16);
    memcpy(token->master_key.bytes, bytes + 17, 32);
    for (int i = 0; i < 8; i++)
        token->expires_ms |= (uint64_t)bytes[49 + i] << (8 * i);
    memcpy(token->pair.secret, bytes + 57, 32);
    token->address_count = bytes[89];
    if (token->address_count == 0 || token->address_count > JOIN_ADDRESSES_MAX ||
        crypto_scalarmult_base(token->pair.public_key.bytes, token->pair.secret) != 0)
        return false;
    for (uint32_t i = 0; i < token->address_count; i++) {
        if (at == size)
            return false;
        size_t length = bytes[at++];
        if (length > size - at || !address_is_good((const char *)bytes + at, length))
            return false;
        memcpy(token->addresses[i], bytes + at, length);
        at += length;
    }
    return at == size;
}

enum status join_token_parse(const char *text, uint64_t now_ms, struct join_token *token_out,
                             struct reason *reason)
{
    static const char blanks[] = " \t\r\n";
    uint8_t bytes[TOKEN_BYTES_MAX];
    uint8_t check[TOKEN_CHECK_SIZE];
    size_t size = 0;
    size_t prefix = strlen(TOKEN_PREFIX);
    if (sodium_init() < 0)
        return refuse(reason, STATUS_IO, "libsodium cannot start");
    text += strspn(text, blanks);
    size_t length = strcspn(text, blanks);
    if (text[length + strspn(text + length, blanks)] != 0 || length <= prefix)
        return malformed(reason);
    if (strncmp(text, "troupe", 6) == 0 && text[6] >= '2' && text[6] <= '9')
        return refuse(reason, STATUS_VERSION,
                      "this join token is of a newer troupe; update this machine first");
    const char *end;
    if (strncmp(text, TOKEN_PREFIX, prefix) != 0 ||
        sodium_base642bin(bytes, sizeof(bytes), text + prefix, length - prefix, NULL, &size, &end,
                          sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0 ||
        end != text + length || size < TOKEN_FIXED_SIZE + TOKEN_CHECK_SIZE ||
        bytes[0] != TOKEN_VERSION)
        return malformed(reason);
    size -= TOKEN_CHECK_SIZE;
    token_check(bytes, size, check);
    struct join_token token = {0};
    bool is_good = memcmp(check, bytes + size, TOKEN_CHECK_SIZE) == 0 &&
                   fields_read(bytes, size, &token);
    sodium_memzero(bytes, sizeof(bytes));
    enum status status = STATUS_OK;
    if (!is_good)
        status = malformed(reason);
    else if (now_ms != 0 && now_ms >= token.expires_ms)
        status = refuse(reason, STATUS_EXPIRED,
                        "this join token has expired; make a new one with: troupe token");
    if (status == STATUS_OK)
        *token_out = token;
    join_token_fini(&token);
    return status;
}

void join_token_fini(struct join_token *token)
{
    sodium_memzero(token, sizeof(*token));
}
