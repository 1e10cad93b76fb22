/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weight_worlds: ranks as threads that load a fixture, for the tests of loading.
 *
 * Owner    a test.
 * Memory   a world stays where it was opened: its ranks point into it.
 * Threads  world_run starts one for each rank and waits for all.
 * Fails    what cannot be set up aborts the test.
 */
#ifndef TROUPE_TESTS_UNIT_ACTORS_RUNNER_WEIGHT_WORLDS_H
#define TROUPE_TESTS_UNIT_ACTORS_RUNNER_WEIGHT_WORLDS_H

#include "actors/runner/engine/collective_threads.h"
#include "actors/runner/weight_load.h"
#include "runtime/partition.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <pthread.h>

#define RANKS_MAX 5u
#define FILES_MAX 16u
#define MODELS "tests/engine/models/"
#define MODEL MODELS "qwen3-untied__affine4-g64-sharded"

struct rank {
    pthread_t thread;
    struct collective_threads *threads;
    struct weight_load_request request;
    struct weight_load load;
    enum status status;
    struct reason reason;
    bool damages;             /* every batch it sends, always */
    uint32_t first_receiver;  /* of what it sent */
    uint32_t replacements;    /* batches it sent in another source's place */
};

struct world {
    char directory[512];
    struct collective_threads *threads;
    struct model_config *config;
    struct partition partitions[RANKS_MAX];
    bool has_files[RANKS_MAX];
    struct weight_source sources[FILES_MAX];
    char names[FILES_MAX][64];
    size_t source_count;
    struct rank ranks[RANKS_MAX];
    uint32_t count;
};

/* The first `holders` ranks have the files; weight file i is sent by holder i modulo their number.
 */
void world_open_model(struct world *world, const char *name, enum sharding sharding,
                      uint32_t count, uint32_t holders);
/* The same of a model of several files. */
void world_open(struct world *world, enum sharding sharding, uint32_t count, uint32_t holders);
/* Rank 1 has file 1, and sends it to rank 2; rank 0 has all and sends the rest. */
void world_open_partly_held(struct world *world, struct scratch *scratch);
/* File i lies with rank i modulo `holders`, in its own directory, and nowhere else. */
void world_open_parted(struct world *world, struct scratch scratches[RANKS_MAX],
                       enum sharding sharding, uint32_t count, uint32_t holders);
void world_close(struct world *world);
void world_close_parted(struct world *world, struct scratch scratches[RANKS_MAX]);

void *world_load_rank(void *rank);
void world_run(struct world *world);
/* What each rank keeps is what the files hold. */
void world_check_bytes(const struct world *world);
/* A file of the world's model, into another directory. */
void world_copy_file(const struct world *world, const struct scratch *scratch, const char *name);

#endif
