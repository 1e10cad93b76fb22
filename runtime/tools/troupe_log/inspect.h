/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inspect: what the commands of the inspector share: their options, one decoded event, the filter,
 * printing.
 *
 * Owner    runtime/tools/troupe_log/ alone.
 * Memory   an event owns its message; event_fini frees it.
 * Threads  one.
 */
#ifndef TROUPE_RUNTIME_TOOLS_TROUPE_LOG_INSPECT_H
#define TROUPE_RUNTIME_TOOLS_TROUPE_LOG_INSPECT_H

#include "protocol/message.h"
#include "runtime/event_log_reader.h"

/* Exit codes, as --help says them. */
enum {
    EXIT_FINE = 0,
    EXIT_DIFFERS = 1, /* damaged, different, not found */
    EXIT_USAGE = 2,
    EXIT_UNREADABLE = 3
};

#define KINDS_MAX 32

struct inspect_options {
    char log[DISK_PATH_SIZE];
    bool json;
    bool full; /* bodies are not shortened */
    uint64_t from_index; /* 0: from the first */
    uint64_t to_index;   /* UINT64_MAX: to the last */
    uint64_t since_ms;
    uint64_t until_ms;   /* UINT64_MAX: no limit */
    uint64_t limit;      /* UINT64_MAX: no limit */
    uint32_t kinds[KINDS_MAX]; /* codes of events; none: all */
    size_t kind_count;
    int actor;           /* -1: all; 0: from a command */
    char instance[40];   /* hex prefix; empty: all */
    char node[40];
    char *words[4];      /* what follows the command */
    int word_count;
};

/* Prints a sentence and returns its exit code. */
int complain(int code, const char *format, ...) PRINTF_LIKE(2, 3);
/* The exit code of a failed status, its sentence printed. */
int complain_status(enum status status, const struct reason *reason);

struct event {
    const struct event_record *record;
    struct message message; /* zeroed when it can not be decoded */
    bool is_decoded;
    struct reason why_not;
};

/* Decodes the body; its index and time are those of the record. */
void event_init(struct event *event, const struct event_record *record);
void event_fini(struct event *event);
/* "instance_placed"; "kind 77" into a buffer of 24 bytes when it can not be decoded. */
const char *event_name(const struct event *event, char *text_out);

bool event_is_wanted(const struct event *event, const struct inspect_options *options);

/* One line on standard output; `mark` ("+", "-" or "") comes before it. */
enum status event_print(const struct event *event, const struct inspect_options *options,
                        const char *mark);
/* Adds the fields of the JSON object, without its braces. */
enum status event_print_json(const struct event *event, struct buffer *json);
/* What is not zero or empty, ids by their first digits, lists by their length: ` rank=1 ranks[2]`,
 * with a space before each. */
enum status summary_print(const struct record_type *type, const void *record, struct buffer *text);
/* JSON with line breaks and two spaces a level. */
enum status json_print_long(const struct buffer *json, struct buffer *text);
/* Writes and empties. */
enum status buffer_flush(struct buffer *buffer);

/* "2026-11-21T13:05:01.123Z" into 32 bytes. */
const char *time_print(uint64_t time_ms, char *text_out);
/* Milliseconds since 1970, "90s", "10m", "2h" or "3d" ago, or "2026-11-21[T13:05[:01]][Z]", UTC. */
bool time_parse(const char *text, uint64_t now_ms, uint64_t *time_ms_out);

/* The commands; each returns an exit code. */
int inspect_list(const struct inspect_options *options);
int inspect_follow(const struct inspect_options *options);
int inspect_show(const struct inspect_options *options);
int inspect_state(const struct inspect_options *options);
int inspect_verify(const struct inspect_options *options);
int inspect_diff(const struct inspect_options *options);

#endif
