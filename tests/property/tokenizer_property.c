/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Properties of the tokenizer over seeded random text:
 *  - decode(encode(x)) is x, after NFC where the tokenizer normalises;
 *  - the hand-written scanners cut as PCRE2 does with the same pattern;
 *  - the heap merges as the plain definition does: lowest rank first, leftmost among equals;
 *  - a special token cuts a text in two that are encoded as if alone.
 */
#include "actors/runner/engine/tokenizer.h"
#include "actors/runner/engine/unicode_text.h"
#include "protocol/memory.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"
#include "tests/support/seeded.h"

#include <jansson.h>
#include <string.h>

static const char *const names[] = {"qwen", "qwen35", "llama3", "deepseek3", "o200k"};

/* Every class of the patterns, and what is written next to each other in them. */
static const char *const parts[] = {
    "a", "b", "Z", "HTTP", "camelCase", " ", "  ", "\t", "\n", "\r\n", "\r", "'", "'s", "'LL",
    "'\xc5\xbf", "1", "23", "4567", "\xc2\xb2", "\xd9\xa3", ".", "!?", "/", "$", "+", "_",
    "\xc3\xa9", "e\xcc\x81", "\xcc\x81", "\xcc\xa3", "\xc7\x85", "\xca\xb0", "\xc2\xaa",
    "\xe6\x97\xa5\xe6\x9c\xac", "\xe3\x81\x82", "\xe3\x82\xab", "\xe3\x80\x82", "\xd7\xa9",
    "\xd8\xa7\xd9\x8e", "\xe0\xa4\x95\xe0\xa5\x8d", "\xf0\x9f\x98\x80", "\xe2\x80\x8d",
    "\xc2\xa0", "\xe2\x80\xa8", "\xe3\x80\x80", "\xc2\x85", "\x0b", "\x01", "\xee\x80\x80",
    "\xf4\x8f\xbf\xbf", "<|im_end|>", "<think>", "<|", "|>", "\xe1\x84\x80\xe1\x85\xa1",
    "\xef\xac\x81", "\xe2\x84\xab",
};

static size_t random_text(struct seeded *seeded, char *text_out, size_t size_max)
{
    size_t size = 0;
    for (size_t left = seeded_below(seeded, 16); left > 0; left--) {
        const char *part = parts[seeded_below(seeded, COUNT_OF(parts))];
        size_t repeats = seeded_below(seeded, 12) == 0 ? 1 + seeded_below(seeded, 60) : 1;
        for (; repeats > 0 && size + strlen(part) <= size_max; repeats--) {
            memcpy(text_out + size, part, strlen(part));
            size += strlen(part);
        }
    }
    return size;
}

static struct tokenizer *open_named(const char *name)
{
    char relative[128];
    char path[512];
    snprintf(relative, sizeof(relative), "tests/golden/tokenizers/%s", name);
    struct tokenizer *tokenizer = NULL;
    ck_assert_int_eq(tokenizer_open(source_path(relative, path), &tokenizer, NULL), STATUS_OK);
    return tokenizer;
}

START_TEST(decoding_gives_the_text_back)
{
    struct seeded seeded = seeded_open(3);
    for (size_t name = 0; name < COUNT_OF(names); name++) {
        struct tokenizer *tokenizer = open_named(names[name]);
        for (int round = 0; round < 1000; round++) {
            char text[4096];
            size_t size = random_text(&seeded, text, sizeof(text));
            unsigned options = (unsigned)seeded_below(&seeded, 2);
            struct token_list list = {NULL, 0, 0};
            ck_assert_int_eq(tokenizer_encode(tokenizer, text, size, options, &list, NULL),
                             STATUS_OK);
            char *back = NULL;
            char *normalised = NULL;
            size_t back_size;
            size_t wanted_size;
            ck_assert_int_eq(tokenizer_decode(tokenizer, list.ids, list.count, 0, &back,
                                              &back_size, NULL), STATUS_OK);
            ck_assert_int_eq(tokenizer_normalise(tokenizer, text, size, &normalised,
                                                 &wanted_size), STATUS_OK);
            ck_assert_uint_eq(back_size, wanted_size);
            ck_assert(memcmp(back, normalised ? normalised : text, back_size) == 0);
            memory_free(back);
            memory_free(normalised);
            token_list_free(&list);
        }
        tokenizer_close(tokenizer);
    }
}
END_TEST

/* The patterns as the files have them. */
static struct pretokenizer *splitter_of(const char *name, int force_pcre2)
{
    char relative[128];
    char path[512];
    snprintf(relative, sizeof(relative), "tests/golden/tokenizers/%s/tokenizer.json", name);
    json_t *root = json_load_file(source_path(relative, path), 0, NULL);
    const json_t *list =
        json_object_get(json_object_get(root, "pre_tokenizer"), "pretokenizers");
    struct pretokenizer *splitter = NULL;
    ck_assert_int_eq(pretokenizer_open(&splitter), STATUS_OK);
    for (size_t at = 0; at < json_array_size(list); at++) {
        const char *pattern = json_string_value(json_object_get(
            json_object_get(json_array_get(list, at), "pattern"), "Regex"));
        if (!pattern)
            continue;
        ck_assert(pattern_scanner_find(pattern) != NULL);
        ck_assert_int_eq(pretokenizer_add(splitter, pattern, force_pcre2, NULL), STATUS_OK);
    }
    json_decref(root);
    return splitter;
}

static void expect_same_cuts(struct pretokenizer *scanning, struct pretokenizer *matching,
                             struct seeded *seeded)
{
    struct piece_ends one = {NULL, 0, 0};
    struct piece_ends two = {NULL, 0, 0};
    for (int round = 0; round < 1000; round++) {
        char text[4096];
        size_t size = random_text(seeded, text, sizeof(text));
        ck_assert_int_eq(pretokenizer_split(scanning, text, size, &one, NULL), STATUS_OK);
        ck_assert_int_eq(pretokenizer_split(matching, text, size, &two, NULL), STATUS_OK);
        ck_assert_uint_eq(one.count, two.count);
        if (one.count > 0)
            ck_assert(memcmp(one.ends, two.ends, one.count * sizeof(*one.ends)) == 0);
    }
    piece_ends_free(&one);
    piece_ends_free(&two);
}

START_TEST(scanners_cut_as_pcre2_does)
{
    struct seeded seeded = seeded_open(4);
    for (size_t name = 0; name <= COUNT_OF(names); name++) {
        struct pretokenizer *scanning = NULL;
        struct pretokenizer *matching = NULL;
        if (name < COUNT_OF(names)) {
            scanning = splitter_of(names[name], 0);
            matching = splitter_of(names[name], 1);
        } else {
            ck_assert_int_eq(pretokenizer_open(&scanning), STATUS_OK);
            ck_assert_int_eq(pretokenizer_open(&matching), STATUS_OK);
            ck_assert_int_eq(pretokenizer_add(scanning, pretokenizer_pattern_gpt2, 0, NULL),
                             STATUS_OK);
            ck_assert_int_eq(pretokenizer_add(matching, pretokenizer_pattern_gpt2, 1, NULL),
                             STATUS_OK);
        }
        expect_same_cuts(scanning, matching, &seeded);
        pretokenizer_close(scanning);
        pretokenizer_close(matching);
    }
}
END_TEST

enum { ALPHABET = 4, IDS_MAX = 256, PIECE_MAX = 300 };

struct toy {
    struct {
        uint32_t left;
        uint32_t right;
        uint32_t merged;
    } merges[IDS_MAX];
    size_t merge_count;
};

/* The definition, word for word: find the lowest rank, leftmost; merge; again. */
static size_t merge_plainly(const struct toy *toy, uint32_t *ids, size_t count)
{
    for (;;) {
        size_t best = SIZE_MAX;
        size_t rank = toy->merge_count;
        for (size_t at = 0; at + 1 < count; at++) {
            for (size_t merge = 0; merge < rank; merge++) {
                if (toy->merges[merge].left == ids[at] &&
                    toy->merges[merge].right == ids[at + 1]) {
                    rank = merge;
                    best = at;
                }
            }
        }
        if (best == SIZE_MAX)
            return count;
        ids[best] = toy->merges[rank].merged;
        memmove(ids + best + 1, ids + best + 2, (count - best - 2) * sizeof(*ids));
        count--;
    }
}

/* Merges of random tokens; every string has one id, and may be made by several pairs. */
static struct bpe *toy_make(struct toy *toy, struct seeded *seeded)
{
    static char texts[IDS_MAX][64];
    uint32_t ids = ALPHABET;
    struct bpe *bpe = NULL;
    ck_assert_int_eq(bpe_open(&bpe), STATUS_OK);
    for (uint32_t id = 0; id < ALPHABET; id++) {
        snprintf(texts[id], sizeof(texts[id]), "%c", 'a' + (int)id);
        bpe_set_byte(bpe, (unsigned char)('a' + id), id);
    }
    toy->merge_count = 0;
    for (int tries = 0; tries < 60 && ids < IDS_MAX; tries++) {
        uint32_t left = (uint32_t)seeded_below(seeded, ids);
        uint32_t right = (uint32_t)seeded_below(seeded, ids);
        char joined[130];
        int known = 0;
        snprintf(joined, sizeof(joined), "%s%s", texts[left], texts[right]);
        for (size_t at = 0; at < toy->merge_count; at++)
            known |= toy->merges[at].left == left && toy->merges[at].right == right;
        if (known || strlen(joined) >= sizeof(texts[0]))
            continue;
        uint32_t merged = 0;
        while (merged < ids && strcmp(texts[merged], joined) != 0)
            merged++;
        if (merged == ids)
            memcpy(texts[ids++], joined, strlen(joined) + 1);
        uint32_t rank = (uint32_t)toy->merge_count++;
        toy->merges[rank].left = left;
        toy->merges[rank].right = right;
        toy->merges[rank].merged = merged;
        ck_assert_int_eq(bpe_add(bpe, left, right, merged, rank), STATUS_OK);
    }
    return bpe;
}

START_TEST(the_heap_merges_as_the_definition)
{
    struct seeded seeded = seeded_open(5);
    struct bpe_work work = {NULL, 0, NULL, 0};
    for (int round = 0; round < 300; round++) {
        struct toy toy;
        struct bpe *bpe = toy_make(&toy, &seeded);
        for (int piece = 0; piece < 5; piece++) {
            char text[PIECE_MAX];
            uint32_t wanted[PIECE_MAX];
            size_t size = 1 + seeded_below(&seeded, PIECE_MAX);
            size_t letters = 1 + seeded_below(&seeded, ALPHABET);
            for (size_t at = 0; at < size; at++) {
                wanted[at] = (uint32_t)seeded_below(&seeded, letters);
                text[at] = (char)('a' + (int)wanted[at]);
            }
            size_t count = merge_plainly(&toy, wanted, size);
            struct token_list list = {NULL, 0, 0};
            ck_assert_int_eq(bpe_merge(bpe, &work, text, size, &list), STATUS_OK);
            ck_assert_uint_eq(list.count, count);
            ck_assert(memcmp(list.ids, wanted, count * sizeof(*wanted)) == 0);
            token_list_free(&list);
        }
        bpe_close(bpe);
    }
    bpe_work_free(&work);
}
END_TEST

START_TEST(a_special_token_parts_texts_cleanly)
{
    struct seeded seeded = seeded_open(6);
    struct tokenizer *tokenizer = open_named("qwen");
    static const char mark[] = "<|endoftext|>";
    for (int round = 0; round < 500; round++) {
        char text[9000];
        size_t first = random_text(&seeded, text, 4096);
        memcpy(text + first, mark, sizeof(mark) - 1);
        size_t second = first + sizeof(mark) - 1;
        size_t size = second + random_text(&seeded, text + second, 4096);
        struct token_list whole = {NULL, 0, 0};
        struct token_list cut = {NULL, 0, 0};
        ck_assert_int_eq(tokenizer_encode(tokenizer, text, size, 0, &whole, NULL), STATUS_OK);
        ck_assert_int_eq(tokenizer_encode(tokenizer, text, first, 0, &cut, NULL), STATUS_OK);
        ck_assert_int_eq(token_list_add(&cut, 2029), STATUS_OK);
        ck_assert_int_eq(tokenizer_encode(tokenizer, text + second, size - second, 0, &cut, NULL),
                         STATUS_OK);
        ck_assert_uint_eq(whole.count, cut.count);
        ck_assert(memcmp(whole.ids, cut.ids, cut.count * sizeof(*cut.ids)) == 0);
        token_list_free(&whole);
        token_list_free(&cut);
    }
    tokenizer_close(tokenizer);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("tokenizer properties");
    const TTest *const tests[] = {decoding_gives_the_text_back, scanners_cut_as_pcre2_does,
                                  the_heap_merges_as_the_definition,
                                  a_special_token_parts_texts_cleanly};
    suite_add(suite, "tokenizer", tests, COUNT_OF(tests));
    return suite;
}
