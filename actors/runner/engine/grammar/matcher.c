/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/grammar/matcher.h"

#include "protocol/memory.h"

#include <stdlib.h>
#include <string.h>

enum { DEAD = 0, UNKNOWN = UINT32_MAX };
enum { SEEN_SLOTS = 1 << 14, HASH_SLOTS = 1 << 14, FRAME_SLOTS = 1 << 15 };

_Static_assert(SEEN_SLOTS >= 4 * MATCHER_WAYS_MAX / 2, "a closure must fit into its table");
_Static_assert(HASH_SLOTS >= 2 * MATCHER_POSITIONS_MAX, "half of the slots stay free");
_Static_assert(FRAME_SLOTS >= 2 * MATCHER_FRAMES_MAX, "half of the slots stay free");

/* A stack: the state on top, and below it the states to come back to. */
struct item {
    uint32_t state;
    uint32_t frame; /* 0: the bottom */
};

struct frame {
    uint32_t state;
    uint32_t parent;
    uint32_t depth;
};

struct position {
    uint32_t first;
    uint32_t count;
    bool accepts;
    uint32_t *mask;
};

struct matcher {
    struct automaton automaton;
    const struct vocabulary *vocabulary;
    struct item *items;
    uint32_t item_count, item_capacity;
    struct frame *frames; /* frames[0] is the bottom */
    uint32_t frame_count, frame_capacity;
    uint32_t *frame_slots;
    struct position *positions; /* positions[0] is dead */
    uint32_t position_count, position_capacity;
    uint32_t *position_slots;
    uint32_t *next; /* [position][class] */
    size_t mask_bytes;
    struct item work[MATCHER_WAYS_MAX]; /* a closure under way */
    uint32_t work_count;
    struct item found[MATCHER_WAYS_MAX];
    uint32_t found_count;
    bool found_end;
    struct item seen[SEEN_SLOTS];
    uint32_t seen_stamp[SEEN_SLOTS];
    uint32_t stamp, seen_count;
    uint32_t here;
    bool has_ended;     /* a token said so */
    enum status failed; /* of the present call */
};

static uint32_t hash_of(uint32_t a, uint32_t b)
{
    uint64_t mixed = ((uint64_t)a << 32 | b) * 0x9e3779b97f4a7c15U;
    mixed ^= mixed >> 29;
    mixed *= 0xbf58476d1ce4e5b9U;
    return (uint32_t)(mixed >> 32);
}

static uint32_t fail(struct matcher *matcher, enum status status)
{
    if (matcher->failed == STATUS_OK)
        matcher->failed = status;
    return DEAD;
}

/* ---- what is known ---- */

static bool grow(struct matcher *matcher, void **items, uint32_t wanted, uint32_t *capacity,
                 uint32_t most, size_t size)
{
    if (wanted <= *capacity)
        return true;
    if (wanted > most) {
        (void)fail(matcher, STATUS_TOO_LARGE);
        return false;
    }
    uint32_t larger = *capacity ? *capacity * 2 : 256;
    while (larger < wanted)
        larger *= 2;
    void *grown = memory_resized(*items, larger, size);
    if (!grown) {
        (void)fail(matcher, STATUS_NO_MEMORY);
        return false;
    }
    *items = grown;
    *capacity = larger;
    return true;
}

static uint32_t frame_of(struct matcher *matcher, uint32_t state, uint32_t parent)
{
    uint32_t slot = hash_of(state, parent) % FRAME_SLOTS;
    for (; matcher->frame_slots[slot]; slot = (slot + 1) % FRAME_SLOTS) {
        const struct frame *known = &matcher->frames[matcher->frame_slots[slot]];
        if (known->state == state && known->parent == parent)
            return matcher->frame_slots[slot];
    }
    void *frames = matcher->frames;
    if (!grow(matcher, &frames, matcher->frame_count + 1, &matcher->frame_capacity,
              MATCHER_FRAMES_MAX, sizeof(struct frame)))
        return 0;
    matcher->frames = frames;
    matcher->frames[matcher->frame_count] =
        (struct frame){state, parent, matcher->frames[parent].depth + 1};
    matcher->frame_slots[slot] = matcher->frame_count;
    return matcher->frame_count++;
}

static int compare(const void *left, const void *right)
{
    const struct item *a = left;
    const struct item *b = right;
    if (a->state != b->state)
        return a->state < b->state ? -1 : 1;
    return a->frame < b->frame ? -1 : a->frame > b->frame;
}

/* The number of the position with the found items. */
static uint32_t position_of(struct matcher *matcher)
{
    const size_t size = matcher->found_count * sizeof(struct item);
    if (matcher->failed != STATUS_OK || (matcher->found_count == 0 && !matcher->found_end))
        return DEAD;
    if (matcher->found_count > 1)
        qsort(matcher->found, matcher->found_count, sizeof(struct item), compare);
    uint32_t hash = matcher->found_end;
    for (uint32_t at = 0; at < matcher->found_count; at++)
        hash = hash_of(hash, hash_of(matcher->found[at].state, matcher->found[at].frame));
    uint32_t slot = hash % HASH_SLOTS;
    for (; matcher->position_slots[slot]; slot = (slot + 1) % HASH_SLOTS) {
        const struct position *known = &matcher->positions[matcher->position_slots[slot]];
        if (known->count == matcher->found_count && known->accepts == matcher->found_end &&
            (size == 0 || memcmp(matcher->items + known->first, matcher->found, size) == 0))
            return matcher->position_slots[slot];
    }
    const uint32_t classes = matcher->automaton.class_count;
    const uint32_t capacity = matcher->position_capacity;
    void *positions = matcher->positions;
    void *items = matcher->items;
    if (!grow(matcher, &items, matcher->item_count + matcher->found_count, &matcher->item_capacity,
              MATCHER_ITEMS_MAX, sizeof(struct item)))
        return DEAD;
    matcher->items = items;
    if (!grow(matcher, &positions, matcher->position_count + 1, &matcher->position_capacity,
              MATCHER_POSITIONS_MAX, sizeof(struct position)))
        return DEAD;
    matcher->positions = positions;
    if (matcher->position_capacity != capacity) {
        uint32_t *next = memory_resized(matcher->next, (size_t)matcher->position_capacity * classes,
                                        sizeof(uint32_t));
        if (!next) {
            matcher->position_capacity = capacity;
            return fail(matcher, STATUS_NO_MEMORY);
        }
        matcher->next = next;
    }
    if (size > 0)
        memcpy(matcher->items + matcher->item_count, matcher->found, size);
    const uint32_t number = matcher->position_count++;
    matcher->positions[number] = (struct position){
        .first = matcher->item_count, .count = matcher->found_count, .accepts = matcher->found_end};
    matcher->item_count += matcher->found_count;
    matcher->position_slots[slot] = number;
    memset(matcher->next + (size_t)number * classes, 0xff, classes * sizeof(uint32_t));
    return number;
}

/* ---- moving ---- */

static void closure_begin(struct matcher *matcher)
{
    matcher->work_count = matcher->found_count = matcher->seen_count = 0;
    matcher->found_end = false;
    if (++matcher->stamp == 0) {
        memset(matcher->seen_stamp, 0, sizeof(matcher->seen_stamp));
        matcher->stamp = 1;
    }
}

static void add(struct matcher *matcher, uint32_t state, uint32_t frame)
{
    uint32_t slot = hash_of(state, frame) % SEEN_SLOTS;
    for (; matcher->seen_stamp[slot] == matcher->stamp; slot = (slot + 1) % SEEN_SLOTS)
        if (matcher->seen[slot].state == state && matcher->seen[slot].frame == frame)
            return;
    if (matcher->work_count == MATCHER_WAYS_MAX || matcher->seen_count == SEEN_SLOTS / 2) {
        (void)fail(matcher, STATUS_TOO_LARGE);
        return;
    }
    matcher->seen_count++;
    matcher->seen_stamp[slot] = matcher->stamp;
    matcher->seen[slot] = (struct item){state, frame};
    matcher->work[matcher->work_count++] = (struct item){state, frame};
}

static void follow_call(struct matcher *matcher, const struct edge *edge, uint32_t frame)
{
    const struct automaton *automaton = &matcher->automaton;
    const uint32_t target = edge->target;
    uint32_t below = frame;
    /* Nothing is left to do there but to go back further: no frame for that. */
    const bool is_last =
        automaton->is_end[target] && automaton->first[target] == automaton->first[target + 1];
    if (!is_last) {
        if (matcher->frames[frame].depth >= MATCHER_DEPTH_MAX)
            return; /* too deep: this way is closed */
        below = frame_of(matcher, target, frame);
    }
    if (matcher->failed == STATUS_OK)
        add(matcher, automaton->rules[edge->rule].start, below);
}

/* All that is reached from the added items without a byte. */
static uint32_t closure_end(struct matcher *matcher)
{
    const struct automaton *automaton = &matcher->automaton;
    while (matcher->work_count > 0 && matcher->failed == STATUS_OK) {
        const struct item item = matcher->work[--matcher->work_count];
        bool reads = false;
        for (uint32_t at = automaton->first[item.state]; at < automaton->first[item.state + 1];
             at++) {
            const struct edge *edge = &automaton->edges[at];
            if (edge->kind == EDGE_BYTES)
                reads = true;
            else if (edge->kind == EDGE_SKIP)
                add(matcher, edge->target, item.frame);
            else
                follow_call(matcher, edge, item.frame);
        }
        if (automaton->is_end[item.state] && item.frame == 0)
            matcher->found_end = true;
        else if (automaton->is_end[item.state])
            add(matcher, matcher->frames[item.frame].state, matcher->frames[item.frame].parent);
        if (!reads)
            continue;
        if (matcher->found_count == MATCHER_WAYS_MAX)
            return fail(matcher, STATUS_TOO_LARGE);
        matcher->found[matcher->found_count++] = item;
    }
    return position_of(matcher);
}

static uint32_t compute_next(struct matcher *matcher, uint32_t from, uint8_t byte)
{
    const struct automaton *automaton = &matcher->automaton;
    const uint32_t first = matcher->positions[from].first;
    const uint32_t count = matcher->positions[from].count;
    closure_begin(matcher);
    for (uint32_t at = 0; at < count; at++) {
        const struct item item = matcher->items[first + at];
        for (uint32_t edge = automaton->first[item.state]; edge < automaton->first[item.state + 1];
             edge++) {
            const struct edge *one = &automaton->edges[edge];
            if (one->kind == EDGE_BYTES && byte >= one->low && byte <= one->high)
                add(matcher, one->target, item.frame);
        }
    }
    return closure_end(matcher);
}

static inline uint32_t next_of(struct matcher *matcher, uint32_t from, uint8_t byte)
{
    const size_t place =
        (size_t)from * matcher->automaton.class_count + matcher->automaton.classes[byte];
    uint32_t next = matcher->next[place];
    if (next == UNKNOWN) {
        next = compute_next(matcher, from, byte);
        if (matcher->failed == STATUS_OK)
            matcher->next[place] = next;
    }
    return next;
}

/* ---- forgetting ---- */

static void forget(struct matcher *matcher)
{
    for (uint32_t at = 0; at < matcher->position_count; at++)
        memory_free(matcher->positions[at].mask);
    memset(matcher->position_slots, 0, HASH_SLOTS * sizeof(uint32_t));
    memset(matcher->frame_slots, 0, FRAME_SLOTS * sizeof(uint32_t));
    memset(matcher->next, 0xff, matcher->automaton.class_count * sizeof(uint32_t));
    matcher->positions[0] = (struct position){.first = 0};
    matcher->item_count = 0;
    matcher->frame_count = matcher->position_count = 1;
    matcher->mask_bytes = 0;
}

/* Keeps the present position only: its frames come to the front of their array, parents first. */
static void forget_others(struct matcher *matcher)
{
    const struct position here = matcher->positions[matcher->here];
    uint32_t *moved = memory_zeroed(matcher->frame_count, sizeof(uint32_t));
    if (!moved) {
        (void)fail(matcher, STATUS_NO_MEMORY);
        return;
    }
    for (uint32_t at = 0; at < here.count; at++)
        for (uint32_t frame = matcher->items[here.first + at].frame; frame && !moved[frame];
             frame = matcher->frames[frame].parent)
            moved[frame] = 1;
    memcpy(matcher->found, matcher->items + here.first, here.count * sizeof(struct item));
    const uint32_t frame_count = matcher->frame_count;
    forget(matcher);
    for (uint32_t frame = 1; frame < frame_count; frame++) {
        const struct frame kept = matcher->frames[frame]; /* parents have lower numbers */
        if (moved[frame])
            moved[frame] = frame_of(matcher, kept.state, moved[kept.parent]);
    }
    for (uint32_t at = 0; at < here.count; at++)
        matcher->found[at].frame = moved[matcher->found[at].frame];
    memory_free(moved);
    matcher->found_count = here.count;
    matcher->found_end = here.accepts;
    matcher->here = position_of(matcher);
}

/* After a call that ran into a limit: once more with nothing remembered. */
static bool may_retry(struct matcher *matcher, unsigned attempt)
{
    if (matcher->failed != STATUS_TOO_LARGE || attempt > 0)
        return false;
    matcher->failed = STATUS_OK;
    forget_others(matcher);
    return matcher->failed == STATUS_OK;
}

static enum status failure(const struct matcher *matcher, struct reason *reason)
{
    if (matcher->failed == STATUS_TOO_LARGE)
        return refuse(reason, STATUS_TOO_LARGE,
                      "the grammar explodes: too many ways are open at one place of the answer; "
                      "make its alternatives differ sooner or its counts smaller");
    return refuse(reason, matcher->failed, "no memory for the grammar");
}

/* ---- masks ---- */

/* All plain characters lead back to the position: by way of the bytes of a character. */
static bool is_free(struct matcher *matcher, uint32_t from)
{
    static const struct {
        uint8_t low, high; /* leads */
        uint8_t second_low, second_high;
        uint8_t more; /* bytes after the second */
    } rows[] = {{0xc2, 0xdf, 0x80, 0xbf, 0}, {0xe0, 0xe0, 0xa0, 0xbf, 1},
                {0xe1, 0xec, 0x80, 0xbf, 1}, {0xed, 0xed, 0x80, 0x9f, 1},
                {0xee, 0xef, 0x80, 0xbf, 1}, {0xf0, 0xf0, 0x90, 0xbf, 2},
                {0xf1, 0xf3, 0x80, 0xbf, 2}, {0xf4, 0xf4, 0x80, 0x8f, 2}};
    for (unsigned byte = ' '; byte < 0x7f; byte++)
        if (byte != '"' && byte != '\\' && next_of(matcher, from, (uint8_t)byte) != from)
            return false;
    for (size_t row = 0; row < COUNT_OF(rows); row++) {
        for (unsigned lead = rows[row].low; lead <= rows[row].high; lead++) {
            const uint32_t after_lead = next_of(matcher, from, (uint8_t)lead);
            uint32_t after_second = UNKNOWN;
            for (unsigned byte = rows[row].second_low; byte <= rows[row].second_high; byte++) {
                const uint32_t after = next_of(matcher, after_lead, (uint8_t)byte);
                if (after_second != UNKNOWN && after != after_second)
                    return false;
                after_second = after;
            }
            for (uint8_t more = rows[row].more; more > 0; more--) {
                const uint32_t before = after_second;
                after_second = next_of(matcher, before, 0x80);
                for (unsigned byte = 0x81; byte <= 0xbf; byte++)
                    if (next_of(matcher, before, (uint8_t)byte) != after_second)
                        return false;
            }
            if (after_second != from || matcher->failed != STATUS_OK)
                return false;
        }
    }
    return true;
}

static void walk(struct matcher *matcher, const struct vocabulary_entry *entries, size_t count,
                 uint32_t *mask)
{
    uint32_t places[VOCABULARY_TOKEN_SIZE_MAX + 1] = {matcher->here};
    size_t depth = 0; /* bytes of the last entry that were legal */
    for (size_t at = 0; at < count; at++) {
        const struct vocabulary_entry *entry = &entries[at];
        if (entry->shared > depth)
            continue; /* what it shares was not legal */
        depth = entry->shared;
        while (depth < entry->size) {
            const uint32_t next = next_of(matcher, places[depth], (uint8_t)entry->bytes[depth]);
            if (next == DEAD)
                break;
            places[++depth] = next;
        }
        if (depth == entry->size)
            mask[entry->id / 32] |= 1u << (entry->id % 32);
        if (matcher->failed != STATUS_OK)
            return;
    }
}

static uint32_t *make_mask(struct matcher *matcher)
{
    const struct vocabulary *vocabulary = matcher->vocabulary;
    uint32_t *mask = memory_zeroed(vocabulary->words, sizeof(uint32_t));
    if (!mask) {
        (void)fail(matcher, STATUS_NO_MEMORY);
        return NULL;
    }
    if (is_free(matcher, matcher->here))
        memcpy(mask, vocabulary->plain_mask, vocabulary->words * sizeof(uint32_t));
    else if (matcher->failed == STATUS_OK)
        walk(matcher, vocabulary->plain, vocabulary->plain_count, mask);
    if (matcher->failed == STATUS_OK)
        walk(matcher, vocabulary->others, vocabulary->others_count, mask);
    const bool accepts = matcher->positions[matcher->here].accepts;
    for (size_t word = 0; accepts && word < vocabulary->words; word++)
        mask[word] |= vocabulary->end_mask[word];
    if (matcher->failed == STATUS_OK)
        return mask;
    memory_free(mask);
    return NULL;
}

enum status matcher_mask(struct matcher *matcher, const uint32_t **mask_out, struct reason *reason)
{
    const size_t size = matcher->vocabulary->words * sizeof(uint32_t);
    matcher->failed = STATUS_OK;
    for (unsigned attempt = 0; !matcher->positions[matcher->here].mask; attempt++) {
        if (matcher->mask_bytes + size > MATCHER_MASK_BYTES_MAX && matcher->mask_bytes > 0)
            forget_others(matcher);
        uint32_t *mask = matcher->failed == STATUS_OK ? make_mask(matcher) : NULL;
        if (mask) {
            matcher->positions[matcher->here].mask = mask;
            matcher->mask_bytes += size;
        } else if (!may_retry(matcher, attempt)) {
            return failure(matcher, reason);
        }
    }
    *mask_out = matcher->positions[matcher->here].mask;
    return STATUS_OK;
}

/* ---- tokens ---- */

static uint32_t after_bytes(struct matcher *matcher, const char *bytes, size_t size)
{
    for (unsigned attempt = 0;; attempt++) {
        uint32_t place = matcher->here;
        for (size_t at = 0; at < size && place != DEAD; at++)
            place = next_of(matcher, place, (uint8_t)bytes[at]);
        if (matcher->failed == STATUS_OK || !may_retry(matcher, attempt))
            return place;
    }
}

bool matcher_advance_bytes(struct matcher *matcher, const char *bytes, size_t size)
{
    matcher->failed = STATUS_OK;
    const uint32_t next = after_bytes(matcher, bytes, size);
    if (next == DEAD || matcher->failed != STATUS_OK)
        return false;
    matcher->here = next;
    return true;
}

enum status matcher_advance(struct matcher *matcher, uint32_t id, struct reason *reason)
{
    const struct vocabulary *vocabulary = matcher->vocabulary;
    matcher->failed = STATUS_OK;
    if (id < vocabulary->rows && !matcher->has_ended) {
        const struct vocabulary_entry *forms[] = {&vocabulary->markers_by_id[id],
                                                  &vocabulary->by_id[id]};
        for (size_t at = 0; at < COUNT_OF(forms); at++) {
            if (forms[at]->bytes &&
                matcher_advance_bytes(matcher, forms[at]->bytes, forms[at]->size))
                return STATUS_OK;
            if (matcher->failed != STATUS_OK)
                return failure(matcher, reason);
        }
        if (matcher_may_end(matcher) && (vocabulary->end_mask[id / 32] >> (id % 32) & 1u)) {
            matcher->has_ended = true;
            return STATUS_OK;
        }
    }
    return refuse(reason, STATUS_INVALID, "token %u does not fit the grammar", id);
}

bool matcher_may_end(const struct matcher *matcher)
{
    return matcher->has_ended || matcher->positions[matcher->here].accepts;
}

bool matcher_is_over(const struct matcher *matcher)
{
    const struct position *here = &matcher->positions[matcher->here];
    return matcher->has_ended || (here->accepts && here->count == 0);
}

/* ---- life ---- */

static bool take_memory(struct matcher *matcher)
{
    void *positions = NULL;
    void *frames = NULL;
    matcher->frame_slots = memory_zeroed(FRAME_SLOTS, sizeof(uint32_t));
    matcher->position_slots = memory_zeroed(HASH_SLOTS, sizeof(uint32_t));
    if (!grow(matcher, &positions, 1, &matcher->position_capacity, MATCHER_POSITIONS_MAX,
              sizeof(struct position)))
        return false;
    matcher->positions = positions;
    matcher->positions[0] = (struct position){.first = 0};
    matcher->position_count = 1;
    if (!grow(matcher, &frames, 1, &matcher->frame_capacity, MATCHER_FRAMES_MAX,
              sizeof(struct frame)))
        return false;
    matcher->frames = frames;
    matcher->frames[0] = (struct frame){0, 0, 0};
    matcher->next = memory_zeroed(
        (size_t)matcher->position_capacity * matcher->automaton.class_count, sizeof(uint32_t));
    return matcher->frame_slots && matcher->position_slots && matcher->next;
}

void matcher_restart(struct matcher *matcher)
{
    matcher->has_ended = false;
    closure_begin(matcher);
    add(matcher, matcher->automaton.rules[matcher->automaton.root].start, 0);
    matcher->here = closure_end(matcher);
}

enum status matcher_open(struct automaton *automaton, const struct vocabulary *vocabulary,
                         struct matcher **matcher_out, struct reason *reason)
{
    struct matcher *matcher = memory_zeroed(1, sizeof(*matcher));
    if (!matcher) {
        automaton_fini(automaton);
        return refuse(reason, STATUS_NO_MEMORY, "no memory for the grammar");
    }
    matcher->automaton = *automaton;
    *automaton = (struct automaton){0};
    matcher->vocabulary = vocabulary;
    if (!take_memory(matcher)) {
        matcher_close(matcher);
        return refuse(reason, STATUS_NO_MEMORY, "no memory for the grammar");
    }
    forget(matcher);
    matcher_restart(matcher);
    if (matcher->failed != STATUS_OK || matcher->here == DEAD) {
        const enum status status = failure(matcher, reason);
        matcher_close(matcher);
        return status;
    }
    *matcher_out = matcher;
    return STATUS_OK;
}

void matcher_close(struct matcher *matcher)
{
    if (!matcher)
        return;
    for (uint32_t at = 0; at < matcher->position_count; at++)
        memory_free(matcher->positions[at].mask);
    automaton_fini(&matcher->automaton);
    memory_free(matcher->items);
    memory_free(matcher->frames);
    memory_free(matcher->frame_slots);
    memory_free(matcher->positions);
    memory_free(matcher->position_slots);
    memory_free(matcher->next);
    memory_free(matcher);
}

size_t matcher_memory(const struct matcher *matcher)
{
    return sizeof(*matcher) + matcher->mask_bytes + matcher->item_capacity * sizeof(struct item) +
           matcher->frame_capacity * sizeof(struct frame) + FRAME_SLOTS * sizeof(uint32_t) +
           HASH_SLOTS * sizeof(uint32_t) + matcher->position_capacity * sizeof(struct position) +
           (size_t)matcher->position_capacity * matcher->automaton.class_count * sizeof(uint32_t) +
           matcher->automaton.state_count * sizeof(uint32_t) +
           matcher->automaton.edge_count * sizeof(struct edge);
}
