/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/tools/troupe/commands.h"

#include "protocol/instance_wait.h"
#include "runtime/rank_shares.h"
#include "runtime/tools/troupe/output.h"
#include "runtime/tools/troupe/paces.h"
#include "runtime/tools/troupe/place.h"

#include <string.h>

/* Beside the record how fast it was, and the names of its ranks' nodes. */
static void add_more(struct document *document, const struct cli *cli,
                     const struct instance_record *instance, const struct paces_listed *paces)
{
    document_reopen(document);
    document_add(document, ", ");
    paces_add(document, instance, paces);
    document_add(document, ", \"rank_names\": [");
    for (uint32_t i = 0; i < instance->ranks.count; i++) {
        const struct rank_record *rank = &instance->ranks.items[i];
        document_add(document, "%s{\"node\": ", i > 0 ? ", " : "");
        document_add_text(document, cli_node_name(cli->state, &rank->node_id));
        document_add(document, ", \"status\": \"%s\"}", rank_status_name(rank->status));
    }
    document_add(document, "]}");
}

static int print_json(struct cli *cli, const struct paces_listed *paces)
{
    struct document document;
    document_init(&document);
    document_add(&document, "{\"instances\": [");
    for (uint32_t i = 0; i < cli->state->instances.count; i++) {
        document_add(&document, "%s", i > 0 ? ", " : "");
        document_add_record(&document, &instance_record_type, &cli->state->instances.items[i]);
        add_more(&document, cli, &cli->state->instances.items[i], paces);
    }
    document_add(&document, "]}");
    return document_finish(cli, &document);
}

static void print_instance(const struct cli *cli, const struct instance_record *instance,
                           const struct paces_listed *paces)
{
    char hex[HEX_SIZE(16)];
    char waited_for[SENTENCE_SIZE_MAX];
    const char *why = text_or_empty(instance->last_reason);
    (void)printf("%s  %s  %s, %s, %s, context %u\n", hex_print(&instance->instance_id, 16, hex),
                 text_or_empty(instance->model_id), instance_status_name(instance->status),
                 sharding_title(instance->sharding, instance->is_asymmetric),
                 mode_name(instance->mode), instance->context);
    if (text_or_empty(instance->why)[0])
        (void)printf("  %s\n", instance->why);
    place_print(cli, instance);
    paces_print(instance, paces);
    if (instance_waits_for(cli->state, instance, waited_for))
        (void)printf("  waits for %s\n", waited_for);
    if (instance->status != INSTANCE_READY && instance->status != INSTANCE_WAITING && why[0])
        (void)printf("  last: %s\n", why);
}

int command_ps(struct cli *cli)
{
    struct message answer;
    int code = cli_connect(cli, false);
    if (code == EXIT_CODE_OK)
        code = paces_ask(cli, &answer);
    if (code != EXIT_CODE_OK)
        return code;
    const struct paces_listed *paces = answer.body;
    if (!cli->is_json && cli->state->instances.count == 0)
        cli_say(cli, "nothing runs; troupe place MODEL or troupe run MODEL starts one");
    for (uint32_t i = 0; !cli->is_json && i < cli->state->instances.count; i++)
        print_instance(cli, &cli->state->instances.items[i], paces);
    code = cli->is_json ? print_json(cli, paces) : EXIT_CODE_OK;
    message_fini(&answer);
    return code;
}

/* ---- delete and retry ---- */

/* Both bodies are one instance id. */
static int send_about(struct cli *cli, enum command_code what, const char *key,
                      const char *sentence)
{
    struct message command;
    struct instance_id id;
    char hex[HEX_SIZE(16)];
    int code = cli_connect(cli, false);
    if (code == EXIT_CODE_OK)
        code = cli_find_instance(cli, cli->words[0], &id);
    if (code != EXIT_CODE_OK)
        return code;
    enum status status = message_init(&command, MESSAGE_COMMAND, what);
    if (status != STATUS_OK)
        return cli_failed(cli, status, NULL);
    if (what == COMMAND_DELETE_INSTANCE)
        MESSAGE_BODY(&command, delete_instance)->instance_id = id;
    else
        MESSAGE_BODY(&command, retry_instance)->instance_id = id;
    code = cli_command(cli, &command, NULL);
    message_fini(&command);
    hex_print(&id, 16, hex);
    if (code == EXIT_CODE_OK && cli->is_json)
        return json_finish(cli, json_pack("{s:s}", key, hex), false);
    if (code == EXIT_CODE_OK)
        (void)printf("%s %s\n", hex, sentence);
    return code;
}

int command_delete(struct cli *cli)
{
    return send_about(cli, COMMAND_DELETE_INSTANCE, "deleted", "is deleted");
}

int command_retry(struct cli *cli)
{
    return send_about(cli, COMMAND_RETRY_INSTANCE, "retried", "starts again");
}
