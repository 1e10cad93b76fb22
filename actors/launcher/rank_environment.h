/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rank_environment: the variables by which Open MPI 4.1 starts as a rank of ours.
 *
 * Owner    pmix_host.
 * Memory   the caller's; freed with rank_environment_free.  Array and strings come from malloc, as
 *          libpmix grows them with its own calls.
 * Threads  any; reads the list of interfaces.
 * Fails    STATUS_INVALID for an address no interface has.
 */
#ifndef TROUPE_ACTORS_LAUNCHER_RANK_ENVIRONMENT_H
#define TROUPE_ACTORS_LAUNCHER_RANK_ENVIRONMENT_H

#include "protocol/status.h"

#include <stdint.h>

/* Where its MPI talks; what the runner does with it: runner/collective_fabric.h. */
struct rank_network {
    const char *address; /* numeric */
    uint16_t port_first; /* 0: any free port */
    uint16_t port_count;
    const char *rdma; /* device of Linux, "mlx5_0"; NULL or empty: TCP at the address */
    const char *ways; /* to siblings met elsewhere, runtime/fabric_ways.h; NULL or empty: none */
};

MUST_CHECK enum status rank_environment_open(char *const *base, const struct rank_network *network,
                                             char ***environment_out, struct reason *reason);
void rank_environment_free(char **environment);

#endif
