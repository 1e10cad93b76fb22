/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interface: what a network interface is, and which of its addresses other nodes may be told.
 *
 * Facts are read by interface_list.c (names and addresses of this machine), interface_sysfs.c
 * (Linux) and thunderbolt.c (macOS); what they mean is decided here, without looking at anything.
 *
 * Memory   plain values.
 * Threads  any.
 * Fails    never: what is not known is 0 or empty, and a kind that is not known is taken for wired.
 */
#ifndef TROUPE_RUNTIME_INTERFACE_H
#define TROUPE_RUNTIME_INTERFACE_H

#include "protocol/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INTERFACE_NAME_SIZE 32
#define INTERFACE_ADDRESS_SIZE 64 /* a v6 address without its scope */
#define INTERFACE_COUNT_MAX 64
#define INTERFACE_ADDRESS_COUNT_MAX 128

/* Wired ones first, then wireless; the others never carry a rank. */
enum interface_kind {
    INTERFACE_WIRED = 1,
    INTERFACE_INFINIBAND,  /* IP over it */
    INTERFACE_THUNDERBOLT, /* IP over it */
    INTERFACE_WIRELESS,
    INTERFACE_OVERLAY, /* a tunnel, a VPN, a bridge of containers or of virtual machines */
    INTERFACE_LOOPBACK,
    INTERFACE_KIND_END
};

/* As the system tells them; 0, false or empty where it does not. */
struct interface_facts {
    char name[INTERFACE_NAME_SIZE];
    char device_type[16]; /* DEVTYPE of Linux: "wlan", "bridge", "wireguard" */
    char driver[32];
    uint32_t hardware; /* ARPHRD_ number */
    int64_t speed_mbit; /* -1 and 0: not told */
    bool is_up;
    bool is_wireless;
    bool is_tunnel;     /* made by a program: tun and tap */
    bool is_loopback;
    bool has_device;    /* hardware stands behind it */
    bool bridges_device; /* a bridge, and one of its ports has */
};

struct interface {
    char name[INTERFACE_NAME_SIZE];
    enum interface_kind kind;
    bool is_up;
    uint32_t speed_mbit;             /* 0: not known */
    char rdma[INTERFACE_NAME_SIZE]; /* the RDMA device of its port; empty: none */
};

struct interface_address {
    struct interface interface;
    char address[INTERFACE_ADDRESS_SIZE]; /* numeric */
    char network[INTERFACE_ADDRESS_SIZE + 4]; /* "10.0.0.0/24"; empty: not known */
};

const char *interface_kind_name(enum interface_kind kind);
/* `rdma` of the result is empty. */
struct interface interface_classify(const struct interface_facts *facts);

/* May another node be told this address?  `why_out`, when not NULL: half a sentence why not. */
bool interface_address_is_usable(const struct interface_address *address, const char **why_out);

/* Below 0 when `a` is the better one: wired before wireless, faster before slower (unknown is
 * slowest), with RDMA before without, v4 before v6, then the lower address, then the name.  Zero
 * only for the same address of the same interface, so the order they came in decides nothing. */
int interface_address_compare(const struct interface_address *a,
                              const struct interface_address *b);
/* The best usable one; NULL when there is none. */
const struct interface_address *interface_address_choose(const struct interface_address *addresses,
                                                         size_t count);

/* What other nodes are told for one that listens at a certain address, or at all of its own. */
struct interface_told {
    struct interface interface;
    char host[INTERFACE_ADDRESS_SIZE + 2]; /* a v6 address in brackets */
    bool is_any;                           /* `listen` means all of them; this is the best */
};

/* What other nodes may try, best first. */
struct interface_offer {
    struct interface interface;
    char host[INTERFACE_ADDRESS_SIZE + 2]; /* a v6 address in brackets */
    char network[INTERFACE_ADDRESS_SIZE + 4];
};

struct interface_offers {
    struct interface_offer items[ADDRESS_OFFER_COUNT_MAX];
    uint32_t count;
    bool is_any; /* `listen` means all of them; else there is one at most */
};

/* `listen` is "HOST:PORT" or "tcp://HOST:PORT"; false: no address of this machine fits. */
bool interface_told_find(const struct interface_address *addresses, size_t count,
                         const char *listen, struct interface_told *told_out);
/* The same among the addresses of this machine. */
bool interface_told_here(const char *listen, struct interface_told *told_out);
/* All that is usable.  Of an interface with many addresses one v4 and one v6 come before the
 * second of any, where not all fit. */
void interface_offers_find(const struct interface_address *addresses, size_t count,
                           const char *listen, struct interface_offers *offers_out);
/* `thunderbolt_mbit`: the speed of its Thunderbolt interfaces where the system tells it beside; 0:
 * it does not. */
void interface_offers_here(const char *listen, uint32_t thunderbolt_mbit,
                           struct interface_offers *offers_out);

/* All addresses of this machine, classified, in no order; how many.  With `host`, only those that
 * are it: nothing else is looked at. */
size_t interface_list(const char *host,
                      struct interface_address addresses_out[INTERFACE_ADDRESS_COUNT_MAX]);
/* The address in `listen` without brackets and port; NULL when it means all or is none. */
const char *interface_listen_host(const char *listen, char host_out[INTERFACE_ADDRESS_SIZE + 2]);

/* Linux: what `root` ("/sys") tells of the interface `name`; facts that are not there stay 0. */
void interface_sysfs_read(const char *root, const char *name, struct interface_facts *facts_out);
/* The RDMA device with an active port over that interface, or an empty text. */
void interface_sysfs_rdma(const char *root, const char *name,
                          char rdma_out[INTERFACE_NAME_SIZE]);

#endif
