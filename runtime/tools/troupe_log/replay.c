/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/tools/troupe_log/replay.h"

#include "runtime/tools/troupe_log/inspect.h"

#include <inttypes.h>
#include <string.h>

/* Does the log hold that snapshot's event, as far as can be told? */
static enum status check_place(struct event_log_reader *reader,
                               const struct event_snapshot *snapshot, struct reason *reason)
{
    enum status status = event_log_reader_seek(reader, snapshot->stamp.index + 1, reason);
    if (status != STATUS_OK)
        return status;
    struct event_stamp here = event_log_reader_stamp(reader);
    if (here.index != snapshot->stamp.index ||
        memcmp(&here.chain, &snapshot->stamp.chain, sizeof(here.chain)) != 0)
        return refuse(reason, STATUS_HASH_MISMATCH,
                      "the snapshot of event %" PRIu64 " is of another branch of the log",
                      snapshot->stamp.index);
    return STATUS_OK;
}

enum status replay_begin(struct event_log_reader *reader, uint64_t index_max, struct state *state,
                         struct reason *reason)
{
    struct event_snapshot snapshot;
    enum status status = event_log_reader_snapshot(reader, index_max, &snapshot, NULL);
    if (status == STATUS_NOT_FOUND) {
        status = event_log_reader_seek(reader, 0, reason);
        if (status == STATUS_OK && event_log_reader_stamp(reader).index != 0)
            status = refuse(reason, STATUS_NOT_FOUND,
                            "the log begins with event %" PRIu64
                            " and no snapshot of event %" PRIu64 " or before is here",
                            event_log_reader_stamp(reader).index + 1, index_max);
        return status;
    }
    if (status != STATUS_OK)
        return refuse(reason, status, "a snapshot could not be read: %s", status_text(status));
    status = check_place(reader, &snapshot, reason);
    if (status == STATUS_OK)
        status = state_decode(snapshot.state, snapshot.state_size, state, reason);
    event_snapshot_fini(&snapshot);
    return status;
}

enum status replay_apply(struct state *state, const struct event_record *record,
                         struct reason *reason)
{
    struct event event;
    event_init(&event, record);
    enum status status = STATUS_MALFORMED;
    if (event.is_decoded)
        status = state_apply(state, &event.message);
    if (!event.is_decoded)
        status = refuse(reason, STATUS_MALFORMED, "event %" PRIu64 " can not be decoded: %s",
                        record->stamp.index, event.why_not.text);
    else if (status != STATUS_OK)
        status = refuse(reason, status, "event %" PRIu64 " can not be applied: %s",
                        record->stamp.index, status_text(status));
    event_fini(&event);
    return status;
}
