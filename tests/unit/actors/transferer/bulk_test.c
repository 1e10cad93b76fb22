/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The streams themselves: a lender and a receiver of two stores in this process, and receivers
 * whose lender is this test and sends what no lender sends.  The loop is a queue of ours.
 */
#include "actors/transferer/bulk.h"
#include "protocol/memory.h"
#include "runtime/bytes.h"
#include "runtime/clock.h"
#include "runtime/transport.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define MODEL "scripts/demo-model/model"
#define LIMIT_MS 60000u
#define LENDER_LINK 1u
#define RESULTS_MAX 64u

static struct scratch scratch;
static struct model_store stores[2]; /* of the lender, of the receiver */
static struct bulk *bulks[2];
static struct model_record record;
static struct buffer manifest;
static struct reason reason;
static const struct request_id session = {{7}};
static const struct hash key = {{8}};
static char address[LINK_ENDPOINT_SIZE];

/* ---- in place of the loop ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct result results[RESULTS_MAX];
static size_t result_count;

static void keep_result(struct loop *loop, const struct result *result)
{
    (void)loop;
    (void)pthread_mutex_lock(&lock);
    ck_assert_uint_lt(result_count, RESULTS_MAX);
    results[result_count++] = *result;
    (void)pthread_mutex_unlock(&lock);
}

static void result_free(struct result *result)
{
    if (result->value && result->value_free)
        result->value_free(result->value);
}

/* The next of that kind; others stay. */
static struct result next(uint32_t kind)
{
    struct result found = {.kind = 0};
    for (uint64_t end_ms = clock_now_ms() + LIMIT_MS; clock_now_ms() < end_ms && !found.kind;) {
        (void)pthread_mutex_lock(&lock);
        for (size_t i = 0; i < result_count && !found.kind; i++) {
            if (results[i].kind != kind)
                continue;
            found = results[i];
            result_count--;
            memmove(results + i, results + i + 1, (result_count - i) * sizeof(results[0]));
        }
        (void)pthread_mutex_unlock(&lock);
        if (!found.kind)
            clock_sleep_ms(1);
    }
    ck_assert_msg(found.kind == kind, "no result of kind %u came", (unsigned)kind);
    return found;
}

static uint64_t number = 1; /* of the receive */

static void give(struct bulk *bulk, uint32_t kind, void *request, void (*request_free)(void *))
{
    struct effect effect = {.id = number, .kind = kind, .request = request,
                            .request_free = request_free};
    ck_assert_int_eq(bulk_take(bulk, &effect), STATUS_OK);
}

/* ---- two ends ---- */

static void open_end(size_t at, const char *name, const char *holdings)
{
    char paths[2][256];
    const struct model_store_places places = {scratch_path(&scratch, name, paths[0]),
                                              scratch_path(&scratch, holdings, paths[1]), NULL};
    const struct bulk_options options = {
        .post = keep_result, .store = &stores[at], .listen = "tcp://127.0.0.1:0"};
    ck_assert_int_eq(model_store_open(&stores[at], &places, "test", &reason), STATUS_OK);
    ck_assert_int_eq(bulk_open(&options, &bulks[at], &reason), STATUS_OK);
    struct result bound = next(BULK_LENDER_BOUND);
    ck_assert_int_eq(bound.status, STATUS_OK);
    if (at == 0)
        (void)snprintf(address, sizeof(address), "%s", (const char *)bound.value);
    result_free(&bound);
}

static void setup(void)
{
    char path[512];
    struct model_source source;
    const struct model_import import = {.model_id = "org/demo", .source = source_path(MODEL, path)};
    scratch_open(&scratch);
    result_count = 0;
    memset(&record, 0, sizeof(record));
    open_end(0, "source", "source.holdings");
    open_end(1, "target", "target.holdings");
    ck_assert_int_eq(model_store_import(&stores[0], &import, &record, &reason), STATUS_OK);
    buffer_init(&manifest, CHUNK_MANIFEST_SIZE_MAX);
    ck_assert_int_eq(model_source_open(&stores[0], &record, &source, &manifest, &reason),
                     STATUS_OK);
    model_source_close(&source);
}

static void teardown(void)
{
    for (size_t i = 0; i < 2; i++) {
        bulk_close(bulks[i]);
        model_store_close(&stores[i]);
    }
    while (result_count > 0)
        result_free(&results[--result_count]);
    record_fini(&model_record_type, &record);
    buffer_fini(&manifest);
    scratch_close(&scratch);
}

/* The number of chunks. */
static uint32_t open_receive(void)
{
    struct receive_request *request = memory_zeroed(1, sizeof(*request));
    ck_assert(request && bytes_set(&request->manifest, manifest.bytes, manifest.size));
    ck_assert_int_eq(record_copy(&model_record_type, &record, &request->record), STATUS_OK);
    give(bulks[1], BULK_RECEIVE_OPEN, request, receive_request_free);
    struct result opened = next(BULK_RECEIVE_OPEN);
    ck_assert_msg(opened.status == STATUS_OK, "%s", opened.reason.text);
    const uint32_t count = ((const struct receive_request *)opened.value)->count_out;
    result_free(&opened);
    return count;
}

static void lend(void)
{
    struct stream_request *request = memory_zeroed(1, sizeof(*request));
    ck_assert_int_eq(record_copy(&model_record_type, &record, &request->record), STATUS_OK);
    request->session = session;
    request->key = key;
    request->is_aes = seal_has_aes();
    give(bulks[0], BULK_LEND, request, stream_request_free);
    struct result lent = next(BULK_LEND);
    ck_assert_msg(lent.status == STATUS_OK, "%s", lent.reason.text);
    result_free(&lent);
}

static void join(const char *to)
{
    struct stream_request *request = memory_zeroed(1, sizeof(*request));
    ck_assert_ptr_nonnull(request);
    request->link = 100;
    request->session = session;
    request->key = key;
    request->is_aes = seal_has_aes();
    (void)snprintf(request->address, sizeof(request->address), "%s", to);
    give(bulks[1], BULK_JOIN, request, stream_request_free);
}

static void ask(uint32_t chunk)
{
    struct chunk_request *request = memory_zeroed(1, sizeof(*request));
    ck_assert_ptr_nonnull(request);
    *request = (struct chunk_request){session, chunk};
    give(bulks[0], BULK_SEND, request, memory_free);
}

static void pass_all(uint32_t count)
{
    lend();
    /* Asked for before the receiver has said hello: sent when it has. */
    for (uint32_t i = 0; i < count; i++) {
        ask(i);
        if (i == 0)
            join(address);
        struct result told = next(BULK_CHUNK_TOLD);
        const struct chunk_told *chunk = told.value;
        ck_assert_msg(told.status == STATUS_OK, "%s", told.reason.text);
        ck_assert(told.id == 1 && chunk->link == 100 && chunk->chunk == i && chunk->bytes > 0);
        result_free(&told);
        struct result sent = next(BULK_CHUNK_SENT);
        ck_assert_int_eq(sent.status, STATUS_OK);
        result_free(&sent);
    }
    give(bulks[1], BULK_RECEIVE_PLACE, NULL, NULL);
    struct result placed = next(BULK_RECEIVE_PLACE);
    ck_assert_msg(placed.status == STATUS_OK, "%s", placed.reason.text);
    ck_assert_int_eq(model_store_check(&stores[1], "org/demo", NULL, &reason), MODEL_WHOLE);
}

START_TEST(a_model_passes_through_a_stream)
{
    pass_all(open_receive());
}
END_TEST

/* However long its pieces wait. */
START_TEST(a_chunk_passes_while_the_node_generates)
{
    for (size_t i = 0; i < 2; i++) {
        struct effect busy = {.id = clock_now_ms() + 1000000, .kind = BULK_BUSY};
        ck_assert_int_eq(bulk_take(bulks[i], &busy), STATUS_OK);
    }
    (void)open_receive();
    lend();
    join(address);
    ask(0);
    struct result told = next(BULK_CHUNK_TOLD);
    ck_assert_msg(told.status == STATUS_OK, "%s", told.reason.text);
    result_free(&told);
}
END_TEST

/* A receive is opened, and dropped, while another one is under way. */
START_TEST(receives_do_not_disturb_each_other)
{
    number = 1;
    const uint32_t count = open_receive();
    ck_assert(text_set(&record.model_id, "org/other"));
    number = 2;
    ck_assert_uint_eq(open_receive(), count);
    give(bulks[1], BULK_RECEIVE_DROP, NULL, NULL);
    /* There is none of that number any more. */
    give(bulks[1], BULK_RECEIVE_PLACE, NULL, NULL);
    struct result placed = next(BULK_RECEIVE_PLACE);
    ck_assert_int_eq(placed.status, STATUS_ENDED);
    number = 1;
    ck_assert(text_set(&record.model_id, "org/demo"));
    pass_all(count);
}
END_TEST

START_TEST(a_chunk_that_is_none_is_said_and_no_more)
{
    const uint32_t count = open_receive();
    lend();
    join(address);
    ask(count);
    struct result sent = next(BULK_CHUNK_SENT);
    ck_assert_int_eq(sent.status, STATUS_NOT_FOUND);
    result_free(&sent);
    ask(0);
    struct result told = next(BULK_CHUNK_TOLD);
    ck_assert_int_eq(told.status, STATUS_OK);
    result_free(&told);
}
END_TEST

/* ---- a lender that is none ---- */

static struct transport *liar;

/* Waits for the receiver's hello, then sends those bytes. */
static void lie(const uint8_t *bytes, size_t size)
{
    const struct transport_options options = {.io_threads = 1};
    struct link_options link = {.role = LINK_BIND, .is_plain = true,
                                .message_size_max = LENDER_MESSAGE_MAX,
                                .endpoint = "tcp://127.0.0.1:0"};
    struct transport_event event = {.kind = TRANSPORT_NOTHING};
    ck_assert_int_eq(transport_open(&options, &liar, &reason), STATUS_OK);
    ck_assert_int_eq(transport_link_open(liar, LENDER_LINK, &link, &reason), STATUS_OK);
    join(transport_endpoint(liar, LENDER_LINK));
    for (uint64_t end_ms = clock_now_ms() + LIMIT_MS;
         clock_now_ms() < end_ms && event.kind != TRANSPORT_MESSAGE;) {
        transport_wait(liar, NULL, 0, 20);
        while (event.kind != TRANSPORT_MESSAGE && transport_next(liar, &event))
            ;
    }
    ck_assert_int_eq(event.kind, TRANSPORT_MESSAGE);
    ck_assert_uint_eq(event.size, HELLO_SIZE);
    const struct peer peer = event.peer;
    ck_assert_int_eq(transport_send(liar, &peer, bytes, size), STATUS_OK);
}

/* The stream broke with that status, and nothing was stored. */
static void broken(enum status expected)
{
    struct result told = next(BULK_CHUNK_TOLD);
    ck_assert_uint_eq(((const struct chunk_told *)told.value)->chunk, CHUNK_NONE);
    ck_assert_msg(told.status == expected, "%s", told.reason.text);
    ck_assert_uint_gt(strlen(told.reason.text), 0);
    result_free(&told);
    transport_close(liar, 0);
    ck_assert_int_eq(model_store_check(&stores[1], "org/demo", NULL, &reason), MODEL_ABSENT);
}

START_TEST(pieces_that_are_none_end_the_stream)
{
    uint8_t piece[PIECE_HEADER_SIZE + 100 + SEAL_OVERHEAD] = {0};
    const uint32_t count = open_receive();
    lie(piece, PIECE_HEADER_SIZE + SEAL_OVERHEAD);
    broken(STATUS_MALFORMED);
    put_u32(piece, count); /* a chunk that does not exist */
    lie(piece, sizeof(piece));
    broken(STATUS_MALFORMED);
    put_u32(piece, 0);
    put_u32(piece + 4, 512); /* not the next of it */
    lie(piece, sizeof(piece));
    broken(STATUS_MALFORMED);
    put_u32(piece + 4, 0); /* nobody sealed it */
    lie(piece, sizeof(piece));
    broken(STATUS_HASH_MISMATCH);
}
END_TEST

START_TEST(a_message_without_end_ends_the_stream)
{
    uint8_t *piece = memory_zeroed(4 * PIECE_MESSAGE_MAX, 1);
    ck_assert_ptr_nonnull(piece);
    (void)open_receive();
    lie(piece, 4 * PIECE_MESSAGE_MAX);
    broken(STATUS_UNREACHABLE);
    memory_free(piece);
}
END_TEST

/* Sealed as it should be, but of bytes that are not the chunk's. */
START_TEST(a_wrong_chunk_is_not_stored)
{
    struct chunk_manifest chunks;
    struct chunk_place place;
    struct seal seal;
    uint8_t with[PIECE_WITH_SIZE];
    uint32_t chunk = 0;
    (void)open_receive();
    ck_assert_int_eq(chunk_manifest_decode(manifest.bytes, manifest.size, &record, &chunks,
                                           &reason), STATUS_OK);
    while (chunk_manifest_place(&chunks, chunk, &place) && place.size > PIECE_SIZE)
        chunk++;
    uint8_t *plain = memory_zeroed(place.size, 1);
    uint8_t *piece = memory_zeroed(PIECE_MESSAGE_MAX, 1);
    ck_assert(plain && piece);
    ck_assert_int_eq(seal_init(&seal, &key, SEAL_FROM_SOURCE, seal_has_aes()), STATUS_OK);
    piece_with(&session, chunk, 0, with);
    put_u32(piece, chunk);
    seal_close(&seal, with, sizeof(with), plain, place.size, piece + PIECE_HEADER_SIZE);
    lie(piece, PIECE_HEADER_SIZE + place.size + SEAL_OVERHEAD);
    struct result told = next(BULK_CHUNK_TOLD);
    ck_assert_uint_eq(((const struct chunk_told *)told.value)->chunk, chunk);
    ck_assert_int_eq(told.status, STATUS_HASH_MISMATCH);
    result_free(&told);
    transport_close(liar, 0);
    seal_fini(&seal);
    memory_free(plain);
    memory_free(piece);
    record_fini(&chunk_manifest_type, &chunks);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("transferer bulk");
    const TTest *const tests[] = {
        a_model_passes_through_a_stream,
        a_chunk_passes_while_the_node_generates,
        receives_do_not_disturb_each_other,
        a_chunk_that_is_none_is_said_and_no_more,
        pieces_that_are_none_end_the_stream,
        a_message_without_end_ends_the_stream,
        a_wrong_chunk_is_not_stored,
    };
    TCase *group = tcase_create("bulk");
    tcase_set_timeout(group, 90);
    tcase_add_checked_fixture(group, setup, teardown);
    for (size_t i = 0; i < COUNT_OF(tests); i++)
        tcase_add_test(group, tests[i]);
    suite_add_tcase(suite, group);
    return suite;
}
