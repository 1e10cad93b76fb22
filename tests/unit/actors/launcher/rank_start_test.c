/* SPDX-License-Identifier: Apache-2.0 */
/* What a launcher sets up before its rank: the environment and the directory. */
#include "actors/launcher/launch_directory.h"
#include "actors/launcher/rank_environment.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static bool has(char **environment, const char *variable)
{
    for (size_t i = 0; environment[i]; i++)
        if (strcmp(environment[i], variable) == 0)
            return true;
    return false;
}

START_TEST(the_environment_is_ours_and_nobody_elses)
{
    char home[] = "HOME=/var/empty";
    char foreign[] = "OMPI_MCA_btl=openib";
    char slurm[] = "SLURM_JOBID=1";
    char *const base[] = {home, foreign, slurm, NULL};
    char **environment = NULL;
    const struct rank_network network = {"127.0.0.1", 52000, 100, NULL, NULL};
    ck_assert_int_eq(rank_environment_open(base, &network, &environment, NULL), STATUS_OK);
    ck_assert(has(environment, home));
    ck_assert(!has(environment, foreign));
    ck_assert(!has(environment, slurm));
    static const char *const wanted[] = {"JSM_JSRUN_PORT=1",
                                         "OMPI_MCA_pml=ob1",
                                         "OMPI_MCA_btl=self,tcp",
                                         "OMPI_MCA_btl_tcp_if_include=127.0.0.0/8",
                                         "OMPI_MCA_btl_tcp_port_min_v4=52000",
                                         "OMPI_MCA_btl_tcp_port_range_v6=100",
                                         "OMPI_MCA_mpi_yield_when_idle=1",
                                         "HWLOC_PLUGINS_PATH=/nonexistent",
                                         "TROUPE_FABRIC_ADDRESS=127.0.0.1"};
    for (size_t i = 0; i < COUNT_OF(wanted); i++)
        ck_assert_msg(has(environment, wanted[i]), "%s", wanted[i]);
    rank_environment_free(environment);
}
END_TEST

/* A network of two: to Open MPI one of a single address is every network. */
START_TEST(an_address_of_this_machine_is_used_alone)
{
    char *const base[] = {NULL};
    char text[INET_ADDRSTRLEN];
    struct ifaddrs *interfaces = NULL;
    ck_assert_int_eq(getifaddrs(&interfaces), 0);
    for (struct ifaddrs *i = interfaces; i; i = i->ifa_next) {
        char **environment = NULL;
        char wanted[128];
        struct sockaddr_in v4;
        if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET)
            continue;
        memcpy(&v4, i->ifa_addr, sizeof(v4));
        (void)inet_ntop(AF_INET, &v4.sin_addr, text, sizeof(text));
        const struct rank_network network = {text, 0, 0, NULL, NULL};
        if (strncmp(text, "127.", 4) == 0)
            continue;
        ck_assert_int_eq(rank_environment_open(base, &network, &environment, NULL), STATUS_OK);
        (void)snprintf(wanted, sizeof(wanted), "OMPI_MCA_btl_tcp_if_include=%s/31", text);
        ck_assert_msg(has(environment, wanted), "%s", wanted);
        rank_environment_free(environment);
    }
    freeifaddrs(interfaces);
}
END_TEST

START_TEST(rdma_takes_the_place_of_tcp_and_falls_to_nothing_else)
{
    char foreign[] = "UCX_TLS=tcp";
    char *const base[] = {foreign, NULL};
    char **environment = NULL;
    const struct rank_network network = {"127.0.0.1", 0, 0, "mlx5_0", NULL};
    ck_assert_int_eq(rank_environment_open(base, &network, &environment, NULL), STATUS_OK);
    static const char *const wanted[] = {"JSM_JSRUN_PORT=1", "OMPI_MCA_pml=ucx",
                                         "UCX_NET_DEVICES=mlx5_0:1", "UCX_TLS=self,rc,ud",
                                         "TROUPE_FABRIC_ADDRESS=127.0.0.1"};
    for (size_t i = 0; i < COUNT_OF(wanted); i++)
        ck_assert_msg(has(environment, wanted[i]), "%s", wanted[i]);
    ck_assert(!has(environment, foreign));
    ck_assert(!has(environment, "OMPI_MCA_pml=ob1"));
    rank_environment_free(environment);
}
END_TEST

START_TEST(a_rank_is_told_the_ways_to_those_it_meets_elsewhere)
{
    char foreign[] = "TROUPE_FABRIC_WAYS=1.1.1.1/2.2.2.2/3.3.3.3";
    char *const base[] = {foreign, NULL};
    char **environment = NULL;
    struct rank_network network = {.address = "127.0.0.1", .ways = "10.1.0.2/10.3.0.1/10.3.0.2"};
    ck_assert_int_eq(rank_environment_open(base, &network, &environment, NULL), STATUS_OK);
    ck_assert(!has(environment, foreign));
    ck_assert(has(environment, "TROUPE_FABRIC_WAYS=10.1.0.2/10.3.0.1/10.3.0.2"));
    ck_assert(has(environment, "OMPI_MCA_btl_tcp_if_include=127.0.0.0/8"));
    rank_environment_free(environment);
    network.ways = "";
    ck_assert_int_eq(rank_environment_open(base, &network, &environment, NULL), STATUS_OK);
    ck_assert(!has(environment, foreign));
    ck_assert(!has(environment, "TROUPE_FABRIC_WAYS="));
    rank_environment_free(environment);
}
END_TEST

START_TEST(an_address_of_no_interface_is_refused_by_name)
{
    char *const base[] = {NULL};
    char **environment = NULL;
    struct reason reason = {""};
    ck_assert_int_eq(rank_environment_open(base, &(struct rank_network){.address = "192.0.2.77"},
                                           &environment, &reason),
                     STATUS_INVALID);
    ck_assert_ptr_nonnull(strstr(reason.text, "192.0.2.77"));
    ck_assert_int_eq(rank_environment_open(base, &(struct rank_network){.address = "localhost"},
                                           &environment, &reason),
                     STATUS_INVALID);
    ck_assert_ptr_null(environment);
}
END_TEST

START_TEST(the_directory_is_private_locked_and_gone_at_the_end)
{
    struct scratch scratch;
    char path[256];
    scratch_open(&scratch);
    struct launch_directory directory;
    struct launch_directory again;
    struct stat stat_of;
    scratch_path(&scratch, "mpi-7.1-0", path);
    ck_assert_int_eq(launch_directory_open(path, &directory, NULL), STATUS_OK);
    ck_assert_int_eq(stat(path, &stat_of), 0);
    ck_assert_uint_eq(stat_of.st_mode & 0777, 0700);
    ck_assert_int_eq(launch_directory_open(path, &again, NULL), STATUS_EXISTS);
    launch_directory_close(&directory);
    ck_assert_int_ne(stat(path, &stat_of), 0);
    scratch_close(&scratch);
}
END_TEST

START_TEST(what_a_killed_launcher_left_goes_when_the_next_one_starts)
{
    struct scratch scratch;
    char dead[256];
    char alive[256];
    char other[256];
    char next[256];
    char inside[300];
    scratch_open(&scratch);
    scratch_path(&scratch, "mpi-7.1-0", dead);
    scratch_path(&scratch, "mpi-7.2-0", alive);
    scratch_path(&scratch, "models-1", other);
    scratch_path(&scratch, "mpi-7.3-0", next);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        struct launch_directory directory;
        _exit(launch_directory_open(dead, &directory, NULL) == STATUS_OK ? 0 : 1);
    }
    int result = 0;
    ck_assert_int_eq(waitpid(pid, &result, 0), pid);
    ck_assert_int_eq(result, 0);
    ck_assert_int_eq(access(dead, F_OK), 0);
    (void)snprintf(inside, sizeof(inside), "%s/file", dead);
    file_put(inside, "x", 1);
    ck_assert_int_eq(mkdir(other, 0700), 0);
    struct launch_directory living;
    struct launch_directory directory;
    ck_assert_int_eq(launch_directory_open(alive, &living, NULL), STATUS_OK);
    ck_assert_int_eq(launch_directory_open(next, &directory, NULL), STATUS_OK);
    ck_assert_int_ne(access(dead, F_OK), 0);
    ck_assert_int_eq(access(alive, F_OK), 0);
    ck_assert_int_eq(access(other, F_OK), 0);
    launch_directory_close(&living);
    launch_directory_close(&directory);
    scratch_close(&scratch);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("rank start");
    const TTest *const tests[] = {the_environment_is_ours_and_nobody_elses,
                                  an_address_of_this_machine_is_used_alone,
                                  rdma_takes_the_place_of_tcp_and_falls_to_nothing_else,
                                         a_rank_is_told_the_ways_to_those_it_meets_elsewhere,
                                  an_address_of_no_interface_is_refused_by_name,
                                  the_directory_is_private_locked_and_gone_at_the_end,
                                  what_a_killed_launcher_left_goes_when_the_next_one_starts};
    suite_add(suite, "rank start", tests, COUNT_OF(tests));
    return suite;
}
