/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schema: every record of the protocol and of the state, declared once as rows.
 *
 * F(S, type, name, max, meaning)   a scalar or text field; `max` bounds numbers (0: the type's own)
 * L(S, record, name, max, meaning) a list of at most `max` records
 * R(S, record, name, meaning)      a record in place
 *
 * The rows become structs here, tables in schema.c, and the page protocol/PROTOCOL.md.  Events,
 * commands, reports, tasks, signals and the conversation of links are listed in protocol/kinds.h.
 */
#ifndef TROUPE_PROTOCOL_SCHEMA_H
#define TROUPE_PROTOCOL_SCHEMA_H

#include "protocol/limits.h"
#include "protocol/record.h"
#include "protocol/schema_downloads.h"
#include "protocol/schema_links.h"
#include "protocol/schema_reach.h"
#include "protocol/schema_state.h"
#include "protocol/schema_transfers.h"

#define SCHEMA_TYPE_boolean bool
#define SCHEMA_TYPE_u32 uint32_t
#define SCHEMA_TYPE_sharding uint32_t
#define SCHEMA_TYPE_mode uint32_t
#define SCHEMA_TYPE_kv_format uint32_t
#define SCHEMA_TYPE_rank_status uint32_t
#define SCHEMA_TYPE_instance_status uint32_t
#define SCHEMA_TYPE_client_role uint32_t
#define SCHEMA_TYPE_transfer_phase uint32_t
#define SCHEMA_TYPE_actor_kind uint32_t
#define SCHEMA_TYPE_status_code uint32_t
#define SCHEMA_TYPE_u64 uint64_t
#define SCHEMA_TYPE_f64 double
#define SCHEMA_TYPE_text char *
#define SCHEMA_TYPE_bytes struct bytes
#define SCHEMA_TYPE_u32s struct u32s
#define SCHEMA_TYPE_cluster_id struct cluster_id
#define SCHEMA_TYPE_node_id struct node_id
#define SCHEMA_TYPE_machine_id struct machine_id
#define SCHEMA_TYPE_instance_id struct instance_id
#define SCHEMA_TYPE_request_id struct request_id
#define SCHEMA_TYPE_transfer_id struct transfer_id
#define SCHEMA_TYPE_command_key struct command_key
#define SCHEMA_TYPE_public_key struct public_key
#define SCHEMA_TYPE_signature struct signature
#define SCHEMA_TYPE_hash struct hash

#define SCHEMA_MEMBER(S, type, name, max, meaning) SCHEMA_TYPE_##type name;
#define SCHEMA_MEMBER_LIST(S, record, name, max, meaning)                                          \
    struct {                                                                                       \
        struct record *items;                                                                      \
        uint32_t count;                                                                            \
    } name;
#define SCHEMA_MEMBER_RECORD(S, record, name, meaning) struct record name;
#define SCHEMA_STRUCT(name, NAME)                                                                  \
    struct name {                                                                                  \
        NAME##_FIELDS(SCHEMA_MEMBER, SCHEMA_MEMBER_LIST, SCHEMA_MEMBER_RECORD, name)               \
    };                                                                                             \
    extern const struct record_type name##_type;

STATE_RECORD_LIST(SCHEMA_STRUCT)
EVENT_RECORD_LIST(SCHEMA_STRUCT)
LINK_RECORD_LIST(SCHEMA_STRUCT)

#endif
