/* SPDX-License-Identifier: Apache-2.0 */
/*
 * identity: who a node is, and the token that lets another in.
 *
 * A node has two long-term pairs: X25519 for its connections and Ed25519 for what it signs.  They
 * lie in one file of mode 0600 in a directory of mode 0700 and are refused when others can read
 * them.  The node's id is the first 16 bytes of BLAKE2b over both public keys.
 *
 * Owner    the node's master; a joining command line makes tokens' answers.
 * Memory   plain structs; identity_fini and key_pair_fini wipe the secrets.
 * Threads  any, on different structs.
 * Fails    STATUS_NO_PERMISSION, STATUS_DAMAGED, STATUS_MALFORMED, STATUS_EXPIRED, STATUS_IO.
 */
#ifndef TROUPE_RUNTIME_IDENTITY_H
#define TROUPE_RUNTIME_IDENTITY_H

#include "protocol/ids.h"
#include "protocol/status.h"
#include "runtime/link.h"

struct identity {
    struct node_id node;
    struct key_pair transport_pair;  /* CURVE */
    struct public_key sign_key;      /* Ed25519 */
    uint8_t sign_secret[64];
};

/* Starts libsodium; every function here does so itself. */
MUST_CHECK enum status identity_random(void *bytes_out, size_t size);
/* A fresh pair for a process or a token. */
MUST_CHECK enum status key_pair_make(struct key_pair *pair_out);
void key_pair_fini(struct key_pair *pair);

MUST_CHECK enum status identity_make(struct identity *identity_out);
/* Reads `directory`/node.key, or makes it (and the directory) on the first start. */
MUST_CHECK enum status identity_open(const char *directory, struct identity *identity_out,
                                     struct reason *reason);
void identity_fini(struct identity *identity);
/* The id that belongs to a pair of public keys. */
struct node_id identity_node_id(const struct public_key *transport_key,
                                const struct public_key *sign_key);

/* Signs `context` (a word that says what for) with the bytes. */
MUST_CHECK enum status identity_sign(const struct identity *identity, const char *context,
                                     const void *bytes, size_t size,
                                     struct signature *signature_out);
bool identity_verify(const struct public_key *sign_key, const char *context, const void *bytes,
                     size_t size, const struct signature *signature);

enum {
    JOIN_ADDRESSES_MAX = 8,
    JOIN_TOKEN_TEXT_SIZE = 2048 /* the text with its NUL */
};

struct join_token {
    struct cluster_id cluster;
    struct public_key master_key;     /* CURVE key of the master that made it */
    uint64_t expires_ms;              /* since 1970 */
    struct key_pair pair;             /* one-time; its public part is on the allow-list for join */
    uint32_t address_count;
    char addresses[JOIN_ADDRESSES_MAX][LINK_ENDPOINT_SIZE];
};

/* "troupe1-" and base64url of version, fields and checksum. */
MUST_CHECK enum status join_token_print(const struct join_token *token,
                                        char text_out[JOIN_TOKEN_TEXT_SIZE],
                                        struct reason *reason);
/* White space around the text is allowed.  A mistyped token is MALFORMED, one past its time
 * EXPIRED (`now_ms` since 1970; 0: not checked). */
MUST_CHECK enum status join_token_parse(const char *text, uint64_t now_ms,
                                        struct join_token *token_out, struct reason *reason);
void join_token_fini(struct join_token *token);

#endif
