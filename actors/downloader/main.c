/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/actors.h"
#include "actors/downloader/downloader.h"
#include "actors/downloader/downloader_shell.h"
#include "actors/downloader/hub_fetch.h"

#include "runtime/log.h"
#include "runtime/process.h"

#include <stdio.h>
#include <string.h>

static void tell_of_old_store(const struct paths *paths)
{
    char old[sizeof(paths->models) + 32];
    (void)snprintf(old, sizeof(old), "%s/models", paths->home);
    if (strstr(paths->directories, old))
        log_notice("models of an earlier version lie in %s; `troupe add %s/NAME` uses one where it "
                   "lies", old, old);
}

int main(int argc, char **argv)
{
    struct process process;
    struct model_store store;
    struct reason reason = {""};
    enum status status = process_open(&process, ACTOR_DOWNLOADER, argc, argv, NULL, &reason);
    if (status != STATUS_OK)
        return process_failed(&process, status, &reason);
    const struct model_store_places places = model_store_places_of(&process.paths);
    status = model_store_open(&store, &places, "downloader", &reason);
    if (status == STATUS_OK)
        status = hub_fetch_library_open(&reason);
    if (status == STATUS_OK)
        status = process_keep(&process, actor_rights(ACTOR_DOWNLOADER), &reason);
    if (status != STATUS_OK) {
        int failed_code = process_failed(&process, status, &reason);
        process_close(&process);
        return failed_code;
    }
    struct downloader_shell shell = {
        .store = &store,
        .cache = &store.cache,
        .ledgers = process.paths.holdings,
        .connections = (uint32_t)config_number(&process.config, CONFIG_KEY_HUB_CONNECTIONS),
        .tries_max = (uint32_t)config_number(&process.config, CONFIG_KEY_HUB_TRIES),
        .quota = config_number(&process.config, CONFIG_KEY_STORE_QUOTA)};
    const struct session_settings settings = {.actor = ACTOR_DOWNLOADER,
                                              .incarnation = process.incarnation,
                                              .build = process.build,
                                              .wants_events = true};
    tell_of_old_store(&process.paths);
    downloader_shell_init(&shell);
    const struct loop_options options = {.ops = &downloader_ops,
                                         .settings = &settings,
                                         .shell = downloader_shell(&shell)};
    int exit_code = process_run(&process, &options);
    downloader_shell_fini(&shell);
    hub_fetch_library_close();
    model_store_close(&store);
    process_close(&process);
    return exit_code;
}
