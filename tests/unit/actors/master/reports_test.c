/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/master.h"
#include "actors/master/model_names.h"
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

START_TEST(names_that_differ_in_case_alone_are_refused)
{
    bool has_event = false;
    struct model_record *known =
        record_list_push(&model_record_type, RECORD_LIST(master->state.models), NULL, 2);
    ck_assert(known && text_set(&known->model_id, "org/Name"));
    ck_assert_int_eq(decide(&has_event), STATUS_EXISTS);
    ck_assert(!has_event && strstr(reason.text, "org/name") && strstr(reason.text, "org/Name"));
    /* Who has it under that name exactly may speak of it, whatever else there is. */
    known = record_list_push(&model_record_type, RECORD_LIST(master->state.models), NULL, 2);
    ck_assert(known && text_set(&known->model_id, "org/name"));
    ck_assert_int_eq(decide(&has_event), STATUS_OK);
}
END_TEST

START_TEST(a_name_is_taken_by_what_is_on_its_way_too)
{
    struct state *state = &master->state;
    ck_assert_int_eq(model_name_check(state, "org/name", &reason), STATUS_OK);
    struct import_record *import =
        record_list_push(&import_record_type, RECORD_LIST(state->imports), NULL, 1);
    ck_assert(import && text_set(&import->model_id, "org/namE"));
    ck_assert_int_eq(model_name_check(state, "org/name", &reason), STATUS_EXISTS);
    ck_assert_int_eq(model_name_check(state, "org/namE", &reason), STATUS_OK);
    ck_assert(text_set(&import->model_id, "org/name2"));
    ck_assert_int_eq(model_name_check(state, "org/name", &reason), STATUS_OK);
    struct download_record *download =
        record_list_push(&download_record_type, RECORD_LIST(state->downloads), NULL, 1);
    ck_assert(download && text_set(&download->model_id, "ORG/name"));
    ck_assert_int_eq(model_name_check(state, "org/name", &reason), STATUS_EXISTS);
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

/* An instance of the model with a rank on the node that speaks. */
static struct instance_record *place(uint32_t status)
{
    struct model_record *held =
        record_list_push(&model_record_type, RECORD_LIST(master->state.models), NULL, 4);
    ck_assert(held && text_set(&held->model_id, "org/name"));
    held->revision.bytes[0] = 7;
    struct instance_record *instance =
        record_list_push(&instance_record_type, RECORD_LIST(master->state.instances), NULL, 4);
    ck_assert(instance && text_set(&instance->model_id, "org/name"));
    instance->status = status;
    struct rank_record *rank =
        record_list_push(&rank_record_type, RECORD_LIST(instance->ranks), NULL, 4);
    ck_assert_ptr_nonnull(rank);
    rank->node_id = report.head.node_id;
    message_fini(&report);
    ck_assert_int_eq(message_init(&report, MESSAGE_REPORT, REPORT_SMALL_FILES_FAILED), STATUS_OK);
    report.head.node_id = rank->node_id;
    report.head.incarnation = 1;
    report.head.sequence = 1;
    struct small_files_failed *body = report.body;
    body->node_id = rank->node_id;
    body->revision = held->revision;
    body->status = STATUS_NO_HOLDER;
    ck_assert(text_set(&body->model_id, "org/name"));
    ck_assert(text_set(&body->reason, "n1 sent a part with a wrong hash"));
    return instance;
}

START_TEST(files_that_cannot_be_had_matter_to_generations_that_wait_for_them_alone)
{
    bool has_event = false;
    struct instance_record *instance = place(INSTANCE_STARTING);
    ck_assert_int_eq(decide(&has_event), STATUS_OK);
    ck_assert(has_event);
    instance->status = INSTANCE_READY;
    ck_assert_int_eq(decide(&has_event), STATUS_OK);
    ck_assert(!has_event);
    instance->status = INSTANCE_STARTING;
    instance->ranks.items[0].node_id.bytes[0] = 9; /* elsewhere */
    ck_assert_int_eq(decide(&has_event), STATUS_OK);
    ck_assert(!has_event);
    MESSAGE_BODY(&report, small_files_failed)->revision.bytes[0] = 8;
    ck_assert_int_eq(decide(&has_event), STATUS_STALE);
    ck_assert(!has_event);
}
END_TEST

START_TEST(a_node_speaks_of_its_own_files_only)
{
    bool has_event = false;
    (void)place(INSTANCE_STARTING);
    MESSAGE_BODY(&report, small_files_failed)->node_id.bytes[0] = 9;
    ck_assert_int_eq(decide(&has_event), STATUS_REFUSED);
    ck_assert(!has_event);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("reports");
    TCase *tcase = tcase_create("reports");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, what_a_node_took_in_becomes_an_event);
    tcase_add_test(tcase, names_that_lead_out_of_a_store_are_refused_before_they_are_in_the_log);
    tcase_add_test(tcase, names_that_differ_in_case_alone_are_refused);
    tcase_add_test(tcase, a_name_is_taken_by_what_is_on_its_way_too);
    tcase_add_test(tcase, sizes_that_overflow_are_refused_before_they_are_in_the_log);
    tcase_add_test(tcase,
                   files_that_cannot_be_had_matter_to_generations_that_wait_for_them_alone);
    tcase_add_test(tcase, a_node_speaks_of_its_own_files_only);
    suite_add_tcase(suite, tcase);
    return suite;
}
