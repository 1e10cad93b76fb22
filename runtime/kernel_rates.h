/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_rates: what the kernels of this machine manage, kept in a file of the node's home.
 *
 * A text of lines: "build" and "cpu", of which it holds, then "fast BITS THREADS BYTES PRODUCTS
 * ATTENDED ATTENDED NS" or "exact ...", with what a second sees and what a layer takes besides;
 * "plain NS", "near NS BYTES", "fresh BYTES" and "wake NS" as in node_load, each where it was
 * measured.  Written by troupe-engine measure, read by the master.
 *
 * Memory   plain.
 * Threads  any.
 * Fails    writing: IO with the file's name.
 */
#ifndef TROUPE_RUNTIME_KERNEL_RATES_H
#define TROUPE_RUNTIME_KERNEL_RATES_H

#include "protocol/state.h"

#include <stdbool.h>

#define KERNEL_RATES_FILE "kernels"
#define KERNEL_RATES_NAME_SIZE 128u

struct kernel_rates {
    char build[KERNEL_RATES_NAME_SIZE];
    char cpu[KERNEL_RATES_NAME_SIZE]; /* with how many of its cores this process may use */
    struct kernel_rate rates[KERNEL_RATE_COUNT_MAX];
    uint32_t count;
    uint64_t entry_ns; /* these as in struct node_load; 0: not measured */
    uint64_t near_ns;
    uint64_t near_bytes_per_s;
    uint64_t fresh_bytes_per_s;
    uint64_t wake_ns;
};

/* False where there is no such file, or what it says is not whole. */
bool kernel_rates_read(const char *path, struct kernel_rates *rates_out);
/* All of it or nothing. */
MUST_CHECK enum status kernel_rates_write(const char *path, const struct kernel_rates *rates,
                                          struct reason *reason);
/* Of this machine. */
void kernel_rates_cpu(char cpu_out[KERNEL_RATES_NAME_SIZE]);

#endif
