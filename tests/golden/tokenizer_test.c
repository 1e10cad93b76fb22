/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every string of tests/golden/tokenizers through our tokenizer: ids, pieces, text after decoding,
 * and decoding prefix by prefix, must be those of the reference.
 */
#include "actors/runner/engine/text_stream.h"
#include "actors/runner/engine/tokenizer.h"
#include "protocol/memory.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = {"qwen", "qwen35", "llama3", "deepseek3", "o200k",
                                    "gemma"};

static struct tokenizer *open_named(const char *name)
{
    char relative[128];
    char path[512];
    snprintf(relative, sizeof(relative), "tests/golden/tokenizers/%s", name);
    struct tokenizer *tokenizer = NULL;
    struct reason reason = {""};
    enum status status = tokenizer_open(source_path(relative, path), &tokenizer, &reason);
    ck_assert_msg(status == STATUS_OK, "%s: %s", name, reason.text);
    return tokenizer;
}

/* Calls `row` for each JSON line; returns how many there were. */
static size_t each_row(const char *name, const char *file, struct tokenizer *tokenizer,
                       void (*row)(struct tokenizer *tokenizer, json_t *line))
{
    char relative[128];
    char path[512];
    snprintf(relative, sizeof(relative), "tests/golden/tokenizers/%s/%s", name, file);
    size_t size;
    char *bytes = file_bytes(source_path(relative, path), &size);
    size_t count = 0;
    for (char *line = bytes; *line != '\0';) {
        char *end = strchr(line, '\n');
        size_t length = end ? (size_t)(end - line) : strlen(line);
        json_t *value = json_loadb(line, length, JSON_ALLOW_NUL, NULL);
        ck_assert_ptr_nonnull(value);
        row(tokenizer, value);
        json_decref(value);
        count++;
        line += length + (end != NULL);
    }
    memory_free(bytes);
    return count;
}

static void expect_ids(const json_t *wanted, const struct token_list *list, const json_t *text)
{
    int same = json_array_size(wanted) == list->count;
    for (size_t at = 0; same && at < list->count; at++)
        same = json_integer_value(json_array_get(wanted, at)) == (json_int_t)list->ids[at];
    if (!same) {
        char *shown = json_dumps(text, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
        char *ids = json_dumps(wanted, JSON_COMPACT);
        printf("# text %s\n# wanted %s\n# got", shown, ids);
        for (size_t at = 0; at < list->count; at++)
            printf(" %u", list->ids[at]);
        printf("\n");
        ck_abort_msg("ids differ: %s", shown);
    }
}

static void expect_encoding(struct tokenizer *tokenizer, json_t *line, const json_t *wanted,
                            unsigned options)
{
    if (!wanted)
        return;
    const json_t *text = json_object_get(line, "text");
    struct token_list list = {NULL, 0, 0};
    struct reason reason = {""};
    enum status status = tokenizer_encode(tokenizer, json_string_value(text),
                                          json_string_length(text), options, &list, &reason);
    ck_assert_msg(status == STATUS_OK, "%s", reason.text);
    expect_ids(wanted, &list, text);
    token_list_free(&list);
}

static void expect_encoded(struct tokenizer *tokenizer, json_t *line)
{
    json_t *ids = json_object_get(line, "ids");
    json_t *special = json_object_get(line, "special"); /* before the others */
    expect_encoding(tokenizer, line, ids, 0);
    if (!special)
        return;
    json_t *all = json_copy(special);
    ck_assert_int_eq(json_array_extend(all, ids), 0);
    expect_encoding(tokenizer, line, all, TOKENIZER_POST_PROCESS);
    json_decref(all);
}

static void expect_split(struct tokenizer *tokenizer, json_t *line)
{
    const json_t *wanted = json_object_get(line, "split");
    if (!wanted)
        return;
    const json_t *text = json_object_get(line, "text");
    char *normalised = NULL;
    size_t length;
    ck_assert_int_eq(tokenizer_normalise(tokenizer, json_string_value(text),
                                         json_string_length(text), &normalised, &length),
                     STATUS_OK);
    struct piece_ends pieces = {NULL, 0, 0};
    ck_assert_int_eq(pretokenizer_split(tokenizer_splitter(tokenizer),
                                        normalised ? normalised : json_string_value(text), length,
                                        &pieces, NULL),
                     STATUS_OK);
    ck_assert_uint_eq(pieces.count, json_array_size(wanted));
    uint32_t start = 0;
    for (size_t at = 0; at < pieces.count; at++) {
        ck_assert_int_eq(json_integer_value(json_array_get(wanted, at)),
                         (json_int_t)(pieces.ends[at] - start));
        start = pieces.ends[at];
    }
    piece_ends_free(&pieces);
    memory_free(normalised);
}

static void expect_text(struct tokenizer *tokenizer, const json_t *ids, size_t first, size_t end,
                        int skip_special, const json_t *wanted)
{
    uint32_t list[1024];
    ck_assert_uint_le(end, COUNT_OF(list));
    for (size_t at = first; at < end; at++)
        list[at] = (uint32_t)json_integer_value(json_array_get(ids, at));
    char *text = NULL;
    size_t length;
    ck_assert_int_eq(tokenizer_decode(tokenizer, list + first, end - first, skip_special, &text,
                                      &length, NULL),
                     STATUS_OK);
    ck_assert_uint_eq(length, json_string_length(wanted));
    ck_assert(memcmp(text, json_string_value(wanted), length) == 0);
    memory_free(text);
}

static void expect_decoded(struct tokenizer *tokenizer, json_t *line)
{
    const json_t *ids = json_object_get(line, "ids");
    const json_t *decoded = json_object_get(line, "decoded");
    const json_t *skipping = json_object_get(line, "decoded_skip_special");
    if (!decoded)
        decoded = json_object_get(line, "text");
    expect_text(tokenizer, ids, 0, json_array_size(ids), 0, decoded);
    expect_text(tokenizer, ids, 0, json_array_size(ids), 1, skipping ? skipping : decoded);
}

/* The reference decodes each prefix anew, an unfinished character at its end being U+FFFD; the
 * stream holds that back, and gives all of it when it is finished there. */
static void expect_prefixes(struct tokenizer *tokenizer, json_t *line)
{
    const json_t *ids = json_object_get(line, "ids");
    const json_t *prefixes = json_object_get(line, "prefixes");
    size_t count = json_array_size(ids);
    ck_assert_uint_eq(json_array_size(prefixes), count);
    struct text_stream *stream = NULL;
    size_t bytes_run = 0;
    ck_assert_int_eq(text_stream_open(NULL, 0, &stream, NULL), STATUS_OK);
    for (size_t at = 0; at < count; at++) {
        const json_t *wanted = json_array_get(prefixes, at);
        expect_text(tokenizer, ids, 0, at + 1, 0, wanted);
        struct token_piece piece;
        ck_assert(tokenizer_piece(
            tokenizer, (uint32_t)json_integer_value(json_array_get(ids, at)), &piece));
        ck_assert_int_eq(text_stream_push(stream, piece.bytes, piece.size), STATUS_OK);
        size_t length;
        const char *text = text_stream_text(stream, &length);
        size_t whole = json_string_length(wanted);
        bytes_run = piece.flags & TOKEN_BYTE ? bytes_run + 1 : 0;
        /* Of tokens that are bytes the reference takes a run that ends in an unfinished character
         * for no text at all; the stream has given out what came before. */
        if (bytes_run > 0 && whole >= 3 &&
            memcmp(json_string_value(wanted) + whole - 3, "\xef\xbf\xbd", 3) == 0)
            continue;
        ck_assert(whole == length || whole == length + 3);
        ck_assert(memcmp(text, json_string_value(wanted), length) == 0);
        if (whole > length)
            ck_assert_str_eq(json_string_value(wanted) + length, "\xef\xbf\xbd");
    }
    text_stream_close(stream);
    expect_text(tokenizer, ids, 1, count, 0, json_object_get(line, "suffix"));
}

static void run_all(const char *file, void (*row)(struct tokenizer *tokenizer, json_t *line),
                    size_t rows_wanted)
{
    size_t rows = 0;
    for (size_t at = 0; at < COUNT_OF(names); at++) {
        struct tokenizer *tokenizer = open_named(names[at]);
        rows += each_row(names[at], file, tokenizer, row);
        tokenizer_close(tokenizer);
    }
    ck_assert_uint_eq(rows, rows_wanted);
}

START_TEST(encodes_every_string_as_the_reference)
{
    run_all("cases.jsonl", expect_encoded, 2163);
}
END_TEST

START_TEST(splits_every_string_as_the_reference)
{
    run_all("cases.jsonl", expect_split, 2163);
}
END_TEST

START_TEST(decodes_every_string_as_the_reference)
{
    run_all("cases.jsonl", expect_decoded, 2163);
}
END_TEST

START_TEST(decodes_every_prefix_as_the_reference)
{
    run_all("decode.jsonl", expect_prefixes, 221);
}
END_TEST

/* The first line lists tokens to add to the tokenizer "qwen". */
static struct tokenizer *added_tokenizer;

static struct tokenizer *open_with(const json_t *added)
{
    char path[512];
    json_t *root =
        json_load_file(source_path("tests/golden/tokenizers/qwen/tokenizer.json", path), 0, NULL);
    ck_assert_ptr_nonnull(root);
    for (size_t at = 0; at < json_array_size(added); at++)
        json_array_append(json_object_get(root, "added_tokens"), json_array_get(added, at));
    char *bytes = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    struct tokenizer *tokenizer = NULL;
    struct reason reason = {""};
    enum status status = tokenizer_open_bytes(bytes, strlen(bytes), &tokenizer, &reason);
    ck_assert_msg(status == STATUS_OK, "%s", reason.text);
    free(bytes); /* style allows free: jansson allocated it */
    return tokenizer;
}

static void expect_added(struct tokenizer *tokenizer, json_t *line)
{
    (void)tokenizer;
    if (json_is_array(line)) {
        added_tokenizer = open_with(line);
        return;
    }
    expect_encoding(added_tokenizer, line, json_object_get(line, "ids"), 0);
    expect_encoding(added_tokenizer, line, json_object_get(line, "ids_special_as_text"),
                    TOKENIZER_SPECIAL_AS_TEXT);
}

START_TEST(matches_added_tokens_as_the_reference)
{
    ck_assert_uint_eq(each_row(".", "added.jsonl", NULL, expect_added), 401);
    tokenizer_close(added_tokenizer);
}
END_TEST

/* A line that names a base and its changes opens the tokenizer of the lines that follow. */
static struct tokenizer *variant;

static void open_variant(const json_t *line)
{
    char path[512], relative[128];
    (void)snprintf(relative, sizeof(relative), "tests/golden/tokenizers/%s/tokenizer.json",
                   json_string_value(json_object_get(line, "base")));
    json_t *root = json_load_file(source_path(relative, path), 0, NULL);
    ck_assert_ptr_nonnull(root);
    ck_assert_int_eq(json_object_update(root, json_object_get(line, "changes")), 0);
    char *bytes = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    struct reason reason = {""};
    tokenizer_close(variant);
    variant = NULL;
    enum status status = tokenizer_open_bytes(bytes, strlen(bytes), &variant, &reason);
    ck_assert_msg(status == STATUS_OK, "%s", reason.text);
    free(bytes); /* style allows free: jansson allocated it */
}

static void expect_variant(struct tokenizer *tokenizer, json_t *line)
{
    (void)tokenizer;
    if (json_object_get(line, "base")) {
        open_variant(line);
        return;
    }
    const json_t *ids = json_object_get(line, "ids");
    expect_encoding(variant, line, json_object_get(line, "ids"), 0);
    expect_text(variant, ids, 0, json_array_size(ids), 0, json_object_get(line, "decoded"));
}

START_TEST(reads_other_forms_of_tokenizers_as_the_reference)
{
    ck_assert_uint_eq(each_row(".", "variants.jsonl", NULL, expect_variant), 108);
    tokenizer_close(variant);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("tokenizers against the reference");
    const TTest *const tests[] = {
        encodes_every_string_as_the_reference, splits_every_string_as_the_reference,
        decodes_every_string_as_the_reference, decodes_every_prefix_as_the_reference,
        matches_added_tokens_as_the_reference, reads_other_forms_of_tokenizers_as_the_reference};
    suite_add(suite, "golden", tests, COUNT_OF(tests));
    return suite;
}
