/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/simulation/scenario.h"

#include "tests/support/check_main.h"

#include <inttypes.h>
#include <string.h>

#define INSTANCE_MODEL "toy"

static void found(struct sim *sim)
{
    sim_start_node(sim, 0);
    sim_run(sim, 500);
    if (sim_client(sim, 0))
        scenario_quiet(sim, 0);
}

struct sim *scenario_found(uint64_t seed, uint32_t nodes)
{
    struct sim *sim = sim_create(seed, nodes);
    found(sim);
    return sim;
}

enum status scenario_token(struct sim *sim, uint32_t asked, uint32_t node, uint64_t life_ms)
{
    struct message command;
    ck_assert_int_eq(message_init(&command, MESSAGE_COMMAND, COMMAND_CREATE_TOKEN), STATUS_OK);
    struct create_token *body = command.body;
    body->key = sim->nodes[node].token.pair.public_key;
    body->expires_ms = SIM_WALL_MS + sim->now_ms + life_ms;
    return sim_ask_wait(sim, asked, &command);
}

void scenario_quiet(struct sim *sim, uint32_t node)
{
    sim_client(sim, node)->is_quiet = true;
}

static struct sim *join_all(struct sim *sim, uint32_t nodes)
{
    for (uint32_t i = 1; i < nodes && !sim->broken[0]; i++) {
        enum status status = scenario_token(sim, 0, i, 60000);
        if (status != STATUS_OK)
            sim_break(sim, "no token: %s", status_text(status));
        sim_start_node(sim, i);
        scenario_quiet(sim, i);
        for (int turn = 0; turn < 500 && !sim->broken[0]; turn++) {
            struct master *leader = sim_master(sim, 0);
            const struct node_record *node =
                state_find_node(&leader->state, &sim->nodes[i].identity.node);
            if (node && node->in_view)
                break;
            sim_run(sim, 20);
        }
    }
    sim_settle(sim, 20000);
    return sim;
}

struct sim *scenario_joined(uint64_t seed, uint32_t nodes)
{
    return join_all(scenario_found(seed, nodes), nodes);
}

struct sim *scenario_joined_by_majority(uint64_t seed, uint32_t nodes)
{
    struct sim *sim = sim_create(seed, nodes);
    for (uint32_t i = 0; i < nodes; i++)
        sim->nodes[i].settings.quorum = true;
    found(sim);
    return join_all(sim, nodes);
}

void scenario_done(struct sim *sim)
{
    char broken[sizeof(sim->broken)];
    memcpy(broken, sim->broken, sizeof(broken));
    sim_free(sim);
    ck_assert_msg(broken[0] == '\0', "%s", broken);
}

static void place(struct sim *sim, uint32_t nodes_min, const struct node_id *only,
                  uint32_t only_count)
{
    struct message command;
    ck_assert_int_eq(message_init(&command, MESSAGE_COMMAND, COMMAND_ADD_MODEL), STATUS_OK);
    struct add_model *add = command.body;
    ck_assert(text_set(&add->model_id, INSTANCE_MODEL) && text_set(&add->path, "/models/toy"));
    enum status status = sim_ask_wait(sim, 0, &command);
    if (status != STATUS_OK)
        sim_break(sim, "the model was not taken: %s", status_text(status));
    for (int i = 0; i < 200 && sim_master(sim, 0)->state.models.count == 0; i++)
        sim_run(sim, 20);
    sim_run(sim, 3000); /* loads of all nodes are told */
    ck_assert_int_eq(message_init(&command, MESSAGE_COMMAND, COMMAND_PLACE_INSTANCE), STATUS_OK);
    struct place_instance *body = command.body;
    ck_assert(text_set(&body->model_id, INSTANCE_MODEL));
    body->any_sharding = true;
    body->nodes_min = nodes_min;
    ck_assert(!only || bytes_set(&body->node_ids, only, only_count * sizeof(*only)));
    status = sim_ask_wait(sim, sim->node_count - 1, &command);
    if (status != STATUS_OK)
        sim_break(sim, "the instance was not placed: %s", status_text(status));
}

void scenario_place(struct sim *sim, uint32_t nodes_min)
{
    place(sim, nodes_min, NULL, 0);
}

void scenario_place_on(struct sim *sim, uint32_t node)
{
    place(sim, 1, &sim->nodes[node].identity.node, 1);
}

void scenario_place_on_two(struct sim *sim, uint32_t first, uint32_t second)
{
    const struct node_id nodes[] = {sim->nodes[first].identity.node,
                                    sim->nodes[second].identity.node};
    place(sim, 2, nodes, 2);
}

bool scenario_is_ready(struct sim *sim)
{
    uint32_t leader = sim_leader(sim);
    if (leader == UINT32_MAX)
        return false;
    const struct state *state = &sim_master(sim, leader)->state;
    for (uint32_t i = 0; i < state->instances.count; i++)
        if (state->instances.items[i].status != INSTANCE_READY)
            return false;
    return true;
}

void scenario_wait_ready(struct sim *sim, uint64_t ms)
{
    const uint64_t end_ms = sim->now_ms + ms;
    while (!sim->broken[0] && sim->now_ms < end_ms && !scenario_is_ready(sim))
        sim_run(sim, 50);
    if (scenario_is_ready(sim))
        return;
    uint32_t leader = sim_leader(sim);
    const struct state *state = leader == UINT32_MAX ? NULL : &sim_master(sim, leader)->state;
    sim_break(sim, "the instance did not come back within %" PRIu64 " ms: %s: %s", ms,
              state ? instance_status_name(state->instances.items[0].status) : "no leader",
              state ? text_or_empty(state->instances.items[0].last_reason) : "");
}

/* What must hold when nothing happens any more. */
void scenario_check_rest(struct sim *sim)
{
    sim_settle(sim, 20000);
    scenario_wait_ready(sim, 60000);
    for (uint32_t i = 0; i < sim->node_count && !sim->broken[0]; i++)
        if (sim_client(sim, i))
            scenario_quiet(sim, i);
    sim_run(sim, 8000);
    if (sim->broken[0])
        return;
    uint64_t index = sim_master(sim, 0)->state.index;
    sim_run(sim, 20000);
    for (uint32_t i = 0; i < sim->node_count && !sim->broken[0]; i++) {
        const struct master *master = sim_master(sim, i);
        if (master->state.index != index || master->committed != index)
            sim_break(sim, "node %u is at %" PRIu64 " of %" PRIu64 " (committed %" PRIu64 ")", i,
                      master->state.index, index, master->committed);
        for (uint32_t k = 0; k < sim->acknowledged_count; k++) {
            const struct sim_acknowledged *known = &sim->acknowledged[k];
            uint64_t at = state_find_command(&master->state, &known->key);
            if (at != known->index)
                sim_break(sim, "command acknowledged at %" PRIu64 " is at %" PRIu64 " on node %u",
                          known->index, at, i);
        }
    }
}
