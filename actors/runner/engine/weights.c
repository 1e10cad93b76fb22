/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/weights.h"

#include "protocol/memory.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Slices are copied in windows of about this many bytes of the file; then the pages go. */
#define WINDOW_SIZE ((uint64_t)4 << 20)
/* Smaller parts of a tensor are copied; see is_used_in_place. */
#define IN_PLACE_SIZE_MIN (UINT64_C(16) << 20)

struct weight_file {
    const uint8_t *bytes;
    uint64_t size;
};

struct weight_files {
    const struct tensor_table *table;
    struct weight_file *files;
    size_t count;
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
    struct weight_files *files = memory_zeroed(1, sizeof *files);
    if (files)
        files->files = memory_zeroed(table->file_count, sizeof *files->files);
    enum status status = STATUS_OK;
    if (!files || !files->files)
        status = refuse(reason, STATUS_NO_MEMORY, "no memory to map %zu files", table->file_count);
    for (size_t i = 0; status == STATUS_OK && i < table->file_count; i++) {
        status = map_file(directory, &table->files[i], &files->files[i], reason);
        files->count += status == STATUS_OK;
    }
    if (status != STATUS_OK) {
        weight_files_close(files);
        return status;
    }
    files->table = table;
    *files_out = files;
    return STATUS_OK;
}

void weight_files_close(struct weight_files *files)
{
    if (!files)
        return;
    for (size_t i = 0; i < files->count; i++)
        munmap((void *)(uintptr_t)files->files[i].bytes, (size_t)files->files[i].size);
    memory_free(files->files);
    memory_free(files);
}

const uint8_t *weight_files_tensor(const struct weight_files *files, const struct tensor *tensor)
{
    ASSERT(tensor->file < files->count);
    return files->files[tensor->file].bytes + tensor->offset;
}

const char *weight_files_at(const struct weight_files *files, const void *address)
{
    const uint8_t *byte = address;
    for (size_t i = 0; files && i < files->count; i++) {
        const struct weight_file *file = &files->files[i];
        if (byte >= file->bytes && byte < file->bytes + file->size)
            return files->table->files[i].name;
    }
    return NULL;
}

void shard_slice_copy_range(const struct weight_files *files, const struct shard_slice *slice,
                            uint64_t first, uint64_t end, uint8_t *bytes_out)
{
    const uint8_t *tensor = weight_files_tensor(files, slice->tensor);
    uint64_t width = slice->byte_end - slice->byte_first;
    ASSERT(first <= end && end <= slice->size);
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

void shard_slice_copy(const struct weight_files *files, const struct shard_slice *slice,
                      uint8_t *bytes_out)
{
    shard_slice_copy_range(files, slice, 0, slice->size, bytes_out);
}

/* Only whole pages that lie in [first, end); their neighbours may be in use. */
static void drop_pages(const uint8_t *first, const uint8_t *end)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = ((uintptr_t)first + page - 1) / page * page;
    uintptr_t to = (uintptr_t)end / page * page;
    if (from < to)
        (void)madvise((void *)from, to - from, MADV_DONTNEED);
}

void shard_slice_drop(const struct weight_files *files, const struct shard_slice *slice)
{
    const uint8_t *tensor = weight_files_tensor(files, slice->tensor);
    drop_pages(tensor + slice->row_first * slice->row_bytes,
               tensor + slice->row_end * slice->row_bytes);
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
    const uint8_t *tensor = weight_files_tensor(files, slice->tensor);
    uint64_t width = slice->byte_end - slice->byte_first;
    uint64_t rows = slice->row_end - slice->row_first;
    uint64_t window = WINDOW_SIZE / slice->row_bytes + 1;
    for (uint64_t row = 0; row < rows; row += window) {
        uint64_t end = row + window < rows ? row + window : rows;
        shard_slice_copy_range(files, slice, row * width, end * width,
                               shard->memory + slice->target + row * width);
        drop_pages(tensor + (slice->row_first + row) * slice->row_bytes,
                   tensor + (slice->row_first + end) * slice->row_bytes);
    }
    shard_received(shard, index);
}

/* The kernel maps a file by the folios of its page cache, up to 2 MiB: beside a small part of a
 * module its neighbours, which belong to other ranks, would be mapped and counted as ours. */
static bool is_used_in_place(const struct shard_slice *slice)
{
    return shard_slice_is_contiguous(slice) &&
           (slice->is_all || slice->size >= IN_PLACE_SIZE_MIN);
}

enum status shard_fill(struct shard *shard, const struct weight_files *files,
                       struct reason *reason)
{
    for (size_t i = 0; i < shard->plan->slice_count; i++) {
        const struct shard_slice *slice = &shard->plan->slices[i];
        if (slice->tensor->file >= files->count)
            return refuse(reason, STATUS_NOT_FOUND, "the file of tensor %.200s is not here",
                          slice->tensor->name);
        if (!is_used_in_place(slice)) {
            copy_rows(shard, files, i);
            continue;
        }
        shard->slices[i] = weight_files_tensor(files, slice->tensor) +
                           slice->row_first * slice->row_bytes;
        shard->strides[i] = slice->row_bytes;
    }
    return STATUS_OK;
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
