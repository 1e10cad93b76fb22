/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch_world: N launchers in N processes, each with a PMIx server and one rank, no actors.
 *
 *     launch_world [--address A] [--ways W] [--space S] [--kill-after MS] N DIRECTORY PROGRAM
 *                  [ARGUMENT...]
 *
 * The launchers are nodes node0, node1, ... and exchange fence blobs over socket pairs.  A launcher
 * whose rank ends badly, or whose sibling is gone before its own rank has ended, kills its rank
 * and ends with 1.  --kill-after kills the last rank some time after the first fence was complete.
 * Each rank may have its own address, ways (runtime/fabric_ways.h) and network namespace: then they
 * stand in the order of the ranks with + between.  Exit 0 when every rank ended with 0.
 */
#include "actors/launcher/pmix_host.h"
#include "runtime/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORLD_MAX = 8 };

struct blob_message {
    enum pmix_host_event_kind kind;
    enum status status;
    uint64_t request;
    uint64_t sequence;
    uint64_t size;
    char signature[FENCE_SIGNATURE_SIZE];
    unsigned char bytes[65536];
};

struct world {
    uint32_t size;
    uint32_t rank; /* of this launcher */
    const char *directory;
    const char *address;
    const char *ways;
    const char *space;
    char **program;
    int64_t kill_after_ms;
    int sockets[WORLD_MAX]; /* to sibling i; -1 for ourselves and for those that ended well */
    struct pmix_host *host;
    pid_t pid;
    int death;
    uint64_t kill_at_ms;
};

static void send_blob(struct world *world, uint32_t target, const struct pmix_host_event *event)
{
    static struct blob_message message;
    memset(&message, 0, sizeof(message));
    message.kind = event->kind;
    message.status = event->status;
    message.request = event->request;
    message.sequence = event->sequence;
    memcpy(message.signature, event->signature, sizeof(message.signature));
    ASSERT(event->size <= sizeof(message.bytes));
    if (event->size)
        memcpy(message.bytes, event->bytes, event->size);
    message.size = event->size;
    if (world->sockets[target] >= 0)
        (void)send(world->sockets[target], &message, sizeof(message), MSG_NOSIGNAL);
}

static void handle_events(struct world *world)
{
    struct pmix_host_event event;
    while (pmix_host_next(world->host, &event)) {
        bool to_all = event.kind == PMIX_HOST_FENCE;
        bool to_one =
            event.kind == PMIX_HOST_MODEX_WANTED || event.kind == PMIX_HOST_MODEX_FOUND;
        for (uint32_t i = 0; to_all && i < world->size; i++)
            send_blob(world, i, &event);
        if (to_one)
            send_blob(world, event.rank, &event);
        if (to_all && event.sequence == 2 && world->kill_after_ms >= 0 &&
            world->rank == world->size - 1)
            world->kill_at_ms = clock_now_ms() + (uint64_t)world->kill_after_ms;
        if (event.kind == PMIX_HOST_ABORTED) {
            fprintf(stderr, "rank %" PRIu32 " called abort with %d\n", event.rank, event.code);
            (void)kill(-world->pid, SIGKILL);
        }
        pmix_host_event_fini(&event);
    }
}

/* False when the sibling is gone. */
static bool handle_blob(struct world *world, uint32_t sibling)
{
    static struct blob_message message;
    ssize_t size = recv(world->sockets[sibling], &message, sizeof(message), 0);
    if (size != (ssize_t)sizeof(message))
        return false;
    struct reason reason = {""};
    enum status status = STATUS_OK;
    if (message.kind == PMIX_HOST_FENCE)
        status = pmix_host_fence(world->host, sibling, message.signature, message.sequence,
                                 message.bytes, message.size, &reason);
    else if (message.kind == PMIX_HOST_MODEX_WANTED)
        pmix_host_modex_lookup(world->host, sibling, message.request);
    else
        pmix_host_modex_answer(world->host, message.request, message.status, message.bytes,
                               message.size);
    if (status != STATUS_OK)
        fprintf(stderr, "launch_world: %s\n", reason.text);
    return true;
}

static void start_rank(struct world *world, char **environment)
{
    pid_t parent = getpid();
    world->pid = fork();
    ASSERT(world->pid >= 0);
    if (world->pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(126);
        (void)setpgid(0, 0);
        execve(world->program[0], world->program, environment);
        _exit(127);
    }
    (void)setpgid(world->pid, world->pid);
    world->death = (int)syscall(SYS_pidfd_open, world->pid, 0);
    ASSERT(world->death >= 0);
}

/* The rank's exit status as waitpid gives it. */
static int rank_wait(struct world *world)
{
    int result = -1;
    while (waitpid(world->pid, &result, 0) < 0 && errno == EINTR)
        continue;
    (void)kill(-world->pid, SIGKILL);
    return result;
}

/* 0 when the rank ended well. */
static int watch_rank(struct world *world)
{
    for (;;) {
        struct pollfd polls[WORLD_MAX + 2] = {{pmix_host_descriptor(world->host), POLLIN, 0},
                                              {world->death, POLLIN, 0}};
        for (uint32_t i = 0; i < world->size; i++)
            polls[i + 2] = (struct pollfd){world->sockets[i], POLLIN, 0};
        int timeout_ms = world->kill_at_ms ? 5 : -1;
        (void)poll(polls, world->size + 2, timeout_ms);
        if (world->kill_at_ms && clock_now_ms() >= world->kill_at_ms) {
            (void)kill(world->pid, SIGKILL);
            world->kill_at_ms = 0;
        }
        if (polls[0].revents)
            handle_events(world);
        if (polls[1].revents)
            return rank_wait(world);
        for (uint32_t i = 0; i < world->size; i++) {
            if (!polls[i + 2].revents || handle_blob(world, i))
                continue;
            /* A launcher says 'done' by no word: its rank left MPI only after all had. */
            (void)close(world->sockets[i]);
            world->sockets[i] = -1;
            char ended_well[256];
            (void)snprintf(ended_well, sizeof(ended_well), "%s/ended-%" PRIu32,
                           world->directory, i);
            if (access(ended_well, F_OK) == 0)
                continue;
            fprintf(stderr, "launcher %" PRIu32 " lost its sibling %" PRIu32 "\n", world->rank, i);
            (void)kill(-world->pid, SIGKILL);
        }
    }
}

/* What is for that rank: all of it where there is no +. */
static const char *part_of(const char *text, uint32_t rank, char part_out[1024])
{
    for (uint32_t i = 0; i < rank && text && strchr(text, '+'); i++)
        text = strchr(text, '+') + 1;
    (void)snprintf(part_out, 1024, "%.*s", text ? (int)strcspn(text, "+") : 0, text ? text : "");
    return part_out;
}

/* As `ip netns exec` does, but for /sys. */
static void enter_space(const char *name)
{
    char path[1200];
    if (!*name)
        return;
    (void)snprintf(path, sizeof(path), "/run/netns/%s", name);
    const int space = open(path, O_RDONLY | O_CLOEXEC);
    ASSERT(space >= 0 && setns(space, CLONE_NEWNET) == 0);
    (void)close(space);
}

static int run_launcher(struct world *world)
{
    char address[1024];
    char ways[1024];
    char space[1024];
    static const char *const names[WORLD_MAX] = {"node0", "node1", "node2", "node3",
                                                 "node4", "node5", "node6", "node7"};
    extern char **environ;
    char directory[256];
    char name[64];
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)snprintf(directory, sizeof(directory), "%s/launcher-%" PRIu32, world->directory,
                   world->rank);
    (void)snprintf(name, sizeof(name), "test-%d-1.1", (int)getppid());
    struct pmix_host_options options = {.directory = directory, .name = name, .nodes = names,
                                        .rank = world->rank, .rank_count = world->size};
    struct pmix_host_fabric fabric = {.address = part_of(world->address, world->rank, address),
                                      .ways = part_of(world->ways, world->rank, ways)};
    enter_space(part_of(world->space, world->rank, space));
    struct reason reason = {""};
    char **environment = NULL;
    enum status status = pmix_host_open(&options, &world->host, &reason);
    if (status == STATUS_OK)
        status = pmix_host_environment(world->host, &fabric, environ, &environment, &reason);
    if (status != STATUS_OK) {
        fprintf(stderr, "launch_world: %s\n", reason.text);
        return 1;
    }
    start_rank(world, environment);
    pmix_host_environment_free(environment);
    int result = watch_rank(world);
    bool well = WIFEXITED(result) && WEXITSTATUS(result) == 0;
    if (well) {
        char ended_well[256];
        (void)snprintf(ended_well, sizeof(ended_well), "%s/ended-%" PRIu32, world->directory,
                       world->rank);
        FILE *file = fopen(ended_well, "w");
        ASSERT(file && fclose(file) == 0);
    } else {
        fprintf(stderr, "rank %" PRIu32 " ended with code %d signal %d\n", world->rank,
                WIFEXITED(result) ? WEXITSTATUS(result) : -1,
                WIFSIGNALED(result) ? WTERMSIG(result) : 0);
    }
    pmix_host_close(world->host);
    return well ? 0 : 1;
}

static int launch(struct world *world)
{
    int pairs[WORLD_MAX][WORLD_MAX];
    for (uint32_t i = 0; i < world->size; i++) {
        for (uint32_t j = 0; j <= i; j++) {
            int pair[2] = {-1, -1};
            if (i != j)
                ASSERT(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
            pairs[i][j] = pair[0];
            pairs[j][i] = pair[1];
        }
    }
    pid_t pids[WORLD_MAX];
    for (uint32_t rank = 0; rank < world->size; rank++) {
        pids[rank] = fork();
        ASSERT(pids[rank] >= 0);
        if (pids[rank] > 0)
            continue;
        world->rank = rank;
        for (uint32_t i = 0; i < world->size; i++) {
            world->sockets[i] = pairs[rank][i];
            for (uint32_t j = 0; j < world->size; j++)
                if (i != rank && pairs[i][j] >= 0)
                    (void)close(pairs[i][j]);
        }
        exit(run_launcher(world));
    }
    for (uint32_t i = 0; i < world->size; i++)
        for (uint32_t j = 0; j < world->size; j++)
            if (pairs[i][j] >= 0)
                (void)close(pairs[i][j]);
    int failed = 0;
    for (uint32_t i = 0; i < world->size; i++) {
        int result = 0;
        (void)waitpid(pids[i], &result, 0);
        failed |= result;
    }
    return failed ? 1 : 0;
}

int main(int count, char **arguments)
{
    struct world world = {.address = "127.0.0.1", .kill_after_ms = -1};
    int at = 1;
    for (; at + 1 < count && strncmp(arguments[at], "--", 2) == 0; at += 2) {
        if (strcmp(arguments[at], "--address") == 0)
            world.address = arguments[at + 1];
        else if (strcmp(arguments[at], "--ways") == 0)
            world.ways = arguments[at + 1];
        else if (strcmp(arguments[at], "--space") == 0)
            world.space = arguments[at + 1];
        else if (strcmp(arguments[at], "--kill-after") == 0)
            world.kill_after_ms = strtoll(arguments[at + 1], NULL, 10);
    }
    if (count - at < 3) {
        fprintf(stderr, "usage: launch_world [--address A] [--ways W] [--space S]"
                        " [--kill-after MS] N DIRECTORY PROGRAM [ARGUMENT...]\n");
        return 2;
    }
    world.size = (uint32_t)strtoul(arguments[at], NULL, 10);
    ASSERT(world.size >= 2 && world.size <= WORLD_MAX);
    world.directory = arguments[at + 1];
    world.program = arguments + at + 2;
    return launch(&world);
}
