/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub_download: the files of one commit from the hub into the cache, several ranges at once.
 *
 * Each connection takes a chunk, asks the hub for that range and is mostly sent on to a CDN, whose
 * address is kept for the next chunks of the file.  A server that answers a range with the whole
 * file, or with 416, is read from the beginning by one connection; what is here already is passed
 * over.  What ends early goes on where it ended.
 *
 * Owner    the thread of a pull.
 * Memory   a few KiB per connection, the ledgers of the open files.
 * Threads  one.
 * Fails    what hub_ask and hub_incoming say; STALE: a file changed at the hub.
 */
#ifndef TROUPE_ACTORS_DOWNLOADER_HUB_DOWNLOAD_H
#define TROUPE_ACTORS_DOWNLOADER_HUB_DOWNLOAD_H

#include "actors/downloader/hub_ask.h"
#include "actors/downloader/hub_incoming.h"
#include "actors/downloader/hub_plan.h"

#define HUB_CONNECTIONS_MAX 16u

struct hub_counts {
    uint64_t bytes_fetched; /* of contents, what came twice too */
    uint64_t bytes_kept;    /* that an earlier process had fetched */
    uint64_t bytes_fed;     /* that came from other nodes */
    uint64_t files_present; /* in the cache, right already */
};

struct hub_progress {
    const char *file; /* the one that is worked on */
    uint64_t file_have, file_total;
    uint64_t bytes_have, bytes_total;
    uint64_t bytes_per_s;
    uint64_t bytes_hub, bytes_peers; /* that came, since the pull began */
};

struct hub_download {
    struct hub_session *session;
    const struct hub_place *place;
    const char *commit;
    uint32_t connections;
    uint64_t bytes_before, bytes_total; /* of the pull, for its progress */
    void (*progress)(void *who, const struct hub_progress *progress);
    /* Other nodes fetch some of the files: see hub_pull.h; NULL: none. */
    struct hub_company *company;
    struct hub_plan *plan;
    uint64_t plan_version;
    void (*placed)(void *who, const char *commit, const char *path);
    void *who;
    struct hub_counts counts;
    /* Of the files that were placed; hub_known_free frees them. */
    struct known_blob *known;
    uint32_t known_count;
};

void hub_known_free(struct known_blob *known, uint32_t count);

/* Files with one etag are fetched once. */
MUST_CHECK enum status hub_download_files(struct hub_download *download,
                                          const struct hub_file *files, uint32_t count,
                                          struct reason *reason);

#endif
