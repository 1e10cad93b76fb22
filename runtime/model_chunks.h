/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_chunks: the chunk manifest of a model, as its holding has it, or as it came from a peer:
 * then in a file ".troupe-chunks" beside what was received so far.
 *
 * Owner    the model store.
 * Memory   manifests are the caller's.
 * Threads  any.
 * Fails    NOT_FOUND, HASH_MISMATCH, MALFORMED, IO, NO_SPACE, NO_MEMORY; one sentence.
 */
#ifndef TROUPE_RUNTIME_MODEL_CHUNKS_H
#define TROUPE_RUNTIME_MODEL_CHUNKS_H

#include "runtime/chunk_manifest.h"
#include "runtime/model_manifest.h"

#define MODEL_CHUNKS_NAME ".troupe-chunks"

/* NOT_FOUND when the chunks of a file are not known. */
MUST_CHECK enum status model_chunks_of(const struct model_manifest *held,
                                       struct chunk_manifest *manifest_out,
                                       struct reason *reason);
/* Its digest goes into the record. */
MUST_CHECK enum status model_chunks_name(struct model_manifest *held, struct reason *reason);
/* Those bytes, in one stroke. */
MUST_CHECK enum status model_chunks_write(int directory, const void *bytes, size_t size,
                                          struct reason *reason);
/* Checked against the record's digest; `bytes` (as they are sent) may be NULL. */
MUST_CHECK enum status model_chunks_read(int directory, const struct model_record *record,
                                         struct buffer *bytes,
                                         struct chunk_manifest *manifest_out,
                                         struct reason *reason);

#endif
