/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/collective_mpi.h"

#include "actors/runner/collective_fabric.h"
#include "actors/runner/collective_order.h"
#include "protocol/limits.h"
#include "protocol/memory.h"
#include "runtime/clock.h"

#include <inttypes.h>
#include <limits.h>
#include <mpi.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Counts are int in MPI 3, and chunks of this size cost nothing on TCP (measured 16 to 64 MiB). */
static const size_t chunk_size = (size_t)16 << 20;
/* Smaller, as who watches a slow link sees each. */
static const size_t broadcast_piece = (size_t)1 << 20;
/* From this many floats on each rank adds up one part for all, below it each adds up everything:
 * fewer bytes against fewer rounds.  The additions and their order are the same. */
static const size_t count_of_parted_sum = 16384;
/* Messages from this size on are waited for aside: see wait_aside. */
static const size_t size_of_aside_wait = (size_t)256 << 10;
static const uint64_t spin_us = 200;
static const long pause_ns = 50000;
/* How long a sibling may take to come to a collective: its part of a step, on a busy machine.  Less
 * than RUNNER_STILL_MS, so that it is this rank that says who is missing. */
static const uint64_t sibling_limit_s = 25;
/* A sibling of like speed comes within this; till then the core is only lent to others. */
static const uint64_t awake_us = 2000;
/* Up to here a broadcast goes to each sibling at once, and a gather to the root, with its mark. */
static const size_t size_of_flat_message = (size_t)64 << 10;
/* What rows of a sum lie apart by: a mark before each, aligned. */
static const size_t row_alignment = 64;
/* One for each direction would do; the posted ones have the tags after it, one for each channel. */
enum { TAG_EXCHANGE = 9, TAG_NARROW, TAG_POINT_TO_POINT, TAG_POSTED };
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
    unsigned char *scratch;
    size_t scratch_size;
    MPI_Request *requests; /* of an exchange: what comes from each rank, then what goes to each */
    MPI_Status *statuses;
    struct posted *posts; /* by number */
    uint32_t post_count;
};

static struct collective_mpi *mpi_of(struct collective *collective)
{
    collective->entered++;
    return (struct collective_mpi *)(void *)collective;
}

static enum status end(struct collective *collective, enum status status)
{
    if (status == STATUS_OK)
        collective->finished++;
    return status;
}

static enum status finish(struct collective *collective, int result)
{
    return end(collective, result == MPI_SUCCESS ? STATUS_OK : STATUS_IO);
}

static bool scratch_grow(struct collective_mpi *mpi, size_t size)
{
    if (size <= mpi->scratch_size)
        return true;
    unsigned char *grown = memory_resized(mpi->scratch, size, 1);
    if (!grown)
        return false;
    mpi->scratch = grown;
    mpi->scratch_size = size;
    return true;
}

/* ---- exchanges: one message between any two ranks, at once ---- */

/* What one rank gives and takes; nothing where the size is 0. */
struct share {
    const void *given;
    size_t given_size;
    void *taken;
    size_t taken_size;
};

static enum status failed(struct collective *collective, enum status status, uint32_t rank,
                          const char *what)
{
    return refuse(&collective->why, status, "rank %" PRIu32 " %s in collective %" PRIu64,
                  collective->first + rank, what, collective->number);
}

/* Whose message did not come whole; all other ranks' did. */
static enum status look_whole(struct collective_mpi *mpi, const struct share *shares, int result)
{
    const uint32_t size = mpi->base.size;
    for (uint32_t rank = 0; rank < size; rank++) {
        int got = 0;
        MPI_Status *status = &mpi->statuses[rank];
        if (rank == mpi->base.rank || shares[rank].taken_size == 0)
            continue;
        if (result == MPI_ERR_IN_STATUS && status->MPI_ERROR == MPI_ERR_TRUNCATE)
            return failed(&mpi->base, STATUS_MALFORMED, rank, "sent more than its part");
        if (result == MPI_ERR_IN_STATUS && status->MPI_ERROR != MPI_SUCCESS)
            return failed(&mpi->base, STATUS_IO, rank, "was lost");
        if (result == MPI_SUCCESS && (MPI_Get_count(status, MPI_BYTE, &got) != MPI_SUCCESS ||
                                      (size_t)got != shares[rank].taken_size))
            return failed(&mpi->base, STATUS_MALFORMED, rank, "sent less than its part");
    }
    return result == MPI_SUCCESS ? STATUS_OK : STATUS_IO;
}

/* The lowest rank that is missing; there is one. */
static enum status name_missing(struct collective_mpi *mpi, const struct share *shares)
{
    for (uint32_t rank = 0; rank < mpi->base.size; rank++) {
        int is_here = 0;
        if (rank != mpi->base.rank && shares[rank].taken_size > 0 &&
            MPI_Request_get_status(mpi->requests[rank], &is_here, MPI_STATUS_IGNORE) ==
                MPI_SUCCESS && !is_here)
            return refuse(&mpi->base.why, STATUS_TIMED_OUT,
                          "rank %" PRIu32 " did not come for %" PRIu64 " s in collective %" PRIu64,
                          rank, sibling_limit_s, mpi->base.number);
    }
    return refuse(&mpi->base.why, STATUS_TIMED_OUT,
                  "the siblings took nothing for %" PRIu64 " s in collective %" PRIu64,
                  sibling_limit_s, mpi->base.number);
}

/* Lends the core while it waits, and leaves it when the wait is long. */
static enum status await(struct collective_mpi *mpi, const struct share *shares)
{
    const uint64_t start_us = clock_now_us();
    for (;;) {
        int is_done = 0;
        const int result = MPI_Testall((int)(2 * mpi->base.size), mpi->requests, &is_done,
                                       mpi->statuses);
        if (result != MPI_SUCCESS || is_done)
            return look_whole(mpi, shares, result);
        const uint64_t waited_us = clock_now_us() - start_us;
        if (waited_us > sibling_limit_s * 1000000)
            return name_missing(mpi, shares);
        if (waited_us < awake_us) {
            (void)sched_yield();
        } else {
            const struct timespec pause = {.tv_nsec = pause_ns};
            (void)nanosleep(&pause, NULL);
        }
    }
}

static enum status exchange(struct collective_mpi *mpi, const struct share *shares)
{
    const uint32_t size = mpi->base.size;
    int result = MPI_SUCCESS;
    for (uint32_t rank = 0; rank < 2 * size; rank++)
        mpi->requests[rank] = MPI_REQUEST_NULL;
    for (uint32_t rank = 0; rank < size && result == MPI_SUCCESS; rank++)
        if (rank != mpi->base.rank && shares[rank].taken_size > 0)
            result = MPI_Irecv(shares[rank].taken, (int)shares[rank].taken_size, MPI_BYTE,
                               (int)rank, TAG_EXCHANGE, mpi->comm, &mpi->requests[rank]);
    for (uint32_t i = 1; i < size && result == MPI_SUCCESS; i++) {
        const uint32_t rank = (mpi->base.rank + i) % size; /* not all to the same one first */
        if (shares[rank].given_size > 0)
            result = MPI_Isend(shares[rank].given, (int)shares[rank].given_size, MPI_BYTE,
                               (int)rank, TAG_EXCHANGE, mpi->comm, &mpi->requests[size + rank]);
    }
    return result == MPI_SUCCESS ? await(mpi, shares) : STATUS_IO;
}

static enum status look_alike(struct collective_mpi *mpi, const struct collective_mark *own,
                              const struct collective_mark *marks)
{
    for (uint32_t rank = 0; rank < mpi->base.size; rank++)
        if (rank != mpi->base.rank &&
            !collective_mark_agrees(&mpi->base, own, &marks[rank], rank))
            return STATUS_MALFORMED;
    return STATUS_OK;
}

/* The marks alone, before what is too large to go with them. */
static enum status exchange_marks(struct collective_mpi *mpi, const struct collective_mark *own)
{
    struct collective_mark marks[RANK_COUNT_MAX];
    struct share shares[RANK_COUNT_MAX] = {{NULL, 0, NULL, 0}};
    for (uint32_t rank = 0; rank < mpi->base.size; rank++)
        shares[rank] = (struct share){own, sizeof(*own), &marks[rank], sizeof(marks[rank])};
    const enum status status = exchange(mpi, shares);
    return status == STATUS_OK ? look_alike(mpi, own, marks) : status;
}

/* values[count] = rows[0] + rows[1] + ..., added in this order; rows lie `stride` bytes apart. */
static void add_rows(const unsigned char *rows, size_t stride, uint32_t row_count, size_t count,
                     float *values_out)
{
    memcpy(values_out, rows, count * sizeof(float));
    for (uint32_t row = 1; row < row_count; row++) {
        const float *add = (const float *)(const void *)(rows + row * stride);
        for (size_t i = 0; i < count; i++)
            values_out[i] += add[i];
    }
}

static size_t row_size(size_t size)
{
    return (size + row_alignment - 1) / row_alignment * row_alignment;
}

/* Everybody's values with their mark to everybody. */
static enum status sum_whole(struct collective_mpi *mpi, const struct collective_mark *mark,
                             float *values, size_t count)
{
    struct share shares[RANK_COUNT_MAX] = {{NULL, 0, NULL, 0}};
    const uint32_t size = mpi->base.size;
    const size_t sent = sizeof(*mark) + count * sizeof(float);
    const size_t stride = row_size(sent);
    if (!scratch_grow(mpi, stride * size))
        return STATUS_NO_MEMORY;
    unsigned char *own = mpi->scratch + stride * mpi->base.rank;
    memcpy(own, mark, sizeof(*mark));
    if (count > 0)
        memcpy(own + sizeof(*mark), values, count * sizeof(float));
    for (uint32_t rank = 0; rank < size; rank++)
        shares[rank] = (struct share){own, sent, mpi->scratch + stride * rank, sent};
    enum status status = exchange(mpi, shares);
    for (uint32_t rank = 0; rank < size && status == STATUS_OK; rank++) {
        struct collective_mark other;
        memcpy(&other, mpi->scratch + stride * rank, sizeof(other));
        if (!collective_mark_agrees(&mpi->base, mark, &other, rank))
            status = STATUS_MALFORMED;
    }
    if (status == STATUS_OK && count > 0)
        add_rows(mpi->scratch + sizeof(*mark), stride, size, count, values);
    return status;
}

static size_t part_first(size_t count, uint32_t size, uint32_t rank)
{
    return count / size * rank;
}

static size_t part_count(size_t count, uint32_t size, uint32_t rank)
{
    return rank + 1 == size ? count - part_first(count, size, rank) : count / size;
}

/* Rank r gets everybody's part r, adds, and gives the sum to all. */
static enum status sum_parted(struct collective_mpi *mpi, float *values, size_t count)
{
    struct share shares[RANK_COUNT_MAX] = {{NULL, 0, NULL, 0}};
    const uint32_t size = mpi->base.size;
    const uint32_t own = mpi->base.rank;
    const size_t own_count = part_count(count, size, own);
    float *own_values = values + part_first(count, size, own);
    const size_t stride = row_size(own_count * sizeof(float));
    if (!scratch_grow(mpi, stride * size))
        return STATUS_NO_MEMORY;
    for (uint32_t rank = 0; rank < size; rank++)
        shares[rank] = (struct share){values + part_first(count, size, rank),
                                      part_count(count, size, rank) * sizeof(float),
                                      mpi->scratch + stride * rank, own_count * sizeof(float)};
    enum status status = exchange(mpi, shares);
    if (status != STATUS_OK)
        return status;
    memcpy(mpi->scratch + stride * own, own_values, own_count * sizeof(float));
    add_rows(mpi->scratch, stride, size, own_count, own_values);
    for (uint32_t rank = 0; rank < size; rank++)
        shares[rank] = (struct share){own_values, own_count * sizeof(float),
                                      values + part_first(count, size, rank),
                                      part_count(count, size, rank) * sizeof(float)};
    return exchange(mpi, shares);
}

static enum status mpi_sum(struct collective *collective, float *values, size_t count)
{
    struct collective_mpi *mpi = mpi_of(collective);
    const size_t piece_max = chunk_size / sizeof(float);
    const struct collective_mark mark =
        collective_mark_next(collective, COLLECTIVE_SUM, count * sizeof(float), 0);
    if (count < count_of_parted_sum)
        return end(collective, sum_whole(mpi, &mark, values, count));
    enum status status = exchange_marks(mpi, &mark);
    for (size_t done = 0; done < count && status == STATUS_OK;) {
        const size_t piece = count - done < piece_max ? count - done : piece_max;
        status = sum_parted(mpi, values + done, piece);
        done += piece;
    }
    return end(collective, status);
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

/* What the root takes of one rank, in chunks as it was sent. */
static enum status gather_at_root(struct collective_mpi *mpi, const float *values,
                                  const size_t *counts, float *all_out)
{
    size_t offset = 0;
    for (uint32_t i = 0; i < mpi->base.size; i++) {
        const size_t size = counts[i] * sizeof(float);
        if (i == mpi->base.rank && size > 0)
            memcpy(all_out + offset, values, size);
        else if (i != mpi->base.rank &&
                 receive_chunks(mpi, all_out + offset, size, i) != MPI_SUCCESS)
            return failed(&mpi->base, STATUS_IO, i, "was lost");
        offset += counts[i];
    }
    return STATUS_OK;
}

/* What is small goes to the root at once, with its mark. */
static enum status gather_flat(struct collective_mpi *mpi, const struct collective_mark *mark,
                               const float *values, const size_t *counts, float *all_out)
{
    struct share shares[RANK_COUNT_MAX] = {{NULL, 0, NULL, 0}};
    const uint32_t own = mpi->base.rank;
    const uint32_t size = mpi->base.size;
    const bool is_root = own == mark->root;
    size_t room = 0;
    for (uint32_t rank = 0; rank < size; rank++)
        room += row_size(sizeof(*mark) + counts[rank] * sizeof(float));
    if (!scratch_grow(mpi, room))
        return STATUS_NO_MEMORY;
    unsigned char *at = mpi->scratch;
    for (uint32_t rank = 0; is_root && rank < size; rank++) {
        const size_t sent = sizeof(*mark) + counts[rank] * sizeof(float);
        shares[rank] = (struct share){NULL, 0, at, sent};
        at += row_size(sent);
    }
    if (!is_root) {
        memcpy(mpi->scratch, mark, sizeof(*mark));
        if (counts[own] > 0)
            memcpy(mpi->scratch + sizeof(*mark), values, counts[own] * sizeof(float));
        shares[mark->root] = (struct share){mpi->scratch,
                                            sizeof(*mark) + counts[own] * sizeof(float), NULL, 0};
        return exchange(mpi, shares);
    }
    enum status status = exchange(mpi, shares);
    for (uint32_t rank = 0; rank < size && status == STATUS_OK; rank++) {
        struct collective_mark other = *mark;
        const void *given = rank == own ? (const void *)values
                                        : (unsigned char *)shares[rank].taken + sizeof(other);
        if (rank != own)
            memcpy(&other, shares[rank].taken, sizeof(other));
        if (!collective_mark_agrees(&mpi->base, mark, &other, rank))
            return STATUS_MALFORMED;
        if (counts[rank] > 0)
            memcpy(all_out, given, counts[rank] * sizeof(float));
        all_out += counts[rank];
    }
    return status;
}

static enum status mpi_gather(struct collective *collective, const float *values,
                              const size_t *counts, float *all_out, uint32_t root)
{
    struct collective_mpi *mpi = mpi_of(collective);
    struct collective_mark marks[RANK_COUNT_MAX];
    struct share shares[RANK_COUNT_MAX] = {{NULL, 0, NULL, 0}};
    const uint32_t own = mpi->base.rank;
    size_t total = 0;
    for (uint32_t i = 0; i < collective->size; i++)
        total += counts[i];
    const struct collective_mark mark =
        collective_mark_next(collective, COLLECTIVE_GATHER, total * sizeof(float), root);
    if (total * sizeof(float) <= size_of_flat_message)
        return end(collective, gather_flat(mpi, &mark, values, counts, all_out));
    for (uint32_t i = 0; i < collective->size; i++) {
        if (own == root)
            shares[i] = (struct share){NULL, 0, &marks[i], sizeof(marks[i])};
        else if (i == root)
            shares[i] = (struct share){&mark, sizeof(mark), NULL, 0};
    }
    enum status status = exchange(mpi, shares);
    if (status == STATUS_OK && own == root)
        status = look_alike(mpi, &mark, marks);
    if (status == STATUS_OK && own == root)
        status = gather_at_root(mpi, values, counts, all_out);
    else if (status == STATUS_OK &&
             send_chunks(mpi, values, counts[own] * sizeof(float), root) != MPI_SUCCESS)
        status = failed(collective, STATUS_IO, root, "was lost");
    return end(collective, status);
}

/* The mark, and what is small enough with it, from the root to each. */
static enum status broadcast_flat(struct collective_mpi *mpi, const struct collective_mark *mark,
                                  void *bytes, size_t size)
{
    struct share shares[RANK_COUNT_MAX] = {{NULL, 0, NULL, 0}};
    const size_t sent = sizeof(*mark) + size;
    struct collective_mark other = *mark;
    if (!scratch_grow(mpi, sent))
        return STATUS_NO_MEMORY;
    if (mpi->base.rank == mark->root) {
        memcpy(mpi->scratch, mark, sizeof(*mark));
        if (size > 0)
            memcpy(mpi->scratch + sizeof(*mark), bytes, size);
        for (uint32_t rank = 0; rank < mpi->base.size; rank++)
            shares[rank] = (struct share){mpi->scratch, sent, NULL, 0};
    } else {
        shares[mark->root] = (struct share){NULL, 0, mpi->scratch, sent};
    }
    enum status status = exchange(mpi, shares);
    if (status != STATUS_OK || mpi->base.rank == mark->root)
        return status;
    memcpy(&other, mpi->scratch, sizeof(other));
    if (!collective_mark_agrees(&mpi->base, mark, &other, mark->root))
        return STATUS_MALFORMED;
    if (size > 0)
        memcpy(bytes, mpi->scratch + sizeof(*mark), size);
    return STATUS_OK;
}

static enum status mpi_broadcast(struct collective *collective, void *bytes, size_t size,
                                 uint32_t root)
{
    struct collective_mpi *mpi = mpi_of(collective);
    unsigned char *at = bytes;
    const bool is_flat = size <= size_of_flat_message;
    const struct collective_mark mark =
        collective_mark_next(collective, COLLECTIVE_BROADCAST, size, root);
    enum status status = broadcast_flat(mpi, &mark, bytes, is_flat ? size : 0);
    for (size_t done = 0; !is_flat && done < size && status == STATUS_OK;) {
        const size_t piece = size - done < broadcast_piece ? size - done : broadcast_piece;
        if (MPI_Bcast(at + done, (int)piece, MPI_BYTE, (int)root, mpi->comm) != MPI_SUCCESS)
            status = STATUS_IO;
        collective->pieces++;
        done += piece;
    }
    return end(collective, status);
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
    const struct collective_mark mark =
        collective_mark_next(collective, COLLECTIVE_BARRIER, 0, 0);
    return end(collective, exchange_marks(mpi_of(collective), &mark));
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

/* Only those that stay take part, so that the others may have left; it is not counted, as these do
 * not count it. */
static enum status mpi_narrow(struct collective *collective, uint32_t first, uint32_t count,
                              struct reason *reason)
{
    struct collective_mpi *mpi = (struct collective_mpi *)(void *)collective;
    int range[1][3] = {{(int)first, (int)(first + count) - 1, 1}};
    MPI_Group all = MPI_GROUP_NULL;
    MPI_Group stays = MPI_GROUP_NULL;
    MPI_Comm comm = MPI_COMM_NULL;
    ASSERT(count > 0 && first + count <= collective->size && collective->rank >= first &&
           collective->rank - first < count);
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
    collective->first += first;
    collective->rank -= first;
    collective->size = count;
    return STATUS_OK;
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
    .narrow = mpi_narrow,
    .post_drop = mpi_post_drop,
};

static void mpi_free(struct collective_mpi *mpi)
{
    memory_free(mpi->scratch);
    memory_free(mpi->requests);
    memory_free(mpi->statuses);
    memory_free(mpi->posts);
    memory_free(mpi);
}

enum status collective_mpi_open(uint32_t expected_size, struct collective **collective_out,
                                struct reason *reason)
{
    int granted = 0;
    const enum status status = collective_fabric_check(reason);
    if (status != STATUS_OK)
        return status;
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
    if (size > RANK_COUNT_MAX)
        return refuse(reason, STATUS_TOO_LARGE, "%d ranks; %d are possible", size,
                      RANK_COUNT_MAX);
    struct collective_mpi *mpi = memory_zeroed(1, sizeof(*mpi));
    if (!mpi)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for the collective of %d ranks", size);
    mpi->requests = memory_zeroed((size_t)size * 2, sizeof(MPI_Request));
    mpi->statuses = memory_zeroed((size_t)size * 2, sizeof(MPI_Status));
    if (!mpi->requests || !mpi->statuses) {
        mpi_free(mpi);
        return refuse(reason, STATUS_NO_MEMORY, "no memory for the collective of %d ranks", size);
    }
    mpi->comm = MPI_COMM_WORLD;
    mpi->base.ops = &mpi_ops;
    mpi->base.rank = (uint32_t)rank;
    mpi->base.size = (uint32_t)size;
    *collective_out = &mpi->base;
    return STATUS_OK;
}

void collective_mpi_close(struct collective *collective)
{
    if (!collective)
        return;
    (void)MPI_Finalize();
    mpi_free((struct collective_mpi *)(void *)collective);
}
