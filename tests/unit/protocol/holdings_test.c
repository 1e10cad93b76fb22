/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/holdings.h"
#include "tests/support/check_main.h"
#include "tests/unit/protocol/apply_stage.h"

#include <string.h>

/* A small file and nine weights: a set of two bytes. */
#define FILES 10u

static struct model_record *known_model(void)
{
    for (uint32_t i = 0; i < 2; i++) {
        const struct node_record node = {.node_id = i == 0 ? node_one : node_two};
        ck_assert_ptr_nonnull(record_list_push(&node_record_type, RECORD_LIST(stage.state.nodes),
                                               &node, NODE_COUNT_MAX));
    }
    stage_import_model(&node_one, "m", 1);
    struct model_record *model = state_find_model(&stage.state, "m");
    for (uint32_t i = 0; i < FILES; i++) {
        struct file_entry *file =
            record_list_push(&file_entry_type, RECORD_LIST(model->files), NULL, FILES);
        const char name[] = {(char)('a' + i), '\0'};
        ck_assert(file && text_set(&file->name, name));
        file->is_weight = i > 0;
        file->size = 1u << i;
    }
    return model;
}

static void tell(const struct node_id *node, bool has_weights, const void *held, size_t size)
{
    struct holding_changed *body = stage_event(EVENT_HOLDING_CHANGED);
    body->node_id = *node;
    body->revision.bytes[0] = 1;
    body->has_small_files = true;
    body->has_weights = has_weights;
    ck_assert(text_set(&body->model_id, "m") && bytes_set(&body->held, held, size));
    stage_apply();
}

START_TEST(a_node_may_hold_some_of_the_weights)
{
    const struct model_record *model = known_model();
    tell(&node_two, false, "\x06\x02", 2);
    const struct holder_record *holder = model_find_holder(model, &node_two);
    ck_assert(!holder->has_weights);
    for (uint32_t i = 0; i < FILES; i++)
        ck_assert_int_eq(holder_has_file(holder, i), i == 1 || i == 2 || i == 9);
    ck_assert_uint_eq(holder_weight_bytes(model, holder), 2 + 4 + 512);
    ck_assert(!holder_has_file(holder, FILES) && !holder_has_file(holder, 4000000000u));
    ck_assert(!holder_has_file(NULL, 1));
}
END_TEST

/* The same facts are the same state, however they were told. */
START_TEST(what_is_held_is_kept_in_one_form)
{
    const struct model_record *model = known_model();
    uint8_t all[FILE_SET_BYTES_MAX];
    memset(all, 0xff, sizeof(all));
    tell(&node_two, true, all, sizeof(all));
    ck_assert_uint_eq(model_find_holder(model, &node_two)->held.count, 0);
    for (uint32_t i = 0; i < FILES; i++)
        ck_assert(holder_has_file(model_find_holder(model, &node_two), i));
    tell(&node_two, false, "\x02\x00\x00", 3);
    ck_assert_uint_eq(model_find_holder(model, &node_two)->held.count, 1);
    tell(&node_two, false, all, sizeof(all)); /* bits of files that the model has not */
    ck_assert_uint_eq(model_find_holder(model, &node_two)->held.count, 2);
    ck_assert_uint_eq(model_find_holder(model, &node_two)->held.items[1], 3);
    tell(&node_two, false, "", 0);
    ck_assert_uint_eq(model_find_holder(model, &node_two)->held.count, 0);
    ck_assert_uint_eq(holder_weight_bytes(model, model_find_holder(model, &node_two)), 0);
}
END_TEST

START_TEST(a_model_is_held_by_several_together)
{
    const struct model_record *model = known_model();
    uint32_t file = 0;
    ck_assert(model_is_held(&stage.state, model, false, NULL));
    tell(&node_one, false, "\xfe\x00", 2);
    ck_assert(!model_is_held(&stage.state, model, false, &file));
    ck_assert_uint_eq(file, 8);
    ck_assert_str_eq(model_unheld_name(&stage.state, model, false), "i");
    tell(&node_two, false, "\x00\x03", 2);
    ck_assert(model_is_held(&stage.state, model, false, NULL));
    state_find_node(&stage.state, &node_one)->in_view = true;
    ck_assert(!model_is_held(&stage.state, model, true, &file));
    ck_assert_uint_eq(file, 8);
    state_find_node(&stage.state, &node_two)->in_view = true;
    ck_assert(model_is_held(&stage.state, model, true, NULL));
    tell(&node_one, false, "", 0);
    tell(&node_two, false, "", 0);
    ck_assert(!model_is_held(&stage.state, model, false, &file));
    ck_assert_uint_eq(file, 1);
    ck_assert_str_eq(model_unheld_name(&stage.state, model, false), "the weights");
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("holdings");
    const TTest *const tests[] = {a_node_may_hold_some_of_the_weights,
                                  what_is_held_is_kept_in_one_form,
                                  a_model_is_held_by_several_together};
    stage_suite_add(suite, "holdings", tests, COUNT_OF(tests));
    return suite;
}
