/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/launcher/launcher_options.h"

#include "runtime/fabric_ways.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A whole number up to `most`, then `end` (a NUL or a colon); `rest_out` is after it. */
static bool parse_number(const char *text, char end, uint64_t most, uint64_t *number_out,
                         const char **rest_out)
{
    char *rest = NULL;
    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    unsigned long long number = strtoull(text, &rest, 10);
    if (errno != 0 || *rest != end || number > most)
        return false;
    *number_out = number;
    *rest_out = end ? rest + 1 : rest;
    return true;
}

static bool parse_generation(const char *text, struct generation *generation_out)
{
    const char *rest = text;
    char leader[HEX_SIZE(16)];
    if (!parse_number(rest, ':', UINT64_MAX, &generation_out->epoch, &rest) ||
        strcspn(rest, ":") != sizeof(leader) - 1)
        return false;
    memcpy(leader, rest, sizeof(leader) - 1);
    leader[sizeof(leader) - 1] = '\0';
    rest += sizeof(leader) - 1;
    return hex_parse(leader, generation_out->leader.bytes, 16) && *rest == ':' &&
           parse_number(rest + 1, '\0', UINT64_MAX, &generation_out->counter, &rest);
}

static bool parse_fabric(const char *text, struct launcher_options *options)
{
    bool is_v6 = strchr(text, ':') != NULL;
    size_t length = strlen(text);
    if (length >= 2 && text[0] == '[' && text[length - 1] == ']') {
        text++;
        length -= 2;
    }
    if (length == 0 || length >= sizeof(options->fabric_address))
        return false;
    memcpy(options->fabric_address, text, length);
    options->fabric_address[length] = '\0';
    memcpy(options->settings.fabric, options->fabric_address, length + 1);
    (void)snprintf(options->settings.bind, sizeof(options->settings.bind),
                   is_v6 ? "tcp://[%s]:0" : "tcp://%s:0", options->fabric_address);
    return true;
}

static bool parse_ways(const char *text, struct launcher_options *options)
{
    struct fabric_ways ways;
    const int length = snprintf(options->ways, sizeof(options->ways), "%s", text);
    return length >= 0 && (size_t)length < sizeof(options->ways) &&
           fabric_ways_parse(text, &ways, NULL) == STATUS_OK;
}

/* As the kernel names them: nothing that another setting could hide in. */
static bool parse_device(const char *text, char *device_out, size_t size)
{
    const size_t length = strlen(text);
    if (length == 0 || length >= size ||
        strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") != length)
        return false;
    memcpy(device_out, text, length + 1);
    return true;
}

static bool parse_ports(const char *text, struct pmix_host_fabric *fabric)
{
    uint64_t first = 0;
    uint64_t count = 0;
    const char *rest = text;
    if (!parse_number(rest, ':', UINT16_MAX, &first, &rest) ||
        !parse_number(rest, '\0', UINT16_MAX, &count, &rest) || first + count > UINT16_MAX + 1u)
        return false;
    fabric->port_first = (uint16_t)first;
    fabric->port_count = (uint16_t)count;
    return true;
}

static bool parse_option(const char *name, const char *value, struct launcher_options *options)
{
    struct launcher_settings *settings = &options->settings;
    const char *rest = NULL;
    uint64_t number = 0;
    if (strcmp(name, "--instance") == 0)
        return hex_parse(value, settings->instance_id.bytes, 16);
    if (strcmp(name, "--generation") == 0)
        return parse_generation(value, &settings->generation);
    if (strcmp(name, "--fabric") == 0)
        return parse_fabric(value, options);
    if (strcmp(name, "--rdma") == 0)
        return parse_device(value, options->rdma, sizeof(options->rdma));
    if (strcmp(name, "--ways") == 0)
        return parse_ways(value, options);
    if (strcmp(name, "--fabric-ports") == 0)
        return parse_ports(value, &options->fabric);
    if (strcmp(name, "--incarnation") == 0)
        return parse_number(value, '\0', UINT64_MAX, &settings->incarnation, &rest);
    if (strcmp(name, "--rank-incarnation") == 0)
        return parse_number(value, '\0', UINT64_MAX, &settings->rank_incarnation, &rest);
    if (strcmp(name, "--rank") != 0 ||
        !parse_number(value, '\0', RANK_COUNT_MAX - 1, &number, &rest))
        return false;
    settings->rank = (uint32_t)number;
    return true;
}

enum status launcher_options_parse(int count, char **arguments,
                                   struct launcher_options *options_out, struct reason *reason)
{
    static const char *const needed[] = {"--instance", "--generation", "--rank", "--fabric"};
    bool is_given[COUNT_OF(needed)] = {false};
    struct launcher_options options = {.command = NULL};
    int at = 1;
    for (; at < count && strcmp(arguments[at], "--") != 0; at += 2) {
        const char *value = at + 1 < count ? arguments[at + 1] : "";
        if (!parse_option(arguments[at], value, &options))
            return refuse(reason, STATUS_INVALID, "%.60s %.60s is no option of a launcher",
                          arguments[at], value);
        for (size_t i = 0; i < COUNT_OF(needed); i++)
            is_given[i] = is_given[i] || strcmp(arguments[at], needed[i]) == 0;
    }
    for (size_t i = 0; i < COUNT_OF(needed); i++)
        if (!is_given[i])
            return refuse(reason, STATUS_INVALID, "%s is missing; the supervisor starts launchers",
                          needed[i]);
    if (options.ways[0])
        (void)snprintf(options.settings.bind, sizeof(options.settings.bind), "tcp://0.0.0.0:0");
    if (at + 1 >= count)
        return refuse(reason, STATUS_INVALID, "the program of the rank is missing after --");
    options.command = (const char *const *)arguments + at + 1;
    char instance[HEX_SIZE(8)];
    char leader[HEX_SIZE(4)];
    (void)snprintf(options.directory, sizeof(options.directory),
                   "mpi-%s-%" PRIu64 ".%s.%" PRIu64 "-%" PRIu32,
                   hex_print(options.settings.instance_id.bytes, 8, instance),
                   options.settings.generation.epoch,
                   hex_print(options.settings.generation.leader.bytes, 4, leader),
                   options.settings.generation.counter, options.settings.rank);
    *options_out = options;
    return STATUS_OK;
}
