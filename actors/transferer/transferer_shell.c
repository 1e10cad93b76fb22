/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/transferer/transferer_shell.h"

#include "protocol/memory.h"
#include "runtime/log.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

/* Of a file as it was verified: its stamp tells. */
static void read_piece(const struct model_store *store, struct read_request *request)
{
    const struct file_asked *asked = &request->asked;
    struct reason reason;
    int file = -1;
    struct stat facts;
    request->piece_out.items = memory_resized(NULL, asked->size, 1); /* all of it is read */
    if (!request->piece_out.items)
        return;
    enum status status =
        model_store_open_file(store, text_or_empty(asked->model_id), &asked->revision,
                              text_or_empty(asked->name), &file, &reason);
    if (status == STATUS_OK && fstat(file, &facts) != 0)
        status = STATUS_IO;
    for (uint32_t at = 0; at < asked->size && status == STATUS_OK;) {
        const ssize_t count = pread(file, request->piece_out.items + at, asked->size - at,
                                    (off_t)(asked->offset + at));
        if (count <= 0 && !(count < 0 && errno == EINTR))
            status = STATUS_IO;
        at += count > 0 ? (uint32_t)count : 0;
    }
    if (file >= 0)
        (void)close(file);
    request->piece_out.count = asked->size;
    request->part_out.total = status == STATUS_OK ? (uint64_t)facts.st_size : 0;
    request->part_out.status = status;
}

void transferer_read(const struct model_store *store, struct read_request *request)
{
    const struct file_asked *asked = &request->asked;
    struct file_part *part = &request->part_out;
    struct reason reason;
    part->revision = asked->revision;
    part->offset = asked->offset;
    part->status = STATUS_NO_MEMORY;
    if (!text_set(&part->model_id, asked->model_id) || !text_set(&part->name, asked->name))
        return;
    if (asked->size > 0) {
        read_piece(store, request);
        return;
    }
    part->part.items = memory_zeroed(FILE_PART_SIZE, 1);
    if (!part->part.items)
        return;
    part->status = model_store_read_small(store, text_or_empty(asked->model_id),
                                          &asked->revision, text_or_empty(asked->name),
                                          asked->offset, part->part.items, &part->part.count,
                                          &part->total, &reason);
}

void transferer_manifest(const struct model_store *store, struct manifest_request *request)
{
    struct manifest_part *part = &request->part_out;
    struct model_source source;
    struct buffer bytes;
    struct reason reason;
    part->revision = request->asked.revision;
    part->offset = request->asked.offset;
    part->status = STATUS_NOT_FOUND;
    if (!request->record.model_id)
        return;
    buffer_init(&bytes, CHUNK_MANIFEST_SIZE_MAX);
    part->status = model_source_open(store, &request->record, &source, &bytes, &reason);
    if (part->status == STATUS_OK)
        model_source_close(&source);
    if (part->status == STATUS_OK && part->offset < bytes.size) {
        const size_t left = bytes.size - (size_t)part->offset;
        part->total = bytes.size;
        if (!bytes_set(&part->part, bytes.bytes + part->offset,
                       left < FILE_PART_SIZE ? left : FILE_PART_SIZE))
            part->status = STATUS_NO_MEMORY;
    }
    buffer_fini(&bytes);
}

static void do_work(void *argument)
{
    struct work *work = argument;
    struct result result = {.id = work->effect.id, .kind = work->effect.kind,
                            .status = STATUS_OK};
    switch ((enum transferer_effect)work->effect.kind) {
    case TRANSFERER_CHECK:
    case TRANSFERER_FIND:
        transferer_check(work->shell->store, work->effect.request);
        break;
    case TRANSFERER_MANIFEST:
        transferer_manifest(work->shell->store, work->effect.request);
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
    case TRANSFERER_REFUSED:
        break;
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
    if (effect->kind >= BULK_FIRST)
        return bulk_take(((struct transferer_shell *)self)->bulk, effect);
    if (effect->kind == TRANSFERER_REFUSED) {
        log_notice("refused %llu messages that a gateway may not send to a transferer",
                   (unsigned long long)effect->id);
        return STATUS_OK;
    }
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

static enum status open_bulk(void *self, struct loop *loop, struct reason *reason)
{
    struct transferer_shell *shell = self;
    const struct bulk_options options = {.post = loop_post, .loop = loop, .store = shell->store,
                                         .listen = shell->listen, .rate = shell->rate};
    return bulk_open(&options, &shell->bulk, reason);
}

static void close_bulk(void *self)
{
    struct transferer_shell *shell = self;
    bulk_close(shell->bulk);
    shell->bulk = NULL;
}

struct shell transferer_shell(struct transferer_shell *self)
{
    return (struct shell){.self = self, .open = open_bulk, .perform = perform,
                          .close = close_bulk};
}
