/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/service_notify.h"

#include "protocol/assert.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int listen_at(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(name);
    memcpy(address.sun_path, name, length);
    if (name[0] == '@')
        address.sun_path[0] = 0;
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    ck_assert_int_ge(fd, 0);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address, size), 0);
    return fd;
}

static void heard(int fd, const char *text)
{
    char line[100] = "";
    ssize_t size = recv(fd, line, sizeof(line) - 1, 0);
    ck_assert_int_eq(size, (ssize_t)strlen(text));
    ck_assert_str_eq(line, text);
}

START_TEST(a_path_and_an_abstract_name_are_told)
{
    struct scratch scratch;
    char path[256];
    char name[64];
    scratch_open(&scratch);
    int fd = listen_at(scratch_path(&scratch, "notify", path));
    ck_assert_int_eq(setenv("NOTIFY_SOCKET", path, 1), 0);
    ck_assert(service_notify("READY=1"));
    heard(fd, "READY=1");
    (void)close(fd);
    (void)snprintf(name, sizeof(name), "@troupe-notify-%ld", (long)getpid());
    fd = listen_at(name);
    ck_assert_int_eq(setenv("NOTIFY_SOCKET", name, 1), 0);
    ck_assert(service_notify("STATUS=serving\nWATCHDOG=1"));
    heard(fd, "STATUS=serving\nWATCHDOG=1");
    (void)close(fd);
    ck_assert(!service_notify("READY=1"));
    ck_assert_int_eq(unsetenv("NOTIFY_SOCKET"), 0);
    ck_assert(!service_notify("READY=1"));
    scratch_close(&scratch);
}
END_TEST

START_TEST(the_watchdog_is_fed_at_half_its_time)
{
    char pid[32];
    ck_assert_int_eq(unsetenv("WATCHDOG_USEC"), 0);
    ck_assert_uint_eq(service_watchdog_ms(), 0);
    ck_assert_int_eq(setenv("WATCHDOG_USEC", "30000000", 1), 0);
    ck_assert_uint_eq(service_watchdog_ms(), 15000);
    ck_assert_int_eq(setenv("WATCHDOG_PID", "1", 1), 0);
    ck_assert_uint_eq(service_watchdog_ms(), 0);
    (void)snprintf(pid, sizeof(pid), "%ld", (long)getpid());
    ck_assert_int_eq(setenv("WATCHDOG_PID", pid, 1), 0);
    ck_assert_uint_eq(service_watchdog_ms(), 15000);
    ck_assert_int_eq(unsetenv("WATCHDOG_PID"), 0);
    ck_assert_int_eq(unsetenv("WATCHDOG_USEC"), 0);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("service_notify");
    const TTest *const tests[] = {
        a_path_and_an_abstract_name_are_told,
        the_watchdog_is_fed_at_half_its_time,
    };
    suite_add(suite, "notify", tests, COUNT_OF(tests));
    return suite;
}
