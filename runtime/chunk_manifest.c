/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/chunk_manifest.h"

#include "protocol/hash.h"
#include "protocol/message.h"
#include "runtime/model_manifest.h"

#include <string.h>

#define SIGN_CONTEXT "chunk manifest 2" /* the number changes with the digest of chunks */

uint64_t chunks_of_size(uint64_t size)
{
    return size / CHUNK_SIZE + (size % CHUNK_SIZE != 0);
}

uint32_t chunk_manifest_count(const struct chunk_manifest *manifest)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < manifest->files.count; i++)
        count += manifest->files.items[i].chunks.count / (uint32_t)sizeof(struct hash);
    return count;
}

bool chunk_manifest_place(const struct chunk_manifest *manifest, uint32_t chunk,
                          struct chunk_place *place_out)
{
    for (uint32_t i = 0; i < manifest->files.count; i++) {
        const struct manifest_file *file = &manifest->files.items[i];
        const uint32_t count = file->chunks.count / (uint32_t)sizeof(struct hash);
        if (chunk >= count) {
            chunk -= count;
            continue;
        }
        const uint64_t offset = chunk * CHUNK_SIZE;
        const uint64_t left = file->size - offset;
        *place_out = (struct chunk_place){i, offset,
                                          (uint32_t)(left < CHUNK_SIZE ? left : CHUNK_SIZE)};
        return true;
    }
    return false;
}

struct hash chunk_manifest_chunk(const struct chunk_manifest *manifest,
                                 const struct chunk_place *place)
{
    struct hash digest;
    memcpy(&digest,
           manifest->files.items[place->file].chunks.items +
               place->offset / CHUNK_SIZE * sizeof(digest),
           sizeof(digest));
    return digest;
}

static enum status malformed(struct reason *reason, const struct model_record *record,
                             const char *what)
{
    return refuse(reason, STATUS_MALFORMED, "the manifest of %.100s %s; nothing was fetched",
                  text_or_empty(record->model_id), what);
}

/* One path cannot be a file and a directory. */
static bool has_file_as_directory(const struct chunk_manifest *manifest, uint32_t at)
{
    const char *name = manifest->files.items[at].name;
    const size_t length = strlen(name);
    for (uint32_t i = at + 1; i < manifest->files.count; i++) {
        const char *other = text_or_empty(manifest->files.items[i].name);
        if (strncmp(other, name, length) == 0 && other[length] == '/')
            return true;
    }
    return false;
}

enum status chunk_manifest_check(const struct chunk_manifest *manifest,
                                 const struct model_record *record, struct reason *reason)
{
    uint64_t chunks = 0;
    uint64_t bytes = 0;
    if (!ID_EQUAL(manifest->revision, record->revision) ||
        manifest->files.count != record->files.count || record->files.count == 0)
        return malformed(reason, record, "is of another revision");
    for (uint32_t i = 0; i < manifest->files.count; i++) {
        const struct manifest_file *file = &manifest->files.items[i];
        const struct file_entry *entry = &record->files.items[i];
        const uint64_t count = chunks_of_size(file->size);
        if (!model_file_name_is_sound(file->name) ||
            (i > 0 && strcmp(manifest->files.items[i - 1].name, file->name) >= 0))
            return malformed(reason, record, "names an impossible file");
        if (has_file_as_directory(manifest, i))
            return malformed(reason, record, "names one path as a file and as a directory");
        if (strcmp(file->name, text_or_empty(entry->name)) != 0 || file->size != entry->size ||
            !ID_EQUAL(file->digest, entry->digest))
            return malformed(reason, record, "has another file than its record");
        if (count > CHUNK_COUNT_MAX || (chunks += count) > CHUNK_COUNT_MAX ||
            bytes > UINT64_MAX - file->size)
            return malformed(reason, record, "is larger than any model");
        bytes += file->size;
        if (file->chunks.count != count * sizeof(struct hash))
            return malformed(reason, record, "has more or fewer chunks than its files");
    }
    return STATUS_OK;
}

enum status chunk_manifest_encode(const struct chunk_manifest *manifest, struct buffer *bytes,
                                  struct hash *digest_out)
{
    const size_t before = bytes->size;
    enum status status = record_encode(&chunk_manifest_type, manifest, bytes);
    if (status == STATUS_OK && digest_out)
        hash_of(bytes->bytes + before, bytes->size - before, digest_out);
    return status;
}

enum status chunk_manifest_decode(const void *bytes, size_t size,
                                  const struct model_record *record,
                                  struct chunk_manifest *manifest_out, struct reason *reason)
{
    struct hash digest;
    if (size == 0 || size > CHUNK_MANIFEST_SIZE_MAX)
        return malformed(reason, record, "has an impossible size");
    hash_of(bytes, size, &digest);
    if (ID_IS_ZERO(record->manifest) || !ID_EQUAL(digest, record->manifest))
        return refuse(reason, STATUS_HASH_MISMATCH,
                      "the manifest of %.100s is not the one its record names",
                      text_or_empty(record->model_id));
    struct chunk_manifest manifest = {.files = {NULL, 0}};
    enum status status = record_decode(&chunk_manifest_type, bytes, size, &manifest, reason);
    if (status != STATUS_OK)
        return status;
    status = chunk_manifest_check(&manifest, record, reason);
    if (status != STATUS_OK) {
        record_fini(&chunk_manifest_type, &manifest);
        return status;
    }
    *manifest_out = manifest;
    return STATUS_OK;
}

/* ---- who vouches for it ---- */

static struct hash statement_of(const struct model_record *record)
{
    struct hash_stream stream;
    struct hash statement;
    const char *model_id = text_or_empty(record->model_id);
    hash_init(&stream);
    hash_update(&stream, model_id, strlen(model_id) + 1);
    hash_update(&stream, &record->revision, sizeof(record->revision));
    hash_update(&stream, &record->manifest, sizeof(record->manifest));
    hash_final(&stream, &statement);
    return statement;
}

enum status chunk_manifest_sign(const struct identity *identity, struct model_record *record)
{
    const struct hash statement = statement_of(record);
    enum status status = identity_sign(identity, SIGN_CONTEXT, &statement, sizeof(statement),
                                       &record->signature);
    if (status == STATUS_OK)
        record->signer = identity->node;
    return status;
}

bool chunk_manifest_is_signed(const struct model_record *record,
                              const struct public_key *sign_key)
{
    const struct hash statement = statement_of(record);
    return identity_verify(sign_key, SIGN_CONTEXT, &statement, sizeof(statement),
                           &record->signature);
}
