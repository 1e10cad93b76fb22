/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/loop.h"

#include "protocol/memory.h"
#include "protocol/message.h"
#include "runtime/clock.h"
#include "runtime/identity.h"
#include "runtime/log.h"
#include "runtime/loop_internal.h"
#include "runtime/service_notify.h"
#include "runtime/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BATCH_DEFAULT = 256, STOP_DEFAULT_MS = 5000 };

/* The signal flag: which loop SIGTERM wakes. */
static struct loop *_Atomic signalled_loop;

static void wake(struct loop *loop)
{
    /* A full pipe wakes as well. */
    ssize_t written = write(loop->wake_fds[1], "", 1);
    (void)written;
}

static void on_stop_signal(int number)
{
    (void)number;
    int error = errno;
    struct loop *loop = atomic_load(&signalled_loop);
    if (loop) {
        atomic_store(&loop->is_stop_wanted, true);
        wake(loop);
    }
    errno = error;
}

static void on_wake(void *argument, int fd)
{
    (void)argument;
    char bytes[256];
    while (read(fd, bytes, sizeof(bytes)) > 0)
        continue;
}

/* Whoever started us has gone: so do we, at once and without ceremony. */
static void on_beat(void *argument, int fd)
{
    struct loop *loop = argument;
    char bytes[64];
    ssize_t size = read(fd, bytes, sizeof(bytes));
    if (size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR)) {
        log_warning("%s: the supervisor is gone; ending", loop->options.ops->name);
        _exit(EXIT_FAILURE);
    }
    if (size > 0) {
        ssize_t written = write(fd, bytes, (size_t)size);
        (void)written;
    }
}

static void signals_take(struct loop *loop)
{
    struct sigaction stop = {.sa_handler = on_stop_signal, .sa_flags = SA_RESTART};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigset_t stops;
    atomic_store(&signalled_loop, loop);
    (void)sigemptyset(&stop.sa_mask);
    (void)sigemptyset(&ignore.sa_mask);
    (void)sigaction(SIGTERM, &stop, NULL);
    (void)sigaction(SIGINT, &stop, NULL);
    (void)sigaction(SIGPIPE, &ignore, NULL);
    (void)sigemptyset(&stops);
    (void)sigaddset(&stops, SIGTERM);
    (void)sigaddset(&stops, SIGINT);
    (void)pthread_sigmask(SIG_UNBLOCK, &stops, NULL);
}

static bool pipe_open(int fds[2])
{
    if (pipe(fds) != 0) {
        fds[0] = fds[1] = -1;
        return false;
    }
    for (int i = 0; i < 2; i++) {
        if (fcntl(fds[i], F_SETFL, O_NONBLOCK) != 0 || fcntl(fds[i], F_SETFD, FD_CLOEXEC) != 0)
            return false;
    }
    return true;
}

enum status loop_create(const struct loop_options *options, struct loop **loop_out,
                        struct reason *reason)
{
    struct loop *loop = memory_zeroed(1, sizeof(*loop));
    if (!loop)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for the loop");
    loop->options = *options;
    if (loop->options.batch_max == 0)
        loop->options.batch_max = BATCH_DEFAULT;
    if (loop->options.stop_ms == 0)
        loop->options.stop_ms = STOP_DEFAULT_MS;
    loop->transport = options->transport;
    loop->wake_fds[0] = loop->wake_fds[1] = -1;
    outbox_init(&loop->outbox);
    ASSERT(pthread_mutex_init(&loop->lock, NULL) == 0);
    enum status status = STATUS_OK;
    loop->actor = memory_zeroed(1, options->ops->memory_size);
    if (!loop->actor)
        status = refuse(reason, STATUS_NO_MEMORY, "no memory for %s", options->ops->name);
    /* A process without links still sleeps in the transport's poll. */
    struct transport_options bare = {.io_threads = 1};
    if (status == STATUS_OK && !loop->transport) {
        status = transport_open(&bare, &loop->transport, reason);
        loop->owns_transport = status == STATUS_OK;
    }
    if (status == STATUS_OK && !pipe_open(loop->wake_fds))
        status = refuse(reason, status_from_errno(errno), "no descriptor for the loop: %s",
                        strerror(errno));
    if (status == STATUS_OK)
        status = work_pool_open(&loop->pool);
    if (status == STATUS_OK)
        status = loop_watch(loop, loop->wake_fds[0], on_wake, loop);
    int beat_fd = beat_fd_inherited();
    if (status == STATUS_OK && beat_fd >= 0)
        status = loop_watch(loop, beat_fd, on_beat, loop);
    if (status != STATUS_OK) {
        loop_free(loop);
        return status;
    }
    *loop_out = loop;
    return STATUS_OK;
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    struct loop *expected = loop;
    (void)atomic_compare_exchange_strong(&signalled_loop, &expected, NULL);
    atomic_store(&loop->is_ending, true);
    work_pool_close(loop->pool);
    (void)pthread_mutex_lock(&loop->lock);
    loop->is_closed = true;
    (void)pthread_mutex_unlock(&loop->lock);
    if (loop->is_shell_open && loop->options.shell.close)
        loop->options.shell.close(loop->options.shell.self);
    if (loop->is_actor_open && loop->options.ops->fini)
        loop->options.ops->fini(loop->actor);
    pending_list_fini(&loop->posted);
    pending_list_fini(&loop->pending);
    outbox_fini(&loop->outbox);
    if (loop->owns_transport)
        transport_close(loop->transport, 0);
    for (int i = 0; i < 2; i++) {
        if (loop->wake_fds[i] >= 0)
            (void)close(loop->wake_fds[i]);
    }
    work_pool_free(loop->pool);
    memory_free(loop->actor);
    (void)pthread_mutex_destroy(&loop->lock);
    memory_free(loop);
}

void *loop_actor(struct loop *loop)
{
    return loop->actor;
}

const struct loop_counters *loop_counters(const struct loop *loop)
{
    return &loop->counters;
}

void loop_post(struct loop *loop, const struct result *result)
{
    struct pending pending = {.kind = INPUT_RESULT, .result = *result};
    (void)pthread_mutex_lock(&loop->lock);
    /* A lost result would leave its actor waiting for ever. */
    bool is_kept = !loop->is_closed;
    if (is_kept)
        ASSERT(pending_push(&loop->posted, &pending) == STATUS_OK);
    (void)pthread_mutex_unlock(&loop->lock);
    if (is_kept)
        wake(loop);
    else
        result_fini(&pending.result);
}

enum status loop_work(struct loop *loop, void (*work)(void *argument),
                      void (*cancel)(void *argument), void *argument)
{
    enum status status = work_pool_add(loop->pool, work, cancel, argument);
    if (status != STATUS_ENDED)
        return status;
    if (cancel)
        cancel(argument);
    return STATUS_OK;
}

enum status loop_watch(struct loop *loop, int fd, void (*ready)(void *argument, int fd),
                       void *argument)
{
    if (loop->watch_count == LOOP_WATCH_MAX)
        return STATUS_TOO_LARGE;
    loop->watches[loop->watch_count++] = (struct loop_watch){fd, ready, argument};
    return STATUS_OK;
}

/* The row is emptied now and removed before the next sleep, since a watch may end another. */
void loop_unwatch(struct loop *loop, int fd)
{
    for (size_t i = 0; i < loop->watch_count; i++) {
        if (loop->watches[i].fd == fd)
            loop->watches[i].ready = NULL;
    }
}

void loop_child(struct loop *loop, enum input_kind kind, const struct child_event *child)
{
    struct pending pending = {.kind = kind, .child = *child};
    ASSERT(pending_push(&loop->pending, &pending) == STATUS_OK);
}

void loop_stop(struct loop *loop)
{
    atomic_store(&loop->is_stop_wanted, true);
    wake(loop);
}

bool loop_is_ending(const struct loop *loop)
{
    return atomic_load(&loop->is_ending);
}

static enum status next_random(struct loop *loop, uint64_t *value_out)
{
    if (loop->random_left == 0) {
        enum status status = identity_random(loop->random, sizeof(loop->random));
        if (status != STATUS_OK)
            return status;
        loop->random_left = LOOP_RANDOM_COUNT;
    }
    uint64_t *slot = &loop->random[--loop->random_left];
    *value_out = *slot;
    *slot = 0;
    return STATUS_OK;
}

static enum status deliver(struct loop *loop, struct input *input, struct reason *reason)
{
    enum status status = next_random(loop, &input->random);
    if (status != STATUS_OK)
        return refuse(reason, status, "no random numbers from the system");
    input->now_us = clock_now_us();
    input->now_ms = input->now_us / 1000;
    input->wall_ms = clock_wall_ms();
    loop->counters.inputs++;
    status = loop->options.ops->step(loop->actor, input, &loop->outbox, reason);
    return status == STATUS_OK ? loop_carry_out(loop, reason) : status;
}

static enum status deliver_pending(struct loop *loop, struct pending *pending,
                                   struct reason *reason)
{
    struct input input = {.kind = pending->kind,
                          .peer = pending->peer,
                          .child = pending->child,
                          .status = pending->status,
                          .reason = pending->reason.text};
    if (pending->kind == INPUT_RESULT) {
        input.result = &pending->result;
        input.status = pending->result.status;
        input.reason = pending->result.reason.text;
    }
    enum status status = deliver(loop, &input, reason);
    result_fini(&pending->result);
    return status;
}

/* A command is always answered, also one that cannot be read: its key tells whom. */
static enum status answer_malformed(struct loop *loop, const struct transport_event *event,
                                    enum status how, const struct reason *refusal,
                                    struct reason *reason)
{
    struct envelope head;
    struct message answer;
    if (message_decode_head(event->bytes, event->size, &head) != STATUS_OK)
        return STATUS_OK;
    enum status status = STATUS_OK;
    if (head.kind == MESSAGE_COMMAND && !ID_IS_ZERO(head.key) &&
        message_init(&answer, MESSAGE_ANSWER, ANSWER_DONE) == STATUS_OK) {
        answer.head.key = head.key;
        answer.head.status = how;
        if (text_set(&answer.head.reason, refusal->text))
            outbox_send(&loop->outbox, &event->peer, &answer);
        message_fini(&answer);
        status = loop_carry_out(loop, reason);
    }
    record_fini(&envelope_type, &head);
    return status;
}

/* Without a key it is a process of our own node: somebody must know, once a second. */
static void say_malformed(struct loop *loop, const struct transport_event *event,
                          const struct reason *refusal)
{
    const uint64_t now_ms = clock_now_ms();
    loop->counters.messages_malformed++;
    if (!ID_IS_ZERO(event->peer.key) ||
        (loop->malformed_said_ms != 0 && now_ms - loop->malformed_said_ms < 1000))
        return;
    loop->malformed_said_ms = now_ms;
    log_error("ignoring a malformed message on link %u (%llu so far): %s",
              (unsigned)event->peer.link, (unsigned long long)loop->counters.messages_malformed,
              refusal->text[0] ? refusal->text : "no memory to read it");
}

static enum status deliver_message(struct loop *loop, const struct transport_event *event,
                                   struct reason *reason)
{
    struct message message;
    struct reason refusal = {""};
    enum status decoded = message_decode(event->bytes, event->size, &message, &refusal);
    if (decoded != STATUS_OK) {
        say_malformed(loop, event, &refusal);
        return answer_malformed(loop, event, decoded, &refusal, reason);
    }
    struct input input = {.kind = INPUT_MESSAGE,
                          .peer = event->peer,
                          .message = &message,
                          .bytes = event->bytes,
                          .size = event->size};
    enum status status = deliver(loop, &input, reason);
    message_fini(&message);
    return status;
}

static enum status deliver_event(struct loop *loop, const struct transport_event *event,
                                 struct reason *reason)
{
    static const enum input_kind kinds[] = {[TRANSPORT_BOUND] = INPUT_LINK_BOUND,
                                            [TRANSPORT_REFUSED] = INPUT_LINK_REFUSED,
                                            [TRANSPORT_UP] = INPUT_LINK_UP,
                                            [TRANSPORT_DOWN] = INPUT_LINK_DOWN};
    if (event->kind == TRANSPORT_MESSAGE)
        return deliver_message(loop, event, reason);
    struct input input = {.kind = kinds[event->kind],
                          .peer = event->peer,
                          .endpoint = event->endpoint,
                          .status = event->status,
                          .reason = event->reason.text};
    return deliver(loop, &input, reason);
}

/* Takes what other threads posted into the loop's own list. */
static enum status collect_posted(struct loop *loop)
{
    enum status status = STATUS_OK;
    (void)pthread_mutex_lock(&loop->lock);
    for (; loop->posted.taken < loop->posted.count && status == STATUS_OK; loop->posted.taken++)
        status = pending_push(&loop->pending, &loop->posted.items[loop->posted.taken]);
    (void)pthread_mutex_unlock(&loop->lock);
    return status;
}

/* One input of whatever kind waits.  False when nothing does. */
static enum status deliver_next(struct loop *loop, bool *is_any_out, struct reason *reason)
{
    struct transport_event event;
    struct input input = {0};
    *is_any_out = true;
    if (atomic_load(&loop->is_stop_wanted) && !loop->is_stop_told) {
        loop->is_stop_told = true;
        loop->stop_deadline_ms = clock_now_ms() + loop->options.stop_ms;
        if (loop->options.notify_service)
            (void)service_notify("STOPPING=1");
        input.kind = INPUT_STOP;
        return deliver(loop, &input, reason);
    }
    if (loop->pending.taken < loop->pending.count) {
        struct pending pending = loop->pending.items[loop->pending.taken++];
        return deliver_pending(loop, &pending, reason);
    }
    if (transport_next(loop->transport, &event))
        return deliver_event(loop, &event, reason);
    *is_any_out = false;
    return STATUS_OK;
}

/* Once a batch: an actor that always wants to wake at once still hears its sockets. */
static enum status deliver_wake(struct loop *loop, struct reason *reason)
{
    struct input input = {.kind = INPUT_WAKE};
    if (loop->outbox.wake_ms > clock_now_ms() || loop->is_exiting)
        return STATUS_OK;
    loop->outbox.wake_ms = UINT64_MAX;
    return deliver(loop, &input, reason);
}

static enum status run_batch(struct loop *loop, struct reason *reason)
{
    enum status status = collect_posted(loop);
    bool is_any = true;
    if (status == STATUS_OK)
        status = deliver_wake(loop, reason);
    for (uint32_t i = 0; i < loop->options.batch_max && status == STATUS_OK && is_any; i++) {
        if (loop->is_exiting)
            break;
        status = deliver_next(loop, &is_any, reason);
    }
    loop->counters.batches++;
    if (status == STATUS_OK && loop->options.shell.after_batch)
        status = loop->options.shell.after_batch(loop->options.shell.self, loop, reason);
    return status;
}

static int64_t sleep_ms(struct loop *loop)
{
    uint64_t wake_ms = loop->outbox.wake_ms;
    if (loop->is_stop_told && loop->stop_deadline_ms < wake_ms)
        wake_ms = loop->stop_deadline_ms;
    if (loop->watchdog_ms > 0 && loop->watchdog_at_ms < wake_ms)
        wake_ms = loop->watchdog_at_ms;
    if (loop->pending.taken < loop->pending.count)
        return 0;
    if (wake_ms == UINT64_MAX)
        return -1;
    uint64_t now_ms = clock_now_ms();
    uint64_t left = wake_ms > now_ms ? wake_ms - now_ms : 0;
    return left > INT32_MAX ? INT32_MAX : (int64_t)left;
}

static void wait_once(struct loop *loop)
{
    size_t kept = 0;
    for (size_t i = 0; i < loop->watch_count; i++) {
        if (loop->watches[i].ready)
            loop->watches[kept++] = loop->watches[i];
    }
    loop->watch_count = kept;
    for (size_t i = 0; i < kept; i++)
        loop->polled[i] = (struct transport_watch){.fd = loop->watches[i].fd};
    transport_wait(loop->transport, loop->polled, kept, sleep_ms(loop));
    for (size_t i = 0; i < kept; i++) {
        if (loop->polled[i].is_ready && loop->watches[i].ready)
            loop->watches[i].ready(loop->watches[i].argument, loop->watches[i].fd);
    }
}

static void watchdog_feed(struct loop *loop)
{
    if (loop->watchdog_ms == 0)
        return;
    uint64_t now_ms = clock_now_ms();
    if (now_ms < loop->watchdog_at_ms)
        return;
    (void)service_notify("WATCHDOG=1");
    loop->watchdog_at_ms = now_ms + loop->watchdog_ms;
}

static enum status start(struct loop *loop, struct reason *reason)
{
    struct input input = {.kind = INPUT_START};
    const struct actor_ops *ops = loop->options.ops;
    enum status status = identity_random(input.seed, sizeof(input.seed));
    if (status == STATUS_OK && ops->init)
        status = ops->init(loop->actor, loop->options.settings, reason);
    if (status != STATUS_OK)
        return status;
    loop->is_actor_open = true;
    if (loop->options.shell.open)
        status = loop->options.shell.open(loop->options.shell.self, loop, reason);
    if (status != STATUS_OK)
        return status;
    loop->is_shell_open = true;
    if (loop->options.notify_service)
        loop->watchdog_ms = service_watchdog_ms();
    return deliver(loop, &input, reason);
}

enum status loop_run(struct loop *loop, int *exit_code_out, struct reason *reason)
{
    signals_take(loop);
    enum status status = start(loop, reason);
    while (status == STATUS_OK) {
        status = run_batch(loop, reason);
        if (status != STATUS_OK || loop->is_exiting)
            break;
        if (loop->is_stop_told && clock_now_ms() >= loop->stop_deadline_ms) {
            status = refuse(reason, STATUS_TIMED_OUT, "%s did not stop within %u ms",
                            loop->options.ops->name, (unsigned)loop->options.stop_ms);
            break;
        }
        watchdog_feed(loop);
        wait_once(loop);
    }
    atomic_store(&loop->is_ending, true);
    if (status == STATUS_OK)
        *exit_code_out = loop->exit_code;
    return status;
}
