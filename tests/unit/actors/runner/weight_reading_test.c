/* SPDX-License-Identifier: Apache-2.0 */
/* Slices are read from weight files as they lie there, and what a disk does wrong is named. */
#include "actors/runner/engine/weights.h"

#include "protocol/memory.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"
#include "tests/support/seeded.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WEIGHTS "model.safetensors"

static struct scratch scratch;
static struct seeded seeded;

struct opened {
    struct tensor_table *table;
    struct weight_files *files;
    uint8_t *content; /* of the one tensor */
    uint64_t rows;
    uint64_t row_bytes;
};

/* One tensor of bytes that differ from place to place. */
static void put_tensor(struct opened *opened, uint64_t rows, uint64_t row_bytes)
{
    char path[256];
    char head[256];
    struct reason reason = {""};
    const uint64_t size = rows * row_bytes;
    const int head_size =
        snprintf(head, sizeof(head), "{\"w\":{\"dtype\":\"U8\",\"shape\":[%llu,%llu],"
                 "\"data_offsets\":[0,%llu]}}", (unsigned long long)rows,
                 (unsigned long long)row_bytes, (unsigned long long)size);
    const uint64_t prefix = (uint64_t)head_size;
    uint8_t *file = memory_zeroed(size + 8 + prefix, 1);
    ck_assert_ptr_nonnull(file);
    memcpy(file, &prefix, sizeof(prefix));
    memcpy(file + 8, head, (size_t)head_size);
    for (uint64_t i = 0; i < size; i++)
        file[8 + prefix + i] = (uint8_t)(i * 2654435761u >> 13);
    file_put(scratch_path(&scratch, WEIGHTS, path), (const char *)file, size + 8 + prefix);
    *opened = (struct opened){.rows = rows, .row_bytes = row_bytes};
    opened->content = memory_copied(file + 8 + prefix, size);
    memory_free(file);
    ck_assert_msg(safetensors_open(scratch.path, &opened->table, &reason) == STATUS_OK, "%s",
                  reason.text);
    ck_assert_int_eq(weight_files_open(scratch.path, opened->table, &opened->files, &reason),
                     STATUS_OK);
}

static void opened_close(struct opened *opened)
{
    weight_files_close(opened->files);
    tensor_table_free(opened->table);
    memory_free(opened->content);
}

static uint64_t below(uint64_t limit)
{
    return seeded_below(&seeded, limit);
}

static struct shard_slice slice_of(const struct opened *opened)
{
    const uint64_t row_first = below(opened->rows);
    const uint64_t byte_first = below(opened->row_bytes);
    struct shard_slice slice = {.tensor = &opened->table->tensors[0],
                                .row_bytes = opened->row_bytes,
                                .row_first = row_first,
                                .row_end = row_first + 1 + below(opened->rows - row_first),
                                .byte_first = byte_first,
                                .byte_end = byte_first + 1 +
                                            below(opened->row_bytes - byte_first)};
    if (below(4) == 0) {
        slice.byte_first = 0;
        slice.byte_end = opened->row_bytes;
    }
    slice.size = (slice.row_end - slice.row_first) * (slice.byte_end - slice.byte_first);
    return slice;
}

static void check_slice(const struct opened *opened, const struct shard_slice *slice)
{
    struct reason reason = {""};
    const uint64_t width = slice->byte_end - slice->byte_first;
    const uint64_t first = below(slice->size);
    const uint64_t end = first + 1 + below(slice->size - first);
    uint8_t *expected = memory_zeroed(slice->size, 1);
    uint8_t *whole = memory_zeroed(slice->size, 1);
    uint8_t *part = memory_zeroed(end - first + 2, 1);
    ck_assert(expected && whole && part);
    for (uint64_t row = slice->row_first; row < slice->row_end; row++)
        memcpy(expected + (row - slice->row_first) * width,
               opened->content + row * opened->row_bytes + slice->byte_first, width);
    ck_assert_int_eq(shard_slice_read(opened->files, slice, whole, &reason), STATUS_OK);
    ck_assert_int_eq(memcmp(whole, expected, slice->size), 0);
    part[0] = 0x5a;
    part[end - first + 1] = 0x5a;
    ck_assert_int_eq(shard_slice_read_range(opened->files, slice, first, end, part + 1, &reason),
                     STATUS_OK);
    ck_assert_int_eq(memcmp(part + 1, expected + first, end - first), 0);
    ck_assert(part[0] == 0x5a && part[end - first + 1] == 0x5a);
    memory_free(expected);
    memory_free(whole);
    memory_free(part);
}

START_TEST(every_range_of_every_cut_is_read_as_it_lies)
{
    static const struct {
        uint64_t rows;
        uint64_t row_bytes;
    } shapes[] = {{1, 1}, {3000, 7}, {700, 1536}, {40, 70001}, {3, 600000}};
    static const uint64_t limits[] = {0, 300000, 1000000, UINT64_MAX};
    for (size_t i = 0; i < COUNT_OF(shapes); i++) {
        struct opened opened;
        put_tensor(&opened, shapes[i].rows, shapes[i].row_bytes);
        for (int turn = 0; turn < 60; turn++) {
            const struct shard_slice slice = slice_of(&opened);
            if (turn % 10 == 9)
                weight_files_limit(opened.files, limits[below(COUNT_OF(limits))]);
            check_slice(&opened, &slice);
        }
        opened_close(&opened);
    }
}
END_TEST

START_TEST(a_file_that_shrank_is_named_by_who_reads_it)
{
    for (int apart = 0; apart < 2; apart++) {
        struct opened opened;
        struct reason reason = {""};
        char path[256];
        put_tensor(&opened, 1000, 512);
        const struct shard_slice slice = {.tensor = &opened.table->tensors[0],
                                          .row_bytes = 512,
                                          .row_end = 1000,
                                          .byte_end = apart ? 100 : 512,
                                          .size = apart ? 100000 : 512000};
        uint8_t *bytes = memory_zeroed(slice.size, 1);
        ck_assert_ptr_nonnull(bytes);
        ck_assert_int_eq(truncate(scratch_path(&scratch, WEIGHTS, path), 5000), 0);
        ck_assert_int_eq(shard_slice_read(opened.files, &slice, bytes, &reason), STATUS_STALE);
        ck_assert_msg(strstr(reason.text, WEIGHTS) && strstr(reason.text, "shrank"), "%s",
                      reason.text);
        memory_free(bytes);
        opened_close(&opened);
    }
}
END_TEST

static void setup(void)
{
    seeded = seeded_open(20261122);
    scratch_open(&scratch);
}

static void teardown(void)
{
    scratch_close(&scratch);
}

Suite *suite_of_tests(void)
{
    const TTest *const tests[] = {
        every_range_of_every_cut_is_read_as_it_lies,
        a_file_that_shrank_is_named_by_who_reads_it,
    };
    Suite *suite = suite_create("weight_reading");
    TCase *test_case = tcase_create("weight_reading");
    tcase_add_checked_fixture(test_case, setup, teardown);
    for (size_t i = 0; i < COUNT_OF(tests); i++)
        tcase_add_test(test_case, tests[i]);
    suite_add_tcase(suite, test_case);
    return suite;
}
