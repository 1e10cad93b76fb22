/* SPDX-License-Identifier: Apache-2.0 */
/*
 * collective_rank: one rank of the world that the collective tests start.
 *
 *     collective_rank all|listeners|loop|leave|narrow|narrow-killed|diverge EXPECTED_SIZE [MARK]
 *
 * A rank in the loop makes the file MARK after its first sum, one of those that diverge MARK with
 * its number behind when it found it; for listeners MARK is the addresses
 * they may have, as the kernel prints them, where they are several.  Of a world that is narrowed
 * the last rank sends to all others and ends at once, by itself or by SIGKILL.  Ends with 0 when
 * all it saw was right, else prints what was not and ends with 3.
 */
#include "actors/runner/collective_mpi.h"
#include "actors/runner/engine/collective_threads.h"
#include "protocol/memory.h"
#include "runtime/clock.h"
#include "tests/mpi/expect.h"
#include "tests/support/seeded.h"

#include <dirent.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint32_t own_rank;

static float *values_of(uint32_t rank, size_t count)
{
    struct seeded seeded = {1000 + rank};
    float *values = memory_zeroed(count ? count : 1, sizeof(float));
    EXPECT(values != NULL);
    for (size_t i = 0; i < count; i++)
        values[i] = seeded_float(&seeded) * (float)(1 << (i % 20));
    return values;
}

/* One rank of the same world in threads of this process. */
struct twin {
    struct collective *member;
    float *values;
    size_t count;
};

static void *sum_in_thread(void *argument)
{
    struct twin *twin = argument;
    EXPECT(twin->member->ops->sum(twin->member, twin->values, twin->count) == STATUS_OK);
    return NULL;
}

/* The other implementation gives the same bits. */
static void compare_with_threads(uint32_t size, const float *expected, size_t count)
{
    struct collective_threads *twins = NULL;
    struct twin ranks[8];
    pthread_t threads[8];
    EXPECT(collective_threads_open(size, &twins, NULL) == STATUS_OK);
    for (uint32_t rank = 0; rank < size; rank++) {
        ranks[rank] = (struct twin){collective_threads_member(twins, rank),
                                    values_of(rank, count), count};
        EXPECT(pthread_create(&threads[rank], NULL, sum_in_thread, &ranks[rank]) == 0);
    }
    for (uint32_t rank = 0; rank < size; rank++) {
        EXPECT(pthread_join(threads[rank], NULL) == 0);
        EXPECT(memcmp(ranks[rank].values, expected, count * sizeof(float)) == 0);
        memory_free(ranks[rank].values);
    }
    collective_threads_close(twins);
}

static void check_sum(struct collective *world, size_t count)
{
    float *values = values_of(own_rank, count);
    float *expected = values_of(0, count);
    for (uint32_t rank = 1; rank < world->size; rank++) {
        float *other = values_of(rank, count);
        for (size_t i = 0; i < count; i++)
            expected[i] += other[i];
        memory_free(other);
    }
    EXPECT(world->ops->sum(world, values, count) == STATUS_OK);
    EXPECT(memcmp(values, expected, count * sizeof(float)) == 0);
    if (own_rank == 0 && count > 0)
        compare_with_threads(world->size, values, count);
    memory_free(values);
    memory_free(expected);
}

static void check_gather(struct collective *world)
{
    size_t counts[8];
    size_t total = 0;
    for (uint32_t i = 0; i < world->size; i++)
        total += counts[i] = 1000 * i; /* the first rank gives nothing */
    for (uint32_t root = 0; root < world->size; root++) {
        float *own = values_of(own_rank, counts[own_rank]);
        float *all = memory_zeroed(total, sizeof(float));
        EXPECT(world->ops->gather(world, own, counts, own_rank == root ? all : NULL, root) ==
               STATUS_OK);
        size_t offset = 0;
        for (uint32_t i = 0; i < world->size && own_rank == root; i++) {
            float *expected = values_of(i, counts[i]);
            EXPECT(memcmp(all + offset, expected, counts[i] * sizeof(float)) == 0);
            memory_free(expected);
            offset += counts[i];
        }
        memory_free(own);
        memory_free(all);
    }
}

static void check_broadcast(struct collective *world, size_t size, uint32_t root)
{
    unsigned char *bytes = memory_zeroed(size + 1, 1);
    unsigned char *expected = memory_zeroed(size + 1, 1);
    EXPECT(bytes && expected);
    struct seeded seeded = {size + root};
    seeded_fill(&seeded, expected, size);
    if (own_rank == root)
        memcpy(bytes, expected, size);
    EXPECT(world->ops->broadcast(world, bytes, size, root) == STATUS_OK);
    EXPECT(memcmp(bytes, expected, size + 1) == 0);
    memory_free(bytes);
    memory_free(expected);
}

/* Each rank sends to each other, in order, larger than one chunk at times. */
static void check_point_to_point(struct collective *world)
{
    static const size_t sizes[] = {1, 4096, (16u << 20) + 5};
    unsigned char *bytes = memory_zeroed(sizes[2], 1);
    EXPECT(bytes != NULL);
    for (uint32_t source = 0; source < world->size; source++) {
        for (uint32_t target = 0; target < world->size; target++) {
            for (size_t i = 0; i < COUNT_OF(sizes) && source != target; i++) {
                unsigned char mark = (unsigned char)(source * 16 + target + i);
                memset(bytes, own_rank == source ? mark : 0, sizes[i]);
                if (own_rank == source)
                    EXPECT(world->ops->send(world, bytes, sizes[i], target) == STATUS_OK);
                if (own_rank != target)
                    continue;
                EXPECT(world->ops->receive(world, bytes, sizes[i], source) == STATUS_OK);
                for (size_t j = 0; j < sizes[i]; j++)
                    EXPECT(bytes[j] == mark);
            }
        }
    }
    memory_free(bytes);
}

static void check_all(struct collective *world)
{
    static const size_t counts[] = {0, 1, 7, 1024, 16383, 16384, 16385, 100001, 4194304 + 77};
    for (size_t i = 0; i < COUNT_OF(counts); i++)
        check_sum(world, counts[i]);
    check_gather(world);
    for (uint32_t root = 0; root < world->size; root++) {
        check_broadcast(world, 0, root);
        check_broadcast(world, 1, root);
        check_broadcast(world, (40u << 20) + 3, root);
    }
    check_point_to_point(world);
    EXPECT(world->ops->barrier(world) == STATUS_OK);
    EXPECT(world->entered == world->finished);
    EXPECT(world->entered >= COUNT_OF(counts) + 2);
}

/* Whether the socket of this inode is one of ours. */
static bool is_own_socket(unsigned long inode)
{
    char wanted[64];
    (void)snprintf(wanted, sizeof(wanted), "socket:[%lu]", inode);
    DIR *stream = opendir("/proc/self/fd");
    EXPECT(stream != NULL);
    bool found = false;
    for (struct dirent *entry; !found && (entry = readdir(stream)) != NULL;) {
        char path[300];
        char target[64] = "";
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%s", entry->d_name);
        if (readlink(path, target, sizeof(target) - 1) > 0)
            found = strcmp(target, wanted) == 0;
    }
    (void)closedir(stream);
    return found;
}

/* The n-th of the words of a line, from 0; the words are cut where they end. */
static char *word_of(char *line, int wanted)
{
    char *rest = line;
    for (int i = 0; rest; i++) {
        rest += strspn(rest, " ");
        char *end = rest + strcspn(rest, " \n");
        char *next = *end ? end + 1 : NULL;
        if (i == wanted) {
            *end = '\0';
            return rest;
        }
        rest = next;
    }
    EXPECT(!"the kernel's table has fewer words");
    return NULL;
}

/* Listeners of this process in one of the kernel's tables; none may have an address that is not
 * among those. */
static int check_table(const char *table, const char *only_address)
{
    FILE *file = fopen(table, "r");
    EXPECT(file != NULL);
    char line[512];
    int listeners = 0;
    EXPECT(fgets(line, sizeof(line), file) != NULL); /* the heading */
    while (fgets(line, sizeof(line), file)) {
        /* From the right, as finding a word cuts the line: inode, state, address:port. */
        unsigned long inode = strtoul(word_of(line, 9), NULL, 10);
        bool is_listener = strcmp(word_of(line, 3), "0A") == 0;
        char *address = word_of(line, 1);
        address[strcspn(address, ":")] = '\0';
        if (!is_listener || !is_own_socket(inode))
            continue;
        listeners++;
        if (!strstr(only_address, address))
            fprintf(stderr, "listens on %s, not only on %s\n", address, only_address);
        EXPECT(strstr(only_address, address) != NULL);
    }
    (void)fclose(file);
    return listeners;
}

static void check_listeners(struct collective *world, const char *addresses)
{
    float value = 1;
    EXPECT(world->ops->sum(world, &value, 1) == STATUS_OK);
    EXPECT(value == (float)world->size);
    /* As the kernel prints 127.0.0.1 and ::1 on a little-endian machine. */
    EXPECT(check_table("/proc/net/tcp", addresses ? addresses : "0100007F") >=
           (addresses ? 2 : 1));
    (void)check_table("/proc/net/tcp6", "00000000000000000000000001000000");
    EXPECT(world->ops->barrier(world) == STATUS_OK);
}

/* The last rank has done its part and is gone; the others go on without it, whatever they do. */
static void check_narrow(struct collective *world, bool is_killed)
{
    static unsigned char bytes[3 << 20];
    const uint32_t last = world->size - 1;
    float one = 1;
    for (uint32_t rank = 0; rank < last; rank++) {
        if (own_rank == last)
            EXPECT(world->ops->send(world, bytes, sizeof(bytes), rank) == STATUS_OK);
        if (own_rank == rank)
            EXPECT(world->ops->receive(world, bytes, sizeof(bytes), last) == STATUS_OK);
    }
    EXPECT(world->ops->sum(world, &one, 1) == STATUS_OK && one == (float)last + 1);
    if (own_rank == last && is_killed)
        (void)raise(SIGKILL);
    if (own_rank == last)
        _exit(0);
    struct reason reason = {""};
    EXPECT(world->ops->narrow(world, 0, last, &reason) == STATUS_OK);
    EXPECT(world->size == last);
    for (uint32_t i = 0; i < 200; i++) {
        one = 1;
        EXPECT(world->ops->sum(world, &one, 1) == STATUS_OK && one == (float)last);
        clock_sleep_ms(1); /* so that the end of the last rank comes among these */
    }
    check_all(world);
    _exit(0);
}

/* Rank 1 does something else than the others, each time after some they did together; every rank
 * finds it in that very call. */
static void make_mark(const char *path)
{
    FILE *file = fopen(path, "w");
    EXPECT(file && fclose(file) == 0);
}

/* Until all have found it: Open MPI has something to say of a sibling that went before. */
static void wait_for_all(uint32_t ranks, const char *mark)
{
    char path[512];
    const uint64_t end_ms = clock_now_ms() + 30000;
    (void)snprintf(path, sizeof(path), "%s.%" PRIu32, mark, own_rank);
    make_mark(path);
    for (uint32_t i = 0; i < ranks; i++) {
        (void)snprintf(path, sizeof(path), "%s.%" PRIu32, mark, i);
        while (access(path, F_OK) != 0 && clock_now_ms() < end_ms)
            clock_sleep_ms(5);
    }
}

static void check_divergence(struct collective *world, const char *mark)
{
    float values[4] = {1, 2, 3, 4};
    unsigned char bytes[16] = {0};
    for (uint32_t i = 0; i < 3; i++)
        EXPECT(world->ops->sum(world, values, 4) == STATUS_OK);
    enum status status = own_rank == 1 ? world->ops->broadcast(world, bytes, 16, 1)
                                       : world->ops->sum(world, values, 4);
    if (own_rank == 1) /* a root that broadcasts takes no marks: it hears of it at the next */
        status = world->ops->sum(world, values, 4);
    EXPECT(status == STATUS_MALFORMED);
    EXPECT(strstr(world->why.text, "no longer do the same") != NULL ||
           strstr(world->why.text, "its part") != NULL);
    wait_for_all(world->size, mark);
    _exit(0);
}

int main(int count, char **arguments)
{
    if (count < 3)
        return 2;
    struct collective *world = NULL;
    struct reason reason = {""};
    (void)signal(SIGPIPE, SIG_IGN); /* as the loop of a runner does */
    uint32_t expected = (uint32_t)strtoul(arguments[2], NULL, 10);
    if (collective_mpi_open(expected, &world, &reason) != STATUS_OK) {
        fprintf(stderr, "rank refuses: %s\n", reason.text);
        _exit(4);
    }
    own_rank = world->rank;
    EXPECT(world->size == expected);
    if (strcmp(arguments[1], "all") == 0)
        check_all(world);
    if (strcmp(arguments[1], "listeners") == 0)
        check_listeners(world, count > 3 ? arguments[3] : NULL);
    if (strncmp(arguments[1], "narrow", 6) == 0)
        check_narrow(world, strcmp(arguments[1], "narrow-killed") == 0);
    if (strcmp(arguments[1], "diverge") == 0 && count > 3)
        check_divergence(world, arguments[3]);
    if (strcmp(arguments[1], "leave") == 0 && own_rank == 0)
        _exit(7);
    float one = 1;
    if (strcmp(arguments[1], "once") == 0)
        EXPECT(world->ops->sum(world, &one, 1) == STATUS_OK && one == (float)expected);
    bool is_marked = count < 4;
    while (strcmp(arguments[1], "loop") == 0 || strcmp(arguments[1], "leave") == 0) {
        float value = 1;
        /* Whether MPI fails or waits when a rank has gone differs from run to run: either way our
         * launcher ends us. */
        while (world->ops->sum(world, &value, 1) != STATUS_OK)
            (void)pause();
        if (!is_marked)
            make_mark(arguments[3]);
        is_marked = true;
    }
    collective_mpi_close(world);
    return 0;
}
