/* SPDX-License-Identifier: Apache-2.0 */
/* What a file of a model is, by its name and what its model says of it: weights, small files that
 * every rank keeps, the index of the weights, and what is never taken. */
#include "runtime/model_manifest.h"
#include "tests/support/check_main.h"

#include <stdio.h>

static const struct {
    const char *name;
    bool is_weight; /* as the model's index says */
    bool is_taken;
    bool is_kind;
    bool is_small;
} files[] = {
    {"model.safetensors", true, true, true, false},
    {"model-00001-of-00003.safetensors", true, true, true, false},
    {"weights/part.safetensors", true, true, true, false},
    {"model.safetensors.index.json", false, true, false, false},
    {"weights/model.safetensors.index.json", false, true, false, false},
    {"config.json", false, true, false, true},
    {"index.json", false, true, false, true},
    {"tokenizer.json", false, true, false, true},
    {"tokenizer.model", false, true, false, true},
    {"merges.txt", false, true, false, true},
    {"chat_template.jinja", false, true, false, true},
    {"extra/generation_config.json", false, true, false, true},
};

static const char *const others[] = {
    "modeling.py",   "tokenization.py", "pytorch_model.bin", "model.gguf",
    "README.md",     "safetensors",     ".safetensors",      "model.safetensors.py",
    "../config.json", "/config.json",   "a/../b.json",       ".hidden.json",
    "a//b.json",     "config.json/",    "CONFIG.JSON",       "config.json ",
    "c\\onfig.json", "config\n.json",   "",
};

START_TEST(files_are_weights_or_small_files_or_the_index)
{
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        char name[64];
        (void)snprintf(name, sizeof(name), "%s", files[i].name);
        const struct file_entry entry = {.name = name, .is_weight = files[i].is_weight};
        ck_assert_msg(model_file_name_is_sound(name) == files[i].is_taken, "%s", name);
        ck_assert_msg(model_file_is_weight_kind(name) == files[i].is_kind, "%s", name);
        ck_assert_msg(model_file_is_small(&entry) == files[i].is_small, "%s", name);
    }
}
END_TEST

START_TEST(programs_other_formats_and_paths_that_lead_out_are_no_files_of_a_model)
{
    for (size_t i = 0; i < COUNT_OF(others); i++)
        ck_assert_msg(!model_file_name_is_sound(others[i]), "%s", others[i]);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("file classes");
    const TTest *const tests[] = {
        files_are_weights_or_small_files_or_the_index,
        programs_other_formats_and_paths_that_lead_out_are_no_files_of_a_model,
    };
    suite_add(suite, "file classes", tests, COUNT_OF(tests));
    return suite;
}
