/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine_thread.h"

#include "actors/runner/command_queue.h"
#include "actors/runner/rank_memory.h"
#include "actors/runner/rank_world.h"
#include "protocol/holdings.h"
#include "protocol/memory.h"
#include "runtime/clock.h"
#include "runtime/machine.h"
#include "runtime/model_store.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PACE_US 500000u
#define COMMANDS_US 20000u /* between two steps, so that those who ask hold up nobody for long */
/* Before a rank tells that it ends because another failed, whose own word is to be the first. */
#define OTHERS_WORD_MS 500u
#define MEMORY_WAIT_MS 2000u
#define MEMORY_TURN_MS 100u
#define ENGINE_STACK_SIZE ((size_t)16 << 20) /* a template's depth and a step's rows */

struct engine_thread {
    struct engine_thread_options options;
    struct command_queue *queue;
    pthread_t thread;
    _Atomic pid_t number; /* of the thread, to the system */
    struct rank_world world;
    struct serving serving;
    bool is_served; /* serving was opened */
    bool is_ready;
    uint64_t memory_short; /* what was free, when that was too little; else 0 */
    uint64_t stepped_us; /* when the last step ended */
    uint64_t pace_us;    /* when the pace was told last, */
    uint64_t pace_told;  /* and with how many changes */
    _Atomic bool is_at_work;              /* not waiting for a command */
    struct collective *_Atomic collective; /* the world's, once joined */
};

/* ---- words to the loop ---- */

static void post(struct engine_thread *thread, uint32_t kind, uint64_t id, void *value,
                 void (*value_free)(void *value))
{
    const struct result result = {.id = id, .kind = kind, .value = value, .value_free = value_free};
    thread->options.post(thread->options.target, &result);
}

static struct rank_status_told *status_made(enum rank_status status, const struct reason *reason)
{
    struct rank_status_told *told = memory_zeroed(1, sizeof(*told));
    ASSERT(told != NULL); /* nothing can be said any more: end, the generation starts anew */
    told->status = status;
    if (reason)
        told->reason = *reason;
    return told;
}

static void tell_status(struct engine_thread *thread, enum rank_status status,
                        const struct reason *reason)
{
    post(thread, RESULT_RANK_STATUS, 0, status_made(status, reason), memory_free);
}

static void say(void *target, uint64_t number, struct message *word)
{
    struct message *value = memory_zeroed(1, sizeof(*value));
    ASSERT(value != NULL);
    *value = message_take(word);
    post(target, RESULT_REQUEST_WORD, number, value, runner_message_free);
}

static void word_free(void *value)
{
    struct sibling_word *word = value;
    if (word)
        message_fini(&word->message);
    memory_free(word);
}

static void tell_sibling(void *target, struct sibling_word *word)
{
    post(target, RESULT_SIBLING_WORD, 0, word, word_free);
}

static void tell_progress(void *context, uint64_t bytes_have, uint64_t bytes_total)
{
    struct engine_thread *thread = context;
    thread->world.marks++;
    struct load_progressed *value = memory_zeroed(1, sizeof(*value));
    if (!value)
        return;
    value->bytes_have = bytes_have;
    value->bytes_total = bytes_total;
    post(thread, RESULT_RANK_PROGRESS, 0, value, memory_free);
}

/* Not at each token: while they come twice a second, and when they end. */
static void tell_pace(struct engine_thread *thread)
{
    const struct serving *serving = &thread->serving;
    const uint64_t now_us = clock_now_us();
    if (serving->pace_changes == thread->pace_told ||
        (serving_has_work(serving) && now_us - thread->pace_us < PACE_US))
        return;
    struct pace_measured *value = memory_zeroed(1, sizeof(*value));
    if (!value)
        return;
    value->tokens_per_s = serving_pace_tokens_per_s(&serving->pace);
    value->first_token_s = serving->pace.first_token_s;
    value->prompt_tokens = serving->pace.prompt_tokens;
    thread->pace_us = now_us;
    thread->pace_told = serving->pace_changes;
    post(thread, RESULT_RANK_PACE, 0, value, memory_free);
}

/* ---- beginning ---- */

static enum status load(struct engine_thread *thread, const char *directory, struct reason *reason)
{
    enum status status = rank_world_join(&thread->world, reason);
    if (status != STATUS_OK)
        return status;
    thread->collective = thread->world.collective;
    tell_status(thread, RANK_JOINED, NULL);
    tell_status(thread, RANK_LOADING, NULL);
    status = rank_world_load(&thread->world, directory, tell_progress, thread, reason);
    if (status == STATUS_OK && thread->world.rank == 0) {
        thread->serving.say = say;
        thread->serving.target = thread;
        thread->serving.settings = thread->options.serving;
        thread->serving.settings.reserve_tokens = thread->world.instance.reserve;
        thread->serving.settings.chats_max = engine_sequences(thread->world.engine);
        thread->world.reading.step = "opened the tokenizer and the templates";
        status = serving_open(&thread->serving, &thread->world, directory, reason);
        thread->is_served = status == STATUS_OK;
    }
    if (status == STATUS_OK)
        tell_status(thread, RANK_LOADED, NULL);
    return status;
}

/* Of the files that the placement has this rank read; `held` is a set over the record's.  False:
 * `file_out` is not as it was stored. */
static bool has_its_files(const struct engine_thread *thread, const struct model_record *record,
                          const uint8_t *held, const char **file_out)
{
    const struct instance_record *instance = &thread->world.instance;
    for (uint32_t i = 0; i < instance->sources.count; i++) {
        const struct file_source *source = &instance->sources.items[i];
        bool is_right = (source->holders >> thread->world.rank & 1) == 0;
        for (uint32_t k = 0; k < record->files.count && !is_right; k++)
            is_right = file_set_has(held, FILE_SET_BYTES_MAX, k) &&
                       strcmp(text_or_empty(record->files.items[k].name),
                              text_or_empty(source->name)) == 0;
        *file_out = text_or_empty(source->name);
        if (!is_right)
            return false;
    }
    return true;
}

/* What the placement counts on: all of the model, or the small files and some weights. */
static bool is_enough(const struct engine_thread *thread, enum model_holding holding,
                      const struct model_record *record, const uint8_t *held,
                      const char **file_out)
{
    if (thread->world.instance.ranks.items[thread->world.rank].has_weights)
        return holding == MODEL_WHOLE;
    return holding >= MODEL_SMALL_FILES && has_its_files(thread, record, held, file_out);
}

/* The store may have changed since the placement: stamps tell at every load. */
static enum status check_store(const struct engine_thread *thread,
                               char directory_out[MODEL_STORE_PATH_SIZE], struct reason *reason)
{
    const struct instance_record *instance = &thread->world.instance;
    struct model_record record = {.model_id = NULL};
    struct model_store store;
    uint8_t held[FILE_SET_BYTES_MAX];
    const char *lost = "";
    enum status status = model_store_open_read(&store, &thread->options.places, reason);
    if (status != STATUS_OK)
        return status;
    const enum model_holding holding =
        model_store_held(&store, text_or_empty(instance->model_id), directory_out,
                         MODEL_STORE_PATH_SIZE, &record, held, reason);
    model_store_close(&store);
    const bool is_other =
        holding >= MODEL_SMALL_FILES && !ID_EQUAL(record.revision, instance->revision);
    const bool is_right = is_enough(thread, holding, &record, held, &lost);
    record_fini(&model_record_type, &record);
    if (is_other)
        return refuse(reason, STATUS_STALE,
                      "%.100s on this node's disk is of another revision than the one placed; "
                      "delete the instance and place it again",
                      text_or_empty(instance->model_id));
    if (is_right)
        return STATUS_OK;
    if (lost[0])
        return refuse(reason, STATUS_DAMAGED, "%.100s of %.100s went or changed since it was stored"
                      "; take the model in again", lost, text_or_empty(instance->model_id));
    if (reason->text[0] == '\0')
        return refuse(reason, STATUS_NOT_FOUND, "%.100s is not on this node's disk any more",
                      text_or_empty(instance->model_id));
    return STATUS_DAMAGED;
}

/* Before the failure is told: what the disk has is not what the placement counted on, whether that
 * made it fail or another rank's word was first.  So the next placement knows. */
static void look_again(const struct engine_thread *thread, struct rank_status_told *told)
{
    const struct instance_record *instance = &thread->world.instance;
    struct model_record record = {.model_id = NULL};
    struct model_store store;
    struct reason unused = {""};
    const char *lost = "";
    if (thread->world.rank >= instance->ranks.count ||
        model_store_open_read(&store, &thread->options.places, &unused) != STATUS_OK)
        return;
    const enum model_holding holding =
        model_store_held(&store, text_or_empty(instance->model_id), NULL, 0, &record, told->held,
                         &unused);
    model_store_close(&store);
    const bool is_other =
        holding >= MODEL_SMALL_FILES && !ID_EQUAL(record.revision, instance->revision);
    told->has_small_files = holding >= MODEL_SMALL_FILES;
    told->is_holding_lost = !is_other && !is_enough(thread, holding, &record, told->held, &lost);
    told->held_size = told->has_small_files ? record.files.count / 8 + 1 : 0;
    record_fini(&model_record_type, &record);
}

/* A rank of the last generation may be on its way out: what it had comes back within moments. */
static enum status check_memory(struct engine_thread *thread, struct reason *reason)
{
    const struct rank_record *rank = &thread->world.instance.ranks.items[thread->world.rank];
    enum status status = STATUS_OK;
    for (uint32_t waited_ms = 0;; waited_ms += MEMORY_TURN_MS) {
        const uint64_t bytes_free = machine_memory_free();
        status = rank_memory_check(rank, bytes_free, reason);
        thread->memory_short = status == STATUS_OK ? 0 : bytes_free + (bytes_free == 0);
        if (status == STATUS_OK || waited_ms >= MEMORY_WAIT_MS)
            return status;
        clock_sleep_ms(MEMORY_TURN_MS);
    }
}

static enum status start(struct engine_thread *thread, struct engine_start *begin,
                         struct reason *reason)
{
    char directory[MODEL_STORE_PATH_SIZE];
    struct rank_world *world = &thread->world;
    world->instance = begin->instance;
    memset(&begin->instance, 0, sizeof(begin->instance));
    world->rank = begin->rank;
    world->rank_count = instance_computing(&world->instance);
    world->queue = thread->queue;
    world->load_window = thread->options.load_window;
    world->load_rate_min = thread->options.load_rate_min;
    world->tell = tell_sibling;
    world->target = thread;
    memory_free(begin);
    world->reading.step = "looked for its memory";
    enum status status = check_memory(thread, reason);
    world->reading.step = "compared its files with the store's record";
    if (status == STATUS_OK)
        status = check_store(thread, directory, reason);
    if (status == STATUS_OK)
        status = load(thread, directory, reason);
    world->reading.step = NULL;
    return status;
}

/* ---- commands ---- */

static enum status obey(struct engine_thread *thread, const struct engine_command *command,
                        struct reason *reason)
{
    enum status status = STATUS_OK;
    switch (command->effect) {
    case EFFECT_ENGINE_START:
        return start(thread, command->request, reason);
    case EFFECT_ENGINE_CANARY:
        thread->world.reading.step = "computed a first step";
        status = serving_canary(&thread->serving, reason);
        thread->world.reading.step = NULL;
        if (status == STATUS_OK) {
            thread->is_ready = true;
            tell_status(thread, RANK_READY, NULL);
        }
        return status;
    case EFFECT_ENGINE_SUBMIT:
        status = serving_submit(&thread->serving, command->request, command->id);
        break;
    case EFFECT_ENGINE_CANCEL:
        status = serving_cancel(&thread->serving, command->id, reason);
        break;
    case EFFECT_ENGINE_STEP: {
        bool has_computed = false;
        thread->world.reading.step = thread->is_ready ? NULL : "computed a first step";
        status = rank_world_follow(&thread->world, command->request, &has_computed, reason);
        if (status == STATUS_OK && has_computed && !thread->is_ready) {
            thread->is_ready = true;
            tell_status(thread, RANK_READY, NULL);
        }
        break;
    }
    default:
        break;
    }
    runner_message_free(command->request);
    return status;
}

/* Frees what a command nobody will obey carries. */
static void drop(const struct engine_command *command)
{
    if (command->effect == EFFECT_ENGINE_START) {
        struct engine_start *begin = command->request;
        record_fini(&instance_record_type, &begin->instance);
        memory_free(begin);
    } else {
        runner_message_free(command->request);
    }
}

static enum status turn(struct engine_thread *thread, bool *is_stopped, struct reason *reason)
{
    struct engine_command command;
    const bool has_work = thread->is_served && serving_has_work(&thread->serving);
    enum status status = STATUS_OK;
    if (!has_work)
        status = thread->is_served ? rank_world_rest(&thread->world, reason) : STATUS_OK;
    if (status != STATUS_OK)
        return status;
    thread->is_at_work = has_work;
    const bool is_due = has_work && clock_now_us() - thread->stepped_us >= COMMANDS_US;
    status = is_due ? STATUS_TIMED_OUT
                    : command_queue_take(thread->queue, 0, has_work ? 0 : COMMAND_WAIT_FOR_EVER,
                                         &command);
    thread->is_at_work = true;
    if (status == STATUS_OK) {
        if (command.effect == COMMAND_STOP) {
            *is_stopped = true;
            return STATUS_OK;
        }
        return obey(thread, &command, reason);
    }
    if (!has_work)
        return STATUS_OK;
    status = serving_step(&thread->serving, reason);
    thread->stepped_us = clock_now_us();
    tell_pace(thread);
    return status;
}

static void *thread_main(void *argument)
{
    struct engine_thread *thread = argument;
    bool is_stopped = false;
    bool is_broken = false;
    (void)pthread_setname_np(pthread_self(), "engine");
    thread->number = gettid();
    while (!is_stopped) {
        struct reason reason = {""};
        struct engine_command command;
        if (is_broken) { /* wait for the end */
            thread->is_at_work = false;
            if (command_queue_take(thread->queue, 0, COMMAND_WAIT_FOR_EVER, &command) != STATUS_OK)
                continue;
            is_stopped = command.effect == COMMAND_STOP;
            if (!is_stopped)
                drop(&command);
            continue;
        }
        enum status status = turn(thread, &is_stopped, &reason);
        if (status == STATUS_OK)
            continue;
        if (reason.text[0] == '\0')
            (void)refuse(&reason, status, "%s", status_text(status));
        is_broken = true;
        post(thread, RESULT_RANK_FAILING, 0, memory_copied(&reason, sizeof(reason)), memory_free);
        struct rank_status_told *told = status_made(RANK_FAILED, &reason);
        told->memory_free = thread->memory_short;
        look_again(thread, told);
        if (status == STATUS_CANCELLED && !thread->is_ready)
            clock_sleep_ms(OTHERS_WORD_MS);
        post(thread, RESULT_RANK_STATUS, 0, told, memory_free);
    }
    return NULL;
}

/* ---- from the loop's thread ---- */

enum status engine_thread_open(const struct engine_thread_options *options,
                               struct engine_thread **thread_out, struct reason *reason)
{
    struct engine_thread *thread = memory_zeroed(1, sizeof(*thread));
    pthread_attr_t attributes;
    if (!thread || command_queue_open(&thread->queue) != STATUS_OK) {
        memory_free(thread);
        return refuse(reason, STATUS_NO_MEMORY, "no memory for the engine thread");
    }
    thread->options = *options;
    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setstacksize(&attributes, ENGINE_STACK_SIZE);
    int error = pthread_create(&thread->thread, &attributes, thread_main, thread);
    (void)pthread_attr_destroy(&attributes);
    if (error != 0) {
        command_queue_close(thread->queue);
        memory_free(thread);
        return refuse(reason, status_from_errno(error), "the engine thread cannot be started");
    }
    *thread_out = thread;
    return STATUS_OK;
}

enum status engine_thread_give(struct engine_thread *thread, uint32_t effect, uint64_t id,
                               void *request)
{
    const struct engine_command command = {effect, id, request};
    return command_queue_put(thread->queue, &command);
}

void engine_thread_beat(const struct engine_thread *thread, struct engine_beat *beat_out)
{
    const struct collective *collective = thread->collective;
    *beat_out = (struct engine_beat){.is_busy = thread->is_at_work,
                                     .is_waiting = thread->world.is_waiting,
                                     .marks = thread->world.marks};
    const char *file = thread->world.reading.file;
    const char *step = thread->world.reading.step;
    beat_out->reads = thread->world.reading.count;
    beat_out->is_turning = thread->world.reading.is_turning;
    beat_out->turns = thread->world.reading.turns;
    if (file)
        (void)snprintf(beat_out->file, sizeof(beat_out->file), "%.120s", file);
    if (step)
        (void)snprintf(beat_out->step, sizeof(beat_out->step), "%.40s", step);
    beat_out->spent_ns = clock_thread_spent_ns(thread->thread);
    if (thread->world.is_joining)
        clock_thread_turns(thread->number, &beat_out->delayed_ns, &beat_out->runs);
    beat_out->entered = thread->world.is_joining || collective;
    beat_out->finished = collective != NULL;
    if (collective) {
        beat_out->entered += collective->entered;
        beat_out->finished += collective->finished;
        beat_out->pieces = collective->pieces;
        beat_out->bytes = collective->bytes;
    }
}

bool engine_thread_close(struct engine_thread *thread, uint64_t limit_ms)
{
    const struct engine_command stop = {COMMAND_STOP, 0, NULL};
    struct timespec deadline;
    if (!thread)
        return true;
    if (command_queue_put(thread->queue, &stop) != STATUS_OK)
        return false;
    (void)clock_gettime(CLOCK_REALTIME, &deadline); /* style allows clock_gettime: the join's */
    deadline.tv_nsec += (long)(limit_ms % 1000u) * 1000000L;
    deadline.tv_sec += (time_t)(limit_ms / 1000u) + deadline.tv_nsec / 1000000000L;
    deadline.tv_nsec %= 1000000000L;
    if (pthread_timedjoin_np(thread->thread, NULL, &deadline) != 0)
        return false;
    struct engine_command command;
    while (command_queue_take(thread->queue, 0, 0, &command) == STATUS_OK)
        drop(&command);
    if (thread->is_served)
        serving_close(&thread->serving);
    rank_world_close(&thread->world);
    command_queue_close(thread->queue);
    memory_free(thread);
    return true;
}
