/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/tools/troupe/commands.h"

#include "runtime/identity.h"
#include "runtime/tools/troupe/output.h"

#include <string.h>

const struct option_row distribute_options[] = {
    {"to", "A,B", "names or ids of the nodes that shall hold it; else all that are here"},
    {"source", "NODE", "who sends it; else all who have it, together"},
    {"wait", NULL, "return when all of them have it, or say who could not"},
    {.name = NULL},
};

const struct option_row transfers_options[] = {
    {"cancel", "ID", "stop the transfer of that id, or of the beginning of one"},
    {.name = NULL},
};

/* ---- asking ---- */

static int read_targets(struct cli *cli, const char *text, struct distribute_model *request)
{
    struct node_id ids[NODE_COUNT_MAX];
    uint32_t count = 0;
    request->is_all = text == NULL || strcmp(text, "all") == 0;
    while (!request->is_all && *text) {
        char name[NAME_SIZE_MAX];
        size_t length = strcspn(text, ",");
        if (length == 0 || length >= sizeof(name) || count == NODE_COUNT_MAX)
            return cli_usage_failed(cli, "--to takes names with commas between, not %.60s", text);
        memcpy(name, text, length);
        name[length] = '\0';
        int code = cli_find_node(cli, name, &ids[count]);
        if (code != EXIT_CODE_OK)
            return code;
        count++;
        text += length + (text[length] == ',' ? 1 : 0);
    }
    return bytes_set(&request->node_ids, ids, count * sizeof(ids[0]))
               ? EXIT_CODE_OK
               : cli_failed(cli, STATUS_NO_MEMORY, NULL);
}

static int read_request(struct cli *cli, struct distribute_model *request)
{
    const char *source = cli_option(cli, "source");
    int code = read_targets(cli, cli_option(cli, "to"), request);
    if (code == EXIT_CODE_OK && source)
        code = cli_find_node(cli, source, &request->source_node_id);
    if (code != EXIT_CODE_OK)
        return code;
    enum status status = identity_random(&request->transfer_id, sizeof(request->transfer_id));
    if (status == STATUS_OK && !text_set(&request->model_id, cli->words[0]))
        status = STATUS_NO_MEMORY;
    return status == STATUS_OK ? EXIT_CODE_OK : cli_failed(cli, status, NULL);
}

/* Ours, or the one that ours joined. */
static const struct transfer_record *find_asked(const struct cli *cli,
                                                const struct distribute_model *request)
{
    const struct state *state = cli->state;
    const char *name = text_or_empty(request->model_id);
    const struct model_record *model = state_find_model(state, name);
    const struct transfer_record *found = state_find_transfer(state, &request->transfer_id);
    if (!found && model && !request->is_all)
        found = state_find_transfer_to(state, name, &model->revision, &request->node_ids);
    for (uint32_t i = state->transfers.count; !found && i-- > 0;)
        if (strcmp(text_or_empty(state->transfers.items[i].model_id), name) == 0)
            found = &state->transfers.items[i];
    return found;
}

/* ---- showing ---- */

static void print_transfer(const struct cli *cli, const struct transfer_record *transfer)
{
    char hex[HEX_SIZE(16)];
    (void)printf("%s  %s  %s\n", hex_print(&transfer->transfer_id, 16, hex),
                 text_or_empty(transfer->model_id),
                 transfer_phase_name(transfer_phase_of(transfer)));
    for (uint32_t i = 0; i < transfer->targets.count; i++) {
        const struct transfer_target *target = &transfer->targets.items[i];
        (void)printf("  to %-12s %s%s%s\n", cli_node_name(cli->state, &target->node_id),
                     transfer_phase_name(target->phase),
                     text_or_empty(target->reason)[0] ? ": " : "",
                     text_or_empty(target->reason));
    }
}

static void show_progress(const struct cli *cli, struct progress *progress,
                          const struct transfer_record *transfer)
{
    uint32_t done = 0;
    for (uint32_t i = 0; i < transfer->targets.count; i++)
        done += transfer->targets.items[i].phase == TRANSFER_DONE;
    (void)cli;
    progress_show(progress, transfer->targets.count ? done * 100 / transfer->targets.count : 101,
                  "%s: %u of %u nodes have it", text_or_empty(transfer->model_id), done,
                  transfer->targets.count);
}

static bool is_open(const struct transfer_record *transfer)
{
    const enum transfer_phase phase = transfer_phase_of(transfer);
    return phase == TRANSFER_ASKED || phase == TRANSFER_RUNNING;
}

static int wait_for(struct cli *cli, const struct transfer_id *id)
{
    struct progress progress = {.cli = cli};
    struct reason reason = {""};
    int code = EXIT_CODE_OK;
    for (;;) {
        struct message message;
        code = cli_state_at(cli, 1);
        const struct transfer_record *transfer =
            code == EXIT_CODE_OK ? state_find_transfer(cli->state, id) : NULL;
        if (!transfer || !is_open(transfer))
            break;
        if (cli_is_interrupted()) {
            cli_say(cli, "%sit goes on; troupe transfers shows it", progress.is_open ? "\n" : "");
            return EXIT_CODE_INTERRUPTED;
        }
        show_progress(cli, &progress, transfer);
        enum status status = troupe_client_next(cli->client, 500, &message, &reason);
        if (status == STATUS_OK) {
            message_fini(&message);
        } else if (status != STATUS_TIMED_OUT && status != STATUS_GAP) {
            code = cli_failed(cli, status, &reason);
            break;
        }
    }
    progress_end(&progress);
    return code;
}

static int print_result(struct cli *cli, const struct transfer_id *id)
{
    const struct transfer_record *transfer = state_find_transfer(cli->state, id);
    if (!transfer)
        return EXIT_CODE_OK;
    if (cli->is_json) {
        int code = document_of_record(cli, &transfer_record_type, transfer);
        if (code != EXIT_CODE_OK)
            return code;
    } else {
        print_transfer(cli, transfer);
    }
    const bool is_bad = transfer_phase_of(transfer) == TRANSFER_FAILED ||
                        transfer_phase_of(transfer) == TRANSFER_STOPPED;
    return is_bad ? EXIT_CODE_FAILED : EXIT_CODE_OK;
}

int command_distribute(struct cli *cli)
{
    struct message command;
    struct message answer;
    cli_catch_interrupt();
    int code = cli_connect(cli, true);
    if (code != EXIT_CODE_OK)
        return code;
    enum status status = message_init(&command, MESSAGE_COMMAND, COMMAND_DISTRIBUTE_MODEL);
    if (status != STATUS_OK)
        return cli_failed(cli, status, NULL);
    struct transfer_id id = {{0}};
    code = read_request(cli, command.body);
    if (code == EXIT_CODE_OK)
        code = cli_command(cli, &command, &answer);
    if (code == EXIT_CODE_OK) {
        code = cli_state_at(cli, answer.head.index);
        const struct transfer_record *transfer =
            code == EXIT_CODE_OK ? find_asked(cli, command.body) : NULL;
        if (transfer)
            id = transfer->transfer_id;
        message_fini(&answer);
    }
    message_fini(&command);
    if (code == EXIT_CODE_OK && cli_option(cli, "wait"))
        code = wait_for(cli, &id);
    return code == EXIT_CODE_OK ? print_result(cli, &id) : code;
}

/* ---- transfers ---- */

static int cancel(struct cli *cli, const char *name)
{
    const struct transfer_record *found = NULL;
    const size_t length = strlen(name);
    struct reason reason;
    for (uint32_t i = 0; i < cli->state->transfers.count; i++) {
        char hex[HEX_SIZE(16)];
        hex_print(&cli->state->transfers.items[i].transfer_id, 16, hex);
        if (length < 4 || strncmp(hex, name, length) != 0)
            continue;
        if (found)
            return cli_usage_failed(cli, "%.40s fits two transfers; give more of the id", name);
        found = &cli->state->transfers.items[i];
    }
    if (!found)
        return cli_failed(cli,
                          refuse(&reason, STATUS_NOT_FOUND,
                                 "there is no transfer %.40s; troupe transfers lists them", name),
                          &reason);
    struct message command;
    enum status status = message_init(&command, MESSAGE_COMMAND, COMMAND_CANCEL_TRANSFER);
    if (status != STATUS_OK)
        return cli_failed(cli, status, NULL);
    const struct transfer_id id = found->transfer_id;
    char hex[HEX_SIZE(16)];
    MESSAGE_BODY(&command, cancel_transfer)->transfer_id = id;
    int code = cli_command(cli, &command, NULL);
    message_fini(&command);
    hex_print(&id, 16, hex);
    if (code == EXIT_CODE_OK && cli->is_json)
        return json_finish(cli, json_pack("{s:s}", "cancelled", hex), false);
    if (code == EXIT_CODE_OK)
        (void)printf("%s is cancelled\n", hex);
    return code;
}

int command_transfers(struct cli *cli)
{
    struct document document;
    int code = cli_connect(cli, false);
    if (code != EXIT_CODE_OK)
        return code;
    if (cli_option(cli, "cancel"))
        return cancel(cli, cli_option(cli, "cancel"));
    if (!cli->is_json) {
        if (cli->state->transfers.count == 0)
            cli_say(cli, "no transfers yet; troupe distribute MODEL copies one to other nodes");
        for (uint32_t i = 0; i < cli->state->transfers.count; i++)
            print_transfer(cli, &cli->state->transfers.items[i]);
        return EXIT_CODE_OK;
    }
    document_init(&document);
    document_add(&document, "{\"transfers\": [");
    for (uint32_t i = 0; i < cli->state->transfers.count; i++) {
        document_add(&document, "%s", i > 0 ? ", " : "");
        document_add_record(&document, &transfer_record_type, &cli->state->transfers.items[i]);
    }
    document_add(&document, "]}");
    return document_finish(cli, &document);
}
