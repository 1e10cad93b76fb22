/* SPDX-License-Identifier: Apache-2.0 */
/*
 * measure_parts: what a step takes beside multiplying packed weights: attention, and a word from
 * one process of the machine to another.
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
    uint32_t heads; /* that attend together: queries of a key's head, and more with more tokens */
    size_t head_bytes; /* the rest is its own */
};

#define MEASURE_ATTENTION_HEADS 8u
#define MEASURE_ATTENTION_FLOATS ((size_t)1 << 18)

/* Of these many rounds, without the few that something cut into: a decoding rank meets the rest,
 * too, so the best would promise too much.  Seconds of one; sorts them. */
#define MEASURE_ROUNDS 10u
double measure_typical_s(uint64_t took_ns[MEASURE_ROUNDS]);
/* Multiplications a second: a token at a time (2 heads) or many (8). */
double measure_attention(struct measure_attention *attention, struct pool *pool, uint32_t heads);
/* A word over TCP on this machine, half of there and back, and bytes a second. */
uint64_t measure_near_ns(uint64_t *bytes_per_s_out);

#endif
