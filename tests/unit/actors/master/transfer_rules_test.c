/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/transfer_rules.h"
#include "tests/support/check_main.h"

#include <string.h>

#define A 1
#define B 2
#define AWAY 3

static struct state state;
static struct message command;
static struct message event;
static struct reason reason;

static void add_node(uint8_t number, const char *name, bool in_view)
{
    struct node_record *node =
        record_list_push(&node_record_type, RECORD_LIST(state.nodes), NULL, NODE_COUNT_MAX);
    ck_assert(node && text_set(&node->name, name));
    node->node_id.bytes[0] = number;
    node->in_view = in_view;
}

static void add_holder(uint8_t number, bool has_weights)
{
    const struct holder_record holder = {.node_id = {{number}}, .has_weights = has_weights};
    ck_assert_ptr_nonnull(record_list_push(&holder_record_type,
                                           RECORD_LIST(state.models.items[0].holders), &holder,
                                           NODE_COUNT_MAX));
}

/* Nodes A and B are here, AWAY is not; A holds the model. */
static void setup(void)
{
    state_init(&state);
    add_node(A, "a", true);
    add_node(B, "b", true);
    add_node(AWAY, "c", false);
    struct model_record *model =
        record_list_push(&model_record_type, RECORD_LIST(state.models), NULL, 4);
    ck_assert(model && text_set(&model->model_id, "m"));
    model->revision.bytes[0] = 7;
    model->manifest.bytes[0] = 8;
    add_holder(A, true);
    ck_assert_int_eq(message_init(&command, MESSAGE_COMMAND, COMMAND_DISTRIBUTE_MODEL), STATUS_OK);
    ck_assert(text_set(&MESSAGE_BODY(&command, distribute_model)->model_id, "m"));
    memset(&event, 0, sizeof(event));
    reason.text[0] = '\0';
}

static void teardown(void)
{
    message_fini(&command);
    message_fini(&event);
    state_fini(&state);
}

static struct distribute_model *body(void)
{
    return MESSAGE_BODY(&command, distribute_model);
}

static void to(uint8_t first, uint8_t second)
{
    const struct node_id ids[] = {{{first}}, {{second}}};
    ck_assert(bytes_set(&body()->node_ids, ids, second ? sizeof(ids) : sizeof(ids[0])));
}

static enum status ask(void)
{
    message_fini(&event);
    memset(&event, 0, sizeof(event));
    return transfer_rules_distribute(&state, &command, &event, &reason);
}

static void refused(enum status status, const char *word)
{
    ck_assert_int_eq(ask(), status);
    ck_assert_msg(strstr(reason.text, word) != NULL, "%s", reason.text);
    ck_assert_ptr_null(event.body);
}

static const struct transfer_record *asked(void)
{
    ck_assert_msg(ask() == STATUS_OK, "%s", reason.text);
    ck_assert_ptr_nonnull(event.body);
    return &MESSAGE_BODY(&event, transfer_requested)->transfer;
}

START_TEST(an_unknown_model_is_refused)
{
    to(B, 0);
    ck_assert(text_set(&body()->model_id, "other"));
    refused(STATUS_NOT_FOUND, "other");
}
END_TEST

START_TEST(an_empty_list_of_nodes_is_refused)
{
    refused(STATUS_INVALID, "nodes");
    ck_assert(bytes_set(&body()->node_ids, "short", 5));
    refused(STATUS_INVALID, "nodes");
}
END_TEST

START_TEST(an_unknown_node_is_refused)
{
    to(B, 99);
    refused(STATUS_NOT_FOUND, "63000000");
}
END_TEST

START_TEST(a_model_that_nobody_holds_is_refused)
{
    state.models.items[0].holders.items[0].has_weights = false;
    to(B, 0);
    refused(STATUS_NOT_FOUND, "no node holds");
}
END_TEST

START_TEST(a_model_whose_holders_are_all_away_is_refused)
{
    state.models.items[0].holders.items[0].has_weights = false;
    add_holder(AWAY, true);
    to(B, 0);
    refused(STATUS_NOT_FOUND, "is away");
}
END_TEST

/* A configuration and two weights; node A has the first of them, `other` the second. */
static void share_with(uint8_t other)
{
    struct model_record *model = &state.models.items[0];
    for (uint32_t i = 0; i < 3; i++) {
        const char name[] = {(char)('x' + i), '\0'};
        struct file_entry *file =
            record_list_push(&file_entry_type, RECORD_LIST(model->files), NULL, 4);
        ck_assert(file && text_set(&file->name, name));
        file->is_weight = i > 0;
        file->size = 10;
    }
    add_holder(other, false);
    model->holders.items[0].has_weights = false;
    ck_assert(bytes_set(&model->holders.items[0].held, "\x02", 1) &&
              bytes_set(&model->holders.items[1].held, "\x04", 1));
}

START_TEST(a_model_that_several_hold_together_is_copied)
{
    share_with(B);
    to(B, 0);
    ck_assert_int_eq(asked()->targets.items[0].phase, TRANSFER_ASKED); /* it lacks one file */
}
END_TEST

START_TEST(a_file_whose_holders_are_all_away_is_named)
{
    share_with(AWAY);
    to(B, 0);
    refused(STATUS_NOT_FOUND, "every node that holds z of m is away");
    ck_assert(bytes_set(&state.models.items[0].holders.items[1].held, "\x02", 1));
    refused(STATUS_NOT_FOUND, "no node holds z of m");
}
END_TEST

START_TEST(a_model_that_was_never_cut_is_refused)
{
    memset(&state.models.items[0].manifest, 0, sizeof(struct hash));
    to(B, 0);
    refused(STATUS_REFUSED, "take it in again");
}
END_TEST

START_TEST(a_source_that_does_not_hold_it_is_refused)
{
    to(A, 0);
    body()->source_node_id.bytes[0] = B;
    refused(STATUS_INVALID, "b does not hold");
    body()->source_node_id.bytes[0] = 99;
    refused(STATUS_NOT_FOUND, "source");
}
END_TEST

START_TEST(a_source_that_is_away_is_refused)
{
    add_holder(AWAY, true);
    to(B, 0);
    body()->source_node_id.bytes[0] = AWAY;
    refused(STATUS_REFUSED, "c is away");
}
END_TEST

START_TEST(a_target_that_is_away_is_refused)
{
    to(B, AWAY);
    refused(STATUS_REFUSED, "c is away");
}
END_TEST

START_TEST(a_target_that_holds_it_is_done_at_once)
{
    to(A, B);
    const struct transfer_record *transfer = asked();
    ck_assert_uint_eq(transfer->targets.count, 2);
    ck_assert_uint_eq(transfer->targets.items[0].phase, TRANSFER_DONE);
    ck_assert_uint_eq(transfer->targets.items[1].phase, TRANSFER_ASKED);
    ck_assert_uint_eq(transfer->revision.bytes[0], 7);
    ck_assert(!ID_IS_ZERO(transfer->transfer_id));
}
END_TEST

START_TEST(the_source_among_the_targets_is_left_out)
{
    to(A, B);
    body()->source_node_id.bytes[0] = A;
    const struct transfer_record *transfer = asked();
    ck_assert_uint_eq(transfer->targets.count, 1);
    ck_assert_uint_eq(transfer->targets.items[0].node_id.bytes[0], B);
    to(A, 0);
    ck_assert_int_eq(transfer_phase_of(asked()), TRANSFER_DONE);
}
END_TEST

START_TEST(all_are_those_that_are_here)
{
    body()->is_all = true;
    const struct transfer_record *transfer = asked();
    ck_assert_uint_eq(transfer->targets.count, 2);
    ck_assert_int_eq(transfer_phase_of(transfer), TRANSFER_RUNNING);
}
END_TEST

START_TEST(a_node_named_twice_is_one_target)
{
    to(B, B);
    ck_assert_uint_eq(asked()->targets.count, 1);
}
END_TEST

START_TEST(the_same_request_twice_joins_the_first)
{
    to(B, 0);
    body()->transfer_id.bytes[0] = 5;
    ck_assert_ptr_nonnull(record_list_push(&transfer_record_type, RECORD_LIST(state.transfers),
                                           asked(), TRANSFER_COUNT_MAX));
    body()->transfer_id.bytes[0] = 6;
    ck_assert_int_eq(ask(), STATUS_OK);
    ck_assert_ptr_null(event.body);
    /* One that brings it to fewer is no answer to one that asks for more. */
    state.nodes.items[2].in_view = true;
    to(B, AWAY);
    ck_assert_uint_eq(asked()->targets.count, 2);
    /* Nor is one that is over. */
    state.transfers.items[0].targets.items[0].phase = TRANSFER_FAILED;
    to(B, 0);
    ck_assert_uint_eq(asked()->targets.count, 1);
}
END_TEST

START_TEST(an_id_that_is_taken_is_refused)
{
    to(B, 0);
    body()->transfer_id.bytes[0] = 5;
    ck_assert_ptr_nonnull(record_list_push(&transfer_record_type, RECORD_LIST(state.transfers),
                                           asked(), TRANSFER_COUNT_MAX));
    refused(STATUS_EXISTS, "id");
}
END_TEST

START_TEST(more_than_can_be_kept_are_refused)
{
    to(B, 0);
    for (uint8_t i = 0; i < TRANSFER_COUNT_MAX; i++) {
        struct transfer_record *transfer = record_list_push(
            &transfer_record_type, RECORD_LIST(state.transfers), NULL, TRANSFER_COUNT_MAX);
        const struct transfer_target target = {.node_id = {{B}}};
        transfer->transfer_id.bytes[0] = (uint8_t)(100 + i);
        ck_assert_ptr_nonnull(record_list_push(&transfer_target_type,
                                               RECORD_LIST(transfer->targets), &target, 4));
    }
    refused(STATUS_BUSY, "too many");
    state.transfers.items[9].targets.items[0].phase = TRANSFER_DONE;
    ck_assert_uint_eq(asked()->targets.count, 1);
}
END_TEST

START_TEST(a_transfer_is_cancelled_once)
{
    struct message cancel;
    to(B, 0);
    body()->transfer_id.bytes[0] = 5;
    ck_assert_ptr_nonnull(record_list_push(&transfer_record_type, RECORD_LIST(state.transfers),
                                           asked(), TRANSFER_COUNT_MAX));
    message_fini(&event);
    memset(&event, 0, sizeof(event));
    ck_assert_int_eq(message_init(&cancel, MESSAGE_COMMAND, COMMAND_CANCEL_TRANSFER), STATUS_OK);
    ck_assert_int_eq(transfer_rules_cancel(&state, &cancel, &event, &reason), STATUS_NOT_FOUND);
    MESSAGE_BODY(&cancel, cancel_transfer)->transfer_id.bytes[0] = 5;
    ck_assert_int_eq(transfer_rules_cancel(&state, &cancel, &event, &reason), STATUS_OK);
    ck_assert(message_is(&event, MESSAGE_EVENT, EVENT_TRANSFER_CANCELLED));
    message_fini(&event);
    memset(&event, 0, sizeof(event));
    state.transfers.items[0].targets.items[0].phase = TRANSFER_STOPPED;
    ck_assert_int_eq(transfer_rules_cancel(&state, &cancel, &event, &reason), STATUS_OK);
    ck_assert_ptr_null(event.body);
    message_fini(&cancel);
}
END_TEST

START_TEST(a_copy_for_a_placement_is_claimed_by_who_asks_for_it_too)
{
    to(B, 0);
    struct transfer_record *running = record_list_push(
        &transfer_record_type, RECORD_LIST(state.transfers), asked(), TRANSFER_COUNT_MAX);
    ck_assert_ptr_nonnull(running);
    running->is_for_placement = true;
    running->transfer_id.bytes[0] ^= 1;
    const struct transfer_record *claimed = asked();
    ck_assert(ID_EQUAL(claimed->transfer_id, running->transfer_id));
    ck_assert(!claimed->is_for_placement);
    running->is_for_placement = false;
    ck_assert_int_eq(ask(), STATUS_OK);
    ck_assert_ptr_null(event.body); /* joined: nothing has to be said */
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("transfer rules");
    const TTest *const tests[] = {
        an_unknown_model_is_refused,
        an_empty_list_of_nodes_is_refused,
        an_unknown_node_is_refused,
        a_model_that_nobody_holds_is_refused,
        a_model_whose_holders_are_all_away_is_refused,
        a_model_that_several_hold_together_is_copied,
        a_file_whose_holders_are_all_away_is_named,
        a_model_that_was_never_cut_is_refused,
        a_source_that_does_not_hold_it_is_refused,
        a_source_that_is_away_is_refused,
        a_target_that_is_away_is_refused,
        a_target_that_holds_it_is_done_at_once,
        the_source_among_the_targets_is_left_out,
        all_are_those_that_are_here,
        a_node_named_twice_is_one_target,
        the_same_request_twice_joins_the_first,
        an_id_that_is_taken_is_refused,
        more_than_can_be_kept_are_refused,
        a_transfer_is_cancelled_once,
        a_copy_for_a_placement_is_claimed_by_who_asks_for_it_too,
    };
    TCase *group = tcase_create("rules");
    tcase_add_checked_fixture(group, setup, teardown);
    for (size_t i = 0; i < COUNT_OF(tests); i++)
        tcase_add_test(group, tests[i]);
    suite_add_tcase(suite, group);
    return suite;
}
