/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pmix_host: the PMIx server of one generation on one node, inside the launcher.
 *
 * It lets Open MPI ranks of many machines find each other without mpirun: each launcher runs one,
 * and the launchers carry the fence blobs between them.  Rank i lives on node i, one rank for each
 * node.  libpmix has a thread of its own; what it asks for is queued, the descriptor becomes
 * readable, and the launcher takes the events in its loop.
 *
 * Owner    the launcher; one for each process, because libpmix keeps its state in globals.
 * Memory   small; events carry copies which their taker frees with pmix_host_event_fini.
 * Threads  every call from the launcher's loop thread.
 * Fails    STATUS_INVALID, STATUS_IO (libpmix refused; the reason has its words).
 *
 * The ranks get `self,tcp`: ranks of different nodes never share memory, so nothing is ever left
 * in /dev/shm, whoever is killed.
 */
#ifndef TROUPE_ACTORS_LAUNCHER_PMIX_HOST_H
#define TROUPE_ACTORS_LAUNCHER_PMIX_HOST_H

#include "actors/launcher/fence.h"
#include "protocol/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pmix_host;

struct pmix_host_options {
    /* Made with mode 0700 and removed at close; directories beside it whose launcher is dead and
     * whose names begin alike up to the first '-' are removed at open. */
    const char *directory;
    /* Never used twice: Open MPI's job id is a hash of it.  Letters, digits, '-' and '.'. */
    const char *name;
    /* `rank_count` names, the same on every node; they need not resolve. */
    const char *const *nodes;
    uint32_t rank;
    uint32_t rank_count;
};

/* Where the ranks listen and connect. */
struct pmix_host_fabric {
    const char *address;  /* numeric, IPv4 or IPv6, of this node */
    uint16_t port_first;  /* 0: any free port */
    uint16_t port_count;
    const char *rdma; /* device that MPI uses instead of TCP; NULL or empty: TCP */
    const char *ways; /* to ranks met at other addresses, runtime/fabric_ways.h; NULL: none */
};

enum pmix_host_event_kind {
    PMIX_HOST_CONNECTED,    /* the rank reached us; MPI_Init has begun */
    PMIX_HOST_FENCE,        /* send (signature, sequence, bytes) to every sibling */
    PMIX_HOST_MODEX_WANTED, /* ask the launcher of `rank`; answer with (request, bytes) */
    PMIX_HOST_MODEX_FOUND,  /* answer to the launcher of `rank`: (request, status, bytes) */
    PMIX_HOST_ABORTED,      /* the rank called MPI_Abort with `code` */
    PMIX_HOST_FINALIZED     /* the rank left MPI in order */
};

struct pmix_host_event {
    enum pmix_host_event_kind kind;
    uint32_t rank;
    uint64_t request;
    uint64_t sequence;
    enum status status;
    int32_t code;
    char signature[FENCE_SIGNATURE_SIZE];
    void *bytes;
    size_t size;
};

MUST_CHECK enum status pmix_host_open(const struct pmix_host_options *options,
                                      struct pmix_host **host_out, struct reason *reason);
/* After the rank is dead.  Accepts NULL. */
void pmix_host_close(struct pmix_host *host);

/* Readable while events wait. */
int pmix_host_descriptor(const struct pmix_host *host);
/* False when none waits. */
bool pmix_host_next(struct pmix_host *host, struct pmix_host_event *event_out);
void pmix_host_event_fini(struct pmix_host_event *event);

/* The whole environment of the rank: `base` without what MPI would misread, and ours.  The caller
 * frees it with pmix_host_environment_free. */
MUST_CHECK enum status pmix_host_environment(struct pmix_host *host,
                                             const struct pmix_host_fabric *fabric,
                                             char *const *base, char ***environment_out,
                                             struct reason *reason);
void pmix_host_environment_free(char **environment);

/* A sibling's blob.  A repeated one is STATUS_EXISTS and changes nothing. */
MUST_CHECK enum status pmix_host_fence(struct pmix_host *host, uint32_t rank,
                                       const char *signature, uint64_t sequence,
                                       const void *bytes, size_t size, struct reason *reason);
/* A sibling asks for the modex blob of our rank: PMIX_HOST_MODEX_FOUND comes later. */
void pmix_host_modex_lookup(struct pmix_host *host, uint32_t asking_rank, uint64_t request);
/* The answer to PMIX_HOST_MODEX_WANTED; one nobody waits for is ignored. */
void pmix_host_modex_answer(struct pmix_host *host, uint64_t request, enum status status,
                            const void *bytes, size_t size);

#endif
