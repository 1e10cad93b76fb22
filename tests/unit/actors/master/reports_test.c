/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/master.h"
#include "protocol/memory.h"
#include "tests/support/check_main.h"

#include <string.h>

static struct master *master;
static struct message report;
static struct reason reason;

/* One node, which took in a model of two files. */
static void setup(void)
{
    static const char *const names[] = {"config.json", "model.safetensors"};
    master = memory_zeroed(1, sizeof(*master));
    ck_assert_ptr_nonnull(master);
    state_init(&master->state);
    struct node_record *node = record_list_push(&node_record_type,
                                                RECORD_LIST(master->state.nodes), NULL, 1);
    ck_assert(node && text_set(&node->name, "a"));
    node->node_id.bytes[0] = 1;
    ck_assert_int_eq(message_init(&report, MESSAGE_REPORT, REPORT_MODEL_IMPORTED), STATUS_OK);
    report.head.node_id = node->node_id;
    report.head.incarnation = 1;
    report.head.sequence = 1;
    struct model_imported *body = report.body;
    body->node_id = node->node_id;
    ck_assert(text_set(&body->model.model_id, "org/name"));
    for (uint32_t i = 0; i < COUNT_OF(names); i++) {
        const struct file_entry entry = {.size = 100, .is_weight = i == 1};
        struct file_entry *file =
            record_list_push(&file_entry_type, RECORD_LIST(body->model.files), &entry, 2);
        ck_assert(file && text_set(&file->name, names[i]));
    }
}

static void teardown(void)
{
    message_fini(&report);
    state_fini(&master->state);
    memory_free(master);
}

static enum status decide(bool *has_event_out)
{
    struct message event;
    memset(&event, 0, sizeof(event));
    const enum status status = report_decide(master, &report, &event, has_event_out, &reason);
    if (*has_event_out)
        message_fini(&event);
    return status;
}

static struct model_record *model(void)
{
    return &MESSAGE_BODY(&report, model_imported)->model;
}

START_TEST(what_a_node_took_in_becomes_an_event)
{
    bool has_event = false;
    ck_assert_int_eq(decide(&has_event), STATUS_OK);
    ck_assert(has_event);
}
END_TEST

START_TEST(names_that_lead_out_of_a_store_are_refused_before_they_are_in_the_log)
{
    static const char *const names[] = {"../a.json", "a/../../b.json", "/etc/a.json", ".a.json",
                                        "a//b.json", "a\\b.json",      "a\nb.json",   "",
                                        "z.json" /* before its elder: a list in no order */};
    static const char *const models[] = {"../x", "org/../x", "/x", "org--x", "a/b\n", ""};
    bool has_event = false;
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        ck_assert(text_set(&model()->files.items[0].name, names[i]));
        ck_assert_int_eq(decide(&has_event), STATUS_INVALID);
        ck_assert(!has_event);
        ck_assert_ptr_nonnull(strstr(reason.text, " is no name for a file of a model"));
    }
    ck_assert(text_set(&model()->files.items[0].name, "model.safetensors")); /* twice */
    ck_assert_int_eq(decide(&has_event), STATUS_INVALID);
    ck_assert(text_set(&model()->files.items[0].name, "config.json"));
    for (size_t i = 0; i < COUNT_OF(models); i++) {
        ck_assert(text_set(&model()->model_id, models[i]));
        ck_assert_int_eq(decide(&has_event), STATUS_INVALID);
        ck_assert(!has_event);
    }
}
END_TEST

START_TEST(sizes_that_overflow_are_refused_before_they_are_in_the_log)
{
    static const uint64_t sizes[] = {UINT64_MAX, UINT64_MAX - 99, (uint64_t)INT64_MAX + 1,
                                     (uint64_t)INT64_MAX};
    bool has_event = false;
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        model()->files.items[1].size = sizes[i];
        ck_assert_int_eq(decide(&has_event), STATUS_TOO_LARGE);
        ck_assert(!has_event);
        ck_assert_str_eq(reason.text, "the files of org/name are larger than any disk");
    }
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("reports");
    TCase *tcase = tcase_create("reports");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, what_a_node_took_in_becomes_an_event);
    tcase_add_test(tcase, names_that_lead_out_of_a_store_are_refused_before_they_are_in_the_log);
    tcase_add_test(tcase, sizes_that_overflow_are_refused_before_they_are_in_the_log);
    suite_add_tcase(suite, tcase);
    return suite;
}
