/* SPDX-License-Identifier: Apache-2.0 */
/* One file per rule in tests/unit/runtime/safetensors; the name says which rule it breaks. */
#include "protocol/memory.h"
#include "runtime/safetensors.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *file;
    enum status status;
    const char *says;
} rules[] = {
    {"good_unaligned", STATUS_OK, ""},
    {"good_padded", STATUS_OK, ""},
    {"too_short", STATUS_MALFORMED, "shorter than 8"},
    {"header_empty", STATUS_MALFORMED, "header of 0"},
    {"header_beyond_limit", STATUS_MALFORMED, "header of 100000001"},
    {"header_beyond_file", STATUS_MALFORMED, "header ends beyond"},
    {"header_size_wraps", STATUS_MALFORMED, "header of 18446744073709551612"},
    {"header_not_object", STATUS_MALFORMED, "begin with '{'"},
    {"header_not_json", STATUS_MALFORMED, "header:"},
    {"header_leading_space", STATUS_MALFORMED, "begin with '{'"},
    {"header_trailing_text", STATUS_MALFORMED, "header:"},
    {"utf8_invalid", STATUS_MALFORMED, "header:"},
    {"name_with_nul", STATUS_MALFORMED, "header:"},
    {"name_too_long", STATUS_TOO_LARGE, "longer than 512"},
    {"name_twice", STATUS_MALFORMED, "tensor or key a is there twice"},
    {"key_twice", STATUS_MALFORMED, "is there twice"},
    {"key_unknown", STATUS_MALFORMED, "exactly dtype"},
    {"key_missing", STATUS_MALFORMED, "exactly dtype"},
    {"nested_too_deep", STATUS_MALFORMED, "nested deeper"},
    {"dtype_unknown", STATUS_UNSUPPORTED, "dtype Q4"},
    {"dtype_not_text", STATUS_UNSUPPORTED, "dtype (none)"},
    {"shape_negative", STATUS_MALFORMED, "negative"},
    {"shape_fraction", STATUS_MALFORMED, "shape of tensor a"},
    {"shape_exponent", STATUS_MALFORMED, "shape of tensor a"},
    {"shape_beyond_64_bits", STATUS_MALFORMED, "header:"},
    {"shape_overflows", STATUS_MALFORMED, "another size"},
    {"rank_too_high", STATUS_MALFORMED, "at most 8"},
    {"bytes_disagree", STATUS_MALFORMED, "another size"},
    {"bits_no_whole_byte", STATUS_MALFORMED, "another size"},
    {"offsets_reversed", STATUS_MALFORMED, "begin and an end"},
    {"offsets_three", STATUS_MALFORMED, "begin and an end"},
    {"hole", STATUS_MALFORMED, "hole"},
    {"hole_at_start", STATUS_MALFORMED, "hole"},
    {"overlap", STATUS_MALFORMED, "overlap"},
    {"beyond_file", STATUS_MALFORMED, "ends beyond the file"},
    {"tail", STATUS_MALFORMED, "1 bytes after"},
    {"metadata_not_text", STATUS_MALFORMED, "__metadata__"},
    {"metadata_not_object", STATUS_MALFORMED, "__metadata__"},
};

START_TEST(each_rule_is_refused_by_its_name)
{
    for (size_t i = 0; i < COUNT_OF(rules); i++) {
        char name[160];
        char path[512];
        (void)snprintf(name, sizeof name, "tests/unit/runtime/safetensors/%s.safetensors",
                       rules[i].file);
        size_t size = 0;
        char *bytes = file_bytes(source_path(name, path), &size);
        /* A copy of the exact size, so that a sanitizer sees one byte too far. */
        char *exact = memory_copied(bytes, size);
        struct tensor_table *table = NULL;
        struct reason reason = {""};
        enum status status = safetensors_parse(exact, size, size, rules[i].file, &table, &reason);
        ck_assert_msg(status == rules[i].status, "%s: %s, %s", rules[i].file, status_name(status),
                      reason.text);
        ck_assert_msg(strstr(reason.text, rules[i].says) != NULL, "%s: %s", rules[i].file,
                      reason.text);
        ck_assert_msg((table != NULL) == (status == STATUS_OK), "%s", rules[i].file);
        tensor_table_free(table);
        memory_free(exact);
        memory_free(bytes);
    }
}
END_TEST

START_TEST(offsets_count_from_the_start_of_the_file)
{
    char path[512];
    size_t size = 0;
    char *bytes = file_bytes(
        source_path("tests/unit/runtime/safetensors/good_unaligned.safetensors", path), &size);
    struct tensor_table *table = NULL;
    struct reason reason = {""};
    ck_assert_int_eq(safetensors_parse(bytes, size, size, "f", &table, &reason), STATUS_OK);
    ck_assert_uint_eq(table->tensor_count, 4);
    const struct tensor *a = tensor_table_find(table, "a");
    const struct tensor *b = tensor_table_find(table, "b");
    const struct tensor *c = tensor_table_find(table, "c");
    ck_assert_ptr_nonnull(a);
    ck_assert_uint_eq(a->offset - b->offset, 8);
    ck_assert_uint_eq(b->offset, size - 20);
    ck_assert_uint_eq(c->rank, 0);
    ck_assert_uint_eq(c->size, 4);
    ck_assert_uint_eq(tensor_table_find(table, "e")->size, 0);
    ck_assert_ptr_null(tensor_table_find(table, "d"));
    tensor_table_free(table);
    memory_free(bytes);
}
END_TEST

/* A header of 8 elements of a type, with their bytes; the status of reading it. */
static enum status parse_type(const char *type, uint64_t bytes, struct tensor_table **table_out,
                              struct reason *reason)
{
    char file[256] = {0};
    const int length = snprintf(file + 8, sizeof(file) - 8,
                                "{\"t\":{\"dtype\":\"%s\",\"shape\":[2,4],"
                                "\"data_offsets\":[0,%llu]}}",
                                type, (unsigned long long)bytes);
    file[0] = (char)length;
    return safetensors_parse(file, sizeof(file), 8 + (uint64_t)length + bytes, "f", table_out,
                             reason);
}

START_TEST(every_dtype_is_parsed_by_its_name)
{
    static const struct {
        const char *name;
        enum tensor_type type;
        uint64_t bits;
    } types[] = {
#define TYPE_ROW(code, NAME, bits) {#NAME, TENSOR_##NAME, bits},
        TENSOR_TYPE_LIST(TYPE_ROW)
#undef TYPE_ROW
    };
    static const char *const none[] = {"", "f32", "F32 ", "BF", "F128", "I4", "bfloat16", "U"};
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        struct tensor_table *table = NULL;
        struct reason reason = {""};
        ck_assert_int_eq(parse_type(types[i].name, types[i].bits, &table, &reason), STATUS_OK);
        const struct tensor *tensor = tensor_table_find(table, "t");
        ck_assert_int_eq(tensor->type, types[i].type);
        ck_assert_uint_eq(tensor->size, types[i].bits); /* 8 elements */
        tensor_table_free(table);
        ck_assert_int_eq(parse_type(types[i].name, types[i].bits + 1, &table, &reason),
                         STATUS_MALFORMED);
    }
    for (size_t i = 0; i < COUNT_OF(none); i++) {
        struct tensor_table *table = NULL;
        struct reason reason = {""};
        ck_assert_int_eq(parse_type(none[i], 32, &table, &reason), STATUS_UNSUPPORTED);
        ck_assert_ptr_nonnull(strstr(reason.text, "dtype"));
    }
}
END_TEST

static void put_model(const struct scratch *scratch, const char *file, const char *tensor)
{
    char path[256];
    char text[300];
    char bytes[400];
    int length = snprintf(text, sizeof text,
                          "{\"%s\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}}",
                          tensor);
    memset(bytes, 0, sizeof bytes);
    bytes[0] = (char)length;
    memcpy(bytes + 8, text, (size_t)length);
    file_put(scratch_path(scratch, file, path), bytes, (size_t)length + 11);
}

static enum status open_directory(const struct scratch *scratch, struct reason *reason)
{
    struct tensor_table *table = NULL;
    enum status status = safetensors_open(scratch->path, &table, reason);
    tensor_table_free(table);
    return status;
}

START_TEST(a_directory_is_read_with_and_without_an_index)
{
    struct scratch scratch;
    struct reason reason = {""};
    char path[256];
    scratch_open(&scratch);
    ck_assert_int_eq(open_directory(&scratch, &reason), STATUS_NOT_FOUND);
    put_model(&scratch, "model-1.safetensors", "a");
    put_model(&scratch, "model-2.safetensors", "b");
    ck_assert_int_eq(open_directory(&scratch, &reason), STATUS_OK);
    const struct {
        const char *index;
        enum status status;
    } cases[] = {
        {"{\"weight_map\":{\"a\":\"model-1.safetensors\",\"b\":\"model-2.safetensors\"}}",
         STATUS_OK},
        {"{\"weight_map\":{\"a\":\"model-2.safetensors\"}}", STATUS_NOT_FOUND},
        {"{\"weight_map\":{\"a\":\"model-3.safetensors\"}}", STATUS_NOT_FOUND},
        {"{\"weight_map\":{\"a\":\"../model-1.safetensors\"}}", STATUS_MALFORMED},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", STATUS_MALFORMED},
        {"{\"weight_map\":{\"a\":7}}", STATUS_MALFORMED},
        {"{}", STATUS_MALFORMED},
        {"{\"weight_map\":", STATUS_MALFORMED},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        file_put(scratch_path(&scratch, "model.safetensors.index.json", path), cases[i].index,
                 strlen(cases[i].index));
        enum status status = open_directory(&scratch, &reason);
        ck_assert_msg(status == cases[i].status, "%zu: %s", i, reason.text);
    }
    put_model(&scratch, "model-2.safetensors", "a");
    unlink(scratch_path(&scratch, "model.safetensors.index.json", path));
    ck_assert_int_eq(open_directory(&scratch, &reason), STATUS_MALFORMED);
    ck_assert_ptr_nonnull(strstr(reason.text, "in two files"));
    scratch_close(&scratch);
}
END_TEST

START_TEST(a_link_out_of_the_model_is_refused)
{
    struct scratch scratch;
    struct reason reason = {""};
    char path[256];
    scratch_open(&scratch);
    put_model(&scratch, "elsewhere", "a");
    ck_assert_int_eq(symlink("elsewhere", scratch_path(&scratch, "model.safetensors", path)), 0);
    ck_assert_int_eq(open_directory(&scratch, &reason), STATUS_REFUSED);
    ck_assert_ptr_nonnull(strstr(reason.text, "symbolic link"));
    scratch_close(&scratch);
}
END_TEST

START_TEST(no_memory_at_any_call_is_reported)
{
    struct scratch scratch;
    struct reason reason = {""};
    scratch_open(&scratch);
    put_model(&scratch, "model-1.safetensors", "a");
    put_model(&scratch, "model-2.safetensors", "b");
    enum status status = STATUS_NO_MEMORY;
    for (uint64_t calls = 0; status != STATUS_OK && calls < 100; calls++) {
        memory_fail_after(calls);
        status = open_directory(&scratch, &reason);
        memory_fail_after(UINT64_MAX);
        ck_assert(status == STATUS_OK || status == STATUS_NO_MEMORY);
    }
    ck_assert_int_eq(status, STATUS_OK);
    scratch_close(&scratch);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("safetensors");
    const TTest *const tests[] = {each_rule_is_refused_by_its_name,
                                  offsets_count_from_the_start_of_the_file,
        every_dtype_is_parsed_by_its_name,
                                  a_directory_is_read_with_and_without_an_index,
                                  a_link_out_of_the_model_is_refused,
                                  no_memory_at_any_call_is_reported};
    suite_add(suite, "safetensors", tests, COUNT_OF(tests));
    return suite;
}
