/* SPDX-License-Identifier: Apache-2.0 */
/* How generation and rank stand in the environment, and which exit code a failure has. */
#include "runtime/process.h"

#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LEADER "0123456789abcdef0123456789abcdef"

START_TEST(a_generation_is_read_as_it_was_written)
{
    const struct generation written[] = {
        {3, {{0x01, 0xff}}, 17}, {0, {{0}}, 0}, {UINT64_MAX, {{0xab}}, UINT64_MAX}};
    for (size_t i = 0; i < COUNT_OF(written); i++) {
        struct generation read = {7, {{7}}, 7};
        char text[96];
        generation_write(&written[i], text);
        ck_assert_msg(generation_read(text, &read), "%s", text);
        ck_assert_uint_eq(read.epoch, written[i].epoch);
        ck_assert_uint_eq(read.counter, written[i].counter);
        ck_assert(ID_EQUAL(read.leader, written[i].leader));
    }
}
END_TEST

START_TEST(a_generation_is_written_as_documented)
{
    struct generation generation = {.epoch = 3, .counter = 17};
    char text[96];
    ck_assert(hex_parse(LEADER, &generation.leader, sizeof(generation.leader)));
    generation_write(&generation, text);
    ck_assert_str_eq(text, "3." LEADER ".17");
}
END_TEST

START_TEST(a_malformed_generation_is_refused_and_nothing_written)
{
    static const char *const texts[] = {"",
                                        ".",
                                        "3",
                                        "3.",
                                        "3." LEADER,
                                        "3." LEADER ".",
                                        "3." LEADER ".x",
                                        "3." LEADER ".17x",
                                        "3." LEADER ".17 ",
                                        "3." LEADER ".17.1",
                                        "." LEADER ".17",
                                        "x." LEADER ".17",
                                        "-3." LEADER ".17",
                                        " 3." LEADER ".17",
                                        "+3." LEADER ".17",
                                        "3." LEADER ".-17",
                                        "3." LEADER ". 17",
                                        "3." LEADER "0.17",
                                        "3.0123.17",
                                        "3.g123456789abcdef0123456789abcdef.17",
                                        "18446744073709551616." LEADER ".17",
                                        "3." LEADER ".18446744073709551616"};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct generation read = {7, {{7}}, 7};
        ck_assert_msg(!generation_read(texts[i], &read), "\"%s\" was read", texts[i]);
        ck_assert_uint_eq(read.epoch, 7);
        ck_assert_uint_eq(read.leader.bytes[0], 7);
        ck_assert_uint_eq(read.counter, 7);
    }
}
END_TEST

START_TEST(exit_codes_are_the_documented_ones)
{
    ck_assert_int_eq(process_exit_code(STATUS_OK), 0);
    ck_assert_int_eq(process_exit_code(STATUS_IO), 1);
    ck_assert_int_eq(process_exit_code(STATUS_NO_MEMORY), 1);
    ck_assert_int_eq(process_exit_code(STATUS_NOT_FOUND), 3);
    ck_assert_int_eq(process_exit_code(STATUS_UNREACHABLE), 4);
    ck_assert_int_eq(process_exit_code(STATUS_NO_LEADER), 4);
    ck_assert_int_eq(process_exit_code(STATUS_NOT_ADMITTED), 5);
    ck_assert_int_eq(process_exit_code(STATUS_NO_CAPACITY), 6);
}
END_TEST

START_TEST(what_a_restart_does_not_mend_says_so_by_its_exit_code)
{
    static const enum status statuses[] = {STATUS_INVALID,     STATUS_VERSION,
                                           STATUS_NO_PERMISSION, STATUS_UNSUPPORTED,
                                           STATUS_IN_USE,      STATUS_DAMAGED,
                                           STATUS_SPENT,       STATUS_EXPIRED};
    for (size_t i = 0; i < COUNT_OF(statuses); i++)
        ck_assert_int_eq(process_exit_code(statuses[i]), EXIT_CODE_CONFIGURATION);
}
END_TEST

/* A runner started with that rank in its environment. */
static enum status open_with_rank(const char *rank, struct process *process)
{
    struct scratch scratch;
    struct reason reason = {""};
    char name[] = "troupe-runner";
    char option[] = "--home";
    char run[256];
    scratch_open(&scratch);
    ck_assert_int_eq(mkdir(scratch_path(&scratch, "run", run), 0700), 0);
    char store[] = "--store=/nonexistent";
    char *argv[] = {name, option, scratch.path, store, NULL};
    ck_assert_int_eq(setenv(INSTANCE_VARIABLE, LEADER, 1), 0);
    ck_assert_int_eq(setenv(GENERATION_VARIABLE, "3." LEADER ".17", 1), 0);
    ck_assert_int_eq(setenv(RANK_VARIABLE, rank, 1), 0);
    enum status status = process_open(process, ACTOR_RUNNER, 4, argv, NULL, &reason);
    if (status == STATUS_OK)
        process_close(process);
    else
        ck_assert_msg(strstr(reason.text, RANK_VARIABLE), "%s", reason.text);
    ck_assert_int_eq(unsetenv(INSTANCE_VARIABLE), 0);
    ck_assert_int_eq(unsetenv(GENERATION_VARIABLE), 0);
    ck_assert_int_eq(unsetenv(RANK_VARIABLE), 0);
    ck_assert_int_eq(chdir("/"), 0); /* out of what is removed now */
    scratch_close(&scratch);
    return status;
}

START_TEST(a_rank_of_the_environment_is_read)
{
    struct process process;
    ck_assert_int_eq(open_with_rank("5", &process), STATUS_OK);
    ck_assert(process.has_rank);
    ck_assert_uint_eq(process.rank, 5);
    ck_assert_uint_eq(process.generation.epoch, 3);
    ck_assert_uint_eq(process.instance_id.bytes[0], 0x01);
    ck_assert_uint_ne(process.incarnation, 0);
}
END_TEST

START_TEST(a_rank_that_is_no_number_or_too_high_is_refused)
{
    static const char *const ranks[] = {"", "x", "1x", "-1", " 1", "64", "99999999999999999999"};
    struct process process;
    for (size_t i = 0; i < COUNT_OF(ranks); i++)
        ck_assert_msg(open_with_rank(ranks[i], &process) == STATUS_INVALID, "\"%s\"", ranks[i]);
}
END_TEST

Suite *suite_of_tests(void)
{
    const TTest *const tests[] = {a_generation_is_read_as_it_was_written,
                                         a_generation_is_written_as_documented,
                                         a_malformed_generation_is_refused_and_nothing_written,
                                         a_rank_of_the_environment_is_read,
                                         a_rank_that_is_no_number_or_too_high_is_refused,
                                         exit_codes_are_the_documented_ones,
                                         what_a_restart_does_not_mend_says_so_by_its_exit_code};
    Suite *suite = suite_create("runtime/process");
    suite_add(suite, "process", tests, COUNT_OF(tests));
    return suite;
}
