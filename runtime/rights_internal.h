/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rights_internal: the words as bits, and the two halves of the kernel's part.
 */
#ifndef TROUPE_RUNTIME_RIGHTS_INTERNAL_H
#define TROUPE_RUNTIME_RIGHTS_INTERNAL_H

#include "runtime/rights.h"

enum right {
    RIGHT_HOME = 1 << 0,
    RIGHT_RUN = 1 << 1,
    RIGHT_LOG = 1 << 2,
    RIGHT_STORE = 1 << 3,
    RIGHT_HTTP = 1 << 4,
    RIGHT_READ = 1 << 5,
    RIGHT_SOURCE = 1 << 6,
    RIGHT_NET = 1 << 7,
    RIGHT_HUB = 1 << 8,
    RIGHT_SPAWN = 1 << 9,
    RIGHT_MPI = 1 << 10
};

/* The version of Landlock that now holds; 0: not available. */
int landlock_keep(unsigned rights, const struct rights_places *places);
/* False: not available. */
bool seccomp_keep(unsigned rights);

#endif
