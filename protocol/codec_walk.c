/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/codec_walk.h"

#include "protocol/limits.h"

#include <stdint.h>

struct walk {
    const uint8_t *bytes;
    size_t left;
    uint64_t entries;
    struct reason *reason;
};

/* What one head byte announces. */
struct announced {
    uint64_t skip;     /* bytes of content that hold no further objects */
    uint64_t children; /* objects inside: 2 for each entry of a map */
};

static enum status walk_length(struct walk *walk, size_t size, uint64_t *length_out)
{
    if (walk->left < size)
        return refuse(walk->reason, STATUS_MALFORMED, "message: ends inside a length");
    uint64_t length = 0;
    for (size_t i = 0; i < size; i++)
        length = length << 8 | walk->bytes[i];
    walk->bytes += size;
    walk->left -= size;
    *length_out = length;
    return STATUS_OK;
}

/* Heads 0xc0 to 0xdf. */
static enum status walk_long_head(struct walk *walk, uint8_t head, struct announced *announced)
{
    static const uint8_t fixed[] = {4, 8, 1, 2, 4, 8, 1, 2, 4, 8}; /* 0xca to 0xd3 */
    uint64_t length = 0;
    enum status status = STATUS_OK;
    if (head == 0xc0 || head == 0xc2 || head == 0xc3)
        return STATUS_OK;
    if (head >= 0xca && head <= 0xd3) {
        announced->skip = fixed[head - 0xca];
    } else if (head >= 0xc4 && head <= 0xc6) {
        status = walk_length(walk, (size_t)1 << (head - 0xc4), &announced->skip);
    } else if (head >= 0xd9 && head <= 0xdb) {
        status = walk_length(walk, (size_t)1 << (head - 0xd9), &announced->skip);
    } else if (head == 0xdc || head == 0xdd) {
        status = walk_length(walk, head == 0xdc ? 2 : 4, &announced->children);
    } else if (head == 0xde || head == 0xdf) {
        status = walk_length(walk, head == 0xde ? 2 : 4, &length);
        announced->children = length * 2;
    } else {
        return refuse(walk->reason, STATUS_MALFORMED, "message: holds a type that is not used");
    }
    return status;
}

static enum status walk_head(struct walk *walk, struct announced *announced)
{
    if (walk->left == 0)
        return refuse(walk->reason, STATUS_MALFORMED, "message: ends too early");
    uint8_t head = *walk->bytes++;
    walk->left--;
    *announced = (struct announced){0, 0};
    if (head < 0x80 || head >= 0xe0)
        return STATUS_OK;
    if (head < 0x90)
        announced->children = 2u * (head & 15u);
    else if (head < 0xa0)
        announced->children = head & 15u;
    else if (head < 0xc0)
        announced->skip = head & 31u;
    else
        return walk_long_head(walk, head, announced);
    return STATUS_OK;
}

enum status codec_walk(const void *bytes, size_t size, struct reason *reason)
{
    struct walk walk = {bytes, size, 0, reason};
    /* Objects still expected at each depth; no recursion on what a peer says. */
    uint64_t expected[MESSAGE_DEPTH_MAX + 1] = {1};
    size_t depth = 0;
    for (;;) {
        while (expected[depth] == 0) {
            if (depth == 0)
                return walk.left == 0
                           ? STATUS_OK
                           : refuse(reason, STATUS_MALFORMED, "message: has bytes after its end");
            depth--;
        }
        expected[depth]--;
        struct announced announced;
        enum status status = walk_head(&walk, &announced);
        if (status != STATUS_OK)
            return status;
        if (announced.skip > walk.left || announced.children > walk.left)
            return refuse(reason, STATUS_MALFORMED, "message: announces more than it holds");
        walk.bytes += announced.skip;
        walk.left -= announced.skip;
        walk.entries += announced.children;
        if (walk.entries > 2u * MESSAGE_ENTRIES_MAX)
            return refuse(reason, STATUS_TOO_LARGE, "message: has too many entries");
        if (announced.children == 0)
            continue;
        if (depth == MESSAGE_DEPTH_MAX)
            return refuse(reason, STATUS_MALFORMED, "message: is nested too deep");
        expected[++depth] = announced.children;
    }
}
