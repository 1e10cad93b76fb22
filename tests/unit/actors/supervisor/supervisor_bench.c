/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/actors/supervisor/supervisor_bench.h"

#include "protocol/memory.h"

#include <stdio.h>
#include <string.h>

static const struct actor_row rows[] = {
    {ACTOR_MASTER, "master", RESTART_ALWAYS, 1000, 500},
    {ACTOR_PLANNER, "planner", RESTART_ALWAYS, 800, 300},
    {ACTOR_GATEWAY, "gateway", RESTART_ALWAYS, 800, 400},
    {ACTOR_LAUNCHER, "launcher", RESTART_ASKED, 1000, 200},
    {ACTOR_RUNNER, "runner", RESTART_ASKED, 1000, 300},
};

struct supervisor_bench bench;

static void keep_effect(const struct effect *effect)
{
    if (effect->kind == SUPERVISOR_PING) {
        bench.pinged[bench.pinged_count++] = effect->id;
        return;
    }
    ck_assert_uint_lt(bench.done_count, DONE_MAX);
    struct done *done = &bench.done[bench.done_count++];
    *done = (struct done){.kind = effect->kind, .id = effect->id, .at_ms = bench.now_ms};
    if (effect->kind == SUPERVISOR_SPAWN) {
        const struct spawn_request *request = effect->request;
        (void)snprintf(done->name, sizeof(done->name), "%s", request->row->name);
        done->incarnation = request->incarnation;
    }
    if (effect->kind == SUPERVISOR_SAY)
        (void)snprintf(bench.said, sizeof(bench.said), "%s",
                       ((const struct say_request *)effect->request)->text);
}

static void keep_items(void)
{
    for (size_t i = 0; i < bench.outbox.count; i++) {
        const struct outbox_item *item = &bench.outbox.items[i];
        if (item->kind == OUTBOX_EFFECT)
            keep_effect(&item->effect);
        if (item->kind == OUTBOX_READY)
            bench.ready_count++;
        if (item->kind == OUTBOX_STATUS)
            (void)snprintf(bench.status, sizeof(bench.status), "%s", (const char *)item->bytes);
        if (item->kind == OUTBOX_EXIT) {
            bench.has_exited = true;
            bench.exit_code = item->exit_code;
        }
        if (item->kind == OUTBOX_SEND) {
            ck_assert_uint_lt(bench.sent_count, SENT_MAX);
            ck_assert_int_eq(message_decode(item->bytes, item->size,
                                            &bench.sent[bench.sent_count++], NULL),
                             STATUS_OK);
        }
    }
    outbox_clear(&bench.outbox);
}

void feed(struct input input)
{
    struct reason reason = {""};
    input.now_ms = bench.now_ms;
    input.wall_ms = bench.now_ms;
    input.random = bench.random += 77;
    ck_assert_int_eq(supervisor_ops.step(bench.actor, &input, &bench.outbox, &reason), STATUS_OK);
    ck_assert_int_eq(bench.outbox.failed, STATUS_OK);
    keep_items();
}

void bench_open(void)
{
    bench.settings = (struct supervisor_settings){.rows = rows,
                                                  .row_count = COUNT_OF(rows),
                                                  .hang_ms = 1000,
                                                  .ping_ms = 200,
                                                  .deaths_max = 5,
                                                  .deaths_window_ms = 60000,
                                                  .backoff_min_ms = 200,
                                                  .backoff_max_ms = 30000,
                                                  .healthy_ms = 60000,
                                                  .session = {.actor = ACTOR_SUPERVISOR,
                                                              .incarnation = 7,
                                                              .build = "test",
                                                              .wants_events = true}};
    bench.now_ms = 1000000;
    bench.random = 1;
    bench.done_count = bench.sent_count = bench.pinged_count = 0;
    bench.master_index = 0;
    bench.ready_count = 0;
    bench.has_exited = false;
    bench.actor = memory_zeroed(1, supervisor_ops.memory_size);
    outbox_init(&bench.outbox);
    ck_assert_int_eq(supervisor_ops.init(bench.actor, &bench.settings, NULL), STATUS_OK);
}

void bench_close(void)
{
    supervisor_ops.fini(bench.actor);
    memory_free(bench.actor);
    outbox_fini(&bench.outbox);
    for (size_t i = 0; i < bench.sent_count; i++)
        message_fini(&bench.sent[i]);
}

void start(void)
{
    feed((struct input){.kind = INPUT_START});
}

void pass(uint64_t for_ms, bool is_answered)
{
    const uint64_t end_ms = bench.now_ms + for_ms;
    while (bench.outbox.wake_ms <= end_ms) {
        if (bench.outbox.wake_ms > bench.now_ms)
            bench.now_ms = bench.outbox.wake_ms;
        bench.outbox.wake_ms = UINT64_MAX;
        bench.pinged_count = 0;
        feed((struct input){.kind = INPUT_WAKE});
        for (size_t i = 0; is_answered && i < bench.pinged_count; i++)
            feed((struct input){.kind = INPUT_CHILD_BEAT, .child = {.id = bench.pinged[i]}});
    }
    bench.now_ms = end_ms;
}

const struct done *last_spawn(const char *name)
{
    for (size_t i = bench.done_count; i-- > 0;)
        if (bench.done[i].kind == SUPERVISOR_SPAWN && strcmp(bench.done[i].name, name) == 0)
            return &bench.done[i];
    ck_abort_msg("%s was not started", name);
}

unsigned spawns(const char *name)
{
    unsigned count = 0;
    for (size_t i = 0; i < bench.done_count; i++)
        count += bench.done[i].kind == SUPERVISOR_SPAWN && strcmp(bench.done[i].name, name) == 0;
    return count;
}

uint64_t done_at(enum supervisor_effect kind, const char *name)
{
    const uint64_t id = last_spawn(name)->id;
    for (size_t i = 0; i < bench.done_count; i++)
        if (bench.done[i].kind == kind && bench.done[i].id == id)
            return bench.done[i].at_ms;
    return 0;
}

void pass_until_back(const char *name)
{
    const unsigned before = bench.spawns_at_end;
    for (unsigned i = 0; i < 6000 && spawns(name) == before; i++)
        pass(10, true);
    ck_assert_uint_eq(spawns(name), before + 1);
    ready(name);
}

void ready(const char *name)
{
    feed((struct input){.kind = INPUT_CHILD_READY, .child = {.id = last_spawn(name)->id}});
}

void end(const char *name, int exit_code, int signal, const char *words)
{
    struct child_end value = {exit_code, signal};
    bench.spawns_at_end = spawns(name);
    struct result result = {
        .id = last_spawn(name)->id, .kind = SUPERVISOR_ENDED, .value = &value};
    (void)snprintf(result.reason.text, sizeof(result.reason.text), "%s", words);
    feed((struct input){.kind = INPUT_RESULT, .result = &result});
}

void all_ready(void)
{
    start();
    ready("master");
    ready("planner");
    ready("gateway");
}

/* ---- the master's side ---- */

const struct node_id own_node = {{9}};

void say_to_it(struct message *message)
{
    const struct peer master = peer_of_link(SESSION_LINK);
    feed((struct input){.kind = INPUT_MESSAGE, .peer = master, .message = message});
    message_fini(message);
}

void connect_master(void)
{
    struct message welcome;
    const struct peer master = peer_of_link(SESSION_LINK);
    feed((struct input){.kind = INPUT_LINK_UP, .peer = master});
    ck_assert_int_eq(message_init(&welcome, MESSAGE_LINK, LINK_WELCOME), STATUS_OK);
    MESSAGE_BODY(&welcome, welcome)->node_id = own_node;
    MESSAGE_BODY(&welcome, welcome)->index = bench.master_index;
    say_to_it(&welcome);
}

void disconnect_master(void)
{
    feed((struct input){.kind = INPUT_LINK_DOWN, .peer = peer_of_link(SESSION_LINK)});
}

void tell_state(uint64_t index, bool has_instance, uint64_t counter, uint32_t status,
                       const char *runner_address)
{
    struct state state;
    struct buffer bytes;
    struct message message;
    state_init(&state);
    state.index = index;
    if (has_instance) {
        struct rank_record rank = {.node_id = own_node};
        struct instance_record instance = {.instance_id = {{1}},
                                           .generation = {.epoch = 1, .counter = counter},
                                           .status = status};
        ck_assert(text_set(&rank.runner_address, runner_address));
        ck_assert(record_list_push(&rank_record_type, RECORD_LIST(instance.ranks), &rank, 64));
        ck_assert(record_list_push(&instance_record_type, RECORD_LIST(state.instances), &instance,
                                   64));
        record_fini(&rank_record_type, &rank);
        record_fini(&instance_record_type, &instance);
    }
    buffer_init(&bytes, 1u << 20);
    ck_assert_int_eq(state_encode(&state, &bytes), STATUS_OK);
    ck_assert_int_eq(message_init(&message, MESSAGE_LINK, LINK_SNAPSHOT_PART), STATUS_OK);
    struct snapshot_part *part = MESSAGE_BODY(&message, snapshot_part);
    part->index = index;
    part->total = bytes.size;
    ck_assert(bytes_set(&part->part, bytes.bytes, bytes.size));
    buffer_fini(&bytes);
    state_fini(&state);
    say_to_it(&message);
}

void ask_start(uint32_t actor, uint64_t counter)
{
    struct message task;
    ck_assert_int_eq(message_init(&task, MESSAGE_TASK, TASK_START_PROCESS), STATUS_OK);
    task.head.key = (struct command_key){{(uint8_t)(counter + 1)}};
    struct start_process *body = MESSAGE_BODY(&task, start_process);
    body->actor = actor;
    body->instance_id = (struct instance_id){{1}};
    body->generation = (struct generation){.epoch = 1, .counter = counter};
    say_to_it(&task);
}

void ask_stop(uint64_t counter)
{
    struct message task;
    ck_assert_int_eq(message_init(&task, MESSAGE_TASK, TASK_STOP_PROCESS), STATUS_OK);
    task.head.key = (struct command_key){{0xf0}};
    struct stop_process *body = MESSAGE_BODY(&task, stop_process);
    body->actor = ACTOR_RUNNER;
    body->instance_id = (struct instance_id){{1}};
    body->generation = (struct generation){.epoch = 1, .counter = counter};
    say_to_it(&task);
}

const struct message *last_sent(enum message_kind kind, uint32_t code)
{
    for (size_t i = bench.sent_count; i-- > 0;)
        if (message_is(&bench.sent[i], kind, code))
            return &bench.sent[i];
    return NULL;
}

uint32_t last_phase(void)
{
    const struct message *answer = last_sent(MESSAGE_ANSWER, ANSWER_TASK_HELD);
    ck_assert_ptr_nonnull(answer);
    return MESSAGE_BODY(answer, task_held)->phase;
}

unsigned reports_of(uint32_t code)
{
    unsigned count = 0;
    uint64_t last = 0;
    for (size_t i = 0; i < bench.sent_count; i++) {
        if (!message_is(&bench.sent[i], MESSAGE_REPORT, code) ||
            bench.sent[i].head.sequence <= last)
            continue; /* sent again: the same */
        last = bench.sent[i].head.sequence;
        count++;
    }
    return count;
}
