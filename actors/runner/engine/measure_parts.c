/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/measure_parts.h"

#include "protocol/memory.h"
#include "runtime/clock.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAGE_POSITIONS 64u
#define PAGES 8u /* 512 positions: the prompt a placement predicts for */
#define HEAD_DIM 128u
#define WARM_ROUNDS 4u
#define HEADS_MOST 8u
#define MANY_TIMES 32u /* 128 tokens with 2 queries of each key, 8 at a time */
#define WORDS 800u
#define WAKES 100u
#define COMPUTED_NS ((uint64_t)2000000)
#define ENTRIES 20000u
#define ENTRY_ROOM 40u
#define ENTRY_ROUNDS 3u
#define BURST ((size_t)16 << 20)
#define FRESH_SIZE ((size_t)128 << 20)
#define PAGE ((size_t)4096)

double measure_mean_s(const uint64_t *took_ns, uint32_t rounds)
{
    uint64_t sum_ns = 1;
    for (uint32_t i = 0; i < rounds; i++)
        sum_ns += took_ns[i];
    return (double)sum_ns / rounds / 1e9;
}

static int compare(const void *a, const void *b)
{
    const uint64_t one = *(const uint64_t *)a;
    const uint64_t other = *(const uint64_t *)b;
    return (one > other) - (one < other);
}

/* ---- attention ---- */

/* An item is a head of keys, beyond the caches as those of many layers are. */
static void attend(void *work, size_t first, size_t end, float *scratch)
{
    struct measure_attention *m = work;
    static const float query[HEAD_DIM] = {0.01f, 0.02f, 0.03f};
    uint8_t *pages[PAGES];
    struct attention attentions[HEADS_MOST];
    float *outs[HEADS_MOST];
    for (size_t page = 0; page < PAGES; page++)
        pages[page] = m->bytes + page * (m->size / PAGES);
    for (size_t item = first; item < end; item++) {
        const size_t offset = item / m->times * m->head_bytes;
        for (uint32_t head = 0; head < m->heads; head++) {
            attentions[head] = (struct attention){.query = query,
                                                  .pages = pages,
                                                  .key_offset = offset,
                                                  .value_offset = offset + m->head_bytes / 2,
                                                  .page_positions = PAGE_POSITIONS,
                                                  .length = PAGES * PAGE_POSITIONS,
                                                  .head_dim = HEAD_DIM,
                                                  .format = m->format,
                                                  .scale = 0.1f};
            outs[head] = m->out + (item * HEADS_MOST + head) * HEAD_DIM;
        }
        m->kernels->attend_many(attentions, m->heads, scratch, outs);
    }
}

double measure_attention(struct measure_attention *attention, struct pool *pool, bool is_many)
{
    const size_t float_size = attention->format == KV_F32 ? 4 : 2;
    const size_t most = MEASURE_ATTENTION_FLOATS / HEAD_DIM / HEADS_MOST;
    uint64_t took_ns[MEASURE_ROUNDS];
    attention->heads = is_many ? HEADS_MOST : 2;
    attention->times = is_many ? MANY_TIMES : 1;
    attention->head_bytes = PAGE_POSITIONS * HEAD_DIM * 2 * float_size;
    size_t items = attention->size / PAGES / attention->head_bytes;
    items = items < most ? items : most;
    for (unsigned i = 0; i < WARM_ROUNDS + MEASURE_ROUNDS; i++) {
        const uint64_t start_ns = clock_now_ns();
        pool_run(pool, items, is_many ? MANY_TIMES : 1, attend, attention);
        took_ns[i < WARM_ROUNDS ? i : i - WARM_ROUNDS] = clock_now_ns() - start_ns;
    }
    return (double)items * attention->heads * PAGES * PAGE_POSITIONS * 2 * HEAD_DIM /
           measure_mean_s(took_ns, MEASURE_ROUNDS);
}

/* ---- plain code ---- */

uint64_t measure_entry_ns(void)
{
    char *text = memory_zeroed(ENTRIES, ENTRY_ROOM);
    uint64_t took_ns[ENTRY_ROUNDS];
    size_t size = 0;
    if (!text)
        return 0;
    for (uint32_t i = 0; i < ENTRIES; i++)
        size += (size_t)snprintf(text + size, ENTRY_ROOM, "%c\"piece%u\":%u", i ? ',' : '{',
                                 i * 2654435761u, i);
    text[size++] = '}';
    for (uint32_t i = 0; i < ENTRY_ROUNDS; i++) {
        const uint64_t start_ns = clock_now_ns();
        json_decref(json_loadb(text, size, 0, NULL));
        took_ns[i] = clock_now_ns() - start_ns;
    }
    memory_free(text);
    return (uint64_t)(measure_mean_s(took_ns, ENTRY_ROUNDS) * 1e9 / ENTRIES) + 1;
}

/* ---- fresh memory ---- */

uint64_t measure_fresh_bytes_per_s(void)
{
    uint8_t *bytes = mmap(NULL, FRESH_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                          -1, 0);
    if (bytes == MAP_FAILED)
        return 0;
#ifdef MADV_HUGEPAGE
    (void)madvise(bytes, FRESH_SIZE, MADV_HUGEPAGE); /* as weights.c does */
#endif
    const uint64_t start_ns = clock_now_ns();
    for (size_t i = 0; i < FRESH_SIZE; i += PAGE)
        ((volatile uint8_t *)bytes)[i] = 1;
    const uint64_t took_ns = clock_now_ns() - start_ns;
    (void)munmap(bytes, FRESH_SIZE);
    return took_ns > 0 ? (uint64_t)((double)FRESH_SIZE * 1e9 / (double)took_ns) : 0;
}

/* ---- processes ---- */

/* Sends back the first byte of each word, and one when a burst is whole. */
static void *answer(void *argument)
{
    const int fd = *(int *)argument;
    static uint8_t bytes[1 << 16];
    uint8_t word = 0;
    size_t got = 0;
    for (unsigned i = 0; i < WORDS + WAKES; i++)
        if (recv(fd, &word, 1, MSG_WAITALL) != 1 || send(fd, &word, 1, MSG_NOSIGNAL) != 1)
            return NULL;
    while (got < BURST) {
        const ssize_t more = recv(fd, bytes, sizeof(bytes), 0);
        if (more <= 0)
            return NULL;
        got += (size_t)more;
    }
    (void)send(fd, &word, 1, MSG_NOSIGNAL);
    return NULL;
}

/* What words take there and back, each after so long at work. */
static bool send_words(int fd, uint32_t count, uint64_t pause_ns, uint64_t *took_ns_out)
{
    uint8_t word = 1;
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t begun_ns = clock_now_ns();
        uint64_t start_ns = begun_ns;
        while (start_ns - begun_ns < pause_ns)
            start_ns = clock_now_ns();
        if (send(fd, &word, 1, MSG_NOSIGNAL) != 1 || recv(fd, &word, 1, MSG_WAITALL) != 1)
            return false;
        took_ns_out[i] = clock_now_ns() - start_ns;
    }
    return true;
}

/* Half of what a word takes there and back, mostly, and what it takes more to a sleeper: that is
 * seldom the same, so the mean. */
static bool time_words(int fd, struct measure_near *near)
{
    uint64_t took_ns[WORDS];
    uint64_t woken_ns[WAKES];
    if (!send_words(fd, WORDS, 0, took_ns) || !send_words(fd, WAKES, COMPUTED_NS, woken_ns))
        return false;
    qsort(took_ns, WORDS, sizeof(took_ns[0]), compare);
    const uint64_t both_ns = took_ns[WORDS / 2];
    const uint64_t woken_mean_ns = (uint64_t)(measure_mean_s(woken_ns, WAKES) * 1e9);
    near->word_ns = both_ns / 2 + 1;
    near->wake_ns = woken_mean_ns > both_ns ? woken_mean_ns - both_ns : 1;
    return true;
}

static uint64_t time_burst(int fd)
{
    static const uint8_t bytes[1 << 16];
    const uint64_t start_ns = clock_now_ns();
    uint8_t word = 0;
    for (size_t sent = 0; sent < BURST; sent += sizeof(bytes))
        if (send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL) != (ssize_t)sizeof(bytes))
            return 0;
    if (recv(fd, &word, 1, MSG_WAITALL) != 1)
        return 0;
    return (uint64_t)((double)BURST * 1e9 / (double)(clock_now_ns() - start_ns + 1));
}

/* Two ends of a connection over the loopback; false: there is none. */
static bool connect_ends(int ends_out[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    const int at_once = 1;
    const int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ends_out[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ends_out[1] = -1;
    bool ok = listening >= 0 && ends_out[0] >= 0 &&
              bind(listening, (struct sockaddr *)&address, sizeof(address)) == 0 &&
              listen(listening, 1) == 0 &&
              getsockname(listening, (struct sockaddr *)&address, &size) == 0 &&
              connect(ends_out[0], (struct sockaddr *)&address, sizeof(address)) == 0;
    if (ok)
        ends_out[1] = accept(listening, NULL, NULL);
    ok = ok && ends_out[1] >= 0;
    for (unsigned i = 0; ok && i < 2; i++)
        ok = setsockopt(ends_out[i], IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof(at_once)) == 0;
    if (listening >= 0)
        (void)close(listening);
    return ok;
}

void measure_near(struct measure_near *near_out)
{
    pthread_t thread;
    int ends[2];
    *near_out = (struct measure_near){.word_ns = 0};
    if (connect_ends(ends) && pthread_create(&thread, NULL, answer, &ends[1]) == 0) {
        if (time_words(ends[0], near_out))
            near_out->bytes_per_s = time_burst(ends[0]);
        (void)shutdown(ends[0], SHUT_RDWR);
        pthread_join(thread, NULL);
    }
    for (unsigned i = 0; i < 2; i++)
        if (ends[i] >= 0)
            (void)close(ends[i]);
    if (near_out->bytes_per_s == 0)
        near_out->word_ns = 0;
}
