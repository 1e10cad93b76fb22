/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any messages of other transferers, in any order, to one that gathers a download and lends what it
 * has: source_told, chunk_refused and the rest over its links, share_asked, source_asked and
 * chunk_asked at its own address, and what its threads tell.  The step never fails; no chunk is
 * asked for that is not there, no source has more credits than it may, and only known nodes are
 * connected to.
 *
 * The input is a list: what happens (1 byte), to which link (1), for how long nothing did (1), and
 * for a message its size (2) and its bytes as they come over the wire.
 */
#include "actors/transferer/transferer.h"
#include "protocol/memory.h"
#include "tests/support/step_bench.h"

#include <string.h>

#define COMMIT "0123456789012345678901234567890123456789"
#define ETAG "0123456789012345678901234567890123456789012345678901234567890123"
#define ADDRESS "tcp://127.0.0.1:4000"
#define FILES 3u
#define CHUNKS 7u
#define TURNS_MAX 60u /* so that no list of the bench is full */
#define HAPPENINGS 8u

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static const struct transferer_settings settings = {
    .session = {.actor = ACTOR_TRANSFERER, .incarnation = 5, .build = "test",
                .key = {{50}}, .wants_events = true},
    .listen = "tcp://127.0.0.1:0"};

struct input_list {
    const uint8_t *bytes;
    size_t size;
};

static uint8_t next_byte(struct input_list *list)
{
    if (list->size == 0)
        return 0;
    list->size--;
    return *list->bytes++;
}

static void add_node(struct state *state, uint8_t number)
{
    struct node_record *node =
        record_list_push(&node_record_type, RECORD_LIST(state->nodes), NULL, 10);
    struct endpoint_record *endpoint =
        record_list_push(&endpoint_record_type, RECORD_LIST(state->endpoints), NULL, 10);
    ASSERT(node && endpoint && text_set(&node->name, "node") &&
           text_set(&endpoint->address, ADDRESS));
    node->node_id.bytes[0] = endpoint->node_id.bytes[0] = number;
    node->in_view = true;
    endpoint->actor = ACTOR_TRANSFERER;
    endpoint->key.bytes[0] = (uint8_t)(50 * number);
    endpoint->incarnation = number == 1 ? 5 : 6;
}

static void make_state(struct state *state)
{
    static const uint64_t sizes[FILES] = {3 * (uint64_t)CHUNK_SIZE, 3 * (uint64_t)CHUNK_SIZE, 9};
    state_init(state);
    for (uint8_t i = 1; i <= 3; i++)
        add_node(state, i);
    struct download_record *download =
        record_list_push(&download_record_type, RECORD_LIST(state->downloads), NULL, 10);
    ASSERT(download && text_set(&download->model_id, "org/m") &&
           text_set(&download->commit, COMMIT));
    for (uint8_t i = 1; i <= 3; i++) {
        const struct download_target target = {.node_id = {{i}}};
        ASSERT(record_list_push(&download_target_type, RECORD_LIST(download->targets), &target,
                                10));
    }
    for (uint32_t i = 0; i < FILES; i++) {
        struct download_file *file =
            record_list_push(&download_file_type, RECORD_LIST(download->files), NULL, 10);
        ASSERT(file && text_set(&file->path, i ? i > 1 ? "c" : "b" : "a") &&
               text_set(&file->etag, ETAG));
        file->size = sizes[i];
        file->node_id.bytes[0] = (uint8_t)(2 + i % 2);
    }
}

static void result(struct step_bench *bench, uint32_t kind, uint64_t id, enum status status,
                   void *value, void (*value_free)(void *value))
{
    const struct effect effect = {.id = id, .kind = kind};
    bench_result(bench, &effect, status, "", value, value_free);
}

/* Its first look: one chunk is here, all files can be written. */
static void answer_look(struct step_bench *bench, struct effect *effect, uint8_t have)
{
    struct gather_look *look = effect ? effect->request : NULL;
    if (!look)
        return;
    effect->request = NULL;
    look->count_out = CHUNKS;
    look->have_out = memory_zeroed(CHUNKS / 8 + 1, 1);
    look->open_out = memory_zeroed(FILES + 1, 1);
    ASSERT(look->have_out && look->open_out);
    look->have_out[0] = have;
    memset(look->open_out, 1, FILES);
    bench_result(bench, effect, STATUS_OK, "", look, gather_look_free);
}

static void begin(struct step_bench *bench, uint8_t have)
{
    const struct node_id own = {{1}};
    struct state state;
    struct message task;
    step_bench_open(bench, &transferer_ops, &settings);
    bench_feed(bench, (struct input){.kind = INPUT_START});
    bench_feed(bench, (struct input){.kind = INPUT_LINK_BOUND, .peer = peer_of_link(SERVE_LINK),
                                     .endpoint = ADDRESS});
    result(bench, BULK_LENDER_BOUND, 0, STATUS_OK, memory_text("tcp://127.0.0.1:7777", 20),
           memory_free);
    bench_welcome(bench, &own);
    make_state(&state);
    bench_state(bench, &state);
    state_fini(&state);
    ASSERT(message_init(&task, MESSAGE_TASK, TASK_GATHER_FILES) == STATUS_OK);
    struct gather_files *body = task.body;
    task.head.key.bytes[0] = 9;
    ASSERT(text_set(&body->model_id, "org/m") && text_set(&body->commit, COMMIT));
    bench_message(bench, peer_of_link(SESSION_LINK), &task);
    answer_look(bench, bench_effect(bench, BULK_GATHER_OPEN), have);
}

/* One of the links it opened to others, or its own address. */
static struct peer some_peer(const struct step_bench *bench, uint8_t which)
{
    uint32_t opened = 0;
    for (size_t i = 0; i < bench->link_count; i++)
        if (bench->links[i].kind == OUTBOX_LINK_OPEN &&
            bench->links[i].peer.link >= GATHER_LINK_FIRST && opened++ == which % 8u)
            return peer_of_link(bench->links[i].peer.link);
    return peer_of_link(SERVE_LINK);
}

static void take_message(struct step_bench *bench, struct peer peer, struct input_list *list)
{
    struct message message;
    const size_t size = next_byte(list) | (size_t)next_byte(list) << 8;
    const size_t there = size < list->size ? size : list->size;
    const uint8_t *bytes = list->bytes;
    list->bytes += there;
    list->size -= there;
    if (message_decode(bytes, there, &message, NULL) != STATUS_OK)
        return; /* the loop drops it */
    bench_feed(bench, (struct input){.kind = INPUT_MESSAGE, .peer = peer, .message = &message});
    message_fini(&message);
}

static void tell_chunk(struct step_bench *bench, struct peer peer, uint8_t chunk)
{
    static const enum status statuses[] = {STATUS_OK, STATUS_HASH_MISMATCH, STATUS_UNREACHABLE,
                                           STATUS_NO_SPACE};
    struct chunk_told *told = memory_zeroed(1, sizeof(*told));
    const struct effect *opened = bench_effect(bench, BULK_GATHER_OPEN);
    ASSERT(told != NULL && opened != NULL);
    *told = (struct chunk_told){peer.link, chunk == 255 ? CHUNK_NONE : chunk, CHUNK_SIZE};
    result(bench, BULK_CHUNK_TOLD, opened->id, statuses[chunk % COUNT_OF(statuses)], told,
           memory_free);
}

/* The thread has looked at what it lends. */
static void answer_lent(struct step_bench *bench)
{
    for (size_t i = 0; i < bench->effect_count; i++) {
        struct effect *effect = &bench->effects[i];
        const bool is_stream = effect->kind == BULK_LEND && effect->request;
        if (!is_stream && (effect->kind != BULK_SHARE_LOOK || !effect->request))
            continue;
        void *request = effect->request;
        struct bytes *held = is_stream ? &((struct stream_request *)request)->held_out
                                       : &((struct share_look *)request)->held_out;
        effect->request = NULL;
        ASSERT(bytes_set(held, "\x7f", 1));
        bench_result(bench, effect, STATUS_OK, "", request,
                     is_stream ? stream_request_free : share_look_free);
        return;
    }
}

static void happen(struct step_bench *bench, struct input_list *list)
{
    const uint8_t what = next_byte(list) % HAPPENINGS;
    const uint8_t which = next_byte(list);
    const struct peer peer = some_peer(bench, which);
    bench->now_ms += 40u * next_byte(list);
    if (what < 3)
        take_message(bench, what == 2 ? peer_of_link(SERVE_LINK) : peer, list);
    else if (what == 3)
        bench_feed(bench, (struct input){.kind = INPUT_LINK_UP, .peer = peer});
    else if (what == 4)
        bench_feed(bench, (struct input){.kind = INPUT_LINK_DOWN, .peer = peer});
    else if (what == 5)
        tell_chunk(bench, peer, next_byte(list));
    else if (what == 6)
        answer_look(bench, bench_effect(bench, BULK_GATHER_LOOK), next_byte(list));
    else
        answer_lent(bench);
    bench_feed(bench, (struct input){.kind = INPUT_WAKE});
}

/* A chunk that is asked for is owed by one source, and one that is not by none. */
static void check_owed(const struct sources *sources)
{
    uint32_t owed[CHUNKS] = {0};
    for (size_t i = 0; i < SOURCES_MAX; i++) {
        const struct source *source = &sources->items[i];
        if (source->phase == SOURCE_NONE || source->owed == CHUNK_NONE)
            continue;
        ASSERT(source->owed < CHUNKS);
        owed[source->owed]++;
    }
    for (uint32_t i = 0; i < CHUNKS; i++)
        ASSERT(owed[i] == (sources->asked && i < sources->chunk_count &&
                           chunk_has(sources->asked, i)));
}

static void check(const struct step_bench *bench)
{
    const struct transferer *transferer = bench->actor;
    for (size_t i = 0; i < bench->sent_count; i++)
        if (message_is(&bench->sent[i].message, MESSAGE_LINK, LINK_CHUNK_ASKED))
            ASSERT(MESSAGE_BODY(&bench->sent[i].message, chunk_asked)->chunk < CHUNKS);
    for (size_t i = 0; i < bench->link_count; i++)
        ASSERT(bench->links[i].kind != OUTBOX_LINK_OPEN ||
               bench->links[i].peer.link < GATHER_LINK_FIRST ||
               strcmp(bench->links[i].options->endpoint, ADDRESS) == 0);
    check_owed(&transferer->gathers[0].sources);
    for (size_t i = 0; i < LENDS_MAX; i++)
        ASSERT(transferer->lents[i].asked <= LEND_WINDOW_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct step_bench bench;
    struct input_list list = {bytes, size};
    begin(&bench, next_byte(&list) & 0x7f);
    for (unsigned turn = 0; turn < TURNS_MAX && list.size > 0; turn++) {
        happen(&bench, &list);
        ASSERT(bench.failed == STATUS_OK);
        check(&bench);
        /* What is not looked at again goes, before it is too much to keep. */
        if (bench.sent_count > BENCH_KEPT_MAX / 2 || bench.effect_count > BENCH_KEPT_MAX / 2 ||
            bench.link_count > BENCH_KEPT_MAX / 2)
            break;
    }
    step_bench_close(&bench);
    return 0;
}
