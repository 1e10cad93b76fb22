/* SPDX-License-Identifier: Apache-2.0 */
/*
 * toy_actor: stands for any actor in tests of the supervisor.
 *
 * Installed as troupe-NAME beside a copy of troupe-supervisor.  HOME/toy-NAME says what it does, in
 * one word and what follows it:
 *   serve           ready at once, answers pings, ends on SIGTERM (also without the file)
 *   silent          never ready
 *   deaf            serves, but not SIGTERM
 *   exit N TEXT     says TEXT and exits
 *   family          serves, and has a child that would outlive it
 *   trespass        tries what no actor may, says in HOME/run/trespass what came of it, and serves
 * It writes its pid to HOME/pid-NAME, that of its child to HOME/pid-NAME-child.
 */
#include "runtime/clock.h"
#include "runtime/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static volatile sig_atomic_t is_stopped;

static void on_term(int number)
{
    (void)number;
    is_stopped = 1;
}

static void pid_put(const char *name, const char *suffix, pid_t pid)
{
    char path[256];
    char beside[264];
    (void)snprintf(path, sizeof(path), "../pid-%s%s", name, suffix);
    (void)snprintf(beside, sizeof(beside), "%s.new", path);
    FILE *file = fopen(beside, "w");
    if (!file)
        exit(90);
    (void)fprintf(file, "%ld\n", (long)pid);
    (void)fclose(file);
    if (rename(beside, path) != 0)
        exit(91);
}

static void order_read(const char *name, char order_out[256])
{
    char path[256];
    (void)snprintf(path, sizeof(path), "../toy-%s", name);
    (void)snprintf(order_out, 256, "serve");
    FILE *file = fopen(path, "r");
    if (!file)
        return;
    if (fgets(order_out, 256, file))
        order_out[strcspn(order_out, "\n")] = '\0';
    (void)fclose(file);
}

static void serve(bool is_deaf)
{
    int beat_fd = beat_fd_inherited();
    while (!is_stopped || is_deaf) {
        struct pollfd item = {.fd = beat_fd, .events = POLLIN};
        char bytes[64];
        if (poll(&item, 1, 100) != 1)
            continue;
        ssize_t size = read(beat_fd, bytes, sizeof(bytes));
        if (size == 0)
            exit(92);
        if (size > 0 && write(beat_fd, bytes, (size_t)size) != size)
            exit(93);
    }
}

static void family_make(const char *name)
{
    pid_t pid = fork();
    if (pid == 0)
        for (;;)
            clock_sleep_ms(1000);
    pid_put(name, "-child", pid);
}

static void said(FILE *file, const char *what, long result)
{
    (void)fprintf(file, "%s %d\n", what, result < 0 ? errno : 0);
}

/* One line each: what was tried, and its errno or 0. */
static void trespass(void)
{
    FILE *file = fopen("trespass.new", "w");
    if (!file)
        exit(94);
    said(file, "filter", prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == 2 ? 0 : (errno = ENOSYS, -1));
    said(file, "landlock", syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, 1u));
    said(file, "write", open("/etc/troupe-trespass", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    said(file, "namespace", syscall(SYS_unshare, 0x10000000 /* CLONE_NEWUSER */));
    said(file, "packets", socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
    said(file, "trace", ptrace(PTRACE_TRACEME, 0, NULL, NULL));
    (void)fclose(file);
    (void)unlink("/etc/troupe-trespass");
    if (rename("trespass.new", "trespass") != 0)
        exit(95);
}

int main(int argc, char **argv)
{
    const char *slash = strrchr(argv[0], '/');
    const char *name = (slash ? slash + 1 : argv[0]) + strlen("troupe-");
    struct sigaction action = {.sa_handler = on_term};
    char order[256];
    (void)argc;
    (void)sigaction(SIGTERM, &action, NULL);
    pid_put(name, "", getpid());
    order_read(name, order);
    if (strncmp(order, "exit ", 5) == 0) {
        char *text = NULL;
        long code = strtol(order + 5, &text, 10);
        (void)fprintf(stderr, "%s:%s\n", name, text);
        return (int)code;
    }
    if (strcmp(order, "family") == 0)
        family_make(name);
    if (strcmp(order, "trespass") == 0)
        trespass();
    if (strcmp(order, "silent") != 0)
        ready_notify();
    serve(strcmp(order, "deaf") == 0);
    return 0;
}
