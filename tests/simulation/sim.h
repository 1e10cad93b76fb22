/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim: whole clusters in one process, over virtual time.
 *
 * Every actor is stepped by its real step function; masters write to a disk in memory through their
 * real shell.  The network delays, and breaks connections: what was on the way is then lost, what
 * arrives arrives in order, as over TCP.  All chance comes from one seed.
 *
 * Owner    a test.
 * Memory   everything is given back by sim_free.
 * Threads  one.
 */
#ifndef TROUPE_TESTS_SIMULATION_SIM_H
#define TROUPE_TESTS_SIMULATION_SIM_H

#include "actors/master/shell.h"
#include "runtime/session.h"
#include "tests/support/memory_disk.h"
#include "tests/support/seeded.h"

#define SIM_NODES_MAX 4u
#define SIM_LINKS_MAX 80u
#define SIM_CONNECTIONS_MAX 256u
#define SIM_INDEX_MAX 20000u
#define SIM_WALL_MS UINT64_C(1800000000000)

enum sim_role {
    SIM_MASTER,
    SIM_PLANNER,
    SIM_SUPERVISOR,
    SIM_DOWNLOADER,
    SIM_TRANSFERER,
    SIM_CLIENT,
    SIM_ROLE_COUNT
};

struct sim_link {
    bool is_open;
    struct link_options options;
    struct public_key allowed[256];
    size_t allowed_count;
    uint32_t connection; /* of a connecting link; 0: none */
    uint64_t tries;      /* so that an attempt of an earlier opening does nothing */
};

struct sim_process {
    const struct actor_ops *ops;
    const void *settings;
    void *actor; /* NULL: not running */
    struct outbox outbox;
    uint64_t life; /* counts starts: what was meant for an earlier one is dropped */
    uint64_t wake_at_ms;
    uint64_t frozen_until_ms;
    bool sync_is_due;
    bool was_exit;
    struct sim_link links[SIM_LINKS_MAX];
};

struct sim_connection {
    bool is_used;
    bool is_up;         /* both ends know */
    uint32_t client;    /* process */
    uint32_t client_link;
    uint32_t server;
    uint32_t server_link;
    uint64_t serial;
    struct public_key key;   /* of the client */
    bool server_knows;       /* it had its LINK_UP */
    uint64_t last_ms[2];     /* when the last message of each direction arrives */
};

struct sim_node {
    struct identity identity;
    struct memory_disk *disk;
    struct master_settings settings;
    struct state state;
    struct master_shell shell;
    struct join_token token;
    bool has_token;
    struct session_settings sessions[SIM_ROLE_COUNT];
    struct sim_process processes[SIM_ROLE_COUNT];
    char told[4096]; /* the sentences for people, a line each */
    uint64_t memory_free;
    bool keeps_little; /* its log retires all but the last few events */
    char held[8][32]; /* the models that its downloader finds on the disk */
    uint32_t held_count;
    uint8_t lost; /* weight files that went from its disk since: a bit for each of the model's */
    enum status import_status; /* how taking in a model ends; BUSY: never */
    enum status copy_status; /* how a copy to this node ends; BUSY: it never does */
};

struct sim_event;

/* A command of a client that was accepted. */
struct sim_acknowledged {
    struct command_key key;
    uint64_t index;
};

struct sim {
    struct seeded seeded;
    uint64_t now_ms;
    uint64_t serial;
    struct sim_event *events;
    size_t event_count;
    size_t event_capacity;
    uint32_t node_count;
    struct sim_node nodes[SIM_NODES_MAX];
    struct sim_connection connections[SIM_CONNECTIONS_MAX];
    bool is_cut[SIM_NODES_MAX][SIM_NODES_MAX];
    uint32_t delay_max_ms;
    struct cluster_id cluster;
    struct key_pair token_pair;
    /* what must hold */
    struct hash committed[SIM_INDEX_MAX];
    struct hash hashes[SIM_INDEX_MAX];
    uint64_t seen[SIM_NODES_MAX]; /* committed index checked of the present life */
    uint64_t committed_last;
    struct sim_acknowledged acknowledged[SIM_INDEX_MAX];
    uint32_t acknowledged_count;
    uint64_t slowest_answer_ms;
    bool is_split; /* each half commits events of its own: they are not compared */
    char broken[512]; /* the first invariant that did not hold */
};

struct sim *sim_create(uint64_t seed, uint32_t node_count);
void sim_free(struct sim *sim);
/* Runs all that happens in the next `ms`; stops early when an invariant is broken. */
void sim_run(struct sim *sim, uint64_t ms);
void sim_break(struct sim *sim, const char *format, ...) PRINTF_LIKE(2, 3);

/* All processes of a node, or one. */
void sim_start_node(struct sim *sim, uint32_t node);
void sim_start(struct sim *sim, uint32_t node, enum sim_role role);
/* The process dies; with `is_power` the machine does: what was not synced is lost in part. */
void sim_kill(struct sim *sim, uint32_t node, enum sim_role role);
void sim_kill_node(struct sim *sim, uint32_t node, bool is_power);
/* Flips a bit at `offset`, modulo its size, of the node's first segment (counted from its end when
 * negative), while the node is down. */
void sim_damage(struct sim *sim, uint32_t node, int64_t offset);
void sim_freeze(struct sim *sim, uint32_t node, enum sim_role role, uint64_t ms);
/* No packet between two nodes until healed; connections break. */
void sim_cut(struct sim *sim, uint32_t a, uint32_t b, bool is_cut);

struct master *sim_master(struct sim *sim, uint32_t node);
/* What a toy of the node holds of the state. */
struct state *sim_mirror(struct sim *sim, uint32_t node, enum sim_role role);
/* The node that leads and whose view holds every running node; UINT32_MAX: none. */
uint32_t sim_leader(struct sim *sim);
/* Every node runs, one leads, all are in its view and have its whole log. */
bool sim_is_stable(struct sim *sim);
/* Runs until stable; breaks when that takes longer than `ms`. */
void sim_settle(struct sim *sim, uint64_t ms);

/* ---- toys.c: supervisor, downloader, transferer and client as models ---- */
extern const struct actor_ops toy_worker_ops;
extern const struct actor_ops toy_client_ops;
/* What the toys need to know. */
struct toy_settings {
    struct sim *sim;
    uint32_t node;
    enum sim_role role;
};
struct toy_client {
    struct session session;
    const struct toy_settings *settings;
    bool is_waiting;
    struct command_key key;
    uint64_t asked_ms;  /* first time */
    uint64_t sent_ms;   /* of the present connection */
    uint64_t next_ms;
    struct message command;
    uint64_t answered;
    uint64_t refused;
    enum status last_status;
    uint64_t last_index;
    char last_reason[SENTENCE_SIZE_MAX];
    bool is_quiet;      /* asks nothing by itself */
    bool is_repeating;  /* sends each command twice */
};
struct toy_client *sim_client(struct sim *sim, uint32_t node);
/* Gives the client a command to send (moved); false when it is busy. */
bool sim_ask(struct sim *sim, uint32_t node, struct message *command);
/* Asks and runs until the answer; the status. */
enum status sim_ask_wait(struct sim *sim, uint32_t node, struct message *command);
/* Every runner of that node dies by a signal. */
void sim_kill_runners(struct sim *sim, uint32_t node);

#endif
