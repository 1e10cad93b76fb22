/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/tools/troupe/connection.h"

#include "runtime/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool key_read(const json_t *root, const char *name, void *bytes_out)
{
    const char *hex = json_string_value(json_object_get(root, name));
    return hex && hex_parse(hex, bytes_out, 32);
}

enum status connection_read(const char *path, struct connection *connection_out,
                            struct reason *reason)
{
    struct connection read = {.address = ""};
    struct stat found;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return refuse(reason, status_from_errno(errno), "%.200s cannot be read: %s", path,
                      strerror(errno));
    if (fstat(fd, &found) != 0 || (found.st_mode & 077) != 0) {
        (void)close(fd);
        return refuse(reason, STATUS_NO_PERMISSION,
                      "%.200s holds a secret key and others can read it; chmod 600 it", path);
    }
    json_t *root = json_loadfd(fd, JSON_REJECT_DUPLICATES, NULL);
    (void)close(fd);
    const char *address = json_string_value(json_object_get(root, "address"));
    bool is_whole = address && strlen(address) < sizeof(read.address) &&
                    key_read(root, "server_key", &read.server_key) &&
                    key_read(root, "public_key", &read.pair.public_key) &&
                    key_read(root, "secret_key", read.pair.secret);
    if (is_whole)
        (void)snprintf(read.address, sizeof(read.address), "%s", address);
    json_decref(root);
    if (!is_whole)
        return refuse(reason, STATUS_MALFORMED,
                      "%.200s is not what troupe client add writes; make a new one", path);
    *connection_out = read;
    return STATUS_OK;
}

enum status connection_write(const char *path, const struct connection *connection,
                             struct reason *reason)
{
    char hex[3][HEX_SIZE(32)];
    hex_print(&connection->server_key, 32, hex[0]);
    hex_print(&connection->pair.public_key, 32, hex[1]);
    hex_print(connection->pair.secret, 32, hex[2]);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return refuse(reason, status_from_errno(errno), "%.200s cannot be made: %s", path,
                      strerror(errno));
    json_t *root =
        json_pack("{s:s, s:s, s:s, s:s}", "address", connection->address, "server_key", hex[0],
                  "public_key", hex[1], "secret_key", hex[2]);
    bool ok = root && json_dumpfd(root, fd, JSON_INDENT(2)) == 0 && write(fd, "\n", 1) == 1;
    json_decref(root);
    ok = close(fd) == 0 && ok;
    if (ok)
        return STATUS_OK;
    (void)unlink(path);
    return refuse(reason, STATUS_IO, "%.200s cannot be written; is the disk full?", path);
}

enum status connection_open(const char *path, struct troupe_channel *channel_out,
                            struct reason *reason)
{
    struct connection connection;
    enum status status = connection_read(path, &connection, reason);
    if (status != STATUS_OK)
        return status;
    status = client_channel_open_remote(connection.address, &connection.server_key,
                                        &connection.pair, channel_out, reason);
    key_pair_fini(&connection.pair);
    return status;
}
