/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A token takes as long as the weights that are read for it, at the rate its node's kernels were
 * measured at, and what each layer costs besides; a prompt as long as its multiplications.  A
 * pipeline adds up its ranks and the hops between them, a tensor cut waits for its slowest rank and
 * for two sums in each layer; a pipeline of tensor groups does both.
 */
#include "actors/master/placement_attempt.h"
#include "runtime/link_view.h"

#include <string.h>

/* Where nothing was measured yet: one channel of common memory, one common core.  It only has to
 * order candidates. */
#define BYTES_PER_S 8e9
#define PRODUCTS_PER_S 2e10
#define ATTENDED_PER_S 4e9
#define ATTENDED_MANY_PER_S 1e10
#define LAYER_S 20e-6
#define NEAR_S 10e-6
#define NEAR_BYTES_PER_S 1.5e9
#define WAKE_S 50e-6
/* Fast kernels read packed weights with bytes; exact ones make floats of them. */
#define EXACT_SLOWER 2.5
/* Of what attention was measured at alone what is left where it takes turns with products and finds
 * their caches: troupe-engine bench --profile --context 512 on qwen3-0.6b gives 0.7 to 0.95 of
 * troupe-engine measure. */
#define ATTENDED_PART 0.86
/* Of a step: its plan, drawing a token and saying it; of the rows of logits drawn from. */
#define STEP_S 120e-6
#define LOGIT_S 1.2e-9
/* Rows of a prompt in a step: the standard prefill_rows. */
#define PROMPT_ROWS 128u
/* In words of near_ns: a sum over MPI, a message of a pipeline between engine threads, and an echo
 * between masters, half of there and back; what an echo took beyond that is the wire's. */
#define SUM_WORDS 0.5
#define HOP_WORDS 12.0
#define ECHO_WORDS 18.0
/* Of a step beside the sums: its plan, and what tokens are drawn from. */
#define COLLECTIVES_MORE 3.0
#define SUM_PARTED_BYTES 65536.0 /* collective.c */
/* Between machines where nothing was measured. */
#define WIRE_S 100e-6
#define FAR_BYTES_PER_S 110e6
/* Of a load, in plain code of so many entries of a JSON object: a process, an entry of its
 * tokenizer; of several ranks: MPI, which all join.  And weights of files in the page cache,
 * checked and met once by a first step.  Fitted to what 04-predict got on two cores of an EPYC. */
#define START_ENTRIES 50e3
#define TOKEN_ENTRIES 2.7
#define JOIN_ENTRIES 300e3
#define ENTRY_S 520e-9
#define FILE_BYTES_PER_S 2.2e9
/* Of memory, where it was not measured. */
#define FRESH_BYTES_PER_S 5e9

struct pace {
    double bytes_per_s;
    double products_per_s;
    double attended_per_s;
    double attended_many_per_s;
    double layer_s; /* beside its weights and attention */
};

/* Of one measured with fewer threads and one with more what lies between. */
static struct pace pace_between(const struct kernel_rate *below, const struct kernel_rate *above,
                                uint32_t threads)
{
    const double share = above->threads > below->threads
                             ? (double)(threads - below->threads) /
                                   (double)(above->threads - below->threads)
                             : 0;
    const double rest = 1 - share;
    return (struct pace){
        rest * (double)below->bytes_per_s + share * (double)above->bytes_per_s,
        rest * (double)below->products_per_s + share * (double)above->products_per_s,
        rest * (double)below->attended_per_s + share * (double)above->attended_per_s,
        rest * (double)below->attended_many_per_s + share * (double)above->attended_many_per_s,
        (rest * (double)below->layer_ns + share * (double)above->layer_ns) / 1e9};
}

/* With weights of the nearest size; false: nothing of this mode was measured. */
static bool find_pace(const struct placement_node *node, uint32_t mode, uint32_t bits,
                      uint32_t threads, struct pace *pace_out)
{
    const struct kernel_rate *below = NULL;
    const struct kernel_rate *above = NULL;
    uint32_t nearest = UINT32_MAX;
    for (uint32_t i = 0; i < node->kernel_count; i++) {
        const uint32_t has = node->kernels[i].bits;
        const uint32_t off = has > bits ? has - bits : bits - has;
        nearest = node->kernels[i].mode == mode && off < nearest ? off : nearest;
    }
    for (uint32_t i = 0; i < node->kernel_count; i++) {
        const struct kernel_rate *rate = &node->kernels[i];
        if (rate->mode != mode ||
            (rate->bits > bits ? rate->bits - bits : bits - rate->bits) != nearest)
            continue;
        if (rate->threads <= threads && (!below || rate->threads > below->threads))
            below = rate;
        if (rate->threads >= threads && (!above || rate->threads < above->threads))
            above = rate;
    }
    if (!below && !above)
        return false;
    *pace_out = pace_between(below ? below : above, above ? above : below, threads);
    return true;
}

static struct pace pace_measured(const struct placement_node *node, uint32_t mode, uint32_t bits,
                                 uint32_t threads)
{
    const double slower = mode == MODE_EXACT ? EXACT_SLOWER : 1;
    struct pace pace = {0, 0, 0, 0, 0};
    struct pace with_floats = {0, 0, 0, 0, 0};
    if (!find_pace(node, mode, bits, threads, &pace))
        pace = (struct pace){BYTES_PER_S / slower, PRODUCTS_PER_S * threads / slower, 0, 0,
                             LAYER_S};
    (void)find_pace(node, mode, 16, threads, &with_floats);
    pace.attended_per_s =
        with_floats.attended_per_s > 0 ? with_floats.attended_per_s : ATTENDED_PER_S;
    pace.attended_many_per_s = with_floats.attended_many_per_s > 0
                                   ? with_floats.attended_many_per_s
                                   : ATTENDED_MANY_PER_S * threads;
    pace.attended_per_s *= ATTENDED_PART;
    pace.attended_many_per_s *= ATTENDED_PART;
    return pace;
}

/* Ranks of one stage on one machine work at the same time and share what it can do. */
static uint32_t sharing(const struct attempt *attempt, const struct partition *cuts, uint32_t rank)
{
    const uint32_t first = cuts[rank].stage_first;
    uint32_t count = 0;
    for (uint32_t i = first; i < first + cuts[rank].stage_ranks; i++)
        count += ID_EQUAL(attempt->chosen[i]->node->machine_id,
                          attempt->chosen[rank]->node->machine_id);
    return count > 0 ? count : 1;
}

static void bound(double *value, double most)
{
    if (*value > most)
        *value = most;
}

static struct pace pace_of(const struct attempt *attempt, const struct candidate *candidate,
                           const struct partition *cuts, uint32_t rank, uint32_t bits)
{
    const struct placement_node *node = attempt->chosen[rank];
    const double share = sharing(attempt, cuts, rank);
    struct pace pace =
        pace_measured(node, candidate->mode, bits, candidate->ranks.items[rank].threads);
    if (share > 1) {
        const uint32_t cores = node->node->cores ? node->node->cores : 1;
        const struct pace all = pace_measured(node, candidate->mode, bits, cores);
        bound(&pace.bytes_per_s, all.bytes_per_s / share);
        bound(&pace.products_per_s, all.products_per_s / share);
        bound(&pace.attended_per_s, all.attended_per_s / share);
        bound(&pace.attended_many_per_s, all.attended_many_per_s / share);
    }
    return pace;
}

/* ---- between ranks ---- */

struct way {
    double hop_s;
    double bytes_per_s;
};

static double or_else(double measured, double otherwise)
{
    return measured > 0 ? measured : otherwise;
}

/* A message that costs so many words of the machine beside the wire. */
static struct way way_between(const struct attempt *attempt, uint32_t from, uint32_t to,
                              double words)
{
    const struct placement_node *node = attempt->chosen[from];
    const struct node_record *a = node->node;
    const struct node_record *b = attempt->chosen[to]->node;
    const double word_s = or_else((double)node->near_ns / 1e9, NEAR_S);
    if (ID_EQUAL(a->machine_id, b->machine_id))
        return (struct way){words * word_s,
                            or_else((double)node->near_bytes_per_s, NEAR_BYTES_PER_S)};
    const struct link_measured *link =
        attempt->question->links
            ? link_view_find(attempt->question->links, &a->node_id, &b->node_id)
            : NULL;
    double wire_s = WIRE_S;
    if (link && link->latency_us > 0)
        wire_s = (double)link->latency_us / 2e6 - ECHO_WORDS * word_s;
    return (struct way){words * word_s + (wire_s > 0 ? wire_s : 0),
                        or_else(link ? (double)link->bytes_per_s : 0, FAR_BYTES_PER_S)};
}

/* What a rank is reckoned with, counted once for all steps. */
struct rank_cost {
    struct pace pace;
    double read_bytes;  /* of weights, in its layers for a token */
    double head_bytes;
    double part;        /* of all layers */
    double attended[2]; /* multiplications of a token: in decoding, in the middle of the prompt */
    double layers_s;    /* beside weights and attention, for a step */
    double hop_s;       /* to the farthest of its stage */
    double each_byte_s; /* to all others of its stage */
};

struct costs {
    struct rank_cost ranks[RANK_COUNT_MAX];
    double products; /* of all layers for a token */
    double ring_s;   /* round the stages of a pipeline, */
    double ring_byte_s;
};

/* How many bits a packed weight of the layers has, scales with it. */
static uint32_t bits_of(const struct model_shape *shape, uint64_t layer_bytes)
{
    const double bits = shape->products ? (double)layer_bytes * 8 / (double)shape->products : 4.5;
    return bits < 6.5 ? 4 : bits < 12 ? 8 : 16;
}

static void count_ways(const struct attempt *attempt, const struct partition *cuts, uint32_t rank,
                       struct rank_cost *cost)
{
    const uint32_t first = cuts[rank].stage_first;
    for (uint32_t k = first; k < first + cuts[rank].stage_ranks; k++) {
        if (k == rank)
            continue;
        const struct way way = way_between(attempt, rank, k, SUM_WORDS);
        cost->each_byte_s += 1 / way.bytes_per_s;
        cost->hop_s = way.hop_s > cost->hop_s ? way.hop_s : cost->hop_s;
    }
}

/* To a rank that slept while others computed. */
static struct way hop_between(const struct attempt *attempt, uint32_t from, uint32_t to)
{
    struct way way = way_between(attempt, from, to, HOP_WORDS);
    way.hop_s += or_else((double)attempt->chosen[to]->wake_ns / 1e9, WAKE_S);
    return way;
}

/* Round the ring of a pipeline, from the first rank of a stage to that of the next; what comes goes
 * on to the others of a stage. */
static void count_ring(const struct attempt *attempt, const struct partition *cuts,
                       struct costs *costs)
{
    for (uint32_t i = 0; i < attempt->count; i += cuts[i].stage_ranks) {
        const uint32_t next = (i + cuts[i].stage_ranks) % attempt->count;
        const struct way way = hop_between(attempt, i, next);
        costs->ring_s += way.hop_s;
        /* Of the last stage comes little: what a token is drawn from. */
        costs->ring_byte_s += next == 0 ? 0 : 1 / way.bytes_per_s;
        if (cuts[i].stage_ranks > 1)
            costs->ring_s += hop_between(attempt, i, i + 1).hop_s;
    }
}

static void count_costs(const struct attempt *attempt, const struct candidate *candidate,
                        const struct partition *cuts, struct costs *costs)
{
    const struct model_shape *shape = &attempt->model->shape;
    const struct partition_units units = partition_units_of_shape(shape);
    const struct partition whole = partition_whole(&units, 0, 1, SHARDING_NONE);
    const uint64_t all = placement_token_bytes(shape, &whole, false);
    const uint32_t bits = bits_of(shape, all);
    memset(costs, 0, sizeof(*costs));
    costs->products =
        shape->products ? (double)shape->products : (double)all * 8 / (bits + 0.5);
    for (uint32_t i = 0; i < attempt->count; i++) {
        struct rank_cost *cost = &costs->ranks[i];
        const uint64_t own = placement_token_bytes(shape, &cuts[i], false);
        const double layers = cuts[i].layer_end - cuts[i].layer_first;
        cost->pace = pace_of(attempt, candidate, cuts, i, bits);
        cost->read_bytes = (double)own;
        cost->head_bytes = (double)(placement_token_bytes(shape, &cuts[i], true) - own);
        cost->part = all ? (double)own / (double)all : 0;
        cost->attended[0] = placement_attended(shape, &cuts[i], PREDICTED_PROMPT_TOKENS);
        cost->attended[1] = placement_attended(shape, &cuts[i], PREDICTED_PROMPT_TOKENS / 2);
        cost->layers_s = layers * cost->pace.layer_s;
        count_ways(attempt, cuts, i, cost);
    }
    count_ring(attempt, cuts, costs);
}

/* ---- of steps ---- */

/* Tokens that are computed in one go. */
struct rows {
    uint32_t count; /* 1 in decoding */
    bool is_drawn;  /* the last one's logits are wanted */
};

/* A sum of so many bytes over the ranks of a stage: each sends its own to all others, or, where
 * there are many, a part to each and the sum of its part to all (collective.c). */
static double sum_s(const struct costs *costs, const struct partition *first, double bytes)
{
    const uint32_t end = first->stage_first + first->stage_ranks;
    const bool is_parted = bytes >= SUM_PARTED_BYTES;
    const double each = is_parted ? 2 * bytes / first->stage_ranks : bytes;
    double slowest = 0;
    for (uint32_t i = first->stage_first; i < end; i++) {
        const struct rank_cost *cost = &costs->ranks[i];
        const double seconds = cost->each_byte_s * each + cost->hop_s * (is_parted ? 2 : 1);
        slowest = seconds > slowest ? seconds : slowest;
    }
    return slowest;
}

static double rank_s(const struct costs *costs, uint32_t rank, const struct rows *rows)
{
    const struct rank_cost *cost = &costs->ranks[rank];
    const struct pace *pace = &cost->pace;
    double seconds =
        rows->count == 1
            ? cost->read_bytes / pace->bytes_per_s + cost->attended[0] / pace->attended_per_s
            : rows->count * (costs->products * cost->part / pace->products_per_s +
                             cost->attended[1] / pace->attended_many_per_s);
    if (rows->is_drawn)
        seconds += cost->head_bytes / pace->bytes_per_s;
    return seconds + cost->layers_s;
}

/* Stages one after the other, of each the slowest rank. */
static double layers_s(const struct attempt *attempt, const struct partition *cuts,
                       const struct costs *costs, const struct rows *rows)
{
    double sum = 0;
    double slowest = 0;
    for (uint32_t i = 0; i < attempt->count; i++) {
        if (i == cuts[i].stage_first)
            slowest = 0;
        const double own = rank_s(costs, i, rows);
        sum += own > slowest ? own - slowest : 0;
        slowest = own > slowest ? own : slowest;
    }
    return sum;
}

static double steps_s(const struct attempt *attempt, const struct candidate *candidate,
                      const struct partition *cuts, const struct costs *costs,
                      const struct rows *rows)
{
    const struct model_shape *shape = &attempt->model->shape;
    const double row_bytes = (double)shape->hidden * sizeof(float) * rows->count;
    double seconds = layers_s(attempt, cuts, costs, rows);
    if (rows->is_drawn)
        seconds += STEP_S + LOGIT_S * shape->vocab;
    for (uint32_t i = 0; i < attempt->count; i += cuts[i].stage_ranks)
        if (cuts[i].stage_ranks > 1)
            seconds += (2.0 * (cuts[i].layer_end - cuts[i].layer_first) + 1) *
                           sum_s(costs, &cuts[i], row_bytes) +
                       COLLECTIVES_MORE * sum_s(costs, &cuts[i], 0);
    if (candidate->sharding == SHARDING_PIPELINE ||
        candidate->sharding == SHARDING_PIPELINE_TENSOR)
        seconds += costs->ring_s + costs->ring_byte_s * row_bytes;
    return seconds;
}

/* A prompt goes through the ranks in pieces, one after the other; logits are of the last. */
static double prompt_s(const struct attempt *attempt, const struct candidate *candidate,
                       const struct partition *cuts, const struct costs *costs)
{
    const struct rows piece = {PROMPT_ROWS, false};
    const struct rows last = {PROMPT_ROWS, true};
    const uint32_t pieces = PREDICTED_PROMPT_TOKENS / PROMPT_ROWS;
    return (pieces - 1) * steps_s(attempt, candidate, cuts, costs, &piece) +
           steps_s(attempt, candidate, cuts, costs, &last);
}

/* One rank maps its files; of several each has its part in memory that it meets first. */
static double fresh_s(const struct attempt *attempt, const struct candidate *candidate,
                      uint32_t rank)
{
    const double rate =
        or_else((double)attempt->chosen[rank]->fresh_bytes_per_s, FRESH_BYTES_PER_S);
    return attempt->count > 1 ? (double)candidate->ranks.items[rank].weight_bytes / rate : 0;
}

/* Those that hold the weights read them; the others get them from one that does, and meet their
 * memory meanwhile. */
static double load_s(const struct attempt *attempt, const struct candidate *candidate)
{
    double slowest = 0;
    double sent = 0;
    double entry_s = 0;
    for (uint32_t i = 0; i < attempt->count; i++) {
        const struct rank_record *rank = &candidate->ranks.items[i];
        const bool reads = rank->has_weights || candidate->sources.count == 0;
        const double each_s =
            or_else((double)attempt->chosen[i]->entry_ns / 1e9, ENTRY_S);
        entry_s = each_s > entry_s ? each_s : entry_s;
        double own = fresh_s(attempt, candidate, i);
        if (reads)
            own += (double)rank->weight_bytes / FILE_BYTES_PER_S;
        else
            sent += (double)rank->weight_bytes /
                    way_between(attempt, i ? 0 : attempt->count - 1, i, 0).bytes_per_s;
        slowest = own > slowest ? own : slowest;
    }
    const double entries = START_ENTRIES + TOKEN_ENTRIES * attempt->model->shape.vocab +
                           (attempt->count > 1 ? JOIN_ENTRIES : 0);
    return entries * entry_s + (sent > slowest ? sent : slowest);
}

void attempt_predict(const struct attempt *attempt, const struct partition *cuts,
                     struct candidate *candidate)
{
    const struct rows rows = {1, true};
    struct costs costs;
    count_costs(attempt, candidate, cuts, &costs);
    const double token_s = steps_s(attempt, candidate, cuts, &costs, &rows);
    candidate->tokens_per_s = token_s > 0 ? 1 / token_s : 0;
    candidate->first_token_s = prompt_s(attempt, candidate, cuts, &costs);
    candidate->load_s = load_s(attempt, candidate) + token_s; /* the canary */
}
