/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/grammar/constraint_parts.h"
#include "actors/runner/engine/grammar/regex.h"
#include "actors/runner/engine/grammar/schema.h"

#include <stdio.h>
#include <string.h>

/* One tool, as the client described it. */
struct tool {
    const char *name;
    const json_t *parameters; /* a schema, or NULL */
    bool is_lenient;          /* a schema that is not understood allows any arguments */
};

/* ---- arguments as JSON ---- */

static enum status build_json(const struct constraint_builder *builder, const struct tool *tool,
                              uint32_t from, uint32_t *end_out)
{
    uint32_t rule = 0;
    char name[96];
    (void)snprintf(name, sizeof(name), "parameters of %.64s", tool->name);
    enum status status = tool->parameters && json_object_size(tool->parameters) > 0
                             ? schema_build(tool->parameters, tool->parameters, name,
                                            builder->automaton, &rule, builder->reason)
                             : schema_build_object(builder->automaton, &rule, builder->reason);
    if (status == STATUS_UNSUPPORTED && tool->is_lenient)
        status = schema_build_object(builder->automaton, &rule, builder->reason);
    *end_out = automaton_state(builder->automaton);
    if (status == STATUS_OK)
        automaton_call(builder->automaton, from, rule, *end_out);
    return status;
}

/* ---- arguments one by one, texts without quotes ---- */

static const json_t *resolved(const json_t *root, const json_t *schema)
{
    const char *reference = json_string_value(json_object_get(schema, "$ref"));
    const char *name = reference ? strrchr(reference, '/') : NULL;
    if (!name)
        return schema;
    const json_t *found = json_object_get(json_object_get(root, "$defs"), name + 1);
    return found ? found : json_object_get(json_object_get(root, "definitions"), name + 1);
}

/* Whether a value is written as it is: it may be a text, and nothing says it must be JSON. */
static bool is_bare_text(const json_t *schema)
{
    const json_t *type = json_object_get(schema, "type");
    const json_t *list = json_object_get(schema, "enum");
    bool is_text = json_string_value(type) && strcmp(json_string_value(type), "string") == 0;
    for (size_t at = 0; at < json_array_size(type); at++) {
        const char *name = json_string_value(json_array_get(type, at));
        is_text = is_text || (name && strcmp(name, "string") == 0);
    }
    for (size_t at = 0; !type && at < json_array_size(list); at++)
        is_text = is_text || json_is_string(json_array_get(list, at));
    return is_text || json_is_string(json_object_get(schema, "const"));
}

/* A text, its end marker included. */
static enum status build_bare(const struct constraint_builder *builder, const json_t *schema,
                              uint32_t from, const char *close, uint32_t *end_out)
{
    const json_t *list = json_object_get(schema, "enum");
    const char *constant = json_string_value(json_object_get(schema, "const"));
    const char *pattern = json_string_value(json_object_get(schema, "pattern"));
    struct automaton *automaton = builder->automaton;
    if (!list && !constant && !pattern) {
        *end_out = constraint_until(builder, from, close);
        return STATUS_OK;
    }
    enum status status = STATUS_OK;
    const uint32_t after = automaton_state(automaton);
    if (constant)
        automaton_skip(automaton, constraint_text(builder, from, constant), after);
    else if (pattern)
        status = regex_build(pattern, strlen(pattern), REGEX_SEARCH, CODE_PLAIN, automaton, from,
                             after, builder->reason);
    for (size_t at = 0; !constant && at < json_array_size(list); at++) {
        const char *text = json_string_value(json_array_get(list, at));
        if (text)
            automaton_skip(automaton, constraint_text(builder, from, text), after);
    }
    *end_out = constraint_marker(builder, after, close);
    return status;
}

static enum status build_argument(const struct constraint_builder *builder, const struct tool *tool,
                                  const json_t *schema, uint32_t from, const char *close,
                                  uint32_t *end_out)
{
    const json_t *plain = resolved(tool->parameters, schema);
    if (is_bare_text(plain))
        return build_bare(builder, plain, from, close, end_out);
    uint32_t rule = 0;
    const uint32_t after = automaton_state(builder->automaton);
    enum status status = schema_build(tool->parameters, schema, tool->name, builder->automaton,
                                      &rule, builder->reason);
    if (status == STATUS_UNSUPPORTED && tool->is_lenient)
        status = schema_build(tool->parameters, json_true(), tool->name, builder->automaton, &rule,
                              builder->reason);
    automaton_call(builder->automaton, from, rule, after);
    *end_out = constraint_marker(builder, after, close);
    return status;
}

static bool is_required(const json_t *parameters, const char *name)
{
    const json_t *required = json_object_get(parameters, "required");
    for (size_t at = 0; at < json_array_size(required); at++) {
        const char *one = json_string_value(json_array_get(required, at));
        if (one && strcmp(one, name) == 0)
            return true;
    }
    return false;
}

/* How one argument is written. */
struct argument_form {
    const char *open, *after_name, *close;
    const char *break_after;
};

static const struct argument_form xml_form = {"<parameter=", ">\n", "\n</parameter>", "\n"};
static const struct argument_form glm_form = {"<arg_key>", "</arg_key>", "</arg_value>", ""};

static enum status build_arguments(const struct constraint_builder *builder,
                                   const struct tool *tool, bool is_glm, uint32_t from,
                                   uint32_t *end_out)
{
    struct automaton *automaton = builder->automaton;
    const struct argument_form *form = is_glm ? &glm_form : &xml_form;
    json_t *properties = json_object_get(tool->parameters, "properties");
    enum status status = STATUS_OK;
    const char *name = NULL;
    json_t *schema = NULL;
    json_object_foreach(properties, name, schema)
    {
        const uint32_t next = automaton_state(automaton);
        if (!is_required(tool->parameters, name))
            automaton_skip(automaton, from, next);
        uint32_t place = is_glm ? constraint_marker(builder, from, form->open)
                                : constraint_text(builder, from, form->open);
        place = constraint_text(builder, place, name);
        if (is_glm) {
            place = constraint_marker(builder, place, form->after_name);
            place = constraint_marker(builder, constraint_breaks(builder, place, 1), "<arg_value>");
        } else {
            place = constraint_text(builder, place, form->after_name);
        }
        uint32_t end = 0;
        if (status == STATUS_OK)
            status = build_argument(builder, tool, schema, place, form->close, &end);
        end = is_glm ? constraint_breaks(builder, end, 1)
                     : constraint_text(builder, end, form->break_after);
        automaton_skip(automaton, end, next);
        from = next;
    }
    *end_out = from;
    return status;
}

/* ---- one call ---- */

static enum status build_tagged(const struct constraint_builder *builder, const struct tool *tool,
                                enum call_opening opening, uint32_t from, uint32_t *end_out)
{
    const enum tool_syntax syntax = builder->setting->style.tools;
    uint32_t place =
        opening == CALL_OPENED ? from : constraint_marker(builder, from, "<tool_call>");
    enum status status = STATUS_OK;
    if (syntax == TOOLS_JSON) {
        place = constraint_text(builder, place, "\n{\"name\": \"");
        place = constraint_text(builder, place, tool->name);
        place = constraint_text(builder, place, "\", \"arguments\": ");
        status = build_json(builder, tool, place, &place);
        place = constraint_text(builder, place, "}\n");
    } else if (syntax == TOOLS_XML) {
        place = constraint_text(builder, place, "\n<function=");
        place = constraint_text(builder, place, tool->name);
        place = constraint_text(builder, place, ">\n");
        status = build_arguments(builder, tool, false, place, &place);
        place = constraint_text(builder, place, "</function>\n");
    } else {
        place = constraint_text(builder, place, tool->name);
        place = constraint_breaks(builder, place, 1);
        status = build_arguments(builder, tool, true, place, &place);
    }
    *end_out = constraint_marker(builder, place, "</tool_call>");
    return status;
}

static enum status build_deepseek(const struct constraint_builder *builder, const struct tool *tool,
                                  uint32_t from, uint32_t *end_out)
{
    const bool is_fenced = builder->setting->style.tools == TOOLS_DEEPSEEK_V3;
    uint32_t place = constraint_marker(builder, from, DEEPSEEK_CALL_BEGIN);
    if (is_fenced)
        place = constraint_text(builder, place, "function");
    else
        place = constraint_text(builder, place, tool->name);
    place = constraint_marker(builder, place, DEEPSEEK_SEPARATOR);
    if (is_fenced) {
        place = constraint_text(builder, place, tool->name);
        place = constraint_text(builder, place, "\n```json\n");
    }
    enum status status = build_json(builder, tool, place, &place);
    if (is_fenced)
        place = constraint_text(builder, place, "\n```");
    *end_out = constraint_marker(builder, place, DEEPSEEK_CALL_END);
    return status;
}

/* Both orders of channel and recipient that gpt-oss writes. */
static enum status build_harmony(const struct constraint_builder *builder, const struct tool *tool,
                                 uint32_t from, uint32_t *end_out)
{
    const uint32_t body = automaton_state(builder->automaton);
    uint32_t place = constraint_marker(builder, from, "<|channel|>");
    place = constraint_text(builder, place, "commentary to=functions.");
    place = constraint_text(builder, place, tool->name);
    place = constraint_text(builder, place, " ");
    place = constraint_marker(builder, place, "<|constrain|>");
    place = constraint_text(builder, place, "json");
    automaton_skip(builder->automaton, constraint_marker(builder, place, "<|message|>"), body);
    place = constraint_text(builder, from, " to=functions.");
    place = constraint_text(builder, place, tool->name);
    place = constraint_marker(builder, place, "<|channel|>");
    place = constraint_text(builder, place, "commentary json");
    automaton_skip(builder->automaton, constraint_marker(builder, place, "<|message|>"), body);
    return build_json(builder, tool, body, end_out);
}

static enum status build_call(const struct constraint_builder *builder, const struct tool *tool,
                              enum call_opening opening, uint32_t from, uint32_t *end_out)
{
    switch (builder->setting->style.tools) {
    case TOOLS_JSON:
    case TOOLS_XML:
    case TOOLS_GLM:
        return build_tagged(builder, tool, opening, from, end_out);
    case TOOLS_DEEPSEEK_V3:
    case TOOLS_DEEPSEEK:
        return build_deepseek(builder, tool, from, end_out);
    case TOOLS_HARMONY:
        return build_harmony(builder, tool, from, end_out);
    case TOOLS_LLAMA: {
        uint32_t place = constraint_text(builder, from, "{\"name\": \"");
        place = constraint_text(builder, place, tool->name);
        place = constraint_text(builder, place, "\", \"parameters\": ");
        const enum status status = build_json(builder, tool, place, &place);
        *end_out = constraint_text(builder, place, "}");
        return status;
    }
    case TOOLS_NONE:
        break;
    }
    return refuse(builder->reason, STATUS_UNSUPPORTED,
                  "tool_choice: the chat template of this model shows no syntax for calls; leave "
                  "it to auto");
}

static bool is_good_name(const char *name)
{
    const size_t size = name ? strlen(name) : 0;
    for (size_t at = 0; at < size; at++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.", name[at]))
            return false;
    return size > 0 && size <= 64;
}

static enum status build_tools(const struct constraint_builder *builder, const char *name,
                               enum call_opening opening, uint32_t from, uint32_t to)
{
    bool is_found = false;
    enum status status = STATUS_OK;
    for (size_t at = 0; status == STATUS_OK && at < json_array_size(builder->setting->tools);
         at++) {
        const json_t *function =
            json_object_get(json_array_get(builder->setting->tools, at), "function");
        const json_t *parameters = json_object_get(function, "parameters");
        const bool is_strict = json_is_true(json_object_get(function, "strict"));
        const struct tool tool = {json_string_value(json_object_get(function, "name")),
                                  json_is_object(parameters) ? parameters : NULL,
                                  builder->is_lenient && !is_strict};
        if (!is_good_name(tool.name) || (name && strcmp(tool.name, name) != 0))
            continue;
        const uint32_t begin = automaton_state(builder->automaton);
        uint32_t end = 0;
        automaton_skip(builder->automaton, from, begin);
        status = build_call(builder, &tool, opening, begin, &end);
        automaton_skip(builder->automaton, end, to);
        is_found = true;
    }
    if (status == STATUS_OK && !is_found)
        return refuse(builder->reason, STATUS_INVALID,
                      "tool_choice: there is no tool %.64s in tools", name ? name : "at all");
    return status;
}

enum status constraint_tools(const struct constraint_builder *builder, const char *name,
                             bool may_repeat, enum call_opening opening, uint32_t from,
                             uint32_t *end_out)
{
    const enum tool_syntax syntax = builder->setting->style.tools;
    const bool is_deepseek = syntax == TOOLS_DEEPSEEK || syntax == TOOLS_DEEPSEEK_V3;
    struct automaton *automaton = builder->automaton;
    if (is_deepseek && opening == CALL_UNOPENED)
        from = constraint_marker(builder, from, DEEPSEEK_CALLS_BEGIN);
    const uint32_t begin = automaton_state(automaton);
    const uint32_t end = automaton_state(automaton);
    automaton_skip(automaton, from, begin);
    const enum status status = build_tools(builder, name, opening, begin, end);
    /* A named tool is called once; gpt-oss and Llama end their turn with a call. */
    if (may_repeat && !name && syntax != TOOLS_HARMONY && syntax != TOOLS_LLAMA)
        automaton_skip(automaton, constraint_breaks(builder, end, 1), begin);
    *end_out = is_deepseek ? constraint_marker(builder, end, DEEPSEEK_CALLS_END) : end;
    return status;
}
