/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/state_mirror.h"

#include "protocol/message.h"

#include <inttypes.h>

void state_mirror_init(struct state_mirror *mirror)
{
    *mirror = (struct state_mirror){.has_state = false};
    state_init(&mirror->state);
    buffer_init(&mirror->incoming, STATE_MIRROR_SIZE_MAX);
}

void state_mirror_fini(struct state_mirror *mirror)
{
    state_fini(&mirror->state);
    buffer_fini(&mirror->incoming);
}

uint64_t state_mirror_index(const struct state_mirror *mirror)
{
    return mirror->has_state ? mirror->state.index : 0;
}

static void mirror_empty(struct state_mirror *mirror)
{
    state_fini(&mirror->state);
    state_init(&mirror->state);
    mirror->has_state = false;
    mirror->is_lost = true;
    buffer_clear(&mirror->incoming);
}

static enum status take_part(struct state_mirror *mirror, const struct snapshot_part *part,
                             enum mirror_change *change_out, struct reason *reason)
{
    if (part->offset == 0) {
        buffer_clear(&mirror->incoming);
        mirror->incoming_index = part->index;
        mirror->incoming_total = part->total;
    }
    if (part->index != mirror->incoming_index || part->total != mirror->incoming_total ||
        part->offset != mirror->incoming.size || part->part.count == 0 ||
        part->part.count > part->total - part->offset)
        return refuse(reason, STATUS_MALFORMED, "the parts of the state do not fit together");
    enum status status =
        buffer_append(&mirror->incoming, part->part.items, part->part.count);
    if (status != STATUS_OK || mirror->incoming.size < mirror->incoming_total)
        return status;
    struct state state;
    status = state_decode(mirror->incoming.bytes, mirror->incoming.size, &state, reason);
    buffer_clear(&mirror->incoming);
    if (status != STATUS_OK)
        return status;
    state_fini(&mirror->state);
    mirror->state = state;
    mirror->has_state = true;
    *change_out = MIRROR_REPLACED;
    return STATUS_OK;
}

static enum status take_event(struct state_mirror *mirror, const struct message *event,
                              enum mirror_change *change_out, struct reason *reason)
{
    uint64_t index = event->head.index;
    if (index <= state_mirror_index(mirror))
        return STATUS_OK; /* told twice after a reconnect */
    if (index != mirror->state.index + 1)
        return refuse(reason, STATUS_GAP, "event %" PRIu64 " came after event %" PRIu64, index,
                      mirror->state.index);
    enum status status = state_apply(&mirror->state, event);
    if (status != STATUS_OK)
        return refuse(reason, status, "event %" PRIu64 " cannot be applied", index);
    mirror->has_state = true;
    *change_out = MIRROR_APPLIED;
    return STATUS_OK;
}

enum status state_mirror_take(struct state_mirror *mirror, const struct message *message,
                              enum mirror_change *change_out, struct reason *reason)
{
    enum status status = STATUS_OK;
    *change_out = MIRROR_UNTOUCHED;
    if (message_is(message, MESSAGE_LINK, LINK_WELCOME)) {
        const struct welcome *welcome = MESSAGE_BODY(message, welcome);
        mirror->node_id = welcome->node_id;
        mirror->cluster_id = welcome->cluster_id;
        mirror->is_lost = false;
        *change_out = MIRROR_WELCOMED;
    } else if (mirror->is_lost) {
        return STATUS_OK;
    } else if (message_is(message, MESSAGE_LINK, LINK_SNAPSHOT_PART)) {
        status = take_part(mirror, MESSAGE_BODY(message, snapshot_part), change_out, reason);
    } else if (message->head.kind == MESSAGE_EVENT) {
        status = take_event(mirror, message, change_out, reason);
    }
    if (status != STATUS_OK)
        mirror_empty(mirror);
    return status;
}
