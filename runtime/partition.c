/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/partition.h"


/* Shares are scaled below this, so that units * share fits 64 bits. */
#define SHARE_SUM_MAX (UINT64_C(1) << 38)

/* Shares made small enough to multiply; none becomes 0. */
static uint64_t scale_shares(const uint64_t *shares, uint32_t count, uint64_t *scaled_out)
{
    uint64_t largest = 1;
    for (uint32_t i = 0; i < count; i++)
        largest = shares && shares[i] > largest ? shares[i] : largest;
    uint32_t shift = 0;
    while (largest >> shift > SHARE_SUM_MAX / PARTITION_RANKS_MAX)
        shift++;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        scaled_out[i] = shares ? shares[i] >> shift : 1;
        if (scaled_out[i] == 0)
            scaled_out[i] = 1;
        sum += scaled_out[i];
    }
    return sum;
}

uint64_t partition_edge(uint32_t at, uint32_t total, uint32_t units)
{
    return (2 * (uint64_t)at * units + total) / (2 * (uint64_t)total);
}

bool partition_share(uint32_t total, const uint64_t *shares, uint32_t count, uint32_t *units_out)
{
    uint64_t scaled[PARTITION_RANKS_MAX];
    uint64_t remainder[PARTITION_RANKS_MAX];
    if (count == 0 || count > PARTITION_RANKS_MAX || total < count ||
        total > UINT32_C(1) << 25)
        return false;
    uint64_t sum = scale_shares(shares, count, scaled);
    uint32_t given = 0;
    for (uint32_t i = 0; i < count; i++) {
        units_out[i] = (uint32_t)(total * scaled[i] / sum);
        remainder[i] = total * scaled[i] % sum;
        given += units_out[i];
    }
    for (; given < total; given++) {
        uint32_t best = 0;
        for (uint32_t i = 1; i < count; i++) {
            if (remainder[i] > remainder[best])
                best = i;
        }
        units_out[best]++;
        remainder[best] = 0;
    }
    /* A rank without a unit takes one from the rank that has most. */
    for (uint32_t i = 0; i < count; i++) {
        if (units_out[i] > 0)
            continue;
        uint32_t most = 0;
        for (uint32_t k = 1; k < count; k++) {
            if (units_out[k] > units_out[most])
                most = k;
        }
        units_out[most]--;
        units_out[i]++;
    }
    return true;
}

static struct partition whole(const struct partition_units *units, uint32_t rank, uint32_t count,
                              enum sharding sharding)
{
    return (struct partition){.rank = rank,
                              .rank_count = count,
                              .sharding = sharding,
                              .layer_end = units->layers,
                              .kv_end = units->kv_groups,
                              .ffn_end = units->ffn_columns,
                              .vocab_end = units->vocab,
                              .has_embedding = true,
                              .has_head = true};
}

static bool are_whole(const struct partition_units *units)
{
    return units->ffn_unit > 0 && units->kv_unit > 0 &&
           units->ffn_columns % units->ffn_unit == 0 && units->kv_groups % units->kv_unit == 0;
}

static enum status too_many(uint32_t ranks, uint32_t units, const char *what,
                            struct reason *reason)
{
    return refuse(reason, STATUS_NO_CAPACITY, "%u ranks cannot share %u %s; use at most %u ranks",
                  ranks, units, what, units);
}

static enum status solve_pipeline(const struct partition_units *units, const uint64_t *shares,
                                  uint32_t count, struct partition *partitions,
                                  struct reason *reason)
{
    uint32_t layers[PARTITION_RANKS_MAX];
    if (!partition_share(units->layers, shares, count, layers))
        return too_many(count, units->layers, "layers", reason);
    uint32_t next = 0;
    for (uint32_t i = 0; i < count; i++) {
        partitions[i].layer_first = next;
        next += layers[i];
        partitions[i].layer_end = next;
        partitions[i].has_embedding = partitions[i].has_head = i == 0;
        if (i > 0)
            partitions[i].vocab_end = 0;
    }
    return STATUS_OK;
}

static enum status solve_tensor(const struct partition_units *units, const uint64_t *shares,
                                uint32_t count, struct partition *partitions,
                                struct reason *reason)
{
    uint32_t kv[PARTITION_RANKS_MAX];
    uint32_t ffn[PARTITION_RANKS_MAX];
    uint32_t vocab[PARTITION_RANKS_MAX];
    uint32_t ffn_units = units->ffn_columns / units->ffn_unit;
    uint32_t kv_units = units->kv_groups / units->kv_unit;
    if (!partition_share(kv_units, shares, count, kv))
        return too_many(count, kv_units, "units of key-value heads", reason);
    if (!partition_share(ffn_units, shares, count, ffn))
        return too_many(count, ffn_units, "groups of FFN columns", reason);
    if (!partition_share(units->vocab, shares, count, vocab))
        return too_many(count, units->vocab, "vocabulary rows", reason);
    uint32_t next_kv = 0;
    uint32_t next_ffn = 0;
    uint32_t next_vocab = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct partition *p = &partitions[i];
        p->kv_first = next_kv;
        p->kv_end = next_kv += kv[i] * units->kv_unit;
        p->ffn_first = next_ffn;
        p->ffn_end = next_ffn += ffn[i] * units->ffn_unit;
        p->vocab_first = next_vocab;
        p->vocab_end = next_vocab += vocab[i];
    }
    return STATUS_OK;
}

enum status partition_solve(enum sharding sharding, const struct partition_units *units,
                            const uint64_t *shares, uint32_t rank_count,
                            struct partition *partitions_out, struct reason *reason)
{
    if (rank_count == 0 || rank_count > PARTITION_RANKS_MAX)
        return refuse(reason, STATUS_INVALID, "%u ranks; 1 to %u are possible", rank_count,
                      PARTITION_RANKS_MAX);
    if (!are_whole(units))
        return refuse(reason, STATUS_INVALID, "%u FFN columns in units of %u or %u key-value heads "
                      "in units of %u do not come out even", units->ffn_columns, units->ffn_unit,
                      units->kv_groups, units->kv_unit);
    for (uint32_t i = 0; i < rank_count; i++) {
        if (shares && shares[i] == 0)
            return refuse(reason, STATUS_INVALID, "the share of rank %u is 0; leave it out", i);
        partitions_out[i] = whole(units, i, rank_count, sharding);
    }
    switch (sharding) {
    case SHARDING_PIPELINE:
        return solve_pipeline(units, shares, rank_count, partitions_out, reason);
    case SHARDING_TENSOR:
        return solve_tensor(units, shares, rank_count, partitions_out, reason);
    case SHARDING_NONE:
    case SHARDING_END:
        break;
    }
    if (rank_count != 1)
        return refuse(reason, STATUS_INVALID, "%u ranks need a sharding, pipeline or tensor",
                      rank_count);
    return STATUS_OK;
}

static enum status check_range(const char *what, uint32_t first, uint32_t end, uint32_t total,
                               uint32_t unit, bool may_be_empty, struct reason *reason)
{
    if (first > end || end > total || first % unit != 0 || end % unit != 0 ||
        (first == end && !may_be_empty))
        return refuse(reason, STATUS_INVALID, "a rank holds %s %u to %u of %u in units of %u", what,
                      first, end, total, unit);
    return STATUS_OK;
}

enum status partition_check_one(const struct partition *p, const struct partition_units *units,
                                struct reason *reason)
{
    bool is_tensor = p->sharding == SHARDING_TENSOR;
    bool is_pipeline = p->sharding == SHARDING_PIPELINE;
    if (p->rank >= p->rank_count || p->rank_count > PARTITION_RANKS_MAX ||
        (p->rank_count > 1 && !is_tensor && !is_pipeline) || !are_whole(units))
        return refuse(reason, STATUS_INVALID, "rank %u of %u with sharding %s", p->rank,
                      p->rank_count, sharding_name(p->sharding));
    enum status status = check_range("layers", p->layer_first, p->layer_end, units->layers, 1,
                                     false, reason);
    if (status == STATUS_OK)
        status = check_range("key-value heads", p->kv_first, p->kv_end, units->kv_groups,
                             units->kv_unit, false, reason);
    if (status == STATUS_OK)
        status = check_range("FFN columns", p->ffn_first, p->ffn_end, units->ffn_columns,
                             units->ffn_unit, false, reason);
    if (status == STATUS_OK)
        status = check_range("vocabulary rows", p->vocab_first, p->vocab_end, units->vocab, 1,
                             is_pipeline && p->rank > 0, reason);
    if (status != STATUS_OK)
        return status;
    bool all_layers = p->layer_first == 0 && p->layer_end == units->layers;
    bool all_columns = p->kv_first == 0 && p->kv_end == units->kv_groups && p->ffn_first == 0 &&
                       p->ffn_end == units->ffn_columns;
    bool holds_ends = p->has_embedding && p->has_head;
    if ((!is_pipeline && (!all_layers || !holds_ends)) || (!is_tensor && !all_columns) ||
        (is_pipeline && (holds_ends != (p->rank == 0) || p->has_embedding != p->has_head)))
        return refuse(reason, STATUS_INVALID, "the table of rank %u is none of sharding %s",
                      p->rank, sharding_name(p->sharding));
    if (!is_tensor && holds_ends && (p->vocab_first != 0 || p->vocab_end != units->vocab))
        return refuse(reason, STATUS_INVALID, "rank %u holds %u of %u vocabulary rows", p->rank,
                      p->vocab_end - p->vocab_first, units->vocab);
    return STATUS_OK;
}

enum status partition_check(const struct partition *partitions, uint32_t rank_count,
                            const struct partition_units *units, struct reason *reason)
{
    uint32_t layer = 0;
    uint32_t kv = 0;
    uint32_t ffn = 0;
    uint32_t vocab = 0;
    for (uint32_t i = 0; i < rank_count; i++) {
        const struct partition *p = &partitions[i];
        enum status status = partition_check_one(p, units, reason);
        if (status != STATUS_OK)
            return status;
        bool joins = p->rank == i && p->rank_count == rank_count &&
                     p->sharding == partitions[0].sharding;
        if (p->sharding == SHARDING_TENSOR)
            joins = joins && p->kv_first == kv && p->ffn_first == ffn && p->vocab_first == vocab;
        if (p->sharding == SHARDING_PIPELINE)
            joins = joins && p->layer_first == layer;
        if (!joins)
            return refuse(reason, STATUS_INVALID, "the table of rank %u does not begin where that "
                          "of the rank before ends", i);
        layer = p->layer_end;
        kv = p->kv_end;
        ffn = p->ffn_end;
        vocab = p->vocab_end > 0 ? p->vocab_end : vocab;
    }
    if (rank_count == 0 || layer != units->layers || kv != units->kv_groups ||
        ffn != units->ffn_columns || vocab != units->vocab)
        return refuse(reason, STATUS_INVALID, "the tables of %u ranks do not cover the model",
                      rank_count);
    return STATUS_OK;
}
