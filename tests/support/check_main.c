/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/check_main.h"

#include <stdlib.h>

void suite_add(Suite *suite, const char *name, const TTest *const *tests, size_t count)
{
    TCase *group = tcase_create(name);
    tcase_set_timeout(group, 60);
    for (size_t i = 0; i < count; i++)
        tcase_add_test(group, tests[i]);
    suite_add_tcase(suite, group);
}

int main(void)
{
    SRunner *runner = srunner_create(suite_of_tests());
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
