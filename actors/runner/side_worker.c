/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/side_worker.h"

#include "protocol/memory.h"
#include "runtime/clock.h"

#include <pthread.h>

struct side_job {
    void (*work)(void *argument);
    void *argument;
};

struct side_worker {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct side_job jobs[SIDE_JOBS_MAX]; /* a ring */
    uint64_t started;
    uint64_t done;
    bool is_ending;
};

static void *work(void *argument)
{
    struct side_worker *worker = argument;
    (void)pthread_setname_np(pthread_self(), "side");
    (void)pthread_mutex_lock(&worker->mutex);
    while (!worker->is_ending || worker->done < worker->started) {
        if (worker->done == worker->started) {
            (void)pthread_cond_wait(&worker->changed, &worker->mutex);
            continue;
        }
        const struct side_job job = worker->jobs[worker->done % SIDE_JOBS_MAX];
        (void)pthread_mutex_unlock(&worker->mutex);
        job.work(job.argument);
        (void)pthread_mutex_lock(&worker->mutex);
        worker->done++;
        (void)pthread_cond_broadcast(&worker->changed);
    }
    (void)pthread_mutex_unlock(&worker->mutex);
    return NULL;
}

enum status side_worker_open(struct side_worker **worker_out, struct reason *reason)
{
    struct side_worker *worker = memory_zeroed(1, sizeof(*worker));
    if (!worker)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for a thread");
    (void)pthread_mutex_init(&worker->mutex, NULL);
    (void)pthread_cond_init(&worker->changed, NULL);
    if (pthread_create(&worker->thread, NULL, work, worker) != 0) {
        (void)pthread_cond_destroy(&worker->changed);
        (void)pthread_mutex_destroy(&worker->mutex);
        memory_free(worker);
        return refuse(reason, STATUS_NO_MEMORY, "the system gives no further thread");
    }
    *worker_out = worker;
    return STATUS_OK;
}

void side_worker_close(struct side_worker *worker)
{
    if (!worker)
        return;
    (void)pthread_mutex_lock(&worker->mutex);
    worker->is_ending = true;
    (void)pthread_cond_broadcast(&worker->changed);
    (void)pthread_mutex_unlock(&worker->mutex);
    (void)pthread_join(worker->thread, NULL);
    (void)pthread_cond_destroy(&worker->changed);
    (void)pthread_mutex_destroy(&worker->mutex);
    memory_free(worker);
}

bool side_worker_end(struct side_worker *worker, uint64_t limit_ms)
{
    const uint64_t end_ms = clock_now_ms() + limit_ms;
    bool is_idle = !worker;
    while (!is_idle) {
        /* It may be stuck with the lock. */
        if (pthread_mutex_trylock(&worker->mutex) == 0) {
            worker->is_ending = true;
            is_idle = worker->done == worker->started;
            (void)pthread_cond_broadcast(&worker->changed);
            (void)pthread_mutex_unlock(&worker->mutex);
        }
        if (is_idle)
            break;
        if (clock_now_ms() >= end_ms)
            return false;
        clock_sleep_ms(2);
    }
    side_worker_close(worker);
    return true;
}

void side_worker_start(struct side_worker *worker, void (*job)(void *argument), void *argument)
{
    (void)pthread_mutex_lock(&worker->mutex);
    ASSERT(worker->started - worker->done < SIDE_JOBS_MAX);
    worker->jobs[worker->started++ % SIDE_JOBS_MAX] = (struct side_job){job, argument};
    (void)pthread_cond_broadcast(&worker->changed);
    (void)pthread_mutex_unlock(&worker->mutex);
}

uint64_t side_worker_done(struct side_worker *worker)
{
    (void)pthread_mutex_lock(&worker->mutex);
    const uint64_t done = worker->done;
    (void)pthread_mutex_unlock(&worker->mutex);
    return done;
}

void side_worker_wait(struct side_worker *worker)
{
    (void)pthread_mutex_lock(&worker->mutex);
    while (worker->done < worker->started)
        (void)pthread_cond_wait(&worker->changed, &worker->mutex);
    (void)pthread_mutex_unlock(&worker->mutex);
}
