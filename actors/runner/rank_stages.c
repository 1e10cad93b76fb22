/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pipeline of tensor groups: a ring of stages, each of ranks that sum over MPI.
 *
 * The first rank of a stage takes the rows and the hidden states of the stage before, passes both
 * on to the others of its own, and sends its stage's hidden states to the next; so each crosses the
 * links between stages once.  What comes back to rank 0 goes to the others of its stage, with whom
 * it computes logits.  Every message has the number of its step, on every rank; nobody enters MPI
 * before it has what it will compute, and a rank that is idle waits for a message.
 */
#include "actors/runner/rank_world_parts.h"

#include <inttypes.h>

static const struct partition *own_of(const struct rank_world *world)
{
    return &world->partitions[world->rank];
}

static bool leads(const struct rank_world *world)
{
    return own_of(world)->stage_first == world->rank;
}

static uint32_t next_stage(const struct rank_world *world)
{
    return (own_of(world)->stage_first + own_of(world)->stage_ranks) % world->rank_count;
}

enum status rank_stages_narrow(struct rank_world *world, struct reason *reason)
{
    const struct partition *own = own_of(world);
    return world->collective->ops->narrow(world->collective, own->stage_first, own->stage_ranks,
                                          reason);
}

/* ---- to the others of the stage ---- */

static enum status tell_group_step(struct rank_world *world, const struct engine_row *rows,
                                   uint32_t count)
{
    enum status status = STATUS_OK;
    for (uint32_t i = 1; i < own_of(world)->stage_ranks && status == STATUS_OK; i++)
        status = rank_tell_step(world, own_of(world)->stage_first + i, rows, count);
    return status;
}

static enum status tell_group_hidden(struct rank_world *world, uint32_t rows)
{
    enum status status = STATUS_OK;
    for (uint32_t i = 1; i < own_of(world)->stage_ranks && status == STATUS_OK; i++)
        status = rank_tell_hidden(world, own_of(world)->stage_first + i, rows);
    return status;
}

static enum status pass_on(struct rank_world *world, const struct message *message)
{
    enum status status = STATUS_OK;
    for (uint32_t i = 1; i < own_of(world)->stage_ranks && status == STATUS_OK; i++) {
        struct message copy;
        status = message_copy(message, &copy);
        if (status == STATUS_OK)
            status = rank_tell(world, own_of(world)->stage_first + i, &copy);
    }
    return status;
}

/* ---- rank 0 ---- */

enum status rank_stages_forward(struct rank_world *world, const struct engine_row *rows,
                                uint32_t count, const struct rank_ask *asks,
                                struct rank_drawn *drawn_out, struct reason *reason)
{
    const struct engine_batch batch = {rows, count, NULL, world->hidden, NULL};
    /* Whether there is room, before anybody hears of the step. */
    enum status status = engine_admit(world->engine, &batch, reason);
    if (status != STATUS_OK)
        return status;
    world->number++;
    status = tell_group_step(world, rows, count);
    if (status == STATUS_OK)
        status = engine_forward(world->engine, &batch, reason);
    if (status == STATUS_OK)
        status = rank_tell_step(world, next_stage(world), rows, count);
    world->change_count = 0;
    if (status == STATUS_OK)
        status = rank_tell_hidden(world, next_stage(world), count);
    if (status == STATUS_OK)
        status = rank_wait_hidden(world, count, reason);
    if (status != STATUS_OK)
        return status;
    const uint32_t wanted = rank_keep_wanted(world, rows, count);
    if (wanted > 0)
        status = tell_group_hidden(world, wanted);
    return status == STATUS_OK ? rank_draw_hidden(world, wanted, asks, drawn_out, reason)
                               : status;
}

/* ---- the other ranks ---- */

static uint32_t rows_of(const struct step_planned *step, struct engine_row *rows_out)
{
    for (uint32_t i = 0; i < step->slots.count; i++)
        rows_out[i] = (struct engine_row){step->slots.items[i], step->tokens.items[i],
                                          step->positions.items[i], step->wanted.items[i] != 0};
    return step->slots.count;
}

/* The hidden states that will come for this step: what the stage before computed, or in the first
 * what the last did, of the rows that want logits. */
static uint32_t rows_due(const struct rank_world *world)
{
    const struct step_planned *step = MESSAGE_BODY(&world->step, step_planned);
    uint32_t wanted = 0;
    if (own_of(world)->stage > 0)
        return step->slots.count;
    for (uint32_t i = 0; i < step->wanted.count; i++)
        wanted += step->wanted.items[i] != 0;
    return wanted;
}

static enum status compute(struct rank_world *world, const float *hidden_in,
                           struct reason *reason)
{
    const struct step_planned *step = MESSAGE_BODY(&world->step, step_planned);
    struct engine_row rows[STEP_ROWS_MAX];
    const uint32_t count = rows_of(step, rows);
    const struct engine_batch batch = {rows, count, hidden_in,
                                       leads(world) ? world->hidden : NULL, NULL};
    enum status status =
        rank_apply_changes(world, step->changes.items, step->changes.count, reason);
    if (status == STATUS_OK)
        status = engine_forward(world->engine, &batch, reason);
    return status;
}

/* The first rank of a stage, to that of the next. */
static enum status send_on(struct rank_world *world)
{
    const uint32_t next = next_stage(world);
    enum status status = STATUS_OK;
    if (next > 0) {
        struct message copy;
        status = message_copy(&world->step, &copy);
        if (status == STATUS_OK)
            status = rank_tell(world, next, &copy);
    }
    return status == STATUS_OK
               ? rank_tell_hidden(world, next,
                                  MESSAGE_BODY(&world->step, step_planned)->slots.count)
               : status;
}

static enum status take_step(struct rank_world *world, const struct message *message,
                             bool *has_computed_out, struct reason *reason)
{
    const struct step_planned *body = MESSAGE_BODY(message, step_planned);
    if (body->number != world->number + 1 || world->step.body)
        return refuse(reason, STATUS_GAP, "step %" PRIu64 " came after %" PRIu64, body->number,
                      world->number);
    if (!rank_step_is_sound(body))
        return refuse(reason, STATUS_MALFORMED, "step %" PRIu64 " has rows without their places",
                      body->number);
    world->number = body->number;
    world->hidden_have = 0;
    enum status status = message_copy(message, &world->step);
    if (status == STATUS_OK && own_of(world)->stage > 0)
        return leads(world) ? pass_on(world, message) : STATUS_OK;
    if (status == STATUS_OK)
        status = compute(world, NULL, reason);
    if (status != STATUS_OK)
        return status;
    *has_computed_out = true;
    if (rows_due(world) == 0)
        message_fini(&world->step);
    return STATUS_OK;
}

static enum status take_states(struct rank_world *world, const struct message *message,
                               bool *has_computed_out, struct reason *reason)
{
    bool is_whole = false;
    if (!world->step.body)
        return refuse(reason, STATUS_GAP, "hidden states came without their step");
    const uint32_t rows = rows_due(world);
    enum status status =
        rank_take_hidden(world, MESSAGE_BODY(message, hidden_sent), rows, &is_whole, reason);
    if (status == STATUS_OK && leads(world))
        status = pass_on(world, message);
    if (status != STATUS_OK || !is_whole)
        return status;
    *has_computed_out = true;
    if (own_of(world)->stage == 0)
        status = engine_logits(world->engine, world->hidden, rows, NULL, reason);
    else
        status = compute(world, world->hidden, reason);
    if (status == STATUS_OK && leads(world))
        status = send_on(world);
    message_fini(&world->step);
    return status;
}

enum status rank_stages_follow(struct rank_world *world, const struct message *message,
                               bool *has_computed_out, struct reason *reason)
{
    return message_is(message, MESSAGE_LINK, LINK_STEP_PLANNED)
               ? take_step(world, message, has_computed_out, reason)
               : take_states(world, message, has_computed_out, reason);
}
