/* SPDX-License-Identifier: Apache-2.0 */
/*
 * master: the order of events.  Every node has one; one of them leads.
 *
 * Accepts  hello, commands, reports, tasks, signals of local actors and clients; joins; the
 *          conversation of masters (candidacy, beats, records); results of its effects.
 * Emits    events, answers, welcome and snapshots to local actors; records and beats to masters.
 * Owner    runtime/loop.h; pure: leadership.c, replication.c, requests.c, locals.c, duties.c.
 * Memory   the state, the records of the last RECENT_COUNT_MAX events, one slot per node and local.
 * Threads  one.
 * Fails    a step fails only when the state in memory may not be trusted any more (no memory, cut
 *          below what was applied): the process then ends and reads its log again.
 *
 * The leader applies an event when it appends it and publishes it when it is committed; a follower
 * applies when it is committed.  What was on disk at the start is applied, but counts as committed
 * only when a leader says so.  A master whose applied events are not in the leader's log cuts them,
 * ends and reads its log again.
 */
#ifndef TROUPE_ACTORS_MASTER_MASTER_H
#define TROUPE_ACTORS_MASTER_MASTER_H

#include "actors/master/link_measure.h"
#include "actors/master/placement.h"
#include "protocol/state.h"
#include "runtime/actor.h"
#include "runtime/event_log.h"
#include "runtime/identity.h"
#include "runtime/interface.h"
#include "runtime/network.h"
#include "runtime/pace_view.h"

#define RECENT_COUNT_MAX 4096
#define LOCAL_COUNT_MAX 256
#define PENDING_COUNT_MAX 4096
#define INTERFACE_TEXT_SIZE 256

/* Links.  LINK_NODE_FIRST + slot is our connection to the master of another node. */
enum master_link { MASTER_LINK_LOCAL = 1, MASTER_LINK_PEERS, MASTER_LINK_JOIN, MASTER_LINK_NODE };
/* ... and from here on, for each slot, to its other addresses: link_ways.c. */
#define MASTER_LINK_WAY (MASTER_LINK_NODE + NODE_COUNT_MAX)

enum master_effect {
    EFFECT_LOG_APPEND = 1, /* struct log_write: records made by this leader */
    EFFECT_LOG_COPY,       /* struct log_write: records of the leader */
    EFFECT_LOG_READ,       /* struct log_question -> struct records_sent */
    EFFECT_LOG_CHAIN,      /* struct log_question -> struct event_stamp */
    EFFECT_LOG_TRUNCATE,   /* struct log_question */
    EFFECT_LOG_INSTALL,    /* struct event_snapshot; the process then reads its log again */
    EFFECT_EPOCH_WRITE,    /* struct epoch; done before anything that stands after it is sent */
    EFFECT_SNAPSHOT_WRITE, /* struct state_write */
    EFFECT_PROBE,          /* nothing -> struct node_load */
    EFFECT_INTERFACES,     /* nothing -> struct interface_offers */
    EFFECT_NODES_WRITE,    /* struct known_nodes: whom to ask when the log is damaged one day */
    RESULT_LOG_SYNCED,     /* unasked, after a batch: struct log_synced */
    RESULT_LOG_FULL        /* unasked: the disk is full; what waits goes on waiting */
};

struct log_write {
    struct epoch epoch;
    struct log_record record; /* of an append the chain is not known yet */
    uint32_t kind;
};

struct log_question {
    uint64_t index;
    uint32_t count;
    struct node_id node; /* for whom it is asked */
};

struct log_synced {
    struct event_stamp *stamps; /* of the records made durable, in order; owned */
    uint32_t count;
    bool is_damaged; /* events before the acknowledged length are still missing */
};

struct state_write {
    uint64_t index;
    struct buffer bytes;
    struct hash hash;
};

/* Whom a node with a damaged log may ask. */
struct known_node {
    struct node_id node_id;
    struct public_key key;
    char address[LINK_ENDPOINT_SIZE];
};

struct known_nodes {
    struct known_node items[NODE_COUNT_MAX];
    uint32_t count;
};

/* What main found before the first step. */
struct master_settings {
    struct node_id node_id;
    struct public_key key;
    struct public_key sign_key;
    struct cluster_id cluster_id; /* of the log, of the token, or fresh for a new cluster */
    uint64_t incarnation;
    struct node_record self;     /* name, machine, cores, memory, fabric, http, build */
    char listen[INTERFACE_TEXT_SIZE];
    bool is_bound; /* `listen` is open already, as MASTER_LINK_PEERS */
    char advertise[INTERFACE_TEXT_SIZE]; /* empty: the bound endpoint */
    uint64_t lease_ms;
    uint64_t beat_ms;
    uint64_t view_timeout_ms;
    uint64_t snapshot_every; /* events between snapshots; 0: 4096 */
    bool quorum;
    struct networks trusted; /* where MPI may travel */
    bool may_rdma;           /* past TCP, where there are devices for it */
    struct interface_offers offers; /* the addresses of this machine that others may try */
    bool watches_interfaces;        /* they are read again while it runs */
    struct placement_settings placement;
    const struct join_token *join; /* NULL: found a cluster when there is none */
    struct signature join_signature;
    const struct identity *identity; /* signs what this node took in; NULL: nothing is signed */
    struct state *state;           /* as recovered; moved into the actor */
    struct event_stamp tail;       /* of the log */
    struct epoch promised;         /* of the epoch file or the log, the higher */
    /* A damaged log: what it lacks, up to lost_index (0: it is whole), must come from a peer. */
    uint64_t lost_index;
    bool needs_state;              /* even the beginning is lost: only a snapshot helps */
    struct known_nodes known;      /* whom to ask for it */
};

#define FULL_SENTENCE                                                                              \
    "the disk of the event log is full; free some space, then send it again"

enum master_role { ROLE_FOLLOWER, ROLE_CANDIDATE, ROLE_LEADER };

/* An event that is not yet everywhere. */
struct recent {
    struct log_record record; /* body: the encoded event */
    bool has_chain;
};

/* Another node, as this master knows it. */
struct node_slot {
    struct node_id node_id;
    struct public_key key;
    char address[LINK_ENDPOINT_SIZE]; /* we connect to */
    char told[LINK_ENDPOINT_SIZE];    /* of the state; the one above may be another of its own */
    uint64_t down_ms;                 /* our connection is not up since then */
    uint32_t link;
    bool is_used;
    bool is_hint;        /* not known from the state: stays until the log is whole */
    bool is_up;          /* our connection to it */
    uint64_t heard_ms;   /* last word of it; 0: never in this epoch */
    /* as leader */
    bool tail_known;     /* it told its tail in this epoch and it is a prefix of ours */
    uint64_t synced;     /* on its disk */
    uint64_t sent;       /* records up to here are on the way */
    uint64_t common_low, common_high; /* search for the common prefix: low is common */
    bool searching;
    bool low_is_guess;   /* low is before the beginning of either log: not known to be common */
    uint64_t told_index; /* what it said about its log last */
    struct hash told_chain;
    bool told_known;
    bool snapshot_sent;  /* wait for it to come back with a longer log */
    uint64_t count_answered;
    bool is_parting;     /* its log has a branch: the next records say where to cut */
    uint32_t odd_beats;  /* in a row, with a tail that is not ours */
    uint64_t tail_index; /* what it said of its tail when the comparing began */
    struct hash tail_chain;
    bool is_reading;     /* records for it are being read from the disk */
    uint64_t moved_ms;   /* when its disk last gained on ours, or had all */
    struct peer inbound; /* its connection to us, used while ours to it is not up */
    bool has_inbound;
    /* as candidate */
    bool has_answered;
    struct candidacy answer;
};

/* A connection of an actor or client of this node, or of a remote client. */
struct local {
    struct peer peer;
    bool is_used;
    bool is_remote;
    uint32_t role; /* of a remote client */
    uint32_t actor;
    uint64_t incarnation;
    struct public_key key;            /* of its own sockets; zero: it has none */
    char address[ADDRESS_SIZE_MAX + 1];
    uint64_t report_at_ms;            /* its address is told again then */
    bool wants_events;
    bool wants_snapshot;
    uint64_t sent; /* last event sent */
};

/* A command or report on its way to becoming an event and back. */
struct pending {
    struct peer peer;         /* who asked: a local, a joiner... */
    bool is_from_node;        /* ... or a follower, on behalf of one */
    struct node_id node;
    uint64_t ticket;
    struct envelope head;     /* key, kind, incarnation and sequence of what was asked */
    uint64_t index;           /* its event; 0: not decided yet, waits for a leader */
    uint8_t *bytes;           /* the message, while it waits for a leader */
    size_t size;
    uint64_t deadline_ms;
    uint64_t own_ticket;      /* under which the leader knows it; 0: not forwarded */
    uint64_t again_ms;        /* when it is passed on again, unless answered */
};

/* When an instance last moved, and which nodes told their load, in this epoch. */
struct progress {
    struct instance_id instance_id;
    uint64_t changed_index;
    uint64_t moved_ms;
};

struct load {
    struct node_id node_id;
    struct node_load load; /* without its kernels, which are here: */
    struct kernel_rate kernels[KERNEL_RATE_COUNT_MAX];
    uint32_t kernel_count;
    uint64_t heard_ms;
};

/* What another node told of its links last. */
struct links_heard {
    struct links_measured row;
    uint64_t heard_ms; /* 0: nothing yet */
};

/* One of a node's addresses beside the one we are connected to. */
struct link_way {
    char host[INTERFACE_ADDRESS_SIZE + 2];
    struct link_measure measure;
    bool is_up;
};

struct node_ways {
    struct node_id node_id;
    char hosts[SENTENCE_SIZE_MAX]; /* as its record had them when these were opened */
    char address[LINK_ENDPOINT_SIZE]; /* that is not among them */
    struct link_way items[ADDRESS_OFFER_COUNT_MAX];
    uint32_t count;
};

/* By slot. */
struct links {
    struct node_ways ways[NODE_COUNT_MAX];
    struct interface_offers offers; /* our own, as read last */
    bool are_offers_settled;        /* ... twice the same */
    uint32_t own;                   /* of these, the one most others reach */
    uint32_t own_next;              /* what it would be by the last look */
    uint64_t read_at_ms;            /* when they are read again */
    struct link_measure measures[NODE_COUNT_MAX];
    struct links_heard heard[NODE_COUNT_MAX];
    uint64_t turn_at_ms;
    uint64_t tell_at_ms; /* 0: not */
    uint64_t number;     /* of the last echo */
};

struct master {
    const struct master_settings *settings;
    struct state state;
    enum master_role role;
    struct epoch epoch;      /* highest promised; on disk */
    struct node_id leader;   /* zero: none known */
    uint64_t lease_until_ms; /* of the leader we follow */
    uint64_t ask_at_ms;      /* when to become a candidate */
    uint64_t contact_until_ms; /* after a start: nodes that do not answer yet may still come up */
    uint64_t decide_at_ms;   /* candidate: when the answers are counted */
    uint64_t beat_at_ms;
    uint64_t beat_count;
    uint64_t last_tick_ms;
    bool had_peers;          /* at the last tick: it should have woken to beat */
    uint64_t probe_at_ms;
    uint64_t describe_at_ms; /* when to tell the cluster about this node, if it changed */
    uint64_t join_at_ms;
    uint32_t join_turn;      /* address of the token that is tried */
    uint64_t snapshot_index; /* last snapshot written or begun */

    struct event_stamp tail; /* last durable record */
    uint64_t committed;
    uint64_t matched;            /* follower: our log equals the leader's up to here */
    struct recent recent[RECENT_COUNT_MAX]; /* ring; recent_first is its lowest index */
    uint64_t recent_first;
    uint32_t recent_count;

    struct node_slot nodes[NODE_COUNT_MAX];
    struct local locals[LOCAL_COUNT_MAX];
    struct pending pending[PENDING_COUNT_MAX];
    uint32_t pending_count;
    uint64_t ticket_next;
    struct progress progress[INSTANCE_COUNT_MAX];
    struct load loads[NODE_COUNT_MAX];
    uint32_t load_count;
    struct links links;
    struct pace_table paces;     /* of instances on any node */
    struct buffer incoming;      /* snapshot parts of a leader */
    struct event_stamp incoming_stamp;

    char endpoint[LINK_ENDPOINT_SIZE]; /* bound for other masters */
    uint64_t sequence;           /* of our own reports */
    struct command_key join_key;
    struct public_key allowed[NODE_COUNT_MAX + TOKEN_COUNT_MAX + CLIENT_COUNT_MAX];
    uint32_t allowed_count;
    bool is_started;
    bool disk_is_full;
    struct known_nodes known; /* as written beside the log */
    uint64_t lost_index; /* damaged log: events up to here are asked for; 0: it is whole */
    uint64_t repair_at_ms; /* when the others are asked again; 0: not */
    bool needs_state;    /* ... and it holds no beginning that records could continue */
    uint64_t refused_count;      /* nonsense of peers */

    /* of the step that runs */
    const struct input *input;
    struct outbox *outbox;
    struct reason *reason;
};

extern const struct actor_ops master_ops;

/* ---- leadership.c ---- */
void leadership_start(struct master *master);
/* Before anything else of a step: a leader that slept too long leads no more. */
void leadership_check_lease(struct master *master);
void leadership_tick(struct master *master);
MUST_CHECK enum status leadership_candidacy(struct master *master, struct node_slot *slot,
                                            const struct message *message);
/* A word of a leader came with this epoch: false when it is to be refused. */
MUST_CHECK enum status leadership_hear(struct master *master, struct node_slot *slot,
                                       const struct epoch *epoch, bool *accepted_out);
/* A peer knows of a higher epoch than ours. */
MUST_CHECK enum status leadership_yield(struct master *master, const struct epoch *epoch);
bool leader_is_known(const struct master *master);
/* NULL when this node leads or nobody does. */
struct node_slot *leader_slot(struct master *master);

/* ---- replication.c ---- */
/* Leader: makes the event durable, applies it; `event` keeps its body, gets index and time. */
MUST_CHECK enum status replication_append(struct master *master, struct message *event);
MUST_CHECK enum status replication_beat(struct master *master, struct node_slot *slot,
                                        const struct message *message);
MUST_CHECK enum status replication_follower_beat(struct master *master, struct node_slot *slot,
                                                 const struct message *message);
MUST_CHECK enum status replication_records(struct master *master, struct node_slot *slot,
                                           const struct message *message);
MUST_CHECK enum status replication_snapshot_part(struct master *master, struct node_slot *slot,
                                                 const struct message *message);
MUST_CHECK enum status replication_chain(struct master *master, struct node_slot *slot,
                                         const struct message *message);
MUST_CHECK enum status replication_synced(struct master *master, const struct log_synced *synced);
MUST_CHECK enum status replication_result(struct master *master, struct result *result);
/* Leader: what is now held by all in the view is committed. */
MUST_CHECK enum status replication_commit(struct master *master);
void replication_send_beats(struct master *master);
/* Applies what a new leader has but did not know to be committed, waiting records too. */
MUST_CHECK enum status replication_apply_all(struct master *master);
struct recent *recent_find(struct master *master, uint64_t index);
/* Ids of the nodes the leader waits for, 16 bytes each. */
MUST_CHECK enum status view_ids(const struct master *master, const struct node_id *without,
                                const struct node_id *with, struct bytes *ids_out);
MUST_CHECK enum status view_check(struct master *master);
/* Are so many nodes enough to commit?  Always without `quorum`; else more than half of those that
 * were ever in the view: one that only just joined cannot be waited for by its own admission. */
bool majority_is(const struct master *master, uint32_t count);
/* The same of those heard of late, this one among them. */
bool majority_is_here(const struct master *master);

/* Sends what a follower lacks; a chain value from memory; a question to the disk. */
MUST_CHECK enum status replication_send(struct master *master, struct node_slot *slot);
bool replication_chain_at(struct master *master, uint64_t index, struct hash *chain_out);
void replication_ask_log(struct master *master, enum master_effect effect, uint64_t index,
                         uint32_t count, const struct node_slot *slot);
/* A message of records after slot->sent, without any yet; false without memory. */
MUST_CHECK bool records_begin(struct master *master, const struct node_slot *slot,
                              struct message *message);
/* Forgets the records after `index`. */
void recent_cut(struct master *master, uint64_t index);

/* A follower's word of where its log ends; a leader sends what comes after. */
void replication_tell_tail(struct master *master, struct node_slot *slot, uint64_t count);
/* The last record taken, on the disk or on its way there. */
uint64_t replication_last_index(const struct master *master);

/* ---- repair.c: a log that is damaged before its acknowledged length ---- */
void repair_start(struct master *master);
/* Keeps the other nodes' addresses where a damaged log does not take them away. */
void repair_note_nodes(struct master *master);
/* Asks the known nodes, unless a leader is heard, which sends what is missing unasked. */
void repair_tick(struct master *master);
/* Nothing is missing any more. */
void repair_end(struct master *master);
/* A beat of the leader: is its log shorter than ours was? */
void repair_compare(struct master *master, const struct leader_beat *beat);

/* ---- catch_up.c ---- */
/* The follower's tail: is it a prefix of our log? */
MUST_CHECK enum status catch_up_check_tail(struct master *master, struct node_slot *slot,
                                           const struct follower_beat *body);
MUST_CHECK enum status catch_up_chain_read(struct master *master, struct node_slot *slot,
                                           const struct event_stamp *stamp, enum status found);
MUST_CHECK enum status catch_up_records_read(struct master *master, struct node_slot *slot,
                                             struct records_sent *records, enum status found);

/* ---- requests.c ---- */
/* A command or report, from `peer` or forwarded by `slot` under `ticket`. */
MUST_CHECK enum status request_take(struct master *master, const struct message *message,
                                    struct node_slot *slot, uint64_t ticket);
MUST_CHECK enum status request_forwarded(struct master *master, struct node_slot *slot,
                                         const struct message *message);
MUST_CHECK enum status request_answered(struct master *master, const struct message *message);
/* Committed events answer who waits for them. */
void requests_committed(struct master *master);
/* There is a leader again, or another way to it: what waits is asked anew, in its order. */
MUST_CHECK enum status requests_retry(struct master *master);
MUST_CHECK enum status requests_tick(struct master *master);
void requests_forget_peer(struct master *master, const struct peer *peer);
/* Messages to that node were lost: what waits for it as leader is passed on again soon. */
void requests_again(struct master *master, const struct node_slot *slot);
/* A report of this master itself. */
MUST_CHECK enum status request_own(struct master *master, struct message *report);

/* ---- commands.c, reports.c: message to event, or a refusal ---- */
/* `event_out` is written when the status is OK and `*has_event_out`. */
MUST_CHECK enum status command_decide(struct master *master, const struct message *command,
                                      const struct peer *peer, struct message *event_out,
                                      bool *has_event_out, struct reason *reason);
MUST_CHECK enum status report_decide(struct master *master, const struct message *report,
                                     struct message *event_out, bool *has_event_out,
                                     struct reason *reason);
/* The next generation of an instance, placed anew on the nodes that are here. */
MUST_CHECK enum status generation_place(struct master *master,
                                        const struct instance_record *instance,
                                        struct message *event_out, struct reason *reason);
/* Answers ask_candidates. */
MUST_CHECK enum status command_candidates(struct master *master, const struct message *command,
                                          struct message *answer_out);

/* ---- locals.c ---- */
MUST_CHECK enum status local_hello(struct master *master, const struct message *message);
MUST_CHECK enum status local_message(struct master *master, struct local *local,
                                     const struct message *message);
struct local *local_find(struct master *master, const struct peer *peer);
void local_forget(struct master *master, const struct peer *peer);
MUST_CHECK enum status locals_tick(struct master *master);
void locals_publish(struct master *master);
/* `is_own`: of an actor of this node. */
void locals_signal(struct master *master, const struct message *signal, bool is_own);
void allow_refresh(struct master *master);
/* False when it cannot be sent now: something of it is not committed yet. */
bool send_snapshot(struct master *master, const struct peer *peer);

/* ---- links.c: which nodes reach each other ---- */
void links_tick(struct master *master);
uint64_t links_wake_ms(const struct master *master);
/* An echo of a node, or its answer. */
void links_message(struct master *master, struct node_slot *slot, const struct message *message);
/* Our connection to a node is up: it is asked soon. */
void links_up(struct master *master);
/* Our connection to it broke, or goes elsewhere. */
void links_lost(struct master *master, const struct node_slot *slot);
/* What that node told of its links. */
void links_take(struct master *master, const struct node_slot *slot,
                const struct links_measured *told);
/* Answers ask_links with what is known here. */
void links_answer(struct master *master, const struct peer *peer, const struct message *asked);
/* Appends what is known here; false without memory. */
MUST_CHECK bool links_list(struct master *master, struct links_listed *listed);
/* Something of ours is new: the others hear of it within moments. */
void links_tell_soon(struct master *master);
/* An actor of this node that connects to other nodes gets the row at once, and each later one. */
void links_tell_local(struct master *master, const struct peer *peer);
void links_fini(struct links *links);

/* ---- link_ways.c: the other addresses of a node, tried beside the one in use ---- */
void ways_tick(struct master *master);
uint64_t ways_wake_ms(const struct master *master);
/* Our connections to them. */
bool ways_link_changed(struct master *master, uint32_t link, bool is_up);
void ways_message(struct master *master, uint32_t link, const struct message *message);
MUST_CHECK bool ways_tell(struct master *master, const struct node_slot *slot,
                          struct link_measured *told);
/* Asks along all of them; `links_tick` says when. */
void ways_ask(struct master *master, struct node_slot *slot);
/* What this node's interfaces are was read again. */
void ways_offers_read(struct master *master, const struct interface_offers *offers);
/* Where other masters find this one. */
const char *ways_own_address(const struct master *master, char address_out[LINK_ENDPOINT_SIZE]);
/* All of them, best first, with commas between: as many as fit. */
const char *ways_all_addresses(const struct master *master, char addresses_out[ADDRESS_SIZE_MAX]);
/* "10.0.0.1 10.1.0.1" */
MUST_CHECK bool ways_describe(const struct master *master, struct node_record *node);
void slot_connect_to(struct master *master, struct node_slot *slot, const char *address);

/* ---- duties.c: what a leader does unasked ---- */
MUST_CHECK enum status duties_tick(struct master *master);
void duties_signal(struct master *master, const struct message *signal);
/* A new leader: what the last one may have left undone. */
MUST_CHECK enum status duties_begin(struct master *master);
/* After an event of a report: what follows from it at once. */
MUST_CHECK enum status duties_after(struct master *master, const struct message *event);
/* A generation of it is starting, with a rank on the node that cannot get these files. */
bool instance_waits_for_files(const struct instance_record *instance,
                              const struct small_files_failed *body);
MUST_CHECK enum status generation_fail(struct master *master, struct instance_record *instance,
                                       uint32_t rank, const char *text);

/* ---- master.c ---- */
struct node_slot *slot_find(struct master *master, const struct node_id *node_id);
struct node_slot *slot_find_key(struct master *master, const struct public_key *key);
/* Slots follow the nodes of the state. */
void slots_refresh(struct master *master);
/* A slot for a node that the state does not name, until the log is whole. */
void slot_take_known(struct master *master, const struct known_node *known);
void send_to_node(struct master *master, struct node_slot *slot, struct message *message);
/* By our connection to it, or by its own to us. */
bool slot_is_reachable(const struct node_slot *slot);
/* An empty message of that row with epoch and node id set; false without memory. */
MUST_CHECK bool message_begin(struct master *master, struct message *message,
                              enum message_kind kind, uint32_t code);
bool is_leader(const struct master *master);

#endif
