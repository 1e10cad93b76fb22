/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/download_rules.h"
#include "tests/support/check_main.h"

#include <string.h>

static struct state state;
static struct message command;
static struct message event;
static struct reason reason;

static struct node_record *add_node(uint8_t number, bool in_view)
{
    struct node_record *node =
        record_list_push(&node_record_type, RECORD_LIST(state.nodes), NULL, NODE_COUNT_MAX);
    ck_assert(node && text_set(&node->name, "node"));
    node->node_id.bytes[0] = number;
    node->in_view = in_view;
    return node;
}

static void setup(void)
{
    state_init(&state);
    for (uint8_t i = 1; i <= 3; i++)
        add_node(i, true);
    add_node(4, false);
    ck_assert_int_eq(message_init(&command, MESSAGE_COMMAND, COMMAND_PULL_MODEL), STATUS_OK);
    ck_assert(text_set(&MESSAGE_BODY(&command, pull_model)->model_id, "org/m"));
    memset(&event, 0, sizeof(event));
    reason.text[0] = '\0';
}

static void teardown(void)
{
    message_fini(&command);
    message_fini(&event);
    state_fini(&state);
}

static struct pull_model *body(void)
{
    return MESSAGE_BODY(&command, pull_model);
}

static void apply(void)
{
    event.head.index = state.index + 1;
    ck_assert_int_eq(state_apply(&state, &event), STATUS_OK);
    message_fini(&event);
    memset(&event, 0, sizeof(event));
}

static enum status ask(void)
{
    message_fini(&event);
    memset(&event, 0, sizeof(event));
    return download_rules_pull(&state, &command, &event, &reason);
}

static void to(uint8_t first, uint8_t second)
{
    const struct node_id ids[] = {{{first}}, {{second}}};
    ck_assert(bytes_set(&body()->node_ids, ids, second ? sizeof(ids) : sizeof(ids[0])));
}

static void begin(uint8_t first, uint8_t second)
{
    to(first, second);
    ck_assert_int_eq(ask(), STATUS_OK);
    ck_assert_ptr_nonnull(event.body);
    apply();
}

static struct download_record *download(void)
{
    return state_find_download(&state, "org/m");
}

/* Applies all that the leader has to say; how many events that were. */
static int assign(void)
{
    int count = 0;
    bool has_event = true;
    for (;; count++) {
        ck_assert_int_eq(download_rules_assign(&state, &event, &has_event), STATUS_OK);
        if (!has_event)
            return count;
        ck_assert_int_lt(count, 10);
        apply();
    }
}

/* The hub's answer: one small file and weights of 30, 20 and 10 bytes. */
static void resolve(uint8_t by)
{
    static const struct {
        const char *path;
        uint64_t size;
    } files[] = {{"a.safetensors", 30}, {"b.safetensors", 20}, {"c.safetensors", 10},
                 {"config.json", 1}};
    ck_assert_int_eq(message_init(&event, MESSAGE_EVENT, EVENT_DOWNLOAD_RESOLVED), STATUS_OK);
    struct download_resolved *resolved = event.body;
    resolved->node_id.bytes[0] = by;
    ck_assert(text_set(&resolved->model_id, "org/m") && text_set(&resolved->commit, "c0"));
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        struct download_file *file = record_list_push(
            &download_file_type, RECORD_LIST(resolved->files), NULL, MODEL_FILE_COUNT_MAX);
        ck_assert(file && text_set(&file->path, files[i].path) && text_set(&file->etag, "e"));
        file->size = files[i].size;
        file->is_weight = i < 3;
    }
    apply();
}

static void hinder(uint8_t node, bool is_alone)
{
    ck_assert_int_eq(message_init(&event, MESSAGE_EVENT, EVENT_DOWNLOAD_HINDERED), STATUS_OK);
    struct download_hindered *hindered = event.body;
    hindered->node_id.bytes[0] = node;
    hindered->is_alone = is_alone;
    hindered->status = STATUS_NO_PERMISSION;
    ck_assert(text_set(&hindered->model_id, "org/m") && text_set(&hindered->reason, "gated"));
    apply();
}

static void done(const char *path, uint8_t by)
{
    ck_assert_int_eq(message_init(&event, MESSAGE_EVENT, EVENT_FILE_DOWNLOADED), STATUS_OK);
    struct file_downloaded *downloaded = event.body;
    downloaded->node_id.bytes[0] = by;
    ck_assert(text_set(&downloaded->model_id, "org/m") && text_set(&downloaded->commit, "c0") &&
              text_set(&downloaded->path, path));
    apply();
}

static uint8_t whose(uint32_t file)
{
    return download()->files.items[file].node_id.bytes[0];
}

START_TEST(the_node_asked_is_the_target)
{
    body()->node_id.bytes[0] = 2;
    ck_assert_int_eq(ask(), STATUS_OK);
    apply();
    ck_assert_uint_eq(download()->targets.count, 1);
    ck_assert_uint_eq(state.imports.count, 1);
    ck_assert_uint_eq(state.imports.items[0].node_id.bytes[0], 2);
}
END_TEST

START_TEST(all_are_those_that_are_here)
{
    body()->is_all = true;
    ck_assert_int_eq(ask(), STATUS_OK);
    apply();
    ck_assert_uint_eq(download()->targets.count, 3);
}
END_TEST

START_TEST(an_unknown_node_is_refused)
{
    to(9, 0);
    ck_assert_int_eq(ask(), STATUS_NOT_FOUND);
    ck_assert_ptr_null(event.body);
}
END_TEST

START_TEST(a_node_that_is_away_is_refused)
{
    to(1, 4);
    ck_assert_int_eq(ask(), STATUS_REFUSED);
    ck_assert_ptr_nonnull(strstr(reason.text, "away"));
}
END_TEST

START_TEST(a_second_pull_joins_the_first)
{
    begin(1, 2);
    to(2, 1);
    ck_assert_int_eq(ask(), STATUS_OK);
    ck_assert_ptr_null(event.body); /* nothing new */
    begin(2, 3);
    ck_assert_uint_eq(download()->targets.count, 3);
    ck_assert_uint_eq(state.downloads.count, 1);
    ck_assert_uint_eq(state.imports.count, 3);
}
END_TEST

START_TEST(another_revision_meanwhile_is_refused)
{
    begin(1, 2);
    ck_assert(text_set(&body()->hub_revision, "v2"));
    ck_assert_int_eq(ask(), STATUS_BUSY);
    ck_assert_ptr_nonnull(strstr(reason.text, "main"));
}
END_TEST

START_TEST(a_directory_taken_in_under_that_name_is_waited_for)
{
    struct import_record *import =
        record_list_push(&import_record_type, RECORD_LIST(state.imports), NULL, IMPORT_COUNT_MAX);
    ck_assert(import && text_set(&import->model_id, "org/m") && text_set(&import->path, "/m"));
    import->node_id.bytes[0] = 1;
    to(1, 0);
    ck_assert_int_eq(ask(), STATUS_BUSY);
}
END_TEST

START_TEST(the_first_target_asks_the_hub_and_another_when_it_is_away)
{
    begin(1, 2);
    ck_assert_int_eq(assign(), 1);
    ck_assert_uint_eq(download()->node_id.bytes[0], 1);
    state.nodes.items[0].in_view = false;
    ck_assert_int_eq(assign(), 1);
    ck_assert_uint_eq(download()->node_id.bytes[0], 2);
    ck_assert_int_eq(assign(), 0);
}
END_TEST

START_TEST(the_hub_refuses_the_first_and_the_second_asks)
{
    begin(1, 2);
    (void)assign();
    hinder(1, false);
    (void)assign();
    ck_assert_uint_eq(download()->node_id.bytes[0], 2);
    hinder(2, false);
    ck_assert_int_eq(assign(), 0); /* nobody is left */
}
END_TEST

START_TEST(files_are_spread_by_bytes_and_small_ones_are_there)
{
    begin(1, 2);
    resolve(1);
    ck_assert_int_eq(assign(), 1);
    ck_assert_uint_eq(whose(0), 1); /* 30 */
    ck_assert_uint_eq(whose(1), 2); /* 20 */
    ck_assert_uint_eq(whose(2), 2); /* 20 + 10 */
    ck_assert_uint_eq(whose(3), 1);
    ck_assert(download()->files.items[3].is_done);
}
END_TEST

START_TEST(the_files_of_a_node_that_is_away_go_to_others)
{
    begin(1, 2);
    resolve(1);
    (void)assign();
    state.nodes.items[1].in_view = false;
    ck_assert_int_eq(assign(), 1);
    ck_assert_uint_eq(whose(1), 1);
    ck_assert_uint_eq(whose(2), 1);
    /* It does not get them back. */
    state.nodes.items[1].in_view = true;
    ck_assert_int_eq(assign(), 0);
}
END_TEST

START_TEST(what_was_fetched_stays_with_who_has_it_while_it_is_here)
{
    begin(1, 2);
    resolve(1);
    (void)assign();
    done("b.safetensors", 2);
    /* Its own pull is over; it still gives what it has. */
    ck_assert_int_eq(message_init(&event, MESSAGE_EVENT, EVENT_MODEL_IMPORT_FAILED), STATUS_OK);
    struct model_import_failed *failed = event.body;
    failed->node_id.bytes[0] = 2;
    ck_assert(text_set(&failed->model_id, "org/m"));
    apply();
    ck_assert_int_eq(assign(), 1); /* c, which it had not fetched */
    ck_assert_uint_eq(whose(1), 2);
    ck_assert_uint_eq(whose(2), 1);
    state.nodes.items[1].in_view = false;
    ck_assert_int_eq(assign(), 1);
    ck_assert_uint_eq(whose(1), 1);
    ck_assert(!download()->files.items[1].is_done);
}
END_TEST

/* Node 3 has b of that size, and another a. */
static void hold(void)
{
    struct model_record *model =
        record_list_push(&model_record_type, RECORD_LIST(state.models), NULL, 4);
    const struct holder_record holder = {.node_id = {{3}}, .has_weights = true};
    ck_assert(model && text_set(&model->model_id, "org/m"));
    for (uint32_t i = 0; i < 2; i++) {
        struct file_entry *file =
            record_list_push(&file_entry_type, RECORD_LIST(model->files), NULL, 4);
        ck_assert(file && text_set(&file->name, i ? "b.safetensors" : "a.safetensors"));
        file->size = 20;
    }
    ck_assert_ptr_nonnull(record_list_push(&holder_record_type, RECORD_LIST(model->holders),
                                           &holder, NODE_COUNT_MAX));
}

START_TEST(what_a_holder_has_is_not_fetched_also_when_that_has_begun)
{
    begin(1, 2);
    resolve(1);
    (void)assign();
    ck_assert_uint_eq(whose(1), 2);
    hold();
    ck_assert_int_eq(assign(), 1);
    ck_assert_uint_eq(whose(0), 1); /* of another size */
    ck_assert_uint_eq(whose(1), 3);
    ck_assert(download()->files.items[1].is_done);
    ck_assert_int_eq(assign(), 0);
}
END_TEST

START_TEST(what_a_holder_lacks_comes_from_the_hub)
{
    begin(1, 2);
    resolve(1);
    hold();
    (void)assign();
    ck_assert_int_eq(message_init(&event, MESSAGE_EVENT, EVENT_FILE_LACKING), STATUS_OK);
    struct file_lacking *lacking = event.body;
    lacking->node_id.bytes[0] = 2;
    lacking->holder_node_id.bytes[0] = 3;
    ck_assert(text_set(&lacking->model_id, "org/m") && text_set(&lacking->commit, "c0") &&
              text_set(&lacking->path, "b.safetensors"));
    apply();
    ck_assert_int_eq(assign(), 1);
    ck_assert_uint_lt(whose(1), 3);
    ck_assert(!download()->files.items[1].is_done);
    ck_assert_int_eq(assign(), 0);
}
END_TEST

/* Of files as the hub's, the holder has a subset of, as bits. */
static void hold_some(uint8_t number, const char *held)
{
    static const uint64_t sizes[] = {30, 20, 10};
    struct model_record *model = state_find_model(&state, "org/m");
    if (!model) {
        model = record_list_push(&model_record_type, RECORD_LIST(state.models), NULL, 4);
        ck_assert(model && text_set(&model->model_id, "org/m") && text_set(&model->commit, "c0"));
        for (uint32_t i = 0; i < COUNT_OF(sizes); i++) {
            const char name[] = {(char)('a' + i), '.', 's', 'a', 'f', 'e', 't', 'e', 'n', 's',
                                 'o', 'r', 's', '\0'};
            struct file_entry *file =
                record_list_push(&file_entry_type, RECORD_LIST(model->files), NULL, 4);
            ck_assert(file && text_set(&file->name, name));
            file->size = sizes[i];
            file->is_weight = true;
        }
    }
    ck_assert_int_eq(message_init(&event, MESSAGE_EVENT, EVENT_HOLDING_CHANGED), STATUS_OK);
    struct holding_changed *changed = event.body;
    changed->node_id.bytes[0] = number;
    changed->has_small_files = true;
    ck_assert(text_set(&changed->model_id, "org/m") && bytes_set(&changed->held, held, 1));
    apply();
}

START_TEST(the_hub_is_asked_for_what_no_holder_of_some_files_has)
{
    begin(1, 2);
    resolve(1);
    hold_some(3, "\x01");
    (void)assign();
    ck_assert_uint_eq(whose(0), 3);
    ck_assert(download()->files.items[0].is_done);
    for (uint32_t i = 1; i < 3; i++) {
        ck_assert_uint_ne(whose(i), 3);
        ck_assert(!download()->files.items[i].is_done);
    }
}
END_TEST

START_TEST(a_target_that_has_a_file_is_given_that_one)
{
    begin(1, 2);
    resolve(1);
    hold_some(2, "\x01");
    (void)assign();
    ck_assert_uint_eq(whose(0), 2);
    ck_assert(!download()->files.items[0].is_done); /* it looks, and says so */
    ck_assert_uint_eq(whose(1), 1);
    ck_assert_uint_eq(whose(2), 1);
}
END_TEST

START_TEST(a_node_the_hub_gives_nothing_fetches_nothing)
{
    begin(1, 2);
    resolve(1);
    hinder(2, false);
    (void)assign();
    for (uint32_t i = 0; i < 3; i++)
        ck_assert_uint_eq(whose(i), 1);
}
END_TEST

START_TEST(without_peers_nobody_is_assigned_anything)
{
    body()->no_peers = true;
    begin(1, 2);
    ck_assert_int_eq(assign(), 0);
}
END_TEST

/* The holder has a file of that name and size, but the hub's is another. */
START_TEST(a_file_of_another_hash_is_not_taken_from_a_holder)
{
    begin(1, 2);
    resolve(1);
    (void)assign();
    hold();
    ck_assert(text_set(&state.models.items[0].files.items[1].etag, "other"));
    ck_assert_int_eq(assign(), 0);
    ck_assert_uint_eq(whose(1), 2);
    ck_assert(text_set(&state.models.items[0].files.items[1].etag, "e"));
    ck_assert_int_eq(assign(), 1);
    ck_assert_uint_eq(whose(1), 3);
}
END_TEST

static void lack(uint8_t by, uint8_t holder, const char *path)
{
    ck_assert_int_eq(message_init(&event, MESSAGE_EVENT, EVENT_FILE_LACKING), STATUS_OK);
    struct file_lacking *lacking = event.body;
    lacking->node_id.bytes[0] = by;
    lacking->holder_node_id.bytes[0] = holder;
    ck_assert(text_set(&lacking->model_id, "org/m") && text_set(&lacking->commit, "c0") &&
              text_set(&lacking->path, path));
    apply();
}

START_TEST(the_files_of_a_node_that_answers_nobody_go_to_another)
{
    begin(1, 2);
    resolve(1);
    (void)assign();
    ck_assert_uint_eq(whose(1), 2);
    lack(1, 2, "b.safetensors");
    ck_assert_int_eq(assign(), 1);
    for (uint32_t i = 0; i < 3; i++)
        ck_assert_uint_eq(whose(i), 1);
    ck_assert_int_eq(assign(), 0);
}
END_TEST

/* ---- a peer is complete ---- */

/* Node `number` has all of the commit, by an event of its own. */
static void complete(uint8_t number, const char *commit)
{
    ck_assert_int_eq(message_init(&event, MESSAGE_EVENT, EVENT_MODEL_IMPORTED), STATUS_OK);
    struct model_imported *imported = event.body;
    imported->node_id.bytes[0] = number;
    imported->model.revision.bytes[0] = (uint8_t)commit[1];
    ck_assert(text_set(&imported->model.model_id, "org/m") &&
              text_set(&imported->model.commit, commit));
    apply();
}

/* Applies the pauses that are due; how many. */
static int pause(void)
{
    int count = 0;
    bool has_event = true;
    for (;; count++) {
        ck_assert_int_eq(download_rules_pause(&state, &event, &has_event), STATUS_OK);
        if (!has_event)
            return count;
        ck_assert_int_lt(count, 10);
        apply();
    }
}

static struct download_target *target(uint8_t number)
{
    const struct node_id id = {{number}};
    return download_find_target(download(), &id);
}

START_TEST(once_a_peer_is_complete_the_hub_is_asked_no_more)
{
    begin(1, 2);
    resolve(1);
    (void)assign();
    ck_assert_int_eq(pause(), 0);
    complete(3, "c0");
    ck_assert_int_eq(pause(), 2);
    ck_assert(target(1)->is_paused && target(2)->is_paused);
    /* Somebody asked for both: they go on, from the peer. */
    ck_assert(!download_target_rests(&state, download(), target(1)));
    ck_assert_int_eq(pause(), 0);
}
END_TEST

START_TEST(also_of_a_pull_without_peers)
{
    body()->no_peers = true;
    begin(1, 2);
    resolve(1);
    complete(3, "c0");
    ck_assert_int_eq(pause(), 2);
}
END_TEST

START_TEST(a_peer_that_was_complete_before_or_has_another_commit_pauses_nothing)
{
    complete(3, "c0");
    begin(1, 2);
    resolve(1);
    ck_assert_int_eq(pause(), 0);
    complete(1, "c1");
    ck_assert_int_eq(pause(), 0);
}
END_TEST

START_TEST(peers_that_are_complete_together_pause_as_one_does)
{
    begin(1, 0);
    resolve(1);
    hold_some(2, "\x01");
    ck_assert_int_eq(pause(), 0);
    hold_some(3, "\x02");
    ck_assert_int_eq(pause(), 0); /* nobody has the third */
    hold_some(3, "\x06");
    ck_assert_int_eq(pause(), 1);
    ck_assert(target(1)->is_paused);
    /* Nobody answered: they are not waited for again before they have more. */
    hinder(1, true);
    ck_assert(!target(1)->is_paused);
    hold_some(3, "\x06");
    ck_assert_int_eq(pause(), 0);
}
END_TEST

START_TEST(a_peer_that_is_away_pauses_nothing)
{
    begin(1, 2);
    resolve(1);
    complete(4, "c0");
    ck_assert_int_eq(pause(), 0);
    state_find_node(&state, &(struct node_id){{4}})->in_view = true;
    ck_assert_int_eq(pause(), 2);
}
END_TEST

START_TEST(a_paused_one_that_nobody_answers_goes_back_to_the_hub)
{
    begin(1, 0);
    resolve(1);
    complete(3, "c0");
    ck_assert_int_eq(pause(), 1);
    hinder(1, true);
    ck_assert(target(1)->is_alone && !target(1)->is_paused);
    ck_assert_int_eq(pause(), 0); /* not for the same peer */
    complete(2, "c0");
    ck_assert_int_eq(pause(), 1);
    ck_assert(!target(1)->is_alone);
}
END_TEST

/* ---- for instances ---- */

/* As duties do it: node 1 downloads for an instance alone. */
static void begin_for_instance(void)
{
    to(1, 0);
    ck_assert_int_eq(ask(), STATUS_OK);
    MESSAGE_BODY(&event, download_requested)->download.targets.items[0].is_for_placement = true;
    apply();
    resolve(1);
    struct instance_record *instance =
        record_list_push(&instance_record_type, RECORD_LIST(state.instances), NULL, 4);
    ck_assert(instance && text_set(&instance->model_id, "org/m"));
}

static bool cancels(void)
{
    bool has_event = false;
    message_fini(&event);
    memset(&event, 0, sizeof(event));
    ck_assert_int_eq(download_rules_cancel(&state, &event, &has_event), STATUS_OK);
    return has_event;
}

START_TEST(a_paused_one_goes_on_only_if_pinned_or_asked_for)
{
    const struct node_id one = {{1}};
    begin_for_instance();
    ck_assert_int_eq(download_rules_continue(&state, "org/m", &one), DOWNLOAD_IS_NONE);
    complete(3, "c0");
    ck_assert_int_eq(pause(), 1);
    ck_assert(download_target_rests(&state, download(), target(1)));
    state_find_model(&state, "org/m")->is_pinned = true;
    ck_assert(!download_target_rests(&state, download(), target(1)));
    state_find_model(&state, "org/m")->is_pinned = false;
    ck_assert(!cancels()); /* it rests as long as there is an instance */
    begin(1, 0);
    ck_assert(!download_target_rests(&state, download(), target(1)));
}
END_TEST

START_TEST(one_that_rests_goes_on_when_an_instance_needs_the_copy)
{
    const struct node_id one = {{1}};
    begin_for_instance();
    complete(3, "c0");
    ck_assert_int_eq(pause(), 1);
    ck_assert_int_eq(download_rules_continue(&state, "org/m", &one), DOWNLOAD_GOES_ON);
    ck_assert_int_eq(download_rules_want("org/m", &one, &event), STATUS_OK);
    apply();
    ck_assert_int_eq(download_rules_continue(&state, "org/m", &one), DOWNLOAD_WAITS);
    ck_assert_int_eq(state.imports.count, 1);
}
END_TEST

START_TEST(what_only_a_deleted_instance_wanted_ends)
{
    begin_for_instance();
    ck_assert(!cancels());
    record_list_remove(&instance_record_type, RECORD_LIST(state.instances), 0);
    ck_assert(cancels());
    ck_assert_int_eq(MESSAGE_BODY(&event, model_import_failed)->status, STATUS_CANCELLED);
    apply();
    ck_assert_ptr_null(download());
    ck_assert_uint_eq(state.imports.count, 0);
    ck_assert(!cancels());
}
END_TEST

START_TEST(what_somebody_asked_for_too_does_not_end_with_the_instance)
{
    begin_for_instance();
    begin(1, 2);
    record_list_remove(&instance_record_type, RECORD_LIST(state.instances), 0);
    ck_assert(!cancels());
}
END_TEST

/* ---- the end ---- */

static void target_fails(uint8_t number, const char *why)
{
    ck_assert_int_eq(message_init(&event, MESSAGE_EVENT, EVENT_MODEL_IMPORT_FAILED), STATUS_OK);
    struct model_import_failed *failed = event.body;
    failed->node_id.bytes[0] = number;
    failed->status = STATUS_NO_SPACE;
    ck_assert(text_set(&failed->model_id, "org/m") && text_set(&failed->reason, why));
    apply();
}

START_TEST(how_each_target_ended_is_kept_of_the_last)
{
    const struct node_id one = {{1}};
    const struct node_id two = {{2}};
    begin(1, 2);
    resolve(1);
    target_fails(2, "the disk is full");
    complete(1, "c0");
    ck_assert_ptr_null(download());
    const struct download_end *end = state_find_download_end(&state, "org/m", &two);
    ck_assert_ptr_nonnull(end);
    ck_assert_uint_eq(end->status, STATUS_NO_SPACE);
    ck_assert_str_eq(end->reason, "the disk is full");
    ck_assert_str_eq(end->commit, "c0");
    ck_assert_uint_gt(end->ended_index, end->requested_index);
    ck_assert_uint_eq(state_find_download_end(&state, "org/m", &one)->status, STATUS_OK);
    for (int i = 0; i < 2 * DOWNLOAD_END_COUNT_MAX; i++) {
        begin(2, 0);
        target_fails(2, i % 2 ? "odd" : "even");
    }
    ck_assert_uint_eq(state.download_ends.count, DOWNLOAD_END_COUNT_MAX);
    ck_assert_str_eq(state_find_download_end(&state, "org/m", &two)->reason, "odd");
    ck_assert_ptr_null(state_find_download_end(&state, "org/m", &one));
}
END_TEST

START_TEST(a_download_ends_with_its_last_target)
{
    begin(1, 2);
    for (uint8_t i = 1; i <= 2; i++) {
        ck_assert_ptr_nonnull(download());
        ck_assert_int_eq(message_init(&event, MESSAGE_EVENT, EVENT_NODE_REMOVED), STATUS_OK);
        MESSAGE_BODY(&event, node_removed)->node_id.bytes[0] = i;
        apply();
    }
    ck_assert_ptr_null(download());
}
END_TEST

START_TEST(a_model_that_is_removed_is_not_pulled_any_more)
{
    begin(1, 2);
    ck_assert_int_eq(message_init(&event, MESSAGE_EVENT, EVENT_MODEL_REMOVED), STATUS_OK);
    ck_assert(text_set(&MESSAGE_BODY(&event, model_removed)->model_id, "org/m"));
    apply();
    ck_assert_ptr_null(download());
    ck_assert_uint_eq(state.imports.count, 0);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("download rules");
    const TTest *const tests[] = {
        the_node_asked_is_the_target,
        all_are_those_that_are_here,
        an_unknown_node_is_refused,
        a_node_that_is_away_is_refused,
        a_second_pull_joins_the_first,
        another_revision_meanwhile_is_refused,
        a_directory_taken_in_under_that_name_is_waited_for,
        the_first_target_asks_the_hub_and_another_when_it_is_away,
        the_hub_refuses_the_first_and_the_second_asks,
        files_are_spread_by_bytes_and_small_ones_are_there,
        the_files_of_a_node_that_is_away_go_to_others,
        what_was_fetched_stays_with_who_has_it_while_it_is_here,
        what_a_holder_has_is_not_fetched_also_when_that_has_begun,
        the_hub_is_asked_for_what_no_holder_of_some_files_has,
        a_target_that_has_a_file_is_given_that_one,
        what_a_holder_lacks_comes_from_the_hub,
        a_node_the_hub_gives_nothing_fetches_nothing,
        without_peers_nobody_is_assigned_anything,
        a_file_of_another_hash_is_not_taken_from_a_holder,
        the_files_of_a_node_that_answers_nobody_go_to_another,
        once_a_peer_is_complete_the_hub_is_asked_no_more,
        also_of_a_pull_without_peers,
        peers_that_are_complete_together_pause_as_one_does,
        a_peer_that_was_complete_before_or_has_another_commit_pauses_nothing,
        a_peer_that_is_away_pauses_nothing,
        a_paused_one_that_nobody_answers_goes_back_to_the_hub,
        a_paused_one_goes_on_only_if_pinned_or_asked_for,
        one_that_rests_goes_on_when_an_instance_needs_the_copy,
        what_only_a_deleted_instance_wanted_ends,
        what_somebody_asked_for_too_does_not_end_with_the_instance,
        how_each_target_ended_is_kept_of_the_last,
        a_download_ends_with_its_last_target,
        a_model_that_is_removed_is_not_pulled_any_more,
    };
    TCase *group = tcase_create("rules");
    tcase_add_checked_fixture(group, setup, teardown);
    for (size_t i = 0; i < COUNT_OF(tests); i++)
        tcase_add_test(group, tests[i]);
    suite_add_tcase(suite, group);
    return suite;
}
