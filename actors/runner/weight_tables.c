/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/weight_tables.h"

#include "actors/runner/collective_order.h"
#include "protocol/limits.h"
#include "protocol/memory.h"

#include <inttypes.h>
#include <string.h>

struct part {
    bool is_told; /* this rank sends files */
    struct table_head head;
    uint8_t *bytes;
};

struct gathering {
    const struct weight_load_request *request;
    struct part parts[RANK_COUNT_MAX];
    struct tensor_table *tables[RANK_COUNT_MAX];
    size_t table_count;
    struct reason *reason;
};

enum status weight_agree(struct collective *collective, enum status own, struct reason *reason)
{
    if (!collective || collective->size == 1)
        return own;
    float failed = own == STATUS_OK ? 0 : 1;
    enum status status = collective->ops->sum(collective, &failed, 1);
    if (own != STATUS_OK)
        return own;
    if (status != STATUS_OK)
        return collective_refuse(collective, status, reason,
                                 "a sibling rank was lost while the model was loaded");
    if (failed > 0)
        return refuse(reason, STATUS_CANCELLED, "another rank could not load its part of the"
                      " model; its own reason says why");
    return STATUS_OK;
}

/* The headers of what this rank sends, as bytes. */
static enum status pack_own(struct gathering *gathering)
{
    const struct weight_load_request *request = gathering->request;
    const uint32_t own = request->collective->rank;
    struct part *part = &gathering->parts[own];
    struct tensor_table *table = NULL;
    size_t count = 0;
    size_t size = 0;
    const char **names = memory_zeroed(request->source_count, sizeof(*names));
    if (!names)
        return refuse(gathering->reason, STATUS_NO_MEMORY, "no memory to list the weight files");
    for (size_t i = 0; i < request->source_count; i++)
        if (request->sources[i].rank == own)
            names[count++] = request->sources[i].file;
    enum status status = STATUS_OK;
    struct weight_reading *reading = request->reading;
    if (count > 0 && reading)
        reading->file = "the weight files";
    if (count > 0)
        status = safetensors_open_files(request->directory, names, count,
                                        reading ? &reading->count : NULL, &table,
                                        gathering->reason);
    if (reading)
        reading->file = NULL;
    memory_free(names);
    if (status == STATUS_OK && count > 0)
        status = weight_table_pack(table, &part->bytes, &size, gathering->reason);
    tensor_table_free(table);
    if (status == STATUS_OK && size > TABLE_SIZE_MAX)
        return refuse(gathering->reason, STATUS_TOO_LARGE,
                      "the model has a table of %zu bytes of tensors", size);
    if (status != STATUS_OK || count == 0)
        return status;
    part->head.size = size;
    part->head.window = request->window;
    hash_of(part->bytes, size, &part->head.digest);
    status = mac_key_draw(&part->head.key);
    return status == STATUS_OK
               ? status
               : refuse(gathering->reason, status, "this machine gives no random bytes for a key");
}

/* All ranks are well: nobody waits for one that left. */
static enum status exchange_heads(struct gathering *gathering)
{
    struct collective *collective = gathering->request->collective;
    uint64_t total = 0;
    enum status status = STATUS_OK;
    for (uint32_t rank = 0; rank < collective->size && status == STATUS_OK; rank++)
        if (gathering->parts[rank].is_told)
            status = collective->ops->broadcast(collective, &gathering->parts[rank].head,
                                                sizeof(gathering->parts[rank].head), rank);
    if (status != STATUS_OK)
        return collective_refuse(collective, status, gathering->reason,
                                 "a sibling rank was lost while the model was loaded");
    for (uint32_t rank = 0; rank < collective->size; rank++) {
        struct part *part = &gathering->parts[rank];
        if (!part->is_told)
            continue;
        total += part->head.size < TABLE_SIZE_MAX ? part->head.size : TABLE_SIZE_MAX;
        if (part->head.size == 0 || total > TABLE_SIZE_MAX)
            return refuse(gathering->reason, STATUS_MALFORMED,
                          "rank %" PRIu32 " gives no table of tensors", rank);
        if (rank != collective->rank && !(part->bytes = memory_zeroed(part->head.size, 1)))
            return refuse(gathering->reason, STATUS_NO_MEMORY,
                          "no memory for the table of tensors");
    }
    return STATUS_OK;
}

static enum status exchange_tables(struct gathering *gathering)
{
    struct collective *collective = gathering->request->collective;
    enum status status = STATUS_OK;
    for (uint32_t rank = 0; rank < collective->size && status == STATUS_OK; rank++) {
        struct part *part = &gathering->parts[rank];
        if (!part->is_told)
            continue;
        status = collective->ops->broadcast(collective, part->bytes, part->head.size, rank);
        if (status != STATUS_OK)
            return refuse(gathering->reason, status, "rank %" PRIu32 " was lost", rank);
    }
    return STATUS_OK;
}

static enum status merge(struct gathering *gathering, struct tensor_table **table_out)
{
    enum status status = STATUS_OK;
    for (uint32_t rank = 0; rank < gathering->request->collective->size; rank++) {
        const struct part *part = &gathering->parts[rank];
        struct hash digest;
        if (!part->is_told)
            continue;
        hash_of(part->bytes, part->head.size, &digest);
        if (!ID_EQUAL(digest, part->head.digest))
            return refuse(gathering->reason, STATUS_HASH_MISMATCH,
                          "the table of tensors of rank %" PRIu32 " came damaged", rank);
        status = weight_table_parse(part->bytes, part->head.size,
                                    &gathering->tables[gathering->table_count],
                                    gathering->reason);
        if (status != STATUS_OK)
            return status;
        gathering->table_count++;
    }
    return tensor_table_merge((const struct tensor_table *const *)gathering->tables,
                              gathering->table_count, table_out, gathering->reason);
}

enum status weight_tables_gather(const struct weight_load_request *request,
                                 struct tensor_table **table_out, struct table_head *head_out,
                                 struct reason *reason)
{
    struct gathering *gathering = memory_zeroed(1, sizeof(*gathering));
    enum status status = STATUS_OK;
    if (gathering) {
        gathering->request = request;
        gathering->reason = reason;
        for (size_t i = 0; i < request->source_count; i++)
            gathering->parts[request->sources[i].rank].is_told = true;
        status = pack_own(gathering);
    } else {
        status = refuse(reason, STATUS_NO_MEMORY, "no memory for the table of tensors");
    }
    status = weight_agree(request->collective, status, reason);
    if (status == STATUS_OK) {
        status = exchange_heads(gathering);
        status = weight_agree(request->collective, status, reason);
    }
    if (status == STATUS_OK)
        status = exchange_tables(gathering);
    if (status == STATUS_OK)
        status = merge(gathering, table_out);
    for (uint32_t rank = 0; gathering && rank < RANK_COUNT_MAX; rank++) {
        if (status == STATUS_OK && gathering->parts[rank].is_told && head_out->size == 0)
            *head_out = gathering->parts[rank].head;
        memory_free(gathering->parts[rank].bytes);
        tensor_table_free(gathering->tables[rank]);
    }
    memory_free(gathering);
    return status;
}
