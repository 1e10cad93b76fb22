/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One event of the log: decoding, filtering, printing.
 */
#include "runtime/tools/troupe_log/inspect.h"

#include "protocol/memory.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define BODY_COLUMNS 200
/* Records in records; the schema has three levels. */
#define DEPTH_MAX 8

int complain(int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)fputs("troupe-log: ", stderr);
    (void)vfprintf(stderr, format, arguments);
    (void)fputc('\n', stderr);
    va_end(arguments);
    return code;
}

int complain_status(enum status status, const struct reason *reason)
{
    bool is_finding =
        status == STATUS_DAMAGED || status == STATUS_NOT_FOUND || status == STATUS_STALE;
    return complain(is_finding ? EXIT_DIFFERS : EXIT_UNREADABLE, "%s",
                    reason->text[0] ? reason->text : status_text(status));
}

void event_init(struct event *event, const struct event_record *record)
{
    *event = (struct event){.record = record};
    enum status status =
        message_decode(record->body, record->body_size, &event->message, &event->why_not);
    event->is_decoded = status == STATUS_OK;
    if (!event->is_decoded)
        return;
    event->message.head.index = record->stamp.index;
    event->message.head.time_ms = record->time_ms;
}

void event_fini(struct event *event)
{
    message_fini(&event->message);
}

const char *event_name(const struct event *event, char *text_out)
{
    const struct message_type *type =
        event->is_decoded
            ? message_type_find(event->message.head.kind, event->message.head.code)
            : NULL;
    if (type)
        return type->name;
    (void)snprintf(text_out, 24, "kind %u", (unsigned)event->record->kind);
    return text_out;
}

/* --- filtering --- */

static bool hex_begins(const uint8_t *bytes, size_t size, const char *prefix)
{
    char text[HEX_SIZE(32)];
    if (size > 32 || id_is_zero(bytes, size))
        return false;
    return strncmp(hex_print(bytes, size, text), prefix, strlen(prefix)) == 0;
}

/* Is there a field of this name, at any depth, whose hex begins so? */
static bool record_names(const struct record_type *type, const void *record, const char *field_name,
                         const char *prefix, int depth)
{
    for (size_t i = 0; i < type->field_count && depth < DEPTH_MAX; i++) {
        const struct field *field = &type->fields[i];
        const uint8_t *at = (const uint8_t *)record + field->offset;
        if (field->kind == FIELD_FIXED && strcmp(field->name, field_name) == 0 &&
            hex_begins(at, (size_t)field->max, prefix))
            return true;
        if (field->kind == FIELD_RECORD &&
            record_names(field->of, at, field_name, prefix, depth + 1))
            return true;
        if (field->kind != FIELD_LIST)
            continue;
        const struct record_list *list = (const struct record_list *)(const void *)at;
        for (uint32_t k = 0; k < list->count; k++)
            if (record_names(field->of, (const uint8_t *)list->items + k * field->of->size,
                             field_name, prefix, depth + 1))
                return true;
    }
    return false;
}

static bool body_names(const struct event *event, const char *field_name, const char *prefix)
{
    const struct message_type *type =
        message_type_find(event->message.head.kind, event->message.head.code);
    return type && record_names(type->record, event->message.body, field_name, prefix, 0);
}

/* The actor who said it, or whom the event is about. */
static bool actor_is(const struct event *event, uint32_t actor)
{
    if (event->message.head.actor == actor)
        return true;
    const struct message_type *type =
        message_type_find(event->message.head.kind, event->message.head.code);
    for (size_t i = 0; type && actor != ACTOR_NONE && i < type->record->field_count; i++) {
        const struct field *field = &type->record->fields[i];
        const uint8_t *at = (const uint8_t *)event->message.body + field->offset;
        if (field->kind == FIELD_U32 && strcmp(field->name, "actor") == 0)
            return *(const uint32_t *)(const void *)at == actor;
    }
    return false;
}

static bool kind_is_wanted(const struct event *event, const struct inspect_options *options)
{
    for (size_t i = 0; i < options->kind_count; i++)
        if (event->is_decoded && event->message.head.code == options->kinds[i])
            return true;
    return options->kind_count == 0;
}

bool event_is_wanted(const struct event *event, const struct inspect_options *options)
{
    const struct event_record *record = event->record;
    if (record->stamp.index < options->from_index || record->stamp.index > options->to_index ||
        record->time_ms < options->since_ms || record->time_ms > options->until_ms ||
        !kind_is_wanted(event, options))
        return false;
    bool by_content = options->actor >= 0 || options->instance[0] || options->node[0];
    if (!by_content || !event->is_decoded)
        return !by_content;
    if (options->actor >= 0 && !actor_is(event, (uint32_t)options->actor))
        return false;
    if (options->instance[0] && !body_names(event, "instance_id", options->instance))
        return false;
    return !options->node[0] ||
           hex_begins(event->message.head.node_id.bytes, 16, options->node) ||
           body_names(event, "node_id", options->node);
}

/* --- printing --- */

enum status buffer_flush(struct buffer *buffer)
{
    size_t written = fwrite(buffer->bytes, 1, buffer->size, stdout);
    bool whole = written == buffer->size;
    buffer_clear(buffer);
    return whole ? STATUS_OK : STATUS_IO;
}

/* Who said it: "runner@1f0a2b3c", or "-" for what came of a command. */
static const char *origin_print(const struct event *event, char *text_out, size_t size)
{
    char node[HEX_SIZE(16)];
    const struct envelope *head = &event->message.head;
    if (!event->is_decoded || head->actor == ACTOR_NONE)
        return "-";
    (void)snprintf(text_out, size, "%s@%.8s", actor_kind_name(head->actor),
                   hex_print(head->node_id.bytes, 16, node));
    return text_out;
}

/* The body, or why it can not be shown. */
static enum status body_print(const struct event *event, bool full, struct buffer *text)
{
    if (!event->is_decoded)
        return buffer_append_format(text, " (%zu bytes: %s)", event->record->body_size,
                                    event->why_not.text);
    const struct message_type *type =
        message_type_find(event->message.head.kind, event->message.head.code);
    if (full) {
        enum status status = buffer_append_text(text, " ");
        return status == STATUS_OK ? record_print(type->record, event->message.body, text) : status;
    }
    return summary_print(type->record, event->message.body, text);
}

static enum status line_print(const struct event *event, const struct inspect_options *options,
                              const char *mark, struct buffer *line)
{
    char time[32];
    char leader[HEX_SIZE(16)];
    char name[24];
    char origin[48];
    const struct event_stamp *stamp = &event->record->stamp;
    enum status status = buffer_append_format(
        line, "%s%8" PRIu64 "  %s  %" PRIu64 ".%.4s  %-22s %-20s", mark, stamp->index,
        time_print(event->record->time_ms, time), stamp->epoch.number,
        hex_print(stamp->epoch.leader.bytes, 16, leader), event_name(event, name),
        origin_print(event, origin, sizeof(origin)));
    size_t before = line->size;
    if (status == STATUS_OK)
        status = body_print(event, options->full, line);
    if (status == STATUS_OK && !options->full && line->size > before + BODY_COLUMNS) {
        line->size = before + BODY_COLUMNS;
        while (line->size > before && (line->bytes[line->size] & 0xc0) == 0x80)
            line->size--; /* not within a character */
        status = buffer_append_text(line, "...");
    }
    return status;
}

enum status event_print_json(const struct event *event, struct buffer *json)
{
    char time[32];
    char text[HEX_SIZE(32)];
    char name[24];
    const struct event_record *record = event->record;
    enum status status = buffer_append_format(
        json, "\"index\": %" PRIu64 ", \"time_ms\": %" PRIu64 ", \"time\": \"%s\", \"epoch\": "
        "{\"number\": %" PRIu64 ", \"leader\": \"%s\"}, \"event\": \"%s\"",
        record->stamp.index, record->time_ms, time_print(record->time_ms, time),
        record->stamp.epoch.number, hex_print(record->stamp.epoch.leader.bytes, 16, text),
        event_name(event, name));
    if (status == STATUS_OK)
        status = buffer_append_format(json, ", \"chain\": \"%s\"",
                                      hex_print(record->stamp.chain.bytes, 32, text));
    if (status != STATUS_OK)
        return status;
    if (event->is_decoded) {
        status = buffer_append_text(json, ", \"message\": ");
        return status == STATUS_OK ? message_print(&event->message, json) : status;
    }
    status = buffer_append_format(json, ", \"size\": %zu, \"undecodable\": ", record->body_size);
    return status == STATUS_OK
               ? json_append_text(json, event->why_not.text, strlen(event->why_not.text))
               : status;
}

enum status event_print(const struct event *event, const struct inspect_options *options,
                        const char *mark)
{
    struct buffer line;
    buffer_init(&line, 64u << 20);
    enum status status = STATUS_OK;
    if (options->json) {
        status = buffer_append_text(&line, "{");
        if (status == STATUS_OK && mark[0])
            status = buffer_append_format(&line, "\"side\": \"%s\", ", mark);
        if (status == STATUS_OK)
            status = event_print_json(event, &line);
        if (status == STATUS_OK)
            status = buffer_append_text(&line, "}");
    } else {
        status = line_print(event, options, mark, &line);
    }
    if (status == STATUS_OK)
        status = buffer_append_text(&line, "\n");
    if (status == STATUS_OK)
        status = buffer_flush(&line);
    buffer_fini(&line);
    return status;
}

enum status json_print_long(const struct buffer *json, struct buffer *text)
{
    json_t *value = json_loadb((const char *)json->bytes, json->size, 0, NULL);
    char *long_text = value ? json_dumps(value, JSON_INDENT(2) | JSON_PRESERVE_ORDER) : NULL;
    enum status status = STATUS_NO_MEMORY;
    if (long_text)
        status = buffer_append_format(text, "%s\n", long_text);
    if (long_text) {
        void *(*allocate)(size_t) = NULL;
        void (*release)(void *) = NULL;
        json_get_alloc_funcs(&allocate, &release);
        release(long_text);
    }
    json_decref(value);
    return status;
}
