/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/planner/plan.h"

#include "protocol/hash.h"

#include <string.h>

static const struct planned_task nothing = {.code = TASK_CODE_NONE};

static bool is_running(const struct instance_record *instance)
{
    return instance->status == INSTANCE_STARTING || instance->status == INSTANCE_READY;
}

static const struct task_in_flight *find_process(const struct plan_question *question,
                                                 uint32_t code, const struct instance_id *id,
                                                 const struct generation *generation,
                                                 uint32_t rank)
{
    for (uint32_t i = 0; i < question->in_flight->count; i++) {
        const struct task_in_flight *task = &question->in_flight->items[i];
        if (task->code == code && task->rank == rank && ID_EQUAL(task->instance_id, *id) &&
            generation_equal(&task->generation, generation))
            return task;
    }
    return NULL;
}

static const struct task_in_flight *find_model_task(const struct plan_question *question,
                                                    uint32_t code, const char *model_id)
{
    for (uint32_t i = 0; i < question->in_flight->count; i++) {
        const struct task_in_flight *task = &question->in_flight->items[i];
        if (task->code == code && strcmp(task->model_id, model_id) == 0)
            return task;
    }
    return NULL;
}

/* Given and not failed, or failed and too early to try again. */
static bool is_taken(const struct plan_question *question, const struct task_in_flight *task)
{
    return task && (!task->is_failed || question->now_ms < task->retry_at_ms);
}

/* ---- the rules, in order of priority ---- */

static struct planned_task stop_process_of_ended_generation(const struct plan_question *question)
{
    for (uint32_t i = 0; i < question->in_flight->count; i++) {
        const struct task_in_flight *held = &question->in_flight->items[i];
        if (held->code != TASK_START_PROCESS || held->is_failed || held->is_ended)
            continue;
        const struct instance_record *instance =
            state_find_instance(question->state, &held->instance_id);
        if (instance && is_running(instance) &&
            generation_equal(&instance->generation, &held->generation))
            continue;
        const struct task_in_flight *stop =
            find_process(question, TASK_STOP_PROCESS, &held->instance_id, &held->generation,
                         held->rank);
        if (is_taken(question, stop))
            continue;
        return (struct planned_task){.code = TASK_STOP_PROCESS,
                                     .route = ACTOR_SUPERVISOR,
                                     .actor = held->actor,
                                     .instance_id = held->instance_id,
                                     .generation = held->generation,
                                     .rank = held->rank};
    }
    return nothing;
}

static struct planned_task import_requested_model(const struct plan_question *question)
{
    for (uint32_t i = 0; i < question->state->imports.count; i++) {
        const struct import_record *import = &question->state->imports.items[i];
        if (!ID_EQUAL(import->node_id, *question->node) ||
            is_taken(question,
                     find_model_task(question, TASK_IMPORT_MODEL, text_or_empty(import->model_id))))
            continue;
        return (struct planned_task){.code = TASK_IMPORT_MODEL,
                                     .route = ACTOR_DOWNLOADER,
                                     .model_id = text_or_empty(import->model_id),
                                     .path = text_or_empty(import->path),
                                     .hub_revision = text_or_empty(import->hub_revision)};
    }
    return nothing;
}

static struct planned_task fetch_missing_small_files(const struct plan_question *question)
{
    for (uint32_t i = 0; i < question->state->instances.count; i++) {
        const struct instance_record *instance = &question->state->instances.items[i];
        const struct model_record *model =
            state_find_model(question->state, text_or_empty(instance->model_id));
        if (!is_running(instance) || !model || model_find_holder(model, question->node))
            continue;
        bool is_ours = false;
        for (uint32_t r = 0; r < instance->ranks.count; r++)
            is_ours = is_ours || ID_EQUAL(instance->ranks.items[r].node_id, *question->node);
        if (!is_ours || is_taken(question, find_model_task(question, TASK_FETCH_SMALL_FILES,
                                                           text_or_empty(instance->model_id))))
            continue;
        return (struct planned_task){.code = TASK_FETCH_SMALL_FILES,
                                     .route = ACTOR_TRANSFERER,
                                     .model_id = text_or_empty(instance->model_id),
                                     .revision = model->revision};
    }
    return nothing;
}

static const struct task_in_flight *find_transfer(const struct plan_question *question,
                                                  const struct transfer_id *transfer_id)
{
    for (uint32_t i = 0; i < question->in_flight->count; i++) {
        const struct task_in_flight *task = &question->in_flight->items[i];
        if (task->code == TASK_FETCH_MODEL && ID_EQUAL(task->transfer_id, *transfer_id))
            return task;
    }
    return NULL;
}

static struct planned_task fetch_transferred_model(const struct plan_question *question)
{
    for (uint32_t i = 0; i < question->state->transfers.count; i++) {
        const struct transfer_record *transfer = &question->state->transfers.items[i];
        const struct transfer_target *target = transfer_find_target(transfer, question->node);
        if (!target || !transfer_target_is_open(target) ||
            is_taken(question, find_transfer(question, &transfer->transfer_id)))
            continue;
        return (struct planned_task){.code = TASK_FETCH_MODEL,
                                     .route = ACTOR_TRANSFERER,
                                     .model_id = text_or_empty(transfer->model_id),
                                     .revision = transfer->revision,
                                     .transfer_id = transfer->transfer_id};
    }
    return nothing;
}

static struct planned_task gather_shared_download(const struct plan_question *question)
{
    for (uint32_t i = 0; i < question->state->downloads.count; i++) {
        const struct download_record *download = &question->state->downloads.items[i];
        const char *model_id = text_or_empty(download->model_id);
        const struct download_target *target = download_find_target(download, question->node);
        struct hash commit;
        if (!target || (download->no_peers && !target->is_paused) ||
            download_target_rests(question->state, download, target) ||
            !text_or_empty(download->commit)[0] || question->state->nodes.count < 2 ||
            is_taken(question, find_model_task(question, TASK_GATHER_FILES, model_id)))
            continue;
        hash_of(download->commit, strlen(download->commit), &commit);
        return (struct planned_task){.code = TASK_GATHER_FILES,
                                     .route = ACTOR_TRANSFERER,
                                     .model_id = model_id,
                                     .commit = download->commit,
                                     .revision = commit};
    }
    return nothing;
}

static struct planned_task start_missing_rank(const struct plan_question *question)
{
    for (uint32_t i = 0; i < question->state->instances.count; i++) {
        const struct instance_record *instance = &question->state->instances.items[i];
        const struct model_record *model =
            state_find_model(question->state, text_or_empty(instance->model_id));
        /* The small files come first: without a configuration there is nothing to load. */
        if (!is_running(instance) || !model || !model_find_holder(model, question->node))
            continue;
        for (uint32_t r = 0; r < instance->ranks.count; r++) {
            const struct rank_record *rank = &instance->ranks.items[r];
            if (!ID_EQUAL(rank->node_id, *question->node) || rank->status == RANK_RELEASED ||
                is_taken(question,
                         find_process(question, TASK_START_PROCESS, &instance->instance_id,
                                      &instance->generation, r)))
                continue;
            return (struct planned_task){
                .code = TASK_START_PROCESS,
                .route = ACTOR_SUPERVISOR,
                .actor = instance->ranks.count > 1 ? ACTOR_LAUNCHER : ACTOR_RUNNER,
                .instance = instance,
                .instance_id = instance->instance_id,
                .generation = instance->generation,
                .rank = r,
                .rank_record = rank};
        }
    }
    return nothing;
}

static struct planned_task (*const plan_rules[])(const struct plan_question *question) = {
    stop_process_of_ended_generation,
    import_requested_model,
    gather_shared_download,
    fetch_missing_small_files,
    start_missing_rank,
    fetch_transferred_model,
};

struct planned_task plan_next(const struct plan_question *question)
{
    for (size_t i = 0; i < COUNT_OF(plan_rules); i++) {
        struct planned_task task = plan_rules[i](question);
        if (task.code != TASK_CODE_NONE)
            return task;
    }
    return nothing;
}

struct command_key planned_task_key(const struct planned_task *task)
{
    struct hash_stream stream;
    struct hash hash;
    struct command_key key;
    const uint64_t numbers[] = {task->code, task->actor, task->rank, task->generation.epoch,
                                task->generation.counter};
    const char *model_id = text_or_empty(task->model_id);
    hash_init(&stream);
    hash_update(&stream, numbers, sizeof(numbers));
    hash_update(&stream, &task->generation.leader, sizeof(task->generation.leader));
    hash_update(&stream, &task->instance_id, sizeof(task->instance_id));
    hash_update(&stream, model_id, strlen(model_id));
    hash_update(&stream, &task->revision, sizeof(task->revision));
    hash_update(&stream, &task->transfer_id, sizeof(task->transfer_id));
    hash_final(&stream, &hash);
    memcpy(&key, &hash, sizeof(key));
    return key;
}
