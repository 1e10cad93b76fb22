/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/placement_attempt.h"

#include "runtime/partition_table.h"

#include <stdio.h>
#include <string.h>

static enum status check_format(const struct place_instance *request, struct reason *reason)
{
    if (request->kv_format != KV_FORMAT_NONE &&
        (attempt_mode(request) == MODE_EXACT || !kv_format_is_fast(request->kv_format)))
        return refuse(reason, STATUS_INVALID,
                      "the KV cache is bf16 or int8 in fast mode and f32 in exact mode; leave its "
                      "format out or ask for fast mode");
    return STATUS_OK;
}

static enum status check_context(const struct attempt *attempt, struct reason *reason)
{
    const uint32_t asked = attempt->question->request->context;
    const uint32_t most = attempt_context_most(attempt->model);
    const bool is_of_model = most == attempt->model->shape.context;
    if (asked <= most)
        return STATUS_OK;
    return refuse(reason, STATUS_INVALID,
                  "a context of %u is more than the %u %s; ask for at most that, or leave the "
                  "context out",
                  asked, most,
                  is_of_model ? "the model was made for" : "that a request can have");
}

/* "such as 60,40" */
static const char *nearest_shares(const uint64_t *given, uint32_t count, uint32_t wanted,
                                  char text_out[PARTITION_SHARES_SIZE])
{
    char shares[PARTITION_SHARES_SIZE];
    if (wanted < 2)
        return "or leave them out for one node";
    (void)snprintf(text_out, PARTITION_SHARES_SIZE, "such as %.240s",
                   partition_nearest_shares(given, count < wanted ? count : wanted, wanted,
                                            shares));
    return text_out;
}

/* Shares by hand say how many ranks there are; what contradicts them is refused, never guessed. */
static enum status check_shares(const struct attempt *attempt, struct reason *reason)
{
    const struct place_instance *request = attempt->question->request;
    const struct placement_node *sorted[NODE_COUNT_MAX];
    const uint32_t shares = request->shares.count;
    const uint32_t named = request->node_ids.count / (uint32_t)sizeof(struct node_id);
    const uint32_t usable = attempt_nodes(attempt, sorted);
    uint64_t given[RANK_COUNT_MAX];
    char text[PARTITION_SHARES_SIZE];
    for (uint32_t i = 0; i < shares && i < RANK_COUNT_MAX; i++)
        given[i] = request->shares.items[i];
    if (shares == 0)
        return STATUS_OK;
    if (named > 0 && named != shares)
        return refuse(reason, STATUS_INVALID,
                      "there are %u shares for %u node%s; give one share for each node, %s", shares,
                      named, named == 1 ? "" : "s", nearest_shares(given, shares, named, text));
    if (shares > usable)
        return refuse(reason, STATUS_NO_CAPACITY,
                      "there are %u shares, but only %u node%s can take part now; give one share "
                      "for each rank, %s",
                      shares, usable, usable == 1 ? "" : "s",
                      nearest_shares(given, shares, usable, text));
    if (shares < request->nodes_min)
        return refuse(reason, STATUS_INVALID,
                      "there are %u shares for at least %u nodes; give one share for each rank, %s",
                      shares, request->nodes_min,
                      nearest_shares(given, shares, request->nodes_min, text));
    if (shares == 1 || (!request->any_sharding && !request->asymmetric &&
                        request->sharding == SHARDING_NONE))
        return refuse(reason, STATUS_INVALID,
                      "shares cut a model over several ranks, at least two; leave them out for one "
                      "node");
    return partition_check_shares(given, shares, RANK_COUNT_MAX, reason);
}

/* So does a table by hand. */
static enum status check_table(const struct attempt *attempt, struct reason *reason)
{
    const struct place_instance *request = attempt->question->request;
    const struct partition_units units = partition_units_of_shape(&attempt->model->shape);
    const struct placement_node *sorted[NODE_COUNT_MAX];
    const enum sharding sharding = partition_table_sharding(request);
    const uint32_t ranks = partition_table_ranks(request);
    const uint32_t named = request->node_ids.count / (uint32_t)sizeof(struct node_id);
    struct partition cuts[RANK_COUNT_MAX];
    if (request->table.count == 0)
        return STATUS_OK;
    if (!request->any_sharding && request->sharding != (uint32_t)sharding)
        return refuse(reason, STATUS_INVALID,
                      "this table is for sharding %s, and %s is asked for; ask for that or leave "
                      "the sharding out",
                      sharding_name(sharding), sharding_name((enum sharding)request->sharding));
    if ((request->shares.count > 0 && request->shares.count != ranks) ||
        (named > 0 && named != ranks) || request->nodes_min > ranks || ranks < 2)
        return refuse(reason, STATUS_INVALID,
                      "the table is for %u ranks; give as many nodes or shares, at least two, or "
                      "leave them out",
                      ranks);
    enum status status =
        sharding == SHARDING_PIPELINE_TENSOR
            ? partition_solve_stages(&units, request->stages.items, request->stages.count, NULL,
                                     cuts, reason)
            : partition_solve(sharding, &units, NULL, ranks, cuts, reason);
    if (status == STATUS_OK)
        status = partition_table_apply(request, &units, NULL, cuts, ranks, reason);
    const uint32_t usable = attempt_nodes(attempt, sorted);
    if (status == STATUS_OK && ranks > usable)
        return refuse(reason, STATUS_NO_CAPACITY,
                      "the table is for %u ranks, but only %u node%s can take part now", ranks,
                      usable, usable == 1 ? "" : "s");
    return status;
}

static const struct placement_node *node_of(const struct placement_question *question,
                                            const struct node_id *id)
{
    for (uint32_t i = 0; i < question->node_count; i++)
        if (ID_EQUAL(question->nodes[i].node->node_id, *id))
            return &question->nodes[i];
    return NULL;
}

static enum status check_named(const struct placement_question *question, const struct node_id *ids,
                               uint32_t at, struct reason *reason)
{
    char hex[HEX_SIZE(16)];
    const struct placement_node *node = node_of(question, &ids[at]);
    char listed[NODES_LISTED_SIZE];
    (void)hex_print(&ids[at], sizeof(ids[at]), hex);
    if (!node)
        return refuse(reason, STATUS_NOT_FOUND, "there is no node %.8s; there are %s", hex,
                      state_nodes_list(question->state, listed));
    const char *name = text_or_empty(node->node->name);
    for (uint32_t i = 0; i < at; i++)
        if (ID_EQUAL(ids[i], ids[at]))
            return refuse(reason, STATUS_INVALID,
                          "node %.64s is named twice; name it once, and one share for it", name);
    if (!node->is_heard)
        return refuse(reason, STATUS_NO_CAPACITY,
                      "node %.64s %s; leave it out, or place again when it is here", name,
                      node->node->in_view ? "has not told yet what is free on it"
                                          : "is away or leaving");
    return STATUS_OK;
}

/* Names that are wrong are told; what is not named may be left out unsaid. */
static enum status check_nodes(const struct attempt *attempt, struct reason *reason)
{
    const struct place_instance *request = attempt->question->request;
    struct node_id ids[NODE_COUNT_MAX];
    const uint32_t named = request->node_ids.count / (uint32_t)sizeof(ids[0]);
    enum status status = STATUS_OK;
    if (named > NODE_COUNT_MAX || request->node_ids.count % sizeof(ids[0]) != 0)
        return refuse(reason, STATUS_INVALID, "the list of nodes is no list of at most %d ids",
                      NODE_COUNT_MAX);
    if (named > 0)
        memcpy(ids, request->node_ids.items, named * sizeof(ids[0]));
    for (uint32_t i = 0; i < named && status == STATUS_OK; i++)
        status = check_named(attempt->question, ids, i, reason);
    if (status != STATUS_OK)
        return status;
    if (named > 1 && !request->any_sharding && !request->asymmetric &&
        request->sharding == SHARDING_NONE)
        return refuse(reason, STATUS_INVALID,
                      "%u nodes are named for a model on one; name one of them, or ask for "
                      "pipeline or tensor", named);
    return STATUS_OK;
}

/* Ranks beyond what can be shared would have no work. */
static enum status check_ranks(const struct attempt *attempt, struct reason *reason)
{
    const struct place_instance *request = attempt->question->request;
    const struct partition_units units = partition_units_of_shape(&attempt->model->shape);
    const uint32_t named = request->node_ids.count / (uint32_t)sizeof(struct node_id);
    const uint32_t given = attempt_ranks_given(request);
    const uint32_t asked = named > request->nodes_min ? named : request->nodes_min;
    const uint32_t wanted = asked > given ? asked : given;
    const uint32_t tensor = partition_ranks_most(&units);
    const uint32_t pipeline = units.layers < RANK_COUNT_MAX ? units.layers : RANK_COUNT_MAX;
    const bool is_tensor = request->asymmetric || request->sharding == SHARDING_TENSOR;
    uint32_t most = is_tensor ? tensor : pipeline;
    if (request->any_sharding && !request->asymmetric)
        most = tensor > pipeline ? tensor : pipeline;
    if (request->sharding == SHARDING_PIPELINE_TENSOR)
        most = RANK_COUNT_MAX;
    if (wanted <= most || wanted < 2)
        return STATUS_OK;
    return refuse(reason, STATUS_INVALID,
                  "%u ranks are more than %.100s can be shared among%s; ask for at most %u", wanted,
                  text_or_empty(attempt->model->model_id),
                  request->any_sharding ? "" : is_tensor ? " by tensor" : " by pipeline", most);
}

/* Stages by hand, or none. */
static enum status check_stages(const struct attempt *attempt, struct reason *reason)
{
    const struct place_instance *request = attempt->question->request;
    const struct placement_node *sorted[NODE_COUNT_MAX];
    const uint32_t ranks = attempt_stages_asked(request);
    const uint32_t named = request->node_ids.count / (uint32_t)sizeof(struct node_id);
    if (request->stages.count == 0)
        return STATUS_OK;
    if (!request->any_sharding && request->sharding != SHARDING_PIPELINE_TENSOR)
        return refuse(reason, STATUS_INVALID, "stages belong to sharding %s; leave them out or ask "
                      "for it", sharding_name(SHARDING_PIPELINE_TENSOR));
    if (request->stages.count < 2)
        return refuse(reason, STATUS_INVALID, "one stage of all ranks is a tensor cut; ask for "
                      "sharding tensor, or give the ranks of each stage like 2,1");
    for (uint32_t i = 0; i < request->stages.count; i++)
        if (request->stages.items[i] == 0 || request->stages.items[i] > RANK_COUNT_MAX)
            return refuse(reason, STATUS_INVALID, "stage %u of %u ranks; give 1 to %u", i,
                          request->stages.items[i], RANK_COUNT_MAX);
    const uint32_t given = attempt_ranks_given(request);
    if ((named > 0 && named != ranks) || (given > 0 && given != ranks))
        return refuse(reason, STATUS_INVALID, "the stages have %u ranks together, where %u %s are "
                      "given; give as many", ranks, named > 0 ? named : given,
                      named > 0                   ? "nodes"
                      : request->shares.count > 0 ? "shares"
                                                  : "ranks of a table");
    const uint32_t usable = attempt_nodes(attempt, sorted);
    if (ranks > usable)
        return refuse(reason, STATUS_NO_CAPACITY, "the stages have %u ranks together, but only %u "
                      "node%s can take part now", ranks, usable, usable == 1 ? "" : "s");
    return STATUS_OK;
}

enum status attempt_check(const struct attempt *attempt, struct reason *reason)
{
    enum status status = check_format(attempt->question->request, reason);
    if (status == STATUS_OK)
        status = check_nodes(attempt, reason);
    if (status == STATUS_OK)
        status = check_ranks(attempt, reason);
    if (status == STATUS_OK)
        status = check_stages(attempt, reason);
    if (status == STATUS_OK)
        status = check_shares(attempt, reason);
    if (status == STATUS_OK)
        status = check_table(attempt, reason);
    return status == STATUS_OK ? check_context(attempt, reason) : status;
}
