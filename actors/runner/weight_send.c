/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/weight_parts.h"

#include "protocol/memory.h"
#include "runtime/clock.h"

#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

/* Of so many parcels one is looked at in each turn. */
enum { LOOKS_APART = 4 };

/* ---- on the packer's thread ---- */

/* What aligns the slices is zero, so that equal weights make equal batches. */
static enum status pack(struct parcel *parcel)
{
    const struct weight_batches *list = parcel->batches;
    const struct weight_batch *batch = &list->batches[parcel->name.batch];
    const struct shard_plan *plan = parcel->stream->options->plans[parcel->name.receiver];
    enum status status = STATUS_OK;
    uint64_t at = 0;
    for (size_t i = batch->piece_first; i < batch->piece_end && status == STATUS_OK; i++) {
        const struct weight_piece *piece = &list->pieces[i];
        if (parcel->stream->is_over)
            return STATUS_CANCELLED;
        memset(parcel->bytes + at, 0, piece->at - at);
        status = shard_slice_read_range(parcel->stream->options->files,
                                        &plan->slices[piece->slice], piece->first, piece->end,
                                        parcel->bytes + piece->at, &parcel->reason);
        at = piece->at + piece->end - piece->first;
    }
    return status;
}

static void pack_job(void *argument)
{
    struct parcel *parcel = argument;
    const struct weight_batch *batch = &parcel->batches->batches[parcel->name.batch];
    const uint64_t start_us = clock_now_us();
    parcel->status = pack(parcel);
    const uint64_t read_us = clock_now_us();
    parcel->head = (struct batch_head){
        .magic = HEAD_MAGIC, .batch = parcel->name.batch, .size = batch->size};
    /* Without a check it is asked for again. */
    (void)stream_check_make(parcel->stream, &parcel->name, parcel->bytes, batch->size,
                            &parcel->head.check);
    parcel->read_us = read_us - start_us;
    parcel->check_us = clock_now_us() - read_us;
}

/* ---- on the engine thread ---- */

static void parcel_start(struct stream *stream, struct parcel *parcel)
{
    parcel->stream = stream;
    parcel->phase = PARCEL_PACKING;
    parcel->job = ++stream->packs_started;
    side_worker_start(stream->packer, pack_job, parcel);
    stream->has_moved = true;
}

/* The receiver whose turn it is: that which has the smallest part of its weights, so that none
 * waits for the others, whatever its share; of those the first in this rank's own order.  With like
 * shares they follow each other through the layers, and what is read of a tensor for one is soon
 * wanted for the next. */
static struct outgoing *outgoing_next(struct stream *stream)
{
    struct outgoing *best = NULL;
    for (size_t i = 0; i < stream->outgoing_count; i++) {
        struct outgoing *one = &stream->outgoing[i];
        if (one->next < one->batches->batch_count &&
            (!best || (uint64_t)one->next * best->batches->batch_count <
                          (uint64_t)best->next * one->batches->batch_count))
            best = one;
    }
    return best;
}

static enum status parcel_post(struct stream *stream, struct parcel *parcel)
{
    const struct weight_stream_options *options = stream->options;
    struct collective *collective = options->collective;
    const bool is_repair = parcel->attempt > 0;
    const uint32_t receiver = parcel->name.receiver;
    if (parcel->status != STATUS_OK) {
        *stream->reason = parcel->reason;
        return parcel->status;
    }
    if (options->sending)
        options->sending(options->context, receiver, parcel->name.batch, parcel->attempt,
                         parcel->bytes, parcel->head.size);
    enum status status = collective->ops->post_send(
        collective, is_repair ? CHANNEL_REPAIR_HEADS : CHANNEL_HEADS, &parcel->head,
        sizeof(parcel->head), receiver, &parcel->posts[0]);
    if (status == STATUS_OK)
        status = collective->ops->post_send(collective,
                                            is_repair ? CHANNEL_REPAIRS : CHANNEL_BATCHES,
                                            parcel->bytes, parcel->head.size, receiver,
                                            &parcel->posts[1]);
    if (status != STATUS_OK)
        return stream_lost(stream, receiver);
    parcel->are_through[0] = false;
    parcel->are_through[1] = false;
    parcel->phase = PARCEL_SENDING;
    stream->has_moved = true;
    stream->counters.bytes_sent += sizeof(parcel->head) + parcel->head.size;
    stream->counters.batches_sent++;
    stream->counters.batches_repeated += is_repair ? 1 : 0;
    stream->counters.read_us += parcel->read_us;
    stream->counters.check_us += parcel->check_us;
    return STATUS_OK;
}

static size_t count_in(const struct stream *stream, enum parcel_phase phase)
{
    size_t count = 0;
    for (size_t i = 0; i < PARCELS_AHEAD; i++)
        count += stream->parcels[i].phase == phase;
    return count;
}

static enum status parcel_turn(struct stream *stream, struct parcel *parcel, uint64_t packs_done)
{
    if (parcel->phase == PARCEL_PACKING && parcel->job <= packs_done &&
        (parcel->attempt > 0 || count_in(stream, PARCEL_SENDING) < BATCHES_AHEAD))
        return parcel_post(stream, parcel);
    /* Every look costs a round of the transport: each parcel has its turn. */
    if (parcel->phase != PARCEL_SENDING ||
        (parcel->attempt == 0 &&
         stream->turn % LOOKS_APART != (uint64_t)(parcel - stream->parcels) % LOOKS_APART))
        return STATUS_OK;
    enum status status =
        stream_look(stream, parcel->name.receiver, parcel->posts, parcel->are_through);
    if (status != STATUS_OK || !parcel->are_through[0] || !parcel->are_through[1])
        return status;
    parcel->phase = PARCEL_FREE;
    stream->bytes_through += parcel->attempt ? 0 : parcel->head.size;
    stream_progress(stream, parcel->attempt ? 0 : parcel->head.size);
    return STATUS_OK;
}

static void parcels_fill(struct stream *stream)
{
    for (size_t i = 0; i < PARCELS_AHEAD; i++) {
        struct parcel *parcel = &stream->parcels[i];
        struct outgoing *outgoing = outgoing_next(stream);
        if (!outgoing)
            return;
        if (parcel->phase != PARCEL_FREE)
            continue;
        parcel->batches = outgoing->batches;
        parcel->name = (struct batch_name){stream->own, outgoing->receiver, stream->own,
                                           (uint32_t)outgoing->next++};
        parcel_start(stream, parcel);
    }
}

/* Parcels are posted in the order in which they were packed, which is that of their receiver. */
static enum status parcels_turn(struct stream *stream)
{
    const uint64_t packs_done = side_worker_done(stream->packer);
    uint64_t last = 0;
    for (size_t i = 0; i < PARCELS_AHEAD; i++) {
        struct parcel *first = NULL;
        for (size_t k = 0; k < PARCELS_AHEAD; k++) {
            struct parcel *parcel = &stream->parcels[k];
            if (parcel->phase != PARCEL_FREE && parcel->job > last &&
                (!first || parcel->job < first->job))
                first = parcel;
        }
        if (!first)
            return STATUS_OK;
        last = first->job;
        enum status status = parcel_turn(stream, first, packs_done);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

enum status send_again(struct stream *stream, uint32_t receiver, const struct stream_word *word)
{
    if (stream->owed[receiver].is_wanted || word->source >= stream->size || word->attempt == 0 ||
        word->attempt > RANK_COUNT_MAX)
        return refuse(stream->reason, STATUS_MALFORMED, "rank %" PRIu32 " does not follow the"
                      " order in which weights are sent", receiver);
    stream->owed[receiver] = (struct owed){true, *word};
    return STATUS_OK;
}

/* Packs as the source would have; one at a time, as it is rare. */
static enum status repair_start(struct stream *stream, uint32_t receiver)
{
    const struct stream_word *word = &stream->owed[receiver].word;
    struct parcel *repair = &stream->repair;
    weight_batches_free(stream->repair_batches);
    stream->repair_batches = NULL;
    enum status status =
        weight_batches_make(stream->options->plans[receiver], &stream->options->spread, receiver,
                            word->source, stream->batch_size, &stream->repair_batches);
    if (status == STATUS_OK && !repair->bytes)
        repair->bytes = memory_zeroed(stream->batch_size, 1);
    if (status != STATUS_OK || !repair->bytes)
        return refuse(stream->reason, STATUS_NO_MEMORY, "no memory to send a batch again");
    if (word->batch >= stream->repair_batches->batch_count)
        return refuse(stream->reason, STATUS_MALFORMED, "rank %" PRIu32 " asks for weights that"
                      " nobody sends it", receiver);
    repair->batches = stream->repair_batches;
    repair->attempt = (int)word->attempt;
    repair->name =
        (struct batch_name){word->source, receiver, stream->own, (uint32_t)word->batch};
    parcel_start(stream, repair);
    return STATUS_OK;
}

static enum status repair_turn(struct stream *stream)
{
    if (stream->repair.phase != PARCEL_FREE)
        return parcel_turn(stream, &stream->repair, side_worker_done(stream->packer));
    for (uint32_t rank = 0; rank < stream->size; rank++) {
        if (!stream->owed[rank].is_wanted)
            continue;
        stream->owed[rank].is_wanted = false;
        return repair_start(stream, rank);
    }
    return STATUS_OK;
}

enum status send_turn(struct stream *stream)
{
    if (!stream->packer)
        return STATUS_OK;
    parcels_fill(stream);
    enum status status = parcels_turn(stream);
    return status == STATUS_OK ? repair_turn(stream) : status;
}

bool send_is_done(const struct stream *stream)
{
    for (size_t i = 0; i < stream->outgoing_count; i++)
        if (stream->outgoing[i].next < stream->outgoing[i].batches->batch_count)
            return false;
    for (size_t i = 0; i < PARCELS_AHEAD; i++)
        if (stream->parcels[i].phase != PARCEL_FREE)
            return false;
    return stream->repair.phase == PARCEL_FREE;
}

enum status send_is_slow(const struct stream *stream)
{
    const uint64_t window_s = stream->pace.window_ms / 1000;
    const uint64_t rate = stream->options->rate_min >> 10;
    const struct parcel *oldest = NULL; /* that a receiver has not taken */
    for (size_t i = 0; i < PARCELS_AHEAD; i++) {
        const struct parcel *parcel = &stream->parcels[i];
        if (parcel->phase == PARCEL_SENDING && (!oldest || parcel->job < oldest->job))
            oldest = parcel;
    }
    if (!oldest || count_in(stream, PARCEL_PACKING) > count_in(stream, PARCEL_SENDING))
        return refuse(stream->reason, STATUS_TIMED_OUT, "this node's disk gave less than %" PRIu64
                      " KiB/s of the weight files for %" PRIu64 " s; see whether the disk works, or"
                      " set load_rate_min", rate, window_s);
    return refuse(stream->reason, STATUS_TIMED_OUT, "less than %" PRIu64 " KiB/s of weights got"
                  " through for %" PRIu64 " s, those to rank %" PRIu32 " first of all; see the"
                  " network between the nodes, or set load_rate_min", rate, window_s,
                  oldest->name.receiver);
}

/* Sources side by side: while the first serves the first receiver, the second serves the second. */
static enum status outgoing_open(struct stream *stream)
{
    const struct weight_stream_options *options = stream->options;
    uint32_t receivers[RANK_COUNT_MAX];
    uint32_t count = 0;
    uint32_t place = 0; /* of this rank among those that serve */
    for (uint32_t rank = 0; rank < stream->size; rank++) {
        if (stream->receives[rank] && rank != stream->own)
            receivers[count++] = rank;
        place += stream->serves[rank] && rank < stream->own;
    }
    stream->outgoing = memory_zeroed(count + 1, sizeof(*stream->outgoing));
    if (!stream->outgoing)
        return refuse(stream->reason, STATUS_NO_MEMORY,
                      "no memory for the list of weights to be sent");
    for (uint32_t i = 0; i < count; i++) {
        struct outgoing *one = &stream->outgoing[stream->outgoing_count];
        one->receiver = receivers[(i + place) % count];
        enum status status =
            weight_batches_make(options->plans[one->receiver], &options->spread, one->receiver,
                                stream->own, stream->batch_size, &one->batches);
        if (status != STATUS_OK)
            return refuse(stream->reason, status, "no memory for the list of weights to be sent");
        stream->outgoing_count++;
        for (size_t k = 0; k < one->batches->batch_count; k++)
            stream->bytes_total += one->batches->batches[k].size;
    }
    return STATUS_OK;
}

/* One piece of memory, of large pages that are taken from the system now. */
static enum status parcels_open(struct stream *stream)
{
    const size_t size = (size_t)stream->batch_size * PARCELS_AHEAD;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return refuse(stream->reason, STATUS_NO_MEMORY, "no memory for weights on their way");
    stream->parcel_bytes = memory;
    (void)madvise(memory, size, MADV_HUGEPAGE);
#ifdef MADV_POPULATE_WRITE
    (void)madvise(memory, size, MADV_POPULATE_WRITE);
#endif
    for (size_t i = 0; i < PARCELS_AHEAD; i++)
        stream->parcels[i].bytes = stream->parcel_bytes + i * stream->batch_size;
    return STATUS_OK;
}

enum status send_open(struct stream *stream)
{
    bool has_receivers = false;
    for (uint32_t rank = 0; rank < stream->size; rank++)
        has_receivers = has_receivers || (rank != stream->own && stream->receives[rank]);
    if (!stream->serves[stream->own] || !has_receivers)
        return STATUS_OK;
    enum status status = outgoing_open(stream);
    if (status == STATUS_OK)
        status = parcels_open(stream);
    return status == STATUS_OK ? side_worker_open(&stream->packer, stream->reason) : status;
}

void send_close(struct stream *stream)
{
    side_worker_close(stream->packer);
    if (stream->parcel_bytes)
        (void)munmap(stream->parcel_bytes, (size_t)stream->batch_size * PARCELS_AHEAD);
    memory_free(stream->repair.bytes);
    weight_batches_free(stream->repair_batches);
    for (size_t i = 0; i < stream->outgoing_count; i++)
        weight_batches_free(stream->outgoing[i].batches);
    memory_free(stream->outgoing);
}
