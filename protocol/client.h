/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client: the C library for talking to a node: commands with their answers, the state, events.
 *
 * It knows the protocol and no socket: messages go through a channel of four calls.
 * runtime/client_channel.h makes the one over ZeroMQ, to a node of this machine or to a remote
 * one:
 *
 *     struct troupe_channel channel;
 *     struct troupe_client *client;
 *     status = client_channel_open_home(home, 5000, &channel, &reason);
 *     status = troupe_client_open(&channel, &options, &client, &reason);
 *     status = troupe_client_command(client, &command, 5000, &answer, &reason);
 *     troupe_client_close(client);
 *
 * Calls block for at most the time they are given.  When the connection ends it is made again,
 * hello is said again, and a command that waits is sent again under its key, so it is done once.
 *
 * Owner    whoever opened it.
 * Memory   the mirror of the state; at most TROUPE_CLIENT_QUEUE_MAX messages not yet taken.
 * Threads  one at a time each.
 * Fails    STATUS_TIMED_OUT; STATUS_UNREACHABLE; STATUS_VERSION and STATUS_REFUSED when the node
 *          does not take our hello; STATUS_NO_MEMORY.  The reason is one sentence.
 */
#ifndef TROUPE_PROTOCOL_CLIENT_H
#define TROUPE_PROTOCOL_CLIENT_H

#include "protocol/message.h"
#include "protocol/state.h"

enum { TROUPE_CLIENT_QUEUE_MAX = 4096 };

enum troupe_news {
    TROUPE_NEWS_NONE,    /* the time is over */
    TROUPE_NEWS_UP,      /* connected: hello is due */
    TROUPE_NEWS_DOWN,    /* the connection ended; the channel makes it again */
    TROUPE_NEWS_MESSAGE, /* one message came */
    TROUPE_NEWS_FAILED   /* it cannot be made; the channel's sentence says why */
};

/* How bytes come and go.  Every call gets `self`. */
struct troupe_channel {
    void *self;
    enum status (*send)(void *self, const void *bytes, size_t size);
    /* Waits at most `timeout_ms`; the bytes are valid until the next call. */
    enum troupe_news (*receive)(void *self, uint64_t timeout_ms, const uint8_t **bytes_out,
                                size_t *size_out, struct reason *reason);
    uint64_t (*now_ms)(void *self);
    void (*close)(void *self);
};

struct troupe_client_options {
    const char *build;    /* told in hello; NULL: empty */
    uint8_t seed[32];     /* random; keys of commands and the incarnation are made from it */
    bool wants_state;     /* keep a mirror of the state; events then come too */
    bool wants_messages;  /* keep events and signals for troupe_client_next */
    uint64_t timeout_ms;  /* until the welcome; 0: 5000 */
};

struct troupe_client;

/* Says hello and waits for the welcome.  Takes the channel, also when it fails. */
MUST_CHECK enum status troupe_client_open(const struct troupe_channel *channel,
                                          const struct troupe_client_options *options,
                                          struct troupe_client **client_out,
                                          struct reason *reason);
/* Accepts NULL. */
void troupe_client_close(struct troupe_client *client);

/* The last welcome: whose node it is, in which cluster, its last event, its key and address. */
const struct welcome *troupe_client_welcome(const struct troupe_client *client);

/* The state as far as it is known now, once it is known; borrowed until the next call.  Without
 * `wants_state` STATUS_UNSUPPORTED; STATUS_TIMED_OUT: the node has none to show. */
MUST_CHECK enum status troupe_client_state(struct troupe_client *client, uint64_t timeout_ms,
                                           const struct state **state_out, struct reason *reason);
/* The same with every event up to `index` applied. */
MUST_CHECK enum status troupe_client_state_at(struct troupe_client *client, uint64_t index,
                                              uint64_t timeout_ms, const struct state **state_out,
                                              struct reason *reason);

/* Sends a command or question and waits for its answer.  A command without a key gets one, which
 * stays in it: sent again with it, by this or another client, it is not done twice.  A refusal is
 * returned as its status with its sentence.  `answer_out` may be NULL; else it is the caller's to
 * finish when the status is OK. */
MUST_CHECK enum status troupe_client_command(struct troupe_client *client, struct message *command,
                                             uint64_t timeout_ms, struct message *answer_out,
                                             struct reason *reason);

/* The next event or signal; the caller finishes it.  STATUS_TIMED_OUT: none within the time.
 * STATUS_GAP: too many waited and the oldest were dropped. */
MUST_CHECK enum status troupe_client_next(struct troupe_client *client, uint64_t timeout_ms,
                                          struct message *message_out, struct reason *reason);
/* Asks for events from `index` on, as far back as the node remembers. */
MUST_CHECK enum status troupe_client_ask_events(struct troupe_client *client, uint64_t index,
                                                struct reason *reason);

#endif
