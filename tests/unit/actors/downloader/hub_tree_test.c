/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/downloader/hub_tree.h"

#include "tests/support/check_main.h"

#include <stdio.h>
#include <string.h>

#define SHA1 "0123456789abcdef0123456789abcdef01234567"
#define SHA256 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define PLAIN(path, size)                                                                          \
    "{\"type\":\"file\",\"path\":\"" path "\",\"size\":" size ",\"oid\":\"" SHA1 "\"}"
#define LARGE(path, size)                                                                          \
    "{\"type\":\"file\",\"path\":\"" path "\",\"size\":" size ",\"oid\":\"" SHA1                   \
    "\",\"lfs\":{\"oid\":\"" SHA256 "\",\"size\":" size "}}"

static struct hub_tree tree;
static struct reason reason;

static enum status page(const char *json)
{
    return hub_tree_page(&tree, json, strlen(json), &reason);
}

START_TEST(what_a_model_is_read_from_is_fetched)
{
    hub_tree_init(&tree);
    ck_assert_int_eq(
        page("[" LARGE("model.safetensors", "5000000000") "," PLAIN("config.json", "10") "," PLAIN(
            "modeling.py",
            "3") "," PLAIN("README.md",
                           "3") "," PLAIN(".gitattributes",
                                          "3") "," LARGE("pytorch_model.bin",
                                                         "9") "," LARGE("original/"
                                                                        "consolidated.safetensors",
                                                                        "9") ","
                                                                             "{\"type\":"
                                                                             "\"directory\","
                                                                             "\"path\":"
                                                                             "\"original\",\"oid\":"
                                                                             "\"x\",\"size\":0}]"),
        STATUS_OK);
    ck_assert_int_eq(page("[" PLAIN("chat_template.jinja", "0") "," PLAIN(
                         "vocab.txt", "1") "," LARGE("tokenizer.model", "7") "]"),
                     STATUS_OK);
    ck_assert_int_eq(hub_tree_check(&tree, "org/m", &reason), STATUS_OK);
    static const char *const names[] = {"chat_template.jinja", "config.json", "model.safetensors",
                                        "tokenizer.model", "vocab.txt"};
    ck_assert_uint_eq(tree.count, COUNT_OF(names));
    for (size_t i = 0; i < COUNT_OF(names); i++)
        ck_assert_str_eq(tree.files[i].path, names[i]);
    ck_assert_str_eq(tree.files[1].etag, SHA1);
    ck_assert_str_eq(tree.files[2].etag, SHA256);
    ck_assert(tree.files[2].is_weight && !tree.files[3].is_weight);
    ck_assert_uint_eq(hub_tree_bytes(&tree), 5000000000u + 10 + 7 + 1);
    ck_assert_uint_eq(tree.programs, 1);
    ck_assert_uint_eq(tree.passed_over, 5);
    hub_tree_fini(&tree);
}
END_TEST

START_TEST(a_listing_that_lies_is_refused)
{
    static const struct {
        const char *json;
        enum status status;
    } rows[] = {
        {"", STATUS_MALFORMED},
        {"{}", STATUS_MALFORMED},
        {"[1]", STATUS_MALFORMED},
        {"[{\"path\":\"a.json\"}]", STATUS_MALFORMED},
        {"[" PLAIN("../a.json", "1") "]", STATUS_MALFORMED},
        {"[" PLAIN("a/../b.json", "1") "]", STATUS_MALFORMED},
        {"[" PLAIN("/a.json", "1") "]", STATUS_MALFORMED},
        {"[" PLAIN("a//b.py", "1") "]", STATUS_MALFORMED},
        {"[" PLAIN("a\\\\b.json", "1") "]", STATUS_MALFORMED},
        {"[" PLAIN("a\\u0001.json", "1") "]", STATUS_MALFORMED},
        {"[" PLAIN("", "1") "]", STATUS_MALFORMED},
        {"[" PLAIN("a.json", "-1") "]", STATUS_MALFORMED},
        {"[" PLAIN("a.json", "1.5") "]", STATUS_MALFORMED},
        {"[" PLAIN("a.json", "99999999999999999999") "]", STATUS_MALFORMED},
        {"[" LARGE("a.safetensors", "9000000000000") "]", STATUS_MALFORMED},
        {"[" PLAIN("a.json", "999999999") "]", STATUS_TOO_LARGE},
        {"[{\"type\":\"file\",\"path\":\"a.json\",\"size\":1}]", STATUS_UNSUPPORTED},
        {"[{\"type\":\"file\",\"path\":\"a.json\",\"size\":1,\"oid\":\"../../x\"}]",
         STATUS_UNSUPPORTED},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        hub_tree_init(&tree);
        ck_assert_msg(page(rows[i].json) == rows[i].status, "%s", rows[i].json);
        hub_tree_fini(&tree);
    }
}
END_TEST

START_TEST(what_is_no_model_of_ours_is_named)
{
    hub_tree_init(&tree);
    ck_assert_int_eq(page("[" LARGE("model.safetensors", "9") "]"), STATUS_OK);
    ck_assert_int_eq(hub_tree_check(&tree, "org/m", &reason), STATUS_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(reason.text, "config.json"));
    hub_tree_fini(&tree);
    ck_assert_int_eq(page("[" PLAIN("config.json", "9") "," LARGE("model.gguf", "9") "]"),
                     STATUS_OK);
    ck_assert_int_eq(hub_tree_check(&tree, "org/m", &reason), STATUS_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(reason.text, "MLX layout"));
    hub_tree_fini(&tree);
    ck_assert_int_eq(page("[" PLAIN("config.json", "9") "," PLAIN("config.json", "9") "," LARGE(
                         "model.safetensors", "9") "]"),
                     STATUS_OK);
    ck_assert_int_eq(hub_tree_check(&tree, "org/m", &reason), STATUS_MALFORMED);
    hub_tree_fini(&tree);
}
END_TEST

static enum status keep(const char *json)
{
    return hub_tree_keep_weights(&tree, json, strlen(json), "org/m", &reason);
}

START_TEST(of_the_weights_those_of_the_index_are_fetched)
{
    hub_tree_init(&tree);
    ck_assert_int_eq(page("[" LARGE("a.safetensors", "1") "," LARGE("b.safetensors", "2") "," LARGE(
                         "other.safetensors", "4") "," PLAIN("config.json", "8") "]"),
                     STATUS_OK);
    ck_assert_int_eq(keep("{\"weight_map\":{\"x\":\"a.safetensors\",\"y\":\"c.safetensors\"}}"),
                     STATUS_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(reason.text, "c.safetensors"));
    ck_assert_int_eq(keep("{\"weight_map\":{\"x\":\"config.json\"}}"), STATUS_NOT_FOUND);
    ck_assert_int_eq(keep("{\"weight_map\":{\"x\":7}}"), STATUS_NOT_FOUND);
    ck_assert_int_eq(keep("{\"weight_map\":{}}"), STATUS_MALFORMED);
    ck_assert_int_eq(keep("[]"), STATUS_MALFORMED);
    ck_assert_int_eq(keep("{\"weight_map\":{\"x\":\"a.safetensors\",\"y\":\"b.safetensors\"}}"),
                     STATUS_OK);
    ck_assert_uint_eq(tree.count, 3);
    ck_assert_uint_eq(hub_tree_bytes(&tree), 11);
    hub_tree_fini(&tree);
}
END_TEST

START_TEST(the_commit_of_a_revision_is_read)
{
    char commit[41];
    static const char good[] = "{\"id\":\"org/m\",\"sha\":\"" SHA1 "\"}";
    static const char *const wrong[] = {"",
                                        "[]",
                                        "{}",
                                        "{\"sha\":7}",
                                        "{\"sha\":\"main\"}",
                                        "{\"sha\":\"../../../../../../../../../../../../../x\"}"};
    ck_assert_int_eq(hub_revision_commit(good, strlen(good), commit, &reason), STATUS_OK);
    ck_assert_str_eq(commit, SHA1);
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        ck_assert_int_eq(hub_revision_commit(wrong[i], strlen(wrong[i]), commit, &reason),
                         STATUS_MALFORMED);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("hub_tree");
    const TTest *const tests[] = {
        what_a_model_is_read_from_is_fetched, a_listing_that_lies_is_refused,
        what_is_no_model_of_ours_is_named,    of_the_weights_those_of_the_index_are_fetched,
        the_commit_of_a_revision_is_read,
    };
    suite_add(suite, "lists", tests, COUNT_OF(tests));
    return suite;
}
