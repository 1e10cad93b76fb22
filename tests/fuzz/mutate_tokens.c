/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/mutate.h"

#include <string.h>

enum byte_class { CLASS_WORD, CLASS_SPACE, CLASS_SIGN };

static enum byte_class class_of(uint8_t byte)
{
    if (byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t')
        return CLASS_SPACE;
    if ((byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
        (byte >= 'A' && byte <= 'Z') || byte == '_' || byte >= 0x80)
        return CLASS_WORD;
    return CLASS_SIGN;
}

static bool is_double_sign(const uint8_t *at)
{
    static const char signs[][3] = {"{{", "}}", "{%", "%}", "{#", "#}", "==", "!=",
                                    "<=", ">=", "//", "**", "-%", "%-", "<|", "|>"};
    for (size_t index = 0; index < sizeof(signs) / sizeof(*signs); index++)
        if (memcmp(at, signs[index], 2) == 0)
            return true;
    return false;
}

static size_t token_end(const uint8_t *bytes, size_t size, size_t at)
{
    const enum byte_class class = class_of(bytes[at]);
    if (class == CLASS_SIGN)
        return at + 1 < size && is_double_sign(bytes + at) ? at + 2 : at + 1;
    while (at < size && class_of(bytes[at]) == class)
        at++;
    return at;
}

/* The first byte of the word, space or sign that a random place lies in. */
static size_t token_start(const uint8_t *bytes, size_t size, struct seeded *seeded)
{
    size_t at = size > 0 ? (size_t)seeded_below(seeded, size) : 0;
    while (at > 0 && class_of(bytes[at]) != CLASS_SIGN &&
           class_of(bytes[at - 1]) == class_of(bytes[at]))
        at--;
    if (at > 0 && at + 1 < size && is_double_sign(bytes + at - 1))
        at--;
    return at;
}

static size_t span_end(const uint8_t *bytes, size_t size, size_t at, uint64_t count)
{
    for (; count > 0 && at < size; count--)
        at = token_end(bytes, size, at);
    return at;
}

void mutate_tokens(struct mutant *mutant, const uint8_t *other, size_t other_size,
                   struct seeded *seeded)
{
    const size_t start = token_start(mutant->bytes, mutant->size, seeded);
    const size_t end = span_end(mutant->bytes, mutant->size, start, seeded_below(seeded, 4));
    const size_t from = token_start(other, other_size, seeded);
    const size_t to = span_end(other, other_size, from, seeded_below(seeded, 9));
    const size_t size = mutant->size - (end - start) + (to - from);
    if (size > mutant->capacity)
        return;
    memmove(mutant->bytes + start + (to - from), mutant->bytes + end, mutant->size - end);
    if (to > from)
        memcpy(mutant->bytes + start, other + from, to - from);
    mutant->size = size;
}
