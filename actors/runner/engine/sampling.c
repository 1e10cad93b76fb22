/* SPDX-License-Identifier: Apache-2.0 */
/* Parameters of sampling: their ranges, and what a model's own files set them to. */
#include "actors/runner/engine/json_file.h"
#include "actors/runner/engine/sampler.h"

#include <math.h>

enum { GENERATION_CONFIG_MAX = 1 << 20 };

void sampling_init(struct sampling *sampling_out)
{
    *sampling_out = (struct sampling){
        .temperature = 1.0F,
        .top_p = 1.0F,
        .min_keep = 1,
        .repetition_penalty = 1.0F,
        .repetition_window = 20,
    };
}

static enum status check_range(const char *field, float value, float low, float high,
                               struct reason *reason)
{
    if (value >= low && value <= high)
        return STATUS_OK;
    return refuse(reason, STATUS_INVALID, "%s is %g; it must be a number from %g to %g", field,
                  (double)value, (double)low, (double)high);
}

static enum status check_biases(const struct sampling *sampling, size_t rows,
                                struct reason *reason)
{
    if (sampling->bias_count > SAMPLING_BIAS_MAX)
        return refuse(reason, STATUS_INVALID, "logit_bias has %u entries; at most %d are allowed",
                      sampling->bias_count, SAMPLING_BIAS_MAX);
    for (uint32_t at = 0; at < sampling->bias_count; at++) {
        const struct logit_bias *bias = &sampling->biases[at];
        if (bias->id >= rows)
            return refuse(reason, STATUS_INVALID,
                          "logit_bias names token %u; this model's ids are below %zu", bias->id,
                          rows);
        enum status status = check_range("logit_bias", bias->bias, -100.0F, 100.0F, reason);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

enum status sampling_check(const struct sampling *sampling, size_t rows, struct reason *reason)
{
    const struct {
        const char *field;
        float value;
        float low;
        float high;
    } checks[] = {
        {"temperature", sampling->temperature, 0.0F, 100.0F},
        {"top_p", sampling->top_p, 0.0F, 1.0F},
        {"min_p", sampling->min_p, 0.0F, 1.0F},
        {"repetition_penalty", sampling->repetition_penalty, 0.01F, 100.0F},
        {"presence_penalty", sampling->presence_penalty, -100.0F, 100.0F},
        {"frequency_penalty", sampling->frequency_penalty, -100.0F, 100.0F},
    };
    for (size_t at = 0; at < COUNT_OF(checks); at++) {
        enum status status = check_range(checks[at].field, checks[at].value, checks[at].low,
                                         checks[at].high, reason);
        if (status != STATUS_OK)
            return status;
    }
    if (sampling->min_keep == 0)
        return refuse(reason, STATUS_INVALID, "min_keep is 0; it must be 1 or more");
    if (sampling->top_logprobs > SAMPLING_TOP_LOGPROBS_MAX)
        return refuse(reason, STATUS_INVALID, "top_logprobs is %u; it must be a number from 0 to "
                      "%d", sampling->top_logprobs, SAMPLING_TOP_LOGPROBS_MAX);
    return check_biases(sampling, rows, reason);
}

static enum status read_number(const json_t *root, const char *key, float *value_out,
                               struct reason *reason)
{
    const json_t *value = json_object_get(root, key);
    if (!value || json_is_null(value))
        return STATUS_OK;
    if (!json_is_number(value))
        return refuse(reason, STATUS_MALFORMED, "generation_config.json: %s is not a number",
                      key);
    *value_out = (float)json_number_value(value);
    return STATUS_OK;
}

static enum status read_fields(const json_t *root, struct sampling *sampling,
                               struct reason *reason)
{
    struct {
        const char *key;
        float *value;
    } rows[] = {
        {"temperature", &sampling->temperature},
        {"top_p", &sampling->top_p},
        {"min_p", &sampling->min_p},
        {"repetition_penalty", &sampling->repetition_penalty},
    };
    for (size_t row = 0; row < COUNT_OF(rows); row++) {
        enum status status = read_number(root, rows[row].key, rows[row].value, reason);
        if (status != STATUS_OK)
            return status;
    }
    float top_k = 0.0F;
    enum status status = read_number(root, "top_k", &top_k, reason);
    if (status != STATUS_OK)
        return status;
    if (!(top_k >= -1.0F && top_k <= 1e6F && floorf(top_k) >= top_k))
        return refuse(reason, STATUS_MALFORMED,
                      "generation_config.json: top_k is not a whole number up to 1000000");
    sampling->top_k = top_k > 0.0F ? (uint32_t)top_k : 0;
    /* "do_sample": false is how these files say greedy. */
    if (json_is_false(json_object_get(root, "do_sample")))
        sampling->temperature = 0.0F;
    return STATUS_OK;
}

enum status sampling_defaults_read(const char *directory, struct sampling *sampling_out,
                                   struct reason *reason)
{
    struct sampling sampling;
    sampling_init(&sampling);
    json_t *root = NULL;
    enum status status = json_file_read_optional(directory, "generation_config.json",
                                                 GENERATION_CONFIG_MAX, &root, reason);
    if (status == STATUS_OK && root)
        status = read_fields(root, &sampling, reason);
    json_decref(root);
    if (status != STATUS_OK)
        return status;
    struct reason why = {""};
    if (sampling_check(&sampling, SAMPLER_ROWS_MAX, &why) != STATUS_OK)
        return refuse(reason, STATUS_MALFORMED, "generation_config.json: %s", why.text);
    *sampling_out = sampling;
    return STATUS_OK;
}
