/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/actors.h"
#include "actors/supervisor/programs.h"
#include "actors/supervisor/shell.h"
#include "actors/supervisor/sweep.h"
#include "runtime/identity.h"
#include "runtime/log.h"
#include "runtime/process.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

/* What main owns for the life of the process. */
struct supervisor_main {
    struct process process; /* without the keys: a supervisor has no tcp link */
    struct supervisor_settings settings;
    struct supervisor_shell shell;
};

static void read_settings(struct supervisor_main *self)
{
    const struct config *config = &self->process.config;
    self->settings = (struct supervisor_settings){
        .rows = actor_rows,
        .row_count = actor_row_count,
        .hang_ms = config_number(config, CONFIG_KEY_HANG_MS),
        .ping_ms = config_number(config, CONFIG_KEY_PING_MS),
        .deaths_max = (uint32_t)config_number(config, CONFIG_KEY_DEATHS_MAX),
        .deaths_window_ms = config_number(config, CONFIG_KEY_DEATHS_WINDOW_S) * 1000,
        .backoff_min_ms = config_number(config, CONFIG_KEY_BACKOFF_MIN_MS),
        .backoff_max_ms = config_number(config, CONFIG_KEY_BACKOFF_MAX_MS),
        .healthy_ms = config_number(config, CONFIG_KEY_HEALTHY_S) * 1000,
        .session = {.actor = ACTOR_SUPERVISOR,
                    .incarnation = self->process.incarnation,
                    .build = self->process.build,
                    .wants_events = true}};
}

/* The pid in the lock file is for `troupe stop`; only the lock itself says whether we live. */
static enum status lock_home(struct paths *paths, struct reason *reason)
{
    enum status status = paths_make(paths, reason);
    if (status == STATUS_OK)
        status = paths_lock(paths, reason);
    if (status != STATUS_OK)
        return status;
    if (ftruncate(paths->lock_fd, 0) != 0 || dprintf(paths->lock_fd, "%ld\n", (long)getpid()) < 0)
        return refuse(reason, STATUS_IO, "%s/lock cannot be written; is the disk full?",
                      paths->home);
    return STATUS_OK;
}

static enum status prepare(struct supervisor_main *self, int argc, char **argv,
                           struct reason *reason)
{
    struct process *process = &self->process;
    struct config *config = &process->config;
    process->kind = ACTOR_SUPERVISOR;
    process->paths.lock_fd = -1;
    (void)snprintf(process->build, sizeof(process->build), "%s", TROUPE_BUILD);
    enum status status = config_load(config, &argc, argv, false, reason);
    if (status == STATUS_OK && argc > 1)
        status = refuse(reason, STATUS_INVALID, "%s: no such argument", argv[1]);
    if (status == STATUS_OK)
        status = paths_init(&process->paths, config_text(config, CONFIG_KEY_HOME),
                            config_text(config, CONFIG_KEY_STORE), reason);
    if (status == STATUS_OK)
        status = paths_set_directories(
            &process->paths, config_text(config, CONFIG_KEY_MODEL_DIRECTORIES), reason);
    if (status == STATUS_OK)
        status = lock_home(&process->paths, reason);
    if (status == STATUS_OK)
        status = programs_directory(self->shell.programs, sizeof(self->shell.programs),
                                    reason);
    if (status == STATUS_OK)
        status = paths_enter_run(&process->paths, reason);
    if (status == STATUS_OK)
        status = identity_random(&process->incarnation, sizeof(process->incarnation));
    if (status != STATUS_OK)
        return status;
    sweep_run();
    return process_keep(process, SUPERVISOR_RIGHTS, reason);
}

int main(int argc, char **argv)
{
    static struct supervisor_main self;
    struct reason reason = {""};
    int exit_code;
    log_init("supervisor", LOG_LEVEL_NOTICE);
    enum status status = prepare(&self, argc, argv, &reason);
    if (status == STATUS_OK) {
        read_settings(&self);
        self.shell.config = &self.process.config;
        self.shell.paths = &self.process.paths;
        (void)snprintf(self.shell.log_path, sizeof(self.shell.log_path), "%s/supervisor.log",
                       self.process.paths.home);
        const struct loop_options options = {
            .ops = &supervisor_ops,
            .settings = &self.settings,
            .shell = supervisor_shell_calls(&self.shell),
            .stop_ms = (uint32_t)supervisor_stop_ms(actor_rows, actor_row_count),
            .notify_service = true};
        exit_code = process_run(&self.process, &options);
        sweep_files();
    } else {
        exit_code = process_failed(&self.process, status, &reason);
    }
    /* The lock of the home ends with the process itself, when truly nothing of it is left. */
    process_close(&self.process);
    return exit_code;
}
