/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/state_mirror.h"

#include "protocol/message.h"
#include "tests/support/check_main.h"

static void make_event(uint64_t index, struct message *event_out)
{
    ck_assert_int_eq(message_init(event_out, MESSAGE_EVENT, EVENT_TOKEN_CREATED), STATUS_OK);
    event_out->head.index = index;
    MESSAGE_BODY(event_out, token_created)->token.key.bytes[0] = (uint8_t)index;
}

static enum mirror_change take_event(struct state_mirror *mirror, uint64_t index,
                                     enum status expected)
{
    struct message event;
    enum mirror_change change;
    struct reason reason = {""};
    make_event(index, &event);
    ck_assert_int_eq(state_mirror_take(mirror, &event, &change, &reason), expected);
    message_fini(&event);
    return change;
}

static enum status take_part(struct state_mirror *mirror, const struct buffer *bytes,
                             size_t offset, size_t size, enum mirror_change *change_out)
{
    struct message message;
    ck_assert_int_eq(message_init(&message, MESSAGE_LINK, LINK_SNAPSHOT_PART), STATUS_OK);
    struct snapshot_part *part = message.body;
    part->index = 2;
    part->offset = offset;
    part->total = bytes->size;
    ck_assert(bytes_set(&part->part, bytes->bytes + offset, size));
    enum status status = state_mirror_take(mirror, &message, change_out, NULL);
    message_fini(&message);
    return status;
}

static void take_welcome(struct state_mirror *mirror)
{
    struct message message;
    enum mirror_change change;
    ck_assert_int_eq(message_init(&message, MESSAGE_LINK, LINK_WELCOME), STATUS_OK);
    ck_assert_int_eq(state_mirror_take(mirror, &message, &change, NULL), STATUS_OK);
    ck_assert_int_eq(change, MIRROR_WELCOMED);
    message_fini(&message);
}

START_TEST(events_follow_each_other_and_repeats_change_nothing)
{
    struct state_mirror mirror;
    state_mirror_init(&mirror);
    ck_assert_uint_eq(state_mirror_index(&mirror), 0);
    ck_assert_int_eq(take_event(&mirror, 1, STATUS_OK), MIRROR_APPLIED);
    ck_assert_int_eq(take_event(&mirror, 2, STATUS_OK), MIRROR_APPLIED);
    ck_assert_int_eq(take_event(&mirror, 2, STATUS_OK), MIRROR_UNTOUCHED);
    ck_assert_uint_eq(state_mirror_index(&mirror), 2);
    (void)take_event(&mirror, 4, STATUS_GAP);
    ck_assert_uint_eq(state_mirror_index(&mirror), 0);
    /* One gap, one failure: nothing is looked at before the welcome. */
    ck_assert_int_eq(take_event(&mirror, 5, STATUS_OK), MIRROR_UNTOUCHED);
    ck_assert_int_eq(take_event(&mirror, 1, STATUS_OK), MIRROR_UNTOUCHED);
    take_welcome(&mirror);
    ck_assert_int_eq(take_event(&mirror, 1, STATUS_OK), MIRROR_APPLIED);
    state_mirror_fini(&mirror);
}
END_TEST

START_TEST(a_snapshot_in_parts_takes_the_place_of_what_was)
{
    struct state_mirror source;
    struct state_mirror mirror;
    struct buffer bytes;
    enum mirror_change change;
    struct hash expected;
    struct hash found;
    state_mirror_init(&source);
    state_mirror_init(&mirror);
    buffer_init(&bytes, 1u << 20);
    (void)take_event(&source, 1, STATUS_OK);
    (void)take_event(&source, 2, STATUS_OK);
    ck_assert_int_eq(state_encode(&source.state, &bytes), STATUS_OK);
    size_t half = bytes.size / 2;
    ck_assert_int_eq(take_part(&mirror, &bytes, 0, half, &change), STATUS_OK);
    ck_assert_int_eq(change, MIRROR_UNTOUCHED);
    /* Begun anew, as after a reconnect. */
    ck_assert_int_eq(take_part(&mirror, &bytes, 0, half, &change), STATUS_OK);
    ck_assert_int_eq(take_part(&mirror, &bytes, half, bytes.size - half, &change), STATUS_OK);
    ck_assert_int_eq(change, MIRROR_REPLACED);
    ck_assert_int_eq(state_hash(&source.state, &expected), STATUS_OK);
    ck_assert_int_eq(state_hash(&mirror.state, &found), STATUS_OK);
    ck_assert(ID_EQUAL(expected, found));
    ck_assert_int_eq(take_event(&mirror, 3, STATUS_OK), MIRROR_APPLIED);
    state_mirror_fini(&source);
    state_mirror_fini(&mirror);
    buffer_fini(&bytes);
}
END_TEST

START_TEST(parts_that_do_not_fit_are_refused)
{
    struct state_mirror mirror;
    struct buffer bytes;
    enum mirror_change change;
    state_mirror_init(&mirror);
    buffer_init(&bytes, 1u << 20);
    ck_assert_int_eq(buffer_append(&bytes, "no state at all, only words", 27), STATUS_OK);
    ck_assert_int_eq(take_part(&mirror, &bytes, 5, 5, &change), STATUS_MALFORMED);
    take_welcome(&mirror);
    ck_assert_int_eq(take_part(&mirror, &bytes, 0, 5, &change), STATUS_OK);
    ck_assert_int_eq(take_part(&mirror, &bytes, 7, 5, &change), STATUS_MALFORMED);
    take_welcome(&mirror);
    ck_assert_int_eq(take_part(&mirror, &bytes, 0, 27, &change), STATUS_MALFORMED);
    ck_assert(!mirror.has_state);
    state_mirror_fini(&mirror);
    buffer_fini(&bytes);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("state mirror");
    const TTest *const tests[] = {events_follow_each_other_and_repeats_change_nothing,
                                  a_snapshot_in_parts_takes_the_place_of_what_was,
                                  parts_that_do_not_fit_are_refused};
    suite_add(suite, "mirror", tests, COUNT_OF(tests));
    return suite;
}
