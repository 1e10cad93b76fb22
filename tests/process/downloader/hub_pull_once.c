/* SPDX-License-Identifier: Apache-2.0 */
/* Pulls one repository as the downloader does, without a node around it, and prints what came of it
 * as one line of JSON:
 *     hub-pull-once CACHE LEDGERS REPOSITORY [REVISION [CONNECTIONS [TRIES]]]
 * Tests and bars start it, kill it and start it again. */
#include "actors/downloader/hub_pull.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *get(const char *name)
{
    return getenv(name);
}

static bool is_cancelled(void *who)
{
    (void)who;
    return false;
}

static int print(enum status status, const struct hub_pulled *pulled, const struct reason *reason)
{
    json_t *line = json_pack("{s:s, s:s, s:s, s:i, s:i, s:I, s:I, s:I}", "status",
                             status_name(status), "reason", reason->text, "commit", pulled->commit,
                             "files", (int)pulled->file_count, "programs", (int)pulled->programs,
                             "bytes_fetched", (json_int_t)pulled->counts.bytes_fetched,
                             "bytes_kept", (json_int_t)pulled->counts.bytes_kept, "files_present",
                             (json_int_t)pulled->counts.files_present);
    char *text = line ? json_dumps(line, 0) : NULL;
    (void)printf("%s\n", text ? text : "{}");
    free(text);
    json_decref(line);
    return status == STATUS_OK ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct hub_env env;
    struct hub_cache cache;
    struct hub_gates gates;
    struct hub_pulled pulled = {.commit = ""};
    struct reason reason = {""};
    if (argc < 4)
        return 2;
    hub_gates_init(&gates);
    enum status status = hub_fetch_library_open(&reason);
    if (status == STATUS_OK)
        status = hub_env_read(&env, get, &reason);
    if (status == STATUS_OK)
        status = hub_cache_open(&cache, argv[1], &reason);
    if (status != STATUS_OK)
        return print(status, &pulled, &reason);
    const struct hub_pull pull = {.env = &env,
                                  .gates = &gates,
                                  .cache = &cache,
                                  .ledgers = argv[2],
                                  .model_id = argv[3],
                                  .revision = argc > 4 ? argv[4] : NULL,
                                  .connections =
                                      argc > 5 ? (uint32_t)strtoul(argv[5], NULL, 10) : 4,
                                  .tries_max = argc > 6 ? (uint32_t)strtoul(argv[6], NULL, 10) : 5,
                                  .is_cancelled = is_cancelled};
    status = hub_pull_run(&pull, &pulled, &reason);
    hub_cache_close(&cache);
    hub_env_wipe(&env);
    hub_fetch_library_close();
    hub_gates_fini(&gates);
    const int code = print(status, &pulled, &reason);
    hub_known_free(pulled.known, pulled.known_count);
    return code;
}
