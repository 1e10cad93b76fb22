/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/weight_faults.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WATCHED_MAX 8u

static const struct weight_files *_Atomic watched[WATCHED_MAX];

static void say(const char *text)
{
    ssize_t written = write(STDERR_FILENO, text, strlen(text));
    (void)written;
}

static void on_fault(int number, siginfo_t *fault, void *context)
{
    (void)context;
    for (size_t i = 0; i < WATCHED_MAX; i++) {
        const char *name = weight_files_at(atomic_load(&watched[i]), fault->si_addr);
        if (!name)
            continue;
        say(name);
        say(" became shorter while it was in use; take the model in again\n");
        _exit(EXIT_FAILURE);
    }
    /* Not ours: the access is repeated and ends the process as it always did. */
    (void)signal(number, SIG_DFL);
}

void weight_faults_watch(const struct weight_files *files)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = (int)SA_SIGINFO};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGBUS, &action, NULL);
    for (size_t i = 0; i < WATCHED_MAX; i++) {
        const struct weight_files *none = NULL;
        if (atomic_compare_exchange_strong(&watched[i], &none, files))
            return;
    }
}

void weight_faults_forget(const struct weight_files *files)
{
    for (size_t i = 0; i < WATCHED_MAX; i++) {
        const struct weight_files *own = files;
        (void)atomic_compare_exchange_strong(&watched[i], &own, NULL);
    }
}
