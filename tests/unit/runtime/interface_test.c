/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/interface.h"

#include "protocol/memory.h"
#include "tests/support/check_main.h"
#include "tests/support/seeded.h"

#include <stdio.h>
#include <string.h>

static enum interface_kind kind_of(struct interface_facts facts)
{
    return interface_classify(&facts).kind;
}

START_TEST(kinds_are_told_by_type_device_driver_and_name)
{
    static const struct {
        struct interface_facts facts;
        enum interface_kind kind;
    } rows[] = {
        {{.name = "lo", .hardware = 772}, INTERFACE_LOOPBACK},
        {{.name = "lo0", .is_loopback = true}, INTERFACE_LOOPBACK},
        {{.name = "enp3s0", .hardware = 1, .has_device = true}, INTERFACE_WIRED},
        {{.name = "docker0", .hardware = 1, .has_device = true}, INTERFACE_WIRED},
        {{.name = "bond0", .hardware = 1, .device_type = "bond"}, INTERFACE_WIRED},
        {{.name = "eth0.7", .hardware = 1, .device_type = "vlan"}, INTERFACE_WIRED},
        {{.name = "eth0", .hardware = 1}, INTERFACE_WIRED},
        {{.name = "app0", .hardware = 1}, INTERFACE_WIRED},
        {{.name = "wlp2s0", .hardware = 1, .has_device = true, .is_wireless = true},
         INTERFACE_WIRELESS},
        {{.name = "odd", .hardware = 1, .has_device = true, .device_type = "wlan"},
         INTERFACE_WIRELESS},
        {{.name = "ib0", .hardware = 32, .has_device = true}, INTERFACE_INFINIBAND},
        {{.name = "net7", .hardware = 1, .has_device = true, .driver = "thunderbolt-net"},
         INTERFACE_THUNDERBOLT},
        {{.name = "thunderbolt0", .hardware = 1, .has_device = true}, INTERFACE_THUNDERBOLT},
        {{.name = "bridge0", .driver = "thunderbolt"}, INTERFACE_THUNDERBOLT},
        {{.name = "bridge100", .device_type = "bridge"}, INTERFACE_OVERLAY},
        {{.name = "docker0", .hardware = 1, .device_type = "bridge"}, INTERFACE_OVERLAY},
        {{.name = "br0", .hardware = 1, .device_type = "bridge", .bridges_device = true},
         INTERFACE_WIRED},
        {{.name = "tailscale0", .hardware = 65534, .is_tunnel = true}, INTERFACE_OVERLAY},
        {{.name = "tailscale0", .hardware = 1}, INTERFACE_OVERLAY},
        {{.name = "ztabcdef12", .hardware = 1, .is_tunnel = true}, INTERFACE_OVERLAY},
        {{.name = "ztabcdef12", .hardware = 1}, INTERFACE_OVERLAY},
        {{.name = "home", .hardware = 65534, .device_type = "wireguard"}, INTERFACE_OVERLAY},
        {{.name = "wg0", .hardware = 1}, INTERFACE_OVERLAY},
        {{.name = "tun3", .hardware = 65534}, INTERFACE_OVERLAY},
        {{.name = "tap0", .hardware = 1, .is_tunnel = true}, INTERFACE_OVERLAY},
        {{.name = "ppp0", .hardware = 512}, INTERFACE_OVERLAY},
        {{.name = "gre1", .hardware = 778}, INTERFACE_OVERLAY},
        {{.name = "sit0", .hardware = 776}, INTERFACE_OVERLAY},
        {{.name = "vx", .hardware = 1, .device_type = "vxlan"}, INTERFACE_OVERLAY},
        {{.name = "br-5fd2", .hardware = 1}, INTERFACE_OVERLAY},
        {{.name = "virbr0", .hardware = 1}, INTERFACE_OVERLAY},
        {{.name = "utun4"}, INTERFACE_OVERLAY},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        ck_assert_msg(kind_of(rows[i].facts) == rows[i].kind, "row %zu, %s: %s", i,
                      rows[i].facts.name, interface_kind_name(kind_of(rows[i].facts)));
}
END_TEST

START_TEST(an_unknown_speed_is_none_except_over_thunderbolt)
{
    const struct interface_facts wired = {.name = "eth0", .has_device = true, .speed_mbit = -1};
    const struct interface_facts thunderbolt = {.name = "thunderbolt0", .has_device = true};
    ck_assert_uint_eq(interface_classify(&wired).speed_mbit, 0);
    ck_assert_uint_eq(interface_classify(&thunderbolt).speed_mbit, 10000);
}
END_TEST

static struct interface_address address_of(const char *name, enum interface_kind kind,
                                           uint32_t speed_mbit, const char *text)
{
    struct interface_address address = {
        .interface = {.kind = kind, .is_up = true, .speed_mbit = speed_mbit}};
    (void)snprintf(address.interface.name, sizeof(address.interface.name), "%s", name);
    (void)snprintf(address.address, sizeof(address.address), "%s", text);
    return address;
}

START_TEST(addresses_no_other_machine_can_use_are_dropped_with_a_reason)
{
    static const struct {
        const char *text;
        const char *why;
    } rows[] = {{"169.254.3.4", "link-local"},
                {"fe80::1", "link-local"},
                {"febf::1", "link-local"},
                {"127.0.0.1", "loopback"},
                {"::1", "loopback"},
                {"::ffff:169.254.0.1", "link-local"},
                {"100.64.0.1", "overlay"},
                {"100.127.255.254", "overlay"},
                {"fd7a:115c:a1e0::5", "overlay"},
                {"0.0.0.0", "no host"},
                {"::", "no host"},
                {"224.0.0.1", "no host"},
                {"ff02::1", "no host"},
                {"fe80::1%eth0", "no numeric"},
                {"localhost", "no numeric"},
                {"", "no numeric"}};
    static const char *const usable[] = {"192.168.1.7", "10.0.0.1",    "100.63.0.1", "100.128.0.1",
                                         "169.253.0.1", "2001:db8::1", "fd00::1"};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const char *why = "";
        const struct interface_address address =
            address_of("eth0", INTERFACE_WIRED, 0, rows[i].text);
        ck_assert_msg(!interface_address_is_usable(&address, &why), "%s", rows[i].text);
        ck_assert_msg(strstr(why, rows[i].why) != NULL, "%s: %s", rows[i].text, why);
    }
    for (size_t i = 0; i < COUNT_OF(usable); i++) {
        const struct interface_address address =
            address_of("eth0", INTERFACE_WIRED, 0, usable[i]);
        ck_assert_msg(interface_address_is_usable(&address, NULL), "%s", usable[i]);
    }
    struct interface_address down = address_of("eth0", INTERFACE_WIRED, 0, "10.0.0.1");
    down.interface.is_up = false;
    ck_assert(!interface_address_is_usable(&down, NULL));
    const struct interface_address overlay =
        address_of("docker0", INTERFACE_OVERLAY, 10000, "172.17.0.1");
    ck_assert(!interface_address_is_usable(&overlay, NULL));
}
END_TEST

/* Best first. */
static size_t ordered(struct interface_address all[12])
{
    size_t count = 0;
    all[count] = address_of("ib0", INTERFACE_INFINIBAND, 100000, "10.9.0.1");
    (void)snprintf(all[count++].interface.rdma, INTERFACE_NAME_SIZE, "mlx5_0");
    all[count++] = address_of("eth9", INTERFACE_WIRED, 100000, "10.8.0.1");
    all[count++] = address_of("thunderbolt0", INTERFACE_THUNDERBOLT, 10000, "10.3.0.1");
    all[count++] = address_of("eth0", INTERFACE_WIRED, 1000, "10.1.0.9");
    all[count++] = address_of("eth1", INTERFACE_WIRED, 1000, "10.2.0.1");
    all[count++] = address_of("eth1", INTERFACE_WIRED, 1000, "10.10.0.1");
    all[count++] = address_of("eth0", INTERFACE_WIRED, 1000, "2001:db8::9");
    all[count++] = address_of("eth3", INTERFACE_WIRED, 0, "10.0.0.1");
    all[count++] = address_of("wlan0", INTERFACE_WIRELESS, 9000, "10.0.0.2");
    all[count++] = address_of("wlan1", INTERFACE_WIRELESS, 0, "10.0.0.3");
    all[count++] = address_of("wg0", INTERFACE_OVERLAY, 100000, "10.0.0.4");
    all[count++] = address_of("lo", INTERFACE_LOOPBACK, 0, "127.0.0.1");
    return count;
}

START_TEST(wired_goes_before_wireless_and_faster_before_slower)
{
    struct interface_address all[12];
    const size_t count = ordered(all);
    for (size_t a = 0; a < count; a++)
        for (size_t b = 0; b < count; b++) {
            const int order = interface_address_compare(&all[a], &all[b]);
            ck_assert_msg(a == b  ? order == 0
                          : a < b ? order < 0
                                  : order > 0,
                          "%s and %s", all[a].address, all[b].address);
        }
}
END_TEST

START_TEST(the_order_of_interfaces_never_changes_the_choice)
{
    struct seeded seeded = seeded_open(20261122);
    struct interface_address all[12];
    const size_t count = ordered(all);
    for (int round = 0; round < 3000; round++) {
        /* Any subset, in any order. */
        struct interface_address some[12];
        size_t chosen = 0;
        size_t best = count;
        for (size_t i = 0; i < count; i++) {
            if (seeded_below(&seeded, 2) == 0)
                continue;
            some[chosen++] = all[i];
            if (best == count && interface_address_is_usable(&all[i], NULL))
                best = i;
        }
        for (size_t i = chosen; i > 1; i--) {
            const size_t other = seeded_below(&seeded, i);
            const struct interface_address held = some[i - 1];
            some[i - 1] = some[other];
            some[other] = held;
        }
        const struct interface_address *choice = interface_address_choose(some, chosen);
        ck_assert_int_eq(choice == NULL, best == count);
        if (choice)
            ck_assert_str_eq(choice->address, all[best].address);
    }
}
END_TEST

static struct interface_told told_of(const char *listen)
{
    struct interface_address all[12];
    struct interface_told told;
    const size_t count = ordered(all);
    ck_assert_msg(interface_told_find(all, count, listen, &told), "%s", listen);
    return told;
}

START_TEST(a_node_that_listens_everywhere_tells_its_best_address)
{
    static const char *const all_of_them[] = {"0.0.0.0:52415", "[::]:0", "*:1", "tcp://0.0.0.0:9"};
    struct interface_address all[12];
    struct interface_told told;
    for (size_t i = 0; i < COUNT_OF(all_of_them); i++) {
        ck_assert_str_eq(told_of(all_of_them[i]).host, "10.9.0.1");
        ck_assert(told_of(all_of_them[i]).is_any);
    }
    ck_assert_str_eq(told_of("10.0.0.2:7").interface.name, "wlan0");
    ck_assert(!told_of("10.0.0.2:7").is_any);
    ck_assert_str_eq(told_of("[2001:db8::9]:7").host, "[2001:db8::9]");
    const size_t count = ordered(all);
    ck_assert(!interface_told_find(all, count, "10.77.0.1:7", &told));
    ck_assert(!interface_told_find(all, count, "", &told));
    /* With nothing but overlays and the loopback there is none to tell. */
    ck_assert(!interface_told_find(all + count - 2, 2, "0.0.0.0:7", &told));
}
END_TEST

START_TEST(offers_are_the_usable_ones_best_first_whatever_the_order)
{
    static const char *const wanted[] = {"10.9.0.1", "10.8.0.1", "10.3.0.1", "10.1.0.9",
                                         "10.2.0.1", "[2001:db8::9]"};
    struct interface_address all[12];
    struct interface_offers offers;
    const size_t count = ordered(all);
    for (size_t turn = 0; turn < count; turn++) {
        const struct interface_address first = all[0];
        memmove(&all[0], &all[1], (count - 1) * sizeof(all[0]));
        all[count - 1] = first;
        interface_offers_find(all, count, "[::]:7", &offers);
        ck_assert(offers.is_any);
        ck_assert_uint_eq(offers.count, ADDRESS_OFFER_COUNT_MAX);
        for (uint32_t i = 0; i < offers.count; i++)
            ck_assert_str_eq(offers.items[i].host, wanted[i]);
    }
    /* What listens at all v4 addresses has no others. */
    interface_offers_find(all, count, "0.0.0.0:7", &offers);
    ck_assert_uint_eq(offers.count, ADDRESS_OFFER_COUNT_MAX);
    for (uint32_t i = 0; i < offers.count; i++)
        ck_assert_ptr_null(strchr(offers.items[i].host, ':'));
    interface_offers_find(all, count, "10.0.0.2:7", &offers);
    ck_assert(!offers.is_any);
    ck_assert_uint_eq(offers.count, 1);
    ck_assert_str_eq(offers.items[0].host, "10.0.0.2");
    interface_offers_find(all, count, "10.77.0.1:7", &offers);
    ck_assert_uint_eq(offers.count, 0);
    interface_offers_find(all, 0, "*:7", &offers);
    ck_assert_uint_eq(offers.count, 0);
}
END_TEST

START_TEST(many_addresses_of_one_interface_do_not_push_out_another)
{
    struct interface_address all[9];
    struct interface_offers offers;
    for (int i = 0; i < 8; i++) {
        char text[32];
        (void)snprintf(text, sizeof(text), "10.0.0.%d", i + 1);
        all[i] = address_of("eth0", INTERFACE_WIRED, 1000, text);
    }
    all[8] = address_of("wlan0", INTERFACE_WIRELESS, 0, "192.168.0.7");
    interface_offers_find(all, COUNT_OF(all), "0.0.0.0:7", &offers);
    ck_assert_uint_eq(offers.count, ADDRESS_OFFER_COUNT_MAX);
    ck_assert_str_eq(offers.items[0].host, "10.0.0.1");
    ck_assert_str_eq(offers.items[offers.count - 1].host, "192.168.0.7");
}
END_TEST

START_TEST(a_certain_address_is_looked_at_alone)
{
    struct interface_address addresses[INTERFACE_ADDRESS_COUNT_MAX];
    char host[INTERFACE_ADDRESS_SIZE + 2];
    ck_assert_str_eq(interface_listen_host("tcp://[::1]:7", host), "::1");
    ck_assert_str_eq(interface_listen_host("127.0.0.1:0", host), "127.0.0.1");
    ck_assert_ptr_null(interface_listen_host("0.0.0.0:7", host));
    const size_t count = interface_list("127.0.0.1", addresses);
    for (size_t i = 0; i < count; i++) {
        ck_assert_str_eq(addresses[i].address, "127.0.0.1");
        ck_assert_str_eq(addresses[i].network, "127.0.0.0/8");
    }
}
END_TEST

START_TEST(this_machine_has_a_loopback)
{
    struct interface_address addresses[INTERFACE_ADDRESS_COUNT_MAX];
    const size_t count = interface_list(NULL, addresses);
    bool found = false;
    for (size_t i = 0; i < count; i++)
        found = found || (addresses[i].interface.kind == INTERFACE_LOOPBACK &&
                          (strcmp(addresses[i].address, "127.0.0.1") == 0 ||
                           strcmp(addresses[i].address, "::1") == 0));
    ck_assert(found);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("interface");
    const TTest *const tests[] = {kinds_are_told_by_type_device_driver_and_name,
                                  an_unknown_speed_is_none_except_over_thunderbolt,
                                  addresses_no_other_machine_can_use_are_dropped_with_a_reason,
                                  wired_goes_before_wireless_and_faster_before_slower,
                                  the_order_of_interfaces_never_changes_the_choice,
                                  a_node_that_listens_everywhere_tells_its_best_address,
                                  offers_are_the_usable_ones_best_first_whatever_the_order,
                                  many_addresses_of_one_interface_do_not_push_out_another,
                                  a_certain_address_is_looked_at_alone,
                                  this_machine_has_a_loopback};
    suite_add(suite, "interface", tests, COUNT_OF(tests));
    return suite;
}
