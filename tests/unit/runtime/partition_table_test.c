/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/partition_table.h"
#include "tests/support/check_main.h"

#include <string.h>

/* 4 layers: 8 heads in groups of 2, 6 groups of 64 columns, two kinds of experts. */
static struct partition_units make_units(void)
{
    struct partition_units units = {.layers = 4, .vocab = 1000};
    const struct partition_class classes[] = {
        {.kind = PARTITION_ATTENTION, .units = 8, .unit_heads = 1, .per_kv = 2, .parts = 8},
        {.kind = PARTITION_FFN, .units = 6, .parts = 384},
        {.kind = PARTITION_EXPERTS, .units = 2, .parts = 128},
        {.kind = PARTITION_EXPERTS, .units = 3, .parts = 192},
    };
    for (size_t i = 0; i < COUNT_OF(classes); i++)
        (void)partition_units_add(&units, &classes[i], i < 2 ? 4 : 2);
    return units;
}

/* Reads the table and puts it into an equal one; the sentence of a refusal is in *reason. */
static enum status apply(const char *text, enum sharding sharding, uint32_t ranks,
                         struct partition *partitions, struct reason *reason)
{
    const struct partition_units units = make_units();
    struct place_instance request = {.model_id = NULL};

    json_t *root = json_loads(text, 0, NULL);
    ck_assert_ptr_nonnull(root);
    enum status status = partition_table_read(root, &request, reason);
    if (status == STATUS_OK) {
        ck_assert_uint_eq(partition_table_ranks(&request), ranks);
        ck_assert_int_eq(partition_solve(sharding, &units, NULL, ranks, partitions, reason),
                         STATUS_OK);
        status = partition_table_apply(&request, &units, NULL, partitions, ranks, reason);
    }
    json_decref(root);
    record_fini(&place_instance_type, &request);
    return status;
}

START_TEST(what_is_named_is_cut_so_and_the_rest_stays)
{
    struct partition p[3];
    struct reason reason = {""};
    enum status status = apply("{\"attention heads\": [[0, 3], [3, 8]],"
                               " \"FFN columns of 384\": [[0, 384], [384, 384]],"
                               " \"vocabulary rows\": [[0, 0], [0, 1000]]}",
                               SHARDING_TENSOR, 2, p, &reason);
    ck_assert_msg(status == STATUS_OK, "%s", reason.text);
    const struct partition_span span = partition_cut_in(&p[0].cuts[0], 2);
    ck_assert_uint_eq(span.first, 0);
    ck_assert_uint_eq(span.end, 3);
    ck_assert_uint_eq(p[1].cuts[0].first, 3 * 4);
    ck_assert_uint_eq(p[0].cuts[1].end, 6 * 4);
    ck_assert_uint_eq(p[1].cuts[1].first, p[1].cuts[1].end);
    ck_assert_uint_eq(p[0].vocab_end, 0);
    ck_assert_uint_eq(p[0].cuts[2].end, 2);
    status = apply("{\"layers\": [[0, 1], [1, 3], [3, 4]]}", SHARDING_PIPELINE, 3, p, &reason);
    ck_assert_msg(status == STATUS_OK, "%s", reason.text);
    ck_assert_uint_eq(p[1].layer_end, 3);
}
END_TEST

START_TEST(what_is_wrong_is_refused_with_the_nearest_table)
{
    static const struct {
        const char *text;
        const char *said[2];
        enum sharding sharding;
    } cases[] = {
        {"{\"attention heads\": [[0, 3], [5, 8]]}",
         {"a gap: rank 1 begins at 5, not at 3", "[[0, 4], [4, 8]]"}, SHARDING_TENSOR},
        {"{\"attention heads\": [[0, 5], [3, 8]]}",
         {"an overlap: rank 1 begins at 3, not at 5", "[[0, 4], [4, 8]]"}, SHARDING_TENSOR},
        {"{\"FFN columns\": [[0, 100], [100, 384]]}",
         {"rank 0 is cut at 100, inside a group of 64", "[[0, 128], [128, 384]]"},
         SHARDING_TENSOR},
        {"{\"FFN columns\": [[0, 64], [64, 320]]}",
         {"the last rank ends at 320 of 384", "[[0, 64], [64, 384]]"}, SHARDING_TENSOR},
        {"{\"FFN columns\": [[0, 64], [64, 512]]}",
         {"rank 1 holds 64 to 512 of 384", "[[0, 64], [64, 384]]"}, SHARDING_TENSOR},
        {"{\"FFN columns\": [[64, 128], [128, 384]]}",
         {"rank 0 begins at 64, not at 0", "[[0, 128], [128, 384]]"}, SHARDING_TENSOR},
        {"{\"vocabulary rows\": [[0, 4294967295], [0, 0]]}", {"rank 0 holds", "nearest"},
         SHARDING_TENSOR},
        {"{\"layers\": [[0, 4], [4, 4]]}", {"rank 1 holds 4 to 4 of 4", "[[0, 3], [3, 4]]"},
         SHARDING_PIPELINE},
        {"{\"layers\": [[0, 2], [2, 4]]}", {"nothing this model shares so", "vocabulary rows"},
         SHARDING_TENSOR},
        {"{\"tails\": [[0, 2], [2, 4]]}", {"tails", "\"attention heads of 8\""}, SHARDING_TENSOR},
        {"{\"FFN columns of 100\": [[0, 2], [2, 4]]}", {"FFN columns", "of 384"}, SHARDING_TENSOR},
        {"{\"expert columns\": [[0, 64], [64, 128]]}",
         {"more than one kind", "\"expert columns of 192\""}, SHARDING_TENSOR},
        {"{\"layers\": [[0, 2], [2, 4], [4]]}", {"no list of [first, end]", "layers"},
         SHARDING_PIPELINE},
        {"{\"layers\": [[0, -2], [2, 4]]}", {"no list of [first, end]", ""}, SHARDING_PIPELINE},
        {"{\"layers\": []}", {"no list of [first, end]", ""}, SHARDING_PIPELINE},
        {"{\"FFN columns\": [[0, 64], [64, 384]], \"attention heads\": [[0, 8]]}",
         {"for 1 ranks", "for 2"}, SHARDING_TENSOR},
        {"{}", {"a table is an object", ""}, SHARDING_TENSOR},
        {"[1]", {"a table is an object", ""}, SHARDING_TENSOR},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct partition p[2];
        struct reason reason = {""};
        ck_assert_int_eq(apply(cases[i].text, cases[i].sharding, 2, p, &reason), STATUS_INVALID);
        for (size_t k = 0; k < 2; k++)
            ck_assert_msg(strstr(reason.text, cases[i].said[k]), "%s: %s", cases[i].text,
                          reason.text);
    }
}
END_TEST

/* ---- stages ---- */

/* 5 layers: all with 8 heads, the first 3 with 6 groups of 64 columns, the others with experts. */
static struct partition_units make_staged(void)
{
    struct partition_units units = {.layers = 5, .vocab = 1000};
    const struct partition_class heads = {
        .kind = PARTITION_ATTENTION, .units = 8, .unit_heads = 1, .per_kv = 2, .parts = 8};
    const struct partition_class columns = {.kind = PARTITION_FFN, .units = 6, .parts = 384};
    const struct partition_class experts = {.kind = PARTITION_EXPERTS, .units = 20, .parts = 1280};
    partition_units_map(&units, partition_units_add(&units, &heads, 5), 0, 5);
    partition_units_map(&units, partition_units_add(&units, &columns, 3), 0, 3);
    partition_units_map(&units, partition_units_add(&units, &experts, 2), 3, 2);
    return units;
}

/* Into two ranks, then one. */
static enum status apply_staged(const char *text, struct partition partitions[3],
                                struct reason *reason)
{
    const struct partition_units units = make_staged();
    static uint32_t sizes[] = {2, 1};
    struct place_instance request = {.model_id = NULL};
    json_t *root = json_loads(text, 0, NULL);
    ck_assert_ptr_nonnull(root);
    enum status status = partition_table_read(root, &request, reason);
    if (status == STATUS_OK) {
        request.stages = (struct u32s){sizes, 2};
        ck_assert_int_eq(partition_table_sharding(&request), SHARDING_PIPELINE_TENSOR);
        ck_assert_int_eq(partition_solve_stages(&units, sizes, 2, NULL, partitions, reason),
                         STATUS_OK);
        status = partition_table_apply(&request, &units, NULL, partitions, 3, reason);
    }
    request.stages = (struct u32s){NULL, 0};
    json_decref(root);
    record_fini(&place_instance_type, &request);
    return status;
}

static void check_in(const struct partition *p, uint32_t class, uint32_t ordinal, uint32_t first,
                     uint32_t end)
{
    const struct partition_span span = partition_cut_in(&p->cuts[class], ordinal);
    ck_assert_uint_eq(span.first, first);
    ck_assert_uint_eq(span.end, end);
}

START_TEST(a_table_of_stages_tiles_within_each)
{
    struct partition p[3];
    struct reason reason = {""};
    enum status status = apply_staged("{\"attention heads\": [[0, 6], [6, 8], [0, 8]],"
                                      " \"FFN columns\": [[0, 128], [128, 384], [0, 0]],"
                                      " \"layers\": [[0, 3], [0, 3], [3, 5]]}", p, &reason);
    ck_assert_msg(status == STATUS_OK, "%s", reason.text);
    for (uint32_t layer = 0; layer < 3; layer++) {
        check_in(&p[0], 0, layer, 0, 6);
        check_in(&p[1], 0, layer, 6, 8);
        check_in(&p[0], 1, layer, 0, 2);
        check_in(&p[1], 1, layer, 2, 6);
    }
    for (uint32_t layer = 3; layer < 5; layer++)
        check_in(&p[2], 0, layer, 0, 8);
    check_in(&p[2], 2, 0, 0, 20);
    ck_assert_uint_eq(p[1].layer_end, 3);
    ck_assert_uint_eq(p[2].layer_first, 3);
    ck_assert_uint_eq(p[2].cuts[1].end, 0);
    ck_assert_uint_eq(p[0].cuts[2].end, 0);
    /* Of what is not named, the units of the layers that are. */
    status = apply_staged("{\"layers\": [[0, 4], [0, 4], [4, 5]]}", p, &reason);
    ck_assert_msg(status == STATUS_OK, "%s", reason.text);
    check_in(&p[0], 2, 0, 0, 10);
    check_in(&p[1], 2, 0, 10, 20);
    check_in(&p[2], 2, 1, 0, 20);
}
END_TEST

START_TEST(a_wrong_table_of_stages_is_refused_with_the_nearest)
{
    static const struct {
        const char *text;
        const char *said[2];
    } cases[] = {
        {"{\"layers\": [[0, 3], [0, 2], [3, 5]]}",
         {"rank 1 of the same stage 0 to 2", "give all ranks of a stage [0, 3]"}},
        {"{\"layers\": [[0, 2], [0, 2], [3, 5]]}",
         {"a gap: stage 1 begins at 3, not at 2", "[[0, 2], [0, 2], [2, 5]]"}},
        {"{\"layers\": [[0, 4], [0, 4], [2, 5]]}",
         {"an overlap: stage 1 begins at 2, not at 4", "[[0, 3], [0, 3], [3, 5]]"}},
        {"{\"layers\": [[0, 5], [0, 5], [5, 5]]}",
         {"stage 1 holds 5 to 5 of 5", "[[0, 4], [0, 4], [4, 5]]"}},
        {"{\"attention heads\": [[0, 3], [5, 8], [0, 8]]}",
         {"a gap: rank 1 begins at 5, not at 3", "[[0, 4], [4, 8], [0, 8]]"}},
        {"{\"attention heads\": [[0, 4], [4, 8], [4, 8]]}",
         {"a gap: rank 2 begins at 4, not at 0", "[[0, 4], [4, 8], [0, 8]]"}},
        {"{\"layers\": [[0, 3], [0, 3], [3, 5]],"
         " \"FFN columns\": [[0, 100], [100, 384], [0, 0]]}",
         {"rank 0 is cut at 100, inside a group of 64", "[[0, 128], [128, 384], [0, 0]]"}},
        {"{\"layers\": [[0, 3], [0, 3], [3, 5]],"
         " \"FFN columns\": [[0, 64], [64, 384], [0, 384]]}",
         {"rank 2 holds 0 to 384 of what its stage has not", "[[0, 64], [64, 384], [0, 0]]"}},
        {"{\"tails\": [[0, 1], [1, 2], [0, 2]]}", {"nothing this model shares so", "\"layers\""}},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct partition p[3];
        struct reason reason = {""};
        ck_assert_int_eq(apply_staged(cases[i].text, p, &reason), STATUS_INVALID);
        for (size_t k = 0; k < 2; k++)
            ck_assert_msg(strstr(reason.text, cases[i].said[k]), "%s: %s", cases[i].text,
                          reason.text);
    }
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("partition-table");
    const TTest *const tests[] = {what_is_named_is_cut_so_and_the_rest_stays,
                                  what_is_wrong_is_refused_with_the_nearest_table,
                                  a_table_of_stages_tiles_within_each,
                                  a_wrong_table_of_stages_is_refused_with_the_nearest};
    suite_add(suite, "tables by hand", tests, COUNT_OF(tests));
    return suite;
}
