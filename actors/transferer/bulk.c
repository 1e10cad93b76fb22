/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/transferer/bulk.h"

#include "actors/transferer/pace.h"
#include "protocol/memory.h"
#include "runtime/bytes.h"
#include "runtime/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define NICE_BULK 19 /* a generation on the same cores is computed first */

#define EVENTS_TURN 16u /* before what the loop wants is looked at again */

/* Shared by all threads. */
struct bulk_brake {
    pthread_mutex_t lock;
    struct pace pace;
    atomic_uint_fast64_t busy_ms; /* a rank of this node computes until then */
};

struct job {
    struct effect effect;
    struct job *next;
};

struct bulk_thread {
    const struct bulk_ops *ops;
    void *self;
    struct bulk_brake *brake;
    struct transport *transport;
    pthread_t thread;
    pthread_mutex_t lock;
    struct job *first;
    struct job *last;
    int wake[2];
    atomic_bool is_ending;
};

void stream_request_free(void *value)
{
    struct stream_request *request = value;
    if (!request)
        return;
    record_fini(&model_record_type, &request->record);
    record_fini(&download_record_type, &request->download);
    memory_free(request->held_out.items);
    memset(&request->key, 0, sizeof(request->key));
    memory_free(request);
}

void share_look_free(void *value)
{
    struct share_look *look = value;
    if (!look)
        return;
    memory_free(look->held_out.items);
    memory_free(look);
}

void gather_look_free(void *value)
{
    struct gather_look *look = value;
    if (!look)
        return;
    record_fini(&download_record_type, &look->download);
    memory_free(look->wanted);
    memory_free(look->have_out);
    memory_free(look->open_out);
    memory_free(look);
}

void receive_request_free(void *value)
{
    struct receive_request *request = value;
    if (!request)
        return;
    record_fini(&model_record_type, &request->record);
    memory_free(request->manifest.items);
    memory_free(request->have_out);
    memory_free(request);
}

void piece_with(const struct request_id *session, uint32_t chunk, uint32_t offset,
                uint8_t with_out[PIECE_WITH_SIZE])
{
    memcpy(with_out, session, 16);
    put_u32(with_out + 16, chunk);
    put_u32(with_out + 20, offset);
}

enum status bulk_seals_init(const struct stream_request *request, struct seal *from,
                            struct seal *to)
{
    const enum status status = seal_init(from, &request->key, SEAL_FROM_SOURCE, request->is_aes);
    return status == STATUS_OK ? seal_init(to, &request->key, SEAL_TO_SOURCE, request->is_aes)
                               : status;
}

void bulk_post(const struct bulk_options *options, uint32_t kind, uint64_t id, enum status status,
               const struct reason *reason, void *value, void (*value_free)(void *value))
{
    struct result result = {.id = id, .kind = kind, .status = status, .value = value,
                            .value_free = value_free};
    if (reason)
        result.reason = *reason;
    options->post(options->loop, &result);
}

/* ---- a thread with sockets and a queue ---- */

static void job_free(struct job *job)
{
    if (job->effect.request && job->effect.request_free)
        job->effect.request_free(job->effect.request);
    memory_free(job);
}

static struct job *job_take(struct bulk_thread *thread)
{
    (void)pthread_mutex_lock(&thread->lock);
    struct job *job = thread->first;
    if (job)
        thread->first = job->next;
    if (!thread->first)
        thread->last = NULL;
    (void)pthread_mutex_unlock(&thread->lock);
    return job;
}

static void run_jobs(struct bulk_thread *thread)
{
    uint8_t bytes[64];
    struct job *job;
    while (read(thread->wake[0], bytes, sizeof(bytes)) > 0)
        ;
    while (!atomic_load(&thread->is_ending) && (job = job_take(thread)) != NULL) {
        thread->ops->take(thread->self, &job->effect);
        job_free(job);
    }
}

static void lower_priority(void)
{
#ifdef __linux__
    const struct sched_param none = {0};
    (void)setpriority(PRIO_PROCESS, 0, NICE_BULK); /* of this thread and those it makes */
    (void)pthread_setschedparam(pthread_self(), SCHED_BATCH, &none);
#endif
}

static uint64_t rest_ms(struct bulk_brake *brake)
{
    if (!brake)
        return 0;
    (void)pthread_mutex_lock(&brake->lock);
    const uint64_t now_us = clock_now_us();
    const bool is_generating = now_us / 1000u < atomic_load(&brake->busy_ms);
    const uint64_t rest = pace_rest_ms(&brake->pace, is_generating, now_us,
                                       is_generating ? clock_spent_us() : 0);
    (void)pthread_mutex_unlock(&brake->lock);
    return rest;
}

/* Sleeps, or is woken by a job; false: there is no need. */
static bool rest(const struct bulk_thread *thread)
{
    struct pollfd wake = {.fd = thread->wake[0], .events = POLLIN};
    const uint64_t for_ms = rest_ms(thread->brake);
    if (for_ms > 0)
        (void)poll(&wake, 1, (int)for_ms);
    return for_ms > 0;
}

static void *thread_run(void *argument)
{
    struct bulk_thread *thread = argument;
    const struct transport_options options = {.io_threads = 1};
    struct transport_event event;
    struct reason reason = {""};
    lower_priority();
    enum status status = transport_open(&options, &thread->transport, &reason);
    if (status == STATUS_OK)
        status = thread->ops->begin(thread->self, thread->transport, &reason);
    int64_t wait_ms = -1;
    while (status == STATUS_OK && !atomic_load(&thread->is_ending)) {
        struct transport_watch watch = {.fd = thread->wake[0]};
        transport_wait(thread->transport, &watch, 1, wait_ms);
        run_jobs(thread);
        wait_ms = 0;
        if (rest(thread))
            continue;
        uint32_t taken = 0;
        while (taken < EVENTS_TURN && !atomic_load(&thread->is_ending) &&
               transport_next(thread->transport, &event)) {
            thread->ops->event(thread->self, &event);
            taken++;
            if (rest_ms(thread->brake) > 0)
                break;
        }
        wait_ms = thread->ops->work ? thread->ops->work(thread->self) : -1;
        if (taken == EVENTS_TURN)
            wait_ms = 0; /* more of them may lie here already */
    }
    if (status == STATUS_OK)
        thread->ops->end(thread->self);
    transport_close(thread->transport, 0);
    return NULL;
}

static bool open_pipe(int fds[2])
{
    if (pipe(fds) != 0)
        return false;
    for (int i = 0; i < 2; i++)
        if (fcntl(fds[i], F_SETFD, FD_CLOEXEC) != 0 || fcntl(fds[i], F_SETFL, O_NONBLOCK) != 0)
            return false;
    return true;
}

enum status bulk_thread_open(const struct bulk_options *options, const struct bulk_ops *ops,
                             void *self, struct bulk_thread **thread_out, struct reason *reason)
{
    sigset_t all;
    sigset_t before;
    struct bulk_thread *thread = memory_zeroed(1, sizeof(*thread));
    if (!thread)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for a thread of transfers");
    thread->ops = ops;
    thread->self = self;
    thread->brake = options->brake;
    if (!open_pipe(thread->wake)) {
        memory_free(thread);
        return refuse(reason, STATUS_IO, "a thread of transfers cannot be woken: %s",
                      strerror(errno));
    }
    ASSERT(pthread_mutex_init(&thread->lock, NULL) == 0);
    *thread_out = thread; /* its work may begin at once */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    const int made = pthread_create(&thread->thread, NULL, thread_run, thread);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (made == 0)
        return STATUS_OK;
    (void)close(thread->wake[0]);
    (void)close(thread->wake[1]);
    memory_free(thread);
    *thread_out = NULL;
    return refuse(reason, STATUS_NO_MEMORY, "a thread of transfers cannot start: %s",
                  strerror(made));
}

static void wake(struct bulk_thread *thread)
{
    const uint8_t one = 1;
    /* A full pipe wakes as well. */
    (void)!write(thread->wake[1], &one, 1);
}

enum status bulk_thread_post(struct bulk_thread *thread, struct effect *effect)
{
    struct job *job = memory_zeroed(1, sizeof(*job));
    if (!job)
        return STATUS_NO_MEMORY;
    job->effect = *effect;
    effect->request = NULL;
    (void)pthread_mutex_lock(&thread->lock);
    if (thread->last)
        thread->last->next = job;
    else
        thread->first = job;
    thread->last = job;
    (void)pthread_mutex_unlock(&thread->lock);
    wake(thread);
    return STATUS_OK;
}

bool bulk_thread_is_ending(const struct bulk_thread *thread)
{
    uint64_t for_ms;
    while (!atomic_load(&thread->is_ending) && (for_ms = rest_ms(thread->brake)) > 0)
        clock_sleep_ms(for_ms);
    return atomic_load(&thread->is_ending);
}

void bulk_thread_close(struct bulk_thread *thread)
{
    struct job *job;
    if (!thread)
        return;
    atomic_store(&thread->is_ending, true);
    wake(thread);
    (void)pthread_join(thread->thread, NULL);
    while ((job = job_take(thread)) != NULL)
        job_free(job);
    (void)close(thread->wake[0]);
    (void)close(thread->wake[1]);
    (void)pthread_mutex_destroy(&thread->lock);
    memory_free(thread);
}

/* ---- all of them ---- */

struct bulk {
    struct bulk_lender *lender;
    struct bulk_receiver *receiver;
    struct bulk_gatherer *gatherer;
    struct bulk_brake brake;
};

enum status bulk_open(const struct bulk_options *given, struct bulk **bulk_out,
                      struct reason *reason)
{
    struct bulk_options options = *given;
    struct bulk *bulk = memory_zeroed(1, sizeof(*bulk));
    if (!bulk)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for transfers");
    ASSERT(pthread_mutex_init(&bulk->brake.lock, NULL) == 0);
    options.brake = &bulk->brake;
    enum status status = bulk_lender_open(&options, &bulk->lender, reason);
    if (status == STATUS_OK)
        status = bulk_receiver_open(&options, &bulk->receiver, reason);
    if (status == STATUS_OK)
        status = bulk_gatherer_open(&options, &bulk->gatherer, reason);
    if (status != STATUS_OK) {
        bulk_close(bulk);
        return status;
    }
    *bulk_out = bulk;
    return STATUS_OK;
}

enum status bulk_take(struct bulk *bulk, struct effect *effect)
{
    if (effect->kind == BULK_BUSY) {
        atomic_store(&bulk->brake.busy_ms, effect->id);
        return STATUS_OK;
    }
    if (effect->kind >= BULK_GATHER_FIRST)
        return bulk_thread_post(bulk_gatherer_thread(bulk->gatherer), effect);
    return bulk_thread_post(effect->kind < BULK_RECEIVE_FIRST
                                ? bulk_lender_thread(bulk->lender)
                                : bulk_receiver_thread(bulk->receiver, effect),
                            effect);
}

void bulk_close(struct bulk *bulk)
{
    if (!bulk)
        return;
    bulk_lender_close(bulk->lender);
    bulk_receiver_close(bulk->receiver);
    bulk_gatherer_close(bulk->gatherer);
    (void)pthread_mutex_destroy(&bulk->brake.lock);
    memory_free(bulk);
}
