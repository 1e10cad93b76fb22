/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/grammar/vocabulary.h"

#include "actors/runner/engine/grammar/automaton.h"
#include "actors/runner/engine/tokenizer.h"
#include "protocol/memory.h"

#include <utf8proc.h>

#include <stdlib.h>
#include <string.h>

/* A text on its way into a trie. */
struct entry {
    uint64_t begin; /* its first bytes, in the order of texts */
    struct vocabulary_text text;
};

struct entries {
    struct entry *items;
    size_t count;
};

/* ---- plain texts ---- */

/* Characters of a plain text; 0 when it is none, or too long. */
static size_t plain_characters(const char *bytes, size_t size)
{
    size_t count = 0;
    for (size_t at = 0; at < size; count++) {
        utf8proc_int32_t point = -1;
        const utf8proc_ssize_t taken = utf8proc_iterate((const utf8proc_uint8_t *)bytes + at,
                                                        (utf8proc_ssize_t)(size - at), &point);
        if (taken <= 0 || point < ' ' || point == '"' || point == '\\' || point == 0x7f ||
            point == 0x2028 || point == 0x2029)
            return 0;
        at += (size_t)taken;
    }
    return count <= VOCABULARY_PLAIN_MAX ? count : 0;
}

static void set_bit(uint32_t *mask, uint32_t id)
{
    mask[id / 32] |= 1u << (id % 32);
}

/* A mask of a length has the shorter tokens too. */
static void add_shorter(struct vocabulary *vocabulary)
{
    for (size_t at = vocabulary->words; at < (VOCABULARY_PLAIN_MAX + 1) * vocabulary->words; at++)
        vocabulary->plain_masks[at] |= vocabulary->plain_masks[at - vocabulary->words];
}

/* ---- tries ---- */

static int compare(const void *left, const void *right)
{
    const struct entry *a = left;
    const struct entry *b = right;
    if (a->begin != b->begin)
        return a->begin < b->begin ? -1 : 1;
    const size_t least = a->text.size < b->text.size ? a->text.size : b->text.size;
    const int order = memcmp(a->text.bytes, b->text.bytes, least);
    if (order != 0 || a->text.size != b->text.size)
        return order != 0 ? order : a->text.size < b->text.size ? -1 : 1;
    return a->text.id < b->text.id ? -1 : a->text.id > b->text.id;
}

static void add_entry(struct entries *entries, const struct vocabulary_text *text)
{
    struct entry entry = {.text = *text};
    for (size_t at = 0; at < sizeof(entry.begin); at++)
        entry.begin = entry.begin << 8 | (at < text->size ? (uint8_t)text->bytes[at] : 0);
    entries->items[entries->count++] = entry;
}

static size_t shared_bytes(const struct entries *entries, size_t at)
{
    const struct vocabulary_text *now = &entries->items[at].text;
    size_t shared = 0;
    if (at == 0)
        return 0;
    const struct vocabulary_text *before = &entries->items[at - 1].text;
    while (shared < before->size && shared < now->size &&
           before->bytes[shared] == now->bytes[shared])
        shared++;
    return shared;
}

/* Bytes that begin a character: of plain text as many as it has. */
static uint8_t beginnings(const struct vocabulary_text *text)
{
    unsigned count = 0;
    for (size_t at = 0; at < text->size; at++)
        count += ((uint8_t)text->bytes[at] & 0xc0) != 0x80;
    return (uint8_t)count;
}

static bool make_trie(struct entries *entries, struct vocabulary_trie *trie)
{
    uint32_t path[VOCABULARY_TOKEN_SIZE_MAX + 1] = {0}; /* nodes of the bytes so far */
    size_t depth = 0;
    size_t count = 1;
    if (entries->count > 0)
        qsort(entries->items, entries->count, sizeof(entries->items[0]), compare);
    for (size_t at = 0; at < entries->count; at++)
        count += entries->items[at].text.size - shared_bytes(entries, at);
    trie->nodes = memory_zeroed(count, sizeof(*trie->nodes));
    trie->ids = memory_zeroed(entries->count + 1, sizeof(*trie->ids));
    if (!trie->nodes || !trie->ids)
        return false;
    uint32_t last = 0;
    for (size_t at = 0; at < entries->count; at++) {
        const struct vocabulary_text *text = &entries->items[at].text;
        const size_t shared = shared_bytes(entries, at);
        for (; depth > shared; depth--)
            trie->nodes[path[depth]].skip = last + 1;
        for (; depth < text->size; depth++) {
            trie->nodes[++last] = (struct vocabulary_node){.id_end = (uint32_t)at,
                                                           .byte = (uint8_t)text->bytes[depth]};
            path[depth + 1] = last;
        }
        trie->ids[at] = text->id;
        trie->nodes[last].id_end = (uint32_t)at + 1;
        const uint8_t characters = beginnings(text);
        for (size_t above = depth; trie->nodes[path[above]].most < characters; above--) {
            trie->nodes[path[above]].most = characters;
            if (above == 0)
                break;
        }
    }
    trie->node_count = last + 1;
    for (;; depth--) {
        trie->nodes[path[depth]].skip = trie->node_count;
        if (depth == 0)
            return true;
    }
}

/* ---- life ---- */

static bool take_memory(struct vocabulary *vocabulary, const struct vocabulary_token *tokens,
                        size_t count)
{
    size_t added_size = 1;
    size_t added_count = 1;
    for (size_t at = 0; at < count; at++) {
        added_size += tokens[at].is_added ? tokens[at].size + 1 : 0;
        added_count += tokens[at].is_added;
    }
    vocabulary->by_id = memory_zeroed(vocabulary->rows, sizeof(struct vocabulary_text));
    vocabulary->markers = memory_zeroed(added_count, sizeof(struct vocabulary_text));
    vocabulary->plain_masks =
        memory_zeroed((VOCABULARY_PLAIN_MAX + 1) * vocabulary->words, sizeof(uint32_t));
    vocabulary->end_mask = memory_zeroed(vocabulary->words, sizeof(uint32_t));
    vocabulary->marker_bytes = memory_zeroed(added_size, 1);
    return vocabulary->by_id && vocabulary->markers && vocabulary->plain_masks &&
           vocabulary->end_mask && vocabulary->marker_bytes;
}

static void add_token(struct vocabulary *vocabulary, const struct vocabulary_token *token,
                      char **marker_bytes, struct entries *plain, struct entries *others)
{
    struct vocabulary_text text = {token->bytes, token->id, (uint8_t)token->size};
    if (token->is_end)
        set_bit(vocabulary->end_mask, token->id);
    if (token->size == 0 || token->size >= VOCABULARY_TOKEN_SIZE_MAX)
        return;
    /* Text that holds the marker byte is no UTF-8, and would pass for a marker. */
    if (!token->is_special && !memchr(token->bytes, (int)AUTOMATON_MARKER_BYTE, token->size)) {
        const size_t characters = plain_characters(token->bytes, token->size);
        vocabulary->by_id[token->id] = text;
        if (characters > 0)
            set_bit(vocabulary->plain_masks + characters * vocabulary->words, token->id);
        add_entry(characters > 0 ? plain : others, &text);
    }
    if (!token->is_added)
        return;
    (*marker_bytes)[0] = (char)AUTOMATON_MARKER_BYTE;
    memcpy(*marker_bytes + 1, token->bytes, token->size);
    text.bytes = *marker_bytes;
    text.size++;
    *marker_bytes += text.size;
    vocabulary->markers[vocabulary->marker_count++] = text;
    add_entry(others, &text);
}

static int compare_ids(const void *left, const void *right)
{
    const struct vocabulary_text *a = left;
    const struct vocabulary_text *b = right;
    return a->id < b->id ? -1 : a->id > b->id;
}

enum status vocabulary_open(const struct vocabulary_token *tokens, size_t count, size_t rows,
                            struct vocabulary *vocabulary_out)
{
    struct vocabulary vocabulary = {.rows = rows, .words = (rows + 31) / 32};
    struct entries plain = {memory_zeroed(count + 1, sizeof(struct entry)), 0};
    struct entries others = {memory_zeroed(2 * count + 1, sizeof(struct entry)), 0};
    bool good = plain.items && others.items && take_memory(&vocabulary, tokens, count);
    char *marker_bytes = vocabulary.marker_bytes;
    for (size_t at = 0; good && at < count; at++)
        if (tokens[at].id < rows)
            add_token(&vocabulary, &tokens[at], &marker_bytes, &plain, &others);
    good = good && make_trie(&plain, &vocabulary.plain) && make_trie(&others, &vocabulary.others);
    memory_free(plain.items);
    memory_free(others.items);
    if (!good) {
        vocabulary_close(&vocabulary);
        return STATUS_NO_MEMORY;
    }
    add_shorter(&vocabulary);
    if (vocabulary.marker_count > 1)
        qsort(vocabulary.markers, vocabulary.marker_count, sizeof(vocabulary.markers[0]),
              compare_ids);
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
    struct vocabulary_trie *const tries[] = {&vocabulary->plain, &vocabulary->others};
    for (size_t at = 0; at < COUNT_OF(tries); at++) {
        memory_free(tries[at]->nodes);
        memory_free(tries[at]->ids);
    }
    memory_free(vocabulary->plain_masks);
    memory_free(vocabulary->end_mask);
    memory_free(vocabulary->by_id);
    memory_free(vocabulary->markers);
    memory_free(vocabulary->marker_bytes);
    *vocabulary = (struct vocabulary){.rows = 0};
}

const struct vocabulary_text *vocabulary_marker(const struct vocabulary *vocabulary, uint32_t id)
{
    const struct vocabulary_text wanted = {.id = id};
    return vocabulary->marker_count == 0
               ? NULL
               : bsearch(&wanted, vocabulary->markers, vocabulary->marker_count,
                         sizeof(vocabulary->markers[0]), compare_ids);
}

size_t vocabulary_memory(const struct vocabulary *vocabulary)
{
    const size_t nodes = vocabulary->plain.node_count + vocabulary->others.node_count;
    return nodes * sizeof(struct vocabulary_node) +
           vocabulary->rows * (sizeof(struct vocabulary_text) + sizeof(uint32_t)) +
           (VOCABULARY_PLAIN_MAX + 2) * vocabulary->words * sizeof(uint32_t);
}
