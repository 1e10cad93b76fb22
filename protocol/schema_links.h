/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schema_links: rows of tasks, signals and of the conversations of two connected processes.
 *
 * Include protocol/schema.h, not this file.  Nothing here stands in the log.
 */
#ifndef TROUPE_PROTOCOL_SCHEMA_LINKS_H
#define TROUPE_PROTOCOL_SCHEMA_LINKS_H

/* ---- the envelope ---- */

/* Fields that are zero or empty do not travel. */
#define ENVELOPE_FIELDS(F, L, R, S)                                                                \
    F(S, u32, kind, MESSAGE_KIND_END, "command, event, report, task, signal, answer, link")        \
    F(S, u32, code, 0, "row of that kind")                                                         \
    F(S, command_key, key, 16, "command: idempotency key; task: its id; answer: of the asked")     \
    F(S, u64, index, 0, "event: its index; answer: index of its event")                            \
    F(S, u64, planned_index, 0, "command or report: state it was planned on; 0: none")             \
    F(S, u64, time_ms, 0, "event: wall clock of the leader")                                       \
    F(S, node_id, node_id, 16, "report, signal: who says it; event: whose report it was")          \
    F(S, actor_kind, actor, ACTOR_KIND_END, "same")                                                \
    F(S, u64, incarnation, 0, "same")                                                              \
    F(S, u64, sequence, 0, "report: counts up in one incarnation")                                 \
    R(S, epoch, epoch, "between masters: refused when older than the receiver's")                  \
    F(S, status_code, status, 0, "answer: how it went")                                            \
    F(S, text, reason, SENTENCE_SIZE_MAX, "answer: one sentence")                                  \
    F(S, u32, holders, NODE_COUNT_MAX, "answer to a command: how many nodes hold its event")       \
    F(S, u32, nodes, NODE_COUNT_MAX, "answer to a command: of so many")                            \
    F(S, u32, route, ACTOR_KIND_END, "task: the local actor it is for")                            \
    F(S, u64, expires_ms, 0, "signal: wall clock after which it is worth nothing")

/* ---- tasks: planner -> local actor, through the local master ---- */

#define START_PROCESS_FIELDS(F, L, R, S)                                                           \
    F(S, actor_kind, actor, ACTOR_KIND_END, "launcher or runner")                                  \
    F(S, instance_id, instance_id, 16, "")                                                         \
    R(S, generation, generation, "")                                                               \
    F(S, u32, rank, RANK_COUNT_MAX, "")                                                            \
    F(S, text, fabric, ADDRESS_SIZE_MAX, "address the rank uses for MPI")                          \
    F(S, u32, threads, 1024, "")                                                                   \
    F(S, text, front, ADDRESS_SIZE_MAX, "address for gateways; empty: the same")                   \
    F(S, text, rdma, NAME_SIZE_MAX, "device that MPI uses; empty: TCP")                            \
    F(S, text, ways, WAYS_SIZE_MAX, "to siblings that meet it elsewhere; see runtime/fabric_ways.h")
#define STOP_PROCESS_FIELDS(F, L, R, S)                                                            \
    F(S, actor_kind, actor, ACTOR_KIND_END, "")                                                    \
    F(S, instance_id, instance_id, 16, "")                                                         \
    R(S, generation, generation, "")                                                               \
    F(S, u32, rank, RANK_COUNT_MAX, "")
#define IMPORT_MODEL_FIELDS(F, L, R, S)                                                            \
    F(S, text, model_id, NAME_SIZE_MAX, "")                                                        \
    F(S, text, path, PATH_SIZE_MAX, "empty: from the hub")                                         \
    F(S, text, hub_revision, NAME_SIZE_MAX, "")
#define FETCH_SMALL_FILES_FIELDS(F, L, R, S)                                                       \
    F(S, text, model_id, NAME_SIZE_MAX, "")                                                        \
    F(S, hash, revision, 32, "")
#define DELETE_FILES_FIELDS(F, L, R, S)                                                            \
    F(S, text, model_id, NAME_SIZE_MAX, "")                                                        \
    F(S, hash, revision, 32, "")
#define LIST_TASKS_FIELDS(F, L, R, S) F(S, u32, unused, 1, "an empty question")

/* ---- answers with a body ---- */

#define NOTHING_FIELDS(F, L, R, S) F(S, u32, unused, 1, "")
#define TASK_HELD_FIELDS(F, L, R, S)                                                               \
    F(S, command_key, key, 16, "id of the task")                                                   \
    F(S, u32, code, 0, "row of the task")                                                          \
    F(S, u32, phase, TASK_PHASE_END, "1 running, 2 done, 3 failed")                                \
    F(S, instance_id, instance_id, 16, "of a started process")                                     \
    R(S, generation, generation, "of a started process")                                           \
    F(S, u32, rank, RANK_COUNT_MAX, "of a started process")                                        \
    F(S, actor_kind, actor, ACTOR_KIND_END, "of a started process")
#define TASKS_LISTED_FIELDS(F, L, R, S) L(S, task_held, tasks, 1024, "what the actor works on")
#define CANDIDATE_FIELDS(F, L, R, S)                                                               \
    F(S, sharding, sharding, SHARDING_END, "")                                                     \
    F(S, mode, mode, MODE_END, "")                                                                 \
    F(S, u32, context, 0, "positions that fit")                                                    \
    F(S, u32, positions, 0, "of the KV cache")                                                     \
    F(S, u32, requests, REQUESTS_RUNNING_MAX, "at once")                                           \
    F(S, kv_format, kv_format, KV_FORMAT_END, "")                                                  \
    L(S, rank_record, ranks, RANK_COUNT_MAX, "with bytes per node")                                \
    F(S, boolean, is_possible, 0, "")                                                              \
    F(S, boolean, is_asymmetric, 0, "a tensor cut in unequal shares")                              \
    F(S, boolean, is_upgraded, 0, "equal shares were asked for; why says why it has others")       \
    F(S, f64, tokens_per_s, 0, "predicted, of one request")                                        \
    F(S, f64, first_token_s, 0, "predicted, for a prompt of 512 tokens")                           \
    F(S, f64, load_s, 0, "predicted, to load the weights")                                         \
    F(S, text, why, SENTENCE_SIZE_MAX, "why chosen or refused")                                    \
    F(S, node_id, copied_to, 16, "who gets a copy of the model first; zero: nobody")               \
    L(S, file_source, sources, MODEL_FILE_COUNT_MAX, "who would send which weight file")
#define CANDIDATES_LISTED_FIELDS(F, L, R, S)                                                       \
    F(S, text, model_id, NAME_SIZE_MAX, "")                                                        \
    L(S, candidate, candidates, CANDIDATE_COUNT_MAX, "best first")                                 \
    F(S, u32, left_off, 0, "so many more, all worse, were left off")

/* ---- signals ---- */

#define KERNEL_RATE_FIELDS(F, L, R, S)                                                             \
    F(S, u32, bits, 0, "of a packed weight")                                                       \
    F(S, u32, threads, 0, "that were at it")                                                       \
    F(S, u64, bytes_per_s, 0, "of packed weights read, a token at a time")                         \
    F(S, u64, products_per_s, 0, "multiplications, many tokens at a time")                         \
    F(S, mode, mode, MODE_END, "1 exact, 2 fast")                                                  \
    F(S, u64, attended_per_s, 0, "of attention, a token at a time; 0: as with 16 bits")            \
    F(S, u64, attended_many_per_s, 0, "the same, many tokens at a time")                           \
    F(S, u64, layer_ns, 0, "of a token in a layer beside its weights and attention")
#define NODE_LOAD_FIELDS(F, L, R, S)                                                               \
    F(S, u64, memory_free, 0, "bytes a placement may use now")                                     \
    F(S, u64, memory_total, 0, "bytes")                                                            \
    F(S, f64, cpu, 0, "share of all cores in use, 0 to 1")                                         \
    F(S, u64, disk_free, 0, "bytes free in the model store")                                       \
    L(S, kernel_rate, kernels, KERNEL_RATE_COUNT_MAX, "as measured once; empty: not yet")          \
    F(S, u64, entry_ns, 0, "to parse an entry of a JSON object and free it; 0: not measured")      \
    F(S, u64, near_ns, 0, "for a message from one of its processes to another; 0: not measured")   \
    F(S, u64, near_bytes_per_s, 0, "of what passes between them")                                  \
    F(S, u64, fresh_bytes_per_s, 0, "of memory that lay free, when first met; 0: not measured")    \
    F(S, u64, wake_ns, 0, "until a thread that slept runs, woken by one that computed")
#define LOAD_PROGRESSED_FIELDS(F, L, R, S)                                                         \
    F(S, instance_id, instance_id, 16, "")                                                         \
    R(S, generation, generation, "")                                                               \
    F(S, u32, rank, RANK_COUNT_MAX, "")                                                            \
    F(S, u64, bytes_have, 0, "")                                                                   \
    F(S, u64, bytes_total, 0, "")
#define IMPORT_PROGRESSED_FIELDS(F, L, R, S)                                                       \
    F(S, text, model_id, NAME_SIZE_MAX, "")                                                        \
    F(S, node_id, node_id, 16, "whose disk")                                                       \
    F(S, u64, bytes_have, 0, "")                                                                   \
    F(S, u64, bytes_total, 0, "")                                                                  \
    F(S, text, file, NAME_SIZE_MAX, "that is worked on; empty: not told")                          \
    F(S, u64, file_have, 0, "")                                                                    \
    F(S, u64, file_total, 0, "")                                                                   \
    F(S, u64, bytes_per_s, 0, "of all sources; 0: not told")                                       \
    F(S, u64, bytes_hub, 0, "that came from the hub, since its process began")                     \
    F(S, u64, bytes_peers, 0, "that came from other nodes, likewise")
#define HEARTBEAT_FIELDS(F, L, R, S)                                                               \
    F(S, instance_id, instance_id, 16, "of a rank")                                                \
    R(S, generation, generation, "of a rank")                                                      \
    F(S, u32, rank, RANK_COUNT_MAX, "")                                                            \
    F(S, u64, entered, 0, "number of the collective its engine has entered")                       \
    F(S, u64, finished, 0, "and finished")                                                         \
    F(S, u64, works, 0, "grows while its engine computes, and not while it waits")

/* ---- every connection ---- */

#define HELLO_FIELDS(F, L, R, S)                                                                   \
    F(S, actor_kind, actor, ACTOR_KIND_END, "who speaks")                                          \
    F(S, u64, incarnation, 0, "")                                                                  \
    F(S, node_id, node_id, 16, "zero from a local actor that cannot know it yet")                  \
    F(S, hash, schema, 32, "hash of the schema; local actors must be of one build")                \
    F(S, u32, protocol_min, 0, "")                                                                 \
    F(S, u32, protocol_max, 0, "")                                                                 \
    F(S, text, build, BUILD_SIZE_MAX, "")                                                          \
    F(S, u64, index, 0, "last event it has applied; 0: send a snapshot")                           \
    R(S, epoch, epoch, "of that event; zero: not told, and not compared")                          \
    F(S, boolean, wants_events, 0, "false: commands and questions only")                           \
    F(S, text, address, ADDRESS_SIZE_MAX, "tcp endpoint it bound, if any")                         \
    F(S, public_key, key, 32, "its CURVE key for this life")                                       \
    F(S, instance_id, instance_id, 16, "of a launcher or runner")                                  \
    R(S, generation, generation, "of a launcher or runner")                                        \
    F(S, u32, rank, RANK_COUNT_MAX, "of a launcher or runner")                                     \
    F(S, u32, world_size, RANK_COUNT_MAX, "of a launcher or runner")
#define WELCOME_FIELDS(F, L, R, S)                                                                 \
    F(S, node_id, node_id, 16, "of the node asked")                                                \
    F(S, cluster_id, cluster_id, 16, "zero: not in a cluster yet")                                 \
    F(S, u64, index, 0, "last event of the node asked")                                            \
    R(S, epoch, epoch, "zero leader: none known")                                                  \
    F(S, public_key, key, 32, "CURVE key of the node's master")                                    \
    F(S, text, address, ADDRESS_SIZE_MAX, "tcp address of the node's master")                      \
    F(S, boolean, is_leader, 0, "")
/* The whole state in parts; `index` is its last event, events follow from index + 1. */
#define SNAPSHOT_PART_FIELDS(F, L, R, S)                                                           \
    F(S, u64, index, 0, "")                                                                        \
    F(S, u64, offset, 0, "")                                                                       \
    F(S, u64, total, 0, "")                                                                        \
    F(S, bytes, part, PART_SIZE_MAX, "")                                                           \
    F(S, hash, chain, 32, "chain value of the log at index")                                       \
    R(S, epoch, record_epoch, "epoch of the record at index")                                      \
    F(S, u64, time_ms, 0, "of the record at index")
#define ASK_STATE_FIELDS(F, L, R, S) F(S, u32, unused, 1, "answered by snapshot_part")
#define ASK_CANDIDATES_FIELDS(F, L, R, S) R(S, place_instance, request, "")
#define ASK_EVENTS_FIELDS(F, L, R, S)                                                              \
    F(S, u64, index, 0, "first index wanted")                                                      \
    F(S, u32, count, 100000, "at most so many")

/* ---- master to master ---- */

#define CANDIDACY_FIELDS(F, L, R, S)                                                               \
    R(S, epoch, last_epoch, "highest epoch of its own log")                                        \
    F(S, u64, index, 0, "length of its log")                                                       \
    R(S, epoch, seen_epoch, "highest epoch it has seen anywhere")                                  \
    F(S, boolean, is_question, 0, "true: asks; false: answers")                                    \
    F(S, boolean, has_leader, 0, "an answerer that hears its leader says so")                      \
    F(S, text, address, ADDRESS_SIZE_MAX, "present address")
#define LEADER_BEAT_FIELDS(F, L, R, S)                                                             \
    F(S, u64, index, 0, "length of the leader's log")                                              \
    F(S, u64, committed, 0, "events up to here may be applied")                                    \
    F(S, u64, count, 0, "counts beats of the epoch; echoed, so that a lease counts from sending")
#define FOLLOWER_BEAT_FIELDS(F, L, R, S)                                                           \
    F(S, u64, synced, 0, "on its disk")                                                            \
    F(S, u64, count, 0, "of the leader beat answered")                                             \
    R(S, epoch, tail_epoch, "epoch of its last record")                                            \
    F(S, hash, tail_chain, 32, "chain value of its last record")
#define LOG_RECORD_FIELDS(F, L, R, S)                                                              \
    F(S, u64, index, 0, "")                                                                        \
    R(S, epoch, epoch, "that wrote it")                                                            \
    F(S, u64, time_ms, 0, "")                                                                      \
    F(S, bytes, body, MESSAGE_SIZE_MAX, "an encoded event")                                        \
    F(S, hash, chain, 32, "chain value after this record")
#define RECORDS_SENT_FIELDS(F, L, R, S)                                                            \
    F(S, u64, previous_index, 0, "the record before the first")                                    \
    F(S, hash, previous_chain, 32, "its chain value")                                              \
    L(S, log_record, records, RECORDS_PER_APPEND_MAX, "")                                          \
    F(S, u64, committed, 0, "")                                                                    \
    F(S, boolean, is_parting, 0, "the logs part after previous_index: cut what you have beyond")
#define RECORDS_ASKED_FIELDS(F, L, R, S)                                                           \
    F(S, u64, index, 0, "first index wanted")                                                      \
    F(S, hash, chain, 32, "chain value at index - 1, to find where two logs part")                 \
    F(S, u64, known_index, 0, "an index both may share")                                           \
    F(S, boolean, is_repair, 0, "the asker's own copy is damaged there")
#define CHAIN_ASKED_FIELDS(F, L, R, S) F(S, u64, index, 0, "what is your chain value there?")
#define CHAIN_TOLD_FIELDS(F, L, R, S)                                                              \
    F(S, u64, index, 0, "")                                                                        \
    F(S, boolean, is_known, 0, "false: before the oldest or after the last record")                \
    F(S, hash, chain, 32, "")
/* A command, report or signal on its way from a follower's local actor to the leader, and back. */
#define FORWARDED_FIELDS(F, L, R, S)                                                               \
    F(S, u64, ticket, 0, "of the follower, to route the answer")                                   \
    F(S, bytes, message, MESSAGE_SIZE_MAX, "the message as it was")

/* ---- launcher to launcher, runner to runner ---- */

#define FENCE_CONTRIBUTED_FIELDS(F, L, R, S)                                                       \
    R(S, generation, generation, "")                                                               \
    F(S, text, signature, 512, "its ranks in ascending order, \"0,2\"; \"*\": all")                \
    F(S, u64, number, 0, "counts the fences of this signature")                                    \
    F(S, u32, rank, RANK_COUNT_MAX, "node index of the sender")                                    \
    F(S, bytes, blob, PART_SIZE_MAX, "")
#define MODEX_ASKED_FIELDS(F, L, R, S)                                                             \
    F(S, u32, rank, RANK_COUNT_MAX, "")                                                            \
    F(S, u64, ticket, 0, "")
#define MODEX_TOLD_FIELDS(F, L, R, S)                                                              \
    F(S, u64, ticket, 0, "")                                                                       \
    F(S, bytes, blob, PART_SIZE_MAX, "")
/* Opens a busy period or plans one step of it; numbered without gaps. */
#define STEP_PLANNED_FIELDS(F, L, R, S)                                                            \
    F(S, u64, number, 0, "a gap ends the generation")                                              \
    F(S, u32s, slots, TOKEN_IDS_MAX, "KV slot of each row")                                        \
    F(S, u32s, positions, TOKEN_IDS_MAX, "position of each row")                                   \
    F(S, u32s, tokens, TOKEN_IDS_MAX, "token id of each row")                                      \
    F(S, u32s, wanted, TOKEN_IDS_MAX, "1 where logits are wanted")                                 \
    F(S, u32s, changes, 4096, "before the step, in order: 2 * slot opens, 2 * slot + 1 closes")    \
    F(S, u32s, asks, MESSAGE_SIZE_MAX / 4, "how the wanted rows are sampled, for the last stage")
#define HIDDEN_SENT_FIELDS(F, L, R, S)                                                             \
    F(S, u64, number, 0, "of the step")                                                            \
    F(S, u32, rows, 0, "")                                                                         \
    F(S, u32, offset, 0, "in words of 4 bytes; what is long comes in parts")                       \
    F(S, bytes, values, MESSAGE_SIZE_MAX,                                                          \
      "little-endian fp32; from the last stage to rank 0 what a token is drawn from")

/* ---- gateway to runner ---- */

#define SAMPLING_ASKED_FIELDS(F, L, R, S)                                                          \
    F(S, boolean, has_temperature, 0, "false: from generation_config.json, else 1")                \
    F(S, f64, temperature, 0, "")                                                                  \
    F(S, boolean, has_top_p, 0, "")                                                                \
    F(S, f64, top_p, 0, "")                                                                        \
    F(S, boolean, has_top_k, 0, "")                                                                \
    F(S, u32, top_k, 0, "")                                                                        \
    F(S, boolean, has_min_p, 0, "")                                                                \
    F(S, f64, min_p, 0, "")                                                                        \
    F(S, boolean, has_repetition_penalty, 0, "")                                                   \
    F(S, f64, repetition_penalty, 0, "")                                                           \
    F(S, u32, repetition_window, 0, "0: 20")                                                       \
    F(S, f64, presence_penalty, 0, "")                                                             \
    F(S, f64, frequency_penalty, 0, "")                                                            \
    F(S, u64, seed, 0, "always given: drawn once by the gateway when the client gives none")       \
    F(S, boolean, has_logprobs, 0, "")                                                             \
    F(S, u32, top_logprobs, TOP_LOGPROB_COUNT_MAX, "")                                             \
    F(S, u32s, bias_ids, 1024, "logit bias: token ids")                                            \
    F(S, bytes, bias_values, 8192, "little-endian fp32, one for each id")
#define STOP_TEXT_FIELDS(F, L, R, S) F(S, text, text, STOP_SIZE_MAX, "")
#define GENERATE_FIELDS(F, L, R, S)                                                                \
    F(S, request_id, request_id, 16, "")                                                           \
    F(S, u32, attempt, 0, "counts resumptions; an older one is dropped")                           \
    F(S, text, messages, MESSAGES_JSON_SIZE_MAX, "chat messages as JSON; empty when resumed")      \
    F(S, text, tools, MESSAGES_JSON_SIZE_MAX, "JSON or empty")                                     \
    F(S, text, options, MESSAGES_JSON_SIZE_MAX, "template options as JSON object or empty")        \
    F(S, text, prompt, MESSAGES_JSON_SIZE_MAX, "plain text instead of messages")                   \
    F(S, u32s, prompt_ids, TOKEN_IDS_MAX, "when resumed: as accepted before")                      \
    F(S, u32s, sent_ids, TOKEN_IDS_MAX, "when resumed: every token id received")                   \
    F(S, u64, sent_text, 0, "when resumed: bytes of text received")                                \
    R(S, sampling_asked, sampling, "")                                                             \
    F(S, u32, tokens_max, 0, "0: as many as the context holds")                                    \
    L(S, stop_text, stops, STOP_COUNT_MAX, "")                                                     \
    F(S, boolean, ignore_eos, 0, "measurements only")                                              \
    F(S, text, demand, DEMAND_SIZE_MAX, "the form asked of the answer, JSON or empty")
#define GENERATION_ACCEPTED_FIELDS(F, L, R, S)                                                     \
    F(S, request_id, request_id, 16, "")                                                           \
    F(S, u32, attempt, 0, "")                                                                      \
    F(S, u32s, prompt_ids, TOKEN_IDS_MAX, "")                                                      \
    F(S, u32, tokens_max, 0, "what the context leaves")
#define GENERATION_REFUSED_FIELDS(F, L, R, S)                                                      \
    F(S, request_id, request_id, 16, "")                                                           \
    F(S, u32, attempt, 0, "")                                                                      \
    F(S, status_code, status, 0, "")                                                               \
    F(S, text, reason, SENTENCE_SIZE_MAX, "")                                                      \
    F(S, boolean, is_demand, 0, "the form asked of the answer is at fault")
#define TOP_LOGPROB_FIELDS(F, L, R, S)                                                             \
    F(S, u32, id, 0, "")                                                                           \
    F(S, bytes, piece, PIECE_SIZE_MAX, "bytes of the token")                                       \
    F(S, f64, logprob, 0, "")
#define CALL_PIECE_FIELDS(F, L, R, S)                                                              \
    F(S, u32, number, 0, "of the call in the answer, from 0")                                      \
    F(S, text, name, NAME_SIZE_MAX, "of the tool, in the first piece of a call")                   \
    F(S, text, arguments, SAID_SIZE_MAX, "more of its arguments, which are a JSON object")
#define TOKEN_STREAMED_FIELDS(F, L, R, S)                                                          \
    F(S, request_id, request_id, 16, "")                                                           \
    F(S, u32, attempt, 0, "")                                                                      \
    F(S, u32, number, 0, "of the token in the answer, from 0")                                     \
    F(S, u32, id, 0, "")                                                                           \
    F(S, text, text, SAID_SIZE_MAX, "complete characters that became certain with this token")     \
    F(S, u64, text_end, 0, "bytes of text of the answer after this piece")                         \
    F(S, bytes, piece, PIECE_SIZE_MAX, "bytes of the token itself, for logprobs")                  \
    F(S, f64, logprob, 0, "")                                                                      \
    L(S, top_logprob, top, TOP_LOGPROB_COUNT_MAX, "")                                              \
    F(S, text, reasoning, SAID_SIZE_MAX, "of the thinking, likewise; not in the text")             \
    L(S, call_piece, calls, CALL_PIECE_COUNT_MAX, "of calls of tools, likewise")                   \
    F(S, boolean, is_thinking, 0, "the token belongs to the thinking")
#define PREFILL_PROGRESSED_FIELDS(F, L, R, S)                                                      \
    F(S, request_id, request_id, 16, "")                                                           \
    F(S, u32, attempt, 0, "")                                                                      \
    F(S, u32, tokens_have, 0, "")                                                                  \
    F(S, u32, tokens_total, 0, "")
#define GENERATION_FINISHED_FIELDS(F, L, R, S)                                                     \
    F(S, request_id, request_id, 16, "")                                                           \
    F(S, u32, attempt, 0, "")                                                                      \
    F(S, u32, reason, FINISH_END, "1 stop, 2 length, 3 cancelled, 4 failed")                       \
    F(S, text, text, SAID_SIZE_MAX, "what was held back and is certain now")                       \
    F(S, u64, text_end, 0, "")                                                                     \
    F(S, u32, prompt_tokens, 0, "")                                                                \
    F(S, u32, answer_tokens, 0, "each counted once, over all attempts")                            \
    F(S, status_code, status, 0, "when failed")                                                    \
    F(S, text, sentence, SENTENCE_SIZE_MAX, "when failed")                                         \
    F(S, text, reasoning, SAID_SIZE_MAX, "held back, as in token_streamed")                        \
    L(S, call_piece, calls, CALL_PIECE_COUNT_MAX, "")
#define CANCEL_GENERATION_FIELDS(F, L, R, S)                                                       \
    F(S, request_id, request_id, 16, "")                                                           \
    F(S, u32, attempt, 0, "")

/* ---- transferer to transferer ---- */

#define FILE_ASKED_FIELDS(F, L, R, S)                                                              \
    F(S, text, model_id, NAME_SIZE_MAX, "")                                                        \
    F(S, hash, revision, 32, "")                                                                   \
    F(S, text, name, NAME_SIZE_MAX, "must stand in the manifest of that revision")                 \
    F(S, u64, offset, 0, "")                                                                       \
    F(S, u32, size, 0, "so many bytes, in several parts; 0: one part, of a small file alone")
#define FILE_PART_FIELDS(F, L, R, S)                                                               \
    F(S, text, model_id, NAME_SIZE_MAX, "")                                                        \
    F(S, hash, revision, 32, "")                                                                   \
    F(S, text, name, NAME_SIZE_MAX, "")                                                            \
    F(S, u64, offset, 0, "")                                                                       \
    F(S, u64, total, 0, "")                                                                        \
    F(S, status_code, status, 0, "not OK: the file cannot be had here")                            \
    F(S, bytes, part, PART_SIZE_MAX, "")

#define LINK_RECORD_LIST(X)                                                                        \
    X(envelope, ENVELOPE)                                                                          \
    X(start_process, START_PROCESS)                                                                \
    X(stop_process, STOP_PROCESS)                                                                  \
    X(import_model, IMPORT_MODEL)                                                                  \
    X(fetch_small_files, FETCH_SMALL_FILES)                                                        \
    X(delete_files, DELETE_FILES)                                                                  \
    X(list_tasks, LIST_TASKS)                                                                      \
    X(nothing, NOTHING)                                                                            \
    X(task_held, TASK_HELD)                                                                        \
    X(tasks_listed, TASKS_LISTED)                                                                  \
    X(candidate, CANDIDATE)                                                                        \
    X(candidates_listed, CANDIDATES_LISTED)                                                        \
    X(kernel_rate, KERNEL_RATE)                                                                    \
    X(node_load, NODE_LOAD)                                                                        \
    X(load_progressed, LOAD_PROGRESSED)                                                            \
    X(import_progressed, IMPORT_PROGRESSED)                                                        \
    X(heartbeat, HEARTBEAT)                                                                        \
    X(hello, HELLO)                                                                                \
    X(welcome, WELCOME)                                                                            \
    X(snapshot_part, SNAPSHOT_PART)                                                                \
    X(ask_state, ASK_STATE)                                                                        \
    X(ask_candidates, ASK_CANDIDATES)                                                              \
    X(ask_events, ASK_EVENTS)                                                                      \
    X(candidacy, CANDIDACY)                                                                        \
    X(leader_beat, LEADER_BEAT)                                                                    \
    X(follower_beat, FOLLOWER_BEAT)                                                                \
    X(log_record, LOG_RECORD)                                                                      \
    X(records_sent, RECORDS_SENT)                                                                  \
    X(records_asked, RECORDS_ASKED)                                                                \
    X(chain_asked, CHAIN_ASKED)                                                                    \
    X(chain_told, CHAIN_TOLD)                                                                      \
    X(forwarded, FORWARDED)                                                                        \
    X(fence_contributed, FENCE_CONTRIBUTED)                                                        \
    X(modex_asked, MODEX_ASKED)                                                                    \
    X(modex_told, MODEX_TOLD)                                                                      \
    X(step_planned, STEP_PLANNED)                                                                  \
    X(hidden_sent, HIDDEN_SENT)                                                                    \
    X(sampling_asked, SAMPLING_ASKED)                                                              \
    X(stop_text, STOP_TEXT)                                                                        \
    X(generate, GENERATE)                                                                          \
    X(generation_accepted, GENERATION_ACCEPTED)                                                    \
    X(generation_refused, GENERATION_REFUSED)                                                      \
    X(top_logprob, TOP_LOGPROB)                                                                    \
    X(call_piece, CALL_PIECE)                                                                      \
    X(token_streamed, TOKEN_STREAMED)                                                              \
    X(prefill_progressed, PREFILL_PROGRESSED)                                                      \
    X(generation_finished, GENERATION_FINISHED)                                                    \
    X(cancel_generation, CANCEL_GENERATION)                                                        \
    X(file_asked, FILE_ASKED)                                                                      \
    X(file_part, FILE_PART)                                                                        \
    DOWNLOAD_LINK_LIST(X)                                                                          \
    REACH_RECORD_LIST(X)                                                                           \
    TRANSFER_LINK_LIST(X)

enum message_kind {
    MESSAGE_NONE,
    MESSAGE_COMMAND,
    MESSAGE_EVENT,
    MESSAGE_REPORT,
    MESSAGE_TASK,
    MESSAGE_SIGNAL,
    MESSAGE_ANSWER,
    MESSAGE_LINK,
    MESSAGE_KIND_END
};

enum task_phase { TASK_NONE, TASK_RUNNING, TASK_DONE, TASK_FAILED, TASK_PHASE_END };
enum finish {
    FINISH_NONE,
    FINISH_STOP,
    FINISH_LENGTH,
    FINISH_CANCELLED,
    FINISH_FAILED,
    FINISH_END
};

#endif
