/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenize and detokenize: one JSON value a line in, one a line out, in the same order.
 *
 * detokenize --pieces writes what a stream gives out after each id, and at the end, as a list.
 */
#include "actors/runner/engine/commands.h"
#include "actors/runner/engine/text_stream.h"
#include "actors/runner/engine/tokenizer.h"
#include "protocol/memory.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* A text of the largest size with every byte written as a JSON escape of six. */
enum { LINE_SIZE_MAX = 6 * TOKENIZER_TEXT_MAX + 64 };

struct line {
    char *bytes;
    size_t size;
    size_t capacity;
};

/* Reads up to the next line end; false at the end of the input.  A longer line than allowed is
 * cut at LINE_SIZE_MAX + 1 bytes, which the caller refuses. */
static bool line_read(struct line *line, FILE *stream, bool *has_memory_out)
{
    line->size = 0;
    *has_memory_out = true;
    for (;;) {
        int byte = getc_unlocked(stream);
        if (byte == EOF)
            return line->size > 0;
        if (byte == '\n')
            return true;
        if (line->size > LINE_SIZE_MAX)
            return true;
        if (line->size == line->capacity) {
            size_t capacity = line->capacity == 0 ? 4096 : line->capacity * 2;
            char *bytes = memory_resized(line->bytes, capacity, 1);
            if (!bytes) {
                *has_memory_out = false;
                return true;
            }
            line->bytes = bytes;
            line->capacity = capacity;
        }
        line->bytes[line->size++] = (char)byte;
    }
}

static enum status tokenize_line(const struct tokenizer *tokenizer, const json_t *value,
                                 unsigned options, struct reason *reason)
{
    if (!json_is_string(value))
        return refuse(reason, STATUS_MALFORMED, "it is not a JSON string");
    struct token_list list = {NULL, 0, 0};
    enum status status = tokenizer_encode(tokenizer, json_string_value(value),
                                          json_string_length(value), options, &list, reason);
    if (status == STATUS_OK) {
        (void)fputs("{\"ids\": [", stdout);
        for (size_t at = 0; at < list.count; at++)
            printf(at == 0 ? "%u" : ", %u", list.ids[at]);
        (void)fputs("]}\n", stdout);
    }
    token_list_free(&list);
    return status;
}

static enum status ids_read(const json_t *value, struct token_list *list, struct reason *reason)
{
    const json_t *ids = json_is_object(value) ? json_object_get(value, "ids") : value;
    if (!json_is_array(ids))
        return refuse(reason, STATUS_MALFORMED,
                      "it is neither a list of ids nor an object with a list \"ids\"");
    for (size_t at = 0; at < json_array_size(ids); at++) {
        const json_t *id = json_array_get(ids, at);
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) > UINT32_MAX)
            return refuse(reason, STATUS_MALFORMED, "id %zu of it is not a token id", at);
        if (token_list_add(list, (uint32_t)json_integer_value(id)) != STATUS_OK)
            return refuse(reason, STATUS_NO_MEMORY, "no memory for %zu ids", at);
    }
    return STATUS_OK;
}

static enum status detokenize_line(const struct tokenizer *tokenizer, const json_t *value,
                                   unsigned skips_special, struct reason *reason)
{
    struct token_list list = {NULL, 0, 0};
    char *text = NULL;
    size_t length = 0;
    enum status status = ids_read(value, &list, reason);
    if (status == STATUS_OK)
        status = tokenizer_decode(tokenizer, list.ids, list.count, (int)skips_special, &text,
                                  &length, reason);
    if (status == STATUS_OK) {
        json_t *string = json_stringn(text, length);
        if (!string || json_dumpf(string, stdout, JSON_ENCODE_ANY) != 0)
            status = refuse(reason, STATUS_NO_MEMORY, "no memory to print %zu bytes", length);
        else
            (void)putchar('\n');
        json_decref(string);
    }
    memory_free(text);
    token_list_free(&list);
    return status;
}

/* Appends what `stream` has ready. */
static enum status piece_append(struct text_stream *stream, json_t *pieces)
{
    size_t length = 0;
    const char *text = text_stream_text(stream, &length);
    json_t *piece = json_stringn(text, length);
    text_stream_take(stream);
    return piece && json_array_append_new(pieces, piece) == 0 ? STATUS_OK : STATUS_NO_MEMORY;
}

static enum status pieces_stream(const struct tokenizer *tokenizer, const struct token_list *list,
                                 unsigned skips_special, struct text_stream *stream,
                                 json_t *pieces)
{
    enum status status = STATUS_OK;
    bool is_begun = false;
    for (size_t at = 0; at < list->count && status == STATUS_OK; at++) {
        struct token_piece piece = {NULL, 0, 0};
        if (!tokenizer_piece(tokenizer, list->ids[at], &piece) ||
            (skips_special && (piece.flags & TOKEN_SPECIAL)))
            piece.size = 0;
        if (piece.size > 0 && !is_begun && piece.bytes[0] == ' ' &&
            tokenizer_drops_first_space(tokenizer)) {
            piece.bytes++;
            piece.size--;
        }
        is_begun = is_begun || piece.size > 0;
        status = text_stream_push(stream, piece.bytes, piece.size);
        if (status == STATUS_OK)
            status = piece_append(stream, pieces);
    }
    if (status == STATUS_OK)
        status = text_stream_finish(stream);
    return status == STATUS_OK ? piece_append(stream, pieces) : status;
}

static enum status stream_line(const struct tokenizer *tokenizer, const json_t *value,
                               unsigned skips_special, struct reason *reason)
{
    struct token_list list = {NULL, 0, 0};
    struct text_stream *stream = NULL;
    json_t *pieces = json_array();
    enum status status = ids_read(value, &list, reason);
    if (status == STATUS_OK)
        status = text_stream_open(NULL, 0, &stream, reason);
    if (status == STATUS_OK) {
        text_stream_keep_nul(stream);
        status = pieces_stream(tokenizer, &list, skips_special, stream, pieces);
        if (status == STATUS_OK && json_dumpf(pieces, stdout, 0) == 0)
            (void)putchar('\n');
        else
            status = refuse(reason, STATUS_NO_MEMORY, "no memory to print %zu pieces", list.count);
    }
    text_stream_close(stream);
    json_decref(pieces);
    token_list_free(&list);
    return status;
}

/* Calls `take` for each line of standard input. */
static int run_lines(const char *command, const struct tokenizer *tokenizer, unsigned options,
                     enum status (*take)(const struct tokenizer *tokenizer, const json_t *value,
                                         unsigned options, struct reason *reason))
{
    struct line line = {NULL, 0, 0};
    struct reason why = {""};
    struct reason reason = {""};
    enum status status = STATUS_OK;
    bool has_memory = true;
    size_t number = 0;
    while (status == STATUS_OK && line_read(&line, stdin, &has_memory)) {
        number++;
        json_t *value = NULL;
        if (!has_memory) {
            status = refuse(&why, STATUS_NO_MEMORY, "no memory to read it");
        } else if (line.size > LINE_SIZE_MAX) {
            status = refuse(&why, STATUS_TOO_LARGE, "it is longer than %d bytes", LINE_SIZE_MAX);
        } else {
            value = json_loadb(line.bytes ? line.bytes : "", line.size,
                               JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
            status = value ? take(tokenizer, value, options, &why)
                           : refuse(&why, STATUS_MALFORMED, "it is not JSON in UTF-8");
        }
        json_decref(value);
        if (status == STATUS_OK && fflush(stdout) != 0)
            status = refuse(&why, STATUS_IO, "the result could not be written");
    }
    memory_free(line.bytes);
    if (status == STATUS_OK)
        return ENGINE_EXIT_OK;
    refuse(&reason, status, "%s: line %zu of the input: %s", command, number, why.text);
    return engine_command_failed(status, &reason);
}

int engine_command_tokenize(int argc, char **argv)
{
    const char *model = NULL;
    unsigned options = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--special-as-text") == 0)
            options |= TOKENIZER_SPECIAL_AS_TEXT;
        else if (strcmp(argv[i], "--post-process") == 0)
            options |= TOKENIZER_POST_PROCESS;
        else if (strcmp(argv[i], "--model") == 0 && i + 1 < argc)
            model = argv[++i];
        else
            return engine_command_usage("tokenize", argv[i]);
    }
    if (!model)
        return engine_command_usage("tokenize", "--model DIR is missing");
    struct tokenizer *tokenizer = NULL;
    struct reason reason = {""};
    enum status status = tokenizer_open(model, &tokenizer, &reason);
    if (status != STATUS_OK)
        return engine_command_failed(status, &reason);
    int code = run_lines("tokenize", tokenizer, options, tokenize_line);
    tokenizer_close(tokenizer);
    return code;
}

int engine_command_detokenize(int argc, char **argv)
{
    const char *model = NULL;
    unsigned skips_special = 0;
    bool in_pieces = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--skip-special") == 0)
            skips_special = 1;
        else if (strcmp(argv[i], "--pieces") == 0)
            in_pieces = true;
        else if (strcmp(argv[i], "--model") == 0 && i + 1 < argc)
            model = argv[++i];
        else
            return engine_command_usage("detokenize", argv[i]);
    }
    if (!model)
        return engine_command_usage("detokenize", "--model DIR is missing");
    struct tokenizer *tokenizer = NULL;
    struct reason reason = {""};
    enum status status = tokenizer_open(model, &tokenizer, &reason);
    if (status != STATUS_OK)
        return engine_command_failed(status, &reason);
    int code = run_lines("detokenize", tokenizer, skips_special,
                         in_pieces ? stream_line : detokenize_line);
    tokenizer_close(tokenizer);
    return code;
}
