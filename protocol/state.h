/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state: what the log means so far.
 *
 * `struct state` is a record (protocol/schema_state.h): it is copied, compared, printed, encoded
 * and hashed like any other.  state_apply is its only writer; master, planner, gateway, runner,
 * inspector and simulator share it.  Same log, same state, same hash, on every node.
 *
 * Owner    whoever initialised it.
 * Threads  one at a time.
 * Fails    state_apply: STATUS_GAP for an index that is not the next, STATUS_MALFORMED for a
 *          message that is no event, STATUS_NO_MEMORY (the state is then broken: read it again
 *          from disk).  An event about a thing that is gone changes nothing but the index: the
 *          log is the truth, also where it is late.
 */
#ifndef TROUPE_PROTOCOL_STATE_H
#define TROUPE_PROTOCOL_STATE_H

#include "protocol/message.h"

void state_init(struct state *state);
void state_fini(struct state *state);
MUST_CHECK enum status state_apply(struct state *state, const struct message *event);

/* BLAKE2b over the encoded state. */
MUST_CHECK enum status state_hash(const struct state *state, struct hash *hash_out);
MUST_CHECK enum status state_encode(const struct state *state, struct buffer *bytes);
MUST_CHECK enum status state_decode(const void *bytes, size_t size, struct state *state_out,
                                    struct reason *reason);

/* All of these may return NULL. */
struct node_record *state_find_node(const struct state *state, const struct node_id *id);
struct node_record *state_find_node_by_key(const struct state *state,
                                           const struct public_key *key);
/* What a sentence calls it; of one that is gone "a removed node". */
const char *state_node_name(const struct state *state, const struct node_id *id);
/* By exact name, full hex id, or a hex prefix of at least 4 digits that only one node has. */
struct node_record *state_find_node_named(const struct state *state, const char *name);
/* "alpha, beta and 3 more", for whoever named another; returns text_out. */
#define NODES_LISTED_SIZE 160u
const char *state_nodes_list(const struct state *state, char text_out[NODES_LISTED_SIZE]);
/* `hosts` of a node's record, one by one: writes the next and moves on; false when there is none.
 * One that is too long for `size` is passed over. */
bool state_host_next(const char **hosts, char *host_out, size_t size);
/* Where an endpoint is reached.  One that listens at all addresses of its node tells one of them:
 * in its place stands the one by which the other nodes reach that node, its `fabric`. */
void state_endpoint_address(const struct state *state, const struct endpoint_record *endpoint,
                            char address_out[ADDRESS_SIZE_MAX]);
struct token_record *state_find_token(const struct state *state, const struct public_key *key);
struct client_record *state_find_client(const struct state *state, const struct public_key *key);
struct model_record *state_find_model(const struct state *state, const char *model_id);
struct holder_record *model_find_holder(const struct model_record *model,
                                        const struct node_id *id);
struct instance_record *state_find_instance(const struct state *state,
                                            const struct instance_id *id);
struct import_record *state_find_import(const struct state *state, const struct node_id *node,
                                        const char *model_id);
struct endpoint_record *state_find_endpoint(const struct state *state,
                                            const struct node_id *node, enum actor_kind actor);
struct incarnation_record *state_find_incarnation(const struct state *state,
                                                  const struct node_id *node, uint32_t actor,
                                                  uint64_t incarnation);
struct transfer_record *state_find_transfer(const struct state *state,
                                            const struct transfer_id *id);
struct transfer_target *transfer_find_target(const struct transfer_record *transfer,
                                             const struct node_id *node);
/* The one under way that brings this revision to all of these nodes, 16 bytes each. */
/* NULL: it was not removed, or taken in anew since, or so long ago that it is forgotten. */
struct removed_record *state_find_removed(const struct state *state, const char *model_id,
                                          const struct hash *revision);
struct transfer_record *state_find_transfer_to(const struct state *state, const char *model_id,
                                               const struct hash *revision,
                                               const struct bytes *node_ids);
struct download_record *state_find_download(const struct state *state, const char *model_id);
struct download_target *download_find_target(const struct download_record *download,
                                             const struct node_id *node);
/* It is paused and nobody wants it whole: it takes nothing from the hub, and nothing from peers. */
bool download_target_rests(const struct state *state, const struct download_record *download,
                           const struct download_target *target);
/* How the last pull of the model to that node ended; NULL: none did, or it is too long ago. */
const struct download_end *state_find_download_end(const struct state *state,
                                                   const char *model_id,
                                                   const struct node_id *node_id);
struct download_file *download_find_file(const struct download_record *download, const char *path);
/* Index of the event a command became, or 0. */
uint64_t state_find_command(const struct state *state, const struct command_key *key);

bool generation_equal(const struct generation *a, const struct generation *b);
bool generation_is_zero(const struct generation *generation);
/* How many of the ranks compute: the first ones.  Those after them only send weights. */
uint32_t ranks_computing(const struct rank_record *ranks, uint32_t count);
uint32_t instance_computing(const struct instance_record *instance);
/* "3.1f0a.2": epoch number, start of its leader's id, counter.  Needs 48 bytes. */
const char *generation_print(const struct generation *generation, char *text_out);
/* -1, 0, 1 by number, then leader id. */
int epoch_compare(const struct epoch *a, const struct epoch *b);

const char *mode_name(uint32_t mode);
const char *rank_status_name(uint32_t status);
const char *instance_status_name(uint32_t status);
const char *client_role_name(uint32_t role);
const char *transfer_phase_name(uint32_t phase);
/* Asked or running. */
bool transfer_target_is_open(const struct transfer_target *target);
/* Of all its targets: done only when each of them is. */
enum transfer_phase transfer_phase_of(const struct transfer_record *transfer);

/* How long a failed generation waits before the next: 0.2 s doubling to 30 s.  `failures` counts
 * from 1. */
uint64_t generation_backoff_ms(uint32_t failures);
#define GENERATION_FAILURES_MAX 5
/* A generation that was ready so long did not fail by itself: its end starts a new window. */
#define GENERATION_SERVED_MS 1000u
#define GENERATION_FAILURE_WINDOW_MS (10u * 60u * 1000u)
/* Does a failure at that time begin a new window?  A clock that went back ends none. */
bool generation_failure_is_first(const struct instance_record *instance, uint64_t time_ms);

#endif
