/* SPDX-License-Identifier: Apache-2.0 */
/* Worlds of ranks started by PMIx servers of our own: they find each other, and end together. */
#include "runtime/clock.h"
#include "tests/mpi/run_world.h"
#include "tests/support/check_main.h"
#include "tests/support/run_program.h"
#include "tests/support/scratch.h"

#include "protocol/assert.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void expect_nothing_left(const struct scratch *scratch, int segments_before)
{
    ck_assert_int_eq(count_entries(scratch->path, "launcher"), 0);
    ck_assert_int_eq(count_entries("/dev/shm", "vader"), segments_before);
}

static void expect_good_world_with(const char *options, int ranks, const char *program)
{
    struct scratch scratch;
    char text[4096];
    int segments = count_entries("/dev/shm", "vader");
    scratch_open(&scratch);
    int code = run_world(&scratch, options, ranks, program, text, sizeof(text));
    expect_nothing_left(&scratch, segments);
    scratch_close(&scratch);
    ck_assert_str_eq(text, "");
    ck_assert_int_eq(code, 0);
}

static void expect_good_world(int ranks, const char *program)
{
    expect_good_world_with("", ranks, program);
}

START_TEST(two_ranks_sum_gather_and_send)
{
    expect_good_world(2, "./collective_rank all 2");
}
END_TEST

START_TEST(three_ranks_sum_gather_and_send)
{
    expect_good_world(3, "./collective_rank all 3");
}
END_TEST

/* Two nodes of one machine: loopback, which all networks would have beside theirs, is not taken. */
START_TEST(two_ranks_share_one_address_of_a_network)
{
    struct ifaddrs *interfaces = NULL;
    char options[64] = "";
    ck_assert_int_eq(getifaddrs(&interfaces), 0);
    for (struct ifaddrs *i = interfaces; i; i = i->ifa_next) {
        struct sockaddr_in v4;
        char text[INET_ADDRSTRLEN];
        if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET || (i->ifa_flags & IFF_LOOPBACK) ||
            !(i->ifa_flags & IFF_UP))
            continue;
        memcpy(&v4, i->ifa_addr, sizeof(v4));
        (void)inet_ntop(AF_INET, &v4.sin_addr, text, sizeof(text));
        (void)snprintf(options, sizeof(options), "--address %s", text);
    }
    freeifaddrs(interfaces);
    if (options[0]) /* else this machine has none */
        expect_good_world_with(options, 2, "./collective_rank all 2");
}
END_TEST

/* Ranks then ask for each other's addresses one by one instead of sharing them in the fence. */
START_TEST(three_ranks_find_each_other_by_direct_modex)
{
    expect_good_world(3, "/usr/bin/env OMPI_MCA_pmix_base_async_modex=1"
                         " OMPI_MCA_pmix_base_collect_data=0 ./collective_rank all 3");
}
END_TEST

START_TEST(listens_on_the_chosen_address_only)
{
    expect_good_world(2, "./collective_rank listeners 2");
}
END_TEST

/* So that the test above is known to see what it looks for. */
START_TEST(without_an_address_it_would_listen_on_all)
{
    struct scratch scratch;
    char text[4096];
    scratch_open(&scratch);
    ck_assert_int_eq(run_world(&scratch, "", 2,
                               "/usr/bin/env -u TROUPE_FABRIC_ADDRESS ./collective_rank"
                               " listeners 2",
                               text, sizeof(text)),
                     1);
    ck_assert_ptr_nonnull(strstr(text, "listens on 00000000, not only on 0100007F"));
    scratch_close(&scratch);
}
END_TEST

START_TEST(refuses_a_world_of_another_size)
{
    struct scratch scratch;
    char text[4096];
    scratch_open(&scratch);
    ck_assert_int_eq(run_world(&scratch, "", 2, "./collective_rank all 3", text, sizeof(text)), 1);
    ck_assert_ptr_nonnull(strstr(text, "the world has 2 ranks where the placement has 3"));
    scratch_close(&scratch);
}
END_TEST

START_TEST(a_rank_without_launcher_is_refused)
{
    char program[512];
    char text[1024];
    (void)snprintf(program, sizeof(program), "%s/tests/mpi/collective_rank",
                   getenv("TROUPE_BUILD_DIR"));
    const char *const arguments[] = {program, "all", "2", NULL};
    ck_assert_int_eq(run_program(arguments, text, sizeof(text)), 4);
    ck_assert_ptr_nonnull(strstr(text, "the world has 1 ranks"));
}
END_TEST

START_TEST(ranks_go_on_without_one_that_they_narrowed_the_world_by)
{
    expect_good_world(2, "./collective_rank narrow 2");
    expect_good_world(4, "./collective_rank narrow 4");
    /* The shell stands for one that is killed: its launcher would end the world of these tests. */
    expect_good_world(3, "/bin/sh -c './collective_rank narrow-killed 3; r=$?;"
                         " [ $r = 0 ] || [ $r = 137 ]' 2>/dev/null");
}
END_TEST

START_TEST(ranks_that_do_not_do_the_same_find_it_at_once)
{
    struct scratch scratch;
    char mark[256];
    char program[512];
    scratch_open(&scratch);
    for (int ranks = 2; ranks < 4; ranks++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "found-%d", ranks);
        (void)scratch_path(&scratch, name, mark);
        (void)snprintf(program, sizeof(program), "./collective_rank diverge %d %s", ranks, mark);
        expect_good_world(ranks, program);
    }
    scratch_close(&scratch);
}
END_TEST

/* All launchers have ended, so all ranks have: each launcher collects its own. */
static void expect_quick_end(const char *options, int ranks, const char *program,
                             const char *word)
{
    struct scratch scratch;
    char text[4096];
    int segments = count_entries("/dev/shm", "vader");
    scratch_open(&scratch);
    uint64_t start_ms = clock_now_ms();
    ck_assert_int_eq(run_world(&scratch, options, ranks, program, text, sizeof(text)), 1);
    uint64_t took_ms = clock_now_ms() - start_ms;
    printf("# ended after %d ms\n", (int)took_ms);
    ck_assert_ptr_nonnull(strstr(text, word));
    expect_nothing_left(&scratch, segments);
    scratch_close(&scratch);
}

START_TEST(a_killed_rank_ends_the_world)
{
    expect_quick_end("--kill-after 200", 2, "./collective_rank loop 2", "signal 9");
    expect_quick_end("--kill-after 200", 3, "./collective_rank loop 3", "lost its sibling");
}
END_TEST

START_TEST(a_rank_that_leaves_ends_the_world)
{
    expect_quick_end("", 2, "./collective_rank leave 2", "code 7");
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("world");
    const TTest *const tests[] = {two_ranks_sum_gather_and_send,
                                  three_ranks_sum_gather_and_send,
                                  three_ranks_find_each_other_by_direct_modex,
                                  two_ranks_share_one_address_of_a_network,
                                  listens_on_the_chosen_address_only,
                                  without_an_address_it_would_listen_on_all,
                                  refuses_a_world_of_another_size,
                                  a_rank_without_launcher_is_refused,
                                  ranks_go_on_without_one_that_they_narrowed_the_world_by,
                                  ranks_that_do_not_do_the_same_find_it_at_once,
                                  a_killed_rank_ends_the_world,
                                  a_rank_that_leaves_ends_the_world};
    suite_add(suite, "world", tests, COUNT_OF(tests));
    return suite;
}
