/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/text_stream.h"

#include "protocol/memory.h"
#include "protocol/utf8.h"

#include <string.h>

struct stop {
    char *text;
    size_t size;
    /* fallback[n]: how much of the string still matches after n bytes did and the next did not. */
    uint16_t *fallback;
    size_t matched; /* bytes of it that the text ends with */
};

/* text = given out and not taken | held back for a stop string;  tail = unfinished character. */
struct text_stream {
    char *text;
    size_t length;
    size_t capacity;
    size_t free_length; /* of `length`, what may be handed out */
    unsigned char tail[4];
    size_t tail_size;
    struct stop stops[STOP_STRINGS_MAX];
    size_t stop_count;
    int stopped;
    int keeps_nul;
};

static enum status stop_open(struct stop *stop, const struct stop_string *from)
{
    stop->text = memory_text(from->text, from->size);
    stop->fallback = memory_zeroed(from->size + 1, sizeof(*stop->fallback));
    if (!stop->text || !stop->fallback)
        return STATUS_NO_MEMORY;
    stop->size = from->size;
    size_t matched = 0;
    for (size_t at = 1; at < stop->size; at++) {
        while (matched > 0 && stop->text[matched] != stop->text[at])
            matched = stop->fallback[matched];
        if (stop->text[matched] == stop->text[at])
            matched++;
        stop->fallback[at + 1] = (uint16_t)matched;
    }
    return STATUS_OK;
}

enum status text_stream_open(const struct stop_string *stops, size_t stop_count,
                             struct text_stream **stream_out, struct reason *reason)
{
    if (stop_count > STOP_STRINGS_MAX)
        return refuse(reason, STATUS_INVALID, "stop has %zu strings; at most %d are allowed",
                      stop_count, STOP_STRINGS_MAX);
    for (size_t at = 0; at < stop_count; at++) {
        if (stops[at].size == 0 || stops[at].size > STOP_STRING_SIZE_MAX)
            return refuse(reason, STATUS_INVALID,
                          "stop string %zu has %zu bytes; 1 to %d are allowed", at,
                          stops[at].size, STOP_STRING_SIZE_MAX);
    }
    struct text_stream *stream = memory_zeroed(1, sizeof(*stream));
    if (!stream)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for the text of an answer");
    stream->stopped = -1;
    for (size_t at = 0; at < stop_count; at++) {
        stream->stop_count = at + 1;
        if (stop_open(&stream->stops[at], &stops[at]) != STATUS_OK) {
            text_stream_close(stream);
            return refuse(reason, STATUS_NO_MEMORY, "no memory for the stop strings");
        }
    }
    *stream_out = stream;
    return STATUS_OK;
}

void text_stream_close(struct text_stream *stream)
{
    if (!stream)
        return;
    for (size_t at = 0; at < stream->stop_count; at++) {
        memory_free(stream->stops[at].text);
        memory_free(stream->stops[at].fallback);
    }
    memory_free(stream->text);
    memory_free(stream);
}

static enum status text_grow(struct text_stream *stream, size_t size)
{
    size_t needed = stream->length + size;
    if (needed <= stream->capacity)
        return STATUS_OK;
    size_t capacity = stream->capacity == 0 ? 256 : stream->capacity;
    while (capacity < needed)
        capacity *= 2;
    char *text = memory_resized(stream->text, capacity, 1);
    if (!text)
        return STATUS_NO_MEMORY;
    stream->text = text;
    stream->capacity = capacity;
    return STATUS_OK;
}

/* Advances every stop string by one byte; true when one is complete.  Of several that end here
 * the longest counts: it began first. */
static int stops_advance(struct text_stream *stream, char byte)
{
    size_t longest = 0;
    for (size_t at = 0; at < stream->stop_count; at++) {
        struct stop *stop = &stream->stops[at];
        while (stop->matched > 0 && stop->text[stop->matched] != byte)
            stop->matched = stop->fallback[stop->matched];
        if (stop->text[stop->matched] == byte)
            stop->matched++;
        if (stop->matched == stop->size && stop->size > longest) {
            longest = stop->size;
            stream->stopped = (int)at;
        }
    }
    if (longest == 0)
        return 0;
    stream->length -= longest;
    stream->free_length = stream->length;
    return 1;
}

/* One whole character. */
static enum status character_add(struct text_stream *stream, const char *bytes, size_t size)
{
    enum status status = text_grow(stream, size);
    if (status != STATUS_OK)
        return status;
    for (size_t at = 0; at < size; at++) {
        stream->text[stream->length++] = bytes[at];
        if (stops_advance(stream, bytes[at]))
            return STATUS_OK;
    }
    size_t held = 0;
    for (size_t at = 0; at < stream->stop_count; at++) {
        if (stream->stops[at].matched > held)
            held = stream->stops[at].matched;
    }
    /* A partial match may begin inside a character only if the stop string is no text; then the
     * whole character waits. */
    size_t given = stream->length - held;
    while (given > stream->free_length && given < stream->length &&
           ((unsigned char)stream->text[given] & 0xc0) == 0x80)
        given--;
    if (given > stream->free_length)
        stream->free_length = given;
    return STATUS_OK;
}

static enum status replacement_add(struct text_stream *stream)
{
    return character_add(stream, "\xef\xbf\xbd", 3);
}

void text_stream_keep_nul(struct text_stream *stream)
{
    stream->keeps_nul = 1;
}

enum status text_stream_push(struct text_stream *stream, const char *bytes, size_t size)
{
    enum status status = STATUS_OK;
    for (size_t at = 0; at < size && status == STATUS_OK && stream->stopped < 0;) {
        stream->tail[stream->tail_size++] = (unsigned char)bytes[at];
        int step = utf8_step(stream->tail, stream->tail_size);
        if (step == 0) {
            at++;
            continue;
        }
        size_t had = stream->tail_size;
        stream->tail_size = 0;
        int is_refused = step == 1 && bytes[at] == '\0' && !stream->keeps_nul;
        if (is_refused) { /* texts end at one: it cannot be in any */
            status = replacement_add(stream);
            at++;
            continue;
        }
        if (step > 0) {
            status = character_add(stream, (const char *)stream->tail, (size_t)step);
            at++;
            continue;
        }
        /* The bytes before this one can never be a character; this one may begin the next. */
        status = replacement_add(stream);
        if ((size_t)-step == had)
            at++;
    }
    return status;
}

enum status text_stream_finish(struct text_stream *stream)
{
    enum status status = STATUS_OK;
    if (stream->tail_size > 0 && stream->stopped < 0) {
        stream->tail_size = 0;
        status = replacement_add(stream);
    }
    if (status == STATUS_OK) {
        stream->free_length = stream->length;
        for (size_t at = 0; at < stream->stop_count; at++)
            stream->stops[at].matched = 0;
    }
    return status;
}

const char *text_stream_text(const struct text_stream *stream, size_t *length_out)
{
    *length_out = stream->free_length;
    return stream->text ? stream->text : "";
}

void text_stream_take(struct text_stream *stream)
{
    size_t held = stream->length - stream->free_length;
    if (held > 0)
        memmove(stream->text, stream->text + stream->free_length, held);
    stream->length = held;
    stream->free_length = 0;
}

int text_stream_stopped(const struct text_stream *stream)
{
    return stream->stopped;
}
