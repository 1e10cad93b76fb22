/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/memory.h"
#include "runtime/crc32c.h"
#include "runtime/epoch_file.h"
#include "runtime/event_log.h"
#include "tests/support/check_main.h"
#include "tests/support/memory_disk.h"
#include "tests/support/sample_log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct reason reason;

/* "state at N" and its hash. */
static void snapshot_put(struct event_log *log, uint64_t index)
{
    char state[64];
    struct hash hash;
    int length = snprintf(state, sizeof(state), "state at %d", (int)index);
    hash_of(state, (size_t)length, &hash);
    enum status status =
        event_log_snapshot_write(log, index, &hash, state, (size_t)length, &reason);
    ck_assert_msg(status == STATUS_OK, "%s", reason.text);
}

static uint64_t snapshot_index(const struct event_log *log)
{
    struct event_snapshot snapshot;
    enum status status = event_log_snapshot_read(log, &snapshot, &reason);
    if (status == STATUS_NOT_FOUND)
        return 0;
    ck_assert_int_eq(status, STATUS_OK);
    char state[64];
    int length = snprintf(state, sizeof(state), "state at %d", (int)snapshot.stamp.index);
    ck_assert_uint_eq(snapshot.state_size, (size_t)length);
    ck_assert_mem_eq(snapshot.state, state, (size_t)length);
    uint64_t index = snapshot.stamp.index;
    event_snapshot_fini(&snapshot);
    return index;
}

START_TEST(the_newest_whole_snapshot_is_used)
{
    struct memory_disk *disk = memory_disk_create();
    struct event_log_options options = sample_options("log", memory_disk_ops(disk));
    struct event_log *log = sample_open(&options, NULL);
    sample_fill(log, sample_epoch(1, 3), 100, 10);
    ck_assert_uint_eq(snapshot_index(log), 0);
    snapshot_put(log, 20);
    snapshot_put(log, 50);
    snapshot_put(log, 90);
    ck_assert_uint_eq(snapshot_index(log), 90);
    ck_assert_int_eq(event_log_snapshot_write(log, 101, &(struct hash){{0}}, "", 0, &reason),
                     STATUS_NOT_FOUND);
    event_log_close(log);
    size_t size = 0;
    ck_assert_ptr_null(memory_disk_bytes(disk, "log/00000000000000000020.snapshot", &size));
    memory_disk_flip(disk, "log/00000000000000000090.snapshot", 195, 4);
    struct event_log_recovery recovery;
    log = sample_open(&options, &recovery);
    ck_assert_uint_eq(recovery.snapshots_refused, 1);
    ck_assert_uint_eq(snapshot_index(log), 50);
    char branch[EVENT_LOG_NAME_SIZE];
    ck_assert_int_eq(event_log_truncate_to(log, 40, branch, &reason), STATUS_OK);
    ck_assert_uint_eq(snapshot_index(log), 0);
    event_log_close(log);
    log = sample_open(&options, &recovery);
    ck_assert_uint_eq(recovery.snapshots_refused, 0);
    event_log_close(log);
    memory_disk_free(disk);
}
END_TEST

START_TEST(segments_in_both_snapshots_are_retired)
{
    struct memory_disk *disk = memory_disk_create();
    struct event_log_options options = sample_options("log", memory_disk_ops(disk));
    options.retain_size = 12000;
    struct event_log *log = sample_open(&options, NULL);
    sample_fill(log, sample_epoch(1, 3), 200, 10);
    ck_assert_int_eq(event_log_retire(log, &reason), STATUS_OK);
    ck_assert_uint_eq(event_log_first_index(log), 1); /* no snapshot covers anything */
    snapshot_put(log, 85);
    ck_assert_int_eq(event_log_retire(log, &reason), STATUS_OK);
    ck_assert_uint_eq(event_log_first_index(log), 1); /* one is not enough */
    snapshot_put(log, 190);
    ck_assert_int_eq(event_log_retire(log, &reason), STATUS_OK);
    uint64_t first = event_log_first_index(log);
    ck_assert_uint_gt(first, 40);
    ck_assert_uint_le(first, 81);
    event_log_close(log);
    log = sample_open(&options, NULL);
    ck_assert_uint_eq(event_log_first_index(log), first);
    ck_assert_uint_eq(snapshot_index(log), 190);
    struct event_stamp stamp;
    ck_assert_int_eq(event_log_stamp(log, first - 1, &stamp, &reason), STATUS_OK);
    ck_assert_int_eq(event_log_stamp(log, first - 2, &stamp, &reason), STATUS_NOT_FOUND);
    ck_assert_int_eq(event_log_truncate_to(log, first - 1, NULL, &reason), STATUS_NOT_FOUND);
    enum status ended = STATUS_OK;
    ck_assert_uint_eq(sample_read("log", options.disk, first, &ended), 200);
    (void)sample_read("log", options.disk, first - 1, &ended);
    ck_assert_int_eq(ended, STATUS_NOT_FOUND);
    event_log_close(log);
    /* Without any snapshot the log says what is missing. */
    memory_disk_flip(disk, "log/00000000000000000085.snapshot", 10, 4);
    memory_disk_flip(disk, "log/00000000000000000190.snapshot", 10, 4);
    ck_assert_int_eq(event_log_open(&options, &log, NULL, &reason), STATUS_DAMAGED);
    memory_disk_free(disk);
}
END_TEST

/* A leader whose log begins after a snapshot, for `peer_path`. */
static struct event_snapshot leader_snapshot(const struct event_log_options *options,
                                             uint64_t count, uint64_t index)
{
    struct event_snapshot snapshot;
    struct event_log *leader = sample_open(options, NULL);
    sample_fill(leader, sample_epoch(2, 7), count, 10);
    snapshot_put(leader, index);
    ck_assert_int_eq(event_log_snapshot_read(leader, &snapshot, &reason), STATUS_OK);
    event_log_close(leader);
    return snapshot;
}

START_TEST(a_peers_snapshot_begins_the_log_anew)
{
    struct memory_disk *disk = memory_disk_create();
    struct event_log_options options = sample_options("leader", memory_disk_ops(disk));
    struct event_snapshot snapshot = leader_snapshot(&options, 200, 150);
    options.path = "follower";
    /* Behind the snapshot, and far beyond it on another branch. */
    for (uint64_t count = 30; count <= 230; count += 200) {
        struct event_log *follower = sample_open(&options, NULL);
        sample_fill(follower, sample_epoch(2, 7), count, 10);
        ck_assert_int_eq(event_log_install_snapshot(follower, &snapshot, &reason), STATUS_OK);
        ck_assert_uint_eq(event_log_durable(follower).index, 150);
        ck_assert_uint_eq(snapshot_index(follower), 150);
        ck_assert_int_eq(sample_refill(follower, "leader", options.disk, 200, &reason), STATUS_OK);
        event_log_close(follower);
        follower = sample_open(&options, NULL);
        ck_assert_uint_eq(event_log_first_index(follower), 151);
        ck_assert_uint_eq(event_log_durable(follower).index, 200);
        event_log_close(follower);
        options.path = "other";
    }
    event_snapshot_fini(&snapshot);
    memory_disk_free(disk);
}
END_TEST

START_TEST(a_crash_at_any_call_of_an_install_ends_in_the_old_or_the_new_log)
{
    struct memory_disk *disk = memory_disk_create();
    struct event_log_options options = sample_options("leader", memory_disk_ops(disk));
    struct event_snapshot snapshot = leader_snapshot(&options, 200, 150);
    struct seeded seeded = seeded_open(77);
    int ended_new = 0;
    bool failed = true;
    for (uint64_t calls = 0; failed; calls++) {
        struct memory_disk *other = memory_disk_create();
        struct event_log_options mine = sample_options("log", memory_disk_ops(other));
        mine.accept_damage = true;
        struct event_log *log = sample_open(&mine, NULL);
        sample_fill(log, sample_epoch(1, 3), calls % 2 ? 230 : 60, 10);
        memory_disk_fail(other,
                         &(struct memory_fault){.calls = calls, .error = EIO, .for_good = true});
        enum status status = event_log_install_snapshot(log, &snapshot, &reason);
        failed = memory_disk_has_failed(other);
        ck_assert_int_eq(status == STATUS_OK, !failed);
        event_log_close(log);
        memory_disk_heal(other);
        memory_disk_crash(other, &seeded);
        log = sample_open(&mine, NULL);
        if (event_log_damage(log)) /* the master asks its peer again */
            ck_assert_int_eq(event_log_install_snapshot(log, &snapshot, &reason), STATUS_OK);
        uint64_t last = event_log_durable(log).index;
        ck_assert(last == 150 || last == (calls % 2 ? 230 : 60));
        ended_new += last == 150 ? 1 : 0;
        event_log_close(log);
        memory_disk_free(other);
    }
    ck_assert_int_gt(ended_new, 3);
    event_snapshot_fini(&snapshot);
    memory_disk_free(disk);
}
END_TEST

START_TEST(an_epoch_survives_a_torn_write)
{
    struct memory_disk *disk = memory_disk_create();
    const struct disk_ops *ops = memory_disk_ops(disk);
    struct seeded seeded = seeded_open(5);
    struct event_epoch epoch;
    ck_assert_int_eq(epoch_file_read(ops, "log", &epoch, &reason), STATUS_NOT_FOUND);
    epoch = sample_epoch(1, 9);
    ck_assert_int_eq(epoch_file_write(ops, "log", &epoch, &reason), STATUS_OK);
    for (uint64_t number = 2; number < 100; number++) {
        struct event_epoch wanted = sample_epoch(number, (uint8_t)number);
        memory_disk_fail(disk, &(struct memory_fault){.calls = number % 2, .error = EIO,
                                                      .for_good = true, .is_short = true});
        ck_assert_int_eq(epoch_file_write(ops, "log", &wanted, &reason), STATUS_IO);
        memory_disk_heal(disk);
        memory_disk_crash(disk, &seeded);
        ck_assert_int_eq(epoch_file_read(ops, "log", &epoch, &reason), STATUS_OK);
        ck_assert(epoch.number == number || epoch.number == number - 1);
        ck_assert_int_eq(epoch_file_write(ops, "log", &wanted, &reason), STATUS_OK);
        memory_disk_crash(disk, &seeded);
        ck_assert_int_eq(epoch_file_read(ops, "log", &epoch, &reason), STATUS_OK);
        ck_assert_int_eq(event_epoch_compare(&epoch, &wanted), 0);
    }
    memory_disk_flip(disk, "log/epoch", 9, 1);
    memory_disk_flip(disk, "log/epoch", 4096 + 9, 1);
    ck_assert_int_eq(epoch_file_read(ops, "log", &epoch, &reason), STATUS_DAMAGED);
    memory_disk_free(disk);
}
END_TEST

START_TEST(checksums_agree_with_the_published_ones)
{
    uint8_t bytes[32];
    uint32_t crc = 0;
    memset(bytes, 0, sizeof(bytes));
    ck_assert_uint_eq(crc32c(0, "123456789", 9), 0xe3069283);
    ck_assert_uint_eq(crc32c(0, bytes, sizeof(bytes)), 0x8a9136aa); /* RFC 3720 B.4 */
    struct seeded seeded = seeded_open(11);
    uint8_t block[300];
    seeded_fill(&seeded, block, sizeof(block));
    for (size_t from = 0; from < 20; from++)
        for (size_t size = 0; size < 100; size++) {
            uint32_t expected = crc32c_by_tables(7, block + from, size);
            if (crc32c_by_cpu(7, block + from, size, &crc))
                ck_assert_uint_eq(crc, expected);
            ck_assert_uint_eq(crc32c(crc32c(7, block + from, size / 3), block + from + size / 3,
                                     size - size / 3), expected);
        }
}
END_TEST

START_TEST(hashes_agree_in_pieces_and_at_once)
{
    static const uint8_t of_abc[4] = {0xbd, 0xdd, 0x81, 0x3c}; /* BLAKE2b-256("abc") */
    struct hash once;
    struct hash pieces;
    hash_of("abc", 3, &once);
    ck_assert_mem_eq(once.bytes, of_abc, sizeof(of_abc));
    struct hash_stream stream;
    hash_init(&stream);
    hash_update(&stream, "a", 1);
    hash_update(&stream, "", 0);
    hash_update(&stream, "bc", 2);
    hash_final(&stream, &pieces);
    ck_assert_mem_eq(&once, &pieces, sizeof(once));
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("event log snapshots");
    const TTest *const tests[] = {
        the_newest_whole_snapshot_is_used,
        segments_in_both_snapshots_are_retired,
        a_peers_snapshot_begins_the_log_anew,
        a_crash_at_any_call_of_an_install_ends_in_the_old_or_the_new_log,
        an_epoch_survives_a_torn_write,
        checksums_agree_with_the_published_ones,
        hashes_agree_in_pieces_and_at_once};
    suite_add(suite, "snapshots", tests, COUNT_OF(tests));
    return suite;
}
