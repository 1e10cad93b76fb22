/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/grammar/constraint_parts.h"

#include <string.h>

/* After Aho and Corasick: a state says how much of which marker the text ends with. */
struct free_text {
    struct automaton *automaton;
    const struct text_marker *markers;
    size_t count;
    uint32_t states[TEXT_MARKERS_MAX][MARKER_SIZE_MAX];
};

/* The first marker that begins so; `count`: none. */
static size_t marker_of(const struct free_text *free, const char *text, size_t size)
{
    size_t at = 0;
    while (at < free->count && (strlen(free->markers[at].text) < size ||
                                memcmp(free->markers[at].text, text, size) != 0))
        at++;
    return at;
}

/* Where a byte leads after `size` bytes of a marker. */
static uint32_t next_of(const struct free_text *free, size_t marker, size_t size, uint8_t byte)
{
    char text[MARKER_SIZE_MAX];
    memcpy(text, free->markers[marker].text, size);
    text[size++] = (char)byte;
    for (size_t start = 0; start < size; start++) {
        const size_t found = marker_of(free, text + start, size - start);
        if (found == free->count)
            continue;
        return strlen(free->markers[found].text) == size - start
                   ? free->markers[found].target
                   : free->states[found][size - start];
    }
    return free->states[0][0];
}

/* The edges out of a state, save those of the bytes in `except`. */
static void add_edges(const struct free_text *free, uint32_t from, size_t marker, size_t size,
                      const char *except)
{
    uint32_t low_target = 0;
    unsigned low = 0;
    /* Neighbouring bytes with one target share an edge; one past the last byte ends it. */
    for (unsigned byte = 0; byte <= AUTOMATON_MARKER_BYTE; byte++) {
        const bool is_kept = byte == 0 || !strchr(except, (int)byte);
        const uint32_t target = byte < AUTOMATON_MARKER_BYTE && is_kept
                                    ? next_of(free, marker, size, (uint8_t)byte)
                                    : 0;
        if (target == low_target)
            continue;
        if (low_target)
            automaton_bytes(free->automaton, from, (uint8_t)low, (uint8_t)(byte - 1), low_target);
        low = byte;
        low_target = target;
    }
}

/* The text of a marker as its token, from wherever the text stands. */
static uint32_t token_of(const struct constraint_builder *builder, const struct text_marker *marker)
{
    if (!marker->target || !constraint_is_token(builder, marker->text))
        return 0;
    const uint32_t begin = automaton_state(builder->automaton);
    automaton_skip(builder->automaton, constraint_marker(builder, begin, marker->text),
                   marker->target);
    return begin;
}

static void make_states(struct free_text *free)
{
    for (size_t at = 0; at < free->count; at++) {
        const char *text = free->markers[at].text;
        ASSERT(*text && strlen(text) <= MARKER_SIZE_MAX);
        for (size_t size = 0; size < strlen(text); size++) {
            const size_t known = marker_of(free, text, size);
            free->states[at][size] =
                known == at ? automaton_state(free->automaton) : free->states[known][size];
        }
    }
}

static void make_edges(const struct constraint_builder *builder, const struct free_text *free,
                       const uint32_t *tokens, uint32_t end)
{
    for (size_t at = 0; at < free->count; at++) {
        const char *text = free->markers[at].text;
        for (size_t size = 0; size < strlen(text); size++) {
            const uint32_t state = free->states[at][size];
            if (marker_of(free, text, size) != at)
                continue;
            add_edges(free, state, at, size, "");
            for (size_t token = 0; token < free->count; token++)
                if (tokens[token])
                    automaton_skip(builder->automaton, state, tokens[token]);
            if (end)
                automaton_skip(builder->automaton, state, end);
        }
    }
}

static void build(const struct constraint_builder *builder, const struct text_marker *markers,
                  size_t count, uint32_t end, struct free_text *free, uint32_t *tokens)
{
    ASSERT(count > 0 && count <= TEXT_MARKERS_MAX);
    *free = (struct free_text){builder->automaton, markers, count, {{0}}};
    for (size_t at = 0; at < count; at++)
        tokens[at] = token_of(builder, &markers[at]);
    make_states(free);
    make_edges(builder, free, tokens, end);
}

uint32_t constraint_free(const struct constraint_builder *builder,
                         const struct text_marker *markers, size_t count, uint32_t end)
{
    struct free_text free;
    uint32_t tokens[TEXT_MARKERS_MAX];
    build(builder, markers, count, end, &free, tokens);
    return free.states[0][0];
}

uint32_t constraint_free_not(const struct constraint_builder *builder,
                             const struct text_marker *markers, size_t count, uint32_t end,
                             char not_first)
{
    static const char spaces[] = " \t\r\n";
    const char except[] = {' ', '\t', '\r', '\n', not_first, '\0'};
    struct automaton *automaton = builder->automaton;
    struct free_text free;
    uint32_t tokens[TEXT_MARKERS_MAX];
    build(builder, markers, count, end, &free, tokens);
    const uint32_t begin = automaton_state(automaton);
    for (size_t at = 0; at + 1 < sizeof(spaces); at++)
        automaton_bytes(automaton, begin, (uint8_t)spaces[at], (uint8_t)spaces[at], begin);
    add_edges(&free, begin, 0, 0, except);
    for (size_t token = 0; token < count; token++)
        if (tokens[token])
            automaton_skip(automaton, begin, tokens[token]);
    if (end)
        automaton_skip(automaton, begin, end);
    return begin;
}

uint32_t constraint_until(const struct constraint_builder *builder, uint32_t from,
                          const char *marker)
{
    const struct text_marker one = {marker, automaton_state(builder->automaton)};
    automaton_skip(builder->automaton, from, constraint_free(builder, &one, 1, 0));
    return one.target;
}

/* ---- any answer, in which calls are good ones ---- */

/* gpt-oss: messages until the last, which is the answer or a call. */
static enum status auto_harmony(const struct constraint_builder *builder, uint32_t from,
                                uint32_t to)
{
    static const char *const before[] = {"analysis", "commentary"};
    static const struct text_marker none[] = {
        {"<|channel|>", 0}, {"<|call|>", 0}, {"<|start|>", 0}, {"<|end|>", 0}};
    struct automaton *automaton = builder->automaton;
    const uint32_t begin = automaton_state(automaton);
    automaton_skip(automaton, from, begin);
    for (size_t at = builder->setting->thinks_not; at < COUNT_OF(before); at++) {
        uint32_t place = constraint_marker(builder, begin, "<|channel|>");
        place = constraint_text(builder, place, before[at]);
        place = constraint_marker(builder, place, "<|message|>");
        place = constraint_until(builder, place, "<|end|>");
        place = constraint_marker(builder, place, "<|start|>");
        automaton_skip(automaton, constraint_text(builder, place, "assistant"), begin);
    }
    uint32_t place = constraint_marker(builder, begin, "<|channel|>");
    place = constraint_text(builder, place, "final");
    place = constraint_marker(builder, place, "<|message|>");
    automaton_skip(automaton, place, constraint_free(builder, none, COUNT_OF(none), to));
    uint32_t end = 0;
    const enum status status =
        constraint_tools(builder, NULL, false, CALL_UNOPENED, begin, &end);
    automaton_skip(automaton, end, to);
    return status;
}

/* Llama: an answer that begins with a brace is a call, and so is what follows the tag. */
static enum status auto_llama(const struct constraint_builder *builder, uint32_t from, uint32_t to)
{
    struct automaton *automaton = builder->automaton;
    const struct text_marker markers[] = {{"<|python_tag|>", automaton_state(automaton)},
                                          {"<function=", 0}};
    const uint32_t text = constraint_free_not(builder, markers, COUNT_OF(markers), to, '{');
    uint32_t end = 0;
    automaton_skip(automaton, from, text);
    automaton_skip(automaton, text, markers[0].target); /* the tag may be left out */
    const enum status status =
        constraint_tools(builder, NULL, false, CALL_UNOPENED, markers[0].target, &end);
    automaton_skip(automaton, end, to);
    return status;
}

enum status constraint_auto(const struct constraint_builder *builder, bool may_repeat,
                            uint32_t from, uint32_t to)
{
    const enum tool_syntax syntax = builder->setting->style.tools;
    const bool is_deepseek = syntax == TOOLS_DEEPSEEK || syntax == TOOLS_DEEPSEEK_V3;
    struct automaton *automaton = builder->automaton;
    if (syntax == TOOLS_HARMONY)
        return auto_harmony(builder, from, to);
    if (syntax == TOOLS_LLAMA)
        return auto_llama(builder, from, to);
    /* The second of each opens a call too, in a way these models do not use; GLM has none. */
    const struct text_marker markers[] = {
        {is_deepseek ? DEEPSEEK_CALLS_BEGIN : "<tool_call>", automaton_state(automaton)},
        {is_deepseek ? DEEPSEEK_CALL_BEGIN : "<function=", 0}};
    const uint32_t text =
        constraint_free(builder, markers, syntax == TOOLS_GLM ? 1 : COUNT_OF(markers), to);
    uint32_t end = 0;
    automaton_skip(automaton, from, text);
    const enum status status =
        constraint_tools(builder, NULL, may_repeat && is_deepseek, CALL_OPENED, markers[0].target,
                         &end);
    automaton_skip(automaton, end, may_repeat && !is_deepseek ? text : to);
    return status;
}
