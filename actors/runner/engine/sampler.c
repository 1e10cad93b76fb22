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
    sampler->undefined = memory_zeroed(rows, sizeof(*sampler->undefined));
    sampler->stamps = memory_zeroed(rows, sizeof(*sampler->stamps));
    sampler->heap = memory_zeroed(rows, sizeof(*sampler->heap));
    if (!sampler->scores || !sampler->undefined || !sampler->stamps || !sampler->heap) {
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
    memory_free(sampler->undefined);
    memory_free(sampler->stamps);
    memory_free(sampler->heap);
    memory_free(sampler);
}

/* The finaliser of splitmix64. */
static uint64_t mixed(uint64_t value)
{
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9U;
    value = (value ^ value >> 27) * 0x94d049bb133111ebU;
    return value ^ value >> 31;
}

double sampling_random(uint64_t seed, uint32_t choice, uint64_t position)
{
    uint64_t state = mixed(seed + 0x9e3779b97f4a7c15U);
    state = mixed(state + 0x9e3779b97f4a7c15U * ((uint64_t)choice + 1));
    state = mixed(state + 0x9e3779b97f4a7c15U * (position + 1));
    return (double)(state >> 11) * 0x1p-53;
}

/* Copies the logits, undefined rows as -inf.  NaN or +inf means that the forward pass broke; no
 * token drawn from such numbers would be an answer. */
static enum status take_logits(struct sampler *sampler, const float *logits,
                               struct reason *reason)
{
    size_t broken = 0;
    for (size_t id = 0; id < sampler->rows; id++) {
        float logit = sampler->undefined[id] ? -INFINITY : logits[id];
        broken += !(logit < INFINITY);
        sampler->scores[id] = logit;
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

/* Scores become log probabilities. */
static void normalise_scores(struct sampler *sampler, float maximum)
{
    double sum = 0.0;
    for (size_t id = 0; id < sampler->rows; id++)
        sum += (double)expf(sampler->scores[id] - maximum);
    float offset = (float)((double)maximum + log(sum));
    for (size_t id = 0; id < sampler->rows; id++)
        sampler->scores[id] -= offset;
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

/* A log probability below which no token can pass the filters; spares ordering the rest.  Tokens
 * less likely than (1 - top_p) / rows have less than 1 - top_p together, so those above them make
 * up top_p already; halved, so that rounding cannot matter. */
static float floor_of(const struct sampler *sampler, const struct sampling *sampling,
                      float maximum)
{
    float floor = -INFINITY;
    if (sampling->top_p < 1.0F)
        floor = logf(0.5F * (1.0F - sampling->top_p) / (float)sampler->rows);
    if (sampling->min_p > 0.0F && sampling->min_keep <= 1)
        floor = fmaxf(floor, maximum + logf(sampling->min_p) - 0.01F);
    return fminf(floor, maximum);
}

/* The filters keep a beginning of the tokens in order of likelihood, each its own; so the shortest
 * of them is kept.  Returns how many, at the end of the heap array's free part: the kept tokens
 * are heap[count .. count + kept) after the heap shrank to `count`. */
static size_t keep_likely(struct sampler *sampler, const struct sampling *sampling,
                          float maximum, struct token_logprob **kept_out)
{
    struct token_logprob *heap = sampler->heap;
    float floor = floor_of(sampler, sampling, maximum);
    size_t count = 0;
    for (size_t id = 0; id < sampler->rows; id++) {
        if (sampler->scores[id] >= floor && sampler->scores[id] > -INFINITY)
            heap[count++] = (struct token_logprob){(uint32_t)id, sampler->scores[id]};
    }
    for (size_t at = count / 2; at-- > 0;)
        heap_down(heap, count, at);
    size_t limit = sampling->top_k > 0 && sampling->top_k < count ? sampling->top_k : count;
    float lowest = sampling->min_p > 0.0F ? maximum + logf(sampling->min_p) : -INFINITY;
    double above = 0.0; /* probability of what is kept already */
    size_t kept = 0;
    while (kept < limit && count > 0) {
        const struct token_logprob next = heap[0];
        if (kept > 0 && sampling->top_p < 1.0F && above >= (double)sampling->top_p)
            break;
        if (next.logprob < lowest && kept >= sampling->min_keep)
            break;
        above += exp((double)next.logprob);
        heap[0] = heap[--count];
        heap_down(heap, count, 0);
        heap[count] = next;
        kept++;
    }
    *kept_out = heap + count;
    return kept;
}

/* Ascending ids: a small change of the logits then moves the bounds of the draw a little, and
 * never swaps two tokens.  Heap sort: no memory, no recursion. */
static void sort_by_id(struct token_logprob *list, size_t count)
{
    for (size_t end = count, root = count / 2; end > 1;) {
        struct token_logprob moved;
        if (root > 0) {
            moved = list[--root];
        } else {
            moved = list[--end];
            list[end] = list[0];
        }
        size_t at = root;
        for (size_t child = 2 * at + 1; child < end; child = 2 * at + 1) {
            if (child + 1 < end && list[child + 1].id > list[child].id)
                child++;
            if (list[child].id <= moved.id)
                break;
            list[at] = list[child];
            at = child;
        }
        list[at] = moved;
    }
}

static uint32_t draw_kept(const struct token_logprob *list, size_t count, float maximum,
                          float temperature, double random)
{
    double total = 0.0;
    for (size_t at = 0; at < count; at++)
        total += exp(((double)list[at].logprob - (double)maximum) / (double)temperature);
    double mark = random * total;
    double sum = 0.0;
    uint32_t last = list[0].id;
    for (size_t at = 0; at < count; at++) {
        double weight =
            exp(((double)list[at].logprob - (double)maximum) / (double)temperature);
        if (weight > 0.0)
            last = list[at].id;
        sum += weight;
        if (sum > mark)
            break;
    }
    return last;
}

/* The same over all rows. */
static uint32_t draw_any(const struct sampler *sampler, float maximum, float temperature,
                         double random)
{
    double total = 0.0;
    for (size_t id = 0; id < sampler->rows; id++)
        total += (double)expf((sampler->scores[id] - maximum) / temperature);
    double mark = random * total;
    double sum = 0.0;
    uint32_t last = 0;
    for (size_t id = 0; id < sampler->rows; id++) {
        double weight = (double)expf((sampler->scores[id] - maximum) / temperature);
        if (weight > 0.0)
            last = (uint32_t)id;
        sum += weight;
        if (sum > mark)
            break;
    }
    return last;
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
    enum status status = take_logits(sampler, logits, reason);
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
    if (!is_greedy || reports)
        normalise_scores(sampler, maximum);
    if (!is_greedy) {
        float top = sampler->scores[best];
        double random =
            sampling_random(sampling->seed, sampling->choice, history->answer_count);
        if (has_filter(sampler, sampling)) {
            struct token_logprob *kept = NULL;
            size_t count = keep_likely(sampler, sampling, top, &kept);
            ASSERT(count > 0);
            sort_by_id(kept, count);
            sampled.id = draw_kept(kept, count, top, sampling->temperature, random);
        } else {
            sampled.id = draw_any(sampler, top, sampling->temperature, random);
        }
    }
    if (reports) {
        sampled.logprob = sampler->scores[sampled.id];
        report_top(sampler, sampling->top_logprobs, &sampled);
    }
    *sampled_out = sampled;
    return STATUS_OK;
}
