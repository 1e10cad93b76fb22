/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apply_stage: a state of its own for each test, and the events a test tells it.
 *
 * Owner    a test program; one stage.
 * Memory   what a test leaves is freed after it; stage_apply finishes the event.
 * Fails    aborts the test when an event is refused that should not be.
 */
#ifndef TROUPE_TESTS_UNIT_PROTOCOL_APPLY_STAGE_H
#define TROUPE_TESTS_UNIT_PROTOCOL_APPLY_STAGE_H

#include "protocol/state.h"

#include <check.h>

#define STAGE_RANKS 2

struct apply_stage {
    struct state state;
    struct message event; /* being written */
    uint64_t now_ms;      /* wall clock of the next event */
};

extern struct apply_stage stage;
extern const struct node_id node_one;
extern const struct node_id node_two;
extern const struct instance_id instance_id;
extern const struct generation generation_one;
extern const struct generation generation_two;

/* A case whose tests each begin with an empty state. */
void stage_suite_add(Suite *suite, const char *name, const TTest *const *tests, size_t count);
/* The empty body of the next event; its head stands in stage.event.head. */
void *stage_event(enum event_code code);
/* Applies and finishes it. */
void stage_apply(void);
/* Applies it, and checks that nothing but index and time has changed. */
void stage_apply_in_vain(void);

/* Whole events that many tests start from. */
void stage_add_node(const struct node_id *node_id, const char *name);
void stage_open_endpoint(const struct node_id *node_id, enum actor_kind actor,
                         uint64_t incarnation);
void stage_import_model(const struct node_id *node_id, const char *model_id, uint8_t revision);
/* An instance on node one and two, its generation one just started; the instance. */
struct instance_record *stage_start_instance(void);
void stage_start_generation(const struct generation *generation);
void stage_rank_status(const struct generation *generation, uint32_t rank,
                       enum rank_status status);
void stage_fail(const struct generation *generation, uint64_t retry_at_ms);
struct instance_record *stage_instance(void);

#endif
