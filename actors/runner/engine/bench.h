/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench: what troupe-engine bench measures of a model and of the machine.
 *
 * Memory   results are in `struct bench`; nothing to free.
 * Threads  one caller.
 */
#ifndef TROUPE_ACTORS_RUNNER_ENGINE_BENCH_H
#define TROUPE_ACTORS_RUNNER_ENGINE_BENCH_H

#include "actors/runner/engine/engine.h"
#include "actors/runner/engine/profile.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_LIST_MAX 8u
#define BENCH_BATCH_MAX 64u

enum bench_what {
    BENCH_PROMPT = 0, /* `size` tokens at once into an empty sequence */
    BENCH_DECODE = 1, /* token by token after `size` tokens */
    BENCH_BATCH = 2,  /* `size` sequences a token each at once */
};

/* One figure: the best of the rounds, because whatever else runs only takes away. */
struct bench_row {
    enum bench_what what;
    uint64_t size;
    double rate; /* tokens a second */
    double first_token; /* seconds to the first token of a prompt, its draw with it */
    bool has_profile;
    struct profile profile; /* of one pass of its own, draws with it */
    uint64_t profile_tokens;
};

struct bench {
    const char *model_path;
    const char *label; /* of the result; NULL for none */
    uint64_t prompts[BENCH_LIST_MAX];
    uint64_t contexts[BENCH_LIST_MAX];
    uint64_t batches[BENCH_LIST_MAX];
    size_t prompt_count;
    size_t context_count;
    size_t batch_count;
    uint64_t decode; /* tokens */
    uint64_t rounds;
    bool as_json;
    bool wants_profile;
    struct engine_options options;

    struct bench_row rows[3 * BENCH_LIST_MAX];
    size_t row_count;
    uint64_t weight_bytes; /* read for a token */
    uint64_t products;     /* of bytes, for a token of a prompt */
    double load;           /* seconds to an open engine */
    double cold_token;     /* to the first token of the first prompt, the load with it */
    double draws[2];       /* seconds: the most likely token; top_p 0.8, top_k 20 */
    uint64_t resident;     /* bytes, shared ones in proportion; 0: not known here */
    uint64_t memory;       /* what weights and cache account for of them */
    double bandwidth;      /* bytes a second */
    double peak;           /* products of bytes a second, in registers */
    const char *kernels;
    uint32_t threads;
    uint32_t layers;
    uint32_t vocab;
};

/* The best of a few rounds. */
MUST_CHECK enum status bench_bandwidth(uint32_t threads, double *bandwidth_out,
                                       struct reason *reason);
MUST_CHECK enum status bench_peak(const struct kernel_set *kernels, uint32_t threads,
                                  double *peak_out, struct reason *reason);
/* Proportional set size of this process; 0 where the system does not say. */
uint64_t bench_resident(void);
/* Everything; `bench` holds what was asked for. */
MUST_CHECK enum status bench_measure(struct bench *bench, struct reason *reason);
/* Text or JSON, on standard output. */
void bench_print(const struct bench *bench);

#endif
