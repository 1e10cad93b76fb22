/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/grammar/mask.h"

#include "protocol/memory.h"

#include <string.h>

/* Positions one mask may add to those known before it is made part by part. */
enum { MASK_POSITIONS_MAX = 512 };

/* ---- plain characters ---- */

/* Bytes of characters that are not ASCII.  Those with E2 80 are looked at apart: regular
 * expressions have two of them for line ends, which are no plain characters. */
static const struct {
    uint8_t low, high; /* leads */
    uint8_t second_low, second_high;
    uint8_t more; /* bytes after the second */
} wide[] = {{0xc2, 0xdf, 0x80, 0xbf, 0}, {0xe0, 0xe0, 0xa0, 0xbf, 1}, {0xe1, 0xe1, 0x80, 0xbf, 1},
            {0xe2, 0xe2, 0x81, 0xbf, 1}, {0xe3, 0xec, 0x80, 0xbf, 1}, {0xed, 0xed, 0x80, 0x9f, 1},
            {0xee, 0xef, 0x80, 0xbf, 1}, {0xf0, 0xf0, 0x90, 0xbf, 2}, {0xf1, 0xf3, 0x80, 0xbf, 2},
            {0xf4, 0xf4, 0x80, 0x8f, 2}};

/* The one place to which bytes of a range lead, or dead. */
static uint32_t next_of_range(struct positions *positions, uint32_t from, unsigned low,
                              unsigned high)
{
    const uint32_t next = positions_next(positions, from, (uint8_t)low);
    for (unsigned byte = low + 1; byte <= high && next != POSITION_DEAD; byte++)
        if (positions_next(positions, from, (uint8_t)byte) != next)
            return POSITION_DEAD;
    return next;
}

static bool has_part(const struct positions *positions, uint32_t position,
                     const struct item *item)
{
    const struct position *here = &positions->list[position];
    for (uint32_t at = here->first; at < here->first + here->count; at++)
        if (positions->items[at].state == item->state && positions->items[at].frame == item->frame)
            return true;
    return false;
}

/* Where all plain characters shall lead: to one place, or to any with a stack that is there. */
struct aim {
    uint32_t place;
    const struct item *item; /* NULL: the place itself */
};

static bool is_hit(const struct positions *positions, const struct aim *aim, uint32_t place)
{
    return aim->item ? has_part(positions, place, aim->item) : place == aim->place;
}

static bool all_lead_to(struct positions *positions, uint32_t from, const struct aim *aim)
{
    for (unsigned byte = ' '; byte < 0x7f; byte++)
        if (byte != '"' && byte != '\\' &&
            !is_hit(positions, aim, positions_next(positions, from, (uint8_t)byte)))
            return false;
    uint32_t lead_before = POSITION_DEAD;
    for (size_t row = 0; row < COUNT_OF(wide); row++) {
        for (unsigned lead = wide[row].low; lead <= wide[row].high; lead++) {
            uint32_t place = positions_next(positions, from, (uint8_t)lead);
            if (lead > wide[row].low && place == lead_before)
                continue; /* as for the lead before */
            lead_before = place;
            place = next_of_range(positions, place, wide[row].second_low, wide[row].second_high);
            for (uint8_t more = wide[row].more; more > 0; more--)
                place = next_of_range(positions, place, 0x80, 0xbf);
            if (!is_hit(positions, aim, place))
                return false;
        }
    }
    const uint32_t after_e2 = positions_next(positions, from, 0xe2);
    const uint32_t after_80 = positions_next(positions, after_e2, 0x80);
    return is_hit(positions, aim, next_of_range(positions, after_80, 0x80, 0xa7)) &&
           is_hit(positions, aim, next_of_range(positions, after_80, 0xaa, 0xbf));
}

enum { LOOPS_TRIED_MAX = 32 };

/* A position that keeps one of its stacks whatever plain character comes counts as one that all
 * of them lead back to: what they add beside it makes no plain text illegal. */
static uint32_t find_plain_next(struct positions *positions, uint32_t from)
{
    const struct aim one = {positions_next(positions, from, ' '), NULL};
    if (one.place == POSITION_DEAD)
        return POSITION_DEAD;
    if (all_lead_to(positions, from, &one))
        return positions->failed == STATUS_OK ? one.place : POSITION_DEAD;
    const uint32_t count = positions->list[from].count;
    for (uint32_t at = 0; at < count && at < LOOPS_TRIED_MAX; at++) {
        const struct item item = positions->items[positions->list[from].first + at];
        const struct aim loop = {POSITION_DEAD, &item};
        if (!has_part(positions, one.place, &item))
            continue;
        const uint32_t part = positions_part(positions, from, at);
        if (part != POSITION_DEAD && all_lead_to(positions, part, &loop))
            return positions->failed == STATUS_OK ? from : POSITION_DEAD;
    }
    return POSITION_DEAD;
}

static uint32_t plain_next(struct positions *positions, uint32_t from)
{
    if (positions->list[from].plain_next == POSITION_UNKNOWN) {
        const uint32_t next = find_plain_next(positions, from);
        if (positions->failed == STATUS_OK)
            positions->list[from].plain_next = next;
        return next;
    }
    return positions->list[from].plain_next;
}

/* No plain character leads on. */
static bool ends_plain(struct positions *positions, uint32_t from)
{
    for (unsigned byte = ' '; byte <= 0xf4; byte++)
        if (byte != '"' && byte != '\\' && byte != 0x7f &&
            positions_next(positions, from, (uint8_t)byte) != POSITION_DEAD)
            return false;
    return true;
}

/* ---- tries ---- */

static void take(const struct vocabulary_trie *trie, uint32_t node, uint32_t *mask)
{
    for (uint32_t at = trie->nodes[node - 1].id_end; at < trie->nodes[node].id_end; at++)
        mask[trie->ids[at] / 32] |= 1u << (trie->ids[at] % 32);
}

/* A walk: along positions, or along their parts. */
struct walk {
    struct positions *positions;
    const struct vocabulary_trie *trie;
    uint32_t *mask;
    uint32_t characters; /* tokens of so few are in the mask; 0: none is */
    uint32_t positions_max;
};

/* What lies below a node is in the mask. */
static bool is_taken(const struct walk *walk, const struct vocabulary_node *node)
{
    return walk->characters > 0 && node->most <= walk->characters;
}

/* False: it leads to too many positions. */
static bool walk_whole(const struct walk *walk, uint32_t from)
{
    struct positions *positions = walk->positions;
    const struct vocabulary_trie *trie = walk->trie;
    uint32_t places[VOCABULARY_TOKEN_SIZE_MAX + 1] = {from};
    uint32_t ends[VOCABULARY_TOKEN_SIZE_MAX + 1] = {trie->node_count};
    size_t depth = 0;
    for (uint32_t at = 1; at < trie->node_count && positions->failed == STATUS_OK;) {
        const struct vocabulary_node *node = &trie->nodes[at];
        while (at >= ends[depth])
            depth--;
        const uint32_t next = is_taken(walk, node)
                                  ? POSITION_DEAD
                                  : positions_next(positions, places[depth], node->byte);
        if (next == POSITION_DEAD) {
            at = node->skip;
            continue;
        }
        if (positions->count > walk->positions_max)
            return false;
        take(trie, at, walk->mask);
        if (node->skip > ++at) {
            places[++depth] = next;
            ends[depth] = node->skip;
        }
    }
    return true;
}

/* Positions of one stack each, those of a deeper place after those above it. */
struct crowd {
    uint32_t *parts;
    uint32_t *stamps; /* of a position: where it was added last */
    uint32_t stamp;
    uint32_t count;
};

enum { CROWD_MAX = 1 << 16 };

static void crowd_add(struct positions *positions, struct crowd *crowd, uint32_t position)
{
    for (uint32_t at = 0; at < positions->list[position].count; at++) {
        const uint32_t part = positions_part(positions, position, at);
        if (part == POSITION_DEAD || crowd->stamps[part] == crowd->stamp)
            continue;
        if (crowd->count == CROWD_MAX) {
            positions->failed = STATUS_TOO_LARGE;
            return;
        }
        crowd->stamps[part] = crowd->stamp;
        crowd->parts[crowd->count++] = part;
    }
}

/* Where a byte leads from the parts `first` to `end`; true: somewhere. */
static bool crowd_step(struct positions *positions, struct crowd *crowd, uint32_t first,
                       uint32_t end, uint8_t byte)
{
    bool leads = false;
    crowd->stamp++;
    for (uint32_t at = first; at < end && positions->failed == STATUS_OK; at++) {
        const uint32_t next = positions_next(positions, crowd->parts[at], byte);
        leads = leads || next != POSITION_DEAD;
        crowd_add(positions, crowd, next);
    }
    positions->steps += end - first;
    if (positions->steps > POSITIONS_STEPS_MAX)
        positions->failed = STATUS_TOO_LARGE;
    return leads && positions->failed == STATUS_OK;
}

static void walk_crowd(const struct walk *walk, struct crowd *crowd, uint32_t from)
{
    const struct vocabulary_trie *trie = walk->trie;
    uint32_t firsts[VOCABULARY_TOKEN_SIZE_MAX + 2] = {0};
    uint32_t ends[VOCABULARY_TOKEN_SIZE_MAX + 1] = {trie->node_count};
    size_t depth = 0;
    crowd->stamp++;
    crowd->count = 0;
    crowd_add(walk->positions, crowd, from);
    firsts[1] = crowd->count;
    for (uint32_t at = 1; at < trie->node_count && walk->positions->failed == STATUS_OK;) {
        const struct vocabulary_node *node = &trie->nodes[at];
        while (at >= ends[depth])
            depth--;
        crowd->count = firsts[depth + 1];
        if (is_taken(walk, node) || !crowd_step(walk->positions, crowd, firsts[depth],
                                                firsts[depth + 1], node->byte)) {
            at = node->skip;
            continue;
        }
        take(trie, at, walk->mask);
        if (node->skip > ++at) {
            ends[++depth] = node->skip;
            firsts[depth + 1] = crowd->count;
        }
    }
}

static void walk_parts(const struct walk *walk, uint32_t from)
{
    struct crowd crowd = {.parts = memory_zeroed(CROWD_MAX, sizeof(uint32_t)),
                          .stamps = memory_zeroed(POSITIONS_MAX, sizeof(uint32_t))};
    if (crowd.parts && crowd.stamps)
        walk_crowd(walk, &crowd, from);
    else
        walk->positions->failed = STATUS_NO_MEMORY;
    memory_free(crowd.parts);
    memory_free(crowd.stamps);
}

/* Plain tokens of at most so many characters are legal, whatever they are. */
static uint32_t plain_count(struct positions *positions, uint32_t *place)
{
    uint32_t count = 0;
    while (count < VOCABULARY_PLAIN_MAX) {
        const uint32_t next = plain_next(positions, *place);
        if (next == POSITION_DEAD)
            break;
        count = next == *place ? VOCABULARY_PLAIN_MAX : count + 1;
        *place = next;
    }
    return count;
}

/* Plain tokens together as far as any text goes, the others by a walk.  False: as walk_whole. */
static bool add_tokens(struct positions *positions, const struct vocabulary *vocabulary,
                       uint32_t from, uint32_t *mask)
{
    uint32_t place = from;
    const uint32_t count = plain_count(positions, &place);
    const bool has_longer = count < VOCABULARY_PLAIN_MAX && !ends_plain(positions, place);
    struct walk walk = {positions, &vocabulary->plain, mask, count,
                        positions->count + MASK_POSITIONS_MAX};
    memcpy(mask, vocabulary->plain_masks + count * vocabulary->words,
           vocabulary->words * sizeof(uint32_t));
    for (unsigned turn = has_longer ? 0 : 1; turn < 2; turn++) {
        if (turn == 1) {
            walk.trie = &vocabulary->others;
            walk.characters = 0;
        }
        if (positions->is_wide)
            walk_parts(&walk, from);
        else if (!walk_whole(&walk, from))
            return false;
    }
    return true;
}

/* ---- masks ---- */

static uint64_t hash_of(const uint32_t *mask, size_t words)
{
    uint64_t hash = 0xcbf29ce484222325U;
    for (size_t at = 0; at < words; at++)
        hash = (hash ^ mask[at]) * 0x9e3779b97f4a7c15U;
    return hash ^ hash >> 32;
}

/* Takes the mask; gives the one that is kept. */
static const uint32_t *keep(struct positions *positions, uint32_t *mask, size_t words)
{
    const size_t size = words * sizeof(uint32_t);
    const uint64_t hash = hash_of(mask, words);
    for (uint32_t at = 0; at < positions->mask_count; at++) {
        if (positions->mask_hashes[at] == hash && memcmp(positions->masks[at], mask, size) == 0) {
            memory_free(mask);
            return positions->masks[at];
        }
    }
    if (positions->mask_count == POSITIONS_MASKS_MAX ||
        (positions->mask_bytes + size > POSITIONS_MASK_BYTES_MAX && positions->mask_count > 0)) {
        positions->failed = STATUS_TOO_LARGE;
        memory_free(mask);
        return NULL;
    }
    positions->mask_hashes[positions->mask_count] = hash;
    positions->masks[positions->mask_count++] = mask;
    positions->mask_bytes += size;
    return mask;
}

/* What may come at any of the parts may come. */
static void add_parts(struct positions *positions, const struct vocabulary *vocabulary,
                      uint32_t position, uint32_t *mask)
{
    for (uint32_t at = 0; at < positions->list[position].count; at++) {
        const uint32_t part = positions_part(positions, position, at);
        const uint32_t *one =
            part == POSITION_DEAD ? NULL : mask_of(positions, vocabulary, part);
        for (size_t word = 0; one && word < vocabulary->words; word++)
            mask[word] |= one[word];
    }
}

const uint32_t *mask_of(struct positions *positions, const struct vocabulary *vocabulary,
                        uint32_t position)
{
    if (positions->list[position].mask)
        return positions->list[position].mask;
    uint32_t *mask = memory_zeroed(vocabulary->words, sizeof(uint32_t));
    if (!mask) {
        positions->failed = STATUS_NO_MEMORY;
        return NULL;
    }
    if (!positions->is_wide && !add_tokens(positions, vocabulary, position, mask)) {
        positions->is_wide = true;
        memset(mask, 0, vocabulary->words * sizeof(uint32_t));
    }
    if (positions->is_wide && positions->list[position].count == 1)
        (void)add_tokens(positions, vocabulary, position, mask);
    else if (positions->is_wide)
        add_parts(positions, vocabulary, position, mask);
    for (size_t word = 0; positions->list[position].accepts && word < vocabulary->words; word++)
        mask[word] |= vocabulary->end_mask[word];
    if (positions->failed != STATUS_OK) {
        memory_free(mask);
        return NULL;
    }
    positions->list[position].mask = keep(positions, mask, vocabulary->words);
    return positions->list[position].mask;
}
