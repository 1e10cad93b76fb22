/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the gateway does, one test for each promise.
 */
#include "tests/support/check_main.h"
#include "tests/unit/gateway/stage.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

START_TEST(greets_its_master_and_is_ready)
{
    open_gateway();
    const struct message *message = sent_of(MESSAGE_LINK, LINK_HELLO);
    ck_assert_ptr_nonnull(message);
    ck_assert_uint_eq(MESSAGE_BODY(message, hello)->actor, ACTOR_GATEWAY);
    ck_assert(MESSAGE_BODY(message, hello)->wants_events);
    ck_assert(is_ready);
    pass_ms(5000);
    ck_assert_uint_eq(outbox.wake_ms, UINT64_MAX); /* idle costs nothing */
    close_gateway();
}
END_TEST

START_TEST(streams_an_answer)
{
    open_ready();
    chat(1, ",\"stream\":true,\"stream_options\":{\"include_usage\":true},\"seed\":5");
    ck_assert_uint_eq(asked()->attempt, 1);
    ck_assert_uint_eq(asked()->sampling.seed, 5);
    ck_assert_uint_eq(sent_link[sent_count - 1], RUNNER);
    accept_chat(RUNNER);
    token(RUNNER, 0, "Hel", 3);
    token(RUNNER, 1, "", 3);
    token(RUNNER, 2, "lo", 5);
    finish(RUNNER, FINISH_STOP, "!", 6);
    struct reading *reading = read_stream(1);
    ck_assert_str_eq(reading->text, "Hello!");
    ck_assert_int_eq(reading->roles, 1);
    ck_assert_int_eq(reading->completion_tokens, 3);
    ck_assert_str_eq(reading->finish, "stop");
    ck_assert(reading->is_done && clients[1].is_ended);
    ck_assert_ptr_nonnull(strstr((const char *)journal.bytes, "\"answer_tokens\":3"));
    ck_assert_ptr_null(strstr((const char *)journal.bytes, "Hel"));
    close_gateway();
}
END_TEST

/* Two tokens of thinking, then two calls, the second within the last word. */
static void think_and_call(void)
{
    char name[] = "add";
    char other[] = "now";
    char thought[] = "Hm\"m";
    char begin[] = "{\"a\":";
    char end[] = "1}";
    char empty[] = "{}";
    struct call_piece first[] = {{.number = 0, .name = name}, {.number = 0, .arguments = begin}};
    struct call_piece last[] = {{.number = 0, .arguments = end},
                                {.number = 1, .name = other},
                                {.number = 1, .arguments = empty}};
    struct token_streamed body = {.request_id = asked()->request_id,
                                  .attempt = asked()->attempt,
                                  .id = 100,
                                  .reasoning = thought,
                                  .is_thinking = true};
    say_link(RUNNER, LINK_TOKEN_STREAMED, &body);
    body.number = 1;
    body.is_thinking = false;
    body.id = 101;
    body.reasoning = NULL;
    body.calls.items = first;
    body.calls.count = 2;
    say_link(RUNNER, LINK_TOKEN_STREAMED, &body);
    struct generation_finished over = {.request_id = asked()->request_id,
                                       .attempt = asked()->attempt,
                                       .reason = FINISH_STOP,
                                       .calls = {last, 3}};
    say_link(RUNNER, LINK_GENERATION_FINISHED, &over);
}

START_TEST(streams_thinking_and_calls)
{
    open_ready();
    chat(1, ",\"stream\":true");
    accept_chat(RUNNER);
    think_and_call();
    ck_assert_str_eq(read_stream(1)->finish, "tool_calls");
    const char *text = text_of(1);
    ck_assert_ptr_nonnull(strstr(text, "{\"reasoning_content\":\"Hm\\\"m\",\"reasoning\":\"Hm"));
    const char *first = strstr(text, "\"tool_calls\":[{\"index\":0,\"id\":\"call_");
    ck_assert_ptr_nonnull(first);
    ck_assert_ptr_nonnull(strstr(first, "\"type\":\"function\",\"function\":{\"name\":\"add\","
                                        "\"arguments\":\"\"}}]}"));
    ck_assert_ptr_nonnull(strstr(first, "\"tool_calls\":[{\"index\":0,\"function\":{"
                                        "\"arguments\":\"{\\\"a\\\":\"}}]}"));
    ck_assert_ptr_nonnull(strstr(first, "\"tool_calls\":[{\"index\":1,\"id\":\"call_"));
    close_gateway();
}
END_TEST

START_TEST(tells_thinking_and_calls_in_one_piece)
{
    open_ready();
    chat(1, "");
    accept_chat(RUNNER);
    think_and_call();
    json_t *answer = json_loads(text_of(1), 0, NULL);
    ck_assert_msg(answer != NULL, "%s", text_of(1));
    json_t *choice = json_array_get(json_object_get(answer, "choices"), 0);
    json_t *message = json_object_get(choice, "message");
    json_t *calls = json_object_get(message, "tool_calls");
    ck_assert_str_eq(json_string_value(json_object_get(choice, "finish_reason")), "tool_calls");
    ck_assert(json_is_null(json_object_get(message, "content")));
    ck_assert_str_eq(json_string_value(json_object_get(message, "reasoning_content")), "Hm\"m");
    ck_assert_uint_eq(json_array_size(calls), 2);
    ck_assert_ptr_nonnull(strstr(text_of(1), "\"completion_tokens\":2,\"total_tokens\":5,"
                                             "\"completion_tokens_details\":{"
                                             "\"reasoning_tokens\":1}"));
    json_t *function = json_object_get(json_array_get(calls, 0), "function");
    ck_assert_str_eq(json_string_value(json_object_get(function, "name")), "add");
    ck_assert_str_eq(json_string_value(json_object_get(function, "arguments")), "{\"a\":1}");
    ck_assert_str_ne(json_string_value(json_object_get(json_array_get(calls, 0), "id")),
                     json_string_value(json_object_get(json_array_get(calls, 1), "id")));
    json_decref(answer);
    close_gateway();
}
END_TEST

START_TEST(answers_in_one_piece_with_logprobs)
{
    open_ready();
    chat(1, ",\"logprobs\":true,\"top_logprobs\":1,\"max_tokens\":2");
    accept_chat(RUNNER);
    token(RUNNER, 0, "Hel", 3);
    token(RUNNER, 1, "lo", 5);
    finish(RUNNER, FINISH_LENGTH, "", 5);
    json_t *answer = json_loads(text_of(1), 0, NULL);
    ck_assert_msg(answer != NULL, "%s", text_of(1));
    json_t *choice = json_array_get(json_object_get(answer, "choices"), 0);
    ck_assert_str_eq(
        json_string_value(json_object_get(json_object_get(choice, "message"), "content")), "Hello");
    ck_assert_str_eq(json_string_value(json_object_get(choice, "finish_reason")), "length");
    json_t *logprobs = json_object_get(json_object_get(choice, "logprobs"), "content");
    ck_assert_uint_eq(json_array_size(logprobs), 2);
    json_decref(answer);
    close_gateway();
}
END_TEST

START_TEST(goes_on_after_its_runner_died)
{
    open_ready();
    chat(1, ",\"stream\":true,\"stream_options\":{\"include_usage\":true}");
    uint64_t seed = asked()->sampling.seed;
    accept_chat(RUNNER);
    token(RUNNER, 0, "One ", 4);
    token(RUNNER, 1, "two", 7);
    step_kind(INPUT_LINK_DOWN, RUNNER);
    make_truth(INSTANCE_STARTING, 2);
    publish();
    pass_ms(20000);
    ck_assert(!clients[1].is_ended);
    clear_sent();
    next_generation(3);
    const struct generate *again = asked();
    ck_assert_uint_eq(again->attempt, 2);
    ck_assert_str_eq(text_or_empty(again->messages), "");
    ck_assert_uint_eq(again->prompt_ids.count, 3);
    ck_assert_uint_eq(again->prompt_ids.items[2], 13);
    ck_assert_uint_eq(again->sent_ids.count, 2);
    ck_assert_uint_eq(again->sent_ids.items[1], 101);
    ck_assert_uint_eq(again->sent_text, 7);
    ck_assert_uint_eq(again->sampling.seed, seed);
    accept_chat(RUNNER);
    token(RUNNER, 1, "two", 7);      /* said before: neither repeated nor counted */
    token(RUNNER, 2, "o three", 13); /* begins inside what was said */
    finish(RUNNER, FINISH_STOP, "", 13);
    struct reading *reading = read_stream(1);
    ck_assert_str_eq(reading->text, "One two three");
    ck_assert_int_eq(reading->completion_tokens, 3);
    ck_assert_int_eq(reading->roles, 1);
    ck_assert(reading->is_done && !reading->has_error);
    close_gateway();
}
END_TEST

/* Words of an attempt that was given up change nothing. */
START_TEST(ignores_an_older_attempt)
{
    open_ready();
    chat(1, ",\"stream\":true");
    accept_chat(RUNNER);
    token(RUNNER, 0, "A", 1);
    struct request_id id = asked()->request_id;
    step_kind(INPUT_LINK_DOWN, RUNNER);
    step_kind(INPUT_LINK_UP, RUNNER);
    ck_assert_uint_eq(asked()->attempt, 2);
    struct token_streamed old = {
        .request_id = id, .attempt = 1, .number = 1, .id = 5, .text = NULL, .text_end = 1};
    say_link(RUNNER, LINK_TOKEN_STREAMED, &old);
    accept_chat(RUNNER);
    token(RUNNER, 1, "B", 2);
    finish(RUNNER, FINISH_STOP, "", 2);
    ck_assert_str_eq(read_stream(1)->text, "AB");
    close_gateway();
}
END_TEST

/* A gateway that was stopped for a while was silent: rank 0 has dropped what it asked for. */
START_TEST(asks_again_after_it_was_stopped)
{
    open_ready();
    chat(1, ",\"stream\":true");
    accept_chat(RUNNER);
    token(RUNNER, 0, "A", 1);
    pass_ms(3000);
    ck_assert_uint_eq(asked()->attempt, 1);
    now_ms += 10000;
    pass_ms(1500);
    ck_assert_uint_eq(asked()->attempt, 2);
    accept_chat(RUNNER);
    token(RUNNER, 1, "B", 2);
    finish(RUNNER, FINISH_STOP, "", 2);
    ck_assert_str_eq(read_stream(1)->text, "AB");
    close_gateway();
}
END_TEST

/* Events are missing: one hello, however many come, and nobody loses its answer meanwhile. */
START_TEST(asks_once_for_a_state_with_a_gap)
{
    unsigned hellos = 0;
    open_ready();
    chat(1, ",\"stream\":true");
    accept_chat(RUNNER);
    token(RUNNER, 0, "A", 1);
    step_kind(INPUT_LINK_DOWN, RUNNER);
    clear_sent_but_last();
    for (uint64_t i = 0; i < 3; i++) {
        struct instance_deleted deleted = {.instance_id = {.bytes = {9}}};
        const struct envelope head = {.kind = MESSAGE_EVENT,
                                      .code = EVENT_INSTANCE_DELETED,
                                      .index = truth.index + 5 + i};
        say(GATEWAY_LINK_MASTER, head, &deleted);
    }
    for (size_t i = 0; i < sent_count; i++)
        hellos += message_is(&sent[i], MESSAGE_LINK, LINK_HELLO);
    ck_assert_uint_eq(hellos, 1);
    pass_ms(3000);
    struct welcome welcome = {.node_id = {.bytes = {1}}};
    say_link(GATEWAY_LINK_MASTER, LINK_WELCOME, &welcome);
    publish();
    step_kind(INPUT_LINK_UP, RUNNER);
    ck_assert_uint_eq(asked()->attempt, 2);
    accept_chat(RUNNER);
    token(RUNNER, 1, "B", 2);
    finish(RUNNER, FINISH_STOP, "", 2);
    ck_assert_str_eq(read_stream(1)->text, "AB");
    close_gateway();
}
END_TEST

/* "Not ready yet" is no failure of the answer, however often it is said. */
START_TEST(waits_for_a_runner_that_is_not_ready_yet)
{
    open_ready();
    chat(1, ",\"stream\":true");
    for (int i = 0; i < 40; i++) {
        struct generation_refused refused = {.request_id = asked()->request_id,
                                             .attempt = asked()->attempt,
                                             .status = STATUS_NOT_READY};
        say_link(RUNNER, LINK_GENERATION_REFUSED, &refused);
        pass_ms(1000);
        clear_sent_but_last();
    }
    accept_chat(RUNNER);
    token(RUNNER, 0, "A", 1);
    finish(RUNNER, FINISH_STOP, "", 1);
    ck_assert_str_eq(read_stream(1)->text, "A");
    ck_assert(!read_stream(1)->has_error);
    close_gateway();
}
END_TEST

/* Bytes of comments and chunks between two looks, and at least something every 5 s. */
START_TEST(comments_while_it_waits_then_says_why_not)
{
    open_ready();
    chat(1, ",\"stream\":true");
    accept_chat(RUNNER);
    step_kind(INPUT_LINK_DOWN, RUNNER);
    make_truth(INSTANCE_STARTING, 2);
    publish();
    size_t seen = clients[1].bytes.size;
    uint64_t waited_ms = 0;
    while (!clients[1].is_ended && waited_ms < 100000) {
        pass_ms(5000);
        waited_ms += 5000;
        ck_assert_uint_gt(clients[1].bytes.size, seen);
        seen = clients[1].bytes.size;
    }
    ck_assert_uint_ge(waited_ms, 60000);
    ck_assert_uint_le(waited_ms, 65000);
    ck_assert(read_stream(1)->has_error);
    ck_assert_ptr_nonnull(strstr(text_of(1), "the runner was killed"));
    close_gateway();
}
END_TEST

START_TEST(gives_up_at_once_when_the_instance_is_gone)
{
    open_ready();
    chat(1, ",\"stream\":true");
    accept_chat(RUNNER);
    make_truth(INSTANCE_READY, 2);
    truth.instances.items[0].model_id[0] = 'x';
    publish();
    pass_ms(1000);
    ck_assert(clients[1].is_ended);
    ck_assert_ptr_nonnull(strstr(text_of(1), "model_not_placed"));
    close_gateway();
}
END_TEST

START_TEST(cancels_when_the_client_leaves)
{
    open_ready();
    chat(1, ",\"stream\":true");
    accept_chat(RUNNER);
    token(RUNNER, 0, "A", 1);
    leave(1);
    const struct message *message = sent_of(MESSAGE_LINK, LINK_CANCEL_GENERATION);
    ck_assert_ptr_nonnull(message);
    ck_assert_uint_eq(MESSAGE_BODY(message, cancel_generation)->attempt, 1);
    ck_assert_ptr_nonnull(strstr((const char *)journal.bytes, "client_gone"));
    token(RUNNER, 1, "B", 2); /* on its way already */
    pass_ms(5000);
    ck_assert_uint_eq(outbox.wake_ms, UINT64_MAX);
    close_gateway();
}
END_TEST

/* Placed a moment ago, or ready on a node whose word has not come yet. */
START_TEST(waits_for_a_model_that_is_being_loaded)
{
    open_gateway();
    make_truth(INSTANCE_STARTING, 1);
    publish();
    chat(1, "");
    chat(2, ",\"stream\":true");
    pass_ms(6500);
    ck_assert_int_eq(clients[1].http_status, 0);
    ck_assert(clients[2].is_stream && !clients[2].is_ended);
    ck_assert_ptr_nonnull(
        strstr(text_of(2), ": the model is being loaded: 0 of 1 ranks are ready"));
    make_truth(INSTANCE_READY, 1);
    truth.index = 2;
    publish();
    step_kind(INPUT_LINK_UP, RUNNER);
    uint32_t asked_count = 0;
    for (size_t i = 0; i < sent_count; i++)
        asked_count += message_is(&sent[i], MESSAGE_LINK, LINK_GENERATE);
    ck_assert_uint_eq(asked_count, 2);
    chat(3, ",\"stream\":true");
    accept_chat(RUNNER);
    token(RUNNER, 0, "A", 1);
    finish(RUNNER, FINISH_STOP, "", 1);
    ck_assert_str_eq(read_stream(3)->text, "A");
    make_truth(INSTANCE_FAILED, 1); /* it is no use to wait any more */
    truth.index = 3;
    publish();
    pass_ms(1000);
    ck_assert_int_eq(clients[1].http_status, 503);
    ck_assert_ptr_nonnull(strstr(text_of(1), "instance_failed"));
    chat(4, "");
    ck_assert_int_eq(clients[4].http_status, 503);
    close_gateway();
}
END_TEST

START_TEST(says_why_a_model_cannot_answer)
{
    open_gateway();
    chat(0, "");
    ck_assert_int_eq(clients[0].http_status, 503);
    make_truth(INSTANCE_STARTING, 1);
    publish();
    chat(1, "");
    pass_ms(5000); /* it may be ready any moment */
    ck_assert_int_eq(clients[1].http_status, 0);
    pass_ms(5000);
    ck_assert_int_eq(clients[1].http_status, 503);
    ck_assert_uint_gt(clients[1].retry_after_s, 0);
    ck_assert_ptr_nonnull(strstr(text_of(1), "model_loading"));
    truth.nodes.items[0].in_view = false;
    truth.index++;
    publish();
    chat(2, "");
    ck_assert_ptr_nonnull(strstr(text_of(2), "no_holder"));
    ck_assert_ptr_nonnull(strstr(text_of(2), "alpha"));
    truth.nodes.items[0].in_view = true;
    record_list_remove(&instance_record_type, RECORD_LIST(truth.instances), 0);
    truth.index++;
    publish();
    chat(3, "");
    ck_assert_int_eq(clients[3].http_status, 503);
    ck_assert_ptr_nonnull(strstr(text_of(3), "model_not_placed"));
    ck_assert_ptr_nonnull(strstr(text_of(3), "troupe place demo"));
    request(4, HTTP_METHOD_POST, "/v1/chat/completions", "",
            "{\"model\":\"nope\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}");
    ck_assert_int_eq(clients[4].http_status, 404);
    ck_assert_ptr_nonnull(strstr(text_of(4), "model_not_found"));
    close_gateway();
}
END_TEST

START_TEST(passes_a_refusal_on)
{
    open_ready();
    chat(1, ",\"stream\":true");
    char sentence[] = "The prompt has 40000 tokens, the context 32768.";
    struct generation_refused refused = {.request_id = asked()->request_id,
                                         .attempt = 1,
                                         .status = STATUS_CONTEXT_LENGTH,
                                         .reason = sentence};
    say_link(RUNNER, LINK_GENERATION_REFUSED, &refused);
    ck_assert_int_eq(clients[1].http_status, 400);
    ck_assert_ptr_nonnull(strstr(text_of(1), "context_length_exceeded"));
    ck_assert_ptr_nonnull(strstr(text_of(1), "\"param\":\"messages\""));
    ck_assert_ptr_nonnull(strstr(text_of(1), "40000"));
    chat(2, ",\"guided_json\":{\"not\":{}}");
    char form[] = "schema#: the keyword not is not supported";
    refused = (struct generation_refused){.request_id = asked()->request_id,
                                          .attempt = 1,
                                          .status = STATUS_TOO_LARGE,
                                          .reason = form,
                                          .is_demand = true};
    say_link(RUNNER, LINK_GENERATION_REFUSED, &refused);
    ck_assert_int_eq(clients[2].http_status, 400);
    ck_assert_ptr_nonnull(strstr(text_of(2), "\"param\":\"guided_json\""));
    ck_assert_ptr_nonnull(strstr(text_of(2), "keyword not"));
    close_gateway();
}
END_TEST

/* A full queue is the client's to know before anything was said; what was begun waits instead. */
START_TEST(waits_with_what_was_begun_where_a_queue_is_full)
{
    char sentence[] = "as many requests as this instance takes run or wait";
    struct generation_refused refused = {
        .attempt = 1, .status = STATUS_BUSY, .reason = sentence};
    open_ready();
    chat(1, ",\"stream\":true");
    refused.request_id = asked()->request_id;
    say_link(RUNNER, LINK_GENERATION_REFUSED, &refused);
    ck_assert_int_eq(clients[1].http_status, 429);
    ck_assert_uint_eq(clients[1].retry_after_s, 1);
    ck_assert_ptr_nonnull(strstr(text_of(1), "rate_limit_error"));
    chat(2, ",\"stream\":true");
    accept_chat(RUNNER);
    token(RUNNER, 0, "A", 1);
    step_kind(INPUT_LINK_DOWN, RUNNER);
    step_kind(INPUT_LINK_UP, RUNNER);
    for (refused.attempt = 2; refused.attempt < 6; refused.attempt++) {
        refused.request_id = asked()->request_id;
        ck_assert_uint_eq(asked()->attempt, refused.attempt);
        say_link(RUNNER, LINK_GENERATION_REFUSED, &refused);
        ck_assert(!clients[2].is_ended);
        pass_ms(600);
    }
    accept_chat(RUNNER);
    token(RUNNER, 1, "B", 2);
    finish(RUNNER, FINISH_STOP, "", 2);
    ck_assert_str_eq(read_stream(2)->text, "AB");
    close_gateway();
}
END_TEST

/* A second instance of the model, ready too. */
static void add_instance(void)
{
    struct instance_record second = {.model_id = NULL};
    ck_assert_int_eq(record_copy(&instance_record_type, &truth.instances.items[0], &second),
                     STATUS_OK);
    struct instance_record *added =
        record_list_push(&instance_record_type, RECORD_LIST(truth.instances), NULL, 8);
    *added = second;
    added->instance_id.bytes[0] = 10;
    truth.index++;
    publish();
    step_kind(INPUT_LINK_UP, RUNNER + 1);
}

/* 429 only when every instance of the model is full; what was begun goes on wherever there is a
 * place. */
START_TEST(asks_another_instance_where_a_queue_is_full)
{
    char sentence[] = "as many requests as this instance takes run or wait";
    struct generation_refused refused = {
        .attempt = 1, .status = STATUS_BUSY, .reason = sentence};
    open_ready();
    add_instance();
    for (uint64_t i = 1; i <= 2; i++) {
        chat(i, ",\"stream\":true");
        const uint32_t first = sent_link[sent_count - 1];
        ck_assert(first == RUNNER || first == RUNNER + 1);
        const uint32_t second = first == RUNNER ? RUNNER + 1 : RUNNER;
        refused.request_id = asked()->request_id;
        refused.attempt = 1;
        say_link(first, LINK_GENERATION_REFUSED, &refused);
        ck_assert(!clients[i].is_ended);
        ck_assert_uint_eq(sent_link[sent_count - 1], second);
        ck_assert_uint_eq(asked()->attempt, 2);
        if (i == 2) {
            refused.attempt = 2;
            say_link(second, LINK_GENERATION_REFUSED, &refused);
            ck_assert_int_eq(clients[i].http_status, 429);
            break;
        }
        accept_chat(second);
        token(second, 0, "A", 1);
        finish(second, FINISH_STOP, "", 1);
        ck_assert_str_eq(read_stream(i)->text, "A");
    }
    close_gateway();
}
END_TEST

START_TEST(places_through_its_master)
{
    open_ready();
    request(1, HTTP_METHOD_POST, "/instance", "",
            "{\"model_id\":\"demo\",\"sharding\":\"tensor\",\"min_nodes\":2,\"mode\":\"exact\","
            "\"nodes\":[\"alpha\"],\"shares\":[3,1],"
            "\"table\":{\"FFN columns\":[[0,64],[64,512]]}}");
    const struct message *command = sent_of(MESSAGE_COMMAND, COMMAND_PLACE_INSTANCE);
    ck_assert_msg(command != NULL, "%s", text_of(1));
    const struct place_instance *place = command->body;
    ck_assert_uint_eq(place->sharding, SHARDING_TENSOR);
    ck_assert(!place->any_sharding);
    ck_assert_uint_eq(place->nodes_min, 2);
    ck_assert_uint_eq(place->mode, MODE_EXACT);
    ck_assert_uint_eq(place->node_ids.count, 16);
    ck_assert_uint_eq(place->shares.items[0], 3);
    ck_assert_uint_eq(place->table.count, 1);
    ck_assert_uint_eq(place->table.items[0].edges.items[3], 512);
    struct nothing nothing = {0};
    struct envelope answer = {.kind = MESSAGE_ANSWER,
                              .code = ANSWER_DONE,
                              .key = command->head.key,
                              .index = 2,
                              .holders = 1,
                              .nodes = 1};
    struct command_key key = command->head.key;
    say(GATEWAY_LINK_MASTER, answer, &nothing);
    ck_assert(!clients[1].is_ended); /* its event has not come yet */
    struct instance_placed placed = {.instance = {.instance_id = {.bytes = {8}}}};
    char model_id[] = "demo";
    placed.instance.model_id = model_id;
    struct envelope event = {
        .kind = MESSAGE_EVENT, .code = EVENT_INSTANCE_PLACED, .index = 2, .key = key};
    say(GATEWAY_LINK_MASTER, event, &placed);
    ck_assert_int_eq(clients[1].http_status, 200);
    ck_assert_ptr_nonnull(strstr(text_of(1), "\"instance_id\":\"08000000"));
    ck_assert_ptr_nonnull(strstr(text_of(1), "\"held_by\":1"));
    close_gateway();
}
END_TEST

START_TEST(answers_commands_within_three_seconds)
{
    open_ready();
    request(1, HTTP_METHOD_POST, "/instance", "", "{\"model_id\":\"demo\"}");
    pass_ms(3000);
    ck_assert_int_eq(clients[1].http_status, 503);
    ck_assert_ptr_nonnull(strstr(text_of(1), "no_leader"));
    request(2, HTTP_METHOD_DELETE, "/instance/09000000000000000000000000000000", "", "");
    const struct message *command = sent_of(MESSAGE_COMMAND, COMMAND_DELETE_INSTANCE);
    ck_assert_ptr_nonnull(command);
    char reason[] = "The cluster has no leader.";
    struct nothing nothing = {0};
    struct envelope answer = {.kind = MESSAGE_ANSWER,
                              .code = ANSWER_DONE,
                              .key = command->head.key,
                              .status = STATUS_NO_LEADER,
                              .reason = reason};
    say(GATEWAY_LINK_MASTER, answer, &nothing);
    ck_assert_int_eq(clients[2].http_status, 503);
    request(3, HTTP_METHOD_POST, "/instance", "", "{\"model_id\":\"demo\",\"sharding\":\"x\"}");
    ck_assert_int_eq(clients[3].http_status, 400);
    ck_assert_ptr_nonnull(strstr(text_of(3), "\"param\":\"sharding\""));
    request(4, HTTP_METHOD_GET, "/instance/previews", "model_id=demo", "");
    ck_assert_ptr_nonnull(sent_of(MESSAGE_COMMAND, COMMAND_ASK_CANDIDATES));
    close_gateway();
}
END_TEST

/* A query of the previews asks for what the same fields in a body of POST /instance do. */
START_TEST(previews_take_what_a_placement_takes)
{
    static const struct {
        const char *query;
        const char *body; /* after the model_id */
    } rows[] = {
        {"", ""},
        {"&sharding=tensor&mode=exact", ",\"sharding\":\"tensor\",\"mode\":\"exact\""},
        {"&kv_cache=int8&requests=3", ",\"kv_cache\":\"int8\",\"requests\":3"},
        {"&min_nodes=2&context=512&threads=4",
         ",\"min_nodes\":2,\"context\":512,\"threads\":4"},
        {"&nodes=alpha", ",\"nodes\":[\"alpha\"]"},
        {"&nodes=alpha,alpha", ",\"nodes\":[\"alpha\",\"alpha\"]"},
        {"&node_ids=alpha&node_ids=alpha", ",\"nodes\":[\"alpha\",\"alpha\"]"},
        {"&shares=50,30,20&sharding=asymmetric",
         ",\"shares\":[50,30,20],\"sharding\":\"asymmetric\""},
        {"&shares=50%2C30%2C20", ",\"shares\":[50,30,20]"},
        {"&stages=2,1", ",\"stages\":[2,1]"},
        {"&download=true", ",\"download\":true"},
        {"&table=%7B%22layers%22%3A%5B%5B0%2C1%5D%2C%5B1%2C2%5D%5D%7D",
         ",\"table\":{\"layers\":[[0,1],[1,2]]}"},
        {"&table=%7B%22FFN+columns%22:+[[0,64],[64,128]]%7D",
         ",\"table\":{\"FFN columns\":[[0,64],[64,128]]}"},
    };
    open_ready();
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char text[256];
        (void)snprintf(text, sizeof(text), "model_id=demo%s", rows[i].query);
        request(2 * i, HTTP_METHOD_GET, "/instance/previews", text, "");
        const struct message *asked = sent_of(MESSAGE_COMMAND, COMMAND_ASK_CANDIDATES);
        ck_assert_ptr_nonnull(asked);
        (void)snprintf(text, sizeof(text), "{\"model_id\":\"demo\"%s}", rows[i].body);
        request(2 * i + 1, HTTP_METHOD_POST, "/instance", "", text);
        const struct message *placed = sent_of(MESSAGE_COMMAND, COMMAND_PLACE_INSTANCE);
        ck_assert_ptr_nonnull(placed);
        ck_assert_msg(record_equal(&place_instance_type,
                                   &MESSAGE_BODY(asked, ask_candidates)->request, placed->body),
                      "%s", rows[i].query);
    }
    close_gateway();
}
END_TEST

START_TEST(previews_refuse_what_a_placement_refuses)
{
    static const struct {
        const char *query;
        const char *says;
    } rows[] = {
        {"min_nodes=x", "min_nodes"},        {"context=-1", "context"},
        {"shares=50,x", "shares"},           {"shares=50,-10,60", "shares"},
        {"stages=0,2", "stages"},            {"download=maybe", "download"},
        {"nodes=nobody", "nobody"},          {"table=%7B", "table"},
        {"table=3", "table"},                {"zip=1", "zip is no field of a placement"},
        {"mode=fast&mode=fast", "twice"},    {"threads=99999999999999999999", "threads"},
        {"sharding=%zz", "name=value"},      {"kv_cache=int3", "kv_cache"},
    };
    open_ready();
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char text[256];
        (void)snprintf(text, sizeof(text), "model_id=demo&%s", rows[i].query);
        request(i, HTTP_METHOD_GET, "/instance/previews", text, "");
        ck_assert_int_ge(clients[i].http_status, 400);
        ck_assert_int_lt(clients[i].http_status, 500);
        ck_assert_msg(strstr(text_of(i), rows[i].says) != NULL, "%s: %s", text, text_of(i));
    }
    ck_assert_ptr_null(sent_of(MESSAGE_COMMAND, COMMAND_ASK_CANDIDATES));
    close_gateway();
}
END_TEST

/* The reads: each answers JSON, unknown paths 404, wrong methods 405. */
START_TEST(serves_the_other_routes)
{
    static const struct {
        enum http_method method;
        const char *path;
        int http_status;
        const char *holds;
    } rows[] = {
        {HTTP_METHOD_GET, "/livez", 200, "alive"},
        {HTTP_METHOD_GET, "/health", 200, "ok"},
        {HTTP_METHOD_GET, "/v1/models", 200, "\"id\":\"demo\""},
        {HTTP_METHOD_GET, "/v1/models/demo", 200, "\"status\":\"ready\""},
        {HTTP_METHOD_GET, "/v1/models/x", 404, "model_not_found"},
        {HTTP_METHOD_GET, "/state", 200, "\"instances\""},
        {HTTP_METHOD_GET, "/instance", 200, "\"status\":\"ready\""},
        {HTTP_METHOD_GET, "/instance/09000000000000000000000000000000", 200, "\"ranks\":["},
        {HTTP_METHOD_GET, "/instance/0900", 404, "instance_not_found"},
        {HTTP_METHOD_GET, "/node_id", 200, "\"01000000"},
        {HTTP_METHOD_GET, "/nothing", 404, "unknown_path"},
        {HTTP_METHOD_POST, "/state", 405, "method_not_allowed"},
        {HTTP_METHOD_GET, "/v1/chat/completions", 405, "method_not_allowed"},
    };
    open_ready();
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        request(i, rows[i].method, rows[i].path, "", "");
        ck_assert_msg(clients[i].http_status == rows[i].http_status, "%s: %d %s", rows[i].path,
                      clients[i].http_status, text_of(i));
        ck_assert_msg(strstr(text_of(i), rows[i].holds) != NULL, "%s", text_of(i));
        json_t *json = json_loads(text_of(i), JSON_DECODE_ANY, NULL);
        ck_assert_msg(json != NULL, "%s", text_of(i));
        json_decref(json);
    }
    close_gateway();
}
END_TEST

START_TEST(follows_events)
{
    open_ready();
    request(1, HTTP_METHOD_GET, "/events", "", "");
    ck_assert(clients[1].is_stream);
    struct instance_deleted deleted = {.instance_id = {.bytes = {9}}};
    struct envelope head = {.kind = MESSAGE_EVENT, .code = EVENT_INSTANCE_DELETED, .index = 2};
    say(GATEWAY_LINK_MASTER, head, &deleted);
    ck_assert_ptr_nonnull(strstr(text_of(1), "id: 2\nevent: instance_deleted\ndata: {"));
    request(2, HTTP_METHOD_GET, "/events", "since=1", "");
    ck_assert_ptr_nonnull(strstr(text_of(2), "id: 2\n"));
    request(3, HTTP_METHOD_GET, "/events", "since=2", "");
    ck_assert_ptr_null(strstr(text_of(3), "id: 2\n"));
    request(4, HTTP_METHOD_GET, "/events", "since=0", "");
    ck_assert_int_eq(clients[4].http_status, 410);
    size_t size = clients[1].bytes.size;
    pass_ms(6000);
    ck_assert_uint_gt(clients[1].bytes.size, size);
    leave(1);
    leave(2);
    leave(3);
    pass_ms(1000);
    ck_assert_uint_eq(outbox.wake_ms, UINT64_MAX);
    close_gateway();
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("gateway");
    const TTest *const tests[] = {
        greets_its_master_and_is_ready,
        streams_an_answer,
        streams_thinking_and_calls,
        tells_thinking_and_calls_in_one_piece,
        answers_in_one_piece_with_logprobs,
        goes_on_after_its_runner_died,
        ignores_an_older_attempt,
        asks_again_after_it_was_stopped,
        asks_once_for_a_state_with_a_gap,
        waits_for_a_runner_that_is_not_ready_yet,
        comments_while_it_waits_then_says_why_not,
        gives_up_at_once_when_the_instance_is_gone,
        cancels_when_the_client_leaves,
        waits_for_a_model_that_is_being_loaded,
        says_why_a_model_cannot_answer,
        passes_a_refusal_on,
        asks_another_instance_where_a_queue_is_full,
        waits_with_what_was_begun_where_a_queue_is_full,
        places_through_its_master,
        answers_commands_within_three_seconds,
        previews_take_what_a_placement_takes,
        previews_refuse_what_a_placement_refuses,
        serves_the_other_routes,
        follows_events,
    };
    suite_add(suite, "gateway", tests, COUNT_OF(tests));
    return suite;
}
