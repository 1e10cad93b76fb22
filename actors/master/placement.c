/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/placement.h"

#include "actors/master/placement_attempt.h"
#include "actors/master/placement_order.h"
#include "protocol/holdings.h"

#include <stdio.h>
#include <string.h>

/* There are not as many nodes as were asked for. */
static enum status refuse_number(const struct placement_question *question,
                                 const struct model_record *model, struct reason *reason)
{
    const struct place_instance *request = question->request;
    const struct attempt attempt = {.question = question, .model = model};
    const struct placement_node *nodes[NODE_COUNT_MAX];
    const uint32_t usable = attempt_nodes(&attempt, nodes);
    const bool are_several = !request->any_sharding && request->sharding != SHARDING_NONE;
    const uint32_t least = are_several ? 2 : 1;
    const uint32_t asked = request->nodes_min > least ? request->nodes_min : least;
    char nearest[64] = "troupe nodes shows who is here";
    if (usable == 1)
        (void)snprintf(nearest, sizeof(nearest), "leave number and sharding out, for one node");
    else if (usable > 1)
        (void)snprintf(nearest, sizeof(nearest), "ask for at most %u", usable);
    return refuse(reason, STATUS_NO_CAPACITY,
                  "%.100s cannot be placed: not enough nodes are here; at least %u were asked for "
                  "and %u can take part now; %s",
                  text_or_empty(model->model_id), asked, usable, nearest);
}

/* Why nothing is possible, in the words of the one who asked. */
static enum status refuse_all(const struct placement_question *question,
                              const struct model_record *model,
                              const struct candidates_listed *listed, struct reason *reason)
{
    const uint32_t file = placement_file_missing(question, model);
    bool is_part_here = false;
    for (uint32_t i = 0; i < question->node_count; i++) {
        const struct holder_record *holder =
            model_find_holder(model, &question->nodes[i].node->node_id);
        is_part_here = is_part_here || (question->nodes[i].is_heard && holder &&
                                        holder_weight_bytes(model, holder) > 0);
    }
    if (file == model->files.count && model->files.count > 0 && listed->candidates.count == 0)
        return refuse_number(question, model, reason);
    if (file == model->files.count && model->files.count > 0)
        return refuse(reason, STATUS_NO_CAPACITY, "%.100s cannot be placed: %.380s",
                      text_or_empty(model->model_id),
                      text_or_empty(listed->candidates.items[0].why));
    if (is_part_here)
        return refuse(reason, STATUS_NO_HOLDER, "no node that is here holds %.100s of %.100s",
                      text_or_empty(model->files.items[file].name),
                      text_or_empty(model->model_id));
    return refuse(reason, STATUS_NO_HOLDER, "no node that is here holds %.100s",
                  text_or_empty(model->model_id));
}

enum status placement_candidates(const struct placement_question *question,
                                 struct candidates_listed *listed_out, struct reason *reason)
{
    const char *model_id = text_or_empty(question->request->model_id);
    struct attempt attempt = {.question = question,
                              .model = state_find_model(question->state, model_id)};
    if (!attempt.model)
        return refuse(reason, STATUS_NOT_FOUND,
                      "no model %.100s here; add one with troupe add DIRECTORY", model_id);
    if (!placement_shape_is_whole(&attempt.model->shape))
        return refuse(reason, STATUS_MALFORMED,
                      "what is known of %.100s lacks its layers; remove the model and add it again",
                      model_id);
    enum status status = attempt_check(&attempt, reason);
    if (status != STATUS_OK)
        return status;
    struct candidates_listed listed = {.model_id = NULL};
    status = text_set(&listed.model_id, model_id) ? STATUS_OK : STATUS_NO_MEMORY;
    if (status == STATUS_OK)
        status = attempt_all_kinds(&attempt, &listed);
    if (status == STATUS_OK)
        candidates_sort(question, &listed);
    if (status == STATUS_OK && listed.candidates.count > 0 &&
        listed.candidates.items[0].is_possible)
        status = attempt_describe_left_out(&attempt, &listed.candidates.items[0]);
    if (status == STATUS_OK && listed.candidates.count == 0)
        status = refuse_all(question, attempt.model, &listed, reason);
    if (status != STATUS_OK) {
        record_fini(&candidates_listed_type, &listed);
        return status;
    }
    while (listed.candidates.count > CANDIDATE_COUNT_MAX) {
        record_list_remove(&candidate_type, RECORD_LIST(listed.candidates),
                           listed.candidates.count - 1);
        listed.left_off++;
    }
    *listed_out = listed;
    return STATUS_OK;
}

enum status placement_choose(const struct placement_question *question,
                             struct instance_record *instance_out, struct reason *reason)
{
    struct candidates_listed listed;
    enum status status = placement_candidates(question, &listed, reason);
    if (status != STATUS_OK)
        return status;
    const struct model_record *model =
        state_find_model(question->state, text_or_empty(question->request->model_id));
    if (!listed.candidates.items[0].is_possible) {
        status = refuse_all(question, model, &listed, reason);
        record_fini(&candidates_listed_type, &listed);
        return status;
    }
    const struct candidate *best = &listed.candidates.items[0];
    instance_out->sharding = best->sharding;
    instance_out->mode = best->mode;
    instance_out->context = best->context;
    instance_out->positions = best->positions;
    instance_out->requests = best->requests;
    instance_out->reserve = attempt_settings(&(struct attempt){.question = question})->reserve;
    instance_out->kv_format = best->kv_format;
    instance_out->revision = model->revision;
    instance_out->is_asymmetric = best->is_asymmetric;
    instance_out->is_upgraded = best->is_upgraded;
    instance_out->tokens_per_s = best->tokens_per_s;
    instance_out->first_token_s = best->first_token_s;
    instance_out->load_s = best->load_s;
    for (uint32_t i = 0; status == STATUS_OK && i < best->ranks.count; i++)
        if (!record_list_push(&rank_record_type, RECORD_LIST(instance_out->ranks),
                              &best->ranks.items[i], RANK_COUNT_MAX))
            status = STATUS_NO_MEMORY;
    instance_out->status = ID_IS_ZERO(best->copied_to) ? INSTANCE_STARTING : INSTANCE_COPYING;
    for (uint32_t i = 0; status == STATUS_OK && i < best->sources.count; i++)
        if (!record_list_push(&file_source_type, RECORD_LIST(instance_out->sources),
                              &best->sources.items[i], MODEL_FILE_COUNT_MAX))
            status = STATUS_NO_MEMORY;
    if (status == STATUS_OK && !text_set(&instance_out->why, best->why))
        status = STATUS_NO_MEMORY;
    record_fini(&candidates_listed_type, &listed);
    return status;
}
