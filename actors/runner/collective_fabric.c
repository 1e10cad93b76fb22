/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/collective_fabric.h"

#include "runtime/fabric_ways.h"
#include "runtime/process.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/epoll.h>
#endif

/* ---- the calls in whose place ours stand ---- */

typedef int address_call(int socket, const struct sockaddr *address, socklen_t size);
typedef int filled_call(int socket, struct sockaddr *address, socklen_t *size);
typedef int listen_call(int socket, int backlog);

/* As an object's pointer: ISO C has no other word for what dlsym gives. */
static bool next_of(const char *name, void *call_out, size_t size)
{
    void *symbol = dlsym(RTLD_NEXT, name);
    memcpy(call_out, &symbol, size);
    if (!symbol)
        errno = ENOSYS;
    return symbol != NULL;
}

static int next_bind(int socket, const struct sockaddr *address, socklen_t size)
{
    static address_call *next;
    return next || next_of("bind", &next, sizeof(next)) ? next(socket, address, size) : -1;
}

static int next_connect(int socket, const struct sockaddr *address, socklen_t size)
{
    static address_call *next;
    return next || next_of("connect", &next, sizeof(next)) ? next(socket, address, size) : -1;
}

static int next_accept(int socket, struct sockaddr *address, socklen_t *size)
{
    static filled_call *next;
    return next || next_of("accept", &next, sizeof(next)) ? next(socket, address, size) : -1;
}

static int next_getpeername(int socket, struct sockaddr *address, socklen_t *size)
{
    static filled_call *next;
    return next || next_of("getpeername", &next, sizeof(next)) ? next(socket, address, size) : -1;
}

static int next_listen(int socket, int backlog)
{
    static listen_call *next;
    return next || next_of("listen", &next, sizeof(next)) ? next(socket, backlog) : -1;
}

/* ---- what the placement says ---- */

static struct {
    pthread_once_t once;
    enum status status; /* of the ways */
    struct reason reason;
    struct fabric_ways ways;
    struct in_addr known; /* by which all know us, where there are ways */
} fabric = {.once = PTHREAD_ONCE_INIT};

static void fabric_read(void)
{
    const char *address = getenv(FABRIC_VARIABLE);
    fabric.status = fabric_ways_parse(getenv(FABRIC_WAYS_VARIABLE), &fabric.ways, &fabric.reason);
    if (fabric.status == STATUS_OK && fabric.ways.count > 0 &&
        (!address || inet_pton(AF_INET, address, &fabric.known) != 1))
        fabric.status = refuse(&fabric.reason, STATUS_INVALID,
                               "there are ways to siblings, but no IPv4 address of our own");
    if (fabric.status != STATUS_OK)
        fabric.ways.count = 0;
}

static bool has_ways(void)
{
    (void)pthread_once(&fabric.once, fabric_read);
    return fabric.ways.count > 0;
}

enum status collective_fabric_check(struct reason *reason)
{
    const bool is_asked = has_ways();
    if (fabric.status != STATUS_OK)
        return refuse(reason, fabric.status, "%s", fabric.reason.text);
#ifdef __linux__
    (void)is_asked;
    return STATUS_OK;
#else
    return is_asked ? refuse(reason, STATUS_UNSUPPORTED,
                             "MPI on this system has one address for all siblings; put the nodes "
                             "on one network")
                    : STATUS_OK;
#endif
}

/* Is it Open MPI's transport that calls?  A module of its own, or built into the library. */
static bool is_transport(const void *caller)
{
    Dl_info object;
    return has_ways() && dladdr(caller, &object) != 0 && object.dli_fname &&
           (strstr(object.dli_fname, "btl_tcp") || strstr(object.dli_fname, "libopen-pal"));
}

static const struct fabric_way *way_of_known(const struct in_addr *known)
{
    for (uint32_t i = 0; i < fabric.ways.count; i++)
        if (memcmp(fabric.ways.items[i].known, known, sizeof(*known)) == 0)
            return &fabric.ways.items[i];
    return NULL;
}

/* ---- the listener ---- */

/* One socket for each address; where the transport holds its own, there is a set of all of them,
 * which is as readable as they are. */
static struct {
    int held; /* by the transport; -1: none yet */
    int sockets[RANK_COUNT_MAX + 1];
    uint32_t count;
    bool is_set;
} listener = {.held = -1};

static void listener_close(void)
{
    for (uint32_t i = 0; i < listener.count; i++)
        (void)close(listener.sockets[i]);
    listener.count = 0;
    listener.held = -1;
    listener.is_set = false;
}

/* A closed flag each, as the kernel of macOS has none for socket(). */
static bool listener_add(const struct in_addr *address, in_port_t port)
{
    const struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_addr = *address, .sin_port = port};
    const int made = socket(AF_INET, SOCK_STREAM, 0);
    if (made < 0)
        return false;
    (void)fcntl(made, F_SETFD, FD_CLOEXEC);
    (void)fcntl(made, F_SETFL, O_NONBLOCK);
    if (next_bind(made, (const struct sockaddr *)&at, sizeof(at)) != 0) {
        const int error = errno;
        (void)close(made);
        errno = error;
        return false;
    }
    listener.sockets[listener.count++] = made;
    return true;
}

static bool is_first_of_its_own(uint32_t at)
{
    const struct fabric_way *ways = fabric.ways.items;
    for (uint32_t i = 0; i < at; i++)
        if (memcmp(ways[i].own, ways[at].own, sizeof(ways[at].own)) == 0)
            return false;
    return memcmp(ways[at].own, &fabric.known, sizeof(ways[at].own)) != 0;
}

/* The transport tries port after port until one is free: here it is free at all the addresses. */
static int listener_bind(int socket, struct sockaddr_in *wildcard)
{
    struct in_addr own;
    listener_close();
    for (uint32_t i = 0; i < fabric.ways.count; i++) {
        memcpy(&own, fabric.ways.items[i].own, sizeof(own));
        if (is_first_of_its_own(i) && !listener_add(&own, wildcard->sin_port)) {
            const int error = errno;
            listener_close();
            errno = error;
            return -1;
        }
    }
    wildcard->sin_addr = fabric.known;
    if (next_bind(socket, (const struct sockaddr *)wildcard, sizeof(*wildcard)) != 0) {
        const int error = errno;
        listener_close();
        errno = error;
        return -1;
    }
    listener.held = socket;
    return 0;
}

#ifdef __linux__
static int listener_listen(int socket, int backlog)
{
    if (next_listen(socket, backlog) != 0)
        return -1;
    const int own = fcntl(socket, F_DUPFD_CLOEXEC, 0);
    const int set = epoll_create1(EPOLL_CLOEXEC);
    bool ok = own >= 0 && set >= 0 && fcntl(own, F_SETFL, O_NONBLOCK) == 0;
    if (own >= 0)
        listener.sockets[listener.count++] = own;
    for (uint32_t i = 0; i < listener.count && ok; i++) {
        struct epoll_event wanted = {.events = EPOLLIN};
        ok = (listener.sockets[i] == own || next_listen(listener.sockets[i], backlog) == 0) &&
             epoll_ctl(set, EPOLL_CTL_ADD, listener.sockets[i], &wanted) == 0;
    }
    listener.is_set = ok && dup3(set, socket, O_CLOEXEC) == socket;
    const int error = errno;
    if (set >= 0)
        (void)close(set);
    errno = error;
    return listener.is_set ? 0 : -1;
}
#else
static int listener_listen(int socket, int backlog)
{
    return next_listen(socket, backlog);
}
#endif

static int listener_accept(struct sockaddr *address, socklen_t *size)
{
    const socklen_t room = size ? *size : 0;
    for (uint32_t i = 0; i < listener.count; i++) {
        if (size)
            *size = room;
        const int accepted = next_accept(listener.sockets[i], address, size);
        if (accepted >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK))
            return accepted;
    }
    errno = EAGAIN;
    return -1;
}

/* ---- our calls ---- */

/* The loopback of the family the placement's address is not of: that listener is of no use, and
 * there it is out of reach. */
static void replace_v4(struct sockaddr_in *v4, const char *address)
{
    if (v4->sin_addr.s_addr == htonl(INADDR_ANY) &&
        inet_pton(AF_INET, address, &v4->sin_addr) != 1)
        v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
}

static void replace_v6(struct sockaddr_in6 *v6, const char *address)
{
    if (memcmp(&v6->sin6_addr, &in6addr_any, sizeof(in6addr_any)) == 0 &&
        inet_pton(AF_INET6, address, &v6->sin6_addr) != 1)
        v6->sin6_addr = in6addr_loopback;
}

/* Named as the C library's in the symbol table: Open MPI calls these, as the program comes before
 * libc in the order of lookup. */
#define IN_PLACE_OF(name) __asm__(name)
#define EXPORTED __attribute__((visibility("default"), used))

EXPORTED int fabric_bind(int socket, const struct sockaddr *address, socklen_t size)
    IN_PLACE_OF("bind");
EXPORTED int fabric_listen(int socket, int backlog) IN_PLACE_OF("listen");
EXPORTED int fabric_accept(int socket, struct sockaddr *address, socklen_t *size)
    IN_PLACE_OF("accept");
EXPORTED int fabric_connect(int socket, const struct sockaddr *address, socklen_t size)
    IN_PLACE_OF("connect");
EXPORTED int fabric_getpeername(int socket, struct sockaddr *address, socklen_t *size)
    IN_PLACE_OF("getpeername");

static int bind_v4(int socket, struct sockaddr_in *v4, bool is_of_ways, const char *known)
{
    const bool is_wildcard = v4->sin_addr.s_addr == htonl(INADDR_ANY);
    if (is_of_ways && is_wildcard)
        return listener_bind(socket, v4);
    /* Of a connection: from which address it goes is known when it is known where to. */
    if (is_of_ways && v4->sin_port == 0 &&
        memcmp(&v4->sin_addr, &fabric.known, sizeof(fabric.known)) == 0)
        return 0;
    replace_v4(v4, known);
    return next_bind(socket, (const struct sockaddr *)v4, sizeof(*v4));
}

int fabric_bind(int socket, const struct sockaddr *address, socklen_t size)
{
    const char *known = getenv(FABRIC_VARIABLE);
    const bool is_of_ways = is_transport(__builtin_return_address(0));
    /* Where there are ways, our own sealed sockets listen at more than one address too. */
    if (!known || !*known || !address || (has_ways() && !is_of_ways))
        return next_bind(socket, address, size);
    if (address->sa_family == AF_INET && size >= sizeof(struct sockaddr_in)) {
        struct sockaddr_in v4;
        memcpy(&v4, address, sizeof(v4));
        return bind_v4(socket, &v4, is_of_ways, known);
    }
    if (address->sa_family == AF_INET6 && size >= sizeof(struct sockaddr_in6)) {
        struct sockaddr_in6 v6;
        memcpy(&v6, address, sizeof(v6));
        replace_v6(&v6, known);
        return next_bind(socket, (const struct sockaddr *)&v6, sizeof(v6));
    }
    return next_bind(socket, address, size);
}

int fabric_listen(int socket, int backlog)
{
    const bool is_ours = listener.count > 0 && socket == listener.held && !listener.is_set;
    return is_ours && is_transport(__builtin_return_address(0)) ? listener_listen(socket, backlog)
                                                                : next_listen(socket, backlog);
}

int fabric_accept(int socket, struct sockaddr *address, socklen_t *size)
{
    const bool is_ours = listener.is_set && socket == listener.held;
    return is_ours && is_transport(__builtin_return_address(0))
               ? listener_accept(address, size)
               : next_accept(socket, address, size);
}

int fabric_connect(int socket, const struct sockaddr *address, socklen_t size)
{
    struct sockaddr_in to;
    struct sockaddr_in from = {.sin_family = AF_INET};
    if (!address || address->sa_family != AF_INET || size < sizeof(to) ||
        !is_transport(__builtin_return_address(0)))
        return next_connect(socket, address, size);
    memcpy(&to, address, sizeof(to));
    from.sin_addr = fabric.known;
    const struct fabric_way *way = way_of_known(&to.sin_addr);
    if (way) {
        memcpy(&from.sin_addr, way->own, sizeof(from.sin_addr));
        memcpy(&to.sin_addr, way->peer, sizeof(to.sin_addr));
    }
    if (next_bind(socket, (const struct sockaddr *)&from, sizeof(from)) != 0)
        return -1;
    return next_connect(socket, (const struct sockaddr *)&to, sizeof(to));
}

int fabric_getpeername(int socket, struct sockaddr *address, socklen_t *size)
{
    const int result = next_getpeername(socket, address, size);
    struct sockaddr_in from;
    if (result != 0 || !address || !size || *size < sizeof(from) ||
        address->sa_family != AF_INET || !is_transport(__builtin_return_address(0)))
        return result;
    memcpy(&from, address, sizeof(from));
    for (uint32_t i = 0; i < fabric.ways.count; i++)
        if (memcmp(fabric.ways.items[i].peer, &from.sin_addr, sizeof(from.sin_addr)) == 0) {
            memcpy(&from.sin_addr, fabric.ways.items[i].known, sizeof(from.sin_addr));
            memcpy(address, &from, sizeof(from));
            break;
        }
    return result;
}
