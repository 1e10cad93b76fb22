/* SPDX-License-Identifier: Apache-2.0 */
/*
 * instance_wait: what an instance that is not ready waits for, in one sentence.
 *
 * Pure.
 * Memory   the text is the caller's.
 */
#ifndef TROUPE_PROTOCOL_INSTANCE_WAIT_H
#define TROUPE_PROTOCOL_INSTANCE_WAIT_H

#include "protocol/state.h"

/* False, and an empty text, when it waits for nothing that could be named: it is ready, or gave
 * up. */
bool instance_waits_for(const struct state *state, const struct instance_record *instance,
                        char text_out[SENTENCE_SIZE_MAX]);

#endif
