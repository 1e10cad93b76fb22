/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/weight_stream.h"

#include "actors/runner/side_worker.h"
#include "actors/runner/weight_batches.h"
#include "protocol/ids.h"
#include "protocol/limits.h"
#include "protocol/memory.h"

#include <inttypes.h>
#include <string.h>

/*
 * A batch on its way:   0  magic   4  batch   8  size   16  check (16)   32  zero (32)
 * and its bytes from 64 on, all numbers little-endian as both ranks are of one build.
 */
enum {
    HEAD_SIZE = 64,
    HEAD_MAGIC = 0x57654967,
    ANSWER_MAGIC = 0x416e5377,
    WANT_MAGIC = 0x57616e74
};

struct batch_head {
    uint32_t magic;
    uint32_t batch;
    uint64_t size;
    struct mac check;
    uint8_t zero[32];
};
_Static_assert(sizeof(struct batch_head) == HEAD_SIZE, "the head is the bytes of the table");

/* What a receiver says of a layer, once for each batch it wants again and once at its end. */
enum answer_word { ANSWER_WHOLE, ANSWER_AGAIN, ANSWER_GAVE_UP };

struct layer_answer {
    uint32_t magic;
    uint32_t word;
    uint32_t layer;
    uint32_t batch; /* of ANSWER_AGAIN and ANSWER_GAVE_UP */
};

/* What a receiver wants from a holder in a round of repairs: a head with their number, then one for
 * each batch, named as its own source would name it. */
struct batch_wanted {
    uint32_t magic;
    uint32_t source;
    uint64_t batch; /* of the head: how many follow */
};

/* One source and one receiver, of which this rank is one. */
struct pair {
    uint32_t source;
    uint32_t receiver;
    const struct shard_plan *plan; /* the receiver's */
    struct weight_batches *batches;
    bool *damaged;       /* by batch; the receiver's checker writes */
    size_t next;         /* batch to be sent or received next */
    size_t settle_first; /* batches [settle_first, settle_end) wait for their answer */
    size_t settle_end;
};

/* One batch at work beside the sending: being packed, or being checked and put in place. */
struct job {
    struct stream *stream;
    struct pair *pair;
    size_t batch;
    uint8_t *message; /* HEAD_SIZE and the bytes */
    uint32_t sender;  /* the pair's source, or in a repair another */
};

struct lane {
    struct side_worker *worker;
    uint8_t *messages[2];
    struct job jobs[2];
    size_t count; /* jobs started; the last is jobs[(count - 1) % 2] */
};

struct stream {
    const struct weight_stream_options *options;
    struct reason *reason;
    struct crypto_mac *mac;
    struct pair *pairs; /* this rank's part of one order that all ranks derive */
    size_t pair_count;
    uint32_t step_end;
    uint32_t holders[RANK_COUNT_MAX]; /* ranks that have the files, in order */
    uint32_t holder_count;
    uint64_t batch_size;
    struct lane send;
    struct lane receive;
    struct weight_stream_counters counters;
    uint64_t bytes_total;
    uint64_t bytes_have;
};

/* ---- packing and checking: on the lane's worker, or on the caller's thread when repeated ---- */

/* The key is of this load, the label of this message: a batch in another's place is damaged. */
static bool make_check(const struct job *job, struct mac *check_out)
{
    const struct pair *pair = job->pair;
    const uint32_t label[4] = {pair->source, pair->receiver, job->sender, (uint32_t)job->batch};
    return crypto_mac_of(job->stream->mac, &job->stream->options->key, label, sizeof(label),
                         job->message + HEAD_SIZE, pair->batches->batches[job->batch].size,
                         check_out);
}

static void pack_batch(const struct job *job)
{
    const struct weight_batches *list = job->pair->batches;
    const struct weight_batch *batch = &list->batches[job->batch];
    uint8_t *at = job->message + HEAD_SIZE;
    for (size_t i = batch->piece_first; i < batch->piece_end; i++) {
        const struct weight_piece *piece = &list->pieces[i];
        shard_slice_copy_range(job->stream->options->files,
                               &job->pair->plan->slices[piece->slice], piece->first, piece->end,
                               at);
        at += piece->end - piece->first;
    }
    struct batch_head head = {
        .magic = HEAD_MAGIC, .batch = (uint32_t)job->batch, .size = batch->size};
    (void)make_check(job, &head.check); /* without one it is asked for again */
    memcpy(job->message, &head, sizeof(head));
}

static void place_batch(const struct job *job)
{
    const struct weight_batches *list = job->pair->batches;
    const struct weight_batch *batch = &list->batches[job->batch];
    const uint8_t *at = job->message + HEAD_SIZE;
    for (size_t i = batch->piece_first; i < batch->piece_end; i++) {
        const struct weight_piece *piece = &list->pieces[i];
        uint64_t size = 0;
        uint8_t *target = shard_receive_target(job->stream->options->shard, piece->slice, &size);
        ASSERT(piece->end <= size);
        memcpy(target + piece->first, at, piece->end - piece->first);
        at += piece->end - piece->first;
    }
}

/* A damaged batch never reaches its place. */
static void check_batch(const struct job *job)
{
    struct batch_head head;
    struct mac check;
    memcpy(&head, job->message, sizeof(head));
    bool is_good = make_check(job, &check) && ID_EQUAL(check, head.check);
    if (is_good)
        place_batch(job);
    job->pair->damaged[job->batch] = !is_good;
}

static void pack_job(void *argument)
{
    pack_batch(argument);
}

static void check_job(void *argument)
{
    check_batch(argument);
}

static struct job *lane_job(struct stream *stream, struct lane *lane, struct pair *pair,
                            size_t batch)
{
    size_t slot = lane->count++ % 2;
    lane->jobs[slot] = (struct job){stream, pair, batch, lane->messages[slot], pair->source};
    return &lane->jobs[slot];
}

/* ---- the source ---- */

static enum status lost(struct stream *stream, uint32_t rank)
{
    return refuse(stream->reason, STATUS_IO, "rank %" PRIu32 " was lost while weights were on"
                  " their way", rank);
}

static enum status gave_up(struct stream *stream, const struct pair *pair, size_t batch)
{
    const struct weight_piece *piece =
        &pair->batches->pieces[pair->batches->batches[batch].piece_first];
    if (stream->holder_count > 1)
        return refuse(stream->reason, STATUS_HASH_MISMATCH,
                      "the bytes of tensor %.200s came damaged twice from rank %" PRIu32
                      " and from every other rank that holds them to rank %" PRIu32
                      "; check the network and the memory of that machine",
                      pair->plan->slices[piece->slice].tensor->name, pair->source,
                      pair->receiver);
    return refuse(stream->reason, STATUS_HASH_MISMATCH,
                  "the bytes of tensor %.200s came damaged twice from rank %" PRIu32 " to rank %"
                  PRIu32 "; check the network and the memory of both machines",
                  pair->plan->slices[piece->slice].tensor->name, pair->source, pair->receiver);
}

static void progress(struct stream *stream, uint64_t size)
{
    const struct weight_stream_options *options = stream->options;
    stream->bytes_have += size;
    if (options->progressed)
        options->progressed(options->context, stream->bytes_have, stream->bytes_total);
}

static enum status send_message(struct stream *stream, const struct job *job, int attempt)
{
    const struct weight_stream_options *options = stream->options;
    struct collective *collective = options->collective;
    uint64_t size = job->pair->batches->batches[job->batch].size;
    if (options->sending)
        options->sending(options->context, job->pair->receiver, job->batch, attempt,
                         job->message + HEAD_SIZE, size);
    if (collective->ops->send(collective, job->message, HEAD_SIZE + size,
                              job->pair->receiver) != STATUS_OK)
        return lost(stream, job->pair->receiver);
    stream->counters.bytes_sent += HEAD_SIZE + size;
    stream->counters.batches_sent++;
    stream->counters.batches_repeated += attempt ? 1 : 0;
    return STATUS_OK;
}

/* The pages of what is through are given back, or the whole model would stay mapped; piece by
 * piece, as one slice may be larger than all that a rank may hold beside its shard. */
static void drop_sent(struct stream *stream, const struct pair *pair, size_t batch)
{
    const struct weight_batches *list = pair->batches;
    for (size_t i = list->batches[batch].piece_first; i < list->batches[batch].piece_end; i++) {
        const struct weight_piece *piece = &list->pieces[i];
        struct shard_slice sent = pair->plan->slices[piece->slice];
        uint64_t width = sent.byte_end - sent.byte_first;
        uint64_t row_first = sent.row_first;
        sent.row_first = row_first + piece->first / width;
        sent.row_end = row_first + (piece->end + width - 1) / width;
        shard_slice_drop(stream->options->files, &sent);
    }
}

/* The pair whose batch this rank sends after `pair`'s in the common order, or NULL. */
static struct pair *next_sending(struct stream *stream, struct pair *pair)
{
    uint32_t own = stream->options->collective->rank;
    struct pair *best = NULL;
    uint32_t best_step = UINT32_MAX;
    for (size_t i = 0; i < stream->pair_count; i++) {
        struct pair *other = &stream->pairs[i];
        size_t batch = other == pair ? pair->next + 1 : other->next;
        if (other->source != own || batch >= other->batches->batch_count)
            continue;
        const uint32_t step = other->batches->batches[batch].step;
        if (other == pair && step == pair->batches->batches[pair->next].step)
            return pair; /* a layer is sent to its end */
        if (step < best_step) {
            best = other;
            best_step = step;
        }
    }
    return best;
}

/* Sends the packed batch while the next one is being packed. */
static enum status send_next(struct stream *stream, struct pair *pair)
{
    struct lane *lane = &stream->send;
    if (lane->count == 0)
        side_worker_start(lane->worker, pack_job, lane_job(stream, lane, pair, pair->next));
    side_worker_wait(lane->worker);
    const struct job *job = &lane->jobs[(lane->count - 1) % 2];
    ASSERT(job->pair == pair && job->batch == pair->next);
    struct pair *following = next_sending(stream, pair);
    if (following) {
        size_t batch = following == pair ? pair->next + 1 : following->next;
        side_worker_start(lane->worker, pack_job, lane_job(stream, lane, following, batch));
    }
    enum status status = send_message(stream, job, 0);
    if (status != STATUS_OK)
        return status;
    drop_sent(stream, pair, job->batch);
    progress(stream, pair->batches->batches[job->batch].size);
    pair->next++;
    return STATUS_OK;
}

/* Reads the receiver's answer for the layer and sends again what it asks for. */
static enum status settle_as_source(struct stream *stream, struct pair *pair)
{
    struct collective *collective = stream->options->collective;
    for (;;) {
        struct layer_answer answer;
        if (collective->ops->receive(collective, &answer, sizeof(answer), pair->receiver) !=
            STATUS_OK)
            return lost(stream, pair->receiver);
        stream->counters.bytes_received += sizeof(answer);
        bool names_batch = answer.batch >= pair->settle_first && answer.batch < pair->settle_end;
        if (answer.magic != ANSWER_MAGIC || (answer.word != ANSWER_WHOLE && !names_batch) ||
            answer.layer != pair->batches->batches[pair->settle_first].layer)
            return refuse(stream->reason, STATUS_MALFORMED, "rank %" PRIu32 " does not follow the"
                          " order in which weights are sent", pair->receiver);
        if (answer.word == ANSWER_WHOLE)
            return STATUS_OK;
        if (answer.word == ANSWER_GAVE_UP)
            return gave_up(stream, pair, answer.batch);
        /* Rare: nothing goes on beside it, and the lane's next batch stays where it is. */
        side_worker_wait(stream->send.worker);
        uint64_t size = HEAD_SIZE + stream->batch_size;
        struct job job = {stream, pair, answer.batch, memory_zeroed(size, 1), pair->source};
        if (!job.message)
            return refuse(stream->reason, STATUS_NO_MEMORY, "no memory to send a batch again");
        pack_batch(&job);
        enum status status = send_message(stream, &job, 1);
        memory_free(job.message);
        if (status != STATUS_OK)
            return status;
    }
}

/* ---- the receiver ---- */

static enum status receive_message(struct stream *stream, const struct job *job)
{
    struct collective *collective = stream->options->collective;
    uint64_t size = job->pair->batches->batches[job->batch].size;
    if (collective->ops->receive(collective, job->message, HEAD_SIZE + size, job->sender) !=
        STATUS_OK)
        return lost(stream, job->sender);
    stream->counters.bytes_received += HEAD_SIZE + size;
    stream->counters.batches_received++;
    struct batch_head head;
    memcpy(&head, job->message, sizeof(head));
    if (head.magic != HEAD_MAGIC || head.batch != job->batch || head.size != size)
        return refuse(stream->reason, STATUS_MALFORMED, "rank %" PRIu32 " sends other weights than"
                      " the plan says", job->sender);
    return STATUS_OK;
}

/* Receives the next batch while the one before is being checked. */
static enum status receive_next(struct stream *stream, struct pair *pair)
{
    struct lane *lane = &stream->receive;
    struct job *job = lane_job(stream, lane, pair, pair->next);
    enum status status = receive_message(stream, job);
    side_worker_wait(lane->worker);
    if (status != STATUS_OK)
        return status;
    side_worker_start(lane->worker, check_job, job);
    progress(stream, pair->batches->batches[pair->next].size);
    pair->next++;
    return STATUS_OK;
}

static enum status answer_layer(struct stream *stream, const struct pair *pair,
                                enum answer_word word, size_t batch)
{
    struct collective *collective = stream->options->collective;
    struct layer_answer answer = {ANSWER_MAGIC, word,
                                  pair->batches->batches[pair->settle_first].layer,
                                  (uint32_t)batch};
    if (collective->ops->send(collective, &answer, sizeof(answer), pair->source) != STATUS_OK)
        return lost(stream, pair->source);
    stream->counters.bytes_sent += sizeof(answer);
    return STATUS_OK;
}

static enum status settle_as_receiver(struct stream *stream, struct pair *pair)
{
    struct lane *lane = &stream->receive;
    const struct job *at_work = &lane->jobs[(lane->count - 1) % 2];
    if (at_work->pair == pair && at_work->batch < pair->settle_end)
        side_worker_wait(lane->worker);
    for (size_t batch = pair->settle_first; batch < pair->settle_end; batch++) {
        if (!pair->damaged[batch])
            continue;
        enum status status = answer_layer(stream, pair, ANSWER_AGAIN, batch);
        if (status != STATUS_OK)
            return status;
        side_worker_wait(lane->worker);
        struct job job = {stream, pair, batch, lane->messages[0], pair->source};
        status = receive_message(stream, &job);
        if (status != STATUS_OK)
            return status;
        stream->counters.batches_repeated++;
        check_batch(&job);
        /* With another holder the load goes on, and that one is asked at its end. */
        if (!pair->damaged[batch] || stream->holder_count > 1)
            continue;
        status = answer_layer(stream, pair, ANSWER_GAVE_UP, batch);
        return status == STATUS_OK ? gave_up(stream, pair, batch) : status;
    }
    return answer_layer(stream, pair, ANSWER_WHOLE, 0);
}

/* ---- both ---- */

static enum status settle(struct stream *stream, struct pair *pair)
{
    if (pair->settle_first == pair->settle_end)
        return STATUS_OK;
    bool is_source = pair->source == stream->options->collective->rank;
    return is_source ? settle_as_source(stream, pair) : settle_as_receiver(stream, pair);
}

/* The batches of one layer of one pair, then the answer for the layer before. */
static enum status move_layer(struct stream *stream, struct pair *pair, uint32_t step)
{
    const struct weight_batches *list = pair->batches;
    bool is_source = pair->source == stream->options->collective->rank;
    size_t first = pair->next;
    while (pair->next < list->batch_count && list->batches[pair->next].step == step) {
        enum status status =
            is_source ? send_next(stream, pair) : receive_next(stream, pair);
        if (status != STATUS_OK)
            return status;
    }
    if (pair->next == first)
        return STATUS_OK;
    enum status status = settle(stream, pair);
    pair->settle_first = first;
    pair->settle_end = pair->next;
    return status;
}

/* Every rank goes through (step, pair) in one order, so that no two wait for each other. */
static enum status move_all(struct stream *stream)
{
    for (uint32_t step = 0; step < stream->step_end; step++) {
        for (size_t i = 0; i < stream->pair_count; i++) {
            enum status status = move_layer(stream, &stream->pairs[i], step);
            if (status != STATUS_OK)
                return status;
        }
    }
    for (size_t i = 0; i < stream->pair_count; i++) {
        enum status status = settle(stream, &stream->pairs[i]);
        if (status != STATUS_OK)
            return status;
        ASSERT(stream->pairs[i].next == stream->pairs[i].batches->batch_count);
    }
    return STATUS_OK;
}

/* ---- what one source could not give, from the others ---- */

/* The holder that is asked in this round for what `source` sent damaged. */
static uint32_t holder_asked(const struct stream *stream, uint32_t source, uint32_t round)
{
    uint32_t at = 0;
    while (stream->holders[at] != source)
        at++;
    return stream->holders[(at + round) % stream->holder_count];
}

static size_t owed_by(const struct stream *stream, uint32_t holder, uint32_t round)
{
    const uint32_t own = stream->options->collective->rank;
    size_t count = 0;
    for (size_t i = 0; i < stream->pair_count; i++) {
        const struct pair *pair = &stream->pairs[i];
        if (pair->receiver != own || holder_asked(stream, pair->source, round) != holder)
            continue;
        for (size_t batch = 0; batch < pair->batches->batch_count; batch++)
            count += pair->damaged[batch];
    }
    return count;
}

static enum status want(struct stream *stream, uint32_t holder, uint32_t source, uint64_t batch)
{
    struct collective *collective = stream->options->collective;
    const struct batch_wanted wanted = {WANT_MAGIC, source, batch};
    if (collective->ops->send(collective, &wanted, sizeof(wanted), holder) != STATUS_OK)
        return lost(stream, holder);
    stream->counters.bytes_sent += sizeof(wanted);
    return STATUS_OK;
}

/* Batch by batch: asked, sent, checked. */
static enum status repair_as_receiver(struct stream *stream, uint32_t holder, uint32_t round)
{
    const uint32_t own = stream->options->collective->rank;
    enum status status = want(stream, holder, own, owed_by(stream, holder, round));
    for (size_t i = 0; i < stream->pair_count && status == STATUS_OK; i++) {
        struct pair *pair = &stream->pairs[i];
        if (pair->receiver != own || holder_asked(stream, pair->source, round) != holder)
            continue;
        for (size_t batch = 0; batch < pair->batches->batch_count; batch++) {
            if (!pair->damaged[batch])
                continue;
            side_worker_wait(stream->receive.worker);
            struct job job = {stream, pair, batch, stream->receive.messages[0], holder};
            status = want(stream, holder, pair->source, batch);
            if (status == STATUS_OK)
                status = receive_message(stream, &job);
            if (status != STATUS_OK)
                return status;
            stream->counters.batches_repeated++;
            check_batch(&job);
            progress(stream, 0);
        }
    }
    return status;
}

static enum status receive_want(struct stream *stream, uint32_t receiver,
                                struct batch_wanted *wanted_out)
{
    struct collective *collective = stream->options->collective;
    if (collective->ops->receive(collective, wanted_out, sizeof(*wanted_out), receiver) !=
        STATUS_OK)
        return lost(stream, receiver);
    stream->counters.bytes_received += sizeof(*wanted_out);
    if (wanted_out->magic == WANT_MAGIC)
        return STATUS_OK;
    return refuse(stream->reason, STATUS_MALFORMED, "rank %" PRIu32 " does not follow the"
                  " order in which weights are sent", receiver);
}

/* Packs as the other source would have, and sends. */
static enum status send_for(struct stream *stream, struct pair *pair, size_t batch, uint32_t round)
{
    const uint64_t size = HEAD_SIZE + stream->batch_size;
    struct job job = {stream, pair, batch, memory_zeroed(size, 1),
                      stream->options->collective->rank};
    if (!job.message)
        return refuse(stream->reason, STATUS_NO_MEMORY, "no memory to send a batch again");
    pack_batch(&job);
    enum status status = send_message(stream, &job, 1 + (int)round);
    if (status == STATUS_OK) {
        drop_sent(stream, pair, batch);
        progress(stream, 0);
    }
    memory_free(job.message);
    return status;
}

static enum status repair_as_source(struct stream *stream, uint32_t receiver, uint32_t round)
{
    const uint32_t own = stream->options->collective->rank;
    struct batch_wanted wanted;
    struct pair pair = {.source = own, .receiver = receiver,
                        .plan = stream->options->plans[receiver]};
    enum status status = receive_want(stream, receiver, &wanted);
    for (uint64_t left = wanted.batch; left > 0 && status == STATUS_OK; left--) {
        status = receive_want(stream, receiver, &wanted);
        if (status != STATUS_OK)
            break;
        if (!pair.batches || wanted.source != pair.source) {
            weight_batches_free(pair.batches);
            pair.batches = NULL;
            pair.source = wanted.source;
            status = weight_batches_make(pair.plan, stream->options->file_sources, pair.source,
                                         stream->batch_size, &pair.batches);
            if (status != STATUS_OK)
                status = refuse(stream->reason, status, "no memory to send a batch again");
        }
        if (status == STATUS_OK && wanted.batch >= pair.batches->batch_count)
            status = refuse(stream->reason, STATUS_MALFORMED, "rank %" PRIu32 " asks for weights"
                            " that nobody sends it", receiver);
        if (status == STATUS_OK)
            status = send_for(stream, &pair, (size_t)wanted.batch, round);
    }
    weight_batches_free(pair.batches);
    return status;
}

/* In round n every receiver asks, for what a source sent damaged, the n-th holder after it; in one
 * order over all ranks.  Without damage a round is one small message for each pair. */
static enum status repair_all(struct stream *stream)
{
    const struct weight_stream_options *options = stream->options;
    const uint32_t own = options->collective->rank;
    for (uint32_t round = 1; round < stream->holder_count; round++) {
        for (uint32_t i = 0; i < options->collective->size * stream->holder_count; i++) {
            const uint32_t receiver = i / stream->holder_count;
            const uint32_t holder = stream->holders[i % stream->holder_count];
            enum status status = STATUS_OK;
            if (options->has_files[receiver])
                continue;
            if (receiver == own)
                status = repair_as_receiver(stream, holder, round);
            else if (holder == own)
                status = repair_as_source(stream, receiver, round);
            if (status != STATUS_OK)
                return status;
        }
    }
    for (size_t i = 0; i < stream->pair_count; i++)
        for (size_t batch = 0; batch < stream->pairs[i].batches->batch_count; batch++)
            if (stream->pairs[i].receiver == own && stream->pairs[i].damaged[batch])
                return gave_up(stream, &stream->pairs[i], batch);
    return STATUS_OK;
}

static enum status pair_add(struct stream *stream, uint32_t source, uint32_t receiver)
{
    const struct weight_stream_options *options = stream->options;
    struct pair *pair = &stream->pairs[stream->pair_count];
    *pair = (struct pair){.source = source, .receiver = receiver,
                          .plan = options->plans[receiver]};
    enum status status = weight_batches_make(pair->plan, options->file_sources, source,
                                             stream->batch_size, &pair->batches);
    if (status != STATUS_OK)
        return refuse(stream->reason, status, "no memory for the list of weights to be sent");
    stream->pair_count++;
    pair->damaged = memory_zeroed(pair->batches->batch_count, sizeof(*pair->damaged));
    if (!pair->damaged)
        return refuse(stream->reason, STATUS_NO_MEMORY,
                      "no memory for the list of weights to be sent");
    const size_t count = pair->batches->batch_count;
    if (count > 0 && pair->batches->batches[count - 1].step >= stream->step_end)
        stream->step_end = pair->batches->batches[count - 1].step + 1;
    stream->bytes_total += pair->batches->bytes;
    return STATUS_OK;
}

/* Sources side by side: while the first serves the first receiver, the second serves the second. */
static enum status pairs_make(struct stream *stream)
{
    const struct weight_stream_options *options = stream->options;
    uint32_t size = options->collective->size;
    uint32_t own = options->collective->rank;
    uint32_t receivers[RANK_COUNT_MAX];
    uint32_t receiver_count = 0;
    for (uint32_t rank = 0; rank < size; rank++) {
        if (options->has_files[rank])
            stream->holders[stream->holder_count++] = rank;
        else
            receivers[receiver_count++] = rank;
    }
    stream->pairs = memory_zeroed(size, sizeof(*stream->pairs));
    if (!stream->pairs)
        return refuse(stream->reason, STATUS_NO_MEMORY,
                      "no memory for the list of weights to be sent");
    for (uint32_t shift = 0; shift < receiver_count; shift++) {
        for (uint32_t i = 0; i < stream->holder_count; i++) {
            const uint32_t source = stream->holders[i];
            const uint32_t receiver = receivers[(i + shift) % receiver_count];
            if (source != own && receiver != own)
                continue;
            enum status status = pair_add(stream, source, receiver);
            if (status != STATUS_OK)
                return status;
        }
    }
    return STATUS_OK;
}

static enum status lane_open(struct stream *stream, struct lane *lane)
{
    for (size_t i = 0; i < 2; i++) {
        lane->messages[i] = memory_zeroed(HEAD_SIZE + stream->batch_size, 1);
        if (!lane->messages[i])
            return refuse(stream->reason, STATUS_NO_MEMORY, "no memory for weights on their way");
    }
    return side_worker_open(&lane->worker, stream->reason);
}

static void lane_close(struct lane *lane)
{
    side_worker_close(lane->worker);
    memory_free(lane->messages[0]);
    memory_free(lane->messages[1]);
}

static enum status stream_open(struct stream *stream)
{
    uint32_t own = stream->options->collective->rank;
    enum status status = crypto_mac_open(&stream->mac, stream->reason);
    if (status == STATUS_OK)
        status = pairs_make(stream);
    bool sends = false;
    bool receives = false;
    for (size_t i = 0; i < stream->pair_count && status == STATUS_OK; i++) {
        sends = sends || stream->pairs[i].source == own;
        receives = receives || stream->pairs[i].receiver == own;
    }
    if (status == STATUS_OK && sends)
        status = lane_open(stream, &stream->send);
    if (status == STATUS_OK && receives)
        status = lane_open(stream, &stream->receive);
    return status;
}

static void stream_close(struct stream *stream)
{
    lane_close(&stream->send);
    lane_close(&stream->receive);
    for (size_t i = 0; i < stream->pair_count; i++) {
        weight_batches_free(stream->pairs[i].batches);
        memory_free(stream->pairs[i].damaged);
    }
    memory_free(stream->pairs);
    crypto_mac_close(stream->mac);
}

enum status weight_stream_run(const struct weight_stream_options *options,
                              struct weight_stream_counters *counters_out, struct reason *reason)
{
    struct stream stream = {
        .options = options,
        .reason = reason,
        .batch_size = options->batch_size ? options->batch_size : WEIGHT_BATCH_SIZE,
    };
    enum status status = stream_open(&stream);
    if (status == STATUS_OK)
        status = move_all(&stream);
    if (status == STATUS_OK)
        status = repair_all(&stream);
    stream_close(&stream);
    uint32_t own = options->collective->rank;
    if (status == STATUS_OK && !options->has_files[own])
        for (size_t i = 0; i < options->plans[own]->slice_count; i++)
            shard_received(options->shard, i);
    *counters_out = stream.counters;
    return status;
}
