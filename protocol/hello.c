/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/hello.h"

enum status hello_fill(struct hello *hello, enum actor_kind actor, uint64_t incarnation,
                       const char *build)
{
    hello->actor = actor;
    hello->incarnation = incarnation;
    hello->schema = schema_hash();
    hello->protocol_min = PROTOCOL_MIN;
    hello->protocol_max = PROTOCOL_MAX;
    return text_set(&hello->build, build) ? STATUS_OK : STATUS_NO_MEMORY;
}
