/* SPDX-License-Identifier: Apache-2.0 */
/*
 * paces: how fast instances were, asked of the node, beside what the placement predicted.
 *
 * Shared by ps and previews.
 */
#ifndef TROUPE_RUNTIME_TOOLS_TROUPE_PACES_H
#define TROUPE_RUNTIME_TOOLS_TROUPE_PACES_H

#include "runtime/tools/troupe/cli.h"
#include "runtime/tools/troupe/output.h"

/* Asks; `answer_out` is finished by the caller when it is EXIT_CODE_OK. */
int paces_ask(struct cli *cli, struct message *answer_out);
/* Two lines of an instance to standard output, one under the other; nothing of one that computes
 * nowhere yet. */
void paces_print(const struct instance_record *instance, const struct paces_listed *listed);
/* The member "observed" of its object, without a comma after it. */
void paces_add(struct document *document, const struct instance_record *instance,
               const struct paces_listed *listed);

#endif
