/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/added_tokens.h"

#include "actors/runner/engine/unicode_text.h"
#include "protocol/memory.h"

struct node {
    uint32_t child;   /* first of a list; 0 is none, for node 0 is never anybody's child */
    uint32_t sibling; /* next of that list */
    uint32_t token;   /* id + 1; 0 is none */
    uint8_t byte;
    uint8_t flags;
};

struct added_tokens {
    struct node *nodes; /* node 0 is unused */
    size_t count;
    size_t capacity;
    uint32_t roots[256]; /* by first byte */
    int keeps_spaces;
};

enum status added_tokens_open(struct added_tokens **set_out)
{
    struct added_tokens *set = memory_zeroed(1, sizeof(*set));
    if (!set)
        return STATUS_NO_MEMORY;
    set->count = 1;
    *set_out = set;
    return STATUS_OK;
}

void added_tokens_keep_spaces(struct added_tokens *set)
{
    set->keeps_spaces = 1;
}

void added_tokens_close(struct added_tokens *set)
{
    if (!set)
        return;
    memory_free(set->nodes);
    memory_free(set);
}

/* A new node; 0 when there is no memory. */
static uint32_t node_add(struct added_tokens *set, unsigned char byte)
{
    if (set->count >= set->capacity) {
        size_t capacity = set->capacity == 0 ? 256 : set->capacity * 2;
        struct node *nodes = memory_resized(set->nodes, capacity, sizeof(*nodes));
        if (!nodes)
            return 0;
        set->nodes = nodes;
        set->capacity = capacity;
    }
    set->nodes[set->count] = (struct node){.byte = byte};
    return (uint32_t)set->count++;
}

static uint32_t child_find(const struct added_tokens *set, uint32_t parent, unsigned char byte)
{
    uint32_t at = set->nodes[parent].child;
    while (at != 0 && set->nodes[at].byte != byte)
        at = set->nodes[at].sibling;
    return at;
}

enum status added_tokens_put(struct added_tokens *set, const char *text, size_t size,
                             uint32_t id, unsigned flags)
{
    ASSERT(size > 0 && size <= ADDED_TOKEN_SIZE_MAX);
    unsigned char first = (unsigned char)text[0];
    if (set->roots[first] == 0) {
        set->roots[first] = node_add(set, first);
        if (set->roots[first] == 0)
            return STATUS_NO_MEMORY;
    }
    uint32_t at = set->roots[first];
    for (size_t byte = 1; byte < size; byte++) {
        uint32_t child = child_find(set, at, (unsigned char)text[byte]);
        if (child == 0) {
            child = node_add(set, (unsigned char)text[byte]);
            if (child == 0)
                return STATUS_NO_MEMORY;
            set->nodes[child].sibling = set->nodes[at].child;
            set->nodes[at].child = child;
        }
        at = child;
    }
    if (set->nodes[at].token != 0)
        return STATUS_EXISTS;
    set->nodes[at].token = id + 1;
    set->nodes[at].flags = (uint8_t)flags;
    return STATUS_OK;
}

/* The node of the longest token that starts at `from`; its end goes to `end_out`. */
static uint32_t longest_at(const struct added_tokens *set, const char *text, size_t length,
                           size_t from, size_t *end_out)
{
    uint32_t best = 0;
    uint32_t at = set->roots[(unsigned char)text[from]];
    for (size_t next = from + 1; at != 0; next++) {
        if (set->nodes[at].token != 0) {
            best = at;
            *end_out = next;
        }
        if (next >= length)
            break;
        at = child_find(set, at, (unsigned char)text[next]);
    }
    return best;
}

int added_tokens_get(const struct added_tokens *set, const char *text, size_t size,
                     uint32_t *id_out)
{
    size_t end = 0;
    uint32_t node = size > 0 ? longest_at(set, text, size, 0, &end) : 0;
    if (node == 0 || end != size)
        return 0;
    *id_out = set->nodes[node].token - 1;
    return 1;
}

/* Start of the character that ends at `end`, which is above 0. */
static size_t character_before(const char *text, size_t end)
{
    do
        end--;
    while (end > 0 && ((unsigned char)text[end] & 0xc0) == 0x80);
    return end;
}

static int stands_alone(const char *text, size_t length, size_t start, size_t end)
{
    size_t size;
    if (start > 0 && unicode_is_word(utf8_decode(text + character_before(text, start), &size)))
        return 0;
    return end == length || !unicode_is_word(utf8_decode(text + end, &size));
}

/* White space that a token may take, at `text`. */
static int is_taken(const struct added_tokens *set, const char *text, size_t *size_out)
{
    return unicode_class(utf8_decode(text, size_out)) == CLASS_SPACE &&
           !(set->keeps_spaces && text[0] == ' ');
}

/* Where a token that takes the white space before it begins, at `floor` or later. */
static size_t strip_left(const struct added_tokens *set, const char *text, size_t floor,
                         size_t start)
{
    while (start > floor) {
        size_t before = character_before(text, start);
        size_t size;
        if (!is_taken(set, text + before, &size))
            break;
        start = before;
    }
    return start > floor ? start : floor;
}

static size_t strip_right(const struct added_tokens *set, const char *text, size_t length,
                          size_t end)
{
    while (end < length) {
        size_t size;
        if (!is_taken(set, text + end, &size))
            break;
        end += size;
    }
    return end;
}

int added_tokens_next(const struct added_tokens *set, const char *text, size_t length,
                      struct added_cursor *cursor, int allow_special,
                      struct added_match *match_out)
{
    for (size_t start = cursor->search; start < length;) {
        size_t end = start;
        uint32_t node = longest_at(set, text, length, start, &end);
        if (node == 0) {
            start++;
            continue;
        }
        unsigned flags = set->nodes[node].flags;
        if (((flags & ADDED_SPECIAL) && !allow_special) ||
            ((flags & ADDED_SINGLE_WORD) && !stands_alone(text, length, start, end))) {
            start = end;
            continue;
        }
        cursor->search = end;
        match_out->id = set->nodes[node].token - 1;
        match_out->start =
            flags & ADDED_STRIPS_LEFT ? strip_left(set, text, cursor->done, start) : start;
        match_out->end = flags & ADDED_STRIPS_RIGHT ? strip_right(set, text, length, end) : end;
        /* White space itself, which the token before took all of. */
        if (match_out->start >= match_out->end) {
            start = end;
            continue;
        }
        return 1;
    }
    return 0;
}
