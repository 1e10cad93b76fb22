/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as what a request demands of its answer, then as an answer to it. */
#include "actors/runner/engine/grammar/constraint.h"
#include "actors/runner/engine/grammar/matcher.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { ROWS = 257 };

static const struct vocabulary *vocabulary(void)
{
    static struct vocabulary known;
    static char letters[ROWS];
    struct vocabulary_token tokens[ROWS];
    if (known.rows > 0)
        return &known;
    for (uint32_t id = 0; id < ROWS; id++) {
        letters[id] = (char)id;
        tokens[id] = (struct vocabulary_token){
            .id = id, .bytes = &letters[id], .size = 1, .is_end = id == ROWS - 1};
    }
    ASSERT(vocabulary_open(tokens, ROWS - 1, ROWS, &known) == STATUS_OK);
    return &known;
}

/* Follows the mask: each allowed byte leads on, and where nothing follows the grammar may end. */
static void answer(struct matcher *matcher, const uint8_t *bytes, size_t size)
{
    struct reason reason = {""};
    for (size_t step = 0; step < 24 && step < size; step++) {
        const uint32_t *mask = NULL;
        const enum status status = matcher_mask(matcher, &mask, &reason);
        ASSERT(matcher_memory(matcher) <= MATCHER_MEMORY_MAX);
        if (status != STATUS_OK) {
            ASSERT(reason.text[0]);
            return;
        }
        uint32_t id = bytes[step];
        uint32_t tried = 0;
        while (tried < 256 && !(mask[id / 32] >> (id % 32) & 1u)) {
            id = (id + 1) % 256;
            tried++;
        }
        if (tried == 256) {
            ASSERT(matcher_may_end(matcher));
            return;
        }
        const enum status moved = matcher_advance(matcher, id, &reason);
        ASSERT(moved == STATUS_OK);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const enum tool_syntax syntaxes[] = {TOOLS_NONE,        TOOLS_JSON,    TOOLS_XML,
                                                TOOLS_GLM,         TOOLS_LLAMA,   TOOLS_HARMONY,
                                                TOOLS_DEEPSEEK_V3, TOOLS_DEEPSEEK};
    struct reason reason = {""};
    json_t *demand = json_loadb((const char *)bytes, size, JSON_REJECT_DUPLICATES, NULL);
    if (!demand)
        return 0;
    const enum tool_syntax syntax = syntaxes[size % COUNT_OF(syntaxes)];
    const struct constraint_setting setting = {
        .style = {syntax, syntax == TOOLS_HARMONY ? NULL : "<think>", "</think>"},
        .thinking = (enum thinking)(size % 3),
        .tools = json_object_get(demand, "tools")};
    struct automaton automaton;
    struct matcher *matcher = NULL;
    enum status status = constraint_build(demand, &setting, &automaton, &reason);
    if (status == STATUS_OK)
        status = matcher_open(&automaton, vocabulary(), &matcher, &reason);
    if (status == STATUS_OK)
        answer(matcher, bytes, size);
    else
        ASSERT(reason.text[0]);
    matcher_close(matcher);
    json_decref(demand);
    return 0;
}
