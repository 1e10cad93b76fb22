/* SPDX-License-Identifier: Apache-2.0 */
/*
 * download_rules: may this model be pulled to those nodes, and who of them fetches which file from
 * the hub?  Pure.
 *
 * A pull of what is on its way already joins it.  One target asks the hub of which files the model
 * is made; then each file has one node that fetches it, the large ones spread by bytes.  A node
 * that is away, was removed, failed, or gets nothing from the hub gives its files to others, who go
 * on from the chunks they have.
 *
 * A file that a node which holds the model seems to have, by its names, is fetched by nobody:
 * it is taken from there, also when its fetching has begun.  When that node has nothing of it after
 * all (the hub has another commit), it comes from the hub.
 *
 * A target asks the hub for nothing more once another node has become complete: it is paused, and
 * keeps what has come.  It goes on, from that node, if somebody asked for it or the model is
 * pinned; one that only an instance wants rests until an instance needs the copy there, and ends
 * when no instance is left.
 *
 * Memory   the event is the caller's; without one its body stays NULL.
 * Threads  any.
 * Fails    INVALID, NOT_FOUND, REFUSED, BUSY, NO_MEMORY; one sentence.
 */
#ifndef TROUPE_ACTORS_MASTER_DOWNLOAD_RULES_H
#define TROUPE_ACTORS_MASTER_DOWNLOAD_RULES_H

#include "protocol/state.h"

/* `command` is a pull_model whose name was checked; accepted without an event: all targets are on
 * their way. */
MUST_CHECK enum status download_rules_pull(const struct state *state,
                                           const struct message *command,
                                           struct message *event_out, struct reason *reason);
/* The next download_assigned that is needed; `has_event_out`: there is one. */
MUST_CHECK enum status download_rules_assign(const struct state *state, struct message *event_out,
                                             bool *has_event_out);
/* The next download_paused that is due. */
MUST_CHECK enum status download_rules_pause(const struct state *state, struct message *event_out,
                                            bool *has_event_out);
/* The end of a target that only an instance wanted, and none is left. */
MUST_CHECK enum status download_rules_cancel(const struct state *state, struct message *event_out,
                                             bool *has_event_out);

/* An instance needs a copy at that node: what a download under way there means to it. */
enum download_step {
    DOWNLOAD_IS_NONE, /* nothing of that commit is on its way */
    DOWNLOAD_GOES_ON, /* it rests: download_rules_want lets it go on */
    DOWNLOAD_WAITS    /* it is coming */
};
enum download_step download_rules_continue(const struct state *state, const char *model_id,
                                           const struct node_id *node_id);
MUST_CHECK enum status download_rules_want(const char *model_id, const struct node_id *node_id,
                                           struct message *event_out);

#endif
