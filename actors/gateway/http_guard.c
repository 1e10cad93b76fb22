/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/gateway/http_guard.h"

#include "actors/gateway/http_connection.h"
#include "protocol/memory.h"
#include "runtime/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Deadlines are looked at this often. */
#define TICK_MS 250
/* After the process ran out of descriptors, accepting rests this long. */
#define ACCEPT_REST_MS 200

struct http_guard {
    struct http_connections shared;
    int listen_fd;
    int wake_fds[2];
    unsigned port;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards `finished`, `is_closing` */
    bool is_closing;
    uint64_t *finished; /* connections whose answer is written; at most one each */
    size_t finished_count;
    _Atomic uint64_t accepted;
    uint64_t id_next;
    uint64_t accept_after_ms;
    size_t slot_count;
    struct http_connection *slots;
    struct pollfd *polls;
};

struct http_guard_limits http_guard_limits_default(void)
{
    return (struct http_guard_limits){
        .connections = HTTP_CONNECTION_COUNT_MAX,
        .connections_per_address = HTTP_CONNECTION_PER_ADDRESS_MAX,
        .head_deadline_ms = HTTP_HEAD_DEADLINE_MS,
        .body_grace_ms = HTTP_BODY_GRACE_MS,
        .body_floor = HTTP_BODY_FLOOR,
        .write_stall_ms = HTTP_WRITE_STALL_MS,
        .idle_ms = HTTP_IDLE_MS,
    };
}

/* ---- accepting ---- */

static struct http_address address_of(const struct sockaddr_storage *peer)
{
    struct http_address address = {{0}};
    if (peer->ss_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const void *)peer;
        memcpy(address.bytes, &six->sin6_addr, 16);
    } else {
        const struct sockaddr_in *four = (const void *)peer;
        address.bytes[10] = 0xff;
        address.bytes[11] = 0xff;
        memcpy(address.bytes + 12, &four->sin_addr, 4);
    }
    return address;
}

/* Counts those being served, not those that are only being told to go. */
static void count_connections(const struct http_guard *guard, const struct http_address *address,
                              unsigned *all_out, unsigned *same_out)
{
    *all_out = 0;
    *same_out = 0;
    for (size_t i = 0; i < guard->slot_count; i++) {
        const struct http_connection *slot = &guard->slots[i];
        if (slot->state == HTTP_CONNECTION_FREE || slot->state == HTTP_CONNECTION_CLOSING ||
            slot->state == HTTP_CONNECTION_LINGERING)
            continue;
        (*all_out)++;
        if (memcmp(&slot->address, address, sizeof(*address)) == 0)
            (*same_out)++;
    }
}

static struct http_connection *free_slot(struct http_guard *guard)
{
    for (size_t i = 0; i < guard->slot_count; i++)
        if (guard->slots[i].state == HTTP_CONNECTION_FREE)
            return &guard->slots[i];
    return NULL;
}

/* Closes the one that has been idle longest, of one address or (NULL) of all; false: none is. */
static bool close_idle(struct http_guard *guard, const struct http_address *address)
{
    struct http_connection *oldest = NULL;
    for (size_t i = 0; i < guard->slot_count; i++) {
        struct http_connection *slot = &guard->slots[i];
        if (!http_connection_is_idle(slot) ||
            (address && memcmp(&slot->address, address, sizeof(*address)) != 0))
            continue;
        if (!oldest || slot->began_ms < oldest->began_ms)
            oldest = slot;
    }
    if (oldest)
        http_connection_end(oldest);
    return oldest != NULL;
}

static void take_client(struct http_guard *guard, int fd, const struct sockaddr_storage *peer,
                        uint64_t now_ms)
{
    struct http_connection *slot = free_slot(guard);
    if (!slot) {
        (void)close(fd);
        return;
    }
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    struct http_address address = address_of(peer);
    unsigned all = 0;
    unsigned same = 0;
    count_connections(guard, &address, &all, &same);
    if ((same >= guard->shared.limits.connections_per_address && close_idle(guard, &address)) ||
        (all >= guard->shared.limits.connections && close_idle(guard, NULL)))
        count_connections(guard, &address, &all, &same);
    uint64_t index = (uint64_t)(slot - guard->slots);
    uint64_t id = (guard->id_next++ << 16) | index;
    http_connection_begin(slot, &guard->shared, fd, id, address, now_ms);
    atomic_fetch_add(&guard->accepted, 1);
    struct http_fault fault;
    if (all >= guard->shared.limits.connections) {
        (void)http_fault_set(&fault, 429, "too_many_connections",
                             "The server has %u connections, its limit; try again soon.", all);
        http_connection_refuse(slot, &fault, now_ms);
    } else if (same >= guard->shared.limits.connections_per_address) {
        (void)http_fault_set(&fault, 429, "too_many_connections",
                             "This address has %u connections, its limit; close some.", same);
        http_connection_refuse(slot, &fault, now_ms);
    }
}

static void accept_clients(struct http_guard *guard, uint64_t now_ms)
{
    for (;;) {
        struct sockaddr_storage peer;
        socklen_t size = sizeof(peer);
        int fd = accept(guard->listen_fd, (struct sockaddr *)&peer, &size);
        if (fd < 0) {
            if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
                guard->accept_after_ms = now_ms + ACCEPT_REST_MS;
            return;
        }
        (void)fcntl(fd, F_SETFL, O_NONBLOCK);
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
        take_client(guard, fd, &peer, now_ms);
    }
}

/* ---- the thread ---- */

static void wake(struct http_guard *guard)
{
    ssize_t written = write(guard->wake_fds[1], "", 1);
    (void)written; /* a full pipe wakes as well */
}

/* False: time to close. */
static bool take_finished(struct http_guard *guard)
{
    char drained[256];
    while (read(guard->wake_fds[0], drained, sizeof(drained)) > 0)
        continue;
    pthread_mutex_lock(&guard->mutex);
    bool goes_on = !guard->is_closing;
    for (size_t i = 0; i < guard->finished_count; i++) {
        uint64_t id = guard->finished[i];
        struct http_connection *slot = &guard->slots[id & 0xffff];
        if (slot->id == id && slot->state == HTTP_CONNECTION_SERVING)
            slot->answer_written = true;
    }
    guard->finished_count = 0;
    pthread_mutex_unlock(&guard->mutex);
    return goes_on;
}

static int prepare_polls(struct http_guard *guard, uint64_t now_ms)
{
    bool is_resting = now_ms < guard->accept_after_ms;
    int timeout_ms = is_resting ? ACCEPT_REST_MS : -1;
    guard->polls[0] = (struct pollfd){.fd = guard->wake_fds[0], .events = POLLIN};
    guard->polls[1] = (struct pollfd){.fd = is_resting ? -1 : guard->listen_fd, .events = POLLIN};
    for (size_t i = 0; i < guard->slot_count; i++) {
        http_connection_poll(&guard->slots[i], &guard->polls[2 + 2 * i], &guard->polls[3 + 2 * i]);
        if (guard->slots[i].state != HTTP_CONNECTION_FREE)
            timeout_ms = TICK_MS;
    }
    return timeout_ms;
}

static void *guard_run(void *argument)
{
    struct http_guard *guard = argument;
    for (;;) {
        int timeout_ms = prepare_polls(guard, clock_now_ms());
        int count = poll(guard->polls, (nfds_t)(2 + 2 * guard->slot_count), timeout_ms);
        uint64_t now_ms = clock_now_ms();
        if (!take_finished(guard))
            break;
        for (size_t i = 0; i < guard->slot_count; i++) {
            bool has_events = count > 0;
            http_connection_pump(&guard->slots[i], has_events ? guard->polls[2 + 2 * i].revents : 0,
                                 has_events ? guard->polls[3 + 2 * i].revents : 0, now_ms);
        }
        if (count > 0 && guard->polls[1].revents)
            accept_clients(guard, now_ms);
    }
    for (size_t i = 0; i < guard->slot_count; i++)
        http_connection_end(&guard->slots[i]);
    return NULL;
}

/* ---- opening and closing ---- */

static enum status listen_on(struct http_guard *guard, const char *address, unsigned port,
                             struct reason *reason)
{
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    struct sockaddr *bound = (struct sockaddr *)&four;
    socklen_t size = sizeof(four);
    if (port > 65535)
        return refuse(reason, STATUS_INVALID, "%u is no port; give 0 to 65535.", port);
    if (inet_pton(AF_INET6, address, &six.sin6_addr) == 1) {
        bound = (struct sockaddr *)&six;
        size = sizeof(six);
    } else if (inet_pton(AF_INET, address, &four.sin_addr) != 1) {
        return refuse(reason, STATUS_INVALID, "%s is no IP address the HTTP API could listen on.",
                      address);
    }
    guard->listen_fd = socket(bound->sa_family, SOCK_STREAM, 0);
    if (guard->listen_fd < 0)
        return refuse(reason, status_from_errno(errno), "No socket: %s.", strerror(errno));
    int one = 1;
    (void)setsockopt(guard->listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    (void)fcntl(guard->listen_fd, F_SETFL, O_NONBLOCK);
    (void)fcntl(guard->listen_fd, F_SETFD, FD_CLOEXEC);
    if (bind(guard->listen_fd, bound, size) != 0 || listen(guard->listen_fd, 128) != 0)
        return refuse(reason, errno == EADDRINUSE ? STATUS_IN_USE : status_from_errno(errno),
                      "The HTTP API cannot listen on %s port %u: %s; choose another with the "
                      "setting http.",
                      address, port, strerror(errno));
    struct sockaddr_storage name;
    size = sizeof(name);
    if (getsockname(guard->listen_fd, (struct sockaddr *)&name, &size) != 0)
        return refuse(reason, status_from_errno(errno), "The port is not known.");
    guard->port = ntohs(name.ss_family == AF_INET6
                            ? ((const struct sockaddr_in6 *)(const void *)&name)->sin6_port
                            : ((const struct sockaddr_in *)(const void *)&name)->sin_port);
    return STATUS_OK;
}

static void guard_free(struct http_guard *guard)
{
    if (guard->listen_fd >= 0)
        (void)close(guard->listen_fd);
    for (int i = 0; i < 2; i++)
        if (guard->wake_fds[i] >= 0)
            (void)close(guard->wake_fds[i]);
    pthread_mutex_destroy(&guard->mutex);
    memory_free(guard->finished);
    memory_free(guard->slots);
    memory_free(guard->polls);
    memory_free(guard);
}

static enum status guard_prepare(struct http_guard *guard, const char *address, unsigned port,
                                 struct reason *reason)
{
    guard->slot_count = guard->shared.limits.connections + HTTP_REFUSAL_COUNT_MAX;
    ASSERT(guard->slot_count < 0xffff);
    guard->slots = memory_zeroed(guard->slot_count, sizeof(*guard->slots));
    guard->polls = memory_zeroed(2 + 2 * guard->slot_count, sizeof(*guard->polls));
    guard->finished = memory_zeroed(guard->slot_count, sizeof(*guard->finished));
    if (!guard->slots || !guard->polls || !guard->finished)
        return refuse(reason, STATUS_NO_MEMORY, "No memory for the HTTP guard.");
    if (pipe(guard->wake_fds) != 0) {
        guard->wake_fds[0] = guard->wake_fds[1] = -1;
        return refuse(reason, status_from_errno(errno), "No pipe: %s.", strerror(errno));
    }
    for (int i = 0; i < 2; i++) {
        (void)fcntl(guard->wake_fds[i], F_SETFL, O_NONBLOCK);
        (void)fcntl(guard->wake_fds[i], F_SETFD, FD_CLOEXEC);
    }
    return listen_on(guard, address, port, reason);
}

enum status http_guard_open(const char *address, unsigned port,
                            const struct http_guard_limits *limits,
                            const struct http_policy *policy, const struct http_guard_hooks *hooks,
                            struct http_guard **guard_out, struct reason *reason)
{
    enum status status = http_policy_check_bind(policy, address, reason);
    if (status != STATUS_OK)
        return status;
    struct http_guard *guard = memory_zeroed(1, sizeof(*guard));
    if (!guard)
        return refuse(reason, STATUS_NO_MEMORY, "No memory for the HTTP guard.");
    guard->shared.limits = *limits;
    guard->shared.policy = policy;
    guard->shared.hooks = *hooks;
    guard->listen_fd = guard->wake_fds[0] = guard->wake_fds[1] = -1;
    guard->id_next = 1;
    pthread_mutex_init(&guard->mutex, NULL);
    status = guard_prepare(guard, address, port, reason);
    if (status == STATUS_OK && pthread_create(&guard->thread, NULL, guard_run, guard) != 0)
        status = refuse(reason, STATUS_NO_MEMORY, "No thread for the HTTP guard.");
    if (status != STATUS_OK) {
        guard_free(guard);
        return status;
    }
    *guard_out = guard;
    return STATUS_OK;
}

unsigned http_guard_port(const struct http_guard *guard)
{
    return guard->port;
}

void http_guard_finished(struct http_guard *guard, uint64_t connection)
{
    pthread_mutex_lock(&guard->mutex);
    /* A connection has one request in flight, but it may end and another take its slot before the
     * guard looks: the newest word about a slot is the only one that counts. */
    size_t at = 0;
    while (at < guard->finished_count && (guard->finished[at] & 0xffff) != (connection & 0xffff))
        at++;
    ASSERT(at < guard->slot_count);
    guard->finished[at] = connection;
    if (at == guard->finished_count)
        guard->finished_count++;
    pthread_mutex_unlock(&guard->mutex);
    wake(guard);
}

struct http_guard_counts http_guard_counts(struct http_guard *guard)
{
    return (struct http_guard_counts){.accepted = atomic_load(&guard->accepted),
                                      .refused = atomic_load(&guard->shared.refused),
                                      .admitted = atomic_load(&guard->shared.admitted)};
}

void http_guard_close(struct http_guard *guard)
{
    if (!guard)
        return;
    pthread_mutex_lock(&guard->mutex);
    guard->is_closing = true;
    pthread_mutex_unlock(&guard->mutex);
    wake(guard);
    pthread_join(guard->thread, NULL);
    guard_free(guard);
}
