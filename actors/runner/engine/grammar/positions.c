/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/grammar/positions.h"

#include "protocol/memory.h"

#include <stdlib.h>
#include <string.h>

enum { SEEN_SLOTS = 1 << 14, HASH_SLOTS = 1 << 14, FRAME_SLOTS = 1 << 15 };

_Static_assert(SEEN_SLOTS >= 4 * POSITIONS_WAYS_MAX / 2, "a closure must fit into its table");
_Static_assert(HASH_SLOTS >= 2 * POSITIONS_MAX, "half of the slots stay free");
_Static_assert(FRAME_SLOTS >= 2 * POSITIONS_FRAMES_MAX, "half of the slots stay free");

static uint32_t hash_of(uint32_t a, uint32_t b)
{
    uint64_t mixed = ((uint64_t)a << 32 | b) * 0x9e3779b97f4a7c15U;
    mixed ^= mixed >> 29;
    mixed *= 0xbf58476d1ce4e5b9U;
    return (uint32_t)(mixed >> 32);
}

static uint32_t fail(struct positions *positions, enum status status)
{
    if (positions->failed == STATUS_OK)
        positions->failed = status;
    return POSITION_DEAD;
}

/* ---- what is known ---- */

static bool grow(struct positions *positions, void **items, uint32_t wanted, uint32_t *capacity,
                 uint32_t most, size_t size)
{
    if (wanted <= *capacity)
        return true;
    if (wanted > most) {
        (void)fail(positions, STATUS_TOO_LARGE);
        return false;
    }
    uint32_t larger = *capacity ? *capacity * 2 : 256;
    while (larger < wanted)
        larger *= 2;
    void *grown = memory_resized(*items, larger, size);
    if (!grown) {
        (void)fail(positions, STATUS_NO_MEMORY);
        return false;
    }
    *items = grown;
    *capacity = larger;
    return true;
}

static uint32_t frame_of(struct positions *positions, uint32_t state, uint32_t parent)
{
    uint32_t slot = hash_of(state, parent) % FRAME_SLOTS;
    for (; positions->frame_slots[slot]; slot = (slot + 1) % FRAME_SLOTS) {
        const struct frame *known = &positions->frames[positions->frame_slots[slot]];
        if (known->state == state && known->parent == parent)
            return positions->frame_slots[slot];
    }
    void *frames = positions->frames;
    if (!grow(positions, &frames, positions->frame_count + 1, &positions->frame_capacity,
              POSITIONS_FRAMES_MAX, sizeof(struct frame)))
        return 0;
    positions->frames = frames;
    positions->frames[positions->frame_count] =
        (struct frame){state, parent, positions->frames[parent].depth + 1};
    positions->frame_slots[slot] = positions->frame_count;
    return positions->frame_count++;
}

static int compare(const void *left, const void *right)
{
    const struct item *a = left;
    const struct item *b = right;
    if (a->state != b->state)
        return a->state < b->state ? -1 : 1;
    return a->frame < b->frame ? -1 : a->frame > b->frame;
}

/* Room for one more position with the found items. */
static bool make_room(struct positions *positions)
{
    const uint32_t classes = positions->automaton->class_count;
    uint32_t capacity = positions->capacity;
    uint32_t part_capacity = positions->item_capacity;
    void *list = positions->list;
    void *items = positions->items;
    void *parts = positions->parts;
    const uint32_t item_count = positions->item_count + positions->found_count;
    if (!grow(positions, &parts, item_count, &part_capacity, POSITIONS_ITEMS_MAX, sizeof(uint32_t)))
        return false;
    positions->parts = parts;
    if (!grow(positions, &items, item_count, &positions->item_capacity, POSITIONS_ITEMS_MAX,
              sizeof(struct item)))
        return false;
    positions->items = items;
    if (!grow(positions, &list, positions->count + 1, &capacity, POSITIONS_MAX,
              sizeof(struct position)))
        return false;
    positions->list = list;
    if (positions->capacity == capacity)
        return true;
    uint32_t *next = memory_resized(positions->next, (size_t)capacity * classes, sizeof(*next));
    if (!next) {
        (void)fail(positions, STATUS_NO_MEMORY);
        return false;
    }
    positions->next = next;
    positions->capacity = capacity;
    return true;
}

/* The number of the position with the found items. */
static uint32_t position_of(struct positions *positions)
{
    const size_t size = positions->found_count * sizeof(struct item);
    if (positions->failed != STATUS_OK || (positions->found_count == 0 && !positions->found_end))
        return POSITION_DEAD;
    if (positions->found_count > 1)
        qsort(positions->found, positions->found_count, sizeof(struct item), compare);
    uint32_t hash = positions->found_end;
    for (uint32_t at = 0; at < positions->found_count; at++)
        hash = hash_of(hash, hash_of(positions->found[at].state, positions->found[at].frame));
    uint32_t slot = hash % HASH_SLOTS;
    for (; positions->slots[slot]; slot = (slot + 1) % HASH_SLOTS) {
        const struct position *known = &positions->list[positions->slots[slot]];
        if (known->count == positions->found_count && known->accepts == positions->found_end &&
            (size == 0 || memcmp(positions->items + known->first, positions->found, size) == 0))
            return positions->slots[slot];
    }
    if (!make_room(positions))
        return POSITION_DEAD;
    if (size > 0) {
        memcpy(positions->items + positions->item_count, positions->found, size);
        memset(positions->parts + positions->item_count, POSITION_DEAD,
               positions->found_count * sizeof(uint32_t));
    }
    const uint32_t classes = positions->automaton->class_count;
    const uint32_t number = positions->count++;
    positions->list[number] = (struct position){.first = positions->item_count,
                                                .count = positions->found_count,
                                                .accepts = positions->found_end,
                                                .plain_next = POSITION_UNKNOWN};
    positions->item_count += positions->found_count;
    positions->slots[slot] = number;
    memset(positions->next + (size_t)number * classes, 0xff, classes * sizeof(uint32_t));
    return number;
}

/* ---- moving ---- */

static void closure_begin(struct positions *positions)
{
    positions->work_count = positions->found_count = positions->seen_count = 0;
    positions->found_end = false;
    if (++positions->stamp == 0) {
        memset(positions->seen_stamp, 0, SEEN_SLOTS * sizeof(uint32_t));
        positions->stamp = 1;
    }
}

static void add(struct positions *positions, uint32_t state, uint32_t frame)
{
    uint32_t slot = hash_of(state, frame) % SEEN_SLOTS;
    for (; positions->seen_stamp[slot] == positions->stamp; slot = (slot + 1) % SEEN_SLOTS)
        if (positions->seen[slot].state == state && positions->seen[slot].frame == frame)
            return;
    if (positions->work_count == POSITIONS_WAYS_MAX || positions->seen_count == SEEN_SLOTS / 2) {
        (void)fail(positions, STATUS_TOO_LARGE);
        return;
    }
    positions->seen_count++;
    positions->seen_stamp[slot] = positions->stamp;
    positions->seen[slot] = (struct item){state, frame};
    positions->work[positions->work_count++] = (struct item){state, frame};
}

static void follow_call(struct positions *positions, const struct edge *edge, uint32_t frame)
{
    const struct automaton *automaton = positions->automaton;
    const uint32_t target = edge->target;
    uint32_t below = frame;
    /* Nothing is left to do there but to go back further: no frame for that. */
    const bool is_last =
        automaton->is_end[target] && automaton->first[target] == automaton->first[target + 1];
    if (!is_last) {
        if (positions->frames[frame].depth >= POSITIONS_DEPTH_MAX)
            return; /* too deep: this way is closed */
        below = frame_of(positions, target, frame);
    }
    if (positions->failed == STATUS_OK)
        add(positions, automaton->rules[edge->rule].start, below);
}

/* Counts the edges of a state; false: it is more than one token may take. */
static bool may_step(struct positions *positions, uint32_t state)
{
    positions->steps +=
        1 + positions->automaton->first[state + 1] - positions->automaton->first[state];
    if (positions->steps <= POSITIONS_STEPS_MAX)
        return true;
    (void)fail(positions, STATUS_TOO_LARGE);
    return false;
}

/* All that is reached from the added items without a byte. */
static uint32_t closure_end(struct positions *positions)
{
    const struct automaton *automaton = positions->automaton;
    while (positions->work_count > 0 && positions->failed == STATUS_OK) {
        const struct item item = positions->work[--positions->work_count];
        bool reads = false;
        if (!may_step(positions, item.state))
            return POSITION_DEAD;
        for (uint32_t at = automaton->first[item.state]; at < automaton->first[item.state + 1];
             at++) {
            const struct edge *edge = &automaton->edges[at];
            if (edge->kind == EDGE_BYTES)
                reads = true;
            else if (edge->kind == EDGE_SKIP)
                add(positions, edge->target, item.frame);
            else
                follow_call(positions, edge, item.frame);
        }
        if (automaton->is_end[item.state] && item.frame == 0)
            positions->found_end = true;
        else if (automaton->is_end[item.state])
            add(positions, positions->frames[item.frame].state,
                positions->frames[item.frame].parent);
        if (!reads)
            continue;
        if (positions->found_count == POSITIONS_WAYS_MAX)
            return fail(positions, STATUS_TOO_LARGE);
        positions->found[positions->found_count++] = item;
    }
    return position_of(positions);
}

uint32_t positions_compute(struct positions *positions, uint32_t from, uint8_t byte)
{
    const struct automaton *automaton = positions->automaton;
    const uint32_t first = positions->list[from].first;
    const uint32_t count = positions->list[from].count;
    if (positions->failed != STATUS_OK)
        return POSITION_DEAD;
    closure_begin(positions);
    for (uint32_t at = 0; at < count; at++) {
        const struct item item = positions->items[first + at];
        if (!may_step(positions, item.state))
            return POSITION_DEAD;
        for (uint32_t edge = automaton->first[item.state]; edge < automaton->first[item.state + 1];
             edge++) {
            const struct edge *one = &automaton->edges[edge];
            if (one->kind == EDGE_BYTES && byte >= one->low && byte <= one->high)
                add(positions, one->target, item.frame);
        }
    }
    const uint32_t next = closure_end(positions);
    if (positions->failed == STATUS_OK)
        positions->next[(size_t)from * automaton->class_count + automaton->classes[byte]] = next;
    return next;
}

uint32_t positions_part(struct positions *positions, uint32_t position, uint32_t number)
{
    const uint32_t at = positions->list[position].first + number;
    if (positions->parts[at] == POSITION_DEAD && positions->failed == STATUS_OK) {
        closure_begin(positions);
        positions->found[positions->found_count++] = positions->items[at];
        const uint32_t part = position_of(positions);
        if (part != POSITION_DEAD)
            positions->parts[at] = part;
    }
    return positions->parts[at];
}

uint32_t positions_at_state(struct positions *positions, uint32_t state)
{
    closure_begin(positions);
    add(positions, state, 0);
    return closure_end(positions);
}

uint32_t positions_carry(const struct positions *source, uint32_t position,
                         struct positions *target)
{
    const struct position *here = &source->list[position];
    const struct item *items = source->items + here->first;
    uint32_t *moved = memory_zeroed(source->frame_count, sizeof(uint32_t));
    if (!moved)
        return fail(target, STATUS_NO_MEMORY);
    for (uint32_t at = 0; at < here->count; at++)
        for (uint32_t frame = items[at].frame; frame && !moved[frame];
             frame = source->frames[frame].parent)
            moved[frame] = 1;
    /* Parents have lower numbers. */
    for (uint32_t frame = 1; frame < source->frame_count && target->failed == STATUS_OK; frame++)
        if (moved[frame])
            moved[frame] =
                frame_of(target, source->frames[frame].state, moved[source->frames[frame].parent]);
    closure_begin(target);
    for (uint32_t at = 0; at < here->count; at++)
        target->found[at] = (struct item){items[at].state, moved[items[at].frame]};
    memory_free(moved);
    target->found_count = here->count;
    target->found_end = here->accepts;
    return position_of(target);
}

/* ---- life ---- */

static bool take_memory(struct positions *positions)
{
    void *frames = NULL;
    void *list = NULL;
    positions->frame_slots = memory_zeroed(FRAME_SLOTS, sizeof(uint32_t));
    positions->slots = memory_zeroed(HASH_SLOTS, sizeof(uint32_t));
    positions->work = memory_zeroed(POSITIONS_WAYS_MAX, sizeof(struct item));
    positions->found = memory_zeroed(POSITIONS_WAYS_MAX, sizeof(struct item));
    positions->seen = memory_zeroed(SEEN_SLOTS, sizeof(struct item));
    positions->seen_stamp = memory_zeroed(SEEN_SLOTS, sizeof(uint32_t));
    if (!positions->frame_slots || !positions->slots || !positions->work || !positions->found ||
        !positions->seen || !positions->seen_stamp)
        return false;
    if (!grow(positions, &list, 1, &positions->capacity, POSITIONS_MAX, sizeof(struct position)))
        return false;
    positions->list = list;
    positions->list[0] = (struct position){.first = 0};
    positions->count = 1;
    if (!grow(positions, &frames, 1, &positions->frame_capacity, POSITIONS_FRAMES_MAX,
              sizeof(struct frame)))
        return false;
    positions->frames = frames;
    positions->frames[0] = (struct frame){0, 0, 0};
    positions->frame_count = 1;
    positions->next = memory_zeroed((size_t)positions->capacity * positions->automaton->class_count,
                                    sizeof(uint32_t));
    return positions->next != NULL;
}

enum status positions_open(const struct automaton *automaton, struct positions **positions_out)
{
    struct positions *positions = memory_zeroed(1, sizeof(*positions));
    if (!positions)
        return STATUS_NO_MEMORY;
    positions->holders = 1;
    positions->automaton = automaton;
    if (!take_memory(positions))
        (void)fail(positions, STATUS_NO_MEMORY);
    if (positions->failed == STATUS_OK) {
        if (positions_at_state(positions, automaton->rules[automaton->root].start) !=
            POSITION_START)
            (void)fail(positions, STATUS_TOO_LARGE); /* all ways are too deep */
    }
    const enum status status = positions->failed;
    if (status == STATUS_OK)
        *positions_out = positions;
    else
        positions_release(positions);
    return status;
}

void positions_hold(struct positions *positions)
{
    positions->holders++;
}

void positions_release(struct positions *positions)
{
    if (!positions || --positions->holders > 0)
        return;
    for (uint32_t at = 0; at < positions->mask_count; at++)
        memory_free(positions->masks[at]);
    memory_free(positions->items);
    memory_free(positions->parts);
    memory_free(positions->frames);
    memory_free(positions->frame_slots);
    memory_free(positions->list);
    memory_free(positions->slots);
    memory_free(positions->next);
    memory_free(positions->work);
    memory_free(positions->found);
    memory_free(positions->seen);
    memory_free(positions->seen_stamp);
    memory_free(positions);
}

size_t positions_memory(const struct positions *positions)
{
    return sizeof(*positions) + positions->mask_bytes +
           positions->item_capacity * (sizeof(struct item) + sizeof(uint32_t)) +
           positions->frame_capacity * sizeof(struct frame) +
           (FRAME_SLOTS + HASH_SLOTS + SEEN_SLOTS) * sizeof(uint32_t) +
           (SEEN_SLOTS + 2 * POSITIONS_WAYS_MAX) * sizeof(struct item) +
           positions->capacity * sizeof(struct position) +
           (size_t)positions->capacity * positions->automaton->class_count * sizeof(uint32_t);
}
