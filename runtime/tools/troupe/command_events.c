/* SPDX-License-Identifier: Apache-2.0 */
/*
 * command_events: what happened, from the log on this node's disk, and then what happens, from its
 * master.
 */
#include "runtime/tools/troupe/commands.h"

#include "runtime/event_log_reader.h"
#include "runtime/tools/troupe/output.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SHOWN_COUNT = 20, SUMMARY_SIZE = 240 };

const struct option_row events_options[] = {
    {"since", "INDEX", "from this event on; default: the last 20"},
    {"follow", NULL, "go on with each new one until interrupted"},
    {.name = NULL},
};

struct events {
    struct cli *cli;
    uint64_t next_index; /* the next to print */
};

/* ---- printing ---- */

/* The body on one line, as far as it fits. */
static void print_line(const struct events *events, const struct message *event)
{
    const struct message_type *type = message_type_find(event->head.kind, event->head.code);
    const time_t seconds = (time_t)(event->head.time_ms / 1000);
    struct tm parts;
    char when[32] = "";
    struct buffer json;
    buffer_init(&json, 16u << 20);
    if (localtime_r(&seconds, &parts))
        (void)strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &parts);
    if (record_print(type->record, event->body, &json) != STATUS_OK)
        buffer_clear(&json);
    const int shown = json.size > SUMMARY_SIZE ? SUMMARY_SIZE : (int)json.size;
    (void)printf("%6" PRIu64 "  %s  %s%-24s%s %.*s%s\n", event->head.index, when,
                 events->cli->has_colour ? "\033[1m" : "", type->name,
                 events->cli->has_colour ? "\033[0m" : "", shown,
                 json.size ? (const char *)json.bytes : "", json.size > SUMMARY_SIZE ? "..." : "");
    buffer_fini(&json);
}

static int print_event(struct events *events, const struct message *event)
{
    events->next_index = event->head.index + 1;
    if (events->cli->is_json) {
        struct document document;
        document_init(&document);
        document_add_message(&document, event);
        return document_finish(events->cli, &document);
    }
    print_line(events, event);
    return fflush(stdout) == 0 ? EXIT_CODE_OK : EXIT_CODE_FAILED;
}

/* ---- from the disk ---- */

static int read_log(struct events *events, uint64_t last)
{
    struct event_log_reader *reader = NULL;
    struct event_record record;
    struct reason reason = {""};
    int code = EXIT_CODE_OK;
    enum status status =
        event_log_reader_open(events->cli->paths.log, NULL, &reader, &reason);
    if (status == STATUS_OK)
        status = event_log_reader_seek(reader, events->next_index, &reason);
    if (status == STATUS_NOT_FOUND) {
        status = event_log_reader_seek(reader, 0, &reason);
        if (status == STATUS_OK) {
            const uint64_t first = event_log_reader_stamp(reader).index + 1;
            cli_say(events->cli, "events before %" PRIu64 " are not on this disk any more", first);
            events->next_index = first;
        }
    }
    while (status == STATUS_OK && code == EXIT_CODE_OK && events->next_index <= last &&
           !cli_is_interrupted()) {
        struct message event;
        status = event_log_reader_next(reader, &record, &reason);
        if (status == STATUS_OK)
            status = message_decode(record.body, record.body_size, &event, &reason);
        if (status != STATUS_OK)
            break;
        event.head.index = record.stamp.index;
        event.head.time_ms = record.time_ms;
        code = print_event(events, &event);
        message_fini(&event);
    }
    event_log_reader_close(reader);
    if (status != STATUS_OK && status != STATUS_ENDED)
        return cli_failed(events->cli, status, &reason);
    return code;
}

/* ---- from the master ---- */

/* Up to `last`; UINT64_MAX: until interrupted. */
static int read_master(struct events *events, uint64_t last)
{
    struct reason reason = {""};
    struct cli *cli = events->cli;
    int code = EXIT_CODE_OK;
    if (events->next_index > last)
        return code;
    enum status status = troupe_client_ask_events(cli->client, events->next_index, &reason);
    while (status == STATUS_OK && code == EXIT_CODE_OK && events->next_index <= last) {
        struct message message;
        if (cli_is_interrupted())
            return EXIT_CODE_OK;
        status = troupe_client_next(cli->client, last == UINT64_MAX ? 500 : 2000, &message,
                                    &reason);
        if (status == STATUS_TIMED_OUT && last != UINT64_MAX)
            break;
        if (status == STATUS_TIMED_OUT || status == STATUS_GAP) {
            status = STATUS_OK;
            continue;
        }
        if (status != STATUS_OK)
            break;
        if (message.head.kind == MESSAGE_EVENT && message.head.index >= events->next_index)
            code = print_event(events, &message);
        message_fini(&message);
    }
    if (status == STATUS_TIMED_OUT) {
        (void)refuse(&reason, STATUS_NOT_FOUND,
                     "the node does not remember event %" PRIu64 " any more; on it, troupe-log "
                     "reads them from disk", events->next_index);
        return cli_failed(cli, STATUS_NOT_FOUND, &reason);
    }
    return status == STATUS_OK ? code : cli_failed(cli, status, &reason);
}

int command_events(struct cli *cli)
{
    struct events events = {.cli = cli};
    uint64_t since = 0;
    if (!cli_number(cli, "since", UINT64_MAX - 1, 0, &since))
        return EXIT_CODE_USAGE;
    cli_catch_interrupt();
    int code = cli_connect_bare(cli, false, true);
    if (code != EXIT_CODE_OK)
        return code;
    const uint64_t last = troupe_client_welcome(cli->client)->index;
    events.next_index = last > SHOWN_COUNT ? last - SHOWN_COUNT + 1 : 1;
    if (cli_option(cli, "since"))
        events.next_index = since > 0 ? since : 1;
    if (events.next_index <= last)
        code = cli->connect_flag ? read_master(&events, last) : read_log(&events, last);
    if (code == EXIT_CODE_OK && cli_option(cli, "follow"))
        code = read_master(&events, UINT64_MAX);
    return code;
}
