/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/client.h"

#include "protocol/hash.h"
#include "protocol/hello.h"
#include "protocol/memory.h"
#include "protocol/state_mirror.h"

#include <string.h>

struct troupe_client {
    struct troupe_channel channel;
    struct troupe_client_options options;
    char build[BUILD_SIZE_MAX];
    uint64_t incarnation;
    uint64_t key_count;
    bool is_welcome;
    struct message welcome;
    struct state_mirror mirror;
    uint64_t events_from; /* asked for by troupe_client_ask_events; 0: never */
    /* The command that waits. */
    const struct message *command;
    struct message answer;
    bool is_answered;
    /* Ring of messages not yet taken. */
    struct message *queue;
    size_t queue_first;
    size_t queue_count;
    bool has_dropped;
    enum status failed;
    struct reason failed_reason;
};

static enum status client_send(struct troupe_client *client, const struct message *message)
{
    struct buffer bytes;
    buffer_init(&bytes, MESSAGE_SIZE_MAX);
    enum status status = message_encode(message, &bytes);
    if (status == STATUS_OK)
        status = client->channel.send(client->channel.self, bytes.bytes, bytes.size);
    buffer_fini(&bytes);
    return status;
}

/* What cannot be sent is sent again when the connection is up again. */
static enum status client_offer(struct troupe_client *client, const struct message *message)
{
    enum status status = client_send(client, message);
    return status == STATUS_NO_MEMORY || status == STATUS_TOO_LARGE ? status : STATUS_OK;
}

static enum status say_hello(struct troupe_client *client)
{
    struct message message;
    enum status status = message_init(&message, MESSAGE_LINK, LINK_HELLO);
    if (status != STATUS_OK)
        return status;
    struct hello *hello = message.body;
    status = hello_fill(hello, ACTOR_CLIENT, client->incarnation, client->build);
    hello->wants_events = client->options.wants_state;
    hello->index = client->options.wants_state ? state_mirror_index(&client->mirror) : 0;
    if (status == STATUS_OK)
        status = client_offer(client, &message);
    message_fini(&message);
    return status;
}

static enum status send_ask_events(struct troupe_client *client)
{
    struct message message;
    enum status status = message_init(&message, MESSAGE_LINK, LINK_ASK_EVENTS);
    if (status != STATUS_OK)
        return status;
    MESSAGE_BODY(&message, ask_events)->index = client->events_from;
    status = client_offer(client, &message);
    message_fini(&message);
    return status;
}

/* ---- what comes ---- */

static enum status take_welcome(struct troupe_client *client, struct message *message)
{
    message_fini(&client->welcome);
    client->welcome = message_take(message);
    client->is_welcome = true;
    enum status status = STATUS_OK;
    if (client->events_from != 0)
        status = send_ask_events(client);
    if (status == STATUS_OK && client->command && !client->is_answered)
        status = client_offer(client, client->command);
    return status;
}

static void take_answer(struct troupe_client *client, struct message *message)
{
    if (ID_IS_ZERO(message->head.key) && message->head.status != STATUS_OK) {
        /* A refused hello, or no state to be had. */
        client->failed = (enum status)message->head.status;
        (void)refuse(&client->failed_reason, client->failed, "%s",
                     text_or_empty(message->head.reason));
    } else if (client->command && ID_EQUAL(message->head.key, client->command->head.key)) {
        message_fini(&client->answer);
        client->answer = message_take(message);
        client->is_answered = true;
    }
}

static void queue_message(struct troupe_client *client, struct message *message)
{
    if (client->queue_count == TROUPE_CLIENT_QUEUE_MAX) {
        message_fini(&client->queue[client->queue_first]);
        client->queue_first = (client->queue_first + 1) % TROUPE_CLIENT_QUEUE_MAX;
        client->queue_count--;
        client->has_dropped = true;
    }
    size_t at = (client->queue_first + client->queue_count++) % TROUPE_CLIENT_QUEUE_MAX;
    client->queue[at] = message_take(message);
    if (client->events_from != 0 && client->queue[at].head.kind == MESSAGE_EVENT &&
        client->queue[at].head.index >= client->events_from)
        client->events_from = client->queue[at].head.index + 1;
}

static enum status take_mirrored(struct troupe_client *client, const struct message *message)
{
    enum mirror_change change = MIRROR_UNTOUCHED;
    struct reason reason = {""};
    if (!client->options.wants_state)
        return STATUS_OK;
    enum status status = state_mirror_take(&client->mirror, message, &change, &reason);
    if (status == STATUS_NO_MEMORY)
        return status;
    return status == STATUS_OK ? STATUS_OK : say_hello(client); /* begins again with a snapshot */
}

static enum status take_message(struct troupe_client *client, const uint8_t *bytes, size_t size)
{
    struct message message;
    struct reason reason = {""};
    enum status status = message_decode(bytes, size, &message, &reason);
    if (status == STATUS_NO_MEMORY)
        return status;
    if (status != STATUS_OK)
        return STATUS_OK; /* of a newer node: what we do not know is not for us */
    status = take_mirrored(client, &message);
    const bool is_news =
        message.head.kind == MESSAGE_EVENT || message.head.kind == MESSAGE_SIGNAL;
    if (status == STATUS_OK && message_is(&message, MESSAGE_LINK, LINK_WELCOME))
        status = take_welcome(client, &message);
    else if (status == STATUS_OK && message.head.kind == MESSAGE_ANSWER)
        take_answer(client, &message);
    else if (status == STATUS_OK && is_news && client->options.wants_messages)
        queue_message(client, &message);
    message_fini(&message);
    return status;
}

/* One piece of news; TIMED_OUT when there is none until `deadline_ms`. */
static enum status client_turn(struct troupe_client *client, uint64_t deadline_ms,
                               struct reason *reason)
{
    const uint8_t *bytes = NULL;
    size_t size = 0;
    const uint64_t now_ms = client->channel.now_ms(client->channel.self);
    if (client->failed != STATUS_OK)
        return refuse(reason, client->failed, "%s", client->failed_reason.text);
    const uint64_t left_ms = deadline_ms > now_ms ? deadline_ms - now_ms : 0;
    switch (client->channel.receive(client->channel.self, left_ms, &bytes, &size, reason)) {
    case TROUPE_NEWS_UP:
        client->is_welcome = false;
        return say_hello(client);
    case TROUPE_NEWS_DOWN:
        client->is_welcome = false;
        return STATUS_OK;
    case TROUPE_NEWS_MESSAGE:
        return take_message(client, bytes, size);
    case TROUPE_NEWS_FAILED:
        return STATUS_UNREACHABLE;
    case TROUPE_NEWS_NONE:
        break;
    }
    return client->channel.now_ms(client->channel.self) >= deadline_ms ? STATUS_TIMED_OUT
                                                                       : STATUS_OK;
}

/* ---- the calls ---- */

static enum status client_make(const struct troupe_channel *channel,
                               const struct troupe_client_options *options,
                               struct troupe_client **client_out)
{
    struct troupe_client *client = memory_zeroed(1, sizeof(*client));
    if (!client)
        return STATUS_NO_MEMORY;
    client->channel = *channel;
    client->options = *options;
    client->options.build = NULL;
    const size_t length = options->build ? strlen(options->build) : 0;
    memcpy(client->build, options->build ? options->build : "",
           length < sizeof(client->build) ? length : sizeof(client->build) - 1);
    memcpy(&client->incarnation, options->seed, sizeof(client->incarnation));
    client->incarnation |= 1;
    state_mirror_init(&client->mirror);
    *client_out = client;
    if (!options->wants_messages)
        return STATUS_OK;
    client->queue = memory_zeroed(TROUPE_CLIENT_QUEUE_MAX, sizeof(client->queue[0]));
    return client->queue ? STATUS_OK : STATUS_NO_MEMORY;
}

enum status troupe_client_open(const struct troupe_channel *channel,
                               const struct troupe_client_options *options,
                               struct troupe_client **client_out, struct reason *reason)
{
    struct troupe_client *client = NULL;
    enum status status = client_make(channel, options, &client);
    if (!client) {
        channel->close(channel->self);
        return status;
    }
    const uint64_t timeout_ms = options->timeout_ms ? options->timeout_ms : 5000;
    const uint64_t deadline_ms = channel->now_ms(channel->self) + timeout_ms;
    while (status == STATUS_OK && !client->is_welcome)
        status = client_turn(client, deadline_ms, reason);
    if (status == STATUS_TIMED_OUT)
        status = refuse(reason, STATUS_UNREACHABLE, "the node does not answer");
    if (status != STATUS_OK) {
        troupe_client_close(client);
        return status;
    }
    *client_out = client;
    return STATUS_OK;
}

void troupe_client_close(struct troupe_client *client)
{
    if (!client)
        return;
    client->channel.close(client->channel.self);
    for (size_t i = 0; i < client->queue_count; i++)
        message_fini(&client->queue[(client->queue_first + i) % TROUPE_CLIENT_QUEUE_MAX]);
    memory_free(client->queue);
    message_fini(&client->welcome);
    message_fini(&client->answer);
    state_mirror_fini(&client->mirror);
    memory_free(client);
}

const struct welcome *troupe_client_welcome(const struct troupe_client *client)
{
    return MESSAGE_BODY(&client->welcome, welcome);
}

enum status troupe_client_state_at(struct troupe_client *client, uint64_t index,
                                   uint64_t timeout_ms, const struct state **state_out,
                                   struct reason *reason)
{
    const uint64_t deadline_ms = client->channel.now_ms(client->channel.self) + timeout_ms;
    if (!client->options.wants_state)
        return refuse(reason, STATUS_UNSUPPORTED, "this client was opened without wants_state");
    while (!client->mirror.has_state || client->mirror.state.index < index) {
        enum status status = client_turn(client, deadline_ms, reason);
        if (status == STATUS_TIMED_OUT)
            return refuse(reason, status, "the node has no state to show yet; is it in a cluster?");
        if (status != STATUS_OK)
            return status;
    }
    *state_out = &client->mirror.state;
    return STATUS_OK;
}

enum status troupe_client_state(struct troupe_client *client, uint64_t timeout_ms,
                                const struct state **state_out, struct reason *reason)
{
    return troupe_client_state_at(client, 1, timeout_ms, state_out, reason);
}

static void key_make(struct troupe_client *client, struct command_key *key_out)
{
    struct hash_stream stream;
    struct hash hash;
    const uint64_t count = ++client->key_count;
    hash_init(&stream);
    hash_update(&stream, client->options.seed, sizeof(client->options.seed));
    hash_update(&stream, &count, sizeof(count));
    hash_final(&stream, &hash);
    memcpy(key_out, &hash, sizeof(*key_out));
}

static enum status refusal(const struct message *answer, struct reason *reason)
{
    const enum status status = (enum status)answer->head.status;
    const char *sentence = text_or_empty(answer->head.reason);
    return refuse(reason, status, "%s", sentence[0] ? sentence : status_text(status));
}

enum status troupe_client_command(struct troupe_client *client, struct message *command,
                                  uint64_t timeout_ms, struct message *answer_out,
                                  struct reason *reason)
{
    const uint64_t deadline_ms = client->channel.now_ms(client->channel.self) + timeout_ms;
    if (ID_IS_ZERO(command->head.key))
        key_make(client, &command->head.key);
    client->command = command;
    client->is_answered = false;
    enum status status = client->is_welcome ? client_offer(client, command) : STATUS_OK;
    while (status == STATUS_OK && !client->is_answered)
        status = client_turn(client, deadline_ms, reason);
    client->command = NULL;
    if (status == STATUS_TIMED_OUT)
        return refuse(reason, status, "the node gave no answer in time; nothing is known of the "
                                      "command, it may be sent again");
    if (status != STATUS_OK)
        return status;
    struct message answer = message_take(&client->answer);
    if (answer.head.status != STATUS_OK)
        status = refusal(&answer, reason);
    if (status == STATUS_OK && answer_out)
        *answer_out = message_take(&answer);
    message_fini(&answer);
    return status;
}

enum status troupe_client_next(struct troupe_client *client, uint64_t timeout_ms,
                               struct message *message_out, struct reason *reason)
{
    const uint64_t deadline_ms = client->channel.now_ms(client->channel.self) + timeout_ms;
    if (!client->options.wants_messages)
        return refuse(reason, STATUS_UNSUPPORTED,
                      "this client was opened without wants_messages");
    while (client->queue_count == 0) {
        enum status status = client_turn(client, deadline_ms, reason);
        if (status != STATUS_OK)
            return status;
    }
    if (client->has_dropped) {
        client->has_dropped = false;
        return refuse(reason, STATUS_GAP, "messages came faster than they were taken");
    }
    *message_out = message_take(&client->queue[client->queue_first]);
    client->queue_first = (client->queue_first + 1) % TROUPE_CLIENT_QUEUE_MAX;
    client->queue_count--;
    return STATUS_OK;
}

enum status troupe_client_ask_events(struct troupe_client *client, uint64_t index,
                                     struct reason *reason)
{
    if (!client->options.wants_messages)
        return refuse(reason, STATUS_UNSUPPORTED,
                      "this client was opened without wants_messages");
    client->events_from = index > 0 ? index : 1;
    return client->is_welcome ? send_ask_events(client) : STATUS_OK;
}
