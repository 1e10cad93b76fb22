/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What recovery takes as evidence that bytes were acknowledged: the mark, the later records, the
 * chain.
 */
#include "protocol/memory.h"
#include "runtime/event_log_format.h"
#include "tests/support/check_main.h"
#include "tests/support/memory_disk.h"
#include "tests/support/sample_log.h"

#include <string.h>

#define SEGMENT "log/00000000000000000001.segment"

static struct reason reason;

static struct event_log_options one_segment(struct memory_disk *disk)
{
    struct event_log_options options = sample_options("log", memory_disk_ops(disk));
    options.segment_size = 1 << 20;
    return options;
}

static size_t segment_size(const struct memory_disk *disk)
{
    size_t size = 0;
    ck_assert_ptr_nonnull(memory_disk_bytes(disk, SEGMENT, &size));
    return size;
}

/* Ten events, the mark as it was then, ten more in two groups. */
static struct memory_disk *behind(size_t *second_out, size_t *third_out)
{
    struct memory_disk *disk = memory_disk_create();
    struct event_log_options options = one_segment(disk);
    struct event_log *log = sample_open(&options, NULL);
    uint8_t mark[8192];
    size_t size = 0;
    sample_fill(log, sample_epoch(1, 3), 10, 10);
    ck_assert_int_eq(event_log_settle(log, &reason), STATUS_OK);
    const uint8_t *bytes = memory_disk_bytes(disk, "log/mark", &size);
    ck_assert_uint_eq(size, sizeof(mark));
    memcpy(mark, bytes, sizeof(mark));
    *second_out = segment_size(disk);
    sample_fill(log, sample_epoch(1, 3), 5, 5);
    *third_out = segment_size(disk);
    sample_fill(log, sample_epoch(1, 3), 5, 5);
    event_log_close(log);
    memory_disk_put(disk, "log/mark", mark, sizeof(mark));
    return disk;
}

START_TEST(a_later_record_proves_that_the_ones_before_were_acknowledged)
{
    size_t second = 0;
    size_t third = 0;
    struct memory_disk *disk = behind(&second, &third);
    struct event_log_options options = one_segment(disk);
    struct event_log *log = NULL;
    memory_disk_flip(disk, SEGMENT, second + 12, 1);
    ck_assert_int_eq(event_log_open(&options, &log, NULL, &reason), STATUS_DAMAGED);
    /* The last group proves nothing about itself: without it this would be a torn tail. */
    memory_disk_cut(disk, SEGMENT, third);
    struct event_log_recovery recovery;
    log = sample_open(&options, &recovery);
    ck_assert_uint_eq(recovery.cut_offset, second);
    ck_assert_uint_eq(event_log_durable(log).index, 10);
    event_log_close(log);
    memory_disk_free(disk);
}
END_TEST

START_TEST(a_repair_is_remembered_although_the_mark_was_behind)
{
    size_t second = 0;
    size_t third = 0;
    struct memory_disk *disk = behind(&second, &third);
    struct memory_disk *peer = memory_disk_clone(disk);
    struct event_log_options options = one_segment(disk);
    options.accept_damage = true;
    memory_disk_flip(disk, SEGMENT, second + 12, 1);
    struct event_log *log = sample_open(&options, NULL);
    ck_assert_uint_eq(event_log_damage(log)->first_index, 11);
    ck_assert_uint_eq(event_log_damage(log)->last_index, 15);
    ck_assert_int_eq(event_log_replace_from(log, 11, &reason), STATUS_OK);
    ck_assert_int_eq(sample_refill(log, "log", memory_disk_ops(peer), 12, &reason), STATUS_OK);
    event_log_close(log);
    log = sample_open(&options, NULL);
    ck_assert_ptr_nonnull(event_log_damage(log));
    ck_assert_uint_eq(event_log_damage(log)->first_index, 13);
    ck_assert_uint_eq(event_log_damage(log)->last_index, 15);
    /* A higher epoch won: no more is wanted. */
    ck_assert_int_eq(event_log_replace_from(log, 13, &reason), STATUS_OK);
    ck_assert_int_eq(event_log_truncate_to(log, 12, NULL, &reason), STATUS_OK);
    ck_assert_ptr_null(event_log_damage(log));
    event_log_close(log);
    log = sample_open(&options, NULL);
    ck_assert_ptr_null(event_log_damage(log));
    ck_assert_uint_eq(event_log_durable(log).index, 12);
    event_log_close(log);
    memory_disk_free(peer);
    memory_disk_free(disk);
}
END_TEST

START_TEST(a_repair_must_end_with_the_event_that_was_lost)
{
    struct memory_disk *disk = memory_disk_create();
    struct event_log_options options = one_segment(disk);
    struct event_log *log = sample_open(&options, NULL);
    sample_fill(log, sample_epoch(1, 3), 20, 5);
    event_log_close(log);
    struct memory_disk *peer = memory_disk_clone(disk);
    struct event_log_options theirs = one_segment(peer);
    struct event_log *other = sample_open(&theirs, NULL);
    ck_assert_int_eq(event_log_truncate_to(other, 15, NULL, &reason), STATUS_OK);
    sample_fill(other, sample_epoch(2, 4), 10, 5);
    event_log_close(other);
    options.accept_damage = true;
    memory_disk_cut(disk, SEGMENT, segment_size(disk) - 9);
    log = sample_open(&options, NULL);
    ck_assert_int_eq(event_log_replace_from(log, 16, &reason), STATUS_OK);
    ck_assert_int_eq(sample_refill(log, "log", theirs.disk, 25, &reason), STATUS_HASH_MISMATCH);
    ck_assert_uint_eq(event_log_last(log).index, 19);
    event_log_forget_waiting(log);
    ck_assert_int_eq(event_log_truncate_to(log, 15, NULL, &reason), STATUS_OK);
    ck_assert_int_eq(sample_refill(log, "log", theirs.disk, 25, &reason), STATUS_OK);
    event_log_close(log);
    log = sample_open(&options, NULL);
    ck_assert_ptr_null(event_log_damage(log));
    ck_assert_uint_eq(event_log_durable(log).index, 25);
    event_log_close(log);
    memory_disk_free(peer);
    memory_disk_free(disk);
}
END_TEST

START_TEST(either_slot_alone_is_a_whole_mark_after_a_close)
{
    for (size_t slot = 0; slot < 2; slot++) {
        struct memory_disk *disk = memory_disk_create();
        struct event_log_options options = one_segment(disk);
        struct event_log *log = sample_open(&options, NULL);
        struct event_log_recovery recovery;
        sample_fill(log, sample_epoch(1, 3), 21, 3);
        event_log_close(log);
        memory_disk_flip(disk, "log/mark", slot * 4096 + 30, 1);
        log = sample_open(&options, &recovery);
        ck_assert_uint_eq(recovery.mark_index, 21);
        event_log_close(log);
        memory_disk_free(disk);
    }
}
END_TEST

START_TEST(a_forged_record_breaks_the_chain)
{
    struct memory_disk *disk = memory_disk_create();
    struct event_log_options options = one_segment(disk);
    struct event_log *log = sample_open(&options, NULL);
    size_t before = segment_size(disk);
    ck_assert_int_eq(event_log_append(log, sample_epoch(1, 3), 5, 1, "truth", 5, NULL, &reason),
                     STATUS_OK);
    ck_assert_int_eq(event_log_sync(log, &reason), STATUS_OK);
    size_t size = segment_size(disk);
    sample_fill(log, sample_epoch(1, 3), 3, 3);
    event_log_close(log);
    /* Its checksums are right; only its hash can not be, or the next one's is not. */
    uint8_t forged[256];
    struct hash wrong = {{1}};
    struct event_record record = {.stamp = {.index = 1, .epoch = sample_epoch(1, 3)},
                                  .time_ms = 5,
                                  .kind = 1,
                                  .body = (const uint8_t *)"false",
                                  .body_size = 5};
    ck_assert_uint_le(size - before, sizeof(forged));
    event_record_encode(forged, &record, &wrong, 0);
    const uint8_t *bytes = memory_disk_bytes(disk, SEGMENT, &size);
    for (size_t i = 0; i < event_record_size(5); i++)
        memory_disk_flip(disk, SEGMENT, before + i, (uint8_t)(bytes[before + i] ^ forged[i]));
    ck_assert_int_eq(event_log_open(&options, &log, NULL, &reason), STATUS_DAMAGED);
    ck_assert_ptr_nonnull(strstr(reason.text, "at byte 128: a record's hash"));
    enum status ended = STATUS_OK;
    (void)sample_read("log", options.disk, 1, &ended);
    ck_assert_int_eq(ended, STATUS_DAMAGED);
    memory_disk_free(disk);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("event log evidence");
    const TTest *const tests[] = {
        a_later_record_proves_that_the_ones_before_were_acknowledged,
        a_repair_is_remembered_although_the_mark_was_behind,
        a_repair_must_end_with_the_event_that_was_lost,
        either_slot_alone_is_a_whole_mark_after_a_close,
        a_forged_record_breaks_the_chain};
    suite_add(suite, "evidence", tests, COUNT_OF(tests));
    return suite;
}
