/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/command_queue.h"

#include "protocol/memory.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

struct entry {
    struct engine_command command;
    struct entry *next;
};

struct command_queue {
    pthread_mutex_t lock;
    pthread_cond_t came;
    struct entry *first;
    struct entry *last;
};

enum status command_queue_open(struct command_queue **queue_out)
{
    struct command_queue *queue = memory_zeroed(1, sizeof(*queue));
    pthread_condattr_t attributes;
    if (!queue)
        return STATUS_NO_MEMORY;
    (void)pthread_mutex_init(&queue->lock, NULL);
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&queue->came, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    *queue_out = queue;
    return STATUS_OK;
}

void command_queue_close(struct command_queue *queue)
{
    if (!queue)
        return;
    while (queue->first) {
        struct entry *entry = queue->first;
        queue->first = entry->next;
        memory_free(entry);
    }
    (void)pthread_cond_destroy(&queue->came);
    (void)pthread_mutex_destroy(&queue->lock);
    memory_free(queue);
}

enum status command_queue_put(struct command_queue *queue, const struct engine_command *command)
{
    struct entry *entry = memory_zeroed(1, sizeof(*entry));
    if (!entry)
        return STATUS_NO_MEMORY;
    entry->command = *command;
    (void)pthread_mutex_lock(&queue->lock);
    if (queue->last)
        queue->last->next = entry;
    else
        queue->first = entry;
    queue->last = entry;
    (void)pthread_cond_signal(&queue->came);
    (void)pthread_mutex_unlock(&queue->lock);
    return STATUS_OK;
}

/* Under the lock. */
static bool unlink_next(struct command_queue *queue, uint32_t only,
                        struct engine_command *command_out)
{
    struct entry *before = NULL;
    for (struct entry *entry = queue->first; entry; before = entry, entry = entry->next) {
        if (only != 0 && entry->command.effect != only && entry->command.effect != COMMAND_STOP)
            continue;
        if (before)
            before->next = entry->next;
        else
            queue->first = entry->next;
        if (queue->last == entry)
            queue->last = before;
        *command_out = entry->command;
        memory_free(entry);
        return true;
    }
    return false;
}

static struct timespec deadline_after(uint64_t limit_ms)
{
    struct timespec at;
    (void)clock_gettime(CLOCK_MONOTONIC, &at); /* style allows clock_gettime: pthread's own */
    at.tv_sec += (time_t)(limit_ms / 1000u);
    at.tv_nsec += (long)(limit_ms % 1000u) * 1000000L;
    if (at.tv_nsec >= 1000000000L) {
        at.tv_nsec -= 1000000000L;
        at.tv_sec++;
    }
    return at;
}

enum status command_queue_take(struct command_queue *queue, uint32_t only, uint64_t limit_ms,
                               struct engine_command *command_out)
{
    int waited = 0;
    bool has_one = false;
    struct timespec deadline = {0, 0};
    if (limit_ms != 0 && limit_ms != COMMAND_WAIT_FOR_EVER)
        deadline = deadline_after(limit_ms);
    (void)pthread_mutex_lock(&queue->lock);
    while (!(has_one = unlink_next(queue, only, command_out)) && limit_ms != 0 &&
           waited != ETIMEDOUT) {
        if (limit_ms == COMMAND_WAIT_FOR_EVER)
            waited = pthread_cond_wait(&queue->came, &queue->lock);
        else
            waited = pthread_cond_timedwait(&queue->came, &queue->lock, &deadline);
    }
    (void)pthread_mutex_unlock(&queue->lock);
    return has_one ? STATUS_OK : STATUS_TIMED_OUT;
}
