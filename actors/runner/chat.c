/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/chat.h"

#include "actors/runner/engine/grammar/constraint.h"
#include "actors/runner/engine/grammar/grammar_cache.h"
#include "protocol/buffer.h"
#include "protocol/memory.h"
#include "runtime/clock.h"

#include <jansson.h>
#include <string.h>
#include <time.h>

enum status chat_model_open(const char *directory, size_t rows, uint32_t context,
                            struct chat_model *model_out, struct reason *reason)
{
    /* Prompt and answer travel as ids, to the gateway and back when they are resumed. */
    struct chat_model model = {.rows = rows,
                               .context = context < TOKEN_IDS_MAX ? context : TOKEN_IDS_MAX};
    enum status status = tokenizer_open(directory, &model.tokenizer, reason);
    if (status == STATUS_OK) {
        status = chat_template_open(directory, &model.chat_template, reason);
        if (status == STATUS_NOT_FOUND) /* a base model: plain prompts still work */
            status = STATUS_OK;
    }
    if (status == STATUS_OK)
        status = sampling_defaults_read(directory, &model.defaults, reason);
    if (status == STATUS_OK)
        status = sampler_open(rows, model.tokenizer, &model.sampler, reason);
    if (status == STATUS_OK) {
        model.vocabulary = memory_zeroed(1, sizeof(*model.vocabulary));
        model.grammars = memory_zeroed(1, sizeof(*model.grammars));
        if (!model.vocabulary || !model.grammars)
            status = refuse(reason, STATUS_NO_MEMORY, "no memory for grammars");
    }
    if (status != STATUS_OK) {
        chat_model_close(&model);
        return status;
    }
    *model_out = model;
    return STATUS_OK;
}

void chat_model_close(struct chat_model *model)
{
    if (model->grammars)
        grammar_cache_fini(model->grammars);
    if (model->vocabulary)
        vocabulary_close(model->vocabulary);
    memory_free(model->grammars);
    memory_free(model->vocabulary);
    sampler_close(model->sampler);
    chat_template_close(model->chat_template);
    tokenizer_close(model->tokenizer);
    *model = (struct chat_model){.defaults = model->defaults};
}

/* ---- prompt ---- */

static enum status parse_json(const char *text, const char *what, json_t **json_out,
                              struct reason *reason)
{
    json_error_t error;
    *json_out = NULL;
    if (text_or_empty(text)[0] == '\0')
        return STATUS_OK;
    *json_out = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (!*json_out)
        return refuse(reason, STATUS_INVALID, "%s is not JSON: %.200s", what, error.text);
    return STATUS_OK;
}

static enum status render(const struct chat_model *model, const struct generate *body,
                          char **text_out, size_t *size_out, struct reason *reason)
{
    json_t *messages = NULL;
    json_t *prepared = NULL;
    json_t *tools = NULL;
    json_t *arguments = NULL;
    struct tm now;
    const time_t seconds = (time_t)(clock_wall_ms() / 1000u);
    (void)localtime_r(&seconds, &now);
    if (!model->chat_template)
        return refuse(reason, STATUS_UNSUPPORTED,
                      "this model has no chat template; use a chat model");
    enum status status = parse_json(body->messages, "messages", &messages, reason);
    if (status == STATUS_OK)
        status = parse_json(body->tools, "tools", &tools, reason);
    if (status == STATUS_OK)
        status = parse_json(body->options, "template options", &arguments, reason);
    if (status == STATUS_OK)
        status = chat_messages_prepare(messages, &prepared, reason);
    const struct chat_prompt_options options = {.tools = tools,
                                                .arguments = arguments,
                                                .now = &now,
                                                .add_generation_prompt = true,
                                                .output_size_max = TOKENIZER_TEXT_MAX};
    if (status == STATUS_OK)
        status = chat_template_render(model->chat_template, prepared, &options, text_out, size_out,
                                      reason);
    if (status == STATUS_REFUSED) /* a conversation its model was not made for, in its own words */
        status = STATUS_INVALID;
    json_decref(messages);
    json_decref(prepared);
    json_decref(tools);
    json_decref(arguments);
    return status;
}

static enum status add_ids(struct token_list *list, const struct u32s *ids, size_t rows,
                           struct reason *reason)
{
    for (uint32_t i = 0; i < ids->count; i++) {
        if (ids->items[i] >= rows)
            return refuse(reason, STATUS_INVALID, "token id %u is out of range; the model has %zu",
                          ids->items[i], rows);
        enum status status = token_list_add(list, ids->items[i]);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

static enum status make_prompt(const struct chat_model *model, const struct generate *body,
                               struct chat *chat, struct reason *reason)
{
    enum status status = STATUS_OK;
    if (body->prompt_ids.count > 0) {
        status = add_ids(&chat->ids, &body->prompt_ids, model->rows, reason);
    } else if (text_or_empty(body->messages)[0]) {
        char *text = NULL;
        size_t size = 0;
        status = render(model, body, &text, &size, reason);
        if (status == STATUS_OK)
            status = tokenizer_encode(model->tokenizer, text, size, 0, &chat->ids, reason);
        memory_free(text);
    } else {
        const char *prompt = text_or_empty(body->prompt);
        status = tokenizer_encode(model->tokenizer, prompt, strlen(prompt), TOKENIZER_POST_PROCESS,
                                  &chat->ids, reason);
    }
    chat->prompt_count = chat->ids.count;
    if (status != STATUS_OK)
        return status;
    if (chat->prompt_count == 0)
        return refuse(reason, STATUS_INVALID, "the prompt is empty");
    if (chat->prompt_count >= model->context)
        return refuse(reason, STATUS_CONTEXT_LENGTH,
                      "the prompt has %zu tokens, the context of this instance %u; shorten it or "
                      "place the model with a larger context",
                      chat->prompt_count, model->context);
    const uint32_t room = model->context - (uint32_t)chat->prompt_count;
    chat->tokens_max = body->tokens_max && body->tokens_max < room ? body->tokens_max : room;
    return STATUS_OK;
}

/* ---- settings ---- */

static enum status make_biases(const struct generate *body, struct sampling *sampling,
                               struct reason *reason)
{
    const struct u32s *ids = &body->sampling.bias_ids;
    const struct bytes *values = &body->sampling.bias_values;
    if (ids->count > SAMPLING_BIAS_MAX || values->count != ids->count * sizeof(float))
        return refuse(reason, STATUS_INVALID, "logit_bias has too many entries");
    for (uint32_t i = 0; i < ids->count; i++) {
        sampling->biases[i].id = ids->items[i];
        memcpy(&sampling->biases[i].bias, values->items + i * sizeof(float), sizeof(float));
    }
    sampling->bias_count = ids->count;
    return STATUS_OK;
}

static enum status make_sampling(const struct chat_model *model, const struct generate *body,
                                 struct sampling *sampling, struct reason *reason)
{
    const struct sampling *defaults = &model->defaults;
    const struct sampling_asked *asked = &body->sampling;
    *sampling = *defaults;
    if (asked->has_temperature)
        sampling->temperature = (float)asked->temperature;
    if (asked->has_top_p)
        sampling->top_p = (float)asked->top_p;
    if (asked->has_top_k)
        sampling->top_k = asked->top_k;
    if (asked->has_min_p)
        sampling->min_p = (float)asked->min_p;
    if (asked->has_repetition_penalty)
        sampling->repetition_penalty = (float)asked->repetition_penalty;
    if (asked->repetition_window)
        sampling->repetition_window = asked->repetition_window;
    sampling->presence_penalty = (float)asked->presence_penalty;
    sampling->frequency_penalty = (float)asked->frequency_penalty;
    sampling->seed = asked->seed;
    sampling->logprobs = asked->has_logprobs;
    sampling->top_logprobs = asked->top_logprobs;
    enum status status = make_biases(body, sampling, reason);
    return status == STATUS_OK ? sampling_check(sampling, model->rows, reason) : status;
}

static enum status open_stream(struct chat *chat, const struct generate *body,
                               struct reason *reason)
{
    struct stop_string stops[STOP_COUNT_MAX];
    for (uint32_t i = 0; i < body->stops.count; i++) {
        const char *text = text_or_empty(body->stops.items[i].text);
        stops[i] = (struct stop_string){text, strlen(text)};
    }
    return text_stream_open(stops, body->stops.count, &chat->stream, reason);
}

/* ---- how it is said ---- */

/* Enough of the prompt's end to see whether it opened the thinking. */
static enum status thinking_of(const struct chat_model *model, const struct chat *chat,
                               const struct dialogue_style *style, enum thinking *thinking_out)
{
    const size_t most = 16;
    const size_t first = chat->prompt_count > most ? chat->prompt_count - most : 0;
    char *text = NULL;
    size_t size = 0;
    enum status status = tokenizer_decode(model->tokenizer, chat->ids.ids + first,
                                          chat->prompt_count - first, 0, &text, &size, NULL);
    if (status == STATUS_OK)
        *thinking_out = dialogue_thinking_of(style, text, size);
    memory_free(text);
    return status;
}

/* All a grammar is made of, besides the model. */
static enum status key_of_grammar(const char *demand, const char *tools,
                                  const struct constraint_setting *setting, struct buffer *key)
{
    enum status status =
        buffer_append_format(key, "%d %d %d %d ", (int)setting->style.tools,
                             setting->style.think_open != NULL, (int)setting->thinking,
                             setting->thinks_not);
    if (status == STATUS_OK)
        status = buffer_append(key, demand, strlen(demand) + 1);
    return status == STATUS_OK ? buffer_append_text(key, tools) : status;
}

static enum status compile(const struct chat_model *model, const char *demand,
                           const struct constraint_setting *setting, const struct buffer *key,
                           struct grammar **grammar_out, struct reason *reason)
{
    json_t *json = NULL;
    struct automaton automaton;
    enum status status = parse_json(demand, "the form asked of the answer", &json, reason);
    if (status == STATUS_OK && model->vocabulary->rows == 0)
        status = vocabulary_open_tokenizer(model->tokenizer, model->rows, model->vocabulary);
    if (status == STATUS_OK)
        status = constraint_build(json, setting, &automaton, reason);
    if (status == STATUS_OK)
        status = grammar_open(&automaton, model->vocabulary, grammar_out, reason);
    if (status == STATUS_OK)
        grammar_cache_add(model->grammars, (const char *)key->bytes, key->size, *grammar_out);
    json_decref(json);
    return status;
}

static enum status open_matcher(const struct chat_model *model, struct chat *chat,
                                const char *demand, const char *tools,
                                const struct constraint_setting *setting, struct reason *reason)
{
    struct buffer key;
    struct grammar *made = NULL;
    buffer_init(&key, SIZE_MAX / 2);
    enum status status = key_of_grammar(demand, tools, setting, &key);
    struct grammar *grammar =
        status == STATUS_OK
            ? grammar_cache_find(model->grammars, (const char *)key.bytes, key.size)
            : NULL;
    if (status == STATUS_OK && !grammar) {
        status = compile(model, demand, setting, &key, &made, reason);
        grammar = made;
    }
    if (status == STATUS_OK)
        status = matcher_follow(grammar, &chat->matcher, reason);
    grammar_release(made);
    buffer_fini(&key);
    return status;
}

/* {"type": "auto", "parallel": false}: any answer, which ends with the first call it makes; with
 * "strict": true its calls are constrained, which ends it too.  Any other demand is on its form. */
struct demand {
    bool is_form;
    bool is_strict;
    bool has_one_call;
};

static struct demand demand_of(const char *text)
{
    json_t *json = json_loads(text, 0, NULL);
    const char *type = json_string_value(json_object_get(json, "type"));
    const bool is_auto = type && strcmp(type, "auto") == 0;
    const struct demand demand = {
        .is_form = *text && !is_auto,
        .is_strict = is_auto && json_is_true(json_object_get(json, "strict")),
        .has_one_call = is_auto && json_is_false(json_object_get(json, "parallel"))};
    json_decref(json);
    return demand;
}

/* By the names templates have for it; a model that thinks all the same is kept from it where its
 * answer has a form. */
static bool thinking_is_off(const char *options)
{
    static const char *const names[] = {"enable_thinking", "thinking"};
    json_t *json = json_loads(options, 0, NULL);
    bool is_off = false;
    for (size_t at = 0; at < COUNT_OF(names); at++)
        is_off = is_off || json_is_false(json_object_get(json, names[at]));
    json_decref(json);
    return is_off;
}

/* What a chat says is taken apart as its template's model writes; a plain prompt's answer is text.
 * A demand on its form holds for both. */
static enum status open_speech(const struct chat_model *model, const struct generate *body,
                               struct chat *chat, bool *is_demand_out, struct reason *reason)
{
    struct constraint_setting setting = {.thinking = THINKING_CLOSED,
                                         .tokenizer = model->tokenizer};
    const struct demand demand = demand_of(text_or_empty(body->demand));
    const bool is_chat = model->chat_template && !text_or_empty(body->prompt)[0];
    json_t *tools = NULL;
    enum status status = parse_json(body->tools, "tools", &tools, reason);
    if (status == STATUS_OK && is_chat) {
        setting.style = chat_template_style(model->chat_template, tools != NULL);
        setting.tools = tools;
        setting.thinks_not = thinking_is_off(text_or_empty(body->options));
        status = thinking_of(model, chat, &setting.style, &setting.thinking);
        if (status == STATUS_OK)
            status = chat_speech_open(&setting.style, setting.thinking, tools, &chat->speech);
    }
    chat->calls_once = demand.has_one_call;
    const bool may_call = setting.style.tools != TOOLS_NONE && json_array_size(tools) > 0;
    if (status == STATUS_OK && (demand.is_form || (demand.is_strict && may_call))) {
        status = open_matcher(model, chat, body->demand, text_or_empty(body->tools), &setting,
                              reason);
        *is_demand_out = status != STATUS_OK && status != STATUS_NO_MEMORY;
    }
    json_decref(tools);
    return status;
}

/* Bytes of a token go into the stream; special tokens say nothing, unless they are markers. */
static enum status push_piece(const struct chat_model *model, struct chat *chat, uint32_t id)
{
    struct token_piece piece = {NULL, 0, 0};
    if (!tokenizer_piece(model->tokenizer, id, &piece) || piece.size == 0)
        return STATUS_OK;
    if ((piece.flags & TOKEN_SPECIAL) &&
        !(chat->speech && chat_speech_has_marker(chat->speech, piece.bytes, piece.size)))
        return STATUS_OK;
    if (!chat->is_begun && piece.bytes[0] == ' ' && tokenizer_drops_first_space(model->tokenizer)) {
        piece.bytes++;
        piece.size--;
    }
    chat->is_begun = true;
    return chat->speech ? chat_speech_push(chat->speech, piece.bytes, piece.size, chat->stream)
                        : text_stream_push(chat->stream, piece.bytes, piece.size);
}

/* What the client has not got yet of the text that is certain. */
static enum status take_text(struct chat *chat, char **text)
{
    size_t length = 0;
    const char *ready = text_stream_text(chat->stream, &length);
    const uint64_t start = chat->text_end;
    chat->text_end += length;
    size_t skip = 0;
    if (chat->text_sent > start)
        skip = chat->text_sent - start < length ? (size_t)(chat->text_sent - start) : length;
    char *copy = memory_text(ready + skip, length - skip);
    text_stream_take(chat->stream);
    if (!copy)
        return STATUS_NO_MEMORY;
    memory_free(*text);
    *text = copy;
    return STATUS_OK;
}

/* A resumed answer: its tokens go through the stream again, to stand where it was. */
static enum status replay(const struct chat_model *model, struct chat *chat,
                          const struct generate *body, struct reason *reason)
{
    enum status status = add_ids(&chat->ids, &body->sent_ids, model->rows, reason);
    chat->text_sent = body->sent_text;
    for (uint32_t i = 0; status == STATUS_OK && i < body->sent_ids.count; i++) {
        char *text = NULL;
        if (chat->matcher)
            status = matcher_advance(chat->matcher, body->sent_ids.items[i], reason);
        if (status == STATUS_OK)
            status = push_piece(model, chat, body->sent_ids.items[i]);
        if (status == STATUS_OK)
            status = take_text(chat, &text);
        memory_free(text);
        if (chat->speech) /* thinking and calls were sent with their tokens */
            chat_speech_drop(chat->speech);
    }
    return status;
}

/* ---- life ---- */

static enum status make_accepted(const struct chat *chat, struct message *accepted_out)
{
    struct message message;
    enum status status = message_init(&message, MESSAGE_LINK, LINK_GENERATION_ACCEPTED);
    if (status != STATUS_OK)
        return status;
    struct generation_accepted *body = message.body;
    body->request_id = chat->request_id;
    body->attempt = chat->attempt;
    body->tokens_max = chat->tokens_max;
    body->prompt_ids.items =
        memory_copied(chat->ids.ids, chat->prompt_count * sizeof(chat->ids.ids[0]));
    body->prompt_ids.count = body->prompt_ids.items ? (uint32_t)chat->prompt_count : 0;
    if (!body->prompt_ids.items) {
        message_fini(&message);
        return STATUS_NO_MEMORY;
    }
    *accepted_out = message;
    return STATUS_OK;
}

enum status chat_open(const struct chat_model *model, const struct generate *body, uint64_t number,
                      struct chat **chat_out, struct message *accepted_out, bool *is_demand_out,
                      struct reason *reason)
{
    struct chat *chat = memory_zeroed(1, sizeof(*chat));
    *is_demand_out = false;
    if (!chat)
        return STATUS_NO_MEMORY;
    chat->number = number;
    chat->request_id = body->request_id;
    chat->attempt = body->attempt;
    chat->ignore_eos = body->ignore_eos;
    enum status status = make_sampling(model, body, &chat->sampling, reason);
    if (status == STATUS_OK)
        status = open_stream(chat, body, reason);
    if (status == STATUS_OK)
        status = make_prompt(model, body, chat, reason);
    if (status == STATUS_OK)
        status = open_speech(model, body, chat, is_demand_out, reason);
    if (status == STATUS_OK)
        status = make_accepted(chat, accepted_out);
    if (status == STATUS_OK && body->sent_ids.count > 0) {
        status = replay(model, chat, body, reason);
        if (status != STATUS_OK)
            message_fini(accepted_out);
    }
    if (status != STATUS_OK) {
        chat_close(chat);
        return status;
    }
    *chat_out = chat;
    return STATUS_OK;
}

void chat_close(struct chat *chat)
{
    if (!chat)
        return;
    text_stream_close(chat->stream);
    chat_speech_close(chat->speech);
    matcher_close(chat->matcher);
    memory_free(chat->mask);
    token_list_free(&chat->ids);
    memory_free(chat);
}

size_t chat_answer_count(const struct chat *chat)
{
    return chat->ids.count - chat->prompt_count;
}

enum finish chat_finished(const struct chat *chat)
{
    if (text_stream_stopped(chat->stream) >= 0 || (chat->matcher && matcher_is_over(chat->matcher)))
        return FINISH_STOP;
    if (chat->calls_once && chat->speech && chat_speech_has_called(chat->speech))
        return FINISH_STOP;
    return chat_answer_count(chat) >= chat->tokens_max ? FINISH_LENGTH : FINISH_NONE;
}

static enum status finish_streams(struct chat *chat, bool is_cut)
{
    enum status status =
        chat->speech ? chat_speech_finish(chat->speech, is_cut, chat->stream) : STATUS_OK;
    return status == STATUS_OK ? text_stream_finish(chat->stream) : status;
}

enum status chat_finish(struct chat *chat, enum finish how, enum status status,
                        const char *sentence, struct message *word_out)
{
    struct message word;
    enum status outcome = message_init(&word, MESSAGE_LINK, LINK_GENERATION_FINISHED);
    if (outcome != STATUS_OK)
        return outcome;
    struct generation_finished *body = word.body;
    body->request_id = chat->request_id;
    body->attempt = chat->attempt;
    body->reason = how;
    body->status = status;
    body->prompt_tokens = (uint32_t)chat->prompt_count;
    body->answer_tokens = (uint32_t)chat_answer_count(chat);
    if (how == FINISH_STOP || how == FINISH_LENGTH)
        outcome = finish_streams(chat, how == FINISH_LENGTH);
    if (outcome == STATUS_OK)
        outcome = take_text(chat, &body->text);
    if (outcome == STATUS_OK && chat->speech)
        outcome = chat_speech_take(chat->speech, &body->reasoning, RECORD_LIST(body->calls));
    body->text_end = chat->text_end;
    if (outcome == STATUS_OK && sentence && !text_set(&body->sentence, sentence))
        outcome = STATUS_NO_MEMORY;
    if (outcome != STATUS_OK) {
        message_fini(&word);
        return outcome;
    }
    *word_out = word;
    return STATUS_OK;
}

static enum status fill_logprobs(const struct chat_model *model, const struct sampled *sampled,
                                 struct token_streamed *body)
{
    struct token_piece piece = {NULL, 0, 0};
    body->logprob = sampled->logprob;
    if (tokenizer_piece(model->tokenizer, sampled->id, &piece) &&
        !bytes_set(&body->piece, piece.bytes,
                   piece.size < PIECE_SIZE_MAX ? piece.size : PIECE_SIZE_MAX))
        return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < sampled->top_count; i++) {
        struct top_logprob *top = record_list_push(&top_logprob_type, RECORD_LIST(body->top), NULL,
                                                   TOP_LOGPROB_COUNT_MAX);
        if (!top)
            return STATUS_NO_MEMORY;
        top->id = sampled->top[i].id;
        top->logprob = sampled->top[i].logprob;
        if (tokenizer_piece(model->tokenizer, top->id, &piece) &&
            !bytes_set(&top->piece, piece.bytes,
                       piece.size < PIECE_SIZE_MAX ? piece.size : PIECE_SIZE_MAX))
            return STATUS_NO_MEMORY;
    }
    return STATUS_OK;
}

static enum status token_word(const struct chat_model *model, struct chat *chat,
                              const struct sampled *sampled, struct message *word_out)
{
    struct message word;
    enum status status = message_init(&word, MESSAGE_LINK, LINK_TOKEN_STREAMED);
    if (status != STATUS_OK)
        return status;
    struct token_streamed *body = word.body;
    body->request_id = chat->request_id;
    body->attempt = chat->attempt;
    body->number = (uint32_t)chat_answer_count(chat) - 1;
    body->id = sampled->id;
    body->is_thinking = chat->speech && chat_speech_is_thinking(chat->speech);
    status = push_piece(model, chat, sampled->id);
    if (status == STATUS_OK)
        status = take_text(chat, &body->text);
    body->text_end = chat->text_end;
    if (status == STATUS_OK && chat->speech)
        status = chat_speech_take(chat->speech, &body->reasoning, RECORD_LIST(body->calls));
    if (status == STATUS_OK)
        status = fill_logprobs(model, sampled, body);
    if (status != STATUS_OK) {
        message_fini(&word);
        return status;
    }
    *word_out = word;
    return STATUS_OK;
}

enum status chat_ask(const struct chat_model *model, struct chat *chat, struct rank_ask *ask_out,
                     struct reason *reason)
{
    const size_t words = SAMPLER_MASK_WORDS(model->rows);
    const uint32_t *mask = NULL;
    *ask_out = (struct rank_ask){
        .sampling = &chat->sampling,
        .history = {chat->ids.ids, chat->prompt_count, chat->ids.ids + chat->prompt_count,
                    chat_answer_count(chat), NULL}};
    if (!chat->matcher)
        return STATUS_OK;
    if (!chat->mask)
        chat->mask = memory_zeroed(words, sizeof(uint32_t));
    if (!chat->mask)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for the tokens a grammar allows");
    enum status status = matcher_mask(chat->matcher, &mask, reason);
    if (status != STATUS_OK)
        return status;
    /* The matcher's own is good until the next one of its grammar is asked. */
    memcpy(chat->mask, mask, words * sizeof(uint32_t));
    ask_out->history.allowed = chat->mask;
    return STATUS_OK;
}

enum status chat_advance(const struct chat_model *model, struct chat *chat,
                         const struct sampled *sampled, struct message *word_out,
                         enum finish *finish_out, struct reason *reason)
{
    enum status status =
        chat->matcher ? matcher_advance(chat->matcher, sampled->id, reason) : STATUS_OK;
    if (status != STATUS_OK)
        return status;
    if (!chat->ignore_eos && tokenizer_is_end(model->tokenizer, sampled->id)) {
        *finish_out = FINISH_STOP;
        return chat_finish(chat, FINISH_STOP, STATUS_OK, NULL, word_out);
    }
    status = token_list_add(&chat->ids, sampled->id);
    if (status == STATUS_OK)
        status = token_word(model, chat, sampled, word_out);
    if (status != STATUS_OK)
        return status;
    *finish_out = chat_finished(chat);
    return STATUS_OK;
}
