/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/placement_attempt.h"

/* Bytes a processor reads per second in decoding, where nothing was measured yet: one channel of
 * common memory.  It only has to order candidates. */
#define BYTES_PER_S 8e9
/* A message between two machines of a home, seconds; per layer two sums in a tensor cut. */
#define HOP_S 0.00015

double attempt_tokens_per_s(const struct attempt *attempt, const struct candidate *candidate)
{
    double seconds = 0;
    double slowest = 0;
    for (uint32_t i = 0; i < attempt->count; i++) {
        double own = (double)candidate->ranks.items[i].weight_bytes / BYTES_PER_S;
        seconds += own;
        slowest = own > slowest ? own : slowest;
    }
    if (candidate->sharding == SHARDING_TENSOR)
        seconds = slowest + 2.0 * attempt->model->shape.layers * HOP_S;
    else if (candidate->sharding == SHARDING_PIPELINE)
        seconds += attempt->count * HOP_S;
    return seconds > 0 ? 1.0 / seconds : 0;
}
