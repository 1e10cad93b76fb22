/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table as bytes, little-endian, in this order:
 *   u32 magic "TWT1", u32 file count, u32 tensor count
 *   per file    u16 name length, name, u64 size
 *   per tensor  u16 name length, name, u8 type, u8 rank, u32 file, u64 offset, u64 shape[rank]
 * Tensors are sorted by name, as in the table.
 */
#include "actors/runner/engine/weights.h"

#include "protocol/memory.h"

#include <string.h>

#define MAGIC UINT32_C(0x31545754)
#define HEAD_SIZE 12u
#define FILE_SIZE_MIN (2u + 8u)
#define TENSOR_SIZE_MIN (2u + 1u + 1u + 4u + 8u)

struct writer {
    uint8_t *bytes;
    size_t size;
};

static void write_number(struct writer *writer, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        writer->bytes[writer->size++] = (uint8_t)(value >> (8 * i));
}

static void write_name(struct writer *writer, const char *name)
{
    size_t length = strlen(name);
    write_number(writer, length, 2);
    memcpy(writer->bytes + writer->size, name, length);
    writer->size += length;
}

enum status weight_table_pack(const struct tensor_table *table, uint8_t **bytes_out,
                              size_t *size_out, struct reason *reason)
{
    size_t size = HEAD_SIZE;
    for (size_t i = 0; i < table->file_count; i++)
        size += FILE_SIZE_MIN + strlen(table->files[i].name);
    for (size_t i = 0; i < table->tensor_count; i++)
        size += TENSOR_SIZE_MIN + strlen(table->tensors[i].name) + 8 * table->tensors[i].rank;
    struct writer writer = {memory_zeroed(size, 1), 0};
    if (!writer.bytes)
        return refuse(reason, STATUS_NO_MEMORY, "no memory to send the table of tensors");
    write_number(&writer, MAGIC, 4);
    write_number(&writer, table->file_count, 4);
    write_number(&writer, table->tensor_count, 4);
    for (size_t i = 0; i < table->file_count; i++) {
        write_name(&writer, table->files[i].name);
        write_number(&writer, table->files[i].size, 8);
    }
    for (size_t i = 0; i < table->tensor_count; i++) {
        const struct tensor *tensor = &table->tensors[i];
        write_name(&writer, tensor->name);
        write_number(&writer, tensor->type, 1);
        write_number(&writer, tensor->rank, 1);
        write_number(&writer, tensor->file, 4);
        write_number(&writer, tensor->offset, 8);
        for (uint32_t k = 0; k < tensor->rank; k++)
            write_number(&writer, tensor->shape[k], 8);
    }
    ASSERT(writer.size == size);
    *bytes_out = writer.bytes;
    *size_out = size;
    return STATUS_OK;
}

struct reader {
    const uint8_t *bytes;
    size_t size;
    size_t at;
    bool failed;
};

static uint64_t read_number(struct reader *reader, size_t size)
{
    uint64_t value = 0;
    if (reader->size - reader->at < size) {
        reader->failed = true;
        reader->at = reader->size;
        return 0;
    }
    for (size_t i = 0; i < size; i++)
        value |= (uint64_t)reader->bytes[reader->at++] << (8 * i);
    return value;
}

/* Copies a name, NUL after it, to `*next` and moves it on. */
static const char *read_name(struct reader *reader, size_t length_max, char **next)
{
    size_t length = (size_t)read_number(reader, 2);
    const char *name = *next;
    if (reader->failed || length == 0 || length >= length_max ||
        length > reader->size - reader->at ||
        memchr(reader->bytes + reader->at, '\0', length)) {
        reader->failed = true;
        return name;
    }
    memcpy(*next, reader->bytes + reader->at, length);
    (*next)[length] = '\0';
    *next += length + 1;
    reader->at += length;
    return name;
}

static bool read_tensor(struct reader *reader, const struct tensor_table *table,
                        struct tensor *tensor, char **next)
{
    tensor->name = read_name(reader, SAFETENSORS_NAME_SIZE_MAX, next);
    tensor->type = (enum tensor_type)read_number(reader, 1);
    tensor->rank = (uint32_t)read_number(reader, 1);
    tensor->file = (uint32_t)read_number(reader, 4);
    tensor->offset = read_number(reader, 8);
    if (reader->failed || tensor->rank > SAFETENSORS_RANK_MAX || tensor->file >= table->file_count)
        return false;
    for (uint32_t k = 0; k < tensor->rank; k++)
        tensor->shape[k] = read_number(reader, 8);
    uint64_t file_size = table->files[tensor->file].size;
    return !reader->failed &&
           tensor_bytes(tensor->type, tensor->shape, tensor->rank, &tensor->size) &&
           tensor->offset <= file_size && tensor->size <= file_size - tensor->offset;
}

static bool read_table(struct reader *reader, struct tensor_table *table, size_t files,
                       size_t tensors)
{
    char *next = table->names;
    for (size_t i = 0; i < files; i++) {
        table->files[i].name = read_name(reader, SAFETENSORS_FILE_NAME_SIZE_MAX, &next);
        table->files[i].size = read_number(reader, 8);
        if (reader->failed || !safetensors_is_file_name(table->files[i].name))
            return false;
    }
    table->file_count = files;
    for (size_t i = 0; i < tensors; i++) {
        if (!read_tensor(reader, table, &table->tensors[i], &next) ||
            (i > 0 && strcmp(table->tensors[i - 1].name, table->tensors[i].name) >= 0))
            return false;
    }
    table->tensor_count = tensors;
    return reader->at == reader->size;
}

enum status weight_table_parse(const uint8_t *bytes, size_t size, struct tensor_table **table_out,
                               struct reason *reason)
{
    struct reader reader = {bytes, size, 0, false};
    uint64_t magic = read_number(&reader, 4);
    uint64_t files = read_number(&reader, 4);
    uint64_t tensors = read_number(&reader, 4);
    if (reader.failed || magic != MAGIC || files > SAFETENSORS_FILES_MAX ||
        tensors > SAFETENSORS_TENSORS_MAX ||
        files * FILE_SIZE_MIN + tensors * TENSOR_SIZE_MIN > size - HEAD_SIZE)
        return refuse(reason, STATUS_MALFORMED, "the table of tensors that was received is none");
    struct tensor_table *table = memory_zeroed(1, sizeof *table);
    if (table) {
        table->files = memory_zeroed((size_t)files, sizeof *table->files);
        table->tensors = memory_zeroed((size_t)tensors, sizeof *table->tensors);
        /* Every name has two bytes of length before it, so a NUL each fits. */
        table->names = memory_zeroed(size, 1);
    }
    enum status status = STATUS_OK;
    if (!table || !table->files || !table->tensors || !table->names)
        status = refuse(reason, STATUS_NO_MEMORY, "no memory for the table of tensors");
    else if (!read_table(&reader, table, (size_t)files, (size_t)tensors))
        status = refuse(reason, STATUS_MALFORMED, "the table of tensors that was received is "
                        "damaged near byte %zu", reader.at);
    if (status != STATUS_OK) {
        tensor_table_free(table);
        return status;
    }
    *table_out = table;
    return STATUS_OK;
}
