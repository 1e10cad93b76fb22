/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/template/chat_template.h"
#include "protocol/memory.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <stdlib.h>
#include <string.h>

static enum status render(const char *source, const json_t *messages,
                          const struct chat_prompt_options *options, char **text_out,
                          struct reason *reason)
{
    struct chat_template *chat_template = NULL;
    size_t size;
    json_t *none = json_array();
    enum status status = chat_template_parse(source, strlen(source), NULL, &chat_template,
                                             reason);
    if (status == STATUS_OK)
        status = chat_template_render(chat_template, messages ? messages : none, options,
                                      text_out, &size, reason);
    chat_template_close(chat_template);
    json_decref(none);
    return status;
}

static void expect_status(const char *source, enum status wanted, const char *part)
{
    struct chat_prompt_options options = {.add_generation_prompt = true};
    struct reason reason = {""};
    char *text = NULL;
    enum status status = render(source, NULL, &options, &text, &reason);
    ck_assert_msg(status == wanted, "%.80s: %s (%s)", source, status_name(status), reason.text);
    ck_assert_msg(strstr(reason.text, part) != NULL, "%.80s: %s", source, reason.text);
    memory_free(text);
}

/* `head`, then `middle` so many times, then `tail`; the caller frees it. */
static char *repeated(const char *head, const char *middle, size_t count, const char *tail)
{
    size_t head_size = strlen(head), size = strlen(middle), tail_size = strlen(tail);
    char *text = memory_zeroed(head_size + size * count + tail_size + 1, 1);
    ck_assert_ptr_nonnull(text);
    memcpy(text, head, head_size);
    for (size_t index = 0; index < count; index++)
        memcpy(text + head_size + index * size, middle, size);
    memcpy(text + head_size + size * count, tail, tail_size);
    return text;
}

START_TEST(ends_loops_that_take_too_many_steps)
{
    expect_status("{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}"
                  "{% endfor %}",
                  STATUS_TOO_LARGE, "too many steps");
    expect_status("{% for a in range(9999) %}{{ ('x' * 900000) | length }}{% endfor %}",
                  STATUS_TOO_LARGE, "");
    expect_status("{% set s = 'x' * 1000000 %}{% for a in range(99999) %}{{ s.find('y') }}"
                  "{% endfor %}",
                  STATUS_TOO_LARGE, "too many steps");
    expect_status("{% set s = 'a' * 500000 %}{{ s.rfind('a' * 200000 ~ 'b') }}", STATUS_TOO_LARGE,
                  "too many steps");
    expect_status("{% set s = 'a' * 500000 %}{% for a in range(9) %}{{ 'abc'.strip(s ~ 'z') }}"
                  "{{ s.strip('b' * 500000) }}{% endfor %}",
                  STATUS_TOO_LARGE, "too many steps");
    expect_status("{{ range(100001) | list | length }}", STATUS_TOO_LARGE, "Range too big");
}
END_TEST

START_TEST(ends_recursion)
{
    expect_status("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", STATUS_TOO_LARGE,
                  "recurse too deeply");
    expect_status("{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}"
                  "{{ a() }}",
                  STATUS_TOO_LARGE, "recurse too deeply");
    expect_status("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", STATUS_TOO_LARGE,
                  "recurse too deeply");
    expect_status("{% set n = namespace() %}{% set n.n = n %}{{ n }}", STATUS_TOO_LARGE,
                  "too deeply");
    expect_status("{% set n = namespace(l=[]) %}{% for i in range(5000) %}{% set n.l = [n.l] %}"
                  "{% endfor %}{{ n.l }}",
                  STATUS_TOO_LARGE, "too deeply");
    expect_status("{% set n = namespace(l=[]) %}{% for i in range(5000) %}{% set n.l = [n.l] %}"
                  "{% endfor %}{{ n.l | tojson }}",
                  STATUS_TOO_LARGE, "too deeply");
    expect_status("{% set n = namespace(l=[], m=[]) %}{% for i in range(5000) %}"
                  "{% set n.l = [n.l] %}{% set n.m = [n.m] %}{% endfor %}{{ n.l == n.m }}",
                  STATUS_TOO_LARGE, "too deeply");
}
END_TEST

START_TEST(refuses_source_that_nests_too_deeply)
{
    static const struct {
        const char *head, *middle, *tail;
        enum status status;
    } rows[] = {
        {"{{ ", "(", "", STATUS_MALFORMED},
        {"{{ ", "[", "", STATUS_MALFORMED},
        {"{{ ", "- ", "1 }}", STATUS_MALFORMED},
        {"{{ ", "not ", "1 }}", STATUS_MALFORMED},
        {"{{ 1", " + 1", " }}", STATUS_MALFORMED},
        {"{{ a", ".b", " }}", STATUS_MALFORMED},
        {"{{ a", "|upper", " }}", STATUS_MALFORMED},
        {"{{ 1", " if 1 else 1", " }}", STATUS_MALFORMED},
        {"", "{% if 1 %}", "", STATUS_MALFORMED},
        {"{% if 1 %}", "{% elif 1 %}", "{% endif %}", STATUS_MALFORMED},
        {"{% for ", "(", "a in b %}", STATUS_MALFORMED},
    };
    for (size_t index = 0; index < COUNT_OF(rows); index++) {
        char *source = repeated(rows[index].head, rows[index].middle, 40000, rows[index].tail);
        expect_status(source, rows[index].status, "line 1");
        memory_free(source);
    }
    char *wide = repeated("{{ 1", " ~ 1", 50000, " }}");
    struct chat_prompt_options options = {0};
    struct reason reason = {""};
    char *text = NULL;
    ck_assert_int_eq(render(wide, NULL, &options, &text, &reason), STATUS_OK);
    ck_assert_uint_eq(strlen(text), 50001);
    memory_free(text);
    memory_free(wide);
}
END_TEST

START_TEST(stops_at_the_limits_of_output_and_memory)
{
    expect_status("{% for a in range(2000) %}{{ 'x' * 1000 }}{% endfor %}", STATUS_TOO_LARGE,
                  "limit of 1048576 bytes");
    expect_status("{{ 'x' * 9999999999 }}", STATUS_TOO_LARGE, "");
    expect_status("{{ '%9999999999d' % 1 }}", STATUS_INVALID, "width");
    expect_status("{{ 'x'.ljust(99999999999) }}", STATUS_TOO_LARGE, "");
    expect_status("{{ [1] * 9999999999 }}", STATUS_TOO_LARGE, "");
    struct chat_prompt_options small = {.output_size_max = 10};
    struct chat_prompt_options tight = {.memory_size_max = 300000};
    struct chat_prompt_options brief = {.steps_max = 10};
    struct reason reason = {""};
    char *text = NULL;
    ck_assert_int_eq(render("0123456789", NULL, &small, &text, &reason), STATUS_OK);
    ck_assert_str_eq(text, "0123456789");
    memory_free(text);
    ck_assert_int_eq(render("0123456789a", NULL, &small, &text, &reason), STATUS_TOO_LARGE);
    ck_assert_int_eq(render("{% set a = [0] * 90000 %}", NULL, &tight, &text, &reason),
                     STATUS_TOO_LARGE);
    ck_assert_ptr_nonnull(strstr(reason.text, "memory"));
    ck_assert_int_eq(render("{% for a in 'abcdefghijk' %}{% endfor %}", NULL, &brief, &text,
                            &reason),
                     STATUS_TOO_LARGE);
}
END_TEST

START_TEST(names_what_it_does_not_know)
{
    expect_status("{{ 1 | frobnicate }}", STATUS_MALFORMED, "filter named 'frobnicate'");
    expect_status("{{ 1 is frobnicated }}", STATUS_MALFORMED, "test named 'frobnicated'");
    expect_status("a\nb{% frob %}", STATUS_MALFORMED, "line 2: unknown tag 'frob'");
    expect_status("{% if 1 %}{{ 1 | frobnicate }}{% endif %}", STATUS_UNSUPPORTED,
                  "filter named 'frobnicate'");
    expect_status("{{ [1] | map('frobnicate') | list }}", STATUS_UNSUPPORTED, "frobnicate");
    expect_status("{{ strftime_now('%Y') }}", STATUS_INVALID, "time");
    expect_status("\xff", STATUS_MALFORMED, "UTF-8");
    expect_status("{{ 9223372036854775807 + 1 }}", STATUS_UNSUPPORTED, "64 bits");
}
END_TEST

START_TEST(passes_on_what_the_template_raises)
{
    expect_status("{{ raise_exception('Only one, please.') }}", STATUS_REFUSED,
                  "Only one, please.");
}
END_TEST

static void expect_model(const char *config, const char *jinja, bool with_tools,
                         enum status wanted, const char *wanted_text)
{
    struct scratch scratch;
    char path[256];
    struct chat_template *chat_template = NULL;
    struct reason reason = {""};
    scratch_open(&scratch);
    if (config)
        file_put(scratch_path(&scratch, "tokenizer_config.json", path), config, strlen(config));
    if (jinja)
        file_put(scratch_path(&scratch, "chat_template.jinja", path), jinja, strlen(jinja));
    enum status status = chat_template_open(scratch.path, &chat_template, &reason);
    ck_assert_msg(status == wanted, "%s: %s", status_name(status), reason.text);
    if (status == STATUS_OK) {
        json_t *list = json_array();
        struct chat_prompt_options options = {.tools = with_tools ? list : NULL};
        char *text = NULL;
        size_t size;
        ck_assert_int_eq(chat_template_render(chat_template, list, &options, &text, &size,
                                              &reason),
                         STATUS_OK);
        ck_assert_str_eq(text, wanted_text);
        memory_free(text);
        json_decref(list);
    }
    chat_template_close(chat_template);
    scratch_close(&scratch);
}

START_TEST(finds_the_template_of_a_model)
{
    expect_model("{\"chat_template\": \"C{{ bos_token }}\", \"bos_token\": \"<s>\"}", NULL,
                 false, STATUS_OK, "C<s>");
    expect_model("{\"chat_template\": \"C\", \"bos_token\": {\"content\": \"<t>\"}}",
                 "J{{ bos_token }}{{ eos_token }}", false, STATUS_OK, "J<t>");
    const char *list = "{\"chat_template\": [{\"name\": \"default\", \"template\": \"D\"},"
                       "{\"name\": \"tool_use\", \"template\": \"T\"}]}";
    expect_model(list, NULL, false, STATUS_OK, "D");
    expect_model(list, NULL, true, STATUS_OK, "T");
    expect_model("{}", NULL, false, STATUS_NOT_FOUND, NULL);
    expect_model(NULL, NULL, false, STATUS_NOT_FOUND, NULL);
    expect_model("{\"chat_template\": 5}", NULL, false, STATUS_NOT_FOUND, NULL);
    expect_model("{", "J", false, STATUS_MALFORMED, NULL);
    expect_model(NULL, "{% if %}", false, STATUS_MALFORMED, NULL);
}
END_TEST

START_TEST(prepares_messages_as_an_api_does)
{
    json_t *messages = json_loads(
        "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
        "{\"type\":\"text\",\"text\":\"b\"}]},"
        "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"function\":"
        "{\"name\":\"f\",\"arguments\":\"{\\\"x\\\": 1}\"}},{\"function\":"
        "{\"name\":\"g\",\"arguments\":\"not json\"}},{\"function\":"
        "{\"name\":\"h\",\"arguments\":\"\"}}]},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"image\"},{\"type\":\"text\",\"text\":\"c\"}],"
        "\"tool_calls\":null}]",
        0, NULL);
    json_t *prepared = NULL;
    struct reason reason = {""};
    ck_assert_int_eq(chat_messages_prepare(messages, &prepared, &reason), STATUS_OK);
    char *text = json_dumps(prepared, JSON_COMPACT);
    ck_assert_str_eq(text,
                     "[{\"role\":\"user\",\"content\":\"ab\"},"
                     "{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"function\":"
                     "{\"name\":\"f\",\"arguments\":{\"x\":1}}},{\"function\":"
                     "{\"name\":\"g\",\"arguments\":\"not json\"}},{\"function\":"
                     "{\"name\":\"h\",\"arguments\":{}}}]},"
                     "{\"role\":\"user\",\"content\":[{\"type\":\"image\"},{\"type\":\"text\","
                     "\"text\":\"c\"}]}]");
    free(text);
    json_decref(prepared);
    json_decref(messages);
    messages = json_loads("[1]", 0, NULL);
    ck_assert_int_eq(chat_messages_prepare(messages, &prepared, &reason), STATUS_INVALID);
    json_decref(messages);
}
END_TEST

/* As Python does, which templates were made with. */
START_TEST(prints_whole_numbers_beyond_64_bits_as_they_were_written)
{
    const char *source =
        "{%- for m in messages %}{%- for c in m.tool_calls %}{{ c.function.arguments | tojson }} "
        "{% for k, v in c.function.arguments | items %}{{ k }}={{ v }},{{ v is string }},"
        "{{ v is number }} {% endfor %}{{ c.function.arguments }}{% endfor %}{% endfor %}";
    json_t *messages = json_pack(
        "[{s:s,s:[{s:{s:s,s:s}}]}]", "role", "assistant", "tool_calls", "function", "name", "f",
        "arguments",
        "{\"wei\": 12345678901234567890123, \"low\": [-9223372036854775809], \"k\": 7, "
        "\"t\": \"a\\\"99999999999999999999\", \"r\": 0.12345678901234567890}");
    json_t *prepared = NULL;
    struct reason reason = {""};
    struct chat_prompt_options options = {.add_generation_prompt = true};
    char *text = NULL;
    ck_assert_int_eq(chat_messages_prepare(messages, &prepared, &reason), STATUS_OK);
    ck_assert_msg(render(source, prepared, &options, &text, &reason) == STATUS_OK, "%s",
                  reason.text);
    ck_assert_str_eq(
        text, "{\"wei\": 12345678901234567890123, \"low\": [-9223372036854775809], \"k\": 7, "
              "\"t\": \"a\\\"99999999999999999999\", \"r\": 0.12345678901234568} "
              "wei=12345678901234567890123,False,True low=[-9223372036854775809],False,False "
              "k=7,False,True t=a\"99999999999999999999,True,False "
              "r=0.12345678901234568,False,True "
              "{'wei': 12345678901234567890123, 'low': [-9223372036854775809], 'k': 7, "
              "'t': 'a\"99999999999999999999', 'r': 0.12345678901234568}");
    memory_free(text);
    json_decref(prepared);
    json_decref(messages);
}
END_TEST

START_TEST(gives_reasoning_both_names)
{
    json_t *messages = json_loads("[{\"role\":\"assistant\",\"reasoning\":\"r\"},"
                                  "{\"role\":\"user\",\"content\":\"c\"}]",
                                  0, NULL);
    json_t *aliased = NULL;
    struct reason reason = {""};
    ck_assert_int_eq(chat_messages_alias_reasoning(messages, &aliased, &reason), STATUS_OK);
    char *text = json_dumps(aliased, JSON_COMPACT);
    ck_assert_str_eq(text, "[{\"thinking\":\"r\",\"role\":\"assistant\",\"reasoning\":\"r\","
                           "\"reasoning_content\":\"r\"},{\"role\":\"user\",\"content\":\"c\"}]");
    free(text);
    json_decref(aliased);
    json_decref(messages);
}
END_TEST

START_TEST(survives_every_failing_allocation)
{
    static const char source[] =
        "{% macro m(x) %}{{ x | upper }}{% endmacro %}{% for a in messages %}{{ m(a.role) }}"
        "{{ a | tojson(indent=2) }}{% endfor %}{{ messages | map(attribute='role') | sort }}";
    json_t *messages = json_loads("[{\"role\":\"user\",\"content\":\"c\",\"thinking\":\"t\"}]", 0,
                                  NULL);
    struct chat_prompt_options options = {0};
    enum status status = STATUS_NO_MEMORY;
    for (uint64_t calls = 0; status != STATUS_OK; calls++) {
        struct reason reason = {""};
        char *text = NULL;
        memory_fail_after(calls);
        status = render(source, messages, &options, &text, &reason);
        memory_fail_after(UINT64_MAX);
        memory_free(text);
        ck_assert_uint_lt(calls, 1000);
        ck_assert(status == STATUS_OK || reason.text[0] != '\0');
    }
    json_decref(messages);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("chat template");
    const TTest *const tests[] = {ends_loops_that_take_too_many_steps,
                                  ends_recursion,
                                  refuses_source_that_nests_too_deeply,
                                  stops_at_the_limits_of_output_and_memory,
                                  names_what_it_does_not_know,
                                  passes_on_what_the_template_raises,
                                  finds_the_template_of_a_model,
                                  prepares_messages_as_an_api_does,
                                  prints_whole_numbers_beyond_64_bits_as_they_were_written,
                                  gives_reasoning_both_names,
                                  survives_every_failing_allocation};
    suite_add(suite, "chat template", tests, COUNT_OF(tests));
    return suite;
}
