/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/schema.h"
#include "protocol/state.h"

#define FIELD_KIND_boolean FIELD_BOOL
#define FIELD_KIND_u32 FIELD_U32
#define FIELD_KIND_sharding FIELD_U32
#define FIELD_KIND_mode FIELD_U32
#define FIELD_KIND_kv_format FIELD_U32
#define FIELD_KIND_rank_status FIELD_U32
#define FIELD_KIND_instance_status FIELD_U32
#define FIELD_KIND_client_role FIELD_U32
#define FIELD_KIND_transfer_phase FIELD_U32
#define FIELD_KIND_actor_kind FIELD_U32
#define FIELD_KIND_status_code FIELD_U32
#define FIELD_KIND_u64 FIELD_U64
#define FIELD_KIND_f64 FIELD_F64
#define FIELD_KIND_text FIELD_TEXT
#define FIELD_KIND_bytes FIELD_BYTES
#define FIELD_KIND_u32s FIELD_U32S
#define FIELD_KIND_cluster_id FIELD_FIXED
#define FIELD_KIND_node_id FIELD_FIXED
#define FIELD_KIND_machine_id FIELD_FIXED
#define FIELD_KIND_instance_id FIELD_FIXED
#define FIELD_KIND_request_id FIELD_FIXED
#define FIELD_KIND_transfer_id FIELD_FIXED
#define FIELD_KIND_command_key FIELD_FIXED
#define FIELD_KIND_public_key FIELD_FIXED
#define FIELD_KIND_signature FIELD_FIXED
#define FIELD_KIND_hash FIELD_FIXED

#define FIELD_WORD_boolean NULL
#define FIELD_WORD_u32 NULL
#define FIELD_WORD_sharding sharding_name
#define FIELD_WORD_mode mode_name
#define FIELD_WORD_kv_format kv_format_name
#define FIELD_WORD_rank_status rank_status_name
#define FIELD_WORD_instance_status instance_status_name
#define FIELD_WORD_client_role client_role_name
#define FIELD_WORD_transfer_phase transfer_phase_name
#define FIELD_WORD_actor_kind actor_kind_name
#define FIELD_WORD_status_code status_code_name
#define FIELD_WORD_u64 NULL
#define FIELD_WORD_f64 NULL
#define FIELD_WORD_text NULL
#define FIELD_WORD_bytes NULL
#define FIELD_WORD_u32s NULL
#define FIELD_WORD_cluster_id NULL
#define FIELD_WORD_node_id NULL
#define FIELD_WORD_machine_id NULL
#define FIELD_WORD_instance_id NULL
#define FIELD_WORD_request_id NULL
#define FIELD_WORD_transfer_id NULL
#define FIELD_WORD_command_key NULL
#define FIELD_WORD_public_key NULL
#define FIELD_WORD_signature NULL
#define FIELD_WORD_hash NULL

/* A fixed field whose row states another size than its type has would read past its end. */
#define FIELD_CHECK(S, type, name, max, meaning)                                                   \
    _Static_assert(FIELD_KIND_##type != FIELD_FIXED || sizeof(SCHEMA_TYPE_##type) == (max),        \
                   #S "." #name ": size of the row and of the type differ");
#define FIELD_CHECK_LIST(S, record, name, max, meaning)                                            \
    _Static_assert((max) > 0, #S "." #name ": a list needs a bound");
#define FIELD_CHECK_RECORD(S, record, name, meaning)

#define FIELD_ROW(S, type, name, max, meaning)                                                     \
    {#name, FIELD_KIND_##type, offsetof(struct S, name), (max), NULL, meaning,                    \
     FIELD_WORD_##type},
#define FIELD_ROW_LIST(S, record, name, max, meaning)                                              \
    {#name, FIELD_LIST, offsetof(struct S, name), (max), &record##_type, meaning, NULL},
#define FIELD_ROW_RECORD(S, record, name, meaning)                                                 \
    {#name, FIELD_RECORD, offsetof(struct S, name), 0, &record##_type, meaning, NULL},

#define RECORD_TABLE(name, NAME)                                                                   \
    NAME##_FIELDS(FIELD_CHECK, FIELD_CHECK_LIST, FIELD_CHECK_RECORD, name)                         \
        static const struct field name##_fields[] = {                                              \
            NAME##_FIELDS(FIELD_ROW, FIELD_ROW_LIST, FIELD_ROW_RECORD, name)};                     \
    const struct record_type name##_type = {#name, sizeof(struct name), name##_fields,             \
                                            sizeof(name##_fields) / sizeof(name##_fields[0])};

STATE_RECORD_LIST(RECORD_TABLE)
EVENT_RECORD_LIST(RECORD_TABLE)
LINK_RECORD_LIST(RECORD_TABLE)
