/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels: the arithmetic, behind one table chosen at start by CPU features.
 *
 * Every result of a row and a token is computed in an order fixed by the row and the token alone:
 * the other tokens of a call, the range of rows and the thread change no bit of it.  Two sets may
 * differ in their last bits from one another.
 *
 * Memory   none; callers give scratch.
 * Threads  any; a call writes only its own outputs and its own scratch.
 */
#ifndef TROUPE_ACTORS_RUNNER_ENGINE_KERNELS_KERNELS_H
#define TROUPE_ACTORS_RUNNER_ENGINE_KERNELS_KERNELS_H

#include "protocol/kv_format.h"
#include "protocol/status.h"
#include "runtime/model_config.h"
#include "runtime/safetensors.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Columns are handled in blocks of this many; rows of activations are padded to it with zeros. */
#define KERNEL_BLOCK 64u
/* Elements that share one scale in activations of 8 bits. */
#define KERNEL_QUANT_BLOCK 32u

/* Packed rows as they lie in the file; any alignment. */
struct matrix {
    struct quantisation quantisation;
    enum tensor_type scale_type;
    uint64_t rows;
    uint64_t columns;
    const uint8_t *weight;
    uint64_t weight_stride; /* bytes from row to row */
    const uint8_t *scales;
    const uint8_t *biases;
    uint64_t scale_stride;
    uint64_t bias_stride;
};

/* What is prepared of the inputs of a matrix, beyond their values. */
enum activation_need {
    ACTIVATION_SUMS = 1,  /* sums of the groups of every size */
    ACTIVATION_BYTES = 2, /* 8-bit integers with a scale per KERNEL_QUANT_BLOCK */
};

/* Inputs of matrices, one row per token, each `stride` long: columns rounded up to KERNEL_BLOCK,
 * zeros beyond `columns`.  Everything but `values` is made by `prepare`. */
struct activations {
    size_t capacity; /* rows */
    size_t columns;
    size_t stride;
    float *values;     /* [row][stride] */
    float *sums[3];    /* groups of 32, 64, 128: [row][stride / 32] each */
    int8_t *bytes;     /* [row][stride], in order */
    int8_t *split;     /* the same; in blocks of 64 first the even elements, then the odd ones */
    float *scales;     /* [row][stride / 32] */
    float *byte_sums[3]; /* like sums, of what the bytes stand for */
};

/* Positions a page of keys may hold at most, and heads that attend together. */
#define KERNEL_PAGE_MAX 64u
#define KERNEL_ATTEND_MAX 16u

/* One query head of one token over the keys of its sequence. */
struct attention {
    const float *query;
    uint8_t *const *pages;  /* of the sequence; page p holds positions p * page_positions ... */
    size_t key_offset;      /* bytes from the start of a page to this layer's and head's keys */
    size_t value_offset;
    uint32_t page_positions;
    uint32_t first;         /* the first position to see: above 0 in a sliding window */
    uint32_t length;        /* the end of the positions to see: the token's position + 1 */
    uint32_t head_dim;      /* of a query and a key */
    uint32_t value_dim;     /* of values and of the result; 0: as head_dim */
    uint32_t value_stride;  /* from value to value, more where they are the front of keys; 0: as
                             * value_dim */
    enum kv_format format;  /* of keys and values */
    size_t key_scale_offset; /* int8: bytes to the scales of the keys, one f32 a position */
    size_t value_scale_offset;
    float scale;
    bool has_sink;          /* a score that takes weight and gives no value */
    float sink;
};

/* One position of one head of a DeltaNet: its matrix [key_dim][value_dim] decays, what it holds at
 * the key is moved towards the value by the share `write`, then it is read at the query. */
struct delta_step {
    const float *query; /* [key_dim] */
    const float *key;
    const float *value; /* [value_dim] */
    size_t key_dim;
    size_t value_dim;
    float decay;
    float write;
};

struct kernel_set {
    const char *name;
    /* Fills sums or bytes of row `row`. */
    void (*prepare)(struct activations *activations, size_t row, unsigned needs);
    /* out[token * out_stride + r] = row r of the matrix times token, for row_first <= r < row_end.
     * `scratch` holds kernel_scratch_floats(). */
    void (*matmul)(const struct matrix *matrix, const struct activations *inputs, size_t count,
                   size_t row_first, size_t row_end, float *out, size_t out_stride,
                   float *scratch);
    /* The same with 8-bit inputs; only where `has_bytes` says so. */
    void (*matmul_bytes)(const struct matrix *matrix, const struct activations *inputs,
                         size_t count, size_t row_first, size_t row_end, float *out,
                         size_t out_stride, float *scratch);
    bool (*has_bytes)(const struct matrix *matrix);
    /* out[i] = x[i] / sqrt(mean(x^2) + epsilon) * weight[i]; may be in place. */
    void (*rms_norm)(const float *x, const float *weight, float epsilon, size_t count, float *out);
    /* gate[i] = silu(gate[i]) * up[i] */
    void (*swiglu)(float *gate, const float *up, size_t count);
    /* Rotates pairs (i, i + half) of one head. */
    void (*rope)(float *head, const float *cosines, const float *sines, size_t half);
    /* One head.  `scores` holds KERNEL_ATTEND_MAX * KERNEL_PAGE_MAX floats; `out` value_dim. */
    void (*attend)(const struct attention *attention, float *scores, float *out);
    /* Up to KERNEL_ATTEND_MAX heads that share pages, offsets and shape, their keys read once; each
     * gets the same bits as alone.  Result i goes to outs[i]. */
    void (*attend_many)(const struct attention *attentions, size_t count, float *scores,
                        float *const *outs);
    /* Moves the matrix `state` on; out[value_dim] is what is read. */
    void (*delta_step)(const struct delta_step *step, float *state, float *out);
    /* Writes count values as the cache's bf16, at their bf16_place(); the same bits in every
     * set. */
    void (*to_bf16)(const float *x, size_t count, uint16_t *out);
    /* Writes count values as whole numbers in [-127, 127] of the scale it returns, a 127th of the
     * largest magnitude; the same bits in every set. */
    float (*to_bytes)(const float *x, size_t count, int8_t *out);
    /* Multiplies and adds bytes in registers, `rounds` times; returns how many products that were:
     * what the arithmetic of this CPU allows. */
    uint64_t (*spin)(uint64_t rounds);
};

/* Floats of scratch a matmul needs for matrices of up to this many columns. */
size_t kernel_scratch_floats(size_t columns_max);
/* One row of a matrix as floats. */
void kernel_dequantise_row(const struct matrix *matrix, uint64_t row, float *out);

const struct kernel_set *kernel_set_portable(void);
/* NULL when the CPU or the build lacks them. */
const struct kernel_set *kernel_set_avx2(void);
const struct kernel_set *kernel_set_avx512(void); /* with VNNI */
const struct kernel_set *kernel_set_neon(void);   /* with dot products */
/* The fastest set this CPU runs. */
const struct kernel_set *kernel_set_best(void);
/* By name; NULL when there is none or this CPU cannot run it. */
const struct kernel_set *kernel_set_find(const char *name);
/* By name, or refused in a sentence that names the sets there are.  A name that is NULL or empty
 * stands for the environment's TROUPE_KERNELS; without that, and for "best", it is the fastest. */
MUST_CHECK enum status kernel_set_choose(const char *name, const struct kernel_set **set_out,
                                         struct reason *reason);
/* Names of all sets, the fastest first; NULL after the last. */
const char *kernel_set_name(size_t index);

/* Rounds to nearest even. */
uint16_t kernel_to_bf16(float value);

#endif
