/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/gateway/openai_fields.h"
#include "protocol/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BIAS_COUNT_MAX 1024

bool field_is_wrong(struct http_fault *fault_out, const char *field, const char *expected)
{
    return http_fault_set_param(fault_out, 400, "invalid_value", field, "%s must be %s.", field,
                                expected);
}

bool field_is_unsupported(struct http_fault *fault_out, const char *field, const char *why)
{
    return http_fault_set_param(fault_out, 400, "unsupported_parameter", field,
                                "%s is not supported: %s.", field, why);
}

bool field_bool(const json_t *value, const char *field, bool *out, struct http_fault *fault_out)
{
    if (!json_is_boolean(value))
        return field_is_wrong(fault_out, field, "true or false");
    *out = json_is_true(value);
    return true;
}

bool field_number(const json_t *value, const char *field, double least, double most, double *out,
                  struct http_fault *fault_out)
{
    double number = json_is_number(value) ? json_number_value(value) : (double)NAN;
    if (!(number >= least && number <= most)) {
        char expected[64];
        (void)snprintf(expected, sizeof(expected), "a number from %g to %g", least, most);
        return field_is_wrong(fault_out, field, expected);
    }
    *out = number;
    return true;
}

bool field_integer(const json_t *value, const char *field, int64_t least, int64_t most,
                   int64_t *out, struct http_fault *fault_out)
{
    bool is_good = json_is_integer(value);
    int64_t number = is_good ? json_integer_value(value) : 0;
    if (!is_good || number < least || number > most) {
        char expected[96];
        (void)snprintf(expected, sizeof(expected), "a whole number from %lld to %lld",
                       (long long)least, (long long)most);
        return field_is_wrong(fault_out, field, expected);
    }
    *out = number;
    return true;
}

/* ---- one function per field; `request` is under construction ---- */

/* What needs several fields to be known. */
struct parsed {
    struct chat_request *request;
    const json_t *root;
    json_t *options; /* for the template */
    bool has_top_logprobs;
    bool has_stream_options;
};

typedef bool field_reader(struct parsed *parsed, const json_t *value, const char *field,
                          struct http_fault *fault_out);

static bool no_memory(struct http_fault *fault_out)
{
    return http_fault_set(fault_out, 503, "no_memory", "No memory for the request.");
}

static bool read_model(struct parsed *parsed, const json_t *value, const char *field,
                       struct http_fault *fault_out)
{
    size_t size = json_string_length(value);
    if (!json_is_string(value) || size == 0 || size > NAME_SIZE_MAX)
        return field_is_wrong(fault_out, field, "the name of a model; GET /v1/models lists them");
    return text_set(&parsed->request->model, json_string_value(value)) || no_memory(fault_out);
}

static bool read_messages(struct parsed *parsed, const json_t *value, const char *field,
                          struct http_fault *fault_out)
{
    (void)field;
    return openai_parse_messages(value, &parsed->request->generate.messages, fault_out);
}

static bool read_tools(struct parsed *parsed, const json_t *value, const char *field,
                       struct http_fault *fault_out)
{
    (void)field;
    const char *choice = json_string_value(json_object_get(parsed->root, "tool_choice"));
    if (choice && strcmp(choice, "none") == 0)
        return true;
    return openai_parse_tools(value, &parsed->request->generate.tools, fault_out);
}

static bool read_temperature(struct parsed *parsed, const json_t *value, const char *field,
                             struct http_fault *fault_out)
{
    struct sampling_asked *sampling = &parsed->request->generate.sampling;
    sampling->has_temperature = true;
    return field_number(value, field, 0, 2, &sampling->temperature, fault_out);
}

static bool read_top_p(struct parsed *parsed, const json_t *value, const char *field,
                       struct http_fault *fault_out)
{
    struct sampling_asked *sampling = &parsed->request->generate.sampling;
    sampling->has_top_p = true;
    return field_number(value, field, 0, 1, &sampling->top_p, fault_out);
}

static bool read_top_k(struct parsed *parsed, const json_t *value, const char *field,
                       struct http_fault *fault_out)
{
    struct sampling_asked *sampling = &parsed->request->generate.sampling;
    int64_t number = 0;
    if (!field_integer(value, field, -1, 1 << 20, &number, fault_out))
        return false;
    sampling->has_top_k = true;
    sampling->top_k = number < 0 ? 0 : (uint32_t)number; /* both mean: all */
    return true;
}

static bool read_min_p(struct parsed *parsed, const json_t *value, const char *field,
                       struct http_fault *fault_out)
{
    struct sampling_asked *sampling = &parsed->request->generate.sampling;
    sampling->has_min_p = true;
    return field_number(value, field, 0, 1, &sampling->min_p, fault_out);
}

static bool read_presence(struct parsed *parsed, const json_t *value, const char *field,
                          struct http_fault *fault_out)
{
    return field_number(value, field, -2, 2, &parsed->request->generate.sampling.presence_penalty,
                        fault_out);
}

static bool read_frequency(struct parsed *parsed, const json_t *value, const char *field,
                           struct http_fault *fault_out)
{
    return field_number(value, field, -2, 2, &parsed->request->generate.sampling.frequency_penalty,
                        fault_out);
}

static bool read_repetition(struct parsed *parsed, const json_t *value, const char *field,
                            struct http_fault *fault_out)
{
    struct sampling_asked *sampling = &parsed->request->generate.sampling;
    sampling->has_repetition_penalty = true;
    return field_number(value, field, 0.01, 10, &sampling->repetition_penalty, fault_out);
}

static bool read_window(struct parsed *parsed, const json_t *value, const char *field,
                        struct http_fault *fault_out)
{
    int64_t number = 0;
    if (!field_integer(value, field, 1, 65536, &number, fault_out))
        return false;
    parsed->request->generate.sampling.repetition_window = (uint32_t)number;
    return true;
}

static bool read_seed(struct parsed *parsed, const json_t *value, const char *field,
                      struct http_fault *fault_out)
{
    int64_t number = 0;
    if (!field_integer(value, field, INT64_MIN, INT64_MAX, &number, fault_out))
        return false;
    parsed->request->has_seed = true;
    parsed->request->generate.sampling.seed = (uint64_t)number;
    return true;
}

static bool read_logprobs(struct parsed *parsed, const json_t *value, const char *field,
                          struct http_fault *fault_out)
{
    return field_bool(value, field, &parsed->request->generate.sampling.has_logprobs, fault_out);
}

static bool read_top_logprobs(struct parsed *parsed, const json_t *value, const char *field,
                              struct http_fault *fault_out)
{
    int64_t number = 0;
    if (!field_integer(value, field, 0, TOP_LOGPROB_COUNT_MAX, &number, fault_out))
        return false;
    parsed->has_top_logprobs = true;
    parsed->request->generate.sampling.top_logprobs = (uint32_t)number;
    return true;
}

static bool read_tokens_max(struct parsed *parsed, const json_t *value, const char *field,
                            struct http_fault *fault_out)
{
    int64_t number = 0;
    if (!field_integer(value, field, 1, INT32_MAX, &number, fault_out))
        return false;
    /* Of the two names the newer counts. */
    const json_t *newer = json_object_get(parsed->root, "max_completion_tokens");
    if (strcmp(field, "max_tokens") == 0 && newer && !json_is_null(newer))
        return true;
    parsed->request->generate.tokens_max =
        number > TOKEN_IDS_MAX ? TOKEN_IDS_MAX : (uint32_t)number;
    return true;
}

static bool add_stop(struct generate *generate, const json_t *value, const char *field,
                     struct http_fault *fault_out)
{
    size_t size = json_string_length(value);
    if (!json_is_string(value) || size == 0 || size > STOP_SIZE_MAX)
        return field_is_wrong(fault_out, field, "a text of 1 to 256 bytes or a list of up to 16");
    struct stop_text *stop =
        record_list_push(&stop_text_type, RECORD_LIST(generate->stops), NULL, STOP_COUNT_MAX);
    return (stop && text_set(&stop->text, json_string_value(value))) || no_memory(fault_out);
}

static bool read_stop(struct parsed *parsed, const json_t *value, const char *field,
                      struct http_fault *fault_out)
{
    struct generate *generate = &parsed->request->generate;
    if (!json_is_array(value))
        return add_stop(generate, value, field, fault_out);
    if (json_array_size(value) > STOP_COUNT_MAX)
        return field_is_wrong(fault_out, field, "a text of 1 to 256 bytes or a list of up to 16");
    size_t index = 0;
    const json_t *entry = NULL;
    json_array_foreach(value, index, entry)
    {
        if (!add_stop(generate, entry, field, fault_out))
            return false;
    }
    return true;
}

static bool read_stream(struct parsed *parsed, const json_t *value, const char *field,
                        struct http_fault *fault_out)
{
    return field_bool(value, field, &parsed->request->is_stream, fault_out);
}

static bool read_stream_options(struct parsed *parsed, const json_t *value, const char *field,
                                struct http_fault *fault_out)
{
    if (!json_is_object(value))
        return field_is_wrong(fault_out, field, "an object");
    parsed->has_stream_options = true;
    const char *key = NULL;
    json_t *option = NULL;
    json_object_foreach((json_t *)(uintptr_t)value, key, option)
    {
        bool is_on = false;
        if (strcmp(key, "include_usage") == 0) {
            if (!field_bool(option, "stream_options.include_usage", &parsed->request->wants_usage,
                            fault_out))
                return false;
        } else if (strcmp(key, "include_obfuscation") == 0) {
            if (!field_bool(option, "stream_options.include_obfuscation", &is_on, fault_out))
                return false;
            if (is_on)
                return field_is_unsupported(fault_out, "stream_options.include_obfuscation",
                                            "chunks are not padded");
        } else {
            return http_fault_set_param(fault_out, 400, "unknown_parameter", field,
                                        "stream_options has an unknown field.");
        }
    }
    return true;
}

static bool read_template_options(struct parsed *parsed, const json_t *value, const char *field,
                                  struct http_fault *fault_out)
{
    if (!json_is_object(value))
        return field_is_wrong(fault_out, field, "an object of template options");
    return json_object_update_missing(parsed->options, (json_t *)(uintptr_t)value) == 0 ||
           no_memory(fault_out);
}

static bool read_thinking(struct parsed *parsed, const json_t *value, const char *field,
                          struct http_fault *fault_out)
{
    bool is_on = false;
    return field_bool(value, field, &is_on, fault_out) &&
           (json_object_set_new(parsed->options, "enable_thinking", json_boolean(is_on)) == 0 ||
            no_memory(fault_out));
}

static bool read_effort(struct parsed *parsed, const json_t *value, const char *field,
                        struct http_fault *fault_out)
{
    static const char *const efforts[] = {"none", "minimal", "low", "medium",
                                          "high", "xhigh",   "max"};
    const char *effort = json_string_value(value);
    bool is_known = false;
    for (size_t i = 0; effort && i < COUNT_OF(efforts); i++)
        is_known = is_known || strcmp(effort, efforts[i]) == 0;
    if (!is_known)
        return field_is_wrong(fault_out, field, "none, minimal, low, medium, high, xhigh or max");
    bool is_set = true;
    if (strcmp(effort, "none") == 0)
        is_set = json_object_set_new(parsed->options, "enable_thinking", json_false()) == 0;
    return (is_set &&
            json_object_set_new(parsed->options, "reasoning_effort", json_string(effort)) == 0) ||
           no_memory(fault_out);
}

static bool read_count(struct parsed *parsed, const json_t *value, const char *field,
                       struct http_fault *fault_out)
{
    (void)parsed;
    if (json_is_integer(value) && json_integer_value(value) == 1)
        return true;
    return field_is_unsupported(fault_out, field, "one answer is made for each request; send n: 1");
}

static bool read_bias(struct parsed *parsed, const json_t *value, const char *field,
                      struct http_fault *fault_out)
{
    struct sampling_asked *sampling = &parsed->request->generate.sampling;
    size_t count = json_object_size(value);
    if (!json_is_object(value) || count > BIAS_COUNT_MAX)
        return field_is_wrong(fault_out, field, "an object of at most 1024 token ids");
    if (count == 0)
        return true;
    sampling->bias_ids.items = memory_zeroed(count, sizeof(uint32_t));
    sampling->bias_values.items = memory_zeroed(count, sizeof(float));
    if (!sampling->bias_ids.items || !sampling->bias_values.items)
        return no_memory(fault_out);
    uint32_t at = 0;
    const char *key = NULL;
    json_t *entry = NULL;
    json_object_foreach((json_t *)(uintptr_t)value, key, entry)
    {
        char *end = NULL;
        unsigned long id = strtoul(key, &end, 10);
        double bias = 0;
        if (key[0] < '0' || key[0] > '9' || *end || id > UINT32_MAX)
            return field_is_wrong(fault_out, field, "an object whose keys are token ids");
        if (!field_number(entry, field, -100, 100, &bias, fault_out))
            return false;
        float single = (float)bias;
        memcpy(sampling->bias_values.items + at * sizeof(float), &single, sizeof(float));
        sampling->bias_ids.items[at++] = (uint32_t)id;
    }
    sampling->bias_ids.count = at;
    sampling->bias_values.count = at * (uint32_t)sizeof(float);
    return true;
}

static bool read_modalities(struct parsed *parsed, const json_t *value, const char *field,
                            struct http_fault *fault_out)
{
    (void)parsed;
    const char *only = json_string_value(json_array_get(value, 0));
    if (json_array_size(value) == 1 && only && strcmp(only, "text") == 0)
        return true;
    return field_is_unsupported(fault_out, field, "answers are text");
}

static bool read_tier(struct parsed *parsed, const json_t *value, const char *field,
                      struct http_fault *fault_out)
{
    (void)parsed;
    const char *tier = json_string_value(value);
    if (tier && (strcmp(tier, "auto") == 0 || strcmp(tier, "default") == 0))
        return true;
    return field_is_unsupported(fault_out, field, "there is one tier");
}

static bool read_ignore_eos(struct parsed *parsed, const json_t *value, const char *field,
                            struct http_fault *fault_out)
{
    return field_bool(value, field, &parsed->request->generate.ignore_eos, fault_out);
}

/* Read elsewhere, or kept by OpenAI for its own records: those change no answer. */
static bool read_nothing(struct parsed *parsed, const json_t *value, const char *field,
                         struct http_fault *fault_out)
{
    (void)parsed;
    (void)value;
    (void)field;
    (void)fault_out;
    return true;
}

static bool read_refused(struct parsed *parsed, const json_t *value, const char *field,
                         struct http_fault *fault_out)
{
    (void)parsed;
    (void)value;
    return field_is_unsupported(fault_out, field, "leave it out");
}

static const struct {
    const char *name;
    field_reader *read;
} fields[] = {
    {"model", read_model},
    {"messages", read_messages},
    {"tools", read_tools},
    {"tool_choice", read_nothing}, /* openai_parse_demand reads these */
    {"parallel_tool_calls", read_nothing},
    {"structured_outputs", read_nothing},
    {"guided_json", read_nothing},
    {"guided_regex", read_nothing},
    {"guided_choice", read_nothing},
    {"guided_grammar", read_nothing},
    {"temperature", read_temperature},
    {"top_p", read_top_p},
    {"top_k", read_top_k},
    {"min_p", read_min_p},
    {"presence_penalty", read_presence},
    {"frequency_penalty", read_frequency},
    {"repetition_penalty", read_repetition},
    {"repetition_context_size", read_window},
    {"seed", read_seed},
    {"logprobs", read_logprobs},
    {"top_logprobs", read_top_logprobs},
    {"logit_bias", read_bias},
    {"max_tokens", read_tokens_max},
    {"max_completion_tokens", read_tokens_max},
    {"stop", read_stop},
    {"stream", read_stream},
    {"stream_options", read_stream_options},
    {"enable_thinking", read_thinking},
    {"reasoning_effort", read_effort},
    {"chat_template_kwargs", read_template_options},
    {"response_format", read_nothing},
    {"n", read_count},
    {"modalities", read_modalities},
    {"service_tier", read_tier},
    {"ignore_eos", read_ignore_eos},
    {"user", read_nothing},
    {"metadata", read_nothing},
    {"store", read_nothing},
    {"safety_identifier", read_nothing},
    {"prompt_cache_key", read_nothing},
    {"prompt_cache_retention", read_nothing},
    {"audio", read_refused},
    {"prediction", read_refused},
    {"web_search_options", read_refused},
    {"functions", read_refused},
    {"function_call", read_refused},
    {"verbosity", read_refused},
    {"best_of", read_refused},
    {"moderation", read_refused},
};

static bool read_field(struct parsed *parsed, const char *name, const json_t *value,
                       struct http_fault *fault_out)
{
    for (size_t i = 0; i < COUNT_OF(fields); i++)
        if (strcmp(fields[i].name, name) == 0)
            return json_is_null(value) || fields[i].read(parsed, value, name, fault_out);
    return http_fault_set_param(fault_out, 400, "unknown_parameter", name,
                                "%.64s is no field of a chat completion.", name);
}

static bool check_whole(const struct parsed *parsed, struct http_fault *fault_out)
{
    const struct chat_request *request = parsed->request;
    if (!request->model)
        return http_fault_set_param(fault_out, 400, "missing_field", "model",
                                    "model is missing; GET /v1/models lists the names.");
    if (!request->generate.messages)
        return http_fault_set_param(fault_out, 400, "missing_field", "messages",
                                    "messages is missing.");
    if (parsed->has_top_logprobs && !request->generate.sampling.has_logprobs)
        return field_is_wrong(fault_out, "top_logprobs", "left out unless logprobs is true");
    if (parsed->has_stream_options && !request->is_stream)
        return field_is_wrong(fault_out, "stream_options", "left out unless stream is true");
    return true;
}

/* Each part is within its own limit; all of them travel in one message. */
static bool check_size(const struct generate *generate, struct http_fault *fault_out)
{
    const char *const parts[] = {generate->messages, generate->tools, generate->options,
                                 generate->demand};
    size_t size = 0;
    for (size_t i = 0; i < COUNT_OF(parts); i++)
        size += strlen(text_or_empty(parts[i]));
    return size <= REQUEST_JSON_SIZE_MAX ||
           http_fault_set_param(fault_out, 413, "too_large", "messages",
                                "messages and tools with their options have %zu bytes; at most %u "
                                "are taken.",
                                size, REQUEST_JSON_SIZE_MAX);
}

static bool read_all(struct parsed *parsed, json_t *root, struct http_fault *fault_out)
{
    const char *name = NULL;
    json_t *value = NULL;
    json_object_foreach(root, name, value)
    {
        if (!read_field(parsed, name, value, fault_out))
            return false;
    }
    if (!check_whole(parsed, fault_out) ||
        !openai_parse_demand(root, &parsed->request->generate.demand,
                             &parsed->request->demand_field, fault_out))
        return false;
    if (json_object_size(parsed->options) > 0 &&
        !json_to_text(parsed->options, "chat_template_kwargs", &parsed->request->generate.options,
                      fault_out))
        return false;
    return check_size(&parsed->request->generate, fault_out);
}

bool openai_parse_chat(const char *body, size_t size, struct chat_request *request_out,
                       struct http_fault *fault_out)
{
    json_t *root = openai_parse_body(body, size, fault_out);
    if (!root)
        return false;
    struct chat_request request = {0};
    struct parsed parsed = {.request = &request, .root = root, .options = json_object()};
    bool is_good = parsed.options != NULL || no_memory(fault_out);
    is_good = is_good && read_all(&parsed, root, fault_out);
    json_decref(parsed.options);
    json_decref(root);
    if (is_good)
        *request_out = request;
    else
        chat_request_fini(&request);
    return is_good;
}

void chat_request_fini(struct chat_request *request)
{
    memory_free(request->model);
    record_fini(&generate_type, &request->generate);
    *request = (struct chat_request){0};
}
