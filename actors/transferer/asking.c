/* SPDX-License-Identifier: Apache-2.0 */
/*
 * asking: how a node that has chunks is asked, for a copy (receive_sources.c) as for a download
 * (gather_sources.c).
 */
#include "actors/transferer/transferer.h"

#include "protocol/memory.h"

#include <stdio.h>
#include <string.h>

bool source_has_address(const struct endpoint_record *endpoint)
{
    return endpoint && text_or_empty(endpoint->address)[0] &&
           strlen(endpoint->address) < LINK_ENDPOINT_SIZE;
}

void source_connect(struct transferer_step *step, uint32_t link,
                    const struct endpoint_record *endpoint)
{
    struct link_options options = {.role = LINK_CONNECT, .server_key = endpoint->key,
                                   .message_size_max = TRANSFER_MESSAGE_MAX};
    (void)snprintf(options.endpoint, sizeof(options.endpoint), "%s", endpoint->address);
    outbox_link_open(step->outbox, link, &options);
}

enum status source_send(struct transferer_step *step, uint32_t link, struct message *message,
                        bool is_filled)
{
    const struct peer peer = peer_of_link(link);
    if (is_filled)
        outbox_send(step->outbox, &peer, message);
    message_fini(message);
    return is_filled ? STATUS_OK : STATUS_NO_MEMORY;
}

enum status source_ask_chunk(struct transferer_step *step, uint32_t link,
                             const struct request_id *session, uint32_t chunk)
{
    struct message message;
    enum status status = message_init(&message, MESSAGE_LINK, LINK_CHUNK_ASKED);
    if (status != STATUS_OK)
        return status;
    *MESSAGE_BODY(&message, chunk_asked) = (struct chunk_asked){*session, chunk};
    return source_send(step, link, &message, true);
}

uint32_t source_first_chunk(const struct transferer *transferer, uint32_t count)
{
    const uint8_t *id = transferer->session.mirror.node_id.bytes;
    return (uint32_t)(id[0] | id[1] << 8 | id[2] << 16) % count;
}

bool source_credit_return(uint32_t *window, uint32_t *window_count, uint8_t *asked, uint32_t chunk)
{
    for (uint32_t i = 0; i < *window_count; i++) {
        if (window[i] != chunk)
            continue;
        window[i] = window[--*window_count];
        chunk_remove(asked, chunk);
        return true;
    }
    return false;
}
