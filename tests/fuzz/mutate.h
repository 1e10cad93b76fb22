/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mutate: changes of fuzz input that parsers do not refuse at its first byte.
 *
 * By tokens: what stands between two words or signs is replaced by tokens of another input.  By
 * values: a JSON document, which may stand behind a length of 8 bytes as in safetensors files, gets
 * a value changed, removed, repeated, wrapped or taken from another document.
 *
 * Owner    the fuzz driver.
 * Memory   the driver's buffer; JSON documents while they are changed.
 * Threads  none.
 * Fails    never: a change that does not fit or apply is not made.
 */
#ifndef TROUPE_TESTS_FUZZ_MUTATE_H
#define TROUPE_TESTS_FUZZ_MUTATE_H

#include "tests/support/seeded.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mutant {
    uint8_t *bytes;
    size_t size;
    size_t capacity;
};

void mutate_tokens(struct mutant *mutant, const uint8_t *other, size_t other_size,
                   struct seeded *seeded);

/* False when there is no JSON in it. */
bool mutate_values(struct mutant *mutant, const uint8_t *other, size_t other_size,
                   struct seeded *seeded);

#endif
