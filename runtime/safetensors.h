/* SPDX-License-Identifier: Apache-2.0 */
/*
 * safetensors: the names, types, shapes and places of the tensors of a model directory.
 *
 * Only headers are read, and they are checked in full before anything is sized by them: bounds,
 * duplicates, arithmetic, and that the tensors cover their file without hole, overlap or tail.
 *
 * Owner    whoever opens a table.
 * Memory   tables and headers are heap objects; names lie in one block of the table.
 * Threads  none; a table is read-only after it was made.
 * Fails    MALFORMED, TOO_LARGE, UNSUPPORTED, NOT_FOUND, NO_PERMISSION, IO, NO_MEMORY.
 */
#ifndef TROUPE_RUNTIME_SAFETENSORS_H
#define TROUPE_RUNTIME_SAFETENSORS_H

#include "protocol/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The format's own limit of a header. */
#define SAFETENSORS_HEADER_SIZE_MAX UINT64_C(100000000)
/* A 94-layer mixture of experts with unstacked experts has about 110,000 tensors. */
#define SAFETENSORS_TENSORS_MAX 262144u
#define SAFETENSORS_RANK_MAX 8u
#define SAFETENSORS_NAME_SIZE_MAX 512u
#define SAFETENSORS_FILES_MAX 4096u
#define SAFETENSORS_FILE_NAME_SIZE_MAX 256u

/*    X(code, NAME, bits): codes travel between ranks and are never reused. */
#define TENSOR_TYPE_LIST(X)                                                                        \
    X(1, BOOL, 8)                                                                                  \
    X(2, U8, 8)                                                                                    \
    X(3, I8, 8)                                                                                    \
    X(4, F8_E4M3, 8)                                                                               \
    X(5, F8_E5M2, 8)                                                                               \
    X(6, F8_E8M0, 8)                                                                               \
    X(7, I16, 16)                                                                                  \
    X(8, U16, 16)                                                                                  \
    X(9, F16, 16)                                                                                  \
    X(10, BF16, 16)                                                                                \
    X(11, I32, 32)                                                                                 \
    X(12, U32, 32)                                                                                 \
    X(13, F32, 32)                                                                                 \
    X(14, I64, 64)                                                                                 \
    X(15, U64, 64)                                                                                 \
    X(16, F64, 64)                                                                                 \
    X(17, C64, 64)                                                                                 \
    X(18, F4, 4)                                                                                   \
    X(19, F6_E2M3, 6)                                                                              \
    X(20, F6_E3M2, 6)

enum tensor_type {
#define TENSOR_TYPE_MEMBER(code, NAME, bits) TENSOR_##NAME = code,
    TENSOR_TYPE_LIST(TENSOR_TYPE_MEMBER)
#undef TENSOR_TYPE_MEMBER
};

struct tensor {
    const char *name;
    enum tensor_type type;
    uint32_t rank;
    uint64_t shape[SAFETENSORS_RANK_MAX];
    uint32_t file;   /* index into tensor_table.files */
    uint64_t offset; /* of the first byte, from the start of the file */
    uint64_t size;   /* bytes */
};

struct tensor_file {
    const char *name; /* plain file name inside the directory */
    uint64_t size;
};

/* All tensors of a model, sorted by name. */
struct tensor_table {
    struct tensor *tensors;
    size_t tensor_count;
    struct tensor_file *files;
    size_t file_count;
    char *names; /* every name, NUL after each */
};

/* Bits of an element; 0 for a code nobody knows. */
uint32_t tensor_type_bits(enum tensor_type type);
/* "BF16"; never NULL. */
const char *tensor_type_name(enum tensor_type type);
/* product(shape) * bits / 8 in checked arithmetic; false when it overflows or is no whole byte. */
bool tensor_bytes(enum tensor_type type, const uint64_t *shape, uint32_t rank, uint64_t *size_out);

/* Checks one file of which the first `size` bytes are here and which has `file_size` bytes; `label`
 * names it in refusals.  The header must lie in those bytes.  The table has one file, `label`. */
MUST_CHECK enum status safetensors_parse(const void *bytes, size_t size, uint64_t file_size,
                                         const char *label, struct tensor_table **table_out,
                                         struct reason *reason);
/* Reads all headers of a directory: the files named by model.safetensors.index.json, which must
 * agree with it, or else all model*.safetensors. */
MUST_CHECK enum status safetensors_open(const char *directory, struct tensor_table **table_out,
                                        struct reason *reason);
/* The same; `counted` (may be NULL) grows with each file, for whoever watches the disk. */
MUST_CHECK enum status safetensors_open_counted(const char *directory, _Atomic uint64_t *counted,
                                                struct tensor_table **table_out,
                                                struct reason *reason);
/* Reads the headers of those files of a directory alone, without its index. */
MUST_CHECK enum status safetensors_open_files(const char *directory, const char *const *names,
                                              size_t count, _Atomic uint64_t *counted,
                                              struct tensor_table **table_out,
                                              struct reason *reason);
/* One table of several, file by file in their order; a file or a tensor that two of them have is
 * refused.  The parts stay the caller's. */
MUST_CHECK enum status tensor_table_merge(const struct tensor_table *const *parts, size_t count,
                                          struct tensor_table **table_out, struct reason *reason);
/* Accepts NULL. */
void tensor_table_free(struct tensor_table *table);
/* NULL when there is none of that name. */
const struct tensor *tensor_table_find(const struct tensor_table *table, const char *name);
/* A plain file name ending in .safetensors: no path, no "..", no control byte. */
bool safetensors_is_file_name(const char *name);
/* Opens a file of a model directory for reading.  A symbolic link is followed only as the hub's
 * cache makes them (runtime/hub_link.h). */
MUST_CHECK enum status model_file_open(const char *directory, const char *name, int *file_out,
                                       uint64_t *size_out, struct reason *reason);
/* Reads a whole small file of a model directory, NUL after it; free with memory_free. */
MUST_CHECK enum status model_file_read(const char *directory, const char *name, size_t size_max,
                                       char **text_out, size_t *size_out, struct reason *reason);

#endif
