/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/config.h"

#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct config config_make(void)
{
    struct config config;
    struct reason reason = {""};
    ck_assert_msg(config_init(&config, &reason) == STATUS_OK, "%s", reason.text);
    return config;
}

static enum status flags(struct config *config, const char *one, const char *two, bool lenient,
                         int *left_out, struct reason *reason)
{
    char first[200];
    char second[200];
    char program[] = "troupe";
    char *arguments[] = {program, first, second, NULL};
    int count = two ? 3 : 2;
    (void)snprintf(first, sizeof(first), "%s", one);
    (void)snprintf(second, sizeof(second), "%s", two ? two : "");
    enum status status = config_read_flags(config, &count, arguments, lenient, reason);
    if (left_out)
        *left_out = count;
    return status;
}

static enum status read_text(struct config *config, const char *text, struct reason *reason)
{
    struct scratch scratch;
    char path[256];
    scratch_open(&scratch);
    file_put(scratch_path(&scratch, "config.ini", path), text, strlen(text));
    enum status status = config_read_file(config, path, true, reason);
    scratch_close(&scratch);
    return status;
}

START_TEST(defaults_are_within_their_bounds)
{
    struct config config = config_make();
    ck_assert_str_eq(config_text(&config, CONFIG_KEY_HTTP), "127.0.0.1:52414");
    ck_assert_uint_eq(config_number(&config, CONFIG_KEY_LEASE_MS), 1000);
    ck_assert(!config_switch(&config, CONFIG_KEY_QUORUM));
    config_fini(&config);
}
END_TEST

START_TEST(stronger_sources_win_in_any_order)
{
    struct config config = config_make();
    char variable[] = "TROUPE_BEAT_MS=300";
    char other[] = "PATH=/bin";
    char ready[] = "TROUPE_READY_FD=3";
    char *const environment[] = {other, variable, ready, NULL};
    struct reason reason = {""};
    ck_assert_int_eq(flags(&config, "--lease-ms", "700", false, NULL, &reason), STATUS_OK);
    ck_assert_msg(config_read_environment(&config, environment, &reason) == STATUS_OK, "%s",
                  reason.text);
    ck_assert_msg(read_text(&config, "# words\nlease_ms = 2000\nbeat_ms=500\nquorum = yes ; why\n",
                            &reason) == STATUS_OK, "%s", reason.text);
    ck_assert_uint_eq(config_number(&config, CONFIG_KEY_LEASE_MS), 700);
    ck_assert_uint_eq(config_number(&config, CONFIG_KEY_BEAT_MS), 300);
    ck_assert(config_switch(&config, CONFIG_KEY_QUORUM));
    struct buffer text;
    buffer_init(&text, 1 << 16);
    ck_assert_int_eq(config_print(&config, &text), STATUS_OK);
    ck_assert_int_eq(buffer_append(&text, "", 1), STATUS_OK);
    ck_assert_ptr_nonnull(strstr((char *)text.bytes, "lease_ms = 700    ; flag\n"));
    ck_assert_ptr_nonnull(strstr((char *)text.bytes, "beat_ms = 300    ; environment\n"));
    ck_assert_ptr_nonnull(strstr((char *)text.bytes, "quorum = yes    ; file\n"));
    ck_assert_ptr_nonnull(strstr((char *)text.bytes, "ping_ms = 2000    ; default\n"));
    buffer_fini(&text);
    config_fini(&config);
}
END_TEST

START_TEST(what_is_printed_can_be_read_again)
{
    struct config config = config_make();
    struct config again = config_make();
    struct reason reason = {""};
    struct buffer text;
    ck_assert_int_eq(flags(&config, "--memory-max=3G", NULL, false, NULL, &reason), STATUS_OK);
    buffer_init(&text, 1 << 16);
    ck_assert_int_eq(config_print(&config, &text), STATUS_OK);
    ck_assert_int_eq(buffer_append(&text, "", 1), STATUS_OK);
    /* All but home, which a file in it cannot set. */
    const char *rest = strchr((char *)text.bytes, '\n');
    ck_assert_msg(read_text(&again, rest, &reason) == STATUS_OK, "%s", reason.text);
    for (int key = 0; key < CONFIG_KEY_COUNT; key++)
        ck_assert_str_eq(config_text(&config, (enum config_key)key),
                         config_text(&again, (enum config_key)key));
    ck_assert_uint_eq(config_number(&again, CONFIG_KEY_MEMORY_MAX), 3ull << 30);
    buffer_fini(&text);
    config_fini(&config);
    config_fini(&again);
}
END_TEST

START_TEST(unknown_settings_are_refused_by_name)
{
    struct config config = config_make();
    struct reason reason = {""};
    char variable[] = "TROUPE_QUORM=true";
    char *const environment[] = {variable, NULL};
    ck_assert_int_eq(flags(&config, "--lease-mss", "1", false, NULL, &reason), STATUS_INVALID);
    ck_assert_ptr_nonnull(strstr(reason.text, "did you mean lease_ms?"));
    ck_assert_int_eq(config_read_environment(&config, environment, &reason), STATUS_INVALID);
    ck_assert_ptr_nonnull(strstr(reason.text, "did you mean quorum?"));
    ck_assert_int_eq(read_text(&config, "htp = 1\n", &reason), STATUS_INVALID);
    ck_assert_ptr_nonnull(strstr(reason.text, "did you mean http?"));
    ck_assert_int_eq(flags(&config, "--zzzzzzzzzzzz", "1", false, NULL, &reason), STATUS_INVALID);
    ck_assert_ptr_nonnull(strstr(reason.text, "--help"));
    config_fini(&config);
}
END_TEST

START_TEST(bad_values_are_refused)
{
    static const char *const rows[][2] = {
        {"--lease-ms", "99"},      {"--lease-ms", "60001"}, {"--lease-ms", "-1"},
        {"--lease-ms", ""},        {"--lease-ms", "1e3"},   {"--lease-ms", "99999999999999999999"},
        {"--memory-max", "4X"},    {"--memory-max", "1GG"}, {"--quorum=maybe", NULL},
        {"--log-level", "loudly"}, {"--listen", ""},        {"--name", "a\nb"},
        {"--lease-ms", NULL},
    };
    struct config config = config_make();
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct reason reason = {""};
        ck_assert_msg(flags(&config, rows[i][0], rows[i][1], false, NULL, &reason) ==
                      STATUS_INVALID, "%s %s", rows[i][0], rows[i][1] ? rows[i][1] : "");
        ck_assert_str_ne(reason.text, "");
    }
    config_fini(&config);
}
END_TEST

/* From each source there is, with the nearest that would do. */
START_TEST(shares_beyond_0_to_1_are_refused_with_the_nearest)
{
    static const struct {
        const char *value;
        const char *nearest;
    } rows[] = {{"1.5", "the nearest is 1"},   {"-0.1", "the nearest is 0"},
                {"1.000001", "nearest is 1"},  {"90", "the nearest is 1, and 90 % are 0.9"},
                {"", "the nearest is 0.9"},    {"most", "the nearest is 0.9"},
                {"0,9", "the nearest is 1"},   {"1e9", "the nearest is 1"},
                {"nan", "the nearest is 0.9"}, {"123456789012345678901", "the nearest is 1"}};
    struct config config = config_make();
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char text[128];
        char variable[128];
        char *const environment[] = {variable, NULL};
        struct reason reason = {""};
        ck_assert_int_eq(flags(&config, "--asymmetric-smallest", rows[i].value, false, NULL,
                               &reason), STATUS_INVALID);
        ck_assert_msg(strstr(reason.text, rows[i].nearest) != NULL, "%s", reason.text);
        (void)snprintf(text, sizeof(text), "asymmetric_smallest = %s\n", rows[i].value);
        reason.text[0] = '\0';
        ck_assert_int_eq(read_text(&config, text, &reason), STATUS_INVALID);
        ck_assert_msg(strstr(reason.text, rows[i].nearest) != NULL, "%s", reason.text);
        (void)snprintf(variable, sizeof(variable), "TROUPE_ASYMMETRIC_SMALLEST=%s",
                       rows[i].value);
        reason.text[0] = '\0';
        ck_assert_int_eq(config_read_environment(&config, environment, &reason), STATUS_INVALID);
        ck_assert_msg(strstr(reason.text, rows[i].nearest) != NULL, "%s", reason.text);
        ck_assert_msg(strstr(reason.text, "asymmetric_smallest") != NULL, "%s", reason.text);
    }
    for (double share = 0; share <= 1; share += 0.25) {
        char variable[64];
        char *const environment[] = {variable, NULL};
        struct reason reason = {""};
        (void)snprintf(variable, sizeof(variable), "TROUPE_ASYMMETRIC_CLUSTER=%g", share);
        ck_assert_int_eq(config_read_environment(&config, environment, &reason), STATUS_OK);
        ck_assert(config_share(&config, CONFIG_KEY_ASYMMETRIC_CLUSTER) == share);
    }
    config_fini(&config);
}
END_TEST

START_TEST(bad_files_are_refused)
{
    char line[400];
    struct config config = config_make();
    struct reason reason = {""};
    ck_assert_int_eq(read_text(&config, "lease_ms = 1000\nwords\n", &reason), STATUS_MALFORMED);
    ck_assert_ptr_nonnull(strstr(reason.text, "line 2"));
    ck_assert_int_eq(read_text(&config, "[other]\nlease_ms = 1000\n", &reason), STATUS_INVALID);
    ck_assert_int_eq(read_text(&config, "lease_ms = 1000\nlease_ms = 2000\n", &reason),
                     STATUS_INVALID);
    ck_assert_int_eq(read_text(&config, "home = /x\n", &reason), STATUS_INVALID);
    (void)snprintf(line, sizeof(line), "name = %0300d\n", 1);
    ck_assert_int_eq(read_text(&config, line, &reason), STATUS_TOO_LARGE);
    ck_assert_int_eq(config_read_file(&config, "/nowhere/config.ini", true, &reason),
                     STATUS_NOT_FOUND);
    ck_assert_int_eq(config_read_file(&config, "/nowhere/config.ini", false, &reason), STATUS_OK);
    config_fini(&config);
}
END_TEST

START_TEST(other_arguments_stay)
{
    struct config config = config_make();
    struct reason reason = {""};
    int left;
    ck_assert_int_eq(flags(&config, "--json", "place", true, &left, &reason), STATUS_OK);
    ck_assert_int_eq(left, 3);
    ck_assert_int_eq(flags(&config, "--quorum", "place", true, &left, &reason), STATUS_INVALID);
    ck_assert_int_eq(flags(&config, "place", "--quorum", true, &left, &reason), STATUS_OK);
    ck_assert_int_eq(left, 2);
    ck_assert(config_switch(&config, CONFIG_KEY_QUORUM));
    ck_assert_int_eq(flags(&config, "--", "--quorum", false, &left, &reason), STATUS_OK);
    ck_assert_int_eq(left, 2);
    config_fini(&config);
}
END_TEST

START_TEST(help_names_every_setting)
{
    struct buffer text;
    buffer_init(&text, 1 << 16);
    ck_assert_int_eq(config_help(&text), STATUS_OK);
    ck_assert_int_eq(buffer_append(&text, "", 1), STATUS_OK);
    for (int key = 0; key < CONFIG_KEY_COUNT; key++)
        ck_assert_ptr_nonnull(strstr((char *)text.bytes, config_name((enum config_key)key)));
    buffer_fini(&text);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("config");
    const TTest *const tests[] = {
        defaults_are_within_their_bounds,     stronger_sources_win_in_any_order,
        what_is_printed_can_be_read_again,    unknown_settings_are_refused_by_name,
        bad_values_are_refused,               shares_beyond_0_to_1_are_refused_with_the_nearest,
        bad_files_are_refused,
        other_arguments_stay,                 help_names_every_setting,
    };
    suite_add(suite, "settings", tests, COUNT_OF(tests));
    return suite;
}
