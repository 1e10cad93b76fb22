/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/schema_page.h"

#include "protocol/hash.h"
#include "protocol/message.h"

#include <inttypes.h>
#include <string.h>

static void hash_number(struct hash_stream *stream, uint64_t number)
{
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(number >> (8 * i));
    hash_update(stream, bytes, sizeof(bytes));
}

/* Records nest but never contain themselves, so this ends. */
static void hash_record(struct hash_stream *stream, const struct record_type *type)
{
    hash_update(stream, type->name, strlen(type->name) + 1);
    for (size_t i = 0; i < type->field_count; i++) {
        const struct field *field = &type->fields[i];
        hash_update(stream, field->name, strlen(field->name) + 1);
        hash_number(stream, field->kind);
        hash_number(stream, field->max);
        if (field->of)
            hash_record(stream, field->of);
    }
}

struct hash schema_hash(void)
{
    struct hash_stream stream;
    hash_init(&stream);
    hash_record(&stream, &state_type);
    hash_record(&stream, &envelope_type);
    size_t count = 0;
    (void)message_type_at(0, &count);
    for (size_t i = 0; i < count; i++) {
        const struct message_type *type = message_type_at(i, NULL);
        hash_number(&stream, type->kind);
        hash_number(&stream, type->code);
        hash_update(&stream, type->name, strlen(type->name) + 1);
        hash_record(&stream, type->record);
    }
    struct hash hash;
    hash_final(&stream, &hash);
    return hash;
}

static const char *field_type(const struct field *field)
{
    switch (field->kind) {
    case FIELD_BOOL:
        return "boolean";
    case FIELD_U32:
        return "u32";
    case FIELD_U64:
        return "u64";
    case FIELD_F64:
        return "f64, finite";
    case FIELD_FIXED:
        return "bin";
    case FIELD_TEXT:
        return "str";
    case FIELD_BYTES:
        return "bin";
    case FIELD_U32S:
        return "array of u32";
    case FIELD_LIST:
        return "array of";
    case FIELD_RECORD:
        return "map";
    }
    return "";
}

static enum status append_field(struct buffer *page, const struct field *field)
{
    enum status status =
        buffer_append_format(page, "| `%s` | %s", field->name, field_type(field));
    if (status == STATUS_OK && field->of)
        status = buffer_append_format(page, " [%s](#%s)", field->of->name, field->of->name);
    if (status == STATUS_OK && field->max)
        status = buffer_append_format(page, " | %s%" PRIu64,
                                      field->kind == FIELD_FIXED ? "exactly " : "",
                                      field->max);
    else if (status == STATUS_OK)
        status = buffer_append_text(page, " |");
    if (status == STATUS_OK)
        status = buffer_append_format(page, " | %s |\n", field->meaning);
    return status;
}

static enum status append_record(struct buffer *page, const struct record_type *type)
{
    enum status status = buffer_append_format(
        page, "\n### %s\n\n| field | type | bound | meaning |\n|---|---|---|---|\n", type->name);
    for (size_t i = 0; status == STATUS_OK && i < type->field_count; i++)
        status = append_field(page, &type->fields[i]);
    return status;
}

static enum status append_kind(struct buffer *page, uint32_t kind)
{
    enum status status =
        buffer_append_format(page,
                             "\n### %ss\n\n| code | name | body | what |\n|---|---|---|---|\n",
                             message_kind_name(kind));
    size_t count = 0;
    (void)message_type_at(0, &count);
    for (size_t i = 0; status == STATUS_OK && i < count; i++) {
        const struct message_type *type = message_type_at(i, NULL);
        if ((uint32_t)type->kind == kind)
            status = buffer_append_format(page, "| %u | `%s` | [%s](#%s) | %s |\n", type->code,
                                          type->name, type->record->name, type->record->name,
                                          type->sentence);
    }
    return status;
}

static enum status append_statuses(struct buffer *page)
{
    enum status status = buffer_append_text(
        page, "\n## Status codes\n\n| code | name | text |\n|---|---|---|\n");
#define STATUS_ROW(code, NAME, text)                                                               \
    if (status == STATUS_OK)                                                                       \
        status = buffer_append_format(page, "| %d | `%s` | %s |\n", code, #NAME, text);
    STATUS_LIST(STATUS_ROW)
#undef STATUS_ROW
    return status;
}

#define PAGE_RECORD(name, NAME)                                                                    \
    if (status == STATUS_OK)                                                                       \
        status = append_record(page, &name##_type);

enum status schema_page(struct buffer *page)
{
    char text[HEX_SIZE(sizeof(struct hash))];
    struct hash hash = schema_hash();
    enum status status = buffer_append_format(
        page,
        "# The protocol\n\n"
        "Generated from the rows of `protocol/schema_state.h`, `protocol/schema_links.h` and\n"
        "`protocol/kinds.h` by `scripts/generate_docs`; do not edit.\n\n"
        "Protocol versions %d to %d, schema hash `%.16s`.\n\n"
        "A message is one ZeroMQ frame: one msgpack map with the fields of\n"
        "[envelope](#envelope) that are not zero or empty, and `body`, a map keyed by field name.\n"
        "A field that is missing is zero or empty.  A field nobody knows, a field given twice, a\n"
        "number above its bound, a text with a NUL, an extension type or bytes after the end make\n"
        "the message malformed: it is refused and counted.  Numbers are unsigned.  Ids, keys and\n"
        "hashes are `bin` of exactly their size.\n\n## Kinds\n",
        PROTOCOL_MIN, PROTOCOL_MAX, hex_print(&hash, sizeof(hash), text));
    for (uint32_t kind = MESSAGE_COMMAND; status == STATUS_OK && kind < MESSAGE_KIND_END; kind++)
        status = append_kind(page, kind);
    if (status == STATUS_OK)
        status = append_statuses(page);
    if (status == STATUS_OK)
        status = buffer_append_text(page, "\n## Records\n");
    STATE_RECORD_LIST(PAGE_RECORD)
    EVENT_RECORD_LIST(PAGE_RECORD)
    LINK_RECORD_LIST(PAGE_RECORD)
    return status;
}
