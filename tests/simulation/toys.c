/* SPDX-License-Identifier: Apache-2.0 */
/*
 * toys: models of the actors around the masters.  A supervisor "starts" ranks that report their
 * addresses, then that they are ready; a downloader and a transferer that are done at once; a
 * client that asks for one thing at a time and asks again, with the same key, until answered.
 */
#include "tests/simulation/sim.h"

#include "protocol/holdings.h"
#include "protocol/memory.h"

#include <stdio.h>
#include <string.h>

enum { TOY_RANKS_MAX = 64 };

struct toy_rank {
    struct task_held held;
    bool has_launcher;
    bool has_runner;
    bool is_ready;
    uint64_t at_ms;
};

struct toy_worker {
    struct session session;
    const struct toy_settings *settings;
    struct toy_rank ranks[TOY_RANKS_MAX];
    uint32_t rank_count;
    bool must_kill; /* every runner dies at the next step */
};

static enum status toy_init(void *actor, const void *settings, struct reason *reason)
{
    struct toy_worker *worker = actor;
    (void)reason;
    worker->settings = settings;
    session_init(&worker->session, &worker->settings->sim->nodes[worker->settings->node]
                                        .sessions[worker->settings->role]);
    (void)snprintf(worker->session.address, sizeof(worker->session.address), "tcp://n%u-%u:%llu",
                   worker->settings->node, worker->settings->role,
                   (unsigned long long)worker->session.settings->incarnation % 60000u);
    return STATUS_OK;
}

static void toy_fini(void *actor)
{
    struct toy_worker *worker = actor;
    session_fini(&worker->session);
}

static void report(struct toy_worker *worker, const struct input *input, struct outbox *outbox,
                   struct message *message)
{
    ASSERT(session_report(&worker->session, message, input->now_ms, outbox) == STATUS_OK);
    message_fini(message);
}

static void tell_address(struct toy_worker *worker, const struct toy_rank *rank, uint32_t actor,
                         const struct input *input, struct outbox *outbox)
{
    struct message message;
    char address[64];
    ASSERT(message_init(&message, MESSAGE_REPORT, REPORT_RANK_ADDRESSED) == STATUS_OK);
    struct rank_addressed *body = message.body;
    body->instance_id = rank->held.instance_id;
    body->generation = rank->held.generation;
    body->rank = rank->held.rank;
    body->actor = actor;
    (void)snprintf(address, sizeof(address), "tcp://n%u:%u", worker->settings->node,
                   actor * 100 + rank->held.rank);
    ASSERT(text_set(&body->address, address));
    report(worker, input, outbox, &message);
}

static void tell_ended(struct toy_worker *worker, const struct toy_rank *rank, bool was_asked,
                       const struct input *input, struct outbox *outbox)
{
    struct message message;
    ASSERT(message_init(&message, MESSAGE_REPORT, REPORT_PROCESS_ENDED) == STATUS_OK);
    struct process_ended *body = message.body;
    body->node_id = worker->session.mirror.node_id;
    body->actor = rank->held.actor;
    body->instance_id = rank->held.instance_id;
    body->generation = rank->held.generation;
    body->rank = rank->held.rank;
    body->signal = was_asked ? 15 : 9;
    body->was_asked = was_asked;
    report(worker, input, outbox, &message);
}

static bool is_on_disk(const struct sim_node *node, const char *model_id)
{
    for (uint32_t i = 0; i < node->held_count; i++)
        if (strcmp(node->held[i], model_id) == 0)
            return true;
    return false;
}

static void tell_holding(struct toy_worker *worker, const struct model_record *model,
                         const struct input *input, struct outbox *outbox)
{
    const struct sim_node *node = &worker->settings->sim->nodes[worker->settings->node];
    const uint8_t held = (uint8_t)~node->lost;
    struct message message;
    ASSERT(message_init(&message, MESSAGE_REPORT, REPORT_HOLDING_CHANGED) == STATUS_OK);
    struct holding_changed *body = message.body;
    body->node_id = worker->session.mirror.node_id;
    body->revision = model->revision;
    body->has_small_files = true;
    body->has_weights = node->lost == 0;
    ASSERT(text_set(&body->model_id, model->model_id) && bytes_set(&body->held, &held, 1));
    report(worker, input, outbox, &message);
}

/* A file that the placement has this rank read and that is not there; NULL: none. */
static const char *lost_file(const struct toy_worker *worker,
                             const struct instance_record *instance,
                             const struct model_record *model, uint32_t rank)
{
    const struct sim_node *node = &worker->settings->sim->nodes[worker->settings->node];
    const bool is_here = is_on_disk(node, text_or_empty(instance->model_id));
    for (uint32_t i = 0; i < instance->sources.count; i++) {
        const struct file_source *source = &instance->sources.items[i];
        for (uint32_t k = 0; k < model->files.count; k++)
            if ((source->holders >> rank & 1) != 0 &&
                strcmp(model->files.items[k].name, source->name) == 0 &&
                (!is_here || (node->lost >> k & 1) != 0))
                return source->name;
    }
    return NULL;
}

/* 0: it has what it was placed with; else what there is. */
static uint64_t memory_short(const struct toy_worker *worker, const struct rank_record *rank)
{
    const uint64_t there = worker->settings->sim->nodes[worker->settings->node].memory_free;
    return rank->weight_bytes + rank->cache_bytes + rank->scratch_bytes > there ? there : 0;
}

/* Loaded, or one of its files is gone: that is told first. */
static void tell_loaded(struct toy_worker *worker, struct toy_rank *rank,
                        const struct instance_record *instance, const struct input *input,
                        struct outbox *outbox)
{
    const struct model_record *model =
        state_find_model(&worker->session.mirror.state, text_or_empty(instance->model_id));
    const char *lost = model ? lost_file(worker, instance, model, rank->held.rank) : NULL;
    const uint64_t there = memory_short(worker, &instance->ranks.items[rank->held.rank]);
    struct message message;
    rank->is_ready = true;
    if (lost)
        tell_holding(worker, model, input, outbox);
    ASSERT(message_init(&message, MESSAGE_REPORT, REPORT_RUNNER_STATUS_CHANGED) == STATUS_OK);
    struct runner_status_changed *body = message.body;
    body->instance_id = rank->held.instance_id;
    body->generation = rank->held.generation;
    body->rank = rank->held.rank;
    body->memory_free = there;
    body->status = lost || there                                    ? RANK_FAILED
                   : instance->ranks.items[rank->held.rank].is_source ? RANK_RELEASED
                                                                      : RANK_READY;
    ASSERT(text_set(&body->reason, lost ? lost : there ? "memory" : ""));
    report(worker, input, outbox, &message);
}

/* Those to whom a source sends have what they need. */
static bool have_others_loaded(const struct instance_record *instance)
{
    for (uint32_t i = 0; i < instance->ranks.count; i++)
        if (!instance->ranks.items[i].is_source && instance->ranks.items[i].status != RANK_READY)
            return false;
    return true;
}

static bool is_released(const struct toy_worker *worker, const struct toy_rank *rank)
{
    const struct instance_record *instance =
        state_find_instance(&worker->session.mirror.state, &rank->held.instance_id);
    return instance && generation_equal(&instance->generation, &rank->held.generation) &&
           instance->ranks.items[rank->held.rank].status == RANK_RELEASED;
}

/* A rank lives through its phases, some time in each. */
static void rank_lives(struct toy_worker *worker, struct toy_rank *rank, const struct input *input,
                       struct outbox *outbox)
{
    const struct instance_record *instance =
        state_find_instance(&worker->session.mirror.state, &rank->held.instance_id);
    if (input->now_ms < rank->at_ms || rank->is_ready || !instance ||
        !generation_equal(&instance->generation, &rank->held.generation))
        return;
    rank->at_ms = input->now_ms + 20;
    bool has_launchers = true;
    bool has_runners = true;
    for (uint32_t i = 0; i < instance->ranks.count; i++) {
        has_launchers = has_launchers && instance->ranks.items[i].launcher_address;
        has_runners = has_runners && instance->ranks.items[i].runner_address;
    }
    if (instance->ranks.count > 1 && !rank->has_launcher) {
        rank->has_launcher = true;
        tell_address(worker, rank, ACTOR_LAUNCHER, input, outbox);
    } else if (!rank->has_runner && (instance->ranks.count == 1 || has_launchers)) {
        rank->has_runner = true;
        tell_address(worker, rank, ACTOR_RUNNER, input, outbox);
    } else if (rank->has_runner && has_runners &&
               (!instance->ranks.items[rank->held.rank].is_source ||
                have_others_loaded(instance))) {
        tell_loaded(worker, rank, instance, input, outbox);
    }
}

static struct toy_rank *rank_find(struct toy_worker *worker, const struct instance_id *id,
                                  const struct generation *generation, uint32_t number)
{
    for (uint32_t i = 0; i < worker->rank_count; i++) {
        struct toy_rank *rank = &worker->ranks[i];
        if (rank->held.rank == number && ID_EQUAL(rank->held.instance_id, *id) &&
            generation_equal(&rank->held.generation, generation))
            return rank;
    }
    return NULL;
}

static void answer_held(struct toy_worker *worker, const struct toy_rank *rank,
                        const struct message *task, struct outbox *outbox)
{
    struct message answer;
    ASSERT(message_init(&answer, MESSAGE_ANSWER, ANSWER_TASK_HELD) == STATUS_OK);
    answer.head.key = task->head.key;
    *MESSAGE_BODY(&answer, task_held) = rank->held;
    session_send(&worker->session, &answer, outbox);
    message_fini(&answer);
}

static void take_start(struct toy_worker *worker, const struct input *input, struct outbox *outbox)
{
    const struct start_process *body = MESSAGE_BODY(input->message, start_process);
    struct toy_rank *rank =
        rank_find(worker, &body->instance_id, &body->generation, body->rank);
    if (!rank) {
        ASSERT(worker->rank_count < TOY_RANKS_MAX);
        rank = &worker->ranks[worker->rank_count++];
        *rank = (struct toy_rank){.held = {.key = input->message->head.key,
                                           .code = TASK_START_PROCESS,
                                           .phase = TASK_RUNNING,
                                           .instance_id = body->instance_id,
                                           .generation = body->generation,
                                           .rank = body->rank,
                                           .actor = body->actor},
                                  .at_ms = input->now_ms + 20};
    }
    answer_held(worker, rank, input->message, outbox);
}

static void take_stop(struct toy_worker *worker, const struct input *input, struct outbox *outbox)
{
    const struct stop_process *body = MESSAGE_BODY(input->message, stop_process);
    struct toy_rank *rank =
        rank_find(worker, &body->instance_id, &body->generation, body->rank);
    if (rank) {
        tell_ended(worker, rank, true, input, outbox);
        *rank = worker->ranks[--worker->rank_count];
    }
    ASSERT(session_answer(&worker->session, input->message, STATUS_OK, "", outbox) == STATUS_OK);
}

static void take_list(struct toy_worker *worker, const struct input *input, struct outbox *outbox)
{
    struct message answer;
    ASSERT(message_init(&answer, MESSAGE_ANSWER, ANSWER_TASKS) == STATUS_OK);
    answer.head.key = input->message->head.key;
    struct tasks_listed *listed = answer.body;
    for (uint32_t i = 0; i < worker->rank_count; i++)
        ASSERT(record_list_push(&task_held_type, RECORD_LIST(listed->tasks),
                                &worker->ranks[i].held, 1024) != NULL);
    session_send(&worker->session, &answer, outbox);
    message_fini(&answer);
}

static void fill_model(struct model_record *model, const char *name)
{
    ASSERT(text_set(&model->model_id, name));
    model->revision.bytes[0] = 7;
    model->manifest.bytes[0] = 8;
    model->shape = (struct model_shape){.layers = 8,
                                        .hidden = 64,
                                        .heads = 8,
                                        .kv_heads = 4,
                                        .intermediate = 256,
                                        .vocab = 1024,
                                        .context = 4096,
                                        .embedding_bytes = 1 << 20,
                                        .head_bytes = 1 << 20,
                                        .norm_bytes = 1024,
                                        .weight_bytes = 98 << 20};
    const struct layer_run run = {.layers = 8, .mixer = 1, .units = 8, .unit_heads = 1, .per_kv = 2,
                                  .heads = 1, .key_dim = 8, .value_dim = 8,
                                  .mixer_bytes = 3 << 20, .kv_bytes = 1 << 20,
                                  .ffn = 4, .ffn_units = 8, .ffn_bytes = 8 << 20};
    ASSERT(record_list_push(&layer_run_type, RECORD_LIST(model->shape.runs), &run, 1) != NULL);
    static const uint32_t sizes[] = {40, 30, 20, 8};
    for (uint32_t i = 0; i < COUNT_OF(sizes); i++) {
        const char part[] = {'p', 'a', 'r', 't', '-', (char)('1' + i), '\0'};
        const struct file_entry entry = {.size = sizes[i] << 20, .is_weight = true};
        struct file_entry *file =
            record_list_push(&file_entry_type, RECORD_LIST(model->files), &entry, 4);
        ASSERT(file != NULL && text_set(&file->name, part));
    }
}

static void tell_imported(struct toy_worker *worker, const char *name, bool is_found,
                          const struct input *input, struct outbox *outbox)
{
    struct message message;
    ASSERT(message_init(&message, MESSAGE_REPORT, REPORT_MODEL_IMPORTED) == STATUS_OK);
    struct model_imported *body = message.body;
    body->node_id = worker->session.mirror.node_id;
    body->is_found = is_found;
    fill_model(&body->model, name);
    report(worker, input, outbox, &message);
}

/* As the downloader does when its state is replaced: the disk knows better. */
static void tell_held(struct toy_worker *worker, const struct input *input, struct outbox *outbox)
{
    const struct sim_node *node = &worker->settings->sim->nodes[worker->settings->node];
    for (uint32_t i = 0; i < node->held_count; i++) {
        const struct model_record *model =
            state_find_model(&worker->session.mirror.state, node->held[i]);
        const struct holder_record *holder =
            model ? model_find_holder(model, &worker->session.mirror.node_id) : NULL;
        bool is_as_told = holder != NULL;
        for (uint32_t k = 0; holder && k < model->files.count; k++)
            is_as_told = is_as_told && holder_has_file(holder, k) == !(node->lost >> k & 1);
        if (node->lost == 0 && (!holder || !holder->has_weights))
            tell_imported(worker, node->held[i], true, input, outbox);
        else if (model && !is_as_told)
            tell_holding(worker, model, input, outbox);
    }
}

static void hold(struct toy_worker *worker, const char *name)
{
    struct sim_node *node = &worker->settings->sim->nodes[worker->settings->node];
    node->lost = 0;
    if (!is_on_disk(node, name) && node->held_count < COUNT_OF(node->held))
        (void)snprintf(node->held[node->held_count++], sizeof(node->held[0]), "%s", name);
}

static void take_import(struct toy_worker *worker, const struct input *input,
                        struct outbox *outbox)
{
    const char *name = MESSAGE_BODY(input->message, import_model)->model_id;
    const enum status how = worker->settings->sim->nodes[worker->settings->node].import_status;
    if (how != STATUS_OK) {
        struct message message;
        ASSERT(message_init(&message, MESSAGE_REPORT, REPORT_MODEL_IMPORT_FAILED) == STATUS_OK);
        struct model_import_failed *body = message.body;
        body->node_id = worker->session.mirror.node_id;
        body->status = how;
        ASSERT(text_set(&body->model_id, name) && text_set(&body->reason, "the hub has none"));
        if (how != STATUS_BUSY)
            report(worker, input, outbox, &message);
        message_fini(&message);
        return;
    }
    hold(worker, name);
    tell_imported(worker, name, false, input, outbox);
    ASSERT(session_answer(&worker->session, input->message, STATUS_OK, "", outbox) == STATUS_OK);
}

static void take_fetch(struct toy_worker *worker, const struct input *input, struct outbox *outbox)
{
    const struct fetch_small_files *task = MESSAGE_BODY(input->message, fetch_small_files);
    struct message message;
    ASSERT(message_init(&message, MESSAGE_REPORT, REPORT_SMALL_FILES_STORED) == STATUS_OK);
    struct small_files_stored *body = message.body;
    body->node_id = worker->session.mirror.node_id;
    body->revision = task->revision;
    ASSERT(text_set(&body->model_id, task->model_id));
    report(worker, input, outbox, &message);
    ASSERT(session_answer(&worker->session, input->message, STATUS_OK, "", outbox) == STATUS_OK);
}

/* Each file lies on some disk. */
static bool is_somewhere(const struct sim *sim, const char *model_id)
{
    uint8_t lost = 0x0f;
    for (uint32_t i = 0; i < sim->node_count; i++)
        if (is_on_disk(&sim->nodes[i], model_id))
            lost &= sim->nodes[i].lost;
    return lost == 0;
}

/* A whole copy: there at once, refused by the disk, or never there, as the test wants; and not
 * possible when a file is nowhere any more. */
static void take_copy(struct toy_worker *worker, const struct input *input, struct outbox *outbox)
{
    const struct sim_node *node = &worker->settings->sim->nodes[worker->settings->node];
    const struct fetch_model *task = MESSAGE_BODY(input->message, fetch_model);
    struct message message;
    ASSERT(message_init(&message, MESSAGE_REPORT, REPORT_TRANSFER_STARTED) == STATUS_OK);
    MESSAGE_BODY(&message, transfer_started)->node_id = worker->session.mirror.node_id;
    MESSAGE_BODY(&message, transfer_started)->transfer_id = task->transfer_id;
    report(worker, input, outbox, &message);
    if (node->copy_status == STATUS_BUSY) {
        struct message answer;
        ASSERT(message_init(&answer, MESSAGE_ANSWER, ANSWER_TASK_HELD) == STATUS_OK);
        answer.head.key = input->message->head.key;
        MESSAGE_BODY(&answer, task_held)->key = input->message->head.key;
        MESSAGE_BODY(&answer, task_held)->code = TASK_FETCH_MODEL;
        MESSAGE_BODY(&answer, task_held)->phase = TASK_RUNNING;
        session_send(&worker->session, &answer, outbox);
        message_fini(&answer);
        return;
    }
    ASSERT(message_init(&message, MESSAGE_REPORT, REPORT_TRANSFER_ENDED) == STATUS_OK);
    struct transfer_ended *ended = message.body;
    ended->node_id = worker->session.mirror.node_id;
    ended->transfer_id = task->transfer_id;
    ended->status = node->copy_status == STATUS_OK &&
                            !is_somewhere(worker->settings->sim, task->model_id)
                        ? STATUS_NO_HOLDER
                        : node->copy_status;
    ASSERT(text_set(&ended->reason, node->copy_status == STATUS_OK ? "" : "98 bytes are lacking"));
    if (ended->status == STATUS_OK)
        hold(worker, task->model_id);
    report(worker, input, outbox, &message);
    ASSERT(session_answer(&worker->session, input->message, STATUS_OK, "", outbox) == STATUS_OK);
}

static void take_task(struct toy_worker *worker, const struct input *input, struct outbox *outbox)
{
    switch ((enum task_code)input->message->head.code) {
    case TASK_START_PROCESS:
        take_start(worker, input, outbox);
        break;
    case TASK_STOP_PROCESS:
        take_stop(worker, input, outbox);
        break;
    case TASK_IMPORT_MODEL:
        take_import(worker, input, outbox);
        break;
    case TASK_FETCH_SMALL_FILES:
        take_fetch(worker, input, outbox);
        break;
    case TASK_LIST_TASKS:
        take_list(worker, input, outbox);
        break;
    case TASK_FETCH_MODEL:
        take_copy(worker, input, outbox);
        break;
    case TASK_GATHER_FILES:
    case TASK_DELETE_FILES:
    case TASK_CODE_NONE:
        break;
    }
}

static enum status worker_step(void *actor, const struct input *input, struct outbox *outbox,
                               struct reason *reason)
{
    struct toy_worker *worker = actor;
    enum mirror_change change;
    if (input->kind == INPUT_START)
        session_open(&worker->session, outbox);
    enum status status = session_take(&worker->session, input, outbox, &change, reason);
    if (status != STATUS_OK)
        return status;
    if (session_is_task(input))
        take_task(worker, input, outbox);
    if (change == MIRROR_REPLACED && worker->settings->role == SIM_DOWNLOADER)
        tell_held(worker, input, outbox);
    for (uint32_t i = worker->rank_count; worker->must_kill && i-- > 0;) {
        tell_ended(worker, &worker->ranks[i], false, input, outbox);
        worker->rank_count--;
    }
    worker->must_kill = false;
    for (uint32_t i = worker->rank_count; i-- > 0;) {
        if (!is_released(worker, &worker->ranks[i]))
            continue;
        tell_ended(worker, &worker->ranks[i], false, input, outbox);
        worker->ranks[i] = worker->ranks[--worker->rank_count];
    }
    for (uint32_t i = 0; i < worker->rank_count; i++) {
        rank_lives(worker, &worker->ranks[i], input, outbox);
        if (!worker->ranks[i].is_ready)
            outbox_wake(outbox, input->now_ms + 20);
    }
    return STATUS_OK;
}

const struct actor_ops toy_worker_ops = {.name = "toy worker",
                                         .memory_size = sizeof(struct toy_worker),
                                         .init = toy_init,
                                         .step = worker_step,
                                         .fini = toy_fini};

void sim_kill_runners(struct sim *sim, uint32_t node)
{
    struct sim_process *process = &sim->nodes[node].processes[SIM_SUPERVISOR];
    struct toy_worker *worker = process->actor;
    if (!worker || worker->rank_count == 0)
        return;
    worker->must_kill = true;
    outbox_wake(&process->outbox, sim->now_ms);
}

struct state *sim_mirror(struct sim *sim, uint32_t node, enum sim_role role)
{
    struct toy_worker *worker = sim->nodes[node].processes[role].actor;
    ASSERT(worker != NULL && role != SIM_MASTER && role != SIM_PLANNER && role != SIM_CLIENT);
    return &worker->session.mirror.state;
}

/* ---- the client ---- */

static enum status client_init(void *actor, const void *settings, struct reason *reason)
{
    struct toy_client *client = actor;
    (void)reason;
    client->settings = settings;
    session_init(&client->session,
                 &client->settings->sim->nodes[client->settings->node].sessions[SIM_CLIENT]);
    return STATUS_OK;
}

static void client_fini(void *actor)
{
    struct toy_client *client = actor;
    session_fini(&client->session);
    message_fini(&client->command);
}

static void client_send(struct toy_client *client, const struct input *input,
                        struct outbox *outbox)
{
    client->sent_ms = input->now_ms;
    session_send(&client->session, &client->command, outbox);
    if (client->is_repeating)
        session_send(&client->session, &client->command, outbox);
}

/* Anything that the leader accepts and that is seen in the state: a client with a fresh key. */
static void client_invents(struct toy_client *client, const struct input *input)
{
    ASSERT(message_init(&client->command, MESSAGE_COMMAND, COMMAND_CREATE_TOKEN) == STATUS_OK);
    struct create_token *body = client->command.body;
    memcpy(&body->key, &input->random, sizeof(input->random));
    memcpy(&client->command.head.key, &input->random, sizeof(input->random));
    client->command.head.key.bytes[15] = 1;
    body->expires_ms = input->wall_ms + 2000;
    client->is_waiting = true;
    client->asked_ms = input->now_ms;
    client->sent_ms = 0;
}

static void client_answered(struct toy_client *client, const struct input *input)
{
    struct sim *sim = client->settings->sim;
    const struct envelope *head = &input->message->head;
    const uint64_t took_ms = input->now_ms - client->sent_ms;
    if (!client->is_waiting || !ID_EQUAL(head->key, client->command.head.key))
        return;
    if (took_ms > sim->slowest_answer_ms)
        sim->slowest_answer_ms = took_ms;
    client->last_status = (enum status)head->status;
    (void)snprintf(client->last_reason, sizeof(client->last_reason), "%s",
                   text_or_empty(head->reason));
    client->last_index = head->index;
    if (head->status == STATUS_NO_LEADER || head->status == STATUS_NO_SPACE) {
        client->sent_ms = 0; /* not known: asked again, after a pause */
        client->next_ms = input->now_ms + 100;
        client->refused++;
        if (!client->is_quiet)
            return;
    } else if (head->status == STATUS_OK) {
        client->answered++;
        ASSERT(sim->acknowledged_count < SIM_INDEX_MAX);
        sim->acknowledged[sim->acknowledged_count++] =
            (struct sim_acknowledged){head->key, head->index};
    } else {
        client->refused++;
    }
    client->is_waiting = false;
    client->next_ms = input->now_ms + 20 + input->random % 300;
    message_fini(&client->command);
}

static enum status client_step(void *actor, const struct input *input, struct outbox *outbox,
                               struct reason *reason)
{
    struct toy_client *client = actor;
    enum mirror_change change;
    if (input->kind == INPUT_START)
        session_open(&client->session, outbox);
    enum status status = session_take(&client->session, input, outbox, &change, reason);
    if (status != STATUS_OK)
        return status;
    if (!client->session.is_up)
        client->sent_ms = 0;
    if (input->kind == INPUT_MESSAGE && input->message->head.kind == MESSAGE_ANSWER)
        client_answered(client, input);
    if (!client->is_waiting && !client->is_quiet && input->now_ms >= client->next_ms)
        client_invents(client, input);
    if (client->is_waiting && client->session.is_welcome && client->sent_ms == 0 &&
        input->now_ms >= client->next_ms)
        client_send(client, input, outbox);
    if (client->is_waiting && client->sent_ms != 0 && client->session.is_up &&
        input->now_ms - client->sent_ms > 4500)
        sim_break(client->settings->sim, "a command at node %u had no answer for 4.5 s",
                  client->settings->node);
    outbox_wake(outbox, input->now_ms + 50);
    return STATUS_OK;
}

const struct actor_ops toy_client_ops = {.name = "toy client",
                                         .memory_size = sizeof(struct toy_client),
                                         .init = client_init,
                                         .step = client_step,
                                         .fini = client_fini};

struct toy_client *sim_client(struct sim *sim, uint32_t node)
{
    return sim->nodes[node].processes[SIM_CLIENT].actor;
}

bool sim_ask(struct sim *sim, uint32_t node, struct message *command)
{
    struct toy_client *client = sim_client(sim, node);
    if (!client || client->is_waiting)
        return false;
    if (ID_IS_ZERO(command->head.key)) {
        seeded_fill(&sim->seeded, &command->head.key, sizeof(command->head.key));
    }
    client->command = message_take(command);
    client->is_waiting = true;
    client->asked_ms = sim->now_ms;
    client->sent_ms = 0;
    outbox_wake(&sim->nodes[node].processes[SIM_CLIENT].outbox, sim->now_ms);
    return true;
}

enum status sim_ask_wait(struct sim *sim, uint32_t node, struct message *command)
{
    for (int i = 0; i < 1000 && !sim->broken[0]; i++) {
        const struct toy_client *client = sim_client(sim, node);
        if (client && !client->is_waiting)
            break;
        sim_run(sim, 10);
    }
    if (!sim_ask(sim, node, command)) {
        message_fini(command);
        return STATUS_INTERNAL;
    }
    for (int i = 0; i < 1000 && !sim->broken[0]; i++) {
        const struct toy_client *client = sim_client(sim, node);
        if (client && !client->is_waiting)
            return client->last_status;
        sim_run(sim, 10);
    }
    return STATUS_TIMED_OUT;
}
