/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/pace_view.h"

#include "tests/support/check_main.h"

#include <string.h>

static struct state state;
static struct pace_table table;

static void setup(void)
{
    state_init(&state);
    memset(&table, 0, sizeof(table));
}

static void teardown(void)
{
    state_fini(&state);
}

/* An instance in its generation `counter`, whose rank 0 is on node 1. */
static struct instance_record *add(uint8_t id, uint64_t counter)
{
    struct instance_record made;
    struct rank_record rank;
    memset(&made, 0, sizeof(made));
    memset(&rank, 0, sizeof(rank));
    rank.node_id.bytes[0] = 1;
    made.instance_id.bytes[0] = id;
    made.generation.counter = counter;
    made.tokens_per_s = 10;
    made.first_token_s = 2;
    made.load_s = 1;
    ck_assert(text_set(&made.model_id, "demo"));
    ck_assert_ptr_nonnull(
        record_list_push(&rank_record_type, RECORD_LIST(made.ranks), &rank, RANK_COUNT_MAX));
    struct instance_record *instance = record_list_push(
        &instance_record_type, RECORD_LIST(state.instances), &made, INSTANCE_COUNT_MAX);
    record_fini(&instance_record_type, &made);
    ck_assert_ptr_nonnull(instance);
    return instance;
}

static void tell(uint8_t node, uint8_t id, uint64_t counter, double tokens_per_s)
{
    struct message message;
    ck_assert_int_eq(message_init(&message, MESSAGE_SIGNAL, SIGNAL_PACE_MEASURED), STATUS_OK);
    struct pace_measured *body = message.body;
    message.head.node_id.bytes[0] = node;
    body->instance_id.bytes[0] = id;
    body->generation.counter = counter;
    body->tokens_per_s = tokens_per_s;
    pace_table_take(&table, &state, &message);
    message_fini(&message);
}

static double rate_of(const struct instance_record *instance)
{
    const struct pace_measured *pace = pace_find(table.items, table.count, instance);
    return pace ? pace->tokens_per_s : 0;
}

START_TEST(the_last_word_of_rank_0_about_the_present_generation_holds)
{
    struct instance_record *instance = add(1, 3);
    tell(1, 1, 3, 8);
    tell(1, 1, 3, 9);
    ck_assert_uint_eq(table.count, 1);
    ck_assert_double_eq(rate_of(instance), 9);
    tell(2, 1, 3, 99); /* another node's word about it */
    tell(1, 1, 2, 99); /* of a generation that is over */
    tell(1, 7, 3, 99); /* about nothing there is */
    ck_assert_double_eq(rate_of(instance), 9);
    instance->generation.counter = 4;
    ck_assert_double_eq(rate_of(instance), 0);
    tell(1, 1, 4, 7);
    ck_assert_double_eq(rate_of(instance), 7);
    ck_assert_uint_eq(table.count, 1);
}
END_TEST

START_TEST(instances_that_went_leave_their_place)
{
    for (uint32_t i = 0; i < 3 * INSTANCE_COUNT_MAX; i++) {
        (void)add((uint8_t)(i + 1), 1);
        tell(1, (uint8_t)(i + 1), 1, i + 1.0);
        ck_assert_double_eq(rate_of(&state.instances.items[0]), i + 1.0);
        record_list_remove(&instance_record_type, RECORD_LIST(state.instances), 0);
    }
    ck_assert_uint_le(table.count, 2);
}
END_TEST

START_TEST(a_load_lasts_from_the_beginning_of_a_generation_to_its_readiness)
{
    struct instance_record *instance = add(1, 1);
    instance->started_ms = 1000;
    ck_assert_double_eq(pace_load_s(instance), 0);
    instance->status = INSTANCE_READY;
    instance->ready_ms = 2500;
    ck_assert_double_eq(pace_load_s(instance), 1.5);
    instance->started_ms = 3000; /* the next one, not ready yet */
    ck_assert_double_eq(pace_load_s(instance), 0);
    instance->started_ms = 0; /* placed by a build that did not note it */
    ck_assert_double_eq(pace_load_s(instance), 0);
}
END_TEST

START_TEST(what_was_got_stands_beside_what_was_predicted)
{
    struct instance_record *instance = add(1, 1);
    struct buffer json;
    instance->status = INSTANCE_READY;
    instance->started_ms = 1000;
    instance->ready_ms = 2500;
    buffer_init(&json, 4096);
    tell(1, 1, 1, 9.5);
    ck_assert_int_eq(pace_print_all(&state, NULL, table.items, table.count, &json), STATUS_OK);
    ck_assert_int_eq(buffer_append(&json, "", 1), STATUS_OK);
    ck_assert_str_eq((const char *)json.bytes,
                     "[{\"instance_id\":\"01000000000000000000000000000000\","
                     "\"model_id\":\"demo\","
                     "\"predicted\":{\"tokens_per_s\":10.000,\"first_token_s\":2.000,"
                     "\"load_s\":1.000},"
                     "\"observed\":{\"tokens_per_s\":9.500,\"first_token_s\":null,"
                     "\"load_s\":1.500,\"prompt_tokens\":null}}]");
    json.size = 0;
    ck_assert_int_eq(pace_print_all(&state, "other", table.items, table.count, &json), STATUS_OK);
    ck_assert_uint_eq(json.size, 2);
    buffer_fini(&json);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("pace view");
    const TTest *const tests[] = {
        the_last_word_of_rank_0_about_the_present_generation_holds,
        instances_that_went_leave_their_place,
        a_load_lasts_from_the_beginning_of_a_generation_to_its_readiness,
        what_was_got_stands_beside_what_was_predicted,
    };
    TCase *group = tcase_create("paces");
    tcase_add_checked_fixture(group, setup, teardown);
    for (size_t i = 0; i < COUNT_OF(tests); i++)
        tcase_add_test(group, tests[i]);
    suite_add_tcase(suite, group);
    return suite;
}
