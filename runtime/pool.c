/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/pool.h"

#include "protocol/memory.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>

struct job {
    void (*work)(void *argument);
    void (*cancel)(void *argument);
    void *argument;
    struct job *next;
};

struct work_pool {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct job *first;
    struct job *last;
    pthread_t threads[POOL_THREADS_MAX];
    size_t thread_count;
    size_t idle_count;
    size_t waiting_count;
    bool is_closed;
};

enum status work_pool_open(struct work_pool **work_pool_out)
{
    struct work_pool *pool = memory_zeroed(1, sizeof(*pool));
    if (!pool)
        return STATUS_NO_MEMORY;
    ASSERT(pthread_mutex_init(&pool->lock, NULL) == 0);
    ASSERT(pthread_cond_init(&pool->changed, NULL) == 0);
    *work_pool_out = pool;
    return STATUS_OK;
}

static struct job *job_take(struct work_pool *pool)
{
    struct job *job = pool->first;
    if (job) {
        pool->first = job->next;
        if (!pool->first)
            pool->last = NULL;
        pool->waiting_count--;
    }
    return job;
}

static void *work_pool_thread(void *argument)
{
    struct work_pool *pool = argument;
    (void)pthread_mutex_lock(&pool->lock);
    while (!pool->is_closed) {
        struct job *job = job_take(pool);
        if (!job) {
            pool->idle_count++;
            (void)pthread_cond_wait(&pool->changed, &pool->lock);
            pool->idle_count--;
            continue;
        }
        (void)pthread_mutex_unlock(&pool->lock);
        job->work(job->argument);
        memory_free(job);
        (void)pthread_mutex_lock(&pool->lock);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* Signals belong to the loop's thread. */
static void thread_add(struct work_pool *pool)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&pool->threads[pool->thread_count], NULL, work_pool_thread, pool) == 0)
        pool->thread_count++;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

enum status work_pool_add(struct work_pool *pool, void (*work)(void *argument),
                     void (*cancel)(void *argument), void *argument)
{
    struct job *job = memory_zeroed(1, sizeof(*job));
    if (!job)
        return STATUS_NO_MEMORY;
    *job = (struct job){.work = work, .cancel = cancel, .argument = argument};
    (void)pthread_mutex_lock(&pool->lock);
    enum status status = STATUS_OK;
    if (!pool->is_closed && pool->idle_count <= pool->waiting_count &&
        pool->thread_count < POOL_THREADS_MAX)
        thread_add(pool);
    if (pool->is_closed)
        status = STATUS_ENDED;
    else if (pool->thread_count == 0)
        status = STATUS_NO_MEMORY;
    if (status == STATUS_OK) {
        if (pool->last)
            pool->last->next = job;
        else
            pool->first = job;
        pool->last = job;
        pool->waiting_count++;
        (void)pthread_cond_signal(&pool->changed);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    if (status != STATUS_OK)
        memory_free(job);
    return status;
}

void work_pool_close(struct work_pool *pool)
{
    if (!pool)
        return;
    (void)pthread_mutex_lock(&pool->lock);
    pool->is_closed = true;
    (void)pthread_cond_broadcast(&pool->changed);
    (void)pthread_mutex_unlock(&pool->lock);
    for (size_t i = 0; i < pool->thread_count; i++)
        (void)pthread_join(pool->threads[i], NULL);
    pool->thread_count = 0;
    struct job *job;
    while ((job = job_take(pool)) != NULL) {
        if (job->cancel)
            job->cancel(job->argument);
        memory_free(job);
    }
}

void work_pool_free(struct work_pool *pool)
{
    if (!pool)
        return;
    (void)pthread_cond_destroy(&pool->changed);
    (void)pthread_mutex_destroy(&pool->lock);
    memory_free(pool);
}
