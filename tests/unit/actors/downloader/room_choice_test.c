/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/downloader/room_choice.h"
#include "tests/support/check_main.h"
#include "tests/support/seeded.h"

#include <check.h>
#include <string.h>

#define NO_END UINT64_MAX

START_TEST(the_least_recently_used_go_first)
{
    struct reason reason = {""};
    struct room_model models[] = {{"new", 10, 30, false, false},
                                  {"never", 10, 0, false, false},
                                  {"old", 10, 20, false, false},
                                  {"pinned", 10, 1, true, false}};
    struct room_wanted wanted = {"m", 5, 45, NO_END, 0};
    ck_assert_int_eq(room_choose(&wanted, models, 4, &reason), STATUS_OK);
    ck_assert(!models[0].is_chosen && !models[1].is_chosen && !models[2].is_chosen);
    wanted.quota = 44;
    ck_assert_int_eq(room_choose(&wanted, models, 4, &reason), STATUS_OK);
    ck_assert(models[1].is_chosen && !models[0].is_chosen && !models[2].is_chosen);
    wanted.quota = 34;
    ck_assert_int_eq(room_choose(&wanted, models, 4, &reason), STATUS_OK);
    ck_assert(models[1].is_chosen && models[2].is_chosen && !models[0].is_chosen);
    wanted.quota = 15;
    ck_assert_int_eq(room_choose(&wanted, models, 4, &reason), STATUS_OK);
    ck_assert(models[0].is_chosen && !models[3].is_chosen);
    wanted.quota = 14;
    ck_assert_int_eq(room_choose(&wanted, models, 4, &reason), STATUS_NO_SPACE);
    ck_assert_ptr_nonnull(strstr(reason.text, "m needs 5 bytes and 1 are missing"));
    ck_assert(!models[0].is_chosen && !models[1].is_chosen);
    wanted.quota = 4;
    ck_assert_int_eq(room_choose(&wanted, models, 4, &reason), STATUS_NO_SPACE);
    ck_assert_ptr_nonnull(strstr(reason.text, "store_quota is 4"));
}
END_TEST

START_TEST(what_is_promised_to_others_counts_as_used)
{
    struct reason reason = {""};
    struct room_model models[] = {{"old", 10, 1, false, false}, {"pinned", 10, 1, true, false}};
    struct room_wanted wanted = {"m", 20, 60, NO_END, 20};
    ck_assert_int_eq(room_choose(&wanted, models, 2, &reason), STATUS_OK);
    ck_assert(!models[0].is_chosen);
    wanted.promised = 21;
    ck_assert_int_eq(room_choose(&wanted, models, 2, &reason), STATUS_OK);
    ck_assert(models[0].is_chosen);
    wanted.promised = 31;
    ck_assert_int_eq(room_choose(&wanted, models, 2, &reason), STATUS_NO_SPACE);
    ck_assert_ptr_nonnull(strstr(reason.text, "m needs 20 bytes and 1 are missing"));
}
END_TEST

START_TEST(a_full_disk_counts_as_the_quota_does)
{
    struct reason reason = {""};
    struct room_model models[] = {{"a", 100, 5, false, false}, {"b", 1000, 6, false, false}};
    struct room_wanted wanted = {"m", 50, 0, 60, 0};
    ck_assert_int_eq(room_choose(&wanted, models, 2, &reason), STATUS_OK);
    ck_assert(!models[0].is_chosen && !models[1].is_chosen);
    wanted.bytes = 160;
    ck_assert_int_eq(room_choose(&wanted, models, 2, &reason), STATUS_OK);
    ck_assert(models[0].is_chosen && !models[1].is_chosen);
    /* The larger one alone suffices: the older is spared. */
    wanted.bytes = 161;
    ck_assert_int_eq(room_choose(&wanted, models, 2, &reason), STATUS_OK);
    ck_assert(!models[0].is_chosen && models[1].is_chosen);
    wanted.bytes = NO_END;
    ck_assert_int_eq(room_choose(&wanted, models, 2, &reason), STATUS_NO_SPACE);
}
END_TEST

/* What is kept stays, there is room afterwards, and none of the chosen could have stayed. */
START_TEST(what_is_chosen_is_enough_and_none_too_many)
{
    struct seeded seeded = seeded_open(6);
    for (int round = 0; round < 20000; round++) {
        struct reason reason = {""};
        struct room_model models[12];
        const uint32_t count = (uint32_t)seeded_below(&seeded, 13);
        uint64_t held = 0;
        uint64_t freed = 0;
        uint64_t could = 0;
        uint64_t least = NO_END;
        for (uint32_t i = 0; i < count; i++) {
            models[i] = (struct room_model){"x", seeded_below(&seeded, 50),
                                            seeded_below(&seeded, 8), seeded_below(&seeded, 3) == 0,
                                            false};
            held += models[i].bytes;
            could += models[i].is_kept ? 0 : models[i].bytes;
        }
        const uint64_t promised = seeded_below(&seeded, 2) ? seeded_below(&seeded, 100) : 0;
        held += promised; /* counts as if it lay there, and cannot go */
        const struct room_wanted wanted = {"m", seeded_below(&seeded, 200),
                                           seeded_below(&seeded, 2) ? seeded_below(&seeded, 400)
                                                                    : 0,
                                           seeded_below(&seeded, 200), promised};
        const enum status status = room_choose(&wanted, models, count, &reason);
        for (uint32_t i = 0; i < count; i++) {
            ck_assert(!models[i].is_chosen || !models[i].is_kept);
            if (!models[i].is_chosen)
                continue;
            freed += models[i].bytes;
            least = models[i].bytes < least ? models[i].bytes : least;
        }
        const bool fits =
            wanted.bytes <= could + wanted.free_bytes &&
            (wanted.quota == 0 || (wanted.bytes <= wanted.quota &&
                                   held - could + wanted.bytes <= wanted.quota));
        ck_assert_int_eq(status, fits ? STATUS_OK : STATUS_NO_SPACE);
        if (status != STATUS_OK) {
            ck_assert_uint_eq(freed, 0);
            continue;
        }
        ck_assert(wanted.bytes <= freed + wanted.free_bytes);
        ck_assert(wanted.quota == 0 || held - freed + wanted.bytes <= wanted.quota);
        if (freed > 0)
            ck_assert(wanted.bytes > freed - least + wanted.free_bytes ||
                      (wanted.quota > 0 && held - (freed - least) + wanted.bytes > wanted.quota));
    }
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("room_choice");
    const TTest *const tests[] = {
        the_least_recently_used_go_first,
        what_is_promised_to_others_counts_as_used,
        a_full_disk_counts_as_the_quota_does,
        what_is_chosen_is_enough_and_none_too_many,
    };
    suite_add(suite, "room_choice", tests, COUNT_OF(tests));
    return suite;
}
