/* SPDX-License-Identifier: Apache-2.0 */
/*
 * step_bench: one actor's step alone, without loop, sockets and clock; the test is its master, its
 * peers, its shell and its time.
 *
 * Owner    a test; aborts it when a step fails that should not.
 * Memory   what was sent and asked for is kept until step_bench_forget.
 */
#ifndef TROUPE_TESTS_SUPPORT_STEP_BENCH_H
#define TROUPE_TESTS_SUPPORT_STEP_BENCH_H

#include "protocol/state.h"
#include "runtime/session.h"

#define BENCH_KEPT_MAX 256

struct bench_sent {
    struct peer peer;
    struct message message;
};

struct step_bench {
    const struct actor_ops *ops;
    void *actor;
    struct outbox outbox;
    uint64_t now_ms;
    uint64_t index; /* of the last event or state told */
    struct bench_sent sent[BENCH_KEPT_MAX];
    size_t sent_count;
    struct effect effects[BENCH_KEPT_MAX];
    size_t effect_count;
    struct outbox_item links[BENCH_KEPT_MAX]; /* opened, closed, allowed; their memory is ours */
    size_t link_count;
    unsigned ready_count;
    bool has_exited;
    enum status failed; /* of the last step */
    struct reason reason;
};

void step_bench_open(struct step_bench *bench, const struct actor_ops *ops, const void *settings);
void step_bench_close(struct step_bench *bench);
/* What was sent, asked for and opened so far. */
void step_bench_forget(struct step_bench *bench);

void bench_feed(struct step_bench *bench, struct input input);
void bench_message(struct step_bench *bench, struct peer peer, struct message *message);
/* Time passes, and wakes the actor when it asked for it. */
void bench_pass(struct step_bench *bench, uint64_t for_ms);
/* The link to the master comes up and the master welcomes. */
void bench_welcome(struct step_bench *bench, const struct node_id *node_id);
/* The master tells the whole state; its index is set. */
void bench_state(struct step_bench *bench, struct state *state);
/* The master tells the next event; `event` is finished. */
void bench_event(struct step_bench *bench, struct message *event);
/* The result of an effect that was asked for; `value` is given away. */
void bench_result(struct step_bench *bench, const struct effect *effect, enum status status,
                  const char *sentence, void *value, void (*value_free)(void *value));

/* The last one, or NULL. */
const struct message *bench_sent(const struct step_bench *bench, enum message_kind kind,
                                 uint32_t code);
unsigned bench_sent_count(const struct step_bench *bench, enum message_kind kind, uint32_t code);
struct effect *bench_effect(struct step_bench *bench, uint32_t kind);
unsigned bench_effect_count(const struct step_bench *bench, uint32_t kind);
const struct outbox_item *bench_link(const struct step_bench *bench, enum outbox_kind kind);
/* The link was closed by us. */
bool bench_is_left(const struct step_bench *bench, struct peer peer);

#endif
