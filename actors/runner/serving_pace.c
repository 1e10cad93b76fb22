/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/serving_pace.h"

#include <string.h>

void serving_pace_ask(struct serving_pace *pace, uint64_t number, uint64_t now_us,
                      uint32_t prompt_tokens, bool is_alone)
{
    pace->alone = is_alone ? number : 0;
    pace->asked_us = now_us;
    pace->asked_tokens = prompt_tokens;
    pace->told_us = 0;
}

bool serving_pace_token(struct serving_pace *pace, uint64_t number, uint64_t now_us)
{
    if (number != pace->alone || now_us < pace->asked_us || now_us < pace->told_us)
        return false;
    const uint64_t since_us = now_us - (pace->told_us ? pace->told_us : pace->asked_us);
    if (pace->told_us == 0) {
        pace->first_token_s = (double)(since_us + (since_us == 0)) / 1e6;
        pace->prompt_tokens = pace->asked_tokens;
    } else {
        pace->token_us[pace->token_count++ % SERVING_PACE_TOKENS] =
            since_us < UINT32_MAX ? (uint32_t)since_us : UINT32_MAX;
    }
    pace->told_us = now_us;
    return true;
}

double serving_pace_tokens_per_s(const struct serving_pace *pace)
{
    uint32_t sorted[SERVING_PACE_TOKENS];
    uint32_t count = 0;
    if (pace->token_count < SERVING_PACE_TOKENS_LEAST)
        return 0;
    for (; count < SERVING_PACE_TOKENS && count < pace->token_count; count++) {
        uint32_t at = count;
        for (; at > 0 && sorted[at - 1] > pace->token_us[count]; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = pace->token_us[count];
    }
    const uint32_t middle = sorted[count / 2];
    return 1e6 / (middle > 0 ? middle : 1);
}
