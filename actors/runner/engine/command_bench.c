/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measures tokens per second of prompts, of decoding and of several requests at once, beside what
 * the machine allows: every weight but the embedding's other rows is read once for a token, so the
 * limit of decoding is the bandwidth, measured by reading with the same threads, over those bytes.
 */
#include "actors/runner/engine/bench.h"
#include "actors/runner/engine/commands.h"
#include "actors/runner/engine/kernels/kernels.h"
#include "actors/runner/engine/pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "1,2,8" */
static bool take_list(const char *text, uint64_t most, uint64_t *values, size_t *count_out)
{
    char one[24];
    size_t count = 0;
    while (*text) {
        size_t length = strcspn(text, ",");
        if (length == 0 || length >= sizeof one || count == BENCH_LIST_MAX)
            return false;
        memcpy(one, text, length);
        one[length] = '\0';
        if (!engine_command_number(one, 1, most, &values[count++]))
            return false;
        text += length + (text[length] == ',' && text[length + 1] != '\0');
        if (*text == ',')
            return false;
    }
    *count_out = count;
    return count > 0;
}

/* False where the option is not one of those with a value, or the value is not one of its. */
static bool take_value(const char *option, const char *value, struct bench *bench)
{
    uint64_t threads = 0;
    if (strcmp(option, "--model") == 0) {
        bench->model_path = value;
        return true;
    }
    if (strcmp(option, "--label") == 0) {
        bench->label = value;
        return true;
    }
    if (strcmp(option, "--prompt") == 0)
        return take_list(value, 1000000, bench->prompts, &bench->prompt_count);
    if (strcmp(option, "--context") == 0)
        return take_list(value, 1000000, bench->contexts, &bench->context_count);
    if (strcmp(option, "--batch") == 0)
        return take_list(value, BENCH_BATCH_MAX, bench->batches, &bench->batch_count);
    if (strcmp(option, "--decode") == 0)
        return engine_command_number(value, 1, 1000000, &bench->decode);
    if (strcmp(option, "--rounds") == 0)
        return engine_command_number(value, 1, 1000, &bench->rounds);
    if (strcmp(option, "--kernels") == 0) {
        bench->kernels = value;
        return true;
    }
    if (strcmp(option, "--threads") != 0 ||
        !engine_command_number(value, 1, POOL_THREADS_MAX, &threads))
        return false;
    bench->options.threads = (uint32_t)threads;
    return true;
}

int engine_command_bench(int argc, char **argv)
{
    struct bench bench = {.decode = 64, .rounds = 1, .options = {.mode = ENGINE_FAST}};
    struct reason reason = {""};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            bench.as_json = true;
        else if (strcmp(argv[i], "--profile") == 0)
            bench.wants_profile = true;
        else if (strcmp(argv[i], "--exact") == 0)
            bench.options.mode = ENGINE_EXACT;
        else if (strcmp(argv[i], "--fast") == 0)
            bench.options.mode = ENGINE_FAST;
        else if (i + 1 >= argc || !take_value(argv[i], argv[i + 1], &bench))
            return engine_command_usage("bench", argv[i]);
        else
            i++;
    }
    if (!bench.model_path)
        return engine_command_usage("bench", "--model DIR is missing");
    if (bench.prompt_count == 0)
        bench.prompts[bench.prompt_count++] = 64;
    if (bench.context_count == 0)
        bench.contexts[bench.context_count++] = bench.prompts[0];
    enum status status = kernel_set_choose(bench.kernels, &bench.options.kernels, &reason);
    if (status == STATUS_OK)
        status = bench_measure(&bench, &reason);
    if (status != STATUS_OK)
        return engine_command_failed(status, &reason);
    bench_print(&bench);
    return ENGINE_EXIT_OK;
}
