/* SPDX-License-Identifier: Apache-2.0 */
/*
 * expect: how a rank that a test started says what is not so.
 *
 * Owner    the programs of tests/mpi that run as ranks; their tests read what they print.
 * Memory   none.
 * Threads  any.
 * Fails    the rank ends with 3, at once, as its siblings may be waiting inside MPI.
 */
#ifndef TROUPE_TESTS_MPI_EXPECT_H
#define TROUPE_TESTS_MPI_EXPECT_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline _Noreturn void expect_failed(int line, const char *condition)
{
    const char *rank = getenv("PMIX_RANK");
    fprintf(stderr, "rank %s: line %d: not so: %s\n", rank ? rank : "?", line, condition);
    _exit(3);
}

#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition))                                                                          \
            expect_failed(__LINE__, #condition);                                                   \
    } while (0)

#endif
