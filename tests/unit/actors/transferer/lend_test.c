/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/actors/transferer/receive_fixture.h"

static struct peer receiver(void)
{
    return (struct peer){.link = SERVE_LINK, .route_size = 5, .route = {1}, .key = {{100}}};
}

static void ask_lend(void)
{
    struct message message;
    ck_assert_int_eq(message_init(&message, MESSAGE_LINK, LINK_SOURCE_ASKED), STATUS_OK);
    struct source_asked *body = message.body;
    body->revision = record.revision;
    body->session.bytes[0] = 3;
    ck_assert(text_set(&body->model_id, "org/m"));
    bench_message(&bench, receiver(), &message);
}

static void ask_chunk(uint32_t number)
{
    struct message message;
    ck_assert_int_eq(message_init(&message, MESSAGE_LINK, LINK_CHUNK_ASKED), STATUS_OK);
    MESSAGE_BODY(&message, chunk_asked)->session.bytes[0] = 3;
    MESSAGE_BODY(&message, chunk_asked)->chunk = number;
    bench_message(&bench, receiver(), &message);
}

START_TEST(nothing_is_lent_of_what_is_not_here)
{
    struct state state;
    fill_state(&state);
    begin_with(&state);
    ask_lend();
    ck_assert_uint_eq(bench_effect_count(&bench, BULK_LEND), 0);
    const struct message *told = bench_sent(&bench, MESSAGE_LINK, LINK_SOURCE_TOLD);
    ck_assert_uint_eq(MESSAGE_BODY(told, source_told)->status, STATUS_NOT_FOUND);
    ask_chunk(0);
    ck_assert_ptr_nonnull(bench_sent(&bench, MESSAGE_LINK, LINK_CHUNK_REFUSED));
}
END_TEST

/* Of two files the second is lost here. */
START_TEST(what_is_left_of_a_model_is_lent)
{
    struct state state;
    fill_state(&state);
    struct model_record *model = &state.models.items[0];
    const uint32_t first = (uint32_t)chunks_of_size(model->files.items[0].size);
    struct file_entry *lost =
        record_list_push(&file_entry_type, RECORD_LIST(model->files), NULL, 10);
    ck_assert(lost && text_set(&lost->name, "z.safetensors"));
    lost->size = 3 * CHUNK_SIZE;
    model->holders.items[0].node_id = own;
    model->holders.items[0].has_weights = false;
    ck_assert(bytes_set(&model->holders.items[0].held, "\x01", 1));
    begin_with(&state);
    ask_lend();
    struct effect *lend = bench_effect(&bench, BULK_LEND);
    ck_assert_ptr_nonnull(lend);
    struct stream_request *request = lend->request;
    lend->request = NULL;
    result_of(lend, STATUS_OK, request, stream_request_free);
    const struct source_told *told =
        MESSAGE_BODY(bench_sent(&bench, MESSAGE_LINK, LINK_SOURCE_TOLD), source_told);
    ck_assert(!told->is_whole);
    ck_assert_uint_eq(told->held.count, (first + 3) / 8 + 1);
    for (uint32_t i = 0; i < first + 3; i++)
        ck_assert_int_eq(chunk_has(told->held.items, i), i < first);
    ask_chunk(first); /* of what is lost */
    ck_assert_uint_eq(bench_effect_count(&bench, BULK_SEND), 0);
    ask_chunk(first - 1);
    ck_assert_uint_eq(bench_effect_count(&bench, BULK_SEND), 1);
    ask_chunk(4000000000u);
    ck_assert_uint_eq(bench_effect_count(&bench, BULK_SEND), 1);
}
END_TEST

START_TEST(no_receiver_gets_more_credit_than_there_is)
{
    struct state state;
    fill_state(&state);
    state.models.items[0].holders.items[0].node_id = own;
    begin_with(&state);
    ask_lend();
    struct effect *lend = bench_effect(&bench, BULK_LEND);
    struct stream_request *request = lend->request;
    lend->request = NULL;
    result_of(lend, STATUS_OK, request, stream_request_free);
    const struct message *told = bench_sent(&bench, MESSAGE_LINK, LINK_SOURCE_TOLD);
    ck_assert(MESSAGE_BODY(told, source_told)->is_whole);
    ck_assert_str_eq(MESSAGE_BODY(told, source_told)->address, "tcp://127.0.0.1:7777");
    for (uint32_t i = 0; i <= LEND_WINDOW_MAX; i++)
        ask_chunk(i);
    ck_assert_uint_eq(bench_effect_count(&bench, BULK_SEND), LEND_WINDOW_MAX);
    const struct message *refused = bench_sent(&bench, MESSAGE_LINK, LINK_CHUNK_REFUSED);
    ck_assert_uint_eq(MESSAGE_BODY(refused, chunk_refused)->status, STATUS_BUSY);
    bench_feed(&bench, (struct input){.kind = INPUT_LINK_DOWN, .peer = receiver()});
    ck_assert_uint_eq(bench_effect_count(&bench, BULK_LEAVE_LENT), 1);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("transferer lend");
    const TTest *const tests[] = {
        nothing_is_lent_of_what_is_not_here,
        what_is_left_of_a_model_is_lent,
        no_receiver_gets_more_credit_than_there_is,
    };
    TCase *group = tcase_create("lend");
    tcase_add_checked_fixture(group, setup, teardown);
    for (size_t i = 0; i < COUNT_OF(tests); i++)
        tcase_add_test(group, tests[i]);
    suite_add_tcase(suite, group);
    return suite;
}
