/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A record on one line, for people.
 */
#include "runtime/tools/troupe_log/inspect.h"

#include <inttypes.h>
#include <string.h>

#define DEPTH_MAX 8

static enum status number_print(const struct field *field, uint64_t number, struct buffer *text)
{
    if (number == 0 && strcmp(field->name, "status") != 0)
        return STATUS_OK;
    if (field->word)
        return buffer_append_format(text, " %s=%s", field->name, field->word((uint32_t)number));
    return buffer_append_format(text, " %s=%" PRIu64, field->name, number);
}

static enum status text_print(const struct field *field, const char *value, struct buffer *text)
{
    if (!value || !*value)
        return STATUS_OK;
    enum status status = buffer_append_format(text, " %s=", field->name);
    return status == STATUS_OK ? json_append_text(text, value, strlen(value)) : status;
}

static enum status fixed_print(const struct field *field, const uint8_t *bytes,
                               struct buffer *text)
{
    char hex[HEX_SIZE(4)];
    if (id_is_zero(bytes, (size_t)field->max))
        return STATUS_OK;
    size_t size = field->max < 4 ? (size_t)field->max : 4;
    return buffer_append_format(text, " %s=%s", field->name, hex_print(bytes, size, hex));
}

/* Of lists, bytes and numbers, how many. */
static enum status count_print(const struct field *field, uint32_t count, struct buffer *text)
{
    return count == 0 ? STATUS_OK
                      : buffer_append_format(text, " %s[%" PRIu32 "]", field->name, count);
}

static enum status fields_print(const struct record_type *type, const void *record,
                                struct buffer *text, int depth);

static enum status inner_print(const struct field *field, const void *at, struct buffer *text,
                               int depth)
{
    if (depth >= DEPTH_MAX)
        return STATUS_OK;
    size_t before = text->size;
    enum status status = buffer_append_format(text, " %s{", field->name);
    size_t begun = text->size;
    if (status == STATUS_OK)
        status = fields_print(field->of, at, text, depth + 1);
    if (status == STATUS_OK && text->size == begun)
        text->size = before; /* all of it is zero */
    else if (status == STATUS_OK)
        status = buffer_append_text(text, " }");
    return status;
}

static enum status field_print(const struct field *field, const void *at, struct buffer *text,
                               int depth)
{
    switch (field->kind) {
    case FIELD_BOOL:
        return *(const bool *)at ? buffer_append_format(text, " %s", field->name) : STATUS_OK;
    case FIELD_U32:
        return number_print(field, *(const uint32_t *)at, text);
    case FIELD_U64:
        return number_print(field, *(const uint64_t *)at, text);
    case FIELD_F64:
        return buffer_append_format(text, " %s=%g", field->name, *(const double *)at);
    case FIELD_FIXED:
        return fixed_print(field, at, text);
    case FIELD_TEXT:
        return text_print(field, *(char *const *)at, text);
    case FIELD_BYTES:
        return count_print(field, ((const struct bytes *)at)->count, text);
    case FIELD_U32S:
        return count_print(field, ((const struct u32s *)at)->count, text);
    case FIELD_LIST:
        return count_print(field, ((const struct record_list *)at)->count, text);
    case FIELD_RECORD:
        return inner_print(field, at, text, depth);
    }
    return STATUS_OK;
}

static enum status fields_print(const struct record_type *type, const void *record,
                                struct buffer *text, int depth)
{
    enum status status = STATUS_OK;
    for (size_t i = 0; i < type->field_count && status == STATUS_OK; i++) {
        const struct field *field = &type->fields[i];
        const void *at = (const uint8_t *)record + field->offset;
        status = field_print(field, at, text, depth);
    }
    return status;
}

enum status summary_print(const struct record_type *type, const void *record, struct buffer *text)
{
    return fields_print(type, record, text, 0);
}
