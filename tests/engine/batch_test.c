/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every kind of cache, in every cut: the logits of a sequence have the same bits alone and among
 * eight others that begin, end and are put back beside it, in chunks of 1, 7, 64 and 512, with one
 * thread and two.
 *
 * With TROUPE_ORACLES (tests/engine/oracle.h) all its models, in both modes and all of these ways.
 */
#include "actors/runner/engine/local_world.h"
#include "protocol/memory.h"
#include "tests/engine/oracle.h"
#include "tests/support/check_main.h"
#include "tests/support/sanitized.h"
#include "tests/support/seeded.h"

#include <stdio.h>
#include <string.h>

#define LENGTH 530u /* more than a chunk of 512, more than the rows an engine computes at once */
#define SHORT 150u
#define OTHERS 8u
#define ROWS_MAX 640u
#define IDS (2 * LENGTH)

struct cut {
    enum sharding sharding;
    uint32_t ranks;
    enum engine_mode mode;
    enum kv_format format;
};

static const struct cut cuts[] = {
    {SHARDING_NONE, 1, ENGINE_EXACT, KV_F32},
    {SHARDING_PIPELINE, 2, ENGINE_EXACT, KV_F32},
    {SHARDING_TENSOR, 2, ENGINE_EXACT, KV_F32},
    {SHARDING_NONE, 1, ENGINE_FAST, KV_BF16},
    {SHARDING_TENSOR, 2, ENGINE_FAST, KV_INT8},
};

/* Pages of heads; windows; recurrent states and experts; latent attention. */
static const char *const models[] = {
    "qwen3-tied__affine4-g64",
    "gemma3_text-slim__affine4-g32",
    "qwen3_5_moe-slim__affine4-g32",
    "glm4_moe_lite-slim__affine4-g32",
};

struct bench {
    const char *name;
    struct local_world *world;
    uint32_t length; /* LENGTH, or the model's context */
    uint32_t ids[IDS];
    size_t vocab;
    float *expected; /* [LENGTH][vocab] of ids alone, in one chunk, by one thread */
    float *logits;   /* [ROWS_MAX][vocab] */
};

/* One of the sequences of a batch. */
struct member {
    uint32_t sequence;
    uint32_t first; /* of the ids that are its own */
    uint32_t length;
    uint32_t next;
};

static void open_world(struct bench *bench, const struct engine_model *model,
                       const struct cut *cut, uint32_t threads)
{
    struct reason reason = {""};
    const struct engine_options options = {.mode = cut->mode,
                                           .threads = threads,
                                           .context = (OTHERS + 1) * 1024,
                                           .sequences = OTHERS + 4,
                                           .kv_format = cut->format};
    enum status status = local_world_open(model, cut->sharding, NULL, cut->ranks, &options,
                                          &bench->world, &reason);
    ck_assert_msg(status == STATUS_OK, "%s", reason.text);
}

static struct member open_member(struct bench *bench, uint32_t first, uint32_t length)
{
    struct reason reason = {""};
    struct member member = {0, first, length, 0};
    ck_assert_int_eq(local_world_sequence_open(bench->world, &member.sequence, &reason),
                     STATUS_OK);
    return member;
}

/* Adds the next `count` rows of a member, as far as it goes. */
static size_t add(const struct bench *bench, struct member *member, uint32_t count,
                  struct engine_row *rows)
{
    size_t added = 0;
    for (; added < count && member->next < member->length; added++, member->next++)
        rows[added] = (struct engine_row){
            member->sequence, bench->ids[member->first + member->next], member->next, true};
    return added;
}

static void forward(struct bench *bench, const struct engine_row *rows, size_t count)
{
    struct reason reason = {""};
    enum status status = local_world_forward(bench->world, rows, count, bench->logits, &reason);
    ck_assert_msg(status == STATUS_OK, "%s: %s", bench->name, reason.text);
}

/* The rows of `member` in what was just computed. */
static void check_rows(const struct bench *bench, const struct member *member,
                       const struct engine_row *rows, size_t count, const char *what)
{
    const size_t size = bench->vocab * sizeof(float);
    for (size_t i = 0; i < count; i++) {
        if (rows[i].sequence != member->sequence)
            continue;
        ck_assert_msg(memcmp(bench->logits + i * bench->vocab,
                             bench->expected + rows[i].position * bench->vocab, size) == 0,
                      "%s: other bits at position %u %s", bench->name, rows[i].position, what);
    }
}

/* The first `length` ids alone; `keep` makes them what all others are compared with. */
static void read_alone(struct bench *bench, uint32_t length, uint32_t chunk, bool keep)
{
    struct engine_row rows[ROWS_MAX];
    struct member member = open_member(bench, 0, length);
    while (member.next < length) {
        float *expected = bench->expected + member.next * bench->vocab;
        const size_t count = add(bench, &member, chunk, rows);
        forward(bench, rows, count);
        if (keep)
            memcpy(expected, bench->logits, count * bench->vocab * sizeof(float));
        check_rows(bench, &member, rows, count, chunk == 1 ? "step by step" : "in chunks");
    }
    local_world_truncate(bench->world, member.sequence, 0);
}

/* Eight others begin before and after it, with rows of their own in front and behind; each is put
 * back once half way and begins again, as one that finds no page. */
static void read_among_others(struct bench *bench, uint32_t chunk, struct seeded *seeded)
{
    struct engine_row rows[ROWS_MAX];
    struct member members[OTHERS + 1];
    for (uint32_t i = 0; i <= OTHERS; i++)
        members[i] = i == OTHERS / 2 ? open_member(bench, 0, bench->length)
                                     : open_member(bench, 1 + 40 * i, 60 + 25 * i);
    struct member *own = &members[OTHERS / 2];
    while (own->next < bench->length) {
        size_t count = 0;
        for (uint32_t i = 0; i <= OTHERS; i++) {
            struct member *member = &members[i];
            if (member == own) {
                count += add(bench, own, chunk, rows + count);
                continue;
            }
            if (member->next == member->length || seeded_below(seeded, 40) == 0) {
                local_world_truncate(bench->world, member->sequence, 0);
                member->next = 0;
            }
            const uint32_t most = member->next == 0 ? 9 : 1;
            count += add(bench, member, (uint32_t)seeded_below(seeded, most + 1), rows + count);
        }
        forward(bench, rows, count);
        check_rows(bench, own, rows, count, "among others");
    }
    for (uint32_t i = 0; i <= OTHERS; i++)
        local_world_truncate(bench->world, members[i].sequence, 0);
}

static void reopen(struct bench *bench, const struct engine_model *model, const struct cut *cut,
                   uint32_t threads)
{
    local_world_close(bench->world);
    open_world(bench, model, cut, threads);
}

static void check_cut(struct bench *bench, const struct engine_model *model,
                      const struct cut *cut, struct seeded *seeded)
{
    const bool is_first = cut == cuts; /* the others in part: sanitizers are slow */
    open_world(bench, model, cut, 1);
    read_alone(bench, bench->length, 512, true);
    read_among_others(bench, 512, seeded);
    read_alone(bench, SHORT, 7, false);
    reopen(bench, model, cut, 2);
    read_alone(bench, bench->length, 64, false);
    reopen(bench, model, cut, 2);
    read_among_others(bench, 7, seeded);
    reopen(bench, model, cut, 2);
    read_alone(bench, SHORT, 1, false);
    reopen(bench, model, cut, 1);
    if (is_first) {
        read_among_others(bench, 1, seeded);
        reopen(bench, model, cut, 2);
        read_among_others(bench, 64, seeded);
    }
    local_world_close(bench->world);
    bench->world = NULL;
}

/* All of them: chunks alone and among others, with one thread and two. */
static void check_all_ways(struct bench *bench, const struct engine_model *model,
                           const struct cut *cut, struct seeded *seeded)
{
    static const uint32_t chunks[] = {512, 64, 7, 1};
    bool is_first = true;
    for (uint32_t threads = 1; threads <= 2; threads++) {
        for (size_t i = 0; i < COUNT_OF(chunks); i++) {
            open_world(bench, model, cut, threads);
            read_alone(bench, bench->length, chunks[i], is_first);
            is_first = false;
            read_among_others(bench, chunks[i], seeded);
            local_world_close(bench->world);
        }
    }
    bench->world = NULL;
    printf("# %s, %s: equal bits at %u positions in %zu ways\n", bench->name,
           cut->mode == ENGINE_FAST ? "fast" : "exact", bench->length, 4 * COUNT_OF(chunks));
    (void)fflush(stdout);
}

static void check_model(const char *name, const struct cut *cut, struct seeded *seeded)
{
    static struct bench bench;
    struct engine_model model;
    bench.name = name;
    oracle_model_open(name, &model);
    bench.vocab = model.config->vocab;
    bench.length = model.config->context < LENGTH ? model.config->context : LENGTH;
    for (size_t i = 0; i < IDS; i++)
        bench.ids[i] = (uint32_t)seeded_below(seeded, bench.vocab);
    bench.expected = memory_zeroed(bench.length * bench.vocab, sizeof(float));
    bench.logits = memory_zeroed(ROWS_MAX * bench.vocab, sizeof(float));
    if (oracle_is_outside())
        check_all_ways(&bench, &model, cut, seeded);
    else
        check_cut(&bench, &model, cut, seeded);
    memory_free(bench.expected);
    memory_free(bench.logits);
    engine_model_close(&model);
}

START_TEST(a_sequence_has_the_same_bits_alone_and_among_others)
{
    static char names[ORACLE_NAMES_MAX][ORACLE_NAME_SIZE];
    struct seeded seeded = seeded_open(8);
    const struct cut *cut = &cuts[_i];
    size_t count = oracle_is_outside() ? oracle_names(names) : COUNT_OF(models);
    if (oracle_is_outside() && cut->sharding != SHARDING_NONE)
        return;
    /* Under a sanitizer each cut with one kind of cache, and each kind in some cut. */
    for (size_t m = (size_t)TIMES(0, _i % 4); m < count; m += TIMES(1, COUNT_OF(models)))
        check_model(oracle_is_outside() ? names[m] : models[m], cut, &seeded);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("batch");
    TCase *tests = tcase_create("batch");
    tcase_set_timeout(tests, 240);
    tcase_add_loop_test(tests, a_sequence_has_the_same_bits_alone_and_among_others, 0,
                        COUNT_OF(cuts));
    suite_add_tcase(suite, tests);
    return suite;
}
