/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/side_worker.h"

#include "protocol/memory.h"

#include <pthread.h>
#include <stdbool.h>

struct side_worker {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    void (*job)(void *argument); /* NULL: nothing at work */
    void *argument;
    bool is_ending;
};

static void *work(void *argument)
{
    struct side_worker *worker = argument;
    (void)pthread_mutex_lock(&worker->mutex);
    while (!worker->is_ending || worker->job) {
        if (!worker->job) {
            (void)pthread_cond_wait(&worker->changed, &worker->mutex);
            continue;
        }
        (void)pthread_mutex_unlock(&worker->mutex);
        worker->job(worker->argument);
        (void)pthread_mutex_lock(&worker->mutex);
        worker->job = NULL;
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

void side_worker_start(struct side_worker *worker, void (*job)(void *argument), void *argument)
{
    (void)pthread_mutex_lock(&worker->mutex);
    ASSERT(worker->job == NULL);
    worker->job = job;
    worker->argument = argument;
    (void)pthread_cond_broadcast(&worker->changed);
    (void)pthread_mutex_unlock(&worker->mutex);
}

void side_worker_wait(struct side_worker *worker)
{
    (void)pthread_mutex_lock(&worker->mutex);
    while (worker->job)
        (void)pthread_cond_wait(&worker->changed, &worker->mutex);
    (void)pthread_mutex_unlock(&worker->mutex);
}
