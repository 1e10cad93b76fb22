/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub_incoming: one file on its way from a hub to the cache: which chunks are wanted, where the
 * bytes go, what the whole hashes to.
 *
 * Bytes come in any order, from any connection, into the partial file of the cache; the ledger
 * (chunk_ledger.h) remembers each whole chunk.  The hash of the whole is computed chunk by chunk as
 * the beginning becomes complete, so that little is left to do at the end.
 *
 * When the whole has another hash than the hub named, some chunk was changed on its way, and no
 * hash of the hub says which: the search fetches chunk after chunk again, and compares each with
 * what is here, until a byte differs; the other connections stop then, that chunk is replaced and
 * the whole is hashed again.  Everything that is the same stays, and what came twice alike is not
 * fetched a third time.  When all came twice and the whole is still wrong, those that differed come
 * once more; after HUB_SEARCHES_MAX such rounds the file is given up.
 *
 * A file that another node fetches is fed: the transferer writes its chunks and their records, and
 * here they are hashed as they come.  Who writes holds the partial file's own lock
 * (runtime/model_share.h).  When the whole of a fed file is wrong it begins anew, once from peers,
 * then from the hub.
 *
 * Owner    the pull.
 * Memory   the ledger, one window of 1 MiB; hub_incoming_close frees all.
 * Threads  one.
 * Fails    BUSY (another program has the file), NO_SPACE, IO, HASH_MISMATCH, NO_MEMORY.
 */
#ifndef TROUPE_ACTORS_DOWNLOADER_HUB_INCOMING_H
#define TROUPE_ACTORS_DOWNLOADER_HUB_INCOMING_H

#include "runtime/chunk_digest.h"
#include "runtime/chunk_ledger.h"
#include "actors/downloader/hub_tree.h"
#include "protocol/hash.h"
#include "runtime/hub_cache.h"
#include "runtime/model_store.h"

#define HUB_SEARCHES_MAX 3u /* rounds */
#define HUB_REFEEDS_MAX 2u

/* What a search thinks of a chunk. */
enum hub_doubt {
    DOUBT_NONE,   /* it came twice alike, or nothing is searched */
    DOUBT_OPEN,   /* to be fetched again */
    DOUBT_DIFFERS, /* a byte of it differs; its new bytes are on their way */
    DOUBT_REPLACED /* in this round */
};

/* What all files of a pull share. */
struct hub_place {
    const struct hub_cache *cache;
    const char *model_id;
    int ledgers; /* open directory */
};

struct hub_incoming {
    const struct hub_file *file;
    const struct hub_place *place;
    struct chunk_ledger ledger;
    struct hub_lock lock;
    int partial;
    int ledger_file;
    uint8_t *window;
    uint8_t *taken;   /* by chunk: a connection works on it */
    uint8_t *doubts;  /* by chunk: enum hub_doubt */
    struct etag_stream *whole;
    struct hash_stream digest; /* BLAKE2b of the same bytes */
    uint32_t hashed;           /* so many chunks from the beginning are in `whole` */
    uint32_t hashed_in_chunk;  /* bytes of the next one */
    struct chunk_digest listed; /* of a listed chunk that is being read */
    uint32_t searches;
    uint32_t doubted_count; /* that are open or differ */
    bool is_searching;
    bool has_found; /* the search met a chunk that differs */
    bool is_open;
    bool is_placed;
    bool is_fed;          /* its chunks come from peers, by the transferer */
    bool was_fed;         /* some of them did */
    bool is_set_aside;    /* its room stays taken, whatever came of it */
    bool is_writer;       /* the partial file's own lock is ours */
    bool is_unread;       /* chunks of an earlier process were taken as here, unread */
    bool has_judged;      /* a listed chunk was wrong: the ledger is to be written anew */
    uint32_t refeeds;     /* how often the whole was wrong when fed */
    uint64_t ledger_read; /* bytes of the ledger that are in memory, while others write it */
    uint64_t bytes_fed;   /* that came from peers since it was opened */
    uint64_t bytes_kept; /* that were here when it was opened */
};

/* Where the next bytes of one connection go. */
struct hub_cursor {
    uint64_t position;
    struct chunk_digest digest; /* of the chunk it is in, from its beginning */
    bool is_hashing;         /* false: in a chunk that is here already, its bytes are passed over */
};

/* With the blob already whole and right in the cache it is placed at once. */
MUST_CHECK enum status hub_incoming_open(struct hub_incoming *blob, const struct hub_file *file,
                                         const struct hub_place *place, uint64_t lock_timeout_ms,
                                         struct reason *reason);
/* The same for a file that others fetch: when the transferer writes it already, it is followed. */
MUST_CHECK enum status hub_incoming_follow(struct hub_incoming *blob, const struct hub_file *file,
                                           const struct hub_place *place, struct reason *reason);
/* Takes its room on the disk; what others work on has its room. */
MUST_CHECK enum status hub_incoming_set_aside(const struct hub_file *file,
                                              const struct hub_place *place,
                                              struct reason *reason);
/* Keeps the whole chunks that have come for another time; accepts a zeroed one. */
void hub_incoming_close(struct hub_incoming *blob);

/* From here on its chunks come from peers, or from the hub again; nobody works on it. */
void hub_incoming_feed(struct hub_incoming *blob, bool is_fed);
/* What peers sent was wrong too often: it must come from the hub. */
bool hub_incoming_is_misfed(const struct hub_incoming *blob);
/* Takes a chunk nobody works on; false: there is none (now). */
bool hub_incoming_take(struct hub_incoming *blob, uint32_t *chunk_out);
void hub_incoming_give_back(struct hub_incoming *blob, uint32_t chunk);
/* A search has found what differs, elsewhere: nobody needs this chunk again. */
bool hub_incoming_is_spared(const struct hub_incoming *blob, uint32_t chunk);

void hub_cursor_set(struct hub_cursor *cursor, const struct hub_incoming *blob, uint32_t chunk);
/* Bytes that follow each other; over the ends of chunks too. */
MUST_CHECK enum status hub_incoming_write(struct hub_incoming *blob, struct hub_cursor *cursor,
                                          const uint8_t *bytes, size_t size, struct reason *reason);

/* Hashes a window more, if the beginning allows; true: it did something. */
MUST_CHECK enum status hub_incoming_advance(struct hub_incoming *blob, bool *did_out,
                                            struct reason *reason);
/* All chunks are here and hashed: places the file, or begins a search. */
bool hub_incoming_is_full(const struct hub_incoming *blob);
MUST_CHECK enum status hub_incoming_finish(struct hub_incoming *blob, struct reason *reason);

/* What is known of a file that was just placed; its chunks are the caller's to free. */
MUST_CHECK enum status hub_incoming_known(struct hub_incoming *blob, struct known_blob *known_out);

/* Bytes that are here, whole chunks alone. */
uint64_t hub_incoming_bytes(const struct hub_incoming *blob);
/* Forgets all of it: partial file and ledger. */
void hub_incoming_drop(const struct hub_place *place, const char *etag);

#endif
