/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_config: what config.json says, checked and bounded.
 *
 * Owner    whoever reads a model directory.
 * Memory   one heap object with its overrides.
 * Threads  none; read-only after it was made.
 * Fails    UNSUPPORTED (model type, quantisation, custom code) by name, MALFORMED, TOO_LARGE.
 */
#ifndef TROUPE_RUNTIME_MODEL_CONFIG_H
#define TROUPE_RUNTIME_MODEL_CONFIG_H

#include "protocol/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_CONFIG_SIZE_MAX ((size_t)16 << 20)
#define MODEL_TYPE_SIZE_MAX 64u
/* Far above any model of today; products of two fit 64 bits with room. */
#define MODEL_LAYERS_MAX 1024u
#define MODEL_WIDTH_MAX (1u << 20)
#define MODEL_HEADS_MAX 4096u
#define MODEL_HEAD_DIM_MAX 1024u
#define MODEL_VOCAB_MAX (1u << 22)
#define MODEL_CONTEXT_MAX (1u << 24)

enum weight_format {
    WEIGHT_BF16 = 1,
    WEIGHT_F16 = 2,
    WEIGHT_F32 = 3,
    WEIGHT_AFFINE = 4,
    WEIGHT_MXFP4 = 5,
    WEIGHT_MXFP8 = 6,
    WEIGHT_NVFP4 = 7,
};

struct quantisation {
    enum weight_format format;
    uint32_t bits;  /* of a stored element */
    uint32_t group; /* elements per scale; 0 when dense */
};

enum override_kind { OVERRIDE_DENSE, OVERRIDE_DEFAULT, OVERRIDE_GIVEN };

/* One entry of config.json's `quantization` that is a module path. */
struct quantisation_override {
    char *path;
    enum override_kind kind;
    struct quantisation quantisation; /* OVERRIDE_GIVEN */
};

struct model_config {
    char model_type[MODEL_TYPE_SIZE_MAX];
    uint32_t layers;
    uint32_t hidden;
    uint32_t heads;
    uint32_t kv_heads;
    uint32_t head_dim;
    uint32_t intermediate;
    uint32_t vocab;
    uint32_t context; /* max_position_embeddings */
    bool tied;
    float norm_epsilon;
    double rope_theta;
    double rope_factor; /* linear scaling; 1 without */
    bool is_quantised;  /* a `quantization` object is there */
    struct quantisation default_quantisation;
    struct quantisation_override *overrides;
    size_t override_count;
};

/* "affine 4 bits, groups of 64", "bf16"; into a buffer of at least 64 bytes. */
const char *quantisation_text(const struct quantisation *quantisation, char *text_out);

MUST_CHECK enum status model_config_parse(const char *text, size_t size, const char *label,
                                          struct model_config **config_out,
                                          struct reason *reason);
MUST_CHECK enum status model_config_read(const char *directory, struct model_config **config_out,
                                         struct reason *reason);
/* Accepts NULL. */
void model_config_free(struct model_config *config);
/* NULL when the path has no entry of its own. */
const struct quantisation_override *model_config_override(const struct model_config *config,
                                                          const char *path);

#endif
