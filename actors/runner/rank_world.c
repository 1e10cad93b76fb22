/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/rank_world_parts.h"

#include "actors/runner/collective_mpi.h"
#include "actors/runner/collective_order.h"
#include "protocol/memory.h"
#include "runtime/partition_record.h"

#include <inttypes.h>
#include <string.h>

#define BAND_MAGIC 0x54525032u /* "TRP2" */
#define BAND_WORDS 121u        /* 512 bytes with the head */
#define ROW_WORDS 4u
/* Rows, changes, and for each sequence a sampling and a mask of the largest vocabulary. */
#define BAND_WORDS_MAX                                                                             \
    (ROW_WORDS * STEP_ROWS_MAX + STEP_CHANGES_MAX + 1 +                                            \
     (RANK_SEQUENCES_MAX + 1) *                                                                    \
         (SAMPLER_MASK_WORDS(SAMPLER_ROWS_MAX) + sizeof(struct sampling) / sizeof(uint32_t) + 2))

/* ---- joining and loading ---- */

enum status rank_world_join(struct rank_world *world, struct reason *reason)
{
    if (world->rank_count == 1)
        return STATUS_OK;
    world->reading.step = "joined MPI";
    world->is_joining = true;
    enum status status =
        collective_mpi_open(world->instance.ranks.count, &world->collective, reason);
    world->is_joining = false;
    return status;
}

static enum status load_shard(struct rank_world *world, const char *directory,
                              void (*progressed)(void *context, uint64_t have, uint64_t total),
                              void *context, struct reason *reason)
{
    struct weight_source sources[MODEL_FILE_COUNT_MAX];
    bool has_files[RANK_COUNT_MAX];
    const struct instance_record *instance = &world->instance;
    for (uint32_t i = 0; i < instance->ranks.count; i++)
        has_files[i] = instance->ranks.items[i].has_weights;
    for (uint32_t i = 0; i < instance->sources.count; i++)
        sources[i] = (struct weight_source){instance->sources.items[i].name,
                                            instance->sources.items[i].rank,
                                            instance->sources.items[i].holders};
    const struct weight_load_request request = {.collective = world->collective,
                                                .directory = directory,
                                                .config = world->config,
                                                .partitions = world->partitions,
                                                .computing = world->rank_count,
                                                .has_files = has_files,
                                                .sources = sources,
                                                .source_count = instance->sources.count,
                                                .window = world->load_window,
                                                .rate_min = world->load_rate_min,
                                                .reading = &world->reading,
                                                .progressed = progressed,
                                                .context = context};
    return weight_load_open(&request, &world->load, reason);
}

static void mark_layer(void *observer, uint32_t layer, const float *hidden, size_t count)
{
    struct rank_world *world = observer;
    (void)layer;
    (void)hidden;
    (void)count;
    world->marks++;
}

/* The placement counts by the code that lays the cache out: more would be our bug on one of the two
 * nodes, and other instances' memory. */
static enum status check_granted(const struct rank_world *world, struct reason *reason)
{
    const uint64_t granted = world->instance.ranks.items[world->rank].cache_bytes;
    const uint64_t taken = engine_cache_bytes(world->engine);
    if (granted == 0 || taken <= granted)
        return STATUS_OK;
    return refuse(reason, STATUS_NO_CAPACITY,
                  "the KV cache takes %" PRIu64 " bytes where the placement grants %" PRIu64
                  "; remove the model and add it again", taken, granted);
}

/* Where tokens are drawn, at rank 0, and where there are logits: on every rank of a tensor cut, in
 * the last stage of a pipeline. */
static enum status open_sampling(struct rank_world *world, struct reason *reason)
{
    const struct partition *own = &world->partitions[world->rank];
    struct collective *collective = own->stage_ranks > 1 ? world->collective : NULL;
    if (!rank_has_stages(world))
        return rank_sampling_open(world->engine, collective, &world->sampling, reason);
    if (world->rank == 0)
        return rank_sampling_open_first(world->engine,
                                        world->partitions[world->rank_count - 1].stage_ranks,
                                        &world->sampling, reason);
    return own->has_head ? rank_sampling_open_last(world->engine, collective, &world->sampling,
                                                   reason)
                         : STATUS_OK;
}

enum status rank_world_load(struct rank_world *world, const char *directory,
                            void (*progressed)(void *context, uint64_t have, uint64_t total),
                            void *context, struct reason *reason)
{
    for (uint32_t i = 0; i < world->rank_count; i++)
        world->partitions[i] = partition_of_record(&world->instance, i);
    world->reading.step = "read config.json";
    world->reading.file = "config.json";
    enum status status = model_config_read(directory, &world->config, reason);
    world->reading.file = NULL;
    if (status == STATUS_OK)
        status = load_shard(world, directory, progressed, context, reason);
    if (status != STATUS_OK)
        return status;
    if (world->rank >= world->rank_count) { /* what it had to give is given */
        weight_load_close(&world->load);
        return STATUS_OK;
    }
    if (world->instance.sharding == SHARDING_PIPELINE_TENSOR)
        status = rank_stages_narrow(world, reason);
    else if (world->rank_count < world->instance.ranks.count)
        status = world->collective->ops->narrow(world->collective, 0, world->rank_count, reason);
    if (status != STATUS_OK)
        return status;
    world->model = (struct engine_model){world->config, world->load.table, world->load.layout,
                                         world->load.files};
    const uint32_t requests = world->instance.requests;
    const struct engine_options options = {
        .mode = world->instance.mode == MODE_EXACT ? ENGINE_EXACT : ENGINE_FAST,
        .threads = world->instance.ranks.items[world->rank].threads,
        .context = world->instance.context,
        .positions = world->instance.positions,
        .sequences = requests < RANK_SEQUENCES_MAX ? requests : RANK_SEQUENCES_MAX,
        .kv_format = (enum kv_format)world->instance.kv_format,
        .observe = mark_layer,
        .observer = world,
        .collective =
            world->partitions[world->rank].stage_ranks > 1 ? world->collective : NULL};
    world->reading.step = "opened its engine";
    status = engine_open(&world->model, &world->partitions[world->rank], world->load.shard,
                         &options, &world->engine, reason);
    if (status == STATUS_OK)
        status = check_granted(world, reason);
    if (status != STATUS_OK)
        return status;
    status = open_sampling(world, reason);
    if (status != STATUS_OK)
        return status;
    world->hidden =
        memory_zeroed((size_t)STEP_ROWS_MAX * engine_hidden(world->engine), sizeof(float));
    return world->hidden ? STATUS_OK
                         : refuse(reason, STATUS_NO_MEMORY, "no memory for hidden states");
}

void rank_world_close(struct rank_world *world)
{
    message_fini(&world->step);
    rank_sampling_close(world->sampling);
    engine_close(world->engine);
    memory_free(world->band.items);
    weight_load_close(&world->load);
    memory_free(world->hidden);
    model_config_free(world->config);
    record_fini(&instance_record_type, &world->instance);
}

/* ---- messages to siblings ---- */

enum status rank_tell(struct rank_world *world, uint32_t rank, struct message *message)
{
    struct sibling_word *word = memory_zeroed(1, sizeof(*word));
    if (!word) {
        message_fini(message);
        return STATUS_NO_MEMORY;
    }
    word->rank = rank;
    word->message = message_take(message);
    world->tell(world->target, word);
    return STATUS_OK;
}

/* ---- rank 0 ---- */

static enum status note_change(struct rank_world *world, uint32_t change, struct reason *reason)
{
    if (world->rank_count == 1)
        return STATUS_OK;
    if (world->change_count == STEP_CHANGES_MAX)
        return refuse(reason, STATUS_BUSY, "too many sequences change in one step");
    world->changes[world->change_count++] = change;
    return STATUS_OK;
}

enum status rank_world_sequence_open(struct rank_world *world, uint32_t *sequence_out,
                                     struct reason *reason)
{
    uint32_t sequence = 0;
    enum status status = engine_sequence_open(world->engine, &sequence, reason);
    if (status != STATUS_OK)
        return status;
    status = note_change(world, 2 * sequence, reason);
    if (status != STATUS_OK) {
        engine_sequence_close(world->engine, sequence);
        return status;
    }
    rank_sampling_forget(world->sampling, sequence);
    *sequence_out = sequence;
    return STATUS_OK;
}

enum status rank_world_sequence_close(struct rank_world *world, uint32_t sequence,
                                      struct reason *reason)
{
    engine_sequence_close(world->engine, sequence);
    return note_change(world, 2 * sequence + 1, reason);
}

/* What goes before each step of a tensor cut, in band.  A few rows go whole with it. */
struct band {
    uint32_t magic;
    uint32_t is_end;
    uint32_t row_count;
    uint32_t change_count;
    uint64_t number;
    uint32_t word_count;
    uint32_t words[BAND_WORDS]; /* the first of them */
};

/* Rows, changes, then what rank_sampling tells. */
static enum status fill_band(struct rank_world *world, const struct engine_row *rows,
                             uint32_t count, const struct rank_ask *asks)
{
    struct words *words = &world->band;
    words->count = 0;
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t row[ROW_WORDS] = {rows[i].sequence, rows[i].position, rows[i].token,
                                         rows[i].wants_logits};
        if (!words_add(words, row, ROW_WORDS))
            return STATUS_NO_MEMORY;
    }
    if (!words_add(words, world->changes, world->change_count))
        return STATUS_NO_MEMORY;
    return count > 0 ? rank_sampling_tell(world->sampling, rows, count, asks, words) : STATUS_OK;
}

static enum status send_band(struct rank_world *world, const struct engine_row *rows,
                             uint32_t count, const struct rank_ask *asks)
{
    enum status status = fill_band(world, rows, count, asks);
    if (status != STATUS_OK)
        return status;
    struct words *words = &world->band;
    struct band band = {.magic = BAND_MAGIC,
                        .is_end = count == 0,
                        .row_count = count,
                        .change_count = world->change_count,
                        .number = world->number,
                        .word_count = (uint32_t)words->count};
    const size_t with = words->count < BAND_WORDS ? words->count : BAND_WORDS;
    const struct collective_ops *ops = world->collective->ops;
    if (with > 0)
        memcpy(band.words, words->items, with * sizeof(uint32_t));
    world->change_count = 0;
    status = ops->broadcast(world->collective, &band, sizeof(band), 0);
    if (status == STATUS_OK && words->count > with)
        status = ops->broadcast(world->collective, words->items + with,
                                (words->count - with) * sizeof(uint32_t), 0);
    return status;
}

uint32_t rank_count_wanted(const struct engine_row *rows, uint32_t count)
{
    uint32_t wanted = 0;
    for (uint32_t i = 0; i < count; i++)
        wanted += rows[i].wants_logits;
    return wanted;
}

/* This rank's part of a tensor cut's step. */
static enum status compute_cut(struct rank_world *world, const struct engine_row *rows,
                               uint32_t count, const struct rank_ask *asks,
                               struct rank_drawn *drawn_out, struct reason *reason)
{
    const struct engine_batch batch = {rows, count, NULL, NULL, NULL};
    const uint32_t wanted = rank_count_wanted(rows, count);
    enum status status = engine_forward_own(world->engine, &batch,
                                            rank_sampling_logits(world->sampling), reason);
    return status == STATUS_OK
               ? rank_sampling_draw(world->sampling, asks, wanted, drawn_out, reason)
               : status;
}

/* To all: they meet in MPI until rank 0 says that it is over. */
static enum status tell_busy(struct rank_world *world)
{
    struct message message;
    enum status status = message_init(&message, MESSAGE_LINK, LINK_STEP_PLANNED);
    if (status != STATUS_OK)
        return status;
    ((struct step_planned *)message.body)->number = world->number;
    return rank_tell(world, RANK_COUNT_MAX, &message);
}

static enum status forward_tensor(struct rank_world *world, const struct engine_row *rows,
                                  uint32_t count, const struct rank_ask *asks,
                                  struct rank_drawn *drawn_out, struct reason *reason)
{
    enum status status = STATUS_OK;
    if (!world->is_busy) {
        world->number++;
        status = tell_busy(world);
        world->is_busy = true;
    }
    if (status == STATUS_OK)
        status = send_band(world, rows, count, asks);
    if (status != STATUS_OK)
        return collective_refuse(world->collective, status, reason, "the ranks lost each other");
    return compute_cut(world, rows, count, asks, drawn_out, reason);
}

static enum status forward_alone(struct rank_world *world, const struct engine_row *rows,
                                 uint32_t count, const struct rank_ask *asks,
                                 struct rank_drawn *drawn_out, struct reason *reason)
{
    const struct engine_batch batch = {rows, count, NULL, NULL,
                                       rank_sampling_logits(world->sampling)};
    const uint32_t wanted = rank_count_wanted(rows, count);
    enum status status = engine_forward(world->engine, &batch, reason);
    return status == STATUS_OK
               ? rank_sampling_draw(world->sampling, asks, wanted, drawn_out, reason)
               : status;
}

enum status rank_world_forward(struct rank_world *world, const struct engine_row *rows,
                               uint32_t count, const struct rank_ask *asks,
                               struct rank_drawn *drawn_out, struct reason *reason)
{
    ASSERT(count > 0 && count <= STEP_ROWS_MAX);
    if (world->rank_count > 1 && world->instance.sharding == SHARDING_TENSOR)
        return forward_tensor(world, rows, count, asks, drawn_out, reason);
    if (rank_has_stages(world))
        return rank_stages_forward(world, rows, count, asks, drawn_out, reason);
    return forward_alone(world, rows, count, asks, drawn_out, reason);
}

enum status rank_world_rest(struct rank_world *world, struct reason *reason)
{
    if (!world->is_busy)
        return STATUS_OK;
    world->is_busy = false;
    const enum status status = send_band(world, NULL, 0, NULL);
    return status == STATUS_OK ? STATUS_OK
                               : collective_refuse(world->collective, status, reason,
                                                   "the ranks lost each other");
}

/* ---- the other ranks ---- */

enum status rank_apply_changes(struct rank_world *world, const uint32_t *changes, uint32_t count,
                               struct reason *reason)
{
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t slot = changes[i] / 2;
        if (changes[i] & 1u) {
            if (!engine_sequence_is_open(world->engine, slot))
                return refuse(reason, STATUS_GAP, "slot %u was closed, which is not open", slot);
            engine_sequence_close(world->engine, slot);
            continue;
        }
        uint32_t opened = 0;
        enum status status = engine_sequence_open(world->engine, &opened, reason);
        if (status != STATUS_OK)
            return status;
        if (opened != slot)
            return refuse(reason, STATUS_GAP, "slot %u was opened where rank 0 opened %u", opened,
                          slot);
        if (world->sampling)
            rank_sampling_forget(world->sampling, slot);
    }
    return STATUS_OK;
}

static bool band_is_sound(const struct rank_world *world, const struct band *band)
{
    const uint32_t told = ROW_WORDS * band->row_count + band->change_count;
    return band->magic == BAND_MAGIC && band->row_count <= STEP_ROWS_MAX &&
           band->change_count <= STEP_CHANGES_MAX && band->number == world->number &&
           band->word_count >= told && band->word_count <= BAND_WORDS_MAX;
}

/* The next step's head and words, these in world->band. */
static enum status take_band(struct rank_world *world, struct band *band_out,
                             struct reason *reason)
{
    struct words *words = &world->band;
    const struct collective_ops *ops = world->collective->ops;
    enum status status = ops->broadcast(world->collective, band_out, sizeof(*band_out), 0);
    if (status != STATUS_OK)
        return collective_refuse(world->collective, status, reason, "the ranks lost each other");
    if (!band_is_sound(world, band_out))
        return refuse(reason, STATUS_GAP, "a step of another busy period came");
    const uint32_t count = band_out->word_count;
    const uint32_t with = count < BAND_WORDS ? count : BAND_WORDS;
    words->count = 0;
    if (!words_add(words, band_out->words, with))
        return STATUS_NO_MEMORY;
    if (count > words->capacity) {
        uint32_t *grown = memory_resized(words->items, count, sizeof(*grown));
        if (!grown)
            return STATUS_NO_MEMORY;
        words->items = grown;
        words->capacity = count;
    }
    words->count = count;
    if (count > with)
        status = ops->broadcast(world->collective, words->items + with,
                                (count - with) * sizeof(uint32_t), 0);
    return status == STATUS_OK ? STATUS_OK
                               : collective_refuse(world->collective, status, reason,
                                                   "the ranks lost each other");
}

static enum status follow_band(struct rank_world *world, bool *is_end_out, struct reason *reason)
{
    struct band band;
    struct engine_row rows[STEP_ROWS_MAX];
    struct rank_ask asks[RANK_SEQUENCES_MAX];
    enum status status = take_band(world, &band, reason);
    if (status != STATUS_OK)
        return status;
    const uint32_t *words = world->band.items;
    const uint32_t told = ROW_WORDS * band.row_count + band.change_count;
    status = rank_apply_changes(world, words + (size_t)ROW_WORDS * band.row_count,
                                band.change_count, reason);
    *is_end_out = band.is_end != 0;
    if (status != STATUS_OK || band.row_count == 0)
        return status;
    for (uint32_t i = 0; i < band.row_count; i++) {
        const uint32_t *row = words + (size_t)ROW_WORDS * i;
        rows[i] = (struct engine_row){row[0], row[2], row[1], row[3] != 0};
    }
    status = rank_sampling_hear(world->sampling, rows, band.row_count, words + told,
                                band.word_count - told, asks, reason);
    if (status == STATUS_OK)
        status = compute_cut(world, rows, band.row_count, asks, NULL, reason);
    /* No page left: every rank finds the same before any sum, and rank 0 plans anew. */
    return status == STATUS_NO_CAPACITY ? STATUS_OK : status;
}

static enum status follow_busy_period(struct rank_world *world, const struct step_planned *body,
                                      bool *has_computed_out, struct reason *reason)
{
    if (body->number != world->number + 1)
        return refuse(reason, STATUS_GAP, "busy period %" PRIu64 " began after %" PRIu64,
                      body->number, world->number);
    world->number = body->number;
    for (bool is_end = false; !is_end;) {
        enum status status = follow_band(world, &is_end, reason);
        if (status != STATUS_OK)
            return status;
        *has_computed_out = true;
    }
    return STATUS_OK;
}

enum status rank_world_follow(struct rank_world *world, const struct message *message,
                              bool *has_computed_out, struct reason *reason)
{
    *has_computed_out = false;
    if (rank_has_stages(world))
        return rank_stages_follow(world, message, has_computed_out, reason);
    return message_is(message, MESSAGE_LINK, LINK_STEP_PLANNED)
               ? follow_busy_period(world, MESSAGE_BODY(message, step_planned), has_computed_out,
                                    reason)
               : refuse(reason, STATUS_GAP, "hidden states came, which no tensor cut sends");
}
