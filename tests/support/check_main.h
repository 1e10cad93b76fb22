/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check_main: what every Check program of the suites shares.
 *
 * A test file defines `Suite *suite_of_tests(void)`; main is here.  Under a sanitizer the tests run
 * without fork (set CK_FORK=no), which the test script does.
 */
#ifndef TROUPE_TESTS_SUPPORT_CHECK_MAIN_H
#define TROUPE_TESTS_SUPPORT_CHECK_MAIN_H

#include <check.h>

Suite *suite_of_tests(void);

/* One test case with all its tests: `suite_add(suite, "name", tests, COUNT_OF(tests))`. */
void suite_add(Suite *suite, const char *name, const TTest *const *tests, size_t count);

#endif
