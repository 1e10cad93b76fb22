/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/tools/troupe/commands.h"

#include "runtime/tools/troupe/output.h"

#include <string.h>

static uint64_t files_size(const struct model_record *model)
{
    uint64_t size = 0;
    for (uint32_t i = 0; i < model->files.count; i++)
        size += model->files.items[i].size;
    return size;
}

static int print_json(struct cli *cli)
{
    struct document document;
    document_init(&document);
    document_add(&document, "{\"models\": [");
    for (uint32_t i = 0; i < cli->state->models.count; i++) {
        document_add(&document, "%s", i > 0 ? ", " : "");
        document_add_record(&document, &model_record_type, &cli->state->models.items[i]);
    }
    document_add(&document, "], \"imports\": [");
    for (uint32_t i = 0; i < cli->state->imports.count; i++) {
        document_add(&document, "%s", i > 0 ? ", " : "");
        document_add_record(&document, &import_record_type, &cli->state->imports.items[i]);
    }
    document_add(&document, "]}");
    return document_finish(cli, &document);
}

/* "alpha, beta" of those with the weights. */
static void print_holders(const struct cli *cli, const struct model_record *model,
                          char text_out[CELL_SIZE])
{
    size_t used = 0;
    text_out[0] = '\0';
    for (uint32_t i = 0; i < model->holders.count; i++) {
        const struct holder_record *holder = &model->holders.items[i];
        if (!holder->has_weights || used + 1 >= CELL_SIZE)
            continue;
        int length = snprintf(text_out + used, CELL_SIZE - used, "%s%s", used > 0 ? ", " : "",
                              cli_node_name(cli->state, &holder->node_id));
        used += length > 0 ? (size_t)length : 0;
    }
    if (used == 0)
        (void)snprintf(text_out, CELL_SIZE, "nobody");
}

int command_models(struct cli *cli)
{
    static const char *const headings[] = {"MODEL", "TYPE", "LAYERS", "CONTEXT", "SIZE", "ON"};
    struct table table;
    int code = cli_connect(cli, false);
    if (code != EXIT_CODE_OK)
        return code;
    if (cli->is_json)
        return print_json(cli);
    if (cli->state->models.count == 0 && cli->state->imports.count == 0)
        cli_say(cli, "no models yet; troupe pull ORG/NAME brings one, troupe add DIR takes one in");
    table_init(&table, headings, COUNT_OF(headings));
    for (uint32_t i = 0; i < cli->state->models.count; i++) {
        const struct model_record *model = &cli->state->models.items[i];
        char size[16];
        char holders[CELL_SIZE];
        print_holders(cli, model, holders);
        table_add(&table, "%s", text_or_empty(model->model_id));
        table_add(&table, "%s", text_or_empty(model->shape.model_type));
        table_add(&table, "%u", model->shape.layers);
        table_add(&table, "%u", model->shape.context);
        table_add(&table, "%s", size_print(files_size(model), size));
        table_add(&table, "%s", holders);
    }
    for (uint32_t i = 0; i < cli->state->imports.count; i++) {
        const struct import_record *import = &cli->state->imports.items[i];
        table_add(&table, "%s", text_or_empty(import->model_id));
        for (int k = 0; k < 4; k++)
            table_add(&table, "-");
        const char *node = cli_node_name(cli->state, &import->node_id);
        if (text_or_empty(import->path)[0])
            table_add(&table, "being taken in by %s", node);
        else
            table_add(&table, "coming from the hub to %s", node);
    }
    return table_print(&table, cli) ? EXIT_CODE_OK : cli_failed(cli, STATUS_NO_MEMORY, NULL);
}

int command_remove(struct cli *cli)
{
    struct message command;
    int code = cli_connect_bare(cli, false, false);
    if (code != EXIT_CODE_OK)
        return code;
    enum status status = message_init(&command, MESSAGE_COMMAND, COMMAND_REMOVE_MODEL);
    if (status != STATUS_OK)
        return cli_failed(cli, status, NULL);
    code = text_set(&MESSAGE_BODY(&command, remove_model)->model_id, cli->words[0])
               ? cli_command(cli, &command, NULL)
               : cli_failed(cli, STATUS_NO_MEMORY, NULL);
    message_fini(&command);
    if (code == EXIT_CODE_OK && cli->is_json)
        return json_finish(cli, json_pack("{s:s}", "removed", cli->words[0]), false);
    if (code == EXIT_CODE_OK)
        (void)printf("%s is forgotten; its files are being deleted\n", cli->words[0]);
    return code;
}
