/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/grammar/meet.h"
#include "actors/runner/engine/grammar/schema_parts.h"
#include "protocol/memory.h"

#include <string.h>

enum { COUNTED_MAX = 1024 }; /* members that are counted one by one */

/* Before the next member: `at[n]` after n members, the last one after as many or more unless there
 * may be no more. */
struct members {
    uint32_t at[COUNTED_MAX + 1];
    uint32_t last;
    bool is_bounded;
    bool has_names; /* propertyNames; what they may be */
    struct part names;
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

/* Where the name of the next member stands, after `count` of them. */
static void begin_member(struct schema_compiler *compiler, const struct members *members,
                         uint32_t count, uint32_t begin)
{
    struct automaton *automaton = compiler->automaton;
    uint32_t place = members->at[count];
    if (place == 0)
        return; /* there is no such count */
    if (count > 0)
        place = automaton_text(automaton, place, ",", 1);
    automaton_call(automaton, place, compiler->space, begin);
}

/* Names are of those propertyNames allows. */
static bool meet_names(struct schema_compiler *compiler, const struct members *members,
                       struct part name, uint32_t from, uint32_t to)
{
    struct automaton *automaton = compiler->automaton;
    if (!members->has_names) {
        automaton_skip(automaton, from, name.from);
        automaton_skip(automaton, name.to, to);
        return true;
    }
    const enum status status = meet_build(automaton, name, members->names, from, to);
    return status == STATUS_OK ||
           schema_fail(compiler, status,
                       "propertyNames is supported with pattern, format, lengths, enum and const");
}

static struct part new_part(struct automaton *automaton)
{
    const uint32_t from = automaton_state(automaton);
    return (struct part){from, automaton_state(automaton)};
}

/* The count after one more; false: there may be none. */
static bool next_count(const struct members *members, uint32_t count, uint32_t *next_out)
{
    if (count == members->last && members->is_bounded)
        return false;
    *next_out = count < members->last ? count + 1 : count;
    return true;
}

/* One member by its name, then what may follow it. */
static bool build_member(struct schema_compiler *compiler, const char *name, const json_t *schema,
                         bool is_needed, struct members *members)
{
    struct automaton *automaton = compiler->automaton;
    struct members next = *members;
    const struct part whole = new_part(automaton); /* name and value */
    const struct part named = new_part(automaton);
    const uint32_t after_name = automaton_state(automaton);
    const uint32_t value = automaton_state(automaton);
    const uint32_t rule = members->last > 1 ? automaton_rule(automaton) : 0;
    json_t *text = json_string(name);
    const size_t up = schema_down(compiler, name);
    bool good = text && schema_literal(compiler, text, named.from, named.to) &&
                meet_names(compiler, members, named, whole.from, after_name);
    automaton_call(automaton, after_name, compiler->colon, value);
    good = good && schema_value(compiler, schema, value, whole.to);
    schema_up(compiler, up);
    json_decref(text);
    for (uint32_t count = 0; count <= members->last; count++)
        next.at[count] = automaton_state(automaton);
    if (rule) { /* one member for all counts */
        automaton_skip(automaton, automaton->rules[rule].start, whole.from);
        automaton_skip(automaton, whole.to, automaton->rules[rule].end);
    }
    uint32_t reached = 0;
    for (uint32_t count = 0; count <= members->last && automaton->failed == STATUS_OK; count++) {
        if (!is_needed && members->at[count])
            automaton_skip(automaton, members->at[count], next.at[count]);
        if (!next_count(members, count, &reached))
            continue;
        const uint32_t begin = rule ? automaton_state(automaton) : whole.from;
        begin_member(compiler, members, count, begin);
        if (rule)
            automaton_call(automaton, begin, rule, next.at[reached]);
        else
            automaton_skip(automaton, whole.to, next.at[reached]);
    }
    if (is_needed)
        next.at[0] = 0;
    memcpy(members->at, next.at, sizeof(next.at));
    return good;
}

/* Members of names that are not in `names`. */
static bool build_others(struct schema_compiler *compiler, const json_t *names,
                         const json_t *schema, struct members *members)
{
    struct automaton *automaton = compiler->automaton;
    const uint32_t rule = automaton_rule(automaton);
    const struct part named = new_part(automaton);
    const uint32_t after_name = automaton_state(automaton);
    const uint32_t value = automaton_state(automaton);
    if (automaton->failed != STATUS_OK)
        return true; /* told when it is closed */
    const size_t up = schema_down(compiler, "additionalProperties");
    bool good = schema_other_name(compiler, names, named.from, named.to) &&
                meet_names(compiler, members, named, automaton->rules[rule].start, after_name) &&
                schema_value(compiler, schema, value, automaton->rules[rule].end);
    automaton_call(automaton, after_name, compiler->colon, value);
    schema_up(compiler, up);
    uint32_t reached = 0;
    for (uint32_t count = 0; count <= members->last && automaton->failed == STATUS_OK; count++) {
        if (!next_count(members, count, &reached))
            continue;
        const uint32_t begin = automaton_state(automaton);
        begin_member(compiler, members, count, begin);
        automaton_call(automaton, begin, rule, members->at[reached]);
    }
    return good;
}

/* How many members are counted.  Others are not told apart from each other: a name may come twice,
 * which is one member. */
static bool read_counts(struct schema_compiler *compiler, const json_t *schema, size_t needed,
                        bool has_others, uint32_t *least_out, struct members *members)
{
    uint32_t most = UINT32_MAX;
    if (!schema_count(compiler, schema, "minProperties", 0, least_out) ||
        !schema_count(compiler, schema, "maxProperties", UINT32_MAX, &most))
        return false;
    if (has_others && *least_out > 1 && *least_out > needed)
        return schema_fail(compiler, STATUS_UNSUPPORTED,
                           "minProperties above 1 beside additionalProperties is supported only up "
                           "to the number of required members");
    if (*least_out <= needed)
        *least_out = 0;
    members->is_bounded = most != UINT32_MAX;
    members->last = members->is_bounded ? most : *least_out > 1 ? *least_out : 1;
    if (members->last > COUNTED_MAX)
        return schema_fail(compiler, STATUS_TOO_LARGE, "%s is above %d",
                           members->is_bounded ? "maxProperties" : "minProperties", COUNTED_MAX);
    return true;
}

/* Each once. */
static size_t count_names(const json_t *required)
{
    json_t *once = json_object();
    for (size_t at = 0; at < json_array_size(required); at++)
        (void)json_object_set_new(once, json_string_value(json_array_get(required, at)),
                                  json_null());
    const size_t count = json_object_size(once);
    json_decref(once);
    return count;
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

/* What propertyNames says, as a part without calls. */
static bool build_names(struct schema_compiler *compiler, const json_t *schema,
                        struct members *members)
{
    const json_t *names = json_object_get(schema, "propertyNames");
    if (!names || schema_is_any(names))
        return true;
    json_t *text = json_pack("{s:s}", "type", "string");
    json_t *merged = text ? schema_merge(compiler, names, text) : NULL;
    json_decref(text);
    if (!merged || json_array_append_new(compiler->merged, merged) != 0)
        return schema_fail(compiler, STATUS_NO_MEMORY, "no memory");
    if (json_object_size(merged) == 1)
        return true; /* any text */
    members->has_names = true;
    members->names = new_part(compiler->automaton);
    const size_t up = schema_down(compiler, "propertyNames");
    compiler->without_calls = true;
    const bool good = schema_value(compiler, merged, members->names.from, members->names.to);
    compiler->without_calls = false;
    schema_up(compiler, up);
    return good;
}

static bool build_members(struct schema_compiler *compiler, const json_t *schema, json_t *named,
                          const json_t *others, uint32_t least, struct members *members,
                          uint32_t to)
{
    struct automaton *automaton = compiler->automaton;
    const bool good = build_names(compiler, schema, members) &&
                      build_named(compiler, named, json_object_get(schema, "required"), members) &&
                      (json_is_false(others) || build_others(compiler, named, others, members));
    const uint32_t last = automaton_state(automaton);
    for (uint32_t count = least; count <= members->last && automaton->failed == STATUS_OK; count++)
        if (members->at[count])
            automaton_call(automaton, members->at[count], compiler->space, last);
    automaton_bytes(automaton, last, '}', '}', to);
    return good;
}

bool schema_object(struct schema_compiler *compiler, const json_t *schema, uint32_t from,
                   uint32_t to)
{
    struct automaton *automaton = compiler->automaton;
    if (!check_shape(compiler, schema))
        return false;
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
    struct members *members = memory_zeroed(1, sizeof(*members));
    if (!members)
        return schema_fail(compiler, STATUS_NO_MEMORY, "no memory");
    bool good = read_counts(compiler, schema, count_names(json_object_get(schema, "required")),
                            !json_is_false(others), &least, members);
    if (good) {
        members->at[0] = automaton_text(automaton, from, "{", 1);
        for (uint32_t count = 1; count <= members->last; count++)
            members->at[count] = automaton_state(automaton);
        good = build_members(compiler, schema, named, others, least, members, to);
    }
    memory_free(members);
    return good;
}
