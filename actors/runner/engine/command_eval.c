/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/commands.h"
#include "actors/runner/engine/kernels/kernels.h"
#include "actors/runner/engine/local_world.h"
#include "protocol/memory.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IDS_MAX 1000000u
#define CHUNK 32u
#define BEST 5u

struct eval {
    const char *model_path;
    uint32_t *ids;
    size_t id_count;
    uint64_t greedy;
    bool wants_logits;
    bool as_json;
    enum sharding sharding;
    bool has_shares;
    uint64_t shares[PARTITION_RANKS_MAX];
    uint32_t ranks;
    struct engine_options options;

    struct local_world *world;
    uint32_t vocab;
    uint32_t sequence;
    float *logits; /* [CHUNK][vocab] */
    json_t *best;
    json_t *generated;
    char problem[128];
};

/* "50,30,20"; false when it is no list of numbers in [low, high]. */
static bool read_list(const char *text, uint64_t low, uint64_t high, uint64_t *values_out,
                      size_t count_max, size_t *count_out)
{
    size_t count = 0;
    while (*text) {
        char *end = NULL;
        if (count == count_max || *text < '0' || *text > '9')
            return false;
        unsigned long long value = strtoull(text, &end, 10);
        if (value < low || value > high || (*end != ',' && *end != '\0'))
            return false;
        values_out[count++] = value;
        text = *end == ',' ? end + 1 : end;
        if (*end == ',' && *text == '\0')
            return false;
    }
    *count_out = count;
    return count > 0;
}

static bool read_ids(struct eval *eval, const char *text)
{
    size_t room = 1;
    for (const char *c = text; *c; c++)
        room += *c == ',';
    uint64_t *values = memory_zeroed(room, sizeof *values);
    memory_free(eval->ids);
    eval->ids = memory_zeroed(room, sizeof *eval->ids);
    bool good = values && eval->ids &&
                read_list(text, 0, UINT32_MAX, values, room < IDS_MAX ? room : IDS_MAX,
                          &eval->id_count);
    for (size_t i = 0; good && i < eval->id_count; i++)
        eval->ids[i] = (uint32_t)values[i];
    memory_free(values);
    return good;
}

static const char *read_flag(struct eval *eval, const char *name)
{
    if (strcmp(name, "--logits") == 0)
        eval->wants_logits = true;
    else if (strcmp(name, "--json") == 0)
        eval->as_json = true;
    else if (strcmp(name, "--fast") == 0)
        eval->options.mode = ENGINE_FAST;
    else
        return "no such option";
    return NULL;
}

static const char *unknown_option(struct eval *eval, const char *name)
{
    (void)snprintf(eval->problem, sizeof(eval->problem), "there is no option %.60s", name);
    return eval->problem;
}

/* NULL, or what is wrong. */
static const char *read_value(struct eval *eval, const char *name, const char *value)
{
    uint64_t number = 0;
    size_t count = 0;
    if (strcmp(name, "--model") == 0) {
        eval->model_path = value;
        return NULL;
    }
    if (strcmp(name, "--ids") == 0)
        return read_ids(eval, value) ? NULL : "--ids takes token ids like 1,2,3";
    if (strcmp(name, "--sharding") == 0)
        return sharding_parse(value, &eval->sharding) ? NULL
                                                      : "--sharding is none, pipeline or tensor";
    if (strcmp(name, "--shares") == 0) {
        eval->has_shares = true;
        if (!read_list(value, 1, UINT32_MAX, eval->shares, PARTITION_RANKS_MAX, &count))
            return "--shares takes numbers above 0 like 50,30,20";
        eval->ranks = (uint32_t)count;
        return NULL;
    }
    if (strcmp(name, "--kv-cache") == 0)
        return kv_format_parse(value, &eval->options.kv_format) ? NULL
                                                                : "--kv-cache is f16 or int8";
    if (strcmp(name, "--kernels") == 0) {
        eval->options.kernels = kernel_set_find(value);
        return eval->options.kernels ? NULL : "this CPU has no such kernels; try portable";
    }
    if (strcmp(name, "--greedy") == 0 && engine_command_number(value, 0, IDS_MAX, &eval->greedy))
        return NULL;
    if (strcmp(name, "--threads") == 0 && engine_command_number(value, 1, 256, &number)) {
        eval->options.threads = (uint32_t)number;
        return NULL;
    }
    if (strcmp(name, "--ranks") == 0 &&
        engine_command_number(value, 1, PARTITION_RANKS_MAX, &number)) {
        eval->ranks = (uint32_t)number;
        return NULL;
    }
    static const char *const numbers[] = {"--greedy", "--threads", "--ranks"};
    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        if (strcmp(name, numbers[i]) != 0)
            continue;
        (void)snprintf(eval->problem, sizeof(eval->problem), "%s takes a number, not %.40s", name,
                       value);
        return eval->problem;
    }
    return unknown_option(eval, name);
}

static const char *read_arguments(struct eval *eval, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        bool is_flag = strcmp(argv[i], "--logits") == 0 || strcmp(argv[i], "--json") == 0 ||
                       strcmp(argv[i], "--fast") == 0;
        const char *problem = NULL;
        if (is_flag)
            problem = read_flag(eval, argv[i]);
        else if (i + 1 < argc)
            problem = read_value(eval, argv[i], argv[i + 1]);
        else
            problem = "an option is without its value, or not known";
        if (problem)
            return problem;
        i += !is_flag;
    }
    if (!eval->model_path)
        return "--model DIR is missing";
    if (eval->id_count == 0)
        return "--ids is missing";
    if (eval->ranks > 1 && eval->sharding == SHARDING_NONE)
        return "several ranks need --sharding pipeline or tensor";
    return NULL;
}

/* The best five, best first; of equal ones the lower id first. */
static json_t *best_of(const float *logits, uint32_t vocab)
{
    uint32_t best[BEST];
    size_t count = 0;
    for (uint32_t id = 0; id < vocab; id++) {
        size_t at = count;
        while (at > 0 && logits[id] > logits[best[at - 1]])
            at--;
        if (at == BEST)
            continue;
        count += count < BEST;
        for (size_t k = count - 1; k > at; k--)
            best[k] = best[k - 1];
        best[at] = id;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_pack("[i, f]", best[i], (double)logits[best[i]]));
    return list;
}

static uint32_t first_best(const float *logits, uint32_t vocab)
{
    uint32_t best = 0;
    for (uint32_t id = 1; id < vocab; id++)
        best = logits[id] > logits[best] ? id : best;
    return best;
}

/* The prompt in chunks; afterwards eval->logits[0] is the last position. */
static enum status prompt(struct eval *eval, struct reason *reason)
{
    struct engine_row rows[CHUNK];
    for (size_t first = 0; first < eval->id_count; first += CHUNK) {
        size_t count = eval->id_count - first < CHUNK ? eval->id_count - first : CHUNK;
        for (size_t i = 0; i < count; i++)
            rows[i] = (struct engine_row){eval->sequence, eval->ids[first + i],
                                          (uint32_t)(first + i), true};
        enum status status = local_world_forward(eval->world, rows, count, eval->logits, reason);
        if (status != STATUS_OK)
            return status;
        for (size_t i = 0; i < count; i++)
            json_array_append_new(eval->best,
                                  best_of(eval->logits + i * eval->vocab, eval->vocab));
        memmove(eval->logits, eval->logits + (count - 1) * eval->vocab,
                eval->vocab * sizeof(float));
    }
    return STATUS_OK;
}

static enum status generate(struct eval *eval, struct reason *reason)
{
    for (uint64_t i = 0; i < eval->greedy; i++) {
        uint32_t id = first_best(eval->logits, eval->vocab);
        json_array_append_new(eval->generated, json_integer(id));
        if (i + 1 == eval->greedy)
            break;
        struct engine_row row = {eval->sequence, id, (uint32_t)(eval->id_count + i), true};
        enum status status = local_world_forward(eval->world, &row, 1, eval->logits, reason);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

static json_t *numbers_of(const float *values, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_real((double)values[i]));
    return list;
}

static enum status compute(struct eval *eval, json_t *result, struct reason *reason)
{
    eval->vocab = engine_vocab(local_world_engine(eval->world, 0));
    eval->logits = memory_zeroed((size_t)CHUNK * eval->vocab, sizeof(float));
    if (!eval->logits)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for logits");
    eval->best = json_array();
    eval->generated = json_array();
    json_object_set_new(result, "greedy", eval->generated);
    json_object_set_new(result, "top5", eval->best);
    enum status status = local_world_sequence_open(eval->world, &eval->sequence, reason);
    if (status == STATUS_OK)
        status = prompt(eval, reason);
    if (status == STATUS_OK && eval->wants_logits)
        json_object_set_new(result, "logits", numbers_of(eval->logits, eval->vocab));
    if (status == STATUS_OK)
        status = generate(eval, reason);
    return status;
}

static void print_text(const struct eval *eval)
{
    size_t position;
    json_t *row;
    json_array_foreach (eval->best, position, row) {
        printf("%6zu  %u:", position, eval->ids[position]);
        size_t i;
        json_t *pair;
        json_array_foreach (row, i, pair)
            printf("  %lld %.4f", (long long)json_integer_value(json_array_get(pair, 0)),
                   json_real_value(json_array_get(pair, 1)));
        putchar('\n');
    }
    size_t i;
    json_t *id;
    if (json_array_size(eval->generated) > 0)
        printf("greedy:");
    json_array_foreach (eval->generated, i, id)
        printf(" %lld", (long long)json_integer_value(id));
    if (json_array_size(eval->generated) > 0)
        putchar('\n');
}

int engine_command_eval(int argc, char **argv)
{
    struct eval eval = {.ranks = 1};
    struct engine_model model = {NULL};
    struct reason reason = {""};
    json_t *result = json_object();
    const char *problem = read_arguments(&eval, argc, argv);
    if (problem) {
        json_decref(result);
        memory_free(eval.ids);
        return engine_command_usage("eval", problem);
    }
    eval.options.context = eval.id_count + eval.greedy + 1;
    eval.options.sequences = 1;
    enum status status = engine_model_open(eval.model_path, &model, &reason);
    if (status == STATUS_OK)
        status = local_world_open(&model, eval.sharding, eval.has_shares ? eval.shares : NULL,
                                  eval.ranks, &eval.options, &eval.world, &reason);
    if (status == STATUS_OK)
        status = compute(&eval, result, &reason);
    if (status == STATUS_OK && eval.as_json) {
        json_dumpf(result, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
        putchar('\n');
    } else if (status == STATUS_OK) {
        print_text(&eval);
    }
    local_world_close(eval.world);
    engine_model_close(&model);
    json_decref(result);
    memory_free(eval.logits);
    memory_free(eval.ids);
    return status == STATUS_OK ? ENGINE_EXIT_OK : engine_command_failed(status, &reason);
}
