/* SPDX-License-Identifier: Apache-2.0 */
/*
 * thunderbolt: what macOS tells of its Thunderbolt ports, and which lead to another machine.
 *
 * Source: `system_profiler SPThunderboltDataType -json`, a list of buses.  A bus has the domain of
 * its own machine, one receptacle, and in `_items` what is plugged in; a machine has a domain of
 * its own, a hub or a dock has none and its own `_items`.  The peer of a bus is the first
 * descendant, in the order of the list and parents first, that has a domain.
 *
 * Memory   plain values; nothing of the text is kept.
 * Threads  any.
 * Fails    thunderbolt_parse: MALFORMED with a sentence for text that is not such a list, TOO_LARGE
 *          for one beyond the bounds; a caller goes on without fast links and says the sentence.
 */
#ifndef TROUPE_RUNTIME_THUNDERBOLT_H
#define TROUPE_RUNTIME_THUNDERBOLT_H

#include "protocol/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define THUNDERBOLT_TEXT_SIZE_MAX (1u << 20)
#define THUNDERBOLT_PORT_COUNT_MAX 32
#define THUNDERBOLT_NAME_SIZE 64
#define THUNDERBOLT_ASK_MS 5000

struct thunderbolt_port {
    char bus[THUNDERBOLT_NAME_SIZE];
    char domain[THUNDERBOLT_NAME_SIZE];      /* of this machine on that bus; may be empty */
    char receptacle[THUNDERBOLT_NAME_SIZE];  /* its number; may be empty */
    char peer_domain[THUNDERBOLT_NAME_SIZE]; /* of the machine at the other end; empty: none */
    char peer_name[THUNDERBOLT_NAME_SIZE];
    uint32_t hubs;       /* devices between the two */
    uint32_t speed_gbit; /* of the receptacle; 0: not told */
};

struct thunderbolt_ports {
    struct thunderbolt_port items[THUNDERBOLT_PORT_COUNT_MAX];
    uint32_t count;
};

MUST_CHECK enum status thunderbolt_parse(const char *text, size_t size,
                                         struct thunderbolt_ports *ports_out,
                                         struct reason *reason);
/* What the program tells within that time and THUNDERBOLT_TEXT_SIZE_MAX bytes; else TIMED_OUT,
 * TOO_LARGE, or IO when it cannot be started or fails.  It is ended with all it started. */
MUST_CHECK enum status thunderbolt_ask(const char *const *command, uint32_t timeout_ms,
                                       struct thunderbolt_ports *ports_out,
                                       struct reason *reason);
/* The same of this machine's own program; elsewhere than on macOS there are no ports. */
MUST_CHECK enum status thunderbolt_here(struct thunderbolt_ports *ports_out,
                                        struct reason *reason);
/* The slowest that leads to another machine; 0: none does, or it is not told. */
uint32_t thunderbolt_slowest_mbit(const struct thunderbolt_ports *ports);
/* "Up to 80 Gb/s" is 80; anything else 0. */
uint32_t thunderbolt_speed_gbit(const char *text);
/* Leads to a machine, above 40 Gb/s: version 4 reaches 40 too. */
bool thunderbolt_port_is_five(const struct thunderbolt_port *port);

#endif
