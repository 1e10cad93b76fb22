/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chunk_manifest: what a model is made of, chunk by chunk.  Pure.
 *
 * A chunk is 8 MiB of a file, its last one shorter; chunks are numbered over all files in the order
 * of the model's record.  The digest of the encoded manifest stands in the model's record, signed
 * by the node that took the model in; so nobody between can change a byte of a model unnoticed.
 *
 * Memory   a decoded manifest is the caller's (record_fini with chunk_manifest_type).
 * Threads  any.
 * Fails    HASH_MISMATCH (not the one the record names), MALFORMED (names, sizes, counts),
 *          NO_MEMORY; one sentence.
 */
#ifndef TROUPE_RUNTIME_CHUNK_MANIFEST_H
#define TROUPE_RUNTIME_CHUNK_MANIFEST_H

#include "protocol/schema.h"
#include "runtime/identity.h"
#include "runtime/model_manifest.h"

#define CHUNK_NONE UINT32_MAX
/* Names of 1024 files, and 32 bytes for each of CHUNK_COUNT_MAX chunks. */
#define CHUNK_MANIFEST_SIZE_MAX ((size_t)10 << 20)

struct chunk_place {
    uint32_t file;
    uint64_t offset; /* in the file */
    uint32_t size;
};

/* Of a file of that size; UINT64_MAX - 1 bytes too. */
uint64_t chunks_of_size(uint64_t size);
/* Over all files of a checked manifest. */
uint32_t chunk_manifest_count(const struct chunk_manifest *manifest);
bool chunk_manifest_place(const struct chunk_manifest *manifest, uint32_t chunk,
                          struct chunk_place *place_out);
struct hash chunk_manifest_chunk(const struct chunk_manifest *manifest,
                                 const struct chunk_place *place);

/* Its names, sizes, digests and counts are those of the record and possible at all. */
MUST_CHECK enum status chunk_manifest_check(const struct chunk_manifest *manifest,
                                            const struct model_record *record,
                                            struct reason *reason);
/* Appends; `digest_out` (may be NULL) is what the record has to name. */
MUST_CHECK enum status chunk_manifest_encode(const struct chunk_manifest *manifest,
                                             struct buffer *bytes, struct hash *digest_out);
/* The digest is checked before anything is read, then everything. */
MUST_CHECK enum status chunk_manifest_decode(const void *bytes, size_t size,
                                             const struct model_record *record,
                                             struct chunk_manifest *manifest_out,
                                             struct reason *reason);

/* By the node that took the model in, over its id, revision and manifest. */
MUST_CHECK enum status chunk_manifest_sign(const struct identity *identity,
                                           struct model_record *record);
bool chunk_manifest_is_signed(const struct model_record *record,
                              const struct public_key *sign_key);

/* ---- sets of chunks, a bit each, lowest first ---- */

static inline bool chunk_has(const uint8_t *set, uint32_t chunk)
{
    return (set[chunk / 8] >> (chunk % 8)) & 1;
}
static inline void chunk_add(uint8_t *set, uint32_t chunk)
{
    set[chunk / 8] = (uint8_t)(set[chunk / 8] | 1u << (chunk % 8));
}
static inline void chunk_remove(uint8_t *set, uint32_t chunk)
{
    set[chunk / 8] = (uint8_t)(set[chunk / 8] & ~(1u << (chunk % 8)));
}

#endif
