/* SPDX-License-Identifier: Apache-2.0 */
/*
 * codec: records to msgpack and back; the only includer of msgpack.h.
 *
 * A peer's bytes are walked with bounds first (codec_walk.c): depth, entries, and every declared
 * count must fit into what is left.  Only then are they unpacked, so nothing is allocated by a
 * peer's word.
 */
#include "protocol/message.h"

#include "protocol/codec_walk.h"
#include "protocol/hash.h"
#include "protocol/memory.h"
#include "protocol/utf8.h"

#include <limits.h>
#include <math.h>
#include <msgpack.h>
#include <string.h>

/* Where the packer writes; keeps why it could not. */
struct packed {
    struct buffer *bytes;
    enum status status;
};

static int write_to_buffer(void *target, const char *bytes, size_t size)
{
    struct packed *packed = target;
    packed->status = buffer_append(packed->bytes, bytes, size);
    return packed->status == STATUS_OK ? 0 : -1;
}

static size_t fields_present(const struct record_type *type, const void *record)
{
    size_t present = 0;
    for (size_t i = 0; i < type->field_count; i++)
        if (!record_value_is_default(&type->fields[i],
                                     (const uint8_t *)record + type->fields[i].offset))
            present++;
    return present;
}

static int pack_record(msgpack_packer *packer, const struct record_type *type, const void *record);

static int pack_bin(msgpack_packer *packer, const void *bytes, size_t size)
{
    int failed = msgpack_pack_bin(packer, size);
    return failed ? failed : msgpack_pack_bin_body(packer, bytes, size);
}

static int pack_text(msgpack_packer *packer, const char *text)
{
    size_t length = strlen(text);
    int failed = msgpack_pack_str(packer, length);
    return failed ? failed : msgpack_pack_str_body(packer, text, length);
}

static int pack_value(msgpack_packer *packer, const struct field *field, const void *value)
{
    switch (field->kind) {
    case FIELD_BOOL:
        return *(const bool *)value ? msgpack_pack_true(packer) : msgpack_pack_false(packer);
    case FIELD_U32:
        return msgpack_pack_uint32(packer, *(const uint32_t *)value);
    case FIELD_U64:
        return msgpack_pack_uint64(packer, *(const uint64_t *)value);
    case FIELD_F64:
        return msgpack_pack_double(packer, *(const double *)value);
    case FIELD_FIXED:
        return pack_bin(packer, value, field->max);
    case FIELD_TEXT:
        return pack_text(packer, *(char *const *)value);
    case FIELD_BYTES:
        return pack_bin(packer, ((const struct bytes *)value)->items,
                        ((const struct bytes *)value)->count);
    case FIELD_U32S: {
        const struct u32s *numbers = value;
        int failed = msgpack_pack_array(packer, numbers->count);
        for (uint32_t i = 0; !failed && i < numbers->count; i++)
            failed = msgpack_pack_uint32(packer, numbers->items[i]);
        return failed;
    }
    case FIELD_LIST: {
        const struct record_list *list = value;
        int failed = msgpack_pack_array(packer, list->count);
        for (uint32_t i = 0; !failed && i < list->count; i++)
            failed = pack_record(packer, field->of,
                                 (const uint8_t *)list->items + i * field->of->size);
        return failed;
    }
    case FIELD_RECORD:
        return pack_record(packer, field->of, value);
    }
    return -1;
}

static int pack_fields(msgpack_packer *packer, const struct record_type *type, const void *record)
{
    int failed = 0;
    for (size_t i = 0; !failed && i < type->field_count; i++) {
        const struct field *field = &type->fields[i];
        const void *value = (const uint8_t *)record + field->offset;
        if (record_value_is_default(field, value))
            continue;
        failed = pack_text(packer, field->name);
        if (!failed)
            failed = pack_value(packer, field, value);
    }
    return failed;
}

static int pack_record(msgpack_packer *packer, const struct record_type *type, const void *record)
{
    int failed = msgpack_pack_map(packer, fields_present(type, record));
    return failed ? failed : pack_fields(packer, type, record);
}

static enum status ended(int failed, struct packed *packed, size_t start)
{
    if (!failed)
        return STATUS_OK;
    packed->bytes->size = start;
    return packed->status;
}

enum status record_encode(const struct record_type *type, const void *record, struct buffer *bytes)
{
    size_t start = bytes->size;
    struct packed packed = {bytes, STATUS_OK};
    msgpack_packer packer;
    msgpack_packer_init(&packer, &packed, write_to_buffer);
    return ended(pack_record(&packer, type, record), &packed, start);
}

enum status message_encode(const struct message *message, struct buffer *bytes)
{
    const struct message_type *type = message_type_find(message->head.kind, message->head.code);
    ASSERT(type != NULL && message->body != NULL);
    size_t start = bytes->size;
    struct packed packed = {bytes, STATUS_OK};
    msgpack_packer packer;
    msgpack_packer_init(&packer, &packed, write_to_buffer);
    int failed =
        msgpack_pack_map(&packer, fields_present(&envelope_type, &message->head) + 1);
    if (!failed)
        failed = pack_fields(&packer, &envelope_type, &message->head);
    if (!failed)
        failed = pack_text(&packer, "body");
    if (!failed)
        failed = pack_record(&packer, type->record, message->body);
    return ended(failed, &packed, start);
}

/* ---- from bytes ---- */

static enum status unpack_record(const struct record_type *type, const msgpack_object_map *map,
                                 void *record, struct reason *reason);

static enum status bad(const struct record_type *type, const struct field *field,
                       struct reason *reason, const char *what)
{
    return refuse(reason, STATUS_MALFORMED, "%s.%s: %s", type->name, field->name, what);
}

static enum status unpack_number(const struct record_type *type, const struct field *field,
                                 const msgpack_object *object, void *value, struct reason *reason)
{
    if (object->type != MSGPACK_OBJECT_POSITIVE_INTEGER)
        return bad(type, field, reason, "is not a number from 0 up");
    uint64_t ceiling = field->kind == FIELD_U32 ? UINT32_MAX : UINT64_MAX;
    if (field->max != 0 && field->max < ceiling)
        ceiling = field->max;
    if (object->via.u64 > ceiling)
        return bad(type, field, reason, "is above its bound");
    if (field->kind == FIELD_U32)
        *(uint32_t *)value = (uint32_t)object->via.u64;
    else
        *(uint64_t *)value = object->via.u64;
    return STATUS_OK;
}

static enum status unpack_float(const struct record_type *type, const struct field *field,
                                const msgpack_object *object, void *value, struct reason *reason)
{
    double number;
    if (object->type == MSGPACK_OBJECT_FLOAT64 || object->type == MSGPACK_OBJECT_FLOAT32)
        number = object->via.f64;
    else if (object->type == MSGPACK_OBJECT_POSITIVE_INTEGER)
        number = (double)object->via.u64;
    else if (object->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
        number = (double)object->via.i64;
    else
        return bad(type, field, reason, "is not a number");
    if (!isfinite(number))
        return bad(type, field, reason, "is not finite");
    *(double *)value = number;
    return STATUS_OK;
}

static enum status unpack_text(const struct record_type *type, const struct field *field,
                               const msgpack_object *object, void *value, struct reason *reason)
{
    if (object->type != MSGPACK_OBJECT_STR)
        return bad(type, field, reason, "is not a text");
    if (object->via.str.size > field->max)
        return bad(type, field, reason, "is longer than its bound");
    if (memchr(object->via.str.ptr, '\0', object->via.str.size))
        return bad(type, field, reason, "holds a NUL");
    if (!utf8_is_valid(object->via.str.ptr, object->via.str.size))
        return bad(type, field, reason, "is not UTF-8");
    *(char **)value = memory_text(object->via.str.ptr, object->via.str.size);
    return *(char **)value ? STATUS_OK : STATUS_NO_MEMORY;
}

static enum status unpack_bytes(const struct record_type *type, const struct field *field,
                                const msgpack_object *object, void *value, struct reason *reason)
{
    if (object->type != MSGPACK_OBJECT_BIN)
        return bad(type, field, reason, "is not a byte string");
    if (field->kind == FIELD_FIXED) {
        if (object->via.bin.size != field->max)
            return bad(type, field, reason, "has the wrong size");
        memcpy(value, object->via.bin.ptr, field->max);
        return STATUS_OK;
    }
    if (object->via.bin.size > field->max)
        return bad(type, field, reason, "is longer than its bound");
    if (object->via.bin.size == 0)
        return STATUS_OK;
    return bytes_set(value, object->via.bin.ptr, object->via.bin.size) ? STATUS_OK
                                                                        : STATUS_NO_MEMORY;
}

static enum status unpack_u32s(const struct record_type *type, const struct field *field,
                               const msgpack_object *object, void *value, struct reason *reason)
{
    if (object->type != MSGPACK_OBJECT_ARRAY)
        return bad(type, field, reason, "is not an array");
    const msgpack_object_array *array = &object->via.array;
    if (array->size > field->max)
        return bad(type, field, reason, "has more numbers than its bound");
    if (array->size == 0)
        return STATUS_OK;
    uint32_t *items = memory_zeroed(array->size, sizeof(uint32_t));
    if (!items)
        return STATUS_NO_MEMORY;
    *(struct u32s *)value = (struct u32s){items, array->size};
    for (uint32_t i = 0; i < array->size; i++) {
        const msgpack_object *item = &array->ptr[i];
        if (item->type != MSGPACK_OBJECT_POSITIVE_INTEGER || item->via.u64 > UINT32_MAX)
            return bad(type, field, reason, "holds something that is not a 32-bit number");
        items[i] = (uint32_t)item->via.u64;
    }
    return STATUS_OK;
}

static enum status unpack_list(const struct record_type *type, const struct field *field,
                               const msgpack_object *object, void *value, struct reason *reason)
{
    if (object->type != MSGPACK_OBJECT_ARRAY)
        return bad(type, field, reason, "is not a list");
    const msgpack_object_array *array = &object->via.array;
    if (array->size > field->max)
        return bad(type, field, reason, "has more entries than its bound");
    if (array->size == 0)
        return STATUS_OK;
    struct record_list *list = value;
    list->items = memory_zeroed(array->size, field->of->size);
    if (!list->items)
        return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < array->size; i++) {
        if (array->ptr[i].type != MSGPACK_OBJECT_MAP)
            return bad(type, field, reason, "holds something that is not a map");
        list->count = i + 1;
        enum status status =
            unpack_record(field->of, &array->ptr[i].via.map,
                          (uint8_t *)list->items + i * field->of->size, reason);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

static enum status unpack_value(const struct record_type *type, const struct field *field,
                                const msgpack_object *object, void *value, struct reason *reason)
{
    switch (field->kind) {
    case FIELD_BOOL:
        if (object->type != MSGPACK_OBJECT_BOOLEAN)
            return bad(type, field, reason, "is neither true nor false");
        *(bool *)value = object->via.boolean;
        return STATUS_OK;
    case FIELD_U32:
    case FIELD_U64:
        return unpack_number(type, field, object, value, reason);
    case FIELD_F64:
        return unpack_float(type, field, object, value, reason);
    case FIELD_TEXT:
        return unpack_text(type, field, object, value, reason);
    case FIELD_FIXED:
    case FIELD_BYTES:
        return unpack_bytes(type, field, object, value, reason);
    case FIELD_U32S:
        return unpack_u32s(type, field, object, value, reason);
    case FIELD_LIST:
        return unpack_list(type, field, object, value, reason);
    case FIELD_RECORD:
        if (object->type != MSGPACK_OBJECT_MAP)
            return bad(type, field, reason, "is not a map");
        return unpack_record(field->of, &object->via.map, value, reason);
    }
    return STATUS_INTERNAL;
}

static const struct field *field_named(const struct record_type *type, const msgpack_object *key,
                                       size_t *index_out)
{
    if (key->type != MSGPACK_OBJECT_STR)
        return NULL;
    for (size_t i = 0; i < type->field_count; i++) {
        const char *name = type->fields[i].name;
        if (strlen(name) == key->via.str.size &&
            memcmp(name, key->via.str.ptr, key->via.str.size) == 0) {
            *index_out = i;
            return &type->fields[i];
        }
    }
    return NULL;
}

/* `record` is zeroed; the caller finishes it when this fails. */
static enum status unpack_record(const struct record_type *type, const msgpack_object_map *map,
                                 void *record, struct reason *reason)
{
    uint64_t seen = 0;
    ASSERT(type->field_count <= 64);
    for (uint32_t i = 0; i < map->size; i++) {
        size_t index = 0;
        const struct field *field = field_named(type, &map->ptr[i].key, &index);
        if (!field)
            return refuse(reason, STATUS_MALFORMED, "%s: has a field nobody knows", type->name);
        if (seen & (UINT64_C(1) << index))
            return bad(type, field, reason, "is there twice");
        seen |= UINT64_C(1) << index;
        enum status status = unpack_value(type, field, &map->ptr[i].val,
                                          (uint8_t *)record + field->offset, reason);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

static enum status unpack_map(const void *bytes, size_t size, msgpack_zone *zone,
                              msgpack_object *object, struct reason *reason)
{
    enum status status = codec_walk(bytes, size, reason);
    if (status != STATUS_OK)
        return status;
    size_t offset = 0;
    if (msgpack_unpack(bytes, size, &offset, zone, object) != MSGPACK_UNPACK_SUCCESS)
        return refuse(reason, STATUS_MALFORMED, "message: cannot be unpacked");
    if (object->type != MSGPACK_OBJECT_MAP)
        return refuse(reason, STATUS_MALFORMED, "message: is not a map");
    return STATUS_OK;
}

enum status record_decode(const struct record_type *type, const void *bytes, size_t size,
                          void *record_out, struct reason *reason)
{
    msgpack_zone *zone = msgpack_zone_new(4096);
    if (!zone)
        return STATUS_NO_MEMORY;
    msgpack_object object;
    enum status status = unpack_map(bytes, size, zone, &object, reason);
    if (status == STATUS_OK) {
        memset(record_out, 0, type->size);
        status = unpack_record(type, &object.via.map, record_out, reason);
        if (status != STATUS_OK)
            record_fini(type, record_out);
    }
    msgpack_zone_free(zone);
    return status;
}

static bool key_is_body(const msgpack_object *key)
{
    return key->type == MSGPACK_OBJECT_STR && key->via.str.size == 4 &&
           memcmp(key->via.str.ptr, "body", 4) == 0;
}

/* The envelope's fields and "body" share one map: the body is taken out before the rest is read. */
static enum status unpack_message(msgpack_object_map *map, struct message *message,
                                  struct reason *reason)
{
    msgpack_object body = {.type = MSGPACK_OBJECT_NIL};
    bool has_body = false;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < map->size; i++) {
        if (key_is_body(&map->ptr[i].key) && !has_body) {
            body = map->ptr[i].val;
            has_body = true; /* a second one is a field nobody knows */
        } else {
            map->ptr[kept++] = map->ptr[i];
        }
    }
    const msgpack_object_map head = {kept, map->ptr};
    enum status status = unpack_record(&envelope_type, &head, &message->head, reason);
    if (status != STATUS_OK)
        return status;
    const struct message_type *type = message_type_find(message->head.kind, message->head.code);
    if (!type)
        return refuse(reason, STATUS_UNSUPPORTED, "message: nobody knows kind %u code %u",
                      message->head.kind, message->head.code);
    if (body.type != MSGPACK_OBJECT_MAP)
        return refuse(reason, STATUS_MALFORMED, "%s: has no body", type->name);
    message->body = memory_zeroed(1, type->record->size);
    if (!message->body)
        return STATUS_NO_MEMORY;
    return unpack_record(type->record, &body.via.map, message->body, reason);
}

enum status message_decode_head(const void *bytes, size_t size, struct envelope *head_out)
{
    msgpack_zone *zone = size <= MESSAGE_SIZE_MAX ? msgpack_zone_new(4096) : NULL;
    if (!zone)
        return size <= MESSAGE_SIZE_MAX ? STATUS_NO_MEMORY : STATUS_TOO_LARGE;
    msgpack_object object;
    struct envelope head = {.kind = 0};
    enum status status = unpack_map(bytes, size, zone, &object, NULL);
    if (status == STATUS_OK) {
        msgpack_object_map *map = &object.via.map;
        uint32_t kept = 0;
        for (uint32_t i = 0; i < map->size; i++)
            if (!key_is_body(&map->ptr[i].key))
                map->ptr[kept++] = map->ptr[i];
        map->size = kept;
        status = unpack_record(&envelope_type, map, &head, NULL);
    }
    msgpack_zone_free(zone);
    if (status != STATUS_OK)
        record_fini(&envelope_type, &head);
    else
        *head_out = head;
    return status;
}

enum status message_decode(const void *bytes, size_t size, struct message *message_out,
                           struct reason *reason)
{
    if (size > MESSAGE_SIZE_MAX)
        return refuse(reason, STATUS_TOO_LARGE, "message: %zu bytes are above the bound", size);
    msgpack_zone *zone = msgpack_zone_new(4096);
    if (!zone)
        return STATUS_NO_MEMORY;
    msgpack_object object;
    struct message message = {.body = NULL};
    enum status status = unpack_map(bytes, size, zone, &object, reason);
    if (status == STATUS_OK)
        status = unpack_message(&object.via.map, &message, reason);
    msgpack_zone_free(zone);
    if (status != STATUS_OK) {
        message_fini(&message);
        return status;
    }
    *message_out = message;
    return STATUS_OK;
}
