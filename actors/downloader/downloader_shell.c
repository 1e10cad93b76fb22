/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/downloader/downloader_shell.h"

#include "actors/downloader/downloader.h"
#include "protocol/memory.h"

#include <string.h>

struct work {
    struct downloader_shell *shell;
    struct loop *loop;
    uint64_t id;
    uint32_t kind;
    struct import_request *request;
};

static void work_free(void *argument)
{
    struct work *work = argument;
    import_request_free(work->request);
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
        look->is_glance
            ? model_store_check(look->store, model_id, &model->record, &model->reason)
            : model_store_verify(look->store, model_id, &model->record, &model->reason);
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

/* ---- importing ---- */

static void tell_progress(void *who, uint64_t bytes_have, uint64_t bytes_total)
{
    const struct work *work = who;
    struct result result = {.id = work->id, .kind = DOWNLOADER_PROGRESS, .status = STATUS_OK,
                            .value_free = import_progressed_free};
    struct import_progressed *progressed = memory_zeroed(1, sizeof(*progressed));
    if (!progressed)
        return;
    progressed->bytes_have = bytes_have;
    progressed->bytes_total = bytes_total;
    result.value = progressed;
    if (text_set(&progressed->model_id, work->request->model_id))
        loop_post(work->loop, &result);
    else
        import_progressed_free(progressed);
}

static bool is_cancelled(void *who)
{
    const struct work *work = who;
    return loop_is_ending(work->loop);
}

static void do_import(struct work *work, struct result *result)
{
    const struct model_import import = {.model_id = work->request->model_id,
                                        .source = work->request->path,
                                        .progress = tell_progress,
                                        .is_cancelled = is_cancelled,
                                        .who = work};
    struct model_record *record = memory_zeroed(1, sizeof(*record));
    if (!record) {
        result->status = STATUS_NO_MEMORY;
        return;
    }
    result->status = model_store_import(work->shell->store, &import, record, &result->reason);
    result->value = record;
    result->value_free = model_record_free;
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
        do_import(work, &result);
        break;
    case DOWNLOADER_DELETE:
        result.status = model_store_delete(work->shell->store, work->request->model_id,
                                           &result.reason);
        break;
    case DOWNLOADER_PROGRESS:
        break;
    }
    loop_post(work->loop, &result);
    work_free(work);
}

static enum status perform(void *self, struct loop *loop, struct effect *effect,
                           struct reason *reason)
{
    struct work *work = memory_zeroed(1, sizeof(*work));
    if (!work)
        return refuse(reason, STATUS_NO_MEMORY, "no memory to work on a model");
    *work = (struct work){self, loop, effect->id, effect->kind, effect->request};
    effect->request = NULL;
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
