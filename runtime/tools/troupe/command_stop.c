/* SPDX-License-Identifier: Apache-2.0 */
/*
 * command_stop: ends the node of a home directory and waits until it is gone.
 *
 * Whether one runs is told by the lock on HOME/lock alone, whom to tell by the pid in it.
 */
#include "runtime/tools/troupe/commands_node.h"

#include "runtime/clock.h"
#include "runtime/config.h"
#include "runtime/paths.h"
#include "runtime/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/syscall.h>
#endif

enum { WAIT_MS = 60000, PID_WAIT_MS = 1000 };

static const char usage_text[] =
    "usage: troupe stop [--home DIR] [--json]\n"
    "\n"
    "Ends this machine's node and waits until all its processes are gone.\n"
    "\n"
    "exit codes: 0 stopped; 1 failed; 2 wrong usage; 3 no node runs there; 78 not\n"
    "this user's node\n";

static int failed(enum status status, const struct reason *reason)
{
    (void)fprintf(stderr, "troupe stop: %s\n",
                  reason->text[0] ? reason->text : status_text(status));
    return process_exit_code(status);
}

/* A supervisor that has just taken the lock may not have written its pid yet. */
static enum status pid_read(const char *path, pid_t *pid_out, struct reason *reason)
{
    const uint64_t end_ms = clock_now_ms() + PID_WAIT_MS;
    do {
        char text[32] = "";
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t size = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
        if (fd >= 0)
            (void)close(fd);
        char *rest = NULL;
        long pid = size > 0 ? strtol(text, &rest, 10) : 0;
        if (pid > 1 && *rest == '\n') {
            *pid_out = (pid_t)pid;
            return STATUS_OK;
        }
        clock_sleep_ms(10);
    } while (clock_now_ms() < end_ms);
    return refuse(reason, STATUS_MALFORMED, "%s does not say which process to stop", path);
}

/* Something that can be read once the process has ended; -1 where there is no such thing. */
static int process_watch(pid_t pid)
{
#if defined(__linux__) && defined(SYS_pidfd_open)
    return (int)syscall(SYS_pidfd_open, pid, 0u);
#else
    (void)pid;
    return -1;
#endif
}

static bool has_ended_within(int fd, int wait_ms)
{
    struct pollfd item = {.fd = fd, .events = POLLIN};
    if (fd < 0)
        clock_sleep_ms(5);
    return fd < 0 || poll(&item, 1, wait_ms) == 1;
}

static enum status stop(struct paths *paths, struct reason *reason)
{
    char path[PATH_SIZE + 64];
    struct reason unused;
    pid_t pid = 0;
    (void)snprintf(path, sizeof(path), "%s/lock", paths->home);
    if (access(path, F_OK) != 0 && errno == EACCES)
        return refuse(reason, STATUS_NO_PERMISSION,
                      "%s belongs to another user; stop its node as that user", paths->home);
    if (access(path, F_OK) != 0)
        return refuse(reason, STATUS_NOT_FOUND, "no node runs in %s", paths->home);
    enum status status = paths_lock(paths, reason);
    if (status == STATUS_OK) {
        paths_unlock(paths);
        return refuse(reason, STATUS_NOT_FOUND, "no node runs in %s", paths->home);
    }
    if (status != STATUS_BUSY)
        return status;
    status = pid_read(path, &pid, reason);
    if (status != STATUS_OK)
        return status;
    int watch = process_watch(pid);
    if (kill(pid, SIGTERM) != 0 && errno != ESRCH) {
        int error = errno;
        if (watch >= 0)
            (void)close(watch);
        return refuse(reason, status_from_errno(error), "process %ld cannot be told to stop: %s",
                      (long)pid, strerror(error));
    }
    const uint64_t end_ms = clock_now_ms() + WAIT_MS;
    bool is_free = false;
    while (clock_now_ms() < end_ms && !is_free)
        is_free = has_ended_within(watch, 100) &&
                  (watch >= 0 || paths_lock(paths, &unused) == STATUS_OK);
    if (watch >= 0)
        (void)close(watch);
    paths_unlock(paths);
    if (is_free)
        return STATUS_OK;
    return refuse(reason, STATUS_TIMED_OUT,
                  "the node in %s has not ended after %d s; process %ld is its supervisor",
                  paths->home, WAIT_MS / 1000, (long)pid);
}

static int run(struct config *config, int argc, char **argv)
{
    struct reason reason = {""};
    struct paths paths;
    bool is_json = false;
    int kept = 1;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            is_json = true;
        else
            argv[kept++] = argv[i];
    }
    argc = kept;
    enum status status = config_read_flags(config, &argc, argv, false, &reason);
    if (status == STATUS_OK && argc > 1)
        status = refuse(&reason, STATUS_INVALID, "%s: no such argument; see troupe stop --help",
                        argv[1]);
    if (status != STATUS_OK) {
        (void)failed(status, &reason);
        return EXIT_CODE_USAGE;
    }
    const char *home = getenv("TROUPE_HOME");
    if (config_text(config, CONFIG_KEY_HOME)[0])
        home = config_text(config, CONFIG_KEY_HOME);
    status = paths_init(&paths, home, NULL, &reason);
    if (status == STATUS_OK)
        status = stop(&paths, &reason);
    if (status != STATUS_OK)
        return failed(status, &reason);
    if (is_json)
        (void)printf("{\"stopped\": true, \"home\": \"%s\"}\n", paths.home);
    else
        (void)printf("the node in %s has stopped\n", paths.home);
    return EXIT_CODE_OK;
}

int command_stop(int argc, char **argv)
{
    struct config config;
    struct reason reason = {""};
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        (void)fputs(usage_text, stdout);
        return EXIT_CODE_OK;
    }
    enum status status = config_init(&config, &reason);
    int exit_code = status == STATUS_OK ? run(&config, argc, argv) : failed(status, &reason);
    config_fini(&config);
    return exit_code;
}
