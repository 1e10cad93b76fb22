/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kinds: every message by kind, with its code, body and sentence.
 *
 * M(code, NAME, record, sentence).  Codes are explicit and never reused: a name is dropped, its
 * code is not.  A report has the record of the event it becomes.
 */
#ifndef TROUPE_PROTOCOL_KINDS_H
#define TROUPE_PROTOCOL_KINDS_H

#include "protocol/schema.h"

/* Imperative; any client or actor -> local master -> leader; always answered. */
#define COMMAND_LIST(M)                                                                            \
    M(1, PLACE_INSTANCE, place_instance, "run this model on these or the best nodes")              \
    M(2, DELETE_INSTANCE, delete_instance, "stop an instance and forget it")                       \
    M(3, RETRY_INSTANCE, retry_instance, "start a failed instance again now")                      \
    M(4, ADD_MODEL, add_model, "take a directory into the model store of a node")                  \
    M(5, REMOVE_MODEL, remove_model, "forget a model and delete its files from every store")       \
    M(6, CREATE_TOKEN, create_token, "let one more node join")                                     \
    M(7, REVOKE_TOKEN, revoke_token, "make an unused token worthless")                             \
    M(8, JOIN, join, "admit me; the only message a token may carry")                               \
    M(9, REMOVE_NODE, remove_node, "take a node out of the cluster")                               \
    M(10, ADMIT_CLIENT, admit_client, "let a remote ZeroMQ client in")                             \
    M(11, REMOVE_CLIENT, remove_client, "keep it out again")                                       \
    M(12, ASK_CANDIDATES, ask_candidates, "how could this be placed? answered by candidates")      \
    M(13, DISTRIBUTE_MODEL, distribute_model, "copy a model to the disks of these nodes")          \
    M(14, CANCEL_TRANSFER, cancel_transfer, "stop copying it")                                     \
    M(15, PULL_MODEL, pull_model, "bring a model from the hub to the disk of a node")              \
    M(20, PIN_MODEL, pin_model, "keep a model whatever needs room, or no longer")                  \
    M(30, ASK_LINKS, ask_links, "which nodes reach each other? answered by the node asked")    \
    M(31, ASK_PACES, ask_paces, "how fast are instances? answered by the node asked")

/* Past fact; leader -> every master -> every actor, in order; stands in the log. */
#define EVENT_LIST(M)                                                                              \
    M(1, CLUSTER_FOUNDED, cluster_founded, "the first node began a cluster")                       \
    M(2, NODE_ADMITTED, node_admitted, "a node joined and spent its token")                        \
    M(3, NODE_REMOVED, node_removed, "a node was taken out")                                       \
    M(4, NODE_DESCRIBED, node_described, "a node told its present address and size")               \
    M(5, TOKEN_CREATED, token_created, "a join token may be used")                                 \
    M(6, TOKEN_REVOKED, token_revoked, "a join token may not be used any more")                    \
    M(7, CLIENT_ADMITTED, client_admitted, "a remote client may connect")                          \
    M(8, CLIENT_REMOVED, client_removed, "a remote client may not connect any more")               \
    M(9, EPOCH_BEGUN, epoch_begun, "a node leads from here on")                                    \
    M(10, VIEW_CHANGED, view_changed, "commits wait for these nodes from here on")                 \
    M(11, ENDPOINT_OPENED, endpoint_opened, "a process said where it is and with which key")       \
    M(12, ENDPOINT_CLOSED, endpoint_closed, "that process is gone")                                \
    M(13, MODEL_IMPORT_REQUESTED, model_import_requested, "a node was asked to take in a model")   \
    M(14, MODEL_IMPORTED, model_imported, "a node has a whole model, verified, in its store")      \
    M(15, MODEL_IMPORT_FAILED, model_import_failed, "it could not")                                \
    M(16, SMALL_FILES_STORED, small_files_stored, "a node has all of a model but its weights")     \
    M(17, HOLDING_CHANGED, holding_changed, "a node looked what is on its disk")                   \
    M(18, MODEL_REMOVED, model_removed, "a model was forgotten")                                   \
    M(19, INSTANCE_PLACED, instance_placed, "a model shall run on these ranks")                    \
    M(20, INSTANCE_DELETED, instance_deleted, "it shall not run any more")                         \
    M(21, GENERATION_STARTED, generation_started, "its ranks start anew")                          \
    M(22, RANK_ADDRESSED, rank_addressed, "a launcher or runner bound its socket")                 \
    M(23, GENERATION_ADDRESSED, generation_addressed, "all of them did: they may connect")         \
    M(24, RUNNER_STATUS_CHANGED, runner_status_changed, "a rank joined, loaded, is ready, failed") \
    M(25, GENERATION_FAILED, generation_failed, "a generation ended before it was asked to")       \
    M(26, INSTANCE_RETRIED, instance_retried, "failures are forgiven, a generation may start")     \
    M(27, PROCESS_ENDED, process_ended, "a supervised process ended")                              \
    M(28, PROCESS_GIVEN_UP, process_given_up, "a process died too often to be started again")      \
    M(29, TRANSFER_REQUESTED, transfer_requested, "nodes were asked to copy a model")              \
    M(30, TRANSFER_STARTED, transfer_started, "one of them began")                                 \
    M(31, TRANSFER_ENDED, transfer_ended, "one of them has it, or could not")                      \
    M(32, TRANSFER_CANCELLED, transfer_cancelled, "those that have it not yet shall stop")         \
    M(40, DOWNLOAD_REQUESTED, download_requested, "nodes were asked to pull a model")              \
    M(41, DOWNLOAD_RESOLVED, download_resolved, "the hub said of which files it is made")          \
    M(42, DOWNLOAD_ASSIGNED, download_assigned, "these nodes alone fetch these files")             \
    M(43, FILE_DOWNLOADED, file_downloaded, "one of them has its file")                            \
    M(44, DOWNLOAD_HINDERED, download_hindered, "a node gets nothing from the hub, or from peers") \
    M(45, FILE_LACKING, file_lacking, "a node that should have a file has it not")                 \
    M(46, DOWNLOAD_PAUSED, download_paused, "a peer is complete: the hub is asked no more")        \
    M(50, MODEL_PINNED, model_pinned, "a model is kept, or no longer")                             \
    M(51, SMALL_FILES_FAILED, small_files_failed, "a node cannot get the rest of a model")

/* Past fact seen by one actor; actor -> leader, who makes it the event of the same record. */
#define REPORT_LIST(M)                                                                             \
    M(1, NODE_DESCRIBED, node_described, "master: my present address and size")                    \
    M(2, ENDPOINT_OPENED, endpoint_opened, "master: a local actor said hello")                     \
    M(3, ENDPOINT_CLOSED, endpoint_closed, "supervisor: it ended")                                 \
    M(4, MODEL_IMPORTED, model_imported, "downloader")                                             \
    M(5, MODEL_IMPORT_FAILED, model_import_failed, "downloader")                                   \
    M(6, SMALL_FILES_STORED, small_files_stored, "transferer")                                     \
    M(7, HOLDING_CHANGED, holding_changed, "downloader, runner: after a look at the disk")         \
    M(8, RANK_ADDRESSED, rank_addressed, "launcher or runner")                                     \
    M(9, RUNNER_STATUS_CHANGED, runner_status_changed, "runner")                                   \
    M(10, PROCESS_ENDED, process_ended, "supervisor")                                              \
    M(11, PROCESS_GIVEN_UP, process_given_up, "supervisor")                                        \
    M(12, TRANSFER_STARTED, transfer_started, "transferer")                                        \
    M(13, TRANSFER_ENDED, transfer_ended, "transferer")                                            \
    M(14, SMALL_FILES_FAILED, small_files_failed, "transferer: what waits for them need not")      \
    M(20, DOWNLOAD_RESOLVED, download_resolved, "downloader")                                      \
    M(21, FILE_DOWNLOADED, file_downloaded, "downloader")                                          \
    M(22, DOWNLOAD_HINDERED, download_hindered, "downloader or transferer")                        \
    M(23, FILE_LACKING, file_lacking, "transferer")

/* Imperative; planner -> local actor through the local master; answered. */
#define TASK_LIST(M)                                                                               \
    M(1, START_PROCESS, start_process, "supervisor: start a launcher or a runner")                 \
    M(2, STOP_PROCESS, stop_process, "supervisor: stop it")                                        \
    M(3, IMPORT_MODEL, import_model, "downloader: take in a directory, or a model of the hub")     \
    M(4, FETCH_SMALL_FILES, fetch_small_files, "transferer: get all but the weights")              \
    M(5, DELETE_FILES, delete_files, "downloader: delete a model from the store")                  \
    M(6, LIST_TASKS, list_tasks, "any: what do you hold?")                                         \
    M(7, FETCH_MODEL, fetch_model, "transferer: copy a whole model from those who have it")        \
    M(12, GATHER_FILES, gather_files, "transferer: take what others have of a download")

/* To whoever watches; may be lost; carries an expiry. */
#define SIGNAL_LIST(M)                                                                             \
    M(1, NODE_LOAD, node_load, "free memory and processors of a node")                             \
    M(2, LOAD_PROGRESSED, load_progressed, "bytes of weights a rank has")                          \
    M(3, IMPORT_PROGRESSED, import_progressed, "bytes the downloader has taken in")                \
    M(4, HEARTBEAT, heartbeat, "a rank lives; which collective it is in")                          \
    M(5, TRANSFER_PROGRESSED, transfer_progressed, "bytes of a model a node has got")              \
    M(10, LINKS_MEASURED, links_measured, "which nodes a node reaches, how soon and how fast") \
    M(11, PACE_MEASURED, pace_measured, "how fast an instance is, as rank 0 saw it")

/* To a command, report or task, with its key. */
#define ANSWER_LIST(M)                                                                             \
    M(1, DONE, nothing, "accepted with the index of its event, or refused with a sentence")        \
    M(2, TASKS, tasks_listed, "to list_tasks")                                                     \
    M(3, CANDIDATES, candidates_listed, "to ask_candidates")                                       \
    M(4, TASK_HELD, task_held, "to a task: its present phase")                                     \
    M(10, LINKS, links_listed, "to ask_links")                                                     \
    M(11, PACES, paces_listed, "to ask_paces")

/* The conversation of two connected processes. */
#define LINK_LIST(M)                                                                               \
    M(1, HELLO, hello, "first message on every connection")                                        \
    M(2, WELCOME, welcome, "its answer")                                                           \
    M(3, SNAPSHOT_PART, snapshot_part, "the state in parts")                                       \
    M(4, ASK_STATE, ask_state, "send me the state")                                                \
    M(5, ASK_EVENTS, ask_events, "send me events from an index on")                                \
    M(6, CANDIDACY, candidacy, "who has the longest log?")                                         \
    M(7, LEADER_BEAT, leader_beat, "I lead; commit up to here")                                    \
    M(8, FOLLOWER_BEAT, follower_beat, "this much is on my disk")                                  \
    M(9, RECORDS_SENT, records_sent, "records for the log")                                        \
    M(10, RECORDS_ASKED, records_asked, "send records from an index on")                           \
    M(11, CHAIN_ASKED, chain_asked, "where do our logs part?")                                     \
    M(12, CHAIN_TOLD, chain_told, "its answer")                                                    \
    M(13, FORWARDED, forwarded, "a message of a local actor, follower to leader")                  \
    M(14, FORWARDED_BACK, forwarded, "its answer, leader to follower")                             \
    M(20, FENCE_CONTRIBUTED, fence_contributed, "launcher: blob of one fence")                     \
    M(21, MODEX_ASKED, modex_asked, "launcher: data of a rank")                                    \
    M(22, MODEX_TOLD, modex_told, "launcher: its answer")                                          \
    M(23, RANK_ENDED, process_ended, "launcher: my rank is dead, end yours")                       \
    M(30, STEP_PLANNED, step_planned, "rank 0: rows of the next step")                             \
    M(31, HIDDEN_SENT, hidden_sent, "what a stage computed, to the next")                     \
    M(40, GENERATE, generate, "gateway: answer this")                                              \
    M(41, GENERATION_ACCEPTED, generation_accepted, "runner: these are its prompt ids")            \
    M(42, GENERATION_REFUSED, generation_refused, "runner: no, because")                           \
    M(43, TOKEN_STREAMED, token_streamed, "runner: one more token")                                \
    M(44, PREFILL_PROGRESSED, prefill_progressed, "runner: so much of the prompt is read")         \
    M(45, GENERATION_FINISHED, generation_finished, "runner: the last word")                       \
    M(46, CANCEL_GENERATION, cancel_generation, "gateway: the client is gone")                     \
    M(50, FILE_ASKED, file_asked, "transferer: a part of a small file, or a piece of any")        \
    M(51, FILE_PART, file_part, "transferer: here it is")                                          \
    M(52, SOURCE_ASKED, source_asked, "transferer: what have you of this model?")                  \
    M(53, SOURCE_TOLD, source_told, "transferer: these chunks, over there")                        \
    M(54, MANIFEST_ASKED, manifest_asked, "transferer: a part of the manifest")                    \
    M(55, MANIFEST_PART, manifest_part, "transferer: here it is")                                  \
    M(56, CHUNK_ASKED, chunk_asked, "transferer: send this chunk")                                 \
    M(57, CHUNK_REFUSED, chunk_refused, "transferer: I cannot")                                    \
    M(58, SOURCE_LEFT, source_left, "transferer: the stream is over")                              \
    M(70, SHARE_ASKED, share_asked, "transferer: what have you of this download?")                 \
    M(80, ECHO_ASKED, echo_asked, "master: do you hear me at your address?")                       \
    M(81, ECHO_TOLD, echo_told, "master: I do")

#define KIND_MEMBER_COMMAND(code, NAME, record, sentence) COMMAND_##NAME = code,
#define KIND_MEMBER_EVENT(code, NAME, record, sentence) EVENT_##NAME = code,
#define KIND_MEMBER_REPORT(code, NAME, record, sentence) REPORT_##NAME = code,
#define KIND_MEMBER_TASK(code, NAME, record, sentence) TASK_##NAME = code,
#define KIND_MEMBER_SIGNAL(code, NAME, record, sentence) SIGNAL_##NAME = code,
#define KIND_MEMBER_ANSWER(code, NAME, record, sentence) ANSWER_##NAME = code,
#define KIND_MEMBER_LINK(code, NAME, record, sentence) LINK_##NAME = code,

enum command_code { COMMAND_NONE, COMMAND_LIST(KIND_MEMBER_COMMAND) };
enum event_code { EVENT_NONE, EVENT_LIST(KIND_MEMBER_EVENT) };
enum report_code { REPORT_NONE, REPORT_LIST(KIND_MEMBER_REPORT) };
enum task_code { TASK_CODE_NONE, TASK_LIST(KIND_MEMBER_TASK) };
enum signal_code { SIGNAL_NONE, SIGNAL_LIST(KIND_MEMBER_SIGNAL) };
enum answer_code { ANSWER_NONE, ANSWER_LIST(KIND_MEMBER_ANSWER) };
enum link_code { LINK_NONE, LINK_LIST(KIND_MEMBER_LINK) };

#endif
