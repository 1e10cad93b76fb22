/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/actors.h"
#include "actors/transferer/transferer_shell.h"

#include "protocol/memory.h"
#include "runtime/interface.h"
#include "runtime/process.h"

#include <stdio.h>

/* Pieces are taken and freed a thousand times a second; their pages stay. */
#define PIECES_KEPT_SIZE (4 << 20)

static enum status fill_settings(const struct process *process,
                                 struct transferer_settings *settings, struct reason *reason)
{
    const char *listen = config_text(&process->config, CONFIG_KEY_LISTEN);
    settings->session = (struct session_settings){.actor = ACTOR_TRANSFERER,
                                                  .incarnation = process->incarnation,
                                                  .key = process->pair.public_key,
                                                  .build = process->build,
                                                  .wants_events = true};
    (void)snprintf(settings->advertise, sizeof(settings->advertise), "%.*s",
                   LINK_ENDPOINT_SIZE - 1, config_text(&process->config, CONFIG_KEY_ADVERTISE));
    struct interface_told told;
    if (!settings->advertise[0] && interface_told_here(listen, &told) && told.is_any)
        (void)snprintf(settings->advertise, sizeof(settings->advertise), "%s:0", told.host);
    if (!transferer_listen(listen, settings->listen))
        return refuse(reason, STATUS_INVALID, "listen = %.100s is no HOST:PORT", listen);
    return STATUS_OK;
}

int main(int argc, char **argv)
{
    struct process process;
    struct model_store store;
    struct transferer_settings settings = {0};
    struct reason reason = {""};
    enum status status = process_open(&process, ACTOR_TRANSFERER, argc, argv, NULL, &reason);
    if (status != STATUS_OK)
        return process_failed(&process, status, &reason);
    status = fill_settings(&process, &settings, &reason);
    const struct model_store_places places = model_store_places_of(&process.paths);
    if (status == STATUS_OK)
        status = model_store_open(&store, &places, "transferer", &reason);
    if (status == STATUS_OK)
        status = process_keep(&process, actor_rights(ACTOR_TRANSFERER), &reason);
    if (status != STATUS_OK) {
        int failed_code = process_failed(&process, status, &reason);
        process_close(&process);
        return failed_code;
    }
    memory_keep(PIECES_KEPT_SIZE);
    struct transferer_shell shell = {
        .store = &store,
        .listen = settings.listen,
        .rate = config_number(&process.config, CONFIG_KEY_TRANSFER_RATE)};
    const struct loop_options options = {.ops = &transferer_ops,
                                         .settings = &settings,
                                         .shell = transferer_shell(&shell)};
    int exit_code = process_run(&process, &options);
    model_store_close(&store);
    process_close(&process);
    return exit_code;
}
