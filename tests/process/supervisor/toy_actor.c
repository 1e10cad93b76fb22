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
 * It writes its pid to HOME/pid-NAME, that of its child to HOME/pid-NAME-child.
 */
#include "runtime/clock.h"
#include "runtime/spawn.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
    if (strcmp(order, "silent") != 0)
        ready_notify();
    serve(strcmp(order, "deaf") == 0);
    return 0;
}
