/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/transferer/gather.h"

#include "actors/transferer/transferer.h"
#include "protocol/memory.h"

#include <stdio.h>
#include <string.h>

void gather_clear(struct gather *gather)
{
    sources_free(&gather->sources);
    memory_free(gather->have);
    memory_free(gather->blocked);
    memory_free(gather->fed_ms);
    memory_free(gather->claimed);
    memory_free(gather->wanted);
    memory_free(gather->lacking_ms);
    memset(gather, 0, sizeof(*gather));
}

const struct download_record *gather_download(const struct transferer *transferer,
                                              const struct gather *gather)
{
    const struct download_record *download =
        state_find_download(&transferer->session.mirror.state, gather->model_id);
    return download && strcmp(text_or_empty(download->commit), gather->commit) == 0 ? download
                                                                                    : NULL;
}

/* NULL: nothing is to come to this node. */
static const struct download_target *own_target(const struct transferer *transferer,
                                                const struct download_record *download)
{
    const struct download_target *target =
        download ? download_find_target(download, &transferer->session.mirror.node_id) : NULL;
    return target && !download_target_rests(&transferer->session.mirror.state, download, target)
               ? target
               : NULL;
}

uint32_t gather_file_of(const struct download_record *download, uint32_t chunk)
{
    uint64_t first = 0;
    for (uint32_t i = 0; i < download->files.count; i++) {
        first += chunks_of_size(download->files.items[i].size);
        if (chunk < first)
            return i;
    }
    return UINT32_MAX;
}

/* ---- the end ---- */

static enum status close_thread(struct transferer_step *step, const struct gather *gather)
{
    struct gather_look *look = memory_zeroed(1, sizeof(*look));
    if (!look)
        return STATUS_NO_MEMORY;
    look->gather = gather->sources.gather;
    outbox_effect(step->outbox, gather->sources.number, BULK_GATHER_CLOSE, look, gather_look_free);
    return STATUS_OK;
}

static enum status finish(struct transferer_step *step, struct gather *gather, enum status how,
                          const char *sentence)
{
    const struct command_key key = gather->key;
    sources_close(step, &gather->sources);
    enum status status = close_thread(step, gather);
    gather_clear(gather);
    return status == STATUS_OK ? session_answer_key(&step->transferer->session, &key, how, sentence,
                                                    step->outbox)
                               : status;
}

/* ---- looking ---- */

/* Files of others, and own ones as long as the others give some of them. */
static void choose_files(struct transferer_step *step, struct gather *gather,
                         const struct download_record *download)
{
    const struct node_id *own = &step->transferer->session.mirror.node_id;
    const struct download_target *target = own_target(step->transferer, download);
    for (uint32_t i = 0; i < gather->file_count; i++) {
        const bool is_claimed = !target->is_barred && !target->is_paused &&
                                (target->is_alone || target->is_mute ||
                                 ID_EQUAL(download->files.items[i].node_id, *own));
        /* What was ours from the beginning is not waited for. */
        if (is_claimed && !gather->claimed[i] && gather->is_ready)
            gather->fed_ms[i] = step->input->now_ms;
        gather->claimed[i] = is_claimed;
        gather->wanted[i] =
            !is_claimed || (gather->fed_ms[i] > 0 &&
                            step->input->now_ms - gather->fed_ms[i] < GATHER_DRY_MS);
    }
}

static enum status look(struct transferer_step *step, struct gather *gather,
                        const struct download_record *download)
{
    const bool is_first = !gather->is_ready;
    struct gather_look *request = memory_zeroed(1, sizeof(*request));
    if (!request)
        return STATUS_NO_MEMORY;
    choose_files(step, gather, download);
    request->gather = gather->sources.gather;
    request->wanted = memory_copied(gather->wanted, (size_t)gather->file_count + 1);
    enum status status = request->wanted ? STATUS_OK : STATUS_NO_MEMORY;
    if (status == STATUS_OK && is_first)
        status = record_copy(&download_record_type, download, &request->download);
    if (status != STATUS_OK) {
        gather_look_free(request);
        return status;
    }
    gather->is_looking = true;
    outbox_effect(step->outbox, gather->sources.number,
                  is_first ? BULK_GATHER_OPEN : BULK_GATHER_LOOK, request, gather_look_free);
    return STATUS_OK;
}

static enum status make_sets(struct gather *gather, uint32_t count)
{
    gather->blocked = memory_zeroed(count / 8 + 1, 1);
    gather->have = memory_zeroed(count / 8 + 1, 1);
    return gather->blocked && gather->have
               ? sources_begin(&gather->sources, count, gather->blocked)
               : STATUS_NO_MEMORY;
}

static void take_sets(struct gather *gather, const struct gather_look *seen,
                      const struct download_record *download)
{
    uint32_t chunk = 0;
    memcpy(gather->have, seen->have_out, gather->sources.chunk_count / 8 + 1);
    for (uint32_t i = 0; i < gather->file_count; i++)
        for (uint64_t k = chunks_of_size(download->files.items[i].size); k > 0; k--, chunk++) {
            if (chunk_has(gather->have, chunk) || !seen->open_out[i])
                chunk_add(gather->blocked, chunk);
            else
                chunk_remove(gather->blocked, chunk);
        }
}

static enum status take_look(struct transferer_step *step, struct gather *gather,
                             const struct gather_look *seen)
{
    const struct result *result = step->input->result;
    const struct download_record *download = gather_download(step->transferer, gather);
    gather->is_looking = false;
    gather->look_ms = step->input->now_ms + GATHER_LOOK_MS;
    if (!download)
        return STATUS_OK; /* it ends as soon as the event is looked at */
    if (result->status != STATUS_OK)
        return finish(step, gather, result->status, result->reason.text);
    if (!gather->is_ready && make_sets(gather, seen->count_out) != STATUS_OK)
        return STATUS_NO_MEMORY;
    if (seen->count_out != gather->sources.chunk_count)
        return finish(step, gather, STATUS_INTERNAL, "the files of the download changed");
    gather->is_ready = true;
    /* What a source said to have before may be what was wrong: each is asked anew. */
    if (seen->was_reset_out && !gather->is_strict)
        sources_close(step, &gather->sources);
    gather->is_strict = gather->is_strict || seen->was_reset_out;
    take_sets(gather, seen, download);
    return gather_fill(step, gather);
}

/* ---- nobody answers ---- */

/* A chunk that others shall give; `is_rare`: that nobody fetches, and nobody has. */
static bool lacks_chunk(const struct gather *gather, const struct download_record *download,
                        bool is_rare)
{
    uint32_t chunk = 0;
    for (uint32_t i = 0; i < gather->file_count; i++) {
        const struct download_file *file = &download->files.items[i];
        const bool is_fetched = !file->is_done && !ID_IS_ZERO(file->node_id);
        for (uint64_t k = chunks_of_size(file->size); k > 0; k--, chunk++)
            if (!gather->claimed[i] && !chunk_has(gather->have, chunk) &&
                (!is_rare || (!is_fetched && gather->sources.available[chunk] == 0)))
                return true;
    }
    return false;
}

static enum status tell_alone(struct transferer_step *step, struct gather *gather)
{
    struct message message;
    enum status status = message_init(&message, MESSAGE_REPORT, REPORT_DOWNLOAD_HINDERED);
    if (status != STATUS_OK)
        return status;
    struct download_hindered *body = message.body;
    body->node_id = step->transferer->session.mirror.node_id;
    body->is_alone = true;
    gather->is_alone_told = true;
    return session_report_end(&step->transferer->session, &message,
                              text_set(&body->model_id, gather->model_id),
                              step->input->now_ms, step->outbox);
}

static enum status tell_lacking(struct transferer_step *step, struct gather *gather,
                                const struct download_file *file)
{
    struct message message;
    enum status status = message_init(&message, MESSAGE_REPORT, REPORT_FILE_LACKING);
    if (status != STATUS_OK)
        return status;
    struct file_lacking *body = message.body;
    body->node_id = step->transferer->session.mirror.node_id;
    body->holder_node_id = file->node_id;
    return session_report_end(&step->transferer->session, &message,
                              text_set(&body->model_id, gather->model_id) &&
                                  text_set(&body->commit, gather->commit) &&
                                  text_set(&body->path, file->path),
                              step->input->now_ms, step->outbox);
}

/* A node that should have a file whole says, and not only once, that it has not. */
enum status gather_judge(struct transferer_step *step, struct gather *gather,
                         const struct source *source)
{
    const struct download_record *download = gather_download(step->transferer, gather);
    enum status status = STATUS_OK;
    uint32_t chunk = 0;
    for (uint32_t i = 0; download && i < gather->file_count && status == STATUS_OK; i++) {
        const struct download_file *file = &download->files.items[i];
        bool is_lacking = false;
        for (uint64_t k = chunks_of_size(file->size); k > 0; k--, chunk++)
            is_lacking = is_lacking ||
                         (!chunk_has(source->held, chunk) && !chunk_has(gather->have, chunk));
        if (!file->is_done || !ID_EQUAL(file->node_id, source->node_id))
            continue;
        if (!is_lacking || gather->lacking_ms[i] == 0)
            gather->lacking_ms[i] = is_lacking ? step->input->now_ms : 0;
        else if (step->input->now_ms - gather->lacking_ms[i] >= GATHER_LACKING_MS) {
            gather->lacking_ms[i] = step->input->now_ms;
            status = tell_lacking(step, gather, file);
        }
    }
    return status;
}

/* Who fetches what is lacking, and has not answered while others did: somebody else shall. */
static enum status judge_mute(struct transferer_step *step, struct gather *gather,
                              const struct download_record *download)
{
    const struct state *state = &step->transferer->session.mirror.state;
    const uint64_t now_ms = step->input->now_ms;
    if (now_ms < gather->mute_ms)
        return STATUS_OK;
    gather->mute_ms = now_ms + GATHER_LACKING_MS;
    uint32_t chunk = 0;
    for (uint32_t i = 0; i < gather->file_count; i++) {
        const struct download_file *file = &download->files.items[i];
        bool is_lacking = false;
        for (uint64_t k = chunks_of_size(file->size); k > 0; k--, chunk++)
            is_lacking = is_lacking || !chunk_has(gather->have, chunk);
        const struct download_target *fetcher = download_find_target(download, &file->node_id);
        const struct node_record *node = state_find_node(state, &file->node_id);
        if (!is_lacking || gather->claimed[i] || file->is_done || !fetcher ||
            fetcher->is_mute || !node || !node->in_view)
            continue;
        const struct source_rest *rest = sources_rest(&gather->sources, &file->node_id);
        const uint64_t since_ms =
            rest->answered_ms > gather->began_ms ? rest->answered_ms : gather->began_ms;
        /* One that was never asked, for want of room, is not mute. */
        if (now_ms - since_ms >= GATHER_MUTE_MS && rest->until_ms > since_ms)
            return tell_lacking(step, gather, file);
    }
    return STATUS_OK;
}

/* ---- tasks and time ---- */

static enum status begin(struct transferer_step *step, struct gather *gather,
                         const struct download_record *download)
{
    gather->sources.kind = SOURCES_OF_DOWNLOAD;
    gather->sources.number = ++step->transferer->gathers_begun;
    gather->sources.gather = (uint32_t)(gather - step->transferer->gathers);
    gather->answered_ms = gather->began_ms = gather->common_ms = step->input->now_ms;
    gather->file_count = download->files.count;
    gather->fed_ms = memory_zeroed((size_t)gather->file_count + 1, sizeof(*gather->fed_ms));
    gather->claimed = memory_zeroed((size_t)gather->file_count + 1, 1);
    gather->wanted = memory_zeroed((size_t)gather->file_count + 1, 1);
    gather->lacking_ms =
        memory_zeroed((size_t)gather->file_count + 1, sizeof(*gather->lacking_ms));
    if (!gather->fed_ms || !gather->claimed || !gather->wanted || !gather->lacking_ms)
        return STATUS_NO_MEMORY;
    return look(step, gather, download);
}

enum status gather_take_task(struct transferer_step *step, const struct message *message)
{
    struct transferer *transferer = step->transferer;
    const struct gather_files *body = MESSAGE_BODY(message, gather_files);
    struct gather *gather = NULL;
    for (size_t i = 0; i < GATHERS_MAX; i++) {
        if (transferer->gathers[i].is_used &&
            ID_EQUAL(transferer->gathers[i].key, message->head.key))
            return transferer_answer_running(step, &message->head.key, TASK_GATHER_FILES);
        if (!transferer->gathers[i].is_used && !gather)
            gather = &transferer->gathers[i];
    }
    if (!gather)
        return session_answer(&transferer->session, message, STATUS_BUSY,
                              "other downloads are taken from nodes; it is tried again",
                              step->outbox);
    *gather = (struct gather){.is_used = true, .key = message->head.key};
    (void)snprintf(gather->model_id, sizeof(gather->model_id), "%s",
                   text_or_empty(body->model_id));
    (void)snprintf(gather->commit, sizeof(gather->commit), "%s", text_or_empty(body->commit));
    const struct download_record *download = gather_download(transferer, gather);
    if (!own_target(transferer, download)) {
        gather_clear(gather);
        return session_answer(&transferer->session, message, STATUS_STALE,
                              "the download is over", step->outbox);
    }
    enum status status = transferer_answer_running(step, &gather->key, TASK_GATHER_FILES);
    return status == STATUS_OK ? begin(step, gather, download) : status;
}

enum status gather_input(struct transferer_step *step)
{
    struct transferer *transferer = step->transferer;
    for (size_t i = 0; i < GATHERS_MAX; i++) {
        struct source *source =
            sources_find(&transferer->gathers[i].sources, step->input->peer.link);
        if (source)
            return gather_source_input(step, &transferer->gathers[i], source);
    }
    return STATUS_OK;
}

enum status gather_result(struct transferer_step *step, bool *is_taken_out)
{
    struct transferer *transferer = step->transferer;
    const struct result *result = step->input->result;
    const struct chunk_told *told = result->kind == BULK_CHUNK_TOLD ? result->value : NULL;
    const bool is_look =
        result->kind == BULK_GATHER_OPEN || result->kind == BULK_GATHER_LOOK;
    struct gather *gather = NULL;
    *is_taken_out = is_look || (told && told->link >= GATHER_LINK_FIRST);
    for (size_t i = 0; i < GATHERS_MAX && *is_taken_out && !gather; i++)
        if (transferer->gathers[i].is_used &&
            transferer->gathers[i].sources.number == result->id)
            gather = &transferer->gathers[i];
    if (!gather)
        return STATUS_OK;
    return is_look ? take_look(step, gather, result->value) : gather_chunk(step, gather, told);
}

enum status gather_state_changed(struct transferer_step *step)
{
    enum status status = STATUS_OK;
    for (size_t i = 0; i < GATHERS_MAX && status == STATUS_OK; i++) {
        struct gather *gather = &step->transferer->gathers[i];
        if (!gather->is_used)
            continue;
        const struct download_record *download = gather_download(step->transferer, gather);
        if (!own_target(step->transferer, download))
            status = finish(step, gather, STATUS_OK, "");
        else if (gather->is_ready)
            choose_files(step, gather, download);
        /* Paused once more: whoever is complete now may answer. */
        const struct download_target *target = own_target(step->transferer, download);
        if (gather->is_used && target->is_paused && !gather->was_paused) {
            gather->is_alone_told = false;
            gather->answered_ms = gather->common_ms = step->input->now_ms;
        }
        gather->was_paused = gather->is_used && target->is_paused;
    }
    return status;
}

static enum status one_time(struct transferer_step *step, struct gather *gather)
{
    const uint64_t now_ms = step->input->now_ms;
    const struct download_record *download = gather_download(step->transferer, gather);
    enum status status = STATUS_OK;
    if (!gather->is_ready || !own_target(step->transferer, download))
        return STATUS_OK;
    if (!gather->is_looking && now_ms >= gather->look_ms)
        status = look(step, gather, download);
    if (!lacks_chunk(gather, download, false))
        gather->answered_ms = now_ms;
    if (!lacks_chunk(gather, download, true))
        gather->common_ms = now_ms;
    if (status == STATUS_OK && !gather->is_alone_told &&
        (now_ms - gather->answered_ms >= GATHER_ALONE_MS ||
         now_ms - gather->common_ms >= GATHER_RARE_MS))
        status = tell_alone(step, gather);
    if (status == STATUS_OK)
        status = judge_mute(step, gather, download);
    if (status == STATUS_OK)
        status = gather_sources_time(step, gather);
    outbox_wake(step->outbox, now_ms + GATHER_POLL_MS);
    return status;
}

enum status gather_time(struct transferer_step *step)
{
    enum status status = STATUS_OK;
    for (size_t i = 0; i < GATHERS_MAX && status == STATUS_OK; i++)
        if (step->transferer->gathers[i].is_used)
            status = one_time(step, &step->transferer->gathers[i]);
    return status;
}
