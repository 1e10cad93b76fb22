/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loss: how well a model foretells token ids that are known.
 *
 * Input: JSON values one after another, each a text of its own: a list of token ids, or {"ids":
 * [...], "mask": [...]} where only ids whose mask is 1 count.  The first id is never judged.
 * Result: the mean of -log of the probability the model gave each id that counts, after those
 * before it, and the share of them that were its first choice.
 */
#include "actors/runner/engine/commands.h"
#include "actors/runner/engine/engine.h"
#include "actors/runner/engine/kernels/kernels.h"
#include "protocol/memory.h"

#include <ctype.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define CHUNK 32u

struct loss {
    const char *model_path;
    const char *kernels;
    bool as_json;
    struct engine_options options;

    struct engine *engine;
    uint32_t vocab;
    float *logits; /* [CHUNK][vocab] */
    size_t text_count;
    size_t judged;
    size_t first_choices;
    double sum;
};

/* -log of the share of `id` in the softmax of a row; `is_first_out` whether it is the largest. */
static double loss_of(const float *logits, uint32_t vocab, uint32_t id, bool *is_first_out)
{
    float largest = logits[0];
    uint32_t best = 0;
    double total = 0.0;
    for (uint32_t i = 1; i < vocab; i++) {
        best = logits[i] > largest ? i : best;
        largest = logits[best];
    }
    for (uint32_t i = 0; i < vocab; i++)
        total += exp((double)logits[i] - (double)largest);
    *is_first_out = best == id;
    return log(total) + (double)largest - (double)logits[id];
}

static bool counts(const json_t *mask, size_t i)
{
    return !mask || json_integer_value(json_array_get(mask, i)) == 1;
}

static enum status check_text(const struct loss *loss, const json_t *ids, const json_t *mask,
                              struct reason *reason)
{
    if (!json_is_array(ids))
        return refuse(reason, STATUS_MALFORMED,
                      "it is neither a list of ids nor an object with a list \"ids\"");
    size_t count = json_array_size(ids);
    if (count > engine_context(loss->engine))
        return refuse(reason, STATUS_CONTEXT_LENGTH,
                      "its %zu ids are more than the context of %llu", count,
                      (unsigned long long)engine_context(loss->engine));
    if (mask && (!json_is_array(mask) || json_array_size(mask) != count))
        return refuse(reason, STATUS_MALFORMED, "its mask is no list as long as its ids");
    for (size_t i = 0; i < count; i++) {
        const json_t *id = json_array_get(ids, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) >= loss->vocab)
            return refuse(reason, STATUS_MALFORMED, "id %zu of it is none of %u tokens", i,
                          loss->vocab);
    }
    return STATUS_OK;
}

static void judge(struct loss *loss, const json_t *ids, const json_t *mask, size_t first,
                  size_t rows)
{
    for (size_t i = 0; i < rows; i++) {
        size_t next = first + i + 1;
        if (next == json_array_size(ids) || !counts(mask, next))
            continue;
        bool is_first = false;
        loss->sum += loss_of(loss->logits + i * loss->vocab, loss->vocab,
                             (uint32_t)json_integer_value(json_array_get(ids, next)), &is_first);
        loss->judged++;
        loss->first_choices += is_first;
    }
}

static enum status take_text(struct loss *loss, const json_t *text, struct reason *reason)
{
    const json_t *ids = json_is_object(text) ? json_object_get(text, "ids") : text;
    const json_t *mask = json_is_object(text) ? json_object_get(text, "mask") : NULL;
    struct engine_row rows[CHUNK];
    uint32_t sequence = 0;
    enum status status = check_text(loss, ids, mask, reason);
    if (status == STATUS_OK)
        status = engine_sequence_open(loss->engine, &sequence, reason);
    if (status != STATUS_OK)
        return status;
    for (size_t first = 0; status == STATUS_OK && first < json_array_size(ids); first += CHUNK) {
        size_t left = json_array_size(ids) - first;
        size_t count = left < CHUNK ? left : CHUNK;
        for (size_t i = 0; i < count; i++)
            rows[i] = (struct engine_row){
                sequence, (uint32_t)json_integer_value(json_array_get(ids, first + i)),
                (uint32_t)(first + i), true};
        struct engine_batch batch = {rows, count, NULL, NULL, loss->logits};
        status = engine_forward(loss->engine, &batch, reason);
        if (status == STATUS_OK)
            judge(loss, ids, mask, first, count);
    }
    engine_sequence_close(loss->engine, sequence);
    return status;
}

/* The next byte that is no space stays in the stream; false at its end. */
static bool has_more(FILE *stream)
{
    int byte = getc(stream);
    while (byte != EOF && isspace(byte))
        byte = getc(stream);
    return byte != EOF && ungetc(byte, stream) != EOF;
}

static enum status take_all(struct loss *loss, struct reason *reason)
{
    struct reason why = {""};
    enum status status = STATUS_OK;
    while (status == STATUS_OK && has_more(stdin)) {
        json_t *text = json_loadf(stdin, JSON_DISABLE_EOF_CHECK, NULL);
        loss->text_count++;
        status = text ? take_text(loss, text, &why)
                      : refuse(&why, STATUS_MALFORMED, "it is not a JSON list or object");
        json_decref(text);
    }
    if (status != STATUS_OK)
        return refuse(reason, status, "text %zu of the input: %s", loss->text_count, why.text);
    if (loss->judged == 0)
        return refuse(reason, STATUS_INVALID, "no token of the input counts");
    return STATUS_OK;
}

static void print_result(const struct loss *loss)
{
    double mean = loss->sum / (double)loss->judged;
    double share = (double)loss->first_choices / (double)loss->judged;
    const char *mode = loss->options.mode == ENGINE_FAST ? "fast" : "exact";
    const char *kernels = engine_kernels_name(loss->engine);
    if (!loss->as_json) {
        printf("%.6f a token over %zu tokens of %zu texts, %.2f %% of them the first choice (%s "
               "mode, %s kernels)\n", mean, loss->judged, loss->text_count, 100.0 * share, mode,
               kernels);
        return;
    }
    json_t *root = json_pack("{s:f, s:I, s:I, s:f, s:s, s:s}", "loss", mean, "tokens",
                             (json_int_t)loss->judged, "texts", (json_int_t)loss->text_count,
                             "first_choice", share, "mode", mode, "kernels", kernels);
    json_dumpf(root, stdout, JSON_COMPACT | JSON_REAL_PRECISION(12));
    putchar('\n');
    json_decref(root);
}

/* NULL, or what is wrong. */
static const char *read_arguments(struct loss *loss, int argc, char **argv)
{
    uint64_t threads = 0;
    for (int i = 1; i < argc; i++) {
        bool has_value = i + 1 < argc;
        if (strcmp(argv[i], "--json") == 0)
            loss->as_json = true;
        else if (strcmp(argv[i], "--fast") == 0)
            loss->options.mode = ENGINE_FAST;
        else if (has_value && strcmp(argv[i], "--model") == 0)
            loss->model_path = argv[++i];
        else if (has_value && strcmp(argv[i], "--kernels") == 0)
            loss->kernels = argv[++i];
        else if (has_value && strcmp(argv[i], "--kv-cache") == 0 &&
                 kv_format_parse(argv[i + 1], &loss->options.kv_format))
            i++;
        else if (has_value && strcmp(argv[i], "--threads") == 0 &&
                 engine_command_number(argv[i + 1], 1, 256, &threads))
            i++;
        else
            return argv[i];
    }
    loss->options.threads = (uint32_t)threads;
    return loss->model_path ? NULL : "--model DIR is missing";
}

int engine_command_loss(int argc, char **argv)
{
    struct loss loss = {.options = {.sequences = 1}};
    struct engine_model model = {NULL};
    struct reason reason = {""};
    const char *problem = read_arguments(&loss, argc, argv);
    if (problem)
        return engine_command_usage("loss", problem);
    enum status status = kernel_set_choose(loss.kernels, &loss.options.kernels, &reason);
    if (status == STATUS_OK)
        status = engine_model_open(loss.model_path, &model, &reason);
    if (status == STATUS_OK)
        status = engine_open_local(&model, NULL, &loss.options, &loss.engine, &reason);
    if (status == STATUS_OK) {
        loss.vocab = engine_vocab(loss.engine);
        loss.logits = memory_zeroed((size_t)CHUNK * loss.vocab, sizeof(float));
        status = loss.logits ? take_all(&loss, &reason)
                             : refuse(&reason, STATUS_NO_MEMORY, "no memory for logits");
    }
    if (status == STATUS_OK)
        print_result(&loss);
    memory_free(loss.logits);
    engine_close(loss.engine);
    engine_model_close(&model);
    return status == STATUS_OK ? ENGINE_EXIT_OK : engine_command_failed(status, &reason);
}
