/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/tools/troupe/commands.h"

#include "runtime/clock.h"
#include "runtime/tools/troupe/output.h"

#include <inttypes.h>
#include <string.h>

static uint64_t files_size(const struct model_record *model)
{
    uint64_t size = 0;
    for (uint32_t i = 0; i < model->files.count; i++)
        size += model->files.items[i].size;
    return size;
}

/* The last word about a model that is not at that node and not on its way either. */
static bool is_failed_pull(const struct state *state, const struct download_end *end)
{
    const char *model_id = text_or_empty(end->model_id);
    const struct model_record *model = state_find_model(state, model_id);
    const struct holder_record *holder = model ? model_find_holder(model, &end->node_id) : NULL;
    return end->status != STATUS_OK && !(holder && holder->has_weights) &&
           !state_find_import(state, &end->node_id, model_id) &&
           state_find_download_end(state, model_id, &end->node_id) == end;
}

static void print_failed_pulls(struct cli *cli)
{
    for (uint32_t i = 0; i < cli->state->download_ends.count; i++) {
        const struct download_end *end = &cli->state->download_ends.items[i];
        char line[SENTENCE_SIZE_MAX + 2 * NAME_SIZE_MAX + 64];
        if (!is_failed_pull(cli->state, end))
            continue;
        (void)snprintf(line, sizeof(line), "the pull of %s to %s %s: %s",
                       text_or_empty(end->model_id), cli_node_name(cli->state, &end->node_id),
                       end->status == STATUS_CANCELLED ? "was cancelled" : "failed",
                       text_or_empty(end->reason));
        text_make_plain(line);
        cli_say(cli, "%s", line);
    }
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
    document_add(&document, "], \"ended_pulls\": [");
    for (uint32_t i = 0; i < cli->state->download_ends.count; i++) {
        document_add(&document, "%s", i > 0 ? ", " : "");
        document_add_record(&document, &download_end_type, &cli->state->download_ends.items[i]);
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

/* "3 h ago": how long ago it was last begun with. */
static const char *use_print(uint64_t used_ms, char text_out[24])
{
    static const struct {
        uint64_t seconds;
        const char *unit;
    } units[] = {{86400, "days"}, {3600, "h"}, {60, "min"}, {1, "s"}};
    const uint64_t now_ms = clock_wall_ms();
    const uint64_t age_s = now_ms > used_ms ? (now_ms - used_ms) / 1000 : 0;
    size_t unit = 0;
    while (unit + 1 < COUNT_OF(units) && age_s < 2 * units[unit].seconds)
        unit++;
    if (used_ms == 0)
        (void)snprintf(text_out, 24, "never");
    else
        (void)snprintf(text_out, 24, "%" PRIu64 " %s ago",
                       (age_s / units[unit].seconds) % 1000000, units[unit].unit);
    return text_out;
}

int command_models(struct cli *cli)
{
    static const char *const headings[] = {"MODEL", "TYPE", "LAYERS", "CONTEXT",
                                           "SIZE",  "USED", "PINNED", "ON"};
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
        char used[24];
        char holders[CELL_SIZE];
        print_holders(cli, model, holders);
        table_add(&table, "%s", text_or_empty(model->model_id));
        table_add(&table, "%s", text_or_empty(model->shape.model_type));
        table_add(&table, "%u", model->shape.layers);
        table_add(&table, "%u", model->shape.context);
        table_add(&table, "%s", size_print(files_size(model), size));
        table_add(&table, "%s", use_print(model->used_ms, used));
        table_add(&table, "%s", model->is_pinned ? "yes" : "no");
        table_add(&table, "%s", holders);
    }
    for (uint32_t i = 0; i < cli->state->imports.count; i++) {
        const struct import_record *import = &cli->state->imports.items[i];
        table_add(&table, "%s", text_or_empty(import->model_id));
        for (int k = 0; k < 6; k++)
            table_add(&table, "-");
        const char *node = cli_node_name(cli->state, &import->node_id);
        if (text_or_empty(import->path)[0])
            table_add(&table, "being taken in by %s", node);
        else
            table_add(&table, "coming from the hub to %s", node);
    }
    if (!table_print(&table, cli))
        return cli_failed(cli, STATUS_NO_MEMORY, NULL);
    print_failed_pulls(cli);
    return EXIT_CODE_OK;
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

int pin_model(struct cli *cli, const char *model_id, bool is_pinned)
{
    struct message command;
    enum status status = message_init(&command, MESSAGE_COMMAND, COMMAND_PIN_MODEL);
    if (status != STATUS_OK)
        return cli_failed(cli, status, NULL);
    struct pin_model *body = command.body;
    body->is_pinned = is_pinned;
    const int code = text_set(&body->model_id, model_id)
                         ? cli_command(cli, &command, NULL)
                         : cli_failed(cli, STATUS_NO_MEMORY, NULL);
    message_fini(&command);
    return code;
}

static int change_pin(struct cli *cli, bool is_pinned)
{
    int code = cli_connect_bare(cli, false, false);
    if (code == EXIT_CODE_OK)
        code = pin_model(cli, cli->words[0], is_pinned);
    if (code == EXIT_CODE_OK && cli->is_json)
        return json_finish(cli, json_pack("{s:s,s:b}", "model_id", cli->words[0], "is_pinned",
                                          is_pinned),
                           false);
    if (code == EXIT_CODE_OK)
        (void)printf(is_pinned ? "%s is pinned: nothing removes it until troupe unpin\n"
                               : "%s is not pinned any more\n",
                     cli->words[0]);
    return code;
}

int command_pin(struct cli *cli)
{
    return change_pin(cli, true);
}

int command_unpin(struct cli *cli)
{
    return change_pin(cli, false);
}
