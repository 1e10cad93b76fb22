/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many chats with random limits, stop strings and cancels, in a cache that is always too small:
 * each says what it says alone, and nothing is left of any of them, in every cut.
 */
#include "protocol/memory.h"
#include "tests/support/check_main.h"
#include "tests/support/sanitized.h"
#include "tests/support/seeded.h"
#include "tests/unit/actors/runner/world_stage.h"

#include <stdio.h>
#include <string.h>

#define KINDS 9u
#define CONTEXT 384u

/* Where a chat was when it was cancelled. */
enum moment { WAITING, READING, ANSWERING, PUT_BACK, MOMENTS };

static char long_prompt[1600];

static struct stage_ask ask_of(size_t kind)
{
    static const char *const questions[] = {
        "Hello!", "Who are you?", "What can you do?", "What is 3 + 4?", "Count to ten.",
    };
    struct stage_ask ask = {.temperature = kind % 2 ? 0.9 : 0.0,
                            .seed = 300 + kind,
                            .tokens_max = (uint32_t)(kind % 3 ? 3 + 6 * kind : 20 + 30 * kind),
                            .ignore_eos = kind % 3 == 0,
                            .stop = kind == 4 ? "you" : NULL};
    if (kind == 5)
        ask.prompt = long_prompt;
    else
        ask.user = questions[kind % COUNT_OF(questions)];
    return ask;
}

/* What each kind says when nothing else runs. */
static void answer_alone(struct stage *stage, const struct stage_options *like)
{
    const struct stage_options options = {
        .ranks = 1, .context = CONTEXT, .mode = like->mode, .kv_format = like->kv_format};
    stage_open(stage, &options);
    for (size_t i = 0; i < KINDS; i++) {
        const struct stage_ask ask = ask_of(i);
        stage_ask(stage, i, &ask);
        stage_run(stage);
        ck_assert_int_ne(stage->answers[i].finish, FINISH_NONE);
    }
}

struct storm {
    struct stage *stage;
    const struct stage *alone;
    struct seeded seeded;
    size_t kinds[STAGE_CHATS_MAX];
    bool is_used[STAGE_CHATS_MAX];
    bool is_cancelled[STAGE_CHATS_MAX];
    unsigned finished;
    unsigned cancelled[MOMENTS];
    unsigned put_back;
};

/* All of it, or its beginning when it was cancelled. */
static void check_said(struct storm *storm, size_t number)
{
    const struct stage_answer *said = &storm->stage->answers[number];
    const struct stage_answer *wanted = &storm->alone->answers[storm->kinds[number]];
    ck_assert_uint_le(said->ids.count, wanted->ids.count);
    if (said->ids.count > 0)
        ck_assert_mem_eq(said->ids.items, wanted->ids.items, said->ids.count * sizeof(uint32_t));
    ck_assert_mem_eq(said->text, wanted->text, said->text_size);
    if (storm->is_cancelled[number]) {
        ck_assert_int_eq(said->finish, FINISH_NONE);
        return;
    }
    ck_assert_int_eq(said->finish, wanted->finish);
    ck_assert_uint_eq(said->ids.count, wanted->ids.count);
    ck_assert_uint_eq(said->text_size, wanted->text_size);
    ck_assert_uint_eq(said->answer_tokens, wanted->answer_tokens);
}

static void clear_finished(struct storm *storm)
{
    for (size_t i = 0; i < STAGE_CHATS_MAX; i++) {
        const bool is_over =
            storm->is_cancelled[i] || storm->stage->answers[i].finish != FINISH_NONE;
        if (!storm->is_used[i] || !is_over)
            continue;
        check_said(storm, i);
        storm->finished += !storm->is_cancelled[i];
        stage_answer_forget(&storm->stage->answers[i]);
        storm->is_used[i] = storm->is_cancelled[i] = false;
    }
}

/* False: as many as the stage has room for wait or run. */
static bool ask_one(struct storm *storm)
{
    for (size_t i = 0; i < STAGE_CHATS_MAX; i++) {
        if (storm->is_used[i])
            continue;
        storm->kinds[i] = seeded_below(&storm->seeded, KINDS);
        storm->is_used[i] = true;
        const struct stage_ask ask = ask_of(storm->kinds[i]);
        stage_ask(storm->stage, i, &ask);
        return true;
    }
    return false;
}

static enum moment moment_of(const struct stage *stage, uint64_t number)
{
    for (const struct chat *chat = stage->serving.first; chat; chat = chat->next) {
        if (chat->number != number)
            continue;
        if (!chat->has_sequence)
            return chat->ids.count > chat->prompt_count ? PUT_BACK : WAITING;
        return chat->computed < chat->prompt_count ? READING : ANSWERING;
    }
    return MOMENTS; /* it is over */
}

static void cancel(struct storm *storm, size_t i)
{
    struct reason reason = {""};
    const enum moment moment = moment_of(storm->stage, i);
    if (!storm->is_used[i] || storm->is_cancelled[i] || moment == MOMENTS)
        return;
    ck_assert_int_eq(serving_cancel(&storm->stage->serving, i, &reason), STATUS_OK);
    storm->is_cancelled[i] = true;
    storm->cancelled[moment]++;
}

/* Any chat now and then, and soon one of each state. */
static void cancel_some(struct storm *storm)
{
    if (seeded_below(&storm->seeded, 40) == 0)
        cancel(storm, seeded_below(&storm->seeded, STAGE_CHATS_MAX));
    for (size_t i = 0; i < STAGE_CHATS_MAX; i++) {
        const enum moment moment = moment_of(storm->stage, i);
        if (moment < MOMENTS && storm->cancelled[moment] == 0)
            cancel(storm, i);
    }
}

static unsigned count_put_back(const struct storm *storm)
{
    unsigned count = 0;
    for (const struct chat *chat = storm->stage->serving.first; chat; chat = chat->next)
        count += !chat->has_sequence && chat->ids.count > chat->prompt_count;
    return count;
}

/* All slots and pages are there again: so many chats run at once, and one fills its context. */
static void check_nothing_left(struct stage *stage, uint64_t positions)
{
    const struct stage_ask brief = {.user = "Hello!", .tokens_max = 3, .ignore_eos = true};
    const struct stage_ask full = {.user = "Hello!", .ignore_eos = true};
    const struct engine *engine = stage->ranks[0].world.engine;
    ck_assert_uint_eq(engine_positions_free(engine), positions);
    for (size_t i = 0; i < stage->serving.settings.chats_max; i++)
        stage_ask(stage, i, &brief);
    stage_step(stage);
    for (const struct chat *chat = stage->serving.first; chat; chat = chat->next)
        ck_assert(chat->has_sequence);
    stage_run(stage);
    for (size_t i = 0; i < stage->serving.settings.chats_max; i++)
        stage_answer_forget(&stage->answers[i]);
    stage_ask(stage, 0, &full);
    stage_run(stage);
    ck_assert_uint_eq(stage->answers[0].prompt_tokens + stage->answers[0].answer_tokens, CONTEXT);
    ck_assert_uint_eq(engine_positions_free(engine), positions);
}

static void rage(const struct stage_options *where, unsigned requests)
{
    static struct stage alone;
    static struct stage stage;
    struct stage_options options = *where;
    options.context = CONTEXT;
    options.reserve = 16;
    options.chats = 6;
    options.prefill_rows = 40;
    struct storm storm = {.stage = &stage, .alone = &alone, .seeded = seeded_open(17)};
    for (unsigned i = 0; i < 12; i++)
        (void)snprintf(long_prompt + strlen(long_prompt), sizeof(long_prompt) - strlen(long_prompt),
                       "Number %u is good. ", i);
    answer_alone(&alone, &options);
    stage_open(&stage, &options);
    for (unsigned asked = 0; asked < requests || serving_has_work(&stage.serving);) {
        if (asked < requests && seeded_below(&storm.seeded, 3) == 0)
            asked += ask_one(&storm);
        cancel_some(&storm);
        stage_step(&stage);
        storm.put_back += count_put_back(&storm);
        clear_finished(&storm);
    }
    clear_finished(&storm);
    ck_assert_uint_gt(storm.finished, requests / 4);
    for (size_t i = 0; i < MOMENTS; i++)
        ck_assert_msg(storm.cancelled[i] > 0, "none was cancelled in state %zu", i);
    ck_assert_uint_gt(storm.put_back, 0);
    check_nothing_left(&stage, options.positions ? options.positions : CONTEXT);
    stage_close(&stage);
    for (uint32_t i = 1; i < options.ranks; i++)
        ck_assert_int_eq(stage.ranks[i].status, STATUS_OK);
    stage_close(&alone);
}

START_TEST(nothing_is_left_of_any_chat_on_one_rank)
{
    /* Of more than one context. */
    rage(&(struct stage_options){.ranks = 1, .positions = CONTEXT + 64, .mode = MODE_EXACT},
         TIMES(90, 40));
}
END_TEST

/* Also with an int8 cache. */
START_TEST(nothing_is_left_of_any_chat_in_a_pipeline)
{
    rage(&(struct stage_options){.sharding = SHARDING_PIPELINE,
                                 .ranks = 2,
                                 .mode = MODE_FAST,
                                 .kv_format = KV_INT8},
         TIMES(60, 30));
}
END_TEST

START_TEST(nothing_is_left_of_any_chat_in_a_tensor_cut)
{
    rage(&(struct stage_options){.sharding = SHARDING_TENSOR, .ranks = 2, .mode = MODE_EXACT},
         TIMES(60, 30));
}
END_TEST

Suite *suite_of_tests(void)
{
    const TTest *const tests[] = {nothing_is_left_of_any_chat_on_one_rank,
                                  nothing_is_left_of_any_chat_in_a_pipeline,
                                  nothing_is_left_of_any_chat_in_a_tensor_cut};
    Suite *suite = suite_create("runner-serving-storm");
    suite_add(suite, "storm", tests, COUNT_OF(tests));
    return suite;
}
