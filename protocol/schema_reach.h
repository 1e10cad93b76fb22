/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schema_reach: rows about which node reaches which, how soon and how fast, and about how fast
 * instances are.
 *
 * Include protocol/schema.h, not this file.  Signals and questions only: nothing here is state.
 */
#ifndef TROUPE_PROTOCOL_SCHEMA_REACH_H
#define TROUPE_PROTOCOL_SCHEMA_REACH_H

/* ---- master to master, each over its own connection to the other's address ---- */

#define ECHO_ASKED_FIELDS(F, L, R, S)                                                              \
    F(S, u64, number, 0, "comes back")                                                             \
    F(S, bytes, load, PART_SIZE_MAX, "zeros, to see how long they take; mostly none")
#define ECHO_TOLD_FIELDS(F, L, R, S)                                                               \
    F(S, u64, number, 0, "of the one that is answered")                                            \
    F(S, u64, size, 0, "of its load")

/* ---- a row of the matrix ---- */

/* Of its own addresses, one that another node may be told. */
#define ADDRESS_OFFERED_FIELDS(F, L, R, S)                                                         \
    F(S, text, host, ADDRESS_SIZE_MAX, "numeric; a v6 address in brackets")                        \
    F(S, text, network, ADDRESS_SIZE_MAX, "10.0.0.0/24; empty: not known")                         \
    F(S, text, interface, NAME_SIZE_MAX, "that carries it")                                        \
    F(S, text, kind, NAME_SIZE_MAX, "wired, infiniband, thunderbolt, wireless, overlay, loopback") \
    F(S, u64, speed_mbit, 0, "as its system tells; 0: not known")                                  \
    F(S, text, rdma, NAME_SIZE_MAX, "RDMA device of that interface; empty: none")
#define WAY_MEASURED_FIELDS(F, L, R, S)                                                            \
    F(S, text, host, ADDRESS_SIZE_MAX, "of the other node")                                        \
    F(S, boolean, reaches, 0, "it answers there")                                                  \
    F(S, u64, latency_us, 0, "there and back; 0: not known")
#define LINK_MEASURED_FIELDS(F, L, R, S)                                                           \
    F(S, node_id, node_id, 16, "the other node")                                                   \
    F(S, text, address, ADDRESS_SIZE_MAX, "at which it was asked")                                 \
    F(S, boolean, reaches, 0, "it answers there")                                                  \
    F(S, u64, latency_us, 0, "there and back; 0: not known")                                       \
    F(S, u64, bytes_per_s, 0, "of a burst through the sealed connection; 0: not known")            \
    F(S, u64, bytes_age_ms, 0, "since that burst")                                                 \
    L(S, way_measured, ways, ADDRESS_OFFER_COUNT_MAX, "to its other addresses")
#define LINKS_MEASURED_FIELDS(F, L, R, S)                                                          \
    F(S, node_id, node_id, 16, "who measured")                                                     \
    F(S, u64, age_ms, 0, "since it told")                                                          \
    F(S, text, interface, NAME_SIZE_MAX, "that carries its address; empty: not known")             \
    F(S, text, kind, NAME_SIZE_MAX, "wired, infiniband, thunderbolt, wireless, overlay, loopback") \
    F(S, u64, speed_mbit, 0, "of that interface, as its system tells; 0: not known")               \
    F(S, text, rdma, NAME_SIZE_MAX, "RDMA device of that interface; empty: none")                  \
    L(S, link_measured, links, NODE_COUNT_MAX, "to each other node it knows")                      \
    L(S, address_offered, offers, ADDRESS_OFFER_COUNT_MAX, "its addresses, best first")

#define ASK_LINKS_FIELDS(F, L, R, S) F(S, u32, unused, 1, "an empty question")
#define LINKS_LISTED_FIELDS(F, L, R, S)                                                            \
    L(S, links_measured, rows, NODE_COUNT_MAX, "of each node that told of late")

/* ---- what was got, beside what the placement predicted ---- */

#define PACE_MEASURED_FIELDS(F, L, R, S)                                                           \
    F(S, instance_id, instance_id, 16, "")                                                         \
    R(S, generation, generation, "")                                                               \
    F(S, f64, tokens_per_s, 0, "of a request alone, the median of the last; 0: none was yet")      \
    F(S, f64, first_token_s, 0, "of the last prompt that was read alone; 0: none was yet")         \
    F(S, u32, prompt_tokens, 0, "of that prompt")
#define ASK_PACES_FIELDS(F, L, R, S) F(S, u32, unused, 1, "an empty question")
#define PACES_LISTED_FIELDS(F, L, R, S)                                                            \
    L(S, pace_measured, paces, INSTANCE_COUNT_MAX, "of each instance that told of late")

#define REACH_RECORD_LIST(X)                                                                       \
    X(echo_asked, ECHO_ASKED)                                                                      \
    X(echo_told, ECHO_TOLD)                                                                        \
    X(address_offered, ADDRESS_OFFERED)                                                            \
    X(way_measured, WAY_MEASURED)                                                                  \
    X(link_measured, LINK_MEASURED)                                                                \
    X(links_measured, LINKS_MEASURED)                                                              \
    X(ask_links, ASK_LINKS)                                                                        \
    X(links_listed, LINKS_LISTED)                                                                  \
    X(pace_measured, PACE_MEASURED)                                                                \
    X(ask_paces, ASK_PACES)                                                                        \
    X(paces_listed, PACES_LISTED)

#endif
