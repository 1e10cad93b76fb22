/* SPDX-License-Identifier: Apache-2.0 */
/*
 * list, follow and show.
 */
#include "protocol/memory.h"
#include "runtime/clock.h"
#include "runtime/tools/troupe_log/inspect.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define POLL_MS 100
/* How far back a follower can find the place where the log was cut. */
#define TRAIL_SIZE 1024

struct trail {
    struct event_stamp stamps[TRAIL_SIZE];
    uint64_t count;
};

/* Prints a wanted event; `printed` counts. */
static enum status visit(const struct event_record *record, const struct inspect_options *options,
                         uint64_t *printed)
{
    struct event event;
    enum status status = STATUS_OK;
    event_init(&event, record);
    if (event_is_wanted(&event, options)) {
        status = event_print(&event, options, "");
        (*printed)++;
    }
    event_fini(&event);
    return status;
}

static bool is_over(const struct inspect_options *options, const struct event_record *record,
                    uint64_t printed)
{
    return printed >= options->limit || record->stamp.index >= options->to_index;
}

/* Opens and stands at the first event asked for, or the first one there is. */
static enum status open_at(const struct inspect_options *options,
                           struct event_log_reader **reader_out, struct reason *reason)
{
    struct event_log_reader *reader = NULL;
    enum status status = event_log_reader_open(options->log, NULL, &reader, reason);
    if (status == STATUS_OK && options->from_index > 0)
        status = event_log_reader_seek(reader, options->from_index, reason);
    if (status == STATUS_NOT_FOUND && reader) {
        (void)complain(0, "%s", reason->text);
        status = event_log_reader_seek(reader, 0, reason);
    }
    if (status != STATUS_OK)
        event_log_reader_close(reader);
    else
        *reader_out = reader;
    return status;
}

int inspect_list(const struct inspect_options *options)
{
    struct event_log_reader *reader = NULL;
    struct reason reason = {""};
    enum status status = open_at(options, &reader, &reason);
    if (status != STATUS_OK)
        return complain_status(status, &reason);
    uint64_t printed = 0;
    bool over = options->limit == 0;
    while (!over) {
        struct event_record record;
        status = event_log_reader_next(reader, &record, &reason);
        if (status == STATUS_OK)
            status = visit(&record, options, &printed);
        if (status != STATUS_OK)
            break;
        over = is_over(options, &record, printed);
    }
    event_log_reader_close(reader);
    if (over || status == STATUS_ENDED)
        return EXIT_FINE;
    (void)fflush(stdout);
    return complain_status(status, &reason);
}

/* The log was cut under the reader: go back to the last event that both have. */
static enum status rejoin(const struct inspect_options *options, struct event_log_reader *reader,
                          struct trail *trail, struct reason *reason)
{
    uint64_t kept = trail->count < TRAIL_SIZE ? trail->count : TRAIL_SIZE;
    for (uint64_t back = 1; back <= kept; back++) {
        const struct event_stamp *stamp = &trail->stamps[(trail->count - back) % TRAIL_SIZE];
        enum status status = event_log_reader_seek(reader, stamp->index + 1, reason);
        if (status != STATUS_OK && status != STATUS_NOT_FOUND)
            return status;
        struct event_stamp here = event_log_reader_stamp(reader);
        if (status != STATUS_OK || here.index != stamp->index ||
            memcmp(&here.chain, &stamp->chain, sizeof(here.chain)) != 0)
            continue;
        trail->count -= back - 1;
        (void)complain(0, "%s was cut; events follow anew from %" PRIu64, options->log,
                       stamp->index + 1);
        return STATUS_OK;
    }
    trail->count = 0;
    (void)complain(0, "%s was replaced; events follow from the oldest", options->log);
    return event_log_reader_seek(reader, 0, reason);
}

int inspect_follow(const struct inspect_options *options)
{
    struct event_log_reader *reader = NULL;
    struct reason reason = {""};
    struct trail *trail = memory_zeroed(1, sizeof(*trail));
    enum status status = trail ? open_at(options, &reader, &reason) : STATUS_NO_MEMORY;
    uint64_t printed = 0;
    bool over = options->limit == 0;
    while (status == STATUS_OK && !over) {
        struct event_record record;
        status = event_log_reader_next(reader, &record, &reason);
        if (status == STATUS_OK) {
            trail->stamps[trail->count++ % TRAIL_SIZE] = record.stamp;
            status = visit(&record, options, &printed);
            over = is_over(options, &record, printed);
        } else if (status == STATUS_ENDED) {
            (void)fflush(stdout);
            clock_sleep_ms(POLL_MS);
            status = STATUS_OK;
        } else if (status == STATUS_STALE || status == STATUS_NOT_FOUND) {
            status = rejoin(options, reader, trail, &reason);
        }
    }
    (void)fflush(stdout);
    event_log_reader_close(reader);
    memory_free(trail);
    return status == STATUS_OK ? EXIT_FINE : complain_status(status, &reason);
}

static enum status print_one(const struct event_record *record,
                             const struct inspect_options *options)
{
    struct event event;
    struct buffer json;
    struct buffer text;
    buffer_init(&json, 64u << 20);
    buffer_init(&text, 64u << 20);
    event_init(&event, record);
    enum status status = buffer_append_text(&json, "{");
    if (status == STATUS_OK)
        status = event_print_json(&event, &json);
    if (status == STATUS_OK)
        status = buffer_append_text(&json, options->json ? "}\n" : "}");
    if (status == STATUS_OK && !options->json)
        status = json_print_long(&json, &text);
    if (status == STATUS_OK)
        status = buffer_flush(options->json ? &json : &text);
    event_fini(&event);
    buffer_fini(&json);
    buffer_fini(&text);
    return status;
}

int inspect_show(const struct inspect_options *options)
{
    struct event_log_reader *reader = NULL;
    struct reason reason = {""};
    struct event_record record;
    enum status status = event_log_reader_open(options->log, NULL, &reader, &reason);
    if (status == STATUS_OK)
        status = event_log_reader_seek(reader, options->from_index, &reason);
    if (status == STATUS_OK)
        status = event_log_reader_next(reader, &record, &reason);
    if (status == STATUS_ENDED)
        status = refuse(&reason, STATUS_NOT_FOUND, "%s: event %" PRIu64
                        " is not written yet; the last one is %" PRIu64, options->log,
                        options->from_index, event_log_reader_stamp(reader).index);
    if (status == STATUS_OK)
        status = print_one(&record, options);
    event_log_reader_close(reader);
    return status == STATUS_OK ? EXIT_FINE : complain_status(status, &reason);
}
