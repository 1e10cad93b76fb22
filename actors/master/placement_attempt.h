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

#define PLACEMENT_TRIES_MAX 256u /* sets of nodes */
#define PLACEMENT_FOUND_MAX (PLACEMENT_TRIES_MAX * 5u)

/* A way to cut a model.  A new kind is a row in placement_kinds.c. */
struct placement_kind {
    enum sharding sharding;
    bool is_equal;       /* shares are equal; else by memory */
    uint32_t ranks_least;
    uint32_t ranks_most;
    const char *way; /* for people */
};

/* Why equal shares were to become unequal ones, and why they did or did not. */
struct upgrade_words {
    char tight[144];
    char verdict[176];
};

struct attempt {
    const struct placement_question *question;
    const struct model_record *model;
    const struct placement_kind *kind;
    const struct placement_node *chosen[RANK_COUNT_MAX]; /* rank order */
    uint32_t count;
    const struct upgrade_words *upgrade; /* of equal shares that are too tight; else NULL */
    bool is_upgraded; /* equal shares became unequal ones */
    uint32_t stage_sizes[RANK_COUNT_MAX]; /* of a pipeline of tensor groups: ranks of each stage */
    uint32_t stage_count;
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

/* The first of the ranks on the machine of this one. */
uint32_t attempt_machine(const struct attempt *attempt, uint32_t rank);
/* How many ranks share the machine of this one, itself included. */
uint32_t attempt_sharing(const struct attempt *attempt, uint32_t rank);
bool placement_is_named(const struct place_instance *request, const struct node_id *id);
/* Those that may take part: in the order in which they are named, else those that hold most come
 * first; returns how many. */
uint32_t attempt_nodes(const struct attempt *attempt,
                       const struct placement_node *sorted[NODE_COUNT_MAX]);
/* Other orders, whose beginnings are tried too. */
enum placement_order {
    ORDER_HELD,   /* as they are */
    ORDER_MEMORY, /* most free memory first */
    ORDER_SPEED,  /* the fastest kernels first, one node of each machine before others of it */
    ORDER_NEAR,   /* by what it takes to reach the one of most memory */
    ORDER_END
};
void attempt_order(const struct attempt *attempt, enum placement_order order,
                   const struct placement_node **nodes, uint32_t count);
/* Nothing keeps it from being one of several ranks. */
bool placement_node_joins(const struct placement_node *node);

/* ---- placement_checks.c: what contradicts itself ---- */

MUST_CHECK enum status attempt_check(const struct attempt *attempt, struct reason *reason);

/* ---- placement_upgrade.c: equal shares that become unequal ones ---- */

enum upgrade {
    UPGRADE_NONE,    /* equal shares are not too tight, or it is off */
    UPGRADE_REFUSED, /* they are, and stay */
    UPGRADE_HOLDS    /* they do not */
};
/* Equal shares were asked for over the chosen nodes. */
enum upgrade attempt_upgrade(const struct attempt *attempt, struct upgrade_words *words_out);

/* ---- placement_fit.c ---- */

struct placement_fitting {
    const struct attempt *attempt;
    struct partition *cuts;
    struct candidate *candidate;
    bool is_by_memory; /* else the cuts stay as they are */
    bool are_counted;  /* weights and sizes are those of the cuts */
    uint64_t weights[RANK_COUNT_MAX];
    struct kv_sizes sizes[RANK_COUNT_MAX];
    uint32_t machines[RANK_COUNT_MAX]; /* first rank of the same machine */
    uint64_t limits[RANK_COUNT_MAX]; /* what ranks up to this may take of its machine */
    uint32_t short_rank;             /* the first that does not fit, */
    uint64_t short_have;             /* and what is left for it on its node */
    uint32_t nearest_context;        /* that would fit where what was asked does not; 0: none */
};

/* Of what is free on a node, what one of the ranks there may take. */
void fitting_budgets(const struct placement_fitting *fitting, uint64_t budgets[RANK_COUNT_MAX]);
/* Room for the context; false: there is none. */
bool fitting_context(struct placement_fitting *fitting);
/* Then room for more of the requests' answers. */
void fitting_grow(struct placement_fitting *fitting);

/* ---- placement_predict.c ---- */

/* How fast it answers, begins and loads. */
void attempt_predict(const struct attempt *attempt, const struct partition *cuts,
                     struct candidate *candidate);

/* ---- placement_words.c ---- */

MUST_CHECK enum status candidate_say(struct candidate *candidate, const char *text);
/* Why it is possible and what each node takes, or what which node lacks and what would do. */
MUST_CHECK enum status fitting_describe(struct placement_fitting *fitting);
/* What the solver says of ranks, said of the nodes they are on. */
void attempt_name_ranks(const struct attempt *attempt, const char *said,
                        char text_out[SENTENCE_SIZE_MAX]);
/* Adds who could take part and does not, and why, as far as there is room for it. */
MUST_CHECK enum status attempt_describe_left_out(const struct attempt *attempt,
                                                 struct candidate *candidate);

/* ---- placement_useful.c: who has room for anything ---- */

/* The least a rank of such a cut takes. */
uint64_t attempt_least(const struct attempt *attempt, enum sharding sharding,
                       const struct placement_cache *cache);
/* What is free on a node for a rank of it. */
uint64_t placement_room(const struct placement_node *node);
/* Those of them that have so much each, where all of one machine share what it has. */
uint32_t placement_useful(const struct placement_node *const *nodes, uint32_t count,
                          uint64_t least, const struct placement_node **useful_out);

/* ---- placement_cut.c ---- */

/* The first weight file that no node has of those that are heard; the number of files: none. */
uint32_t placement_file_missing(const struct placement_question *question,
                                const struct model_record *model);
/* Appends the candidate, possible or refused. */
MUST_CHECK enum status attempt_cut(const struct attempt *attempt,
                                   struct candidates_listed *listed);

/* ---- placement_stages.c: pipelines of tensor groups ---- */

/* Of all stages that were asked for; 0: none were. */
uint32_t attempt_stages_asked(const struct place_instance *request);
/* Orders the nodes by their groups and says which they are; false: nothing asks for groups. */
bool attempt_group(struct attempt *attempt);
/* Tables of the attempt's kind by shares, and by memory. */
MUST_CHECK enum status attempt_solve(const struct attempt *attempt,
                                     const struct partition_units *units, const uint64_t *shares,
                                     struct partition *cuts, struct reason *reason);
MUST_CHECK enum status attempt_place(const struct attempt *attempt,
                                     const struct placement_cache *cache, const uint64_t *shares,
                                     const uint64_t *budgets, struct partition *cuts,
                                     struct reason *reason);

/* ---- placement_kinds.c ---- */

MUST_CHECK enum status attempt_all_kinds(struct attempt *attempt,
                                         struct candidates_listed *listed);

#endif
