/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tasks: what the planner asks of the supervisor, and what the supervisor tells the cluster.
 */
#include "actors/supervisor/children.h"

#include "protocol/memory.h"

#include <stdio.h>
#include <string.h>

/* The four that name a launcher or runner; start_process and stop_process both have them. */
struct rank_key {
    uint32_t actor;
    uint32_t rank;
    const struct instance_id *instance_id;
    const struct generation *generation;
};

static bool key_is(const struct rank_key *key, uint32_t actor,
                   const struct instance_id *instance_id, const struct generation *generation,
                   uint32_t rank)
{
    return key->actor == actor && key->rank == rank && ID_EQUAL(*key->instance_id, *instance_id) &&
           generation_equal(key->generation, generation);
}

static struct supervised *rank_find(struct supervisor *supervisor, const struct rank_key *key)
{
    for (size_t i = supervisor->settings->row_count; i < COUNT_OF(supervisor->children); i++) {
        struct supervised *child = &supervisor->children[i];
        if (child->state != CHILD_NONE &&
            key_is(key, child->row->kind, &child->instance_id, &child->generation, child->rank))
            return child;
    }
    return NULL;
}

static const struct ended_rank *ended_find(const struct supervisor *supervisor,
                                           const struct rank_key *key)
{
    size_t kept = supervisor->ended_count < ENDED_KEPT_MAX ? supervisor->ended_count
                                                           : ENDED_KEPT_MAX;
    for (size_t i = 0; i < kept; i++) {
        const struct ended_rank *ended = &supervisor->ended[i];
        if (key_is(key, ended->actor, &ended->instance_id, &ended->generation, ended->rank))
            return ended;
    }
    return NULL;
}

void rank_remember(struct supervisor *supervisor, const struct supervised *child)
{
    supervisor->ended[supervisor->ended_count++ % ENDED_KEPT_MAX] =
        (struct ended_rank){.instance_id = child->instance_id,
                            .generation = child->generation,
                            .rank = child->rank,
                            .actor = child->row->kind,
                            .was_asked = child->was_asked};
}

static const struct actor_row *row_of(const struct supervisor *supervisor, uint32_t actor)
{
    for (size_t i = 0; i < supervisor->settings->row_count; i++) {
        const struct actor_row *row = &supervisor->settings->rows[i];
        if (row->kind == actor && row->restart == RESTART_ASKED)
            return row;
    }
    return NULL;
}

/* ---- answers ---- */

static enum status answer_refused(struct supervisor *supervisor, const struct message *task,
                                  enum status how, const char *sentence)
{
    return session_answer(&supervisor->session, task, how, sentence, supervisor->outbox);
}

static enum status answer_phase(struct supervisor *supervisor, const struct message *task,
                                const struct rank_key *key, enum task_phase phase)
{
    const struct task_held held = {.key = task->head.key, .code = task->head.code, .phase = phase,
                                   .instance_id = *key->instance_id,
                                   .generation = *key->generation, .rank = key->rank,
                                   .actor = key->actor};
    return session_answer_held(&supervisor->session, &held, STATUS_OK, NULL, supervisor->outbox);
}

static enum status start_process(struct supervisor *supervisor, const struct message *task)
{
    const struct start_process *body = MESSAGE_BODY(task, start_process);
    const struct rank_key key = {body->actor, body->rank, &body->instance_id, &body->generation};
    const struct actor_row *row = row_of(supervisor, body->actor);
    if (!row)
        return answer_refused(supervisor, task, STATUS_INVALID,
                              "only a launcher or a runner is started by a task");
    if (rank_find(supervisor, &key))
        return answer_phase(supervisor, task, &key, TASK_RUNNING);
    const struct ended_rank *ended = ended_find(supervisor, &key);
    if (ended)
        return answer_phase(supervisor, task, &key, ended->was_asked ? TASK_DONE : TASK_FAILED);
    if (supervisor->is_stopping)
        return answer_refused(supervisor, task, STATUS_ENDED, "the node is being stopped");
    for (size_t i = supervisor->settings->row_count; i < COUNT_OF(supervisor->children); i++) {
        struct supervised *child = &supervisor->children[i];
        if (child->state != CHILD_NONE)
            continue;
        *child = (struct supervised){.row = row,
                                     .has_rank = true,
                                     .instance_id = body->instance_id,
                                     .generation = body->generation,
                                     .rank = body->rank,
                                     .threads = body->threads,
                                     .key = task->head.key};
        (void)snprintf(child->fabric, sizeof(child->fabric), "%s", text_or_empty(body->fabric));
        (void)snprintf(child->front, sizeof(child->front), "%s", text_or_empty(body->front));
        (void)snprintf(child->rdma, sizeof(child->rdma), "%s", text_or_empty(body->rdma));
        (void)snprintf(child->ways, sizeof(child->ways), "%s", text_or_empty(body->ways));
        child_start(supervisor, child);
        return answer_phase(supervisor, task, &key, TASK_RUNNING);
    }
    return answer_refused(supervisor, task, STATUS_BUSY,
                          "this node runs as many launchers and runners as it can watch");
}

static enum status stop_process(struct supervisor *supervisor, const struct message *task)
{
    const struct stop_process *body = MESSAGE_BODY(task, stop_process);
    const struct rank_key key = {body->actor, body->rank, &body->instance_id, &body->generation};
    struct supervised *child = rank_find(supervisor, &key);
    if (child)
        child_end_politely(supervisor, child);
    return answer_phase(supervisor, task, &key, child ? TASK_RUNNING : TASK_DONE);
}

static enum status list_tasks(struct supervisor *supervisor, const struct message *task)
{
    struct message answer;
    enum status status = message_init(&answer, MESSAGE_ANSWER, ANSWER_TASKS);
    if (status != STATUS_OK)
        return status;
    struct tasks_listed *body = MESSAGE_BODY(&answer, tasks_listed);
    answer.head.key = task->head.key;
    for (size_t i = supervisor->settings->row_count;
         i < COUNT_OF(supervisor->children) && status == STATUS_OK; i++) {
        const struct supervised *child = &supervisor->children[i];
        if (child->state == CHILD_NONE)
            continue;
        const struct task_held held = {.key = child->key,
                                       .code = TASK_START_PROCESS,
                                       .phase = TASK_RUNNING,
                                       .instance_id = child->instance_id,
                                       .generation = child->generation,
                                       .rank = child->rank,
                                       .actor = child->row->kind};
        if (!record_list_push(&task_held_type, RECORD_LIST(body->tasks), &held, 1024))
            status = STATUS_NO_MEMORY;
    }
    if (status == STATUS_OK)
        session_send(&supervisor->session, &answer, supervisor->outbox);
    message_fini(&answer);
    return status;
}

enum status task_take(struct supervisor *supervisor, const struct message *task)
{
    switch (task->head.code) {
    case TASK_START_PROCESS:
        return start_process(supervisor, task);
    case TASK_STOP_PROCESS:
        return stop_process(supervisor, task);
    case TASK_LIST_TASKS:
        return list_tasks(supervisor, task);
    default:
        return answer_refused(supervisor, task, STATUS_UNSUPPORTED,
                              "this is no task of a supervisor");
    }
}

/* ---- reports ---- */

/* A report is dropped only before the first welcome, when there is no name to report under, and
 * when hundreds wait for a master that is away. */
static void report_send(struct supervisor *supervisor, struct message *report)
{
    if (ID_IS_ZERO(supervisor->session.mirror.node_id))
        return;
    if (session_report(&supervisor->session, report, supervisor->input->now_ms,
                       supervisor->outbox) != STATUS_OK)
        say(supervisor, true, "a report is lost: too many wait for the master");
}

void report_ended(struct supervisor *supervisor, const struct supervised *child,
                  const struct child_end *end, bool was_asked, const char *sentence)
{
    struct message report;
    if (message_init(&report, MESSAGE_REPORT, REPORT_PROCESS_ENDED) != STATUS_OK)
        return;
    struct process_ended *body = MESSAGE_BODY(&report, process_ended);
    body->node_id = supervisor->session.mirror.node_id;
    body->actor = child->row->kind;
    body->incarnation = child->incarnation;
    body->instance_id = child->instance_id;
    body->generation = child->generation;
    body->rank = child->rank;
    body->exit_code = end->exit_code > 0 ? (uint32_t)end->exit_code & 0xffu : 0;
    body->signal = end->signal > 0 ? (uint32_t)end->signal : 0;
    body->was_asked = was_asked;
    if (text_set(&body->reason, was_asked ? "" : sentence))
        report_send(supervisor, &report);
    message_fini(&report);
}

void report_given_up(struct supervisor *supervisor, const struct supervised *child,
                     const char *sentence)
{
    struct message report;
    if (message_init(&report, MESSAGE_REPORT, REPORT_PROCESS_GIVEN_UP) != STATUS_OK)
        return;
    struct given_up_record *process = &MESSAGE_BODY(&report, process_given_up)->process;
    process->node_id = supervisor->session.mirror.node_id;
    process->actor = child->row->kind;
    if (text_set(&process->reason, sentence))
        report_send(supervisor, &report);
    message_fini(&report);
}

/* ---- after a new connection ---- */

/* A younger generation than the state's is not unwanted: the state is late. */
static bool is_wanted(const struct state *state, const struct supervised *child)
{
    const struct instance_record *instance = state_find_instance(state, &child->instance_id);
    if (!instance)
        return false;
    const struct generation *current = &instance->generation;
    if (!generation_equal(current, &child->generation))
        return child->generation.epoch > current->epoch ||
               (child->generation.epoch == current->epoch &&
                child->generation.counter > current->counter);
    return instance->status == INSTANCE_STARTING || instance->status == INSTANCE_READY;
}

/* What the state believes to run here and we did not start ended with an earlier supervisor, who
 * could not tell. */
static void report_lost(struct supervisor *supervisor, const struct instance_record *instance,
                        uint32_t rank, enum actor_kind actor)
{
    const struct rank_key key = {actor, rank, &instance->instance_id, &instance->generation};
    const struct actor_row *row = row_of(supervisor, actor);
    if (!row || rank_find(supervisor, &key) || ended_find(supervisor, &key))
        return;
    const struct supervised lost = {.row = row,
                                    .instance_id = instance->instance_id,
                                    .generation = instance->generation,
                                    .rank = rank};
    const struct child_end end = {.exit_code = -1, .signal = 0};
    report_ended(supervisor, &lost, &end, false, "its node was started anew");
}

static void lost_tell(struct supervisor *supervisor)
{
    const struct state *state = &supervisor->session.mirror.state;
    const struct node_id *own = &supervisor->session.mirror.node_id;
    for (uint32_t i = 0; i < state->instances.count; i++) {
        const struct instance_record *instance = &state->instances.items[i];
        if (instance->status != INSTANCE_STARTING && instance->status != INSTANCE_READY)
            continue;
        for (uint32_t r = 0; r < instance->ranks.count; r++) {
            const struct rank_record *rank = &instance->ranks.items[r];
            if (!ID_EQUAL(rank->node_id, *own) || rank->status == RANK_RELEASED)
                continue;
            /* A rank of several is its launcher's, the only rank is ours. */
            if (instance->ranks.count > 1 && text_or_empty(rank->launcher_address)[0])
                report_lost(supervisor, instance, r, ACTOR_LAUNCHER);
            else if (instance->ranks.count == 1 && text_or_empty(rank->runner_address)[0])
                report_lost(supervisor, instance, r, ACTOR_RUNNER);
        }
    }
}

void ranks_compare(struct supervisor *supervisor)
{
    const struct state_mirror *mirror = &supervisor->session.mirror;
    const uint64_t index = state_mirror_index(mirror);
    if (index > supervisor->reached)
        supervisor->reached = index;
    /* The tasks came after the events they follow from: once the mirror is where it was, it knows
     * of every child; once it is where the master was, of what happened while we were cut off. */
    const bool is_behind = index < supervisor->reached || index < supervisor->master_index;
    if (!supervisor->must_compare || !mirror->has_state || supervisor->is_stopping ||
        (is_behind && supervisor->input->now_ms < supervisor->compare_by_ms))
        return;
    supervisor->must_compare = false;
    if (!supervisor->is_told_lost)
        lost_tell(supervisor);
    supervisor->is_told_lost = true;
    for (size_t i = supervisor->settings->row_count; i < COUNT_OF(supervisor->children); i++) {
        struct supervised *child = &supervisor->children[i];
        if (child->state == CHILD_NONE || is_wanted(&mirror->state, child))
            continue;
        say(supervisor, false, "%s of rank %u is not wanted any more", child->row->name,
            child->rank);
        child_end_politely(supervisor, child);
    }
}
