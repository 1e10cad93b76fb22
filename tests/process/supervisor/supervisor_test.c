/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/clock.h"
#include "runtime/rights.h"
#include "runtime/spawn.h"
#include "tests/support/check_main.h"
#include "tests/support/run_program.h"
#include "tests/support/scratch.h"

#include "protocol/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* The real supervisor over toy actors (toy_actor.c) in a directory of their own. */

enum { PATIENCE_MS = 20000, ORPHAN_MS = 1000 };

static const char *const actors[] = {"master", "planner", "downloader", "transferer", "gateway"};

static struct scratch scratch;
static char home_flag[300];

static const char *in_scratch(const char *name)
{
    static char paths[4][256];
    static unsigned turn;
    return scratch_path(&scratch, name, paths[turn++ % COUNT_OF(paths)]);
}

static void program_put(const char *from, const char *name)
{
    char source[512];
    char target[64];
    size_t size = 0;
    (void)snprintf(source, sizeof(source), "%s/%s", getenv("TROUPE_BUILD_DIR"), from);
    (void)snprintf(target, sizeof(target), "bin/%s", name);
    const char *path = in_scratch(target);
    if (link(source, path) == 0)
        return;
    char *bytes = file_bytes(source, &size);
    file_put(path, bytes, size);
    memory_free(bytes);
    ck_assert_int_eq(chmod(path, 0700), 0);
}

static void node_open(void)
{
    scratch_open(&scratch);
    ck_assert_int_eq(mkdir(in_scratch("bin"), 0700), 0);
    ck_assert_int_eq(mkdir(in_scratch("home"), 0700), 0);
    /* Not the cache of the user who runs the test. */
    ck_assert_int_eq(setenv("HF_HUB_CACHE", in_scratch("hub"), 1), 0);
    program_put("actors/supervisor/troupe-supervisor", "troupe-supervisor");
    program_put("runtime/tools/troupe", "troupe");
    for (size_t i = 0; i < COUNT_OF(actors); i++) {
        char name[64];
        (void)snprintf(name, sizeof(name), "troupe-%s", actors[i]);
        program_put("tests/process/toy-actor", name);
    }
    (void)snprintf(home_flag, sizeof(home_flag), "--home=%s", in_scratch("home"));
}

static void order(const char *actor, const char *text)
{
    char name[64];
    (void)snprintf(name, sizeof(name), "home/toy-%s", actor);
    file_put(in_scratch(name), text, strlen(text));
}

static struct child supervisor_spawn(const char *flag1, const char *flag2, int error_fd)
{
    const char *const arguments[] = {home_flag, flag1, flag2, NULL};
    const char *const environment[] = {"PATH=/usr/bin:/bin", "LANG=C.UTF-8", "SECRET=1", NULL};
    const struct spawn_options options = {.program = in_scratch("bin/troupe-supervisor"),
                                          .arguments = arguments,
                                          .environment = environment,
                                          .error_fd = error_fd,
                                          .output_fd = -1};
    struct child child;
    struct reason reason = {""};
    ck_assert_msg(child_spawn(&options, &child, &reason) == STATUS_OK, "%s", reason.text);
    return child;
}

static bool readable_within(int fd, int wait_ms)
{
    struct pollfd item = {.fd = fd, .events = POLLIN};
    int ready;
    do {
        ready = poll(&item, 1, wait_ms);
    } while (ready < 0 && errno == EINTR);
    return ready == 1;
}

static struct child node_start(const char *flag1, const char *flag2)
{
    struct child child = supervisor_spawn(flag1, flag2, -1);
    ck_assert(readable_within(child.ready_fd, PATIENCE_MS));
    ck_assert(child_is_ready(&child));
    return child;
}

static struct child_end ended(struct child *child)
{
    struct child_end end;
    ck_assert(readable_within(child->death_fd, PATIENCE_MS));
    ck_assert(child_reap(child, &end));
    child_fini(child);
    return end;
}

/* Processes that live and run a program of the scratch directory. */
static unsigned processes(void)
{
    unsigned count = 0;
    DIR *stream = opendir("/proc");
    ck_assert_ptr_nonnull(stream);
    for (struct dirent *entry; (entry = readdir(stream)) != NULL;) {
        char path[300];
        char target[512];
        (void)snprintf(path, sizeof(path), "/proc/%.200s/exe", entry->d_name);
        ssize_t size = readlink(path, target, sizeof(target) - 1);
        target[size > 0 ? size : 0] = '\0';
        count += strncmp(target, scratch.path, strlen(scratch.path)) == 0;
    }
    (void)closedir(stream);
    return count;
}

static bool all_gone_within(uint64_t wait_ms)
{
    const uint64_t end_ms = clock_now_ms() + wait_ms;
    while (processes() > 0) {
        if (clock_now_ms() > end_ms)
            return false;
        clock_sleep_ms(2);
    }
    return true;
}

static unsigned entries(const char *path)
{
    unsigned count = 0;
    DIR *stream = opendir(path);
    ck_assert_ptr_nonnull(stream);
    while (readdir(stream) != NULL)
        count++;
    (void)closedir(stream);
    return count - 2;
}

static void node_close(void)
{
    ck_assert(all_gone_within(PATIENCE_MS));
    scratch_close(&scratch);
}

static void node_stop(struct child *child)
{
    child_stop(child);
    ck_assert_int_eq(ended(child).exit_code, 0);
    ck_assert_uint_eq(processes(), 0);
}

static pid_t pid_of(const char *name)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "home/pid-%s", name);
    const char *whole = in_scratch(path);
    if (access(whole, R_OK) != 0)
        return 0;
    char *text = file_bytes(whole, NULL);
    long pid = strtol(text, NULL, 10);
    memory_free(text);
    return (pid_t)pid;
}

static pid_t pid_after(const char *name, pid_t before)
{
    const uint64_t end_ms = clock_now_ms() + PATIENCE_MS;
    while (clock_now_ms() < end_ms) {
        pid_t pid = pid_of(name);
        if (pid != before && pid != 0)
            return pid;
        clock_sleep_ms(2);
    }
    ck_abort_msg("%s was not started again", name);
}

START_TEST(stopping_leaves_nothing)
{
    node_open();
    const unsigned shared = entries("/dev/shm");
    struct child child = node_start(NULL, NULL);
    ck_assert_uint_eq(processes(), 6);
    ck_assert_uint_ne(entries(in_scratch("home/run")), 0);
    node_stop(&child);
    ck_assert_uint_eq(entries(in_scratch("home/run")), 0);
    ck_assert_uint_eq(entries("/dev/shm"), shared);
    node_close();
}
END_TEST

START_TEST(killing_the_supervisor_leaves_no_process)
{
    node_open();
    for (unsigned i = 0; i < 5; i++) {
        struct child child = node_start(NULL, NULL);
        ck_assert_int_eq(kill(child.pid, SIGKILL), 0);
        ck_assert(all_gone_within(ORPHAN_MS));
        ck_assert_int_eq(ended(&child).signal, SIGKILL);
    }
    node_close();
}
END_TEST

START_TEST(each_killed_actor_comes_back)
{
    node_open();
    struct child child = node_start(NULL, NULL);
    for (size_t i = 0; i < COUNT_OF(actors); i++) {
        pid_t before = pid_of(actors[i]);
        ck_assert_int_eq(kill(before, SIGKILL), 0);
        ck_assert_int_gt(pid_after(actors[i], before), 0);
    }
    node_stop(&child);
    node_close();
}
END_TEST

START_TEST(a_killed_actor_takes_its_children_along)
{
    node_open();
    order("downloader", "family");
    struct child child = node_start(NULL, NULL);
    ck_assert_uint_eq(processes(), 7);
    pid_t before = pid_of("downloader");
    pid_t orphan = pid_of("downloader-child");
    ck_assert_int_eq(kill(before, SIGKILL), 0);
    ck_assert_int_gt(pid_after("downloader-child", orphan), 0);
    ck_assert_uint_eq(processes(), 7);
    node_stop(&child);
    node_close();
}
END_TEST

START_TEST(a_hanging_actor_is_replaced)
{
    node_open();
    struct child child = node_start("--hang_ms=600", "--ping_ms=50");
    for (size_t i = 0; i < COUNT_OF(actors); i += 2) {
        pid_t before = pid_of(actors[i]);
        ck_assert_int_eq(kill(before, SIGSTOP), 0);
        ck_assert_int_gt(pid_after(actors[i], before), 0);
    }
    node_stop(&child);
    node_close();
}
END_TEST

START_TEST(an_actor_that_will_not_stop_is_killed)
{
    node_open();
    order("planner", "deaf");
    struct child child = node_start(NULL, NULL);
    node_stop(&child);
    node_close();
}
END_TEST

/* Starts, expects the end, and returns what it said. */
static char *failing_start(int *exit_code_out)
{
    const char *path = in_scratch("said");
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    struct child child = supervisor_spawn("--backoff_min_ms=1", "--backoff_max_ms=1", fd);
    *exit_code_out = ended(&child).exit_code;
    (void)close(fd);
    return file_bytes(path, NULL);
}

static const char *last_line(char *text)
{
    size_t length = strlen(text);
    ck_assert_uint_gt(length, 0);
    text[length - 1] = '\0';
    const char *end = strrchr(text, '\n');
    return end ? end + 1 : text;
}

START_TEST(a_wrong_setting_ends_the_node_with_its_reason)
{
    int exit_code = 0;
    node_open();
    order("gateway", "exit 78 port 1 may not be used; choose another");
    char *said = failing_start(&exit_code);
    ck_assert_int_eq(exit_code, 78);
    ck_assert_str_eq(last_line(said),
                     "supervisor: gateway: port 1 may not be used; choose another");
    memory_free(said);
    node_close();
}
END_TEST

START_TEST(an_actor_that_keeps_dying_ends_the_node)
{
    int exit_code = 0;
    node_open();
    order("transferer", "exit 3 no luck");
    char *said = failing_start(&exit_code);
    ck_assert_int_eq(exit_code, 1);
    ck_assert_ptr_nonnull(strstr(last_line(said), "died 5 times within 60 s"));
    memory_free(said);
    node_close();
}
END_TEST

START_TEST(a_missing_program_is_named)
{
    int exit_code = 0;
    node_open();
    ck_assert_int_eq(unlink(in_scratch("bin/troupe-downloader")), 0);
    char *said = failing_start(&exit_code);
    ck_assert_int_eq(exit_code, 78);
    ck_assert_ptr_nonnull(strstr(last_line(said), "troupe-downloader is missing"));
    memory_free(said);
    node_close();
}
END_TEST

START_TEST(what_a_killed_one_left_is_swept)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    node_open();
    struct child child = node_start(NULL, NULL);
    ck_assert_int_eq(kill(child.pid, SIGKILL), 0);
    ck_assert_int_eq(ended(&child).signal, SIGKILL);
    ck_assert_int_eq(mkdir(in_scratch("home/run/mpi-1"), 0700), 0);
    file_put(in_scratch("home/run/mpi-1/owner.lock"), "", 0);
    file_put(in_scratch("home/run/join.token"), "x", 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s",
                   in_scratch("home/run/old.sock"));
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)(const void *)&address, sizeof(address)),
                     0);
    (void)close(fd);
    child = node_start(NULL, NULL);
    ck_assert_int_ne(access(in_scratch("home/run/mpi-1"), F_OK), 0);
    ck_assert_int_ne(access(in_scratch("home/run/old.sock"), F_OK), 0);
    ck_assert_int_eq(access(in_scratch("home/run/join.token"), F_OK), 0);
    node_stop(&child);
    node_close();
}
END_TEST

START_TEST(children_get_what_they_need_and_no_more)
{
    static const char *const allowed[] = {"PATH=", "LANG=", "TROUPE_INCARNATION=",
                                          "TROUPE_READY_FD=", "TROUPE_BEAT_FD="};
    char path[64];
    char text[4096] = "";
    node_open();
    struct child child = node_start("--ping_ms=777", NULL);
    (void)snprintf(path, sizeof(path), "/proc/%ld/environ", (long)pid_of("planner"));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = read(fd, text, sizeof(text) - 1);
    (void)close(fd);
    ck_assert_int_gt(size, 0);
    for (const char *at = text; at < text + size; at += strlen(at) + 1) {
        bool is_allowed = false;
        for (size_t i = 0; i < COUNT_OF(allowed); i++)
            is_allowed = is_allowed || strncmp(at, allowed[i], strlen(allowed[i])) == 0;
        ck_assert_msg(is_allowed, "%s", at);
    }
    (void)snprintf(path, sizeof(path), "/proc/%ld/cmdline", (long)pid_of("planner"));
    fd = open(path, O_RDONLY | O_CLOEXEC);
    size = read(fd, text, sizeof(text) - 1);
    (void)close(fd);
    text[size > 0 ? size : 0] = '\0';
    const char *flag = text + strlen(text) + 1;
    ck_assert_str_eq(flag, home_flag);
    ck_assert_str_eq(flag + strlen(flag) + 1, "--ping_ms=777");
    node_stop(&child);
    node_close();
}
END_TEST

static int trespass_result(const char *text, const char *what)
{
    const char *line = strstr(text, what);
    ck_assert_msg(line != NULL, "no %s in: %s", what, text);
    return (int)strtol(line + strlen(what), NULL, 10);
}

/* Whatever a process would do, it and all it starts have only what the supervisor kept. */
START_TEST(a_trespass_is_refused)
{
    size_t size = 0;
    node_open();
    order("gateway", "trespass");
    struct child child = node_start(NULL, NULL);
    char *text = file_bytes(in_scratch("home/run/trespass"), &size);
    const bool has_filter = trespass_result(text, "filter ") == 0;
    const bool has_landlock = trespass_result(text, "landlock ") == 0;
    ck_assert_msg(has_filter || RIGHTS_UNDER_SANITIZER || prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0,
                  "no filter: %s", text);
    if (has_landlock)
        ck_assert_int_eq(trespass_result(text, "write "), EACCES);
    if (has_filter) {
        ck_assert_int_eq(trespass_result(text, "namespace "), EPERM);
        ck_assert_int_eq(trespass_result(text, "packets "), EAFNOSUPPORT);
        ck_assert_int_eq(trespass_result(text, "trace "), EPERM);
    }
    memory_free(text);
    node_stop(&child);
    node_close();
}
END_TEST

/* ---- troupe up, troupe stop ---- */

static int troupe(const char *command, const char *flag, char *text_out, size_t text_size)
{
    const char *const arguments[] = {in_scratch("bin/troupe"), command, home_flag, flag, NULL};
    return run_program(arguments, text_out, text_size);
}

START_TEST(up_and_stop)
{
    char text[4096];
    node_open();
    ck_assert_int_eq(troupe("stop", NULL, text, sizeof(text)), 3);
    ck_assert_ptr_nonnull(strstr(text, "no node runs"));
    ck_assert_int_eq(troupe("up", NULL, text, sizeof(text)), 0);
    ck_assert_ptr_nonnull(strstr(text, "is ready after"));
    ck_assert_uint_eq(processes(), 6);
    ck_assert_int_eq(troupe("up", NULL, text, sizeof(text)), 1);
    ck_assert_ptr_nonnull(strstr(text, "runs in"));
    ck_assert_uint_eq(processes(), 6);
    /* Past the command line as well: the supervisor itself refuses. */
    const char *const arguments[] = {in_scratch("bin/troupe-supervisor"), home_flag, NULL};
    ck_assert_int_eq(run_program(arguments, text, sizeof(text)), 1);
    ck_assert_ptr_nonnull(strstr(text, "runs in"));
    ck_assert_int_eq(troupe("stop", "--json", text, sizeof(text)), 0);
    ck_assert_ptr_nonnull(strstr(text, "\"stopped\": true"));
    ck_assert_uint_eq(processes(), 0);
    node_close();
}
END_TEST

START_TEST(up_says_why_it_failed)
{
    char text[4096];
    node_open();
    order("master", "exit 78 the log is damaged at 17; repair it");
    ck_assert_int_eq(troupe("up", NULL, text, sizeof(text)), 78);
    ck_assert_ptr_nonnull(strstr(text, "troupe up: master: the log is damaged at 17; repair it"));
    ck_assert_int_eq(troupe("up", "--no-such-thing=1", text, sizeof(text)), 2);
    node_close();
}
END_TEST

START_TEST(the_log_file_is_bounded)
{
    char text[4096];
    const size_t size = 5u << 20;
    node_open();
    char *lines = memory_zeroed(1, size);
    memset(lines, '\n', size);
    file_put(in_scratch("home/supervisor.log"), lines, size);
    memory_free(lines);
    ck_assert_int_eq(troupe("up", NULL, text, sizeof(text)), 0);
    ck_assert_int_eq(troupe("stop", NULL, text, sizeof(text)), 0);
    struct stat found;
    ck_assert_int_eq(stat(in_scratch("home/supervisor.log.1"), &found), 0);
    ck_assert_int_ge(found.st_size, (off_t)size);
    ck_assert_int_eq(stat(in_scratch("home/supervisor.log"), &found), 0);
    ck_assert_int_lt(found.st_size, 4096);
    node_close();
}
END_TEST

Suite *suite_of_tests(void)
{
    const TTest *const ends[] = {stopping_leaves_nothing,
                                 killing_the_supervisor_leaves_no_process,
                                 each_killed_actor_comes_back,
                                 a_killed_actor_takes_its_children_along,
                                 a_hanging_actor_is_replaced,
                                 an_actor_that_will_not_stop_is_killed};
    const TTest *const refusals[] = {a_wrong_setting_ends_the_node_with_its_reason,
                                     an_actor_that_keeps_dying_ends_the_node,
                                     a_missing_program_is_named};
    const TTest *const places[] = {what_a_killed_one_left_is_swept,
                                   children_get_what_they_need_and_no_more,
                                   a_trespass_is_refused};
    const TTest *const commands[] = {up_and_stop, up_says_why_it_failed, the_log_file_is_bounded};
    Suite *suite = suite_create("supervisor-process");
    suite_add(suite, "ends", ends, COUNT_OF(ends));
    suite_add(suite, "refusals", refusals, COUNT_OF(refusals));
    suite_add(suite, "places", places, COUNT_OF(places));
    suite_add(suite, "commands", commands, COUNT_OF(commands));
    return suite;
}
