/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/gateway/gateway.h"
#include "protocol/memory.h"

#include <stdio.h>
#include <string.h>

#define ANSWER_TEXT_SIZE_MAX (64u << 20)

static void chat_free(struct gateway *gateway, struct chat *chat)
{
    for (size_t i = 0; i < GATEWAY_CHAT_COUNT_MAX; i++)
        if (gateway->chats[i] == chat)
            gateway->chats[i] = NULL;
    chat_request_fini(&chat->request);
    buffer_fini(&chat->text);
    buffer_fini(&chat->logprobs);
    buffer_fini(&chat->reasoning);
    for (uint32_t i = 0; chat->calls && i < chat->call_count; i++) {
        memory_free(chat->calls[i].name);
        buffer_fini(&chat->calls[i].arguments);
    }
    memory_free(chat->calls);
    memory_free(chat->tokens);
    memory_free(chat);
}

static void chat_fail(struct gateway *gateway, struct chat *chat, const struct http_fault *fault)
{
    chat_error(gateway, chat, fault);
    chat_free(gateway, chat);
}

uint32_t chats_on(const struct gateway *gateway, uint32_t slot)
{
    uint32_t count = 0;
    for (size_t i = 0; i < GATEWAY_CHAT_COUNT_MAX; i++) {
        const struct chat *chat = gateway->chats[i];
        count += chat && chat->phase != CHAT_WAITING && chat->slot == slot;
    }
    return count;
}

/* ---- asking a runner ---- */

/* The body borrows from the chat; outbox_send encodes at once. */
static void send_generate(struct gateway *gateway, struct chat *chat, uint32_t slot)
{
    struct generate generate = chat->request.generate;
    chat->attempt++;
    generate.request_id = chat->id;
    generate.attempt = chat->attempt;
    if (chat->is_accepted) {
        generate.messages = NULL; /* tools and options are needed to follow what is said */
        generate.sent_ids = (struct u32s){.items = chat->tokens, .count = chat->token_count};
        generate.sent_text = chat->text_end;
    }
    chat->slot = slot;
    chat->phase = CHAT_ASKED;
    gateway->runners[slot].beat_at_ms = 0;
    gateway_send(gateway, GATEWAY_LINK_RUNNER + slot, MESSAGE_LINK, LINK_GENERATE, &generate);
}

_Static_assert(GATEWAY_RUNNER_COUNT_MAX <= 64, "chats keep a bit for each");

static bool try_start(struct gateway *gateway, struct chat *chat)
{
    int slot = runners_pick(gateway, chat->request.model, chat->full);
    if (slot >= 0)
        send_generate(gateway, chat, (uint32_t)slot);
    return slot >= 0;
}

void chats_start_waiting(struct gateway *gateway)
{
    for (size_t i = 0; i < GATEWAY_CHAT_COUNT_MAX; i++)
        if (gateway->chats[i] && gateway->chats[i]->phase == CHAT_WAITING)
            (void)try_start(gateway, gateway->chats[i]);
}

static void cancel(struct gateway *gateway, const struct chat *chat)
{
    if (chat->phase == CHAT_WAITING || !gateway->runners[chat->slot].is_up)
        return;
    struct cancel_generation body = {.request_id = chat->id, .attempt = chat->attempt};
    gateway_send(gateway, GATEWAY_LINK_RUNNER + chat->slot, MESSAGE_LINK, LINK_CANCEL_GENERATION,
                 &body);
}

/* Its runner is lost; it waits for the next. */
static void lose(struct gateway *gateway, struct chat *chat, const char *sentence)
{
    bool was_running = chat->phase == CHAT_RUNNING;
    chat->phase = CHAT_WAITING;
    chat->full = 0;
    if (chat->lost_ms == 0)
        chat->lost_ms = gateway->input->now_ms;
    (void)snprintf(chat->sentence, sizeof(chat->sentence), "%s", sentence);
    chat_comment(gateway, chat, "the runner is lost, the answer goes on when another is ready");
    chat->fruitless += was_running; /* a runner that is not ready yet took nothing */
    if (chat->fruitless < GATEWAY_ATTEMPT_MAX)
        return;
    struct http_fault fault;
    (void)http_fault_set(&fault, 503, "too_many_attempts",
                         "The answer was lost %u times without a word, at last because %s.",
                         chat->fruitless, *sentence ? sentence : "its runner ended");
    chat_fail(gateway, chat, &fault);
}

void chats_lose(struct gateway *gateway, uint32_t slot, const char *sentence)
{
    for (size_t i = 0; i < GATEWAY_CHAT_COUNT_MAX; i++) {
        struct chat *chat = gateway->chats[i];
        if (chat && chat->phase != CHAT_WAITING && chat->slot == slot)
            lose(gateway, chat, sentence);
    }
}

/* ---- beginning ---- */

static struct chat *chat_create(struct gateway *gateway, const struct http_arrival *request)
{
    for (size_t i = 0; i < GATEWAY_CHAT_COUNT_MAX; i++) {
        if (gateway->chats[i])
            continue;
        struct chat *chat = memory_zeroed(1, sizeof(*chat));
        if (!chat)
            return NULL;
        chat->exchange = request->exchange;
        chat->began_ms = gateway->input->now_ms;
        chat->began_wall_ms = gateway->input->wall_ms;
        chat->written_ms = chat->began_ms;
        chat->looked_ms = chat->began_ms;
        chat->lost_ms = chat->began_ms;
        buffer_init(&chat->text, ANSWER_TEXT_SIZE_MAX);
        buffer_init(&chat->logprobs, ANSWER_TEXT_SIZE_MAX);
        buffer_init(&chat->reasoning, ANSWER_TEXT_SIZE_MAX);
        gateway_draw_id(gateway, &chat->id);
        gateway->chats[i] = chat;
        return chat;
    }
    return NULL;
}

static void name_chat(struct gateway *gateway, struct chat *chat)
{
    struct chat_identity *identity = &chat->identity;
    char id[HEX_SIZE(16)];
    (void)snprintf(identity->id, sizeof(identity->id), "chatcmpl-%s",
                   hex_print(&chat->id, sizeof(chat->id), id));
    identity->created_s = gateway->input->wall_ms / 1000;
    identity->model = chat->request.model;
    identity->has_usage = chat->request.wants_usage;
    struct sampling_asked *sampling = &chat->request.generate.sampling;
    if (!chat->request.has_seed)
        sampling->seed = gateway->input->random;
    (void)snprintf(identity->fingerprint, sizeof(identity->fingerprint), "troupe-seed-%lld",
                   (long long)sampling->seed);
}

void chat_begin(struct gateway *gateway, const struct http_arrival *request)
{
    struct chat_request parsed;
    struct http_fault fault;
    if (!openai_parse_chat(request->body ? request->body : "", request->body_size, &parsed,
                           &fault)) {
        reply_fault(gateway, request->exchange, &fault);
        return;
    }
    /* One that is being loaded is waited for, as when a runner is lost. */
    if (model_fault(gateway, parsed.model, &fault) && !model_is_loading(gateway, parsed.model)) {
        reply_fault(gateway, request->exchange, &fault);
        chat_request_fini(&parsed);
        return;
    }
    struct chat *chat = chat_create(gateway, request);
    if (!chat) {
        (void)http_fault_set(&fault, 429, "queue_full",
                             "%u requests are being answered, the limit; try again soon.",
                             GATEWAY_CHAT_COUNT_MAX);
        reply_fault(gateway, request->exchange, &fault);
        chat_request_fini(&parsed);
        return;
    }
    chat->request = parsed;
    name_chat(gateway, chat);
    (void)try_start(gateway, chat);
}

/* ---- what runners say ---- */

static struct chat *find(struct gateway *gateway, const struct request_id *id, uint32_t attempt,
                         uint32_t slot)
{
    for (size_t i = 0; i < GATEWAY_CHAT_COUNT_MAX; i++) {
        struct chat *chat = gateway->chats[i];
        if (chat && ID_EQUAL(chat->id, *id))
            return chat->attempt == attempt && chat->slot == slot && chat->phase != CHAT_WAITING
                       ? chat
                       : NULL; /* words of an attempt we gave up */
    }
    return NULL;
}

static void take_accepted(struct gateway *gateway, struct chat *chat,
                          struct generation_accepted *accepted)
{
    chat->phase = CHAT_RUNNING;
    chat->full = 0;
    if (!chat->is_accepted) {
        struct generate *generate = &chat->request.generate;
        uint32_t count = accepted->prompt_ids.count;
        uint32_t *ids = memory_zeroed(count + 1, sizeof(uint32_t));
        if (!ids) {
            gateway->outbox->failed = STATUS_NO_MEMORY;
            return;
        }
        if (count > 0)
            memcpy(ids, accepted->prompt_ids.items, count * sizeof(uint32_t));
        memory_free(generate->prompt_ids.items);
        generate->prompt_ids = (struct u32s){.items = ids, .count = count};
        chat->is_accepted = true;
    }
    if (chat->request.is_stream)
        chat_text(gateway, chat, "", 0);
}

static void take_refused(struct gateway *gateway, struct chat *chat,
                         const struct generation_refused *refused)
{
    switch (refused->status) {
    case STATUS_NOT_READY:
    case STATUS_STALE:
    case STATUS_ENDED:
    case STATUS_UNREACHABLE:
        lose(gateway, chat, text_or_empty(refused->reason));
        return;
    case STATUS_BUSY: /* another instance may have a place */
        chat->full |= 1ull << chat->slot;
        if (try_start(gateway, chat))
            return;
        if (!chat->is_accepted)
            break;
        /* Its turn came before: what was begun waits for a place again. */
        lose(gateway, chat, text_or_empty(refused->reason));
        return;
    default:
        break;
    }
    struct http_fault fault;
    fault_of_status(&fault, refused->status, refused->reason);
    if (refused->is_demand && chat->request.demand_field)
        (void)http_fault_set_param(&fault, 400, fault.code, chat->request.demand_field, "%s",
                                   text_or_empty(refused->reason));
    chat_fail(gateway, chat, &fault);
}

static bool keep_token(struct chat *chat, uint32_t id)
{
    if (chat->token_count == chat->token_capacity) {
        uint32_t capacity = chat->token_capacity ? chat->token_capacity * 2 : 256;
        uint32_t *tokens = memory_resized(chat->tokens, capacity, sizeof(*tokens));
        if (!tokens)
            return false;
        chat->tokens = tokens;
        chat->token_capacity = capacity;
    }
    chat->tokens[chat->token_count++] = id;
    return true;
}

/* The part of a piece that the client has not seen.  False: bytes between are missing. */
static bool take_piece(struct gateway *gateway, struct chat *chat, const char *text,
                       uint64_t text_end)
{
    size_t size = strlen(text);
    uint64_t start = text_end - size;
    if (text_end < size || start > chat->text_end)
        return false;
    size_t seen = chat->text_end - start < size ? (size_t)(chat->text_end - start) : size;
    if (text_end > chat->text_end)
        chat->text_end = text_end;
    chat_text(gateway, chat, text + seen, size - seen);
    return true;
}

static void take_token(struct gateway *gateway, struct chat *chat, struct token_streamed *token)
{
    /* Said before the runner was lost: not counted again, but its text may have been held back. */
    bool is_known = token->number < chat->token_count;
    chat->phase = CHAT_RUNNING;
    chat->lost_ms = 0;
    if (!is_known)
        chat->fruitless = 0;
    if (chat->first_token_ms == 0)
        chat->first_token_ms = gateway->input->now_ms;
    bool is_next = token->number == chat->token_count && chat->is_accepted;
    if (is_next && !keep_token(chat, token->id)) {
        gateway->outbox->failed = STATUS_NO_MEMORY;
        return;
    }
    if (is_next)
        chat->thinking_count += token->is_thinking;
    if (is_next && chat->request.generate.sampling.has_logprobs) {
        enum status status = STATUS_OK;
        if (chat->logprobs.size > 0)
            status = buffer_append_text(&chat->logprobs, ",");
        if (status == STATUS_OK)
            status = openai_logprob(&chat->logprobs, token);
        if (status != STATUS_OK)
            gateway->outbox->failed = status;
    }
    if (is_next)
        chat_extras(gateway, chat, text_or_empty(token->reasoning), token->calls.items,
                    token->calls.count);
    if ((!is_next && !is_known) ||
        !take_piece(gateway, chat, text_or_empty(token->text), token->text_end)) {
        cancel(gateway, chat);
        lose(gateway, chat, "tokens of the answer were missing");
        chats_start_waiting(gateway);
    }
}

static void take_finished(struct gateway *gateway, struct chat *chat,
                          const struct generation_finished *finished)
{
    bool is_whole = finished->reason == FINISH_STOP || finished->reason == FINISH_LENGTH;
    if (is_whole && take_piece(gateway, chat, text_or_empty(finished->text), finished->text_end)) {
        chat_extras(gateway, chat, text_or_empty(finished->reasoning), finished->calls.items,
                    finished->calls.count);
        const bool is_calling = chat->call_count > 0 && finished->reason == FINISH_STOP;
        chat_finish(gateway, chat,
                    is_calling ? "tool_calls" : openai_finish_reason(finished->reason));
        chat_free(gateway, chat);
        return;
    }
    bool is_lost = is_whole || finished->reason == FINISH_CANCELLED ||
                   finished->status == STATUS_ENDED || finished->status == STATUS_UNREACHABLE ||
                   finished->status == STATUS_STALE || finished->status == STATUS_NOT_READY;
    if (is_lost) {
        lose(gateway, chat, text_or_empty(finished->sentence));
        chats_start_waiting(gateway);
        return;
    }
    struct http_fault fault;
    fault_of_status(&fault, finished->status, finished->sentence);
    chat_fail(gateway, chat, &fault);
}

static void take_progress(struct gateway *gateway, struct chat *chat,
                          const struct prefill_progressed *progress)
{
    char text[96];
    chat->lost_ms = 0;
    (void)snprintf(text, sizeof(text), "prefill %u/%u", progress->tokens_have,
                   progress->tokens_total);
    if (gateway->input->now_ms - chat->written_ms >= GATEWAY_TICK_MS)
        chat_comment(gateway, chat, text);
}

void chat_message(struct gateway *gateway, uint32_t slot, const struct message *message)
{
    if (message->head.kind != MESSAGE_LINK || message->head.code < LINK_GENERATION_ACCEPTED ||
        message->head.code > LINK_GENERATION_FINISHED)
        return;
    /* All of these begin with the request and the attempt. */
    const struct cancel_generation *about = message->body;
    struct chat *chat = find(gateway, &about->request_id, about->attempt, slot);
    if (!chat)
        return;
    switch (message->head.code) {
    case LINK_GENERATION_ACCEPTED:
        take_accepted(gateway, chat, message->body);
        break;
    case LINK_GENERATION_REFUSED:
        take_refused(gateway, chat, message->body);
        break;
    case LINK_TOKEN_STREAMED:
        take_token(gateway, chat, message->body);
        break;
    case LINK_PREFILL_PROGRESSED:
        take_progress(gateway, chat, message->body);
        break;
    default:
        take_finished(gateway, chat, message->body);
    }
}

_Static_assert(
    offsetof(struct generation_accepted, attempt) == offsetof(struct cancel_generation, attempt) &&
        offsetof(struct token_streamed, attempt) == offsetof(struct cancel_generation, attempt) &&
        offsetof(struct generation_finished, attempt) ==
            offsetof(struct cancel_generation, attempt) &&
        offsetof(struct generation_refused, attempt) ==
            offsetof(struct cancel_generation, attempt) &&
        offsetof(struct prefill_progressed, attempt) == offsetof(struct cancel_generation, attempt),
    "what runners say begins with request and attempt");

/* ---- time and departures ---- */

/* Some instance has this model and has not given up. */
static bool may_be_served(const struct gateway *gateway, const char *model_id)
{
    for (uint32_t i = 0; i < gateway_state(gateway)->instances.count; i++) {
        const struct instance_record *instance = &gateway_state(gateway)->instances.items[i];
        if (instance->status != INSTANCE_FAILED &&
            strcmp(text_or_empty(instance->model_id), model_id) == 0)
            return true;
    }
    return false;
}

/* True when the chat ended. */
static bool give_up(struct gateway *gateway, struct chat *chat)
{
    struct http_fault fault;
    /* Whole answers carry no comments: their clients are told sooner, and may ask again. */
    const uint64_t limit_ms =
        chat->request.is_stream ? GATEWAY_RESUME_MS : GATEWAY_WHOLE_RESUME_MS;
    const uint64_t waited_ms = gateway->input->now_ms - chat->lost_ms;
    /* Nothing was said yet and who holds the model is away: only its return would help. */
    const bool is_hopeless = chat->token_count == 0 && waited_ms >= GATEWAY_AWAY_MS &&
                             model_is_away(gateway, chat->request.model);
    /* What cannot be seen, while the state is told anew, may be all that is lacking. */
    const bool is_lost = gateway->session.mirror.has_state &&
                         (is_hopeless || !may_be_served(gateway, chat->request.model));
    if (waited_ms < limit_ms && !is_lost)
        return false;
    if (!model_fault(gateway, chat->request.model, &fault))
        (void)http_fault_set(
            &fault, 503, "not_resumed", "No runner went on with the answer within %u s%s%s.",
            (unsigned)(limit_ms / 1000), *chat->sentence ? "; last: " : "", chat->sentence);
    chat_fail(gateway, chat, &fault);
    return true;
}

void chats_tick(struct gateway *gateway)
{
    uint64_t now_ms = gateway->input->now_ms;
    for (size_t i = 0; i < GATEWAY_CHAT_COUNT_MAX; i++) {
        struct chat *chat = gateway->chats[i];
        if (!chat)
            continue;
        if (chat->phase == CHAT_WAITING && give_up(gateway, chat))
            continue;
        if (chat->phase == CHAT_WAITING)
            (void)try_start(gateway, chat);
        if (chat->phase != CHAT_WAITING && now_ms - chat->looked_ms >= GATEWAY_SILENT_MS) {
            chat->looked_ms = now_ms;
            lose(gateway, chat, "this gateway was silent for too long");
            continue; /* asked again at the next tick */
        }
        chat->looked_ms = now_ms;
        if (now_ms - chat->began_ms >= GATEWAY_BEGIN_MS)
            chat_open_stream(gateway, chat);
        if (now_ms - chat->written_ms < GATEWAY_COMMENT_MS)
            continue;
        char comment[96] = "working";
        if (chat->phase == CHAT_WAITING)
            model_loading_print(gateway, chat->request.model, comment, sizeof(comment));
        chat_comment(gateway, chat, comment);
    }
}

void chats_forget(struct gateway *gateway, uint64_t exchange)
{
    for (size_t i = 0; i < GATEWAY_CHAT_COUNT_MAX; i++) {
        struct chat *chat = gateway->chats[i];
        if (!chat || chat->exchange != exchange)
            continue;
        cancel(gateway, chat);
        chat_journal(gateway, chat, "client_gone", 499);
        chat_free(gateway, chat);
    }
}

void chats_end_all(struct gateway *gateway)
{
    struct http_fault fault;
    (void)http_fault_set(&fault, 503, "stopping", "The server stops; try again soon.");
    for (size_t i = 0; i < GATEWAY_CHAT_COUNT_MAX; i++) {
        if (!gateway->chats[i])
            continue;
        cancel(gateway, gateway->chats[i]);
        chat_fail(gateway, gateway->chats[i], &fault);
    }
}

void chats_fini(struct gateway *gateway)
{
    for (size_t i = 0; i < GATEWAY_CHAT_COUNT_MAX; i++)
        if (gateway->chats[i])
            chat_free(gateway, gateway->chats[i]);
}
