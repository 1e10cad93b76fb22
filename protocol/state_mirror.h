/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state_mirror: a local actor's copy of the state, from its master's snapshot and events.
 *
 * Pure.  After a hello with the mirror's index the master sends what is lacking: events from there
 * on, or the whole state in parts.  The mirror applies them and says what changed; when it finds a
 * gap the actor says hello again, once: what was sent before the master heard it is passed over.
 *
 * Owner    one actor.
 * Memory   the state, and the parts of a snapshot while they come; bounded by SNAPSHOT_SIZE_MAX.
 * Threads  one.
 * Fails    STATUS_MALFORMED, STATUS_GAP, STATUS_NO_MEMORY: say hello again with index 0.
 */
#ifndef TROUPE_PROTOCOL_STATE_MIRROR_H
#define TROUPE_PROTOCOL_STATE_MIRROR_H

#include "protocol/buffer.h"
#include "protocol/state.h"

#include <stdbool.h>

struct message;

#define STATE_MIRROR_SIZE_MAX (256u << 20) /* of an encoded state */

enum mirror_change {
    MIRROR_UNTOUCHED, /* not a message for the mirror, or one more part */
    MIRROR_WELCOMED,  /* node and cluster are known */
    MIRROR_REPLACED,  /* a snapshot: anything may have changed */
    MIRROR_APPLIED    /* one event */
};

struct state_mirror {
    struct state state;
    bool has_state;
    bool is_lost; /* something was missing: the next welcome begins anew */
    struct node_id node_id;       /* of our node; zero before the first welcome */
    struct cluster_id cluster_id;
    struct buffer incoming;
    uint64_t incoming_index;
    uint64_t incoming_total;
};

void state_mirror_init(struct state_mirror *mirror);
void state_mirror_fini(struct state_mirror *mirror);

/* What to put into the next hello: the last event applied, 0 when there is no state. */
uint64_t state_mirror_index(const struct state_mirror *mirror);
/* Takes welcomes, snapshot parts and events; anything else leaves it untouched.  After a failure
 * the mirror is empty. */
MUST_CHECK enum status state_mirror_take(struct state_mirror *mirror,
                                         const struct message *message,
                                         enum mirror_change *change_out, struct reason *reason);

#endif
