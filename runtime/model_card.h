/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_card: what others need to know of a model directory without the engine: its shape, the
 * bytes of its parts, the units in which it may be cut, its files.
 *
 * Owner    the downloader (at import) and the placement.
 * Memory   one heap object.
 * Threads  none.
 * Fails    one sentence that names the file, tensor or key and what to do.
 */
#ifndef TROUPE_RUNTIME_MODEL_CARD_H
#define TROUPE_RUNTIME_MODEL_CARD_H

#include "runtime/kv_shape.h"
#include "runtime/model_config.h"
#include "runtime/partition.h"

struct model_card_file {
    char *name;
    uint64_t size;
    bool is_weight;
};

/* What a placement counts of one layer. */
struct model_card_layer {
    struct partition_class mixer;  /* pieces a tensor cut may share each part in; without */
    struct partition_class ffn;    /* units: the layer has none */
    struct partition_class shared;
    struct kv_layer cache; /* of a piece or key-value head, or all of it where it is shared */
    uint32_t key_floats;   /* DeltaNet: of a key head, beside the pieces' */
    bool is_shared;        /* each rank keeps the whole cache: latent rows */
    uint64_t mixer_bytes;  /* weights cut by units of the mixer */
    uint64_t kv_bytes;     /* weights cut by key-value heads */
    uint64_t ffn_bytes;    /* weights cut by columns of the FFN or of experts */
    uint64_t shared_bytes; /* weights cut by columns of the shared expert */
    uint64_t whole_bytes;  /* weights every rank of a tensor cut keeps */
    uint32_t experts;      /* that share ffn_bytes; 0: none */
    uint32_t experts_used; /* of them, for a token */
};

struct model_card {
    char model_type[MODEL_TYPE_SIZE_MAX];
    uint32_t layers;
    uint32_t hidden;
    uint32_t heads;
    uint32_t kv_heads;
    uint32_t head_dim;
    uint32_t intermediate;
    uint32_t vocab;
    uint32_t context;
    bool tied;
    struct quantisation quantisation; /* of the first layer's first quantised matrix */
    bool is_mixed;                    /* some matrix is stored otherwise */

    uint64_t weight_bytes;    /* of the tensors the engine uses */
    uint64_t products;        /* multiplications in all layers for a token */
    uint64_t embedding_bytes;
    uint64_t head_bytes;      /* 0 when tied */
    uint64_t other_bytes;     /* the final norm */
    uint64_t *attention_bytes; /* per layer, norms included */
    uint64_t *ffn_bytes;       /* per layer */

    struct model_card_layer *costs; /* per layer */
    uint64_t cache_elements; /* of one position in all layers that keep every position */

    uint32_t middle_most; /* columns of an FFN or expert, the most of any layer */
    struct partition_units units; /* of a tensor cut */

    struct model_card_file *files; /* regular files of the directory, sorted by name */
    size_t file_count;
};

/* Without a tokenizer a directory cannot chat; fixtures for the engine alone have none. */
enum model_card_need { MODEL_CARD_WITH_TOKENIZER, MODEL_CARD_WEIGHTS_ONLY };

MUST_CHECK enum status model_card_read(const char *directory, enum model_card_need need,
                                       struct model_card **card_out, struct reason *reason);
/* Accepts NULL. */
void model_card_free(struct model_card *card);
/* Bytes of one position in the KV cache, windows and states aside. */
uint64_t model_card_kv_bytes(const struct model_card *card, uint32_t element_size);

#endif
