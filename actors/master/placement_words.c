/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/placement_attempt.h"

#include "runtime/partition_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum status candidate_say(struct candidate *candidate, const char *text)
{
    return text_set(&candidate->why, text) ? STATUS_OK : STATUS_NO_MEMORY;
}

static const char *way_of(const struct attempt *attempt)
{
    const enum sharding by_hand = partition_table_sharding(attempt->question->request);
    if (by_hand != SHARDING_NONE)
        return by_hand == SHARDING_TENSOR     ? "tensor cut by the table given"
               : by_hand == SHARDING_PIPELINE ? "pipeline by the table given"
                                              : "pipeline of tensor groups by the table given";
    return attempt->question->request->shares.count > 0 &&
                   attempt->kind->sharding == SHARDING_TENSOR
               ? "tensor cut in the shares given"
               : attempt->kind->way;
}

static const char *name_of(const struct attempt *attempt, uint32_t rank)
{
    return text_or_empty(attempt->chosen[rank]->node->name);
}

/* What follows "rank " is the number of one of them. */
static bool is_rank(const struct attempt *attempt, const char *digits, char **end_out,
                    uint32_t *rank_out)
{
    const unsigned long number = strtoul(digits, end_out, 10);
    *rank_out = (uint32_t)number;
    return *digits >= '0' && *digits <= '9' && number < attempt->count;
}

void attempt_name_ranks(const struct attempt *attempt, const char *said,
                        char text_out[SENTENCE_SIZE_MAX])
{
    size_t used = 0;
    text_out[0] = '\0';
    while (*said && used + 1 < SENTENCE_SIZE_MAX) {
        char *end = NULL;
        uint32_t rank = 0;
        if (strncmp(said, "rank ", 5) == 0 && is_rank(attempt, said + 5, &end, &rank)) {
            const int length = snprintf(text_out + used, SENTENCE_SIZE_MAX - used, "%.40s",
                                        name_of(attempt, rank));
            used += length > 0 ? (size_t)length : 0;
            said = end;
        } else {
            text_out[used++] = *said++;
            text_out[used] = '\0';
        }
    }
}

/* ---- what is not possible ---- */

/* "; the shares 60,40 would fit", "; free 50 there, or ask for a context of at most 2048" */
static void describe_nearest(struct placement_fitting *fitting, uint64_t lack,
                             char text[SENTENCE_SIZE_MAX], size_t used)
{
    const struct attempt *attempt = fitting->attempt;
    const struct place_instance *request = attempt->question->request;
    const struct candidate *candidate = fitting->candidate;
    const struct placement_cache cache = {candidate->positions, candidate->requests,
                                          (enum kv_format)candidate->kv_format};
    const char *fitting_ones = NULL;
    uint64_t budgets[RANK_COUNT_MAX];
    uint64_t shares[RANK_COUNT_MAX];
    struct partition cuts[RANK_COUNT_MAX];
    struct reason reason = {""};
    fitting_budgets(fitting, budgets);
    for (uint32_t i = 0; i < request->shares.count && i < attempt->count; i++)
        shares[i] = request->shares.items[i];
    /* The solver ends what it says with the shares that would. */
    if (request->shares.count > 0 && request->table.count == 0 &&
        attempt_place(attempt, &cache, shares, budgets, cuts, &reason) != STATUS_OK)
        fitting_ones = strstr(reason.text, "; ");
    if (fitting_ones)
        (void)snprintf(text + used, SENTENCE_SIZE_MAX - used, "; the shares %.120s",
                       fitting_ones + 2);
    else if (fitting->nearest_context)
        (void)snprintf(text + used, SENTENCE_SIZE_MAX - used,
                       "; free %llu there, or ask for a context of at most %u",
                       (unsigned long long)lack, fitting->nearest_context);
    else
        (void)snprintf(text + used, SENTENCE_SIZE_MAX - used, "; free %llu there, or leave it out",
                       (unsigned long long)lack);
}

/* "tensor cut in equal shares: beta needs 300 bytes of memory (weights 200, cache of 512 tokens 50,
 * scratch 50) and has 250 beside its head-room of 100; free 50 there, or leave it out" */
static void describe_lack(struct placement_fitting *fitting, char text[SENTENCE_SIZE_MAX])
{
    const struct attempt *attempt = fitting->attempt;
    const struct candidate *candidate = fitting->candidate;
    const struct rank_record *record = &candidate->ranks.items[fitting->short_rank];
    const uint64_t need = record->weight_bytes + record->cache_bytes + record->scratch_bytes;
    const size_t used = (size_t)snprintf(
        text, SENTENCE_SIZE_MAX,
        "%s: %.64s needs %llu bytes of memory (weights %llu, cache of %u tokens %llu, scratch "
        "%llu) and has %llu beside its head-room of %llu",
        way_of(attempt), name_of(attempt, fitting->short_rank), (unsigned long long)need,
        (unsigned long long)record->weight_bytes, candidate->positions,
        (unsigned long long)record->cache_bytes, (unsigned long long)record->scratch_bytes,
        (unsigned long long)fitting->short_have, (unsigned long long)PLACEMENT_HEAD_ROOM);
    describe_nearest(fitting, need - fitting->short_have, text, used);
    const size_t all = strlen(text);
    if (attempt->upgrade)
        (void)snprintf(text + all, SENTENCE_SIZE_MAX - all, "; %s", attempt->upgrade->verdict);
}

/* ---- what is ---- */

/* How much is said of what a node got: as much as there is room for. */
enum detail { DETAIL_WORDS, DETAIL_UNITS, DETAIL_BYTES, DETAIL_END };
/* Room for who sends the weights, and who is left out; or for " and 60 more" alone. */
#define TAIL_SIZE 96u
#define MORE_SIZE 16u

/* "alpha has 1000.0 MB free and takes 450.1 MB (12 of 16 attention heads, ...)", "alpha 450.1 of
 * 1000.0 MB (12 of 16 attention heads, ...)", or without these; false: it does not fit. */
static bool describe_rank(const struct placement_fitting *fitting,
                          const struct partition_units *units, uint32_t i, enum detail detail,
                          char text[SENTENCE_SIZE_MAX], size_t *used)
{
    const struct attempt *attempt = fitting->attempt;
    const struct rank_record *rank = &fitting->candidate->ranks.items[i];
    const bool has_tail = attempt->question->node_count > attempt->count;
    const size_t room = SENTENCE_SIZE_MAX - (has_tail ? TAIL_SIZE : MORE_SIZE) - *used;
    const double free_mb = (double)attempt->chosen[i]->memory_free / 1e6;
    const double taken_mb =
        (double)(rank->weight_bytes + rank->cache_bytes + rank->scratch_bytes) / 1e6;
    char units_held[PARTITION_SENTENCE_SIZE] = "";
    const char *before = i ? ", " : ": ";
    int length = -1;
    if (detail != DETAIL_BYTES)
        (void)partition_explain(units, &fitting->cuts[i], units_held);
    if (detail == DETAIL_WORDS)
        length = snprintf(text + *used, room, "%s%.40s has %.1f MB free and takes %.1f MB (%s)",
                          before, name_of(attempt, i), free_mb, taken_mb, units_held);
    else
        length = snprintf(text + *used, room, "%s%.40s %.1f of %.1f MB%s%s%s", before,
                          name_of(attempt, i), taken_mb, free_mb, *units_held ? " (" : "",
                          units_held, *units_held ? ")" : "");
    if (length < 0 || (size_t)length >= room) {
        text[*used] = '\0';
        return false;
    }
    *used += (size_t)length;
    return true;
}

static void describe_possible(const struct placement_fitting *fitting,
                              char text[SENTENCE_SIZE_MAX])
{
    const struct attempt *attempt = fitting->attempt;
    const struct candidate *candidate = fitting->candidate;
    const struct partition_units units = partition_units_of_shape(&attempt->model->shape);
    const struct upgrade_words *upgrade = attempt->upgrade;
    size_t begun = 0;
    uint32_t said = 0;
    if (upgrade)
        begun = (size_t)snprintf(text, SENTENCE_SIZE_MAX, "%s%s; %s%s",
                                 attempt->is_upgraded ? "upgraded, as " : "", upgrade->tight,
                                 upgrade->verdict, attempt->is_upgraded ? ": " : "; ");
    begun += (size_t)snprintf(text + begun, SENTENCE_SIZE_MAX - begun, "%s", way_of(attempt));
    size_t used = begun;
    for (int detail = DETAIL_WORDS; detail < DETAIL_END && said < attempt->count; detail++)
        for (said = 0, used = begun; said < attempt->count; said++)
            if (!describe_rank(fitting, &units, said, (enum detail)detail, text, &used))
                break;
    if (said < attempt->count)
        used += (size_t)snprintf(text + used, SENTENCE_SIZE_MAX - used, " and %u more",
                                 attempt->count - said);
    for (uint32_t i = attempt->count;
         i < candidate->ranks.count && used < SENTENCE_SIZE_MAX - 80; i++)
        used += (size_t)snprintf(text + used, SENTENCE_SIZE_MAX - used, "%s %.40s",
                                 i == attempt->count ? "; weights are sent by" : ",",
                                 state_node_name(attempt->question->state,
                                                 &candidate->ranks.items[i].node_id));
    if (!ID_IS_ZERO(candidate->copied_to))
        (void)snprintf(text + used, SENTENCE_SIZE_MAX - used,
                       "; the model is copied to %.40s first", name_of(attempt, 0));
}

enum status fitting_describe(struct placement_fitting *fitting)
{
    char text[SENTENCE_SIZE_MAX];
    if (fitting->candidate->is_possible)
        describe_possible(fitting, text);
    else
        describe_lack(fitting, text);
    return candidate_say(fitting->candidate, text);
}

/* ---- who is not among them ---- */

static bool is_among(const struct candidate *candidate, const struct placement_node *node)
{
    for (uint32_t i = 0; i < candidate->ranks.count; i++)
        if (ID_EQUAL(candidate->ranks.items[i].node_id, node->node->node_id))
            return true;
    return false;
}

enum status attempt_describe_left_out(const struct attempt *attempt, struct candidate *candidate)
{
    const struct place_instance *request = attempt->question->request;
    const enum sharding cut =
        candidate->sharding == SHARDING_PIPELINE ? SHARDING_PIPELINE : SHARDING_TENSOR;
    const struct placement_cache cache = {candidate->context, candidate->requests,
                                          (enum kv_format)candidate->kv_format};
    const uint64_t least = attempt_least(attempt, cut, &cache);
    const struct placement_node *nodes[NODE_COUNT_MAX];
    const uint32_t usable = attempt_nodes(attempt, nodes);
    char text[SENTENCE_SIZE_MAX];
    const char *before = "; left out: ";
    size_t used = (size_t)snprintf(text, sizeof(text), "%s", text_or_empty(candidate->why));
    if (request->node_ids.count > 0 || attempt_ranks_given(request) > 0)
        return STATUS_OK; /* by whoever asked */
    for (uint32_t i = 0; i < usable; i++) {
        const uint64_t room = placement_room(nodes[i]);
        char why[96] = "nothing is better with it";
        if (is_among(candidate, nodes[i]))
            continue;
        if (!placement_node_joins(nodes[i]))
            (void)snprintf(why, sizeof(why), "it is in no trusted network");
        else if (room < least)
            (void)snprintf(why, sizeof(why), "any share needs %llu bytes, it has %llu",
                           (unsigned long long)least, (unsigned long long)room);
        const int length = snprintf(text + used, sizeof(text) - used, "%s%.40s (%s)", before,
                                    text_or_empty(nodes[i]->node->name), why);
        if (length < 0 || (size_t)length >= sizeof(text) - used) {
            text[used] = '\0';
            break;
        }
        used += (size_t)length;
        before = ", ";
    }
    return candidate_say(candidate, text);
}
