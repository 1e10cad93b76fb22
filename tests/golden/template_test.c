/* SPDX-License-Identifier: Apache-2.0 */
/* Templates against the texts their reference renderer made (scripts/make_template_cases.py). */
#include "actors/runner/engine/template/chat_template.h"
#include "protocol/memory.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <stdio.h>
#include <string.h>

/* 2026-11-20 12:34:56, a Friday, day 324 of its year. */
static const struct tm frozen = {.tm_year = 126,
                                 .tm_mon = 10,
                                 .tm_mday = 20,
                                 .tm_hour = 12,
                                 .tm_min = 34,
                                 .tm_sec = 56,
                                 .tm_wday = 5,
                                 .tm_yday = 323};

static json_t *golden_json(const char *name)
{
    char path[600], relative[200];
    size_t size;
    (void)snprintf(relative, sizeof(relative), "tests/golden/templates/%s", name);
    char *bytes = file_bytes(source_path(relative, path), &size);
    json_t *root = json_loadb(bytes, size, JSON_ALLOW_NUL, NULL);
    memory_free(bytes);
    ck_assert_ptr_nonnull(root);
    return root;
}

static struct chat_template *golden_template(const char *name)
{
    char path[600], relative[200];
    size_t size;
    struct chat_template *chat_template = NULL;
    struct reason reason = {""};
    (void)snprintf(relative, sizeof(relative), "tests/golden/templates/%s.jinja", name);
    char *bytes = file_bytes(source_path(relative, path), &size);
    json_t *tokens = json_pack("{s:s,s:s}", "bos_token", "<bos>", "eos_token", "<eos>");
    enum status status = chat_template_parse(bytes, size, tokens, &chat_template, &reason);
    json_decref(tokens);
    memory_free(bytes);
    ck_assert_msg(status == STATUS_OK, "%s: %s", name, reason.text);
    return chat_template;
}

/* Text, or the exact message of raise_exception, or any refusal where Python has an error. */
static void expect(const char *what, const json_t *expected, enum status status,
                   const char *text, size_t size, const struct reason *reason)
{
    const json_t *wanted = json_object_get(expected, "text");
    const char *raised = json_string_value(json_object_get(expected, "raise"));
    if (wanted) {
        ck_assert_msg(status == STATUS_OK, "%s: %s", what, reason->text);
        bool same = size == json_string_length(wanted) &&
                    memcmp(text, json_string_value(wanted), size) == 0;
        ck_assert_msg(same, "%s: got\n%s\nwanted\n%s", what, text, json_string_value(wanted));
    } else if (raised) {
        ck_assert_msg(status == STATUS_REFUSED, "%s: status %d", what, (int)status);
        ck_assert_str_eq(reason->text, raised);
    } else {
        ck_assert_ptr_nonnull(json_object_get(expected, "error"));
        ck_assert_msg(status != STATUS_OK, "%s: got\n%s", what, text);
        ck_assert_msg(reason->text[0] != '\0', "%s: no sentence", what);
    }
}

static void render_one(const char *what, const struct chat_template *chat_template,
                       const json_t *messages, const struct chat_prompt_options *options,
                       const json_t *expected)
{
    char *text = NULL;
    size_t size = 0;
    struct reason reason = {""};
    enum status status = chat_template_render(chat_template, messages, options, &text, &size,
                                              &reason);
    expect(what, expected, status, text, size, &reason);
    memory_free(text);
}

static size_t render_all(const char *name, const json_t *conversations)
{
    char what[300], file[100];
    size_t count = 0, index;
    const char *id;
    json_t *conversation, *outcome;
    (void)snprintf(file, sizeof(file), "expected/%s.json", name);
    json_t *expected = golden_json(file);
    struct chat_template *chat_template = golden_template(name);
    json_array_foreach(conversations, index, conversation) {
        id = json_string_value(json_object_get(conversation, "id"));
        outcome = json_object_get(expected, id);
        if (!outcome)
            continue;
        struct chat_prompt_options options = {
            .tools = json_object_get(conversation, "tools"),
            .arguments = json_object_get(conversation, "kwargs"),
            .now = &frozen,
            .add_generation_prompt =
                json_is_true(json_object_get(conversation, "add_generation_prompt")),
        };
        (void)snprintf(what, sizeof(what), "%s %s", name, id);
        render_one(what, chat_template, json_object_get(conversation, "messages"), &options,
                   outcome);
        count++;
    }
    json_object_foreach(expected, id, outcome) {
        const json_t *messages = json_object_get(outcome, "messages");
        struct chat_prompt_options options = {.now = &frozen, .continue_final_message = true};
        if (!messages)
            continue;
        render_one(id, chat_template, messages, &options, outcome);
        count++;
    }
    chat_template_close(chat_template);
    json_decref(expected);
    return count;
}

START_TEST(renders_every_conversation_as_the_reference_does)
{
    static const char *const names[] = {"chatml-generation", "features",    "gemma-like",
                                        "glm4-like",         "harmony-like", "llama3-like",
                                        "qwen3-like",        "qwen35-like", "step-like"};
    json_t *conversations = golden_json("conversations.json");
    size_t count = 0;
    for (size_t index = 0; index < COUNT_OF(names); index++)
        count += render_all(names[index], conversations);
    ck_assert_uint_eq(count, 421);
    json_decref(conversations);
}
END_TEST

START_TEST(renders_every_snippet_as_the_reference_does)
{
    json_t *root = golden_json("snippets.json");
    const json_t *cases = json_object_get(root, "cases");
    ck_assert_uint_gt(json_array_size(cases), 200);
    for (size_t index = 0; index < json_array_size(cases); index++) {
        const json_t *one = json_array_get(cases, index);
        const json_t *source = json_object_get(one, "template");
        struct chat_prompt_options options = {.arguments = json_object_get(root, "arguments"),
                                              .now = &frozen,
                                              .add_generation_prompt = true};
        struct chat_template *chat_template = NULL;
        struct reason reason = {""};
        enum status status = chat_template_parse(json_string_value(source),
                                                 json_string_length(source), NULL,
                                                 &chat_template, &reason);
        if (status == STATUS_OK)
            render_one(json_string_value(source), chat_template,
                       json_object_get(root, "messages"), &options, one);
        else
            expect(json_string_value(source), one, status, NULL, 0, &reason);
        chat_template_close(chat_template);
    }
    json_decref(root);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("chat templates");
    const TTest *const tests[] = {renders_every_conversation_as_the_reference_does,
                                  renders_every_snippet_as_the_reference_does};
    suite_add(suite, "reference", tests, COUNT_OF(tests));
    return suite;
}
