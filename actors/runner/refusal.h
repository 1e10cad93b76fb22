/* SPDX-License-Identifier: Apache-2.0 */
/*
 * refusal: the word that a request is not taken, whoever of rank 0 says so.
 *
 * Owner    the actor, and its engine thread.
 * Memory   the word, which the caller sends or finishes.
 * Threads  any.
 * Fails    STATUS_NO_MEMORY.
 */
#ifndef TROUPE_ACTORS_RUNNER_REFUSAL_H
#define TROUPE_ACTORS_RUNNER_REFUSAL_H

#include "protocol/message.h"

/* `sentence` may be empty or NULL: then the text of `how` stands for it.  With `is_demand` it is
 * about the form asked of the answer. */
MUST_CHECK enum status refusal_make(const struct generate *body, enum status how, bool is_demand,
                                    const char *sentence, struct message *word_out);

#endif
