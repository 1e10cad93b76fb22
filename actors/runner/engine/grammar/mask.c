/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/grammar/mask.h"

#include "protocol/memory.h"

#include <string.h>

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

static uint32_t find_plain_next(struct positions *positions, uint32_t from)
{
    const uint32_t next = positions_next(positions, from, ' ');
    for (unsigned byte = '!'; byte < 0x7f && next != POSITION_DEAD; byte++)
        if (byte != '"' && byte != '\\' && positions_next(positions, from, (uint8_t)byte) != next)
            return POSITION_DEAD;
    uint32_t lead_before = POSITION_DEAD;
    for (size_t row = 0; row < COUNT_OF(wide) && next != POSITION_DEAD; row++) {
        for (unsigned lead = wide[row].low; lead <= wide[row].high; lead++) {
            uint32_t place = positions_next(positions, from, (uint8_t)lead);
            if (lead > wide[row].low && place == lead_before)
                continue; /* as for the lead before */
            lead_before = place;
            place = next_of_range(positions, place, wide[row].second_low, wide[row].second_high);
            for (uint8_t more = wide[row].more; more > 0; more--)
                place = next_of_range(positions, place, 0x80, 0xbf);
            if (place != next)
                return POSITION_DEAD;
        }
    }
    const uint32_t after_e2 = positions_next(positions, from, 0xe2);
    const uint32_t after_80 = positions_next(positions, after_e2, 0x80);
    if (next_of_range(positions, after_80, 0x80, 0xa7) != next ||
        next_of_range(positions, after_80, 0xaa, 0xbf) != next)
        return POSITION_DEAD;
    return positions->failed == STATUS_OK ? next : POSITION_DEAD;
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

static void walk(struct positions *positions, const struct vocabulary_trie *trie, uint32_t from,
                 uint32_t *mask)
{
    uint32_t places[VOCABULARY_TOKEN_SIZE_MAX + 1] = {from};
    uint32_t ends[VOCABULARY_TOKEN_SIZE_MAX + 1] = {trie->node_count};
    size_t depth = 0;
    for (uint32_t at = 1; at < trie->node_count && positions->failed == STATUS_OK;) {
        const struct vocabulary_node *node = &trie->nodes[at];
        while (at >= ends[depth])
            depth--;
        const uint32_t next = positions_next(positions, places[depth], node->byte);
        if (next == POSITION_DEAD) {
            at = node->skip;
            continue;
        }
        take(trie, at, mask);
        if (node->skip > ++at) {
            places[++depth] = next;
            ends[depth] = node->skip;
        }
    }
}

/* Plain tokens: together as far as any text goes, the longer ones by a walk. */
static void add_plain(struct positions *positions, const struct vocabulary *vocabulary,
                      uint32_t from, uint32_t *mask)
{
    uint32_t place = from;
    size_t count = 0;
    while (count < VOCABULARY_PLAIN_MAX) {
        const uint32_t next = plain_next(positions, place);
        if (next == POSITION_DEAD)
            break;
        count = next == place ? VOCABULARY_PLAIN_MAX : count + 1;
        place = next;
    }
    memcpy(mask, vocabulary->plain_masks + count * vocabulary->words,
           vocabulary->words * sizeof(uint32_t));
    if (count < VOCABULARY_PLAIN_MAX && !ends_plain(positions, place))
        walk(positions, &vocabulary->plain, from, mask);
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
    add_plain(positions, vocabulary, position, mask);
    walk(positions, &vocabulary->others, position, mask);
    for (size_t word = 0; positions->list[position].accepts && word < vocabulary->words; word++)
        mask[word] |= vocabulary->end_mask[word];
    if (positions->failed != STATUS_OK) {
        memory_free(mask);
        return NULL;
    }
    positions->list[position].mask = keep(positions, mask, vocabulary->words);
    return positions->list[position].mask;
}
