/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_file: reads a JSON file of a model directory, bounded in size.
 *
 * Memory   the caller gives `root_out` back with json_decref.
 * Threads  any.
 * Fails    STATUS_NOT_FOUND, STATUS_NO_PERMISSION, STATUS_TOO_LARGE, STATUS_MALFORMED (with the
 *          line), STATUS_NO_MEMORY.
 */
#ifndef TROUPE_ENGINE_JSON_FILE_H
#define TROUPE_ENGINE_JSON_FILE_H

#include "protocol/status.h"

#include <jansson.h>
#include <stddef.h>

/* The whole file with a NUL after it; the caller frees it with memory_free. */
MUST_CHECK enum status tokenizer_file_read(const char *directory, const char *name,
                                           size_t size_max, char **bytes_out, size_t *size_out,
                                           struct reason *reason);

/* JSON in memory; `name` is for the sentence. */
MUST_CHECK enum status json_bytes_read(const char *name, const char *bytes, size_t size,
                                       json_t **root_out, struct reason *reason);

/* Any JSON value; duplicate keys are refused. */
MUST_CHECK enum status json_file_read(const char *directory, const char *name, size_t size_max,
                                      json_t **root_out, struct reason *reason);

/* As json_file_read for a file that must hold an object; one that is not there gives OK and NULL.
 */
MUST_CHECK enum status json_file_read_optional(const char *directory, const char *name,
                                               size_t size_max, json_t **root_out,
                                               struct reason *reason);

#endif
