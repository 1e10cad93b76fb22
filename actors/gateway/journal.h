/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal: a line of JSON for each request, on disk, bounded.
 *
 * The newest lines are in `requests.jsonl`; when it is full it becomes `requests.1.jsonl` and the
 * one before is forgotten, so that both together stay below twice JOURNAL_SIZE_MAX.
 *
 * Owner    the gateway's shell.
 * Memory   a path and a descriptor.
 * Threads  one.
 * Fails    the statuses of open and write; a journal that failed is opened again at the next line.
 */
#ifndef TROUPE_ACTORS_GATEWAY_JOURNAL_H
#define TROUPE_ACTORS_GATEWAY_JOURNAL_H

#include "protocol/status.h"

#include <stdint.h>

#define JOURNAL_SIZE_MAX (4u << 20)

struct journal {
    char path[1100];     /* requests.jsonl */
    char path_old[1100]; /* requests.1.jsonl */
    int fd;              /* -1: not open */
    uint64_t size;
    uint64_t size_max;
};

/* Touches nothing on disk yet; 0 means JOURNAL_SIZE_MAX. */
MUST_CHECK enum status journal_init(struct journal *journal, const char *directory,
                                    uint64_t size_max, struct reason *reason);
/* One line with its line end. */
MUST_CHECK enum status journal_append(struct journal *journal, const void *line, size_t size,
                                      struct reason *reason);
void journal_fini(struct journal *journal);

#endif
