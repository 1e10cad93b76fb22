/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a chat template, rendered with messages that have a bit of everything. */
#include "actors/runner/engine/template/chat_template.h"
#include "protocol/memory.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static const char request[] =
    "[{\"role\": \"system\", \"content\": \"S\"}, {\"role\": \"user\", \"content\": \"H\xc3\xa9\"},"
    "{\"role\": \"assistant\", \"content\": null, \"thinking\": \"t\","
    " \"tool_calls\": [{\"function\":"
    "{\"name\": \"f\", \"arguments\": {\"x\": [1, 2.5, null, true], \"y\": {\"k\": \"v\"}}}}]},"
    "{\"role\": \"tool\", \"content\": [{\"type\": \"text\", \"text\": \"3\"}]}]";

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const struct tm now = {.tm_year = 126, .tm_mday = 1};
    struct chat_template *chat_template = NULL;
    struct reason reason = {""};
    json_t *messages = json_loads(request, 0, NULL);
    json_t *arguments = json_pack("{s:s,s:i,s:[i,i,i]}", "s", "Hello", "n", 7, "l", 3, 1, 2);
    ASSERT(messages && arguments);
    struct chat_prompt_options options = {.tools = messages,
                                          .arguments = arguments,
                                          .now = &now,
                                          .add_generation_prompt = true,
                                          .steps_max = 20000,
                                          .output_size_max = 65536,
                                          .memory_size_max = 4 * 1024 * 1024};
    if (chat_template_parse((const char *)bytes, size, NULL, &chat_template, &reason) ==
        STATUS_OK) {
        char *text = NULL;
        size_t text_size = 0;
        if (chat_template_render(chat_template, messages, &options, &text, &text_size, &reason) ==
            STATUS_OK)
            ASSERT(strlen(text) <= text_size);
        else
            ASSERT(text == NULL);
        memory_free(text);
    }
    chat_template_close(chat_template);
    json_decref(arguments);
    json_decref(messages);
    return 0;
}
