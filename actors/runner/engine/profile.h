/* SPDX-License-Identifier: Apache-2.0 */
/*
 * profile: where the time of a forward pass goes, by kind of operation.
 *
 * The thread that calls the engine turns from one kind to the next; what passed in between is
 * charged to the kind that was.  Pools run inside a kind, so the sum is the time that passed.
 *
 * Memory   the caller's, begun as zeros; NULL is off and costs one comparison a turn.
 * Threads  the engine's caller alone.
 */
#ifndef TROUPE_ACTORS_RUNNER_ENGINE_PROFILE_H
#define TROUPE_ACTORS_RUNNER_ENGINE_PROFILE_H

#include "runtime/model_config.h"

#include <stddef.h>
#include <stdint.h>

/*    X(KIND, name) */
#define PROFILE_KIND_LIST(X)                                                                       \
    X(OUTSIDE, "outside")                                                                          \
    X(EMBED, "embedding")                                                                          \
    X(NORM, "norm, 8-bit inputs")                                                                  \
    X(MATMUL_2, "matmul 2 bits")                                                                   \
    X(MATMUL_3, "matmul 3 bits")                                                                   \
    X(MATMUL_4, "matmul 4 bits")                                                                   \
    X(MATMUL_5, "matmul 5 bits")                                                                   \
    X(MATMUL_6, "matmul 6 bits")                                                                   \
    X(MATMUL_8, "matmul 8 bits")                                                                   \
    X(MATMUL_16, "matmul 16 bits")                                                                 \
    X(MATMUL_32, "matmul 32 bits")                                                                 \
    X(EXPERTS, "matmul of experts")                                                                \
    X(HEAD, "matmul of the head")                                                                  \
    X(ROPE, "rope, into the cache")                                                                \
    X(ATTENTION, "attention")                                                                      \
    X(DELTA, "DeltaNet")                                                                           \
    X(ACTIVATION, "activation")                                                                    \
    X(ROUTER, "router")                                                                            \
    X(COPY, "copy, add")                                                                           \
    X(COLLECTIVE, "other ranks")                                                                   \
    X(SAMPLING, "sampling")

enum profile_kind {
#define PROFILE_KIND(kind, name) PROFILE_##kind,
    PROFILE_KIND_LIST(PROFILE_KIND)
#undef PROFILE_KIND
    PROFILE_KINDS
};

struct profile_row {
    uint64_t took_ns;
    uint64_t turns;
    uint64_t bytes;    /* of weights, where it is a product */
    uint64_t products; /* of a weight and an input */
};

struct profile {
    struct profile_row rows[PROFILE_KINDS];
    enum profile_kind now;
    uint64_t since_ns;
    uint64_t waited_ns; /* of the above: for the pool's other threads to end */
    uint64_t runs;      /* of the pool, by more than one thread */
};

void profile_turn_to(struct profile *profile, enum profile_kind kind);

static inline void profile_turn(struct profile *profile, enum profile_kind kind)
{
    if (profile)
        profile_turn_to(profile, kind);
}

/* The kind of a product with weights like these. */
enum profile_kind profile_of_weights(const struct quantisation *quantisation);
const char *profile_kind_name(enum profile_kind kind);

#endif
