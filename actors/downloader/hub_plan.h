/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub_plan: what this node does of a download that several nodes share, as the state has it; and
 * how the thread of a pull learns of it.
 *
 * hub_plan_of is pure.  A hub_company carries plans from the loop to the thread of the pull.
 *
 * Owner    the downloader (plans), its shell (companies).
 * Memory   hub_plan_fini frees the list of files; hub_company_fini its plan.
 * Threads  a company: any; a plan: one.
 * Fails    NO_MEMORY.
 */
#ifndef TROUPE_ACTORS_DOWNLOADER_HUB_PLAN_H
#define TROUPE_ACTORS_DOWNLOADER_HUB_PLAN_H

#include "actors/downloader/hub_tree.h"
#include "protocol/state.h"
#include "runtime/hub_names.h"

#include <pthread.h>

struct hub_plan_file {
    struct hub_file file;
    bool is_ours; /* this node fetches it from the hub; else its chunks come from others */
};

struct hub_plan {
    bool is_shared;   /* else this node pulls by itself, as if there were no others */
    bool asks_hub;    /* it is this node that asks of which files the model is made */
    bool is_resolved; /* that is known: commit and files */
    bool is_barred;   /* the hub gives this node nothing: all comes from others */
    bool is_hopeless; /* nobody can get what is missing; `status` and `reason` say why */
    enum status status;
    struct reason reason;
    char commit[HUB_COMMIT_SIZE];
    struct hub_plan_file *files;
    uint32_t count;
    uint32_t fetchers; /* nodes that fetch from the hub now, at least 1 */
};

MUST_CHECK enum status hub_plan_of(const struct state *state, const struct node_id *node_id,
                                   const char *model_id, struct hub_plan *plan_out);
void hub_plan_fini(struct hub_plan *plan);
/* After such an event plans may be others. */
bool hub_plan_is_changed_by(const struct message *event);

struct hub_company {
    pthread_mutex_t mutex;
    struct hub_plan plan;
    uint64_t version; /* 0: no plan yet */
};

void hub_company_init(struct hub_company *company);
void hub_company_fini(struct hub_company *company);
/* Takes the plan. */
void hub_company_put(struct hub_company *company, struct hub_plan *plan);
/* The plan, when it is newer than *version; the old one in `plan` is freed.  true: it was. */
bool hub_company_take(struct hub_company *company, uint64_t *version, struct hub_plan *plan);

#endif
