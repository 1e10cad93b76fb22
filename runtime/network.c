/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/network.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENTRY_SIZE 64

static bool parse_address(const char *text, struct network *network)
{
    char plain[ENTRY_SIZE];
    size_t length = strlen(text);
    if (length >= 2 && text[0] == '[' && text[length - 1] == ']') {
        text++;
        length -= 2;
    }
    if (length == 0 || length >= sizeof(plain))
        return false;
    memcpy(plain, text, length);
    plain[length] = '\0';
    memset(network, 0, sizeof(*network));
    if (inet_pton(AF_INET, plain, network->address) == 1) {
        network->bits = 32;
        return true;
    }
    network->is_six = true;
    network->bits = 128;
    return inet_pton(AF_INET6, plain, network->address) == 1;
}

static bool parse_entry(char *entry, struct network *network)
{
    char *slash = strchr(entry, '/');
    if (slash)
        *slash++ = '\0';
    if (!parse_address(entry, network))
        return false;
    if (!slash)
        return true;
    char *end = NULL;
    unsigned long bits = strtoul(slash, &end, 10);
    if (end == slash || *end != '\0' || bits > network->bits)
        return false;
    network->bits = (uint32_t)bits;
    return true;
}

enum status networks_parse(const char *text, struct networks *networks_out,
                           struct reason *reason)
{
    struct networks networks = {.count = 0};
    const char *at = text;
    while (*(at += strspn(at, ", \t"))) {
        char entry[ENTRY_SIZE];
        const size_t length = strcspn(at, ", \t");
        if (networks.count == NETWORKS_MAX)
            return refuse(reason, STATUS_INVALID, "trusted_networks has more than %d entries",
                          NETWORKS_MAX);
        (void)snprintf(entry, sizeof(entry), "%.*s",
                       (int)(length < sizeof(entry) ? length : sizeof(entry) - 1), at);
        if (length >= sizeof(entry) || !parse_entry(entry, &networks.items[networks.count]))
            return refuse(reason, STATUS_INVALID,
                          "trusted_networks: %.60s is no network; write it as 192.168.0.0/24",
                          entry);
        networks.count++;
        at += length;
    }
    *networks_out = networks;
    return STATUS_OK;
}

static bool contains(const struct network *network, const struct network *address)
{
    if (network->is_six != address->is_six)
        return false;
    const uint32_t whole = network->bits / 8;
    const uint32_t rest = network->bits % 8;
    if (memcmp(network->address, address->address, whole) != 0)
        return false;
    if (rest == 0)
        return true;
    const uint8_t mask = (uint8_t)(0xffu << (8 - rest));
    return ((network->address[whole] ^ address->address[whole]) & mask) == 0;
}

bool networks_contain(const struct networks *networks, const char *address)
{
    struct network parsed;
    if (!parse_address(address, &parsed))
        return false;
    for (uint32_t i = 0; i < networks->count; i++)
        if (contains(&networks->items[i], &parsed))
            return true;
    return false;
}
