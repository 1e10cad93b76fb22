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
/* Norms, attention of a short context, and waking the threads. */
#define LAYER_S 30e-6
#define TOKEN_S 150e-6
/* Fast kernels read packed weights with bytes; exact ones make floats of them. */
#define EXACT_SLOWER 2.5
/* Between ranks of one machine: a sum over MPI, a message of a pipeline. */
#define SUM_NEAR_S 40e-6
#define HOP_NEAR_S 180e-6
#define NEAR_BYTES_PER_S 1.5e9
/* Between machines where nothing was measured. */
#define HOP_FAR_S 300e-6
#define FAR_BYTES_PER_S 110e6
/* Of a load: a process, its tokenizer and the canary; a rank more: MPI, which all of them join. */
#define START_S 0.35
#define JOIN_S 0.35
#define DISK_BYTES_PER_S 1.5e9

struct pace {
    double bytes_per_s;
    double products_per_s;
};

/* Of those measured with weights of the nearest size, with so many threads; between two of them
 * what lies between. */
static struct pace pace_measured(const struct placement_node *node, uint32_t bits,
                                 uint32_t threads)
{
    const struct kernel_rate *below = NULL;
    const struct kernel_rate *above = NULL;
    uint32_t nearest = UINT32_MAX;
    for (uint32_t i = 0; i < node->kernel_count; i++) {
        const uint32_t has = node->kernels[i].bits;
        const uint32_t off = has > bits ? has - bits : bits - has;
        nearest = off < nearest ? off : nearest;
    }
    for (uint32_t i = 0; i < node->kernel_count; i++) {
        const struct kernel_rate *rate = &node->kernels[i];
        if ((rate->bits > bits ? rate->bits - bits : bits - rate->bits) != nearest)
            continue;
        if (rate->threads <= threads && (!below || rate->threads > below->threads))
            below = rate;
        if (rate->threads >= threads && (!above || rate->threads < above->threads))
            above = rate;
    }
    if (!below && !above)
        return (struct pace){BYTES_PER_S, PRODUCTS_PER_S * threads};
    below = below ? below : above;
    above = above ? above : below;
    const double share = above->threads > below->threads
                             ? (double)(threads - below->threads) /
                                   (double)(above->threads - below->threads)
                             : 0;
    return (struct pace){
        (double)below->bytes_per_s +
            share * ((double)above->bytes_per_s - (double)below->bytes_per_s),
        (double)below->products_per_s +
            share * ((double)above->products_per_s - (double)below->products_per_s)};
}

/* Ranks of one machine that work at the same time share what it can do. */
static uint32_t sharing(const struct attempt *attempt, uint32_t rank)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < attempt->count; i++)
        count += ID_EQUAL(attempt->chosen[i]->node->machine_id,
                          attempt->chosen[rank]->node->machine_id);
    return count;
}

static struct pace pace_of(const struct attempt *attempt, const struct candidate *candidate,
                           uint32_t rank, uint32_t bits)
{
    const struct placement_node *node = attempt->chosen[rank];
    const double slower = candidate->mode == MODE_EXACT ? EXACT_SLOWER : 1;
    struct pace pace = pace_measured(node, bits, candidate->ranks.items[rank].threads);
    if (candidate->sharding == SHARDING_TENSOR ||
        candidate->sharding == SHARDING_PIPELINE_TENSOR) {
        const uint32_t cores = node->node->cores ? node->node->cores : 1;
        const struct pace all = pace_measured(node, bits, cores);
        const double share = sharing(attempt, rank);
        if (pace.bytes_per_s > all.bytes_per_s / share)
            pace.bytes_per_s = all.bytes_per_s / share;
        if (pace.products_per_s > all.products_per_s / share)
            pace.products_per_s = all.products_per_s / share;
    }
    return (struct pace){pace.bytes_per_s / slower, pace.products_per_s / slower};
}

/* ---- between ranks ---- */

struct way {
    double hop_s;
    double bytes_per_s;
};

static struct way way_between(const struct attempt *attempt, uint32_t from, uint32_t to,
                              bool is_sum)
{
    const struct node_record *a = attempt->chosen[from]->node;
    const struct node_record *b = attempt->chosen[to]->node;
    struct way way = {HOP_FAR_S, FAR_BYTES_PER_S};
    if (ID_EQUAL(a->machine_id, b->machine_id))
        return (struct way){is_sum ? SUM_NEAR_S : HOP_NEAR_S, NEAR_BYTES_PER_S};
    const struct link_measured *link =
        attempt->question->links
            ? link_view_find(attempt->question->links, &a->node_id, &b->node_id)
            : NULL;
    if (link && link->latency_us > 0)
        way.hop_s = (double)link->latency_us / 2e6;
    if (link && link->bytes_per_s > 0)
        way.bytes_per_s = (double)link->bytes_per_s;
    return way;
}

/* A sum of so many bytes over the ranks of a stage: each sends its part to all others. */
static double sum_s(const struct attempt *attempt, const struct partition *first, double bytes)
{
    const uint32_t end = first->stage_first + first->stage_ranks;
    double slowest = 0;
    for (uint32_t i = first->stage_first; i < end; i++) {
        double sent = 0;
        double hop = 0;
        for (uint32_t k = first->stage_first; k < end; k++) {
            if (k == i)
                continue;
            const struct way way = way_between(attempt, i, k, true);
            sent += bytes / way.bytes_per_s;
            hop = way.hop_s > hop ? way.hop_s : hop;
        }
        slowest = sent + hop > slowest ? sent + hop : slowest;
    }
    return slowest;
}

/* Round the ring of a pipeline, from the first rank of a stage to that of the next; what comes goes
 * on to the others of a stage. */
static double ring_s(const struct attempt *attempt, const struct partition *cuts, double bytes)
{
    double seconds = 0;
    for (uint32_t i = 0; i < attempt->count; i += cuts[i].stage_ranks) {
        const uint32_t next = (i + cuts[i].stage_ranks) % attempt->count;
        const struct way way = way_between(attempt, i, next, false);
        seconds += way.hop_s + bytes / way.bytes_per_s;
        if (cuts[i].stage_ranks > 1)
            seconds += way_between(attempt, i, i + 1, false).hop_s;
    }
    return seconds;
}

/* ---- of ranks ---- */

/* How many bits a packed weight of the layers has, scales with it. */
static uint32_t bits_of(const struct model_shape *shape, uint64_t layer_bytes)
{
    const double bits = shape->products ? (double)layer_bytes * 8 / (double)shape->products : 4.5;
    return bits < 6.5 ? 4 : bits < 12 ? 8 : 16;
}

/* `rows` tokens: 1 in decoding. */
static double layers_s(const struct attempt *attempt, const struct candidate *candidate,
                       const struct partition *cuts, uint32_t rows)
{
    const struct model_shape *shape = &attempt->model->shape;
    const struct partition_units units = partition_units_of_shape(shape);
    const struct partition whole = partition_whole(&units, 0, 1, SHARDING_NONE);
    const uint64_t all = placement_token_bytes(shape, &whole, false);
    const uint32_t bits = bits_of(shape, all);
    const double products =
        shape->products ? (double)shape->products : (double)all * 8 / (bits + 0.5);
    double sum = 0;
    double slowest = 0;
    for (uint32_t i = 0; i < attempt->count; i++) {
        if (i == cuts[i].stage_first)
            slowest = 0;
        const struct pace pace = pace_of(attempt, candidate, i, bits);
        const double bytes = (double)placement_token_bytes(shape, &cuts[i], rows == 1);
        const double part = all ? (double)placement_token_bytes(shape, &cuts[i], false) /
                                      (double)all
                                : 0;
        double own = rows == 1 ? bytes / pace.bytes_per_s
                               : products * part * rows / pace.products_per_s;
        own += (cuts[i].layer_end - cuts[i].layer_first) * LAYER_S;
        sum += own > slowest ? own - slowest : 0;
        slowest = own > slowest ? own : slowest;
    }
    return sum;
}

static double steps_s(const struct attempt *attempt, const struct candidate *candidate,
                      const struct partition *cuts, uint32_t rows)
{
    const struct model_shape *shape = &attempt->model->shape;
    const double row_bytes = (double)shape->hidden * sizeof(float) * rows;
    double seconds = layers_s(attempt, candidate, cuts, rows) + TOKEN_S;
    for (uint32_t i = 0; i < attempt->count; i += cuts[i].stage_ranks)
        if (cuts[i].stage_ranks > 1)
            seconds += 2.0 * (cuts[i].layer_end - cuts[i].layer_first) *
                       sum_s(attempt, &cuts[i], row_bytes);
    if (candidate->sharding == SHARDING_PIPELINE ||
        candidate->sharding == SHARDING_PIPELINE_TENSOR)
        seconds += ring_s(attempt, cuts, row_bytes);
    return seconds;
}

/* Those that hold the weights read them; the others get them from one that does. */
static double load_s(const struct attempt *attempt, const struct candidate *candidate)
{
    double slowest = 0;
    double sent = 0;
    for (uint32_t i = 0; i < attempt->count; i++) {
        const struct rank_record *rank = &candidate->ranks.items[i];
        const bool reads = rank->has_weights || candidate->sources.count == 0;
        const double own = (double)rank->weight_bytes / DISK_BYTES_PER_S;
        if (reads)
            slowest = own > slowest ? own : slowest;
        else
            sent += (double)rank->weight_bytes /
                    way_between(attempt, i ? 0 : attempt->count - 1, i, true).bytes_per_s;
    }
    return START_S + (attempt->count > 1 ? JOIN_S : 0) + (sent > slowest ? sent : slowest);
}

void attempt_predict(const struct attempt *attempt, const struct partition *cuts,
                     struct candidate *candidate)
{
    const double token_s = steps_s(attempt, candidate, cuts, 1);
    candidate->tokens_per_s = token_s > 0 ? 1 / token_s : 0;
    candidate->first_token_s =
        steps_s(attempt, candidate, cuts, PREDICTED_PROMPT_TOKENS) + token_s;
    candidate->load_s = load_s(attempt, candidate);
}
