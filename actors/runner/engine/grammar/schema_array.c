/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/grammar/schema_parts.h"

#include <stdio.h>

bool schema_count(struct schema_compiler *compiler, const json_t *schema, const char *key,
                  uint32_t otherwise, uint32_t *count_out)
{
    const json_t *value = json_object_get(schema, key);
    *count_out = otherwise;
    if (!value)
        return true;
    const bool is_whole = json_is_real(value) && json_real_value(value) >= 0 &&
                          json_real_value(value) <= 1e9 &&
                          (double)(json_int_t)json_real_value(value) >= json_real_value(value);
    const json_int_t count =
        is_whole ? (json_int_t)json_real_value(value) : json_integer_value(value);
    if ((!json_is_integer(value) && !is_whole) || count < 0 || count > 1000000000)
        return schema_fail(compiler, STATUS_INVALID, "%s must be a whole number of at least 0",
                           key);
    *count_out = (uint32_t)count;
    return true;
}

struct elements {
    const json_t *first; /* schemas of the first ones, or NULL */
    size_t first_count;
    const json_t *others;
    uint32_t others_rule;
    bool has_others;
    uint32_t least, most;
};

static bool read_elements(struct schema_compiler *compiler, const json_t *schema,
                          struct elements *elements)
{
    const json_t *items = json_object_get(schema, "items");
    *elements = (struct elements){.first = json_object_get(schema, "prefixItems"), .others = items};
    if (json_is_array(items)) { /* as before 2020: a list, then additionalItems */
        elements->first = items;
        elements->others = json_object_get(schema, "additionalItems");
    }
    if (elements->first && !json_is_array(elements->first))
        return schema_fail(compiler, STATUS_INVALID, "prefixItems must be a list of schemas");
    elements->first_count = json_array_size(elements->first);
    elements->has_others = !json_is_false(elements->others);
    if (!schema_count(compiler, schema, "minItems", 0, &elements->least) ||
        !schema_count(compiler, schema, "maxItems", UINT32_MAX, &elements->most))
        return false;
    if (!elements->has_others && elements->most > elements->first_count)
        elements->most = (uint32_t)elements->first_count;
    if (elements->least > elements->most)
        return schema_fail(compiler, STATUS_INVALID, "no list has %u to %u elements",
                           elements->least, elements->most);
    if (elements->most <= elements->first_count)
        elements->has_others = false;
    elements->others_rule = compiler->value;
    const size_t up = schema_down(compiler, "items");
    const bool good = !elements->has_others || !elements->others ||
                      schema_rule(compiler, elements->others, &elements->others_rule);
    schema_up(compiler, up);
    return good;
}

/* The element after `count` others, from one state to the next. */
static bool build_element(struct schema_compiler *compiler, const struct elements *elements,
                          uint32_t count, uint32_t from, uint32_t to)
{
    struct automaton *automaton = compiler->automaton;
    const uint32_t begin = automaton_state(automaton);
    if (count > 0)
        from = automaton_text(automaton, from, ",", 1);
    automaton_call(automaton, from, compiler->space, begin);
    if (count >= elements->first_count) {
        automaton_call(automaton, begin, elements->others_rule, to);
        return true;
    }
    char name[32];
    (void)snprintf(name, sizeof(name), "prefixItems/%u", count);
    const size_t up = schema_down(compiler, name);
    const bool good = schema_value(compiler, json_array_get(elements->first, count), begin, to);
    schema_up(compiler, up);
    return good;
}

bool schema_array(struct schema_compiler *compiler, const json_t *schema, uint32_t from,
                  uint32_t to)
{
    struct automaton *automaton = compiler->automaton;
    struct elements elements;
    if (!read_elements(compiler, schema, &elements))
        return false;
    const uint32_t last = automaton_state(automaton);
    automaton_bytes(automaton, last, ']', ']', to);
    uint32_t place = automaton_text(automaton, from, "[", 1);
    const uint32_t first_count = (uint32_t)elements.first_count;
    uint32_t counted = elements.most;
    if (elements.most == UINT32_MAX) {
        counted = elements.least > first_count ? elements.least : first_count;
        counted = counted > 0 ? counted : 1;
    }
    bool good = true;
    for (uint32_t count = 0; good && automaton->failed == STATUS_OK; count++) {
        if (count >= elements.least)
            automaton_call(automaton, place, compiler->space, last);
        if (count >= counted)
            break;
        const uint32_t next = automaton_state(automaton);
        good = build_element(compiler, &elements, count, place, next);
        place = next;
    }
    if (good && elements.most == UINT32_MAX)
        good = build_element(compiler, &elements, counted, place, place);
    return good;
}
