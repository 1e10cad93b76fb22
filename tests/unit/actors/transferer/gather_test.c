/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/transferer/transferer.h"
#include "protocol/memory.h"
#include "tests/support/check_main.h"
#include "tests/support/step_bench.h"

#include <stdio.h>
#include <string.h>

#define MODEL "org/m"
#define COMMIT "0123456789012345678901234567890123456789"
#define ADDRESS "tcp://127.0.0.1:4000"
#define STREAM_ADDRESS "tcp://10.9.9.9:5000"

/* Files of 3, 3 and 1 chunks: nodes 2 and 3 fetch the large ones, 2 the small one. */
#define FILES 3u
#define CHUNKS 7u
#define ALL 0x7fu
#define OF_FIRST 0x07u
#define OF_SECOND 0x38u
#define OF_THIRD 0x40u

static const struct node_id own = {{1}};
static const struct command_key task_key = {{9}};
static const struct transferer_settings settings = {
    .session = {.actor = ACTOR_TRANSFERER, .incarnation = 5, .build = "test",
                .key = {{50}}, .wants_events = true},
    .listen = "tcp://127.0.0.1:0"};

static struct step_bench bench;
static struct state state;

/* ---- the state ---- */

static void add_node(uint8_t number)
{
    struct node_record *node =
        record_list_push(&node_record_type, RECORD_LIST(state.nodes), NULL, 10);
    char name[16];
    (void)snprintf(name, sizeof(name), "node%u", number);
    ck_assert(node && text_set(&node->name, name));
    node->node_id.bytes[0] = number;
    node->in_view = true;
    struct endpoint_record *endpoint =
        record_list_push(&endpoint_record_type, RECORD_LIST(state.endpoints), NULL, 10);
    ck_assert(endpoint && text_set(&endpoint->address, ADDRESS));
    endpoint->node_id = node->node_id;
    endpoint->actor = ACTOR_TRANSFERER;
    endpoint->key.bytes[0] = (uint8_t)(50 * number);
    endpoint->incarnation = number == 1 ? 5 : 6;
}

static void add_file(struct download_record *download, const char *path, uint64_t size,
                     uint8_t fetcher)
{
    struct download_file *file =
        record_list_push(&download_file_type, RECORD_LIST(download->files), NULL, 10);
    ck_assert(file && text_set(&file->path, path) &&
              text_set(&file->etag,
                       "0123456789012345678901234567890123456789012345678901234567890123"));
    file->size = size;
    file->is_weight = true;
    file->node_id.bytes[0] = fetcher;
}

static void setup(void)
{
    state_init(&state);
    for (uint8_t i = 1; i <= 4; i++)
        add_node(i);
    struct download_record *download =
        record_list_push(&download_record_type, RECORD_LIST(state.downloads), NULL, 10);
    ck_assert(text_set(&download->model_id, MODEL) && text_set(&download->commit, COMMIT));
    for (uint8_t i = 1; i <= 3; i++) {
        const struct download_target target = {.node_id = {{i}}};
        ck_assert_ptr_nonnull(record_list_push(&download_target_type,
                                               RECORD_LIST(download->targets), &target, 10));
    }
    add_file(download, "a.safetensors", 3 * (uint64_t)CHUNK_SIZE, 2);
    add_file(download, "b.safetensors", 3 * (uint64_t)CHUNK_SIZE - 1, 3);
    add_file(download, "config.json", 10, 2);
}

static void teardown(void)
{
    step_bench_close(&bench);
    state_fini(&state);
}

/* ---- the thread beside the loop ---- */

static void unasked(uint32_t kind, uint64_t id, enum status status, void *value)
{
    const struct effect effect = {.id = id, .kind = kind};
    bench_result(&bench, &effect, status, status == STATUS_OK ? "" : "broke", value, memory_free);
    ck_assert_int_eq(bench.failed, STATUS_OK);
}

/* What the last look is told: chunks that are here, files that can be written, and whether one
 * began anew. */
static void looked_after(uint32_t kind, unsigned have, unsigned open, bool was_reset)
{
    struct effect *effect = bench_effect(&bench, kind);
    ck_assert_ptr_nonnull(effect);
    ck_assert_ptr_nonnull(effect->request);
    struct gather_look *look = effect->request;
    effect->request = NULL;
    look->count_out = CHUNKS;
    look->have_out = memory_zeroed(CHUNKS / 8 + 1, 1);
    look->open_out = memory_zeroed(FILES + 1, 1);
    look->have_out[0] = (uint8_t)have;
    look->was_reset_out = was_reset;
    for (uint32_t i = 0; i < FILES; i++)
        look->open_out[i] = open >> i & 1;
    bench_result(&bench, effect, STATUS_OK, "", look, gather_look_free);
    ck_assert_int_eq(bench.failed, STATUS_OK);
}

static void looked(uint32_t kind, unsigned have, unsigned open)
{
    looked_after(kind, have, open, false);
}

static uint64_t gather_number(void)
{
    return bench_effect(&bench, BULK_GATHER_OPEN)->id;
}

static void chunk(struct peer peer, uint32_t number, enum status status)
{
    struct chunk_told *told = memory_zeroed(1, sizeof(*told));
    *told = (struct chunk_told){peer.link, number, CHUNK_SIZE};
    unasked(BULK_CHUNK_TOLD, gather_number(), status, told);
}

/* ---- the other nodes ---- */

static bool is_to(const struct outbox_item *item, uint8_t node)
{
    return item->kind == OUTBOX_LINK_OPEN && item->peer.link >= GATHER_LINK_FIRST &&
           item->options->server_key.bytes[0] == (uint8_t)(50 * node);
}

/* The first link to the node that was not left, or the last one of all; 0: none. */
static uint32_t link_number(uint8_t node)
{
    uint32_t last = 0;
    for (size_t i = 0; i < bench.link_count; i++) {
        if (!is_to(&bench.links[i], node))
            continue;
        last = bench.links[i].peer.link;
        if (!bench_is_left(&bench, bench.links[i].peer))
            break;
    }
    return last;
}

static struct peer link_to(uint8_t node)
{
    ck_assert_uint_ne(link_number(node), 0);
    return peer_of_link(link_number(node));
}

static const struct share_asked *asked_last(struct peer peer)
{
    for (size_t i = bench.sent_count; i-- > 0;)
        if (bench.sent[i].peer.link == peer.link &&
            message_is(&bench.sent[i].message, MESSAGE_LINK, LINK_SHARE_ASKED))
            return bench.sent[i].message.body;
    return NULL;
}

static void say(struct peer peer, enum status status, const uint8_t *held, size_t size)
{
    struct message message;
    const struct share_asked *asked = asked_last(peer);
    ck_assert_ptr_nonnull(asked);
    ck_assert_int_eq(message_init(&message, MESSAGE_LINK, LINK_SOURCE_TOLD), STATUS_OK);
    struct source_told *body = message.body;
    body->session = asked->session;
    body->status = status;
    ck_assert(text_set(&body->address, STREAM_ADDRESS) && bytes_set(&body->held, held, size));
    bench_message(&bench, peer, &message);
    ck_assert_int_eq(bench.failed, STATUS_OK);
}

static void tell(struct peer peer, unsigned held)
{
    const uint8_t set[CHUNKS / 8 + 1] = {(uint8_t)held};
    say(peer, STATUS_OK, set, sizeof(set));
}

static void up(struct peer peer)
{
    bench_feed(&bench, (struct input){.kind = INPUT_LINK_UP, .peer = peer});
}

static void down(struct peer peer)
{
    bench_feed(&bench, (struct input){.kind = INPUT_LINK_DOWN, .peer = peer});
}

static void refuse_chunk(struct peer peer, uint32_t number)
{
    struct message message;
    ck_assert_int_eq(message_init(&message, MESSAGE_LINK, LINK_CHUNK_REFUSED), STATUS_OK);
    *MESSAGE_BODY(&message, chunk_refused) = (struct chunk_refused){
        .session = asked_last(peer)->session, .chunk = number, .status = STATUS_NOT_FOUND};
    bench_message(&bench, peer, &message);
}

/* The chunks asked of it so far, in order. */
static uint32_t asked_of(struct peer peer, uint32_t *chunks_out)
{
    uint32_t count = 0;
    for (size_t i = 0; i < bench.sent_count; i++)
        if (bench.sent[i].peer.link == peer.link && count < 16 &&
            message_is(&bench.sent[i].message, MESSAGE_LINK, LINK_CHUNK_ASKED))
            chunks_out[count++] = MESSAGE_BODY(&bench.sent[i].message, chunk_asked)->chunk;
    return count;
}

static unsigned set_asked_of(struct peer peer)
{
    uint32_t chunks[16];
    unsigned set = 0;
    for (uint32_t i = asked_of(peer, chunks); i-- > 0;)
        set |= 1u << chunks[i];
    return set;
}

/* Stores what it owes, and what it is asked for next, until it is asked for nothing more.  The
 * chunks asked of it so far. */
static unsigned drained(struct peer peer)
{
    unsigned before = set_asked_of(peer);
    uint32_t chunks[16];
    for (;;) {
        chunk(peer, chunks[asked_of(peer, chunks) - 1], STATUS_OK);
        if (set_asked_of(peer) == before)
            return before;
        before = set_asked_of(peer);
    }
}

/* ---- beginning ---- */

static void start(void)
{
    struct message task;
    step_bench_open(&bench, &transferer_ops, &settings);
    bench_feed(&bench, (struct input){.kind = INPUT_START});
    bench_feed(&bench, (struct input){.kind = INPUT_LINK_BOUND, .peer = peer_of_link(SERVE_LINK),
                                      .endpoint = ADDRESS});
    unasked(BULK_LENDER_BOUND, 0, STATUS_OK, memory_text("tcp://127.0.0.1:7777", 20));
    bench_welcome(&bench, &own);
    bench_state(&bench, &state);
    ck_assert_int_eq(message_init(&task, MESSAGE_TASK, TASK_GATHER_FILES), STATUS_OK);
    task.head.key = task_key;
    struct gather_files *body = task.body;
    ck_assert(text_set(&body->model_id, MODEL) && text_set(&body->commit, COMMIT));
    bench_message(&bench, peer_of_link(SESSION_LINK), &task);
}

static void begin(unsigned have, unsigned open)
{
    start();
    looked(BULK_GATHER_OPEN, have, open);
}

static void join(uint8_t node, unsigned held)
{
    up(link_to(node));
    tell(link_to(node), held);
}

/* ---- whom, and for what ---- */

START_TEST(those_who_fetch_and_the_other_targets_are_asked)
{
    begin(0, 7);
    for (uint8_t node = 2; node <= 3; node++) {
        up(link_to(node));
        const struct share_asked *asked = asked_last(link_to(node));
        ck_assert_ptr_nonnull(asked);
        ck_assert_str_eq(asked->model_id, MODEL);
        ck_assert_str_eq(asked->commit, COMMIT);
        ck_assert(!asked->is_strict);
    }
    ck_assert_uint_eq(link_number(4), 0); /* neither a target nor a holder */
    ck_assert_uint_eq(link_number(1), 0); /* this node */
}
END_TEST

START_TEST(chunks_come_from_several_nodes_at_once)
{
    begin(0, 7);
    join(2, ALL);
    const struct stream_request *request = bench_effect(&bench, BULK_GATHER_JOIN)->request;
    /* Its port, but the host that the state knows. */
    ck_assert_str_eq(request->address, "tcp://127.0.0.1:5000");
    ck_assert(request->is_shared);
    join(3, ALL);
    const unsigned of_three = set_asked_of(link_to(3));
    ck_assert_uint_ne(of_three, 0);
    const unsigned of_two = drained(link_to(2));
    ck_assert_uint_eq(of_two & of_three, 0);
    ck_assert_uint_eq(of_two | of_three, ALL);
}
END_TEST

static uint32_t links_to(uint8_t node)
{
    uint32_t count = 0;
    for (size_t i = 0; i < bench.link_count; i++)
        count += is_to(&bench.links[i], node);
    return count;
}

START_TEST(a_node_that_owes_a_chunk_is_asked_over_one_connection_more)
{
    begin(0, 7);
    join(2, ALL);
    ck_assert_uint_eq(links_to(2), GATHER_CONNECTIONS);
    join(3, 0);
    ck_assert_uint_eq(links_to(3), 1);
    bench_pass(&bench, GATHER_POLL_MS);
    ck_assert_uint_eq(links_to(2), GATHER_CONNECTIONS);
    ck_assert_uint_eq(links_to(3), 1);
}
END_TEST

START_TEST(nobody_is_asked_over_a_second_connection_for_which_others_need_the_room)
{
    const uint8_t last = GATHER_SOURCES_MAX - SOURCES_SPARE + 1;
    for (uint8_t node = 5; node <= last; node++)
        add_node(node);
    for (uint8_t node = 4; node <= last; node++) {
        const struct download_target target = {.node_id = {{node}}};
        ck_assert_ptr_nonnull(record_list_push(
            &download_target_type, RECORD_LIST(state.downloads.items[0].targets), &target, 10));
    }
    begin(0, 7);
    for (uint8_t node = 2; node <= last; node++)
        join(node, ALL);
    for (uint8_t node = 2; node <= last; node++)
        ck_assert_uint_eq(links_to(node), 1);
}
END_TEST

START_TEST(the_rarest_is_asked_first)
{
    uint32_t chunks[16];
    begin(0, 7);
    join(3, 0x3f); /* all but the last chunk; it owes one then */
    ck_assert_uint_eq(asked_of(link_to(3), chunks), 1);
    join(2, ALL);
    ck_assert_uint_ge(asked_of(link_to(2), chunks), 1);
    ck_assert_uint_eq(chunks[0], 6);
}
END_TEST

START_TEST(chunks_that_are_here_or_cannot_be_written_are_not_asked_for)
{
    begin(OF_THIRD | 1, 5);
    join(2, ALL);
    ck_assert_uint_eq(drained(link_to(2)), OF_FIRST & ~1u);
}
END_TEST

/* ---- what fails ---- */

START_TEST(the_chunk_of_a_source_that_leaves_is_asked_of_another)
{
    begin(OF_SECOND | OF_THIRD, 7);
    join(2, 1);
    ck_assert_uint_eq(set_asked_of(link_to(2)), 1);
    join(3, 1);
    ck_assert_uint_eq(set_asked_of(link_to(3)), 0);
    down(link_to(2));
    ck_assert_uint_eq(set_asked_of(link_to(3)), 1);
    ck_assert_uint_eq(bench_effect_count(&bench, BULK_GATHER_LEAVE), 1);
}
END_TEST

START_TEST(a_chunk_stored_though_its_source_left_is_not_asked_again)
{
    begin(OF_SECOND | OF_THIRD, 7);
    join(2, OF_FIRST);
    const struct peer gone = link_to(2);
    down(gone);
    chunk(gone, 1, STATUS_OK);
    join(3, OF_FIRST);
    ck_assert_uint_eq(drained(link_to(3)), OF_FIRST & ~2u);
}
END_TEST

START_TEST(a_wrong_chunk_is_asked_of_another)
{
    begin(OF_SECOND | OF_THIRD, 7);
    join(2, OF_FIRST);
    join(3, OF_FIRST);
    const struct peer liar = link_to(2);
    uint32_t chunks[16];
    ck_assert_uint_eq(asked_of(liar, chunks), 1);
    chunk(liar, chunks[0], STATUS_HASH_MISMATCH);
    ck_assert(bench_is_left(&bench, liar));
    ck_assert_uint_eq(drained(link_to(3)), OF_FIRST);
}
END_TEST

START_TEST(who_is_often_wrong_is_not_asked_again)
{
    begin(OF_SECOND | OF_THIRD, 7);
    for (unsigned i = 0; i < GATHER_WRONG_MAX; i++) {
        const struct peer liar = link_to(2);
        ck_assert(!bench_is_left(&bench, liar));
        join(2, OF_FIRST);
        chunk(liar, 0, STATUS_HASH_MISMATCH);
        ck_assert(bench_is_left(&bench, liar));
        bench_pass(&bench, GATHER_REST_MS + GATHER_POLL_MS);
    }
    bench_pass(&bench, 10 * GATHER_REST_MS);
    ck_assert(bench_is_left(&bench, link_to(2)));
}
END_TEST

START_TEST(a_chunk_nobody_asked_for_costs_the_source)
{
    begin(OF_SECOND | OF_THIRD, 7);
    join(2, 1);
    const struct peer liar = link_to(2);
    chunk(liar, 5, STATUS_OK);
    ck_assert(bench_is_left(&bench, liar));
}
END_TEST

START_TEST(a_refused_chunk_is_asked_of_another)
{
    begin(OF_SECOND | OF_THIRD, 7);
    join(2, 1);
    join(3, 1);
    refuse_chunk(link_to(2), 0);
    ck_assert(!bench_is_left(&bench, link_to(2)));
    ck_assert_uint_eq(set_asked_of(link_to(3)), 1);
}
END_TEST

/* Too few, too many or no bytes for the chunks of the download. */
START_TEST(who_lies_about_the_chunks_is_left)
{
    static const uint8_t set[CHUNKS / 8 + 2] = {ALL};
    for (size_t size = 0; size <= sizeof(set); size++) {
        if (size == CHUNKS / 8 + 1)
            continue;
        begin(0, 7);
        up(link_to(2));
        const struct peer liar = link_to(2);
        say(liar, STATUS_OK, set, size);
        ck_assert(bench_is_left(&bench, liar));
        ck_assert_uint_eq(bench_effect_count(&bench, BULK_GATHER_JOIN), 0);
        step_bench_close(&bench);
    }
    begin(0, 7);
}
END_TEST

/* Chunks beyond the last, or of no number at all: as if they were not there. */
START_TEST(bits_and_chunks_beyond_the_last_change_nothing)
{
    begin(0, 7);
    join(2, 0xff);
    join(3, 0);
    ck_assert_uint_eq(set_asked_of(link_to(2)) & ~ALL, 0);
    refuse_chunk(link_to(3), CHUNKS);
    refuse_chunk(link_to(3), UINT32_MAX);
    chunk(link_to(3), UINT32_MAX - 1, STATUS_OK);
    ck_assert(bench_is_left(&bench, link_to(3)));
    ck_assert(!bench_is_left(&bench, link_to(2)));
}
END_TEST

START_TEST(results_of_an_earlier_gather_change_nothing)
{
    begin(OF_SECOND | OF_THIRD, 7);
    join(2, OF_FIRST);
    struct chunk_told *told = memory_zeroed(1, sizeof(*told));
    *told = (struct chunk_told){link_number(2), CHUNK_NONE, 0};
    unasked(BULK_CHUNK_TOLD, gather_number() + 1, STATUS_UNREACHABLE, told);
    ck_assert(!bench_is_left(&bench, link_to(2)));
}
END_TEST

/* Whoever had it may have been wrong as well, and what it said was said before. */
START_TEST(after_a_wrong_whole_each_is_asked_anew_for_what_it_found_right)
{
    begin(ALL, 7);
    join(2, ALL);
    const struct peer before = link_to(2);
    ck_assert_uint_eq(set_asked_of(before), 0);
    bench_pass(&bench, GATHER_LOOK_MS + GATHER_POLL_MS);
    looked_after(BULK_GATHER_LOOK, OF_SECOND | OF_THIRD, 7, true);
    ck_assert(bench_is_left(&bench, before));
    ck_assert_uint_eq(set_asked_of(before), 0);
    ck_assert_uint_ne(link_to(2).link, before.link);
    up(link_to(2));
    ck_assert(asked_last(link_to(2))->is_strict);
    tell(link_to(2), OF_THIRD);
    ck_assert_uint_eq(set_asked_of(link_to(2)), 0);
    tell(link_to(2), OF_FIRST);
    ck_assert_uint_eq(drained(link_to(2)), OF_FIRST);
    /* It stays so, and nobody is left again. */
    bench_pass(&bench, GATHER_LOOK_MS + GATHER_POLL_MS);
    looked_after(BULK_GATHER_LOOK, OF_SECOND | OF_THIRD, 7, true);
    ck_assert(!bench_is_left(&bench, link_to(2)));
}
END_TEST

START_TEST(a_source_that_falls_silent_is_left)
{
    begin(OF_SECOND | OF_THIRD, 7);
    join(2, OF_FIRST);
    const struct peer silent = link_to(2);
    bench_pass(&bench, GATHER_CHUNK_MS);
    ck_assert(bench_is_left(&bench, silent));
}
END_TEST

/* ---- what the state learns ---- */

static const struct file_lacking *told_lacking(void)
{
    const struct message *report = bench_sent(&bench, MESSAGE_REPORT, REPORT_FILE_LACKING);
    return report ? MESSAGE_BODY(report, file_lacking) : NULL;
}

static const struct download_hindered *told_alone(void)
{
    const struct message *report = bench_sent(&bench, MESSAGE_REPORT, REPORT_DOWNLOAD_HINDERED);
    return report ? MESSAGE_BODY(report, download_hindered) : NULL;
}

/* It is asked again and again, and says the same each time. */
static void pass_answering(uint8_t node, unsigned held, uint64_t for_ms)
{
    for (uint64_t ms = 0; ms < for_ms; ms += 1000) {
        tell(link_to(node), held);
        bench_pass(&bench, 1000);
    }
}

START_TEST(when_nobody_answers_the_hub_is_asked_for_all)
{
    begin(0, 7);
    bench_pass(&bench, GATHER_ALONE_MS / 2);
    ck_assert_ptr_null(told_alone());
    bench_pass(&bench, GATHER_ALONE_MS);
    ck_assert_ptr_nonnull(told_alone());
    ck_assert(told_alone()->is_alone);
    ck_assert(ID_EQUAL(told_alone()->node_id, own));
    ck_assert_uint_eq(bench_sent_count(&bench, MESSAGE_REPORT, REPORT_DOWNLOAD_HINDERED), 1);
}
END_TEST

/* Node 3 fetches the second file and cannot be reached; node 2 answers, and has what it fetches. */
START_TEST(a_fetcher_that_never_answers_is_told_of)
{
    begin(OF_FIRST | OF_THIRD, 7);
    up(link_to(2));
    pass_answering(2, OF_FIRST | OF_THIRD, GATHER_MUTE_MS - 1000);
    ck_assert_ptr_null(told_lacking());
    pass_answering(2, OF_FIRST | OF_THIRD, 3000);
    ck_assert_ptr_nonnull(told_lacking());
    ck_assert_str_eq(told_lacking()->path, "b.safetensors");
    ck_assert_uint_eq(told_lacking()->holder_node_id.bytes[0], 3);
    ck_assert_ptr_null(told_alone());
}
END_TEST

START_TEST(a_fetcher_that_is_open_and_says_no_more_is_left)
{
    begin(ALL & ~OF_SECOND, 7);
    join(3, 0);
    const struct peer silent = link_to(3);
    bench_pass(&bench, GATHER_ANSWER_MS / 2);
    ck_assert(!bench_is_left(&bench, silent));
    bench_pass(&bench, GATHER_ANSWER_MS);
    ck_assert(bench_is_left(&bench, silent));
}
END_TEST

START_TEST(a_fetcher_that_has_nothing_yet_is_waited_for)
{
    begin(ALL & ~OF_SECOND, 7);
    up(link_to(3));
    pass_answering(3, 0, GATHER_MUTE_MS + GATHER_RARE_MS);
    ck_assert(!bench_is_left(&bench, link_to(3)));
    ck_assert_ptr_null(told_lacking());
    ck_assert_ptr_null(told_alone());
}
END_TEST

START_TEST(a_holder_that_has_it_not_is_told_of)
{
    struct download_file *file = &state.downloads.items[0].files.items[1];
    file->node_id.bytes[0] = 4;
    file->is_done = true;
    begin(ALL & ~OF_SECOND, 7);
    up(link_to(4));
    pass_answering(4, ALL & ~OF_SECOND, 1000);
    ck_assert_ptr_null(told_lacking());
    pass_answering(4, ALL & ~OF_SECOND, GATHER_LACKING_MS + 1000);
    ck_assert_ptr_nonnull(told_lacking());
    ck_assert_uint_eq(told_lacking()->holder_node_id.bytes[0], 4);
}
END_TEST

/* Pulled without peers, until node 4 was complete: nobody is assigned anything. */
static void pause_without_peers(bool is_for_placement)
{
    struct download_record *download = &state.downloads.items[0];
    const struct holder_record holder = {.node_id = {{4}}, .has_weights = true};
    struct model_record *model =
        record_list_push(&model_record_type, RECORD_LIST(state.models), NULL, 10);
    ck_assert(model && text_set(&model->model_id, MODEL) && text_set(&model->commit, COMMIT));
    ck_assert_ptr_nonnull(record_list_push(&holder_record_type, RECORD_LIST(model->holders),
                                           &holder, 10));
    download->no_peers = true;
    for (uint32_t i = 0; i < FILES; i++)
        memset(&download->files.items[i].node_id, 0, sizeof(struct node_id));
    download->targets.items[0].is_paused = true;
    download->targets.items[0].is_for_placement = is_for_placement;
}

START_TEST(a_paused_one_takes_the_rest_from_the_complete_peer)
{
    pause_without_peers(false);
    begin(OF_FIRST, 7);
    join(4, ALL);
    ck_assert_uint_eq(drained(link_to(4)), ALL & ~OF_FIRST);
}
END_TEST

START_TEST(one_that_rests_takes_nothing)
{
    pause_without_peers(true);
    start();
    ck_assert_uint_eq(bench_effect_count(&bench, BULK_GATHER_OPEN), 0);
    ck_assert_uint_eq(link_number(4), 0);
}
END_TEST

START_TEST(what_the_complete_peer_has_not_and_nobody_fetches_comes_from_the_hub)
{
    pause_without_peers(false);
    begin(OF_FIRST, 7);
    up(link_to(4));
    pass_answering(4, 0, GATHER_RARE_MS - 1000);
    ck_assert_ptr_null(told_alone());
    pass_answering(4, 0, 2000);
    ck_assert_ptr_nonnull(told_alone());
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("transferer gather");
    const TTest *const tests[] = {
        those_who_fetch_and_the_other_targets_are_asked,
        chunks_come_from_several_nodes_at_once,
        a_node_that_owes_a_chunk_is_asked_over_one_connection_more,
        nobody_is_asked_over_a_second_connection_for_which_others_need_the_room,
        the_rarest_is_asked_first,
        chunks_that_are_here_or_cannot_be_written_are_not_asked_for,
        the_chunk_of_a_source_that_leaves_is_asked_of_another,
        a_chunk_stored_though_its_source_left_is_not_asked_again,
        a_wrong_chunk_is_asked_of_another,
        who_is_often_wrong_is_not_asked_again,
        a_chunk_nobody_asked_for_costs_the_source,
        a_refused_chunk_is_asked_of_another,
        who_lies_about_the_chunks_is_left,
        bits_and_chunks_beyond_the_last_change_nothing,
        results_of_an_earlier_gather_change_nothing,
        after_a_wrong_whole_each_is_asked_anew_for_what_it_found_right,
        a_source_that_falls_silent_is_left,
        when_nobody_answers_the_hub_is_asked_for_all,
        a_fetcher_that_never_answers_is_told_of,
        a_fetcher_that_is_open_and_says_no_more_is_left,
        a_fetcher_that_has_nothing_yet_is_waited_for,
        a_holder_that_has_it_not_is_told_of,
        a_paused_one_takes_the_rest_from_the_complete_peer,
        one_that_rests_takes_nothing,
        what_the_complete_peer_has_not_and_nobody_fetches_comes_from_the_hub,
    };
    TCase *group = tcase_create("gather");
    tcase_add_checked_fixture(group, setup, teardown);
    for (size_t i = 0; i < COUNT_OF(tests); i++)
        tcase_add_test(group, tests[i]);
    suite_add_tcase(suite, group);
    return suite;
}
