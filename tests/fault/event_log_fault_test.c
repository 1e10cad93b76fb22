/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fails every call of a scripted life of a log, one run for each call and kind of failure; then the
 * process is killed or the power lost, and the log must hold every acknowledged event, none
 * of another branch, none half.
 */
#include "protocol/memory.h"
#include "tests/support/check_main.h"
#include "tests/support/memory_disk.h"
#include "tests/support/sample_log.h"
#include "tests/support/scratch.h"
#include "runtime/epoch_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define EVENTS_MAX 400

struct life {
    struct memory_disk *disk;
    uint64_t acknowledged;       /* must be there */
    uint64_t attempted;          /* may be there */
    uint8_t leaders[EVENTS_MAX]; /* of each event that was appended last at its index */
    uint64_t keep_from;          /* events before may be retired */
    bool is_cutting;             /* a cut was begun: the events after may be of either branch */
    int goes_on;                 /* how often a refused sync worked when tried again */
    struct reason reason;
};

static struct event_log_options life_options(struct life *life)
{
    struct event_log_options options = sample_options("log", memory_disk_ops(life->disk));
    options.segment_size = 2048;
    options.retain_size = 6000;
    return options;
}

/* False when the log can not be used any more. */
static bool write_group(struct life *life, struct event_log *log, struct event_epoch epoch,
                        uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        uint64_t index = event_log_last(log).index + 1;
        ck_assert_uint_lt(index, EVENTS_MAX);
        if (sample_append(log, epoch, &life->reason) != STATUS_OK)
            return !event_log_is_poisoned(log);
        life->leaders[index] = epoch.leader.bytes[0];
        life->attempted = index;
    }
    for (int attempt = 0; attempt < 3; attempt++) {
        enum status status = event_log_sync(log, &life->reason);
        if (status == STATUS_OK) {
            life->acknowledged = event_log_durable(log).index;
            life->goes_on += attempt > 0 ? 1 : 0;
            return true;
        }
        ck_assert_str_ne(life->reason.text, "");
        if (event_log_is_poisoned(log))
            return false;
    }
    event_log_forget_waiting(log); /* the events were refused */
    life->attempted = event_log_durable(log).index;
    return true;
}

static bool snapshot_and_retire(struct life *life, struct event_log *log)
{
    uint64_t index = event_log_durable(log).index;
    struct hash hash = {{1}};
    enum status status =
        event_log_snapshot_write(log, index, &hash, "state", 5, &life->reason);
    if (status == STATUS_OK)
        status = event_log_retire(log, &life->reason);
    life->keep_from = event_log_first_index(log);
    return !event_log_is_poisoned(log);
}

static bool cut_and_go_on(struct life *life, struct event_log *log, uint64_t index,
                          struct event_epoch epoch)
{
    uint64_t acknowledged = life->acknowledged;
    if (index > life->acknowledged)
        return true;
    life->is_cutting = true;
    life->acknowledged = index;
    enum status status = event_log_truncate_to(log, index, NULL, &life->reason);
    if (status == STATUS_OK) {
        life->is_cutting = false;
        life->attempted = index;
        return write_group(life, log, epoch, 5);
    }
    if (event_log_is_poisoned(log))
        return false;
    /* Refused before anything was cut. */
    ck_assert_uint_eq(event_log_durable(log).index, acknowledged);
    life->acknowledged = acknowledged;
    life->is_cutting = false;
    return true;
}

static void live(struct life *life)
{
    struct event_log_options options = life_options(life);
    struct event_log *log = NULL;
    if (event_log_open(&options, &log, NULL, &life->reason) != STATUS_OK)
        return;
    bool usable = true;
    struct event_epoch first = sample_epoch(1, 3);
    struct event_epoch second = sample_epoch(2, 4);
    for (int round = 0; round < 6 && usable; round++) {
        usable = write_group(life, log, first, (uint64_t)round + 2);
        if (usable && round % 2 == 0)
            usable = event_log_settle(log, &life->reason) == STATUS_OK ||
                     !event_log_is_poisoned(log);
    }
    usable = usable && snapshot_and_retire(life, log);
    usable = usable && write_group(life, log, first, 12);
    usable = usable && cut_and_go_on(life, log, 30, second);
    usable = usable && snapshot_and_retire(life, log);
    usable = usable && write_group(life, log, second, 9);
    usable = usable && snapshot_and_retire(life, log);
    usable = usable && write_group(life, log, second, 1);
    event_log_close(log);
}

static void judge(struct life *life, const char *what)
{
    struct event_log_options options = life_options(life);
    struct event_log *log = NULL;
    struct event_log_recovery recovery;
    enum status status = event_log_open(&options, &log, &recovery, &life->reason);
    ck_assert_msg(status == STATUS_OK, "%s: %s", what, life->reason.text);
    uint64_t last = event_log_durable(log).index;
    ck_assert_msg(last >= life->acknowledged, "%s: event %d was acknowledged, %d is the last", what,
                  (int)life->acknowledged, (int)last);
    ck_assert_msg(life->is_cutting || last <= life->attempted, "%s: event %d was never kept", what,
                  (int)last);
    struct event_log_reader *reader = NULL;
    status = event_log_reader_open("log", options.disk, &reader, &life->reason);
    uint64_t count = 0;
    while (status == STATUS_OK) {
        struct event_record record;
        status = event_log_reader_next(reader, &record, &life->reason);
        if (status != STATUS_OK)
            break;
        count++;
        ck_assert_msg(sample_is(&record), "%s: event %d is wrong", what, (int)record.stamp.index);
        if (record.stamp.index <= life->acknowledged)
            ck_assert_msg(record.stamp.epoch.leader.bytes[0] ==
                              life->leaders[record.stamp.index] || life->is_cutting,
                          "%s: event %d is of a cut branch", what, (int)record.stamp.index);
    }
    ck_assert_msg(status == STATUS_ENDED, "%s: %s", what, life->reason.text);
    event_log_reader_close(reader);
    ck_assert_uint_eq(count, last + 1 - event_log_first_index(log));
    if (event_log_first_index(log) > 1) {
        struct event_snapshot snapshot;
        status = event_log_snapshot_read(log, &snapshot, &life->reason);
        ck_assert_msg(status == STATUS_OK, "%s: %s", what, life->reason.text);
        ck_assert_uint_ge(snapshot.stamp.index + 1, event_log_first_index(log));
        event_snapshot_fini(&snapshot);
    }
    sample_fill(log, sample_epoch(9, 9), 3, 1);
    event_log_close(log);
    ck_assert_uint_eq(memory_disk_open_count(life->disk), 0);
    /* What a failed sync left in memory alone must not have been built upon. */
    struct seeded seeded = {.state = last};
    memory_disk_crash(life->disk, &seeded);
    status = event_log_open(&options, &log, &recovery, &life->reason);
    ck_assert_msg(status == STATUS_OK, "%s: after a crash: %s", what, life->reason.text);
    ck_assert_uint_eq(event_log_durable(log).index, last + 3);
    event_log_close(log);
}

/* One run per call until none fails. */
static void sweep(struct memory_fault fault, const char *what, bool must_go_on)
{
    struct seeded seeded = seeded_open(2026);
    bool failed = true;
    uint64_t runs = 0;
    int goes_on = 0;
    for (; failed; runs++) {
        struct life life = {.disk = memory_disk_create()};
        char name[128];
        (void)snprintf(name, sizeof(name), "%s at call %d", what, (int)runs);
        fault.calls = runs;
        memory_disk_fail(life.disk, &fault);
        live(&life);
        failed = memory_disk_has_failed(life.disk);
        memory_disk_heal(life.disk);
        ck_assert_uint_eq(memory_disk_open_count(life.disk), 0);
        if (runs % 2 == 0)
            memory_disk_crash(life.disk, &seeded);
        judge(&life, name);
        goes_on += life.goes_on;
        memory_disk_free(life.disk);
    }
    (void)printf("# %s: %d calls failed in turn\n", what, (int)runs - 1);
    ck_assert_uint_gt(runs, 50);
    if (must_go_on)
        ck_assert_int_gt(goes_on, 5);
}

START_TEST(one_call_fails)
{
    sweep((struct memory_fault){.error = EIO}, "one error", true);
}
END_TEST

START_TEST(all_calls_fail_from_one_on)
{
    sweep((struct memory_fault){.error = EIO, .for_good = true}, "errors for good", false);
}
END_TEST

START_TEST(one_call_finds_no_space)
{
    sweep((struct memory_fault){.error = ENOSPC}, "no space once", true);
}
END_TEST

START_TEST(no_space_from_one_call_on)
{
    sweep((struct memory_fault){.error = ENOSPC, .for_good = true}, "no space for good", false);
}
END_TEST

START_TEST(a_write_is_short)
{
    sweep((struct memory_fault){.is_short = true}, "short", false);
}
END_TEST

START_TEST(a_write_is_half_done_and_fails)
{
    sweep((struct memory_fault){.error = EIO, .is_short = true}, "half and an error", true);
}
END_TEST

START_TEST(one_read_fails)
{
    sweep((struct memory_fault){.error = EIO, .reads_too = true}, "one error, reads too", true);
}
END_TEST

/* A short life on the machine's disk; returns the last acknowledged index. */
static uint64_t short_life(const struct event_log_options *options)
{
    struct event_log *log = NULL;
    struct event_log_reader *reader = NULL;
    struct event_record record;
    struct hash hash = {{2}};
    struct reason reason = {""};
    uint64_t acknowledged = 0;
    if (event_log_open(options, &log, NULL, &reason) != STATUS_OK)
        return 0;
    for (int i = 0; i < 12; i++) {
        if (sample_append(log, sample_epoch(1, 3), &reason) == STATUS_OK &&
            event_log_sync(log, &reason) == STATUS_OK)
            acknowledged = event_log_durable(log).index;
    }
    enum status status = event_log_snapshot_write(log, acknowledged, &hash, "s", 1, &reason);
    if (event_log_truncate_to(log, acknowledged > 8 ? 8 : acknowledged, NULL, &reason) == STATUS_OK)
        acknowledged = event_log_durable(log).index;
    if (status == STATUS_OK)
        status = event_log_retire(log, &reason);
    if (event_log_reader_open(options->path, NULL, &reader, &reason) == STATUS_OK)
        while (event_log_reader_next(reader, &record, &reason) == STATUS_OK)
            continue;
    event_log_reader_close(reader);
    event_log_close(log);
    return acknowledged;
}

START_TEST(each_allocation_fails)
{
    struct reason reason = {""};
    uint64_t acknowledged = 0;
    uint64_t calls = 0;
    for (; acknowledged < 8 || calls < 150; calls++) {
        struct scratch scratch;
        char path[256];
        scratch_open(&scratch);
        struct event_log_options options =
            sample_options(scratch_path(&scratch, "log", path), NULL);
        options.segment_size = 1024;
        memory_fail_after(calls);
        acknowledged = short_life(&options);
        memory_fail_after(UINT64_MAX);
        struct event_log *log = NULL;
        ck_assert_msg(event_log_open(&options, &log, NULL, &reason) == STATUS_OK, "%s",
                      reason.text);
        ck_assert_uint_ge(event_log_durable(log).index, acknowledged);
        event_log_close(log);
        scratch_close(&scratch);
    }
    ck_assert_uint_eq(acknowledged, 8);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("event log faults");
    const TTest *const tests[] = {one_call_fails,
                                  all_calls_fail_from_one_on,
                                  one_call_finds_no_space,
                                  no_space_from_one_call_on,
                                  a_write_is_short,
                                  a_write_is_half_done_and_fails,
                                  one_read_fails,
                                  each_allocation_fails};
    suite_add(suite, "faults", tests, COUNT_OF(tests));
    return suite;
}
