/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Placement over random nodes and models: any order of the nodes gives the same result, every
 * rank fits into what is free, machines share their memory, all units are held exactly once.
 */
#include "actors/master/placement.h"
#include "actors/master/placement_sources.h"
#include "protocol/holdings.h"
#include "protocol/memory.h"
#include "runtime/partition_record.h"
#include "tests/support/check_main.h"
#include "tests/support/seeded.h"

#include <stdio.h>
#include <string.h>

#define NODES_MAX 6u

struct scene {
    struct state state;
    struct placement_node nodes[NODES_MAX];
    uint32_t count;
    struct place_instance request;
};

/* Layers of every kind, in runs. */
static void fill_runs(struct model_shape *shape, struct seeded *seeded)
{
    const uint32_t units = 1 + (uint32_t)seeded_below(seeded, shape->kv_heads);
    const uint32_t per_kv = 1 + (uint32_t)seeded_below(seeded, shape->kv_heads > 1 ? 4 : 2);
    const uint32_t shared = (uint32_t)seeded_below(seeded, 3);
    for (uint32_t left = shape->layers; left > 0;) {
        struct layer_run run = {.layers = 1 + (uint32_t)seeded_below(seeded, left),
                                .mixer = PARTITION_DELTA,
                                .units = units,
                                .mixer_bytes = seeded_below(seeded, 8u << 20),
                                .ffn = PARTITION_FFN + (uint32_t)seeded_below(seeded, 2),
                                .ffn_units = shape->intermediate / 64,
                                .ffn_bytes = seeded_below(seeded, 16u << 20),
                                .shared_units = shared,
                                .shared_bytes = 1u << 20,
                                .whole_bytes = 4096};
        const uint64_t kind = seeded_below(seeded, 4);
        if (kind == 0) {
            run.state_floats = 64 * 65;
        } else {
            run.mixer = kind == 1 ? PARTITION_LATENT : PARTITION_ATTENTION;
            run.heads = 1;
            run.key_dim = 64;
            run.value_dim = kind == 1 ? 0 : 64;
            run.is_shared = kind == 1;
            run.window = kind == 2 ? 128 : 0;
        }
        if (run.mixer == PARTITION_ATTENTION) {
            run.per_kv = per_kv;
            run.unit_heads = 1;
            run.units = shape->kv_heads * run.per_kv;
            run.kv_bytes = seeded_below(seeded, 2u << 20);
        }
        left -= run.layers;
        ck_assert_ptr_nonnull(record_list_push(&layer_run_type, RECORD_LIST(shape->runs), &run,
                                               LAYER_COUNT_MAX));
    }
}

/* A small file, then weights, more of them than a byte has bits now and then. */
static void fill_files(struct model_record *model, struct seeded *seeded)
{
    const uint32_t count = 2 + (uint32_t)seeded_below(seeded, 10);
    for (uint32_t i = 0; i < count; i++) {
        struct file_entry *file =
            record_list_push(&file_entry_type, RECORD_LIST(model->files), NULL, 16);
        char name[16];
        (void)snprintf(name, sizeof(name), "file-%02u", i);
        ck_assert(file && text_set(&file->name, name));
        file->is_weight = i > 0;
        file->size = (1 + seeded_below(seeded, 5)) << 20;
    }
}

/* All, some or none of the weights. */
static void add_holder(struct model_record *model, const struct node_id *node_id,
                       struct seeded *seeded)
{
    const uint64_t kind = seeded_below(seeded, 4);
    uint8_t held[2];
    struct holder_record holder;
    seeded_fill(seeded, held, sizeof(held));
    if (kind == 0)
        return;
    ck_assert(holder_make(model, node_id, kind == 1, &(struct bytes){held, kind == 2 ? 2 : 0},
                          &holder));
    ck_assert_ptr_nonnull(
        record_list_push(&holder_record_type, RECORD_LIST(model->holders), &holder, 64));
    record_fini(&holder_record_type, &holder);
}

static void scene_init(struct scene *scene, struct seeded *seeded)
{
    memset(scene, 0, sizeof(*scene));
    state_init(&scene->state);
    scene->count = 1 + (uint32_t)seeded_below(seeded, NODES_MAX);
    for (uint32_t i = 0; i < scene->count; i++) {
        struct node_record *node = record_list_push(
            &node_record_type, RECORD_LIST(scene->state.nodes), NULL, NODE_COUNT_MAX);
        seeded_fill(seeded, &node->node_id, sizeof(node->node_id));
        node->machine_id.bytes[0] = (uint8_t)seeded_below(seeded, NODES_MAX);
        node->cores = 1 + (uint32_t)seeded_below(seeded, 16);
    }
    struct model_record *model = record_list_push(
        &model_record_type, RECORD_LIST(scene->state.models), NULL, MODEL_COUNT_MAX);
    ck_assert(text_set(&model->model_id, "m") && text_set(&scene->request.model_id, "m"));
    model->shape = (struct model_shape){.layers = 1 + (uint32_t)seeded_below(seeded, 40),
                                        .kv_heads = 1 + (uint32_t)seeded_below(seeded, 8),
                                        .vocab = 1000 + (uint32_t)seeded_below(seeded, 1000),
                                        .context = 40960,
                                        .embedding_bytes = 50u << 20,
                                        .norm_bytes = 4096};
    model->shape.intermediate = 64 * (1 + (uint32_t)seeded_below(seeded, 64));
    if (seeded_below(seeded, 2)) { /* work for few ranks */
        model->shape.intermediate = 64 * (1 + (uint32_t)seeded_below(seeded, 3));
        model->shape.kv_heads = 1;
    }
    fill_runs(&model->shape, seeded);
    model->shape.tied = seeded_below(seeded, 2);
    model->shape.head_bytes = model->shape.tied ? 0 : 50u << 20;
    fill_files(model, seeded);
    for (uint32_t i = 0; i < scene->count; i++) {
        add_holder(model, &scene->state.nodes.items[i].node_id, seeded);
        /* Nodes of one machine see the same memory. */
        scene->nodes[i] = (struct placement_node){.node = &scene->state.nodes.items[i],
                                                  .memory_free = seeded_below(seeded, 2048u << 20),
                                                  .is_heard = seeded_below(seeded, 8) != 0};
        for (uint32_t k = 0; k < i; k++)
            if (ID_EQUAL(scene->nodes[k].node->machine_id, scene->nodes[i].node->machine_id))
                scene->nodes[i].memory_free = scene->nodes[k].memory_free;
    }
    scene->request.any_sharding = true;
    scene->request.nodes_min = (uint32_t)seeded_below(seeded, 3);
    scene->request.context = seeded_below(seeded, 2) ? 2048 : 0;
    scene->request.requests = (uint32_t)seeded_below(seeded, 3);
    scene->request.mode = seeded_below(seeded, 2) ? MODE_FAST : MODE_EXACT;
    if (scene->request.mode == MODE_FAST)
        scene->request.kv_format = seeded_below(seeded, 2) ? KV_INT8 : KV_FORMAT_NONE;
}

static void scene_fini(struct scene *scene)
{
    state_fini(&scene->state);
    record_fini(&place_instance_type, &scene->request);
}

static const struct placement_node *node_at(const struct scene *scene, const struct node_id *id)
{
    for (uint32_t i = 0; i < scene->count; i++)
        if (ID_EQUAL(scene->nodes[i].node->node_id, *id))
            return &scene->nodes[i];
    ck_abort_msg("a rank on a node that is not here");
}

static void check_budget(const struct scene *scene, const struct rank_record *ranks, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct placement_node *node = node_at(scene, &ranks[i].node_id);
        uint64_t used = 0;
        ck_assert(node->is_heard);
        ck_assert_uint_ge(ranks[i].threads, 1);
        for (uint32_t k = 0; k < count; k++)
            if (ID_EQUAL(node_at(scene, &ranks[k].node_id)->node->machine_id,
                         node->node->machine_id))
                used += ranks[k].weight_bytes + ranks[k].cache_bytes + ranks[k].scratch_bytes;
        ck_assert_uint_le(used, node->memory_free);
    }
}

static void check_units(const struct scene *scene, const struct instance_record *instance)
{
    const struct partition_units units =
        partition_units_of_shape(&scene->state.models.items[0].shape);
    const uint32_t count = instance_computing(instance);
    struct partition partitions[NODES_MAX];
    struct reason reason = {""};
    ck_assert_uint_le(count, NODES_MAX);
    for (uint32_t i = 0; i < count; i++)
        partitions[i] = partition_of_record(instance, i);
    ck_assert_msg(partition_check(partitions, count, &units, &reason) == STATUS_OK, "%s",
                  reason.text);
}

static const struct holder_record *holder_of(const struct model_record *model,
                                             const struct rank_record *rank)
{
    return model_find_holder(model, &rank->node_id);
}

static uint32_t lacking(const struct file_source *source, uint32_t rank_count)
{
    uint32_t count = rank_count;
    for (uint32_t rank = 0; rank < rank_count; rank++)
        count -= (uint32_t)(source->holders >> rank & 1);
    return count;
}

/* No file could go to another rank that holds it and leave the two more even. */
static void check_evenness(const struct model_record *model, const struct instance_record *instance)
{
    const uint32_t ranks = instance_computing(instance);
    uint64_t loads[RANK_COUNT_MAX] = {0};
    uint64_t largest = 0;
    bool are_all_alike = true;
    for (uint32_t i = 0; i < instance->sources.count; i++) {
        const struct file_source *source = &instance->sources.items[i];
        const uint64_t burden =
            model->files.items[i + 1].size * lacking(source, ranks);
        loads[source->rank] += burden;
        largest = burden > largest ? burden : largest;
        are_all_alike = are_all_alike && source->holders == instance->sources.items[0].holders;
    }
    for (uint32_t i = 0; i < instance->sources.count; i++) {
        const struct file_source *source = &instance->sources.items[i];
        const uint64_t burden = model->files.items[i + 1].size * lacking(source, ranks);
        const bool is_of_ranks = lacking(source, ranks) < ranks;
        for (uint32_t rank = 0; rank < instance->ranks.count; rank++) {
            if ((source->holders >> rank & 1) == 0 || burden == 0 ||
                (rank >= ranks && is_of_ranks))
                continue;
            ck_assert_uint_ge(loads[rank] + burden, loads[source->rank]);
            if (are_all_alike)
                ck_assert_uint_le(loads[source->rank], loads[rank] + largest);
        }
    }
}

/* Who only sends keeps nothing, sends something, and only what no rank has. */
static void check_senders(const struct instance_record *instance)
{
    const uint32_t ranks = instance_computing(instance);
    for (uint32_t i = 0; i < instance->ranks.count; i++) {
        const struct rank_record *rank = &instance->ranks.items[i];
        uint32_t files = 0;
        ck_assert_int_eq(rank->is_source, i >= ranks);
        if (!rank->is_source)
            continue;
        ck_assert_uint_gt(ranks, 1);
        ck_assert_uint_eq(rank->weight_bytes + rank->cache_bytes + rank->layer_end, 0);
        for (uint32_t k = 0; k < instance->sources.count; k++) {
            const struct file_source *source = &instance->sources.items[k];
            files += source->rank == i;
            ck_assert(source->rank != i || lacking(source, ranks) == ranks);
        }
        ck_assert_uint_gt(files, 0);
    }
}

/* Every weight file has one source, which holds it, and is said to be read by those who hold it. */
static void check_sources(const struct model_record *model, const struct instance_record *instance)
{
    uint32_t at = 0;
    if (instance->status == INSTANCE_COPYING) {
        ck_assert_uint_eq(instance->sources.count, 0);
        return;
    }
    for (uint32_t i = 0; i < model->files.count; i++) {
        const struct file_entry *file = &model->files.items[i];
        if (!file->is_weight)
            continue;
        ck_assert_uint_lt(at, instance->sources.count);
        const struct file_source *source = &instance->sources.items[at++];
        ck_assert_str_eq(source->name, file->name);
        ck_assert_uint_lt(source->rank, instance->ranks.count);
        for (uint32_t rank = 0; rank < instance->ranks.count; rank++) {
            const bool has_it = holder_has_file(holder_of(model, &instance->ranks.items[rank]), i);
            ck_assert_int_eq(source->holders >> rank & 1, has_it);
            ck_assert(has_it || source->rank != rank);
        }
    }
    ck_assert_uint_eq(at, instance->sources.count);
    check_senders(instance);
    check_evenness(model, instance);
}

/* All of it, by those that are heard. */
static bool is_held_here(const struct scene *scene)
{
    const struct model_record *model = &scene->state.models.items[0];
    for (uint32_t i = 0; i < model->files.count; i++) {
        bool is_held = !model->files.items[i].is_weight;
        for (uint32_t k = 0; k < scene->count; k++)
            is_held = is_held ||
                      (scene->nodes[k].is_heard &&
                       holder_has_file(
                           model_find_holder(model, &scene->nodes[k].node->node_id), i));
        if (!is_held)
            return false;
    }
    return true;
}

static void check_refusal(const struct scene *scene, enum status status)
{
    ck_assert_int_eq(status, is_held_here(scene) ? STATUS_NO_CAPACITY : STATUS_NO_HOLDER);
}

START_TEST(any_nodes_are_used_within_their_means)
{
    struct seeded seeded = seeded_open(1);
    uint32_t placed = 0;
    uint32_t with_source = 0;
    for (int turn = 0; turn < 4000; turn++) {
        struct scene scene;
        struct instance_record a = {.model_id = NULL};
        struct instance_record b = {.model_id = NULL};
        struct reason reason = {""};
        scene_init(&scene, &seeded);
        struct placement_question question = {.state = &scene.state,
                                                    .request = &scene.request,
                                                    .nodes = scene.nodes,
                                                    .node_count = scene.count};
        enum status status = placement_choose(&question, &a, &reason);
        if (status == STATUS_OK) {
            placed++;
            check_budget(&scene, a.ranks.items, a.ranks.count);
            check_units(&scene, &a);
            ck_assert_uint_ge(instance_computing(&a),
                              scene.request.nodes_min ? scene.request.nodes_min : 1);
            with_source += instance_computing(&a) < a.ranks.count;
            ck_assert_uint_ge(a.context, PLACEMENT_CONTEXT_LEAST);
            ck_assert_uint_ge(a.positions, a.context);
            ck_assert_uint_ge(a.requests, 1);
            ck_assert_uint_eq(a.kv_format, scene.request.mode == MODE_EXACT ? KV_F32
                                           : scene.request.kv_format       ? KV_INT8
                                                                           : KV_BF16);
            check_sources(&scene.state.models.items[0], &a);
            if (scene.request.context)
                ck_assert_uint_eq(a.context, scene.request.context);
        } else {
            ck_assert_str_ne(reason.text, "");
            check_refusal(&scene, status);
        }
        for (uint32_t i = 0; i < scene.count; i++) {
            uint32_t other = (uint32_t)seeded_below(&seeded, scene.count);
            const struct placement_node kept = scene.nodes[i];
            scene.nodes[i] = scene.nodes[other];
            scene.nodes[other] = kept;
        }
        ck_assert_int_eq(placement_choose(&question, &b, &reason), status);
        ck_assert(record_equal(&instance_record_type, &a, &b));
        record_fini(&instance_record_type, &a);
        record_fini(&instance_record_type, &b);
        scene_fini(&scene);
    }
    ck_assert_uint_gt(placed, 500);
    ck_assert_uint_gt(with_source, 0);
}
END_TEST

/* Prompt and answer are told in messages of so many ids: no more of a context is of use; and of a
 * model no more than it was made for.  Whoever asks for more by name is told the limit. */
START_TEST(a_context_beyond_the_limit_is_refused_with_it)
{
    struct seeded seeded = seeded_open(3);
    for (int turn = 0; turn < 100; turn++) {
        struct scene scene;
        struct instance_record instance = {.model_id = NULL};
        struct reason reason = {""};
        const bool is_of_model = turn % 2;
        const uint32_t most = is_of_model ? 40960 : TOKEN_IDS_MAX;
        char limit[32];
        scene_init(&scene, &seeded);
        scene.state.models.items[0].shape.context = is_of_model ? most : 4 * TOKEN_IDS_MAX;
        scene.request.context = turn < 50 ? 4000000000u : most + 1;
        const struct placement_question question = {.state = &scene.state,
                                                    .request = &scene.request,
                                                    .nodes = scene.nodes,
                                                    .node_count = scene.count};
        ck_assert_int_eq(placement_choose(&question, &instance, &reason), STATUS_INVALID);
        (void)snprintf(limit, sizeof(limit), "the %u %s", most,
                       is_of_model ? "the model" : "that a request");
        ck_assert_msg(strstr(reason.text, limit) != NULL, "%s", reason.text);
        record_fini(&instance_record_type, &instance);
        scene_fini(&scene);
    }
}
END_TEST

START_TEST(a_context_at_the_limit_is_granted)
{
    struct seeded seeded = seeded_open(3);
    unsigned placed = 0;
    for (int turn = 0; turn < 200; turn++) {
        struct scene scene;
        struct instance_record instance = {.model_id = NULL};
        struct reason reason = {""};
        scene_init(&scene, &seeded);
        scene.state.models.items[0].shape.context = 4 * TOKEN_IDS_MAX;
        scene.request.context = TOKEN_IDS_MAX;
        for (uint32_t i = 0; i < scene.count; i++)
            scene.nodes[i].memory_free = (uint64_t)1 << 40;
        const struct placement_question question = {.state = &scene.state,
                                                    .request = &scene.request,
                                                    .nodes = scene.nodes,
                                                    .node_count = scene.count};
        if (placement_choose(&question, &instance, &reason) == STATUS_OK) {
            placed++;
            ck_assert_uint_eq(instance.context, TOKEN_IDS_MAX);
        }
        record_fini(&instance_record_type, &instance);
        scene_fini(&scene);
    }
    ck_assert_uint_gt(placed, 50);
}
END_TEST

START_TEST(a_model_without_units_is_refused)
{
    struct seeded seeded = seeded_open(2);
    for (int turn = 0; turn < 100; turn++) {
        struct scene scene;
        struct instance_record instance = {.model_id = NULL};
        struct reason reason = {""};
        scene_init(&scene, &seeded);
        record_fini(&model_shape_type, &scene.state.models.items[0].shape);
        memset(&scene.state.models.items[0].shape, 0, sizeof(struct model_shape));
        const struct placement_question question = {.state = &scene.state,
                                                    .request = &scene.request,
                                                    .nodes = scene.nodes,
                                                    .node_count = scene.count};
        ck_assert_int_ne(placement_choose(&question, &instance, &reason), STATUS_OK);
        record_fini(&instance_record_type, &instance);
        scene_fini(&scene);
    }
}
END_TEST

static bool one_holds_all(const struct instance_record *instance)
{
    for (uint32_t i = 0; i < instance->ranks.count; i++)
        if (instance->ranks.items[i].has_weights)
            return true;
    return false;
}

/* Of one rank alone: it holds all. */
static bool together_hold(const struct model_record *model, const struct instance_record *instance)
{
    if (one_holds_all(instance))
        return true;
    for (uint32_t i = 0; i < model->files.count; i++) {
        bool is_held = !model->files.items[i].is_weight;
        for (uint32_t rank = 0; rank < instance->ranks.count; rank++)
            is_held =
                is_held || holder_has_file(holder_of(model, &instance->ranks.items[rank]), i);
        if (!is_held)
            return false;
    }
    return instance->ranks.count > 1;
}

/* Nodes that do not hold the model, not even together: the first gets a copy, from those that
 * hold it and are here.  Several that hold it together need none. */
START_TEST(nodes_without_the_model_get_a_copy_and_those_that_share_it_need_none)
{
    struct seeded seeded = seeded_open(4);
    uint32_t copied = 0;
    uint32_t parted = 0;
    for (int turn = 0; turn < 2000; turn++) {
        struct scene scene;
        struct instance_record instance = {.model_id = NULL};
        struct reason reason = {""};
        scene_init(&scene, &seeded);
        struct model_record *model = &scene.state.models.items[0];
        model->manifest.bytes[0] = 1;
        const struct node_record *named = scene.nodes[seeded_below(&seeded, scene.count)].node;
        if (seeded_below(&seeded, 2)) {
            ck_assert(bytes_set(&scene.request.node_ids, &named->node_id, 16));
            scene.request.nodes_min = 0;
        }
        const struct placement_question question = {.state = &scene.state,
                                                    .request = &scene.request,
                                                    .nodes = scene.nodes,
                                                    .node_count = scene.count};
        const bool is_held = is_held_here(&scene);
        const enum status status = placement_choose(&question, &instance, &reason);
        if (status == STATUS_OK) {
            const bool has_all = together_hold(model, &instance);
            check_budget(&scene, instance.ranks.items, instance.ranks.count);
            ck_assert(is_held);
            ck_assert_int_eq(instance.status == INSTANCE_COPYING, !has_all);
            check_sources(model, &instance);
            copied += !has_all;
            parted += has_all && !one_holds_all(&instance);
            if (!has_all)
                ck_assert_msg(strstr(instance.why, "copied to") != NULL, "%s", instance.why);
        } else if (!is_held && !strstr(reason.text, "leave it out")) {
            ck_assert_int_eq(status, STATUS_NO_HOLDER);
        }
        record_fini(&instance_record_type, &instance);
        scene_fini(&scene);
    }
    ck_assert_uint_gt(copied, 100);
    ck_assert_uint_gt(parted, 20);
}
END_TEST

static bool are_alike(const struct candidate *a, const struct candidate *b)
{
    bool alike = a->sharding == b->sharding && a->ranks.count == b->ranks.count;
    for (uint32_t i = 0; alike && i < a->ranks.count; i++)
        alike = record_equal(&rank_record_type, &a->ranks.items[i], &b->ranks.items[i]);
    return alike && (a->ranks.count > 0 || strcmp(a->why, b->why) == 0);
}

START_TEST(no_cut_is_offered_twice)
{
    struct seeded seeded = seeded_open(3);
    uint32_t tensor_cuts = 0;
    for (int turn = 0; turn < 1000; turn++) {
        struct scene scene;
        struct candidates_listed listed = {.model_id = NULL};
        struct reason reason = {""};
        scene_init(&scene, &seeded);
        /* Every second time of like memory, where shares by memory are equal shares. */
        for (uint32_t i = 0; i < scene.count && turn % 2; i++)
            scene.nodes[i].memory_free = 2048u << 20;
        const struct placement_question question = {.state = &scene.state,
                                                    .request = &scene.request,
                                                    .nodes = scene.nodes,
                                                    .node_count = scene.count};
        if (placement_candidates(&question, &listed, &reason) == STATUS_OK)
            for (uint32_t i = 0; i < listed.candidates.count; i++) {
                const struct candidate *one = &listed.candidates.items[i];
                tensor_cuts += one->sharding == SHARDING_TENSOR;
                for (uint32_t k = 0; k < i; k++)
                    if (one->ranks.count != 1)
                        ck_assert(!are_alike(one, &listed.candidates.items[k]));
            }
        record_fini(&candidates_listed_type, &listed);
        scene_fini(&scene);
    }
    ck_assert_uint_gt(tensor_cuts, 100);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("placement");
    const TTest *const tests[] = {
        any_nodes_are_used_within_their_means,
        a_context_beyond_the_limit_is_refused_with_it,
        a_context_at_the_limit_is_granted,
        a_model_without_units_is_refused,
        nodes_without_the_model_get_a_copy_and_those_that_share_it_need_none,
        no_cut_is_offered_twice};
    suite_add(suite, "placement", tests, COUNT_OF(tests));
    return suite;
}
