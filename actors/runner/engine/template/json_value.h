/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_value: JSON to the values of a rendering.
 *
 * Memory   everything is copied into the rendering's arena.
 * Fails    false after rendering_fail: too deep, too large.
 */
#ifndef TROUPE_ENGINE_TEMPLATE_JSON_VALUE_H
#define TROUPE_ENGINE_TEMPLATE_JSON_VALUE_H

#include "actors/runner/engine/template/value.h"

#include <jansson.h>

/* Before the digits of a text that stands for a whole number beyond 64 bits. */
#define JSON_DIGITS_MARK '\x01'

MUST_CHECK bool json_value(struct rendering *rendering, const json_t *json,
                           struct value *value_out);

#endif
