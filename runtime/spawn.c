/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/spawn.h"

#include "protocol/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

/* Where the child finds them; the numbers stand in its environment. */
enum { CHILD_READY_FD = 3, CHILD_BEAT_FD = 4, CHILD_FIRST_CLOSED_FD = 5 };

enum { ARGUMENTS_MAX = 256, READY_BYTE = '\n' };

/* Everything the child needs after fork, made before it: there only async-signal-safe calls are
 * allowed, since the parent has threads. */
struct launch {
    const struct spawn_options *options;
    const char *arguments[ARGUMENTS_MAX + 2];
    const char *environment[ARGUMENTS_MAX + 3];
    int ready_fds[2];
    int beat_fds[2];
    int error_fds[2]; /* carries errno of a failed exec; closed by a good one */
    pid_t parent;
};

static void fd_close(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

/* Numbers below those the child uses would be overwritten by its dup2 calls. */
static bool fd_raise(int *fd)
{
    int raised = fcntl(*fd, F_DUPFD_CLOEXEC, CHILD_FIRST_CLOSED_FD);
    if (raised < 0)
        return false;
    (void)close(*fd);
    *fd = raised;
    return true;
}

static bool channels_open(struct launch *launch)
{
    int *const pairs[] = {launch->ready_fds, launch->beat_fds, launch->error_fds};
    for (size_t i = 0; i < COUNT_OF(pairs); i++)
        pairs[i][0] = pairs[i][1] = -1;
    if (pipe(launch->ready_fds) != 0 || pipe(launch->error_fds) != 0 ||
        socketpair(AF_UNIX, SOCK_STREAM, 0, launch->beat_fds) != 0)
        return false;
    for (size_t i = 0; i < COUNT_OF(pairs); i++) {
        if (!fd_raise(&pairs[i][0]) || !fd_raise(&pairs[i][1]))
            return false;
    }
    return fcntl(launch->ready_fds[0], F_SETFL, O_NONBLOCK) == 0 &&
           fcntl(launch->beat_fds[0], F_SETFL, O_NONBLOCK) == 0 &&
           fcntl(launch->beat_fds[1], F_SETFL, O_NONBLOCK) == 0;
}

static void channels_close(struct launch *launch)
{
    for (int i = 0; i < 2; i++) {
        fd_close(&launch->ready_fds[i]);
        fd_close(&launch->beat_fds[i]);
        fd_close(&launch->error_fds[i]);
    }
}

static void close_from(int first)
{
#if defined(__linux__) && defined(SYS_close_range)
    if (syscall(SYS_close_range, (unsigned)first, ~0u, 0u) == 0)
        return;
#endif
    long count = sysconf(_SC_OPEN_MAX);
    for (int fd = first; fd < (count > 0 ? count : 1024); fd++)
        (void)close(fd);
}

static bool standard_fds_set(const struct spawn_options *options)
{
    int nothing = open("/dev/null", O_RDONLY);
    if (nothing < 0 || dup2(nothing, STDIN_FILENO) < 0)
        return false;
    if (options->output_fd >= 0 && dup2(options->output_fd, STDOUT_FILENO) < 0)
        return false;
    return options->error_fd < 0 || dup2(options->error_fd, STDERR_FILENO) >= 0;
}

static void signals_reset(void)
{
    struct sigaction standard = {.sa_handler = SIG_DFL};
    sigset_t none;
    (void)sigemptyset(&standard.sa_mask);
    for (int number = 1; number < NSIG; number++)
        (void)sigaction(number, &standard, NULL);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* True while the parent lives; the kernel kills us when it dies. */
static bool die_with_parent(pid_t parent)
{
#ifdef __linux__
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        return false;
#endif
    /* It may have died before the call above. */
    return getppid() == parent;
}

/* In the child.  Never returns. */
static _Noreturn void child_become(struct launch *launch)
{
    const struct spawn_options *options = launch->options;
    int error_fd = launch->error_fds[1];
    bool is_set = setpgid(0, 0) == 0 && die_with_parent(launch->parent);
    is_set = is_set && (!options->directory || chdir(options->directory) == 0);
    is_set = is_set && standard_fds_set(options);
    is_set = is_set && dup2(launch->ready_fds[1], CHILD_READY_FD) >= 0 &&
             dup2(launch->beat_fds[1], CHILD_BEAT_FD) >= 0;
    if (is_set) {
        /* Kept until exec closes it: its end tells the parent that exec succeeded. */
        int kept = dup2(error_fd, CHILD_FIRST_CLOSED_FD);
        is_set = kept >= 0 && fcntl(kept, F_SETFD, FD_CLOEXEC) == 0;
        error_fd = kept >= 0 ? kept : error_fd;
    }
    if (is_set) {
        close_from(CHILD_FIRST_CLOSED_FD + 1);
        signals_reset();
        union {
            const char **borrowed;
            char *const *wanted;
        } arguments = {launch->arguments}, environment = {launch->environment};
        (void)execve(options->program, arguments.wanted, environment.wanted);
    }
    int error = errno;
    ssize_t written = write(error_fd, &error, sizeof(error));
    (void)written;
    _exit(127);
}

static enum status launch_prepare(struct launch *launch, const struct spawn_options *options,
                                  struct reason *reason)
{
    size_t count = 0;
    launch->options = options;
    launch->parent = getpid();
    launch->arguments[count++] = options->program;
    for (size_t i = 0; options->arguments && options->arguments[i]; i++) {
        if (count > ARGUMENTS_MAX)
            return refuse(reason, STATUS_TOO_LARGE, "%s: more than %d arguments",
                          options->program, ARGUMENTS_MAX);
        launch->arguments[count++] = options->arguments[i];
    }
    count = 0;
    for (size_t i = 0; options->environment && options->environment[i]; i++) {
        if (count == ARGUMENTS_MAX)
            return refuse(reason, STATUS_TOO_LARGE, "%s: more than %d variables",
                          options->program, ARGUMENTS_MAX);
        launch->environment[count++] = options->environment[i];
    }
    launch->environment[count++] = READY_FD_VARIABLE "=3";
    launch->environment[count++] = BEAT_FD_VARIABLE "=4";
    _Static_assert(CHILD_READY_FD == 3 && CHILD_BEAT_FD == 4, "as the environment says");
    return STATUS_OK;
}

/* What the kernel says of a child's end, as something to poll. */
static int death_fd_open(pid_t pid, int beat_fd)
{
#if defined(__linux__) && defined(SYS_pidfd_open)
    int fd = (int)syscall(SYS_pidfd_open, pid, 0u);
    if (fd >= 0)
        return fd;
#endif
    (void)pid;
    return fcntl(beat_fd, F_DUPFD_CLOEXEC, 0);
}

static void collect(pid_t pid)
{
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
}

/* Waits for exec: errno of its failure, or 0. */
static int exec_error(int fd)
{
    int error = 0;
    ssize_t size;
    do {
        size = read(fd, &error, sizeof(error));
    } while (size < 0 && errno == EINTR);
    return size == (ssize_t)sizeof(error) ? error : 0;
}

enum status child_spawn(const struct spawn_options *options, struct child *child_out,
                        struct reason *reason)
{
    struct launch launch = {0};
    enum status status = launch_prepare(&launch, options, reason);
    if (status != STATUS_OK)
        return status;
    if (!channels_open(&launch)) {
        int error = errno;
        channels_close(&launch);
        return refuse(reason, status_from_errno(error), "%s: no descriptors to start it: %s",
                      options->program, strerror(error));
    }
    pid_t pid = fork();
    if (pid == 0)
        child_become(&launch);
    int error = pid < 0 ? errno : 0;
    fd_close(&launch.ready_fds[1]);
    fd_close(&launch.beat_fds[1]);
    fd_close(&launch.error_fds[1]);
    if (pid > 0) {
        /* Also here, so that a kill of the group right after the spawn finds it. */
        (void)setpgid(pid, pid);
        error = exec_error(launch.error_fds[0]);
        if (error != 0)
            collect(pid);
    }
    struct child child = {.pid = pid, .ready_fd = launch.ready_fds[0],
                          .beat_fd = launch.beat_fds[0], .death_fd = -1};
    if (error == 0) {
        child.death_fd = death_fd_open(pid, child.beat_fd);
        launch.ready_fds[0] = launch.beat_fds[0] = -1;
    }
    channels_close(&launch);
    if (error != 0)
        return refuse(reason, status_from_errno(error), "%s cannot be started: %s",
                      options->program, strerror(error));
    if (child.death_fd < 0) {
        child_fini(&child);
        return refuse(reason, STATUS_IO, "%s cannot be watched", options->program);
    }
    *child_out = child;
    return STATUS_OK;
}

bool child_is_ready(struct child *child)
{
    char byte;
    if (child->ready_fd < 0)
        return false;
    ssize_t size = read(child->ready_fd, &byte, 1);
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    fd_close(&child->ready_fd);
    return size == 1 && byte == READY_BYTE;
}

void child_ping(struct child *child)
{
    /* One that answers nothing ends with a full channel; it is silent either way. */
    if (child->beat_fd >= 0) {
        ssize_t sent = send(child->beat_fd, "b", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        (void)sent;
    }
}

unsigned child_beats(struct child *child)
{
    char bytes[256];
    ssize_t size = child->beat_fd >= 0 ? read(child->beat_fd, bytes, sizeof(bytes)) : 0;
    return size > 0 ? (unsigned)size : 0;
}

bool child_reap(struct child *child, struct child_end *end_out)
{
    siginfo_t peek = {0};
    int state = 0;
    if (child->pid <= 0)
        return false;
    int result;
    do {
        result = waitid(P_PID, (id_t)child->pid, &peek, WEXITED | WNOHANG | WNOWAIT);
    } while (result != 0 && errno == EINTR);
    if (result == 0 && peek.si_pid == 0)
        return false;
    /* While it is not yet collected its number, and so its group's, is nobody else's. */
    if (result == 0)
        (void)kill(-child->pid, SIGKILL);
    pid_t collected;
    do {
        collected = waitpid(child->pid, &state, 0);
    } while (collected < 0 && errno == EINTR);
    struct child_end end = {.exit_code = -1, .signal = 0};
    if (collected > 0 && WIFEXITED(state))
        end.exit_code = WEXITSTATUS(state);
    if (collected > 0 && WIFSIGNALED(state))
        end.signal = WTERMSIG(state);
    child->pid = 0;
    *end_out = end;
    return true;
}

void child_stop(struct child *child)
{
    if (child->pid > 0)
        (void)kill(child->pid, SIGTERM);
}

void child_kill(struct child *child)
{
    if (child->pid > 0)
        (void)kill(-child->pid, SIGKILL);
}

void child_fini(struct child *child)
{
    if (child->pid > 0) {
        child_kill(child);
        collect(child->pid);
    }
    child->pid = 0;
    fd_close(&child->ready_fd);
    fd_close(&child->beat_fd);
    fd_close(&child->death_fd);
}

/* A descriptor named by a variable: open, and nothing but digits. */
static int inherited_fd(const char *variable)
{
    const char *text = getenv(variable);
    char *end;
    if (!text || !*text)
        return -1;
    long fd = strtol(text, &end, 10);
    if (*end || fd < 3 || fd > 1 << 20 || fcntl((int)fd, F_GETFD) < 0)
        return -1;
    return (int)fd;
}

void ready_notify(void)
{
    int fd = inherited_fd(READY_FD_VARIABLE);
    if (fd < 0)
        return;
    char byte = READY_BYTE;
    ssize_t written = write(fd, &byte, 1);
    (void)written;
    (void)close(fd);
    (void)unsetenv(READY_FD_VARIABLE);
}

int beat_fd_inherited(void)
{
    int fd = inherited_fd(BEAT_FD_VARIABLE);
    if (fd >= 0)
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    return fd;
}
