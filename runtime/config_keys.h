/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_keys: the settings, one row each: NAME, name, type, default, least, most, sentence.
 *
 * TEXT: least and most bound its length.  NUMBER: its value.  SIZE: bytes, also written 512M, 4G.
 * SWITCH: true or false.  SHARE: 0 to 1.
 */
#ifndef TROUPE_RUNTIME_CONFIG_KEYS_H
#define TROUPE_RUNTIME_CONFIG_KEYS_H

#define CONFIG_KEY_LIST(K)                                                                         \
    K(HOME, home, TEXT, "", 0, 1024,                                                               \
      "directory of this node; empty: $XDG_STATE_HOME/troupe or ~/.local/state/troupe")            \
    K(NAME, name, TEXT, "", 0, 64, "name of this node; empty: the host's name")                    \
    K(LISTEN, listen, TEXT, "127.0.0.1:0", 3, 100,                                                 \
      "address of the master for other nodes; port 0: any free one, kept over restarts")           \
    K(ADVERTISE, advertise, TEXT, "", 0, 400,                                                      \
      "addresses other nodes are told, separated by commas; empty: the one of listen")             \
    K(HTTP, http, TEXT, "127.0.0.1:52414", 3, 100, "address of the HTTP interface")                \
    K(HTTP_KEY_FILE, http_key_file, TEXT, "", 0, 1024,                                             \
      "file of hashed HTTP keys, one a line; needed when http is not on loopback")                 \
    K(HTTP_HOSTS, http_hosts, TEXT, "", 0, 1024,                                                   \
      "host names the HTTP interface is reached by beside localhost, separated by commas")         \
    K(QUORUM, quorum, SWITCH, "false", 0, 1,                                                       \
      "commit only what a majority of all nodes holds")                                            \
    K(TRUSTED_NETWORKS, trusted_networks, TEXT, "127.0.0.0/8,::1/128", 0, 400,                     \
      "networks on which weights and activations may travel unencrypted by MPI")                   \
    K(MPI_TRANSPORT, mpi_transport, TEXT, "auto", 3, 4,                                            \
      "auto: RDMA where every rank has a device for it, TCP when that fails; tcp: never RDMA")     \
    K(THREADS, threads, NUMBER, "0", 0, 1024, "threads of a runner; 0: the cores it is given")     \
    K(MEMORY_MAX, memory_max, SIZE, "0", 0, 1ull << 50,                                            \
      "memory this node offers to models; 0: what is free")                                        \
    K(CONTEXT, context, NUMBER, "0", 0, 1u << 24,                                                  \
      "tokens of context promised to each instance; 0: the least of the model's, 32768 and what "  \
      "fits")                                                                                      \
    K(KV_CACHE, kv_cache, TEXT, "bf16", 4, 4,                                                      \
      "numbers of the KV cache in fast mode: bf16, or int8 in little more than half the memory, "  \
      "each off by at most 1/254 of the largest of its head")                                      \
    K(RESERVE_TOKENS, reserve_tokens, NUMBER, "4096", 0, 1u << 24,                                 \
      "tokens of its answer a request has room for when it begins; beyond, it takes room as it "   \
      "goes, and may wait and be computed again")                                                  \
    K(REQUESTS_RUNNING, requests_running, NUMBER, "16", 1, 64,                                     \
      "requests an instance computes at once, in one batch; its KV cache has room for a context, " \
      "and for reserve_tokens of each as far as half of the free memory allows")                   \
    K(AUTO_ASYMMETRIC, auto_asymmetric, SWITCH, "false", 0, 1,                                     \
      "give a request for tensor unequal shares, by memory, where equal ones are too tight for "   \
      "the smallest node")                                                                         \
    K(ASYMMETRIC_SMALLEST, asymmetric_smallest, SHARE, "0.9", 0, 1,                                \
      "of its free memory, beyond which equal shares are too tight for the smallest node")         \
    K(ASYMMETRIC_CLUSTER, asymmetric_cluster, SHARE, "0.85", 0, 1,                                 \
      "of the free memory of all its nodes, which a placement in unequal shares stays under")      \
    K(REQUESTS_WAITING, requests_waiting, NUMBER, "240", 0, 960,                                   \
      "requests that wait beside those; more are refused with 429 and Retry-After")                \
    K(PREFILL_ROWS, prefill_rows, NUMBER, "128", 1, 448,                                           \
      "tokens of prompts read between two tokens of the answers that run meanwhile")               \
    K(LOAD_WINDOW, load_window, SIZE, "256M", 1u << 20, 1ull << 40,                                \
      "bytes a rank may use beside its weights while they are sent to ranks that have none; that " \
      "of the first rank with all files holds for all")                                            \
    K(LOAD_RATE_MIN, load_rate_min, SIZE, "1M", 0, 1ull << 40,                                     \
      "bytes a second that a rank sends at least while it gives weights to ranks that have none; " \
      "slower for 3 s, the load ends; 0: no limit")                                                \
    K(STORE, store, TEXT, "", 0, 1024,                                                             \
      "directory of models, in the layout of the Hugging Face cache; empty: that cache, as "       \
      "HF_HUB_CACHE, HF_HOME or XDG_CACHE_HOME name it, else ~/.cache/huggingface/hub")            \
    K(STORE_QUOTA, store_quota, SIZE, "0", 0, 1ull << 50,                                          \
      "bytes the models of this node's store may have together; when another needs room, those "   \
      "neither pinned nor in use go, the least recently used first; 0: no limit")                  \
    K(MODEL_DIRECTORIES, model_directories, TEXT, "", 0, 1024,                                     \
      "further directories whose models are used where they lie and never written, separated by "  \
      "colons: caches, directories of ORG/NAME directories, or models")                            \
    K(TRANSFER_RATE, transfer_rate, SIZE, "0", 0, 1ull << 50,                                      \
      "bytes a second of models that leave this node for other disks; 0: no limit")                \
    K(HUB_CONNECTIONS, hub_connections, NUMBER, "4", 1, 16,                                        \
      "connections of a pull from a hub, each with a range of 8 MiB")                              \
    K(HUB_TRIES, hub_tries, NUMBER, "5", 0, 100,                                                   \
      "times in a row that a hub may fail to answer before a pull gives up")                       \
    K(DEBUGGABLE, debuggable, SWITCH, "false", 0, 1,                                               \
      "let debuggers and tools of this user look into the processes, and let them dump core")      \
    K(LOG_LEVEL, log_level, TEXT, "notice", 5, 7, "error, warning, notice or debug")               \
    K(LEASE_MS, lease_ms, NUMBER, "1000", 100, 60000, "a leader's lease without beats")            \
    K(BEAT_MS, beat_ms, NUMBER, "250", 10, 10000, "time between beats of masters")                 \
    K(VIEW_TIMEOUT_MS, view_timeout_ms, NUMBER, "1000", 100, 60000,                                \
      "a follower silent so long leaves the view")                                                 \
    K(HANG_MS, hang_ms, NUMBER, "10000", 500, 600000,                                              \
      "a process that answers no ping so long is killed")                                          \
    K(PING_MS, ping_ms, NUMBER, "2000", 50, 60000, "time between pings of the supervisor")         \
    K(DEATHS_MAX, deaths_max, NUMBER, "5", 1, 1000,                                                \
      "deaths of one process within deaths_window_s before the supervisor gives up")               \
    K(DEATHS_WINDOW_S, deaths_window_s, NUMBER, "60", 1, 86400, "window of deaths_max")            \
    K(BACKOFF_MIN_MS, backoff_min_ms, NUMBER, "200", 1, 60000, "first wait before a restart")      \
    K(BACKOFF_MAX_MS, backoff_max_ms, NUMBER, "30000", 1, 600000, "longest wait before a restart") \
    K(HEALTHY_S, healthy_s, NUMBER, "60", 1, 86400,                                                \
      "a process alive so long starts its backoff anew")

#endif
