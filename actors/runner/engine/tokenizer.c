/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/tokenizer.h"

#include "actors/runner/engine/text_stream.h"
#include "actors/runner/engine/tokenizer_parts.h"
#include "actors/runner/engine/unicode_text.h"
#include "protocol/memory.h"
#include "protocol/utf8.h"

#include <string.h>

/* One call of tokenizer_encode. */
struct encoding {
    const struct tokenizer *tokenizer;
    struct token_list *list;
    struct reason *reason;
    struct bpe_work work;
    struct piece_ends pieces;
    int allow_special;
    const char *first; /* the text that follows begins the whole one if it begins here */
};

static enum status open_empty(struct tokenizer **tokenizer_out, struct reason *reason)
{
    struct tokenizer *tokenizer = memory_zeroed(1, sizeof(*tokenizer));
    if (!tokenizer)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for a tokenizer");
    enum status status = token_table_open(&tokenizer->table);
    if (status == STATUS_OK)
        status = bpe_open(&tokenizer->bpe);
    if (status == STATUS_OK)
        status = pretokenizer_open(&tokenizer->splitter);
    if (status == STATUS_OK)
        status = added_tokens_open(&tokenizer->raw);
    if (status == STATUS_OK)
        status = added_tokens_open(&tokenizer->normalised);
    if (status != STATUS_OK) {
        tokenizer_close(tokenizer);
        return refuse(reason, status, "no memory for a tokenizer");
    }
    *tokenizer_out = tokenizer;
    return STATUS_OK;
}

enum status tokenizer_open(const char *directory, struct tokenizer **tokenizer_out,
                           struct reason *reason)
{
    struct tokenizer *tokenizer = NULL;
    enum status status = open_empty(&tokenizer, reason);
    if (status != STATUS_OK)
        return status;
    status = tokenizer_read(tokenizer, directory, reason);
    if (status != STATUS_OK) {
        tokenizer_close(tokenizer);
        return status;
    }
    *tokenizer_out = tokenizer;
    return STATUS_OK;
}

enum status tokenizer_open_bytes(const char *bytes, size_t size,
                                 struct tokenizer **tokenizer_out, struct reason *reason)
{
    struct tokenizer *tokenizer = NULL;
    enum status status = open_empty(&tokenizer, reason);
    if (status != STATUS_OK)
        return status;
    status = tokenizer_read_bytes(tokenizer, bytes, size, reason);
    if (status != STATUS_OK) {
        tokenizer_close(tokenizer);
        return status;
    }
    *tokenizer_out = tokenizer;
    return STATUS_OK;
}

void tokenizer_close(struct tokenizer *tokenizer)
{
    if (!tokenizer)
        return;
    token_table_close(tokenizer->table);
    bpe_close(tokenizer->bpe);
    pretokenizer_close(tokenizer->splitter);
    added_tokens_close(tokenizer->raw);
    added_tokens_close(tokenizer->normalised);
    memory_free(tokenizer);
}

/* Text without added tokens, normalised, with whatever space goes before it. */
static enum status encode_pieces(struct encoding *encoding, const char *text, size_t length)
{
    const struct tokenizer *tokenizer = encoding->tokenizer;
    enum status status = pretokenizer_split(tokenizer->splitter, text, length, &encoding->pieces,
                                            encoding->reason);
    size_t start = 0;
    for (size_t at = 0; at < encoding->pieces.count && status == STATUS_OK; at++) {
        size_t end = encoding->pieces.ends[at];
        uint32_t whole;
        if (tokenizer->ignores_merges &&
            token_table_find(tokenizer->table, text + start, end - start, &whole))
            status = token_list_add(encoding->list, whole);
        else
            status = bpe_merge(tokenizer->bpe, &encoding->work, text + start, end - start,
                               encoding->list);
        start = end;
    }
    return status;
}

/* A new text with a space before it; NULL when there is no memory. */
static char *text_spaced(const char *text, size_t length)
{
    char *spaced = memory_zeroed(length + 2, 1);
    if (!spaced)
        return NULL;
    spaced[0] = ' ';
    memcpy(spaced + 1, text, length);
    return spaced;
}

/* A Metaspace reads U+2581 as a space only now, when added tokens were looked for in the text. */
static enum status encode_plain(struct encoding *encoding, const char *text, size_t length)
{
    const struct tokenizer *tokenizer = encoding->tokenizer;
    if (!tokenizer->has_metaspace)
        return encode_pieces(encoding, text, length);
    char *spaced = text_spaced(text, length);
    if (!spaced)
        return STATUS_NO_MEMORY;
    length = text_spaces(spaced + 1, length);
    const int is_first = text == encoding->first;
    const int has_space = spaced[1] != ' ' &&
                           (tokenizer->space_before == SPACE_BEFORE_PIECE ||
                            (tokenizer->space_before == SPACE_BEFORE_FIRST && is_first));
    enum status status = encode_pieces(encoding, has_space ? spaced : spaced + 1,
                                       has_space ? length + 1 : length);
    memory_free(spaced);
    return status;
}

/* Cuts the added tokens of `set` out of the text and gives the rest to `rest`. */
static enum status encode_around(struct encoding *encoding, const struct added_tokens *set,
                                 const char *text, size_t length,
                                 enum status (*rest)(struct encoding *encoding, const char *text,
                                                     size_t length))
{
    enum status status = STATUS_OK;
    struct added_cursor cursor = {0, 0};
    struct added_match match;
    while (status == STATUS_OK &&
           added_tokens_next(set, text, length, &cursor, encoding->allow_special, &match)) {
        if (match.start > cursor.done)
            status = rest(encoding, text + cursor.done, match.start - cursor.done);
        if (status == STATUS_OK)
            status = token_list_add(encoding->list, match.id);
        cursor.done = match.end;
    }
    if (status == STATUS_OK && cursor.done < length)
        status = rest(encoding, text + cursor.done, length - cursor.done);
    return status;
}

static enum status encode_raw(struct encoding *encoding, const char *text, size_t length)
{
    char *normalised = NULL;
    enum status status =
        tokenizer_normalise(encoding->tokenizer, text, length, &normalised, &length);
    if (encoding->first == text && normalised)
        encoding->first = normalised;
    if (status == STATUS_OK)
        status = encode_around(encoding, encoding->tokenizer->normalised,
                               normalised ? normalised : text, length, encode_plain);
    encoding->first = NULL;
    memory_free(normalised);
    return status;
}

static enum status add_affix(struct token_list *list, const struct token_affix *affix)
{
    enum status status = STATUS_OK;
    for (size_t at = 0; at < affix->count && status == STATUS_OK; at++)
        status = token_list_add(list, affix->ids[at]);
    return status;
}

enum status tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t length,
                             unsigned options, struct token_list *list, struct reason *reason)
{
    if (length > TOKENIZER_TEXT_MAX)
        return refuse(reason, STATUS_TOO_LARGE,
                      "the text has %zu bytes; at most %d can be encoded at once", length,
                      TOKENIZER_TEXT_MAX);
    size_t valid = utf8_valid_prefix(text, length);
    if (valid < length)
        return refuse(reason, STATUS_MALFORMED, "the text is not UTF-8 at byte %zu", valid);
    struct encoding encoding = {
        .tokenizer = tokenizer,
        .list = list,
        .reason = reason,
        .allow_special = !(options & TOKENIZER_SPECIAL_AS_TEXT),
        .first = text,
    };
    enum status status = STATUS_OK;
    if (options & TOKENIZER_POST_PROCESS)
        status = add_affix(list, &tokenizer->prefix);
    if (status == STATUS_OK)
        status = encode_around(&encoding, tokenizer->raw, text, length, encode_raw);
    if (status == STATUS_OK && (options & TOKENIZER_POST_PROCESS))
        status = add_affix(list, &tokenizer->suffix);
    bpe_work_free(&encoding.work);
    piece_ends_free(&encoding.pieces);
    if (status == STATUS_NO_MEMORY)
        return refuse(reason, status, "no memory to encode %zu bytes of text", length);
    return status;
}

int tokenizer_piece(const struct tokenizer *tokenizer, uint32_t id, struct token_piece *piece_out)
{
    return token_table_get(tokenizer->table, id, piece_out);
}

size_t tokenizer_size(const struct tokenizer *tokenizer)
{
    return token_table_size(tokenizer->table);
}

int tokenizer_find(const struct tokenizer *tokenizer, const char *text, size_t size,
                   uint32_t *id_out)
{
    const struct added_tokens *const sets[] = {tokenizer->raw, tokenizer->normalised};
    for (size_t at = 0; at < COUNT_OF(sets); at++) {
        if (added_tokens_get(sets[at], text, size, id_out))
            return 1;
    }
    return token_table_find(tokenizer->table, text, size, id_out);
}

size_t tokenizer_end_ids(const struct tokenizer *tokenizer, const uint32_t **ids_out)
{
    *ids_out = tokenizer->end_ids;
    return tokenizer->end_count;
}

int tokenizer_is_end(const struct tokenizer *tokenizer, uint32_t id)
{
    for (size_t at = 0; at < tokenizer->end_count; at++) {
        if (tokenizer->end_ids[at] == id)
            return 1;
    }
    return 0;
}

/* A run of tokens that are bytes is text if all of it is; else each byte is U+FFFD. */
static enum status push_bytes(struct text_stream *stream, const char *bytes, size_t size)
{
    enum status status = STATUS_OK;
    if (utf8_valid_prefix(bytes, size) == size)
        return text_stream_push(stream, bytes, size);
    for (size_t at = 0; at < size && status == STATUS_OK; at++)
        status = text_stream_push(stream, "\xef\xbf\xbd", 3);
    return status;
}

/* `run` has room for a byte of each id. */
static enum status push_pieces(const struct tokenizer *tokenizer, const uint32_t *ids,
                               size_t count, int skip_special, struct text_stream *stream,
                               char *run, struct reason *reason)
{
    enum status status = STATUS_OK;
    size_t run_size = 0;
    for (size_t at = 0; at < count && status == STATUS_OK; at++) {
        struct token_piece piece;
        if (!tokenizer_piece(tokenizer, ids[at], &piece))
            return refuse(reason, STATUS_INVALID,
                          "token id %u is not defined; this tokenizer has ids below %zu", ids[at],
                          tokenizer_size(tokenizer));
        if (skip_special && (piece.flags & TOKEN_SPECIAL))
            continue;
        if (piece.flags & TOKEN_BYTE) {
            run[run_size++] = piece.bytes[0];
            continue;
        }
        status = push_bytes(stream, run, run_size);
        run_size = 0;
        if (status == STATUS_OK)
            status = text_stream_push(stream, piece.bytes, piece.size);
    }
    return status == STATUS_OK ? push_bytes(stream, run, run_size) : status;
}

enum status tokenizer_decode(const struct tokenizer *tokenizer, const uint32_t *ids, size_t count,
                             int skip_special, char **text_out, size_t *length_out,
                             struct reason *reason)
{
    struct text_stream *stream = NULL;
    char *run = memory_zeroed(count + 1, 1);
    enum status status = run ? text_stream_open(NULL, 0, &stream, reason) : STATUS_NO_MEMORY;
    if (status == STATUS_OK) {
        text_stream_keep_nul(stream);
        status = push_pieces(tokenizer, ids, count, skip_special, stream, run, reason);
    }
    if (status == STATUS_OK)
        status = text_stream_finish(stream);
    if (status == STATUS_OK) {
        size_t length;
        const char *text = text_stream_text(stream, &length);
        if (tokenizer->drops_first_space && length > 0 && text[0] == ' ') {
            text++;
            length--;
        }
        char *copy = memory_text(text, length);
        if (copy) {
            *text_out = copy;
            *length_out = length;
        } else {
            status = STATUS_NO_MEMORY;
        }
    }
    if (status == STATUS_NO_MEMORY)
        refuse(reason, status, "no memory to decode %zu tokens", count);
    memory_free(run);
    text_stream_close(stream);
    return status;
}

enum status tokenizer_normalise(const struct tokenizer *tokenizer, const char *text,
                                size_t length, char **text_out, size_t *length_out)
{
    char *normalised = NULL;
    if (tokenizer->has_nfc) {
        enum status status = text_nfc(text, length, &normalised, &length);
        if (status != STATUS_OK)
            return status;
    }
    if (tokenizer->has_characters && !tokenizer->replaces_late) {
        if (tokenizer->space_before == SPACE_BEFORE_TEXT && length > 0) {
            char *spaced = text_spaced(normalised ? normalised : text, length);
            memory_free(normalised);
            normalised = spaced;
            length++;
        } else if (!normalised) {
            normalised = memory_text(text, length);
        }
        if (!normalised)
            return STATUS_NO_MEMORY;
        length = text_spaces(normalised, length);
    }
    *text_out = normalised;
    *length_out = length;
    return STATUS_OK;
}

int tokenizer_drops_first_space(const struct tokenizer *tokenizer)
{
    return tokenizer->drops_first_space;
}

const struct pretokenizer *tokenizer_splitter(const struct tokenizer *tokenizer)
{
    return tokenizer->splitter;
}
