/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/sampler.h"

#include "actors/runner/engine/sampler_rows.h"
#include "actors/runner/engine/tokenizer.h"
#include "protocol/memory.h"

#include <float.h>
#include <math.h>
#include <string.h>

struct sampler {
    size_t rows;
    float *scores;      /* logits after the processors, then log probabilities */
    float *weights;     /* exp(score - greatest score) */
    uint32_t *undefined; /* rows that are no token */
    size_t undefined_count;
    uint32_t *stamps;   /* a row's last `stamp`, to meet each id once */
    uint32_t stamp;
    struct token_logprob *heap;
};

enum status sampler_open(size_t rows, const struct tokenizer *tokenizer,
                         struct sampler **sampler_out, struct reason *reason)
{
    if (rows == 0 || rows > SAMPLER_ROWS_MAX)
        return refuse(reason, STATUS_INVALID, "a vocabulary of %zu rows is not in 1 to %d", rows,
                      SAMPLER_ROWS_MAX);
    struct sampler *sampler = memory_zeroed(1, sizeof(*sampler));
    if (!sampler)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for the sampler");
    sampler->rows = rows;
    sampler->scores = memory_zeroed(rows, sizeof(*sampler->scores));
    sampler->weights = memory_zeroed(rows, sizeof(*sampler->weights));
    sampler->undefined = memory_zeroed(rows, sizeof(*sampler->undefined));
    sampler->stamps = memory_zeroed(rows, sizeof(*sampler->stamps));
    sampler->heap = memory_zeroed(rows, sizeof(*sampler->heap));
    if (!sampler->scores || !sampler->weights || !sampler->undefined || !sampler->stamps ||
        !sampler->heap) {
        sampler_close(sampler);
        return refuse(reason, STATUS_NO_MEMORY, "no memory to sample from %zu rows", rows);
    }
    for (size_t id = 0; tokenizer && id < rows; id++) {
        struct token_piece piece;
        if (!tokenizer_piece(tokenizer, (uint32_t)id, &piece))
            sampler->undefined[sampler->undefined_count++] = (uint32_t)id;
    }
    *sampler_out = sampler;
    return STATUS_OK;
}

void sampler_close(struct sampler *sampler)
{
    if (!sampler)
        return;
    memory_free(sampler->scores);
    memory_free(sampler->weights);
    memory_free(sampler->undefined);
    memory_free(sampler->stamps);
    memory_free(sampler->heap);
    memory_free(sampler);
}

static const uint64_t GOLDEN = 0x9e3779b97f4a7c15U;

/* The finaliser of splitmix64. */
static uint64_t mixed(uint64_t value)
{
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9U;
    value = (value ^ value >> 27) * 0x94d049bb133111ebU;
    return value ^ value >> 31;
}

uint64_t sampling_position(uint64_t seed, uint32_t choice, uint64_t position)
{
    uint64_t state = mixed(seed + GOLDEN);
    state = mixed(state + GOLDEN * ((uint64_t)choice + 1));
    return mixed(state + GOLDEN * (position + 1));
}

double sampling_random(uint64_t state, uint32_t id)
{
    return ((double)(mixed(state + GOLDEN * ((uint64_t)id + 1)) >> 12) + 0.5) * 0x1p-52;
}

static void forbid_rows(struct sampler *sampler, const uint32_t *allowed)
{
    for (size_t word = 0; word * 32 < sampler->rows; word++) {
        if (allowed[word] == UINT32_MAX)
            continue;
        const size_t end = word * 32 + 32 < sampler->rows ? word * 32 + 32 : sampler->rows;
        for (size_t id = word * 32; id < end; id++) {
            if (!(allowed[word] >> (id % 32) & 1U))
                sampler->scores[id] = -INFINITY;
        }
    }
}

/* Copies the logits, undefined rows as -inf.  NaN or +inf means that the forward pass broke; no
 * token drawn from such numbers would be an answer. */
static enum status take_logits(struct sampler *sampler, const float *logits,
                               const uint32_t *allowed, struct reason *reason)
{
    size_t broken = rows_take(logits, sampler->rows, sampler->scores);
    for (size_t at = 0; at < sampler->undefined_count; at++) {
        const uint32_t id = sampler->undefined[at];
        broken -= !(logits[id] < INFINITY);
        sampler->scores[id] = -INFINITY;
    }
    if (broken > 0)
        return refuse(reason, STATUS_INTERNAL,
                      "%zu of %zu logits are not finite numbers: the model's weights are damaged "
                      "or its numbers overflow", broken, sampler->rows);
    if (allowed)
        forbid_rows(sampler, allowed);
    return STATUS_OK;
}

/* True the first time an id that is a row is met since the stamp was changed. */
static bool met_first(struct sampler *sampler, uint32_t id)
{
    if (id >= sampler->rows || sampler->stamps[id] == sampler->stamp)
        return false;
    sampler->stamps[id] = sampler->stamp;
    return true;
}

static void stamp_next(struct sampler *sampler)
{
    if (++sampler->stamp == 0) {
        memset(sampler->stamps, 0, sampler->rows * sizeof(*sampler->stamps));
        sampler->stamp = 1;
    }
}

static void penalise_repetition(struct sampler *sampler, const struct sampling *sampling,
                                const struct sampling_history *history)
{
    size_t total = history->prompt_count + history->answer_count;
    size_t window = sampling->repetition_window;
    size_t first = window == 0 || window > total ? 0 : total - window;
    stamp_next(sampler);
    for (size_t at = first; at < total; at++) {
        uint32_t id = at < history->prompt_count ? history->prompt[at]
                                                 : history->answer[at - history->prompt_count];
        if (!met_first(sampler, id))
            continue;
        float *score = &sampler->scores[id];
        *score = *score < 0.0F ? *score * sampling->repetition_penalty
                               : *score / sampling->repetition_penalty;
    }
}

static void process_scores(struct sampler *sampler, const struct sampling *sampling,
                           const struct sampling_history *history)
{
    for (uint32_t at = 0; at < sampling->bias_count; at++)
        sampler->scores[sampling->biases[at].id] += sampling->biases[at].bias;
    if (sampling->repetition_penalty < 1.0F || sampling->repetition_penalty > 1.0F)
        penalise_repetition(sampler, sampling, history);
    if (sampling->presence_penalty != 0.0F) {
        stamp_next(sampler);
        for (size_t at = 0; at < history->answer_count; at++) {
            if (met_first(sampler, history->answer[at]))
                sampler->scores[history->answer[at]] -= sampling->presence_penalty;
        }
    }
    if (sampling->frequency_penalty != 0.0F) {
        for (size_t at = 0; at < history->answer_count; at++) {
            if (history->answer[at] < sampler->rows)
                sampler->scores[history->answer[at]] -= sampling->frequency_penalty;
        }
    }
}

static uint32_t most_likely(const struct sampler *sampler)
{
    const float largest = rows_largest(sampler->scores, sampler->rows);
    if (!(largest > -INFINITY))
        return 0;
    const float below = nextafterf(largest, -INFINITY);
    return (uint32_t)rows_next_above(sampler->scores, sampler->rows, 0, below);
}

/* Scores become log probabilities; returns the sum of the weights. */
static double normalise_scores(struct sampler *sampler, float maximum)
{
    double sum = rows_weigh(sampler->scores, sampler->rows, maximum, sampler->weights);
    rows_lower(sampler->scores, sampler->rows, (float)((double)maximum + log(sum)));
    return sum;
}

/* More likely, or as likely with a lower id. */
static bool is_before(const struct token_logprob *left, const struct token_logprob *right)
{
    return left->logprob > right->logprob ||
           (left->logprob >= right->logprob && left->id < right->id);
}

static void heap_down(struct token_logprob *heap, size_t count, size_t at)
{
    const struct token_logprob moved = heap[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= count)
            break;
        if (child + 1 < count && is_before(&heap[child + 1], &heap[child]))
            child++;
        if (!is_before(&heap[child], &moved))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

static bool has_filter(const struct sampler *sampler, const struct sampling *sampling)
{
    return sampling->top_p < 1.0F || sampling->min_p > 0.0F ||
           (sampling->top_k > 0 && sampling->top_k < sampler->rows);
}

/* The rows in steps of likelihood, most likely first: finding the step in which the filters cut
 * spares ordering the tokens above it and below it. */
enum { STEPS = 2048, STEPS_PER_NAT = 64 };

static size_t step_of(float logprob, float top)
{
    float place = (top - logprob) * (float)STEPS_PER_NAT;
    return place < (float)(STEPS - 1) ? (size_t)place : STEPS - 1;
}

/* What the filters keep: a beginning of the tokens in order of likelihood. */
struct cut {
    double top_p; /* in units of the weights: the kept ones before a token have less than this */
    float lowest; /* log probability min_p asks for */
    size_t limit; /* of top_k */
    size_t min_keep;
    size_t kept;
    double above; /* weight of the kept ones */
    float last;   /* log probability of the last of them that was looked at singly */
};

static bool is_cut_before(const struct cut *cut, float logprob)
{
    /* top_p keeps all that are as likely as the last it keeps, unless it is 0. */
    const bool is_less = !(cut->top_p > 0.0) || logprob < cut->last;
    return cut->kept >= cut->limit || (cut->kept > 0 && cut->above >= cut->top_p && is_less) ||
           (logprob < cut->lowest && cut->kept >= cut->min_keep);
}

/* A score that no row in a step before `end` is as low as. */
static float below_steps(size_t end, float top)
{
    /* The steps are rounded: one more is surely enough. */
    return end < STEPS ? top - (float)(end + 1) / (float)STEPS_PER_NAT : -INFINITY;
}

/* The step after which nothing is kept and before which everything is, if it is one before `end`,
 * else `end`; counts what is kept before it. */
static size_t step_of_cut(const struct sampler *sampler, float top, size_t end, struct cut *cut)
{
    uint32_t counts[STEPS] = {0};
    double weights[STEPS] = {0.0};
    const float bound = below_steps(end, top);
    const float *scores = sampler->scores;
    for (size_t id = 0; (id = rows_next_above(scores, sampler->rows, id, bound)) < sampler->rows;
         id++) {
        size_t step = step_of(scores[id], top);
        counts[step]++;
        weights[step] += (double)sampler->weights[id];
    }
    /* No token min_p keeps is in a later step than this, unless min_keep is not reached yet. */
    size_t lowest = step_of(cut->lowest, top);
    size_t step = 0;
    for (; step < end && step < STEPS - 1; step++) {
        if (cut->kept + counts[step] > cut->limit || cut->above + weights[step] >= cut->top_p ||
            (step >= lowest && cut->kept + counts[step] > cut->min_keep))
            break;
        cut->kept += counts[step];
        cut->above += weights[step];
    }
    return step;
}

/* The same, looking at the likely rows alone if they decide. */
static size_t find_cut_step(const struct sampler *sampler, float top, struct cut *cut)
{
    const struct cut before = *cut;
    size_t step = step_of_cut(sampler, top, STEPS / 4, cut);
    if (step < STEPS / 4)
        return step;
    *cut = before;
    return step_of_cut(sampler, top, STEPS, cut);
}

/* Up to here a top_k is found by keeping the most likely in order. */
enum { TOP_K_IN_ORDER = 256 };

/* The same where top_k is small: one pass with a bound that rises, then the cut in order. */
static size_t keep_top(struct sampler *sampler, struct cut *cut)
{
    struct token_logprob *list = sampler->heap;
    size_t count = 0;
    float bound = -INFINITY;
    const float *scores = sampler->scores;
    for (size_t id = 0; (id = rows_next_above(scores, sampler->rows, id, bound)) < sampler->rows;
         id++) {
        /* Equals have lower ids, and stay before. */
        const struct token_logprob here = {(uint32_t)id, scores[id]};
        size_t at = count < cut->limit ? count++ : count - 1;
        for (; at > 0 && list[at - 1].logprob < here.logprob; at--)
            list[at] = list[at - 1];
        list[at] = here;
        if (count == cut->limit)
            bound = list[count - 1].logprob;
    }
    while (cut->kept < count && !is_cut_before(cut, list[cut->kept].logprob))
        cut->above += (double)sampler->weights[list[cut->kept++].id];
    return cut->kept;
}

/* Puts the kept tokens into the heap's array; returns how many. */
static size_t keep_likely(struct sampler *sampler, const struct sampling *sampling, float top,
                          double total)
{
    struct token_logprob *list = sampler->heap;
    struct cut cut = {
        .top_p = sampling->top_p < 1.0F ? (double)sampling->top_p * total : INFINITY,
        .lowest = sampling->min_p > 0.0F ? top + logf(sampling->min_p) : -INFINITY,
        .limit = sampling->top_k > 0 ? sampling->top_k : SIZE_MAX,
        .min_keep = sampling->min_keep,
        .last = INFINITY,
    };
    if (cut.limit <= TOP_K_IN_ORDER)
        return keep_top(sampler, &cut);
    size_t cut_step = find_cut_step(sampler, top, &cut);
    size_t sure = cut.kept;
    size_t put = 0;
    size_t count = 0; /* of the step in which the cut lies: a heap behind the sure ones */
    struct token_logprob *heap = list + sure;
    const float bound = below_steps(cut_step + 1, top);
    const float *scores = sampler->scores;
    for (size_t id = 0; (id = rows_next_above(scores, sampler->rows, id, bound)) < sampler->rows;
         id++) {
        const struct token_logprob here = {(uint32_t)id, scores[id]};
        size_t step = step_of(here.logprob, top);
        if (step < cut_step)
            list[put++] = here;
        else if (step == cut_step)
            heap[count++] = here;
    }
    ASSERT(put == sure);
    for (size_t at = count / 2; at-- > 0;)
        heap_down(heap, count, at);
    size_t held = count;
    while (count > 0 && !is_cut_before(&cut, heap[0].logprob)) {
        const struct token_logprob next = heap[0];
        cut.kept++;
        cut.last = next.logprob;
        cut.above += (double)sampler->weights[next.id];
        heap[0] = heap[--count];
        heap_down(heap, count, 0);
        heap[count] = next;
    }
    memmove(heap, heap + count, (held - count) * sizeof(*heap));
    return cut.kept;
}

/* A race: each token arrives after an exponential time of its own with its weight as the rate, and
 * the first one is drawn, which is each with its probability.  A small change of the weights
 * changes the winner only where two arrive as near to each other; along a sum of all weights it
 * would move the bounds of every token behind it. */
struct race {
    uint64_t state; /* of sampling_position */
    double best;    /* the earliest so far */
    uint32_t id;
};

static void race_enter(struct race *race, uint32_t id, double weight)
{
    const double random = sampling_random(race->state, id);
    /* -log(1 - r) is at least r: most need no logarithm. */
    if (!(random < weight * race->best))
        return;
    const double time = -log1p(-random) / weight;
    if (time < race->best) {
        race->best = time;
        race->id = id;
    }
}

static uint32_t draw_kept(const struct token_logprob *list, size_t count, float maximum,
                          float temperature, uint64_t state)
{
    struct race race = {state, INFINITY, list[0].id};
    for (size_t at = 0; at < count; at++) {
        const double weight =
            exp(((double)list[at].logprob - (double)maximum) / (double)temperature);
        if (weight > 0.0)
            race_enter(&race, list[at].id, weight);
    }
    return race.id;
}

/* The same over all rows: scores divided by temperature in place of the weights, then weighed. */
static uint32_t draw_any(struct sampler *sampler, uint32_t best, float temperature, uint64_t state)
{
    float *weights = sampler->weights;
    rows_weigh_warm(sampler->scores, sampler->rows, sampler->scores[best], temperature, weights);
    struct race race = {state, INFINITY, best};
    race_enter(&race, best, (double)weights[best]);
    size_t id = 0;
    for (; id + ROWS_LANES <= sampler->rows; id += ROWS_LANES) {
        /* Hardly any is early enough: that is found of all without a jump. */
        bool enters = false;
        for (uint32_t lane = 0; lane < ROWS_LANES; lane++)
            enters |= sampling_random(state, (uint32_t)id + lane) <
                      (double)weights[id + lane] * race.best;
        for (uint32_t lane = 0; enters && lane < ROWS_LANES; lane++)
            race_enter(&race, (uint32_t)id + lane, (double)weights[id + lane]);
    }
    for (; id < sampler->rows; id++)
        race_enter(&race, (uint32_t)id, (double)weights[id]);
    return race.id;
}

static void report_top(const struct sampler *sampler, uint32_t wanted, struct sampled *sampled)
{
    float bound = -INFINITY;
    const float *scores = sampler->scores;
    for (size_t id = 0;
         wanted > 0 && (id = rows_next_above(scores, sampler->rows, id, bound)) < sampler->rows;
         id++) {
        /* Equals have lower ids, and stay before. */
        const struct token_logprob here = {(uint32_t)id, scores[id]};
        uint32_t at = sampled->top_count < wanted ? sampled->top_count++ : wanted - 1;
        for (; at > 0 && is_before(&here, &sampled->top[at - 1]); at--)
            sampled->top[at] = sampled->top[at - 1];
        sampled->top[at] = here;
        if (sampled->top_count == wanted)
            bound = sampled->top[wanted - 1].logprob;
    }
}

enum status sampler_draw(struct sampler *sampler, const struct sampling *sampling,
                         const float *logits, const struct sampling_history *history,
                         struct sampled *sampled_out, struct reason *reason)
{
    enum status status = take_logits(sampler, logits, history->allowed, reason);
    if (status != STATUS_OK)
        return status;
    process_scores(sampler, sampling, history);
    uint32_t best = most_likely(sampler);
    float maximum = sampler->scores[best];
    if (!(maximum >= -FLT_MAX && maximum <= FLT_MAX))
        return refuse(reason, STATUS_INTERNAL,
                      "no logit is left to choose from: all are minus infinity or too large");
    struct sampled sampled = {.id = best};
    bool is_greedy = !(sampling->temperature > 0.0F);
    bool reports = sampling->logprobs || sampling->top_logprobs > 0;
    double total = !is_greedy || reports ? normalise_scores(sampler, maximum) : 0.0;
    if (!is_greedy) {
        float top = sampler->scores[best];
        const uint64_t state =
            sampling_position(sampling->seed, sampling->choice, history->answer_count);
        if (has_filter(sampler, sampling)) {
            size_t count = keep_likely(sampler, sampling, top, total);
            ASSERT(count > 0);
            sampled.id = draw_kept(sampler->heap, count, top, sampling->temperature, state);
        } else {
            sampled.id = draw_any(sampler, best, sampling->temperature, state);
        }
    }
    if (reports) {
        sampled.logprob = sampler->scores[sampled.id];
        report_top(sampler, sampling->top_logprobs, &sampled);
    }
    *sampled_out = sampled;
    return STATUS_OK;
}
