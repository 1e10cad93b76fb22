/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/refusal.h"

#include "protocol/memory.h"

enum status refusal_make(const struct generate *body, enum status how, bool is_demand,
                         const char *sentence, struct message *word_out)
{
    struct message word;
    const enum status status = message_init(&word, MESSAGE_LINK, LINK_GENERATION_REFUSED);
    if (status != STATUS_OK)
        return status;
    struct generation_refused *refused = word.body;
    refused->request_id = body->request_id;
    refused->attempt = body->attempt;
    refused->status = how;
    refused->is_demand = is_demand;
    if (!text_set(&refused->reason, sentence && *sentence ? sentence : status_text(how))) {
        message_fini(&word);
        return STATUS_NO_MEMORY;
    }
    *word_out = word;
    return STATUS_OK;
}
