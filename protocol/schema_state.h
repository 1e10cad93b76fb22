/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schema_state: rows of the replicated state and of the events, commands and reports about it.
 *
 * Include protocol/schema.h, not this file.
 */
#ifndef TROUPE_PROTOCOL_SCHEMA_STATE_H
#define TROUPE_PROTOCOL_SCHEMA_STATE_H

#include "protocol/kv_format.h"
#include "protocol/sharding.h"

#define EPOCH_FIELDS(F, L, R, S)                                                                   \
    F(S, u64, number, 0, "counts leaders; 0 is none yet")                                          \
    F(S, node_id, leader, 16, "its leader; the pair is compared in this order")

#define GENERATION_FIELDS(F, L, R, S)                                                              \
    F(S, u64, epoch, 0, "number of the epoch that started it")                                     \
    F(S, node_id, leader, 16, "leader of that epoch")                                              \
    F(S, u64, counter, 0, "counts generations of the instance")

#define FILE_ENTRY_FIELDS(F, L, R, S)                                                              \
    F(S, text, name, NAME_SIZE_MAX, "plain file name inside the model directory")                  \
    F(S, u64, size, 0, "bytes")                                                                    \
    F(S, hash, digest, 32, "BLAKE2b-256 of the content")                                           \
    F(S, boolean, is_weight, 0, "weights travel by MPI, the rest is kept on every disk")           \
    F(S, text, etag, 64, "what hubs name it by: hex SHA-256 or git SHA-1; empty: not known")

#define LAYER_RUN_FIELDS(F, L, R, S)                                                               \
    F(S, u32, layers, LAYER_COUNT_MAX, "so many in a row are alike")                               \
    F(S, u32, mixer, 0, "class of its units: 1 attention, 2 latent, 3 DeltaNet")                   \
    F(S, u32, units, 0, "pieces a tensor cut may share the mixer in")                              \
    F(S, u32, unit_heads, 0, "attention, DeltaNet: query or value heads in a piece")               \
    F(S, u32, per_kv, 0, "the same of a key-value or key head; else 0")                            \
    F(S, u32, heads, 0, "of the cache: for each piece, or key-value head")                         \
    F(S, u32, key_dim, 0, "elements of a key, or of a latent row")                                 \
    F(S, u32, value_dim, 0, "elements of a value; 0: the front of the key")                        \
    F(S, u32, window, 0, "positions kept for each request; 0: all, in pages")                      \
    F(S, u32, state_floats, 0, "kept for each request instead of positions, in a unit")            \
    F(S, boolean, is_shared, 0, "each rank of a tensor cut keeps the whole cache")                 \
    F(S, u64, mixer_bytes, 0, "weights of a layer cut by units")                                   \
    F(S, u64, kv_bytes, 0, "weights of a layer cut by key-value heads")                            \
    F(S, u32, ffn, 0, "class of its columns: 4 FFN, 5 experts")                                    \
    F(S, u32, ffn_units, 0, "pieces of its columns; 0: nothing of a layer is cut so")              \
    F(S, u64, ffn_bytes, 0, "weights of a layer cut by columns")                                   \
    F(S, u32, shared_units, 0, "pieces of the columns of a shared expert; 0: none")                \
    F(S, u64, shared_bytes, 0, "weights of a layer cut so")                                        \
    F(S, u64, whole_bytes, 0, "weights of a layer that every rank keeps")                          \
    F(S, u32, key_floats, 0, "DeltaNet: kept for each request, of a key head")                     \
    F(S, u32, ffn_columns, 0, "of a layer, for people")                                            \
    F(S, u32, shared_columns, 0, "the same of a shared expert")                                    \
    F(S, u32, experts, 0, "that share ffn_bytes; 0: none, all of it is read for a token")          \
    F(S, u32, experts_used, 0, "of them, for a token")

/* What placement needs to know of a model (runtime/model_card.h reads it from the directory). */
#define MODEL_SHAPE_FIELDS(F, L, R, S)                                                             \
    F(S, text, model_type, NAME_SIZE_MAX, "as in config.json")                                     \
    F(S, u32, layers, LAYER_COUNT_MAX, "transformer layers")                                       \
    F(S, u32, hidden, 0, "width of the residual stream")                                           \
    F(S, u32, heads, 0, "query heads")                                                             \
    F(S, u32, kv_heads, 0, "key and value heads of most layers")                                   \
    F(S, u32, intermediate, 0, "FFN columns, the most of any layer")                               \
    F(S, u32, vocab, 0, "rows of the embedding")                                                   \
    F(S, boolean, tied, 0, "the head is the embedding")                                            \
    F(S, u32, context, 0, "positions the model was made for")                                      \
    F(S, u64, embedding_bytes, 0, "all rows")                                                      \
    F(S, u64, head_bytes, 0, "all rows; 0 when tied")                                              \
    F(S, u64, norm_bytes, 0, "replicated on every rank")                                           \
    F(S, u64, weight_bytes, 0, "all tensors")                                                      \
    F(S, u64, products, 0, "multiplications in all layers for a token; 0: not counted")            \
    L(S, layer_run, runs, LAYER_COUNT_MAX, "the layers, first to last")

#define NODE_RECORD_FIELDS(F, L, R, S)                                                             \
    F(S, node_id, node_id, 16, "from its public keys")                                             \
    F(S, text, name, NAME_SIZE_MAX, "for people")                                                  \
    F(S, public_key, key, 32, "CURVE key of its master")                                           \
    F(S, public_key, sign_key, 32, "Ed25519 key")                                                  \
    F(S, text, address, ADDRESS_SIZE_MAX, "last good address of its master")                       \
    F(S, boolean, in_view, 0, "commits wait for it")                                               \
    F(S, boolean, counts, 0, "was in the view once: it counts for a majority")                     \
    F(S, machine_id, machine_id, 16, "nodes of one machine share memory and cores")                \
    F(S, u32, cores, 0, "logical processors it may use")                                           \
    F(S, u64, memory_bytes, 0, "memory it may use for models")                                     \
    F(S, text, fabric, ADDRESS_SIZE_MAX, "address its ranks use for MPI")                          \
    F(S, text, http, ADDRESS_SIZE_MAX, "address of its HTTP API")                                  \
    F(S, text, build, BUILD_SIZE_MAX, "ranks of one generation must be of one build")              \
    F(S, text, hosts, SENTENCE_SIZE_MAX, "its addresses, best first, with spaces between")

#define TOKEN_RECORD_FIELDS(F, L, R, S)                                                            \
    F(S, public_key, key, 32, "one-time CURVE key, allowed to say join")                           \
    F(S, u64, expires_ms, 0, "wall clock")                                                         \
    F(S, node_id, spent_by, 16, "who joined with it; zero while unused")                           \
    F(S, text, label, NAME_SIZE_MAX, "for people")

#define CLIENT_RECORD_FIELDS(F, L, R, S)                                                           \
    F(S, public_key, key, 32, "CURVE key")                                                         \
    F(S, text, name, NAME_SIZE_MAX, "for people")                                                  \
    F(S, client_role, role, 3, "1 read, 2 operate, 3 admin")

#define ENDPOINT_RECORD_FIELDS(F, L, R, S)                                                         \
    F(S, node_id, node_id, 16, "where it runs")                                                    \
    F(S, actor_kind, actor, ACTOR_KIND_END, "what it is")                                          \
    F(S, u64, incarnation, 0, "random number of the spawn")                                        \
    F(S, text, address, ADDRESS_SIZE_MAX, "tcp endpoint it bound; empty if it only connects")      \
    F(S, public_key, key, 32, "its CURVE key for this life")

#define HOLDER_RECORD_FIELDS(F, L, R, S)                                                           \
    F(S, node_id, node_id, 16, "who")                                                              \
    F(S, boolean, has_weights, 0, "all of them; false: the small files and those of held")         \
    F(S, bytes, held, FILE_SET_BYTES_MAX, "some weights: a bit for each file, low bits first")     \
    F(S, u64, whole_index, 0, "event since which it has those weights")

#define MODEL_RECORD_FIELDS(F, L, R, S)                                                            \
    F(S, text, model_id, NAME_SIZE_MAX, "name of the model in the cluster")                        \
    F(S, hash, revision, 32, "digest of the sorted file list")                                     \
    R(S, model_shape, shape, "what placement reckons with")                                        \
    L(S, file_entry, files, MODEL_FILE_COUNT_MAX, "sorted by name")                                \
    L(S, holder_record, holders, NODE_COUNT_MAX, "who has it on disk")                             \
    F(S, hash, manifest, 32, "digest of its chunk_manifest; zero: it was never cut")               \
    F(S, node_id, signer, 16, "whose key signed it")                                               \
    F(S, signature, signature, 64, "over model, revision and manifest")                            \
    F(S, text, commit, 40, "of the hub, else from the revision; empty: not known")                 \
    F(S, boolean, is_pinned, 0, "never removed to make room, nor by remove_model")                 \
    F(S, u64, used_ms, 0, "wall clock of the last generation that began with it; 0: none") \
    F(S, text, branch, NAME_SIZE_MAX, "or tag of the hub it was pulled by; empty: main")

/* So that a node that was away does not bring it back. */
#define REMOVED_RECORD_FIELDS(F, L, R, S)                                                          \
    F(S, text, model_id, NAME_SIZE_MAX, "")                                                        \
    F(S, hash, revision, 32, "")

#define IMPORT_RECORD_FIELDS(F, L, R, S)                                                           \
    F(S, node_id, node_id, 16, "whose downloader works on it")                                     \
    F(S, text, model_id, NAME_SIZE_MAX, "name it will get")                                        \
    F(S, text, path, PATH_SIZE_MAX, "directory on that node; empty: it comes from the hub")        \
    F(S, text, hub_revision, NAME_SIZE_MAX, "branch, tag or commit at the hub; empty: main")       \
    F(S, u64, requested_index, 0, "event that asked for it")

#define FILE_SOURCE_FIELDS(F, L, R, S)                                                             \
    F(S, text, name, NAME_SIZE_MAX, "weight file")                                                 \
    F(S, u32, rank, RANK_COUNT_MAX, "the one rank that sends it")                                  \
    F(S, u64, holders, 0, "ranks that have it on their own disk: a bit for each")

/* runtime/partition.h says how an edge lies in each layer. */
#define CUT_RECORD_FIELDS(F, L, R, S)                                                              \
    F(S, u32, kind, 0, "1 attention, 2 latent, 3 DeltaNet, 4 FFN, 5 experts, 6 shared expert")     \
    F(S, u32, layers, 0, "of the model that have it")                                              \
    F(S, u32, units, 0, "of each of these layers")                                                 \
    F(S, u32, step, 0, "units that are not parted; divides them")                                  \
    F(S, u32, first, 0, "of units / step * layers")                                                \
    F(S, u32, end, 0, "one past the last")

#define RANK_WAY_FIELDS(F, L, R, S)                                                                \
    F(S, node_id, node_id, 16, "of a sibling")                                                     \
    F(S, text, host, ADDRESS_SIZE_MAX, "where that one reaches the rank")

#define RANK_RECORD_FIELDS(F, L, R, S)                                                             \
    F(S, node_id, node_id, 16, "where it runs")                                                    \
    F(S, u32, layer_first, LAYER_COUNT_MAX, "")                                                    \
    F(S, u32, layer_end, LAYER_COUNT_MAX, "one past the last")                                     \
    L(S, cut_record, cuts, CUT_COUNT_MAX, "its units of each class")                               \
    F(S, u32, vocab_first, 0, "rows of embedding and head")                                        \
    F(S, u32, vocab_end, 0, "")                                                                    \
    F(S, u32, threads, 1024, "cores this rank may use")                                            \
    F(S, boolean, has_weights, 0, "its node holds all weight files; else sources say which")       \
    F(S, u64, weight_bytes, 0, "packed weights it keeps")                                          \
    F(S, u64, cache_bytes, 0, "KV cache when all of it is used")                                   \
    F(S, u64, scratch_bytes, 0, "activations and the load window")                                 \
    F(S, rank_status, status, RANK_STATUS_END, "life of its runner in this generation")            \
    F(S, text, runner_address, ADDRESS_SIZE_MAX, "where its siblings connect")                     \
    F(S, public_key, runner_key, 32, "")                                                           \
    F(S, text, launcher_address, ADDRESS_SIZE_MAX, "")                                             \
    F(S, public_key, launcher_key, 32, "")                                                         \
    F(S, text, gateway_address, ADDRESS_SIZE_MAX, "of rank 0: where gateways connect")             \
    F(S, boolean, is_source, 0, "it sends weight files, keeps none and leaves; after all others")  \
    F(S, u32, share, 0, "of all weights, in hundredths of a percent")                              \
    F(S, text, fabric, ADDRESS_SIZE_MAX, "proven for all its siblings; empty: that of its node")   \
    F(S, text, front, ADDRESS_SIZE_MAX, "of rank 0, for gateways; empty: that of its node")        \
    F(S, text, rdma, NAME_SIZE_MAX, "device its MPI uses; empty: TCP at its address")              \
    F(S, u32, stage, RANK_COUNT_MAX, "of the pipeline; ranks of one stage share its layers")       \
    L(S, rank_way, ways, RANK_COUNT_MAX, "siblings that do not reach it at fabric, but elsewhere")

#define INSTANCE_RECORD_FIELDS(F, L, R, S)                                                         \
    F(S, instance_id, instance_id, 16, "")                                                         \
    F(S, text, model_id, NAME_SIZE_MAX, "")                                                        \
    F(S, hash, revision, 32, "")                                                                   \
    F(S, sharding, sharding, SHARDING_END, "0 none, 1 pipeline, 2 tensor, 3 pipeline-tensor")      \
    F(S, mode, mode, MODE_END, "1 exact, 2 fast")                                                  \
    F(S, u32, context, 0, "positions promised to a request")                                       \
    F(S, u32, positions, 0, "KV cache: for all requests together, at least the context")           \
    F(S, u32, requests, REQUESTS_RUNNING_MAX, "at once, each with its windows and states")         \
    F(S, u32, reserve, 0, "tokens of an answer a request has room for when it begins")             \
    F(S, kv_format, kv_format, KV_FORMAT_END, "1 f32, 3 int8, 4 bf16")                             \
    L(S, rank_record, ranks, RANK_COUNT_MAX, "rank 0 first; those that only send come last")       \
    L(S, file_source, sources, MODEL_FILE_COUNT_MAX, "who sends which weight file")                \
    F(S, text, why, SENTENCE_SIZE_MAX, "why this placement was chosen")                            \
    R(S, place_instance, request, "the command, so that it can be placed again")                   \
    R(S, generation, generation, "the present or last one")                                        \
    F(S, instance_status, status, INSTANCE_STATUS_END, "")                                         \
    F(S, u32, failures, 0, "failed generations in the present window")                             \
    F(S, u64, window_ms, 0, "wall clock of the first of them")                                     \
    F(S, u64, ready_ms, 0, "wall clock at which the present generation became ready")              \
    F(S, u64, retry_at_ms, 0, "wall clock before which no generation starts")                      \
    F(S, text, last_reason, SENTENCE_SIZE_MAX, "why the last generation ended")                    \
    F(S, u64, changed_index, 0, "last event about it")                                             \
    F(S, transfer_id, transfer_id, 16, "copying: what brings the model to rank 0's disk")          \
    F(S, boolean, is_asymmetric, 0, "a tensor cut in unequal shares")                              \
    F(S, boolean, is_upgraded, 0, "equal shares were asked for; why says why it has others")       \
    F(S, f64, tokens_per_s, 0, "predicted, of one request; 0: not")                                \
    F(S, f64, first_token_s, 0, "predicted, for a prompt of 512 tokens; 0: not")                   \
    F(S, f64, load_s, 0, "predicted, to load the weights; 0: not")                             \
    F(S, text, transport, SENTENCE_SIZE_MAX, "why MPI uses TCP although there is RDMA")            \
    F(S, u64, started_ms, 0, "wall clock at which the present generation began to load")

#define INCARNATION_RECORD_FIELDS(F, L, R, S)                                                      \
    F(S, node_id, node_id, 16, "")                                                                 \
    F(S, actor_kind, actor, ACTOR_KIND_END, "")                                                    \
    F(S, u64, incarnation, 0, "")                                                                  \
    F(S, u64, sequence, 0, "last report of it that became an event")

#define COMMAND_RECORD_FIELDS(F, L, R, S)                                                          \
    F(S, command_key, key, 16, "")                                                                 \
    F(S, u64, index, 0, "its event")

#define GIVEN_UP_RECORD_FIELDS(F, L, R, S)                                                         \
    F(S, node_id, node_id, 16, "")                                                                 \
    F(S, actor_kind, actor, ACTOR_KIND_END, "")                                                    \
    F(S, text, reason, SENTENCE_SIZE_MAX, "")

/* The state itself: what state_apply writes, what a snapshot holds, what the state hash covers. */
#define STATE_FIELDS(F, L, R, S)                                                                   \
    F(S, cluster_id, cluster_id, 16, "zero before the cluster was founded")                        \
    F(S, u64, index, 0, "last event applied; 0 is none")                                           \
    F(S, u64, time_ms, 0, "wall clock of that event")                                              \
    R(S, epoch, epoch, "of the last epoch_begun")                                                  \
    L(S, node_record, nodes, NODE_COUNT_MAX, "by admission")                                       \
    L(S, token_record, tokens, TOKEN_COUNT_MAX, "")                                                \
    L(S, client_record, clients, CLIENT_COUNT_MAX, "")                                             \
    L(S, endpoint_record, endpoints, ENDPOINT_COUNT_MAX, "")                                       \
    L(S, model_record, models, MODEL_COUNT_MAX, "")                                                \
    L(S, import_record, imports, IMPORT_COUNT_MAX, "")                                             \
    L(S, instance_record, instances, INSTANCE_COUNT_MAX, "")                                       \
    L(S, incarnation_record, incarnations, INCARNATION_COUNT_MAX, "")                              \
    L(S, command_record, commands, COMMAND_KEY_COUNT_MAX, "oldest first")                          \
    L(S, given_up_record, given_up, ENDPOINT_COUNT_MAX, "processes that died too often")           \
    L(S, transfer_record, transfers, TRANSFER_COUNT_MAX, "oldest first")                           \
    L(S, download_record, downloads, IMPORT_COUNT_MAX, "those under way")                          \
    L(S, removed_record, removed, REMOVED_COUNT_MAX, "models, oldest first")                       \
    L(S, download_end, download_ends, DOWNLOAD_END_COUNT_MAX, "targets, oldest first")

/* In the order in which one may contain another. */
#define STATE_RECORD_LIST(X)                                                                       \
    X(epoch, EPOCH)                                                                                \
    X(generation, GENERATION)                                                                      \
    X(file_entry, FILE_ENTRY)                                                                      \
    X(layer_run, LAYER_RUN)                                                                        \
    X(cut_record, CUT_RECORD)                                                                      \
    X(model_shape, MODEL_SHAPE)                                                                    \
    X(node_record, NODE_RECORD)                                                                    \
    X(token_record, TOKEN_RECORD)                                                                  \
    X(client_record, CLIENT_RECORD)                                                                \
    X(endpoint_record, ENDPOINT_RECORD)                                                            \
    X(holder_record, HOLDER_RECORD)                                                                \
    X(model_record, MODEL_RECORD)                                                                  \
    X(import_record, IMPORT_RECORD)                                                                \
    X(removed_record, REMOVED_RECORD)                                                              \
    X(file_source, FILE_SOURCE)                                                                    \
    X(rank_way, RANK_WAY)                                                                          \
    X(rank_record, RANK_RECORD)                                                                    \
    X(table_row, TABLE_ROW)                                                                        \
    X(place_instance, PLACE_INSTANCE)                                                              \
    X(instance_record, INSTANCE_RECORD)                                                            \
    X(incarnation_record, INCARNATION_RECORD)                                                      \
    X(command_record, COMMAND_RECORD)                                                              \
    X(given_up_record, GIVEN_UP_RECORD)                                                            \
    TRANSFER_STATE_LIST(X)                                                                         \
    DOWNLOAD_STATE_LIST(X)                                                                         \
    X(state, STATE)

enum mode { MODE_NONE, MODE_EXACT, MODE_FAST, MODE_END };
enum client_role { ROLE_NONE, ROLE_READ, ROLE_OPERATE, ROLE_ADMIN };

enum rank_status {
    RANK_PLACED,    /* nothing of it runs yet in this generation */
    RANK_ADDRESSED, /* its sockets are bound and reported */
    RANK_JOINED,    /* it is in the MPI world (or needs none) */
    RANK_LOADING,
    RANK_LOADED,
    RANK_READY, /* the canary passed */
    RANK_FAILED,
    RANK_RELEASED, /* a source that has sent all: its end is no failure */
    RANK_STATUS_END
};

enum instance_status {
    INSTANCE_STARTING, /* a generation is on its way to ready */
    INSTANCE_READY,
    INSTANCE_WAITING, /* backs off, or waits for a node, until retry_at_ms or a change */
    INSTANCE_FAILED,  /* gave up until a command or a change of nodes */
    INSTANCE_COPYING, /* its one rank has not the model on its disk: it gets it from a peer first */
    INSTANCE_DOWNLOADING, /* nobody has the model: the node of the only rank pulls it from a hub */
    INSTANCE_STATUS_END
};

/* ---- commands ---- */

/* runtime/partition_table.h */
#define TABLE_ROW_FIELDS(F, L, R, S)                                                               \
    F(S, text, what, NAME_SIZE_MAX, "what is cut, such as FFN columns")                            \
    F(S, u32, of, 0, "so many of it in a layer; 0: the model has one kind of it")                  \
    F(S, u32s, edges, 128, "of each rank the first, and one past the last")

#define PLACE_INSTANCE_FIELDS(F, L, R, S)                                                          \
    F(S, text, model_id, NAME_SIZE_MAX, "")                                                        \
    F(S, boolean, any_sharding, 0, "let the leader choose")                                        \
    F(S, sharding, sharding, SHARDING_END, "")                                                     \
    F(S, mode, mode, MODE_END, "0: fast")                                                          \
    F(S, u32, nodes_min, NODE_COUNT_MAX, "at least so many nodes; 0: one")                         \
    F(S, bytes, node_ids, 1024, "ids of the nodes to use, 16 bytes each; empty: any")              \
    F(S, u32s, shares, RANK_COUNT_MAX, "manual shares per rank; empty: by memory")                 \
    F(S, u32s, stages, RANK_COUNT_MAX, "ranks of each stage of pipeline-tensor; empty: by links")  \
    F(S, u32, context, 0, "positions to promise; 0: the most that fits, up to 32,768")             \
    F(S, u32, threads, 1024, "per rank; 0: share the machine's cores")                             \
    F(S, u32, requests, REQUESTS_RUNNING_MAX, "at once; 0: the leader's setting")                  \
    F(S, kv_format, kv_format, KV_FORMAT_END, "3 int8, 4 bf16; 0: the leader's setting")           \
    F(S, boolean, may_download, 0, "from a hub, when it is ORG/NAME and nobody knows it")          \
    L(S, table_row, table, TABLE_ROW_COUNT_MAX, "what each rank holds, by hand; empty: none")      \
    F(S, boolean, asymmetric, 0, "a tensor cut in unequal shares, by memory")

#define DELETE_INSTANCE_FIELDS(F, L, R, S) F(S, instance_id, instance_id, 16, "")
#define RETRY_INSTANCE_FIELDS(F, L, R, S) F(S, instance_id, instance_id, 16, "")

#define ADD_MODEL_FIELDS(F, L, R, S)                                                               \
    F(S, node_id, node_id, 16, "whose disk; zero: the node asked")                                 \
    F(S, text, model_id, NAME_SIZE_MAX, "name it gets")                                            \
    F(S, text, path, PATH_SIZE_MAX, "absolute path of a directory there")

#define PULL_MODEL_FIELDS(F, L, R, S)                                                              \
    F(S, node_id, node_id, 16, "whose disk; zero: the node asked")                                 \
    F(S, text, model_id, NAME_SIZE_MAX, "repository at the hub, and name it gets")                 \
    F(S, text, hub_revision, NAME_SIZE_MAX, "branch, tag or commit; empty: main")                  \
    F(S, boolean, is_all, 0, "to every node that is here")                                         \
    F(S, bytes, node_ids, 1024, "else to these, 16 bytes each; empty: to node_id")                 \
    F(S, boolean, no_peers, 0, "each takes all from the hub")

#define PIN_MODEL_FIELDS(F, L, R, S)                                                               \
    F(S, text, model_id, NAME_SIZE_MAX, "")                                                        \
    F(S, boolean, is_pinned, 0, "false: it may be removed again")
#define REMOVE_MODEL_FIELDS(F, L, R, S) F(S, text, model_id, NAME_SIZE_MAX, "")

#define CREATE_TOKEN_FIELDS(F, L, R, S)                                                            \
    F(S, public_key, key, 32, "public half; the secret half never leaves its maker")               \
    F(S, u64, expires_ms, 0, "wall clock")                                                         \
    F(S, text, label, NAME_SIZE_MAX, "")
#define REVOKE_TOKEN_FIELDS(F, L, R, S) F(S, public_key, key, 32, "")

#define JOIN_FIELDS(F, L, R, S)                                                                    \
    F(S, node_id, node_id, 16, "")                                                                 \
    F(S, text, name, NAME_SIZE_MAX, "")                                                            \
    F(S, public_key, key, 32, "CURVE key of the joining master")                                   \
    F(S, public_key, sign_key, 32, "")                                                             \
    F(S, signature, signature, 64, "by sign_key over cluster id, token key, node id and key")      \
    F(S, public_key, token_key, 32, "must be the key of the connection")                           \
    F(S, text, address, ADDRESS_SIZE_MAX, "where its master listens")
#define REMOVE_NODE_FIELDS(F, L, R, S) F(S, node_id, node_id, 16, "")

#define ADMIT_CLIENT_FIELDS(F, L, R, S)                                                            \
    F(S, public_key, key, 32, "")                                                                  \
    F(S, text, name, NAME_SIZE_MAX, "")                                                            \
    F(S, client_role, role, 3, "")
#define REMOVE_CLIENT_FIELDS(F, L, R, S) F(S, public_key, key, 32, "")

/* ---- events and reports (a report has the body of the event it becomes) ---- */

#define CLUSTER_FOUNDED_FIELDS(F, L, R, S)                                                         \
    F(S, cluster_id, cluster_id, 16, "")                                                           \
    R(S, node_record, node, "the first node")
#define NODE_ADMITTED_FIELDS(F, L, R, S)                                                           \
    R(S, node_record, node, "")                                                                    \
    F(S, public_key, token_key, 32, "the token this spends")
#define NODE_REMOVED_FIELDS(F, L, R, S) F(S, node_id, node_id, 16, "")
#define NODE_DESCRIBED_FIELDS(F, L, R, S)                                                          \
    R(S, node_record, node, "present facts of a node; in_view and keys are not taken from it")
#define TOKEN_CREATED_FIELDS(F, L, R, S) R(S, token_record, token, "")
#define TOKEN_REVOKED_FIELDS(F, L, R, S) F(S, public_key, key, 32, "")
#define CLIENT_ADMITTED_FIELDS(F, L, R, S) R(S, client_record, client, "")
#define CLIENT_REMOVED_FIELDS(F, L, R, S) F(S, public_key, key, 32, "")
#define EPOCH_BEGUN_FIELDS(F, L, R, S)                                                             \
    R(S, epoch, epoch, "")                                                                         \
    F(S, bytes, view, 1024, "ids of the nodes in the view, 16 bytes each")
#define VIEW_CHANGED_FIELDS(F, L, R, S)                                                            \
    F(S, bytes, view, 1024, "ids of the nodes in the view, 16 bytes each")                         \
    F(S, text, reason, SENTENCE_SIZE_MAX, "")
#define ENDPOINT_OPENED_FIELDS(F, L, R, S) R(S, endpoint_record, endpoint, "")
#define ENDPOINT_CLOSED_FIELDS(F, L, R, S)                                                         \
    F(S, node_id, node_id, 16, "")                                                                 \
    F(S, actor_kind, actor, ACTOR_KIND_END, "")                                                    \
    F(S, u64, incarnation, 0, "")

#define MODEL_IMPORT_REQUESTED_FIELDS(F, L, R, S) R(S, import_record, import, "")
#define MODEL_IMPORTED_FIELDS(F, L, R, S)                                                          \
    F(S, node_id, node_id, 16, "")                                                                 \
    R(S, model_record, model, "holders are not taken from it")                                     \
    F(S, boolean, is_found, 0, "it lies on the disk, and nobody asked for it now")
#define MODEL_IMPORT_FAILED_FIELDS(F, L, R, S)                                                     \
    F(S, node_id, node_id, 16, "")                                                                 \
    F(S, text, model_id, NAME_SIZE_MAX, "")                                                        \
    F(S, status_code, status, 0, "")                                                               \
    F(S, text, reason, SENTENCE_SIZE_MAX, "")
#define SMALL_FILES_STORED_FIELDS(F, L, R, S)                                                      \
    F(S, node_id, node_id, 16, "")                                                                 \
    F(S, text, model_id, NAME_SIZE_MAX, "")                                                        \
    F(S, hash, revision, 32, "")
#define SMALL_FILES_FAILED_FIELDS(F, L, R, S)                                                      \
    F(S, node_id, node_id, 16, "")                                                                 \
    F(S, text, model_id, NAME_SIZE_MAX, "")                                                        \
    F(S, hash, revision, 32, "")                                                                   \
    F(S, status_code, status, 0, "")                                                               \
    F(S, text, reason, SENTENCE_SIZE_MAX, "")
/* What a node found in its own store when it looked, for instance after a split. */
#define HOLDING_CHANGED_FIELDS(F, L, R, S)                                                         \
    F(S, node_id, node_id, 16, "")                                                                 \
    F(S, text, model_id, NAME_SIZE_MAX, "")                                                        \
    F(S, hash, revision, 32, "")                                                                   \
    F(S, boolean, has_small_files, 0, "")                                                          \
    F(S, boolean, has_weights, 0, "all of them")                                                   \
    F(S, bytes, held, FILE_SET_BYTES_MAX, "some weights: a bit for each file, low bits first")
#define MODEL_PINNED_FIELDS(F, L, R, S)                                                            \
    F(S, text, model_id, NAME_SIZE_MAX, "")                                                        \
    F(S, boolean, is_pinned, 0, "")
#define MODEL_REMOVED_FIELDS(F, L, R, S) F(S, text, model_id, NAME_SIZE_MAX, "")

#define INSTANCE_PLACED_FIELDS(F, L, R, S) R(S, instance_record, instance, "")
#define INSTANCE_DELETED_FIELDS(F, L, R, S) F(S, instance_id, instance_id, 16, "")
/* A new generation, with ranks placed anew. */
#define GENERATION_STARTED_FIELDS(F, L, R, S)                                                      \
    F(S, instance_id, instance_id, 16, "")                                                         \
    R(S, generation, generation, "")                                                               \
    F(S, sharding, sharding, SHARDING_END, "")                                                     \
    F(S, u32, context, 0, "")                                                                      \
    F(S, u32, positions, 0, "")                                                                    \
    F(S, u32, requests, REQUESTS_RUNNING_MAX, "")                                                  \
    F(S, u32, reserve, 0, "")                                                                      \
    F(S, kv_format, kv_format, KV_FORMAT_END, "")                                                  \
    L(S, rank_record, ranks, RANK_COUNT_MAX, "")                                                   \
    L(S, file_source, sources, MODEL_FILE_COUNT_MAX, "")                                           \
    F(S, text, why, SENTENCE_SIZE_MAX, "")                                                         \
    F(S, transfer_id, transfer_id, 16, "zero: it loads; else this copy comes first")               \
    F(S, boolean, is_downloading, 0, "nobody holds the model: rank 0's node pulls it first")       \
    F(S, hash, revision, 32, "of an instance whose model was not known when it was placed")        \
    F(S, boolean, is_asymmetric, 0, "a tensor cut in unequal shares")                              \
    F(S, boolean, is_upgraded, 0, "")                                                              \
    F(S, f64, tokens_per_s, 0, "")                                                                 \
    F(S, f64, first_token_s, 0, "")                                                                \
    F(S, f64, load_s, 0, "")
#define RANK_ADDRESSED_FIELDS(F, L, R, S)                                                          \
    F(S, instance_id, instance_id, 16, "")                                                         \
    R(S, generation, generation, "")                                                               \
    F(S, u32, rank, RANK_COUNT_MAX, "")                                                            \
    F(S, actor_kind, actor, ACTOR_KIND_END, "launcher or runner")                                  \
    F(S, text, address, ADDRESS_SIZE_MAX, "where its siblings connect")                            \
    F(S, public_key, key, 32, "")                                                                  \
    F(S, text, gateway_address, ADDRESS_SIZE_MAX, "runner of rank 0: where gateways connect")
#define GENERATION_ADDRESSED_FIELDS(F, L, R, S)                                                    \
    F(S, instance_id, instance_id, 16, "")                                                         \
    R(S, generation, generation, "")                                                               \
    L(S, rank_record, ranks, RANK_COUNT_MAX, "all addresses and keys")
#define RUNNER_STATUS_CHANGED_FIELDS(F, L, R, S)                                                   \
    F(S, instance_id, instance_id, 16, "")                                                         \
    R(S, generation, generation, "")                                                               \
    F(S, u32, rank, RANK_COUNT_MAX, "")                                                            \
    F(S, rank_status, status, RANK_STATUS_END, "")                                                 \
    F(S, text, reason, SENTENCE_SIZE_MAX, "when it failed: the thing and the remedy")              \
    F(S, u64, memory_free, 0, "when it failed for lack of memory: what its node had; else 0")
#define GENERATION_FAILED_FIELDS(F, L, R, S)                                                       \
    F(S, instance_id, instance_id, 16, "")                                                         \
    R(S, generation, generation, "")                                                               \
    F(S, u32, rank, RANK_COUNT_MAX, "the rank that is to blame, where known")                      \
    F(S, text, reason, SENTENCE_SIZE_MAX, "")                                                      \
    F(S, u64, retry_at_ms, 0, "wall clock; UINT64_MAX: gave up")
#define INSTANCE_RETRIED_FIELDS(F, L, R, S) F(S, instance_id, instance_id, 16, "")

#define PROCESS_ENDED_FIELDS(F, L, R, S)                                                           \
    F(S, node_id, node_id, 16, "")                                                                 \
    F(S, actor_kind, actor, ACTOR_KIND_END, "")                                                    \
    F(S, u64, incarnation, 0, "")                                                                  \
    F(S, instance_id, instance_id, 16, "of a launcher or runner")                                  \
    R(S, generation, generation, "of a launcher or runner")                                        \
    F(S, u32, rank, RANK_COUNT_MAX, "of a launcher or runner")                                     \
    F(S, u32, exit_code, 255, "")                                                                  \
    F(S, u32, signal, 128, "0: it exited by itself")                                               \
    F(S, boolean, was_asked, 0, "it was told to stop")                                             \
    F(S, text, reason, SENTENCE_SIZE_MAX, "")
#define PROCESS_GIVEN_UP_FIELDS(F, L, R, S) R(S, given_up_record, process, "")

#define EVENT_RECORD_LIST(X)                                                                       \
    X(delete_instance, DELETE_INSTANCE)                                                            \
    X(retry_instance, RETRY_INSTANCE)                                                              \
    X(add_model, ADD_MODEL)                                                                        \
    X(pull_model, PULL_MODEL)                                                                      \
    X(remove_model, REMOVE_MODEL)                                                                  \
    X(pin_model, PIN_MODEL)                                                                        \
    X(create_token, CREATE_TOKEN)                                                                  \
    X(revoke_token, REVOKE_TOKEN)                                                                  \
    X(join, JOIN)                                                                                  \
    X(remove_node, REMOVE_NODE)                                                                    \
    X(admit_client, ADMIT_CLIENT)                                                                  \
    X(remove_client, REMOVE_CLIENT)                                                                \
    X(cluster_founded, CLUSTER_FOUNDED)                                                            \
    X(node_admitted, NODE_ADMITTED)                                                                \
    X(node_removed, NODE_REMOVED)                                                                  \
    X(node_described, NODE_DESCRIBED)                                                              \
    X(token_created, TOKEN_CREATED)                                                                \
    X(token_revoked, TOKEN_REVOKED)                                                                \
    X(client_admitted, CLIENT_ADMITTED)                                                            \
    X(client_removed, CLIENT_REMOVED)                                                              \
    X(epoch_begun, EPOCH_BEGUN)                                                                    \
    X(view_changed, VIEW_CHANGED)                                                                  \
    X(endpoint_opened, ENDPOINT_OPENED)                                                            \
    X(endpoint_closed, ENDPOINT_CLOSED)                                                            \
    X(model_import_requested, MODEL_IMPORT_REQUESTED)                                              \
    X(model_imported, MODEL_IMPORTED)                                                              \
    X(model_import_failed, MODEL_IMPORT_FAILED)                                                    \
    X(small_files_stored, SMALL_FILES_STORED)                                                      \
    X(small_files_failed, SMALL_FILES_FAILED)                                                      \
    X(holding_changed, HOLDING_CHANGED)                                                            \
    X(model_removed, MODEL_REMOVED)                                                                \
    X(model_pinned, MODEL_PINNED)                                                                  \
    X(instance_placed, INSTANCE_PLACED)                                                            \
    X(instance_deleted, INSTANCE_DELETED)                                                          \
    X(generation_started, GENERATION_STARTED)                                                      \
    X(rank_addressed, RANK_ADDRESSED)                                                              \
    X(generation_addressed, GENERATION_ADDRESSED)                                                  \
    X(runner_status_changed, RUNNER_STATUS_CHANGED)                                                \
    X(generation_failed, GENERATION_FAILED)                                                        \
    X(instance_retried, INSTANCE_RETRIED)                                                          \
    X(process_ended, PROCESS_ENDED)                                                                \
    X(process_given_up, PROCESS_GIVEN_UP)                                                          \
    TRANSFER_EVENT_LIST(X)                                                                         \
    DOWNLOAD_EVENT_LIST(X)

#endif
