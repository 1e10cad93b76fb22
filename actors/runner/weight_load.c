/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/weight_load.h"

#include "actors/runner/weight_check.h"
#include "actors/runner/weight_fault.h"
#include "actors/runner/weight_tables.h"
#include "protocol/hash.h"
#include "protocol/memory.h"
#include "runtime/clock.h"

#include <inttypes.h>
#include <string.h>

static uint64_t whole_holders(const struct weight_load_request *request, uint32_t rank_count)
{
    uint64_t holders = 0;
    for (uint32_t rank = 0; rank < rank_count; rank++)
        holders |= (uint64_t)request->has_files[rank] << rank;
    return holders;
}

static uint64_t holders_of(const struct weight_load_request *request, uint32_t rank_count,
                           size_t source)
{
    return request->sources[source].holders | whole_holders(request, rank_count);
}

static enum status check_request(const struct weight_load_request *request, uint32_t rank_count,
                                 uint32_t *table_rank_out, bool *is_parted_out,
                                 struct reason *reason)
{
    uint32_t table_rank = rank_count;
    for (uint32_t rank = rank_count; rank-- > 0;)
        if (request->has_files[rank])
            table_rank = rank;
    *is_parted_out = table_rank == rank_count && rank_count > 1 && request->source_count > 0;
    if (table_rank == rank_count && !*is_parted_out)
        return refuse(reason, STATUS_NO_HOLDER, "no rank of this generation has the weights of %s",
                      request->directory);
    for (size_t i = 0; i < request->source_count; i++)
        if (request->sources[i].rank >= rank_count ||
            (holders_of(request, rank_count, i) >> request->sources[i].rank & 1) == 0)
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
    if (size > TABLE_SIZE_MAX)
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

/* Every rank ends with a table, the same one, and the key and window of this load.  `own` is how
 * reading went so far: a rank that failed goes on until all agree to stop, as the others wait for
 * it. */
static enum status table_exchange(struct weight_load *load, struct collective *collective,
                                  uint32_t table_rank, enum status own, uint64_t window,
                                  struct table_head *head_out, struct reason *reason)
{
    struct table_head own_head = {.size = 0};
    uint8_t *bytes = NULL;
    if (own == STATUS_OK && load->table)
        own = table_pack_own(load, &bytes, &own_head, reason);
    if (own == STATUS_OK && load->rank == table_rank)
        own = draw_key(&own_head.key, reason);
    own_head.window = window;
    struct table_head head = own_head;
    if (own != STATUS_OK)
        head.size = 0;
    enum status status =
        collective->ops->broadcast(collective, &head, sizeof(head), table_rank);
    if (status != STATUS_OK || head.size == 0 || head.size > TABLE_SIZE_MAX) {
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
    own = weight_agree(collective, own, reason);
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
    *head_out = head;
    return own;
}

/* Of each file of the table: the rank that sends it, and those that have it. */
struct spread {
    uint32_t *sources;
    uint64_t *holders;
};

static void spread_free(struct spread *spread)
{
    memory_free(spread->sources);
    memory_free(spread->holders);
}

static enum status spread_make(const struct weight_load *load,
                               const struct weight_load_request *request, bool is_local,
                               struct spread *spread_out, struct reason *reason)
{
    const size_t count = load->table->file_count;
    struct spread *spread = spread_out;
    spread->sources = memory_zeroed(count, sizeof(*spread->sources));
    spread->holders = memory_zeroed(count, sizeof(*spread->holders));
    if (!spread->sources || !spread->holders)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for the list of weight files");
    for (size_t i = 0; i < count; i++) {
        const char *name = load->table->files[i].name;
        size_t at = 0;
        spread->holders[i] = whole_holders(request, load->rank_count);
        while (!is_local && at < request->source_count &&
               strcmp(request->sources[at].file, name) != 0)
            at++;
        if (is_local)
            continue;
        if (at == request->source_count)
            return refuse(reason, STATUS_INVALID, "the placement names no source for %.200s",
                          name);
        spread->sources[i] = request->sources[at].rank;
        spread->holders[i] = holders_of(request, load->rank_count, at);
    }
    return STATUS_OK;
}

static void note_reading(const struct weight_load_request *request, const char *file)
{
    if (request->reading)
        request->reading->file = file;
}

/* As others told of it: a file of the same size may be of another version of the model. */
static bool is_as_told(const struct tensor_table *told, size_t file,
                       const struct tensor_table *own)
{
    size_t count = 0;
    for (size_t i = 0; i < told->tensor_count; i++) {
        const struct tensor *tensor = &told->tensors[i];
        if (tensor->file != file)
            continue;
        const struct tensor *found = tensor_table_find(own, tensor->name);
        if (!found || found->type != tensor->type || found->rank != tensor->rank ||
            found->offset != tensor->offset || found->size != tensor->size ||
            memcmp(found->shape, tensor->shape, tensor->rank * sizeof(tensor->shape[0])) != 0)
            return false;
        count++;
    }
    return count == own->tensor_count;
}

/* The headers of the files a rank has are those of the table, which came from others. */
static enum status check_own(const struct weight_load *load,
                             const struct weight_load_request *request, const bool *wanted,
                             struct reason *reason)
{
    struct weight_reading *reading = request->reading;
    for (size_t i = 0; i < load->table->file_count; i++) {
        const char *name = load->table->files[i].name;
        struct tensor_table *own = NULL;
        if (!wanted[i])
            continue;
        enum status status = safetensors_open_files(
            request->directory, &name, 1, reading ? &reading->count : NULL, &own, reason);
        if (status == STATUS_OK && !is_as_told(load->table, i, own))
            status = refuse(reason, STATUS_STALE, "the weight file %.200s of rank %" PRIu32
                            " is of another version of the model than that of the other ranks;"
                            " remove the model there", name, load->rank);
        tensor_table_free(own);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

/* A rank with some files maps those, once it knows from another which there are. */
static enum status open_some(struct weight_load *load, const struct weight_load_request *request,
                             const struct spread *spread, struct reason *reason)
{
    const size_t count = load->table->file_count;
    bool has_any = false;
    bool *wanted = memory_zeroed(count, sizeof(*wanted));
    if (!wanted)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for the list of weight files");
    for (size_t i = 0; i < count; i++) {
        wanted[i] = (spread->holders[i] >> load->rank & 1) != 0;
        has_any = has_any || wanted[i];
    }
    enum status status = STATUS_OK;
    if (has_any && !load->files) {
        note_reading(request, "the weight files");
        status = check_own(load, request, wanted, reason);
        note_reading(request, NULL);
        if (status == STATUS_OK)
            status = weight_files_open_some(request->directory, load->table, wanted,
                                            request->reading, &load->files, reason);
    }
    memory_free(wanted);
    return status;
}

static uint32_t request_computing(const struct weight_load *load,
                                  const struct weight_load_request *request)
{
    return request->computing ? request->computing : load->rank_count;
}

static enum status plan_all(struct weight_load *load, const struct weight_load_request *request,
                            struct reason *reason)
{
    enum status status =
        model_layout_make(request->config, load->table, &load->layout, reason);
    const uint32_t computing = request_computing(load, request);
    for (uint32_t rank = 0; rank < load->rank_count && status == STATUS_OK; rank++)
        status = rank < computing
                     ? shard_plan_make(request->config, load->layout, &request->partitions[rank],
                                       &load->plans[rank], reason)
                     : shard_plan_make_empty(&load->plans[rank], reason);
    if (status != STATUS_OK)
        return status;
    status = shard_open(load->plans[load->rank], &load->shard, reason);
    if (status == STATUS_OK && !request->has_files[load->rank])
        shard_receives_all(load->shard);
    if (status == STATUS_OK && request->opened && !request->has_files[load->rank])
        request->opened(request->context, load->plans[load->rank], load->shard);
    return status;
}

/* The memory of what comes first is taken from the system while the others still open their files:
 * for a page that is new to it the system needs longer than a fast link for its bytes. */
static void take_memory(struct weight_load *load, const struct spread *spread, uint64_t wanted)
{
    const struct shard_plan *plan = load->plans[load->rank];
    const uint64_t window = wanted ? wanted : WEIGHT_WINDOW_SIZE;
    const uint64_t start_us = clock_now_us();
    uint64_t taken = 0;
    for (size_t i = 0; i < plan->slice_count && taken < window; i++) {
        const struct shard_slice *slice = &plan->slices[i];
        if ((spread->holders[slice->tensor->file] >> load->rank & 1) != 0)
            continue;
        shard_touch(load->shard, i);
        taken += slice->size;
    }
    load->memory_us = clock_now_us() - start_us;
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
                                 const struct spread *spread, const struct table_head *head,
                                 struct reason *reason)
{
    const struct weight_stream_options options = {
        .collective = request->collective,
        .plans = (const struct shard_plan *const *)load->plans,
        .spread = {spread->sources, spread->holders},
        .file_count = load->table->file_count,
        .files = load->files,
        .shard = load->shard,
        .reading = request->reading,
        .key = head->key,
        .window = head->window,
        .batch_size = request->batch_size,
        .rate_min = request->rate_min,
        .progressed = request->progressed,
        .sending = request->sending,
        .context = request->context,
    };
    return weight_stream_run(&options, &load->counters, reason);
}

/* What the own files hold of the shard, and a look at the values of all of it. */
static enum status fill_own(struct weight_load *load, const struct weight_load_request *request,
                            struct reason *reason)
{
    struct weight_reading *reading = request->reading;
    const struct partition *own = load->rank < request_computing(load, request)
                                      ? &request->partitions[load->rank]
                                      : NULL;
    enum status status = STATUS_OK;
    if (load->files)
        status = shard_fill(load->shard, load->files, reason);
    if (status == STATUS_OK && !shard_is_complete(load->shard))
        status = refuse(reason, STATUS_INTERNAL, "not all slices of the model came");
    if (status == STATUS_OK)
        status = weight_check(load->plans[load->rank], load->shard, reading, reason);
    if (status == STATUS_OK && load->files)
        shard_keep_only(load->shard, load->files);
    /* Whoever has the head as well reads all of a table for each token, or maps it for itself. */
    if (status == STATUS_OK && own && own->has_embedding && !own->has_head)
        weight_bring_ends(load->plans[load->rank], load->shard, reading);
    return status;
}

static void note_step(const struct weight_load_request *request, const char *step)
{
    if (request->reading)
        request->reading->step = step;
}

static enum status open_all(struct weight_load *load, const struct weight_load_request *request,
                            struct reason *reason)
{
    note_reading(request, "the weight files");
    enum status status = safetensors_open_counted(
        request->directory, request->reading ? &request->reading->count : NULL, &load->table,
        reason);
    if (status == STATUS_OK)
        status = weight_files_open_some(request->directory, load->table, NULL, request->reading,
                                        &load->files, reason);
    note_reading(request, NULL);
    return status;
}

/* What is kept of rows that lie apart: receivers follow each other through the file, so what a
 * batch of one was cut from serves the next.  Where there is one, nothing is wanted twice, and a
 * little memory, read over and over, stays in the caches. */
static uint64_t rows_room(uint32_t rank_count, uint64_t window)
{
    const uint64_t most = (window ? window : WEIGHT_WINDOW_SIZE) / WEIGHT_WINDOW_ROWS;
    const uint64_t wanted =
        rank_count <= 2 ? WEIGHT_BATCH_SIZE / 2 : 2 * WEIGHT_BATCH_SIZE * rank_count;
    return wanted < most ? wanted : most;
}

static enum status load_steps(struct weight_load *load,
                              const struct weight_load_request *request, struct spread *spread,
                              struct reason *reason)
{
    struct collective *collective = request->collective;
    uint32_t table_rank = 0;
    struct table_head head = {.window = request->window};
    const uint64_t start_us = clock_now_us();
    bool is_parted = false; /* no rank has all files */
    enum status status =
        check_request(request, load->rank_count, &table_rank, &is_parted, reason);
    if (status != STATUS_OK)
        return status; /* the same on every rank */
    const bool is_local = all_have_files(request, load->rank_count);
    note_step(request, "opened the weight files");
    if (request->has_files[load->rank])
        status = open_all(load, request, reason);
    if (is_parted)
        status = weight_tables_gather(request, &load->table, &head, reason);
    else if (collective && load->rank_count > 1)
        status = table_exchange(load, collective, table_rank, status, request->window, &head,
                                reason);
    if (status == STATUS_OK)
        status = spread_make(load, request, is_local, spread, reason);
    if (status == STATUS_OK)
        status = open_some(load, request, spread, reason);
    if (status == STATUS_OK && load->files) {
        weight_fault_watch(load->files);
        weight_files_limit(load->files, rows_room(load->rank_count, head.window));
    }
    note_step(request, "planned who gets what");
    if (status == STATUS_OK)
        status = plan_all(load, request, reason);
    note_step(request, "took its first memory from the system");
    if (status == STATUS_OK)
        take_memory(load, spread, head.window);
    status = weight_agree(collective, status, reason);
    if (status != STATUS_OK)
        return status;
    load->opening_us = clock_now_us() - start_us;
    note_step(request, "carried weights");
    if (!is_local) {
        status = stream_slices(load, request, spread, &head, reason);
        /* Siblings may be waiting inside the stream and cannot be told: the process must end. */
        if (status != STATUS_OK)
            return status;
    }
    const uint64_t streamed_us = clock_now_us();
    note_step(request, "filled its own part");
    note_reading(request, load->files ? "the weight files" : NULL);
    status = fill_own(load, request, reason);
    note_reading(request, NULL);
    load->filling_us = clock_now_us() - streamed_us;
    return weight_agree(collective, status, reason);
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
    struct spread spread = {NULL, NULL};
    enum status status = load_steps(&load, request, &spread, reason);
    spread_free(&spread);
    if (status != STATUS_OK) {
        if (!load.counters.is_stuck)
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
