/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serving_pace: how soon and how fast a request is answered that is alone, as rank 0 sees it.
 *
 * What the placement predicts is of one request alone; while several are answered nothing is
 * counted.  From the first token on each is timed from the one before; the median of the last is
 * told, so that a pause of the machine does not change it.
 *
 * Owner    serving.h.
 * Memory   plain.
 * Threads  the engine thread's.
 * Fails    never.
 */
#ifndef TROUPE_ACTORS_RUNNER_SERVING_PACE_H
#define TROUPE_ACTORS_RUNNER_SERVING_PACE_H

#include <stdbool.h>
#include <stdint.h>

#define SERVING_PACE_TOKENS 128u
/* Fewer say little: the first tokens find caches cold. */
#define SERVING_PACE_TOKENS_LEAST 8u

struct serving_pace {
    uint64_t alone; /* number of the request that is alone; 0: none is */
    uint64_t asked_us;
    uint64_t told_us; /* its last token; 0: none yet */
    uint32_t asked_tokens;
    uint32_t token_us[SERVING_PACE_TOKENS]; /* a ring */
    uint64_t token_count;
    double first_token_s; /* 0: none was seen */
    uint32_t prompt_tokens;
};

/* A request came at that time; `is_alone`: no other is being answered. */
void serving_pace_ask(struct serving_pace *pace, uint64_t number, uint64_t now_us,
                      uint32_t prompt_tokens, bool is_alone);
/* It got a token.  True: what is told has changed. */
bool serving_pace_token(struct serving_pace *pace, uint64_t number, uint64_t now_us);
/* 0: too few were seen. */
double serving_pace_tokens_per_s(const struct serving_pace *pace);

#endif
