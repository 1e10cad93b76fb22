/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/template/value.h"

#include <math.h>
#include <string.h>

/* Below this a linear look is faster than slots. */
enum { SMALL_COUNT = 8 };

/* A tuple with more parts than this is no key: hashing it would be work nobody counts. */
enum { KEY_PARTS_MAX = 256, KEY_DEPTH_MAX = 8 };

static uint64_t mixed(uint64_t hash, uint64_t word)
{
    hash ^= word + 0x9e3779b97f4a7c15u + (hash << 6) + (hash >> 2);
    hash *= 0xff51afd7ed558ccdu;
    return hash ^ (hash >> 33);
}

static uint64_t text_hash(struct text text)
{
    uint64_t hash = 14695981039346656037u;
    for (size_t index = 0; index < text.size; index++)
        hash = (hash ^ (unsigned char)text.bytes[index]) * 1099511628211u;
    return hash;
}

/* False for what Python cannot hash.  Equal keys hash alike: 1, 1.0 and true are one key. */
static bool key_hash(struct value key, unsigned depth, unsigned *parts, uint64_t *hash_out)
{
    if (key.kind == VALUE_LIST || key.kind == VALUE_DICT || depth > KEY_DEPTH_MAX ||
        ++*parts > KEY_PARTS_MAX)
        return false;
    uint64_t hash = (uint64_t)key.kind;
    if (key.kind == VALUE_STRING) {
        hash = text_hash(key.as.text);
    } else if (value_is_number(key)) {
        double number = value_as_double(key) + 0.0; /* -0.0 becomes 0.0 */
        uint64_t bits;
        memcpy(&bits, &number, sizeof(bits));
        hash = mixed(7, bits);
    } else if (key.kind == VALUE_TUPLE) {
        for (size_t index = 0; index < key.as.list->count; index++) {
            uint64_t part;
            if (!key_hash(key.as.list->items[index], depth + 1, parts, &part))
                return false;
            hash = mixed(hash, part);
        }
    }
    *hash_out = hash;
    return true;
}

static bool keys_equal(struct value a, struct value b)
{
    if (a.kind == VALUE_STRING && b.kind == VALUE_STRING)
        return texts_equal(a.as.text, b.as.text);
    if (value_is_number(a) && value_is_number(b)) {
        if (value_is_integral(a) && value_is_integral(b))
            return value_as_integer(a) == value_as_integer(b);
        return value_as_double(a) == value_as_double(b);
    }
    if (a.kind != b.kind)
        return false;
    if (a.kind == VALUE_TUPLE) {
        /* Depth is bounded: both were hashed, which refuses deep tuples. */
        const struct list *left = a.as.list, *right = b.as.list;
        if (left->count != right->count)
            return false;
        for (size_t index = 0; index < left->count; index++)
            if (!keys_equal(left->items[index], right->items[index]))
                return false;
        return true;
    }
    return a.kind == VALUE_NONE || a.kind == VALUE_UNDEFINED || a.as.list == b.as.list;
}

static struct entry *find_hashed(const struct dict *dict, struct value key, uint64_t hash)
{
    if (!dict->slots) {
        for (size_t index = 0; index < dict->count; index++)
            if (dict->entries[index].hash == hash && keys_equal(dict->entries[index].key, key))
                return &dict->entries[index];
        return NULL;
    }
    for (size_t slot = hash & (dict->slot_count - 1); dict->slots[slot] != 0;
         slot = (slot + 1) & (dict->slot_count - 1)) {
        struct entry *entry = &dict->entries[dict->slots[slot] - 1];
        if (entry->hash == hash && keys_equal(entry->key, key))
            return entry;
    }
    return NULL;
}

static void slot_fill(struct dict *dict, size_t index)
{
    size_t slot = dict->entries[index].hash & (dict->slot_count - 1);
    while (dict->slots[slot] != 0)
        slot = (slot + 1) & (dict->slot_count - 1);
    dict->slots[slot] = (uint32_t)(index + 1);
}

static bool dict_grow(struct rendering *rendering, struct dict *dict, size_t capacity)
{
    if (capacity > UINT32_MAX / 4)
        return rendering_fail(rendering, STATUS_TOO_LARGE,
                              "a dict of the chat template is too large");
    struct entry *entries = rendering_take(rendering, capacity * sizeof(*entries));
    if (!entries)
        return false;
    if (dict->count > 0)
        memcpy(entries, dict->entries, dict->count * sizeof(*entries));
    dict->entries = entries;
    dict->capacity = capacity;
    if (capacity <= SMALL_COUNT)
        return true;
    size_t slot_count = 16;
    while (slot_count < capacity * 2)
        slot_count *= 2;
    dict->slots = rendering_take(rendering, slot_count * sizeof(*dict->slots));
    if (!dict->slots)
        return false;
    dict->slot_count = slot_count;
    for (size_t index = 0; index < dict->count; index++)
        slot_fill(dict, index);
    return true;
}

struct dict *dict_new(struct rendering *rendering, size_t capacity)
{
    struct dict *dict = rendering_take(rendering, sizeof(*dict));
    if (!dict || capacity == 0)
        return dict;
    return dict_grow(rendering, dict, capacity) ? dict : NULL;
}

bool dict_put(struct rendering *rendering, struct dict *dict, struct value key,
              struct value value)
{
    uint64_t hash;
    unsigned parts = 0;
    size_t size = key.kind == VALUE_STRING ? key.as.text.size : 0;
    if (!rendering_charge(rendering, 1 + size / 256))
        return false;
    if (!key_hash(key, 0, &parts, &hash))
        return rendering_fail(rendering, STATUS_INVALID,
                              "unhashable type: '%s' (chat template, line %u)",
                              value_type_name(key), rendering->line);
    struct entry *entry = find_hashed(dict, key, hash);
    if (entry) {
        entry->value = value;
        return true;
    }
    if (dict->count == dict->capacity &&
        !dict_grow(rendering, dict, dict->capacity < 4 ? SMALL_COUNT : dict->capacity * 2))
        return false;
    dict->entries[dict->count] = (struct entry){key, value, hash};
    dict->count++;
    if (dict->slots)
        slot_fill(dict, dict->count - 1);
    return true;
}

struct entry *dict_find(const struct dict *dict, struct value key)
{
    uint64_t hash;
    unsigned parts = 0;
    if (dict->count == 0 || !key_hash(key, 0, &parts, &hash))
        return NULL;
    return find_hashed(dict, key, hash);
}

struct entry *dict_find_text(const struct dict *dict, const char *key)
{
    return dict_find(dict, value_literal(key));
}
