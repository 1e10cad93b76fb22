/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every table that is alike in all layers, rank by rank.
 *
 * A state says how many units of each class the ranks so far hold; of the ways to reach it that one
 * is kept in which most vocabulary rows fit.  So whatever table exists is found.
 */
#include "protocol/memory.h"
#include "runtime/partition_place.h"

#include <string.h>

#define UNREACHED UINT32_MAX

struct search {
    const struct partition_units *units;
    const struct partition_costs *costs;
    uint32_t states;
    uint32_t strides[PARTITION_CLASSES_MAX];
    uint32_t *rows;    /* [states] of vocabulary, before a rank */
    uint32_t *next;    /* [states] after it */
    uint32_t *parents; /* [ranks][states] */
    uint32_t rank;
    uint32_t from;
};

static uint32_t held_of(const struct search *s, uint32_t state, uint32_t class)
{
    return state / s->strides[class] % (s->units->classes[class].units + 1);
}

/* Whatever may still be added to the rank's classes from `at` on, with `left` bytes. */
static void extend(struct search *s, uint32_t at, uint32_t state, uint64_t left)
{
    if (at == s->units->class_count) {
        const uint64_t fit = s->costs->vocab_bytes ? left / s->costs->vocab_bytes : UINT32_MAX;
        uint64_t rows = s->rows[s->from] + fit;
        rows = rows < s->units->vocab ? rows : s->units->vocab;
        if (s->next[state] != UNREACHED && s->next[state] >= rows)
            return;
        s->next[state] = (uint32_t)rows;
        s->parents[s->rank * s->states + state] = s->from;
        return;
    }
    const struct partition_class *class = &s->units->classes[at];
    const uint32_t first = held_of(s, s->from, at);
    for (uint32_t end = first; end <= class->units; end++) {
        const struct partition_span kv =
            partition_kv_of(class, (struct partition_span){first, end});
        const uint64_t heads = class->per_kv ? kv.end - kv.first : 0;
        const uint64_t layers = class->layers;
        const double bytes = (double)(end - first) * (double)layers *
                                 (double)s->costs->unit_bytes[at] +
                             (double)heads * (double)layers * (double)s->costs->kv_bytes[at];
        if (bytes > (double)left)
            return;
        extend(s, at + 1, state + (end - first) * s->strides[at],
               left - (end - first) * layers * s->costs->unit_bytes[at] -
                   heads * layers * s->costs->kv_bytes[at]);
    }
}

/* Rows by what each rank has left, the first ranks first. */
static void write_tables(const struct search *s, const uint64_t *budgets, uint32_t count,
                         struct partition *partitions)
{
    uint32_t state = s->states - 1;
    for (uint32_t i = count; i-- > 0;) {
        const uint32_t before = s->parents[i * s->states + state];
        for (uint32_t c = 0; c < s->units->class_count; c++) {
            partitions[i].cuts[c].first = held_of(s, before, c) * s->units->classes[c].layers;
            partitions[i].cuts[c].end = held_of(s, state, c) * s->units->classes[c].layers;
        }
        state = before;
    }
    uint32_t next = 0;
    for (uint32_t i = 0; i < count; i++) {
        partitions[i].vocab_first = partitions[i].vocab_end = next;
        const uint64_t used = partition_bytes(s->units, s->costs, &partitions[i]);
        const uint64_t fit = s->costs->vocab_bytes ? (budgets[i] - used) / s->costs->vocab_bytes
                                                   : UINT32_MAX;
        const uint32_t left = s->units->vocab - next;
        next += fit < left ? (uint32_t)fit : left;
        partitions[i].vocab_end = next;
    }
}

static void turn(struct search *s, uint64_t budget)
{
    memset(s->next, 0xff, s->states * sizeof *s->next);
    for (uint32_t state = 0; state < s->states; state++) {
        if (s->rows[state] == UNREACHED)
            continue;
        s->from = state;
        extend(s, 0, state, budget - s->costs->whole_bytes);
    }
    uint32_t *before = s->rows;
    s->rows = s->next;
    s->next = before;
}

enum status partition_search(const struct partition_units *units,
                             const struct partition_costs *costs, const uint64_t *budgets,
                             uint32_t count, struct partition *partitions)
{
    struct search s = {.units = units, .costs = costs, .states = 1};
    double steps = 1;
    for (uint32_t i = 0; i < units->class_count && steps <= PARTITION_SEARCH_STEPS; i++) {
        const double edges = units->classes[i].units + 1.0;
        steps *= edges * (edges + 1) / 2;
        s.strides[i] = s.states;
        s.states *= steps <= PARTITION_SEARCH_STEPS ? units->classes[i].units + 1 : 0;
    }
    if (count > PARTITION_SEARCH_RANKS || steps > PARTITION_SEARCH_STEPS)
        return STATUS_UNSUPPORTED;
    for (uint32_t i = 0; i < count; i++)
        if (budgets[i] < costs->whole_bytes)
            return STATUS_NOT_FOUND;
    s.rows = memory_zeroed(s.states, sizeof *s.rows);
    s.next = memory_zeroed(s.states, sizeof *s.next);
    s.parents = memory_zeroed((size_t)s.states * count, sizeof *s.parents);
    enum status status = STATUS_NO_MEMORY;
    if (s.rows && s.next && s.parents) {
        memset(s.rows + 1, 0xff, (s.states - 1) * sizeof *s.rows);
        for (s.rank = 0; s.rank < count; s.rank++)
            turn(&s, budgets[s.rank]);
        const uint32_t found = s.rows[s.states - 1];
        status = found != UNREACHED && found >= units->vocab ? STATUS_OK : STATUS_NOT_FOUND;
    }
    if (status == STATUS_OK)
        write_tables(&s, budgets, count, partitions);
    memory_free(s.rows);
    memory_free(s.next);
    memory_free(s.parents);
    return status;
}
