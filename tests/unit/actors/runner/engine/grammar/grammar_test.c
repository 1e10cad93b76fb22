/* SPDX-License-Identifier: Apache-2.0 */
/* What grammars accept, what they refuse and how they say it. */
#include "protocol/memory.h"
#include "tests/support/check_main.h"
#include "tests/support/seeded.h"
#include "tests/unit/actors/runner/engine/grammar/grammar_stage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct matcher *opened(const char *demand)
{
    struct reason reason = {""};
    struct matcher *matcher = stage_open(demand, NULL, NULL, &reason);
    ck_assert_msg(matcher != NULL, "%s: %s", demand, reason.text);
    return matcher;
}

static bool takes(struct matcher *matcher, const char *text)
{
    matcher_restart(matcher);
    return matcher_advance_bytes(matcher, text, strlen(text)) && matcher_may_end(matcher);
}

static void check(const char *demand, const char *const *yes, const char *const *no)
{
    struct matcher *matcher = opened(demand);
    for (; *yes; yes++)
        ck_assert_msg(takes(matcher, *yes), "%s should take %s", demand, *yes);
    for (; *no; no++)
        ck_assert_msg(!takes(matcher, *no), "%s should not take %s", demand, *no);
    matcher_close(matcher);
}

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

static const char *regex_demand(const char *pattern)
{
    static char demand[1024];
    json_t *json = json_pack("{s:s,s:s}", "type", "regex", "pattern", pattern);
    char *text = json_dumps(json, 0);
    (void)snprintf(demand, sizeof(demand), "%s", text);
    free(text);
    json_decref(json);
    return demand;
}

START_TEST(regular_expressions_match_the_whole_text)
{
    check(regex_demand("a(b|c)*d"), LIST("ad", "abcbd"), LIST("", "a", "abd ", "xad"));
    check(regex_demand("[a-c]{2,3}"), LIST("ab", "ccc"), LIST("a", "abca", "ad"));
    check(regex_demand("\\d{3}-\\d{4}"), LIST("555-1234"), LIST("5551234", "555-123"));
    check(regex_demand("(?:yes|no)?"), LIST("", "yes", "no"), LIST("y", "yesno"));
    check(regex_demand("x{2,}"), LIST("xx", "xxxxxx"), LIST("x"));
    check(regex_demand("x{0}y"), LIST("y"), LIST("xy"));
    check(regex_demand("a{,2}"), LIST("a{,2}"), LIST("", "a"));
    check(regex_demand("^abc$"), LIST("abc"), LIST("ab", "abcd"));
    check(regex_demand("(?P<n>a|(?<m>b))+?"), LIST("a", "ab"), LIST(""));
    check(regex_demand("[^a-y]+"), LIST("z", "\xc3\xa9", "\xf0\x9f\x98\x80", "\n"),
          LIST("a", "za", "\xc3"));
    check(regex_demand("[\\]\\-x]+"), LIST("]", "-x"), LIST("\\"));
    check(regex_demand("."), LIST("x", "\xe6\x97\xa5"), LIST("\n", "xx", "\xe6\x97"));
    check(regex_demand("\\x41\\u0042\\u{1F600}\\t"), LIST("AB\xf0\x9f\x98\x80\t"), LIST("AB"));
    check(regex_demand("[\xc3\xa0-\xc3\xbc]"), LIST("\xc3\xa9"), LIST("\xc3\xbf", "a"));
    check(regex_demand("\\S\\s\\w\\W"), LIST("a a-", "\xc3\xa9 _\xc3\xa9"), LIST("  a-", "a aa"));
    check(regex_demand("(a*)*b"), LIST("b", "aaab"), LIST("a"));
    check(regex_demand("(|a)+c"), LIST("c", "aac"), LIST(""));
}
END_TEST

START_TEST(what_expressions_cannot_say_is_refused_by_name)
{
    static const char *const rows[][2] = {{"a(?=b)", "looking ahead"},
                                          {"(?<!a)b", "looking ahead"},
                                          {"(a)\\1", "references back"},
                                          {"\\bword", "word boundaries"},
                                          {"\\p{L}", "\\p"},
                                          {"(?i)a", "flags"},
                                          {"a++", "possessive"},
                                          {"a**", "two quantifiers"},
                                          {"(a", "not closed"},
                                          {"a)", "closed that was not"},
                                          {"[a", "not closed"},
                                          {"*a", "nothing before"},
                                          {"[b-a]", "later one"},
                                          {"a{3,2}", "larger"},
                                          {"a{20000}", "10000"},
                                          {"\\", "backslash"},
                                          {"a^b", "^ and $"},
                                          {"(a$)*b", "^ and $"},
                                          {"[[:alpha:]]", "named classes"},
                                          {"((a{1000}){1000}){1000}", "explodes"},
                                          {"\\q", "this escape"},
                                          {"(?:a{0,9000}){0,9000}", "explodes"}};
    for (size_t at = 0; at < COUNT_OF(rows); at++) {
        struct reason reason = {""};
        struct matcher *matcher = stage_open(regex_demand(rows[at][0]), NULL, NULL, &reason);
        ck_assert_msg(matcher == NULL, "%s", rows[at][0]);
        ck_assert_msg(strstr(reason.text, rows[at][1]) != NULL, "%s: %s", rows[at][0], reason.text);
    }
}
END_TEST

START_TEST(schemas_take_what_validates)
{
    check("{\"type\": \"json_object\"}",
          LIST("{}", "{ }", "{\"a\": [1, -2.5e+3, null, true, {\"b\":\"c\\n\\u00e9\"}]}",
               "{\n  \"a\": \"\xc3\xa9\"\n}"),
          LIST("[]", "{\"a\"}", "{\"a\":01}", "{\"a\":1,}", "{\"a\":\"\n\"}", "{\"a\":\"\\ud800\"}",
               "{} ", "{\"a\":\"\xff\"}"));
    check(stage_schema("{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},"
                       "\"b\":{\"type\":[\"string\",\"null\"]}},\"required\":[\"b\"]}"),
          LIST("{\"a\":1,\"b\":null}", "{\"b\": \"x\"}"),
          LIST("{}", "{\"a\":1}", "{\"b\":1}", "{\"b\":null,\"c\":1}", "{\"a\":1.5,\"b\":null}"));
    check(stage_schema("{\"type\":\"object\",\"properties\":{\"ab\":{\"const\":1}},"
                       "\"additionalProperties\":{\"type\":\"boolean\"}}"),
          LIST("{}", "{\"ab\":1}", "{\"a\":true}", "{\"abc\":true,\"b\":false}", "{\"\":true}",
               "{\"ab\":1,\"\xc3\xa9\":true}"),
          LIST("{\"ab\":true}", "{\"\\u0061b\":true}", "{\"a\":1}"));
    check(stage_schema("{\"type\":\"array\",\"items\":{\"enum\":[\"x\",2,null]},\"minItems\":1,"
                       "\"maxItems\":3}"),
          LIST("[\"x\"]", "[2, null,\"x\"]"), LIST("[]", "[3]", "[2,2,2,2]"));
    check(stage_schema("{\"prefixItems\":[{\"type\":\"string\"},{\"type\":\"null\"}],"
                       "\"items\":false}"),
          LIST("[]", "[\"a\"]", "[\"a\",null]"), LIST("[null]", "[\"a\",null,1]"));
    check(stage_schema("{\"$ref\":\"#/$defs/tree\",\"$defs\":{\"tree\":{\"type\":\"object\","
                       "\"properties\":{\"kids\":{\"type\":\"array\",\"items\":{\"$ref\":"
                       "\"#/$defs/tree\"}}},\"required\":[\"kids\"],"
                       "\"additionalProperties\":false}}}"),
          LIST("{\"kids\":[]}", "{\"kids\":[{\"kids\":[]},{\"kids\":[{\"kids\":[]}]}]}"),
          LIST("{}", "{\"kids\":[1]}"));
    check(stage_schema("{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}"),
          LIST("\"ab\"", "\"\xc3\xa9\\n\xf0\x9f\x98\x80\""), LIST("\"a\"", "\"abcd\""));
    check(stage_schema("{\"type\":\"string\",\"pattern\":\"^a|b$\"}"),
          LIST("\"a\"", "\"axx\"", "\"xb\""), LIST("\"x\"", "\"xa\"", "\"bx\""));
    check(stage_schema("{\"type\":\"string\",\"pattern\":\"q\\\"q\"}"),
          LIST("\"q\\\"q\"", "\"x q\\\"q\""), LIST("\"qq\"", "\"q\\\"\""));
    check(stage_schema("{\"allOf\":[{\"type\":\"integer\",\"minimum\":3},{\"maximum\":5}]}"),
          LIST("3", "5"), LIST("2", "6", "4.0"));
    check(stage_schema("{\"type\":\"object\",\"properties\":{\"k\":{\"const\":\"v\"}},"
                       "\"required\":[\"k\"],\"anyOf\":[{\"properties\":{\"a\":{\"const\":1}},"
                       "\"required\":[\"a\"]},{\"properties\":{\"b\":{\"const\":2}}}]}"),
          LIST("{\"k\":\"v\",\"a\":1}", "{\"k\":\"v\"}", "{\"k\":\"v\",\"b\":2}"),
          LIST("{\"a\":1}", "{\"k\":\"v\",\"b\":1}"));
    check(stage_schema("{\"oneOf\":[{\"type\":\"string\"},{\"type\":\"integer\"}]}"),
          LIST("\"\"", "0", "-7"), LIST("null", "-0.5"));
    check(stage_schema("{\"const\":{\"a\":[0.1,\"\xc3\xa9\"]}}"),
          LIST("{\"a\":[0.1,\"\xc3\xa9\"]}"), LIST("{}"));
    check(stage_schema("{\"type\":\"object\",\"maxProperties\":2,\"minProperties\":1,"
                       "\"additionalProperties\":{\"type\":\"null\"}}"),
          LIST("{\"a\":null}", "{\"a\":null,\"b\":null}"),
          LIST("{}", "{\"a\":null,\"b\":null,\"c\":null}"));
    check(stage_schema("{\"type\":\"string\",\"format\":\"date\"}"),
          LIST("\"2024-02-29\"", "\"2023-12-31\"", "\"2000-02-29\""),
          LIST("\"2023-02-29\"", "\"1900-02-29\"", "\"2023-04-31\"", "\"2023-13-01\""));
}
END_TEST

START_TEST(keywords_bound_each_other)
{
    check(stage_schema(
              "{\"type\":\"string\",\"pattern\":\"^[a-c]+\",\"minLength\":2,\"maxLength\":4}"),
          LIST("\"ab\"", "\"ax\xc3\xa9\\n\""), LIST("\"a\"", "\"xa\"", "\"abcab\""));
    check(stage_schema("{\"allOf\":[{\"pattern\":\"a\"},{\"pattern\":\"b\"},{\"maxLength\":3}]}"),
          LIST("\"ab\"", "\"bxa\""), LIST("\"aa\"", "\"abaa\""));
    check(stage_schema(
              "{\"propertyNames\":{\"pattern\":\"^x\",\"maxLength\":2},\"properties\":{\"xa\":"
              "true,\"ya\":true},\"additionalProperties\":{\"type\":\"null\"}}"),
          LIST("{}", "{\"xa\":1,\"xb\":null,\"x\":null}"),
          LIST("{\"ya\":1}", "{\"y\":null}", "{\"xbb\":null}", "{\"xb\":1}"));
    check(stage_schema("{\"properties\":{\"a\":true,\"b\":true,\"c\":true},\"required\":[\"c\"],"
                       "\"minProperties\":2,\"maxProperties\":2}"),
          LIST("{\"a\":1,\"c\":2}", "{\"b\": [ ], \"c\": 2}"),
          LIST("{\"c\":1}", "{\"a\":1,\"b\":2}", "{\"a\":1,\"b\":2,\"c\":3}"));
    check(stage_schema("{\"properties\":{\"\xc3\xa9\\\"\":true},\"additionalProperties\":{\"type\":"
                       "\"null\"}}"),
          LIST("{\"\xc3\xa8\":null,\"\xc3\xa9\":null}", "{\"\xc3\xa9\\\"\":1,\"\\\"\":null}",
               "{\"\xc3\xa9\\n\":null,\"a\\u0041\":null}"),
          LIST("{\"\xc3\xa8\":1}", "{\"\\u00e9\":null}", "{\"\xc3\xa9\\u0022\":null}"));
    check(stage_schema(
              "{\"allOf\":[{\"items\":{\"minimum\":3}},{\"prefixItems\":[{\"type\":\"integer\"}]}],"
              "\"type\":\"array\"}"),
          LIST("[]", "[3, 3.5]"), LIST("[2]", "[3.5]", "[3,2]"));
    check(stage_schema("{\"enum\":[{\"a\":[1,{}]}]}"),
          LIST("{\"a\":[1,{}]}", "{\n  \"a\": [\n    1,\n    {}\n  ]\n}"), LIST("{\"a\":[1]}"));
    check("{\"type\": \"choice\", \"choices\": [\"red\", \"redder\"]}", LIST("red", "redder"),
          LIST("re", "reddest"));
    check(stage_schema("{\"type\":\"object\",\"propertyNames\":{\"maxLength\":1}}"),
          LIST("{}", "{\"a\":1,\"\xc3\xa9\":[]}"), LIST("{\"ab\":1}"));
    check(stage_schema("{\"type\":\"string\",\"maxLength\":100000}"),
          LIST("\"\"", "\"\xc3\xa9\\n\xf0\x9f\x98\x80\""), LIST("\"\\x\"", "\"\xc3\""));
}
END_TEST

START_TEST(what_schemas_cannot_say_is_refused_with_its_path)
{
    static const char *const rows[][2] = {
        {"{\"properties\":{\"a\":{\"uniqueItems\":true}}}", "/properties/a: the keyword uniqueIt"},
        {"{\"items\":{\"not\":{}}}", "/items: the keyword not"},
        {"{\"type\":\"object\",\"patternProperties\":{}}", "patternProperties"},
        {"{\"type\":\"strin\"}", "strin is no type"},
        {"{\"$ref\":\"http://x/y\"}", "leads out"},
        {"{\"$ref\":\"#/$defs/no\"}", "leads to nothing"},
        {"{\"$ref\":\"#\"}", "no text fits"},
        {"{\"anyOf\":[{\"$ref\":\"#\"},{\"type\":\"null\"}]}", "refers to itself"},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#\"}},\"required\":[\"a\"]}",
         "no text fits"},
        {"{\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"number\"}]}", "oneOf"},
        {"{\"type\":\"string\",\"format\":\"regex\"}", "the format regex"},
        {"{\"type\":\"string\",\"pattern\":\"a(?=b)\"}", "looking ahead"},
        {"{\"type\":\"string\",\"minLength\":3,\"maxLength\":2}", "3 to 2"},
        {"{\"type\":\"integer\",\"minimum\":3,\"maximum\":2}", "no number"},
        {"{\"type\":\"number\",\"multipleOf\":0.5}", "multipleOf"},
        {"{\"type\":\"array\",\"minItems\":3,\"maxItems\":2}", "3 to 2"},
        {"{\"type\":\"array\",\"maxItems\":1000000}", "#: maxItems 1000000 makes"},
        {"{\"type\":\"string\",\"maxLength\":100000000}", "maxLength 100000000 makes"},
        {"{\"items\":{\"pattern\":\"(a{1,999}){1,999}\"}}",
         "/items: pattern (a{1,999}){1,999}: the regular"},
        {"{\"enum\":[]}", "enum"},
        {"{\"type\":\"object\",\"required\":[\"a\"],\"additionalProperties\":false}", "no text"},
        {"{\"allOf\":[{\"pattern\":\"^a$\"},{\"pattern\":\"^b$\"}]}", "no text fits"},
        {"{\"propertyNames\":{\"anyOf\":[{\"maxLength\":3},{\"pattern\":\"a\"}]}}",
         "propertyNames"},
        {"{\"allOf\":[{\"$ref\":\"#\"}]}", "does not end"},
        {"{\"type\":\"string\",\"minLength\":\"x\"}", "minLength"},
        {"{\"minProperties\":3,\"type\":\"object\"}", "minProperties"},
        {"7", "must be an object"}};
    for (size_t at = 0; at < COUNT_OF(rows); at++) {
        struct reason reason = {""};
        struct matcher *matcher = stage_open(stage_schema(rows[at][0]), NULL, NULL, &reason);
        ck_assert_msg(matcher == NULL, "%s", rows[at][0]);
        ck_assert_msg(strstr(reason.text, rows[at][1]) != NULL, "%s: %s", rows[at][0], reason.text);
    }
}
END_TEST

/* allOf of two references, each of two references...: 2^60 merges without a limit. */
START_TEST(a_schema_that_doubles_at_each_step_is_refused_soon)
{
    char schema[8192];
    size_t size = (size_t)snprintf(schema, sizeof(schema), "{\"$ref\":\"#/$defs/a0\",\"$defs\":{");
    for (int at = 0; at < 60; at++)
        size += (size_t)snprintf(schema + size, sizeof(schema) - size,
                                 "\"a%d\":{\"allOf\":[{\"$ref\":\"#/$defs/a%d\"},{\"$ref\":"
                                 "\"#/$defs/a%d\"}]},",
                                 at, at + 1, at + 1);
    (void)snprintf(schema + size, sizeof(schema) - size, "\"a60\":{\"type\":\"null\"}}}");
    struct reason reason = {""};
    ck_assert_ptr_null(stage_open(stage_schema(schema), NULL, NULL, &reason));
    ck_assert_msg(strstr(reason.text, "does not end") != NULL, "%s", reason.text);
}
END_TEST

/* Every number near the bounds, tried one by one. */
START_TEST(bounds_of_numbers_hold_exactly)
{
    static const double bounds[] = {-120, -100, -99.5, -10, -7.25, -1, -0.5,  0,  0.1,
                                    1,    5,    9.99,  10,  42,    99, 100.5, 101};
    for (size_t low = 0; low < COUNT_OF(bounds); low++) {
        for (size_t high = low; high < COUNT_OF(bounds); high++) {
            char demand[256];
            const bool is_whole = (low + high) % 2 == 0;
            (void)snprintf(demand, sizeof(demand),
                           "{\"type\":\"json_schema\",\"schema\":{\"type\":\"%s\","
                           "\"%s\":%.17g,\"%s\":%.17g}}",
                           is_whole ? "integer" : "number",
                           low % 3 ? "minimum" : "exclusiveMinimum", bounds[low],
                           high % 3 ? "maximum" : "exclusiveMaximum", bounds[high]);
            struct reason reason = {""};
            struct matcher *matcher = stage_open(demand, NULL, NULL, &reason);
            for (int number = -1300; number <= 1100; number++) {
                if (is_whole && number % 10 != 0)
                    continue;
                char text[32];
                const double value = number / 10.0;
                (void)snprintf(text, sizeof(text), number % 10 ? "%.1f" : "%.0f", value);
                const bool fits = (low % 3 ? value >= bounds[low] : value > bounds[low]) &&
                                  (high % 3 ? value <= bounds[high] : value < bounds[high]);
                const bool accepted = matcher != NULL && takes(matcher, text);
                ck_assert_msg(accepted == fits, "%s: %s", demand, text);
            }
            matcher_close(matcher);
        }
    }
}
END_TEST

START_TEST(multiples_are_counted)
{
    const char *demand = "{\"type\":\"json_schema\",\"schema\":{\"type\":\"integer\","
                         "\"multipleOf\":7,\"minimum\":-30,\"maximum\":100}}";
    struct matcher *matcher = opened(demand);
    for (int number = -40; number <= 110; number++) {
        char text[16];
        (void)snprintf(text, sizeof(text), "%d", number);
        ck_assert_int_eq(takes(matcher, text), number % 7 == 0 && number >= -30 && number <= 100);
    }
    matcher_close(matcher);
}
END_TEST

Suite *suite_of_tests(void)
{
    const TTest *const tests[] = {
        regular_expressions_match_the_whole_text,
        what_expressions_cannot_say_is_refused_by_name,
        schemas_take_what_validates,
        keywords_bound_each_other,
        what_schemas_cannot_say_is_refused_with_its_path,
        a_schema_that_doubles_at_each_step_is_refused_soon,
        bounds_of_numbers_hold_exactly,
        multiples_are_counted,
    };
    Suite *suite = suite_create("grammar");
    suite_add(suite, "grammar", tests, COUNT_OF(tests));
    return suite;
}
