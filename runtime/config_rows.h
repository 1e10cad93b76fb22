/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_rows: the rows of config_keys.h as a table, for the files of config alone.
 */
#ifndef TROUPE_RUNTIME_CONFIG_ROWS_H
#define TROUPE_RUNTIME_CONFIG_ROWS_H

#include "runtime/config.h"

struct config_row {
    const char *name;
    enum config_type type;
    const char *standard;
    uint64_t least;
    uint64_t most;
    const char *sentence;
};

extern const struct config_row config_rows[CONFIG_KEY_COUNT];

/* -1: none. */
int config_find(const char *name);
/* The refusal of an unknown name, with the nearest known one. */
enum status config_unknown(const char *name, const char *where, struct reason *reason);

#endif
