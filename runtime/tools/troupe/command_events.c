/* SPDX-License-Identifier: Apache-2.0 */
/*
 * command_events: what happened, from the log on this node's disk, and then what happens, from its
 * master.
 */
#include "runtime/tools/troupe/commands.h"

#include "runtime/event_log_reader.h"
#include "runtime/rank_shares.h"
#include "runtime/tools/troupe/output.h"
#include "runtime/tools/troupe/place.h"

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

/* Who carries what from now on; false: the event says nothing of that. */
static bool print_carried(const struct message *event, struct buffer *text)
{
    const struct instance_record *placed = NULL;
    const struct generation_started *started = NULL;
    if (message_is(event, MESSAGE_EVENT, EVENT_INSTANCE_PLACED))
        placed = &MESSAGE_BODY(event, instance_placed)->instance;
    else if (message_is(event, MESSAGE_EVENT, EVENT_GENERATION_STARTED))
        started = MESSAGE_BODY(event, generation_started);
    else
        return false;
    const struct rank_record *ranks = placed ? placed->ranks.items : started->ranks.items;
    const uint32_t count = placed ? placed->ranks.count : started->ranks.count;
    char id[9];
    bool is_whole =
        buffer_append_format(
            text, "%s %s, %s:",
            id_print_short(placed ? &placed->instance_id : &started->instance_id, id),
            placed ? text_or_empty(placed->model_id) : "",
            placed ? sharding_title(placed->sharding, placed->is_asymmetric)
                   : sharding_title(started->sharding, started->is_asymmetric)) == STATUS_OK;
    for (uint32_t i = 0; i < count && is_whole; i++) {
        char share[SHARE_SIZE];
        char size[16];
        is_whole = buffer_append_format(
                       text, "%s node %s %s (%s)", i > 0 ? "," : "",
                       id_print_short(&ranks[i].node_id, id),
                       ranks[i].is_source ? "source" : share_print(ranks[i].share, share),
                       size_print(ranks[i].weight_bytes + ranks[i].cache_bytes +
                                      ranks[i].scratch_bytes, size)) == STATUS_OK;
    }
    if (is_whole && (placed ? placed->is_upgraded : started->is_upgraded))
        is_whole = buffer_append_format(text, "; %s", text_or_empty(placed ? placed->why
                                                                           : started->why)) ==
                   STATUS_OK;
    return is_whole;
}

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
    const bool is_said = print_carried(event, &json);
    if (!is_said)
        buffer_clear(&json);
    if (!is_said && record_print(type->record, event->body, &json) != STATUS_OK)
        buffer_clear(&json);
    const size_t most = is_said ? json.size : SUMMARY_SIZE;
    const int shown = json.size > most ? (int)most : (int)json.size;
    (void)printf("%6" PRIu64 "  %s  %s%-24s%s %.*s%s\n", event->head.index, when,
                 events->cli->has_colour ? "\033[1m" : "", type->name,
                 events->cli->has_colour ? "\033[0m" : "", shown,
                 json.size ? (const char *)json.bytes : "", json.size > most ? "..." : "");
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
