/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dialogue_parts: what the files of the dialogue parser share.
 *
 * Owner    dialogue.c.
 * Memory   as dialogue.h says.
 * Threads  none of its own.
 * Fails    `failed` of the dialogue, told by dialogue_push.
 */
#ifndef TROUPE_ENGINE_DIALOGUE_DIALOGUE_PARTS_H
#define TROUPE_ENGINE_DIALOGUE_DIALOGUE_PARTS_H

#include "actors/runner/engine/dialogue/dialogue.h"
#include "actors/runner/engine/dialogue/json_scan.h"
#include "protocol/buffer.h"

enum {
    RAW_MAX = 512,   /* bytes of a call before its name is known */
    SPACES_MAX = 64, /* white space held back; more of it is text */
    HEAD_MAX = 256,  /* names, keys, heads of messages */
};

enum mode {
    MODE_START, /* nothing was said yet */
    MODE_REASONING,
    MODE_CONTENT,
    /* calls.c: a call between tags, or a bare one */
    MODE_CALL,       /* after <tool_call>: which syntax? */
    MODE_JSON,       /* the object of a call */
    MODE_JSON_WHOLE, /* the same, kept until it is whole: its name comes late */
    MODE_XML_NAME,   /* <function=...> */
    MODE_XML_BODY,   /* between parameters */
    MODE_XML_JSON,   /* <function=f>{...}</function> */
    MODE_XML_KEY,
    MODE_XML_VALUE,
    MODE_GLM_NAME,
    MODE_GLM_BODY,
    MODE_GLM_KEY,
    MODE_GLM_GAP, /* between key and value */
    MODE_GLM_VALUE,
    MODE_TAIL,    /* up to </tool_call> */
    MODE_BETWEEN, /* after a bare call: another one? */
    /* builtin.c */
    MODE_BUILTIN_NAME,
    MODE_BUILTIN_BODY,
    MODE_BUILTIN_VALUE,
    /* deepseek.c */
    MODE_SEEK_LIST, /* between calls */
    MODE_SEEK_HEAD, /* up to the separator */
    MODE_SEEK_NAME, /* the name's line, in the older form */
    MODE_SEEK_JSON,
    MODE_SEEK_TAIL,
    /* harmony.c */
    MODE_HEAD, /* before <|message|> */
    MODE_BODY,
    MODE_GAP, /* between messages */
};

/* Types of a JSON schema, as a set; 0: any. */
enum value_type {
    TYPE_STRING = 1,
    TYPE_INTEGER = 2,
    TYPE_NUMBER = 4,
    TYPE_BOOLEAN = 8,
    TYPE_NULL = 16,
    TYPE_OBJECT = 32,
    TYPE_ARRAY = 64,
};

/* The arguments of the call under way. */
struct arguments {
    json_t *parameters; /* its tool's schema, or NULL */
    json_t *seen;       /* names written so far */
    bool is_open;       /* `{` was written */
    bool is_closed;
    bool has_member;
    bool has_root;   /* JSON: the first byte came */
    bool holds_root; /* and was no `{` */
    bool in_member;
    bool is_direct;  /* the value is written as it comes */
    bool is_dropped; /* a name that came before */
    bool has_comma;  /* of the value, not written yet */
    unsigned types;  /* of the member */
    struct json_scan scan;
    struct buffer key;
    struct buffer value; /* held */
};

struct dialogue {
    struct dialogue_style style;
    json_t *tools;
    enum mode mode;
    char held[MARKER_SIZE_MAX];
    size_t held_size;
    char spaces[SPACES_MAX];
    size_t space_count;
    bool drops_space; /* what comes first is not said */
    bool is_cut;
    char head[HEAD_MAX + 1];
    size_t head_size;
    struct buffer raw; /* of a call that has not begun: said as text if it is none */
    size_t raw_marker; /* bytes of `raw` that are the marker it began with */
    bool is_bare;      /* the call stands without tags: only a known tool is one */
    bool is_tagged;    /* <tool_call> opened it */
    /* MODE_JSON */
    struct json_scan outer;
    bool in_arguments, has_arguments;
    char name[DIALOGUE_NAME_MAX + 1];
    /* harmony: what the message is */
    enum delta_kind body;
    bool has_begun; /* a marker came */
    struct arguments arguments;
    uint32_t call_count;
    bool is_calling; /* the last call has not ended */
    struct buffer text;
    struct dialogue_delta *deltas;
    size_t delta_count, delta_capacity;
    enum status failed;
};

/* ---- dialogue.c ---- */
void dialogue_say(struct dialogue *dialogue, enum delta_kind kind, const char *bytes, size_t size);
/* Text of an answer or of thinking: spaces wait until something follows. */
void dialogue_say_text(struct dialogue *dialogue, enum delta_kind kind, char byte);
void dialogue_flush_spaces(struct dialogue *dialogue, enum delta_kind kind);
void dialogue_byte(struct dialogue *dialogue, char byte);
/* Adds the byte to what is held.  Gives the marker that is whole now, else -1; bytes that begin no
 * marker any more go to `text`. */
int dialogue_match(struct dialogue *dialogue, char byte, const char *const *markers,
                   void (*text)(struct dialogue *dialogue, char byte));
/* Bytes that are no part of anything. */
void dialogue_drop(struct dialogue *dialogue, char byte);
void dialogue_head_clear(struct dialogue *dialogue);
/* False when it is full. */
bool dialogue_head_add(struct dialogue *dialogue, char byte);
bool dialogue_is_name(const char *name);
const json_t *dialogue_tool(const struct dialogue *dialogue, const char *name);
void dialogue_call_begin(struct dialogue *dialogue, const char *name);
/* Closes its arguments. */
void dialogue_call_end(struct dialogue *dialogue);
void dialogue_enter(struct dialogue *dialogue, enum mode mode);

/* ---- calls.c ---- */
const char *const *calls_markers(const struct dialogue *dialogue);
void calls_marker(struct dialogue *dialogue, const char *marker);
void calls_begin_bare(struct dialogue *dialogue, char byte);
void calls_byte(struct dialogue *dialogue, char byte);
/* What is held of a call that never began is said as text. */
void calls_give_up(struct dialogue *dialogue);
void calls_finish(struct dialogue *dialogue);

/* ---- builtin.c ---- */
void builtin_byte(struct dialogue *dialogue, char byte);
/* Bytes held as a possible end of a value were part of it. */
void builtin_flush(struct dialogue *dialogue);

/* ---- deepseek.c ---- */
void deepseek_marker(struct dialogue *dialogue, const char *marker);
void deepseek_byte(struct dialogue *dialogue, char byte);

/* ---- harmony.c ---- */
void harmony_byte(struct dialogue *dialogue, char byte);
void harmony_finish(struct dialogue *dialogue);

/* ---- arguments.c ---- */
void arguments_init(struct arguments *arguments);
void arguments_fini(struct arguments *arguments);
void arguments_begin(struct dialogue *dialogue, const json_t *parameters);
/* All arguments as one JSON value. */
enum scan_result arguments_json(struct dialogue *dialogue, char byte);
/* One by one, as texts. */
void arguments_member_begin(struct dialogue *dialogue, const char *name);
void arguments_member_byte(struct dialogue *dialogue, char byte);
void arguments_member_end(struct dialogue *dialogue);
/* A value that is known as a whole. */
void arguments_whole(struct dialogue *dialogue, const json_t *value);
void arguments_end(struct dialogue *dialogue);

/* ---- coerce.c ---- */
unsigned coerce_types(const json_t *parameters, const char *name);
/* JSON text of a value that was written as a text, or as JSON of another type. */
MUST_CHECK enum status coerce_text(const char *text, size_t size, unsigned types,
                                   struct buffer *out);
MUST_CHECK enum status coerce_json(const char *json, size_t size, unsigned types,
                                   struct buffer *out);
/* A byte within a JSON string. */
MUST_CHECK enum status coerce_escape(char byte, bool escapes_quotes, struct buffer *out);

#endif
