/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/supervisor/sweep.h"

#include "protocol/assert.h"
#include "runtime/clock.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WAIT_MS = 3000, LIST_MAX = 256 };

static const char list_name[] = "processes";

uint64_t process_started_at(pid_t pid)
{
    char path[64];
    char line[1024];
    (void)snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    size_t size = fread(line, 1, sizeof(line) - 1, file);
    (void)fclose(file);
    line[size] = '\0';
    /* The second field is the name in brackets and may hold anything; the start time is the 22nd,
     * the 20th after it.  A zombie holds nothing any more. */
    const char *at = strrchr(line, ')');
    if (!at || at[1] != ' ' || at[2] == 'Z')
        return 0;
    for (int field = 2; field < 22 && at; field++)
        at = strchr(at + 1, ' ');
    return at ? strtoull(at + 1, NULL, 10) : 0;
}

void sweep_list_write(const struct left_process *list, size_t count)
{
    char text[LIST_MAX * 48];
    size_t used = 0;
    for (size_t i = 0; i < count && used + 48 < sizeof(text); i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%ld %" PRIu64 "\n",
                                 (long)list[i].pid, list[i].started_at);
    int fd = open("processes.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    bool is_whole = write(fd, text, used) == (ssize_t)used;
    (void)close(fd);
    if (is_whole)
        (void)rename("processes.new", list_name);
}

static size_t list_read(struct left_process *list)
{
    char line[64];
    size_t count = 0;
    FILE *file = fopen(list_name, "re");
    if (!file)
        return 0;
    while (count < LIST_MAX && fgets(line, sizeof(line), file)) {
        char *rest = NULL;
        long pid = strtol(line, &rest, 10);
        if (pid > 1 && *rest == ' ')
            list[count++] =
                (struct left_process){(pid_t)pid, strtoull(rest + 1, NULL, 10)};
    }
    (void)fclose(file);
    return count;
}

static bool is_left(const struct left_process *process)
{
    return process->started_at != 0 && process_started_at(process->pid) == process->started_at;
}

static void processes_end(void)
{
    struct left_process list[LIST_MAX];
    size_t count = list_read(list);
    for (size_t i = 0; i < count; i++)
        if (is_left(&list[i]))
            (void)kill(-list[i].pid, SIGKILL);
    const uint64_t end_ms = clock_now_ms() + WAIT_MS;
    for (size_t i = 0; i < count; i++)
        while (is_left(&list[i]) && clock_now_ms() < end_ms)
            clock_sleep_ms(1);
}

static int remove_entry(const char *path, const struct stat *stat, int kind, struct FTW *walk)
{
    (void)stat;
    (void)kind;
    (void)walk;
    (void)remove(path);
    return 0;
}

void sweep_files(void)
{
    DIR *stream = opendir(".");
    if (!stream)
        return;
    for (struct dirent *entry; (entry = readdir(stream)) != NULL;) {
        struct stat found;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            lstat(entry->d_name, &found) != 0)
            continue;
        if (S_ISSOCK(found.st_mode))
            (void)unlink(entry->d_name);
        else if (S_ISDIR(found.st_mode))
            (void)nftw(entry->d_name, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    }
    (void)closedir(stream);
    (void)unlink(list_name);
}

void sweep_run(void)
{
    processes_end();
    sweep_files();
}
