/* SPDX-License-Identifier: Apache-2.0 */
/*
 * positions: the places of a grammar that were reached so far, numbered.
 *
 * A position is a set of stacks of the automaton.  Stacks are shared (a frame knows its parent),
 * equal positions have one number, and the position after a byte is computed once.  Number 0 is
 * dead, number 1 the beginning.  Nothing is forgotten: at the limits below calls fail, and whoever
 * goes on does so in new positions.
 *
 * Owner    grammar.c, shared by the answers that stand in them.
 * Memory   at most about POSITIONS_MEMORY_MAX bytes.
 * Threads  one at a time.
 * Fails    `failed`: STATUS_TOO_LARGE (a limit), STATUS_NO_MEMORY; stays until it is cleared.  The
 *          steps are counted from where their owner last set them to 0.
 */
#ifndef TROUPE_ENGINE_GRAMMAR_POSITIONS_H
#define TROUPE_ENGINE_GRAMMAR_POSITIONS_H

#include "actors/runner/engine/grammar/automaton.h"

enum {
    POSITIONS_MAX = 8192,
    POSITIONS_ITEMS_MAX = 1 << 18,
    POSITIONS_FRAMES_MAX = 1 << 14,
    POSITIONS_WAYS_MAX = 4096, /* stacks of one position */
    POSITIONS_DEPTH_MAX = 512, /* frames of a stack */
    POSITIONS_MASKS_MAX = 1024,
    POSITIONS_MASK_BYTES_MAX = 8 << 20,
    POSITIONS_MEMORY_MAX = 32 << 20,
    POSITIONS_STEPS_MAX = 1 << 25, /* edges looked at for one token: some tenths of a second */
};

enum { POSITION_DEAD = 0, POSITION_START = 1, POSITION_UNKNOWN = UINT32_MAX };

/* A stack: the state on top, and below it the states to come back to. */
struct item {
    uint32_t state;
    uint32_t frame; /* 0: the bottom */
};

_Static_assert(sizeof(struct item) == 2 * sizeof(uint32_t), "items are compared as bytes");

struct frame {
    uint32_t state;
    uint32_t parent;
    uint32_t depth;
};

struct position {
    uint32_t first;
    uint32_t count;
    bool accepts;
    uint32_t plain_next;  /* where every plain character leads; POSITION_DEAD: to several places */
    const uint32_t *mask; /* one of `masks`, or NULL */
};

struct positions {
    uint32_t holders;
    const struct automaton *automaton;
    struct item *items;
    uint32_t item_count, item_capacity;
    uint32_t *parts; /* of each item: the position of it alone; POSITION_DEAD: not asked yet */
    bool is_wide;    /* texts lead to so many positions that masks are made part by part */
    struct frame *frames; /* frames[0] is the bottom */
    uint32_t frame_count, frame_capacity;
    uint32_t *frame_slots;
    struct position *list;
    uint32_t count, capacity;
    uint32_t *slots;
    uint32_t *next;                       /* [position][class] */
    uint32_t *masks[POSITIONS_MASKS_MAX]; /* each once */
    uint64_t mask_hashes[POSITIONS_MASKS_MAX];
    uint32_t mask_count;
    size_t mask_bytes;
    struct item *work; /* a closure under way */
    uint32_t work_count;
    struct item *found;
    uint32_t found_count;
    bool found_end;
    struct item *seen;
    uint32_t *seen_stamp;
    uint32_t stamp, seen_count;
    uint64_t steps; /* edges looked at */
    enum status failed;
};

/* With one holder. */
MUST_CHECK enum status positions_open(const struct automaton *automaton,
                                      struct positions **positions_out);
void positions_hold(struct positions *positions);
/* The last holder's release frees them; accepts NULL. */
void positions_release(struct positions *positions);

uint32_t positions_compute(struct positions *positions, uint32_t from, uint8_t byte);
/* The position of one of the stacks alone, from 0 to `count` of the position. */
uint32_t positions_part(struct positions *positions, uint32_t position, uint32_t number);
/* The place at one state of the automaton, with no state to come back to. */
uint32_t positions_at_state(struct positions *positions, uint32_t state);
/* The same place in other positions of the same automaton; dead when they cannot take it. */
uint32_t positions_carry(const struct positions *source, uint32_t position,
                         struct positions *target);
size_t positions_memory(const struct positions *positions);

/* Where a byte leads; dead also when it could not be found out. */
static inline uint32_t positions_next(struct positions *positions, uint32_t from, uint8_t byte)
{
    const struct automaton *automaton = positions->automaton;
    const uint32_t next =
        positions->next[(size_t)from * automaton->class_count + automaton->classes[byte]];
    return next != POSITION_UNKNOWN ? next : positions_compute(positions, from, byte);
}

#endif
