/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub_cache: models on disk in the layout of the Hugging Face cache, which other programs read and
 * write at the same time.
 *
 *   ROOT/CACHEDIR.TAG                          backups pass it over
 *   ROOT/.locks/models--ORG--NAME/ETAG.lock    flock while a blob is written or removed
 *   ROOT/models--ORG--NAME/
 *     blobs/ETAG                               a file, named by its hash; written by others it may
 *                                              be a link to ROOT/blobs/XX/HASH, shared by models
 *     blobs/ETAG.troupe.incomplete             a file on its way, of ours
 *     snapshots/COMMIT/PATH                    a link "../../blobs/ETAG", one "../" more for each
 *                                              directory in PATH
 *     refs/NAME                                the commit a branch stands at, no newline
 *
 * Nothing from outside is used as a path: names of models, etags, commits and every part of a path
 * are checked (runtime/hub_names.h), each directory is opened below the one before without
 * following links, and of links only the two above are followed (runtime/hub_link.h).  A blob
 * appears by rename, after a sync of the file and before one of its directory; a writer makes
 * blobs first, then links, then the ref.
 *
 * Owner    downloader and transferer write; everyone reads.
 * Memory   a hub_cache is a plain value with one descriptor.
 * Threads  any, also at once.
 * Fails    INVALID (a name), NO_SPACE with the bytes needed, NO_PERMISSION, IO, BUSY (a lock, with
 *          who has it), NOT_FOUND, REFUSED (a link out of the cache), DAMAGED; one sentence.
 */
#ifndef TROUPE_RUNTIME_HUB_CACHE_H
#define TROUPE_RUNTIME_HUB_CACHE_H

#include "protocol/status.h"
#include "runtime/crypto_hash.h"
#include "runtime/hub_names.h"

#include <stdbool.h>

#define HUB_ROOT_SIZE 1088
#define HUB_PARTIAL_END ".troupe.incomplete"
#define RECEIVING_PREFIX ".receiving-" /* of a directory among the blobs: model_receive.h */
#define HUB_NEW_END ".troupe.new" /* links and refs, for the moment before they are renamed */

struct hub_cache {
    char root[HUB_ROOT_SIZE];
    int directory;
};

/* Makes ROOT and its tag when they are absent. */
MUST_CHECK enum status hub_cache_open(struct hub_cache *cache, const char *root,
                                      struct reason *reason);
/* Writes nothing; NOT_FOUND when there is no such directory. */
MUST_CHECK enum status hub_cache_open_read(struct hub_cache *cache, const char *root,
                                           struct reason *reason);
void hub_cache_close(struct hub_cache *cache);

/* ---- locks ---- */

struct hub_lock {
    int file;
};

/* The one huggingface_hub takes for this blob.  BUSY after `timeout_ms`, with who has it. */
MUST_CHECK enum status hub_cache_lock(const struct hub_cache *cache, const char *model_id,
                                      const char *etag, uint64_t timeout_ms,
                                      struct hub_lock *lock_out, struct reason *reason);
void hub_cache_unlock(struct hub_lock *lock);

/* ---- blobs ---- */

enum hub_blob {
    HUB_BLOB_ABSENT,
    HUB_BLOB_PARTIAL, /* ours, on its way */
    HUB_BLOB_WHOLE,   /* by its size; its hash is the reader's to check */
    HUB_BLOB_WRONG    /* of another size, or no file: `reason` names it; placing replaces it */
};

MUST_CHECK enum hub_blob hub_cache_blob_state(const struct hub_cache *cache, const char *model_id,
                                              const char *etag, uint64_t size,
                                              struct reason *reason);
MUST_CHECK enum status hub_cache_blob_open(const struct hub_cache *cache, const char *model_id,
                                           const char *etag, int *file_out, uint64_t *size_out,
                                           struct reason *reason);
/* The partial file, for reading and writing at any place, of `size` bytes, all of them allocated.
 * One that is there keeps its bytes.  Call it with the blob's lock. */
MUST_CHECK enum status hub_cache_partial_open(const struct hub_cache *cache, const char *model_id,
                                              const char *etag, uint64_t size, int *file_out,
                                              struct reason *reason);
/* The partial file if there is one, for reading and writing; nothing is made.  NOT_FOUND. */
MUST_CHECK enum status hub_cache_partial_find(const struct hub_cache *cache, const char *model_id,
                                              const char *etag, int *file_out,
                                              struct reason *reason);
/* Is that descriptor still the partial file of that name? */
bool hub_cache_partial_is(const struct hub_cache *cache, const char *model_id, const char *etag,
                          int file);
/* Makes the partial file the blob, in one stroke.  `file` is the descriptor of partial_open and
 * stays the caller's; its bytes have been checked by the caller. */
MUST_CHECK enum status hub_cache_blob_place(const struct hub_cache *cache, const char *model_id,
                                            const char *etag, int file, struct reason *reason);
/* None there is fine. */
MUST_CHECK enum status hub_cache_partial_drop(const struct hub_cache *cache, const char *model_id,
                                              const char *etag, struct reason *reason);
/* Room for so many bytes more beside what is promised, or NO_SPACE with the numbers; `what` needs
 * them, for what is on its way as `own` among the blobs (NULL: under no name yet). */
MUST_CHECK enum status hub_cache_room_check(const struct hub_cache *cache, const char *what,
                                            const char *own, uint64_t bytes,
                                            struct reason *reason);
/* So many bytes are on their way to this cache and have no place yet; `own` is not counted. */
uint64_t hub_cache_promised(const struct hub_cache *cache, const char *own);

/* ---- snapshots and refs ---- */

/* A link of that name to the blob, in one stroke; another of that name is replaced. */
MUST_CHECK enum status hub_cache_snapshot_link(const struct hub_cache *cache, const char *model_id,
                                               const char *commit, const char *path,
                                               const char *etag, struct reason *reason);
/* ROOT/models--org--name/snapshots/COMMIT. */
MUST_CHECK enum status hub_cache_snapshot_path(const struct hub_cache *cache, const char *model_id,
                                               const char *commit, char *path_out,
                                               size_t path_size, struct reason *reason);
/* The file behind a path of a snapshot, open for reading.  `etag_out` may be NULL; it is the name
 * of the blob, or empty when a file itself lies there or the blob's name is no hash. */
MUST_CHECK enum status hub_cache_snapshot_resolve(const struct hub_cache *cache,
                                                  const char *model_id, const char *commit,
                                                  const char *path, int *file_out,
                                                  uint64_t *size_out, char etag_out[ETAG_SIZE],
                                                  struct reason *reason);
/* Removes the refs that name the commit, its links, then the blobs behind them and those of `etags`
 * which no other snapshot links to; what a lock holds stays.  Nothing there is fine. */
MUST_CHECK enum status hub_cache_snapshot_remove(const struct hub_cache *cache,
                                                 const char *model_id, const char *commit,
                                                 const char *const *etags, size_t etag_count,
                                                 struct reason *reason);

/* `ref` is "main", "refs/pr/1". */
MUST_CHECK enum status hub_cache_ref_set(const struct hub_cache *cache, const char *model_id,
                                         const char *ref, const char *commit,
                                         struct reason *reason);
MUST_CHECK enum status hub_cache_ref_get(const struct hub_cache *cache, const char *model_id,
                                         const char *ref, char commit_out[HUB_COMMIT_SIZE],
                                         struct reason *reason);

/* ---- between the files of the cache and of the store alone ---- */

/* ROOT/models--org--name/PATH ("" for the first), opened part by part and made when `makes`. */
MUST_CHECK enum status hub_cache_directory(const struct hub_cache *cache, const char *model_id,
                                           const char *path, bool makes, int *directory_out,
                                           struct reason *reason);
/* The commit in an open directory's file. */
MUST_CHECK enum status hub_ref_read(int directory, const char *name,
                                    char commit_out[HUB_COMMIT_SIZE]);
/* Of errno: what cannot be done with which file. */
enum status hub_cache_failed(const struct hub_cache *cache, const char *model_id,
                             const char *what, struct reason *reason);

#endif
