/* SPDX-License-Identifier: Apache-2.0 */
/* avx2: the members of the AVX2 kernel set, by file. */
#ifndef TROUPE_ACTORS_RUNNER_ENGINE_KERNELS_AVX2_H
#define TROUPE_ACTORS_RUNNER_ENGINE_KERNELS_AVX2_H

#include "actors/runner/engine/kernels/kernels.h"

/* avx2_exact.c */
void avx2_matmul(const struct matrix *matrix, const struct activations *inputs, size_t count,
                 size_t row_first, size_t row_end, float *out, size_t out_stride, float *scratch);
/* avx2_bytes.c */
bool avx2_has_bytes(const struct matrix *matrix);
void avx2_matmul_bytes(const struct matrix *matrix, const struct activations *inputs,
                       size_t count, size_t row_first, size_t row_end, float *out,
                       size_t out_stride, float *scratch);
void avx2_prepare(struct activations *activations, size_t row, unsigned needs);

#endif
