/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/spawn.h"

#include "runtime/clock.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* The children are shells: what is tested is what a process gets and how it ends. */

enum { PATIENCE_MS = 10000 };

static const char *const bare_environment[] = {"PATH=/usr/bin:/bin", NULL};

static struct child shell_spawn(const char *script, const char *directory)
{
    const char *const arguments[] = {"-c", script, NULL};
    const struct spawn_options options = {.program = "/bin/sh", .arguments = arguments,
                                          .environment = bare_environment,
                                          .directory = directory, .error_fd = -1, .output_fd = -1};
    struct child child;
    struct reason reason = {""};
    ck_assert_msg(child_spawn(&options, &child, &reason) == STATUS_OK, "%s", reason.text);
    return child;
}

static bool readable_soon(int fd)
{
    struct pollfd item = {.fd = fd, .events = POLLIN};
    int ready;
    do {
        ready = poll(&item, 1, PATIENCE_MS);
    } while (ready < 0 && errno == EINTR);
    return ready == 1;
}

static struct child_end ended(struct child *child)
{
    struct child_end end;
    ck_assert(readable_soon(child->death_fd));
    ck_assert(child_reap(child, &end));
    ck_assert(!child_reap(child, &end));
    return end;
}

/* Gone, or only waiting to be collected by init. */
static bool is_gone_soon(pid_t pid)
{
    uint64_t end_ms = clock_now_ms() + PATIENCE_MS;
    while (clock_now_ms() < end_ms) {
        char path[64];
        char line[256] = "";
        if (kill(pid, 0) != 0 && errno == ESRCH)
            return true;
        (void)snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
        FILE *file = fopen(path, "r");
        size_t size = file ? fread(line, 1, sizeof(line) - 1, file) : 0;
        if (file)
            (void)fclose(file);
        char *state = size > 0 ? strrchr(line, ')') : NULL;
        if (state && state[2] == 'Z')
            return true;
        clock_sleep_ms(2);
    }
    return false;
}

static pid_t pid_in(const char *path)
{
    uint64_t end_ms = clock_now_ms() + PATIENCE_MS;
    while (clock_now_ms() < end_ms) {
        char *text = access(path, R_OK) == 0 ? file_bytes(path, NULL) : NULL;
        long pid = text && strchr(text, '\n') ? strtol(text, NULL, 10) : 0;
        free(text);
        if (pid > 0)
            return (pid_t)pid;
        clock_sleep_ms(2);
    }
    return 0;
}

START_TEST(exit_code_and_signal_are_told)
{
    struct child child = shell_spawn("exit 7", NULL);
    struct child_end end = ended(&child);
    ck_assert_int_eq(end.exit_code, 7);
    ck_assert_int_eq(end.signal, 0);
    child_fini(&child);
    child = shell_spawn("kill -SEGV $$", NULL);
    end = ended(&child);
    ck_assert_int_eq(end.exit_code, -1);
    ck_assert_int_eq(end.signal, SIGSEGV);
    child_fini(&child);
}
END_TEST

START_TEST(ready_byte_is_told_once)
{
    struct child child = shell_spawn("echo >&$TROUPE_READY_FD; exec sleep 60", NULL);
    ck_assert(readable_soon(child.ready_fd));
    ck_assert(child_is_ready(&child));
    ck_assert(!child_is_ready(&child));
    child_stop(&child);
    ck_assert_int_eq(ended(&child).signal, SIGTERM);
    child_fini(&child);
}
END_TEST

START_TEST(death_before_ready_is_not_ready)
{
    struct child child = shell_spawn("exit 1", NULL);
    ck_assert(readable_soon(child.ready_fd));
    ck_assert(!child_is_ready(&child));
    ck_assert_int_eq(ended(&child).exit_code, 1);
    child_fini(&child);
}
END_TEST

START_TEST(beats_go_there_and_back)
{
    /* The channel does not block, so the shell looks again until the pings are there. */
    struct scratch scratch;
    scratch_open(&scratch);
    struct child child = shell_spawn("while ! dd bs=1 count=2 <&4 2>/dev/null >two || "
                                     "! test -s two; do sleep 0.01; done; cat two >&4; rm two; "
                                     "exec sleep 60", scratch.path);
    child_ping(&child);
    child_ping(&child);
    unsigned beats = 0;
    while (beats == 0 && readable_soon(child.beat_fd))
        beats = child_beats(&child);
    ck_assert_uint_ge(beats, 1);
    ck_assert_uint_le(beats, 2);
    child_kill(&child);
    (void)ended(&child);
    ck_assert(readable_soon(child.beat_fd));
    child_fini(&child);
    scratch_close(&scratch);
}
END_TEST

START_TEST(environment_and_descriptors_are_what_is_given)
{
    struct scratch scratch;
    char path[256];
    scratch_open(&scratch);
    int leaked = dup(STDERR_FILENO);
    ck_assert_int_ge(leaked, 0);
    ck_assert_int_eq(setenv("SECRET_OF_THE_PARENT", "x", 1), 0);
    struct child child = shell_spawn("env >env; ls /proc/$$/fd >fds; test \"$$\" = "
                                     "\"$(ps -o pgid= -p $$ | tr -d ' ')\"", scratch.path);
    ck_assert_int_eq(ended(&child).exit_code, 0);
    char *text = file_bytes(scratch_path(&scratch, "env", path), NULL);
    ck_assert_ptr_null(strstr(text, "SECRET_OF_THE_PARENT"));
    ck_assert_ptr_nonnull(strstr(text, "TROUPE_BEAT_FD=4"));
    free(text);
    text = file_bytes(scratch_path(&scratch, "fds", path), NULL);
    for (const char *line = text; *line; line += strcspn(line, "\n") + 1) {
        long fd = strtol(line, NULL, 10);
        /* 255 and 10 are where shells keep their script. */
        ck_assert_msg(fd <= 4 || fd == 10 || fd == 255, "descriptor %ld was inherited", fd);
    }
    free(text);
    child_fini(&child);
    (void)close(leaked);
    scratch_close(&scratch);
}
END_TEST

START_TEST(unknown_program_is_refused_by_name)
{
    const struct spawn_options options = {.program = "/nowhere/troupe-master", .error_fd = -1,
                                          .output_fd = -1};
    struct child child;
    struct reason reason = {""};
    ck_assert_int_eq(child_spawn(&options, &child, &reason), STATUS_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(reason.text, "/nowhere/troupe-master"));
}
END_TEST

START_TEST(kill_takes_the_whole_group)
{
    struct scratch scratch;
    char path[256];
    scratch_open(&scratch);
    struct child child = shell_spawn("sleep 600 & echo $! >pid.new; mv pid.new pid; wait",
                                     scratch.path);
    pid_t grandchild = pid_in(scratch_path(&scratch, "pid", path));
    ck_assert_int_gt(grandchild, 0);
    child_kill(&child);
    ck_assert_int_eq(ended(&child).signal, SIGKILL);
    ck_assert(is_gone_soon(grandchild));
    child_fini(&child);
    scratch_close(&scratch);
}
END_TEST

START_TEST(what_a_child_leaves_behind_is_killed)
{
    struct scratch scratch;
    char path[256];
    scratch_open(&scratch);
    struct child child = shell_spawn("sleep 600 & echo $! >pid.new; mv pid.new pid; exit 0",
                                     scratch.path);
    pid_t grandchild = pid_in(scratch_path(&scratch, "pid", path));
    ck_assert_int_gt(grandchild, 0);
    ck_assert_int_eq(ended(&child).exit_code, 0);
    ck_assert(is_gone_soon(grandchild));
    child_fini(&child);
    scratch_close(&scratch);
}
END_TEST

START_TEST(no_orphan_after_the_parent_is_killed)
{
    struct scratch scratch;
    char path[256];
    scratch_open(&scratch);
    pid_t parent = fork();
    ck_assert_int_ge(parent, 0);
    if (parent == 0) {
        (void)shell_spawn("echo $$ >pid.new; mv pid.new pid; exec sleep 600", scratch.path);
        for (;;)
            (void)pause();
    }
    pid_t child = pid_in(scratch_path(&scratch, "pid", path));
    ck_assert_int_gt(child, 0);
    ck_assert_int_eq(kill(parent, SIGKILL), 0);
    ck_assert_int_eq(waitpid(parent, NULL, 0), parent);
    ck_assert(is_gone_soon(child));
    scratch_close(&scratch);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("spawn");
    const TTest *const tests[] = {
        exit_code_and_signal_are_told,      ready_byte_is_told_once,
        death_before_ready_is_not_ready,    beats_go_there_and_back,
        environment_and_descriptors_are_what_is_given,
        unknown_program_is_refused_by_name, kill_takes_the_whole_group,
        what_a_child_leaves_behind_is_killed, no_orphan_after_the_parent_is_killed,
    };
    suite_add(suite, "children", tests, COUNT_OF(tests));
    return suite;
}
