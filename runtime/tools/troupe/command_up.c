/* SPDX-License-Identifier: Apache-2.0 */
/*
 * command_up: starts the supervisor of a node and waits until the node is ready.
 *
 * Detached, it leads a session of its own and writes to HOME/supervisor.log; it says ready on the
 * descriptor a parent gives it (runtime/spawn.h), and when it ends instead, its last line is the
 * reason.
 */
#include "runtime/tools/troupe/cli.h"
#include "runtime/tools/troupe/commands_node.h"

#include "runtime/clock.h"
#include "runtime/config.h"
#include "runtime/paths.h"
#include "runtime/process.h"
#include "runtime/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { WAIT_MS = 120000, TAIL_SIZE = 4096, PATHS_TRIED = 4, READY_FD = 3 };

static const char usage_text[] =
    "usage: troupe up [--foreground] [--json] [--home DIR] [--KEY VALUE]...\n"
    "\n"
    "Starts this machine's node and returns when it is ready.\n"
    "  --foreground  stays, as a service manager wants it; the log goes to standard error\n"
    "  --json        says what was started as one JSON object\n"
    "  --KEY VALUE   any setting; see the table below, or HOME/config.ini\n"
    "\n"
    "exit codes: 0 ready; 1 failed; 2 wrong usage; 78 a setting, port or directory must be changed"
    "\n\n";

struct up {
    struct config config;
    struct paths paths;
    bool is_foreground;
    bool is_json;
    char program[PATH_SIZE + 64];
    char log_path[PATH_SIZE + 32];
    off_t log_start; /* what stood in the log before */
};

static int failed(enum status status, const struct reason *reason)
{
    (void)fprintf(stderr, "troupe up: %s\n",
                  reason->text[0] ? reason->text : status_text(status));
    return process_exit_code(status);
}

/* Beside us, in the libexec directory of the same prefix, or in the build tree. */
static enum status supervisor_find(struct up *up, struct reason *reason)
{
    static const char *const places[PATHS_TRIED] = {
        "troupe-supervisor", "../libexec/troupe/troupe-supervisor",
        "../../actors/supervisor/troupe-supervisor",
        "../../../actors/supervisor/troupe-supervisor"};
    char own[PATH_SIZE];
    ssize_t length = readlink("/proc/self/exe", own, sizeof(own) - 1);
    own[length > 0 ? length : 0] = '\0';
    char *slash = strrchr(own, '/');
    if (slash)
        *slash = '\0';
    for (size_t i = 0; i < PATHS_TRIED && slash; i++) {
        (void)snprintf(up->program, sizeof(up->program), "%s/%s", own, places[i]);
        if (access(up->program, X_OK) == 0)
            return STATUS_OK;
        if (errno == EACCES) /* it is there, or somebody hides whether it is */
            return refuse(reason, STATUS_NO_PERMISSION,
                          "this user may not run %s: %s; give others the right to read and run "
                          "troupe's programs and their directories",
                          up->program, strerror(errno));
    }
    (void)snprintf(up->program, sizeof(up->program), "%s/troupe/troupe-supervisor",
                   TROUPE_LIBEXEC_DIR);
    if (access(up->program, X_OK) == 0)
        return STATUS_OK;
    return refuse(reason, STATUS_NOT_FOUND,
                  "%s is missing; install all of troupe's programs together", up->program);
}

/* Takes our own flags away; the rest are settings, read to be judged here and passed on as they
 * are. */
static enum status read_arguments(struct up *up, int *argc, char **argv, struct reason *reason)
{
    int kept = 1;
    for (int i = 1; i < *argc; i++) {
        if (strcmp(argv[i], "--foreground") == 0)
            up->is_foreground = true;
        else if (strcmp(argv[i], "--json") == 0)
            up->is_json = true;
        else
            argv[kept++] = argv[i];
    }
    *argc = kept;
    argv[kept] = NULL;
    char *copies[256];
    int count = kept < 255 ? kept : 255;
    memcpy(copies, argv, (size_t)count * sizeof(copies[0]));
    copies[count] = NULL;
    enum status status = config_load(&up->config, &count, copies, false, reason);
    if (status == STATUS_OK && count > 1)
        return refuse(reason, STATUS_INVALID, "%s: no such argument; see troupe up --help",
                      copies[1]);
    if (status == STATUS_OK)
        status = paths_init(&up->paths, config_text(&up->config, CONFIG_KEY_HOME),
                            config_text(&up->config, CONFIG_KEY_STORE), reason);
    return status;
}

/* In the child: standard error becomes the log, descriptor 3 the word that it is ready. */
static _Noreturn void become_supervisor(const struct up *up, char **argv, int ready_fd,
                                        int log_fd)
{
    int nothing = open("/dev/null", O_RDONLY);
    bool is_set = setsid() >= 0 && nothing >= 0 && dup2(nothing, STDIN_FILENO) >= 0 &&
                  dup2(log_fd, STDOUT_FILENO) >= 0 && dup2(log_fd, STDERR_FILENO) >= 0 &&
                  (ready_fd == READY_FD ? fcntl(ready_fd, F_SETFD, 0) == 0
                                        : dup2(ready_fd, READY_FD) >= 0) &&
                  setenv(READY_FD_VARIABLE, "3", 1) == 0 && unsetenv("NOTIFY_SOCKET") == 0 &&
                  unsetenv("JOURNAL_STREAM") == 0;
    if (is_set)
        (void)execve(up->program, argv, environ);
    (void)dprintf(STDERR_FILENO, "troupe up: %s cannot be started: %s\n", up->program,
                  strerror(errno));
    _exit(EXIT_CODE_FAILED);
}

/* The last line the supervisor wrote since it was started, without the name before it. */
static void print_last_line(const struct up *up)
{
    char text[TAIL_SIZE + 1];
    int fd = open(up->log_path, O_RDONLY | O_CLOEXEC);
    off_t end = fd >= 0 ? lseek(fd, 0, SEEK_END) : -1;
    off_t from = end > TAIL_SIZE ? end - TAIL_SIZE : 0;
    if (from < up->log_start && up->log_start <= end)
        from = up->log_start;
    ssize_t size = end > 0 ? pread(fd, text, TAIL_SIZE, from) : 0;
    if (fd >= 0)
        (void)close(fd);
    while (size > 0 && text[size - 1] == '\n')
        size--;
    text[size > 0 ? size : 0] = '\0';
    const char *line = strrchr(text, '\n');
    line = line ? line + 1 : text;
    if (strncmp(line, "supervisor: ", 12) == 0)
        line += 12;
    struct statvfs disk;
    if (*line)
        (void)fprintf(stderr, "troupe up: %s\n", line);
    else if (statvfs(up->paths.home, &disk) == 0 && disk.f_bavail == 0)
        (void)fprintf(stderr, "troupe up: the disk of %s is full; free some space or choose "
                      "another directory with --home\n", up->paths.home);
    else
        (void)fputs("troupe up: the supervisor ended without a word\n", stderr);
    (void)fprintf(stderr, "the whole log: %s\n", up->log_path);
}

/* True when it said so; false when it ended or the time is over. */
static bool wait_ready(int fd, uint64_t limit_ms)
{
    const uint64_t end_ms = clock_now_ms() + limit_ms;
    for (uint64_t now_ms = clock_now_ms(); now_ms < end_ms; now_ms = clock_now_ms()) {
        struct pollfd item = {.fd = fd, .events = POLLIN};
        char byte = 0;
        int ready = poll(&item, 1, (int)(end_ms - now_ms));
        if (ready < 0 && errno == EINTR)
            continue;
        return ready == 1 && read(fd, &byte, 1) == 1 && byte == '\n';
    }
    return false;
}

static int report_ready(const struct up *up, pid_t pid, uint64_t took_ms)
{
    char http[ADDRESS_SIZE_MAX];
    if (!cli_bound_http(&up->paths, http, sizeof(http)))
        (void)snprintf(http, sizeof(http), "%s", config_text(&up->config, CONFIG_KEY_HTTP));
    if (up->is_json)
        (void)printf("{\"ready\": true, \"pid\": %ld, \"home\": \"%s\", \"http\": \"%s\", "
                     "\"took_ms\": %" PRIu64 "}\n",
                     (long)pid, up->paths.home, http, took_ms);
    else
        (void)printf("the node in %s is ready after %" PRIu64 " ms (http on %s); it goes on in the "
                     "background, troupe stop ends it\n",
                     up->paths.home, took_ms, http);
    return EXIT_CODE_OK;
}

static int start_detached(struct up *up, char **argv)
{
    struct reason reason = {""};
    int fds[2] = {-1, -1};
    const uint64_t start_ms = clock_now_ms();
    int log_fd = open(up->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log_fd < 0)
        return failed(refuse(&reason, status_from_errno(errno), "%s cannot be written: %s",
                             up->log_path, strerror(errno)),
                      &reason);
    if (pipe2(fds, O_CLOEXEC) != 0)
        return failed(refuse(&reason, status_from_errno(errno), "no pipe: %s", strerror(errno)),
                      &reason);
    up->log_start = lseek(log_fd, 0, SEEK_END);
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        become_supervisor(up, argv, fds[1], log_fd);
    (void)close(fds[1]);
    (void)close(log_fd);
    bool is_ready = pid > 0 && wait_ready(fds[0], WAIT_MS);
    (void)close(fds[0]);
    if (is_ready)
        return report_ready(up, pid, clock_now_ms() - start_ms);
    int state = 0;
    /* One that has closed the descriptor is about to end; one that is silent goes on. */
    const uint64_t end_ms = start_ms + WAIT_MS;
    pid_t ended = pid > 0 ? waitpid(pid, &state, WNOHANG) : -1;
    while (ended == 0 && clock_now_ms() < end_ms) {
        clock_sleep_ms(5);
        ended = waitpid(pid, &state, WNOHANG);
    }
    if (ended == 0) {
        (void)fprintf(stderr, "troupe up: the node is not ready after %d s; it goes on trying, and "
                      "%s says how\n", WAIT_MS / 1000, up->log_path);
        return EXIT_CODE_FAILED;
    }
    print_last_line(up);
    return WIFEXITED(state) && WEXITSTATUS(state) != 0 ? WEXITSTATUS(state) : EXIT_CODE_FAILED;
}

static void print_usage(void)
{
    struct buffer text;
    buffer_init(&text, 1u << 20);
    (void)fputs(usage_text, stdout);
    if (config_help(&text) == STATUS_OK)
        (void)fwrite(text.bytes, 1, text.size, stdout);
    buffer_fini(&text);
}

static int run(struct up *up, int argc, char **argv)
{
    struct reason reason = {""};
    enum status status = read_arguments(up, &argc, argv, &reason);
    if (status != STATUS_OK) {
        (void)failed(status, &reason);
        /* A sentence about a file or a directory begins with its path. */
        return reason.text[0] == '/' ? EXIT_CODE_CONFIGURATION : EXIT_CODE_USAGE;
    }
    status = supervisor_find(up, &reason);
    if (status == STATUS_OK)
        status = paths_make(&up->paths, &reason);
    /* Only to say at once that somebody has it; the supervisor takes it for itself. */
    if (status == STATUS_OK)
        status = paths_lock(&up->paths, &reason);
    paths_unlock(&up->paths);
    if (status != STATUS_OK)
        return failed(status, &reason);
    (void)snprintf(up->log_path, sizeof(up->log_path), "%s/supervisor.log", up->paths.home);
    argv[0] = up->program;
    if (!up->is_foreground)
        return start_detached(up, argv);
    (void)execve(up->program, argv, environ);
    status = refuse(&reason, status_from_errno(errno), "%s cannot be started: %s", up->program,
                    strerror(errno));
    return failed(status, &reason);
}

int command_up(int argc, char **argv)
{
    struct up up = {.paths = {.lock_fd = -1}};
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        print_usage();
        return EXIT_CODE_OK;
    }
    int exit_code = run(&up, argc, argv);
    config_fini(&up.config);
    return exit_code;
}
