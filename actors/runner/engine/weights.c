/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/weights.h"

#include "protocol/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Who watches the reading sees a disk that gives less than this in seconds as stalled. */
#define READ_SIZE ((uint64_t)256 << 10)
/* Rows that lie apart are read together, if no more than this is between two, */
#define ROWS_GAP_MAX 8192u
/* in windows of the file, of which the last are kept: what is read for one rank's columns is there
 * for the next rank's. */
#define ROWS_WINDOW_SIZE ((uint64_t)256 << 10)
#define ROWS_WINDOWS_MAX 64u
/* Memory that is filled at the speed of a fast link is taken from the system in pieces as large as
 * it has them: each piece costs a fault. */
#define HUGE_PAGE_SIZE ((uint64_t)2 << 20)
/* Shorter runs of a file are copied: each one used in place costs the pages at its ends, and the
 * system one of its mappings, of which a process has about 65,000. */
#define IN_PLACE_SIZE_MIN ((uint64_t)64 << 10)
#define IN_PLACE_RUNS_MAX 8192u

struct weight_file {
    const uint8_t *bytes;
    uint64_t size;
    int descriptor;
};

struct row_window {
    uint32_t file;
    uint64_t first;
    bool is_read;
};

struct row_windows {
    uint8_t *bytes; /* ROWS_WINDOW_SIZE for each; NULL until needed */
    size_t count;
    struct row_window windows[ROWS_WINDOWS_MAX];
};

struct weight_files {
    const struct tensor_table *table;
    struct weight_file *files; /* without bytes: not mapped */
    size_t count;
    struct row_windows *rows;
    struct weight_reading *reading; /* may be NULL */
};

struct shard {
    const struct shard_plan *plan;
    uint8_t *memory;
    const uint8_t **slices; /* where each slice is; NULL until filled */
    uint64_t *strides;
    size_t *slice_of;       /* [module][part], SIZE_MAX for none */
    size_t module_count;
};

static enum status map_file(const char *directory, const struct tensor_file *file,
                            struct weight_file *mapped, struct reason *reason)
{
    int descriptor = -1;
    uint64_t size = 0;
    enum status status = model_file_open(directory, file->name, &descriptor, &size, reason);
    if (status != STATUS_OK)
        return status;
    void *bytes = MAP_FAILED;
    if (size != file->size)
        status = refuse(reason, STATUS_STALE, "%s/%s has %llu bytes where %llu were said; the file "
                        "changed, import the model again", directory, file->name,
                        (unsigned long long)size, (unsigned long long)file->size);
    else
        bytes = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (status == STATUS_OK && bytes == MAP_FAILED)
        status = refuse(reason, status_from_errno(errno), "%s/%s cannot be mapped: %s", directory,
                        file->name, strerror(errno));
    if (status != STATUS_OK) {
        (void)close(descriptor);
        return status;
    }
    mapped->bytes = bytes;
    mapped->size = size;
    mapped->descriptor = descriptor;
    return STATUS_OK;
}

enum status weight_files_open(const char *directory, const struct tensor_table *table,
                              struct weight_files **files_out, struct reason *reason)
{
    return weight_files_open_some(directory, table, NULL, NULL, files_out, reason);
}

enum status weight_files_open_some(const char *directory, const struct tensor_table *table,
                                   const bool *wanted, struct weight_reading *reading,
                                   struct weight_files **files_out, struct reason *reason)
{
    struct weight_files *files = memory_zeroed(1, sizeof *files);
    if (files) {
        files->files = memory_zeroed(table->file_count, sizeof *files->files);
        files->rows = memory_zeroed(1, sizeof *files->rows);
    }
    enum status status = STATUS_OK;
    if (!files || !files->files || !files->rows)
        status = refuse(reason, STATUS_NO_MEMORY, "no memory to map %zu files", table->file_count);
    for (size_t i = 0; status == STATUS_OK && i < table->file_count; i++) {
        if (!wanted || wanted[i])
            status = map_file(directory, &table->files[i], &files->files[i], reason);
        files->count += status == STATUS_OK;
    }
    if (status != STATUS_OK) {
        weight_files_close(files);
        return status;
    }
    files->rows->count = ROWS_WINDOWS_MAX;
    files->table = table;
    files->reading = reading;
    *files_out = files;
    return STATUS_OK;
}

static void rows_close(struct row_windows *rows)
{
    const size_t count = rows->count;
    if (rows->bytes)
        (void)munmap(rows->bytes, count * ROWS_WINDOW_SIZE);
    *rows = (struct row_windows){.count = count};
}

void weight_files_close(struct weight_files *files)
{
    if (!files)
        return;
    for (size_t i = 0; i < files->count; i++) {
        if (!files->files[i].bytes)
            continue;
        (void)munmap((void *)(uintptr_t)files->files[i].bytes, (size_t)files->files[i].size);
        (void)close(files->files[i].descriptor);
    }
    if (files->rows)
        rows_close(files->rows);
    memory_free(files->rows);
    memory_free(files->files);
    memory_free(files);
}

const uint8_t *weight_files_tensor(const struct weight_files *files, const struct tensor *tensor)
{
    ASSERT(tensor->file < files->count && files->files[tensor->file].bytes);
    return files->files[tensor->file].bytes + tensor->offset;
}

const char *weight_files_at(const struct weight_files *files, const void *address)
{
    const uint8_t *byte = address;
    for (size_t i = 0; files && i < files->count; i++) {
        const struct weight_file *file = &files->files[i];
        if (file->bytes && byte >= file->bytes && byte < file->bytes + file->size)
            return files->table->files[i].name;
    }
    return NULL;
}

/* `size` bytes of a file into `bytes_out`; through read, as a fault for each page that is touched
 * once costs more than the copy, and as a disk that fails then says so. */
static enum status read_at(const struct weight_files *files, uint32_t file, uint64_t offset,
                           uint64_t size, uint8_t *bytes_out, struct reason *reason)
{
    const char *name = files->table->files[file].name;
    while (size > 0) {
        const ssize_t got =
            pread(files->files[file].descriptor, bytes_out, (size_t)size, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return refuse(reason, STATUS_IO, "the weight file %.200s could not be read: %s; repair"
                          " the disk or add the model again", name, strerror(errno));
        if (got == 0)
            return refuse(reason, STATUS_STALE, "the weight file %.200s shrank while it was in use;"
                          " add the model again", name);
        bytes_out += got;
        offset += (uint64_t)got;
        size -= (uint64_t)got;
    }
    return STATUS_OK;
}

/* The window of a file that `offset` is in, read unless it is still there. */
static enum status window_take(const struct weight_files *files, uint32_t file, uint64_t offset,
                               const uint8_t **bytes_out, struct reason *reason)
{
    struct row_windows *rows = files->rows;
    const uint64_t first = offset / ROWS_WINDOW_SIZE * ROWS_WINDOW_SIZE;
    const uint64_t left = files->files[file].size - first;
    const uint64_t size = left < ROWS_WINDOW_SIZE ? left : ROWS_WINDOW_SIZE;
    struct row_window *window = &rows->windows[(first / ROWS_WINDOW_SIZE + file) % rows->count];
    uint8_t *bytes = rows->bytes + (size_t)(window - rows->windows) * ROWS_WINDOW_SIZE;
    *bytes_out = bytes;
    if (window->is_read && window->file == file && window->first == first)
        return STATUS_OK;
    enum status status = read_at(files, file, first, size, bytes, reason);
    *window = (struct row_window){file, first, status == STATUS_OK};
    return status;
}

static bool rows_open(struct row_windows *rows)
{
    const size_t size = rows->count * ROWS_WINDOW_SIZE;
    if (rows->bytes)
        return true;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return false;
    (void)madvise(memory, size, MADV_HUGEPAGE);
    rows->bytes = memory;
    return true;
}

void weight_files_limit(struct weight_files *files, uint64_t bytes)
{
    const uint64_t count = bytes / ROWS_WINDOW_SIZE;
    rows_close(files->rows);
    files->rows->count = count < 1                  ? 1
                         : count < ROWS_WINDOWS_MAX ? (size_t)count
                                                    : ROWS_WINDOWS_MAX;
}

/* Bytes [first, end) of a packed slice whose rows lie apart.  Where little is between them, many
 * rows are one read, which serves those who keep other columns of them too. */
static enum status read_apart(const struct weight_files *files, const struct shard_slice *slice,
                              uint64_t first, uint64_t end, uint8_t *bytes_out,
                              struct reason *reason)
{
    const uint64_t width = slice->byte_end - slice->byte_first;
    const bool is_near = slice->row_bytes - width <= ROWS_GAP_MAX && rows_open(files->rows);
    const uint32_t file = slice->tensor->file;
    enum status status = STATUS_OK;
    while (first < end && status == STATUS_OK) {
        const uint64_t within = first % width;
        const uint64_t offset = slice->tensor->offset + slice->byte_first + within +
                                (slice->row_first + first / width) * slice->row_bytes;
        const uint64_t at = offset % ROWS_WINDOW_SIZE;
        const uint8_t *window = NULL;
        uint64_t piece = width - within < end - first ? width - within : end - first;
        if (is_near) {
            piece = piece < ROWS_WINDOW_SIZE - at ? piece : ROWS_WINDOW_SIZE - at;
            status = window_take(files, file, offset, &window, reason);
        } else {
            status = read_at(files, file, offset, piece, bytes_out, reason);
        }
        if (status == STATUS_OK && window)
            memcpy(bytes_out, window + at, (size_t)piece);
        bytes_out += piece;
        first += piece;
    }
    return status;
}

static enum status read_piece(const struct weight_files *files, const struct shard_slice *slice,
                              uint64_t first, uint64_t end, uint8_t *bytes_out,
                              struct reason *reason)
{
    const uint64_t offset = slice->tensor->offset + slice->row_first * slice->row_bytes;
    if (shard_slice_is_contiguous(slice))
        return read_at(files, slice->tensor->file, offset + first, end - first, bytes_out, reason);
    return read_apart(files, slice, first, end, bytes_out, reason);
}

enum status shard_slice_read_range(const struct weight_files *files,
                                   const struct shard_slice *slice, uint64_t first, uint64_t end,
                                   uint8_t *bytes_out, struct reason *reason)
{
    struct weight_reading *reading = files->reading;
    const char *name = files->table->files[slice->tensor->file].name;
    enum status status = STATUS_OK;
    ASSERT(first <= end && end <= slice->size);
    const char *const outer = reading ? reading->file : NULL;
    if (reading)
        reading->file = name;
    while (first < end && status == STATUS_OK) {
        const uint64_t next = end - first > READ_SIZE ? first + READ_SIZE : end;
        if (reading && reading->before)
            reading->before(reading->context, name);
        status = read_piece(files, slice, first, next, bytes_out, reason);
        if (reading)
            reading->count++;
        bytes_out += next - first;
        first = next;
    }
    if (reading)
        reading->file = outer;
    return status;
}

enum status shard_slice_read(const struct weight_files *files, const struct shard_slice *slice,
                             uint8_t *bytes_out, struct reason *reason)
{
    return shard_slice_read_range(files, slice, 0, slice->size, bytes_out, reason);
}

static enum status allocate(struct shard *shard, struct reason *reason)
{
    const struct shard_plan *plan = shard->plan;
    for (size_t i = 0; i < plan->slice_count; i++) {
        if (plan->slices[i].module >= shard->module_count)
            shard->module_count = plan->slices[i].module + 1;
    }
    shard->slices = memory_zeroed(plan->slice_count, sizeof *shard->slices);
    shard->strides = memory_zeroed(plan->slice_count, sizeof *shard->strides);
    shard->slice_of = memory_zeroed(shard->module_count * MODULE_PART_COUNT,
                                    sizeof *shard->slice_of);
    if (!shard->slices || !shard->strides || !shard->slice_of)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for %zu slices", plan->slice_count);
    void *memory = mmap(NULL, (size_t)plan->target_size + 1, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for a shard of %llu bytes",
                      (unsigned long long)plan->target_size);
    shard->memory = memory;
    for (size_t i = 0; i < shard->module_count * MODULE_PART_COUNT; i++)
        shard->slice_of[i] = SIZE_MAX;
    for (size_t i = 0; i < plan->slice_count; i++)
        shard->slice_of[plan->slices[i].module * MODULE_PART_COUNT + plan->slices[i].part] = i;
    return STATUS_OK;
}

void shard_receives_all(struct shard *shard)
{
    if (shard->plan->target_size >= HUGE_PAGE_SIZE)
        (void)madvise(shard->memory, (size_t)shard->plan->target_size + 1, MADV_HUGEPAGE);
}

enum status shard_open(const struct shard_plan *plan, struct shard **shard_out,
                       struct reason *reason)
{
    struct shard *shard = memory_zeroed(1, sizeof *shard);
    if (!shard)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for a shard");
    shard->plan = plan;
    enum status status = allocate(shard, reason);
    if (status != STATUS_OK) {
        shard_close(shard);
        return status;
    }
    *shard_out = shard;
    return STATUS_OK;
}

void shard_close(struct shard *shard)
{
    if (!shard)
        return;
    if (shard->memory)
        munmap(shard->memory, (size_t)shard->plan->target_size + 1);
    memory_free(shard->slices);
    memory_free(shard->strides);
    memory_free(shard->slice_of);
    memory_free(shard);
}

static enum status copy_rows(struct shard *shard, const struct weight_files *files, size_t index,
                             struct reason *reason)
{
    const struct shard_slice *slice = &shard->plan->slices[index];
    enum status status =
        shard_slice_read(files, slice, shard->memory + slice->target, reason);
    if (status == STATUS_OK)
        shard_received(shard, index);
    return status;
}

/* Bytes [first, end) of a file, which this rank keeps as they lie there. */
struct run {
    uint32_t file;
    uint64_t first;
    uint64_t end;
    size_t slice;
};

static int compare_runs(const void *left, const void *right)
{
    const struct run *a = left;
    const struct run *b = right;
    if (a->file != b->file)
        return a->file < b->file ? -1 : 1;
    return a->first < b->first ? -1 : a->first > b->first;
}

static struct run run_of(const struct shard *shard, size_t index)
{
    const struct shard_slice *slice = &shard->plan->slices[index];
    uint64_t first = slice->tensor->offset + slice->row_first * slice->row_bytes;
    return (struct run){slice->tensor->file, first, first + slice->size, index};
}

/* The end of the run that begins with runs[first], what touches it being of it; its bytes end at
 * `*end_out`. */
static size_t run_end(const struct run *runs, size_t count, size_t first, uint64_t *end_out)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t end = runs[first].end;
    size_t next = first + 1;
    for (; next < count && runs[next].file == runs[first].file &&
           runs[next].first <= end + page; next++)
        end = runs[next].end > end ? runs[next].end : end;
    *end_out = end;
    return next;
}

static void use_in_place(struct shard *shard, const struct weight_files *files,
                         const struct run *run)
{
    shard->slices[run->slice] = files->files[run->file].bytes + run->first;
    shard->strides[run->slice] = shard->plan->slices[run->slice].row_bytes;
}

/* Runs of some size are used where they are, the others copied. */
static enum status fill_runs(struct shard *shard, const struct weight_files *files,
                             const struct run *runs, size_t count, struct reason *reason)
{
    uint64_t size_min = shard->plan->bytes / IN_PLACE_RUNS_MAX;
    size_min = size_min > IN_PLACE_SIZE_MIN ? size_min : IN_PLACE_SIZE_MIN;
    enum status status = STATUS_OK;
    for (size_t first = 0; first < count && status == STATUS_OK;) {
        uint64_t end = 0;
        size_t next = run_end(runs, count, first, &end);
        bool is_large = end - runs[first].first >= size_min;
        for (; first < next && status == STATUS_OK; first++) {
            if (is_large)
                use_in_place(shard, files, &runs[first]);
            else
                status = copy_rows(shard, files, runs[first].slice, reason);
        }
    }
    return status;
}

enum status shard_fill(struct shard *shard, const struct weight_files *files,
                       struct reason *reason)
{
    const struct shard_plan *plan = shard->plan;
    struct run *runs = memory_zeroed(plan->slice_count, sizeof *runs);
    size_t count = 0;
    enum status status = STATUS_OK;
    if (!runs)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for %zu slices", plan->slice_count);
    for (size_t i = 0; i < plan->slice_count && status == STATUS_OK; i++) {
        const struct shard_slice *slice = &plan->slices[i];
        if (shard->slices[i])
            continue;
        if (slice->tensor->file >= files->count || !files->files[slice->tensor->file].bytes)
            status = refuse(reason, STATUS_NOT_FOUND, "the file of tensor %.200s is not here",
                            slice->tensor->name);
        else if (shard_slice_is_contiguous(slice))
            runs[count++] = run_of(shard, i);
        else
            status = copy_rows(shard, files, i, reason);
    }
    qsort(runs, count, sizeof *runs, compare_runs);
    if (status == STATUS_OK)
        status = fill_runs(shard, files, runs, count, reason);
    memory_free(runs);
    return status;
}

/* Nothing of a file's bytes [first, end) stays mapped but the pages it shares with what is kept;
 * the addresses stay taken, so that a touch of them is a fault and nothing else comes there. */
static void unmap_between(const struct weight_file *file, uint64_t first, uint64_t end)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    first = (first + page - 1) / page * page;
    end = end == file->size ? (end + page - 1) / page * page : end / page * page;
    if (first >= end)
        return;
    void *place = (void *)(uintptr_t)(file->bytes + first);
    size_t size = (size_t)(end - first);
    if (mmap(place, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
             0) == MAP_FAILED)
        (void)madvise(place, size, MADV_DONTNEED); /* too many mappings */
}

void shard_keep_only(const struct shard *shard, const struct weight_files *files)
{
    const struct shard_plan *plan = shard->plan;
    struct run *runs = memory_zeroed(plan->slice_count, sizeof *runs);
    size_t count = 0;
    rows_close(files->rows);
    for (size_t i = 0; runs && i < plan->slice_count; i++) {
        const struct weight_file *file = &files->files[plan->slices[i].tensor->file];
        uintptr_t place = (uintptr_t)shard->slices[i];
        if (file->bytes && place >= (uintptr_t)file->bytes &&
            place < (uintptr_t)file->bytes + file->size)
            runs[count++] = run_of(shard, i);
    }
    if (!runs)
        return;
    qsort(runs, count, sizeof *runs, compare_runs);
    size_t at = 0;
    for (uint32_t i = 0; i < files->count; i++) {
        uint64_t kept_end = 0; /* a file that is not mapped has no runs */
        while (at < count && runs[at].file == i) {
            unmap_between(&files->files[i], kept_end, runs[at].first);
            at = run_end(runs, count, at, &kept_end);
        }
        if (files->files[i].bytes)
            unmap_between(&files->files[i], kept_end, files->files[i].size);
    }
    memory_free(runs);
}

void shard_touch(struct shard *shard, size_t index)
{
    const struct shard_slice *slice = &shard->plan->slices[index];
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    const uint64_t first = slice->target / page * page;
#ifdef MADV_POPULATE_WRITE
    (void)madvise(shard->memory + first, (size_t)(slice->target + slice->size - first),
                  MADV_POPULATE_WRITE);
#endif
    (void)first;
}

uint8_t *shard_receive_target(struct shard *shard, size_t index, uint64_t *size_out)
{
    ASSERT(index < shard->plan->slice_count);
    *size_out = shard->plan->slices[index].size;
    return shard->memory + shard->plan->slices[index].target;
}

void shard_received(struct shard *shard, size_t index)
{
    ASSERT(index < shard->plan->slice_count);
    const struct shard_slice *slice = &shard->plan->slices[index];
    shard->slices[index] = shard->memory + slice->target;
    shard->strides[index] = slice->byte_end - slice->byte_first;
}

bool shard_is_complete(const struct shard *shard)
{
    for (size_t i = 0; i < shard->plan->slice_count; i++) {
        if (!shard->slices[i])
            return false;
    }
    return true;
}

const struct shard_slice *shard_part_slice(const struct shard *shard, size_t module,
                                           enum module_part part)
{
    if (module >= shard->module_count)
        return NULL;
    size_t index = shard->slice_of[module * MODULE_PART_COUNT + part];
    return index == SIZE_MAX ? NULL : &shard->plan->slices[index];
}

const uint8_t *shard_part(const struct shard *shard, size_t module, enum module_part part,
                          uint64_t *row_bytes_out)
{
    if (!shard_part_slice(shard, module, part))
        return NULL;
    size_t index = shard->slice_of[module * MODULE_PART_COUNT + part];
    *row_bytes_out = shard->strides[index];
    return shard->slices[index];
}
