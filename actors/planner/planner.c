/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/planner/planner.h"

#include "runtime/fabric_ways.h"

#include <stdio.h>
#include <string.h>

#define TASK_RETRY_MS 1000u
#define LIST_RETRY_MS 500u

static const enum actor_kind asked_actors[] = {ACTOR_SUPERVISOR, ACTOR_DOWNLOADER,
                                               ACTOR_TRANSFERER};

struct planner_step {
    struct planner *planner;
    const struct input *input;
    struct outbox *outbox;
};

static struct command_key list_key(enum actor_kind actor)
{
    struct command_key key = {"list tasks"};
    key.bytes[15] = (uint8_t)actor;
    return key;
}

/* A planner that starts knows nothing of what runs: it asks before it plans. */
static enum status ask_lists(struct planner_step *step)
{
    struct planner *planner = step->planner;
    planner->ask_at_ms = step->input->now_ms + LIST_RETRY_MS;
    for (size_t i = 0; i < COUNT_OF(asked_actors); i++) {
        struct message task;
        if (!(planner->lists_wanted & (1u << asked_actors[i])))
            continue;
        enum status status = message_init(&task, MESSAGE_TASK, TASK_LIST_TASKS);
        if (status != STATUS_OK)
            return status;
        task.head.route = asked_actors[i];
        task.head.key = list_key(asked_actors[i]);
        session_send(&planner->session, &task, step->outbox);
        message_fini(&task);
    }
    return STATUS_OK;
}

static void in_flight_remove(struct in_flight *in_flight, uint32_t at)
{
    in_flight->items[at] = in_flight->items[--in_flight->count];
}

static bool is_listed(const struct tasks_listed *listed, const struct command_key *key)
{
    for (uint32_t i = 0; i < listed->tasks.count; i++)
        if (ID_EQUAL(listed->tasks.items[i].key, *key) &&
            listed->tasks.items[i].phase == TASK_RUNNING)
            return true;
    return false;
}

/* Work given to an actor that does not hold it was lost with a connection, or its answer was: it is
 * given again, unless the answer or the event is only on its way. */
static void compare_list(struct planner_step *step, const struct tasks_listed *listed,
                         enum task_code code)
{
    struct in_flight *in_flight = &step->planner->in_flight;
    for (uint32_t i = 0; i < in_flight->count; i++) {
        struct task_in_flight *task = &in_flight->items[i];
        const bool was_failed = task->is_failed;
        if (task->code != (uint32_t)code)
            continue;
        task->is_held = is_listed(listed, &task->key);
        task->is_failed = !task->is_held;
        if (task->is_failed && !was_failed)
            task->retry_at_ms = step->input->now_ms + TASK_RETRY_MS;
    }
}

/* What an actor said it holds, instead of what we thought. */
static void take_list(struct planner_step *step, const struct tasks_listed *listed,
                      enum actor_kind actor)
{
    struct in_flight *in_flight = &step->planner->in_flight;
    step->planner->lists_wanted &= ~(1u << actor);
    if (actor == ACTOR_DOWNLOADER)
        compare_list(step, listed, TASK_IMPORT_MODEL);
    if (actor == ACTOR_TRANSFERER) {
        compare_list(step, listed, TASK_FETCH_SMALL_FILES);
        compare_list(step, listed, TASK_FETCH_MODEL);
        compare_list(step, listed, TASK_GATHER_FILES);
    }
    if (actor != ACTOR_SUPERVISOR)
        return;
    for (uint32_t i = in_flight->count; i-- > 0;)
        if ((in_flight->items[i].code == TASK_START_PROCESS && !in_flight->items[i].is_ended) ||
            in_flight->items[i].code == TASK_STOP_PROCESS)
            in_flight_remove(in_flight, i);
    for (uint32_t i = 0; i < listed->tasks.count && in_flight->count < IN_FLIGHT_COUNT_MAX; i++) {
        const struct task_held *held = &listed->tasks.items[i];
        if (held->code != TASK_START_PROCESS || held->phase != TASK_RUNNING)
            continue;
        in_flight->items[in_flight->count++] =
            (struct task_in_flight){.key = held->key,
                                    .code = TASK_START_PROCESS,
                                    .actor = held->actor,
                                    .instance_id = held->instance_id,
                                    .generation = held->generation,
                                    .rank = held->rank,
                                    .is_held = true};
    }
}

/* A process is gone.  Its stop has come to its end; its start stays, until the generation is over,
 * so that the end of a rank does not start it again before the leader has judged. */
static void end_process(struct planner_step *step, const struct instance_id *instance_id,
                           const struct generation *generation, uint32_t rank)
{
    struct in_flight *in_flight = &step->planner->in_flight;
    for (uint32_t i = in_flight->count; i-- > 0;) {
        struct task_in_flight *task = &in_flight->items[i];
        if ((task->code != TASK_START_PROCESS && task->code != TASK_STOP_PROCESS) ||
            task->rank != rank || !ID_EQUAL(task->instance_id, *instance_id) ||
            !generation_equal(&task->generation, generation))
            continue;
        if (task->code == TASK_START_PROCESS)
            task->is_ended = true;
        else
            in_flight_remove(in_flight, i);
    }
}

static bool has_start(const struct in_flight *in_flight, const struct task_in_flight *stop)
{
    for (uint32_t i = 0; i < in_flight->count; i++) {
        const struct task_in_flight *task = &in_flight->items[i];
        if (task->code == TASK_START_PROCESS && task->rank == stop->rank &&
            ID_EQUAL(task->instance_id, stop->instance_id) &&
            generation_equal(&task->generation, &stop->generation))
            return true;
    }
    return false;
}

/* Starts that came to nothing go with their generation, stops with their start. */
static void forget_ended(struct planner *planner)
{
    struct in_flight *in_flight = &planner->in_flight;
    for (uint32_t i = in_flight->count; i-- > 0;) {
        const struct task_in_flight *task = &in_flight->items[i];
        const struct instance_record *instance =
            state_find_instance(&planner->session.mirror.state, &task->instance_id);
        const bool is_over =
            !instance || !generation_equal(&instance->generation, &task->generation);
        if ((task->code == TASK_START_PROCESS && is_over && (task->is_ended || task->is_failed)) ||
            (task->code == TASK_STOP_PROCESS && !has_start(in_flight, task)))
            in_flight_remove(in_flight, i);
    }
}

static void take_answer(struct planner_step *step, const struct message *answer)
{
    struct in_flight *in_flight = &step->planner->in_flight;
    for (size_t i = 0; i < COUNT_OF(asked_actors); i++) {
        const struct command_key key = list_key(asked_actors[i]);
        if (!ID_EQUAL(key, answer->head.key))
            continue;
        if (answer->head.code == ANSWER_TASKS)
            take_list(step, MESSAGE_BODY(answer, tasks_listed), asked_actors[i]);
        return;
    }
    for (uint32_t i = 0; i < in_flight->count; i++) {
        struct task_in_flight *task = &in_flight->items[i];
        if (!ID_EQUAL(task->key, answer->head.key))
            continue;
        const bool is_running = message_is(answer, MESSAGE_ANSWER, ANSWER_TASK_HELD) &&
                                MESSAGE_BODY(answer, task_held)->phase == TASK_RUNNING;
        if (task->is_ended)
            return;
        task->is_failed = answer->head.status != STATUS_OK;
        task->retry_at_ms = step->input->now_ms + TASK_RETRY_MS;
        task->is_held = !task->is_failed;
        if (task->is_failed || is_running)
            return;
        if (task->code == TASK_STOP_PROCESS) {
            const struct task_in_flight copy = *task;
            end_process(step, &copy.instance_id, &copy.generation, copy.rank);
        } else if (task->code != TASK_START_PROCESS) {
            /* Done, but the state does not show it yet; given again if it never does. */
            task->is_failed = true;
            task->retry_at_ms = step->input->now_ms + 10 * TASK_RETRY_MS;
        }
        return;
    }
}

/* What a dead actor worked on is given to its successor. */
static void fail_tasks_of(struct planner_step *step, uint32_t actor)
{
    struct in_flight *in_flight = &step->planner->in_flight;
    for (uint32_t i = 0; i < in_flight->count; i++) {
        struct task_in_flight *task = &in_flight->items[i];
        const bool is_import = task->code == TASK_IMPORT_MODEL;
        const bool is_fetch =
            task->code == TASK_FETCH_SMALL_FILES || task->code == TASK_FETCH_MODEL ||
            task->code == TASK_GATHER_FILES;
        if ((actor == ACTOR_DOWNLOADER && is_import) || (actor == ACTOR_TRANSFERER && is_fetch)) {
            task->is_failed = true;
            task->is_held = false;
            task->retry_at_ms = step->input->now_ms + TASK_RETRY_MS;
        }
    }
}

static bool transfer_is_open(const struct planner *planner, const struct task_in_flight *task)
{
    const struct transfer_record *transfer =
        state_find_transfer(&planner->session.mirror.state, &task->transfer_id);
    const struct transfer_target *target =
        transfer ? transfer_find_target(transfer, &planner->session.mirror.node_id) : NULL;
    return target && transfer_target_is_open(target);
}

static bool download_is_open(const struct planner *planner, const struct task_in_flight *task)
{
    const struct download_record *download =
        state_find_download(&planner->session.mirror.state, task->model_id);
    const struct download_target *target =
        download ? download_find_target(download, &planner->session.mirror.node_id) : NULL;
    return target && !download_target_rests(&planner->session.mirror.state, download, target);
}

static void take_event(struct planner_step *step, const struct message *event)
{
    struct planner *planner = step->planner;
    if (message_is(event, MESSAGE_EVENT, EVENT_PROCESS_ENDED)) {
        const struct process_ended *body = MESSAGE_BODY(event, process_ended);
        if (ID_EQUAL(body->node_id, planner->session.mirror.node_id) &&
            (body->actor == ACTOR_LAUNCHER || body->actor == ACTOR_RUNNER))
            end_process(step, &body->instance_id, &body->generation, body->rank);
        if (ID_EQUAL(body->node_id, planner->session.mirror.node_id))
            fail_tasks_of(step, body->actor);
        if (ID_EQUAL(body->node_id, planner->session.mirror.node_id) &&
            body->actor == ACTOR_SUPERVISOR)
            planner->lists_wanted |= 1u << ACTOR_SUPERVISOR;
    }
    for (uint32_t i = planner->in_flight.count; i-- > 0;) {
        const struct task_in_flight *task = &planner->in_flight.items[i];
        const struct state *state = &planner->session.mirror.state;
        if (task->code == TASK_IMPORT_MODEL &&
            !state_find_import(state, &planner->session.mirror.node_id, task->model_id))
            in_flight_remove(&planner->in_flight, i);
        else if (task->code == TASK_FETCH_SMALL_FILES) {
            const struct model_record *model = state_find_model(state, task->model_id);
            if (!model || model_find_holder(model, &planner->session.mirror.node_id))
                in_flight_remove(&planner->in_flight, i);
        } else if (task->code == TASK_GATHER_FILES && !download_is_open(planner, task)) {
            in_flight_remove(&planner->in_flight, i);
        } else if (task->code == TASK_FETCH_MODEL && !transfer_is_open(planner, task)) {
            in_flight_remove(&planner->in_flight, i);
        }
    }
}

/* ---- giving ---- */

static enum status fill_task(const struct planned_task *planned, struct message *task)
{
    bool ok = true;
    switch (planned->code) {
    case TASK_START_PROCESS: {
        struct start_process *body = task->body;
        body->actor = planned->actor;
        body->instance_id = planned->instance_id;
        body->generation = planned->generation;
        body->rank = planned->rank;
        body->threads = planned->rank_record->threads;
        break;
    }
    case TASK_STOP_PROCESS: {
        struct stop_process *body = task->body;
        body->actor = planned->actor;
        body->instance_id = planned->instance_id;
        body->generation = planned->generation;
        body->rank = planned->rank;
        break;
    }
    case TASK_IMPORT_MODEL: {
        struct import_model *body = task->body;
        ok = text_set(&body->model_id, planned->model_id) &&
             text_set(&body->path, planned->path) &&
             text_set(&body->hub_revision, planned->hub_revision);
        break;
    }
    case TASK_FETCH_SMALL_FILES: {
        struct fetch_small_files *body = task->body;
        body->revision = planned->revision;
        ok = text_set(&body->model_id, planned->model_id);
        break;
    }
    case TASK_FETCH_MODEL: {
        struct fetch_model *body = task->body;
        body->revision = planned->revision;
        body->transfer_id = planned->transfer_id;
        ok = text_set(&body->model_id, planned->model_id);
        break;
    }
    case TASK_GATHER_FILES: {
        struct gather_files *body = task->body;
        ok = text_set(&body->model_id, planned->model_id) &&
             text_set(&body->commit, planned->commit);
        break;
    }
    case TASK_DELETE_FILES:
    case TASK_LIST_TASKS:
    case TASK_CODE_NONE:
        return STATUS_INTERNAL;
    }
    return ok ? STATUS_OK : STATUS_NO_MEMORY;
}

static enum status set_fabric(const struct planner *planner, const struct planned_task *planned,
                              struct message *task)
{
    const struct rank_record *rank = planned->rank_record;
    const struct state *state = &planner->session.mirror.state;
    const struct node_record *node = state_find_node(state, &planner->session.mirror.node_id);
    if (task->head.code != TASK_START_PROCESS || !node)
        return STATUS_OK;
    struct start_process *body = MESSAGE_BODY(task, start_process);
    const bool is_placed = rank && text_or_empty(rank->fabric)[0];
    const bool is_fronted = rank && text_or_empty(rank->front)[0];
    /* A front of its own is told when it is not where the siblings meet. */
    const char *front = is_fronted ? rank->front : is_placed ? node->fabric : "";
    const struct instance_record *instance = planned->instance;
    char ways[WAYS_SIZE_MAX] = "";
    if (rank && instance && planned->rank < instance->ranks.count &&
        fabric_ways_write(state, instance, planned->rank, ways) != STATUS_OK)
        return STATUS_TOO_LARGE;
    return text_set(&body->fabric, is_placed ? rank->fabric : node->fabric) &&
                   text_set(&body->front, front) &&
                   text_set(&body->rdma, rank ? rank->rdma : "") && text_set(&body->ways, ways)
               ? STATUS_OK
               : STATUS_NO_MEMORY;
}

static void put_in_flight(struct planner_step *step, const struct planned_task *planned,
                          const struct command_key *key)
{
    struct in_flight *in_flight = &step->planner->in_flight;
    for (uint32_t i = in_flight->count; i-- > 0;)
        if (ID_EQUAL(in_flight->items[i].key, *key))
            in_flight_remove(in_flight, i);
    if (in_flight->count == IN_FLIGHT_COUNT_MAX)
        return;
    struct task_in_flight *task = &in_flight->items[in_flight->count++];
    *task = (struct task_in_flight){.key = *key,
                                    .code = planned->code,
                                    .actor = planned->actor,
                                    .instance_id = planned->instance_id,
                                    .generation = planned->generation,
                                    .rank = planned->rank,
                                    .revision = planned->revision,
                                    .transfer_id = planned->transfer_id};
    (void)snprintf(task->model_id, sizeof(task->model_id), "%s",
                   planned->model_id ? planned->model_id : "");
}

static enum status plan(struct planner_step *step)
{
    struct planner *planner = step->planner;
    forget_ended(planner);
    const struct plan_question question = {&planner->session.mirror.state,
                                           &planner->session.mirror.node_id,
                                           &planner->in_flight, step->input->now_ms};
    /* Each task goes in flight, so this ends; the bound is for our own mistakes. */
    for (int given = 0; given < IN_FLIGHT_COUNT_MAX; given++) {
        const struct planned_task planned = plan_next(&question);
        if (planned.code == TASK_CODE_NONE)
            break;
        struct message task;
        const struct command_key key = planned_task_key(&planned);
        enum status status = message_init(&task, MESSAGE_TASK, planned.code);
        if (status != STATUS_OK)
            return status;
        task.head.route = planned.route;
        task.head.key = key;
        status = fill_task(&planned, &task);
        if (status == STATUS_OK)
            status = set_fabric(planner, &planned, &task);
        if (status == STATUS_OK) {
            session_send(&planner->session, &task, step->outbox);
            put_in_flight(step, &planned, &key);
        }
        message_fini(&task);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

static void wake_for_retries(struct planner_step *step)
{
    const struct planner *planner = step->planner;
    for (uint32_t i = 0; i < planner->in_flight.count; i++)
        if (planner->in_flight.items[i].is_failed &&
            planner->in_flight.items[i].retry_at_ms > step->input->now_ms)
            outbox_wake(step->outbox, planner->in_flight.items[i].retry_at_ms);
    if (planner->lists_wanted && planner->session.is_welcome)
        outbox_wake(step->outbox, planner->ask_at_ms);
}

static enum status planner_step(void *actor, const struct input *input, struct outbox *outbox,
                                struct reason *reason)
{
    struct planner *planner = actor;
    struct planner_step step = {planner, input, outbox};
    enum mirror_change change;
    if (input->kind == INPUT_START)
        session_open(&planner->session, outbox);
    if (input->kind == INPUT_STOP) {
        outbox_exit(outbox, 0);
        return STATUS_OK;
    }
    enum status status = session_take(&planner->session, input, outbox, &change, reason);
    if (status != STATUS_OK)
        return status;
    if (input->kind == INPUT_LINK_UP || change == MIRROR_WELCOMED) {
        planner->lists_wanted = 0;
        for (size_t i = 0; i < COUNT_OF(asked_actors); i++)
            planner->lists_wanted |= 1u << asked_actors[i];
        planner->ask_at_ms = input->now_ms;
    }
    if (change == MIRROR_WELCOMED && !planner->is_ready_told) {
        planner->is_ready_told = true;
        outbox_ready(outbox);
    }
    if (input->kind == INPUT_MESSAGE && input->message->head.kind == MESSAGE_ANSWER &&
        input->message->head.incarnation == 0)
        take_answer(&step, input->message);
    if (change == MIRROR_APPLIED)
        take_event(&step, input->message);
    if (planner->session.is_welcome && planner->lists_wanted &&
        input->now_ms >= planner->ask_at_ms)
        status = ask_lists(&step);
    /* What runs is known once the supervisor has told; the others' work may be given twice. */
    if (status == STATUS_OK && planner->session.is_welcome && planner->session.mirror.has_state &&
        !(planner->lists_wanted & (1u << ACTOR_SUPERVISOR)))
        status = plan(&step);
    wake_for_retries(&step);
    return status;
}

static enum status planner_init(void *actor, const void *settings, struct reason *reason)
{
    (void)reason;
    struct planner *planner = actor;
    session_init(&planner->session, settings);
    return STATUS_OK;
}

static void planner_fini(void *actor)
{
    struct planner *planner = actor;
    session_fini(&planner->session);
}

const struct actor_ops planner_ops = {.name = "planner",
                                      .memory_size = sizeof(struct planner),
                                      .init = planner_init,
                                      .step = planner_step,
                                      .fini = planner_fini};
