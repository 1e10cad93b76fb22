/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weight_stream: weights out of the files of some ranks into the memory of those that have none.
 *
 * Each file has one source.  It sends each rank that has not that file the slices of its plan and
 * nothing else: first those without a layer, then layer by layer, in batches that carry a check
 * made at the source; a rank that has some files reads those and receives the rest.  Reading and
 * packing, the wire, and checking run beside each other, with several batches on their way; a batch
 * comes to where it belongs in the shard and is used after it was found good.  A receiver answers
 * for each layer.  A batch that came damaged is sent once more, then asked from one other rank that
 * holds its files after the other, and when all sent it damaged the load ends with the tensor's
 * name.  Nothing touches a disk.  A source that sends too few bytes a second, and a receiver that
 * is silent, end the load with what is known of the cause (weight_pace.h).
 *
 * The check is of runtime/crypto_mac.h under a key that the lowest whole holder draws for this load
 * and tells with the table.  It is against damage, of the network or of a machine's memory: the
 * link between ranks is not encrypted, and who can change its bytes can read the key.
 *
 * Owner    the engine thread of a rank; every rank of the world calls at the same time.
 * Memory   of `window`, some batches beside the shard, whatever the size of the model.
 * Threads  the caller's carries messages; one reads and packs, one checks.
 * Fails    STATUS_HASH_MISMATCH, STATUS_IO (a sibling is lost, a disk fails), STATUS_TIMED_OUT,
 *          STATUS_STALE (a file has become shorter), STATUS_MALFORMED (a sibling is not
 *          where the plan says), STATUS_NO_MEMORY; after each of them the generation must end.
 */
#ifndef TROUPE_ACTORS_RUNNER_WEIGHT_STREAM_H
#define TROUPE_ACTORS_RUNNER_WEIGHT_STREAM_H

#include "actors/runner/collective.h"
#include "actors/runner/engine/weights.h"
#include "actors/runner/weight_batches.h"
#include "protocol/status.h"
#include "runtime/crypto_mac.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a rank may use beside its shard while it loads, if the placement does not say. */
#define WEIGHT_WINDOW_SIZE ((uint64_t)256 << 20)
/* Larger batches are no faster, stall more when sent again, and tell less of a slow link. */
#define WEIGHT_BATCH_SIZE ((uint64_t)1 << 20)
#define WEIGHT_BATCH_SIZE_MIN ((uint64_t)64 << 10)
/* Of batches in a window: those on their way, one sent again, and the rows they are cut from. */
#define WEIGHT_WINDOW_BATCHES 32u
#define WEIGHT_WINDOW_ROWS 8u /* its part that holds such rows */

struct weight_stream_options {
    struct collective *collective;
    const struct shard_plan *const *plans; /* one for each rank, made from one table */
    struct weight_spread spread;           /* who has and who sends each file of the table */
    size_t file_count;                     /* of the table */
    const struct weight_files *files;      /* those this rank has; NULL when it has none */
    struct shard *shard;                   /* of this rank */
    struct weight_reading *reading;        /* for a watch; may be NULL */
    struct mac_key key;                    /* the same on every rank */
    uint64_t window;                       /* the same on every rank; 0: WEIGHT_WINDOW_SIZE */
    uint64_t batch_size;                   /* 0: of the window */
    uint64_t rate_min;                     /* bytes a second of a source; 0: any (weight_pace.h) */
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
    uint64_t stream_us; /* from the first batch being packed to the last receiver's last word */
    uint64_t read_us;   /* of it, beside the wire: reading and packing, */
    uint64_t check_us;  /* and making or comparing checks */
    bool is_stuck;      /* failed, and a thread still uses files and shard, which stay */
};

/* The counters are written also on failure. */
MUST_CHECK enum status weight_stream_run(const struct weight_stream_options *options,
                                         struct weight_stream_counters *counters_out,
                                         struct reason *reason);

#endif
