/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/collective_order.h"

#include <inttypes.h>

#define MARK_MAGIC UINT32_C(0x6d61726b)

struct collective_mark collective_mark_next(struct collective *collective,
                                            enum collective_kind kind, uint64_t size,
                                            uint32_t root)
{
    collective->bytes = size;
    return (struct collective_mark){.magic = MARK_MAGIC,
                                    .kind = kind,
                                    .number = ++collective->number,
                                    .size = size,
                                    .root = root,
                                    .rank = collective->rank};
}

static const char *kind_name(uint32_t kind)
{
    switch (kind) {
    case COLLECTIVE_SUM:
        return "a sum";
    case COLLECTIVE_GATHER:
        return "a gather";
    case COLLECTIVE_BROADCAST:
        return "a broadcast";
    case COLLECTIVE_BARRIER:
        return "a barrier";
    default:
        return "no collective there is";
    }
}

bool collective_mark_agrees(struct collective *collective, const struct collective_mark *own,
                            const struct collective_mark *other, uint32_t from)
{
    if (other->magic != MARK_MAGIC || other->rank != from) {
        (void)refuse(&collective->why, STATUS_MALFORMED,
                     "rank %" PRIu32 " sent no mark of a collective; the ranks no longer do the"
                     " same", collective->first + from);
        return false;
    }
    if (other->kind == own->kind && other->number == own->number && other->size == own->size &&
        other->root == own->root)
        return true;
    (void)refuse(&collective->why, STATUS_MALFORMED,
                 "rank %" PRIu32 " is in collective %" PRIu64 ", %s of %" PRIu64 " bytes, where"
                 " rank %" PRIu32 " is in %" PRIu64 ", %s of %" PRIu64 " bytes; the ranks no"
                 " longer do the same",
                 collective->first + from, other->number, kind_name(other->kind), other->size,
                 collective->first + collective->rank, own->number, kind_name(own->kind),
                 own->size);
    return false;
}

enum status collective_refuse(const struct collective *collective, enum status status,
                              struct reason *reason, const char *otherwise)
{
    const bool is_known = collective && collective->why.text[0] != '\0';
    return refuse(reason, status, "%s", is_known ? collective->why.text : otherwise);
}
