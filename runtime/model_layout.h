/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_layout: which tensors a model of this configuration consists of, in the order they are
 * loaded, with their shapes, their quantisation and the way each may be cut.
 *
 * A family's names and shapes are rows in actors/runner/engine/families/NAME.c.
 * A rank that has only config.json and a table it received checks the table by this same code.
 *
 * Memory   one heap object; the table must outlive it.
 * Threads  none; read-only after it was made.
 * Fails    NOT_FOUND (a tensor), MALFORMED (shape, type, disagreement), UNSUPPORTED.
 */
#ifndef TROUPE_RUNTIME_MODEL_LAYOUT_H
#define TROUPE_RUNTIME_MODEL_LAYOUT_H

#include "runtime/model_config.h"
#include "runtime/partition.h"
#include "runtime/safetensors.h"

/* How a tensor cut shares a module among ranks. */
enum module_cut {
    MODULE_CUT_NONE = 0,       /* every rank of the layer holds it whole */
    MODULE_CUT_VOCAB_ROWS = 1,
    MODULE_CUT_MIXER_ROWS = 2, /* rows, or the elements of a vector, of the rank's mixer units */
    MODULE_CUT_MIXER_COLUMNS = 3,
    MODULE_CUT_FFN_ROWS = 4,
    MODULE_CUT_FFN_COLUMNS = 5,
    MODULE_CUT_KV_ROWS = 6, /* rows of the key-value heads that the rank's query heads read, or of
                             * the key heads of its value heads */
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
    MODULE_ATTENTION_GATE = 10, /* one number per head */
    MODULE_SINKS = 11,
    MODULE_QUERY_DOWN = 12, /* latent attention: hidden state to the rank of queries */
    MODULE_QUERY_DOWN_NORM = 13,
    MODULE_LATENT = 14, /* hidden state to latent and rotated key */
    MODULE_LATENT_NORM = 15,
    MODULE_LATENT_EMBED = 16,   /* per head: the plain part of a query to the latent */
    MODULE_LATENT_UNEMBED = 17, /* per head: latent to value */
    MODULE_LATENT_BOTH = 18,    /* per head: latent to plain key, then to value (older files) */
    MODULE_OWN_MIXER = 32, /* from here on, roles that only one family has */
    MODULE_FFN_NORM = 64,
    MODULE_FFN_GATE = 65,
    MODULE_FFN_UP = 66,
    MODULE_FFN_DOWN = 67,
    MODULE_ROUTER = 68,
    MODULE_ROUTER_BIAS = 69, /* added to the scores for the choice only */
    MODULE_EXPERT_GATE = 70,
    MODULE_EXPERT_UP = 71,
    MODULE_EXPERT_DOWN = 72,
    MODULE_SHARED_GATE = 73, /* the FFN of the shared expert */
    MODULE_SHARED_UP = 74,
    MODULE_SHARED_DOWN = 75,
    MODULE_SHARED_SCALE = 76, /* one row: how much of it */
    MODULE_OWN_FFN = 96,
};
#define MODULE_PATH_SIZE_MAX 96u
#define MODULE_NO_LAYER UINT32_MAX

struct model_module {
    uint32_t role;
    enum module_cut cut;
    uint32_t layer; /* MODULE_NO_LAYER for the embedding, the final norm and the head */
    uint32_t expert;
    uint32_t class;   /* of the cut, among the layout's units; 0 where there is none */
    uint32_t ordinal; /* of its layer among those of the class */
    bool adds_one;  /* the file stores its values less 1 */
    uint64_t rows;
    uint64_t columns; /* 1 row for a vector */
    uint64_t row_first; /* of the tensor's rows: experts lie in one stack */
    uint32_t lanes; /* modules whose rows take turns in the tensor: one row of each lies together */
    uint32_t lane;  /* this one's turn, below `lanes` */
    struct quantisation quantisation;
    const struct tensor *weight;
    const struct tensor *scales; /* NULL when dense */
    const struct tensor *biases; /* NULL when dense or not affine */
    const struct tensor *bias;   /* of the outputs; NULL for none */
    char path[MODULE_PATH_SIZE_MAX];
};

struct model_layout {
    struct model_module *modules; /* those without a layer first, then layer by layer */
    size_t module_count;
    size_t *layer_first; /* [layers + 1]: index of each layer's first module, and the count */
    uint32_t layer_count;
    struct partition_units units; /* what a table of a tensor cut counts in */
};

/* Rows and columns of a module. */
struct module_range {
    uint64_t row_first;
    uint64_t row_end;
    uint64_t column_first;
    uint64_t column_end;
};

/* The model types that are supported, for messages: "qwen3, llama"; into a buffer of at least
 * MODEL_TYPES_TEXT_SIZE bytes. */
#define MODEL_TYPES_TEXT_SIZE 512u
const char *model_types_text(char *text_out);

MUST_CHECK enum status model_layout_make(const struct model_config *config,
                                         const struct tensor_table *table,
                                         struct model_layout **layout_out, struct reason *reason);
/* Accepts NULL. */
void model_layout_free(struct model_layout *layout);
/* NULL when the model has none (the head of a tied model). */
const struct model_module *model_layout_find(const struct model_layout *layout,
                                             uint32_t role, uint32_t layer);
/* The embedding is the head. */
bool model_layout_is_tied(const struct model_layout *layout);
/* What a rank with this table holds of the module; may come out empty. */
struct module_range model_module_range(const struct model_layout *layout,
                                       const struct model_module *module,
                                       const struct partition *partition);
/* The class of a module that is cut by units; NULL for others. */
const struct partition_class *model_module_class(const struct model_layout *layout,
                                                 const struct model_module *module);
/* Bytes of weight, scales and biases. */
uint64_t model_module_bytes(const struct model_module *module);

#endif
