/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/message.h"

#include "protocol/memory.h"

#include <inttypes.h>
#include <string.h>

#define ROW(KIND, row_code, NAME_, record_, sentence_)                                             \
    {MESSAGE_##KIND, row_code, #NAME_, &record_##_type, sentence_},
#define ROW_COMMAND(code, NAME, record, sentence) ROW(COMMAND, code, NAME, record, sentence)
#define ROW_EVENT(code, NAME, record, sentence) ROW(EVENT, code, NAME, record, sentence)
#define ROW_REPORT(code, NAME, record, sentence) ROW(REPORT, code, NAME, record, sentence)
#define ROW_TASK(code, NAME, record, sentence) ROW(TASK, code, NAME, record, sentence)
#define ROW_SIGNAL(code, NAME, record, sentence) ROW(SIGNAL, code, NAME, record, sentence)
#define ROW_ANSWER(code, NAME, record, sentence) ROW(ANSWER, code, NAME, record, sentence)
#define ROW_LINK(code, NAME, record, sentence) ROW(LINK, code, NAME, record, sentence)

/* The preprocessor cannot lower a name: the table is made with upper-case names, and once, at the
 * first look, lower-case copies are taken.  Idempotent, so threads may race to do it. */
#define MESSAGE_NAME_SIZE 32
struct row {
    enum message_kind kind;
    uint32_t code;
    const char *upper;
    const struct record_type *record;
    const char *sentence;
};

static const struct row rows[] = {COMMAND_LIST(ROW_COMMAND) EVENT_LIST(ROW_EVENT)
                                      REPORT_LIST(ROW_REPORT) TASK_LIST(ROW_TASK)
                                          SIGNAL_LIST(ROW_SIGNAL) ANSWER_LIST(ROW_ANSWER)
                                              LINK_LIST(ROW_LINK)};

#define ROW_COUNT (sizeof(rows) / sizeof(rows[0]))
static char names[ROW_COUNT][MESSAGE_NAME_SIZE];
static struct message_type types[ROW_COUNT];

__attribute__((constructor)) static void message_types_fill(void)
{
    for (size_t i = 0; i < ROW_COUNT; i++) {
        size_t length = strlen(rows[i].upper);
        ASSERT(length < MESSAGE_NAME_SIZE);
        for (size_t c = 0; c < length; c++) {
            char letter = rows[i].upper[c];
            names[i][c] = letter >= 'A' && letter <= 'Z' ? (char)(letter + 32) : letter;
        }
        types[i] = (struct message_type){rows[i].kind, rows[i].code, names[i], rows[i].record,
                                         rows[i].sentence};
    }
}

const struct message_type *message_type_find(uint32_t kind, uint32_t code)
{
    for (size_t i = 0; i < ROW_COUNT; i++)
        if ((uint32_t)types[i].kind == kind && types[i].code == code)
            return &types[i];
    return NULL;
}

const struct message_type *message_type_named(uint32_t kind, const char *name)
{
    for (size_t i = 0; i < ROW_COUNT; i++)
        if ((uint32_t)types[i].kind == kind && strcmp(types[i].name, name) == 0)
            return &types[i];
    return NULL;
}

const struct message_type *message_type_at(size_t index, size_t *count_out)
{
    if (count_out)
        *count_out = ROW_COUNT;
    return index < ROW_COUNT ? &types[index] : NULL;
}

const char *message_kind_name(uint32_t kind)
{
    static const char *const kinds[] = {"none", "command", "event",  "report",
                                        "task", "signal",  "answer", "link"};
    return kind < COUNT_OF(kinds) ? kinds[kind] : "unknown";
}

enum status message_init(struct message *message, enum message_kind kind, uint32_t code)
{
    const struct message_type *type = message_type_find(kind, code);
    ASSERT(type != NULL);
    memset(message, 0, sizeof(*message));
    message->body = memory_zeroed(1, type->record->size);
    if (!message->body)
        return STATUS_NO_MEMORY;
    message->head.kind = kind;
    message->head.code = code;
    return STATUS_OK;
}

void message_fini(struct message *message)
{
    if (message->body) {
        const struct message_type *type =
            message_type_find(message->head.kind, message->head.code);
        ASSERT(type != NULL);
        record_fini(type->record, message->body);
        memory_free(message->body);
    }
    record_fini(&envelope_type, &message->head);
    message->body = NULL;
}

struct message message_take(struct message *message)
{
    struct message taken = *message;
    memset(message, 0, sizeof(*message));
    return taken;
}

enum status message_copy(const struct message *message, struct message *copy_out)
{
    const struct message_type *type = message_type_find(message->head.kind, message->head.code);
    ASSERT(type != NULL && message->body != NULL);
    struct message copy = {.body = memory_zeroed(1, type->record->size)};
    if (!copy.body)
        return STATUS_NO_MEMORY;
    enum status status = record_copy(&envelope_type, &message->head, &copy.head);
    if (status == STATUS_OK)
        status = record_copy(type->record, message->body, copy.body);
    if (status != STATUS_OK) {
        record_fini(&envelope_type, &copy.head);
        memory_free(copy.body);
        return status;
    }
    *copy_out = copy;
    return STATUS_OK;
}

bool message_equal(const struct message *a, const struct message *b)
{
    if (!record_equal(&envelope_type, &a->head, &b->head))
        return false;
    const struct message_type *type = message_type_find(a->head.kind, a->head.code);
    return type && record_equal(type->record, a->body, b->body);
}

bool message_is(const struct message *message, enum message_kind kind, uint32_t code)
{
    return message->head.kind == (uint32_t)kind && message->head.code == code;
}

enum status message_print(const struct message *message, struct buffer *json)
{
    const struct message_type *type = message_type_find(message->head.kind, message->head.code);
    ASSERT(type != NULL);
    enum status status =
        buffer_append_format(json, "{\"kind\": \"%s\", \"name\": \"%s\"",
                             message_kind_name(message->head.kind), type->name);
    for (size_t i = 2; status == STATUS_OK && i < envelope_type.field_count; i++) {
        const struct field *field = &envelope_type.fields[i];
        const void *value = (const uint8_t *)&message->head + field->offset;
        if (record_value_is_default(field, value))
            continue;
        const struct record_type one = {"", 0, field, 1};
        size_t start = json->size;
        status = record_print(&one, &message->head, json);
        if (status == STATUS_OK) {
            /* "{...}" of the one field becomes ", ..." */
            json->bytes[start] = ',';
            json->size--;
        }
    }
    if (status == STATUS_OK)
        status = buffer_append_text(json, ", \"body\": ");
    if (status == STATUS_OK)
        status = record_print(type->record, message->body, json);
    return status == STATUS_OK ? buffer_append_text(json, "}") : status;
}
