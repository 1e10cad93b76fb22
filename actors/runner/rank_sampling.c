/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/rank_sampling.h"

#include "actors/runner/collective_order.h"
#include "actors/runner/engine/sampler_parts.h"
#include "protocol/limits.h"
#include "protocol/memory.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

/* Of the words of a row. */
enum { TELLS_SAMPLING = 1, TELLS_MASK = 2, TELLS_ROWS = 4 };
enum { TELLS_DEFINED = 1 }; /* of a step */

/* How the most likely of a rank goes over a collective of floats.  The rows of a vocabulary are
 * fewer than 2^24, so each number is exact. */
struct top_words {
    float maximum;
    float id;
    float broken;
};
enum { TOP_FLOATS = 3 };
/* Between two ranks alone it goes as it is. */
enum { TOP_WORDS = sizeof(struct sampler_top) / sizeof(uint32_t) };

/* A sequence at the ranks that do not ask. */
struct followed {
    struct words ids;
    struct sampling sampling;
    uint32_t *mask;
    bool is_told; /* its sampling; at rank 0: to the others */
};

struct rank_sampling {
    struct engine *engine;
    struct collective *collective; /* of those with logits; NULL: there is one */
    bool is_apart;                 /* it asks and others have the logits, or the other way round */
    uint32_t parts;                /* ranks that have rows */
    uint32_t sequences;
    size_t vocab;
    size_t own;             /* rows of this rank */
    float *logits;          /* [sequences][own]; after the processors the scores */
    struct sampler *whole;  /* rank 0's, borrowed */
    struct sampler *part;   /* where others ask or have rows: of the own rows */
    uint32_t *defined;      /* [SAMPLER_MASK_WORDS(vocab)] */
    bool is_defined_told;
    struct followed *followed;      /* [sequences] */
    struct sampler_top *tops;       /* [sequences] of all ranks */
    struct top_words *exchanged;    /* [ranks][sequences] */
    unsigned char *shares_sent;     /* of this rank, one behind the other */
    /* Where shares are merged: at rank 0, and in a last stage at its first. */
    unsigned char *shares_taken;    /* of each rank */
    struct sampler_share *shares;   /* [parts] of one row */
    struct token_score *kept;       /* [parts][SAMPLER_LIST_MAX] */
    float *scores;                  /* [vocab] of one row */
    struct rank_drawn *merged;      /* [sequences] in a last stage, to find what is undecided */
};

bool words_add(struct words *words, const void *items, size_t count)
{
    if (words->count + count > words->capacity) {
        const size_t capacity = (words->count + count) * 2;
        uint32_t *grown = memory_resized(words->items, capacity, sizeof(*grown));
        if (!grown)
            return false;
        words->items = grown;
        words->capacity = capacity;
    }
    if (count > 0)
        memcpy(words->items + words->count, items, count * sizeof(uint32_t));
    words->count += count;
    return true;
}

/* Rank 0, and the first of a last stage. */
static bool is_root(const struct rank_sampling *sampling)
{
    return !sampling->collective || sampling->collective->rank == 0;
}

/* ---- life ---- */

static bool take_memory(struct rank_sampling *s)
{
    const size_t shares = s->sequences * sizeof(struct sampler_share);
    s->logits = memory_zeroed(s->sequences * (s->own > 0 ? s->own : 1), sizeof(float));
    s->tops = memory_zeroed(s->sequences, sizeof(*s->tops));
    if (!s->collective && !s->is_apart)
        return s->logits && s->tops;
    s->defined = memory_zeroed(SAMPLER_MASK_WORDS(s->vocab), sizeof(uint32_t));
    s->followed = memory_zeroed(s->sequences, sizeof(*s->followed));
    s->exchanged = memory_zeroed(s->parts * s->sequences, sizeof(*s->exchanged));
    s->shares_sent = memory_zeroed(shares, 1);
    if (!s->logits || !s->tops || !s->defined || !s->followed || !s->exchanged || !s->shares_sent)
        return false;
    if (!is_root(s))
        return true;
    s->shares_taken = memory_zeroed(s->parts, shares);
    s->shares = memory_zeroed(s->parts, sizeof(*s->shares));
    s->kept = memory_zeroed((size_t)s->parts * SAMPLER_LIST_MAX, sizeof(*s->kept));
    s->scores = memory_zeroed(s->vocab, sizeof(float));
    s->merged = memory_zeroed(s->sequences, sizeof(*s->merged));
    return s->shares_taken && s->shares && s->kept && s->scores && s->merged;
}

static enum status open_as(const struct rank_sampling *as, struct rank_sampling **sampling_out,
                           struct reason *reason)
{
    struct engine *engine = as->engine;
    struct rank_sampling *sampling = memory_copied(as, sizeof(*as));
    if (!sampling)
        return refuse(reason, STATUS_NO_MEMORY, "no memory to sample");
    sampling->sequences = engine_sequences(engine);
    sampling->vocab = engine_vocab(engine);
    sampling->own = engine_vocab_own(engine);
    if (!take_memory(sampling)) {
        rank_sampling_close(sampling);
        return refuse(reason, STATUS_NO_MEMORY, "no memory for the logits of %u sequences",
                      engine_sequences(engine));
    }
    *sampling_out = sampling;
    return STATUS_OK;
}

enum status rank_sampling_open(struct engine *engine, struct collective *collective,
                               struct rank_sampling **sampling_out, struct reason *reason)
{
    const struct rank_sampling as = {.engine = engine,
                                     .collective = collective,
                                     .parts = collective ? collective->size : 1};
    return open_as(&as, sampling_out, reason);
}

enum status rank_sampling_open_first(struct engine *engine, uint32_t parts,
                                     struct rank_sampling **sampling_out, struct reason *reason)
{
    const struct rank_sampling as = {.engine = engine, .is_apart = true, .parts = parts};
    return open_as(&as, sampling_out, reason);
}

enum status rank_sampling_open_last(struct engine *engine, struct collective *collective,
                                    struct rank_sampling **sampling_out, struct reason *reason)
{
    const struct rank_sampling as = {.engine = engine,
                                     .collective = collective,
                                     .is_apart = true,
                                     .parts = collective ? collective->size : 1};
    return open_as(&as, sampling_out, reason);
}

void rank_sampling_close(struct rank_sampling *sampling)
{
    if (!sampling)
        return;
    for (uint32_t i = 0; sampling->followed && i < sampling->sequences; i++) {
        memory_free(sampling->followed[i].ids.items);
        memory_free(sampling->followed[i].mask);
    }
    sampler_close(sampling->part);
    memory_free(sampling->logits);
    memory_free(sampling->tops);
    memory_free(sampling->defined);
    memory_free(sampling->followed);
    memory_free(sampling->exchanged);
    memory_free(sampling->shares_sent);
    memory_free(sampling->shares_taken);
    memory_free(sampling->shares);
    memory_free(sampling->kept);
    memory_free(sampling->scores);
    memory_free(sampling->merged);
    memory_free(sampling);
}

void rank_sampling_use(struct rank_sampling *sampling, struct sampler *sampler)
{
    sampling->whole = sampler;
}

float *rank_sampling_logits(struct rank_sampling *sampling)
{
    return sampling->logits;
}

void rank_sampling_forget(struct rank_sampling *sampling, uint32_t sequence)
{
    if (!sampling->followed)
        return;
    ASSERT(sequence < sampling->sequences);
    sampling->followed[sequence].is_told = false;
    sampling->followed[sequence].ids.count = 0;
}

static enum status open_part(struct rank_sampling *sampling, struct reason *reason)
{
    return sampling->part ? STATUS_OK
                          : sampler_open_part(engine_vocab_first(sampling->engine), sampling->own,
                                              sampling->vocab, sampling->defined, &sampling->part,
                                              reason);
}

/* ---- what goes with a step ---- */

static size_t sampling_words(uint32_t bias_count)
{
    return (offsetof(struct sampling, biases) + bias_count * sizeof(struct logit_bias)) /
           sizeof(uint32_t);
}
_Static_assert(offsetof(struct sampling, biases) % sizeof(uint32_t) == 0 &&
                   sizeof(struct logit_bias) % sizeof(uint32_t) == 0,
               "a sampling is whole words");

static bool tell_row(struct rank_sampling *sampling, uint32_t sequence, const struct rank_ask *ask,
                     struct words *words)
{
    struct followed *followed = &sampling->followed[sequence];
    const uint32_t head[] = {(followed->is_told ? 0U : TELLS_SAMPLING) |
                                 (ask->history.allowed ? TELLS_MASK : 0U) |
                                 (ask->wants_rows ? TELLS_ROWS : 0U),
                             (uint32_t)ask->history.prompt_count};
    if (!words_add(words, head, COUNT_OF(head)) ||
        (!followed->is_told &&
         !words_add(words, ask->sampling, sampling_words(ask->sampling->bias_count))) ||
        (ask->history.allowed &&
         !words_add(words, ask->history.allowed, SAMPLER_MASK_WORDS(sampling->vocab))))
        return false;
    followed->is_told = true;
    return true;
}

enum status rank_sampling_tell(struct rank_sampling *sampling, const struct engine_row *rows,
                               uint32_t count, const struct rank_ask *asks, struct words *words)
{
    const uint32_t head = sampling->is_defined_told ? 0 : TELLS_DEFINED;
    ASSERT(sampling->whole != NULL);
    if (!words_add(words, &head, 1))
        return STATUS_NO_MEMORY;
    if (!sampling->is_defined_told) {
        sampler_defined(sampling->whole, sampling->defined);
        if (!words_add(words, sampling->defined, SAMPLER_MASK_WORDS(sampling->vocab)))
            return STATUS_NO_MEMORY;
        sampling->is_defined_told = true;
    }
    for (uint32_t i = 0; i < count; i++)
        if (rows[i].wants_logits && !tell_row(sampling, rows[i].sequence, asks++, words))
            return STATUS_NO_MEMORY;
    return STATUS_OK;
}

/* Words that are still to be read. */
struct unread {
    const uint32_t *at;
    size_t left;
};

static bool read_words(struct unread *unread, void *items_out, size_t count)
{
    if (unread->left < count)
        return false;
    memcpy(items_out, unread->at, count * sizeof(uint32_t));
    unread->at += count;
    unread->left -= count;
    return true;
}

static bool read_sampling(struct unread *unread, size_t vocab, struct sampling *sampling_out)
{
    struct reason unused = {""};
    if (!read_words(unread, sampling_out, sampling_words(0)) ||
        sampling_out->bias_count > SAMPLING_BIAS_MAX)
        return false;
    return read_words(unread, sampling_out->biases,
                      sampling_words(sampling_out->bias_count) - sampling_words(0)) &&
           sampling_check(sampling_out, vocab, &unused) == STATUS_OK;
}

static bool hear_row(struct rank_sampling *sampling, const struct engine_row *row,
                     struct unread *unread, struct rank_ask *ask_out)
{
    struct followed *followed = &sampling->followed[row->sequence];
    const size_t mask_words = SAMPLER_MASK_WORDS(sampling->vocab);
    uint32_t head[2] = {0, 0};
    if (!read_words(unread, head, COUNT_OF(head)) || head[1] > followed->ids.count ||
        (!followed->is_told && !(head[0] & TELLS_SAMPLING)))
        return false;
    if (head[0] & TELLS_SAMPLING)
        followed->is_told = read_sampling(unread, sampling->vocab, &followed->sampling);
    if ((head[0] & TELLS_MASK) && !followed->mask)
        followed->mask = memory_zeroed(mask_words, sizeof(uint32_t));
    if (!followed->is_told || ((head[0] & TELLS_MASK) &&
                               (!followed->mask || !read_words(unread, followed->mask,
                                                               mask_words))))
        return false;
    const uint32_t *ids = followed->ids.items;
    *ask_out = (struct rank_ask){
        .sampling = &followed->sampling,
        .history = {ids, head[1], ids + head[1], followed->ids.count - head[1],
                    head[0] & TELLS_MASK ? followed->mask : NULL},
        .wants_rows = (head[0] & TELLS_ROWS) != 0};
    return true;
}

/* The rows of a sequence come in the order of their positions; a step that found no page comes
 * again. */
static bool follow_rows(struct rank_sampling *sampling, const struct engine_row *rows,
                        uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (rows[i].sequence >= sampling->sequences)
            return false;
        struct words *ids = &sampling->followed[rows[i].sequence].ids;
        if (rows[i].position > ids->count)
            return false;
        ids->count = rows[i].position;
        if (!words_add(ids, &rows[i].token, 1))
            return false;
    }
    return true;
}

enum status rank_sampling_hear(struct rank_sampling *sampling, const struct engine_row *rows,
                               uint32_t count, const uint32_t *words, size_t word_count,
                               struct rank_ask *asks_out, struct reason *reason)
{
    struct unread unread = {words, word_count};
    uint32_t head = 0;
    uint32_t wanted = 0;
    bool good = follow_rows(sampling, rows, count) && read_words(&unread, &head, 1);
    if (good && (head & TELLS_DEFINED))
        good = read_words(&unread, sampling->defined, SAMPLER_MASK_WORDS(sampling->vocab));
    for (uint32_t i = 0; good && i < count; i++)
        if (rows[i].wants_logits)
            good = wanted < sampling->sequences &&
                   hear_row(sampling, &rows[i], &unread, &asks_out[wanted++]);
    return good && unread.left == 0
               ? STATUS_OK
               : refuse(reason, STATUS_GAP, "a step came whose sampling does not fit its rows");
}

/* ---- drawing ---- */

/* The collectives of one step. */
struct drawing {
    struct rank_sampling *sampling;
    const struct rank_ask *asks;
    uint32_t count;
    struct rank_drawn *drawn; /* NULL but where shares are merged */
    struct words *told;       /* the first of a last stage, to rank 0; else NULL */
    /* A bit for each row of which the shares do not decide. */
    uint32_t undecided[(REQUESTS_RUNNING_MAX + 31) / 32];
};

static float *row_scores(const struct drawing *drawing, uint32_t row)
{
    return drawing->sampling->logits + row * drawing->sampling->own;
}

static bool is_sound(const struct drawing *drawing, uint32_t row)
{
    struct reason unused = {""};
    return sampler_top_check(&drawing->sampling->tops[row], drawing->sampling->vocab, &unused) ==
           STATUS_OK;
}

static bool needs_share(const struct drawing *drawing, uint32_t row)
{
    return is_sound(drawing, row) && sampling_needs_shares(drawing->asks[row].sampling);
}

static bool any_needs_shares(const struct drawing *drawing)
{
    bool needs = false;
    for (uint32_t row = 0; row < drawing->count; row++)
        needs = needs || sampling_needs_shares(drawing->asks[row].sampling);
    return needs;
}

static void join_tops(struct drawing *drawing)
{
    struct rank_sampling *s = drawing->sampling;
    for (uint32_t row = 0; row < drawing->count; row++) {
        struct sampler_top *top = &s->tops[row];
        *top = (struct sampler_top){-INFINITY, 0, 0};
        for (uint32_t rank = 0; rank < s->collective->size; rank++) {
            const struct top_words *told = &s->exchanged[rank * drawing->count + row];
            sampler_top_join(top, &(struct sampler_top){told->maximum, (uint32_t)told->id,
                                                        (uint32_t)told->broken});
        }
    }
}

/* To all where shares follow, else to rank 0. */
static enum status exchange_tops(struct drawing *drawing)
{
    struct rank_sampling *s = drawing->sampling;
    struct collective *collective = s->collective;
    size_t counts[RANK_COUNT_MAX];
    struct top_words own[REQUESTS_RUNNING_MAX];
    const size_t floats = (size_t)drawing->count * TOP_FLOATS;
    enum status status;
    if (!collective)
        return STATUS_OK;
    for (uint32_t rank = 0; rank < collective->size; rank++)
        counts[rank] = floats;
    for (uint32_t row = 0; row < drawing->count; row++)
        own[row] = (struct top_words){s->tops[row].maximum, (float)s->tops[row].id,
                                      (float)s->tops[row].broken};
    if (any_needs_shares(drawing)) { /* each in its place, nothing in the others */
        memset(s->exchanged, 0, collective->size * floats * sizeof(float));
        memcpy(s->exchanged + collective->rank * drawing->count, own, floats * sizeof(float));
        status = collective->ops->sum(collective, &s->exchanged->maximum,
                                      collective->size * floats);
    } else {
        status = collective->ops->gather(collective, &own->maximum, counts,
                                         drawing->drawn ? &s->exchanged->maximum : NULL, 0);
    }
    if (status == STATUS_OK && (drawing->drawn || any_needs_shares(drawing)))
        join_tops(drawing);
    return status;
}

static size_t share_size(const struct drawing *drawing, uint32_t row)
{
    const struct sampling *sampling = drawing->asks[row].sampling;
    return SAMPLER_SHARE_SIZE(sampling_listed(sampling, drawing->sampling->vocab));
}

static enum status gather_shares(struct drawing *drawing, size_t *size_out)
{
    struct rank_sampling *s = drawing->sampling;
    size_t counts[RANK_COUNT_MAX];
    size_t size = 0;
    for (uint32_t row = 0; row < drawing->count; row++) {
        struct sampler_share share;
        const struct rank_ask *ask = &drawing->asks[row];
        if (!needs_share(drawing, row))
            continue;
        memset(&share, 0, share_size(drawing, row));
        sampler_share_make(s->part, ask->sampling, ask->history.answer_count,
                           row_scores(drawing, row), s->tops[row].maximum, &share);
        memcpy(s->shares_sent + size, &share, share_size(drawing, row));
        size += share_size(drawing, row);
    }
    *size_out = size;
    if (size == 0)
        return STATUS_OK;
    if (!s->collective) {
        memcpy(s->shares_taken, s->shares_sent, size);
        return STATUS_OK;
    }
    for (uint32_t rank = 0; rank < s->collective->size; rank++)
        counts[rank] = size / sizeof(float);
    return s->collective->ops->gather(s->collective, (const float *)(const void *)s->shares_sent,
                                      counts, (float *)(void *)s->shares_taken, 0);
}
_Static_assert(SAMPLER_SHARE_SIZE(1) % sizeof(float) == 0, "a share is whole floats");

/* False: the shares of the row do not decide. */
static bool merge_shares(struct drawing *drawing, uint32_t row)
{
    struct rank_sampling *s = drawing->sampling;
    const struct rank_ask *ask = &drawing->asks[row];
    const uint32_t listed = sampling_listed(ask->sampling, s->vocab);
    for (uint32_t rank = 0; rank < s->parts; rank++)
        if (s->shares[rank].count > listed)
            s->shares[rank].count = listed;
    return sampler_shares_merge(ask->sampling, s->vocab, ask->history.answer_count, &s->tops[row],
                                s->shares, s->parts, s->kept, &drawing->drawn[row].sampled);
}

static void begin_row(struct drawing *drawing, uint32_t row)
{
    struct rank_sampling *s = drawing->sampling;
    struct rank_drawn *drawn = &drawing->drawn[row];
    drawn->status = sampler_top_check(&s->tops[row], s->vocab, &drawn->reason);
    drawn->sampled = (struct sampled){.id = s->tops[row].id};
}

static void find_undecided(struct drawing *drawing, uint32_t row)
{
    if (!merge_shares(drawing, row))
        drawing->undecided[row / 32] |= 1U << (row % 32);
}

/* Whether all rows of it come. */
static bool wants_all(const struct drawing *drawing, uint32_t row)
{
    return (drawing->undecided[row / 32] >> (row % 32) & 1U) != 0 ||
           drawing->asks[row].wants_rows;
}

/* Where shares are merged, from what came of all. */
static void decide(struct drawing *drawing, size_t stride)
{
    struct rank_sampling *s = drawing->sampling;
    size_t offset = 0;
    for (uint32_t row = 0; row < drawing->count; row++) {
        begin_row(drawing, row);
        if (!needs_share(drawing, row))
            continue;
        for (uint32_t rank = 0; rank < s->parts; rank++)
            memcpy(&s->shares[rank], s->shares_taken + rank * stride + offset,
                   share_size(drawing, row));
        find_undecided(drawing, row);
        offset += share_size(drawing, row);
    }
}

/* To rank 0: of each row the greatest, then the shares of all; the rows that it needs all of come
 * behind. */
static enum status tell_shares(struct drawing *drawing, size_t stride)
{
    struct rank_sampling *s = drawing->sampling;
    size_t offset = 0;
    for (uint32_t row = 0; row < drawing->count; row++) {
        if (!words_add(drawing->told, &s->tops[row], TOP_WORDS))
            return STATUS_NO_MEMORY;
        if (!needs_share(drawing, row))
            continue;
        for (uint32_t rank = 0; rank < s->parts; rank++)
            if (!words_add(drawing->told, s->shares_taken + rank * stride + offset,
                           share_size(drawing, row) / sizeof(uint32_t)))
                return STATUS_NO_MEMORY;
        offset += share_size(drawing, row);
    }
    return STATUS_OK;
}

/* Which rows are asked for: whoever merges says where the samplings leave it open. */
static enum status tell_undecided(struct drawing *drawing)
{
    struct rank_sampling *s = drawing->sampling;
    bool may = false;
    for (uint32_t row = 0; row < drawing->count; row++)
        may = may || (needs_share(drawing, row) &&
                      sampling_may_need_rows(drawing->asks[row].sampling, s->vocab));
    if (!may || !s->collective)
        return STATUS_OK;
    return s->collective->ops->broadcast(s->collective, drawing->undecided,
                                         (drawing->count + 31) / 32 * sizeof(uint32_t), 0);
}

static void choose(struct drawing *drawing, uint32_t row, const float *scores)
{
    struct rank_sampling *s = drawing->sampling;
    const struct rank_ask *ask = &drawing->asks[row];
    if (drawing->drawn[row].status == STATUS_OK)
        sampler_choose(s->whole, ask->sampling, ask->history.answer_count, scores, &s->tops[row],
                       &drawing->drawn[row].sampled);
}

static enum status gather_rows(struct drawing *drawing, struct reason *reason)
{
    struct rank_sampling *s = drawing->sampling;
    for (uint32_t row = 0; row < drawing->count; row++) {
        if (!wants_all(drawing, row))
            continue;
        const float *scores = s->collective ? s->scores : row_scores(drawing, row);
        enum status status = STATUS_OK;
        if (s->collective)
            status = engine_gather(s->engine, row_scores(drawing, row), s->scores, reason);
        if (status != STATUS_OK)
            return status;
        if (drawing->told && !words_add(drawing->told, scores, s->vocab))
            return refuse(reason, STATUS_NO_MEMORY, "no memory for logits of %zu rows", s->vocab);
        if (drawing->drawn && !drawing->told)
            choose(drawing, row, scores);
    }
    return STATUS_OK;
}

static enum status draw_together(struct drawing *drawing, struct reason *reason)
{
    struct rank_sampling *s = drawing->sampling;
    size_t stride = 0;
    enum status status = open_part(s, reason);
    if (status != STATUS_OK)
        return status;
    for (uint32_t row = 0; row < drawing->count; row++)
        sampler_apply(s->part, drawing->asks[row].sampling, &drawing->asks[row].history,
                      row_scores(drawing, row), row_scores(drawing, row), &s->tops[row]);
    status = exchange_tops(drawing);
    if (status == STATUS_OK && any_needs_shares(drawing))
        status = gather_shares(drawing, &stride);
    if (status == STATUS_OK && drawing->drawn)
        decide(drawing, stride);
    if (status == STATUS_OK && drawing->told)
        status = tell_shares(drawing, stride);
    if (status == STATUS_OK && stride > 0)
        status = tell_undecided(drawing);
    if (status != STATUS_OK)
        return collective_refuse(s->collective, status, reason,
                                 "another rank was lost while a token was drawn");
    return gather_rows(drawing, reason);
}

enum status rank_sampling_draw(struct rank_sampling *sampling, const struct rank_ask *asks,
                               uint32_t count, struct rank_drawn *drawn_out,
                               struct reason *reason)
{
    struct drawing drawing = {sampling, asks, count, drawn_out, NULL, {0}};
    ASSERT(count <= sampling->sequences && count <= REQUESTS_RUNNING_MAX);
    for (uint32_t row = 0; drawn_out && row < count; row++)
        drawn_out[row].reason.text[0] = '\0';
    if (sampling->collective && count > 0)
        return draw_together(&drawing, reason);
    for (uint32_t row = 0; row < count; row++)
        drawn_out[row].status = sampler_draw(
            sampling->whole, asks[row].sampling, row_scores(&drawing, row), &asks[row].history,
            &drawn_out[row].sampled, &drawn_out[row].reason);
    return STATUS_OK;
}

/* ---- in a pipeline ---- */

enum status rank_sampling_share(struct rank_sampling *sampling, const struct rank_ask *asks,
                                uint32_t count, struct words *told_out, struct reason *reason)
{
    const bool tells = is_root(sampling);
    struct drawing drawing = {sampling, asks, count, tells ? sampling->merged : NULL,
                              tells ? told_out : NULL, {0}};
    const uint32_t none = 0;
    ASSERT(count <= sampling->sequences && count <= REQUESTS_RUNNING_MAX);
    told_out->count = 0;
    if (!words_add(told_out, &none, 1))
        return refuse(reason, STATUS_NO_MEMORY, "no memory for what rank 0 draws from");
    enum status status = count > 0 ? draw_together(&drawing, reason) : STATUS_OK;
    told_out->items[0] = (uint32_t)told_out->count;
    return status;
}

/* The shares of a row as they came; false: they are none. */
static bool read_shares(struct drawing *drawing, uint32_t row, struct unread *unread)
{
    struct rank_sampling *s = drawing->sampling;
    for (uint32_t rank = 0; rank < s->parts; rank++) {
        struct sampler_share *share = &s->shares[rank];
        if (!read_words(unread, share, share_size(drawing, row) / sizeof(uint32_t)) ||
            share->first.id > s->vocab)
            return false;
        const uint32_t listed = sampling_listed(drawing->asks[row].sampling, s->vocab);
        for (uint32_t i = 0; i < share->count && i < listed; i++)
            if (share->list[i].id >= s->vocab)
                return false;
    }
    return true;
}

static bool read_told(struct drawing *drawing, struct unread *unread)
{
    struct rank_sampling *s = drawing->sampling;
    uint32_t total = 0;
    bool good = read_words(unread, &total, 1) && total == unread->left + 1;
    for (uint32_t row = 0; good && row < drawing->count; row++) {
        good = read_words(unread, &s->tops[row], TOP_WORDS) && s->tops[row].id < s->vocab;
        begin_row(drawing, row);
        if (!good || !needs_share(drawing, row))
            continue;
        good = read_shares(drawing, row, unread);
        if (good)
            find_undecided(drawing, row);
    }
    for (uint32_t row = 0; good && row < drawing->count; row++) {
        if (!wants_all(drawing, row))
            continue;
        good = read_words(unread, s->scores, s->vocab);
        if (good)
            choose(drawing, row, s->scores);
    }
    return good && unread->left == 0;
}

enum status rank_sampling_draw_told(struct rank_sampling *sampling, const struct rank_ask *asks,
                                    uint32_t count, const struct words *told,
                                    struct rank_drawn *drawn_out, struct reason *reason)
{
    struct drawing drawing = {sampling, asks, count, drawn_out, NULL, {0}};
    struct unread unread = {told->items, told->count};
    ASSERT(count <= sampling->sequences && count <= REQUESTS_RUNNING_MAX);
    for (uint32_t row = 0; row < count; row++)
        drawn_out[row].reason.text[0] = '\0';
    return read_told(&drawing, &unread)
               ? STATUS_OK
               : refuse(reason, STATUS_GAP, "what the last stage computed is not what was asked "
                        "for");
}
