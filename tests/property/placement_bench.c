/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prints how long a placement over 64 nodes takes, all kinds, for shapes of few and of many units:
 * what scripts/bars/04-placement holds to 50 ms.  The least of a few turns, as whatever else runs
 * only adds.
 */
#include "actors/master/placement.h"
#include "protocol/memory.h"
#include "runtime/clock.h"
#include "runtime/link_view.h"
#include "runtime/partition.h"

#include <stdio.h>
#include <string.h>

#define TURNS 9

struct shape_row {
    const char *name;
    uint32_t layers;
    uint32_t heads;
    uint32_t per_kv;
    uint32_t ffn_units;
    uint64_t layer_bytes;
};

static bool add_model(struct state *state, const struct shape_row *row)
{
    struct model_record *model =
        record_list_push(&model_record_type, RECORD_LIST(state->models), NULL, MODEL_COUNT_MAX);
    struct file_entry *file =
        model ? record_list_push(&file_entry_type, RECORD_LIST(model->files), NULL, 4) : NULL;
    if (!file || !text_set(&model->model_id, row->name) || !text_set(&file->name, "weights"))
        return false;
    file->is_weight = true;
    file->size = row->layer_bytes * row->layers;
    model->manifest.bytes[0] = 1;
    model->shape = (struct model_shape){.layers = row->layers,
                                        .hidden = 4096,
                                        .heads = row->heads,
                                        .kv_heads = row->heads / row->per_kv,
                                        .intermediate = row->ffn_units * 64,
                                        .vocab = 151936,
                                        .context = 40960,
                                        .embedding_bytes = 350u << 20,
                                        .head_bytes = 350u << 20,
                                        .weight_bytes = row->layer_bytes * row->layers};
    const struct layer_run run = {.layers = row->layers,
                                  .mixer = PARTITION_ATTENTION,
                                  .units = row->heads,
                                  .unit_heads = 1,
                                  .per_kv = row->per_kv,
                                  .heads = 1,
                                  .key_dim = 128,
                                  .value_dim = 128,
                                  .mixer_bytes = row->layer_bytes / 4,
                                  .kv_bytes = row->layer_bytes / 16,
                                  .ffn = PARTITION_FFN,
                                  .ffn_units = row->ffn_units,
                                  .ffn_bytes = row->layer_bytes / 2,
                                  .whole_bytes = 1u << 20};
    return record_list_push(&layer_run_type, RECORD_LIST(model->shape.runs), &run,
                            LAYER_COUNT_MAX) != NULL;
}

/* Every second one holds the model; no two have the same memory. */
static bool add_nodes(struct state *state, struct placement_node nodes[NODE_COUNT_MAX],
                      struct links_listed *links, uint64_t memory)
{
    struct model_record *model = &state->models.items[0];
    for (uint32_t i = 0; i < NODE_COUNT_MAX; i++) {
        struct node_record *node =
            record_list_push(&node_record_type, RECORD_LIST(state->nodes), NULL, NODE_COUNT_MAX);
        if (!node)
            return false;
        node->node_id.bytes[0] = (uint8_t)(i + 1);
        node->machine_id.bytes[0] = (uint8_t)(i + 1);
        node->cores = 4 + i % 5;
    }
    for (uint32_t i = 0; i < NODE_COUNT_MAX; i++) {
        const struct node_record *node = &state->nodes.items[i];
        const struct holder_record holder = {.node_id = node->node_id, .has_weights = true};
        struct links_measured *row =
            record_list_push(&links_measured_type, RECORD_LIST(links->rows), NULL, NODE_COUNT_MAX);
        if (!row || (i % 2 && !record_list_push(&holder_record_type, RECORD_LIST(model->holders),
                                                &holder, NODE_COUNT_MAX)))
            return false;
        row->node_id = node->node_id;
        nodes[i] = (struct placement_node){.node = node,
                                           .memory_free = memory / (i % 7 + 1) + i * 4096,
                                           .disk_free = UINT64_MAX,
                                           .is_heard = true};
        for (uint32_t k = 0; k < NODE_COUNT_MAX; k++) {
            const struct link_measured link = {.node_id = state->nodes.items[k].node_id,
                                               .reaches = true,
                                               .latency_us = 100 + (i * 37 + k * 11) % 400,
                                               .bytes_per_s = 100000000};
            if (!record_list_push(&link_measured_type, RECORD_LIST(row->links), &link,
                                  NODE_COUNT_MAX))
                return false;
        }
    }
    return true;
}

static bool run(const struct shape_row *row, const char *what, uint64_t memory)
{
    struct state state;
    struct placement_node nodes[NODE_COUNT_MAX];
    struct links_listed links = {.rows = {NULL, 0}};
    struct place_instance request = {.any_sharding = true};
    struct reason reason = {""};
    uint64_t took[TURNS];
    uint32_t found = 0;
    state_init(&state);
    bool ok = add_model(&state, row) && add_nodes(&state, nodes, &links, memory) &&
              text_set(&request.model_id, row->name);
    const struct placement_question question = {.state = &state,
                                                .request = &request,
                                                .nodes = nodes,
                                                .node_count = NODE_COUNT_MAX,
                                                .links = &links};
    for (int turn = 0; turn < TURNS && ok; turn++) {
        struct candidates_listed listed = {.model_id = NULL};
        const uint64_t start_us = clock_now_us();
        ok = placement_candidates(&question, &listed, &reason) == STATUS_OK;
        const uint64_t us = clock_now_us() - start_us;
        int at = turn;
        for (; at > 0 && took[at - 1] > us; at--)
            took[at] = took[at - 1];
        took[at] = us;
        found = listed.candidates.count + listed.left_off;
        record_fini(&candidates_listed_type, &listed);
    }
    if (ok)
        (void)printf("%-14s %-6s 64 nodes, %u candidates: %.1f ms\n", row->name, what, found,
                     (double)took[0] / 1e3);
    else
        (void)fprintf(stderr, "%s: %s\n", row->name, reason.text);
    record_fini(&place_instance_type, &request);
    record_fini(&links_listed_type, &links);
    state_fini(&state);
    return ok;
}

int main(void)
{
    static const struct shape_row rows[] = {{"small", 28, 16, 2, 48, 12u << 20},
                                            {"large", 64, 64, 8, 400, 300u << 20},
                                            {"deep", 126, 128, 16, 832, 2000u << 20}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const uint64_t bytes = rows[i].layer_bytes * rows[i].layers;
        if (!run(&rows[i], "tight", bytes / 16) || !run(&rows[i], "roomy", bytes * 4))
            return 1;
    }
    return 0;
}
