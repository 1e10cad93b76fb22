/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/tokenizer.h"
#include "protocol/memory.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char *golden_path(const char *name, char *path_out)
{
    char relative[128];
    snprintf(relative, sizeof(relative), "tests/golden/tokenizers/%s", name);
    return source_path(relative, path_out);
}

static json_t *golden_json(const char *name)
{
    char path[512];
    json_t *root = json_load_file(golden_path(name, path), 0, NULL);
    ck_assert_ptr_nonnull(root);
    return root;
}

static void put_json(const struct scratch *scratch, const char *name, const json_t *root)
{
    char path[256];
    ck_assert_int_eq(json_dump_file(root, scratch_path(scratch, name, path), JSON_COMPACT), 0);
}

/* Sets a value deep in a copy of the tokenizer "llama3", opens it and expects a refusal that
 * says `word`.  `keys` are names and list places between dots. */
static void expect_refusal(const char *keys, json_t *value, enum status wanted, const char *word)
{
    json_t *root = golden_json("llama3/tokenizer.json");
    json_t *at = root;
    char copy[128];
    snprintf(copy, sizeof(copy), "%s", keys);
    char *rest = copy;
    for (char *key = strsep(&rest, "."); rest; key = strsep(&rest, "."))
        at = json_is_array(at) ? json_array_get(at, strtoul(key, NULL, 10))
                               : json_object_get(at, key);
    const char *last = strrchr(keys, '.') ? strrchr(keys, '.') + 1 : keys;
    if (json_is_array(at))
        ck_assert_int_eq(json_array_set_new(at, strtoul(last, NULL, 10), value), 0);
    else
        ck_assert_int_eq(json_object_set_new(at, last, value), 0);
    char *bytes = json_dumps(root, JSON_COMPACT);
    struct tokenizer *tokenizer = NULL;
    struct reason reason = {""};
    enum status status = tokenizer_open_bytes(bytes, strlen(bytes), &tokenizer, &reason);
    ck_assert_msg(status == wanted, "%s: %s %s", keys, status_name(status), reason.text);
    ck_assert_msg(strstr(reason.text, word) != NULL, "\"%s\" lacks \"%s\"", reason.text, word);
    ck_assert_ptr_null(tokenizer);
    free(bytes); /* style allows free: jansson allocated it */
    json_decref(root);
}

START_TEST(refuses_by_name_what_it_does_not_do)
{
    const enum status other = STATUS_UNSUPPORTED;
    const enum status bad = STATUS_MALFORMED;
    expect_refusal("model.type", json_string("Unigram"), other, "Unigram");
    expect_refusal("model.dropout", json_real(0.1), other, "dropout");
    expect_refusal("model.end_of_word_suffix", json_string("</w>"), other, "end_of_word_suffix");
    expect_refusal("normalizer", json_pack("{s:s}", "type", "NFKC"), other, "NFKC");
    expect_refusal("pre_tokenizer", json_pack("{s:s}", "type", "Metaspace"), other, "Metaspace");
    expect_refusal("pre_tokenizer.pretokenizers.0.behavior", json_string("Removed"), other,
                   "Removed");
    expect_refusal("pre_tokenizer.pretokenizers.0.pattern.Regex", json_string("\\w+"), other,
                   "escape at byte 0");
    expect_refusal("pre_tokenizer.pretokenizers.0.pattern.Regex", json_string("(a"), other,
                   "does not compile");
    expect_refusal("pre_tokenizer.pretokenizers.1.add_prefix_space", json_true(), other,
                   "add_prefix_space");
    expect_refusal("decoder", json_pack("{s:s}", "type", "WordPiece"), other, "WordPiece");
    expect_refusal("post_processor", json_pack("{s:s}", "type", "BertProcessing"), other,
                   "BertProcessing");
    expect_refusal("model.vocab", json_object(), other, "0x00");
    expect_refusal("model.vocab", json_array(), bad, "vocabulary");
    expect_refusal("model.vocab.a", json_integer(3), bad, "id 3 twice");
    expect_refusal("model.vocab.a", json_integer(-1), bad, "id is not a number");
    expect_refusal("model.vocab.a", json_integer(TOKEN_TABLE_IDS_MAX), bad, "id is not a number");
    expect_refusal("model.merges.7", json_pack("[s,s]", "zz", "qqq"), bad, "merge 7");
    expect_refusal("model.merges.7", json_string("a b c"), bad, "merge 7");
    expect_refusal("model.merges.7", json_integer(1), bad, "merge 7");
    expect_refusal("added_tokens.0.id", json_integer(5), bad, "token 5");
    expect_refusal("added_tokens.0.id", json_string("5"), bad, "added token 0");
    expect_refusal("added_tokens.0.content", json_string("a"), bad, "vocabulary already");
    expect_refusal("added_tokens.1.content", json_string("<|begin_of_text|>"), bad, "repeats");
    expect_refusal("added_tokens.1.content", json_string(""), bad, "content");
}
END_TEST

START_TEST(refuses_files_that_are_missing_or_cut)
{
    struct scratch scratch;
    char path[256];
    struct tokenizer *tokenizer = NULL;
    struct reason reason = {""};
    scratch_open(&scratch);
    ck_assert_int_eq(tokenizer_open(scratch.path, &tokenizer, &reason), STATUS_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(reason.text, "tokenizer.json"));
    file_put(scratch_path(&scratch, "tokenizer.json", path), "{\"model\": {", 11);
    ck_assert_int_eq(tokenizer_open(scratch.path, &tokenizer, &reason), STATUS_MALFORMED);
    ck_assert_ptr_nonnull(strstr(reason.text, "not valid JSON at line 1"));
    file_put(scratch_path(&scratch, "tokenizer.json", path), "[]", 2);
    ck_assert_int_eq(tokenizer_open(scratch.path, &tokenizer, &reason), STATUS_MALFORMED);
    scratch_close(&scratch);
    ck_assert_ptr_null(tokenizer);
}
END_TEST

static struct tokenizer *open_golden(const char *name)
{
    char path[512];
    struct tokenizer *tokenizer = NULL;
    struct reason reason = {""};
    enum status status = tokenizer_open(golden_path(name, path), &tokenizer, &reason);
    ck_assert_msg(status == STATUS_OK, "%s", reason.text);
    return tokenizer;
}

static void expect_same_ids(const struct tokenizer *left, const struct tokenizer *right,
                            const char *text)
{
    struct token_list one = {NULL, 0, 0};
    struct token_list two = {NULL, 0, 0};
    ck_assert_int_eq(tokenizer_encode(left, text, strlen(text), 0, &one, NULL), STATUS_OK);
    ck_assert_int_eq(tokenizer_encode(right, text, strlen(text), 0, &two, NULL), STATUS_OK);
    ck_assert_uint_eq(one.count, two.count);
    ck_assert(memcmp(one.ids, two.ids, one.count * sizeof(*one.ids)) == 0);
    token_list_free(&one);
    token_list_free(&two);
}

START_TEST(reads_vocab_and_merges_where_tokenizer_json_is_missing)
{
    struct scratch scratch;
    char path[256];
    scratch_open(&scratch);
    json_t *root = golden_json("qwen/tokenizer.json");
    json_t *config = golden_json("qwen/tokenizer_config.json");
    const json_t *model = json_object_get(root, "model");
    put_json(&scratch, "vocab.json", json_object_get(model, "vocab"));
    const json_t *merges = json_object_get(model, "merges");
    FILE *file = fopen(scratch_path(&scratch, "merges.txt", path), "we");
    ck_assert_ptr_nonnull(file);
    fputs("#version: 0.2\n", file);
    for (size_t at = 0; at < json_array_size(merges); at++)
        fprintf(file, "%s %s\n", json_string_value(json_array_get(json_array_get(merges, at), 0)),
                json_string_value(json_array_get(json_array_get(merges, at), 1)));
    ck_assert_int_eq(fclose(file), 0);
    struct tokenizer *older = NULL;
    struct reason reason = {""};
    json_object_set_new(config, "tokenizer_class", json_string("LlamaTokenizer"));
    put_json(&scratch, "tokenizer_config.json", config);
    ck_assert_int_eq(tokenizer_open(scratch.path, &older, &reason), STATUS_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(reason.text, "LlamaTokenizer"));
    json_object_set_new(config, "tokenizer_class", json_string("Qwen2Tokenizer"));
    json_object_set_new(config, "auto_map", json_pack("{s:[s,n]}", "AutoTokenizer", "own.Own"));
    put_json(&scratch, "tokenizer_config.json", config);
    ck_assert_int_eq(tokenizer_open(scratch.path, &older, &reason), STATUS_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(reason.text, "auto_map (class Qwen2Tokenizer) is never run"));
    json_object_del(config, "auto_map");
    put_json(&scratch, "tokenizer_config.json", config);
    enum status status = tokenizer_open(scratch.path, &older, &reason);
    ck_assert_msg(status == STATUS_OK, "%s", reason.text);
    struct tokenizer *golden = open_golden("qwen");
    ck_assert_uint_eq(tokenizer_size(older), tokenizer_size(golden));
    expect_same_ids(older, golden, "Hello<|im_end|>\n w\xc3\xb6rld, it's 123 e\xcc\x81!!");
    tokenizer_close(older);
    tokenizer_close(golden);
    json_decref(root);
    json_decref(config);
    scratch_close(&scratch);
}
END_TEST

START_TEST(end_ids_are_the_union_of_all_files)
{
    struct scratch scratch;
    scratch_open(&scratch);
    json_t *root = golden_json("qwen/tokenizer.json");
    put_json(&scratch, "tokenizer.json", root);
    json_decref(root);
    static const struct {
        const char *file;
        const char *json;
    } files[] = {
        {"generation_config.json", "{\"eos_token_id\": [2035, 2030, 999999, -4]}"},
        {"config.json", "{\"eos_token_id\": 2036, \"text_config\": {\"eos_token_id\": 2029}}"},
        {"tokenizer_config.json",
         "{\"eos_token\": {\"content\": \"<|vision_end|>\"},"
         " \"chat_template\": \"{{ '<|im_end|>' }}{{ '<|eot_id|>' }}\"}"},
        {"special_tokens_map.json", "{\"eos_token\": \"<|vision_pad|>\"}"},
    };
    for (size_t at = 0; at < COUNT_OF(files); at++) {
        char path[256];
        file_put(scratch_path(&scratch, files[at].file, path), files[at].json,
                 strlen(files[at].json));
    }
    struct tokenizer *tokenizer = NULL;
    struct reason reason = {""};
    ck_assert_int_eq(tokenizer_open(scratch.path, &tokenizer, &reason), STATUS_OK);
    static const uint32_t wanted[] = {2029, 2030, 2031, 2035, 2036, 2037, 2038};
    const uint32_t *ids;
    ck_assert_uint_eq(tokenizer_end_ids(tokenizer, &ids), COUNT_OF(wanted));
    ck_assert(memcmp(ids, wanted, sizeof(wanted)) == 0);
    ck_assert(tokenizer_is_end(tokenizer, 2031));
    ck_assert(!tokenizer_is_end(tokenizer, 5));
    tokenizer_close(tokenizer);
    char path[256];
    file_put(scratch_path(&scratch, "config.json", path), "{\"eos_token_id\": \"x\"}", 21);
    ck_assert_int_eq(tokenizer_open(scratch.path, &tokenizer, &reason), STATUS_MALFORMED);
    ck_assert_ptr_nonnull(strstr(reason.text, "config.json"));
    scratch_close(&scratch);
}
END_TEST

START_TEST(refuses_text_and_ids_it_cannot_take)
{
    struct tokenizer *tokenizer = open_golden("qwen");
    struct token_list list = {NULL, 0, 0};
    struct reason reason = {""};
    ck_assert_int_eq(tokenizer_encode(tokenizer, "ab\xff", 3, 0, &list, &reason),
                     STATUS_MALFORMED);
    ck_assert_ptr_nonnull(strstr(reason.text, "byte 2"));
    ck_assert_int_eq(tokenizer_encode(tokenizer, "", TOKENIZER_TEXT_MAX + 1, 0, &list, &reason),
                     STATUS_TOO_LARGE);
    static const uint32_t undefined[] = {2048, UINT32_MAX};
    for (size_t at = 0; at < COUNT_OF(undefined); at++) {
        char *text = NULL;
        size_t length;
        struct token_piece piece;
        ck_assert(!tokenizer_piece(tokenizer, undefined[at], &piece));
        ck_assert_int_eq(tokenizer_decode(tokenizer, &undefined[at], 1, 0, &text, &length,
                                          &reason), STATUS_INVALID);
        ck_assert_ptr_nonnull(strstr(reason.text, "not defined"));
    }
    token_list_free(&list);
    tokenizer_close(tokenizer);
}
END_TEST

/* A megabyte of one thing.  A merge that is quadratic would run for hours, past any time-out. */
START_TEST(a_megabyte_of_one_thing_is_no_attack)
{
    static const char *const things[] = {"a", " ", "\n", "=", "\xf0\x9f\x98\x80", "ab", "0", "<",
                                         "e\xcc\x81\xcc\xa3", "\xcc\xa3\xcc\x81"};
    enum { SIZE = 1 << 20 };
    struct tokenizer *tokenizer = open_golden("qwen");
    char *text = memory_zeroed(SIZE, 1);
    for (size_t thing = 0; thing < COUNT_OF(things); thing++) {
        size_t unit = strlen(things[thing]);
        size_t length = SIZE / unit * unit;
        for (size_t at = 0; at < length; at += unit)
            memcpy(text + at, things[thing], unit);
        struct token_list list = {NULL, 0, 0};
        ck_assert_int_eq(tokenizer_encode(tokenizer, text, length, 0, &list, NULL), STATUS_OK);
        ck_assert_uint_gt(list.count, 0);
        token_list_free(&list);
    }
    memory_free(text);
    tokenizer_close(tokenizer);
}
END_TEST

START_TEST(survives_every_allocation_that_fails)
{
    char path[512];
    const char *text = "Hello <|im_end|> w\xc3\xb6rld "
                       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    struct tokenizer *tokenizer = NULL;
    golden_path("qwen", path);
    enum status status = STATUS_NO_MEMORY;
    uint64_t calls = 0;
    for (; status != STATUS_OK; calls++) {
        ck_assert_uint_lt(calls, 500);
        memory_fail_after(calls);
        status = tokenizer_open(path, &tokenizer, NULL);
        memory_fail_after(UINT64_MAX);
        ck_assert(status == STATUS_OK || status == STATUS_NO_MEMORY);
    }
    ck_assert_uint_gt(calls, 10);
    status = STATUS_NO_MEMORY;
    for (calls = 0; status != STATUS_OK; calls++) {
        ck_assert_uint_lt(calls, 500);
        struct token_list list = {NULL, 0, 0};
        memory_fail_after(calls);
        status = tokenizer_encode(tokenizer, text, strlen(text), 0, &list, NULL);
        memory_fail_after(UINT64_MAX);
        ck_assert(status == STATUS_OK || status == STATUS_NO_MEMORY);
        token_list_free(&list);
    }
    ck_assert_uint_gt(calls, 3);
    tokenizer_close(tokenizer);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("tokenizer");
    const TTest *const tests[] = {refuses_by_name_what_it_does_not_do,
                                  refuses_files_that_are_missing_or_cut,
                                  reads_vocab_and_merges_where_tokenizer_json_is_missing,
                                  end_ids_are_the_union_of_all_files,
                                  refuses_text_and_ids_it_cannot_take,
                                  a_megabyte_of_one_thing_is_no_attack,
                                  survives_every_allocation_that_fails};
    suite_add(suite, "tokenizer", tests, COUNT_OF(tests));
    return suite;
}
