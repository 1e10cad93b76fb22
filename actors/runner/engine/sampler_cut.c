/* SPDX-License-Identifier: Apache-2.0 */
/* What top_p, min_p and top_k keep, of all rows. */
#include "actors/runner/engine/sampler_inside.h"

#include <string.h>

struct cut cut_make(const struct sampling *sampling, float maximum, double total)
{
    return (struct cut){
        .top_p = sampling->top_p < 1.0F ? (double)sampling->top_p * total : INFINITY,
        .maximum = maximum,
        .lowest = sampling->min_p > 0.0F ? maximum + logf(sampling->min_p) : -INFINITY,
        .limit = sampling->top_k > 0 ? sampling->top_k : SIZE_MAX,
        .min_keep = sampling->min_keep,
        .last = INFINITY,
    };
}

static bool is_cut_before(const struct cut *cut, float score)
{
    /* top_p keeps all that are as likely as the last it keeps, unless it is 0. */
    const bool is_less = !(cut->top_p > 0.0) || score < cut->last;
    return cut->kept >= cut->limit ||
           (cut->kept > 0 && rows_sum_value(&cut->above) >= cut->top_p && is_less) ||
           (score < cut->lowest && cut->kept >= cut->min_keep);
}

bool cut_takes(struct cut *cut, float score)
{
    if (is_cut_before(cut, score))
        return false;
    cut->kept++;
    cut->last = score;
    rows_sum_add(&cut->above, rows_weight(score, cut->maximum));
    return true;
}

static void heap_down(struct token_score *heap, size_t count, size_t at)
{
    const struct token_score moved = heap[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= count)
            break;
        if (child + 1 < count && score_is_before(&heap[child + 1], &heap[child]))
            child++;
        if (!score_is_before(&heap[child], &moved))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

/* The rows in steps of likelihood, most likely first: finding the step in which the filters cut
 * spares ordering the tokens above it and below it. */
enum { STEPS = 2048, STEPS_PER_NAT = 64 };

static size_t step_of(float score, float top)
{
    float place = (top - score) * (float)STEPS_PER_NAT;
    return place < (float)(STEPS - 1) ? (size_t)place : STEPS - 1;
}

/* A score that no row in a step before `end` is as low as. */
static float below_steps(size_t end, float top)
{
    if (end >= STEPS)
        return -INFINITY;
    /* The steps are rounded: one more is surely enough.  Of great scores none may be so near. */
    return fminf(top - (float)(end + 1) / (float)STEPS_PER_NAT, nextafterf(top, -INFINITY));
}

/* The step after which nothing is kept and before which everything is, if it is one before `end`,
 * else `end`; counts what is kept before it. */
static size_t step_of_cut(const struct sampler *sampler, const float *scores, size_t end,
                          struct cut *cut)
{
    uint32_t counts[STEPS] = {0};
    struct rows_sum weights[STEPS] = {{0.0, 0.0}};
    const float top = cut->maximum;
    const float bound = below_steps(end, top);
    for (size_t id = 0; (id = rows_next_above(scores, sampler->rows, id, bound)) < sampler->rows;
         id++) {
        size_t step = step_of(scores[id], top);
        counts[step]++;
        rows_sum_add(&weights[step], rows_weight(scores[id], top));
    }
    /* No token min_p keeps is in a later step than this, unless min_keep is not reached yet. */
    size_t lowest = step_of(cut->lowest, top);
    size_t step = 0;
    for (; step < end && step < STEPS - 1; step++) {
        struct rows_sum with = cut->above;
        rows_sum_join(&with, &weights[step]);
        if (cut->kept + counts[step] > cut->limit || rows_sum_value(&with) >= cut->top_p ||
            (step >= lowest && cut->kept + counts[step] > cut->min_keep))
            break;
        cut->kept += counts[step];
        cut->above = with;
    }
    return step;
}

/* The same, looking at the likely rows alone if they decide. */
static size_t find_cut_step(const struct sampler *sampler, const float *scores, struct cut *cut)
{
    const struct cut before = *cut;
    size_t step = step_of_cut(sampler, scores, STEPS / 4, cut);
    if (step < STEPS / 4)
        return step;
    *cut = before;
    return step_of_cut(sampler, scores, STEPS, cut);
}

size_t rows_keep_top(const float *scores, size_t rows, size_t first, size_t limit,
                     struct token_score *list_out)
{
    size_t count = 0;
    float bound = -INFINITY;
    for (size_t row = 0; limit > 0 && (row = rows_next_above(scores, rows, row, bound)) < rows;
         row++) {
        /* Equals have lower ids, and stay before. */
        const struct token_score here = {(uint32_t)(first + row), scores[row]};
        size_t at = count < limit ? count++ : count - 1;
        for (; at > 0 && list_out[at - 1].score < here.score; at--)
            list_out[at] = list_out[at - 1];
        list_out[at] = here;
        if (count == limit)
            bound = list_out[count - 1].score;
    }
    return count;
}

size_t cut_keep(const struct sampler *sampler, const float *scores, struct cut *cut)
{
    struct token_score *list = sampler->list;
    /* A small top_k is one pass with a bound that rises, then the cut in order. */
    if (cut->limit <= SAMPLER_LIST_MAX) {
        const size_t count =
            rows_keep_top(scores, sampler->rows, sampler->first, cut->limit, list);
        while (cut->kept < count && cut_takes(cut, list[cut->kept].score)) {
        }
        return cut->kept;
    }
    const size_t cut_step = find_cut_step(sampler, scores, cut);
    const size_t sure = cut->kept;
    size_t put = 0;
    size_t count = 0; /* of the step in which the cut lies: a heap behind the sure ones */
    struct token_score *heap = list + sure;
    const float top = cut->maximum;
    const float bound = below_steps(cut_step + 1, top);
    for (size_t id = 0; (id = rows_next_above(scores, sampler->rows, id, bound)) < sampler->rows;
         id++) {
        const struct token_score here = {(uint32_t)(sampler->first + id), scores[id]};
        size_t step = step_of(here.score, top);
        if (step < cut_step)
            list[put++] = here;
        else if (step == cut_step)
            heap[count++] = here;
    }
    ASSERT(put == sure);
    for (size_t at = count / 2; at-- > 0;)
        heap_down(heap, count, at);
    size_t held = count;
    while (count > 0 && cut_takes(cut, heap[0].score)) {
        const struct token_score next = heap[0];
        heap[0] = heap[--count];
        heap_down(heap, count, 0);
        heap[count] = next;
    }
    memmove(heap, heap + count, (held - count) * sizeof(*heap));
    return cut->kept;
}
