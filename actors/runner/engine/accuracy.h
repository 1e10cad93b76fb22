/* SPDX-License-Identifier: Apache-2.0 */
/*
 * accuracy: how far a mode's logits may lie from those of exact arithmetic.
 *
 * What is rounded, and by how much of itself (root of the mean square):
 *
 *   fp32 activations, fp32 cache  sums of some hundred terms         2e-6
 *   bf16 cache                    half a unit in the last of 8 bits  1.6e-3
 *   8-bit activations             see below                          4.8e-3
 *   int8 cache                    see below                          6.1e-3
 *
 * A block of 32 activations is rounded to steps of 1/127 of its largest, an error of a step over
 * sqrt(12) each; the largest of 32 normal numbers is 2.1 of their deviation, and 2.1 / 127 /
 * sqrt(12) is 4.8e-3.  A product adds as many such errors as its inputs' squares do, so its result
 * has the same share.  A head of the int8 cache is such a block of 128, whose largest is 2.7 of
 * their deviation.
 *
 * A logit is behind four products in a row in each layer (into the mixer, out of it, into the FFN,
 * out of it; latent attention has two more, into the latent and out of it) and the head's, and
 * behind a layer's keys and values.  Their errors are independent: the squares of 4 * layers + 1
 * and of 2 * layers of them add.  Norms and softmax make up to twice as much of it, measured over
 * the reference fixtures; three times with latent attention, whose scores come of longer chains;
 * four times with a recurrent state, which carries what was rounded on to later positions.  The
 * difference of two logits has sqrt(2) of the error of one.  Seven deviations of all that are
 * stated as the error of a difference, in units of the deviation of the logits over the vocabulary:
 * fewer than one difference in a thousand is larger.
 *
 * The choice of experts jumps where two of them score alike: rounding then puts one in another's
 * place, which no bound on rounding covers.  A token whose experts are those of exact arithmetic,
 * after positions of which some had others, errs by `detour` more; a token that has others itself
 * by `swap` more, a deviation and a half of the logits: it is as if another had been asked.
 *
 * Owner    commands and tests.
 * Memory   none.
 * Threads  any.
 * Fails    never.
 */
#ifndef TROUPE_ACTORS_RUNNER_ENGINE_ACCURACY_H
#define TROUPE_ACTORS_RUNNER_ENGINE_ACCURACY_H

#include "actors/runner/engine/engine.h"

/* The first two are shares of itself that a product's result, or a cached value, errs by; the
 * others are in deviations of the logits over the vocabulary. */
struct accuracy {
    double rounding;
    double cache_rounding;
    double error;    /* of the difference of two logits */
    double detour;   /* 0 without experts */
    double swap;
};

struct accuracy accuracy_of(const struct engine_model *model, enum engine_mode mode,
                            enum kv_format kv_format);

#endif
