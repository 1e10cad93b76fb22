/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/tools/troupe/import_watch.h"

#include <inttypes.h>
#include <string.h>

enum { LEFT_SIZE = 32 };

/* "about 3 min left", or nothing when nobody knows. */
static const char *left_print(const struct import_progressed *body, char text_out[LEFT_SIZE])
{
    text_out[0] = '\0';
    if (body->bytes_per_s == 0 || body->bytes_have >= body->bytes_total)
        return text_out;
    const uint64_t seconds = (body->bytes_total - body->bytes_have) / body->bytes_per_s;
    if (seconds < 100)
        (void)snprintf(text_out, LEFT_SIZE, ", %" PRIu64 " s left", seconds + 1);
    else if (seconds < 100 * 60)
        (void)snprintf(text_out, LEFT_SIZE, ", %" PRIu64 " min left", seconds / 60 + 1);
    else
        (void)snprintf(text_out, LEFT_SIZE, ", %" PRIu64 " h left", seconds / 3600 + 1);
    return text_out;
}

static void show(struct import_watch *watch, const struct import_progressed *body)
{
    char have[16];
    char total[16];
    char speed[16];
    char left[LEFT_SIZE];
    const uint32_t percent =
        body->bytes_total ? (uint32_t)((double)body->bytes_have * 100 / (double)body->bytes_total)
                          : 101;
    if (text_or_empty(body->file)[0] == '\0') {
        progress_show(&watch->progress, percent, "%s: %s of %s", watch->model_id,
                      size_print(body->bytes_have, have), size_print(body->bytes_total, total));
        return;
    }
    const uint32_t of_file =
        body->file_total ? (uint32_t)((double)body->file_have * 100 / (double)body->file_total)
                         : 100;
    progress_show(&watch->progress, percent, "%s: %s of %s from the hub, %s/s%s; %s %u %%",
                  watch->model_id, size_print(body->bytes_have, have),
                  size_print(body->bytes_total, total), size_print(body->bytes_per_s, speed),
                  left_print(body, left), text_or_empty(body->file), (unsigned)of_file);
}

/* EXIT_CODE_OK with *is_over_out when the import ended well. */
static int take(struct import_watch *watch, const struct message *message, bool *is_over_out)
{
    if (message_is(message, MESSAGE_EVENT, EVENT_MODEL_IMPORTED)) {
        const struct model_imported *body = MESSAGE_BODY(message, model_imported);
        *is_over_out = ID_EQUAL(body->node_id, watch->node_id) &&
                       strcmp(text_or_empty(body->model.model_id), watch->model_id) == 0;
    } else if (message_is(message, MESSAGE_EVENT, EVENT_MODEL_IMPORT_FAILED)) {
        const struct model_import_failed *body = MESSAGE_BODY(message, model_import_failed);
        struct reason reason;
        if (!ID_EQUAL(body->node_id, watch->node_id) ||
            strcmp(text_or_empty(body->model_id), watch->model_id) != 0)
            return EXIT_CODE_OK;
        progress_end(&watch->progress);
        (void)refuse(&reason, STATUS_OK, "%s", text_or_empty(body->reason));
        int code = cli_failed(watch->cli, (enum status)body->status, &reason);
        return code != EXIT_CODE_OK ? code : EXIT_CODE_FAILED;
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
        if (strcmp(text_or_empty(body->model_id), watch->model_id) == 0 &&
            ID_EQUAL(body->node_id, watch->node_id))
            show(watch, body);
    }
    return EXIT_CODE_OK;
}

/* The import has no record in the state any more and the model is there: nothing will be told. */
static bool is_done(const struct import_watch *watch)
{
    const struct model_record *model = state_find_model(watch->cli->state, watch->model_id);
    const struct holder_record *holder = model ? model_find_holder(model, &watch->node_id) : NULL;
    return holder && holder->has_weights &&
           !state_find_import(watch->cli->state, &watch->node_id, watch->model_id);
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
    (void)printf("%s is in the store of %s (%s)\n", watch->model_id,
                 cli_node_name(watch->cli->state, &watch->node_id), size_print(size, text));
    return code;
}

int import_watch(struct import_watch *watch, uint64_t index)
{
    struct reason reason = {""};
    bool is_over = false;
    int code = cli_state_at(watch->cli, index);
    while (code == EXIT_CODE_OK && !is_over) {
        struct message message;
        if (cli_is_interrupted()) {
            progress_end(&watch->progress);
            cli_say(watch->cli, "the node goes on taking it in; troupe models shows when it is "
                                "done, troupe remove ends it");
            return EXIT_CODE_INTERRUPTED;
        }
        enum status status = troupe_client_next(watch->cli->client, 500, &message, &reason);
        if (status == STATUS_OK) {
            code = take(watch, &message, &is_over);
            message_fini(&message);
        } else if (status == STATUS_TIMED_OUT || status == STATUS_GAP) {
            is_over = is_done(watch);
        } else {
            code = cli_failed(watch->cli, status, &reason);
        }
    }
    progress_end(&watch->progress);
    return code == EXIT_CODE_OK ? print_result(watch) : code;
}
