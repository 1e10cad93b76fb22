/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A log committed when version 1 of the format was made must read for ever as it did then, and the
 * same events must be written to the same bytes.
 *
 * With TROUPE_GOLDEN_WRITE=DIR the files are written there instead (a new version of the format
 * gets a folder of its own; the old one stays and is still read).
 */
#include "runtime/event_log.h"
#include "runtime/event_log_reader.h"
#include "protocol/memory.h"
#include "tests/support/check_main.h"
#include "tests/support/memory_disk.h"
#include "tests/support/sample_log.h"
#include "tests/support/scratch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct reason reason;

static void must(enum status status)
{
    ck_assert_msg(status == STATUS_OK, "%s: %s", status_name(status), reason.text);
}

/* The life of the golden log: two epochs, three segments, a cut branch and a snapshot. */
static struct memory_disk *written(void)
{
    struct memory_disk *disk = memory_disk_create();
    struct event_log_options options = sample_options("log", memory_disk_ops(disk));
    struct event_log *log = NULL;
    struct hash hash;
    hash_of("golden", 6, &hash);
    must(event_log_open(&options, &log, NULL, &reason));
    sample_fill(log, sample_epoch(1, 3), 25, 4);
    must(event_log_truncate_to(log, 20, NULL, &reason));
    sample_fill(log, sample_epoch(2, 4), 15, 3);
    must(event_log_snapshot_write(log, 30, &hash, "golden", 6, &reason));
    must(event_log_settle(log, &reason));
    event_log_close(log);
    return disk;
}

static const char *golden_path(const char *name, char *path_out)
{
    char relative[256];
    (void)snprintf(relative, sizeof(relative), "tests/golden/event_log/%s", name);
    return source_path(relative, path_out);
}

static void write_golden(const struct memory_disk *disk, const char *directory)
{
    for (size_t i = 0; i < memory_disk_file_count(disk); i++) {
        char path[512];
        size_t size = 0;
        const char *name = memory_disk_file_path(disk, i);
        const uint8_t *bytes = memory_disk_bytes(disk, name, &size);
        (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
        file_put(path, bytes, size);
    }
}

START_TEST(the_same_events_make_the_same_bytes)
{
    struct memory_disk *disk = written();
    const char *target = getenv("TROUPE_GOLDEN_WRITE");
    if (target)
        write_golden(disk, target);
    size_t compared = 0;
    for (size_t i = 0; i < memory_disk_file_count(disk); i++) {
        char path[512];
        size_t size = 0;
        size_t golden_size = 0;
        const char *name = memory_disk_file_path(disk, i);
        const uint8_t *bytes = memory_disk_bytes(disk, name, &size);
        if (size == 0)
            continue;
        char *golden = file_bytes(golden_path(name, path), &golden_size);
        ck_assert_uint_eq(size, golden_size);
        ck_assert_mem_eq(bytes, golden, size);
        memory_free(golden);
        compared++;
    }
    ck_assert_uint_ge(compared, 6);
    memory_disk_free(disk);
}
END_TEST

START_TEST(the_golden_log_reads_as_it_did)
{
    char path[512];
    char listing_path[512];
    char line[256];
    size_t size = 0;
    char *expected = file_bytes(golden_path("expected.txt", listing_path), &size);
    char *listing = memory_zeroed(size + 8192, 1);
    struct event_log_reader *reader = NULL;
    must(event_log_reader_open(golden_path("log", path), NULL, &reader, &reason));
    struct event_record record;
    enum status status = STATUS_OK;
    while ((status = event_log_reader_next(reader, &record, &reason)) == STATUS_OK) {
        char chain[HEX_SIZE(32)];
        ck_assert(sample_is(&record));
        (void)snprintf(line, sizeof(line),
                       "%" PRIu64 " epoch %" PRIu64 " kind %u time %" PRIu64 " size %zu %s\n",
                       record.stamp.index, record.stamp.epoch.number, (unsigned)record.kind,
                       record.time_ms, record.body_size, hex_print(&record.stamp.chain, 32, chain));
        size_t length = strlen(listing);
        ck_assert_uint_lt(length + strlen(line), size + 8192);
        memcpy(listing + length, line, strlen(line) + 1);
    }
    ck_assert_msg(status == STATUS_ENDED, "%s", reason.text);
    event_log_reader_close(reader);
    ck_assert_str_eq(listing, expected);
    memory_free(listing);
    memory_free(expected);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("golden event log");
    const TTest *const tests[] = {the_same_events_make_the_same_bytes,
                                  the_golden_log_reads_as_it_did};
    suite_add(suite, "golden", tests, COUNT_OF(tests));
    return suite;
}
