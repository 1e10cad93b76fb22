/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request that finds no memory, at any of its calls, is refused or ends the generation with
 * STATUS_NO_MEMORY; it leaves no chat, no slot and no page behind, and those that run do not
 * notice.
 */
#include "protocol/memory.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"
#include "tests/unit/actors/runner/world_stage.h"

#include <string.h>

#define CALLS_MAX 20000u

static const struct stage_options one_rank = {.ranks = 1, .context = 512, .mode = MODE_EXACT};
static const struct stage_ask talker = {
    .user = "Who are you?", .tokens_max = 40, .ignore_eos = true};

/* One request whose calls fail after the first `calls`; true when it was taken. */
static bool submit(struct stage *stage, const struct stage_ask *ask, uint64_t calls)
{
    struct message message;
    stage_message(ask, 1, &message);
    memory_fail_after(calls);
    const enum status status = serving_submit(&stage->serving, &message, 1);
    memory_fail_after(UINT64_MAX);
    message_fini(&message);
    bool is_taken = false;
    for (const struct chat *chat = stage->serving.first; chat; chat = chat->next)
        is_taken |= chat->number == 1;
    if (is_taken) {
        ck_assert_int_eq(status, STATUS_OK);
        ck_assert_int_eq(stage->answers[1].refused, STATUS_OK);
        return true;
    }
    if (status == STATUS_OK)
        ck_assert_int_ne(stage->answers[1].refused, STATUS_OK);
    else
        ck_assert_int_eq(status, STATUS_NO_MEMORY);
    ck_assert_uint_eq(stage->answers[1].ids.count, 0);
    stage_answer_forget(&stage->answers[1]);
    return false;
}

static void check_ask(const struct stage_ask *ask, unsigned failures_min)
{
    static struct stage alone;
    static struct stage stage;
    stage_open(&alone, &one_rank);
    stage_ask(&alone, 0, &talker);
    stage_run(&alone);
    stage_ask(&alone, 1, ask);
    stage_run(&alone);
    stage_open(&stage, &one_rank);
    const struct engine *engine = stage.ranks[0].world.engine;
    const uint64_t room = engine_positions_free(engine);
    stage_ask(&stage, 0, &talker);
    unsigned failures = 0;
    for (bool is_taken = false; !is_taken; failures += !is_taken) {
        ck_assert_uint_lt(failures, CALLS_MAX);
        if (failures % 8 == 0 && serving_has_work(&stage.serving))
            stage_step(&stage);
        is_taken = submit(&stage, ask, failures);
    }
    ck_assert_uint_ge(failures, failures_min);
    stage_run(&stage);
    for (size_t i = 0; i < 2; i++) {
        ck_assert_uint_eq(stage.answers[i].ids.count, alone.answers[i].ids.count);
        ck_assert_mem_eq(stage.answers[i].ids.items, alone.answers[i].ids.items,
                         alone.answers[i].ids.count * sizeof(uint32_t));
    }
    ck_assert_uint_eq(engine_positions_free(engine), room);
    stage_close(&stage);
    stage_close(&alone);
}

START_TEST(a_prompt_without_memory_takes_nothing)
{
    const struct stage_ask ask = {.prompt = "The capital of France", .tokens_max = 6, .stop = "x"};
    check_ask(&ask, 5);
}
END_TEST

START_TEST(a_conversation_without_memory_takes_nothing)
{
    const struct stage_ask ask = {.user = "Hello!", .tokens_max = 6};
    check_ask(&ask, 8);
}
END_TEST

/* Opens a second serving when so many calls succeed; it is closed again. */
static bool opens(struct stage *stage, uint64_t calls, struct reason *reason)
{
    struct serving other = {.settings = stage->serving.settings};
    char directory[512];
    (void)source_path(STAGE_MODEL, directory);
    memory_fail_after(calls);
    const enum status status = serving_open(&other, &stage->ranks[0].world, directory, reason);
    memory_fail_after(UINT64_MAX);
    if (status == STATUS_OK)
        serving_close(&other);
    else
        ck_assert_int_eq(status, STATUS_NO_MEMORY);
    return status == STATUS_OK;
}

/* The last call is the one that has most to give back. */
START_TEST(opening_without_memory_for_the_last_call_keeps_nothing)
{
    static struct stage stage;
    struct reason reason = {""};
    uint64_t too_few = 0;
    uint64_t enough = UINT64_C(1) << 24;
    stage_open(&stage, &one_rank);
    while (too_few + 1 < enough) {
        const uint64_t middle = too_few + (enough - too_few) / 2;
        if (opens(&stage, middle, &reason))
            enough = middle;
        else
            too_few = middle;
    }
    reason.text[0] = '\0';
    ck_assert(!opens(&stage, too_few, &reason));
    ck_assert_ptr_nonnull(strstr(reason.text, "no memory"));
    stage_close(&stage);
}
END_TEST

Suite *suite_of_tests(void)
{
    const TTest *const tests[] = {a_prompt_without_memory_takes_nothing,
                                  a_conversation_without_memory_takes_nothing,
                                  opening_without_memory_for_the_last_call_keeps_nothing};
    Suite *suite = suite_create("serving-fault");
    suite_add(suite, "memory", tests, COUNT_OF(tests));
    return suite;
}
