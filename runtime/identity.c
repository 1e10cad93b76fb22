/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file node.key:
 *
 *   OFFSET  SIZE  WHAT
 *   0       8     "TROUPEK1"
 *   8       32    X25519 public key
 *   40      32    X25519 secret key
 *   72      32    Ed25519 seed
 *   104     32    BLAKE2b-256 of the bytes before
 */
#include "runtime/identity.h"

#include "runtime/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEY_FILE_SIZE = 136, KEY_FILE_HASHED = 104 };

static const uint8_t key_file_magic[8] = {'T', 'R', 'O', 'U', 'P', 'E', 'K', '1'};

enum status identity_random(void *bytes_out, size_t size)
{
    if (sodium_init() < 0)
        return STATUS_IO;
    randombytes_buf(bytes_out, size);
    return STATUS_OK;
}

enum status key_pair_make(struct key_pair *pair_out)
{
    if (sodium_init() < 0 ||
        crypto_box_keypair(pair_out->public_key.bytes, pair_out->secret) != 0)
        return STATUS_IO;
    return STATUS_OK;
}

void key_pair_fini(struct key_pair *pair)
{
    sodium_memzero(pair, sizeof(*pair));
}

struct node_id identity_node_id(const struct public_key *transport_key,
                                const struct public_key *sign_key)
{
    uint8_t keys[64];
    uint8_t hash[32];
    struct node_id node;
    memcpy(keys, transport_key->bytes, 32);
    memcpy(keys + 32, sign_key->bytes, 32);
    ASSERT(crypto_generichash(hash, sizeof(hash), keys, sizeof(keys), NULL, 0) == 0);
    memcpy(node.bytes, hash, sizeof(node.bytes));
    return node;
}

static enum status identity_from_seed(const struct key_pair *pair, const uint8_t seed[32],
                                      struct identity *identity_out)
{
    struct identity identity = {.transport_pair = *pair};
    if (crypto_sign_seed_keypair(identity.sign_key.bytes, identity.sign_secret, seed) != 0)
        return STATUS_IO;
    identity.node = identity_node_id(&pair->public_key, &identity.sign_key);
    *identity_out = identity;
    sodium_memzero(&identity, sizeof(identity));
    return STATUS_OK;
}

enum status identity_make(struct identity *identity_out)
{
    struct key_pair pair;
    uint8_t seed[32];
    enum status status = key_pair_make(&pair);
    if (status != STATUS_OK)
        return status;
    randombytes_buf(seed, sizeof(seed));
    status = identity_from_seed(&pair, seed, identity_out);
    key_pair_fini(&pair);
    sodium_memzero(seed, sizeof(seed));
    return status;
}

void identity_fini(struct identity *identity)
{
    sodium_memzero(identity, sizeof(*identity));
}

static void key_file_write(const struct identity *identity, uint8_t bytes[KEY_FILE_SIZE])
{
    memcpy(bytes, key_file_magic, 8);
    memcpy(bytes + 8, identity->transport_pair.public_key.bytes, 32);
    memcpy(bytes + 40, identity->transport_pair.secret, 32);
    /* libsodium's secret key begins with the seed. */
    memcpy(bytes + 72, identity->sign_secret, 32);
    ASSERT(crypto_generichash(bytes + KEY_FILE_HASHED, 32, bytes, KEY_FILE_HASHED, NULL, 0) == 0);
}

static enum status key_file_parse(const uint8_t *bytes, size_t size, const char *path,
                                  struct identity *identity_out, struct reason *reason)
{
    uint8_t hash[32];
    uint8_t derived[32];
    struct key_pair pair;
    if (size != KEY_FILE_SIZE || memcmp(bytes, key_file_magic, 8) != 0)
        return refuse(reason, STATUS_DAMAGED,
                      "%s is no key file of this version; restore it from a backup, or remove it "
                      "to become a new node", path);
    ASSERT(crypto_generichash(hash, sizeof(hash), bytes, KEY_FILE_HASHED, NULL, 0) == 0);
    memcpy(pair.public_key.bytes, bytes + 8, 32);
    memcpy(pair.secret, bytes + 40, 32);
    bool is_good = sodium_memcmp(hash, bytes + KEY_FILE_HASHED, sizeof(hash)) == 0 &&
                   crypto_scalarmult_base(derived, pair.secret) == 0 &&
                   sodium_memcmp(derived, pair.public_key.bytes, sizeof(derived)) == 0;
    enum status status = is_good ? identity_from_seed(&pair, bytes + 72, identity_out)
                                 : STATUS_DAMAGED;
    key_pair_fini(&pair);
    if (status != STATUS_OK)
        return refuse(reason, STATUS_DAMAGED,
                      "%s is damaged; restore it from a backup, or remove it to become a new node",
                      path);
    return STATUS_OK;
}

/* Ours, and nobody else may read it. */
static enum status mode_check(const struct stat *stat, const char *path, bool is_directory,
                              struct reason *reason)
{
    if (is_directory ? !S_ISDIR(stat->st_mode) : !S_ISREG(stat->st_mode))
        return refuse(reason, STATUS_DAMAGED, "%s is not a %s", path,
                      is_directory ? "directory" : "file");
    if (stat->st_uid != geteuid())
        return refuse(reason, STATUS_NO_PERMISSION,
                      "%s belongs to another user; run troupe as its owner", path);
    if ((stat->st_mode & 077) != 0)
        return refuse(reason, STATUS_NO_PERMISSION,
                      "%s can be read by others; run: chmod %s %s", path,
                      is_directory ? "700" : "600", path);
    return STATUS_OK;
}

static enum status key_file_read(const char *path, struct identity *identity_out,
                                 struct reason *reason)
{
    uint8_t bytes[KEY_FILE_SIZE + 1];
    struct stat stat;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return refuse(reason, status_from_errno(errno), "%s cannot be read: %s", path,
                      strerror(errno));
    enum status status = fstat(fd, &stat) == 0 ? mode_check(&stat, path, false, reason)
                                               : refuse(reason, STATUS_IO, "%s: %s", path,
                                                        strerror(errno));
    ssize_t size = status == STATUS_OK ? read(fd, bytes, sizeof(bytes)) : 0;
    if (size < 0)
        status = refuse(reason, STATUS_IO, "%s cannot be read: %s", path, strerror(errno));
    if (status == STATUS_OK)
        status = key_file_parse(bytes, (size_t)size, path, identity_out, reason);
    (void)close(fd);
    sodium_memzero(bytes, sizeof(bytes));
    return status;
}

enum status identity_open(const char *directory, struct identity *identity_out,
                          struct reason *reason)
{
    char path[PATH_SIZE + 64];
    struct stat found;
    if (sodium_init() < 0)
        return refuse(reason, STATUS_IO, "libsodium cannot start: no random numbers");
    int length = snprintf(path, sizeof(path), "%s/node.key", directory);
    if (length < 0 || (size_t)length >= sizeof(path))
        return refuse(reason, STATUS_TOO_LARGE, "the path of the identity is too long");
    enum status status = directory_make(directory, reason);
    if (status != STATUS_OK)
        return status;
    if (stat(directory, &found) != 0)
        return refuse(reason, status_from_errno(errno), "%s: %s", directory, strerror(errno));
    status = mode_check(&found, directory, true, reason);
    if (status != STATUS_OK)
        return status;
    if (lstat(path, &found) == 0)
        return key_file_read(path, identity_out, reason);
    if (errno != ENOENT)
        return refuse(reason, status_from_errno(errno), "%s: %s", path, strerror(errno));
    struct identity identity;
    uint8_t bytes[KEY_FILE_SIZE];
    status = identity_make(&identity);
    if (status != STATUS_OK)
        return refuse(reason, status, "a new identity cannot be made");
    key_file_write(&identity, bytes);
    status = file_replace(path, bytes, sizeof(bytes), reason);
    if (status == STATUS_OK)
        *identity_out = identity;
    sodium_memzero(bytes, sizeof(bytes));
    identity_fini(&identity);
    return status;
}

/* BLAKE2b over the word and the bytes, so that one signature never serves two purposes. */
static void statement_hash(const char *context, const void *bytes, size_t size, uint8_t hash[64])
{
    crypto_generichash_state state;
    size_t length = strlen(context) + 1;
    ASSERT(crypto_generichash_init(&state, NULL, 0, 64) == 0);
    ASSERT(crypto_generichash_update(&state, (const uint8_t *)context, length) == 0);
    ASSERT(crypto_generichash_update(&state, bytes, size) == 0);
    ASSERT(crypto_generichash_final(&state, hash, 64) == 0);
}

enum status identity_sign(const struct identity *identity, const char *context, const void *bytes,
                          size_t size, struct signature *signature_out)
{
    uint8_t hash[64];
    if (sodium_init() < 0)
        return STATUS_IO;
    statement_hash(context, bytes, size, hash);
    return crypto_sign_detached(signature_out->bytes, NULL, hash, sizeof(hash),
                                identity->sign_secret) == 0 ? STATUS_OK : STATUS_IO;
}

bool identity_verify(const struct public_key *sign_key, const char *context, const void *bytes,
                     size_t size, const struct signature *signature)
{
    uint8_t hash[64];
    if (sodium_init() < 0)
        return false;
    statement_hash(context, bytes, size, hash);
    return crypto_sign_verify_detached(signature->bytes, hash, sizeof(hash),
                                       sign_key->bytes) == 0;
}
