/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/runner.h"

#include "actors/runner/refusal.h"
#include "protocol/memory.h"

#include <string.h>

static struct runner_gateway *gateway_of(struct runner *runner, const struct peer *peer, bool make)
{
    struct runner_gateway *free_place = NULL;
    for (size_t i = 0; i < COUNT_OF(runner->gateways); i++) {
        struct runner_gateway *gateway = &runner->gateways[i];
        if (gateway->is_used && peer_equal(&gateway->peer, peer))
            return gateway;
        if (!gateway->is_used && !free_place)
            free_place = gateway;
    }
    if (make && free_place)
        *free_place = (struct runner_gateway){.is_used = true, .peer = *peer};
    return make ? free_place : NULL;
}

static struct runner_request *request_find(struct runner *runner, const struct request_id *id)
{
    for (size_t i = 0; i < COUNT_OF(runner->requests); i++)
        if (runner->requests[i].is_used && ID_EQUAL(runner->requests[i].request_id, *id))
            return &runner->requests[i];
    return NULL;
}

/* NULL: the limit is reached. */
static struct runner_request *free_place(struct runner *runner)
{
    const struct instance_record *instance = runner_instance(runner);
    const uint32_t most =
        runner->settings->requests_waiting + (instance ? instance->requests : 0);
    struct runner_request *place = NULL;
    uint32_t used = 0;
    for (size_t i = 0; i < COUNT_OF(runner->requests); i++) {
        if (runner->requests[i].is_used)
            used++;
        else if (!place)
            place = &runner->requests[i];
    }
    return used < most ? place : NULL;
}

static void cancel(struct runner *runner, struct runner_request *request)
{
    outbox_effect(runner->outbox, request->number, EFFECT_ENGINE_CANCEL, NULL, NULL);
    request->is_used = false;
}

static void refuse_request(struct runner *runner, const struct generate *body, enum status status,
                           const char *sentence)
{
    struct message answer;
    if (refusal_make(body, status, false, sentence, &answer) != STATUS_OK)
        return;
    outbox_send(runner->outbox, &runner->input->peer, &answer);
    message_fini(&answer);
}

static enum status submit(struct runner *runner, const struct message *message)
{
    const struct generate *body = MESSAGE_BODY(message, generate);
    struct runner_request *known = request_find(runner, &body->request_id);
    if (runner->status != RANK_READY || runner->settings->rank != 0) {
        refuse_request(runner, body, STATUS_NOT_READY, "the instance is not ready yet");
        return STATUS_OK;
    }
    if (known && body->attempt <= known->attempt)
        return STATUS_OK; /* an older attempt, or the same again */
    if (known)
        cancel(runner, known);
    struct runner_request *place = known ? known : free_place(runner);
    if (!place) {
        refuse_request(runner, body, STATUS_BUSY,
                       "as many requests as this instance takes run or wait (its requests, and "
                       "requests_waiting of its node); try again soon");
        return STATUS_OK;
    }
    struct message *copy = memory_zeroed(1, sizeof(*copy));
    if (!copy || message_copy(message, copy) != STATUS_OK) {
        memory_free(copy);
        refuse_request(runner, body, STATUS_NO_MEMORY, "no memory for the request");
        return STATUS_OK;
    }
    *place = (struct runner_request){true, ++runner->number_next, runner->input->peer,
                                     body->request_id, body->attempt};
    runner_watch(runner);
    outbox_effect(runner->outbox, place->number, EFFECT_ENGINE_SUBMIT, copy, runner_message_free);
    return STATUS_OK;
}

enum status runner_gateway_message(struct runner *runner, const struct message *message)
{
    struct runner_gateway *gateway = gateway_of(runner, &runner->input->peer, true);
    if (gateway)
        gateway->heard_ms = runner->input->now_ms;
    if (message_is(message, MESSAGE_LINK, LINK_GENERATE))
        return submit(runner, message);
    if (message_is(message, MESSAGE_LINK, LINK_CANCEL_GENERATION)) {
        const struct cancel_generation *body = MESSAGE_BODY(message, cancel_generation);
        struct runner_request *request = request_find(runner, &body->request_id);
        if (request && request->attempt <= body->attempt &&
            peer_equal(&request->peer, &runner->input->peer))
            cancel(runner, request);
    }
    return STATUS_OK;
}

/* The engine thread says something to the one who asked request `result->id`. */
void runner_request_word(struct runner *runner, const struct result *result)
{
    const struct message *word = result->value;
    for (size_t i = 0; i < COUNT_OF(runner->requests); i++) {
        struct runner_request *request = &runner->requests[i];
        if (!request->is_used || request->number != result->id)
            continue;
        outbox_send(runner->outbox, &request->peer, word);
        if (message_is(word, MESSAGE_LINK, LINK_GENERATION_FINISHED) ||
            message_is(word, MESSAGE_LINK, LINK_GENERATION_REFUSED))
            request->is_used = false;
        return;
    }
}

void runner_gateway_lost(struct runner *runner, const struct peer *peer)
{
    for (size_t i = 0; i < COUNT_OF(runner->requests); i++)
        if (runner->requests[i].is_used && peer_equal(&runner->requests[i].peer, peer))
            cancel(runner, &runner->requests[i]);
    struct runner_gateway *gateway = gateway_of(runner, peer, false);
    if (gateway)
        gateway->is_used = false;
}

/* A gateway that is silent while we work for it is gone, whatever its connection says. */
void runner_gateways_tick(struct runner *runner)
{
    const uint64_t now_ms = runner->input->now_ms;
    for (size_t i = 0; i < COUNT_OF(runner->requests); i++) {
        struct runner_request *request = &runner->requests[i];
        if (!request->is_used)
            continue;
        const struct runner_gateway *gateway = gateway_of(runner, &request->peer, false);
        if (gateway && now_ms < gateway->heard_ms + RUNNER_GATEWAY_SILENT_MS) {
            outbox_wake(runner->outbox, gateway->heard_ms + RUNNER_GATEWAY_SILENT_MS);
            continue;
        }
        cancel(runner, request);
    }
    /* Nor does it keep its place: one that asks for nothing says nothing, and is made anew. */
    for (size_t i = 0; i < COUNT_OF(runner->gateways); i++)
        if (now_ms >= runner->gateways[i].heard_ms + RUNNER_GATEWAY_SILENT_MS)
            runner->gateways[i].is_used = false;
}
