/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/link_view.h"

#include "protocol/memory.h"
#include "tests/support/check_main.h"

#include <jansson.h>
#include <string.h>

static struct node_id id_of(uint8_t number)
{
    struct node_id id = {.bytes = {number}};
    return id;
}

/* What `from` says of `to`. */
static void say(struct links_listed *listed, uint8_t from, uint8_t to, bool reaches,
                uint64_t age_ms)
{
    struct links_measured row = {.node_id = id_of(from), .age_ms = age_ms};
    const struct link_measured link = {.node_id = id_of(to),
                                       .address = "tcp://10.0.0.7:1",
                                       .reaches = reaches,
                                       .latency_us = reaches ? 310 : 0};
    ck_assert_ptr_nonnull(
        record_list_push(&links_measured_type, RECORD_LIST(listed->rows), &row, NODE_COUNT_MAX));
    ck_assert_ptr_nonnull(record_list_push(
        &link_measured_type, RECORD_LIST(listed->rows.items[listed->rows.count - 1].links), &link,
        NODE_COUNT_MAX));
}

static enum link_state state_of(const struct links_listed *listed, uint8_t from, uint8_t to)
{
    const struct node_id a = id_of(from);
    const struct node_id b = id_of(to);
    return link_view_state(listed, &a, &b);
}

START_TEST(an_address_is_proven_when_each_reached_the_other)
{
    struct links_listed listed = {.rows = {NULL, 0}};
    ck_assert_int_eq(state_of(&listed, 1, 2), LINK_STATE_UNKNOWN);
    say(&listed, 1, 2, true, 0);
    ck_assert_int_eq(state_of(&listed, 1, 2), LINK_STATE_UNKNOWN); /* 2 has not told */
    say(&listed, 2, 1, true, LINK_ROW_LIFE_MS - 1);
    ck_assert_int_eq(state_of(&listed, 1, 2), LINK_STATE_PROVEN);
    ck_assert_int_eq(state_of(&listed, 2, 1), LINK_STATE_PROVEN);
    listed.rows.items[1].age_ms = LINK_ROW_LIFE_MS;
    ck_assert_int_eq(state_of(&listed, 1, 2), LINK_STATE_UNKNOWN); /* what it told is old */
    record_fini(&links_listed_type, &listed);
}
END_TEST

START_TEST(a_link_that_works_one_way_only_is_told_apart)
{
    struct links_listed listed = {.rows = {NULL, 0}};
    say(&listed, 1, 2, true, 0);
    say(&listed, 2, 1, false, 0);
    ck_assert_int_eq(state_of(&listed, 1, 2), LINK_STATE_ONE_WAY);
    ck_assert_int_eq(state_of(&listed, 2, 1), LINK_STATE_BACKWARD);
    listed.rows.items[0].links.items[0].reaches = false;
    ck_assert_int_eq(state_of(&listed, 1, 2), LINK_STATE_NONE);
    record_fini(&links_listed_type, &listed);
}
END_TEST

START_TEST(what_is_not_known_is_null_in_json)
{
    struct links_listed listed = {.rows = {NULL, 0}};
    struct node_record nodes[2] = {{.node_id = id_of(1), .name = "a \"b\""},
                                   {.node_id = id_of(2), .name = "c"}};
    struct state state;
    struct buffer json;
    memset(&state, 0, sizeof(state));
    state.nodes.items = nodes;
    state.nodes.count = 2;
    say(&listed, 1, 2, true, 0);
    buffer_init(&json, 1u << 20);
    ck_assert_int_eq(link_view_print(&listed, &state, &json), STATUS_OK);
    json_t *root = json_loadb((const char *)json.bytes, json.size, 0, NULL);
    ck_assert_ptr_nonnull(root);
    const json_t *links = json_object_get(root, "links");
    ck_assert_uint_eq(json_array_size(links), 2);
    const json_t *forth = json_array_get(links, 0);
    ck_assert_str_eq(json_string_value(json_object_get(forth, "state")), "unknown");
    ck_assert_int_eq(json_integer_value(json_object_get(forth, "latency_us")), 310);
    ck_assert(json_is_null(json_object_get(forth, "bytes_per_s")));
    const json_t *back = json_array_get(links, 1);
    ck_assert(json_is_null(json_object_get(back, "latency_us")));
    ck_assert(json_is_null(json_object_get(back, "address")));
    const json_t *node = json_array_get(json_object_get(root, "nodes"), 0);
    ck_assert_str_eq(json_string_value(json_object_get(node, "name")), "a \"b\"");
    ck_assert(json_is_null(json_object_get(node, "kind")));
    json_decref(root);
    buffer_fini(&json);
    record_fini(&links_listed_type, &listed);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("link_view");
    const TTest *const tests[] = {an_address_is_proven_when_each_reached_the_other,
                                  a_link_that_works_one_way_only_is_told_apart,
                                  what_is_not_known_is_null_in_json};
    suite_add(suite, "link_view", tests, COUNT_OF(tests));
    return suite;
}
