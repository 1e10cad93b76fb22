/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every row of every kind, with random content: what is encoded is decoded the same, a copy is
 * equal, a print is JSON; any mutation is taken or refused with nothing lost, and no call that may
 * fail for want of memory does more than fail.
 */
#include "protocol/memory.h"
#include "protocol/state.h"
#include "protocol/utf8.h"
#include "tests/support/check_main.h"
#include "tests/support/record_random.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static struct buffer encoded(const struct message *message)
{
    struct buffer bytes;
    buffer_init(&bytes, MESSAGE_SIZE_MAX);
    ck_assert_int_eq(message_encode(message, &bytes), STATUS_OK);
    return bytes;
}

static void check_print(const struct message *message)
{
    struct buffer json;
    json_error_t error;
    buffer_init(&json, MESSAGE_SIZE_MAX);
    ck_assert_int_eq(message_print(message, &json), STATUS_OK);
    json_t *parsed =
        json_loadb((const char *)json.bytes, json.size, JSON_DECODE_INT_AS_REAL, &error);
    ck_assert_msg(parsed != NULL, "%s at %d: %.*s", error.text, error.position, (int)json.size,
                  (const char *)json.bytes);
    json_decref(parsed);
    buffer_fini(&json);
}

static void check_round_trip(const struct message *message)
{
    struct message copy;
    struct message back;
    struct reason reason = {""};
    struct buffer bytes = encoded(message);
    ck_assert_int_eq(message_copy(message, &copy), STATUS_OK);
    ck_assert(message_equal(message, &copy));
    enum status status = message_decode(bytes.bytes, bytes.size, &back, &reason);
    ck_assert_msg(status == STATUS_OK, "%s", reason.text);
    ck_assert(message_equal(message, &back));
    struct buffer again = encoded(&back);
    ck_assert_uint_eq(again.size, bytes.size);
    ck_assert_int_eq(memcmp(again.bytes, bytes.bytes, bytes.size), 0);
    buffer_fini(&again);
    buffer_fini(&bytes);
    message_fini(&copy);
    message_fini(&back);
}

START_TEST(every_row_comes_back_as_it_was)
{
    struct seeded seeded = seeded_open(1);
    size_t count = 0;
    (void)message_type_at(0, &count);
    for (size_t i = 0; i < count; i++) {
        for (int turn = 0; turn < 30; turn++) {
            struct message message;
            message_random(message_type_at(i, NULL), &seeded, &message);
            check_round_trip(&message);
            check_print(&message);
            message_fini(&message);
        }
    }
}
END_TEST

static void mutate(struct seeded *seeded, uint8_t *bytes, size_t *size)
{
    for (uint64_t left = 1 + seeded_below(seeded, 4); left > 0 && *size > 0; left--) {
        size_t at = (size_t)seeded_below(seeded, *size);
        switch (seeded_below(seeded, 4)) {
        case 0:
            bytes[at] ^= (uint8_t)(1u << seeded_below(seeded, 8));
            break;
        case 1: /* heads that announce much */
            bytes[at] = (uint8_t)(0xc0 + seeded_below(seeded, 32));
            break;
        case 2:
            *size = at;
            break;
        default:
            bytes[at] = 0xff;
            break;
        }
    }
}

START_TEST(a_mutated_frame_is_taken_or_refused_and_nothing_is_lost)
{
    struct seeded seeded = seeded_open(2);
    const char *text = getenv("TROUPE_MUTATIONS");
    uint64_t turns = text ? strtoull(text, NULL, 10) : 100000;
    size_t count = 0;
    uint64_t taken = 0;
    (void)message_type_at(0, &count);
    for (uint64_t turn = 0; turn < turns;) {
        struct message message;
        message_random(message_type_at((size_t)seeded_below(&seeded, count), NULL), &seeded,
                       &message);
        struct buffer bytes = encoded(&message);
        message_fini(&message);
        for (int i = 0; i < 100; i++, turn++) {
            size_t size = bytes.size;
            uint8_t *copy = memory_copied(bytes.bytes, bytes.size);
            struct message read;
            struct reason reason = {""};
            mutate(&seeded, copy, &size);
            if (message_decode(copy, size, &read, &reason) == STATUS_OK) {
                taken++;
                check_round_trip(&read);
                message_fini(&read);
            } else {
                ck_assert_str_ne(reason.text, "");
            }
            memory_free(copy);
        }
        buffer_fini(&bytes);
    }
    ck_assert_uint_gt(taken, 0);
    ck_assert_uint_lt(taken, turns);
}
END_TEST

START_TEST(a_few_bytes_cannot_ask_for_much)
{
    static const uint8_t frames[][6] = {
        {0xdf, 0xff, 0xff, 0xff, 0xff, 0}, {0xdd, 0xff, 0xff, 0xff, 0xff, 0},
        {0xdb, 0xff, 0xff, 0xff, 0xff, 0}, {0xc6, 0x7f, 0xff, 0xff, 0xff, 0},
        {0xde, 0xff, 0xff, 0xc0, 0xc0, 0}, {0xc9, 0, 0, 0, 1, 0}};
    for (size_t i = 0; i < COUNT_OF(frames); i++) {
        struct message message;
        struct reason reason = {""};
        ck_assert_int_eq(message_decode(frames[i], 6, &message, &reason), STATUS_MALFORMED);
    }
    uint8_t deep[64];
    struct message message;
    memset(deep, 0x91, sizeof(deep));
    ck_assert_int_eq(message_decode(deep, sizeof(deep), &message, NULL), STATUS_MALFORMED);
}
END_TEST

static enum status decode_text(const char *bytes, size_t size, char *why_out)
{
    struct message message;
    struct reason reason = {""};
    enum status status = message_decode(bytes, size, &message, &reason);
    if (status == STATUS_OK)
        message_fini(&message);
    memcpy(why_out, reason.text, sizeof(reason.text));
    return status;
}

START_TEST(unknown_double_and_wrong_fields_are_refused_by_name)
{
    char why[sizeof(((struct reason *)0)->text)];
#define FRAME(text) text, sizeof(text) - 1
    /* kind 5 (signal), code 1 (node_load) */
    ck_assert_int_eq(decode_text(FRAME("\x83\xa4kind\x05\xa4" "code\x01\xa4" "body\x80"), why),
                     STATUS_OK);
    ck_assert_int_eq(decode_text(FRAME("\x82\xa4kind\x05\xa4" "code\x01"), why), STATUS_MALFORMED);
    ck_assert_int_eq(
        decode_text(FRAME("\x84\xa4kind\x05\xa4kind\x05\xa4" "code\x01\xa4" "body\x80"), why),
        STATUS_MALFORMED);
    ck_assert_ptr_nonnull(strstr(why, "kind"));
    ck_assert_int_eq(
        decode_text(FRAME("\x84\xa4kind\x05\xa4" "code\x01\xa4" "body\xc0\xa4" "body\x80"), why),
        STATUS_MALFORMED);
    ck_assert_int_eq(
        decode_text(FRAME("\x83\xa4kind\x05\xa4" "code\x01\xa4" "body\x81\xa3zzz\x01"), why),
        STATUS_MALFORMED);
    ck_assert_int_eq(
        decode_text(FRAME("\x83\xa4kind\x05\xa4" "code\x01\xa4" "body\x81\xa3" "cpu\xa1x"), why),
        STATUS_MALFORMED);
    ck_assert_ptr_nonnull(strstr(why, "cpu"));
    ck_assert_int_eq(decode_text(FRAME("\x83\xa4kind\x05\xa4" "code\x63\xa4" "body\x80"), why),
                     STATUS_UNSUPPORTED);
    ck_assert_int_eq(decode_text(FRAME("\x83\xa4kind\x63\xa4" "code\x01\xa4" "body\x80"), why),
                     STATUS_MALFORMED);
#undef FRAME
}
END_TEST

START_TEST(a_text_that_is_no_utf8_is_refused_and_never_made)
{
    static const char *const odd[] = {
        "\xff", "a\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "ok \x80 ok"};
    for (size_t i = 0; i < COUNT_OF(odd); i++) {
        struct message message;
        struct message read;
        struct reason reason = {""};
        ck_assert_int_eq(message_init(&message, MESSAGE_COMMAND, COMMAND_ADD_MODEL), STATUS_OK);
        struct add_model *body = message.body;
        body->model_id = memory_text(odd[i], strlen(odd[i])); /* past text_set */
        struct buffer bytes = encoded(&message);
        ck_assert_int_eq(message_decode(bytes.bytes, bytes.size, &read, &reason),
                         STATUS_MALFORMED);
        ck_assert_ptr_nonnull(strstr(reason.text, "is not UTF-8"));
        buffer_fini(&bytes);
        ck_assert(text_set(&body->model_id, odd[i]));
        ck_assert(utf8_is_valid(body->model_id, strlen(body->model_id)));
        ck_assert_uint_eq(strlen(body->model_id), strlen(odd[i]));
        ck_assert(text_set(&body->model_id, "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x8e\xad"));
        ck_assert_str_eq(body->model_id, "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x8e\xad");
        bytes = encoded(&message);
        ck_assert_int_eq(message_decode(bytes.bytes, bytes.size, &read, &reason), STATUS_OK);
        buffer_fini(&bytes);
        message_fini(&read);
        message_fini(&message);
    }
}
END_TEST

START_TEST(a_full_buffer_is_too_large_and_keeps_what_was_in_it)
{
    struct seeded seeded = seeded_open(3);
    struct message message;
    struct buffer bytes;
    message_random(message_type_find(MESSAGE_EVENT, EVENT_INSTANCE_PLACED), &seeded, &message);
    struct buffer whole = encoded(&message);
    for (size_t ceiling = 0; ceiling < whole.size; ceiling++) {
        buffer_init(&bytes, ceiling);
        ck_assert_int_eq(message_encode(&message, &bytes), STATUS_TOO_LARGE);
        ck_assert_uint_eq(bytes.size, 0);
        buffer_fini(&bytes);
    }
    buffer_fini(&whole);
    message_fini(&message);
}
END_TEST

START_TEST(each_allocation_may_fail)
{
    struct seeded seeded = seeded_open(4);
    size_t count = 0;
    (void)message_type_at(0, &count);
    for (size_t i = 0; i < count; i++) {
        struct message message;
        message_random(message_type_at(i, NULL), &seeded, &message);
        struct buffer bytes = encoded(&message);
        enum status status = STATUS_NO_MEMORY;
        for (uint64_t calls = 0; status == STATUS_NO_MEMORY; calls++) {
            struct message back = {.body = NULL};
            struct message copy = {.body = NULL};
            struct buffer again;
            buffer_init(&again, MESSAGE_SIZE_MAX);
            memory_fail_after(calls);
            status = message_decode(bytes.bytes, bytes.size, &back, NULL);
            if (status == STATUS_OK)
                status = message_copy(&back, &copy);
            if (status == STATUS_OK)
                status = message_encode(&copy, &again);
            memory_fail_after(UINT64_MAX);
            message_fini(&back);
            message_fini(&copy);
            buffer_fini(&again);
        }
        ck_assert_int_eq(status, STATUS_OK);
        buffer_fini(&bytes);
        message_fini(&message);
    }
}
END_TEST

START_TEST(a_state_comes_back_with_its_hash)
{
    struct seeded seeded = seeded_open(5);
    for (int turn = 0; turn < 100; turn++) {
        struct state state;
        struct state back;
        struct buffer bytes;
        struct hash a;
        struct hash b;
        record_random(&state_type, &seeded, 6, &state);
        buffer_init(&bytes, 64u << 20);
        ck_assert_int_eq(state_encode(&state, &bytes), STATUS_OK);
        ck_assert_int_eq(state_decode(bytes.bytes, bytes.size, &back, NULL), STATUS_OK);
        ck_assert(record_equal(&state_type, &state, &back));
        ck_assert_int_eq(state_hash(&state, &a), STATUS_OK);
        ck_assert_int_eq(state_hash(&back, &b), STATUS_OK);
        ck_assert_mem_eq(&a, &b, sizeof(a));
        buffer_fini(&bytes);
        state_fini(&state);
        state_fini(&back);
    }
}
END_TEST

/* Any events in any order: same log, same state, same hash; gaps are refused. */
START_TEST(the_same_log_gives_the_same_state)
{
    struct seeded seeded = seeded_open(6);
    struct state a;
    struct state b;
    struct hash x;
    struct hash y;
    state_init(&a);
    state_init(&b);
    for (uint64_t index = 1; index <= 3000; index++) {
        const struct message_type *type =
            message_type_find(MESSAGE_EVENT, 1 + (uint32_t)seeded_below(&seeded, 28));
        struct message event;
        message_random(type, &seeded, &event);
        event.head.index = index + 1;
        ck_assert_int_eq(state_apply(&a, &event), STATUS_GAP);
        event.head.index = index;
        struct buffer bytes = encoded(&event);
        struct message read;
        ck_assert_int_eq(message_decode(bytes.bytes, bytes.size, &read, NULL), STATUS_OK);
        ck_assert_int_eq(state_apply(&a, &event), STATUS_OK);
        ck_assert_int_eq(state_apply(&b, &read), STATUS_OK);
        ck_assert_int_eq(state_apply(&b, &read), STATUS_GAP);
        message_fini(&read);
        message_fini(&event);
        buffer_fini(&bytes);
    }
    ck_assert_int_eq(state_hash(&a, &x), STATUS_OK);
    ck_assert_int_eq(state_hash(&b, &y), STATUS_OK);
    ck_assert_mem_eq(&x, &y, sizeof(x));
    state_fini(&a);
    state_fini(&b);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("codec");
    const TTest *const tests[] = {every_row_comes_back_as_it_was,
                                  a_mutated_frame_is_taken_or_refused_and_nothing_is_lost,
                                  a_few_bytes_cannot_ask_for_much,
                                  unknown_double_and_wrong_fields_are_refused_by_name,
                                  a_text_that_is_no_utf8_is_refused_and_never_made,
        a_full_buffer_is_too_large_and_keeps_what_was_in_it,
                                  each_allocation_may_fail,
                                  a_state_comes_back_with_its_hash,
                                  the_same_log_gives_the_same_state};
    suite_add(suite, "codec", tests, COUNT_OF(tests));
    return suite;
}
