/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verify: every checksum, the whole chain, every event decoded and applied, every snapshot compared
 * with the state that the events make.  Changes nothing and needs no lock.
 */
#include "runtime/tools/troupe_log/inspect.h"
#include "runtime/tools/troupe_log/replay.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct verification {
    uint64_t events;
    uint64_t bytes;
    uint64_t snapshots;
    uint64_t undecodable;
    bool is_replayed; /* false: a branch, or a log of events this build does not know */
    struct reason state_fault;
};

/* The snapshot of exactly this event, if there is one, must be the state that was reached. */
static enum status check_snapshot(struct event_log_reader *reader, const struct state *state,
                                  const struct event_stamp *stamp, struct verification *found,
                                  struct reason *reason)
{
    struct event_snapshot snapshot;
    if (event_log_reader_snapshot(reader, stamp->index, &snapshot, NULL) != STATUS_OK)
        return STATUS_OK;
    enum status status = STATUS_OK;
    if (snapshot.stamp.index == stamp->index) {
        struct hash hash;
        found->snapshots++;
        status = state_hash(state, &hash);
        if (status == STATUS_OK && (memcmp(&hash, &snapshot.state_hash, sizeof(hash)) != 0 ||
                                    memcmp(&stamp->chain, &snapshot.stamp.chain, 32) != 0))
            status = refuse(reason, STATUS_DAMAGED,
                            "the snapshot of event %" PRIu64 " is not what the events make",
                            stamp->index);
    }
    event_snapshot_fini(&snapshot);
    return status;
}

static void replay(struct verification *found, struct state *state,
                   const struct event_record *record)
{
    if (!found->is_replayed)
        return;
    enum status status = replay_apply(state, record, &found->state_fault);
    if (status != STATUS_OK)
        found->is_replayed = false;
}

static enum status verify_events(struct event_log_reader *reader, struct verification *found,
                                 struct state *state, struct reason *reason)
{
    uint64_t next_snapshot = 0;
    struct event_snapshot snapshot;
    if (event_log_reader_snapshot(reader, UINT64_MAX, &snapshot, NULL) == STATUS_OK) {
        next_snapshot = snapshot.stamp.index; /* none is above */
        event_snapshot_fini(&snapshot);
    }
    for (;;) {
        struct event_record record;
        struct event event;
        enum status status = event_log_reader_next(reader, &record, reason);
        if (status != STATUS_OK)
            return status;
        event_init(&event, &record);
        found->undecodable += event.is_decoded ? 0 : 1;
        event_fini(&event);
        found->events++;
        found->bytes += record.body_size;
        replay(found, state, &record);
        /* Snapshots are rare: only those indexes are looked up that may be one. */
        if (found->is_replayed && record.stamp.index <= next_snapshot &&
            event_log_reader_has_snapshot(reader, record.stamp.index)) {
            status = check_snapshot(reader, state, &record.stamp, found, reason);
            if (status != STATUS_OK)
                return status;
        }
    }
}

static int report(const struct inspect_options *options, const struct verification *found,
                  const struct event_log_reader *reader, const struct state *state)
{
    struct event_stamp last = event_log_reader_stamp(reader);
    struct hash hash = {{0}};
    char chain[HEX_SIZE(32)];
    char state_text[HEX_SIZE(32)] = "";
    uint64_t mark = event_log_reader_mark(reader);
    if (found->is_replayed && state_hash(state, &hash) == STATUS_OK)
        (void)hex_print(hash.bytes, 32, state_text);
    (void)hex_print(last.chain.bytes, 32, chain);
    if (options->json)
        (void)printf("{\"whole\": true, \"first\": %" PRIu64 ", \"last\": %" PRIu64
                     ", \"events\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"mark\": %" PRIu64
                     ", \"snapshots\": %" PRIu64 ", \"undecodable\": %" PRIu64
                     ", \"chain\": \"%s\", \"state_hash\": \"%s\"}\n",
                     last.index + 1 - found->events, last.index, found->events, found->bytes, mark,
                     found->snapshots, found->undecodable, chain, state_text);
    else
        (void)printf("whole: %" PRIu64 " events, %" PRIu64 " to %" PRIu64 ", %" PRIu64
                     " bytes of events\nacknowledged: %" PRIu64 "\nsnapshots compared: %" PRIu64
                     "\nchain: %s\nstate: %s\n",
                     found->events, last.index + 1 - found->events, last.index, found->bytes, mark,
                     found->snapshots, chain,
                     found->is_replayed ? state_text : found->state_fault.text);
    return EXIT_FINE;
}

static int report_damage(const struct inspect_options *options, const struct verification *found,
                         enum status status, const struct reason *reason)
{
    if (options->json) {
        struct buffer json;
        buffer_init(&json, 1 << 20);
        enum status printed = buffer_append_format(
            &json, "{\"whole\": false, \"events\": %" PRIu64 ", \"reason\": ", found->events);
        if (printed == STATUS_OK)
            printed = json_append_text(&json, reason->text, strlen(reason->text));
        if (printed == STATUS_OK)
            printed = buffer_append_text(&json, "}\n");
        if (printed == STATUS_OK)
            printed = buffer_flush(&json);
        buffer_fini(&json);
        (void)fflush(stdout);
    }
    return complain_status(status, reason);
}

int inspect_verify(const struct inspect_options *options)
{
    struct event_log_reader *reader = NULL;
    struct reason reason = {""};
    struct verification found = {0};
    struct state state;
    state_init(&state);
    enum status status = event_log_reader_open(options->log, NULL, &reader, &reason);
    if (status == STATUS_OK) {
        /* A log that begins later is replayed from the snapshot before its first event. */
        uint64_t base = event_log_reader_stamp(reader).index;
        found.is_replayed =
            replay_begin(reader, base, &state, &found.state_fault) == STATUS_OK;
        status = event_log_reader_seek(reader, 0, &reason);
    }
    if (status == STATUS_OK)
        status = verify_events(reader, &found, &state, &reason);
    int code = EXIT_FINE;
    if (status == STATUS_ENDED)
        code = report(options, &found, reader, &state);
    else
        code = report_damage(options, &found, status, &reason);
    state_fini(&state);
    event_log_reader_close(reader);
    return code;
}
