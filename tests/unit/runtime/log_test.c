/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/log.h"

#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include "protocol/memory.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* The line that `text` makes on standard error. */
static char *line_of(const char *text)
{
    struct scratch scratch;
    char path[256];
    scratch_open(&scratch);
    (void)scratch_path(&scratch, "line", path);
    const int kept = dup(STDERR_FILENO);
    const int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ck_assert(kept >= 0 && file >= 0 && dup2(file, STDERR_FILENO) >= 0);
    log_init("test", LOG_LEVEL_NOTICE);
    log_notice("%s", text);
    ck_assert(dup2(kept, STDERR_FILENO) >= 0);
    (void)close(kept);
    (void)close(file);
    size_t size = 0;
    char *line = file_bytes(path, &size);
    scratch_close(&scratch);
    return line;
}

static void expect(const char *text, const char *wanted)
{
    char *line = line_of(text);
    const char *said = strstr(line, "test: ");
    ck_assert_ptr_nonnull(said);
    ck_assert_str_eq(said + strlen("test: "), wanted);
    memory_free(line);
}

START_TEST(secrets_are_shortened)
{
    expect("token troupe1-AbCdEfGh_0123-4567 expired", "token trou...(26) expired\n");
    expect("hf_abcdefghijklmnopqrstuvwxyz: 401", "hf_a...(29): 401\n");
    expect("Authorization: Bearer 0123456789abcdef", "Authorization: Bear...(23)\n");
    expect("key sk-0123456789abcdef0123, sk-0123456789abcdef0123",
           "key sk-0...(23), sk-0...(23)\n");
}
END_TEST

START_TEST(other_words_stay_whole)
{
    expect("disk-0123456789abcdef and task-of-a-long-name", "disk-0123456789abcdef and "
           "task-of-a-long-name\n");
    expect("troupe1-short", "troupe1-short\n");
    expect("", "\n");
}
END_TEST

START_TEST(control_bytes_are_escaped)
{
    expect("a\nerror: forged\x1b[31m", "a\\x0aerror: forged\\x1b[31m\n");
}
END_TEST

START_TEST(a_line_of_secrets_ends)
{
    char text[1200];
    for (size_t i = 0; i + 20 < sizeof(text); i += 17)
        memcpy(text + i, "hf_0123456789abc ", 18);
    char *line = line_of(text);
    ck_assert_ptr_null(strstr(line, "0123"));
    memory_free(line);
}
END_TEST

Suite *suite_of_tests(void)
{
    const TTest *const tests[] = {secrets_are_shortened, other_words_stay_whole,
                                         control_bytes_are_escaped, a_line_of_secrets_ends};
    Suite *suite = suite_create("runtime-log");
    suite_add(suite, "log", tests, COUNT_OF(tests));
    return suite;
}
