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

/* " 41.2 tokens/s", " first token after 1.20 s": nothing where nothing is predicted. */
static void print_prediction(const char *before, double value, const char *after)
{
    if (value > 0)
        (void)printf("%s%.*f%s", before, value < 10 ? 2 : 1, value, after);
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

/* "    alpha   57.0 %, 1.2 GB: weights 1.1 GB (reads 2 of 4 files), cache 60 MB, scratch 20 MB" */
static void print_rank(const struct cli *cli, const struct candidate *candidate, uint32_t number)
{
    const struct rank_record *rank = &candidate->ranks.items[number];
    const uint32_t files = candidate->sources.count;
    const uint32_t read = file_sources_read(candidate->sources.items, files, number);
    char share[SHARE_SIZE];
    char sizes[4][16];
    const char *name = cli_node_name(cli->state, &rank->node_id);
    if (rank->is_source) {
        (void)printf("    %-12s sends weights and leaves\n", name);
        return;
    }
    if (rank->weight_bytes == 0) {
        (void)printf("    %s\n", name); /* refused before anything was counted */
        return;
    }
    (void)printf("    %-12s %s, %s: weights %s", name, share_print(rank->share, share),
                 size_print(rank->weight_bytes + rank->cache_bytes + rank->scratch_bytes,
                            sizes[0]),
                 size_print(rank->weight_bytes, sizes[1]));
    if (read < files)
        (void)printf(" (reads %u of %u files)", read, files);
    (void)printf(", cache %s, scratch %s\n", size_print(rank->cache_bytes, sizes[2]),
                 size_print(rank->scratch_bytes, sizes[3]));
}

static void print_candidate(const struct cli *cli, const struct candidate *candidate)
{
    char why[SENTENCE_SIZE_MAX];
    (void)printf("%s  %s", candidate->is_possible ? "yes" : "no ",
                 sharding_title(candidate->sharding, candidate->is_asymmetric));
    if (candidate->is_possible) {
        (void)printf(", context %u", candidate->context);
        print_prediction(", ", candidate->tokens_per_s, " tokens/s");
        print_prediction(", first token after ", candidate->first_token_s, " s");
        print_prediction(", loads in ", candidate->load_s, " s");
    }
    (void)printf("\n");
    for (uint32_t i = 0; i < candidate->ranks.count; i++)
        print_rank(cli, candidate, i);
    (void)snprintf(why, sizeof(why), "%.*s", (int)sizeof(why) - 1, text_or_empty(candidate->why));
    text_make_plain(why);
    (void)printf("    %s\n", why);
}

static int print_candidates(struct cli *cli, const struct candidates_listed *listed)
{
    for (uint32_t i = 0; i < listed->candidates.count; i++)
        print_candidate(cli, &listed->candidates.items[i]);
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
