/* SPDX-License-Identifier: Apache-2.0 */
/*
 * output: how commands show things: tables for people, JSON for programs, progress on standard
 * error.
 *
 * What a peer said is shown without control bytes, so that a name cannot drive the terminal.
 *
 * Memory   a table owns its cells until table_print.
 * Threads  one.
 */
#ifndef TROUPE_RUNTIME_TOOLS_TROUPE_OUTPUT_H
#define TROUPE_RUNTIME_TOOLS_TROUPE_OUTPUT_H

#include "protocol/record.h"
#include "runtime/tools/troupe/cli.h"

#include <jansson.h>

enum { TABLE_COLUMNS_MAX = 10, CELL_SIZE = 160 };

struct table {
    const char *const *headings;
    size_t columns;
    char (*cells)[CELL_SIZE]; /* row after row */
    size_t count;
    bool is_broken; /* without memory; said by table_print */
};

void table_init(struct table *table, const char *const *headings, size_t columns);
void table_fini(struct table *table);
/* The next cell, left to right. */
void table_add(struct table *table, const char *format, ...) PRINTF_LIKE(2, 3);
/* Prints and frees; false without memory. */
MUST_CHECK bool table_print(struct table *table, const struct cli *cli);

/* Without control bytes. */
void text_make_plain(char *text);
/* "1.6 MB" of at most 16 characters; returns text_out. */
const char *size_print(uint64_t bytes, char text_out[16]);
/* The first 8 digits of a 16-byte id. */
const char *id_print_short(const void *id, char text_out[9]);

/*
 * A JSON document of records, as text: a number of 64 bits, such as an incarnation, is more than
 * jansson's integers hold.
 */
struct document {
    struct buffer text;
    bool is_broken; /* without memory; said by document_finish */
};

void document_init(struct document *document);
void document_add(struct document *document, const char *format, ...) PRINTF_LIKE(2, 3);
/* A JSON string with its quotes. */
void document_add_text(struct document *document, const char *text);
void document_add_record(struct document *document, const struct record_type *type,
                         const void *record);
void document_add_message(struct document *document, const struct message *message);
/* Takes the last brace away, for more members of the object: ", \"name\": ...}" comes next. */
void document_reopen(struct document *document);
/* Prints a line and frees; the exit code. */
int document_finish(const struct cli *cli, struct document *document);
/* All of it for one record. */
int document_of_record(const struct cli *cli, const struct record_type *type, const void *record);
/* Prints and frees; one line when `is_line`.  The exit code. */
int json_finish(const struct cli *cli, json_t *root, bool is_line);

/* One redrawn line on a terminal, else a line each 10 % or 5 s. */
struct progress {
    const struct cli *cli;
    uint64_t drawn_ms;
    uint32_t drawn_percent;
    bool is_open; /* the line stands on the terminal */
    char last[CELL_SIZE];
};

/* `percent` above 100: unknown. */
void progress_show(struct progress *progress, uint32_t percent, const char *format, ...)
    PRINTF_LIKE(3, 4);
/* Ends the line. */
void progress_end(struct progress *progress);

#endif
