/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process: what the main function of every actor has in common: settings, paths, keys, sockets, the
 * loop, and the exit code.
 *
 * The supervisor tells a child who it is by its environment: TROUPE_INCARNATION (always), and
 * TROUPE_INSTANCE, TROUPE_GENERATION, TROUPE_RANK for a launcher or runner.  Started by hand,
 * without them, a process draws an incarnation itself.
 *
 * Owner    main.
 * Memory   process_close gives all back and wipes the secret key.
 * Threads  main's.
 * Fails    with one sentence; process_exit_code turns a status into the documented exit code.
 */
#ifndef TROUPE_RUNTIME_PROCESS_H
#define TROUPE_RUNTIME_PROCESS_H

#include "protocol/kinds.h"
#include "runtime/config.h"
#include "runtime/loop.h"
#include "runtime/paths.h"

#define INCARNATION_VARIABLE "TROUPE_INCARNATION"
#define INSTANCE_VARIABLE "TROUPE_INSTANCE"
#define GENERATION_VARIABLE "TROUPE_GENERATION"
#define RANK_VARIABLE "TROUPE_RANK"
#define FABRIC_VARIABLE "TROUPE_FABRIC_ADDRESS"
/* To siblings that it meets elsewhere; see runtime/fabric_ways.h. */
#define FABRIC_WAYS_VARIABLE "TROUPE_FABRIC_WAYS"
/* Where rank 0 waits for gateways, when not there. */
#define FRONT_VARIABLE "TROUPE_FRONT_ADDRESS"

/* Exit codes of every program (documented in the manual pages). */
enum exit_code {
    EXIT_CODE_OK = 0,
    EXIT_CODE_FAILED = 1,
    EXIT_CODE_USAGE = 2,
    EXIT_CODE_NOT_FOUND = 3,
    EXIT_CODE_UNREACHABLE = 4,
    EXIT_CODE_NOT_ADMITTED = 5,
    EXIT_CODE_NO_CAPACITY = 6,
    EXIT_CODE_AGAIN = 75,        /* nothing failed: it wants to be started again at once */
    EXIT_CODE_CONFIGURATION = 78 /* starting again will not help; the supervisor gives up */
};

struct process {
    enum actor_kind kind;
    char build[BUILD_SIZE_MAX];
    struct config config;
    struct paths paths;
    struct key_pair pair;
    struct transport *transport;
    uint64_t incarnation;
    bool has_rank;
    struct instance_id instance_id;
    struct generation generation;
    uint32_t rank;
};

/* Reads settings, enters HOME/run, makes keys (a master gives the node's pair). */
MUST_CHECK enum status process_open(struct process *process, enum actor_kind kind, int argc,
                                    char **argv, const struct key_pair *pair,
                                    struct reason *reason);
/* At the end of init: keeps of the process's rights those of its row in actors/actors.h
 * (runtime/rights.h), then opens the transport, whose threads so have no others either. */
MUST_CHECK enum status process_keep(struct process *process, const char *rights,
                                    struct reason *reason);
/* The first half of it, for a main of another shape; `program` is the one that it starts, or NULL.
 * What this kernel lacks is told once. */
MUST_CHECK enum status process_keep_rights(const char *rights, const struct config *config,
                                           const struct paths *paths, const char *program,
                                           struct reason *reason);
void process_close(struct process *process);
/* Runs the loop to its end and logs why it ended; the exit code. */
int process_run(struct process *process, const struct loop_options *options);
/* Logs the reason and gives the code. */
int process_failed(const struct process *process, enum status status, const struct reason *reason);
int process_exit_code(enum status status);

/* "3.0123456789abcdef0123456789abcdef.17": a generation in the environment. */
void generation_write(const struct generation *generation, char text_out[96]);
bool generation_read(const char *text, struct generation *generation_out);

#endif
