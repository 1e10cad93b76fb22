/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weight_pace: the deadline by bytes of a rank that sends weights, and who is silent.
 *
 * Pure.  The rank that sends is the one that is judged, by what got through to all receivers
 * together: in each window of 3 s, and of two batches at least, no less than the rate allowed, one
 * batch aside as batches are counted when they are through.  It knows the cause: its own disk when
 * nothing is packed, else the receiver that does not take what is.  Receivers tell those who send
 * to them each second that they are there, so a link that is cut is found while nothing is sent.
 *
 * Time is counted in looks: what lies between two of them counts as PACE_LOOK_MAX_MS at most, since
 * a thread that did not run has not waited.
 *
 * Memory   one struct of the caller's.
 * Threads  none.
 */
#ifndef TROUPE_ACTORS_RUNNER_WEIGHT_PACE_H
#define TROUPE_ACTORS_RUNNER_WEIGHT_PACE_H

#include <stdbool.h>
#include <stdint.h>

#define PACE_WINDOW_MS 3000u
#define PACE_SAMPLES 12u /* of a window */
#define PACE_LOOK_MAX_MS 250u
/* So often a receiver says that it is there, */
#define PACE_ALIVE_MS 500u
/* and it is lost after so long without a word or a batch that got through. */
#define PACE_SILENT_MS 3000u

struct weight_pace {
    uint64_t looked_ms; /* by the caller's clock */
    uint64_t time_ms;   /* that counts, since the begin */
    uint64_t window_ms;
    uint64_t needed;    /* bytes in a window */
    uint64_t sampled_ms;
    uint64_t samples[PACE_SAMPLES]; /* bytes at the end of the last parts of a window, a ring */
    uint32_t taken;
};

/* `rate` in bytes a second, 0 for any; `grain` is the size of a batch. */
void weight_pace_begin(struct weight_pace *pace, uint64_t rate, uint64_t grain, uint64_t now_ms);
/* `bytes` that got through since the begin.  False when those of the last window are too few. */
bool weight_pace_holds(struct weight_pace *pace, uint64_t bytes, uint64_t now_ms);
/* Time that counted, for what else is measured in looks. */
uint64_t weight_pace_time(const struct weight_pace *pace);

#endif
