/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/gateway/stage.h"

#include "protocol/memory.h"

#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

static struct gateway *gateway;
static struct gateway_settings settings = {
    .session = {
        .actor = ACTOR_GATEWAY, .incarnation = 7, .build = "test", .wants_events = true}};
struct outbox outbox;
struct state truth; /* what the test's master believes */
struct client clients[CLIENT_COUNT];
uint64_t now_ms;
struct message sent[64]; /* to master and runners, oldest first */
uint32_t sent_link[64];
size_t sent_count;
struct buffer journal;
bool is_ready;
struct file_wish *wished;
struct piece_check *checking;
struct link_options opened[64];
const char *request_range = "";
const char *request_if_range = "";
const char *request_if_none_match = "";
static uint32_t links_open;

static void take_effect(struct outbox_item *item)
{
    if (item->effect.kind == GATEWAY_OPEN_FILE) {
        file_wish_free(wished);
        wished = item->effect.request;
        item->effect.request = NULL;
        return;
    }
    if (item->effect.kind == GATEWAY_CHECK_PIECE) {
        ck_assert_ptr_null(checking);
        checking = item->effect.request;
        item->effect.request = NULL;
        return;
    }
    const struct http_output *made = item->effect.request;
    struct client *client = &clients[made->exchange % CLIENT_COUNT];
    if (item->effect.kind == GATEWAY_JOURNAL) {
        ck_assert_int_eq(buffer_append(&journal, made->bytes.bytes, made->bytes.size), STATUS_OK);
        ck_assert_int_eq(buffer_append(&journal, "", 1), STATUS_OK); /* read as a text */
        journal.size--;
        return;
    }
    ck_assert(!client->is_ended);
    if (item->effect.kind == GATEWAY_STREAM_BEGIN) {
        client->is_stream = true;
        client->http_status = 200;
        return;
    }
    if (item->effect.kind == GATEWAY_ANSWER || item->effect.kind == GATEWAY_FILE ||
        item->effect.kind == GATEWAY_PIPE_BEGIN) {
        client->http_status = made->http_status;
        client->retry_after_s = made->retry_after_s;
        client->file_size = made->size;
        (void)snprintf(client->lines, sizeof(client->lines), "%s", text_or_empty(made->lines));
    }
    if (item->effect.kind == GATEWAY_STREAM_WRITE)
        ck_assert(client->is_stream);
    if (made->bytes.size > 0)
        ck_assert_int_eq(buffer_append(&client->bytes, made->bytes.bytes, made->bytes.size),
                         STATUS_OK);
    client->is_ended =
        item->effect.kind == GATEWAY_ANSWER || item->effect.kind == GATEWAY_FILE ||
        item->effect.kind == GATEWAY_STREAM_END;
}

static void take_outbox(void)
{
    ck_assert_int_eq(outbox.failed, STATUS_OK);
    for (size_t i = 0; i < outbox.count; i++) {
        struct outbox_item *item = &outbox.items[i];
        struct reason reason;
        if (item->kind == OUTBOX_EFFECT)
            take_effect(item);
        is_ready = is_ready || item->kind == OUTBOX_READY;
        links_open += item->kind == OUTBOX_LINK_OPEN;
        if (item->kind == OUTBOX_LINK_OPEN && item->peer.link >= GATEWAY_LINK_HOLDER)
            opened[item->peer.link - GATEWAY_LINK_HOLDER] = *item->options;
        links_open -= item->kind == OUTBOX_LINK_CLOSE;
        if (item->kind != OUTBOX_SEND)
            continue;
        struct message message;
        ck_assert_int_eq(message_decode(item->bytes, item->size, &message, &reason), STATUS_OK);
        if (message.head.kind == MESSAGE_SIGNAL) {
            message_fini(&message);
            continue;
        }
        ck_assert_uint_lt(sent_count, COUNT_OF(sent));
        sent_link[sent_count] = item->peer.link;
        sent[sent_count++] = message;
    }
    outbox_clear(&outbox);
}

static void step(struct input *input)
{
    struct reason reason = {""};
    input->now_ms = now_ms;
    input->wall_ms = 1700000000000u + now_ms;
    input->random = 0x5eed0000u + now_ms;
    enum status status = gateway_ops.step(gateway, input, &outbox, &reason);
    ck_assert_msg(status == STATUS_OK, "%s", reason.text);
    take_outbox();
}

void step_kind(enum input_kind kind, uint32_t link)
{
    struct input input = {.kind = kind, .peer = peer_of_link(link)};
    step(&input);
}

void say(uint32_t link, struct envelope head, void *body)
{
    struct message message = {.head = head, .body = body};
    struct input input = {.kind = INPUT_MESSAGE, .peer = peer_of_link(link), .message = &message};
    step(&input);
}

void say_link(uint32_t link, uint32_t code, void *body)
{
    say(link, (struct envelope){.kind = MESSAGE_LINK, .code = code}, body);
}

/* Time passes; the gateway is woken when it asked for it. */
void pass_ms(uint64_t duration_ms)
{
    uint64_t end_ms = now_ms + duration_ms;
    while (outbox.wake_ms <= end_ms) {
        now_ms = outbox.wake_ms > now_ms ? outbox.wake_ms : now_ms;
        outbox.wake_ms = UINT64_MAX;
        step_kind(INPUT_WAKE, 0);
    }
    now_ms = end_ms;
}

void clear_sent(void)
{
    for (size_t i = 0; i < sent_count; i++)
        message_fini(&sent[i]);
    sent_count = 0;
}

void clear_sent_but_last(void)
{
    ck_assert_uint_gt(sent_count, 0);
    struct message last = message_take(&sent[sent_count - 1]);
    uint32_t link = sent_link[sent_count - 1];
    clear_sent();
    sent[0] = last;
    sent_link[0] = link;
    sent_count = 1;
}

/* The newest message of that code, or NULL. */
const struct message *sent_of(uint32_t kind, uint32_t code)
{
    for (size_t i = sent_count; i > 0; i--)
        if (message_is(&sent[i - 1], (enum message_kind)kind, code))
            return &sent[i - 1];
    return NULL;
}

void publish(void)
{
    struct buffer bytes;
    buffer_init(&bytes, 1 << 25);
    ck_assert_int_eq(state_encode(&truth, &bytes), STATUS_OK);
    struct snapshot_part part = {.index = truth.index,
                                 .total = bytes.size,
                                 .part = {.items = bytes.bytes, .count = (uint32_t)bytes.size}};
    say_link(GATEWAY_LINK_MASTER, LINK_SNAPSHOT_PART, &part);
    buffer_fini(&bytes);
}

/* A model on one node, an instance of one rank in the given status. */
void make_truth(enum instance_status status, uint64_t counter)
{
    record_fini(&state_type, &truth);
    state_init(&truth);
    truth.index = counter;
    struct node_record *node =
        record_list_push(&node_record_type, RECORD_LIST(truth.nodes), NULL, 8);
    node->node_id.bytes[0] = 1;
    node->in_view = true;
    ck_assert(text_set(&node->name, "alpha"));
    struct model_record *model =
        record_list_push(&model_record_type, RECORD_LIST(truth.models), NULL, 8);
    ck_assert(text_set(&model->model_id, "demo"));
    struct holder_record holder = {.node_id = node->node_id, .has_weights = true};
    ck_assert_ptr_nonnull(
        record_list_push(&holder_record_type, RECORD_LIST(model->holders), &holder, 8));
    struct instance_record *instance =
        record_list_push(&instance_record_type, RECORD_LIST(truth.instances), NULL, 8);
    instance->instance_id.bytes[0] = 9;
    instance->status = status;
    instance->generation.epoch = 1;
    instance->generation.counter = counter;
    ck_assert(text_set(&instance->model_id, "demo"));
    ck_assert(text_set(&instance->last_reason, "the runner was killed"));
    struct rank_record *rank =
        record_list_push(&rank_record_type, RECORD_LIST(instance->ranks), NULL, 8);
    rank->node_id = node->node_id;
    rank->status = status == INSTANCE_READY ? RANK_READY : RANK_LOADING;
    ck_assert(text_set(&rank->gateway_address, "tcp://127.0.0.1:4000"));
    rank->runner_key.bytes[0] = (uint8_t)counter;
}

void open_gateway(void)
{
    now_ms = 1000;
    is_ready = false;
    links_open = 0;
    memset(clients, 0, sizeof(clients));
    for (size_t i = 0; i < CLIENT_COUNT; i++)
        buffer_init(&clients[i].bytes, 1 << 25);
    buffer_init(&journal, 1 << 20);
    outbox_init(&outbox);
    state_init(&truth);
    gateway = memory_zeroed(1, gateway_ops.memory_size);
    ck_assert_ptr_nonnull(gateway);
    struct reason reason;
    ck_assert_int_eq(gateway_ops.init(gateway, &settings, &reason), STATUS_OK);
    step_kind(INPUT_START, 0);
    step_kind(INPUT_LINK_UP, GATEWAY_LINK_MASTER);
    struct welcome welcome = {.node_id = {.bytes = {1}}};
    say_link(GATEWAY_LINK_MASTER, LINK_WELCOME, &welcome);
}

void close_gateway(void)
{
    gateway_ops.fini(gateway);
    memory_free(gateway);
    piece_check_free(checking);
    checking = NULL;
    for (size_t i = 0; i < CLIENT_COUNT; i++)
        buffer_fini(&clients[i].bytes);
    buffer_fini(&journal);
    record_fini(&state_type, &truth);
    clear_sent();
    outbox_fini(&outbox);
}

void open_ready(void)
{
    open_gateway();
    make_truth(INSTANCE_READY, 1);
    publish();
    step_kind(INPUT_LINK_UP, RUNNER);
}

void request(uint64_t exchange, enum http_method method, const char *path, const char *query,
             const char *body)
{
    struct http_arrival arrival = {.kind = HTTP_ARRIVAL_REQUEST,
                                   .exchange = exchange,
                                   .method = method,
                                   .path = path,
                                   .query = query,
                                   .body = body,
                                   .body_size = strlen(body),
                                   .host = "localhost:8080",
                                   .range = request_range,
                                   .if_range = request_if_range,
                                   .if_none_match = request_if_none_match};
    struct result result = {.kind = GATEWAY_RESULT_HTTP, .value = &arrival};
    struct input input = {.kind = INPUT_RESULT, .result = &result};
    step(&input);
}

void opened_as(enum status status, const char *sentence)
{
    struct result result = {.kind = GATEWAY_OPEN_FILE, .status = status, .value = wished};
    struct input input = {.kind = INPUT_RESULT, .result = &result};
    (void)snprintf(result.reason.text, sizeof(result.reason.text), "%s", sentence);
    step(&input);
    file_wish_free(result.value);
    wished = NULL;
}

void checked_as(enum status status)
{
    struct piece_check *check = checking;
    struct result result = {.id = check->exchange, .kind = GATEWAY_CHECK_PIECE, .status = status,
                            .value = check};
    struct input input = {.kind = INPUT_RESULT, .result = &result};
    checking = NULL;
    step(&input);
    piece_check_free(result.value);
}

static void arrive(uint64_t exchange, enum http_arrival_kind kind)
{
    struct http_arrival arrival = {.kind = kind, .exchange = exchange};
    struct result result = {.kind = GATEWAY_RESULT_HTTP, .value = &arrival};
    struct input input = {.kind = INPUT_RESULT, .result = &result};
    step(&input);
}

void take_all(uint64_t exchange)
{
    arrive(exchange, HTTP_ARRIVAL_DRAINED);
}

void leave(uint64_t exchange)
{
    arrive(exchange, HTTP_ARRIVAL_GONE);
}

#define CHAT "{\"model\":\"demo\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
void chat(uint64_t exchange, const char *more)
{
    char body[512];
    (void)snprintf(body, sizeof(body), CHAT "%s}", more);
    request(exchange, HTTP_METHOD_POST, "/v1/chat/completions", "", body);
}

const char *text_of(uint64_t exchange)
{
    struct buffer *bytes = &clients[exchange].bytes;
    ck_assert_int_eq(buffer_append(bytes, "", 1), STATUS_OK);
    bytes->size--;
    return (const char *)bytes->bytes;
}

const struct generate *asked(void)
{
    const struct message *message = sent_of(MESSAGE_LINK, LINK_GENERATE);
    ck_assert_ptr_nonnull(message);
    return message->body;
}

void accept_chat(uint32_t link)
{
    uint32_t ids[3] = {11, 12, 13};
    struct generation_accepted accepted = {.request_id = asked()->request_id,
                                           .attempt = asked()->attempt,
                                           .prompt_ids = {.items = ids, .count = 3}};
    say_link(link, LINK_GENERATION_ACCEPTED, &accepted);
}

void token(uint32_t link, uint32_t number, const char *text, uint64_t text_end)
{
    char piece[64];
    (void)snprintf(piece, sizeof(piece), "%s", text);
    struct token_streamed body = {.request_id = asked()->request_id,
                                  .attempt = asked()->attempt,
                                  .number = number,
                                  .id = 100 + number,
                                  .text = piece,
                                  .text_end = text_end,
                                  .logprob = -0.25};
    say_link(link, LINK_TOKEN_STREAMED, &body);
}

void finish(uint32_t link, uint32_t how, const char *text, uint64_t text_end)
{
    char piece[64];
    (void)snprintf(piece, sizeof(piece), "%s", text);
    struct generation_finished body = {.request_id = asked()->request_id,
                                       .attempt = asked()->attempt,
                                       .reason = how,
                                       .text = piece,
                                       .text_end = text_end};
    say_link(link, LINK_GENERATION_FINISHED, &body);
}

static void read_chunk(json_t *chunk, struct reading *reading)
{
    reading->has_error = reading->has_error || json_object_get(chunk, "error");
    json_t *usage = json_object_get(chunk, "usage");
    if (json_is_object(usage))
        reading->completion_tokens =
            (int)json_integer_value(json_object_get(usage, "completion_tokens"));
    json_t *choice = json_array_get(json_object_get(chunk, "choices"), 0);
    json_t *delta = json_object_get(choice, "delta");
    reading->roles += json_object_get(delta, "role") != NULL;
    const char *content = json_string_value(json_object_get(delta, "content"));
    size_t length = strlen(reading->text);
    (void)snprintf(reading->text + length, sizeof(reading->text) - length, "%s",
                   content ? content : "");
    const char *how = json_string_value(json_object_get(choice, "finish_reason"));
    if (how)
        (void)snprintf(reading->finish, sizeof(reading->finish), "%s", how);
}

struct reading *read_stream(uint64_t exchange)
{
    static struct reading reading;
    memset(&reading, 0, sizeof(reading));
    const char *at = text_of(exchange);
    while (*at) {
        const char *end = strstr(at, "\n\n");
        ck_assert_ptr_nonnull(end);
        if (strncmp(at, "data: [DONE]", 12) == 0) {
            reading.is_done = true;
        } else if (*at != ':') {
            json_t *chunk = json_loads(at + 6, JSON_DISABLE_EOF_CHECK, NULL);
            ck_assert_msg(chunk != NULL, "%s", at);
            read_chunk(chunk, &reading);
            json_decref(chunk);
        }
        at = end + 2;
    }
    return &reading;
}

void next_generation(uint64_t counter)
{
    make_truth(INSTANCE_READY, counter);
    publish();
    step_kind(INPUT_LINK_UP, RUNNER);
}
