/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limits: every bound of the protocol and the state, each with its reason.
 */
#ifndef TROUPE_PROTOCOL_LIMITS_H
#define TROUPE_PROTOCOL_LIMITS_H

/* A control message.  The largest is a prompt of 4 MiB with its JSON escapes. */
#define MESSAGE_SIZE_MAX (16u << 20)
/* Nesting of a message: envelope, body, list, record, list, record, numbers. */
#define MESSAGE_DEPTH_MAX 8
/* Entries of all maps and arrays of one message; a prompt of 256 Ki token ids fits. */
#define MESSAGE_ENTRIES_MAX (1u << 20)

#define NAME_SIZE_MAX 128     /* names of models, nodes, clients, files */
#define ADDRESS_SIZE_MAX 256  /* tcp://[v6 address%scope]:port and some air */
#define PATH_SIZE_MAX 4096    /* a local path in an import command (PATH_MAX) */
#define SENTENCE_SIZE_MAX 512 /* a reason for a person */
#define BUILD_SIZE_MAX 64

/* A home cluster is a handful of machines; everything below is sized by this. */
#define NODE_COUNT_MAX 64
#define RANK_COUNT_MAX 64
#define WAYS_SIZE_MAX 4096        /* the ways of a rank to its siblings, 63 of them, as one text */
#define ADDRESS_OFFER_COUNT_MAX 6 /* of a node's own that others may use; each is tried by all */
#define INSTANCE_COUNT_MAX 64
#define CANDIDATE_COUNT_MAX 64 /* of a placement, told to who asks */
#define KERNEL_RATE_COUNT_MAX 16
#define PREDICTED_PROMPT_TOKENS 512u /* of the prompt whose first token a placement predicts */
#define MODEL_COUNT_MAX 256
#define MODEL_FILE_COUNT_MAX 1024 /* DeepSeek-V3 has 163 weight files */
#define FILE_SET_BYTES_MAX (MODEL_FILE_COUNT_MAX / 8) /* a bit for each file of a model */
#define LAYER_COUNT_MAX 1024
#define CUT_COUNT_MAX 16
#define TABLE_ROW_COUNT_MAX 17
#define REQUESTS_RUNNING_MAX 64 /* of an instance; more make no step any faster */
#define TOKEN_COUNT_MAX 64   /* join tokens not yet spent */
#define CLIENT_COUNT_MAX 64
#define IMPORT_COUNT_MAX 64
#define DOWNLOAD_END_COUNT_MAX 64 /* the last that ended, by target */
#define TRANSFER_COUNT_MAX 64 /* those that run and the last that ended */
#define REMOVED_COUNT_MAX 256  /* models a node that was away may still have */
#define CHUNK_COUNT_MAX (1u << 18) /* of a model: 2 TiB */
/* Processes with an address in state: every actor of every node and both of every rank. */
#define ENDPOINT_COUNT_MAX 512
/* Reports of a process are counted by incarnation; old incarnations of a process are dropped. */
#define INCARNATION_COUNT_MAX 1024
/* Command keys remembered, so that a repeated command gets its first answer (DESIGN 3). */
#define COMMAND_KEY_COUNT_MAX 4096

#define TOKEN_IDS_MAX (1u << 18)     /* prompt or answer, token ids */
#define MESSAGES_JSON_SIZE_MAX (8u << 20)
#define REQUEST_JSON_SIZE_MAX (14u << 20) /* messages, tools, options and demand together */
#define STOP_COUNT_MAX 16
#define STOP_SIZE_MAX 256
#define TOP_LOGPROB_COUNT_MAX 20
#define PIECE_SIZE_MAX 4096          /* text of one streamed token */
#define DEMAND_SIZE_MAX (1u << 20)    /* a schema of a thousand properties is 100 KB */
#define SAID_SIZE_MAX (8u << 20)      /* what becomes certain with one token: a call held back */
#define CALL_PIECE_COUNT_MAX 1024    /* pieces of calls that do */
#define PART_SIZE_MAX (1u << 20)     /* a part of a snapshot, of a file, of a hidden state */
#define RECORDS_PER_APPEND_MAX 256   /* log records in one message between masters */

_Static_assert(PART_SIZE_MAX + 4096 < MESSAGE_SIZE_MAX, "a part must fit into a message");
_Static_assert(MESSAGES_JSON_SIZE_MAX + (TOKEN_IDS_MAX * 5u) < MESSAGE_SIZE_MAX,
               "a resumed request must fit into a message");
_Static_assert(REQUEST_JSON_SIZE_MAX + (1u << 20) < MESSAGE_SIZE_MAX,
               "a request must fit into a message, with its settings");

#endif
