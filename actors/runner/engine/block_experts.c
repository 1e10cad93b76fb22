/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mixtures of experts: each token through the few experts the router gives it.
 *
 * Pairs of expert and token are sorted by expert, so that an expert's matrices are read once, and
 * go through in pieces of EXPERT_ROWS.  A token's experts are added in rising order, whatever
 * shares its batch.
 */
#include "actors/runner/engine/engine_parts.h"
#include "actors/runner/engine/kernels/routing.h"

#include <math.h>
#include <string.h>

/* Rows of a matrix that one item of work covers, as in blocks.c. */
#define ITEM_ROWS 16u
#define SCATTER_COLUMNS 64u

struct route_work {
    struct engine *engine;
    const struct experts_part *part;
    const float *norm;
    size_t count;
};

static void norm_rows(void *work, size_t first, size_t end, float *scratch)
{
    const struct route_work *w = work;
    size_t hidden = w->engine->config->hidden;
    (void)scratch;
    for (size_t row = first; row < end; row++)
        kernel_routing_norm(w->engine->hidden + row * hidden, w->norm,
                            (float)w->engine->config->norm_epsilon, hidden,
                            w->engine->experts.normed + row * hidden);
}

#define SCORE_ROWS 16u

static size_t score_items(const struct engine *engine)
{
    return ((size_t)engine->config->experts.count + SCORE_ROWS - 1) / SCORE_ROWS;
}

/* An item is SCORE_ROWS rows of the router, for all tokens. */
static void score_experts(void *work, size_t first, size_t end, float *scratch)
{
    const struct route_work *w = work;
    const struct engine *engine = w->engine;
    size_t experts = engine->config->experts.count;
    size_t row_end = end * SCORE_ROWS < experts ? end * SCORE_ROWS : experts;
    (void)scratch;
    kernel_routing_product(&w->part->router.matrix, engine->experts.normed, w->count,
                           first * SCORE_ROWS, row_end, engine->experts.logits, experts);
    for (size_t t = 0; w->part->router.bias && t < w->count; t++)
        for (size_t row = first * SCORE_ROWS; row < row_end; row++)
            engine->experts.logits[t * experts + row] += w->part->router.bias[row];
}

/* Items are tokens. */
static void choose_experts(void *work, size_t first, size_t end, float *scratch)
{
    const struct route_work *w = work;
    const struct model_experts *experts = &w->engine->config->experts;
    for (size_t t = first; t < end; t++)
        route_choose(experts, w->engine->experts.logits + t * experts->count,
                     w->part->choice_bias, scratch,
                     w->engine->experts.choices + t * experts->used);
}

static void route(struct engine *engine, const struct experts_part *part, const float *norm,
                  size_t count)
{
    struct route_work work = {engine, part, norm, count};
    engine_turn(engine, PROFILE_ROUTER);
    pool_run(engine->pool, count, 8, norm_rows, &work);
    pool_run(engine->pool, score_items(engine), 1, score_experts, &work);
    pool_run(engine->pool, count, 8, choose_experts, &work);
}

/* Pairs by expert, then token: a counting sort over the choices. */
static size_t sort_pairs(struct engine *engine, size_t count)
{
    const struct model_experts *experts = &engine->config->experts;
    size_t pairs = count * experts->used;
    uint32_t *ends = engine->experts.ends; /* [experts + 1] */
    memset(ends, 0, ((size_t)experts->count + 1) * sizeof *ends);
    for (size_t i = 0; i < pairs; i++)
        ends[engine->experts.choices[i].expert + 1]++;
    for (uint32_t e = 0; e < experts->count; e++)
        ends[e + 1] += ends[e];
    for (size_t i = 0; i < pairs; i++) {
        const struct route_choice *choice = &engine->experts.choices[i];
        engine->experts.pairs[ends[choice->expert]++] =
            (struct expert_pair){choice->expert, (uint32_t)(i / experts->used), choice->weight};
    }
    return pairs;
}

/* The pairs of one expert within a piece. */
struct segment {
    uint32_t expert;
    uint32_t first;
    uint32_t count;
};

struct piece {
    struct engine *engine;
    const struct experts_part *part;
    const struct expert_pair *pairs;
    size_t count;
    struct segment segments[EXPERT_ROWS];
    size_t segment_count;
    unsigned needs_in;
    unsigned needs_out;
    bool is_inward; /* gate and up, else down */
};

static struct activations rows_from(const struct activations *a, size_t first)
{
    struct activations view = *a;
    size_t blocks = a->stride / KERNEL_QUANT_BLOCK;
    view.capacity -= first;
    view.values += first * a->stride;
    for (size_t i = 0; i < COUNT_OF(view.sums); i++) {
        view.sums[i] += first * blocks;
        view.byte_sums[i] = a->byte_sums[i] ? a->byte_sums[i] + first * blocks : NULL;
    }
    if (a->bytes) {
        view.bytes += first * a->stride;
        view.split += first * a->stride;
        view.scales += first * blocks;
    }
    return view;
}

static size_t items_of(const struct piece *p, const struct segment *segment)
{
    const struct linear *linear = p->is_inward ? &p->part->gates[segment->expert]
                                               : &p->part->downs[segment->expert];
    size_t items = ((size_t)linear->matrix.rows + ITEM_ROWS - 1) / ITEM_ROWS;
    return p->is_inward ? 2 * items : items;
}

/* Rows of an expert's matrices that items [first, end) of its segment stand for. */
static void multiply_segment(const struct piece *p, const struct segment *segment, size_t first,
                             size_t end, float *scratch)
{
    struct engine *engine = p->engine;
    struct expert_buffers *b = &engine->experts;
    size_t items = items_of(p, segment);
    struct activations input = rows_from(p->is_inward ? &b->picked : &b->middle, segment->first);
    const struct product products[] = {
        {&p->part->gates[segment->expert], b->middle.values + segment->first * b->middle.stride,
         b->middle.stride},
        {&p->part->ups[segment->expert], b->ups + segment->first * b->middle.columns,
         b->middle.columns},
        {&p->part->downs[segment->expert],
         b->outs + (size_t)segment->first * engine->config->hidden, engine->config->hidden},
    };
    size_t half = p->is_inward ? items / 2 : items;
    while (first < end) {
        size_t which = first / half;
        size_t stop = (which + 1) * half < end ? (which + 1) * half : end;
        block_multiply_items(engine, &products[p->is_inward ? which : 2], &input, segment->count,
                             first - which * half, stop - which * half, scratch);
        first = stop;
    }
}

static void multiply_piece(void *work, size_t first, size_t end, float *scratch)
{
    const struct piece *p = work;
    size_t before = 0;
    for (size_t i = 0; i < p->segment_count && before < end; i++) {
        size_t items = items_of(p, &p->segments[i]);
        size_t from = first > before ? first - before : 0;
        size_t to = end - before < items ? end - before : items;
        before += items;
        if (from < to)
            multiply_segment(p, &p->segments[i], from, to, scratch);
    }
}

static void multiply_all(struct piece *p, bool is_inward)
{
    size_t items = 0;
    p->is_inward = is_inward;
    engine_turn(p->engine, PROFILE_EXPERTS);
    for (size_t i = 0; i < p->segment_count; i++) {
        const struct segment *segment = &p->segments[i];
        const struct matrix *matrix = is_inward ? &p->part->gates[segment->expert].matrix
                                                : &p->part->downs[segment->expert].matrix;
        items += items_of(p, segment);
        for (int k = 0; k < (is_inward ? 2 : 1); k++)
            block_count(p->engine, PROFILE_EXPERTS, matrix, segment->count);
    }
    size_t grain = items / ((size_t)pool_threads(p->engine->pool) * 6) + 1;
    pool_run(p->engine->pool, items, grain, multiply_piece, p);
}

static void pick_rows(void *work, size_t first, size_t end, float *scratch)
{
    const struct piece *p = work;
    struct engine *engine = p->engine;
    struct activations *picked = &engine->experts.picked;
    (void)scratch;
    for (size_t i = first; i < end; i++) {
        memcpy(picked->values + i * picked->stride,
               engine->input.values + p->pairs[i].token * engine->input.stride,
               picked->stride * sizeof(float));
        engine->kernels->prepare(picked, i, p->needs_in);
    }
}

static void activate_rows(void *work, size_t first, size_t end, float *scratch)
{
    const struct piece *p = work;
    struct expert_buffers *b = &p->engine->experts;
    (void)scratch;
    for (size_t i = first; i < end; i++) {
        block_activate(p->engine, p->part->activation, p->part->limit,
                       b->middle.values + i * b->middle.stride, b->ups + i * b->middle.columns,
                       b->middle.columns);
        p->engine->kernels->prepare(&b->middle, i, p->needs_out);
    }
}

/* Items are blocks of columns, so that each output is added to by one thread, in pair order. */
static void scatter_columns(void *work, size_t first, size_t end, float *scratch)
{
    const struct piece *p = work;
    size_t hidden = p->engine->config->hidden;
    size_t from = first * SCATTER_COLUMNS;
    size_t to = end * SCATTER_COLUMNS < hidden ? end * SCATTER_COLUMNS : hidden;
    (void)scratch;
    for (size_t i = 0; i < p->count; i++) {
        float *out = p->engine->part + p->pairs[i].token * hidden;
        const float *in = p->engine->experts.outs + i * hidden;
        for (size_t k = from; k < to; k++)
            out[k] += p->pairs[i].weight * in[k];
    }
}

static void find_segments(struct piece *p)
{
    p->segment_count = 0;
    p->needs_in = 0;
    p->needs_out = 0;
    for (size_t i = 0; i < p->count; i++) {
        uint32_t expert = p->pairs[i].expert;
        if (i > 0 && p->pairs[i - 1].expert == expert) {
            p->segments[p->segment_count - 1].count++;
            continue;
        }
        p->segments[p->segment_count++] = (struct segment){expert, (uint32_t)i, 1};
        const struct product inward[] = {{&p->part->gates[expert], NULL, 0},
                                         {&p->part->ups[expert], NULL, 0}};
        const struct product outward = {&p->part->downs[expert], NULL, 0};
        p->needs_in |= block_needs(p->engine, inward, 2);
        p->needs_out |= block_needs(p->engine, &outward, 1);
    }
}

static void run_piece(struct piece *p)
{
    struct engine *engine = p->engine;
    size_t hidden = engine->config->hidden;
    engine_turn(engine, PROFILE_COPY);
    find_segments(p);
    pool_run(engine->pool, p->count, 8, pick_rows, p);
    multiply_all(p, true);
    engine_turn(engine, PROFILE_ACTIVATION);
    pool_run(engine->pool, p->count, 4, activate_rows, p);
    multiply_all(p, false);
    engine_turn(engine, PROFILE_COPY);
    pool_run(engine->pool, (hidden + SCATTER_COLUMNS - 1) / SCATTER_COLUMNS, 4, scatter_columns,
             p);
}

/* part += FFN of the shared expert, times its scale where it has one. */
static void add_shared(struct engine *engine, const struct experts_part *part, const float *norm,
                       size_t count)
{
    size_t hidden = engine->config->hidden;
    struct expert_buffers *b = &engine->experts;
    engine_turn(engine, PROFILE_COPY);
    memcpy(b->sum, engine->part, count * hidden * sizeof(float));
    block_ffn(engine, &part->shared, norm, count);
    bool is_scaled = part->shared_scale.matrix.rows > 0;
    if (is_scaled) {
        const struct product product = {&part->shared_scale, b->scales, 1};
        block_norm(engine, engine->hidden, norm, &engine->input, count,
                   block_needs(engine, &product, 1));
        block_multiply(engine, &product, 1, &engine->input, count);
    }
    engine_turn(engine, PROFILE_COPY);
    for (size_t t = 0; t < count; t++) {
        float scale = is_scaled ? 1.0f / (1.0f + expf(-b->scales[t])) : 1.0f;
        for (size_t i = t * hidden; i < (t + 1) * hidden; i++)
            engine->part[i] = b->sum[i] + scale * engine->part[i];
    }
}

void block_experts(struct engine *engine, const struct experts_part *part, const float *norm,
                   uint32_t index, size_t count)
{
    struct piece piece = {.engine = engine, .part = part};
    route(engine, part, norm, count);
    if (engine->options.observe_experts)
        engine->options.observe_experts(engine->options.observer,
                                        engine->partition.layer_first + index,
                                        engine->experts.choices, count);
    engine_turn(engine, PROFILE_COPY);
    size_t pairs = sort_pairs(engine, count);
    block_norm(engine, engine->hidden, norm, &engine->input, count, 0);
    block_columns(&engine->experts.middle, (size_t)part->gates[0].matrix.rows);
    engine_turn(engine, PROFILE_COPY);
    memset(engine->part, 0, count * engine->config->hidden * sizeof(float));
    for (size_t i = 0; i < pairs; i += EXPERT_ROWS) {
        piece.pairs = engine->experts.pairs + i;
        piece.count = pairs - i < EXPERT_ROWS ? pairs - i : EXPERT_ROWS;
        run_piece(&piece);
    }
    if (part->shared.gate.matrix.columns > 0)
        add_shared(engine, part, norm, count);
}
