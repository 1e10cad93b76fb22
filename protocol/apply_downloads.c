/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/apply_downloads.h"

#include <string.h>

static void remove_download(struct state *state, struct download_record *download)
{
    record_list_remove(&download_record_type, RECORD_LIST(state->downloads),
                       (uint32_t)(download - state->downloads.items));
}

static bool has_commit(const struct download_record *download, const char *commit)
{
    return download && strcmp(text_or_empty(download->commit), text_or_empty(commit)) == 0;
}

static bool add_target(struct state *state, struct download_record *download,
                       const struct download_target *asked, uint64_t index)
{
    const struct node_id *node_id = &asked->node_id;
    const struct download_target target = {.node_id = *node_id,
                                           .is_for_placement = asked->is_for_placement,
                                           .hub_index = index};
    struct download_target *known = download_find_target(download, node_id);
    if (known) {
        /* Asked for by somebody, too: it is wanted for its own sake now. */
        known->is_for_placement = known->is_for_placement && asked->is_for_placement;
        return true;
    }
    if (!state_find_import(state, node_id, download->model_id)) {
        if (state->imports.count >= IMPORT_COUNT_MAX)
            return true; /* the leader looks before it asks */
        struct import_record *import =
            record_list_push(&import_record_type, RECORD_LIST(state->imports), NULL,
                             IMPORT_COUNT_MAX);
        if (!import || !text_set(&import->model_id, download->model_id) ||
            !text_set(&import->hub_revision, download->hub_revision))
            return false;
        import->node_id = *node_id;
        import->requested_index = index;
    }
    return record_list_push(&download_target_type, RECORD_LIST(download->targets), &target,
                            NODE_COUNT_MAX) != NULL;
}

bool downloads_apply_requested(struct state *state, const struct message *event)
{
    const struct download_record *asked = &MESSAGE_BODY(event, download_requested)->download;
    struct download_record *download =
        state_find_download(state, text_or_empty(asked->model_id));
    bool ok = true;
    if (!download) {
        if (state->downloads.count >= IMPORT_COUNT_MAX)
            return true;
        download = record_list_push(&download_record_type, RECORD_LIST(state->downloads), asked,
                                    IMPORT_COUNT_MAX);
        if (!download)
            return false;
        record_fini(&download_record_type, download);
        ok = text_set(&download->model_id, asked->model_id) &&
             text_set(&download->hub_revision, asked->hub_revision);
        download->no_peers = asked->no_peers;
        download->requested_index = event->head.index;
    }
    for (uint32_t i = 0; i < asked->targets.count && ok; i++)
        ok = add_target(state, download, &asked->targets.items[i], event->head.index);
    if (ok && download->targets.count == 0)
        remove_download(state, download);
    return ok;
}

bool downloads_apply_resolved(struct state *state, const struct message *event)
{
    const struct download_resolved *body = event->body;
    struct download_record *download =
        state_find_download(state, text_or_empty(body->model_id));
    if (!download || text_or_empty(download->commit)[0])
        return true;
    if (!text_set(&download->commit, body->commit))
        return false;
    for (uint32_t i = 0; i < body->files.count; i++) {
        struct download_file *file =
            record_list_push(&download_file_type, RECORD_LIST(download->files),
                             &body->files.items[i], MODEL_FILE_COUNT_MAX);
        if (!file)
            return false;
        file->is_done = !file->is_weight;
        memset(&file->node_id, 0, sizeof(file->node_id));
        if (file->is_done)
            file->node_id = body->node_id;
    }
    return true;
}

bool downloads_apply_assigned(struct state *state, const struct message *event)
{
    const struct download_assigned *body = event->body;
    struct download_record *download =
        state_find_download(state, text_or_empty(body->model_id));
    if (!has_commit(download, body->commit))
        return true;
    if (!ID_IS_ZERO(body->node_id))
        download->node_id = body->node_id;
    for (uint32_t i = 0; i < body->claims.count; i++) {
        const struct download_claim *claim = &body->claims.items[i];
        if (claim->file >= download->files.count)
            continue;
        download->files.items[claim->file].node_id = claim->node_id;
        download->files.items[claim->file].is_done = claim->is_done;
    }
    return true;
}

bool downloads_apply_file(struct state *state, const struct message *event)
{
    const struct file_downloaded *body = event->body;
    struct download_record *download =
        state_find_download(state, text_or_empty(body->model_id));
    struct download_file *file =
        has_commit(download, body->commit) ? download_find_file(download, body->path) : NULL;
    if (file && !file->is_done) {
        file->node_id = body->node_id;
        file->is_done = true;
    }
    return true;
}

bool downloads_apply_lacking(struct state *state, const struct message *event)
{
    const struct file_lacking *body = event->body;
    struct download_record *download =
        state_find_download(state, text_or_empty(body->model_id));
    struct download_file *file =
        has_commit(download, body->commit) ? download_find_file(download, body->path) : NULL;
    if (!file || !ID_EQUAL(file->node_id, body->holder_node_id))
        return true;
    struct download_target *fetcher = download_find_target(download, &body->holder_node_id);
    if (!file->is_done && fetcher) {
        fetcher->is_mute = true;
    } else if (file->is_done) {
        file->is_done = false;
        file->is_missing = true;
        memset(&file->node_id, 0, sizeof(file->node_id));
    }
    return true;
}

bool downloads_apply_hindered(struct state *state, const struct message *event)
{
    const struct download_hindered *body = event->body;
    const struct download_record *download =
        state_find_download(state, text_or_empty(body->model_id));
    struct download_target *target =
        download ? download_find_target(download, &body->node_id) : NULL;
    if (!target)
        return true;
    if (body->is_alone) {
        target->is_alone = true;
        target->is_paused = false; /* the complete one does not answer it either */
        target->hub_index = event->head.index;
        return true;
    }
    target->is_barred = true;
    target->status = body->status;
    return text_set(&target->reason, body->reason);
}

bool downloads_apply_paused(struct state *state, const struct message *event)
{
    const struct download_paused *body = event->body;
    const struct download_record *download =
        state_find_download(state, text_or_empty(body->model_id));
    struct download_target *target =
        download ? download_find_target(download, &body->node_id) : NULL;
    if (target) {
        target->is_paused = true;
        target->is_alone = false;
    }
    return true;
}

/* ---- the end ---- */

static bool keep_end(struct state *state, const struct download_record *download,
                     const struct download_target *target, const struct download_ending *ending)
{
    if (state->download_ends.count >= DOWNLOAD_END_COUNT_MAX)
        record_list_remove(&download_end_type, RECORD_LIST(state->download_ends), 0);
    struct download_end *end =
        record_list_push(&download_end_type, RECORD_LIST(state->download_ends), NULL,
                         DOWNLOAD_END_COUNT_MAX);
    if (!end || !text_set(&end->model_id, download->model_id) ||
        !text_set(&end->commit, download->commit) || !text_set(&end->reason, ending->reason))
        return false;
    end->node_id = target->node_id;
    end->requested_index = download->requested_index;
    end->ended_index = ending->index;
    end->status = ending->status;
    return true;
}

bool downloads_end_target(struct state *state, const struct node_id *node_id,
                          const char *model_id, const struct download_ending *ending)
{
    for (uint32_t i = state->downloads.count; i-- > 0;) {
        struct download_record *download = &state->downloads.items[i];
        const struct download_target *target = download_find_target(download, node_id);
        if (!target || (model_id && strcmp(text_or_empty(download->model_id), model_id) != 0))
            continue;
        if (!keep_end(state, download, target, ending))
            return false;
        record_list_remove(&download_target_type, RECORD_LIST(download->targets),
                           (uint32_t)(target - download->targets.items));
        if (download->targets.count == 0)
            remove_download(state, download);
    }
    return true;
}

bool downloads_end_model(struct state *state, const char *model_id, uint64_t index)
{
    struct download_record *download = state_find_download(state, model_id);
    const struct download_ending ending = {STATUS_CANCELLED,
                                           "the model was removed while it was pulled", index};
    for (uint32_t i = 0; download && i < download->targets.count; i++)
        if (!keep_end(state, download, &download->targets.items[i], &ending))
            return false;
    if (download)
        remove_download(state, download);
    return true;
}
