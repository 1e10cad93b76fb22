/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oracle: reference results of one model: prompts, logits, greedy tokens, hidden states.
 *
 * The files are safetensors, so our own reader opens them.  Prompts are numbered 0 to 3 and have 1,
 * 7, 33 and 150 ids.
 */
#ifndef TROUPE_TESTS_ENGINE_ORACLE_H
#define TROUPE_TESTS_ENGINE_ORACLE_H

#include "actors/runner/engine/engine.h"

#include <stddef.h>
#include <stdint.h>

#define ORACLE_PROMPTS 4u

struct oracle {
    char *bytes;
    struct tensor_table *table;
};

/* Its directory, into a buffer of 512 bytes. */
const char *oracle_model_path(const char *name, char *path_out);
void oracle_model_open(const char *name, struct engine_model *model_out);
void oracle_open(const char *name, struct oracle *oracle_out);
void oracle_close(struct oracle *oracle);
/* "last", 2 -> the tensor last.2 */
const float *oracle_floats(const struct oracle *oracle, const char *name, unsigned prompt,
                           size_t *count_out);
const int32_t *oracle_ids(const struct oracle *oracle, const char *name, unsigned prompt,
                          size_t *count_out);

/* The models kept with the tests. */
extern const char *const oracle_models[];
extern const size_t oracle_model_count;

#endif
