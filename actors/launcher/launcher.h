/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launcher: starts one rank of a generation of several, and dies with it.
 *
 * Accepts  welcome, snapshots and events of its master; hello, fence blobs, modex data and
 *          rank_ended of the generation's other launchers; results of its effects; its child.
 * Emits    hello and the reports rank_addressed and process_ended to its master; the same words as
 *          above to its siblings.
 * Owner    runtime/loop.h; pure.
 * Memory   a copy of the state, and the few fence blobs of MPI's start and end.
 * Threads  one.
 * Fails    a step fails only without memory; everything else ends the rank and then the launcher,
 *          with a reason in the report.
 *
 * It says where it is, waits until the state has the addresses of all launchers of its generation,
 * starts its PMIx server, lets in their keys, connects to each and says hello.  When each has said
 * hello, of the same build and world, it starts the rank: no fence can come early.  From then on it
 * carries what PMIx wants carried.  It ends its rank when a sibling is lost for `loss_ms`, when a
 * sibling's rank died, when its generation is over, when the rank answers no ping, or when it has
 * not joined the world within `join_ms`.  A source that was released may go: its launcher leaves
 * with it, and the others do not miss them.
 */
#ifndef TROUPE_ACTORS_LAUNCHER_LAUNCHER_H
#define TROUPE_ACTORS_LAUNCHER_LAUNCHER_H

#include "actors/launcher/pmix_host.h"
#include "runtime/session.h"

/* Exit codes beside those of the rank, which are passed on (a signal as 128 and its number). */
enum { LAUNCHER_EXIT_FAILED = 70 };

/* Links; LAUNCHER_LINK_SIBLING + rank is our connection to a sibling. */
enum launcher_link {
    LAUNCHER_LINK_MASTER = SESSION_LINK,
    LAUNCHER_LINK_BOUND,
    LAUNCHER_LINK_SIBLING
};

enum launcher_effect {
    EFFECT_HOST_OPEN = 1, /* struct rank_start; failure is answered */
    EFFECT_RANK_START,     /* failure is answered */
    EFFECT_RANK_STOP,      /* SIGTERM */
    EFFECT_RANK_KILL,      /* SIGKILL to its group */
    EFFECT_RANK_PING,
    EFFECT_FENCE,        /* struct pmix_host_event: a sibling's blob; failure is answered */
    EFFECT_MODEX_LOOKUP, /* struct pmix_host_event: rank (who asks), request */
    EFFECT_MODEX_ANSWER, /* struct pmix_host_event: request, status, bytes */
    RESULT_PMIX          /* unasked: struct pmix_host_event */
};

/* The generation as PMIx needs it. */
struct rank_start {
    char name[128];
    uint32_t rank;
    uint32_t rank_count;
};

struct launcher_settings {
    struct instance_id instance_id;
    struct generation generation;
    uint32_t rank;
    uint64_t incarnation;      /* of this launcher */
    uint64_t rank_incarnation; /* of the runner it starts */
    struct public_key key;
    char bind[LINK_ENDPOINT_SIZE]; /* "tcp://ADDRESS:0", for the siblings */
    char fabric[64]; /* that address; where it binds to all, the one they are told */
    char build[BUILD_SIZE_MAX];
    /* Zero means the default. */
    uint64_t meet_ms; /* from start to the last sibling's hello: 40 s, as siblings may start late */
    /* From the last sibling's address to connections to all, as one that has an address is there:
     * 2 s.  What answers there may be another, or nobody. */
    uint64_t reach_ms;
    uint64_t join_ms; /* from the rank's start to its word that it joined: 30 s */
    uint64_t loss_ms; /* a sibling away so long is lost: 2 s */
    uint64_t ping_ms; /* between pings of the rank: 1 s */
    /* A rank that answers nothing for so long, and as many pings as go into it, hangs: 4 s; */
    uint64_t hang_ms;
    uint64_t load_hang_ms; /* until it is ready, when all others wait for it: 3 s */
    uint64_t stop_ms; /* from SIGTERM to SIGKILL of the rank: 1 s */
};

enum launcher_phase {
    LAUNCHER_ADDRESSING, /* waits for the addresses of all launchers */
    LAUNCHER_MEETING,    /* waits for each sibling's hello */
    LAUNCHER_STARTING,   /* the rank runs, MPI_Init is not done */
    LAUNCHER_RUNNING,
    LAUNCHER_ENDING, /* the rank is being stopped */
    LAUNCHER_LEAVING /* the rank is gone; the last reports are on their way */
};

struct sibling {
    struct public_key key;
    bool is_up;
    bool was_up; /* once: its address leads to it */
    bool has_said_hello;
    bool is_released;    /* a source that has sent all: its end means nothing */
    uint64_t lost_at_ms; /* 0: not lost */
};

/* A fence blob of ours. */
struct kept_blob {
    uint8_t *bytes;
    size_t size;
};

struct launcher {
    const struct launcher_settings *settings;
    struct launcher_settings times; /* with the defaults filled in */
    struct session_settings session_settings;
    struct session session;
    enum launcher_phase phase;
    bool is_ready_told;
    bool is_address_told;
    bool has_child;
    uint32_t rank_count; /* 0: not known yet */
    struct sibling siblings[RANK_COUNT_MAX];
    uint64_t deadline_ms;        /* of the phase; 0: none */
    uint64_t reach_at_ms;        /* when all siblings must have been reached */
    uint64_t ping_at_ms;
    uint64_t heard_ms;           /* last sign of life of the rank */
    uint64_t pings_unanswered;   /* since then */
    struct kept_blob blobs[FENCE_PENDING_MAX]; /* our fence blobs, for siblings that reconnect */
    size_t blob_count;
    int32_t exit_code;
    bool was_asked;              /* to stop, by our supervisor */
    char why[SENTENCE_SIZE_MAX]; /* the rank was ended; empty: it ended by itself */

    /* of the step that runs */
    const struct input *input;
    struct outbox *outbox;
};

extern const struct actor_ops launcher_ops;

/* ---- launcher_siblings.c ---- */
void siblings_open(struct launcher *launcher, const struct instance_record *instance);
/* Each was reached and said hello: the way is open in both directions. */
bool siblings_all_met(const struct launcher *launcher);
void sibling_link_changed(struct launcher *launcher, uint32_t rank, bool is_up);
MUST_CHECK enum status sibling_message(struct launcher *launcher);
/* The rank whose launcher has been away for too long, or UINT32_MAX; `next_ms_out` is when to look
 * again. */
uint32_t sibling_lost(const struct launcher *launcher, uint64_t *next_ms_out);
/* The lowest rank whose launcher was never reached, or UINT32_MAX. */
uint32_t sibling_unreached(const struct launcher *launcher);
/* Takes note of the sources that the state has released. */
void siblings_release(struct launcher *launcher, const struct instance_record *instance);
/* What PMIx wants told to the siblings. */
MUST_CHECK enum status siblings_tell(struct launcher *launcher,
                                     const struct pmix_host_event *event);
MUST_CHECK enum status siblings_tell_end(struct launcher *launcher,
                                         const struct process_ended *ended);

/* ---- launcher.c ---- */
/* Ends the rank, and with it the launcher; the first reason stays. */
void launcher_end(struct launcher *launcher, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
