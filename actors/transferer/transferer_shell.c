/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/transferer/transferer_shell.h"

#include "protocol/memory.h"

#include <string.h>

struct work {
    struct transferer_shell *shell;
    struct loop *loop;
    struct effect effect;
};

static void work_free(void *argument)
{
    struct work *work = argument;
    if (work->effect.request && work->effect.request_free)
        work->effect.request_free(work->effect.request);
    memory_free(work);
}

void transferer_check(const struct model_store *store, struct check_request *request)
{
    struct model_record record = {0};
    struct reason reason;
    request->holding_out = model_store_check(store, request->model_id, &record, &reason);
    request->revision_out = record.revision;
    record_fini(&model_record_type, &record);
}

void transferer_read(const struct model_store *store, struct read_request *request)
{
    const struct file_asked *asked = &request->asked;
    struct file_part *part = &request->part_out;
    struct reason reason;
    part->revision = asked->revision;
    part->offset = asked->offset;
    part->status = STATUS_NO_MEMORY;
    part->part.items = memory_zeroed(FILE_PART_SIZE, 1);
    if (!part->part.items || !text_set(&part->model_id, asked->model_id) ||
        !text_set(&part->name, asked->name))
        return;
    part->status = model_store_read_small(store, text_or_empty(asked->model_id),
                                          &asked->revision, text_or_empty(asked->name),
                                          asked->offset, part->part.items, &part->part.count,
                                          &part->total, &reason);
}

static void do_work(void *argument)
{
    struct work *work = argument;
    struct result result = {.id = work->effect.id, .kind = work->effect.kind,
                            .status = STATUS_OK};
    switch ((enum transferer_effect)work->effect.kind) {
    case TRANSFERER_CHECK:
        transferer_check(work->shell->store, work->effect.request);
        break;
    case TRANSFERER_READ:
        transferer_read(work->shell->store, work->effect.request);
        break;
    case TRANSFERER_STORE: {
        const struct store_request *request = work->effect.request;
        result.status = model_store_put_small(work->shell->store, &request->record,
                                              request->contents, &result.reason);
        break;
    }
    }
    if (work->effect.kind != TRANSFERER_STORE) {
        result.value = work->effect.request;
        result.value_free = work->effect.request_free;
        work->effect.request = NULL;
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
    *work = (struct work){self, loop, *effect};
    effect->request = NULL;
    enum status status = loop_work(loop, do_work, work_free, work);
    if (status != STATUS_OK) {
        work_free(work);
        return refuse(reason, status, "no thread can be started to work on a model");
    }
    return STATUS_OK;
}

struct shell transferer_shell(struct transferer_shell *self)
{
    return (struct shell){.self = self, .perform = perform};
}
