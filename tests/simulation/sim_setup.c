/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/simulation/sim.h"

#include "actors/planner/planner.h"
#include "protocol/memory.h"

#include <sodium.h> /* keys that follow from the seed */
#include <stdio.h>
#include <string.h>

static void make_identity(struct sim *sim, struct identity *identity)
{
    uint8_t seed[crypto_sign_SEEDBYTES];
    seeded_fill(&sim->seeded, seed, sizeof(seed));
    seeded_fill(&sim->seeded, &identity->transport_pair, sizeof(identity->transport_pair));
    ASSERT(crypto_sign_seed_keypair(identity->sign_key.bytes, identity->sign_secret, seed) == 0);
    identity->node =
        identity_node_id(&identity->transport_pair.public_key, &identity->sign_key);
}

static void make_token(struct sim *sim, struct sim_node *node)
{
    uint8_t statement[16 + 32 + 16 + 32];
    node->has_token = true;
    node->token = (struct join_token){.cluster = sim->cluster,
                                      .master_key =
                                          sim->nodes[0].identity.transport_pair.public_key,
                                      .expires_ms = SIM_WALL_MS + 60000,
                                      .address_count = 1};
    seeded_fill(&sim->seeded, &node->token.pair, sizeof(node->token.pair));
    (void)snprintf(node->token.addresses[0], LINK_ENDPOINT_SIZE, "tcp://n0:1");
    memcpy(statement, &sim->cluster, 16);
    memcpy(statement + 16, &node->token.pair.public_key, 32);
    memcpy(statement + 48, &node->identity.node, 16);
    memcpy(statement + 64, &node->identity.transport_pair.public_key, 32);
    ASSERT(identity_sign(&node->identity, "join", statement, sizeof(statement),
                         &node->settings.join_signature) == STATUS_OK);
}

static void make_settings(struct sim *sim, uint32_t at)
{
    struct sim_node *node = &sim->nodes[at];
    char name[16];
    (void)snprintf(name, sizeof(name), "n%u", at);
    node->settings = (struct master_settings){.node_id = node->identity.node,
                                              .key = node->identity.transport_pair.public_key,
                                              .sign_key = node->identity.sign_key,
                                              .cluster_id = sim->cluster,
                                              .lease_ms = 1000,
                                              .beat_ms = 250,
                                              .view_timeout_ms = 1000};
    (void)snprintf(node->settings.listen, sizeof(node->settings.listen), "n%u:1", at);
    ASSERT(networks_parse("127.0.0.0/8", &node->settings.trusted, NULL) == STATUS_OK);
    struct node_record *self = &node->settings.self;
    self->machine_id.bytes[0] = (uint8_t)(at + 1);
    self->cores = 4;
    self->memory_bytes = UINT64_C(8) << 30;
    ASSERT(text_set(&self->name, name) && text_set(&self->fabric, "127.0.0.1") &&
           text_set(&self->http, "127.0.0.1:0") && text_set(&self->build, "test"));
}

static void make_processes(struct sim *sim, uint32_t at)
{
    static const enum actor_kind kinds[SIM_ROLE_COUNT] = {
        [SIM_MASTER] = ACTOR_MASTER,         [SIM_PLANNER] = ACTOR_PLANNER,
        [SIM_SUPERVISOR] = ACTOR_SUPERVISOR, [SIM_DOWNLOADER] = ACTOR_DOWNLOADER,
        [SIM_TRANSFERER] = ACTOR_TRANSFERER, [SIM_CLIENT] = ACTOR_CLIENT};
    struct sim_node *node = &sim->nodes[at];
    for (uint32_t role = 0; role < SIM_ROLE_COUNT; role++) {
        struct sim_process *process = &node->processes[role];
        node->sessions[role] = (struct session_settings){
            .actor = kinds[role], .build = "test", .wants_events = role != SIM_CLIENT};
        if (role == SIM_TRANSFERER)
            seeded_fill(&sim->seeded, &node->sessions[role].key, sizeof(struct public_key));
        outbox_init(&process->outbox);
        if (role == SIM_MASTER) {
            process->ops = &master_ops;
            process->settings = &node->settings;
            continue;
        }
        if (role == SIM_PLANNER) {
            process->ops = &planner_ops;
            process->settings = &node->sessions[role];
            continue;
        }
        struct toy_settings *toy = memory_zeroed(1, sizeof(*toy));
        ASSERT(toy != NULL);
        *toy = (struct toy_settings){sim, at, (enum sim_role)role};
        process->ops = role == SIM_CLIENT ? &toy_client_ops : &toy_worker_ops;
        process->settings = toy;
    }
}

struct sim *sim_create(uint64_t seed, uint32_t node_count)
{
    struct sim *sim = memory_zeroed(1, sizeof(*sim));
    ASSERT(sim != NULL && node_count <= SIM_NODES_MAX);
    sim->seeded.state = seed;
    sim->node_count = node_count;
    sim->now_ms = 1000;
    sim->delay_max_ms = 8;
    seeded_fill(&sim->seeded, &sim->cluster, sizeof(sim->cluster));
    for (uint32_t i = 0; i < node_count; i++) {
        struct sim_node *node = &sim->nodes[i];
        node->disk = memory_disk_create();
        node->memory_free = UINT64_C(4) << 30;
        make_identity(sim, &node->identity);
        make_settings(sim, i);
        make_processes(sim, i);
        if (i > 0)
            make_token(sim, node);
    }
    return sim;
}

struct master *sim_master(struct sim *sim, uint32_t node)
{
    return sim->nodes[node].processes[SIM_MASTER].actor;
}

uint32_t sim_leader(struct sim *sim)
{
    uint32_t leader = UINT32_MAX;
    for (uint32_t i = 0; i < sim->node_count; i++) {
        const struct master *master = sim_master(sim, i);
        if (!master || !is_leader(master))
            continue;
        if (leader != UINT32_MAX)
            return UINT32_MAX;
        leader = i;
    }
    return leader;
}

bool sim_is_stable(struct sim *sim)
{
    uint32_t leader = sim_leader(sim);
    if (leader == UINT32_MAX)
        return false;
    struct master *lead = sim_master(sim, leader);
    for (uint32_t i = 0; i < sim->node_count; i++) {
        const struct master *master = sim_master(sim, i);
        if (!master || sim->nodes[i].processes[SIM_MASTER].frozen_until_ms > sim->now_ms)
            return false;
        const struct node_record *node =
            state_find_node(&lead->state, &sim->nodes[i].identity.node);
        if (!node || !node->in_view || master->committed == 0 ||
            (i != leader && !ID_EQUAL(master->leader, sim->nodes[leader].identity.node)))
            return false;
    }
    return lead->committed > 0;
}

void sim_settle(struct sim *sim, uint64_t ms)
{
    const uint64_t end_ms = sim->now_ms + ms;
    while (!sim->broken[0] && sim->now_ms < end_ms && !sim_is_stable(sim))
        sim_run(sim, 20);
    if (!sim_is_stable(sim))
        sim_break(sim, "the cluster did not come together within %llu ms",
                  (unsigned long long)ms);
}
