/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/event_log.h"

#include "protocol/memory.h"
#include "runtime/event_log_reader.h"
#include "tests/support/check_main.h"
#include "tests/support/memory_disk.h"
#include "tests/support/sample_log.h"
#include "tests/support/scratch.h"

#include <errno.h>
#include <pthread.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct reason reason;

static void read_to(const char *path, const struct disk_ops *disk, uint64_t first, uint64_t last)
{
    enum status ended = STATUS_OK;
    ck_assert_uint_eq(sample_read(path, disk, first, &ended), last);
    ck_assert_int_eq(ended, STATUS_ENDED);
}

START_TEST(an_empty_log_has_nothing_and_begins_at_one)
{
    struct scratch scratch;
    char path[256];
    scratch_open(&scratch);
    struct event_log_options options = sample_options(scratch_path(&scratch, "log", path), NULL);
    struct event_log_recovery recovery;
    struct event_log *log = sample_open(&options, &recovery);
    ck_assert_uint_eq(event_log_durable(log).index, 0);
    ck_assert_uint_eq(event_log_first_index(log), 1);
    ck_assert_uint_eq(recovery.record_count, 0);
    ck_assert_ptr_null(event_log_damage(log));
    read_to(path, NULL, 1, 0);
    event_log_close(log);
    log = sample_open(&options, &recovery);
    ck_assert_uint_eq(event_log_durable(log).index, 0);
    event_log_close(log);
    scratch_close(&scratch);
}
END_TEST

/* On a full disk the end of what began must still be told. */
START_TEST(room_for_what_comes_next_is_taken_before_the_disk_is_full)
{
    struct scratch scratch;
    struct stat facts;
    char path[256];
    char segment[320];
    scratch_open(&scratch);
    struct event_log_options options = sample_options(scratch_path(&scratch, "log", path), NULL);
    options.segment_size = 1u << 20;
    struct event_log *log = sample_open(&options, NULL);
    (void)snprintf(segment, sizeof(segment), "%s/00000000000000000001.segment", path);
    const int file = open(segment, O_RDWR | O_CLOEXEC);
    ck_assert_int_ge(file, 0);
    const bool has_room = disk_machine.reserve && disk_machine.reserve(NULL, file, 0, 1) == 0;
    for (int i = 0; i < 40 && has_room; i++) {
        sample_fill(log, sample_epoch(1, 3), 20, 7);
        ck_assert_int_eq(fstat(file, &facts), 0);
        ck_assert_int_ge(facts.st_blocks * 512, facts.st_size + 8192);
    }
    (void)close(file);
    event_log_close(log);
    scratch_close(&scratch);
}
END_TEST

START_TEST(what_was_synced_is_there_again_over_many_segments)
{
    struct scratch scratch;
    char path[256];
    scratch_open(&scratch);
    struct event_log_options options = sample_options(scratch_path(&scratch, "log", path), NULL);
    struct event_log *log = sample_open(&options, NULL);
    sample_fill(log, sample_epoch(1, 3), 300, 7);
    struct event_stamp last = event_log_durable(log);
    ck_assert_uint_eq(last.index, 300);
    ck_assert(event_log_size(log) > 4 * options.segment_size);
    /* Not synced: must not be there again. */
    ck_assert_int_eq(sample_append(log, sample_epoch(1, 3), &reason), STATUS_OK);
    event_log_close(log);
    struct event_log_recovery recovery;
    log = sample_open(&options, &recovery);
    struct event_stamp again = event_log_durable(log);
    ck_assert_mem_eq(&last.chain, &again.chain, sizeof(last.chain));
    ck_assert_uint_eq(recovery.record_count, 300);
    ck_assert_uint_eq(recovery.cut_size, 0);
    ck_assert_uint_eq(recovery.mark_index, 300);
    read_to(path, NULL, 1, 300);
    read_to(path, NULL, 299, 300);
    for (uint64_t index = 0; index <= 300; index += 50) {
        struct event_stamp stamp;
        ck_assert_int_eq(event_log_stamp(log, index, &stamp, &reason), STATUS_OK);
        ck_assert_uint_eq(stamp.index, index);
    }
    sample_fill(log, sample_epoch(1, 3), 20, 20);
    read_to(path, NULL, 1, 320);
    event_log_close(log);
    scratch_close(&scratch);
}
END_TEST

START_TEST(two_writers_never_write_one_log)
{
    struct scratch scratch;
    char path[256];
    scratch_open(&scratch);
    struct event_log_options options = sample_options(scratch_path(&scratch, "log", path), NULL);
    struct event_log *log = sample_open(&options, NULL);
    struct event_log *second = NULL;
    ck_assert_int_eq(event_log_open(&options, &second, NULL, &reason), STATUS_BUSY);
    ck_assert_ptr_null(second);
    event_log_close(log);
    scratch_close(&scratch);
}
END_TEST

START_TEST(another_clusters_log_is_refused)
{
    struct memory_disk *disk = memory_disk_create();
    struct event_log_options options = sample_options("log", memory_disk_ops(disk));
    struct event_log *log = sample_open(&options, NULL);
    sample_fill(log, sample_epoch(1, 3), 3, 1);
    event_log_close(log);
    options.cluster.bytes[0] ^= 1;
    ck_assert_int_eq(event_log_open(&options, &log, NULL, &reason), STATUS_REFUSED);
    ck_assert_uint_eq(memory_disk_open_count(disk), 0);
    memory_disk_free(disk);
}
END_TEST

START_TEST(appends_are_refused_that_do_not_fit)
{
    struct memory_disk *disk = memory_disk_create();
    struct event_log_options options = sample_options("log", memory_disk_ops(disk));
    struct event_log *log = sample_open(&options, NULL);
    sample_fill(log, sample_epoch(5, 3), 3, 3);
    static uint8_t large[EVENT_BODY_SIZE_MAX + 1];
    ck_assert_int_eq(event_log_append(log, sample_epoch(5, 3), 1, 1, large, sizeof(large), NULL,
                                      &reason), STATUS_TOO_LARGE);
    ck_assert_int_eq(event_log_append(log, sample_epoch(4, 9), 1, 1, "x", 1, NULL, &reason),
                     STATUS_STALE);
    ck_assert_int_eq(event_log_append(log, sample_epoch(5, 2), 1, 1, "x", 1, NULL, &reason),
                     STATUS_STALE);
    ck_assert_int_eq(event_log_append(log, sample_epoch(5, 3), 1, 1, large, sizeof(large) - 1, NULL,
                                      &reason), STATUS_OK);
    ck_assert_int_eq(event_log_sync(log, &reason), STATUS_OK);
    event_log_close(log);
    log = sample_open(&options, NULL);
    ck_assert_uint_eq(event_log_durable(log).index, 4);
    event_log_close(log);
    memory_disk_free(disk);
}
END_TEST

START_TEST(copies_must_continue_the_chain)
{
    struct memory_disk *disk = memory_disk_create();
    struct event_log_options options = sample_options("leader", memory_disk_ops(disk));
    struct event_log *leader = sample_open(&options, NULL);
    options.path = "follower";
    struct event_log *follower = sample_open(&options, NULL);
    sample_fill(leader, sample_epoch(1, 3), 100, 9);
    ck_assert_int_eq(sample_refill(follower, "leader", options.disk, 100, &reason), STATUS_OK);
    struct event_stamp a = event_log_durable(leader);
    struct event_stamp b = event_log_durable(follower);
    ck_assert_mem_eq(&a.chain, &b.chain, sizeof(a.chain));
    struct event_record record = {.stamp = {.index = 102, .epoch = sample_epoch(1, 3)}};
    ck_assert_int_eq(event_log_append_copy(follower, &record, &reason), STATUS_GAP);
    record.stamp.index = 101;
    ck_assert_int_eq(event_log_append_copy(follower, &record, &reason), STATUS_HASH_MISMATCH);
    event_log_close(leader);
    event_log_close(follower);
    memory_disk_free(disk);
}
END_TEST

START_TEST(a_torn_tail_is_cut_and_reported)
{
    struct memory_disk *disk = memory_disk_create();
    struct event_log_options options = sample_options("log", memory_disk_ops(disk));
    options.segment_size = 1 << 20;
    struct event_log *log = sample_open(&options, NULL);
    sample_fill(log, sample_epoch(1, 3), 50, 50);
    uint64_t size = event_log_size(log);
    ck_assert_int_eq(sample_append(log, sample_epoch(1, 3), &reason), STATUS_OK);
    ck_assert_int_eq(sample_append(log, sample_epoch(1, 3), &reason), STATUS_OK);
    /* The group reaches the disk, its sync and the mark do not. */
    memory_disk_fail(disk, &(struct memory_fault){.calls = 2, .error = EIO, .for_good = true});
    ck_assert_int_eq(event_log_sync(log, &reason), STATUS_IO);
    ck_assert(event_log_is_poisoned(log));
    ck_assert_int_eq(event_log_sync(log, &reason), STATUS_IO);
    ck_assert_int_eq(sample_append(log, sample_epoch(1, 3), &reason), STATUS_IO);
    event_log_close(log);
    memory_disk_heal(disk);
    const char *name = "log/00000000000000000001.segment";
    size_t length = 0;
    ck_assert_ptr_nonnull(memory_disk_bytes(disk, name, &length));
    struct memory_disk *torn = memory_disk_clone(disk);
    options.disk = memory_disk_ops(torn);
    memory_disk_cut(torn, name, length - 1);
    struct event_log_recovery recovery;
    log = sample_open(&options, &recovery);
    ck_assert_uint_eq(event_log_durable(log).index, 51);
    ck_assert_str_eq(recovery.cut_file, name + 4);
    ck_assert_uint_gt(recovery.cut_offset, size);
    ck_assert_uint_eq(recovery.cut_offset + recovery.cut_size, length - 1);
    event_log_close(log);
    memory_disk_free(torn);
    memory_disk_free(disk);
}
END_TEST

/* Damages one byte and says how opening ends; repairs it from the whole copy. */
static void damage_and_repair(const struct memory_disk *whole, const char *file, size_t offset,
                              uint64_t last)
{
    struct memory_disk *disk = memory_disk_clone(whole);
    struct memory_disk *peer = memory_disk_clone(whole);
    struct event_log_options options = sample_options("log", memory_disk_ops(disk));
    struct event_log *log = NULL;
    memory_disk_flip(disk, file, offset, 0x10);
    ck_assert_int_eq(event_log_open(&options, &log, NULL, &reason), STATUS_DAMAGED);
    ck_assert_ptr_nonnull(strstr(reason.text, file));
    ck_assert_uint_eq(memory_disk_open_count(disk), 0);
    options.accept_damage = true;
    log = sample_open(&options, NULL);
    const struct event_log_damage *damage = event_log_damage(log);
    ck_assert_ptr_nonnull(damage);
    ck_assert_uint_le(damage->offset, offset);
    ck_assert_uint_eq(damage->last_index, last);
    ck_assert_int_eq(sample_append(log, sample_epoch(1, 3), &reason), STATUS_DAMAGED);
    ck_assert_int_eq(event_log_replace_from(log, damage->first_index, &reason), STATUS_OK);
    ck_assert_int_eq(sample_append(log, sample_epoch(1, 3), &reason), STATUS_DAMAGED);
    uint64_t some = damage->first_index + 1 < last ? damage->first_index + 1 : last;
    const struct disk_ops *peer_ops = memory_disk_ops(peer);
    ck_assert_int_eq(sample_refill(log, "log", peer_ops, some, &reason), STATUS_OK);
    event_log_close(log);
    /* A crash in the middle of the repair leaves a damaged log, not a short one. */
    log = sample_open(&options, NULL);
    if (some < last) {
        ck_assert_ptr_nonnull(event_log_damage(log));
        ck_assert_uint_eq(event_log_damage(log)->first_index, some + 1);
        ck_assert_int_eq(event_log_replace_from(log, some + 1, &reason), STATUS_OK);
        ck_assert_int_eq(sample_refill(log, "log", peer_ops, last, &reason), STATUS_OK);
    }
    ck_assert_ptr_null(event_log_damage(log));
    sample_fill(log, sample_epoch(2, 4), 3, 1);
    event_log_close(log);
    options.accept_damage = false;
    log = sample_open(&options, NULL);
    read_to("log", options.disk, 1, last + 3);
    event_log_close(log);
    memory_disk_free(disk);
    memory_disk_free(peer);
}

START_TEST(damage_before_the_mark_is_refused_and_repaired_from_a_peer)
{
    struct memory_disk *disk = memory_disk_create();
    struct event_log_options options = sample_options("log", memory_disk_ops(disk));
    struct event_log *log = sample_open(&options, NULL);
    sample_fill(log, sample_epoch(1, 3), 120, 10);
    event_log_close(log);
    for (size_t i = 0; i < memory_disk_file_count(disk); i++) {
        const char *path = memory_disk_file_path(disk, i);
        size_t size = 0;
        if (!strstr(path, ".segment") || !memory_disk_bytes(disk, path, &size))
            continue;
        damage_and_repair(disk, path, 40, 120);
        if (size > 400) {
            damage_and_repair(disk, path, 130, 120);
            damage_and_repair(disk, path, size - 60, 120);
        }
    }
    memory_disk_free(disk);
}
END_TEST

START_TEST(a_lost_mark_makes_every_byte_count)
{
    struct memory_disk *disk = memory_disk_create();
    struct event_log_options options = sample_options("log", memory_disk_ops(disk));
    struct event_log *log = sample_open(&options, NULL);
    sample_fill(log, sample_epoch(1, 3), 20, 5);
    event_log_close(log);
    struct memory_disk *torn = memory_disk_clone(disk);
    memory_disk_flip(disk, "log/mark", 30, 1);
    struct event_log_recovery recovery;
    log = sample_open(&options, &recovery); /* one slot: the other is a group behind at most */
    ck_assert(!recovery.mark_lost);
    ck_assert_uint_ge(recovery.mark_index, 15);
    event_log_close(log);
    memory_disk_flip(disk, "log/mark", 30, 2);
    memory_disk_flip(disk, "log/mark", 4096 + 30, 2);
    log = sample_open(&options, &recovery); /* whole to its last byte */
    ck_assert(recovery.mark_lost);
    event_log_close(log);
    log = sample_open(&options, &recovery);
    ck_assert(!recovery.mark_lost);
    event_log_close(log);
    options.disk = memory_disk_ops(torn);
    memory_disk_flip(torn, "log/mark", 30, 2);
    memory_disk_flip(torn, "log/mark", 4096 + 30, 2);
    size_t size = 0;
    const char *last = NULL;
    for (size_t i = 0; i < memory_disk_file_count(torn); i++)
        if (strstr(memory_disk_file_path(torn, i), ".segment"))
            last = memory_disk_file_path(torn, i);
    ck_assert_ptr_nonnull(memory_disk_bytes(torn, last, &size));
    memory_disk_cut(torn, last, size - 3);
    ck_assert_int_eq(event_log_open(&options, &log, NULL, &reason), STATUS_DAMAGED);
    memory_disk_free(torn);
    memory_disk_free(disk);
}
END_TEST

START_TEST(a_cut_branch_is_kept_aside)
{
    struct memory_disk *disk = memory_disk_create();
    struct event_log_options options = sample_options("log", memory_disk_ops(disk));
    struct event_log *log = sample_open(&options, NULL);
    sample_fill(log, sample_epoch(1, 3), 100, 10);
    struct event_stamp at_60;
    ck_assert_int_eq(event_log_stamp(log, 60, &at_60, &reason), STATUS_OK);
    struct event_log_reader *reader = NULL;
    ck_assert_int_eq(event_log_reader_open("log", options.disk, &reader, &reason), STATUS_OK);
    ck_assert_int_eq(event_log_reader_seek(reader, 101, &reason), STATUS_OK);
    char branch[EVENT_LOG_NAME_SIZE];
    ck_assert_int_eq(event_log_truncate_to(log, 60, branch, &reason), STATUS_OK);
    ck_assert_uint_eq(event_log_durable(log).index, 60);
    struct event_record record;
    ck_assert_int_eq(event_log_reader_next(reader, &record, &reason), STATUS_STALE);
    sample_fill(log, sample_epoch(2, 4), 50, 10);
    ck_assert_int_eq(event_log_reader_next(reader, &record, &reason), STATUS_STALE);
    event_log_reader_close(reader);
    event_log_close(log);
    log = sample_open(&options, NULL);
    ck_assert_uint_eq(event_log_durable(log).index, 110);
    read_to("log", options.disk, 1, 110);
    char path[256];
    (void)snprintf(path, sizeof(path), "log/%s", branch);
    read_to(path, options.disk, 61, 100);
    ck_assert_int_eq(event_log_truncate_to(log, 110, branch, &reason), STATUS_OK);
    ck_assert_str_eq(branch, "");
    ck_assert_int_eq(event_log_truncate_to(log, 0, branch, &reason), STATUS_OK);
    ck_assert_uint_eq(event_log_durable(log).index, 0);
    sample_fill(log, sample_epoch(3, 4), 5, 1);
    event_log_close(log);
    log = sample_open(&options, NULL);
    read_to("log", options.disk, 1, 5);
    event_log_close(log);
    memory_disk_free(disk);
}
END_TEST

START_TEST(a_full_disk_takes_nothing_and_the_log_goes_on)
{
    struct memory_disk *disk = memory_disk_create();
    struct event_log_options options = sample_options("log", memory_disk_ops(disk));
    options.segment_size = 1 << 20;
    struct event_log *log = sample_open(&options, NULL);
    sample_fill(log, sample_epoch(1, 3), 10, 10);
    for (uint64_t room = 0; room < 900; room += 60) {
        uint64_t before = event_log_durable(log).index;
        memory_disk_limit(disk, memory_disk_used(disk) + room);
        for (int i = 0; i < 5; i++)
            ck_assert_int_eq(sample_append(log, sample_epoch(1, 3), &reason), STATUS_OK);
        enum status status = event_log_sync(log, &reason);
        if (status != STATUS_OK) {
            ck_assert_int_eq(status, STATUS_NO_SPACE);
            ck_assert_ptr_nonnull(strstr(reason.text, "log"));
            ck_assert_uint_eq(event_log_durable(log).index, before);
            struct memory_disk *after = memory_disk_clone(disk);
            options.disk = memory_disk_ops(after);
            struct event_log *seen = sample_open(&options, NULL);
            ck_assert_uint_eq(event_log_durable(seen).index, before);
            event_log_close(seen);
            memory_disk_free(after);
        }
        memory_disk_limit(disk, UINT64_MAX);
        if (room % 120 == 0)
            event_log_forget_waiting(log);
        else
            ck_assert_int_eq(event_log_sync(log, &reason), STATUS_OK);
    }
    uint64_t last = event_log_durable(log).index;
    event_log_close(log);
    options.disk = memory_disk_ops(disk);
    log = sample_open(&options, NULL);
    read_to("log", options.disk, 1, last);
    event_log_close(log);
    memory_disk_free(disk);
}
END_TEST

START_TEST(a_log_grows_beyond_one_group_by_itself)
{
    struct memory_disk *disk = memory_disk_create();
    struct event_log_options options = sample_options("log", memory_disk_ops(disk));
    struct event_log *log = sample_open(&options, NULL);
    static uint8_t large[EVENT_BODY_SIZE_MAX];
    for (int i = 0; i < 20; i++)
        ck_assert_int_eq(event_log_append(log, sample_epoch(1, 1), 1, 1, large, sizeof(large), NULL,
                                          &reason), STATUS_OK);
    ck_assert_uint_gt(event_log_durable(log).index, 6);
    ck_assert_int_eq(event_log_sync(log, &reason), STATUS_OK);
    event_log_close(log);
    log = sample_open(&options, NULL);
    ck_assert_uint_eq(event_log_durable(log).index, 20);
    event_log_close(log);
    memory_disk_free(disk);
}
END_TEST

#define LIVE_COUNT 3000

static void *follow(void *path)
{
    struct event_log_reader *reader = NULL;
    struct reason why = {""};
    uintptr_t seen = 0;
    enum status status = event_log_reader_open(path, NULL, &reader, &why);
    while (status == STATUS_OK && seen < LIVE_COUNT) {
        struct event_record record;
        status = event_log_reader_next(reader, &record, &why);
        if (status == STATUS_ENDED) {
            status = STATUS_OK;
            continue;
        }
        if (status == STATUS_OK && sample_is(&record) && record.stamp.index == seen + 1)
            seen++;
        else
            status = STATUS_MALFORMED;
    }
    event_log_reader_close(reader);
    if (status != STATUS_OK)
        (void)printf("# after %d: %s: %s\n", (int)seen, status_name(status), why.text);
    return status == STATUS_OK ? path : NULL;
}

START_TEST(readers_follow_a_living_writer)
{
    struct scratch scratch;
    char path[256];
    scratch_open(&scratch);
    struct event_log_options options = sample_options(scratch_path(&scratch, "log", path), NULL);
    struct event_log *log = sample_open(&options, NULL);
    pthread_t threads[2];
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, follow, path), 0);
    for (uint64_t written = 0; written < LIVE_COUNT; written += 5)
        sample_fill(log, sample_epoch(1, 3), 5, 1 + written % 5);
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        void *result = NULL;
        ck_assert_int_eq(pthread_join(threads[i], &result), 0);
        ck_assert_ptr_nonnull(result);
    }
    event_log_close(log);
    scratch_close(&scratch);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("event log");
    const TTest *const tests[] = {an_empty_log_has_nothing_and_begins_at_one,
                                  room_for_what_comes_next_is_taken_before_the_disk_is_full,
                                  what_was_synced_is_there_again_over_many_segments,
                                  two_writers_never_write_one_log,
                                  another_clusters_log_is_refused,
                                  appends_are_refused_that_do_not_fit,
                                  copies_must_continue_the_chain,
                                  a_torn_tail_is_cut_and_reported,
                                  damage_before_the_mark_is_refused_and_repaired_from_a_peer,
                                  a_lost_mark_makes_every_byte_count,
                                  a_cut_branch_is_kept_aside,
                                  a_full_disk_takes_nothing_and_the_log_goes_on,
                                  a_log_grows_beyond_one_group_by_itself,
                                  readers_follow_a_living_writer};
    suite_add(suite, "event log", tests, COUNT_OF(tests));
    return suite;
}
