/* SPDX-License-Identifier: Apache-2.0 */
/*
 * placement_attempt: one candidate on its way: a kind of cut over chosen nodes.
 *
 * For the files of the placement alone.  What is asked for is in placement_wants.c, which nodes may
 * take part in placement_nodes.c, what is refused outright in placement_checks.c; placement_cut.c
 * makes the candidate, placement_fit.c finds room for its cache, placement_predict.c says how fast
 * it is and placement_words.c why it is what it is.  placement_kinds.c tries all kinds.
 *
 * Pure.
 */
#ifndef TROUPE_ACTORS_MASTER_PLACEMENT_ATTEMPT_H
#define TROUPE_ACTORS_MASTER_PLACEMENT_ATTEMPT_H

#include "actors/master/placement.h"
#include "actors/master/placement_bytes.h"
#include "protocol/memory.h"

/* A way to cut a model.  A new kind is a row in placement_kinds.c. */
struct placement_kind {
    enum sharding sharding;
    bool is_equal;       /* shares are equal; else by memory */
    uint32_t ranks_least;
    uint32_t ranks_most;
    const char *way; /* for people */
};

struct attempt {
    const struct placement_question *question;
    const struct model_record *model;
    const struct placement_kind *kind;
    const struct placement_node *chosen[RANK_COUNT_MAX]; /* rank order */
    uint32_t count;
};

/* ---- placement_wants.c: what is asked for ---- */

uint32_t attempt_mode(const struct place_instance *request);
const struct placement_settings *attempt_settings(const struct attempt *attempt);
uint32_t attempt_requests(const struct attempt *attempt);
enum kv_format attempt_format(const struct attempt *attempt);
uint32_t attempt_context_most(const struct model_record *model);
uint32_t attempt_context_asked(const struct attempt *attempt);
uint32_t attempt_context(const struct attempt *attempt);
/* How many ranks shares or a table by hand are for; 0: neither is given. */
uint32_t attempt_ranks_given(const struct place_instance *request);
uint32_t attempt_threads(const struct attempt *attempt, uint32_t rank);
bool attempt_holds(const struct attempt *attempt, const struct placement_node *node);

/* ---- placement_nodes.c ---- */

bool placement_is_named(const struct place_instance *request, const struct node_id *id);
/* Those that may take part, in the order of ranks; returns how many. */
uint32_t attempt_nodes(const struct attempt *attempt,
                       const struct placement_node *sorted[NODE_COUNT_MAX]);

/* ---- placement_checks.c: what contradicts itself ---- */

MUST_CHECK enum status attempt_check(const struct attempt *attempt, struct reason *reason);

/* ---- placement_fit.c ---- */

struct placement_fitting {
    const struct attempt *attempt;
    struct partition *cuts;
    struct candidate *candidate;
    bool is_by_memory; /* else the cuts stay as they are */
    uint64_t limits[RANK_COUNT_MAX]; /* what ranks up to this may take of its machine */
    uint32_t short_rank;             /* the first that does not fit */
    uint64_t short_bytes;
};

/* Of what is free on a node, what one of the ranks there may take. */
void fitting_budgets(const struct placement_fitting *fitting, uint64_t budgets[RANK_COUNT_MAX]);
/* Room for the context; false: there is none. */
bool fitting_context(struct placement_fitting *fitting);
/* Then room for more of the requests' answers. */
void fitting_grow(struct placement_fitting *fitting);

/* ---- placement_predict.c ---- */

double attempt_tokens_per_s(const struct attempt *attempt, const struct candidate *candidate);

/* ---- placement_words.c ---- */

MUST_CHECK enum status candidate_say(struct candidate *candidate, const char *text);
MUST_CHECK enum status attempt_describe(const struct attempt *attempt, struct candidate *candidate,
                                        uint32_t short_rank, uint64_t short_bytes);
/* Shares by hand that do not fit, with those that would. */
MUST_CHECK enum status fitting_describe(struct placement_fitting *fitting, const uint64_t *shares);

/* ---- placement_cut.c ---- */

/* The first weight file that no node has of those that are heard; the number of files: none. */
uint32_t placement_file_missing(const struct placement_question *question,
                                const struct model_record *model);
/* Appends the candidate, possible or refused. */
MUST_CHECK enum status attempt_cut(const struct attempt *attempt,
                                   struct candidates_listed *listed);

/* ---- placement_kinds.c ---- */

MUST_CHECK enum status attempt_all_kinds(struct attempt *attempt,
                                         struct candidates_listed *listed);

#endif
