/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/grammar/schema_parts.h"

#include <string.h>

bool schema_is_annotation(const char *key)
{
    static const char *const known[] = {"title",
                                        "description",
                                        "default",
                                        "examples",
                                        "example",
                                        "$schema",
                                        "$id",
                                        "id",
                                        "$comment",
                                        "deprecated",
                                        "readOnly",
                                        "writeOnly",
                                        "$defs",
                                        "definitions",
                                        "discriminator",
                                        "$anchor",
                                        "xml",
                                        "contentEncoding",
                                        "contentMediaType",
                                        "externalDocs"};
    for (size_t at = 0; at < COUNT_OF(known); at++)
        if (strcmp(key, known[at]) == 0)
            return true;
    return strncmp(key, "x-", 2) == 0;
}

json_t *schema_without(const json_t *schema, const char *key)
{
    json_t *rest = json_object();
    for (void *at = json_object_iter((json_t *)(uintptr_t)schema); at && rest;
         at = json_object_iter_next((json_t *)(uintptr_t)schema, at)) {
        const char *name = json_object_iter_key(at);
        if (strcmp(name, key) == 0 || schema_is_annotation(name))
            continue;
        if (json_object_set(rest, name, json_object_iter_value(at)) != 0) {
            json_decref(rest);
            return NULL;
        }
    }
    return rest;
}

/* ---- what two keywords of one name say together; a new reference or NULL ---- */

typedef json_t *both_of(struct schema_compiler *compiler, const json_t *left, const json_t *right);

static json_t *kept(const json_t *value)
{
    return json_incref((json_t *)(uintptr_t)value);
}

static json_t *greater(struct schema_compiler *compiler, const json_t *left, const json_t *right)
{
    (void)compiler;
    return kept(json_number_value(left) >= json_number_value(right) ? left : right);
}

static json_t *lesser(struct schema_compiler *compiler, const json_t *left, const json_t *right)
{
    (void)compiler;
    return kept(json_number_value(left) <= json_number_value(right) ? left : right);
}

static json_t *same(struct schema_compiler *compiler, const json_t *left, const json_t *right)
{
    (void)compiler;
    return json_equal(left, right) ? kept(left) : NULL;
}

static bool lists(const json_t *list, const json_t *value)
{
    for (size_t at = 0; at < json_array_size(list); at++)
        if (json_equal(json_array_get(list, at), value))
            return true;
    return false;
}

static json_t *listed_in_both(struct schema_compiler *compiler, const json_t *left,
                              const json_t *right)
{
    json_t *result = json_array();
    (void)compiler;
    for (size_t at = 0; result && at < json_array_size(left); at++)
        if (lists(right, json_array_get(left, at)))
            (void)json_array_append(result, json_array_get(left, at));
    if (json_array_size(result) > 0)
        return result;
    json_decref(result);
    return NULL;
}

static json_t *listed_in_any(struct schema_compiler *compiler, const json_t *left,
                             const json_t *right)
{
    (void)compiler;
    json_t *result = json_copy((json_t *)(uintptr_t)left);
    for (size_t at = 0; result && at < json_array_size(right); at++)
        if (!lists(left, json_array_get(right, at)))
            (void)json_array_append(result, json_array_get(right, at));
    return result;
}

static json_t *as_list(const json_t *type)
{
    return json_is_array(type) ? kept(type) : json_pack("[O]", type);
}

static json_t *both_types(struct schema_compiler *compiler, const json_t *left, const json_t *right)
{
    json_t *one = as_list(left);
    json_t *other = as_list(right);
    json_t *integer = json_string("integer");
    json_t *number = json_string("number");
    json_t *result = listed_in_both(compiler, one, other);
    result = result ? result : json_array();
    const bool is_whole = (lists(one, integer) && lists(other, number)) ||
                          (lists(one, number) && lists(other, integer));
    if (is_whole && !lists(result, integer) && !lists(result, number))
        (void)json_array_append(result, integer);
    json_decref(one);
    json_decref(other);
    json_decref(integer);
    json_decref(number);
    if (json_array_size(result) > 0)
        return result;
    json_decref(result);
    return NULL;
}

/* Both hold: a list that begins with null, which no schema of a client has. */
static json_t *both_texts(struct schema_compiler *compiler, const json_t *left, const json_t *right)
{
    json_t *one = json_is_array(left) ? kept(left) : json_pack("[n,O]", left);
    json_t *other = json_is_array(right) ? kept(right) : json_pack("[n,O]", right);
    json_t *result = listed_in_any(compiler, one, other);
    json_decref(one);
    json_decref(other);
    if (json_array_size(result) != 2)
        return result;
    json_t *single = kept(json_array_get(result, 1));
    json_decref(result);
    return single;
}

static json_t *all_of(struct schema_compiler *compiler, const json_t *left, const json_t *right)
{
    (void)compiler;
    if (json_equal(left, right) || schema_is_any(right))
        return kept(left);
    if (schema_is_any(left))
        return kept(right);
    if (json_is_false(left) || json_is_false(right))
        return json_false();
    return json_pack("{s:[O,O]}", "allOf", left, right);
}

static json_t *pairs_of(struct schema_compiler *compiler, const json_t *left, const json_t *right)
{
    if (json_array_size(left) * json_array_size(right) > 256)
        return NULL;
    json_t *result = json_array();
    for (size_t one = 0; result && one < json_array_size(left); one++)
        for (size_t other = 0; other < json_array_size(right); other++)
            (void)json_array_append_new(
                result, all_of(compiler, json_array_get(left, one), json_array_get(right, other)));
    return result;
}

static json_t *both_properties(struct schema_compiler *compiler, const json_t *left,
                               const json_t *right)
{
    json_t *result = json_copy((json_t *)(uintptr_t)left);
    for (void *at = json_object_iter((json_t *)(uintptr_t)right); at && result;
         at = json_object_iter_next((json_t *)(uintptr_t)right, at)) {
        const char *name = json_object_iter_key(at);
        const json_t *known = json_object_get(left, name);
        (void)json_object_set_new(result, name,
                                  known ? all_of(compiler, known, json_object_iter_value(at))
                                        : kept(json_object_iter_value(at)));
    }
    return result;
}

static const struct {
    const char *key;
    both_of *both;
} keywords[] = {
    {"type", both_types},
    {"properties", both_properties},
    {"required", listed_in_any},
    {"additionalProperties", all_of},
    {"items", all_of},
    {"minItems", greater},
    {"maxItems", lesser},
    {"minProperties", greater},
    {"maxProperties", lesser},
    {"minLength", greater},
    {"maxLength", lesser},
    {"minimum", greater},
    {"maximum", lesser},
    {"exclusiveMinimum", greater},
    {"exclusiveMaximum", lesser},
    {"enum", listed_in_both},
    {"const", same},
    {"pattern", both_texts},
    {"format", both_texts},
    {"propertyNames", all_of},
    {"multipleOf", same},
    {"nullable", same},
    {"anyOf", pairs_of},
    {"oneOf", pairs_of},
};

/* ---- two schemas ---- */

/* The members of `side` that the other does not name meet the other's additionalProperties. */
static bool bound_members(struct schema_compiler *compiler, json_t *side, const json_t *other)
{
    const json_t *bound = json_object_get(other, "additionalProperties");
    const json_t *properties = json_object_get(side, "properties");
    const json_t *known = json_object_get(other, "properties");
    if (!bound || schema_is_any(bound) || !properties)
        return true;
    json_t *bounded = json_object();
    bool good = bounded != NULL;
    for (void *at = json_object_iter((json_t *)(uintptr_t)properties); at && good;
         at = json_object_iter_next((json_t *)(uintptr_t)properties, at)) {
        const char *name = json_object_iter_key(at);
        json_t *value = json_object_iter_value(at);
        if (json_object_get(known, name))
            good = json_object_set(bounded, name, value) == 0;
        else if (!json_is_false(bound))
            good = json_object_set_new(bounded, name, all_of(compiler, value, bound)) == 0;
    }
    return good && json_object_set_new(side, "properties", bounded) == 0;
}

/* The schemas of the first elements, as before or after 2020; NULL: none. */
static const json_t *first_elements(const json_t *schema)
{
    const json_t *items = json_object_get(schema, "items");
    return json_is_array(items) ? items : json_object_get(schema, "prefixItems");
}

/* What the others must be; NULL: anything. */
static const json_t *other_elements(const json_t *schema)
{
    const json_t *items = json_object_get(schema, "items");
    return json_is_array(items) ? json_object_get(schema, "additionalItems") : items;
}

static json_t *element_of(struct schema_compiler *compiler, const json_t *left, const json_t *right)
{
    if (left && right)
        return all_of(compiler, left, right);
    return left || right ? kept(left ? left : right) : json_true();
}

/* An element meets what each side says of its place. */
static bool bound_elements(struct schema_compiler *compiler, json_t *left, json_t *right)
{
    const json_t *first[] = {first_elements(left), first_elements(right)};
    const json_t *others[] = {other_elements(left), other_elements(right)};
    if (!first[0] && !first[1])
        return true;
    const size_t counts[] = {json_array_size(first[0]), json_array_size(first[1])};
    json_t *both = json_array();
    json_t *rest = element_of(compiler, others[0], others[1]);
    for (size_t at = 0; both && at < (counts[0] > counts[1] ? counts[0] : counts[1]); at++) {
        const json_t *one = at < counts[0] ? json_array_get(first[0], at) : others[0];
        const json_t *other = at < counts[1] ? json_array_get(first[1], at) : others[1];
        (void)json_array_append_new(both, element_of(compiler, one, other));
    }
    static const char *const keys[] = {"prefixItems", "items", "additionalItems"};
    for (size_t at = 0; at < COUNT_OF(keys); at++) {
        (void)json_object_del(left, keys[at]);
        (void)json_object_del(right, keys[at]);
    }
    const bool good = json_object_set_new(left, "prefixItems", both) == 0;
    return json_object_set_new(left, "items", rest) == 0 && good;
}

static json_t *merge_keys(struct schema_compiler *compiler, json_t *left, json_t *right)
{
    const char *key = NULL;
    json_t *value = NULL;
    if (json_is_false(left) || json_is_false(right))
        return json_false();
    if (!bound_members(compiler, left, right) || !bound_members(compiler, right, left) ||
        !bound_elements(compiler, left, right))
        return NULL;
    json_object_foreach(right, key, value)
    {
        const json_t *before = json_object_get(left, key);
        json_t *both = before ? NULL : kept(value);
        for (size_t at = 0; before && at < COUNT_OF(keywords); at++)
            if (strcmp(keywords[at].key, key) == 0)
                both = keywords[at].both(compiler, before, value);
        if (!both) {
            (void)schema_fail(compiler, STATUS_UNSUPPORTED,
                              "allOf, or what stands beside a $ref or anyOf: the two values of "
                              "%.48s cannot be merged",
                              key);
            return NULL;
        }
        if (json_object_set_new(left, key, both) != 0)
            return NULL;
    }
    return kept(left);
}

static json_t *spelled_out(struct schema_compiler *compiler, const json_t *schema);

/* Takes `left`. */
static json_t *merged_with(struct schema_compiler *compiler, json_t *left, const json_t *schema)
{
    json_t *right = left ? spelled_out(compiler, schema) : NULL;
    json_t *both = right ? merge_keys(compiler, left, right) : NULL;
    json_decref(left);
    json_decref(right);
    return both;
}

/* A copy, with what the schema refers to and demands by allOf written into it; or false. */
static json_t *spelled_out(struct schema_compiler *compiler, const json_t *schema)
{
    if (json_is_true(schema))
        return json_object();
    if (json_is_false(schema))
        return json_false();
    if (!json_is_object(schema)) {
        (void)schema_fail(compiler, STATUS_INVALID, "a schema must be an object, true or false");
        return NULL;
    }
    if (compiler->depth >= SCHEMA_DEPTH_MAX || ++compiler->merges > SCHEMA_MERGES_MAX) {
        (void)schema_fail(compiler, STATUS_TOO_LARGE,
                          "merging what allOf and $ref demand does not end");
        return NULL;
    }
    const json_t *reference = json_object_get(schema, "$ref");
    const json_t *parts = json_object_get(schema, "allOf");
    json_t *result = schema_without(schema, reference ? "$ref" : "allOf");
    compiler->depth++;
    if (reference) {
        const json_t *target = schema_resolve(compiler, json_string_value(reference));
        json_t *rest = result;
        result = target ? spelled_out(compiler, target) : NULL;
        result = merged_with(compiler, result, rest);
        json_decref(rest);
    } else {
        for (size_t at = 0; result && at < json_array_size(parts); at++)
            result = merged_with(compiler, result, json_array_get(parts, at));
    }
    compiler->depth--;
    return result;
}

json_t *schema_merge(struct schema_compiler *compiler, const json_t *left, const json_t *right)
{
    return merged_with(compiler, spelled_out(compiler, left), right);
}
