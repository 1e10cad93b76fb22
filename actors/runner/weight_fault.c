/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/weight_fault.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define EXIT_FAULT 1

static const struct weight_files *_Atomic watched[WEIGHT_FAULT_FILES_MAX];

static void put_text(char *line, size_t size, size_t *used, const char *text)
{
    while (*text && *used + 1 < size)
        line[(*used)++] = *text++;
}

static void take_fault(int number, siginfo_t *fault, void *context)
{
    char line[512];
    size_t used = 0;
    const char *name = NULL;
    (void)context;
    for (size_t i = 0; i < WEIGHT_FAULT_FILES_MAX && !name; i++) {
        const struct weight_files *files = atomic_load(&watched[i]);
        if (files)
            name = weight_files_at(files, fault->si_addr);
    }
    if (!name) { /* not ours: the default end, with its core, when the touch is repeated */
        (void)signal(number, SIG_DFL);
        return;
    }
    put_text(line, sizeof(line), &used, "the weight file ");
    put_text(line, sizeof(line), &used, name);
    put_text(line, sizeof(line), &used,
             " shrank or could not be read while it was in use; repair the disk or add the model "
             "again");
    line[used++] = '\n';
    (void)!write(STDERR_FILENO, line, used);
    _exit(EXIT_FAULT);
}

enum status weight_fault_install(struct reason *reason)
{
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_sigaction = take_fault;
    action.sa_flags = SA_SIGINFO;
    (void)sigemptyset(&action.sa_mask);
    if (sigaction(SIGBUS, &action, NULL) != 0)
        return refuse(reason, STATUS_INTERNAL, "the system takes no handler of SIGBUS");
    return STATUS_OK;
}

void weight_fault_watch(const struct weight_files *files)
{
    for (size_t i = 0; i < WEIGHT_FAULT_FILES_MAX; i++) {
        const struct weight_files *none = NULL;
        if (atomic_compare_exchange_strong(&watched[i], &none, files))
            return;
    }
}

void weight_fault_forget(const struct weight_files *files)
{
    for (size_t i = 0; files && i < WEIGHT_FAULT_FILES_MAX; i++) {
        const struct weight_files *present = files;
        (void)atomic_compare_exchange_strong(&watched[i], &present, NULL);
    }
}
