/* SPDX-License-Identifier: Apache-2.0 */
/*
 * collective_order: that all ranks are in the same collective.
 *
 * Each collective begins with a mark that goes with its bytes.  A rank that counts otherwise, or
 * is in another collective, of another size or from another root, is found by the first it meets,
 * and its generation ends: nothing it would compute after is worth anything.
 *
 * Pure.  Memory: none.  Threads: none.
 */
#ifndef TROUPE_ACTORS_RUNNER_COLLECTIVE_ORDER_H
#define TROUPE_ACTORS_RUNNER_COLLECTIVE_ORDER_H

#include "actors/runner/collective.h"
#include "protocol/status.h"

#include <stdint.h>

enum collective_kind {
    COLLECTIVE_SUM = 1,
    COLLECTIVE_GATHER,
    COLLECTIVE_BROADCAST,
    COLLECTIVE_BARRIER,
};

/* Little-endian as all ranks are of one build. */
struct collective_mark {
    uint32_t magic;
    uint32_t kind;   /* enum collective_kind */
    uint64_t number; /* of this collective; sends and receives of two ranks are not counted */
    uint64_t size;   /* bytes that each gives, of a gather all */
    uint32_t root;   /* 0 where there is none */
    uint32_t rank;   /* whose mark it is */
};

struct collective_mark collective_mark_next(struct collective *collective,
                                            enum collective_kind kind, uint64_t size,
                                            uint32_t root);
/* False, and collective->why says who is where, when `other` of rank `from` is not the same. */
MUST_CHECK bool collective_mark_agrees(struct collective *collective,
                                       const struct collective_mark *own,
                                       const struct collective_mark *other, uint32_t from);
/* The reason of a collective that failed, or `otherwise` when it has none or is NULL. */
MUST_CHECK enum status collective_refuse(const struct collective *collective, enum status status,
                                         struct reason *reason, const char *otherwise);

#endif
