/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_store_journal: what is undone after a kill.
 *
 * File "models--ORG--NAME.OWNER.journal" in the holdings, one word and its value a line:
 *
 *   made COMMIT      links of this snapshot are being made
 *   there 1          the snapshot was there before: its links and blobs are not ours to remove
 *   blob ETAG        this blob becomes visible, and was not there before
 *   removed COMMIT   this snapshot goes as soon as the holding is another or none
 *   gone ETAG        this blob of it goes too, unless another snapshot has it
 *
 * It is written before what it says is done, and removed when that is done or undone.
 */
#include "protocol/buffer.h"
#include "protocol/memory.h"
#include "runtime/clock.h"
#include "runtime/model_store.h"
#include "runtime/store_io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define JOURNAL_END ".journal"
#define JOURNAL_SIZE_MAX ((size_t)1 << 20)
#define LOCK_STEP_MS 20u
#define PARTIAL_PREFIX "import-"

struct journal_read {
    char made[HUB_COMMIT_SIZE];
    char removed[HUB_COMMIT_SIZE];
    bool was_there;
    struct etags {
        const char **items;
        size_t count;
    } blobs, gone;
};

static enum status journal_name(const struct model_store *store, const char *model_id,
                                char name_out[HOLDING_NAME_SIZE], struct reason *reason)
{
    char name[HUB_NAME_SIZE];
    enum status status = hub_model_name(model_id, name, reason);
    if (status == STATUS_OK)
        (void)snprintf(name_out, HOLDING_NAME_SIZE, "%s.%s" JOURNAL_END, name, store->owner);
    return status;
}

static bool is_new_blob(const struct model_store *store, const char *model_id, const char *etag)
{
    struct reason unread;
    /* Whatever lies there is not ours. */
    const enum hub_blob state = hub_cache_blob_state(&store->cache, model_id, etag, 0, &unread);
    return state == HUB_BLOB_ABSENT || state == HUB_BLOB_PARTIAL;
}

enum status store_journal_put(struct model_store *store, const struct store_journal *journal,
                              struct reason *reason)
{
    struct buffer text;
    char name[HOLDING_NAME_SIZE];
    enum status status = journal_name(store, journal->model_id, name, reason);
    if (status != STATUS_OK)
        return status;
    buffer_init(&text, JOURNAL_SIZE_MAX);
    if (journal->made[0])
        status = buffer_append_format(&text, "made %s\nthere %d\n", journal->made,
                                      journal->was_there);
    for (uint32_t i = 0; journal->blobs && i < journal->blobs->record.files.count; i++) {
        const char *etag = journal->blobs->files[i].etag;
        if (status == STATUS_OK && etag[0] && is_new_blob(store, journal->model_id, etag))
            status = buffer_append_format(&text, "blob %s\n", etag);
    }
    if (status == STATUS_OK && journal->removed[0])
        status = buffer_append_format(&text, "removed %s\n", journal->removed);
    for (uint32_t i = 0; journal->gone && i < journal->gone->record.files.count; i++)
        if (status == STATUS_OK && journal->removed[0] && journal->gone->files[i].etag[0])
            status = buffer_append_format(&text, "gone %s\n", journal->gone->files[i].etag);
    if (status == STATUS_OK)
        status = buffer_append_text(&text, "\n"); /* never empty */
    if (status == STATUS_OK)
        status = holding_file_put(store->holdings, store->owner, name, text.bytes, text.size,
                                  reason);
    else
        status = refuse(reason, STATUS_NO_MEMORY, "no memory for a journal");
    buffer_fini(&text);
    return status;
}

enum status store_lock_model(const struct model_store *store, const char *model_id,
                             uint64_t timeout_ms, const struct model_import *import,
                             struct hub_lock *lock_out, struct reason *reason)
{
    char model_name[HUB_NAME_SIZE];
    char name[HUB_NAME_SIZE + 16];
    enum status status = hub_model_name(model_id, model_name, reason);
    if (status != STATUS_OK)
        return status;
    (void)snprintf(name, sizeof(name), ".%s.lock", model_name);
    const int file = store_open_own(store->holdings, name, 0600);
    if (file < 0)
        return refuse(reason, status_from_errno(errno), "%.200s: %s", name, strerror(errno));
    const uint64_t limit_ms = clock_now_ms() + timeout_ms;
    while (store_lock(file) != 0) {
        if (errno != EWOULDBLOCK)
            status = refuse(reason, status_from_errno(errno), "%.200s: %s", name, strerror(errno));
        else if (import && import->is_cancelled && import->is_cancelled(import->who))
            status = refuse(reason, STATUS_CANCELLED, "taking in %.100s was interrupted", model_id);
        else if (clock_now_ms() >= limit_ms)
            status = refuse(reason, STATUS_BUSY, "%.100s is being taken in or removed; try again "
                            "when that is done", model_id);
        if (status != STATUS_OK) {
            (void)close(file);
            return status;
        }
        clock_sleep_ms(LOCK_STEP_MS);
    }
    lock_out->file = file;
    return STATUS_OK;
}

static bool add_etag(struct etags *list, const char *etag)
{
    if (etag_kind_of(etag) == ETAG_NONE)
        return true;
    const char **grown = memory_resized(list->items, list->count + 1, sizeof(*grown));
    if (!grown)
        return false;
    list->items = grown;
    list->items[list->count++] = etag;
    return true;
}

/* Words that are not known are passed over: what they would do is less than harm. */
static enum status parse(char *text, struct journal_read *journal)
{
    for (char *line = text; *line;) {
        char *end = line + strcspn(line, "\n");
        char *next = *end ? end + 1 : end;
        *end = '\0';
        if (strncmp(line, "made ", 5) == 0 && hub_commit_is_sound(line + 5))
            memcpy(journal->made, line + 5, HUB_COMMIT_SIZE);
        else if (strncmp(line, "removed ", 8) == 0 && hub_commit_is_sound(line + 8))
            memcpy(journal->removed, line + 8, HUB_COMMIT_SIZE);
        else if (strcmp(line, "there 1") == 0)
            journal->was_there = true;
        else if (strncmp(line, "blob ", 5) == 0 && !add_etag(&journal->blobs, line + 5))
            return STATUS_NO_MEMORY;
        else if (strncmp(line, "gone ", 5) == 0 && !add_etag(&journal->gone, line + 5))
            return STATUS_NO_MEMORY;
        line = next;
    }
    return STATUS_OK;
}

/* Files of this owner that were on their way. */
static enum status drop_partials(const struct model_store *store, const char *model_id,
                                 struct reason *reason)
{
    char prefix[STORE_PARTIAL_SIZE];
    int blobs = -1;
    const int length = snprintf(prefix, sizeof(prefix), PARTIAL_PREFIX "%s-%s-", store->tag,
                                store->owner);
    enum status status =
        hub_cache_directory(&store->cache, model_id, "blobs", false, &blobs, reason);
    if (status == STATUS_NOT_FOUND)
        return STATUS_OK;
    DIR *entries = status == STATUS_OK ? fdopendir(blobs) : NULL;
    if (status == STATUS_OK && !entries) {
        (void)close(blobs);
        return refuse(reason, STATUS_NO_MEMORY, "no memory to read a directory");
    }
    const struct dirent *entry;
    while (entries && status == STATUS_OK && (entry = readdir(entries)))
        if (strncmp(entry->d_name, prefix, (size_t)length) == 0 &&
            store_unlink(blobs, entry->d_name) != 0 && errno != ENOENT)
            status = hub_cache_failed(&store->cache, model_id, entry->d_name, reason);
    if (entries)
        (void)closedir(entries);
    return status;
}

/* The snapshot a holding stands for; empty: none in the store. */
static enum status holding_commit(const struct model_store *store, const char *model_id,
                                  char commit_out[HUB_COMMIT_SIZE], struct reason *reason)
{
    struct model_manifest manifest = {0};
    commit_out[0] = '\0';
    const enum status status =
        model_manifest_read(store->holdings, model_id, &manifest, reason);
    if (status == STATUS_OK && !manifest.location)
        memcpy(commit_out, manifest.commit, HUB_COMMIT_SIZE);
    model_manifest_fini(&manifest);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

/* With the old model the branch goes back to where it stood. */
static enum status undo_made(struct model_store *store, const char *model_id,
                             const struct journal_read *journal, struct reason *reason)
{
    char commit[HUB_COMMIT_SIZE];
    struct reason unread;
    enum status status = hub_cache_snapshot_remove(&store->cache, model_id, journal->made,
                                                   journal->blobs.items, journal->blobs.count,
                                                   reason);
    if (status == STATUS_OK && journal->removed[0] &&
        hub_cache_ref_get(&store->cache, model_id, "main", commit, &unread) == STATUS_NOT_FOUND)
        status = hub_cache_ref_set(&store->cache, model_id, "main", journal->removed, reason);
    return status;
}

static enum status settle(struct model_store *store, const char *model_id,
                          const struct journal_read *journal, struct reason *reason)
{
    static const char nothing[] = "0000000000000000000000000000000000000000";
    char commit[HUB_COMMIT_SIZE];
    enum status status = drop_partials(store, model_id, reason);
    if (status == STATUS_OK)
        status = holding_commit(store, model_id, commit, reason);
    /* Nothing is removed that a damaged holding may have stood for. */
    if (status != STATUS_OK)
        return status == STATUS_DAMAGED ? STATUS_OK : status;
    const bool is_made = journal->made[0] && strcmp(commit, journal->made) == 0;
    if (status == STATUS_OK && journal->made[0] && !is_made && !journal->was_there)
        status = undo_made(store, model_id, journal, reason);
    /* An import that ended before its holding keeps the old model. */
    if (status == STATUS_OK && journal->removed[0] && strcmp(commit, journal->removed) != 0 &&
        (is_made || !journal->made[0]))
        status = hub_cache_snapshot_remove(&store->cache, model_id, journal->removed,
                                           journal->gone.items, journal->gone.count, reason);
    if (status == STATUS_OK && !is_made) /* directories that were made for nothing */
        status = hub_cache_snapshot_remove(&store->cache, model_id, nothing, NULL, 0, reason);
    return status;
}

enum status store_journal_settle(struct model_store *store, const char *model_id,
                                 struct reason *reason)
{
    char name[HOLDING_NAME_SIZE];
    struct journal_read journal = {.was_there = false};
    uint8_t *text = NULL;
    size_t size = 0;
    enum status status = journal_name(store, model_id, name, reason);
    if (status == STATUS_OK)
        status = holding_file_read(store->holdings, name, &text, &size, reason);
    if (status == STATUS_NOT_FOUND)
        return STATUS_OK;
    if (status == STATUS_OK)
        status = parse((char *)text, &journal);
    if (status == STATUS_OK)
        status = settle(store, model_id, &journal, reason);
    if (status == STATUS_OK && store_unlink(store->holdings, name) != 0 && errno != ENOENT)
        status = refuse(reason, status_from_errno(errno), "%.200s cannot be removed: %s", name,
                        strerror(errno));
    memory_free(journal.blobs.items);
    memory_free(journal.gone.items);
    memory_free(text);
    return status;
}

static bool ends_with(const char *name, const char *end)
{
    return strlen(name) > strlen(end) && strcmp(name + strlen(name) - strlen(end), end) == 0;
}

enum status store_journals_settle(struct model_store *store, struct reason *reason)
{
    char journal_end[64];
    char new_end[64];
    char model_id[HUB_NAME_SIZE];
    char name[HUB_NAME_SIZE];
    enum status status = STATUS_OK;
    (void)snprintf(journal_end, sizeof(journal_end), ".%s" JOURNAL_END, store->owner);
    (void)snprintf(new_end, sizeof(new_end), ".%s" HOLDING_NEW_END, store->owner);
    const int opened = openat(store->holdings, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = opened >= 0 ? fdopendir(opened) : NULL;
    if (!entries) {
        if (opened >= 0)
            (void)close(opened);
        return refuse(reason, STATUS_IO, "the holdings of this node cannot be read: %s",
                      strerror(errno));
    }
    const struct dirent *entry;
    while (status == STATUS_OK && (entry = readdir(entries))) {
        if (ends_with(entry->d_name, new_end))
            (void)!store_unlink(store->holdings, entry->d_name);
        if (!ends_with(entry->d_name, journal_end) || strlen(entry->d_name) >= sizeof(name))
            continue;
        (void)snprintf(name, sizeof(name), "%.*s",
                       (int)(strlen(entry->d_name) - strlen(journal_end)), entry->d_name);
        struct hub_lock lock = {-1};
        /* One that the other owner is changing is settled at the next change. */
        if (!hub_model_id(name, model_id) ||
            store_lock_model(store, model_id, 0, NULL, &lock, reason) != STATUS_OK)
            continue;
        status = store_journal_settle(store, model_id, reason);
        hub_cache_unlock(&lock);
    }
    (void)closedir(entries);
    return status;
}

/* ---- files on their way ---- */

enum status store_partial_make(struct model_store *store, const char *model_id, int blobs,
                               char name_out[STORE_PARTIAL_SIZE], int *file_out,
                               struct reason *reason)
{
    const unsigned number = atomic_fetch_add(&store->counter, 1);
    (void)snprintf(name_out, STORE_PARTIAL_SIZE, PARTIAL_PREFIX "%s-%s-%u" HUB_PARTIAL_END,
                   store->tag, store->owner, number);
    if (store_unlink(blobs, name_out) != 0 && errno != ENOENT)
        return hub_cache_failed(&store->cache, model_id, name_out, reason);
    const int file = store_open_own(blobs, name_out, 0666);
    if (file < 0)
        return hub_cache_failed(&store->cache, model_id, name_out, reason);
    *file_out = file;
    return STATUS_OK;
}

bool store_blob_is_there(int blobs, const struct file_entry *entry, struct file_facts *facts)
{
    struct stat found;
    struct hash digest;
    struct reason unread;
    const int file = store_open_file(blobs, facts->etag);
    if (file < 0)
        return false;
    const bool is_same =
        fstat(file, &found) == 0 && (uint64_t)found.st_size == entry->size &&
        store_file_digest(file, entry->name, entry->size, &digest, &unread) == STATUS_OK &&
        ID_EQUAL(digest, entry->digest);
    (void)close(file);
    if (is_same)
        facts->stamp = file_stamp_of(&found);
    return is_same;
}

enum status store_partial_place(const struct model_store *store, const char *model_id, int blobs,
                                const char *name, const struct file_entry *entry,
                                struct file_facts *facts, struct reason *reason)
{
    struct stat found;
    if (store_blob_is_there(blobs, entry, facts)) {
        if (store_unlink(blobs, name) == 0)
            return STATUS_OK;
    } else if (store_stat(blobs, name, &found) == 0 &&
               store_rename(blobs, name, facts->etag) == 0) {
        facts->stamp = file_stamp_of(&found);
        return STATUS_OK;
    }
    return hub_cache_failed(&store->cache, model_id, entry->name, reason);
}
