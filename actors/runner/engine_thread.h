/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_thread: the thread of a runner that computes, the only caller of the engine and of MPI.
 *
 * The actor loop gives it commands; it answers by posting results to the loop (runner.h).
 *
 * Owner    the runner's main function.
 * Memory   takes what a command carries; frees it when it is done.
 * Threads  engine_thread_give and _beat from the loop's thread; everything else on its own.
 * Fails    by posting RANK_FAILED with the reason; it then only waits to be ended with its process.
 */
#ifndef TROUPE_ACTORS_RUNNER_ENGINE_THREAD_H
#define TROUPE_ACTORS_RUNNER_ENGINE_THREAD_H

#include "actors/runner/runner.h"
#include "actors/runner/serving.h"
#include "runtime/model_store.h"

struct engine_thread;

struct engine_thread_options {
    struct model_store_places places; /* where models lie; the texts outlive the thread */
    struct serving_settings serving; /* of rank 0 */
    uint64_t load_window;            /* bytes; 0: the default */
    uint64_t load_rate_min;          /* bytes a second; 0: any */
    void (*post)(void *target, const struct result *result);
    void *target;
};

MUST_CHECK enum status engine_thread_open(const struct engine_thread_options *options,
                                          struct engine_thread **thread_out, struct reason *reason);
/* Takes `request` of that effect (runner.h); `id` is the number of a request. */
MUST_CHECK enum status engine_thread_give(struct engine_thread *thread, uint32_t effect,
                                          uint64_t id, void *request);
/* How far it is; from any thread, at any time. */
void engine_thread_beat(const struct engine_thread *thread, struct engine_beat *beat_out);
/* True when the thread has ended within `limit_ms`; else it is inside MPI or a long step, and only
 * the end of the process ends it. */
bool engine_thread_close(struct engine_thread *thread, uint64_t limit_ms);

#endif
