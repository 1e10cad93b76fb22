/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/kernel_rates.h"
#include "runtime/machine.h"
#include "runtime/quiet.h"

#include "runtime/clock.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A process that computes until it is killed. */
static pid_t burn(void)
{
    const pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0)
        for (volatile uint64_t i = 0;; i++)
            ;
    return pid;
}

static void end(pid_t pid)
{
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

/* As many as there are cores: even beside other tests they have a share of them. */
START_TEST(processors_that_others_keep_busy_are_seen)
{
    pid_t pids[64];
    const uint32_t cores = machine_cores() < 64 ? machine_cores() : 64;
    struct quiet_watch watch;
    for (uint32_t i = 0; i < cores; i++)
        pids[i] = burn();
    quiet_watch_start(&watch);
    clock_sleep_ms(500);
    const double others = quiet_watch_others(&watch);
    const bool is_quiet = quiet_wait(0);
    for (uint32_t i = 0; i < cores; i++)
        end(pids[i]);
    if (!watch.is_known)
        return; /* a system that does not say */
    ck_assert_double_gt(others, QUIET_SHARE);
    ck_assert_double_le(others, 1);
    ck_assert(!is_quiet);
}
END_TEST

/* What others took and what we did is no more than what the machine counted, but for its ticks. */
START_TEST(what_this_process_computes_is_not_of_others)
{
    enum { OWN_US = 300000, TICKS_US = 100000 };
    struct quiet_watch watch;
    uint64_t busy_us = 0;
    quiet_watch_start(&watch);
    if (!watch.is_known)
        return; /* a system that does not say */
    const clock_t begin = clock();
    while (clock() - begin < (clock_t)OWN_US * (CLOCKS_PER_SEC / 1000000))
        ;
    const double passed = (double)(clock_now_us() - watch.at_us) * machine_cores();
    const double others = quiet_watch_others(&watch) * passed;
    ck_assert(machine_busy_us(&busy_us));
    ck_assert_double_le(others + OWN_US, (double)(busy_us - watch.busy_us) + TICKS_US);
}
END_TEST

START_TEST(rates_come_back_as_they_were_written_and_damage_is_none)
{
    struct scratch scratch;
    struct reason reason = {""};
    struct kernel_rates back;
    char path[256];
    char text[600];
    const struct kernel_rates rates = {.build = "1.0 12 34",
                                       .cpu = "a processor, 2 cores",
                                       .rates = {{4, 1, 8000000000u, 30000000000u, MODE_FAST, 5, 6,
                                                  900},
                                                 {16, 2, 12000000000u, 40000000000u,
                                                  MODE_EXACT, 0, 7, 0}},
                                       .count = 2,
                                       .entry_ns = 300,
                                       .fresh_bytes_per_s = 4000000000u,
                                       .wake_ns = 250000};
    scratch_open(&scratch);
    (void)scratch_path(&scratch, "kernels", path);
    ck_assert(!kernel_rates_read(path, &back));
    ck_assert_msg(kernel_rates_write(path, &rates, &reason) == STATUS_OK, "%s", reason.text);
    ck_assert(kernel_rates_read(path, &back));
    ck_assert_str_eq(back.build, rates.build);
    ck_assert_str_eq(back.cpu, rates.cpu);
    ck_assert_uint_eq(back.count, 2);
    ck_assert_uint_eq(back.rates[1].products_per_s, 40000000000u);
    ck_assert_int_eq(back.rates[1].mode, MODE_EXACT);
    ck_assert_uint_eq(back.rates[1].attended_many_per_s, 7);
    ck_assert_uint_eq(back.rates[0].layer_ns, 900);
    ck_assert_uint_eq(back.entry_ns, 300);
    ck_assert_uint_eq(back.fresh_bytes_per_s, 4000000000u);
    ck_assert_uint_eq(back.wake_ns, 250000);
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    const size_t size = fread(text, 1, sizeof(text), file);
    (void)fclose(file);
    for (size_t cut = 0; cut < size - 1; cut++) {
        file = fopen(path, "w");
        ck_assert_ptr_nonnull(file);
        ck_assert_uint_eq(fwrite(text, 1, cut, file), cut);
        (void)fclose(file);
        if (kernel_rates_read(path, &back))
            ck_assert(back.count < 2 || back.wake_ns == 0); /* cut between lines */
    }
    scratch_close(&scratch);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("quiet");
    const TTest *const tests[] = {
        processors_that_others_keep_busy_are_seen,
        what_this_process_computes_is_not_of_others,
        rates_come_back_as_they_were_written_and_damage_is_none,
    };
    suite_add(suite, "quiet", tests, COUNT_OF(tests));
    return suite;
}
