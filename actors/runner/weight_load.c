/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/weight_load.h"

#include "actors/runner/weight_check.h"
#include "actors/runner/weight_fault.h"
#include "protocol/hash.h"
#include "protocol/memory.h"

#include <inttypes.h>
#include <string.h>

/* Of a packed table: 262,144 tensors with long names. */
static const uint64_t table_size_max = (uint64_t)128 << 20;

struct table_head {
    uint64_t size; /* 0: the sender has none to give */
    struct hash digest;
    struct mac_key key; /* of the checks of this load */
};

/* True when every rank is well; all ranks call at the same time. */
static enum status agree(struct collective *collective, enum status own, struct reason *reason)
{
    if (!collective || collective->size == 1)
        return own;
    float failed = own == STATUS_OK ? 0 : 1;
    enum status status = collective->ops->sum(collective, &failed, 1);
    if (own != STATUS_OK)
        return own;
    if (status != STATUS_OK)
        return refuse(reason, status, "a sibling rank was lost while the model was loaded");
    if (failed > 0)
        return refuse(reason, STATUS_CANCELLED, "another rank could not load its part of the"
                      " model; its own reason says why");
    return STATUS_OK;
}

static enum status check_request(const struct weight_load_request *request, uint32_t rank_count,
                                 uint32_t *table_rank_out, struct reason *reason)
{
    uint32_t table_rank = rank_count;
    for (uint32_t rank = rank_count; rank-- > 0;)
        if (request->has_files[rank])
            table_rank = rank;
    if (table_rank == rank_count)
        return refuse(reason, STATUS_NO_HOLDER, "no rank of this generation has the weights of %s",
                      request->directory);
    for (size_t i = 0; i < request->source_count; i++)
        if (request->sources[i].rank >= rank_count ||
            !request->has_files[request->sources[i].rank])
            return refuse(reason, STATUS_INVALID, "rank %" PRIu32 " shall send %.200s but has no"
                          " weight files", request->sources[i].rank, request->sources[i].file);
    *table_rank_out = table_rank;
    return STATUS_OK;
}

/* Packs the own table; on the sender these bytes travel, elsewhere their digest must agree. */
static enum status table_pack_own(const struct weight_load *load, uint8_t **bytes_out,
                                  struct table_head *head_out, struct reason *reason)
{
    size_t size = 0;
    enum status status = weight_table_pack(load->table, bytes_out, &size, reason);
    if (status != STATUS_OK)
        return status;
    *head_out = (struct table_head){.size = size};
    hash_of(*bytes_out, size, &head_out->digest);
    if (size > table_size_max)
        return refuse(reason, STATUS_TOO_LARGE, "the model has a table of %zu bytes of tensors",
                      size);
    return STATUS_OK;
}

/* The receiver's end: nothing is sized by what has not been checked. */
static enum status table_unpack(struct weight_load *load, const struct table_head *head,
                                const uint8_t *bytes, struct reason *reason)
{
    struct hash digest;
    hash_of(bytes, head->size, &digest);
    if (!ID_EQUAL(digest, head->digest))
        return refuse(reason, STATUS_HASH_MISMATCH, "the table of tensors came damaged");
    return weight_table_parse(bytes, head->size, &load->table, reason);
}

static enum status draw_key(struct mac_key *key_out, struct reason *reason)
{
    enum status status = mac_key_draw(key_out);
    return status == STATUS_OK
               ? status
               : refuse(reason, status, "this machine gives no random bytes for a key");
}

/* Every rank ends with a table, the same one, and the key of this load.  `own` is how reading went
 * so far: a rank that failed goes on until all agree to stop, as the others wait for it. */
static enum status table_exchange(struct weight_load *load, struct collective *collective,
                                  uint32_t table_rank, enum status own, struct mac_key *key_out,
                                  struct reason *reason)
{
    struct table_head own_head = {.size = 0};
    uint8_t *bytes = NULL;
    if (own == STATUS_OK && load->table)
        own = table_pack_own(load, &bytes, &own_head, reason);
    if (own == STATUS_OK && load->rank == table_rank)
        own = draw_key(&own_head.key, reason);
    struct table_head head = own_head;
    if (own != STATUS_OK)
        head.size = 0;
    enum status status =
        collective->ops->broadcast(collective, &head, sizeof(head), table_rank);
    if (status != STATUS_OK || head.size == 0 || head.size > table_size_max) {
        memory_free(bytes);
        if (own != STATUS_OK)
            return own;
        return refuse(reason, status != STATUS_OK ? status : STATUS_CANCELLED,
                      "rank %" PRIu32 " gives no table of tensors", table_rank);
    }
    bool receives = load->rank != table_rank;
    uint8_t *whole = receives ? memory_zeroed(head.size, 1) : bytes;
    if (!whole && own == STATUS_OK)
        own = refuse(reason, STATUS_NO_MEMORY, "no memory for the table of tensors");
    /* A rank that cannot take the table says so before the others wait for it to take part. */
    own = agree(collective, own, reason);
    if (own == STATUS_OK) {
        status = collective->ops->broadcast(collective, whole, head.size, table_rank);
        if (status != STATUS_OK)
            own = refuse(reason, status, "rank %" PRIu32 " was lost", table_rank);
    }
    if (own == STATUS_OK && receives && !load->table)
        own = table_unpack(load, &head, whole, reason);
    else if (own == STATUS_OK && !ID_EQUAL(head.digest, own_head.digest))
        own = refuse(reason, STATUS_HASH_MISMATCH, "rank %" PRIu32 " has another version of the"
                     " model than rank %" PRIu32 "; remove one of them", load->rank, table_rank);
    if (receives)
        memory_free(whole);
    memory_free(bytes);
    *key_out = head.key;
    return own;
}

static enum status plan_all(struct weight_load *load, const struct weight_load_request *request,
                            struct reason *reason)
{
    enum status status =
        model_layout_make(request->config, load->table, &load->layout, reason);
    for (uint32_t rank = 0; rank < load->rank_count && status == STATUS_OK; rank++)
        status = shard_plan_make(request->config, load->layout, &request->partitions[rank],
                                 &load->plans[rank], reason);
    if (status != STATUS_OK)
        return status;
    status = shard_open(load->plans[load->rank], &load->shard, reason);
    if (status == STATUS_OK && request->opened && !request->has_files[load->rank])
        request->opened(request->context, load->plans[load->rank], load->shard);
    return status;
}

/* The rank that sends it, for each file of the table. */
static enum status resolve_sources(const struct weight_load *load,
                                   const struct weight_load_request *request,
                                   uint32_t **file_sources_out, struct reason *reason)
{
    uint32_t *file_sources = memory_zeroed(load->table->file_count, sizeof(*file_sources));
    if (!file_sources)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for the list of weight files");
    for (size_t i = 0; i < load->table->file_count; i++) {
        const char *name = load->table->files[i].name;
        size_t at = 0;
        while (at < request->source_count && strcmp(request->sources[at].file, name) != 0)
            at++;
        if (at == request->source_count) {
            memory_free(file_sources);
            return refuse(reason, STATUS_INVALID, "the placement names no source for %.200s",
                          name);
        }
        file_sources[i] = request->sources[at].rank;
    }
    *file_sources_out = file_sources;
    return STATUS_OK;
}

static bool all_have_files(const struct weight_load_request *request, uint32_t rank_count)
{
    for (uint32_t rank = 0; rank < rank_count; rank++)
        if (!request->has_files[rank])
            return false;
    return true;
}

static enum status stream_slices(struct weight_load *load,
                                 const struct weight_load_request *request,
                                 const struct mac_key *key, struct reason *reason)
{
    uint32_t *file_sources = NULL;
    enum status status = resolve_sources(load, request, &file_sources, reason);
    status = agree(request->collective, status, reason);
    if (status == STATUS_OK) {
        const struct weight_stream_options options = {
            .collective = request->collective,
            .plans = (const struct shard_plan *const *)load->plans,
            .file_sources = file_sources,
            .has_files = request->has_files,
            .files = load->files,
            .shard = load->shard,
            .key = *key,
            .batch_size = request->batch_size,
            .progressed = request->progressed,
            .sending = request->sending,
            .context = request->context,
        };
        status = weight_stream_run(&options, &load->counters, reason);
    }
    memory_free(file_sources);
    return status;
}

static enum status load_steps(struct weight_load *load,
                              const struct weight_load_request *request, struct reason *reason)
{
    struct collective *collective = request->collective;
    uint32_t table_rank = 0;
    struct mac_key key = {{0}};
    enum status status = check_request(request, load->rank_count, &table_rank, reason);
    if (status != STATUS_OK)
        return status; /* the same on every rank */
    bool is_local = all_have_files(request, load->rank_count);
    if (request->has_files[load->rank]) {
        status = safetensors_open(request->directory, &load->table, reason);
        if (status == STATUS_OK)
            status = weight_files_open(request->directory, load->table, &load->files, reason);
        if (status == STATUS_OK)
            weight_fault_watch(load->files);
    }
    if (collective && load->rank_count > 1)
        status = table_exchange(load, collective, table_rank, status, &key, reason);
    if (status == STATUS_OK)
        status = plan_all(load, request, reason);
    status = agree(collective, status, reason);
    if (status != STATUS_OK)
        return status;
    if (!is_local) {
        status = stream_slices(load, request, &key, reason);
        /* Siblings may be waiting inside the stream and cannot be told: the process must end. */
        if (status != STATUS_OK)
            return status;
    }
    if (load->files)
        status = shard_fill(load->shard, load->files, reason);
    if (status == STATUS_OK && !shard_is_complete(load->shard))
        status = refuse(reason, STATUS_INTERNAL, "not all slices of the model came");
    if (status == STATUS_OK)
        status = weight_check(load->plans[load->rank], load->shard, reason);
    if (status == STATUS_OK && load->files)
        shard_keep_only(load->shard, load->files);
    return agree(collective, status, reason);
}

enum status weight_load_open(const struct weight_load_request *request,
                             struct weight_load *load_out, struct reason *reason)
{
    struct weight_load load = {.rank_count = 1};
    if (request->collective) {
        load.rank = request->collective->rank;
        load.rank_count = request->collective->size;
    }
    load.plans = memory_zeroed(load.rank_count, sizeof(*load.plans));
    if (!load.plans)
        return refuse(reason, STATUS_NO_MEMORY, "no memory to plan the load of a model");
    enum status status = load_steps(&load, request, reason);
    if (status != STATUS_OK) {
        weight_load_close(&load);
        return status;
    }
    *load_out = load;
    return STATUS_OK;
}

void weight_load_close(struct weight_load *load)
{
    shard_close(load->shard);
    weight_fault_forget(load->files);
    weight_files_close(load->files);
    for (uint32_t rank = 0; load->plans && rank < load->rank_count; rank++)
        shard_plan_free(load->plans[rank]);
    memory_free(load->plans);
    model_layout_free(load->layout);
    tensor_table_free(load->table);
    *load = (struct weight_load){.rank_count = 0};
}
