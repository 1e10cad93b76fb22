/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/bench.h"

#include <jansson.h>
#include <stdio.h>

static const char *const kinds[] = {"prompt", "decode", "batch"};

/* Seconds of all kinds together. */
static double profile_seconds(const struct profile *profile)
{
    uint64_t took_ns = 0;
    for (size_t k = 0; k < PROFILE_KINDS; k++)
        took_ns += k == PROFILE_OUTSIDE ? 0 : profile->rows[k].took_ns;
    return (double)took_ns / 1e9;
}

static json_t *json_of_profile(const struct bench_row *row)
{
    json_t *list = json_array();
    double tokens = (double)row->profile_tokens;
    for (size_t k = 0; k < PROFILE_KINDS; k++) {
        const struct profile_row *one = &row->profile.rows[k];
        if (one->turns == 0 || k == PROFILE_OUTSIDE)
            continue;
        double seconds = (double)one->took_ns / 1e9;
        json_array_append_new(
            list, json_pack("{s:s, s:f, s:f, s:f, s:f, s:f}", "kind",
                            profile_kind_name((enum profile_kind)k), "microseconds_per_token",
                            seconds * 1e6 / tokens, "share",
                            seconds / (profile_seconds(&row->profile) + 1e-12), "turns_per_token",
                            (double)one->turns / tokens, "bytes_per_second",
                            (double)one->bytes / (seconds + 1e-12), "products_per_second",
                            (double)one->products / (seconds + 1e-12)));
    }
    return json_pack("{s:o, s:f, s:f}", "kinds", list, "waited_microseconds_per_token",
                     (double)row->profile.waited_ns / 1e3 / tokens, "pool_runs_per_token",
                     (double)row->profile.runs / tokens);
}

/* The rows of one kind; those of prompts with the time to their first token. */
static json_t *json_of_rows(const struct bench *bench, enum bench_what what)
{
    static const char *const sizes[] = {"tokens", "after_tokens", "requests"};
    json_t *list = json_array();
    for (size_t i = 0; i < bench->row_count; i++) {
        const struct bench_row *row = &bench->rows[i];
        if (row->what != what)
            continue;
        json_t *one = json_pack("{s:I, s:f}", sizes[what], (json_int_t)row->size,
                                "tokens_per_second", row->rate);
        if (what == BENCH_PROMPT)
            json_object_set_new(one, "first_token_seconds", json_real(row->first_token));
        if (row->has_profile)
            json_object_set_new(one, "profile", json_of_profile(row));
        json_array_append_new(list, one);
    }
    return list;
}

/* Of the first figure of a kind; 0 where there is none. */
static double first_rate(const struct bench *bench, enum bench_what what)
{
    for (size_t i = 0; i < bench->row_count; i++) {
        if (bench->rows[i].what == what)
            return bench->rows[i].rate;
    }
    return 0.0;
}

static void print_json(const struct bench *bench)
{
    double limit = bench->bandwidth / (double)bench->weight_bytes;
    double decode = first_rate(bench, BENCH_DECODE);
    json_t *root = json_pack(
        "{s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:f, s:i, s:s, s:s}", "decode_tokens_per_second",
        decode, "prompt_tokens_per_second", first_rate(bench, BENCH_PROMPT),
        "limit_tokens_per_second", limit, "limit_over_decode", decode > 0.0 ? limit / decode : 0.0,
        "bandwidth_bytes_per_second", bench->bandwidth, "bytes_per_token",
        (json_int_t)bench->weight_bytes, "products_per_token", (json_int_t)bench->products,
        "products_per_second", bench->peak, "threads", bench->threads, "kernels", bench->kernels,
        "mode", bench->options.mode == ENGINE_FAST ? "fast" : "exact");
    json_t *more = json_pack(
        "{s:o, s:o, s:o, s:f, s:f, s:f, s:f, s:I, s:I, s:i, s:i}", "prompts",
        json_of_rows(bench, BENCH_PROMPT), "decodes", json_of_rows(bench, BENCH_DECODE), "batches",
        json_of_rows(bench, BENCH_BATCH), "load_seconds", bench->load,
        "cold_first_token_seconds", bench->cold_token, "greedy_draw_seconds", bench->draws[0],
        "filtered_draw_seconds", bench->draws[1], "resident_bytes", (json_int_t)bench->resident,
        "engine_bytes", (json_int_t)bench->memory, "layers", bench->layers, "vocabulary",
        bench->vocab);
    if (bench->label)
        json_object_set_new(root, "shape", json_string(bench->label));
    json_object_update(root, more);
    json_decref(more);
    json_dumpf(root, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(root);
}

static void print_profile(const struct bench_row *row)
{
    double all = profile_seconds(&row->profile);
    double tokens = (double)row->profile_tokens;
    printf("    %-22s%12s%9s%10s%12s\n", "", "us a token", "share", "GB/s", "10^9 prod/s");
    for (size_t k = 0; k < PROFILE_KINDS; k++) {
        const struct profile_row *one = &row->profile.rows[k];
        double seconds = (double)one->took_ns / 1e9;
        if (one->took_ns == 0 || k == PROFILE_OUTSIDE)
            continue;
        printf("    %-22s%12.1f%8.1f%%", profile_kind_name((enum profile_kind)k),
               seconds * 1e6 / tokens, 100.0 * seconds / all);
        if (one->products > 0)
            printf("%10.1f%12.1f", (double)one->bytes / 1e9 / seconds,
                   (double)one->products / 1e9 / seconds);
        putchar('\n');
    }
    printf("    %-22s%12.1f%8.1f%%\n", "(waiting for threads)",
           (double)row->profile.waited_ns / 1e3 / tokens,
           (double)row->profile.waited_ns / 1e7 / all);
}

static void print_row(const struct bench *bench, const struct bench_row *row, double alone)
{
    unsigned long long size = row->size;
    double limit = bench->bandwidth / (double)bench->weight_bytes;
    double peak = bench->peak / (double)bench->products;
    if (row->what == BENCH_PROMPT)
        printf("prompt of %llu: %.1f tokens/s, %.0f%% of what the cores allow; first token after "
               "%.0f ms\n", size, row->rate, 100.0 * row->rate / peak, row->first_token * 1e3);
    else if (row->what == BENCH_DECODE)
        printf("decode after %llu: %.1f tokens/s, %.0f%% of what the memory allows\n", size,
               row->rate, 100.0 * row->rate / limit);
    else
        printf("batch of %llu: %.1f tokens/s together, %.2f times one\n", size, row->rate,
               alone > 0.0 ? row->rate / alone : 0.0);
    if (row->has_profile)
        print_profile(row);
}

void bench_print(const struct bench *bench)
{
    if (bench->as_json) {
        print_json(bench);
        return;
    }
    if (bench->label)
        printf("== %s\n", bench->label);
    printf("%s mode, %s kernels, %u threads, %u layers, %.1f MB of weights a token\n",
           bench->options.mode == ENGINE_FAST ? "fast" : "exact", bench->kernels, bench->threads,
           bench->layers, (double)bench->weight_bytes / 1e6);
    printf("memory reads at %.1f GB/s, which allows %.1f tokens/s; the cores multiply %.0f "
           "thousand million bytes a second, which allows %.0f tokens/s of a prompt\n",
           bench->bandwidth / 1e9, bench->bandwidth / (double)bench->weight_bytes,
           bench->peak / 1e9, bench->peak / (double)bench->products);
    printf("load %.0f ms; first token, load and %s of %llu with it, after %.0f ms\n",
           bench->load * 1e3, kinds[bench->rows[0].what],
           (unsigned long long)bench->rows[0].size, bench->cold_token * 1e3);
    for (size_t i = 0; i < bench->row_count; i++)
        print_row(bench, &bench->rows[i], first_rate(bench, BENCH_BATCH));
    printf("a draw of %u: %.0f us the most likely, %.0f us with top_p and top_k\n", bench->vocab,
           bench->draws[0] * 1e6, bench->draws[1] * 1e6);
    if (bench->resident > 0)
        printf("resident memory %.1f MB; the engine accounts for %.1f MB beside the weights\n",
               (double)bench->resident / 1e6, (double)bench->memory / 1e6);
}
