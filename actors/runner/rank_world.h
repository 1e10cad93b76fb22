/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rank_world: one rank's part of a step, together with its siblings.
 *
 * Whole: the engine alone.  Tensor: rank 0 opens a busy period by a numbered message; within it the
 * steps go in band, by a small broadcast before each, the engine sums over MPI, and rank_sampling
 * draws; a rank that is idle waits for the next message, never inside MPI.  Pipeline: a ring of
 * messages; each stage takes the rows and the hidden states of the one before, and the last, which
 * has the head, sends to rank 0 what a token is drawn from: rank_stages.c.
 *
 * Owner    the engine thread.
 * Memory   hidden states and rows of one step.
 * Threads  the engine thread's.
 * Fails    STATUS_IO, STATUS_TIMED_OUT, STATUS_GAP: a sibling is lost or out of step: the
 * generation must end.  STATUS_NO_CAPACITY: no KV page is left and no row was computed.
 */
#ifndef TROUPE_ACTORS_RUNNER_RANK_WORLD_H
#define TROUPE_ACTORS_RUNNER_RANK_WORLD_H

#include "actors/runner/command_queue.h"
#include "actors/runner/engine/engine.h"
#include "actors/runner/rank_sampling.h"
#include "actors/runner/runner.h"
#include "actors/runner/weight_load.h"

#define STEP_ROWS_MAX 512u
#define STEP_CHANGES_MAX 1024u
#define RANK_SEQUENCES_MAX REQUESTS_RUNNING_MAX /* at a time */

struct rank_world {
    struct instance_record instance;
    uint32_t rank;
    uint32_t rank_count; /* that compute; those after them in the instance only send weights */
    struct collective *collective; /* NULL: alone */
    struct model_config *config;
    struct weight_load load;
    struct engine_model model;
    struct engine *engine;
    struct rank_sampling *sampling; /* NULL on a rank without logits */
    struct partition partitions[RANK_COUNT_MAX];

    struct command_queue *queue;                           /* of the thread, to wait for siblings */
    void (*tell)(void *target, struct sibling_word *word); /* takes the word */
    void *target;
    uint64_t load_window;      /* of this node; 0: the default */
    uint64_t load_rate_min;    /* bytes a second that it sends while it loads; 0: any */
    uint32_t sibling_limit_ms; /* how long rank 0 waits for the ring; 0: two minutes */

    _Atomic uint64_t marks;   /* layers computed and batches loaded, read by the actor loop */
    _Atomic bool is_waiting;  /* for a message of a sibling */
    _Atomic bool is_joining;  /* MPI */
    struct weight_reading reading; /* of weight files, read by the actor loop */

    uint64_t number;                    /* of the last step or busy period */
    bool is_busy;                       /* tensor, rank 0: a busy period is open */
    uint32_t changes[STEP_CHANGES_MAX]; /* rank 0: slots opened and closed since the last step */
    uint32_t change_count;
    struct words band; /* of a tensor cut's step: what goes in band behind its head; of a pipeline's
                        * what is asked, and what is drawn from */
    float *hidden;       /* [STEP_ROWS_MAX][hidden] */
    size_t hidden_have;  /* bytes of the present step that came from the stage before */
    struct message step; /* pipeline: the rows that wait for their hidden states */
};

/* Joins MPI when there is more than one rank. */
MUST_CHECK enum status rank_world_join(struct rank_world *world, struct reason *reason);
/* Loads the shard and opens the engine; a source gives the others what they lack instead. */
MUST_CHECK enum status rank_world_load(struct rank_world *world, const char *directory,
                                       void (*progressed)(void *context, uint64_t have,
                                                          uint64_t total),
                                       void *context, struct reason *reason);
/* Frees all but the MPI world, which ends with the process. */
void rank_world_close(struct rank_world *world);

/* ---- rank 0 ---- */
MUST_CHECK enum status rank_world_sequence_open(struct rank_world *world, uint32_t *sequence_out,
                                                struct reason *reason);
MUST_CHECK enum status rank_world_sequence_close(struct rank_world *world, uint32_t sequence,
                                                 struct reason *reason);
/* One step on all ranks: what is drawn for the rows that want logits, as `asks` say, in order.
 * Only where rank_sampling_use was called before. */
MUST_CHECK enum status rank_world_forward(struct rank_world *world, const struct engine_row *rows,
                                          uint32_t count, const struct rank_ask *asks,
                                          struct rank_drawn *drawn_out, struct reason *reason);
/* Nothing more to compute for now: the others may sleep. */
MUST_CHECK enum status rank_world_rest(struct rank_world *world, struct reason *reason);

/* ---- the other ranks ---- */
/* A message of a sibling; `has_computed_out` tells that a step was done. */
MUST_CHECK enum status rank_world_follow(struct rank_world *world, const struct message *message,
                                         bool *has_computed_out, struct reason *reason);

#endif
