/* SPDX-License-Identifier: Apache-2.0 */
/*
 * eval: what a model computes of token ids, on one rank or in any cut, each rank with kernels of
 * its own if wanted.
 *
 * The answer holds the best five of every position, and what is asked for beyond that: the logits
 * of the last one, the residual stream after each layer there, the experts each rank chose for
 * every token in every layer, tokens that follow greedily.
 */
#include "actors/runner/engine/accuracy.h"
#include "actors/runner/engine/commands.h"
#include "actors/runner/engine/kernels/kernels.h"
#include "actors/runner/engine/local_world.h"
#include "actors/runner/engine/route.h"
#include "protocol/memory.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IDS_MAX 1000000u
#define CHUNK 32u
#define BEST 5u
#define THREADS_MAX 256u

struct eval;

/* Of one call: a row for each token in each layer that has experts. */
struct kept_choices {
    struct route_choice *choices;
    size_t capacity;
    size_t count;
    size_t next;
};

/* What one rank was seen to do. */
struct watched {
    struct eval *eval;
    json_t *experts; /* [[layer, expert, expert...]...], a row for each token in each layer */
};

struct eval {
    const char *model_path;
    uint32_t *ids;
    size_t id_count;
    uint64_t greedy;
    bool wants_logits;
    bool wants_hidden;
    bool wants_experts;
    bool holds_experts; /* to what exact mode chooses */
    bool as_json;
    enum sharding sharding;
    uint32_t share_count; /* 0: equal ones */
    uint64_t shares[PARTITION_RANKS_MAX];
    uint32_t stage_count; /* of a pipeline of tensor groups, */
    uint32_t stages[PARTITION_RANKS_MAX]; /* the ranks of each */
    uint32_t ranks;
    struct engine_options options;
    const struct kernel_set *kernels[PARTITION_RANKS_MAX];
    uint32_t kernel_count; /* 0: chosen for all; 1: one for all; else one for each rank */
    struct reason refusal;

    struct local_world *world;
    struct watched watched[PARTITION_RANKS_MAX];
    uint32_t used;     /* experts for each token */
    uint32_t width;    /* of the residual stream */
    float *hidden;     /* [layers][width]: the last position of the prompt */
    bool is_generating;
    struct local_world *leader; /* holds_experts: the same in exact mode, always a call ahead */
    bool is_leading;
    uint32_t leader_sequence;
    struct kept_choices kept;
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

/* False when it is none. */
static bool read_flag(struct eval *eval, const char *name)
{
    if (strcmp(name, "--logits") == 0)
        eval->wants_logits = true;
    else if (strcmp(name, "--hidden") == 0)
        eval->wants_hidden = true;
    else if (strcmp(name, "--experts") == 0)
        eval->wants_experts = true;
    else if (strcmp(name, "--exact-experts") == 0)
        eval->holds_experts = true;
    else if (strcmp(name, "--json") == 0)
        eval->as_json = true;
    else if (strcmp(name, "--fast") == 0)
        eval->options.mode = ENGINE_FAST;
    else
        return false;
    return true;
}

/* "portable" or, one for each rank, "portable,avx2,best"; NULL, or what is wrong. */
static const char *read_kernels(struct eval *eval, const char *names)
{
    char name[48];
    eval->kernel_count = 0;
    for (const char *at = names;; at++) {
        size_t length = strcspn(at, ",");
        if (length == 0 || eval->kernel_count == PARTITION_RANKS_MAX)
            return "--kernels takes names of kernels like portable or portable,avx2,best";
        (void)snprintf(name, sizeof name, "%.*s", length < 40 ? (int)length : 40, at);
        if (kernel_set_choose(name, &eval->kernels[eval->kernel_count], &eval->refusal) !=
            STATUS_OK)
            return eval->refusal.text;
        eval->kernel_count++;
        at += length;
        if (*at == '\0')
            return NULL;
    }
}

static const char *unknown_option(struct eval *eval, const char *name)
{
    (void)snprintf(eval->problem, sizeof(eval->problem), "there is no option %.60s", name);
    return eval->problem;
}

static bool read_stages(struct eval *eval, const char *text)
{
    uint64_t sizes[PARTITION_RANKS_MAX];
    size_t count = 0;
    if (!read_list(text, 1, PARTITION_RANKS_MAX, sizes, PARTITION_RANKS_MAX, &count))
        return false;
    for (size_t i = 0; i < count; i++)
        eval->stages[i] = (uint32_t)sizes[i];
    eval->stage_count = (uint32_t)count;
    return true;
}

/* Ranks are as many as the stages have together; NULL, or what is wrong. */
static const char *check_stages(struct eval *eval)
{
    uint32_t ranks = 0;
    for (uint32_t i = 0; i < eval->stage_count; i++)
        ranks += eval->stages[i];
    if ((eval->stage_count > 0) != (eval->sharding == SHARDING_PIPELINE_TENSOR))
        return "--sharding pipeline-tensor and --stages, the ranks of each like 2,1, belong"
               " together";
    if (eval->stage_count == 0)
        return NULL;
    if (ranks > PARTITION_RANKS_MAX || (eval->share_count > 0 && eval->share_count != ranks) ||
        (eval->ranks > 0 && eval->ranks != ranks))
        return "--stages takes as many ranks together as --ranks or --shares";
    eval->ranks = ranks;
    return NULL;
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
        return sharding_parse(value, &eval->sharding) ? NULL : "--sharding is " SHARDING_NAMES;
    if (strcmp(name, "--stages") == 0)
        return read_stages(eval, value) ? NULL : "--stages takes the ranks of each, like 2,1";
    if (strcmp(name, "--shares") == 0) {
        if (!read_list(value, 1, UINT32_MAX, eval->shares, PARTITION_RANKS_MAX, &count))
            return "--shares takes numbers above 0 like 50,30,20";
        eval->share_count = (uint32_t)count;
        return NULL;
    }
    if (strcmp(name, "--kv-cache") == 0)
        return kv_format_parse(value, &eval->options.kv_format) ? NULL
                                                                : "--kv-cache is bf16 or int8";
    if (strcmp(name, "--kernels") == 0)
        return read_kernels(eval, value);
    if (strcmp(name, "--greedy") == 0 && engine_command_number(value, 0, IDS_MAX, &eval->greedy))
        return NULL;
    if (strcmp(name, "--threads") == 0 && engine_command_number(value, 1, THREADS_MAX, &number)) {
        eval->options.threads = (uint32_t)number;
        return NULL;
    }
    if (strcmp(name, "--ranks") == 0 &&
        engine_command_number(value, 1, PARTITION_RANKS_MAX, &number)) {
        eval->ranks = (uint32_t)number;
        return NULL;
    }
    static const struct {
        const char *name;
        uint32_t low;
        uint32_t high;
    } numbers[] = {{"--greedy", 0, IDS_MAX},
                   {"--threads", 1, THREADS_MAX},
                   {"--ranks", 1, PARTITION_RANKS_MAX}};
    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        if (strcmp(name, numbers[i].name) != 0)
            continue;
        (void)snprintf(eval->problem, sizeof(eval->problem),
                       "%s takes a number from %u to %u, not %.40s", name, numbers[i].low,
                       numbers[i].high, value);
        return eval->problem;
    }
    return unknown_option(eval, name);
}

static const char *read_arguments(struct eval *eval, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *problem = NULL;
        if (read_flag(eval, argv[i]))
            continue;
        if (i + 1 < argc)
            problem = read_value(eval, argv[i], argv[i + 1]);
        else
            problem = "an option is without its value, or not known";
        if (problem)
            return problem;
        i++;
    }
    if (!eval->model_path)
        return "--model DIR is missing";
    if (eval->id_count == 0)
        return "--ids is missing";
    const char *problem = check_stages(eval);
    if (problem)
        return problem;
    if (eval->share_count > 0 && eval->ranks > 0 && eval->ranks != eval->share_count)
        return "--shares takes a number for each of --ranks, which may be left out";
    if (eval->ranks == 0)
        eval->ranks = eval->share_count > 0 ? eval->share_count : 1;
    if (eval->ranks > 1 && eval->sharding == SHARDING_NONE)
        return "several ranks need --sharding pipeline, tensor or pipeline-tensor";
    if (eval->holds_experts && eval->ranks > 1)
        return "--exact-experts is for one rank";
    if (eval->kernel_count > 1 && eval->kernel_count != eval->ranks)
        return "--kernels takes one name, or one for each rank";
    return NULL;
}

/* --- what ranks are seen to do --- */

static void observe_hidden(void *observer, uint32_t layer, const float *hidden, size_t count)
{
    struct eval *eval = ((struct watched *)observer)->eval;
    if (!eval->is_generating)
        memcpy(eval->hidden + (size_t)layer * eval->width, hidden + (count - 1) * eval->width,
               eval->width * sizeof *hidden);
}

/* In exact mode they are kept; in the other, those that were kept take their place. */
static void keep_or_replace(struct eval *eval, struct route_choice *choices, size_t count)
{
    struct kept_choices *kept = &eval->kept;
    size_t size = count * eval->used;
    if (eval->is_leading && kept->count + size <= kept->capacity) {
        memcpy(kept->choices + kept->count, choices, size * sizeof *choices);
        kept->count += size;
    } else if (!eval->is_leading && kept->next + size <= kept->count) {
        memcpy(choices, kept->choices + kept->next, size * sizeof *choices);
        kept->next += size;
    }
}

static void observe_experts(void *observer, uint32_t layer, struct route_choice *choices,
                            size_t count)
{
    struct watched *watched = observer;
    uint32_t used = watched->eval->used;
    if (watched->eval->leader)
        keep_or_replace(watched->eval, choices, count);
    if (watched->eval->is_leading || !watched->eval->wants_experts)
        return;
    for (size_t i = 0; i < count; i++) {
        json_t *row = json_array();
        json_array_append_new(row, json_integer(layer));
        for (uint32_t k = 0; k < used; k++)
            json_array_append_new(row, json_integer(choices[i * used + k].expert));
        json_array_append_new(watched->experts, row);
    }
}

static enum status open_leader(struct eval *eval, const struct engine_model *model,
                               struct reason *reason)
{
    struct engine_options options = eval->options;
    options.mode = ENGINE_EXACT;
    options.kv_format = KV_FORMAT_NONE;
    options.kernels = eval->kernels[0];
    options.observe_experts = observe_experts;
    options.observer = &eval->watched[0];
    eval->kept.capacity = (size_t)CHUNK * model->config->layers * eval->used;
    eval->kept.choices = memory_zeroed(eval->kept.capacity, sizeof *eval->kept.choices);
    if (!eval->kept.choices)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for the choices of experts");
    enum status status = local_world_open(model, SHARDING_NONE, NULL, 1, &options, &eval->leader,
                                          reason);
    if (status != STATUS_OK)
        return status;
    return local_world_sequence_open(eval->leader, &eval->leader_sequence, reason);
}

static bool is_first_of_stage(const struct eval *eval, uint32_t rank)
{
    uint32_t first = 0;
    for (uint32_t i = 0; i < eval->stage_count && first < rank; i++)
        first += eval->stages[i];
    return first == rank;
}

/* A world whose ranks are watched as far as was asked for. */
static enum status open_world(struct eval *eval, const struct engine_model *model, json_t *result,
                              struct reason *reason)
{
    struct engine_options options[PARTITION_RANKS_MAX];
    json_t *experts = json_array();
    eval->width = model->config->hidden;
    eval->used = model->config->experts.used;
    eval->hidden = memory_zeroed((size_t)model->config->layers * eval->width, sizeof(float));
    if (eval->wants_experts)
        json_object_set(result, "experts", experts);
    for (uint32_t i = 0; i < eval->ranks; i++) {
        /* Ranks of a tensor cut compute at once and see the same, those of a pipeline in turn. */
        bool sees_hidden =
            eval->wants_hidden &&
            (eval->stage_count > 0 ? is_first_of_stage(eval, i)
                                   : i == 0 || eval->sharding == SHARDING_PIPELINE);
        eval->watched[i] = (struct watched){eval, json_array()};
        json_array_append_new(experts, eval->watched[i].experts);
        options[i] = eval->options;
        options[i].kernels = eval->kernels[eval->kernel_count > 1 ? i : 0];
        options[i].observe = sees_hidden ? observe_hidden : NULL;
        options[i].observe_experts =
            eval->wants_experts || eval->holds_experts ? observe_experts : NULL;
        options[i].observer = &eval->watched[i];
    }
    json_decref(experts);
    if (!eval->hidden)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for hidden states");
    if (eval->holds_experts && eval->used > 0) {
        enum status status = open_leader(eval, model, reason);
        if (status != STATUS_OK)
            return status;
    }
    const uint64_t *shares = eval->share_count > 0 ? eval->shares : NULL;
    if (eval->stage_count > 0)
        return local_world_open_stages(model, eval->stages, eval->stage_count, shares, options,
                                       &eval->world, reason);
    return local_world_open_each(model, eval->sharding, shares, eval->ranks, options, &eval->world,
                                 reason);
}

/* Up to CHUNK rows. */
static enum status forward(struct eval *eval, const struct engine_row *rows, size_t count,
                           struct reason *reason)
{
    if (eval->leader) {
        struct engine_row own[CHUNK];
        for (size_t i = 0; i < count; i++) {
            own[i] = rows[i];
            own[i].sequence = eval->leader_sequence;
        }
        eval->kept.count = eval->kept.next = 0;
        eval->is_leading = true;
        enum status status = local_world_forward(eval->leader, own, count, eval->logits, reason);
        eval->is_leading = false;
        if (status != STATUS_OK)
            return status;
    }
    return local_world_forward(eval->world, rows, count, eval->logits, reason);
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
        enum status status = forward(eval, rows, count, reason);
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
        enum status status = forward(eval, &row, 1, reason);
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

static json_t *hidden_of(const struct eval *eval, uint32_t layers)
{
    json_t *list = json_array();
    for (size_t layer = 0; layer < layers; layer++)
        json_array_append_new(list, numbers_of(eval->hidden + layer * eval->width, eval->width));
    return list;
}

static enum status compute(struct eval *eval, const struct engine_model *model, json_t *result,
                           struct reason *reason)
{
    const struct accuracy accuracy =
        accuracy_of(model, eval->options.mode, eval->options.kv_format);
    json_t *kernels = json_array();
    for (uint32_t i = 0; i < eval->ranks; i++)
        json_array_append_new(
            kernels, json_string(engine_kernels_name(local_world_engine(eval->world, i))));
    json_object_set_new(result, "kernels", kernels);
    json_object_set_new(result, "stated_error",
                        json_pack("{s:f, s:f, s:f, s:f, s:f}", "rounding", accuracy.rounding,
                                  "cache_rounding", accuracy.cache_rounding, "error",
                                  accuracy.error, "detour", accuracy.detour, "swap",
                                  accuracy.swap));
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
    if (status == STATUS_OK && eval->wants_hidden)
        json_object_set_new(result, "hidden", hidden_of(eval, model->config->layers));
    eval->is_generating = true;
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
    struct eval eval = {.ranks = 0};
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
        status = open_world(&eval, &model, result, &reason);
    if (status == STATUS_OK)
        status = compute(&eval, &model, result, &reason);
    if (status == STATUS_OK && eval.as_json) {
        json_dumpf(result, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
        putchar('\n');
    } else if (status == STATUS_OK) {
        print_text(&eval);
    }
    local_world_close(eval.leader);
    local_world_close(eval.world);
    engine_model_close(&model);
    json_decref(result);
    memory_free(eval.kept.choices);
    memory_free(eval.hidden);
    memory_free(eval.logits);
    memory_free(eval.ids);
    return status == STATUS_OK ? ENGINE_EXIT_OK : engine_command_failed(status, &reason);
}
