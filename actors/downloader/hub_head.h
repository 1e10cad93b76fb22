/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub_head: what the head of a hub's answer says: commit, etag, size, where to go, why not, when to
 * come again.
 *
 * Owner    the request it answers.
 * Memory   a plain value; texts that are too long are cut, but for Location, which is refused.
 * Threads  any; pure.
 * Fails    hub_head_line: MALFORMED (too many lines, a number that is none).
 */
#ifndef TROUPE_ACTORS_DOWNLOADER_HUB_HEAD_H
#define TROUPE_ACTORS_DOWNLOADER_HUB_HEAD_H

#include "actors/downloader/hub_url.h"

#define HUB_ETAG_SIZE 72
#define HUB_HEAD_LINES_MAX 200
#define HUB_RETRY_S_MAX 999999999999999u

struct hub_head {
    uint32_t status; /* of HTTP; 0: none yet */
    uint32_t lines;
    char commit[64];          /* X-Repo-Commit */
    char etag[HUB_ETAG_SIZE]; /* X-Linked-Etag, else ETag; without W/ and quotes */
    char validator[160];      /* ETag as it stands, for If-Range; empty when weak */
    bool has_linked_etag;
    bool has_size;
    uint64_t size; /* X-Linked-Size, else Content-Length */
    bool has_linked_size;
    bool has_range;
    uint64_t range_first, range_end; /* Content-Range: bytes first-last/total; end is last + 1 */
    bool has_total;
    uint64_t total;  /* of Content-Range */
    bool is_encoded; /* Content-Encoding other than identity */
    char encoding[32];
    char location[HUB_URL_SIZE];
    char next[HUB_URL_SIZE]; /* Link: <...>; rel="next" */
    char error_code[64];     /* X-Error-Code */
    char error_message[256]; /* X-Error-Message */
    bool has_reset;
    uint64_t reset_s; /* t of ratelimit */
    bool has_retry;
    uint64_t retry_s;    /* Retry-After in seconds */
    uint64_t retry_at_s; /* the date it names, since 1970; 0: none */
    uint64_t date_s;     /* Date; 0: none */
    bool is_malformed;
};

void hub_head_init(struct hub_head *head);
/* One line as it came, with or without its end; a status line begins anew (after 100 Continue). */
void hub_head_line(struct hub_head *head, const char *line, size_t size);
/* The head has ended.  A date of Retry-After counts from the answer's own Date, by whatever clock
 * its server has, else from `now_s`. */
void hub_head_came_at(struct hub_head *head, uint64_t now_s);

/* What to do about an answer that is no 2xx and no redirect. */
enum hub_trouble {
    HUB_TROUBLE_NONE,
    HUB_TROUBLE_WAIT,  /* rate limited */
    HUB_TROUBLE_RETRY, /* may be well later */
    HUB_TROUBLE_FINAL  /* it will not */
};

enum hub_trouble hub_head_trouble(const struct hub_head *head);

struct hub_question {
    const char *repository;
    const char *revision; /* or NULL */
    const char *path;     /* or NULL */
    const char *authority;
    bool has_token;
};

/* The sentence and status of a final trouble. */
enum status hub_head_refusal(const struct hub_head *head, const struct hub_question *question,
                             struct reason *reason);

#endif
