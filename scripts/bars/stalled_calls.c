/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stalled_calls: for 03-stall: a call of a runner that never returns, a disk that fails, and MPI's
 * connections that lose everything.
 *
 * Preloaded by the whole machine of the bar; it does nothing but in a runner whose home has the
 * file run/stall-rule, which it takes away: "CALL COUNT ACTION".
 *   CALL    weights (a read of a file of 1 MiB or more), memory (pages are asked for), threads (one
 *           is started), power (of an engine's rotations), join, broadcast, allgather, send (those
 *           of MPI); of the engine's thread only
 *   ACTION  stall; fail (the read, with EIO); cut (from then on all connections of MPI); mute N
 *           (from then on what it sends to its launcher, but the first N messages, is lost)
 * At the COUNT-th such call it writes one byte to run/stall-done, which is there.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define WEIGHTS_SIZE_MIN (1 << 20)
/* Open MPI listens here. */
#define PORT_FIRST 1024
#define PORT_END 2048

static struct rule {
    char text[64];
    const char *call;
    const char *action;
    unsigned long count;
    char *done; /* mapped */
} rule;
static atomic_uint calls;
static atomic_bool is_cut;
static atomic_bool is_mute;
static atomic_uint sent_to_launcher;
static unsigned heard;

__attribute__((constructor)) static void take_rule(int argc, char **argv)
{
    char path[4096];
    const char *name = argc > 0 ? strrchr(argv[0], '/') : NULL;
    if (!name || strcmp(name, "/troupe-runner") != 0)
        return;
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--home=", 7) != 0)
            continue;
        (void)snprintf(path, sizeof(path), "%s/run/stall-rule", argv[i] + 7);
        FILE *file = fopen(path, "r");
        if (!file)
            return;
        rule.text[fread(rule.text, 1, sizeof(rule.text) - 1, file)] = '\0';
        (void)fclose(file);
        (void)unlink(path);
        (void)snprintf(path, sizeof(path), "%s/run/stall-done", argv[i] + 7);
        const int done = open(path, O_RDWR | O_CLOEXEC);
        char *place = rule.text;
        char *end = NULL;
        rule.call = strsep(&place, " ");
        rule.count = place ? strtoul(place, &end, 10) : 0;
        if (rule.count == 0 || *end != ' ' || done < 0)
            abort();
        rule.action = end + 1;
        rule.done = mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED, done, 0);
        if (rule.done == MAP_FAILED)
            abort();
        (void)close(done);
    }
}

/* The call of that name after ours. */
static void find(const char *name, void *call_out)
{
    void *symbol = dlsym(RTLD_NEXT, name);
    if (!symbol)
        abort();
    memcpy(call_out, &symbol, sizeof(symbol));
}

/* True when this call is the one; a stalled one does not return. */
static bool is_due(const char *call)
{
    char name[16] = "";
    if (!rule.done || strcmp(call, rule.call) != 0)
        return false;
    (void)pthread_getname_np(pthread_self(), name, sizeof(name));
    if (strcmp(name, "engine") != 0 || atomic_fetch_add(&calls, 1) + 1 != rule.count)
        return false;
    rule.done[0] = '1';
    while (strcmp(rule.action, "stall") == 0)
        (void)nanosleep(&(struct timespec){.tv_sec = 3600}, NULL);
    if (strcmp(rule.action, "cut") == 0)
        atomic_store(&is_cut, true);
    if (strncmp(rule.action, "mute ", 5) == 0) {
        heard = (unsigned)strtoul(rule.action + 5, NULL, 10);
        atomic_store(&is_mute, true);
    }
    return true;
}

ssize_t pread64(int file, void *bytes, size_t size, off64_t offset)
{
    ssize_t (*real)(int, void *, size_t, off64_t);
    find("pread64", &real);
    struct stat facts;
    if (rule.done && fstat(file, &facts) == 0 && facts.st_size >= WEIGHTS_SIZE_MIN &&
        is_due("weights")) {
        errno = EIO;
        return -1;
    }
    return real(file, bytes, size, offset);
}

int madvise(void *memory, size_t size, int advice)
{
    int (*real)(void *, size_t, int);
    find("madvise", &real);
    (void)is_due("memory");
    return real(memory, size, advice);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                   void *argument)
{
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    find("pthread_create", &real);
    (void)is_due("threads");
    return real(thread, attributes, run, argument);
}

double pow(double base, double exponent);

double pow(double base, double exponent)
{
    double (*real)(double, double);
    find("pow", &real);
    (void)is_due("power");
    return real(base, exponent);
}

/* ---- MPI, whose types are pointers ---- */

int MPI_Init_thread(int *argc, char ***argv, int wanted, int *granted);
int MPI_Irecv(void *bytes, int count, void *type, int source, int tag, void *world, void *request);
int MPI_Testall(int count, void *requests, int *are_done, void *statuses);
int MPI_Isend(const void *bytes, int count, void *type, int target, int tag, void *world,
              void *request);

int MPI_Init_thread(int *argc, char ***argv, int wanted, int *granted)
{
    int (*real)(int *, char ***, int, int *);
    find("MPI_Init_thread", &real);
    (void)is_due("join");
    return real(argc, argv, wanted, granted);
}

/* What begins with a mark of collective_order.h: its second word is the kind of the collective. */
enum { TAG_EXCHANGE = 9, KIND_SUM = 1, KIND_BROADCAST = 3 };
static bool only_takes; /* what was posted of this exchange: the engine's thread alone asks */

int MPI_Irecv(void *bytes, int count, void *type, int source, int tag, void *world, void *request)
{
    int (*real)(void *, int, void *, int, int, void *, void *);
    find("MPI_Irecv", &real);
    only_takes = tag == TAG_EXCHANGE;
    return real(bytes, count, type, source, tag, world, request);
}

int MPI_Isend(const void *bytes, int count, void *type, int target, int tag, void *world,
              void *request)
{
    int (*real)(const void *, int, void *, int, int, void *, void *);
    unsigned words[2] = {0};
    find("MPI_Isend", &real);
    if (tag != TAG_EXCHANGE)
        (void)is_due("send");
    else if (count >= (int)sizeof(words))
        memcpy(words, bytes, sizeof(words));
    if (words[1] == KIND_SUM)
        (void)is_due("allgather");
    if (words[1] == KIND_BROADCAST)
        (void)is_due("broadcast");
    only_takes = false;
    return real(bytes, count, type, target, tag, world, request);
}

/* Who only takes is not the root of its broadcast. */
int MPI_Testall(int count, void *requests, int *are_done, void *statuses)
{
    int (*real)(int, void *, int *, void *);
    find("MPI_Testall", &real);
    if (only_takes)
        (void)is_due("broadcast");
    only_takes = false;
    return real(count, requests, are_done, statuses);
}

/* ---- its connections ---- */

static bool is_of_mpi(const struct sockaddr_in *address)
{
    const unsigned port = ntohs(address->sin_port);
    return address->sin_family == AF_INET && port >= PORT_FIRST && port < PORT_END;
}

static bool is_lost(int connection)
{
    struct sockaddr_in own = {0};
    struct sockaddr_in other = {0};
    socklen_t own_size = sizeof(own);
    socklen_t other_size = sizeof(other);
    if (!atomic_load(&is_cut) ||
        getsockname(connection, (struct sockaddr *)&own, &own_size) != 0 ||
        getpeername(connection, (struct sockaddr *)&other, &other_size) != 0 ||
        (!is_of_mpi(&own) && !is_of_mpi(&other)))
        return false;
    errno = EAGAIN;
    return true;
}

/* Nothing comes of them and nothing can be sent: MPI, whose loop goes on as long as anything is
 * there, would else never come back out of one call. */
int poll(struct pollfd *files, nfds_t count, int timeout_ms)
{
    int (*real)(struct pollfd *, nfds_t, int);
    find("poll", &real);
    int found = real(files, count, timeout_ms);
    const int error = errno;
    for (nfds_t i = 0; found > 0 && atomic_load(&is_cut) && i < count; i++) {
        if (files[i].revents != 0 && is_lost(files[i].fd)) {
            files[i].revents = 0;
            found--;
        }
    }
    errno = error;
    return found;
}

ssize_t readv(int file, const struct iovec *parts, int count)
{
    ssize_t (*real)(int, const struct iovec *, int);
    find("readv", &real);
    return is_lost(file) ? -1 : real(file, parts, count);
}

/* Of this process PMIx alone writes so to a server that is not MPI's. */
static bool is_unheard(int connection)
{
    struct sockaddr_in other = {0};
    socklen_t size = sizeof(other);
    if (!atomic_load(&is_mute) ||
        getpeername(connection, (struct sockaddr *)&other, &size) != 0 ||
        other.sin_family != AF_INET || is_of_mpi(&other) ||
        atomic_fetch_add(&sent_to_launcher, 1) < heard)
        return false;
    errno = EAGAIN;
    return true;
}

ssize_t writev(int file, const struct iovec *parts, int count)
{
    ssize_t (*real)(int, const struct iovec *, int);
    find("writev", &real);
    return is_lost(file) || is_unheard(file) ? -1 : real(file, parts, count);
}

ssize_t recv(int file, void *bytes, size_t size, int flags)
{
    ssize_t (*real)(int, void *, size_t, int);
    find("recv", &real);
    return is_lost(file) ? -1 : real(file, bytes, size, flags);
}

ssize_t send(int file, const void *bytes, size_t size, int flags)
{
    ssize_t (*real)(int, const void *, size_t, int);
    find("send", &real);
    return is_lost(file) ? -1 : real(file, bytes, size, flags);
}
