/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/serving.h"

#include "actors/runner/engine/grammar/grammar_cache.h"
#include "actors/runner/engine/grammar/matcher.h"
#include "actors/runner/engine/kv_cache.h"
#include "actors/runner/refusal.h"
#include "runtime/clock.h"

#include <string.h>

enum status serving_open(struct serving *serving, struct rank_world *world, const char *directory,
                         struct reason *reason)
{
    const size_t rows = engine_vocab(world->engine);
    const struct serving_settings *settings = &serving->settings;
    ASSERT(settings->chats_max > 0 && settings->chats_max <= SERVING_CHATS_MAX);
    ASSERT(settings->prefill_rows > 0 && settings->prefill_rows <= SERVING_PREFILL_ROWS_MAX);
    serving->world = world;
    enum status status =
        chat_model_open(directory, rows, world->instance.context, &serving->model, reason);
    if (status != STATUS_OK)
        return status;
    rank_sampling_use(world->sampling, serving->model.sampler);
    return STATUS_OK;
}

void serving_close(struct serving *serving)
{
    while (serving->first) {
        struct chat *chat = serving->first;
        serving->first = chat->next;
        chat_close(chat);
    }
    chat_model_close(&serving->model);
}

bool serving_has_work(const struct serving *serving)
{
    return serving->first != NULL;
}

static void say(struct serving *serving, uint64_t number, struct message *word)
{
    serving->say(serving->target, number, word);
}

/* What its grammar learned is kept for the next, up to a limit. */
static void close_chat(struct serving *serving, struct chat *chat)
{
    const bool has_grammar = chat->matcher != NULL;
    chat_close(chat);
    if (has_grammar)
        grammar_cache_trim(serving->model.grammars);
}

enum status serving_submit(struct serving *serving, const struct message *message, uint64_t number)
{
    const struct generate *body = MESSAGE_BODY(message, generate);
    struct chat *chat = NULL;
    struct message accepted;
    struct message word;
    struct reason refusal = {""};
    bool is_demand = false;
    const uint64_t asked_us = clock_now_us();
    enum status status =
        chat_open(&serving->model, body, number, &chat, &accepted, &is_demand, &refusal);
    if (status != STATUS_OK) {
        status = refusal_make(body, status, is_demand, refusal.text, &word);
        if (status == STATUS_OK)
            say(serving, number, &word);
        return status;
    }
    say(serving, number, &accepted);
    serving_pace_ask(&serving->pace, number, asked_us, (uint32_t)chat->ids.count,
                     serving->first == NULL);
    struct chat **place = &serving->first;
    while (*place)
        place = &(*place)->next;
    *place = chat;
    const enum finish finish = chat_finished(chat);
    if (finish == FINISH_NONE)
        return STATUS_OK;
    /* Resumed at its very end: only the last word was lost. */
    status = chat_finish(chat, finish, STATUS_OK, NULL, &word);
    if (status == STATUS_OK)
        say(serving, number, &word);
    *place = NULL;
    close_chat(serving, chat);
    return status;
}

/* Takes a chat out and gives its sequence back. */
static enum status remove_chat(struct serving *serving, struct chat *chat, struct reason *reason)
{
    enum status status = STATUS_OK;
    for (struct chat **place = &serving->first; *place; place = &(*place)->next) {
        if (*place != chat)
            continue;
        *place = chat->next;
        break;
    }
    if (chat->has_sequence)
        status = rank_world_sequence_close(serving->world, chat->sequence, reason);
    close_chat(serving, chat);
    return status;
}

enum status serving_cancel(struct serving *serving, uint64_t number, struct reason *reason)
{
    for (struct chat *chat = serving->first; chat; chat = chat->next)
        if (chat->number == number)
            return remove_chat(serving, chat, reason);
    return STATUS_OK;
}

/* ---- a step ---- */

struct step {
    struct engine_row rows[STEP_ROWS_MAX];
    uint32_t row_count;
    struct chat *sampled[SERVING_CHATS_MAX]; /* whose tokens are drawn, in order */
    uint32_t sampled_count;
    struct rank_ask asks[SERVING_CHATS_MAX];
    struct rank_drawn drawn[SERVING_CHATS_MAX];
};

/* A chat whose ids are not all computed but the last, and how many of them a step takes. */
struct reader {
    struct chat *chat;
    uint32_t rows;
};

static uint32_t running_count(const struct serving *serving)
{
    uint32_t count = 0;
    for (const struct chat *chat = serving->first; chat; chat = chat->next)
        count += chat->has_sequence;
    return count;
}

/* `count` ids of a chat from `computed` on. */
static void add_rows(struct step *step, struct chat *chat, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const size_t position = chat->computed + i;
        const bool is_last = position + 1 == chat->ids.count;
        step->rows[step->row_count++] = (struct engine_row){chat->sequence, chat->ids.ids[position],
                                                            (uint32_t)position, is_last};
        if (is_last)
            step->sampled[step->sampled_count++] = chat;
    }
}

/* What `positions` take of the cache, which is given in pages. */
static uint64_t in_pages(uint64_t positions)
{
    return (positions + KV_PAGE_POSITIONS - 1) / KV_PAGE_POSITIONS * KV_PAGE_POSITIONS;
}

/* Positions that are kept for a chat and that it does not hold yet: its prompt and what it may say,
 * up to the reserve.  One that has said more takes pages as it goes, and is kept one of air, so
 * that what it says next does not put it back at once. */
static uint64_t positions_due(const struct serving *serving, const struct chat *chat)
{
    const uint32_t reserve = serving->settings.reserve_tokens;
    const uint64_t most = (uint64_t)chat->prompt_count + chat->tokens_max;
    uint64_t kept = chat->prompt_count + (chat->tokens_max < reserve ? chat->tokens_max : reserve);
    if (kept < chat->ids.count + KV_PAGE_POSITIONS)
        kept = chat->ids.count + KV_PAGE_POSITIONS;
    const uint64_t held = chat->has_sequence ? in_pages(chat->computed) : 0;
    return in_pages(kept < most ? kept : most) - held;
}

/* A chat begins only where all that is kept for it fits beside what is kept for those that run, so
 * that none within its reserve is ever put back, and one that was does not take the pages it
 * gave. */
static bool has_room(const struct serving *serving, const struct chat *waiting)
{
    uint64_t due = 0;
    uint32_t running = 0;
    for (const struct chat *chat = serving->first; chat; chat = chat->next) {
        if (!chat->has_sequence)
            continue;
        running++;
        due += positions_due(serving, chat);
    }
    if (running == 0)
        return true;
    return running < serving->settings.chats_max &&
           engine_positions_free(serving->world->engine) >= due + positions_due(serving, waiting);
}

/* Those that wait begin in order of arrival, as far as there is room. */
static enum status begin_waiting(struct serving *serving, struct reason *reason)
{
    for (struct chat *chat = serving->first; chat; chat = chat->next) {
        if (chat->has_sequence)
            continue;
        if (!has_room(serving, chat))
            return STATUS_OK;
        enum status status = rank_world_sequence_open(serving->world, &chat->sequence, reason);
        if (status == STATUS_NO_CAPACITY || status == STATUS_BUSY)
            return STATUS_OK;
        if (status != STATUS_OK)
            return status;
        chat->has_sequence = true;
        chat->computed = 0;
    }
    return STATUS_OK;
}

static uint32_t least(size_t left, uint32_t room)
{
    return left < room ? (uint32_t)left : room;
}

static void add_prompts(const struct serving *serving, struct step *step, struct reader *readers,
                        uint32_t count)
{
    uint32_t room = serving->settings.prefill_rows;
    const uint32_t share = count > 0 ? room / count : 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct chat *chat = readers[i].chat;
        readers[i].rows = least(chat->ids.count - chat->computed, share);
        room -= readers[i].rows;
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct chat *chat = readers[i].chat;
        const uint32_t more = least(chat->ids.count - chat->computed - readers[i].rows, room);
        room -= more;
        add_rows(step, readers[i].chat, readers[i].rows + more);
    }
}

static enum status plan_step(struct serving *serving, struct step *step, struct reason *reason)
{
    struct reader readers[SERVING_CHATS_MAX];
    uint32_t reader_count = 0;
    step->row_count = step->sampled_count = 0;
    enum status status = begin_waiting(serving, reason);
    if (status != STATUS_OK)
        return status;
    for (struct chat *chat = serving->first; chat; chat = chat->next) {
        if (!chat->has_sequence)
            continue;
        if (chat->ids.count - chat->computed == 1)
            add_rows(step, chat, 1);
        else
            readers[reader_count++] = (struct reader){chat, 0};
    }
    add_prompts(serving, step, readers, reader_count);
    return STATUS_OK;
}

/* No page is left: the youngest that runs starts anew later; alone it cannot be helped. */
static enum status put_back_youngest(struct serving *serving, struct reason *reason)
{
    struct chat *youngest = NULL;
    for (struct chat *chat = serving->first; chat; chat = chat->next)
        if (chat->has_sequence)
            youngest = chat;
    ASSERT(youngest != NULL);
    if (running_count(serving) > 1) {
        youngest->has_sequence = false;
        youngest->computed = 0;
        return rank_world_sequence_close(serving->world, youngest->sequence, reason);
    }
    struct message word;
    enum status status = chat_finish(youngest, FINISH_LENGTH, STATUS_OK, NULL, &word);
    if (status != STATUS_OK)
        return status;
    say(serving, youngest->number, &word);
    return remove_chat(serving, youngest, reason);
}

static enum status fail_chat(struct serving *serving, struct chat *chat, enum status how,
                             const struct reason *why, struct reason *reason)
{
    struct message word;
    enum status status =
        chat_finish(chat, FINISH_FAILED, how, why->text[0] ? why->text : status_text(how), &word);
    if (status != STATUS_OK)
        return status;
    say(serving, chat->number, &word);
    return remove_chat(serving, chat, reason);
}

/* The answer with the largest part of what grammars take, and all they take. */
static struct chat *largest_grammar(const struct serving *serving, size_t *bytes_out)
{
    struct chat *largest = NULL;
    size_t most = 0;
    *bytes_out = 0;
    for (struct chat *chat = serving->first; chat; chat = chat->next) {
        const size_t share = chat->matcher ? matcher_share(chat->matcher) : 0;
        *bytes_out += share;
        if (share > most) {
            most = share;
            largest = chat;
        }
    }
    return largest;
}

/* Answers whose positions filled up at different times each hold their own: together no more than
 * the limit, beside what one token adds.  One that cannot forget, for lack of memory, goes on. */
static void bound_grammars(struct serving *serving)
{
    const size_t limit = serving->settings.grammar_bytes ? serving->settings.grammar_bytes
                                                         : SERVING_GRAMMAR_BYTES_MAX;
    size_t bytes = 0;
    struct reason ignored = {""};
    struct chat *largest = largest_grammar(serving, &bytes);
    for (unsigned turns = 0; bytes > limit && turns < SERVING_CHATS_MAX; turns++) {
        if (matcher_forget(largest->matcher, &ignored) != STATUS_OK)
            return;
        largest = largest_grammar(serving, &bytes);
    }
}

static enum status take_token(struct serving *serving, struct chat *chat,
                              const struct rank_drawn *drawn, struct reason *reason)
{
    struct message word = {.body = NULL};
    struct reason why = {""};
    enum finish finish = FINISH_NONE;
    if (drawn->status != STATUS_OK)
        return fail_chat(serving, chat, drawn->status, &drawn->reason, reason);
    enum status status =
        chat_advance(&serving->model, chat, &drawn->sampled, &word, &finish, &why);
    if (status != STATUS_OK)
        return fail_chat(serving, chat, status, &why, reason);
    const bool was_last = message_is(&word, MESSAGE_LINK, LINK_GENERATION_FINISHED);
    serving->pace_changes += serving_pace_token(&serving->pace, chat->number, clock_now_us());
    say(serving, chat->number, &word);
    if (finish == FINISH_NONE)
        return STATUS_OK;
    if (!was_last) {
        status = chat_finish(chat, finish, STATUS_OK, NULL, &word);
        if (status != STATUS_OK)
            return status;
        say(serving, chat->number, &word);
    }
    return remove_chat(serving, chat, reason);
}

static enum status say_prefill(struct serving *serving, const struct chat *chat)
{
    struct message word;
    enum status status = message_init(&word, MESSAGE_LINK, LINK_PREFILL_PROGRESSED);
    if (status != STATUS_OK)
        return status;
    struct prefill_progressed *body = word.body;
    body->request_id = chat->request_id;
    body->attempt = chat->attempt;
    body->tokens_have = (uint32_t)chat->computed;
    body->tokens_total = (uint32_t)chat->ids.count;
    say(serving, chat->number, &word);
    return STATUS_OK;
}

static enum status note_computed(struct serving *serving, const struct step *step)
{
    for (uint32_t i = 0; i < step->row_count; i++) {
        for (struct chat *chat = serving->first; chat; chat = chat->next)
            if (chat->has_sequence && chat->sequence == step->rows[i].sequence)
                chat->computed = (size_t)step->rows[i].position + 1;
    }
    for (const struct chat *chat = serving->first; chat; chat = chat->next) {
        if (!chat->has_sequence || chat->computed == 0 || chat->computed == chat->ids.count)
            continue;
        enum status status = say_prefill(serving, chat);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

/* How tokens are drawn.  False: one cannot be, and its chat failed; the step is planned anew. */
static bool ask_all(struct serving *serving, struct step *step, enum status *status_out,
                    struct reason *reason)
{
    *status_out = STATUS_OK;
    for (uint32_t i = 0; i < step->sampled_count; i++) {
        struct chat *chat = step->sampled[i];
        struct reason why = {""};
        if (chat->matcher)
            bound_grammars(serving);
        const enum status status = chat_ask(&serving->model, chat, &step->asks[i], &why);
        if (status == STATUS_OK)
            continue;
        *status_out = fail_chat(serving, chat, status, &why, reason);
        return false;
    }
    return true;
}

enum status serving_step(struct serving *serving, struct reason *reason)
{
    struct step step;
    enum status status = plan_step(serving, &step, reason);
    if (status != STATUS_OK || step.row_count == 0 || !ask_all(serving, &step, &status, reason))
        return status;
    status = rank_world_forward(serving->world, step.rows, step.row_count, step.asks, step.drawn,
                                reason);
    if (status == STATUS_NO_CAPACITY)
        return put_back_youngest(serving, reason);
    if (status == STATUS_OK)
        status = note_computed(serving, &step);
    for (uint32_t i = 0; status == STATUS_OK && i < step.sampled_count; i++)
        status = take_token(serving, step.sampled[i], &step.drawn[i], reason);
    return status;
}

enum status serving_canary(struct serving *serving, struct reason *reason)
{
    static const uint32_t ids[4] = {1, 2, 3, 4};
    uint32_t sequence = 0;
    struct engine_row rows[COUNT_OF(ids)];
    struct sampling sampling;
    struct rank_drawn drawn;
    sampling_init(&sampling);
    const struct rank_ask ask = {.sampling = &sampling,
                                 .history = {ids, COUNT_OF(ids), ids + COUNT_OF(ids), 0, NULL},
                                 .wants_rows = true};
    enum status status = rank_world_sequence_open(serving->world, &sequence, reason);
    if (status != STATUS_OK)
        return status;
    for (uint32_t i = 0; i < COUNT_OF(ids); i++)
        rows[i] = (struct engine_row){sequence, ids[i], i, i + 1 == COUNT_OF(ids)};
    status = rank_world_forward(serving->world, rows, COUNT_OF(ids), &ask, &drawn, reason);
    if (status == STATUS_OK && drawn.status != STATUS_OK)
        status = refuse(reason, STATUS_DAMAGED,
                        "the model answers with values that are not numbers; its weights are "
                        "damaged: add it again");
    if (status == STATUS_OK)
        status = rank_world_sequence_close(serving->world, sequence, reason);
    return status == STATUS_OK ? rank_world_rest(serving->world, reason) : status;
}
