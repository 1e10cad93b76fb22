/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/sharding.h"

#include <string.h>

static const char *const names[SHARDING_END] = {"none", "pipeline", "tensor",
                                                "pipeline-tensor"};

const char *sharding_name(uint32_t sharding)
{
    return sharding < SHARDING_END ? names[sharding] : "unknown";
}

bool sharding_parse(const char *name, enum sharding *sharding_out)
{
    for (uint32_t i = 0; i < SHARDING_END; i++) {
        if (strcmp(names[i], name) == 0) {
            *sharding_out = (enum sharding)i;
            return true;
        }
    }
    return false;
}
