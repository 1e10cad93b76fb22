/* SPDX-License-Identifier: Apache-2.0 */
/*
 * made_shape: a made-up model of a family's shape in the stock MLX layout: its configuration, the
 * header of its safetensors file, and random weights that keep what goes through them in size.
 *
 * Memory   the caller's; a header is freed with memory_free.
 * Threads  any.
 * Fails    TOO_LARGE, NO_MEMORY; putting: false when the file does not take all.
 */
#ifndef TROUPE_ACTORS_RUNNER_ENGINE_MADE_SHAPE_H
#define TROUPE_ACTORS_RUNNER_ENGINE_MADE_SHAPE_H

#include "protocol/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum made_kind {
    MADE_QWEN3,
    MADE_LLAMA,
    MADE_MOE,   /* qwen3_moe */
    MADE_DELTA, /* qwen3_5 */
};

struct made_shape {
    const char *name;
    enum made_kind kind;
    uint32_t layers;
    uint32_t hidden;
    uint32_t heads;
    uint32_t kv_heads;
    uint32_t head_dim;
    uint32_t intermediate; /* of an expert, where there are some */
    uint32_t vocab;
    bool tied;
    uint32_t bits;  /* of a weight; 16: bf16 */
    uint32_t group; /* of packed ones */
};

void made_shape_put_config(const struct made_shape *shape, FILE *file);
/* The JSON without the number of its bytes before it; those of the weights, which follow it. */
MUST_CHECK enum status made_shape_header(const struct made_shape *shape, char **header_out,
                                         size_t *size_out, uint64_t *weights_size_out,
                                         struct reason *reason);
/* The weights alone, in the header's order. */
MUST_CHECK bool made_shape_put_weights(const struct made_shape *shape, FILE *file);

#endif
