/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/weights.h"

#include "protocol/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Slices are copied in windows of about this many bytes of the file; then the pages go. */
#define WINDOW_SIZE ((uint64_t)4 << 20)
/* Who watches the reading sees a disk that gives less than this in seconds as stalled. */
#define READ_SIZE ((uint64_t)256 << 10)
/* Memory that is filled at the speed of a fast link is taken from the system in pieces as large as
 * it has them: each piece costs a fault. */
#define HUGE_PAGE_SIZE ((uint64_t)2 << 20)
/* The system maps a file by the folios of its page cache, which are as large as this: whoever reads
 * one byte may find all of these mapped and counted as his. */
#define FOLIO_SIZE_MAX ((uint64_t)2 << 20)
/* Shorter runs of a file are copied: each one used in place costs the pages at its ends, and the
 * system one of its mappings, of which a process has about 65,000. */
#define IN_PLACE_SIZE_MIN ((uint64_t)64 << 10)
#define IN_PLACE_RUNS_MAX 8192u

struct weight_file {
    const uint8_t *bytes;
    uint64_t size;
};

struct weight_files {
    const struct tensor_table *table;
    struct weight_file *files; /* without bytes: not mapped */
    size_t count;
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
    close(descriptor);
    if (status != STATUS_OK)
        return status;
    mapped->bytes = bytes;
    mapped->size = size;
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
    if (files)
        files->files = memory_zeroed(table->file_count, sizeof *files->files);
    enum status status = STATUS_OK;
    if (!files || !files->files)
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
    files->table = table;
    files->reading = reading;
    *files_out = files;
    return STATUS_OK;
}

void weight_files_close(struct weight_files *files)
{
    if (!files)
        return;
    for (size_t i = 0; i < files->count; i++)
        if (files->files[i].bytes)
            munmap((void *)(uintptr_t)files->files[i].bytes, (size_t)files->files[i].size);
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

static void copy_piece(const struct weight_files *files, const struct shard_slice *slice,
                       uint64_t first, uint64_t end, uint8_t *bytes_out)
{
    const uint8_t *tensor = weight_files_tensor(files, slice->tensor);
    uint64_t width = slice->byte_end - slice->byte_first;
    if (shard_slice_is_contiguous(slice)) {
        memcpy(bytes_out, tensor + slice->row_first * slice->row_bytes + first,
               (size_t)(end - first));
        return;
    }
    while (first < end) {
        uint64_t row = first / width;
        uint64_t within = first % width;
        uint64_t piece = width - within < end - first ? width - within : end - first;
        memcpy(bytes_out, tensor + (slice->row_first + row) * slice->row_bytes +
                              slice->byte_first + within, (size_t)piece);
        bytes_out += piece;
        first += piece;
    }
}

void shard_slice_copy_range(const struct weight_files *files, const struct shard_slice *slice,
                            uint64_t first, uint64_t end, uint8_t *bytes_out)
{
    struct weight_reading *reading = files->reading;
    const char *name = files->table->files[slice->tensor->file].name;
    ASSERT(first <= end && end <= slice->size);
    const char *const outer = reading ? reading->file : NULL;
    if (reading)
        reading->file = name;
    while (first < end) {
        const uint64_t next = end - first > READ_SIZE ? first + READ_SIZE : end;
        if (reading && reading->before)
            reading->before(reading->context, name);
        copy_piece(files, slice, first, next, bytes_out);
        if (reading)
            reading->count++;
        bytes_out += next - first;
        first = next;
    }
    if (reading)
        reading->file = outer;
}

void shard_slice_copy(const struct weight_files *files, const struct shard_slice *slice,
                      uint8_t *bytes_out)
{
    shard_slice_copy_range(files, slice, 0, slice->size, bytes_out);
}

/* Gives back the pages of these rows of the slice's tensor, and what the system mapped beside them
 * unasked: neighbours that are in use are found in the page cache again. */
static void drop_rows(const struct weight_files *files, const struct shard_slice *slice,
                      uint64_t row_first, uint64_t row_end)
{
    const struct weight_file *file = &files->files[slice->tensor->file];
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t first = slice->tensor->offset + row_first * slice->row_bytes;
    uint64_t end = slice->tensor->offset + row_end * slice->row_bytes + FOLIO_SIZE_MAX;
    first = first < FOLIO_SIZE_MAX ? 0 : (first - FOLIO_SIZE_MAX) / page * page;
    end = end < file->size ? end : file->size;
    (void)madvise((void *)(uintptr_t)(file->bytes + first), (size_t)(end - first), MADV_DONTNEED);
}

void shard_slice_drop(const struct weight_files *files, const struct shard_slice *slice)
{
    drop_rows(files, slice, slice->row_first, slice->row_end);
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
    if (memory != MAP_FAILED && plan->target_size >= HUGE_PAGE_SIZE)
        (void)madvise(memory, (size_t)plan->target_size + 1, MADV_HUGEPAGE);
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

/* Copies a slice row window by row window. */
static void copy_rows(struct shard *shard, const struct weight_files *files, size_t index)
{
    const struct shard_slice *slice = &shard->plan->slices[index];
    uint64_t width = slice->byte_end - slice->byte_first;
    uint64_t rows = slice->row_end - slice->row_first;
    uint64_t window = WINDOW_SIZE / slice->row_bytes + 1;
    for (uint64_t row = 0; row < rows; row += window) {
        uint64_t end = row + window < rows ? row + window : rows;
        shard_slice_copy_range(files, slice, row * width, end * width,
                               shard->memory + slice->target + row * width);
        drop_rows(files, slice, slice->row_first + row, slice->row_first + end);
    }
    shard_received(shard, index);
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

enum status shard_fill(struct shard *shard, const struct weight_files *files,
                       struct reason *reason)
{
    const struct shard_plan *plan = shard->plan;
    struct run *runs = memory_zeroed(plan->slice_count, sizeof *runs);
    size_t count = 0;
    if (!runs)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for %zu slices", plan->slice_count);
    for (size_t i = 0; i < plan->slice_count; i++) {
        const struct shard_slice *slice = &plan->slices[i];
        if (shard->slices[i])
            continue;
        if (slice->tensor->file >= files->count || !files->files[slice->tensor->file].bytes) {
            memory_free(runs);
            return refuse(reason, STATUS_NOT_FOUND, "the file of tensor %.200s is not here",
                          slice->tensor->name);
        }
        if (shard_slice_is_contiguous(slice))
            runs[count++] = run_of(shard, i);
        else
            copy_rows(shard, files, i);
    }
    qsort(runs, count, sizeof *runs, compare_runs);
    uint64_t size_min = plan->bytes / IN_PLACE_RUNS_MAX;
    size_min = size_min > IN_PLACE_SIZE_MIN ? size_min : IN_PLACE_SIZE_MIN;
    for (size_t first = 0; first < count;) {
        uint64_t end = 0;
        size_t next = run_end(runs, count, first, &end);
        bool is_large = end - runs[first].first >= size_min;
        for (; first < next; first++) {
            if (is_large)
                use_in_place(shard, files, &runs[first]);
            else
                copy_rows(shard, files, runs[first].slice);
        }
    }
    memory_free(runs);
    return STATUS_OK;
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
