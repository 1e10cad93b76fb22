/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weights: the slices of a model that a rank keeps, and how they come into its memory.
 *
 *   weight_table   names, types, shapes and places of all tensors as bytes, for a rank that has no
 *                  weight files: it parses them with bounds and makes its layout from them, which
 *                  checks every shape against its own config.json.
 *   shard_plan     (config, layout, partition) -> the ordered slices of a rank.  Pure, so sender
 *                  and receiver compute the same list.
 *   weight_files   the model's files, mapped read-only.
 *   shard          the memory of the slices: pointers into mapped files where long runs of bytes
 *                  are used as they lie there, anonymous memory elsewhere.
 *
 * Owner    one shard per rank; closed after the engine that uses it.
 * Memory   a shard reserves address space for all its slices and touches only what is filled.
 * Threads  none; a filled shard is read-only and may be read by all.
 * Fails    MALFORMED, NOT_FOUND, NO_MEMORY, IO.
 */
#ifndef TROUPE_ACTORS_RUNNER_ENGINE_WEIGHTS_H
#define TROUPE_ACTORS_RUNNER_ENGINE_WEIGHTS_H

#include "actors/runner/engine/partition.h"
#include "runtime/model_config.h"
#include "runtime/model_layout.h"
#include "runtime/safetensors.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- the table as bytes --- */

/* The caller frees `bytes_out` with memory_free. */
MUST_CHECK enum status weight_table_pack(const struct tensor_table *table, uint8_t **bytes_out,
                                         size_t *size_out, struct reason *reason);
/* Refuses whatever weight_table_pack would not have written, before allocating by it. */
MUST_CHECK enum status weight_table_parse(const uint8_t *bytes, size_t size,
                                          struct tensor_table **table_out, struct reason *reason);

/* --- the plan --- */

enum module_part {
    MODULE_PART_WEIGHT = 0,
    MODULE_PART_SCALES = 1,
    MODULE_PART_BIASES = 2,
    MODULE_PART_BIAS = 3, /* of the outputs: a number for each row */
};
#define MODULE_PART_COUNT 4u

/* Bytes [byte_first, byte_end) of each of the rows [row_first, row_end) of a tensor. */
struct shard_slice {
    const struct tensor *tensor;
    size_t module; /* index into layout.modules */
    enum module_part part;
    uint32_t layer; /* MODULE_NO_LAYER for embedding, final norm and head */
    uint64_t row_first;
    uint64_t row_end;
    uint64_t row_bytes; /* of a whole row in the file */
    uint64_t byte_first;
    uint64_t byte_end;
    uint64_t target; /* where it lies in the shard's memory when it is not mapped */
    uint64_t size;   /* (row_end - row_first) * (byte_end - byte_first) */
};

struct shard_plan {
    struct shard_slice *slices; /* embedding, final norm, head; then layer by layer */
    size_t slice_count;
    uint64_t bytes;       /* the sum of all sizes: what the rank keeps */
    uint64_t target_size; /* of the memory, alignment included */
};

/* Borrows the tensors of `layout`. */
MUST_CHECK enum status shard_plan_make(const struct model_config *config,
                                       const struct model_layout *layout,
                                       const struct partition *partition,
                                       struct shard_plan **plan_out, struct reason *reason);
/* Of a rank that keeps nothing. */
MUST_CHECK enum status shard_plan_make_empty(struct shard_plan **plan_out, struct reason *reason);
/* Accepts NULL. */
void shard_plan_free(struct shard_plan *plan);
/* Rows and columns of a module that a rank holds; false when it holds none. */
bool shard_range(const struct model_layout *layout, const struct model_module *module,
                 const struct partition *partition, struct module_range *range_out);
/* The slice lies in the file without a gap, so a rank that has the file uses it where it is. */
bool shard_slice_is_contiguous(const struct shard_slice *slice);

/* --- the files --- */

struct weight_files;

/* Where a reader of weight files is, for whoever watches it from another thread: a disk that stalls
 * stops the count while a file is named. */
struct weight_reading {
    _Atomic uint64_t count;
    const char *_Atomic file; /* lives as long as the table; NULL: nothing is being read */
    /* While weights are on their way, the thread that carries messages: it never waits long. */
    _Atomic uint64_t turns;
    _Atomic bool is_turning;
    /* What the thread that loads does, in a few words that last; NULL: nothing of note. */
    const char *_Atomic step;
    /* Before each piece that is read; in tests it stands for the disk.  May be NULL. */
    void (*before)(void *context, const char *file);
    void *context;
};

/* Maps every weight file of `table`; a file of another size than the table says is refused. */
MUST_CHECK enum status weight_files_open(const char *directory, const struct tensor_table *table,
                                         struct weight_files **files_out, struct reason *reason);
/* Maps those with a true in `wanted` (NULL: all); `reading` (NULL: none) outlives the files. */
MUST_CHECK enum status weight_files_open_some(const char *directory,
                                              const struct tensor_table *table, const bool *wanted,
                                              struct weight_reading *reading,
                                              struct weight_files **files_out,
                                              struct reason *reason);
/* Accepts NULL. */
void weight_files_close(struct weight_files *files);
/* Reading of rows that lie apart keeps about so many bytes of the files, 16 MiB if this is not
 * called; shard_keep_only gives them back. */
void weight_files_limit(struct weight_files *files, uint64_t bytes);
/* First byte of a tensor in its mapped file; any alignment. */
const uint8_t *weight_files_tensor(const struct weight_files *files, const struct tensor *tensor);
/* Name of the mapped file an address lies in, NULL for none: for the SIGBUS of a file that shrank.
 * Async-signal-safe. */
const char *weight_files_at(const struct weight_files *files, const void *address);
/* Reads the bytes of a slice, rows one after another, into `bytes_out[slice->size]`.  Fails with
 * the file's name: STATUS_IO when its disk does, STATUS_STALE when it has become shorter. */
MUST_CHECK enum status shard_slice_read(const struct weight_files *files,
                                        const struct shard_slice *slice, uint8_t *bytes_out,
                                        struct reason *reason);
/* Only the bytes [first, end) of the packed slice, for senders that stream in windows.  One thread
 * reads from `files` at a time. */
MUST_CHECK enum status shard_slice_read_range(const struct weight_files *files,
                                              const struct shard_slice *slice, uint64_t first,
                                              uint64_t end, uint8_t *bytes_out,
                                              struct reason *reason);

/* --- the memory --- */

struct shard;

/* Reserves memory for the plan; borrows it until close. */
MUST_CHECK enum status shard_open(const struct shard_plan *plan, struct shard **shard_out,
                                  struct reason *reason);
/* Of a shard without files of its own: large pages, which would else also back what lies between
 * slices that are used where their files are mapped. */
void shard_receives_all(struct shard *shard);
/* Accepts NULL. */
void shard_close(struct shard *shard);
/* Fills from local files what was not received: what lies together in runs of some size is used
 * where it is mapped (so `files` must outlive the shard); other slices are read into its
 * memory. */
MUST_CHECK enum status shard_fill(struct shard *shard, const struct weight_files *files,
                                  struct reason *reason);
/* Unmaps everything of `files` but what the filled shard uses in place, so that a touch of it
 * brings no neighbour's bytes into this process.  No other shard uses `files`, and nobody copies
 * from them any more. */
void shard_keep_only(const struct shard *shard, const struct weight_files *files);
/* Takes the memory of slice `index` from the system before it is written to, if the system can. */
void shard_touch(struct shard *shard, size_t index);
/* Where the bytes of slice `index` belong, for a receiver that writes them itself, in any order and
 * in pieces.  64-byte aligned.  After the last byte call shard_received. */
uint8_t *shard_receive_target(struct shard *shard, size_t index, uint64_t *size_out);
void shard_received(struct shard *shard, size_t index);
/* Every slice was filled or received. */
bool shard_is_complete(const struct shard *shard);
/* First byte and row stride of a module's part; NULL when this rank does not hold it. */
const uint8_t *shard_part(const struct shard *shard, size_t module, enum module_part part,
                          uint64_t *row_bytes_out);
/* The slice behind it, NULL when this rank does not hold it. */
const struct shard_slice *shard_part_slice(const struct shard *shard, size_t module,
                                           enum module_part part);

#endif
