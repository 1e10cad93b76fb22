/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai_fields: checked reading of JSON values, for the parts of the chat parser and for placing.
 *
 * Owner    openai_request.c, openai_messages.c, openai_demand.c and place.c.
 * Memory   borrows the JSON values.
 * Fails    false with a fault that names the field.
 */
#ifndef TROUPE_ACTORS_GATEWAY_OPENAI_FIELDS_H
#define TROUPE_ACTORS_GATEWAY_OPENAI_FIELDS_H

#include "actors/gateway/openai.h"

#include <jansson.h>

bool field_is_wrong(struct http_fault *fault_out, const char *field, const char *expected);
bool field_is_unsupported(struct http_fault *fault_out, const char *field, const char *why);
MUST_CHECK bool field_bool(const json_t *value, const char *field, bool *out,
                           struct http_fault *fault_out);
MUST_CHECK bool field_number(const json_t *value, const char *field, double least, double most,
                             double *out, struct http_fault *fault_out);
MUST_CHECK bool field_integer(const json_t *value, const char *field, int64_t least, int64_t most,
                              int64_t *out, struct http_fault *fault_out);

/* The object that a body is; NULL, with a fault, when it is none or holds what we cannot keep: a
 * whole number beyond 64 bits is refused by its field.  Given back with json_decref. */
MUST_CHECK json_t *openai_parse_body(const char *body, size_t size, struct http_fault *fault_out);
/* The messages, checked and brought to the form templates expect: content is one text. */
MUST_CHECK bool openai_parse_messages(const json_t *messages, char **json_out,
                                      struct http_fault *fault_out);
/* The list of tools, checked, as JSON for the template. */
MUST_CHECK bool openai_parse_tools(const json_t *tools, char **json_out,
                                   struct http_fault *fault_out);
/* What response_format, tool_choice, structured_outputs and guided_* ask of the answer's form, as
 * JSON for the runner, and which asked; nothing is written when they ask for nothing. */
MUST_CHECK bool openai_parse_demand(const json_t *root, char **json_out, const char **field_out,
                                    struct http_fault *fault_out);
/* Compact JSON in our own memory; refused when larger than a message may be. */
MUST_CHECK bool json_to_text(const json_t *value, const char *field, char **text_out,
                             struct http_fault *fault_out);

#endif
