/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fails the Nth call of the model store, for every third or eleventh N (several in a row are of one
 * kind, and each costs syncs of the disk), and judges what is left: nothing, or the whole model,
 * and never a lost one.
 */
#include "protocol/memory.h"
#include "runtime/model_store.h"
#include "runtime/store_io.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MODEL "scripts/demo-model/model"
#define MODEL_ID "demo"
#define CALLS_MAX 1000

struct fixture {
    struct scratch scratch;
    char models[256];
    char holdings[256];
    char source[512];
    struct model_store_places places;
    struct model_store store;
};

static void fixture_open(struct fixture *fixture)
{
    struct reason reason = {""};
    scratch_open(&fixture->scratch);
    (void)scratch_path(&fixture->scratch, "models", fixture->models);
    (void)scratch_path(&fixture->scratch, "holdings", fixture->holdings);
    fixture->places = (struct model_store_places){fixture->models, fixture->holdings, NULL};
    (void)source_path(MODEL, fixture->source);
    ck_assert_int_eq(model_store_open(&fixture->store, &fixture->places, "test", &reason),
                     STATUS_OK);
}

static void fixture_close(struct fixture *fixture)
{
    model_store_close(&fixture->store);
    scratch_close(&fixture->scratch);
}

static enum status take_in(struct fixture *fixture, struct model_record *record,
                           struct reason *reason)
{
    const struct model_import import = {.model_id = MODEL_ID, .source = fixture->source};
    memset(record, 0, sizeof(*record));
    enum status status = model_store_import(&fixture->store, &import, record, reason);
    return status;
}

static int entries_of(const char *path, const char *prefix)
{
    int count = 0;
    const struct dirent *entry;
    DIR *directory = opendir(path);
    ck_assert_ptr_nonnull(directory);
    while ((entry = readdir(directory)))
        count += entry->d_name[0] != '.' && strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    (void)closedir(directory);
    return count;
}

/* After a start: what a failed call left in pieces is gone, among the holdings too. */
static int entries_after_start(struct fixture *fixture)
{
    struct reason reason = {""};
    model_store_close(&fixture->store);
    ck_assert_int_eq(model_store_open(&fixture->store, &fixture->places, "test", &reason),
                     STATUS_OK);
    char blobs[300];
    const int count = entries_of(fixture->models, "models--");
    ck_assert_int_eq(entries_of(fixture->holdings, ""), count);
    (void)snprintf(blobs, sizeof(blobs), "%s/models--demo/blobs", fixture->models);
    if (count > 0)
        ck_assert_int_eq(entries_of(blobs, "import-"), 0);
    return count;
}

static enum model_holding held(const struct fixture *fixture)
{
    struct reason reason = {""};
    return model_store_check(&fixture->store, MODEL_ID, NULL, &reason);
}

START_TEST(a_failed_import_leaves_nothing_or_all)
{
    static const int errors[] = {EIO, ENOSPC};
    for (size_t e = 0; e < COUNT_OF(errors); e++) {
        bool is_done = false;
        unsigned failures = 0;
        for (uint64_t calls = e; !is_done && calls < CALLS_MAX; calls += 11) {
            struct fixture fixture;
            struct model_record record;
            struct reason reason = {""};
            fixture_open(&fixture);
            store_io_fail_after(calls, errors[e]);
            enum status status = take_in(&fixture, &record, &reason);
            is_done = !store_io_has_failed();
            store_io_fail_after(UINT64_MAX, 0);
            failures += status != STATUS_OK;
            ck_assert(status == STATUS_OK || reason.text[0]);
            const enum model_holding holding = held(&fixture);
            /* The last call of all syncs the holdings: the model is there by then. */
            ck_assert_msg(holding == MODEL_WHOLE ||
                              (status != STATUS_OK && holding == MODEL_ABSENT),
                          "call %llu: holding %d", (unsigned long long)calls, (int)holding);
            ck_assert_int_eq(entries_after_start(&fixture), holding == MODEL_WHOLE);
            record_fini(&model_record_type, &record);
            fixture_close(&fixture);
        }
        ck_assert(is_done);
        ck_assert_uint_gt(failures, 10);
    }
}
END_TEST

START_TEST(a_failed_replacement_keeps_a_whole_model)
{
    struct fixture fixture;
    struct model_record record;
    struct reason reason = {""};
    bool is_done = false;
    unsigned failures = 0;
    fixture_open(&fixture);
    ck_assert_int_eq(take_in(&fixture, &record, &reason), STATUS_OK);
    record_fini(&model_record_type, &record);
    for (uint64_t calls = 0; !is_done && calls < CALLS_MAX; calls += 11) {
        store_io_fail_after(calls, EIO);
        const enum status status = take_in(&fixture, &record, &reason);
        /* Some have other ways: their failing is no end. */
        is_done = !store_io_has_failed();
        store_io_fail_after(UINT64_MAX, 0);
        failures += status != STATUS_OK;
        ck_assert_msg(held(&fixture) == MODEL_WHOLE, "call %llu", (unsigned long long)calls);
        ck_assert_int_eq(entries_after_start(&fixture), 1);
        ck_assert_int_eq(held(&fixture), MODEL_WHOLE);
        record_fini(&model_record_type, &record);
    }
    ck_assert_uint_gt(failures, 10);
    fixture_close(&fixture);
}
END_TEST

static struct bytes *small_contents(const struct fixture *fixture,
                                    const struct model_record *record)
{
    struct bytes *contents = memory_zeroed(record->files.count, sizeof(*contents));
    ck_assert_ptr_nonnull(contents);
    for (uint32_t i = 0; i < record->files.count; i++) {
        char path[768];
        size_t size = 0;
        if (!model_file_is_small(&record->files.items[i]))
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s", fixture->source,
                       record->files.items[i].name);
        char *bytes = file_bytes(path, &size);
        ck_assert(bytes_set(&contents[i], bytes, size));
        memory_free(bytes);
    }
    return contents;
}

START_TEST(failed_small_files_leave_nothing_or_all_and_no_weights_are_lost)
{
    struct fixture fixture;
    struct model_record record;
    struct reason reason = {""};
    bool is_done = false;
    unsigned failures = 0;
    fixture_open(&fixture);
    ck_assert_int_eq(take_in(&fixture, &record, &reason), STATUS_OK);
    struct bytes *contents = small_contents(&fixture, &record);
    ck_assert_int_eq(model_store_delete(&fixture.store, MODEL_ID, &reason), STATUS_OK);
    for (uint64_t calls = 0; !is_done && calls < CALLS_MAX; calls += 3) {
        ck_assert_int_eq(model_store_delete(&fixture.store, MODEL_ID, &reason), STATUS_OK);
        store_io_fail_after(calls, EIO);
        const enum status status =
            model_store_put_small(&fixture.store, &record, contents, &reason);
        is_done = !store_io_has_failed();
        store_io_fail_after(UINT64_MAX, 0);
        failures += status != STATUS_OK;
        const enum model_holding holding = held(&fixture);
        ck_assert(holding == MODEL_SMALL_FILES ||
                  (status != STATUS_OK && holding == MODEL_ABSENT));
        ck_assert_int_eq(entries_after_start(&fixture), holding == MODEL_SMALL_FILES);
    }
    ck_assert(is_done);
    ck_assert_uint_gt(failures, 5);
    for (uint32_t i = 0; i < record.files.count; i++)
        memory_free(contents[i].items);
    memory_free(contents);
    record_fini(&model_record_type, &record);
    fixture_close(&fixture);
}
END_TEST

START_TEST(a_failed_deletion_leaves_a_whole_model_or_none)
{
    bool is_done = false;
    for (uint64_t calls = 0; !is_done && calls < CALLS_MAX; calls += 3) {
        struct fixture fixture;
        struct model_record record;
        struct reason reason = {""};
        fixture_open(&fixture);
        ck_assert_int_eq(take_in(&fixture, &record, &reason), STATUS_OK);
        record_fini(&model_record_type, &record);
        store_io_fail_after(calls, EIO);
        const enum status status = model_store_delete(&fixture.store, MODEL_ID, &reason);
        is_done = !store_io_has_failed();
        store_io_fail_after(UINT64_MAX, 0);
        ck_assert(status != STATUS_OK || held(&fixture) == MODEL_ABSENT);
        const enum model_holding holding = held(&fixture);
        ck_assert(holding == MODEL_WHOLE || holding == MODEL_ABSENT);
        ck_assert_int_eq(entries_after_start(&fixture), holding == MODEL_WHOLE);
        fixture_close(&fixture);
    }
    ck_assert(is_done);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("model_store_fault");
    const TTest *const tests[] = {
        a_failed_import_leaves_nothing_or_all,
        a_failed_replacement_keeps_a_whole_model,
        failed_small_files_leave_nothing_or_all_and_no_weights_are_lost,
        a_failed_deletion_leaves_a_whole_model_or_none,
    };
    suite_add(suite, "every call", tests, COUNT_OF(tests));
    return suite;
}
