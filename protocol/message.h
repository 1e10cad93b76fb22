/* SPDX-License-Identifier: Apache-2.0 */
/*
 * message: an envelope and a body, as they travel and as they stand in the log.
 *
 * Wire     one msgpack map: the envelope's fields that are not zero, and "body", a map keyed by
 *          field name.  One ZeroMQ frame holds one message.
 * Owner    the message owns its body; message_fini frees it.  message_take moves it.
 * Threads  none of its own.
 * Fails    STATUS_MALFORMED, STATUS_TOO_LARGE, STATUS_UNSUPPORTED (a code nobody knows),
 *          STATUS_NO_MEMORY.  A refused message leaves nothing allocated.
 */
#ifndef TROUPE_PROTOCOL_MESSAGE_H
#define TROUPE_PROTOCOL_MESSAGE_H

#include "protocol/buffer.h"
#include "protocol/kinds.h"

struct message {
    struct envelope head; /* head.kind and head.code say what the body is */
    void *body;           /* the record of that kind and code; never NULL in a valid message */
};

struct message_type {
    enum message_kind kind;
    uint32_t code;
    const char *name; /* "place_instance" */
    const struct record_type *record;
    const char *sentence;
};

/* NULL when there is no such row. */
const struct message_type *message_type_find(uint32_t kind, uint32_t code);
/* By lower-case name within a kind; NULL when there is none. */
const struct message_type *message_type_named(uint32_t kind, const char *name);
/* All rows of all kinds, for tables, pages and tests. */
const struct message_type *message_type_at(size_t index, size_t *count_out);
/* "event"; "unknown". */
const char *message_kind_name(uint32_t kind);

/* A message with an empty body of that row; aborts on a row that does not exist. */
MUST_CHECK enum status message_init(struct message *message, enum message_kind kind,
                                    uint32_t code);
/* Accepts a zeroed message. */
void message_fini(struct message *message);
/* Moves; `message` is zeroed. */
struct message message_take(struct message *message);
MUST_CHECK enum status message_copy(const struct message *message, struct message *copy_out);
bool message_equal(const struct message *a, const struct message *b);
/* True for that row; the body may then be read as its struct. */
bool message_is(const struct message *message, enum message_kind kind, uint32_t code);

/* Appends the bytes. */
MUST_CHECK enum status message_encode(const struct message *message, struct buffer *bytes);
/* Walks the bytes with bounds, then unpacks and validates. */
MUST_CHECK enum status message_decode(const void *bytes, size_t size, struct message *message_out,
                                      struct reason *reason);
/* The envelope alone, whatever the body is: whom to answer when the message is refused.  The caller
 * frees it with record_fini(&envelope_type, head). */
MUST_CHECK enum status message_decode_head(const void *bytes, size_t size,
                                           struct envelope *head_out);
/* {"kind": "event", "name": "...", envelope..., "body": {...}} */
MUST_CHECK enum status message_print(const struct message *message, struct buffer *json);

/* A record alone, as a map: the state of a snapshot. */
MUST_CHECK enum status record_encode(const struct record_type *type, const void *record,
                                     struct buffer *bytes);
MUST_CHECK enum status record_decode(const struct record_type *type, const void *bytes,
                                     size_t size, void *record_out, struct reason *reason);

/* Hash over every row, field, type, bound and code: two builds that agree speak the same. */
struct hash schema_hash(void);

/* The range of protocol versions this build speaks; raised when rows change their meaning. */
#define PROTOCOL_MIN 1
#define PROTOCOL_MAX 1

/* Typed access: `struct hello *hello = MESSAGE_BODY(&message, hello);` */
#define MESSAGE_BODY(message, record) ((struct record *)(message)->body)

#endif
