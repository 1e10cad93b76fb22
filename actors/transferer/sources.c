/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/transferer/sources.h"

#include "actors/transferer/transferer.h"
#include "protocol/memory.h"

#include <stdio.h>
#include <string.h>

/* In what copies and downloads differ. */
struct terms {
    uint32_t link_first;
    uint32_t link_count;
    uint32_t source_count;
    uint32_t wrong_max;
    uint64_t connect_ms;
    uint64_t chunk_ms;
    uint64_t rest_ms; /* doubles with each failure */
    uint64_t rest_ms_max;
    enum bulk_kind join;
    enum bulk_kind leave;
};

static const struct terms terms_of[SOURCES_KIND_COUNT] = {
    [SOURCES_OF_COPY] = {.link_first = RECEIVE_LINK_FIRST,
                         .link_count = RECEIVE_LINK_COUNT,
                         .source_count = RECEIVE_SOURCES_MAX,
                         .wrong_max = RECEIVE_WRONG_MAX,
                         .connect_ms = RECEIVE_CONNECT_MS,
                         .chunk_ms = RECEIVE_CHUNK_MS,
                         .rest_ms = RECEIVE_REST_MS,
                         .rest_ms_max = RECEIVE_REST_MS_MAX,
                         .join = BULK_JOIN,
                         .leave = BULK_LEAVE},
    [SOURCES_OF_DOWNLOAD] = {.link_first = GATHER_LINK_FIRST,
                             .link_count = GATHER_LINK_COUNT,
                             .source_count = GATHER_SOURCES_MAX,
                             .wrong_max = GATHER_WRONG_MAX,
                             .connect_ms = GATHER_CONNECT_MS,
                             .chunk_ms = GATHER_CHUNK_MS,
                             .rest_ms = GATHER_REST_MS,
                             .rest_ms_max = GATHER_REST_MS,
                             .join = BULK_GATHER_JOIN,
                             .leave = BULK_GATHER_LEAVE},
};

_Static_assert(RECEIVE_SOURCES_MAX <= SOURCES_MAX && GATHER_SOURCES_MAX <= SOURCES_MAX,
               "each kind has room for its sources");
_Static_assert(RECEIVE_LINK_FIRST + RECEIVE_LINK_COUNT <= GATHER_LINK_FIRST,
               "a link is of a copy or of a download");

enum status sources_begin(struct sources *sources, uint32_t chunk_count, const uint8_t *unwanted)
{
    sources->chunk_count = chunk_count;
    sources->unwanted = unwanted;
    sources->asked = memory_zeroed(chunk_count / 8 + 1, 1);
    sources->available = memory_zeroed((size_t)chunk_count + 1, 1);
    return sources->asked && sources->available ? STATUS_OK : STATUS_NO_MEMORY;
}

void sources_free(struct sources *sources)
{
    for (size_t i = 0; i < SOURCES_MAX; i++)
        memory_free(sources->items[i].held);
    memory_free(sources->asked);
    memory_free(sources->available);
    *sources = (struct sources){.kind = sources->kind, .number = sources->number};
}

struct source *sources_find(struct sources *sources, uint32_t link)
{
    for (size_t i = 0; i < SOURCES_MAX; i++)
        if (sources->items[i].phase != SOURCE_NONE && sources->items[i].link == link)
            return &sources->items[i];
    return NULL;
}

struct source_rest *sources_rest(struct sources *sources, const struct node_id *node_id)
{
    for (uint32_t i = 0; i < sources->rest_count; i++)
        if (ID_EQUAL(sources->rests[i].node_id, *node_id))
            return &sources->rests[i];
    if (sources->rest_count == NODE_COUNT_MAX)
        return &sources->rests[0];
    sources->rests[sources->rest_count] = (struct source_rest){.node_id = *node_id};
    return &sources->rests[sources->rest_count++];
}

/* ---- coming and going ---- */

static bool is_free(const struct sources *sources, const struct node_id *node_id,
                    uint32_t connections_max, uint64_t now_ms)
{
    uint32_t used = 0;
    uint32_t connections = 0;
    bool has_more = false;
    for (size_t i = 0; i < SOURCES_MAX; i++) {
        const struct source *source = &sources->items[i];
        const bool is_its = source->phase != SOURCE_NONE && ID_EQUAL(source->node_id, *node_id);
        used += source->phase != SOURCE_NONE;
        connections += is_its;
        has_more = has_more || (is_its && source->phase == SOURCE_OPEN &&
                                (source->is_whole || source->owed != CHUNK_NONE));
    }
    if (connections >= connections_max ||
        (connections > 0 &&
         (!has_more || used + SOURCES_SPARE >= terms_of[sources->kind].source_count)))
        return false;
    for (uint32_t i = 0; i < sources->rest_count; i++)
        if (ID_EQUAL(sources->rests[i].node_id, *node_id))
            return sources->rests[i].wrong < terms_of[sources->kind].wrong_max &&
                   now_ms >= sources->rests[i].until_ms;
    return true;
}

const struct endpoint_record *sources_endpoint(const struct transferer *transferer,
                                               const struct sources *sources,
                                               const struct node_id *node_id,
                                               uint32_t connections_max, uint64_t now_ms)
{
    const struct endpoint_record *endpoint =
        state_find_endpoint(&transferer->session.mirror.state, node_id, ACTOR_TRANSFERER);
    return endpoint && text_or_empty(endpoint->address)[0] &&
                   strlen(endpoint->address) < LINK_ENDPOINT_SIZE &&
                   !ID_EQUAL(*node_id, transferer->session.mirror.node_id) &&
                   is_free(sources, node_id, connections_max, now_ms)
               ? endpoint
               : NULL;
}

bool sources_connect(struct transferer_step *step, struct sources *sources,
                     const struct endpoint_record *endpoint)
{
    struct transferer *transferer = step->transferer;
    const struct terms *terms = &terms_of[sources->kind];
    struct link_options options = {.role = LINK_CONNECT, .server_key = endpoint->key,
                                   .message_size_max = TRANSFER_MESSAGE_MAX};
    struct source *source = NULL;
    for (uint32_t i = 0; i < terms->source_count && !source; i++)
        if (sources->items[i].phase == SOURCE_NONE)
            source = &sources->items[i];
    if (!source)
        return false;
    const struct hash session = transferer_draw(transferer);
    *source = (struct source){
        .phase = SOURCE_CONNECTING,
        .node_id = endpoint->node_id,
        .link = terms->link_first +
                transferer->source_links[sources->kind]++ % terms->link_count,
        .key = transferer_draw(transferer),
        .owed = CHUNK_NONE,
        .deadline_ms = step->input->now_ms + terms->connect_ms};
    memcpy(&source->session, &session, sizeof(source->session));
    char address[ADDRESS_SIZE_MAX];
    session_endpoint_address(&transferer->session, endpoint, address);
    (void)snprintf(source->host, sizeof(source->host), "%.127s", address);
    (void)snprintf(options.endpoint, sizeof(options.endpoint), "%.127s", address);
    outbox_link_open(step->outbox, source->link, &options);
    return true;
}

enum status sources_leave(struct transferer_step *step, struct sources *sources,
                          struct source *source)
{
    if (source->owed != CHUNK_NONE)
        chunk_remove(sources->asked, source->owed);
    if (source->is_joined) {
        struct stream_request *request = memory_zeroed(1, sizeof(*request));
        if (!request)
            return STATUS_NO_MEMORY;
        request->link = source->link;
        outbox_effect(step->outbox, sources->number, terms_of[sources->kind].leave, request,
                      stream_request_free);
    }
    outbox_link_close(step->outbox, source->link);
    memory_free(source->held);
    memset(source, 0, sizeof(*source));
    return STATUS_OK;
}

void sources_close(struct transferer_step *step, struct sources *sources)
{
    for (size_t i = 0; i < SOURCES_MAX; i++)
        if (sources->items[i].phase != SOURCE_NONE &&
            sources_leave(step, sources, &sources->items[i]) != STATUS_OK)
            step->outbox->failed = STATUS_NO_MEMORY;
}

enum status sources_fail(struct transferer_step *step, struct sources *sources,
                         struct source *source, bool is_wrong)
{
    const struct terms *terms = &terms_of[sources->kind];
    struct source_rest *rest = sources_rest(sources, &source->node_id);
    uint64_t wait_ms = terms->rest_ms;
    for (uint32_t i = 0; i < rest->failures && wait_ms < terms->rest_ms_max; i++)
        wait_ms *= 2;
    rest->failures++;
    rest->wrong += is_wrong;
    rest->until_ms = step->input->now_ms + wait_ms;
    return sources_leave(step, sources, source);
}

/* ---- asking ---- */

enum status source_send(struct transferer_step *step, const struct source *source,
                        struct message *message, bool is_filled)
{
    const struct peer peer = peer_of_link(source->link);
    if (is_filled)
        outbox_send(step->outbox, &peer, message);
    message_fini(message);
    return is_filled ? STATUS_OK : STATUS_NO_MEMORY;
}

static enum status ask_chunk(struct transferer_step *step, struct sources *sources,
                             struct source *source, uint32_t chunk)
{
    struct message message;
    enum status status = message_init(&message, MESSAGE_LINK, LINK_CHUNK_ASKED);
    if (status != STATUS_OK)
        return status;
    chunk_add(sources->asked, chunk);
    source->deadline_ms = step->input->now_ms + terms_of[sources->kind].chunk_ms;
    source->owed = chunk;
    *MESSAGE_BODY(&message, chunk_asked) = (struct chunk_asked){source->session, chunk};
    return source_send(step, source, &message, true);
}

/* Where this node begins among so many, so that receivers begin at different ones. */
static uint32_t first_chunk(const struct transferer *transferer, uint32_t count)
{
    const uint8_t *id = transferer->session.mirror.node_id.bytes;
    return (uint32_t)(id[0] | id[1] << 8 | id[2] << 16) % count;
}

static uint32_t choose(const struct transferer *transferer, const struct sources *sources,
                       const struct source *source)
{
    const struct chunk_question question = {
        .count = sources->chunk_count,
        .start = first_chunk(transferer, sources->chunk_count),
        .have = sources->unwanted,
        .asked = sources->asked,
        .held = source->is_whole ? NULL : source->held,
        .available = sources->available};
    return source->is_whole || source->held ? chunk_choose(&question) : CHUNK_NONE;
}

enum status sources_ask(struct transferer_step *step, struct sources *sources)
{
    enum status status = STATUS_OK;
    for (size_t i = 0; i < SOURCES_MAX && status == STATUS_OK; i++) {
        struct source *source = &sources->items[i];
        if (source->phase != SOURCE_OPEN || !source->is_joined || source->owed != CHUNK_NONE ||
            sources->chunk_count == 0)
            continue;
        const uint32_t chunk = choose(step->transferer, sources, source);
        if (chunk != CHUNK_NONE)
            status = ask_chunk(step, sources, source, chunk);
    }
    return status;
}

bool sources_credit_return(struct sources *sources, struct source *source, uint32_t chunk)
{
    if (chunk == CHUNK_NONE || source->owed != chunk)
        return false;
    source->owed = CHUNK_NONE;
    chunk_remove(sources->asked, chunk);
    return true;
}

bool source_is_late(const struct source *source, bool is_waited_for, uint64_t now_ms)
{
    return (is_waited_for || source->phase != SOURCE_OPEN || source->owed != CHUNK_NONE) &&
           now_ms >= source->deadline_ms;
}

/* ---- what they say ---- */

bool sources_fit(const struct sources *sources, const struct source_told *told)
{
    return told->held.count == sources->chunk_count / 8 + 1;
}

static void count_available(struct sources *sources)
{
    memset(sources->available, 0, sources->chunk_count);
    for (size_t i = 0; i < SOURCES_MAX; i++) {
        const struct source *source = &sources->items[i];
        for (uint32_t k = 0; source->phase == SOURCE_OPEN && k < sources->chunk_count; k++)
            sources->available[k] =
                (uint8_t)(sources->available[k] +
                          (source->is_whole || (source->held && chunk_has(source->held, k))));
    }
}

static enum status join_stream(struct transferer_step *step, const struct sources *sources,
                               struct source *source, const struct source_told *told)
{
    struct stream_request *request = memory_zeroed(1, sizeof(*request));
    if (!request)
        return STATUS_NO_MEMORY;
    request->link = source->link;
    request->session = source->session;
    request->key = source->key;
    request->is_aes = told->is_aes;
    request->is_shared = sources->kind == SOURCES_OF_DOWNLOAD;
    request->gather = sources->gather;
    /* Its port, at the host the state knows: nobody sends us elsewhere. */
    transferer_address(text_or_empty(told->address), source->host, request->address);
    source->is_joined = true;
    outbox_effect(step->outbox, sources->number, terms_of[sources->kind].join, request,
                  stream_request_free);
    return STATUS_OK;
}

enum status sources_take_told(struct transferer_step *step, struct sources *sources,
                              struct source *source, const struct source_told *told)
{
    source->phase = SOURCE_OPEN;
    if (!source->is_whole) {
        if (!source->held)
            source->held = memory_zeroed(told->held.count, 1);
        if (!source->held)
            return STATUS_NO_MEMORY;
        memcpy(source->held, told->held.items, told->held.count);
    }
    count_available(sources);
    return source->is_joined ? STATUS_OK : join_stream(step, sources, source, told);
}
