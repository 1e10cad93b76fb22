/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/weight_stream.h"

#include "actors/runner/weight_parts.h"
#include "protocol/memory.h"
#include "runtime/clock.h"

#include <inttypes.h>
#include <sched.h>
#include <string.h>
#include <time.h>

/* Nothing to do: long enough to leave the core to others, short enough that no buffer runs full. */
static const long pause_ns = 30000;
/* A receiver only lets others go first for so long after something came: to be woken takes longer
 * than the pause, and what a fast link brings meanwhile is read late. */
static const uint64_t awake_us = 2000;
/* While weights are sent, words are looked for in every so many turns. */
enum { TURNS_OF_WORDS = 4, WORDS_AT_ONCE = 16 };
/* How long words of a failure may take to the others. */
static const uint64_t farewell_ms = 500;
/* How long a worker may take to end its batch: it is told of no failure before. */
static const uint64_t worker_end_ms = 150;

/* ---- for both directions ---- */

/* The key is of this load, the label of this message: a batch in another's place is damaged. */
bool stream_check_make(const struct stream *stream, const struct batch_name *name,
                       const uint8_t *bytes, uint64_t size, struct mac *check_out)
{
    return crypto_mac_of(stream->mac, name, sizeof(*name), bytes, size, check_out);
}

enum status stream_lost(struct stream *stream, uint32_t rank)
{
    return refuse(stream->reason, STATUS_IO, "rank %" PRIu32 " was lost while weights were on"
                  " their way", rank);
}

static size_t holders_of(const struct stream *stream, uint32_t file)
{
    size_t count = 0;
    for (uint32_t rank = 0; rank < stream->size; rank++)
        count += stream->options->spread.holders[file] >> rank & 1;
    return count;
}

enum status stream_gave_up(struct stream *stream, uint32_t source, uint32_t receiver,
                           uint64_t batch)
{
    const struct shard_plan *plan = stream->options->plans[receiver];
    struct weight_batches *list = NULL;
    enum status status = weight_batches_make(plan, &stream->options->spread, receiver, source,
                                             stream->batch_size, &list);
    if (status != STATUS_OK || batch >= list->batch_count) {
        weight_batches_free(list);
        return refuse(stream->reason, STATUS_HASH_MISMATCH, "weights came damaged to rank %" PRIu32
                      " from every rank that holds them", receiver);
    }
    const struct weight_piece *piece = &list->pieces[list->batches[batch].piece_first];
    const struct tensor *tensor = plan->slices[piece->slice].tensor;
    weight_batches_free(list);
    if (holders_of(stream, tensor->file) > 1)
        return refuse(stream->reason, STATUS_HASH_MISMATCH,
                      "the bytes of tensor %.200s came damaged twice from rank %" PRIu32
                      " and from every other rank that holds them to rank %" PRIu32
                      "; check the network and the memory of that machine",
                      tensor->name, source, receiver);
    return refuse(stream->reason, STATUS_HASH_MISMATCH,
                  "the bytes of tensor %.200s came damaged twice from rank %" PRIu32 " to rank %"
                  PRIu32 "; check the network and the memory of both machines", tensor->name,
                  source, receiver);
}

void stream_progress(struct stream *stream, uint64_t size)
{
    const struct weight_stream_options *options = stream->options;
    stream->has_moved = true;
    stream->bytes_have += size;
    if (options->progressed)
        options->progressed(options->context, stream->bytes_have, stream->bytes_total);
}

void stream_sign(struct stream *stream, uint32_t rank)
{
    stream->signs_ms[rank] = weight_pace_time(&stream->pace);
}

enum status stream_look(struct stream *stream, uint32_t rank, const uint32_t posts[2],
                        bool are_through[2])
{
    struct collective *collective = stream->options->collective;
    for (size_t i = 0; i < 2; i++) {
        if (are_through[i])
            continue;
        if (collective->ops->post_look(collective, posts[i], &are_through[i]) != STATUS_OK)
            return stream_lost(stream, rank);
        stream->has_moved = stream->has_moved || are_through[i];
        if (!are_through[i])
            return STATUS_OK;
        stream_sign(stream, rank);
    }
    return STATUS_OK;
}

/* ---- words ---- */

bool stream_has_room(const struct stream *stream, size_t words)
{
    size_t free_count = 0;
    for (size_t i = 0; i < WORDS_MAX; i++)
        free_count += !stream->words[i].is_used;
    return free_count >= words;
}

enum status stream_tell(struct stream *stream, uint32_t rank, const struct stream_word *word)
{
    struct collective *collective = stream->options->collective;
    size_t at = 0;
    while (at < WORDS_MAX && stream->words[at].is_used)
        at++;
    ASSERT(at < WORDS_MAX);
    stream->words[at] = (struct posted_word){.word = *word, .rank = rank, .is_used = true};
    stream->has_moved = true;
    stream->counters.bytes_sent += sizeof(*word);
    return collective->ops->post_send(collective, CHANNEL_WORDS, &stream->words[at].word,
                                      sizeof(*word), rank, &stream->words[at].post) == STATUS_OK
               ? STATUS_OK
               : stream_lost(stream, rank);
}

enum status stream_tell_sources(struct stream *stream, const struct stream_word *word)
{
    enum status status = STATUS_OK;
    for (uint32_t rank = 0; rank < stream->size && status == STATUS_OK; rank++)
        if (stream->serves[rank] && rank != stream->own)
            status = stream_tell(stream, rank, word);
    return status;
}

static enum status words_look(struct stream *stream)
{
    struct collective *collective = stream->options->collective;
    for (size_t i = 0; i < WORDS_MAX; i++) {
        struct posted_word *posted = &stream->words[i];
        bool is_through = false;
        if (!posted->is_used)
            continue;
        if (collective->ops->post_look(collective, posted->post, &is_through) != STATUS_OK)
            return stream_lost(stream, posted->rank);
        posted->is_used = !is_through;
        stream->has_moved = stream->has_moved || is_through;
    }
    return STATUS_OK;
}

static enum status listen_to(struct stream *stream, uint32_t rank)
{
    struct collective *collective = stream->options->collective;
    stream->is_listening[rank] = true;
    return collective->ops->post_receive(collective, CHANNEL_WORDS, &stream->heard[rank],
                                         sizeof(stream->heard[rank]), rank,
                                         &stream->heard_posts[rank]) == STATUS_OK
               ? STATUS_OK
               : stream_lost(stream, rank);
}

static enum status hear(struct stream *stream, uint32_t rank)
{
    const struct stream_word word = stream->heard[rank];
    stream->counters.bytes_received += sizeof(word);
    stream->is_listening[rank] = false;
    stream_sign(stream, rank);
    if (word.magic != WORD_MAGIC || word.kind > WORD_END || word.source >= stream->size)
        return refuse(stream->reason, STATUS_MALFORMED, "rank %" PRIu32 " does not follow the"
                      " order in which weights are sent", rank);
    if (word.kind == WORD_END)
        return STATUS_OK;
    if (word.kind == WORD_GAVE_UP)
        return stream_gave_up(stream, word.source, rank, word.batch);
    enum status status = listen_to(stream, rank);
    if (status == STATUS_OK && word.kind == WORD_AGAIN)
        status = send_again(stream, rank, &word);
    return status;
}

/* What came of one rank; words of many layers may lie there after a turn of much sending. */
static enum status words_hear_of(struct stream *stream, uint32_t rank)
{
    struct collective *collective = stream->options->collective;
    enum status status = STATUS_OK;
    for (size_t i = 0; i < WORDS_AT_ONCE && status == STATUS_OK && stream->is_listening[rank];
         i++) {
        bool is_here = false;
        if (collective->ops->post_look(collective, stream->heard_posts[rank], &is_here) !=
            STATUS_OK)
            return stream_lost(stream, rank);
        if (!is_here)
            return STATUS_OK;
        stream->has_moved = true;
        status = hear(stream, rank);
    }
    return status;
}

static enum status words_hear(struct stream *stream)
{
    enum status status = STATUS_OK;
    for (uint32_t rank = 0; rank < stream->size && status == STATUS_OK; rank++)
        status = words_hear_of(stream, rank);
    return status;
}

/* ---- leases ---- */

static enum status tell_alive(struct stream *stream)
{
    const struct stream_word word = {.magic = WORD_MAGIC, .kind = WORD_ALIVE};
    const uint64_t now_ms = weight_pace_time(&stream->pace);
    if (receive_is_done(stream) || now_ms - stream->told_alive_ms < PACE_ALIVE_MS ||
        !stream_has_room(stream, stream->size))
        return STATUS_OK;
    stream->told_alive_ms = now_ms;
    return stream_tell_sources(stream, &word);
}

static enum status check_leases(struct stream *stream)
{
    const bool holds =
        weight_pace_holds(&stream->pace, stream->bytes_through, clock_now_ms());
    const uint64_t now_ms = weight_pace_time(&stream->pace);
    for (uint32_t rank = 0; rank < stream->size; rank++)
        if (stream->is_listening[rank] && now_ms - stream->signs_ms[rank] >= PACE_SILENT_MS)
            return refuse(stream->reason, STATUS_TIMED_OUT,
                          "rank %" PRIu32 " was silent for %u s while weights were on their way to"
                          " it; the network of MPI between the nodes may be cut", rank,
                          PACE_SILENT_MS / 1000);
    if (!holds && !send_is_done(stream))
        return send_is_slow(stream);
    return tell_alive(stream);
}

/* ---- the round ---- */

static bool is_done(const struct stream *stream)
{
    for (size_t i = 0; i < WORDS_MAX; i++)
        if (stream->words[i].is_used)
            return false;
    for (uint32_t rank = 0; rank < stream->size; rank++)
        if (stream->is_listening[rank])
            return false;
    return send_is_done(stream) && receive_is_done(stream);
}

static void pause_shortly(void)
{
    const struct timespec pause = {.tv_nsec = pause_ns};
    (void)nanosleep(&pause, NULL);
}

static void turn_end(struct stream *stream)
{
    const uint64_t now_us = clock_now_us();
    if (stream->has_moved)
        stream->moved_us = now_us;
    else if (!receive_is_done(stream) && now_us - stream->moved_us < awake_us)
        (void)sched_yield();
    else
        pause_shortly();
}

static enum status go_round(struct stream *stream)
{
    enum status status = STATUS_OK;
    for (uint32_t rank = 0; rank < stream->size && status == STATUS_OK; rank++)
        if (stream->serves[stream->own] && stream->receives[rank] && rank != stream->own)
            status = listen_to(stream, rank);
    while (status == STATUS_OK && !is_done(stream)) {
        stream->has_moved = false;
        status = receive_turn(stream);
        if (status == STATUS_OK)
            status = send_turn(stream);
        const bool is_for_words = stream->turn % TURNS_OF_WORDS == 0 || send_is_done(stream);
        if (status == STATUS_OK && is_for_words)
            status = words_hear(stream);
        if (status == STATUS_OK && is_for_words)
            status = words_look(stream);
        if (status == STATUS_OK)
            status = check_leases(stream);
        stream->turn++;
        if (stream->options->reading)
            stream->options->reading->turns++;
        turn_end(stream);
    }
    return status;
}

/* What was said of a failure may still be on its way. */
static void say_farewell(struct stream *stream)
{
    struct reason why = *stream->reason;
    const uint64_t end_ms = clock_now_ms() + farewell_ms;
    while (words_look(stream) == STATUS_OK && clock_now_ms() < end_ms) {
        bool is_through = true;
        for (size_t i = 0; i < WORDS_MAX; i++)
            is_through = is_through && !stream->words[i].is_used;
        if (is_through)
            break;
        pause_shortly();
    }
    *stream->reason = why;
}

/* Of a failed load; false when a thread is stuck, which uses all of this till the process ends: to
 * wait for it would hold up the word of the failure. */
static bool workers_end(struct stream *stream)
{
    stream->is_over = true;
    if (!side_worker_end(stream->packer, worker_end_ms))
        return false;
    stream->packer = NULL;
    if (!side_worker_end(stream->checker, worker_end_ms))
        return false;
    stream->checker = NULL;
    return true;
}

static uint64_t batch_size_of(const struct weight_stream_options *options)
{
    if (options->batch_size)
        return options->batch_size;
    const uint64_t window = options->window ? options->window : WEIGHT_WINDOW_SIZE;
    const uint64_t size = window / WEIGHT_WINDOW_BATCHES / 64 * 64;
    if (size < WEIGHT_BATCH_SIZE_MIN)
        return WEIGHT_BATCH_SIZE_MIN;
    return size < WEIGHT_BATCH_SIZE ? size : WEIGHT_BATCH_SIZE;
}

/* All ranks come to the same from the plans and the placement. */
static void find_parts(struct stream *stream)
{
    const struct weight_stream_options *options = stream->options;
    for (uint32_t rank = 0; rank < stream->size; rank++) {
        const struct shard_plan *plan = options->plans[rank];
        for (size_t i = 0; i < plan->slice_count; i++)
            if ((options->spread.holders[plan->slices[i].tensor->file] >> rank & 1) == 0)
                stream->receives[rank] = true;
        for (size_t i = 0; i < options->file_count; i++)
            stream->serves[rank] =
                stream->serves[rank] || (options->spread.holders[i] >> rank & 1) != 0;
    }
}

static void mark_received(const struct stream *stream)
{
    const struct shard_plan *plan = stream->options->plans[stream->own];
    for (size_t i = 0; i < plan->slice_count; i++)
        if ((stream->options->spread.holders[plan->slices[i].tensor->file] >> stream->own & 1) == 0)
            shard_received(stream->options->shard, i);
}

enum status weight_stream_run(const struct weight_stream_options *options,
                              struct weight_stream_counters *counters_out, struct reason *reason)
{
    struct stream *stream = memory_zeroed(1, sizeof(*stream));
    if (!stream)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for weights on their way");
    stream->options = options;
    stream->reason = reason;
    stream->own = options->collective->rank;
    stream->size = options->collective->size;
    stream->batch_size = batch_size_of(options);
    find_parts(stream);
    enum status status = crypto_mac_open(&options->key, &stream->mac, reason);
    if (status == STATUS_OK)
        status = send_open(stream);
    if (status == STATUS_OK)
        status = receive_open(stream);
    if (status == STATUS_OK) {
        const uint64_t start_us = clock_now_us();
        weight_pace_begin(&stream->pace, options->rate_min, stream->batch_size, clock_now_ms());
        if (options->reading)
            options->reading->is_turning = true;
        status = go_round(stream);
        if (options->reading)
            options->reading->is_turning = false;
        stream->counters.stream_us = clock_now_us() - start_us;
        if (status == STATUS_OK)
            mark_received(stream);
        else
            say_farewell(stream);
    }
    if (status != STATUS_OK)
        options->collective->ops->post_drop(options->collective);
    if (status != STATUS_OK && !workers_end(stream)) {
        *counters_out = stream->counters;
        counters_out->is_stuck = true;
        return status;
    }
    send_close(stream);
    receive_close(stream);
    crypto_mac_close(stream->mac);
    *counters_out = stream->counters;
    memory_free(stream);
    return status;
}
