/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/process.h"

#include "runtime/identity.h"
#include "runtime/log.h"
#include "runtime/rights.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void generation_write(const struct generation *generation, char text_out[96])
{
    char hex[HEX_SIZE(sizeof(struct node_id))];
    (void)snprintf(text_out, 96, "%" PRIu64 ".%s.%" PRIu64, generation->epoch,
                   hex_print(&generation->leader, sizeof(generation->leader), hex),
                   generation->counter);
}

/* Digits only: strtoull alone also takes spaces and signs, and nothing at all for a zero. */
static bool read_number(const char *text, uint64_t *number_out, const char **rest_out)
{
    char *end = NULL;
    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    *number_out = strtoull(text, &end, 10);
    *rest_out = end;
    return errno == 0;
}

bool generation_read(const char *text, struct generation *generation_out)
{
    struct generation read;
    char hex[HEX_SIZE(sizeof(struct node_id))];
    const char *rest = NULL;
    if (!read_number(text, &read.epoch, &rest) || *rest != '.' || strlen(rest + 1) < sizeof(hex))
        return false;
    memcpy(hex, rest + 1, sizeof(hex) - 1);
    hex[sizeof(hex) - 1] = '\0';
    rest += sizeof(hex);
    if (!hex_parse(hex, &read.leader, sizeof(read.leader)) || *rest != '.' ||
        !read_number(rest + 1, &read.counter, &rest) || *rest != '\0')
        return false;
    *generation_out = read;
    return true;
}

static enum status read_role(struct process *process, struct reason *reason)
{
    const char *incarnation = getenv(INCARNATION_VARIABLE);
    const char *instance = getenv(INSTANCE_VARIABLE);
    const char *generation = getenv(GENERATION_VARIABLE);
    const char *rank = getenv(RANK_VARIABLE);
    if (incarnation)
        process->incarnation = strtoull(incarnation, NULL, 10);
    if (process->incarnation == 0) {
        enum status status = identity_random(&process->incarnation, sizeof(process->incarnation));
        if (status != STATUS_OK)
            return status;
        process->incarnation |= 1;
    }
    if (!instance && !generation && !rank)
        return STATUS_OK;
    uint64_t number = 0;
    const char *rest = NULL;
    if (!instance || !generation || !rank || !read_number(rank, &number, &rest) ||
        *rest != '\0' || number >= RANK_COUNT_MAX ||
        !hex_parse(instance, &process->instance_id, sizeof(process->instance_id)) ||
        !generation_read(generation, &process->generation))
        return refuse(reason, STATUS_INVALID, "%s, %s and %s do not name a rank", INSTANCE_VARIABLE,
                      GENERATION_VARIABLE, RANK_VARIABLE);
    process->rank = (uint32_t)number;
    process->has_rank = true;
    return STATUS_OK;
}

static enum log_level level_of(const char *text)
{
    static const char *const names[] = {"error", "warning", "notice", "debug"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (strcmp(names[i], text) == 0)
            return (enum log_level)i;
    return LOG_LEVEL_NOTICE;
}

static enum status open_rest(struct process *process, const struct key_pair *pair,
                             struct reason *reason)
{
    const struct config *config = &process->config;
    log_init(actor_kind_name(process->kind), level_of(config_text(config, CONFIG_KEY_LOG_LEVEL)));
    enum status status = paths_init(&process->paths, config_text(config, CONFIG_KEY_HOME),
                                    config_text(config, CONFIG_KEY_STORE), reason);
    if (status == STATUS_OK)
        status = paths_set_directories(
            &process->paths, config_text(config, CONFIG_KEY_MODEL_DIRECTORIES), reason);
    if (status == STATUS_OK)
        status = paths_enter_run(&process->paths, reason);
    if (status == STATUS_OK)
        status = read_role(process, reason);
    if (status == STATUS_OK && pair)
        process->pair = *pair;
    else if (status == STATUS_OK)
        status = key_pair_make(&process->pair);
    return status;
}

enum status process_open(struct process *process, enum actor_kind kind, int argc, char **argv,
                         const struct key_pair *pair, struct reason *reason)
{
    memset(process, 0, sizeof(*process));
    process->kind = kind;
    process->paths.lock_fd = -1;
    (void)snprintf(process->build, sizeof(process->build), "%s", TROUPE_BUILD);
    log_init(actor_kind_name(kind), LOG_LEVEL_NOTICE);
    enum status status = config_load(&process->config, &argc, argv, false, reason);
    if (status == STATUS_OK && argc > 1)
        status = refuse(reason, STATUS_INVALID, "%s: no such argument", argv[1]);
    if (status == STATUS_OK)
        status = open_rest(process, pair, reason);
    if (status != STATUS_OK)
        process_close(process);
    return status;
}

enum status process_keep_rights(const char *rights, const struct config *config,
                                const struct paths *paths, const char *program,
                                struct reason *reason)
{
    const struct rights_places places = {
        .paths = paths,
        .key_file = config_text(config, CONFIG_KEY_HTTP_KEY_FILE),
        .program = program,
        .is_debuggable = config_switch(config, CONFIG_KEY_DEBUGGABLE)};
    struct rights_kept kept;
    enum status status = rights_keep(rights, &places, &kept, reason);
    if (status != STATUS_OK)
        return status;
    if (kept.landlock_version == 0)
        log_notice("Landlock is not available: files are guarded by their permissions alone");
    if (RIGHTS_UNDER_SANITIZER)
        log_notice("system calls are not filtered: the sanitizer of this build needs to trace");
    else if (!kept.has_filter)
        log_notice("seccomp is not available: system calls are not filtered");
    log_debug("keeps of its rights: %s (Landlock %d, seccomp %s)", rights, kept.landlock_version,
              kept.has_filter ? "on" : "off");
    return STATUS_OK;
}

enum status process_keep(struct process *process, const char *rights, struct reason *reason)
{
    const struct transport_options options = {.pair = process->pair};
    enum status status =
        process_keep_rights(rights, &process->config, &process->paths, NULL, reason);
    if (status == STATUS_OK)
        status = transport_open(&options, &process->transport, reason);
    return status;
}

void process_close(struct process *process)
{
    transport_close(process->transport, 200);
    process->transport = NULL;
    key_pair_fini(&process->pair);
    config_fini(&process->config);
}

int process_exit_code(enum status status)
{
    static const struct {
        enum status status;
        enum exit_code code;
    } codes[] = {
        {STATUS_OK, EXIT_CODE_OK},
        {STATUS_NOT_FOUND, EXIT_CODE_NOT_FOUND},
        {STATUS_INVALID, EXIT_CODE_CONFIGURATION},
        {STATUS_VERSION, EXIT_CODE_CONFIGURATION},
        {STATUS_NO_PERMISSION, EXIT_CODE_CONFIGURATION},
        {STATUS_UNSUPPORTED, EXIT_CODE_CONFIGURATION},
        {STATUS_IN_USE, EXIT_CODE_CONFIGURATION},
        {STATUS_DAMAGED, EXIT_CODE_CONFIGURATION},
        {STATUS_SPENT, EXIT_CODE_CONFIGURATION},
        {STATUS_EXPIRED, EXIT_CODE_CONFIGURATION},
        {STATUS_NOT_ADMITTED, EXIT_CODE_NOT_ADMITTED},
        {STATUS_NO_CAPACITY, EXIT_CODE_NO_CAPACITY},
        {STATUS_UNREACHABLE, EXIT_CODE_UNREACHABLE},
        {STATUS_NO_LEADER, EXIT_CODE_UNREACHABLE},
    };
    for (size_t i = 0; i < COUNT_OF(codes); i++)
        if (codes[i].status == status)
            return (int)codes[i].code;
    return EXIT_CODE_FAILED;
}

int process_failed(const struct process *process, enum status status, const struct reason *reason)
{
    (void)process;
    log_error("%s", reason->text[0] ? reason->text : status_text(status));
    return process_exit_code(status);
}

int process_run(struct process *process, const struct loop_options *options)
{
    struct loop *loop = NULL;
    struct reason reason = {""};
    int exit_code = 0;
    struct loop_options own = *options;
    own.transport = process->transport;
    enum status status = loop_create(&own, &loop, &reason);
    if (status == STATUS_OK)
        status = loop_run(loop, &exit_code, &reason);
    loop_free(loop);
    return status == STATUS_OK ? exit_code : process_failed(process, status, &reason);
}
