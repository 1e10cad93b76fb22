/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which kinds of cut a request gets: equal shares that become unequal ones, nodes that are left
 * out, and what is said where nothing fits or what was asked contradicts itself.
 */
#include "actors/master/placement.h"
#include "actors/master/placement_bytes.h"
#include "protocol/memory.h"
#include "runtime/partition.h"
#include "tests/support/check_main.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODES 4u
#define MB ((uint64_t)1 << 20)

static struct state state;
static struct place_instance request;
static struct placement_node nodes[NODES];
static struct placement_settings settings;
static struct instance_record instance;
static struct links_listed links;
static struct reason reason;

static const char *const names[NODES] = {"alpha", "beta", "gamma", "delta"};

/* A model of 16 layers of 40 MB, which `ffn_units` columns and `heads` units may share. */
static void add_model(uint32_t heads, uint32_t ffn_units)
{
    struct model_record *model =
        record_list_push(&model_record_type, RECORD_LIST(state.models), NULL, MODEL_COUNT_MAX);
    struct file_entry *file =
        record_list_push(&file_entry_type, RECORD_LIST(model->files), NULL, 4);
    ck_assert(text_set(&model->model_id, "m") && text_set(&file->name, "weights"));
    ck_assert(text_set(&request.model_id, "m"));
    file->is_weight = true;
    file->size = 640 * MB;
    model->manifest.bytes[0] = 1;
    model->shape = (struct model_shape){.layers = 16,
                                        .hidden = 256,
                                        .heads = heads,
                                        .kv_heads = heads,
                                        .intermediate = ffn_units * 64,
                                        .vocab = 1000,
                                        .context = 4096,
                                        .embedding_bytes = 1 * MB,
                                        .head_bytes = 1 * MB,
                                        .weight_bytes = 642 * MB,
                                        .tied = false};
    const struct layer_run run = {.layers = 16,
                                  .mixer = PARTITION_ATTENTION,
                                  .units = heads,
                                  .unit_heads = 1,
                                  .per_kv = 1,
                                  .heads = 1,
                                  .key_dim = 32,
                                  .value_dim = 32,
                                  .mixer_bytes = 8 * MB,
                                  .kv_bytes = 2 * MB,
                                  .ffn = PARTITION_FFN,
                                  .ffn_units = ffn_units,
                                  .ffn_bytes = 30 * MB};
    ck_assert_ptr_nonnull(
        record_list_push(&layer_run_type, RECORD_LIST(model->shape.runs), &run, LAYER_COUNT_MAX));
}

static void add_node(uint32_t i, uint64_t memory_mb)
{
    struct node_record *node = &state.nodes.items[i];
    struct model_record *model = &state.models.items[0];
    const struct holder_record holder = {.node_id = node->node_id, .has_weights = true};
    nodes[i] = (struct placement_node){.node = node,
                                       .memory_free = memory_mb * MB,
                                       .disk_free = UINT64_MAX,
                                       .is_heard = true};
    ck_assert_ptr_nonnull(record_list_push(&holder_record_type, RECORD_LIST(model->holders),
                                           &holder, NODE_COUNT_MAX));
}

static void setup(void)
{
    state_init(&state);
    request = (struct place_instance){
        .sharding = SHARDING_TENSOR, .mode = MODE_FAST, .context = 1024, .requests = 1};
    settings = (struct placement_settings){.requests = 16,
                                           .reserve = 4096,
                                           .auto_asymmetric = true,
                                           .smallest_fill = 0.9,
                                           .cluster_fill = 0.85};
    for (uint32_t i = 0; i < NODES; i++) {
        struct node_record *node =
            record_list_push(&node_record_type, RECORD_LIST(state.nodes), NULL, NODE_COUNT_MAX);
        node->node_id.bytes[0] = (uint8_t)(i + 1);
        node->machine_id.bytes[0] = (uint8_t)(i + 1);
        node->cores = 2;
        node->in_view = true;
        ck_assert(text_set(&node->name, names[i]));
    }
}

static void teardown(void)
{
    state_fini(&state);
    record_fini(&place_instance_type, &request);
    record_fini(&instance_record_type, &instance);
    record_fini(&links_listed_type, &links);
    memset(&links, 0, sizeof(links));
    memset(&request, 0, sizeof(request));
    memset(&instance, 0, sizeof(instance));
    memset(nodes, 0, sizeof(nodes));
}

static struct placement_question question_of(uint32_t count)
{
    return (struct placement_question){.state = &state,
                                       .request = &request,
                                       .nodes = nodes,
                                       .node_count = count,
                                       .links = &links,
                                       .settings = &settings};
}

static enum status place(uint32_t count)
{
    const struct placement_question question = question_of(count);
    record_fini(&instance_record_type, &instance);
    memset(&instance, 0, sizeof(instance));
    reason.text[0] = '\0';
    return placement_choose(&question, &instance, &reason);
}

static void check_says(const char *text, const char *words)
{
    ck_assert_msg(strstr(text, words) != NULL, "\"%s\" lacks \"%s\"", text, words);
}

static void check_equal(void)
{
    ck_assert(!instance.is_asymmetric && !instance.is_upgraded);
    ck_assert_uint_eq(instance.sharding, SHARDING_TENSOR);
}

/* ---- equal shares that become unequal ones ---- */

static void name_two(void)
{
    struct node_id ids[2] = {state.nodes.items[0].node_id, state.nodes.items[1].node_id};
    ck_assert(bytes_set(&request.node_ids, ids, sizeof(ids)));
}

START_TEST(upgrade_gate_off)
{
    add_model(32, 64);
    add_node(0, 1000);
    add_node(1, 300);
    name_two();
    settings.auto_asymmetric = false;
    ck_assert_int_eq(place(2), STATUS_NO_CAPACITY);
    check_says(reason.text, "equal shares: beta needs");
    ck_assert_ptr_null(strstr(reason.text, "unequal"));
    settings.auto_asymmetric = true;
    ck_assert_int_eq(place(2), STATUS_OK);
    ck_assert(instance.is_upgraded);
}
END_TEST

START_TEST(upgrade_equal_fits)
{
    add_model(32, 64);
    add_node(0, 1000);
    add_node(1, 500);
    name_two();
    ck_assert_int_eq(place(2), STATUS_OK);
    check_equal();
}
END_TEST

START_TEST(upgrade_equal_too_tight)
{
    add_model(32, 64);
    add_node(0, 1000);
    add_node(1, 388);
    name_two();
    ck_assert_int_eq(place(2), STATUS_OK);
    ck_assert(instance.is_asymmetric && instance.is_upgraded);
    ck_assert_uint_eq(instance.sharding, SHARDING_TENSOR);
    check_says(instance.why, "upgraded, as equal shares would fill beta to 9");
    check_says(instance.why, "more than 90 %");
    ck_assert_uint_gt(instance.ranks.items[0].weight_bytes, instance.ranks.items[1].weight_bytes);
}
END_TEST

START_TEST(upgrade_asymmetric_over_85_percent)
{
    add_model(32, 64);
    add_node(0, 450);
    add_node(1, 400);
    name_two();
    ck_assert_int_eq(place(2), STATUS_OK);
    check_equal();
    check_says(instance.why, "not under 85 %");
    settings.cluster_fill = 0.95;
    ck_assert_int_eq(place(2), STATUS_OK);
    ck_assert(instance.is_upgraded);
}
END_TEST

/* One head and one group of columns to a layer: pieces of 160 and 30 MB, of which neither way to
 * share them fits. */
START_TEST(upgrade_family_without_units)
{
    struct node_id ids[2] = {state.nodes.items[1].node_id, state.nodes.items[0].node_id};
    add_model(1, 1);
    add_node(0, 438);
    add_node(1, 294);
    ck_assert(bytes_set(&request.node_ids, ids, sizeof(ids)));
    settings.cluster_fill = 0.95;
    ck_assert_int_eq(place(2), STATUS_NO_CAPACITY);
    check_says(reason.text, "beta needs");
    check_says(reason.text, "unequal ones do not fit either: ");
    ck_assert_ptr_null(strstr(reason.text, "rank "));
    ck_assert(!instance.is_asymmetric);
    /* With units to share the same two have room for the same bytes. */
    struct layer_run *run = &state.models.items[0].shape.runs.items[0];
    run->units = 32;
    run->ffn_units = 64;
    run->key_dim = run->value_dim = 1;
    ck_assert_msg(place(2) == STATUS_OK, "%s", reason.text);
    ck_assert(instance.is_upgraded);
}
END_TEST

/* Pieces of 80 and 15 MB: all of them are less than what is free, but with some memories each way
 * to share them leaves one of the two with more than it has room for. */
START_TEST(upgrade_rank_over_its_budget_after_rounding)
{
    uint32_t refused = 0;
    add_model(2, 2);
    name_two();
    settings.cluster_fill = 1;
    add_node(0, 0);
    add_node(1, 0);
    for (uint32_t alpha = 410; alpha < 470; alpha++) {
        nodes[0].memory_free = alpha * MB;
        nodes[1].memory_free = (728 - alpha) * MB;
        const enum status status = place(2);
        for (uint32_t i = 0; status == STATUS_OK && i < 2; i++) {
            const struct rank_record *rank = &instance.ranks.items[i];
            ck_assert_uint_le(rank->weight_bytes + rank->cache_bytes + rank->scratch_bytes,
                              nodes[i].memory_free);
        }
        if (status == STATUS_OK)
            continue;
        refused++;
        check_says(reason.text, "needs");
        check_says(reason.text, "unequal ones do not fit either");
        ck_assert(strstr(reason.text, "either: alpha needs ") ||
                  strstr(reason.text, "either: beta needs ") ||
                  strstr(reason.text, "either: alpha would need ") ||
                  strstr(reason.text, "either: beta would need "));
    }
    ck_assert_uint_gt(refused, 0);
}
END_TEST

static void tell(uint32_t from, uint32_t to, bool reaches)
{
    struct links_measured *row = NULL;
    char address[] = "tcp://10.0.0.1:7";
    const struct link_measured link = {
        .node_id = state.nodes.items[to].node_id, .address = address, .reaches = reaches};
    for (uint32_t i = 0; i < links.rows.count; i++)
        if (ID_EQUAL(links.rows.items[i].node_id, state.nodes.items[from].node_id))
            row = &links.rows.items[i];
    const struct links_measured empty = {.node_id = state.nodes.items[from].node_id};
    if (!row)
        row = record_list_push(&links_measured_type, RECORD_LIST(links.rows), &empty,
                               NODE_COUNT_MAX);
    ck_assert_ptr_nonnull(
        record_list_push(&link_measured_type, RECORD_LIST(row->links), &link, NODE_COUNT_MAX));
}

/* Each is missed by one of the others, so that none can be rank 0, be the shares as they may. */
START_TEST(upgrade_rank_0_unreachable)
{
    add_model(32, 64);
    add_node(0, 1000);
    add_node(1, 388);
    name_two();
    tell(0, 1, true);
    tell(1, 0, true);
    ck_assert_int_eq(place(2), STATUS_OK);
    ck_assert(instance.is_upgraded);
    record_fini(&links_listed_type, &links);
    memset(&links, 0, sizeof(links));
    tell(0, 1, true);
    tell(1, 0, false);
    ck_assert_int_eq(place(2), STATUS_NO_CAPACITY);
    check_says(reason.text, "alpha reaches beta, but beta does not reach alpha; open the way");
    ck_assert(!instance.is_upgraded);
}
END_TEST

START_TEST(tensor_by_name_is_equal_and_asymmetric_by_name_is_not)
{
    add_model(32, 64);
    add_node(0, 4000);
    add_node(1, 2000);
    name_two();
    ck_assert_int_eq(place(2), STATUS_OK);
    check_equal();
    request.asymmetric = true;
    ck_assert_int_eq(place(2), STATUS_OK);
    ck_assert(instance.is_asymmetric && !instance.is_upgraded);
    ck_assert_uint_gt(instance.ranks.items[0].weight_bytes, instance.ranks.items[1].weight_bytes);
}
END_TEST

/* ---- which nodes ---- */

/* The node that has the model has no room for a share of it: the others take it all. */
START_TEST(a_node_without_room_is_left_out)
{
    add_model(32, 64);
    add_node(0, 30);
    add_node(1, 500);
    add_node(2, 500);
    request.any_sharding = true;
    request.sharding = SHARDING_NONE;
    ck_assert_int_eq(place(3), STATUS_OK);
    ck_assert_uint_eq(instance_computing(&instance), 2);
    for (uint32_t i = 0; i < 2; i++)
        ck_assert_uint_ne(instance.ranks.items[i].node_id.bytes[0], 1);
}
END_TEST

static struct placement_node many[NODE_COUNT_MAX];

/* So many nodes, with memories of rows of two; those after the first four have no name. */
static void add_many(uint32_t count, uint32_t small, uint64_t small_mb, uint64_t mb)
{
    for (uint32_t i = NODES; i < count; i++) {
        struct node_record *extra = record_list_push(
            &node_record_type, RECORD_LIST(state.nodes), NULL, NODE_COUNT_MAX);
        extra->node_id.bytes[0] = (uint8_t)(i + 1);
        extra->machine_id.bytes[0] = (uint8_t)(i + 1);
        extra->cores = 2;
    }
    for (uint32_t i = 0; i < count; i++)
        many[i] = (struct placement_node){.node = &state.nodes.items[i],
                                          .memory_free = (i < small ? small_mb : mb) * MB,
                                          .is_heard = true};
    const struct holder_record holder = {.node_id = state.nodes.items[count - 1].node_id,
                                         .has_weights = true};
    ck_assert_ptr_nonnull(record_list_push(&holder_record_type,
                                           RECORD_LIST(state.models.items[0].holders), &holder,
                                           NODE_COUNT_MAX));
}

/* Of twenty it takes all that have room for anything, and three have none. */
START_TEST(all_that_have_room_are_taken_where_some_have_none)
{
    add_model(32, 64);
    add_many(20, 3, 36, 96);
    struct placement_question question = question_of(20);
    question.nodes = many;
    request.asymmetric = true;
    request.context = 512;
    const enum status status = placement_choose(&question, &instance, &reason);
    ck_assert_msg(status == STATUS_OK, "%s", reason.text);
    ck_assert_uint_eq(instance_computing(&instance), 17);
    for (uint32_t i = 0; i < 17; i++)
        ck_assert_uint_gt(instance.ranks.items[i].node_id.bytes[0], 3);
    /* So many that a few words about each are all there is room for. */
    check_says(instance.why, "tensor cut by memory: ");
    ck_assert_ptr_null(strstr(instance.why, "attention heads"));
}
END_TEST

START_TEST(who_is_left_out_is_named_with_the_reason)
{
    add_model(32, 64);
    add_node(0, 36);
    add_node(1, 500);
    add_node(2, 500);
    add_node(3, 500);
    nodes[3].is_exposed = true;
    request.asymmetric = true;
    ck_assert_int_eq(place(4), STATUS_OK);
    check_says(instance.why, "alpha (any share needs ");
    check_says(instance.why, " bytes, it has 4194304)"); /* of 36 MB, 32 are head-room */
    check_says(instance.why, "delta (it is in no trusted network)");
    nodes[0].memory_free = 480 * MB;
    nodes[3].is_exposed = false;
    static const struct kernel_rate fast = {4, 2, 40000000000, 400000000000,
                                            MODE_FAST, 0, 0, 0};
    static const struct kernel_rate slow = {4, 2, 1000000000, 10000000000,
                                            MODE_FAST, 0, 0, 0};
    for (uint32_t i = 0; i < 4; i++) {
        nodes[i].kernels = i < 1 ? &slow : &fast;
        nodes[i].kernel_count = 1;
    }
    ck_assert_int_eq(place(4), STATUS_OK);
    check_says(instance.why, "alpha (nothing is better with it)");
}
END_TEST

START_TEST(a_node_in_no_trusted_network_is_left_out)
{
    add_model(32, 64);
    add_node(0, 500);
    add_node(1, 500);
    add_node(2, 500);
    nodes[0].is_exposed = true;
    ck_assert_int_eq(place(3), STATUS_OK);
    ck_assert_uint_eq(instance_computing(&instance), 2);
}
END_TEST

START_TEST(one_node_wins_when_it_is_faster)
{
    add_model(32, 64);
    for (uint32_t i = 0; i < 3; i++)
        add_node(i, 4000);
    request.any_sharding = true;
    request.sharding = SHARDING_NONE;
    static const struct kernel_rate fast = {4, 2, 400000000000, 4000000000000,
                                            MODE_FAST, 0, 0, 0};
    nodes[1].kernels = &fast;
    nodes[1].kernel_count = 1;
    ck_assert_int_eq(place(3), STATUS_OK);
    ck_assert_uint_eq(instance.sharding, SHARDING_NONE);
    ck_assert_uint_eq(instance.ranks.items[0].node_id.bytes[0], 2);
    ck_assert(instance.tokens_per_s > 0 && instance.first_token_s > 0 && instance.load_s > 0);
}
END_TEST

START_TEST(the_order_in_which_nodes_are_named_is_that_of_ranks)
{
    add_model(32, 64);
    add_node(0, 4000);
    add_node(1, 2000);
    struct node_id ids[2] = {state.nodes.items[1].node_id, state.nodes.items[0].node_id};
    uint32_t shares[2] = {70, 30};
    ck_assert(bytes_set(&request.node_ids, ids, sizeof(ids)));
    request.shares = (struct u32s){shares, 2};
    const enum status status = place(2);
    request.shares = (struct u32s){NULL, 0};
    ck_assert_int_eq(status, STATUS_OK);
    ck_assert_uint_eq(instance.ranks.items[0].node_id.bytes[0], 2);
    ck_assert_uint_gt(instance.ranks.items[0].weight_bytes, instance.ranks.items[1].weight_bytes);
}
END_TEST

START_TEST(the_best_of_many_never_falls_off_the_list)
{
    add_model(32, 64);
    add_many(NODE_COUNT_MAX, 2, 500, 100);
    request.any_sharding = true;
    struct placement_question question = question_of(NODE_COUNT_MAX);
    struct candidates_listed listed = {.model_id = NULL};
    question.nodes = many;
    ck_assert_int_eq(placement_candidates(&question, &listed, &reason), STATUS_OK);
    ck_assert_uint_eq(listed.candidates.count, CANDIDATE_COUNT_MAX);
    ck_assert_uint_gt(listed.left_off, 0);
    ck_assert(listed.candidates.items[0].is_possible);
    for (uint32_t i = 1; i < listed.candidates.count; i++)
        ck_assert(listed.candidates.items[i - 1].is_possible ||
                  !listed.candidates.items[i].is_possible);
    record_fini(&candidates_listed_type, &listed);
}
END_TEST

/* ---- what is said ---- */

/* Every refusal for want of memory names node, need and have, and they are what was counted. */
START_TEST(refusals_name_node_need_and_have)
{
    add_model(32, 64);
    add_node(0, 100);
    add_node(1, 90);
    request.any_sharding = true;
    request.sharding = SHARDING_NONE;
    const struct placement_question question = question_of(2);
    struct candidates_listed listed = {.model_id = NULL};
    ck_assert_int_eq(placement_candidates(&question, &listed, &reason), STATUS_OK);
    ck_assert_uint_ge(listed.candidates.count, 4);
    for (uint32_t i = 0; i < listed.candidates.count; i++) {
        const struct candidate *one = &listed.candidates.items[i];
        bool is_named = false;
        ck_assert(!one->is_possible);
        for (uint32_t r = 0; r < one->ranks.count; r++) {
            const struct rank_record *rank = &one->ranks.items[r];
            const uint32_t at = rank->node_id.bytes[0] - 1u;
            char words[160];
            (void)snprintf(words, sizeof(words), "%s needs %llu bytes", names[at],
                           (unsigned long long)(rank->weight_bytes + rank->cache_bytes +
                                                rank->scratch_bytes));
            const bool names_need = strstr(one->why, words) != NULL;
            (void)snprintf(words, sizeof(words), "and has %llu",
                           (unsigned long long)(nodes[at].memory_free - PLACEMENT_HEAD_ROOM));
            is_named = is_named || (names_need && strstr(one->why, words));
        }
        ck_assert_msg(is_named, "%s", one->why);
    }
    record_fini(&candidates_listed_type, &listed);
}
END_TEST

/* Why each node got what it got: what it has, what it takes, and of what. */
START_TEST(a_placement_says_what_each_node_has_and_takes)
{
    char words[128];
    add_model(32, 64);
    add_node(0, 1000);
    add_node(1, 400);
    name_two();
    request.asymmetric = true;
    ck_assert_int_eq(place(2), STATUS_OK);
    check_says(instance.why, "tensor cut by memory: alpha has 1048.6 MB free and takes ");
    check_says(instance.why, "beta has 419.4 MB free and takes ");
    for (uint32_t i = 0; i < 2; i++) {
        const struct rank_record *rank = &instance.ranks.items[i];
        (void)snprintf(words, sizeof(words), "takes %.1f MB (",
                       (double)(rank->weight_bytes + rank->cache_bytes + rank->scratch_bytes) /
                           1e6);
        check_says(instance.why, words);
        (void)snprintf(words, sizeof(words), "%u of 32 attention heads, ",
                       (rank->cuts.items[0].end - rank->cuts.items[0].first) *
                           rank->cuts.items[0].step / 16);
        check_says(instance.why, words);
        (void)snprintf(words, sizeof(words), " of 1000 vocabulary rows");
        check_says(instance.why, words);
        ck_assert_uint_gt(rank->share, 0);
    }
    ck_assert_uint_eq(instance.ranks.items[0].share + instance.ranks.items[1].share, 10000);
    request.asymmetric = false;
    request.sharding = SHARDING_PIPELINE;
    ck_assert_int_eq(place(2), STATUS_OK);
    check_says(instance.why, "pipeline by layers: alpha has 1048.6 MB free and takes ");
    check_says(instance.why, "(layers 0 to ");
    check_says(instance.why, " to 15 of 16");
}
END_TEST

START_TEST(what_would_fit_stands_beside_what_does_not)
{
    add_model(32, 64);
    add_node(0, 600);
    add_node(1, 550);
    name_two();
    settings.auto_asymmetric = false;
    request.context = 4096;
    request.requests = 1;
    request.mode = MODE_EXACT;
    state.models.items[0].shape.runs.items[0].key_dim = 64;
    state.models.items[0].shape.runs.items[0].value_dim = 64;
    ck_assert_int_eq(place(2), STATUS_NO_CAPACITY);
    const char *nearest = strstr(reason.text, "or ask for a context of at most ");
    check_says(reason.text, "alpha needs ");
    check_says(reason.text, "; free ");
    ck_assert_msg(nearest != NULL, "%s", reason.text);
    request.context = (uint32_t)strtoul(nearest + strlen("or ask for a context of at most "), NULL,
                                        10);
    ck_assert_int_eq(place(2), STATUS_OK);
    /* Shares that do not fit, and those that do. */
    uint32_t shares[2] = {90, 10};
    request.shares = (struct u32s){shares, 2};
    enum status status = place(2);
    check_says(reason.text, "alpha needs ");
    const char *found = strstr(reason.text, "; the shares ");
    ck_assert_msg(status == STATUS_NO_CAPACITY && found, "%s", reason.text);
    check_says(found, " would fit");
    char *end = NULL;
    shares[0] = (uint32_t)strtoul(found + strlen("; the shares "), &end, 10);
    shares[1] = (uint32_t)strtoul(end + 1, NULL, 10);
    ck_assert_uint_eq(shares[0] + shares[1], 100);
    status = place(2);
    request.shares = (struct u32s){NULL, 0};
    ck_assert_msg(status == STATUS_OK, "%s", reason.text);
}
END_TEST

/* One node alone lacks half a gigabyte, all three together a few megabytes: these are told. */
START_TEST(of_what_is_refused_the_nearest_is_told)
{
    add_model(32, 64);
    for (uint32_t i = 0; i < 3; i++)
        add_node(i, 250);
    request.any_sharding = true;
    request.sharding = SHARDING_NONE;
    ck_assert_int_eq(place(3), STATUS_NO_CAPACITY);
    ck_assert_ptr_null(strstr(reason.text, "one node"));
    const char *lack = strstr(reason.text, "; free ");
    ck_assert_msg(lack != NULL, "%s", reason.text);
    ck_assert_uint_lt(strtoull(lack + strlen("; free "), NULL, 10), 64 * MB);
}
END_TEST

START_TEST(bad_nodes_are_named)
{
    struct node_id ids[3] = {{{1}}, {{1}}, {{2}}};
    add_model(32, 64);
    add_node(0, 4000);
    add_node(1, 4000);
    ck_assert(bytes_set(&request.node_ids, ids, 2 * sizeof(ids[0])));
    ck_assert_int_eq(place(2), STATUS_INVALID);
    check_says(reason.text, "alpha is named twice");
    ids[1].bytes[0] = 99;
    ck_assert(bytes_set(&request.node_ids, ids, 2 * sizeof(ids[0])));
    ck_assert_int_eq(place(2), STATUS_NOT_FOUND);
    check_says(reason.text, "no node 63000000");
    ids[1].bytes[0] = 2;
    ck_assert(bytes_set(&request.node_ids, ids, 2 * sizeof(ids[0])));
    nodes[1].is_heard = false;
    state.nodes.items[1].in_view = false;
    ck_assert_int_eq(place(2), STATUS_NO_CAPACITY);
    check_says(reason.text, "beta is away or leaving; leave it out");
}
END_TEST

START_TEST(more_ranks_than_the_model_can_use)
{
    add_model(2, 2);
    for (uint32_t i = 0; i < NODES; i++)
        add_node(i, 4000);
    const struct partition_units units = {.layers = 16, .vocab = 1000};
    request.sharding = SHARDING_PIPELINE;
    request.nodes_min = 17;
    ck_assert_uint_gt(request.nodes_min, units.layers);
    ck_assert_int_eq(place(NODES), STATUS_INVALID);
    check_says(reason.text, "ask for at most 16");
    request.nodes_min = 5;
    ck_assert_int_eq(place(NODES), STATUS_NO_CAPACITY);
    check_says(reason.text, "ask for at most 4");
}
END_TEST

/* ---- the ends of a pipeline ---- */

/* What a rank has beside its layers of 40 MB, in MB. */
static uint64_t beside_layers(uint32_t rank)
{
    const struct rank_record *one = &instance.ranks.items[rank];
    return one->weight_bytes / MB - 40 * (one->layer_end - one->layer_first);
}

static void set_ends(uint64_t embedding_mb, uint64_t head_mb)
{
    struct model_shape *shape = &state.models.items[0].shape;
    shape->tied = head_mb == 0;
    shape->embedding_bytes = embedding_mb * MB;
    shape->head_bytes = head_mb * MB;
    shape->weight_bytes = (640 + embedding_mb + head_mb) * MB;
}

START_TEST(a_tied_table_is_counted_on_the_first_and_the_last_of_a_pipeline)
{
    add_model(32, 64);
    for (uint32_t i = 0; i < 3; i++)
        add_node(i, 1000);
    request.sharding = SHARDING_PIPELINE;
    request.nodes_min = 3;
    set_ends(100, 0);
    ck_assert_int_eq(place(3), STATUS_OK);
    ck_assert_uint_eq(beside_layers(0), 100);
    ck_assert_uint_eq(beside_layers(1), 0);
    ck_assert_uint_eq(beside_layers(2), 100);
    set_ends(90, 60);
    ck_assert_int_eq(place(3), STATUS_OK);
    ck_assert_uint_eq(beside_layers(0), 90);
    ck_assert_uint_eq(beside_layers(1), 0);
    ck_assert_uint_eq(beside_layers(2), 60);
    set_ends(100, 0);
    request.sharding = SHARDING_NONE;
    request.nodes_min = 1;
    ck_assert_int_eq(place(3), STATUS_OK);
    ck_assert_uint_eq(beside_layers(0), 100);
}
END_TEST

/* With the table once they would fit. */
START_TEST(both_ends_of_a_tied_pipeline_have_to_fit)
{
    add_model(32, 64);
    add_node(0, 750);
    add_node(1, 750);
    request.sharding = SHARDING_PIPELINE;
    request.nodes_min = 2;
    set_ends(300, 0);
    ck_assert_msg(place(2) == STATUS_OK, "%s", reason.text);
    ck_assert_uint_eq(instance.ranks.items[0].layer_end, 8);
    nodes[0].memory_free = nodes[1].memory_free = 600 * MB;
    ck_assert_int_eq(place(2), STATUS_NO_CAPACITY);
    check_says(reason.text, "pipeline");
}
END_TEST

START_TEST(the_largest_after_rank_0_is_the_last_of_a_pipeline)
{
    static const uint8_t orders[2][3] = {{1, 3, 2}, {1, 2, 3}};
    struct node_id ids[3];
    add_model(32, 64);
    add_node(0, 900);
    add_node(1, 800);
    add_node(2, 300);
    request.sharding = SHARDING_PIPELINE;
    request.nodes_min = 3;
    set_ends(250, 0);
    for (uint32_t is_named = 0; is_named < 2; is_named++) {
        ck_assert_int_eq(place(3), is_named ? STATUS_NO_CAPACITY : STATUS_OK);
        for (uint32_t i = 0; i < 3; i++) {
            ids[i] = state.nodes.items[i].node_id;
            if (!is_named)
                ck_assert_uint_eq(instance.ranks.items[i].node_id.bytes[0], orders[0][i]);
        }
        ck_assert(bytes_set(&request.node_ids, ids, sizeof(ids)));
    }
    set_ends(100, 0);
    ck_assert_int_eq(place(3), STATUS_OK);
    for (uint32_t i = 0; i < 3; i++)
        ck_assert_uint_eq(instance.ranks.items[i].node_id.bytes[0], orders[1][i]);
}
END_TEST

START_TEST(bad_shares_are_refused_with_the_nearest)
{
    static const struct {
        uint32_t shares[4];
        uint32_t count;
        const char *says;
    } rows[] = {{{50, 40}, 2, "the nearest are 56,44"},
                {{100, 0}, 2, "leave that node out"},
                {{50, 30, 20}, 3, "only 2 nodes can take part now"},
                {{100}, 1, "at least two"}};
    add_model(32, 64);
    add_node(0, 4000);
    add_node(1, 4000);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint32_t shares[4];
        memcpy(shares, rows[i].shares, sizeof(shares));
        request.shares = (struct u32s){shares, rows[i].count};
        const enum status status = place(2);
        request.shares = (struct u32s){NULL, 0};
        ck_assert_int_ne(status, STATUS_OK);
        check_says(reason.text, rows[i].says);
    }
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("placement kinds");
    const TTest *const tests[] = {a_tied_table_is_counted_on_the_first_and_the_last_of_a_pipeline,
                                  both_ends_of_a_tied_pipeline_have_to_fit,
                                  the_largest_after_rank_0_is_the_last_of_a_pipeline,
                                  upgrade_gate_off,
                                  upgrade_equal_fits,
                                  upgrade_equal_too_tight,
                                  upgrade_asymmetric_over_85_percent,
                                  upgrade_family_without_units,
                                  upgrade_rank_over_its_budget_after_rounding,
                                  upgrade_rank_0_unreachable,
                                  tensor_by_name_is_equal_and_asymmetric_by_name_is_not,
                                  a_node_without_room_is_left_out,
                                  all_that_have_room_are_taken_where_some_have_none,
                                  who_is_left_out_is_named_with_the_reason,
                                  a_node_in_no_trusted_network_is_left_out,
                                  one_node_wins_when_it_is_faster,
                                  the_order_in_which_nodes_are_named_is_that_of_ranks,
                                  the_best_of_many_never_falls_off_the_list,
                                  refusals_name_node_need_and_have,
                                  a_placement_says_what_each_node_has_and_takes,
                                  what_would_fit_stands_beside_what_does_not,
                                  of_what_is_refused_the_nearest_is_told,
                                  bad_nodes_are_named,
                                  more_ranks_than_the_model_can_use,
                                  bad_shares_are_refused_with_the_nearest};
    TCase *tcase = tcase_create("kinds");
    tcase_add_checked_fixture(tcase, setup, teardown);
    for (size_t i = 0; i < COUNT_OF(tests); i++)
        tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
    return suite;
}
