/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/actors.h"
#include "actors/gateway/gateway.h"
#include "actors/gateway/gateway_shell.h"

#include "protocol/hash.h"
#include "runtime/process.h"

#include <stdio.h>
#include <string.h>

/* `troupe-gateway hash-key`: reads a key from standard input and prints the line for the key file;
 * a key on a command line would be seen by everybody on the machine. */
static int hash_key_line(void)
{
    char key[1024] = "";
    char text[HEX_SIZE(sizeof(struct hash))];
    struct hash hash;
    if (!fgets(key, sizeof(key), stdin))
        key[0] = '\0';
    key[strcspn(key, "\r\n")] = '\0';
    if (strlen(key) < 16) {
        fprintf(stderr, "An API key has at least 16 characters; give it on standard input.\n");
        return EXIT_CODE_USAGE;
    }
    hash_of(key, strlen(key), &hash);
    printf("%s\n", hex_print(&hash, sizeof(hash), text));
    return EXIT_CODE_OK;
}

int main(int argc, char **argv)
{
    static struct process process;
    static struct gateway_shell shell;
    struct reason reason = {""};
    if (argc == 2 && strcmp(argv[1], "hash-key") == 0)
        return hash_key_line();
    enum status status = process_open(&process, ACTOR_GATEWAY, argc, argv, NULL, &reason);
    if (status == STATUS_OK)
        status = process_keep(&process, actor_rights(ACTOR_GATEWAY), &reason);
    if (status != STATUS_OK)
        return process_failed(&process, status, &reason);
    shell.http = config_text(&process.config, CONFIG_KEY_HTTP);
    shell.key_file = config_text(&process.config, CONFIG_KEY_HTTP_KEY_FILE);
    shell.hosts = config_text(&process.config, CONFIG_KEY_HTTP_HOSTS);
    shell.journal_path = process.paths.journal;
    shell.places = model_store_places_of(&process.paths);
    const struct gateway_settings settings = {
        .session = {.actor = ACTOR_GATEWAY,
                    .incarnation = process.incarnation,
                    .key = process.pair.public_key,
                    .build = process.build,
                    .wants_events = true},
        .http = shell.bound};
    const struct loop_options options = {
        .ops = &gateway_ops, .settings = &settings, .shell = gateway_shell_of(&shell)};
    int exit_code = process_run(&process, &options);
    process_close(&process);
    return exit_code;
}
