/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/grammar/schema_parts.h"

#include <string.h>

/* Before the next member: none was written yet, or some were and a comma comes first. */
struct members {
    uint32_t none;
    uint32_t some;
};

static bool is_required(const json_t *required, const char *name)
{
    for (size_t at = 0; at < json_array_size(required); at++) {
        const char *one = json_string_value(json_array_get(required, at));
        if (one && strcmp(one, name) == 0)
            return true;
    }
    return false;
}

/* Where the name of the next member stands. */
static uint32_t begin_member(struct schema_compiler *compiler, const struct members *before)
{
    struct automaton *automaton = compiler->automaton;
    const uint32_t begin = automaton_state(automaton);
    if (before->none)
        automaton_call(automaton, before->none, compiler->space, begin);
    const uint32_t comma = automaton_text(automaton, before->some, ",", 1);
    automaton_call(automaton, comma, compiler->space, begin);
    return begin;
}

static bool build_value(struct schema_compiler *compiler, const json_t *schema, uint32_t from,
                        uint32_t to)
{
    const uint32_t value = automaton_state(compiler->automaton);
    automaton_call(compiler->automaton, from, compiler->colon, value);
    return schema_value(compiler, schema, value, to);
}

/* One member by its name, then what may follow it. */
static bool build_member(struct schema_compiler *compiler, const char *name, const json_t *schema,
                         bool is_needed, struct members *members)
{
    struct automaton *automaton = compiler->automaton;
    json_t *text = json_string(name);
    const uint32_t begin = begin_member(compiler, members);
    const uint32_t named = automaton_state(automaton);
    const struct members next = {is_needed ? 0 : automaton_state(automaton),
                                 automaton_state(automaton)};
    const size_t up = schema_down(compiler, name);
    const bool good = text && schema_literal(compiler, text, begin, named) &&
                      build_value(compiler, schema, named, next.some);
    schema_up(compiler, up);
    json_decref(text);
    if (!is_needed) {
        if (members->none)
            automaton_skip(automaton, members->none, next.none);
        automaton_skip(automaton, members->some, next.some);
    }
    *members = (struct members){members->none ? next.none : 0, next.some};
    return good;
}

/* Up to `most` members of names that are not in `names`. */
static bool build_others(struct schema_compiler *compiler, const json_t *names,
                         const json_t *schema, uint32_t most, struct members *members)
{
    struct automaton *automaton = compiler->automaton;
    uint32_t rule = 0;
    const size_t up = schema_down(compiler, "additionalProperties");
    bool good = schema_rule(compiler, schema, &rule);
    schema_up(compiler, up);
    for (uint32_t count = 0;
         good && count < (most == UINT32_MAX ? 1 : most) && automaton->failed == STATUS_OK;
         count++) {
        const uint32_t begin = begin_member(compiler, members);
        const uint32_t named = automaton_state(automaton);
        const uint32_t value = automaton_state(automaton);
        const uint32_t end = most == UINT32_MAX ? members->some : automaton_state(automaton);
        good = schema_other_name(compiler, names, begin, named);
        automaton_call(automaton, named, compiler->colon, value);
        automaton_call(automaton, value, rule, end);
        if (most == UINT32_MAX)
            break;
        automaton_skip(automaton, members->some, end); /* fewer */
        if (members->none) {
            const uint32_t none = automaton_state(automaton);
            automaton_skip(automaton, members->none, none);
            members->none = none;
        }
        members->some = end;
    }
    return good;
}

/* Counts that say something only where members can be counted. */
static bool check_counts(struct schema_compiler *compiler, const json_t *schema, size_t listed,
                         size_t needed, bool has_others, uint32_t *least_out, uint32_t *most_out)
{
    if (!schema_count(compiler, schema, "minProperties", 0, least_out) ||
        !schema_count(compiler, schema, "maxProperties", UINT32_MAX, most_out))
        return false;
    if (*least_out > 1 && *least_out > needed)
        return schema_fail(compiler, STATUS_UNSUPPORTED,
                           "minProperties above 1 is supported only up to the number of required "
                           "members");
    if (*most_out != UINT32_MAX && listed > 0 && (has_others || *most_out < listed))
        return schema_fail(compiler, STATUS_UNSUPPORTED,
                           "maxProperties beside properties is not supported");
    return true;
}

static bool check_shape(struct schema_compiler *compiler, const json_t *schema)
{
    const json_t *properties = json_object_get(schema, "properties");
    const json_t *required = json_object_get(schema, "required");
    if (properties && !json_is_object(properties))
        return schema_fail(compiler, STATUS_INVALID, "properties must be an object");
    if (required && !json_is_array(required))
        return schema_fail(compiler, STATUS_INVALID, "required must be a list of names");
    for (size_t at = 0; at < json_array_size(required); at++)
        if (!json_is_string(json_array_get(required, at)))
            return schema_fail(compiler, STATUS_INVALID, "required must be a list of names");
    return true;
}

/* The members that are named: by properties, and those required without being described. */
static json_t *named_members(const json_t *schema, const json_t *others)
{
    const json_t *properties = json_object_get(schema, "properties");
    const json_t *required = json_object_get(schema, "required");
    json_t *named = properties ? json_copy((json_t *)(uintptr_t)properties) : json_object();
    for (size_t at = 0; named && at < json_array_size(required); at++) {
        const char *name = json_string_value(json_array_get(required, at));
        if (!json_object_get(named, name) &&
            json_object_set(named, name, (json_t *)(uintptr_t)others) != 0) {
            json_decref(named);
            return NULL;
        }
    }
    return named;
}

static bool build_named(struct schema_compiler *compiler, json_t *named, const json_t *required,
                        struct members *members)
{
    const char *name = NULL;
    json_t *property = NULL;
    bool good = true;
    const size_t up = schema_down(compiler, "properties");
    json_object_foreach(named, name, property)
    {
        good = good && build_member(compiler, name, property, is_required(required, name), members);
    }
    schema_up(compiler, up);
    return good;
}

bool schema_object(struct schema_compiler *compiler, const json_t *schema, uint32_t from,
                   uint32_t to)
{
    struct automaton *automaton = compiler->automaton;
    if (!check_shape(compiler, schema))
        return false;
    const json_t *required = json_object_get(schema, "required");
    const json_t *asked = json_object_get(schema, "additionalProperties");
    json_t *others = asked ? json_incref((json_t *)(uintptr_t)asked)
                           : json_boolean(!json_object_get(schema, "properties"));
    json_t *named = named_members(schema, asked ? others : json_true());
    if (!named || json_array_append_new(compiler->merged, named) != 0 ||
        json_array_append(compiler->merged, others) != 0) {
        json_decref(others);
        return schema_fail(compiler, STATUS_NO_MEMORY, "no memory");
    }
    json_decref(others); /* the list keeps it */
    uint32_t least = 0;
    uint32_t most = UINT32_MAX;
    const bool has_others = !json_is_false(others);
    if (!check_counts(compiler, schema, json_object_size(named), json_array_size(required),
                      has_others, &least, &most))
        return false;
    struct members members = {automaton_text(automaton, from, "{", 1), automaton_state(automaton)};
    if (!build_named(compiler, named, required, &members))
        return false;
    if (has_others && !build_others(compiler, named, others, most, &members))
        return false;
    const uint32_t last = automaton_state(automaton);
    if (members.none && least == 0)
        automaton_call(automaton, members.none, compiler->space, last);
    automaton_call(automaton, members.some, compiler->space, last);
    automaton_bytes(automaton, last, '}', '}', to);
    return true;
}
