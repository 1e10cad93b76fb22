/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a placement is predicted to do, by what was measured: each figure is changed alone, and the
 * prediction moves by what that costs.
 */
#include "actors/master/placement.h"
#include "actors/master/placement_bytes.h"
#include "protocol/memory.h"
#include "tests/support/check_main.h"

#include <string.h>

#define NODES 2u
#define MB ((uint64_t)1 << 20)
#define LAYERS 16u
#define HIDDEN 256u

static struct state state;
static struct place_instance request;
static struct placement_node nodes[NODES];
static struct kernel_rate rates[NODES][6];
static struct links_listed links;
static struct instance_record instance;

static void add_model(void)
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
    model->shape = (struct model_shape){.layers = LAYERS,
                                        .hidden = HIDDEN,
                                        .heads = 32,
                                        .kv_heads = 32,
                                        .vocab = 1000,
                                        .context = 4096,
                                        .products = 1000 * MB,
                                        .embedding_bytes = 1 * MB,
                                        .head_bytes = 50 * MB,
                                        .weight_bytes = 691 * MB};
    const struct layer_run run = {.layers = LAYERS,
                                  .mixer = PARTITION_ATTENTION,
                                  .units = 32,
                                  .unit_heads = 1,
                                  .per_kv = 1,
                                  .heads = 1,
                                  .key_dim = 32,
                                  .value_dim = 32,
                                  .mixer_bytes = 8 * MB,
                                  .kv_bytes = 2 * MB,
                                  .ffn = PARTITION_FFN,
                                  .ffn_units = 64,
                                  .ffn_bytes = 30 * MB};
    ck_assert_ptr_nonnull(
        record_list_push(&layer_run_type, RECORD_LIST(model->shape.runs), &run, LAYER_COUNT_MAX));
}

static void setup(void)
{
    state_init(&state);
    request = (struct place_instance){.mode = MODE_FAST,
                                      .context = 1024,
                                      .requests = 1,
                                      .threads = 1,
                                      .sharding = SHARDING_NONE};
    for (uint32_t i = 0; i < NODES; i++) {
        struct node_record *node =
            record_list_push(&node_record_type, RECORD_LIST(state.nodes), NULL, NODE_COUNT_MAX);
        node->node_id.bytes[0] = node->machine_id.bytes[0] = (uint8_t)(i + 1);
        node->cores = 2;
        node->in_view = true;
        ck_assert(text_set(&node->name, i == 0 ? "alpha" : "beta"));
        for (uint32_t k = 0; k < 4; k++) {
            const uint64_t threads = k % 2 + 1;
            rates[i][k] = (struct kernel_rate){.bits = k < 2 ? 4 : 16,
                                               .threads = (uint32_t)threads,
                                               .bytes_per_s = 10000 * MB,
                                               .products_per_s = 50000 * MB * threads,
                                               .mode = MODE_FAST,
                                               .attended_per_s = k < 2 ? 0 : 5000 * MB,
                                               .attended_many_per_s = k < 2 ? 0 : 9000 * MB};
        }
    }
    add_model();
    for (uint32_t i = 0; i < NODES; i++) {
        const struct node_record *node = &state.nodes.items[i];
        const struct holder_record holder = {.node_id = node->node_id, .has_weights = true};
        nodes[i] = (struct placement_node){.node = node,
                                           .memory_free = 4000 * MB,
                                           .disk_free = UINT64_MAX,
                                           .is_heard = true,
                                           .kernels = rates[i],
                                           .kernel_count = 4,
                                           .near_ns = 10000,
                                           .near_bytes_per_s = 1000 * MB};
        ck_assert_ptr_nonnull(record_list_push(&holder_record_type,
                                               RECORD_LIST(state.models.items[0].holders), &holder,
                                               NODE_COUNT_MAX));
    }
}

static void teardown(void)
{
    state_fini(&state);
    record_fini(&links_listed_type, &links);
    record_fini(&place_instance_type, &request);
    record_fini(&instance_record_type, &instance);
    memset(&links, 0, sizeof(links));
    memset(&instance, 0, sizeof(instance));
}

/* Each of the two reaches the other, so soon and so fast. */
static struct link_measured *link_between(uint32_t from, uint64_t latency_us, uint64_t bytes_per_s)
{
    struct links_measured *row =
        record_list_push(&links_measured_type, RECORD_LIST(links.rows), NULL, NODE_COUNT_MAX);
    struct link_measured *link =
        record_list_push(&link_measured_type, RECORD_LIST(row->links), NULL, NODE_COUNT_MAX);
    row->node_id = state.nodes.items[from].node_id;
    link->node_id = state.nodes.items[1 - from].node_id;
    link->reaches = true;
    link->latency_us = latency_us;
    link->bytes_per_s = bytes_per_s;
    return link;
}

/* With so many nodes; the figures stand in `instance`. */
static void place(enum sharding sharding, uint32_t count)
{
    struct reason reason = {""};
    const struct placement_question question = {.state = &state,
                                                .request = &request,
                                                .nodes = nodes,
                                                .node_count = count,
                                                .links = links.rows.count ? &links : NULL};
    request.sharding = sharding;
    request.nodes_min = count;
    record_fini(&instance_record_type, &instance);
    memset(&instance, 0, sizeof(instance));
    ck_assert_msg(placement_choose(&question, &instance, &reason) == STATUS_OK, "%s", reason.text);
    ck_assert_uint_eq(instance_computing(&instance), count);
}

static double token_s(enum sharding sharding, uint32_t count)
{
    place(sharding, count);
    return 1 / instance.tokens_per_s;
}

static double first_s(enum sharding sharding, uint32_t count)
{
    place(sharding, count);
    return instance.first_token_s;
}

static void set_bytes(uint32_t node, uint32_t threads, uint64_t bytes_per_s)
{
    for (uint32_t k = 0; k < 4; k++)
        if (rates[node][k].bits == 4 && rates[node][k].threads == threads)
            rates[node][k].bytes_per_s = bytes_per_s;
}

/* Kernels that take turns leave this of what one manages alone (placement_predict.c). */
#define ATTENDED_PART 0.86
/* What a token reads: all layers and the head. */
#define READ_MB (640.0 + 50.0)

START_TEST(a_token_takes_what_reading_its_weights_takes)
{
    const double before_s = token_s(SHARDING_NONE, 1);
    set_bytes(0, 1, 5000 * MB);
    ck_assert_double_eq_tol(token_s(SHARDING_NONE, 1) - before_s, READ_MB / 10000, 1e-6);
    ck_assert_double_gt(before_s, READ_MB / 10000);
    ck_assert_double_lt(before_s, READ_MB / 10000 * 1.2);
}
END_TEST

START_TEST(a_token_takes_what_attending_to_the_prompt_takes)
{
    const double before_s = token_s(SHARDING_NONE, 1);
    const double products = LAYERS * 32.0 * (32 + 32) * PREDICTED_PROMPT_TOKENS;
    rates[0][2].attended_per_s = 2500 * MB;
    ck_assert_double_eq_tol(token_s(SHARDING_NONE, 1) - before_s,
                            products / (5000.0 * MB) / ATTENDED_PART, 1e-9);
}
END_TEST

START_TEST(a_prompt_takes_what_its_multiplications_take)
{
    const double before_s = first_s(SHARDING_NONE, 1);
    rates[0][0].products_per_s = 25000 * MB;
    ck_assert_double_eq_tol(first_s(SHARDING_NONE, 1) - before_s,
                            PREDICTED_PROMPT_TOKENS * 1000.0 / 50000, 1e-6);
    const double then_s = first_s(SHARDING_NONE, 1);
    rates[0][2].attended_many_per_s = 4500 * MB;
    const double products = LAYERS * 32.0 * (32 + 32) * PREDICTED_PROMPT_TOKENS *
                            PREDICTED_PROMPT_TOKENS / 2;
    ck_assert_double_eq_tol(first_s(SHARDING_NONE, 1) - then_s,
                            products / (9000.0 * MB) / ATTENDED_PART, 1e-6);
}
END_TEST

START_TEST(exact_mode_is_predicted_by_exact_kernels)
{
    const double fast_s = token_s(SHARDING_NONE, 1);
    request.mode = MODE_EXACT;
    ck_assert_double_gt(token_s(SHARDING_NONE, 1), 2 * fast_s); /* not measured: 2.5 times */
    for (uint32_t k = 0; k < 4; k++)
        rates[0][k].mode = MODE_EXACT;
    ck_assert_double_eq_tol(token_s(SHARDING_NONE, 1), fast_s, 1e-6);
}
END_TEST

START_TEST(between_two_measured_counts_of_threads_lies_what_lies_between)
{
    set_bytes(0, 1, 4000 * MB);
    rates[0][1].threads = 3;
    set_bytes(0, 3, 8000 * MB);
    rates[0][3].threads = 3;
    const double one_s = token_s(SHARDING_NONE, 1);
    request.threads = 2;
    ck_assert_double_eq_tol(one_s - token_s(SHARDING_NONE, 1), READ_MB / 4000 - READ_MB / 6000,
                            2e-3);
}
END_TEST

START_TEST(each_layer_takes_what_was_measured_beside_its_weights)
{
    request.threads = 2;
    rates[0][1].layer_ns = 1000;
    const double before_s = token_s(SHARDING_NONE, 1);
    rates[0][1].layer_ns = 11000;
    ck_assert_double_eq_tol((token_s(SHARDING_NONE, 1) - before_s) / LAYERS, 10e-6, 1e-9);
}
END_TEST

START_TEST(ranks_of_a_machine_that_work_at_once_share_what_it_reads)
{
    state.nodes.items[1].machine_id = state.nodes.items[0].machine_id;
    for (uint32_t i = 0; i < NODES; i++)
        set_bytes(i, 2, 20000 * MB);
    const double apart_s = token_s(SHARDING_TENSOR, 2);
    const double turns_s = token_s(SHARDING_PIPELINE, 2);
    for (uint32_t i = 0; i < NODES; i++)
        set_bytes(i, 2, 12000 * MB); /* two threads are little more than one */
    ck_assert_double_eq_tol(token_s(SHARDING_TENSOR, 2) - apart_s,
                            READ_MB / 2 / 6000 - READ_MB / 2 / 10000, 2e-4);
    ck_assert_double_eq_tol(token_s(SHARDING_PIPELINE, 2), turns_s, 1e-9);
}
END_TEST

START_TEST(a_tensor_cut_waits_for_its_slowest_rank_and_a_pipeline_for_each)
{
    const double tensor_s = token_s(SHARDING_TENSOR, 2);
    const double pipeline_s = token_s(SHARDING_PIPELINE, 2);
    set_bytes(1, 1, 5000 * MB);
    ck_assert_double_eq_tol(token_s(SHARDING_TENSOR, 2) - tensor_s, READ_MB / 2 / 10000, 1e-3);
    const double more_s = token_s(SHARDING_PIPELINE, 2) - pipeline_s;
    ck_assert_double_gt(more_s, 200.0 / 10000); /* its layers, of one that may hold the head, too */
    ck_assert_double_lt(more_s, 450.0 / 10000);
    ck_assert_double_gt(pipeline_s, tensor_s);
}
END_TEST

/* Two sums in each layer and one of the embedding. */
#define SUMS (2.0 * LAYERS + 1)

START_TEST(sums_between_machines_take_what_their_links_take)
{
    struct link_measured *there = link_between(0, 2000, 100 * MB);
    struct link_measured *back = link_between(1, 2000, 100 * MB);
    double before_s = token_s(SHARDING_TENSOR, 2);
    there->latency_us = back->latency_us = 4000; /* there and back: a millisecond more each way */
    const double sum_s = (token_s(SHARDING_TENSOR, 2) - before_s) / SUMS;
    ck_assert_double_gt(sum_s, 1.0e-3);
    ck_assert_double_lt(sum_s, 1.2e-3); /* what goes beside the layers waits, too */
    there->bytes_per_s = back->bytes_per_s = 50 * MB;
    before_s = token_s(SHARDING_PIPELINE, 2);
    there->latency_us = back->latency_us = 2000;
    ck_assert_double_eq_tol(before_s - token_s(SHARDING_PIPELINE, 2), 2e-3, 1e-6);
}
END_TEST

START_TEST(a_prompt_crosses_slow_links_with_all_its_rows)
{
    struct link_measured *there = link_between(0, 1000, 100 * MB);
    struct link_measured *back = link_between(1, 1000, 100 * MB);
    const double tensor_s = first_s(SHARDING_TENSOR, 2);
    const double pipeline_s = first_s(SHARDING_PIPELINE, 2);
    const double rows_mb = PREDICTED_PROMPT_TOKENS * HIDDEN * 4.0 / (double)MB;
    there->bytes_per_s = back->bytes_per_s = 50 * MB;
    /* Of two ranks each sends half, then the sum of half. */
    ck_assert_double_eq_tol(first_s(SHARDING_TENSOR, 2) - tensor_s, SUMS * rows_mb / 100, 1e-3);
    /* Of a pipeline they go there; what comes back is little. */
    ck_assert_double_eq_tol(first_s(SHARDING_PIPELINE, 2) - pipeline_s, rows_mb / 100, 1e-4);
}
END_TEST

START_TEST(one_node_wins_where_links_are_slow_and_several_where_they_are_fast)
{
    struct link_measured *there = link_between(0, 20000, 1 * MB);
    struct link_measured *back = link_between(1, 20000, 1 * MB);
    struct reason reason = {""};
    struct placement_question question = {.state = &state,
                                          .request = &request,
                                          .nodes = nodes,
                                          .node_count = 2,
                                          .links = &links};
    request.any_sharding = true;
    ck_assert_int_eq(placement_choose(&question, &instance, &reason), STATUS_OK);
    ck_assert_uint_eq(instance_computing(&instance), 1);
    there->latency_us = back->latency_us = 60;
    there->bytes_per_s = back->bytes_per_s = 2000 * MB;
    record_fini(&instance_record_type, &instance);
    memset(&instance, 0, sizeof(instance));
    ck_assert_int_eq(placement_choose(&question, &instance, &reason), STATUS_OK);
    ck_assert_uint_eq(instance.sharding, SHARDING_TENSOR);
    ck_assert_uint_eq(instance_computing(&instance), 2);
}
END_TEST

static double load_s(enum sharding sharding, uint32_t count)
{
    place(sharding, count);
    return instance.load_s;
}

START_TEST(a_load_meets_memory_as_fast_as_its_machine_gives_it)
{
    nodes[0].fresh_bytes_per_s = nodes[1].fresh_bytes_per_s = 1000 * MB;
    const double one_s = load_s(SHARDING_NONE, 1);
    const double two_s = load_s(SHARDING_TENSOR, 2);
    nodes[1].fresh_bytes_per_s = 100 * MB;
    const double weights_mb = (double)instance.ranks.items[1].weight_bytes / (double)MB;
    ck_assert_double_eq_tol(load_s(SHARDING_TENSOR, 2) - two_s,
                            weights_mb / 100 - weights_mb / 1000, 1e-6);
    /* A single rank maps its files. */
    nodes[0].fresh_bytes_per_s = 100 * MB;
    ck_assert_double_eq_tol(load_s(SHARDING_NONE, 1), one_s, 1e-9);
}
END_TEST

/* In a pipeline the next rank slept while this one computed; in a tensor cut all compute. */
START_TEST(each_hop_of_a_pipeline_wakes_the_next)
{
    nodes[0].wake_ns = nodes[1].wake_ns = 100000;
    const double pipeline_s = token_s(SHARDING_PIPELINE, 2);
    const double tensor_s = token_s(SHARDING_TENSOR, 2);
    nodes[0].wake_ns = 400000;
    nodes[1].wake_ns = 800000;
    ck_assert_double_eq_tol(token_s(SHARDING_PIPELINE, 2) - pipeline_s, 1e-3, 1e-9);
    ck_assert_double_eq_tol(token_s(SHARDING_TENSOR, 2), tensor_s, 1e-9);
}
END_TEST

START_TEST(who_has_no_weights_gets_them_over_the_link)
{
    struct link_measured *there = link_between(0, 1000, 100 * MB);
    struct link_measured *back = link_between(1, 1000, 100 * MB);
    record_list_remove(&holder_record_type, RECORD_LIST(state.models.items[0].holders), 1);
    place(SHARDING_TENSOR, 2);
    const double before_s = instance.load_s;
    const double sent_mb = (double)instance.ranks.items[1].weight_bytes / (double)MB;
    ck_assert(!instance.ranks.items[1].has_weights && sent_mb > 300);
    ck_assert_double_gt(before_s, sent_mb / 100);
    there->bytes_per_s = back->bytes_per_s = 50 * MB;
    place(SHARDING_TENSOR, 2);
    ck_assert_double_eq_tol(instance.load_s - before_s, sent_mb / 100, 0.01);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("placement predict");
    const TTest *const tests[] = {
        a_token_takes_what_reading_its_weights_takes,
        a_token_takes_what_attending_to_the_prompt_takes,
        a_prompt_takes_what_its_multiplications_take,
        exact_mode_is_predicted_by_exact_kernels,
        between_two_measured_counts_of_threads_lies_what_lies_between,
        each_layer_takes_what_was_measured_beside_its_weights,
        ranks_of_a_machine_that_work_at_once_share_what_it_reads,
        a_tensor_cut_waits_for_its_slowest_rank_and_a_pipeline_for_each,
        sums_between_machines_take_what_their_links_take,
        a_prompt_crosses_slow_links_with_all_its_rows,
        one_node_wins_where_links_are_slow_and_several_where_they_are_fast,
        a_load_meets_memory_as_fast_as_its_machine_gives_it,
        each_hop_of_a_pipeline_wakes_the_next,
        who_has_no_weights_gets_them_over_the_link,
    };
    TCase *group = tcase_create("predict");
    tcase_add_checked_fixture(group, setup, teardown);
    for (size_t i = 0; i < COUNT_OF(tests); i++)
        tcase_add_test(group, tests[i]);
    suite_add_tcase(suite, group);
    return suite;
}
