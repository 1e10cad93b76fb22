/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/actors/transferer/receive_fixture.h"

START_TEST(a_model_comes_from_several_nodes_at_once)
{
    uint32_t chunks[16];
    uint32_t seen = 0;
    run_with_two();
    const struct stream_request *join = bench_effect(&bench, BULK_JOIN)->request;
    /* Its port, but the host that the state knows. */
    ck_assert_str_eq(join->address, "tcp://127.0.0.1:5000");
    /* Each owes one chunk, and is asked for the next when that one is here. */
    for (uint32_t turn = 0; turn < CHUNKS / 2; turn++) {
        for (uint8_t node = 2; node <= 3; node++) {
            ck_assert_uint_eq(asked_of(link_to(node), chunks), turn + 1);
            ck_assert_uint_eq(seen & 1u << chunks[turn], 0);
            seen |= 1u << chunks[turn];
        }
        for (uint8_t node = 2; node <= 3; node++) {
            ck_assert_uint_eq(asked_of(link_to(node), chunks), turn + 1);
            chunk(link_to(node), chunks[turn], STATUS_OK);
        }
    }
    ck_assert_uint_eq(seen, (1u << CHUNKS) - 1);
    result_of(bench_effect(&bench, BULK_RECEIVE_PLACE), STATUS_OK, NULL, NULL);
    ck_assert_ptr_nonnull(ended());
    ck_assert_uint_eq(ended()->status, STATUS_OK);
    ck_assert_uint_eq(bench_effect_count(&bench, BULK_RECEIVE_DROP), 0);
    ck_assert_ptr_nonnull(bench_sent(&bench, MESSAGE_ANSWER, ANSWER_DONE));
}
END_TEST

START_TEST(a_model_that_is_here_is_done_at_once)
{
    struct state state;
    fill_state(&state);
    begin_with(&state);
    give_task(&task_key, &transfer_id, "org/m");
    answer_find("org/m", MODEL_WHOLE);
    ck_assert_uint_eq(ended()->status, STATUS_OK);
}
END_TEST

START_TEST(a_signature_that_does_not_hold_ends_it)
{
    struct state state;
    record.signature.bytes[0] ^= 1;
    fill_state(&state);
    begin_with(&state);
    give_task(&task_key, &transfer_id, "org/m");
    ck_assert_uint_eq(ended()->status, STATUS_NOT_ADMITTED);
    ck_assert_uint_eq(bench_effect_count(&bench, TRANSFERER_FIND), 0);
}
END_TEST

START_TEST(a_wrong_manifest_is_asked_of_another)
{
    begin();
    up(link_to(2));
    up(link_to(3));
    tell(link_to(2), true, NULL);
    tell(link_to(3), true, NULL);
    give_manifest(link_to(2), false);
    ck_assert_uint_eq(bench_effect_count(&bench, BULK_RECEIVE_OPEN), 0);
    give_manifest(link_to(3), true);
    ck_assert_uint_eq(bench_effect_count(&bench, BULK_RECEIVE_OPEN), 1);
}
END_TEST

static void give_part(struct peer peer, uint64_t offset, uint64_t total, size_t size)
{
    uint8_t bytes[64] = {0};
    struct message message;
    ck_assert_uint_le(size, sizeof(bytes));
    ck_assert_int_eq(message_init(&message, MESSAGE_LINK, LINK_MANIFEST_PART), STATUS_OK);
    struct manifest_part *body = message.body;
    body->revision = record.revision;
    body->offset = offset;
    body->total = total;
    ck_assert(bytes_set(&body->part, bytes, size));
    bench_message(&bench, peer, &message);
}

/* A manifest that is too large, has no end, does not begin where it should or changes its size:
 * nothing is opened, and the other source is asked. */
START_TEST(a_manifest_without_end_is_asked_of_another)
{
    static const struct {
        uint64_t offset;
        uint64_t total;
        size_t size;
    } wrong[] = {{0, CHUNK_MANIFEST_SIZE_MAX + 1, 64}, {0, UINT64_MAX, 64}, {0, 63, 64},
                 {0, 128, 0},                          {64, 128, 64},       {UINT64_MAX, 128, 64}};
    for (size_t i = 0; i <= COUNT_OF(wrong); i++) {
        begin();
        up(link_to(2));
        up(link_to(3));
        tell(link_to(2), true, NULL);
        tell(link_to(3), true, NULL);
        const bool is_later = i == COUNT_OF(wrong);
        if (is_later) { /* begins well */
            give_part(link_to(2), 0, 128, 64);
            give_part(link_to(2), 64, 129, 64);
        } else {
            give_part(link_to(2), wrong[i].offset, wrong[i].total, wrong[i].size);
        }
        ck_assert_uint_eq(bench_effect_count(&bench, BULK_RECEIVE_OPEN), 0);
        ck_assert_ptr_nonnull(sent_to(link_to(3), LINK_MANIFEST_ASKED));
        give_manifest(link_to(3), true);
        ck_assert_uint_eq(bench_effect_count(&bench, BULK_RECEIVE_OPEN), 1);
        if (!is_later)
            step_bench_close(&bench);
    }
}
END_TEST

START_TEST(a_source_of_another_number_of_chunks_is_left)
{
    const uint8_t part[CHUNKS] = {0};
    struct message message;
    begin();
    up(link_to(2));
    up(link_to(3));
    tell(link_to(2), true, NULL);
    give_manifest(link_to(2), true);
    answer_open(STATUS_OK, NULL);
    const struct peer liar = link_to(3);
    ck_assert_int_eq(message_init(&message, MESSAGE_LINK, LINK_SOURCE_TOLD), STATUS_OK);
    struct source_told *body = message.body;
    ck_assert(text_set(&body->address, STREAM_ADDRESS) &&
              bytes_set(&body->held, part, sizeof(part)));
    bench_message(&bench, liar, &message);
    ck_assert(bench_is_left(&bench, liar));
}
END_TEST

/* Node 2 alone has it. */
START_TEST(a_single_source_is_asked_over_several_connections)
{
    struct state state;
    uint32_t links[BULK_LANES];
    uint32_t count = 0;
    fill_state(&state);
    record_list_remove(&holder_record_type, RECORD_LIST(state.models.items[0].holders), 1);
    begin_with(&state);
    give_task(&task_key, &transfer_id, "org/m");
    answer_find("org/m", MODEL_ABSENT);
    up(link_to(2));
    ck_assert_uint_eq(last_link_to(2).link, link_to(2).link); /* it has not answered */
    tell(link_to(2), true, NULL);
    for (size_t i = 0; i < bench.link_count; i++) {
        if (bench.links[i].kind != OUTBOX_LINK_OPEN ||
            bench.links[i].peer.link < RECEIVE_LINK_FIRST)
            continue;
        ck_assert_uint_lt(count, BULK_LANES);
        links[count++] = bench.links[i].peer.link;
    }
    ck_assert_uint_eq(count, BULK_LANES);
    /* Each is another thread's. */
    for (uint32_t i = 1; i < BULK_LANES; i++)
        ck_assert_uint_eq(links[i] % BULK_LANES, (links[0] + i) % BULK_LANES);
}
END_TEST

START_TEST(how_far_it_is_is_told_with_who_sent_what)
{
    uint32_t chunks[16];
    run_with_two();
    ck_assert_uint_eq(asked_of(link_to(2), chunks), 1);
    bench_pass(&bench, RECEIVE_PROGRESS_MS);
    chunk(link_to(2), chunks[0], STATUS_OK);
    ck_assert_uint_eq(asked_of(link_to(2), chunks), 2);
    bench_pass(&bench, RECEIVE_PROGRESS_MS);
    chunk(link_to(2), chunks[1], STATUS_HASH_MISMATCH);
    const struct message *signal = bench_sent(&bench, MESSAGE_SIGNAL, SIGNAL_TRANSFER_PROGRESSED);
    ck_assert_ptr_nonnull(signal);
    const struct transfer_progressed *told = signal->body;
    ck_assert(ID_EQUAL(signal->head.node_id, own) && ID_EQUAL(told->transfer_id, transfer_id));
    ck_assert_uint_eq(told->bytes_have, CHUNK_SIZE);
    ck_assert_uint_eq(told->bytes_total, CHUNKS * CHUNK_SIZE - 1);
    ck_assert_uint_gt(told->bytes_per_s, 0);
    ck_assert_uint_eq(told->sources.count, 1);
    ck_assert_uint_eq(told->sources.items[0].node_id.bytes[0], 2);
    ck_assert_uint_eq(told->sources.items[0].bytes, CHUNK_SIZE);
}
END_TEST

START_TEST(the_chunk_of_a_source_that_fails_is_asked_of_another)
{
    uint32_t lost[16];
    uint32_t again[16];
    run_with_two();
    const struct peer first = link_to(2);
    const struct peer second = link_to(3);
    ck_assert_uint_eq(asked_of(first, lost), 1);
    chunk(first, lost[0], STATUS_HASH_MISMATCH);
    ck_assert_uint_eq(bench_effect_count(&bench, BULK_LEAVE), 1);
    bool is_asked = false;
    for (uint32_t done = 0; done < asked_of(second, again); done++) {
        is_asked = is_asked || again[done] == lost[0];
        chunk(second, again[done], STATUS_OK);
    }
    ck_assert(is_asked);
}
END_TEST

START_TEST(what_was_stored_counts_though_its_source_has_gone)
{
    uint32_t first[16];
    uint32_t second[16];
    run_with_two();
    const struct peer gone = link_to(2);
    const uint32_t count = asked_of(gone, first);
    /* Stored by the thread before it heard that its source went. */
    bench_feed(&bench, (struct input){.kind = INPUT_LINK_DOWN, .peer = gone});
    for (uint32_t i = 0; i < count; i++)
        chunk(gone, first[i], STATUS_OK);
    uint32_t done = 0;
    while (done < asked_of(link_to(3), second))
        chunk(link_to(3), second[done++], STATUS_OK);
    ck_assert_uint_eq(bench_effect_count(&bench, BULK_RECEIVE_PLACE), 1);
    /* Of an earlier receive: nothing. */
    struct chunk_told *told = memory_zeroed(1, sizeof(*told));
    told->chunk = CHUNK_NONE;
    unasked(BULK_CHUNK_TOLD, 77, STATUS_NO_SPACE, told);
    ck_assert_ptr_null(ended());
}
END_TEST

START_TEST(a_chunk_nobody_asked_for_ends_its_source)
{
    run_with_two();
    chunk(link_to(2), CHUNKS + 7, STATUS_OK);
    ck_assert_uint_eq(bench_effect_count(&bench, BULK_LEAVE), 1);
}
END_TEST

START_TEST(a_full_disk_ends_the_transfer_and_leaves_nothing)
{
    begin();
    up(link_to(2));
    tell(link_to(2), true, NULL);
    give_manifest(link_to(2), true);
    answer_open(STATUS_NO_SPACE, NULL);
    ck_assert_uint_eq(ended()->status, STATUS_NO_SPACE);
    ck_assert_str_eq(ended()->reason, "it did not work");
    ck_assert_uint_eq(bench_effect_count(&bench, BULK_RECEIVE_DROP), 1);
}
END_TEST

START_TEST(a_cancelled_transfer_is_dropped)
{
    struct message event;
    run_with_two();
    ck_assert_int_eq(message_init(&event, MESSAGE_EVENT, EVENT_TRANSFER_CANCELLED), STATUS_OK);
    MESSAGE_BODY(&event, transfer_cancelled)->transfer_id = transfer_id;
    bench_event(&bench, &event);
    ck_assert_uint_eq(bench_effect_count(&bench, BULK_LEAVE), 2);
    ck_assert_uint_eq(bench_effect_count(&bench, BULK_RECEIVE_DROP), 1);
    ck_assert_ptr_null(ended());
}
END_TEST

START_TEST(only_what_a_receiver_has_is_asked_of_it)
{
    const uint8_t part[CHUNKS / 8 + 1] = {1u << 4};
    uint32_t chunks[16];
    begin();
    up(link_to(2));
    up(link_to(3));
    tell(link_to(2), true, NULL);
    give_manifest(link_to(2), true);
    answer_open(STATUS_OK, NULL);
    tell(link_to(3), false, part);
    ck_assert_uint_eq(asked_of(link_to(3), chunks), 1);
    ck_assert_uint_eq(chunks[0], 4);
}
END_TEST

START_TEST(without_a_chunk_for_a_minute_it_fails_with_the_last_reason)
{
    begin();
    up(link_to(2));
    bench_feed(&bench, (struct input){.kind = INPUT_LINK_DOWN, .peer = link_to(2)});
    for (unsigned passed = 0; passed < RECEIVE_SILENCE_MS + 1000 && !ended(); passed += 500)
        bench_pass(&bench, 500);
    ck_assert_ptr_nonnull(ended());
    ck_assert_uint_eq(ended()->status, STATUS_NO_HOLDER);
    ck_assert_ptr_nonnull(strstr(ended()->reason, "node"));
}
END_TEST

/* The state's word that the node has no weights of it any more. */
static void lose(uint8_t node)
{
    struct message event;
    ck_assert_int_eq(message_init(&event, MESSAGE_EVENT, EVENT_HOLDING_CHANGED), STATUS_OK);
    struct holding_changed *body = event.body;
    body->node_id.bytes[0] = node;
    body->revision = record.revision;
    body->has_small_files = true;
    ck_assert(text_set(&body->model_id, "org/m"));
    bench_event(&bench, &event);
}

static void tell_lost(struct peer peer)
{
    struct message message;
    const struct source_asked *asked = sent_to(peer, LINK_SOURCE_ASKED);
    ck_assert_int_eq(message_init(&message, MESSAGE_LINK, LINK_SOURCE_TOLD), STATUS_OK);
    struct source_told *body = message.body;
    body->session = asked->session;
    body->status = STATUS_DAMAGED;
    ck_assert(text_set(&body->reason, "m.safetensors of org/m went; take the model in again"));
    bench_message(&bench, peer, &message);
}

static unsigned passed_until_ended(void)
{
    unsigned passed = 0;
    for (; passed < RECEIVE_SILENCE_MS && !ended(); passed += 250)
        bench_pass(&bench, 250);
    return passed;
}

START_TEST(what_every_holder_lost_ends_it_soon_by_the_name_of_the_file)
{
    begin();
    up(link_to(2));
    up(link_to(3));
    tell_lost(link_to(2));
    lose(2);
    bench_pass(&bench, 2 * RECEIVE_HOPE_MS);
    ck_assert_ptr_null(ended()); /* the other may have it */
    up(link_to(3)); /* asked anew: it was silent */
    tell_lost(link_to(3));
    lose(3);
    ck_assert_uint_le(passed_until_ended(), RECEIVE_HOPE_MS + 2 * RECEIVE_LOOK_MS);
    ck_assert_uint_eq(ended()->status, STATUS_NO_HOLDER);
    ck_assert_str_eq(ended()->reason, "no node has all of org/m any more: node3 says that "
                                      "m.safetensors of org/m went; take the model in again");
}
END_TEST

/* Half of it is here already. */
START_TEST(a_source_that_loses_it_half_way_ends_it_soon)
{
    struct state state;
    struct message message;
    fill_state(&state);
    record_list_remove(&holder_record_type, RECORD_LIST(state.models.items[0].holders), 1);
    begin_with(&state);
    give_task(&task_key, &transfer_id, "org/m");
    answer_find("org/m", MODEL_ABSENT);
    const struct peer source = link_to(2);
    up(source);
    tell(source, true, NULL);
    give_manifest(source, true);
    answer_open(STATUS_OK, (const uint8_t[]){7});
    tell(source, true, NULL);
    ck_assert_int_eq(message_init(&message, MESSAGE_LINK, LINK_CHUNK_REFUSED), STATUS_OK);
    struct chunk_refused *refused = message.body;
    refused->session = ((const struct source_asked *)sent_to(source, LINK_SOURCE_ASKED))->session;
    refused->chunk = ((const struct chunk_asked *)sent_to(source, LINK_CHUNK_ASKED))->chunk;
    refused->status = STATUS_DAMAGED;
    ck_assert(text_set(&refused->reason, "m.safetensors of org/m changed"));
    bench_message(&bench, source, &message);
    lose(2);
    for (size_t i = 0; i < bench.link_count; i++) /* the others to it, that never came up */
        if (bench.links[i].kind == OUTBOX_LINK_OPEN && bench.links[i].peer.link != source.link &&
            bench.links[i].peer.link >= RECEIVE_LINK_FIRST)
            bench_feed(&bench, (struct input){.kind = INPUT_LINK_REFUSED,
                                              .peer = bench.links[i].peer,
                                              .reason = "cannot be reached"});
    ck_assert_uint_le(passed_until_ended(), RECEIVE_HOPE_MS + 2 * RECEIVE_LOOK_MS);
    ck_assert_uint_eq(ended()->status, STATUS_NO_HOLDER);
    ck_assert_str_eq(ended()->reason, "no node has all of org/m any more: node2 says that "
                                      "m.safetensors of org/m changed");
}
END_TEST

/* ---- several at once ---- */

static struct transfer_id number_of_transfer(uint8_t number)
{
    return (struct transfer_id){{4, number}};
}

static void check_ended(uint8_t number, enum status status)
{
    const struct transfer_id expected = number_of_transfer(number);
    ck_assert_ptr_nonnull(ended());
    ck_assert(ID_EQUAL(ended()->transfer_id, expected));
    ck_assert_uint_eq(ended()->status, status);
}

/* The same files by another name, asked for by another transfer. */
static void add_model(struct state *state, uint8_t number, const char *model_id)
{
    struct model_record *model =
        record_list_push(&model_record_type, RECORD_LIST(state->models), &record, 10);
    ck_assert(model && text_set(&model->model_id, model_id));
    ck_assert_int_eq(chunk_manifest_sign(&identity, model), STATUS_OK);
    model->signer = record.signer;
    const struct holder_record holder = {.node_id = {{2}}, .has_weights = true};
    ck_assert_ptr_nonnull(record_list_push(&holder_record_type, RECORD_LIST(model->holders),
                                           &holder, 10));
    const struct transfer_id id = number_of_transfer(number);
    add_transfer(state, &id, model_id);
}

static void give_task_of(uint8_t number, const char *model_id)
{
    const struct command_key key = {{number}};
    const struct transfer_id id = number_of_transfer(number);
    give_task(&key, &id, model_id);
}

static void begin_models(void)
{
    static const char *const names[] = {"org/a", "org/b", "org/c", "org/d", "org/e"};
    struct state state;
    fill_state(&state);
    for (uint8_t i = 0; i < COUNT_OF(names); i++)
        add_model(&state, (uint8_t)(i + 1), names[i]);
    begin_with(&state);
    for (uint8_t i = 0; i < COUNT_OF(names); i++)
        give_task_of((uint8_t)(i + 1), names[i]);
}

START_TEST(some_models_come_at_once_and_the_next_ones_wait)
{
    begin_models();
    ck_assert_uint_eq(bench_effect_count(&bench, TRANSFERER_FIND), RECEIVES_MAX);
    ck_assert_ptr_null(find_of("org/d"));
    /* One that waits is worked on already, for whoever asks again. */
    give_task_of(4, "org/d");
    ck_assert_uint_eq(bench_effect_count(&bench, TRANSFERER_FIND), RECEIVES_MAX);
    answer_find("org/b", MODEL_WHOLE);
    check_ended(2, STATUS_OK);
    ck_assert_ptr_nonnull(find_of("org/d"));
    ck_assert_ptr_null(find_of("org/e"));
    answer_find("org/d", MODEL_WHOLE);
    answer_find("org/a", MODEL_WHOLE);
    answer_find("org/e", MODEL_WHOLE);
    answer_find("org/c", MODEL_WHOLE);
    ck_assert_uint_eq(bench_sent_count(&bench, MESSAGE_REPORT, REPORT_TRANSFER_STARTED), 5);
    ck_assert_uint_eq(bench_sent_count(&bench, MESSAGE_REPORT, REPORT_TRANSFER_ENDED), 5);
}
END_TEST

START_TEST(one_that_fails_leaves_the_others_alone)
{
    begin_models();
    for (const char *name = "abc"; *name; name++) {
        const char model_id[] = {'o', 'r', 'g', '/', *name, '\0'};
        answer_find(model_id, MODEL_ABSENT);
    }
    /* Each has a connection of its own to the one that holds all. */
    unsigned links = 0;
    for (size_t i = 0; i < bench.link_count; i++)
        links += bench.links[i].kind == OUTBOX_LINK_OPEN &&
                 bench.links[i].peer.link >= RECEIVE_LINK_FIRST;
    ck_assert_uint_eq(links, 3);
    const struct peer third = last_link_to(2); /* is of org/c */
    up(third);
    tell(third, true, NULL);
    give_manifest(third, true);
    struct effect *opening = bench_effect(&bench, BULK_RECEIVE_OPEN);
    struct receive_request *request = opening->request;
    ck_assert_str_eq(request->record.model_id, "org/c");
    opening->request = NULL;
    result_of(opening, STATUS_NO_SPACE, request, receive_request_free);
    check_ended(3, STATUS_NO_SPACE);
    ck_assert_uint_eq(bench_sent_count(&bench, MESSAGE_REPORT, REPORT_TRANSFER_ENDED), 1);
    ck_assert_ptr_nonnull(find_of("org/d"));
}
END_TEST

START_TEST(two_transfers_of_one_model_come_one_after_the_other)
{
    struct state state;
    fill_state(&state);
    add_model(&state, 1, "org/a");
    begin_with(&state);
    give_task_of(1, "org/a");
    /* Of another task, as after one that was cancelled. */
    const struct command_key key = {{77}};
    const struct transfer_id id = number_of_transfer(1);
    give_task(&key, &id, "org/a");
    ck_assert_uint_eq(bench_effect_count(&bench, TRANSFERER_FIND), 1);
    answer_find("org/a", MODEL_WHOLE);
    ck_assert_uint_eq(bench_effect_count(&bench, TRANSFERER_FIND), 2);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("transferer receive");
    const TTest *const tests[] = {
        a_model_comes_from_several_nodes_at_once,
        a_model_that_is_here_is_done_at_once,
        a_signature_that_does_not_hold_ends_it,
        a_wrong_manifest_is_asked_of_another,
        a_manifest_without_end_is_asked_of_another,
        a_source_of_another_number_of_chunks_is_left,
        a_single_source_is_asked_over_several_connections,
        how_far_it_is_is_told_with_who_sent_what,
        the_chunk_of_a_source_that_fails_is_asked_of_another,
        what_was_stored_counts_though_its_source_has_gone,
        a_chunk_nobody_asked_for_ends_its_source,
        a_full_disk_ends_the_transfer_and_leaves_nothing,
        a_cancelled_transfer_is_dropped,
        only_what_a_receiver_has_is_asked_of_it,
        without_a_chunk_for_a_minute_it_fails_with_the_last_reason,
        what_every_holder_lost_ends_it_soon_by_the_name_of_the_file,
        a_source_that_loses_it_half_way_ends_it_soon,
        some_models_come_at_once_and_the_next_ones_wait,
        one_that_fails_leaves_the_others_alone,
        two_transfers_of_one_model_come_one_after_the_other,
    };
    TCase *group = tcase_create("receive");
    tcase_add_checked_fixture(group, setup, teardown);
    for (size_t i = 0; i < COUNT_OF(tests); i++)
        tcase_add_test(group, tests[i]);
    suite_add_tcase(suite, group);
    return suite;
}
