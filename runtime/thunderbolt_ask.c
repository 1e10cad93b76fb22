/* SPDX-License-Identifier: Apache-2.0 */
/*
 * thunderbolt_ask: asks a program for the Thunderbolt tree, for so long and so many bytes only.
 */
#include "runtime/thunderbolt.h"

#include "protocol/memory.h"
#include "runtime/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void run_program(const char *const *command, const int ends[2])
{
    const int nothing = open("/dev/null", O_RDWR);
    if (nothing >= 0) {
        (void)dup2(nothing, 0);
        (void)dup2(nothing, 2);
    }
    (void)dup2(ends[1], 1);
    (void)close(ends[0]);
    (void)close(ends[1]);
    (void)close(nothing);
    (void)setpgid(0, 0);
    (void)execv(command[0], (char *const *)(uintptr_t)command);
    _exit(127);
}

/* Reads until the end, the deadline or one byte beyond the bound. */
static enum status read_all(int from, uint64_t deadline_ms, char *text, size_t *size_out)
{
    size_t size = 0;
    for (;;) {
        const uint64_t now_ms = clock_now_ms();
        struct pollfd wait = {.fd = from, .events = POLLIN};
        if (now_ms >= deadline_ms)
            return STATUS_TIMED_OUT;
        if (poll(&wait, 1, (int)(deadline_ms - now_ms)) <= 0)
            continue;
        const ssize_t got = read(from, text + size, THUNDERBOLT_TEXT_SIZE_MAX + 1 - size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        size += (size_t)got;
        if (size > THUNDERBOLT_TEXT_SIZE_MAX)
            return STATUS_TOO_LARGE;
    }
    *size_out = size;
    return STATUS_OK;
}

/* It may go on after it closed its output: no longer than the deadline. */
static void wait_end(pid_t child, uint64_t deadline_ms, int *result_out)
{
    pid_t ended = 0;
    while ((ended = waitpid(child, result_out, WNOHANG)) == 0 && clock_now_ms() < deadline_ms)
        (void)poll(NULL, 0, 5);
    if (ended != 0)
        return;
    (void)kill(-child, SIGKILL);
    (void)kill(child, SIGKILL);
    while (waitpid(child, result_out, 0) < 0 && errno == EINTR)
        continue;
}

static enum status say(enum status status, const char *program, uint32_t timeout_ms, int result,
                       struct reason *reason)
{
    if (status == STATUS_TIMED_OUT)
        return refuse(reason, status,
                      "%.100s did not end within %u ms; Thunderbolt links count as common ones",
                      program, timeout_ms);
    if (status == STATUS_TOO_LARGE)
        return refuse(reason, status,
                      "%.100s tells more than %u bytes; Thunderbolt links count as common ones",
                      program, THUNDERBOLT_TEXT_SIZE_MAX);
    if (status == STATUS_OK && (!WIFEXITED(result) || WEXITSTATUS(result) != 0))
        return refuse(reason, STATUS_IO,
                      "%.100s failed (%s %d); Thunderbolt links count as common ones", program,
                      WIFEXITED(result) ? "exit code" : "signal",
                      WIFEXITED(result) ? WEXITSTATUS(result) : WTERMSIG(result));
    return status;
}

enum status thunderbolt_ask(const char *const *command, uint32_t timeout_ms,
                            struct thunderbolt_ports *ports_out, struct reason *reason)
{
    int ends[2];
    int result = 0;
    size_t size = 0;
    char *text = memory_zeroed(1, THUNDERBOLT_TEXT_SIZE_MAX + 1);
    if (!text)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for what %.100s tells", command[0]);
    if (pipe(ends) != 0) {
        memory_free(text);
        return refuse(reason, STATUS_IO, "cannot make a pipe: %s", strerror(errno));
    }
    const uint64_t deadline_ms = clock_now_ms() + timeout_ms;
    const pid_t child = fork();
    if (child == 0)
        run_program(command, ends);
    (void)close(ends[1]);
    enum status status = child > 0 ? read_all(ends[0], deadline_ms, text, &size) : STATUS_IO;
    (void)close(ends[0]);
    if (child > 0) {
        wait_end(child, status == STATUS_OK ? deadline_ms : 0, &result);
        status = say(status, command[0], timeout_ms, result, reason);
    } else {
        status = refuse(reason, status, "cannot start %.100s: %s", command[0], strerror(errno));
    }
    if (status == STATUS_OK)
        status = thunderbolt_parse(text, size, ports_out, reason);
    memory_free(text);
    return status;
}

enum status thunderbolt_here(struct thunderbolt_ports *ports_out, struct reason *reason)
{
    static const char *const command[] = {"/usr/sbin/system_profiler", "SPThunderboltDataType",
                                          "-json", NULL};
    ports_out->count = 0;
    if (access(command[0], X_OK) != 0)
        return STATUS_OK; /* no Mac */
    return thunderbolt_ask(command, THUNDERBOLT_ASK_MS, ports_out, reason);
}
