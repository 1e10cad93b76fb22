/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record_random: random records and messages, made from the same rows as everything else.
 *
 * Memory   what is made is the caller's: record_fini, message_fini.
 * Fails    aborts without memory.
 */
#ifndef TROUPE_TESTS_SUPPORT_RECORD_RANDOM_H
#define TROUPE_TESTS_SUPPORT_RECORD_RANDOM_H

#include "protocol/message.h"
#include "tests/support/seeded.h"

/* Every field within its bounds; lists of at most `items_max`, fewer the deeper they lie. */
void record_random(const struct record_type *type, struct seeded *seeded, uint32_t items_max,
                   void *record_out);
/* A message of that row, its envelope random too. */
void message_random(const struct message_type *type, struct seeded *seeded,
                    struct message *message_out);

#endif
