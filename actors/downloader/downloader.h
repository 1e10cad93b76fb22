/* SPDX-License-Identifier: Apache-2.0 */
/*
 * downloader: how a model comes to this node's disk.
 *
 * Accepts  tasks import_model (from a directory or from a hub), delete_files, list_tasks; the state
 *          and events of its master (model_removed cancels and deletes); results of its shell.
 * Emits    reports model_imported, model_import_failed, holding_changed, download_resolved,
 *          file_downloaded, download_hindered; signal
 *          import_progressed; answers task_held, tasks_listed, done.
 * Owner    runtime/loop.h; pure, the disk is the shell's (downloader_shell.h).
 * Memory   the mirror of the state, the tasks it holds.
 * Threads  one.
 * Fails    without memory, or when its shell cannot be asked.
 */
#ifndef TROUPE_ACTORS_DOWNLOADER_DOWNLOADER_H
#define TROUPE_ACTORS_DOWNLOADER_DOWNLOADER_H

#include "runtime/model_store.h"
#include "runtime/session.h"

#define DOWNLOADER_TASKS_MAX 64
#define DOWNLOADER_LOOKS_MAX 5
#define DOWNLOADER_DELETIONS_MAX MODEL_COUNT_MAX

/* Effects and their results. */
enum downloader_effect {
    DOWNLOADER_LOOK = 1, /* no request; value: struct store_found */
    DOWNLOADER_IMPORT,   /* struct import_request; value: struct model_record */
    DOWNLOADER_DELETE,   /* struct import_request, its path empty; no value */
    DOWNLOADER_PROGRESS, /* unasked, id of the import; value: struct import_progressed */
    DOWNLOADER_PULL,     /* struct import_request, its path empty; value: struct model_record */
    DOWNLOADER_CANCEL,   /* struct import_request of the pull; no result: the pull has one */
    DOWNLOADER_PLAN,     /* struct hub_plan, for the pull of that id; no result */
    DOWNLOADER_RESOLVED, /* unasked, id of the pull; value: struct download_resolved */
    DOWNLOADER_PLACED,   /* likewise; value: struct file_downloaded */
    DOWNLOADER_HINDERED, /* likewise; value: struct download_hindered */
    DOWNLOADER_ROOM,     /* unasked, id of the work: struct store_room; then struct room_answer */
    DOWNLOADER_CLEAR,    /* struct import_request of what needs room; no value */
    DOWNLOADER_NOTE      /* struct import_request with what is noted of the model; no value */
};

struct import_request {
    char *model_id;
    char *path;
    char *hub_revision; /* of a pull; empty: main */
    char commit_in_use[HUB_COMMIT_SIZE]; /* of an instance of that name; empty: none is known */
    struct hash revision_in_use;         /* likewise; zero: none */
    bool is_pinned;     /* of a note */
    uint64_t used_ms;   /* likewise */
    uint64_t bytes;     /* that must have room */
};
void import_request_free(void *request);
void model_record_free(void *record);
void import_progressed_free(void *progressed);
void download_resolved_free(void *resolved);
void file_downloaded_free(void *downloaded);
void download_hindered_free(void *hindered);
void plan_request_free(void *plan);

/* What lies in the store, in no order. */
struct store_found {
    struct found_model {
        enum model_holding holding;
        uint8_t held[FILE_SET_BYTES_MAX]; /* of MODEL_SMALL_FILES: which files are right */
        struct model_record record;
        struct reason reason; /* what is wrong with it, or empty */
    } models[MODEL_COUNT_MAX];
    uint32_t count;
};
void store_found_free(void *found);

/* A work waits for room: what lies in the store, and how much more may. */
struct store_room {
    char model_id[NAME_SIZE_MAX + 1]; /* what needs it */
    uint64_t bytes;
    uint64_t quota; /* 0: none */
    uint64_t free_bytes;
    struct room_held {
        char model_id[NAME_SIZE_MAX + 1];
        struct model_usage usage;
    } models[MODEL_COUNT_MAX];
    uint32_t count;
};

/* What it may remove for that; or why it may not. */
struct room_answer {
    enum status status;
    struct reason reason;
    char names[MODEL_COUNT_MAX][NAME_SIZE_MAX + 1];
    uint32_t count;
};

/* A task it was given: running, or done and not yet seen in the state. */
struct held_task {
    uint64_t id; /* of the effect */
    struct command_key key;
    uint32_t code;
    bool is_pull;
    enum task_phase phase;
    enum status status;
    char model_id[NAME_SIZE_MAX + 1];
    uint64_t room_bytes; /* that were promised to it */
    struct reason reason;
};

/* A model's files that the shell was told to delete, and may not have yet. */
struct deletion {
    uint64_t id; /* of the effect */
    char model_id[NAME_SIZE_MAX + 1];
};

/* Ids of DOWNLOADER_LOOK: a glance trusts stamps and reads no weights. */
enum downloader_look { LOOK_WHOLE = 0, LOOK_GLANCE = 1 };
/* So often, for directories that people delete or spoil while the node runs. */
#define DOWNLOADER_GLANCE_MS 10000u

struct downloader {
    struct session session;
    struct held_task tasks[DOWNLOADER_TASKS_MAX];
    uint32_t task_count;
    struct deletion deletions[DOWNLOADER_DELETIONS_MAX];
    uint32_t deletion_count;
    uint64_t last_id;
    bool is_looking;
    bool look_again;
    uint64_t glance_at_ms; /* when the store is glanced at again */
    uint32_t looks;        /* in a row without an end */
    uint64_t looked_index; /* state when the look began */
    bool is_ready_told;
};

extern const struct actor_ops downloader_ops;

#endif
