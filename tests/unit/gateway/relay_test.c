/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that this node does not hold pass through it: the test is its clients and two nodes that
 * hold a model of three chunks and a bit.
 */
#include "actors/gateway/relay.h"
#include "protocol/hash.h"
#include "protocol/memory.h"
#include "runtime/chunk_digest.h"
#include "runtime/chunk_manifest.h"
#include "runtime/model_store.h"
#include "tests/support/check_main.h"
#include "tests/unit/gateway/stage.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#define COMMIT "0123456789abcdef0123456789abcdef01234567"
#define LARGE "2222222222222222222222222222222222222222222222222222222222222222"
#define NAME "model.safetensors"
#define PATH "/org/name/resolve/main/" NAME
#define SIZE (3 * CHUNK_SIZE + 1000)
#define HOLDER(slot) (GATEWAY_LINK_HOLDER + (slot))

static uint8_t *content;
static struct buffer manifest;

static uint8_t byte_at(uint64_t offset)
{
    return (uint8_t)(offset * 2654435761u >> 13);
}

static void make_manifest(struct model_record *model)
{
    struct chunk_manifest made = {.revision = model->revision};
    struct manifest_file *file =
        record_list_push(&manifest_file_type, RECORD_LIST(made.files), NULL, 8);
    struct hash chunks[4];
    ck_assert(text_set(&file->name, NAME));
    file->size = SIZE;
    file->digest = model->files.items[0].digest;
    for (uint64_t i = 0; i < 4; i++) {
        const uint64_t left = SIZE - i * CHUNK_SIZE;
        chunk_digest_of(content + i * CHUNK_SIZE, left < CHUNK_SIZE ? left : CHUNK_SIZE,
                        &chunks[i]);
    }
    ck_assert(bytes_set(&file->chunks, (const uint8_t *)chunks, sizeof(chunks)));
    buffer_init(&manifest, CHUNK_MANIFEST_SIZE_MAX);
    ck_assert_int_eq(chunk_manifest_encode(&made, &manifest, &model->manifest), STATUS_OK);
    record_fini(&chunk_manifest_type, &made);
}

static void add_node(uint8_t number)
{
    char address[40];
    struct node_record *node =
        record_list_push(&node_record_type, RECORD_LIST(truth.nodes), NULL, 8);
    struct endpoint_record *endpoint =
        record_list_push(&endpoint_record_type, RECORD_LIST(truth.endpoints), NULL, 64);
    struct holder_record holder = {.has_weights = true};
    node->node_id.bytes[0] = endpoint->node_id.bytes[0] = holder.node_id.bytes[0] = number;
    node->in_view = true;
    endpoint->actor = ACTOR_TRANSFERER;
    endpoint->incarnation = 1;
    endpoint->key.bytes[0] = number;
    (void)snprintf(address, sizeof(address), "tcp://10.0.0.%u:7000", (unsigned)number);
    ck_assert(text_set(&node->name, number == 2 ? "two" : "three"));
    ck_assert(text_set(&endpoint->address, address));
    ck_assert_ptr_nonnull(record_list_push(&holder_record_type,
                                           RECORD_LIST(truth.models.items[1].holders), &holder, 8));
}

/* We are node 1 and hold nothing; 2 does, and 3 if `holders` is 2. */
static void open_cluster(uint8_t holders)
{
    content = memory_zeroed(SIZE, 1);
    for (uint64_t i = 0; i < SIZE; i++)
        content[i] = byte_at(i);
    open_ready();
    make_truth(INSTANCE_READY, 1);
    struct model_record *model =
        record_list_push(&model_record_type, RECORD_LIST(truth.models), NULL, 8);
    struct file_entry *file =
        record_list_push(&file_entry_type, RECORD_LIST(model->files), NULL, 8);
    model->revision.bytes[0] = 7;
    ck_assert(text_set(&model->model_id, "org/name") && text_set(&model->commit, COMMIT));
    ck_assert(text_set(&file->name, NAME) && text_set(&file->etag, LARGE));
    file->size = SIZE;
    file->is_weight = true;
    hash_of(content, SIZE, &file->digest);
    make_manifest(model);
    for (uint8_t i = 0; i < holders; i++)
        add_node((uint8_t)(2 + i));
    truth.index++;
    publish();
    clear_sent();
}

static void close_cluster(void)
{
    close_gateway();
    memory_free(content);
    buffer_fini(&manifest);
    request_range = "";
}

/* The slot of the connection to that node, which is up from now on. */
static uint32_t connect_to(uint8_t number)
{
    for (uint32_t i = 0; i < RELAY_HOLDERS_MAX; i++)
        if (opened[i].server_key.bytes[0] == number) {
            step_kind(INPUT_LINK_UP, HOLDER(i));
            return i;
        }
    ck_abort_msg("nobody was connected to");
}

static void tell_manifest(uint32_t slot)
{
    const struct message *question = sent_of(MESSAGE_LINK, LINK_MANIFEST_ASKED);
    ck_assert_ptr_nonnull(question);
    ck_assert_uint_eq(MESSAGE_BODY(question, manifest_asked)->offset, 0);
    struct manifest_part part = {.revision = MESSAGE_BODY(question, manifest_asked)->revision,
                                 .total = manifest.size,
                                 .part = {manifest.bytes, (uint32_t)manifest.size}};
    clear_sent();
    say_link(HOLDER(slot), LINK_MANIFEST_PART, &part);
}

/* The piece that was asked for last; `parts_max` of it, a byte of which is wrong. */
static void tell_piece(uint32_t slot, uint32_t parts_max, bool is_wrong)
{
    const struct message *question = sent_of(MESSAGE_LINK, LINK_FILE_ASKED);
    ck_assert_ptr_nonnull(question);
    const struct file_asked *asked = MESSAGE_BODY(question, file_asked);
    char model_id[] = "org/name";
    char name[] = NAME;
    const uint64_t first = asked->offset;
    const uint32_t size = asked->size;
    const struct hash revision = asked->revision;
    clear_sent();
    for (uint32_t at = 0; at < size && parts_max > 0; at += FILE_PART_SIZE, parts_max--) {
        struct file_part part = {.model_id = model_id, .revision = revision, .name = name,
                                 .offset = first + at, .total = SIZE};
        part.part.count = size - at < FILE_PART_SIZE ? size - at : (uint32_t)FILE_PART_SIZE;
        part.part.items = content + first + at;
        content[first] = (uint8_t)(content[first] ^ is_wrong);
        say_link(HOLDER(slot), LINK_FILE_PART, &part);
        content[first] = (uint8_t)(content[first] ^ is_wrong);
        is_wrong = false;
    }
}

/* As the shell does it. */
static void check(void)
{
    struct hash digest;
    ck_assert_ptr_nonnull(checking);
    chunk_digest_of(checking->bytes.bytes, checking->bytes.size, &digest);
    checked_as(ID_EQUAL(digest, checking->digest) ? STATUS_OK : STATUS_HASH_MISMATCH);
}

static uint64_t asked_offset(void)
{
    const struct message *question = sent_of(MESSAGE_LINK, LINK_FILE_ASKED);
    return question ? MESSAGE_BODY(question, file_asked)->offset : UINT64_MAX;
}

static void got(uint64_t exchange, uint64_t first, uint64_t end)
{
    const struct buffer *bytes = &clients[exchange].bytes;
    ck_assert_uint_eq(bytes->size, end - first);
    ck_assert(memcmp(bytes->bytes, content + first, bytes->size) == 0);
}

static void get(uint64_t exchange)
{
    request(exchange, HTTP_METHOD_GET, PATH, "", "");
}

START_TEST(a_file_passes_through_piece_by_piece)
{
    open_cluster(1);
    get(1);
    const uint32_t slot = connect_to(2);
    tell_manifest(slot);
    ck_assert_uint_eq(asked_offset(), 0);
    tell_piece(slot, UINT32_MAX, false);
    ck_assert_int_eq(clients[1].http_status, 0); /* nothing goes out before it was checked */
    check();
    ck_assert_int_eq(clients[1].http_status, 200);
    ck_assert_uint_eq(clients[1].file_size, SIZE);
    ck_assert_ptr_nonnull(strstr(clients[1].lines, "X-Repo-Commit: " COMMIT));
    got(1, 0, CHUNK_SIZE);
    ck_assert_uint_eq(asked_offset(), CHUNK_SIZE);
    tell_piece(slot, UINT32_MAX, false);
    check();
    /* The client has taken nothing yet: it gets no more. */
    ck_assert_uint_eq(asked_offset(), UINT64_MAX);
    take_all(1);
    ck_assert_uint_eq(asked_offset(), 2 * CHUNK_SIZE);
    tell_piece(slot, UINT32_MAX, false);
    check();
    take_all(1);
    tell_piece(slot, UINT32_MAX, false);
    check();
    got(1, 0, SIZE);
    ck_assert_uint_eq(asked_offset(), UINT64_MAX);
    close_cluster();
}
END_TEST

START_TEST(a_range_costs_the_chunks_it_lies_in)
{
    open_cluster(1);
    request_range = "bytes=8388600-8388700";
    get(1);
    const uint32_t slot = connect_to(2);
    tell_manifest(slot);
    ck_assert_uint_eq(asked_offset(), 0);
    tell_piece(slot, UINT32_MAX, false);
    check();
    ck_assert_uint_eq(asked_offset(), CHUNK_SIZE);
    tell_piece(slot, UINT32_MAX, false);
    check();
    ck_assert_int_eq(clients[1].http_status, 206);
    ck_assert_ptr_nonnull(strstr(clients[1].lines, "Content-Range: bytes 8388600-8388700/"));
    got(1, 8388600, 8388701);
    /* The last of the file: its manifest is known by now, its connection open. */
    request_range = "bytes=-10";
    get(2);
    ck_assert_uint_eq(asked_offset(), 3 * CHUNK_SIZE);
    tell_piece(slot, UINT32_MAX, false);
    check();
    got(2, SIZE - 10, SIZE);
    close_cluster();
}
END_TEST

/* Each way a holder can fail, in the middle of a file; another goes on where it stopped. */
enum failing { DIES, SILENT, REFUSES, WRONG_BYTES, WRONG_SIZE, FAILING_END };

static void fail_as(enum failing failing, uint32_t slot)
{
    char model_id[] = "org/name";
    char name[] = NAME;
    uint8_t byte = 0;
    struct file_part part = {.model_id = model_id, .name = name, .offset = CHUNK_SIZE,
                             .revision = truth.models.items[1].revision, .total = SIZE};
    switch (failing) {
    case DIES:
        tell_piece(slot, 3, false);
        step_kind(INPUT_LINK_DOWN, HOLDER(slot));
        break;
    case SILENT:
        tell_piece(slot, 3, false);
        pass_ms(RELAY_PART_MS + GATEWAY_TICK_MS);
        break;
    case REFUSES:
        clear_sent();
        part.status = STATUS_DAMAGED;
        say_link(HOLDER(slot), LINK_FILE_PART, &part);
        break;
    case WRONG_BYTES:
        tell_piece(slot, UINT32_MAX, true);
        check();
        break;
    case WRONG_SIZE:
        clear_sent();
        part.part = (struct bytes){&byte, 0};
        say_link(HOLDER(slot), LINK_FILE_PART, &part);
        break;
    case FAILING_END:
        break;
    }
}

START_TEST(when_a_holder_fails_the_next_goes_on)
{
    open_cluster(2);
    get(2); /* even: the first of the two is asked first */
    const uint32_t first = connect_to(2);
    tell_manifest(first);
    tell_piece(first, UINT32_MAX, false);
    check();
    ck_assert_uint_eq(asked_offset(), CHUNK_SIZE);
    fail_as((enum failing)_i, first);
    got(2, 0, CHUNK_SIZE);
    const uint32_t second = connect_to(3);
    ck_assert_uint_ne(first, second);
    ck_assert_uint_eq(asked_offset(), CHUNK_SIZE);
    tell_piece(second, UINT32_MAX, false);
    check();
    got(2, 0, 2 * CHUNK_SIZE);
    ck_assert(!clients[2].is_ended);
    close_cluster();
}
END_TEST

START_TEST(a_holder_that_left_while_the_client_was_behind_is_not_waited_for)
{
    open_cluster(2);
    get(2);
    const uint32_t first = connect_to(2);
    tell_manifest(first);
    tell_piece(first, UINT32_MAX, false);
    check();
    tell_piece(first, UINT32_MAX, false);
    check();
    step_kind(INPUT_LINK_DOWN, HOLDER(first));
    take_all(2);
    const uint32_t second = connect_to(3);
    ck_assert_uint_eq(asked_offset(), 2 * CHUNK_SIZE);
    tell_piece(second, UINT32_MAX, false);
    check();
    got(2, 0, 3 * CHUNK_SIZE);
    close_cluster();
}
END_TEST

START_TEST(without_a_holder_an_answer_is_503_or_cut)
{
    open_cluster(1);
    get(1);
    uint32_t slot = connect_to(2);
    step_kind(INPUT_LINK_DOWN, HOLDER(slot));
    pass_ms(RELAY_SILENCE_MS + RELAY_CONNECT_MS + RELAY_REST_MS + 2 * GATEWAY_TICK_MS);
    ck_assert_int_eq(clients[1].http_status, 503);
    ck_assert_ptr_nonnull(strstr(clients[1].lines, "two "));
    ck_assert(clients[1].is_ended);
    get(2);
    slot = connect_to(2);
    tell_manifest(slot);
    tell_piece(slot, UINT32_MAX, false);
    check();
    step_kind(INPUT_LINK_DOWN, HOLDER(slot));
    ck_assert(!clients[2].is_ended);
    pass_ms(RELAY_SILENCE_MS + RELAY_CONNECT_MS + RELAY_REST_MS + 2 * GATEWAY_TICK_MS);
    ck_assert_int_eq(clients[2].http_status, 200);
    ck_assert(clients[2].is_ended);
    got(2, 0, CHUNK_SIZE);
    close_cluster();
}
END_TEST

START_TEST(wrong_bytes_of_the_only_holder_are_never_passed_on)
{
    open_cluster(1);
    get(1);
    const uint32_t slot = connect_to(2);
    tell_manifest(slot);
    tell_piece(slot, UINT32_MAX, true);
    check();
    ck_assert_int_eq(clients[1].http_status, 503); /* at once: there is nothing to wait for */
    ck_assert_ptr_nonnull(strstr(clients[1].lines, "sent bytes that are not the model's"));
    close_cluster();
}
END_TEST

START_TEST(a_manifest_that_is_not_the_models_is_refused)
{
    open_cluster(1);
    get(1);
    const uint32_t slot = connect_to(2);
    manifest.bytes[manifest.size / 2] ^= 1;
    tell_manifest(slot);
    ck_assert_uint_eq(asked_offset(), UINT64_MAX);
    ck_assert_int_eq(clients[1].http_status, 503);
    close_cluster();
}
END_TEST

START_TEST(a_client_that_leaves_costs_nothing_more)
{
    open_cluster(1);
    get(1);
    const uint32_t slot = connect_to(2);
    tell_manifest(slot);
    tell_piece(slot, 2, false);
    leave(1);
    struct file_part late = {.revision = truth.models.items[1].revision,
                             .offset = 2 * FILE_PART_SIZE};
    say_link(HOLDER(slot), LINK_FILE_PART, &late);
    get(2);
    tell_piece(slot, UINT32_MAX, false);
    leave(2); /* while its piece is hashed */
    check();
    ck_assert_int_eq(clients[2].http_status, 0);
    pass_ms(RELAY_IDLE_MS + 2 * GATEWAY_TICK_MS);
    ck_assert_uint_eq(outbox.wake_ms, UINT64_MAX); /* nothing is open any more */
    close_cluster();
}
END_TEST

START_TEST(a_model_that_goes_ends_what_was_begun)
{
    open_cluster(1);
    get(1);
    const uint32_t slot = connect_to(2);
    tell_manifest(slot);
    tell_piece(slot, UINT32_MAX, false);
    check();
    truth.models.items[1].revision.bytes[0] = 8;
    truth.index++;
    publish();
    tell_piece(slot, UINT32_MAX, false); /* of the old one: right, and the last */
    check();
    take_all(1);
    take_all(1);
    pass_ms(RELAY_REST_MS + 2 * GATEWAY_TICK_MS);
    ck_assert(clients[1].is_ended);
    got(1, 0, 2 * CHUNK_SIZE);
    close_cluster();
}
END_TEST

START_TEST(many_clients_are_served_in_turn_and_within_bounds)
{
    open_cluster(1);
    for (uint64_t i = 1; i < CLIENT_COUNT; i++)
        get(i);
    const uint32_t slot = connect_to(2);
    uint32_t count = 0;
    for (size_t i = 0; i < sent_count; i++)
        count += message_is(&sent[i], MESSAGE_LINK, LINK_MANIFEST_ASKED);
    ck_assert_uint_eq(count, RELAY_ASKING_MAX);
    /* They share what they learn: the first answer is enough for whoever asks after it. */
    tell_manifest(slot);
    for (uint32_t served = 0; served < CLIENT_COUNT; served++) {
        if (asked_offset() == UINT64_MAX)
            break;
        tell_piece(slot, UINT32_MAX, false);
        check();
    }
    close_cluster();
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("gateway-relay");
    TCase *each = tcase_create("each");
    const TTest *const tests[] = {
        a_file_passes_through_piece_by_piece,
        a_range_costs_the_chunks_it_lies_in,
        a_holder_that_left_while_the_client_was_behind_is_not_waited_for,
        without_a_holder_an_answer_is_503_or_cut,
        wrong_bytes_of_the_only_holder_are_never_passed_on,
        a_manifest_that_is_not_the_models_is_refused,
        a_client_that_leaves_costs_nothing_more,
        a_model_that_goes_ends_what_was_begun,
        many_clients_are_served_in_turn_and_within_bounds,
    };
    suite_add(suite, "gateway-relay", tests, COUNT_OF(tests));
    tcase_add_loop_test(each, when_a_holder_fails_the_next_goes_on, 0, FAILING_END);
    suite_add_tcase(suite, each);
    return suite;
}
