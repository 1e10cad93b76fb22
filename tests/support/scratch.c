/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/scratch.h"

#include "protocol/assert.h"
#include "protocol/memory.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void scratch_open(struct scratch *scratch)
{
    const char *base = getenv("TMPDIR");
    int length = snprintf(scratch->path, sizeof(scratch->path), "%s/troupe-test-XXXXXX",
                          base && *base ? base : "/tmp");
    ASSERT(length > 0 && (size_t)length < sizeof(scratch->path));
    ASSERT(mkdtemp(scratch->path) != NULL);
}

static int remove_entry(const char *path, const struct stat *stat, int kind, struct FTW *walk)
{
    (void)stat;
    (void)kind;
    (void)walk;
    (void)remove(path);
    return 0;
}

void scratch_close(struct scratch *scratch)
{
    (void)nftw(scratch->path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *scratch_path(const struct scratch *scratch, const char *name, char *path_out)
{
    int length = snprintf(path_out, 256, "%s/%s", scratch->path, name);
    ASSERT(length > 0 && length < 256);
    return path_out;
}

const char *source_path(const char *name, char *path_out)
{
    const char *base = getenv("TROUPE_SOURCE_DIR");
    int length = snprintf(path_out, 512, "%s/%s", base ? base : ".", name);
    ASSERT(length > 0 && length < 512);
    return path_out;
}

char *file_bytes(const char *path, size_t *size_out)
{
    FILE *file = fopen(path, "rb");
    ASSERT(file != NULL);
    ASSERT(fseek(file, 0, SEEK_END) == 0);
    long size = ftell(file);
    ASSERT(size >= 0);
    rewind(file);
    char *bytes = memory_zeroed((size_t)size + 1, 1);
    ASSERT(bytes != NULL);
    ASSERT(fread(bytes, 1, (size_t)size, file) == (size_t)size);
    (void)fclose(file);
    if (size_out)
        *size_out = (size_t)size;
    return bytes;
}

void file_put(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    ASSERT(file != NULL);
    ASSERT(fwrite(bytes, 1, size, file) == size);
    ASSERT(fclose(file) == 0);
}
