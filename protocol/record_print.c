/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/record.h"
#include "protocol/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define BYTES_SHOWN_MAX 32

static enum status append_escaped(struct buffer *json, uint8_t byte)
{
    switch (byte) {
    case '"':
        return buffer_append_text(json, "\\\"");
    case '\\':
        return buffer_append_text(json, "\\\\");
    case '\n':
        return buffer_append_text(json, "\\n");
    case '\r':
        return buffer_append_text(json, "\\r");
    case '\t':
        return buffer_append_text(json, "\\t");
    default:
        return buffer_append_format(json, "\\u%04x", byte);
    }
}

enum status json_append_text(struct buffer *json, const char *text, size_t length)
{
    const uint8_t *bytes = (const uint8_t *)text;
    enum status status = buffer_append_text(json, "\"");
    size_t i = 0;
    while (status == STATUS_OK && i < length) {
        size_t step = utf8_length(bytes + i, length - i);
        if (step == 0)
            status = buffer_append_text(json, "\\ufffd");
        else if (bytes[i] < 0x20 || bytes[i] == '"' || bytes[i] == '\\' || bytes[i] == 0x7f)
            status = append_escaped(json, bytes[i]);
        else
            status = buffer_append(json, bytes + i, step);
        i += step ? step : 1;
    }
    return status == STATUS_OK ? buffer_append_text(json, "\"") : status;
}

static enum status print_hex(struct buffer *json, const uint8_t *bytes, size_t count)
{
    char text[HEX_SIZE(64)];
    size_t shown = count > 64 ? BYTES_SHOWN_MAX : count;
    return buffer_append_format(json, "\"%s%s\"", hex_print(bytes, shown, text),
                                shown < count ? "..." : "");
}

static enum status print_list(const struct field *field, const struct record_list *list,
                              struct buffer *json)
{
    enum status status = buffer_append_text(json, "[");
    for (uint32_t i = 0; status == STATUS_OK && i < list->count; i++) {
        if (i > 0)
            status = buffer_append_text(json, ", ");
        if (status == STATUS_OK)
            status = record_print(field->of,
                                  (const uint8_t *)list->items + i * field->of->size, json);
    }
    return status == STATUS_OK ? buffer_append_text(json, "]") : status;
}

static enum status print_u32s(const struct u32s *numbers, struct buffer *json)
{
    enum status status = buffer_append_text(json, "[");
    for (uint32_t i = 0; status == STATUS_OK && i < numbers->count; i++)
        status = buffer_append_format(json, "%s%" PRIu32, i ? ", " : "", numbers->items[i]);
    return status == STATUS_OK ? buffer_append_text(json, "]") : status;
}

static enum status print_u32(const struct field *field, uint32_t number, struct buffer *json)
{
    enum status status = buffer_append_format(json, "%" PRIu32, number);
    if (status != STATUS_OK || !field->word)
        return status;
    return buffer_append_format(json, ", \"%s_name\": \"%s\"", field->name, field->word(number));
}

static enum status print_field(const struct field *field, const void *value, struct buffer *json)
{
    switch (field->kind) {
    case FIELD_BOOL:
        return buffer_append_text(json, *(const bool *)value ? "true" : "false");
    case FIELD_U32:
        return print_u32(field, *(const uint32_t *)value, json);
    case FIELD_U64:
        return buffer_append_format(json, "%" PRIu64, *(const uint64_t *)value);
    case FIELD_F64:
        if (!isfinite(*(const double *)value))
            return buffer_append_text(json, "null");
        return buffer_append_format(json, "%.17g", *(const double *)value);
    case FIELD_FIXED:
        return print_hex(json, value, field->max);
    case FIELD_TEXT: {
        const char *text = text_or_empty(*(char *const *)value);
        return json_append_text(json, text, strlen(text));
    }
    case FIELD_BYTES:
        return print_hex(json, ((const struct bytes *)value)->items,
                         ((const struct bytes *)value)->count);
    case FIELD_U32S:
        return print_u32s(value, json);
    case FIELD_LIST:
        return print_list(field, value, json);
    case FIELD_RECORD:
        return record_print(field->of, value, json);
    }
    return STATUS_INTERNAL;
}

enum status record_print(const struct record_type *type, const void *record, struct buffer *json)
{
    enum status status = buffer_append_text(json, "{");
    for (size_t i = 0; status == STATUS_OK && i < type->field_count; i++) {
        const struct field *field = &type->fields[i];
        status = buffer_append_format(json, "%s\"%s\": ", i ? ", " : "", field->name);
        if (status == STATUS_OK)
            status = print_field(field, (const uint8_t *)record + field->offset, json);
    }
    return status == STATUS_OK ? buffer_append_text(json, "}") : status;
}
