/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state: what the log meant at an index.
 */
#include "runtime/tools/troupe_log/inspect.h"
#include "runtime/tools/troupe_log/replay.h"

#include <inttypes.h>
#include <stdio.h>

/* Applies events up to `index`, or all that are there when it is UINT64_MAX. */
static enum status replay_to(struct event_log_reader *reader, uint64_t index, struct state *state,
                             struct reason *reason)
{
    enum status status = replay_begin(reader, index, state, reason);
    while (status == STATUS_OK && state->index < index) {
        struct event_record record;
        status = event_log_reader_next(reader, &record, reason);
        if (status == STATUS_OK)
            status = replay_apply(state, &record, reason);
    }
    if (status == STATUS_ENDED && index != UINT64_MAX)
        return refuse(reason, STATUS_NOT_FOUND, "event %" PRIu64
                      " is not written yet; the last one is %" PRIu64, index, state->index);
    return status == STATUS_ENDED ? STATUS_OK : status;
}

static enum status print_state(const struct state *state, const struct inspect_options *options,
                               struct buffer *json, struct buffer *text)
{
    struct hash hash;
    char time[32];
    char hex[HEX_SIZE(32)];
    enum status status = state_hash(state, &hash);
    if (status == STATUS_OK)
        status = buffer_append_format(
            json, "{\"index\": %" PRIu64 ", \"time\": \"%s\", \"state_hash\": \"%s\", \"state\": ",
            state->index, time_print(state->time_ms, time), hex_print(hash.bytes, 32, hex));
    if (status == STATUS_OK)
        status = record_print(&state_type, state, json);
    if (status == STATUS_OK)
        status = buffer_append_text(json, options->json ? "}\n" : "}");
    if (status == STATUS_OK && !options->json)
        status = json_print_long(json, text);
    return status == STATUS_OK ? buffer_flush(options->json ? json : text) : status;
}

int inspect_state(const struct inspect_options *options)
{
    struct event_log_reader *reader = NULL;
    struct reason reason = {""};
    struct state state;
    struct buffer json;
    struct buffer text;
    buffer_init(&json, 256u << 20);
    buffer_init(&text, 256u << 20);
    state_init(&state);
    enum status status = event_log_reader_open(options->log, NULL, &reader, &reason);
    if (status == STATUS_OK)
        status = replay_to(reader, options->from_index, &state, &reason);
    if (status == STATUS_OK)
        status = print_state(&state, options, &json, &text);
    state_fini(&state);
    buffer_fini(&json);
    buffer_fini(&text);
    event_log_reader_close(reader);
    return status == STATUS_OK ? EXIT_FINE : complain_status(status, &reason);
}
