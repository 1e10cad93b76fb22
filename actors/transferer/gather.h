/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gather: what other nodes have of a download under way, taken chunk by chunk into the partial
 * files of this node; between the files of the transferer alone.
 *
 * Asked are the nodes that fetch a file from the hub, those that have fetched one, the other
 * targets and whoever holds the model.  A file that this node shall fetch itself is taken too, as
 * long as the others still give some of it: so nothing is fetched from the hub twice when the node
 * that fetched it before is gone.  Whether the bytes are right at last only the hub's hash says,
 * which the downloader checks; when a whole file was wrong, only files that another node has found
 * right are taken.  When nobody answers for GATHER_ALONE_MS, the state learns of it, and the
 * downloader takes all from the hub.
 *
 * Owner    the transferer's step.
 * Memory   a gather: its sets of chunks, and what its sources hold.
 * Threads  one.
 * Fails    without memory; a source that fails is left for a while.
 */
#ifndef TROUPE_ACTORS_TRANSFERER_GATHER_H
#define TROUPE_ACTORS_TRANSFERER_GATHER_H

#include "actors/transferer/bulk.h"
#include "runtime/actor.h"

#define GATHER_LINK_FIRST 300u
#define GATHER_LINK_COUNT 200u
#define GATHER_SOURCES_MAX 6
#define GATHER_WINDOW 4u
#define GATHER_WRONG_MAX 3u
#define GATHER_LOOK_MS 200u
#define GATHER_POLL_MS 150u
#define GATHER_REST_MS 500u
#define GATHER_CONNECT_MS 3000u
#define GATHER_ANSWER_MS 5000u
#define GATHER_CHUNK_MS 20000u
#define GATHER_ALONE_MS 5000u
#define GATHER_LACKING_MS 1500u
#define GATHER_DRY_MS 1000u /* less than the downloader waits before it writes itself */

enum gather_source_phase {
    GATHER_SOURCE_NONE,
    GATHER_SOURCE_CONNECTING,
    GATHER_SOURCE_ASKED,
    GATHER_SOURCE_OPEN
};

struct gather_source {
    enum gather_source_phase phase;
    struct node_id node_id;
    uint32_t link;
    char host[LINK_ENDPOINT_SIZE];
    struct request_id session;
    struct hash key;
    bool is_joined; /* its stream was begun */
    uint8_t *held;  /* a set of chunks */
    uint32_t window[GATHER_WINDOW];
    uint32_t window_count;
    uint64_t deadline_ms;
    uint64_t poll_ms;
};

struct gather_rest {
    struct node_id node_id;
    uint32_t wrong;
    uint64_t until_ms;
};

struct gather {
    bool is_used;
    bool is_ready;   /* its first look has come */
    bool is_looking; /* the thread is at it */
    bool is_strict;
    bool is_alone_told;
    struct command_key key;
    uint64_t number; /* looks of an earlier one are told by it */
    char model_id[NAME_SIZE_MAX + 1];
    char commit[HUB_COMMIT_SIZE];
    uint32_t count; /* chunks */
    uint8_t *have;
    uint8_t *blocked; /* here, or in a file that cannot be written now */
    uint8_t *asked;
    uint8_t *available;
    uint32_t file_count;
    uint64_t *fed_ms;  /* by file: when a chunk of it came last, or it was claimed */
    uint8_t *claimed;  /* by file: this node shall fetch it from the hub */
    uint8_t *wanted;   /* by file: as the thread was told */
    uint64_t *lacking_ms; /* by file: since when its holder has it not whole; 0: it has */
    struct gather_source sources[GATHER_SOURCES_MAX];
    struct gather_rest rests[NODE_COUNT_MAX];
    uint32_t rest_count;
    uint64_t look_ms;
    uint64_t answered_ms;
};

struct transferer;
struct transferer_step;

enum status gather_take_task(struct transferer_step *step, const struct message *message);
enum status gather_input(struct transferer_step *step);
/* `is_taken_out`: it was about a gather. */
enum status gather_result(struct transferer_step *step, bool *is_taken_out);
enum status gather_judge(struct transferer_step *step, struct gather *gather,
                         const struct gather_source *source);
enum status gather_state_changed(struct transferer_step *step);
enum status gather_time(struct transferer_step *step);
void gather_clear(struct gather *gather);

/* ---- gather_sources.c ---- */
enum status gather_fill(struct transferer_step *step, struct gather *gather);
enum status gather_leave(struct transferer_step *step, struct gather *gather,
                         struct gather_source *source);
enum status gather_sources_time(struct transferer_step *step, struct gather *gather);
enum status gather_chunk(struct transferer_step *step, struct gather *gather,
                         const struct chunk_told *told);
enum status gather_source_input(struct transferer_step *step, struct gather *gather,
                                struct gather_source *source);
const struct download_record *gather_download(const struct transferer *transferer,
                                              const struct gather *gather);
/* The file of a chunk, counted over the download's list. */
uint32_t gather_file_of(const struct download_record *download, uint32_t chunk);

#endif
