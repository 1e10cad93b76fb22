/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pipelines: a ring of stages, each of one rank or of several that sum over MPI.
 *
 * The first rank of a stage takes the rows and the hidden states of the stage before, passes both
 * on to the others of its own, and sends its stage's hidden states to the next; so each crosses the
 * links between stages once.  The last stage has the head and applies what was asked with the rows:
 * what goes back to rank 0 is what a token is drawn from (rank_sampling).  Every message has the
 * number of its step, on every rank; nobody enters MPI before it has what it will compute, and a
 * rank that is idle waits for a message.
 */
#include "actors/runner/rank_world_parts.h"

#include "protocol/memory.h"

#include <inttypes.h>
#include <string.h>

/* Each rank watches its own engine and every link its peer: this is for what neither sees. */
#define SIBLING_LIMIT_MS 120000u
/* Of a message of hidden states, or of what rank 0 draws from. */
#define PART_SIZE (4u << 20)

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

/* ---- messages ---- */

static bool put_numbers(struct u32s *numbers, const uint32_t *items, size_t count)
{
    numbers->items = memory_zeroed(count, sizeof(uint32_t));
    numbers->count = numbers->items ? (uint32_t)count : 0;
    if (items && count > 0 && numbers->items)
        memcpy(numbers->items, items, count * sizeof(uint32_t));
    return numbers->items != NULL;
}

/* Rank 0: the rows of a step with the changes before it, and what is asked in world->band. */
static enum status tell_step(struct rank_world *world, uint32_t rank, const struct engine_row *rows,
                             uint32_t count)
{
    struct message message;
    enum status status = message_init(&message, MESSAGE_LINK, LINK_STEP_PLANNED);
    if (status != STATUS_OK)
        return status;
    struct step_planned *body = message.body;
    body->number = world->number;
    if (!put_numbers(&body->slots, NULL, count) || !put_numbers(&body->positions, NULL, count) ||
        !put_numbers(&body->tokens, NULL, count) || !put_numbers(&body->wanted, NULL, count) ||
        !put_numbers(&body->changes, world->changes, world->change_count) ||
        !put_numbers(&body->asks, world->band.items, world->band.count)) {
        message_fini(&message);
        return STATUS_NO_MEMORY;
    }
    for (uint32_t i = 0; i < count; i++) {
        body->slots.items[i] = rows[i].sequence;
        body->positions.items[i] = rows[i].position;
        body->tokens.items[i] = rows[i].token;
        body->wanted.items[i] = rows[i].wants_logits;
    }
    return rank_tell(world, rank, &message);
}

static enum status tell_computed(struct rank_world *world, uint32_t rank, uint32_t rows,
                                 const void *computed, size_t size)
{
    const uint8_t *bytes = computed;
    for (size_t offset = 0; offset < size; offset += PART_SIZE) {
        const size_t part = size - offset < PART_SIZE ? size - offset : PART_SIZE;
        struct message message;
        enum status status = message_init(&message, MESSAGE_LINK, LINK_HIDDEN_SENT);
        if (status != STATUS_OK)
            return status;
        struct hidden_sent *body = message.body;
        body->number = world->number;
        body->rows = rows;
        body->offset = (uint32_t)(offset / sizeof(uint32_t));
        if (!bytes_set(&body->values, bytes + offset, part)) {
            message_fini(&message);
            return STATUS_NO_MEMORY;
        }
        status = rank_tell(world, rank, &message);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

/* The first `rows` of world->hidden. */
static enum status tell_hidden(struct rank_world *world, uint32_t rank, uint32_t rows)
{
    return tell_computed(world, rank, rows, world->hidden,
                         (size_t)rows * engine_hidden(world->engine) * sizeof(float));
}

/* That it is the next part of `size` bytes, of which world->hidden_have came. */
static enum status check_part(const struct rank_world *world, const struct hidden_sent *body,
                              uint32_t rows, size_t size, struct reason *reason)
{
    const size_t offset = (size_t)body->offset * sizeof(uint32_t);
    if (body->number != world->number)
        return refuse(reason, STATUS_GAP,
                      "hidden states of step %" PRIu64 " came where step %" PRIu64 " was due",
                      body->number, world->number);
    if (body->rows != rows || offset != world->hidden_have || body->values.count == 0 ||
        body->values.count > size - offset)
        return refuse(reason, STATUS_GAP,
                      "hidden states of step %" PRIu64 " came with %u bytes at %zu of %u rows "
                      "where %zu bytes of %u rows were due from %zu",
                      body->number, body->values.count, offset, body->rows, size, rows,
                      world->hidden_have);
    return STATUS_OK;
}

static enum status take_hidden(struct rank_world *world, const struct hidden_sent *body,
                               uint32_t rows, bool *is_whole_out, struct reason *reason)
{
    const size_t size = (size_t)rows * engine_hidden(world->engine) * sizeof(float);
    enum status status = check_part(world, body, rows, size, reason);
    if (status != STATUS_OK)
        return status;
    memcpy((uint8_t *)world->hidden + world->hidden_have, body->values.items, body->values.count);
    world->hidden_have += body->values.count;
    *is_whole_out = world->hidden_have == size;
    return STATUS_OK;
}

/* ---- to the others of the stage ---- */

static enum status tell_group_step(struct rank_world *world, const struct engine_row *rows,
                                   uint32_t count)
{
    enum status status = STATUS_OK;
    for (uint32_t i = 1; i < own_of(world)->stage_ranks && status == STATUS_OK; i++)
        status = tell_step(world, own_of(world)->stage_first + i, rows, count);
    return status;
}

/* The first rank of a stage. */
static enum status pass_on(struct rank_world *world, const struct message *message)
{
    const uint32_t others = leads(world) ? own_of(world)->stage_ranks : 0;
    enum status status = STATUS_OK;
    for (uint32_t i = 1; i < others && status == STATUS_OK; i++) {
        struct message copy;
        status = message_copy(message, &copy);
        if (status == STATUS_OK)
            status = rank_tell(world, own_of(world)->stage_first + i, &copy);
    }
    return status;
}

/* ---- rank 0 ---- */

/* Into world->band: words, the first of which is how many. */
static enum status take_told(struct rank_world *world, const struct hidden_sent *body,
                             uint32_t rows, bool *is_whole_out, struct reason *reason)
{
    struct words *told = &world->band;
    const uint32_t count = body->values.count / (uint32_t)sizeof(uint32_t);
    size_t size = (size_t)UINT32_MAX * sizeof(uint32_t);
    if (told->count > 0)
        size = told->items[0] * sizeof(uint32_t);
    enum status status = check_part(world, body, rows, size, reason);
    if (status != STATUS_OK)
        return status;
    if (body->values.count % sizeof(uint32_t) != 0)
        return refuse(reason, STATUS_MALFORMED, "the last stage sent %u bytes, which are no words",
                      body->values.count);
    if (!words_add(told, body->values.items, count))
        return refuse(reason, STATUS_NO_MEMORY, "no memory for what the last stage sends");
    world->hidden_have += body->values.count;
    *is_whole_out = told->count > 0 && told->count >= told->items[0];
    return STATUS_OK;
}

/* What the last stage makes of the rows that want logits. */
static enum status wait_told(struct rank_world *world, uint32_t rows, struct reason *reason)
{
    const uint32_t limit_ms =
        world->sibling_limit_ms ? world->sibling_limit_ms : SIBLING_LIMIT_MS;
    bool is_whole = false;
    world->hidden_have = 0;
    world->band.count = 0;
    while (!is_whole) {
        struct engine_command command;
        world->is_waiting = true;
        enum status status =
            command_queue_take(world->queue, EFFECT_ENGINE_STEP, limit_ms, &command);
        world->is_waiting = false;
        if (status != STATUS_OK)
            return refuse(reason, status,
                          "no rank answered step %" PRIu64 " within %u ms; the network between "
                          "the nodes may be cut",
                          world->number, limit_ms);
        if (command.effect == COMMAND_STOP) { /* whoever waits for it next shall find it */
            status = command_queue_put(world->queue, &command);
            return refuse(reason, status == STATUS_OK ? STATUS_CANCELLED : status,
                          "the runner stops");
        }
        struct message *message = command.request;
        if (message_is(message, MESSAGE_LINK, LINK_HIDDEN_SENT))
            status = take_told(world, MESSAGE_BODY(message, hidden_sent), rows, &is_whole, reason);
        runner_message_free(message);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

enum status rank_stages_forward(struct rank_world *world, const struct engine_row *rows,
                                uint32_t count, const struct rank_ask *asks,
                                struct rank_drawn *drawn_out, struct reason *reason)
{
    const struct engine_batch batch = {rows, count, NULL, world->hidden, NULL};
    const uint32_t wanted = rank_count_wanted(rows, count);
    /* Whether there is room, before anybody hears of the step. */
    enum status status = engine_admit(world->engine, &batch, reason);
    if (status != STATUS_OK)
        return status;
    world->number++;
    world->band.count = 0;
    status = rank_sampling_tell(world->sampling, rows, count, asks, &world->band);
    if (status == STATUS_OK)
        status = tell_group_step(world, rows, count);
    if (status == STATUS_OK)
        status = engine_forward(world->engine, &batch, reason);
    if (status == STATUS_OK)
        status = tell_step(world, next_stage(world), rows, count);
    world->change_count = 0;
    if (status == STATUS_OK)
        status = tell_hidden(world, next_stage(world), count);
    if (status == STATUS_OK)
        status = wait_told(world, wanted, reason);
    return status == STATUS_OK ? rank_sampling_draw_told(world->sampling, asks, wanted,
                                                         &world->band, drawn_out, reason)
                               : status;
}

/* ---- the other ranks ---- */

static bool is_sound(const struct step_planned *step)
{
    const uint32_t count = step->slots.count;
    return count > 0 && count <= STEP_ROWS_MAX && step->positions.count == count &&
           step->tokens.count == count && step->wanted.count == count &&
           step->changes.count <= STEP_CHANGES_MAX;
}

static uint32_t rows_of(const struct step_planned *step, struct engine_row *rows_out)
{
    for (uint32_t i = 0; i < step->slots.count; i++)
        rows_out[i] = (struct engine_row){step->slots.items[i], step->tokens.items[i],
                                          step->positions.items[i], step->wanted.items[i] != 0};
    return step->slots.count;
}

static enum status begin(struct rank_world *world, struct engine_row *rows_out,
                         uint32_t *count_out, struct reason *reason)
{
    const struct step_planned *step = MESSAGE_BODY(&world->step, step_planned);
    *count_out = rows_of(step, rows_out);
    return rank_apply_changes(world, step->changes.items, step->changes.count, reason);
}

static enum status compute(struct rank_world *world, const float *hidden_in,
                           struct reason *reason)
{
    struct engine_row rows[STEP_ROWS_MAX];
    uint32_t count = 0;
    enum status status = begin(world, rows, &count, reason);
    const struct engine_batch batch = {rows, count, hidden_in,
                                       leads(world) ? world->hidden : NULL, NULL};
    return status == STATUS_OK ? engine_forward(world->engine, &batch, reason) : status;
}

/* The first rank of a stage, to that of the next. */
static enum status send_on(struct rank_world *world)
{
    const uint32_t next = next_stage(world);
    struct message copy;
    enum status status = message_copy(&world->step, &copy);
    if (status == STATUS_OK)
        status = rank_tell(world, next, &copy);
    return status == STATUS_OK
               ? tell_hidden(world, next, MESSAGE_BODY(&world->step, step_planned)->slots.count)
               : status;
}

/* In the last stage: to rank 0 goes what it draws from. */
static enum status compute_last(struct rank_world *world, struct reason *reason)
{
    const struct step_planned *step = MESSAGE_BODY(&world->step, step_planned);
    struct engine_row rows[STEP_ROWS_MAX];
    struct rank_ask asks[RANK_SEQUENCES_MAX];
    uint32_t count = 0;
    enum status status = begin(world, rows, &count, reason);
    const uint32_t wanted = rank_count_wanted(rows, count);
    const struct engine_batch batch = {rows, count, world->hidden, NULL, NULL};
    if (status == STATUS_OK)
        status = rank_sampling_hear(world->sampling, rows, count, step->asks.items,
                                    step->asks.count, asks, reason);
    if (status == STATUS_OK)
        status = engine_forward_own(world->engine, &batch, rank_sampling_logits(world->sampling),
                                    reason);
    if (status == STATUS_OK)
        status = rank_sampling_share(world->sampling, asks, wanted, &world->band, reason);
    if (status != STATUS_OK || !leads(world))
        return status;
    return tell_computed(world, 0, wanted, world->band.items,
                         world->band.count * sizeof(uint32_t));
}

static enum status take_step(struct rank_world *world, const struct message *message,
                             bool *has_computed_out, struct reason *reason)
{
    const struct step_planned *body = MESSAGE_BODY(message, step_planned);
    if (body->number != world->number + 1 || world->step.body)
        return refuse(reason, STATUS_GAP, "step %" PRIu64 " came after %" PRIu64, body->number,
                      world->number);
    if (!is_sound(body))
        return refuse(reason, STATUS_MALFORMED, "step %" PRIu64 " has rows without their places",
                      body->number);
    world->number = body->number;
    world->hidden_have = 0;
    enum status status = message_copy(message, &world->step);
    if (status != STATUS_OK)
        return status;
    if (own_of(world)->stage > 0)
        return pass_on(world, message);
    status = compute(world, NULL, reason);
    message_fini(&world->step);
    *has_computed_out = status == STATUS_OK;
    return status;
}

static enum status take_states(struct rank_world *world, const struct message *message,
                               bool *has_computed_out, struct reason *reason)
{
    bool is_whole = false;
    if (!world->step.body)
        return refuse(reason, STATUS_GAP, "hidden states came without their step");
    const uint32_t rows = MESSAGE_BODY(&world->step, step_planned)->slots.count;
    enum status status =
        take_hidden(world, MESSAGE_BODY(message, hidden_sent), rows, &is_whole, reason);
    if (status == STATUS_OK)
        status = pass_on(world, message);
    if (status != STATUS_OK || !is_whole)
        return status;
    *has_computed_out = true;
    if (own_of(world)->has_head)
        status = compute_last(world, reason);
    else
        status = compute(world, world->hidden, reason);
    if (status == STATUS_OK && leads(world) && !own_of(world)->has_head)
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
