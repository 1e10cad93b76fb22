/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weight_fault: a weight file that shrinks or cannot be read while it is mapped.
 *
 * The system answers a touch of what is gone with SIGBUS.  The handler writes one line with the
 * file's name to stderr, where the supervisor finds it as the reason, and ends the process.  Any
 * other SIGBUS has its usual end.
 *
 * Owner    main installs; weight_load names the files.
 * Memory   WEIGHT_FAULT_FILES_MAX places; beyond them the line names no file.
 * Threads  any; the handler only reads.
 * Fails    STATUS_INTERNAL when the system takes no handler.
 */
#ifndef TROUPE_ACTORS_RUNNER_WEIGHT_FAULT_H
#define TROUPE_ACTORS_RUNNER_WEIGHT_FAULT_H

#include "actors/runner/engine/weights.h"

#define WEIGHT_FAULT_FILES_MAX 64u

MUST_CHECK enum status weight_fault_install(struct reason *reason);
/* From now on a fault inside `files` is named. */
void weight_fault_watch(const struct weight_files *files);
/* Before they are closed; accepts NULL and files that are not watched. */
void weight_fault_forget(const struct weight_files *files);

#endif
