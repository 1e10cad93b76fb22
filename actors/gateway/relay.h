/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay: a file of a model that this node does not hold, passed on to an HTTP client while it comes
 * from a node that does.
 *
 *   READY -> CONNECTING -> MANIFEST -> PIECE -> CHECKING -> READY ...    piece by piece
 *   any   -> RESTING -> READY                                            no holder for a while
 *   CHECKING -> FULL -> READY                                            the client is behind
 *
 * Pieces are the chunks of the model's manifest, asked of the holder's transferer over its CURVE
 * link.  A chunk is hashed before a byte of it goes out: what a client gets is what the state says
 * the model is, whoever sent it.  When a holder dies, falls silent or sends something wrong the
 * next one is asked for the same chunk, and the client sees a pause.  When there is none an answer
 * that has not begun is 503 and one that has is cut short, which a client can tell by the length
 * and resume by a range.  Nothing of the client's request but the range travels on: no token.
 *
 * Owner    the gateway's step.
 * Memory   at most RELAY_CHUNKS_MAX chunks, fetched or not taken by clients yet, of which a client
 *          has RELAY_PIECES_MAX, or one when many are in use; RELAY_MANIFESTS_MAX manifests.  Who
 *          waited longest is served next.
 * Threads  none; hashing is an effect.
 * Fails    as 503 with a sentence, in the hub's words.
 */
#ifndef TROUPE_ACTORS_GATEWAY_RELAY_H
#define TROUPE_ACTORS_GATEWAY_RELAY_H

#include "actors/gateway/gateway.h"

#define RELAY_ASKING_MAX 8u  /* at once */
#define RELAY_CHUNKS_MAX 32u
#define RELAY_PIECES_MAX 2u
#define RELAY_HOLDERS_MAX 16 /* connections */
#define RELAY_MANIFESTS_MAX 4
#define RELAY_CONNECT_MS 3000u
#define RELAY_PART_MS 5000u
#define RELAY_REST_MS 300u
#define RELAY_SILENCE_MS 8000u /* clients of the hub ask anew after 10 s without a byte */
#define RELAY_ALONE_MS 2500u   /* when no holder is here that could be asked */
#define RELAY_IDLE_MS 20000u /* then a connection is closed */

enum relay_phase {
    RELAY_READY, /* to ask for what is next, when it is its turn */
    RELAY_CONNECTING,
    RELAY_MANIFEST,
    RELAY_PIECE,
    RELAY_CHECKING,
    RELAY_FULL,
    RELAY_RESTING,
    RELAY_OVER /* goes at the end of the step */
};

struct relay {
    struct relay *next;
    enum relay_phase phase;
    struct file_wish *wish;
    uint64_t at; /* of the file: the next byte the client gets */
    uint64_t end;
    bool is_begun;
    uint32_t pieces; /* with the client's connection */
    uint64_t turn;   /* when it asked last, counted over all */
    uint32_t slot;   /* of the holder that is asked, from CONNECTING to PIECE */
    struct node_id holder;
    struct node_id tried[NODE_COUNT_MAX];
    uint32_t tried_count;
    struct node_id wrong[NODE_COUNT_MAX]; /* sent what is not the model's: never asked again */
    uint32_t wrong_count;
    struct buffer manifest;
    uint64_t piece_offset; /* in the file */
    uint32_t piece_size;
    struct hash piece_digest;
    struct buffer piece;
    uint64_t deadline_ms;
    uint64_t fruitful_ms; /* began, or a piece was right */
    char last[160];       /* what went wrong last */
};

struct relay_holder {
    bool is_used;
    bool is_up;
    bool is_lost; /* it was up, and is not back */
    struct node_id node_id;
    uint64_t incarnation;
    uint64_t used_ms;
};

struct relay_manifest {
    bool is_known;
    struct hash digest;
    struct chunk_manifest manifest;
    uint64_t used_ms;
};

struct relay_desk {
    struct relay *first; /* oldest first */
    uint64_t turns;
    struct relay_holder holders[RELAY_HOLDERS_MAX];
    struct relay_manifest manifests[RELAY_MANIFESTS_MAX];
};

/* Of the holder in its slot. */
static inline bool relay_is_asking(const struct relay *relay)
{
    return relay->phase == RELAY_CONNECTING || relay->phase == RELAY_MANIFEST ||
           relay->phase == RELAY_PIECE;
}

/* Another node that is here has this file. */
bool relay_is_possible(const struct gateway *gateway, const struct model_record *model,
                       const struct file_entry *file);
/* Takes the wish, and answers its exchange. */
void relay_begin(struct gateway *gateway, struct file_wish *wish);
void relay_message(struct gateway *gateway, uint32_t slot, const struct message *message);
void relay_link_up(struct gateway *gateway, uint32_t slot);
void relay_link_down(struct gateway *gateway, uint32_t slot, bool is_closed);
void relay_checked(struct gateway *gateway, const struct result *result);
void relay_drained(struct gateway *gateway, uint64_t exchange);
void relay_forget(struct gateway *gateway, uint64_t exchange);
void relays_tick(struct gateway *gateway);
/* At the end of each step: those whose turn it is ask, those that are over go. */
void relays_turn(struct gateway *gateway);
/* Something is at work, or a connection is open. */
bool relays_are_busy(const struct gateway *gateway);
void relays_fini(struct gateway *gateway);

/* ---- relay_holders.c ---- */
/* One that is here, was not tried in this round and never sent anything wrong; NULL: none. */
const struct endpoint_record *relay_find_holder(const struct gateway *gateway,
                                                const struct relay *relay);
/* The connection to it, opened when there is none; -1: all are in use. */
int relay_connect(struct gateway *gateway, const struct endpoint_record *endpoint);
/* As the state has it now, of the revision that was asked for; NULL: it went. */
const struct model_record *relay_model(const struct gateway *gateway, const struct relay *relay);
const struct chunk_manifest *relay_manifest_find(struct gateway *gateway,
                                                 const struct model_record *model);
/* Takes the manifest. */
const struct chunk_manifest *relay_manifest_keep(struct gateway *gateway,
                                                 const struct model_record *model,
                                                 struct chunk_manifest *manifest);
void relay_holders_tick(struct gateway *gateway);

#endif
