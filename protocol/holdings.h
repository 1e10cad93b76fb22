/* SPDX-License-Identifier: Apache-2.0 */
/*
 * holdings: which node has which weight file of a model on its disk.
 *
 * A holder has all weights, or some of them by a set: a bit for each file of the model's list, the
 * low bits of a byte first, without zero bytes at its end.  Small files every holder has.
 *
 * Pure.
 * Memory   a made holder is the caller's.
 */
#ifndef TROUPE_PROTOCOL_HOLDINGS_H
#define TROUPE_PROTOCOL_HOLDINGS_H

#include "protocol/state.h"

static inline bool file_set_has(const uint8_t *set, uint32_t size, uint32_t file)
{
    return file / 8 < size && (set[file / 8] >> (file % 8) & 1) != 0;
}

/* Accepts NULL: a node that holds nothing. */
bool holder_has_file(const struct holder_record *holder, uint32_t file);
/* Of the weight files it has. */
uint64_t holder_weight_bytes(const struct model_record *model, const struct holder_record *holder);
/* As the state keeps it, whatever was told: only files of the list, nothing beside all weights.
 * False without memory. */
MUST_CHECK bool holder_make(const struct model_record *model, const struct node_id *node_id,
                            bool has_weights, const struct bytes *held,
                            struct holder_record *holder_out);
/* Each weight file by some admitted node, or, when `is_here`, by one in the view; else
 * `unheld_out`, which may be NULL, is the first that none has. */
bool model_is_held(const struct state *state, const struct model_record *model, bool is_here,
                   uint32_t *unheld_out);
/* For a sentence, when it is not held: "the weights", or the file that is lacking. */
const char *model_unheld_name(const struct state *state, const struct model_record *model,
                              bool is_here);
/* Of the weight files of a placement, those a rank reads from its own disk, */
uint32_t file_sources_read(const struct file_source *sources, uint32_t count, uint32_t rank);
/* and those of which `from` sends it its slices. */
uint32_t file_sources_sent(const struct file_source *sources, uint32_t count, uint32_t from,
                           uint32_t rank);

#endif
