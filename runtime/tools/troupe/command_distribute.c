/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/tools/troupe/commands.h"

#include "runtime/clock.h"
#include "runtime/identity.h"
#include "runtime/tools/troupe/output.h"
#include "runtime/transfer_progress.h"

#include <inttypes.h>
#include <string.h>

#define LOOK_MS 1200u /* each target that runs tells how far it is within this time */
#define LINE_SIZE 400

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

/* "1.2 GB of 4.0 GB, 310 MB/s, 9 s left; 1.0 GB from alpha, 200 MB from beta". */
static const char *progress_print(const struct cli *cli, const struct transfer_progressed *told,
                                  char line_out[LINE_SIZE])
{
    char have[16];
    char total[16];
    char speed[16];
    const uint64_t left_s = transfer_seconds_left(told);
    int length = snprintf(line_out, LINE_SIZE, "%s of %s, %s/s", size_print(told->bytes_have, have),
                          size_print(told->bytes_total, total),
                          size_print(told->bytes_per_s, speed));
    if (left_s < UINT64_MAX)
        length += snprintf(line_out + length, LINE_SIZE - (size_t)length,
                           left_s < 100 ? ", %" PRIu64 " s left" : ", %" PRIu64 " min left",
                           left_s < 100 ? left_s : left_s / 60 + 1);
    for (uint32_t i = 0; i < told->sources.count && length < LINE_SIZE; i++)
        length += snprintf(line_out + length, LINE_SIZE - (size_t)length, "%s%s from %.60s",
                           i == 0 ? "; " : ", ", size_print(told->sources.items[i].bytes, have),
                           cli_node_name(cli->state, &told->sources.items[i].node_id));
    return line_out;
}

static void print_target(const struct cli *cli, const struct transfer_progress_table *table,
                         const struct transfer_record *transfer,
                         const struct transfer_target *target)
{
    const struct transfer_progressed *told =
        table && target->phase == TRANSFER_RUNNING
            ? transfer_progress_find(table, &transfer->transfer_id, &target->node_id,
                                     clock_now_ms())
            : NULL;
    char line[LINE_SIZE];
    const struct node_record *node = state_find_node(cli->state, &target->node_id);
    const char *more = told ? progress_print(cli, told, line) : text_or_empty(target->reason);
    if (transfer_target_is_open(target) && node && !node->in_view)
        more = "it is away; it goes on when it is back";
    (void)printf("  to %-12s %s%s%s\n", cli_node_name(cli->state, &target->node_id),
                 transfer_phase_name(target->phase), more[0] ? ": " : "", more);
}

static void print_transfer(const struct cli *cli, const struct transfer_progress_table *table,
                           const struct transfer_record *transfer)
{
    char hex[HEX_SIZE(16)];
    (void)printf("%s  %s  %s\n", hex_print(&transfer->transfer_id, 16, hex),
                 text_or_empty(transfer->model_id),
                 transfer_phase_name(transfer_phase_of(transfer)));
    for (uint32_t i = 0; i < transfer->targets.count; i++)
        print_target(cli, table, transfer, &transfer->targets.items[i]);
}

/* All targets together: bytes of those that told, and who is done. */
static void show_progress(const struct cli *cli, struct progress *progress,
                          const struct transfer_progress_table *table,
                          const struct transfer_record *transfer)
{
    struct transfer_progressed all = {.bytes_have = 0};
    uint32_t done = 0;
    uint32_t running = 0;
    char line[LINE_SIZE];
    for (uint32_t i = 0; i < transfer->targets.count; i++) {
        const struct transfer_target *target = &transfer->targets.items[i];
        const struct transfer_progressed *told = transfer_progress_find(
            table, &transfer->transfer_id, &target->node_id, clock_now_ms());
        done += target->phase == TRANSFER_DONE;
        if (target->phase != TRANSFER_RUNNING || !told)
            continue;
        running++;
        all.bytes_have += told->bytes_have;
        all.bytes_total += told->bytes_total;
        all.bytes_per_s += told->bytes_per_s;
    }
    const double each = 100.0 / (transfer->targets.count ? transfer->targets.count : 1);
    const double share =
        all.bytes_total ? (double)all.bytes_have / (double)all.bytes_total * running : 0;
    progress_show(progress, (uint32_t)(each * (done + share)), "%s: %u of %u nodes have it%s%s",
                  text_or_empty(transfer->model_id), (unsigned)done,
                  (unsigned)transfer->targets.count, running ? "; " : "",
                  running ? progress_print(cli, &all, line) : "");
}

static bool is_open(const struct transfer_record *transfer)
{
    const enum transfer_phase phase = transfer_phase_of(transfer);
    return phase == TRANSFER_ASKED || phase == TRANSFER_RUNNING;
}

static int wait_for(struct cli *cli, struct transfer_progress_table *table,
                    const struct transfer_id *id)
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
        show_progress(cli, &progress, table, transfer);
        enum status status = troupe_client_next(cli->client, 500, &message, &reason);
        if (status == STATUS_OK) {
            transfer_progress_take(table, &message, clock_now_ms());
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
        print_transfer(cli, NULL, transfer);
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
    if (code == EXIT_CODE_OK && cli_option(cli, "wait")) {
        struct transfer_progress_table table = {{{.expires_ms = 0}}};
        code = wait_for(cli, &table, &id);
        transfer_progress_fini(&table);
    }
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

static bool is_told(const struct cli *cli, const struct transfer_progress_table *table)
{
    for (uint32_t i = 0; i < cli->state->transfers.count; i++) {
        const struct transfer_record *transfer = &cli->state->transfers.items[i];
        for (uint32_t k = 0; k < transfer->targets.count; k++)
            if (transfer->targets.items[k].phase == TRANSFER_RUNNING &&
                !transfer_progress_find(table, &transfer->transfer_id,
                                        &transfer->targets.items[k].node_id, clock_now_ms()))
                return false;
    }
    return true;
}

/* Those that run tell how far they are, or not: then they are shown without. */
static void look(const struct cli *cli, struct transfer_progress_table *table)
{
    const uint64_t end_ms = clock_now_ms() + LOOK_MS;
    struct message message;
    struct reason unread;
    while (clock_now_ms() < end_ms && !is_told(cli, table)) {
        if (troupe_client_next(cli->client, 100, &message, &unread) != STATUS_OK)
            continue;
        transfer_progress_take(table, &message, clock_now_ms());
        message_fini(&message);
    }
}

static int print_transfers(struct cli *cli)
{
    struct transfer_progress_table table = {{{.expires_ms = 0}}};
    if (cli->state->transfers.count == 0)
        cli_say(cli, "no transfers yet; troupe distribute MODEL copies one to other nodes");
    look(cli, &table);
    for (uint32_t i = 0; i < cli->state->transfers.count; i++)
        print_transfer(cli, &table, &cli->state->transfers.items[i]);
    transfer_progress_fini(&table);
    return EXIT_CODE_OK;
}

/* How far those are that told it: what they said, and which node said it. */
static void add_progress(const struct cli *cli, struct document *document,
                         const struct transfer_progress_table *table)
{
    const char *comma = "";
    char hex[HEX_SIZE(16)];
    for (uint32_t i = 0; i < cli->state->transfers.count; i++) {
        const struct transfer_record *transfer = &cli->state->transfers.items[i];
        for (uint32_t k = 0; k < transfer->targets.count; k++) {
            const struct transfer_target *target = &transfer->targets.items[k];
            const struct transfer_progressed *told =
                target->phase == TRANSFER_RUNNING
                    ? transfer_progress_find(table, &transfer->transfer_id, &target->node_id,
                                             clock_now_ms())
                    : NULL;
            if (!told)
                continue;
            document_add(document, "%s{\"node_id\": \"%s\", \"told\": ", comma,
                         hex_print(&target->node_id, sizeof(target->node_id), hex));
            document_add_record(document, &transfer_progressed_type, told);
            document_add(document, "}");
            comma = ", ";
        }
    }
}

static int print_json(struct cli *cli)
{
    struct transfer_progress_table table = {{{.expires_ms = 0}}};
    struct document document;
    document_init(&document);
    look(cli, &table);
    document_add(&document, "{\"transfers\": [");
    for (uint32_t i = 0; i < cli->state->transfers.count; i++) {
        document_add(&document, "%s", i > 0 ? ", " : "");
        document_add_record(&document, &transfer_record_type, &cli->state->transfers.items[i]);
    }
    document_add(&document, "], \"progress\": [");
    add_progress(cli, &document, &table);
    document_add(&document, "]}");
    transfer_progress_fini(&table);
    return document_finish(cli, &document);
}

int command_transfers(struct cli *cli)
{
    const char *cancelled = cli_option(cli, "cancel");
    const int code = cli_connect(cli, !cancelled);
    if (code != EXIT_CODE_OK)
        return code;
    if (cancelled)
        return cancel(cli, cancelled);
    return cli->is_json ? print_json(cli) : print_transfers(cli);
}
