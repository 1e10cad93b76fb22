/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/grammar/vocabulary.h"

#include "actors/runner/engine/grammar/automaton.h"
#include "actors/runner/engine/tokenizer.h"
#include "protocol/memory.h"

#include <utf8proc.h>

#include <stdlib.h>
#include <string.h>

static bool is_plain(const char *bytes, size_t size)
{
    for (size_t at = 0; at < size;) {
        utf8proc_int32_t point = -1;
        const utf8proc_ssize_t taken = utf8proc_iterate((const utf8proc_uint8_t *)bytes + at,
                                                        (utf8proc_ssize_t)(size - at), &point);
        if (taken <= 0 || point < ' ' || point == '"' || point == '\\' || point == 0x7f)
            return false;
        at += (size_t)taken;
    }
    return true;
}

static int compare(const void *left, const void *right)
{
    const struct vocabulary_entry *a = left;
    const struct vocabulary_entry *b = right;
    const int order = memcmp(a->bytes, b->bytes, a->size < b->size ? a->size : b->size);
    if (order != 0 || a->size != b->size)
        return order != 0 ? order : a->size < b->size ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

static void sort(struct vocabulary_entry *entries, size_t count)
{
    if (count > 0)
        qsort(entries, count, sizeof(*entries), compare);
    for (size_t at = 1; at < count; at++) {
        const struct vocabulary_entry *before = &entries[at - 1];
        uint8_t shared = 0;
        while (shared < before->size && shared < entries[at].size &&
               before->bytes[shared] == entries[at].bytes[shared])
            shared++;
        entries[at].shared = shared;
    }
}

static bool take_memory(struct vocabulary *vocabulary, const struct vocabulary_token *tokens,
                        size_t count)
{
    size_t added_size = 1;
    for (size_t at = 0; at < count; at++)
        added_size += tokens[at].is_added ? tokens[at].size + 1 : 0;
    vocabulary->plain = memory_zeroed(count, sizeof(struct vocabulary_entry));
    vocabulary->others = memory_zeroed(2 * count, sizeof(struct vocabulary_entry));
    vocabulary->by_id = memory_zeroed(vocabulary->rows, sizeof(struct vocabulary_entry));
    vocabulary->markers_by_id = memory_zeroed(vocabulary->rows, sizeof(struct vocabulary_entry));
    vocabulary->plain_mask = memory_zeroed(vocabulary->words, sizeof(uint32_t));
    vocabulary->end_mask = memory_zeroed(vocabulary->words, sizeof(uint32_t));
    vocabulary->marker_bytes = memory_zeroed(added_size, 1);
    return vocabulary->plain && vocabulary->others && vocabulary->by_id &&
           vocabulary->markers_by_id && vocabulary->plain_mask && vocabulary->end_mask &&
           vocabulary->marker_bytes;
}

static void set_bit(uint32_t *mask, uint32_t id)
{
    mask[id / 32] |= 1u << (id % 32);
}

static void add_token(struct vocabulary *vocabulary, const struct vocabulary_token *token,
                      char **marker_bytes)
{
    struct vocabulary_entry entry = {token->bytes, token->id, (uint8_t)token->size, 0};
    if (token->is_end)
        set_bit(vocabulary->end_mask, token->id);
    if (token->size == 0 || token->size >= VOCABULARY_TOKEN_SIZE_MAX)
        return;
    /* Text that holds the marker byte is no UTF-8, and would pass for a marker. */
    if (!token->is_special && !memchr(token->bytes, (int)AUTOMATON_MARKER_BYTE, token->size)) {
        vocabulary->by_id[token->id] = entry;
        if (is_plain(token->bytes, token->size)) {
            set_bit(vocabulary->plain_mask, token->id);
            vocabulary->plain[vocabulary->plain_count++] = entry;
        } else {
            vocabulary->others[vocabulary->others_count++] = entry;
        }
    }
    if (!token->is_added)
        return;
    (*marker_bytes)[0] = (char)AUTOMATON_MARKER_BYTE;
    memcpy(*marker_bytes + 1, token->bytes, token->size);
    entry.bytes = *marker_bytes;
    entry.size++;
    *marker_bytes += entry.size;
    vocabulary->markers_by_id[token->id] = entry;
    vocabulary->others[vocabulary->others_count++] = entry;
}

enum status vocabulary_open(const struct vocabulary_token *tokens, size_t count, size_t rows,
                            struct vocabulary *vocabulary_out)
{
    struct vocabulary vocabulary = {.rows = rows, .words = (rows + 31) / 32};
    if (!take_memory(&vocabulary, tokens, count)) {
        vocabulary_close(&vocabulary);
        return STATUS_NO_MEMORY;
    }
    char *marker_bytes = vocabulary.marker_bytes;
    for (size_t at = 0; at < count; at++)
        if (tokens[at].id < rows)
            add_token(&vocabulary, &tokens[at], &marker_bytes);
    sort(vocabulary.plain, vocabulary.plain_count);
    sort(vocabulary.others, vocabulary.others_count);
    *vocabulary_out = vocabulary;
    return STATUS_OK;
}

enum status vocabulary_open_tokenizer(const struct tokenizer *tokenizer, size_t rows,
                                      struct vocabulary *vocabulary_out)
{
    const size_t size = tokenizer_size(tokenizer);
    struct vocabulary_token *tokens = memory_zeroed(size, sizeof(*tokens));
    size_t count = 0;
    if (!tokens)
        return STATUS_NO_MEMORY;
    for (uint32_t id = 0; id < size; id++) {
        struct token_piece piece;
        if (!tokenizer_piece(tokenizer, id, &piece))
            continue;
        tokens[count++] = (struct vocabulary_token){
            .id = id,
            .bytes = piece.bytes,
            .size = piece.size,
            .is_added = (piece.flags & TOKEN_ADDED) != 0,
            .is_special = (piece.flags & TOKEN_SPECIAL) != 0,
            .is_end = tokenizer_is_end(tokenizer, id) != 0,
        };
    }
    const enum status status = vocabulary_open(tokens, count, rows, vocabulary_out);
    memory_free(tokens);
    return status;
}

void vocabulary_close(struct vocabulary *vocabulary)
{
    memory_free(vocabulary->plain);
    memory_free(vocabulary->others);
    memory_free(vocabulary->by_id);
    memory_free(vocabulary->markers_by_id);
    memory_free(vocabulary->plain_mask);
    memory_free(vocabulary->end_mask);
    memory_free(vocabulary->marker_bytes);
    *vocabulary = (struct vocabulary){.rows = 0};
}
