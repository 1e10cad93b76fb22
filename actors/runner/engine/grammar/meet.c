/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/grammar/meet.h"

#include "protocol/memory.h"

struct pair {
    uint32_t left, right;
    uint32_t state; /* 0: a free slot */
};

struct meeting {
    struct automaton *automaton;
    struct pair *slots;
    uint32_t slot_count; /* a power of two */
    struct pair *work;
    uint32_t work_count, work_capacity;
    uint32_t pair_count;
    enum status status;
};

static uint32_t slot_of(const struct meeting *meeting, uint32_t left, uint32_t right)
{
    uint64_t mixed = ((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15U;
    uint32_t slot = (uint32_t)(mixed >> 40) & (meeting->slot_count - 1);
    while (meeting->slots[slot].state &&
           (meeting->slots[slot].left != left || meeting->slots[slot].right != right))
        slot = (slot + 1) & (meeting->slot_count - 1);
    return slot;
}

static bool grow(struct meeting *meeting)
{
    if (2 * meeting->pair_count < meeting->slot_count)
        return true;
    struct pair *before = meeting->slots;
    const uint32_t count = meeting->slot_count;
    meeting->slots = memory_zeroed((size_t)count * 2, sizeof(*before));
    if (!meeting->slots) {
        meeting->slots = before;
        meeting->status = STATUS_NO_MEMORY;
        return false;
    }
    meeting->slot_count = count * 2;
    for (uint32_t at = 0; at < count; at++)
        if (before[at].state)
            meeting->slots[slot_of(meeting, before[at].left, before[at].right)] = before[at];
    memory_free(before);
    return true;
}

/* The state of a pair, which is looked at later when it is new. */
static uint32_t state_of(struct meeting *meeting, uint32_t left, uint32_t right)
{
    if (meeting->status != STATUS_OK || !grow(meeting))
        return 0;
    const uint32_t slot = slot_of(meeting, left, right);
    if (meeting->slots[slot].state)
        return meeting->slots[slot].state;
    const uint32_t state = automaton_state(meeting->automaton);
    if (state == 0)
        return 0;
    if (meeting->work_count == meeting->work_capacity) {
        const uint32_t larger = meeting->work_capacity ? meeting->work_capacity * 2 : 256;
        struct pair *grown = memory_resized(meeting->work, larger, sizeof(*grown));
        if (!grown) {
            meeting->status = STATUS_NO_MEMORY;
            return 0;
        }
        meeting->work = grown;
        meeting->work_capacity = larger;
    }
    meeting->slots[slot] = (struct pair){left, right, state};
    meeting->pair_count++;
    meeting->work[meeting->work_count++] = meeting->slots[slot];
    return state;
}

static void skip_to(struct meeting *meeting, const struct pair *pair, uint32_t left, uint32_t right)
{
    automaton_skip(meeting->automaton, pair->state, state_of(meeting, left, right));
}

/* The pair's edges of the left with all of the right.  Edges are copied: adding moves them. */
static void follow(struct meeting *meeting, const struct pair *pair)
{
    struct automaton *automaton = meeting->automaton;
    for (uint32_t at = automaton->first[pair->right]; at; at = automaton->edges[at].next) {
        const struct edge right = automaton->edges[at];
        if (right.kind == EDGE_SKIP)
            skip_to(meeting, pair, pair->left, right.target);
        else if (right.kind == EDGE_CALL)
            meeting->status = STATUS_UNSUPPORTED;
    }
    for (uint32_t at = automaton->first[pair->left]; at; at = automaton->edges[at].next) {
        const struct edge left = automaton->edges[at];
        if (left.kind == EDGE_SKIP)
            skip_to(meeting, pair, left.target, pair->right);
        else if (left.kind == EDGE_CALL)
            meeting->status = STATUS_UNSUPPORTED;
        if (left.kind != EDGE_BYTES)
            continue;
        for (uint32_t other = automaton->first[pair->right]; other;
             other = automaton->edges[other].next) {
            const struct edge right = automaton->edges[other];
            const uint8_t low = left.low > right.low ? left.low : right.low;
            const uint8_t high = left.high < right.high ? left.high : right.high;
            if (right.kind == EDGE_BYTES && low <= high)
                automaton_bytes(automaton, pair->state, low, high,
                                state_of(meeting, left.target, right.target));
        }
    }
}

enum status meet_build(struct automaton *automaton, struct part left, struct part right,
                       uint32_t from, uint32_t to)
{
    struct meeting meeting = {.automaton = automaton, .slot_count = 256};
    meeting.slots = memory_zeroed(meeting.slot_count, sizeof(*meeting.slots));
    if (!meeting.slots)
        return STATUS_NO_MEMORY;
    automaton_skip(automaton, from, state_of(&meeting, left.from, right.from));
    while (meeting.work_count > 0 && meeting.status == STATUS_OK &&
           automaton->failed == STATUS_OK) {
        const struct pair pair = meeting.work[--meeting.work_count];
        follow(&meeting, &pair);
        if (pair.left == left.to && pair.right == right.to)
            automaton_skip(automaton, pair.state, to);
    }
    memory_free(meeting.slots);
    memory_free(meeting.work);
    return meeting.status;
}
