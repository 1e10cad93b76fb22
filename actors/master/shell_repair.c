/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A damaged log: what can be had of it, whom to ask for the rest, and when it is whole again.
 *
 * The records before the damage stay; everything behind it is set aside in damaged-* files, and the
 * leader sends what is missing as to any follower that fell behind.  Each record continues the hash
 * chain of those that stayed, and the chain at the mark must be the one that was acknowledged here.
 * Whom to ask says a file beside the log, since the state of a damaged log may not know.
 */
#include "actors/master/shell.h"

#include "protocol/memory.h"
#include "runtime/event_log_format.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void tell(struct master_shell *shell, const char *format, ...) PRINTF_LIKE(2, 3);

static void tell(struct master_shell *shell, const char *format, ...)
{
    char text[sizeof(((struct reason *)NULL)->text)];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (shell->tell)
        shell->tell(shell, text);
}

/* ---- whom to ask ---- */

#define NODES_NAME "nodes"
/* "<node id> <key> <address>\n" */
#define NODES_LINE_SIZE (HEX_SIZE(16) + HEX_SIZE(32) + LINK_ENDPOINT_SIZE)
#define NODES_SIZE_MAX (NODE_COUNT_MAX * NODES_LINE_SIZE)

static const struct disk_ops *disk_of(const struct master_shell *shell)
{
    return shell->disk ? shell->disk : &disk_machine;
}

enum status shell_nodes_write(struct master_shell *shell, const struct known_nodes *nodes,
                              struct reason *reason)
{
    char *text = memory_zeroed(1, NODES_SIZE_MAX);
    size_t size = 0;
    if (!text)
        return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < nodes->count; i++) {
        char id[HEX_SIZE(16)];
        char key[HEX_SIZE(32)];
        const struct known_node *node = &nodes->items[i];
        size += (size_t)snprintf(text + size, NODES_SIZE_MAX - size, "%s %s %s\n",
                                 hex_print(&node->node_id, 16, id), hex_print(&node->key, 32, key),
                                 node->address);
    }
    const struct disk_piece piece = {text, size};
    enum status status =
        disk_file_put(disk_of(shell), shell->log_path, NODES_NAME, &piece, 1, reason);
    memory_free(text);
    return status == STATUS_NO_SPACE ? STATUS_OK : status; /* it is only for a day of need */
}

/* A line that says nothing is passed over: it is a hint, and the key proves who answers. */
static void read_line(struct master_settings *settings, char *line)
{
    char *key = strchr(line, ' ');
    char *address = key ? strchr(key + 1, ' ') : NULL;
    struct known_nodes *known = &settings->known;
    if (!address || known->count == COUNT_OF(known->items) ||
        strlen(address + 1) >= LINK_ENDPOINT_SIZE)
        return;
    *key = *address = '\0';
    struct known_node *node = &known->items[known->count];
    *node = (struct known_node){.address = ""};
    if (!hex_parse(line, &node->node_id, sizeof(node->node_id)) ||
        !hex_parse(key + 1, &node->key, sizeof(node->key)) ||
        ID_EQUAL(node->node_id, settings->node_id))
        return;
    memcpy(node->address, address + 1, strlen(address + 1) + 1);
    known->count++;
}

static enum status read_nodes(const struct master_shell *shell, struct master_settings *settings,
                              struct reason *reason)
{
    char path[DISK_PATH_SIZE];
    const struct disk_ops *disk = disk_of(shell);
    settings->known.count = 0;
    enum status status = disk_path(shell->log_path, NODES_NAME, path, reason);
    int file = status == STATUS_OK ? disk->open(disk->owner, path, DISK_READ) : -1;
    if (file < 0)
        return status; /* nobody is known */
    char *text = memory_zeroed(1, NODES_SIZE_MAX + 1);
    size_t size = 0;
    status = text ? disk_read_all(disk, file, path, text, NODES_SIZE_MAX, 0, &size, reason)
                  : STATUS_NO_MEMORY;
    disk->close(disk->owner, file);
    for (char *line = text; status == STATUS_OK && line && *line;) {
        char *end = strchr(line, '\n');
        if (end)
            *end = '\0';
        read_line(settings, line);
        line = end ? end + 1 : NULL;
    }
    memory_free(text);
    return status;
}

/* ---- opening ---- */

enum status shell_repair_open(struct master_shell *shell, struct master_settings *settings,
                              bool has_state, struct reason *notice, struct reason *reason)
{
    const struct event_log_damage *damage = event_log_damage(shell->log);
    enum status status = read_nodes(shell, settings, reason);
    if (status != STATUS_OK)
        return status;
    if (settings->known.count == 0)
        return refuse(reason, STATUS_DAMAGED, "%s", damage->sentence);
    (void)snprintf(notice->text, sizeof(notice->text),
                   "%.300s; asking the other nodes (%u) for them", damage->sentence,
                   settings->known.count);
    settings->needs_state = !has_state;
    if (has_state)
        status = event_log_replace_from(shell->log, damage->first_index, reason);
    if (status != STATUS_OK)
        return status;
    settings->lost_index = damage->last_index;
    shell->lost_first = damage->first_index;
    shell->lost_last = damage->last_index;
    shell->lost_end = LOST_REFILLED;
    return STATUS_OK;
}

/* ---- going on ---- */

enum status shell_repair_append(struct master_shell *shell, const struct event_record *record,
                                struct reason *reason)
{
    const struct event_stamp before = event_log_last(shell->log);
    struct hash chain;
    enum status status = event_log_append_copy(shell->log, record, reason);
    event_record_chain(record, &before.chain, &chain);
    if (status != STATUS_HASH_MISMATCH || !event_log_damage(shell->log) ||
        !ID_EQUAL(chain, record->stamp.chain))
        return status;
    /* It continues this log, and is not the event that was acknowledged here: the leader's log
     * is not the one that was lost, and its epoch is above all that this node wrote or promised.
     * As with a branch, the higher epoch wins; the pieces stay aside. */
    shell->lost_end = LOST_PARTED;
    status = event_log_sync(shell->log, reason);
    if (status == STATUS_OK)
        status = event_log_truncate_to(shell->log, event_log_durable(shell->log).index, NULL,
                                       reason);
    return status == STATUS_OK ? event_log_append_copy(shell->log, record, reason) : status;
}

void shell_tell_branch(struct master_shell *shell, uint64_t first, uint64_t last,
                       const char *branch)
{
    tell(shell,
         "events %" PRIu64 " to %" PRIu64 ", taken here while the nodes were apart, are not in the "
         "leader's log; they are kept in %.127s (troupe-log list reads it)",
         first, last, branch);
}

void shell_repair_check(struct master_shell *shell)
{
    if (shell->lost_last == 0 || event_log_damage(shell->log))
        return;
    switch (shell->lost_end) {
    case LOST_REFILLED:
        tell(shell,
             "the event log is whole again: events %" PRIu64 " to %" PRIu64
             " came from another node, and continue the hash chain",
             shell->lost_first, shell->lost_last);
        break;
    case LOST_COVERED:
        tell(shell,
             "the event log is whole again: it goes on from the state of another node after event "
             "%" PRIu64 "; what is left of the damaged one is kept in damaged-*.segment",
             event_log_durable(shell->log).index);
        break;
    case LOST_PARTED:
        tell(shell,
             "events %" PRIu64 " to %" PRIu64 " of this node's log were damaged, and the leader's "
             "log goes on without them; what is left of them is kept in damaged-*.segment",
             shell->lost_first, shell->lost_last);
        break;
    }
    shell->lost_first = shell->lost_last = 0;
}
