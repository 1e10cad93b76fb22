/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/network.h"

#include "tests/support/check_main.h"

#include <string.h>

static struct networks parsed(const char *text)
{
    struct networks networks;
    struct reason reason = {""};
    ck_assert_int_eq(networks_parse(text, &networks, &reason), STATUS_OK);
    return networks;
}

START_TEST(an_address_is_in_its_network_and_not_beside_it)
{
    const struct networks networks = parsed("127.0.0.0/8, 192.168.7.0/25 ,::1/128,fd00::/9");
    ck_assert(networks_contain(&networks, "127.1.2.3"));
    ck_assert(networks_contain(&networks, "192.168.7.127"));
    ck_assert(!networks_contain(&networks, "192.168.7.128"));
    ck_assert(!networks_contain(&networks, "10.0.0.1"));
    ck_assert(networks_contain(&networks, "::1"));
    ck_assert(networks_contain(&networks, "[::1]"));
    ck_assert(!networks_contain(&networks, "::2"));
    ck_assert(networks_contain(&networks, "fd7f::1"));
    ck_assert(!networks_contain(&networks, "fd80::1"));
}
END_TEST

START_TEST(a_name_and_nothing_are_in_no_network)
{
    const struct networks all = parsed("0.0.0.0/0,::/0");
    ck_assert(networks_contain(&all, "8.8.8.8"));
    ck_assert(!networks_contain(&all, "localhost"));
    ck_assert(!networks_contain(&all, ""));
    const struct networks none = parsed(" , ");
    ck_assert(!networks_contain(&none, "127.0.0.1"));
}
END_TEST

START_TEST(what_is_no_network_is_refused_by_name)
{
    static const char *const bad[] = {"10.0.0.0/33", "10.0.0/8", "10.0.0.0/", "10.0.0.0/x",
                                      "::1/129", "lan"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct networks networks;
        struct reason reason = {""};
        ck_assert_int_eq(networks_parse(bad[i], &networks, &reason), STATUS_INVALID);
        ck_assert_ptr_nonnull(strstr(reason.text, "trusted_networks"));
    }
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("networks");
    const TTest *const tests[] = {an_address_is_in_its_network_and_not_beside_it,
                                  a_name_and_nothing_are_in_no_network,
                                  what_is_no_network_is_refused_by_name};
    suite_add(suite, "networks", tests, COUNT_OF(tests));
    return suite;
}
