/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/actors/runner/world_stage.h"

#include "actors/runner/collective_mpi.h"
#include "actors/runner/engine/collective_threads.h"
#include "protocol/memory.h"
#include "runtime/partition_record.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <stdio.h>
#include <string.h>

#define STEPS_MAX 20000u

static _Thread_local struct collective *own_member;

/* The stage is the world: joining it gives the thread's own place. */
enum status collective_mpi_open(uint32_t expected_size, struct collective **collective_out,
                                struct reason *reason)
{
    if (!own_member || own_member->size != expected_size)
        return refuse(reason, STATUS_INVALID, "the world has another size");
    *collective_out = own_member;
    return STATUS_OK;
}

void collective_mpi_close(struct collective *collective)
{
    (void)collective;
}

/* ---- between ranks ---- */

static void deliver(struct stage *stage, uint32_t source, uint32_t target,
                    const struct message *message)
{
    struct message *copy = memory_zeroed(1, sizeof(*copy));
    ck_assert_ptr_nonnull(copy);
    ck_assert_int_eq(message_copy(message, copy), STATUS_OK);
    if (stage->passing && !stage->passing(stage, source, target, copy)) {
        runner_message_free(copy);
        return;
    }
    const struct engine_command command = {EFFECT_ENGINE_STEP, 0, copy};
    ck_assert_int_eq(command_queue_put(stage->ranks[target].world.queue, &command), STATUS_OK);
}

static void tell(void *target, struct sibling_word *word)
{
    struct stage_rank *own = target;
    struct stage *stage = own->stage;
    const uint32_t source = own->world.rank;
    if (word->rank != RANK_COUNT_MAX)
        deliver(stage, source, word->rank, &word->message);
    else if (stage->sharding == SHARDING_PIPELINE)
        deliver(stage, source, (source + 1) % stage->rank_count, &word->message);
    else
        for (uint32_t i = 1; source == 0 && i < stage->rank_count; i++)
            deliver(stage, source, i, &word->message);
    message_fini(&word->message);
    memory_free(word);
}

static void stop_rank(struct stage_rank *rank)
{
    const struct engine_command stop = {COMMAND_STOP, 0, NULL};
    ck_assert_int_eq(command_queue_put(rank->world.queue, &stop), STATUS_OK);
}

static void progressed(void *context, uint64_t have, uint64_t total)
{
    (void)context;
    ck_assert_uint_le(have, total);
}

static enum status begin(struct stage_rank *rank, const char *directory)
{
    own_member = rank->member;
    enum status status = rank_world_join(&rank->world, &rank->reason);
    if (status == STATUS_OK)
        status = rank_world_load(&rank->world, directory, progressed, NULL, &rank->reason);
    return status;
}

static char model_directory[512];

static void *rank_main(void *argument)
{
    struct stage_rank *rank = argument;
    rank->status = begin(rank, model_directory);
    while (rank->status == STATUS_OK) {
        struct engine_command command;
        bool has_computed = false;
        if (command_queue_take(rank->world.queue, 0, COMMAND_WAIT_FOR_EVER, &command) != STATUS_OK)
            continue;
        if (command.effect == COMMAND_STOP)
            break;
        rank->status =
            rank_world_follow(&rank->world, command.request, &has_computed, &rank->reason);
        runner_message_free(command.request);
    }
    if (rank->status != STATUS_OK) { /* the generation ends: nobody waits any more */
        rank->stage->is_over = true;
        collective_threads_lose(rank->stage->collective);
        stop_rank(&rank->stage->ranks[0]);
    }
    return NULL;
}

/* ---- what rank 0 says ---- */

static void add_text(struct stage_answer *answer, const char *text, uint64_t text_end)
{
    const size_t size = strlen(text_or_empty(text));
    ck_assert_uint_lt(answer->text_size + size, sizeof(answer->text));
    memcpy(answer->text + answer->text_size, text_or_empty(text), size + 1);
    answer->text_size += size;
    answer->text_end = text_end;
}

static void add_extras(struct stage_answer *answer, const char *reasoning,
                       const struct call_piece *calls, uint32_t count)
{
    size_t size = strlen(answer->reasoning);
    (void)snprintf(answer->reasoning + size, sizeof(answer->reasoning) - size, "%s",
                   text_or_empty(reasoning));
    for (uint32_t i = 0; i < count; i++) {
        size = strlen(answer->calls);
        (void)snprintf(answer->calls + size, sizeof(answer->calls) - size, "%s%s",
                       text_or_empty(calls[i].name), text_or_empty(calls[i].arguments));
    }
}

static void take_token(struct stage_answer *answer, const struct token_streamed *body)
{
    ck_assert_int_eq(answer->finish, FINISH_NONE);
    uint32_t *grown =
        memory_resized(answer->ids.items, answer->ids.count + 1, sizeof(answer->ids.items[0]));
    ck_assert_ptr_nonnull(grown);
    answer->ids.items = grown;
    grown[answer->ids.count++] = body->id;
    answer->logprob_last = body->logprob;
    answer->top_last = body->top.count;
    answer->piece_bytes += body->piece.count;
    add_extras(answer, body->reasoning, body->calls.items, body->calls.count);
    add_text(answer, body->text, body->text_end);
}

static void take_word(void *target, uint64_t number, struct message *word)
{
    struct stage *stage = target;
    ck_assert_uint_lt(number, STAGE_CHATS_MAX);
    struct stage_answer *answer = &stage->answers[number];
    if (message_is(word, MESSAGE_LINK, LINK_GENERATION_ACCEPTED)) {
        struct generation_accepted *body = word->body;
        answer->tokens_max = body->tokens_max;
        memory_free(answer->prompt_ids.items);
        answer->prompt_ids = body->prompt_ids;
        body->prompt_ids.items = NULL;
        body->prompt_ids.count = 0;
    } else if (message_is(word, MESSAGE_LINK, LINK_GENERATION_REFUSED)) {
        const struct generation_refused *body = word->body;
        answer->refused = (enum status)body->status;
        (void)snprintf(answer->sentence, sizeof(answer->sentence), "%s", body->reason);
    } else if (message_is(word, MESSAGE_LINK, LINK_TOKEN_STREAMED)) {
        take_token(answer, word->body);
    } else if (message_is(word, MESSAGE_LINK, LINK_PREFILL_PROGRESSED)) {
        answer->prefill_words++;
    } else if (message_is(word, MESSAGE_LINK, LINK_GENERATION_FINISHED)) {
        const struct generation_finished *body = word->body;
        answer->finish = (enum finish)body->reason;
        answer->prompt_tokens = body->prompt_tokens;
        answer->answer_tokens = body->answer_tokens;
        (void)snprintf(answer->sentence, sizeof(answer->sentence), "%s",
                       text_or_empty(body->sentence));
        add_text(answer, body->text, body->text_end);
        add_extras(answer, body->reasoning, body->calls.items, body->calls.count);
    } else {
        ck_abort_msg("rank 0 said something else");
    }
    message_fini(word);
}

void stage_answer_forget(struct stage_answer *answer)
{
    memory_free(answer->ids.items);
    memory_free(answer->prompt_ids.items);
    memset(answer, 0, sizeof(*answer));
}

/* ---- life ---- */

static void fill_instance(struct stage *stage, const struct stage_options *options,
                          struct instance_record *instance)
{
    struct partition partitions[STAGE_RANKS_MAX];
    struct engine_model model;
    struct reason reason = {""};
    instance->sharding = options->sharding;
    instance->mode = options->mode;
    instance->context = options->context;
    instance->positions = options->positions ? options->positions : options->context;
    instance->requests = options->chats ? options->chats : 16;
    instance->kv_format = options->kv_format;
    ck_assert_msg(engine_model_open(model_directory, &model, &reason) == STATUS_OK, "%s",
                  reason.text);
    const struct partition_units units = partition_units_of(model.config, model.layout);
    const enum status status =
        options->size_count > 0
            ? partition_solve_stages(&units, options->sizes, options->size_count,
                                     options->shares[0] ? options->shares : NULL, partitions,
                                     &reason)
            : partition_solve(options->sharding, &units, NULL, stage->rank_count, partitions,
                              &reason);
    ck_assert_msg(status == STATUS_OK, "%s", reason.text);
    for (uint32_t i = 0; i < model.table->file_count; i++) {
        struct file_source *source = record_list_push(
            &file_source_type, RECORD_LIST(instance->sources), NULL, MODEL_FILE_COUNT_MAX);
        ck_assert(text_set(&source->name, model.table->files[i].name));
    }
    engine_model_close(&model);
    for (uint32_t i = 0; i < stage->rank_count; i++) {
        struct rank_record *rank =
            record_list_push(&rank_record_type, RECORD_LIST(instance->ranks), NULL, RANK_COUNT_MAX);
        ck_assert_ptr_nonnull(rank);
        ck_assert_int_eq(partition_to_record(&partitions[i], rank), STATUS_OK);
        rank->threads = 1;
        rank->has_weights = i == 0 || !options->has_one_copy;
    }
}

void stage_open(struct stage *stage, const struct stage_options *options)
{
    struct instance_record instance;
    struct reason reason = {""};
    memset(stage, 0, sizeof(*stage));
    memset(&instance, 0, sizeof(instance));
    stage->rank_count = options->ranks;
    stage->sharding = options->sharding;
    if (options->directory)
        (void)snprintf(model_directory, sizeof(model_directory), "%s", options->directory);
    else
        (void)source_path(STAGE_MODEL, model_directory);
    fill_instance(stage, options, &instance);
    ck_assert_int_eq(collective_threads_open(options->ranks, &stage->collective, &reason),
                     STATUS_OK);
    for (uint32_t i = 0; i < options->ranks; i++) {
        struct stage_rank *rank = &stage->ranks[i];
        rank->stage = stage;
        rank->member = collective_threads_member(stage->collective, i);
        rank->world = (struct rank_world){.rank = i,
                                          .rank_count = options->ranks,
                                          .sibling_limit_ms = options->sibling_limit_ms,
                                          .tell = tell,
                                          .target = rank};
        ck_assert_int_eq(record_copy(&instance_record_type, &instance, &rank->world.instance),
                         STATUS_OK);
        ck_assert_int_eq(command_queue_open(&rank->world.queue), STATUS_OK);
    }
    record_fini(&instance_record_type, &instance);
    for (uint32_t i = 1; i < options->ranks; i++)
        ck_assert_int_eq(pthread_create(&stage->ranks[i].thread, NULL, rank_main,
                                        &stage->ranks[i]),
                         0);
    struct stage_rank *first = &stage->ranks[0];
    first->status = begin(first, model_directory);
    ck_assert_msg(first->status == STATUS_OK, "%s", first->reason.text);
    stage->serving.say = take_word;
    stage->serving.target = stage;
    stage->serving.settings = (struct serving_settings){
        .reserve_tokens = options->reserve ? options->reserve : 4096,
        .chats_max = options->chats ? options->chats : 16,
        .prefill_rows = options->prefill_rows ? options->prefill_rows : 128};
    ck_assert_msg(serving_open(&stage->serving, &first->world, model_directory, &reason) ==
                      STATUS_OK,
                  "%s", reason.text);
}

void stage_close(struct stage *stage)
{
    struct reason reason = {""};
    if (!stage->is_over)
        (void)!rank_world_rest(&stage->ranks[0].world, &reason);
    serving_close(&stage->serving);
    for (uint32_t i = 1; i < stage->rank_count; i++) {
        stop_rank(&stage->ranks[i]);
        ck_assert_int_eq(pthread_join(stage->ranks[i].thread, NULL), 0);
    }
    for (uint32_t i = 0; i < stage->rank_count; i++) {
        struct engine_command command;
        struct command_queue *queue = stage->ranks[i].world.queue;
        while (command_queue_take(queue, 0, 0, &command) == STATUS_OK)
            runner_message_free(command.request);
        rank_world_close(&stage->ranks[i].world);
        command_queue_close(queue);
    }
    collective_threads_close(stage->collective);
    for (size_t i = 0; i < STAGE_CHATS_MAX; i++)
        stage_answer_forget(&stage->answers[i]);
}

/* ---- chats ---- */

static void set_ids(struct u32s *ids, const struct u32s *from, uint32_t count)
{
    if (count == 0)
        return;
    ids->items = memory_copied(from->items, count * sizeof(uint32_t));
    ck_assert_ptr_nonnull(ids->items);
    ids->count = count;
}

void stage_message(const struct stage_ask *ask, uint64_t number, struct message *message_out)
{
    char messages[1024];
    ck_assert_int_eq(message_init(message_out, MESSAGE_LINK, LINK_GENERATE), STATUS_OK);
    struct generate *body = message_out->body;
    body->request_id.bytes[0] = (uint8_t)number;
    body->attempt = ask->attempt;
    body->tokens_max = ask->tokens_max;
    body->ignore_eos = ask->ignore_eos;
    body->sampling.has_temperature = true;
    body->sampling.temperature = ask->temperature;
    body->sampling.seed = ask->seed;
    body->sampling.has_logprobs = ask->has_logprobs;
    body->sampling.top_logprobs = ask->top_logprobs;
    if (ask->sample)
        ask->sample(&body->sampling);
    if (ask->stop) {
        struct stop_text *stop = record_list_push(&stop_text_type, RECORD_LIST(body->stops), NULL,
                                                  STOP_COUNT_MAX);
        ck_assert(stop && text_set(&stop->text, ask->stop));
    }
    ck_assert(text_set(&body->demand, text_or_empty(ask->demand)));
    ck_assert(text_set(&body->tools, text_or_empty(ask->tools)));
    if (ask->resumed) {
        set_ids(&body->prompt_ids, &ask->resumed->prompt_ids, ask->resumed->prompt_ids.count);
        set_ids(&body->sent_ids, &ask->resumed->ids, ask->sent);
        body->sent_text = ask->sent_text;
    } else if (ask->user) {
        (void)snprintf(messages, sizeof(messages), "[{\"role\":\"user\",\"content\":\"%s\"}]",
                       ask->user);
        ck_assert(text_set(&body->messages, messages));
    } else if (ask->messages) {
        ck_assert(text_set(&body->messages, ask->messages));
    } else {
        ck_assert(text_set(&body->prompt, ask->prompt));
    }
}

void stage_ask(struct stage *stage, uint64_t number, const struct stage_ask *ask)
{
    struct message message;
    stage_message(ask, number, &message);
    ck_assert_int_eq(serving_submit(&stage->serving, &message, number), STATUS_OK);
    message_fini(&message);
}

void stage_step(struct stage *stage)
{
    struct reason reason = {""};
    enum status status = serving_step(&stage->serving, &reason);
    ck_assert_msg(status == STATUS_OK, "%s", reason.text);
}

void stage_run(struct stage *stage)
{
    unsigned steps = 0;
    while (serving_has_work(&stage->serving)) {
        ck_assert_msg(steps++ < STEPS_MAX, "the chats never end");
        stage_step(stage);
    }
}
