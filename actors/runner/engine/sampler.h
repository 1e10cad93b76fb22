/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sampler: from the logits of one position to the next token.
 *
 * Order and meaning are mlx-lm's: logit_bias, repetition penalty, presence penalty, frequency
 * penalty -> log probabilities (the ones reported) -> temperature 0 takes the most likely token,
 * lowest id among equals, and ignores the filters; else top_p, min_p, top_k on the log
 * probabilities before temperature, and a draw from softmax(kept / temperature).  The numbers
 * mean other distributions where temperature comes first, as in transformers.
 *
 * Ours, where mlx-lm has two answers or none: the repetition penalty looks at the last tokens of
 * prompt and answer together, presence and frequency at the whole answer and never at the prompt
 * (OpenAI); top_p 0 keeps the most likely token only, while above 0 it keeps all that are as likely
 * as the last it keeps; top_k keeps the lower ids among equals, all when it is at least the
 * vocabulary.  Equals are equal logits, after the processors.
 *
 * The random numbers are a function of (seed, choice, position) alone, position being the number of
 * answered tokens, and each token has one of its own, as in mlx: an answer resumed elsewhere goes
 * on as it would have, and logits that differ by rounding draw the same token unless two are that
 * near to each other.
 *
 * Owner    the engine; one sampler per model serves all requests, one at a time.
 * Memory   all at open, 24 bytes a row; nothing per token.
 * Threads  one at a time per sampler.
 * Fails    STATUS_INVALID (a parameter), STATUS_INTERNAL (logits that are not numbers, or none
 *          left to choose), STATUS_NO_MEMORY at open.
 */
#ifndef TROUPE_ENGINE_SAMPLER_H
#define TROUPE_ENGINE_SAMPLER_H

#include "protocol/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SAMPLING_BIAS_MAX = 300,
    SAMPLING_TOP_LOGPROBS_MAX = 20,
    SAMPLER_ROWS_MAX = 1 << 20,
    SAMPLER_LIST_MAX = 256, /* of a rank's rows, told to the one that samples */
    SAMPLER_PARTS_MAX = 64, /* ranks */
};

/* Words of a bit for each row. */
#define SAMPLER_MASK_WORDS(rows) (((size_t)(rows) + 31) / 32)

struct logit_bias {
    uint32_t id;
    float bias;
};

struct sampling {
    float temperature;        /* 0 to 100; 0 is greedy */
    float top_p;              /* 0 to 1; 1 keeps all */
    float min_p;              /* 0 to 1, of the most likely token's probability; 0 keeps all */
    uint32_t top_k;           /* 0 keeps all */
    uint32_t min_keep;        /* what min_p leaves at least; 1 or more */
    float repetition_penalty; /* above 0, to 100; 1 changes nothing */
    uint32_t repetition_window; /* tokens; 0 is all of them */
    float presence_penalty;   /* -100 to 100 */
    float frequency_penalty;  /* -100 to 100 */
    uint64_t seed;
    uint32_t choice;          /* which of several answers to one request */
    uint32_t top_logprobs;    /* 0 to 20 alternatives to report */
    bool logprobs;            /* report the token's own log probability */
    uint32_t bias_count;
    struct logit_bias biases[SAMPLING_BIAS_MAX];
};

/* What the penalties look at, and what a grammar allows. */
struct sampling_history {
    const uint32_t *prompt;
    size_t prompt_count;
    const uint32_t *answer;
    size_t answer_count;
    const uint32_t *allowed; /* a bit for each row, 0: never chosen, as by a logits processor; NULL:
                              * all may be */
};

struct token_logprob {
    uint32_t id;
    float logprob;
};

/* A logit after bias, penalties and mask. */
struct token_score {
    uint32_t id;
    float score;
};

/* The most likely of some rows. */
struct sampler_top {
    float maximum;   /* minus infinity: none is left */
    uint32_t id;     /* the lowest that has it */
    uint32_t broken; /* rows that are no numbers; then nothing else counts */
};

struct sampled {
    uint32_t id;
    float logprob;      /* 0 unless logprobs or top_logprobs were asked for */
    uint32_t top_count;
    struct token_logprob top[SAMPLING_TOP_LOGPROBS_MAX]; /* most likely first */
};

struct sampler;
struct tokenizer;

/* The values of an API that says nothing: temperature 1, no filter, no penalty, seed 0. */
void sampling_init(struct sampling *sampling_out);

/* sampling_init, then what generation_config.json of the directory says, if it is there. */
MUST_CHECK enum status sampling_defaults_read(const char *directory,
                                              struct sampling *sampling_out,
                                              struct reason *reason);

/* Refuses a value outside its range with a sentence that names the field.  `rows` is the number of
 * logits, for the ids of logit_bias. */
MUST_CHECK enum status sampling_check(const struct sampling *sampling, size_t rows,
                                      struct reason *reason);

/* `rows` logits a position.  Ids `tokenizer` does not define are never chosen; it may be NULL and
 * is not kept. */
MUST_CHECK enum status sampler_open(size_t rows, const struct tokenizer *tokenizer,
                                    struct sampler **sampler_out, struct reason *reason);
/* Accepts NULL. */
void sampler_close(struct sampler *sampler);

/* For the rows [first, first + rows) of `vocab`: a rank's, see sampler_parts.h.  `defined` has a
 * bit for each row of all; it is not kept. */
MUST_CHECK enum status sampler_open_part(size_t first, size_t rows, size_t vocab,
                                         const uint32_t *defined, struct sampler **sampler_out,
                                         struct reason *reason);
/* Bits [SAMPLER_MASK_WORDS(rows)] of a sampler of all rows: 1 where there is a token. */
void sampler_defined(const struct sampler *sampler, uint32_t *bits_out);

/* `sampling` passed sampling_check.  Ids of the history that are no row are ignored. */
MUST_CHECK enum status sampler_draw(struct sampler *sampler, const struct sampling *sampling,
                                    const float *logits, const struct sampling_history *history,
                                    struct sampled *sampled_out, struct reason *reason);

/* The two halves of sampler_draw.  Bias, penalties and masks, over the sampler's rows; `scores_out`
 * may be `logits`. */
void sampler_apply(struct sampler *sampler, const struct sampling *sampling,
                   const struct sampling_history *history, const float *logits, float *scores_out,
                   struct sampler_top *top_out);
MUST_CHECK enum status sampler_top_check(const struct sampler_top *top, size_t vocab,
                                         struct reason *reason);
/* From the scores of all rows, whose top passed the check. */
void sampler_choose(struct sampler *sampler, const struct sampling *sampling, size_t answer_count,
                    const float *scores, const struct sampler_top *top,
                    struct sampled *sampled_out);

/* Where the random numbers of a position begin. */
uint64_t sampling_position(uint64_t seed, uint32_t choice, uint64_t position);
/* In (0, 1), 52 bits: the random number of a token there. */
double sampling_random(uint64_t state, uint32_t id);

#endif
