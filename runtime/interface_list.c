/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interface_list: the addresses of this machine, with what the system tells of their interfaces.
 */
#include "runtime/interface.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#ifdef __linux__
static struct interface look_at(const char *name, unsigned flags)
{
    struct interface_facts facts;
    interface_sysfs_read("/sys", name, &facts);
    facts.is_loopback = facts.is_loopback || (flags & IFF_LOOPBACK);
    struct interface interface = interface_classify(&facts);
    /* A container may see no sysfs, or that of another network namespace. */
    if (facts.hardware == 0)
        interface.is_up = (flags & IFF_UP) && (flags & IFF_RUNNING);
    interface_sysfs_rdma("/sys", name, interface.rdma);
    return interface;
}
#else
static struct interface look_at(const char *name, unsigned flags)
{
    struct interface_facts facts = {.is_up = (flags & IFF_UP) && (flags & IFF_RUNNING),
                                    .is_loopback = flags & IFF_LOOPBACK,
                                    .is_tunnel = flags & IFF_POINTOPOINT};
    (void)snprintf(facts.name, sizeof(facts.name), "%s", name);
    /* macOS: bridge0 is the one over its Thunderbolt ports, those from 100 on are of guests. */
    if (strcmp(name, "bridge0") == 0)
        (void)snprintf(facts.driver, sizeof(facts.driver), "thunderbolt");
    else if (strncmp(name, "bridge", 6) == 0)
        (void)snprintf(facts.device_type, sizeof(facts.device_type), "bridge");
    return interface_classify(&facts);
}
#endif

static bool print_address(const struct sockaddr *address, char text_out[INTERFACE_ADDRESS_SIZE])
{
    if (address && address->sa_family == AF_INET) {
        struct sockaddr_in four;
        memcpy(&four, address, sizeof(four));
        return inet_ntop(AF_INET, &four.sin_addr, text_out, INTERFACE_ADDRESS_SIZE) != NULL;
    }
    if (address && address->sa_family == AF_INET6) {
        struct sockaddr_in6 six;
        memcpy(&six, address, sizeof(six));
        return inet_ntop(AF_INET6, &six.sin6_addr, text_out, INTERFACE_ADDRESS_SIZE) != NULL;
    }
    return false;
}

static size_t bytes_of(const struct sockaddr *address, uint8_t bytes_out[16])
{
    if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 six;
        memcpy(&six, address, sizeof(six));
        memcpy(bytes_out, &six.sin6_addr, 16);
        return 16;
    }
    struct sockaddr_in four;
    memcpy(&four, address, sizeof(four));
    memcpy(bytes_out, &four.sin_addr, 4);
    return 4;
}

static void print_network(const struct ifaddrs *entry,
                          char text_out[INTERFACE_ADDRESS_SIZE + 4])
{
    uint8_t address[16];
    uint8_t mask[16];
    char text[INTERFACE_ADDRESS_SIZE];
    unsigned bits = 0;
    if (!entry->ifa_netmask || entry->ifa_netmask->sa_family != entry->ifa_addr->sa_family)
        return;
    const size_t size = bytes_of(entry->ifa_addr, address);
    (void)bytes_of(entry->ifa_netmask, mask);
    for (size_t i = 0; i < size; i++) {
        address[i] &= mask[i];
        for (unsigned bit = 0; bit < 8; bit++)
            bits += (mask[i] >> bit) & 1;
    }
    if (inet_ntop(entry->ifa_addr->sa_family, address, text, sizeof(text)))
        (void)snprintf(text_out, INTERFACE_ADDRESS_SIZE + 4, "%s/%u", text, bits);
}

size_t interface_list(const char *host,
                      struct interface_address addresses_out[INTERFACE_ADDRESS_COUNT_MAX])
{
    struct ifaddrs *all = NULL;
    size_t count = 0;
    if (getifaddrs(&all) != 0)
        return 0;
    for (const struct ifaddrs *i = all; i && count < INTERFACE_ADDRESS_COUNT_MAX; i = i->ifa_next) {
        struct interface_address *next = &addresses_out[count];
        memset(next, 0, sizeof(*next));
        if (!print_address(i->ifa_addr, next->address) ||
            (host && strcmp(host, next->address) != 0))
            continue;
        print_network(i, next->network);
        next->interface = look_at(i->ifa_name, i->ifa_flags);
        count++;
    }
    freeifaddrs(all);
    return count;
}

bool interface_told_here(const char *listen, struct interface_told *told_out)
{
    struct interface_address addresses[INTERFACE_ADDRESS_COUNT_MAX];
    char host[INTERFACE_ADDRESS_SIZE + 2];
    const size_t count = interface_list(interface_listen_host(listen, host), addresses);
    return interface_told_find(addresses, count, listen, told_out);
}

void interface_offers_here(const char *listen, uint32_t thunderbolt_mbit,
                           struct interface_offers *offers_out)
{
    struct interface_address addresses[INTERFACE_ADDRESS_COUNT_MAX];
    char host[INTERFACE_ADDRESS_SIZE + 2];
    const size_t count = interface_list(interface_listen_host(listen, host), addresses);
    for (size_t i = 0; i < count && thunderbolt_mbit > 0; i++)
        if (addresses[i].interface.kind == INTERFACE_THUNDERBOLT)
            addresses[i].interface.speed_mbit = thunderbolt_mbit;
    interface_offers_find(addresses, count, listen, offers_out);
}
