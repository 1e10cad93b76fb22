/* SPDX-License-Identifier: Apache-2.0 */
/* Ranks in network namespaces that share no network: each two meet over their own cable, and over
 * no other.  Skipped without the right to make namespaces. */
#include "tests/mpi/run_world.h"
#include "tests/support/check_main.h"
#include "tests/support/run_program.h"
#include "tests/support/scratch.h"

#include "protocol/assert.h"
#include "protocol/status.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char mark[16];

static int PRINTF_LIKE(1, 2) shell(const char *format, ...)
{
    char command[1024];
    char text[1024];
    va_list values;
    va_start(values, format);
    (void)vsnprintf(command, sizeof(command), format, values);
    va_end(values);
    const char *const arguments[] = {"/bin/sh", "-c", command, NULL};
    return run_program(arguments, text, sizeof(text));
}

static void spaces_close(void)
{
    for (char space = 'a'; space <= 'c' && *mark; space++)
        (void)shell("ip netns del %s%c 2>&1", mark, space);
}

static bool spaces_open(void)
{
    (void)snprintf(mark, sizeof(mark), "tw%d", (int)getpid() % 100000);
    bool ok = geteuid() == 0;
    for (char space = 'a'; space <= 'c' && ok; space++)
        ok = shell("ip netns add %s%c 2>&1 && ip -n %s%c link set lo up 2>&1", mark, space, mark,
                   space) == 0;
    if (!ok)
        printf("# skipped: no network namespaces here\n");
    return ok;
}

/* Between two of them, with the addresses .1 and .2 of 10.NUMBER.0.0/24. */
static void cable(char from, char to, const char *name, unsigned number)
{
    const char ends[] = {from, to};
    ck_assert_int_eq(shell("ip -n %s%c link add %s type veth peer name %s netns %s%c 2>&1", mark,
                           from, name, name, mark, to),
                     0);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(shell("ip -n %s%c addr add 10.%u.0.%u/24 dev %s 2>&1 &&"
                               " ip -n %s%c link set %s up 2>&1",
                               mark, ends[i], number, i + 1, name, mark, ends[i], name),
                         0);
}

static uint64_t bytes_sent(char space, const char *name)
{
    char command[256];
    char text[256];
    (void)snprintf(command, sizeof(command),
                   "ip netns exec %s%c cat /sys/class/net/%s/statistics/tx_bytes", mark, space,
                   name);
    const char *const arguments[] = {"/bin/sh", "-c", command, NULL};
    ck_assert_int_eq(run_program(arguments, text, sizeof(text)), 0);
    return strtoull(text, NULL, 10);
}

static void expect_world(const char *options, const char *program)
{
    struct scratch scratch;
    char text[4096];
    scratch_open(&scratch);
    const int code = run_world(&scratch, options, 3, program, text, sizeof(text));
    scratch_close(&scratch);
    ck_assert_str_eq(text, "");
    ck_assert_int_eq(code, 0);
}

/* a and b are known by their cable, c by the one to b; a and b share another one too, over which
 * everything that has no address of its own would go. */
static void triangle_options(char options_out[1024])
{
    cable('a', 'b', "slow", 60);
    cable('a', 'b', "ab", 61);
    cable('b', 'c', "bc", 62);
    cable('a', 'c', "ac", 63);
    for (char space = 'a'; space <= 'b'; space++)
        ck_assert_int_eq(
            shell("ip -n %s%c route add default dev slow 2>&1", mark, space), 0);
    (void)snprintf(options_out, 1024,
                   "--space %sa+%sb+%sc --address 10.61.0.1+10.61.0.2+10.62.0.2 --ways "
                   "10.62.0.2/10.63.0.1/10.63.0.2+"
                   "10.62.0.2/10.62.0.1/10.62.0.2+"
                   "10.61.0.1/10.63.0.2/10.63.0.1,10.61.0.2/10.62.0.2/10.62.0.1",
                   mark, mark, mark);
}

START_TEST(each_two_ranks_meet_over_their_own_cable)
{
    char options[1024];
    if (!spaces_open())
        return;
    triangle_options(options);
    expect_world(options, "./collective_rank all 3");
    static const struct {
        char space;
        const char *name;
    } ends[] = {{'a', "ab"}, {'b', "ab"}, {'b', "bc"}, {'c', "bc"}, {'a', "ac"}, {'c', "ac"}};
    for (size_t i = 0; i < COUNT_OF(ends); i++) {
        const uint64_t sent = bytes_sent(ends[i].space, ends[i].name);
        printf("# %c sent %" PRIu64 " bytes over %s\n", ends[i].space, sent, ends[i].name);
        ck_assert_uint_gt(sent, 40u << 20); /* what one sends to one in that program */
    }
    ck_assert_uint_lt(bytes_sent('a', "slow"), 65536);
    ck_assert_uint_lt(bytes_sent('b', "slow"), 65536);
}
END_TEST

START_TEST(ranks_listen_at_the_addresses_of_their_ways_alone)
{
    char options[1024];
    if (!spaces_open())
        return;
    triangle_options(options);
    /* As the kernel prints 10.61.0.1 and the others on a little-endian machine. */
    expect_world(options, "./collective_rank listeners 3 "
                          "01003D0A,02003D0A,01003E0A,02003E0A,01003F0A,02003F0A");
}
END_TEST

START_TEST(ways_that_are_none_are_refused_before_mpi_starts)
{
    struct scratch scratch;
    char text[4096];
    scratch_open(&scratch);
    ck_assert_int_eq(run_world(&scratch, "--ways 10.0.0.1/10.0.0.2", 2, "./collective_rank all 2",
                               text, sizeof(text)),
                     1);
    ck_assert_ptr_nonnull(strstr(text, "10.0.0.1/10.0.0.2 is no way to a rank"));
    scratch_close(&scratch);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("ways");
    const TTest *const tests[] = {each_two_ranks_meet_over_their_own_cable,
                                  ranks_listen_at_the_addresses_of_their_ways_alone,
                                  ways_that_are_none_are_refused_before_mpi_starts};
    TCase *tcase = tcase_create("ways");
    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, NULL, spaces_close);
    for (size_t i = 0; i < COUNT_OF(tests); i++)
        tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
    return suite;
}
