/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/mpi/run_world.h"

#include "tests/support/check_main.h"
#include "tests/support/run_program.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int run_world(const struct scratch *scratch, const char *options, int ranks,
                     const char *program, char *text_out, size_t text_size)
{
    char command[1024];
    const char *build = getenv("TROUPE_BUILD_DIR");
    ck_assert_ptr_nonnull(build);
    (void)snprintf(command, sizeof(command), "cd %s/tests/mpi && exec ./launch_world %s %d %s %s",
                   build, options, ranks, scratch->path, program);
    const char *const arguments[] = {"/bin/sh", "-c", command, NULL};
    return run_program(arguments, text_out, text_size);
}

int count_entries(const char *path, const char *word)
{
    DIR *stream = opendir(path);
    ck_assert_ptr_nonnull(stream);
    int count = 0;
    for (struct dirent *entry; (entry = readdir(stream)) != NULL;)
        if (strstr(entry->d_name, word))
            count++;
    (void)closedir(stream);
    return count;
}
