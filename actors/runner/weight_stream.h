/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weight_stream: weights out of the files of some ranks into the memory of those that have none.
 *
 * Each file has one source.  It sends each receiving rank the slices of its plan and nothing else:
 * first those without a layer, then layer by layer, in batches that carry a check made at the
 * source; several sources serve several receivers side by side.  A receiver checks a batch before
 * the bytes reach their place, and answers for each layer while the next one is on its way.  A
 * batch that came damaged is sent once more; what came damaged twice is asked at the end from one
 * other rank that holds the files after the other, and when all sent it damaged the load ends with
 * the tensor's name.  Nothing touches a disk.
 *
 * The check is Poly1305 under a key that the lowest source draws for this load and tells with the
 * table.  It is against damage, of the network or of a machine's memory: the link between ranks is
 * not encrypted, and who can change its bytes can read the key.  Chosen by measurement on one core
 * of the machine this was built on, GB/s while other work ran: BLAKE2b-256 0.8, libsodium's
 * Poly1305 1.9, AES-128-GMAC 3.1, libcrypto's Poly1305 3.9, CRC-32C 21, where a link of 10 Gb/s
 * carries 1.25; CRC-32C misses one damage in four thousand million, Poly1305 none in
 * practice.
 *
 * Owner    the engine thread of a rank; every rank of the world calls at the same time.
 * Memory   two batches for each direction, whatever the size of the model.
 * Threads  packing and checking run beside the sending, on a thread of the stream's own.
 * Fails    STATUS_HASH_MISMATCH, STATUS_IO (a sibling is lost), STATUS_MALFORMED (a sibling is not
 *          where the plan says), STATUS_NO_MEMORY; after each of them the generation must end.
 */
#ifndef TROUPE_ACTORS_RUNNER_WEIGHT_STREAM_H
#define TROUPE_ACTORS_RUNNER_WEIGHT_STREAM_H

#include "actors/runner/collective.h"
#include "actors/runner/engine/weights.h"
#include "protocol/status.h"
#include "runtime/crypto_mac.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Two of them for each direction; larger ones are no faster and stall more when resent. */
#define WEIGHT_BATCH_SIZE ((uint64_t)8 << 20)

struct weight_stream_options {
    struct collective *collective;
    const struct shard_plan *const *plans; /* one for each rank, made from one table */
    const uint32_t *file_sources;          /* rank that sends it, for each file of the table */
    const bool *has_files;                 /* for each rank: it fills its shard by itself */
    const struct weight_files *files;      /* NULL when this rank has none */
    struct shard *shard;                   /* of this rank; untouched when it has files */
    struct mac_key key;                    /* the same on every rank */
    uint64_t batch_size;                   /* 0: WEIGHT_BATCH_SIZE */
    /* Both may be NULL; called on the caller's thread. */
    void (*progressed)(void *context, uint64_t bytes_have, uint64_t bytes_total);
    /* Sees, and in tests damages, a batch that is about to be sent; `attempt` is 0 or 1,
     * and from 2 on when it is sent in another source's place. */
    void (*sending)(void *context, uint32_t receiver, size_t batch, int attempt, uint8_t *bytes,
                    size_t size);
    void *context;
};

struct weight_stream_counters {
    uint64_t bytes_sent; /* checks and answers included */
    uint64_t bytes_received;
    uint64_t batches_sent;
    uint64_t batches_received;
    uint64_t batches_repeated;
};

/* The counters are written also on failure. */
MUST_CHECK enum status weight_stream_run(const struct weight_stream_options *options,
                                         struct weight_stream_counters *counters_out,
                                         struct reason *reason);

#endif
