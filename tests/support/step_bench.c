/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/step_bench.h"

#include "protocol/assert.h"
#include "protocol/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void step_bench_open(struct step_bench *bench, const struct actor_ops *ops, const void *settings)
{
    struct reason reason = {""};
    memset(bench, 0, sizeof(*bench));
    bench->ops = ops;
    bench->now_ms = 1000000;
    bench->actor = memory_zeroed(1, ops->memory_size);
    ASSERT((bench->actor) != NULL);
    outbox_init(&bench->outbox);
    ASSERT(ops->init(bench->actor, settings, &reason) == STATUS_OK);
}

void step_bench_forget(struct step_bench *bench)
{
    for (size_t i = 0; i < bench->sent_count; i++)
        message_fini(&bench->sent[i].message);
    for (size_t i = 0; i < bench->effect_count; i++)
        if (bench->effects[i].request && bench->effects[i].request_free)
            bench->effects[i].request_free(bench->effects[i].request);
    for (size_t i = 0; i < bench->link_count; i++) {
        memory_free(bench->links[i].options);
        memory_free(bench->links[i].keys);
    }
    bench->sent_count = bench->effect_count = bench->link_count = 0;
}

void step_bench_close(struct step_bench *bench)
{
    step_bench_forget(bench);
    bench->ops->fini(bench->actor);
    memory_free(bench->actor);
    outbox_fini(&bench->outbox);
}

static void keep(struct step_bench *bench, struct outbox_item *item)
{
    ASSERT(bench->sent_count < BENCH_KEPT_MAX);
    ASSERT(bench->effect_count < BENCH_KEPT_MAX);
    ASSERT(bench->link_count < BENCH_KEPT_MAX);
    switch (item->kind) {
    case OUTBOX_SEND: {
        struct bench_sent *sent = &bench->sent[bench->sent_count++];
        sent->peer = item->peer;
        ASSERT(message_decode(item->bytes, item->size, &sent->message, NULL) == STATUS_OK);
        break;
    }
    case OUTBOX_EFFECT:
        bench->effects[bench->effect_count++] = item->effect;
        item->effect.request = NULL;
        break;
    case OUTBOX_LINK_OPEN:
    case OUTBOX_LINK_CLOSE:
    case OUTBOX_LINK_ALLOW:
    case OUTBOX_PEER_DROP:
        bench->links[bench->link_count++] = *item;
        item->options = NULL;
        item->keys = NULL;
        break;
    case OUTBOX_READY:
        bench->ready_count++;
        break;
    case OUTBOX_EXIT:
        bench->has_exited = true;
        break;
    case OUTBOX_STATUS:
        break;
    }
}

void bench_feed(struct step_bench *bench, struct input input)
{
    input.now_ms = bench->now_ms;
    input.wall_ms = bench->now_ms;
    input.random = bench->now_ms * 77;
    bench->reason.text[0] = '\0';
    bench->failed = bench->ops->step(bench->actor, &input, &bench->outbox, &bench->reason);
    ASSERT(bench->outbox.failed == STATUS_OK);
    for (size_t i = 0; i < bench->outbox.count; i++)
        keep(bench, &bench->outbox.items[i]);
    outbox_clear(&bench->outbox);
}

static void worked(const struct step_bench *bench)
{
    if (bench->failed != STATUS_OK)
        fprintf(stderr, "the step failed: %s\n", bench->reason.text);
    ASSERT(bench->failed == STATUS_OK);
}

void bench_message(struct step_bench *bench, struct peer peer, struct message *message)
{
    bench_feed(bench, (struct input){.kind = INPUT_MESSAGE, .peer = peer, .message = message});
    worked(bench);
    message_fini(message);
}

void bench_pass(struct step_bench *bench, uint64_t for_ms)
{
    const uint64_t end_ms = bench->now_ms + for_ms;
    while (bench->outbox.wake_ms <= end_ms) {
        if (bench->outbox.wake_ms > bench->now_ms)
            bench->now_ms = bench->outbox.wake_ms;
        bench->outbox.wake_ms = UINT64_MAX;
        bench_feed(bench, (struct input){.kind = INPUT_WAKE});
    }
    bench->now_ms = end_ms;
}

void bench_welcome(struct step_bench *bench, const struct node_id *node_id)
{
    const struct peer master = peer_of_link(SESSION_LINK);
    struct message welcome;
    bench_feed(bench, (struct input){.kind = INPUT_LINK_UP, .peer = master});
    ASSERT(message_init(&welcome, MESSAGE_LINK, LINK_WELCOME) == STATUS_OK);
    MESSAGE_BODY(&welcome, welcome)->node_id = *node_id;
    bench_message(bench, master, &welcome);
}

void bench_state(struct step_bench *bench, struct state *state)
{
    struct message message;
    struct buffer bytes;
    state->index = ++bench->index;
    buffer_init(&bytes, 16u << 20);
    ASSERT(state_encode(state, &bytes) == STATUS_OK);
    ASSERT(bytes.size < PART_SIZE_MAX);
    ASSERT(message_init(&message, MESSAGE_LINK, LINK_SNAPSHOT_PART) == STATUS_OK);
    struct snapshot_part *part = message.body;
    part->index = state->index;
    part->total = bytes.size;
    ASSERT(bytes_set(&part->part, bytes.bytes, bytes.size));
    buffer_fini(&bytes);
    bench_message(bench, peer_of_link(SESSION_LINK), &message);
}

void bench_event(struct step_bench *bench, struct message *event)
{
    event->head.index = ++bench->index;
    bench_message(bench, peer_of_link(SESSION_LINK), event);
}

void bench_result(struct step_bench *bench, const struct effect *effect, enum status status,
                  const char *sentence, void *value, void (*value_free)(void *value))
{
    struct result result = {.id = effect->id, .kind = effect->kind, .status = status,
                            .value = value, .value_free = value_free};
    (void)refuse(&result.reason, status, "%s", sentence);
    bench_feed(bench, (struct input){.kind = INPUT_RESULT, .result = &result});
    result_fini(&result);
}

const struct message *bench_sent(const struct step_bench *bench, enum message_kind kind,
                                 uint32_t code)
{
    for (size_t i = bench->sent_count; i-- > 0;)
        if (message_is(&bench->sent[i].message, kind, code))
            return &bench->sent[i].message;
    return NULL;
}

unsigned bench_sent_count(const struct step_bench *bench, enum message_kind kind, uint32_t code)
{
    unsigned count = 0;
    for (size_t i = 0; i < bench->sent_count; i++)
        count += message_is(&bench->sent[i].message, kind, code);
    return count;
}

struct effect *bench_effect(struct step_bench *bench, uint32_t kind)
{
    for (size_t i = bench->effect_count; i-- > 0;)
        if (bench->effects[i].kind == kind)
            return &bench->effects[i];
    return NULL;
}

unsigned bench_effect_count(const struct step_bench *bench, uint32_t kind)
{
    unsigned count = 0;
    for (size_t i = 0; i < bench->effect_count; i++)
        count += bench->effects[i].kind == kind;
    return count;
}

bool bench_is_left(const struct step_bench *bench, struct peer peer)
{
    for (size_t i = 0; i < bench->link_count; i++)
        if (bench->links[i].kind == OUTBOX_LINK_CLOSE && bench->links[i].peer.link == peer.link)
            return true;
    return false;
}

const struct outbox_item *bench_link(const struct step_bench *bench, enum outbox_kind kind)
{
    for (size_t i = bench->link_count; i-- > 0;)
        if (bench->links[i].kind == kind)
            return &bench->links[i];
    return NULL;
}
