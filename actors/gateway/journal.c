/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/gateway/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum status journal_init(struct journal *journal, const char *directory, uint64_t size_max,
                         struct reason *reason)
{
    *journal = (struct journal){.fd = -1, .size_max = size_max ? size_max : JOURNAL_SIZE_MAX};
    int length = snprintf(journal->path, sizeof(journal->path), "%s/requests.jsonl", directory);
    int length_old =
        snprintf(journal->path_old, sizeof(journal->path_old), "%s/requests.1.jsonl", directory);
    if (length < 0 || length_old < 0 || (size_t)length_old >= sizeof(journal->path_old))
        return refuse(reason, STATUS_TOO_LARGE, "The path %.200s is too long for the journal.",
                      directory);
    return STATUS_OK;
}

static enum status journal_open(struct journal *journal, struct reason *reason)
{
    journal->fd = open(journal->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (journal->fd < 0)
        return refuse(reason, status_from_errno(errno), "%.200s: %s.", journal->path,
                      strerror(errno));
    struct stat stat;
    journal->size = fstat(journal->fd, &stat) == 0 ? (uint64_t)stat.st_size : 0;
    return STATUS_OK;
}

void journal_fini(struct journal *journal)
{
    if (journal->fd >= 0)
        (void)close(journal->fd);
    journal->fd = -1;
}

enum status journal_append(struct journal *journal, const void *line, size_t size,
                           struct reason *reason)
{
    if (journal->fd < 0) {
        enum status status = journal_open(journal, reason);
        if (status != STATUS_OK)
            return status;
    }
    if (journal->size > 0 && journal->size + size > journal->size_max) {
        journal_fini(journal);
        if (rename(journal->path, journal->path_old) != 0)
            return refuse(reason, status_from_errno(errno), "%.200s: %s.", journal->path,
                          strerror(errno));
        enum status status = journal_open(journal, reason);
        if (status != STATUS_OK)
            return status;
    }
    ssize_t written = write(journal->fd, line, size);
    if (written == (ssize_t)size) {
        journal->size += size;
        return STATUS_OK;
    }
    int error = written < 0 ? errno : ENOSPC;
    journal_fini(journal);
    return refuse(reason, status_from_errno(error), "%.200s: %s.", journal->path, strerror(error));
}
