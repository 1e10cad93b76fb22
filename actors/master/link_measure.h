/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link_measure: how one other node answers at its address: whether, how soon and how fast.
 *
 * Pure.  A small echo each turn tells that it answers and how soon; now and then, while nothing
 * else needs the link, echoes with a load tell how fast.  A load grows by four until it takes
 * long enough to be timed, so that a slow link never carries more than a moment's worth; it is then
 * sent twice and the less counts, since either end may have been busy with something else; of two
 * such bursts the faster counts, so that a link that became slower is known after two.
 *
 * Owner    links.c, one for each slot of a node.
 * Memory   none.
 * Threads  one.
 * Fails    never.
 */
#ifndef TROUPE_ACTORS_MASTER_LINK_MEASURE_H
#define TROUPE_ACTORS_MASTER_LINK_MEASURE_H

#include "protocol/schema.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    LINK_TURN_MS = 5000,       /* between small echoes */
    LINK_AWAY_MS = 7500,       /* it missed a turn of its own */
    LINK_SILENT_MS = 12000,    /* two turns unanswered, and some air: it does not answer */
    LINK_BURST_MS = 60000,     /* between bursts to one node */
    LINK_BURST_FIRST_MS = 7000, /* after the first answer: the latency is known by then */
    LINK_LOAD_MIN = 16u << 10, /* 130 ms at 1 Mb/s, well within a lease */
    LINK_LOAD_MAX = 1u << 20,
    LINK_LOAD_LONG_US = 4000   /* a load that took so long is long enough to be timed */
};

struct link_measure {
    struct node_id node_id;
    uint64_t number; /* of the echo on its way; 0: none */
    uint32_t load;   /* its size */
    uint64_t sent_us;
    uint64_t answered_ms; /* 0: never */
    uint64_t since_ms;    /* never answered since then */
    uint64_t heard_ms;    /* when it asked us last; 0: never */
    uint64_t back_ms;     /* when it did so first after it was away */
    uint64_t latency_us[2]; /* the last two, newest first; the less counts */
    uint64_t bytes_per_s[2]; /* of the last two bursts, newest first; the more counts; 0: none */
    uint64_t burst_ms;      /* when that was measured */
    uint64_t burst_at_ms;   /* when the next is due */
    bool is_bursting;
    uint64_t tried_us; /* what the same load took before; 0: it is the first */
};

/* Nothing is known of that node; `*measure` is forgotten. */
void link_measure_begin(struct link_measure *measure, const struct node_id *node_id,
                        uint64_t now_ms);
/* The size of the load to send now under `number`; `may_burst`: nothing else needs the link. */
uint32_t link_measure_ask(struct link_measure *measure, uint64_t number, uint64_t now_ms,
                          uint64_t now_us, bool may_burst);
/* An answer came; true when the next echo of a burst is to be sent at once. */
bool link_measure_told(struct link_measure *measure, const struct echo_told *told,
                       uint64_t now_ms, uint64_t now_us);
/* The connection broke: what was on its way is lost. */
void link_measure_lost(struct link_measure *measure, uint64_t now_ms);
/* It asked us.  After it was away, whether we reach it has to be seen anew, and until then it is
 * not known: our connection may come up later than its own.  True: it was away. */
bool link_measure_heard(struct link_measure *measure, uint64_t now_ms);
/* All but the address; false while there is nothing to tell: it never answered, but had no time to
 * do so either. */
bool link_measure_tell(const struct link_measure *measure, uint64_t now_ms,
                       struct link_measured *told_out);

#endif
