/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/collective_mpi.h"

#include "protocol/memory.h"
#include "runtime/clock.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <mpi.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

/* Counts are int in MPI 3, and chunks of this size cost nothing on TCP (measured 16 to 64 MiB). */
static const size_t chunk_size = (size_t)16 << 20;
/* Smaller, as who watches a slow link sees each. */
static const size_t broadcast_piece = (size_t)1 << 20;
/* Above this many floats each rank adds up one part for all, below it each adds up everything:
 * fewer bytes against fewer rounds.  The additions and their order are the same. */
static const size_t count_of_parted_sum = 16384;
/* Messages from this size on are waited for aside: see wait_aside. */
static const size_t size_of_aside_wait = (size_t)256 << 10;
static const uint64_t spin_us = 200;
static const long pause_ns = 50000;
/* One for each direction would do; the posted ones have the tags after it, one for each channel. */
enum { TAG_NARROW = 10, TAG_POINT_TO_POINT, TAG_POSTED };
enum { POSTS_GROWN = 64 };

/* A message that was begun. */
struct posted {
    MPI_Request request;
    int receives; /* bytes that must come; -1: it is sent */
    bool is_used;
};

struct collective_mpi {
    struct collective base; /* first: the two pointers are one */
    MPI_Comm comm;          /* the world's, until it is narrowed */
    float *scratch;
    size_t scratch_count;
    int *counts; /* size ints each */
    int *offsets;
    int *receive_counts;
    int *receive_offsets;
    struct posted *posts; /* by number */
    uint32_t post_count;
};

static struct collective_mpi *mpi_of(struct collective *collective)
{
    collective->entered++;
    return (struct collective_mpi *)(void *)collective;
}

static enum status finish(struct collective *collective, int result)
{
    if (result != MPI_SUCCESS)
        return STATUS_IO;
    collective->finished++;
    return STATUS_OK;
}

static bool scratch_grow(struct collective_mpi *mpi, size_t count)
{
    if (count <= mpi->scratch_count)
        return true;
    float *grown = memory_resized(mpi->scratch, count, sizeof(float));
    if (!grown)
        return false;
    mpi->scratch = grown;
    mpi->scratch_count = count;
    return true;
}

/* values[count] = rows[0] + rows[1] + ..., each row `count` floats, added in this order. */
static void add_rows(const float *rows, uint32_t row_count, size_t count, float *values_out)
{
    memcpy(values_out, rows, count * sizeof(float));
    for (uint32_t row = 1; row < row_count; row++) {
        const float *add = rows + (size_t)row * count;
        for (size_t i = 0; i < count; i++)
            values_out[i] += add[i];
    }
}

static int sum_whole(struct collective_mpi *mpi, float *values, size_t count)
{
    uint32_t size = mpi->base.size;
    int result = MPI_Allgather(values, (int)count, MPI_FLOAT, mpi->scratch, (int)count, MPI_FLOAT,
                               mpi->comm);
    if (result == MPI_SUCCESS)
        add_rows(mpi->scratch, size, count, values);
    return result;
}

/* Rank r gets everybody's part r, adds, and gives the sum to all. */
static int sum_parted(struct collective_mpi *mpi, float *values, size_t count)
{
    uint32_t size = mpi->base.size;
    size_t part = count / size;
    for (uint32_t i = 0; i < size; i++) {
        mpi->counts[i] = (int)(i + 1 == size ? count - part * i : part);
        mpi->offsets[i] = (int)(part * i);
    }
    int own = mpi->counts[mpi->base.rank];
    for (uint32_t i = 0; i < size; i++) {
        mpi->receive_counts[i] = own;
        mpi->receive_offsets[i] = own * (int)i;
    }
    int result = MPI_Alltoallv(values, mpi->counts, mpi->offsets, MPI_FLOAT, mpi->scratch,
                               mpi->receive_counts, mpi->receive_offsets, MPI_FLOAT,
                               mpi->comm);
    if (result != MPI_SUCCESS)
        return result;
    add_rows(mpi->scratch, size, (size_t)own, values + mpi->offsets[mpi->base.rank]);
    return MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, values, mpi->counts, mpi->offsets,
                          MPI_FLOAT, mpi->comm);
}

static enum status mpi_sum(struct collective *collective, float *values, size_t count)
{
    struct collective_mpi *mpi = mpi_of(collective);
    size_t piece_max = chunk_size / sizeof(float);
    size_t largest = count < piece_max ? count : piece_max;
    /* The last part takes the remainder of the division. */
    if (!scratch_grow(mpi, (largest + collective->size) * collective->size))
        return STATUS_NO_MEMORY;
    int result = MPI_SUCCESS;
    for (size_t done = 0; done < count && result == MPI_SUCCESS;) {
        size_t piece = count - done < piece_max ? count - done : piece_max;
        result = piece < count_of_parted_sum ? sum_whole(mpi, values + done, piece)
                                             : sum_parted(mpi, values + done, piece);
        done += piece;
    }
    return finish(collective, result);
}

/* Waits for a large message without taking a core from those who make or check its bytes: after a
 * moment it looks only so often that the socket's buffers never run full. */
static int wait_aside(MPI_Request *request, MPI_Status *status)
{
    int is_done = 0;
    const uint64_t start_us = clock_now_us();
    for (;;) {
        int result = MPI_Test(request, &is_done, status);
        if (result != MPI_SUCCESS || is_done)
            return result;
        if (clock_now_us() - start_us > spin_us) {
            const struct timespec pause = {.tv_nsec = pause_ns};
            (void)nanosleep(&pause, NULL);
        }
    }
}

static int send_piece(const struct collective_mpi *mpi, const void *bytes, size_t size,
                      uint32_t target)
{
    MPI_Request request;
    if (size < size_of_aside_wait)
        return MPI_Send(bytes, (int)size, MPI_BYTE, (int)target, TAG_POINT_TO_POINT,
                        mpi->comm);
    int result = MPI_Isend(bytes, (int)size, MPI_BYTE, (int)target, TAG_POINT_TO_POINT,
                           mpi->comm, &request);
    return result == MPI_SUCCESS ? wait_aside(&request, MPI_STATUS_IGNORE) : result;
}

static int receive_piece(const struct collective_mpi *mpi, void *bytes_out, size_t size,
                         uint32_t source, MPI_Status *status)
{
    MPI_Request request;
    if (size < size_of_aside_wait)
        return MPI_Recv(bytes_out, (int)size, MPI_BYTE, (int)source, TAG_POINT_TO_POINT,
                        mpi->comm, status);
    int result = MPI_Irecv(bytes_out, (int)size, MPI_BYTE, (int)source, TAG_POINT_TO_POINT,
                           mpi->comm, &request);
    return result == MPI_SUCCESS ? wait_aside(&request, status) : result;
}

static int send_chunks(const struct collective_mpi *mpi, const void *bytes, size_t size,
                       uint32_t target)
{
    const unsigned char *at = bytes;
    int result = MPI_SUCCESS;
    for (size_t done = 0; done < size && result == MPI_SUCCESS;) {
        size_t piece = size - done < chunk_size ? size - done : chunk_size;
        result = send_piece(mpi, at + done, piece, target);
        done += piece;
    }
    return result;
}

static int receive_chunks(const struct collective_mpi *mpi, void *bytes_out, size_t size,
                          uint32_t source)
{
    unsigned char *at = bytes_out;
    int result = MPI_SUCCESS;
    for (size_t done = 0; done < size && result == MPI_SUCCESS;) {
        size_t piece = size - done < chunk_size ? size - done : chunk_size;
        MPI_Status status;
        int got = 0;
        result = receive_piece(mpi, at + done, piece, source, &status);
        if (result == MPI_SUCCESS)
            result = MPI_Get_count(&status, MPI_BYTE, &got);
        if (result == MPI_SUCCESS && (size_t)got != piece)
            result = MPI_ERR_TRUNCATE;
        done += piece;
    }
    return result;
}

static enum status mpi_gather(struct collective *collective, const float *values,
                              const size_t *counts, float *all_out, uint32_t root)
{
    struct collective_mpi *mpi = mpi_of(collective);
    uint32_t rank = mpi->base.rank;
    size_t total = 0;
    for (uint32_t i = 0; i < collective->size; i++)
        total += counts[i];
    if (total <= INT_MAX) {
        size_t offset = 0;
        for (uint32_t i = 0; i < collective->size; i++) {
            mpi->counts[i] = (int)counts[i];
            mpi->offsets[i] = (int)offset;
            offset += counts[i];
        }
        return finish(collective,
                      MPI_Gatherv(values, (int)counts[rank], MPI_FLOAT, all_out, mpi->counts,
                                  mpi->offsets, MPI_FLOAT, (int)root, mpi->comm));
    }
    if (rank != root)
        return finish(collective,
                      send_chunks(mpi, values, counts[rank] * sizeof(float), root));
    int result = MPI_SUCCESS;
    size_t offset = 0;
    for (uint32_t i = 0; i < collective->size && result == MPI_SUCCESS; i++) {
        size_t size = counts[i] * sizeof(float);
        if (i == rank)
            memcpy(all_out + offset, values, size);
        else
            result = receive_chunks(mpi, all_out + offset, size, i);
        offset += counts[i];
    }
    return finish(collective, result);
}

static enum status mpi_broadcast(struct collective *collective, void *bytes, size_t size,
                                 uint32_t root)
{
    const struct collective_mpi *mpi = mpi_of(collective);
    unsigned char *at = bytes;
    int result = MPI_SUCCESS;
    for (size_t done = 0; done < size && result == MPI_SUCCESS;) {
        size_t piece = size - done < broadcast_piece ? size - done : broadcast_piece;
        result = MPI_Bcast(at + done, (int)piece, MPI_BYTE, (int)root, mpi->comm);
        collective->pieces++;
        done += piece;
    }
    return finish(collective, result);
}

static enum status mpi_send(struct collective *collective, const void *bytes, size_t size,
                            uint32_t target)
{
    const struct collective_mpi *mpi = mpi_of(collective);
    return finish(collective, send_chunks(mpi, bytes, size, target));
}

static enum status mpi_receive(struct collective *collective, void *bytes_out, size_t size,
                               uint32_t source)
{
    const struct collective_mpi *mpi = mpi_of(collective);
    return finish(collective, receive_chunks(mpi, bytes_out, size, source));
}

static enum status mpi_barrier(struct collective *collective)
{
    const struct collective_mpi *mpi = mpi_of(collective);
    return finish(collective, MPI_Barrier(mpi->comm));
}

/* ---- several at once ---- */

static enum status post_free_find(struct collective_mpi *mpi, uint32_t *post_out)
{
    for (uint32_t i = 0; i < mpi->post_count; i++) {
        if (!mpi->posts[i].is_used) {
            *post_out = i;
            return STATUS_OK;
        }
    }
    const uint32_t count = mpi->post_count + POSTS_GROWN;
    struct posted *grown = memory_resized(mpi->posts, count, sizeof(*grown));
    if (!grown)
        return STATUS_NO_MEMORY;
    memset(grown + mpi->post_count, 0, POSTS_GROWN * sizeof(*grown));
    *post_out = mpi->post_count;
    mpi->posts = grown;
    mpi->post_count = count;
    return STATUS_OK;
}

static enum status mpi_post_send(struct collective *collective, enum collective_channel channel,
                                 const void *bytes, size_t size, uint32_t target,
                                 uint32_t *post_out)
{
    uint32_t at = 0;
    struct collective_mpi *mpi = (struct collective_mpi *)(void *)collective;
    enum status status = post_free_find(mpi, &at);
    if (status != STATUS_OK)
        return status;
    ASSERT(size <= INT_MAX);
    mpi->posts[at] = (struct posted){.receives = -1, .is_used = true};
    *post_out = at;
    return MPI_Isend(bytes, (int)size, MPI_BYTE, (int)target, TAG_POSTED + (int)channel,
                     mpi->comm, &mpi->posts[at].request) == MPI_SUCCESS
               ? STATUS_OK
               : STATUS_IO;
}

static enum status mpi_post_receive(struct collective *collective, enum collective_channel channel,
                                    void *bytes_out, size_t size, uint32_t source,
                                    uint32_t *post_out)
{
    uint32_t at = 0;
    struct collective_mpi *mpi = (struct collective_mpi *)(void *)collective;
    enum status status = post_free_find(mpi, &at);
    if (status != STATUS_OK)
        return status;
    ASSERT(size <= INT_MAX);
    mpi->posts[at] = (struct posted){.receives = (int)size, .is_used = true};
    *post_out = at;
    return MPI_Irecv(bytes_out, (int)size, MPI_BYTE, (int)source, TAG_POSTED + (int)channel,
                     mpi->comm, &mpi->posts[at].request) == MPI_SUCCESS
               ? STATUS_OK
               : STATUS_IO;
}

static enum status mpi_post_look(struct collective *collective, uint32_t post, bool *is_done_out)
{
    struct collective_mpi *mpi = (struct collective_mpi *)(void *)collective;
    ASSERT(post < mpi->post_count && mpi->posts[post].is_used);
    struct posted *posted = &mpi->posts[post];
    MPI_Status status;
    int is_done = 0;
    int got = 0;
    if (MPI_Test(&posted->request, &is_done, &status) != MPI_SUCCESS)
        return STATUS_IO;
    *is_done_out = is_done != 0;
    if (!is_done)
        return STATUS_OK;
    posted->is_used = false;
    if (posted->receives >= 0 && (MPI_Get_count(&status, MPI_BYTE, &got) != MPI_SUCCESS ||
                                  got != posted->receives))
        return STATUS_IO;
    return STATUS_OK;
}

/* What is being sent cannot be called back: no other call may follow before the process ends. */
static void mpi_post_drop(struct collective *collective)
{
    struct collective_mpi *mpi = (struct collective_mpi *)(void *)collective;
    for (uint32_t i = 0; i < mpi->post_count; i++) {
        if (mpi->posts[i].is_used && mpi->posts[i].receives >= 0) {
            (void)MPI_Cancel(&mpi->posts[i].request);
            (void)MPI_Request_free(&mpi->posts[i].request);
        }
        mpi->posts[i].is_used = false;
    }
}

static const struct collective_ops mpi_ops = {
    .sum = mpi_sum,
    .gather = mpi_gather,
    .broadcast = mpi_broadcast,
    .send = mpi_send,
    .receive = mpi_receive,
    .barrier = mpi_barrier,
    .post_send = mpi_post_send,
    .post_receive = mpi_post_receive,
    .post_look = mpi_post_look,
    .post_drop = mpi_post_drop,
};

static void mpi_free(struct collective_mpi *mpi)
{
    memory_free(mpi->scratch);
    memory_free(mpi->counts);
    memory_free(mpi->posts);
    memory_free(mpi);
}

enum status collective_mpi_open(uint32_t expected_size, struct collective **collective_out,
                                struct reason *reason)
{
    int granted = 0;
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &granted) != MPI_SUCCESS)
        return refuse(reason, STATUS_IO, "MPI does not start on this rank");
    int size = 0;
    int rank = 0;
    bool works = MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN) == MPI_SUCCESS &&
                 MPI_Comm_size(MPI_COMM_WORLD, &size) == MPI_SUCCESS &&
                 MPI_Comm_rank(MPI_COMM_WORLD, &rank) == MPI_SUCCESS;
    if (!works || granted < MPI_THREAD_FUNNELED)
        return refuse(reason, STATUS_IO, "MPI started but does not say who takes part");
    if (size < 0 || (uint32_t)size != expected_size)
        return refuse(reason, STATUS_INVALID, "the world has %d ranks where the placement has %"
                      PRIu32 "; start ranks through the launcher of their generation", size,
                      expected_size);
    struct collective_mpi *mpi = memory_zeroed(1, sizeof(*mpi));
    int *counts = memory_zeroed((size_t)size * 4, sizeof(int));
    if (!mpi || !counts) {
        memory_free(mpi);
        memory_free(counts);
        return refuse(reason, STATUS_NO_MEMORY, "no memory for the collective of %d ranks", size);
    }
    mpi->base.ops = &mpi_ops;
    mpi->comm = MPI_COMM_WORLD;
    mpi->base.rank = (uint32_t)rank;
    mpi->base.size = (uint32_t)size;
    mpi->counts = counts;
    mpi->offsets = counts + size;
    mpi->receive_counts = counts + 2 * size;
    mpi->receive_offsets = counts + 3 * size;
    *collective_out = &mpi->base;
    return STATUS_OK;
}

/* Only those that stay take part, so that the others may have left; it is not counted, as these do
 * not count it. */
enum status collective_mpi_narrow(struct collective *collective, uint32_t count,
                                  struct reason *reason)
{
    struct collective_mpi *mpi = (struct collective_mpi *)(void *)collective;
    int range[1][3] = {{0, (int)count - 1, 1}};
    MPI_Group all = MPI_GROUP_NULL;
    MPI_Group stays = MPI_GROUP_NULL;
    MPI_Comm comm = MPI_COMM_NULL;
    ASSERT(count > 0 && count <= collective->size && collective->rank < count);
    const bool works =
        MPI_Comm_group(mpi->comm, &all) == MPI_SUCCESS &&
        MPI_Group_range_incl(all, 1, range, &stays) == MPI_SUCCESS &&
        MPI_Comm_create_group(mpi->comm, stays, TAG_NARROW, &comm) == MPI_SUCCESS &&
        MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN) == MPI_SUCCESS;
    if (stays != MPI_GROUP_NULL)
        (void)MPI_Group_free(&stays);
    if (all != MPI_GROUP_NULL)
        (void)MPI_Group_free(&all);
    if (!works)
        return refuse(reason, STATUS_IO, "the ranks that compute lost each other");
    mpi->comm = comm;
    collective->size = count;
    return STATUS_OK;
}

void collective_mpi_close(struct collective *collective)
{
    if (!collective)
        return;
    (void)MPI_Finalize();
    mpi_free((struct collective_mpi *)(void *)collective);
}

/* ---- the listeners of Open MPI's TCP transport ---- */

typedef int bind_call(int socket, const struct sockaddr *address, socklen_t size);

static bind_call *next_bind(void)
{
    static bind_call *next;
    if (!next) {
        void *symbol = dlsym(RTLD_NEXT, "bind");
        memcpy(&next, &symbol, sizeof(next));
    }
    return next;
}

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

/* Named `bind` in the symbol table: Open MPI calls this one, as the program comes before libc in
 * the order of lookup. */
__attribute__((visibility("default"), used)) int
fabric_bind(int socket, const struct sockaddr *address, socklen_t size) __asm__("bind");

int fabric_bind(int socket, const struct sockaddr *address, socklen_t size)
{
    bind_call *next = next_bind();
    const char *fabric = getenv("TROUPE_FABRIC_ADDRESS");
    if (!next) {
        errno = ENOSYS;
        return -1;
    }
    if (!fabric || !*fabric || !address)
        return next(socket, address, size);
    if (address->sa_family == AF_INET && size >= sizeof(struct sockaddr_in)) {
        struct sockaddr_in v4;
        memcpy(&v4, address, sizeof(v4));
        replace_v4(&v4, fabric);
        return next(socket, (const struct sockaddr *)&v4, sizeof(v4));
    }
    if (address->sa_family == AF_INET6 && size >= sizeof(struct sockaddr_in6)) {
        struct sockaddr_in6 v6;
        memcpy(&v6, address, sizeof(v6));
        replace_v6(&v6, fabric);
        return next(socket, (const struct sockaddr *)&v6, sizeof(v6));
    }
    return next(socket, address, size);
}
