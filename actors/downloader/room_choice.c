/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/downloader/room_choice.h"

#include <inttypes.h>

static uint64_t sum(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t beyond(uint64_t wanted, uint64_t there)
{
    return wanted > there ? wanted - there : 0;
}

/* So many bytes must go: the more of what the quota and what the disk say. */
static uint64_t bytes_missing(const struct room_wanted *wanted, const struct room_model *models,
                              uint32_t count)
{
    uint64_t held = wanted->promised;
    const uint64_t on_disk = beyond(wanted->bytes, wanted->free_bytes);
    for (uint32_t i = 0; i < count; i++)
        held = sum(held, models[i].bytes);
    const uint64_t of_quota =
        wanted->quota > 0 ? beyond(sum(held, wanted->bytes), wanted->quota) : 0;
    return of_quota > on_disk ? of_quota : on_disk;
}

static bool goes_before(const struct room_model *one, const struct room_model *other)
{
    if (one->used_ms != other->used_ms)
        return one->used_ms < other->used_ms;
    return one->bytes > other->bytes;
}

static struct room_model *oldest(struct room_model *models, uint32_t count)
{
    struct room_model *found = NULL;
    for (uint32_t i = 0; i < count; i++)
        if (!models[i].is_kept && !models[i].is_chosen && models[i].bytes > 0 &&
            (!found || goes_before(&models[i], found)))
            found = &models[i];
    return found;
}

/* What an older one freed may not be needed any more, once a larger one goes too. */
static void spare(struct room_model *models, uint32_t count, uint64_t surplus)
{
    for (;;) {
        struct room_model *spared = NULL;
        for (uint32_t i = 0; i < count; i++)
            if (models[i].is_chosen && models[i].bytes <= surplus &&
                (!spared || goes_before(spared, &models[i])))
                spared = &models[i];
        if (!spared)
            return;
        spared->is_chosen = false;
        surplus -= spared->bytes;
    }
}

enum status room_choose(const struct room_wanted *wanted, struct room_model *models,
                        uint32_t count, struct reason *reason)
{
    const uint64_t missing = bytes_missing(wanted, models, count);
    uint64_t freed = 0;
    for (uint32_t i = 0; i < count; i++)
        models[i].is_chosen = false;
    if (wanted->quota > 0 && wanted->bytes > wanted->quota)
        return refuse(reason, STATUS_NO_SPACE,
                      "%.100s needs %" PRIu64 " bytes and store_quota is %" PRIu64
                      "; raise it", wanted->what, wanted->bytes, wanted->quota);
    while (freed < missing) {
        struct room_model *model = oldest(models, count);
        if (!model)
            break;
        model->is_chosen = true;
        freed = sum(freed, model->bytes);
    }
    if (freed >= missing) {
        spare(models, count, freed - missing);
        return STATUS_OK;
    }
    for (uint32_t i = 0; i < count; i++)
        models[i].is_chosen = false;
    return refuse(reason, STATUS_NO_SPACE,
                  "%.100s needs %" PRIu64 " bytes and %" PRIu64 " are missing: what else is in the "
                  "store is pinned, runs or is on its way; remove some, or raise store_quota",
                  wanted->what, wanted->bytes, missing - freed);
}
