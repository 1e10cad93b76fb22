/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/interface.h"

#include "protocol/memory.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

enum {
    HARDWARE_ETHERNET = 1,
    HARDWARE_PPP = 512,
    HARDWARE_TUNNEL = 768, /* 768 to 778: IP in IP, SIT, GRE */
    HARDWARE_TUNNEL_LAST = 778,
    HARDWARE_INFINIBAND = 32,
    HARDWARE_LOOPBACK = 772,
    HARDWARE_NONE = 65534, /* tun, wireguard */
    /* Of the slowest cable that carries IP over Thunderbolt, where the system does not tell. */
    THUNDERBOLT_SPEED_MBIT = 10000
};

/* Names that programs give; a number may follow each. */
static const char *const overlay_names[] = {
    "tailscale", "zt",     "wg",    "docker", "br-",  "virbr",  "vmnet", "vnic",   "vboxnet",
    "lxcbr",     "lxdbr",  "cni",   "flannel", "cali", "cilium", "podman", "tun",
    "tap",       "utun",   "ppp",   "ipsec",  "gif",  "stf",    "ham",   "nebula", "nordlynx",
    "awdl",      "llw",    "ap",    "anpi",   "kube", "weave",  "ovs",   "vxlan",  "geneve"};
/* What these append is letters as well. */
static const char *const open_names[] = {"zt",     "br-",  "cali", "docker",
                                         "cilium", "kube", "lxdbr"};
static const char *const overlay_types[] = {"wireguard", "vxlan", "geneve", "gretap", "ip6gretap",
                                            "ppp",       "wwan"};

/* "wg" is of "wg0", "wg-home" and "wg", not of "wgate0". */
static bool name_is_of(const char *name, const char *family)
{
    const size_t length = strlen(family);
    if (strncmp(name, family, length) != 0)
        return false;
    const char next = name[length];
    bool is_open = false;
    for (size_t i = 0; i < COUNT_OF(open_names); i++)
        is_open = is_open || strcmp(family, open_names[i]) == 0;
    return is_open || next == '\0' || next == '-' || next == '_' || next == '.' ||
           (next >= '0' && next <= '9');
}

static bool is_among(const char *text, const char *const *items, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(text, items[i]) == 0)
            return true;
    return false;
}

static bool is_overlay(const struct interface_facts *facts)
{
    if (facts->is_tunnel || facts->hardware == HARDWARE_NONE || facts->hardware == HARDWARE_PPP ||
        (facts->hardware >= HARDWARE_TUNNEL && facts->hardware <= HARDWARE_TUNNEL_LAST))
        return true;
    if (is_among(facts->device_type, overlay_types, COUNT_OF(overlay_types)))
        return true;
    if (strcmp(facts->device_type, "bridge") == 0)
        return !facts->bridges_device;
    if (facts->has_device)
        return false; /* a card, whatever someone called it */
    for (size_t i = 0; i < COUNT_OF(overlay_names); i++)
        if (name_is_of(facts->name, overlay_names[i]))
            return true;
    return false;
}

static enum interface_kind kind_of(const struct interface_facts *facts)
{
    if (facts->is_loopback || facts->hardware == HARDWARE_LOOPBACK)
        return INTERFACE_LOOPBACK;
    if (is_overlay(facts))
        return INTERFACE_OVERLAY;
    if (facts->is_wireless || strcmp(facts->device_type, "wlan") == 0 ||
        name_is_of(facts->name, "wlan"))
        return INTERFACE_WIRELESS;
    if (strncmp(facts->driver, "thunderbolt", 11) == 0 || name_is_of(facts->name, "thunderbolt"))
        return INTERFACE_THUNDERBOLT;
    return facts->hardware == HARDWARE_INFINIBAND ? INTERFACE_INFINIBAND : INTERFACE_WIRED;
}

struct interface interface_classify(const struct interface_facts *facts)
{
    struct interface interface = {.kind = kind_of(facts), .is_up = facts->is_up};
    (void)snprintf(interface.name, sizeof(interface.name), "%s", facts->name);
    if (facts->speed_mbit > 0 && facts->speed_mbit <= UINT32_MAX)
        interface.speed_mbit = (uint32_t)facts->speed_mbit;
    else if (interface.kind == INTERFACE_THUNDERBOLT)
        interface.speed_mbit = THUNDERBOLT_SPEED_MBIT;
    return interface;
}

const char *interface_kind_name(enum interface_kind kind)
{
    static const char *const names[INTERFACE_KIND_END] = {
        "unknown", "wired", "infiniband", "thunderbolt", "wireless", "overlay", "loopback"};
    return kind > 0 && kind < INTERFACE_KIND_END ? names[kind] : names[0];
}

/* ---- addresses ---- */

struct parsed {
    uint8_t bytes[16];
    bool is_six;
    bool is_valid;
};

static struct parsed parse(const char *address)
{
    struct parsed parsed = {.is_valid = true};
    if (inet_pton(AF_INET, address, parsed.bytes) == 1)
        return parsed;
    parsed.is_six = true;
    parsed.is_valid = inet_pton(AF_INET6, address, parsed.bytes) == 1;
    return parsed;
}

static const char *fault_of_four(const uint8_t *bytes)
{
    if (bytes[0] == 127)
        return "it is a loopback address";
    if (bytes[0] == 169 && bytes[1] == 254)
        return "it is link-local";
    if (bytes[0] == 100 && (bytes[1] & 0xc0) == 64)
        return "it is of the shared range that overlay networks use";
    if (bytes[0] == 0 || bytes[0] >= 224)
        return "no host can have it";
    return NULL;
}

static const char *fault_of_six(const uint8_t *bytes)
{
    static const uint8_t zero[16] = {0};
    static const uint8_t tailscale[6] = {0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0};
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (memcmp(bytes, mapped, sizeof(mapped)) == 0)
        return fault_of_four(bytes + 12);
    if (memcmp(bytes, zero, 15) == 0 && bytes[15] == 1)
        return "it is a loopback address";
    if (bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80)
        return "it is link-local";
    if (memcmp(bytes, tailscale, sizeof(tailscale)) == 0)
        return "it is of an overlay network";
    if (bytes[0] == 0xff || memcmp(bytes, zero, sizeof(zero)) == 0)
        return "no host can have it";
    return NULL;
}

static const char *fault_of(const struct interface_address *address)
{
    if (!address->interface.is_up)
        return "its interface is down";
    if (address->interface.kind == INTERFACE_LOOPBACK)
        return "its interface is the loopback";
    if (address->interface.kind == INTERFACE_OVERLAY)
        return "its interface is an overlay";
    const struct parsed parsed = parse(address->address);
    if (!parsed.is_valid)
        return "it is no numeric address";
    return parsed.is_six ? fault_of_six(parsed.bytes) : fault_of_four(parsed.bytes);
}

bool interface_address_is_usable(const struct interface_address *address, const char **why_out)
{
    const char *fault = fault_of(address);
    if (fault && why_out)
        *why_out = fault;
    return !fault;
}

/* 0: wired, 1: wireless, 2: what carries no rank. */
static int class_of(enum interface_kind kind)
{
    if (kind == INTERFACE_WIRELESS)
        return 1;
    return kind == INTERFACE_OVERLAY || kind == INTERFACE_LOOPBACK ? 2 : 0;
}

int interface_address_compare(const struct interface_address *a, const struct interface_address *b)
{
    const struct interface *left = &a->interface;
    const struct interface *right = &b->interface;
    int order = class_of(left->kind) - class_of(right->kind);
    if (order == 0 && left->speed_mbit != right->speed_mbit)
        order = left->speed_mbit > right->speed_mbit ? -1 : 1;
    if (order == 0)
        order = (left->rdma[0] == '\0') - (right->rdma[0] == '\0');
    if (order != 0)
        return order;
    const struct parsed own = parse(a->address);
    const struct parsed other = parse(b->address);
    order = (int)other.is_valid - (int)own.is_valid;
    if (order == 0)
        order = (int)own.is_six - (int)other.is_six;
    if (order == 0)
        order = memcmp(own.bytes, other.bytes, sizeof(own.bytes));
    if (order == 0)
        order = strcmp(a->address, b->address);
    return order != 0 ? order : strcmp(left->name, right->name);
}

const struct interface_address *interface_address_choose(const struct interface_address *addresses,
                                                         size_t count)
{
    const struct interface_address *best = NULL;
    for (size_t i = 0; i < count; i++)
        if (interface_address_is_usable(&addresses[i], NULL) &&
            (!best || interface_address_compare(&addresses[i], best) < 0))
            best = &addresses[i];
    return best;
}

/* "tcp://[::]:7" is "::"; false: it is too long to be an address. */
static bool host_of(const char *listen, char host_out[INTERFACE_ADDRESS_SIZE + 2])
{
    const char *start = strncmp(listen, "tcp://", 6) == 0 ? listen + 6 : listen;
    const char *colon = strrchr(start, ':');
    size_t length = colon ? (size_t)(colon - start) : strlen(start);
    if (length >= 2 && start[0] == '[' && start[length - 1] == ']') {
        start++;
        length -= 2;
    }
    if (length >= INTERFACE_ADDRESS_SIZE + 2)
        return false;
    (void)snprintf(host_out, INTERFACE_ADDRESS_SIZE + 2, "%.*s", (int)length, start);
    return true;
}

static bool means_any(const char *host)
{
    return strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0 || strcmp(host, "*") == 0;
}

const char *interface_listen_host(const char *listen, char host_out[INTERFACE_ADDRESS_SIZE + 2])
{
    return host_of(listen, host_out) && !means_any(host_out) ? host_out : NULL;
}

static void print_host(const char *address, char host_out[INTERFACE_ADDRESS_SIZE + 2])
{
    const bool is_six = strchr(address, ':') != NULL;
    (void)snprintf(host_out, INTERFACE_ADDRESS_SIZE + 2, "%s%s%s", is_six ? "[" : "", address,
                   is_six ? "]" : "");
}

bool interface_told_find(const struct interface_address *addresses, size_t count,
                         const char *listen, struct interface_told *told_out)
{
    char host[INTERFACE_ADDRESS_SIZE + 2];
    if (!host_of(listen, host))
        return false;
    const bool is_any = means_any(host);
    const struct interface_address *own =
        is_any ? interface_address_choose(addresses, count) : NULL;
    for (size_t i = 0; !is_any && i < count; i++)
        if (strcmp(addresses[i].address, host) == 0 &&
            (!own || interface_address_compare(&addresses[i], own) < 0))
            own = &addresses[i];
    if (!own)
        return false;
    *told_out = (struct interface_told){.interface = own->interface, .is_any = is_any};
    print_host(own->address, told_out->host);
    return true;
}

/* ---- what others may try ---- */

static bool is_six(const struct interface_address *address)
{
    return strchr(address->address, ':') != NULL;
}

/* How many of the same interface and family are better. */
static size_t place_of(const struct interface_address *addresses, size_t count, size_t at)
{
    size_t place = 0;
    for (size_t i = 0; i < count; i++)
        place += i != at && interface_address_is_usable(&addresses[i], NULL) &&
                 strcmp(addresses[i].interface.name, addresses[at].interface.name) == 0 &&
                 is_six(&addresses[i]) == is_six(&addresses[at]) &&
                 interface_address_compare(&addresses[i], &addresses[at]) < 0;
    return place;
}

/* The next best after `last`, of those whose place among their like is `place`. */
static const struct interface_address *next_best(const struct interface_address *addresses,
                                                 size_t count, size_t place, bool is_four_only,
                                                 const struct interface_address *last)
{
    const struct interface_address *best = NULL;
    for (size_t i = 0; i < count; i++)
        if (interface_address_is_usable(&addresses[i], NULL) &&
            place_of(addresses, count, i) == place && !(is_four_only && is_six(&addresses[i])) &&
            (!last || interface_address_compare(&addresses[i], last) > 0) &&
            (!best || interface_address_compare(&addresses[i], best) < 0))
            best = &addresses[i];
    return best;
}

void interface_offers_find(const struct interface_address *addresses, size_t count,
                           const char *listen, struct interface_offers *offers_out)
{
    const struct interface_address *chosen[ADDRESS_OFFER_COUNT_MAX];
    char host[INTERFACE_ADDRESS_SIZE + 2];
    struct interface_offers offers = {.is_any = host_of(listen, host) && means_any(host)};
    /* A socket at "*" has no v6 addresses either: transport_link.c. */
    const bool is_four_only = offers.is_any && strcmp(host, "::") != 0;
    struct interface_told told;
    if (!offers.is_any && interface_told_find(addresses, count, listen, &told)) {
        offers.items[0].interface = told.interface;
        memcpy(offers.items[0].host, told.host, sizeof(told.host));
        offers.count = 1;
    }
    for (size_t place = 0; offers.is_any && place < count; place++) {
        const struct interface_address *next = NULL;
        while (offers.count < ADDRESS_OFFER_COUNT_MAX &&
               (next = next_best(addresses, count, place, is_four_only, next))) {
            uint32_t at = offers.count++;
            for (; at > 0 && interface_address_compare(next, chosen[at - 1]) < 0; at--)
                chosen[at] = chosen[at - 1];
            chosen[at] = next;
        }
    }
    for (uint32_t i = 0; offers.is_any && i < offers.count; i++) {
        offers.items[i].interface = chosen[i]->interface;
        print_host(chosen[i]->address, offers.items[i].host);
        memcpy(offers.items[i].network, chosen[i]->network, sizeof(offers.items[i].network));
    }
    *offers_out = offers;
}
