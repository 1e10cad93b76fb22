/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub_gates: until when a host asked not to be asked, for all pulls of the process.
 *
 * Owner    the downloader's shell.
 * Memory   a plain value; of more hosts than it has room for, the one that opens first is
 * forgotten. Threads  any. Fails    never.
 */
#ifndef TROUPE_ACTORS_DOWNLOADER_HUB_GATES_H
#define TROUPE_ACTORS_DOWNLOADER_HUB_GATES_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#define HUB_GATES_MAX 16
#define HUB_AUTHORITY_SIZE 300

struct hub_gates {
    pthread_mutex_t mutex;
    struct hub_gate {
        char authority[HUB_AUTHORITY_SIZE];
        uint64_t until_ms; /* 0: free */
    } gates[HUB_GATES_MAX];
};

void hub_gates_init(struct hub_gates *gates);
void hub_gates_fini(struct hub_gates *gates);
/* A host that is closed for longer stays so. */
void hub_gates_close_until(struct hub_gates *gates, const char *authority, uint64_t until_ms);
/* When the host may be asked; at most `now_ms`: now. */
uint64_t hub_gates_open_at(struct hub_gates *gates, const char *authority);

#endif
