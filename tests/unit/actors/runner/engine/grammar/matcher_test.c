/* SPDX-License-Identifier: Apache-2.0 */
/* Masks are what trying every token gives; a position is what its tokens make it; memory is bound.
 */
#include "actors/runner/engine/grammar/grammar_cache.h"
#include "protocol/memory.h"
#include "tests/support/check_main.h"
#include "tests/support/seeded.h"
#include "tests/unit/actors/runner/engine/grammar/grammar_stage.h"

#include <stdio.h>
#include <string.h>

static const struct constraint_setting thinking = {.style = {TOOLS_JSON, "<think>", "</think>"},
                                                   .thinking = THINKING_OPENED};

static const char *const demands[] = {
    "{\"type\": \"json_object\"}",
    "{\"type\": \"regex\", \"pattern\": \"(abc|abd)+(\\\\d{2,5}|\\u00e9.*)\"}",
    "{\"type\": \"regex\", \"pattern\": \"[^\\\"]*\\\"x?\"}",
    "{\"type\": \"choice\", \"choices\": [\"hello world\", \"hello\", \"\\u65e5\\u672c\"]}",
    "{\"type\": \"json_schema\", \"schema\": {\"type\": \"object\", \"properties\": {\"name\": "
    "{\"type\": \"string\", \"maxLength\": 6}, \"value\": {\"type\": \"number\"}, \"abc\": "
    "{\"$ref\":"
    " \"#\"}}, \"required\": [\"name\"], \"additionalProperties\": {\"type\": \"array\"}}}",
};

static enum status advance_all(struct matcher *matcher, const uint32_t *ids, size_t count)
{
    enum status status = STATUS_OK;
    matcher_restart(matcher);
    for (size_t at = 0; at < count && status == STATUS_OK; at++)
        status = matcher_advance(matcher, ids[at], NULL);
    return status;
}

static bool has(const uint32_t *mask, uint32_t id)
{
    return mask[id / 32] >> (id % 32) & 1u;
}

static void walk(const char *demand, const struct constraint_setting *setting,
                 struct seeded *seeded)
{
    struct reason reason = {""};
    struct matcher *matcher = stage_open(demand, setting, NULL, &reason);
    struct matcher *other = stage_open(demand, setting, NULL, &reason);
    ck_assert_msg(matcher && other, "%s", reason.text);
    uint32_t ids[24];
    size_t count = 0;
    while (count < COUNT_OF(ids) && !matcher_is_over(matcher)) {
        const uint32_t *mask = NULL;
        uint32_t legal[512];
        size_t legal_count = 0;
        ck_assert_int_eq(matcher_mask(matcher, &mask, &reason), STATUS_OK);
        for (uint32_t id = 0; id < stage_token_count(); id++) {
            ids[count] = id;
            const bool is_legal = advance_all(other, ids, count + 1) == STATUS_OK;
            ck_assert_msg(is_legal == has(mask, id), "%s: token %u at %zu", demand, id, count);
            if (is_legal && id + 1 < stage_token_count())
                legal[legal_count++] = id;
        }
        ck_assert_int_eq(has(mask, (uint32_t)stage_token_count() - 1), matcher_may_end(matcher));
        ck_assert(legal_count > 0 || matcher_may_end(matcher));
        if (legal_count == 0)
            break;
        ids[count] = legal[seeded_below(seeded, legal_count)];
        ck_assert_int_eq(matcher_advance(matcher, ids[count++], &reason), STATUS_OK);
    }
    matcher_close(matcher);
    matcher_close(other);
}

START_TEST(masks_are_what_trying_every_token_gives)
{
    struct seeded seeded = seeded_open(5);
    for (size_t at = 0; at < COUNT_OF(demands); at++) {
        for (int round = 0; round < 3; round++) {
            walk(demands[at], NULL, &seeded);
            walk(demands[at], &thinking, &seeded);
        }
    }
}
END_TEST

/* Where it begins is open, so that every text is another position: masks are made of parts. */
START_TEST(masks_of_very_many_positions_are_what_trying_every_token_gives)
{
    static struct vocabulary_token tokens[1 << 11];
    static char texts[1 << 11][12];
    uint32_t count = 0;
    for (unsigned size = 1; size <= 9; size++) {
        for (unsigned bits = 0; bits < 1u << size; bits++, count++) {
            for (unsigned at = 0; at < size; at++)
                texts[count][at] = bits >> at & 1u ? 'b' : 'a';
            if (bits % 3 == 1)
                texts[count][size - 1] = 'c';
            tokens[count] =
                (struct vocabulary_token){.id = count, .bytes = texts[count], .size = size};
        }
    }
    struct vocabulary vocabulary;
    ck_assert_int_eq(vocabulary_open(tokens, count, count, &vocabulary), STATUS_OK);
    json_t *demand = json_loads("{\"type\":\"regex\",\"pattern\":\"[ab]*a[ab]{12}c\"}", 0, NULL);
    const struct constraint_setting plain = {.thinking = THINKING_CLOSED};
    struct automaton automaton;
    struct matcher *matcher = NULL;
    struct reason reason = {""};
    ck_assert_int_eq(constraint_build(demand, &plain, &automaton, &reason), STATUS_OK);
    ck_assert_int_eq(matcher_open(&automaton, &vocabulary, &matcher, &reason), STATUS_OK);
    char before[64] = "";
    for (unsigned turn = 0; turn < 12; turn++) {
        const uint32_t *mask = NULL;
        ck_assert_msg(matcher_mask(matcher, &mask, &reason) == STATUS_OK, "%s", reason.text);
        uint32_t *kept = memory_copied(mask, vocabulary.words * sizeof(uint32_t));
        for (uint32_t id = 0; id < count; id++) {
            matcher_restart(matcher);
            ck_assert(matcher_advance_bytes(matcher, before, strlen(before)));
            ck_assert_msg(matcher_advance_bytes(matcher, tokens[id].bytes, tokens[id].size) ==
                              has(kept, id),
                          "%s after %s", tokens[id].bytes, before);
        }
        memory_free(kept);
        const size_t said = strlen(before);
        (void)snprintf(before + said, sizeof(before) - said, "%s", turn % 3 ? "b" : "aba");
        matcher_restart(matcher);
        ck_assert(matcher_advance_bytes(matcher, before, strlen(before)));
    }
    matcher_close(matcher);
    vocabulary_close(&vocabulary);
    json_decref(demand);
}
END_TEST

START_TEST(half_a_character_can_only_be_finished)
{
    struct matcher *matcher = stage_open(demands[0], NULL, NULL, NULL);
    const uint32_t *mask = NULL;
    ck_assert(matcher_advance_bytes(matcher, "{\"\xf0\x9f", 4));
    ck_assert_int_eq(matcher_mask(matcher, &mask, NULL), STATUS_OK);
    for (uint32_t byte = 0; byte < 256; byte++)
        ck_assert_int_eq(has(mask, byte), byte >= 0x80 && byte <= 0xbf);
    matcher_close(matcher);
}
END_TEST

/* Ids of the stage's markers, in the order it adds them before the end token. */
static uint32_t marker(unsigned from_end)
{
    return (uint32_t)stage_token_count() - 1 - from_end;
}

START_TEST(thinking_comes_before_the_form)
{
    struct matcher *matcher = stage_open(demands[0], &thinking, NULL, NULL);
    const uint32_t *mask = NULL;
    ck_assert(matcher_advance_bytes(matcher, "well, {\"a </thi", 15));
    ck_assert(!matcher_may_end(matcher));
    /* No tokenizer says that the marker is a token: its text does. */
    ck_assert(matcher_advance_bytes(matcher, "nk>\n\n{\"a\":1", 11));
    ck_assert_int_eq(matcher_mask(matcher, &mask, NULL), STATUS_OK);
    ck_assert(has(mask, '}'));
    ck_assert(!has(mask, '{'));
    ck_assert(!has(mask, marker(1)));
    ck_assert(matcher_advance_bytes(matcher, "}", 1));
    ck_assert(matcher_is_over(matcher));
    ck_assert_int_eq(matcher_advance(matcher, marker(0), NULL), STATUS_OK);
    ck_assert_int_eq(matcher_advance(matcher, 'x', NULL), STATUS_INVALID);
    matcher_close(matcher);
}
END_TEST

static const char tools_text[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"add\",\"parameters\":{\"type\":\"object\","
    "\"properties\":{\"a\":{\"type\":\"integer\"},\"note\":{\"type\":\"string\"},\"unit\":{"
    "\"enum\":"
    "[\"m\",\"km\"]}},\"required\":[\"a\"]}}},{\"type\":\"function\",\"function\":{\"name\":"
    "\"now\"}}]";

START_TEST(calls_are_written_in_the_syntax_of_the_family)
{
    static const struct {
        enum tool_syntax syntax;
        const char *yes;
        const char *no;
    } rows[] = {
        {TOOLS_JSON, "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1}}\n</tool_call>",
         "<tool_call>\n{\"name\": \"add\", \"arguments\": {}}\n</tool_call>"},
        {TOOLS_JSON,
         "<tool_call>\n{\"name\": \"now\", \"arguments\": {\"x\":[]}}\n</tool_call>\n"
         "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>",
         "{\"name\": \"now\", \"arguments\": {}}"},
        {TOOLS_XML,
         "<tool_call>\n<function=add>\n<parameter=a>\n12\n</parameter>\n<parameter=note>\nfree "
         "<b>\n"
         "</param\n</parameter>\n<parameter=unit>\nkm\n</parameter>\n</function>\n</tool_call>",
         "<tool_call>\n<function=add>\n<parameter=a>\nx\n</parameter>\n</function>\n</tool_call>"},
        {TOOLS_GLM,
         "<tool_call>add\n<arg_key>a</arg_key>\n<arg_value>-3</arg_value>\n<arg_key>note</arg_key>"
         "<arg_value>hi</arg_value></tool_call>",
         "<tool_call>sub</tool_call>"},
        {TOOLS_LLAMA, "{\"name\": \"add\", \"parameters\": {\"a\":5}}",
         "{\"name\": \"add\", \"parameters\": {\"a\":\"5\"}}"},
        {TOOLS_HARMONY,
         "<|channel|>analysis<|message|>so<|end|><|start|>assistant<|channel|>commentary "
         "to=functions.add <|constrain|>json<|message|>{\"a\":1}",
         "<|channel|>final<|message|>no"},
        {TOOLS_HARMONY, " to=functions.now<|channel|>commentary json<|message|>{}",
         " to=functions.no<|channel|>commentary json<|message|>{}"},
        {TOOLS_DEEPSEEK,
         DEEPSEEK_CALLS_BEGIN DEEPSEEK_CALL_BEGIN "now" DEEPSEEK_SEPARATOR
                                                  "{}" DEEPSEEK_CALL_END DEEPSEEK_CALLS_END,
         DEEPSEEK_CALLS_BEGIN DEEPSEEK_CALLS_END},
        {TOOLS_DEEPSEEK_V3,
         DEEPSEEK_CALLS_BEGIN DEEPSEEK_CALL_BEGIN
         "function" DEEPSEEK_SEPARATOR
         "add\n```json\n{\"a\":2}\n```" DEEPSEEK_CALL_END DEEPSEEK_CALLS_END,
         "add"},
    };
    json_t *tools = json_loads(tools_text, 0, NULL);
    for (size_t at = 0; at < COUNT_OF(rows); at++) {
        const struct constraint_setting setting = {
            .style = {rows[at].syntax, NULL, NULL}, .thinking = THINKING_CLOSED, .tools = tools};
        ck_assert_msg(
            stage_accepts("{\"type\": \"tools\"}", &setting, rows[at].yes, strlen(rows[at].yes)),
            "%s", rows[at].yes);
        ck_assert_msg(
            !stage_accepts("{\"type\": \"tools\"}", &setting, rows[at].no, strlen(rows[at].no)),
            "%s", rows[at].no);
    }
    struct reason reason = {""};
    struct constraint_setting setting = {.style = {TOOLS_JSON, NULL, NULL}, .tools = tools};
    static const char call[] =
        "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>";
    static const char object[] = "{\"type\": \"json_object\", \"parallel\": false}";
    /* An answer of the form, or a call: the model's choice. */
    ck_assert(stage_accepts(object, &setting, "{\"a\":1}", 7));
    ck_assert(stage_accepts(object, &setting, call, strlen(call)));
    ck_assert(!stage_accepts(object, &setting, "<tool_call>", 11));
    ck_assert_ptr_null(
        stage_open("{\"type\": \"tools\", \"name\": \"none\"}", &setting, NULL, &reason));
    ck_assert_msg(strstr(reason.text, "no tool none") != NULL, "%s", reason.text);
    setting.style.tools = TOOLS_NONE;
    ck_assert_ptr_null(stage_open("{\"type\": \"tools\"}", &setting, NULL, &reason));
    ck_assert_msg(strstr(reason.text, "no syntax for calls") != NULL, "%s", reason.text);
    json_decref(tools);
}
END_TEST

static const char strict_text[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"add\",\"strict\":true,\"parameters\":{"
    "\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"}},\"required\":[\"a\"],"
    "\"additionalProperties\":false}}}]";

/* An answer is any text; once it begins a call, its arguments keep to the schema. */
START_TEST(strict_calls_keep_to_their_schema_in_any_answer)
{
    static const struct {
        enum tool_syntax syntax;
        const char *yes[4];
        const char *no[4];
    } rows[] = {
        {TOOLS_JSON,
         {"so {\"a\": <tool_calls", "",
          "Hm.\n<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1}}\n</tool_call>",
          "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1}}\n</tool_call> and "
          "<<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": -1}}\n</tool_call>"},
         {"<tool_call>", "<<tool_call>\n{\"name\": \"add\", \"arguments\": {}}\n</tool_call>",
          "x <function=", "<tool_call>\n{\"name\": \"sub\""}},
        {TOOLS_XML,
         {"b<tool_calx", "<function",
          "x<tool_call>\n<function=add>\n<parameter=a>\n12\n</parameter>\n</function>\n"
          "</tool_call>y"},
         {"<tool_call>\n<function=add>\n<parameter=a>\n12.5", "x<function=add>",
          "<tool_call>\n<function=add>\n</function>"}},
        {TOOLS_GLM,
         {"<function=f>",
          "x<tool_call>add\n<arg_key>a</arg_key>\n<arg_value>-3</arg_value></tool_call>"},
         {"<tool_call>sub", "<tool_call>add\n<arg_key>a</arg_key>\n<arg_value>b",
          "<tool_call>add</tool_call>"}},
        {TOOLS_LLAMA,
         {"x {\"name\": \"no\"}", " \n", "{\"name\": \"add\", \"parameters\": {\"a\":5}}",
          "x<|python_tag|>{\"name\": \"add\", \"parameters\": {\"a\":5}}"},
         {"{\"name\": \"no\"", " \n{\"b", "<|python_tag|>print",
          "{\"name\": \"add\", \"parameters\": {}}"}},
        {TOOLS_HARMONY,
         {"<|channel|>analysis<|message|>so<|end|><|start|>assistant<|channel|>final<|message|>{}",
          "<|channel|>commentary<|message|>I call.<|end|><|start|>assistant<|channel|>commentary "
          "to=functions.add <|constrain|>json<|message|>{\"a\":1}"},
         {"<|channel|>commentary to=functions.add <|constrain|>json<|message|>{}",
          "<|channel|>final<|message|>x<|channel|>", "x"}},
        {TOOLS_DEEPSEEK,
         {"x <", "x" DEEPSEEK_CALLS_BEGIN DEEPSEEK_CALL_BEGIN "add" DEEPSEEK_SEPARATOR
                 "{\"a\":1}" DEEPSEEK_CALL_END DEEPSEEK_CALLS_END},
         {DEEPSEEK_CALL_BEGIN, DEEPSEEK_CALLS_BEGIN DEEPSEEK_CALLS_END}},
    };
    json_t *tools = json_loads(strict_text, 0, NULL);
    static const char demand[] = "{\"type\": \"auto\", \"strict\": true}";
    for (size_t at = 0; at < COUNT_OF(rows); at++) {
        const struct constraint_setting setting = {
            .style = {rows[at].syntax, NULL, NULL}, .thinking = THINKING_CLOSED, .tools = tools};
        for (size_t i = 0; i < COUNT_OF(rows[at].yes) && rows[at].yes[i]; i++)
            ck_assert_msg(stage_accepts(demand, &setting, rows[at].yes[i], strlen(rows[at].yes[i])),
                          "%zu: %s", at, rows[at].yes[i]);
        for (size_t i = 0; i < COUNT_OF(rows[at].no) && rows[at].no[i]; i++)
            ck_assert_msg(!stage_accepts(demand, &setting, rows[at].no[i], strlen(rows[at].no[i])),
                          "%zu: %s", at, rows[at].no[i]);
    }
    const struct constraint_setting one = {
        .style = {TOOLS_JSON, NULL, NULL}, .thinking = THINKING_CLOSED, .tools = tools};
    struct matcher *matcher =
        stage_open("{\"type\": \"auto\", \"strict\": true, \"parallel\": false}", &one, NULL, NULL);
    ck_assert(matcher_advance_bytes(matcher, rows[0].yes[2], strlen(rows[0].yes[2])));
    ck_assert(matcher_is_over(matcher));
    matcher_close(matcher);
    json_decref(tools);
}
END_TEST

/* What cannot be kept to is refused where it was asked for, and else allows any arguments. */
START_TEST(strict_schemas_that_are_not_supported_are_refused)
{
    static const char *const demands_of_calls[] = {"{\"type\": \"auto\", \"strict\": true}",
                                                   "{\"type\": \"json_object\"}"};
    for (size_t at = 0; at < 2 * COUNT_OF(demands_of_calls); at++) {
        const bool is_strict = at % 2;
        struct reason reason = {""};
        json_t *tools =
            json_pack("[{s:s,s:{s:s,s:b,s:{s:{s:{s:s}}}}}]", "type", "function", "function", "name",
                      "add", "strict", is_strict, "parameters", "not", "x", "type", "null");
        const struct constraint_setting setting = {
            .style = {TOOLS_JSON, NULL, NULL}, .thinking = THINKING_CLOSED, .tools = tools};
        struct matcher *matcher = stage_open(demands_of_calls[at / 2], &setting, NULL, &reason);
        ck_assert_msg((matcher == NULL) == is_strict, "%s", reason.text);
        ck_assert(!is_strict || strstr(reason.text, "parameters of add") != NULL);
        matcher_close(matcher);
        json_decref(tools);
    }
}
END_TEST

START_TEST(the_form_begins_at_once_where_thinking_is_off)
{
    static const struct {
        enum tool_syntax syntax;
        const char *thinks;
        const char *answers;
    } rows[] = {{TOOLS_JSON, "<think>x</think>{}", "{}"},
                {TOOLS_HARMONY,
                 "<|channel|>analysis<|message|>so<|end|><|start|>assistant<|channel|>final"
                 "<|message|>{}",
                 "<|channel|>final<|message|>{}"}};
    static const char form[] = "{\"type\": \"json_object\"}";
    for (size_t at = 0; at < COUNT_OF(rows); at++) {
        struct constraint_setting setting = {
            .style = {rows[at].syntax, at == 0 ? "<think>" : NULL, at == 0 ? "</think>" : NULL},
            .thinking = at == 0 ? THINKING_POSSIBLE : THINKING_CLOSED};
        ck_assert(stage_accepts(form, &setting, rows[at].thinks, strlen(rows[at].thinks)));
        setting.thinks_not = true;
        ck_assert(!stage_accepts(form, &setting, rows[at].thinks, strlen(rows[at].thinks)));
        ck_assert(stage_accepts(form, &setting, rows[at].answers, strlen(rows[at].answers)));
    }
}
END_TEST

START_TEST(memory_stays_within_its_bound)
{
    /* Each character of a counted text is a position of its own, and each depth another stack. */
    static const char *const texts[] = {"\xc3\xa9\\n", "[[[[[[[[", "{\"a\":"};
    struct matcher *matcher =
        stage_open("{\"type\": \"json_schema\", \"schema\": {\"anyOf\": [{\"type\": \"string\", "
                   "\"maxLength\": 4000}, {\"type\": \"array\"}, {\"type\": \"object\"}]}}",
                   NULL, NULL, NULL);
    const uint32_t *mask = NULL;
    for (size_t kind = 0; kind < COUNT_OF(texts); kind++) {
        matcher_restart(matcher);
        ck_assert(kind > 0 || matcher_advance_bytes(matcher, "\"", 1));
        for (int count = 0; count < 1900; count++) {
            if (!matcher_advance_bytes(matcher, texts[kind], strlen(texts[kind])))
                break;
            ck_assert_int_eq(matcher_mask(matcher, &mask, NULL), STATUS_OK);
            ck_assert_uint_le(matcher_memory(matcher), MATCHER_MEMORY_MAX);
        }
        ck_assert_int_eq(has(mask, '"') || has(mask, ']') || has(mask, '1'), 1);
    }
    matcher_close(matcher);
}
END_TEST

static struct grammar *grammar_of(const char *pattern)
{
    const struct constraint_setting plain = {.thinking = THINKING_CLOSED};
    struct automaton automaton;
    struct grammar *grammar = NULL;
    json_t *demand = json_pack("{s:s,s:s}", "type", "regex", "pattern", pattern);
    ck_assert_int_eq(constraint_build(demand, &plain, &automaton, NULL), STATUS_OK);
    ck_assert_int_eq(grammar_open(&automaton, stage_vocabulary(), &grammar, NULL), STATUS_OK);
    json_decref(demand);
    return grammar;
}

/* One fills the positions again and again; the others stand in older ones and go on. */
START_TEST(answers_share_a_grammar_beyond_its_limits)
{
    struct grammar *grammar = grammar_of("x[^y]{0,3000}yz");
    struct matcher *fast = NULL;
    struct matcher *slow[3] = {NULL};
    const uint32_t *mask = NULL;
    ck_assert_int_eq(matcher_follow(grammar, &fast, NULL), STATUS_OK);
    for (size_t at = 0; at < COUNT_OF(slow); at++)
        ck_assert_int_eq(matcher_follow(grammar, &slow[at], NULL), STATUS_OK);
    ck_assert(matcher_advance_bytes(slow[0], "x\xc3", 2));
    ck_assert(matcher_advance_bytes(fast, "x", 1));
    for (int count = 0; count < 3000; count++) {
        ck_assert(matcher_advance_bytes(fast, "\xe6\x97\xa5", 3));
        if (count == 1500)
            ck_assert(matcher_advance_bytes(slow[1], "xabc", 4));
        if (count % 100 == 0)
            ck_assert_int_eq(matcher_mask(fast, &mask, NULL), STATUS_OK);
    }
    ck_assert(!matcher_advance_bytes(fast, "a", 1));
    ck_assert(matcher_advance_bytes(fast, "yz", 2) && matcher_is_over(fast));
    ck_assert_int_eq(matcher_mask(slow[0], &mask, NULL), STATUS_OK);
    ck_assert(has(mask, 0xa9) && !has(mask, 'a'));
    ck_assert(matcher_advance_bytes(slow[0], "\xa9y", 2) && !matcher_is_over(slow[0]));
    ck_assert(matcher_advance_bytes(slow[1], "yz", 2) && matcher_is_over(slow[1]));
    ck_assert_int_eq(matcher_mask(slow[2], &mask, NULL), STATUS_OK);
    ck_assert(has(mask, 'x') && !has(mask, 'y'));
    matcher_close(fast);
    for (size_t at = 0; at < COUNT_OF(slow); at++)
        matcher_close(slow[at]);
    grammar_release(grammar);
}
END_TEST

START_TEST(grammars_are_kept_up_to_a_number_and_a_size)
{
    struct grammar_cache cache;
    char key[16];
    grammar_cache_init(&cache);
    for (int at = 0; at < 3 * GRAMMAR_CACHE_COUNT; at++) {
        struct grammar *grammar = grammar_of("(ab|cd){1,400}");
        const size_t size = (size_t)snprintf(key, sizeof(key), "key %d", at);
        ck_assert_ptr_null(grammar_cache_find(&cache, key, size));
        grammar_cache_add(&cache, key, size, grammar);
        ck_assert_ptr_eq(grammar_cache_find(&cache, key, size), grammar);
        ck_assert_ptr_nonnull(grammar_cache_find(&cache, "key 0", 5)); /* it is in use */
        grammar_release(grammar);
        ck_assert_uint_le(grammar_cache_memory(&cache), GRAMMAR_CACHE_BYTES);
    }
    ck_assert_ptr_null(grammar_cache_find(&cache, "key 1", 5));
    grammar_cache_fini(&cache);
}
END_TEST

/* They grow while they are used: when the last answer leaves, not when the next grammar comes. */
START_TEST(kept_grammars_that_grew_go_when_they_are_idle)
{
    struct grammar_cache cache;
    struct reason reason = {""};
    struct matcher *matchers[2];
    static const char *const keys[] = {"old", "new"};
    grammar_cache_init(&cache);
    for (size_t at = 0; at < COUNT_OF(keys); at++) {
        struct grammar *grammar = grammar_of("(a|b|c|d|e|f){1,9000}");
        grammar_cache_add(&cache, keys[at], 3, grammar);
        ck_assert_int_eq(matcher_follow(grammar, &matchers[at], &reason), STATUS_OK);
        grammar_release(grammar);
    }
    struct positions *grown[2];
    for (size_t at = 0; at < COUNT_OF(keys); at++) {
        /* As if an answer had been long. */
        grown[at] = grammar_cache_find(&cache, keys[at], 3)->newest;
        grown[at]->mask_bytes += GRAMMAR_CACHE_BYTES;
    }
    grammar_cache_trim(&cache);
    ck_assert_ptr_nonnull(grammar_cache_find(&cache, "old", 3)); /* both are in use */
    ck_assert_ptr_nonnull(grammar_cache_find(&cache, "new", 3));
    grown[0]->mask_bytes -= GRAMMAR_CACHE_BYTES;
    matcher_close(matchers[1]);
    grammar_cache_trim(&cache);
    ck_assert_ptr_null(grammar_cache_find(&cache, "new", 3));
    ck_assert_ptr_nonnull(grammar_cache_find(&cache, "old", 3));
    ck_assert_uint_le(grammar_cache_memory(&cache), GRAMMAR_CACHE_BYTES);
    matcher_close(matchers[0]);
    grammar_cache_fini(&cache);
}
END_TEST

START_TEST(too_many_ways_at_once_are_an_error_not_a_crash)
{
    struct reason reason = {""};
    enum status status = STATUS_OK;
    ck_assert_ptr_null(
        stage_open("{\"type\": \"regex\", \"pattern\": \"(a?){9000}b\"}", NULL, &status, &reason));
    ck_assert_int_eq(status, STATUS_TOO_LARGE);
    ck_assert_msg(strstr(reason.text, "too many ways") != NULL, "%s", reason.text);
}
END_TEST

START_TEST(ordinary_counts_are_taken)
{
    static const char *const rows[][2] = {
        {"\"pattern\": \"a.{20}b\"", "\"xxa12345678901234567890b\\\"\\u001f\""},
        {"\"pattern\": \".{0,200}\"", "\"anything\""},
        {"\"pattern\": \"^.{0,2000}$\"", "\"\\t\\\\\xc3\xa9\""},
        {"\"pattern\": \".*(a.{10}b|c.{15}d|e.{20}f).*\"", "\"aa1234567890b\""},
        {"\"pattern\": \"^([a-z]*,?){1,100}$\"", "\"a,b,,c\""},
        {"\"pattern\": \"[A-Za-z0-9 ]{1,500}\"", "\"a 1\""},
        {"\"pattern\": \"(foo|bar){1,50}\"", "\"xfoobar\""},
        {"\"pattern\": \"a.{20}b\", \"maxLength\": 100", "\"a12345678901234567890b\""},
        {"\"maxLength\": 1000", "\"\""},
    };
    for (size_t at = 0; at < COUNT_OF(rows); at++) {
        char schema[256];
        struct reason reason = {""};
        (void)snprintf(schema, sizeof(schema), "{\"type\": \"string\", %s}", rows[at][0]);
        struct matcher *matcher = stage_open(stage_schema(schema), NULL, NULL, &reason);
        ck_assert_msg(matcher != NULL, "%s: %s", schema, reason.text);
        ck_assert_msg(matcher_advance_bytes(matcher, rows[at][1], strlen(rows[at][1])) &&
                          matcher_may_end(matcher),
                      "%s", schema);
        matcher_close(matcher);
    }
}
END_TEST

/* Also where it comes only after other text, and not in the middle of the answer. */
START_TEST(what_explodes_is_refused_by_name_before_the_answer)
{
    struct reason reason = {""};
    enum status status = STATUS_OK;
    ck_assert_ptr_null(stage_open("{\"type\": \"regex\", \"pattern\": "
                                  "\"x((a|b|c| ){0,50}){0,50}z\"}",
                                  &thinking, &status, &reason));
    ck_assert_int_eq(status, STATUS_TOO_LARGE);
    ck_assert_msg(strstr(reason.text, "x((a|b|c| ){0,50}){0,50}z") != NULL, "%s", reason.text);
    struct matcher *matcher =
        stage_open("{\"type\": \"regex\", \"pattern\": \"x((a|b|c| ){0,9}y){0,50}z\"}", &thinking,
                   &status, &reason);
    ck_assert_msg(matcher != NULL, "%s", reason.text);
    matcher_close(matcher);
}
END_TEST

Suite *suite_of_tests(void)
{
    const TTest *const tests[] = {
        masks_are_what_trying_every_token_gives,
        masks_of_very_many_positions_are_what_trying_every_token_gives,
        half_a_character_can_only_be_finished,
        thinking_comes_before_the_form,
        calls_are_written_in_the_syntax_of_the_family,
        strict_calls_keep_to_their_schema_in_any_answer,
        strict_schemas_that_are_not_supported_are_refused,
        the_form_begins_at_once_where_thinking_is_off,
        memory_stays_within_its_bound,
        ordinary_counts_are_taken,
        what_explodes_is_refused_by_name_before_the_answer,
        too_many_ways_at_once_are_an_error_not_a_crash,
        answers_share_a_grammar_beyond_its_limits,
        grammars_are_kept_up_to_a_number_and_a_size,
        kept_grammars_that_grew_go_when_they_are_idle,
    };
    Suite *suite = suite_create("matcher");
    suite_add(suite, "matcher", tests, COUNT_OF(tests));
    return suite;
}
