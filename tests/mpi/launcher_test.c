/* SPDX-License-Identifier: Apache-2.0 */
/* Real launchers with real ranks: they meet, start, and nobody outlives anybody. */
#include "protocol/assert.h"
#include "runtime/clock.h"
#include "tests/mpi/run_world.h"
#include "tests/support/check_main.h"
#include "tests/support/run_program.h"
#include "tests/support/scratch.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Processes in whose environment the path stands: ranks know their PMIx directory. */
static int count_processes_of(const char *path)
{
    static char environment[65536];
    DIR *stream = opendir("/proc");
    ck_assert_ptr_nonnull(stream);
    int count = 0;
    for (struct dirent *entry; (entry = readdir(stream)) != NULL;) {
        char name[300];
        (void)snprintf(name, sizeof(name), "/proc/%s/environ", entry->d_name);
        int file = entry->d_name[0] >= '0' && entry->d_name[0] <= '9' ? open(name, O_RDONLY) : -1;
        if (file < 0)
            continue;
        ssize_t size = read(file, environment, sizeof(environment));
        (void)close(file);
        if (size > 0 && memmem(environment, (size_t)size, path, strlen(path)))
            count++;
    }
    (void)closedir(stream);
    return count;
}

/* Runs a world and expects that nothing of it is left; `text_out` has 8192 bytes. */
static void run_launchers(int ranks, const char *action, const char *mode, char *text_out)
{
    struct scratch scratch;
    char programs[3][512];
    char numbers[2][16];
    const char *build = getenv("TROUPE_BUILD_DIR");
    ck_assert_ptr_nonnull(build);
    scratch_open(&scratch);
    (void)snprintf(programs[0], sizeof(programs[0]), "%s/tests/mpi/launcher_world", build);
    (void)snprintf(programs[1], sizeof(programs[1]), "%s/actors/launcher/troupe-launcher", build);
    (void)snprintf(programs[2], sizeof(programs[2]), "%s/tests/mpi/collective_rank", build);
    (void)snprintf(numbers[0], sizeof(numbers[0]), "%d", ranks);
    (void)snprintf(numbers[1], sizeof(numbers[1]), "%d", ranks);
    const char *const arguments[] = {programs[0], numbers[0],  scratch.path, programs[1], action,
                                     programs[2], mode,        numbers[1],   "mark",
                                     NULL};
    uint64_t start_ms = clock_now_ms();
    int code = run_program(arguments, text_out, 8192);
    uint64_t took_ms = clock_now_ms() - start_ms;
    printf("# took %d ms\n", (int)took_ms);
    ck_assert_int_eq(code, 0);
    ck_assert_int_eq(count_processes_of(scratch.path), 0);
    for (int rank = 0; rank < ranks; rank++) {
        char home[256];
        char name[16];
        (void)snprintf(name, sizeof(name), "node%d", rank);
        /* A launcher that was killed leaves its directory to the next one of its node. */
        bool was_killed = strstr(text_out, "signal 9") && rank == ranks - 1 &&
                          (strcmp(action, "kill-launcher") == 0 || strcmp(action, "freeze") == 0);
        ck_assert_int_eq(count_entries(scratch_path(&scratch, name, home), "mpi-"), was_killed);
    }
    scratch_close(&scratch);
}

/* These ranks never report that they joined, so all their work falls under the limit for joining:
 * the long checks of the collectives are world_test's. */
START_TEST(two_launchers_run_two_ranks_to_their_end)
{
    char text[8192];
    run_launchers(2, "none", "once", text);
    ck_assert_ptr_nonnull(strstr(text, "launcher 0 ended with code 0 signal 0"));
    ck_assert_ptr_nonnull(strstr(text, "launcher 1 ended with code 0 signal 0"));
}
END_TEST

START_TEST(a_device_that_is_not_there_ends_the_start)
{
    char text[8192];
    run_launchers(2, "rdma", "once", text);
    ck_assert_ptr_nonnull(strstr(text, "reported rank 0"));
    ck_assert_ptr_null(strstr(text, "ended with code 0 signal 0"));
}
END_TEST

START_TEST(three_launchers_run_three_ranks_to_their_end)
{
    char text[8192];
    run_launchers(3, "none", "once", text);
    for (int rank = 0; rank < 3; rank++) {
        char wanted[64];
        (void)snprintf(wanted, sizeof(wanted), "launcher %d ended with code 0 signal 0", rank);
        ck_assert_ptr_nonnull(strstr(text, wanted));
    }
}
END_TEST

START_TEST(a_rank_that_dies_takes_the_others_with_it_at_once)
{
    char text[8192];
    /* By their siblings' word, not because a launcher was missed for two seconds. */
    run_launchers(3, "none", "leave", text);
    ck_assert_ptr_nonnull(strstr(text, "reported rank 0 code 7 signal 0"));
    ck_assert_ptr_nonnull(strstr(text, "reported rank 1 code 255 signal 9: rank 0 ended"));
    ck_assert_ptr_nonnull(strstr(text, "launcher 0 ended with code 7"));
}
END_TEST

START_TEST(the_rank_of_a_killed_launcher_dies_and_the_others_follow)
{
    char text[8192];
    run_launchers(2, "kill-launcher", "loop", text);
    ck_assert_ptr_nonnull(strstr(text, "launcher 1 ended with code -1 signal 9"));
    ck_assert_ptr_nonnull(strstr(text, "the launcher of rank 1 was not heard for 2000 ms"));
    ck_assert_ptr_nonnull(strstr(text, "launcher 0 ended with code 70"));
}
END_TEST

START_TEST(a_silent_launcher_is_a_lost_one)
{
    char text[8192];
    run_launchers(2, "freeze", "loop", text);
    ck_assert_ptr_nonnull(strstr(text, "the launcher of rank 1 was not heard for 2000 ms"));
}
END_TEST

START_TEST(an_address_that_leads_to_another_is_named)
{
    char text[8192];
    run_launchers(2, "decoy", "loop", text);
    ck_assert_ptr_nonnull(strstr(text, "reported rank 0 code 255 signal 0: the launcher of rank 1 "
                                       "was not reached at tcp://127.0.0.1:"));
    ck_assert_ptr_nonnull(strstr(text, "launcher 0 ended with code 70"));
    ck_assert_ptr_nonnull(strstr(text, "launcher 1 ended with code 70"));
}
END_TEST

START_TEST(a_generation_that_is_over_ends)
{
    char text[8192];
    run_launchers(2, "delete", "loop", text);
    ck_assert_ptr_nonnull(strstr(text, "the generation is over"));
}
END_TEST

START_TEST(stop_stops_the_rank_first)
{
    char text[8192];
    run_launchers(2, "stop", "loop", text);
    ck_assert_ptr_nonnull(strstr(text, "launcher 0 ended with code 0 signal 0"));
    ck_assert_ptr_nonnull(strstr(text, "launcher 1 ended with code 0 signal 0"));
    ck_assert_ptr_nonnull(strstr(text, "the launcher was told to stop"));
}
END_TEST

START_TEST(a_wrong_command_line_is_refused_by_name)
{
    char text[8192];
    char program[512];
    (void)snprintf(program, sizeof(program), "%s/actors/launcher/troupe-launcher",
                   getenv("TROUPE_BUILD_DIR"));
    const char *const wrong[] = {program, "--rank", "many", "--", "x", NULL};
    ck_assert_int_eq(run_program(wrong, text, sizeof(text)), 64);
    ck_assert_ptr_nonnull(strstr(text, "--rank many is no option"));
    const char *const lacking[] = {program, "--rank", "1", "--", "x", NULL};
    ck_assert_int_eq(run_program(lacking, text, sizeof(text)), 64);
    ck_assert_ptr_nonnull(strstr(text, "--instance is missing"));
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("launcher");
    const TTest *const tests[] = {two_launchers_run_two_ranks_to_their_end,
                                  a_device_that_is_not_there_ends_the_start,
                                  three_launchers_run_three_ranks_to_their_end,
                                  a_rank_that_dies_takes_the_others_with_it_at_once,
                                  the_rank_of_a_killed_launcher_dies_and_the_others_follow,
                                  a_silent_launcher_is_a_lost_one,
                                  an_address_that_leads_to_another_is_named,
                                  a_generation_that_is_over_ends,
                                  stop_stops_the_rank_first,
                                  a_wrong_command_line_is_refused_by_name};
    suite_add(suite, "launcher", tests, COUNT_OF(tests));
    return suite;
}
