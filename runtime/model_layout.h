/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_layout: which tensors a model of this configuration consists of, in the order they are
 * loaded, with their shapes, their quantisation and the way each may be cut.
 *
 * A family's names and shapes are rows here; its forward pass is in actors/runner/engine/families.
 * A rank that has only config.json and a table it received checks the table by this same code.
 *
 * Memory   one heap object; the table must outlive it.
 * Threads  none; read-only after it was made.
 * Fails    NOT_FOUND (a tensor), MALFORMED (shape, type, disagreement), UNSUPPORTED.
 */
#ifndef TROUPE_RUNTIME_MODEL_LAYOUT_H
#define TROUPE_RUNTIME_MODEL_LAYOUT_H

#include "runtime/model_config.h"
#include "runtime/safetensors.h"

/* The unit in which ranks may share a module. */
enum module_cut {
    MODULE_CUT_NONE = 0,        /* every rank of the layer holds it whole */
    MODULE_CUT_VOCAB_ROWS = 1,
    MODULE_CUT_QUERY_ROWS = 2,  /* query heads of the rank's kv groups */
    MODULE_CUT_KV_ROWS = 3,
    MODULE_CUT_FFN_ROWS = 4,
    MODULE_CUT_QUERY_COLUMNS = 5,
    MODULE_CUT_FFN_COLUMNS = 6,
};

enum module_role {
    MODULE_EMBEDDING = 0,
    MODULE_FINAL_NORM = 1,
    MODULE_HEAD = 2,
    MODULE_ATTENTION_NORM = 3,
    MODULE_QUERY = 4,
    MODULE_KEY = 5,
    MODULE_VALUE = 6,
    MODULE_QUERY_NORM = 7,
    MODULE_KEY_NORM = 8,
    MODULE_ATTENTION_OUT = 9,
    MODULE_FFN_NORM = 10,
    MODULE_FFN_GATE = 11,
    MODULE_FFN_UP = 12,
    MODULE_FFN_DOWN = 13,
};
#define MODULE_ROLE_COUNT 14u
#define MODULE_PATH_SIZE_MAX 96u
#define MODULE_NO_LAYER UINT32_MAX

struct model_module {
    enum module_role role;
    enum module_cut cut;
    uint32_t layer; /* MODULE_NO_LAYER for the embedding, the final norm and the head */
    uint64_t rows;
    uint64_t columns; /* 1 row for a norm */
    struct quantisation quantisation;
    const struct tensor *weight;
    const struct tensor *scales; /* NULL when dense */
    const struct tensor *biases; /* NULL when dense or not affine */
    char path[MODULE_PATH_SIZE_MAX];
};

struct model_layout {
    struct model_module *modules; /* those without a layer first, then layer by layer */
    size_t module_count;
    size_t first_layer_module;    /* index of the first module with a layer */
    size_t modules_per_layer;
    uint32_t ffn_unit; /* columns: the largest group of any down projection, 1 when dense */
    uint32_t kv_unit;  /* kv heads: the fewest whose query columns are whole groups of every
                        * attention output; 1 in stock models */
};

/* The model types that have a layout, for messages: "qwen3". */
const char *model_layout_types(void);
bool model_layout_has_type(const char *model_type);

MUST_CHECK enum status model_layout_make(const struct model_config *config,
                                         const struct tensor_table *table,
                                         struct model_layout **layout_out, struct reason *reason);
/* Accepts NULL. */
void model_layout_free(struct model_layout *layout);
/* NULL when the model has none (the head of a tied model). */
const struct model_module *model_layout_find(const struct model_layout *layout,
                                             enum module_role role, uint32_t layer);
/* Bytes of weight, scales and biases. */
uint64_t model_module_bytes(const struct model_module *module);

#endif
