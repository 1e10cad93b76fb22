/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as the text of a token, and as what a token carries, behind a checksum that is right:
 * refused, or printed again it is the same token.
 */
#include "protocol/assert.h"
#include "runtime/identity.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check(const char *text)
{
    struct join_token token;
    struct join_token again;
    struct reason reason = {""};
    char printed[JOIN_TOKEN_TEXT_SIZE];
    if (join_token_parse(text, 0, &token, &reason) != STATUS_OK) {
        ASSERT(reason.text[0] != 0);
        return;
    }
    ASSERT(token.address_count >= 1 && token.address_count <= JOIN_ADDRESSES_MAX);
    ASSERT(join_token_print(&token, printed, &reason) == STATUS_OK);
    ASSERT(join_token_parse(printed, 0, &again, &reason) == STATUS_OK);
    ASSERT(memcmp(&token.pair, &again.pair, sizeof(token.pair)) == 0);
    ASSERT(memcmp(token.addresses, again.addresses, sizeof(token.addresses)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char text[4096];
    uint8_t inner[1400];
    uint8_t hash[32];
    ASSERT(sodium_init() >= 0);
    size_t kept = size < sizeof(text) - 1 ? size : sizeof(text) - 1;
    memcpy(text, bytes, kept);
    text[kept] = 0;
    check(text);
    kept = size < sizeof(inner) - 8 ? size : sizeof(inner) - 8;
    memcpy(inner, bytes, kept);
    ASSERT(crypto_generichash(hash, sizeof(hash), inner, kept, NULL, 0) == 0);
    memcpy(inner + kept, hash, 8);
    memcpy(text, "troupe1-", 8);
    (void)sodium_bin2base64(text + 8, sizeof(text) - 8, inner, kept + 8,
                            sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    check(text);
    return 0;
}
