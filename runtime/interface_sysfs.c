/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interface_sysfs: what Linux tells of a network interface below /sys.
 *
 * class/net/NAME/   type, operstate, flags, speed, uevent (DEVTYPE=), wireless or phy80211,
 *                   tun_flags, device (a link to hardware), device/driver, brif/PORT of a bridge
 * class/infiniband/DEVICE/device/net/NAME    the interfaces of an RDMA device,
 * class/infiniband/DEVICE/ports/N/state      "4: ACTIVE" where a cable is in
 */
#include "runtime/interface.h"

#include "protocol/memory.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_TEXT_SIZE = 512, FLAG_UP = 0x1, FLAG_LOOPBACK = 0x8, PORT_COUNT_MAX = 8 };

/* "ROOT/class/net/NAME/LEAF" */
static const char *path_of(char path_out[PATH_TEXT_SIZE], const char *root, const char *name,
                           const char *leaf)
{
    const int length = snprintf(path_out, PATH_TEXT_SIZE, "%s/class/net/%s%s%s", root, name,
                                leaf[0] ? "/" : "", leaf);
    if (length < 0 || length >= PATH_TEXT_SIZE)
        path_out[0] = '\0'; /* nothing is there */
    return path_out;
}

/* The file without its last newline; what cannot be read is empty. */
static void text_of(const char *path, char *text_out, size_t size)
{
    text_out[0] = '\0';
    FILE *file = fopen(path, "re");
    if (!file)
        return;
    const size_t length = fread(text_out, 1, size - 1, file);
    (void)fclose(file);
    text_out[length] = '\0';
    if (memchr(text_out, '\0', length))
        text_out[0] = '\0';
    const size_t end = strlen(text_out);
    if (end > 0 && text_out[end - 1] == '\n')
        text_out[end - 1] = '\0';
}

/* A whole number as C writes it ("1", "0x1003"); `fallback` for anything else. */
static int64_t number_of(const char *path, int64_t fallback)
{
    char text[32];
    char *end = NULL;
    text_of(path, text, sizeof(text));
    const long long value = strtoll(text, &end, 0);
    return text[0] && *end == '\0' ? (int64_t)value : fallback;
}

static bool is_there(const char *path)
{
    struct stat facts;
    return path[0] && stat(path, &facts) == 0;
}

/* "DEVTYPE=wlan" on a line of its own. */
static void read_device_type(const char *path, struct interface_facts *facts)
{
    static const char key[] = "DEVTYPE=";
    char text[1024];
    text_of(path, text, sizeof(text));
    for (const char *line = text; *line;) {
        const size_t length = strcspn(line, "\n");
        if (strncmp(line, key, strlen(key)) == 0)
            (void)snprintf(facts->device_type, sizeof(facts->device_type), "%.*s",
                           (int)(length - strlen(key)), line + strlen(key));
        line += length + (line[length] == '\n');
    }
}

static void read_driver(const char *path, struct interface_facts *facts)
{
    char target[PATH_TEXT_SIZE];
    const ssize_t length = readlink(path, target, sizeof(target) - 1);
    if (length <= 0)
        return;
    target[length] = '\0';
    const char *slash = strrchr(target, '/');
    (void)snprintf(facts->driver, sizeof(facts->driver), "%.31s", slash ? slash + 1 : target);
}

static bool bridges_hardware(const char *root, const char *name)
{
    char path[PATH_TEXT_SIZE];
    char port[PATH_TEXT_SIZE];
    bool found = false;
    DIR *ports = opendir(path_of(path, root, name, "brif"));
    if (!ports)
        return false;
    for (struct dirent *entry; !found && (entry = readdir(ports));)
        found = entry->d_name[0] != '.' && is_there(path_of(port, root, entry->d_name, "device"));
    (void)closedir(ports);
    return found;
}

void interface_sysfs_read(const char *root, const char *name, struct interface_facts *facts_out)
{
    char path[PATH_TEXT_SIZE];
    char state[32];
    struct interface_facts facts = {.hardware = 0};
    (void)snprintf(facts.name, sizeof(facts.name), "%s", name);
    facts.hardware = (uint32_t)number_of(path_of(path, root, name, "type"), 0);
    facts.speed_mbit = number_of(path_of(path, root, name, "speed"), 0);
    const int64_t flags = number_of(path_of(path, root, name, "flags"), 0);
    text_of(path_of(path, root, name, "operstate"), state, sizeof(state));
    /* A driver that keeps no state says "unknown" and its flag holds. */
    facts.is_up = strcmp(state, "up") == 0 || (strcmp(state, "unknown") == 0 && (flags & FLAG_UP));
    facts.is_loopback = flags & FLAG_LOOPBACK;
    facts.is_wireless = is_there(path_of(path, root, name, "wireless")) ||
                        is_there(path_of(path, root, name, "phy80211"));
    facts.is_tunnel = is_there(path_of(path, root, name, "tun_flags"));
    facts.has_device = is_there(path_of(path, root, name, "device"));
    facts.bridges_device = bridges_hardware(root, name);
    read_device_type(path_of(path, root, name, "uevent"), &facts);
    read_driver(path_of(path, root, name, "device/driver"), &facts);
    *facts_out = facts;
}

/* ---- RDMA ---- */

static bool port_is_active(const char *root, const char *device)
{
    char path[PATH_TEXT_SIZE];
    char state[32];
    for (int port = 1; port <= PORT_COUNT_MAX; port++) {
        (void)snprintf(path, sizeof(path), "%s/class/infiniband/%.64s/ports/%d/state", root,
                       device, port);
        text_of(path, state, sizeof(state));
        if (strncmp(state, "4:", 2) == 0)
            return true;
    }
    return false;
}

void interface_sysfs_rdma(const char *root, const char *name, char rdma_out[INTERFACE_NAME_SIZE])
{
    char path[PATH_TEXT_SIZE];
    char best[INTERFACE_NAME_SIZE] = "";
    (void)snprintf(path, sizeof(path), "%.400s/class/infiniband", root);
    DIR *devices = opendir(path);
    for (struct dirent *entry; devices && (entry = readdir(devices));) {
        if (entry->d_name[0] == '.' || strlen(entry->d_name) >= sizeof(best))
            continue;
        (void)snprintf(path, sizeof(path), "%.300s/class/infiniband/%.64s/device/net/%.64s", root,
                       entry->d_name, name);
        /* The least name of several, whatever order the directory has. */
        if (is_there(path) && port_is_active(root, entry->d_name) &&
            (!best[0] || strcmp(entry->d_name, best) < 0))
            (void)snprintf(best, sizeof(best), "%s", entry->d_name);
    }
    if (devices)
        (void)closedir(devices);
    memcpy(rdma_out, best, sizeof(best));
}
