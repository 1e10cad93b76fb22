/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sharding: the two ways to cut a model, and none.  Codes stand in the log.
 */
#ifndef TROUPE_PROTOCOL_SHARDING_H
#define TROUPE_PROTOCOL_SHARDING_H

#include <stdbool.h>
#include <stdint.h>

enum sharding {
    SHARDING_NONE = 0,     /* one rank */
    SHARDING_PIPELINE = 1, /* whole layers; rank 0 also holds embedding, final norm and head */
    SHARDING_TENSOR = 2,   /* heads, FFN columns and vocabulary rows of every layer */
    SHARDING_END
};

/* "pipeline"; never NULL. */
const char *sharding_name(uint32_t sharding);
bool sharding_parse(const char *name, enum sharding *sharding_out);

#endif
