/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/runner.h"

#include "protocol/memory.h"
#include "runtime/fabric_ways.h"

#include <stdio.h>
#include <string.h>

#define REPORT_TIME_MS 1000u
#define PROGRESS_EVERY_MS 500u

void runner_message_free(void *request)
{
    if (request)
        message_fini(request);
    memory_free(request);
}

const struct instance_record *runner_instance(const struct runner *runner)
{
    if (!runner->session.mirror.has_state)
        return NULL;
    const struct instance_record *instance =
        state_find_instance(&runner->session.mirror.state, &runner->settings->instance_id);
    if (!instance || !generation_equal(&instance->generation, &runner->settings->generation) ||
        runner->settings->rank >= instance->ranks.count)
        return NULL;
    return instance;
}

/* ---- reports ---- */

static enum status report_status(struct runner *runner, enum rank_status status,
                                 const char *sentence, uint64_t memory_free)
{
    struct message report;
    enum status outcome = message_init(&report, MESSAGE_REPORT, REPORT_RUNNER_STATUS_CHANGED);
    if (outcome != STATUS_OK)
        return outcome;
    struct runner_status_changed *body = report.body;
    body->instance_id = runner->settings->instance_id;
    body->generation = runner->settings->generation;
    body->rank = runner->settings->rank;
    body->status = status;
    body->memory_free = memory_free;
    outcome = text_set(&body->reason, sentence) ? STATUS_OK : STATUS_NO_MEMORY;
    if (outcome == STATUS_OK)
        outcome = session_report(&runner->session, &report, runner->input->now_ms, runner->outbox);
    message_fini(&report);
    runner->status = status;
    if (status == RANK_JOINED)
        outbox_ready(runner->outbox);
    if (status == RANK_FAILED)
        runner->exit_at_ms = runner->input->now_ms + REPORT_TIME_MS;
    return outcome;
}

/* Before the failure, so that the next placement knows what this node has not any more. */
static enum status report_lost(struct runner *runner, const struct rank_status_told *told)
{
    const struct instance_record *instance = runner_instance(runner);
    struct message report;
    if (!instance)
        return STATUS_OK;
    enum status status = message_init(&report, MESSAGE_REPORT, REPORT_HOLDING_CHANGED);
    if (status != STATUS_OK)
        return status;
    struct holding_changed *body = report.body;
    body->node_id = runner->session.mirror.node_id;
    body->revision = instance->revision;
    body->has_small_files = told->has_small_files;
    status = text_set(&body->model_id, instance->model_id) &&
                     (told->held_size == 0 || bytes_set(&body->held, told->held, told->held_size))
                 ? STATUS_OK
                 : STATUS_NO_MEMORY;
    if (status == STATUS_OK)
        status = session_report(&runner->session, &report, runner->input->now_ms, runner->outbox);
    message_fini(&report);
    return status;
}

static enum status report_address(struct runner *runner)
{
    struct message report;
    enum status status = message_init(&report, MESSAGE_REPORT, REPORT_RANK_ADDRESSED);
    if (status != STATUS_OK)
        return status;
    struct rank_addressed *body = report.body;
    body->instance_id = runner->settings->instance_id;
    body->generation = runner->settings->generation;
    body->rank = runner->settings->rank;
    body->actor = ACTOR_RUNNER;
    body->key = runner->settings->session.key;
    status = text_set(&body->address, runner->endpoint) &&
                     text_set(&body->gateway_address, runner->gateway_endpoint)
                 ? STATUS_OK
                 : STATUS_NO_MEMORY;
    if (status == STATUS_OK)
        status = session_report(&runner->session, &report, runner->input->now_ms, runner->outbox);
    message_fini(&report);
    runner->is_address_told = true;
    return status;
}

/* ---- beginning ---- */

static void engine_start_free(void *request)
{
    struct engine_start *start = request;
    if (start)
        record_fini(&instance_record_type, &start->instance);
    memory_free(start);
}

static enum status start_engine(struct runner *runner, const struct instance_record *instance)
{
    struct engine_start *start = memory_zeroed(1, sizeof(*start));
    if (!start)
        return STATUS_NO_MEMORY;
    start->rank = runner->settings->rank;
    enum status status = record_copy(&instance_record_type, instance, &start->instance);
    if (status != STATUS_OK) {
        memory_free(start);
        return status;
    }
    runner->is_started = true;
    runner_watch(runner);
    outbox_effect(runner->outbox, 0, EFFECT_ENGINE_START, start, engine_start_free);
    return STATUS_OK;
}

/* What the present state asks of us. */
static enum status follow_state(struct runner *runner)
{
    const struct instance_record *instance = runner_instance(runner);
    enum status status = STATUS_OK;
    if (!runner->session.mirror.has_state)
        return STATUS_OK;
    if (!instance ||
        (instance->status != INSTANCE_STARTING && instance->status != INSTANCE_READY)) {
        outbox_exit(runner->outbox, 0); /* our generation is over */
        return STATUS_OK;
    }
    const struct rank_record *own = &instance->ranks.items[runner->settings->rank];
    if (own->status == RANK_RELEASED) {
        outbox_exit(runner->outbox, 0); /* nobody misses us: the state says so to all */
        return STATUS_OK;
    }
    if (!runner->is_address_told && runner->endpoint[0] &&
        (runner->gateway_endpoint[0] || runner->settings->rank != 0))
        status = report_address(runner);
    if (status == STATUS_OK && !runner->is_started)
        status = start_engine(runner, instance);
    runner_allow_refresh(runner);
    runner_siblings_open(runner);
    if (status == STATUS_OK && runner->is_loaded && runner_siblings_reached(runner)) {
        runner->is_loaded = false;
        status = report_status(runner, RANK_LOADED, "", 0);
    }
    if (own->is_source && runner->status == RANK_LOADED && runner_siblings_loaded(runner))
        status = report_status(runner, RANK_RELEASED, "", 0);
    if (runner->settings->rank == 0 && !runner->is_canary_sent && runner->status == RANK_LOADED &&
        runner_siblings_ready(runner)) {
        runner->is_canary_sent = true;
        runner_watch(runner);
        outbox_effect(runner->outbox, 0, EFFECT_ENGINE_CANARY, NULL, NULL);
    }
    return status;
}

/* Its address may lead to another, or to nobody. */
static enum status check_reached(struct runner *runner)
{
    const struct instance_record *instance = runner_instance(runner);
    const uint32_t rank = runner_sibling_unreached(runner);
    char text[SENTENCE_SIZE_MAX];
    if (!runner->is_loaded || !instance || rank == RANK_COUNT_MAX)
        return STATUS_OK;
    if (runner->input->now_ms < runner->reach_at_ms) {
        outbox_wake(runner->outbox, runner->reach_at_ms);
        return STATUS_OK;
    }
    (void)snprintf(text, sizeof(text), "rank %u was not reached at %.100s within %u ms; see whether"
                   " that address leads to its node", rank,
                   text_or_empty(instance->ranks.items[rank].runner_address), RUNNER_REACH_MS);
    return report_status(runner, RANK_FAILED, text, 0);
}

/* ---- inputs ---- */

static void tell_pace(struct runner *runner)
{
    struct message signal;
    if (runner->pace_at_ms == 0 || runner->exit_at_ms != 0)
        return;
    if (runner->input->now_ms >= runner->pace_at_ms) {
        runner->pace_at_ms = runner->input->now_ms + RUNNER_PACE_MS;
        if (message_init(&signal, MESSAGE_SIGNAL, SIGNAL_PACE_MEASURED) != STATUS_OK)
            return;
        *MESSAGE_BODY(&signal, pace_measured) = runner->pace;
        session_send(&runner->session, &signal, runner->outbox);
        message_fini(&signal);
    }
    outbox_wake(runner->outbox, runner->pace_at_ms);
}

static enum status take_result(struct runner *runner, const struct result *result)
{
    switch (result->kind) {
    case RESULT_RANK_STATUS: {
        const struct rank_status_told *told = result->value;
        if (runner->status == RANK_FAILED)
            return STATUS_OK;
        /* Loaded is the word for steps to come, and what we send then must arrive. */
        runner->is_loaded = told->status == RANK_LOADED && !runner_siblings_reached(runner);
        runner->reach_at_ms = runner->input->now_ms + RUNNER_REACH_MS;
        if (runner->is_loaded)
            return STATUS_OK;
        const enum status status =
            told->is_holding_lost ? report_lost(runner, told) : STATUS_OK;
        return status == STATUS_OK ? report_status(runner, told->status, told->reason.text,
                                                   told->memory_free)
                                   : status;
    }
    case RESULT_RANK_FAILING:
        if (result->value)
            runner->failing = *(const struct reason *)result->value;
        return STATUS_OK;
    case RESULT_RANK_PROGRESS: {
        struct message signal;
        if (runner->input->now_ms < runner->progress_at_ms)
            return STATUS_OK;
        runner->progress_at_ms = runner->input->now_ms + PROGRESS_EVERY_MS;
        if (message_init(&signal, MESSAGE_SIGNAL, SIGNAL_LOAD_PROGRESSED) != STATUS_OK)
            return STATUS_NO_MEMORY;
        struct load_progressed *body = signal.body;
        *body = *(const struct load_progressed *)result->value;
        body->instance_id = runner->settings->instance_id;
        body->generation = runner->settings->generation;
        body->rank = runner->settings->rank;
        session_send(&runner->session, &signal, runner->outbox);
        message_fini(&signal);
        return STATUS_OK;
    }
    case RESULT_RANK_PACE:
        runner->pace = *(const struct pace_measured *)result->value;
        runner->pace.instance_id = runner->settings->instance_id;
        runner->pace.generation = runner->settings->generation;
        runner->pace_at_ms = runner->input->now_ms;
        return STATUS_OK;
    case RESULT_REQUEST_WORD:
        runner_request_word(runner, result);
        return STATUS_OK;
    case RESULT_SIBLING_WORD:
        runner_sibling_word(runner, result->value);
        return STATUS_OK;
    case RESULT_ENGINE_BEAT: {
        struct reason why = {""};
        if (runner->status == RANK_FAILED || runner_watch_take(runner, result->value, &why))
            return STATUS_OK;
        return report_status(runner, RANK_FAILED, why.text, 0);
    }
    default:
        return STATUS_OK;
    }
}

static enum status take_message(struct runner *runner)
{
    const struct message *message = runner->input->message;
    uint32_t rank = 0;
    if (runner->input->peer.link == SESSION_LINK && message_is(message, MESSAGE_SIGNAL,
                                                               SIGNAL_HEARTBEAT))
        runner_watch_hear(runner, MESSAGE_BODY(message, heartbeat));
    if (runner->input->peer.link == RUNNER_LINK_GATEWAYS)
        return runner_gateway_message(runner, message);
    if (runner->input->peer.link == RUNNER_LINK_BOUND &&
        runner_is_sibling(runner, &runner->input->peer.key, &rank))
        return runner_sibling_message(runner, message);
    return STATUS_OK; /* siblings answer on their own connections */
}

static enum status take_link(struct runner *runner)
{
    const uint32_t link = runner->input->peer.link;
    const bool is_up = runner->input->kind == INPUT_LINK_UP;
    if (link == RUNNER_LINK_GATEWAYS) {
        if (!is_up)
            runner_gateway_lost(runner, &runner->input->peer);
        return STATUS_OK;
    }
    if (link < RUNNER_LINK_SIBLING || link >= RUNNER_LINK_SIBLING + RANK_COUNT_MAX)
        return STATUS_OK;
    const uint64_t bit = UINT64_C(1) << (link - RUNNER_LINK_SIBLING);
    runner->siblings_up = is_up ? runner->siblings_up | bit : runner->siblings_up & ~bit;
    if (!is_up && runner->status != RANK_FAILED &&
        (runner->status == RANK_READY || runner->has_spoken)) {
        char text[96];
        (void)snprintf(text, sizeof(text), "the connection to rank %u was lost",
                       link - RUNNER_LINK_SIBLING);
        return report_status(runner, RANK_FAILED, text, 0);
    }
    return STATUS_OK;
}

/* The message is gone: siblings are out of step now, and a client would miss a token. */
static enum status take_send_failed(struct runner *runner)
{
    const uint32_t link = runner->input->peer.link;
    if (link == RUNNER_LINK_GATEWAYS)
        runner_gateway_lost(runner, &runner->input->peer);
    if (link < RUNNER_LINK_SIBLING || link >= RUNNER_LINK_SIBLING + RANK_COUNT_MAX ||
        runner->status == RANK_FAILED)
        return STATUS_OK;
    char text[128];
    (void)snprintf(text, sizeof(text), "a step could not be sent to rank %u: %s",
                   link - RUNNER_LINK_SIBLING, status_text(runner->input->status));
    return report_status(runner, RANK_FAILED, text, 0);
}

static void open_links(struct runner *runner)
{
    struct link_options options = {.role = LINK_BIND, .message_size_max = RUNNER_LINK_MESSAGE_MAX};
    session_open(&runner->session, runner->outbox);
    (void)snprintf(options.endpoint, sizeof(options.endpoint), "%s", runner->settings->bind);
    outbox_link_open(runner->outbox, RUNNER_LINK_BOUND, &options);
    if (runner->settings->front[0])
        (void)snprintf(options.endpoint, sizeof(options.endpoint), "%s", runner->settings->front);
    if (runner->settings->rank == 0)
        outbox_link_open(runner->outbox, RUNNER_LINK_GATEWAYS, &options);
}

static void take_bound(struct runner *runner)
{
    const uint32_t link = runner->input->peer.link;
    const bool is_for_gateways = link == RUNNER_LINK_GATEWAYS;
    char told[ADDRESS_SIZE_MAX];
    if (link != RUNNER_LINK_BOUND && !is_for_gateways)
        return;
    fabric_told(runner->input->endpoint,
                is_for_gateways ? runner->settings->fronted : runner->settings->fabric, told);
    (void)snprintf(is_for_gateways ? runner->gateway_endpoint : runner->endpoint,
                   LINK_ENDPOINT_SIZE, "%.127s", told);
}

static enum status take_input(struct runner *runner)
{
    switch (runner->input->kind) {
    case INPUT_START:
        open_links(runner);
        return STATUS_OK;
    case INPUT_LINK_BOUND:
        take_bound(runner);
        return STATUS_OK;
    case INPUT_LINK_REFUSED:
        return refuse(runner->reason, runner->input->status, "%s", runner->input->reason);
    case INPUT_LINK_UP:
    case INPUT_LINK_DOWN:
        return take_link(runner);
    case INPUT_MESSAGE:
        return take_message(runner);
    case INPUT_RESULT:
        return take_result(runner, runner->input->result);
    case INPUT_STOP:
        outbox_exit(runner->outbox, 0);
        return STATUS_OK;
    case INPUT_SEND_FAILED:
        return take_send_failed(runner);
    case INPUT_WAKE:
    case INPUT_CHILD_READY:
    case INPUT_CHILD_BEAT:
    case INPUT_CHILD_ENDED:
        return STATUS_OK;
    }
    return STATUS_OK;
}

static enum status runner_step(void *actor, const struct input *input, struct outbox *outbox,
                               struct reason *reason)
{
    struct runner *runner = actor;
    enum mirror_change change;
    runner->input = input;
    runner->outbox = outbox;
    runner->reason = reason;
    enum status status = session_take(&runner->session, input, outbox, &change, reason);
    if (status == STATUS_OK)
        status = take_input(runner);
    if (status == STATUS_OK && input->kind != INPUT_STOP && runner->exit_at_ms == 0)
        status = follow_state(runner);
    if (status == STATUS_OK && runner->exit_at_ms == 0)
        status = check_reached(runner);
    runner_gateways_tick(runner);
    runner_watch_tick(runner);
    tell_pace(runner);
    if (runner->exit_at_ms != 0) {
        if (runner->session.report_count == 0 || input->now_ms >= runner->exit_at_ms)
            outbox_exit(outbox, 1);
        else
            outbox_wake(outbox, runner->exit_at_ms);
    }
    return status;
}

static enum status runner_init(void *actor, const void *settings, struct reason *reason)
{
    (void)reason;
    struct runner *runner = actor;
    runner->settings = settings;
    session_init(&runner->session, &runner->settings->session);
    return STATUS_OK;
}

static void runner_fini(void *actor)
{
    struct runner *runner = actor;
    session_fini(&runner->session);
}

const struct actor_ops runner_ops = {.name = "runner",
                                     .memory_size = sizeof(struct runner),
                                     .init = runner_init,
                                     .step = runner_step,
                                     .fini = runner_fini};
