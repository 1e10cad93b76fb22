/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/placement.h"

#include "actors/master/placement_bytes.h"
#include "actors/master/placement_senders.h"
#include "actors/master/placement_order.h"
#include "actors/master/placement_sources.h"
#include "protocol/holdings.h"
#include "protocol/limits.h"
#include "protocol/memory.h"

#include <stdio.h>
#include <string.h>

/* Bytes a processor reads per second in decoding, where nothing was measured yet: one channel of
 * common memory.  It only has to order candidates. */
#define BYTES_PER_S 8e9
/* A message between two machines of a home, seconds; per layer two sums in a tensor cut. */
#define HOP_S 0.00015

struct attempt {
    const struct placement_question *question;
    const struct model_record *model;
    const struct placement_node *chosen[RANK_COUNT_MAX]; /* rank order */
    uint32_t count;
    enum sharding sharding;
    bool is_equal; /* a tensor cut in equal shares */
};

static uint32_t mode_of(const struct place_instance *request)
{
    return request->mode == MODE_EXACT ? MODE_EXACT : MODE_FAST;
}

static const struct placement_settings standard = {.requests = 16, .reserve = 4096};

static const struct placement_settings *settings_of(const struct attempt *attempt)
{
    return attempt->question->settings ? attempt->question->settings : &standard;
}

static uint32_t requests_wanted(const struct attempt *attempt)
{
    const uint32_t asked = attempt->question->request->requests;
    const uint32_t usual = settings_of(attempt)->requests;
    const uint32_t requests = asked ? asked : usual ? usual : standard.requests;
    return requests < REQUESTS_RUNNING_MAX ? requests : REQUESTS_RUNNING_MAX;
}

static enum kv_format format_wanted(const struct attempt *attempt)
{
    const uint32_t asked = attempt->question->request->kv_format;
    const enum kv_format usual = settings_of(attempt)->kv_format;
    if (mode_of(attempt->question->request) == MODE_EXACT)
        return KV_F32;
    return asked ? (enum kv_format)asked : usual ? usual : KV_BF16;
}

/* Ranks of one machine share its memory: the sum of those up to `rank`. */
static uint64_t taken_up_to(const struct attempt *attempt, const struct candidate *candidate,
                            uint32_t rank)
{
    uint64_t taken = 0;
    for (uint32_t i = 0; i <= rank; i++) {
        const struct rank_record *other = &candidate->ranks.items[i];
        const uint64_t bytes = other->weight_bytes + other->scratch_bytes;
        if (!ID_EQUAL(attempt->chosen[i]->node->machine_id,
                      attempt->chosen[rank]->node->machine_id))
            continue;
        if (bytes > UINT64_MAX - taken || other->cache_bytes > UINT64_MAX - taken - bytes)
            return UINT64_MAX;
        taken += bytes + other->cache_bytes;
    }
    return taken;
}

/* What the model was made for, and no more than one request can have. */
static uint32_t context_most(const struct model_record *model)
{
    const uint32_t most = model->shape.context;
    return most > 0 && most < TOKEN_IDS_MAX ? most : TOKEN_IDS_MAX;
}

/* 0: what fits.  The node's setting is for all models: of one made for less it asks less. */
static uint32_t context_asked(const struct attempt *attempt)
{
    const uint32_t asked = attempt->question->request->context;
    return asked ? asked : settings_of(attempt)->context;
}

static uint32_t context_wanted(const struct attempt *attempt)
{
    const uint32_t asked = context_asked(attempt);
    const uint32_t most = context_most(attempt->model);
    const uint32_t context = asked ? asked : PLACEMENT_CONTEXT_DEFAULT;
    return context < most ? context : most;
}

static uint32_t threads_for(const struct attempt *attempt, uint32_t rank)
{
    const struct placement_node *node = attempt->chosen[rank];
    if (attempt->question->request->threads)
        return attempt->question->request->threads;
    uint32_t sharing = 0;
    for (uint32_t i = 0; i < attempt->count; i++)
        sharing += ID_EQUAL(attempt->chosen[i]->node->machine_id, node->node->machine_id);
    uint32_t threads = node->node->cores / (sharing ? sharing : 1);
    return threads ? threads : 1;
}

static bool holds_weights(const struct attempt *attempt, const struct placement_node *node)
{
    const struct holder_record *holder = model_find_holder(attempt->model, &node->node->node_id);
    return holder && holder->has_weights;
}

static enum status say(struct candidate *candidate, const char *text)
{
    return text_set(&candidate->why, text) ? STATUS_OK : STATUS_NO_MEMORY;
}

struct fitting {
    const struct attempt *attempt;
    struct partition *cuts;
    struct candidate *candidate;
    bool is_by_memory; /* else the cuts stay as they are */
    uint64_t limits[RANK_COUNT_MAX]; /* what ranks up to this may take of its machine */
    uint32_t short_rank;             /* the first that does not fit */
    uint64_t short_bytes;
};

/* Of what is free on a node, what one of the ranks there may take. */
static void fill_budgets(const struct fitting *fitting, uint64_t budgets[RANK_COUNT_MAX])
{
    const struct attempt *attempt = fitting->attempt;
    for (uint32_t i = 0; i < attempt->count; i++) {
        uint32_t sharing = 0;
        for (uint32_t k = 0; k < attempt->count; k++)
            sharing += ID_EQUAL(attempt->chosen[k]->node->machine_id,
                                attempt->chosen[i]->node->machine_id);
        budgets[i] = fitting->limits[i] / (sharing ? sharing : 1);
    }
}

/* The table by memory for so large a cache; where there is none the one there was stays. */
static void solve_by_memory(struct fitting *fitting, const struct placement_cache *cache)
{
    const struct attempt *attempt = fitting->attempt;
    uint64_t budgets[RANK_COUNT_MAX];
    struct partition cuts[RANK_COUNT_MAX];
    struct reason reason;
    fill_budgets(fitting, budgets);
    if (placement_place(&attempt->model->shape, cache, attempt->sharding, NULL, budgets,
                        attempt->count, cuts, &reason) == STATUS_OK)
        memcpy(fitting->cuts, cuts, attempt->count * sizeof(cuts[0]));
}

/* Fills the bytes of all ranks; whether they are within the limits. */
static bool fits(struct fitting *fitting, uint64_t positions, uint32_t requests)
{
    const struct model_shape *shape = &fitting->attempt->model->shape;
    struct candidate *candidate = fitting->candidate;
    const struct placement_cache cache = {positions, requests,
                                          (enum kv_format)candidate->kv_format};
    if (fitting->is_by_memory)
        solve_by_memory(fitting, &cache);
    candidate->positions = (uint32_t)positions;
    candidate->requests = requests;
    for (uint32_t i = 0; i < fitting->attempt->count; i++) {
        struct rank_record *rank = &candidate->ranks.items[i];
        rank->weight_bytes = placement_weight_bytes(shape, &fitting->cuts[i]);
        rank->cache_bytes = placement_cache_bytes(shape, &fitting->cuts[i], &cache);
        rank->scratch_bytes = placement_scratch_bytes(shape, requests);
    }
    for (uint32_t i = 0; i < fitting->attempt->count; i++) {
        const uint64_t taken = taken_up_to(fitting->attempt, candidate, i);
        if (taken <= fitting->limits[i])
            continue;
        fitting->short_rank = i;
        fitting->short_bytes = taken - fitting->limits[i];
        return false;
    }
    return true;
}

/* What the requests keep of their own is more than what they share. */
static bool are_requests_costly(const struct fitting *fitting, uint64_t positions,
                                uint32_t requests)
{
    struct kv_sizes sizes;
    uint64_t shared = 0;
    uint64_t own = 0;
    for (uint32_t i = 0; i < fitting->attempt->count; i++) {
        placement_cache_sizes(&fitting->attempt->model->shape, &fitting->cuts[i],
                              (enum kv_format)fitting->candidate->kv_format, &sizes);
        shared += sizes.page_bytes * kv_page_count(positions);
        own += kv_own_bytes(&sizes, kv_page_count(positions), KV_STEP_ROWS) * requests;
    }
    return own > shared;
}

/* The context that fits is the largest, halving from the one wanted, with which every rank fits;
 * fewer requests at once where these cost more. */
static bool fit_context(struct fitting *fitting)
{
    const struct attempt *attempt = fitting->attempt;
    const bool is_fixed = context_asked(attempt) != 0;
    uint32_t requests = requests_wanted(attempt);
    uint32_t context = context_wanted(attempt);
    for (uint32_t i = 0; i < attempt->count; i++) {
        const uint64_t taken =
            placement_senders_taken(attempt->question->state, fitting->candidate,
                                    &attempt->chosen[i]->node->machine_id);
        const uint64_t memory_free = attempt->chosen[i]->memory_free;
        fitting->limits[i] = memory_free > taken ? memory_free - taken : 0;
    }
    while (!fits(fitting, context, requests)) {
        const bool may_shrink = !is_fixed && context / 2 >= PLACEMENT_CONTEXT_LEAST;
        if (requests > 1 && (!may_shrink || are_requests_costly(fitting, context, requests)))
            requests /= 2;
        else if (may_shrink)
            context /= 2;
        else
            break;
    }
    fitting->candidate->context = context;
    return fits(fitting, context, requests);
}

/* Room for the reserve of every request, from half of what is free beside the context: the rest is
 * for what else this machine has to do. */
static void grow_pool(struct fitting *fitting)
{
    const struct attempt *attempt = fitting->attempt;
    const uint32_t requests = fitting->candidate->requests;
    const uint64_t context = fitting->candidate->context;
    const uint64_t reserve = settings_of(attempt)->reserve;
    const uint64_t most = requests * (reserve < context ? reserve : context);
    uint64_t low = kv_page_count(context);
    uint64_t high = kv_page_count(most < UINT32_MAX / 2 ? most : UINT32_MAX / 2);
    for (uint32_t i = 0; i < attempt->count; i++) {
        const uint64_t taken = taken_up_to(attempt, fitting->candidate, i);
        fitting->limits[i] = taken + (fitting->limits[i] - taken) / 2;
    }
    while (low < high) {
        const uint64_t middle = low + (high - low + 1) / 2;
        if (fits(fitting, middle * KV_PAGE_POSITIONS, requests))
            low = middle;
        else
            high = middle - 1;
    }
    const uint64_t positions = low * KV_PAGE_POSITIONS;
    (void)fits(fitting, positions > context ? positions : context, requests);
}

static double tokens_per_s(const struct attempt *attempt, const struct candidate *candidate)
{
    double seconds = 0;
    double slowest = 0;
    for (uint32_t i = 0; i < attempt->count; i++) {
        double own = (double)candidate->ranks.items[i].weight_bytes / BYTES_PER_S;
        seconds += own;
        slowest = own > slowest ? own : slowest;
    }
    if (candidate->sharding == SHARDING_TENSOR)
        seconds = slowest + 2.0 * attempt->model->shape.layers * HOP_S;
    else if (candidate->sharding == SHARDING_PIPELINE)
        seconds += attempt->count * HOP_S;
    return seconds > 0 ? 1.0 / seconds : 0;
}

static enum status fill_ranks(const struct attempt *attempt, struct candidate *candidate)
{
    for (uint32_t i = 0; i < attempt->count; i++) {
        const struct rank_record rank = {
            .node_id = attempt->chosen[i]->node->node_id,
            .threads = threads_for(attempt, i),
            .has_weights = holds_weights(attempt, attempt->chosen[i]),
        };
        if (!record_list_push(&rank_record_type, RECORD_LIST(candidate->ranks), &rank,
                              RANK_COUNT_MAX))
            return STATUS_NO_MEMORY;
    }
    return STATUS_OK;
}

static const char *way_of(const struct attempt *attempt)
{
    if (attempt->count == 1)
        return "one node";
    if (attempt->sharding == SHARDING_PIPELINE)
        return "pipeline by layers";
    if (attempt->is_equal)
        return "tensor cut in equal shares";
    return attempt->question->request->shares.count > 0 ? "tensor cut in the shares given"
                                                        : "tensor cut by memory";
}

static const char *node_name(const struct attempt *attempt, const struct node_id *id)
{
    const struct node_record *node = state_find_node(attempt->question->state, id);
    return node ? text_or_empty(node->name) : "";
}

static enum status describe(const struct attempt *attempt, struct candidate *candidate,
                            uint32_t short_rank, uint64_t short_bytes)
{
    char text[SENTENCE_SIZE_MAX];
    int used = 0;
    if (!candidate->is_possible) {
        (void)snprintf(text, sizeof(text), "%.64s lacks %.1f MB of memory",
                       text_or_empty(attempt->chosen[short_rank]->node->name),
                       (double)short_bytes / 1e6);
        return say(candidate, text);
    }
    used = snprintf(text, sizeof(text), "%s", way_of(attempt));
    for (uint32_t i = 0; i < attempt->count && used > 0 && (size_t)used < sizeof(text) - 64; i++) {
        const struct rank_record *rank = &candidate->ranks.items[i];
        used += snprintf(text + used, sizeof(text) - (size_t)used, "%s %.40s %.1f MB",
                         i ? "," : ":", text_or_empty(attempt->chosen[i]->node->name),
                         (double)(rank->weight_bytes + rank->cache_bytes) / 1e6);
    }
    for (uint32_t i = attempt->count; i < candidate->ranks.count && used > 0 &&
                                      (size_t)used < sizeof(text) - 64; i++)
        used += snprintf(text + used, sizeof(text) - (size_t)used, "%s %.40s",
                         i == attempt->count ? "; weights are sent by" : ",",
                         node_name(attempt, &candidate->ranks.items[i].node_id));
    if (!ID_IS_ZERO(candidate->copied_to) && used > 0 && (size_t)used < sizeof(text))
        (void)snprintf(text + used, sizeof(text) - (size_t)used,
                       "; the model is copied to %.40s first",
                       text_or_empty(attempt->chosen[0]->node->name));
    return say(candidate, text);
}

/* Shares by hand that do not fit, with those that would. */
static enum status describe_shares(struct fitting *fitting, const uint64_t *shares)
{
    const struct attempt *attempt = fitting->attempt;
    struct candidate *candidate = fitting->candidate;
    const struct placement_cache cache = {candidate->positions, candidate->requests,
                                          (enum kv_format)candidate->kv_format};
    uint64_t budgets[RANK_COUNT_MAX];
    struct partition cuts[RANK_COUNT_MAX];
    struct reason reason = {""};
    char text[SENTENCE_SIZE_MAX];
    fill_budgets(fitting, budgets);
    if (placement_place(&attempt->model->shape, &cache, attempt->sharding, shares, budgets,
                        attempt->count, cuts, &reason) == STATUS_OK)
        return describe(attempt, candidate, fitting->short_rank, fitting->short_bytes);
    (void)snprintf(text, sizeof(text), "%.64s lacks %.1f MB of memory: %.200s",
                   text_or_empty(attempt->chosen[fitting->short_rank]->node->name),
                   (double)fitting->short_bytes / 1e6, reason.text);
    return say(candidate, text);
}

/* The first weight file that no node has of those that are heard; the number of files: none. */
static uint32_t file_not_here(const struct placement_question *question,
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
    return file_not_here(attempt->question, attempt->model) == attempt->model->files.count &&
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
    *are_all_held_out = attempt->count == 1 ? holds_weights(attempt, attempt->chosen[0])
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
        if (attempt->chosen[i]->is_exposed)
            return attempt->chosen[i];
    return NULL;
}

static enum status try_cut(const struct attempt *attempt, struct candidates_listed *listed)
{
    const struct model_shape *shape = &attempt->model->shape;
    const struct place_instance *request = attempt->question->request;
    const struct partition_units units = partition_units_of_shape(shape);
    struct candidate *candidate =
        record_list_push(&candidate_type, RECORD_LIST(listed->candidates), NULL, 64);
    if (!candidate)
        return listed->candidates.count >= 64 ? STATUS_OK : STATUS_NO_MEMORY;
    candidate->sharding = attempt->sharding;
    candidate->mode = mode_of(request);
    candidate->kv_format = format_wanted(attempt);
    uint64_t shares[RANK_COUNT_MAX];
    for (uint32_t i = 0; i < attempt->count; i++) {
        shares[i] = attempt->is_equal ? 1 : (attempt->chosen[i]->memory_free >> 20) + 1;
        if (request->shares.count > 0)
            shares[i] = request->shares.items[i];
    }
    struct partition cuts[RANK_COUNT_MAX];
    struct reason reason = {""};
    if (partition_solve(attempt->sharding, &units, shares, attempt->count, cuts, &reason) !=
        STATUS_OK)
        return say(candidate, reason.text);
    enum status status = fill_ranks(attempt, candidate);
    if (status != STATUS_OK)
        return status;
    bool are_all_held = false;
    status = choose_sources(attempt, candidate, &are_all_held);
    if (status == STATUS_OK && !are_all_held && !is_copyable(attempt))
        return say(candidate, "these nodes do not hold the model, not even together");
    if (status != STATUS_OK)
        return status;
    if (!are_all_held)
        candidate->copied_to = attempt->chosen[0]->node->node_id;
    const struct placement_node *exposed = untrusted(attempt);
    if (exposed) {
        char text[SENTENCE_SIZE_MAX];
        (void)snprintf(
            text, sizeof(text),
            "the ranks would talk unencrypted with %.60s at %.60s, which is in no trusted "
            "network; name it in trusted_networks of every node's config.ini",
            text_or_empty(exposed->node->name), text_or_empty(exposed->node->fabric));
        return say(candidate, text);
    }
    struct fitting fitting = {.attempt = attempt, .cuts = cuts, .candidate = candidate};
    fitting.is_by_memory = !attempt->is_equal && attempt->count > 1 && request->shares.count == 0;
    candidate->is_possible = fit_context(&fitting);
    fitting.is_by_memory = false;
    if (candidate->is_possible)
        grow_pool(&fitting);
    for (uint32_t i = 0; status == STATUS_OK && i < attempt->count; i++)
        status = partition_to_record(&cuts[i], &candidate->ranks.items[i]);
    if (status != STATUS_OK)
        return status;
    if (!candidate->is_possible && request->shares.count > 0)
        return describe_shares(&fitting, shares);
    candidate->tokens_per_s = candidate->is_possible ? tokens_per_s(attempt, candidate) : 0;
    return describe(attempt, candidate, fitting.short_rank, fitting.short_bytes);
}

/* ---- which nodes ---- */

static bool is_named(const struct place_instance *request, const struct node_id *id)
{
    if (request->node_ids.count == 0)
        return true;
    for (uint32_t at = 0; at + sizeof(*id) <= request->node_ids.count; at += sizeof(*id))
        if (memcmp(request->node_ids.items + at, id, sizeof(*id)) == 0)
            return true;
    return false;
}

static uint64_t bytes_held(const struct attempt *attempt, const struct placement_node *node)
{
    const struct holder_record *holder = model_find_holder(attempt->model, &node->node->node_id);
    return holder_weight_bytes(attempt->model, holder);
}

/* By what they hold, then by free memory, then by id: rank 0 is the first. */
static bool comes_before(const struct attempt *attempt, const struct placement_node *a,
                         const struct placement_node *b)
{
    const bool a_holds = holds_weights(attempt, a);
    const bool b_holds = holds_weights(attempt, b);
    const uint64_t a_bytes = bytes_held(attempt, a);
    const uint64_t b_bytes = bytes_held(attempt, b);
    if (a_holds != b_holds)
        return a_holds;
    if (a_bytes != b_bytes)
        return a_bytes > b_bytes;
    if (a->memory_free != b->memory_free)
        return a->memory_free > b->memory_free;
    return memcmp(&a->node->node_id, &b->node->node_id, sizeof(a->node->node_id)) < 0;
}

/* What a node has that `covered` has not. */
static uint64_t bytes_gained(const struct attempt *attempt, const struct placement_node *node,
                             const bool *covered)
{
    const struct model_record *model = attempt->model;
    const struct holder_record *holder = model_find_holder(model, &node->node->node_id);
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < model->files.count; i++)
        if (model->files.items[i].is_weight && !covered[i] && holder_has_file(holder, i))
            bytes += model->files.items[i].size;
    return bytes;
}

/* The first few shall hold all of it together, where none does alone: next comes who adds most. */
static void cover_first(const struct attempt *attempt, const struct placement_node **sorted,
                        uint32_t count)
{
    bool covered[MODEL_FILE_COUNT_MAX] = {false};
    for (uint32_t at = 0; at < count; at++) {
        uint64_t most = 0;
        uint32_t best = at;
        for (uint32_t i = at; i < count; i++) {
            const uint64_t gained = bytes_gained(attempt, sorted[i], covered);
            best = gained > most ? i : best;
            most = gained > most ? gained : most;
        }
        if (most == 0)
            return;
        const struct placement_node *next = sorted[best];
        memmove(&sorted[at + 1], &sorted[at], (best - at) * sizeof(sorted[0]));
        sorted[at] = next;
        for (uint32_t i = 0; i < attempt->model->files.count; i++)
            covered[i] = covered[i] ||
                         holder_has_file(
                             model_find_holder(attempt->model, &next->node->node_id), i);
    }
}

static uint32_t usable_nodes(struct attempt *attempt,
                             const struct placement_node *sorted[NODE_COUNT_MAX])
{
    const struct placement_question *question = attempt->question;
    uint32_t count = 0;
    for (uint32_t i = 0; i < question->node_count && count < NODE_COUNT_MAX; i++) {
        const struct placement_node *node = &question->nodes[i];
        if (!node->is_heard || !is_named(question->request, &node->node->node_id))
            continue;
        uint32_t at = count++;
        while (at > 0 && comes_before(attempt, node, sorted[at - 1])) {
            sorted[at] = sorted[at - 1];
            at--;
        }
        sorted[at] = node;
    }
    cover_first(attempt, sorted, count);
    return count;
}

static bool wants(const struct place_instance *request, enum sharding sharding)
{
    return request->any_sharding || request->sharding == (uint32_t)sharding;
}

static enum status check_format(const struct place_instance *request, struct reason *reason)
{
    if (request->kv_format != KV_FORMAT_NONE &&
        (mode_of(request) == MODE_EXACT || !kv_format_is_fast(request->kv_format)))
        return refuse(reason, STATUS_INVALID,
                      "the KV cache is bf16 or int8 in fast mode and f32 in exact mode; leave its "
                      "format out or ask for fast mode");
    return STATUS_OK;
}

static enum status check_context(const struct attempt *attempt, struct reason *reason)
{
    const uint32_t asked = attempt->question->request->context;
    const uint32_t most = context_most(attempt->model);
    const bool is_of_model = most == attempt->model->shape.context;
    if (asked <= most)
        return STATUS_OK;
    return refuse(reason, STATUS_INVALID,
                  "a context of %u is more than the %u %s; ask for at most that, or leave the "
                  "context out",
                  asked, most,
                  is_of_model ? "the model was made for" : "that a request can have");
}

/* Shares by hand say how many ranks there are; what contradicts them is refused, never guessed. */
static enum status check_shares(struct attempt *attempt, struct reason *reason)
{
    const struct place_instance *request = attempt->question->request;
    const struct placement_node *sorted[NODE_COUNT_MAX];
    const uint32_t shares = request->shares.count;
    const uint32_t named = request->node_ids.count / (uint32_t)sizeof(struct node_id);
    const uint32_t usable = usable_nodes(attempt, sorted);
    if (shares == 0)
        return STATUS_OK;
    if (named > 0 && named != shares)
        return refuse(reason, STATUS_INVALID,
                      "there are %u shares for %u nodes; give one share for each node", shares,
                      named);
    if (shares > usable)
        return refuse(reason, STATUS_NO_CAPACITY,
                      "there are %u shares, but only %u node%s can take part now; give one share "
                      "for each rank",
                      shares, usable, usable == 1 ? "" : "s");
    if (shares < request->nodes_min)
        return refuse(reason, STATUS_INVALID,
                      "there are %u shares for at least %u nodes; give one share for each rank",
                      shares, request->nodes_min);
    if (shares == 1 || (!request->any_sharding && request->sharding == SHARDING_NONE))
        return refuse(reason, STATUS_INVALID,
                      "shares cut a model over several ranks, at least two; leave them out for one "
                      "node");
    uint64_t percent[RANK_COUNT_MAX];
    for (uint32_t i = 0; i < shares && i < RANK_COUNT_MAX; i++)
        percent[i] = request->shares.items[i];
    return partition_check_shares(percent, shares, RANK_COUNT_MAX, reason);
}

static enum status try_tensor(struct attempt *attempt, struct candidates_listed *listed)
{
    enum status status = STATUS_OK;
    attempt->sharding = SHARDING_TENSOR;
    attempt->is_equal = true;
    const bool is_by_hand = attempt->question->request->shares.count > 0;
    if (!is_by_hand)
        status = try_cut(attempt, listed);
    attempt->is_equal = false;
    if (status == STATUS_OK)
        status = try_cut(attempt, listed);
    if (status == STATUS_OK && !is_by_hand)
        candidates_drop_twin(listed);
    return status;
}

static enum status try_all(struct attempt *attempt, struct candidates_listed *listed)
{
    const struct place_instance *request = attempt->question->request;
    const struct placement_node *sorted[NODE_COUNT_MAX];
    const uint32_t usable = usable_nodes(attempt, sorted);
    const uint32_t least = request->node_ids.count
                               ? request->node_ids.count / (uint32_t)sizeof(struct node_id)
                               : request->nodes_min;
    const bool may_be_one = least <= 1 && request->shares.count == 0;
    enum status status = STATUS_OK;
    for (uint32_t i = 0; status == STATUS_OK && i < usable && may_be_one; i++) {
        attempt->chosen[0] = sorted[i];
        attempt->count = 1;
        attempt->sharding = SHARDING_NONE;
        if (wants(request, SHARDING_NONE))
            status = try_cut(attempt, listed);
    }
    for (uint32_t count = least > 2 ? least : 2; status == STATUS_OK && count <= usable; count++) {
        if (request->shares.count > 0 && request->shares.count != count)
            continue;
        memcpy(attempt->chosen, sorted, count * sizeof(sorted[0]));
        attempt->count = count;
        attempt->is_equal = false;
        attempt->sharding = SHARDING_PIPELINE;
        if (wants(request, SHARDING_PIPELINE))
            status = try_cut(attempt, listed);
        if (status == STATUS_OK && wants(request, SHARDING_TENSOR))
            status = try_tensor(attempt, listed);
    }
    return status;
}

enum status placement_candidates(const struct placement_question *question,
                                 struct candidates_listed *listed_out, struct reason *reason)
{
    const char *model_id = text_or_empty(question->request->model_id);
    struct attempt attempt = {.question = question,
                              .model = state_find_model(question->state, model_id)};
    if (!attempt.model)
        return refuse(reason, STATUS_NOT_FOUND,
                      "no model %.100s here; add one with troupe add DIRECTORY", model_id);
    if (!placement_shape_is_whole(&attempt.model->shape))
        return refuse(reason, STATUS_MALFORMED,
                      "what is known of %.100s lacks its layers; remove the model and add it again",
                      model_id);
    enum status status = check_format(question->request, reason);
    if (status == STATUS_OK)
        status = check_shares(&attempt, reason);
    if (status == STATUS_OK)
        status = check_context(&attempt, reason);
    if (status != STATUS_OK)
        return status;
    struct candidates_listed listed = {.model_id = NULL};
    status = text_set(&listed.model_id, model_id) ? STATUS_OK : STATUS_NO_MEMORY;
    if (status == STATUS_OK)
        status = try_all(&attempt, &listed);
    if (status != STATUS_OK) {
        record_fini(&candidates_listed_type, &listed);
        return status;
    }
    candidates_sort(&listed);
    *listed_out = listed;
    return STATUS_OK;
}

/* ---- choosing ---- */

/* Why nothing is possible, in the words of the one who asked. */
static enum status refuse_all(const struct placement_question *question,
                              const struct model_record *model,
                              const struct candidates_listed *listed, struct reason *reason)
{
    const uint32_t file = file_not_here(question, model);
    bool is_part_here = false;
    for (uint32_t i = 0; i < question->node_count; i++) {
        const struct holder_record *holder =
            model_find_holder(model, &question->nodes[i].node->node_id);
        is_part_here = is_part_here || (question->nodes[i].is_heard && holder &&
                                        holder_weight_bytes(model, holder) > 0);
    }
    if (file == model->files.count && model->files.count > 0)
        return refuse(reason, STATUS_NO_CAPACITY, "%.100s cannot be placed: %.200s",
                      text_or_empty(model->model_id),
                      listed->candidates.count
                          ? text_or_empty(listed->candidates.items[0].why)
                          : "not enough nodes are here for what was asked");
    if (is_part_here)
        return refuse(reason, STATUS_NO_HOLDER, "no node that is here holds %.100s of %.100s",
                      text_or_empty(model->files.items[file].name),
                      text_or_empty(model->model_id));
    return refuse(reason, STATUS_NO_HOLDER, "no node that is here holds %.100s",
                  text_or_empty(model->model_id));
}

enum status placement_choose(const struct placement_question *question,
                             struct instance_record *instance_out, struct reason *reason)
{
    struct candidates_listed listed;
    enum status status = placement_candidates(question, &listed, reason);
    if (status != STATUS_OK)
        return status;
    const struct model_record *model =
        state_find_model(question->state, text_or_empty(question->request->model_id));
    if (listed.candidates.count == 0 || !listed.candidates.items[0].is_possible) {
        status = refuse_all(question, model, &listed, reason);
        record_fini(&candidates_listed_type, &listed);
        return status;
    }
    const struct candidate *best = &listed.candidates.items[0];
    instance_out->sharding = best->sharding;
    instance_out->mode = best->mode;
    instance_out->context = best->context;
    instance_out->positions = best->positions;
    instance_out->requests = best->requests;
    instance_out->reserve = settings_of(&(struct attempt){.question = question})->reserve;
    instance_out->kv_format = best->kv_format;
    instance_out->revision = model->revision;
    for (uint32_t i = 0; status == STATUS_OK && i < best->ranks.count; i++)
        if (!record_list_push(&rank_record_type, RECORD_LIST(instance_out->ranks),
                              &best->ranks.items[i], RANK_COUNT_MAX))
            status = STATUS_NO_MEMORY;
    instance_out->status = ID_IS_ZERO(best->copied_to) ? INSTANCE_STARTING : INSTANCE_COPYING;
    for (uint32_t i = 0; status == STATUS_OK && i < best->sources.count; i++)
        if (!record_list_push(&file_source_type, RECORD_LIST(instance_out->sources),
                              &best->sources.items[i], MODEL_FILE_COUNT_MAX))
            status = STATUS_NO_MEMORY;
    if (status == STATUS_OK && !text_set(&instance_out->why, best->why))
        status = STATUS_NO_MEMORY;
    record_fini(&candidates_listed_type, &listed);
    return status;
}
