/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/tools/troupe/commands.h"

#include "runtime/tools/troupe/output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

const struct option_row add_options[] = {
    {"name", "NAME", "what it is called in the cluster; default: the directory's name"},
    {"node", "NODE", "whose store, where DIR then lies; default: this node"},
    {.name = NULL},
};

struct add {
    struct cli *cli;
    struct node_id node_id;
    const char *model_id;
    struct progress progress;
};

/* The last part of the path, with what no name may hold made into a dash. */
static void name_of(const char *path, char name_out[NAME_SIZE_MAX])
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        end--;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/')
        start--;
    size_t length = 0;
    for (size_t i = start; i < end && length + 1 < NAME_SIZE_MAX; i++) {
        const char c = path[i];
        const bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                              (c >= '0' && c <= '9') || strchr("._-", c);
        name_out[length++] = is_plain ? c : '-';
    }
    name_out[length] = '\0';
}

/* EXIT_CODE_OK with *is_over_out when the import ended well. */
static int take(struct add *add, const struct message *message, bool *is_over_out)
{
    if (message_is(message, MESSAGE_EVENT, EVENT_MODEL_IMPORTED)) {
        const struct model_imported *body = MESSAGE_BODY(message, model_imported);
        *is_over_out = ID_EQUAL(body->node_id, add->node_id) &&
                       strcmp(text_or_empty(body->model.model_id), add->model_id) == 0;
    } else if (message_is(message, MESSAGE_EVENT, EVENT_MODEL_IMPORT_FAILED)) {
        const struct model_import_failed *body = MESSAGE_BODY(message, model_import_failed);
        struct reason reason;
        if (!ID_EQUAL(body->node_id, add->node_id) ||
            strcmp(text_or_empty(body->model_id), add->model_id) != 0)
            return EXIT_CODE_OK;
        progress_end(&add->progress);
        (void)refuse(&reason, STATUS_OK, "%s", text_or_empty(body->reason));
        int code = cli_failed(add->cli, (enum status)body->status, &reason);
        return code != EXIT_CODE_OK ? code : EXIT_CODE_FAILED;
    } else if (message_is(message, MESSAGE_SIGNAL, SIGNAL_IMPORT_PROGRESSED)) {
        const struct import_progressed *body = MESSAGE_BODY(message, import_progressed);
        char have[16];
        char total[16];
        if (strcmp(text_or_empty(body->model_id), add->model_id) != 0)
            return EXIT_CODE_OK;
        progress_show(&add->progress,
                      body->bytes_total ? (uint32_t)(body->bytes_have * 100 / body->bytes_total)
                                        : 101,
                      "%s: %s of %s", add->model_id, size_print(body->bytes_have, have),
                      size_print(body->bytes_total, total));
    }
    return EXIT_CODE_OK;
}

/* The import has no record in the state any more and the model is there: nothing will be told. */
static bool is_done(const struct add *add)
{
    const struct model_record *model = state_find_model(add->cli->state, add->model_id);
    const struct holder_record *holder = model ? model_find_holder(model, &add->node_id) : NULL;
    return holder && holder->has_weights &&
           !state_find_import(add->cli->state, &add->node_id, add->model_id);
}

static int wait_imported(struct add *add, uint64_t index)
{
    struct reason reason = {""};
    bool is_over = false;
    int code = cli_state_at(add->cli, index);
    while (code == EXIT_CODE_OK && !is_over) {
        struct message message;
        if (cli_is_interrupted()) {
            progress_end(&add->progress);
            cli_say(add->cli, "the node goes on taking it in; troupe models shows when it is done");
            return EXIT_CODE_INTERRUPTED;
        }
        enum status status = troupe_client_next(add->cli->client, 500, &message, &reason);
        if (status == STATUS_OK) {
            code = take(add, &message, &is_over);
            message_fini(&message);
        } else if (status == STATUS_TIMED_OUT || status == STATUS_GAP) {
            is_over = is_done(add);
        } else {
            code = cli_failed(add->cli, status, &reason);
        }
    }
    progress_end(&add->progress);
    return code;
}

static int print_result(struct add *add)
{
    int code = cli_state_at(add->cli, 1);
    const struct model_record *model =
        code == EXIT_CODE_OK ? state_find_model(add->cli->state, add->model_id) : NULL;
    uint64_t size = 0;
    char text[16];
    if (add->cli->is_json && model)
        return document_of_record(add->cli, &model_record_type, model);
    for (uint32_t i = 0; model && i < model->files.count; i++)
        size += model->files.items[i].size;
    (void)printf("%s is in the store of %s (%s)\n", add->model_id,
                 cli_node_name(add->cli->state, &add->node_id), size_print(size, text));
    return code;
}

static int send_add(struct add *add, const char *path)
{
    struct message command;
    struct message answer;
    enum status status = message_init(&command, MESSAGE_COMMAND, COMMAND_ADD_MODEL);
    if (status != STATUS_OK)
        return cli_failed(add->cli, status, NULL);
    struct add_model *body = command.body;
    body->node_id = add->node_id;
    int code = text_set(&body->model_id, add->model_id) && text_set(&body->path, path)
                   ? cli_command(add->cli, &command, &answer)
                   : cli_failed(add->cli, STATUS_NO_MEMORY, NULL);
    message_fini(&command);
    if (code != EXIT_CODE_OK)
        return code;
    code = wait_imported(add, answer.head.index);
    message_fini(&answer);
    return code == EXIT_CODE_OK ? print_result(add) : code;
}

int command_add(struct cli *cli)
{
    const char *node = cli_option(cli, "node");
    const char *path = cli->words[0];
    char resolved[PATH_SIZE_MAX + 1];
    char name[NAME_SIZE_MAX];
    struct add add = {.cli = cli, .model_id = cli_option(cli, "name"), .progress = {.cli = cli}};
    struct stat found;
    struct reason reason;
    if (!node && !cli->connect_flag) {
        /* The node reads it by itself: the path must mean the same there. */
        if (!realpath(path, resolved) || stat(resolved, &found) != 0)
            return cli_failed(cli,
                              refuse(&reason, status_from_errno(errno), "%.200s: %s", path,
                                     strerror(errno)),
                              &reason);
        if (!S_ISDIR(found.st_mode))
            return cli_failed(cli,
                              refuse(&reason, STATUS_INVALID,
                                     "%.200s is not a directory; give the one that holds "
                                     "config.json", path),
                              &reason);
        path = resolved;
    }
    if (!add.model_id) {
        name_of(path, name);
        add.model_id = name;
    }
    cli_catch_interrupt();
    int code = cli_connect(cli, true);
    if (code == EXIT_CODE_OK)
        add.node_id = troupe_client_welcome(cli->client)->node_id;
    if (code == EXIT_CODE_OK && node)
        code = cli_find_node(cli, node, &add.node_id);
    return code == EXIT_CODE_OK ? send_add(&add, path) : code;
}
