/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/supervisor/arguments.h"

#include "actors/supervisor/programs.h"
#include "runtime/process.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *PRINTF_LIKE(2, 3) keep(struct child_arguments *arguments,
                                          const char *format, ...)
{
    char *text = arguments->text + arguments->text_size;
    size_t room = sizeof(arguments->text) - arguments->text_size;
    va_list values;
    va_start(values, format);
    int length = vsnprintf(text, room, format, values);
    va_end(values);
    if (length < 0 || (size_t)length >= room) {
        arguments->is_full = true;
        return "";
    }
    arguments->text_size += (size_t)length + 1;
    return text;
}

static void add_argument(struct child_arguments *arguments, const char *text)
{
    if (arguments->argument_count == CHILD_ARGUMENTS_MAX)
        arguments->is_full = true;
    else
        arguments->arguments[arguments->argument_count++] = text;
}

static void add_variable(struct child_arguments *arguments, const char *text)
{
    if (arguments->variable_count == CHILD_VARIABLES_MAX)
        arguments->is_full = true;
    else
        arguments->environment[arguments->variable_count++] = text;
}

static void add_settings(struct child_arguments *arguments, const struct config *config,
                         const struct paths *paths, const struct spawn_request *request)
{
    add_argument(arguments, keep(arguments, "--home=%s", paths->home));
    for (int key = 0; key < CONFIG_KEY_COUNT; key++) {
        const char *value = config->texts[key];
        const char *name = config_name((enum config_key)key);
        if (key == CONFIG_KEY_HOME || key == CONFIG_KEY_STORE ||
            (key == CONFIG_KEY_THREADS && request->threads > 0) ||
            (config->origins[key] != CONFIG_FLAG && config->origins[key] != CONFIG_ENVIRONMENT))
            continue;
        add_argument(arguments, keep(arguments, "--%s=%s", name, value));
    }
    /* Children live in HOME/run and have no variables of the hub's: the path is absolute. */
    add_argument(arguments, keep(arguments, "--%s=%s", config_name(CONFIG_KEY_STORE),
                                 paths->models));
    if (request->threads > 0)
        add_argument(arguments, keep(arguments, "--%s=%" PRIu32, config_name(CONFIG_KEY_THREADS),
                                     request->threads));
}

/* See actors/launcher/launcher_options.h; after the two dashes stands the runner's command. */
static enum status add_launch(struct child_arguments *arguments, const char *programs,
                              const struct spawn_request *request, struct reason *reason)
{
    char runner[PROGRAM_PATH_SIZE];
    char instance[HEX_SIZE(sizeof(struct instance_id))];
    char leader[HEX_SIZE(sizeof(struct node_id))];
    const struct generation *generation = &request->generation;
    enum status status = program_find(programs, "runner", runner, sizeof(runner), reason);
    if (status != STATUS_OK)
        return status;
    const char *const options[] = {
        "--instance",
        keep(arguments, "%s",
             hex_print(&request->instance_id, sizeof(request->instance_id), instance)),
        "--generation",
        keep(arguments, "%" PRIu64 ":%s:%" PRIu64, generation->epoch,
             hex_print(&generation->leader, sizeof(generation->leader), leader),
             generation->counter),
        "--rank",
        keep(arguments, "%" PRIu32, request->rank),
        "--fabric",
        keep(arguments, "%s", request->fabric),
        "--incarnation",
        keep(arguments, "%" PRIu64, request->incarnation),
        "--rank-incarnation",
        keep(arguments, "%" PRIu64, request->incarnation),
    };
    for (size_t i = 0; i < COUNT_OF(options); i++)
        add_argument(arguments, options[i]);
    if (request->rdma[0]) {
        add_argument(arguments, "--rdma");
        add_argument(arguments, keep(arguments, "%s", request->rdma));
    }
    if (request->ways[0]) {
        add_argument(arguments, "--ways");
        add_argument(arguments, keep(arguments, "%s", request->ways));
    }
    add_argument(arguments, "--");
    add_argument(arguments, keep(arguments, "%s", runner));
    return STATUS_OK;
}

/* All that a child gets of the supervisor's own environment: where the user's things are, what
 * stdio is, and which kernels the engine shall use. */
static const char *const passed_variables[] = {
    "HOME", "PATH", "LANG", "TMPDIR", "JOURNAL_STREAM", "TROUPE_KERNELS",
};
/* The downloader's alone: the token is nobody else's business, nor are proxies. */
static const char *const hub_variables[] = {
    "HF_ENDPOINT", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME",
    "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_DISABLE_IMPLICIT_TOKEN",
    "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT",
    "http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy",
    "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE",
};

static void pass_variables(struct child_arguments *arguments, const char *const *names,
                           size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *value = getenv(names[i]);
        if (value)
            add_variable(arguments, keep(arguments, "%s=%s", names[i], value));
    }
}

static void add_environment(struct child_arguments *arguments,
                            const struct spawn_request *request)
{
    pass_variables(arguments, passed_variables, COUNT_OF(passed_variables));
    if (request->row->kind == ACTOR_DOWNLOADER)
        pass_variables(arguments, hub_variables, COUNT_OF(hub_variables));
    add_variable(arguments,
                 keep(arguments, INCARNATION_VARIABLE "=%" PRIu64, request->incarnation));
    if (!request->has_rank)
        return;
    char instance[HEX_SIZE(sizeof(struct instance_id))];
    char generation[96];
    generation_write(&request->generation, generation);
    add_variable(arguments, keep(arguments, INSTANCE_VARIABLE "=%s",
                                 hex_print(&request->instance_id, sizeof(request->instance_id),
                                           instance)));
    add_variable(arguments, keep(arguments, GENERATION_VARIABLE "=%s", generation));
    add_variable(arguments, keep(arguments, RANK_VARIABLE "=%" PRIu32, request->rank));
    if (request->fabric[0])
        add_variable(arguments, keep(arguments, FABRIC_VARIABLE "=%s", request->fabric));
    if (request->front[0])
        add_variable(arguments, keep(arguments, FRONT_VARIABLE "=%s", request->front));
}

enum status child_arguments_make(struct child_arguments *arguments_out,
                                 const struct config *config, const struct paths *paths,
                                 const char *programs, const struct spawn_request *request,
                                 struct reason *reason)
{
    struct child_arguments *arguments = arguments_out;
    arguments->argument_count = 0;
    arguments->variable_count = 0;
    arguments->text_size = 0;
    arguments->is_full = false;
    enum status status = STATUS_OK;
    if (request->row->kind == ACTOR_LAUNCHER)
        status = add_launch(arguments, programs, request, reason);
    if (status != STATUS_OK)
        return status;
    add_settings(arguments, config, paths, request);
    add_environment(arguments, request);
    arguments->arguments[arguments->argument_count] = NULL;
    arguments->environment[arguments->variable_count] = NULL;
    if (arguments->is_full)
        return refuse(reason, STATUS_TOO_LARGE,
                      "the settings are too long to be passed on; put them into %.300s",
                      paths->config);
    return STATUS_OK;
}
