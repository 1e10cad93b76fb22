/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/grammar/constraint.h"

#include "actors/runner/engine/grammar/constraint_parts.h"
#include "actors/runner/engine/grammar/regex.h"
#include "actors/runner/engine/grammar/schema.h"
#include "actors/runner/engine/tokenizer.h"

#include <string.h>

/* ---- pieces ---- */

uint32_t constraint_text(const struct constraint_builder *builder, uint32_t from, const char *text)
{
    return automaton_text(builder->automaton, from, text, strlen(text));
}

bool constraint_is_token(const struct constraint_builder *builder, const char *text)
{
    struct token_piece piece;
    uint32_t id = 0;
    const struct tokenizer *tokenizer = builder->setting->tokenizer;
    return tokenizer && tokenizer_find(tokenizer, text, strlen(text), &id) &&
           tokenizer_piece(tokenizer, id, &piece) && (piece.flags & TOKEN_ADDED);
}

uint32_t constraint_marker(const struct constraint_builder *builder, uint32_t from,
                           const char *text)
{
    struct automaton *automaton = builder->automaton;
    if (constraint_is_token(builder, text)) {
        const uint32_t next = automaton_state(automaton);
        automaton_bytes(automaton, from, AUTOMATON_MARKER_BYTE, AUTOMATON_MARKER_BYTE, next);
        from = next;
    }
    return constraint_text(builder, from, text);
}

uint32_t constraint_breaks(const struct constraint_builder *builder, uint32_t from, unsigned most)
{
    const uint32_t end = automaton_state(builder->automaton);
    for (unsigned count = 0; count < most; count++) {
        automaton_skip(builder->automaton, from, end);
        from = constraint_text(builder, from, "\n");
    }
    automaton_skip(builder->automaton, from, end);
    return end;
}

/* ---- what may stand before the answer ---- */

/* gpt-oss: an analysis, which is optional, then what the next message begins with. */
static uint32_t build_channels(const struct constraint_builder *builder, uint32_t from)
{
    const uint32_t after = automaton_state(builder->automaton);
    automaton_skip(builder->automaton, from, after);
    uint32_t place = constraint_marker(builder, from, "<|channel|>");
    place = constraint_text(builder, place, "analysis");
    place = constraint_marker(builder, place, "<|message|>");
    place = constraint_until(builder, place, "<|end|>");
    place = constraint_marker(builder, place, "<|start|>");
    place = constraint_text(builder, place, "assistant");
    automaton_skip(builder->automaton, place, after);
    return after;
}

static uint32_t build_thinking(const struct constraint_builder *builder, uint32_t from)
{
    const struct constraint_setting *setting = builder->setting;
    const bool is_begun = setting->thinking == THINKING_OPENED; /* then it can only be ended */
    if (setting->thinks_not && !is_begun)
        return from;
    if (setting->style.tools == TOOLS_HARMONY)
        return build_channels(builder, from);
    if (!setting->style.think_open || setting->thinking == THINKING_CLOSED)
        return from;
    const uint32_t after = automaton_state(builder->automaton);
    uint32_t place = from;
    if (setting->thinking == THINKING_POSSIBLE) {
        automaton_skip(builder->automaton, from, after);
        place = constraint_marker(builder, place, setting->style.think_open);
    }
    place = constraint_until(builder, place, setting->style.think_close);
    automaton_skip(builder->automaton, constraint_breaks(builder, place, 4), after);
    return after;
}

/* gpt-oss: the head of the message that is the answer. */
static uint32_t build_head(const struct constraint_builder *builder, uint32_t from)
{
    if (builder->setting->style.tools != TOOLS_HARMONY)
        return from;
    from = constraint_marker(builder, from, "<|channel|>");
    from = constraint_text(builder, from, "final");
    return constraint_marker(builder, from, "<|message|>");
}

/* ---- demands ---- */

static enum status build_choices(const struct constraint_builder *builder, const json_t *choices,
                                 uint32_t from, uint32_t to)
{
    if (json_array_size(choices) == 0)
        return refuse(builder->reason, STATUS_INVALID, "choice must be a list of texts");
    for (size_t at = 0; at < json_array_size(choices); at++) {
        const char *text = json_string_value(json_array_get(choices, at));
        if (!text)
            return refuse(builder->reason, STATUS_INVALID, "choice must be a list of texts");
        automaton_skip(builder->automaton, constraint_text(builder, from, text), to);
    }
    return STATUS_OK;
}

static enum status build_demand(const struct constraint_builder *builder, const json_t *demand,
                                uint32_t from, uint32_t to)
{
    const char *type = json_string_value(json_object_get(demand, "type"));
    struct automaton *automaton = builder->automaton;
    const json_t *schema = json_object_get(demand, "schema");
    const char *pattern = json_string_value(json_object_get(demand, "pattern"));
    uint32_t rule = 0;
    enum status status = STATUS_INVALID;
    if (type && strcmp(type, "json_object") == 0) {
        status = schema_build_object(automaton, &rule, builder->reason);
    } else if (type && strcmp(type, "json_schema") == 0 && schema) {
        status = schema_build(schema, schema, "schema", automaton, &rule, builder->reason);
    } else if (type && strcmp(type, "regex") == 0 && pattern) {
        return regex_build(pattern, strlen(pattern), REGEX_WHOLE, CODE_PLAIN, automaton, from, to,
                           builder->reason);
    } else if (type && strcmp(type, "choice") == 0) {
        return build_choices(builder, json_object_get(demand, "choices"), from, to);
    } else {
        return refuse(builder->reason, STATUS_INVALID,
                      "the demanded form of the answer has no known type, or its part is missing");
    }
    if (status == STATUS_OK)
        automaton_call(automaton, from, rule, to);
    return status;
}

enum status constraint_build(const json_t *demand, const struct constraint_setting *setting,
                             struct automaton *automaton_out, struct reason *reason)
{
    struct automaton automaton;
    const char *type = json_string_value(json_object_get(demand, "type"));
    const bool is_call = type && strcmp(type, "tools") == 0;
    const bool is_auto = type && strcmp(type, "auto") == 0;
    const bool may_repeat = !json_is_false(json_object_get(demand, "parallel"));
    const struct constraint_builder builder = {setting, &automaton, !is_call, reason};
    automaton_init(&automaton);
    const uint32_t root = automaton_rule(&automaton);
    enum status status = STATUS_OK;
    if (automaton.failed == STATUS_OK) {
        const struct rule rule = automaton.rules[root];
        const uint32_t begin = build_thinking(&builder, rule.start);
        if (is_auto)
            status = constraint_auto(&builder, may_repeat, begin, rule.end);
        else if (!is_call)
            status = build_demand(&builder, demand, build_head(&builder, begin), rule.end);
        /* Where tools are given a call may stand in place of the answer. */
        const bool may_call =
            json_array_size(setting->tools) > 0 && setting->style.tools != TOOLS_NONE;
        if (is_call || (!is_auto && may_call && status == STATUS_OK)) {
            uint32_t end = 0;
            status = constraint_tools(&builder, json_string_value(json_object_get(demand, "name")),
                                      may_repeat, CALL_UNOPENED, begin, &end);
            automaton_skip(&automaton, end, rule.end);
        }
    }
    if (status == STATUS_OK)
        status = automaton_close(&automaton, root, reason);
    if (status != STATUS_OK) {
        automaton_fini(&automaton);
        return status;
    }
    *automaton_out = automaton;
    return STATUS_OK;
}
