/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/placement_sources.h"

#include "protocol/holdings.h"
#include "protocol/limits.h"

#include <stdlib.h>
#include <string.h>

/* Each turn moves one file and makes the loads more even; where that has not ended by then, what
 * is left to gain is small. */
#define TURNS_MAX (4 * MODEL_FILE_COUNT_MAX)

struct choosing {
    const struct model_record *model;
    struct source_choice *choice;
    uint32_t rank_count; /* that compute */
    uint32_t count;      /* with those that only send */
    uint64_t burdens[MODEL_FILE_COUNT_MAX]; /* what sending a file means */
};

/* A file that is to get a source. */
struct turn {
    uint32_t file;
    uint32_t holders; /* how many */
    uint64_t burden;
};

static uint32_t count_bits(uint64_t bits)
{
    uint32_t count = 0;
    for (; bits; bits &= bits - 1)
        count++;
    return count;
}

static uint64_t ranks_of(const struct choosing *choosing)
{
    return choosing->rank_count < 64 ? ((uint64_t)1 << choosing->rank_count) - 1 : UINT64_MAX;
}

/* It goes to each rank that lacks it, a part to each. */
static uint64_t burden_of(const struct choosing *choosing, uint32_t file)
{
    const uint64_t most = UINT64_MAX / RANK_COUNT_MAX / MODEL_FILE_COUNT_MAX;
    const uint64_t size = choosing->model->files.items[file].size;
    const uint32_t lacking =
        choosing->rank_count - count_bits(choosing->choice->holders[file] & ranks_of(choosing));
    return (size < most ? size : most) * lacking;
}

static uint32_t least_loaded(const struct choosing *choosing, uint32_t file)
{
    const struct source_choice *choice = choosing->choice;
    uint32_t least = RANK_COUNT_MAX;
    /* What a rank holds is sent by a rank: the others are there for what none does. */
    const uint64_t by_ranks = choice->holders[file] & ranks_of(choosing);
    const uint64_t holders = by_ranks ? by_ranks : choice->holders[file];
    for (uint32_t rank = 0; rank < choosing->count; rank++)
        if ((holders >> rank & 1) != 0 &&
            (least == RANK_COUNT_MAX || choice->loads[rank] < choice->loads[least]))
            least = rank;
    return least;
}

/* Those with the fewest holders first, of them what means most to send, of them as they are
 * listed. */
static int compare_turns(const void *left, const void *right)
{
    const struct turn *a = left;
    const struct turn *b = right;
    if (a->holders != b->holders)
        return a->holders < b->holders ? -1 : 1;
    if (a->burden != b->burden)
        return a->burden > b->burden ? -1 : 1;
    return a->file < b->file ? -1 : 1;
}

static void give_all(struct choosing *choosing)
{
    struct source_choice *choice = choosing->choice;
    struct turn turns[MODEL_FILE_COUNT_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < choosing->model->files.count; i++) {
        choosing->burdens[i] = burden_of(choosing, i);
        if (choice->holders[i])
            turns[count++] =
                (struct turn){i, count_bits(choice->holders[i]), choosing->burdens[i]};
    }
    if (count > 0)
        qsort(turns, count, sizeof(turns[0]), compare_turns);
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t rank = least_loaded(choosing, turns[i].file);
        choice->ranks[turns[i].file] = rank;
        choice->loads[rank] += turns[i].burden;
    }
}

/* Moves the first file that leaves two ranks more even; false: there is none. */
static bool make_more_even(const struct choosing *choosing)
{
    struct source_choice *choice = choosing->choice;
    for (uint32_t i = 0; i < choosing->model->files.count; i++) {
        if (!choice->holders[i])
            continue;
        const uint32_t from = choice->ranks[i];
        const uint32_t to = least_loaded(choosing, i);
        const uint64_t burden = choosing->burdens[i];
        if (burden == 0 || choice->loads[to] + burden >= choice->loads[from])
            continue;
        choice->loads[from] -= burden;
        choice->loads[to] += burden;
        choice->ranks[i] = to;
        return true;
    }
    return false;
}

void source_choice_make(const struct model_record *model,
                        const struct holder_record *const *holders, uint32_t rank_count,
                        uint32_t count, struct source_choice *choice_out)
{
    struct choosing choosing = {model, choice_out, rank_count, count, {0}};
    const uint32_t files = model->files.count;
    ASSERT(rank_count <= count && count <= RANK_COUNT_MAX && files <= MODEL_FILE_COUNT_MAX);
    memset(choice_out, 0, sizeof(*choice_out));
    choice_out->unheld = files;
    for (uint32_t i = files; i-- > 0;) {
        choice_out->ranks[i] = RANK_COUNT_MAX;
        for (uint32_t rank = 0; rank < count && model->files.items[i].is_weight; rank++)
            if (holder_has_file(holders[rank], i))
                choice_out->holders[i] |= (uint64_t)1 << rank;
        if (model->files.items[i].is_weight && !choice_out->holders[i])
            choice_out->unheld = i;
    }
    give_all(&choosing);
    for (uint32_t turn = 0; turn < TURNS_MAX && make_more_even(&choosing); turn++)
        continue;
}

/* ---- those that only send ---- */

/* Of each file that no rank holds how many of the chosen do. */
struct lacking {
    const struct model_record *model;
    bool is_lacking[MODEL_FILE_COUNT_MAX];
    uint32_t senders[MODEL_FILE_COUNT_MAX];
};

static bool find_lacking(struct lacking *lacking, const struct holder_record *const *ranks,
                         uint32_t rank_count)
{
    bool is_any = false;
    for (uint32_t i = 0; i < lacking->model->files.count; i++) {
        bool is_held = !lacking->model->files.items[i].is_weight;
        for (uint32_t rank = 0; rank < rank_count && !is_held; rank++)
            is_held = holder_has_file(ranks[rank], i);
        lacking->is_lacking[i] = !is_held;
        is_any = is_any || !is_held;
    }
    return is_any;
}

/* Files that it has and none of the chosen. */
static uint32_t files_gained(const struct lacking *lacking, const struct holder_record *holder)
{
    uint32_t gained = 0;
    for (uint32_t i = 0; i < lacking->model->files.count; i++)
        gained += lacking->is_lacking[i] && lacking->senders[i] == 0 && holder_has_file(holder, i);
    return gained;
}

static void count_sender(struct lacking *lacking, const struct holder_record *holder, bool is_added)
{
    for (uint32_t i = 0; i < lacking->model->files.count; i++)
        if (lacking->is_lacking[i] && holder_has_file(holder, i))
            lacking->senders[i] += is_added ? 1u : UINT32_MAX;
}

static bool is_dispensable(const struct lacking *lacking, const struct holder_record *holder)
{
    for (uint32_t i = 0; i < lacking->model->files.count; i++)
        if (lacking->is_lacking[i] && lacking->senders[i] == 1 && holder_has_file(holder, i))
            return false;
    return true;
}

uint32_t source_others_choose(const struct model_record *model,
                              const struct holder_record *const *ranks, uint32_t rank_count,
                              const struct holder_record *const *others, uint32_t other_count,
                              uint32_t most, uint32_t *places_out)
{
    struct lacking lacking = {.model = model};
    uint32_t count = 0;
    uint32_t kept = 0;
    if (!find_lacking(&lacking, ranks, rank_count))
        return 0;
    for (uint32_t best = other_count; count < most; best = other_count) {
        uint32_t gained = 0;
        for (uint32_t i = 0; i < other_count; i++) {
            const uint32_t files = files_gained(&lacking, others[i]);
            best = files > gained ? i : best;
            gained = files > gained ? files : gained;
        }
        if (best == other_count)
            break;
        places_out[count++] = best;
        count_sender(&lacking, others[best], true);
    }
    for (uint32_t i = 0; i < model->files.count; i++)
        if (lacking.is_lacking[i] && lacking.senders[i] == 0)
            return 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct holder_record *holder = others[places_out[i]];
        if (is_dispensable(&lacking, holder))
            count_sender(&lacking, holder, false);
        else
            places_out[kept++] = places_out[i];
    }
    return kept;
}
