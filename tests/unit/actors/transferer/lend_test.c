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

/* The second of two files, that the state says is here. */
static void begin_with_two_files(struct state *state)
{
    struct model_record *model = &state->models.items[0];
    struct file_entry *second =
        record_list_push(&file_entry_type, RECORD_LIST(model->files), NULL, 10);
    ck_assert(second && text_set(&second->name, "z.safetensors"));
    second->size = 3 * CHUNK_SIZE;
    second->is_weight = true;
    model->holders.items[0].node_id = own;
    begin_with(state);
}

static const struct holding_changed *corrected(void)
{
    const struct message *report = bench_sent(&bench, MESSAGE_REPORT, REPORT_HOLDING_CHANGED);
    return report ? MESSAGE_BODY(report, holding_changed) : NULL;
}

static void answer_lend(enum status status, uint8_t held, bool has_small_files)
{
    struct effect *lend = bench_effect(&bench, BULK_LEND);
    ck_assert_ptr_nonnull(lend);
    struct stream_request *request = lend->request;
    lend->request = NULL;
    request->look_out = (struct disk_look){
        .is_made = true, .has_small_files = has_small_files, .held = {held}};
    (void)snprintf(request->look_out.reason.text, sizeof(request->look_out.reason.text),
                   "z.safetensors of org/m went");
    result_of(lend, status, request, stream_request_free);
}

START_TEST(what_went_from_the_disk_is_said_and_corrected_in_the_state)
{
    struct state state;
    fill_state(&state);
    begin_with_two_files(&state);
    ask_lend();
    answer_lend(STATUS_OK, 1, true);
    const struct source_told *told =
        MESSAGE_BODY(bench_sent(&bench, MESSAGE_LINK, LINK_SOURCE_TOLD), source_told);
    ck_assert_uint_eq(told->status, STATUS_OK);
    ck_assert(!told->is_whole);
    ck_assert_str_eq(told->reason, "z.safetensors of org/m went");
    for (uint32_t i = 0; i < CHUNKS + 3; i++)
        ck_assert_int_eq(chunk_has(told->held.items, i), i < CHUNKS);
    ck_assert_ptr_nonnull(corrected());
    ck_assert(corrected()->has_small_files && !corrected()->has_weights);
    ck_assert_uint_eq(corrected()->held.count, 1);
    ck_assert_uint_eq(corrected()->held.items[0], 1);
    ask_chunk(CHUNKS);
    ck_assert_uint_eq(bench_effect_count(&bench, BULK_SEND), 0);
    ask_chunk(0);
    ck_assert_uint_eq(bench_effect_count(&bench, BULK_SEND), 1);
}
END_TEST

START_TEST(a_model_that_went_whole_is_held_no_more)
{
    struct state state;
    fill_state(&state);
    begin_with_two_files(&state);
    ask_lend();
    answer_lend(STATUS_NOT_FOUND, 0, false);
    const struct source_told *told =
        MESSAGE_BODY(bench_sent(&bench, MESSAGE_LINK, LINK_SOURCE_TOLD), source_told);
    ck_assert_uint_eq(told->status, STATUS_NOT_FOUND);
    ck_assert_str_eq(told->reason, "z.safetensors of org/m went");
    ck_assert_ptr_nonnull(corrected());
    ck_assert(!corrected()->has_small_files && !corrected()->has_weights);
}
END_TEST

START_TEST(a_chunk_of_a_file_that_changed_meanwhile_is_refused_by_its_name)
{
    struct state state;
    fill_state(&state);
    begin_with_two_files(&state);
    ask_lend();
    answer_lend(STATUS_OK, 3, true);
    ck_assert_ptr_null(corrected());
    ask_chunk(CHUNKS + 1);
    struct chunk_sent *sent = memory_zeroed(1, sizeof(*sent));
    *sent = (struct chunk_sent){.session = {{3}}, .chunk = CHUNKS + 1};
    sent->look = (struct disk_look){.is_made = true, .has_small_files = true, .held = {1}};
    (void)snprintf(sent->look.reason.text, sizeof(sent->look.reason.text),
                   "z.safetensors of org/m changed");
    unasked(BULK_CHUNK_SENT, 0, STATUS_DAMAGED, sent);
    const struct chunk_refused *refused =
        MESSAGE_BODY(bench_sent(&bench, MESSAGE_LINK, LINK_CHUNK_REFUSED), chunk_refused);
    ck_assert_uint_eq(refused->status, STATUS_DAMAGED);
    ck_assert_str_eq(refused->reason, "z.safetensors of org/m changed");
    ck_assert_ptr_nonnull(corrected());
    ck_assert_uint_eq(corrected()->held.items[0], 1);
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
        what_went_from_the_disk_is_said_and_corrected_in_the_state,
        a_model_that_went_whole_is_held_no_more,
        a_chunk_of_a_file_that_changed_meanwhile_is_refused_by_its_name,
        no_receiver_gets_more_credit_than_there_is,
    };
    TCase *group = tcase_create("lend");
    tcase_add_checked_fixture(group, setup, teardown);
    for (size_t i = 0; i < COUNT_OF(tests); i++)
        tcase_add_test(group, tests[i]);
    suite_add_tcase(suite, group);
    return suite;
}
