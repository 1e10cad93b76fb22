/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/transferer/transferer.h"

#include "actors/transferer/pace.h"
#include "protocol/hash.h"
#include "protocol/memory.h"
#include "tests/support/check_main.h"
#include "tests/support/step_bench.h"

#include <stdio.h>
#include <string.h>

#define BIG_SIZE (FILE_PART_SIZE * 5 + 17)
#define ADDRESS "tcp://127.0.0.1:4000"

static const struct node_id own = {{1}};
static const struct command_key task_key = {{9}};
static const struct transferer_settings settings = {
    .session = {.actor = ACTOR_TRANSFERER, .incarnation = 5, .build = "test",
                .key = {{50}}, .wants_events = true},
    .listen = "tcp://127.0.0.1:0"};

static struct step_bench bench;
static uint8_t big[BIG_SIZE];
static struct hash revision;

static void add_file(struct model_record *model, const char *name, const void *bytes, size_t size,
                     bool is_weight)
{
    struct file_entry *file =
        record_list_push(&file_entry_type, RECORD_LIST(model->files), NULL, 10);
    ck_assert(file && text_set(&file->name, name));
    file->size = size;
    file->is_weight = is_weight;
    hash_of(bytes, size, &file->digest);
}

static void add_node(struct state *state, uint8_t number, bool in_view)
{
    struct node_record *node =
        record_list_push(&node_record_type, RECORD_LIST(state->nodes), NULL, 10);
    char name[16];
    (void)snprintf(name, sizeof(name), "node%u", number);
    ck_assert(node && text_set(&node->name, name));
    node->node_id.bytes[0] = number;
    node->in_view = in_view;
    struct endpoint_record *endpoint =
        record_list_push(&endpoint_record_type, RECORD_LIST(state->endpoints), NULL, 10);
    ck_assert(endpoint && text_set(&endpoint->address, ADDRESS));
    endpoint->node_id = node->node_id;
    endpoint->actor = ACTOR_TRANSFERER;
    endpoint->key.bytes[0] = (uint8_t)(50 * number);
    endpoint->incarnation = number == 1 ? 5 : 6;
}

static void add_holder(struct state *state, uint8_t number)
{
    struct holder_record holder = {.node_id = {{number}}, .has_weights = true};
    ck_assert_ptr_nonnull(record_list_push(&holder_record_type,
                                           RECORD_LIST(state->models.items[0].holders), &holder,
                                           10));
}

/* Three nodes, a model of four files held by 2 and 3; node 3 is not in view. */
static void fill_state(struct state *state)
{
    state_init(state);
    for (size_t i = 0; i < BIG_SIZE; i++)
        big[i] = (uint8_t)(i * 31 >> 3);
    add_node(state, 1, true);
    add_node(state, 3, false);
    add_node(state, 2, true);
    struct model_record *model =
        record_list_push(&model_record_type, RECORD_LIST(state->models), NULL, 10);
    ck_assert(model && text_set(&model->model_id, "org/m"));
    add_file(model, "config.json", "{}", 2, false);
    add_file(model, "empty.txt", "", 0, false);
    add_file(model, "model.safetensors", "weights", 7, true);
    add_file(model, "tokenizer.json", big, BIG_SIZE, false);
    model->revision = model_revision(model);
    revision = model->revision;
    add_holder(state, 3);
    add_holder(state, 2);
}

static void begin(struct state *state)
{
    step_bench_open(&bench, &transferer_ops, &settings);
    bench_feed(&bench, (struct input){.kind = INPUT_START});
    ck_assert_int_eq(bench_link(&bench, OUTBOX_LINK_OPEN)->peer.link, SERVE_LINK);
    bench_feed(&bench, (struct input){.kind = INPUT_LINK_BOUND,
                                      .peer = peer_of_link(SERVE_LINK),
                                      .endpoint = ADDRESS});
    ck_assert_int_eq(bench_link(&bench, OUTBOX_LINK_OPEN)->peer.link, SESSION_LINK);
    bench_welcome(&bench, &own);
    bench_state(&bench, state);
    state_fini(state);
}

static void give_task(void)
{
    struct message task;
    ck_assert_int_eq(message_init(&task, MESSAGE_TASK, TASK_FETCH_SMALL_FILES), STATUS_OK);
    task.head.key = task_key;
    struct fetch_small_files *body = task.body;
    body->revision = revision;
    ck_assert(text_set(&body->model_id, "org/m"));
    bench_message(&bench, peer_of_link(SESSION_LINK), &task);
}

static void answer_check(enum model_holding holding, bool is_same)
{
    struct effect *effect = bench_effect(&bench, TRANSFERER_CHECK);
    ck_assert_ptr_nonnull(effect);
    struct check_request *check = effect->request;
    ck_assert_str_eq(check->model_id, "org/m");
    effect->request = NULL;
    check->holding_out = holding;
    if (is_same)
        check->revision_out = revision;
    bench_result(&bench, effect, STATUS_OK, "", check, memory_free);
    ck_assert_int_eq(bench.failed, STATUS_OK);
}

/* The link of the present attempt, whose key must be that of node `number`. */
static struct peer holder_link(uint8_t number)
{
    const struct outbox_item *open = bench_link(&bench, OUTBOX_LINK_OPEN);
    ck_assert_uint_ge(open->peer.link, FETCH_LINK_FIRST);
    ck_assert_int_eq(open->options->role, LINK_CONNECT);
    ck_assert_str_eq(open->options->endpoint, ADDRESS);
    ck_assert_uint_eq(open->options->server_key.bytes[0], (uint8_t)(50 * number));
    return peer_of_link(open->peer.link);
}

static void link_up(struct peer peer)
{
    bench_feed(&bench, (struct input){.kind = INPUT_LINK_UP, .peer = peer});
}

enum spoiling { SOUND, WRONG_BYTES, WRONG_SIZE, WRONG_TOTAL, REFUSING, UNASKED };

static void fill_part(const struct file_asked *asked, enum spoiling spoiling,
                      struct file_part *part)
{
    const bool is_big = strcmp(asked->name, "tokenizer.json") == 0;
    const uint8_t *bytes = is_big ? big : (const uint8_t *)"{}";
    const size_t size = is_big ? BIG_SIZE : 2;
    size_t count = size - asked->offset < FILE_PART_SIZE ? size - asked->offset : FILE_PART_SIZE;
    ck_assert(is_big || strcmp(asked->name, "config.json") == 0);
    ck_assert_uint_lt(asked->offset, size);
    ck_assert(bytes_set(&part->part, bytes + asked->offset,
                        count - (spoiling == WRONG_SIZE ? 1 : 0)));
    ck_assert(text_set(&part->model_id, asked->model_id) && text_set(&part->name, asked->name));
    part->revision = asked->revision;
    part->offset = asked->offset + (spoiling == UNASKED ? 1 : 0);
    part->total = size + (spoiling == WRONG_TOTAL ? 1 : 0);
    part->status = spoiling == REFUSING ? STATUS_NOT_FOUND : STATUS_OK;
    if (spoiling == WRONG_BYTES)
        part->part.items[0] ^= 1;
}

/* Answers every question on that link from number `from` on; how many there were. */
static size_t answer_parts(struct peer peer, enum spoiling spoiling, size_t most)
{
    size_t answered = 0;
    for (size_t i = 0; i < bench.sent_count && answered < most; i++) {
        if (!message_is(&bench.sent[i].message, MESSAGE_LINK, LINK_FILE_ASKED) ||
            bench.sent[i].peer.link != peer.link)
            continue;
        struct message part;
        ck_assert_int_eq(message_init(&part, MESSAGE_LINK, LINK_FILE_PART), STATUS_OK);
        fill_part(MESSAGE_BODY(&bench.sent[i].message, file_asked), spoiling, part.body);
        bench.sent[i].peer.link = 0; /* answered */
        bench_message(&bench, peer, &part);
        answered++;
    }
    return answered;
}

static unsigned unanswered(struct peer peer)
{
    unsigned count = 0;
    for (size_t i = 0; i < bench.sent_count; i++)
        count += message_is(&bench.sent[i].message, MESSAGE_LINK, LINK_FILE_ASKED) &&
                 bench.sent[i].peer.link == peer.link;
    return count;
}

static const struct message *done_answer(void)
{
    const struct message *answer = bench_sent(&bench, MESSAGE_ANSWER, ANSWER_DONE);
    ck_assert_ptr_nonnull(answer);
    ck_assert(ID_EQUAL(answer->head.key, task_key));
    return answer;
}

static void begin_fetch(void)
{
    struct state state;
    fill_state(&state);
    begin(&state);
    give_task();
    ck_assert_ptr_nonnull(bench_sent(&bench, MESSAGE_ANSWER, ANSWER_TASK_HELD));
    answer_check(MODEL_ABSENT, false);
}

START_TEST(it_may_be_reached_by_the_transferers_of_admitted_nodes_alone)
{
    struct state state;
    struct message event;
    fill_state(&state);
    begin(&state);
    ck_assert_uint_eq(bench.ready_count, 1);
    const struct outbox_item *allow = bench_link(&bench, OUTBOX_LINK_ALLOW);
    ck_assert_int_eq(allow->peer.link, SERVE_LINK);
    ck_assert_uint_eq(allow->key_count, 3);
    ck_assert_int_eq(message_init(&event, MESSAGE_EVENT, EVENT_NODE_REMOVED), STATUS_OK);
    MESSAGE_BODY(&event, node_removed)->node_id.bytes[0] = 3;
    bench_event(&bench, &event);
    ck_assert_uint_eq(bench_link(&bench, OUTBOX_LINK_ALLOW)->key_count, 2);
    const struct message *hello = bench_sent(&bench, MESSAGE_LINK, LINK_HELLO);
    ck_assert_str_eq(MESSAGE_BODY(hello, hello)->address, ADDRESS);
    step_bench_close(&bench);
}
END_TEST

START_TEST(an_address_the_state_does_not_have_is_reported)
{
    struct state state;
    fill_state(&state);
    begin(&state);
    bench_pass(&bench, 2000); /* known already */
    ck_assert_ptr_null(bench_sent(&bench, MESSAGE_REPORT, REPORT_ENDPOINT_OPENED));
    step_bench_close(&bench);
    fill_state(&state);
    state.endpoints.items[0].incarnation = 4; /* of an earlier life */
    begin(&state);
    ck_assert_ptr_null(bench_sent(&bench, MESSAGE_REPORT, REPORT_ENDPOINT_OPENED));
    bench_pass(&bench, 2000);
    const struct message *report = bench_sent(&bench, MESSAGE_REPORT, REPORT_ENDPOINT_OPENED);
    ck_assert_ptr_nonnull(report);
    ck_assert_str_eq(MESSAGE_BODY(report, endpoint_opened)->endpoint.address, ADDRESS);
    step_bench_close(&bench);
}
END_TEST

START_TEST(small_files_come_in_parts_and_are_stored_whole)
{
    begin_fetch();
    const struct peer peer = holder_link(2); /* in view before the one that is not */
    ck_assert_uint_eq(unanswered(peer), 0);
    link_up(peer);
    ck_assert_uint_eq(unanswered(peer), FETCH_WINDOW);
    ck_assert_ptr_null(bench_effect(&bench, TRANSFERER_STORE));
    size_t parts = 0;
    while (unanswered(peer) > 0) {
        ck_assert_uint_le(unanswered(peer), FETCH_WINDOW);
        parts += answer_parts(peer, SOUND, 1);
    }
    ck_assert_uint_eq(parts, 1 + 6);
    const struct effect *effect = bench_effect(&bench, TRANSFERER_STORE);
    ck_assert_ptr_nonnull(effect);
    const struct store_request *request = effect->request;
    ck_assert(ID_EQUAL(request->record.revision, revision));
    ck_assert_uint_eq(request->contents[3].count, BIG_SIZE);
    ck_assert_int_eq(memcmp(request->contents[3].items, big, BIG_SIZE), 0);
    ck_assert_uint_eq(request->contents[2].count, 0); /* no weights */
    ck_assert_ptr_null(bench_sent(&bench, MESSAGE_REPORT, REPORT_SMALL_FILES_STORED));
    bench_result(&bench, effect, STATUS_OK, "", NULL, NULL);
    const struct message *report = bench_sent(&bench, MESSAGE_REPORT, REPORT_SMALL_FILES_STORED);
    ck_assert_ptr_nonnull(report);
    ck_assert(ID_EQUAL(MESSAGE_BODY(report, small_files_stored)->revision, revision));
    ck_assert_uint_eq(done_answer()->head.status, STATUS_OK);
    ck_assert_ptr_nonnull(bench_link(&bench, OUTBOX_LINK_CLOSE));
    step_bench_close(&bench);
}
END_TEST

START_TEST(a_holder_that_sends_wrong_things_is_left_for_the_next)
{
    static const enum spoiling rows[] = {WRONG_BYTES, WRONG_SIZE, WRONG_TOTAL, REFUSING, UNASKED};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        begin_fetch();
        struct peer peer = holder_link(2);
        link_up(peer);
        ck_assert_uint_eq(answer_parts(peer, rows[i], 1), 1);
        peer = holder_link(3);
        link_up(peer);
        while (answer_parts(peer, SOUND, 100) > 0)
            ;
        ck_assert_ptr_nonnull(bench_effect(&bench, TRANSFERER_STORE));
        step_bench_close(&bench);
    }
}
END_TEST

START_TEST(a_holder_killed_in_the_middle_is_left_for_the_next)
{
    begin_fetch();
    struct peer peer = holder_link(2);
    link_up(peer);
    ck_assert_uint_eq(answer_parts(peer, SOUND, 2), 2);
    bench_feed(&bench, (struct input){.kind = INPUT_LINK_DOWN, .peer = peer});
    const struct peer late = peer;
    peer = holder_link(3);
    link_up(peer);
    /* What the dead one sent late is of another link. */
    ck_assert_uint_gt(answer_parts(late, WRONG_BYTES, 1), 0);
    size_t parts = 0;
    size_t count;
    while ((count = answer_parts(peer, SOUND, 100)) > 0)
        parts += count;
    ck_assert_uint_eq(parts, 6); /* config.json was had whole */
    ck_assert_ptr_nonnull(bench_effect(&bench, TRANSFERER_STORE));
    step_bench_close(&bench);
}
END_TEST

START_TEST(when_nobody_answers_it_fails_with_a_sentence_in_the_end)
{
    begin_fetch();
    const uint64_t began_ms = bench.now_ms;
    link_up(holder_link(2)); /* there, but silent */
    bench_pass(&bench, 60000);
    const struct message *answer = done_answer();
    ck_assert_uint_eq(answer->head.status, STATUS_NO_HOLDER);
    ck_assert_ptr_nonnull(strstr(answer->head.reason, "org/m"));
    ck_assert_ptr_nonnull(strstr(answer->head.reason, "cannot be reached"));
    const struct message *report = bench_sent(&bench, MESSAGE_REPORT, REPORT_SMALL_FILES_FAILED);
    ck_assert_ptr_nonnull(report);
    ck_assert(ID_EQUAL(MESSAGE_BODY(report, small_files_failed)->revision, revision));
    ck_assert_str_eq(MESSAGE_BODY(report, small_files_failed)->reason, answer->head.reason);
    ck_assert_ptr_null(bench_effect(&bench, TRANSFERER_STORE));
    ck_assert_uint_gt(bench.now_ms, began_ms);
    step_bench_forget(&bench);
    give_task(); /* the planner tries again: nothing of the last time is in the way */
    ck_assert_ptr_nonnull(bench_effect(&bench, TRANSFERER_CHECK));
    step_bench_close(&bench);
}
END_TEST

START_TEST(without_any_holder_it_says_so)
{
    struct state state;
    fill_state(&state);
    while (state.models.items[0].holders.count > 0)
        record_list_remove(&holder_record_type, RECORD_LIST(state.models.items[0].holders), 0);
    begin(&state);
    give_task();
    answer_check(MODEL_ABSENT, false);
    bench_pass(&bench, 10000);
    ck_assert_uint_eq(done_answer()->head.status, STATUS_NO_HOLDER);
    step_bench_close(&bench);
}
END_TEST

START_TEST(what_is_here_already_is_not_fetched)
{
    struct state state;
    fill_state(&state);
    begin(&state);
    give_task();
    answer_check(MODEL_SMALL_FILES, true);
    ck_assert_uint_eq(done_answer()->head.status, STATUS_OK);
    ck_assert_ptr_nonnull(bench_sent(&bench, MESSAGE_REPORT, REPORT_SMALL_FILES_STORED));
    step_bench_forget(&bench);
    give_task();
    answer_check(MODEL_WHOLE, true);
    ck_assert_ptr_nonnull(bench_sent(&bench, MESSAGE_REPORT, REPORT_HOLDING_CHANGED));
    step_bench_close(&bench);
}
END_TEST

START_TEST(a_model_removed_meanwhile_ends_the_fetch)
{
    struct message event;
    begin_fetch();
    link_up(holder_link(2));
    ck_assert_int_eq(message_init(&event, MESSAGE_EVENT, EVENT_MODEL_REMOVED), STATUS_OK);
    ck_assert(text_set(&MESSAGE_BODY(&event, model_removed)->model_id, "org/m"));
    bench_event(&bench, &event);
    ck_assert_uint_eq(done_answer()->head.status, STATUS_STALE);
    step_bench_close(&bench);
}
END_TEST

START_TEST(a_list_of_files_that_leads_out_is_refused_before_anything_is_made)
{
    struct state state;
    fill_state(&state);
    ck_assert(text_set(&state.models.items[0].files.items[0].name, "../config.json"));
    begin(&state);
    give_task();
    ck_assert_uint_eq(done_answer()->head.status, STATUS_INVALID);
    ck_assert_ptr_null(bench_effect(&bench, TRANSFERER_CHECK));
    step_bench_close(&bench);
}
END_TEST

static uint32_t ask(const char *model_id, const struct hash *of, const char *name, uint64_t offset)
{
    struct message message;
    struct peer peer = peer_of_link(SERVE_LINK);
    peer.route_size = 5;
    peer.key.bytes[0] = 100; /* of node 2's transferer */
    ck_assert_int_eq(message_init(&message, MESSAGE_LINK, LINK_FILE_ASKED), STATUS_OK);
    struct file_asked *body = message.body;
    body->revision = *of;
    body->offset = offset;
    ck_assert(text_set(&body->model_id, model_id) && text_set(&body->name, name));
    step_bench_forget(&bench);
    bench_message(&bench, peer, &message);
    const struct message *part = bench_sent(&bench, MESSAGE_LINK, LINK_FILE_PART);
    return part ? MESSAGE_BODY(part, file_part)->status : STATUS_OK;
}

START_TEST(only_small_files_of_the_manifest_are_served)
{
    struct state state;
    struct hash other = {{1}};
    fill_state(&state);
    begin(&state);
    ck_assert_uint_eq(ask("org/m", &revision, "model.safetensors", 0), STATUS_REFUSED);
    ck_assert_uint_eq(ask("org/m", &revision, "../../identity/key", 0), STATUS_REFUSED);
    ck_assert_uint_eq(ask("org/m", &revision, "config.json", 3), STATUS_REFUSED);
    ck_assert_uint_eq(ask("org/m", &other, "config.json", 0), STATUS_STALE);
    ck_assert_uint_eq(ask("org/x", &revision, "config.json", 0), STATUS_NOT_FOUND);
    ck_assert_ptr_null(bench_effect(&bench, TRANSFERER_READ));
    ck_assert_uint_eq(ask("org/m", &revision, "config.json", 0), STATUS_OK);
    struct effect *effect = bench_effect(&bench, TRANSFERER_READ);
    ck_assert_ptr_nonnull(effect);
    struct read_request *read = effect->request;
    effect->request = NULL;
    ck_assert(text_set(&read->part_out.name, "config.json"));
    ck_assert(bytes_set(&read->part_out.part, "{}", 2));
    bench_result(&bench, effect, STATUS_OK, "", read, read_request_free);
    const struct message *part = bench_sent(&bench, MESSAGE_LINK, LINK_FILE_PART);
    ck_assert_ptr_nonnull(part);
    ck_assert_uint_eq(MESSAGE_BODY(part, file_part)->part.count, 2);
    for (int i = 0; i < SERVE_READS_MAX; i++)
        ck_assert_uint_eq(ask("org/m", &revision, "config.json", 0), STATUS_OK);
    ck_assert_uint_eq(ask("org/m", &revision, "config.json", 0), STATUS_BUSY);
    step_bench_close(&bench);
}
END_TEST

static const struct peer gateway = {
    .link = SERVE_LINK, .route_size = 5, .route = {7}, .key = {{77}}};

/* What a gateway says with that code; true when it was dropped for it. */
static bool gateway_is_dropped(uint32_t code, uint32_t size)
{
    struct message message;
    ck_assert_int_eq(message_init(&message, MESSAGE_LINK, code), STATUS_OK);
    if (code == LINK_FILE_ASKED) {
        struct file_asked *body = message.body;
        body->revision = revision;
        body->size = size;
        ck_assert(text_set(&body->model_id, "org/m") &&
                  text_set(&body->name, size ? "model.safetensors" : "config.json"));
    }
    step_bench_forget(&bench);
    bench_message(&bench, gateway, &message);
    const struct outbox_item *drop = bench_link(&bench, OUTBOX_PEER_DROP);
    ck_assert(!drop || (bench.sent_count == 0 && peer_equal(&drop->peer, &gateway)));
    return drop != NULL;
}

START_TEST(a_gateway_reads_what_it_can_check_and_is_refused_everything_else)
{
    static const uint32_t refused[] = {LINK_SOURCE_ASKED, LINK_SHARE_ASKED, LINK_CHUNK_ASKED,
                                       LINK_SOURCE_LEFT, LINK_SOURCE_TOLD, LINK_FILE_PART};
    struct state state;
    fill_state(&state);
    struct endpoint_record *endpoint =
        record_list_push(&endpoint_record_type, RECORD_LIST(state.endpoints), NULL, 10);
    ck_assert(endpoint && text_set(&endpoint->address, ADDRESS));
    *endpoint = (struct endpoint_record){.node_id = {{2}}, .actor = ACTOR_GATEWAY,
                                         .key = gateway.key, .address = endpoint->address};
    begin(&state);
    ck_assert_uint_eq(bench_link(&bench, OUTBOX_LINK_ALLOW)->key_count, 4);
    ck_assert(!gateway_is_dropped(LINK_MANIFEST_ASKED, 0));
    ck_assert_ptr_nonnull(bench_effect(&bench, TRANSFERER_MANIFEST));
    ck_assert(!gateway_is_dropped(LINK_FILE_ASKED, 1));
    ck_assert_ptr_nonnull(bench_effect(&bench, TRANSFERER_READ));
    ck_assert(gateway_is_dropped(LINK_FILE_ASKED, 0)); /* unchecked, of small files */
    for (size_t i = 0; i < COUNT_OF(refused); i++)
        ck_assert_msg(gateway_is_dropped(refused[i], 0), "a gateway may say %u", refused[i]);
    ck_assert_uint_eq(((const struct transferer *)bench.actor)->refused, 1 + COUNT_OF(refused));
    step_bench_close(&bench);
}
END_TEST

START_TEST(addresses_are_made_of_settings)
{
    char endpoint[LINK_ENDPOINT_SIZE];
    ck_assert(transferer_listen("127.0.0.1:7000", endpoint));
    ck_assert_str_eq(endpoint, "tcp://127.0.0.1:0");
    ck_assert(transferer_listen("[::1]:0", endpoint));
    ck_assert_str_eq(endpoint, "tcp://[::1]:0");
    ck_assert(!transferer_listen("nonsense", endpoint));
    transferer_address("tcp://0.0.0.0:41", "10.0.0.2:7000", endpoint);
    ck_assert_str_eq(endpoint, "tcp://10.0.0.2:41");
    transferer_address("tcp://127.0.0.1:41", "", endpoint);
    ck_assert_str_eq(endpoint, "tcp://127.0.0.1:41");
}
END_TEST

START_TEST(a_rank_that_computes_here_makes_the_threads_hold_back)
{
    struct state state;
    struct message beat;
    fill_state(&state);
    begin(&state);
    ck_assert_uint_eq(bench_effect_count(&bench, BULK_BUSY), 0);
    ck_assert_int_eq(message_init(&beat, MESSAGE_SIGNAL, SIGNAL_HEARTBEAT), STATUS_OK);
    bench_message(&bench, peer_of_link(SESSION_LINK), &beat);
    ck_assert_uint_eq(bench_effect_count(&bench, BULK_BUSY), 1);
    /* Until the next beat, and the one after it, should have come. */
    ck_assert_uint_eq(bench_effect(&bench, BULK_BUSY)->id, bench.now_ms + PACE_BEAT_LIFE_MS);
    step_bench_close(&bench);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("transferer");
    const TTest *const fetching[] = {
        small_files_come_in_parts_and_are_stored_whole,
        a_holder_that_sends_wrong_things_is_left_for_the_next,
        a_holder_killed_in_the_middle_is_left_for_the_next,
        when_nobody_answers_it_fails_with_a_sentence_in_the_end,
        without_any_holder_it_says_so,
        what_is_here_already_is_not_fetched,
        a_model_removed_meanwhile_ends_the_fetch,
        a_list_of_files_that_leads_out_is_refused_before_anything_is_made,
    };
    const TTest *const serving[] = {
        it_may_be_reached_by_the_transferers_of_admitted_nodes_alone,
        an_address_the_state_does_not_have_is_reported,
        only_small_files_of_the_manifest_are_served,
        a_gateway_reads_what_it_can_check_and_is_refused_everything_else,
        addresses_are_made_of_settings,
        a_rank_that_computes_here_makes_the_threads_hold_back,
    };
    suite_add(suite, "fetching", fetching, COUNT_OF(fetching));
    suite_add(suite, "serving", serving, COUNT_OF(serving));
    return suite;
}
