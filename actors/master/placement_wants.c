/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/placement_attempt.h"

#include "runtime/partition_table.h"

#include <string.h>

uint32_t attempt_mode(const struct place_instance *request)
{
    return request->mode == MODE_EXACT ? MODE_EXACT : MODE_FAST;
}

static const struct placement_settings standard = {.requests = 16, .reserve = 4096};

const struct placement_settings *attempt_settings(const struct attempt *attempt)
{
    return attempt->question->settings ? attempt->question->settings : &standard;
}

uint32_t attempt_requests(const struct attempt *attempt)
{
    const uint32_t asked = attempt->question->request->requests;
    const uint32_t usual = attempt_settings(attempt)->requests;
    const uint32_t requests = asked ? asked : usual ? usual : standard.requests;
    return requests < REQUESTS_RUNNING_MAX ? requests : REQUESTS_RUNNING_MAX;
}

enum kv_format attempt_format(const struct attempt *attempt)
{
    const uint32_t asked = attempt->question->request->kv_format;
    const enum kv_format usual = attempt_settings(attempt)->kv_format;
    if (attempt_mode(attempt->question->request) == MODE_EXACT)
        return KV_F32;
    return asked ? (enum kv_format)asked : usual ? usual : KV_BF16;
}

/* What the model was made for, and no more than one request can have. */
uint32_t attempt_context_most(const struct model_record *model)
{
    const uint32_t most = model->shape.context;
    return most > 0 && most < TOKEN_IDS_MAX ? most : TOKEN_IDS_MAX;
}

/* 0: what fits.  The node's setting is for all models: of one made for less it asks less. */
uint32_t attempt_context_asked(const struct attempt *attempt)
{
    const uint32_t asked = attempt->question->request->context;
    return asked ? asked : attempt_settings(attempt)->context;
}

uint32_t attempt_context(const struct attempt *attempt)
{
    const uint32_t asked = attempt_context_asked(attempt);
    const uint32_t most = attempt_context_most(attempt->model);
    const uint32_t context = asked ? asked : PLACEMENT_CONTEXT_DEFAULT;
    return context < most ? context : most;
}

uint32_t attempt_ranks_given(const struct place_instance *request)
{
    return request->shares.count > 0 ? request->shares.count : partition_table_ranks(request);
}

uint32_t attempt_threads(const struct attempt *attempt, uint32_t rank)
{
    const struct placement_node *node = attempt->chosen[rank];
    if (attempt->question->request->threads)
        return attempt->question->request->threads;
    const uint32_t threads = node->node->cores / attempt_sharing(attempt, rank);
    return threads ? threads : 1;
}

bool attempt_holds(const struct attempt *attempt, const struct placement_node *node)
{
    const struct holder_record *holder = model_find_holder(attempt->model, &node->node->node_id);
    return holder && holder->has_weights;
}
