/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transferer: how the small files of a model go between the disks of peers.
 *
 * Accepts  tasks fetch_small_files, list_tasks; file_asked of other transferers; file_part of the
 *          one it asks; the state and events of its master; results of its shell.
 * Emits    reports small_files_stored, holding_changed, endpoint_opened; file_asked, file_part;
 *          answers task_held, tasks_listed, done.
 * Owner    runtime/loop.h; pure, the disk is the shell's (transferer_shell.h).
 * Memory   the mirror of the state; the small files of the one model being fetched, at most
 *          FETCH_BYTES_MAX; at most SERVE_READS_MAX parts on their way out.
 * Threads  one.
 * Fails    without memory, or when no address can be bound.
 *
 * A fetch asks one holder after the other: each has CONNECT_MS to be there and PART_MS for each
 * part.  A file that was had whole and right stays when the holder changes.  After FETCH_ROUNDS
 * rounds over all holders the task fails with the last reason; the planner gives it again.
 */
#ifndef TROUPE_ACTORS_TRANSFERER_TRANSFERER_H
#define TROUPE_ACTORS_TRANSFERER_TRANSFERER_H

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
#define TRANSFER_MESSAGE_MAX (2u << 20)

struct transferer_settings {
    struct session_settings session;
    char listen[LINK_ENDPOINT_SIZE];    /* "tcp://127.0.0.1:0" */
    char advertise[LINK_ENDPOINT_SIZE]; /* setting advertise of the node, or empty */
};

/* Effects and their results. */
enum transferer_effect {
    TRANSFERER_CHECK = 1, /* request and value: struct check_request */
    TRANSFERER_STORE,     /* struct store_request; no value */
    TRANSFERER_READ       /* request and value: struct read_request */
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
};
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

struct transferer {
    const struct transferer_settings *settings;
    struct session session;
    struct fetch_task tasks[TRANSFERER_TASKS_MAX];
    uint32_t task_count;
    struct fetch fetch;
    uint32_t links_used;
    uint32_t reads;
    struct public_key allowed[NODE_COUNT_MAX];
    uint32_t allowed_count;
    bool has_allowed;
    bool is_ready_told;
    uint64_t endpoint_check_ms; /* 0: nothing to check */
};

struct transferer_step {
    struct transferer *transferer;
    const struct input *input;
    struct outbox *outbox;
    struct reason *reason;
};

extern const struct actor_ops transferer_ops;

/* ---- between the files of the transferer alone ---- */

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

/* A peer asks for a part. */
enum status serve_asked(struct transferer_step *step);
enum status serve_read(struct transferer_step *step, struct read_request *read);
/* The transferers of admitted nodes may connect, nobody else. */
void serve_allow(struct transferer_step *step);

/* "127.0.0.1:7000" -> "tcp://127.0.0.1:0": another port than the master's, any free one. */
bool transferer_listen(const char *listen, char endpoint_out[LINK_ENDPOINT_SIZE]);
/* What peers are told: the bound port at the host of `advertise`, when that is set. */
void transferer_address(const char *bound, const char *advertise,
                        char endpoint_out[LINK_ENDPOINT_SIZE]);

#endif
