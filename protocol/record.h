/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record: structs that know their fields.
 *
 * Every message body, every part of the state and the state itself is declared once as rows
 * (protocol/schema.h).  The rows make the struct and the table below; one small interpreter over
 * the table copies, frees, compares, prints, encodes, decodes and (in tests) makes random records.
 *
 * Memory   texts, bytes and lists inside a record are heap blocks it owns; record_fini frees them.
 *          A zeroed record is a valid empty one.
 * Threads  none of its own.
 * Fails    STATUS_NO_MEMORY, STATUS_TOO_LARGE; a half-made copy is freed before returning.
 */
#ifndef TROUPE_PROTOCOL_RECORD_H
#define TROUPE_PROTOCOL_RECORD_H

#include "protocol/buffer.h"
#include "protocol/ids.h"
#include "protocol/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum field_kind {
    FIELD_BOOL,   /* bool */
    FIELD_U32,    /* uint32_t, at most `max` when max is not 0 */
    FIELD_U64,    /* uint64_t, same */
    FIELD_F64,    /* double, finite */
    FIELD_FIXED,  /* `max` bytes in place: ids, keys, hashes */
    FIELD_TEXT,   /* char *, UTF-8 without NUL, at most `max` bytes; NULL is the empty text */
    FIELD_BYTES,  /* struct bytes, at most `max` */
    FIELD_U32S,   /* struct u32s, at most `max` numbers */
    FIELD_LIST,   /* struct { struct X *items; uint32_t count; }, at most `max` records */
    FIELD_RECORD, /* a record in place */
};

struct bytes {
    uint8_t *items;
    uint32_t count;
};

struct u32s {
    uint32_t *items;
    uint32_t count;
};

/* The layout every list field shares. */
struct record_list {
    void *items;
    uint32_t count;
};

struct record_type;

struct field {
    const char *name;
    enum field_kind kind;
    size_t offset;
    uint64_t max;
    const struct record_type *of; /* FIELD_LIST and FIELD_RECORD */
    const char *meaning;          /* for the generated page; may be empty */
    /* FIELD_U32 whose numbers stand for words: the word of one, never NULL; else NULL. */
    const char *(*word)(uint32_t number);
};

struct record_type {
    const char *name;
    size_t size;
    const struct field *fields;
    size_t field_count;
};

/* Frees what the record owns and zeroes it. */
void record_fini(const struct record_type *type, void *record);
/* `copy_out` need not be initialised; written only on OK. */
MUST_CHECK enum status record_copy(const struct record_type *type, const void *record,
                                   void *copy_out);
/* Field by field, never by memcmp: padding is not compared; NULL and "" are equal. */
bool record_equal(const struct record_type *type, const void *a, const void *b);
/* One JSON object, keys in the order of the rows, ids as hex, bytes as hex of at most 32 bytes.
 * A number that stands for a word is followed by it: "mode": 2, "mode_name": "fast". */
MUST_CHECK enum status record_print(const struct record_type *type, const void *record,
                                    struct buffer *json);

/* Appends a deep copy of `record` (or a zeroed record if NULL) and returns where it lies, or
 * NULL without memory or beyond `count_max`. */
void *record_list_push(const struct record_type *type, struct record_list *list,
                       const void *record, uint32_t count_max);
/* Removes one; the order of the rest stays. */
void record_list_remove(const struct record_type *type, struct record_list *list, uint32_t index);
/* "list.items, list.count" of any list field as the shared layout. */
#define RECORD_LIST(list) ((struct record_list *)(void *)&(list))

/* Nothing, zero or empty, all the way down: such a field is left out of a message. */
bool record_value_is_default(const struct field *field, const void *value);

/* Replaces a text field by a copy; false without memory (the old text stays).  Bytes that are no
 * UTF-8 become "?". */
MUST_CHECK bool text_set(char **text, const char *value);
/* "" instead of NULL. */
const char *text_or_empty(const char *text);
MUST_CHECK bool bytes_set(struct bytes *bytes, const void *items, size_t count);

/* A JSON string with its quotes; invalid UTF-8 becomes U+FFFD. */
MUST_CHECK enum status json_append_text(struct buffer *json, const char *text, size_t length);

#endif
