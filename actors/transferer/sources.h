/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sources: the nodes that are asked for chunks at once, for a copy of a model (receive_sources.c)
 * as for a download (gather_sources.c); between the files of the transferer alone.
 *
 * A source is connected to, asked what it has, asked again now and then, and asked for one chunk
 * at a time, the rarest first: what is on its way when a process is killed comes twice, and no
 * more than a chunk is on its way over a connection.  So that one comes while another is checked
 * and stored, a node may be asked over some connections.  One that fails is left: its chunk is
 * free to be asked of others, and it rests for a while.  One that sent wrong bytes too often is
 * not asked again.  Who may have something, and what else is said over the link, is the owner's.
 *
 * Owner    a receive or a gather of the transferer's step.
 * Memory   two bytes for each chunk, and what each source holds; sources_free frees all.
 * Threads  one.
 * Fails    without memory.
 */
#ifndef TROUPE_ACTORS_TRANSFERER_SOURCES_H
#define TROUPE_ACTORS_TRANSFERER_SOURCES_H

#include "actors/transferer/bulk.h"
#include "runtime/actor.h"

#define SOURCES_MAX 12
#define SOURCES_SPARE 2u /* connections kept for nodes that are not asked yet */

enum sources_kind { SOURCES_OF_COPY, SOURCES_OF_DOWNLOAD };
#define SOURCES_KIND_COUNT 2

enum source_phase { SOURCE_NONE, SOURCE_CONNECTING, SOURCE_ASKED, SOURCE_OPEN };

struct source {
    enum source_phase phase;
    struct node_id node_id;
    uint32_t link;
    char host[LINK_ENDPOINT_SIZE]; /* its transferer's address: the stream is at the same host */
    struct request_id session;
    struct hash key;
    bool is_joined; /* the stream was begun */
    bool is_whole;
    uint8_t *held; /* a set of chunks, unless it is whole */
    uint32_t owed; /* the chunk it was asked for; CHUNK_NONE: none */
    uint64_t deadline_ms;
    uint64_t poll_ms;
    bool is_doubted; /* it was told which chunk came wrong from its node before */
};

/* What is remembered of a node that sent something, or failed us. */
struct source_rest {
    struct node_id node_id;
    uint64_t bytes; /* of right chunks */
    uint32_t failures;
    uint32_t wrong;
    uint32_t doubted; /* the last chunk that was wrong, and 1; 0: none */
    uint64_t until_ms;
    uint64_t answered_ms; /* when it said what it has */
};

struct sources {
    enum sources_kind kind;
    uint64_t number; /* of the receive or gather they are of: its effects and results have it */
    uint32_t gather; /* which gather */
    uint32_t chunk_count;
    const uint8_t *unwanted; /* the owner's: a set of chunks that are here, or cannot be written */
    uint8_t *asked;
    uint8_t *available;
    struct source items[SOURCES_MAX];
    struct source_rest rests[NODE_COUNT_MAX];
    uint32_t rest_count;
};

struct transferer;
struct transferer_step;

/* What there is to ask for is known.  Borrows `unwanted` until sources_free. */
MUST_CHECK enum status sources_begin(struct sources *sources, uint32_t chunk_count,
                                     const uint8_t *unwanted);
/* Accepts zeroed ones; `kind` and `number` stay. */
void sources_free(struct sources *sources);

/* NULL: none has that link. */
struct source *sources_find(struct sources *sources, uint32_t link);
struct source_rest *sources_rest(struct sources *sources, const struct node_id *node_id);

/* Where a node can be asked, over so many connections at most; NULL: nowhere, or not now.  Those
 * beyond the first wait until it has something for us, and leave SOURCES_SPARE for others. */
const struct endpoint_record *sources_endpoint(const struct transferer *transferer,
                                               const struct sources *sources,
                                               const struct node_id *node_id,
                                               uint32_t connections_max, uint64_t now_ms);
/* False: there is no room for one more. */
bool sources_connect(struct transferer_step *step, struct sources *sources,
                     const struct endpoint_record *endpoint);
enum status sources_leave(struct transferer_step *step, struct sources *sources,
                          struct source *source);
void sources_close(struct transferer_step *step, struct sources *sources);
/* It failed us: left, rested, and tried again after a while. */
enum status sources_fail(struct transferer_step *step, struct sources *sources,
                         struct source *source, bool is_wrong);

/* Ends the message in any case; not filled: there was no memory for it. */
enum status source_send(struct transferer_step *step, const struct source *source,
                        struct message *message, bool is_filled);

/* Whether what it says to have is a set of our chunks. */
bool sources_fit(const struct sources *sources, const struct source_told *told);
/* What it has, which fits or is whole; its stream is begun. */
enum status sources_take_told(struct transferer_step *step, struct sources *sources,
                              struct source *source, const struct source_told *told);
/* A chunk of each source that owes none. */
enum status sources_ask(struct transferer_step *step, struct sources *sources);
/* Takes a chunk that came, or will not, from what was asked; false: it was not. */
bool sources_credit_return(struct sources *sources, struct source *source, uint32_t chunk);
/* Something is waited for, and did not come in time. */
bool source_is_late(const struct source *source, bool is_waited_for, uint64_t now_ms);

#endif
