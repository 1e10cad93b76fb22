/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One 64-bit ticket holds the number of the run and the next item.  A thread claims a piece by
 * moving the ticket on; whoever claims the last piece closes the ticket.  What a run is made of is
 * written only while the ticket is closed, so a claim that succeeds was made with the run's own
 * numbers, and a late thread finds nothing to claim: nobody waits for a thread that sleeps.
 */
#include "actors/runner/engine/pool.h"

#include "actors/runner/engine/profile.h"
#include "protocol/memory.h"
#include "runtime/clock.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>

/* The next item of a run of which every piece was claimed. */
#define CLOSED UINT32_MAX
/* About 20-40 microseconds. */
#define SPINS 1500u

struct worker {
    struct pool *pool;
    pthread_t thread;
    float *scratch;
};

struct pool {
    uint32_t threads;
    uint32_t started;
    struct profile *profile; /* of the caller's thread; NULL for none */
    struct worker *workers; /* [0] is the caller's scratch */
    _Atomic uint64_t ticket; /* run << 32 | next item */
    _Atomic(pool_work *) run;
    _Atomic(void *) work;
    _Atomic uint32_t count;
    _Atomic uint32_t grain;
    _Atomic uint32_t done;
    atomic_bool stopping;
    pthread_mutex_t lock;
    pthread_cond_t started_run;
    pthread_cond_t finished_run;
};

static void pause_briefly(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Claims and does pieces of the present run until none is left. */
static void work_on(struct pool *pool, float *scratch)
{
    for (;;) {
        uint64_t ticket = atomic_load_explicit(&pool->ticket, memory_order_acquire);
        uint32_t first = (uint32_t)ticket;
        uint32_t count = atomic_load_explicit(&pool->count, memory_order_relaxed);
        uint32_t grain = atomic_load_explicit(&pool->grain, memory_order_relaxed);
        pool_work *run = atomic_load_explicit(&pool->run, memory_order_relaxed);
        void *work = atomic_load_explicit(&pool->work, memory_order_relaxed);
        if (first == CLOSED)
            return;
        uint32_t piece = count - first < grain ? count - first : grain;
        uint64_t next = first + piece >= count ? ticket | CLOSED : ticket + piece;
        if (!atomic_compare_exchange_weak_explicit(&pool->ticket, &ticket, next,
                                                   memory_order_acq_rel, memory_order_relaxed))
            continue;
        run(work, first, first + piece, scratch);
        uint32_t done = atomic_fetch_add_explicit(&pool->done, piece, memory_order_acq_rel);
        if (done + piece == count) {
            pthread_mutex_lock(&pool->lock);
            pthread_cond_signal(&pool->finished_run);
            pthread_mutex_unlock(&pool->lock);
        }
    }
}

static uint64_t run_of(uint64_t ticket)
{
    return ticket >> 32;
}

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    struct pool *pool = worker->pool;
    uint64_t seen = 0;
    while (!atomic_load(&pool->stopping)) {
        uint64_t now = run_of(atomic_load_explicit(&pool->ticket, memory_order_acquire));
        for (unsigned spin = 0; now == seen && spin < SPINS; spin++) {
            pause_briefly();
            now = run_of(atomic_load_explicit(&pool->ticket, memory_order_acquire));
        }
        if (now == seen) {
            pthread_mutex_lock(&pool->lock);
            while (run_of(atomic_load(&pool->ticket)) == seen && !atomic_load(&pool->stopping))
                pthread_cond_wait(&pool->started_run, &pool->lock);
            pthread_mutex_unlock(&pool->lock);
            continue;
        }
        seen = now;
        work_on(pool, worker->scratch);
    }
    return NULL;
}

/* Signals belong to the threads of the actor. */
static bool start_workers(struct pool *pool)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool good = true;
    for (uint32_t i = 1; good && i < pool->threads; i++) {
        good = pthread_create(&pool->workers[i].thread, NULL, worker_main, &pool->workers[i]) == 0;
        pool->started += good;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return good;
}

enum status pool_open(uint32_t threads, size_t scratch_floats, struct pool **pool_out,
                      struct reason *reason)
{
    if (threads == 0 || threads > POOL_THREADS_MAX)
        return refuse(reason, STATUS_INVALID, "%u threads; 1 to %u are possible", threads,
                      POOL_THREADS_MAX);
    struct pool *pool = memory_zeroed(1, sizeof *pool);
    if (!pool)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for %u threads", threads);
    pool->threads = threads;
    atomic_init(&pool->ticket, CLOSED);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->started_run, NULL);
    pthread_cond_init(&pool->finished_run, NULL);
    pool->workers = memory_zeroed(threads, sizeof *pool->workers);
    bool good = pool->workers != NULL;
    for (uint32_t i = 0; good && i < threads; i++) {
        pool->workers[i].pool = pool;
        pool->workers[i].scratch = memory_zeroed(scratch_floats, sizeof(float));
        good = pool->workers[i].scratch != NULL;
    }
    enum status status = good ? STATUS_OK
                              : refuse(reason, STATUS_NO_MEMORY, "no memory for %u threads",
                                       threads);
    if (good && !start_workers(pool))
        status = refuse(reason, STATUS_IO, "cannot start %u threads; set fewer", threads);
    if (status != STATUS_OK) {
        pool_close(pool);
        return status;
    }
    *pool_out = pool;
    return STATUS_OK;
}

void pool_close(struct pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->stopping, true);
    pthread_cond_broadcast(&pool->started_run);
    pthread_mutex_unlock(&pool->lock);
    for (uint32_t i = 1; i <= pool->started; i++)
        pthread_join(pool->workers[i].thread, NULL);
    for (uint32_t i = 0; pool->workers && i < pool->threads; i++)
        memory_free(pool->workers[i].scratch);
    memory_free(pool->workers);
    pthread_cond_destroy(&pool->finished_run);
    pthread_cond_destroy(&pool->started_run);
    pthread_mutex_destroy(&pool->lock);
    memory_free(pool);
}

static void wait_for_all(struct pool *pool, size_t count)
{
    for (unsigned spin = 0; spin < SPINS; spin++) {
        if (atomic_load_explicit(&pool->done, memory_order_acquire) == count)
            return;
        pause_briefly();
    }
    pthread_mutex_lock(&pool->lock);
    while (atomic_load_explicit(&pool->done, memory_order_acquire) != count)
        pthread_cond_wait(&pool->finished_run, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

void pool_run(struct pool *pool, size_t count, size_t grain, pool_work *run, void *work)
{
    ASSERT(count < UINT32_MAX && grain > 0);
    if (pool->threads == 1 || count <= grain) {
        if (count > 0)
            run(work, 0, count, pool->workers[0].scratch);
        return;
    }
    uint64_t next = run_of(atomic_load(&pool->ticket)) + 1;
    atomic_store_explicit(&pool->run, run, memory_order_relaxed);
    atomic_store_explicit(&pool->work, work, memory_order_relaxed);
    atomic_store_explicit(&pool->count, (uint32_t)count, memory_order_relaxed);
    atomic_store_explicit(&pool->grain, (uint32_t)(grain < count ? grain : count),
                          memory_order_relaxed);
    atomic_store_explicit(&pool->done, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->ticket, (next & UINT32_MAX) << 32, memory_order_release);
    pthread_mutex_lock(&pool->lock);
    pthread_cond_broadcast(&pool->started_run);
    pthread_mutex_unlock(&pool->lock);
    work_on(pool, pool->workers[0].scratch);
    uint64_t start_ns = pool->profile ? clock_now_ns() : 0;
    wait_for_all(pool, count);
    if (pool->profile) {
        pool->profile->waited_ns += clock_now_ns() - start_ns;
        pool->profile->runs++;
    }
}

void pool_profile(struct pool *pool, struct profile *profile)
{
    pool->profile = profile;
}

uint32_t pool_threads(const struct pool *pool)
{
    return pool->threads;
}
