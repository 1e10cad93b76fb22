/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sharding: the ways to cut a model, and none.  Codes stand in the log.
 */
#ifndef TROUPE_PROTOCOL_SHARDING_H
#define TROUPE_PROTOCOL_SHARDING_H

#include <stdbool.h>
#include <stdint.h>

enum sharding {
    SHARDING_NONE = 0,     /* one rank */
    SHARDING_PIPELINE = 1, /* whole layers; the first rank has the embedding, the last the head */
    SHARDING_TENSOR = 2,   /* heads, FFN columns and vocabulary rows of every layer */
    /* Stages of whole layers, each a tensor cut over its ranks; the first has the embedding, the
     * last the head, cut by rows. */
    SHARDING_PIPELINE_TENSOR = 3,
    SHARDING_END
};

/* "pipeline"; never NULL. */
const char *sharding_name(uint32_t sharding);
/* For people: all names, "none, pipeline, tensor or pipeline-tensor". */
#define SHARDING_NAMES "none, pipeline, tensor or pipeline-tensor"
bool sharding_parse(const char *name, enum sharding *sharding_out);

#endif
