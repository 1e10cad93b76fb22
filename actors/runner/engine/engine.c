/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/engine.h"

#include "actors/runner/collective_order.h"
#include "actors/runner/engine/engine_parts.h"

#include <string.h>

static enum status check_row(struct engine *engine, const struct engine_batch *batch, size_t i,
                             struct reason *reason)
{
    const struct engine_row *row = &batch->rows[i];
    if (row->sequence >= engine->options.sequences ||
        !kv_sequence_is_open(engine->cache, row->sequence))
        return refuse(reason, STATUS_INVALID, "sequence %u is not open", row->sequence);
    if (!batch->hidden_in && row->token >= engine->config->vocab)
        return refuse(reason, STATUS_INVALID, "token id %u is out of range: the vocabulary has %u "
                      "rows", row->token, engine->config->vocab);
    if (row->position >= engine->config->context || row->position >= engine->options.context)
        return refuse(reason, STATUS_CONTEXT_LENGTH, "position %u is beyond the context of %llu",
                      row->position, (unsigned long long)engine_context(engine));
    if (row->position != engine->next[row->sequence])
        return refuse(reason, STATUS_INVALID, "sequence %u continues at position %u, not %u",
                      row->sequence, engine->next[row->sequence], row->position);
    engine->next[row->sequence]++;
    return STATUS_OK;
}

/* Checks every row and takes the pages, or takes nothing. */
static enum status admit(struct engine *engine, const struct engine_batch *batch,
                         struct reason *reason)
{
    enum status status = STATUS_OK;
    if (!batch->hidden_in && !engine->partition.has_embedding)
        return refuse(reason, STATUS_INVALID, "rank %u has no embedding: it needs hidden states",
                      engine->partition.rank);
    for (size_t i = 0; i < batch->count; i++) {
        uint32_t sequence = batch->rows[i].sequence;
        if (sequence < engine->options.sequences &&
            kv_sequence_is_open(engine->cache, sequence))
            engine->next[sequence] = kv_sequence_length(engine->cache, sequence);
    }
    for (size_t i = 0; status == STATUS_OK && i < batch->count; i++)
        status = check_row(engine, batch, i, reason);
    if (status != STATUS_OK)
        return status;
    for (size_t i = 0; status == STATUS_OK && i < batch->count; i++)
        status = kv_sequence_reserve(engine->cache, batch->rows[i].sequence,
                                     batch->rows[i].position + 1, reason);
    for (size_t i = 0; status != STATUS_OK && i < batch->count; i++)
        (void)kv_sequence_truncate(engine->cache, batch->rows[i].sequence,
                                   kv_sequence_length(engine->cache, batch->rows[i].sequence));
    return status;
}

static enum status embed(struct engine *engine, const struct engine_row *rows, size_t count)
{
    size_t hidden = engine->config->hidden;
    const struct partition *p = &engine->partition;
    float scale = engine->family->embedding_scale
                      ? engine->family->embedding_scale(engine->config)
                      : 1.0f;
    for (size_t i = 0; i < count; i++) {
        float *out = engine->hidden + i * hidden;
        if (rows[i].token >= p->vocab_first && rows[i].token < p->vocab_end)
            kernel_dequantise_row(&engine->embedding, rows[i].token - p->vocab_first, out);
        else
            memset(out, 0, hidden * sizeof *out);
        for (size_t k = 0; engine->family->embedding_scale && k < hidden; k++)
            out[k] *= scale;
    }
    if (!engine_is_tensor_cut(engine))
        return STATUS_OK;
    struct collective *collective = engine->options.collective;
    return collective->ops->sum(collective, engine->hidden, count * hidden);
}

/* How many vocabulary rows each rank has, asked once: every rank gets here in the same call. */
static enum status learn_counts(struct engine *engine)
{
    struct collective *collective = engine->options.collective;
    float rows[PARTITION_RANKS_MAX] = {0};
    uint32_t ranks = collective->size;
    if (engine->knows_counts)
        return STATUS_OK;
    /* Exact: a vocabulary has fewer than 2^24 rows. */
    rows[collective->rank] = (float)engine->vocab;
    enum status status = collective->ops->sum(collective, rows, ranks);
    for (uint32_t i = 0; status == STATUS_OK && i < ranks; i++)
        engine->vocab_counts[i] = (size_t)rows[i];
    engine->knows_counts = status == STATUS_OK;
    return status;
}

/* This rank's logits of up to ENGINE_LOGIT_ROWS hidden states. */
static void own_rows(struct engine *engine, const float *hidden, size_t count, float *own_out)
{
    struct linear head = {.matrix = engine->head};
    struct product product = {&head, own_out, engine->vocab};
    block_norm(engine, hidden, engine->final_norm, &engine->input, count,
               block_needs(engine, &product, 1));
    block_multiply(engine, &product, 1, &engine->input, count);
}

static enum status gather(struct engine *engine, const float *own, float *all_out)
{
    struct collective *collective = engine->options.collective;
    enum status status = learn_counts(engine);
    if (status != STATUS_OK)
        return status;
    return collective->ops->gather(collective, own, engine->vocab_counts, all_out, 0);
}

/* All logits of up to ENGINE_LOGIT_ROWS hidden states. */
static enum status head_rows(struct engine *engine, const float *hidden, size_t count,
                             float *logits_out)
{
    const bool is_cut = engine_is_tensor_cut(engine);
    enum status status = STATUS_OK;
    own_rows(engine, hidden, count, is_cut ? engine->logits : logits_out);
    if (is_cut)
        engine_turn(engine, PROFILE_COLLECTIVE);
    for (size_t i = 0; is_cut && status == STATUS_OK && i < count; i++)
        status = gather(engine, engine->logits + i * engine->vocab,
                        logits_out ? logits_out + i * engine->config->vocab : NULL);
    return status;
}

enum status engine_gather(struct engine *engine, const float *own, float *all_out,
                          struct reason *reason)
{
    const enum status status = gather(engine, own, all_out);
    return status == STATUS_OK
               ? STATUS_OK
               : collective_refuse(engine->options.collective, status, reason,
                                   "another rank was lost while logits were gathered");
}

static void own_logits(struct engine *engine, const float *hidden, size_t count, float *own_out)
{
    for (size_t i = 0; i < count; i += ENGINE_LOGIT_ROWS) {
        const size_t rows = count - i < ENGINE_LOGIT_ROWS ? count - i : ENGINE_LOGIT_ROWS;
        own_rows(engine, hidden + i * engine->config->hidden, rows, own_out + i * engine->vocab);
    }
}

static enum status all_logits(struct engine *engine, const float *hidden, size_t count,
                              float *logits_out, struct reason *reason)
{
    for (size_t i = 0; i < count; i += ENGINE_LOGIT_ROWS) {
        size_t rows = count - i < ENGINE_LOGIT_ROWS ? count - i : ENGINE_LOGIT_ROWS;
        enum status status =
            head_rows(engine, hidden + i * engine->config->hidden, rows,
                      logits_out ? logits_out + i * engine->config->vocab : NULL);
        if (status != STATUS_OK)
            return collective_refuse(engine->options.collective, status, reason,
                                     "another rank was lost while logits were gathered");
    }
    return STATUS_OK;
}

/* Moves the hidden states that want logits to the front; returns how many. */
static size_t keep_wanted(struct engine *engine, const struct engine_row *rows, size_t count)
{
    size_t hidden = engine->config->hidden;
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (!rows[i].wants_logits)
            continue;
        if (kept != i)
            memcpy(engine->hidden + kept * hidden, engine->hidden + i * hidden,
                   hidden * sizeof(float));
        kept++;
    }
    return kept;
}

/* Up to ENGINE_ROWS rows through the layers of this rank. */
static enum status pass(struct engine *engine, const struct engine_row *rows, size_t count,
                        const float *hidden_in)
{
    size_t floats = count * engine->config->hidden;
    enum status status = STATUS_OK;
    engine_turn(engine, PROFILE_EMBED);
    if (hidden_in)
        memcpy(engine->hidden, hidden_in, floats * sizeof(float));
    else
        status = embed(engine, rows, count);
    ropes_turn(engine, rows, count);
    for (uint32_t i = 0; status == STATUS_OK && i < engine->layer_count; i++) {
        status = engine->family->forward(engine, i, rows, count);
        if (status == STATUS_OK && engine->options.observe)
            engine->options.observe(engine->options.observer, engine->partition.layer_first + i,
                                    engine->hidden, count);
    }
    for (size_t i = 0; status == STATUS_OK && i < count; i++)
        kv_sequence_extend(engine->cache, rows[i].sequence, rows[i].position + 1);
    return status;
}

enum status engine_admit(struct engine *engine, const struct engine_batch *batch,
                         struct reason *reason)
{
    return admit(engine, batch, reason);
}

/* Logits go to one of the two, if to any. */
static enum status forward(struct engine *engine, const struct engine_batch *batch, float *own,
                           struct reason *reason)
{
    size_t hidden = engine->config->hidden;
    /* In a cut whoever gets none computes its part of them all the same. */
    const bool has_logits = engine->partition.has_head &&
                            (batch->logits_out || own || engine_is_tensor_cut(engine));
    float *logits = batch->logits_out;
    if ((batch->logits_out || own) && !has_logits)
        return refuse(reason, STATUS_INVALID, "rank %u has no head", engine->partition.rank);
    engine_turn(engine, PROFILE_COPY);
    enum status status = admit(engine, batch, reason);
    for (size_t i = 0; status == STATUS_OK && i < batch->count; i += ENGINE_ROWS) {
        size_t count = batch->count - i < ENGINE_ROWS ? batch->count - i : ENGINE_ROWS;
        const struct engine_row *rows = batch->rows + i;
        status = pass(engine, rows, count, batch->hidden_in ? batch->hidden_in + i * hidden : NULL);
        if (status != STATUS_OK)
            return collective_refuse(engine->options.collective, status, reason,
                                     "another rank was lost in the middle of a step");
        if (batch->hidden_out)
            memcpy(batch->hidden_out + i * hidden, engine->hidden,
                   count * hidden * sizeof(float));
        if (!has_logits)
            continue;
        size_t wanted = keep_wanted(engine, rows, count);
        if (own) {
            own_logits(engine, engine->hidden, wanted, own);
            own += wanted * engine->vocab;
            continue;
        }
        status = all_logits(engine, engine->hidden, wanted, logits, reason);
        logits = logits ? logits + wanted * engine->config->vocab : NULL;
    }
    engine_turn(engine, PROFILE_OUTSIDE);
    return status;
}

enum status engine_forward(struct engine *engine, const struct engine_batch *batch,
                           struct reason *reason)
{
    return forward(engine, batch, NULL, reason);
}

enum status engine_forward_own(struct engine *engine, const struct engine_batch *batch,
                               float *own_out, struct reason *reason)
{
    return forward(engine, batch, own_out, reason);
}

/* --- sequences and facts --- */

enum status engine_sequence_open(struct engine *engine, uint32_t *sequence_out,
                                 struct reason *reason)
{
    return kv_sequence_open(engine->cache, sequence_out, reason);
}

bool engine_sequence_is_open(const struct engine *engine, uint32_t sequence)
{
    return kv_sequence_is_open(engine->cache, sequence);
}

void engine_sequence_close(struct engine *engine, uint32_t sequence)
{
    kv_sequence_close(engine->cache, sequence);
}

uint32_t engine_sequence_length(const struct engine *engine, uint32_t sequence)
{
    return kv_sequence_length(engine->cache, sequence);
}

uint32_t engine_sequence_truncate(struct engine *engine, uint32_t sequence, uint32_t length)
{
    return kv_sequence_truncate(engine->cache, sequence, length);
}

uint32_t engine_hidden(const struct engine *engine)
{
    return engine->config->hidden;
}

uint32_t engine_vocab(const struct engine *engine)
{
    return engine->config->vocab;
}

uint32_t engine_vocab_first(const struct engine *engine)
{
    return engine->partition.has_head ? engine->partition.vocab_first : 0;
}

uint32_t engine_vocab_own(const struct engine *engine)
{
    return engine->partition.has_head ? engine->vocab : 0;
}

uint64_t engine_positions_free(const struct engine *engine)
{
    return kv_cache_positions_free(engine->cache);
}

uint64_t engine_context(const struct engine *engine)
{
    return engine->options.context < engine->config->context ? engine->options.context
                                                             : engine->config->context;
}

void engine_profile(struct engine *engine, struct profile *profile)
{
    engine->profile = profile;
    pool_profile(engine->pool, profile);
}

uint32_t engine_sequences(const struct engine *engine)
{
    return engine->options.sequences;
}

const char *engine_kernels_name(const struct engine *engine)
{
    return engine->kernels->name;
}

uint32_t engine_threads(const struct engine *engine)
{
    return engine->options.threads;
}

uint64_t engine_memory_bytes(const struct engine *engine)
{
    return engine->buffer_bytes + kv_cache_bytes(engine->cache);
}

uint64_t engine_cache_bytes(const struct engine *engine)
{
    return kv_cache_bytes(engine->cache);
}
