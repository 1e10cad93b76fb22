/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runner: one rank of an instance: the next token.
 *
 * Accepts  the state and events of its master; generate and cancel_generation of gateways (rank 0);
 *          steps and hidden states of its siblings; results of its engine thread.
 * Emits    rank_addressed, runner_status_changed and, when the disk has not what the placement
 *          counts on, holding_changed to its master; accepted, tokens and last words to gateways;
 *          steps and hidden states to its siblings.
 * Owner    runtime/loop.h; this step is pure.  The engine thread (engine_thread.h) is its shell and
 *          the only caller of the engine and of MPI.
 * Memory   the mirror of the state; who asked what.
 * Threads  one, beside the engine thread.
 * Fails    every failure is reported as the status of the rank with its reason; the process then
 *          ends, and the generation with it.
 *
 * Life of a rank: it binds and reports its address; when the state has its generation it joins the
 * others over MPI (ranks of several), loads its shard, connects to its siblings when their
 * addresses are known; rank 0 sends a canary through all of them, and each is ready when it has
 * seen it.  A rank that is a source joins and sends of its files what the others lack; when all of
 * them have loaded it is released, and ends.
 */
#ifndef TROUPE_ACTORS_RUNNER_RUNNER_H
#define TROUPE_ACTORS_RUNNER_RUNNER_H

#include "runtime/session.h"

#define RUNNER_REQUESTS_MAX 1024
/* How fast it was is told again so often, to those who came since. */
#define RUNNER_PACE_MS 5000u
#define RUNNER_GATEWAY_SILENT_MS 2000u
#define RUNNER_LINK_MESSAGE_MAX MESSAGE_SIZE_MAX
/* A sibling that told its address is there: who is loaded waits no longer to be connected to it. */
#define RUNNER_REACH_MS 5000u
/* The lease of the engine thread: it is looked at so often while it has work, */
#define RUNNER_LOOK_MS 250u
/* and ended when it got nowhere for so long; */
#define RUNNER_STILL_MS 30000u
/* when a file that is being read gave nothing for so long; */
#define RUNNER_READ_STILL_MS 3000u
/* when it shall carry weights and did not for so long; */
#define RUNNER_TURN_STILL_MS 3000u
/* until it is ready, when its thread neither computed nor waited for a message for so long: inside
 * MPI, too, it never sleeps long; */
#define RUNNER_WORK_STILL_MS 3000u
/* when it is in a collective that every sibling has entered, too, for so long, which is longer, so
 * that one that stands still in it has the first word; */
#define RUNNER_MEETING_STILL_MS 3500u
/* and its bytes pass faster than so; */
#define RUNNER_MEETING_BYTES_PER_MS 500u
/* the first of them is MPI's start, which gives no signs but that its threads compute; */
#define RUNNER_JOIN_STILL_MS 15000u
/* and run longer than so at a time, while who waits only asks and sleeps again; */
#define RUNNER_RUN_NS_MIN 200000u
/* who was not heard of for so long is named as silent; */
#define RUNNER_SILENT_MS 2000u
/* so long the last word of a sibling that is behind is believed; */
#define RUNNER_SIBLING_STILL_MS 5000u
/* and so long a rank that fails looks at what its disk still has, before that is told. */
#define RUNNER_FAILING_MS 1000u
/* while loading, for the time this reads its shard in besides (a slow disk). */
#define RUNNER_LOAD_BYTES_PER_MS 20000u

/* RUNNER_LINK_SIBLING + rank is our connection to another rank.  Gateways have a socket of their
 * own, at rank 0: one that is bound again, because a gateway was removed, loses every connection,
 * and a lost connection between ranks ends the generation. */
enum runner_link { RUNNER_LINK_BOUND = 2, RUNNER_LINK_GATEWAYS = 3, RUNNER_LINK_SIBLING = 8 };

enum runner_effect {
    EFFECT_ENGINE_START = 1, /* struct engine_start */
    EFFECT_ENGINE_CANARY,    /* nothing: all siblings are connected and loaded */
    EFFECT_ENGINE_SUBMIT,    /* struct message: generate; id: the request's number */
    EFFECT_ENGINE_CANCEL,    /* id: the request's number */
    EFFECT_ENGINE_STEP,      /* struct message: step_planned or hidden_sent of a sibling */
    EFFECT_ENGINE_LOOK,      /* nothing; answered by RESULT_ENGINE_BEAT */
    RESULT_RANK_STATUS,      /* struct rank_status_told */
    RESULT_RANK_PROGRESS,    /* struct load_progressed */
    RESULT_RANK_PACE,        /* struct pace_measured, without who and which generation */
    RESULT_REQUEST_WORD,     /* struct message for the gateway; id: the request's number */
    RESULT_SIBLING_WORD,     /* struct sibling_word */
    RESULT_ENGINE_BEAT,      /* struct engine_beat */
    RESULT_RANK_FAILING,     /* struct reason: RESULT_RANK_STATUS comes, unless the disk stalls */
};

/* How far the engine thread is. */
struct engine_beat {
    bool is_busy;      /* it has begun something that it has not finished */
    bool is_waiting;   /* for a message of a sibling, by a limit of its own */
    uint64_t marks;    /* grows with each layer computed and each batch loaded */
    uint64_t entered;  /* collectives, of which joining MPI is the first */
    uint64_t finished;
    uint64_t pieces;   /* of long ones */
    uint64_t bytes;    /* of the last one */
    uint64_t spent_ns; /* processor time: what shows that it works where nothing is counted */
    uint64_t delayed_ns; /* while it joins: how long it was ready to run and did not, */
    uint64_t runs;       /* and how often it was let run */
    uint64_t reads;    /* grows with each piece that was read */
    bool is_turning;   /* it carries weights, and never waits long */
    uint64_t turns;    /* while it does */
    char file[128];    /* that is being read; empty: none */
    char step[48];     /* what it does, in a few words; empty: nothing of note */
};

/* How far a sibling's engine was at its last word. */
struct sibling_beat {
    uint64_t entered;
    uint64_t finished;
    uint64_t works; /* grows while it computes */
    uint64_t looks; /* of ours since then */
};

struct rank_status_told {
    enum rank_status status;
    struct reason reason;
    bool is_holding_lost; /* failed, and this node's disk has not what the placement counts on */
    bool has_small_files; /* still */
    uint8_t held[FILE_SET_BYTES_MAX]; /* which files are right, a bit for each of the model's */
    uint32_t held_size;
    uint64_t memory_free; /* failed, as this is less than the placement counted on; else 0 */
};

/* A message for sibling `rank`, or for all others when it is RANK_COUNT_MAX. */
struct sibling_word {
    uint32_t rank;
    struct message message;
};

/* What the engine thread needs to begin: a copy of the placement. */
struct engine_start {
    struct instance_record instance;
    uint32_t rank;
};

struct runner_settings {
    struct session_settings session;
    struct instance_id instance_id;
    struct generation generation;
    uint32_t rank;
    char bind[LINK_ENDPOINT_SIZE]; /* "tcp://ADDRESS:0" */
    char front[LINK_ENDPOINT_SIZE]; /* the same for gateways; empty: there too */
    char fabric[64];  /* where it binds to all addresses: the one that siblings are told, */
    char fronted[64]; /* and the one that gateways are */
    uint32_t requests_waiting; /* beside those the instance runs; beyond they are refused */
};

/* Who waits for an answer. */
struct runner_request {
    bool is_used;
    uint64_t number; /* the engine thread's name for it */
    struct peer peer;
    struct request_id request_id;
    uint32_t attempt;
};

struct runner_gateway {
    bool is_used;
    struct peer peer;
    uint64_t heard_ms;
};

/* The allow-list of a bound link, as last set. */
struct runner_allowed {
    struct public_key keys[NODE_COUNT_MAX > RANK_COUNT_MAX ? NODE_COUNT_MAX : RANK_COUNT_MAX];
    uint32_t count;
};

struct runner {
    const struct runner_settings *settings;
    struct session session;
    char endpoint[LINK_ENDPOINT_SIZE];         /* RUNNER_LINK_BOUND */
    char gateway_endpoint[LINK_ENDPOINT_SIZE]; /* RUNNER_LINK_GATEWAYS, of rank 0 */
    bool is_address_told;
    bool is_started;      /* the engine thread was told to begin */
    bool are_links_open;  /* to the siblings */
    uint64_t siblings_up; /* bit per rank */
    bool is_loaded;       /* not told yet: a sibling we send to is not connected */
    uint64_t reach_at_ms; /* when it must be */
    bool has_spoken;      /* to a sibling, or heard one: from now on no message may be lost */
    bool is_canary_sent;
    enum rank_status status;
    uint64_t exit_at_ms; /* the failure was reported; 0: none */
    uint64_t progress_at_ms;
    bool is_watched; /* the engine thread may be at work */
    uint64_t look_at_ms;
    uint64_t still_looks; /* in a row, without progress */
    uint64_t still_reads; /* looks in a row at a file that gave nothing */
    uint64_t still_turns; /* looks in a row while weights were not carried */
    uint64_t still_works; /* looks in a row without a trace of work of its own */
    uint64_t still_meetings; /* looks in a row at a collective in which all are */
    uint64_t still_joins;    /* and at MPI's start, whoever computes */
    uint64_t works;          /* grows with each look that saw the engine compute */
    bool has_one_worked;     /* this rank or another, since the last look */
    struct reason failing; /* empty: it is not */
    uint64_t failing_looks;
    struct sibling_beat sibling_beats[RANK_COUNT_MAX];
    uint32_t idle_looks;  /* in a row */
    struct engine_beat beat;
    struct runner_request requests[RUNNER_REQUESTS_MAX];
    uint64_t number_next;
    struct pace_measured pace; /* as last told */
    uint64_t pace_at_ms;       /* when it is told again; 0: there is nothing to tell */
    struct runner_gateway gateways[NODE_COUNT_MAX];
    struct runner_allowed siblings_allowed;
    struct runner_allowed gateways_allowed;

    const struct input *input;
    struct outbox *outbox;
    struct reason *reason;
};

extern const struct actor_ops runner_ops;

/* ---- runner_requests.c ---- */
MUST_CHECK enum status runner_gateway_message(struct runner *runner, const struct message *message);
void runner_request_word(struct runner *runner, const struct result *result);
void runner_gateways_tick(struct runner *runner);
void runner_gateway_lost(struct runner *runner, const struct peer *peer);

/* ---- runner_siblings.c ---- */
void runner_allow_refresh(struct runner *runner);
void runner_siblings_open(struct runner *runner);
bool runner_is_sibling(const struct runner *runner, const struct public_key *key,
                       uint32_t *rank_out);
MUST_CHECK enum status runner_sibling_message(struct runner *runner, const struct message *message);
void runner_sibling_word(struct runner *runner, const struct sibling_word *word);
bool runner_siblings_ready(const struct runner *runner);
/* Nobody needs anything of this rank's files any more. */
bool runner_siblings_loaded(const struct runner *runner);
/* Connected to everyone it sends to. */
bool runner_siblings_reached(const struct runner *runner);
/* The lowest rank that it is not connected to and should be; RANK_COUNT_MAX: none. */
uint32_t runner_sibling_unreached(const struct runner *runner);

/* ---- runner_watch.c ---- */
/* The engine thread gets something to do. */
void runner_watch(struct runner *runner);
void runner_watch_tick(struct runner *runner);
/* A signal of a rank, perhaps of a sibling. */
void runner_watch_hear(struct runner *runner, const struct heartbeat *beat);
/* False with the sentence when its lease has ended. */
bool runner_watch_take(struct runner *runner, const struct engine_beat *beat,
                       struct reason *reason_out);

/* ---- runner.c ---- */
/* NULL when the state does not want our generation (any more). */
const struct instance_record *runner_instance(const struct runner *runner);
void runner_message_free(void *message);

#endif
