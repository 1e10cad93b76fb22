/* SPDX-License-Identifier: Apache-2.0 */
/* Several ranks in one process, over collective_threads and messages in memory: the answers of one
 * rank, and an end with a sentence for whatever goes wrong between them. */
#include "protocol/memory.h"
#include "tests/support/check_main.h"
#include "tests/unit/actors/runner/world_stage.h"

#include <math.h>
#include <string.h>

static const char *const questions[] = {"Who are you?", "What can you do?", "Hello!"};
enum { CHATS = COUNT_OF(questions) };

static void ask_all(struct stage *stage)
{
    for (size_t i = 0; i < CHATS; i++) {
        const struct stage_ask ask = {.user = questions[i],
                                      .temperature = i == 2 ? 0.8 : 0,
                                      .seed = 11,
                                      .tokens_max = 24};
        stage_ask(stage, i, &ask);
    }
    stage_run(stage);
}

/* Exact mode: the same tokens as one rank; busy, at rest, and busy again. */
static void check_cut_equal_to_one(const struct stage_options *options)
{
    static struct stage one;
    static struct stage several;
    const struct stage_options alone = {.ranks = 1, .context = 512, .mode = MODE_EXACT};
    struct reason reason = {""};
    stage_open(&one, &alone);
    stage_open(&several, options);
    ck_assert_int_eq(serving_canary(&several.serving, &reason), STATUS_OK);
    ask_all(&one);
    for (unsigned round = 0; round < 2; round++) {
        ask_all(&several);
        ck_assert_int_eq(rank_world_rest(&several.ranks[0].world, &reason), STATUS_OK);
        for (size_t i = 0; i < CHATS; i++) {
            const struct stage_answer *answer = &several.answers[i];
            ck_assert_uint_eq(answer->ids.count, one.answers[i].ids.count);
            ck_assert_mem_eq(answer->ids.items, one.answers[i].ids.items,
                             answer->ids.count * sizeof(uint32_t));
            ck_assert_str_eq(answer->text, one.answers[i].text);
            stage_answer_forget(&several.answers[i]);
        }
    }
    stage_close(&several); /* joins the threads, which write their status */
    for (uint32_t i = 1; i < options->ranks; i++)
        ck_assert_int_eq(several.ranks[i].status, STATUS_OK);
    stage_close(&one);
}

static void check_equal_to_one(enum sharding sharding, uint32_t ranks, bool has_one_copy)
{
    const struct stage_options options = {.sharding = sharding,
                                          .ranks = ranks,
                                          .context = 512,
                                          .mode = MODE_EXACT,
                                          .has_one_copy = has_one_copy};
    check_cut_equal_to_one(&options);
}

static const struct stage_options pair_and_one = {.sharding = SHARDING_PIPELINE_TENSOR,
                                                  .ranks = 3,
                                                  .sizes = {2, 1},
                                                  .size_count = 2,
                                                  .context = 512,
                                                  .mode = MODE_EXACT};
static const struct stage_options two_pairs = {.sharding = SHARDING_PIPELINE_TENSOR,
                                               .ranks = 4,
                                               .sizes = {2, 2},
                                               .size_count = 2,
                                               .shares = {35, 15, 20, 30},
                                               .context = 512,
                                               .mode = MODE_EXACT,
                                               .has_one_copy = true};

START_TEST(stages_of_tensor_groups_answer_as_one_rank)
{
    const struct stage_options one_and_pair = {.sharding = SHARDING_PIPELINE_TENSOR,
                                               .ranks = 3,
                                               .sizes = {1, 2},
                                               .size_count = 2,
                                               .shares = {20, 55, 25},
                                               .context = 512,
                                               .mode = MODE_EXACT,
                                               .has_one_copy = true};
    check_cut_equal_to_one(&pair_and_one);
    check_cut_equal_to_one(&one_and_pair);
    check_cut_equal_to_one(&two_pairs);
}
END_TEST

START_TEST(a_pipeline_answers_as_one_rank)
{
    check_equal_to_one(SHARDING_PIPELINE, 2, true);
    check_equal_to_one(SHARDING_PIPELINE, 3, false);
}
END_TEST

START_TEST(a_tensor_cut_answers_as_one_rank)
{
    check_equal_to_one(SHARDING_TENSOR, 2, true);
    check_equal_to_one(SHARDING_TENSOR, 3, false);
}
END_TEST

/* ---- sampling over the rows of all ranks ---- */

static void ask_top_p(struct sampling_asked *asked)
{
    asked->has_top_p = true;
    asked->top_p = 0.999; /* with a high temperature: the lists of 256 do not hold it */
}

static void ask_small_top_k(struct sampling_asked *asked)
{
    asked->has_top_k = asked->has_min_p = true;
    asked->top_k = 40;
    asked->min_p = 0.02;
}

static void ask_large_top_k(struct sampling_asked *asked)
{
    asked->has_top_k = true;
    asked->top_k = 700;
}

static void ask_penalties(struct sampling_asked *asked)
{
    asked->has_repetition_penalty = true;
    asked->repetition_penalty = 1.4;
    asked->presence_penalty = 0.7;
    asked->frequency_penalty = 0.4;
}

static void ask_bias(struct sampling_asked *asked)
{
    static const uint32_t ids[] = {5, 300, 1000};
    static const float values[] = {4.0F, 6.0F, 3.0F};
    asked->bias_ids.items = memory_copied(ids, sizeof(ids));
    asked->bias_ids.count = COUNT_OF(ids);
    ck_assert(asked->bias_ids.items && bytes_set(&asked->bias_values, values, sizeof(values)));
}

static const char person[] =
    "{\"type\":\"json_schema\",\"schema\":{\"type\":\"object\",\"properties\":"
    "{\"name\":{\"type\":\"string\",\"maxLength\":8}},\"required\":[\"name\"],"
    "\"additionalProperties\":false}}";

static const struct stage_ask samplings[] = {
    {.user = "Hello!", .has_logprobs = true, .top_logprobs = 7},
    {.user = "Hello!", .temperature = 1.2},
    {.user = "Hello!", .temperature = 1.2, .has_logprobs = true, .top_logprobs = 20},
    {.user = "Hello!", .temperature = 8.0, .sample = ask_top_p},
    {.user = "Hello!", .temperature = 0.7, .sample = ask_top_p},
    {.user = "Hello!", .temperature = 0.9, .has_logprobs = true, .sample = ask_small_top_k},
    {.user = "Hello!", .temperature = 5.0, .has_logprobs = true, .sample = ask_large_top_k},
    {.user = "Hello!", .sample = ask_penalties, .has_logprobs = true},
    {.user = "Hello!", .temperature = 1.0, .sample = ask_penalties},
    {.user = "Hello!", .temperature = 1.0, .sample = ask_bias},
    {.user = "Hello!", .demand = person, .has_logprobs = true, .top_logprobs = 3},
    {.user = "Hello!", .temperature = 1.5, .demand = person},
};

static void ask_samplings(struct stage *stage)
{
    for (size_t i = 0; i < COUNT_OF(samplings); i++) {
        struct stage_ask ask = samplings[i];
        ask.seed = 1000 + i;
        ask.tokens_max = 20;
        stage_ask(stage, i, &ask);
    }
    stage_run(stage);
}

static void check_samplings(const struct stage_options *cut)
{
    static struct stage one;
    static struct stage several;
    const struct stage_options alone = {
        .ranks = 1, .context = 512, .positions = 4096, .mode = MODE_EXACT};
    struct stage_options options = *cut;
    const uint32_t ranks = options.ranks;
    options.context = 512;
    options.positions = 4096;
    options.mode = MODE_EXACT;
    stage_open(&one, &alone);
    stage_open(&several, &options);
    ask_samplings(&one);
    ask_samplings(&several);
    for (size_t i = 0; i < COUNT_OF(samplings); i++) {
        const struct stage_answer *answer = &several.answers[i];
        const struct stage_answer *wanted = &one.answers[i];
        ck_assert_int_eq(wanted->refused, STATUS_OK);
        ck_assert_uint_gt(wanted->ids.count, 0);
        ck_assert_uint_eq(answer->ids.count, wanted->ids.count);
        ck_assert_mem_eq(answer->ids.items, wanted->ids.items,
                         answer->ids.count * sizeof(uint32_t));
        ck_assert_int_eq(answer->finish, wanted->finish);
        ck_assert_uint_eq(answer->top_last, wanted->top_last);
        /* The sums over ranks differ in their last bits from those of one. */
        ck_assert_double_le(fabs(answer->logprob_last - wanted->logprob_last), 1e-3);
    }
    stage_close(&several);
    for (uint32_t i = 1; i < ranks; i++)
        ck_assert_int_eq(several.ranks[i].status, STATUS_OK);
    stage_close(&one);
}

START_TEST(ranks_sample_from_their_rows_as_one_rank)
{
    check_samplings(&(struct stage_options){.sharding = SHARDING_TENSOR, .ranks = 2});
    check_samplings(&(struct stage_options){.sharding = SHARDING_TENSOR, .ranks = 3});
}
END_TEST

START_TEST(rank_0_draws_from_what_the_last_stage_tells)
{
    check_samplings(&(struct stage_options){.sharding = SHARDING_PIPELINE, .ranks = 2});
    check_samplings(&(struct stage_options){.sharding = SHARDING_PIPELINE, .ranks = 3});
    check_samplings(&pair_and_one);
    check_samplings(&two_pairs);
}
END_TEST

/* The cache of every rank is too small: the chats are put back on all of them alike. */
static void check_small_cache(const struct stage_options *cut)
{
    static struct stage stage;
    struct stage_options options = *cut;
    options.context = 192;
    stage_open(&stage, &options);
    for (size_t i = 0; i < CHATS; i++) {
        const struct stage_ask ask = {
            .user = questions[i], .tokens_max = 100, .ignore_eos = true};
        stage_ask(&stage, i, &ask);
    }
    stage_run(&stage);
    for (size_t i = 0; i < CHATS; i++) {
        ck_assert_uint_eq(stage.answers[i].ids.count, 100);
        ck_assert_int_eq(stage.answers[i].finish, FINISH_LENGTH);
    }
    stage_close(&stage);
}

START_TEST(ranks_stay_in_step_when_the_cache_is_full)
{
    check_small_cache(&(struct stage_options){
        .sharding = SHARDING_PIPELINE, .ranks = 2, .mode = MODE_EXACT});
    check_small_cache(&(struct stage_options){
        .sharding = SHARDING_TENSOR, .ranks = 2, .mode = MODE_EXACT});
    check_small_cache(&pair_and_one);
    check_small_cache(&two_pairs);
}
END_TEST

/* The siblings cannot be told of it: it is as if it had never been opened. */
START_TEST(a_slot_no_sibling_hears_of_is_given_back)
{
    static struct stage stage;
    const struct stage_options options = {.ranks = 1, .context = 512, .mode = MODE_EXACT};
    struct rank_world *world = &stage.ranks[0].world;
    struct reason reason = {""};
    uint32_t sequence = 0;
    stage_open(&stage, &options);
    world->rank_count = 2;
    world->change_count = STEP_CHANGES_MAX;
    for (unsigned i = 0; i < 2 * RANK_SEQUENCES_MAX; i++)
        ck_assert_int_eq(rank_world_sequence_open(world, &sequence, &reason), STATUS_BUSY);
    world->rank_count = 1;
    world->change_count = 0;
    ck_assert_int_eq(rank_world_sequence_open(world, &sequence, &reason), STATUS_OK);
    ck_assert_int_eq(rank_world_sequence_close(world, sequence, &reason), STATUS_OK);
    stage_close(&stage);
}
END_TEST

/* ---- what goes wrong between ranks ---- */

static bool lose_fifth(struct stage *stage, uint32_t source, uint32_t target,
                       struct message *message)
{
    (void)source;
    (void)target;
    (void)message;
    return ++stage->passed != 5;
}

static bool skip_a_number(struct stage *stage, uint32_t source, uint32_t target,
                          struct message *message)
{
    (void)target;
    if (source == 0 && message_is(message, MESSAGE_LINK, LINK_STEP_PLANNED) && ++stage->passed == 3)
        MESSAGE_BODY(message, step_planned)->number++;
    return true;
}

static bool shorten_hidden(struct stage *stage, uint32_t source, uint32_t target,
                           struct message *message)
{
    (void)target;
    if (source == 0 && message_is(message, MESSAGE_LINK, LINK_HIDDEN_SENT) && ++stage->passed == 2)
        MESSAGE_BODY(message, hidden_sent)->rows++;
    return true;
}

static bool widen_hidden(struct stage *stage, uint32_t source, uint32_t target,
                         struct message *message)
{
    static const uint8_t zeros[65536];
    (void)target;
    if (source == 1 && message_is(message, MESSAGE_LINK, LINK_HIDDEN_SENT) && ++stage->passed == 2)
        ck_assert(bytes_set(&MESSAGE_BODY(message, hidden_sent)->values, zeros, sizeof(zeros)));
    return true;
}

static bool spoil_rows(struct stage *stage, uint32_t source, uint32_t target,
                       struct message *message)
{
    (void)target;
    if (source == 0 && message_is(message, MESSAGE_LINK, LINK_STEP_PLANNED) && ++stage->passed == 2)
        MESSAGE_BODY(message, step_planned)->tokens.count = 0;
    return true;
}

static bool wrong_slot(struct stage *stage, uint32_t source, uint32_t target,
                       struct message *message)
{
    (void)target;
    if (source == 0 && message_is(message, MESSAGE_LINK, LINK_STEP_PLANNED) && ++stage->passed == 1)
        MESSAGE_BODY(message, step_planned)->changes.items[0] = 2 * 9;
    return true;
}

static bool close_nothing(struct stage *stage, uint32_t source, uint32_t target,
                          struct message *message)
{
    (void)target;
    if (source == 0 && message_is(message, MESSAGE_LINK, LINK_STEP_PLANNED) && ++stage->passed == 1)
        MESSAGE_BODY(message, step_planned)->changes.items[0] = 2 * 9 + 1;
    return true;
}

/* Runs until rank 0 or another ends it; the sentence of whoever found it. */
static void check_ends(const struct stage_options *options,
                       bool (*passing)(struct stage *, uint32_t, uint32_t, struct message *),
                       const char *word)
{
    static struct stage stage;
    struct reason reason = {""};
    const struct stage_ask ask = {.user = "Who are you?", .ignore_eos = true, .tokens_max = 60};
    stage_open(&stage, options);
    stage.passing = passing;
    stage_ask(&stage, 1, &ask);
    enum status status = STATUS_OK;
    for (unsigned i = 0; status == STATUS_OK && serving_has_work(&stage.serving); i++) {
        ck_assert_uint_lt(i, 1000);
        status = serving_step(&stage.serving, &reason);
        if (status == STATUS_OK && !serving_has_work(&stage.serving) && !stage.is_over)
            status = rank_world_rest(&stage.ranks[0].world, &reason);
    }
    stage.is_over = true;
    ck_assert_msg(status != STATUS_OK, "the generation went on");
    stage_close(&stage);
    bool is_named = strstr(reason.text, word) != NULL;
    for (uint32_t i = 1; i < options->ranks; i++)
        is_named |= strstr(stage.ranks[i].reason.text, word) != NULL;
    ck_assert_msg(is_named, "0: %s; 1: %s", reason.text, stage.ranks[1].reason.text);
}

static const struct stage_options ring = {.sharding = SHARDING_PIPELINE,
                                          .ranks = 3,
                                          .context = 256,
                                          .mode = MODE_EXACT};

START_TEST(a_gap_ends_the_generation)
{
    check_ends(&ring, skip_a_number, "came after");
    check_ends(&ring, spoil_rows, "has rows without their places");
    check_ends(&ring, wrong_slot, "slot");
    check_ends(&ring, close_nothing, "which is not open");
}
END_TEST

START_TEST(hidden_states_of_the_wrong_size_end_the_generation)
{
    check_ends(&ring, shorten_hidden, "were due from");
    check_ends(&ring, widen_hidden, "were due from");
}
END_TEST

static bool is_third_told(struct stage *stage, uint32_t target, const struct message *message)
{
    return target == 0 && message_is(message, MESSAGE_LINK, LINK_HIDDEN_SENT) &&
           ++stage->passed == 3;
}

/* A word less than was asked for, which is also said. */
static bool shorten_told(struct stage *stage, uint32_t source, uint32_t target,
                         struct message *message)
{
    (void)source;
    if (is_third_told(stage, target, message)) {
        struct bytes *values = &MESSAGE_BODY(message, hidden_sent)->values;
        uint32_t count = 0;
        memcpy(&count, values->items, sizeof(count));
        count--;
        memcpy(values->items, &count, sizeof(count));
        values->count -= (uint32_t)sizeof(count);
    }
    return true;
}

/* An id beyond the vocabulary. */
static bool spoil_told(struct stage *stage, uint32_t source, uint32_t target,
                       struct message *message)
{
    (void)source;
    if (is_third_told(stage, target, message))
        memset(MESSAGE_BODY(message, hidden_sent)->values.items + 2 * sizeof(uint32_t), 0xff,
               sizeof(uint32_t));
    return true;
}

static bool break_told(struct stage *stage, uint32_t source, uint32_t target,
                       struct message *message)
{
    (void)source;
    if (is_third_told(stage, target, message))
        MESSAGE_BODY(message, hidden_sent)->values.count--;
    return true;
}

static bool forget_asks(struct stage *stage, uint32_t source, uint32_t target,
                        struct message *message)
{
    (void)target;
    if (source == 0 && message_is(message, MESSAGE_LINK, LINK_STEP_PLANNED) && ++stage->passed == 2)
        MESSAGE_BODY(message, step_planned)->asks.count = 0;
    return true;
}

START_TEST(what_is_not_drawn_from_ends_the_generation)
{
    check_ends(&ring, shorten_told, "is not what was asked for");
    check_ends(&ring, spoil_told, "is not what was asked for");
    check_ends(&two_pairs, shorten_told, "is not what was asked for");
    check_ends(&ring, break_told, "which are no words");
    check_ends(&ring, forget_asks, "sampling does not fit its rows");
}
END_TEST

/* What came for a rank of another stage, or twice. */
static bool repeat_to_third(struct stage *stage, uint32_t source, uint32_t target,
                            struct message *message)
{
    (void)source;
    if (target == 3 && message_is(message, MESSAGE_LINK, LINK_STEP_PLANNED) && ++stage->passed == 3)
        MESSAGE_BODY(message, step_planned)->number--;
    return true;
}

START_TEST(what_goes_wrong_in_a_stage_ends_the_generation)
{
    check_ends(&two_pairs, skip_a_number, "came after");
    check_ends(&two_pairs, repeat_to_third, "came after");
    check_ends(&two_pairs, shorten_hidden, "were due from");
    check_ends(&two_pairs, spoil_rows, "has rows without their places");
    check_ends(&two_pairs, wrong_slot, "slot");
}
END_TEST

START_TEST(a_lost_message_ends_the_generation)
{
    struct stage_options hasty = ring;
    hasty.sibling_limit_ms = 2000;
    check_ends(&hasty, lose_fifth, "step");
}
END_TEST

static bool lose_sibling(struct stage *stage, uint32_t source, uint32_t target,
                         struct message *message)
{
    (void)source;
    (void)target;
    if (message_is(message, MESSAGE_LINK, LINK_STEP_PLANNED))
        MESSAGE_BODY(message, step_planned)->number += 3; /* the rank ends, and with it its place */
    return stage->passed++ < 1000;
}

START_TEST(a_lost_sibling_ends_a_tensor_cut)
{
    const struct stage_options tensor = {
        .sharding = SHARDING_TENSOR, .ranks = 3, .context = 256, .mode = MODE_EXACT};
    check_ends(&tensor, lose_sibling, "busy period");
    check_ends(&tensor, lose_sibling, "lost");
}
END_TEST

Suite *suite_of_tests(void)
{
    const TTest *const tests[] = {
        a_pipeline_answers_as_one_rank,
        stages_of_tensor_groups_answer_as_one_rank,
        a_tensor_cut_answers_as_one_rank,
        ranks_sample_from_their_rows_as_one_rank,
        rank_0_draws_from_what_the_last_stage_tells,
        ranks_stay_in_step_when_the_cache_is_full,
        a_slot_no_sibling_hears_of_is_given_back,
        a_gap_ends_the_generation,
        hidden_states_of_the_wrong_size_end_the_generation,
        what_is_not_drawn_from_ends_the_generation,
        what_goes_wrong_in_a_stage_ends_the_generation,
        a_lost_message_ends_the_generation,
        a_lost_sibling_ends_a_tensor_cut,
    };
    Suite *suite = suite_create("runner-rank-world");
    suite_add(suite, "world", tests, COUNT_OF(tests));
    return suite;
}
