/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/hub_rules.h"

#include "actors/master/model_names.h"
#include "protocol/holdings.h"
#include "runtime/rank_shares.h"

#include <stdio.h>
#include <string.h>

bool hub_rules_is_repository(const char *model_id)
{
    const char *slash = strchr(model_id, '/');
    return slash && slash != model_id && slash[1] != '\0' && !strchr(slash + 1, '/');
}

static bool is_named(const struct place_instance *request, const struct node_id *id)
{
    if (request->node_ids.count == 0)
        return true;
    for (uint32_t at = 0; at + sizeof(*id) <= request->node_ids.count; at += (uint32_t)sizeof(*id))
        if (memcmp(request->node_ids.items + at, id, sizeof(*id)) == 0)
            return true;
    return false;
}

static bool is_arriving(const struct state *state, const char *model_id, const struct node_id *node)
{
    const struct download_record *download = state_find_download(state, model_id);
    return state_find_import(state, node, model_id) ||
           (download && download_find_target(download, node));
}

static bool is_preferred(const struct placement_question *question,
                         const struct placement_node *a, const struct placement_node *b)
{
    const char *model_id = text_or_empty(question->request->model_id);
    const bool a_has = is_arriving(question->state, model_id, &a->node->node_id);
    const bool b_has = is_arriving(question->state, model_id, &b->node->node_id);
    if (a_has != b_has)
        return a_has;
    if (a->disk_free != b->disk_free)
        return a->disk_free > b->disk_free;
    return memcmp(&a->node->node_id, &b->node->node_id, sizeof(a->node->node_id)) < 0;
}

enum status hub_rules_place(const struct placement_question *question,
                            struct instance_record *instance_out, struct reason *reason)
{
    const struct place_instance *request = question->request;
    const char *model_id = text_or_empty(request->model_id);
    const struct placement_node *best = NULL;
    char why[SENTENCE_SIZE_MAX];
    const enum status status = model_name_check(question->state, model_id, reason);
    if (status != STATUS_OK)
        return status;
    if (!request->may_download || !hub_rules_is_repository(model_id))
        return refuse(reason, STATUS_NOT_FOUND,
                      "no model %.100s here; add one with troupe add DIRECTORY", model_id);
    for (uint32_t i = 0; i < question->node_count; i++) {
        const struct placement_node *node = &question->nodes[i];
        if (node->is_heard && is_named(request, &node->node->node_id) &&
            (!best || is_preferred(question, node, best)))
            best = node;
    }
    if (!best)
        return refuse(reason, STATUS_NO_CAPACITY,
                      "no node that could download %.100s is heard yet; try again", model_id);
    const struct rank_record rank = {.node_id = best->node->node_id, .share = RANK_SHARE_ALL};
    (void)snprintf(why, sizeof(why), "%.100s is downloaded from the hub to %.60s first%s", model_id,
                   text_or_empty(best->node->name),
                   state_find_model(question->state, model_id) ? ", as no node holds it any more"
                                                               : "");
    instance_out->status = INSTANCE_DOWNLOADING;
    instance_out->mode = request->mode == MODE_EXACT ? MODE_EXACT : MODE_FAST;
    return record_list_push(&rank_record_type, RECORD_LIST(instance_out->ranks), &rank,
                            RANK_COUNT_MAX) &&
                   text_set(&instance_out->why, why)
               ? STATUS_OK
               : STATUS_NO_MEMORY;
}

enum hub_step hub_rules_next(const struct state *state, const struct instance_record *instance)
{
    const char *model_id = text_or_empty(instance->model_id);
    const struct model_record *model = state_find_model(state, model_id);
    if (model && model_is_held(state, model, false, NULL))
        return HUB_IS_THERE;
    if (instance->ranks.count == 0)
        return HUB_IS_THERE; /* to be placed again */
    return is_arriving(state, model_id, &instance->ranks.items[0].node_id) ? HUB_WAITS
                                                                           : HUB_BEGINS;
}

bool hub_rules_is_lost(const struct state *state, const char *model_id)
{
    const struct model_record *model = state_find_model(state, model_id);
    char revision[HEX_SIZE(32)];
    if (!model || !text_or_empty(model->commit)[0] || !hub_rules_is_repository(model_id))
        return false;
    if (model_is_held(state, model, false, NULL))
        return false;
    /* What was taken in from a directory is named by its own digest: no hub has that. */
    (void)hex_print(&model->revision, sizeof(model->revision), revision);
    return strncmp(revision, model->commit, strlen(model->commit)) != 0;
}

void hub_rules_mark(struct message *event)
{
    struct download_record *download = &MESSAGE_BODY(event, download_requested)->download;
    for (uint32_t i = 0; i < download->targets.count; i++)
        download->targets.items[i].is_for_placement = true;
}

/* What joins a download under way has to ask for the same. */
static const char *revision_of(const struct state *state, const char *model_id)
{
    const struct download_record *download = state_find_download(state, model_id);
    if (download)
        return text_or_empty(download->hub_revision);
    return hub_rules_is_lost(state, model_id)
               ? text_or_empty(state_find_model(state, model_id)->commit)
               : "";
}

enum status hub_rules_command(const struct state *state, const struct instance_record *instance,
                              struct message *command_out)
{
    const char *model_id = text_or_empty(instance->model_id);
    ASSERT(instance->ranks.count > 0);
    enum status status = message_init(command_out, MESSAGE_COMMAND, COMMAND_PULL_MODEL);
    if (status != STATUS_OK)
        return status;
    struct pull_model *body = command_out->body;
    body->node_id = instance->ranks.items[0].node_id;
    if (text_set(&body->model_id, model_id) &&
        text_set(&body->hub_revision, revision_of(state, model_id)))
        return STATUS_OK;
    message_fini(command_out);
    return STATUS_NO_MEMORY;
}
