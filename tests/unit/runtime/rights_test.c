/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/rights.h"

#include "actors/actors.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Each try is made by a process of its own that has kept its rights: 0 when it succeeded, else the
 * errno. */

static struct scratch scratch;
static struct paths paths;
static char key_file[256];
static char more[256];      /* setting model_directories */
static char temporary[256]; /* TMPDIR of the tries: files of MPI lie below it */
static struct rights_kept kept_here; /* by this kernel and build */

typedef int try_made(const char *path);

struct attempt {
    const char *words;
    try_made *make;
    const char *path;
    bool is_debuggable;
};

static int result_of(bool is_good)
{
    return is_good ? 0 : errno;
}

static int in_process(const struct attempt *attempt, struct rights_kept *kept_out)
{
    int status = 0;
    int pipe_fds[2];
    ck_assert_int_eq(pipe(pipe_fds), 0);
    const pid_t pid = fork();
    if (pid == 0) {
        struct reason reason = {""};
        const struct rights_places places = {
            .paths = &paths, .key_file = key_file, .is_debuggable = attempt->is_debuggable};
        struct rights_kept kept;
        (void)setenv("TMPDIR", temporary, 1);
        if (rights_keep(attempt->words, &places, &kept, &reason) != STATUS_OK ||
            write(pipe_fds[1], &kept, sizeof(kept)) != (ssize_t)sizeof(kept))
            _exit(255);
        _exit(attempt->make ? attempt->make(attempt->path) : 0);
    }
    ck_assert(pid > 0);
    (void)close(pipe_fds[1]);
    struct rights_kept kept = {0, false};
    ck_assert_int_eq(read(pipe_fds[0], &kept, sizeof(kept)), sizeof(kept));
    (void)close(pipe_fds[0]);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status), "killed by signal %d", WTERMSIG(status));
    if (kept_out)
        *kept_out = kept;
    return WEXITSTATUS(status);
}

static int try_with(const char *words, try_made *make, const char *path)
{
    const struct attempt attempt = {words, make, path, false};
    return in_process(&attempt, NULL);
}

static void home_open(void)
{
    char path[256];
    struct reason reason = {""};
    scratch_open(&scratch);
    (void)scratch_path(&scratch, "keys", key_file);
    file_put(key_file, "key\n", 4);
    ck_assert_int_eq(mkdir(scratch_path(&scratch, "temporary", temporary), 0700), 0);
    char store[256];
    (void)scratch_path(&scratch, "hub", store);
    ck_assert_int_eq(paths_init(&paths, scratch_path(&scratch, "home", path), store, &reason),
                     STATUS_OK);
    ck_assert_int_eq(mkdir(scratch_path(&scratch, "more", more), 0700), 0);
    (void)snprintf(path, sizeof(path), "/nonexistent:%.200s", more);
    ck_assert_int_eq(paths_set_directories(&paths, path, &reason), STATUS_OK);
    (void)snprintf(path, sizeof(path), "%.200s/config.json", more);
    file_put(path, "{}", 2);
    ck_assert_msg(paths_make(&paths, &reason) == STATUS_OK, "%s", reason.text);
    (void)snprintf(path, sizeof(path), "%.200s/secret", paths.identity);
    file_put(path, "s", 1);
    const struct attempt nothing = {"", NULL, NULL, false};
    ck_assert_int_eq(in_process(&nothing, &kept_here), 0);
}

static void home_close(void)
{
    scratch_close(&scratch);
}

/* ---- what is tried ---- */

static int try_write(const char *directory)
{
    char path[PATH_SIZE + 64];
    (void)snprintf(path, sizeof(path), "%s/written", directory);
    const int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    return result_of(fd >= 0 && close(fd) == 0 && unlink(path) == 0);
}

static int try_read(const char *path)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    return result_of(fd >= 0 && close(fd) == 0);
}

static int try_fork(const char *path)
{
    (void)path;
    const pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    return result_of(pid > 0 && waitpid(pid, NULL, 0) == pid);
}

static int try_execute(const char *path)
{
    char *arguments[] = {(char[]){"true"}, NULL};
    (void)execv(path, arguments);
    return errno;
}

static void *thread_run(void *argument)
{
    *(int *)argument = 1;
    return NULL;
}

static int try_thread(const char *path)
{
    pthread_t thread;
    int has_run = 0;
    (void)path;
    const int error = pthread_create(&thread, NULL, thread_run, &has_run);
    if (error != 0)
        return error;
    (void)pthread_join(thread, NULL);
    return has_run ? 0 : EIO;
}

static int try_trace(const char *path)
{
    (void)path;
    return result_of(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
}

static int try_socket(int family, int type)
{
    const int fd = socket(family, type | SOCK_CLOEXEC, 0);
    return result_of(fd >= 0 && close(fd) == 0);
}

static int try_packets(const char *path)
{
    (void)path;
    return try_socket(AF_PACKET, SOCK_RAW);
}

static int try_internet(const char *path)
{
    (void)path;
    return try_socket(AF_INET, SOCK_STREAM);
}

static int try_unix(const char *path)
{
    (void)path;
    return try_socket(AF_UNIX, SOCK_STREAM);
}

static int try_bind(const char *path)
{
    const struct sockaddr_in any = {.sin_family = AF_INET,
                                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    (void)path;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return result_of(fd >= 0 && bind(fd, (const struct sockaddr *)&any, sizeof(any)) == 0 &&
                     listen(fd, 1) == 0);
}

/* Nobody listens on port 1: to be refused by the other side is a connection tried. */
static int try_connect(const char *path)
{
    const struct sockaddr_in there = {.sin_family = AF_INET,
                                      .sin_port = htons(1),
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    (void)path;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    const int result =
        result_of(connect(fd, (const struct sockaddr *)&there, sizeof(there)) == 0);
    return result == ECONNREFUSED ? 0 : result;
}

static int try_namespace(const char *path)
{
    (void)path;
    return result_of(syscall(SYS_unshare, 0x10000000 /* CLONE_NEWUSER */) == 0);
}

static int try_ring(const char *path)
{
    (void)path;
    return result_of(syscall(SYS_io_uring_setup, 0u, NULL) >= 0);
}

static int try_code(const char *path)
{
    (void)path;
    return result_of(mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
}

static int try_signal_parent(const char *path)
{
    (void)path;
    return result_of(kill(getppid(), 0) == 0);
}

static int try_be_hidden(const char *path)
{
    struct rlimit limit;
    (void)path;
    if (getrlimit(RLIMIT_CORE, &limit) != 0 || limit.rlim_max != 0)
        return EPERM;
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
        return EACCES;
    return !RIGHTS_UNDER_SANITIZER && prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0 ? EBUSY : 0;
}

/* ---- tests ---- */

static const char *words_of(size_t actor)
{
#define RIGHTS_ROW(NAME, name, restart, ready_ms, stop_ms, rights, decides) rights,
    static const char *const rows[] = {ACTOR_LIST(RIGHTS_ROW)};
#undef RIGHTS_ROW
    return actor < COUNT_OF(rows) ? rows[actor] : NULL;
}

static bool has_word(const char *words, const char *word)
{
    const size_t length = strlen(word);
    for (const char *at = words; *at; at += strspn(at, " ")) {
        const size_t here = strcspn(at, " ");
        if (here == length && memcmp(at, word, length) == 0)
            return true;
        at += here;
    }
    return false;
}

START_TEST(an_unknown_word_is_refused)
{
    struct rights_kept kept;
    struct reason reason = {""};
    const struct rights_places places = {.paths = &paths};
    ck_assert_int_eq(rights_keep("net nets", &places, &kept, &reason), STATUS_INVALID);
    ck_assert_ptr_nonnull(strstr(reason.text, "nets"));
}
END_TEST

START_TEST(memory_is_hidden_unless_the_setting_says_otherwise)
{
    ck_assert_int_eq(try_with("", try_be_hidden, NULL), 0);
    const struct attempt debuggable = {"", try_be_hidden, NULL, true};
    const int result = in_process(&debuggable, NULL);
    struct rlimit limit;
    ck_assert_int_eq(getrlimit(RLIMIT_CORE, &limit), 0);
    if (limit.rlim_max != 0)
        ck_assert_int_eq(result, EPERM);
}
END_TEST

/* Every row of actors/actors.h: what its words name and nothing else. */
START_TEST(each_actor_writes_only_where_its_row_says)
{
    const struct {
        const char *path;
        const char *word; /* that allows it; empty: none does */
    } places[] = {
        {paths.run, "run"},  {paths.log, "log"},  {paths.models, "store"}, {paths.journal, "http"},
        {paths.holdings, "store"}, {more, ""},
        {temporary, "mpi"},  {"/dev/shm", "mpi"}, {paths.identity, ""},    {paths.home, ""},
        {scratch.path, ""},  {"/etc", ""},
    };
    const char *words;
    for (size_t actor = 0; (words = words_of(actor)) != NULL; actor++) {
        for (size_t i = 0; i < COUNT_OF(places); i++) {
            const bool may = has_word(words, places[i].word);
            ck_assert_msg(try_with(words, try_write, places[i].path) == (may ? 0 : EACCES),
                          "\"%s\" in %s", words, places[i].path);
        }
    }
}
END_TEST

START_TEST(the_key_of_the_node_is_read_by_nobody_else)
{
    char secret[PATH_SIZE + 64];
    char own_model[PATH_SIZE];
    (void)snprintf(secret, sizeof(secret), "%s/secret", paths.identity);
    (void)snprintf(own_model, sizeof(own_model), "%s/config.json", more);
    const char *words;
    for (size_t actor = 0; (words = words_of(actor)) != NULL; actor++) {
        if (has_word(words, "source"))
            continue;
        ck_assert_int_eq(try_with(words, try_read, secret), EACCES);
        ck_assert_int_eq(try_with(words, try_read, key_file), has_word(words, "http") ? 0 : EACCES);
        ck_assert_int_eq(try_with(words, try_read, "/etc/hosts"), 0);
        ck_assert_int_eq(try_with(words, try_read, own_model),
                         has_word(words, "store") || has_word(words, "read") ? 0 : EACCES);
        ck_assert_int_eq(try_with(words, try_read, "/proc/meminfo"), 0);
        ck_assert_int_eq(try_with(words, try_read, "/root"), EACCES);
    }
    ck_assert_int_eq(try_with("source", try_read, "/root"), geteuid() == 0 ? 0 : EACCES);
}
END_TEST

START_TEST(processes_are_started_only_with_spawn)
{
    const char *words;
    for (size_t actor = 0; (words = words_of(actor)) != NULL; actor++) {
        const bool may = has_word(words, "spawn");
        ck_assert_int_eq(try_with(words, try_thread, NULL), 0);
        if (kept_here.has_filter)
            ck_assert_int_eq(try_with(words, try_fork, NULL), may ? 0 : EPERM);
        if (kept_here.has_filter || kept_here.landlock_version > 0) {
            const int result = try_with(words, try_execute, "/bin/true");
            ck_assert(may ? result == 0 : result == EPERM || result == EACCES);
        }
    }
}
END_TEST

START_TEST(no_actor_may_what_none_needs)
{
    const char *words;
    for (size_t actor = 0; (words = words_of(actor)) != NULL; actor++) {
        ck_assert_int_eq(try_with(words, try_trace, NULL), EPERM);
        ck_assert_int_eq(try_with(words, try_packets, NULL), EAFNOSUPPORT);
        ck_assert_int_eq(try_with(words, try_namespace, NULL), EPERM);
        ck_assert_int_eq(try_with(words, try_ring, NULL), EPERM);
        ck_assert_int_eq(try_with(words, try_code, NULL), EPERM);
        ck_assert_int_eq(try_with(words, try_unix, NULL), 0);
        if (kept_here.landlock_version >= 6)
            ck_assert_int_eq(try_with(words, try_signal_parent, NULL), EPERM);
    }
}
END_TEST

START_TEST(the_internet_is_reached_as_the_words_say)
{
    const bool has_ports = kept_here.landlock_version >= 4;
    ck_assert_int_eq(try_with("net", try_bind, NULL), 0);
    ck_assert_int_eq(try_with("net", try_connect, NULL), 0);
    ck_assert_int_eq(try_with("mpi", try_bind, NULL), 0);
    ck_assert_int_eq(try_with("hub", try_connect, NULL), 0);
    if (kept_here.has_filter) {
        ck_assert_int_eq(try_with("", try_internet, NULL), EAFNOSUPPORT);
        ck_assert(try_with("hub", try_bind, NULL) != 0);
    } else if (has_ports) {
        ck_assert_int_eq(try_with("", try_connect, NULL), EACCES);
        ck_assert_int_eq(try_with("hub", try_bind, NULL), EACCES);
    }
}
END_TEST

/* What a supervisor keeps is enough for each of its own to keep its row. */
START_TEST(a_supervisor_keeps_what_its_actors_need)
{
    const char *const all[] = {paths.run, paths.log, paths.models, paths.journal, paths.home,
                               paths.holdings};
    for (size_t i = 0; i < COUNT_OF(all); i++)
        ck_assert_int_eq(try_with(SUPERVISOR_RIGHTS, try_write, all[i]), 0);
    ck_assert_int_eq(try_with(SUPERVISOR_RIGHTS, try_fork, NULL), 0);
    ck_assert_int_eq(try_with(SUPERVISOR_RIGHTS, try_execute, "/bin/true"), 0);
    ck_assert_int_eq(try_with(SUPERVISOR_RIGHTS, try_bind, NULL), 0);
    ck_assert_str_eq(actor_rights(ACTOR_SUPERVISOR), SUPERVISOR_RIGHTS);
    ck_assert_str_eq(actor_rights(ACTOR_MASTER), words_of(0));
    if (kept_here.landlock_version > 0)
        ck_assert_int_eq(try_with(SUPERVISOR_RIGHTS, try_write, "/etc"), EACCES);
}
END_TEST

enum { HAS_LANDLOCK = 1, HAS_FILTER = 2, UNKNOWN = 128 };

/* What of it this kernel and build have; before any test runs, so nothing is asserted. */
static int kernel_has(void)
{
    struct paths here;
    struct reason reason = {""};
    struct rights_kept kept;
    int status = 0;
    const struct rights_places places = {.paths = &here};
    if (paths_init(&here, "/nonexistent", "/nonexistent", &reason) != STATUS_OK)
        return UNKNOWN;
    const pid_t pid = fork();
    if (pid == 0) {
        if (rights_keep("", &places, &kept, &reason) != STATUS_OK)
            _exit(UNKNOWN);
        _exit((kept.landlock_version > 0 ? HAS_LANDLOCK : 0) | (kept.has_filter ? HAS_FILTER : 0));
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
        return UNKNOWN;
    return WEXITSTATUS(status);
}

Suite *suite_of_tests(void)
{
    const TTest *const tests[] = {
        an_unknown_word_is_refused, memory_is_hidden_unless_the_setting_says_otherwise,
        processes_are_started_only_with_spawn, the_internet_is_reached_as_the_words_say,
        a_supervisor_keeps_what_its_actors_need};
    const TTest *const file_tests[] = {each_actor_writes_only_where_its_row_says,
                                              the_key_of_the_node_is_read_by_nobody_else};
    Suite *suite = suite_create("runtime-rights");
    const int has = kernel_has();
    if (has == 0) {
        printf("1..0 # SKIP this kernel has neither Landlock nor seccomp\n");
        exit(EXIT_SUCCESS);
    }
    TCase *group = tcase_create("rights");
    tcase_set_timeout(group, 60);
    tcase_add_checked_fixture(group, home_open, home_close);
    for (size_t i = 0; i < COUNT_OF(tests); i++)
        tcase_add_test(group, tests[i]);
    /* What this kernel or build lacks is not tested, rather than passed. */
    for (size_t i = 0; i < COUNT_OF(file_tests) && (has & HAS_LANDLOCK); i++)
        tcase_add_test(group, file_tests[i]);
    if (has & HAS_FILTER)
        tcase_add_test(group, no_actor_may_what_none_needs);
    suite_add_tcase(suite, group);
    return suite;
}
