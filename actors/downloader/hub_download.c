/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/downloader/hub_stream.h"

#include "protocol/memory.h"
#include "runtime/clock.h"

#include <string.h>

#define TURN_MS 100u
#define PROGRESS_MS 250u
#define SPEED_WINDOW_MS 4000u
#define LOCK_TURN_MS 500u
#define LOCK_WAIT_MS 60000u
#define FED_FILES_MAX 64u /* open at once: three descriptors and a window each */
#define FED_TURN_MS 20u
#define FED_DRY_MS 1500u /* whoever takes a file over first takes what the others have of it */

struct work {
    struct hub_download *download;
    struct hub_source *sources;
    uint32_t source_count;
    struct hub_stream *streams;
    uint64_t progress_at_ms;
    uint64_t speed_since_ms;
    uint64_t speed_bytes; /* fetched when the window began */
    uint64_t bytes_per_s;
};

static bool is_known(const struct work *work, const char *etag)
{
    for (uint32_t i = 0; i < work->source_count; i++)
        if (strcmp(work->sources[i].file->etag, etag) == 0)
            return true;
    return false;
}

static enum status work_init(struct work *work, struct hub_download *download,
                             const struct hub_file *files, uint32_t count, struct reason *reason)
{
    *work = (struct work){.download = download,
                          .speed_since_ms = clock_now_ms(),
                          .speed_bytes =
                              download->counts.bytes_fetched + download->counts.bytes_fed};
    work->sources = memory_zeroed(count, sizeof(*work->sources));
    work->streams = memory_zeroed(download->connections, sizeof(*work->streams));
    if (!work->sources || !work->streams)
        return refuse(reason, STATUS_NO_MEMORY, "no memory to fetch %s",
                      download->session->repository);
    for (uint32_t i = 0; i < count; i++)
        if (!is_known(work, files[i].etag))
            work->sources[work->source_count++].file = &files[i];
    for (uint32_t i = 0; i < download->connections; i++)
        work->streams[i].download = download;
    return STATUS_OK;
}

static void work_fini(struct work *work)
{
    for (uint32_t i = 0; work->streams && i < work->download->connections; i++)
        hub_stream_leave(&work->streams[i]);
    for (uint32_t i = 0; work->sources && i < work->source_count; i++)
        hub_incoming_close(&work->sources[i].blob);
    memory_free(work->sources);
    memory_free(work->streams);
}

/* ---- files ---- */

static void tell_placed(const struct work *work, const struct hub_source *source)
{
    const struct hub_download *download = work->download;
    if (download->placed && source->is_claimed)
        download->placed(download->who, download->commit, source->file->path);
}

void hub_known_free(struct known_blob *known, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        memory_free(known[i].chunks);
    memory_free(known);
}

/* What cannot be kept is read again later: no harm. */
static void keep_known(struct hub_download *download, struct hub_source *source)
{
    struct known_blob known;
    if (hub_incoming_known(&source->blob, &known) != STATUS_OK)
        return;
    struct known_blob *grown = memory_resized(
        download->known, (size_t)download->known_count + 1, sizeof(*download->known));
    if (!grown) {
        memory_free(known.chunks);
        return;
    }
    download->known = grown;
    download->known[download->known_count++] = known;
}

static void source_opened(struct work *work, struct hub_source *source)
{
    work->download->counts.bytes_kept += source->blob.bytes_kept;
    hub_incoming_feed(&source->blob, source->is_fed);
    if (!source->blob.is_placed)
        return;
    work->download->counts.files_present++;
    source->is_over = true;
    hub_incoming_close(&source->blob);
    tell_placed(work, source);
}

/* Another program may have the file: it is waited for, not for ever. */
static enum status open_source(struct work *work, struct hub_source *source, struct reason *reason)
{
    struct hub_session *session = work->download->session;
    const uint64_t until_ms = clock_now_ms() + LOCK_WAIT_MS;
    enum status status;
    do {
        if (session->is_cancelled(session->who))
            return refuse(reason, STATUS_CANCELLED, "the pull of %s was cancelled",
                          session->repository);
        status = hub_incoming_open(&source->blob, source->file, work->download->place, LOCK_TURN_MS,
                                   reason);
    } while (status == STATUS_BUSY && clock_now_ms() < until_ms);
    if (status != STATUS_OK)
        return status;
    source_opened(work, source);
    return STATUS_OK;
}

/* One that others fetch: hashed while the transferer writes it; a node that shares the cache and
 * has it is not waited for. */
static enum status open_fed(struct work *work, struct hub_source *source, struct reason *reason)
{
    const enum status status =
        hub_incoming_follow(&source->blob, source->file, work->download->place, reason);
    if (status == STATUS_OK)
        source_opened(work, source);
    return status == STATUS_BUSY ? STATUS_OK : status;
}

/* ---- whose they are ---- */

static bool is_ours(const struct hub_plan *plan, const char *etag)
{
    bool is_known = false;
    for (uint32_t i = 0; i < plan->count; i++) {
        if (strcmp(plan->files[i].file.etag, etag) != 0)
            continue;
        is_known = true;
        if (plan->files[i].is_ours)
            return true;
    }
    return !is_known;
}

static void set_fed(struct work *work, struct hub_source *source, bool is_fed)
{
    for (uint32_t k = 0; is_fed && k < work->download->connections; k++)
        if (work->streams[k].source == source)
            hub_stream_leave(&work->streams[k]);
    source->is_fed = is_fed;
    if (source->blob.is_open && !source->blob.is_searching)
        hub_incoming_feed(&source->blob, is_fed);
}

static void share_out(struct work *work)
{
    const struct hub_download *download = work->download;
    const bool is_shared = download->company && download->plan->is_shared;
    for (uint32_t i = 0; i < work->source_count; i++) {
        struct hub_source *source = &work->sources[i];
        const bool was_claimed = source->is_claimed;
        source->is_claimed = !is_shared || is_ours(download->plan, source->file->etag);
        if (!was_claimed && source->is_claimed)
            source->fed_ms = clock_now_ms();
        if (!source->is_claimed && !source->is_fed)
            set_fed(work, source, true);
    }
}

/* What this node shall fetch, and gets nothing more of from the others. */
static void take_over(struct work *work)
{
    const uint64_t now_ms = clock_now_ms();
    for (uint32_t i = 0; i < work->source_count; i++) {
        struct hub_source *source = &work->sources[i];
        if (source->is_over || !source->is_claimed || !source->is_fed)
            continue;
        if (!source->blob.is_open || now_ms - source->fed_ms >= FED_DRY_MS)
            set_fed(work, source, false);
    }
}

/* Nobody can get what is missing: the reason of the node that said so. */
static enum status follow_plan(struct work *work, struct reason *reason)
{
    struct hub_download *download = work->download;
    if (!download->company)
        return STATUS_OK;
    if (hub_company_take(download->company, &download->plan_version, download->plan))
        share_out(work);
    take_over(work);
    if (!download->plan->is_hopeless)
        return STATUS_OK;
    *reason = download->plan->reason;
    return download->plan->status != STATUS_OK ? download->plan->status : STATUS_UNREACHABLE;
}

/* So many connections that all nodes together have as many as one would. */
static uint32_t connections_now(const struct hub_download *download)
{
    if (!download->company || !download->plan->is_shared)
        return download->connections;
    const uint32_t share =
        (download->connections + download->plan->fetchers - 1) / download->plan->fetchers;
    return share > 0 ? share : 1;
}

/* A search that has found what differs asks the hub for nothing else. */
static void spare(struct work *work, const struct hub_source *source)
{
    for (uint32_t i = 0; i < work->download->connections; i++) {
        struct hub_stream *stream = &work->streams[i];
        if (stream->source == source && !stream->is_sequential &&
            hub_incoming_is_spared(&source->blob, stream->chunk))
            hub_stream_leave(stream);
    }
}

/* Does what the disk can do for the open files; `did_out`: there is more. */
static enum status tend_sources(struct work *work, bool *did_out, struct reason *reason)
{
    *did_out = false;
    for (uint32_t i = 0; i < work->source_count; i++) {
        struct hub_source *source = &work->sources[i];
        const uint64_t fed = source->blob.bytes_fed;
        bool did = false;
        if (source->is_over || !source->blob.is_open)
            continue;
        spare(work, source);
        enum status status = hub_incoming_advance(&source->blob, &did, reason);
        if (source->blob.bytes_fed != fed)
            source->fed_ms = clock_now_ms();
        work->download->counts.bytes_fed += source->blob.bytes_fed - fed;
        if (status == STATUS_OK && !did && hub_incoming_is_full(&source->blob)) {
            status = hub_incoming_finish(&source->blob, reason);
            did = true;
        }
        if (status != STATUS_OK)
            return status;
        if (source->blob.is_placed) {
            source->is_over = true;
            for (uint32_t k = 0; k < work->download->connections; k++)
                if (work->streams[k].source == source)
                    hub_stream_leave(&work->streams[k]);
            keep_known(work->download, source);
            hub_incoming_close(&source->blob);
            tell_placed(work, source);
        }
        *did_out = *did_out || did;
    }
    return STATUS_OK;
}

/* ---- connections ---- */

static bool find_chunk(struct work *work, struct hub_source **source_out, uint32_t *chunk_out)
{
    for (uint32_t i = 0; i < work->source_count; i++) {
        struct hub_source *source = &work->sources[i];
        if (source->is_over || !source->blob.is_open ||
            (source->has_no_ranges && source->sequential))
            continue;
        if (hub_incoming_take(&source->blob, chunk_out)) {
            *source_out = source;
            return true;
        }
    }
    return false;
}

/* The next file, when the open ones keep no connection busy; at most one for each connection. */
static enum status open_next(struct work *work, bool *did_out, struct reason *reason)
{
    uint32_t open_count = 0;
    *did_out = false;
    for (uint32_t i = 0; i < work->source_count; i++)
        open_count += work->sources[i].blob.is_open && !work->sources[i].is_over &&
                      !work->sources[i].is_fed;
    for (uint32_t i = 0; i < work->source_count && open_count < work->download->connections; i++) {
        struct hub_source *source = &work->sources[i];
        if (source->is_over || source->blob.is_open || source->is_fed)
            continue;
        *did_out = true;
        return open_source(work, source, reason);
    }
    return STATUS_OK;
}

/* Those that others fetch are opened as they come, so that they can be filled. */
static enum status open_fed_next(struct work *work, bool *did_out, struct reason *reason)
{
    uint32_t open_count = 0;
    for (uint32_t i = 0; i < work->source_count; i++)
        open_count += work->sources[i].blob.is_open && work->sources[i].is_fed;
    for (uint32_t i = 0; i < work->source_count && open_count < FED_FILES_MAX; i++) {
        struct hub_source *source = &work->sources[i];
        if (source->is_over || source->blob.is_open || !source->is_fed || source->was_tried)
            continue;
        source->was_tried = true;
        *did_out = true;
        return open_fed(work, source, reason);
    }
    /* Those that were busy are tried again in the next turn. */
    for (uint32_t i = 0; i < work->source_count; i++)
        work->sources[i].was_tried = false;
    return STATUS_OK;
}

static bool has_fed(const struct work *work)
{
    for (uint32_t i = 0; i < work->source_count; i++)
        if (!work->sources[i].is_over && (work->sources[i].is_fed || work->sources[i].blob.was_fed))
            return true;
    return false;
}

static enum status give_work(struct work *work, bool *did_out, struct reason *reason)
{
    const uint32_t connections = connections_now(work->download);
    *did_out = false;
    for (uint32_t i = 0; i < connections; i++) {
        struct hub_source *source = NULL;
        uint32_t chunk = 0;
        if (work->streams[i].source)
            continue;
        if (!find_chunk(work, &source, &chunk))
            return open_next(work, did_out, reason);
        hub_stream_begin(&work->streams[i], source, chunk);
    }
    return STATUS_OK;
}

static enum status tend_streams(struct work *work, uint64_t *wake_ms_out, struct reason *reason)
{
    const uint64_t now_ms = clock_now_ms();
    enum status status = STATUS_OK;
    *wake_ms_out = now_ms + TURN_MS;
    for (uint32_t i = 0; i < work->download->connections && status == STATUS_OK; i++) {
        struct hub_stream *stream = &work->streams[i];
        if (stream->is_answered)
            status = hub_stream_ended(stream, now_ms, reason);
        if (status == STATUS_OK)
            status = hub_stream_start(stream, now_ms, reason);
        if (stream->source && !stream->running && stream->rest_until_ms > now_ms &&
            stream->rest_until_ms < *wake_ms_out)
            *wake_ms_out = stream->rest_until_ms;
    }
    return status;
}

/* ---- telling ---- */

static uint64_t source_bytes(const struct work *work, const struct hub_source *source)
{
    uint64_t bytes = source->is_over ? source->file->size : hub_incoming_bytes(&source->blob);
    for (uint32_t i = 0; i < work->download->connections; i++) {
        const struct hub_stream *stream = &work->streams[i];
        if (stream->source == source && !stream->is_sequential && !source->is_over &&
            !source->blob.is_searching)
            bytes += stream->cursor.position - (uint64_t)stream->chunk * LEDGER_CHUNK_SIZE;
    }
    return bytes < source->file->size ? bytes : source->file->size;
}

static void measure(struct work *work, uint64_t now_ms)
{
    const uint64_t took_ms = now_ms - work->speed_since_ms;
    const uint64_t came =
        work->download->counts.bytes_fetched + work->download->counts.bytes_fed;
    const uint64_t fetched = came - work->speed_bytes;
    if (took_ms >= PROGRESS_MS)
        work->bytes_per_s = fetched * 1000 / took_ms;
    if (took_ms < SPEED_WINDOW_MS)
        return;
    /* Half of the window stays, so that the figure is steady. */
    work->speed_since_ms = now_ms - SPEED_WINDOW_MS / 2;
    work->speed_bytes = came - fetched / 2;
}

static void tell(struct work *work, bool is_last)
{
    const struct hub_download *download = work->download;
    const uint64_t now_ms = clock_now_ms();
    if (!download->progress || (now_ms < work->progress_at_ms && !is_last))
        return;
    work->progress_at_ms = now_ms + PROGRESS_MS;
    measure(work, now_ms);
    struct hub_progress progress = {.file = "",
                                    .bytes_have = download->bytes_before,
                                    .bytes_total = download->bytes_total,
                                    .bytes_per_s = work->bytes_per_s,
                                    .bytes_hub = download->counts.bytes_fetched,
                                    .bytes_peers = download->counts.bytes_fed};
    for (uint32_t i = 0; i < work->source_count; i++) {
        const struct hub_source *source = &work->sources[i];
        const uint64_t have = source_bytes(work, source);
        progress.bytes_have += have;
        if (!progress.file[0] && !source->is_over) {
            progress.file = source->file->path;
            progress.file_have = have;
            progress.file_total = source->file->size;
        }
    }
    download->progress(download->who, &progress);
}

static bool is_over(const struct work *work)
{
    for (uint32_t i = 0; i < work->source_count; i++)
        if (!work->sources[i].is_over)
            return false;
    return true;
}

static enum status turn(struct work *work, struct reason *reason)
{
    struct hub_session *session = work->download->session;
    bool did = false;
    bool did_open = false;
    bool did_feed = false;
    uint64_t wake_ms = 0;
    if (session->is_cancelled(session->who))
        return refuse(reason, STATUS_CANCELLED, "the pull of %s was cancelled",
                      session->repository);
    enum status status = follow_plan(work, reason);
    if (status == STATUS_OK)
        status = tend_sources(work, &did, reason);
    if (status == STATUS_OK && work->download->company)
        status = open_fed_next(work, &did_feed, reason);
    if (status == STATUS_OK)
        status = give_work(work, &did_open, reason);
    if (status == STATUS_OK)
        status = tend_streams(work, &wake_ms, reason);
    if (status != STATUS_OK || is_over(work))
        return status;
    const uint64_t now_ms = clock_now_ms();
    if (has_fed(work) && wake_ms > now_ms + FED_TURN_MS)
        wake_ms = now_ms + FED_TURN_MS;
    const bool waits = !did && !did_open && !did_feed && wake_ms > now_ms;
    status = hub_fetch_wait(session->fetch, waits ? (uint32_t)(wake_ms - now_ms) : 0, reason);
    tell(work, false);
    return status;
}

enum status hub_download_files(struct hub_download *download, const struct hub_file *files,
                               uint32_t count, struct reason *reason)
{
    struct work work;
    enum status status = work_init(&work, download, files, count, reason);
    if (status == STATUS_OK)
        share_out(&work);
    while (status == STATUS_OK && !is_over(&work))
        status = turn(&work, reason);
    if (status == STATUS_OK)
        tell(&work, true);
    work_fini(&work);
    return status;
}
