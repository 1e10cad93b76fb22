/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/transfer_progress.h"
#include "protocol/schema.h"
#include "tests/support/check_main.h"

#include <string.h>

static struct transfer_progress_table table;

static void teardown(void)
{
    transfer_progress_fini(&table);
}

/* A word of `node` about transfer `transfer`, with one source. */
static void tell(uint8_t node, uint8_t transfer, uint64_t have, uint64_t now_ms)
{
    const struct transfer_source source = {{{9}}, have};
    struct message message;
    ck_assert_int_eq(message_init(&message, MESSAGE_SIGNAL, SIGNAL_TRANSFER_PROGRESSED),
                     STATUS_OK);
    struct transfer_progressed *body = message.body;
    message.head.node_id.bytes[0] = node;
    body->transfer_id.bytes[0] = transfer;
    body->bytes_have = have;
    body->bytes_total = 1000;
    body->bytes_per_s = 90;
    ck_assert_ptr_nonnull(
        record_list_push(&transfer_source_type, RECORD_LIST(body->sources), &source, 10));
    transfer_progress_take(&table, &message, now_ms);
    message_fini(&message);
}

static const struct transfer_progressed *found(uint8_t node, uint8_t transfer, uint64_t now_ms)
{
    const struct node_id node_id = {{node}};
    const struct transfer_id transfer_id = {{transfer}};
    return transfer_progress_find(&table, &transfer_id, &node_id, now_ms);
}

START_TEST(what_was_told_last_is_found_by_transfer_and_target)
{
    tell(1, 1, 100, 1000);
    tell(2, 1, 200, 1000);
    tell(1, 2, 300, 1000);
    tell(1, 1, 150, 1500);
    ck_assert_uint_eq(found(1, 1, 2000)->bytes_have, 150);
    ck_assert_uint_eq(found(2, 1, 2000)->bytes_have, 200);
    ck_assert_uint_eq(found(1, 2, 2000)->sources.items[0].bytes, 300);
    ck_assert_ptr_null(found(2, 2, 2000));
}
END_TEST

START_TEST(what_is_not_told_again_is_forgotten)
{
    tell(1, 1, 100, 1000);
    ck_assert_ptr_nonnull(found(1, 1, 1000 + TRANSFER_PROGRESS_LIFE_MS - 1));
    ck_assert_ptr_null(found(1, 1, 1000 + TRANSFER_PROGRESS_LIFE_MS));
}
END_TEST

START_TEST(the_oldest_word_goes_when_there_are_too_many)
{
    for (uint8_t i = 0; i < TRANSFER_PROGRESS_MAX + 3; i++)
        tell(1, i, 1, 1000 + i);
    ck_assert_ptr_null(found(1, 0, 1000));
    ck_assert_ptr_null(found(1, 2, 1000));
    ck_assert_ptr_nonnull(found(1, 3, 1000));
    ck_assert_ptr_nonnull(found(1, TRANSFER_PROGRESS_MAX + 2, 1000));
}
END_TEST

START_TEST(the_time_left_is_of_the_speed_or_unknown)
{
    struct transfer_progressed told = {.bytes_have = 100, .bytes_total = 1000, .bytes_per_s = 90};
    ck_assert_uint_eq(transfer_seconds_left(&told), 10);
    told.bytes_have = 101;
    ck_assert_uint_eq(transfer_seconds_left(&told), 10);
    told.bytes_per_s = 0;
    ck_assert_uint_eq(transfer_seconds_left(&told), UINT64_MAX);
    told.bytes_have = 1000;
    ck_assert_uint_eq(transfer_seconds_left(&told), 0);
}
END_TEST

START_TEST(other_messages_are_none_of_its_business)
{
    struct message message;
    ck_assert_int_eq(message_init(&message, MESSAGE_SIGNAL, SIGNAL_NODE_LOAD), STATUS_OK);
    transfer_progress_take(&table, &message, 1000);
    message_fini(&message);
    ck_assert_ptr_null(found(0, 0, 1000));
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("transfer progress");
    const TTest *const tests[] = {
        what_was_told_last_is_found_by_transfer_and_target,
        what_is_not_told_again_is_forgotten,
        the_oldest_word_goes_when_there_are_too_many,
        the_time_left_is_of_the_speed_or_unknown,
        other_messages_are_none_of_its_business,
    };
    TCase *group = tcase_create("progress");
    tcase_add_checked_fixture(group, NULL, teardown);
    for (size_t i = 0; i < COUNT_OF(tests); i++)
        tcase_add_test(group, tests[i]);
    suite_add_tcase(suite, group);
    return suite;
}
