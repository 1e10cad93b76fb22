/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file is 8192 bytes: slot 0 at 0, slot 1 at 4096, each in a sector of its own.
 *
 *   OFFSET  SIZE  DESCRIPTION  (numbers little-endian)
 *        0     8  magic of the kind of file
 *        8     8  sequence; the valid slot with the higher one is the newest
 *       16     4  size of the value
 *       20   200  value, then zeros
 *      220    32  zeros
 *      252     4  CRC32C of bytes 0 to 251
 */
#include "runtime/slot_file.h"

#include "runtime/bytes.h"
#include "runtime/crc32c.h"

#include <errno.h>
#include <string.h>

#define SLOT_DISTANCE 4096
#define SLOT_SIZE 256
#define SLOT_CRC_OFFSET 252
#define SLOT_VALUE_OFFSET 20

static void slot_encode(uint8_t *slot, uint64_t magic, uint64_t sequence, const void *value,
                        size_t size)
{
    ASSERT(size <= SLOT_VALUE_SIZE_MAX);
    memset(slot, 0, SLOT_SIZE);
    put_u64(slot, magic);
    put_u64(slot + 8, sequence);
    put_u32(slot + 16, (uint32_t)size);
    memcpy(slot + SLOT_VALUE_OFFSET, value, size);
    put_u32(slot + SLOT_CRC_OFFSET, crc32c(0, slot, SLOT_CRC_OFFSET));
}

static bool slot_is_valid(const uint8_t *slot, uint64_t magic, size_t size)
{
    return get_u64(slot) == magic && get_u32(slot + 16) == size &&
           get_u32(slot + SLOT_CRC_OFFSET) == crc32c(0, slot, SLOT_CRC_OFFSET);
}

enum status slot_file_create(const struct disk_ops *disk, const char *directory, const char *name,
                             uint64_t magic, const void *value, size_t size,
                             struct reason *reason)
{
    uint8_t content[2 * SLOT_DISTANCE] = {0};
    slot_encode(content, magic, 1, value, size);
    slot_encode(content + SLOT_DISTANCE, magic, 2, value, size);
    const struct disk_piece piece = {content, sizeof(content)};
    return disk_file_put(disk, directory, name, &piece, 1, reason);
}

enum status slot_file_open(struct slot_file *slots, const struct disk_ops *disk,
                           enum disk_open how, const char *directory, const char *name,
                           uint64_t magic, void *value_out, size_t size, struct reason *reason)
{
    *slots = (struct slot_file){.disk = disk, .file = -1, .magic = magic};
    int file = -1;
    enum status status = disk_path(directory, name, slots->path, reason);
    if (status == STATUS_OK)
        status = disk_file_open(disk, slots->path, how, &file, reason);
    if (status != STATUS_OK)
        return status;
    uint8_t content[SLOT_DISTANCE + SLOT_SIZE] = {0};
    size_t have = 0;
    status = disk_read_all(disk, file, slots->path, content, sizeof(content), 0, &have, reason);
    if (status != STATUS_OK) {
        disk->close(disk->owner, file);
        return status;
    }
    const uint8_t *newest = NULL;
    for (uint32_t i = 0; i < 2; i++) {
        const uint8_t *slot = content + (size_t)i * SLOT_DISTANCE;
        if (!slot_is_valid(slot, magic, size) || (newest && get_u64(slot + 8) < slots->sequence))
            continue;
        newest = slot;
        slots->newest = i;
        slots->sequence = get_u64(slot + 8);
    }
    if (!newest) {
        disk->close(disk->owner, file);
        return refuse(reason, STATUS_DAMAGED, "%s: neither of its two slots is readable",
                      slots->path);
    }
    memcpy(value_out, newest + SLOT_VALUE_OFFSET, size);
    slots->file = file;
    return STATUS_OK;
}

enum status slot_file_write(struct slot_file *slots, const void *value, size_t size,
                            struct reason *reason)
{
    uint8_t slot[SLOT_SIZE];
    uint32_t target = 1 - slots->newest;
    slot_encode(slot, slots->magic, slots->sequence + 1, value, size);
    enum status status =
        disk_write_all(slots->disk, slots->file, slots->path, slot, sizeof(slot),
                       (uint64_t)target * SLOT_DISTANCE, reason);
    if (status != STATUS_OK)
        return status; /* the slot may be torn; it is the next one to be written again */
    slots->newest = target;
    slots->sequence++;
    return STATUS_OK;
}

enum status slot_file_sync(struct slot_file *slots, struct reason *reason)
{
    int error = -slots->disk->sync(slots->disk->owner, slots->file);
    if (error)
        return refuse(reason, STATUS_IO,
                      "%s: could not be made durable: %s; check the disk, then start again",
                      slots->path, strerror(error));
    return STATUS_OK;
}

void slot_file_close(struct slot_file *slots)
{
    if (slots->file >= 0)
        slots->disk->close(slots->disk->owner, slots->file);
    slots->file = -1;
}
