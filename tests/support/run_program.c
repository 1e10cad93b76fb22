/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/run_program.h"

#include "protocol/assert.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static size_t read_all(int source, char *text_out, size_t text_size)
{
    size_t used = 0;
    for (;;) {
        char rest[4096];
        ssize_t size = read(source, rest, sizeof(rest));
        if (size < 0 && errno == EINTR)
            continue;
        if (size <= 0)
            return used;
        size_t room = text_size - 1 - used;
        size_t kept = (size_t)size < room ? (size_t)size : room;
        memcpy(text_out + used, rest, kept);
        used += kept;
    }
}

static void print_comment(const char *text)
{
    for (const char *line = text; *line;) {
        size_t length = strcspn(line, "\n");
        printf("# %.*s\n", (int)length, line);
        line += length + (line[length] == '\n');
    }
    (void)fflush(stdout);
}

int run_program(const char *const *arguments, char *text_out, size_t text_size)
{
    int ends[2];
    char *copy[64];
    size_t count = 0;
    for (; arguments[count]; count++) {
        ASSERT(count + 1 < COUNT_OF(copy));
        memcpy(&copy[count], &arguments[count], sizeof(*copy));
    }
    copy[count] = NULL;
    ASSERT(pipe2(ends, O_CLOEXEC) == 0);
    (void)fflush(stdout);
    pid_t pid = fork();
    ASSERT(pid >= 0);
    if (pid == 0) {
        if (dup2(ends[1], STDOUT_FILENO) < 0 || dup2(ends[1], STDERR_FILENO) < 0)
            _exit(126);
        execv(copy[0], copy);
        _exit(127);
    }
    (void)close(ends[1]);
    text_out[read_all(ends[0], text_out, text_size)] = '\0';
    (void)close(ends[0]);
    int result = 0;
    while (waitpid(pid, &result, 0) < 0 && errno == EINTR)
        continue;
    print_comment(text_out);
    return WIFEXITED(result) ? WEXITSTATUS(result) : 256 + WTERMSIG(result);
}
