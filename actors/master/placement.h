/* SPDX-License-Identifier: Apache-2.0 */
/*
 * placement: where a model may run, from the state and what the nodes told of their load.
 *
 * Pure.  Each candidate is one of: one node; a pipeline; a tensor cut, over any number of nodes,
 * equal or by memory; where links ask for it, a pipeline of tensor groups (placement_groups.h).
 * Its cost is bytes per node (weights, KV cache, scratch) against free memory; its worth is
 * predicted tokens per second.  Refused ones carry the reason.
 *
 * What none of the nodes of a candidate of several holds is sent into their memory by another that
 * does, a source, which comes after the ranks (placement_senders.h).  A single node without the
 * model is possible when others have it: it is copied to its disk first; likewise several when no
 * node with the model can be their source.  One that needs no copy comes before it.
 *
 * The KV cache has room for the context promised, which every request shares, and for the windows
 * and states of as many requests as run at once.  Beyond, it grows to the reserve of each of them
 * as far as half of what is free then allows.
 *
 * Memory   candidates are records; the caller frees the list with record_fini.
 * Fails    STATUS_NOT_FOUND: no such model; STATUS_NO_MEMORY.
 */
#ifndef TROUPE_ACTORS_MASTER_PLACEMENT_H
#define TROUPE_ACTORS_MASTER_PLACEMENT_H

#include "protocol/state.h"
#include "runtime/network.h"

/* One node as the placement sees it. */
struct placement_node {
    const struct node_record *node;
    uint64_t memory_free; /* for models, with what runs there already taken off */
    uint64_t disk_free;   /* in its store */
    const struct kernel_rate *kernels; /* what its kernels manage; NULL: not measured yet */
    uint32_t kernel_count;
    uint64_t entry_ns; /* these as in struct node_load; 0: not measured yet */
    uint64_t near_ns;
    uint64_t near_bytes_per_s;
    uint64_t fresh_bytes_per_s;
    uint64_t wake_ns;
    bool is_heard;        /* in view and its load told in this epoch */
    bool is_exposed;      /* none of its addresses is in a network the operator trusts */
};

/* The leader's, for what a request leaves open. */
struct placement_settings {
    uint32_t context;         /* 0: what fits */
    uint32_t requests;        /* at once; 0: 16 */
    uint32_t reserve;         /* tokens of an answer a request has room for when it begins */
    enum kv_format kv_format; /* of fast mode; none: bf16 */
    /* A request for equal shares gets unequal ones where equal ones would fill the smallest node
     * beyond a share of its free memory and these take less than one of all. */
    bool auto_asymmetric;
    double smallest_fill;
    double cluster_fill;
};

struct placement_question {
    const struct state *state;
    const struct place_instance *request;
    const struct placement_node *nodes;
    uint32_t node_count;
    const struct instance_id *replaced; /* its reservations do not count; NULL: none */
    const struct placement_settings *settings; /* NULL: the standard ones */
    const struct links_listed *links;          /* what nodes told of them; NULL: nothing */
    const struct networks *trusted; /* where MPI may travel; NULL: as is_exposed says */
    bool may_rdma;                  /* ... past TCP, where all ranks have a device for it */
};

#define PLACEMENT_CONTEXT_DEFAULT 32768u
#define PLACEMENT_CONTEXT_LEAST 512u

/* Best first; possible ones before refused ones; at least one, else STATUS_NO_CAPACITY or
 * STATUS_NO_HOLDER with the reason. */
MUST_CHECK enum status placement_candidates(const struct placement_question *question,
                                            struct candidates_listed *listed_out,
                                            struct reason *reason);
/* Fills ranks, sources, sharding, context and why of an instance from the best possible candidate;
 * its status is STARTING, or COPYING, then without sources.
 * STATUS_NO_CAPACITY, STATUS_NO_HOLDER: none is possible, with the reason of the nearest one. */
MUST_CHECK enum status placement_choose(const struct placement_question *question,
                                        struct instance_record *instance_out,
                                        struct reason *reason);

#endif
