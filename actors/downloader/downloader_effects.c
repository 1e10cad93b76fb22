/* SPDX-License-Identifier: Apache-2.0 */
/*
 * downloader_effects: ends what goes between the downloader's step and its shell.
 */
#include "actors/downloader/downloader.h"

#include "actors/downloader/hub_plan.h"
#include "protocol/memory.h"

void import_request_free(void *request)
{
    struct import_request *import = request;
    if (!import)
        return;
    memory_free(import->model_id);
    memory_free(import->path);
    memory_free(import->hub_revision);
    memory_free(import);
}

void model_record_free(void *record)
{
    if (record)
        record_fini(&model_record_type, record);
    memory_free(record);
}

void import_progressed_free(void *progressed)
{
    if (progressed)
        record_fini(&import_progressed_type, progressed);
    memory_free(progressed);
}

void download_resolved_free(void *resolved)
{
    if (resolved)
        record_fini(&download_resolved_type, resolved);
    memory_free(resolved);
}

void file_downloaded_free(void *downloaded)
{
    if (downloaded)
        record_fini(&file_downloaded_type, downloaded);
    memory_free(downloaded);
}

void download_hindered_free(void *hindered)
{
    if (hindered)
        record_fini(&download_hindered_type, hindered);
    memory_free(hindered);
}

void plan_request_free(void *plan)
{
    if (plan)
        hub_plan_fini(plan);
    memory_free(plan);
}

void store_found_free(void *value)
{
    struct store_found *found = value;
    if (!found)
        return;
    for (uint32_t i = 0; i < found->count; i++)
        record_fini(&model_record_type, &found->models[i].record);
    memory_free(found);
}
