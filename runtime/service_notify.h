/* SPDX-License-Identifier: Apache-2.0 */
/*
 * service_notify: tells systemd (or who speaks its protocol) how the service is.
 *
 * Threads any.  Fails: silently false when there is no NOTIFY_SOCKET or nobody listens.
 */
#ifndef TROUPE_RUNTIME_SERVICE_NOTIFY_H
#define TROUPE_RUNTIME_SERVICE_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

/* Lines like "READY=1", "STATUS=serving", "WATCHDOG=1", "STOPPING=1". */
bool service_notify(const char *lines);
/* Half of WATCHDOG_USEC in ms when it is meant for this process, else 0. */
uint64_t service_watchdog_ms(void);

#endif
