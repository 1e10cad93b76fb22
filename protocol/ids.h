/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ids: what things are called.  Each kind is a struct of its own, so that two cannot be swapped.
 */
#ifndef TROUPE_PROTOCOL_IDS_H
#define TROUPE_PROTOCOL_IDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cluster_id { uint8_t bytes[16]; };
struct node_id { uint8_t bytes[16]; };        /* from the node's public keys */
struct machine_id { uint8_t bytes[16]; };     /* machine and network namespace */
struct instance_id { uint8_t bytes[16]; };
struct request_id { uint8_t bytes[16]; };
struct transfer_id { uint8_t bytes[16]; };
struct command_key { uint8_t bytes[16]; };    /* idempotency key; also the id of a task */
struct public_key { uint8_t bytes[32]; };     /* CURVE (X25519) or Ed25519 */
struct signature { uint8_t bytes[64]; };
struct hash { uint8_t bytes[32]; };           /* BLAKE2b-256 */

/* "0123abcd..." of `size` bytes into 2 * size + 1 characters; returns text_out. */
const char *hex_print(const void *bytes, size_t size, char *text_out);
/* Exactly 2 * size hex digits, then the end of the text. */
bool hex_parse(const char *text, void *bytes_out, size_t size);
/* True when every byte is zero: "none". */
bool id_is_zero(const void *bytes, size_t size);

#define HEX_SIZE(size) (2 * (size) + 1)
#define ID_EQUAL(a, b) (memcmp(&(a), &(b), sizeof(a)) == 0)
#define ID_IS_ZERO(a) id_is_zero(&(a), sizeof(a))

/* Every kind of process; codes stand in the log.  What each may do: actors/actors.h. */
#define ACTOR_KIND_LIST(X)                                                                         \
    X(1, SUPERVISOR, supervisor)                                                                   \
    X(2, MASTER, master)                                                                           \
    X(3, PLANNER, planner)                                                                         \
    X(4, DOWNLOADER, downloader)                                                                   \
    X(5, TRANSFERER, transferer)                                                                   \
    X(6, GATEWAY, gateway)                                                                         \
    X(7, LAUNCHER, launcher)                                                                       \
    X(8, RUNNER, runner)                                                                           \
    X(9, CLIENT, client)

enum actor_kind {
    ACTOR_NONE = 0,
#define ACTOR_KIND_MEMBER(code, NAME, name) ACTOR_##NAME = code,
    ACTOR_KIND_LIST(ACTOR_KIND_MEMBER)
#undef ACTOR_KIND_MEMBER
    ACTOR_KIND_END
};

/* "runner"; "unknown" for a code nobody has. */
const char *actor_kind_name(uint32_t kind);
/* ACTOR_NONE when there is no such actor. */
enum actor_kind actor_kind_find(const char *name);

#endif
