/* SPDX-License-Identifier: Apache-2.0 */
/*
 * paths: where things lie in a node's home directory.
 *
 * Owner    whoever opened it; the supervisor holds the lock.
 * Memory   plain struct; paths_close gives the lock back.
 * Fails    STATUS_NO_PERMISSION, STATUS_BUSY (another supervisor has this home), STATUS_TOO_LARGE,
 *          STATUS_NO_SPACE, STATUS_IO: one sentence that names the directory and the remedy.
 */
#ifndef TROUPE_RUNTIME_PATHS_H
#define TROUPE_RUNTIME_PATHS_H

#include "protocol/status.h"

enum { PATH_SIZE = 1024 };

#define MASTER_ENDPOINT "ipc://master.sock" /* processes live in HOME/run */

struct paths {
    char home[PATH_SIZE];
    char config[PATH_SIZE + 32];   /* home/config.ini */
    char identity[PATH_SIZE + 32]; /* home/identity */
    char log[PATH_SIZE + 32];
    char models[PATH_SIZE + 32];   /* setting `store`, else the cache of the hub */
    char holdings[PATH_SIZE + 32]; /* what this node knows of its models */
    char directories[2 * PATH_SIZE + 64]; /* setting `model_directories`, "DIR:DIR", and HOME/models
                                             when it is there and not the store: of old versions */
    char run[PATH_SIZE + 32];
    char journal[PATH_SIZE + 32];
    int lock_fd;                   /* -1: not held */
};

/* Fills the paths; touches nothing on disk.  `home` and `store` may be empty or NULL;
 * the store is then the hub's cache of this user, or HOME/models where there is no user's home. */
MUST_CHECK enum status paths_init(struct paths *paths, const char *home, const char *store,
                                  struct reason *reason);
/* Takes the setting `model_directories`; every one must be absolute. */
MUST_CHECK enum status paths_set_directories(struct paths *paths, const char *directories,
                                             struct reason *reason);
/* Makes home and all below it, mode 0700, and tries that they can be written. */
MUST_CHECK enum status paths_make(const struct paths *paths, struct reason *reason);
/* Takes the home for this process; ends with it. */
MUST_CHECK enum status paths_lock(struct paths *paths, struct reason *reason);
void paths_unlock(struct paths *paths);
/* chdir HOME/run, where relative socket names are short. */
MUST_CHECK enum status paths_enter_run(const struct paths *paths, struct reason *reason);

/* mkdir with mode 0700; one that exists is OK when it is a directory of ours. */
MUST_CHECK enum status directory_make(const char *path, struct reason *reason);
/* Writes the whole file beside, syncs, renames over, syncs the directory; mode 0600. */
MUST_CHECK enum status file_replace(const char *path, const void *bytes, size_t size,
                                    struct reason *reason);

#endif
