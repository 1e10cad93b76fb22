/* SPDX-License-Identifier: Apache-2.0 */
/*
 * duties: what a leader does unasked: it ends generations that cannot go on and starts new ones.
 */
#include "actors/master/master.h"

#include "actors/master/copy_rules.h"
#include "actors/master/download_rules.h"
#include "actors/master/hub_rules.h"
#include "protocol/holdings.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A generation on its way to ready must show some progress within this time; its processes may
 * start half a minute apart. */
#define PROGRESS_LEASE_MS 40000u
#define NODE_SILENT_MS 2000u

static struct progress *progress_of(struct master *master, const struct instance_record *instance)
{
    struct progress *free_place = NULL;
    for (size_t i = 0; i < COUNT_OF(master->progress); i++) {
        struct progress *progress = &master->progress[i];
        if (ID_EQUAL(progress->instance_id, instance->instance_id))
            return progress;
        if (!free_place && (ID_IS_ZERO(progress->instance_id) ||
                            !state_find_instance(&master->state, &progress->instance_id)))
            free_place = progress;
    }
    ASSERT(free_place != NULL); /* as many places as instances */
    *free_place =
        (struct progress){instance->instance_id, instance->changed_index, master->input->now_ms};
    return free_place;
}

static void note_load(struct master *master, const struct message *signal)
{
    struct load *place = NULL;
    for (uint32_t i = 0; i < master->load_count; i++)
        if (ID_EQUAL(master->loads[i].node_id, signal->head.node_id))
            place = &master->loads[i];
    if (!place && master->load_count < COUNT_OF(master->loads))
        place = &master->loads[master->load_count++];
    if (!place)
        return;
    place->node_id = signal->head.node_id;
    place->load = *MESSAGE_BODY(signal, node_load);
    place->kernel_count = place->load.kernels.count;
    if (place->kernel_count > 0)
        memcpy(place->kernels, place->load.kernels.items,
               place->kernel_count * sizeof(place->kernels[0]));
    memset(&place->load.kernels, 0, sizeof(place->load.kernels));
    place->heard_ms = master->input->now_ms;
}

void duties_signal(struct master *master, const struct message *signal)
{
    if (signal->head.code == SIGNAL_NODE_LOAD && !is_leader(master) &&
        ID_EQUAL(signal->head.node_id, master->settings->node_id)) {
        struct node_slot *leader = leader_slot(master);
        struct message message;
        struct buffer bytes;
        if (!leader || !message_begin(master, &message, MESSAGE_LINK, LINK_FORWARDED))
            return;
        buffer_init(&bytes, PART_SIZE_MAX);
        if (message_encode(signal, &bytes) == STATUS_OK &&
            bytes_set(&MESSAGE_BODY(&message, forwarded)->message, bytes.bytes, bytes.size))
            send_to_node(master, leader, &message);
        else
            message_fini(&message);
        buffer_fini(&bytes);
        return;
    }
    if (!is_leader(master))
        return;
    if (signal->head.code == SIGNAL_NODE_LOAD)
        note_load(master, signal);
    if (signal->head.code == SIGNAL_LOAD_PROGRESSED) {
        const struct load_progressed *body = MESSAGE_BODY(signal, load_progressed);
        const struct instance_record *instance =
            state_find_instance(&master->state, &body->instance_id);
        if (instance && generation_equal(&instance->generation, &body->generation))
            progress_of(master, instance)->moved_ms = master->input->now_ms;
    }
}

static const char *node_name(const struct master *master, const struct node_id *id)
{
    return state_node_name(&master->state, id);
}

static enum status fail(struct master *master, struct instance_record *instance, uint32_t rank,
                        const char *text, bool is_hopeless)
{
    struct message event;
    if (!message_begin(master, &event, MESSAGE_EVENT, EVENT_GENERATION_FAILED))
        return STATUS_NO_MEMORY;
    struct generation_failed *body = event.body;
    const uint64_t wall_ms = master->input->wall_ms;
    /* As replication_append will date it. */
    const uint64_t time_ms = wall_ms > master->state.time_ms ? wall_ms : master->state.time_ms;
    const uint32_t failures =
        generation_failure_is_first(instance, time_ms) ? 1 : instance->failures + 1;
    body->instance_id = instance->instance_id;
    body->generation = instance->generation;
    body->rank = rank;
    /* One that was ready can start again, however short its life was: only its wait grows. */
    const bool was_ready = instance->status == INSTANCE_READY;
    body->retry_at_ms = is_hopeless || (failures >= GENERATION_FAILURES_MAX && !was_ready)
                            ? UINT64_MAX
                            : wall_ms + generation_backoff_ms(failures);
    enum status status = text_set(&body->reason, text) ? STATUS_OK : STATUS_NO_MEMORY;
    if (status == STATUS_OK)
        status = replication_append(master, &event);
    message_fini(&event);
    return status;
}

enum status generation_fail(struct master *master, struct instance_record *instance, uint32_t rank,
                            const char *text)
{
    return fail(master, instance, rank, text, false);
}

/* ---- what follows from an event at once ---- */

static bool all_addressed(const struct instance_record *instance)
{
    for (uint32_t i = 0; i < instance->ranks.count; i++) {
        const struct rank_record *rank = &instance->ranks.items[i];
        if (text_or_empty(rank->runner_address)[0] == '\0')
            return false;
        if (instance->ranks.count > 1 && text_or_empty(rank->launcher_address)[0] == '\0')
            return false;
    }
    return true;
}

/*
 * The launchers of a generation need each other's addresses before any runner can be started by
 * them, so the event comes twice: when all launchers told theirs, and when all runners did.
 */
static bool all_launchers_addressed(const struct instance_record *instance, uint32_t *runners_out)
{
    *runners_out = 0;
    for (uint32_t i = 0; i < instance->ranks.count; i++) {
        if (text_or_empty(instance->ranks.items[i].launcher_address)[0] == '\0')
            return false;
        *runners_out += text_or_empty(instance->ranks.items[i].runner_address)[0] != '\0';
    }
    return true;
}

static enum status tell_addressed(struct master *master, const struct instance_record *instance)
{
    struct message addressed;
    if (!message_begin(master, &addressed, MESSAGE_EVENT, EVENT_GENERATION_ADDRESSED))
        return STATUS_NO_MEMORY;
    struct generation_addressed *all = addressed.body;
    all->instance_id = instance->instance_id;
    all->generation = instance->generation;
    enum status status = STATUS_OK;
    for (uint32_t i = 0; status == STATUS_OK && i < instance->ranks.count; i++)
        if (!record_list_push(&rank_record_type, RECORD_LIST(all->ranks), &instance->ranks.items[i],
                              RANK_COUNT_MAX))
            status = STATUS_NO_MEMORY;
    if (status == STATUS_OK)
        status = replication_append(master, &addressed);
    message_fini(&addressed);
    return status;
}

static enum status after_rank_addressed(struct master *master, const struct message *event)
{
    const struct rank_addressed *body = MESSAGE_BODY(event, rank_addressed);
    const struct instance_record *instance =
        state_find_instance(&master->state, &body->instance_id);
    uint32_t runners = 0;
    if (!instance || !generation_equal(&instance->generation, &body->generation))
        return STATUS_OK;
    const bool is_first = instance->ranks.count > 1 && body->actor == ACTOR_LAUNCHER &&
                          all_launchers_addressed(instance, &runners) && runners == 0;
    if (!is_first && !all_addressed(instance))
        return STATUS_OK;
    return tell_addressed(master, instance);
}

/* The last leader may have ended between an event and what follows from it.  What it says twice
 * does no harm. */
enum status duties_begin(struct master *master)
{
    for (uint32_t i = 0; i < master->state.instances.count; i++) {
        const struct instance_record *instance = &master->state.instances.items[i];
        uint32_t runners = 0;
        bool has_joined = false;
        for (uint32_t r = 0; r < instance->ranks.count; r++)
            has_joined = has_joined || instance->ranks.items[r].status > RANK_ADDRESSED;
        if (instance->status != INSTANCE_STARTING || has_joined ||
            !(all_addressed(instance) ||
              (instance->ranks.count > 1 && all_launchers_addressed(instance, &runners))))
            continue;
        enum status status = tell_addressed(master, instance);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}
/* The next placement reckons with what the node really had, not with what it told before. */
static void note_memory(struct master *master, const struct node_id *node_id, uint64_t memory_free)
{
    for (uint32_t i = 0; i < master->load_count; i++)
        if (ID_EQUAL(master->loads[i].node_id, *node_id) &&
            master->loads[i].load.memory_free > memory_free)
            master->loads[i].load.memory_free = memory_free;
}

static enum status after_runner_status(struct master *master, const struct message *event)
{
    const struct runner_status_changed *body = MESSAGE_BODY(event, runner_status_changed);
    struct instance_record *instance = state_find_instance(&master->state, &body->instance_id);
    if (!instance || body->status != RANK_FAILED ||
        !generation_equal(&instance->generation, &body->generation))
        return STATUS_OK;
    const struct node_id *node_id = &instance->ranks.items[body->rank].node_id;
    char text[SENTENCE_SIZE_MAX];
    if (body->memory_free > 0)
        note_memory(master, node_id, body->memory_free);
    (void)snprintf(text, sizeof(text), "rank %u on %.60s: %.300s", body->rank,
                   node_name(master, node_id), text_or_empty(body->reason));
    return generation_fail(master, instance, body->rank, text);
}

/* It has sent what it was there for: nothing that happens to it matters to the generation. */
static bool is_released(const struct instance_record *instance, uint32_t rank)
{
    return rank < instance->ranks.count && instance->ranks.items[rank].status == RANK_RELEASED;
}

static enum status after_process_ended(struct master *master, const struct message *event)
{
    const struct process_ended *body = MESSAGE_BODY(event, process_ended);
    struct instance_record *instance = state_find_instance(&master->state, &body->instance_id);
    if ((body->actor != ACTOR_LAUNCHER && body->actor != ACTOR_RUNNER) || body->was_asked ||
        !instance || !generation_equal(&instance->generation, &body->generation) ||
        (instance->status != INSTANCE_STARTING && instance->status != INSTANCE_READY) ||
        is_released(instance, body->rank))
        return STATUS_OK;
    char text[SENTENCE_SIZE_MAX];
    if (text_or_empty(body->reason)[0])
        (void)snprintf(text, sizeof(text), "rank %u on %.60s: %.300s", body->rank,
                       node_name(master, &body->node_id), body->reason);
    else if (body->signal)
        (void)snprintf(text, sizeof(text), "rank %u on %.60s was killed by signal %u", body->rank,
                       node_name(master, &body->node_id), body->signal);
    else
        (void)snprintf(text, sizeof(text), "rank %u on %.60s exited with code %u", body->rank,
                       node_name(master, &body->node_id), body->exit_code);
    return generation_fail(master, instance, body->rank, text);
}

static const struct rank_record *rank_on(const struct instance_record *instance,
                                         const struct node_id *node_id)
{
    for (uint32_t i = 0; i < instance->ranks.count; i++)
        if (ID_EQUAL(instance->ranks.items[i].node_id, *node_id))
            return &instance->ranks.items[i];
    return NULL;
}

bool instance_waits_for_files(const struct instance_record *instance,
                              const struct small_files_failed *body)
{
    return instance->status == INSTANCE_STARTING && rank_on(instance, &body->node_id) &&
           strcmp(text_or_empty(instance->model_id), text_or_empty(body->model_id)) == 0;
}

/* Its ranks would wait till their lease ends, and nobody would say for what. */
static enum status after_small_files_failed(struct master *master, const struct message *event)
{
    const struct small_files_failed *body = MESSAGE_BODY(event, small_files_failed);
    for (uint32_t i = 0; i < master->state.instances.count; i++) {
        struct instance_record *instance = &master->state.instances.items[i];
        if (!instance_waits_for_files(instance, body))
            continue;
        const uint32_t rank =
            (uint32_t)(rank_on(instance, &body->node_id) - instance->ranks.items);
        char text[SENTENCE_SIZE_MAX];
        (void)snprintf(text, sizeof(text), "rank %u on %.60s: %.300s", rank,
                       node_name(master, &body->node_id), text_or_empty(body->reason));
        enum status status = generation_fail(master, instance, rank, text);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

/* A failed instance gets another chance when a node comes back, or only its processes do. */
static enum status forgive_failed(struct master *master)
{
    for (uint32_t i = 0; i < master->state.instances.count; i++) {
        const struct instance_record *instance = &master->state.instances.items[i];
        if (instance->status != INSTANCE_FAILED)
            continue;
        struct message event;
        if (!message_begin(master, &event, MESSAGE_EVENT, EVENT_INSTANCE_RETRIED))
            return STATUS_NO_MEMORY;
        MESSAGE_BODY(&event, instance_retried)->instance_id = instance->instance_id;
        enum status status = replication_append(master, &event);
        message_fini(&event);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

/* Files that nobody can be relied on for get another node; what a complete peer has is not asked
 * of the hub; what no instance wants any more ends. */
static enum status assign_downloads(struct master *master)
{
    struct message event = {.body = NULL};
    bool has_event = false;
    enum status status = download_rules_cancel(&master->state, &event, &has_event);
    if (status == STATUS_OK && !has_event)
        status = download_rules_pause(&master->state, &event, &has_event);
    if (status == STATUS_OK && !has_event)
        status = download_rules_assign(&master->state, &event, &has_event);
    /* What it became is looked at again at once: see duties_after. */
    if (status == STATUS_OK && has_event)
        status = replication_append(master, &event);
    message_fini(&event);
    return status;
}

/* What the hub said ends the wait of those for whom it was downloaded. */
static enum status after_import_failed(struct master *master, const struct message *event)
{
    const struct model_import_failed *body = MESSAGE_BODY(event, model_import_failed);
    for (uint32_t i = 0; i < master->state.instances.count; i++) {
        struct instance_record *instance = &master->state.instances.items[i];
        if (instance->status != INSTANCE_DOWNLOADING || instance->ranks.count == 0 ||
            !ID_EQUAL(instance->ranks.items[0].node_id, body->node_id) ||
            strcmp(text_or_empty(instance->model_id), text_or_empty(body->model_id)) != 0)
            continue;
        enum status status = fail(master, instance, 0, text_or_empty(body->reason), true);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

/* A node may have become complete: others need not ask the hub, and what failed may start. */
static enum status after_whole(struct master *master, bool is_whole)
{
    enum status status = is_whole ? forgive_failed(master) : STATUS_OK;
    return status == STATUS_OK ? assign_downloads(master) : status;
}

enum status duties_after(struct master *master, const struct message *event)
{
    if (!is_leader(master))
        return STATUS_OK;
    switch (event->head.code) {
    case EVENT_RANK_ADDRESSED:
        return after_rank_addressed(master, event);
    case EVENT_RUNNER_STATUS_CHANGED:
        return after_runner_status(master, event);
    case EVENT_PROCESS_ENDED:
        return after_process_ended(master, event);
    case EVENT_SMALL_FILES_FAILED:
        return after_small_files_failed(master, event);
    case EVENT_VIEW_CHANGED:
    case EVENT_NODE_ADMITTED:
    case EVENT_ENDPOINT_OPENED:
        return forgive_failed(master);
    case EVENT_MODEL_IMPORTED:
        return after_whole(master, true);
    case EVENT_TRANSFER_ENDED:
        return after_whole(master, MESSAGE_BODY(event, transfer_ended)->status == STATUS_OK);
    case EVENT_HOLDING_CHANGED:
        return after_whole(master, MESSAGE_BODY(event, holding_changed)->has_weights ||
                                       MESSAGE_BODY(event, holding_changed)->held.count > 0);
    case EVENT_DOWNLOAD_REQUESTED:
    case EVENT_DOWNLOAD_RESOLVED:
    case EVENT_DOWNLOAD_ASSIGNED:
    case EVENT_DOWNLOAD_HINDERED:
    case EVENT_DOWNLOAD_PAUSED:
    case EVENT_FILE_LACKING:
    case EVENT_INSTANCE_DELETED:
        return assign_downloads(master);
    case EVENT_MODEL_IMPORT_FAILED: {
        const enum status status = assign_downloads(master);
        return status == STATUS_OK ? after_import_failed(master, event) : status;
    }
    default:
        return STATUS_OK;
    }
}

/* ---- what time brings ---- */

static enum status check_ranks(struct master *master, struct instance_record *instance)
{
    char text[SENTENCE_SIZE_MAX];
    struct progress *progress = progress_of(master, instance);
    if (progress->changed_index != instance->changed_index) {
        progress->changed_index = instance->changed_index;
        progress->moved_ms = master->input->now_ms;
    }
    for (uint32_t i = 0; i < instance->ranks.count; i++) {
        const struct rank_record *rank = &instance->ranks.items[i];
        const struct node_record *node = state_find_node(&master->state, &rank->node_id);
        const struct node_slot *slot = slot_find(master, &rank->node_id);
        if (is_released(instance, i))
            continue;
        if (rank->status == RANK_FAILED) {
            /* A leader that ended in between left it to us. */
            (void)snprintf(text, sizeof(text), "rank %u on %.60s ended", i,
                           node_name(master, &rank->node_id));
            return generation_fail(master, instance, i, text);
        }
        if (node &&
            (!slot || node->in_view || master->input->now_ms - slot->heard_ms < NODE_SILENT_MS))
            continue;
        (void)snprintf(text, sizeof(text), "%.60s, the node of rank %u, is not heard any more",
                       node_name(master, &rank->node_id), i);
        return generation_fail(master, instance, i, text);
    }
    if (instance->status == INSTANCE_STARTING &&
        master->input->now_ms - progress->moved_ms > PROGRESS_LEASE_MS) {
        uint32_t behind = 0;
        for (uint32_t i = 0; i < instance->ranks.count; i++)
            if (instance->ranks.items[i].status < instance->ranks.items[behind].status)
                behind = i;
        (void)snprintf(text, sizeof(text), "rank %u on %.60s made no progress for %u s", behind,
                       node_name(master, &instance->ranks.items[behind].node_id),
                       PROGRESS_LEASE_MS / 1000u);
        return generation_fail(master, instance, behind, text);
    }
    return STATUS_OK;
}

static enum status start_generation(struct master *master, struct instance_record *instance)
{
    struct message event = {.body = NULL};
    struct reason reason = {""};
    const struct model_record *model =
        state_find_model(&master->state, text_or_empty(instance->model_id));
    struct progress *progress = progress_of(master, instance);
    enum status status = generation_place(master, instance, &event, &reason);
    progress->moved_ms = master->input->now_ms;
    if (status == STATUS_NO_MEMORY)
        return status;
    if (status == STATUS_NO_HOLDER &&
        !(model && model_is_held(&master->state, model, false, NULL))) {
        /* No wait brings them back; when the model is taken in again, it is forgiven. */
        const char *last = text_or_empty(instance->last_reason);
        (void)refuse(&reason, status,
                     "no node holds %.100s of %.100s any more; take the model in again"
                     "%s%.200s",
                     model ? model_unheld_name(&master->state, model, false) : "the weights",
                     text_or_empty(instance->model_id), last[0] ? "; before that: " : "", last);
        return fail(master, instance, 0, reason.text, true);
    }
    if (status != STATUS_OK) {
        /* It cannot be placed now.  The log learns of it once, not each time it is tried. */
        if (instance->status == INSTANCE_WAITING &&
            strcmp(text_or_empty(instance->last_reason), reason.text) == 0)
            return STATUS_OK;
        const uint32_t failures = instance->failures;
        status = failures + 1 < GENERATION_FAILURES_MAX
                     ? generation_fail(master, instance, 0, reason.text)
                     : STATUS_OK;
        return status;
    }
    status = replication_append(master, &event);
    message_fini(&event);
    return status;
}

/* The model is on its way to the disk of rank 0's node. */
static enum status check_copy(struct master *master, struct instance_record *instance)
{
    struct reason reason = {""};
    struct message event;
    bool is_hopeless = false;
    const enum copy_step step =
        copy_rules_next(&master->state, instance, &is_hopeless, &reason);
    if (step == COPY_FAILED)
        return fail(master, instance, 0, reason.text, is_hopeless);
    if (step == COPY_IS_THERE)
        return start_generation(master, instance);
    const char *model_id = text_or_empty(instance->model_id);
    const struct node_id *node_id = &instance->ranks.items[0].node_id;
    const enum download_step download =
        download_rules_continue(&master->state, model_id, node_id);
    if (step == COPY_WAITS || download == DOWNLOAD_WAITS)
        return check_ranks(master, instance);
    enum status status = download == DOWNLOAD_GOES_ON
                             ? download_rules_want(model_id, node_id, &event)
                             : copy_rules_request(&master->state, instance, &event);
    if (status == STATUS_OK)
        status = replication_append(master, &event);
    message_fini(&event);
    return status;
}

/* The model is on its way from a hub to the node of the only rank. */
static enum status check_download(struct master *master, struct instance_record *instance)
{
    struct reason reason = {""};
    struct message command;
    struct message event = {.body = NULL};
    bool has_event = false;
    const enum hub_step step = hub_rules_next(&master->state, instance);
    if (step == HUB_IS_THERE)
        return start_generation(master, instance);
    if (step == HUB_WAITS)
        return check_ranks(master, instance);
    enum status status = hub_rules_command(&master->state, instance, &command);
    if (status != STATUS_OK)
        return status;
    status = command_decide(master, &command, NULL, &event, &has_event, &reason);
    message_fini(&command);
    if (status == STATUS_OK && has_event) {
        hub_rules_mark(&event);
        status = replication_append(master, &event);
    } else if (status != STATUS_OK && status != STATUS_NO_MEMORY) {
        status = generation_fail(master, instance, 0, reason.text);
    }
    message_fini(&event);
    return status;
}

static enum status cancel_unwanted_copy(struct master *master)
{
    const struct transfer_record *unwanted = copy_rules_unwanted(&master->state);
    struct message event;
    if (!unwanted)
        return STATUS_OK;
    if (!message_begin(master, &event, MESSAGE_EVENT, EVENT_TRANSFER_CANCELLED))
        return STATUS_NO_MEMORY;
    MESSAGE_BODY(&event, transfer_cancelled)->transfer_id = unwanted->transfer_id;
    enum status status = replication_append(master, &event);
    message_fini(&event);
    return status;
}

enum status duties_tick(struct master *master)
{
    enum status assigned = assign_downloads(master);
    if (assigned != STATUS_OK)
        return assigned;
    /* Loads of this epoch must be in before anything is placed (DESIGN 4). */
    for (uint32_t i = 0; i < master->state.instances.count; i++) {
        struct instance_record *instance = &master->state.instances.items[i];
        const bool runs =
            instance->status == INSTANCE_STARTING || instance->status == INSTANCE_READY;
        enum status status = STATUS_OK;
        if (runs)
            status = check_ranks(master, instance);
        else if (instance->status == INSTANCE_WAITING && master->load_count > 0 &&
                 master->input->wall_ms >= instance->retry_at_ms)
            status = start_generation(master, instance);
        else if (instance->status == INSTANCE_COPYING && master->load_count > 0)
            status = check_copy(master, instance);
        else if (instance->status == INSTANCE_DOWNLOADING && master->load_count > 0)
            status = check_download(master, instance);
        if (status != STATUS_OK)
            return status;
    }
    return cancel_unwanted_copy(master);
}
