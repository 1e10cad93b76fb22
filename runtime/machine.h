/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine: what this machine is and has.
 *
 * Memory   none.
 * Threads  any.
 * Fails    never: what cannot be read is 0, or the most cautious value.
 */
#ifndef TROUPE_RUNTIME_MACHINE_H
#define TROUPE_RUNTIME_MACHINE_H

#include "protocol/ids.h"

#include <stdbool.h>
#include <stdint.h>

/* Hash of the machine's own id and of the network namespace: nodes that agree share cores and
 * memory. */
struct machine_id machine_id_read(void);
uint32_t machine_cores(void);
/* Bytes: all of it (a cgroup limit counts), and what could be taken now. */
uint64_t machine_memory_total(void);
uint64_t machine_memory_free(void);
/* What the cores were busy with since the machine's start, all of them together; false: unknown. */
bool machine_busy_us(uint64_t *busy_us_out);
/* Share of all cores in use over the last minute, 0 to 1. */
double machine_load(void);
/* Bytes free for this user on the file system of `path`. */
uint64_t machine_disk_free(const char *path);
/* The host's name, or "node". */
void machine_name(char *name_out, size_t size);

#endif
