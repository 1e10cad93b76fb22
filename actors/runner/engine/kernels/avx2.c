/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/kernels/avx2.h"

#include "actors/runner/engine/kernels/avx2_lanes.h"

#include <math.h>

static void rms_norm(const float *x, const float *weight, float epsilon, size_t count, float *out)
{
    __m256 first = _mm256_setzero_ps();
    __m256 second = _mm256_setzero_ps();
    size_t i = 0;
    for (; i + 16 <= count; i += 16) {
        __m256 a = _mm256_loadu_ps(x + i);
        __m256 b = _mm256_loadu_ps(x + i + 8);
        first = _mm256_fmadd_ps(a, a, first);
        second = _mm256_fmadd_ps(b, b, second);
    }
    float sum = lanes_sum(_mm256_add_ps(first, second));
    for (; i < count; i++)
        sum += x[i] * x[i];
    float factor = 1.0f / sqrtf(sum / (float)count + epsilon);
    __m256 factors = _mm256_set1_ps(factor);
    for (i = 0; i + 8 <= count; i += 8)
        _mm256_storeu_ps(out + i, _mm256_mul_ps(_mm256_mul_ps(_mm256_loadu_ps(x + i), factors),
                                                _mm256_loadu_ps(weight + i)));
    for (; i < count; i++)
        out[i] = x[i] * factor * weight[i];
}

static void swiglu(float *gate, const float *up, size_t count)
{
    const __m256 one = _mm256_set1_ps(1.0f);
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        __m256 g = _mm256_loadu_ps(gate + i);
        __m256 e = lanes_exp(_mm256_sub_ps(_mm256_setzero_ps(), g));
        __m256 y = _mm256_div_ps(g, _mm256_add_ps(one, e));
        _mm256_storeu_ps(gate + i, _mm256_mul_ps(y, _mm256_loadu_ps(up + i)));
    }
    for (; i < count; i++)
        gate[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
}

static void rope(float *head, const float *cosines, const float *sines, size_t half)
{
    size_t i = 0;
    for (; i + 8 <= half; i += 8) {
        __m256 a = _mm256_loadu_ps(head + i);
        __m256 b = _mm256_loadu_ps(head + i + half);
        __m256 c = _mm256_loadu_ps(cosines + i);
        __m256 s = _mm256_loadu_ps(sines + i);
        _mm256_storeu_ps(head + i, _mm256_sub_ps(_mm256_mul_ps(a, c), _mm256_mul_ps(b, s)));
        _mm256_storeu_ps(head + i + half,
                         _mm256_add_ps(_mm256_mul_ps(a, s), _mm256_mul_ps(b, c)));
    }
    for (; i < half; i++) {
        float a = head[i];
        float b = head[i + half];
        head[i] = a * cosines[i] - b * sines[i];
        head[i + half] = a * sines[i] + b * cosines[i];
    }
}

ALWAYS_INLINE float element(const uint8_t *bytes, size_t i, bool is_half)
{
    if (!is_half) {
        float value;
        memcpy(&value, bytes + 4 * i, sizeof value);
        return value;
    }
    uint16_t half;
    memcpy(&half, bytes + 2 * i, sizeof half);
    return unpack_half(half);
}

ALWAYS_INLINE __m256 eight(const uint8_t *bytes, size_t i, bool is_half)
{
    return is_half ? lanes_half(bytes + 2 * i) : _mm256_loadu_ps((const float *)(const void *)
                                                                 (bytes + 4 * i));
}

ALWAYS_INLINE float key_score(const float *query, const uint8_t *key, size_t head_dim,
                              bool is_half)
{
    __m256 first = _mm256_setzero_ps();
    __m256 second = _mm256_setzero_ps();
    size_t i = 0;
    for (; i + 16 <= head_dim; i += 16) {
        first = _mm256_fmadd_ps(_mm256_loadu_ps(query + i), eight(key, i, is_half), first);
        second = _mm256_fmadd_ps(_mm256_loadu_ps(query + i + 8), eight(key, i + 8, is_half),
                                 second);
    }
    float sum = lanes_sum(_mm256_add_ps(first, second));
    for (; i < head_dim; i++)
        sum += query[i] * element(key, i, is_half);
    return sum;
}

/* Scores become weights, not yet divided by the sum that is returned. */
static float soften(float *scores, size_t length, float largest)
{
    const __m256 most = _mm256_set1_ps(largest);
    __m256 sum = _mm256_setzero_ps();
    size_t i = 0;
    for (; i + 8 <= length; i += 8) {
        __m256 e = lanes_exp(_mm256_sub_ps(_mm256_loadu_ps(scores + i), most));
        _mm256_storeu_ps(scores + i, e);
        sum = _mm256_add_ps(sum, e);
    }
    float total = lanes_sum(sum);
    for (; i < length; i++) {
        scores[i] = expf(scores[i] - largest);
        total += scores[i];
    }
    return total;
}

/* Adds weight times value of the positions of one page, 32 elements at a time. */
ALWAYS_INLINE void add_values(const uint8_t *values, const float *weights, size_t count,
                              size_t dim, size_t stride, bool is_half, float *out)
{
    size_t step = stride * (is_half ? 2 : 4);
    size_t i = 0;
    for (; i + 32 <= dim; i += 32) {
        __m256 sum[4];
        for (size_t k = 0; k < 4; k++)
            sum[k] = _mm256_loadu_ps(out + i + 8 * k);
        for (size_t p = 0; p < count; p++) {
            __m256 weight = _mm256_broadcast_ss(weights + p);
            for (size_t k = 0; k < 4; k++)
                sum[k] = _mm256_fmadd_ps(weight, eight(values + p * step, i + 8 * k, is_half),
                                         sum[k]);
        }
        for (size_t k = 0; k < 4; k++)
            _mm256_storeu_ps(out + i + 8 * k, sum[k]);
    }
    for (; i < dim; i++) {
        for (size_t p = 0; p < count; p++)
            out[i] += weights[p] * element(values + p * step, i, is_half);
    }
}

ALWAYS_INLINE void attend_as(const struct attention *a, float *scores, float *out, bool is_half)
{
    size_t size = is_half ? 2 : 4;
    size_t row = (size_t)a->head_dim * size;
    size_t value_dim = a->value_dim ? a->value_dim : a->head_dim;
    size_t stride = a->value_stride ? a->value_stride : value_dim;
    float largest = a->has_sink ? a->sink : -INFINITY;
    for (uint32_t p = a->first; p < a->length; p++) {
        const uint8_t *keys = a->pages[p / a->page_positions] + a->key_offset;
        float score = a->scale * key_score(a->query, keys + p % a->page_positions * row,
                                           a->head_dim, is_half);
        scores[p - a->first] = score;
        largest = score > largest ? score : largest;
    }
    float total = soften(scores, a->length - a->first, largest);
    if (a->has_sink)
        total += expf(a->sink - largest);
    memset(out, 0, value_dim * sizeof *out);
    for (uint32_t p = a->first; p < a->length;) {
        uint32_t within = p % a->page_positions;
        uint32_t room = a->page_positions - within;
        uint32_t count = a->length - p < room ? a->length - p : room;
        add_values(a->pages[p / a->page_positions] + a->value_offset +
                       within * stride * size,
                   scores + (p - a->first), count, value_dim, stride, is_half, out);
        p += count;
    }
    for (size_t i = 0; i < value_dim; i++)
        out[i] /= total;
}

static void attend(const struct attention *attention, float *scores, float *out)
{
    if (attention->is_half)
        attend_as(attention, scores, out, true);
    else
        attend_as(attention, scores, out, false);
}

static void to_half(const float *x, size_t count, uint16_t *out)
{
    size_t i = 0;
    for (; i + 8 <= count; i += 8)
        _mm_storeu_si128((__m128i *)(void *)(out + i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
    for (; i < count; i++)
        out[i] = kernel_to_half(x[i]);
}

const struct kernel_set *kernel_set_avx2(void)
{
    static const struct kernel_set set = {
        .name = "avx2",
        .prepare = avx2_prepare,
        .matmul = avx2_matmul,
        .matmul_bytes = avx2_matmul_bytes,
        .has_bytes = avx2_has_bytes,
        .rms_norm = rms_norm,
        .swiglu = swiglu,
        .rope = rope,
        .attend = attend,
        .to_half = to_half,
    };
    __builtin_cpu_init();
    bool runs = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                __builtin_cpu_supports("f16c");
    return runs ? &set : NULL;
}
