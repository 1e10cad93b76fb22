/* SPDX-License-Identifier: Apache-2.0 */
/*
 * receive_fixture: a transferer whose state has three nodes, a model that two of them hold and a
 * transfer of it to us; the test is its peers, its threads and its time.
 *
 * Owner    the test program that includes it, once.
 */
#ifndef TROUPE_TESTS_UNIT_ACTORS_TRANSFERER_RECEIVE_FIXTURE_H
#define TROUPE_TESTS_UNIT_ACTORS_TRANSFERER_RECEIVE_FIXTURE_H

#include "actors/transferer/transferer.h"
#include "protocol/hash.h"
#include "protocol/memory.h"
#include "tests/support/check_main.h"
#include "tests/support/step_bench.h"
#include <stdio.h>
#include <string.h>

#define ADDRESS "tcp://127.0.0.1:4000"
#define STREAM_ADDRESS "tcp://10.9.9.9:5000"
#define CHUNKS 6u

static const struct node_id own = {{1}};
static const struct command_key task_key = {{9}};
static const struct transfer_id transfer_id = {{4}};
static const struct transferer_settings settings = {
    .session = {.actor = ACTOR_TRANSFERER, .incarnation = 5, .build = "test",
                .key = {{50}}, .wants_events = true},
    .listen = "tcp://127.0.0.1:0"};

static struct step_bench bench;
static struct model_record record;
static struct buffer manifest_bytes;
static struct identity identity;

static inline void add_node(struct state *state, uint8_t number)
{
    struct node_record *node =
        record_list_push(&node_record_type, RECORD_LIST(state->nodes), NULL, 10);
    char name[16];
    (void)snprintf(name, sizeof(name), "node%u", number);
    ck_assert(node && text_set(&node->name, name));
    node->node_id.bytes[0] = number;
    node->in_view = true;
    struct endpoint_record *endpoint =
        record_list_push(&endpoint_record_type, RECORD_LIST(state->endpoints), NULL, 10);
    ck_assert(endpoint && text_set(&endpoint->address, ADDRESS));
    endpoint->node_id = node->node_id;
    endpoint->actor = ACTOR_TRANSFERER;
    endpoint->key.bytes[0] = (uint8_t)(50 * number);
    endpoint->incarnation = number == 1 ? 5 : 6;
}

/* One file of CHUNKS chunks, its manifest in manifest_bytes. */
static inline void make_model(void)
{
    struct chunk_manifest manifest = {.files = {NULL, 0}};
    uint8_t digests[CHUNKS * sizeof(struct hash)] = {1};
    struct file_entry *file =
        record_list_push(&file_entry_type, RECORD_LIST(record.files), NULL, 10);
    struct manifest_file *entry =
        record_list_push(&manifest_file_type, RECORD_LIST(manifest.files), NULL, 10);
    ck_assert(text_set(&record.model_id, "org/m") && text_set(&file->name, "m.safetensors") &&
              text_set(&entry->name, "m.safetensors"));
    file->size = entry->size = CHUNKS * CHUNK_SIZE - 1;
    file->is_weight = true;
    record.revision = manifest.revision = model_revision(&record);
    ck_assert(bytes_set(&entry->chunks, digests, sizeof(digests)));
    buffer_init(&manifest_bytes, CHUNK_MANIFEST_SIZE_MAX);
    ck_assert_int_eq(chunk_manifest_encode(&manifest, &manifest_bytes, &record.manifest),
                     STATUS_OK);
    record_fini(&chunk_manifest_type, &manifest);
    ck_assert_int_eq(identity_make(&identity), STATUS_OK);
    ck_assert_int_eq(chunk_manifest_sign(&identity, &record), STATUS_OK);
}

/* Of the model to us. */
static inline void add_transfer(struct state *state, const struct transfer_id *id,
                                const char *model_id)
{
    const struct transfer_target target = {.node_id = own};
    struct transfer_record *transfer =
        record_list_push(&transfer_record_type, RECORD_LIST(state->transfers), NULL, 10);
    transfer->transfer_id = *id;
    transfer->revision = record.revision;
    ck_assert(text_set(&transfer->model_id, model_id));
    ck_assert_ptr_nonnull(record_list_push(&transfer_target_type, RECORD_LIST(transfer->targets),
                                           &target, 10));
}

/* Nodes 1 to 3; 2 and 3 hold the model; a transfer of it to us. */
static inline void fill_state(struct state *state)
{
    state_init(state);
    for (uint8_t i = 1; i <= 3; i++)
        add_node(state, i);
    state->nodes.items[1].sign_key = identity.sign_key;
    record.signer = state->nodes.items[1].node_id;
    struct model_record *model =
        record_list_push(&model_record_type, RECORD_LIST(state->models), &record, 10);
    for (uint8_t i = 2; i <= 3; i++) {
        const struct holder_record holder = {.node_id = {{i}}, .has_weights = true};
        ck_assert_ptr_nonnull(record_list_push(&holder_record_type,
                                               RECORD_LIST(model->holders), &holder, 10));
    }
    add_transfer(state, &transfer_id, "org/m");
}

static inline void setup(void)
{
    memset(&record, 0, sizeof(record));
    make_model();
}

static inline void teardown(void)
{
    step_bench_close(&bench);
    record_fini(&model_record_type, &record);
    buffer_fini(&manifest_bytes);
    identity_fini(&identity);
}

static inline void result_of(struct effect *effect, enum status status, void *value,
                      void (*value_free)(void *value))
{
    ck_assert_ptr_nonnull(effect);
    bench_result(&bench, effect, status, status == STATUS_OK ? "" : "it did not work", value,
                 value_free);
    ck_assert_int_eq(bench.failed, STATUS_OK);
}

static inline void unasked(uint32_t kind, uint64_t id, enum status status, void *value)
{
    const struct effect effect = {.id = id, .kind = kind};
    bench_result(&bench, &effect, status, status == STATUS_OK ? "" : "broke", value, memory_free);
    ck_assert_int_eq(bench.failed, STATUS_OK);
}

static inline void begin_with(struct state *state)
{
    step_bench_open(&bench, &transferer_ops, &settings);
    bench_feed(&bench, (struct input){.kind = INPUT_START});
    bench_feed(&bench, (struct input){.kind = INPUT_LINK_BOUND, .peer = peer_of_link(SERVE_LINK),
                                      .endpoint = ADDRESS});
    unasked(BULK_LENDER_BOUND, 0, STATUS_OK, memory_text("tcp://127.0.0.1:7777", 20));
    bench_welcome(&bench, &own);
    bench_state(&bench, state);
    state_fini(state);
}

static inline void give_task(const struct command_key *key, const struct transfer_id *id,
                      const char *model_id)
{
    struct message task;
    ck_assert_int_eq(message_init(&task, MESSAGE_TASK, TASK_FETCH_MODEL), STATUS_OK);
    task.head.key = *key;
    struct fetch_model *body = task.body;
    body->revision = record.revision;
    body->transfer_id = *id;
    ck_assert(text_set(&body->model_id, model_id));
    bench_message(&bench, peer_of_link(SESSION_LINK), &task);
}

static inline struct effect *find_of(const char *model_id)
{
    for (size_t i = 0; i < bench.effect_count; i++) {
        const struct check_request *check = bench.effects[i].request;
        if (bench.effects[i].kind == TRANSFERER_FIND && check &&
            strcmp(check->model_id, model_id) == 0)
            return &bench.effects[i];
    }
    return NULL;
}

static inline void answer_find(const char *model_id, enum model_holding holding)
{
    struct effect *effect = find_of(model_id);
    ck_assert_ptr_nonnull(effect);
    struct check_request *check = effect->request;
    effect->request = NULL;
    check->holding_out = holding;
    check->revision_out = record.revision;
    result_of(effect, STATUS_OK, check, memory_free);
}

/* Asked for by the state, and not here yet. */
static inline void begin(void)
{
    struct state state;
    fill_state(&state);
    begin_with(&state);
    give_task(&task_key, &transfer_id, "org/m");
    ck_assert_ptr_nonnull(bench_sent(&bench, MESSAGE_REPORT, REPORT_TRANSFER_STARTED));
    answer_find("org/m", MODEL_ABSENT);
}

static inline bool is_link_to(const struct outbox_item *item, uint8_t node)
{
    return item->kind == OUTBOX_LINK_OPEN && item->peer.link >= RECEIVE_LINK_FIRST &&
           item->options->server_key.bytes[0] == (uint8_t)(50 * node);
}

/* The link to the node that was opened last. */
static inline struct peer last_link_to(uint8_t node)
{
    for (size_t i = bench.link_count; i-- > 0;)
        if (is_link_to(&bench.links[i], node))
            return peer_of_link(bench.links[i].peer.link);
    ck_abort_msg("no link to node %u", node);
    return peer_of_link(0);
}

/* The first one that was not left, or the last one of all. */
static inline struct peer link_to(uint8_t node)
{
    for (size_t i = 0; i < bench.link_count; i++)
        if (is_link_to(&bench.links[i], node) && !bench_is_left(&bench, bench.links[i].peer))
            return peer_of_link(bench.links[i].peer.link);
    return last_link_to(node);
}

/* The last message of that code to that link. */
static inline const void *sent_to(struct peer peer, uint32_t code)
{
    for (size_t i = bench.sent_count; i-- > 0;)
        if (bench.sent[i].peer.link == peer.link &&
            message_is(&bench.sent[i].message, MESSAGE_LINK, code))
            return bench.sent[i].message.body;
    return NULL;
}

static inline void tell(struct peer peer, bool is_whole, const uint8_t *held)
{
    struct message message;
    const struct source_asked *asked = sent_to(peer, LINK_SOURCE_ASKED);
    ck_assert_ptr_nonnull(asked);
    ck_assert_int_eq(message_init(&message, MESSAGE_LINK, LINK_SOURCE_TOLD), STATUS_OK);
    struct source_told *body = message.body;
    body->session = asked->session;
    body->is_whole = is_whole;
    ck_assert(text_set(&body->address, STREAM_ADDRESS));
    if (held)
        ck_assert(bytes_set(&body->held, held, CHUNKS / 8 + 1));
    bench_message(&bench, peer, &message);
}

static inline void give_manifest(struct peer peer, bool is_right)
{
    struct message message;
    ck_assert_ptr_nonnull(sent_to(peer, LINK_MANIFEST_ASKED));
    ck_assert_int_eq(message_init(&message, MESSAGE_LINK, LINK_MANIFEST_PART), STATUS_OK);
    struct manifest_part *body = message.body;
    body->revision = record.revision;
    body->total = manifest_bytes.size;
    ck_assert(bytes_set(&body->part, manifest_bytes.bytes, manifest_bytes.size));
    body->part.items[body->part.count / 2] ^= !is_right;
    bench_message(&bench, peer, &message);
}

static inline void up(struct peer peer)
{
    bench_feed(&bench, (struct input){.kind = INPUT_LINK_UP, .peer = peer});
}

static inline void answer_open(enum status status, const uint8_t *here)
{
    struct effect *effect = bench_effect(&bench, BULK_RECEIVE_OPEN);
    struct receive_request *request = effect->request;
    effect->request = NULL;
    request->count_out = CHUNKS;
    request->have_out = memory_zeroed(CHUNKS / 8 + 1, 1);
    if (here)
        memcpy(request->have_out, here, CHUNKS / 8 + 1);
    result_of(effect, status, request, receive_request_free);
}

/* Both sources are up and whole, the receive is open, both streams are joined. */
static inline void run_with_two(void)
{
    begin();
    up(link_to(2));
    up(link_to(3));
    tell(link_to(2), true, NULL);
    give_manifest(link_to(2), true);
    tell(link_to(3), true, NULL);
    answer_open(STATUS_OK, NULL);
    tell(link_to(2), true, NULL);
    tell(link_to(3), true, NULL);
    ck_assert_uint_eq(bench_effect_count(&bench, BULK_JOIN), 2);
}

static inline uint32_t asked_of(struct peer peer, uint32_t *chunks_out)
{
    uint32_t count = 0;
    for (size_t i = 0; i < bench.sent_count; i++)
        if (bench.sent[i].peer.link == peer.link &&
            message_is(&bench.sent[i].message, MESSAGE_LINK, LINK_CHUNK_ASKED) && count < 16)
            chunks_out[count++] = MESSAGE_BODY(&bench.sent[i].message, chunk_asked)->chunk;
    return count;
}

static inline void chunk(struct peer peer, uint32_t number, enum status status)
{
    struct chunk_told *told = memory_zeroed(1, sizeof(*told));
    *told = (struct chunk_told){peer.link, number, CHUNK_SIZE};
    unasked(BULK_CHUNK_TOLD, bench_effect(&bench, BULK_RECEIVE_OPEN)->id, status, told);
}

static inline const struct transfer_ended *ended(void)
{
    const struct message *report = bench_sent(&bench, MESSAGE_REPORT, REPORT_TRANSFER_ENDED);
    return report ? MESSAGE_BODY(report, transfer_ended) : NULL;
}

#endif
