/* SPDX-License-Identifier: Apache-2.0 */
/* Weight files that go bad: while they are mapped, and before. */
#include "actors/runner/weight_fault.h"

#include "actors/runner/engine/engine.h"
#include "actors/runner/weight_load.h"
#include "protocol/memory.h"
#include "runtime/partition.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define WEIGHTS "model.safetensors"

static struct scratch scratch;

static void copy_file(const char *name)
{
    char from[512];
    char to[256];
    char source[600];
    size_t size = 0;
    (void)source_path("scripts/demo-model/model", from);
    (void)snprintf(source, sizeof(source), "%s/%s", from, name);
    char *bytes = file_bytes(source, &size);
    file_put(scratch_path(&scratch, name, to), bytes, size);
    memory_free(bytes);
}

static void setup(void)
{
    scratch_open(&scratch);
    copy_file("config.json");
    copy_file(WEIGHTS);
}

static void teardown(void)
{
    scratch_close(&scratch);
}

static enum status load(struct weight_load *load_out, struct reason *reason)
{
    struct model_config *config;
    struct partition partition;
    const bool has_files = true;
    struct engine_model model;
    ck_assert_int_eq(engine_model_open(scratch.path, &model, reason), STATUS_OK);
    const struct partition_units units = partition_units_of(model.config, model.layout);
    ck_assert_int_eq(partition_solve(SHARDING_NONE, &units, NULL, 1, &partition, reason),
                     STATUS_OK);
    engine_model_close(&model);
    ck_assert_int_eq(model_config_read(scratch.path, &config, reason), STATUS_OK);
    const struct weight_load_request request = {.directory = scratch.path,
                                                .config = config,
                                                .partitions = &partition,
                                                .has_files = &has_files};
    enum status status = weight_load_open(&request, load_out, reason);
    model_config_free(config);
    return status;
}

/* In a child: reads every weight after its file was cut to nothing. */
static int read_what_is_gone(void)
{
    const struct rlimit none = {0, 0};
    struct reason reason = {""};
    struct weight_load loaded;
    char path[256];
    (void)setrlimit(RLIMIT_CORE, &none);
    if (weight_fault_install(&reason) != STATUS_OK || load(&loaded, &reason) != STATUS_OK ||
        truncate(scratch_path(&scratch, WEIGHTS, path), 4096) != 0)
        return 99;
    volatile uint8_t sum = 0;
    for (size_t i = 0; i < loaded.table->tensor_count; i++)
        sum = (uint8_t)(sum + *weight_files_tensor(loaded.files, &loaded.table->tensors[i]));
    return 98;
}

static int fault_elsewhere(void)
{
    struct reason reason = {""};
    const struct rlimit none = {0, 0};
    (void)setrlimit(RLIMIT_CORE, &none);
    if (weight_fault_install(&reason) != STATUS_OK)
        return 99;
    return raise(SIGBUS) == 0 && raise(SIGBUS) == 0 ? 97 : 98;
}

static int run_child(int (*child)(void), char *said, size_t said_size)
{
    int ends[2];
    int status = 0;
    size_t used = 0;
    ssize_t got = 0;
    ck_assert_int_eq(pipe(ends), 0);
    const pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        (void)dup2(ends[1], STDERR_FILENO);
        _exit(child());
    }
    (void)close(ends[1]);
    while (used + 1 < said_size &&
           (got = read(ends[0], said + used, said_size - 1 - used)) > 0)
        used += (size_t)got;
    said[used] = '\0';
    (void)close(ends[0]);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return status;
}

START_TEST(a_file_that_shrank_is_named)
{
    char said[1024];
    const int status = run_child(read_what_is_gone, said, sizeof(said));
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 1, "ended with %x: %s", status, said);
    ck_assert_ptr_nonnull(strstr(said, WEIGHTS));
    ck_assert_ptr_nonnull(strstr(said, "shrank"));
    ck_assert_int_eq(said[strlen(said) - 1], '\n');
}
END_TEST

START_TEST(another_fault_has_its_usual_end)
{
    char said[1024];
    const int status = run_child(fault_elsewhere, said, sizeof(said));
    ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(WTERMSIG(status), SIGBUS);
    ck_assert_ptr_null(strstr(said, "shrank"));
}
END_TEST

/* Puts an infinity or no number into the last value of a tensor. */
static const char *spoil(const char *part, uint16_t bits)
{
    static char name[256];
    struct reason reason = {""};
    struct tensor_table *table = NULL;
    char path[256];
    size_t size = 0;
    ck_assert_int_eq(safetensors_open(scratch.path, &table, &reason), STATUS_OK);
    const struct tensor *spoilt = NULL;
    for (size_t i = 0; i < table->tensor_count; i++)
        if (strstr(table->tensors[i].name, part))
            spoilt = &table->tensors[i];
    ck_assert_ptr_nonnull(spoilt);
    ck_assert_int_eq(spoilt->type, TENSOR_BF16);
    (void)snprintf(name, sizeof(name), "%s", spoilt->name);
    char *bytes = file_bytes(scratch_path(&scratch, WEIGHTS, path), &size);
    memcpy(bytes + spoilt->offset + spoilt->size - sizeof(bits), &bits, sizeof(bits));
    file_put(path, bytes, size);
    memory_free(bytes);
    tensor_table_free(table);
    return name;
}

START_TEST(values_that_are_no_numbers_are_refused_by_name)
{
    static const struct {
        const char *part;
        uint16_t bits;
    } rows[] = {{"mlp.down_proj.scales", 0x7f80},
                {"self_attn.q_proj.biases", 0xffc0},
                {"embed_tokens.scales", 0xff80},
                {"input_layernorm.weight", 0x7fc1}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct reason reason = {""};
        struct weight_load loaded;
        copy_file(WEIGHTS);
        ck_assert_int_eq(load(&loaded, &reason), STATUS_OK);
        weight_load_close(&loaded);
        const char *name = spoil(rows[i].part, rows[i].bits);
        ck_assert_int_eq(load(&loaded, &reason), STATUS_DAMAGED);
        ck_assert_msg(strstr(reason.text, name) != NULL, "%s", reason.text);
    }
}
END_TEST

Suite *suite_of_tests(void)
{
    const TTest *const tests[] = {
        a_file_that_shrank_is_named,
        another_fault_has_its_usual_end,
        values_that_are_no_numbers_are_refused_by_name,
    };
    Suite *suite = suite_create("runner-weight-fault");
    TCase *test_case = tcase_create("files");
    tcase_add_checked_fixture(test_case, setup, teardown);
    tcase_set_timeout(test_case, 60);
    for (size_t i = 0; i < COUNT_OF(tests); i++)
        tcase_add_test(test_case, tests[i]);
    suite_add_tcase(suite, test_case);
    return suite;
}
