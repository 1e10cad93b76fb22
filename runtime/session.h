/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session: an actor's talk with its own master: hello, the mirror of the state, reports that are
 * kept until they are answered.
 *
 * Pure: everything goes through the inputs and the outbox of the actor's step.
 *
 * Owner    one actor; session_take is the first thing its step calls.
 * Memory   the mirror; at most SESSION_REPORTS_MAX encoded reports; a row of links.
 * Threads  one.
 * Fails    STATUS_VERSION when the master refuses our hello; STATUS_NO_MEMORY; STATUS_BUSY when too
 *          many reports wait (the actor should end: its facts are told again at the next start).
 */
#ifndef TROUPE_RUNTIME_SESSION_H
#define TROUPE_RUNTIME_SESSION_H

#include "protocol/message.h"
#include "runtime/actor.h"
#include "protocol/state_mirror.h"

#define SESSION_REPORTS_MAX 256
#define SESSION_LINK 1u /* the number of the link to the master in every actor */

/* Constant over the life of the process; texts are borrowed. */
struct session_settings {
    enum actor_kind actor;
    uint64_t incarnation;
    struct public_key key;
    const char *build;
    bool wants_events;
    bool has_rank;
    struct instance_id instance_id;
    struct generation generation;
    uint32_t rank;
    uint32_t world_size;
};

struct session_report {
    uint8_t *bytes;
    size_t size;
    uint64_t sequence;
    uint64_t again_ms;
    bool has_node; /* false: made before the first welcome */
};

struct session {
    const struct session_settings *settings;
    struct state_mirror mirror;
    char
        address[LINK_ENDPOINT_SIZE]; /* told in hello; set before the session is opened, or empty */
    bool is_up;
    bool is_welcome;
    uint64_t sequence;
    struct session_report reports[SESSION_REPORTS_MAX];
    size_t report_count;
    struct links_measured reach; /* whom its node reaches, where; of a gateway, a transferer */
};

void session_init(struct session *session, const struct session_settings *settings);
void session_fini(struct session *session);
/* Opens the link. */
void session_open(struct session *session, struct outbox *outbox);
/* Looks at every input; `change_out` says what it did to the mirror (MIRROR_UNTOUCHED for inputs
 * that are not the session's).  Asks for a wake-up while reports wait. */
MUST_CHECK enum status session_take(struct session *session, const struct input *input,
                                    struct outbox *outbox, enum mirror_change *change_out,
                                    struct reason *reason);
/* Fills the report's origin, keeps and sends it; `report` stays the caller's. */
MUST_CHECK enum status session_report(struct session *session, struct message *report,
                                      uint64_t now_ms, struct outbox *outbox);
/* The same, and frees `report`; STATUS_NO_MEMORY of one whose texts found none. */
MUST_CHECK enum status session_report_end(struct session *session, struct message *report,
                                          bool is_filled, uint64_t now_ms, struct outbox *outbox);
/* "tcp://HOST:PORT" of an actor there, with another host of that node where ours has proven that
 * one, and not the one in it. */
void session_address(const struct session *session, const struct node_id *node,
                     const char *address, char address_out[ADDRESS_SIZE_MAX]);
/* Where our node reaches that actor: state_endpoint_address, as above. */
void session_endpoint_address(const struct session *session,
                              const struct endpoint_record *endpoint,
                              char address_out[ADDRESS_SIZE_MAX]);
/* A signal, or an answer to a task, or a command: sent when the link is up, else dropped. */
void session_send(struct session *session, struct message *message, struct outbox *outbox);
/* Answers a task by its key. */
MUST_CHECK enum status session_answer(struct session *session, const struct message *task,
                                      enum status how, const char *sentence, struct outbox *outbox);
/* The same, long after the task was taken. */
MUST_CHECK enum status session_answer_key(struct session *session, const struct command_key *key,
                                          enum status how, const char *sentence,
                                          struct outbox *outbox);
/* Answers a task by what the actor holds of it; `sentence` may be NULL. */
MUST_CHECK enum status session_answer_held(struct session *session, const struct task_held *held,
                                           enum status how, const char *sentence,
                                           struct outbox *outbox);
/* A message of the master that the actor itself must look at. */
bool session_is_task(const struct input *input);

#endif
