/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention page by page: scores of a page's keys, their weights against the largest score so far,
 * the values added.  When a page holds a larger score, what was added before shrinks by the
 * difference.  Pages begin at fixed positions, so a head gets the same bits alone or with others,
 * and memory does not grow with the length.
 */
#include "actors/runner/engine/kernels/lanes.h"

#include <math.h>

/* Keys whose scores are computed together. */
#define KEYS 4u

/* Heads that attend together, and how far they are. */
struct heads {
    const struct attention *attentions;
    size_t count;
    float *scores; /* [head][KERNEL_PAGE_MAX] of the present page */
    float *const *outs;
    size_t value_dim;
    size_t value_count; /* numbers from value to value */
    size_t key_stride;  /* bytes */
    size_t value_stride;
    /* What of the pages will be read next and was not asked for yet. */
    const uint8_t *next;
    const uint8_t *next_end;
    float largest[KERNEL_ATTEND_MAX];
    float total[KERNEL_ATTEND_MAX];
    /* Positions of the present page that each sees. */
    uint32_t begin[KERNEL_ATTEND_MAX];
    uint32_t end[KERNEL_ATTEND_MAX];
};

/* Number `i` of the `count` that a position has. */
ALWAYS_INLINE float element(const uint8_t *bytes, size_t i, size_t count, enum kv_format format)
{
    if (format == KV_INT8)
        return (float)(int8_t)bytes[i];
    if (format == KV_F32) {
        float value;
        memcpy(&value, bytes + 4 * i, sizeof value);
        return value;
    }
    uint16_t half;
    memcpy(&half, bytes + 2 * bf16_place(i, count), sizeof half);
    return unpack_bits((uint32_t)half << 16);
}

/* Numbers `i` and following of a position. */
ALWAYS_INLINE void sixteen(const uint8_t *bytes, size_t i, enum kv_format format, lanes *out)
{
    if (format == KV_BF16) {
        lanes_cached_bf16(bytes + 2 * i, out);
        return;
    }
    for (size_t k = 0; k < 2; k++, i += LANES)
        out[k] = format == KV_INT8 ? lanes_signed(bytes + i)
                                   : lanes_load((const float *)(const void *)(bytes + 4 * i));
}

/* Asks for the next `size` bytes: a head's part of a page is too short for the processor to see a
 * pattern in it before it ends, and memory is slower to answer than it is to compute. */
ALWAYS_INLINE void fetch(struct heads *h, size_t size)
{
    size_t left = (size_t)(h->next_end - h->next);
    if (left < size)
        size = left;
    for (size_t i = 0; i < size; i += 64)
        __builtin_prefetch(h->next + i, 0, 3);
    h->next += size;
}

/* Scores of KEYS keys from `key` on for `some` heads from `head` on. */
ALWAYS_INLINE void score_keys(struct heads *h, size_t head, const uint8_t *key, size_t position,
                              size_t some, enum kv_format format)
{
    size_t head_dim = h->attentions->head_dim;
    lanes sums[2][KEYS];
    for (size_t n = 0; n < some; n++)
        for (size_t k = 0; k < KEYS; k++)
            sums[n][k] = lanes_all(0.0f);
    size_t i = 0;
    for (; i + 2 * LANES <= head_dim; i += 2 * LANES) {
        lanes query[2][2];
        for (size_t n = 0; n < some; n++)
            for (size_t e = 0; e < 2; e++)
                query[n][e] = lanes_load(h->attentions[head + n].query + i + e * LANES);
        for (size_t k = 0; k < KEYS; k++) {
            lanes some_key[2];
            sixteen(key + k * h->key_stride, i, format, some_key);
            for (size_t n = 0; n < some; n++)
                for (size_t e = 0; e < 2; e++)
                    sums[n][k] = lanes_fma(query[n][e], some_key[e], sums[n][k]);
        }
    }
    for (size_t n = 0; n < some; n++) {
        const struct attention *a = &h->attentions[head + n];
        float *scores = h->scores + (head + n) * KERNEL_PAGE_MAX + position;
        lanes_sum_4(sums[n][0], sums[n][1], sums[n][2], sums[n][3], scores);
        for (size_t k = 0; k < KEYS; k++) {
            for (size_t rest = i; rest < head_dim; rest++)
                scores[k] += a->query[rest] *
                             element(key + k * h->key_stride, rest, head_dim, format);
            scores[k] *= a->scale;
        }
    }
}

/* Whole numbers become what they stand for: scores of keys, or weights of values, times the scales
 * of their positions. */
ALWAYS_INLINE void times_scales(struct heads *h, size_t head, const uint8_t *scales, uint32_t low,
                                uint32_t high)
{
    float *scores = h->scores + head * KERNEL_PAGE_MAX;
    for (uint32_t p = low / LANES * LANES; p < high; p += LANES)
        lanes_store(scores + p, lanes_mul(lanes_load(scores + p),
                                          lanes_load((const float *)(const void *)scales + p)));
}

/* Scores become weights, zeros where the head does not see; what was added before shrinks. */
static void soften(struct heads *h, size_t head, uint32_t positions)
{
    float *scores = h->scores + head * KERNEL_PAGE_MAX;
    for (uint32_t p = 0; p < h->begin[head]; p++)
        scores[p] = -INFINITY;
    for (uint32_t p = h->end[head]; p < positions; p++)
        scores[p] = -INFINITY;
    lanes most = lanes_all(h->largest[head]);
    for (uint32_t p = 0; p < positions; p += LANES)
        most = lanes_max(lanes_load(scores + p), most);
    float largest = lanes_largest(most);
    if (largest > h->largest[head]) {
        float factor = lanes_exp_one(h->largest[head] - largest);
        h->largest[head] = largest;
        h->total[head] *= factor;
        for (size_t i = 0; i < h->value_dim; i++)
            h->outs[head][i] *= factor;
    }
    lanes sum = lanes_all(0.0f);
    for (uint32_t p = 0; p < positions; p += LANES) {
        lanes weight = lanes_exp(lanes_sub(lanes_load(scores + p), lanes_all(largest)));
        lanes_store(scores + p, weight);
        sum = lanes_add(sum, weight);
    }
    h->total[head] += lanes_sum(sum);
}

/* Elements of values that are added together. */
#define VALUES (4 * LANES)

/* Adds weight times value of positions [begin, end) for `some` heads, elements from `i` on: VALUES
 * of them, or those at the end that are fewer. */
ALWAYS_INLINE void add_values(struct heads *h, size_t head, const uint8_t *values, size_t i,
                              uint32_t begin, uint32_t end, size_t some, enum kv_format format)
{
    const float *weights = h->scores + head * KERNEL_PAGE_MAX;
    float *const *outs = h->outs + head;
    if (i + VALUES <= h->value_dim) {
        lanes sums[2][4];
        for (size_t n = 0; n < some; n++)
            for (size_t k = 0; k < 4; k++)
                sums[n][k] = lanes_load(outs[n] + i + k * LANES);
        for (uint32_t p = begin; p < end; p++) {
            lanes weight[2];
            for (size_t n = 0; n < some; n++)
                weight[n] = lanes_all(weights[n * KERNEL_PAGE_MAX + p]);
            for (size_t k = 0; k < 4; k += 2) {
                lanes value[2];
                sixteen(values + p * h->value_stride, i + k * LANES, format, value);
                for (size_t n = 0; n < some; n++)
                    for (size_t e = 0; e < 2; e++)
                        sums[n][k + e] = lanes_fma(weight[n], value[e], sums[n][k + e]);
            }
        }
        for (size_t n = 0; n < some; n++)
            for (size_t k = 0; k < 4; k++)
                lanes_store(outs[n] + i + k * LANES, sums[n][k]);
        return;
    }
    for (; i < h->value_dim; i++) {
        for (size_t n = 0; n < some; n++)
            for (uint32_t p = begin; p < end; p++)
                outs[n][i] += weights[n * KERNEL_PAGE_MAX + p] *
                              element(values + p * h->value_stride, i, h->value_count, format);
    }
}

/* Elements from `i` on of the values of a page, two heads together where both see them. */
ALWAYS_INLINE void add_pair(struct heads *h, size_t head, const uint8_t *values, size_t i,
                            enum kv_format format)
{
    const uint32_t *begin = h->begin + head;
    const uint32_t *end = h->end + head;
    uint32_t from = begin[0] > begin[1] ? begin[0] : begin[1];
    uint32_t to = end[0] < end[1] ? end[0] : end[1];
    if (from >= to) {
        add_values(h, head, values, i, begin[0], end[0], 1, format);
        add_values(h, head + 1, values, i, begin[1], end[1], 1, format);
        return;
    }
    for (size_t n = 0; n < 2; n++)
        if (begin[n] < from)
            add_values(h, head + n, values, i, begin[n], from, 1, format);
    add_values(h, head, values, i, from, to, 2, format);
    for (size_t n = 0; n < 2; n++)
        if (to < end[n])
            add_values(h, head + n, values, i, to, end[n], 1, format);
}

/* Which positions of the page that starts at `start` each head sees; returns their bounds. */
static bool look(struct heads *h, uint32_t start, uint32_t *low_out, uint32_t *high_out)
{
    uint32_t low = UINT32_MAX;
    uint32_t high = 0;
    for (size_t i = 0; i < h->count; i++) {
        const struct attention *a = &h->attentions[i];
        uint32_t left = a->length > start ? a->length - start : 0;
        h->end[i] = left < a->page_positions ? left : a->page_positions;
        h->begin[i] = a->first > start ? a->first - start : 0;
        if (h->begin[i] > h->end[i])
            h->begin[i] = h->end[i];
        if (h->begin[i] == h->end[i])
            continue;
        low = h->begin[i] < low ? h->begin[i] : low;
        high = h->end[i] > high ? h->end[i] : high;
    }
    *low_out = low;
    *high_out = high;
    return low < high;
}

/* Every key meets all heads while it is near, then every few elements of all values. */
ALWAYS_INLINE void attend_page(struct heads *h, uint32_t page, const uint8_t *next,
                               enum kv_format format)
{
    const struct attention *a = h->attentions;
    const uint8_t *keys = a->pages[page] + a->key_offset;
    const uint8_t *values = a->pages[page] + a->value_offset;
    const uint8_t *key_scales = a->pages[page] + a->key_scale_offset;
    const uint8_t *value_scales = a->pages[page] + a->value_scale_offset;
    const size_t pairs = h->count / 2 * 2;
    uint32_t low = 0;
    uint32_t high = 0;
    if (!look(h, page * a->page_positions, &low, &high))
        return;
    h->next = values + low * h->value_stride;
    h->next_end = values + high * h->value_stride;
    for (uint32_t p = low / KEYS * KEYS; p < high; p += KEYS) {
        fetch(h, KEYS * h->value_stride);
        for (size_t head = 0; head < pairs; head += 2)
            score_keys(h, head, keys + p * h->key_stride, p, 2, format);
        if (pairs < h->count)
            score_keys(h, pairs, keys + p * h->key_stride, p, 1, format);
    }
    for (size_t head = 0; head < h->count; head++) {
        if (h->begin[head] == h->end[head])
            continue;
        if (format == KV_INT8)
            times_scales(h, head, key_scales, low, high);
        soften(h, head, (high + LANES - 1) / LANES * LANES);
        if (format == KV_INT8)
            times_scales(h, head, value_scales, h->begin[head], h->end[head]);
    }
    h->next = next;
    h->next_end = next ? next + a->page_positions * h->key_stride : NULL;
    const size_t some = a->page_positions * h->key_stride * VALUES / h->value_dim + 64;
    for (size_t i = 0; i < h->value_dim; i += VALUES) {
        fetch(h, some);
        for (size_t head = 0; head < pairs; head += 2)
            add_pair(h, head, values, i, format);
        if (pairs < h->count)
            add_values(h, pairs, values, i, h->begin[pairs], h->end[pairs], 1, format);
    }
}

ALWAYS_INLINE void attend_pages(struct heads *h, enum kv_format format)
{
    uint32_t first = UINT32_MAX;
    uint32_t length = 0;
    for (size_t i = 0; i < h->count; i++) {
        const struct attention *a = &h->attentions[i];
        first = a->first < first ? a->first : first;
        length = a->length > length ? a->length : length;
        h->largest[i] = -INFINITY;
        h->total[i] = 0.0f;
        memset(h->outs[i], 0, h->value_dim * sizeof(float));
    }
    uint32_t size = h->attentions->page_positions;
    for (uint32_t page = first / size; page * size < length; page++) {
        const bool is_last = (page + 1) * size >= length;
        const uint8_t *next = is_last ? NULL : h->attentions->pages[page + 1];
        attend_page(h, page, next ? next + h->attentions->key_offset : NULL, format);
    }
    for (size_t i = 0; i < h->count; i++) {
        const struct attention *a = &h->attentions[i];
        float factor = 1.0f;
        if (a->has_sink) {
            float largest = a->sink > h->largest[i] ? a->sink : h->largest[i];
            factor = lanes_exp_one(h->largest[i] - largest);
            h->total[i] = h->total[i] * factor + lanes_exp_one(a->sink - largest);
        }
        factor /= h->total[i];
        for (size_t k = 0; k < h->value_dim; k++)
            h->outs[i][k] *= factor;
    }
}

void KERNEL_NAME(attend_many)(const struct attention *attentions, size_t count, float *scores,
                              float *const *outs)
{
    const struct attention *a = attentions;
    size_t size = a->format == KV_INT8 ? 1 : a->format == KV_BF16 ? 2 : 4;
    struct heads heads = {.attentions = a, .count = count, .scores = scores, .outs = outs};
    heads.value_dim = a->value_dim ? a->value_dim : a->head_dim;
    heads.key_stride = a->head_dim * size;
    heads.value_count = a->value_stride ? a->value_stride : heads.value_dim;
    heads.value_stride = heads.value_count * size;
    ASSERT(count <= KERNEL_ATTEND_MAX && a->page_positions <= KERNEL_PAGE_MAX &&
           a->page_positions % LANES == 0);
    if (a->format == KV_INT8)
        attend_pages(&heads, KV_INT8);
    else if (a->format == KV_BF16)
        attend_pages(&heads, KV_BF16);
    else
        attend_pages(&heads, KV_F32);
}

void KERNEL_NAME(attend)(const struct attention *attention, float *scores, float *out)
{
    KERNEL_NAME(attend_many)(attention, 1, scores, &out);
}
