/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/model_card.h"

#include "protocol/memory.h"
#include "runtime/model_layout.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FILES_MAX 8192u

static void add_cost(struct model_card_layer *cost, const struct model_module *module,
                     const struct partition_class *class, uint64_t bytes)
{
    switch (class ? class->kind : PARTITION_NONE) {
    case PARTITION_ATTENTION:
    case PARTITION_LATENT:
    case PARTITION_DELTA:
        cost->mixer = *class;
        *(module->cut == MODULE_CUT_KV_ROWS ? &cost->kv_bytes : &cost->mixer_bytes) += bytes;
        break;
    case PARTITION_FFN:
    case PARTITION_EXPERTS:
        cost->ffn = *class;
        cost->ffn_bytes += bytes;
        break;
    case PARTITION_SHARED:
        cost->shared = *class;
        cost->shared_bytes += bytes;
        break;
    case PARTITION_NONE:
        cost->whole_bytes += bytes;
        break;
    }
}

/* Of a piece and of a key head, or all in one piece where heads are not counted. */
static void fill_states(const struct model_delta *delta, struct model_card_layer *cost)
{
    const uint64_t key = model_delta_key_floats(delta);
    const uint64_t value = model_delta_value_floats(delta);
    cost->key_floats = cost->mixer.per_kv ? (uint32_t)key : 0;
    cost->cache.state_floats =
        (uint32_t)(cost->mixer.per_kv ? cost->mixer.unit_heads * value
                                      : delta->key_heads * key + delta->value_heads * value);
}

/* What the engine's blocks keep of a sequence in this layer; they bind their parts alike. */
static void fill_cache(const struct model_config *config, const struct layer_shape *shape,
                       struct model_card_layer *cost)
{
    switch (shape->mixer) {
    case MIXER_ATTENTION:
        /* Of one key-value head, or of all where they are not counted. */
        cost->cache = (struct kv_layer){.heads = cost->mixer.per_kv ? 1 : shape->kv_heads,
                                        .key_dim = shape->head_dim,
                                        .value_dim = shape->head_dim,
                                        .window = shape->window};
        break;
    case MIXER_LATENT:
        cost->is_shared = true;
        cost->cache = (struct kv_layer){.heads = 1,
                                        .key_dim = config->latent.rank + config->latent.rope_dim};
        break;
    case MIXER_DELTA:
        fill_states(&config->delta, cost);
        break;
    }
}

/* Of experts only some work on a token. */
static void add_products(const struct model_config *config, const struct model_module *module,
                         struct model_card *card)
{
    uint64_t products = module->rows * module->columns;
    if (module->layer == MODULE_NO_LAYER)
        return;
    if (module->role >= MODULE_EXPERT_GATE && module->role <= MODULE_EXPERT_DOWN) {
        card->costs[module->layer].experts = (uint32_t)config->experts.count;
        card->costs[module->layer].experts_used = (uint32_t)config->experts.used;
        products = products * config->experts.used / config->experts.count;
    }
    card->products += products;
}

static void add_module(struct model_card *card, const struct model_layout *layout,
                       const struct model_module *module)
{
    uint64_t bytes = model_module_bytes(module);
    card->weight_bytes += bytes;
    if (module->role == MODULE_EMBEDDING)
        card->embedding_bytes += bytes;
    else if (module->role == MODULE_HEAD)
        card->head_bytes += bytes;
    else if (module->layer == MODULE_NO_LAYER)
        card->other_bytes += bytes;
    else
        add_cost(&card->costs[module->layer], module, model_module_class(layout, module), bytes);
    if (module->layer == MODULE_NO_LAYER)
        return;
    if (module->role >= MODULE_FFN_NORM)
        card->ffn_bytes[module->layer] += bytes;
    else
        card->attention_bytes[module->layer] += bytes;
}

static uint64_t cache_elements(const struct model_config *config)
{
    uint64_t elements = 0;
    for (uint32_t i = 0; i < config->layers; i++) {
        const struct layer_shape *shape = &config->shapes[i];
        if (shape->mixer == MIXER_LATENT)
            elements += (uint64_t)config->latent.rank + config->latent.rope_dim;
        else if (shape->mixer == MIXER_ATTENTION && shape->window == 0)
            elements += (uint64_t)2 * shape->kv_heads * shape->head_dim;
    }
    return elements;
}

/* The first quantised matrix of the first layer, or its first dense one. */
static const struct model_module *first_matrix(const struct model_layout *layout)
{
    const struct model_module *found = &layout->modules[layout->layer_first[0]];
    for (size_t i = layout->layer_first[0]; i < layout->layer_first[1]; i++) {
        const struct model_module *module = &layout->modules[i];
        if (module->rows > 1 && (found->rows == 1 || (module->scales && !found->scales)))
            found = module;
    }
    return found;
}

static enum status describe(const struct model_config *config, const struct model_layout *layout,
                            struct model_card *card, struct reason *reason)
{
    memcpy(card->model_type, config->model_type, sizeof card->model_type);
    card->layers = config->layers;
    card->hidden = config->hidden;
    card->heads = config->heads;
    card->kv_heads = config->kv_heads;
    card->head_dim = config->head_dim;
    card->intermediate = config->intermediate;
    card->vocab = config->vocab;
    card->context = config->context;
    card->tied = model_layout_is_tied(layout);
    card->cache_elements = cache_elements(config);
    card->units = layout->units;
    card->middle_most = config->intermediate > config->experts.width ? config->intermediate
                                                                     : config->experts.width;
    card->quantisation = first_matrix(layout)->quantisation;
    card->attention_bytes = memory_zeroed(config->layers, sizeof *card->attention_bytes);
    card->ffn_bytes = memory_zeroed(config->layers, sizeof *card->ffn_bytes);
    card->costs = memory_zeroed(config->layers, sizeof *card->costs);
    if (!card->attention_bytes || !card->ffn_bytes || !card->costs)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for %u layers", config->layers);
    for (size_t i = 0; i < layout->module_count; i++) {
        const struct model_module *module = &layout->modules[i];
        add_module(card, layout, module);
        add_products(config, module, card);
        /* Norms are dense in every model. */
        if (module->rows > 1 && (module->quantisation.format != card->quantisation.format ||
                                 module->quantisation.bits != card->quantisation.bits ||
                                 module->quantisation.group != card->quantisation.group))
            card->is_mixed = true;
    }
    for (uint32_t i = 0; i < config->layers; i++)
        fill_cache(config, &config->shapes[i], &card->costs[i]);
    return STATUS_OK;
}

static int compare_files(const void *left, const void *right)
{
    const struct model_card_file *a = left;
    const struct model_card_file *b = right;
    return strcmp(a->name, b->name);
}

static enum status add_file(struct model_card *card, const char *name, uint64_t size,
                            const struct tensor_table *table, struct reason *reason)
{
    if (card->file_count == FILES_MAX)
        return refuse(reason, STATUS_TOO_LARGE, "more than %u files in the model", FILES_MAX);
    struct model_card_file *grown =
        memory_resized(card->files, card->file_count + 1, sizeof *grown);
    if (!grown)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for the list of files");
    card->files = grown;
    struct model_card_file *file = &card->files[card->file_count];
    *file = (struct model_card_file){memory_text(name, strlen(name)), size, false};
    if (!file->name)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for the list of files");
    card->file_count++;
    for (size_t i = 0; i < table->file_count; i++)
        file->is_weight = file->is_weight || strcmp(table->files[i].name, name) == 0;
    return STATUS_OK;
}

static enum status list_files(const char *path, const struct tensor_table *table,
                              struct model_card *card, struct reason *reason)
{
    DIR *directory = opendir(path);
    if (!directory)
        return refuse(reason, status_from_errno(errno), "%s: %s", path, strerror(errno));
    enum status status = STATUS_OK;
    const struct dirent *entry;
    while (status == STATUS_OK && (entry = readdir(directory))) {
        struct stat facts;
        if (entry->d_name[0] != '.' && fstatat(dirfd(directory), entry->d_name, &facts, 0) == 0 &&
            S_ISREG(facts.st_mode))
            status = add_file(card, entry->d_name, (uint64_t)facts.st_size, table, reason);
    }
    closedir(directory);
    if (card->file_count > 0)
        qsort(card->files, card->file_count, sizeof *card->files, compare_files);
    return status;
}

static bool has_file(const struct model_card *card, const char *name)
{
    for (size_t i = 0; i < card->file_count; i++) {
        if (strcmp(card->files[i].name, name) == 0)
            return true;
    }
    return false;
}

/* A tokenizer that is a program of the repository (tokenization_NAME.py), or NULL. */
static const char *tokenizer_code(const struct model_card *card)
{
    for (size_t i = 0; i < card->file_count; i++) {
        const char *name = card->files[i].name;
        const char *end = strrchr(name, '.');
        if (end && strcmp(end, ".py") == 0 && strncmp(name, "tokeniz", 7) == 0)
            return name;
    }
    return NULL;
}

static enum status check_tokenizer(const char *directory, const struct model_card *card,
                                   struct reason *reason)
{
    if (has_file(card, "tokenizer.json") ||
        (has_file(card, "vocab.json") && has_file(card, "merges.txt")))
        return STATUS_OK;
    const char *code = tokenizer_code(card);
    if (code)
        return refuse(reason, STATUS_UNSUPPORTED, "%s has no tokenizer.json, and code like its "
                      "%.100s is never run; copy a tokenizer.json of the model into it",
                      directory, code);
    return refuse(reason, STATUS_NOT_FOUND, "%s has no tokenizer.json (nor vocab.json with "
                  "merges.txt); copy the tokenizer files of the model into it", directory);
}

enum status model_card_read(const char *directory, enum model_card_need need,
                            struct model_card **card_out, struct reason *reason)
{
    struct model_config *config = NULL;
    struct tensor_table *table = NULL;
    struct model_layout *layout = NULL;
    struct model_card *card = memory_zeroed(1, sizeof *card);
    enum status status = card ? model_config_read(directory, &config, reason)
                              : refuse(reason, STATUS_NO_MEMORY, "no memory for a model card");
    if (status == STATUS_OK)
        status = safetensors_open(directory, &table, reason);
    if (status == STATUS_OK)
        status = model_layout_make(config, table, &layout, reason);
    if (status == STATUS_OK)
        status = describe(config, layout, card, reason);
    if (status == STATUS_OK)
        status = list_files(directory, table, card, reason);
    if (status == STATUS_OK && need == MODEL_CARD_WITH_TOKENIZER)
        status = check_tokenizer(directory, card, reason);
    model_layout_free(layout);
    tensor_table_free(table);
    model_config_free(config);
    if (status != STATUS_OK) {
        model_card_free(card);
        return status;
    }
    *card_out = card;
    return STATUS_OK;
}

void model_card_free(struct model_card *card)
{
    if (!card)
        return;
    for (size_t i = 0; i < card->file_count; i++)
        memory_free(card->files[i].name);
    memory_free(card->files);
    memory_free(card->attention_bytes);
    memory_free(card->ffn_bytes);
    memory_free(card->costs);
    memory_free(card);
}

uint64_t model_card_kv_bytes(const struct model_card *card, uint32_t element_size)
{
    return card->cache_elements * element_size;
}
