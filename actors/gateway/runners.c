/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/gateway/gateway.h"

#include "protocol/hello.h"
#include "protocol/memory.h"
#include "runtime/fabric_ways.h"

#include <stdio.h>
#include <string.h>

static struct instance_record *instance_of(const struct gateway *gateway,
                                           const struct runner_link *link)
{
    return state_find_instance(gateway_state(gateway), &link->instance_id);
}

/* A link is for one generation and its rank 0, whose address the state knows. */
static bool is_wanted(const struct instance_record *instance, const struct generation *generation)
{
    return instance && instance->ranks.count > 0 &&
           (instance->status == INSTANCE_STARTING || instance->status == INSTANCE_READY) &&
           generation_equal(&instance->generation, generation) &&
           instance->ranks.items[0].status != RANK_FAILED &&
           *text_or_empty(instance->ranks.items[0].gateway_address);
}

static int link_of(const struct gateway *gateway, const struct instance_record *instance)
{
    for (int i = 0; i < GATEWAY_RUNNER_COUNT_MAX; i++) {
        const struct runner_link *link = &gateway->runners[i];
        if (link->is_used && ID_EQUAL(link->instance_id, instance->instance_id) &&
            generation_equal(&link->generation, &instance->generation))
            return i;
    }
    return -1;
}

/* A rank with ways of its own to siblings listens at all addresses of its node: we come to the one
 * that our node has proven. */
static void reach_rank(const struct gateway *gateway, const struct instance_record *instance,
                       char address_out[ADDRESS_SIZE_MAX])
{
    const struct rank_record *rank = &instance->ranks.items[0];
    char ways[WAYS_SIZE_MAX];
    if (fabric_ways_write(gateway_state(gateway), instance, 0, ways) == STATUS_OK && ways[0])
        session_address(&gateway->session, &rank->node_id, rank->gateway_address, address_out);
    else
        (void)snprintf(address_out, ADDRESS_SIZE_MAX, "%s", rank->gateway_address);
}

static void open_link(struct gateway *gateway, const struct instance_record *instance)
{
    const struct rank_record *rank = &instance->ranks.items[0];
    struct link_options options = {
        .role = LINK_CONNECT, .server_key = rank->runner_key, .message_size_max = MESSAGE_SIZE_MAX};
    char address[ADDRESS_SIZE_MAX];
    reach_rank(gateway, instance, address);
    int length = snprintf(options.endpoint, sizeof(options.endpoint), "%s", address);
    if (length < 0 || (size_t)length >= sizeof(options.endpoint))
        return; /* an address no process of ours binds */
    for (uint32_t i = 0; i < GATEWAY_RUNNER_COUNT_MAX; i++) {
        struct runner_link *link = &gateway->runners[i];
        if (link->is_used)
            continue;
        *link = (struct runner_link){.is_used = true,
                                     .instance_id = instance->instance_id,
                                     .generation = instance->generation};
        outbox_link_open(gateway->outbox, GATEWAY_LINK_RUNNER + i, &options);
        return;
    }
}

void runners_sync(struct gateway *gateway)
{
    for (uint32_t i = 0; i < GATEWAY_RUNNER_COUNT_MAX; i++) {
        struct runner_link *link = &gateway->runners[i];
        if (!link->is_used || is_wanted(instance_of(gateway, link), &link->generation))
            continue;
        const struct instance_record *instance = instance_of(gateway, link);
        *link = (struct runner_link){0};
        outbox_link_close(gateway->outbox, GATEWAY_LINK_RUNNER + i);
        chats_lose(gateway, i,
                   instance ? text_or_empty(instance->last_reason) : "the instance was deleted");
    }
    for (uint32_t i = 0; i < gateway_state(gateway)->instances.count; i++) {
        const struct instance_record *instance = &gateway_state(gateway)->instances.items[i];
        if (is_wanted(instance, &instance->generation) && link_of(gateway, instance) < 0)
            open_link(gateway, instance);
    }
    chats_start_waiting(gateway);
}

void runners_up(struct gateway *gateway, uint32_t slot)
{
    struct runner_link *link = &gateway->runners[slot];
    if (!link->is_used)
        return;
    link->is_up = true;
    const struct session_settings *settings = &gateway->settings->session;
    struct hello hello = {.node_id = gateway->session.mirror.node_id,
                          .key = settings->key,
                          .instance_id = link->instance_id,
                          .generation = link->generation};
    if (hello_fill(&hello, ACTOR_GATEWAY, settings->incarnation, settings->build) == STATUS_OK)
        gateway_send(gateway, GATEWAY_LINK_RUNNER + slot, MESSAGE_LINK, LINK_HELLO, &hello);
    else
        gateway->outbox->failed = STATUS_NO_MEMORY; /* as a send without memory */
    memory_free(hello.build);
    chats_start_waiting(gateway);
}

void runners_down(struct gateway *gateway, uint32_t slot, const char *sentence)
{
    gateway->runners[slot].is_up = false;
    chats_lose(gateway, slot, sentence);
    chats_start_waiting(gateway);
}

void runners_tick(struct gateway *gateway)
{
    uint64_t now_ms = gateway->input->now_ms;
    for (uint32_t i = 0; i < GATEWAY_RUNNER_COUNT_MAX; i++) {
        struct runner_link *link = &gateway->runners[i];
        if (!link->is_up || now_ms < link->beat_at_ms || chats_on(gateway, i) == 0)
            continue;
        link->beat_at_ms = now_ms + GATEWAY_BEAT_MS - 50;
        struct heartbeat heartbeat = {.instance_id = link->instance_id,
                                      .generation = link->generation};
        gateway_send(gateway, GATEWAY_LINK_RUNNER + i, MESSAGE_SIGNAL, SIGNAL_HEARTBEAT,
                     &heartbeat);
    }
}

static bool serves(const struct instance_record *instance, const char *model_id)
{
    return instance && instance->status == INSTANCE_READY &&
           strcmp(text_or_empty(instance->model_id), model_id) == 0;
}

int runners_pick(const struct gateway *gateway, const char *model_id, uint64_t full)
{
    int best = -1;
    uint32_t fewest = UINT32_MAX;
    for (int i = 0; i < GATEWAY_RUNNER_COUNT_MAX; i++) {
        const struct runner_link *link = &gateway->runners[i];
        if (full >> i & 1u || !link->is_used || !link->is_up ||
            !serves(instance_of(gateway, link), model_id))
            continue;
        uint32_t count = chats_on(gateway, (uint32_t)i);
        if (count < fewest) {
            fewest = count;
            best = i;
        }
    }
    return best;
}

bool model_is_ready(const struct gateway *gateway, const char *model_id)
{
    for (uint32_t i = 0; i < gateway_state(gateway)->instances.count; i++)
        if (serves(&gateway_state(gateway)->instances.items[i], model_id))
            return true;
    return false;
}
