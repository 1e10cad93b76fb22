/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as the body of a chat completion: refused with a fault that prints, or within every
 * bound and fit to travel as a message.
 */
#include "actors/gateway/openai.h"
#include "protocol/assert.h"
#include "protocol/message.h"

#include <math.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check_request(struct chat_request *request)
{
    const struct sampling_asked *sampling = &request->generate.sampling;
    ASSERT(request->model && *request->model && strlen(request->model) <= NAME_SIZE_MAX);
    ASSERT(request->generate.messages);
    ASSERT(request->generate.stops.count <= STOP_COUNT_MAX);
    ASSERT(request->generate.tokens_max <= TOKEN_IDS_MAX);
    ASSERT(!sampling->has_temperature ||
           (sampling->temperature >= 0 && sampling->temperature <= 2));
    ASSERT(!sampling->has_top_p || (sampling->top_p >= 0 && sampling->top_p <= 1));
    ASSERT(isfinite(sampling->presence_penalty) && isfinite(sampling->frequency_penalty));
    ASSERT(sampling->top_logprobs <= TOP_LOGPROB_COUNT_MAX);
    ASSERT(sampling->bias_values.count == 4 * sampling->bias_ids.count);
    struct message message = {.head = {.kind = MESSAGE_LINK, .code = LINK_GENERATE},
                              .body = &request->generate};
    struct buffer encoded;
    struct message back;
    struct reason reason;
    buffer_init(&encoded, MESSAGE_SIZE_MAX);
    ASSERT(message_encode(&message, &encoded) == STATUS_OK);
    ASSERT(message_decode(encoded.bytes, encoded.size, &back, &reason) == STATUS_OK);
    ASSERT(message_equal(&message, &back));
    message_fini(&back);
    buffer_fini(&encoded);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct chat_request request = {0};
    struct http_fault fault = {0};
    if (openai_parse_chat((const char *)bytes, size, &request, &fault)) {
        check_request(&request);
        chat_request_fini(&request);
    } else {
        char body[HTTP_FAULT_BODY_SIZE_MAX];
        ASSERT(fault.http_status >= 400 && fault.message[0]);
        ASSERT(http_fault_body(&fault, body) < sizeof(body));
    }
    return 0;
}
