/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/protocol/apply_stage.h"

#include <string.h>

struct apply_stage stage;
const struct node_id node_one = {{1}};
const struct node_id node_two = {{2}};
const struct instance_id instance_id = {{9}};
const struct generation generation_one = {1, {{1}}, 1};
const struct generation generation_two = {1, {{1}}, 2};

static void begin(void)
{
    memset(&stage, 0, sizeof(stage));
    state_init(&stage.state);
    stage.now_ms = 1700000000000;
}

static void end(void)
{
    message_fini(&stage.event);
    state_fini(&stage.state);
}

void stage_suite_add(Suite *suite, const char *name, const TTest *const *tests, size_t count)
{
    TCase *group = tcase_create(name);
    tcase_set_timeout(group, 60);
    tcase_add_checked_fixture(group, begin, end);
    for (size_t i = 0; i < count; i++)
        tcase_add_test(group, tests[i]);
    suite_add_tcase(suite, group);
}

void *stage_event(enum event_code code)
{
    ck_assert_int_eq(message_init(&stage.event, MESSAGE_EVENT, code), STATUS_OK);
    stage.event.head.index = stage.state.index + 1;
    stage.event.head.time_ms = stage.now_ms;
    return stage.event.body;
}

void stage_apply(void)
{
    const uint64_t index = stage.event.head.index;
    ck_assert_int_eq(state_apply(&stage.state, &stage.event), STATUS_OK);
    ck_assert_uint_eq(stage.state.index, index);
    ck_assert_uint_eq(stage.state.time_ms, stage.event.head.time_ms);
    message_fini(&stage.event);
}

void stage_apply_in_vain(void)
{
    struct state before;
    ck_assert_int_eq(record_copy(&state_type, &stage.state, &before), STATUS_OK);
    before.index = stage.event.head.index;
    before.time_ms = stage.event.head.time_ms;
    stage_apply();
    ck_assert(record_equal(&state_type, &before, &stage.state));
    state_fini(&before);
}

void stage_add_node(const struct node_id *node_id, const char *name)
{
    struct node_admitted *body = stage_event(EVENT_NODE_ADMITTED);
    body->node.node_id = *node_id;
    body->node.key.bytes[0] = node_id->bytes[0];
    ck_assert(text_set(&body->node.name, name));
    stage_apply();
}

void stage_open_endpoint(const struct node_id *node_id, enum actor_kind actor,
                         uint64_t incarnation)
{
    struct endpoint_opened *body = stage_event(EVENT_ENDPOINT_OPENED);
    body->endpoint.node_id = *node_id;
    body->endpoint.actor = actor;
    body->endpoint.incarnation = incarnation;
    stage_apply();
}

void stage_import_model(const struct node_id *node_id, const char *model_id, uint8_t revision)
{
    struct model_imported *body = stage_event(EVENT_MODEL_IMPORTED);
    body->node_id = *node_id;
    body->model.revision.bytes[0] = revision;
    ck_assert(text_set(&body->model.model_id, model_id));
    stage_apply();
}

struct instance_record *stage_instance(void)
{
    struct instance_record *instance = state_find_instance(&stage.state, &instance_id);
    ck_assert_ptr_nonnull(instance);
    return instance;
}

struct instance_record *stage_start_instance(void)
{
    struct instance_placed *body = stage_event(EVENT_INSTANCE_PLACED);
    body->instance.instance_id = instance_id;
    body->instance.window_ms = stage.now_ms;
    ck_assert(text_set(&body->instance.model_id, "m"));
    stage_apply();
    stage_start_generation(&generation_one);
    return stage_instance();
}

void stage_start_generation(const struct generation *generation)
{
    const struct rank_record ranks[STAGE_RANKS] = {{.node_id = node_one}, {.node_id = node_two}};
    struct generation_started *body = stage_event(EVENT_GENERATION_STARTED);
    body->instance_id = instance_id;
    body->generation = *generation;
    body->sharding = SHARDING_PIPELINE;
    body->context = 4096;
    ck_assert(text_set(&body->why, "two nodes"));
    for (uint32_t i = 0; i < STAGE_RANKS; i++)
        ck_assert_ptr_nonnull(record_list_push(&rank_record_type, RECORD_LIST(body->ranks),
                                               &ranks[i], RANK_COUNT_MAX));
    struct file_source *source = record_list_push(&file_source_type, RECORD_LIST(body->sources),
                                                  NULL, MODEL_FILE_COUNT_MAX);
    ck_assert(source && text_set(&source->name, "model.safetensors"));
    stage_apply();
}

void stage_rank_status(const struct generation *generation, uint32_t rank,
                       enum rank_status status)
{
    struct runner_status_changed *body = stage_event(EVENT_RUNNER_STATUS_CHANGED);
    body->instance_id = instance_id;
    body->generation = *generation;
    body->rank = rank;
    body->status = status;
    stage_apply();
}

void stage_fail(const struct generation *generation, uint64_t retry_at_ms)
{
    struct generation_failed *body = stage_event(EVENT_GENERATION_FAILED);
    body->instance_id = instance_id;
    body->generation = *generation;
    body->retry_at_ms = retry_at_ms;
    ck_assert(text_set(&body->reason, "it fell over"));
    stage_apply();
}
