/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Properties of the dialogue parser over seeded random mixtures of markers, JSON and text:
 *  - however an answer is cut into pieces, the same is said;
 *  - the arguments of a call that was not cut off are one JSON object;
 *  - memory stays within the bound, and every byte takes bounded time.
 * DIALOGUE_OUTPUTS outputs go through each parser; scripts/bars/02-parsers asks for a million.
 */
#include "actors/runner/engine/dialogue/dialogue.h"
#include "actors/runner/engine/dialogue/json_scan.h"
#include "protocol/buffer.h"
#include "protocol/memory.h"
#include "tests/support/check_main.h"
#include "tests/support/seeded.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { OUTPUT_SIZE_MAX = 1024 };

/* ck_assert tells Check of each pass, which takes longer than what is checked here. */
#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            ck_abort_msg("%s", #condition);                                                        \
    } while (0)

static const char *const parts[] = {
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<function=",
    "</function>",
    "<parameter=",
    "</parameter>",
    "\n</parameter>",
    "<arg_key>",
    "</arg_key>",
    "<arg_value>",
    "</arg_value>",
    "<|python_tag|>",
    "<|start|>",
    "<|channel|>",
    "<|message|>",
    "<|end|>",
    "<|call|>",
    "<|return|>",
    "<|constrain|>",
    "assistant",
    "analysis",
    "final",
    "commentary",
    " to=functions.",
    "to=",
    DEEPSEEK_CALLS_BEGIN,
    DEEPSEEK_CALLS_END,
    DEEPSEEK_CALL_BEGIN,
    DEEPSEEK_CALL_END,
    DEEPSEEK_SEPARATOR,
    "function",
    "```json\n",
    "\n```",
    "add",
    "now",
    "a",
    "note",
    "on",
    ">",
    "<",
    "\n",
    " ",
    "\n\n",
    "{",
    "}",
    "[",
    "]",
    "\"",
    ":",
    ",",
    "\\",
    "\\n",
    "{\"name\": \"add\", \"arguments\": ",
    "{\"name\": \"now\", \"parameters\": {}}",
    "{\"arguments\": {\"a\": 1}, \"name\": \"add\"}",
    "{\"a\": ",
    "\"note\": \"x",
    "true",
    "null",
    "tr",
    "1",
    "-",
    "2.5",
    "1e3",
    "12",
    "\"7\"",
    "[1, {\"k\": \"v\"}]",
    "{}",
    "text ",
    "\xc3\xa9\xe6\x97\xa5\xf0\x9f\x98\x80",
    "\xff",
    "\x01",
    "=a>",
    "=note>\n",
    "add>",
    "json",
};

static const char *const wholes[] = {
    "<think>\nso\n</think>\n\n",
    "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1, \"note\": \"x\"}}\n</tool_call>",
    "<tool_call>\n<function=add>\n<parameter=note>\nv\n</parameter>\n</function>\n</tool_call>",
    "<tool_call>add<arg_key>a</arg_key><arg_value>1</arg_value></tool_call>",
    "<|channel|>commentary to=functions.add <|constrain|>json<|message|>{\"a\": 1}<|call|>",
    DEEPSEEK_CALLS_BEGIN DEEPSEEK_CALL_BEGIN "add" DEEPSEEK_SEPARATOR
                                             "{\"a\":2}" DEEPSEEK_CALL_END DEEPSEEK_CALLS_END,
};

static const char tools_text[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"add\",\"parameters\":{\"type\":\"object\","
    "\"properties\":{\"a\":{\"type\":\"integer\"},\"note\":{\"type\":\"string\"},\"on\":{\"type\":"
    "\"boolean\"}}}}},{\"type\":\"function\",\"function\":{\"name\":\"now\"}}]";

static size_t random_output(struct seeded *seeded, char *output)
{
    size_t size = 0;
    for (size_t left = seeded_below(seeded, 40); left > 0; left--) {
        const bool is_whole = seeded_below(seeded, 12) == 0;
        const char *part = is_whole ? wholes[seeded_below(seeded, COUNT_OF(wholes))]
                                    : parts[seeded_below(seeded, COUNT_OF(parts))];
        size_t length = strlen(part);
        if (seeded_below(seeded, 10) == 0) /* broken off */
            length = seeded_below(seeded, length + 1);
        size_t repeats = seeded_below(seeded, 50) == 0 ? 1 + seeded_below(seeded, 30) : 1;
        for (; repeats > 0 && size + length < OUTPUT_SIZE_MAX; repeats--) {
            memcpy(output + size, part, length);
            size += length;
        }
    }
    return size;
}

/* What was said, as a client joins it: each run of a kind begins with its number. */
struct said {
    struct buffer text;
    enum delta_kind last;
    uint32_t calls;
    size_t arguments; /* where those of the last call begin */
};

static void check_arguments(const struct said *said)
{
    struct json_scan scan;
    enum scan_result result = SCAN_MORE;
    json_scan_init(&scan);
    MUST(said->text.bytes[said->arguments] == '{');
    for (size_t at = said->arguments; at < said->text.size; at++) {
        MUST(result == SCAN_MORE);
        result = json_scan_byte(&scan, said->text.bytes[at]);
    }
    MUST(result == SCAN_DONE);
}

static void note(struct dialogue *dialogue, struct said *said, bool checks)
{
    size_t count = 0;
    const char *text = NULL;
    const struct dialogue_delta *deltas = dialogue_deltas(dialogue, &count, &text);
    for (size_t at = 0; at < count; at++) {
        const struct dialogue_delta *delta = &deltas[at];
        if (delta->kind != said->last || delta->kind == DELTA_CALL) {
            const char mark[2] = {'\0', (char)delta->kind};
            if (said->last == DELTA_ARGUMENTS && checks)
                check_arguments(said);
            MUST(buffer_append(&said->text, mark, 2) == STATUS_OK);
            said->arguments = said->text.size;
        }
        said->calls += delta->kind == DELTA_CALL;
        if (delta->kind == DELTA_CALL || delta->kind == DELTA_ARGUMENTS)
            MUST(delta->call + 1 == said->calls);
        said->last = delta->kind;
        MUST(buffer_append(&said->text, text + delta->start, delta->size) == STATUS_OK);
    }
    dialogue_take(dialogue);
}

struct
try {
    const struct dialogue_style *style;
    enum thinking thinking;
    const json_t *tools;
    bool is_cut;
};

static void take_apart(const struct try *try, const char *output, size_t size,
                       struct seeded *seeded, struct said *said)
{
    struct dialogue *dialogue = NULL;
    buffer_clear(&said->text);
    said->last = 0;
    said->calls = 0;
    MUST(dialogue_open(try->style, try->thinking, try->tools, &dialogue) == STATUS_OK);
    for (size_t at = 0; at < size;) {
        const size_t left = size - at;
        const size_t piece = seeded ? 1 + seeded_below(seeded, left < 9 ? left : 9) : left;
        MUST(dialogue_push(dialogue, output + at, piece) == STATUS_OK);
        MUST(dialogue_memory(dialogue) <= 64 * 1024);
        if (seeded)
            note(dialogue, said, false);
        at += piece;
    }
    MUST(dialogue_finish(dialogue, try->is_cut) == STATUS_OK);
    note(dialogue, said, !try->is_cut);
    if (!try->is_cut && said->last == DELTA_ARGUMENTS)
        check_arguments(said);
    dialogue_close(dialogue);
}

static void mill(enum tool_syntax syntax)
{
    const char *asked = getenv("DIALOGUE_OUTPUTS");
    const unsigned long outputs = asked ? strtoul(asked, NULL, 10) : 3000;
    const bool thinks = syntax != TOOLS_HARMONY && syntax != TOOLS_LLAMA;
    const struct dialogue_style style = {syntax, thinks ? "<think>" : NULL, "</think>"};
    struct seeded seeded = seeded_open(11 + syntax);
    json_t *tools = json_loads(tools_text, 0, NULL);
    struct said whole = {.last = 0};
    struct said pieces = {.last = 0};
    char output[OUTPUT_SIZE_MAX];
    buffer_init(&whole.text, 1 << 20);
    buffer_init(&pieces.text, 1 << 20);
    for (unsigned long count = 0; count < outputs; count++) {
        const size_t size = random_output(&seeded, output);
        const struct try try = {&style, (enum thinking)seeded_below(&seeded, 3),
                                seeded_below(&seeded, 8) ? tools : NULL,
                                seeded_below(&seeded, 4) == 0};
        take_apart(&try, output, size, NULL, &whole);
        take_apart(&try, output, size, &seeded, &pieces);
        if (whole.text.size != pieces.text.size ||
            (whole.text.size > 0 &&
             memcmp(whole.text.bytes, pieces.text.bytes, whole.text.size) != 0))
            ck_abort_msg("output %lu is taken apart differently when cut: %.*s", count, (int)size,
                         output);
    }
    buffer_fini(&whole.text);
    buffer_fini(&pieces.text);
    json_decref(tools);
    struct rusage usage;
    ck_assert_int_eq(getrusage(RUSAGE_SELF, &usage), 0);
    printf("# syntax %d: %lu outputs, peak %ld MB\n", (int)syntax, outputs, usage.ru_maxrss / 1024);
}

START_TEST(outputs_are_the_same_however_they_are_cut)
{
    mill((enum tool_syntax)_i);
}
END_TEST

/* Long values are held up to a bound and then streamed. */
START_TEST(long_arguments_are_held_to_a_bound)
{
    static const char *const begins[] = {"<tool_call><function=add><parameter=a>",
                                         "<tool_call>{\"arguments\": {\"a\": \"",
                                         "<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": \"",
                                         "<tool_call>{\"name\": \"add\", \"arguments\": \"",
                                         "<think>",
                                         "<tool_call>",
                                         "<tool_call>{\"name\": \"add\", \"arguments\": {\""};
    static const char *const fills[] = {"x", "[", "\n", "<tool_call>", "\""};
    const struct dialogue_style style = {TOOLS_XML, "<think>", "</think>"};
    json_t *tools = json_loads(tools_text, 0, NULL);
    for (size_t begin = 0; begin < COUNT_OF(begins); begin++) {
        for (size_t fill = 0; fill < COUNT_OF(fills); fill++) {
            struct dialogue *dialogue = NULL;
            struct said said = {.last = 0};
            buffer_init(&said.text, 16 << 20);
            MUST(dialogue_open(&style, THINKING_POSSIBLE, tools, &dialogue) == STATUS_OK);
            MUST(dialogue_push(dialogue, begins[begin], strlen(begins[begin])) == STATUS_OK);
            for (size_t count = 0; count < 1100000; count += strlen(fills[fill])) {
                MUST(dialogue_push(dialogue, fills[fill], strlen(fills[fill])) == STATUS_OK);
                if (count % 4096 == 0)
                    note(dialogue, &said, false);
                MUST(dialogue_memory(dialogue) <= 10 << 20);
            }
            MUST(dialogue_finish(dialogue, false) == STATUS_OK);
            note(dialogue, &said, true);
            if (said.last == DELTA_ARGUMENTS)
                check_arguments(&said);
            dialogue_close(dialogue);
            buffer_fini(&said.text);
        }
    }
    json_decref(tools);
}
END_TEST

Suite *suite_of_tests(void)
{
    const TTest *const others[] = {long_arguments_are_held_to_a_bound};
    Suite *suite = suite_create("dialogue");
    suite_add(suite, "bounds", others, COUNT_OF(others));
    TCase *cuts = tcase_create("cuts");
    tcase_set_timeout(cuts, 0);
    tcase_add_loop_test(cuts, outputs_are_the_same_however_they_are_cut, TOOLS_NONE,
                        TOOLS_DEEPSEEK + 1);
    suite_add_tcase(suite, cuts);
    return suite;
}
