/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transferer: how models, or their small files alone, go between the disks of peers.
 *
 * Accepts  tasks fetch_small_files, fetch_model, gather_files, list_tasks; file_asked,
 *          source_asked, share_asked,
 *          manifest_asked, chunk_asked, source_left of other transferers and their answers;
 *          of gateways, who pass files on to their clients, manifest_asked and file_asked with
 *          a size and nothing else: the rest is refused and counted; the state and events of its
 *          master; results of its shell.
 * Emits    reports small_files_stored, holding_changed, endpoint_opened, transfer_started,
 *          transfer_ended; what it asks and answers other transferers; answers task_held,
 *          tasks_listed, done; the signal transfer_progressed.
 * Owner    runtime/loop.h; pure, the disk is the shell's (transferer_shell.h).
 * Memory   the mirror of the state; the small files of the one model being fetched, at most
 *          FETCH_BYTES_MAX; at most SERVE_READS_MAX parts on their way out.
 * Threads  one.
 * Fails    without memory, or when no address can be bound.
 *
 * A fetch asks one holder after the other: each has CONNECT_MS to be there and PART_MS for each
 * part.  A file that was had whole and right stays when the holder changes.  After FETCH_ROUNDS
 * rounds over all holders the task fails with the last reason; the planner gives it again.
 *
 * Up to RECEIVES_MAX models are received at once, in fair shares, as each has its own sources and
 * credits; the next ones wait.  A whole model is received from up to RECEIVE_SOURCES_MAX nodes at
 * once (receive.c): those who hold it, and those who receive it too, of whose chunks we take what
 * they have by then.  A single one that holds it is asked over BULK_LANES connections, one of
 * several over two, each for one chunk at a time (sources.h).  One that falls silent, closes or
 * sends something wrong is left, its chunk is asked of others, and it is tried again later, unless
 * it sent wrong bytes too often.
 * Without a chunk from anybody for RECEIVE_SILENCE_MS the transfer fails with the last reason; in
 * RECEIVE_HOPE_MS when no node has, by the state, what lacks: one that finds that its disk has not
 * what the state says (lend.c) says so to who asks, and corrects the state.  The bytes themselves
 * travel beside the loop (bulk.h).
 */
#ifndef TROUPE_ACTORS_TRANSFERER_TRANSFERER_H
#define TROUPE_ACTORS_TRANSFERER_TRANSFERER_H

#include "actors/transferer/gather.h"
#include "actors/transferer/sources.h"
#include "runtime/chunk_choice.h"
#include "runtime/model_store.h"
#include "runtime/session.h"

#define SERVE_LINK 2u
#define FETCH_LINK_FIRST 3u /* a new number for each attempt: nothing late is mistaken */
#define FETCH_LINK_COUNT 64u
#define TRANSFERER_TASKS_MAX 64
#define FETCH_WINDOW 4
#define FETCH_ROUNDS 3
#define FETCH_BYTES_MAX ((uint64_t)256 << 20)
#define FETCH_CONNECT_MS 3000u
#define FETCH_PART_MS 5000u
#define FETCH_BACKOFF_MS 200u
#define SERVE_READS_MAX 64
#define SERVE_KEYS_MAX (2 * NODE_COUNT_MAX) /* transferers and gateways */
#define SERVE_PIECES_MAX 8 /* of CHUNK_SIZE, in memory at once */
#define TRANSFER_MESSAGE_MAX (2u << 20)
#define RECEIVE_LINK_FIRST 100u /* a new number for each source, too */
#define RECEIVE_LINK_COUNT 100u
#define RECEIVE_SOURCES_MAX 12
#define RECEIVE_WRONG_MAX 3u /* wrong chunks of a node before it is not asked again */
#define RECEIVE_CONNECT_MS 3000u
#define RECEIVE_ANSWER_MS 5000u
#define RECEIVE_CHUNK_MS 20000u
#define RECEIVE_POLL_MS 200u
#define RECEIVE_REST_MS 500u
#define RECEIVE_REST_MS_MAX 8000u
#define RECEIVE_SILENCE_MS 60000u
#define RECEIVE_HOPE_MS 3000u /* what was only touched is known again by then */
#define RECEIVE_LOOK_MS 500u
#define RECEIVE_PROGRESS_MS 500u

struct transferer_settings {
    struct session_settings session;
    char listen[LINK_ENDPOINT_SIZE];    /* "tcp://127.0.0.1:0" */
    char advertise[LINK_ENDPOINT_SIZE]; /* setting advertise of the node, or empty */
};

/* Effects and their results. */
enum transferer_effect {
    TRANSFERER_CHECK = 1, /* request and value: struct check_request */
    TRANSFERER_STORE,     /* struct store_request; no value */
    TRANSFERER_READ,      /* request and value: struct read_request */
    TRANSFERER_MANIFEST,  /* request and value: struct manifest_request */
    TRANSFERER_FIND,      /* as TRANSFERER_CHECK, for a receive */
    TRANSFERER_REFUSED    /* no request, no result; the id says how many messages were refused */
};

struct check_request {
    char model_id[NAME_SIZE_MAX + 1];
    enum model_holding holding_out;
    struct hash revision_out;
};
struct store_request {
    struct model_record record;
    struct bytes *contents; /* one per file of the record; empty for weights */
};
struct read_request {
    struct peer peer;
    struct file_asked asked;
    struct file_part part_out;
    struct bytes piece_out; /* when `asked` has a size */
};
struct manifest_request {
    struct peer peer;
    struct manifest_asked asked;
    struct model_record record; /* what it is checked against */
    struct manifest_part part_out;
};
void manifest_request_free(void *request);
void store_request_free(void *request);
void read_request_free(void *request);
void contents_free(struct bytes *contents, uint32_t count);

enum fetch_phase {
    FETCH_IDLE,
    FETCH_CHECKING,
    FETCH_CONNECTING,
    FETCH_ASKING,
    FETCH_BACKING_OFF,
    FETCH_STORING
};

struct fetch_task {
    struct command_key key;
    char model_id[NAME_SIZE_MAX + 1];
    struct hash revision;
};

struct fetch_part {
    bool is_asked;
    uint32_t file;
    uint64_t offset;
};

/* The fetch of tasks[0]. */
struct fetch {
    enum fetch_phase phase;
    struct model_record record;
    struct bytes *contents;
    uint64_t *bytes_have; /* per file */
    bool *is_right;       /* per file: whole, and its digest is the manifest's */
    struct fetch_part window[FETCH_WINDOW];
    uint32_t next_file;
    uint64_t next_offset;
    uint32_t link;
    struct node_id holder;
    struct node_id tried[NODE_COUNT_MAX];
    uint32_t tried_count;
    uint32_t rounds;
    uint64_t deadline_ms;
    struct reason last;
};

/* ---- receiving whole models ---- */

enum receive_phase {
    RECEIVE_IDLE,
    RECEIVE_CHECKING, /* is it here already? */
    RECEIVE_ASKING,   /* for the manifest */
    RECEIVE_OPENING,
    RECEIVE_RUNNING,
    RECEIVE_PLACING
};

struct receive_task {
    struct command_key key;
    struct transfer_id transfer_id;
    char model_id[NAME_SIZE_MAX + 1];
    struct hash revision;
};

struct receive {
    enum receive_phase phase;
    struct receive_task task;
    struct model_record record;
    struct buffer manifest_bytes;
    uint64_t manifest_total;
    uint32_t manifest_link; /* of the source that is asked; 0: none */
    uint8_t *have;
    uint32_t chunk_have;
    uint64_t bytes_have;
    uint64_t bytes_total;
    uint64_t bytes_received;
    struct sources sources; /* their number: results of an earlier receive are told by it; modulo
                             * RECEIVES_MAX it is our place */
    uint64_t silent_ms;   /* without a chunk until then it fails */
    uint64_t hope_ms;     /* so it does when nobody has what lacks until then; 0: somebody may */
    uint64_t look_ms;     /* when that is looked at again */
    uint64_t began_ms;
    uint64_t told_ms;     /* when progress was told last, */
    uint64_t told_bytes;  /* what was received by then, */
    double bytes_per_ms;  /* and how fast, over some seconds */
    struct reason last;
    struct reason lost; /* what a source's disk has not that the state says it has */
};

/* What we lend to one receiver. */
struct lent {
    bool is_used;
    bool is_ready;
    struct peer peer;
    struct request_id session;
    char model_id[NAME_SIZE_MAX + 1];
    struct hash revision;
    bool is_shared; /* of a download: then its commit counts, not a revision */
    bool is_looking;
    char commit[HUB_COMMIT_SIZE];
    uint32_t asked; /* chunks on their way */
    struct disk_look look; /* when it was begun, or a chunk could not be read */
};

struct transferer {
    const struct transferer_settings *settings;
    struct session session;
    struct fetch_task tasks[TRANSFERER_TASKS_MAX];
    uint32_t task_count;
    struct fetch fetch;
    uint32_t links_used;
    uint32_t reads;
    uint32_t pieces; /* of the reads: pieces of any file, for gateways */
    struct public_key allowed[SERVE_KEYS_MAX];
    uint32_t allowed_count;
    uint32_t allowed_transferers; /* the first of them; the others are gateways */
    uint64_t refused; /* messages of gateways that are not theirs to send */
    bool has_allowed;
    bool is_ready_told;
    uint64_t endpoint_check_ms; /* 0: nothing to check */
    uint8_t seed[ACTOR_SEED_SIZE];
    uint64_t drawn;
    char bulk_address[LINK_ENDPOINT_SIZE]; /* of our streams; empty: not bound yet */
    struct receive_task receive_tasks[TRANSFERER_TASKS_MAX]; /* those that wait for a place */
    uint32_t receive_task_count;
    struct receive receives[RECEIVES_MAX];
    uint64_t receives_begun;
    uint32_t source_links[SOURCES_KIND_COUNT];
    bool has_swept;
    struct lent lents[LENDS_MAX];
    struct gather gathers[GATHERS_MAX];
    uint64_t gathers_begun;
};

struct transferer_step {
    struct transferer *transferer;
    const struct input *input;
    struct outbox *outbox;
    struct reason *reason;
};

extern const struct actor_ops transferer_ops;

/* ---- between the files of the transferer alone ---- */

/* Answers a task that it is worked on. */
enum status transferer_answer_running(struct transferer_step *step, const struct command_key *key,
                                      enum task_code code);

/* Starts tasks[0] when nothing is under way. */
enum status fetch_begin(struct transferer_step *step);
/* Inputs of the link to a holder. */
enum status fetch_input(struct transferer_step *step);
enum status fetch_checked(struct transferer_step *step, const struct check_request *check);
enum status fetch_stored(struct transferer_step *step);
/* The model went, or has another revision: the fetch is over. */
enum status fetch_state_changed(struct transferer_step *step);
/* Deadlines; asks for the next wake-up. */
enum status fetch_time(struct transferer_step *step);
void fetch_clear(struct fetch *fetch);

/* ---- receive.c ---- */
enum status receive_take_task(struct transferer_step *step, const struct message *message);
enum status receive_result(struct transferer_step *step);
enum status receive_state_changed(struct transferer_step *step);
/* Begins what waits. */
enum status receive_time(struct transferer_step *step);
void receive_clear(struct receive *receive);
/* OK: the model is here. */
enum status receive_end(struct transferer_step *step, struct receive *receive, enum status how,
                        const char *sentence);
/* The manifest came whole. */
enum status receive_open(struct transferer_step *step, struct receive *receive);
/* Some or all chunks are here. */
enum status receive_go_on(struct transferer_step *step, struct receive *receive);
/* Tells it when it was not told for a while. */
enum status receive_tell_progress(struct transferer_step *step, struct receive *receive);
const struct transfer_record *receive_transfer(const struct transferer *transferer,
                                               const struct receive *receive);
const struct model_record *receive_model(const struct transferer *transferer,
                                         const struct receive *receive);

/* ---- receive_sources.c ---- */
enum status receive_input(struct transferer_step *step);
/* Connects to those that may have something, and asks for as much as the credits allow. */
enum status receive_fill(struct transferer_step *step, struct receive *receive);
enum status receive_chunk(struct transferer_step *step, struct receive *receive,
                          const struct chunk_told *told);
enum status receive_sources_time(struct transferer_step *step, struct receive *receive);
/* False: nobody has what lacks, by the state and by what the sources said. */
bool receive_has_hope(const struct transferer *transferer, const struct receive *receive);

/* ---- lend.c ---- */
enum status lend_input(struct transferer_step *step, bool *is_taken_out);
enum status lend_result(struct transferer_step *step);
void lend_state_changed(struct transferer_step *step);

/* 32 bytes nobody else can know. */
struct hash transferer_draw(struct transferer *transferer);

/* A peer asks for a part. */
enum status serve_asked(struct transferer_step *step);
enum status serve_read(struct transferer_step *step, struct read_request *read);
/* The transferers and gateways of admitted nodes may connect, nobody else. */
void serve_allow(struct transferer_step *step);
/* False: a gateway sent it, and it is no read that gateways check. */
bool serve_may_ask(const struct transferer *transferer, const struct peer *peer,
                   const struct message *message);
/* Counts it, and hears nothing more from who sent it on this connection. */
enum status serve_refuse(struct transferer_step *step);

/* "127.0.0.1:7000" -> "tcp://127.0.0.1:0": another port than the master's, any free one. */
bool transferer_listen(const char *listen, char endpoint_out[LINK_ENDPOINT_SIZE]);
/* What peers are told: the bound port at the host of `advertise`, when that is set. */
void transferer_address(const char *bound, const char *advertise,
                        char endpoint_out[LINK_ENDPOINT_SIZE]);

#endif
