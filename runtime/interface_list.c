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

size_t interface_list(struct interface_address addresses_out[INTERFACE_ADDRESS_COUNT_MAX])
{
    struct ifaddrs *all = NULL;
    size_t count = 0;
    if (getifaddrs(&all) != 0)
        return 0;
    for (const struct ifaddrs *i = all; i && count < INTERFACE_ADDRESS_COUNT_MAX; i = i->ifa_next) {
        struct interface_address *next = &addresses_out[count];
        memset(next, 0, sizeof(*next));
        if (!print_address(i->ifa_addr, next->address))
            continue;
        next->interface = look_at(i->ifa_name, i->ifa_flags);
        count++;
    }
    freeifaddrs(all);
    return count;
}

bool interface_told_here(const char *listen, struct interface_told *told_out)
{
    struct interface_address addresses[INTERFACE_ADDRESS_COUNT_MAX];
    return interface_told_find(addresses, interface_list(addresses), listen, told_out);
}
