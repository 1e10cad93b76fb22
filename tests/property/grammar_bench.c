/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Not a test: what scripts/bars/02-grammar measures.
 *
 * usage: grammar-bench [TOKENS] <LINES
 * Makes a vocabulary of so many tokens (150000) in the proportions of Qwen's: bytes, words with and
 * without a blank before them, other scripts, parts of characters, digits, runs of punctuation and
 * white space.  Each line is {"name": "...", "demand": {...}, "tools": [...], "steps": N}; for each
 * one line comes back with the microseconds (of CPU time) of compiling, of the masks of a first
 * answer and of the same answer again.  Tokens are drawn at random from the mask, closing ones more
 * often.
 */
#include "actors/runner/engine/grammar/constraint.h"
#include "actors/runner/engine/grammar/matcher.h"
#include "protocol/memory.h"
#include "tests/support/seeded.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <utf8proc.h>

enum { TEXTS_SIZE = 16 << 20, STEPS_MAX = 4096 };

struct stage {
    struct vocabulary_token *tokens;
    size_t count, wanted;
    char *texts;
    size_t used;
    struct seeded seeded;
    struct vocabulary vocabulary;
};

static void add(struct stage *stage, const char *text, size_t size)
{
    if (stage->count == stage->wanted)
        return;
    ASSERT(stage->used + size <= TEXTS_SIZE);
    char *copy = stage->texts + stage->used;
    memcpy(copy, text, size);
    stage->used += size;
    stage->tokens[stage->count] =
        (struct vocabulary_token){.id = (uint32_t)stage->count, .bytes = copy, .size = size};
    stage->count++;
}

static void add_word(struct stage *stage, uint32_t first, uint32_t letters, size_t least,
                     size_t most)
{
    static const char *const before[] = {" ", "", " ", "", " ", "_", "(\"", ".", "/", "\n"};
    char text[128];
    size_t size = 0;
    const uint64_t kind = seeded_below(&stage->seeded, 40);
    const char *head = before[kind < 10 ? kind : kind % 4];
    size = (size_t)snprintf(text, sizeof(text), "%s", head);
    const size_t length = least + seeded_below(&stage->seeded, most - least + 1);
    for (size_t at = 0; at < length; at++) {
        /* The least of two: some letters are more frequent than others, as in a language. */
        const uint64_t one = seeded_below(&stage->seeded, letters);
        const uint64_t other = seeded_below(&stage->seeded, letters);
        const uint64_t letter = one < other ? one : other;
        size += (size_t)utf8proc_encode_char((utf8proc_int32_t)(first + letter),
                                             (utf8proc_uint8_t *)text + size);
    }
    if (kind == 39)
        text[size++] = '"';
    add(stage, text, size);
}

static void add_runs(struct stage *stage, size_t count)
{
    static const char marks[] = "\"\"\"'':,,..;;{}[]()<>=+-*/\\\\_!?#@$%&|^~`\n\n\t   ";
    char text[128];
    for (size_t run = 1; run <= 96; run++) {
        memset(text, ' ', run);
        add(stage, text, run);
        text[0] = '\n';
        add(stage, text, run);
        memset(text, "-=*_#"[run % 5], run);
        add(stage, text, run);
    }
    for (size_t at = 0; at < count; at++) {
        const size_t size = 2 + seeded_below(&stage->seeded, 4);
        for (size_t byte = 0; byte < size; byte++)
            text[byte] = marks[seeded_below(&stage->seeded, sizeof(marks) - 1)];
        add(stage, text, size);
    }
}

static void make(struct stage *stage, size_t tokens)
{
    stage->wanted = tokens;
    stage->tokens = memory_zeroed(tokens, sizeof(*stage->tokens));
    stage->texts = memory_zeroed(TEXTS_SIZE, 1);
    ASSERT(stage->tokens && stage->texts);
    for (unsigned byte = 0; byte < 256; byte++)
        add(stage, &(char){(char)byte}, 1);
    add_runs(stage, tokens / 25);
    for (size_t at = 0; at < tokens / 100; at++) { /* two bytes of a character of three */
        const char half[2] = {(char)(0xe3 + seeded_below(&stage->seeded, 8)),
                              (char)(0x80 + seeded_below(&stage->seeded, 64))};
        add(stage, half, sizeof(half));
    }
    for (size_t at = 0; at < tokens / 6; at++)
        add_word(stage, 0x4e00, 8000, 1, 4);
    for (size_t at = 0; at < tokens / 10; at++)
        add_word(stage, at % 2 ? 0x430 : 0xac00, at % 2 ? 32 : 3000, 2, at % 2 ? 8 : 3);
    while (stage->count < stage->wanted)
        add_word(stage, 'a', 26, 2, 10);
    stage->tokens[stage->count - 1] = (struct vocabulary_token){.id = (uint32_t)stage->count - 1,
                                                                .bytes = "<|end|>",
                                                                .size = 7,
                                                                .is_added = true,
                                                                .is_special = true,
                                                                .is_end = true};
}

static double used_us(void)
{
    return (double)clock() * (1e6 / CLOCKS_PER_SEC);
}

static bool allows(const uint32_t *mask, uint32_t id)
{
    return mask[id / 32] >> (id % 32) & 1u;
}

static bool closes(const struct stage *stage, uint32_t id)
{
    const struct vocabulary_token *token = &stage->tokens[id];
    return token->size > 0 && strcspn(token->bytes, "\"]},") < token->size && token->size < 4;
}

/* Any token of the mask; of a few tried the first that closes something, when it is asked for. */
static uint32_t draw(struct stage *stage, const uint32_t *mask, bool shall_close)
{
    const uint32_t rows = (uint32_t)stage->vocabulary.rows;
    uint32_t found = UINT32_MAX;
    const uint32_t start = (uint32_t)seeded_below(&stage->seeded, rows);
    for (uint32_t at = 0; at < rows; at++) {
        const uint32_t id = (start + at) % rows;
        if (!allows(mask, id))
            continue;
        if (found == UINT32_MAX)
            found = id;
        if (!shall_close || closes(stage, id))
            return id;
    }
    return found;
}

static int compare(const void *left, const void *right)
{
    const double a = *(const double *)left;
    const double b = *(const double *)right;
    return a < b ? -1 : a > b;
}

static json_t *figures(double *times, size_t count)
{
    double sum = 0;
    for (size_t at = 0; at < count; at++)
        sum += times[at];
    qsort(times, count, sizeof(*times), compare);
    const size_t last = count ? count - 1 : 0;
    return json_pack("{s:f,s:f,s:f,s:f}", "mean", sum / (double)(count ? count : 1), "median",
                     times[count / 2], "p99", times[last * 99 / 100], "max", times[last]);
}

static json_t *measure(struct stage *stage, struct matcher *matcher, size_t steps)
{
    static uint32_t ids[STEPS_MAX];
    static double times[2][STEPS_MAX];
    struct reason reason = {""};
    size_t count = 0;
    steps = steps < STEPS_MAX ? steps : STEPS_MAX;
    for (; count < steps && !matcher_is_over(matcher); count++) {
        const uint32_t *mask = NULL;
        const double begin = used_us();
        enum status status = matcher_mask(matcher, &mask, &reason);
        times[0][count] = used_us() - begin;
        ASSERT(status == STATUS_OK);
        const bool shall_close = count > steps / 2 || seeded_below(&stage->seeded, 4) == 0;
        ids[count] = draw(stage, mask, shall_close);
        status = matcher_advance(matcher, ids[count], &reason);
        ASSERT(status == STATUS_OK);
    }
    matcher_restart(matcher);
    for (size_t at = 0; at < count; at++) {
        const uint32_t *mask = NULL;
        const double begin = used_us();
        enum status status = matcher_mask(matcher, &mask, &reason);
        times[1][at] = used_us() - begin;
        if (status == STATUS_OK)
            status = matcher_advance(matcher, ids[at], &reason);
        ASSERT(status == STATUS_OK);
    }
    return json_pack("{s:i,s:o,s:o}", "steps", (int)count, "first", figures(times[0], count),
                     "again", figures(times[1], count));
}

static void answer(struct stage *stage, const json_t *task)
{
    const struct constraint_setting setting = {.style = {TOOLS_JSON, "<think>", "</think>"},
                                               .thinking = THINKING_CLOSED,
                                               .tools = json_object_get(task, "tools")};
    struct reason reason = {""};
    struct automaton automaton;
    struct matcher *matcher = NULL;
    const double begin = used_us();
    enum status status =
        constraint_build(json_object_get(task, "demand"), &setting, &automaton, &reason);
    if (status == STATUS_OK)
        status = matcher_open(&automaton, &stage->vocabulary, &matcher, &reason);
    const double compile = used_us() - begin;
    json_t *line = json_object();
    (void)json_object_set(line, "name", json_object_get(task, "name"));
    (void)json_object_set_new(line, "compile", json_real(compile));
    if (status != STATUS_OK) {
        (void)json_object_set_new(line, "refused", json_string(reason.text));
    } else {
        json_t *found =
            measure(stage, matcher, (size_t)json_integer_value(json_object_get(task, "steps")));
        (void)json_object_update(line, found);
        (void)json_object_set_new(line, "memory",
                                  json_integer((json_int_t)matcher_memory(matcher)));
        json_decref(found);
    }
    char *text = json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(6));
    puts(text ? text : "{}");
    free(text);
    json_decref(line);
    matcher_close(matcher);
}

int main(int count, char **arguments)
{
    struct stage stage = {.seeded = {11}};
    make(&stage, count > 1 ? strtoul(arguments[1], NULL, 10) : 150000);
    const double begin = used_us();
    const enum status status =
        vocabulary_open(stage.tokens, stage.count, stage.count, &stage.vocabulary);
    ASSERT(status == STATUS_OK);
    printf("{\"name\": \"vocabulary\", \"compile\": %.0f}\n", used_us() - begin);
    char *line = NULL;
    size_t capacity = 0;
    while (getline(&line, &capacity, stdin) > 0) {
        json_t *task = json_loads(line, 0, NULL);
        answer(&stage, task);
        json_decref(task);
    }
    free(line);
    vocabulary_close(&stage.vocabulary);
    memory_free(stage.tokens);
    memory_free(stage.texts);
    return EXIT_SUCCESS;
}
