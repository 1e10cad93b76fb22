/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/chunk_choice.h"

uint32_t chunk_choose(const struct chunk_question *question)
{
    uint32_t best = CHUNK_NONE;
    for (uint32_t i = 0; i < question->count; i++) {
        const uint32_t chunk =
            (uint32_t)(((uint64_t)question->start + i) % question->count);
        if (chunk_has(question->have, chunk) || chunk_has(question->asked, chunk) ||
            (question->held && !chunk_has(question->held, chunk)))
            continue;
        if (best == CHUNK_NONE || question->available[chunk] < question->available[best])
            best = chunk;
        if (question->available[best] <= 1)
            break; /* nothing is rarer */
    }
    return best;
}
