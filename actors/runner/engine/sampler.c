/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/sampler.h"

#include "actors/runner/engine/tokenizer.h"
#include "protocol/memory.h"

#include <float.h>
#include <math.h>
#include <string.h>

struct sampler {
    size_t rows;
    float *scores;      /* logits after the processors, then log probabilities */
    float *weights;     /* exp(score - greatest score) */
    uint8_t *undefined; /* rows that are no token */
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
        sampler->undefined[id] = !tokenizer_piece(tokenizer, (uint32_t)id, &piece);
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

/* Copies the logits, undefined rows as -inf.  NaN or +inf means that the forward pass broke; no
 * token drawn from such numbers would be an answer. */
static enum status take_logits(struct sampler *sampler, const float *logits,
                               const uint32_t *allowed, struct reason *reason)
{
    size_t broken = 0;
    for (size_t id = 0; id < sampler->rows; id++) {
        float logit = sampler->undefined[id] ? -INFINITY : logits[id];
        broken += !(logit < INFINITY);
        const bool is_allowed = !allowed || (allowed[id / 32] >> (id % 32) & 1U);
        sampler->scores[id] = is_allowed ? logit : -INFINITY;
    }
    if (broken > 0)
        return refuse(reason, STATUS_INTERNAL,
                      "%zu of %zu logits are not finite numbers: the model's weights are damaged "
                      "or its numbers overflow", broken, sampler->rows);
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
    size_t best = 0;
    for (size_t id = 1; id < sampler->rows; id++) {
        if (sampler->scores[id] > sampler->scores[best])
            best = id;
    }
    return (uint32_t)best;
}

/* exp(x) for x <= 0, within 2e-7 of it; 0 below -87.  A formula of its own, so that compilers make
 * vectors of it and every machine gets the same bits. */
static float exp_below_zero(float x)
{
    float bounded = x < -87.0F ? -87.0F : x;
    /* Adding 1.5 * 2^23 rounds to a whole number, which then stands in the low bits. */
    float shifted = bounded * 1.44269504F + 12582912.0F;
    float power = shifted - 12582912.0F;
    float rest = bounded - power * 0.693359375F;
    rest = rest + power * 2.12194440e-4F;
    float sum = 1.9875691500e-4F;
    sum = sum * rest + 1.3981999507e-3F;
    sum = sum * rest + 8.3334519073e-3F;
    sum = sum * rest + 4.1665795894e-2F;
    sum = sum * rest + 1.6666665459e-1F;
    sum = sum * rest + 5.0000001201e-1F;
    sum = sum * rest * rest + rest + 1.0F;
    uint32_t bits = (uint32_t)((int32_t)power + 127) << 23;
    float scale;
    memcpy(&scale, &bits, sizeof(scale));
    return x < -87.0F ? 0.0F : sum * scale;
}

enum { LANES = 16 };

/* Fills the weights and returns their sum, always added in the same order. */
static double weigh(const float *scores, float *weights, size_t rows, float maximum)
{
    double sums[LANES] = {0.0};
    size_t whole = rows / LANES * LANES;
    for (size_t at = 0; at < whole; at += LANES) {
        for (size_t lane = 0; lane < LANES; lane++)
            weights[at + lane] = exp_below_zero(scores[at + lane] - maximum);
        for (size_t lane = 0; lane < LANES; lane++)
            sums[lane] += (double)weights[at + lane];
    }
    double sum = 0.0;
    for (size_t lane = 0; lane < LANES; lane++)
        sum += sums[lane];
    for (size_t at = whole; at < rows; at++) {
        weights[at] = exp_below_zero(scores[at] - maximum);
        sum += (double)weights[at];
    }
    return sum;
}

/* Scores become log probabilities; returns the sum of the weights. */
static double normalise_scores(struct sampler *sampler, float maximum)
{
    double sum = weigh(sampler->scores, sampler->weights, sampler->rows, maximum);
    float offset = (float)((double)maximum + log(sum));
    for (size_t id = 0; id < sampler->rows; id++)
        sampler->scores[id] -= offset;
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

/* The step after which nothing is kept and before which everything is; counts what is kept before
 * it. */
static size_t step_of_cut(const struct sampler *sampler, float top, struct cut *cut)
{
    uint32_t counts[STEPS] = {0};
    double weights[STEPS] = {0.0};
    for (size_t id = 0; id < sampler->rows; id++) {
        if (!(sampler->scores[id] > -INFINITY))
            continue;
        size_t step = step_of(sampler->scores[id], top);
        counts[step]++;
        weights[step] += (double)sampler->weights[id];
    }
    /* No token min_p keeps is in a later step than this, unless min_keep is not reached yet. */
    size_t lowest = step_of(cut->lowest, top);
    size_t step = 0;
    for (; step < STEPS - 1; step++) {
        if (cut->kept + counts[step] > cut->limit || cut->above + weights[step] >= cut->top_p ||
            (step >= lowest && cut->kept + counts[step] > cut->min_keep))
            break;
        cut->kept += counts[step];
        cut->above += weights[step];
    }
    return step;
}

/* Up to here a top_k is found by keeping the most likely in order. */
enum { TOP_K_IN_ORDER = 256 };

/* The same where top_k is small: one pass with a bound that rises, then the cut in order. */
static size_t keep_top(struct sampler *sampler, struct cut *cut)
{
    struct token_logprob *list = sampler->heap;
    size_t count = 0;
    float bound = -INFINITY;
    for (size_t id = 0; id < sampler->rows; id++) {
        if (!(sampler->scores[id] > bound))
            continue;
        /* Equals have lower ids, and stay before. */
        const struct token_logprob here = {(uint32_t)id, sampler->scores[id]};
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
    size_t cut_step = step_of_cut(sampler, top, &cut);
    size_t sure = cut.kept;
    size_t put = 0;
    size_t count = 0; /* of the step in which the cut lies: a heap behind the sure ones */
    struct token_logprob *heap = list + sure;
    for (size_t id = 0; id < sampler->rows; id++) {
        const struct token_logprob here = {(uint32_t)id, sampler->scores[id]};
        if (!(here.logprob > -INFINITY))
            continue;
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
    const float maximum = sampler->scores[best];
    for (size_t id = 0; id < sampler->rows; id++)
        weights[id] = (sampler->scores[id] - maximum) / temperature;
    (void)weigh(weights, weights, sampler->rows, 0.0F);
    struct race race = {state, INFINITY, best};
    race_enter(&race, best, (double)weights[best]);
    for (size_t id = 0; id < sampler->rows; id++) {
        if (weights[id] > 0.0F)
            race_enter(&race, (uint32_t)id, (double)weights[id]);
    }
    return race.id;
}

static void report_top(const struct sampler *sampler, uint32_t wanted, struct sampled *sampled)
{
    for (size_t id = 0; id < sampler->rows && wanted > 0; id++) {
        const struct token_logprob here = {(uint32_t)id, sampler->scores[id]};
        if (!(here.logprob > -INFINITY) ||
            (sampled->top_count == wanted && !is_before(&here, &sampled->top[wanted - 1])))
            continue;
        uint32_t at = sampled->top_count < wanted ? sampled->top_count++ : wanted - 1;
        for (; at > 0 && is_before(&here, &sampled->top[at - 1]); at--)
            sampled->top[at] = sampled->top[at - 1];
        sampled->top[at] = here;
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
