/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/downloader/downloader.h"
#include "protocol/memory.h"
#include "tests/support/check_main.h"
#include "tests/support/step_bench.h"

#include <stdio.h>
#include <string.h>

static const struct node_id own = {{1}};
static const struct command_key task_key = {{9}};
static const struct session_settings settings = {.actor = ACTOR_DOWNLOADER, .incarnation = 5,
                                                 .build = "test", .wants_events = true};

static struct step_bench bench;

static void fill_model(struct model_record *model, const char *model_id, uint8_t revision)
{
    struct file_entry *file =
        record_list_push(&file_entry_type, RECORD_LIST(model->files), NULL, 10);
    ck_assert(file && text_set(&file->name, "config.json") && text_set(&model->model_id, model_id));
    file->size = 2;
    model->revision.bytes[0] = revision;
}

static void add_model(struct state *state, const char *model_id, uint8_t revision, bool is_held,
                      bool has_weights)
{
    struct model_record *model =
        record_list_push(&model_record_type, RECORD_LIST(state->models), NULL, 10);
    ck_assert_ptr_nonnull(model);
    fill_model(model, model_id, revision);
    const struct holder_record holder = {.node_id = own, .has_weights = has_weights};
    if (is_held)
        ck_assert_ptr_nonnull(
            record_list_push(&holder_record_type, RECORD_LIST(model->holders), &holder, 10));
}

static void add_import(struct state *state, const char *model_id)
{
    struct import_record *import =
        record_list_push(&import_record_type, RECORD_LIST(state->imports), NULL, 10);
    ck_assert(import && text_set(&import->model_id, model_id) && text_set(&import->path, "/m"));
    import->node_id = own;
}

/* Started, welcomed, with that state; what it looked for is not answered yet. */
static void begin(struct state *state)
{
    step_bench_open(&bench, &downloader_ops, &settings);
    bench_feed(&bench, (struct input){.kind = INPUT_START});
    bench_welcome(&bench, &own);
    bench_state(&bench, state);
    state_fini(state);
}

static struct store_found *nothing_found(void)
{
    struct store_found *found = memory_zeroed(1, sizeof(*found));
    ck_assert_ptr_nonnull(found);
    return found;
}

static void found_model(struct store_found *found, const char *model_id, uint8_t revision,
                        enum model_holding holding)
{
    fill_model(&found->models[found->count].record, model_id, revision);
    found->models[found->count++].holding = holding;
}

static void answer_look(struct store_found *found)
{
    bench_result(&bench, bench_effect(&bench, DOWNLOADER_LOOK), STATUS_OK, "", found,
                 store_found_free);
    ck_assert_int_eq(bench.failed, STATUS_OK);
}

/* From a directory, or from the hub when `path` is empty. */
static void give_task(const char *model_id, const char *path, const char *hub_revision)
{
    struct message task;
    ck_assert_int_eq(message_init(&task, MESSAGE_TASK, TASK_IMPORT_MODEL), STATUS_OK);
    task.head.key = task_key;
    task.head.route = ACTOR_DOWNLOADER;
    struct import_model *body = task.body;
    ck_assert(text_set(&body->model_id, model_id) && text_set(&body->path, path) &&
              text_set(&body->hub_revision, hub_revision));
    bench_message(&bench, peer_of_link(SESSION_LINK), &task);
}

static void give_import(const char *model_id)
{
    give_task(model_id, "/m", "");
}

static const struct task_held *held_answer(void)
{
    const struct message *answer = bench_sent(&bench, MESSAGE_ANSWER, ANSWER_TASK_HELD);
    ck_assert_ptr_nonnull(answer);
    ck_assert(ID_EQUAL(answer->head.key, task_key));
    return MESSAGE_BODY(answer, task_held);
}

START_TEST(it_is_ready_when_it_is_welcome_and_looks_when_it_has_the_state)
{
    struct state state;
    state_init(&state);
    step_bench_open(&bench, &downloader_ops, &settings);
    bench_feed(&bench, (struct input){.kind = INPUT_START});
    ck_assert_int_eq(bench_link(&bench, OUTBOX_LINK_OPEN)->peer.link, SESSION_LINK);
    ck_assert_uint_eq(bench.ready_count, 0);
    bench_welcome(&bench, &own);
    ck_assert_uint_eq(bench.ready_count, 1);
    ck_assert_ptr_null(bench_effect(&bench, DOWNLOADER_LOOK));
    bench_state(&bench, &state);
    ck_assert_ptr_nonnull(bench_effect(&bench, DOWNLOADER_LOOK));
    answer_look(nothing_found());
    ck_assert_uint_eq(bench.ready_count, 1);
    bench_feed(&bench, (struct input){.kind = INPUT_STOP});
    ck_assert(bench.has_exited);
    step_bench_close(&bench);
}
END_TEST

START_TEST(an_import_is_held_done_once_and_reported_whole)
{
    struct state state;
    state_init(&state);
    add_import(&state, "org/m");
    begin(&state);
    answer_look(nothing_found());
    give_import("org/m");
    ck_assert_uint_eq(held_answer()->phase, TASK_RUNNING);
    give_import("org/m");
    ck_assert_uint_eq(bench_effect_count(&bench, DOWNLOADER_IMPORT), 1);
    ck_assert_uint_eq(bench_sent_count(&bench, MESSAGE_ANSWER, ANSWER_TASK_HELD), 2);
    const struct import_request *request = bench_effect(&bench, DOWNLOADER_IMPORT)->request;
    ck_assert_str_eq(request->model_id, "org/m");
    ck_assert_str_eq(request->path, "/m");
    struct model_record *record = memory_zeroed(1, sizeof(*record));
    fill_model(record, "org/m", 3);
    bench_result(&bench, bench_effect(&bench, DOWNLOADER_IMPORT), STATUS_OK, "", record,
                 model_record_free);
    ck_assert_uint_eq(held_answer()->phase, TASK_DONE);
    const struct message *report = bench_sent(&bench, MESSAGE_REPORT, REPORT_MODEL_IMPORTED);
    ck_assert_ptr_nonnull(report);
    ck_assert_str_eq(MESSAGE_BODY(report, model_imported)->model.model_id, "org/m");
    ck_assert(ID_EQUAL(MESSAGE_BODY(report, model_imported)->node_id, own));
    give_import("org/m"); /* the planner has not seen the event yet */
    ck_assert_uint_eq(held_answer()->phase, TASK_DONE);
    ck_assert_uint_eq(bench_effect_count(&bench, DOWNLOADER_IMPORT), 1);
    struct message event;
    ck_assert_int_eq(message_init(&event, MESSAGE_EVENT, EVENT_MODEL_IMPORTED), STATUS_OK);
    struct model_imported *body = event.body;
    body->node_id = own;
    fill_model(&body->model, "org/m", 3);
    bench_event(&bench, &event);
    give_import("org/m"); /* asked for anew: the same name has the same key */
    ck_assert_uint_eq(bench_effect_count(&bench, DOWNLOADER_IMPORT), 2);
    step_bench_close(&bench);
}
END_TEST

START_TEST(a_failed_import_is_reported_with_its_sentence)
{
    struct state state;
    state_init(&state);
    add_import(&state, "org/m");
    begin(&state);
    give_import("org/m");
    bench_result(&bench, bench_effect(&bench, DOWNLOADER_IMPORT), STATUS_UNSUPPORTED,
                 "model type mamba9 is not known", NULL, NULL);
    const struct message *report =
        bench_sent(&bench, MESSAGE_REPORT, REPORT_MODEL_IMPORT_FAILED);
    ck_assert_ptr_nonnull(report);
    const struct model_import_failed *body = MESSAGE_BODY(report, model_import_failed);
    ck_assert_str_eq(body->reason, "model type mamba9 is not known");
    ck_assert_uint_eq(body->status, STATUS_UNSUPPORTED);
    const struct message *answer = bench_sent(&bench, MESSAGE_ANSWER, ANSWER_TASK_HELD);
    ck_assert_uint_eq(answer->head.status, STATUS_UNSUPPORTED);
    ck_assert_uint_eq(held_answer()->phase, TASK_FAILED);
    step_bench_close(&bench);
}
END_TEST

START_TEST(progress_becomes_a_signal_with_an_expiry)
{
    struct state state;
    state_init(&state);
    begin(&state);
    struct import_progressed *progressed = memory_zeroed(1, sizeof(*progressed));
    ck_assert(text_set(&progressed->model_id, "org/m"));
    progressed->bytes_have = 5;
    progressed->bytes_total = 10;
    const struct effect effect = {.id = 1, .kind = DOWNLOADER_PROGRESS};
    bench_result(&bench, &effect, STATUS_OK, "", progressed, import_progressed_free);
    const struct message *signal = bench_sent(&bench, MESSAGE_SIGNAL, SIGNAL_IMPORT_PROGRESSED);
    ck_assert_ptr_nonnull(signal);
    ck_assert_uint_gt(signal->head.expires_ms, bench.now_ms);
    ck_assert_uint_eq(MESSAGE_BODY(signal, import_progressed)->bytes_have, 5);
    step_bench_close(&bench);
}
END_TEST

START_TEST(what_the_disk_holds_is_told_where_the_state_differs)
{
    struct state state;
    state_init(&state);
    add_model(&state, "same", 1, true, true);
    add_model(&state, "gone", 1, true, true);
    add_model(&state, "other-revision", 1, false, false);
    add_model(&state, "lost-weights", 1, true, true);
    begin(&state);
    struct store_found *found = nothing_found();
    found_model(found, "same", 1, MODEL_WHOLE);
    found_model(found, "other-revision", 2, MODEL_WHOLE);
    found_model(found, "lost-weights", 1, MODEL_SMALL_FILES);
    found_model(found, "unknown", 7, MODEL_WHOLE);
    found_model(found, "unknown-small", 7, MODEL_SMALL_FILES);
    found_model(found, "unknown-damaged", 7, MODEL_DAMAGED);
    answer_look(found);
    ck_assert_uint_eq(bench_sent_count(&bench, MESSAGE_REPORT, REPORT_HOLDING_CHANGED), 2);
    ck_assert_uint_eq(bench_sent_count(&bench, MESSAGE_REPORT, REPORT_MODEL_IMPORTED), 1);
    for (size_t i = 0; i < bench.sent_count; i++) {
        if (!message_is(&bench.sent[i].message, MESSAGE_REPORT, REPORT_HOLDING_CHANGED))
            continue;
        const struct holding_changed *body =
            MESSAGE_BODY(&bench.sent[i].message, holding_changed);
        const bool is_gone = strcmp(body->model_id, "gone") == 0;
        ck_assert(is_gone || strcmp(body->model_id, "lost-weights") == 0);
        ck_assert(body->has_small_files == !is_gone && !body->has_weights);
    }
    const struct message *report = bench_sent(&bench, MESSAGE_REPORT, REPORT_MODEL_IMPORTED);
    ck_assert_str_eq(MESSAGE_BODY(report, model_imported)->model.model_id, "unknown");
    step_bench_close(&bench);
}
END_TEST

static void add_weights(struct model_record *model)
{
    for (uint32_t i = 0; i < 9; i++) {
        struct file_entry *file =
            record_list_push(&file_entry_type, RECORD_LIST(model->files), NULL, 10);
        const char name[] = {(char)('m' + i), '\0'};
        ck_assert(file && text_set(&file->name, name));
        file->is_weight = true;
    }
}

/* One shard is gone: what is left of them is told, and told once. */
START_TEST(a_lost_weight_file_is_told_as_such)
{
    static const uint8_t left[] = {0xfe, 0x01};
    for (uint32_t turn = 0; turn < 2; turn++) {
        struct state state;
        state_init(&state);
        add_model(&state, "parts", 1, true, turn == 0);
        struct model_record *model = &state.models.items[0];
        add_weights(model);
        if (turn == 1)
            ck_assert(bytes_set(&model->holders.items[0].held, left, sizeof(left)));
        begin(&state);
        struct store_found *found = nothing_found();
        found_model(found, "parts", 1, MODEL_SMALL_FILES);
        add_weights(&found->models[0].record);
        memcpy(found->models[0].held, left, sizeof(left));
        found->models[0].held[0] |= 1; /* the small file, which every holder has */
        answer_look(found);
        const struct message *report = bench_sent(&bench, MESSAGE_REPORT, REPORT_HOLDING_CHANGED);
        ck_assert_int_eq(report != NULL, turn == 0);
        if (report) {
            const struct holding_changed *body = MESSAGE_BODY(report, holding_changed);
            ck_assert(body->has_small_files && !body->has_weights);
            ck_assert_uint_eq(body->held.count, 2);
            ck_assert_uint_eq(body->held.items[0] & 0xfeu, left[0]);
            ck_assert_uint_eq(body->held.items[1], left[1]);
        }
        step_bench_close(&bench);
    }
}
END_TEST

/* Weights of a download that ended may lie beside them. */
START_TEST(small_files_that_came_are_reason_to_look)
{
    for (uint8_t node = 1; node <= 2; node++) {
        struct state state;
        state_init(&state);
        add_model(&state, "m", 1, false, false);
        begin(&state);
        answer_look(nothing_found());
        struct message event;
        ck_assert_int_eq(message_init(&event, MESSAGE_EVENT, EVENT_SMALL_FILES_STORED), STATUS_OK);
        struct small_files_stored *body = event.body;
        body->node_id = own;
        body->node_id.bytes[1] = node - 1; /* of another, the second time */
        body->revision.bytes[0] = 1;
        ck_assert(text_set(&body->model_id, "m"));
        bench_event(&bench, &event);
        ck_assert_uint_eq(bench_effect_count(&bench, DOWNLOADER_LOOK), node == 1 ? 2 : 1);
        step_bench_close(&bench);
    }
}
END_TEST

START_TEST(what_was_removed_while_it_was_away_is_deleted)
{
    struct state state;
    state_init(&state);
    static const char *const names[] = {"removed", "wanted-again"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct removed_record *removed =
            record_list_push(&removed_record_type, RECORD_LIST(state.removed), NULL, 10);
        ck_assert(removed && text_set(&removed->model_id, names[i]));
        removed->revision.bytes[0] = 7;
    }
    add_import(&state, "wanted-again");
    begin(&state);
    give_import("wanted-again");
    struct store_found *found = nothing_found();
    found_model(found, "removed", 7, MODEL_WHOLE);
    found_model(found, "another", 7, MODEL_WHOLE);
    found_model(found, "wanted-again", 7, MODEL_WHOLE);
    answer_look(found);
    ck_assert_uint_eq(bench_effect_count(&bench, DOWNLOADER_DELETE), 1);
    const struct import_request *request = bench_effect(&bench, DOWNLOADER_DELETE)->request;
    ck_assert_str_eq(request->model_id, "removed");
    ck_assert_uint_eq(bench_sent_count(&bench, MESSAGE_REPORT, REPORT_MODEL_IMPORTED), 1);
    const struct message *report = bench_sent(&bench, MESSAGE_REPORT, REPORT_MODEL_IMPORTED);
    ck_assert_str_eq(MESSAGE_BODY(report, model_imported)->model.model_id, "another");
    ck_assert(MESSAGE_BODY(report, model_imported)->is_found);
    step_bench_close(&bench);
}
END_TEST

static void holding_lost(uint32_t actor)
{
    struct message event;
    ck_assert_int_eq(message_init(&event, MESSAGE_EVENT, EVENT_HOLDING_CHANGED), STATUS_OK);
    struct holding_changed *body = event.body;
    event.head.actor = actor;
    body->node_id = own;
    body->revision.bytes[0] = 1;
    ck_assert(text_set(&body->model_id, "m"));
    bench_event(&bench, &event);
}

/* It reads what the runner only saw to have changed: perhaps it is right. */
START_TEST(what_a_runner_found_changed_is_looked_at)
{
    struct state state;
    state_init(&state);
    add_model(&state, "m", 1, true, true);
    begin(&state);
    struct store_found *found = nothing_found();
    found_model(found, "m", 1, MODEL_WHOLE);
    answer_look(found);
    holding_lost(ACTOR_DOWNLOADER); /* our own word */
    ck_assert_uint_eq(bench_effect_count(&bench, DOWNLOADER_LOOK), 1);
    holding_lost(ACTOR_RUNNER);
    ck_assert_uint_eq(bench_effect_count(&bench, DOWNLOADER_LOOK), 2);
    found = nothing_found();
    found_model(found, "m", 1, MODEL_WHOLE);
    answer_look(found);
    const struct message *report = bench_sent(&bench, MESSAGE_REPORT, REPORT_HOLDING_CHANGED);
    ck_assert_ptr_nonnull(report);
    ck_assert(MESSAGE_BODY(report, holding_changed)->has_weights);
    step_bench_close(&bench);
}
END_TEST

START_TEST(a_look_that_was_overtaken_is_repeated)
{
    struct state state;
    struct message event;
    state_init(&state);
    add_model(&state, "m", 1, false, false);
    begin(&state);
    /* Stored by the transferer after the disk was read. */
    ck_assert_int_eq(message_init(&event, MESSAGE_EVENT, EVENT_SMALL_FILES_STORED), STATUS_OK);
    struct small_files_stored *body = event.body;
    body->node_id = own;
    body->revision.bytes[0] = 1;
    ck_assert(text_set(&body->model_id, "m"));
    bench_event(&bench, &event);
    answer_look(nothing_found());
    ck_assert_uint_eq(bench_effect_count(&bench, DOWNLOADER_LOOK), 2);
    ck_assert_uint_eq(bench_sent_count(&bench, MESSAGE_REPORT, REPORT_HOLDING_CHANGED), 0);
    struct store_found *found = nothing_found();
    found_model(found, "m", 1, MODEL_SMALL_FILES);
    answer_look(found);
    ck_assert_uint_eq(bench_effect_count(&bench, DOWNLOADER_LOOK), 2);
    ck_assert_uint_eq(bench_sent_count(&bench, MESSAGE_REPORT, REPORT_HOLDING_CHANGED), 0);
    step_bench_close(&bench);
}
END_TEST

static void remove_model(const char *model_id)
{
    struct message event;
    ck_assert_int_eq(message_init(&event, MESSAGE_EVENT, EVENT_MODEL_REMOVED), STATUS_OK);
    ck_assert(text_set(&MESSAGE_BODY(&event, model_removed)->model_id, model_id));
    bench_event(&bench, &event);
}

START_TEST(a_removed_model_is_deleted_from_the_disk)
{
    struct state state;
    state_init(&state);
    add_model(&state, "m", 1, true, true);
    begin(&state);
    remove_model("m");
    const struct effect *effect = bench_effect(&bench, DOWNLOADER_DELETE);
    ck_assert_ptr_nonnull(effect);
    ck_assert_str_eq(((const struct import_request *)effect->request)->model_id, "m");
    bench_result(&bench, effect, STATUS_OK, "", NULL, NULL);
    ck_assert_int_eq(bench.failed, STATUS_OK);
    step_bench_close(&bench);
}
END_TEST

/* Files it placed at once would go with the old ones. */
START_TEST(a_model_is_not_taken_in_while_its_old_files_are_deleted)
{
    struct state state;
    state_init(&state);
    add_model(&state, "m", 1, true, true);
    begin(&state);
    remove_model("m");
    const struct effect deletion = *bench_effect(&bench, DOWNLOADER_DELETE);
    give_task("m", "", "");
    ck_assert_uint_eq(bench_effect_count(&bench, DOWNLOADER_PULL), 0);
    const struct message *answer = bench_sent(&bench, MESSAGE_ANSWER, ANSWER_DONE);
    ck_assert_ptr_nonnull(answer);
    ck_assert_uint_eq(answer->head.status, STATUS_BUSY);
    bench_result(&bench, &deletion, STATUS_OK, "", NULL, NULL);
    give_task("m", "", "");
    ck_assert_uint_eq(bench_effect_count(&bench, DOWNLOADER_PULL), 1);
    step_bench_close(&bench);
}
END_TEST

START_TEST(a_model_without_a_path_is_pulled_and_its_removal_cancels_the_pull)
{
    struct state state;
    state_init(&state);
    add_import(&state, "org/m");
    begin(&state);
    answer_look(nothing_found());
    give_task("org/m", "", "v2");
    ck_assert_uint_eq(bench_effect_count(&bench, DOWNLOADER_IMPORT), 0);
    const struct effect pull = *bench_effect(&bench, DOWNLOADER_PULL);
    const struct import_request *request = pull.request;
    ck_assert_str_eq(request->model_id, "org/m");
    ck_assert_str_eq(request->hub_revision, "v2");
    remove_model("org/m");
    ck_assert_uint_eq(bench_effect(&bench, DOWNLOADER_CANCEL)->id, pull.id);
    ck_assert_ptr_nonnull(bench_effect(&bench, DOWNLOADER_DELETE));
    bench_result(&bench, &pull, STATUS_CANCELLED, "cancelled", NULL, NULL);
    ck_assert_int_eq(bench.failed, STATUS_OK);
    const struct effect deletion = *bench_effect(&bench, DOWNLOADER_DELETE);
    bench_result(&bench, &deletion, STATUS_OK, "", NULL, NULL);
    /* It is forgotten: the same task begins anew. */
    give_task("org/m", "", "v2");
    ck_assert_uint_eq(bench_effect_count(&bench, DOWNLOADER_PULL), 2);
    step_bench_close(&bench);
}
END_TEST

START_TEST(it_tells_what_it_holds)
{
    struct state state;
    struct message task;
    state_init(&state);
    begin(&state);
    give_import("org/m");
    ck_assert_int_eq(message_init(&task, MESSAGE_TASK, TASK_LIST_TASKS), STATUS_OK);
    bench_message(&bench, peer_of_link(SESSION_LINK), &task);
    const struct message *answer = bench_sent(&bench, MESSAGE_ANSWER, ANSWER_TASKS);
    ck_assert_ptr_nonnull(answer);
    const struct tasks_listed *listed = MESSAGE_BODY(answer, tasks_listed);
    ck_assert_uint_eq(listed->tasks.count, 1);
    ck_assert(ID_EQUAL(listed->tasks.items[0].key, task_key));
    ck_assert_uint_eq(listed->tasks.items[0].phase, TASK_RUNNING);
    step_bench_close(&bench);
}
END_TEST

/* A directory that somebody deletes while the node runs is missed without a restart. */
START_TEST(it_glances_at_the_store_and_looks_where_something_changed)
{
    struct state state;
    struct store_found *found = nothing_found();
    state_init(&state);
    add_model(&state, "org/kept", 1, true, true);
    add_model(&state, "org/gone", 2, true, true);
    begin(&state);
    found_model(found, "org/kept", 1, MODEL_WHOLE);
    found_model(found, "org/gone", 2, MODEL_WHOLE);
    answer_look(found);
    bench_pass(&bench, DOWNLOADER_GLANCE_MS);
    ck_assert_uint_eq(bench_effect_count(&bench, DOWNLOADER_LOOK), 2);
    ck_assert_uint_eq(bench_effect(&bench, DOWNLOADER_LOOK)->id, LOOK_GLANCE);
    bench_pass(&bench, 5 * DOWNLOADER_GLANCE_MS); /* one at a time */
    ck_assert_uint_eq(bench_effect_count(&bench, DOWNLOADER_LOOK), 2);
    found = nothing_found();
    found_model(found, "org/kept", 1, MODEL_WHOLE);
    answer_look(found);
    ck_assert_uint_eq(bench_sent_count(&bench, MESSAGE_REPORT, REPORT_HOLDING_CHANGED), 0);
    ck_assert_uint_eq(bench_effect(&bench, DOWNLOADER_LOOK)->id, LOOK_WHOLE);
    found = nothing_found();
    found_model(found, "org/kept", 1, MODEL_WHOLE);
    answer_look(found);
    const struct message *report = bench_sent(&bench, MESSAGE_REPORT, REPORT_HOLDING_CHANGED);
    ck_assert_ptr_nonnull(report);
    ck_assert_str_eq(MESSAGE_BODY(report, holding_changed)->model_id, "org/gone");
    ck_assert(!MESSAGE_BODY(report, holding_changed)->has_weights);
    step_bench_close(&bench);
}
END_TEST

static struct store_room *some_room(uint64_t bytes, uint64_t quota)
{
    static const char *const names[] = {"old", "pinned", "running", "stranger", "new"};
    struct store_room *room = memory_zeroed(1, sizeof(*room));
    ck_assert_ptr_nonnull(room);
    (void)snprintf(room->model_id, sizeof(room->model_id), "wanted");
    room->bytes = bytes;
    room->quota = quota;
    room->free_bytes = UINT64_MAX;
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct room_held *held = &room->models[room->count++];
        (void)snprintf(held->model_id, sizeof(held->model_id), "%s", names[i]);
        held->usage = (struct model_usage){.bytes = 10, .used_ms = i};
    }
    return room;
}

START_TEST(room_is_made_of_what_nobody_needs_and_told_first)
{
    struct state state;
    state_init(&state);
    add_model(&state, "old", 1, true, true);
    add_model(&state, "pinned", 2, true, true);
    add_model(&state, "running", 3, true, true);
    add_model(&state, "new", 4, true, true);
    state.models.items[1].is_pinned = true;
    struct instance_record *instance =
        record_list_push(&instance_record_type, RECORD_LIST(state.instances), NULL, 4);
    ck_assert(instance && text_set(&instance->model_id, "running"));
    begin(&state);
    const struct effect effect = {.id = 77, .kind = DOWNLOADER_ROOM};
    bench_result(&bench, &effect, STATUS_OK, "", some_room(5, 50), memory_free);
    const struct effect *made = bench_effect(&bench, DOWNLOADER_ROOM);
    ck_assert_ptr_nonnull(made);
    ck_assert_uint_eq(made->id, 77);
    const struct room_answer *answer = made->request;
    ck_assert_int_eq(answer->status, STATUS_OK);
    ck_assert_uint_eq(answer->count, 1);
    ck_assert_str_eq(answer->names[0], "old");
    const struct message *report = bench_sent(&bench, MESSAGE_REPORT, REPORT_HOLDING_CHANGED);
    ck_assert_ptr_nonnull(report);
    const struct holding_changed *body = MESSAGE_BODY(report, holding_changed);
    ck_assert_str_eq(body->model_id, "old");
    ck_assert(!body->has_small_files && !body->has_weights);
    bench_result(&bench, &effect, STATUS_OK, "", some_room(21, 50), memory_free);
    answer = bench_effect(&bench, DOWNLOADER_ROOM)->request;
    ck_assert_int_eq(answer->status, STATUS_NO_SPACE);
    ck_assert_uint_eq(answer->count, 0);
    step_bench_close(&bench);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("downloader");
    const TTest *const tests[] = {
        it_is_ready_when_it_is_welcome_and_looks_when_it_has_the_state,
        an_import_is_held_done_once_and_reported_whole,
        a_failed_import_is_reported_with_its_sentence,
        progress_becomes_a_signal_with_an_expiry,
        what_the_disk_holds_is_told_where_the_state_differs,
        a_lost_weight_file_is_told_as_such,
        small_files_that_came_are_reason_to_look,
        what_was_removed_while_it_was_away_is_deleted,
        what_a_runner_found_changed_is_looked_at,
        a_look_that_was_overtaken_is_repeated,
        a_removed_model_is_deleted_from_the_disk,
        a_model_is_not_taken_in_while_its_old_files_are_deleted,
        a_model_without_a_path_is_pulled_and_its_removal_cancels_the_pull,
        it_tells_what_it_holds,
        it_glances_at_the_store_and_looks_where_something_changed,
        room_is_made_of_what_nobody_needs_and_told_first,
    };
    suite_add(suite, "step", tests, COUNT_OF(tests));
    return suite;
}
