/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Not a test: what tests/process/test_grammar.py validates with a validator of its own.
 *
 * usage: grammar-samples TOKENIZER_DIR <LINES
 * Each line is {"demand": {...}, "count": N, "steps": N}.  For each sample one line comes back,
 * {"text": "...", "ended": true}, made of tokens drawn by the sampler from random logits under the
 * demand's mask; for each of its "texts" one {"takes": true}; or one {"refused": "..."} for the
 * demand.  After half of the steps what closes
 * texts and brackets is made likely, so that most samples end.
 */
#include "actors/runner/engine/grammar/constraint.h"
#include "actors/runner/engine/grammar/matcher.h"
#include "actors/runner/engine/sampler.h"
#include "actors/runner/engine/tokenizer.h"
#include "protocol/memory.h"
#include "tests/support/seeded.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct stage {
    struct tokenizer *tokenizer;
    struct vocabulary vocabulary;
    struct sampler *sampler;
    size_t rows;
    float *logits;
    bool *closes; /* tokens of quotes and brackets */
    struct seeded seeded;
};

static void must(enum status status, const struct reason *reason)
{
    if (status == STATUS_OK)
        return;
    fprintf(stderr, "%s: %s\n", status_text(status), reason ? reason->text : "");
    exit(EXIT_FAILURE);
}

static void print(json_t *line)
{
    char *text = json_dumps(line, JSON_COMPACT);
    puts(text ? text : "{}");
    free(text);
    json_decref(line);
}

static void stage_begin(struct stage *stage, const char *directory)
{
    struct reason reason = {""};
    must(tokenizer_open(directory, &stage->tokenizer, &reason), &reason);
    stage->rows = tokenizer_size(stage->tokenizer);
    must(vocabulary_open_tokenizer(stage->tokenizer, stage->rows, &stage->vocabulary), NULL);
    must(sampler_open(stage->rows, stage->tokenizer, &stage->sampler, &reason), &reason);
    stage->logits = memory_zeroed(stage->rows, sizeof(float));
    stage->closes = memory_zeroed(stage->rows, sizeof(bool));
    ASSERT(stage->logits && stage->closes);
    for (uint32_t id = 0; id < stage->rows; id++) {
        struct token_piece piece;
        if (tokenizer_piece(stage->tokenizer, id, &piece))
            stage->closes[id] = piece.size > 0 && (piece.flags & TOKEN_SPECIAL) == 0 &&
                                strspn(piece.bytes, "\"]}") >= piece.size;
    }
    stage->seeded =
        (struct seeded){strtoull(getenv("TROUPE_SEED") ? getenv("TROUPE_SEED") : "1", NULL, 10)};
}

static json_t *sample(struct stage *stage, struct matcher *matcher, size_t steps)
{
    struct token_list ids = {NULL, 0, 0};
    struct sampling sampling;
    struct reason reason = {""};
    sampling_init(&sampling);
    sampling.seed = seeded_next(&stage->seeded);
    bool has_ended = false;
    matcher_restart(matcher);
    for (size_t step = 0; step < steps && !has_ended && !matcher_is_over(matcher); step++) {
        struct sampling_history history = {.answer = ids.ids, .answer_count = ids.count};
        struct sampled sampled;
        const float push = step > steps / 2 ? 40.0F : 0.0F;
        for (size_t id = 0; id < stage->rows; id++)
            stage->logits[id] =
                seeded_float(&stage->seeded) * 8.0F + (stage->closes[id] ? push : 0.0F);
        must(matcher_mask(matcher, &history.allowed, &reason), &reason);
        must(sampler_draw(stage->sampler, &sampling, stage->logits, &history, &sampled, &reason),
             &reason);
        must(matcher_advance(matcher, sampled.id, &reason), &reason);
        has_ended = tokenizer_is_end(stage->tokenizer, sampled.id) != 0;
        if (!has_ended)
            must(token_list_add(&ids, sampled.id), NULL);
    }
    char *text = NULL;
    size_t size = 0;
    must(tokenizer_decode(stage->tokenizer, ids.ids, ids.count, 0, &text, &size, &reason), &reason);
    json_t *line =
        json_pack("{s:s%,s:b}", "text", text, size, "ended", has_ended || matcher_is_over(matcher));
    memory_free(text);
    token_list_free(&ids);
    ASSERT(line != NULL);
    return line;
}

static void answer(struct stage *stage, const json_t *task)
{
    static const struct constraint_setting setting = {.thinking = THINKING_CLOSED};
    struct automaton automaton;
    struct matcher *matcher = NULL;
    struct reason reason = {""};
    enum status status =
        constraint_build(json_object_get(task, "demand"), &setting, &automaton, &reason);
    if (status == STATUS_OK)
        status = matcher_open(&automaton, &stage->vocabulary, &matcher, &reason);
    if (status != STATUS_OK) {
        print(json_pack("{s:s}", "refused", reason.text));
        return;
    }
    for (json_int_t count = json_integer_value(json_object_get(task, "count")); count > 0; count--)
        print(sample(stage, matcher, (size_t)json_integer_value(json_object_get(task, "steps"))));
    for (size_t at = 0; at < json_array_size(json_object_get(task, "texts")); at++) {
        const json_t *text = json_array_get(json_object_get(task, "texts"), at);
        matcher_restart(matcher);
        print(json_pack("{s:b}", "takes",
                        matcher_advance_bytes(matcher, json_string_value(text),
                                              json_string_length(text)) &&
                            matcher_may_end(matcher)));
    }
    matcher_close(matcher);
}

int main(int count, char **arguments)
{
    struct stage stage = {.rows = 0};
    size_t capacity = 0;
    char *line = NULL;
    if (count != 2) {
        fprintf(stderr, "usage: grammar-samples TOKENIZER_DIR <LINES\n");
        return EXIT_FAILURE;
    }
    stage_begin(&stage, arguments[1]);
    while (getline(&line, &capacity, stdin) > 0) {
        json_t *task = json_loads(line, JSON_ALLOW_NUL, NULL);
        answer(&stage, task);
        json_decref(task);
    }
    free(line);
    memory_free(stage.logits);
    memory_free(stage.closes);
    sampler_close(stage.sampler);
    vocabulary_close(&stage.vocabulary);
    tokenizer_close(stage.tokenizer);
    return EXIT_SUCCESS;
}
