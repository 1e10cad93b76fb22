/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub: the read protocol of the Hugging Face hub, answered from the verified files of the cluster:
 * whoever takes HF_ENDPOINT can pull from any gateway.
 *
 * Lists and heads come from the state alone, so every gateway has them.  A file's bytes come from
 * the disk of this node, or pass through it from one that has them (relay.h): a client reaches all
 * of the cluster by the one address it has.
 *
 * Owner    the gateway's step.
 * Memory   a file_wish for each file being opened.
 * Threads  none.
 * Fails    as the hub does: RepoNotFound, RevisionNotFound, EntryNotFound in X-Error-Code; 503 with
 *          a sentence when nobody who is here has the file.
 */
#ifndef TROUPE_ACTORS_GATEWAY_HUB_H
#define TROUPE_ACTORS_GATEWAY_HUB_H

#include "actors/gateway/gateway.h"
#include "actors/gateway/hub_request.h"

/* False: the path is none of the hub's. */
MUST_CHECK bool route_hub(struct gateway *gateway, const struct http_arrival *request);

/* ---- hub_files.c ---- */
void hub_file(struct gateway *gateway, const struct http_arrival *arrival,
              const struct hub_request *request);
/* The shell opened the file of a wish, or says why not. */
void hub_file_opened(struct gateway *gateway, struct result *result);
const char *hub_content_type(const char *name);

/* ---- hub_pages.c ---- */
void hub_page(struct gateway *gateway, const struct http_arrival *arrival,
              const struct hub_request *request);
/* In the hub's words; `lines` are more header lines, or NULL. */
void hub_refuse(struct gateway *gateway, uint64_t exchange, int http_status, const char *code,
                const char *lines, const char *format, ...) PRINTF_LIKE(6, 7);

#endif
