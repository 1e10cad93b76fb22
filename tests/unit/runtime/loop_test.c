/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/loop.h"

#include "protocol/memory.h"
#include "protocol/message.h"
#include "runtime/clock.h"
#include "runtime/spawn.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* A toy actor whose step is a function of the test; its shell likewise. */

enum { SERVER = 1, UPSTREAM = 2, ROUNDS = 200 };

struct toy {
    enum status (*on)(struct toy *toy, const struct input *input, struct outbox *outbox,
                      struct reason *reason);
    enum status (*perform)(struct toy *toy, struct loop *loop, struct effect *effect);
    const char *endpoint;
    struct loop *loop;
    struct transport *transport;
    uint64_t count;
    uint64_t other;
    uint64_t at_ms;
    atomic_uint batches;
    enum status status;
    struct reason reason;
    int exit_code;
};

struct toy_memory {
    struct toy *toy;
};

static enum status toy_init(void *actor, const void *settings, struct reason *reason)
{
    (void)reason;
    struct toy_memory *memory = actor;
    union {
        const void *borrowed;
        struct toy *toy;
    } test = {settings};
    memory->toy = test.toy;
    return STATUS_OK;
}

static enum status toy_step(void *actor, const struct input *input, struct outbox *outbox,
                            struct reason *reason)
{
    struct toy_memory *memory = actor;
    return memory->toy->on(memory->toy, input, outbox, reason);
}

static const struct actor_ops toy_ops = {
    .name = "toy", .memory_size = sizeof(struct toy_memory), .init = toy_init, .step = toy_step};

static enum status toy_perform(void *self, struct loop *loop, struct effect *effect,
                               struct reason *reason)
{
    struct toy *toy = self;
    (void)reason;
    return toy->perform(toy, loop, effect);
}

static enum status toy_after_batch(void *self, struct loop *loop, struct reason *reason)
{
    struct toy *toy = self;
    (void)loop;
    (void)reason;
    atomic_fetch_add(&toy->batches, 1);
    return STATUS_OK;
}

static void toy_open(struct toy *toy)
{
    struct transport_options none = {.io_threads = 1};
    ck_assert_int_eq(transport_open(&none, &toy->transport, NULL), STATUS_OK);
    struct loop_options options = {
        .ops = &toy_ops, .settings = toy, .transport = toy->transport, .stop_ms = 100,
        .shell = {.self = toy, .perform = toy->perform ? toy_perform : NULL,
                  .after_batch = toy_after_batch}};
    ck_assert_int_eq(loop_create(&options, &toy->loop, NULL), STATUS_OK);
}

static void toy_close(struct toy *toy)
{
    loop_free(toy->loop);
    transport_close(toy->transport, 0);
}

static void *toy_run(void *argument)
{
    struct toy *toy = argument;
    toy->exit_code = -1;
    toy->status = loop_run(toy->loop, &toy->exit_code, &toy->reason);
    return NULL;
}

static void run_alone(struct toy *toy)
{
    toy_open(toy);
    (void)toy_run(toy);
    toy_close(toy);
}

static void run_in_thread(struct toy *toy, pthread_t *thread_out)
{
    toy_open(toy);
    ck_assert_int_eq(pthread_create(thread_out, NULL, toy_run, toy), 0);
}

static void send_count(struct outbox *outbox, const struct peer *peer, uint64_t count)
{
    struct message message;
    ck_assert_int_eq(message_init(&message, MESSAGE_SIGNAL, SIGNAL_HEARTBEAT), STATUS_OK);
    MESSAGE_BODY(&message, heartbeat)->entered = count;
    outbox_send(outbox, peer, &message);
    message_fini(&message);
}

static void open_link(struct toy *toy, struct outbox *outbox, uint32_t link, enum link_role role)
{
    struct link_options options = {.role = role};
    (void)snprintf(options.endpoint, sizeof(options.endpoint), "%s", toy->endpoint);
    outbox_link_open(outbox, link, &options);
}

static enum status echo_on(struct toy *toy, const struct input *input, struct outbox *outbox,
                           struct reason *reason)
{
    (void)reason;
    if (input->kind == INPUT_START)
        open_link(toy, outbox, SERVER, LINK_BIND);
    if (input->kind == INPUT_MESSAGE) {
        toy->count++;
        outbox_send_bytes(outbox, &input->peer, input->bytes, input->size);
    }
    if (input->kind == INPUT_LINK_DOWN)
        toy->other++;
    if (input->kind == INPUT_STOP)
        outbox_exit(outbox, 3);
    return STATUS_OK;
}

static enum status asker_on(struct toy *toy, const struct input *input, struct outbox *outbox,
                            struct reason *reason)
{
    (void)reason;
    if (input->kind == INPUT_START)
        open_link(toy, outbox, UPSTREAM, LINK_CONNECT);
    if (input->kind == INPUT_LINK_UP)
        send_count(outbox, &input->peer, 0);
    if (input->kind == INPUT_MESSAGE) {
        ck_assert(message_is(input->message, MESSAGE_SIGNAL, SIGNAL_HEARTBEAT));
        ck_assert_uint_eq(MESSAGE_BODY(input->message, heartbeat)->entered, toy->count);
        toy->count++;
        if (toy->count == ROUNDS)
            outbox_exit(outbox, 5);
        else
            send_count(outbox, &input->peer, toy->count);
    }
    return STATUS_OK;
}

START_TEST(two_actors_talk)
{
    struct scratch scratch;
    struct toy echo = {.on = echo_on, .endpoint = "ipc://echo.sock"};
    struct toy asker = {.on = asker_on, .endpoint = "ipc://echo.sock"};
    pthread_t thread;
    scratch_open(&scratch);
    ck_assert_int_eq(chdir(scratch.path), 0);
    run_in_thread(&echo, &thread);
    run_alone(&asker);
    ck_assert_int_eq(asker.status, STATUS_OK);
    ck_assert_int_eq(asker.exit_code, 5);
    ck_assert_uint_eq(asker.count, ROUNDS);
    loop_stop(echo.loop);
    (void)pthread_join(thread, NULL);
    ck_assert_int_eq(echo.status, STATUS_OK);
    ck_assert_int_eq(echo.exit_code, 3);
    ck_assert_uint_eq(echo.count, ROUNDS);
    toy_close(&echo);
    ck_assert_int_eq(chdir("/"), 0);
    scratch_close(&scratch);
}
END_TEST

START_TEST(malformed_bytes_are_ignored)
{
    struct scratch scratch;
    struct toy echo = {.on = echo_on, .endpoint = "ipc://echo.sock"};
    struct transport_options none = {.io_threads = 1};
    struct link_options options = {.role = LINK_CONNECT, .endpoint = "ipc://echo.sock"};
    struct transport *raw;
    struct transport_event event = {0};
    pthread_t thread;
    scratch_open(&scratch);
    ck_assert_int_eq(chdir(scratch.path), 0);
    run_in_thread(&echo, &thread);
    ck_assert_int_eq(transport_open(&none, &raw, NULL), STATUS_OK);
    ck_assert_int_eq(transport_link_open(raw, UPSTREAM, &options, NULL), STATUS_OK);
    while (event.kind != TRANSPORT_UP) {
        transport_wait(raw, NULL, 0, 100);
        (void)transport_next(raw, &event);
    }
    ck_assert_int_eq(transport_send(raw, &event.peer, "\xc1junk", 5), STATUS_OK);
    struct message message;
    struct buffer bytes;
    buffer_init(&bytes, 1 << 16);
    ck_assert_int_eq(message_init(&message, MESSAGE_SIGNAL, SIGNAL_HEARTBEAT), STATUS_OK);
    ck_assert_int_eq(message_encode(&message, &bytes), STATUS_OK);
    ck_assert_int_eq(transport_send(raw, &event.peer, bytes.bytes, bytes.size), STATUS_OK);
    while (event.kind != TRANSPORT_MESSAGE) {
        transport_wait(raw, NULL, 0, 100);
        (void)transport_next(raw, &event);
    }
    ck_assert_uint_eq(event.size, bytes.size);
    loop_stop(echo.loop);
    (void)pthread_join(thread, NULL);
    ck_assert_uint_eq(loop_counters(echo.loop)->messages_malformed, 1);
    ck_assert_uint_eq(echo.count, 1);
    message_fini(&message);
    buffer_fini(&bytes);
    transport_close(raw, 0);
    toy_close(&echo);
    ck_assert_int_eq(chdir("/"), 0);
    scratch_close(&scratch);
}
END_TEST

struct errand {
    struct loop *loop;
    uint64_t id;
};

static void errand_run(void *argument)
{
    struct errand *errand = argument;
    uint64_t *value = memory_zeroed(1, sizeof(*value));
    ck_assert_ptr_nonnull(value);
    *value = errand->id * 10;
    struct result result = {.id = errand->id, .kind = 1, .value = value,
                            .value_free = memory_free};
    loop_post(errand->loop, &result);
    memory_free(errand);
}

static enum status errand_perform(struct toy *toy, struct loop *loop, struct effect *effect)
{
    (void)toy;
    struct errand *errand = effect->request;
    effect->request = NULL;
    errand->loop = loop;
    return loop_work(loop, errand_run, memory_free, errand);
}

static enum status errand_on(struct toy *toy, const struct input *input, struct outbox *outbox,
                             struct reason *reason)
{
    enum { ERRANDS = 50 };
    (void)reason;
    if (input->kind == INPUT_START) {
        for (uint64_t id = 1; id <= ERRANDS; id++) {
            struct errand *errand = memory_zeroed(1, sizeof(*errand));
            ck_assert_ptr_nonnull(errand);
            errand->id = id;
            outbox_effect(outbox, id, 1, errand, memory_free);
        }
    }
    if (input->kind == INPUT_RESULT) {
        ck_assert_uint_eq(*(uint64_t *)input->result->value, input->result->id * 10);
        toy->other += input->result->id;
        if (++toy->count == ERRANDS)
            outbox_exit(outbox, 0);
        if (toy->count == 1)
            memory_free(result_take(input->result));
    }
    return STATUS_OK;
}

START_TEST(effects_run_on_workers_and_come_back)
{
    struct toy toy = {.on = errand_on, .perform = errand_perform};
    run_alone(&toy);
    ck_assert_int_eq(toy.status, STATUS_OK);
    ck_assert_uint_eq(toy.count, 50);
    ck_assert_uint_eq(toy.other, 50 * 51 / 2);
    /* All fifty may be done before the loop looks again: then the last batch is the exit. */
    ck_assert_uint_ge(atomic_load(&toy.batches), 1);
}
END_TEST

static enum status wake_on(struct toy *toy, const struct input *input, struct outbox *outbox,
                           struct reason *reason)
{
    (void)reason;
    if (input->kind == INPUT_START) {
        toy->at_ms = input->now_ms + 60;
        ck_assert(!id_is_zero(input->seed, sizeof(input->seed)));
        outbox_wake(outbox, toy->at_ms + 1000);
        outbox_wake(outbox, toy->at_ms);
    }
    if (input->kind == INPUT_WAKE) {
        ck_assert_uint_ge(input->now_ms, toy->at_ms);
        outbox_exit(outbox, 0);
    }
    return STATUS_OK;
}

START_TEST(it_wakes_when_asked_and_sleeps_until_then)
{
    struct toy toy = {.on = wake_on};
    run_alone(&toy);
    ck_assert_int_eq(toy.status, STATUS_OK);
    /* Start, perhaps an early return of poll, and the wake: no ticking. */
    ck_assert_uint_le(atomic_load(&toy.batches), 5);
}
END_TEST

static enum status refusal_on(struct toy *toy, const struct input *input, struct outbox *outbox,
                              struct reason *reason)
{
    struct peer nobody = peer_of_link(99);
    (void)reason;
    if (input->kind == INPUT_START) {
        open_link(toy, outbox, SERVER, LINK_BIND);
        outbox_send_bytes(outbox, &nobody, "x", 1);
    }
    if (input->kind == INPUT_LINK_REFUSED) {
        ck_assert_int_eq(input->status, STATUS_INVALID);
        ck_assert_str_ne(input->reason, "");
        toy->count++;
    }
    if (input->kind == INPUT_SEND_FAILED) {
        ck_assert_uint_eq(input->peer.link, 99);
        ck_assert_int_eq(input->status, STATUS_UNREACHABLE);
        toy->other++;
    }
    if (toy->count == 1 && toy->other == 1)
        outbox_exit(outbox, 0);
    return STATUS_OK;
}

START_TEST(refusals_come_back_as_inputs)
{
    struct toy toy = {.on = refusal_on, .endpoint = "pigeon://here"};
    run_alone(&toy);
    ck_assert_int_eq(toy.status, STATUS_OK);
    ck_assert_uint_eq(toy.count, 1);
    ck_assert_uint_eq(toy.other, 1);
}
END_TEST

static enum status deaf_on(struct toy *toy, const struct input *input, struct outbox *outbox,
                           struct reason *reason)
{
    (void)outbox;
    (void)reason;
    if (input->kind == INPUT_START)
        (void)raise(SIGTERM);
    if (input->kind == INPUT_STOP)
        toy->count++;
    return STATUS_OK;
}

START_TEST(a_deaf_actor_is_ended_after_its_time)
{
    struct toy toy = {.on = deaf_on};
    uint64_t start_ms = clock_now_ms();
    run_alone(&toy);
    ck_assert_int_eq(toy.status, STATUS_TIMED_OUT);
    ck_assert_uint_eq(toy.count, 1);
    ck_assert_uint_ge(clock_now_ms() - start_ms, 100);
    ck_assert_ptr_nonnull(strstr(toy.reason.text, "toy"));
}
END_TEST

static enum status failing_on(struct toy *toy, const struct input *input, struct outbox *outbox,
                              struct reason *reason)
{
    (void)toy;
    if (input->kind == INPUT_START)
        outbox_wake(outbox, input->now_ms);
    if (input->kind == INPUT_WAKE)
        return refuse(reason, STATUS_NO_SPACE, "the disk is full");
    return STATUS_OK;
}

START_TEST(a_failing_step_ends_the_loop)
{
    struct toy toy = {.on = failing_on};
    run_alone(&toy);
    ck_assert_int_eq(toy.status, STATUS_NO_SPACE);
    ck_assert_str_eq(toy.reason.text, "the disk is full");
}
END_TEST

static enum status ready_on(struct toy *toy, const struct input *input, struct outbox *outbox,
                            struct reason *reason)
{
    (void)toy;
    (void)reason;
    if (input->kind == INPUT_START)
        outbox_ready(outbox);
    if (input->kind == INPUT_STOP)
        outbox_exit(outbox, 0);
    return STATUS_OK;
}

static void fd_variable(const char *name, int fd)
{
    char text[16];
    (void)snprintf(text, sizeof(text), "%d", fd);
    ck_assert_int_eq(setenv(name, text, 1), 0);
}

START_TEST(it_says_ready_and_answers_pings)
{
    struct toy toy = {.on = ready_on};
    int ready[2];
    int beat[2];
    char bytes[8];
    pthread_t thread;
    ck_assert_int_eq(pipe(ready), 0);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, beat), 0);
    fd_variable(READY_FD_VARIABLE, ready[1]);
    fd_variable(BEAT_FD_VARIABLE, beat[1]);
    run_in_thread(&toy, &thread);
    ck_assert_int_eq(read(ready[0], bytes, 1), 1);
    ck_assert_int_eq(bytes[0], '\n');
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(write(beat[0], "b", 1), 1);
        ck_assert_int_eq(read(beat[0], bytes, sizeof(bytes)), 1);
    }
    loop_stop(toy.loop);
    (void)pthread_join(thread, NULL);
    ck_assert_int_eq(toy.status, STATUS_OK);
    toy_close(&toy);
    ck_assert_int_eq(unsetenv(BEAT_FD_VARIABLE), 0);
    (void)close(ready[0]);
    (void)close(beat[0]);
    (void)close(beat[1]);
}
END_TEST

START_TEST(it_ends_when_the_supervisor_is_gone)
{
    int beat[2];
    int state;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, beat), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        struct toy toy = {.on = ready_on};
        (void)close(beat[0]);
        fd_variable(BEAT_FD_VARIABLE, beat[1]);
        run_alone(&toy);
        _exit(99);
    }
    (void)close(beat[1]);
    (void)close(beat[0]);
    ck_assert_int_eq(waitpid(pid, &state, 0), pid);
    ck_assert(WIFEXITED(state));
    ck_assert_int_eq(WEXITSTATUS(state), EXIT_FAILURE);
}
END_TEST

START_TEST(what_comes_after_the_end_is_freed)
{
    struct toy toy = {.on = failing_on};
    toy_open(&toy);
    (void)toy_run(&toy);
    for (int i = 0; i < 3; i++) {
        struct result result = {.kind = 9, .value = memory_zeroed(1, 100),
                                .value_free = memory_free};
        loop_post(toy.loop, &result);
    }
    ck_assert(loop_is_ending(toy.loop));
    toy_close(&toy);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("loop");
    const TTest *const tests[] = {
        two_actors_talk,
        malformed_bytes_are_ignored,
        effects_run_on_workers_and_come_back,
        it_wakes_when_asked_and_sleeps_until_then,
        refusals_come_back_as_inputs,
        a_deaf_actor_is_ended_after_its_time,
        a_failing_step_ends_the_loop,
        it_says_ready_and_answers_pings,
        it_ends_when_the_supervisor_is_gone,
        what_comes_after_the_end_is_freed,
    };
    suite_add(suite, "loop", tests, COUNT_OF(tests));
    return suite;
}
