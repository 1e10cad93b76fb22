/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which nodes are tried together: the beginnings of a few orders of all that may take part, and,
 * where they are few, all but one.  So a node is left out where that is better or needed, and the
 * work grows with the number of nodes, not with that of their subsets.
 */
#include "actors/master/placement_attempt.h"
#include "actors/master/placement_order.h"
#include "actors/master/placement_reach.h"
#include "runtime/partition_table.h"

#include <stdio.h>
#include <string.h>

/* So many nodes are few: every number of them is tried, and all but one. */
#define FEW_NODES 12u

static const struct placement_kind kinds[] = {
    {.sharding = SHARDING_NONE, .ranks_least = 1, .ranks_most = 1, .way = "one node"},
    {.sharding = SHARDING_PIPELINE,
     .ranks_least = 2,
     .ranks_most = RANK_COUNT_MAX,
     .way = "pipeline by layers"},
    {.sharding = SHARDING_TENSOR,
     .is_equal = true,
     .ranks_least = 2,
     .ranks_most = RANK_COUNT_MAX,
     .way = "tensor cut in equal shares"},
    {.sharding = SHARDING_TENSOR,
     .ranks_least = 2,
     .ranks_most = RANK_COUNT_MAX,
     .way = "tensor cut by memory"},
    /* Last: it puts the nodes into the order of their groups. */
    {.sharding = SHARDING_PIPELINE_TENSOR,
     .ranks_least = 2,
     .ranks_most = RANK_COUNT_MAX,
     .way = "pipeline of tensor groups"},
};

/* Sets that were tried, as bits of the places in the standing order. */
struct tried {
    uint64_t sets[PLACEMENT_TRIES_MAX];
    uint32_t count;
};

struct trial {
    struct attempt *attempt;
    struct candidates_listed *listed;
    const struct placement_node *standing[NODE_COUNT_MAX];
    uint32_t usable;
    uint32_t least;
    struct tried tried;
};

static bool is_unequal(const struct placement_kind *kind)
{
    return kind->sharding == SHARDING_TENSOR && !kind->is_equal;
}

/* Whoever asks for a tensor cut gets equal shares, unless others are named. */
static bool is_wanted(const struct place_instance *request, const struct placement_kind *kind)
{
    if (kind->is_equal && (attempt_ranks_given(request) > 0 || request->asymmetric))
        return false;
    if (request->table.count > 0 && kind->sharding != partition_table_sharding(request))
        return false;
    if (request->stages.count > 0)
        return kind->sharding == SHARDING_PIPELINE_TENSOR;
    if (request->asymmetric)
        return is_unequal(kind);
    if (request->any_sharding)
        return true;
    return request->sharding == (uint32_t)kind->sharding &&
           (!is_unequal(kind) || attempt_ranks_given(request) > 0);
}

/* More ranks than a layer has units of anything are taken where they are asked for alone. */
static bool is_worth(const struct attempt *attempt, const struct placement_kind *kind)
{
    const struct place_instance *request = attempt->question->request;
    const struct partition_units units = partition_units_of_shape(&attempt->model->shape);
    const uint32_t named = request->node_ids.count / (uint32_t)sizeof(struct node_id);
    return kind->sharding != SHARDING_TENSOR || attempt->count <= request->nodes_min ||
           attempt->count <= named || attempt_ranks_given(request) > 0 ||
           attempt->count <= partition_ranks_worth(&units);
}

/* Equal shares; where they were asked for by name and are too tight, unequal ones beside them. */
static enum status try_equal(struct attempt *attempt, struct candidates_listed *listed)
{
    const struct place_instance *request = attempt->question->request;
    const bool are_named = !request->any_sharding && request->sharding == SHARDING_TENSOR &&
                           !request->asymmetric && attempt_ranks_given(request) == 0;
    struct upgrade_words words = {"", ""};
    const enum upgrade upgrade = are_named ? attempt_upgrade(attempt, &words) : UPGRADE_NONE;
    const uint32_t equal = listed->candidates.count;
    attempt->upgrade = upgrade == UPGRADE_REFUSED ? &words : NULL;
    enum status status = attempt_cut(attempt, listed);
    attempt->upgrade = upgrade == UPGRADE_NONE ? NULL : &words;
    if (status == STATUS_OK && upgrade == UPGRADE_HOLDS) {
        for (attempt->kind = kinds; !is_unequal(attempt->kind);)
            attempt->kind++;
        attempt->is_upgraded = true;
        status = attempt_cut(attempt, listed);
        attempt->is_upgraded = false;
    }
    attempt->upgrade = NULL;
    if (status == STATUS_OK && upgrade == UPGRADE_HOLDS &&
        listed->candidates.items[equal + 1].is_possible) {
        char text[SENTENCE_SIZE_MAX];
        (void)snprintf(text, sizeof(text), "%s; %s", words.tight, words.verdict);
        listed->candidates.items[equal].is_possible = false;
        status = candidate_say(&listed->candidates.items[equal], text);
    }
    return status;
}

/* Whoever names nodes, shares or a table says which rank is which. */
static bool is_order_given(const struct place_instance *request)
{
    return request->node_ids.count > 0 || attempt_ranks_given(request) > 0;
}

/* The last rank of a pipeline has the head: of those after rank 0 the largest shall be it, in the
 * place of a smaller one. */
static enum status cut_with_largest_last(struct attempt *attempt, struct candidates_listed *listed)
{
    const struct attempt before = *attempt;
    const uint32_t last = attempt->count - 1;
    uint32_t largest = last;
    for (uint32_t i = 1; i < last; i++)
        if (attempt->chosen[i]->memory_free > attempt->chosen[largest]->memory_free)
            largest = i;
    attempt->chosen[last] = before.chosen[largest];
    for (uint32_t i = largest; i < last; i++)
        attempt->chosen[i] = before.chosen[i + 1];
    enum status status = attempt_cut(attempt, listed);
    *attempt = before;
    return status;
}

static enum status try_kinds(struct attempt *attempt, struct candidates_listed *listed)
{
    const bool is_free = !is_order_given(attempt->question->request);
    enum status status = STATUS_OK;
    for (size_t i = 0; i < COUNT_OF(kinds) && status == STATUS_OK; i++) {
        attempt->kind = &kinds[i];
        if (attempt->count < kinds[i].ranks_least || attempt->count > kinds[i].ranks_most ||
            !is_wanted(attempt->question->request, &kinds[i]) || !is_worth(attempt, &kinds[i]))
            continue;
        if (kinds[i].sharding == SHARDING_PIPELINE_TENSOR && !attempt_group(attempt) &&
            (attempt->question->request->any_sharding ||
             attempt->question->request->stages.count > 0))
            continue;
        const bool is_ordered = kinds[i].sharding == SHARDING_PIPELINE && is_free;
        status = kinds[i].is_equal ? try_equal(attempt, listed)
                 : is_ordered      ? cut_with_largest_last(attempt, listed)
                                   : attempt_cut(attempt, listed);
        if (status == STATUS_OK)
            candidates_drop_twin(listed);
    }
    return status;
}

/* A set of nodes, once; its ranks are in the standing order, after the largest that all reach. */
static enum status try_set(struct trial *trial, uint64_t set)
{
    struct tried *tried = &trial->tried;
    for (uint32_t i = 0; i < tried->count; i++)
        if (tried->sets[i] == set)
            return STATUS_OK;
    if (tried->count == PLACEMENT_TRIES_MAX)
        return STATUS_OK;
    tried->sets[tried->count++] = set;
    trial->attempt->count = 0;
    for (uint32_t i = 0; i < trial->usable; i++)
        if (set >> i & 1)
            trial->attempt->chosen[trial->attempt->count++] = trial->standing[i];
    struct reason reason; /* where none can be rank 0, the choice of addresses says why */
    if (!is_order_given(trial->attempt->question->request))
        (void)(placement_reach_order(trial->attempt->question->links, trial->attempt->chosen,
                                     trial->attempt->count, &reason) == STATUS_OK);
    return try_kinds(trial->attempt, trial->listed);
}

static uint64_t bit_of(const struct trial *trial, const struct placement_node *node)
{
    uint32_t place = 0;
    while (trial->standing[place] != node)
        place++;
    return (uint64_t)1 << place;
}

/* Of many nodes not every number, but each half more than the one before. */
static bool is_number_tried(uint32_t count, uint32_t least, uint32_t most)
{
    uint32_t number = least;
    if (most <= FEW_NODES || count == most)
        return true;
    while (number < count)
        number = number < 4 ? number + 1 : number + number / 2;
    return number == count;
}

static enum status try_beginnings(struct trial *trial, const struct placement_node *const *nodes,
                                  uint32_t count)
{
    const struct place_instance *request = trial->attempt->question->request;
    const uint32_t stages = attempt_stages_asked(request);
    const uint32_t given = stages ? stages : attempt_ranks_given(request);
    const uint32_t least = trial->least > 2 ? trial->least : 2;
    uint64_t set = 0;
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < count && status == STATUS_OK; i++) {
        set |= bit_of(trial, nodes[i]);
        if (i + 1 >= least && (given ? given == i + 1 : is_number_tried(i + 1, least, count)))
            status = try_set(trial, set);
    }
    return status;
}

/* Where not all reach each other: those that do. */
static enum status try_reaching(struct trial *trial, const struct placement_node *const *nodes,
                                uint32_t count)
{
    const struct links_listed *links = trial->attempt->question->links;
    const struct placement_node *joined[NODE_COUNT_MAX];
    struct reason reason;
    uint32_t joined_count = 0;
    if (!placement_reach_has_gaps(links))
        return STATUS_OK;
    for (uint32_t i = 0; i < count; i++)
        if (placement_reach_joins(links, joined, joined_count, nodes[i], &reason) == STATUS_OK)
            joined[joined_count++] = nodes[i];
    return joined_count < count ? try_beginnings(trial, joined, joined_count) : STATUS_OK;
}

/* All that have room for anything of such a cut, with the context that is wanted and with the least
 * there is: one that has none shall not keep the others from what takes all of them. */
static enum status try_useful(struct trial *trial, const struct placement_node *const *nodes,
                              uint32_t count)
{
    static const enum sharding cuts[] = {SHARDING_PIPELINE, SHARDING_TENSOR};
    const struct attempt *attempt = trial->attempt;
    const uint32_t asked = attempt_context_asked(attempt);
    const uint32_t wanted = attempt_context(attempt);
    enum status status = STATUS_OK;
    for (size_t i = 0; i < 2 * COUNT_OF(cuts) && status == STATUS_OK; i++) {
        const bool is_least = i >= COUNT_OF(cuts);
        const bool may_shrink = is_least && !asked && wanted > PLACEMENT_CONTEXT_LEAST;
        const struct placement_cache cache = {
            may_shrink ? PLACEMENT_CONTEXT_LEAST : wanted,
            is_least ? 1 : attempt_requests(attempt), attempt_format(attempt)};
        const struct placement_node *useful[NODE_COUNT_MAX];
        const uint32_t found = placement_useful(
            nodes, count, attempt_least(attempt, cuts[i % COUNT_OF(cuts)], &cache), useful);
        uint64_t set = 0;
        if (found < 2 || found < trial->least || found == count)
            continue;
        for (uint32_t k = 0; k < found; k++)
            set |= bit_of(trial, useful[k]);
        status = try_reaching(trial, useful, found);
        if (status == STATUS_OK)
            status = try_set(trial, set);
    }
    return status;
}

static enum status try_several(struct trial *trial)
{
    const struct placement_node *nodes[NODE_COUNT_MAX];
    const bool are_named = trial->attempt->question->request->node_ids.count > 0;
    enum status status = STATUS_OK;
    uint32_t count = 0;
    for (uint32_t i = 0; i < trial->usable; i++)
        if (are_named || placement_node_joins(trial->standing[i]))
            nodes[count++] = trial->standing[i];
    for (int order = 0; order < ORDER_END && status == STATUS_OK; order++) {
        attempt_order(trial->attempt, (enum placement_order)order, nodes, count);
        status = try_reaching(trial, nodes, count);
        if (status == STATUS_OK)
            status = try_beginnings(trial, nodes, count);
    }
    uint64_t all = 0;
    for (uint32_t i = 0; i < count; i++)
        all |= bit_of(trial, nodes[i]);
    const bool may_leave_out =
        !are_named && attempt_ranks_given(trial->attempt->question->request) == 0;
    for (uint32_t i = 0; may_leave_out && count > 2 && count <= FEW_NODES && i < count &&
                         count > trial->least && status == STATUS_OK; i++)
        status = try_set(trial, all & ~bit_of(trial, nodes[i]));
    if (may_leave_out && status == STATUS_OK)
        status = try_useful(trial, nodes, count);
    /* Those that cannot join say why, once. */
    if (status == STATUS_OK && count < trial->usable)
        status = try_beginnings(trial, trial->standing,
                                trial->least > 2 ? trial->least : trial->usable);
    return status;
}

enum status attempt_all_kinds(struct attempt *attempt, struct candidates_listed *listed)
{
    const struct place_instance *request = attempt->question->request;
    struct trial trial = {.attempt = attempt, .listed = listed};
    enum status status = STATUS_OK;
    trial.usable = attempt_nodes(attempt, trial.standing);
    trial.least = request->node_ids.count
                      ? request->node_ids.count / (uint32_t)sizeof(struct node_id)
                      : request->nodes_min;
    for (uint32_t i = 0; status == STATUS_OK && i < trial.usable && trial.least <= 1 &&
                         attempt_ranks_given(request) == 0; i++)
        status = try_set(&trial, (uint64_t)1 << i);
    return status == STATUS_OK ? try_several(&trial) : status;
}
