/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chunk_ledger: which chunks of a file on its way have come, with the hash of each, so that another
 * process can go on.
 *
 * File HOME/holdings/ETAG.ledger, numbers little-endian; only ever appended to:
 *
 *   offset  bytes  what
 *   0       8      "TROUPECL"
 *   8       4      version, 2
 *   12      4      chunk size, 8 MiB
 *   16      8      size of the file
 *   24      72     etag of the file, NULs after it
 *   96      4      CRC32C of the 96 bytes before
 *   100     4      zero
 *   104     40     for each chunk that has come, in the order in which they came:
 *                    0   4   number of the chunk
 *                    4   4   CRC32C of the number and the hash
 *                    8   32  digest of the chunk (runtime/chunk_digest.h)
 *
 * Neither the file nor the ledger is synced as the chunks come: after a power cut either may lack
 * what the other has.  So a chunk that the ledger names counts only when the bytes on disk have its
 * hash; who resumes reads them anyway, for the hash of the whole.  A torn record ends the ledger
 * and is cut off; a chunk named twice has the later hash; a ledger of another file or version is
 * none.
 *
 * The downloader and the transferer of a node both append to it, never at once: who writes into the
 * partial file holds a lock on it (runtime/model_share.h).
 *
 * Owner    the pull of the file.
 * Memory   33 bytes per chunk; chunk_ledger_fini frees them.
 * Threads  one at a time; pure: the bytes are read and written by the caller.
 * Fails    NO_MEMORY, TOO_LARGE.
 */
#ifndef TROUPE_RUNTIME_CHUNK_LEDGER_H
#define TROUPE_RUNTIME_CHUNK_LEDGER_H

#include "protocol/ids.h"
#include "protocol/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LEDGER_CHUNK_SIZE ((uint32_t)8 << 20)
#define LEDGER_CHUNK_COUNT_MAX ((uint32_t)1 << 20)
#define LEDGER_HEAD_SIZE 104u
#define LEDGER_RECORD_SIZE 40u

enum chunk_state {
    CHUNK_ABSENT,
    CHUNK_LISTED, /* the ledger names it; its bytes have not been read by this process */
    CHUNK_HERE
};

struct chunk_ledger {
    char etag[72];
    uint64_t file_size;
    uint32_t chunk_count; /* of an empty file: 0 */
    uint32_t here_count;
    uint8_t *states; /* enum chunk_state */
    struct hash *hashes;
};

MUST_CHECK enum status chunk_ledger_init(struct chunk_ledger *ledger, const char *etag,
                                         uint64_t file_size, struct reason *reason);
void chunk_ledger_fini(struct chunk_ledger *ledger);

void chunk_ledger_head(const struct chunk_ledger *ledger, uint8_t head_out[LEDGER_HEAD_SIZE]);
/* Takes in the bytes of a ledger file: its records become CHUNK_LISTED.  Returns how many bytes of
 * it are sound; 0: it is not the ledger of this file, begin anew. */
size_t chunk_ledger_recover(struct chunk_ledger *ledger, const uint8_t *bytes, size_t size);
/* Some records more, from behind what was taken in before; returns how many bytes are sound. */
size_t chunk_ledger_take(struct chunk_ledger *ledger, const uint8_t *bytes, size_t size);
/* Marks the chunk as here and gives the record to append. */
void chunk_ledger_add(struct chunk_ledger *ledger, uint32_t chunk, const struct hash *hash,
                      uint8_t record_out[LEDGER_RECORD_SIZE]);
/* A listed chunk whose bytes were read: with the hash it is here, with another it is absent. */
void chunk_ledger_judge(struct chunk_ledger *ledger, uint32_t chunk, const struct hash *hash);
/* A listed chunk that another process of this node checked while we run: it is here. */
void chunk_ledger_trust(struct chunk_ledger *ledger, uint32_t chunk);
/* One that is here is to be read again: it is listed. */
void chunk_ledger_doubt(struct chunk_ledger *ledger, uint32_t chunk);
/* Its bytes are wrong after all. */
void chunk_ledger_forget(struct chunk_ledger *ledger, uint32_t chunk);

uint32_t chunk_size_of(const struct chunk_ledger *ledger, uint32_t chunk);

#endif
