/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/record.h"

#include "protocol/memory.h"
#include "protocol/utf8.h"

#include <string.h>

static void *field_at(void *record, const struct field *field)
{
    return (uint8_t *)record + field->offset;
}

static const void *field_of(const void *record, const struct field *field)
{
    return (const uint8_t *)record + field->offset;
}

static void field_fini(const struct field *field, void *value)
{
    switch (field->kind) {
    case FIELD_TEXT:
        memory_free(*(char **)value);
        break;
    case FIELD_BYTES:
        memory_free(((struct bytes *)value)->items);
        break;
    case FIELD_U32S:
        memory_free(((struct u32s *)value)->items);
        break;
    case FIELD_LIST: {
        struct record_list *list = value;
        for (uint32_t i = 0; i < list->count; i++)
            record_fini(field->of, (uint8_t *)list->items + i * field->of->size);
        memory_free(list->items);
        break;
    }
    case FIELD_RECORD:
        record_fini(field->of, value);
        break;
    case FIELD_BOOL:
    case FIELD_U32:
    case FIELD_U64:
    case FIELD_F64:
    case FIELD_FIXED:
        break;
    }
}

void record_fini(const struct record_type *type, void *record)
{
    if (!record)
        return;
    for (size_t i = 0; i < type->field_count; i++)
        field_fini(&type->fields[i], field_at(record, &type->fields[i]));
    memset(record, 0, type->size);
}

static enum status list_copy(const struct field *field, const struct record_list *from,
                             struct record_list *to)
{
    *to = (struct record_list){NULL, 0};
    if (from->count == 0)
        return STATUS_OK;
    size_t size = field->of->size;
    to->items = memory_zeroed(from->count, size);
    if (!to->items)
        return STATUS_NO_MEMORY;
    for (; to->count < from->count; to->count++) {
        enum status status = record_copy(field->of, (const uint8_t *)from->items + to->count * size,
                                         (uint8_t *)to->items + to->count * size);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

static enum status block_copy(const void *items, size_t count, size_t size, void **items_out)
{
    *items_out = NULL;
    if (count == 0)
        return STATUS_OK;
    *items_out = memory_copied(items, count * size);
    return *items_out ? STATUS_OK : STATUS_NO_MEMORY;
}

/* `to` holds the bytes of `from`: scalars are done, what is owned gets a copy of its own. */
static enum status field_copy(const struct field *field, const void *from, void *to)
{
    void *items = NULL;
    enum status status = STATUS_OK;
    switch (field->kind) {
    case FIELD_TEXT: {
        const char *text = *(char *const *)from;
        *(char **)to = NULL;
        if (text && !(*(char **)to = memory_text(text, strlen(text))))
            return STATUS_NO_MEMORY;
        return STATUS_OK;
    }
    case FIELD_BYTES: {
        const struct bytes *bytes = from;
        status = block_copy(bytes->items, bytes->count, 1, &items);
        *(struct bytes *)to = (struct bytes){items, items ? bytes->count : 0};
        return status;
    }
    case FIELD_U32S: {
        const struct u32s *numbers = from;
        status = block_copy(numbers->items, numbers->count, sizeof(uint32_t), &items);
        *(struct u32s *)to = (struct u32s){items, items ? numbers->count : 0};
        return status;
    }
    case FIELD_LIST:
        return list_copy(field, from, to);
    case FIELD_RECORD:
        return record_copy(field->of, from, to);
    case FIELD_BOOL:
        *(bool *)to = *(const bool *)from;
        return STATUS_OK;
    case FIELD_U32:
        memcpy(to, from, sizeof(uint32_t));
        return STATUS_OK;
    case FIELD_U64:
    case FIELD_F64:
        memcpy(to, from, sizeof(uint64_t));
        return STATUS_OK;
    case FIELD_FIXED:
        memcpy(to, from, field->max);
        return STATUS_OK;
    }
    return STATUS_INTERNAL;
}

enum status record_copy(const struct record_type *type, const void *record, void *copy_out)
{
    memset(copy_out, 0, type->size);
    for (size_t i = 0; i < type->field_count; i++) {
        const struct field *field = &type->fields[i];
        enum status status =
            field_copy(field, field_of(record, field), field_at(copy_out, field));
        if (status != STATUS_OK) {
            record_fini(type, copy_out);
            return status;
        }
    }
    return STATUS_OK;
}

static bool blocks_equal(const void *a, size_t a_count, const void *b, size_t b_count, size_t size)
{
    return a_count == b_count && (a_count == 0 || memcmp(a, b, a_count * size) == 0);
}

static bool lists_equal(const struct field *field, const struct record_list *a,
                        const struct record_list *b)
{
    if (a->count != b->count)
        return false;
    for (uint32_t i = 0; i < a->count; i++)
        if (!record_equal(field->of, (const uint8_t *)a->items + i * field->of->size,
                          (const uint8_t *)b->items + i * field->of->size))
            return false;
    return true;
}

static bool field_equal(const struct field *field, const void *a, const void *b)
{
    switch (field->kind) {
    case FIELD_BOOL:
        return *(const bool *)a == *(const bool *)b;
    case FIELD_U32:
        return memcmp(a, b, sizeof(uint32_t)) == 0;
    case FIELD_U64:
    case FIELD_F64:
        return memcmp(a, b, sizeof(uint64_t)) == 0;
    case FIELD_FIXED:
        return memcmp(a, b, field->max) == 0;
    case FIELD_TEXT:
        return strcmp(text_or_empty(*(char *const *)a), text_or_empty(*(char *const *)b)) == 0;
    case FIELD_BYTES: {
        const struct bytes *x = a;
        const struct bytes *y = b;
        return blocks_equal(x->items, x->count, y->items, y->count, 1);
    }
    case FIELD_U32S: {
        const struct u32s *x = a;
        const struct u32s *y = b;
        return blocks_equal(x->items, x->count, y->items, y->count, sizeof(uint32_t));
    }
    case FIELD_LIST:
        return lists_equal(field, a, b);
    case FIELD_RECORD:
        return record_equal(field->of, a, b);
    }
    return false;
}

bool record_equal(const struct record_type *type, const void *a, const void *b)
{
    for (size_t i = 0; i < type->field_count; i++) {
        const struct field *field = &type->fields[i];
        if (!field_equal(field, field_of(a, field), field_of(b, field)))
            return false;
    }
    return true;
}

void *record_list_push(const struct record_type *type, struct record_list *list,
                       const void *record, uint32_t count_max)
{
    if (list->count >= count_max)
        return NULL;
    uint8_t *items = memory_resized(list->items, (size_t)list->count + 1, type->size);
    if (!items)
        return NULL;
    list->items = items;
    uint8_t *place = items + (size_t)list->count * type->size;
    memset(place, 0, type->size);
    if (record && record_copy(type, record, place) != STATUS_OK)
        return NULL;
    list->count++;
    return place;
}

void record_list_remove(const struct record_type *type, struct record_list *list, uint32_t index)
{
    ASSERT(index < list->count);
    uint8_t *items = list->items;
    record_fini(type, items + (size_t)index * type->size);
    memmove(items + (size_t)index * type->size, items + ((size_t)index + 1) * type->size,
            ((size_t)list->count - index - 1) * type->size);
    list->count--;
}

/* What no peer would take: a name cut within a character, a path in another encoding. */
static void replace_invalid(char *text)
{
    size_t left = strlen(text);
    while (left > 0) {
        size_t length = utf8_length(text, left);
        if (length == 0) {
            *text = '?';
            length = 1;
        }
        text += length;
        left -= length;
    }
}

bool record_value_is_default(const struct field *field, const void *value)
{
    switch (field->kind) {
    case FIELD_BOOL:
        return !*(const bool *)value;
    case FIELD_U32:
        return *(const uint32_t *)value == 0;
    case FIELD_U64:
    case FIELD_F64:
        return id_is_zero(value, sizeof(uint64_t));
    case FIELD_FIXED:
        return id_is_zero(value, field->max);
    case FIELD_TEXT:
        return text_or_empty(*(char *const *)value)[0] == '\0';
    case FIELD_BYTES:
        return ((const struct bytes *)value)->count == 0;
    case FIELD_U32S:
        return ((const struct u32s *)value)->count == 0;
    case FIELD_LIST:
        return ((const struct record_list *)value)->count == 0;
    case FIELD_RECORD:
        for (size_t i = 0; i < field->of->field_count; i++)
            if (!record_value_is_default(&field->of->fields[i],
                                  (const uint8_t *)value + field->of->fields[i].offset))
                return false;
        return true;
    }
    return false;
}

bool text_set(char **text, const char *value)
{
    char *copy = memory_text(value ? value : "", value ? strlen(value) : 0);
    if (!copy)
        return false;
    replace_invalid(copy);
    memory_free(*text);
    *text = copy;
    return true;
}

const char *text_or_empty(const char *text)
{
    return text ? text : "";
}

bool bytes_set(struct bytes *bytes, const void *items, size_t count)
{
    if (count > UINT32_MAX)
        return false;
    uint8_t *copy = memory_copied(items, count);
    if (!copy)
        return false;
    memory_free(bytes->items);
    *bytes = (struct bytes){copy, (uint32_t)count};
    return true;
}
