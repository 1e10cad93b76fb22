/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/mutate.h"

#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { PLACES_MAX = 2048, LENGTH_SIZE = 8, DEPTH_MAX = 64 };

/* Where a value stands in its document. */
struct place {
    json_t *holder;
    const char *key; /* NULL: in a list */
    size_t index;
    json_t *value;
};

struct places {
    struct place items[PLACES_MAX];
    size_t count;
};

static void places_find(struct places *places, json_t *holder, unsigned depth)
{
    const char *key;
    json_t *value;
    size_t index;
    if (depth == DEPTH_MAX)
        return;
    json_object_foreach(holder, key, value) {
        if (places->count == PLACES_MAX)
            return;
        places->items[places->count++] = (struct place){holder, key, 0, value};
        places_find(places, value, depth + 1);
    }
    json_array_foreach(holder, index, value) {
        if (places->count == PLACES_MAX)
            return;
        places->items[places->count++] = (struct place){holder, NULL, index, value};
        places_find(places, value, depth + 1);
    }
}

static json_t *telling_value(struct seeded *seeded)
{
    static const json_int_t numbers[] = {0,         -1,         1,         2,         63,  64,
                                         65,        4096,       INT32_MAX, INT32_MIN, 1000000,
                                         UINT32_MAX, INT64_MAX, INT64_MIN};
    static const char *const texts[] = {"", "a", "(a+)+$", "(a|aa)*b", "[", "\\p{L}+", "{{ x }}",
                                        "\xc3\xa9", "string", "object", "array", "integer"};
    switch (seeded_below(seeded, 8)) {
    case 0:
        return json_null();
    case 1:
        return json_boolean(seeded_below(seeded, 2));
    case 2:
        return json_real(1e300);
    case 3:
        return json_array();
    case 4:
        return json_object();
    case 5:
        return json_string(texts[seeded_below(seeded, sizeof(texts) / sizeof(*texts))]);
    default:
        return json_integer(numbers[seeded_below(seeded, sizeof(numbers) / sizeof(*numbers))]);
    }
}

static json_t *wrapped(json_t *value, struct seeded *seeded)
{
    json_t *whole = json_deep_copy(value);
    for (uint64_t left = 1 + seeded_below(seeded, 40); left > 0; left--)
        whole = seeded_below(seeded, 2) ? json_pack("[o]", whole)
                                        : json_pack("{s:o}", "properties", whole);
    return whole;
}

static json_t *repeated(json_t *value, struct seeded *seeded)
{
    json_t *list = json_array();
    for (uint64_t left = seeded_below(seeded, 300); left > 0; left--)
        json_array_append_new(list, json_deep_copy(value));
    return list;
}

static void place_set(const struct place *place, json_t *value)
{
    if (place->key)
        json_object_set_new(place->holder, place->key, value);
    else
        json_array_set_new(place->holder, place->index, value);
}

static void place_change(const struct place *place, const struct places *others,
                         struct seeded *seeded)
{
    const struct place *other =
        others->count > 0 ? &others->items[seeded_below(seeded, others->count)] : place;
    switch (seeded_below(seeded, 7)) {
    case 0:
        if (place->key)
            json_object_del(place->holder, place->key);
        else
            json_array_remove(place->holder, place->index);
        break;
    case 1:
        place_set(place, wrapped(place->value, seeded));
        break;
    case 2:
        place_set(place, repeated(place->value, seeded));
        break;
    case 3:
        place_set(place, telling_value(seeded));
        break;
    case 4: /* under its name in the other document */
        if (other->key && json_is_object(place->value))
            json_object_set_new(place->value, other->key, json_deep_copy(other->value));
        break;
    default:
        place_set(place, json_deep_copy(other->value));
    }
}

/* Where the document begins: at once, or behind a length. */
static json_t *document(const uint8_t *bytes, size_t size, size_t *start_out, size_t *end_out)
{
    for (size_t start = 0; start <= LENGTH_SIZE && start < size; start += LENGTH_SIZE) {
        json_error_t error;
        json_t *root = json_loadb((const char *)bytes + start, size - start,
                                  JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, &error);
        if (root) {
            *start_out = start;
            *end_out = start + (size_t)error.position;
            return root;
        }
    }
    return NULL;
}

static void put_back(struct mutant *mutant, json_t *root, size_t start, size_t end)
{
    const size_t tail = mutant->size - end;
    char *text = json_dumps(root, JSON_COMPACT);
    const size_t size = text ? strlen(text) : 0;
    if (text && start + size + tail <= mutant->capacity) {
        memmove(mutant->bytes + start + size, mutant->bytes + end, tail);
        memcpy(mutant->bytes + start, text, size);
        for (size_t byte = 0; byte < start; byte++)
            mutant->bytes[byte] = (uint8_t)((uint64_t)size >> (8 * byte));
        mutant->size = start + size + tail;
    }
    free(text); /* style allows free: jansson allocated it */
}

bool mutate_values(struct mutant *mutant, const uint8_t *other, size_t other_size,
                   struct seeded *seeded)
{
    static struct places places, others;
    size_t start = 0, end = 0, unused = 0;
    json_t *root = document(mutant->bytes, mutant->size, &start, &end);
    if (!root)
        return false;
    json_t *second = document(other, other_size, &unused, &unused);
    places.count = others.count = 0;
    places_find(&places, root, 0);
    if (second)
        places_find(&others, second, 0);
    if (places.count > 0)
        place_change(&places.items[seeded_below(seeded, places.count)], &others, seeded);
    put_back(mutant, root, start, end);
    json_decref(root);
    json_decref(second);
    return true;
}
