/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub_env: what the HF_* variables say of the hub: where it is, with which token, how patient.
 *
 *   HF_ENDPOINT                     where the hub is; else https://huggingface.co
 *   HF_TOKEN, HF_TOKEN_PATH         the token, or a file with it that only its owner can read; else
 *                                   HF_HOME/token, XDG_CACHE_HOME/huggingface/token or
 *                                   ~/.cache/huggingface/token
 *   HF_HUB_DISABLE_IMPLICIT_TOKEN   no token is sent
 *   HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE   no socket to a hub is opened
 *   REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE, SSL_CERT_FILE   certificates to trust instead of the
 *                                   system's, as behind a proxy of a company
 *   HF_HUB_ETAG_TIMEOUT             seconds an answer about a repository may be silent (10)
 *   HF_HUB_DOWNLOAD_TIMEOUT         seconds a download may be silent (10)
 *
 *   HF_HUB_DISABLE_PROGRESS_BARS    nothing here; the command line then shows no progress
 *
 * Without meaning, as there is nothing to disable: HF_HUB_DISABLE_TELEMETRY (none is sent),
 * HF_HUB_DISABLE_XET (files come by HTTP ranges), HF_HUB_DISABLE_SYMLINKS_WARNING,
 * HF_HUB_DISABLE_EXPERIMENTAL_WARNING, HF_HUB_DISABLE_UPDATE_CHECK.  Not followed:
 * HF_HUB_DISABLE_SYMLINKS (a cache is made of links here).
 *
 * HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, small or in capitals, are hub_fetch's.
 *
 * Owner    the thread of a pull; read anew for each, so that a new token needs no restart.
 * Memory   a plain value; hub_env_wipe forgets the token.
 * Threads  any.
 * Fails    INVALID (a variable that means nothing), NO_PERMISSION (a token file that others can
 *          read), IO: one sentence with the variable or the file and the remedy.
 */
#ifndef TROUPE_ACTORS_DOWNLOADER_HUB_ENV_H
#define TROUPE_ACTORS_DOWNLOADER_HUB_ENV_H

#include "actors/downloader/hub_url.h"

#define HUB_TOKEN_SIZE 512
#define HUB_PATH_SIZE 1024

struct hub_env {
    struct hub_url endpoint;
    char token[HUB_TOKEN_SIZE];  /* empty: none */
    char ca_file[HUB_PATH_SIZE]; /* empty: the system's */
    bool is_offline;
    uint32_t answer_timeout_ms;
    uint32_t download_timeout_ms;
};

/* `get(name)` is getenv, or a test's. */
MUST_CHECK enum status hub_env_read(struct hub_env *env_out, const char *(*get)(const char *name),
                                    struct reason *reason);
/* 1, ON, YES, TRUE in any case. */
bool hub_env_is_true(const char *value);
void hub_env_wipe(struct hub_env *env);

#endif
