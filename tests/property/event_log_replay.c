/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes a log of many events in a scratch directory, then measures opening it (every checksum and
 * the whole chain are verified) and reading every event back (again verified).
 *
 * usage: property-event-log-replay [COUNT [LIMIT_MS]]     defaults 1000000 5000
 * Exit code 0 when both together stay within the limit.  Last line: the figure.
 */
#include "runtime/clock.h"
#include "runtime/event_log.h"
#include "runtime/event_log_reader.h"
#include "tests/support/sample_log.h"
#include "tests/support/scratch.h"
#include "tests/support/seeded.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define BODY_SIZE 200

static struct reason reason;

static void must(enum status status)
{
    if (status == STATUS_OK)
        return;
    (void)fprintf(stderr, "%s: %s\n", status_name(status), reason.text);
    exit(EXIT_FAILURE);
}

static void fill(const struct event_log_options *options, uint64_t count)
{
    struct event_log *log = NULL;
    struct seeded seeded = {.state = 1};
    uint8_t body[BODY_SIZE];
    must(event_log_open(options, &log, NULL, &reason));
    for (uint64_t i = 0; i < count; i++) {
        seeded_fill(&seeded, body, sizeof(body));
        must(event_log_append(log, sample_epoch(1, 1), i, 1, body, sizeof(body), NULL, &reason));
    }
    must(event_log_sync(log, &reason));
    event_log_close(log);
}

static uint64_t read_all(const char *path)
{
    struct event_log_reader *reader = NULL;
    struct event_record record;
    uint64_t count = 0;
    must(event_log_reader_open(path, NULL, &reader, &reason));
    enum status status = STATUS_OK;
    while ((status = event_log_reader_next(reader, &record, &reason)) == STATUS_OK)
        count += record.body_size == BODY_SIZE ? 1 : 0;
    if (status != STATUS_ENDED)
        must(status);
    event_log_reader_close(reader);
    return count;
}

/* Processor time of this process, which a busy machine does not stretch. */
static double processor_s(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0)
        return 0;
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static bool measure(const char *path, uint64_t count, uint64_t limit_ms)
{
    struct event_log_options options = {.path = path, .cluster = sample_cluster()};
    struct event_log_recovery recovery;
    struct event_log *log = NULL;
    uint64_t began = clock_now_us();
    fill(&options, count);
    uint64_t filled = clock_now_us();
    double processor_before = processor_s();
    must(event_log_open(&options, &log, &recovery, &reason));
    uint64_t opened = clock_now_us();
    uint64_t read = read_all(path);
    uint64_t ended = clock_now_us();
    uint64_t size = event_log_size(log);
    event_log_close(log);
    if (read != count || recovery.record_count != count) {
        (void)printf("%" PRIu64 " of %" PRIu64 " events were read\n", read, count);
        return false;
    }
    uint64_t replay_ms = (ended - filled) / 1000;
    (void)printf("%" PRIu64 " events of %d bytes (%" PRIu64 " MiB): appended in %.2f s, recovered "
                 "in %.2f s, read in %.2f s\n",
                 count, BODY_SIZE, size >> 20, (double)(filled - began) / 1e6,
                 (double)(opened - filled) / 1e6, (double)(ended - opened) / 1e6);
    (void)printf("replay %.2f s (recover and read; %.2f s of processor), limit %.2f s\n",
                 (double)replay_ms / 1e3, processor_s() - processor_before,
                 (double)limit_ms / 1e3);
    return replay_ms <= limit_ms;
}

int main(int argc, char **argv)
{
    uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    uint64_t limit_ms = argc > 2 ? strtoull(argv[2], NULL, 10) : 5000;
    struct scratch scratch;
    char path[256];
    scratch_open(&scratch);
    bool held = measure(scratch_path(&scratch, "log", path), count, limit_ms);
    scratch_close(&scratch);
    return held ? EXIT_SUCCESS : EXIT_FAILURE;
}
