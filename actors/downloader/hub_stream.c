/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/downloader/hub_stream.h"

#include "actors/downloader/hub_retry.h"
#include "runtime/clock.h"

#include <stdio.h>
#include <string.h>

#define FRESH_SIZE ((uint64_t)1 << 20) /* so much progress begins the count of tries anew */
#define CHANGES_MAX 3u

static void aim(struct hub_stream *stream)
{
    struct hub_source *source = stream->source;
    struct reason why;
    stream->hops = 0;
    if (source->has_location) {
        stream->url = source->location;
        return;
    }
    struct hub_session *session = stream->download->session;
    /* Repository, commit and path have been checked: this cannot fail but by its size. */
    stream->status =
        hub_url_of_file(&session->env->endpoint, session->repository, stream->download->commit,
                        source->file->path, &stream->url, &why);
}

static void read_from_start(struct hub_stream *stream)
{
    struct hub_source *source = stream->source;
    if (!stream->is_sequential)
        hub_incoming_give_back(&source->blob, stream->chunk);
    stream->is_sequential = true;
    source->has_no_ranges = true;
    source->sequential = stream;
    hub_cursor_set(&stream->cursor, &source->blob, 0);
    stream->end = source->file->size;
}

void hub_stream_begin(struct hub_stream *stream, struct hub_source *source, uint32_t chunk)
{
    stream->source = source;
    stream->chunk = chunk;
    stream->is_sequential = false;
    stream->rest_until_ms = 0;
    stream->tries = 0;
    stream->fresh_bytes = 0;
    hub_cursor_set(&stream->cursor, &source->blob, chunk);
    stream->end = stream->cursor.position + chunk_size_of(&source->blob.ledger, chunk);
    if (source->has_no_ranges)
        read_from_start(stream);
    aim(stream);
}

void hub_stream_leave(struct hub_stream *stream)
{
    struct hub_source *source = stream->source;
    if (stream->running) {
        hub_fetch_cancel(stream->download->session->fetch, stream->running);
        stream->download->session->hosts[stream->host].running--;
    }
    stream->running = NULL;
    /* An answer that has come meanwhile is nobody's any more. */
    stream->is_answered = false;
    stream->status = STATUS_OK;
    if (!source)
        return;
    if (source->sequential == stream)
        source->sequential = NULL;
    if (!stream->is_sequential && source->blob.is_open)
        hub_incoming_give_back(&source->blob, stream->chunk);
    stream->source = NULL;
}

/* ---- while an answer comes ---- */

static bool is_other_file(const struct hub_stream *stream, const struct hub_head *head)
{
    const struct hub_file *file = stream->source->file;
    const bool is_same_kind = etag_kind_of(head->etag) == etag_kind_of(file->etag);
    return (is_same_kind && strcmp(head->etag, file->etag) != 0) ||
           (head->has_linked_size && head->size != file->size);
}

/* The validator of one place must stay.  Machines of one CDN may each have their own: when it has
 * changed so often and the hub still names the same file, the hash of the whole alone decides. */
static bool validator_stays(struct hub_source *source, const struct hub_head *head)
{
    if (!head->validator[0] || source->changes >= CHANGES_MAX ||
        strcmp(source->validator, head->validator) == 0)
        return true;
    const bool is_first = !source->validator[0];
    (void)snprintf(source->validator, sizeof(source->validator), "%s", head->validator);
    if (is_first)
        return true;
    source->has_location = false;
    source->validator[0] = '\0';
    source->changes++;
    return false;
}

static enum hub_verdict judge_part(struct hub_stream *stream, const struct hub_head *head)
{
    const uint64_t size = stream->source->file->size;
    if (head->has_total && head->total != size)
        return HUB_VERDICT_CHANGED;
    if (!head->has_range || head->range_first != stream->cursor.position ||
        head->range_end > stream->end || stream->is_sequential)
        return HUB_VERDICT_BAD_RANGE;
    return HUB_VERDICT_BODY;
}

static enum hub_verdict judge_whole(struct hub_stream *stream, const struct hub_head *head)
{
    struct hub_source *source = stream->source;
    const uint64_t size = source->file->size;
    if (head->has_size && head->size != size)
        return HUB_VERDICT_CHANGED;
    if (stream->is_sequential || (stream->cursor.position == 0 && stream->end == size))
        return HUB_VERDICT_BODY;
    source->has_no_ranges = true;
    if (source->sequential)
        return HUB_VERDICT_YIELD;
    read_from_start(stream);
    return HUB_VERDICT_BODY;
}

static bool take_head(void *who, const struct hub_head *head)
{
    struct hub_stream *stream = who;
    const bool is_endpoint =
        hub_url_is_same_origin(&stream->url, &stream->download->session->env->endpoint);
    stream->download->session->hosts[stream->host].is_proven =
        hub_head_trouble(head) == HUB_TROUBLE_NONE;
    if (head->status >= 300 && head->status <= 399)
        stream->verdict =
            is_endpoint && is_other_file(stream, head) ? HUB_VERDICT_CHANGED : HUB_VERDICT_FOLLOW;
    else if (hub_head_trouble(head) != HUB_TROUBLE_NONE)
        stream->verdict = HUB_VERDICT_TROUBLE;
    else if (head->is_encoded)
        stream->verdict = HUB_VERDICT_ENCODED;
    else if (is_other_file(stream, head))
        stream->verdict = HUB_VERDICT_CHANGED;
    else if (!validator_stays(stream->source, head))
        stream->verdict = HUB_VERDICT_MOVED;
    else
        stream->verdict =
            head->status == 206 ? judge_part(stream, head) : judge_whole(stream, head);
    return stream->verdict == HUB_VERDICT_BODY || stream->verdict == HUB_VERDICT_FOLLOW ||
           stream->verdict == HUB_VERDICT_TROUBLE;
}

static bool take_body(void *who, const uint8_t *bytes, size_t size)
{
    struct hub_stream *stream = who;
    stream->download->counts.bytes_fetched += size;
    stream->fresh_bytes += size;
    const uint64_t room = stream->end - stream->cursor.position;
    const size_t taken = size < room ? size : (size_t)room;
    stream->status = hub_incoming_write(&stream->source->blob, &stream->cursor, bytes, taken,
                                        &stream->reason);
    if (stream->status == STATUS_OK && taken < size)
        stream->verdict = HUB_VERDICT_ENOUGH;
    return stream->status == STATUS_OK && taken == size;
}

static void take_end(void *who, enum status status, const struct hub_head *head,
                     const struct reason *reason)
{
    struct hub_stream *stream = who;
    stream->running = NULL;
    stream->download->session->hosts[stream->host].running--;
    stream->is_answered = true;
    stream->head = *head;
    /* A failure of ours ended it: that is the reason. */
    if (stream->status != STATUS_OK)
        return;
    stream->status = status;
    stream->reason = *reason;
}

/* ---- between answers ---- */

enum status hub_stream_start(struct hub_stream *stream, uint64_t now_ms, struct reason *reason)
{
    struct hub_session *session = stream->download->session;
    char authority[HUB_AUTHORITY_SIZE];
    if (!stream->source || stream->running || stream->is_answered || now_ms < stream->rest_until_ms)
        return STATUS_OK;
    if (stream->status != STATUS_OK)
        return refuse(reason, stream->status, "the address of %s is too long",
                      stream->source->file->path);
    hub_url_authority(&stream->url, authority, sizeof(authority));
    const uint64_t open_at_ms = hub_gates_open_at(session->gates, authority);
    if (open_at_ms > now_ms) {
        stream->rest_until_ms = open_at_ms;
        return STATUS_OK;
    }
    const bool is_endpoint = hub_url_is_same_origin(&stream->url, &session->env->endpoint);
    stream->host = is_endpoint ? 0 : 1;
    if (!session->hosts[stream->host].is_proven && session->hosts[stream->host].running > 0)
        return STATUS_OK;
    const struct hub_request request = {
        .url = &stream->url,
        .token = hub_session_token(session, &stream->url),
        .ca_file = session->env->ca_file,
        .is_endpoint = is_endpoint,
        .has_range = !stream->is_sequential,
        .range_first = stream->cursor.position,
        .range_end = stream->end,
        .if_range = stream->source->has_location ? stream->source->validator : NULL,
        .silent_ms = session->env->download_timeout_ms,
        .body_size_max = UINT64_MAX, /* take_body bounds it */
        .head = take_head,
        .body = take_body,
        .done = take_end,
        .who = stream};
    stream->verdict = HUB_VERDICT_NONE;
    const enum status status =
        hub_fetch_start(session->fetch, &request, &stream->running, reason);
    session->hosts[stream->host].running += status == STATUS_OK;
    return status;
}

static enum status changed(const struct hub_stream *stream, struct reason *reason)
{
    return refuse(
        reason, STATUS_STALE,
        "%s of %s changed at the hub while it was pulled; pull again, what is the same is "
        "kept",
        stream->source->file->path, stream->download->session->repository);
}

/* Later again, or never, for the reason the caller has written. */
static enum status retry(struct hub_stream *stream, uint64_t now_ms, enum status status)
{
    if (stream->fresh_bytes >= FRESH_SIZE)
        stream->tries = 0;
    stream->fresh_bytes = 0;
    if (++stream->tries > stream->download->session->tries_max)
        return status;
    stream->rest_until_ms = now_ms + hub_backoff_ms(stream->tries, hub_random());
    if (stream->is_sequential)
        read_from_start(stream);
    aim(stream);
    return STATUS_OK;
}

static enum status follow(struct hub_stream *stream, struct reason *reason)
{
    struct hub_source *source = stream->source;
    struct hub_url next;
    const enum status status =
        hub_url_redirect(&stream->url, stream->head.location, stream->hops, &next, reason);
    if (status != STATUS_OK)
        return status;
    stream->hops++;
    stream->url = next;
    if (!hub_url_is_same_origin(&next, &stream->download->session->env->endpoint)) {
        source->location = next;
        source->has_location = true;
        source->validator[0] = '\0';
    }
    return STATUS_OK;
}

static enum status refusal(const struct hub_stream *stream, struct reason *reason)
{
    const struct hub_session *session = stream->download->session;
    char authority[HUB_AUTHORITY_SIZE];
    hub_url_authority(&stream->url, authority, sizeof(authority));
    const struct hub_question question = {.repository = session->repository,
                                          .revision = session->revision,
                                          .path = stream->source->file->path,
                                          .authority = authority,
                                          .has_token = session->env->token[0] != '\0'};
    return hub_head_refusal(&stream->head, &question, reason);
}

static enum status trouble(struct hub_stream *stream, uint64_t now_ms, struct reason *reason)
{
    struct hub_session *session = stream->download->session;
    struct hub_source *source = stream->source;
    const struct hub_head *head = &stream->head;
    switch (hub_head_trouble(head)) {
    case HUB_TROUBLE_WAIT:
        return hub_session_limited(session, &stream->url, head, reason);
    case HUB_TROUBLE_RETRY:
        (void)refusal(stream, reason);
        return retry(stream, now_ms, STATUS_IO);
    case HUB_TROUBLE_NONE:
    case HUB_TROUBLE_FINAL:
        break;
    }
    if (head->status == 416) {
        if (head->has_total && head->total != source->file->size)
            return changed(stream, reason);
        (void)refusal(stream, reason);
        if (!stream->is_sequential && !source->sequential)
            read_from_start(stream);
        else if (!stream->is_sequential) {
            hub_stream_leave(stream);
            return STATUS_OK;
        }
        return retry(stream, now_ms, STATUS_REFUSED);
    }
    const enum status status = refusal(stream, reason);
    if (!hub_url_is_same_origin(&stream->url, &session->env->endpoint)) {
        /* Signed addresses expire: the hub gives a new one. */
        source->has_location = false;
        return retry(stream, now_ms, status);
    }
    return status == STATUS_NOT_FOUND ? changed(stream, reason) : status;
}

static enum status body_ended(struct hub_stream *stream, uint64_t now_ms, struct reason *reason)
{
    const struct hub_file *file = stream->source->file;
    if (stream->cursor.position == stream->end) {
        stream->download->session->waits = 0;
        stream->status = STATUS_OK;
        hub_stream_leave(stream);
        return STATUS_OK;
    }
    if (stream->status == STATUS_OK)
        stream->status =
            refuse(&stream->reason, STATUS_IO, "%s was cut short by the hub", file->path);
    *reason = stream->reason;
    const enum status status = stream->status;
    stream->status = STATUS_OK;
    return hub_is_passing(status) ? retry(stream, now_ms, status) : status;
}

static enum status odd_answer(struct hub_stream *stream, uint64_t now_ms, struct reason *reason)
{
    char authority[HUB_AUTHORITY_SIZE];
    const char *path = stream->source->file->path;
    hub_url_authority(&stream->url, authority, sizeof(authority));
    if (stream->verdict == HUB_VERDICT_ENCODED)
        (void)refuse(reason, STATUS_IO,
                     "%s sends %s in the encoding %s, though none was asked for; a proxy between "
                     "may do that",
                     authority, path, stream->head.encoding);
    else
        (void)refuse(reason, STATUS_IO, "%s sends another part of %s than was asked for", authority,
                     path);
    return retry(stream, now_ms, STATUS_IO);
}

enum status hub_stream_ended(struct hub_stream *stream, uint64_t now_ms, struct reason *reason)
{
    stream->is_answered = false;
    if (stream->verdict == HUB_VERDICT_BODY || stream->verdict == HUB_VERDICT_ENOUGH)
        return body_ended(stream, now_ms, reason);
    const enum status status = stream->status;
    stream->status = STATUS_OK;
    if (status != STATUS_OK && status != STATUS_CANCELLED) {
        *reason = stream->reason;
        return hub_is_passing(status) ? retry(stream, now_ms, status) : status;
    }
    switch (stream->verdict) {
    case HUB_VERDICT_FOLLOW:
        return follow(stream, reason);
    case HUB_VERDICT_TROUBLE:
        return trouble(stream, now_ms, reason);
    case HUB_VERDICT_CHANGED:
        return changed(stream, reason);
    case HUB_VERDICT_MOVED:
        aim(stream);
        return STATUS_OK;
    case HUB_VERDICT_YIELD:
        hub_stream_leave(stream);
        return STATUS_OK;
    case HUB_VERDICT_ENCODED:
    case HUB_VERDICT_BAD_RANGE:
        return odd_answer(stream, now_ms, reason);
    case HUB_VERDICT_NONE:
    case HUB_VERDICT_BODY:
    case HUB_VERDICT_ENOUGH:
        break;
    }
    return retry(stream, now_ms, STATUS_IO);
}
