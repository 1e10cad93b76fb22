/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sum_rank: one rank of a world that times sums of ours against MPI_Allreduce of the same size.
 *
 *     sum_rank EXPECTED_SIZE FLOATS ROUNDS
 *
 * In turn so many of each; rank 0 prints the median of both, in nanoseconds for one.
 */
#include "actors/runner/collective_mpi.h"
#include "protocol/memory.h"
#include "runtime/clock.h"
#include "tests/mpi/expect.h"

#include <inttypes.h>
#include <mpi.h>
#include <stdint.h>
#include <stdlib.h>

enum { SUMS_OF_ROUND = 20 };

static int compare(const void *a, const void *b)
{
    const uint64_t left = *(const uint64_t *)a;
    const uint64_t right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static uint64_t median(uint64_t *times, size_t count)
{
    qsort(times, count, sizeof(*times), compare);
    return times[count / 2];
}

int main(int count, char **arguments)
{
    struct collective *world = NULL;
    struct reason reason = {""};
    if (count != 4)
        return 2;
    const uint32_t size = (uint32_t)strtoul(arguments[1], NULL, 10);
    const size_t floats = strtoul(arguments[2], NULL, 10);
    const size_t rounds = strtoul(arguments[3], NULL, 10);
    EXPECT(collective_mpi_open(size, &world, &reason) == STATUS_OK);
    float *values = memory_zeroed(floats, sizeof(float));
    float *sums = memory_zeroed(floats, sizeof(float));
    uint64_t *ours = memory_zeroed(rounds, sizeof(*ours));
    uint64_t *mpis = memory_zeroed(rounds, sizeof(*mpis));
    EXPECT(values && sums && ours && mpis);
    for (size_t round = 0; round < rounds; round++) {
        EXPECT(world->ops->barrier(world) == STATUS_OK);
        uint64_t start_us = clock_now_us();
        for (int i = 0; i < SUMS_OF_ROUND; i++)
            EXPECT(world->ops->sum(world, values, floats) == STATUS_OK);
        ours[round] = (clock_now_us() - start_us) * 1000 / SUMS_OF_ROUND;
        EXPECT(world->ops->barrier(world) == STATUS_OK);
        start_us = clock_now_us();
        for (int i = 0; i < SUMS_OF_ROUND; i++)
            EXPECT(MPI_Allreduce(values, sums, (int)floats, MPI_FLOAT, MPI_SUM,
                                 MPI_COMM_WORLD) == MPI_SUCCESS);
        mpis[round] = (clock_now_us() - start_us) * 1000 / SUMS_OF_ROUND;
    }
    if (world->rank == 0)
        printf("ours_ns %" PRIu64 " allreduce_ns %" PRIu64 "\n", median(ours, rounds),
               median(mpis, rounds));
    (void)fflush(stdout);
    memory_free(values);
    memory_free(sums);
    memory_free(ours);
    memory_free(mpis);
    collective_mpi_close(world);
    return 0;
}
