/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/launcher/rank_environment.h"

#include "protocol/limits.h"
#include "protocol/memory.h"
#include "runtime/process.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum {
    VARIABLE_SIZE_MAX = WAYS_SIZE_MAX + 64,
    OWN_VARIABLES_MAX = 32,
    INTERFACE_SIZE = INET6_ADDRSTRLEN + 4
};

/* What a launcher of another kind may have left, and what ours sets itself: any of these would
 * make the rank look for a server that is not there. */
static const char *const foreign_prefixes[] = {"PMIX_", "OMPI_", "ORTE_", "SLURM_", "FLUX_",
                                               "JSM_",  "PMI_",  "UCX_",  "TROUPE_FABRIC_"};

static bool is_foreign(const char *variable)
{
    for (size_t i = 0; i < COUNT_OF(foreign_prefixes); i++)
        if (strncmp(variable, foreign_prefixes[i], strlen(foreign_prefixes[i])) == 0)
            return true;
    return false;
}

struct variable_list {
    char **items;
    size_t count;
    bool failed;
};

static void list_add(struct variable_list *list, const char *text)
{
    char *copy = list->failed ? NULL : memory_text(text, strlen(text));
    if (!copy) {
        list->failed = true;
        return;
    }
    list->items[list->count++] = copy;
    list->items[list->count] = NULL;
}

static void PRINTF_LIKE(2, 3) list_set(struct variable_list *list, const char *format, ...)
{
    char text[VARIABLE_SIZE_MAX];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    ASSERT(length > 0 && (size_t)length < sizeof(text));
    list_add(list, text);
}

static bool same_address(const struct sockaddr *have, const char *wanted)
{
    char text[INET6_ADDRSTRLEN] = "";
    if (have && have->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, have, sizeof(v4));
        (void)inet_ntop(AF_INET, &v4.sin_addr, text, sizeof(text));
    } else if (have && have->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, have, sizeof(v6));
        (void)inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof(text));
    }
    return strcmp(text, wanted) == 0;
}

/* What btl_tcp_if_include wants: a network for IPv4, the interface's name for IPv6, of which it
 * understands no networks.  A network of one address, as /32 would be, is to Open MPI 4.1 every
 * network: it shifts 1 by 32 places for the mask.  The name would let in all addresses of the
 * interface, proven or not; of /31 the other address is another machine's, or no host's. */
static enum status interface_of(const char *address, char interface_out[INTERFACE_SIZE],
                                struct reason *reason)
{
    unsigned char binary[16];
    char plain[INET6_ADDRSTRLEN];
    bool is_v4 = inet_pton(AF_INET, address, binary) == 1;
    if (!is_v4 && inet_pton(AF_INET6, address, binary) != 1)
        return refuse(reason, STATUS_INVALID, "%s is not a numeric address", address);
    (void)inet_ntop(is_v4 ? AF_INET : AF_INET6, binary, plain, sizeof(plain));

    struct ifaddrs *interfaces = NULL;
    if (getifaddrs(&interfaces) != 0)
        return refuse(reason, STATUS_IO, "cannot list the network interfaces");
    enum status status = STATUS_NOT_FOUND;
    /* All of 127/8 is the loopback's without being listed. */
    if (is_v4 && binary[0] == 127) {
        (void)snprintf(interface_out, INTERFACE_SIZE, "127.0.0.0/8");
        status = STATUS_OK;
    }
    for (struct ifaddrs *i = interfaces; i && status != STATUS_OK; i = i->ifa_next) {
        if (!same_address(i->ifa_addr, plain))
            continue;
        (void)snprintf(interface_out, INTERFACE_SIZE, is_v4 ? "%s/31" : "%s",
                       is_v4 ? plain : i->ifa_name);
        status = STATUS_OK;
    }
    freeifaddrs(interfaces);
    if (status != STATUS_OK)
        return refuse(reason, STATUS_INVALID, "no network interface of this node has the address"
                      " %s that the placement chose", address);
    return STATUS_OK;
}

/* UCX over that device and nothing else: a device it cannot use ends the start of MPI, rather than
 * making it slow unseen. */
static void list_set_rdma(struct variable_list *list, const char *device)
{
    list_set(list, "OMPI_MCA_pml=ucx");
    list_set(list, "OMPI_MCA_osc=ucx");
    list_set(list, "OMPI_MCA_btl=self");
    list_set(list, "OMPI_MCA_pml_ucx_tls=any");
    list_set(list, "OMPI_MCA_pml_ucx_devices=any");
    list_set(list, "UCX_NET_DEVICES=%.64s:1", device);
    list_set(list, "UCX_TLS=self,rc,ud");
    list_set(list, "UCX_WARN_UNUSED_ENV_VARS=n");
    /* Both would write into code to hear of mmap, which a runner may not: no hooks, no crash. */
    list_set(list, "OMPI_MCA_memory=^patcher");
    list_set(list, "OMPI_MCA_patcher=^overwrite");
    list_set(list, "UCX_MEM_EVENTS=n");
    list_set(list, "UCX_MEM_MMAP_HOOK_MODE=none");
    list_set(list, "UCX_HANDLE_ERRORS=none");
}

static void list_set_own(struct variable_list *list, const struct rank_network *network,
                         const char *interface)
{
    const uint16_t port_first = network->port_first;
    const uint16_t port_count = network->port_count;
    /* Open MPI 4.1 does not take PMIX_* as a sign that it was launched: without this one every
     * rank silently is a world of its own. */
    list_set(list, "JSM_JSRUN_PORT=1");
    if (network->rdma && network->rdma[0]) {
        list_set_rdma(list, network->rdma);
    } else {
        list_set(list, "OMPI_MCA_pml=ob1");
        list_set(list, "OMPI_MCA_btl=self,tcp");
    }
    list_set(list, "OMPI_MCA_btl_base_warn_component_unused=0");
    list_set(list, "OMPI_MCA_btl_tcp_if_include=%s", interface);
    if (port_first) {
        /* Both families: switching IPv6 off does not close its listener. */
        for (int family = 4; family <= 6; family += 2) {
            list_set(list, "OMPI_MCA_btl_tcp_port_min_v%d=%u", family, port_first);
            list_set(list, "OMPI_MCA_btl_tcp_port_range_v%d=%u", family,
                     port_count ? port_count : 1);
        }
    }
    /* Three spinning ranks on two cores are 200 times slower without it. */
    list_set(list, "OMPI_MCA_mpi_yield_when_idle=1");
    /* Without /sys hwloc complains to everyone's terminal.  Its plug-ins look for X displays, by
     * name: on a host that knows no localhost they wait seconds for the name server. */
    list_set(list, "HWLOC_HIDE_ERRORS=2");
    list_set(list, "HWLOC_PLUGINS_PATH=/nonexistent");
    list_set(list, FABRIC_VARIABLE "=%s", network->address);
    if (network->ways && network->ways[0])
        list_set(list, FABRIC_WAYS_VARIABLE "=%s", network->ways);
}

enum status rank_environment_open(char *const *base, const struct rank_network *network,
                                  char ***environment_out, struct reason *reason)
{
    char interface[INTERFACE_SIZE];
    enum status status = interface_of(network->address, interface, reason);
    if (status != STATUS_OK)
        return status;
    size_t base_count = 0;
    while (base[base_count])
        base_count++;
    struct variable_list list = {
        memory_zeroed(base_count + OWN_VARIABLES_MAX + 1, sizeof(char *)), 0, false};
    if (!list.items)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for the environment of a rank");
    for (size_t i = 0; i < base_count; i++)
        if (!is_foreign(base[i]))
            list_add(&list, base[i]);
    list_set_own(&list, network, interface);
    if (list.failed) {
        rank_environment_free(list.items);
        return refuse(reason, STATUS_NO_MEMORY, "no memory for the environment of a rank");
    }
    *environment_out = list.items;
    return STATUS_OK;
}

void rank_environment_free(char **environment)
{
    if (!environment)
        return;
    for (size_t i = 0; environment[i]; i++)
        memory_free(environment[i]);
    memory_free(environment);
}
