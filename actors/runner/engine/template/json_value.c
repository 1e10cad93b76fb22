/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/template/json_value.h"

#include <string.h>

static bool text_value(struct rendering *rendering, const char *bytes, size_t size,
                       struct value *value_out)
{
    char *copy = rendering_take(rendering, size + 1);
    if (!copy)
        return false;
    memcpy(copy, bytes, size);
    *value_out = value_string(copy, size);
    return true;
}

/* A whole number that jansson could not keep. */
static bool is_digits(const json_t *json)
{
    const char *text = json_string_value(json);
    const size_t size = json_string_length(json);
    const size_t head = size > 1 && text[1] == '-' ? 2 : 1;
    return size > head && text[0] == JSON_DIGITS_MARK &&
           strspn(text + head, "0123456789") == size - head;
}

static bool array_value(struct rendering *rendering, const json_t *json,
                        struct value *value_out)
{
    size_t count = json_array_size(json);
    struct list *list = list_new(rendering, count);
    for (size_t index = 0; list && index < count; index++) {
        struct value item;
        if (!json_value(rendering, json_array_get(json, index), &item) ||
            !list_push(rendering, list, item))
            return false;
    }
    *value_out = value_of_list(VALUE_LIST, list);
    return list != NULL;
}

static bool object_value(struct rendering *rendering, const json_t *json,
                         struct value *value_out)
{
    json_t *object = (json_t *)(uintptr_t)json;
    struct dict *dict = dict_new(rendering, json_object_size(json));
    if (!dict)
        return false;
    for (void *at = json_object_iter(object); at; at = json_object_iter_next(object, at)) {
        struct value key, value;
        if (!text_value(rendering, json_object_iter_key(at), json_object_iter_key_len(at), &key) ||
            !json_value(rendering, json_object_iter_value(at), &value) ||
            !dict_put(rendering, dict, key, value))
            return false;
    }
    *value_out = value_of_dict(dict);
    return true;
}

bool json_value(struct rendering *rendering, const json_t *json, struct value *value_out)
{
    if (json_is_string(json) && is_digits(json)) {
        if (!text_value(rendering, json_string_value(json) + 1, json_string_length(json) - 1,
                        value_out))
            return false;
        value_out->kind = VALUE_DIGITS;
        return true;
    }
    if (json_is_string(json))
        return text_value(rendering, json_string_value(json), json_string_length(json),
                          value_out);
    if (json_is_boolean(json))
        *value_out = value_bool(json_is_true(json));
    else if (json_is_integer(json))
        *value_out = value_int(json_integer_value(json));
    else if (json_is_real(json))
        *value_out = value_float(json_real_value(json));
    else if (!json_is_array(json) && !json_is_object(json))
        *value_out = value_none();
    else {
        if (!rendering_enter(rendering))
            return false;
        bool done = json_is_array(json) ? array_value(rendering, json, value_out)
                                        : object_value(rendering, json, value_out);
        rendering_leave(rendering);
        return done;
    }
    return true;
}
