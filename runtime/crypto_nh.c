/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NH of one block, little-endian words w and key k, in units of four words:
 *   sums[p] += (w0 + k0) * (w2 + k2) + (w1 + k1) * (w3 + k3)     mod 2^64, + mod 2^32 within
 * where pass p uses the key from word 4p on.
 */
#include "runtime/crypto_mac.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static void add_plain(const uint32_t *key, const uint8_t *block, uint64_t sums[2])
{
    for (size_t at = 0; at < CRYPTO_NH_BLOCK / 4; at += 4) {
        uint32_t words[4];
        memcpy(words, block + at * 4, sizeof(words));
        for (size_t pass = 0; pass < 2; pass++) {
            const uint32_t *k = key + at + 4 * pass;
            sums[pass] += (uint64_t)(uint32_t)(words[0] + k[0]) * (uint32_t)(words[2] + k[2]) +
                          (uint64_t)(uint32_t)(words[1] + k[1]) * (uint32_t)(words[3] + k[3]);
        }
    }
}

#if defined(__x86_64__)
/* Two units at a time; the products of a unit lie in its half. */
__attribute__((target("avx2"))) static __m256i products(__m256i words, const uint32_t *key)
{
    const __m256i sum =
        _mm256_add_epi32(words, _mm256_loadu_si256((const __m256i *)(const void *)key));
    return _mm256_mul_epu32(_mm256_shuffle_epi32(sum, 0x10), _mm256_shuffle_epi32(sum, 0x32));
}

__attribute__((target("avx2"))) static void add_avx2(const uint32_t *key, const uint8_t *block,
                                                     uint64_t sums[2])
{
    __m256i first = _mm256_setzero_si256();
    __m256i second = _mm256_setzero_si256();
    uint64_t parts[8];
    for (size_t at = 0; at < CRYPTO_NH_BLOCK / 4; at += 8) {
        const __m256i words =
            _mm256_loadu_si256((const __m256i *)(const void *)(block + at * 4));
        first = _mm256_add_epi64(first, products(words, key + at));
        second = _mm256_add_epi64(second, products(words, key + at + 4));
    }
    _mm256_storeu_si256((__m256i *)(void *)parts, first);
    _mm256_storeu_si256((__m256i *)(void *)(parts + 4), second);
    for (size_t i = 0; i < 4; i++) {
        sums[0] += parts[i];
        sums[1] += parts[4 + i];
    }
}
#endif

void crypto_nh(const uint32_t key[CRYPTO_NH_KEY_WORDS], const uint8_t *block, bool is_plain,
               uint64_t sums_out[2])
{
    sums_out[0] = 0;
    sums_out[1] = 0;
#if defined(__x86_64__)
    if (!is_plain && __builtin_cpu_supports("avx2")) {
        add_avx2(key, block, sums_out);
        return;
    }
#endif
    (void)is_plain;
    add_plain(key, block, sums_out);
}
