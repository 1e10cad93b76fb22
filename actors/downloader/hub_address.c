/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/downloader/hub_address.h"

#include "protocol/assert.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>

static bool is_global_v4(uint32_t address)
{
    /* IANA's registry of special addresses, those a CDN cannot have. */
    static const struct {
        uint32_t network;
        uint32_t bits;
    } special[] = {
        {0x00000000, 8},  {0x0a000000, 8},  {0x64400000, 10}, {0x7f000000, 8},
        {0xa9fe0000, 16}, {0xac100000, 12}, {0xc0000000, 24}, {0xc0a80000, 16},
        {0xc6120000, 15}, {0xe0000000, 4},  {0xf0000000, 4},
    };
    for (size_t i = 0; i < COUNT_OF(special); i++)
        if ((address ^ special[i].network) >> (32 - special[i].bits) == 0)
            return false;
    return true;
}

static bool is_global_v6(const uint8_t *bytes)
{
    static const uint8_t zero[12];
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    static const uint8_t nat64[12] = {0, 0x64, 0xff, 0x9b};
    uint32_t inner;
    memcpy(&inner, bytes + 12, sizeof(inner));
    if (memcmp(bytes, zero, 12) == 0)
        return false;
    if (memcmp(bytes, mapped, 12) == 0 || memcmp(bytes, nat64, 12) == 0)
        return is_global_v4(ntohl(inner));
    /* Global unicast is 2000::/3; 2002::/16 holds an address of v4. */
    if ((bytes[0] & 0xe0) != 0x20)
        return false;
    memcpy(&inner, bytes + 2, sizeof(inner));
    return !(bytes[0] == 0x20 && bytes[1] == 0x02) || is_global_v4(ntohl(inner));
}

bool hub_address_is_global(const struct sockaddr *address, size_t size)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    if (address->sa_family == AF_INET && size >= sizeof(v4)) {
        memcpy(&v4, address, sizeof(v4));
        return is_global_v4(ntohl(v4.sin_addr.s_addr));
    }
    if (address->sa_family == AF_INET6 && size >= sizeof(v6)) {
        memcpy(&v6, address, sizeof(v6));
        return is_global_v6(v6.sin6_addr.s6_addr);
    }
    return false;
}
