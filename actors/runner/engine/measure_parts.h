/* SPDX-License-Identifier: Apache-2.0 */
/*
 * measure_parts: what a rank takes beside multiplying packed weights: attention, plain code, and a
 * word from one process of the machine to another.
 *
 * Memory   the caller's.
 * Threads  of the pool; a word to another process is sent to a thread of its own.
 * Fails    0 where it cannot be measured.
 */
#ifndef TROUPE_ACTORS_RUNNER_ENGINE_MEASURE_PARTS_H
#define TROUPE_ACTORS_RUNNER_ENGINE_MEASURE_PARTS_H

#include "actors/runner/engine/kernels/kernels.h"
#include "actors/runner/engine/pool.h"

struct measure_attention {
    const struct kernel_set *kernels;
    uint8_t *bytes; /* floats and bf16 alike: small numbers */
    size_t size;
    float *out;     /* of MEASURE_ATTENTION_FLOATS */
    enum kv_format format;
    uint32_t heads;    /* the rest is its own: that attend together, */
    uint32_t times;    /* how often a head's keys are met, */
    size_t head_bytes; /* and what they and its values are in a page */
};

#define MEASURE_ATTENTION_COLUMNS 2048u /* that the scratch of its pool is for */
#define MEASURE_ATTENTION_FLOATS ((size_t)1 << 18)

/* Seconds of one of so many rounds.  The mean: what cuts into a round cuts into a rank's steps, and
 * without the slowest fifth a machine with busy neighbours promised an eighth too much. */
#define MEASURE_ROUNDS 10u
double measure_mean_s(const uint64_t *took_ns, uint32_t rounds);
/* Multiplications a second: of a token, which meets each head's keys once (2 queries of it), or of
 * many, which meet them again and again in the caches (8 at a time). */
double measure_attention(struct measure_attention *attention, struct pool *pool, bool is_many);
/* To parse an entry of a JSON object and free it: the pace of code that is neither products nor
 * memory, of which starting and reading a tokenizer are. */
uint64_t measure_entry_ns(void);
/* Bytes a second of memory that lay free, when it is first met, as by a load.  A machine clears it;
 * one that is virtual may have to ask its host first, which can take twenty times as long. */
uint64_t measure_fresh_bytes_per_s(void);
/* A word over TCP on this machine, half of there and back, and bytes a second; and how much longer
 * it takes when its reader slept while the writer computed, as the next rank of a pipeline does: a
 * virtual processor may have to be given a core again first. */
struct measure_near {
    uint64_t word_ns; /* 0: nothing was measured */
    uint64_t bytes_per_s;
    uint64_t wake_ns;
};
void measure_near(struct measure_near *near_out);

#endif
