/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/session.h"

#include "protocol/hello.h"
#include "protocol/memory.h"
#include "runtime/link_view.h"
#include "runtime/paths.h"

#include <stdio.h>
#include <string.h>

#define REPORT_AGAIN_MS 5000u

void session_init(struct session *session, const struct session_settings *settings)
{
    memset(session, 0, sizeof(*session));
    session->settings = settings;
    state_mirror_init(&session->mirror);
}

void session_fini(struct session *session)
{
    state_mirror_fini(&session->mirror);
    for (size_t i = 0; i < session->report_count; i++)
        memory_free(session->reports[i].bytes);
    session->report_count = 0;
    record_fini(&links_measured_type, &session->reach);
}

void session_open(struct session *session, struct outbox *outbox)
{
    struct link_options options = {.role = LINK_CONNECT, .message_size_max = MESSAGE_SIZE_MAX};
    (void)session;
    (void)snprintf(options.endpoint, sizeof(options.endpoint), "%s", MASTER_ENDPOINT);
    outbox_link_open(outbox, SESSION_LINK, &options);
}

static enum status say_hello(struct session *session, struct outbox *outbox)
{
    const struct session_settings *settings = session->settings;
    struct message message;
    enum status status = message_init(&message, MESSAGE_LINK, LINK_HELLO);
    if (status != STATUS_OK)
        return status;
    struct hello *hello = message.body;
    status = hello_fill(hello, settings->actor, settings->incarnation, settings->build);
    hello->index = state_mirror_index(&session->mirror);
    hello->epoch = session->mirror.state.epoch;
    hello->wants_events = settings->wants_events;
    hello->key = settings->key;
    hello->instance_id = settings->instance_id;
    hello->generation = settings->generation;
    hello->rank = settings->rank;
    hello->world_size = settings->world_size;
    if (status == STATUS_OK && !text_set(&hello->address, session->address))
        status = STATUS_NO_MEMORY;
    if (status == STATUS_OK) {
        const struct peer master = peer_of_link(SESSION_LINK);
        outbox_send(outbox, &master, &message);
    }
    message_fini(&message);
    return status;
}

/* Reports made before the first welcome did not know their node. */
static enum status name_reports(struct session *session)
{
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < session->report_count; i++) {
        struct session_report *report = &session->reports[i];
        struct message message;
        struct reason reason = {""};
        if (report->has_node)
            continue;
        status = message_decode(report->bytes, report->size, &message, &reason);
        if (status != STATUS_OK)
            return status;
        message.head.node_id = session->mirror.node_id;
        struct buffer bytes;
        buffer_init(&bytes, MESSAGE_SIZE_MAX);
        status = message_encode(&message, &bytes);
        message_fini(&message);
        if (status != STATUS_OK) {
            buffer_fini(&bytes);
            return status;
        }
        memory_free(report->bytes);
        report->bytes = bytes.bytes;
        report->size = bytes.size;
        report->has_node = true;
    }
    return status;
}

static void send_reports(struct session *session, uint64_t now_ms, struct outbox *outbox)
{
    const struct peer master = peer_of_link(SESSION_LINK);
    if (!session->is_up || !session->is_welcome)
        return;
    for (size_t i = 0; i < session->report_count; i++) {
        struct session_report *report = &session->reports[i];
        if (now_ms < report->again_ms)
            continue;
        outbox_send_bytes(outbox, &master, report->bytes, report->size);
        report->again_ms = now_ms + REPORT_AGAIN_MS;
    }
}

/* An answer to a report: it is an event now, or refused for good; without a leader it stays. */
static void forget_report(struct session *session, const struct message *answer)
{
    if (answer->head.status == STATUS_NO_LEADER || answer->head.status == STATUS_BUSY)
        return;
    for (size_t i = 0; i < session->report_count; i++) {
        if (session->reports[i].sequence != answer->head.sequence)
            continue;
        memory_free(session->reports[i].bytes);
        memmove(&session->reports[i], &session->reports[i + 1],
                (session->report_count - i - 1) * sizeof(session->reports[0]));
        session->report_count--;
        return;
    }
}

static enum status take_message(struct session *session, const struct input *input,
                                struct outbox *outbox, enum mirror_change *change_out,
                                struct reason *reason)
{
    const struct message *message = input->message;
    if (message->head.kind == MESSAGE_ANSWER && message->head.incarnation != 0) {
        if (message->head.incarnation == session->settings->incarnation)
            forget_report(session, message);
        return STATUS_OK;
    }
    if (message->head.kind == MESSAGE_ANSWER && message->head.status == STATUS_VERSION &&
        !session->is_welcome)
        return refuse(reason, STATUS_VERSION, "%s", text_or_empty(message->head.reason));
    if (message_is(message, MESSAGE_LINK, LINK_WELCOME))
        session->is_welcome = true;
    if (message_is(message, MESSAGE_SIGNAL, SIGNAL_LINKS_MEASURED)) {
        record_fini(&links_measured_type, &session->reach);
        memset(&session->reach, 0, sizeof(session->reach));
        return record_copy(&links_measured_type, message->body, &session->reach);
    }
    enum status status = state_mirror_take(&session->mirror, message, change_out, reason);
    if (status == STATUS_OK && *change_out == MIRROR_WELCOMED)
        return name_reports(session);
    if (status == STATUS_GAP || status == STATUS_MALFORMED) {
        *change_out = MIRROR_UNTOUCHED;
        return say_hello(session, outbox);
    }
    return status;
}

enum status session_take(struct session *session, const struct input *input, struct outbox *outbox,
                         enum mirror_change *change_out, struct reason *reason)
{
    enum status status = STATUS_OK;
    *change_out = MIRROR_UNTOUCHED;
    if (input->peer.link == SESSION_LINK) {
        if (input->kind == INPUT_LINK_UP) {
            session->is_up = true;
            for (size_t i = 0; i < session->report_count; i++)
                session->reports[i].again_ms = 0;
            status = say_hello(session, outbox);
        } else if (input->kind == INPUT_LINK_DOWN) {
            session->is_up = false;
            session->is_welcome = false;
        } else if (input->kind == INPUT_MESSAGE) {
            status = take_message(session, input, outbox, change_out, reason);
        }
    }
    send_reports(session, input->now_ms, outbox);
    if (session->report_count > 0)
        outbox_wake(outbox, input->now_ms + 1000);
    return status;
}

enum status session_report(struct session *session, struct message *report, uint64_t now_ms,
                           struct outbox *outbox)
{
    if (session->report_count == SESSION_REPORTS_MAX)
        return STATUS_BUSY;
    report->head.node_id = session->mirror.node_id;
    report->head.actor = session->settings->actor;
    report->head.incarnation = session->settings->incarnation;
    report->head.sequence = ++session->sequence;
    struct buffer bytes;
    buffer_init(&bytes, MESSAGE_SIZE_MAX);
    enum status status = message_encode(report, &bytes);
    if (status != STATUS_OK) {
        buffer_fini(&bytes);
        return status;
    }
    session->reports[session->report_count++] =
        (struct session_report){bytes.bytes, bytes.size, session->sequence, 0,
                                !ID_IS_ZERO(session->mirror.node_id)};
    send_reports(session, now_ms, outbox);
    outbox_wake(outbox, now_ms + 1000);
    return STATUS_OK;
}

enum status session_report_end(struct session *session, struct message *report, bool is_filled,
                               uint64_t now_ms, struct outbox *outbox)
{
    const enum status status =
        is_filled ? session_report(session, report, now_ms, outbox) : STATUS_NO_MEMORY;
    message_fini(report);
    return status;
}

void session_send(struct session *session, struct message *message, struct outbox *outbox)
{
    const struct peer master = peer_of_link(SESSION_LINK);
    message->head.node_id = session->mirror.node_id;
    message->head.actor = session->settings->actor;
    if (session->is_up)
        outbox_send(outbox, &master, message);
}

/* Says it when it could be made, and ends it. */
static enum status say_answer(struct session *session, struct message *answer,
                              const struct command_key *key, enum status how,
                              const char *sentence, struct outbox *outbox)
{
    answer->head.key = *key;
    answer->head.status = how;
    const bool is_made = !sentence || text_set(&answer->head.reason, sentence);
    if (is_made)
        session_send(session, answer, outbox);
    message_fini(answer);
    return is_made ? STATUS_OK : STATUS_NO_MEMORY;
}

enum status session_answer_key(struct session *session, const struct command_key *key,
                               enum status how, const char *sentence, struct outbox *outbox)
{
    struct message answer;
    const enum status status = message_init(&answer, MESSAGE_ANSWER, ANSWER_DONE);
    return status == STATUS_OK ? say_answer(session, &answer, key, how, sentence, outbox) : status;
}

enum status session_answer(struct session *session, const struct message *task, enum status how,
                           const char *sentence, struct outbox *outbox)
{
    return session_answer_key(session, &task->head.key, how, sentence, outbox);
}

enum status session_answer_held(struct session *session, const struct task_held *held,
                                enum status how, const char *sentence, struct outbox *outbox)
{
    struct message answer;
    const enum status status = message_init(&answer, MESSAGE_ANSWER, ANSWER_TASK_HELD);
    if (status != STATUS_OK)
        return status;
    *MESSAGE_BODY(&answer, task_held) = *held;
    return say_answer(session, &answer, &held->key, how, sentence, outbox);
}

void session_address(const struct session *session, const struct node_id *node,
                     const char *address, char address_out[ADDRESS_SIZE_MAX])
{
    const struct link_measured *link = link_view_of(&session->reach, node);
    const struct node_record *record = state_find_node(&session->mirror.state, node);
    const char *hosts = record ? text_or_empty(record->hosts) : "";
    const char *port = strrchr(address, ':');
    char host[ADDRESS_SIZE_MAX];
    char proven[ADDRESS_SIZE_MAX] = "";
    bool is_of_node = false;
    (void)snprintf(address_out, ADDRESS_SIZE_MAX, "%s", address);
    while (link && port && state_host_next(&hosts, host, sizeof(host))) {
        const bool is_told = link_view_address_is(address, host);
        is_of_node = is_of_node || is_told;
        if (link_view_proof(link, host) != PROOF_GIVEN)
            continue;
        if (is_told)
            return;
        if (!proven[0])
            (void)snprintf(proven, sizeof(proven), "%s", host);
    }
    if (is_of_node && proven[0])
        (void)snprintf(address_out, ADDRESS_SIZE_MAX, "tcp://%.200s%.8s", proven, port);
}

void session_endpoint_address(const struct session *session,
                              const struct endpoint_record *endpoint,
                              char address_out[ADDRESS_SIZE_MAX])
{
    char address[ADDRESS_SIZE_MAX];
    state_endpoint_address(&session->mirror.state, endpoint, address);
    session_address(session, &endpoint->node_id, address, address_out);
}

bool session_is_task(const struct input *input)
{
    return input->kind == INPUT_MESSAGE && input->peer.link == SESSION_LINK &&
           input->message->head.kind == MESSAGE_TASK;
}
