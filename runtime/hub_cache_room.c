/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub_cache_room: whether so many bytes more fit on the disk of the cache, beside what is promised.
 *
 * What is on its way has its size from the beginning, and blocks as it comes: its holes are what
 * it still needs.  So every process that takes something in, and every node that shares the cache,
 * sees what the others were promised, and nothing is promised any more when it is gone.
 */
#include "runtime/hub_cache.h"

#include "runtime/hub_names.h"
#include "runtime/store_io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STAT_BLOCK 512u
#define ROOM_TO_SPARE ((uint64_t)1 << 20)

static uint64_t hole_of(int directory, const char *name)
{
    struct stat facts;
    if (store_stat(directory, name, &facts) != 0 || !S_ISREG(facts.st_mode))
        return 0;
    const uint64_t size = (uint64_t)facts.st_size;
    const uint64_t taken = (uint64_t)facts.st_blocks * STAT_BLOCK;
    return size > taken ? size - taken : 0;
}

/* Takes the descriptor.  NULL: nothing can be read there. */
static DIR *entries_of(int directory)
{
    DIR *entries = directory >= 0 ? fdopendir(directory) : NULL;
    if (!entries && directory >= 0)
        (void)close(directory);
    return entries;
}

/* Of all files of a directory. */
static uint64_t holes_in(int directory)
{
    DIR *entries = entries_of(directory);
    const struct dirent *entry;
    uint64_t bytes = 0;
    while (entries && (entry = readdir(entries)))
        bytes += hole_of(dirfd(entries), entry->d_name);
    if (entries)
        (void)closedir(entries);
    return bytes;
}

static bool is_on_its_way(const char *name)
{
    const size_t size = strlen(name);
    const size_t end = strlen(HUB_PARTIAL_END);
    return size > end && strcmp(name + size - end, HUB_PARTIAL_END) == 0;
}

static uint64_t promised_of_model(int blobs, const char *own)
{
    DIR *entries = entries_of(blobs);
    const struct dirent *entry;
    uint64_t bytes = 0;
    while (entries && (entry = readdir(entries))) {
        if (own && strcmp(entry->d_name, own) == 0)
            continue;
        if (strncmp(entry->d_name, RECEIVING_PREFIX, strlen(RECEIVING_PREFIX)) == 0)
            bytes += holes_in(store_open_directory(dirfd(entries), entry->d_name));
        else if (is_on_its_way(entry->d_name))
            bytes += hole_of(dirfd(entries), entry->d_name);
    }
    if (entries)
        (void)closedir(entries);
    return bytes;
}

uint64_t hub_cache_promised(const struct hub_cache *cache, const char *own)
{
    DIR *entries = entries_of(openat(cache->directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    const struct dirent *entry;
    uint64_t bytes = 0;
    while (entries && (entry = readdir(entries))) {
        char model_id[HUB_NAME_SIZE];
        struct reason unread;
        int blobs = -1;
        if (hub_model_id(entry->d_name, model_id) &&
            hub_cache_directory(cache, model_id, "blobs", false, &blobs, &unread) == STATUS_OK)
            bytes += promised_of_model(blobs, own);
    }
    if (entries)
        (void)closedir(entries);
    return bytes;
}

enum status hub_cache_room_check(const struct hub_cache *cache, const char *what, const char *own,
                                 uint64_t bytes, struct reason *reason)
{
    uint64_t room = 0;
    if (store_free_bytes(cache->directory, &room) != 0)
        return refuse(reason, status_from_errno(errno),
                      "%.300s: the free space cannot be read: %s", cache->root, strerror(errno));
    const uint64_t promised = bytes > 0 ? hub_cache_promised(cache, own) : 0;
    if (room >= promised && room - promised >= bytes && room - promised - bytes >= ROOM_TO_SPARE)
        return STATUS_OK;
    if (promised == 0)
        return refuse(reason, STATUS_NO_SPACE,
                      "%.100s needs %llu bytes, beside which %llu must stay free, and the disk of "
                      "%.160s has %llu free; free some or move the model store with the setting "
                      "store", what, (unsigned long long)bytes, (unsigned long long)ROOM_TO_SPARE,
                      cache->root, (unsigned long long)room);
    return refuse(reason, STATUS_NO_SPACE,
                  "%.100s needs %llu bytes, and of the %llu free on the disk of %.130s %llu are "
                  "promised to what is on its way; wait for that, free some or move the store",
                  what, (unsigned long long)bytes, (unsigned long long)room, cache->root,
                  (unsigned long long)promised);
}
