/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/copy_rules.h"
#include "tests/support/check_main.h"

#include <string.h>

#define A 1
#define B 2

static struct state state;
static struct instance_record *instance;
static struct message event;
static struct reason reason;
static bool is_hopeless;

static void add_node(uint8_t number, const char *name)
{
    struct node_record *node =
        record_list_push(&node_record_type, RECORD_LIST(state.nodes), NULL, NODE_COUNT_MAX);
    ck_assert(node && text_set(&node->name, name));
    node->node_id.bytes[0] = number;
}

static void add_holder(uint8_t number, bool has_weights)
{
    const struct holder_record holder = {.node_id = {{number}}, .has_weights = has_weights};
    ck_assert_ptr_nonnull(record_list_push(&holder_record_type,
                                           RECORD_LIST(state.models.items[0].holders), &holder,
                                           NODE_COUNT_MAX));
}

static const struct node_id node_b = {{B}};

/* A holds the model; an instance of it shall run on B. */
static void setup(void)
{
    state_init(&state);
    add_node(A, "a");
    add_node(B, "b");
    struct model_record *model =
        record_list_push(&model_record_type, RECORD_LIST(state.models), NULL, 4);
    ck_assert(model && text_set(&model->model_id, "m"));
    model->revision.bytes[0] = 7;
    add_holder(A, true);
    instance = record_list_push(&instance_record_type, RECORD_LIST(state.instances), NULL, 4);
    ck_assert(instance && text_set(&instance->model_id, "m"));
    instance->instance_id.bytes[0] = 5;
    instance->status = INSTANCE_COPYING;
    const struct rank_record rank = {.node_id = node_b};
    ck_assert_ptr_nonnull(
        record_list_push(&rank_record_type, RECORD_LIST(instance->ranks), &rank, 4));
    instance->transfer_id = copy_rules_transfer(&state, "m", &instance->instance_id, &node_b);
    memset(&event, 0, sizeof(event));
    reason.text[0] = '\0';
}

static void teardown(void)
{
    message_fini(&event);
    state_fini(&state);
}

static enum copy_step next(void)
{
    return copy_rules_next(&state, instance, &is_hopeless, &reason);
}

/* As the event would be applied. */
static struct transfer_record *request(void)
{
    ck_assert_int_eq(copy_rules_request(&state, instance, &event), STATUS_OK);
    return record_list_push(&transfer_record_type, RECORD_LIST(state.transfers),
                            &MESSAGE_BODY(&event, transfer_requested)->transfer,
                            TRANSFER_COUNT_MAX);
}

START_TEST(a_copy_begins_with_a_transfer_to_rank_0)
{
    ck_assert_int_eq(next(), COPY_BEGINS);
    const struct transfer_record *transfer = request();
    ck_assert(ID_EQUAL(transfer->transfer_id, instance->transfer_id));
    ck_assert_str_eq(transfer->model_id, "m");
    ck_assert(transfer->is_for_placement);
    ck_assert_uint_eq(transfer->revision.bytes[0], 7);
    ck_assert_uint_eq(transfer->targets.count, 1);
    ck_assert(ID_EQUAL(transfer->targets.items[0].node_id, node_b));
    ck_assert_int_eq(next(), COPY_WAITS);
}
END_TEST

START_TEST(what_is_on_its_way_is_joined)
{
    struct transfer_record *transfer = request();
    struct instance_id other = {{6}};
    transfer->is_for_placement = false;
    const struct transfer_id id = copy_rules_transfer(&state, "m", &other, &node_b);
    ck_assert(ID_EQUAL(id, transfer->transfer_id));
    const struct node_id node_a = {{A}};
    const struct transfer_id elsewhere = copy_rules_transfer(&state, "m", &other, &node_a);
    ck_assert(!ID_EQUAL(elsewhere, transfer->transfer_id));
}
END_TEST

START_TEST(a_node_that_holds_the_model_waits_for_nothing)
{
    add_holder(B, true);
    ck_assert_int_eq(next(), COPY_IS_THERE);
}
END_TEST

START_TEST(small_files_are_not_enough)
{
    add_holder(B, false);
    ck_assert_int_eq(next(), COPY_BEGINS);
}
END_TEST

START_TEST(a_copy_that_is_done_ends_the_wait)
{
    request()->targets.items[0].phase = TRANSFER_DONE;
    ck_assert_int_eq(next(), COPY_IS_THERE);
}
END_TEST

START_TEST(a_failed_copy_fails_with_its_reason)
{
    struct transfer_target *target = &request()->targets.items[0];
    target->phase = TRANSFER_FAILED;
    target->status = STATUS_NO_HOLDER;
    ck_assert(text_set(&target->reason, "nobody sends it"));
    ck_assert_int_eq(next(), COPY_FAILED);
    ck_assert(!is_hopeless);
    ck_assert_str_eq(reason.text, "the model could not be copied to b: nobody sends it");
    target->status = STATUS_NO_SPACE;
    ck_assert_int_eq(next(), COPY_FAILED);
    ck_assert(is_hopeless);
}
END_TEST

START_TEST(a_cancelled_copy_is_not_tried_again)
{
    request()->targets.items[0].phase = TRANSFER_STOPPED;
    ck_assert_int_eq(next(), COPY_FAILED);
    ck_assert(is_hopeless);
    ck_assert_msg(strstr(reason.text, "cancelled") != NULL, "%s", reason.text);
}
END_TEST

START_TEST(where_transfers_have_no_room_it_is_tried_later)
{
    for (uint32_t i = 0; i < TRANSFER_COUNT_MAX; i++) {
        request()->transfer_id.bytes[0] ^= (uint8_t)(i + 1);
        message_fini(&event);
    }
    memset(&event, 0, sizeof(event));
    ck_assert_int_eq(next(), COPY_FAILED);
    ck_assert(!is_hopeless);
    state.transfers.items[3].targets.items[0].phase = TRANSFER_DONE;
    ck_assert_int_eq(next(), COPY_BEGINS);
}
END_TEST

START_TEST(a_copy_nobody_waits_for_is_unwanted)
{
    struct transfer_record *transfer = request();
    ck_assert_ptr_null(copy_rules_unwanted(&state));
    instance->status = INSTANCE_WAITING;
    ck_assert_ptr_eq(copy_rules_unwanted(&state), transfer);
    transfer->is_for_placement = false; /* a command wants it too */
    ck_assert_ptr_null(copy_rules_unwanted(&state));
    transfer->is_for_placement = true;
    transfer->targets.items[0].phase = TRANSFER_DONE;
    ck_assert_ptr_null(copy_rules_unwanted(&state));
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("copy rules");
    TCase *group = tcase_create("rules");
    tcase_add_checked_fixture(group, setup, teardown);
    tcase_add_test(group, a_copy_begins_with_a_transfer_to_rank_0);
    tcase_add_test(group, what_is_on_its_way_is_joined);
    tcase_add_test(group, a_node_that_holds_the_model_waits_for_nothing);
    tcase_add_test(group, small_files_are_not_enough);
    tcase_add_test(group, a_copy_that_is_done_ends_the_wait);
    tcase_add_test(group, a_failed_copy_fails_with_its_reason);
    tcase_add_test(group, a_cancelled_copy_is_not_tried_again);
    tcase_add_test(group, where_transfers_have_no_room_it_is_tried_later);
    tcase_add_test(group, a_copy_nobody_waits_for_is_unwanted);
    suite_add_tcase(suite, group);
    return suite;
}
