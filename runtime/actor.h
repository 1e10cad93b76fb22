/* SPDX-License-Identifier: Apache-2.0 */
/*
 * actor: what every actor is: a pure step from one input to an outbox.
 *
 * The step touches nothing but its own memory and the outbox: no clock, socket, file, random
 * source or environment.  runtime/loop.c feeds it in a process, the simulator feeds it in virtual
 * time; nothing here knows which.
 *
 * Owner    the loop owns the actor's memory and the outbox.
 * Memory   inputs are borrowed for the step; what is put in the outbox is copied or taken.
 * Threads  one: the loop's.
 * Fails    an outbox remembers the first failure (no memory, too many items); the loop then ends
 *          the process rather than carry out half of a step.
 */
#ifndef TROUPE_RUNTIME_ACTOR_H
#define TROUPE_RUNTIME_ACTOR_H

#include "protocol/status.h"
#include "runtime/link.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct message; /* protocol/message.h */

enum {
    ACTOR_SEED_SIZE = 32,
    OUTBOX_ITEMS_MAX = 65536 /* of one step; a step that needs more must go by credits */
};

enum input_kind {
    INPUT_START,       /* once, first; `seed` */
    INPUT_MESSAGE,     /* `peer`, `message`, `bytes` */
    INPUT_WAKE,        /* the time asked for by outbox_wake has come */
    INPUT_LINK_BOUND,  /* `peer.link`; `endpoint` with the true port; also after binding again */
    INPUT_LINK_REFUSED,/* `peer.link`; `status`, `reason`: it cannot be opened; it is closed */
    INPUT_LINK_UP,     /* `peer`: connected and authenticated.  On a bound link it comes just
                          before the peer's first message */
    INPUT_LINK_DOWN,   /* `peer`: the connection ended; a connected link tries again by itself */
    INPUT_SEND_FAILED, /* `peer`, `status`: BUSY (queue full) or UNREACHABLE; the message is gone */
    INPUT_RESULT,      /* `result`: of an effect, or a word from the shell nobody asked for */
    INPUT_CHILD_READY, /* `child` */
    INPUT_CHILD_BEAT,  /* `child`: answered the ping of outbox effect or shell */
    INPUT_CHILD_ENDED, /* `child` with code and signal */
    INPUT_STOP         /* finish soon; outbox_exit when done */
};

/* What an effect gave.  `id` and `kind` are those of the effect; a shell that speaks unasked uses
 * id 0 and kinds of its own. */
struct result {
    uint64_t id;
    uint32_t kind;
    enum status status;
    struct reason reason;
    void *value;                   /* borrowed by the step; see result_take */
    void (*value_free)(void *value); /* NULL when there is nothing to free */
};

struct child_event {
    uint64_t id;    /* as given to spawn */
    int64_t pid;
    int32_t exit_code; /* ENDED: -1 when killed by a signal */
    int32_t signal;    /* ENDED: 0 when it exited */
};

struct input {
    enum input_kind kind;
    uint64_t now_ms;  /* since boot, suspended time counted */
    uint64_t now_us;  /* the same clock, finer; only for measuring */
    uint64_t wall_ms; /* since 1970; may jump */
    uint64_t random;  /* fresh each time */
    struct peer peer;
    const struct message *message;
    const uint8_t *bytes; /* the message as it came, to pass it on unchanged */
    size_t size;
    const char *endpoint;
    enum status status;
    const char *reason;
    struct result *result;
    struct child_event child;
    uint8_t seed[ACTOR_SEED_SIZE];
};

enum outbox_kind {
    OUTBOX_SEND,
    OUTBOX_LINK_OPEN,
    OUTBOX_LINK_CLOSE,
    OUTBOX_LINK_ALLOW,
    OUTBOX_PEER_DROP,
    OUTBOX_EFFECT,
    OUTBOX_READY,
    OUTBOX_STATUS,
    OUTBOX_EXIT
};

/* Something only the actor's shell can do.  `request` belongs to the outbox until the shell takes
 * it by setting it to NULL; `request_free` (may be NULL) frees what nobody took. */
struct effect {
    uint64_t id;
    uint32_t kind;
    void *request;
    void (*request_free)(void *request);
};

struct outbox_item {
    enum outbox_kind kind;
    struct peer peer;       /* SEND, PEER_DROP; `peer.link` of the LINK_ items */
    uint8_t *bytes;         /* SEND: the encoded message; STATUS: text; owned */
    size_t size;
    struct link_options *options; /* LINK_OPEN; owned */
    struct public_key *keys;      /* LINK_ALLOW; owned */
    size_t key_count;
    struct effect effect;
    int32_t exit_code;
};

/* Filled by one step, carried out in order, then cleared. */
struct outbox {
    struct outbox_item *items;
    size_t count;
    size_t capacity;
    uint64_t wake_ms;    /* UINT64_MAX: none.  Stays until changed or fired */
    enum status failed;  /* the first failure of a call below */
};

void outbox_init(struct outbox *outbox);
void outbox_fini(struct outbox *outbox);
/* Frees the items; keeps the wake time. */
void outbox_clear(struct outbox *outbox);

/* Encodes now; `message` stays the caller's. */
void outbox_send(struct outbox *outbox, const struct peer *peer, const struct message *message);
/* Sends bytes that are a message already (an event to many, something passed on); copied. */
void outbox_send_bytes(struct outbox *outbox, const struct peer *peer, const void *bytes,
                       size_t size);
/* Wake no later than `at_ms` (time of inputs); an earlier wish stays, later ones are kept only
 * until the first fires: ask again at each step. */
void outbox_wake(struct outbox *outbox, uint64_t at_ms);
/* Opens link `number`; answered by LINK_BOUND, or by LINK_UP when connected, or LINK_REFUSED. */
void outbox_link_open(struct outbox *outbox, uint32_t link, const struct link_options *options);
void outbox_link_close(struct outbox *outbox, uint32_t link);
/* The whole allow-list of a bound tcp link; without one nobody may connect.  A key left out loses
 * its connection. */
void outbox_link_allow(struct outbox *outbox, uint32_t link, const struct public_key *keys,
                       size_t key_count);
/* Forgets a peer of a bound link: nothing more is heard from it on this connection. */
void outbox_peer_drop(struct outbox *outbox, const struct peer *peer);
/* Takes `request` whatever happens. */
void outbox_effect(struct outbox *outbox, uint64_t id, uint32_t kind, void *request,
                   void (*request_free)(void *request));
/* Tells the supervisor (or service manager) that start-up is complete. */
void outbox_ready(struct outbox *outbox);
/* One line for the service manager. */
void outbox_status(struct outbox *outbox, const char *text);
/* The last step: what stands before it in the outbox is still carried out. */
void outbox_exit(struct outbox *outbox, int32_t exit_code);

/* Moves the value out of a result; the caller frees it. */
void *result_take(struct result *result);
void result_fini(struct result *result);

struct actor_ops {
    const char *name;
    size_t memory_size; /* zeroed before init */
    /* `settings` is what main gave the loop (config and so on), borrowed for the actor's life. */
    enum status (*init)(void *actor, const void *settings, struct reason *reason);
    /* Anything but OK ends the process with the reason: something is wrong that only a restart
     * mends. */
    enum status (*step)(void *actor, const struct input *input, struct outbox *outbox,
                        struct reason *reason);
    void (*fini)(void *actor);
};

#endif
