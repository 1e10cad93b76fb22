/* SPDX-License-Identifier: Apache-2.0 */
/*
 * collective_threads: the ranks of one process.
 *
 * The same calls and the same order of sums as collective.c, between threads that share memory:
 * for troupe-engine --ranks and for tests.
 *
 * Owner    one world; each of its members belongs to one thread.
 * Memory   a scratch as large as the largest call.
 * Threads  one per member.
 * Fails    IO in every waiting member once a member was lost (collective_threads_lose).
 */
#ifndef TROUPE_ACTORS_RUNNER_ENGINE_COLLECTIVE_THREADS_H
#define TROUPE_ACTORS_RUNNER_ENGINE_COLLECTIVE_THREADS_H

#include "actors/runner/collective.h"

struct collective_threads;

MUST_CHECK enum status collective_threads_open(uint32_t size, struct collective_threads **world_out,
                                               struct reason *reason);
/* Accepts NULL; nobody may be in a call. */
void collective_threads_close(struct collective_threads *world);
/* Lives as long as the world. */
struct collective *collective_threads_member(struct collective_threads *world, uint32_t rank);
/* A member that gives up says so, and nobody waits for it. */
void collective_threads_lose(struct collective_threads *world);

#endif
