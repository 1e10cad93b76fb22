/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub_url: addresses of a hub, and where an answer may send us.
 *
 * A redirect is followed at most HUB_HOPS_MAX times, to http or https alone, never from https to
 * http, never to an address with a user name in it.  The token goes to the origin of the endpoint
 * (scheme, host and port) and nowhere else, at every hop.
 *
 * Memory   plain values of fixed size.
 * Threads  any; pure.
 * Fails    MALFORMED (no address), REFUSED (a redirect that breaks a rule), TOO_LARGE, INVALID (a
 *          name no repository or revision can have): one sentence.
 */
#ifndef TROUPE_ACTORS_DOWNLOADER_HUB_URL_H
#define TROUPE_ACTORS_DOWNLOADER_HUB_URL_H

#include "protocol/status.h"

#include <stdbool.h>
#include <stdint.h>

#define HUB_URL_SIZE 8192 /* signed addresses of a CDN have about 1,500 bytes */
#define HUB_HOPS_MAX 5
#define HUB_REPOSITORY_SIZE_MAX 96
#define HUB_REVISION_SIZE_MAX 128

struct hub_url {
    char text[HUB_URL_SIZE]; /* without a fragment */
    uint16_t host_first;     /* in the text; a v6 address with its brackets */
    uint16_t host_size;
    uint16_t port;
    uint16_t path_first; /* "/...", "?..." or the end */
    bool is_https;
};

MUST_CHECK enum status hub_url_parse(struct hub_url *url_out, const char *text,
                                     struct reason *reason);
void hub_url_drop_slash(struct hub_url *url);
/* Scheme, host and port are the same. */
bool hub_url_is_same_origin(const struct hub_url *a, const struct hub_url *b);
/* "huggingface.co:443", for sentences and for the times a host asked us to wait. */
void hub_url_authority(const struct hub_url *url, char *text_out, size_t size);
/* What a Location or Link means at `base`. */
MUST_CHECK enum status hub_url_follow(const struct hub_url *base, const char *location,
                                      struct hub_url *url_out, struct reason *reason);
/* The same, by the rules above; `hops` is how many redirects led to `from`. */
MUST_CHECK enum status hub_url_redirect(const struct hub_url *from, const char *location,
                                        uint32_t hops, struct hub_url *url_out,
                                        struct reason *reason);

/* "org/name" or "name", as the hub has them. */
bool hub_repository_is_sound(const char *name);
/* A branch, a tag, a commit. */
bool hub_revision_is_sound(const char *revision);

/* ENDPOINT/api/models/REPOSITORY/revision/REVISION */
MUST_CHECK enum status hub_url_of_revision(const struct hub_url *endpoint, const char *repository,
                                           const char *revision, struct hub_url *url_out,
                                           struct reason *reason);
/* ENDPOINT/api/models/REPOSITORY/tree/COMMIT?recursive=true&expand=false */
MUST_CHECK enum status hub_url_of_tree(const struct hub_url *endpoint, const char *repository,
                                       const char *commit, struct hub_url *url_out,
                                       struct reason *reason);
/* ENDPOINT/REPOSITORY/resolve/COMMIT/PATH */
MUST_CHECK enum status hub_url_of_file(const struct hub_url *endpoint, const char *repository,
                                       const char *commit, const char *path,
                                       struct hub_url *url_out, struct reason *reason);

#endif
