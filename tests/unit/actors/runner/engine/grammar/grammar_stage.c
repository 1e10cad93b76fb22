/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/actors/runner/engine/grammar/grammar_stage.h"

#include "protocol/memory.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

static const char *const texts[] = {
    "\"a",      "a\"",      "\": ",         "\", \"",   "{\"",         "\"}",
    "}}",       "],",       "[[",           "[]",       "{}",          "true",
    "null",     "fal",      "se",           "abc",      "abcab",       "abd",
    "12",       "1.",       "-1",           "00",       "e+",          "\\\"",
    "\\n",      "\\u00",    "  ",           ",\n",      "\n    ",      "\xc3\xa9",
    "\xe6\x97", "\xa5",     "\xf0\x9f\x98", "\x80",     "\xc3",        "\xe2\x80\xa8",
    "name",     "\"name\"", ": ",           "value",    "hello world", "\xe6\x97\xa5\xe6\x9c\xac",
    "</",       "think",    "think>",       "tool_call"};

static const char *const added[] = {"<think>", "</think>", "<tool_call>", "</tool_call>"};
static const char *const special[] = {"<|im_start|>", "<|channel|>", "<|message|>"};

static struct vocabulary_token
    tokens[256 + COUNT_OF(texts) + COUNT_OF(added) + COUNT_OF(special) + 1];
static char bytes[256];
static struct vocabulary vocabulary;

size_t stage_token_count(void)
{
    return COUNT_OF(tokens);
}

static void add(uint32_t *id, const char *text, size_t size, bool is_added, bool is_special)
{
    tokens[*id] = (struct vocabulary_token){
        .id = *id, .bytes = text, .size = size, .is_added = is_added, .is_special = is_special};
    (*id)++;
}

const struct vocabulary *stage_vocabulary(void)
{
    uint32_t id = 0;
    if (vocabulary.rows > 0)
        return &vocabulary;
    for (size_t byte = 0; byte < 256; byte++) {
        bytes[byte] = (char)byte;
        add(&id, &bytes[byte], 1, false, false);
    }
    for (size_t at = 0; at < COUNT_OF(texts); at++)
        add(&id, texts[at], strlen(texts[at]), false, false);
    for (size_t at = 0; at < COUNT_OF(added); at++)
        add(&id, added[at], strlen(added[at]), true, false);
    for (size_t at = 0; at < COUNT_OF(special); at++)
        add(&id, special[at], strlen(special[at]), true, true);
    add(&id, "<|im_end|>", 10, true, true);
    tokens[id - 1].is_end = true;
    ck_assert_uint_eq(id, COUNT_OF(tokens));
    ck_assert_int_eq(vocabulary_open(tokens, COUNT_OF(tokens), COUNT_OF(tokens), &vocabulary),
                     STATUS_OK);
    return &vocabulary;
}

struct matcher *stage_open(const char *demand, const struct constraint_setting *setting,
                           enum status *status_out, struct reason *reason_out)
{
    static const struct constraint_setting plain = {.thinking = THINKING_CLOSED};
    struct automaton automaton;
    struct matcher *matcher = NULL;
    json_error_t error;
    json_t *json = json_loads(demand, JSON_REJECT_DUPLICATES, &error);
    ck_assert_msg(json != NULL, "%s: %s", error.text, demand);
    enum status status = constraint_build(json, setting ? setting : &plain, &automaton, reason_out);
    if (status == STATUS_OK)
        status = matcher_open(&automaton, stage_vocabulary(), &matcher, reason_out);
    json_decref(json);
    if (status_out)
        *status_out = status;
    return matcher;
}

bool stage_accepts(const char *demand, const struct constraint_setting *setting, const char *text,
                   size_t size)
{
    struct reason reason = {""};
    struct matcher *matcher = stage_open(demand, setting, NULL, &reason);
    ck_assert_msg(matcher != NULL, "%s: %s", demand, reason.text);
    const bool accepts = matcher_advance_bytes(matcher, text, size) && matcher_may_end(matcher);
    matcher_close(matcher);
    return accepts;
}

const char *stage_schema(const char *schema)
{
    static char demand[65536];
    const int size =
        snprintf(demand, sizeof(demand), "{\"type\": \"json_schema\", \"schema\": %s}", schema);
    ck_assert_uint_lt((size_t)size, sizeof(demand));
    return demand;
}
