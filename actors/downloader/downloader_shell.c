/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/downloader/downloader_shell.h"

#include "actors/downloader/downloader.h"
#include "actors/downloader/hub_pull.h"
#include "protocol/memory.h"
#include "runtime/clock.h"
#include "runtime/log.h"
#include "runtime/safetensors.h"
#include "runtime/store_io.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Static_assert(LEDGER_CHUNK_SIZE == CHUNK_SIZE, "chunks of a pull are those of a manifest");

#define ROOM_POLL_MS 10u

struct work {
    struct downloader_shell *shell;
    struct loop *loop;
    uint64_t id;
    uint32_t kind;
    struct import_request *request;
    struct hub_company company; /* of a pull */
    struct work *next; /* of shell->works */
    char elsewhere[MODEL_STORE_PATH_SIZE]; /* of a pull: where it was found */
    struct room_answer *room; /* what was answered; guarded by the mutex */
    atomic_bool is_cancelled;
};

void downloader_shell_init(struct downloader_shell *self)
{
    hub_gates_init(&self->gates);
    (void)pthread_mutex_init(&self->mutex, NULL);
    self->works = NULL;
}

void downloader_shell_fini(struct downloader_shell *self)
{
    (void)pthread_mutex_destroy(&self->mutex);
    hub_gates_fini(&self->gates);
}

static void work_free(void *argument)
{
    struct work *work = argument;
    struct downloader_shell *shell = work->shell;
    (void)pthread_mutex_lock(&shell->mutex);
    for (struct work **at = &shell->works; *at; at = &(*at)->next)
        if (*at == work) {
            *at = work->next;
            break;
        }
    (void)pthread_mutex_unlock(&shell->mutex);
    hub_company_fini(&work->company);
    import_request_free(work->request);
    memory_free(work->room);
    memory_free(work);
}

/* ---- looking ---- */

struct look {
    bool is_glance;
    struct model_store *store;
    struct store_found *found;
};

static enum status look_at(void *who, const char *model_id)
{
    struct look *look = who;
    if (look->found->count == MODEL_COUNT_MAX)
        return STATUS_OK;
    struct found_model *model = &look->found->models[look->found->count];
    model->reason.text[0] = '\0';
    model->holding =
        look->is_glance ? model_store_check(look->store, model_id, &model->record, &model->reason)
                        : model_store_verify(look->store, model_id, &model->record, &model->reason);
    struct reason unread;
    if (model->holding == MODEL_SMALL_FILES)
        model->holding = model_store_held(look->store, model_id, NULL, 0, NULL, model->held,
                                          &unread);
    if (model->record.model_id)
        look->found->count++;
    else
        record_fini(&model_record_type, &model->record);
    return STATUS_OK;
}

static void do_look(const struct work *work, struct result *result)
{
    struct look look = {work->id == LOOK_GLANCE, work->shell->store,
                        memory_zeroed(1, sizeof(*look.found))};
    if (!look.found) {
        result->status = STATUS_NO_MEMORY;
        return;
    }
    result->status = model_store_list(look.store, look_at, &look, &result->reason);
    result->value = look.found;
    result->value_free = store_found_free;
}

/* ---- telling ---- */

static void post_progress(const struct work *work, struct import_progressed *progressed,
                          const char *file)
{
    struct result result = {.id = work->id,
                            .kind = DOWNLOADER_PROGRESS,
                            .status = STATUS_OK,
                            .value = progressed,
                            .value_free = import_progressed_free};
    if (text_set(&progressed->model_id, work->request->model_id) &&
        text_set(&progressed->file, file))
        loop_post(work->loop, &result);
    else
        import_progressed_free(progressed);
}

static void tell_progress(void *who, uint64_t bytes_have, uint64_t bytes_total)
{
    struct import_progressed *progressed = memory_zeroed(1, sizeof(*progressed));
    if (!progressed)
        return;
    progressed->bytes_have = bytes_have;
    progressed->bytes_total = bytes_total;
    post_progress(who, progressed, "");
}

static void tell_pull(void *who, const struct hub_progress *progress)
{
    struct import_progressed *progressed = memory_zeroed(1, sizeof(*progressed));
    if (!progressed)
        return;
    progressed->bytes_have = progress->bytes_have;
    progressed->bytes_total = progress->bytes_total;
    progressed->file_have = progress->file_have;
    progressed->file_total = progress->file_total;
    progressed->bytes_per_s = progress->bytes_per_s;
    progressed->bytes_hub = progress->bytes_hub;
    progressed->bytes_peers = progress->bytes_peers;
    post_progress(who, progressed, progress->file);
}

static void post_shared(const struct work *work, uint32_t kind, void *value,
                        void (*value_free)(void *value), bool is_filled)
{
    struct result result = {.id = work->id,
                            .kind = kind,
                            .status = STATUS_OK,
                            .value = value,
                            .value_free = value_free};
    if (is_filled)
        loop_post(work->loop, &result);
    else
        value_free(value);
}

static bool push_file(struct download_resolved *resolved, const struct hub_file *file)
{
    struct download_file *pushed =
        record_list_push(&download_file_type, RECORD_LIST(resolved->files), NULL,
                         MODEL_FILE_COUNT_MAX);
    if (!pushed)
        return false;
    pushed->size = file->size;
    pushed->is_weight = file->is_weight;
    return text_set(&pushed->path, file->path) && text_set(&pushed->etag, file->etag);
}

static void tell_resolved(void *who, const char *commit, const struct hub_tree *tree)
{
    const struct work *work = who;
    struct download_resolved *resolved = memory_zeroed(1, sizeof(*resolved));
    bool ok = resolved && text_set(&resolved->model_id, work->request->model_id) &&
              text_set(&resolved->commit, commit);
    for (uint32_t i = 0; i < tree->count && ok; i++)
        ok = push_file(resolved, &tree->files[i]);
    post_shared(work, DOWNLOADER_RESOLVED, resolved, download_resolved_free, ok);
}

static void tell_placed(void *who, const char *commit, const char *path)
{
    const struct work *work = who;
    struct file_downloaded *placed = memory_zeroed(1, sizeof(*placed));
    const bool ok = placed && text_set(&placed->model_id, work->request->model_id) &&
                    text_set(&placed->commit, commit) && text_set(&placed->path, path);
    post_shared(work, DOWNLOADER_PLACED, placed, file_downloaded_free, ok);
}

static void tell_hindered(void *who, enum status status, const struct reason *reason)
{
    const struct work *work = who;
    struct download_hindered *hindered = memory_zeroed(1, sizeof(*hindered));
    const bool ok = hindered && text_set(&hindered->model_id, work->request->model_id) &&
                    text_set(&hindered->reason, reason->text);
    if (ok)
        hindered->status = status;
    post_shared(work, DOWNLOADER_HINDERED, hindered, download_hindered_free, ok);
}

static bool is_cancelled(void *who)
{
    const struct work *work = who;
    return atomic_load(&work->is_cancelled) || loop_is_ending(work->loop);
}

static bool is_unwanted(void *who)
{
    const struct work *work = who;
    return atomic_load(&work->is_cancelled);
}

/* ---- room ---- */

struct usage_list {
    struct work *work;
    struct store_room *room;
};

static enum status add_usage(void *who, const char *model_id)
{
    struct usage_list *list = who;
    struct store_room *room = list->room;
    struct reason unread;
    if (room->count == MODEL_COUNT_MAX || strlen(model_id) >= sizeof(room->model_id))
        return STATUS_OK;
    struct room_held *held = &room->models[room->count];
    if (model_store_usage(list->work->shell->store, model_id, &held->usage, &unread) != STATUS_OK)
        return STATUS_OK;
    (void)snprintf(held->model_id, sizeof(held->model_id), "%s", model_id);
    room->count++;
    return STATUS_OK;
}

/* The step answers at once; until then this thread has nothing else to do. */
static struct room_answer *await_room(struct work *work)
{
    struct room_answer *answer = NULL;
    while (!answer && !is_cancelled(work)) {
        (void)pthread_mutex_lock(&work->shell->mutex);
        answer = work->room;
        work->room = NULL;
        (void)pthread_mutex_unlock(&work->shell->mutex);
        if (!answer)
            clock_sleep_ms(ROOM_POLL_MS);
    }
    return answer;
}

static enum status remove_others(struct work *work, const struct room_answer *answer,
                                 struct reason *reason)
{
    enum status status = answer->status == STATUS_OK
                             ? STATUS_OK
                             : refuse(reason, answer->status, "%s", answer->reason.text);
    for (uint32_t i = 0; i < answer->count && status == STATUS_OK; i++) {
        log_notice("%s is removed to make room for %s: it was not used for longest",
                   answer->names[i], work->request->model_id);
        status = model_store_delete(work->shell->store, answer->names[i], reason);
    }
    return status;
}

/* Within the quota and on the disk, by removing what was not used for longest. */
static enum status make_room_beside(void *who, uint64_t bytes, uint64_t there,
                                    struct reason *reason)
{
    struct work *work = who;
    struct store_room *room = memory_zeroed(1, sizeof(*room));
    struct usage_list list = {work, room};
    if (!room)
        return refuse(reason, STATUS_NO_MEMORY, "no memory to look for room");
    (void)snprintf(room->model_id, sizeof(room->model_id), "%s", work->request->model_id);
    room->bytes = bytes;
    room->quota = work->shell->quota;
    if (store_free_bytes(work->shell->cache->directory, &room->free_bytes) != 0)
        room->free_bytes = UINT64_MAX;
    if (room->free_bytes <= UINT64_MAX - there)
        room->free_bytes += there;
    enum status status = model_store_list(work->shell->store, add_usage, &list, reason);
    /* Without a quota nothing is removed unasked: a full disk is the user's to clear. */
    if (status != STATUS_OK || room->quota == 0) {
        memory_free(room);
        return status;
    }
    struct result result = {.id = work->id,
                            .kind = DOWNLOADER_ROOM,
                            .status = STATUS_OK,
                            .value = room,
                            .value_free = memory_free};
    loop_post(work->loop, &result);
    struct room_answer *answer = await_room(work);
    status = answer ? remove_others(work, answer, reason)
                    : refuse(reason, STATUS_CANCELLED, "taking in %.100s was interrupted",
                             work->request->model_id);
    memory_free(answer);
    return status;
}

static enum status make_room(void *who, uint64_t bytes, struct reason *reason)
{
    return make_room_beside(who, bytes, 0, reason);
}

/* ---- importing and pulling ---- */

static void take_in(struct work *work, const char *path, const struct hub_pulled *pulled,
                    struct result *result)
{
    const struct model_import import = {.model_id = work->request->model_id,
                                        .source = path,
                                        .revision_in_use = &work->request->revision_in_use,
                                        .progress = tell_progress,
                                        .is_cancelled = is_cancelled,
                                        .make_room = make_room,
                                        .who = work,
                                        .known = pulled ? pulled->known : NULL,
                                        .known_count = pulled ? pulled->known_count : 0};
    struct model_record *record = memory_zeroed(1, sizeof(*record));
    if (!record) {
        result->status = STATUS_NO_MEMORY;
        return;
    }
    result->status = model_store_import(work->shell->store, &import, record, &result->reason);
    result->value = record;
    result->value_free = model_record_free;
}

/* A commit of the cache becomes a model of the store. */
static void adopt(struct work *work, const struct hub_pulled *pulled, struct result *result)
{
    char path[HUB_ROOT_SIZE + HUB_NAME_SIZE];
    result->status = hub_cache_snapshot_path(work->shell->cache, work->request->model_id,
                                             pulled->commit, path, sizeof(path), &result->reason);
    if (result->status == STATUS_OK)
        take_in(work, path, pulled, result);
}

static const char *get_variable(const char *name)
{
    return getenv(name);
}

/* Without a word to the hub: what lies in the cache or in a directory of models, if it does. */
static bool pull_offline(struct work *work, struct result *result)
{
    const struct import_request *request = work->request;
    char path[MODEL_STORE_PATH_SIZE];
    struct reason why = {""};
    if (model_store_find(work->shell->store, request->model_id,
                         request->hub_revision[0] ? request->hub_revision : NULL, path,
                         sizeof(path), &why) != STATUS_OK)
        return false;
    take_in(work, path, NULL, result);
    return true;
}

/* The weights that the index there names; without one, all. */
static bool keep_weights(const struct work *work, struct hub_tree *tree)
{
    struct reason why;
    char *text = NULL;
    size_t size = 0;
    if (!hub_tree_find(tree, HUB_INDEX_NAME))
        return true;
    if (model_file_read(work->elsewhere, HUB_INDEX_NAME, HUB_INDEX_SIZE_MAX, &text, &size, &why) !=
        STATUS_OK)
        return false;
    const enum status status =
        hub_tree_keep_weights(tree, text, size, work->request->model_id, &why);
    memory_free(text);
    return status == STATUS_OK;
}

/* In a cache among model_directories, with every file that would be fetched. */
static bool is_elsewhere(void *who, const char *commit, struct hub_tree *tree)
{
    struct work *work = who;
    struct reason why;
    bool is_whole = model_store_find_commit(work->shell->store, work->request->model_id, commit,
                                            work->elsewhere, sizeof(work->elsewhere));
    for (uint32_t i = 0; i < tree->count && is_whole; i++) {
        uint64_t size = 0;
        int file = -1;
        if (tree->files[i].is_weight)
            continue; /* found to be whole by its index */
        is_whole = model_file_open(work->elsewhere, tree->files[i].path, &file, &size, &why) ==
                       STATUS_OK &&
                   size == tree->files[i].size;
        if (file >= 0)
            (void)close(file);
    }
    return is_whole && keep_weights(work, tree);
}

static enum status run_pull(struct work *work, const struct hub_pull *pull, struct result *result)
{
    struct hub_pulled pulled = {.commit = ""};
    result->status = hub_pull_run(pull, &pulled, &result->reason);
    if (result->status == STATUS_OK && pulled.is_elsewhere)
        take_in(work, work->elsewhere, NULL, result);
    else if (result->status == STATUS_OK)
        adopt(work, &pulled, result);
    hub_known_free(pulled.known, pulled.known_count);
    return pulled.is_elsewhere ? result->status : STATUS_OK;
}

static void do_pull(struct work *work, struct result *result)
{
    struct downloader_shell *shell = work->shell;
    struct hub_env *env = memory_zeroed(1, sizeof(*env));
    if (!env) {
        result->status = STATUS_NO_MEMORY;
        return;
    }
    struct hub_pull pull = {.env = env,
                                  .gates = &shell->gates,
                                  .cache = shell->cache,
                                  .ledgers = shell->ledgers,
                                  .model_id = work->request->model_id,
                                  .revision = work->request->hub_revision,
                                  .commit_in_use = work->request->commit_in_use,
                                  .connections = shell->connections,
                                  .tries_max = shell->tries_max,
                                  .company = &work->company,
                                  .resolved = tell_resolved,
                                  .placed = tell_placed,
                                  .hindered = tell_hindered,
                                  .progress = tell_pull,
                                  .is_elsewhere = is_elsewhere,
                                  .make_room = make_room_beside,
                                  .is_cancelled = is_cancelled,
                                  .is_unwanted = is_unwanted,
                                  .who = work};
    result->status = hub_env_read(env, get_variable, &result->reason);
    const bool is_adopted =
        result->status == STATUS_OK && env->is_offline && pull_offline(work, result);
    if (result->status == STATUS_OK && !is_adopted) {
        const enum status status = run_pull(work, &pull, result);
        /* What lies elsewhere is damaged there: it is fetched after all. */
        if (status == STATUS_HASH_MISMATCH || status == STATUS_MALFORMED ||
            status == STATUS_DAMAGED) {
            log_warning("%s; it is fetched from the hub", result->reason.text);
            if (result->value_free)
                result->value_free(result->value);
            *result = (struct result){.id = work->id, .kind = work->kind, .status = STATUS_OK};
            pull.is_elsewhere = NULL;
            (void)run_pull(work, &pull, result);
        }
    }
    hub_env_wipe(env);
    memory_free(env);
}

static void do_work(void *argument)
{
    struct work *work = argument;
    struct result result = {.id = work->id, .kind = work->kind, .status = STATUS_OK};
    switch ((enum downloader_effect)work->kind) {
    case DOWNLOADER_LOOK:
        do_look(work, &result);
        break;
    case DOWNLOADER_IMPORT:
        take_in(work, work->request->path, NULL, &result);
        break;
    case DOWNLOADER_PULL:
        do_pull(work, &result);
        break;
    case DOWNLOADER_DELETE:
        result.status =
            model_store_delete(work->shell->store, work->request->model_id, &result.reason);
        break;
    case DOWNLOADER_CLEAR:
        result.status = make_room(work, work->request->bytes, &result.reason);
        if (result.status != STATUS_OK)
            log_warning("%s", result.reason.text);
        break;
    case DOWNLOADER_NOTE:
        result.status =
            model_store_note(work->shell->store, work->request->model_id, work->request->is_pinned,
                             work->request->used_ms, &result.reason);
        break;
    case DOWNLOADER_CANCEL:
    case DOWNLOADER_PLAN:
    case DOWNLOADER_PROGRESS:
    case DOWNLOADER_RESOLVED:
    case DOWNLOADER_PLACED:
    case DOWNLOADER_HINDERED:
    case DOWNLOADER_ROOM:
        break;
    }
    struct loop *loop = work->loop;
    work_free(work);
    loop_post(loop, &result);
}

static void cancel(struct downloader_shell *shell, uint64_t id)
{
    (void)pthread_mutex_lock(&shell->mutex);
    for (struct work *work = shell->works; work; work = work->next)
        if (work->id == id && (work->kind == DOWNLOADER_PULL || work->kind == DOWNLOADER_IMPORT))
            atomic_store(&work->is_cancelled, true);
    (void)pthread_mutex_unlock(&shell->mutex);
}

static bool needs_room(const struct work *work)
{
    return work->kind == DOWNLOADER_PULL || work->kind == DOWNLOADER_IMPORT ||
           work->kind == DOWNLOADER_CLEAR;
}

/* The answer is the waiting work's; one that has ended needs none. */
static void give_room(struct downloader_shell *shell, struct effect *effect)
{
    (void)pthread_mutex_lock(&shell->mutex);
    for (struct work *work = shell->works; work; work = work->next)
        if (work->id == effect->id && needs_room(work) && !work->room) {
            work->room = effect->request;
            effect->request = NULL;
            break;
        }
    (void)pthread_mutex_unlock(&shell->mutex);
}

/* One that has ended needs none. */
static void put_plan(struct downloader_shell *shell, uint64_t id, struct hub_plan *plan)
{
    (void)pthread_mutex_lock(&shell->mutex);
    for (struct work *work = shell->works; work; work = work->next)
        if (work->id == id && work->kind == DOWNLOADER_PULL)
            hub_company_put(&work->company, plan);
    (void)pthread_mutex_unlock(&shell->mutex);
}

static enum status perform(void *self, struct loop *loop, struct effect *effect,
                           struct reason *reason)
{
    struct downloader_shell *shell = self;
    if (effect->kind == DOWNLOADER_ROOM) {
        give_room(shell, effect);
        return STATUS_OK;
    }
    if (effect->kind == DOWNLOADER_CANCEL) {
        cancel(shell, effect->id);
        return STATUS_OK;
    }
    if (effect->kind == DOWNLOADER_PLAN) {
        put_plan(shell, effect->id, effect->request);
        return STATUS_OK;
    }
    struct work *work = memory_zeroed(1, sizeof(*work));
    if (!work)
        return refuse(reason, STATUS_NO_MEMORY, "no memory to work on a model");
    hub_company_init(&work->company);
    work->shell = shell;
    work->loop = loop;
    work->id = effect->id;
    work->kind = effect->kind;
    work->request = effect->request;
    effect->request = NULL;
    (void)pthread_mutex_lock(&shell->mutex);
    work->next = shell->works;
    shell->works = work;
    (void)pthread_mutex_unlock(&shell->mutex);
    enum status status = loop_work(loop, do_work, work_free, work);
    if (status != STATUS_OK) {
        work_free(work);
        return refuse(reason, status, "no thread can be started to work on a model");
    }
    return STATUS_OK;
}

struct shell downloader_shell(struct downloader_shell *self)
{
    return (struct shell){.self = self, .perform = perform};
}
