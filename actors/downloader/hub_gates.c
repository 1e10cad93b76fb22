/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/downloader/hub_gates.h"

#include <stdio.h>
#include <string.h>

void hub_gates_init(struct hub_gates *gates)
{
    memset(gates->gates, 0, sizeof(gates->gates));
    (void)pthread_mutex_init(&gates->mutex, NULL);
}

void hub_gates_fini(struct hub_gates *gates)
{
    (void)pthread_mutex_destroy(&gates->mutex);
}

void hub_gates_close_until(struct hub_gates *gates, const char *authority, uint64_t until_ms)
{
    (void)pthread_mutex_lock(&gates->mutex);
    struct hub_gate *gate = &gates->gates[0];
    for (size_t i = 0; i < HUB_GATES_MAX; i++) {
        if (strcmp(gates->gates[i].authority, authority) == 0) {
            gate = &gates->gates[i];
            break;
        }
        if (gates->gates[i].until_ms < gate->until_ms)
            gate = &gates->gates[i];
    }
    if (strcmp(gate->authority, authority) != 0) {
        (void)snprintf(gate->authority, sizeof(gate->authority), "%s", authority);
        gate->until_ms = until_ms;
    }
    if (gate->until_ms < until_ms)
        gate->until_ms = until_ms;
    (void)pthread_mutex_unlock(&gates->mutex);
}

uint64_t hub_gates_open_at(struct hub_gates *gates, const char *authority)
{
    uint64_t until_ms = 0;
    (void)pthread_mutex_lock(&gates->mutex);
    for (size_t i = 0; i < HUB_GATES_MAX; i++)
        if (strcmp(gates->gates[i].authority, authority) == 0)
            until_ms = gates->gates[i].until_ms;
    (void)pthread_mutex_unlock(&gates->mutex);
    return until_ms;
}
