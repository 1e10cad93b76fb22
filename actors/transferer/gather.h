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
 * right are taken.  When nobody answers for GATHER_ALONE_MS, or for GATHER_RARE_MS nobody has what
 * is lacking and nobody fetches it, the state learns of it, and the downloader takes all from the
 * hub.  When a node that fetches something does not answer for GATHER_MUTE_MS, another shall.
 *
 * Owner    the transferer's step.
 * Memory   a gather: its sets of chunks, and its sources.
 * Threads  one.
 * Fails    without memory; a source that fails is left for a while.
 */
#ifndef TROUPE_ACTORS_TRANSFERER_GATHER_H
#define TROUPE_ACTORS_TRANSFERER_GATHER_H

#include "actors/transferer/sources.h"

#define GATHER_LINK_FIRST 300u
#define GATHER_LINK_COUNT 200u
#define GATHER_SOURCES_MAX 8
#define GATHER_CONNECTIONS 2u /* to a node: one chunk comes while the other is stored */
#define GATHER_WRONG_MAX 3u
#define GATHER_LOOK_MS 200u
#define GATHER_POLL_MS 150u
#define GATHER_REST_MS 500u
#define GATHER_CONNECT_MS 3000u
#define GATHER_ANSWER_MS 5000u
#define GATHER_CHUNK_MS 20000u
#define GATHER_ALONE_MS 5000u
#define GATHER_LACKING_MS 1500u
#define GATHER_RARE_MS 15000u
#define GATHER_MUTE_MS 10000u
#define GATHER_DRY_MS 1000u /* less than the downloader waits before it writes itself */

_Static_assert(GATHERS_MAX * GATHER_SOURCES_MAX <= STREAMS_MAX, "each source has a stream");

struct gather {
    bool is_used;
    bool is_ready;   /* its first look has come */
    bool is_looking; /* the thread is at it */
    bool is_strict;
    bool is_alone_told;
    struct command_key key;
    char model_id[NAME_SIZE_MAX + 1];
    char commit[HUB_COMMIT_SIZE];
    uint8_t *have;
    uint8_t *blocked; /* here, or in a file that cannot be written now */
    uint32_t file_count;
    uint64_t *fed_ms;  /* by file: when a chunk of it came last, or it was claimed */
    uint8_t *claimed;  /* by file: this node shall fetch it from the hub */
    uint8_t *wanted;   /* by file: as the thread was told */
    uint64_t *lacking_ms; /* by file: since when its holder has it not whole; 0: it has */
    struct sources sources; /* their number: results of an earlier gather are told by it */
    uint64_t look_ms;
    uint64_t began_ms;
    uint64_t answered_ms; /* when somebody answered, or nothing was lacking */
    uint64_t common_ms;   /* when what was lacking was somewhere, or being fetched */
    uint64_t mute_ms;     /* not before then a mute fetcher is told of again */
    bool was_paused;
};

enum status gather_take_task(struct transferer_step *step, const struct message *message);
enum status gather_input(struct transferer_step *step);
/* `is_taken_out`: it was about a gather. */
enum status gather_result(struct transferer_step *step, bool *is_taken_out);
enum status gather_judge(struct transferer_step *step, struct gather *gather,
                         const struct source *source);
enum status gather_state_changed(struct transferer_step *step);
enum status gather_time(struct transferer_step *step);
void gather_clear(struct gather *gather);

/* ---- gather_sources.c ---- */
enum status gather_fill(struct transferer_step *step, struct gather *gather);
enum status gather_sources_time(struct transferer_step *step, struct gather *gather);
enum status gather_chunk(struct transferer_step *step, struct gather *gather,
                         const struct chunk_told *told);
enum status gather_source_input(struct transferer_step *step, struct gather *gather,
                                struct source *source);
const struct download_record *gather_download(const struct transferer *transferer,
                                              const struct gather *gather);
/* The file of a chunk, counted over the download's list. */
uint32_t gather_file_of(const struct download_record *download, uint32_t chunk);

#endif
