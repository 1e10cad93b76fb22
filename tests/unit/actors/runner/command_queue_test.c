/* SPDX-License-Identifier: Apache-2.0 */
/* What the loop wants of the engine thread: nothing is lost, order is kept, under any threads. */
#include "actors/runner/command_queue.h"

#include "protocol/memory.h"
#include "tests/support/check_main.h"

#include <pthread.h>

static void put(struct command_queue *queue, uint32_t effect, uint64_t id)
{
    const struct engine_command command = {effect, id, NULL};
    ck_assert_int_eq(command_queue_put(queue, &command), STATUS_OK);
}

static uint64_t take(struct command_queue *queue, uint32_t only)
{
    struct engine_command command = {0, 0, NULL};
    return command_queue_take(queue, only, 0, &command) == STATUS_OK ? command.id : 0;
}

START_TEST(keeps_the_order)
{
    struct command_queue *queue;
    ck_assert_int_eq(command_queue_open(&queue), STATUS_OK);
    ck_assert_uint_eq(take(queue, 0), 0);
    for (uint64_t i = 1; i <= 5; i++)
        put(queue, 3, i);
    for (uint64_t i = 1; i <= 5; i++)
        ck_assert_uint_eq(take(queue, 0), i);
    put(queue, 3, 9);
    ck_assert_uint_eq(take(queue, 0), 9);
    ck_assert_uint_eq(take(queue, 0), 0);
    command_queue_close(queue);
    command_queue_close(NULL);
}
END_TEST

START_TEST(takes_one_kind_and_leaves_the_others_in_order)
{
    struct command_queue *queue;
    struct engine_command command;
    ck_assert_int_eq(command_queue_open(&queue), STATUS_OK);
    put(queue, 1, 1);
    put(queue, 2, 2);
    put(queue, 1, 3);
    put(queue, 2, 4);
    ck_assert_uint_eq(take(queue, 2), 2);
    ck_assert_uint_eq(take(queue, 2), 4); /* it was the last: the end moves */
    ck_assert_uint_eq(take(queue, 2), 0);
    put(queue, 1, 5);
    ck_assert_uint_eq(take(queue, 0), 1);
    ck_assert_uint_eq(take(queue, 0), 3);
    ck_assert_uint_eq(take(queue, 0), 5);
    put(queue, 1, 6);
    put(queue, COMMAND_STOP, 7); /* a stop reaches who waits for another kind */
    ck_assert_int_eq(command_queue_take(queue, 2, COMMAND_WAIT_FOR_EVER, &command), STATUS_OK);
    ck_assert_uint_eq(command.effect, COMMAND_STOP);
    command_queue_close(queue); /* with one left inside */
}
END_TEST

START_TEST(says_when_nothing_came_in_time)
{
    struct command_queue *queue;
    struct engine_command command;
    ck_assert_int_eq(command_queue_open(&queue), STATUS_OK);
    put(queue, 1, 1);
    ck_assert_int_eq(command_queue_take(queue, 2, 5, &command), STATUS_TIMED_OUT);
    ck_assert_int_eq(command_queue_take(queue, 1, 5, &command), STATUS_OK);
    command_queue_close(queue);
}
END_TEST

enum { PUTTERS = 3, EACH = 4000 };

struct putter {
    struct command_queue *queue;
    uint32_t effect;
};

static void *put_many(void *argument)
{
    const struct putter *putter = argument;
    for (uint64_t i = 1; i <= EACH; i++)
        put(putter->queue, putter->effect, i);
    return NULL;
}

START_TEST(loses_nothing_between_threads)
{
    struct putter putters[PUTTERS];
    pthread_t threads[PUTTERS];
    uint64_t last[PUTTERS + 1] = {0};
    struct command_queue *queue;
    ck_assert_int_eq(command_queue_open(&queue), STATUS_OK);
    for (uint32_t i = 0; i < PUTTERS; i++) {
        putters[i] = (struct putter){queue, i + 1};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, put_many, &putters[i]), 0);
    }
    for (unsigned taken = 0; taken < PUTTERS * EACH; taken++) {
        struct engine_command command;
        const uint32_t only = last[2] < EACH && taken % 3 == 0 ? 2 : 0;
        ck_assert_int_eq(command_queue_take(queue, only, COMMAND_WAIT_FOR_EVER, &command),
                         STATUS_OK);
        ck_assert_uint_eq(command.id, ++last[command.effect]);
    }
    for (uint32_t i = 0; i < PUTTERS; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    ck_assert_uint_eq(take(queue, 0), 0);
    command_queue_close(queue);
}
END_TEST

Suite *suite_of_tests(void)
{
    const TTest *const tests[] = {
        keeps_the_order,
        takes_one_kind_and_leaves_the_others_in_order,
        says_when_nothing_came_in_time,
        loses_nothing_between_threads,
    };
    Suite *suite = suite_create("runner-command-queue");
    suite_add(suite, "queue", tests, COUNT_OF(tests));
    return suite;
}
