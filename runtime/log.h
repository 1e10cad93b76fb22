/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log: one line per happening, on standard error, for people and for the journal.
 *
 * Only loops and main functions log; libraries return a status and a reason.  Control bytes are
 * escaped, so that nothing a peer says can forge a line.  Of what looks like a secret (a join
 * token, a key of an API or a hub, a bearer's) only the first four characters and the length are
 * written.
 */
#ifndef TROUPE_RUNTIME_LOG_H
#define TROUPE_RUNTIME_LOG_H

#include "protocol/assert.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_NOTICE, LOG_LEVEL_DEBUG };

/* `name` is borrowed for the life of the process; lines start with it. */
void log_init(const char *name, enum log_level level);

void log_error(const char *format, ...) PRINTF_LIKE(1, 2);
void log_warning(const char *format, ...) PRINTF_LIKE(1, 2);
void log_notice(const char *format, ...) PRINTF_LIKE(1, 2);
void log_debug(const char *format, ...) PRINTF_LIKE(1, 2);

#endif
