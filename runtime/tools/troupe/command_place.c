/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/tools/troupe/commands.h"

#include "protocol/holdings.h"
#include "runtime/rank_shares.h"
#include "runtime/tools/troupe/output.h"
#include "runtime/tools/troupe/paces.h"
#include "runtime/tools/troupe/place.h"

#include <string.h>

const struct option_row place_options[] = {
    PLACE_OPTION_ROWS,
    {"wait", NULL, "return when it is ready, or say why it is not"},
    {.name = NULL},
};

const struct option_row previews_options[] = {
    PLACE_OPTION_ROWS,
    {.name = NULL},
};

static int print_placed(struct cli *cli, const struct instance_id *id)
{
    const struct instance_record *instance = state_find_instance(cli->state, id);
    struct reason reason;
    char hex[HEX_SIZE(16)];
    if (!instance)
        return cli_failed(cli, refuse(&reason, STATUS_NOT_FOUND, "the instance was deleted"),
                          &reason);
    if (cli->is_json)
        return document_of_record(cli, &instance_record_type, instance);
    if (instance->status == INSTANCE_DOWNLOADING) {
        (void)printf("%s  %s\n", hex_print(id, 16, hex), text_or_empty(instance->why));
        return EXIT_CODE_OK;
    }
    (void)printf("%s  %s, %s, %u rank%s, context %u\n", hex_print(id, 16, hex),
                 text_or_empty(instance->model_id),
                 sharding_title(instance->sharding, instance->is_asymmetric),
                 instance_computing(instance), instance_computing(instance) == 1 ? "" : "s",
                 instance->context);
    (void)printf("  %s\n", text_or_empty(instance->why));
    place_print(cli, instance);
    return EXIT_CODE_OK;
}

int command_place(struct cli *cli)
{
    struct message command;
    struct instance_id id = {{0}};
    cli_catch_interrupt();
    int code = cli_connect(cli, true);
    if (code != EXIT_CODE_OK)
        return code;
    enum status status = message_init(&command, MESSAGE_COMMAND, COMMAND_PLACE_INSTANCE);
    if (status != STATUS_OK)
        return cli_failed(cli, status, NULL);
    code = place_request(cli, cli->words[0], command.body);
    if (code == EXIT_CODE_OK)
        code = place_send(cli, &command, &id);
    message_fini(&command);
    if (code == EXIT_CODE_OK && cli_option(cli, "wait"))
        code = place_wait(cli, &id);
    return code == EXIT_CODE_OK ? print_placed(cli, &id) : code;
}

/* ---- previews ---- */

/* Of the weight files, how many each rank reads from its own disk: "4/4,1/4". */
static const char *print_read(const struct candidate *candidate, char text_out[CELL_SIZE])
{
    size_t used = (size_t)snprintf(text_out, CELL_SIZE, "%s", candidate->ranks.count ? "" : "-");
    const uint32_t count = ranks_computing(candidate->ranks.items, candidate->ranks.count);
    for (uint32_t rank = 0; rank < count && used + 24 < CELL_SIZE; rank++) {
        const uint32_t read =
            file_sources_read(candidate->sources.items, candidate->sources.count, rank);
        used += (size_t)snprintf(text_out + used, CELL_SIZE - used, "%s%u/%u", rank ? "," : "",
                                 read, candidate->sources.count);
    }
    return text_out;
}

static void add_prediction(struct table *table, double value, const char *unit)
{
    if (value > 0)
        table_add(table, "%.*f%s", value < 10 ? 2 : 1, value, unit);
    else
        table_add(table, "-");
}

/* What was predicted of those that run already, and what was got. */
static int print_running(struct cli *cli, const char *model_id)
{
    struct message answer;
    const int code = paces_ask(cli, &answer);
    if (code != EXIT_CODE_OK)
        return code;
    for (uint32_t i = 0; i < cli->state->instances.count; i++) {
        const struct instance_record *instance = &cli->state->instances.items[i];
        char id[9];
        if (strcmp(text_or_empty(instance->model_id), model_id) != 0)
            continue;
        (void)printf("%s is placed as %s, %s, %s:\n", model_id,
                     id_print_short(&instance->instance_id, id),
                     sharding_title(instance->sharding, instance->is_asymmetric),
                     instance_status_name(instance->status));
        paces_print(instance, answer.body);
    }
    message_fini(&answer);
    return EXIT_CODE_OK;
}

static int print_candidates(struct cli *cli, const struct candidates_listed *listed)
{
    static const char *const headings[] = {"",      "SHARDING", "NODES", "CONTEXT",
                                           "LARGEST SHARE", "FILES READ", "TOKENS/S",
                                           "FIRST TOKEN", "LOAD", "WHY"};
    struct table table;
    table_init(&table, headings, COUNT_OF(headings));
    for (uint32_t i = 0; i < listed->candidates.count; i++) {
        const struct candidate *candidate = &listed->candidates.items[i];
        char nodes[CELL_SIZE] = "";
        char size[16];
        char read[CELL_SIZE];
        size_t used = 0;
        uint64_t most = 0;
        for (uint32_t r = 0; r < candidate->ranks.count; r++) {
            const struct rank_record *rank = &candidate->ranks.items[r];
            const uint64_t bytes = rank->weight_bytes + rank->cache_bytes + rank->scratch_bytes;
            if (used + 1 < sizeof(nodes)) {
                int length = snprintf(nodes + used, sizeof(nodes) - used, "%s%s",
                                      rank->is_source ? " from " : r ? "," : "",
                                      cli_node_name(cli->state, &rank->node_id));
                used += length > 0 ? (size_t)length : 0;
            }
            most = bytes > most ? bytes : most;
        }
        table_add(&table, "%s", candidate->is_possible ? "yes" : "no");
        table_add(&table, "%s",
                  sharding_title(candidate->sharding, candidate->is_asymmetric));
        table_add(&table, "%s", nodes[0] ? nodes : "-");
        table_add(&table, "%u", candidate->context);
        table_add(&table, "%s", size_print(most, size));
        table_add(&table, "%s", print_read(candidate, read));
        add_prediction(&table, candidate->tokens_per_s, "");
        add_prediction(&table, candidate->first_token_s, " s");
        add_prediction(&table, candidate->load_s, " s");
        table_add(&table, "%s", text_or_empty(candidate->why));
    }
    if (!table_print(&table, cli))
        return cli_failed(cli, STATUS_NO_MEMORY, NULL);
    if (listed->left_off > 0)
        (void)printf("%u more, all worse, are not shown\n", listed->left_off);
    return print_running(cli, text_or_empty(listed->model_id));
}

int command_previews(struct cli *cli)
{
    struct message command;
    struct message answer;
    int code = cli_connect(cli, false);
    if (code != EXIT_CODE_OK)
        return code;
    enum status status = message_init(&command, MESSAGE_COMMAND, COMMAND_ASK_CANDIDATES);
    if (status != STATUS_OK)
        return cli_failed(cli, status, NULL);
    code = place_request(cli, cli->words[0], &MESSAGE_BODY(&command, ask_candidates)->request);
    if (code == EXIT_CODE_OK)
        code = cli_command(cli, &command, &answer);
    message_fini(&command);
    if (code != EXIT_CODE_OK)
        return code;
    if (!message_is(&answer, MESSAGE_ANSWER, ANSWER_CANDIDATES))
        code = cli_failed(cli, STATUS_MALFORMED, NULL);
    else if (cli->is_json)
        code = document_of_record(cli, &candidates_listed_type, answer.body);
    else
        code = print_candidates(cli, answer.body);
    message_fini(&answer);
    return code;
}
