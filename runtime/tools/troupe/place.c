/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/tools/troupe/place.h"

#include "protocol/holdings.h"
#include "protocol/memory.h"
#include "protocol/sharding.h"
#include "runtime/partition.h"
#include "runtime/partition_table.h"
#include "runtime/rank_shares.h"
#include "runtime/tools/troupe/output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- the request ---- */

static int read_nodes(struct cli *cli, const char *text, struct place_instance *request)
{
    struct node_id ids[NODE_COUNT_MAX];
    uint32_t count = 0;
    while (*text) {
        char name[NAME_SIZE_MAX];
        size_t length = strcspn(text, ",");
        if (length == 0 || length >= sizeof(name) || count == NODE_COUNT_MAX)
            return cli_usage_failed(cli, "--nodes takes names with commas between, not %.60s",
                                    text);
        memcpy(name, text, length);
        name[length] = '\0';
        int code = cli_find_node(cli, name, &ids[count]);
        if (code != EXIT_CODE_OK)
            return code;
        count++;
        text += length + (text[length] == ',' ? 1 : 0);
    }
    if (!bytes_set(&request->node_ids, ids, count * sizeof(ids[0])))
        return cli_failed(cli, STATUS_NO_MEMORY, NULL);
    return EXIT_CODE_OK;
}

/* "50,30,20" of --shares or --stages. */
static int read_numbers(struct cli *cli, const char *option, const char *example, int64_t least,
                        int64_t most, const char *text, struct u32s *numbers_out)
{
    int64_t given[RANK_COUNT_MAX];
    uint32_t numbers[RANK_COUNT_MAX];
    uint32_t count = 0;
    const char *at = text;
    struct reason reason = {""};
    for (bool is_more = true; is_more;) {
        char *end = NULL;
        const char *digits = at + (at[0] == '-' && least == 0);
        errno = 0;
        const long long number = strtoll(at, &end, 10);
        if (errno != 0 || digits[0] < '0' || digits[0] > '9' || number > most ||
            number < (least == 0 ? -most : least) || (*end != ',' && *end != '\0') ||
            count == RANK_COUNT_MAX)
            return cli_usage_failed(cli, "--%s takes numbers with commas between, such as %s, "
                                         "not %.60s", option, example, text);
        numbers[count] = (uint32_t)number;
        given[count++] = number;
        is_more = *end == ',';
        at = end + 1;
    }
    if (least == 0 && partition_check_signs(given, count, &reason) != STATUS_OK)
        return cli_usage_failed(cli, "--%s: %s", option, reason.text);
    numbers_out->items = memory_copied(numbers, count * sizeof(numbers[0]));
    if (!numbers_out->items)
        return cli_failed(cli, STATUS_NO_MEMORY, NULL);
    numbers_out->count = count;
    return EXIT_CODE_OK;
}

static int read_table(struct cli *cli, const char *path, struct place_instance *request)
{
    struct reason reason = {""};
    enum status status = partition_table_read_file(path, request, &reason);
    return status == STATUS_OK ? EXIT_CODE_OK : cli_failed(cli, status, &reason);
}

static int read_choice(struct cli *cli, struct place_instance *request)
{
    const char *sharding = cli_option(cli, "sharding");
    const char *mode = cli_option(cli, "mode");
    const char *format = cli_option(cli, "kv-cache");
    enum kv_format kv_format = KV_FORMAT_NONE;
    enum sharding parsed = SHARDING_NONE;
    request->any_sharding = sharding == NULL;
    request->asymmetric = sharding && strcmp(sharding, "asymmetric") == 0;
    if (request->asymmetric)
        parsed = SHARDING_TENSOR;
    else if (sharding && !sharding_parse(sharding, &parsed))
        return cli_usage_failed(
            cli, "--sharding is asymmetric, " SHARDING_NAMES ", not %.40s", sharding);
    request->sharding = parsed;
    if (format && !kv_format_parse(format, &kv_format))
        return cli_usage_failed(cli, "--kv-cache is bf16 or int8, not %.40s", format);
    request->kv_format = kv_format;
    if (mode && strcmp(mode, "exact") == 0)
        request->mode = MODE_EXACT;
    else if (!mode || strcmp(mode, "fast") == 0)
        request->mode = MODE_FAST;
    else
        return cli_usage_failed(cli, "--mode is fast or exact, not %.40s", mode);
    return EXIT_CODE_OK;
}

int place_request(struct cli *cli, const char *model_id, struct place_instance *request)
{
    uint64_t nodes_min = 0;
    uint64_t context = 0;
    uint64_t threads = 0;
    uint64_t requests = 0;
    const char *nodes = cli_option(cli, "nodes");
    const char *shares = cli_option(cli, "shares");
    const char *table = cli_option(cli, "table");
    const char *stages = cli_option(cli, "stages");
    if (!cli_number(cli, "min-nodes", NODE_COUNT_MAX, 0, &nodes_min) ||
        !cli_number(cli, "context", UINT32_MAX, 0, &context) ||
        !cli_number(cli, "requests", REQUESTS_RUNNING_MAX, 0, &requests) ||
        !cli_number(cli, "threads", 1024, 0, &threads))
        return EXIT_CODE_USAGE;
    request->nodes_min = (uint32_t)nodes_min;
    request->context = (uint32_t)context;
    request->threads = (uint32_t)threads;
    request->requests = (uint32_t)requests;
    request->may_download = !cli_option(cli, "no-download");
    int code = read_choice(cli, request);
    if (code == EXIT_CODE_OK && nodes)
        code = read_nodes(cli, nodes, request);
    if (code == EXIT_CODE_OK && shares)
        code = read_numbers(cli, "shares", "50,30,20", 0, 1000000, shares, &request->shares);
    if (code == EXIT_CODE_OK && stages)
        code = read_numbers(cli, "stages", "2,1", 1, RANK_COUNT_MAX, stages, &request->stages);
    if (code == EXIT_CODE_OK && table)
        code = read_table(cli, table, request);
    if (code == EXIT_CODE_OK && !text_set(&request->model_id, model_id))
        code = cli_failed(cli, STATUS_NO_MEMORY, NULL);
    return code;
}

/* ---- sending ---- */

/* The event of our command carries its key. */
static bool find_placed(struct cli *cli, const struct command_key *key, uint64_t index,
                        struct instance_id *id_out)
{
    struct message message;
    struct reason reason = {""};
    bool is_found = false;
    while (!is_found &&
           troupe_client_next(cli->client, 0, &message, &reason) == STATUS_OK) {
        if (message_is(&message, MESSAGE_EVENT, EVENT_INSTANCE_PLACED) &&
            ID_EQUAL(message.head.key, *key)) {
            *id_out = MESSAGE_BODY(&message, instance_placed)->instance.instance_id;
            is_found = true;
        }
        message_fini(&message);
    }
    /* It came in a snapshot, after the connection was made anew. */
    for (uint32_t i = 0; !is_found && i < cli->state->instances.count; i++) {
        const struct instance_record *instance = &cli->state->instances.items[i];
        if (instance->changed_index < index)
            continue;
        *id_out = instance->instance_id;
        is_found = true;
    }
    return is_found;
}

int place_send(struct cli *cli, struct message *command, struct instance_id *id_out)
{
    struct message answer;
    int code = cli_command(cli, command, &answer);
    if (code != EXIT_CODE_OK)
        return code;
    const uint64_t index = answer.head.index;
    message_fini(&answer);
    code = cli_state_at(cli, index);
    if (code == EXIT_CODE_OK && !find_placed(cli, &command->head.key, index, id_out)) {
        struct reason reason;
        code = cli_failed(
            cli, refuse(&reason, STATUS_NOT_FOUND, "the instance was deleted at once by another"),
            &reason);
    }
    return code;
}

/* ---- waiting ---- */

static const char *rank_phase(const struct instance_record *instance)
{
    uint32_t least = RANK_STATUS_END;
    for (uint32_t i = 0; i < instance->ranks.count; i++)
        if (instance->ranks.items[i].status < least)
            least = instance->ranks.items[i].status;
    return rank_status_name(least);
}

static uint32_t ready_count(const struct instance_record *instance)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < instance->ranks.count; i++)
        count += instance->ranks.items[i].status == RANK_READY;
    return count;
}

static int refuse_wait(struct cli *cli, const struct instance_record *instance)
{
    struct reason reason;
    char id[9];
    const char *why = text_or_empty(instance->last_reason);
    (void)refuse(&reason, STATUS_REFUSED, "%s; troupe retry %s starts it again",
                 why[0] ? why : "it failed", id_print_short(&instance->instance_id, id));
    (void)cli_failed(cli, STATUS_REFUSED, &reason);
    return EXIT_CODE_FAILED;
}

/* Weights a rank has, or bytes of the copy that comes first, from the signals about them. */
static void show_load(struct cli *cli, struct progress *progress, const struct instance_id *id,
                      const struct message *message)
{
    const struct instance_record *instance = state_find_instance(cli->state, id);
    char have[16];
    char total[16];
    char speed[16];
    if (message_is(message, MESSAGE_SIGNAL, SIGNAL_TRANSFER_PROGRESSED) && instance &&
        instance->status == INSTANCE_COPYING && instance->ranks.count > 0) {
        const struct transfer_progressed *body = MESSAGE_BODY(message, transfer_progressed);
        if (ID_EQUAL(body->transfer_id, instance->transfer_id) && body->bytes_total > 0)
            progress_show(progress, (uint32_t)(body->bytes_have * 100 / body->bytes_total),
                          "copied to %s: %s of %s",
                          cli_node_name(cli->state, &instance->ranks.items[0].node_id),
                          size_print(body->bytes_have, have),
                          size_print(body->bytes_total, total));
    }
    if (message_is(message, MESSAGE_SIGNAL, SIGNAL_IMPORT_PROGRESSED) && instance &&
        instance->status == INSTANCE_DOWNLOADING) {
        const struct import_progressed *body = MESSAGE_BODY(message, import_progressed);
        if (strcmp(text_or_empty(body->model_id), text_or_empty(instance->model_id)) == 0 &&
            body->bytes_total > 0)
            progress_show(progress, (uint32_t)(body->bytes_have * 100 / body->bytes_total),
                          "downloaded to %s: %s of %s, %s/s",
                          cli_node_name(cli->state, &body->node_id),
                          size_print(body->bytes_have, have), size_print(body->bytes_total, total),
                          size_print(body->bytes_per_s, speed));
    }
    if (!message_is(message, MESSAGE_SIGNAL, SIGNAL_LOAD_PROGRESSED))
        return;
    const struct load_progressed *body = MESSAGE_BODY(message, load_progressed);
    if (!ID_EQUAL(body->instance_id, *id))
        return;
    progress_show(progress,
                  body->bytes_total ? (uint32_t)(body->bytes_have * 100 / body->bytes_total) : 101,
                  "rank %u loads: %s of %s", body->rank, size_print(body->bytes_have, have),
                  size_print(body->bytes_total, total));
}

static void show_status(struct cli *cli, struct progress *progress,
                        const struct instance_record *instance)
{
    const char *model = text_or_empty(instance->model_id);
    if (instance->status == INSTANCE_WAITING)
        progress_show(progress, 101, "waits to start again: %s",
                      text_or_empty(instance->last_reason));
    else if (instance->status == INSTANCE_DOWNLOADING)
        progress_show(progress, 101, "%s", text_or_empty(instance->why));
    else if (instance->status == INSTANCE_COPYING && instance->ranks.count > 0)
        progress_show(progress, 101, "%s is copied to %s first", model,
                      cli_node_name(cli->state, &instance->ranks.items[0].node_id));
    else
        progress_show(progress, 101, "%s: %s, %u of %u ranks ready", model, rank_phase(instance),
                      ready_count(instance), instance_computing(instance));
}

int place_wait(struct cli *cli, const struct instance_id *id)
{
    struct progress progress = {.cli = cli};
    struct reason reason = {""};
    int code = EXIT_CODE_OK;
    for (;;) {
        struct message message;
        code = cli_state_at(cli, 1);
        const struct instance_record *instance =
            code == EXIT_CODE_OK ? state_find_instance(cli->state, id) : NULL;
        if (code != EXIT_CODE_OK || (instance && instance->status == INSTANCE_READY))
            break;
        if (!instance) {
            (void)refuse(&reason, STATUS_CANCELLED, "the instance was deleted");
            code = cli_failed(cli, STATUS_NOT_FOUND, &reason);
            break;
        }
        if (instance->status == INSTANCE_FAILED) {
            progress_end(&progress);
            return refuse_wait(cli, instance);
        }
        if (cli_is_interrupted()) {
            cli_say(cli, "%sit goes on starting; troupe ps shows it",
                    progress.is_open ? "\n" : "");
            return EXIT_CODE_INTERRUPTED;
        }
        show_status(cli, &progress, instance);
        enum status status = troupe_client_next(cli->client, 500, &message, &reason);
        if (status == STATUS_OK) {
            show_load(cli, &progress, id, &message);
            message_fini(&message);
        } else if (status != STATUS_TIMED_OUT && status != STATUS_GAP) {
            code = cli_failed(cli, status, &reason);
            break;
        }
    }
    progress_end(&progress);
    return code;
}

/* ---- showing ---- */

static uint32_t files_sent(const struct instance_record *instance, uint32_t rank)
{
    uint32_t files = 0;
    for (uint32_t i = 0; i < instance->sources.count; i++)
        files += instance->sources.items[i].rank == rank;
    return files;
}

/* " (reads 2 of 4 files, 2 from n2)"; empty when it reads all. */
static const char *print_sources(const struct cli *cli, const struct instance_record *instance,
                                 uint32_t number, char text_out[CELL_SIZE])
{
    const uint32_t all = instance->sources.count;
    const uint32_t reads = file_sources_read(instance->sources.items, all, number);
    text_out[0] = '\0';
    if (reads == all)
        return text_out;
    size_t used = (size_t)snprintf(text_out, CELL_SIZE, " (reads %u of %u files", reads, all);
    for (uint32_t rank = 0; rank < instance->ranks.count; rank++) {
        const uint32_t files =
            file_sources_sent(instance->sources.items, all, rank, number);
        if (files > 0 && used + 64 < CELL_SIZE)
            used += (size_t)snprintf(text_out + used, CELL_SIZE - used, ", %u from %.40s",
                                     files, cli_node_name(cli->state,
                                                          &instance->ranks.items[rank].node_id));
    }
    (void)snprintf(text_out + used, CELL_SIZE - used, ")");
    return text_out;
}

const char *share_print(uint32_t share, char text_out[SHARE_SIZE])
{
    (void)snprintf(text_out, SHARE_SIZE, "%.1f %%", (double)share / (RANK_SHARE_ALL / 100));
    return text_out;
}

void place_print(const struct cli *cli, const struct instance_record *instance)
{
    if (instance->status == INSTANCE_DOWNLOADING)
        return; /* nothing is known of it yet */
    (void)printf("  %u requests at once share a KV cache of %u tokens in %s\n", instance->requests,
                 instance->positions, kv_format_name(instance->kv_format));
    for (uint32_t i = 0; i < instance->ranks.count; i++) {
        const struct rank_record *rank = &instance->ranks.items[i];
        char weights[16];
        char cache[16];
        char share[SHARE_SIZE];
        char sources[CELL_SIZE];
        if (rank->is_source) {
            (void)printf("  source on %-10s sends %u of %u files and leaves, %s\n",
                         cli_node_name(cli->state, &rank->node_id), files_sent(instance, i),
                         instance->sources.count, rank_status_name(rank->status));
            continue;
        }
        (void)printf("  rank %u on %-12s %s, layers %u-%u", i,
                     cli_node_name(cli->state, &rank->node_id),
                     share_print(rank->share, share), rank->layer_first,
                     rank->layer_end > 0 ? rank->layer_end - 1 : 0);
        const bool is_staged = instance->sharding == SHARDING_PIPELINE_TENSOR;
        const bool is_cut = instance->sharding == SHARDING_TENSOR || is_staged;
        if (is_staged)
            (void)printf(" in stage %u", rank->stage);
        for (uint32_t k = 0; is_cut && k < rank->cuts.count; k++) {
            const struct cut_record *cut = &rank->cuts.items[k];
            const double all = (double)cut->units * cut->layers;
            if (is_staged && cut->end == 0)
                continue; /* none, or none of its layers has any */
            (void)printf(", %.0f %% of %s",
                         all > 0 ? (double)(cut->end - cut->first) * cut->step / all * 100 : 0,
                         partition_kind_name((enum partition_kind)cut->kind));
        }
        (void)printf(", weights %s%s, cache %s, %s\n", size_print(rank->weight_bytes, weights),
                     print_sources(cli, instance, i, sources), size_print(rank->cache_bytes, cache),
                     rank_status_name(rank->status));
    }
}
