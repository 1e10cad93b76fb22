/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config: every setting, one row each (runtime/config_keys.h).
 *
 * Sources, strongest first: `--key value` or `--key=value`, environment TROUPE_KEY, the ini file,
 * the default.  An unknown key is refused by name with the nearest known one.
 *
 * Owner    main.
 * Memory   texts are heap copies; config_fini frees them.
 * Threads  read-only after parsing.
 * Fails    STATUS_INVALID, STATUS_NOT_FOUND, STATUS_NO_PERMISSION, STATUS_MALFORMED: always with a
 *          sentence that names source, key and what is allowed.
 */
#ifndef TROUPE_RUNTIME_CONFIG_H
#define TROUPE_RUNTIME_CONFIG_H

#include "protocol/buffer.h"
#include "protocol/status.h"
#include "runtime/config_keys.h"

#include <stdbool.h>
#include <stdint.h>

enum config_type { CONFIG_TEXT, CONFIG_NUMBER, CONFIG_SIZE, CONFIG_SWITCH, CONFIG_SHARE };
enum config_origin { CONFIG_DEFAULT, CONFIG_FILE, CONFIG_ENVIRONMENT, CONFIG_FLAG };

enum config_key {
#define CONFIG_KEY(NAME, name, type, standard, least, most, sentence) CONFIG_KEY_##NAME,
    CONFIG_KEY_LIST(CONFIG_KEY)
#undef CONFIG_KEY
    CONFIG_KEY_COUNT
};

/* Read by config_text, config_number and config_switch with CONFIG_KEY_LISTEN and so on. */
struct config {
    char *texts[CONFIG_KEY_COUNT];      /* as written; never NULL after config_init */
    uint64_t numbers[CONFIG_KEY_COUNT]; /* number, bytes, or 0 and 1 */
    enum config_origin origins[CONFIG_KEY_COUNT];
};

/* Defaults. */
MUST_CHECK enum status config_init(struct config *config, struct reason *reason);
void config_fini(struct config *config);

/* Takes `--key value` pairs out of arguments[1...]; what is no flag stays, in order, and
 * `count` becomes the number left.  `--` ends the flags.  With `lenient` an unknown flag stays too
 * (the command line has flags of its own). */
MUST_CHECK enum status config_read_flags(struct config *config, int *count, char **arguments,
                                         bool lenient, struct reason *reason);
/* All TROUPE_... variables; unknown ones are refused, but for those the runtime itself uses. */
MUST_CHECK enum status config_read_environment(struct config *config, char *const *environment,
                                               struct reason *reason);
/* An absent file is OK unless `must_exist`.  One without permission or with a bad line is not. */
MUST_CHECK enum status config_read_file(struct config *config, const char *path, bool must_exist,
                                        struct reason *reason);
/* The content of such a file; `where` names it in refusals. */
MUST_CHECK enum status config_read_text(struct config *config, const char *text, const char *where,
                                        struct reason *reason);
/* All of it for main: flags, environment, then HOME/config.ini. */
MUST_CHECK enum status config_load(struct config *config, int *count, char **arguments,
                                   bool lenient, struct reason *reason);

/* One value, from `origin`; a weaker origin never replaces a stronger one. */
MUST_CHECK enum status config_set(struct config *config, const char *name, const char *value,
                                  enum config_origin origin, const char *where,
                                  struct reason *reason);

const char *config_text(const struct config *config, enum config_key key);
uint64_t config_number(const struct config *config, enum config_key key);
/* 0 to 1. */
double config_share(const struct config *config, enum config_key key);
bool config_switch(const struct config *config, enum config_key key);
const char *config_name(enum config_key key);

/* "lease_ms = 1000    # default" for each key. */
MUST_CHECK enum status config_print(const struct config *config, struct buffer *text);
/* The table for --help. */
MUST_CHECK enum status config_help(struct buffer *text);

#endif
