/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The value in the slots (slot_file.c):
 *
 *   OFFSET  SIZE  DESCRIPTION  (numbers little-endian)
 *        0     8  number
 *        8    16  node id of the leader
 */
#include "runtime/epoch_file.h"

#include "runtime/bytes.h"
#include "runtime/slot_file.h"

#include <string.h>

#define EPOCH_NAME "epoch"
#define EPOCH_MAGIC 0x48434f5055525400u /* "\0TRUPOCH" */
#define EPOCH_VALUE_SIZE 24

static void epoch_encode(const struct event_epoch *epoch, uint8_t *value)
{
    put_u64(value, epoch->number);
    memcpy(value + 8, epoch->leader.bytes, sizeof(epoch->leader.bytes));
}

static struct event_epoch epoch_decode(const uint8_t *value)
{
    struct event_epoch epoch = {.number = get_u64(value)};
    memcpy(epoch.leader.bytes, value + 8, sizeof(epoch.leader.bytes));
    return epoch;
}

enum status epoch_file_read(const struct disk_ops *disk, const char *directory,
                            struct event_epoch *epoch_out, struct reason *reason)
{
    struct slot_file slots;
    uint8_t value[EPOCH_VALUE_SIZE];
    enum status status = slot_file_open(&slots, disk ? disk : &disk_machine, DISK_READ, directory,
                                        EPOCH_NAME, EPOCH_MAGIC, value, sizeof(value), reason);
    if (status != STATUS_OK)
        return status;
    slot_file_close(&slots);
    *epoch_out = epoch_decode(value);
    return STATUS_OK;
}

enum status epoch_file_write(const struct disk_ops *disk, const char *directory,
                             const struct event_epoch *epoch, struct reason *reason)
{
    const struct disk_ops *on = disk ? disk : &disk_machine;
    struct slot_file slots;
    uint8_t value[EPOCH_VALUE_SIZE];
    uint8_t before[EPOCH_VALUE_SIZE];
    epoch_encode(epoch, value);
    enum status status = slot_file_open(&slots, on, DISK_WRITE, directory, EPOCH_NAME, EPOCH_MAGIC,
                                        before, sizeof(before), reason);
    if (status == STATUS_NOT_FOUND || status == STATUS_DAMAGED)
        return slot_file_create(on, directory, EPOCH_NAME, EPOCH_MAGIC, value, sizeof(value),
                                reason);
    if (status != STATUS_OK)
        return status;
    status = slot_file_write(&slots, value, sizeof(value), reason);
    if (status == STATUS_OK)
        status = slot_file_sync(&slots, reason);
    slot_file_close(&slots);
    return status;
}
