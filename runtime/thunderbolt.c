/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/thunderbolt.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define SOURCE "system_profiler SPThunderboltDataType"

enum { JSON_DEPTH_MAX = 64, TREE_DEPTH_MAX = 16, VERSION_FOUR_GBIT = 40 };

/* jansson recurses; the depth is bounded before it starts. */
static bool is_too_deep(const char *text, size_t size)
{
    size_t depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < size; i++) {
        if (in_string && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            in_string = !in_string;
        else if (!in_string && (text[i] == '{' || text[i] == '['))
            depth++;
        else if (!in_string && (text[i] == '}' || text[i] == ']') && depth > 0)
            depth--;
        if (depth > JSON_DEPTH_MAX)
            return true;
    }
    return false;
}

/* Empty when absent, of another type or too long: a name is for people, a domain is compared. */
static void copy_text(const json_t *object, const char *key, char text_out[THUNDERBOLT_NAME_SIZE])
{
    const json_t *value = json_object_get(object, key);
    const size_t length = json_string_length(value);
    text_out[0] = '\0';
    if (json_is_string(value) && length < THUNDERBOLT_NAME_SIZE)
        memcpy(text_out, json_string_value(value), length + 1);
}

uint32_t thunderbolt_speed_gbit(const char *text)
{
    const char *at = strpbrk(text, "0123456789");
    char *end = NULL;
    if (!at)
        return 0;
    const unsigned long value = strtoul(at, &end, 10);
    while (*end == ' ')
        end++;
    return value <= 10000 && strncmp(end, "Gb/s", 4) == 0 ? (uint32_t)value : 0;
}

/* One that is being descended: its `_items`, and the next of them. */
struct level {
    const json_t *items;
    size_t next;
};

static enum status find_peer(const json_t *bus, struct thunderbolt_port *port,
                             struct reason *reason)
{
    struct level levels[TREE_DEPTH_MAX] = {{.items = json_object_get(bus, "_items")}};
    uint32_t depth = 1;
    while (depth > 0) {
        struct level *level = &levels[depth - 1];
        const json_t *item = json_array_get(level->items, level->next++);
        if (!item) {
            depth--;
            continue;
        }
        copy_text(item, "domain_uuid_key", port->peer_domain);
        if (port->peer_domain[0]) {
            copy_text(item, "device_name_key", port->peer_name);
            if (!port->peer_name[0])
                copy_text(item, "_name", port->peer_name);
            port->hubs = depth - 1;
            return STATUS_OK;
        }
        const json_t *items = json_object_get(item, "_items");
        if (json_array_size(items) == 0)
            continue;
        if (depth == TREE_DEPTH_MAX)
            return refuse(reason, STATUS_TOO_LARGE, "%s: more than %d devices in a row on %.40s",
                          SOURCE, TREE_DEPTH_MAX, port->bus);
        levels[depth++] = (struct level){.items = items};
    }
    return STATUS_OK;
}

/* "receptacle_1_tag" and so on; the first whose speed is told. */
static void read_receptacle(json_t *bus, struct thunderbolt_port *port)
{
    static const char start[] = "receptacle_";
    char speed[THUNDERBOLT_NAME_SIZE];
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach(bus, key, value)
    {
        if (strncmp(key, start, strlen(start)) != 0 || !json_is_object(value))
            continue;
        copy_text(value, "receptacle_id_key", port->receptacle);
        copy_text(value, "current_speed_key", speed);
        port->speed_gbit = thunderbolt_speed_gbit(speed);
        if (port->speed_gbit > 0)
            return;
    }
}

static enum status read_buses(const json_t *buses, struct thunderbolt_ports *ports,
                              struct reason *reason)
{
    for (size_t i = 0; i < json_array_size(buses); i++) {
        json_t *bus = json_array_get(buses, i);
        if (!json_is_object(bus))
            return refuse(reason, STATUS_MALFORMED, "%s: bus %zu is no object", SOURCE, i + 1);
        if (ports->count == THUNDERBOLT_PORT_COUNT_MAX)
            return refuse(reason, STATUS_TOO_LARGE, "%s: more than %d buses", SOURCE,
                          THUNDERBOLT_PORT_COUNT_MAX);
        struct thunderbolt_port *port = &ports->items[ports->count++];
        copy_text(bus, "_name", port->bus);
        copy_text(bus, "domain_uuid_key", port->domain);
        read_receptacle(bus, port);
        enum status status = find_peer(bus, port, reason);
        if (status != STATUS_OK)
            return status;
        /* A loop back into this machine is no way to another. */
        if (port->domain[0] && strcmp(port->domain, port->peer_domain) == 0)
            port->peer_domain[0] = '\0';
    }
    return STATUS_OK;
}

enum status thunderbolt_parse(const char *text, size_t size, struct thunderbolt_ports *ports_out,
                              struct reason *reason)
{
    struct thunderbolt_ports ports = {.count = 0};
    json_error_t error;
    if (size == 0)
        return refuse(reason, STATUS_MALFORMED, "%s wrote nothing; fast links stay unknown",
                      SOURCE);
    if (size > THUNDERBOLT_TEXT_SIZE_MAX)
        return refuse(reason, STATUS_TOO_LARGE, "%s wrote %zu bytes, more than %u", SOURCE, size,
                      THUNDERBOLT_TEXT_SIZE_MAX);
    if (is_too_deep(text, size))
        return refuse(reason, STATUS_TOO_LARGE, "%s is nested deeper than %d", SOURCE,
                      JSON_DEPTH_MAX);
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return refuse(reason, STATUS_MALFORMED, "%s: line %d: %.80s", SOURCE, error.line,
                      error.text);
    const json_t *buses = json_object_get(root, "SPThunderboltDataType");
    enum status status =
        json_is_array(buses)
            ? read_buses(buses, &ports, reason)
            : refuse(reason, STATUS_MALFORMED, "%s has no list of that name", SOURCE);
    json_decref(root);
    if (status == STATUS_OK)
        *ports_out = ports;
    return status;
}

bool thunderbolt_port_is_five(const struct thunderbolt_port *port)
{
    return port->peer_domain[0] != '\0' && port->speed_gbit > VERSION_FOUR_GBIT;
}

uint32_t thunderbolt_slowest_mbit(const struct thunderbolt_ports *ports)
{
    uint32_t slowest = 0;
    for (uint32_t i = 0; i < ports->count; i++) {
        const struct thunderbolt_port *port = &ports->items[i];
        if (port->peer_domain[0] && port->speed_gbit > 0 &&
            (slowest == 0 || port->speed_gbit < slowest))
            slowest = port->speed_gbit;
    }
    return slowest * 1000u;
}
