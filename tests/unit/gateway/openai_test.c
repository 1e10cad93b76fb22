/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/gateway/openai.h"
#include "protocol/memory.h"
#include "tests/support/check_main.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define CHAT "\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

#define STRICT                                                                                     \
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"strict\":true}}]"
#define TOOLS                                                                                      \
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{}}}]"

static struct chat_request parsed(const char *body)
{
    struct chat_request request = {0};
    struct http_fault fault = {0};
    bool is_good = openai_parse_chat(body, strlen(body), &request, &fault);
    ck_assert_msg(is_good, "%s: %s", body, fault.message);
    return request;
}

START_TEST(reads_every_field)
{
    struct chat_request request = parsed(
        "{" CHAT ",\"temperature\":0.5,\"top_p\":0.9,\"top_k\":40,\"min_p\":0.1,"
        "\"presence_penalty\":-1,\"frequency_penalty\":2,\"repetition_penalty\":1.1,"
        "\"repetition_context_size\":64,\"seed\":-3,\"logprobs\":true,\"top_logprobs\":5,"
        "\"max_tokens\":7,\"max_completion_tokens\":9,\"stop\":[\"a\",\"b\"],\"stream\":true,"
        "\"stream_options\":{\"include_usage\":true},\"enable_thinking\":false,"
        "\"chat_template_kwargs\":{\"x\":1},\"response_format\":{\"type\":\"text\"},\"n\":1,"
        "\"logit_bias\":{\"12\":-100,\"7\":1.5},\"user\":\"u\",\"metadata\":{},\"store\":null,"
        "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{}}}]}");
    const struct generate *generate = &request.generate;
    ck_assert_str_eq(request.model, "m");
    ck_assert(request.is_stream && request.wants_usage && request.has_seed);
    ck_assert(generate->sampling.has_temperature);
    ck_assert_double_eq(generate->sampling.temperature, 0.5);
    ck_assert_uint_eq(generate->sampling.top_k, 40);
    ck_assert_uint_eq(generate->sampling.seed, (uint64_t)-3);
    ck_assert_uint_eq(generate->sampling.repetition_window, 64);
    ck_assert(generate->sampling.has_logprobs);
    ck_assert_uint_eq(generate->sampling.top_logprobs, 5);
    ck_assert_uint_eq(generate->tokens_max, 9);
    ck_assert_uint_eq(generate->stops.count, 2);
    ck_assert_str_eq(generate->stops.items[1].text, "b");
    ck_assert_uint_eq(generate->sampling.bias_ids.count, 2);
    ck_assert_uint_eq(generate->sampling.bias_values.count, 8);
    ck_assert_str_eq(generate->messages, "[{\"role\":\"user\",\"content\":\"hi\"}]");
    ck_assert_str_eq(generate->options, "{\"enable_thinking\":false,\"x\":1}");
    ck_assert_ptr_nonnull(strstr(generate->tools, "\"name\":\"f\""));
    chat_request_fini(&request);
}
END_TEST

/* `parts` options of 4 MiB each beside a message of 7 MiB. */
static bool is_taken(size_t parts, struct chat_request *request, struct http_fault *fault_out)
{
    const size_t message_size = 7u << 20;
    const size_t part_size = 4u << 20;
    const size_t room = message_size + parts * (part_size + 16) + 1024;
    char *body = memory_zeroed(room, 1);
    ck_assert_ptr_nonnull(body);
    int at = snprintf(body, room, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\","
                                  "\"content\":\"");
    memset(body + at, 'x', message_size);
    at += (int)message_size;
    at += snprintf(body + at, room - (size_t)at, "\"}],\"tools\":[{\"type\":\"function\","
                                                 "\"function\":{\"name\":\"f\","
                                                 "\"description\":\"");
    memset(body + at, 'y', parts > 1 ? part_size : 1);
    at += parts > 1 ? (int)part_size : 1;
    at += snprintf(body + at, room - (size_t)at, "\"}}],\"chat_template_kwargs\":{\"z\":\"");
    memset(body + at, 'z', part_size);
    at += (int)part_size;
    at += snprintf(body + at, room - (size_t)at, "\"}}");
    const bool is_good = openai_parse_chat(body, (size_t)at, request, fault_out);
    memory_free(body);
    return is_good;
}

/* Or the message to the runner could not be made, which would end the process. */
START_TEST(takes_no_more_than_fits_into_a_message)
{
    struct chat_request request;
    struct http_fault fault = {0};
    ck_assert_msg(is_taken(1, &request, &fault), "%s", fault.message);
    chat_request_fini(&request);
    ck_assert(!is_taken(2, &request, &fault));
    ck_assert_int_eq(fault.http_status, 413);
    ck_assert_str_eq(fault.code, "too_large");
}
END_TEST

START_TEST(asks_for_a_form_in_each_of_its_names)
{
    static const char *const rows[][2] = {
        {"\"response_format\":{\"type\":\"text\"}", ""},
        {"\"response_format\":{\"type\":\"json_object\"}", "{\"type\":\"json_object\"}"},
        {"\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"n\","
         "\"strict\":true,\"schema\":{\"type\":\"null\"}}}",
         "{\"type\":\"json_schema\",\"schema\":{\"type\":\"null\"}}"},
        {"\"guided_json\":{}", "{\"type\":\"json_schema\",\"schema\":{}}"},
        {"\"guided_regex\":\"a+\"", "{\"type\":\"regex\",\"pattern\":\"a+\"}"},
        {"\"guided_choice\":[\"a\"]", "{\"type\":\"choice\",\"choices\":[\"a\"]}"},
        {"\"structured_outputs\":{\"regex\":\"b\",\"json\":null}",
         "{\"type\":\"regex\",\"pattern\":\"b\"}"},
        {TOOLS ",\"tool_choice\":\"required\"", "{\"type\":\"tools\"}"},
        {TOOLS ",\"tool_choice\":\"auto\"", ""},
        {TOOLS ",\"parallel_tool_calls\":false,\"tool_choice\":{\"type\":\"function\","
               "\"function\":{\"name\":\"f\"}}",
         "{\"type\":\"tools\",\"name\":\"f\",\"parallel\":false}"},
        {"\"parallel_tool_calls\":false", ""},
        {TOOLS ",\"parallel_tool_calls\":false", "{\"type\":\"auto\",\"parallel\":false}"},
        {TOOLS ",\"parallel_tool_calls\":false,\"tool_choice\":\"none\"", ""},
        {STRICT, "{\"type\":\"auto\",\"strict\":true}"},
        {STRICT ",\"tool_choice\":\"auto\",\"parallel_tool_calls\":false",
         "{\"type\":\"auto\",\"strict\":true,\"parallel\":false}"},
        {STRICT ",\"tool_choice\":\"none\"", ""},
        {STRICT ",\"tool_choice\":\"required\"", "{\"type\":\"tools\",\"strict\":true}"},
        {TOOLS ",\"parallel_tool_calls\":false,\"response_format\":{\"type\":\"json_object\"}",
         "{\"type\":\"json_object\",\"parallel\":false}"},
        {TOOLS ",\"tool_choice\":\"required\",\"response_format\":{\"type\":\"json_object\"}",
         "{\"type\":\"tools\"}"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char body[512];
        (void)snprintf(body, sizeof(body), "{" CHAT ",%s}", rows[i][0]);
        struct chat_request request = parsed(body);
        ck_assert_str_eq(text_or_empty(request.generate.demand), rows[i][1]);
        chat_request_fini(&request);
    }
}
END_TEST

START_TEST(leaves_absent_fields_to_the_model)
{
    struct chat_request request = parsed("{" CHAT ",\"temperature\":null,\"stop\":null}");
    ck_assert(!request.generate.sampling.has_temperature);
    ck_assert(!request.generate.sampling.has_top_p);
    ck_assert(!request.has_seed && !request.is_stream);
    ck_assert_uint_eq(request.generate.tokens_max, 0);
    ck_assert_uint_eq(request.generate.stops.count, 0);
    chat_request_fini(&request);
}
END_TEST

START_TEST(brings_messages_to_one_form)
{
    struct chat_request request = parsed(
        "{\"model\":\"m\",\"messages\":[{\"role\":\"developer\",\"content\":\"be\"},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
        "{\"type\":\"text\",\"text\":\"\\u00e9\"}],\"name\":\"Ann\"},"
        "{\"role\":\"assistant\",\"content\":null,\"refusal\":null,\"audio\":null,"
        "\"tool_calls\":[{\"id\":\"1\",\"type\":\"function\",\"function\":{\"name\":\"f\","
        "\"arguments\":\"{}\"}}]},{\"role\":\"tool\",\"tool_call_id\":\"1\",\"content\":\"r\"}]}");
    json_t *messages = json_loads(request.generate.messages, 0, NULL);
    ck_assert_str_eq(json_string_value(json_object_get(json_array_get(messages, 0), "role")),
                     "system");
    ck_assert_str_eq(json_string_value(json_object_get(json_array_get(messages, 1), "content")),
                     "a\xc3\xa9");
    ck_assert_str_eq(json_string_value(json_object_get(json_array_get(messages, 1), "name")),
                     "Ann");
    ck_assert_uint_eq(json_array_size(json_object_get(json_array_get(messages, 2), "tool_calls")),
                      1);
    json_decref(messages);
    chat_request_fini(&request);
}
END_TEST

static void check_refused(const char *body, const char *param, const char *code)
{
    struct chat_request request;
    struct http_fault fault = {0};
    ck_assert_msg(!openai_parse_chat(body, strlen(body), &request, &fault), "%s", body);
    ck_assert_int_eq(fault.http_status, 400);
    ck_assert_str_eq(fault.param, param);
    ck_assert_str_eq(fault.code, code);
}

START_TEST(names_the_form_that_is_wrong)
{
    static const struct {
        const char *body;
        const char *param;
        const char *code;
    } rows[] = {
        {"{" CHAT ",\"response_format\":{\"type\":\"grammar\"}}", "response_format",
         "unsupported_parameter"},
        {"{" CHAT ",\"response_format\":{\"type\":\"json_schema\"}}", "response_format",
         "invalid_value"},
        {"{" CHAT ",\"tool_choice\":\"required\"}", "tool_choice", "invalid_value"},
        {"{" CHAT ",\"tool_choice\":{\"type\":\"allowed_tools\"}}", "tool_choice",
         "unsupported_parameter"},
        {"{" CHAT "," TOOLS ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":"
         "\"g\"}}}",
         "tool_choice", "invalid_value"},
        {"{" CHAT ",\"parallel_tool_calls\":1}", "parallel_tool_calls", "invalid_value"},
        {"{" CHAT ",\"guided_regex\":5}", "guided_regex", "invalid_value"},
        {"{" CHAT ",\"guided_grammar\":\"root\"}", "guided_grammar", "unsupported_parameter"},
        {"{" CHAT ",\"structured_outputs\":{\"structural_tag\":\"x\"}}", "structured_outputs",
         "unsupported_parameter"},
        {"{" CHAT ",\"guided_choice\":[]}", "guided_choice", "invalid_value"},
        {"{" CHAT ",\"guided_regex\":\"a\",\"response_format\":{\"type\":\"json_object\"}}",
         "guided_regex", "invalid_value"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        check_refused(rows[i].body, rows[i].param, rows[i].code);
}
END_TEST

START_TEST(names_the_field_that_is_wrong)
{
    static const struct {
        const char *body;
        const char *param;
        const char *code;
    } rows[] = {
        {"", "", "invalid_json"},
        {"[]", "", "invalid_json"},
        {"{\"model\":1}", "model", "invalid_value"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", "model", "missing_field"},
        {"{\"model\":\"m\"}", "messages", "missing_field"},
        {"{\"model\":\"m\",\"messages\":[]}", "messages", "invalid_value"},
        {"{\"model\":\"m\",\"messages\":[{\"role\":\"king\"}]}", "messages[0].role",
         "invalid_value"},
        {"{\"model\":\"m\",\"messages\":[{\"role\":\"user\"}]}", "messages[0].content",
         "invalid_value"},
        {"{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}"
         "]}",
         "messages[0].content[0]", "unsupported_parameter"},
        {"{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\",\"z\":1}]}",
         "messages[0].z", "unknown_parameter"},
        {"{" CHAT ",\"temperature\":2.1}", "temperature", "invalid_value"},
        {"{" CHAT ",\"temperature\":\"1\"}", "temperature", "invalid_value"},
        {"{" CHAT ",\"temperature\":-0.1}", "temperature", "invalid_value"},
        {"{" CHAT ",\"top_p\":1.1}", "top_p", "invalid_value"},
        {"{" CHAT ",\"top_k\":-2}", "top_k", "invalid_value"},
        {"{" CHAT ",\"top_k\":1.5}", "top_k", "invalid_value"},
        {"{" CHAT ",\"min_p\":true}", "min_p", "invalid_value"},
        {"{" CHAT ",\"max_tokens\":0}", "max_tokens", "invalid_value"},
        {"{" CHAT ",\"max_completion_tokens\":-5}", "max_completion_tokens", "invalid_value"},
        {"{" CHAT ",\"presence_penalty\":3}", "presence_penalty", "invalid_value"},
        {"{" CHAT ",\"repetition_penalty\":0}", "repetition_penalty", "invalid_value"},
        {"{" CHAT ",\"seed\":1.5}", "seed", "invalid_value"},
        {"{" CHAT ",\"n\":2}", "n", "unsupported_parameter"},
        {"{" CHAT ",\"audio\":{}}", "audio", "unsupported_parameter"},
        {"{" CHAT ",\"modalities\":[\"audio\"]}", "modalities", "unsupported_parameter"},
        {"{" CHAT ",\"logit_bias\":{\"x\":1}}", "logit_bias", "invalid_value"},
        {"{" CHAT ",\"logit_bias\":{\"1\":101}}", "logit_bias", "invalid_value"},
        {"{" CHAT ",\"top_logprobs\":3}", "top_logprobs", "invalid_value"},
        {"{" CHAT ",\"logprobs\":true,\"top_logprobs\":21}", "top_logprobs", "invalid_value"},
        {"{" CHAT ",\"stream_options\":{}}", "stream_options", "invalid_value"},
        {"{" CHAT ",\"stop\":\"\"}", "stop", "invalid_value"},
        {"{" CHAT ",\"stop\":[\"a\",2]}", "stop", "invalid_value"},
        {"{" CHAT ",\"reasoning_effort\":\"huge\"}", "reasoning_effort", "invalid_value"},
        {"{" CHAT ",\"temprature\":1}", "temprature", "unknown_parameter"},
        {"{" CHAT ",\"model\":\"m\"}", "", "invalid_json"},
        {"{" CHAT ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"strict\":1}}"
         "]}",
         "tools[0]", "invalid_value"},
        {"{" CHAT ",\"seed\":9223372036854775808}", "seed", "invalid_value"},
        {"{" CHAT ",\"seed\":-9223372036854775809}", "seed", "invalid_value"},
        {"{" CHAT ",\"stop\":[\"\\\"}:\"],\"metadata\":{\"a\":[{\"seed\":"
         "18446744073709551616}]}}",
         "metadata", "invalid_value"},
        {"{" CHAT ",\"temperature\":1e400}", "temperature", "invalid_value"},
        {"[18446744073709551616]", "", "invalid_value"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        check_refused(rows[i].body, rows[i].param, rows[i].code);
}
END_TEST

/* Every allocation fails once; nothing leaks (the sanitizer run says so) and nothing crashes. */
START_TEST(survives_lack_of_memory)
{
    const char *body =
        "{" CHAT ",\"stop\":[\"a\"],\"logit_bias\":{\"1\":2},\"enable_thinking\":true}";
    for (uint64_t calls = 0;; calls++) {
        struct chat_request request = {0};
        struct http_fault fault = {0};
        memory_fail_after(calls);
        bool is_good = openai_parse_chat(body, strlen(body), &request, &fault);
        memory_fail_after(UINT64_MAX);
        if (is_good) {
            chat_request_fini(&request);
            break;
        }
        ck_assert_uint_lt(calls, 200);
    }
}
END_TEST

/* The JSON of a `data: ` event; the caller gives it back. */
static json_t *event_of(struct buffer *out)
{
    ck_assert_int_eq(buffer_append(out, "", 1), STATUS_OK);
    const char *text = (const char *)out->bytes;
    ck_assert_msg(strncmp(text, "data: ", 6) == 0, "%s", text);
    ck_assert_ptr_nonnull(strstr(text, "\n\n"));
    json_t *json = json_loads(text + 6, JSON_DISABLE_EOF_CHECK, NULL);
    ck_assert_msg(json != NULL, "%s", text);
    buffer_clear(out);
    return json;
}

static json_t *choice_of(json_t *event)
{
    ck_assert_str_eq(json_string_value(json_object_get(event, "object")), "chat.completion.chunk");
    return json_array_get(json_object_get(event, "choices"), 0);
}

START_TEST(writes_chunks_as_clients_read_them)
{
    struct chat_identity identity = {.id = "chatcmpl-1",
                                     .created_s = 5,
                                     .model = "a\"b",
                                     .fingerprint = "fp",
                                     .has_usage = true};
    struct buffer out;
    buffer_init(&out, 1 << 20);
    ck_assert_int_eq(openai_chunk_role(&out, &identity), STATUS_OK);
    json_t *event = event_of(&out);
    json_t *delta = json_object_get(choice_of(event), "delta");
    ck_assert_str_eq(json_string_value(json_object_get(delta, "role")), "assistant");
    ck_assert(json_is_null(json_object_get(choice_of(event), "finish_reason")));
    ck_assert(json_is_null(json_object_get(event, "usage")));
    ck_assert_str_eq(json_string_value(json_object_get(event, "model")), "a\"b");
    json_decref(event);
    ck_assert_int_eq(openai_chunk_text(&out, &identity, "h\"\n", 3, NULL), STATUS_OK);
    event = event_of(&out);
    delta = json_object_get(choice_of(event), "delta");
    ck_assert_str_eq(json_string_value(json_object_get(delta, "content")), "h\"\n");
    ck_assert_ptr_null(json_object_get(delta, "role"));
    ck_assert(json_is_null(json_object_get(choice_of(event), "finish_reason")));
    json_decref(event);
    ck_assert_int_eq(openai_chunk_finish(&out, &identity, "length"), STATUS_OK);
    event = event_of(&out);
    ck_assert_str_eq(json_string_value(json_object_get(choice_of(event), "finish_reason")),
                     "length");
    json_decref(event);
    struct chat_usage usage = {3, 4, 2};
    ck_assert_int_eq(openai_chunk_usage(&out, &identity, &usage), STATUS_OK);
    event = event_of(&out);
    ck_assert_uint_eq(json_array_size(json_object_get(event, "choices")), 0);
    ck_assert_int_eq(
        json_integer_value(json_object_get(json_object_get(event, "usage"), "total_tokens")), 7);
    const json_t *details =
        json_object_get(json_object_get(event, "usage"), "completion_tokens_details");
    ck_assert_int_eq(json_integer_value(json_object_get(details, "reasoning_tokens")), 2);
    json_decref(event);
    buffer_fini(&out);
}
END_TEST

START_TEST(writes_logprobs_with_their_bytes)
{
    struct top_logprob tops[2] = {{.logprob = -0.5}, {.logprob = -1e30}};
    ck_assert(bytes_set(&tops[0].piece, "\xc3", 1));
    ck_assert(bytes_set(&tops[1].piece, "x", 1));
    struct token_streamed token = {.logprob = -0.5, .top = {tops, 2}};
    ck_assert(bytes_set(&token.piece, "\xc3", 1));
    struct buffer entry;
    buffer_init(&entry, 65536);
    ck_assert_int_eq(openai_logprob(&entry, &token), STATUS_OK);
    ck_assert_int_eq(buffer_append(&entry, "", 1), STATUS_OK);
    json_t *json = json_loads((const char *)entry.bytes, 0, NULL);
    ck_assert_msg(json != NULL, "%s", (const char *)entry.bytes);
    ck_assert_str_eq(json_string_value(json_object_get(json, "token")), "\xef\xbf\xbd");
    ck_assert_int_eq(json_integer_value(json_array_get(json_object_get(json, "bytes"), 0)), 0xc3);
    ck_assert_uint_eq(json_array_size(json_object_get(json, "top_logprobs")), 2);
    json_decref(json);
    buffer_fini(&entry);
    memory_free(token.piece.items);
    memory_free(tops[0].piece.items);
    memory_free(tops[1].piece.items);
}
END_TEST

START_TEST(writes_a_whole_answer)
{
    struct chat_identity identity = {
        .id = "chatcmpl-1", .created_s = 5, .model = "m", .fingerprint = "fp"};
    struct chat_usage usage = {3, 4, 2};
    const struct chat_extras extras = {.reasoning = NULL};
    struct buffer out;
    buffer_init(&out, 65536);
    ck_assert_int_eq(openai_completion(&out, &identity, "yes", 3, NULL, "stop", &usage, &extras),
                     STATUS_OK);
    ck_assert_int_eq(buffer_append(&out, "", 1), STATUS_OK);
    json_t *json = json_loads((const char *)out.bytes, 0, NULL);
    ck_assert_ptr_nonnull(json);
    ck_assert_str_eq(json_string_value(json_object_get(json, "object")), "chat.completion");
    json_t *choice = json_array_get(json_object_get(json, "choices"), 0);
    ck_assert_str_eq(
        json_string_value(json_object_get(json_object_get(choice, "message"), "content")), "yes");
    json_decref(json);
    buffer_fini(&out);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("openai");
    const TTest *const tests[] = {
        reads_every_field,
        takes_no_more_than_fits_into_a_message,
        asks_for_a_form_in_each_of_its_names,
        leaves_absent_fields_to_the_model,
        brings_messages_to_one_form,
        names_the_field_that_is_wrong,
        names_the_form_that_is_wrong,
        survives_lack_of_memory,
        writes_chunks_as_clients_read_them,
        writes_logprobs_with_their_bytes,
        writes_a_whole_answer,
    };
    suite_add(suite, "openai", tests, COUNT_OF(tests));
    return suite;
}
