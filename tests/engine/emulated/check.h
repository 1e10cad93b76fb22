/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check: as much of Check as kernels_test.c uses, for a program built for another processor, for
 * which the library is not installed.  A failed check ends the program.  Prints TAP.
 *
 * Owner    tests/engine/kernels_neon_test.
 * Memory   none.
 * Threads  none.
 */
#ifndef TROUPE_TESTS_ENGINE_EMULATED_CHECK_H
#define TROUPE_TESTS_ENGINE_EMULATED_CHECK_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct plain_test {
    const char *name;
    void (*run)(void);
};

#define TTest struct plain_test
#define Suite void

#define START_TEST(test)                                                                           \
    static void test##_run(void);                                                                  \
    static const struct plain_test test##_row = {#test, test##_run};                               \
    static const struct plain_test *const test = &test##_row;                                      \
    static void test##_run(void)
#define END_TEST

#define ck_assert_msg(condition, ...)                                                              \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("Bail out! line %d: ", __LINE__);                                               \
            printf(__VA_ARGS__);                                                                   \
            printf("\n");                                                                          \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)
#define ck_assert(condition) ck_assert_msg(condition, "%s", #condition)
#define ck_assert_int_eq(a, b) ck_assert_msg((a) == (b), "%s == %s", #a, #b)
#define ck_assert_uint_eq(a, b)                                                                    \
    ck_assert_msg((a) == (b), "%s == %s: %llu", #a, #b, (unsigned long long)(a))
#define ck_assert_float_eq(a, b) ck_assert_msg((a) == (b), "%s == %s: %g", #a, #b, (double)(a))
#define ck_assert_float_eq_tol(a, b, tolerance)                                                    \
    ck_assert_msg(fabsf((a) - (b)) <= (tolerance), "%s ~ %s: %.9g, %.9g", #a, #b, (double)(a),     \
                  (double)(b))
#define ck_assert_mem_eq(a, b, size)                                                               \
    ck_assert_msg(memcmp((a), (b), (size)) == 0, "%s and %s differ", #a, #b)

Suite *suite_create(const char *name);

#endif
