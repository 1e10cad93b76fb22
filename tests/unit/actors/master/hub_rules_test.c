/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/hub_rules.h"
#include "tests/support/check_main.h"

#include <string.h>

static struct state state;
static struct place_instance request;
static struct placement_node nodes[3];
static struct instance_record instance;
static struct reason reason;

/* Nodes 1, 2 and 3 with 10, 30 and 20 bytes free; the model is nobody's. */
static void setup(void)
{
    static const uint64_t room[] = {10, 30, 20};
    state_init(&state);
    memset(&request, 0, sizeof(request));
    memset(&instance, 0, sizeof(instance));
    request.may_download = true;
    ck_assert(text_set(&request.model_id, "org/name"));
    for (uint32_t i = 0; i < COUNT_OF(nodes); i++) {
        struct node_record *node =
            record_list_push(&node_record_type, RECORD_LIST(state.nodes), NULL, NODE_COUNT_MAX);
        ck_assert(node && text_set(&node->name, i == 0 ? "a" : i == 1 ? "b" : "c"));
        node->node_id.bytes[0] = (uint8_t)(i + 1);
    }
    for (uint32_t i = 0; i < COUNT_OF(nodes); i++)
        nodes[i] = (struct placement_node){
            .node = &state.nodes.items[i], .disk_free = room[i], .is_heard = true};
    reason.text[0] = '\0';
}

static void teardown(void)
{
    record_fini(&instance_record_type, &instance);
    record_fini(&place_instance_type, &request);
    state_fini(&state);
}

static enum status place(void)
{
    const struct placement_question question = {
        .state = &state, .request = &request, .nodes = nodes, .node_count = COUNT_OF(nodes)};
    record_fini(&instance_record_type, &instance);
    memset(&instance, 0, sizeof(instance));
    return hub_rules_place(&question, &instance, &reason);
}

static uint8_t chosen(void)
{
    ck_assert_msg(place() == STATUS_OK, "%s", reason.text);
    ck_assert_uint_eq(instance.status, INSTANCE_DOWNLOADING);
    ck_assert_uint_eq(instance.ranks.count, 1);
    return instance.ranks.items[0].node_id.bytes[0];
}

static struct import_record *add_import(uint8_t node, const char *model_id)
{
    struct import_record *import =
        record_list_push(&import_record_type, RECORD_LIST(state.imports), NULL, 4);
    ck_assert(import && text_set(&import->model_id, model_id));
    import->node_id.bytes[0] = node;
    return import;
}

START_TEST(the_node_with_most_room_downloads)
{
    ck_assert_uint_eq(chosen(), 2);
    ck_assert_str_eq(instance.why, "org/name is downloaded from the hub to b first");
}
END_TEST

START_TEST(of_like_nodes_the_lowest_id_downloads)
{
    nodes[2].disk_free = 30;
    const struct placement_node kept = nodes[1];
    nodes[1] = nodes[2];
    nodes[2] = kept;
    ck_assert_uint_eq(chosen(), 2);
}
END_TEST

START_TEST(a_node_that_is_not_heard_does_not_download)
{
    nodes[1].is_heard = false;
    ck_assert_uint_eq(chosen(), 3);
    nodes[0].is_heard = nodes[2].is_heard = false;
    ck_assert_int_eq(place(), STATUS_NO_CAPACITY);
}
END_TEST

START_TEST(one_of_the_named_nodes_downloads)
{
    ck_assert(bytes_set(&request.node_ids, &nodes[0].node->node_id, 16));
    ck_assert_uint_eq(chosen(), 1);
}
END_TEST

START_TEST(a_node_that_downloads_it_already_is_joined)
{
    add_import(1, "org/name");
    add_import(3, "org/other");
    ck_assert_uint_eq(chosen(), 1);
}
END_TEST

START_TEST(only_a_repository_is_downloaded_and_only_when_asked)
{
    static const char *const names[] = {"name", "/name", "org/", "a/b/c", ""};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        ck_assert(text_set(&request.model_id, names[i]));
        ck_assert_int_eq(place(), STATUS_NOT_FOUND);
        ck_assert_msg(strstr(reason.text, "troupe add") != NULL, "%s", reason.text);
    }
    ck_assert(text_set(&request.model_id, "org/name"));
    request.may_download = false;
    ck_assert_int_eq(place(), STATUS_NOT_FOUND);
}
END_TEST

START_TEST(it_is_asked_for_once_and_waited_for)
{
    struct message command;
    ck_assert_uint_eq(chosen(), 2);
    ck_assert(text_set(&instance.model_id, "org/name"));
    ck_assert_int_eq(hub_rules_next(&state, &instance), HUB_BEGINS);
    ck_assert_int_eq(hub_rules_command(&state, &instance, &command), STATUS_OK);
    ck_assert_str_eq(MESSAGE_BODY(&command, pull_model)->model_id, "org/name");
    ck_assert_uint_eq(MESSAGE_BODY(&command, pull_model)->node_id.bytes[0], 2);
    message_fini(&command);
    add_import(2, "org/name");
    ck_assert_int_eq(hub_rules_next(&state, &instance), HUB_WAITS);
}
END_TEST

START_TEST(what_somebody_holds_meanwhile_is_waited_for_no_more)
{
    ck_assert_uint_eq(chosen(), 2);
    ck_assert(text_set(&instance.model_id, "org/name"));
    struct model_record *model =
        record_list_push(&model_record_type, RECORD_LIST(state.models), NULL, 4);
    ck_assert(model && text_set(&model->model_id, "org/name"));
    struct holder_record holder = {.node_id = {{1}}};
    struct holder_record *held =
        record_list_push(&holder_record_type, RECORD_LIST(model->holders), &holder, 4);
    ck_assert_int_eq(hub_rules_next(&state, &instance), HUB_BEGINS);
    held->has_weights = true;
    ck_assert_int_eq(hub_rules_next(&state, &instance), HUB_IS_THERE);
}
END_TEST

/* It came from a hub at the commit c0..., unless its commit is its own digest. */
static struct model_record *known(bool is_of_hub)
{
    struct model_record *model =
        record_list_push(&model_record_type, RECORD_LIST(state.models), NULL, 4);
    ck_assert(model && text_set(&model->model_id, "org/name"));
    memset(&model->revision, 0xab, sizeof(model->revision));
    ck_assert(text_set(&model->commit, is_of_hub ? "c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0"
                                                 : "abababababababababababababababababababab"));
    return model;
}

START_TEST(what_all_lost_is_downloaded_again_at_its_commit)
{
    struct message command;
    struct model_record *model = known(true);
    struct holder_record holder = {.node_id = {{1}}, .has_weights = true};
    struct holder_record *held =
        record_list_push(&holder_record_type, RECORD_LIST(model->holders), &holder, 4);
    ck_assert(!hub_rules_is_lost(&state, "org/name"));
    held->has_weights = false;
    ck_assert(hub_rules_is_lost(&state, "org/name"));
    ck_assert_uint_eq(chosen(), 2);
    ck_assert_ptr_nonnull(strstr(instance.why, "no node holds it any more"));
    ck_assert(text_set(&instance.model_id, "org/name"));
    ck_assert_int_eq(hub_rules_next(&state, &instance), HUB_BEGINS);
    ck_assert_int_eq(hub_rules_command(&state, &instance, &command), STATUS_OK);
    ck_assert_str_eq(MESSAGE_BODY(&command, pull_model)->hub_revision, model->commit);
    message_fini(&command);
}
END_TEST

/* Two weights on two nodes; then one of them is on neither. */
START_TEST(what_several_hold_together_is_not_downloaded)
{
    struct model_record *model = known(true);
    for (uint32_t i = 0; i < 2; i++) {
        struct file_entry *file =
            record_list_push(&file_entry_type, RECORD_LIST(model->files), NULL, 4);
        struct holder_record *holder =
            record_list_push(&holder_record_type, RECORD_LIST(model->holders), NULL, 4);
        const uint8_t held = (uint8_t)(1u << i);
        ck_assert(file && holder && bytes_set(&holder->held, &held, 1));
        file->is_weight = true;
        file->size = 10;
        holder->node_id.bytes[0] = (uint8_t)(i + 1);
    }
    ck_assert(text_set(&instance.model_id, "org/name"));
    ck_assert(!hub_rules_is_lost(&state, "org/name"));
    ck_assert_int_eq(hub_rules_next(&state, &instance), HUB_IS_THERE);
    model->holders.items[1].held.items[0] = 1;
    ck_assert(hub_rules_is_lost(&state, "org/name"));
}
END_TEST

START_TEST(what_came_from_a_directory_is_not_asked_of_a_hub)
{
    (void)known(false);
    ck_assert(!hub_rules_is_lost(&state, "org/name"));
    ck_assert(!hub_rules_is_lost(&state, "org/other"));
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("hub rules");
    TCase *group = tcase_create("rules");
    tcase_add_checked_fixture(group, setup, teardown);
    tcase_add_test(group, the_node_with_most_room_downloads);
    tcase_add_test(group, of_like_nodes_the_lowest_id_downloads);
    tcase_add_test(group, a_node_that_is_not_heard_does_not_download);
    tcase_add_test(group, one_of_the_named_nodes_downloads);
    tcase_add_test(group, a_node_that_downloads_it_already_is_joined);
    tcase_add_test(group, only_a_repository_is_downloaded_and_only_when_asked);
    tcase_add_test(group, it_is_asked_for_once_and_waited_for);
    tcase_add_test(group, what_somebody_holds_meanwhile_is_waited_for_no_more);
    tcase_add_test(group, what_all_lost_is_downloaded_again_at_its_commit);
    tcase_add_test(group, what_several_hold_together_is_not_downloaded);
    tcase_add_test(group, what_came_from_a_directory_is_not_asked_of_a_hub);
    suite_add_tcase(suite, group);
    return suite;
}
