/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schema_transfers: rows of models on their way between the disks of nodes: what the state keeps of
 * them, the commands and events about them, and what two transferers say to each other.
 *
 * Include protocol/schema.h, not this file.
 */
#ifndef TROUPE_PROTOCOL_SCHEMA_TRANSFERS_H
#define TROUPE_PROTOCOL_SCHEMA_TRANSFERS_H

enum transfer_phase {
    TRANSFER_ASKED,   /* its node has not begun */
    TRANSFER_RUNNING, /* chunks arrive, or a source is waited for */
    TRANSFER_DONE,    /* the node holds the whole model, verified */
    TRANSFER_FAILED,
    TRANSFER_STOPPED, /* cancelled */
    TRANSFER_PHASE_END
};

/* ---- the state ---- */

#define TRANSFER_TARGET_FIELDS(F, L, R, S)                                                         \
    F(S, node_id, node_id, 16, "who shall hold the model")                                         \
    F(S, transfer_phase, phase, TRANSFER_PHASE_END, "")                                            \
    F(S, status_code, status, 0, "when failed")                                                    \
    F(S, text, reason, SENTENCE_SIZE_MAX, "when failed: the thing and the remedy")
/* Those that ended are kept for a while, so that whoever asked learns how it went. */
#define TRANSFER_RECORD_FIELDS(F, L, R, S)                                                         \
    F(S, transfer_id, transfer_id, 16, "")                                                         \
    F(S, text, model_id, NAME_SIZE_MAX, "")                                                        \
    F(S, hash, revision, 32, "")                                                                   \
    F(S, node_id, source_node_id, 16, "who sends it; zero: all who have it")                       \
    F(S, u64, requested_index, 0, "event that asked for it")                                       \
    L(S, transfer_target, targets, NODE_COUNT_MAX, "")                                             \
    F(S, boolean, is_for_placement, 0, "cancelled when no instance waits for it any more")

/* ---- commands and events ---- */

#define DISTRIBUTE_MODEL_FIELDS(F, L, R, S)                                                        \
    F(S, transfer_id, transfer_id, 16, "drawn by who asks; zero: the leader names it")             \
    F(S, text, model_id, NAME_SIZE_MAX, "")                                                        \
    F(S, boolean, is_all, 0, "to every node that is here")                                         \
    F(S, bytes, node_ids, 1024, "else to these, 16 bytes each")                                    \
    F(S, node_id, source_node_id, 16, "zero: from all who have it")
#define CANCEL_TRANSFER_FIELDS(F, L, R, S) F(S, transfer_id, transfer_id, 16, "")

#define TRANSFER_REQUESTED_FIELDS(F, L, R, S) R(S, transfer_record, transfer, "")
#define TRANSFER_STARTED_FIELDS(F, L, R, S)                                                        \
    F(S, node_id, node_id, 16, "the target that begins")                                           \
    F(S, transfer_id, transfer_id, 16, "")
#define TRANSFER_ENDED_FIELDS(F, L, R, S)                                                          \
    F(S, node_id, node_id, 16, "the target at which it ended")                                     \
    F(S, transfer_id, transfer_id, 16, "")                                                         \
    F(S, status_code, status, 0, "0: it holds the model, whole and verified")                      \
    F(S, text, reason, SENTENCE_SIZE_MAX, "when it failed: the thing and the remedy")
#define TRANSFER_CANCELLED_FIELDS(F, L, R, S) F(S, transfer_id, transfer_id, 16, "")

/* ---- tasks and signals ---- */

#define FETCH_MODEL_FIELDS(F, L, R, S)                                                             \
    F(S, transfer_id, transfer_id, 16, "")                                                         \
    F(S, text, model_id, NAME_SIZE_MAX, "")                                                        \
    F(S, hash, revision, 32, "")
#define TRANSFER_SOURCE_FIELDS(F, L, R, S)                                                         \
    F(S, node_id, node_id, 16, "")                                                                 \
    F(S, u64, bytes, 0, "of chunks it sent that were right")
/* Of the node in the head of the message. */
#define TRANSFER_PROGRESSED_FIELDS(F, L, R, S)                                                     \
    F(S, transfer_id, transfer_id, 16, "")                                                         \
    F(S, u64, bytes_have, 0, "verified and on the disk")                                           \
    F(S, u64, bytes_total, 0, "")                                                                  \
    F(S, u64, bytes_received, 0, "since its process began: what was resumed is not in it")         \
    F(S, u64, bytes_per_s, 0, "over the last ten seconds")                                         \
    L(S, transfer_source, sources, NODE_COUNT_MAX, "that sent something")

/* ---- transferer to transferer ---- */

/* What a model is made of, chunk by chunk; its digest stands in the model's record. */
#define MANIFEST_FILE_FIELDS(F, L, R, S)                                                           \
    F(S, text, name, NAME_SIZE_MAX, "as in the model's record")                                    \
    F(S, u64, size, 0, "bytes")                                                                    \
    F(S, hash, digest, 32, "of the whole content")                                                 \
    F(S, hash, sha256, 32, "of weights, by which hubs name them; zero: not known")                 \
    F(S, bytes, chunks, 1u << 23, "the SHA-256 of each 8 MiB, the last of the rest")
#define CHUNK_MANIFEST_FIELDS(F, L, R, S)                                                          \
    F(S, hash, revision, 32, "of the model")                                                       \
    L(S, manifest_file, files, MODEL_FILE_COUNT_MAX, "in the order of the model's record")

#define SOURCE_ASKED_FIELDS(F, L, R, S)                                                            \
    F(S, text, model_id, NAME_SIZE_MAX, "")                                                        \
    F(S, hash, revision, 32, "")                                                                   \
    F(S, request_id, session, 16, "names the sealed stream; drawn by who asks")                    \
    F(S, hash, key, 32, "seals it; told over this link alone")                                     \
    F(S, boolean, has_aes, 0, "AES-256-GCM can be opened there; else XChaCha20-Poly1305")          \
    F(S, u32, doubted, 0, "a chunk that came wrong from there, and 1; 0: none did")
#define SOURCE_TOLD_FIELDS(F, L, R, S)                                                             \
    F(S, request_id, session, 16, "")                                                              \
    F(S, status_code, status, 0, "not OK: nothing can be had here")                                \
    F(S, text, address, ADDRESS_SIZE_MAX, "where the sealed stream is asked for")                  \
    F(S, boolean, is_aes, 0, "sealed with AES-256-GCM; else XChaCha20-Poly1305")                   \
    F(S, boolean, is_whole, 0, "every chunk can be had; else those of `held`")                     \
    F(S, bytes, held, 1u << 16, "a bit for each chunk of the manifest, lowest bit first")          \
    F(S, text, reason, SENTENCE_SIZE_MAX, "what of it went or changed on the disk; else empty")
#define MANIFEST_ASKED_FIELDS(F, L, R, S)                                                          \
    F(S, text, model_id, NAME_SIZE_MAX, "")                                                        \
    F(S, hash, revision, 32, "")                                                                   \
    F(S, u64, offset, 0, "")
#define MANIFEST_PART_FIELDS(F, L, R, S)                                                           \
    F(S, hash, revision, 32, "")                                                                   \
    F(S, u64, offset, 0, "")                                                                       \
    F(S, u64, total, 0, "")                                                                        \
    F(S, status_code, status, 0, "")                                                               \
    F(S, bytes, part, PART_SIZE_MAX, "")
/* A credit: the source may send this one chunk over the stream. */
#define CHUNK_ASKED_FIELDS(F, L, R, S)                                                             \
    F(S, request_id, session, 16, "")                                                              \
    F(S, u32, chunk, 0, "counted over all files of the manifest")
#define CHUNK_REFUSED_FIELDS(F, L, R, S)                                                           \
    F(S, request_id, session, 16, "")                                                              \
    F(S, u32, chunk, 0, "")                                                                        \
    F(S, status_code, status, 0, "")                                                               \
    F(S, text, reason, SENTENCE_SIZE_MAX, "which file went or changed on the disk; else empty")
#define SOURCE_LEFT_FIELDS(F, L, R, S) F(S, request_id, session, 16, "no more chunks, please")

#define TRANSFER_STATE_LIST(X)                                                                     \
    X(transfer_target, TRANSFER_TARGET)                                                            \
    X(transfer_record, TRANSFER_RECORD)
#define TRANSFER_EVENT_LIST(X)                                                                     \
    X(distribute_model, DISTRIBUTE_MODEL)                                                          \
    X(cancel_transfer, CANCEL_TRANSFER)                                                            \
    X(transfer_requested, TRANSFER_REQUESTED)                                                      \
    X(transfer_started, TRANSFER_STARTED)                                                          \
    X(transfer_ended, TRANSFER_ENDED)                                                              \
    X(transfer_cancelled, TRANSFER_CANCELLED)
#define TRANSFER_LINK_LIST(X)                                                                      \
    X(fetch_model, FETCH_MODEL)                                                                    \
    X(transfer_source, TRANSFER_SOURCE)                                                            \
    X(transfer_progressed, TRANSFER_PROGRESSED)                                                    \
    X(manifest_file, MANIFEST_FILE)                                                                \
    X(chunk_manifest, CHUNK_MANIFEST)                                                              \
    X(source_asked, SOURCE_ASKED)                                                                  \
    X(source_told, SOURCE_TOLD)                                                                    \
    X(manifest_asked, MANIFEST_ASKED)                                                              \
    X(manifest_part, MANIFEST_PART)                                                                \
    X(chunk_asked, CHUNK_ASKED)                                                                    \
    X(chunk_refused, CHUNK_REFUSED)                                                                \
    X(source_left, SOURCE_LEFT)

#endif
