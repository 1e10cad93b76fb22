/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weight_faults: a weight file that shrinks while it is mapped ends this process with its name.
 *
 * Reading beyond the new end of a mapped file is a SIGBUS.  The handler says on standard error
 * which file it was and ends the process; the supervisor makes that line the reason of the failed
 * generation.  A SIGBUS elsewhere takes its usual course.
 *
 * Owner    weights.c: each set of mapped files is watched from its opening to its closing.
 * Threads  any; the handler uses only what is async-signal-safe.
 * Fails    never; files beyond the room of the list are not watched.
 */
#ifndef TROUPE_ENGINE_WEIGHT_FAULTS_H
#define TROUPE_ENGINE_WEIGHT_FAULTS_H

#include "actors/runner/engine/weights.h"

void weight_faults_watch(const struct weight_files *files);
void weight_faults_forget(const struct weight_files *files);

#endif
