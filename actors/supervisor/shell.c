/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/supervisor/shell.h"

#include "actors/supervisor/arguments.h"
#include "actors/supervisor/programs.h"
#include "actors/supervisor/sweep.h"
#include "protocol/memory.h"
#include "runtime/kernel_rates.h"
#include "runtime/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* By then a node that starts has started. */
#define MEASURE_AFTER_S "10"

static struct shell_child *row_of_id(struct supervisor_shell *shell, uint64_t id)
{
    for (size_t i = 0; id != 0 && i < COUNT_OF(shell->children); i++)
        if (shell->children[i].id == id)
            return &shell->children[i];
    return NULL;
}

/* ---- what children say ---- */

/* Moves our log file aside when it is large; anything else that is standard error is not ours. */
static void log_file_bound(const struct supervisor_shell *shell)
{
    char aside[PATH_SIZE + 40];
    struct stat open_file;
    struct stat named;
    if (fstat(STDERR_FILENO, &open_file) != 0 || !S_ISREG(open_file.st_mode) ||
        open_file.st_size < (off_t)LOG_FILE_SIZE_MAX || stat(shell->log_path, &named) != 0 ||
        named.st_ino != open_file.st_ino || named.st_dev != open_file.st_dev)
        return;
    (void)snprintf(aside, sizeof(aside), "%s.1", shell->log_path);
    if (rename(shell->log_path, aside) != 0)
        return;
    int fd = open(shell->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    if (dup2(fd, STDERR_FILENO) >= 0)
        (void)dup2(fd, STDOUT_FILENO);
    (void)close(fd);
}

/* A terminal or pipe that nobody reads must not stop the supervisor: what does not fit is lost. */
static void pass_on(const struct supervisor_shell *shell, const char *line, size_t size)
{
    struct pollfd item = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&item, 1, 0) != 1 || !(item.revents & POLLOUT))
        return;
    ssize_t written = write(STDERR_FILENO, line, size);
    (void)written;
    log_file_bound(shell);
}

static void line_ended(struct shell_child *row)
{
    if (row->line_size == 0)
        return;
    memcpy(row->last_line, row->line, row->line_size);
    row->last_line[row->line_size] = '\0';
    row->line[row->line_size] = '\n';
    pass_on(row->shell, row->line, row->line_size + 1);
    row->line_size = 0;
}

/* What read gave: 0 when every writer closed it, below 0 when there is nothing more now. */
static ssize_t error_read(struct shell_child *row)
{
    char bytes[4096];
    ssize_t size;
    do {
        size = read(row->error_fd, bytes, sizeof(bytes));
    } while (size < 0 && errno == EINTR);
    for (ssize_t i = 0; i < size; i++) {
        if (bytes[i] == '\n' || row->line_size == sizeof(row->line) - 1)
            line_ended(row);
        if (bytes[i] != '\n')
            row->line[row->line_size++] = bytes[i];
    }
    return size;
}

static void on_error_text(void *argument, int fd)
{
    struct shell_child *row = argument;
    if (error_read(row) == 0) {
        loop_unwatch(row->shell->loop, fd);
        line_ended(row);
    }
}

/* ---- how they are ---- */

static void on_ready(void *argument, int fd)
{
    struct shell_child *row = argument;
    loop_unwatch(row->shell->loop, fd);
    if (!child_is_ready(&row->child))
        return;
    const struct child_event event = {.id = row->id, .pid = row->child.pid};
    loop_child(row->shell->loop, INPUT_CHILD_READY, &event);
}

static void on_beat(void *argument, int fd)
{
    struct shell_child *row = argument;
    if (child_beats(&row->child) == 0) {
        loop_unwatch(row->shell->loop, fd);
        return;
    }
    const struct child_event event = {.id = row->id, .pid = row->child.pid};
    loop_child(row->shell->loop, INPUT_CHILD_BEAT, &event);
}

static void row_close(struct shell_child *row)
{
    const int fds[] = {row->child.ready_fd, row->child.beat_fd, row->child.death_fd,
                       row->error_fd};
    for (size_t i = 0; i < COUNT_OF(fds); i++)
        if (fds[i] >= 0)
            loop_unwatch(row->shell->loop, fds[i]);
    child_fini(&row->child);
    if (row->error_fd >= 0)
        (void)close(row->error_fd);
    row->error_fd = -1;
    row->id = 0;
}

static void processes_write(struct supervisor_shell *shell)
{
    struct left_process list[CHILDREN_MAX];
    size_t count = 0;
    for (size_t i = 0; i < COUNT_OF(shell->children); i++) {
        const struct shell_child *row = &shell->children[i];
        if (row->id != 0 && row->child.pid > 0)
            list[count++] = (struct left_process){row->child.pid,
                                                  process_started_at(row->child.pid)};
    }
    sweep_list_write(list, count);
}

static void on_death(void *argument, int fd)
{
    struct shell_child *row = argument;
    struct child_end end;
    (void)fd;
    if (!child_reap(&row->child, &end))
        return;
    while (error_read(row) > 0)
        continue;
    line_ended(row);
    struct child_end *value = memory_copied(&end, sizeof(end));
    struct result result = {.id = row->id,
                            .kind = SUPERVISOR_ENDED,
                            .value = value,
                            .value_free = memory_free};
    (void)snprintf(result.reason.text, sizeof(result.reason.text), "%.399s", row->last_line);
    struct supervisor_shell *shell = row->shell;
    row_close(row);
    processes_write(shell);
    ASSERT(value); /* a death that cannot be told would be forgotten for ever */
    loop_post(shell->loop, &result);
}

/* ---- effects ---- */

static enum status watch_all(struct shell_child *row)
{
    struct loop *loop = row->shell->loop;
    enum status status = loop_watch(loop, row->error_fd, on_error_text, row);
    if (status == STATUS_OK)
        status = loop_watch(loop, row->child.ready_fd, on_ready, row);
    if (status == STATUS_OK)
        status = loop_watch(loop, row->child.beat_fd, on_beat, row);
    if (status == STATUS_OK)
        status = loop_watch(loop, row->child.death_fd, on_death, row);
    return status;
}

static enum status error_pipe(int fds[2], struct reason *reason)
{
    if (pipe2(fds, O_CLOEXEC) != 0)
        return refuse(reason, status_from_errno(errno), "no descriptors for a process: %s",
                      strerror(errno));
    if (fcntl(fds[0], F_SETFL, O_NONBLOCK) != 0) {
        int error = errno;
        (void)close(fds[0]);
        (void)close(fds[1]);
        return refuse(reason, status_from_errno(error), "no pipe for a process: %s",
                      strerror(error));
    }
    return STATUS_OK;
}

static enum status spawn_into(struct shell_child *row, const struct spawn_request *request,
                              struct reason *reason)
{
    struct supervisor_shell *shell = row->shell;
    struct child_arguments arguments;
    char program[PROGRAM_PATH_SIZE];
    int fds[2] = {-1, -1};
    enum status status = program_find(shell->programs, request->row->name, program,
                                      sizeof(program), reason);
    if (status == STATUS_OK)
        status = child_arguments_make(&arguments, shell->config, shell->paths, shell->programs,
                                      request, reason);
    if (status == STATUS_OK)
        status = error_pipe(fds, reason);
    if (status != STATUS_OK)
        return status;
    const struct spawn_options options = {.program = program,
                                          .arguments = arguments.arguments,
                                          .environment = arguments.environment,
                                          .directory = shell->paths->run,
                                          .error_fd = fds[1],
                                          .output_fd = fds[1]};
    status = child_spawn(&options, &row->child, reason);
    (void)close(fds[1]);
    if (status != STATUS_OK) {
        (void)close(fds[0]);
        return status;
    }
    row->row = request->row;
    row->error_fd = fds[0];
    row->line_size = 0;
    row->last_line[0] = '\0';
    return STATUS_OK;
}

static void do_spawn(struct supervisor_shell *shell, const struct effect *effect)
{
    const struct spawn_request *request = effect->request;
    struct result result = {.id = effect->id, .kind = SUPERVISOR_SPAWN};
    struct shell_child *row = NULL;
    for (size_t i = 0; i < COUNT_OF(shell->children) && !row; i++)
        if (shell->children[i].id == 0)
            row = &shell->children[i];
    ASSERT(row); /* the step has no more children than we have rows */
    row->shell = shell;
    result.status = spawn_into(row, request, &result.reason);
    if (result.status == STATUS_OK) {
        row->id = effect->id;
        result.status = watch_all(row);
        if (result.status != STATUS_OK) {
            (void)refuse(&result.reason, result.status, "too many processes to watch");
            row_close(row);
        }
        processes_write(shell);
    }
    loop_post(shell->loop, &result);
}

static void measured_reap(struct supervisor_shell *shell)
{
    struct child_end end;
    if (shell->measuring.pid != 0 && child_reap(&shell->measuring, &end))
        child_fini(&shell->measuring);
}

static enum status perform(void *self, struct loop *loop, struct effect *effect,
                           struct reason *reason)
{
    struct supervisor_shell *shell = self;
    struct shell_child *row = row_of_id(shell, effect->id);
    (void)loop;
    switch ((enum supervisor_effect)effect->kind) {
    case SUPERVISOR_SPAWN:
        do_spawn(shell, effect);
        return STATUS_OK;
    case SUPERVISOR_TERMINATE:
        if (row)
            child_stop(&row->child);
        return STATUS_OK;
    case SUPERVISOR_KILL:
        if (row)
            child_kill(&row->child);
        return STATUS_OK;
    case SUPERVISOR_PING:
        measured_reap(shell);
        if (row)
            child_ping(&row->child);
        return STATUS_OK;
    case SUPERVISOR_SAY: {
        const struct say_request *request = effect->request;
        if (request->is_error)
            log_error("%s", request->text);
        else
            log_notice("%s", request->text);
        log_file_bound(shell);
        return STATUS_OK;
    }
    }
    return refuse(reason, STATUS_INTERNAL, "nobody performs effect %u", (unsigned)effect->kind);
}

/* Not before the node has settled, and never in the way of anything: whoever does without what it
 * finds out reckons with less. */
static void measure_kernels(struct supervisor_shell *shell)
{
    static const char *const arguments[] = {"measure", "--out", KERNEL_RATES_FILE,
                                            "--after", MEASURE_AFTER_S, NULL};
    char program[PROGRAM_PATH_SIZE];
    char chosen[64];
    const char *kernels = getenv("TROUPE_KERNELS");
    const char *const environment[] = {kernels ? chosen : NULL, NULL};
    struct reason reason;
    (void)snprintf(chosen, sizeof(chosen), "TROUPE_KERNELS=%.40s", kernels ? kernels : "");
    const struct spawn_options options = {.program = program,
                                          .arguments = arguments,
                                          .environment = environment,
                                          .directory = shell->paths->run,
                                          .error_fd = -1,
                                          .output_fd = -1};
    if (program_find(shell->programs, "engine", program, sizeof(program), &reason) != STATUS_OK ||
        child_spawn(&options, &shell->measuring, &reason) != STATUS_OK)
        log_notice("the kernels are not measured: %s", reason.text);
}

static enum status open_shell(void *self, struct loop *loop, struct reason *reason)
{
    struct supervisor_shell *shell = self;
    (void)reason;
    shell->loop = loop;
    measure_kernels(shell);
    return STATUS_OK;
}

/* After an orderly stop nobody is left; otherwise all are killed here. */
static void close_shell(void *self)
{
    struct supervisor_shell *shell = self;
    for (size_t i = 0; i < COUNT_OF(shell->children); i++)
        if (shell->children[i].id != 0)
            child_kill(&shell->children[i].child);
    for (size_t i = 0; i < COUNT_OF(shell->children); i++)
        if (shell->children[i].id != 0)
            row_close(&shell->children[i]);
    if (shell->measuring.pid != 0) {
        child_kill(&shell->measuring);
        child_fini(&shell->measuring);
    }
    processes_write(shell);
}

struct shell supervisor_shell_calls(struct supervisor_shell *shell)
{
    return (struct shell){
        .self = shell, .open = open_shell, .perform = perform, .close = close_shell};
}
