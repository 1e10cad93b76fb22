/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine: the forward pass of one rank.
 *
 * One rank: engine_forward with tokens in, logits out.
 * Tensor cut: every rank calls engine_forward with the same batch; the engine sums over
 * `options.collective`, and rank 0 gets the logits (the others pass NULL), or each those of its own
 * rows (engine_forward_own).
 * Pipeline cut: a row.  Rank 0 has the embedding and calls engine_forward with `hidden_out`; every
 * later rank calls it with the same rows, `hidden_in` and `hidden_out`; the last has final norm and
 * head, and gets the logits in the place of hidden states.  A table that serves both ends is on
 * both.
 * Stages of several ranks: the same row of stages; all ranks of a stage make the same calls with
 * the same rows and hidden states, and end with the same bits.  Of the last its first rank gets the
 * logits (the others pass NULL), or each those of its own rows (engine_forward_own).
 *
 * Within one kernel set and mode, what a row yields depends on its sequence's tokens and its
 * position alone: not on the other rows, the chunks of a prompt or the number of threads.
 *
 * Owner    the engine thread of a runner; a command; a test.
 * Memory   everything is taken at open, but the pages of the KV cache as positions come.
 * Threads  one caller at a time; `threads` - 1 of its own.
 * Fails    INVALID (token id, sequence or position out of range, a cache the mode does not have),
 *          NO_CAPACITY (no page left: no row was computed), IO when a sibling rank is lost: then
 *          only closing helps.
 */
#ifndef TROUPE_ACTORS_RUNNER_ENGINE_ENGINE_H
#define TROUPE_ACTORS_RUNNER_ENGINE_ENGINE_H

#include "actors/runner/collective.h"
#include "actors/runner/engine/weights.h"
#include "protocol/kv_format.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum engine_mode {
    ENGINE_EXACT = 0, /* fp32 activations, fp32 KV cache */
    ENGINE_FAST = 1,  /* 8-bit activations where a kernel exists, bf16 or int8 KV cache; what that
                       * errs by is stated in accuracy.h */
};

struct kernel_set;
struct profile;
struct route_choice;

struct engine_options {
    enum engine_mode mode;
    uint32_t threads;         /* 0: one for each core this process may use */
    uint64_t context;         /* positions of a sequence; 0: the model's, to 32768 */
    uint64_t positions;       /* of all sequences together; 0: one context */
    uint32_t sequences;       /* at a time; 0: 16 */
    enum kv_format kv_format; /* fast mode: bf16 (also 0) or int8; exact mode has f32 only */
    const struct kernel_set *kernels; /* NULL: kernel_set_choose */
    struct collective *collective;    /* of those that share its layers; borrowed */
    /* Called after each layer with the residual stream [count][hidden]; for tests. */
    void (*observe)(void *observer, uint32_t layer, const float *hidden, size_t count);
    /* Called where a layer has experts, with the choices [count][used]; what it writes there is
     * what is computed; for tests. */
    void (*observe_experts)(void *observer, uint32_t layer, struct route_choice *choices,
                            size_t count);
    void *observer;
};

struct engine_row {
    uint32_t sequence;
    uint32_t token; /* ignored where hidden_in is given */
    uint32_t position; /* the sequence's length, then one more for each further row of it */
    bool wants_logits;
};

struct engine_batch {
    const struct engine_row *rows;
    size_t count;
    const float *hidden_in; /* [count][hidden]; NULL on a rank that has the embedding */
    float *hidden_out;      /* [count][hidden]; NULL when not wanted */
    float *logits_out;      /* [rows that want them][vocab]; NULL when not wanted */
};

/* A model directory that was read: what every rank of it needs. */
struct engine_model {
    struct model_config *config;
    struct tensor_table *table;
    struct model_layout *layout;
    struct weight_files *files; /* NULL on a rank without them */
};

struct engine;

MUST_CHECK enum status engine_model_open(const char *directory, struct engine_model *model_out,
                                         struct reason *reason);
/* For a rank that has config.json on disk and received the table; takes the table, also when it
 * fails. */
MUST_CHECK enum status engine_model_receive(const char *directory, struct tensor_table *table,
                                            struct engine_model *model_out,
                                            struct reason *reason);
void engine_model_close(struct engine_model *model);

/* Borrows model, partition's values and the complete shard until close. */
MUST_CHECK enum status engine_open(const struct engine_model *model,
                                   const struct partition *partition, const struct shard *shard,
                                   const struct engine_options *options,
                                   struct engine **engine_out, struct reason *reason);
/* The same, filling a shard of its own from the model's files.  `partition` NULL: all of it. */
MUST_CHECK enum status engine_open_local(const struct engine_model *model,
                                         const struct partition *partition,
                                         const struct engine_options *options,
                                         struct engine **engine_out, struct reason *reason);
/* Accepts NULL. */
void engine_close(struct engine *engine);

/* Takes what the rows need, or nothing: engine_forward then finds it. */
MUST_CHECK enum status engine_admit(struct engine *engine, const struct engine_batch *batch,
                                    struct reason *reason);
MUST_CHECK enum status engine_forward(struct engine *engine, const struct engine_batch *batch,
                                      struct reason *reason);
/* The same on all ranks of a tensor cut or a last stage, each with the logits of its rows of the
 * vocabulary, [rows that want them][engine_vocab_own]; nothing is gathered. */
MUST_CHECK enum status engine_forward_own(struct engine *engine, const struct engine_batch *batch,
                                          float *own_out, struct reason *reason);
/* A number for each row of this rank, [engine_vocab_own], to all of them at the first rank of a cut
 * or a last stage, [vocab]; NULL elsewhere.  Every rank of it calls. */
MUST_CHECK enum status engine_gather(struct engine *engine, const float *own, float *all_out,
                                     struct reason *reason);

MUST_CHECK enum status engine_sequence_open(struct engine *engine, uint32_t *sequence_out,
                                            struct reason *reason);
bool engine_sequence_is_open(const struct engine *engine, uint32_t sequence);
void engine_sequence_close(struct engine *engine, uint32_t sequence);
uint32_t engine_sequence_length(const struct engine *engine, uint32_t sequence);
/* Forgets positions from `length` on: for prefixes that are used again.  Returns the length that is
 * left, 0 where the family's windows or states cannot go back so far. */
uint32_t engine_sequence_truncate(struct engine *engine, uint32_t sequence, uint32_t length);

uint32_t engine_hidden(const struct engine *engine);
uint32_t engine_vocab(const struct engine *engine);
/* The rows of it of which this rank computes logits: from which on, and how many. */
uint32_t engine_vocab_first(const struct engine *engine);
uint32_t engine_vocab_own(const struct engine *engine);
uint64_t engine_positions_free(const struct engine *engine);
uint64_t engine_context(const struct engine *engine);
/* From now on the time is charged to this; NULL: to none. */
void engine_profile(struct engine *engine, struct profile *profile);
uint32_t engine_sequences(const struct engine *engine);
const char *engine_kernels_name(const struct engine *engine);
uint32_t engine_threads(const struct engine *engine);
/* Bytes an engine takes beside its shard: buffers, and the KV cache when all pages are used. */
uint64_t engine_memory_bytes(const struct engine *engine);
/* Of these the KV cache. */
uint64_t engine_cache_bytes(const struct engine *engine);

#endif
