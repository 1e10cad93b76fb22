/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/thunderbolt.h"

#include "protocol/memory.h"
#include "tests/support/check_main.h"

#include <stdio.h>
#include <string.h>

/* The shapes of macOS 15, with the fields that do not matter here left out. */
#define BUS(rest)                                                                                  \
    "{\"_name\":\"thunderboltusb4_bus_1\",\"device_name_key\":\"Mac Studio\","                     \
    "\"domain_uuid_key\":\"AAAA-1\",\"route_string_key\":\"0\","                                   \
    "\"vendor_name_key\":\"Apple Inc.\"," rest "}"
#define RECEPTACLE(speed, status)                                                                  \
    "\"receptacle_1_tag\":{\"current_speed_key\":\"" speed "\",\"link_status_key\":\"0x2\","       \
    "\"receptacle_id_key\":\"1\",\"receptacle_status_key\":\"" status "\"}"
#define LIST(buses) "{\"SPThunderboltDataType\":[" buses "]}"
#define CONNECTED "receptacle_connected"
#define EMPTY "receptacle_no_devices_connected"

static const char machine[] = "{\"_name\":\"MacBook Pro\",\"domain_uuid_key\":\"BBBB-2\","
                              "\"device_name_key\":\"MacBook\",\"mode_key\":\"usb_four\"}";

static struct thunderbolt_ports parsed(const char *text)
{
    struct thunderbolt_ports ports;
    struct reason reason = {""};
    ck_assert_msg(thunderbolt_parse(text, strlen(text), &ports, &reason) == STATUS_OK, "%s",
                  reason.text);
    return ports;
}

START_TEST(a_direct_cable_leads_to_the_other_machine)
{
    const struct thunderbolt_ports ports = parsed(LIST(BUS(
        RECEPTACLE("Up to 80 Gb/s", CONNECTED) ",\"_items\":[{\"_name\":\"MacBook Pro\","
        "\"domain_uuid_key\":\"BBBB-2\",\"device_name_key\":\"MacBook\"}]")));
    ck_assert_uint_eq(ports.count, 1);
    const struct thunderbolt_port *port = &ports.items[0];
    ck_assert_str_eq(port->bus, "thunderboltusb4_bus_1");
    ck_assert_str_eq(port->domain, "AAAA-1");
    ck_assert_str_eq(port->peer_domain, "BBBB-2");
    ck_assert_str_eq(port->peer_name, "MacBook");
    ck_assert_str_eq(port->receptacle, "1");
    ck_assert_uint_eq(port->hubs, 0);
    ck_assert_uint_eq(port->speed_gbit, 80);
    ck_assert(thunderbolt_port_is_five(port));
}
END_TEST

START_TEST(through_hubs_it_is_the_first_descendant_with_a_domain)
{
    /* A dock whose own hub comes first and leads nowhere, then a screen, then the machine. */
    const struct thunderbolt_ports ports = parsed(LIST(BUS(RECEPTACLE("Up to 40 Gb/s", CONNECTED)
        ",\"_items\":[{\"_name\":\"Dock\",\"vendor_name_key\":\"X\",\"_items\":["
        "{\"_name\":\"Hub\",\"_items\":[]},{\"_name\":\"Screen\"},"
        "{\"_name\":\"Hub 2\",\"_items\":[{\"_name\":\"Mac mini\",\"domain_uuid_key\":\"CCCC\"},"
        "{\"_name\":\"Later\",\"domain_uuid_key\":\"DDDD\"}]}]},"
        "{\"_name\":\"Last\",\"domain_uuid_key\":\"EEEE\"}]")));
    ck_assert_str_eq(ports.items[0].peer_domain, "CCCC");
    ck_assert_str_eq(ports.items[0].peer_name, "Mac mini");
    ck_assert_uint_eq(ports.items[0].hubs, 2);
    ck_assert(!thunderbolt_port_is_five(&ports.items[0])); /* 40 is version 4 */
}
END_TEST

START_TEST(an_empty_receptacle_and_a_dock_alone_lead_nowhere)
{
    const struct thunderbolt_ports ports =
        parsed(LIST(BUS(RECEPTACLE("Up to 120 Gb/s", EMPTY)) "," BUS(
            RECEPTACLE("Up to 40 Gb/s", CONNECTED) ",\"_items\":[{\"_name\":\"Dock\"}]") "," BUS(
            RECEPTACLE("Up to 80 Gb/s", CONNECTED)
            ",\"_items\":[{\"domain_uuid_key\":\"AAAA-1\"}]")));
    ck_assert_uint_eq(ports.count, 3);
    for (uint32_t i = 0; i < ports.count; i++) {
        ck_assert_str_eq(ports.items[i].peer_domain, "");
        ck_assert(!thunderbolt_port_is_five(&ports.items[i]));
    }
    ck_assert_uint_eq(ports.items[0].speed_gbit, 120);
    ck_assert_uint_eq(parsed(LIST("")).count, 0);
}
END_TEST

START_TEST(only_a_number_of_gigabits_is_a_speed)
{
    ck_assert_uint_eq(thunderbolt_speed_gbit("Up to 80 Gb/s"), 80);
    ck_assert_uint_eq(thunderbolt_speed_gbit("Up to 20 Gb/s x2"), 20);
    ck_assert_uint_eq(thunderbolt_speed_gbit("80Gb/s"), 80);
    ck_assert_uint_eq(thunderbolt_speed_gbit("80 MB/s"), 0);
    ck_assert_uint_eq(thunderbolt_speed_gbit("fast"), 0);
    ck_assert_uint_eq(thunderbolt_speed_gbit(""), 0);
    ck_assert_uint_eq(thunderbolt_speed_gbit("99999999999999999999999 Gb/s"), 0);
}
END_TEST

static void refused(const char *text, size_t size, const char *sentence)
{
    struct thunderbolt_ports ports = {.count = 77};
    struct reason reason = {""};
    const enum status status = thunderbolt_parse(text, size, &ports, &reason);
    ck_assert_msg(status == STATUS_MALFORMED || status == STATUS_TOO_LARGE, "%.40s", text);
    ck_assert_msg(strstr(reason.text, sentence) != NULL, "%s, not: %s", sentence, reason.text);
    ck_assert_uint_eq(ports.count, 77);
}

START_TEST(empty_truncated_and_strange_text_is_refused_with_a_sentence)
{
    static const char whole[] = LIST(BUS(RECEPTACLE("Up to 80 Gb/s", CONNECTED)
        ",\"_items\":[{\"_name\":\"A\",\"domain_uuid_key\":\"B\"}]"));
    refused("", 0, "wrote nothing");
    for (size_t size = 1; size < strlen(whole); size++)
        refused(whole, size, "system_profiler SPThunderboltDataType");
    refused("[]", 2, "no list of that name");
    refused("{}", 2, "no list of that name");
    refused("{\"SPThunderboltDataType\":{}}", 28, "no list of that name");
    refused("{\"SPThunderboltDataType\":[7]}", 29, "bus 1 is no object");
    refused("error: no such type\n", 20, "line 1");
    char deep[400];
    memset(deep, '[', sizeof(deep));
    refused(deep, sizeof(deep), "nested deeper");
    char *large = memory_zeroed(1, THUNDERBOLT_TEXT_SIZE_MAX + 1);
    ck_assert_ptr_nonnull(large);
    refused(large, THUNDERBOLT_TEXT_SIZE_MAX + 1, "more than");
    memory_free(large);
}
END_TEST

START_TEST(fields_of_other_types_are_as_if_absent)
{
    const struct thunderbolt_ports ports = parsed(LIST(
        "{\"_name\":7,\"domain_uuid_key\":[],\"receptacle_1_tag\":\"x\",\"_items\":{\"a\":1}},"
        "{\"receptacle_1_tag\":{\"current_speed_key\":80},\"_items\":[1,null,\"x\",[],"
        "{\"domain_uuid_key\":\"\"},{\"domain_uuid_key\":5,\"_items\":7}]}"));
    ck_assert_uint_eq(ports.count, 2);
    for (uint32_t i = 0; i < 2; i++) {
        ck_assert_str_eq(ports.items[i].peer_domain, "");
        ck_assert_uint_eq(ports.items[i].speed_gbit, 0);
    }
}
END_TEST

/* `depth` devices in a row, then a machine. */
static size_t chain(char *text_out, size_t size, int depth)
{
    size_t used = (size_t)snprintf(text_out, size, "{\"SPThunderboltDataType\":[{\"_items\":[");
    for (int i = 0; i < depth; i++)
        used += (size_t)snprintf(text_out + used, size - used, "{\"_items\":[");
    used += (size_t)snprintf(text_out + used, size - used, "%s", machine);
    for (int i = 0; i < depth; i++)
        used += (size_t)snprintf(text_out + used, size - used, "]}");
    return used + (size_t)snprintf(text_out + used, size - used, "]}]}");
}

START_TEST(long_chains_are_followed_to_a_bound)
{
    char text[2048];
    struct thunderbolt_ports ports;
    struct reason reason = {""};
    size_t size = chain(text, sizeof(text), 15);
    ck_assert_int_eq(thunderbolt_parse(text, size, &ports, &reason), STATUS_OK);
    ck_assert_str_eq(ports.items[0].peer_domain, "BBBB-2");
    ck_assert_uint_eq(ports.items[0].hubs, 15);
    size = chain(text, sizeof(text), 16);
    refused(text, size, "more than 16 devices");
    size = (size_t)snprintf(text, sizeof(text), "{\"SPThunderboltDataType\":[{}");
    for (int i = 0; i < THUNDERBOLT_PORT_COUNT_MAX; i++)
        size += (size_t)snprintf(text + size, sizeof(text) - size, ",{}");
    size += (size_t)snprintf(text + size, sizeof(text) - size, "]}");
    refused(text, size, "more than 32 buses");
}
END_TEST

/* ---- asking ---- */

static enum status asked(const char *script, uint32_t timeout_ms, struct thunderbolt_ports *ports,
                         struct reason *reason)
{
    const char *const command[] = {"/bin/sh", "-c", script, NULL};
    memset(ports, 0, sizeof(*ports));
    reason->text[0] = '\0';
    return thunderbolt_ask(command, timeout_ms, ports, reason);
}

START_TEST(what_the_program_tells_is_read)
{
    struct thunderbolt_ports ports;
    struct reason reason;
    ck_assert_int_eq(
        asked("echo '{\"SPThunderboltDataType\":[]}'", 20000, &ports, &reason), STATUS_OK);
    ck_assert_uint_eq(ports.count, 0);
    ck_assert_uint_eq(thunderbolt_slowest_mbit(&ports), 0);
}
END_TEST

START_TEST(empty_truncated_and_strange_output_is_refused)
{
    static const char *const scripts[] = {"true", "echo '{\"SPThunderboltDataType\":[{'",
                                          "echo '[]'", "printf '\\000\\377'", "echo hello"};
    struct thunderbolt_ports ports;
    struct reason reason;
    for (size_t i = 0; i < COUNT_OF(scripts); i++) {
        ck_assert_int_eq(asked(scripts[i], 20000, &ports, &reason), STATUS_MALFORMED);
        ck_assert_msg(reason.text[0], "%s", scripts[i]);
    }
}
END_TEST

START_TEST(a_program_that_fails_hangs_or_does_not_stop_is_refused)
{
    struct thunderbolt_ports ports;
    struct reason reason;
    const char *const nothing[] = {"/nonexistent/program", NULL};
    ck_assert_int_eq(asked("exit 3", 20000, &ports, &reason), STATUS_IO);
    ck_assert_msg(strstr(reason.text, "exit code 3"), "%s", reason.text);
    ck_assert_int_eq(asked("kill -9 $$", 20000, &ports, &reason), STATUS_IO);
    ck_assert_msg(strstr(reason.text, "signal 9"), "%s", reason.text);
    ck_assert_int_eq(thunderbolt_ask(nothing, 20000, &ports, &reason), STATUS_IO);
    ck_assert_int_eq(asked("echo '{'; sleep 600", 200, &ports, &reason), STATUS_TIMED_OUT);
    ck_assert_msg(strstr(reason.text, "200 ms"), "%s", reason.text);
    ck_assert_int_eq(asked("exec >&-; sleep 600", 200, &ports, &reason), STATUS_IO);
    ck_assert_int_eq(asked("yes", 20000, &ports, &reason), STATUS_TOO_LARGE);
}
END_TEST

START_TEST(the_slowest_port_with_a_machine_counts)
{
    const struct thunderbolt_ports ports = {
        .items = {{.speed_gbit = 20},
                  {.peer_domain = "B", .speed_gbit = 80},
                  {.peer_domain = "C", .speed_gbit = 40}},
        .count = 3};
    ck_assert_uint_eq(thunderbolt_slowest_mbit(&ports), 40000);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("thunderbolt");
    const TTest *const tests[] = {a_direct_cable_leads_to_the_other_machine,
                                  through_hubs_it_is_the_first_descendant_with_a_domain,
                                  an_empty_receptacle_and_a_dock_alone_lead_nowhere,
                                  only_a_number_of_gigabits_is_a_speed,
                                  empty_truncated_and_strange_text_is_refused_with_a_sentence,
                                  fields_of_other_types_are_as_if_absent,
                                  long_chains_are_followed_to_a_bound,
                                  what_the_program_tells_is_read,
                                  empty_truncated_and_strange_output_is_refused,
                                  a_program_that_fails_hangs_or_does_not_stop_is_refused,
                                  the_slowest_port_with_a_machine_counts};
    suite_add(suite, "thunderbolt", tests, COUNT_OF(tests));
    return suite;
}
