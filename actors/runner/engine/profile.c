/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/profile.h"

#include "runtime/clock.h"

void profile_turn_to(struct profile *profile, enum profile_kind kind)
{
    uint64_t now_ns = clock_now_ns();
    struct profile_row *row = &profile->rows[profile->now];
    if (profile->since_ns > 0)
        row->took_ns += now_ns - profile->since_ns;
    profile->since_ns = now_ns;
    profile->now = kind;
    profile->rows[kind].turns++;
}

enum profile_kind profile_of_weights(const struct quantisation *quantisation)
{
    switch (quantisation->bits) {
    case 2:
        return PROFILE_MATMUL_2;
    case 3:
        return PROFILE_MATMUL_3;
    case 4:
        return PROFILE_MATMUL_4;
    case 5:
        return PROFILE_MATMUL_5;
    case 6:
        return PROFILE_MATMUL_6;
    case 8:
        return PROFILE_MATMUL_8;
    case 16:
        return PROFILE_MATMUL_16;
    default:
        return PROFILE_MATMUL_32;
    }
}

const char *profile_kind_name(enum profile_kind kind)
{
    static const char *const names[] = {
#define PROFILE_KIND(kind_, name) name,
        PROFILE_KIND_LIST(PROFILE_KIND)
#undef PROFILE_KIND
    };
    return names[kind];
}
