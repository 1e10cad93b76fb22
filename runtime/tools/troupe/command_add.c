/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/tools/troupe/commands.h"

#include "runtime/tools/troupe/import_watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

const struct option_row add_options[] = {
    {"name", "NAME", "what it is called in the cluster; default: the directory's name"},
    {"node", "NODE", "whose store, where DIR then lies; default: this node"},
    {.name = NULL},
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

static int send_add(struct import_watch *add, const char *path)
{
    struct message command;
    struct message answer;
    enum status status = message_init(&command, MESSAGE_COMMAND, COMMAND_ADD_MODEL);
    if (status != STATUS_OK)
        return cli_failed(add->cli, status, NULL);
    struct add_model *body = command.body;
    body->node_id = add->imports[0].node_id;
    int code = text_set(&body->model_id, add->model_id) && text_set(&body->path, path)
                   ? cli_command(add->cli, &command, &answer)
                   : cli_failed(add->cli, STATUS_NO_MEMORY, NULL);
    message_fini(&command);
    if (code != EXIT_CODE_OK)
        return code;
    code = import_watch(add, answer.head.index);
    message_fini(&answer);
    return code;
}

int command_add(struct cli *cli)
{
    const char *node = cli_option(cli, "node");
    const char *path = cli->words[0];
    char resolved[PATH_SIZE_MAX + 1];
    char name[NAME_SIZE_MAX];
    struct import_watch add = {.cli = cli, .model_id = cli_option(cli, "name"), .count = 1,
                               .progress = {.cli = cli}};
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
        add.imports[0].node_id = troupe_client_welcome(cli->client)->node_id;
    if (code == EXIT_CODE_OK && node)
        code = cli_find_node(cli, node, &add.imports[0].node_id);
    return code == EXIT_CODE_OK ? send_add(&add, path) : code;
}
