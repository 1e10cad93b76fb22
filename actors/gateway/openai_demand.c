/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/gateway/openai_fields.h"

#include <stdio.h>
#include <string.h>

/* What a request says of the form of its answer, by whichever field; at most one may. */
struct demand {
    json_t *json; /* as the runner takes it; NULL: none */
    const char *field;
    bool has_one_call; /* parallel_tool_calls is false */
    struct http_fault *fault_out;
};

/* Takes `json`. */
static bool demand_set(struct demand *demand, const char *field, json_t *json)
{
    if (!json)
        return http_fault_set(demand->fault_out, 503, "no_memory", "No memory for the request.");
    if (demand->json && strcmp(demand->field, "tool_choice") == 0 &&
        strcmp(field, "response_format") == 0) {
        json_decref(json); /* it speaks of an answer, and this one is a call */
        return true;
    }
    if (demand->json) {
        json_decref(json);
        return http_fault_set_param(demand->fault_out, 400, "invalid_value", field,
                                    "%s and %s both ask for a form of the answer; send one.",
                                    demand->field, field);
    }
    demand->json = json;
    demand->field = field;
    return true;
}

static bool demand_schema(struct demand *demand, const char *field, const json_t *schema)
{
    if (!json_is_object(schema) && !json_is_boolean(schema))
        return field_is_wrong(demand->fault_out, field, "a JSON schema");
    return demand_set(demand, field,
                      json_pack("{s:s,s:O}", "type", "json_schema", "schema", schema));
}

static bool demand_pattern(struct demand *demand, const char *field, const json_t *pattern)
{
    if (!json_is_string(pattern))
        return field_is_wrong(demand->fault_out, field, "a regular expression");
    return demand_set(demand, field, json_pack("{s:s,s:O}", "type", "regex", "pattern", pattern));
}

static bool demand_choice(struct demand *demand, const char *field, const json_t *choices)
{
    bool is_good = json_array_size(choices) > 0;
    for (size_t i = 0; i < json_array_size(choices); i++)
        is_good = is_good && json_is_string(json_array_get(choices, i));
    if (!is_good)
        return field_is_wrong(demand->fault_out, field, "a list of texts");
    return demand_set(demand, field, json_pack("{s:s,s:O}", "type", "choice", "choices", choices));
}

/* ---- response_format ---- */

static bool read_format(struct demand *demand, const json_t *format)
{
    static const char field[] = "response_format";
    const char *type = json_string_value(json_object_get(format, "type"));
    if (!type)
        return field_is_wrong(demand->fault_out, field, "an object with a type");
    if (strcmp(type, "text") == 0)
        return true;
    if (strcmp(type, "json_object") == 0)
        return demand_set(demand, field, json_pack("{s:s}", "type", "json_object"));
    if (strcmp(type, "json_schema") != 0)
        return field_is_unsupported(demand->fault_out, field,
                                    "its type must be text, json_object or json_schema");
    const json_t *named = json_object_get(format, "json_schema");
    const json_t *strict = json_object_get(named, "strict");
    if (!json_is_object(named) || !json_object_get(named, "schema"))
        return field_is_wrong(demand->fault_out, field,
                              "an object with json_schema.name and json_schema.schema");
    if (strict && !json_is_boolean(strict) && !json_is_null(strict))
        return field_is_wrong(demand->fault_out, "response_format.json_schema.strict",
                              "true or false");
    /* Kept to the letter, strict or not. */
    return demand_schema(demand, field, json_object_get(named, "schema"));
}

/* ---- tool_choice ---- */

static bool has_tool(const json_t *tools, const char *name)
{
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const json_t *function = json_object_get(json_array_get(tools, i), "function");
        const char *known = json_string_value(json_object_get(function, "name"));
        if (known && strcmp(known, name) == 0)
            return true;
    }
    return false;
}

static bool read_choice(struct demand *demand, const json_t *root, const json_t *choice)
{
    static const char field[] = "tool_choice";
    const json_t *tools = json_object_get(root, "tools");
    const char *word = json_string_value(choice);
    const char *type = json_string_value(json_object_get(choice, "type"));
    const char *name =
        json_string_value(json_object_get(json_object_get(choice, "function"), "name"));
    if (word && (strcmp(word, "none") == 0 || strcmp(word, "auto") == 0))
        return true;
    const bool is_named = type && strcmp(type, "function") == 0 && name;
    if (!is_named && !(word && strcmp(word, "required") == 0))
        return field_is_unsupported(demand->fault_out, field,
                                    "it is none, auto, required or a function by its name");
    if (json_array_size(tools) == 0)
        return field_is_wrong(demand->fault_out, field, "left out where no tools are given");
    if (is_named && !has_tool(tools, name))
        return field_is_wrong(demand->fault_out, field, "the name of one of the tools");
    return demand_set(demand, field,
                      is_named ? json_pack("{s:s,s:s}", "type", "tools", "name", name)
                               : json_pack("{s:s}", "type", "tools"));
}

static bool read_parallel(struct demand *demand, const json_t *parallel)
{
    static const char field[] = "parallel_tool_calls";
    bool is_parallel = true;
    if (!parallel || json_is_null(parallel))
        return true;
    if (!field_bool(parallel, field, &is_parallel, demand->fault_out))
        return false;
    demand->has_one_call = !is_parallel;
    return true;
}

/* A tool is strict: what it is called with keeps to its schema. */
static bool has_strict(const json_t *tools)
{
    for (size_t i = 0; i < json_array_size(tools); i++)
        if (json_is_true(json_object_get(
                json_object_get(json_array_get(tools, i), "function"), "strict")))
            return true;
    return false;
}

/* What tools ask of an answer that may call them: that its calls keep to the schemas, that the
 * first is the last; of a form that allows calls, or of any answer. */
static bool demand_calls(struct demand *demand, const json_t *root)
{
    const json_t *tools = json_object_get(root, "tools");
    const char *choice = json_string_value(json_object_get(root, "tool_choice"));
    const bool is_strict = has_strict(tools);
    if (json_array_size(tools) == 0 || (choice && strcmp(choice, "none") == 0) ||
        (!is_strict && !demand->has_one_call))
        return true;
    if (!demand->json && !demand_set(demand, is_strict ? "tools" : "parallel_tool_calls",
                                     json_pack("{s:s}", "type", "auto")))
        return false;
    return ((!is_strict || json_object_set_new(demand->json, "strict", json_true()) == 0) &&
            (!demand->has_one_call ||
             json_object_set_new(demand->json, "parallel", json_false()) == 0)) ||
           http_fault_set(demand->fault_out, 503, "no_memory", "No memory for the request.");
}

/* ---- what vLLM calls them ---- */

static bool read_structured(struct demand *demand, const json_t *outputs)
{
    const char *key = NULL;
    json_t *value = NULL;
    if (!json_is_object(outputs))
        return field_is_wrong(demand->fault_out, "structured_outputs", "an object");
    json_object_foreach((json_t *)(uintptr_t)outputs, key, value)
    {
        bool is_good = true;
        if (json_is_null(value) || json_is_false(value))
            continue;
        if (strcmp(key, "json") == 0)
            is_good = demand_schema(demand, "structured_outputs.json", value);
        else if (strcmp(key, "regex") == 0)
            is_good = demand_pattern(demand, "structured_outputs.regex", value);
        else if (strcmp(key, "choice") == 0)
            is_good = demand_choice(demand, "structured_outputs.choice", value);
        else if (strcmp(key, "json_object") == 0)
            is_good = demand_set(demand, "structured_outputs.json_object",
                                 json_pack("{s:s}", "type", "json_object"));
        else
            return http_fault_set_param(demand->fault_out, 400, "unsupported_parameter",
                                        "structured_outputs",
                                        "structured_outputs.%.40s is not supported; json, "
                                        "json_object, regex and choice are.",
                                        key);
        if (!is_good)
            return false;
    }
    return true;
}

static const json_t *given(const json_t *root, const char *field)
{
    const json_t *value = json_object_get(root, field);
    return json_is_null(value) ? NULL : value;
}

static bool read_all(struct demand *demand, const json_t *root)
{
    const json_t *value = given(root, "tool_choice");
    if (value && !read_choice(demand, root, value))
        return false;
    if (!read_parallel(demand, given(root, "parallel_tool_calls")))
        return false;
    value = given(root, "response_format");
    if (value && !read_format(demand, value))
        return false;
    value = given(root, "structured_outputs");
    if (value && !read_structured(demand, value))
        return false;
    value = given(root, "guided_json");
    if (value && !demand_schema(demand, "guided_json", value))
        return false;
    value = given(root, "guided_regex");
    if (value && !demand_pattern(demand, "guided_regex", value))
        return false;
    value = given(root, "guided_choice");
    if (value && !demand_choice(demand, "guided_choice", value))
        return false;
    return !given(root, "guided_grammar") ||
           field_is_unsupported(demand->fault_out, "guided_grammar",
                                "send a JSON schema, guided_regex or guided_choice");
}

static bool check_size(const char *json, const char *field, struct http_fault *fault_out)
{
    return strlen(json) <= DEMAND_SIZE_MAX ||
           http_fault_set_param(fault_out, 413, "too_large", field, "%s is larger than %u bytes.",
                                field, DEMAND_SIZE_MAX);
}

bool openai_parse_demand(const json_t *root, char **json_out, const char **field_out,
                         struct http_fault *fault_out)
{
    struct demand demand = {.fault_out = fault_out};
    bool is_good = read_all(&demand, root);
    is_good = is_good && demand_calls(&demand, root);
    if (is_good && demand.json) {
        *field_out = demand.field;
        is_good = json_to_text(demand.json, demand.field, json_out, fault_out) &&
                  check_size(*json_out, demand.field, fault_out);
    }
    json_decref(demand.json);
    return is_good;
}
