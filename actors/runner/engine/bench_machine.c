/* SPDX-License-Identifier: Apache-2.0 */
/* What the memory and the cores allow, and what this process takes. */
#include "actors/runner/engine/bench.h"
#include "actors/runner/engine/kernels/kernels.h"
#include "actors/runner/engine/pool.h"
#include "protocol/memory.h"
#include "runtime/clock.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Far more than any cache. */
#define PROBE_SIZE ((size_t)256 << 20)
#define PROBE_PIECE ((size_t)1 << 16)
#define PROBE_ROUNDS 3u /* of each of two calls */
/* About half a millisecond. */
#define SPIN_ROUNDS 200000u

struct probe {
    const uint64_t *words;
    _Atomic uint64_t sum;
};

static void read_pieces(void *work, size_t first, size_t end, float *scratch)
{
    struct probe *probe = work;
    uint64_t sums[8] = {0};
    const uint64_t *words = probe->words + first * (PROBE_PIECE / 8);
    size_t count = (end - first) * (PROBE_PIECE / 8);
    (void)scratch;
    for (size_t i = 0; i < count; i += 8)
        for (size_t k = 0; k < 8; k++)
            sums[k] += words[i + k];
    uint64_t sum = 0;
    for (size_t k = 0; k < 8; k++)
        sum += sums[k];
    atomic_fetch_add(&probe->sum, sum);
}

enum status bench_bandwidth(uint32_t threads, double *bandwidth_out, struct reason *reason)
{
    struct pool *pool = NULL;
    uint64_t *words = memory_zeroed(PROBE_SIZE / 8, 8);
    if (!words)
        return refuse(reason, STATUS_NO_MEMORY, "no memory to measure its bandwidth");
    memset(words, 1, PROBE_SIZE);
    enum status status = pool_open(threads, 1, &pool, reason);
    uint64_t best_us = UINT64_MAX;
    for (unsigned round = 0; status == STATUS_OK && round < PROBE_ROUNDS; round++) {
        struct probe probe = {words, 0};
        uint64_t start_us = clock_now_us();
        pool_run(pool, PROBE_SIZE / PROBE_PIECE, 16, read_pieces, &probe);
        uint64_t took_us = clock_now_us() - start_us;
        best_us = took_us < best_us ? took_us : best_us;
    }
    pool_close(pool);
    memory_free(words);
    if (status == STATUS_OK)
        *bandwidth_out = (double)PROBE_SIZE * 1e6 / (double)(best_us ? best_us : 1);
    return status;
}

struct spin {
    const struct kernel_set *kernels;
    _Atomic uint64_t products;
};

static void spin_pieces(void *work, size_t first, size_t end, float *scratch)
{
    struct spin *spin = work;
    (void)scratch;
    for (size_t i = first; i < end; i++)
        atomic_fetch_add(&spin->products, spin->kernels->spin(SPIN_ROUNDS));
}

enum status bench_peak(const struct kernel_set *kernels, uint32_t threads, double *peak_out,
                       struct reason *reason)
{
    struct pool *pool = NULL;
    double best = 0.0;
    enum status status = pool_open(threads, 1, &pool, reason);
    for (unsigned round = 0; status == STATUS_OK && round < PROBE_ROUNDS; round++) {
        struct spin spin = {kernels, 0};
        uint64_t start_us = clock_now_us();
        pool_run(pool, (size_t)threads * 16, 1, spin_pieces, &spin);
        double rate = (double)spin.products * 1e6 / (double)(clock_now_us() - start_us + 1);
        best = rate > best ? rate : best;
    }
    pool_close(pool);
    if (status == STATUS_OK)
        *peak_out = best;
    return status;
}

uint64_t bench_resident(void)
{
    uint64_t kilobytes = 0;
    char line[128];
    FILE *file = fopen("/proc/self/smaps_rollup", "re");
    while (file && kilobytes == 0 && fgets(line, sizeof line, file)) {
        if (strncmp(line, "Pss:", 4) == 0)
            kilobytes = strtoull(line + 4, NULL, 10);
    }
    if (file)
        (void)fclose(file);
    return kilobytes * 1024;
}
