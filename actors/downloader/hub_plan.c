/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/downloader/hub_plan.h"

#include "protocol/memory.h"

#include <stdio.h>
#include <string.h>

static bool is_here(const struct state *state, const struct node_id *node_id)
{
    const struct node_record *node = state_find_node(state, node_id);
    return node && node->in_view;
}

static bool may_fetch(const struct state *state, const struct download_target *target)
{
    return !target->is_barred && !target->is_mute && is_here(state, &target->node_id);
}

static bool has_fetcher(const struct state *state, const struct download_record *download)
{
    for (uint32_t i = 0; i < download->targets.count; i++)
        if (may_fetch(state, &download->targets.items[i]))
            return true;
    return false;
}

static bool is_fetching(const struct download_record *download, const struct node_id *node_id)
{
    for (uint32_t i = 0; i < download->files.count; i++)
        if (!download->files.items[i].is_done &&
            ID_EQUAL(download->files.items[i].node_id, *node_id))
            return true;
    return false;
}

/* Of a node that the hub gives nothing: can the others still give it all? */
static bool is_hopeless(const struct state *state, const struct download_record *download,
                        const struct download_target *own)
{
    if (!own->is_barred)
        return false;
    if (own->is_alone)
        return true;
    if (has_fetcher(state, download))
        return false;
    for (uint32_t i = 0; i < download->files.count; i++)
        if (!download->files.items[i].is_done ||
            !is_here(state, &download->files.items[i].node_id))
            return true;
    return download->files.count == 0;
}

static enum status fill_files(const struct download_record *download,
                              const struct download_target *own, struct hub_plan *plan)
{
    plan->files = memory_zeroed((size_t)download->files.count + 1, sizeof(*plan->files));
    if (!plan->files)
        return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < download->files.count; i++) {
        const struct download_file *file = &download->files.items[i];
        struct hub_plan_file *planned = &plan->files[plan->count++];
        (void)snprintf(planned->file.path, sizeof(planned->file.path), "%s",
                       text_or_empty(file->path));
        (void)snprintf(planned->file.etag, sizeof(planned->file.etag), "%s",
                       text_or_empty(file->etag));
        planned->file.size = file->size;
        planned->file.is_weight = file->is_weight;
        planned->is_ours =
            !own->is_barred && !own->is_paused &&
            (own->is_alone || own->is_mute || ID_EQUAL(file->node_id, own->node_id));
    }
    return STATUS_OK;
}

enum status hub_plan_of(const struct state *state, const struct node_id *node_id,
                        const char *model_id, struct hub_plan *plan_out)
{
    struct hub_plan plan = {.fetchers = 0};
    const struct download_record *download = state_find_download(state, model_id);
    const struct download_target *own =
        download ? download_find_target(download, node_id) : NULL;
    enum status status = STATUS_OK;
    if (own && (!download->no_peers || own->is_paused)) {
        plan.is_shared = true;
        plan.asks_hub = ID_EQUAL(download->node_id, *node_id) && !own->is_barred;
        plan.is_resolved = text_or_empty(download->commit)[0] != '\0';
        plan.is_barred = own->is_barred;
        plan.is_hopeless = is_hopeless(state, download, own);
        plan.status = (enum status)own->status;
        (void)snprintf(plan.reason.text, sizeof(plan.reason.text), "%s",
                       text_or_empty(own->reason));
        (void)snprintf(plan.commit, sizeof(plan.commit), "%s", text_or_empty(download->commit));
        status = fill_files(download, own, &plan);
        for (uint32_t i = 0; i < download->targets.count; i++)
            plan.fetchers += is_fetching(download, &download->targets.items[i].node_id);
    }
    if (plan.fetchers == 0)
        plan.fetchers = 1;
    if (status == STATUS_OK)
        *plan_out = plan;
    return status;
}

bool hub_plan_is_changed_by(const struct message *event)
{
    switch (event->head.code) {
    case EVENT_DOWNLOAD_REQUESTED:
    case EVENT_DOWNLOAD_RESOLVED:
    case EVENT_DOWNLOAD_ASSIGNED:
    case EVENT_DOWNLOAD_HINDERED:
    case EVENT_DOWNLOAD_PAUSED:
    case EVENT_FILE_DOWNLOADED:
    case EVENT_FILE_LACKING:
    case EVENT_MODEL_IMPORTED:
    case EVENT_MODEL_IMPORT_FAILED:
    case EVENT_MODEL_REMOVED:
    case EVENT_MODEL_PINNED:
    case EVENT_NODE_REMOVED:
    case EVENT_VIEW_CHANGED:
        return true;
    default:
        return false;
    }
}

void hub_plan_fini(struct hub_plan *plan)
{
    memory_free(plan->files);
    memset(plan, 0, sizeof(*plan));
}

/* ---- from the loop to the thread of a pull ---- */

void hub_company_init(struct hub_company *company)
{
    *company = (struct hub_company){.version = 0};
    (void)pthread_mutex_init(&company->mutex, NULL);
}

void hub_company_fini(struct hub_company *company)
{
    hub_plan_fini(&company->plan);
    (void)pthread_mutex_destroy(&company->mutex);
}

void hub_company_put(struct hub_company *company, struct hub_plan *plan)
{
    (void)pthread_mutex_lock(&company->mutex);
    hub_plan_fini(&company->plan);
    company->plan = *plan;
    company->version++;
    (void)pthread_mutex_unlock(&company->mutex);
    memset(plan, 0, sizeof(*plan));
}

bool hub_company_take(struct hub_company *company, uint64_t *version, struct hub_plan *plan)
{
    (void)pthread_mutex_lock(&company->mutex);
    const bool is_newer = company->version > *version;
    const size_t size = ((size_t)company->plan.count + 1) * sizeof(*plan->files);
    struct hub_plan_file *files =
        is_newer && company->plan.files ? memory_copied(company->plan.files, size) : NULL;
    const bool is_taken = is_newer && (files || !company->plan.files);
    if (is_taken) {
        hub_plan_fini(plan);
        *plan = company->plan;
        plan->files = files;
        *version = company->version;
    }
    (void)pthread_mutex_unlock(&company->mutex);
    return is_taken;
}
