/* SPDX-License-Identifier: Apache-2.0 */
/* Any frame of a peer: refused, or a message that is encoded and read again as the same. */
#include "protocol/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct message message;
    struct message again;
    struct reason reason = {""};
    struct buffer encoded;
    if (message_decode(bytes, size, &message, &reason) != STATUS_OK)
        return 0;
    buffer_init(&encoded, 2u * MESSAGE_SIZE_MAX);
    ASSERT(message_encode(&message, &encoded) == STATUS_OK);
    ASSERT(message_decode(encoded.bytes, encoded.size, &again, &reason) == STATUS_OK);
    ASSERT(message_equal(&message, &again));
    buffer_clear(&encoded);
    ASSERT(message_print(&message, &encoded) == STATUS_OK);
    buffer_fini(&encoded);
    message_fini(&message);
    message_fini(&again);
    return 0;
}
