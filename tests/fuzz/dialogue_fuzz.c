/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as what a model says, in each style; the first byte chooses. */
#include "actors/runner/engine/dialogue/dialogue.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static const char tools_text[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"add\",\"parameters\":{\"type\":\"object\","
    "\"properties\":{\"a\":{\"type\":\"integer\"},\"note\":{\"type\":\"string\"}}}}},"
    "{\"type\":\"function\",\"function\":{\"name\":\"now\"}}]";

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size == 0)
        return 0;
    const enum tool_syntax syntax = (enum tool_syntax)(bytes[0] % (TOOLS_DEEPSEEK + 1));
    const struct dialogue_style style = {syntax, syntax == TOOLS_HARMONY ? NULL : "<think>",
                                         "</think>"};
    struct dialogue *dialogue = NULL;
    json_t *tools = json_loads(tools_text, 0, NULL);
    enum status status = dialogue_open(&style, (enum thinking)(bytes[0] / 8 % 3), tools, &dialogue);
    ASSERT(status == STATUS_OK);
    for (size_t at = 1; at < size; at += 3) {
        const size_t piece = size - at < 3 ? size - at : 3;
        status = dialogue_push(dialogue, (const char *)bytes + at, piece);
        ASSERT(status == STATUS_OK);
    }
    ASSERT(dialogue_memory(dialogue) < 16u << 20);
    status = dialogue_finish(dialogue, bytes[0] >= 128);
    ASSERT(status == STATUS_OK);
    dialogue_close(dialogue);
    json_decref(tools);
    return 0;
}
