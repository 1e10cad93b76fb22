/* SPDX-License-Identifier: Apache-2.0 */
/* Builds the parts of a tokenizer from the values its files hold. */
#include "actors/runner/engine/tokenizer_parts.h"

#include "actors/runner/engine/unicode_text.h"
#include "protocol/memory.h"

#include <stdlib.h>
#include <string.h>

enum { TOKEN_SIZE_MAX = 4096 };

/* The 68 bytes that are not their own character in the byte map are U+0100 to U+0143. */
static int is_own_character(unsigned byte)
{
    return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

/* The byte a character of the byte map stands for, or -1. */
static int byte_of_character(uint32_t code)
{
    if (code < 0x100)
        return is_own_character(code) ? (int)code : -1;
    if (code > 0x143)
        return -1;
    unsigned left = code - 0x100;
    for (unsigned byte = 0; byte < 256; byte++) {
        if (!is_own_character(byte) && left-- == 0)
            return (int)byte;
    }
    return -1;
}

/* The bytes of a token in the byte map; false when a character of it is not there. */
static int mapped_bytes(const char *text, size_t size, char bytes_out[TOKEN_SIZE_MAX],
                        size_t *size_out)
{
    size_t put = 0;
    for (size_t at = 0; at < size;) {
        size_t step;
        int byte = byte_of_character(utf8_decode(text + at, &step));
        if (byte < 0 || put == TOKEN_SIZE_MAX)
            return 0;
        bytes_out[put++] = (char)byte;
        at += step;
    }
    *size_out = put;
    return 1;
}

/* The bytes a token stands for; false when no text can be merged to it. */
static int token_bytes(const struct tokenizer *tokenizer, const char *text, size_t size,
                       char bytes_out[TOKEN_SIZE_MAX], size_t *size_out)
{
    if (!tokenizer->has_characters)
        return mapped_bytes(text, size, bytes_out, size_out);
    if (size > TOKEN_SIZE_MAX)
        return 0;
    memcpy(bytes_out, text, size);
    *size_out = text_spaces(bytes_out, size);
    return memchr(text, ' ', size) == NULL;
}

/* "<0x41>" in a vocabulary of characters is the byte 0x41; -1 for any other text. */
static int named_byte(const struct tokenizer *tokenizer, const char *text, size_t size)
{
    static const char digits[] = "0123456789ABCDEF";
    if (!tokenizer->has_characters || size != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>')
        return -1;
    const char *high = memchr(digits, text[3], 16);
    const char *low = memchr(digits, text[4], 16);
    return high && low ? (int)((high - digits) * 16 + (low - digits)) : -1;
}

static enum status take_token(struct tokenizer *tokenizer, const char *text, size_t size,
                              const json_t *id, struct reason *reason)
{
    if (!json_is_integer(id) || json_integer_value(id) < 0 ||
        json_integer_value(id) >= TOKEN_TABLE_IDS_MAX)
        return refuse(reason, STATUS_MALFORMED,
                      "the vocabulary has a token whose id is not a number from 0 to %d",
                      TOKEN_TABLE_IDS_MAX - 1);
    uint32_t number = (uint32_t)json_integer_value(id);
    if (size > TOKEN_SIZE_MAX)
        return refuse(reason, STATUS_TOO_LARGE, "token %u of the vocabulary has %zu bytes; at "
                      "most %d are supported", number, size, TOKEN_SIZE_MAX);
    char bytes[TOKEN_SIZE_MAX];
    size_t byte_count = 0;
    /* Text outside the byte map can only be an added token kept in the vocabulary: it stands for
     * itself and is never merged. */
    int is_mapped = size > 0 && token_bytes(tokenizer, text, size, bytes, &byte_count);
    unsigned flags = is_mapped ? (unsigned)TOKEN_MERGEABLE : 0U;
    int byte = named_byte(tokenizer, text, size);
    if (byte >= 0) {
        bytes[0] = (char)byte;
        byte_count = 1;
        flags = TOKEN_BYTE;
        tokenizer->has_byte[byte] = 1;
        bpe_set_byte(tokenizer->bpe, (unsigned char)byte, number);
    }
    enum status status = token_table_put(tokenizer->table, number, is_mapped ? bytes : text,
                                         is_mapped ? byte_count : size, flags);
    if (status == STATUS_EXISTS)
        return refuse(reason, STATUS_MALFORMED, "the vocabulary gives id %u twice", number);
    if (status != STATUS_OK)
        return refuse(reason, status, "no memory for the vocabulary");
    return STATUS_OK;
}

/* Every byte that valid UTF-8 can hold must be a token, or some text could not be encoded. */
static enum status take_byte_tokens(struct tokenizer *tokenizer, struct reason *reason)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        const char text = (char)byte;
        uint32_t id = 0;
        int is_utf8 = byte < 0xc0 || (byte > 0xc1 && byte < 0xf5);
        int is_found = tokenizer->has_characters
                           ? tokenizer->has_byte[byte]
                           : token_table_find(tokenizer->table, &text, 1, &id);
        if (!is_found && is_utf8)
            return refuse(reason, STATUS_UNSUPPORTED,
                          "the vocabulary has no token for the byte 0x%02x; it is not a "
                          "byte-level vocabulary", byte);
        if (is_found && !tokenizer->has_characters)
            bpe_set_byte(tokenizer->bpe, (unsigned char)byte, id);
    }
    return STATUS_OK;
}

enum status tokenizer_take_vocabulary(struct tokenizer *tokenizer, const json_t *vocabulary,
                                      struct reason *reason)
{
    if (!json_is_object(vocabulary) || json_object_size(vocabulary) > TOKEN_TABLE_IDS_MAX)
        return refuse(reason, STATUS_MALFORMED,
                      "the vocabulary is not an object of at most %d tokens", TOKEN_TABLE_IDS_MAX);
    /* Iterated by hand: json_object_foreach has no const form. */
    json_t *object = json_incref((json_t *)(uintptr_t)vocabulary);
    enum status status = STATUS_OK;
    for (void *at = json_object_iter(object); at && status == STATUS_OK;
         at = json_object_iter_next(object, at)) {
        const char *text = json_object_iter_key(at);
        status = take_token(tokenizer, text, strlen(text), json_object_iter_value(at), reason);
    }
    json_decref(object);
    if (tokenizer->has_characters)
        bpe_use_characters(tokenizer->bpe, tokenizer->table);
    if (status == STATUS_OK)
        status = take_byte_tokens(tokenizer, reason);
    return status;
}

enum status tokenizer_add_merge(struct tokenizer *tokenizer, const char *left, size_t left_size,
                                const char *right, size_t right_size, size_t rank,
                                struct reason *reason)
{
    char bytes[2 * TOKEN_SIZE_MAX];
    size_t first = 0;
    size_t second = 0;
    uint32_t left_id;
    uint32_t right_id;
    uint32_t merged;
    if (left_size == 0 || right_size == 0 ||
        !token_bytes(tokenizer, left, left_size, bytes, &first) ||
        !token_bytes(tokenizer, right, right_size, bytes + first, &second) ||
        !token_table_find(tokenizer->table, bytes, first, &left_id) ||
        !token_table_find(tokenizer->table, bytes + first, second, &right_id) ||
        !token_table_find(tokenizer->table, bytes, first + second, &merged))
        return refuse(reason, STATUS_MALFORMED,
                      "merge %zu names a token that is not in the vocabulary", rank);
    if (bpe_add(tokenizer->bpe, left_id, right_id, merged, (uint32_t)rank) != STATUS_OK)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for the merges");
    return STATUS_OK;
}

static unsigned added_flags(const json_t *added)
{
    static const struct {
        const char *key;
        unsigned flag;
    } rows[] = {
        {"special", ADDED_SPECIAL},
        {"single_word", ADDED_SINGLE_WORD},
        {"lstrip", ADDED_STRIPS_LEFT},
        {"rstrip", ADDED_STRIPS_RIGHT},
    };
    unsigned flags = 0;
    for (size_t row = 0; row < COUNT_OF(rows); row++) {
        if (json_is_true(json_object_get(added, rows[row].key)))
            flags |= rows[row].flag;
    }
    return flags;
}

/* An added token may stand in the vocabulary too, under the same id and text. */
static enum status put_added(struct tokenizer *tokenizer, uint32_t id, const char *text,
                             size_t size, unsigned flags, struct reason *reason)
{
    unsigned marks = TOKEN_ADDED | (flags & ADDED_SPECIAL ? (unsigned)TOKEN_SPECIAL : 0U);
    struct token_piece piece;
    char bytes[TOKEN_SIZE_MAX];
    size_t mapped = 0;
    uint32_t other;
    int is_mapped = token_bytes(tokenizer, text, size, bytes, &mapped);
    if (is_mapped && token_table_find(tokenizer->table, bytes, mapped, &other) && other != id)
        return refuse(reason, STATUS_MALFORMED,
                      "added token %u is token %u of the vocabulary already", id, other);
    if (!token_table_get(tokenizer->table, id, &piece)) {
        /* Its spaces come out as spaces too. */
        int is_plain = tokenizer->has_characters && is_mapped;
        if (token_table_put(tokenizer->table, id, is_plain ? bytes : text,
                            is_plain ? mapped : size, marks) != STATUS_OK)
            return refuse(reason, STATUS_NO_MEMORY, "no memory for the added tokens");
        return STATUS_OK;
    }
    int is_same = piece.size == size && memcmp(piece.bytes, text, size) == 0;
    if (!is_same && is_mapped)
        is_same = piece.size == mapped && memcmp(piece.bytes, bytes, mapped) == 0;
    if (!is_same || (piece.flags & TOKEN_ADDED))
        return refuse(reason, STATUS_MALFORMED,
                      "added token %u stands for another text in the vocabulary", id);
    token_table_mark(tokenizer->table, id, marks);
    return STATUS_OK;
}

enum status tokenizer_take_added(struct tokenizer *tokenizer, const json_t *added, json_int_t id,
                                 struct reason *reason)
{
    const json_t *content = json_object_get(added, "content");
    size_t size = json_string_length(content);
    if (id < 0 || id >= TOKEN_TABLE_IDS_MAX)
        return refuse(reason, STATUS_MALFORMED,
                      "an added token has the id %lld; ids are 0 to %d", (long long)id,
                      TOKEN_TABLE_IDS_MAX - 1);
    if (size == 0 || size > ADDED_TOKEN_SIZE_MAX)
        return refuse(reason, STATUS_MALFORMED,
                      "added token %lld has no content of 1 to %d bytes", (long long)id,
                      ADDED_TOKEN_SIZE_MAX);
    if (++tokenizer->added_count > ADDED_TOKENS_MAX)
        return refuse(reason, STATUS_TOO_LARGE, "there are more than %d added tokens",
                      ADDED_TOKENS_MAX);
    const char *text = json_string_value(content);
    unsigned flags = added_flags(added);
    enum status status = put_added(tokenizer, (uint32_t)id, text, size, flags, reason);
    if (status != STATUS_OK)
        return status;
    if (!json_is_true(json_object_get(added, "normalized"))) {
        status = added_tokens_put(tokenizer->raw, text, size, (uint32_t)id, flags);
    } else {
        char *normalised = NULL;
        status = tokenizer_normalise(tokenizer, text, size, &normalised, &size);
        if (status == STATUS_OK && size > ADDED_TOKEN_SIZE_MAX)
            status = STATUS_EXISTS;
        else if (status == STATUS_OK)
            status = added_tokens_put(tokenizer->normalised, normalised ? normalised : text,
                                      size, (uint32_t)id, flags);
        memory_free(normalised);
    }
    if (status == STATUS_EXISTS)
        return refuse(reason, STATUS_MALFORMED, "added token %lld repeats the text of another",
                      (long long)id);
    if (status != STATUS_OK)
        return refuse(reason, status, "no memory for the added tokens");
    return STATUS_OK;
}

/* The ids of one SpecialToken of a template. */
static enum status take_affix(struct tokenizer *tokenizer, const json_t *item,
                              const json_t *special, struct token_affix *affix,
                              struct reason *reason)
{
    const char *name = json_string_value(json_object_get(item, "id"));
    const json_t *ids =
        name ? json_object_get(json_object_get(special, name), "ids") : NULL;
    if (json_array_size(ids) == 0)
        return refuse(reason, STATUS_MALFORMED,
                      "tokenizer.json: the post-processor names a token without ids");
    for (size_t at = 0; at < json_array_size(ids); at++) {
        const json_t *id = json_array_get(ids, at);
        struct token_piece piece;
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) >= TOKEN_TABLE_IDS_MAX || affix->count == TOKENIZER_AFFIX_MAX ||
            !tokenizer_piece(tokenizer, (uint32_t)json_integer_value(id), &piece))
            return refuse(reason, STATUS_MALFORMED,
                          "tokenizer.json: the post-processor adds an id that is not defined, or "
                          "more than %d of them", TOKENIZER_AFFIX_MAX);
        affix->ids[affix->count++] = (uint32_t)json_integer_value(id);
    }
    return STATUS_OK;
}

static enum status take_template(struct tokenizer *tokenizer, const json_t *processor,
                                 struct reason *reason)
{
    const json_t *items = json_object_get(processor, "single");
    const json_t *special = json_object_get(processor, "special_tokens");
    struct token_affix *affix = &tokenizer->prefix;
    int texts = 0;
    for (size_t at = 0; at < json_array_size(items); at++) {
        const json_t *item = json_array_get(items, at);
        const json_t *token = json_object_get(item, "SpecialToken");
        if (json_is_object(token)) {
            enum status status = take_affix(tokenizer, token, special, affix, reason);
            if (status != STATUS_OK)
                return status;
        } else if (json_is_object(json_object_get(item, "Sequence"))) {
            texts++;
            affix = &tokenizer->suffix;
        }
    }
    if (texts != 1)
        return refuse(reason, STATUS_UNSUPPORTED,
                      "tokenizer.json: the post-processor's template \"single\" does not hold "
                      "the text exactly once");
    return STATUS_OK;
}

enum status tokenizer_take_post_processor(struct tokenizer *tokenizer, const json_t *processor,
                                          struct reason *reason)
{
    const char *type = json_string_value(json_object_get(processor, "type"));
    if (type && strcmp(type, "ByteLevel") == 0)
        return STATUS_OK;
    if (type && strcmp(type, "TemplateProcessing") == 0)
        return take_template(tokenizer, processor, reason);
    return refuse(reason, STATUS_UNSUPPORTED,
                  "tokenizer.json: post-processor %.60s is not supported, only ByteLevel and "
                  "TemplateProcessing are", type ? type : "(no type)");
}
