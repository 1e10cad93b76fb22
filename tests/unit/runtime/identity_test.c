/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/identity.h"

#include "tests/support/check_main.h"
#include "tests/support/scratch.h"
#include "tests/support/seeded.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct join_token token_make(uint32_t address_count)
{
    struct join_token token = {.expires_ms = 1800000000000u, .address_count = address_count};
    ck_assert_int_eq(identity_random(&token.cluster, sizeof(token.cluster)), STATUS_OK);
    ck_assert_int_eq(identity_random(&token.master_key, sizeof(token.master_key)), STATUS_OK);
    ck_assert_int_eq(key_pair_make(&token.pair), STATUS_OK);
    for (uint32_t i = 0; i < address_count; i++)
        (void)snprintf(token.addresses[i], sizeof(token.addresses[i]), "tcp://192.168.7.%u:%u",
                       (unsigned)i, 40000u + (unsigned)i);
    return token;
}

START_TEST(identity_is_made_once_and_found_again)
{
    struct scratch scratch;
    struct identity first;
    struct identity second;
    struct reason reason = {""};
    char directory[256];
    char path[300];
    struct stat stat_of;
    scratch_open(&scratch);
    (void)scratch_path(&scratch, "deep/identity", directory);
    ck_assert_msg(identity_open(directory, &first, &reason) == STATUS_OK, "%s", reason.text);
    ck_assert_int_eq(identity_open(directory, &second, &reason), STATUS_OK);
    ck_assert_mem_eq(&first, &second, sizeof(first));
    struct node_id node = identity_node_id(&first.transport_pair.public_key, &first.sign_key);
    ck_assert(ID_EQUAL(node, first.node));
    ck_assert(!ID_IS_ZERO(node));
    (void)snprintf(path, sizeof(path), "%s/node.key", directory);
    ck_assert_int_eq(stat(path, &stat_of), 0);
    ck_assert_uint_eq(stat_of.st_mode & 0777, 0600);
    ck_assert_int_eq(stat(directory, &stat_of), 0);
    ck_assert_uint_eq(stat_of.st_mode & 0777, 0700);
    identity_fini(&first);
    ck_assert(id_is_zero(&first, sizeof(first)));
    scratch_close(&scratch);
}
END_TEST

START_TEST(keys_others_can_read_are_refused)
{
    struct scratch scratch;
    struct identity identity;
    struct reason reason = {""};
    char directory[256];
    char path[300];
    scratch_open(&scratch);
    (void)scratch_path(&scratch, "identity", directory);
    (void)snprintf(path, sizeof(path), "%s/node.key", directory);
    ck_assert_int_eq(identity_open(directory, &identity, &reason), STATUS_OK);
    ck_assert_int_eq(chmod(path, 0640), 0);
    ck_assert_int_eq(identity_open(directory, &identity, &reason), STATUS_NO_PERMISSION);
    ck_assert_ptr_nonnull(strstr(reason.text, "chmod 600"));
    ck_assert_int_eq(chmod(path, 0600), 0);
    ck_assert_int_eq(chmod(directory, 0755), 0);
    ck_assert_int_eq(identity_open(directory, &identity, &reason), STATUS_NO_PERMISSION);
    ck_assert_ptr_nonnull(strstr(reason.text, "chmod 700"));
    scratch_close(&scratch);
}
END_TEST

START_TEST(any_damaged_byte_of_the_key_file_is_found)
{
    struct scratch scratch;
    struct identity identity;
    struct reason reason = {""};
    char path[256];
    size_t size;
    scratch_open(&scratch);
    ck_assert_int_eq(identity_open(scratch.path, &identity, &reason), STATUS_OK);
    char *bytes = file_bytes(scratch_path(&scratch, "node.key", path), &size);
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (char)(bytes[i] ^ 0x10);
        file_put(path, bytes, size);
        ck_assert_int_eq(identity_open(scratch.path, &identity, &reason), STATUS_DAMAGED);
        bytes[i] = (char)(bytes[i] ^ 0x10);
    }
    for (size_t cut = 0; cut < size; cut++) {
        file_put(path, bytes, cut);
        ck_assert_int_eq(identity_open(scratch.path, &identity, &reason), STATUS_DAMAGED);
    }
    free(bytes);
    scratch_close(&scratch);
}
END_TEST

START_TEST(signatures_hold_for_their_words_only)
{
    struct identity identity;
    struct signature signature;
    char statement[] = "node 7 joins";
    ck_assert_int_eq(identity_make(&identity), STATUS_OK);
    ck_assert_int_eq(identity_sign(&identity, "join", statement, sizeof(statement), &signature),
                     STATUS_OK);
    const struct public_key *key = &identity.sign_key;
    ck_assert(identity_verify(key, "join", statement, sizeof(statement), &signature));
    ck_assert(!identity_verify(key, "leave", statement, sizeof(statement), &signature));
    statement[5] = '8';
    ck_assert(!identity_verify(key, "join", statement, sizeof(statement), &signature));
    statement[5] = '7';
    signature.bytes[0] ^= 1;
    ck_assert(!identity_verify(key, "join", statement, sizeof(statement), &signature));
    identity_fini(&identity);
}
END_TEST

START_TEST(token_round_trip)
{
    for (uint32_t count = 1; count <= JOIN_ADDRESSES_MAX; count++) {
        struct join_token token = token_make(count);
        struct join_token back;
        char text[JOIN_TOKEN_TEXT_SIZE];
        char padded[JOIN_TOKEN_TEXT_SIZE + 8];
        struct reason reason = {""};
        ck_assert_int_eq(join_token_print(&token, text, &reason), STATUS_OK);
        ck_assert_int_eq(strncmp(text, "troupe1-", 8), 0);
        ck_assert_uint_eq(strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                       "0123456789-_"), strlen(text));
        (void)snprintf(padded, sizeof(padded), " \n%s\t\n", text);
        ck_assert_msg(join_token_parse(padded, 1, &back, &reason) == STATUS_OK, "%s", reason.text);
        ck_assert_mem_eq(&token.pair, &back.pair, sizeof(token.pair));
        ck_assert_mem_eq(token.addresses, back.addresses, sizeof(token.addresses));
        ck_assert(ID_EQUAL(token.cluster, back.cluster));
        ck_assert(ID_EQUAL(token.master_key, back.master_key));
        ck_assert_uint_eq(token.expires_ms, back.expires_ms);
        ck_assert_int_eq(join_token_parse(text, token.expires_ms, &back, &reason), STATUS_EXPIRED);
        ck_assert_int_eq(join_token_parse(text, 0, &back, &reason), STATUS_OK);
    }
}
END_TEST

START_TEST(token_with_any_wrong_character_is_refused)
{
    struct join_token token = token_make(3);
    struct join_token back;
    struct reason reason;
    char text[JOIN_TOKEN_TEXT_SIZE];
    ck_assert_int_eq(join_token_print(&token, text, NULL), STATUS_OK);
    size_t length = strlen(text);
    for (size_t i = 0; i < length; i++) {
        char was = text[i];
        text[i] = was == 'A' ? 'B' : 'A';
        enum status status = join_token_parse(text, 1, &back, &reason);
        ck_assert_msg(status == STATUS_MALFORMED, "character %zu", i);
        text[i] = was;
    }
    for (size_t cut = 0; cut < length; cut++) {
        char was = text[cut];
        text[cut] = 0;
        ck_assert_int_eq(join_token_parse(text, 1, &back, &reason), STATUS_MALFORMED);
        text[cut] = was;
    }
    memcpy(text, "troupe2-", 8);
    ck_assert_int_eq(join_token_parse(text, 1, &back, &reason), STATUS_VERSION);
}
END_TEST

START_TEST(random_texts_are_refused)
{
    static const char letters[] = "ABCDwxyz0189-_=+/ \n";
    struct seeded seeded = seeded_open(3);
    struct join_token back;
    char text[600];
    for (int round = 0; round < 20000; round++) {
        size_t length = 8 + (size_t)seeded_below(&seeded, sizeof(text) - 9);
        memcpy(text, "troupe1-", 8);
        for (size_t i = 8; i < length; i++)
            text[i] = letters[seeded_below(&seeded, sizeof(letters) - 1)];
        text[length] = 0;
        ck_assert_int_eq(join_token_parse(text, 1, &back, NULL), STATUS_MALFORMED);
    }
}
END_TEST

START_TEST(bad_tokens_are_not_made)
{
    struct join_token token = token_make(1);
    struct reason reason = {""};
    char text[JOIN_TOKEN_TEXT_SIZE];
    (void)snprintf(token.addresses[0], sizeof(token.addresses[0]), "ipc://master.sock");
    ck_assert_int_eq(join_token_print(&token, text, &reason), STATUS_INVALID);
    token.address_count = 0;
    ck_assert_int_eq(join_token_print(&token, text, &reason), STATUS_INVALID);
    token.address_count = JOIN_ADDRESSES_MAX + 1;
    ck_assert_int_eq(join_token_print(&token, text, &reason), STATUS_INVALID);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("identity");
    const TTest *const keys[] = {
        identity_is_made_once_and_found_again, keys_others_can_read_are_refused,
        any_damaged_byte_of_the_key_file_is_found, signatures_hold_for_their_words_only,
    };
    const TTest *const tokens[] = {
        token_round_trip, token_with_any_wrong_character_is_refused, random_texts_are_refused,
        bad_tokens_are_not_made,
    };
    suite_add(suite, "keys", keys, COUNT_OF(keys));
    suite_add(suite, "tokens", tokens, COUNT_OF(tokens));
    return suite;
}
