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
#define ORACLE_NAMES_MAX 128u
#define ORACLE_NAME_SIZE 128u

struct oracle {
    char *bytes;
    struct tensor_table *table;
};

/* Whether TROUPE_ORACLES=DIR names fixtures outside the repository: DIR/models/FAMILY/VARIANT with
 * DIR/fixtures/FAMILY__VARIANT.safetensors, or DIR/NAME with DIR/NAME.oracle. */
bool oracle_is_outside(void);
/* Names of all of those that begin with TROUPE_FAMILY, if that is set, in order. */
size_t oracle_names(char (*names_out)[ORACLE_NAME_SIZE]);
/* The model's directory, into 512 bytes. */
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
