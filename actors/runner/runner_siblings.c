/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/runner.h"

#include "protocol/memory.h"
#include "runtime/fabric_ways.h"

#include <stdio.h>
#include <string.h>

static bool leads_stage(const struct instance_record *instance, uint32_t rank)
{
    const struct rank_record *ranks = instance->ranks.items;
    return rank == 0 || ranks[rank - 1].stage != ranks[rank].stage;
}

/* In a ring of stages the first rank of each, to the others of its own and the first of the
 * next. */
static bool sends_in_stages(const struct instance_record *instance, uint32_t own, uint32_t rank)
{
    const struct rank_record *ranks = instance->ranks.items;
    const uint32_t last = ranks[instance_computing(instance) - 1].stage;
    const uint32_t next = ranks[own].stage == last ? 0 : ranks[own].stage + 1;
    if (!leads_stage(instance, own))
        return false;
    return ranks[rank].stage == ranks[own].stage ||
           (ranks[rank].stage == next && leads_stage(instance, rank));
}

/* Whom this rank sends to: the next stage of the ring, or, from rank 0 of a tensor cut, all. */
static bool sends_to(const struct runner *runner, const struct instance_record *instance,
                     uint32_t rank)
{
    const uint32_t own = runner->settings->rank;
    const uint32_t count = instance_computing(instance);
    if (rank == own || rank >= count || own >= count) /* a source sends weights only, over MPI */
        return false;
    if (instance->sharding == SHARDING_PIPELINE)
        return rank == (own + 1) % count;
    if (instance->sharding == SHARDING_PIPELINE_TENSOR)
        return sends_in_stages(instance, own, rank);
    return own == 0;
}

static void allow(struct runner *runner, uint32_t link, struct runner_allowed *known,
                  const struct runner_allowed *wanted)
{
    if (wanted->count == known->count &&
        memcmp(wanted->keys, known->keys, wanted->count * sizeof(wanted->keys[0])) == 0)
        return;
    *known = *wanted;
    outbox_link_allow(runner->outbox, link, known->keys, known->count);
}

void runner_allow_refresh(struct runner *runner)
{
    const struct instance_record *instance = runner_instance(runner);
    const struct state *state = &runner->session.mirror.state;
    struct runner_allowed siblings = {.count = 0};
    struct runner_allowed gateways = {.count = 0};
    if (!instance || runner->endpoint[0] == '\0')
        return;
    for (uint32_t i = 0; i < instance->ranks.count; i++)
        if (i != runner->settings->rank && !ID_IS_ZERO(instance->ranks.items[i].runner_key))
            siblings.keys[siblings.count++] = instance->ranks.items[i].runner_key;
    allow(runner, RUNNER_LINK_BOUND, &runner->siblings_allowed, &siblings);
    if (runner->gateway_endpoint[0] == '\0')
        return;
    for (uint32_t i = 0; i < state->endpoints.count; i++) {
        const struct endpoint_record *endpoint = &state->endpoints.items[i];
        if (endpoint->actor == ACTOR_GATEWAY && gateways.count < COUNT_OF(gateways.keys) &&
            state_find_node(state, &endpoint->node_id))
            gateways.keys[gateways.count++] = endpoint->key;
    }
    allow(runner, RUNNER_LINK_GATEWAYS, &runner->gateways_allowed, &gateways);
}

static bool all_addressed(const struct instance_record *instance)
{
    for (uint32_t i = 0; i < instance->ranks.count; i++)
        if (text_or_empty(instance->ranks.items[i].runner_address)[0] == '\0')
            return false;
    return true;
}

void runner_siblings_open(struct runner *runner)
{
    const struct instance_record *instance = runner_instance(runner);
    if (!instance || runner->are_links_open || !all_addressed(instance))
        return;
    runner->are_links_open = true;
    for (uint32_t i = 0; i < instance->ranks.count; i++) {
        const struct rank_record *rank = &instance->ranks.items[i];
        if (!sends_to(runner, instance, i))
            continue;
        struct link_options options = {.role = LINK_CONNECT,
                                       .server_key = rank->runner_key,
                                       .message_size_max = RUNNER_LINK_MESSAGE_MAX};
        char address[ADDRESS_SIZE_MAX];
        fabric_address(rank, &runner->session.mirror.node_id, rank->runner_address, address);
        (void)snprintf(options.endpoint, sizeof(options.endpoint), "%.127s", address);
        outbox_link_open(runner->outbox, RUNNER_LINK_SIBLING + i, &options);
    }
}

uint32_t runner_sibling_unreached(const struct runner *runner)
{
    const struct instance_record *instance = runner_instance(runner);
    for (uint32_t i = 0; instance && i < instance->ranks.count; i++)
        if (sends_to(runner, instance, i) && !(runner->siblings_up & (UINT64_C(1) << i)))
            return i;
    return RANK_COUNT_MAX;
}

bool runner_siblings_reached(const struct runner *runner)
{
    return runner_instance(runner) && runner_sibling_unreached(runner) == RANK_COUNT_MAX;
}

bool runner_siblings_loaded(const struct runner *runner)
{
    const struct instance_record *instance = runner_instance(runner);
    if (!instance)
        return false;
    for (uint32_t i = 0; i < instance->ranks.count; i++)
        if (i != runner->settings->rank && (instance->ranks.items[i].status < RANK_LOADED ||
                                            instance->ranks.items[i].status == RANK_FAILED))
            return false;
    return true;
}

bool runner_siblings_ready(const struct runner *runner)
{
    return runner->are_links_open && runner_siblings_reached(runner) &&
           runner_siblings_loaded(runner);
}

bool runner_is_sibling(const struct runner *runner, const struct public_key *key,
                       uint32_t *rank_out)
{
    const struct instance_record *instance = runner_instance(runner);
    for (uint32_t i = 0; instance && i < instance->ranks.count; i++) {
        if (i != runner->settings->rank && ID_EQUAL(instance->ranks.items[i].runner_key, *key)) {
            *rank_out = i;
            return true;
        }
    }
    return false;
}

enum status runner_sibling_message(struct runner *runner, const struct message *message)
{
    if (!message_is(message, MESSAGE_LINK, LINK_STEP_PLANNED) &&
        !message_is(message, MESSAGE_LINK, LINK_HIDDEN_SENT))
        return STATUS_OK;
    struct message *copy = memory_zeroed(1, sizeof(*copy));
    if (!copy || message_copy(message, copy) != STATUS_OK) {
        memory_free(copy);
        return STATUS_NO_MEMORY;
    }
    runner->has_spoken = true;
    runner_watch(runner);
    outbox_effect(runner->outbox, 0, EFFECT_ENGINE_STEP, copy, runner_message_free);
    return STATUS_OK;
}

void runner_sibling_word(struct runner *runner, const struct sibling_word *word)
{
    const struct instance_record *instance = runner_instance(runner);
    for (uint32_t i = 0; instance && i < instance->ranks.count; i++) {
        if (!sends_to(runner, instance, i) || (word->rank != RANK_COUNT_MAX && word->rank != i))
            continue;
        const struct peer peer = peer_of_link(RUNNER_LINK_SIBLING + i);
        runner->has_spoken = true;
        outbox_send(runner->outbox, &peer, &word->message);
    }
}
