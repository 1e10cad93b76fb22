/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/collective_threads.h"

#include "actors/runner/collective_order.h"
#include "protocol/memory.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#define RANKS_MAX 64u
#define POSTS_GROWN 64u

/* A mailbox for each ordered pair; one message at a time. */
struct mailbox {
    const void *bytes;
    size_t size;
    bool is_full;
};

/* A posted message: of one member, for another. */
struct posted {
    bool is_used;
    bool is_send;
    bool is_done;
    uint32_t source;
    uint32_t target;
    enum collective_channel channel;
    void *bytes;
    size_t size;
    uint64_t number; /* the lower, the older */
};

struct member {
    struct collective base;
    struct collective_threads *world;
    const void *offered; /* what the others may read between two meetings */
    struct collective_mark mark;
    void *scratch;
    size_t scratch_size;
};

/* Who meets: all members, or those of a group. */
struct circle {
    uint32_t arrived;
    uint64_t meeting;
};

struct collective_threads {
    uint32_t size;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct circle circles[RANKS_MAX]; /* by their first member */
    bool is_lost;
    struct member members[RANKS_MAX];
    struct mailbox boxes[RANKS_MAX][RANKS_MAX]; /* [from][to] of all members, as are the posts */
    struct posted *posts;                       /* of all members */
    uint32_t post_count;
    uint64_t posted;
};

static struct member *member_of(struct collective *collective)
{
    return (struct member *)(void *)collective;
}

/* Member `rank` of those that meet with this one. */
static struct member *fellow(struct member *member, uint32_t rank)
{
    return &member->world->members[member->base.first + rank];
}

/* Every member gets here before any goes on. */
static enum status meet(struct member *member)
{
    struct collective_threads *world = member->world;
    struct circle *circle = &world->circles[member->base.first];
    pthread_mutex_lock(&world->lock);
    uint64_t meeting = circle->meeting;
    if (++circle->arrived == member->base.size) {
        circle->arrived = 0;
        circle->meeting++;
        pthread_cond_broadcast(&world->changed);
    }
    while (circle->meeting == meeting && !world->is_lost)
        pthread_cond_wait(&world->changed, &world->lock);
    enum status status = circle->meeting == meeting ? STATUS_IO : STATUS_OK;
    pthread_mutex_unlock(&world->lock);
    return status;
}

static void enter(struct collective *collective)
{
    atomic_fetch_add(&collective->entered, 1);
}

/* The meeting a collective of all begins with: all are there, and in the same one. */
static enum status begin(struct member *member, enum collective_kind kind, uint64_t size,
                         uint32_t root)
{
    enter(&member->base);
    member->mark = collective_mark_next(&member->base, kind, size, root);
    enum status status = meet(member);
    for (uint32_t rank = 0; rank < member->base.size && status == STATUS_OK; rank++)
        if (!collective_mark_agrees(&member->base, &member->mark, &fellow(member, rank)->mark,
                                    rank))
            status = STATUS_MALFORMED;
    return status;
}

static enum status leave(struct collective *collective, enum status status)
{
    if (status == STATUS_OK)
        atomic_store(&collective->finished, atomic_load(&collective->entered));
    return status;
}

static enum status grow(struct member *member, size_t size)
{
    if (size <= member->scratch_size)
        return STATUS_OK;
    void *grown = memory_resized(member->scratch, size, 1);
    if (!grown)
        return STATUS_NO_MEMORY;
    member->scratch = grown;
    member->scratch_size = size;
    return STATUS_OK;
}

static enum status sum(struct collective *collective, float *values, size_t count)
{
    struct member *member = member_of(collective);
    enum status status = grow(member, count * sizeof(float));
    member->offered = values;
    if (status == STATUS_OK)
        status = begin(member, COLLECTIVE_SUM, count * sizeof(float), 0);
    if (status != STATUS_OK)
        return status;
    float *total = member->scratch;
    memcpy(total, fellow(member, 0)->offered, count * sizeof(float));
    for (uint32_t rank = 1; rank < collective->size; rank++) {
        const float *other = fellow(member, rank)->offered;
        for (size_t i = 0; i < count; i++)
            total[i] += other[i];
    }
    /* Nobody may overwrite what another still reads. */
    status = meet(member);
    if (status == STATUS_OK)
        memcpy(values, total, count * sizeof(float));
    return leave(collective, status);
}

static enum status gather(struct collective *collective, const float *values,
                          const size_t *counts, float *all_out, uint32_t root)
{
    struct member *member = member_of(collective);
    uint64_t size = 0;
    for (uint32_t rank = 0; rank < collective->size; rank++)
        size += counts[rank] * sizeof(float);
    member->offered = values;
    enum status status = begin(member, COLLECTIVE_GATHER, size, root);
    if (status != STATUS_OK)
        return status;
    if (collective->rank == root) {
        for (uint32_t rank = 0; rank < collective->size; rank++) {
            memcpy(all_out, fellow(member, rank)->offered, counts[rank] * sizeof(float));
            all_out += counts[rank];
        }
    }
    return leave(collective, meet(member));
}

static enum status broadcast(struct collective *collective, void *bytes, size_t size,
                             uint32_t root)
{
    struct member *member = member_of(collective);
    member->offered = bytes;
    enum status status = begin(member, COLLECTIVE_BROADCAST, size, root);
    if (status != STATUS_OK)
        return status;
    if (collective->rank != root && size > 0)
        memcpy(bytes, fellow(member, root)->offered, size);
    return leave(collective, meet(member));
}

static struct mailbox *mailbox_of(struct collective *collective, uint32_t source, uint32_t target)
{
    return &member_of(collective)->world->boxes[collective->first + source]
                                               [collective->first + target];
}

static enum status send(struct collective *collective, const void *bytes, size_t size,
                        uint32_t target)
{
    struct collective_threads *world = member_of(collective)->world;
    struct mailbox *box = mailbox_of(collective, collective->rank, target);
    enter(collective);
    pthread_mutex_lock(&world->lock);
    *box = (struct mailbox){bytes, size, true};
    pthread_cond_broadcast(&world->changed);
    while (box->is_full && !world->is_lost)
        pthread_cond_wait(&world->changed, &world->lock);
    enum status status = box->is_full ? STATUS_IO : STATUS_OK;
    pthread_mutex_unlock(&world->lock);
    return leave(collective, status);
}

static enum status receive(struct collective *collective, void *bytes_out, size_t size,
                           uint32_t source)
{
    struct collective_threads *world = member_of(collective)->world;
    struct mailbox *box = mailbox_of(collective, source, collective->rank);
    enter(collective);
    pthread_mutex_lock(&world->lock);
    while (!box->is_full && !world->is_lost)
        pthread_cond_wait(&world->changed, &world->lock);
    enum status status = box->is_full ? STATUS_OK : STATUS_IO;
    if (status == STATUS_OK) {
        ASSERT(box->size == size);
        if (size > 0)
            memcpy(bytes_out, box->bytes, size);
        box->is_full = false;
        pthread_cond_broadcast(&world->changed);
    }
    pthread_mutex_unlock(&world->lock);
    return leave(collective, status);
}

static enum status barrier(struct collective *collective)
{
    struct member *member = member_of(collective);
    enum status status = begin(member, COLLECTIVE_BARRIER, 0, 0);
    /* Nobody may make its next mark while another still reads this one. */
    return leave(collective, status == STATUS_OK ? meet(member) : status);
}

/* ---- posted messages, all under the world's lock ---- */

static struct posted *post_free_find(struct collective_threads *world)
{
    for (uint32_t i = 0; i < world->post_count; i++)
        if (!world->posts[i].is_used)
            return &world->posts[i];
    const uint32_t count = world->post_count + POSTS_GROWN;
    struct posted *grown = memory_resized(world->posts, count, sizeof *grown);
    if (!grown)
        return NULL;
    memset(grown + world->post_count, 0, POSTS_GROWN * sizeof *grown);
    world->posts = grown;
    world->post_count = count;
    return &grown[count - POSTS_GROWN];
}

/* The oldest of the other side that waits for it. */
static struct posted *post_partner(struct collective_threads *world, const struct posted *own)
{
    struct posted *best = NULL;
    for (uint32_t i = 0; i < world->post_count; i++) {
        struct posted *other = &world->posts[i];
        if (other->is_used && !other->is_done && other->is_send != own->is_send &&
            other->source == own->source && other->target == own->target &&
            other->channel == own->channel && (!best || other->number < best->number))
            best = other;
    }
    return best;
}

static enum status post(struct collective *collective, const struct posted *wanted,
                        uint32_t *post_out)
{
    struct collective_threads *world = member_of(collective)->world;
    pthread_mutex_lock(&world->lock);
    struct posted *own = post_free_find(world);
    if (!own) {
        pthread_mutex_unlock(&world->lock);
        return STATUS_NO_MEMORY;
    }
    *own = *wanted;
    own->is_used = true;
    own->number = world->posted++;
    struct posted *partner = post_partner(world, own);
    if (partner) {
        const struct posted *from = own->is_send ? own : partner;
        const struct posted *to = own->is_send ? partner : own;
        ASSERT(from->size == to->size);
        if (from->size > 0)
            memcpy(to->bytes, from->bytes, from->size);
        own->is_done = true;
        partner->is_done = true;
    }
    *post_out = (uint32_t)(own - world->posts);
    pthread_mutex_unlock(&world->lock);
    return STATUS_OK;
}

static enum status post_send(struct collective *collective, enum collective_channel channel,
                             const void *bytes, size_t size, uint32_t target, uint32_t *post_out)
{
    const struct posted wanted = {.is_send = true, .source = collective->first + collective->rank,
                                  .target = collective->first + target,
                                  .channel = channel, .bytes = (void *)(uintptr_t)bytes,
                                  .size = size};
    return post(collective, &wanted, post_out);
}

static enum status post_receive(struct collective *collective, enum collective_channel channel,
                                void *bytes_out, size_t size, uint32_t source, uint32_t *post_out)
{
    const struct posted wanted = {.source = collective->first + source,
                                  .target = collective->first + collective->rank,
                                  .channel = channel, .bytes = bytes_out, .size = size};
    return post(collective, &wanted, post_out);
}

static enum status post_look(struct collective *collective, uint32_t number, bool *is_done_out)
{
    struct collective_threads *world = member_of(collective)->world;
    pthread_mutex_lock(&world->lock);
    ASSERT(number < world->post_count && world->posts[number].is_used);
    struct posted *own = &world->posts[number];
    *is_done_out = own->is_done;
    own->is_used = !own->is_done;
    const bool is_lost = !own->is_done && world->is_lost;
    pthread_mutex_unlock(&world->lock);
    return is_lost ? STATUS_IO : STATUS_OK;
}

static void post_drop(struct collective *collective)
{
    struct collective_threads *world = member_of(collective)->world;
    pthread_mutex_lock(&world->lock);
    for (uint32_t i = 0; i < world->post_count; i++) {
        struct posted *one = &world->posts[i];
        if (one->is_used && (one->is_send ? one->source : one->target) ==
                                collective->first + collective->rank)
            one->is_used = false;
    }
    pthread_mutex_unlock(&world->lock);
}

/* Nobody of the others is in a meeting that this one has left. */
static enum status narrow(struct collective *collective, uint32_t first, uint32_t count,
                          struct reason *reason)
{
    (void)reason;
    ASSERT(count > 0 && first + count <= collective->size && collective->rank >= first &&
           collective->rank - first < count);
    collective->first += first;
    collective->rank -= first;
    collective->size = count;
    return STATUS_OK;
}

static const struct collective_ops thread_ops = {
    .sum = sum,
    .gather = gather,
    .broadcast = broadcast,
    .send = send,
    .receive = receive,
    .barrier = barrier,
    .post_send = post_send,
    .post_receive = post_receive,
    .post_look = post_look,
    .narrow = narrow,
    .post_drop = post_drop,
};

enum status collective_threads_open(uint32_t size, struct collective_threads **world_out,
                                    struct reason *reason)
{
    if (size == 0 || size > RANKS_MAX)
        return refuse(reason, STATUS_INVALID, "%u ranks; 1 to %u are possible", size, RANKS_MAX);
    struct collective_threads *world = memory_zeroed(1, sizeof *world);
    if (!world)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for %u ranks", size);
    world->size = size;
    pthread_mutex_init(&world->lock, NULL);
    pthread_cond_init(&world->changed, NULL);
    for (uint32_t rank = 0; rank < size; rank++) {
        world->members[rank].base.ops = &thread_ops;
        world->members[rank].base.rank = rank;
        world->members[rank].base.size = size;
        world->members[rank].world = world;
    }
    *world_out = world;
    return STATUS_OK;
}

void collective_threads_close(struct collective_threads *world)
{
    if (!world)
        return;
    for (uint32_t rank = 0; rank < world->size; rank++)
        memory_free(world->members[rank].scratch);
    memory_free(world->posts);
    pthread_cond_destroy(&world->changed);
    pthread_mutex_destroy(&world->lock);
    memory_free(world);
}

struct collective *collective_threads_member(struct collective_threads *world, uint32_t rank)
{
    ASSERT(rank < world->size);
    return &world->members[rank].base;
}

void collective_threads_lose(struct collective_threads *world)
{
    pthread_mutex_lock(&world->lock);
    world->is_lost = true;
    pthread_cond_broadcast(&world->changed);
    pthread_mutex_unlock(&world->lock);
}
