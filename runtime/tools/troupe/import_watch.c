/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/tools/troupe/import_watch.h"

#include <inttypes.h>
#include <string.h>

enum { LEFT_SIZE = 32 };

/* ", 3 min left", or nothing when nobody knows. */
static const char *left_print(uint64_t bytes, uint64_t bytes_per_s, char text_out[LEFT_SIZE])
{
    text_out[0] = '\0';
    if (bytes_per_s == 0 || bytes == 0)
        return text_out;
    const uint64_t seconds = bytes / bytes_per_s;
    if (seconds < 100)
        (void)snprintf(text_out, LEFT_SIZE, ", %" PRIu64 " s left", seconds + 1);
    else if (seconds < 100 * 60)
        (void)snprintf(text_out, LEFT_SIZE, ", %" PRIu64 " min left", seconds / 60 + 1);
    else
        (void)snprintf(text_out, LEFT_SIZE, ", %" PRIu64 " h left", seconds / 3600 + 1);
    return text_out;
}

static uint32_t percent_of(uint64_t have, uint64_t total, uint32_t otherwise)
{
    return total ? (uint32_t)((double)have * 100 / (double)total) : otherwise;
}

/* "1.2 GB from the hub", "and 800 MB from other nodes". */
static void show_pull(struct import_watch *watch, const struct import_progressed *body)
{
    char have[16];
    char total[16];
    char speed[16];
    char left[LEFT_SIZE];
    char peers[16];
    char from[64] = "from the hub";
    if (body->bytes_peers > 0)
        (void)snprintf(from, sizeof(from), "%s from the hub, %s from other nodes",
                       size_print(body->bytes_hub, speed), size_print(body->bytes_peers, peers));
    progress_show(&watch->progress, percent_of(body->bytes_have, body->bytes_total, 101),
                  "%s: %s of %s %s, %s/s%s; %s %u %%", watch->model_id,
                  size_print(body->bytes_have, have), size_print(body->bytes_total, total), from,
                  size_print(body->bytes_per_s, speed),
                  left_print(body->bytes_total - body->bytes_have, body->bytes_per_s, left),
                  text_or_empty(body->file),
                  (unsigned)percent_of(body->file_have, body->file_total, 100));
}

/* All nodes together; the slowest says how long. */
static void show_all(struct import_watch *watch)
{
    uint64_t have = 0;
    uint64_t total = 0;
    uint64_t slowest = UINT64_MAX;
    uint64_t lacking = 0;
    uint32_t over = 0;
    char texts[2][16];
    char left[LEFT_SIZE];
    for (uint32_t i = 0; i < watch->count; i++) {
        const struct watched_import *import = &watch->imports[i];
        over += import->is_over;
        have += import->is_over ? import->bytes_total : import->bytes_have;
        total += import->bytes_total;
        if (!import->is_over && import->bytes_per_s > 0 && import->bytes_per_s < slowest) {
            slowest = import->bytes_per_s;
            lacking = import->bytes_total - import->bytes_have;
        }
    }
    progress_show(&watch->progress, percent_of(have, total, 101),
                  "%s: %s of %s on %u nodes, %u done%s", watch->model_id,
                  size_print(have, texts[0]), size_print(total, texts[1]), (unsigned)watch->count,
                  (unsigned)over,
                  left_print(lacking, slowest == UINT64_MAX ? 0 : slowest, left));
}

static void show(struct import_watch *watch, struct watched_import *import,
                 const struct import_progressed *body)
{
    char have[16];
    char total[16];
    const bool is_sound = body->bytes_have <= body->bytes_total;
    import->bytes_have = is_sound ? body->bytes_have : body->bytes_total;
    import->bytes_total = body->bytes_total;
    import->bytes_per_s = body->bytes_per_s;
    if (watch->count > 1)
        show_all(watch);
    else if (text_or_empty(body->file)[0] && is_sound)
        show_pull(watch, body);
    else
        progress_show(&watch->progress, percent_of(body->bytes_have, body->bytes_total, 101),
                      "%s: %s of %s", watch->model_id, size_print(body->bytes_have, have),
                      size_print(body->bytes_total, total));
}

static struct watched_import *watched(struct import_watch *watch, const struct node_id *node_id,
                                      const char *model_id)
{
    for (uint32_t i = 0; i < watch->count; i++)
        if (ID_EQUAL(watch->imports[i].node_id, *node_id) &&
            strcmp(text_or_empty(model_id), watch->model_id) == 0)
            return &watch->imports[i];
    return NULL;
}

static void failed(struct import_watch *watch, struct watched_import *import, enum status status,
                   const char *why)
{
    struct reason reason;
    progress_end(&watch->progress);
    import->is_over = true;
    if (watch->count > 1)
        (void)refuse(&reason, STATUS_OK, "%.60s: %s",
                     cli_node_name(watch->cli->state, &import->node_id), why);
    else
        (void)refuse(&reason, STATUS_OK, "%s", why);
    const int code = cli_failed(watch->cli, status, &reason);
    if (watch->code == EXIT_CODE_OK)
        watch->code = code != EXIT_CODE_OK ? code : EXIT_CODE_FAILED;
}

static int take(struct import_watch *watch, const struct message *message)
{
    struct watched_import *import;
    if (message_is(message, MESSAGE_EVENT, EVENT_MODEL_IMPORTED)) {
        const struct model_imported *body = MESSAGE_BODY(message, model_imported);
        import = watched(watch, &body->node_id, body->model.model_id);
        if (import)
            import->is_over = true;
    } else if (message_is(message, MESSAGE_EVENT, EVENT_MODEL_IMPORT_FAILED)) {
        const struct model_import_failed *body = MESSAGE_BODY(message, model_import_failed);
        import = watched(watch, &body->node_id, body->model_id);
        if (import && !import->is_over)
            failed(watch, import, (enum status)body->status, text_or_empty(body->reason));
    } else if (message_is(message, MESSAGE_EVENT, EVENT_MODEL_REMOVED)) {
        const struct model_removed *body = MESSAGE_BODY(message, model_removed);
        struct reason reason;
        if (strcmp(text_or_empty(body->model_id), watch->model_id) != 0)
            return EXIT_CODE_OK;
        progress_end(&watch->progress);
        (void)refuse(&reason, STATUS_CANCELLED, "%s was removed meanwhile", watch->model_id);
        return cli_failed(watch->cli, STATUS_CANCELLED, &reason);
    } else if (message_is(message, MESSAGE_SIGNAL, SIGNAL_IMPORT_PROGRESSED)) {
        const struct import_progressed *body = MESSAGE_BODY(message, import_progressed);
        import = watched(watch, &body->node_id, body->model_id);
        if (import && !import->is_over)
            show(watch, import, body);
    }
    return EXIT_CODE_OK;
}

/* The import has no record in the state any more: nothing will be told, and the state says how it
 * ended. */
static void look_for_end(struct import_watch *watch)
{
    const struct state *state = watch->cli->state;
    const struct model_record *model = state_find_model(state, watch->model_id);
    for (uint32_t i = 0; i < watch->count; i++) {
        struct watched_import *import = &watch->imports[i];
        const struct holder_record *holder =
            model ? model_find_holder(model, &import->node_id) : NULL;
        const struct download_end *end =
            state_find_download_end(state, watch->model_id, &import->node_id);
        if (import->is_over || state_find_import(state, &import->node_id, watch->model_id))
            continue;
        if (holder && holder->has_weights)
            import->is_over = true;
        else if (end && end->ended_index >= watch->index)
            failed(watch, import, (enum status)end->status, text_or_empty(end->reason));
    }
}

static bool is_over(const struct import_watch *watch)
{
    for (uint32_t i = 0; i < watch->count; i++)
        if (!watch->imports[i].is_over)
            return false;
    return true;
}

static int print_result(struct import_watch *watch)
{
    int code = cli_state_at(watch->cli, 1);
    const struct model_record *model =
        code == EXIT_CODE_OK ? state_find_model(watch->cli->state, watch->model_id) : NULL;
    uint64_t size = 0;
    char text[16];
    if (watch->cli->is_json && model)
        return document_of_record(watch->cli, &model_record_type, model);
    for (uint32_t i = 0; model && i < model->files.count; i++)
        size += model->files.items[i].size;
    for (uint32_t i = 0; i < watch->count; i++) {
        const struct node_id *id = &watch->imports[i].node_id;
        const struct holder_record *holder = model ? model_find_holder(model, id) : NULL;
        if (watch->count == 1 || (holder && holder->has_weights))
            (void)printf("%s is in the store of %s (%s)\n", watch->model_id,
                         cli_node_name(watch->cli->state, id), size_print(size, text));
    }
    return code;
}

int import_watch(struct import_watch *watch, uint64_t index)
{
    struct reason reason = {""};
    int code = cli_state_at(watch->cli, index);
    watch->index = index;
    while (code == EXIT_CODE_OK && !is_over(watch)) {
        struct message message;
        if (cli_is_interrupted()) {
            progress_end(&watch->progress);
            cli_say(watch->cli, "the node goes on taking it in; troupe models shows when it is "
                                "done, troupe remove ends it");
            return EXIT_CODE_INTERRUPTED;
        }
        enum status status = troupe_client_next(watch->cli->client, 500, &message, &reason);
        if (status == STATUS_OK) {
            code = take(watch, &message);
            message_fini(&message);
        } else if (status == STATUS_TIMED_OUT || status == STATUS_GAP) {
            look_for_end(watch);
        } else {
            code = cli_failed(watch->cli, status, &reason);
        }
    }
    progress_end(&watch->progress);
    if (code != EXIT_CODE_OK)
        return code;
    const bool has_any = watch->count > 1 || watch->code == EXIT_CODE_OK;
    code = has_any ? print_result(watch) : EXIT_CODE_OK;
    return watch->code != EXIT_CODE_OK ? watch->code : code;
}
