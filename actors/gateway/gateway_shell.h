/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gateway_shell: the impure half of the gateway: the HTTP server, the journal.
 *
 * Owner    main.
 * Memory   the server and an open journal, from open to close.
 * Threads  the loop's.
 * Fails    when the HTTP address cannot be used, or others can reach it and there is no key.
 */
#ifndef TROUPE_ACTORS_GATEWAY_GATEWAY_SHELL_H
#define TROUPE_ACTORS_GATEWAY_GATEWAY_SHELL_H

#include "actors/gateway/http_server.h"
#include "actors/gateway/journal.h"
#include "runtime/loop.h"
#include "runtime/model_store.h"

struct gateway_shell {
    const char *http;         /* "127.0.0.1:52414", "[::1]:0" */
    const char *key_file;     /* hashes; empty: none */
    const char *hosts;        /* more host names, separated by commas; NULL: none */
    const char *journal_path; /* directory */
    struct model_store_places places; /* of the models whose files are sent */
    struct http_policy policy;
    struct http_server *server;
    struct journal journal;
    char bound[192];          /* "http://127.0.0.1:52414", after open */
};

/* The shell for loop_options; fill the four texts first, they are borrowed. */
struct shell gateway_shell_of(struct gateway_shell *shell);

#endif
