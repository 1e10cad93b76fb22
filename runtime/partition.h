/* SPDX-License-Identifier: Apache-2.0 */
/*
 * partition: which integer units of a model each rank holds.
 *
 * Pure: the placement makes tables with it, a runner checks with it the table it was given, and the
 * engine cuts by it.  No ratio ever reaches a tensor.
 *
 * A class is what layers share in like pieces: the query heads of an attention (of each kind the
 * model has), heads of latent attention, value heads of DeltaNet, columns of FFNs, of experts, of
 * shared experts.  A family declares them with its layers' `units` and its tensors' cuts; the
 * smallest piece that cuts no quantisation group is a unit (runtime/model_layout.c).  Vocabulary
 * rows are cut one by one.  Whole layers are what a pipeline shares.
 *
 * A cut says which units of a class a rank holds, in steps of one or more, counted through all
 * layers of the class: [first, end) of units / step * layers.  In the n-th layer of a class of L an
 * edge at E lies at step (E + n) / L.  So an edge at a multiple of L lies alike in every layer; one
 * at k * L + m lies one step further in m of the layers.  The sum over the layers is E, edges of
 * ranks that meet in E meet in every layer, and ranks tile every layer when they tile the class.
 * A few integers for each rank and class cross the wire, the class itself among them, so that a
 * rank whose files say otherwise refuses.
 *
 * Query heads are shared in whole groups of a key-value head (a step) where that comes near the
 * shares.  Else units of query heads are: a rank holds every key-value head that one of its query
 * heads reads, also when another rank holds it too.  So it is with the value heads of DeltaNet and
 * their key heads, for which stands what is said of query heads and key-value heads.
 *
 * A pipeline's ranks stand in stages, of whole layers that follow one another.  Where a stage has
 * several ranks, they share its layers like a tensor cut: their cuts are counted through all layers
 * of the class all the same, tile it among the ranks of the stage, and hold in the stage's layers
 * alone.  Of a class that none of its layers has, a rank holds [0, 0).  The first stage has the
 * embedding, the last the head, each all vocabulary rows of it, cut over its ranks; where both are
 * one table, both have it.
 *
 * A rank may hold nothing of a class, and then contributes zeros there; one that has vocabulary
 * rows alone still takes part.  Classes of few units
 * (below PARTITION_COARSE) are cut unlike in their layers, so that the sum comes near the share.
 *
 * Memory   none.
 * Fails    INVALID with the unit that does not add up; NO_CAPACITY when there are more ranks than
 *          anything has units.
 */
#ifndef TROUPE_RUNTIME_PARTITION_H
#define TROUPE_RUNTIME_PARTITION_H

#include "protocol/sharding.h"
#include "protocol/status.h"

#include <stdbool.h>
#include <stdint.h>

#define PARTITION_RANKS_MAX 64u
#define PARTITION_CLASSES_MAX 16u
#define PARTITION_LAYERS_MAX 1024u
/* Classes of FFN columns with fewer units than this may be cut unlike in their layers. */
#define PARTITION_COARSE 16u

enum partition_kind {
    PARTITION_NONE = 0,
    PARTITION_ATTENTION = 1,
    PARTITION_LATENT = 2,
    PARTITION_DELTA = 3,
    PARTITION_FFN = 4,
    PARTITION_EXPERTS = 5,
    PARTITION_SHARED = 6,
};
#define PARTITION_KIND_COUNT 7u

struct partition_class {
    enum partition_kind kind;
    uint32_t layers;     /* that have it */
    uint32_t units;      /* of each of them */
    uint32_t unit_heads; /* attention, DeltaNet: query or value heads of a unit, */
    uint32_t per_kv;     /* and of a key-value or key head; else 0 */
    uint32_t parts;      /* heads or columns of a layer, for people; 0: units, as layers differ */
};

/* What there is to share. */
struct partition_units {
    uint32_t layers;
    uint32_t vocab; /* rows */
    uint32_t class_count;
    struct partition_class classes[PARTITION_CLASSES_MAX];
    uint32_t mapped; /* layers of the runs so far: partition_run_add */
    /* Bit c: the layer has class c.  Only what has stages of several ranks asks for it. */
    uint16_t layer_classes[PARTITION_LAYERS_MAX];
};

struct partition_cut {
    enum partition_kind kind; /* as the class says */
    uint32_t layers;
    uint32_t units;
    uint32_t step;  /* units that are not parted; divides them */
    uint32_t first; /* of units / step * layers */
    uint32_t end;
};

/* One rank; every range is [first, end). */
struct partition {
    uint32_t rank;
    uint32_t rank_count;
    enum sharding sharding;
    uint32_t stage;       /* of the pipeline, 0 where there is none, */
    uint32_t stage_first; /* its first rank, */
    uint32_t stage_ranks; /* and how many share its layers */
    uint32_t layer_first;
    uint32_t layer_end;
    uint32_t vocab_first; /* rows of embedding and head, of what it has of them */
    uint32_t vocab_end;
    bool has_embedding; /* every rank of a tensor cut, those of a pipeline's first stage */
    bool has_head;      /* with the final norm; those of its last */
    uint32_t cut_count;
    struct partition_cut cuts[PARTITION_CLASSES_MAX];
};

struct partition_span {
    uint32_t first;
    uint32_t end;
};

/* For people: "attention heads", "FFN columns". */
const char *partition_kind_name(enum partition_kind kind);
/* Counts `layers` more of a class, `like` aside from its layers; returns its index.  Of more
 * classes than there is room for, further ones are of one unit. */
uint32_t partition_units_add(struct partition_units *units, const struct partition_class *like,
                             uint32_t layers);
/* Notes that the layers [first, first + layers) have a class. */
void partition_units_map(struct partition_units *units, uint32_t class, uint32_t first,
                         uint32_t layers);
/* Steps of all layers. */
static inline uint32_t partition_cut_total(const struct partition_cut *cut)
{
    return cut->units / cut->step * cut->layers;
}
/* The units a cut has in the layer that is `ordinal` among those of the class. */
struct partition_span partition_cut_in(const struct partition_cut *cut, uint32_t ordinal);
/* The key-value heads that units of an attention read. */
struct partition_span partition_kv_of(const struct partition_class *class,
                                      struct partition_span units);
/* Units of a class that belong together where key-value heads are not to be held twice. */
uint32_t partition_group_units(const struct partition_class *class);

/* Shares `total` units by `shares[count]` (any scale, each above 0): largest remainder, ties to the
 * lower rank, at least one unit each where there are enough.  False without shares. */
bool partition_share(uint32_t total, const uint64_t *shares, uint32_t count, uint32_t *units_out);
/* The same without one for each. */
bool partition_share_plain(uint32_t total, const uint64_t *shares, uint32_t count,
                           uint32_t *units_out);
#define PARTITION_SHARES_SIZE 256u
/* "50,30,20": percent for `count` ranks, near the first of those given; one that is not given is
 * their mean.  Returns text_out. */
const char *partition_nearest_shares(const uint64_t *shares, uint32_t given, uint32_t count,
                                     char text_out[PARTITION_SHARES_SIZE]);
/* Before they become unsigned: INVALID for a share below 0, with those that would be right. */
MUST_CHECK enum status partition_check_signs(const int64_t *shares, uint32_t count,
                                             struct reason *reason);
/* Shares as people give them: percent, each above 0, of at most `ranks_most` ranks.  A refusal says
 * which would be right. */
MUST_CHECK enum status partition_check_shares(const uint64_t *shares, uint32_t count,
                                              uint32_t ranks_most, struct reason *reason);

/* `shares` NULL means equal ones.  Writes `rank_count` partitions. */
MUST_CHECK enum status partition_solve(enum sharding sharding,
                                       const struct partition_units *units,
                                       const uint64_t *shares, uint32_t rank_count,
                                       struct partition *partitions_out, struct reason *reason);
/* The most ranks a tensor cut has work for, be it vocabulary rows alone. */
uint32_t partition_ranks_most(const struct partition_units *units);
/* The most of which each has units of some layer. */
uint32_t partition_ranks_worth(const struct partition_units *units);
/* Rank `rank` of `count` with everything. */
struct partition partition_whole(const struct partition_units *units, uint32_t rank,
                                 uint32_t count, enum sharding sharding);
/* The same for a pipeline of tensor groups: stage i is of sizes[i] ranks, and has layers by the
 * shares of all of them. */
MUST_CHECK enum status partition_solve_stages(const struct partition_units *units,
                                              const uint32_t *sizes, uint32_t stage_count,
                                              const uint64_t *shares,
                                              struct partition *partitions_out,
                                              struct reason *reason);
/* All ranks together hold every unit exactly once, and each table is what its sharding allows. */
MUST_CHECK enum status partition_check(const struct partition *partitions, uint32_t rank_count,
                                       const struct partition_units *units,
                                       struct reason *reason);
/* One table alone lies within the model and its units. */
MUST_CHECK enum status partition_check_one(const struct partition *partition,
                                           const struct partition_units *units,
                                           struct reason *reason);

#endif
