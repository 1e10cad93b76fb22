/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/tools/troupe/output.h"

#include "protocol/memory.h"
#include "runtime/clock.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

/* ---- tables ---- */

void text_make_plain(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
}

void table_init(struct table *table, const char *const *headings, size_t columns)
{
    ASSERT(columns <= TABLE_COLUMNS_MAX);
    *table = (struct table){.headings = headings, .columns = columns};
}

void table_fini(struct table *table)
{
    memory_free(table->cells);
    table->cells = NULL;
    table->count = 0;
}

void table_add(struct table *table, const char *format, ...)
{
    va_list arguments;
    char(*cells)[CELL_SIZE] =
        memory_resized(table->cells, table->count + 1, sizeof(table->cells[0]));
    if (!cells) {
        table->is_broken = true;
        return;
    }
    table->cells = cells;
    va_start(arguments, format);
    (void)vsnprintf(cells[table->count], CELL_SIZE, format, arguments);
    va_end(arguments);
    text_make_plain(cells[table->count]);
    table->count++;
}

/* Characters, not bytes. */
static size_t width_of(const char *text)
{
    size_t width = 0;
    for (; *text; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

static void print_cell(const char *text, size_t width, bool is_last)
{
    (void)fputs(text, stdout);
    for (size_t i = width_of(text); !is_last && i < width + 2; i++)
        (void)fputc(' ', stdout);
}

bool table_print(struct table *table, const struct cli *cli)
{
    size_t widths[TABLE_COLUMNS_MAX] = {0};
    for (size_t i = 0; i < table->columns; i++)
        widths[i] = width_of(table->headings[i]);
    for (size_t i = 0; i < table->count; i++) {
        size_t width = width_of(table->cells[i]);
        if (width > widths[i % table->columns])
            widths[i % table->columns] = width;
    }
    if (cli->has_colour)
        (void)fputs("\033[1m", stdout);
    for (size_t i = 0; i < table->columns; i++)
        print_cell(table->headings[i], widths[i], i + 1 == table->columns);
    (void)fputs(cli->has_colour ? "\033[0m\n" : "\n", stdout);
    for (size_t i = 0; i < table->count; i++) {
        const bool is_last = (i + 1) % table->columns == 0;
        print_cell(table->cells[i], widths[i % table->columns], is_last);
        if (is_last)
            (void)fputc('\n', stdout);
    }
    bool is_whole = !table->is_broken;
    table_fini(table);
    return is_whole;
}

const char *size_print(uint64_t bytes, char text_out[16])
{
    static const char *const units[] = {"B", "KB", "MB", "GB", "TB", "PB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1000 && unit + 1 < COUNT_OF(units)) {
        value /= 1000;
        unit++;
    }
    (void)snprintf(text_out, 16, unit == 0 || value >= 100 ? "%.0f %s" : "%.1f %s", value,
                   units[unit]);
    return text_out;
}

const char *id_print_short(const void *id, char text_out[9])
{
    return hex_print(id, 4, text_out);
}

/* ---- JSON ---- */

void document_init(struct document *document)
{
    *document = (struct document){.is_broken = false};
    buffer_init(&document->text, 256u << 20);
}

void document_add(struct document *document, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    ASSERT(length >= 0 && (size_t)length < sizeof(text));
    if (buffer_append(&document->text, text, (size_t)length) != STATUS_OK)
        document->is_broken = true;
}

void document_add_text(struct document *document, const char *text)
{
    if (json_append_text(&document->text, text, strlen(text)) != STATUS_OK)
        document->is_broken = true;
}

void document_add_record(struct document *document, const struct record_type *type,
                         const void *record)
{
    if (record_print(type, record, &document->text) != STATUS_OK)
        document->is_broken = true;
}

void document_add_message(struct document *document, const struct message *message)
{
    if (message_print(message, &document->text) != STATUS_OK)
        document->is_broken = true;
}

void document_reopen(struct document *document)
{
    ASSERT(document->is_broken || document->text.bytes[document->text.size - 1] == '}');
    if (!document->is_broken)
        document->text.size--;
}

int document_finish(const struct cli *cli, struct document *document)
{
    enum status status = document->is_broken ? STATUS_NO_MEMORY : STATUS_OK;
    if (status == STATUS_OK &&
        (fwrite(document->text.bytes, 1, document->text.size, stdout) != document->text.size ||
         fputc('\n', stdout) == EOF || fflush(stdout) != 0))
        status = STATUS_IO;
    buffer_fini(&document->text);
    return status == STATUS_OK ? EXIT_CODE_OK : cli_failed(cli, status, NULL);
}

int document_of_record(const struct cli *cli, const struct record_type *type, const void *record)
{
    struct document document;
    document_init(&document);
    document_add_record(&document, type, record);
    return document_finish(cli, &document);
}

int json_finish(const struct cli *cli, json_t *root, bool is_line)
{
    if (!root)
        return cli_failed(cli, STATUS_NO_MEMORY, NULL);
    int result = json_dumpf(root, stdout, is_line ? JSON_COMPACT : JSON_INDENT(2));
    json_decref(root);
    (void)fputc('\n', stdout);
    if (fflush(stdout) != 0 || result != 0)
        return cli_failed(cli, STATUS_IO, NULL);
    return EXIT_CODE_OK;
}

/* ---- progress ---- */

void progress_show(struct progress *progress, uint32_t percent, const char *format, ...)
{
    char line[CELL_SIZE];
    va_list arguments;
    const uint64_t now_ms = clock_now_ms();
    if (progress->cli->is_json || progress->cli->is_without_progress)
        return;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    text_make_plain(line);
    if (strcmp(line, progress->last) == 0)
        return;
    const bool is_first = progress->last[0] == '\0';
    const bool has_moved = percent > 100 || percent >= progress->drawn_percent + 10 ||
                           percent < progress->drawn_percent;
    const uint64_t pause_ms = progress->cli->is_terminal ? 100 : 5000;
    if (!is_first && now_ms - progress->drawn_ms < pause_ms &&
        (progress->cli->is_terminal || !has_moved))
        return;
    (void)snprintf(progress->last, sizeof(progress->last), "%s", line);
    progress->drawn_ms = now_ms;
    progress->drawn_percent = percent > 100 ? 0 : percent;
    (void)fflush(stdout);
    if (progress->cli->is_terminal)
        (void)fprintf(stderr, "\r\033[K%s", line);
    else
        (void)fprintf(stderr, "%s\n", line);
    (void)fflush(stderr);
    progress->is_open = progress->cli->is_terminal;
}

void progress_end(struct progress *progress)
{
    if (progress->is_open)
        (void)fputs("\r\033[K", stderr);
    progress->is_open = false;
}
