/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schema_downloads: rows of models on their way from a hub to the disks of several nodes at once:
 * each file is fetched from the hub by one node at a time, the others take its chunks from there.
 *
 * Include protocol/schema.h, not this file.
 */
#ifndef TROUPE_PROTOCOL_SCHEMA_DOWNLOADS_H
#define TROUPE_PROTOCOL_SCHEMA_DOWNLOADS_H

/* ---- the state ---- */

#define DOWNLOAD_FILE_FIELDS(F, L, R, S)                                                           \
    F(S, text, path, NAME_SIZE_MAX, "in the repository")                                           \
    F(S, u64, size, 0, "bytes")                                                                    \
    F(S, text, etag, 64, "64 digits: SHA-256 of the content; 40: git's SHA-1")                     \
    F(S, boolean, is_weight, 0, "")                                                                \
    F(S, node_id, node_id, 16, "who alone fetches it from the hub; zero: nobody yet")              \
    F(S, boolean, is_done, 0, "that node has it whole, its hash checked")                          \
    F(S, boolean, is_missing, 0, "whoever seemed to hold it does not: the hub alone has it")
#define DOWNLOAD_TARGET_FIELDS(F, L, R, S)                                                         \
    F(S, node_id, node_id, 16, "who shall hold the model; it has an import_record too")            \
    F(S, boolean, is_barred, 0, "the hub gives it nothing: it takes all from the others")          \
    F(S, boolean, is_alone, 0, "no other node answers it: it takes all from the hub")              \
    F(S, status_code, status, 0, "when barred")                                                    \
    F(S, text, reason, SENTENCE_SIZE_MAX, "when barred: the thing and the remedy")                 \
    F(S, boolean, is_for_placement, 0, "only an instance wants it: it ends when none is left")     \
    F(S, boolean, is_paused, 0, "a peer is complete: the hub is asked for nothing more here")      \
    F(S, boolean, is_mute, 0, "its transferer answers nobody: it fetches for itself alone")        \
    F(S, u64, hub_index, 0, "event since which it may ask the hub")
#define DOWNLOAD_RECORD_FIELDS(F, L, R, S)                                                         \
    F(S, text, model_id, NAME_SIZE_MAX, "repository at the hub, and name it gets")                 \
    F(S, text, hub_revision, NAME_SIZE_MAX, "branch, tag or commit; empty: main")                  \
    F(S, boolean, no_peers, 0, "each target takes all from the hub")                               \
    F(S, node_id, node_id, 16, "who asks the hub what there is; zero: nobody yet")                 \
    F(S, text, commit, 40, "empty until the hub has said it")                                      \
    L(S, download_file, files, MODEL_FILE_COUNT_MAX, "those that are fetched, by path")            \
    L(S, download_target, targets, NODE_COUNT_MAX, "in the order in which they were asked")        \
    F(S, u64, requested_index, 0, "event that asked for it first")

#define DOWNLOAD_END_FIELDS(F, L, R, S)                                                            \
    F(S, node_id, node_id, 16, "the target")                                                       \
    F(S, text, model_id, NAME_SIZE_MAX, "")                                                        \
    F(S, text, commit, 40, "empty: the hub never said it")                                         \
    F(S, u64, requested_index, 0, "event that asked for it")                                       \
    F(S, u64, ended_index, 0, "event that ended it")                                               \
    F(S, status_code, status, 0, "ok: that node holds the model")                                  \
    F(S, text, reason, SENTENCE_SIZE_MAX, "when it failed: the thing and the remedy")

/* ---- events and reports ---- */

/* Targets of a download under way are added to it. */
#define DOWNLOAD_REQUESTED_FIELDS(F, L, R, S) R(S, download_record, download, "")
#define DOWNLOAD_RESOLVED_FIELDS(F, L, R, S)                                                       \
    F(S, node_id, node_id, 16, "who asked the hub; it has the small files")                        \
    F(S, text, model_id, NAME_SIZE_MAX, "")                                                        \
    F(S, text, commit, 40, "")                                                                     \
    L(S, download_file, files, MODEL_FILE_COUNT_MAX, "")
#define DOWNLOAD_CLAIM_FIELDS(F, L, R, S)                                                          \
    F(S, u32, file, MODEL_FILE_COUNT_MAX, "index in the download's list")                          \
    F(S, node_id, node_id, 16, "who fetches it from here on")                                      \
    F(S, boolean, is_done, 0, "it holds the model: it need not fetch it")
#define DOWNLOAD_ASSIGNED_FIELDS(F, L, R, S)                                                       \
    F(S, text, model_id, NAME_SIZE_MAX, "")                                                        \
    F(S, text, commit, 40, "")                                                                     \
    F(S, node_id, node_id, 16, "who asks the hub what there is; zero: as before")                  \
    L(S, download_claim, claims, MODEL_FILE_COUNT_MAX, "")
#define FILE_DOWNLOADED_FIELDS(F, L, R, S)                                                         \
    F(S, node_id, node_id, 16, "who fetched it")                                                   \
    F(S, text, model_id, NAME_SIZE_MAX, "")                                                        \
    F(S, text, commit, 40, "")                                                                     \
    F(S, text, path, NAME_SIZE_MAX, "")
#define DOWNLOAD_HINDERED_FIELDS(F, L, R, S)                                                       \
    F(S, node_id, node_id, 16, "the target")                                                       \
    F(S, text, model_id, NAME_SIZE_MAX, "")                                                        \
    F(S, boolean, is_alone, 0, "no other node answers it; else the hub gives it nothing")          \
    F(S, status_code, status, 0, "when the hub gives it nothing")                                  \
    F(S, text, reason, SENTENCE_SIZE_MAX, "")

#define DOWNLOAD_PAUSED_FIELDS(F, L, R, S)                                                         \
    F(S, node_id, node_id, 16, "the target")                                                       \
    F(S, node_id, peer_node_id, 16, "who holds all of it now")                                     \
    F(S, text, model_id, NAME_SIZE_MAX, "")

#define FILE_LACKING_FIELDS(F, L, R, S)                                                            \
    F(S, node_id, node_id, 16, "who asked for it")                                                 \
    F(S, node_id, holder_node_id, 16, "who should have it and has not, or fetches it and is mute") \
    F(S, text, model_id, NAME_SIZE_MAX, "")                                                        \
    F(S, text, commit, 40, "")                                                                     \
    F(S, text, path, NAME_SIZE_MAX, "")

/* ---- tasks, and transferer to transferer ---- */

#define GATHER_FILES_FIELDS(F, L, R, S)                                                            \
    F(S, text, model_id, NAME_SIZE_MAX, "of a download")                                           \
    F(S, text, commit, 40, "")
/* As source_asked, for the files of a download; answered by source_told, whose chunks are counted
 * over the download's list of files. */
#define SHARE_ASKED_FIELDS(F, L, R, S)                                                             \
    F(S, text, model_id, NAME_SIZE_MAX, "")                                                        \
    F(S, text, commit, 40, "")                                                                     \
    F(S, request_id, session, 16, "names the sealed stream; drawn by who asks")                    \
    F(S, hash, key, 32, "seals it; told over this link alone")                                     \
    F(S, boolean, has_aes, 0, "AES-256-GCM can be opened there; else XChaCha20-Poly1305")          \
    F(S, boolean, is_strict, 0, "of files alone whose whole has the hash the hub names")

#define DOWNLOAD_STATE_LIST(X)                                                                     \
    X(download_file, DOWNLOAD_FILE)                                                                \
    X(download_target, DOWNLOAD_TARGET)                                                            \
    X(download_record, DOWNLOAD_RECORD)                                                            \
    X(download_end, DOWNLOAD_END)
#define DOWNLOAD_EVENT_LIST(X)                                                                     \
    X(download_requested, DOWNLOAD_REQUESTED)                                                      \
    X(download_resolved, DOWNLOAD_RESOLVED)                                                        \
    X(download_claim, DOWNLOAD_CLAIM)                                                              \
    X(download_assigned, DOWNLOAD_ASSIGNED)                                                        \
    X(file_downloaded, FILE_DOWNLOADED)                                                            \
    X(download_hindered, DOWNLOAD_HINDERED)                                                        \
    X(download_paused, DOWNLOAD_PAUSED)                                                            \
    X(file_lacking, FILE_LACKING)
#define DOWNLOAD_LINK_LIST(X)                                                                      \
    X(gather_files, GATHER_FILES)                                                                  \
    X(share_asked, SHARE_ASKED)

#endif
