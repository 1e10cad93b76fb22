/* SPDX-License-Identifier: Apache-2.0 */
/*
 * BLAKE3 (hash mode, 32 bytes) over little-endian words.
 *
 * The input is cut into leaves of 1,024 bytes, each hashed by itself in blocks of 64; the tree over
 * them joins two chaining values to one, its left side always the largest power of two of leaves.
 * Everything is done in lanes, 8 leaves or 8 pairs at a time; where fewer are left, some lanes
 * compute what nobody looks at.
 */
#include "runtime/chunk_digest.h"

#include "protocol/assert.h"

#include <string.h>

#define LANES 8u
#define LEAF_SIZE 1024u
#define BLOCK_SIZE 64u
#define GROUP_LEAVES (DIGEST_GROUP_SIZE / LEAF_SIZE)

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are read as they lie");

enum node_flag { LEAF_START = 1, LEAF_END = 2, PARENT = 4, ROOT = 8 };

typedef uint32_t lanes __attribute__((vector_size(4 * LANES)));
typedef uint8_t lane_bytes __attribute__((vector_size(4 * LANES)));

static const uint32_t initial[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

/* Some blocks of each lane, one after the other. */
struct run {
    const uint8_t *at[LANES];
    uint32_t counters[2][LANES]; /* low and high words */
    uint32_t blocks;
    uint32_t size; /* of each block */
    uint32_t flags;
    uint32_t first_flags; /* more of them for the first, and for the last */
    uint32_t last_flags;
};

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define ROTATED(x, by) (((x) >> (by)) | ((x) << (32 - (by))))
/* One shuffle each, where there is an instruction for it. */
#define ROTATED_16(x)                                                                              \
    (has_shuffle ? (lanes)__builtin_shufflevector(                                                 \
                       (lane_bytes)(x), (lane_bytes)(x), 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, \
                       15, 12, 13, 18, 19, 16, 17, 22, 23, 20, 21, 26, 27, 24, 25, 30, 31, 28, 29) \
                 : ROTATED(x, 16))
#define ROTATED_8(x)                                                                               \
    (has_shuffle ? (lanes)__builtin_shufflevector(                                                 \
                       (lane_bytes)(x), (lane_bytes)(x), 1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, \
                       14, 15, 12, 17, 18, 19, 16, 21, 22, 23, 20, 25, 26, 27, 24, 29, 30, 31, 28) \
                 : ROTATED(x, 8))
#define MIX(a, b, c, d, first, second)                                                             \
    do {                                                                                           \
        v[a] = v[a] + v[b] + (first);                                                              \
        v[d] = ROTATED_16(v[d] ^ v[a]);                                                            \
        v[c] = v[c] + v[d];                                                                        \
        v[b] = ROTATED(v[b] ^ v[c], 12);                                                           \
        v[a] = v[a] + v[b] + (second);                                                             \
        v[d] = ROTATED_8(v[d] ^ v[a]);                                                             \
        v[c] = v[c] + v[d];                                                                        \
        v[b] = ROTATED(v[b] ^ v[c], 7);                                                            \
    } while (0)
/* The words of a round; each round takes those of the one before in a new order. */
#define ROUND(w0, w1, w2, w3, w4, w5, w6, w7, w8, w9, wa, wb, wc, wd, we, wf)                      \
    do {                                                                                           \
        MIX(0, 4, 8, 12, m[w0], m[w1]);                                                            \
        MIX(1, 5, 9, 13, m[w2], m[w3]);                                                            \
        MIX(2, 6, 10, 14, m[w4], m[w5]);                                                           \
        MIX(3, 7, 11, 15, m[w6], m[w7]);                                                           \
        MIX(0, 5, 10, 15, m[w8], m[w9]);                                                           \
        MIX(1, 6, 11, 12, m[wa], m[wb]);                                                           \
        MIX(2, 7, 8, 13, m[wc], m[wd]);                                                            \
        MIX(3, 4, 9, 14, m[we], m[wf]);                                                            \
    } while (0)

#define ZIPPED(one, other) __builtin_shufflevector(one, other, 0, 8, 1, 9, 4, 12, 5, 13)
#define ZIPPED_HIGH(one, other) __builtin_shufflevector(one, other, 2, 10, 3, 11, 6, 14, 7, 15)
#define PAIRED(one, other) __builtin_shufflevector(one, other, 0, 1, 8, 9, 4, 5, 12, 13)
#define PAIRED_HIGH(one, other) __builtin_shufflevector(one, other, 2, 3, 10, 11, 6, 7, 14, 15)
#define HALVES(one, other) __builtin_shufflevector(one, other, 0, 1, 2, 3, 8, 9, 10, 11)
#define HALVES_HIGH(one, other) __builtin_shufflevector(one, other, 4, 5, 6, 7, 12, 13, 14, 15)

/* 4 words of 4 lanes, and of the 4 lanes after them in the upper halves. */
#define TRANSPOSED_4(out, rows)                                                                    \
    do {                                                                                           \
        const lanes a = ZIPPED((rows)[0], (rows)[1]), b = ZIPPED_HIGH((rows)[0], (rows)[1]);       \
        const lanes c = ZIPPED((rows)[2], (rows)[3]), d = ZIPPED_HIGH((rows)[2], (rows)[3]);       \
        (out)[0] = PAIRED(a, c);                                                                   \
        (out)[1] = PAIRED_HIGH(a, c);                                                              \
        (out)[2] = PAIRED(b, d);                                                                   \
        (out)[3] = PAIRED_HIGH(b, d);                                                              \
    } while (0)

/* 8 words of each lane become 8 vectors of one word of all lanes. */
ALWAYS_INLINE void transpose(const uint8_t *const at[LANES], size_t offset, lanes out[8])
{
    lanes rows[8];
    lanes fours[8];
#pragma GCC unroll 8
    for (size_t i = 0; i < LANES; i++)
        memcpy(&rows[i], at[i] + offset, sizeof(rows[i]));
    TRANSPOSED_4(fours, rows);
    TRANSPOSED_4(fours + 4, rows + 4);
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        out[i] = HALVES(fours[i], fours[i + 4]);
        out[i + 4] = HALVES_HIGH(fours[i], fours[i + 4]);
    }
}

ALWAYS_INLINE void compress(lanes values[8], const lanes m[16], const struct run *run,
                            uint32_t flags, const bool has_shuffle)
{
    lanes v[16] = {{0}};
#pragma GCC unroll 8
    for (size_t i = 0; i < 8; i++)
        v[i] = values[i];
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++)
        v[8 + i] = (lanes){0} + initial[i];
    memcpy(&v[12], run->counters[0], sizeof(v[12]));
    memcpy(&v[13], run->counters[1], sizeof(v[13]));
    v[14] = (lanes){0} + run->size;
    v[15] = (lanes){0} + flags;
    ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    ROUND(2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8);
    ROUND(3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1);
    ROUND(10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6);
    ROUND(12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4);
    ROUND(9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7);
    ROUND(11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13);
#pragma GCC unroll 8
    for (size_t i = 0; i < 8; i++)
        values[i] = v[i] ^ v[8 + i];
}

ALWAYS_INLINE void run_blocks(lanes values[8], const struct run *run, const bool has_shuffle)
{
    lanes m[16];
    for (uint32_t block = 0; block < run->blocks; block++) {
        const uint32_t flags = run->flags | (block == 0 ? run->first_flags : 0) |
                               (block + 1 == run->blocks ? run->last_flags : 0);
        transpose(run->at, (size_t)block * BLOCK_SIZE, m);
        transpose(run->at, (size_t)block * BLOCK_SIZE + BLOCK_SIZE / 2, m + 8);
        compress(values, m, run, flags, has_shuffle);
    }
}

static void run_plain(lanes values[8], const struct run *run)
{
    run_blocks(values, run, false);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void run_avx2(lanes values[8], const struct run *run)
{
    run_blocks(values, run, true);
}
#endif

static void run_fastest(const struct chunk_digest *digest, lanes values[8], const struct run *run)
{
#if defined(__x86_64__)
    if (!digest->is_plain && __builtin_cpu_supports("avx2")) {
        run_avx2(values, run);
        return;
    }
#else
    (void)digest;
#endif
    run_plain(values, run);
}

/* ---- leaves and pairs ---- */

static void begin(lanes values[8])
{
    for (size_t i = 0; i < 8; i++)
        values[i] = (lanes){0} + initial[i];
}

static void end(const lanes values[8], uint32_t (*out)[8], size_t count)
{
    uint32_t words[8][LANES];
    memcpy(words, values, sizeof(words));
    for (size_t lane = 0; lane < count; lane++)
        for (size_t i = 0; i < 8; i++)
            out[lane][i] = words[i][lane];
}

/* At most LANES leaves, all of them whole. */
static void hash_leaves(const struct chunk_digest *digest, const uint8_t *bytes, uint64_t number,
                        size_t count, uint32_t (*out)[8])
{
    struct run run = {.blocks = LEAF_SIZE / BLOCK_SIZE, .size = BLOCK_SIZE,
                      .first_flags = LEAF_START, .last_flags = LEAF_END};
    lanes values[8];
    for (size_t i = 0; i < LANES; i++) {
        const size_t leaf = i < count ? i : 0;
        run.at[i] = bytes + leaf * LEAF_SIZE;
        run.counters[0][i] = (uint32_t)(number + leaf);
        run.counters[1][i] = (uint32_t)((number + leaf) >> 32);
    }
    begin(values);
    run_fastest(digest, values, &run);
    end(values, out, count);
}

/* The last leaf, which may be short or, of nothing at all, empty. */
static void hash_last_leaf(const struct chunk_digest *digest, const uint8_t *bytes, size_t size,
                           uint64_t number, uint32_t root, uint32_t out[1][8])
{
    const size_t whole = size > 0 ? (size - 1) / BLOCK_SIZE : 0;
    uint8_t block[BLOCK_SIZE] = {0};
    struct run run = {.blocks = (uint32_t)whole, .size = BLOCK_SIZE, .first_flags = LEAF_START};
    lanes values[8];
    if (size > 0)
        memcpy(block, bytes + whole * BLOCK_SIZE, size - whole * BLOCK_SIZE);
    for (size_t i = 0; i < LANES; i++) {
        run.at[i] = bytes;
        run.counters[0][i] = (uint32_t)number;
        run.counters[1][i] = (uint32_t)(number >> 32);
    }
    begin(values);
    run_fastest(digest, values, &run);
    for (size_t i = 0; i < LANES; i++)
        run.at[i] = block;
    run.blocks = 1;
    run.size = (uint32_t)(size - whole * BLOCK_SIZE);
    run.first_flags = whole == 0 ? LEAF_START : 0;
    run.last_flags = LEAF_END | root;
    run_fastest(digest, values, &run);
    end(values, out, 1);
}

/* At most LANES pairs; `out` may be where they lie. */
static void join(const struct chunk_digest *digest, const uint32_t (*pairs)[8], size_t count,
                 uint32_t root, uint32_t (*out)[8])
{
    struct run run = {.blocks = 1, .size = BLOCK_SIZE, .flags = PARENT | root};
    lanes values[8];
    for (size_t i = 0; i < LANES; i++)
        run.at[i] = (const uint8_t *)pairs[2 * (i < count ? i : 0)];
    begin(values);
    run_fastest(digest, values, &run);
    end(values, out, count);
}

/* Joins neighbours until one is left, or two when those are the last of all.  One without a
 * neighbour goes up as it is: so the left side is always a power of two of leaves. */
static size_t join_all(const struct chunk_digest *digest, uint32_t (*values)[8], size_t count,
                       size_t stop)
{
    while (count > stop) {
        size_t joined = 0;
        for (size_t pair = 0; pair < count / 2; pair += joined) {
            joined = count / 2 - pair < LANES ? count / 2 - pair : LANES;
            join(digest, (const uint32_t(*)[8])(values + 2 * pair), joined, 0, values + pair);
        }
        if (count % 2 == 1)
            memmove(values[count / 2], values[count - 1], sizeof(values[0]));
        count = (count + 1) / 2;
    }
    return count;
}

/* A whole group that is not the last of the input. */
static void take_group(struct chunk_digest *digest, const uint8_t *bytes)
{
    uint32_t values[GROUP_LEAVES][8];
    uint32_t pair[2][8];
    for (size_t i = 0; i < GROUP_LEAVES; i += LANES)
        hash_leaves(digest, bytes + i * LEAF_SIZE, digest->groups * GROUP_LEAVES + i, LANES,
                    values + i);
    (void)join_all(digest, values, GROUP_LEAVES, 1);
    digest->groups++;
    for (uint64_t whole = digest->groups; whole % 2 == 0; whole /= 2) {
        memcpy(pair[0], digest->stack[--digest->stack_count], sizeof(pair[0]));
        memcpy(pair[1], values[0], sizeof(pair[1]));
        join(digest, (const uint32_t(*)[8])pair, 1, 0, values);
    }
    ASSERT(digest->stack_count < DIGEST_STACK_MAX);
    memcpy(digest->stack[digest->stack_count++], values[0], sizeof(values[0]));
}

void chunk_digest_init(struct chunk_digest *digest)
{
    digest->stack_count = 0;
    digest->have = 0;
    digest->groups = 0;
    digest->is_plain = false;
}

void chunk_digest_init_plain(struct chunk_digest *digest)
{
    chunk_digest_init(digest);
    digest->is_plain = true;
}

void chunk_digest_update(struct chunk_digest *digest, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    while (size > 0) {
        if (digest->have == DIGEST_GROUP_SIZE) {
            take_group(digest, digest->bytes);
            digest->have = 0;
        }
        if (digest->have == 0 && size > DIGEST_GROUP_SIZE) {
            take_group(digest, at);
            at += DIGEST_GROUP_SIZE;
            size -= DIGEST_GROUP_SIZE;
            continue;
        }
        const size_t room = DIGEST_GROUP_SIZE - digest->have;
        const size_t count = size < room ? size : room;
        memcpy(digest->bytes + digest->have, at, count);
        digest->have += (uint32_t)count;
        at += count;
        size -= count;
    }
}

void chunk_digest_final(struct chunk_digest *digest, struct hash *hash_out)
{
    const size_t whole = digest->have > 0 ? (digest->have - 1) / LEAF_SIZE : 0;
    const uint64_t first = digest->groups * GROUP_LEAVES;
    const bool is_all = digest->stack_count == 0;
    uint32_t values[GROUP_LEAVES + 1][8];
    uint32_t pair[2][8];
    for (size_t i = 0; i < whole; i += LANES)
        hash_leaves(digest, digest->bytes + i * LEAF_SIZE, first + i,
                    whole - i < LANES ? whole - i : LANES, values + i);
    hash_last_leaf(digest, digest->bytes + whole * LEAF_SIZE, digest->have - whole * LEAF_SIZE,
                   first + whole, is_all && whole == 0 ? ROOT : 0, values + whole);
    if (join_all(digest, values, whole + 1, is_all ? 2 : 1) == 2)
        join(digest, (const uint32_t(*)[8])values, 1, ROOT, values);
    while (digest->stack_count > 0) {
        memcpy(pair[0], digest->stack[--digest->stack_count], sizeof(pair[0]));
        memcpy(pair[1], values[0], sizeof(pair[1]));
        join(digest, (const uint32_t(*)[8])pair, 1, digest->stack_count == 0 ? ROOT : 0, values);
    }
    memcpy(hash_out->bytes, values[0], sizeof(hash_out->bytes));
}

void chunk_digest_of(const void *bytes, size_t size, struct hash *hash_out)
{
    struct chunk_digest digest;
    chunk_digest_init(&digest);
    chunk_digest_update(&digest, bytes, size);
    chunk_digest_final(&digest, hash_out);
}
