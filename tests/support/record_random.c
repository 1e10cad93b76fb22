/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/record_random.h"

#include "protocol/memory.h"

#include <string.h>

/* Often nothing, often the bound itself: that is where mistakes are. */
static uint64_t random_size(struct seeded *seeded, uint64_t max, uint64_t usual)
{
    switch (seeded_below(seeded, 8)) {
    case 0:
        return 0;
    case 1:
        return max < 5000 ? max : usual;
    default:
        return seeded_below(seeded, (max < usual ? max : usual) + 1);
    }
}

static uint64_t random_number(struct seeded *seeded, uint64_t max, uint64_t ceiling)
{
    uint64_t bound = max != 0 && max < ceiling ? max : ceiling;
    uint64_t number = seeded_next(seeded) >> seeded_below(seeded, 64);
    if (seeded_below(seeded, 16) == 0)
        return bound;
    return bound == UINT64_MAX ? number : number % (bound + 1);
}

static char *random_text(struct seeded *seeded, uint64_t max)
{
    static const char *const pieces[] = {"a", "Z", "\"", "\\", "\n", "\x01", "ä", "語", "🎭", "/"};
    uint64_t size = random_size(seeded, max, 40);
    char *text = memory_zeroed((size_t)size + 1, 1);
    ASSERT(text != NULL);
    size_t used = 0;
    while (used < size) {
        const char *piece = pieces[seeded_below(seeded, COUNT_OF(pieces))];
        size_t length = strlen(piece);
        if (used + length > size) {
            text[used++] = 'x';
            continue;
        }
        memcpy(text + used, piece, length);
        used += length;
    }
    return text;
}

static void field_random(const struct field *field, struct seeded *seeded, uint32_t items_max,
                         void *value)
{
    switch (field->kind) {
    case FIELD_BOOL:
        *(bool *)value = seeded_below(seeded, 2);
        break;
    case FIELD_U32:
        *(uint32_t *)value = (uint32_t)random_number(seeded, field->max, UINT32_MAX);
        break;
    case FIELD_U64:
        *(uint64_t *)value = random_number(seeded, field->max, UINT64_MAX);
        break;
    case FIELD_F64:
        *(double *)value = (double)seeded_float(seeded) * (double)seeded_below(seeded, 1u << 30);
        break;
    case FIELD_FIXED:
        if (seeded_below(seeded, 4))
            seeded_fill(seeded, value, field->max);
        break;
    case FIELD_TEXT:
        *(char **)value = random_text(seeded, field->max);
        break;
    case FIELD_BYTES: {
        struct bytes *bytes = value;
        bytes->count = (uint32_t)random_size(seeded, field->max, 100);
        bytes->items = bytes->count ? memory_zeroed(bytes->count, 1) : NULL;
        seeded_fill(seeded, bytes->items, bytes->count);
        break;
    }
    case FIELD_U32S: {
        struct u32s *numbers = value;
        numbers->count = (uint32_t)random_size(seeded, field->max, 20);
        numbers->items = numbers->count ? memory_zeroed(numbers->count, sizeof(uint32_t)) : NULL;
        for (uint32_t i = 0; i < numbers->count; i++)
            numbers->items[i] = (uint32_t)random_number(seeded, 0, UINT32_MAX);
        break;
    }
    case FIELD_LIST: {
        struct record_list *list = value;
        uint64_t most = field->max < items_max ? field->max : items_max;
        uint32_t count = (uint32_t)seeded_below(seeded, most + 1);
        list->items = count ? memory_zeroed(count, field->of->size) : NULL;
        for (; list->count < count; list->count++)
            record_random(field->of, seeded, items_max / 2,
                          (uint8_t *)list->items + list->count * field->of->size);
        break;
    }
    case FIELD_RECORD:
        record_random(field->of, seeded, items_max, value);
        break;
    }
}

void record_random(const struct record_type *type, struct seeded *seeded, uint32_t items_max,
                   void *record_out)
{
    memset(record_out, 0, type->size);
    for (size_t i = 0; i < type->field_count; i++)
        if (seeded_below(seeded, 5))
            field_random(&type->fields[i], seeded, items_max,
                         (uint8_t *)record_out + type->fields[i].offset);
}

void message_random(const struct message_type *type, struct seeded *seeded,
                    struct message *message_out)
{
    ASSERT(message_init(message_out, type->kind, type->code) == STATUS_OK);
    record_random(&envelope_type, seeded, 4, &message_out->head);
    message_out->head.kind = type->kind;
    message_out->head.code = type->code;
    record_random(type->record, seeded, 4, message_out->body);
}
