/* SPDX-License-Identifier: Apache-2.0 */
/*
 * placement_sources: which rank reads which weight file from its disk, and which one sends it to
 * those who lack it.
 *
 * Each file has one source: a rank whose node holds it, and where no rank's does, a node besides,
 * which joins the generation to send it and leaves: one for all files if any has them all, else
 * those who add most, none that the others could do without.  The bytes that have to be sent are
 * spread over the holders so that no file could move to another of its holders and leave them more
 * even.  It follows from who holds what alone, so whoever reckons it anew comes to the same.
 *
 * Pure.
 */
#ifndef TROUPE_ACTORS_MASTER_PLACEMENT_SOURCES_H
#define TROUPE_ACTORS_MASTER_PLACEMENT_SOURCES_H

#include "protocol/state.h"

/* Of each file of the model; what is no weight has neither. */
struct source_choice {
    uint32_t ranks[MODEL_FILE_COUNT_MAX];   /* RANK_COUNT_MAX: none */
    uint64_t holders[MODEL_FILE_COUNT_MAX]; /* a bit for each rank */
    uint64_t loads[RANK_COUNT_MAX];         /* bytes of files that each has to send, for each
                                               rank that lacks them */
    uint32_t unheld; /* the first weight file that no rank holds; the number of files: none */
};

/* `holders`: what the state says of each rank's node, NULL for nothing; after the ranks that
 * compute those that only send, all of them `count`. */
void source_choice_make(const struct model_record *model,
                        const struct holder_record *const *holders, uint32_t rank_count,
                        uint32_t count, struct source_choice *choice_out);

/* Who sends what no rank holds: places in `others[other_count]`, at most `most` of them, which are
 * in order of preference.  Returns how many; 0 when all is held by the ranks, or not even the
 * others hold it. */
uint32_t source_others_choose(const struct model_record *model,
                              const struct holder_record *const *ranks, uint32_t rank_count,
                              const struct holder_record *const *others, uint32_t other_count,
                              uint32_t most, uint32_t *places_out);

#endif
