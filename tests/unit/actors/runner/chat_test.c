/* SPDX-License-Identifier: Apache-2.0 */
/* One request from its prompt to its last word; the model is the shipped one. */
#include "protocol/memory.h"
#include "tests/support/check_main.h"
#include "tests/support/sanitized.h"
#include "tests/support/scratch.h"
#include "tests/unit/actors/runner/world_stage.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

static const struct stage_options one_rank = {.ranks = 1, .context = 256, .mode = MODE_EXACT};
static struct stage stage;

static void setup(void)
{
    stage_open(&stage, &one_rank);
}

static void teardown(void)
{
    stage_close(&stage);
}

static const struct stage_answer *answer_to(uint64_t number, const struct stage_ask *ask)
{
    stage_answer_forget(&stage.answers[number]);
    stage_ask(&stage, number, ask);
    stage_run(&stage);
    return &stage.answers[number];
}

START_TEST(makes_the_prompt_of_messages_text_and_ids)
{
    static const uint32_t hello[] = {2030, 1868, 198, 1357, 0, 2031, 198, 2030, 598, 387, 466, 198};
    const struct stage_answer *chat = answer_to(1, &(struct stage_ask){.user = "Hello!"});
    ck_assert_uint_eq(chat->prompt_ids.count, COUNT_OF(hello));
    ck_assert_mem_eq(chat->prompt_ids.items, hello, sizeof(hello));
    ck_assert_str_eq(chat->text, "Hello! How can I help you today?");
    ck_assert_int_eq(chat->finish, FINISH_STOP);
    ck_assert_uint_eq(chat->answer_tokens, 9); /* the end of text is not of the answer */
    ck_assert_uint_eq(chat->ids.count, 9);
    const struct stage_answer *plain = answer_to(
        2, &(struct stage_ask){
               .prompt = "<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\n"});
    ck_assert_mem_eq(plain->prompt_ids.items, hello, sizeof(hello));
    ck_assert_str_eq(plain->text, chat->text);
    const struct stage_answer *ids = answer_to(3, &(struct stage_ask){.resumed = chat});
    ck_assert_str_eq(ids->text, chat->text);
}
END_TEST

START_TEST(refuses_with_a_sentence_what_it_cannot_ask)
{
    static char wide[4096];
    memset(wide, 'x', sizeof(wide) - 1);
    const struct {
        struct stage_ask ask;
        enum status status;
        const char *word;
    } rows[] = {
        {{.prompt = wide}, STATUS_CONTEXT_LENGTH, "256"},
        {{.prompt = ""}, STATUS_INVALID, "empty"},
        {{.messages = "{"}, STATUS_INVALID, "messages is not JSON"},
        {{.messages = "[{\"role\":\"nobody\",\"content\":\"x\"}]"}, STATUS_OK, "nobody"},
        {{.user = "x", .temperature = -1}, STATUS_INVALID, "temperature"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const struct stage_answer *answer = answer_to(i, &rows[i].ask);
        ck_assert_int_ne(answer->refused, STATUS_OK);
        if (rows[i].status != STATUS_OK)
            ck_assert_int_eq(answer->refused, rows[i].status);
        ck_assert_msg(strstr(answer->sentence, rows[i].word) != NULL, "%s", answer->sentence);
        ck_assert_uint_eq(answer->ids.count, 0);
    }
}
END_TEST

/* Whatever the context: more ids fit into no message. */
START_TEST(promises_no_more_than_can_be_told)
{
    static struct stage wide;
    const struct stage_options options = {
        .ranks = 1, .context = TOKEN_IDS_MAX + 100, .mode = MODE_EXACT};
    const struct stage_ask ask = {.user = "Hello!"};
    stage_open(&wide, &options);
    stage_ask(&wide, 1, &ask);
    const struct stage_answer *answer = &wide.answers[1];
    ck_assert_uint_eq(answer->prompt_ids.count + answer->tokens_max, TOKEN_IDS_MAX);
    stage_close(&wide);
}
END_TEST

START_TEST(refuses_ids_out_of_range)
{
    uint32_t ids[] = {5, 2048};
    const struct stage_answer resumed = {.prompt_ids = {ids, 2}};
    const struct stage_answer *answer = answer_to(1, &(struct stage_ask){.resumed = &resumed});
    ck_assert_int_eq(answer->refused, STATUS_INVALID);
    ck_assert_ptr_nonnull(strstr(answer->sentence, "2048"));
}
END_TEST

START_TEST(stops_before_a_stop_string)
{
    const struct stage_answer *answer =
        answer_to(1, &(struct stage_ask){.user = "Hello!", .stop = "help"});
    ck_assert_str_eq(answer->text, "Hello! How can I ");
    ck_assert_int_eq(answer->finish, FINISH_STOP);
    ck_assert_uint_eq(answer->text_end, strlen(answer->text));
    ck_assert_uint_eq(answer->answer_tokens, answer->ids.count);
}
END_TEST

START_TEST(says_no_special_tokens_and_ignores_the_end_when_asked)
{
    const struct stage_answer *answer = answer_to(
        1, &(struct stage_ask){.user = "Hello!", .ignore_eos = true, .tokens_max = 30});
    ck_assert_int_eq(answer->finish, FINISH_LENGTH);
    ck_assert_uint_eq(answer->ids.count, 30);
    ck_assert_uint_eq(answer->ids.items[9], 2031); /* the end came, and the answer went on */
    ck_assert_ptr_null(strstr(answer->text, "<|im_"));
    ck_assert_uint_eq(answer->text_end, answer->text_size);
    /* Beside their log probabilities they stand by name. */
    ck_assert_uint_ge(answer->piece_bytes, answer->text_size + strlen("<|im_end|>"));
}
END_TEST

START_TEST(tells_log_probabilities)
{
    const struct stage_answer *answer =
        answer_to(1, &(struct stage_ask){.user = "Hello!", .has_logprobs = true,
                                         .top_logprobs = 5});
    ck_assert_double_lt(answer->logprob_last, 0.0);
    ck_assert_double_gt(answer->logprob_last, -1.0);
    ck_assert_uint_eq(answer->top_last, 5);
    ck_assert_uint_eq(answer->piece_bytes, strlen(answer->text));
    answer = answer_to(2, &(struct stage_ask){.user = "Hello!"});
    ck_assert_uint_eq(answer->top_last, 0);
}
END_TEST

/* Cuts an answer after each of its tokens, and anywhere in what was read of its text: the rest is
 * what the unbroken answer said. */
static void check_cuts(struct stage_ask ask)
{
    static struct stage_answer whole;
    ask.attempt = 1;
    (void)answer_to(1, &ask);
    whole = stage.answers[1];
    memset(&stage.answers[1], 0, sizeof(stage.answers[1]));
    ck_assert_uint_gt(whole.ids.count, 3);
    struct stage_ask again = ask;
    again.user = NULL;
    again.attempt = 2;
    again.resumed = &whole;
    for (uint32_t cut = 0; cut <= whole.ids.count; cut += TIMES(1, 5)) {
        for (unsigned part = 0; part < 2; part++) {
            again.sent = cut;
            /* A client has read no more than these tokens made certain. */
            again.sent_text = part * whole.text_size * cut / whole.ids.count / 2;
            const struct stage_answer *rest = answer_to(2, &again);
            ck_assert_msg(rest->refused == STATUS_OK, "%s", rest->sentence);
            ck_assert_uint_eq(cut + rest->ids.count, whole.ids.count);
            if (rest->ids.count > 0)
                ck_assert_mem_eq(rest->ids.items, whole.ids.items + cut,
                                 rest->ids.count * sizeof(uint32_t));
            ck_assert_int_eq(rest->finish, whole.finish);
            ck_assert_uint_eq(rest->answer_tokens, whole.answer_tokens);
            ck_assert_uint_eq(rest->prompt_tokens, whole.prompt_tokens);
            ck_assert_uint_eq(rest->text_end, whole.text_end);
        }
    }
    stage_answer_forget(&whole);
}

START_TEST(goes_on_after_any_cut_as_if_unbroken)
{
    check_cuts((struct stage_ask){.user = "Who are you?"});
    check_cuts((struct stage_ask){.user = "Hello!", .temperature = 1.5, .seed = 7,
                                  .tokens_max = 12, .ignore_eos = true});
    check_cuts((struct stage_ask){.user = "Hello!", .stop = "help"});
    check_cuts((struct stage_ask){.user = "Hello!", .tokens_max = 5});
}
END_TEST

/* What was sent before and after the cut is the text, byte for byte: the text goes on exactly
 * where the client stands. */
START_TEST(says_each_byte_once_over_a_cut)
{
    static char before[1024];
    struct stage_ask ask = {.user = "Who are you?", .attempt = 1};
    (void)answer_to(1, &ask);
    static struct stage_answer whole;
    whole = stage.answers[1];
    memset(&stage.answers[1], 0, sizeof(stage.answers[1]));
    for (uint32_t cut = 1; cut < whole.ids.count; cut += TIMES(1, 3)) {
        stage_answer_forget(&stage.answers[2]);
        stage_ask(&stage, 2, &ask);
        while (stage.answers[2].ids.count < cut)
            stage_step(&stage);
        memcpy(before, stage.answers[2].text, stage.answers[2].text_size + 1);
        const size_t read = stage.answers[2].text_size;
        struct reason reason = {""};
        ck_assert_int_eq(serving_cancel(&stage.serving, 2, &reason), STATUS_OK);
        const struct stage_ask again = {.resumed = &whole, .sent = cut, .sent_text = read,
                                        .attempt = 2};
        const struct stage_answer *rest = answer_to(3, &again);
        ck_assert_uint_lt(read + rest->text_size, sizeof(before));
        memcpy(before + read, rest->text, rest->text_size + 1);
        ck_assert_str_eq(before, whole.text);
    }
    stage_answer_forget(&whole);
}
END_TEST

static const char person[] =
    "{\"type\":\"json_schema\",\"schema\":{\"type\":\"object\",\"properties\":{\"name\":{\"type\":"
    "\"string\",\"maxLength\":20},\"age\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":99}},"
    "\"required\":[\"name\",\"age\"],\"additionalProperties\":false}}";

START_TEST(answers_in_the_form_that_is_asked_for)
{
    for (unsigned seed = 0; seed < 4; seed++) {
        const struct stage_answer *answer = answer_to(
            1, &(struct stage_ask){.user = "Hello!", .demand = person, .seed = seed,
                                   .temperature = seed});
        ck_assert_msg(answer->refused == STATUS_OK, "%s", answer->sentence);
        ck_assert_int_eq(answer->finish, FINISH_STOP);
        json_t *json = json_loads(answer->text, 0, NULL);
        ck_assert_msg(json != NULL, "%s", answer->text);
        ck_assert(json_is_string(json_object_get(json, "name")));
        ck_assert(json_is_integer(json_object_get(json, "age")));
        json_decref(json);
    }
    const struct stage_answer *word = answer_to(
        2, &(struct stage_ask){.prompt = "Is it?",
                               .demand = "{\"type\":\"choice\",\"choices\":[\"yes\",\"no\"]}"});
    ck_assert(strcmp(word->text, "yes") == 0 || strcmp(word->text, "no") == 0);
    static const char *const bad[][2] = {
        {"{\"type\":\"regex\",\"pattern\":\"(?=a)\"}", "looking ahead"},
        {"{\"type\":\"json_schema\",\"schema\":{\"not\":{}}}", "the keyword not"},
        {"{\"type\":\"tools\"}", "no tool at all"},
        {"{", "is not JSON"},
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        const struct stage_answer *answer =
            answer_to(3, &(struct stage_ask){.user = "x", .demand = bad[i][0]});
        ck_assert_int_ne(answer->refused, STATUS_OK);
        ck_assert_msg(strstr(answer->sentence, bad[i][1]) != NULL, "%s", answer->sentence);
    }
}
END_TEST

START_TEST(goes_on_after_any_cut_in_the_same_form)
{
    check_cuts((struct stage_ask){.user = "Hello!", .temperature = 1.2, .seed = 3,
                                  .demand = person});
}
END_TEST

/* The shipped model with a template that shows tools: what its family would have. */
static void open_with_tools(struct scratch *scratch, struct stage *with_tools)
{
    static const char *const names[] = {"config.json", "generation_config.json",
                                        "model.safetensors", "model.safetensors.index.json",
                                        "tokenizer.json", "tokenizer_config.json"};
    char source[512];
    char target[256];
    scratch_open(scratch);
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        char name[256];
        (void)snprintf(name, sizeof(name), STAGE_MODEL "/%s", names[i]);
        size_t size = 0;
        char *bytes = file_bytes(source_path(name, source), &size);
        file_put(scratch_path(scratch, names[i], target), bytes, size);
        memory_free(bytes);
    }
    size_t size = 0;
    char *text = file_bytes(source_path(STAGE_MODEL "/chat_template.jinja", source), &size);
    static char changed[65536];
    const int length =
        snprintf(changed, sizeof(changed), "{# <tool_call> #}%.*s", (int)size, text);
    file_put(scratch_path(scratch, "chat_template.jinja", target), changed, (size_t)length);
    memory_free(text);
    struct stage_options options = one_rank;
    options.directory = scratch->path;
    stage_open(with_tools, &options);
}

START_TEST(calls_the_tool_it_must_call)
{
    static struct stage with_tools;
    struct scratch scratch;
    static const char tools[] =
        "[{\"type\":\"function\",\"function\":{\"name\":\"set\",\"parameters\":"
        "{\"type\":\"object\",\"properties\":{\"level\":{\"type\":\"integer\",\"minimum\":0,"
        "\"maximum\":9}},"
        "\"required\":[\"level\"]}}}]";
    open_with_tools(&scratch, &with_tools);
    stage_ask(&with_tools, 1,
              &(struct stage_ask){.user = "Hello!", .tools = tools,
                                  .demand = "{\"type\":\"tools\",\"name\":\"set\"}"});
    stage_run(&with_tools);
    const struct stage_answer *answer = &with_tools.answers[1];
    ck_assert_msg(answer->refused == STATUS_OK, "%s", answer->sentence);
    ck_assert_int_eq(answer->finish, FINISH_STOP);
    ck_assert_str_eq(answer->text, "");
    ck_assert_msg(strncmp(answer->calls, "set{\"level\":", 12) == 0 && strlen(answer->calls) == 14,
                  "%s", answer->calls);
    stage_close(&with_tools);
    scratch_close(&scratch);
}
END_TEST

Suite *suite_of_tests(void)
{
    const TTest *const tests[] = {
        answers_in_the_form_that_is_asked_for,
        goes_on_after_any_cut_in_the_same_form,
        calls_the_tool_it_must_call,
        makes_the_prompt_of_messages_text_and_ids,
        refuses_with_a_sentence_what_it_cannot_ask,
        promises_no_more_than_can_be_told,
        refuses_ids_out_of_range,
        stops_before_a_stop_string,
        says_no_special_tokens_and_ignores_the_end_when_asked,
        tells_log_probabilities,
        goes_on_after_any_cut_as_if_unbroken,
        says_each_byte_once_over_a_cut,
    };
    Suite *suite = suite_create("runner-chat");
    TCase *test_case = tcase_create("chat");
    tcase_add_checked_fixture(test_case, setup, teardown);
    tcase_set_timeout(test_case, 100);
    for (size_t i = 0; i < COUNT_OF(tests); i++)
        tcase_add_test(test_case, tests[i]);
    suite_add_tcase(suite, test_case);
    return suite;
}
