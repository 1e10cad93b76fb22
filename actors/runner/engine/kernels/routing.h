/* SPDX-License-Identifier: Apache-2.0 */
/*
 * routing: the path to the choice of experts, whose bits are the same on every machine.
 *
 * Ranks of one generation may run unlike kernel sets, and each picks the experts of a token for
 * itself from the same hidden state.  So what leads from there to the choice is plain C with one
 * order of operations, each rounded once: no contraction to fused operations, no function of the C
 * library but the square root, which is exact.  Use these in place of a set's rms_norm and matmul
 * for the norm before a router, the router, and the scores made of its outputs.
 *
 * Memory   none.
 * Threads  any; rows of the product may be split.
 */
#ifndef TROUPE_ACTORS_RUNNER_ENGINE_KERNELS_ROUTING_H
#define TROUPE_ACTORS_RUNNER_ENGINE_KERNELS_ROUTING_H

#include "actors/runner/engine/kernels/kernels.h"

/* out[i] = x[i] / sqrt(mean(x^2) + epsilon) * weight[i]; may be in place. */
void kernel_routing_norm(const float *x, const float *weight, float epsilon, size_t count,
                         float *out);
/* out[t * out_stride + r] = row r of the matrix times token t, for row_first <= r < row_end; any
 * format.  A token is matrix->columns floats of `x`.  Each gets the same bits as alone. */
void kernel_routing_product(const struct matrix *matrix, const float *x, size_t count,
                            size_t row_first, size_t row_end, float *out, size_t out_stride);
/* e^x, within 3e-7 of it; 0 below -87. */
float kernel_routing_exp(float x);
/* 1 / (1 + e^-x) */
float kernel_routing_sigmoid(float x);
/* x becomes e^x / sum of e^x. */
void kernel_routing_softmax(float *x, size_t count);

#endif
