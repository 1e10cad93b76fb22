/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/weight_parts.h"

#include "protocol/ids.h"
#include "protocol/memory.h"
#include "runtime/clock.h"

#include <inttypes.h>
#include <string.h>

/* ---- on the checker's thread ---- */

static void check_job(void *argument)
{
    struct arrival *arrival = argument;
    const uint64_t start_us = clock_now_us();
    struct mac check;
    arrival->is_good = stream_check_make(arrival->stream, &arrival->name, arrival->target,
                                         arrival->batch->size, &check) &&
                       ID_EQUAL(check, arrival->head.check);
    arrival->check_us = clock_now_us() - start_us;
}

/* ---- on the engine thread ---- */

/* The batch is received where it belongs; nobody uses it before it was found good. */
static enum status arrival_post(struct stream *stream, struct arrival *arrival,
                                const struct incoming *incoming, size_t batch, uint32_t sender)
{
    struct collective *collective = stream->options->collective;
    const struct weight_batch *one = &incoming->batches->batches[batch];
    const struct weight_piece *piece = &incoming->batches->pieces[one->piece_first];
    const bool is_repair = incoming->states[batch] == BATCH_DAMAGED;
    uint64_t size = 0;
    *arrival = (struct arrival){
        .stream = stream,
        .name = {incoming->source, stream->own, sender, (uint32_t)batch},
        .batch = one,
        .target = shard_receive_target(stream->options->shard, piece->slice, &size) +
                  piece->first,
    };
    enum status status = collective->ops->post_receive(
        collective, is_repair ? CHANNEL_REPAIR_HEADS : CHANNEL_HEADS, &arrival->head,
        sizeof(arrival->head), sender, &arrival->posts[0]);
    if (status == STATUS_OK)
        status = collective->ops->post_receive(collective,
                                               is_repair ? CHANNEL_REPAIRS : CHANNEL_BATCHES,
                                               arrival->target, one->size, sender,
                                               &arrival->posts[1]);
    stream->has_moved = true;
    return status == STATUS_OK ? STATUS_OK : stream_lost(stream, sender);
}

/* Looks whether it is here, and gives it to the checker when it is; true in `is_checked_out` when
 * that is done too. */
static enum status arrival_turn(struct stream *stream, struct arrival *arrival,
                                bool *is_checked_out)
{
    *is_checked_out = false;
    if (arrival->is_checking) {
        *is_checked_out = side_worker_done(stream->checker) >= arrival->job;
        if (*is_checked_out) {
            stream->has_moved = true;
            stream->counters.check_us += arrival->check_us;
        }
        return STATUS_OK;
    }
    enum status status =
        stream_look(stream, arrival->name.sender, arrival->posts, arrival->are_through);
    if (status != STATUS_OK || !arrival->are_through[0] || !arrival->are_through[1])
        return status;
    const struct batch_head *head = &arrival->head;
    if (head->magic != HEAD_MAGIC || head->batch != arrival->name.batch ||
        head->size != arrival->batch->size)
        return refuse(stream->reason, STATUS_MALFORMED, "rank %" PRIu32 " sends other weights than"
                      " the plan says", arrival->name.sender);
    stream->counters.bytes_received += sizeof(*head) + head->size;
    stream->counters.batches_received++;
    arrival->is_checking = true;
    arrival->job = ++stream->checks_started;
    side_worker_start(stream->checker, check_job, arrival);
    return STATUS_OK;
}

/* What is awaited of one source, in its order. */
static enum status incoming_turn(struct stream *stream, struct incoming *incoming)
{
    while (incoming->next < incoming->batches->batch_count &&
           incoming->next < incoming->oldest + BATCHES_AHEAD) {
        enum status status =
            arrival_post(stream, &incoming->arrivals[incoming->next % BATCHES_AHEAD], incoming,
                         incoming->next, incoming->source);
        if (status != STATUS_OK)
            return status;
        incoming->next++;
    }
    for (size_t batch = incoming->oldest; batch < incoming->next; batch++) {
        struct arrival *arrival = &incoming->arrivals[batch % BATCHES_AHEAD];
        bool is_checked = false;
        enum status status = arrival_turn(stream, arrival, &is_checked);
        if (status != STATUS_OK)
            return status;
        if (!arrival->is_checking)
            return STATUS_OK; /* what is behind it came after it */
        if (is_checked && batch == incoming->oldest) {
            incoming->states[batch] = arrival->is_good ? BATCH_GOOD : BATCH_DAMAGED;
            incoming->oldest++;
            stream_progress(stream, arrival->is_good ? arrival->batch->size : 0);
        }
    }
    return STATUS_OK;
}

/* One word for each layer of which all came whole. */
static enum status answer_layers(struct stream *stream, struct incoming *incoming)
{
    const struct weight_batches *list = incoming->batches;
    while (incoming->told < incoming->oldest && stream_has_room(stream, 1)) {
        size_t end = incoming->told;
        while (end < list->batch_count &&
               list->batches[end].step == list->batches[incoming->told].step) {
            if (end >= incoming->oldest || incoming->states[end] != BATCH_GOOD)
                return STATUS_OK;
            end++;
        }
        const struct stream_word word = {
            .magic = WORD_MAGIC, .kind = WORD_WHOLE, .source = incoming->source, .batch = end};
        enum status status = stream_tell(stream, incoming->source, &word);
        if (status != STATUS_OK)
            return status;
        incoming->told = end;
    }
    return STATUS_OK;
}

/* ---- what came damaged ---- */

static bool has_all_of(const struct stream *stream, uint32_t rank, const struct incoming *incoming,
                       size_t batch)
{
    const struct weight_batch *one = &incoming->batches->batches[batch];
    const struct shard_plan *plan = stream->options->plans[stream->own];
    for (size_t i = one->piece_first; i < one->piece_end; i++) {
        const uint32_t file = plan->slices[incoming->batches->pieces[i].slice].tensor->file;
        if ((stream->options->spread.holders[file] >> rank & 1) == 0)
            return false;
    }
    return true;
}

/* Who is asked at the n-th attempt: its source, then those after it that have it; `stream->size`
 * when none is left. */
static uint32_t asked_at(const struct stream *stream, const struct incoming *incoming,
                         size_t batch, uint32_t attempt)
{
    for (uint32_t i = 0; i < stream->size; i++) {
        const uint32_t rank = (incoming->source + i) % stream->size;
        if ((i == 0 || has_all_of(stream, rank, incoming, batch)) && --attempt == 0)
            return rank;
    }
    return stream->size;
}

static enum status give_up(struct stream *stream, const struct incoming *incoming, size_t batch)
{
    const struct stream_word word = {
        .magic = WORD_MAGIC, .kind = WORD_GAVE_UP, .source = incoming->source, .batch = batch};
    for (uint32_t rank = 0; rank < stream->size; rank++)
        if (stream->serves[rank] && rank != stream->own)
            (void)!stream_tell(stream, rank, &word);
    return stream_gave_up(stream, incoming->source, stream->own, batch);
}

static enum status mend_ask(struct stream *stream)
{
    struct mending *mending = &stream->mending;
    const struct incoming *incoming = mending->incoming;
    const uint32_t rank = asked_at(stream, incoming, mending->batch, mending->attempt);
    if (rank == stream->size)
        return give_up(stream, incoming, mending->batch);
    const struct stream_word word = {.magic = WORD_MAGIC, .kind = WORD_AGAIN,
                                     .source = incoming->source, .attempt = mending->attempt,
                                     .batch = mending->batch};
    enum status status =
        arrival_post(stream, &mending->arrival, incoming, mending->batch, rank);
    mending->is_asked = true;
    return status == STATUS_OK ? stream_tell(stream, rank, &word) : status;
}

static void mend_find(struct stream *stream)
{
    for (size_t i = 0; i < stream->incoming_count; i++) {
        struct incoming *incoming = &stream->incoming[i];
        for (size_t batch = incoming->told; batch < incoming->oldest; batch++) {
            if (incoming->states[batch] != BATCH_DAMAGED)
                continue;
            stream->mending =
                (struct mending){.incoming = incoming, .batch = batch, .attempt = 1};
            return;
        }
    }
}

/* One batch at a time. */
static enum status mend_turn(struct stream *stream)
{
    struct mending *mending = &stream->mending;
    bool is_checked = false;
    if (!mending->incoming)
        mend_find(stream);
    if (!mending->incoming)
        return STATUS_OK;
    if (!mending->is_asked)
        return stream_has_room(stream, stream->size) ? mend_ask(stream) : STATUS_OK;
    enum status status = arrival_turn(stream, &mending->arrival, &is_checked);
    if (status != STATUS_OK || !is_checked)
        return status;
    stream->counters.batches_repeated++;
    if (!mending->arrival.is_good) {
        mending->attempt++;
        mending->is_asked = false;
        stream_progress(stream, 0);
        return STATUS_OK;
    }
    mending->incoming->states[mending->batch] = BATCH_GOOD;
    stream_progress(stream, mending->arrival.batch->size);
    mending->incoming = NULL;
    return STATUS_OK;
}

/* ---- all of it ---- */

static bool is_whole(const struct stream *stream)
{
    for (size_t i = 0; i < stream->incoming_count; i++)
        if (stream->incoming[i].told < stream->incoming[i].batches->batch_count)
            return false;
    return true;
}

enum status receive_turn(struct stream *stream)
{
    const struct stream_word end = {.magic = WORD_MAGIC, .kind = WORD_END};
    enum status status = STATUS_OK;
    if (!stream->receives[stream->own] || stream->is_end_told)
        return STATUS_OK;
    for (size_t i = 0; i < stream->incoming_count && status == STATUS_OK; i++) {
        status = incoming_turn(stream, &stream->incoming[i]);
        if (status == STATUS_OK)
            status = answer_layers(stream, &stream->incoming[i]);
    }
    if (status == STATUS_OK)
        status = mend_turn(stream);
    if (status != STATUS_OK || !is_whole(stream) || !stream_has_room(stream, stream->size))
        return status;
    stream->is_end_told = true;
    return stream_tell_sources(stream, &end);
}

bool receive_is_done(const struct stream *stream)
{
    return !stream->receives[stream->own] || stream->is_end_told;
}

static enum status incoming_add(struct stream *stream, uint32_t source)
{
    const struct weight_stream_options *options = stream->options;
    struct incoming *one = &stream->incoming[stream->incoming_count];
    enum status status = weight_batches_make(options->plans[stream->own], &options->spread,
                                             stream->own, source, stream->batch_size,
                                             &one->batches);
    if (status != STATUS_OK)
        return refuse(stream->reason, status, "no memory for the list of weights to be sent");
    stream->incoming_count++;
    one->source = source;
    one->states = memory_zeroed(one->batches->batch_count + 1, 1);
    if (!one->states)
        return refuse(stream->reason, STATUS_NO_MEMORY,
                      "no memory for the list of weights to be sent");
    for (size_t i = 0; i < one->batches->batch_count; i++)
        stream->bytes_total += one->batches->batches[i].size;
    return STATUS_OK;
}

enum status receive_open(struct stream *stream)
{
    if (!stream->receives[stream->own])
        return STATUS_OK;
    stream->incoming = memory_zeroed(stream->size, sizeof(*stream->incoming));
    enum status status = stream->incoming
                             ? side_worker_open(&stream->checker, stream->reason)
                             : refuse(stream->reason, STATUS_NO_MEMORY,
                                      "no memory for the list of weights to be sent");
    for (uint32_t rank = 0; rank < stream->size && status == STATUS_OK; rank++)
        if (stream->serves[rank] && rank != stream->own)
            status = incoming_add(stream, rank);
    return status;
}

void receive_close(struct stream *stream)
{
    side_worker_close(stream->checker);
    for (size_t i = 0; i < stream->incoming_count; i++) {
        weight_batches_free(stream->incoming[i].batches);
        memory_free(stream->incoming[i].states);
    }
    memory_free(stream->incoming);
}
