/* SPDX-License-Identifier: Apache-2.0 */
/*
 * measure_layers: how long this machine's engine takes for the layers of a made-up model, which
 * lies in memory: what a real one of such layers takes, with all that is around its products.
 *
 * Owner    whoever opened it; closed by measure_layers_close, its runs by measure_run_close.
 * Memory   the model's weights, and an engine's for each run.
 * Threads  one caller; the engine's own in a run.
 * Fails    NO_MEMORY, and what an engine fails with.
 */
#ifndef TROUPE_ACTORS_RUNNER_ENGINE_MEASURE_LAYERS_H
#define TROUPE_ACTORS_RUNNER_ENGINE_MEASURE_LAYERS_H

#include "actors/runner/engine/made_shape.h"
#include "protocol/state.h"

struct measure_layers;

MUST_CHECK enum status measure_layers_open(const struct made_shape *shape,
                                           struct measure_layers **layers_out,
                                           struct reason *reason);
/* Accepts NULL. */
void measure_layers_close(struct measure_layers *layers);
/* Of its layers: what is read of them for a token, and multiplied for it. */
uint64_t measure_layers_bytes(const struct measure_layers *layers);
uint64_t measure_layers_products(const struct measure_layers *layers);
struct measure_run;

/* An engine of those layers, in this mode and with so many threads, for steps of so many rows: 1
 * for tokens near their sequence's start, more for the first of a prompt.
 * What only a first step meets is behind it. */
MUST_CHECK enum status measure_run_open(struct measure_layers *layers, enum mode mode,
                                        uint32_t threads, uint32_t rows,
                                        struct measure_run **run_out, struct reason *reason);
/* Nanoseconds of one step. */
MUST_CHECK enum status measure_run_step(struct measure_run *run, uint64_t *took_ns_out,
                                        struct reason *reason);
/* Accepts NULL; before its layers. */
void measure_run_close(struct measure_run *run);

#endif
