/* SPDX-License-Identifier: Apache-2.0 */
/*
 * room_choice: which models a node removes when another needs their room, least recently used
 * first.
 *
 * Memory   the caller's.
 * Threads  any; pure.
 * Fails    room_choose: NO_SPACE with the bytes that are missing and why nothing more may go.
 */
#ifndef TROUPE_ACTORS_DOWNLOADER_ROOM_CHOICE_H
#define TROUPE_ACTORS_DOWNLOADER_ROOM_CHOICE_H

#include "protocol/status.h"

#include <stdbool.h>

struct room_model {
    const char *model_id;
    uint64_t bytes;   /* that go with it */
    uint64_t used_ms; /* 0: never */
    bool is_kept;     /* pinned, running, or on its way from or to somebody */
    bool is_chosen;   /* the answer */
};

struct room_wanted {
    const char *what;     /* for whom */
    uint64_t bytes;       /* needed */
    uint64_t quota;       /* of all models together; 0: none */
    uint64_t free_bytes;  /* of the disk */
    uint64_t promised;    /* of the quota: to others who do not have it yet */
};

/* Marks the fewest of the oldest that make room; none when there is room.  Of those that were used
 * at the same time the larger goes first. */
MUST_CHECK enum status room_choose(const struct room_wanted *wanted, struct room_model *models,
                                   uint32_t count, struct reason *reason);

#endif
