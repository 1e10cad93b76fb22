/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables for budgets: what is given out tiles every layer, is aligned and within every budget; what
 * a plain search finds is found; known models are placed wherever there is a tenth more room than
 * they need.
 *
 * TROUPE_TABLES: how many cases of each kind (scripts/bars/04-tables: 10000).
 */
#include "runtime/partition_place.h"
#include "tests/support/check_main.h"
#include "tests/support/seeded.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RANKS_MAX 16u
#define CASES_DEFAULT 150u

static uint32_t cases(void)
{
    const char *text = getenv("TROUPE_TABLES");
    return text ? (uint32_t)strtoul(text, NULL, 10) : CASES_DEFAULT;
}

struct scene {
    struct partition_units units;
    struct partition_costs costs;
    uint64_t layer_bytes[128];
    uint64_t budgets[RANKS_MAX];
    uint32_t ranks;
};

/* --- the checks, by other ways than the code's --- */

/* Whole layers one after the other. */
static uint64_t count_bytes(const struct scene *s, const struct partition *p)
{
    uint64_t bytes = s->costs.whole_bytes +
                     (uint64_t)(p->vocab_end - p->vocab_first) * s->costs.vocab_bytes;
    for (uint32_t c = 0; c < s->units.class_count; c++) {
        const struct partition_class *class = &s->units.classes[c];
        for (uint32_t layer = 0; layer < class->layers; layer++) {
            const uint32_t step = p->cuts[c].step;
            const uint32_t first = (p->cuts[c].first + layer) / class->layers * step;
            const uint32_t end = (p->cuts[c].end + layer) / class->layers * step;
            bytes += (end - first) * s->costs.unit_bytes[c];
            for (uint32_t kv = 0; class->per_kv && kv * class->per_kv < class->units *
                                                     class->unit_heads; kv++) {
                const uint32_t from = kv * class->per_kv;
                if (first < end && from < end * class->unit_heads &&
                    from + class->per_kv > first * class->unit_heads)
                    bytes += s->costs.kv_bytes[c];
            }
        }
    }
    return bytes;
}

static void check_tensor(const struct scene *s, const struct partition *parts)
{
    uint32_t vocab = 0;
    struct reason reason = {""};
    ck_assert_msg(partition_check(parts, s->ranks, &s->units, &reason) == STATUS_OK, "%s",
                  reason.text);
    for (uint32_t c = 0; c < s->units.class_count; c++) {
        const struct partition_class *class = &s->units.classes[c];
        for (uint32_t layer = 0; layer < class->layers; layer++) {
            uint32_t next = 0;
            for (uint32_t i = 0; i < s->ranks; i++) {
                const uint32_t step = parts[i].cuts[c].step;
                ck_assert_uint_eq((parts[i].cuts[c].first + layer) / class->layers * step, next);
                next = (parts[i].cuts[c].end + layer) / class->layers * step;
            }
            ck_assert_uint_eq(next, class->units);
        }
    }
    for (uint32_t i = 0; i < s->ranks; i++) {
        char text[PARTITION_SENTENCE_SIZE];
        ck_assert_uint_eq(parts[i].vocab_first, vocab);
        vocab = parts[i].vocab_end;
        ck_assert_uint_le(count_bytes(s, &parts[i]), s->budgets[i]);
        ck_assert_uint_eq(count_bytes(s, &parts[i]),
                          partition_bytes(&s->units, &s->costs, &parts[i]));
        char words[64];
        (void)snprintf(words, sizeof(words), "%u of %u vocabulary rows",
                       parts[i].vocab_end - parts[i].vocab_first, s->units.vocab);
        ck_assert_ptr_nonnull(strstr(partition_explain(&s->units, &parts[i], text), words));
    }
    ck_assert_uint_eq(vocab, s->units.vocab);
}

/* The first rank has the embedding, the last the head, one alone both, and a tied table once. */
static uint64_t ends_of(const struct scene *s, uint32_t rank)
{
    if (s->ranks == 1)
        return s->costs.both_bytes;
    return rank == 0 ? s->costs.first_bytes : rank + 1 == s->ranks ? s->costs.last_bytes : 0;
}

static void check_pipeline(const struct scene *s, const struct partition *parts)
{
    uint32_t next = 0;
    for (uint32_t i = 0; i < s->ranks; i++) {
        uint64_t bytes = s->costs.rank_bytes + ends_of(s, i);
        ck_assert_uint_eq(parts[i].layer_first, next);
        ck_assert_uint_gt(parts[i].layer_end, next);
        for (; next < parts[i].layer_end; next++)
            bytes += s->layer_bytes[next];
        ck_assert_uint_le(bytes, s->budgets[i]);
        ck_assert_uint_eq(bytes, partition_bytes(&s->units, &s->costs, &parts[i]));
    }
    ck_assert_uint_eq(next, s->units.layers);
}

/* A refusal names a rank, what it needs and what it has, or how many ranks are too many. */
static void check_refusal(enum status status, const struct reason *reason)
{
    ck_assert_int_eq(status, STATUS_NO_CAPACITY);
    ck_assert_msg((strstr(reason->text, "rank ") && strstr(reason->text, " needs ") &&
                   strstr(reason->text, " has ")) ||
                      strstr(reason->text, "use at most"), "%s", reason->text);
}

/* --- random models --- */

static uint32_t below(struct seeded *seeded, uint32_t bound)
{
    return (uint32_t)seeded_below(seeded, bound);
}

static void add(struct scene *s, struct seeded *seeded, const struct partition_class *class,
                uint32_t layers, uint32_t bytes)
{
    const uint32_t at = partition_units_add(&s->units, class, layers);
    s->costs.unit_bytes[at] = 1 + below(seeded, bytes);
    s->costs.kv_bytes[at] = class->per_kv ? below(seeded, 4 * bytes) : 0;
}

static struct partition_class attention(struct seeded *seeded, uint32_t units_most)
{
    const uint32_t per_kv = 1 + below(seeded, units_most < 4 ? units_most : 4);
    const uint32_t kv_heads = 1 + below(seeded, units_most / per_kv);
    uint32_t unit_heads = 1 + below(seeded, 2);
    if (kv_heads * per_kv % unit_heads != 0)
        unit_heads = 1;
    return (struct partition_class){PARTITION_ATTENTION, 0, kv_heads * per_kv / unit_heads,
                                    unit_heads, per_kv, 0};
}

static void random_scene(struct scene *s, struct seeded *seeded, uint32_t units_most,
                         uint32_t ranks_most, uint32_t vocab_most)
{
    memset(s, 0, sizeof *s);
    s->units.layers = 1 + below(seeded, 64);
    s->units.vocab = 1 + below(seeded, vocab_most);
    s->ranks = 1 + below(seeded, ranks_most);
    struct partition_class class = attention(seeded, units_most);
    add(s, seeded, &class, s->units.layers, 1000);
    class = (struct partition_class){
        .kind = seeded_below(seeded, 2) ? PARTITION_DELTA : PARTITION_LATENT,
        .units = 1 + below(seeded, units_most)};
    if (seeded_below(seeded, 3) == 0)
        add(s, seeded, &class, 1 + below(seeded, s->units.layers), 2000);
    class = (struct partition_class){
        .kind = seeded_below(seeded, 2) ? PARTITION_FFN : PARTITION_EXPERTS,
        .units = 1 + below(seeded, units_most)};
    add(s, seeded, &class, s->units.layers, 5000);
    s->costs.vocab_bytes = 1 + below(seeded, 5000);
    s->costs.whole_bytes = below(seeded, 100000);
    s->costs.rank_bytes = below(seeded, 1000);
    const bool is_tied = below(seeded, 2) == 1;
    s->costs.first_bytes = s->costs.vocab_bytes * s->units.vocab / (is_tied ? 1 : 2);
    s->costs.last_bytes =
        s->costs.vocab_bytes * s->units.vocab - (is_tied ? 0 : s->costs.first_bytes);
    s->costs.both_bytes = s->costs.vocab_bytes * s->units.vocab;
    s->costs.layer_bytes = s->layer_bytes;
    for (uint32_t i = 0; i < s->units.layers; i++)
        s->layer_bytes[i] = 1 + below(seeded, 100000);
}

static uint64_t need_of(const struct scene *s)
{
    const struct partition whole = partition_whole(&s->units, 0, 1, SHARDING_TENSOR);
    return count_bytes(s, &whole) - s->costs.whole_bytes;
}

/* Budgets that are `percent` of the need together. */
static void random_budgets(struct scene *s, struct seeded *seeded, uint64_t need, uint64_t least,
                           uint32_t percent)
{
    uint64_t shares[RANKS_MAX];
    uint64_t sum = 0;
    for (uint32_t i = 0; i < s->ranks; i++)
        sum += shares[i] = 1 + seeded_below(seeded, seeded_below(seeded, 3) ? 100 : 10);
    for (uint32_t i = 0; i < s->ranks; i++)
        s->budgets[i] = least + (uint64_t)((double)need * percent / 100.0 * (double)shares[i] /
                                           (double)sum);
}

START_TEST(what_is_given_out_tiles_and_fits)
{
    struct seeded seeded = seeded_open(601);
    uint32_t placed = 0;
    uint32_t refused = 0;
    for (uint32_t round = 0; round < cases(); round++) {
        struct scene s;
        struct partition parts[RANKS_MAX];
        struct reason reason = {""};
        random_scene(&s, &seeded, 1 + below(&seeded, 160), RANKS_MAX, 5000);
        random_budgets(&s, &seeded, need_of(&s), s.costs.whole_bytes,
                       80 + below(&seeded, 100));
        enum status status = partition_place(SHARDING_TENSOR, &s.units, &s.costs, NULL, s.budgets,
                                             s.ranks, parts, &reason);
        if (status == STATUS_OK)
            check_tensor(&s, parts);
        else
            check_refusal(status, &reason);
        placed += status == STATUS_OK;
        refused += status != STATUS_OK;
    }
    printf("# random: %u placed, %u refused\n", placed, refused);
    ck_assert_uint_gt(placed, cases() / 5);
    ck_assert_uint_gt(refused, cases() / 50);
}
END_TEST

START_TEST(layers_are_placed_whenever_they_fit_in_order)
{
    struct seeded seeded = seeded_open(602);
    uint32_t placed = 0;
    for (uint32_t round = 0; round < cases(); round++) {
        struct scene s;
        struct partition parts[RANKS_MAX];
        struct reason reason = {""};
        uint64_t need = 0;
        bool fits[65] = {true}; /* [layers laid], by the ranks so far */
        random_scene(&s, &seeded, 4, 6, 100);
        for (uint32_t i = 0; i < s.units.layers; i++)
            need += s.layer_bytes[i];
        random_budgets(&s, &seeded, need, s.costs.rank_bytes, 95 + below(&seeded, 60));
        for (uint32_t i = 0; i < s.ranks; i++)
            s.budgets[i] += ends_of(&s, i);
        for (uint32_t i = 0; i < s.ranks; i++) {
            bool next[65] = {false};
            for (uint32_t from = 0; from < s.units.layers; from++) {
                uint64_t bytes = s.costs.rank_bytes + ends_of(&s, i);
                for (uint32_t to = from; fits[from] && to < s.units.layers; to++) {
                    bytes += s.layer_bytes[to];
                    next[to + 1] = next[to + 1] || bytes <= s.budgets[i];
                }
            }
            memcpy(fits, next, sizeof fits);
        }
        enum status status = partition_place(SHARDING_PIPELINE, &s.units, &s.costs, NULL, s.budgets,
                                             s.ranks, parts, &reason);
        ck_assert_msg((status == STATUS_OK) == fits[s.units.layers], "%s", reason.text);
        if (status == STATUS_OK)
            check_pipeline(&s, parts);
        else
            check_refusal(status, &reason);
        placed += status == STATUS_OK;
    }
    ck_assert_uint_gt(placed, cases() / 5);
    ck_assert_uint_lt(placed, cases());
}
END_TEST

/* --- a plain search --- */

struct plain {
    const struct scene *s;
    uint64_t left[4];
};

static bool search_rows(const struct plain *search)
{
    uint64_t rows = 0;
    for (uint32_t i = 0; i < search->s->ranks; i++)
        rows += search->left[i] / search->s->costs.vocab_bytes;
    return rows >= search->s->units.vocab;
}

/* Units of class `c` from `next` on to ranks from `rank` on; then the next class. */
static bool search_units(struct plain *search, uint32_t c, uint32_t rank, uint32_t next)
{
    const struct scene *s = search->s;
    if (c == s->units.class_count)
        return search_rows(search);
    const struct partition_class *class = &s->units.classes[c];
    if (rank == s->ranks)
        return next == class->units && search_units(search, c + 1, 0, 0);
    const uint64_t before = search->left[rank];
    for (uint32_t end = next; end <= class->units; end++) {
        uint64_t bytes = (end - next) * s->costs.unit_bytes[c];
        for (uint32_t head = next * class->unit_heads; class->per_kv && head < end *
                                                                             class->unit_heads;
             head++)
            if (head == next * class->unit_heads || head % class->per_kv == 0)
                bytes += s->costs.kv_bytes[c];
        bytes *= class->layers;
        if (bytes > before)
            break;
        search->left[rank] = before - bytes;
        if (search_units(search, c, rank + 1, end))
            return true;
        search->left[rank] = before;
    }
    return false;
}

START_TEST(what_a_plain_search_finds_is_found)
{
    struct seeded seeded = seeded_open(603);
    uint32_t found = 0;
    uint32_t tight = 0;
    for (uint32_t round = 0; round < cases(); round++) {
        struct scene s;
        struct partition parts[RANKS_MAX];
        struct reason reason = {""};
        const uint32_t most = round % 10 == 0 ? 12 : 6;
        random_scene(&s, &seeded, most, 4, 12);
        if (s.ranks > partition_ranks_most(&s.units))
            s.ranks = partition_ranks_most(&s.units);
        random_budgets(&s, &seeded, need_of(&s), s.costs.whole_bytes, 100 + below(&seeded, 50));
        struct plain search = {.s = &s};
        for (uint32_t i = 0; i < s.ranks; i++)
            search.left[i] = s.budgets[i] - s.costs.whole_bytes;
        const bool is_there = search_units(&search, 0, 0, 0);
        enum status status = partition_place(SHARDING_TENSOR, &s.units, &s.costs, NULL, s.budgets,
                                             s.ranks, parts, &reason);
        ck_assert_msg(!is_there || status == STATUS_OK, "round %u: %s", round, reason.text);
        if (status == STATUS_OK)
            check_tensor(&s, parts);
        else
            check_refusal(status, &reason);
        found += is_there;
        tight += is_there && partition_search(&s.units, &s.costs, s.budgets, s.ranks, parts) !=
                                 STATUS_OK;
    }
    printf("# searched: %u of %u have a table\n", found, cases());
    ck_assert_uint_eq(tight, 0);
    ck_assert_uint_gt(found, cases() / 10);
    ck_assert_uint_lt(found, cases());
}
END_TEST

/* The ranks of `s` that are in `ranks`. */
static struct scene only(const struct scene *s, const uint32_t *ranks, uint32_t count)
{
    struct scene kept = *s;
    kept.ranks = count;
    kept.costs.layer_bytes = kept.layer_bytes;
    for (uint32_t i = 0; i < count; i++)
        kept.budgets[i] = s->budgets[ranks[i]];
    return kept;
}

/* What every rank keeps, and the smallest thing that there is. */
static uint64_t least_of(const struct scene *s)
{
    uint64_t least = s->costs.vocab_bytes;
    for (uint32_t c = 0; c < s->units.class_count; c++)
        if (s->costs.unit_bytes[c] + s->costs.kv_bytes[c] < least)
            least = s->costs.unit_bytes[c] + s->costs.kv_bytes[c];
    return s->costs.whole_bytes + least;
}

/* A rank without room for anything neither hinders the others nor takes part. */
START_TEST(ranks_too_small_for_anything_are_left_out)
{
    struct seeded seeded = seeded_open(605);
    uint32_t placed = 0;
    uint32_t left_out = 0;
    for (uint32_t round = 0; round < cases(); round++) {
        struct scene s;
        struct partition parts[RANKS_MAX];
        struct reason reason = {""};
        uint32_t kept[RANKS_MAX];
        uint32_t count = 0;
        random_scene(&s, &seeded, 6, 4, 12);
        if (s.ranks > partition_ranks_most(&s.units))
            s.ranks = partition_ranks_most(&s.units);
        random_budgets(&s, &seeded, need_of(&s), s.costs.whole_bytes, 110 + below(&seeded, 90));
        for (uint32_t i = 0; i < s.ranks; i++) {
            if (seeded_below(&seeded, 3) == 0)
                s.budgets[i] = seeded_below(&seeded, least_of(&s));
            if (s.budgets[i] >= least_of(&s))
                kept[count++] = i;
        }
        struct scene rest = only(&s, kept, count);
        struct plain search = {.s = &rest};
        for (uint32_t i = 0; i < count; i++)
            search.left[i] = rest.budgets[i] - rest.costs.whole_bytes;
        ck_assert_uint_eq(partition_least(SHARDING_TENSOR, &s.units, &s.costs), least_of(&s));
        left_out += s.ranks - count;
        if (count == 0)
            continue;
        const bool is_there = search_units(&search, 0, 0, 0);
        enum status status = partition_place(SHARDING_TENSOR, &rest.units, &rest.costs, NULL,
                                             rest.budgets, rest.ranks, parts, &reason);
        ck_assert_msg(!is_there || status == STATUS_OK, "round %u: %s", round, reason.text);
        if (status == STATUS_OK)
            check_tensor(&rest, parts);
        else
            check_refusal(status, &reason);
        placed += status == STATUS_OK && count < s.ranks;
    }
    printf("# left out: %u ranks, %u tables without them\n", left_out, placed);
    ck_assert_uint_gt(left_out, cases() / 5);
    ck_assert_uint_gt(placed, cases() / 20);
}
END_TEST

/* --- known models, 4.5 bits a weight --- */

static const struct shape {
    const char *name;
    uint32_t layers, hidden, heads, kv_heads, head_dim, width, experts, expert_width, shared_width;
    uint32_t delta_heads; /* value heads of 128; three layers of four */
    uint32_t vocab;
    bool is_tied;
    bool is_latent;
} shapes[] = {
    {"Qwen3-0.6B", 28, 1024, 16, 8, 128, 3072, 0, 0, 0, 0, 151936, true, false},
    {"Qwen3-1.7B", 28, 2048, 16, 8, 128, 6144, 0, 0, 0, 0, 151936, true, false},
    {"Qwen3-4B", 36, 2560, 32, 8, 128, 9728, 0, 0, 0, 0, 151936, true, false},
    {"Qwen3-8B", 36, 4096, 32, 8, 128, 12288, 0, 0, 0, 0, 151936, false, false},
    {"Qwen3-14B", 40, 5120, 40, 8, 128, 17408, 0, 0, 0, 0, 151936, false, false},
    {"Qwen3-32B", 64, 5120, 64, 8, 128, 25600, 0, 0, 0, 0, 151936, false, false},
    {"Qwen3-30B-A3B", 48, 2048, 32, 4, 128, 0, 128, 768, 0, 0, 151936, false, false},
    {"Qwen3-235B-A22B", 94, 4096, 64, 4, 128, 0, 128, 1536, 0, 0, 151936, false, false},
    {"Llama-3.2-1B", 16, 2048, 32, 8, 64, 8192, 0, 0, 0, 0, 128256, true, false},
    {"Llama-3.2-3B", 28, 3072, 24, 8, 128, 8192, 0, 0, 0, 0, 128256, true, false},
    {"Llama-3.1-8B", 32, 4096, 32, 8, 128, 14336, 0, 0, 0, 0, 128256, false, false},
    {"Qwen2.5-0.5B", 24, 896, 14, 2, 64, 4864, 0, 0, 0, 0, 151936, true, false},
    {"Qwen2.5-7B", 28, 3584, 28, 4, 128, 18944, 0, 0, 0, 0, 152064, false, false},
    {"Qwen3.5-0.8B", 24, 1024, 8, 2, 256, 3584, 0, 0, 0, 16, 248320, true, false},
    {"Qwen3.5-2B", 24, 2048, 8, 2, 256, 6144, 0, 0, 0, 16, 248320, true, false},
    {"Qwen3.5-4B", 32, 2560, 16, 4, 256, 9216, 0, 0, 0, 32, 248320, true, false},
    {"Qwen3.5-9B", 32, 4096, 16, 4, 256, 12288, 0, 0, 0, 32, 248320, false, false},
    {"Qwen3.5-27B", 64, 5120, 24, 4, 256, 17408, 0, 0, 0, 48, 248320, false, false},
    {"Qwen3.5-35B-A3B", 40, 2048, 16, 2, 256, 0, 256, 512, 512, 32, 248320, false, false},
    {"Qwen3.5-122B-A10B", 48, 3072, 32, 2, 256, 0, 256, 1024, 1024, 64, 248320, false, false},
    {"Qwen3.5-397B-A17B", 60, 4096, 32, 2, 256, 0, 512, 1024, 1024, 64, 248320, false, false},
    {"GLM-4.7-Flash", 47, 2048, 20, 20, 256, 0, 64, 1536, 1536, 0, 154880, false, true},
    {"Step-3.5-Flash", 45, 4096, 64, 8, 128, 0, 288, 1280, 1280, 0, 128896, false, false},
    {"gpt-oss-20b", 24, 2880, 64, 8, 64, 0, 32, 2880, 0, 0, 201088, false, false},
    {"gpt-oss-120b", 36, 2880, 64, 8, 64, 0, 128, 2880, 0, 0, 201088, false, false},
};
#define GROUP 64u

static uint64_t packed(uint64_t weights, uint32_t bits)
{
    return weights * (bits * 2 + 1) / 16;
}

static void add_known(struct scene *s, enum partition_kind kind, uint32_t layers, uint32_t units,
                      uint32_t per_kv, uint64_t unit_bytes, uint64_t kv_bytes)
{
    const struct partition_class class = {kind, 0, units, per_kv ? 1 : 0, per_kv, 0};
    const uint32_t at = partition_units_add(&s->units, &class, layers);
    s->costs.unit_bytes[at] = unit_bytes;
    s->costs.kv_bytes[at] = kv_bytes;
}

/* `positions` of a cache in 16 bits. */
static void known_scene(struct scene *s, const struct shape *m, uint32_t bits, uint32_t positions)
{
    const uint64_t h = m->hidden;
    const uint32_t full = m->delta_heads ? m->layers / 4 : m->layers;
    const uint64_t gates = m->delta_heads ? 2 : 1;
    memset(s, 0, sizeof *s);
    s->units.layers = m->layers;
    s->units.vocab = m->vocab;
    s->costs.whole_bytes = 64u << 20;
    s->costs.vocab_bytes = packed(h * (m->is_tied ? 1 : 2), bits);
    if (m->is_latent) {
        add_known(s, PARTITION_LATENT, full, m->heads, 0,
                  packed(768 * 256 + 512 * 192 + 256 * 512 + 256 * h, bits), 0);
        s->costs.whole_bytes += full * (packed(h * (768 + 576), bits) + 1152ull * positions);
    } else {
        add_known(s, PARTITION_ATTENTION, full, m->heads, m->heads / m->kv_heads,
                  packed(h * m->head_dim * (gates + 1), bits),
                  packed(2 * h * m->head_dim, bits) + 4ull * m->head_dim * positions);
    }
    if (m->delta_heads)
        add_known(s, PARTITION_DELTA, m->layers - full, 16, 0,
                  packed(h * (2 * 128 + 3 * 128ull * m->delta_heads / 16), bits) +
                      16 * 4 * 128ull * 128 * m->delta_heads / 16, 0);
    if (m->width)
        add_known(s, PARTITION_FFN, m->layers, m->width / GROUP, 0, packed(3 * h * GROUP, bits),
                  0);
    if (m->experts)
        add_known(s, PARTITION_EXPERTS, m->layers, m->expert_width / GROUP, 0,
                  packed(3 * h * GROUP * m->experts, bits), 0);
    if (m->shared_width)
        add_known(s, PARTITION_SHARED, m->layers, m->shared_width / GROUP, 0,
                  packed(3 * h * GROUP, bits), 0);
    s->costs.whole_bytes += m->layers * packed(h * m->experts, 8);
}

START_TEST(known_models_are_placed_where_there_is_a_tenth_more_room)
{
    struct seeded seeded = seeded_open(604);
    uint32_t fullest = 0;
    for (uint32_t round = 0; round < cases(); round++) {
        const struct shape *m = &shapes[round % COUNT_OF(shapes)];
        struct scene s;
        struct partition parts[RANKS_MAX];
        struct reason reason = {""};
        known_scene(&s, m, seeded_below(&seeded, 2) ? 4 : 8, below(&seeded, 32768));
        s.ranks = 1 + below(&seeded, RANKS_MAX);
        uint64_t one_each = s.costs.whole_bytes + s.costs.vocab_bytes + 1;
        for (uint32_t c = 0; c < s.units.class_count; c++)
            one_each += s.units.classes[c].layers *
                        (s.costs.unit_bytes[c] + s.costs.kv_bytes[c]);
        /* More ranks than key-value heads: each keeps one. */
        const uint32_t heads = m->is_latent ? s.ranks : m->kv_heads;
        const uint64_t need = need_of(&s) + s.ranks * s.costs.whole_bytes +
                              (s.ranks > heads ? s.ranks - heads : 0) * s.costs.kv_bytes[0] *
                                  s.units.classes[0].layers;
        const uint64_t wanted = need + need / 10;
        /* What is above the least of each is spread at random. */
        const uint64_t more = wanted > s.ranks * one_each ? wanted - s.ranks * one_each : 0;
        random_budgets(&s, &seeded, more, one_each + 1, 100);
        enum status status = partition_place(SHARDING_TENSOR, &s.units, &s.costs, NULL, s.budgets,
                                             s.ranks, parts, &reason);
        ck_assert_msg(status == STATUS_OK, "%s over %u: %s", m->name, s.ranks, reason.text);
        check_tensor(&s, parts);
        fullest += s.ranks > 1;
    }
    printf("# known: %u of %u over several ranks, all placed\n", fullest, cases());
}
END_TEST

/* 128 and 96 GB, 397 thousand million weights: both are used nearly whole. */
START_TEST(unlike_machines_are_filled)
{
    struct scene s;
    struct partition parts[2];
    struct reason reason = {""};
    uint64_t used = 0;
    known_scene(&s, &shapes[20], 4, 4096);
    s.ranks = 2;
    const uint64_t need = need_of(&s) + 2 * s.costs.whole_bytes;
    s.budgets[0] = need * 105 / 100 * 128 / 224;
    s.budgets[1] = need * 105 / 100 * 96 / 224;
    ck_assert_int_eq(partition_place(SHARDING_TENSOR, &s.units, &s.costs, NULL, s.budgets, 2, parts,
                                     &reason), STATUS_OK);
    check_tensor(&s, parts);
    for (uint32_t i = 0; i < 2; i++)
        used += count_bytes(&s, &parts[i]);
    ck_assert_uint_ge(used * 100, (s.budgets[0] + s.budgets[1]) * 95);
}
END_TEST

START_TEST(shares_by_hand_are_checked_and_the_nearest_named)
{
    static const uint64_t half[] = {50, 50};
    static const uint64_t good[] = {75, 25};
    struct scene s;
    struct partition parts[2];
    struct reason reason = {""};
    known_scene(&s, &shapes[3], 4, 1024);
    s.ranks = 2;
    s.budgets[0] = s.costs.whole_bytes + need_of(&s) * 85 / 100;
    s.budgets[1] = s.costs.whole_bytes + need_of(&s) * 35 / 100;
    ck_assert_int_eq(partition_place(SHARDING_TENSOR, &s.units, &s.costs, half, s.budgets, 2, parts,
                                     &reason), STATUS_NO_CAPACITY);
    ck_assert_msg(strstr(reason.text, "rank 1 needs ") && strstr(reason.text, " would fit"), "%s",
                  reason.text);
    ck_assert_int_eq(partition_place(SHARDING_TENSOR, &s.units, &s.costs, good, s.budgets, 2, parts,
                                     &reason), STATUS_OK);
    check_tensor(&s, parts);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("partition-place");
    const TTest *const tests[] = {what_is_given_out_tiles_and_fits,
                                  layers_are_placed_whenever_they_fit_in_order,
                                  what_a_plain_search_finds_is_found,
                                  ranks_too_small_for_anything_are_left_out,
                                  known_models_are_placed_where_there_is_a_tenth_more_room,
                                  unlike_machines_are_filled,
                                  shares_by_hand_are_checked_and_the_nearest_named};
    suite_add(suite, "place", tests, COUNT_OF(tests));
    return suite;
}
