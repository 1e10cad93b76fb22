/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/placement_attempt.h"

#include "actors/master/placement_reach.h"
#include "actors/master/placement_senders.h"
#include "actors/master/placement_sources.h"
#include "protocol/holdings.h"
#include "runtime/partition_table.h"
#include "runtime/rank_shares.h"

#include <stdio.h>

static enum status fill_ranks(const struct attempt *attempt, struct candidate *candidate)
{
    for (uint32_t i = 0; i < attempt->count; i++) {
        const struct rank_record rank = {
            .node_id = attempt->chosen[i]->node->node_id,
            .threads = attempt_threads(attempt, i),
            .has_weights = attempt_holds(attempt, attempt->chosen[i]),
        };
        if (!record_list_push(&rank_record_type, RECORD_LIST(candidate->ranks), &rank,
                              RANK_COUNT_MAX))
            return STATUS_NO_MEMORY;
    }
    return STATUS_OK;
}

/* The first weight file that no node has of those that are heard; the number of files: none. */
uint32_t placement_file_missing(const struct placement_question *question,
                              const struct model_record *model)
{
    for (uint32_t file = 0; file < model->files.count; file++) {
        bool is_held = !model->files.items[file].is_weight;
        for (uint32_t i = 0; i < question->node_count && !is_held; i++)
            is_held = question->nodes[i].is_heard &&
                      holder_has_file(
                          model_find_holder(model, &question->nodes[i].node->node_id), file);
        if (!is_held)
            return file;
    }
    return model->files.count;
}

/* What the nodes of the ranks lack, others that are here can send. */
static bool is_copyable(const struct attempt *attempt)
{
    const struct model_record *model = attempt->model;
    return placement_file_missing(attempt->question, model) == model->files.count &&
           !ID_IS_ZERO(attempt->model->manifest);
}

/* Who of them reads which file, and who sends it; unless together they do not hold the model. */
static enum status choose_sources(const struct attempt *attempt, struct candidate *candidate,
                                  bool *are_all_held_out)
{
    const struct holder_record *holders[RANK_COUNT_MAX];
    struct source_choice choice;
    enum status status =
        attempt->count == 1 ? STATUS_OK
                            : placement_senders_add(attempt->question, attempt->model,
                                                    attempt->chosen, attempt->count, candidate);
    if (status != STATUS_OK)
        return status;
    for (uint32_t i = 0; i < candidate->ranks.count; i++)
        holders[i] = model_find_holder(attempt->model, &candidate->ranks.items[i].node_id);
    source_choice_make(attempt->model, holders, attempt->count, candidate->ranks.count, &choice);
    /* One node alone maps the model's own files, with its index: it has them all or none. */
    *are_all_held_out = attempt->count == 1 ? attempt_holds(attempt, attempt->chosen[0])
                                            : choice.unheld == attempt->model->files.count;
    for (uint32_t i = 0; i < attempt->model->files.count && *are_all_held_out; i++) {
        if (!attempt->model->files.items[i].is_weight)
            continue;
        struct file_source *source = record_list_push(
            &file_source_type, RECORD_LIST(candidate->sources), NULL, MODEL_FILE_COUNT_MAX);
        if (!source || !text_set(&source->name, attempt->model->files.items[i].name))
            return STATUS_NO_MEMORY;
        source->rank = choice.ranks[i];
        source->holders = choice.holders[i];
    }
    return STATUS_OK;
}

/* MPI is not encrypted: ranks of several machines need a network the operator has named. */
static const struct placement_node *untrusted(const struct attempt *attempt)
{
    for (uint32_t i = 0; i < attempt->count && attempt->count > 1; i++)
        if (attempt->chosen[i]->is_exposed && !attempt->question->trusted)
            return attempt->chosen[i];
    return NULL;
}

static enum status say_exposed(struct candidate *candidate, const struct placement_node *exposed)
{
    char text[SENTENCE_SIZE_MAX];
    (void)snprintf(text, sizeof(text),
                   "the ranks would talk unencrypted with %.60s at %.60s, which is in no trusted "
                   "network; name it in trusted_networks of every node's config.ini",
                   text_or_empty(exposed->node->name), text_or_empty(exposed->node->fabric));
    return candidate_say(candidate, text);
}

static enum status choose_addresses(const struct attempt *attempt, struct candidate *candidate,
                                    struct reason *reason)
{
    const struct placement_question *question = attempt->question;
    const struct reach_question reach = {.state = question->state,
                                         .nodes = question->nodes,
                                         .node_count = question->node_count,
                                         .links = question->links,
                                         .trusted = question->trusted,
                                         .may_rdma = question->may_rdma};
    return placement_reach_addresses(&reach, candidate, reason);
}

static enum status say_of_nodes(const struct attempt *attempt, struct candidate *candidate,
                                const struct reason *reason)
{
    char text[SENTENCE_SIZE_MAX];
    attempt_name_ranks(attempt, reason->text, text);
    return candidate_say(candidate, text);
}

/* What each carries, and whether that is unlike in a tensor cut. */
static void note_shares(struct candidate *candidate)
{
    struct rank_record *ranks = candidate->ranks.items;
    rank_shares_set(ranks, candidate->ranks.count);
    candidate->is_asymmetric =
        ranks_are_asymmetric(candidate->sharding, ranks, candidate->ranks.count);
}

/* The tables of the ranks, with what was counted for each. */
static enum status write_down(const struct placement_fitting *fitting)
{
    struct candidate *candidate = fitting->candidate;
    enum status status = STATUS_OK;
    for (uint32_t i = 0; status == STATUS_OK && i < fitting->attempt->count; i++)
        status = partition_to_record(&fitting->cuts[i], &candidate->ranks.items[i]);
    note_shares(candidate);
    return status;
}

enum status attempt_cut(const struct attempt *attempt, struct candidates_listed *listed)
{
    const struct model_shape *shape = &attempt->model->shape;
    const struct place_instance *request = attempt->question->request;
    const struct partition_units units = partition_units_of_shape(shape);
    struct candidate *candidate =
        record_list_push(&candidate_type, RECORD_LIST(listed->candidates), NULL,
                         PLACEMENT_FOUND_MAX);
    if (!candidate)
        return STATUS_NO_MEMORY;
    candidate->sharding = attempt->kind->sharding;
    /* As it is meant; when it is cut, what came of it: note_shares. */
    candidate->is_asymmetric =
        attempt->kind->sharding == SHARDING_TENSOR && !attempt->kind->is_equal;
    candidate->is_upgraded = attempt->is_upgraded;
    candidate->mode = attempt_mode(request);
    candidate->kv_format = attempt_format(attempt);
    uint64_t shares[RANK_COUNT_MAX];
    for (uint32_t i = 0; i < attempt->count; i++) {
        shares[i] = attempt->kind->is_equal ? 1 : (attempt->chosen[i]->memory_free >> 20) + 1;
        if (request->shares.count > 0)
            shares[i] = request->shares.items[i];
    }
    struct partition cuts[RANK_COUNT_MAX];
    struct reason reason = {""};
    if (attempt->kind->sharding == SHARDING_PIPELINE_TENSOR && attempt->stage_count == 0)
        return candidate_say(candidate, "the links between these nodes are about alike, so that "
                                        "nothing asks for groups; give the ranks of each stage, "
                                        "like 2,1");
    if (attempt_solve(attempt, &units, shares, cuts, &reason) != STATUS_OK ||
        partition_table_apply(request, &units, shares, cuts, attempt->count, &reason) !=
            STATUS_OK)
        return say_of_nodes(attempt, candidate, &reason);
    enum status status = fill_ranks(attempt, candidate);
    if (status != STATUS_OK)
        return status;
    bool are_all_held = false;
    status = choose_sources(attempt, candidate, &are_all_held);
    if (status == STATUS_OK && !are_all_held && !is_copyable(attempt))
        return candidate_say(candidate, "these nodes do not hold the model, not even together");
    if (status != STATUS_OK)
        return status;
    if (!are_all_held)
        candidate->copied_to = attempt->chosen[0]->node->node_id;
    const struct placement_node *exposed = untrusted(attempt);
    if (exposed)
        return say_exposed(candidate, exposed);
    status = choose_addresses(attempt, candidate, &reason);
    if (status != STATUS_OK)
        return status == STATUS_NO_MEMORY ? status : candidate_say(candidate, reason.text);
    struct placement_fitting fitting = {.attempt = attempt, .cuts = cuts, .candidate = candidate};
    fitting.is_by_memory =
        !attempt->kind->is_equal && attempt->count > 1 && attempt_ranks_given(request) == 0;
    candidate->is_possible = fitting_context(&fitting);
    fitting.is_by_memory = false;
    if (candidate->is_possible)
        fitting_grow(&fitting);
    status = write_down(&fitting);
    if (status != STATUS_OK)
        return status;
    if (candidate->is_possible)
        attempt_predict(attempt, cuts, candidate);
    return fitting_describe(&fitting);
}
