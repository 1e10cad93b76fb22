/* SPDX-License-Identifier: Apache-2.0 */
/* Rank 0's serving over the shipped model and a world of one rank. */
#include "actors/runner/engine/grammar/matcher.h"
#include "protocol/memory.h"
#include "tests/support/check_main.h"
#include "tests/unit/actors/runner/world_stage.h"

#include <stdio.h>
#include <string.h>

static const struct stage_options one_rank = {.ranks = 1, .context = 1024, .mode = MODE_EXACT};

static const char *const questions[] = {
    "Hello!",         "Who are you?",           "What can you do?",
    "What is 3 + 4?", "What is the capital of France?", "Count to ten.",
};
enum { QUESTIONS = COUNT_OF(questions) };

static struct stage_ask ask_of(size_t i)
{
    return (struct stage_ask){.user = questions[i % QUESTIONS],
                              .temperature = i % 2 ? 0.9 : 0.0,
                              .seed = 100 + i,
                              .tokens_max = 40,
                              .ignore_eos = i % 3 == 0};
}

static void check_same(const struct stage_answer *one, const struct stage_answer *other)
{
    ck_assert_uint_eq(one->ids.count, other->ids.count);
    ck_assert_mem_eq(one->ids.items, other->ids.items, one->ids.count * sizeof(uint32_t));
    ck_assert_str_eq(one->text, other->text);
    ck_assert_int_eq(one->finish, other->finish);
    ck_assert_uint_eq(one->answer_tokens, other->answer_tokens);
}

/* `alone` has each chat's answer when nothing else runs. */
static void answer_alone(struct stage *stage, size_t count)
{
    stage_open(stage, &one_rank);
    for (size_t i = 0; i < count; i++) {
        const struct stage_ask ask = ask_of(i);
        stage_ask(stage, i, &ask);
        stage_run(stage);
        ck_assert_int_ne(stage->answers[i].finish, FINISH_NONE);
        ck_assert_uint_gt(stage->answers[i].ids.count, 1);
    }
}

START_TEST(answers_together_as_alone)
{
    static struct stage alone;
    static struct stage together;
    enum { CHATS = 9 };
    answer_alone(&alone, CHATS);
    stage_open(&together, &one_rank);
    for (size_t i = 0; i < CHATS; i++) {
        const struct stage_ask ask = ask_of(i);
        stage_ask(&together, i, &ask);
        stage_step(&together); /* they begin one after another */
    }
    stage_run(&together);
    for (size_t i = 0; i < CHATS; i++)
        check_same(&alone.answers[i], &together.answers[i]);
    ck_assert_str_eq(alone.answers[4].text, together.answers[4].text);
    stage_close(&alone);
    stage_close(&together);
}
END_TEST

START_TEST(ends_a_cancelled_chat_and_no_other)
{
    static struct stage alone;
    static struct stage stage;
    struct reason reason = {""};
    answer_alone(&alone, 3);
    stage_open(&stage, &one_rank);
    const uint64_t room = engine_positions_free(stage.ranks[0].world.engine);
    for (size_t i = 0; i < 3; i++) {
        const struct stage_ask ask = ask_of(i);
        stage_ask(&stage, i, &ask);
    }
    for (unsigned i = 0; i < 6; i++)
        stage_step(&stage);
    ck_assert_int_eq(serving_cancel(&stage.serving, 1, &reason), STATUS_OK);
    ck_assert_int_eq(serving_cancel(&stage.serving, 77, &reason), STATUS_OK); /* unknown: nothing */
    const uint32_t said = stage.answers[1].ids.count;
    ck_assert_uint_lt(said, alone.answers[1].ids.count);
    stage_run(&stage);
    ck_assert_uint_eq(stage.answers[1].ids.count, said);
    ck_assert_int_eq(stage.answers[1].finish, FINISH_NONE);
    check_same(&alone.answers[0], &stage.answers[0]);
    check_same(&alone.answers[2], &stage.answers[2]);
    ck_assert_uint_eq(engine_positions_free(stage.ranks[0].world.engine), room);
    stage_close(&alone);
    stage_close(&stage);
}
END_TEST

/* A cache that cannot hold all chats to their ends: the youngest waits and is computed again. */
START_TEST(recomputes_what_a_full_cache_put_back)
{
    static struct stage alone;
    static struct stage small;
    const struct stage_options narrow = {
        .ranks = 1, .context = 320, .reserve = 16, .mode = MODE_EXACT};
    enum { CHATS = 6 };
    stage_open(&alone, &one_rank);
    stage_open(&small, &narrow);
    for (size_t i = 0; i < CHATS; i++) {
        struct stage_ask ask = ask_of(i);
        ask.ignore_eos = true;
        ask.tokens_max = 150;
        stage_ask(&alone, i, &ask);
        stage_run(&alone);
        stage_ask(&small, i, &ask);
    }
    bool was_put_back = false;
    for (unsigned steps = 0; serving_has_work(&small.serving); steps++) {
        ck_assert_uint_lt(steps, 5000);
        stage_step(&small);
        for (const struct chat *chat = small.serving.first; chat; chat = chat->next)
            was_put_back |= !chat->has_sequence && chat->ids.count > chat->prompt_count;
    }
    ck_assert(was_put_back);
    for (size_t i = 0; i < CHATS; i++) {
        ck_assert_int_eq(small.answers[i].finish, FINISH_LENGTH);
        check_same(&alone.answers[i], &small.answers[i]);
    }
    stage_close(&alone);
    stage_close(&small);
}
END_TEST

/* The same cache and chats with a reserve for all they may say: they wait instead, and none that
 * has begun is put back. */
START_TEST(begins_a_chat_only_with_room_for_what_it_may_say)
{
    static struct stage stage;
    const struct stage_options narrow = {
        .ranks = 1, .context = 640, .reserve = 150, .mode = MODE_EXACT};
    enum { CHATS = 6 };
    stage_open(&stage, &narrow);
    for (size_t i = 0; i < CHATS; i++) {
        struct stage_ask ask = ask_of(i);
        ask.ignore_eos = true;
        ask.tokens_max = i % 2 ? 150 : 20;
        stage_ask(&stage, i, &ask);
    }
    uint32_t most = 0;
    while (serving_has_work(&stage.serving)) {
        uint32_t running = 0;
        stage_step(&stage);
        for (const struct chat *chat = stage.serving.first; chat; chat = chat->next) {
            running += chat->has_sequence;
            ck_assert(chat->has_sequence || chat->ids.count == chat->prompt_count);
        }
        most = running > most ? running : most;
    }
    /* Prompts of 10 to 30 tokens: a short answer takes one page, a long one three. */
    ck_assert_uint_eq(most, 5);
    for (size_t i = 0; i < CHATS; i++)
        ck_assert_int_eq(stage.answers[i].finish, FINISH_LENGTH);
    stage_close(&stage);
}
END_TEST

/* Without a limit of its own a chat has its reserve, at most the context, and goes on beyond. */
START_TEST(goes_on_beyond_its_reserve)
{
    static struct stage stage;
    const struct stage_options narrow = {
        .ranks = 1, .context = 384, .reserve = 100, .mode = MODE_EXACT};
    const struct stage_ask ask = {.user = "Hello!", .ignore_eos = true};
    enum { CHATS = 3 };
    stage_open(&stage, &narrow);
    for (size_t i = 0; i < CHATS; i++)
        stage_ask(&stage, i, &ask);
    bool was_put_back = false;
    stage_step(&stage);
    for (const struct chat *chat = stage.serving.first; chat; chat = chat->next)
        ck_assert(chat->has_sequence); /* two pages each, of six */
    while (serving_has_work(&stage.serving)) {
        stage_step(&stage);
        for (const struct chat *chat = stage.serving.first; chat; chat = chat->next) {
            was_put_back |= !chat->has_sequence;
            ck_assert(chat->has_sequence || chat->number > 0); /* the oldest never */
        }
    }
    ck_assert(was_put_back);
    for (size_t i = 0; i < CHATS; i++) {
        ck_assert_int_eq(stage.answers[i].finish, FINISH_LENGTH);
        ck_assert_uint_eq(stage.answers[i].prompt_tokens + stage.answers[i].answer_tokens, 384);
        ck_assert_str_eq(stage.answers[i].text, stage.answers[0].text);
    }
    stage_close(&stage);
}
END_TEST

/* One chat has the whole cache: what does not fit ends with the length, and says so. */
START_TEST(ends_with_the_length_what_fills_the_context)
{
    static struct stage stage;
    const struct stage_options narrow = {.ranks = 1, .context = 128, .mode = MODE_EXACT};
    const struct stage_ask ask = {.user = "Hello!", .ignore_eos = true};
    stage_open(&stage, &narrow);
    stage_ask(&stage, 1, &ask);
    stage_run(&stage);
    const struct stage_answer *answer = &stage.answers[1];
    ck_assert_int_eq(answer->finish, FINISH_LENGTH);
    ck_assert_uint_eq(answer->prompt_ids.count + answer->ids.count, 128);
    ck_assert_uint_eq(answer->tokens_max, answer->ids.count);
    ck_assert_uint_eq(answer->answer_tokens, answer->ids.count);
    ck_assert_uint_eq(answer->prompt_tokens, answer->prompt_ids.count);
    stage_close(&stage);
}
END_TEST

/* Ids of a chat that are in the cache; what it had when it is over. */
static size_t computed_of(const struct stage *stage, uint64_t number)
{
    for (const struct chat *chat = stage->serving.first; chat; chat = chat->next)
        if (chat->number == number)
            return chat->has_sequence ? chat->computed : 0;
    return stage->answers[number].prompt_ids.count + stage->answers[number].ids.count;
}

/* A prompt of several chunks, read while another answers: both as alone. */
START_TEST(reads_a_long_prompt_in_chunks_beside_others)
{
    static struct stage alone;
    static struct stage stage;
    char prompt[3200] = "";
    for (unsigned i = 0; i < 100; i++)
        (void)snprintf(prompt + strlen(prompt), sizeof(prompt) - strlen(prompt),
                       "Number %u is good. ", i);
    const struct stage_ask reader = {.prompt = prompt, .tokens_max = 12, .ignore_eos = true};
    const struct stage_ask talker = {.user = "Who are you?", .tokens_max = 24, .ignore_eos = true};
    stage_open(&alone, &one_rank);
    stage_ask(&alone, 0, &talker);
    stage_run(&alone);
    stage_ask(&alone, 1, &reader);
    stage_run(&alone);
    ck_assert_uint_gt(alone.answers[1].prompt_ids.count, 3 * 128);
    ck_assert_uint_ge(alone.answers[1].prefill_words, 3);
    stage_open(&stage, &one_rank);
    stage_ask(&stage, 0, &talker);
    stage_step(&stage);
    stage_ask(&stage, 1, &reader);
    const uint32_t before = stage.answers[0].ids.count;
    stage_step(&stage);
    stage_step(&stage);
    ck_assert_uint_eq(stage.answers[0].ids.count, before + 2); /* it did not wait */
    ck_assert_uint_eq(stage.answers[1].ids.count, 0);
    stage_run(&stage);
    check_same(&alone.answers[0], &stage.answers[0]);
    check_same(&alone.answers[1], &stage.answers[1]);
    stage_close(&alone);
    stage_close(&stage);
}
END_TEST

/* Prompts share the rows of a step: the short one, which came last, is read first; who answers
 * gets a token from every step. */
START_TEST(reads_a_short_prompt_beside_long_ones)
{
    static struct stage stage;
    char prompt[3200] = "";
    for (unsigned i = 0; i < 100; i++)
        (void)snprintf(prompt + strlen(prompt), sizeof(prompt) - strlen(prompt),
                       "Number %u is good. ", i);
    const struct stage_options wide = {
        .ranks = 1, .context = 4096, .reserve = 16, .prefill_rows = 60, .mode = MODE_EXACT};
    const struct stage_ask reader = {.prompt = prompt, .tokens_max = 4, .ignore_eos = true};
    const struct stage_ask talker = {.user = "Who are you?", .tokens_max = 60, .ignore_eos = true};
    const struct stage_ask latecomer = {.user = "Hello!", .tokens_max = 4, .ignore_eos = true};
    stage_open(&stage, &wide);
    stage_ask(&stage, 0, &talker);
    stage_step(&stage);
    stage_ask(&stage, 1, &reader);
    stage_ask(&stage, 2, &reader);
    stage_ask(&stage, 3, &latecomer);
    ck_assert_uint_lt(stage.answers[3].prompt_ids.count, 40);
    for (uint32_t steps = 1; stage.answers[1].ids.count == 0; steps++) {
        const size_t before = computed_of(&stage, 1) + computed_of(&stage, 2) +
                              computed_of(&stage, 3);
        ck_assert_uint_eq(stage.answers[0].ids.count, steps);
        stage_step(&stage);
        const size_t after = computed_of(&stage, 1) + computed_of(&stage, 2) +
                             computed_of(&stage, 3);
        ck_assert_uint_le(after, before + wide.prefill_rows + 3); /* and what they say */
        ck_assert(steps < 3 || stage.answers[3].ids.count > 0);
    }
    ck_assert_int_eq(stage.answers[3].finish, FINISH_LENGTH);
    ck_assert_uint_ge(computed_of(&stage, 2), 60); /* the oldest had no more than that */
    stage_run(&stage);
    check_same(&stage.answers[1], &stage.answers[2]);
    stage_close(&stage);
}
END_TEST

START_TEST(passes_the_canary_and_leaves_nothing)
{
    static struct stage stage;
    struct reason reason = {""};
    stage_open(&stage, &one_rank);
    const uint64_t room = engine_positions_free(stage.ranks[0].world.engine);
    ck_assert_int_eq(serving_canary(&stage.serving, &reason), STATUS_OK);
    ck_assert_uint_eq(engine_positions_free(stage.ranks[0].world.engine), room);
    ck_assert(!serving_has_work(&stage.serving));
    stage_close(&stage);
}
END_TEST

/* More chats than run at once: all are answered, in order of arrival. */
START_TEST(serves_more_chats_than_run_at_once)
{
    static struct stage stage;
    enum { RUNNING = 7, CHATS = RUNNING + 5 };
    const struct stage_options roomy = {
        .ranks = 1, .context = 4096, .chats = RUNNING, .reserve = 16, .mode = MODE_FAST};
    stage_open(&stage, &roomy);
    for (size_t i = 0; i < CHATS; i++) {
        struct stage_ask ask = ask_of(i);
        ask.tokens_max = 6;
        stage_ask(&stage, i, &ask);
    }
    uint32_t most = 0;
    while (serving_has_work(&stage.serving)) {
        uint32_t running = 0;
        stage_step(&stage);
        for (const struct chat *chat = stage.serving.first; chat; chat = chat->next)
            running += chat->has_sequence;
        most = running > most ? running : most;
    }
    ck_assert_uint_eq(most, RUNNING);
    for (size_t i = 0; i < CHATS; i++)
        ck_assert_int_ne(stage.answers[i].finish, FINISH_NONE);
    stage_close(&stage);
}
END_TEST

/* Four answers, each with a grammar of its own; gives the most their grammars took. */
static size_t answer_in_form(struct stage *stage, size_t grammar_bytes)
{
    size_t most = 0;
    stage_open(stage, &one_rank);
    stage->serving.settings.grammar_bytes = grammar_bytes;
    for (size_t i = 0; i < 4; i++) {
        char demand[96];
        struct stage_ask ask = ask_of(i);
        (void)snprintf(demand, sizeof(demand),
                       "{\"type\":\"regex\",\"pattern\":\"([a-z]{1,9} ){5,9}%zu\"}", i);
        ask.demand = demand;
        ask.ignore_eos = false;
        stage_ask(stage, i, &ask);
    }
    while (serving_has_work(&stage->serving)) {
        size_t bytes = 0;
        stage_step(stage);
        for (const struct chat *chat = stage->serving.first; chat; chat = chat->next)
            bytes += matcher_share(chat->matcher);
        most = bytes > most ? bytes : most;
    }
    return most;
}

START_TEST(grammars_beyond_their_bytes_are_learned_again)
{
    static struct stage endless;
    static struct stage bound;
    const size_t most = answer_in_form(&endless, 0);
    ck_assert_uint_lt(answer_in_form(&bound, 1), most);
    for (size_t i = 0; i < 4; i++)
        check_same(&bound.answers[i], &endless.answers[i]);
    stage_close(&bound);
    stage_close(&endless);
}
END_TEST

Suite *suite_of_tests(void)
{
    const TTest *const tests[] = {
        answers_together_as_alone,
        ends_a_cancelled_chat_and_no_other,
        recomputes_what_a_full_cache_put_back,
        begins_a_chat_only_with_room_for_what_it_may_say,
        goes_on_beyond_its_reserve,
        ends_with_the_length_what_fills_the_context,
        reads_a_long_prompt_in_chunks_beside_others,
        reads_a_short_prompt_beside_long_ones,
        passes_the_canary_and_leaves_nothing,
        grammars_beyond_their_bytes_are_learned_again,
        serves_more_chats_than_run_at_once,
    };
    Suite *suite = suite_create("runner-serving");
    suite_add(suite, "serving", tests, COUNT_OF(tests));
    return suite;
}
