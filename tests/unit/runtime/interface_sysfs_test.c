/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/interface.h"

#include "protocol/memory.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct scratch scratch;

/* Makes the directories before the last slash of "ROOT/NAME". */
static const char *place(const char *name, char path_out[512])
{
    (void)snprintf(path_out, 512, "%s/%s", scratch.path, name);
    for (char *at = path_out + strlen(scratch.path) + 1; (at = strchr(at, '/')); at++) {
        *at = '\0';
        (void)mkdir(path_out, 0700);
        *at = '/';
    }
    return path_out;
}

static void put(const char *name, const char *text)
{
    char path[512];
    file_put(place(name, path), text, strlen(text));
}

static void link_to(const char *name, const char *target)
{
    char path[512];
    ck_assert_int_eq(symlink(target, place(name, path)), 0);
}

static void make_tree(void)
{
    scratch_open(&scratch);
    put("class/net/eth0/type", "1\n");
    put("class/net/eth0/operstate", "up\n");
    put("class/net/eth0/flags", "0x1003\n");
    put("class/net/eth0/speed", "25000\n");
    put("class/net/eth0/uevent", "INTERFACE=eth0\nIFINDEX=2\n");
    put("class/net/eth0/device/vendor", "0x15b3\n");
    link_to("class/net/eth0/device/driver", "../../bus/pci/drivers/mlx5_core");
    put("class/net/wlp2s0/type", "1\n");
    put("class/net/wlp2s0/operstate", "up\n");
    put("class/net/wlp2s0/uevent", "DEVTYPE=wlan\nINTERFACE=wlp2s0\n");
    put("class/net/wlp2s0/device/vendor", "1\n");
    put("class/net/br0/type", "1\n");
    put("class/net/br0/operstate", "up\n");
    put("class/net/br0/uevent", "DEVTYPE=bridge\n");
    put("class/net/br0/brif/eth0/state", "3\n");
    put("class/net/br1/type", "1\n");
    put("class/net/br1/uevent", "DEVTYPE=bridge\n");
    put("class/net/br1/brif/veth7/state", "3\n");
    put("class/net/zt0/type", "1\n");
    put("class/net/zt0/operstate", "unknown\n");
    put("class/net/zt0/flags", "0x1003\n");
    put("class/net/zt0/tun_flags", "0x1002\n");
    put("class/net/eth1/type", "1\n");
    put("class/net/eth1/operstate", "down\n");
    put("class/net/eth1/speed", "-1\n");
    put("class/net/eth1/flags", "0x1003\n");
    put("class/net/eth1/device/vendor", "1\n");
    put("class/net/odd/type", "one\n");
    put("class/net/odd/speed", "fast");
    put("class/net/odd/flags", "");
    put("class/net/odd/uevent", "DEVTYPE=averyveryverylongtypeofdevice\nDEVTYPE\n=\n\n");
    put("class/infiniband/mlx5_1/device/net/eth0/type", "1\n");
    put("class/infiniband/mlx5_1/ports/1/state", "4: ACTIVE\n");
    put("class/infiniband/mlx5_0/device/net/eth0/type", "1\n");
    put("class/infiniband/mlx5_0/ports/2/state", "4: ACTIVE\n");
    put("class/infiniband/mlx4_0/device/net/eth0/type", "1\n");
    put("class/infiniband/mlx4_0/ports/1/state", "1: DOWN\n");
}

static struct interface read_one(const char *name)
{
    struct interface_facts facts;
    interface_sysfs_read(scratch.path, name, &facts);
    return interface_classify(&facts);
}

START_TEST(a_card_is_wired_with_its_speed)
{
    make_tree();
    struct interface_facts facts;
    interface_sysfs_read(scratch.path, "eth0", &facts);
    ck_assert(facts.has_device && facts.is_up && !facts.is_loopback && !facts.is_tunnel);
    ck_assert_str_eq(facts.driver, "mlx5_core");
    ck_assert_int_eq(facts.speed_mbit, 25000);
    const struct interface eth1 = read_one("eth1");
    ck_assert_int_eq(eth1.kind, INTERFACE_WIRED);
    ck_assert(!eth1.is_up);
    ck_assert_uint_eq(eth1.speed_mbit, 0);
    scratch_close(&scratch);
}
END_TEST

START_TEST(bridges_tunnels_and_wireless_are_known_by_their_files)
{
    make_tree();
    ck_assert_int_eq(read_one("wlp2s0").kind, INTERFACE_WIRELESS);
    ck_assert_int_eq(read_one("br0").kind, INTERFACE_WIRED);
    ck_assert_int_eq(read_one("br1").kind, INTERFACE_OVERLAY);
    const struct interface tunnel = read_one("zt0");
    ck_assert_int_eq(tunnel.kind, INTERFACE_OVERLAY);
    ck_assert(tunnel.is_up); /* "unknown", and its flag is set */
    scratch_close(&scratch);
}
END_TEST

START_TEST(strange_and_missing_files_are_facts_that_are_not_known)
{
    make_tree();
    struct interface_facts facts;
    interface_sysfs_read(scratch.path, "odd", &facts);
    ck_assert_uint_eq(facts.hardware, 0);
    ck_assert_int_eq(facts.speed_mbit, 0);
    ck_assert(!facts.is_up);
    interface_sysfs_read(scratch.path, "absent", &facts);
    ck_assert_str_eq(facts.name, "absent");
    ck_assert(!facts.is_up && !facts.has_device);
    interface_sysfs_read("/nonexistent", "eth0", &facts);
    ck_assert(!facts.is_up);
    char name[600];
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    interface_sysfs_read(scratch.path, name, &facts);
    ck_assert(!facts.is_up);
    scratch_close(&scratch);
}
END_TEST

START_TEST(the_rdma_device_of_an_interface_is_the_least_active_one)
{
    char rdma[INTERFACE_NAME_SIZE];
    make_tree();
    interface_sysfs_rdma(scratch.path, "eth0", rdma);
    ck_assert_str_eq(rdma, "mlx5_0");
    interface_sysfs_rdma(scratch.path, "eth1", rdma);
    ck_assert_str_eq(rdma, "");
    interface_sysfs_rdma("/nonexistent", "eth0", rdma);
    ck_assert_str_eq(rdma, "");
    scratch_close(&scratch);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("interface_sysfs");
    const TTest *const tests[] = {a_card_is_wired_with_its_speed,
                                  bridges_tunnels_and_wireless_are_known_by_their_files,
                                  strange_and_missing_files_are_facts_that_are_not_known,
                                  the_rdma_device_of_an_interface_is_the_least_active_one};
    suite_add(suite, "sysfs", tests, COUNT_OF(tests));
    return suite;
}
