/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/check_main.h"
#include "tests/unit/protocol/apply_stage.h"

#include <stdio.h>
#include <string.h>

static const struct hash revision = {{7}};

static struct transfer_id id_of(uint8_t number)
{
    return (struct transfer_id){{number}};
}

/* To nodes one and two; the transfer. */
static struct transfer_record *request(uint8_t number)
{
    struct transfer_requested *body = stage_event(EVENT_TRANSFER_REQUESTED);
    const struct transfer_target targets[] = {{.node_id = node_one}, {.node_id = node_two}};
    body->transfer.transfer_id = id_of(number);
    body->transfer.revision = revision;
    ck_assert(text_set(&body->transfer.model_id, "m"));
    for (size_t i = 0; i < COUNT_OF(targets); i++)
        ck_assert_ptr_nonnull(record_list_push(&transfer_target_type,
                                               RECORD_LIST(body->transfer.targets), &targets[i],
                                               NODE_COUNT_MAX));
    stage_apply();
    const struct transfer_id id = id_of(number);
    struct transfer_record *transfer = state_find_transfer(&stage.state, &id);
    ck_assert_ptr_nonnull(transfer);
    return transfer;
}

static void start(uint8_t number, const struct node_id *node)
{
    struct transfer_started *body = stage_event(EVENT_TRANSFER_STARTED);
    body->transfer_id = id_of(number);
    body->node_id = *node;
    stage_apply();
}

static void end(uint8_t number, const struct node_id *node, enum status status)
{
    struct transfer_ended *body = stage_event(EVENT_TRANSFER_ENDED);
    body->transfer_id = id_of(number);
    body->node_id = *node;
    body->status = status;
    ck_assert(text_set(&body->reason, status == STATUS_OK ? "" : "the disk is full"));
    stage_apply();
}

static void begin(void)
{
    stage_add_node(&node_one, "one");
    stage_add_node(&node_two, "two");
    stage_import_model(&node_one, "m", revision.bytes[0]);
}

START_TEST(transfer_requested_is_remembered_with_its_event)
{
    begin();
    const struct transfer_record *transfer = request(1);
    ck_assert_uint_eq(transfer->requested_index, stage.state.index);
    ck_assert_int_eq(transfer_phase_of(transfer), TRANSFER_ASKED);
    ck_assert_str_eq(transfer_phase_name(TRANSFER_ASKED), "asked");
    ck_assert_str_eq(transfer_phase_name(TRANSFER_STOPPED), "cancelled");
    ck_assert_str_eq(transfer_phase_name(TRANSFER_PHASE_END), "unknown");
}
END_TEST

START_TEST(transfer_requested_again_is_no_placement_s_alone)
{
    begin();
    request(1)->is_for_placement = true;
    ck_assert(!request(1)->is_for_placement);
    ck_assert_uint_eq(stage.state.transfers.count, 1);
}
END_TEST

START_TEST(transfer_started_makes_it_run)
{
    begin();
    request(1);
    start(1, &node_two);
    const struct transfer_record *transfer = &stage.state.transfers.items[0];
    ck_assert_uint_eq(transfer->targets.items[1].phase, TRANSFER_RUNNING);
    ck_assert_uint_eq(transfer->targets.items[0].phase, TRANSFER_ASKED);
    ck_assert_int_eq(transfer_phase_of(transfer), TRANSFER_RUNNING);
}
END_TEST

START_TEST(transfer_ended_well_makes_a_holder)
{
    begin();
    request(1);
    start(1, &node_two);
    end(1, &node_two, STATUS_OK);
    const struct model_record *model = state_find_model(&stage.state, "m");
    ck_assert(model_find_holder(model, &node_two)->has_weights);
    const struct transfer_record *transfer = &stage.state.transfers.items[0];
    ck_assert_uint_eq(transfer->targets.items[1].phase, TRANSFER_DONE);
    ck_assert_int_eq(transfer_phase_of(transfer), TRANSFER_RUNNING);
    end(1, &node_one, STATUS_OK);
    ck_assert_int_eq(transfer_phase_of(&stage.state.transfers.items[0]), TRANSFER_DONE);
}
END_TEST

START_TEST(transfer_ended_badly_says_why_and_holds_nothing)
{
    begin();
    request(1);
    end(1, &node_two, STATUS_NO_SPACE);
    end(1, &node_one, STATUS_OK);
    const struct transfer_record *transfer = &stage.state.transfers.items[0];
    ck_assert_uint_eq(transfer->targets.items[1].status, STATUS_NO_SPACE);
    ck_assert_str_eq(transfer->targets.items[1].reason, "the disk is full");
    ck_assert_int_eq(transfer_phase_of(transfer), TRANSFER_FAILED);
    ck_assert_ptr_null(model_find_holder(state_find_model(&stage.state, "m"), &node_two));
}
END_TEST

START_TEST(transfer_cancelled_stops_those_that_have_it_not_yet)
{
    begin();
    request(1);
    end(1, &node_one, STATUS_OK);
    struct transfer_cancelled *body = stage_event(EVENT_TRANSFER_CANCELLED);
    body->transfer_id = id_of(1);
    stage_apply();
    const struct transfer_record *transfer = &stage.state.transfers.items[0];
    ck_assert_uint_eq(transfer->targets.items[0].phase, TRANSFER_DONE);
    ck_assert_uint_eq(transfer->targets.items[1].phase, TRANSFER_STOPPED);
    ck_assert_int_eq(transfer_phase_of(transfer), TRANSFER_STOPPED);
    /* What comes too late changes nothing. */
    struct transfer_ended *late = stage_event(EVENT_TRANSFER_ENDED);
    late->transfer_id = id_of(1);
    late->node_id = node_two;
    stage_apply_in_vain();
}
END_TEST

START_TEST(node_removed_is_waited_for_no_more)
{
    begin();
    request(1);
    struct node_removed *body = stage_event(EVENT_NODE_REMOVED);
    body->node_id = node_two;
    stage_apply();
    const struct transfer_target *target = &stage.state.transfers.items[0].targets.items[1];
    ck_assert_uint_eq(target->phase, TRANSFER_FAILED);
    ck_assert_ptr_nonnull(strstr(target->reason, "removed"));
}
END_TEST

START_TEST(model_removed_while_it_is_copied_ends_it_with_that_reason)
{
    begin();
    request(1);
    start(1, &node_two);
    struct model_removed *body = stage_event(EVENT_MODEL_REMOVED);
    ck_assert(text_set(&body->model_id, "m"));
    stage_apply();
    ck_assert_int_eq(transfer_phase_of(&stage.state.transfers.items[0]), TRANSFER_FAILED);
    ck_assert_ptr_nonnull(strstr(stage.state.transfers.items[0].targets.items[1].reason,
                                 "removed"));
}
END_TEST

START_TEST(another_revision_ends_the_copies_of_the_old_one)
{
    begin();
    request(1);
    stage_import_model(&node_two, "m", 8);
    const struct transfer_record *transfer = &stage.state.transfers.items[0];
    ck_assert_int_eq(transfer_phase_of(transfer), TRANSFER_FAILED);
    ck_assert_uint_eq(transfer->targets.items[0].status, STATUS_STALE);
}
END_TEST

START_TEST(the_oldest_that_is_over_makes_room)
{
    begin();
    for (uint8_t i = 1; i <= TRANSFER_COUNT_MAX; i++)
        request(i);
    struct transfer_requested *full = stage_event(EVENT_TRANSFER_REQUESTED);
    full->transfer.transfer_id = id_of(200);
    stage_apply_in_vain();
    for (uint8_t i = 2; i <= 3; i++) {
        end(i, &node_one, STATUS_OK);
        end(i, &node_two, STATUS_OK);
    }
    request(201);
    const struct transfer_id second = id_of(2);
    const struct transfer_id third = id_of(3);
    ck_assert_ptr_null(state_find_transfer(&stage.state, &second));
    ck_assert_ptr_nonnull(state_find_transfer(&stage.state, &third));
    ck_assert_uint_eq(stage.state.transfers.count, TRANSFER_COUNT_MAX);
}
END_TEST

START_TEST(a_transfer_is_found_by_what_it_brings_to_whom)
{
    begin();
    request(1);
    struct node_id ids[] = {node_two, node_one};
    struct bytes wanted = {(uint8_t *)ids, sizeof(ids)};
    const struct hash other = {{9}};
    ck_assert_ptr_nonnull(state_find_transfer_to(&stage.state, "m", &revision, &wanted));
    ck_assert_ptr_null(state_find_transfer_to(&stage.state, "n", &revision, &wanted));
    ck_assert_ptr_null(state_find_transfer_to(&stage.state, "m", &other, &wanted));
    ids[1].bytes[15] ^= 1;
    ck_assert_ptr_null(state_find_transfer_to(&stage.state, "m", &revision, &wanted));
    wanted.count = sizeof(ids[0]);
    ck_assert_ptr_nonnull(state_find_transfer_to(&stage.state, "m", &revision, &wanted));
    end(1, &node_one, STATUS_OK);
    end(1, &node_two, STATUS_OK);
    ck_assert_ptr_null(state_find_transfer_to(&stage.state, "m", &revision, &wanted));
}
END_TEST

START_TEST(events_about_a_transfer_that_is_gone_change_nothing)
{
    begin();
    struct transfer_started *started = stage_event(EVENT_TRANSFER_STARTED);
    started->transfer_id = id_of(5);
    stage_apply_in_vain();
    struct transfer_cancelled *cancelled = stage_event(EVENT_TRANSFER_CANCELLED);
    cancelled->transfer_id = id_of(5);
    stage_apply_in_vain();
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("protocol/apply_transfers");
    const TTest *const tests[] = {
        transfer_requested_is_remembered_with_its_event,
        transfer_requested_again_is_no_placement_s_alone,
        transfer_started_makes_it_run,
        transfer_ended_well_makes_a_holder,
        transfer_ended_badly_says_why_and_holds_nothing,
        transfer_cancelled_stops_those_that_have_it_not_yet,
        node_removed_is_waited_for_no_more,
        model_removed_while_it_is_copied_ends_it_with_that_reason,
        another_revision_ends_the_copies_of_the_old_one,
        the_oldest_that_is_over_makes_room,
        a_transfer_is_found_by_what_it_brings_to_whom,
        events_about_a_transfer_that_is_gone_change_nothing,
    };
    stage_suite_add(suite, "transfers", tests, COUNT_OF(tests));
    return suite;
}
