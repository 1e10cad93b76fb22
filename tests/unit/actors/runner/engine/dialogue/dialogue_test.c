/* SPDX-License-Identifier: Apache-2.0 */
/* What each family says, taken apart; each text also byte by byte. */
#include "actors/runner/engine/dialogue/dialogue.h"
#include "actors/runner/engine/dialogue/json_scan.h"
#include "protocol/buffer.h"
#include "protocol/memory.h"
#include "tests/support/check_main.h"

#include <stdio.h>
#include <string.h>

static const char tools_text[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"add\",\"parameters\":{\"type\":\"object\","
    "\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"number\"},\"note\":{\"type\":"
    "\"string\"},\"on\":{\"type\":\"boolean\"},\"list\":{\"type\":\"array\"},\"opt\":{\"type\":"
    "[\"integer\",\"null\"]},\"ref\":{\"$ref\":\"#/$defs/s\"}},\"$defs\":{\"s\":{\"type\":"
    "\"string\"}}}}},{\"type\":\"function\",\"function\":{\"name\":\"now\"}}]";

#define THINK "<think>", "</think>"
static const struct dialogue_style qwen = {TOOLS_JSON, THINK};
static const struct dialogue_style xml = {TOOLS_XML, THINK};
static const struct dialogue_style glm = {TOOLS_GLM, THINK};
static const struct dialogue_style llama = {TOOLS_LLAMA, NULL, NULL};
static const struct dialogue_style harmony = {TOOLS_HARMONY, NULL, NULL};
static const struct dialogue_style deepseek = {TOOLS_DEEPSEEK, THINK};
static const struct dialogue_style plain = {TOOLS_NONE, NULL, NULL};

/* "R[thinking]C[answer]f(arguments)", each kind joined as a client joins it. */
static void note(struct dialogue *dialogue, struct buffer *said)
{
    size_t count = 0;
    const char *text = NULL;
    static enum delta_kind last;
    const struct dialogue_delta *deltas = dialogue_deltas(dialogue, &count, &text);
    if (said->size == 0)
        last = 0;
    for (size_t at = 0; at < count; at++) {
        const struct dialogue_delta *delta = &deltas[at];
        if (delta->kind != last && delta->kind == DELTA_REASONING)
            ck_assert_int_eq(buffer_append_text(said, "|R:"), STATUS_OK);
        if (delta->kind != last && delta->kind == DELTA_CONTENT)
            ck_assert_int_eq(buffer_append_text(said, "|C:"), STATUS_OK);
        if (delta->kind == DELTA_CALL)
            ck_assert_int_eq(buffer_append_text(said, "|"), STATUS_OK);
        last = delta->kind;
        ck_assert_int_eq(buffer_append(said, text + delta->start, delta->size), STATUS_OK);
    }
    dialogue_take(dialogue);
}

static char *taken_apart(const struct dialogue_style *style, enum thinking thinking, bool has_tools,
                         bool is_cut, const char *text, size_t step)
{
    json_t *tools = has_tools ? json_loads(tools_text, 0, NULL) : NULL;
    struct dialogue *dialogue = NULL;
    struct buffer said;
    buffer_init(&said, 1 << 20);
    ck_assert_int_eq(dialogue_open(style, thinking, tools, &dialogue), STATUS_OK);
    json_decref(tools);
    const size_t size = strlen(text);
    for (size_t at = 0; at < size; at += step) {
        const size_t piece = size - at < step ? size - at : step;
        ck_assert_int_eq(dialogue_push(dialogue, text + at, piece), STATUS_OK);
        note(dialogue, &said);
    }
    ck_assert_int_eq(dialogue_finish(dialogue, is_cut), STATUS_OK);
    note(dialogue, &said);
    dialogue_close(dialogue);
    char *result = buffer_take_text(&said);
    buffer_fini(&said);
    return result;
}

static void says_as(const struct dialogue_style *style, enum thinking thinking, bool has_tools,
                    bool is_cut, const char *text, const char *wanted)
{
    static const size_t steps[] = {1, 3, 1000000};
    for (size_t at = 0; at < COUNT_OF(steps); at++) {
        char *result = taken_apart(style, thinking, has_tools, is_cut, text, steps[at]);
        ck_assert_msg(strcmp(result, wanted) == 0, "%s\n  gave   %s\n  wanted %s", text, result,
                      wanted);
        memory_free(result);
    }
}

static void says(const struct dialogue_style *style, const char *text, const char *wanted)
{
    says_as(style, THINKING_POSSIBLE, true, false, text, wanted);
}

START_TEST(thinking_stands_between_its_tags)
{
    says(&qwen, "<think>\nso\n\nwell\n</think>\n\nThe answer.", "|R:so\n\nwell|C:The answer.");
    says(&qwen, "\n<think>\n\n</think>\n\nHi", "|C:Hi");
    says(&qwen, "a <think>b</think>", "|C:a <think>b</think>");
    says(&qwen, "  two\n\n", "|C:  two\n\n");
    says(&qwen, "<thin", "|C:<thin");
    says(&qwen, "<think>a</thi", "|R:a</thi");
    says_as(&qwen, THINKING_OPENED, true, false, "\nso </think> done", "|R:so|C:done");
    says_as(&qwen, THINKING_OPENED, true, true, "so\n", "|R:so\n");
    says_as(&qwen, THINKING_CLOSED, true, false, "<think>x</think>", "|C:<think>x</think>");
    says_as(&plain, THINKING_POSSIBLE, true, false, "<think>x <tool_call>",
            "|C:<think>x <tool_call>");
    says_as(&qwen, THINKING_POSSIBLE, false, false, "x <tool_call>{} \n", "|C:x <tool_call>{} \n");
}
END_TEST

START_TEST(calls_of_qwen_are_json_between_tags)
{
    says(&qwen,
         "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1, \"note\": \"x\\ny\"}}\n"
         "</tool_call>",
         "|add{\"a\":1,\"note\":\"x\\ny\"}");
    says(&qwen,
         "Sure.\n\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>\n"
         "<tool_call>\n{\"arguments\": {\"a\": \"7\"}, \"name\": \"add\"}\n</tool_call>\n",
         "|C:Sure.|now{}|add{\"a\":7}");
    says(&qwen, "<think>t</think>\n<tool_call>{\"name\":\"now\"}</tool_call>", "|R:t|now{}");
    /* Types that were missed. */
    says(&qwen,
         "<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": \"3\", \"b\": \"2.5\", \"on\":"
         " \"True\", \"list\": \"[1, 2]\", \"note\": 12, \"opt\": \"null\", \"ref\": true,"
         " \"z\": {\"k\": [1, \"a b\"]}}}</tool_call>",
         "|add{\"a\":3,\"b\":2.5,\"on\":true,\"list\":[1,2],\"note\":\"12\",\"opt\":null,"
         "\"ref\":\"true\",\"z\":{\"k\":[1,\"a b\"]}}");
    says(&qwen, "<tool_call>{\"name\": \"add\", \"arguments\": \"{\\\"a\\\": 4.0}\"}</tool_call>",
         "|add{\"a\":4}");
    says(&qwen, "<tool_call>{\"name\": \"now\", \"arguments\": null}</tool_call>ok", "|now{}|C:ok");
    /* What is none. */
    says(&qwen, "<tool_call>nothing</tool_call>", "|C:<tool_call>nothing</tool_call>");
    says(&qwen, "<tool_call>\n{\"a\": 1}\n</tool_call>",
         "|C:<tool_call>\n{\"a\": 1}\n</tool_call>");
    says(&qwen, "a <tool_call><tool_call>{\"name\":\"now\",\"arguments\":{}}</tool_call>",
         "|C:a <tool_call>|now{}");
    says(&qwen, "<tool_call>{\"name\": \"bad name\", \"arguments\": {}}</tool_call>",
         "|C:<tool_call>{\"name\": \"bad name\", \"arguments\": {}}</tool_call>");
    /* Broken off and broken. */
    says(&qwen, "<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": 1, \"z\": [1, {\"k\": \"v",
         "|add{\"a\":1,\"z\":[1,{\"k\":\"v\"}]}");
    says(&qwen, "<tool_call>{\"name\": \"add\", \"arguments\": {\"z\": [1,", "|add{\"z\":[1]}");
    says(&qwen, "<tool_call>{\"name\": \"add\", \"arguments\": {\"z\": tr]}}</tool_call>!",
         "|add{\"z\":true}|C:!");
    says(&qwen, "<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": 1}</tool_call>",
         "|add{\"a\":1}");
    says(&qwen, "<tool_call>{\"name\": \"add\", \"arguments\": {\"note\": \"line\nbreak\"}}",
         "|add{\"note\":\"line\\nbreak\"}");
    says_as(&qwen, THINKING_POSSIBLE, true, true,
            "<tool_call>{\"name\": \"add\", \"arguments\": {\"note\": \"lin",
            "|add{\"note\":\"lin");
    says(&qwen, "<tool_call>{\"na", "|C:<tool_call>{\"na");
}
END_TEST

START_TEST(calls_with_parameters_in_tags)
{
    says(&xml,
         "<tool_call>\n<function=add>\n<parameter=a>\n12\n</parameter>\n<parameter=note>\n"
         "two\nlines \"q\" <b>\n</parameter>\n<parameter=on>\nFalse\n</parameter>\n"
         "</function>\n</tool_call>",
         "|add{\"a\":12,\"note\":\"two\\nlines \\\"q\\\" <b>\",\"on\":false}");
    says(&xml, "ok\n<function=now>\n</function>\nmore", "|C:ok|now{}|C:more");
    says(&xml,
         "<tool_call><function=add><parameter=a>x1</parameter><parameter=z>\n[1, 2]\n"
         "</parameter><parameter=y>plain</parameter></function></tool_call>"
         "<tool_call><function=now></function></tool_call>",
         "|add{\"a\":\"x1\",\"z\":[1,2],\"y\":\"plain\"}|now{}");
    says(&xml,
         "<tool_call>\n<function=add>\n<parameter=note>\nno end\n<parameter=a>\n5\n</function>"
         "\n</tool_call>",
         "|add{\"note\":\"no end\",\"a\":5}");
    says(&xml, "<function=add>{\"a\": \"6\"}</function>", "|add{\"a\":6}");
    /* Beyond 64 bits too. */
    says(&xml,
         "<tool_call>\n<function=add>\n<parameter=a>\n-12345678901234567890123\n</parameter>\n"
         "<parameter=list>\n[1, 99999999999999999999]\n</parameter>\n<parameter=note>\n"
         "99999999999999999999\n</parameter>\n</function>\n</tool_call>",
         "|add{\"a\":-12345678901234567890123,\"list\":[1,99999999999999999999],\"note\":"
         "\"99999999999999999999\"}");
    says(&xml, "<tool_call>\n<function=add>\n<parameter=note>\ncut </par",
         "|add{\"note\":\"cut </par\"}");
    says(&xml, "<function=a b>", "|C:<function=a b>");
    says(&xml,
         "<tool_call>\n<function=add>\n<parameter=a>1</parameter><parameter=a>2</parameter>"
         "</function></tool_call>",
         "|add{\"a\":1}");
}
END_TEST

START_TEST(calls_with_keys_and_values)
{
    says(&glm,
         "<think>t</think><tool_call>add\n<arg_key>a</arg_key>\n<arg_value>3</arg_value>\n"
         "<arg_key>note</arg_key>\n<arg_value>5</arg_value>\n</tool_call>",
         "|R:t|add{\"a\":3,\"note\":\"5\"}");
    says(&glm,
         "x<tool_call>now</tool_call><tool_call>add<arg_key>list</arg_key><arg_value>[\"a\"]"
         "</arg_value></tool_call>",
         "|C:x|now{}|add{\"list\":[\"a\"]}");
    says(&glm, "<tool_call>not a name at all", "|C:<tool_call>not a name at all");
    says(&glm, "<tool_call>add<arg_key>b</arg_key><arg_value>1e3", "|add{\"b\":1e3}");
}
END_TEST

START_TEST(calls_of_llama_are_bare_json)
{
    says(&llama, "{\"name\": \"add\", \"parameters\": {\"a\": \"2\"}}", "|add{\"a\":2}");
    says(&llama, "<|python_tag|>{\"type\": \"function\", \"name\": \"now\", \"parameters\": {}}",
         "|now{}");
    says(&llama,
         "{\"name\": \"now\", \"parameters\": {}}; {\"name\": \"add\", \"parameters\": "
         "{\"a\": 1}}",
         "|now{}|add{\"a\":1}");
    says(&llama, "{\"name\": \"unknown\", \"parameters\": {}}",
         "|C:{\"name\": \"unknown\", \"parameters\": {}}");
    says(&llama, " {\"k\": [1, 2]} text", "|C: {\"k\": [1, 2]} text");
    says(&llama, "say {\"name\": \"now\", \"parameters\": {}}",
         "|C:say {\"name\": \"now\", \"parameters\": {}}");
    says(&llama, "<function=add>{\"a\": 1}</function>", "|add{\"a\":1}");
    says(&llama, "{\"name\"", "|C:{\"name\"");
    says(&llama, "<|python_tag|>add.call(a=\"5\", note=\"x (y), \\n\xc3\xa9\")",
         "|add{\"a\":5,\"note\":\"x (y), \\\\n\xc3\xa9\"}");
    says(&llama, "<|python_tag|>now.call() ", "|now{}");
    says(&llama, "<|python_tag|>add.call(a=7)", "|add{\"a\":7}");
    says(&llama, "<|python_tag|>add.call(note=\"cut\"", "|add{\"note\":\"cut\"}");
    says(&llama, "<|python_tag|>print(1)", "|C:<|python_tag|>print(1)");
    says(&llama, "<|python_tag|>other.call(a=\"5\")", "|C:<|python_tag|>other.call(a=\"5\")");
}
END_TEST

START_TEST(messages_of_gpt_oss_stand_in_channels)
{
    says(&harmony,
         "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final"
         "<|message|>Hello <b>\n<|return|>",
         "|R:Hm.|C:Hello <b>\n");
    says(&harmony,
         "<|channel|>commentary to=functions.add <|constrain|>json<|message|>{\"a\": \"1\"}"
         "<|call|>",
         "|add{\"a\":1}");
    says(&harmony, " to=functions.now<|channel|>commentary json<|message|>{}<|call|>", "|now{}");
    says(&harmony,
         "<|channel|>commentary<|message|>I will look.<|end|><|start|>assistant"
         "<|channel|>commentary to=functions.now<|message|>{}",
         "|C:I will look.|now{}");
    says(&harmony, "just text", "|C:just text");
    says(&harmony, " t", "|C: t");
    says(&harmony, " to", "|C: to");
    says(&harmony, "<|channel|>final<|message|>a <|b", "|C:a <|b");
    says(&harmony, "<|channel|>analysis to=python<|message|>1+1<|call|>", "|R:1+1");
    says(&harmony, "<|channel|>commentary to=functions.add<|message|>no json<|call|>", "|add{}");
    says(&harmony, "<|channel|>analysis<|message|>a<|channel|>final<|message|>b", "|R:a|C:b");
    says_as(&harmony, THINKING_POSSIBLE, false, false,
            "<|channel|>commentary to=functions.add<|message|>{}", "|C:{}");
}
END_TEST

START_TEST(calls_of_deepseek_have_tokens_of_their_own)
{
    says(&deepseek,
         "ok\n" DEEPSEEK_CALLS_BEGIN DEEPSEEK_CALL_BEGIN "function" DEEPSEEK_SEPARATOR
         "add\n```json\n{\"a\": 1, \"note\": \"```\"}\n```" DEEPSEEK_CALL_END
         "\n" DEEPSEEK_CALL_BEGIN "function" DEEPSEEK_SEPARATOR
         "now\n```json\n{}\n```" DEEPSEEK_CALL_END DEEPSEEK_CALLS_END,
         "|C:ok|add{\"a\":1,\"note\":\"```\"}|now{}");
    says(&deepseek,
         "<think>t</think>" DEEPSEEK_CALLS_BEGIN DEEPSEEK_CALL_BEGIN "add" DEEPSEEK_SEPARATOR
         "{\"a\":\"2\"}" DEEPSEEK_CALL_END DEEPSEEK_CALLS_END,
         "|R:t|add{\"a\":2}");
    says(&deepseek, DEEPSEEK_CALLS_BEGIN DEEPSEEK_CALL_BEGIN "add" DEEPSEEK_SEPARATOR "{\"a\": [1",
         "|add{\"a\":[1]}");
    says(&deepseek, DEEPSEEK_CALLS_BEGIN DEEPSEEK_CALL_BEGIN "add", "");
}
END_TEST

START_TEST(styles_are_told_from_templates)
{
    static const struct {
        const char *text;
        enum tool_syntax tools;
        bool thinks;
    } rows[] = {
        {"<|im_start|> <tool_call> {\"name\": ..} </think>", TOOLS_JSON, true},
        {"<tool_call>\n<function=x>\n<parameter=y> <think>", TOOLS_XML, true},
        {"<tool_call>{name}<arg_key> </think>", TOOLS_GLM, true},
        {"<|start|>assistant<|channel|>x<|message|>", TOOLS_HARMONY, false},
        {"<|start_header_id|> \"parameters\": ", TOOLS_LLAMA, false},
        {"<think>" DEEPSEEK_CALLS_BEGIN "```json", TOOLS_DEEPSEEK_V3, true},
        {"<think>" DEEPSEEK_CALLS_BEGIN, TOOLS_DEEPSEEK, true},
        {"<start_of_turn>", TOOLS_NONE, false},
    };
    for (size_t at = 0; at < COUNT_OF(rows); at++) {
        const struct dialogue_style style = dialogue_style_of(rows[at].text, strlen(rows[at].text));
        ck_assert_msg(style.tools == rows[at].tools, "%s", rows[at].text);
        ck_assert_int_eq(style.think_open != NULL, rows[at].thinks);
    }
    ck_assert_int_eq(dialogue_thinking_of(&qwen, "x<think>\n", 9), THINKING_OPENED);
    ck_assert_int_eq(dialogue_thinking_of(&qwen, "x<think>\n\n</think>\n\n", 20), THINKING_CLOSED);
    ck_assert_int_eq(dialogue_thinking_of(&qwen, "assistant\n", 10), THINKING_POSSIBLE);
    ck_assert(dialogue_style_has_marker(&harmony, "<|channel|>", 11));
    ck_assert(!dialogue_style_has_marker(&qwen, "<|channel|>", 11));
}
END_TEST

START_TEST(any_json_that_breaks_off_can_be_closed)
{
    static const char text[] = "{\"a\\u00e9\": [true, null, -1.5e+3, \"x\\n\", {\"k\":0.5}, []], "
                               "\"b\":{\"c\": false}}";
    for (size_t size = 0; size < sizeof(text) - 1; size++) {
        struct json_scan scan;
        struct buffer closed;
        size_t kept = size;
        buffer_init(&closed, 4096);
        json_scan_init(&scan);
        for (size_t at = 0; at < size; at++)
            ck_assert_int_ne(json_scan_byte(&scan, (uint8_t)text[at]), SCAN_BAD);
        while (kept > 0 && (text[kept - 1] == ' ' || text[kept - 1] == ','))
            if (!json_scan_in_string(&scan))
                kept--;
            else
                break;
        ck_assert_int_eq(buffer_append(&closed, text, kept), STATUS_OK);
        ck_assert_int_eq(json_scan_close(&scan, &closed), STATUS_OK);
        json_t *json = json_loadb((const char *)closed.bytes, closed.size, JSON_DECODE_ANY, NULL);
        ck_assert_msg(json != NULL, "%.*s", (int)closed.size, (const char *)closed.bytes);
        json_decref(json);
        buffer_fini(&closed);
    }
}
END_TEST

Suite *suite_of_tests(void)
{
    const TTest *const tests[] = {
        thinking_stands_between_its_tags,
        calls_of_qwen_are_json_between_tags,
        calls_with_parameters_in_tags,
        calls_with_keys_and_values,
        calls_of_llama_are_bare_json,
        messages_of_gpt_oss_stand_in_channels,
        calls_of_deepseek_have_tokens_of_their_own,
        styles_are_told_from_templates,
        any_json_that_breaks_off_can_be_closed,
    };
    Suite *suite = suite_create("dialogue");
    suite_add(suite, "dialogue", tests, COUNT_OF(tests));
    return suite;
}
