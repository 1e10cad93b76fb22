/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/instance_wait.h"

#include <stdio.h>

/* Its place in the order of a start. */
static uint32_t progress_of(const struct instance_record *instance, const struct rank_record *rank)
{
    if (instance->ranks.count > 1 && text_or_empty(rank->launcher_address)[0] == '\0')
        return 0;
    return text_or_empty(rank->runner_address)[0] == '\0' ? 1 : 2 + rank->status;
}

/* The rank that is least far; of several the lowest, but one whose node is away before all. */
static uint32_t rank_behind(const struct state *state, const struct instance_record *instance,
                            const struct node_record **away_out)
{
    uint32_t behind = 0;
    for (uint32_t i = 0; i < instance->ranks.count; i++) {
        const struct rank_record *rank = &instance->ranks.items[i];
        const struct node_record *node = state_find_node(state, &rank->node_id);
        if (rank->status != RANK_RELEASED && node && !node->in_view) {
            *away_out = node;
            return i;
        }
        if (progress_of(instance, rank) <
            progress_of(instance, &instance->ranks.items[behind]))
            behind = i;
    }
    return behind;
}

static const char *waited_for(const struct instance_record *instance,
                              const struct rank_record *rank)
{
    const uint32_t progress = progress_of(instance, rank);
    if (progress < 2)
        return progress == 0 ? "whose launcher has not come yet" : "whose runner has not come yet";
    switch ((enum rank_status)rank->status) {
    case RANK_PLACED:
    case RANK_ADDRESSED:
        return instance->ranks.count > 1 ? "which has not joined the others yet"
                                         : "which has not begun to load yet";
    case RANK_JOINED:
    case RANK_LOADING:
        return "which is loading";
    case RANK_LOADED:
        return "which computes a first step";
    case RANK_READY:
    case RANK_FAILED:
    case RANK_RELEASED:
    case RANK_STATUS_END:
        break;
    }
    return "which is about to be ready";
}

static bool start_waits_for(const struct state *state, const struct instance_record *instance,
                            char text_out[SENTENCE_SIZE_MAX])
{
    const struct node_record *away = NULL;
    const uint32_t behind = rank_behind(state, instance, &away);
    if (instance->ranks.count == 0)
        return false;
    const struct rank_record *rank = &instance->ranks.items[behind];
    const struct node_record *node = state_find_node(state, &rank->node_id);
    (void)snprintf(text_out, SENTENCE_SIZE_MAX, "rank %u on %.60s, %s", behind,
                   node ? text_or_empty(node->name) : "a removed node",
                   away ? "whose node is away" : waited_for(instance, rank));
    return true;
}

bool instance_waits_for(const struct state *state, const struct instance_record *instance,
                        char text_out[SENTENCE_SIZE_MAX])
{
    text_out[0] = '\0';
    switch ((enum instance_status)instance->status) {
    case INSTANCE_STARTING:
        return start_waits_for(state, instance, text_out);
    case INSTANCE_WAITING:
        (void)snprintf(text_out, SENTENCE_SIZE_MAX, "another start, after: %.400s",
                       text_or_empty(instance->last_reason));
        return true;
    case INSTANCE_COPYING:
    case INSTANCE_DOWNLOADING:
    case INSTANCE_READY:
    case INSTANCE_FAILED:
    case INSTANCE_STATUS_END:
        break;
    }
    return false;
}
