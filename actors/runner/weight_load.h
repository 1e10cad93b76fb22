/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weight_load: everything between a placement and a shard that is ready to be used.
 *
 * One call on every rank of the generation.  A rank with the weight files maps them; one without,
 * or with only some of them, gets the table of tensors from the lowest rank that has all, or from
 * each source its part of it when no rank has all (weight_tables.h), checks it against its own
 * config.json, and receives the bytes of the slices it has no file of (weight_stream.h).
 *
 * Owner    the engine thread of a rank; closed after the engine that uses the shard.
 * Memory   the shard and a fixed window beside it.
 * Threads  as weight_stream.
 * Fails    what reading, checking and streaming fail with.  A rank that fails before or after the
 *          stream tells the others, which end with STATUS_CANCELLED; when the stream itself fails
 *          the process must end, and with it the generation.
 */
#ifndef TROUPE_ACTORS_RUNNER_WEIGHT_LOAD_H
#define TROUPE_ACTORS_RUNNER_WEIGHT_LOAD_H

#include "actors/runner/weight_stream.h"

/* Who sends a weight file, and who has it beside those that have all: a bit for each rank. */
struct weight_source {
    const char *file;
    uint32_t rank;
    uint64_t holders;
};

struct weight_load_request {
    struct collective *collective; /* NULL: a world of one rank */
    const char *directory;         /* config.json is there on every rank */
    const struct model_config *config;
    const struct partition *partitions; /* one for each rank that computes */
    uint32_t computing; /* so many ranks; those after them only send; 0: all */
    const bool *has_files;              /* one for each rank: it has all */
    const struct weight_source *sources; /* every weight file; ignored when all ranks have files */
    size_t source_count;
    /* Beside the shard; that of the lowest rank with all files, else of the lowest that sends,
     * holds for all; 0: the default. */
    uint64_t window;
    uint64_t batch_size; /* 0: of the window */
    uint64_t rate_min;   /* as in weight_stream_options */
    struct weight_reading *reading; /* where the reading is, for a watch; may be NULL */
    /* Sees, and in tests fills, the memory of a rank without files before anything came; may be
     * NULL. */
    void (*opened)(void *context, const struct shard_plan *plan, struct shard *shard);
    /* As in weight_stream_options; may be NULL. */
    void (*progressed)(void *context, uint64_t bytes_have, uint64_t bytes_total);
    void (*sending)(void *context, uint32_t receiver, size_t batch, int attempt, uint8_t *bytes,
                    size_t size);
    void *context;
};

struct weight_load {
    struct tensor_table *table;
    struct model_layout *layout;
    struct shard_plan **plans; /* one for each rank */
    uint32_t rank;
    uint32_t rank_count;
    struct weight_files *files; /* NULL on a rank that has none */
    struct shard *shard;        /* complete */
    uint64_t opening_us;        /* until the first batch: files, tables, plans; */
    uint64_t memory_us;         /* of it, taking memory for what comes first */
    uint64_t filling_us;        /* after the last: what its own files hold, and the values */
    struct weight_stream_counters counters;
};

MUST_CHECK enum status weight_load_open(const struct weight_load_request *request,
                                        struct weight_load *load_out, struct reason *reason);
void weight_load_close(struct weight_load *load);

#endif
