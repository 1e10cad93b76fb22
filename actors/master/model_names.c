/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/model_names.h"

#include <string.h>
#include <strings.h>

static bool is_namesake(const char *name, const char *other)
{
    return strcasecmp(name, other) == 0 && strcmp(name, other) != 0;
}

/* NULL: none of the models, and of those on their way. */
static const char *find_namesake(const struct state *state, const char *model_id)
{
    for (uint32_t i = 0; i < state->models.count; i++)
        if (is_namesake(text_or_empty(state->models.items[i].model_id), model_id))
            return state->models.items[i].model_id;
    for (uint32_t i = 0; i < state->imports.count; i++)
        if (is_namesake(text_or_empty(state->imports.items[i].model_id), model_id))
            return state->imports.items[i].model_id;
    for (uint32_t i = 0; i < state->downloads.count; i++)
        if (is_namesake(text_or_empty(state->downloads.items[i].model_id), model_id))
            return state->downloads.items[i].model_id;
    return NULL;
}

enum status model_name_check(const struct state *state, const char *model_id,
                             struct reason *reason)
{
    const char *other =
        state_find_model(state, model_id) ? NULL : find_namesake(state, model_id);
    if (!other)
        return STATUS_OK;
    return refuse(reason, STATUS_EXISTS,
                  "%.100s differs from %.100s, which is here, in the case of letters alone, and on "
                  "some disks both would have one path: use that name, or remove that model with "
                  "`troupe rm` first",
                  model_id, other);
}
