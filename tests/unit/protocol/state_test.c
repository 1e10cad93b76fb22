/* SPDX-License-Identifier: Apache-2.0 */
/* Finding things in the state, its snapshot and its hash, and the small reckonings beside it. */
#include "protocol/state.h"

#include "tests/support/check_main.h"
#include "tests/support/record_random.h"

#include <stdio.h>
#include <string.h>

static struct state state;

static void setup(void)
{
    state_init(&state);
}

static void teardown(void)
{
    state_fini(&state);
}

static struct node_record *add_node(const char *hex_id, const char *name)
{
    struct node_record *node =
        record_list_push(&node_record_type, RECORD_LIST(state.nodes), NULL, NODE_COUNT_MAX);
    ck_assert(node && text_set(&node->name, name));
    ck_assert(hex_parse(hex_id, &node->node_id, sizeof(node->node_id)));
    node->key.bytes[0] = node->node_id.bytes[0];
    return node;
}

static void add_three_nodes(void)
{
    add_node("abcd0000000000000000000000000001", "first");
    add_node("abcd1000000000000000000000000002", "second");
    add_node("ffff0000000000000000000000000003", "abcd1");
}

static const char *name_of(const char *asked)
{
    const struct node_record *node = state_find_node_named(&state, asked);
    return node ? node->name : "nobody";
}

START_TEST(a_node_is_found_by_its_name)
{
    add_three_nodes();
    ck_assert_str_eq(name_of("second"), "second");
    ck_assert_str_eq(name_of("secon"), "nobody");
    ck_assert_str_eq(name_of("third"), "nobody");
}
END_TEST

START_TEST(a_node_is_found_by_its_id_or_a_prefix_only_it_has)
{
    add_three_nodes();
    ck_assert_str_eq(name_of("abcd0000000000000000000000000001"), "first");
    ck_assert_str_eq(name_of("abcd00"), "first");
    ck_assert_str_eq(name_of("ffff"), "abcd1");
    ck_assert_str_eq(name_of("abcd00000000000000000000000000010"), "nobody");
}
END_TEST

START_TEST(an_ambiguous_or_short_prefix_finds_nobody)
{
    add_three_nodes();
    ck_assert_str_eq(name_of("abcd"), "nobody");
    ck_assert_str_eq(name_of("fff"), "nobody");
    ck_assert_str_eq(name_of(""), "nobody");
}
END_TEST

START_TEST(a_name_goes_before_a_prefix)
{
    add_three_nodes();
    ck_assert_str_eq(name_of("abcd1"), "abcd1");
    ck_assert_str_eq(name_of("abcd10"), "second");
}
END_TEST

START_TEST(a_node_is_found_by_its_key)
{
    const struct public_key key = {{0xff}};
    const struct public_key other = {{0xfe}};
    add_three_nodes();
    ck_assert_str_eq(state_find_node_by_key(&state, &key)->name, "abcd1");
    ck_assert_ptr_null(state_find_node_by_key(&state, &other));
}
END_TEST

START_TEST(an_import_is_found_by_node_and_model_together)
{
    const struct node_id one = {{1}};
    const struct node_id two = {{2}};
    struct import_record *import = record_list_push(
        &import_record_type, RECORD_LIST(state.imports), NULL, IMPORT_COUNT_MAX);
    ck_assert(import && text_set(&import->model_id, "m"));
    import->node_id = one;
    ck_assert_ptr_eq(state_find_import(&state, &one, "m"), import);
    ck_assert_ptr_null(state_find_import(&state, &two, "m"));
    ck_assert_ptr_null(state_find_import(&state, &one, "n"));
}
END_TEST

START_TEST(the_last_event_of_a_repeated_command_key_is_told)
{
    const struct command_record twice[] = {{{{5}}, 10}, {{{6}}, 11}, {{{5}}, 12}};
    const struct command_key unknown = {{7}};
    for (size_t i = 0; i < COUNT_OF(twice); i++)
        ck_assert_ptr_nonnull(record_list_push(&command_record_type, RECORD_LIST(state.commands),
                                               &twice[i], COMMAND_KEY_COUNT_MAX));
    ck_assert_uint_eq(state_find_command(&state, &twice[0].key), 12);
    ck_assert_uint_eq(state_find_command(&state, &twice[1].key), 11);
    ck_assert_uint_eq(state_find_command(&state, &unknown), 0);
}
END_TEST

START_TEST(generations_are_equal_in_all_three_parts)
{
    const struct generation base = {3, {{1}}, 2};
    const struct generation same = {3, {{1}}, 2};
    const struct generation others[] = {{4, {{1}}, 2}, {3, {{2}}, 2}, {3, {{1}}, 3}};
    const struct generation none = {0, {{0}}, 0};
    ck_assert(generation_equal(&base, &same));
    for (size_t i = 0; i < COUNT_OF(others); i++)
        ck_assert(!generation_equal(&base, &others[i]));
    ck_assert(generation_is_zero(&none));
    ck_assert(!generation_is_zero(&base));
}
END_TEST

START_TEST(a_generation_is_printed_short)
{
    const struct generation small = {3, {{0x1f, 0x0a, 0x55}}, 2};
    const struct generation large = {UINT64_MAX, {{0xff, 0xff}}, UINT64_MAX};
    char text[48];
    ck_assert_str_eq(generation_print(&small, text), "3.1f0a.2");
    ck_assert_str_eq(generation_print(&large, text),
                     "18446744073709551615.ffff.18446744073709551615");
}
END_TEST

START_TEST(epochs_are_ordered_by_number_then_leader)
{
    const struct epoch ordered[] = {{0, {{0}}}, {1, {{9}}}, {2, {{1}}}, {2, {{0xf0}}}, {3, {{0}}}};
    for (int a = 0; a < (int)COUNT_OF(ordered); a++)
        for (int b = 0; b < (int)COUNT_OF(ordered); b++)
            ck_assert_int_eq(epoch_compare(&ordered[a], &ordered[b]), (a > b) - (a < b));
}
END_TEST

START_TEST(the_wait_doubles_up_to_its_ceiling)
{
    static const uint64_t waits_ms[] = {200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000};
    for (uint32_t i = 0; i < COUNT_OF(waits_ms); i++)
        ck_assert_uint_eq(generation_backoff_ms(i + 1), waits_ms[i]);
    ck_assert_uint_eq(generation_backoff_ms(0), 200);
    ck_assert_uint_eq(generation_backoff_ms(64), 30000);
    ck_assert_uint_eq(generation_backoff_ms(UINT32_MAX), 30000);
}
END_TEST

START_TEST(names_of_numbers_nobody_has_are_unknown)
{
    ck_assert_str_eq(rank_status_name(RANK_FAILED), "failed");
    ck_assert_str_eq(rank_status_name(RANK_STATUS_END), "unknown");
    ck_assert_str_eq(instance_status_name(INSTANCE_WAITING), "waiting");
    ck_assert_str_eq(instance_status_name(INSTANCE_STATUS_END), "unknown");
    ck_assert_str_eq(mode_name(MODE_FAST), "fast");
    ck_assert_str_eq(mode_name(MODE_END), "unknown");
}
END_TEST

static struct state decode(const struct buffer *bytes)
{
    struct state decoded;
    struct reason reason = {""};
    ck_assert_msg(state_decode(bytes->bytes, bytes->size, &decoded, &reason) == STATUS_OK, "%s",
                  reason.text);
    return decoded;
}

START_TEST(a_snapshot_is_the_state_and_has_its_hash)
{
    struct seeded seeded = seeded_open(20260801);
    for (int round = 0; round < 20; round++) {
        struct hash before;
        struct hash after;
        struct buffer bytes;
        state_fini(&state);
        record_random(&state_type, &seeded, 4, &state);
        buffer_init(&bytes, MESSAGE_SIZE_MAX);
        ck_assert_int_eq(state_encode(&state, &bytes), STATUS_OK);
        struct state decoded = decode(&bytes);
        ck_assert(record_equal(&state_type, &state, &decoded));
        ck_assert_int_eq(state_hash(&state, &before), STATUS_OK);
        ck_assert_int_eq(state_hash(&decoded, &after), STATUS_OK);
        ck_assert(ID_EQUAL(before, after));
        decoded.time_ms++;
        ck_assert_int_eq(state_hash(&decoded, &after), STATUS_OK);
        ck_assert(!ID_EQUAL(before, after));
        state_fini(&decoded);
        buffer_fini(&bytes);
    }
}
END_TEST

START_TEST(a_snapshot_cut_short_is_refused)
{
    struct buffer bytes;
    struct state decoded;
    struct reason reason = {""};
    add_three_nodes();
    buffer_init(&bytes, MESSAGE_SIZE_MAX);
    ck_assert_int_eq(state_encode(&state, &bytes), STATUS_OK);
    for (size_t size = 0; size < bytes.size; size++)
        ck_assert_int_ne(state_decode(bytes.bytes, size, &decoded, &reason), STATUS_OK);
    buffer_fini(&bytes);
}
END_TEST

START_TEST(the_hash_does_not_depend_on_how_an_empty_text_is_held)
{
    struct hash with_null;
    struct hash with_empty;
    struct node_record *node = add_node("abcd0000000000000000000000000001", "n");
    ck_assert_int_eq(state_hash(&state, &with_null), STATUS_OK);
    ck_assert(text_set(&node->address, ""));
    ck_assert_int_eq(state_hash(&state, &with_empty), STATUS_OK);
    ck_assert(ID_EQUAL(with_null, with_empty));
}
END_TEST

START_TEST(hosts_of_a_record_come_one_by_one)
{
    static const char *const expected[] = {"10.0.0.1", "[fd00::1]", "10.0.0.2"};
    char long_one[200];
    char text[300];
    char host[66];
    memset(long_one, 'x', sizeof(long_one) - 1);
    long_one[sizeof(long_one) - 1] = '\0';
    (void)snprintf(text, sizeof(text), "  10.0.0.1 [fd00::1] %s  10.0.0.2 ", long_one);
    const char *at = text;
    for (size_t i = 0; i < COUNT_OF(expected); i++) {
        ck_assert(state_host_next(&at, host, sizeof(host)));
        ck_assert_str_eq(host, expected[i]);
    }
    ck_assert(!state_host_next(&at, host, sizeof(host)));
    at = "";
    ck_assert(!state_host_next(&at, host, sizeof(host)));
}
END_TEST

START_TEST(the_nodes_there_are_are_listed_as_far_as_there_is_room)
{
    struct state listing;
    char text[NODES_LISTED_SIZE];
    state_init(&listing);
    ck_assert_str_eq(state_nodes_list(&listing, text), "");
    for (uint32_t i = 0; i < NODE_COUNT_MAX; i++) {
        struct node_record *node =
            record_list_push(&node_record_type, RECORD_LIST(listing.nodes), NULL, NODE_COUNT_MAX);
        char name[16];
        (void)snprintf(name, sizeof(name), "node-%02u", i);
        ck_assert(text_set(&node->name, name));
        if (i == 1)
            ck_assert_str_eq(state_nodes_list(&listing, text), "node-00, node-01");
    }
    const char *more = strstr(state_nodes_list(&listing, text), " and ");
    ck_assert_msg(more && strstr(more, " more") && strncmp(text, "node-00, ", 9) == 0, "%s", text);
    state_fini(&listing);
}
END_TEST

Suite *suite_of_tests(void)
{
    const TTest *const tests[] = {a_node_is_found_by_its_name,
                                         a_node_is_found_by_its_id_or_a_prefix_only_it_has,
                                         an_ambiguous_or_short_prefix_finds_nobody,
                                         a_name_goes_before_a_prefix,
                                         a_node_is_found_by_its_key,
                                         hosts_of_a_record_come_one_by_one,
                                         the_nodes_there_are_are_listed_as_far_as_there_is_room,
                                         an_import_is_found_by_node_and_model_together,
                                         the_last_event_of_a_repeated_command_key_is_told,
                                         generations_are_equal_in_all_three_parts,
                                         a_generation_is_printed_short,
                                         epochs_are_ordered_by_number_then_leader,
                                         the_wait_doubles_up_to_its_ceiling,
                                         names_of_numbers_nobody_has_are_unknown,
                                         a_snapshot_is_the_state_and_has_its_hash,
                                         a_snapshot_cut_short_is_refused,
                                         the_hash_does_not_depend_on_how_an_empty_text_is_held};
    Suite *suite = suite_create("protocol/state");
    TCase *group = tcase_create("state");
    tcase_set_timeout(group, 60);
    tcase_add_checked_fixture(group, setup, teardown);
    for (size_t i = 0; i < COUNT_OF(tests); i++)
        tcase_add_test(group, tests[i]);
    suite_add_tcase(suite, group);
    return suite;
}
