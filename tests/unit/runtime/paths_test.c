/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/paths.h"

#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct paths paths_of(const struct scratch *scratch, const char *name)
{
    struct paths paths;
    struct reason reason = {""};
    char home[256];
    char store[256];
    (void)scratch_path(scratch, "hub", store);
    ck_assert_msg(paths_init(&paths, scratch_path(scratch, name, home), store, &reason) ==
                  STATUS_OK, "%s", reason.text);
    return paths;
}

START_TEST(a_home_is_made_private)
{
    struct scratch scratch;
    struct reason reason = {""};
    struct stat found;
    scratch_open(&scratch);
    struct paths paths = paths_of(&scratch, "a/b/home");
    ck_assert_msg(paths_make(&paths, &reason) == STATUS_OK, "%s", reason.text);
    ck_assert_int_eq(paths_make(&paths, &reason), STATUS_OK);
    const char *const all[] = {paths.home, paths.identity, paths.log, paths.models, paths.run,
                               paths.journal, paths.holdings};
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        ck_assert_int_eq(stat(all[i], &found), 0);
        ck_assert(S_ISDIR(found.st_mode));
        ck_assert_uint_eq(found.st_mode & 0777, 0700);
    }
    ck_assert_int_eq(chmod(paths.run, 0777), 0);
    ck_assert_int_eq(paths_make(&paths, &reason), STATUS_OK);
    ck_assert_int_eq(stat(paths.run, &found), 0);
    ck_assert_uint_eq(found.st_mode & 0777, 0700);
    ck_assert_int_eq(paths_enter_run(&paths, &reason), STATUS_OK);
    ck_assert_int_eq(chdir("/"), 0);
    scratch_close(&scratch);
}
END_TEST

START_TEST(a_home_has_one_supervisor)
{
    struct scratch scratch;
    struct reason reason = {""};
    scratch_open(&scratch);
    struct paths first = paths_of(&scratch, "home");
    struct paths second = paths_of(&scratch, "home");
    ck_assert_int_eq(paths_make(&first, &reason), STATUS_OK);
    ck_assert_int_eq(paths_lock(&first, &reason), STATUS_OK);
    ck_assert_int_eq(paths_lock(&second, &reason), STATUS_BUSY);
    ck_assert_ptr_nonnull(strstr(reason.text, first.home));
    paths_unlock(&first);
    ck_assert_int_eq(paths_lock(&second, &reason), STATUS_OK);
    paths_unlock(&second);
    scratch_close(&scratch);
}
END_TEST

START_TEST(what_is_in_the_way_is_named)
{
    struct scratch scratch;
    struct reason reason = {""};
    char path[256];
    scratch_open(&scratch);
    file_put(scratch_path(&scratch, "home", path), "x", 1);
    struct paths paths = paths_of(&scratch, "home");
    ck_assert_int_eq(paths_make(&paths, &reason), STATUS_EXISTS);
    ck_assert_ptr_nonnull(strstr(reason.text, path));
    ck_assert_ptr_nonnull(strstr(reason.text, "--home"));
    paths = paths_of(&scratch, "home/below");
    ck_assert_int_ne(paths_make(&paths, &reason), STATUS_OK);
    ck_assert_int_eq(paths_init(&paths, "/proc/nowhere/home", scratch.path, &reason), STATUS_OK);
    ck_assert_int_ne(paths_make(&paths, &reason), STATUS_OK);
    ck_assert_ptr_nonnull(strstr(reason.text, "/proc/nowhere"));
    scratch_close(&scratch);
}
END_TEST

START_TEST(a_store_elsewhere_is_taken)
{
    struct paths paths;
    ck_assert_int_eq(paths_init(&paths, "/h", "/disk/models", NULL), STATUS_OK);
    ck_assert_str_eq(paths.models, "/disk/models");
    ck_assert_str_eq(paths.run, "/h/run");
    ck_assert_int_eq(setenv("XDG_STATE_HOME", "/state", 1), 0);
    ck_assert_int_eq(paths_init(&paths, "", "", NULL), STATUS_OK);
    ck_assert_str_eq(paths.home, "/state/troupe");
    ck_assert_int_eq(unsetenv("XDG_STATE_HOME"), 0);
    ck_assert_int_eq(setenv("HOME", "/people/someone", 1), 0);
    ck_assert_int_eq(paths_init(&paths, NULL, NULL, NULL), STATUS_OK);
    ck_assert_str_eq(paths.home, "/people/someone/.local/state/troupe");
    ck_assert_int_eq(unsetenv("HOME"), 0);
    ck_assert_int_eq(paths_init(&paths, NULL, NULL, NULL), STATUS_INVALID);
}
END_TEST

START_TEST(the_store_is_the_cache_of_the_hub)
{
    /* The first that is set counts, as for the hub's own client. */
    static const struct {
        const char *variable;
        const char *value;
        const char *path;
    } rows[] = {
        {"HOME", "/people/someone", "/people/someone/.cache/huggingface/hub"},
        {"XDG_CACHE_HOME", "/cache", "/cache/huggingface/hub"},
        {"HF_HOME", "~/hf", "/people/someone/hf/hub"},
        {"HUGGINGFACE_HUB_CACHE", "/older", "/older"},
        {"HF_HUB_CACHE", "/disk/hub", "/disk/hub"},
    };
    struct paths paths;
    struct reason reason = {""};
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        ck_assert_int_eq(unsetenv(rows[i].variable), 0);
    ck_assert_int_eq(paths_init(&paths, "/h", NULL, &reason), STATUS_OK);
    ck_assert_str_eq(paths.models, "/h/models");
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        ck_assert_int_eq(setenv(rows[i].variable, rows[i].value, 1), 0);
        ck_assert_int_eq(paths_init(&paths, "/h", "", &reason), STATUS_OK);
        ck_assert_str_eq(paths.models, rows[i].path);
    }
    ck_assert_int_eq(setenv("HF_HUB_CACHE", "here", 1), 0);
    ck_assert_int_eq(paths_init(&paths, "/h", NULL, &reason), STATUS_INVALID);
    ck_assert_ptr_nonnull(strstr(reason.text, "HF_HUB_CACHE"));
    ck_assert_int_eq(paths_init(&paths, "/h", "/own", &reason), STATUS_OK);
    ck_assert_str_eq(paths.models, "/own");
    ck_assert_str_eq(paths.holdings, "/h/holdings");
    ck_assert_int_eq(paths_set_directories(&paths, "/a:/b", &reason), STATUS_OK);
    ck_assert_str_eq(paths.directories, "/a:/b");
    ck_assert_int_eq(paths_set_directories(&paths, "/a:b", &reason), STATUS_INVALID);
    ck_assert_ptr_nonnull(strstr(reason.text, "model_directories"));
}
END_TEST

/* Where earlier versions kept their models; the user's own directories come first. */
START_TEST(an_old_store_in_the_home_is_looked_into)
{
    static struct paths paths;
    struct scratch scratch;
    struct reason reason = {""};
    char old[256];
    char expected[300];
    scratch_open(&scratch);
    ck_assert_int_eq(paths_init(&paths, scratch.path, "/own", &reason), STATUS_OK);
    ck_assert_int_eq(paths_set_directories(&paths, "", &reason), STATUS_OK);
    ck_assert_str_eq(paths.directories, "");
    ck_assert_int_eq(mkdir(scratch_path(&scratch, "models", old), 0700), 0);
    ck_assert_int_eq(paths_set_directories(&paths, "", &reason), STATUS_OK);
    ck_assert_str_eq(paths.directories, old);
    ck_assert_int_eq(paths_set_directories(&paths, "/a", &reason), STATUS_OK);
    (void)snprintf(expected, sizeof(expected), "/a:%s", old);
    ck_assert_str_eq(paths.directories, expected);
    /* Not when it is the store. */
    ck_assert_int_eq(paths_init(&paths, scratch.path, old, &reason), STATUS_OK);
    ck_assert_int_eq(paths_set_directories(&paths, "", &reason), STATUS_OK);
    ck_assert_str_eq(paths.directories, "");
    scratch_close(&scratch);
}
END_TEST

START_TEST(a_file_is_replaced_whole)
{
    struct scratch scratch;
    struct reason reason = {""};
    char path[256];
    scratch_open(&scratch);
    (void)scratch_path(&scratch, "state", path);
    ck_assert_int_eq(file_replace(path, "one", 3, &reason), STATUS_OK);
    ck_assert_int_eq(file_replace(path, "second", 6, &reason), STATUS_OK);
    char *text = file_bytes(path, NULL);
    ck_assert_str_eq(text, "second");
    free(text);
    (void)scratch_path(&scratch, "none/state", path);
    ck_assert_int_eq(file_replace(path, "x", 1, &reason), STATUS_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(reason.text, path));
    scratch_close(&scratch);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("paths");
    const TTest *const tests[] = {
        a_home_is_made_private,    a_home_has_one_supervisor, what_is_in_the_way_is_named,
        a_store_elsewhere_is_taken, the_store_is_the_cache_of_the_hub, a_file_is_replaced_whole,
        an_old_store_in_the_home_is_looked_into,
    };
    suite_add(suite, "home", tests, COUNT_OF(tests));
    return suite;
}
