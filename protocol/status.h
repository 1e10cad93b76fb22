/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status: every way something may fail, in one list.
 *
 * Codes travel in messages and stand in logs: they are explicit and never reused.  Foreign codes
 * (errno, zmq, MPI, sodium) are translated where they enter.  Beside a status a function may fill
 * a `struct reason`: one sentence that names the thing and the remedy.
 */
#ifndef TROUPE_PROTOCOL_STATUS_H
#define TROUPE_PROTOCOL_STATUS_H

#include "protocol/assert.h"

#include <stddef.h>
#include <stdint.h>

/*    X(code, NAME, text) */
#define STATUS_LIST(X)                                                                             \
    X(0, OK, "ok")                                                                                 \
    X(1, NO_MEMORY, "out of memory")                                                               \
    X(2, NO_SPACE, "no space left on the disk")                                                    \
    X(3, NO_PERMISSION, "permission denied")                                                       \
    X(4, NOT_FOUND, "not found")                                                                   \
    X(5, EXISTS, "exists already")                                                                 \
    X(6, IO, "input or output failed")                                                             \
    X(7, MALFORMED, "malformed")                                                                   \
    X(8, TOO_LARGE, "larger than its limit")                                                       \
    X(9, HASH_MISMATCH, "hash does not match")                                                     \
    X(10, DAMAGED, "damaged before a valid record")                                                \
    X(11, GAP, "index gap")                                                                        \
    X(12, STALE, "stale")                                                                          \
    X(13, REFUSED, "refused")                                                                      \
    X(14, UNSUPPORTED, "unsupported")                                                              \
    X(15, INVALID, "invalid value")                                                                \
    X(16, TIMED_OUT, "timed out")                                                                  \
    X(17, NO_LEADER, "no leader")                                                                  \
    X(18, NO_CAPACITY, "not enough memory for the model")                                          \
    X(19, UNREACHABLE, "unreachable")                                                              \
    X(20, NOT_ADMITTED, "not admitted")                                                            \
    X(21, BUSY, "busy")                                                                            \
    X(22, CANCELLED, "cancelled")                                                                  \
    X(23, VERSION, "other version")                                                                \
    X(24, IN_USE, "address in use")                                                                \
    X(25, EXPIRED, "expired")                                                                      \
    X(26, SPENT, "used already")                                                                   \
    X(27, NO_HOLDER, "no node that is here holds the model")                                       \
    X(28, NOT_READY, "not ready")                                                                  \
    X(29, CONTEXT_LENGTH, "longer than the context")                                               \
    X(30, INTERNAL, "internal")                                                                    \
    X(31, ENDED, "ended")

enum status {
#define STATUS_MEMBER(code, NAME, text) STATUS_##NAME = code,
    STATUS_LIST(STATUS_MEMBER)
#undef STATUS_MEMBER
};

/* One sentence for a person; empty when nobody said more than the status does. */
struct reason {
    char text[400];
};

/* "no space left on the disk"; never NULL, also for codes nobody knows. */
const char *status_text(enum status status);

/* "NO_SPACE"; never NULL. */
const char *status_name(enum status status);
/* The same of a code from a message. */
const char *status_code_name(uint32_t code);

/* Translates errno. */
enum status status_from_errno(int error);

/* Writes the sentence when `reason` is not NULL and returns `status`, so that a failing branch is
 * one line: `return refuse(reason, STATUS_MALFORMED, "%s: header is cut", path);` */
enum status refuse(struct reason *reason, enum status status, const char *format, ...)
    PRINTF_LIKE(3, 4);

#endif
