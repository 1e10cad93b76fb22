/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/downloader/hub_plan.h"
#include "tests/support/check_main.h"

#include <string.h>

static const struct node_id own = {{1}};
static const struct node_id other = {{2}};

static struct state state;
static struct download_record *download;
static struct hub_plan plan;

static void add_node(const struct node_id *id)
{
    struct node_record *node =
        record_list_push(&node_record_type, RECORD_LIST(state.nodes), NULL, NODE_COUNT_MAX);
    ck_assert_ptr_nonnull(node);
    node->node_id = *id;
    node->in_view = true;
}

static void add_target(const struct node_id *id)
{
    const struct download_target target = {.node_id = *id};
    ck_assert_ptr_nonnull(record_list_push(&download_target_type, RECORD_LIST(download->targets),
                                           &target, NODE_COUNT_MAX));
}

static void add_file(const char *path, const struct node_id *id, bool is_done)
{
    struct download_file *file = record_list_push(
        &download_file_type, RECORD_LIST(download->files), NULL, MODEL_FILE_COUNT_MAX);
    ck_assert(file && text_set(&file->path, path) && text_set(&file->etag, "e"));
    file->node_id = *id;
    file->is_done = is_done;
    file->size = 9;
}

static void setup(void)
{
    state_init(&state);
    add_node(&own);
    add_node(&other);
    download = record_list_push(&download_record_type, RECORD_LIST(state.downloads), NULL, 4);
    ck_assert(download && text_set(&download->model_id, "m") && text_set(&download->commit, "c"));
    add_target(&own);
    add_target(&other);
    add_file("a.safetensors", &own, false);
    add_file("b.safetensors", &other, false);
}

static void teardown(void)
{
    hub_plan_fini(&plan);
    state_fini(&state);
}

static void make(void)
{
    hub_plan_fini(&plan);
    ck_assert_int_eq(hub_plan_of(&state, &own, "m", &plan), STATUS_OK);
}

START_TEST(a_file_is_fetched_by_one_node)
{
    make();
    ck_assert(plan.is_shared && plan.is_resolved && !plan.is_hopeless);
    ck_assert_uint_eq(plan.count, 2);
    ck_assert(plan.files[0].is_ours && !plan.files[1].is_ours);
    ck_assert_uint_eq(plan.fetchers, 2);
    ck_assert_str_eq(plan.files[1].file.path, "b.safetensors");
}
END_TEST

START_TEST(without_a_download_a_node_pulls_by_itself)
{
    ck_assert_int_eq(hub_plan_of(&state, &own, "another", &plan), STATUS_OK);
    ck_assert(!plan.is_shared);
    download->no_peers = true;
    make();
    ck_assert(!plan.is_shared);
}
END_TEST

START_TEST(one_node_asks_the_hub)
{
    ck_assert(text_set(&download->commit, ""));
    download->node_id = other;
    make();
    ck_assert(!plan.asks_hub && !plan.is_resolved);
    download->node_id = own;
    make();
    ck_assert(plan.asks_hub);
}
END_TEST

START_TEST(a_node_that_nobody_answers_fetches_all)
{
    download->targets.items[0].is_alone = true;
    make();
    ck_assert(plan.files[0].is_ours && plan.files[1].is_ours);
}
END_TEST

START_TEST(a_paused_node_fetches_nothing_whatever_it_was_told)
{
    struct download_target *target = &download->targets.items[0];
    target->is_paused = true;
    for (int way = 0; way < 3; way++) {
        target->is_mute = way == 1;
        download->no_peers = way == 2;
        make();
        ck_assert(plan.is_shared && plan.is_resolved && !plan.is_hopeless);
        ck_assert_uint_eq(plan.count, 2);
        ck_assert(!plan.files[0].is_ours && !plan.files[1].is_ours);
    }
}
END_TEST

START_TEST(a_node_that_answers_nobody_fetches_all_for_itself)
{
    download->targets.items[0].is_mute = true;
    make();
    ck_assert(plan.files[0].is_ours && plan.files[1].is_ours);
}
END_TEST

START_TEST(a_node_the_hub_refuses_fetches_nothing_while_another_may)
{
    download->targets.items[0].is_barred = true;
    download->targets.items[0].status = STATUS_NO_PERMISSION;
    make();
    ck_assert(!plan.files[0].is_ours && !plan.is_hopeless && plan.is_barred);
}
END_TEST

START_TEST(it_is_hopeless_when_the_hub_refuses_all)
{
    for (uint32_t i = 0; i < 2; i++) {
        download->targets.items[i].is_barred = true;
        download->targets.items[i].status = STATUS_NO_PERMISSION;
    }
    make();
    ck_assert(plan.is_hopeless);
    ck_assert_int_eq(plan.status, STATUS_NO_PERMISSION);
    /* What others have fetched they can still give. */
    for (uint32_t i = 0; i < 2; i++) {
        download->files.items[i].is_done = true;
        download->files.items[i].node_id = other;
    }
    make();
    ck_assert(!plan.is_hopeless);
    state.nodes.items[1].in_view = false;
    make();
    ck_assert(plan.is_hopeless);
}
END_TEST

START_TEST(it_is_hopeless_when_neither_hub_nor_nodes_answer)
{
    download->targets.items[0].is_barred = true;
    download->targets.items[0].is_alone = true;
    make();
    ck_assert(plan.is_hopeless);
}
END_TEST

START_TEST(the_thread_of_a_pull_sees_the_last_plan_once)
{
    struct hub_company company;
    struct hub_plan seen = {.count = 0};
    uint64_t version = 0;
    hub_company_init(&company);
    ck_assert(!hub_company_take(&company, &version, &seen));
    make();
    hub_company_put(&company, &plan);
    make();
    hub_company_put(&company, &plan);
    ck_assert(hub_company_take(&company, &version, &seen));
    ck_assert_uint_eq(seen.count, 2);
    ck_assert(!hub_company_take(&company, &version, &seen));
    hub_plan_fini(&seen);
    hub_company_fini(&company);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("hub plan");
    const TTest *const tests[] = {
        a_file_is_fetched_by_one_node,
        without_a_download_a_node_pulls_by_itself,
        one_node_asks_the_hub,
        a_node_that_nobody_answers_fetches_all,
        a_paused_node_fetches_nothing_whatever_it_was_told,
        a_node_that_answers_nobody_fetches_all_for_itself,
        a_node_the_hub_refuses_fetches_nothing_while_another_may,
        it_is_hopeless_when_the_hub_refuses_all,
        it_is_hopeless_when_neither_hub_nor_nodes_answer,
        the_thread_of_a_pull_sees_the_last_plan_once,
    };
    TCase *group = tcase_create("plan");
    tcase_add_checked_fixture(group, setup, teardown);
    for (size_t i = 0; i < COUNT_OF(tests); i++)
        tcase_add_test(group, tests[i]);
    suite_add_tcase(suite, group);
    return suite;
}
