/* SPDX-License-Identifier: Apache-2.0 */
/*
 * collective: what the ranks of one generation do together.
 *
 * Two implementations with the same calls and the same order of sums, so that every cut gives the
 * same bits in one process and across machines: collective.c (MPI, the only includer of mpi.h)
 * and engine/collective_threads.c (threads of one process).
 *
 * Owner    the engine thread of a rank; no other thread calls.
 * Memory   the implementation keeps a scratch of size * count floats, grown when needed.
 * Fails    STATUS_IO when a sibling is lost, STATUS_MALFORMED when one does not do the same as the
 *          others, STATUS_TIMED_OUT when one does not come; nothing but ending the generation
 *          helps then, and `why` says who it was.
 */
#ifndef TROUPE_ACTORS_RUNNER_COLLECTIVE_H
#define TROUPE_ACTORS_RUNNER_COLLECTIVE_H

#include "protocol/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct collective;

/* What posted messages are for. */
enum collective_channel {
    CHANNEL_HEADS,   /* of batches of weights */
    CHANNEL_BATCHES, /* their bytes */
    CHANNEL_REPAIR_HEADS,
    CHANNEL_REPAIRS, /* batches that are sent again */
    CHANNEL_WORDS,   /* of receivers */
    CHANNEL_COUNT
};

struct collective_ops {
    /* values[count] becomes the sum over ranks, added in rank order 0, 1, 2, ... on every rank
     * (an all-gather and a local sum), so all ranks hold the same bits. */
    enum status (*sum)(struct collective *collective, float *values, size_t count);
    /* Each rank gives counts[rank] floats; rank `root` gets them one after another in rank order.
     * `all_out` is NULL elsewhere. */
    enum status (*gather)(struct collective *collective, const float *values,
                          const size_t *counts, float *all_out, uint32_t root);
    /* `size` bytes of `root` reach every rank; any size. */
    enum status (*broadcast)(struct collective *collective, void *bytes, size_t size,
                             uint32_t root);
    /* Point to point, in order per pair; `size` is known to both sides; any size. */
    enum status (*send)(struct collective *collective, const void *bytes, size_t size,
                        uint32_t target);
    enum status (*receive)(struct collective *collective, void *bytes_out, size_t size,
                           uint32_t source);
    enum status (*barrier)(struct collective *collective);
    /* Several messages at once.  Each begins at once and leaves a number, under which it is looked
     * at until it is through; its bytes are the collective's until then, and its number is free
     * after.  Messages of one pair and channel keep their order, channels do not wait for each
     * other.  STATUS_NO_MEMORY: nothing began. */
    enum status (*post_send)(struct collective *collective, enum collective_channel channel,
                             const void *bytes, size_t size, uint32_t target, uint32_t *post_out);
    enum status (*post_receive)(struct collective *collective, enum collective_channel channel,
                                void *bytes_out, size_t size, uint32_t source,
                                uint32_t *post_out);
    enum status (*post_look)(struct collective *collective, uint32_t post, bool *is_done_out);
    /* From now on the ranks [first, first + count) alone, counted from 0, each of which calls; no
     * post of theirs is open.  What the others do does not matter to them any more: they may be a
     * group of their own, leave, or die. */
    enum status (*narrow)(struct collective *collective, uint32_t first, uint32_t count,
                          struct reason *reason);
    /* Forgets all that this rank posted, before its memory goes.  Only after a failure. */
    void (*post_drop)(struct collective *collective);
};

struct collective {
    const struct collective_ops *ops;
    uint32_t rank;
    uint32_t size;
    uint32_t first; /* of the generation's ranks the one that is 0 here: what people are told */
    /* Number of the call last entered and last finished, posted messages aside: the same on every
     * rank that is as far.  Read by the actor loop's beats, */
    _Atomic uint64_t entered;
    _Atomic uint64_t finished;
    /* as is this, which grows with each piece of a long one. */
    _Atomic uint64_t pieces;
    _Atomic uint64_t bytes; /* of the last collective of all ranks */
    uint64_t number;   /* of the last collective of all ranks: see collective_order.h */
    struct reason why; /* of the last failure; empty when nothing is known but that it failed */
};

#endif
