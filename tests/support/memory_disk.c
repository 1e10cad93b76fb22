/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/memory_disk.h"

#include "protocol/memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR_SIZE 512
#define HANDLE_COUNT 64
#define PATH_SIZE 256

/* A write or a truncation (bytes NULL) that is not synced. */
struct change {
    uint64_t offset;
    uint8_t *bytes;
    size_t size;
};

struct content {
    uint8_t *bytes;
    size_t size;
    size_t capacity;
};

struct node {
    struct content now;
    struct content kept; /* what a crash leaves at least */
    struct change *changes;
    size_t change_count;
    bool is_locked;
    int references; /* names and descriptors */
};

struct entry {
    char path[PATH_SIZE];
    struct node *node;
};

struct names {
    struct entry *entries;
    size_t count;
};

/* A change of names: node NULL removes `path`. */
struct naming {
    char path[PATH_SIZE];
    struct node *node;
    bool is_joined; /* a rename: this and the next happen as one */
};

struct memory_disk {
    struct disk_ops ops;
    struct names now;
    struct names kept;
    struct naming *namings; /* not synced, in order */
    size_t naming_count;
    struct node *handles[HANDLE_COUNT];
    struct memory_fault fault;
    bool fault_is_set;
    bool has_failed;
    uint64_t size_limit;
};

static void *grown(void *block, size_t count, size_t size)
{
    void *bigger = memory_resized(block, count, size);
    if (!bigger)
        abort();
    return bigger;
}

static void content_resize(struct content *content, size_t size)
{
    if (size > content->capacity) {
        size_t capacity = content->capacity ? content->capacity : 4096;
        while (capacity < size)
            capacity *= 2;
        content->bytes = grown(content->bytes, capacity, 1);
        content->capacity = capacity;
    }
    if (size > content->size)
        memset(content->bytes + content->size, 0, size - content->size);
    content->size = size;
}

static void content_write(struct content *content, uint64_t offset, const void *bytes, size_t size)
{
    if (offset + size > content->size)
        content_resize(content, (size_t)offset + size);
    if (size > 0)
        memcpy(content->bytes + offset, bytes, size);
}

static void content_copy(struct content *target, const struct content *source)
{
    content_resize(target, 0);
    content_write(target, 0, source->bytes, source->size);
}

static void changes_clear(struct node *node)
{
    for (size_t i = 0; i < node->change_count; i++)
        memory_free(node->changes[i].bytes);
    memory_free(node->changes);
    node->changes = NULL;
    node->change_count = 0;
}

static void change_push(struct node *node, uint64_t offset, const void *bytes, size_t size)
{
    node->changes = grown(node->changes, node->change_count + 1, sizeof(*node->changes));
    struct change *change = &node->changes[node->change_count++];
    *change = (struct change){.offset = offset, .size = size};
    if (bytes) {
        change->bytes = memory_copied(bytes, size ? size : 1);
        if (!change->bytes)
            abort();
    }
}

static struct node *node_create(void)
{
    struct node *node = memory_zeroed(1, sizeof(*node));
    if (!node)
        abort();
    return node;
}

static void node_release(struct node *node)
{
    if (--node->references > 0)
        return;
    changes_clear(node);
    memory_free(node->now.bytes);
    memory_free(node->kept.bytes);
    memory_free(node);
}

static struct entry *names_find(const struct names *names, const char *path)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->entries[i].path, path) == 0)
            return &names->entries[i];
    return NULL;
}

static void names_set(struct names *names, const char *path, struct node *node)
{
    struct entry *entry = names_find(names, path);
    if (node)
        node->references++;
    if (entry) {
        node_release(entry->node);
        entry->node = node;
        if (!node) {
            size_t after = names->count - (size_t)(entry - names->entries) - 1;
            memmove(entry, entry + 1, after * sizeof(*entry));
            names->count--;
        }
    } else if (node) {
        names->entries = grown(names->entries, names->count + 1, sizeof(*entry));
        entry = &names->entries[names->count++];
        (void)snprintf(entry->path, sizeof(entry->path), "%s", path);
        entry->node = node;
    }
}

static void naming_push(struct memory_disk *disk, const char *path, struct node *node)
{
    disk->namings = grown(disk->namings, disk->naming_count + 1, sizeof(*disk->namings));
    struct naming *naming = &disk->namings[disk->naming_count++];
    (void)snprintf(naming->path, sizeof(naming->path), "%s", path);
    naming->node = node;
    naming->is_joined = false;
    if (node)
        node->references++;
    names_set(&disk->now, path, node);
}

/* Applies the first `count` namings to what is kept and forgets all. */
static void namings_keep(struct memory_disk *disk, size_t count)
{
    for (size_t i = 0; i < disk->naming_count; i++) {
        struct naming *naming = &disk->namings[i];
        if (i < count)
            names_set(&disk->kept, naming->path, naming->node);
        if (naming->node)
            node_release(naming->node);
    }
    memory_free(disk->namings);
    disk->namings = NULL;
    disk->naming_count = 0;
}

static bool fault_hits(struct memory_disk *disk, bool is_read)
{
    if (!disk->fault_is_set || (is_read && !disk->fault.reads_too))
        return false;
    if (disk->fault.calls > 0) {
        disk->fault.calls--;
        return false;
    }
    disk->has_failed = true;
    disk->fault_is_set = disk->fault.for_good;
    return true;
}

/* A negative errno when this call is to fail. */
static int fault_now(struct memory_disk *disk, bool is_read)
{
    return fault_hits(disk, is_read) ? -disk->fault.error : 0;
}

/* --- the table --- */

static int memory_open(void *owner, const char *path, enum disk_open how)
{
    struct memory_disk *disk = owner;
    struct entry *entry = names_find(&disk->now, path);
    int error = fault_now(disk, how != DISK_CREATE || entry);
    if (error)
        return error;
    if (!entry && how != DISK_CREATE)
        return -ENOENT;
    if (!entry) {
        naming_push(disk, path, node_create());
        entry = names_find(&disk->now, path);
    }
    for (int i = 0; i < HANDLE_COUNT; i++) {
        if (disk->handles[i])
            continue;
        disk->handles[i] = entry->node;
        entry->node->references++;
        return i;
    }
    return -EMFILE;
}

static struct node *node_of(struct memory_disk *disk, int file)
{
    ASSERT(file >= 0 && file < HANDLE_COUNT && disk->handles[file]);
    return disk->handles[file];
}

static void memory_close(void *owner, int file)
{
    struct memory_disk *disk = owner;
    struct node *node = node_of(disk, file);
    disk->handles[file] = NULL;
    node->is_locked = false;
    node_release(node);
}

static int64_t memory_read_at(void *owner, int file, void *bytes_out, size_t size, uint64_t offset)
{
    struct memory_disk *disk = owner;
    const struct content *now = &node_of(disk, file)->now;
    int error = fault_now(disk, true);
    if (error)
        return error;
    if (offset >= now->size)
        return 0;
    size_t count = now->size - offset < size ? now->size - (size_t)offset : size;
    memcpy(bytes_out, now->bytes + offset, count);
    return (int64_t)count;
}

uint64_t memory_disk_used(const struct memory_disk *disk)
{
    uint64_t used = 0;
    for (size_t i = 0; i < disk->now.count; i++)
        used += disk->now.entries[i].node->now.size;
    return used;
}

static int64_t write_some(struct node *node, const void *bytes, size_t size, uint64_t offset)
{
    content_write(&node->now, offset, bytes, size);
    change_push(node, offset, bytes, size);
    return (int64_t)size;
}

static int64_t memory_write_at(void *owner, int file, const void *bytes, size_t size,
                               uint64_t offset)
{
    struct memory_disk *disk = owner;
    struct node *node = node_of(disk, file);
    if (fault_hits(disk, false)) {
        int64_t written = disk->fault.is_short ? write_some(node, bytes, size / 2, offset) : 0;
        return disk->fault.error ? -disk->fault.error : written;
    }
    uint64_t end = offset + size;
    uint64_t more = end > node->now.size ? end - node->now.size : 0;
    uint64_t used = memory_disk_used(disk);
    uint64_t room = disk->size_limit > used ? disk->size_limit - used : 0;
    if (more <= room)
        return write_some(node, bytes, size, offset);
    if (more - room >= size)
        return -ENOSPC;
    return write_some(node, bytes, size - (size_t)(more - room), offset);
}

static int64_t memory_size(void *owner, int file)
{
    struct memory_disk *disk = owner;
    int error = fault_now(disk, true);
    return error ? error : (int64_t)node_of(disk, file)->now.size;
}

static int memory_truncate(void *owner, int file, uint64_t size)
{
    struct memory_disk *disk = owner;
    struct node *node = node_of(disk, file);
    int error = fault_now(disk, false);
    if (error)
        return error;
    content_resize(&node->now, (size_t)size);
    change_push(node, size, NULL, 0);
    return 0;
}

static int memory_sync(void *owner, int file)
{
    struct memory_disk *disk = owner;
    struct node *node = node_of(disk, file);
    int error = fault_now(disk, false);
    if (error) {
        changes_clear(node); /* `now` goes on showing bytes that nothing will keep */
        return error;
    }
    for (size_t i = 0; i < node->change_count; i++) {
        const struct change *change = &node->changes[i];
        if (change->bytes)
            content_write(&node->kept, change->offset, change->bytes, change->size);
        else
            content_resize(&node->kept, (size_t)change->offset);
    }
    changes_clear(node);
    return 0;
}

static int memory_forget(void *owner, int file)
{
    struct memory_disk *disk = owner;
    struct node *node = node_of(disk, file);
    if (node->change_count == 0)
        content_copy(&node->now, &node->kept);
    return 0;
}

static int memory_lock(void *owner, int file)
{
    struct memory_disk *disk = owner;
    struct node *node = node_of(disk, file);
    if (node->is_locked)
        return -EWOULDBLOCK;
    node->is_locked = true;
    return 0;
}

static int memory_rename(void *owner, const char *from, const char *to)
{
    struct memory_disk *disk = owner;
    int error = fault_now(disk, false);
    if (error)
        return error;
    struct entry *entry = names_find(&disk->now, from);
    if (!entry)
        return -ENOENT;
    struct node *node = entry->node;
    node->references++;
    naming_push(disk, to, node);
    disk->namings[disk->naming_count - 1].is_joined = true;
    naming_push(disk, from, NULL);
    node_release(node);
    return 0;
}

static int memory_remove(void *owner, const char *path)
{
    struct memory_disk *disk = owner;
    int error = fault_now(disk, false);
    if (error)
        return error;
    if (!names_find(&disk->now, path))
        return -ENOENT;
    naming_push(disk, path, NULL);
    return 0;
}

static int memory_make_directory(void *owner, const char *path)
{
    (void)path;
    return fault_now(owner, false);
}

static int memory_sync_directory(void *owner, const char *path)
{
    struct memory_disk *disk = owner;
    (void)path;
    int error = fault_now(disk, false);
    if (!error)
        namings_keep(disk, disk->naming_count);
    return error;
}

static int memory_list(void *owner, const char *path,
                       void (*visit)(void *visitor, const char *name), void *visitor)
{
    struct memory_disk *disk = owner;
    size_t length = strlen(path);
    int error = fault_now(disk, true);
    if (!error && names_find(&disk->now, path))
        error = -ENOTDIR;
    for (size_t i = 0; i < disk->now.count && !error; i++) {
        const char *at = disk->now.entries[i].path;
        if (strncmp(at, path, length) == 0 && at[length] == '/' && !strchr(at + length + 1, '/'))
            visit(visitor, at + length + 1);
    }
    return error;
}

/* --- for tests --- */

struct memory_disk *memory_disk_create(void)
{
    struct memory_disk *disk = memory_zeroed(1, sizeof(*disk));
    if (!disk)
        abort();
    disk->size_limit = UINT64_MAX;
    disk->ops = (struct disk_ops){.owner = disk,
                                  .open = memory_open,
                                  .close = memory_close,
                                  .read_at = memory_read_at,
                                  .write_at = memory_write_at,
                                  .size = memory_size,
                                  .truncate = memory_truncate,
                                  .sync = memory_sync,
                                  .forget = memory_forget,
                                  .lock = memory_lock,
                                  .rename = memory_rename,
                                  .remove = memory_remove,
                                  .make_directory = memory_make_directory,
                                  .sync_directory = memory_sync_directory,
                                  .list = memory_list};
    return disk;
}

static void names_clear(struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        node_release(names->entries[i].node);
    memory_free(names->entries);
    *names = (struct names){0};
}

void memory_disk_kill(struct memory_disk *disk)
{
    for (int i = 0; i < HANDLE_COUNT; i++)
        if (disk->handles[i])
            memory_close(disk, i);
}

void memory_disk_free(struct memory_disk *disk)
{
    if (!disk)
        return;
    memory_disk_kill(disk);
    namings_keep(disk, 0);
    names_clear(&disk->now);
    names_clear(&disk->kept);
    memory_free(disk);
}

const struct disk_ops *memory_disk_ops(struct memory_disk *disk)
{
    return &disk->ops;
}

struct memory_disk *memory_disk_clone(const struct memory_disk *disk)
{
    struct memory_disk *clone = memory_disk_create();
    for (size_t i = 0; i < disk->now.count; i++) {
        const struct content *now = &disk->now.entries[i].node->now;
        memory_disk_put(clone, disk->now.entries[i].path, now->bytes, now->size);
    }
    return clone;
}

void memory_disk_fail(struct memory_disk *disk, const struct memory_fault *fault)
{
    disk->fault = *fault;
    disk->fault_is_set = true;
    disk->has_failed = false;
}

void memory_disk_heal(struct memory_disk *disk)
{
    disk->fault_is_set = false;
}

bool memory_disk_has_failed(const struct memory_disk *disk)
{
    return disk->has_failed;
}

void memory_disk_limit(struct memory_disk *disk, uint64_t size)
{
    disk->size_limit = size;
}

/* Some sectors of a write, at their place. */
static void change_survive(struct node *node, const struct change *change, struct seeded *seeded)
{
    if (!change->bytes) {
        if (seeded_below(seeded, 2) == 0)
            content_resize(&node->kept, (size_t)change->offset);
        return;
    }
    uint64_t fate = seeded_below(seeded, 4); /* none, all, or each sector by itself */
    if (fate == 0)
        return;
    for (size_t at = 0; at < change->size;) {
        uint64_t sector_end = ((change->offset + at) / SECTOR_SIZE + 1) * SECTOR_SIZE;
        size_t size = (size_t)(sector_end - change->offset - at);
        if (size > change->size - at)
            size = change->size - at;
        if (fate == 1 || seeded_below(seeded, 3) > 0)
            content_write(&node->kept, change->offset + at, change->bytes + at, size);
        at += size;
    }
}

void memory_disk_crash(struct memory_disk *disk, struct seeded *seeded)
{
    memory_disk_kill(disk);
    size_t kept_count = (size_t)seeded_below(seeded, disk->naming_count + 1);
    if (kept_count > 0 && disk->namings[kept_count - 1].is_joined)
        kept_count++;
    namings_keep(disk, kept_count);
    names_clear(&disk->now);
    for (size_t i = 0; i < disk->kept.count; i++) {
        struct node *node = disk->kept.entries[i].node;
        for (size_t k = 0; k < node->change_count; k++)
            change_survive(node, &node->changes[k], seeded);
        changes_clear(node);
        content_copy(&node->now, &node->kept);
        names_set(&disk->now, disk->kept.entries[i].path, node);
    }
}

size_t memory_disk_open_count(const struct memory_disk *disk)
{
    size_t count = 0;
    for (int i = 0; i < HANDLE_COUNT; i++)
        count += disk->handles[i] ? 1 : 0;
    return count;
}

const uint8_t *memory_disk_bytes(const struct memory_disk *disk, const char *path,
                                 size_t *size_out)
{
    const struct entry *entry = names_find(&disk->now, path);
    if (!entry)
        return NULL;
    *size_out = entry->node->now.size;
    return entry->node->now.bytes;
}

void memory_disk_flip(struct memory_disk *disk, const char *path, size_t offset, uint8_t bits)
{
    const struct entry *entry = names_find(&disk->now, path);
    ASSERT(entry && offset < entry->node->now.size);
    entry->node->now.bytes[offset] ^= bits;
    if (offset < entry->node->kept.size)
        entry->node->kept.bytes[offset] ^= bits;
}

void memory_disk_put(struct memory_disk *disk, const char *path, const void *bytes, size_t size)
{
    struct node *node = node_create();
    content_write(&node->now, 0, bytes, size);
    content_copy(&node->kept, &node->now);
    names_set(&disk->now, path, node);
    names_set(&disk->kept, path, node);
}

void memory_disk_cut(struct memory_disk *disk, const char *path, size_t size)
{
    struct entry *entry = names_find(&disk->now, path);
    ASSERT(entry);
    content_resize(&entry->node->now, size);
    content_copy(&entry->node->kept, &entry->node->now);
    changes_clear(entry->node);
}

size_t memory_disk_file_count(const struct memory_disk *disk)
{
    return disk->now.count;
}

const char *memory_disk_file_path(const struct memory_disk *disk, size_t position)
{
    ASSERT(position < disk->now.count);
    return disk->now.entries[position].path;
}
