/* SPDX-License-Identifier: Apache-2.0 */
/* What the events about nodes, tokens, clients, leaders, processes and models mean. */
#include "tests/support/check_main.h"
#include "tests/unit/protocol/apply_stage.h"

#include <stdio.h>
#include <string.h>

/* ---- every event ---- */

START_TEST(an_index_gap_is_refused)
{
    stage_add_node(&node_one, "one");
    struct node_removed *body = stage_event(EVENT_NODE_REMOVED);
    body->node_id = node_one;
    stage.event.head.index = 3;
    ck_assert_int_eq(state_apply(&stage.state, &stage.event), STATUS_GAP);
    stage.event.head.index = 1;
    ck_assert_int_eq(state_apply(&stage.state, &stage.event), STATUS_GAP);
    ck_assert_uint_eq(stage.state.index, 1);
    ck_assert_uint_eq(stage.state.nodes.count, 1);
}
END_TEST

START_TEST(a_message_that_is_no_event_is_refused)
{
    (void)stage_event(EVENT_NODE_REMOVED);
    stage.event.head.kind = MESSAGE_REPORT;
    ck_assert_int_eq(state_apply(&stage.state, &stage.event), STATUS_MALFORMED);
    stage.event.head.kind = MESSAGE_EVENT;
    stage.event.head.code = EVENT_NONE;
    ck_assert_int_eq(state_apply(&stage.state, &stage.event), STATUS_MALFORMED);
    stage.event.head.code = EVENT_TRANSFER_CANCELLED + 1;
    ck_assert_int_eq(state_apply(&stage.state, &stage.event), STATUS_MALFORMED);
    ck_assert_uint_eq(stage.state.index, 0);
    stage.event.head.code = EVENT_NODE_REMOVED;
}
END_TEST

START_TEST(every_event_has_a_meaning)
{
    size_t count;
    size_t events = 0;
    (void)message_type_at(0, &count);
    for (size_t i = 0; i < count; i++) {
        const struct message_type *type = message_type_at(i, &count);
        if (type->kind != MESSAGE_EVENT)
            continue;
        (void)stage_event((enum event_code)type->code);
        stage_apply();
        events++;
    }
    ck_assert_uint_eq(events, 41);
    ck_assert_uint_eq(stage.state.index, 41);
}
END_TEST

static void apply_with_key(uint32_t number)
{
    (void)stage_event(EVENT_VIEW_CHANGED);
    memcpy(&stage.event.head.key, &number, sizeof(number));
    stage_apply();
}

static uint64_t index_of_key(uint32_t number)
{
    struct command_key key = {{0}};
    memcpy(&key, &number, sizeof(number));
    return state_find_command(&stage.state, &key);
}

START_TEST(command_keys_are_kept_up_to_their_cap_oldest_first)
{
    apply_with_key(0); /* no key */
    ck_assert_uint_eq(stage.state.commands.count, 0);
    for (uint32_t i = 1; i <= COMMAND_KEY_COUNT_MAX; i++)
        apply_with_key(i);
    ck_assert_uint_eq(index_of_key(1), 2);
    apply_with_key(COMMAND_KEY_COUNT_MAX + 1);
    ck_assert_uint_eq(stage.state.commands.count, COMMAND_KEY_COUNT_MAX);
    ck_assert_uint_eq(index_of_key(1), 0);
    ck_assert_uint_eq(index_of_key(2), 3);
    ck_assert_uint_eq(index_of_key(COMMAND_KEY_COUNT_MAX + 1), stage.state.index);
}
END_TEST

static void apply_report_of(uint64_t incarnation, uint64_t sequence)
{
    (void)stage_event(EVENT_VIEW_CHANGED);
    stage.event.head.node_id = node_one;
    stage.event.head.actor = ACTOR_RUNNER;
    stage.event.head.incarnation = incarnation;
    stage.event.head.sequence = sequence;
    stage_apply();
}

START_TEST(the_sequence_of_each_incarnation_is_kept)
{
    apply_report_of(7, 1);
    apply_report_of(8, 4);
    apply_report_of(7, 2);
    ck_assert_uint_eq(stage.state.incarnations.count, 2);
    ck_assert_uint_eq(
        state_find_incarnation(&stage.state, &node_one, ACTOR_RUNNER, 7)->sequence, 2);
    ck_assert_uint_eq(
        state_find_incarnation(&stage.state, &node_one, ACTOR_RUNNER, 8)->sequence, 4);
    ck_assert_ptr_null(state_find_incarnation(&stage.state, &node_one, ACTOR_LAUNCHER, 7));
    ck_assert_ptr_null(state_find_incarnation(&stage.state, &node_two, ACTOR_RUNNER, 7));
}
END_TEST

START_TEST(the_oldest_incarnation_makes_room)
{
    for (uint64_t i = 1; i <= INCARNATION_COUNT_MAX + 1; i++)
        apply_report_of(i, 1);
    ck_assert_uint_eq(stage.state.incarnations.count, INCARNATION_COUNT_MAX);
    ck_assert_ptr_null(state_find_incarnation(&stage.state, &node_one, ACTOR_RUNNER, 1));
    ck_assert_ptr_nonnull(state_find_incarnation(&stage.state, &node_one, ACTOR_RUNNER, 2));
}
END_TEST

/* ---- nodes, tokens, clients ---- */

START_TEST(cluster_founded_names_the_cluster_and_its_first_node)
{
    struct cluster_founded *body = stage_event(EVENT_CLUSTER_FOUNDED);
    body->cluster_id.bytes[0] = 5;
    body->node.node_id = node_one;
    ck_assert(text_set(&body->node.name, "one"));
    stage_apply();
    ck_assert_uint_eq(stage.state.cluster_id.bytes[0], 5);
    ck_assert_str_eq(state_find_node(&stage.state, &node_one)->name, "one");
}
END_TEST

static void create_token(uint8_t number, uint64_t expires_ms)
{
    struct token_created *body = stage_event(EVENT_TOKEN_CREATED);
    body->token.key.bytes[0] = number;
    body->token.expires_ms = expires_ms;
    stage_apply();
}

static struct token_record *token(uint8_t number)
{
    const struct public_key key = {{number}};
    return state_find_token(&stage.state, &key);
}

static void spend_token(uint8_t number)
{
    struct node_admitted *body = stage_event(EVENT_NODE_ADMITTED);
    body->node.node_id = node_two;
    body->token_key.bytes[0] = number;
    stage_apply();
}

START_TEST(node_admitted_adds_the_node_and_spends_its_token)
{
    create_token(1, UINT64_MAX);
    create_token(2, UINT64_MAX);
    spend_token(2);
    ck_assert(ID_IS_ZERO(token(1)->spent_by));
    ck_assert(ID_EQUAL(token(2)->spent_by, node_two));
    ck_assert_ptr_nonnull(state_find_node(&stage.state, &node_two));
}
END_TEST

START_TEST(node_admitted_again_replaces_what_was_known)
{
    stage_add_node(&node_one, "old");
    stage_add_node(&node_one, "new");
    ck_assert_uint_eq(stage.state.nodes.count, 1);
    ck_assert_str_eq(stage.state.nodes.items[0].name, "new");
}
END_TEST

static void ask_import(const struct node_id *node_id, const char *model_id)
{
    struct model_import_requested *body = stage_event(EVENT_MODEL_IMPORT_REQUESTED);
    body->import.node_id = *node_id;
    ck_assert(text_set(&body->import.model_id, model_id) && text_set(&body->import.path, "/m"));
    stage_apply();
}

static void give_up(const struct node_id *node_id, enum actor_kind actor, const char *reason)
{
    struct process_given_up *body = stage_event(EVENT_PROCESS_GIVEN_UP);
    body->process.node_id = *node_id;
    body->process.actor = actor;
    ck_assert(text_set(&body->process.reason, reason));
    stage_apply();
}

START_TEST(node_removed_forgets_its_endpoints_imports_and_holdings)
{
    const struct node_id *const both[] = {&node_one, &node_two};
    for (size_t i = 0; i < COUNT_OF(both); i++) {
        stage_add_node(both[i], i ? "two" : "one");
        stage_open_endpoint(both[i], ACTOR_MASTER, 5);
        stage_open_endpoint(both[i], ACTOR_GATEWAY, 6);
        stage_import_model(both[i], "m", 3);
        ask_import(both[i], "n");
        give_up(both[i], ACTOR_DOWNLOADER, "died");
    }
    struct node_removed *body = stage_event(EVENT_NODE_REMOVED);
    body->node_id = node_one;
    stage_apply();
    const struct state *state = &stage.state;
    ck_assert_uint_eq(state->nodes.count, 1);
    ck_assert_uint_eq(state->endpoints.count, 2);
    ck_assert_uint_eq(state->imports.count, 1);
    ck_assert_uint_eq(state->given_up.count, 1);
    ck_assert_uint_eq(state->models.items[0].holders.count, 1);
    ck_assert_ptr_null(state_find_node(state, &node_one));
    ck_assert_ptr_nonnull(state_find_endpoint(state, &node_two, ACTOR_GATEWAY));
    ck_assert_ptr_nonnull(state_find_import(state, &node_two, "n"));
    ck_assert_ptr_nonnull(model_find_holder(&state->models.items[0], &node_two));
    ck_assert(ID_EQUAL(state->given_up.items[0].node_id, node_two));
}
END_TEST

START_TEST(node_described_tells_facts_but_neither_key_nor_view)
{
    stage_add_node(&node_one, "one");
    struct node_described *body = stage_event(EVENT_NODE_DESCRIBED);
    body->node.node_id = node_one;
    body->node.key.bytes[0] = 99;
    body->node.in_view = true;
    body->node.cores = 8;
    body->node.memory_bytes = 1u << 30;
    body->node.machine_id.bytes[0] = 4;
    ck_assert(text_set(&body->node.name, "renamed") && text_set(&body->node.address, "tcp://a:1") &&
              text_set(&body->node.fabric, "f") && text_set(&body->node.http, "h") &&
              text_set(&body->node.build, "b") && text_set(&body->node.hosts, "c d"));
    stage_apply();
    const struct node_record *node = state_find_node(&stage.state, &node_one);
    ck_assert_str_eq(node->name, "renamed");
    ck_assert_str_eq(node->hosts, "c d");
    ck_assert_str_eq(node->address, "tcp://a:1");
    ck_assert_str_eq(node->fabric, "f");
    ck_assert_str_eq(node->http, "h");
    ck_assert_str_eq(node->build, "b");
    ck_assert_uint_eq(node->cores, 8);
    ck_assert_uint_eq(node->memory_bytes, 1u << 30);
    ck_assert_uint_eq(node->machine_id.bytes[0], 4);
    ck_assert_uint_eq(node->key.bytes[0], node_one.bytes[0]);
    ck_assert(!node->in_view);
}
END_TEST

START_TEST(an_endpoint_is_reached_where_its_node_is)
{
    static const struct {
        const char *told;
        const char *used;
    } rows[] = {{"tcp://10.0.0.1:7", "tcp://10.1.0.1:7"},
                {"tcp://10.1.0.1:7", "tcp://10.1.0.1:7"},
                {"tcp://[2001:db8::1]:7", "tcp://10.1.0.1:7"},
                {"tcp://192.168.0.1:7", "tcp://192.168.0.1:7"}, /* what an operator advertises */
                {"tcp://10.0.0.11:7", "tcp://10.0.0.11:7"},
                {"http://10.0.0.1:7", "http://10.0.0.1:7"},
                {"", ""}};
    char address[ADDRESS_SIZE_MAX];
    stage_add_node(&node_one, "one");
    struct node_record *node = state_find_node(&stage.state, &node_one);
    ck_assert(text_set(&node->hosts, "10.0.0.1 10.1.0.1 [2001:db8::1]") &&
              text_set(&node->fabric, "10.1.0.1"));
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct endpoint_record endpoint = {.node_id = node_one};
        ck_assert(text_set(&endpoint.address, rows[i].told));
        state_endpoint_address(&stage.state, &endpoint, address);
        ck_assert_str_eq(address, rows[i].used);
        record_fini(&endpoint_record_type, &endpoint);
    }
}
END_TEST

START_TEST(token_created_again_replaces_it)
{
    create_token(1, 5);
    create_token(1, UINT64_MAX);
    ck_assert_uint_eq(stage.state.tokens.count, 1);
    ck_assert_uint_eq(token(1)->expires_ms, UINT64_MAX);
}
END_TEST

START_TEST(spent_and_expired_tokens_make_room_oldest_first)
{
    for (uint8_t i = 1; i <= TOKEN_COUNT_MAX; i++)
        create_token(i, i == 5 ? stage.now_ms + 10 : UINT64_MAX);
    spend_token(3);
    create_token(200, UINT64_MAX);
    ck_assert_ptr_null(token(3));
    ck_assert_ptr_nonnull(token(5));
    ck_assert_ptr_nonnull(token(200));
    stage.now_ms += 10; /* its last moment */
    create_token(201, UINT64_MAX);
    ck_assert_ptr_null(token(201));
    stage.now_ms += 1;
    create_token(202, UINT64_MAX);
    ck_assert_ptr_null(token(5));
    ck_assert_ptr_nonnull(token(202));
    ck_assert_uint_eq(stage.state.tokens.count, TOKEN_COUNT_MAX);
}
END_TEST

START_TEST(token_revoked_forgets_it)
{
    create_token(1, UINT64_MAX);
    create_token(2, UINT64_MAX);
    struct token_revoked *body = stage_event(EVENT_TOKEN_REVOKED);
    body->key.bytes[0] = 1;
    stage_apply();
    ck_assert_ptr_null(token(1));
    ck_assert_ptr_nonnull(token(2));
}
END_TEST

static void admit_client(uint8_t number, uint32_t role)
{
    struct client_admitted *body = stage_event(EVENT_CLIENT_ADMITTED);
    body->client.key.bytes[0] = number;
    body->client.role = role;
    stage_apply();
}

START_TEST(client_admitted_adds_it_or_changes_its_role)
{
    const struct public_key key = {{1}};
    admit_client(1, ROLE_READ);
    admit_client(1, ROLE_ADMIN);
    ck_assert_uint_eq(stage.state.clients.count, 1);
    ck_assert_uint_eq(state_find_client(&stage.state, &key)->role, ROLE_ADMIN);
}
END_TEST

START_TEST(client_removed_forgets_it)
{
    admit_client(1, ROLE_READ);
    admit_client(2, ROLE_READ);
    struct client_removed *body = stage_event(EVENT_CLIENT_REMOVED);
    body->key.bytes[0] = 1;
    stage_apply();
    ck_assert_uint_eq(stage.state.clients.count, 1);
    ck_assert_uint_eq(stage.state.clients.items[0].key.bytes[0], 2);
}
END_TEST

/* ---- leadership ---- */

START_TEST(epoch_begun_names_the_leader_and_its_view)
{
    stage_add_node(&node_one, "one");
    stage_add_node(&node_two, "two");
    struct epoch_begun *body = stage_event(EVENT_EPOCH_BEGUN);
    body->epoch = (struct epoch){4, node_two};
    ck_assert(bytes_set(&body->view, &node_two, sizeof(node_two)));
    stage_apply();
    ck_assert_uint_eq(stage.state.epoch.number, 4);
    ck_assert(ID_EQUAL(stage.state.epoch.leader, node_two));
    ck_assert(!state_find_node(&stage.state, &node_one)->in_view);
    ck_assert(state_find_node(&stage.state, &node_two)->in_view);
}
END_TEST

START_TEST(view_changed_takes_nodes_in_and_out)
{
    stage_add_node(&node_one, "one");
    stage_add_node(&node_two, "two");
    const struct node_id both[] = {node_one, node_two};
    struct view_changed *body = stage_event(EVENT_VIEW_CHANGED);
    ck_assert(bytes_set(&body->view, both, sizeof(both)));
    stage_apply();
    ck_assert(state_find_node(&stage.state, &node_one)->in_view);
    ck_assert(state_find_node(&stage.state, &node_two)->in_view);
    body = stage_event(EVENT_VIEW_CHANGED);
    ck_assert(bytes_set(&body->view, &node_one, sizeof(node_one)));
    stage_apply();
    ck_assert(state_find_node(&stage.state, &node_one)->in_view);
    ck_assert(!state_find_node(&stage.state, &node_two)->in_view);
}
END_TEST

START_TEST(a_view_cut_short_names_no_node_by_its_rest)
{
    stage_add_node(&node_one, "one");
    struct view_changed *body = stage_event(EVENT_VIEW_CHANGED);
    ck_assert(bytes_set(&body->view, &node_one, sizeof(node_one) - 1));
    stage_apply_in_vain();
}
END_TEST

/* ---- processes ---- */

START_TEST(endpoint_opened_is_the_one_of_its_actor)
{
    stage_open_endpoint(&node_one, ACTOR_GATEWAY, 5);
    stage_open_endpoint(&node_one, ACTOR_GATEWAY, 6);
    ck_assert_uint_eq(stage.state.endpoints.count, 1);
    ck_assert_uint_eq(
        state_find_endpoint(&stage.state, &node_one, ACTOR_GATEWAY)->incarnation, 6);
}
END_TEST

static void close_endpoint(uint64_t incarnation)
{
    struct endpoint_closed *body = stage_event(EVENT_ENDPOINT_CLOSED);
    body->node_id = node_one;
    body->actor = ACTOR_GATEWAY;
    body->incarnation = incarnation;
}

START_TEST(endpoint_closed_forgets_that_life_only)
{
    stage_open_endpoint(&node_one, ACTOR_GATEWAY, 6);
    close_endpoint(5);
    stage_apply_in_vain();
    close_endpoint(6);
    stage_apply();
    ck_assert_uint_eq(stage.state.endpoints.count, 0);
}
END_TEST

START_TEST(process_ended_closes_its_endpoint)
{
    stage_open_endpoint(&node_one, ACTOR_GATEWAY, 6);
    stage_open_endpoint(&node_two, ACTOR_GATEWAY, 6);
    struct process_ended *body = stage_event(EVENT_PROCESS_ENDED);
    body->node_id = node_one;
    body->actor = ACTOR_GATEWAY;
    body->incarnation = 6;
    stage_apply();
    ck_assert_ptr_null(state_find_endpoint(&stage.state, &node_one, ACTOR_GATEWAY));
    ck_assert_ptr_nonnull(state_find_endpoint(&stage.state, &node_two, ACTOR_GATEWAY));
}
END_TEST

START_TEST(process_given_up_is_told_until_it_opens_an_endpoint_again)
{
    give_up(&node_one, ACTOR_GATEWAY, "first");
    give_up(&node_one, ACTOR_GATEWAY, "second");
    give_up(&node_one, ACTOR_PLANNER, "other");
    ck_assert_uint_eq(stage.state.given_up.count, 2);
    ck_assert_str_eq(stage.state.given_up.items[0].reason, "second");
    stage_open_endpoint(&node_one, ACTOR_GATEWAY, 7);
    ck_assert_uint_eq(stage.state.given_up.count, 1);
    ck_assert_str_eq(stage.state.given_up.items[0].reason, "other");
}
END_TEST

/* ---- models ---- */

START_TEST(model_import_requested_is_remembered_with_its_event)
{
    ask_import(&node_one, "m");
    ask_import(&node_two, "m");
    ask_import(&node_one, "m");
    ck_assert_uint_eq(stage.state.imports.count, 2);
    const struct import_record *import = state_find_import(&stage.state, &node_one, "m");
    ck_assert_uint_eq(import->requested_index, 3);
    ck_assert_str_eq(import->path, "/m");
}
END_TEST

START_TEST(model_imported_ends_the_import_and_makes_a_holder)
{
    ask_import(&node_one, "m");
    struct model_imported *body = stage_event(EVENT_MODEL_IMPORTED);
    const struct holder_record liar = {.node_id = node_two, .has_weights = true};
    body->node_id = node_one;
    ck_assert(text_set(&body->model.model_id, "m"));
    ck_assert_ptr_nonnull(
        record_list_push(&holder_record_type, RECORD_LIST(body->model.holders), &liar, 4));
    stage_apply();
    ck_assert_uint_eq(stage.state.imports.count, 0);
    const struct model_record *model = state_find_model(&stage.state, "m");
    ck_assert_uint_eq(model->holders.count, 1);
    ck_assert(model_find_holder(model, &node_one)->has_weights);
    stage_import_model(&node_two, "m", 0);
    ck_assert_uint_eq(state_find_model(&stage.state, "m")->holders.count, 2);
}
END_TEST

START_TEST(model_imported_in_another_revision_replaces_it)
{
    stage_import_model(&node_one, "m", 1);
    stage_import_model(&node_two, "m", 2);
    ck_assert_uint_eq(stage.state.models.count, 1);
    const struct model_record *model = state_find_model(&stage.state, "m");
    ck_assert_uint_eq(model->revision.bytes[0], 2);
    ck_assert_ptr_null(model_find_holder(model, &node_one));
    ck_assert_ptr_nonnull(model_find_holder(model, &node_two));
}
END_TEST

/* As an earlier version left it, and as a holder tells it after an upgrade. */
START_TEST(model_imported_names_what_had_no_names)
{
    for (int named = 0; named < 2; named++) {
        struct model_imported *body = stage_event(EVENT_MODEL_IMPORTED);
        struct file_entry *file =
            record_list_push(&file_entry_type, RECORD_LIST(body->model.files), NULL, 4);
        body->node_id = node_one;
        ck_assert(text_set(&body->model.model_id, "m") && text_set(&file->name, "config.json"));
        ck_assert(text_set(&body->model.commit, named ? "c0ffee" : ""));
        ck_assert(text_set(&file->etag, named ? "abc" : ""));
        stage_apply();
    }
    const struct model_record *model = state_find_model(&stage.state, "m");
    ck_assert_str_eq(model->commit, "c0ffee");
    ck_assert_str_eq(model->files.items[0].etag, "abc");
    ck_assert_uint_eq(model->holders.count, 1);
}
END_TEST

START_TEST(model_pinned_is_kept_for_the_name)
{
    stage_import_model(&node_one, "m", 1);
    struct model_pinned *body = stage_event(EVENT_MODEL_PINNED);
    body->is_pinned = true;
    ck_assert(text_set(&body->model_id, "m"));
    stage_apply();
    ck_assert(state_find_model(&stage.state, "m")->is_pinned);
    stage_import_model(&node_one, "m", 2);
    ck_assert(state_find_model(&stage.state, "m")->is_pinned);
    body = stage_event(EVENT_MODEL_PINNED);
    ck_assert(text_set(&body->model_id, "m"));
    stage_apply();
    ck_assert(!state_find_model(&stage.state, "m")->is_pinned);
    body = stage_event(EVENT_MODEL_PINNED);
    ck_assert(text_set(&body->model_id, "gone"));
    stage_apply();
}
END_TEST

START_TEST(model_import_failed_ends_the_import)
{
    ask_import(&node_one, "m");
    ask_import(&node_one, "n");
    struct model_import_failed *body = stage_event(EVENT_MODEL_IMPORT_FAILED);
    body->node_id = node_one;
    ck_assert(text_set(&body->model_id, "m"));
    stage_apply();
    ck_assert_ptr_null(state_find_import(&stage.state, &node_one, "m"));
    ck_assert_ptr_nonnull(state_find_import(&stage.state, &node_one, "n"));
    ck_assert_uint_eq(stage.state.models.count, 0);
}
END_TEST

static void store_small_files(const struct node_id *node_id, uint8_t revision)
{
    struct small_files_stored *body = stage_event(EVENT_SMALL_FILES_STORED);
    body->node_id = *node_id;
    body->revision.bytes[0] = revision;
    ck_assert(text_set(&body->model_id, "m"));
}

START_TEST(small_files_stored_makes_a_holder_without_weights)
{
    stage_import_model(&node_one, "m", 1);
    store_small_files(&node_two, 1);
    stage_apply();
    const struct model_record *model = state_find_model(&stage.state, "m");
    ck_assert(!model_find_holder(model, &node_two)->has_weights);
    store_small_files(&node_one, 1); /* has the weights too: they are not lost by this */
    stage_apply_in_vain();
    ck_assert(model_find_holder(model, &node_one)->has_weights);
}
END_TEST

static void change_holding(uint8_t revision, bool has_small_files, bool has_weights)
{
    struct holding_changed *body = stage_event(EVENT_HOLDING_CHANGED);
    body->node_id = node_one;
    body->revision.bytes[0] = revision;
    body->has_small_files = has_small_files;
    body->has_weights = has_weights;
    ck_assert(text_set(&body->model_id, "m"));
}

START_TEST(holding_changed_tells_what_a_node_has)
{
    stage_import_model(&node_one, "m", 1);
    const struct model_record *model = state_find_model(&stage.state, "m");
    change_holding(1, true, false);
    stage_apply();
    ck_assert(!model_find_holder(model, &node_one)->has_weights);
    change_holding(1, false, false);
    stage_apply();
    ck_assert_ptr_null(model_find_holder(model, &node_one));
    change_holding(1, true, true);
    stage_apply();
    ck_assert(model_find_holder(model, &node_one)->has_weights);
}
END_TEST

START_TEST(model_removed_forgets_it)
{
    stage_import_model(&node_one, "m", 1);
    stage_import_model(&node_one, "n", 1);
    struct model_removed *body = stage_event(EVENT_MODEL_REMOVED);
    ck_assert(text_set(&body->model_id, "m"));
    stage_apply();
    ck_assert_ptr_null(state_find_model(&stage.state, "m"));
    ck_assert_ptr_nonnull(state_find_model(&stage.state, "n"));
}
END_TEST

static void remove_named(const char *model_id)
{
    struct model_removed *body = stage_event(EVENT_MODEL_REMOVED);
    ck_assert(text_set(&body->model_id, model_id));
    stage_apply();
}

START_TEST(model_removed_is_remembered_until_it_is_taken_in_anew)
{
    const struct hash first = {{1}};
    const struct hash second = {{2}};
    stage_import_model(&node_one, "m", 1);
    remove_named("m");
    ck_assert_ptr_nonnull(state_find_removed(&stage.state, "m", &first));
    ck_assert_ptr_null(state_find_removed(&stage.state, "m", &second));
    ck_assert_ptr_null(state_find_removed(&stage.state, "n", &first));
    stage_import_model(&node_one, "m", 2); /* another revision makes that one no better */
    ck_assert_ptr_nonnull(state_find_removed(&stage.state, "m", &first));
    stage_import_model(&node_one, "m", 1);
    ck_assert_ptr_null(state_find_removed(&stage.state, "m", &first));
}
END_TEST

START_TEST(only_the_last_removed_models_are_remembered)
{
    const struct hash revision = {{1}};
    char name[16];
    for (uint32_t i = 0; i <= REMOVED_COUNT_MAX; i++) {
        (void)snprintf(name, sizeof(name), "m%u", i);
        stage_import_model(&node_one, name, 1);
        remove_named(name);
    }
    ck_assert_uint_eq(stage.state.removed.count, REMOVED_COUNT_MAX);
    ck_assert_ptr_null(state_find_removed(&stage.state, "m0", &revision));
    ck_assert_ptr_nonnull(state_find_removed(&stage.state, name, &revision));
}
END_TEST

START_TEST(model_removed_forgets_what_is_on_its_way)
{
    static const char *const names[] = {"m", "n"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct model_import_requested *asked = stage_event(EVENT_MODEL_IMPORT_REQUESTED);
        asked->import.node_id = node_one;
        ck_assert(text_set(&asked->import.model_id, names[i]));
        stage_apply();
    }
    struct model_removed *body = stage_event(EVENT_MODEL_REMOVED);
    ck_assert(text_set(&body->model_id, "m"));
    stage_apply();
    ck_assert_ptr_null(state_find_import(&stage.state, &node_one, "m"));
    ck_assert_ptr_nonnull(state_find_import(&stage.state, &node_one, "n"));
}
END_TEST

/* ---- about what is gone ---- */

START_TEST(events_about_a_model_that_is_gone_change_nothing)
{
    stage_import_model(&node_two, "m", 1);
    store_small_files(&node_one, 2);
    stage_apply_in_vain();
    change_holding(2, true, true);
    stage_apply_in_vain();
    struct model_removed *removed = stage_event(EVENT_MODEL_REMOVED);
    ck_assert(text_set(&removed->model_id, "gone"));
    stage_apply_in_vain();
    struct model_import_failed *failed = stage_event(EVENT_MODEL_IMPORT_FAILED);
    failed->node_id = node_one;
    ck_assert(text_set(&failed->model_id, "gone"));
    stage_apply_in_vain();
}
END_TEST

START_TEST(events_about_a_node_token_or_client_that_is_gone_change_nothing)
{
    stage_add_node(&node_one, "one");
    create_token(1, UINT64_MAX);
    admit_client(1, ROLE_READ);
    stage_open_endpoint(&node_one, ACTOR_GATEWAY, 5);
    struct node_removed *removed = stage_event(EVENT_NODE_REMOVED);
    removed->node_id = node_two;
    stage_apply_in_vain();
    struct node_described *described = stage_event(EVENT_NODE_DESCRIBED);
    described->node.node_id = node_two;
    described->node.cores = 4;
    stage_apply_in_vain();
    struct token_revoked *revoked = stage_event(EVENT_TOKEN_REVOKED);
    revoked->key.bytes[0] = 9;
    stage_apply_in_vain();
    struct client_removed *client = stage_event(EVENT_CLIENT_REMOVED);
    client->key.bytes[0] = 9;
    stage_apply_in_vain();
    struct process_ended *ended = stage_event(EVENT_PROCESS_ENDED);
    ended->node_id = node_two;
    ended->actor = ACTOR_GATEWAY;
    ended->incarnation = 5;
    stage_apply_in_vain();
}
END_TEST

START_TEST(what_is_full_takes_no_more)
{
    for (uint8_t i = 1; i <= NODE_COUNT_MAX; i++) {
        const struct node_id node_id = {{i}};
        stage_add_node(&node_id, "n");
    }
    struct node_admitted *node = stage_event(EVENT_NODE_ADMITTED);
    node->node.node_id.bytes[0] = 200;
    stage_apply_in_vain();
    for (uint8_t i = 1; i <= CLIENT_COUNT_MAX; i++)
        admit_client(i, ROLE_READ);
    struct client_admitted *client = stage_event(EVENT_CLIENT_ADMITTED);
    client->client.key.bytes[0] = 200;
    stage_apply_in_vain();
}
END_TEST

Suite *suite_of_tests(void)
{
    const TTest *const every[] = {
        an_index_gap_is_refused,
        a_message_that_is_no_event_is_refused,
        every_event_has_a_meaning,
        command_keys_are_kept_up_to_their_cap_oldest_first,
        the_sequence_of_each_incarnation_is_kept,
        the_oldest_incarnation_makes_room,
    };
    const TTest *const members[] = {
        cluster_founded_names_the_cluster_and_its_first_node,
        node_admitted_adds_the_node_and_spends_its_token,
        node_admitted_again_replaces_what_was_known,
        node_removed_forgets_its_endpoints_imports_and_holdings,
        node_described_tells_facts_but_neither_key_nor_view,
        an_endpoint_is_reached_where_its_node_is,
        token_created_again_replaces_it,
        spent_and_expired_tokens_make_room_oldest_first,
        token_revoked_forgets_it,
        client_admitted_adds_it_or_changes_its_role,
        client_removed_forgets_it,
        epoch_begun_names_the_leader_and_its_view,
        view_changed_takes_nodes_in_and_out,
        a_view_cut_short_names_no_node_by_its_rest,
    };
    const TTest *const processes[] = {
        endpoint_opened_is_the_one_of_its_actor,
        endpoint_closed_forgets_that_life_only,
        process_ended_closes_its_endpoint,
        process_given_up_is_told_until_it_opens_an_endpoint_again,
    };
    const TTest *const models[] = {
        model_import_requested_is_remembered_with_its_event,
        model_imported_ends_the_import_and_makes_a_holder,
        model_imported_in_another_revision_replaces_it,
        model_imported_names_what_had_no_names,
        model_pinned_is_kept_for_the_name,
        model_import_failed_ends_the_import,
        small_files_stored_makes_a_holder_without_weights,
        holding_changed_tells_what_a_node_has,
        model_removed_forgets_it,
        model_removed_forgets_what_is_on_its_way,
        model_removed_is_remembered_until_it_is_taken_in_anew,
        only_the_last_removed_models_are_remembered,
    };
    const TTest *const gone[] = {
        events_about_a_model_that_is_gone_change_nothing,
        events_about_a_node_token_or_client_that_is_gone_change_nothing,
        what_is_full_takes_no_more,
    };
    Suite *suite = suite_create("protocol/apply");
    stage_suite_add(suite, "every event", every, COUNT_OF(every));
    stage_suite_add(suite, "members", members, COUNT_OF(members));
    stage_suite_add(suite, "processes", processes, COUNT_OF(processes));
    stage_suite_add(suite, "models", models, COUNT_OF(models));
    stage_suite_add(suite, "gone", gone, COUNT_OF(gone));
    return suite;
}
