/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as tokenizer.json: refused with a sentence, or a tokenizer that keeps its promise. */
#include "actors/runner/engine/tokenizer.h"
#include "protocol/memory.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const char text[] = "Hello, w\xc3\xb6rld <|end|> 12345   it's\r\n <T> e\xcc\x81 abab";
    struct tokenizer *tokenizer = NULL;
    struct reason reason = {""};
    if (tokenizer_open_bytes((const char *)bytes, size, &tokenizer, &reason) != STATUS_OK) {
        ASSERT(reason.text[0] != '\0');
        return 0;
    }
    struct token_list list = {NULL, 0, 0};
    enum status status = tokenizer_encode(tokenizer, text, sizeof(text) - 1,
                                          TOKENIZER_POST_PROCESS, &list, &reason);
    ASSERT(status == STATUS_OK || status == STATUS_TOO_LARGE);
    for (size_t at = 0; at < list.count; at++)
        ASSERT(list.ids[at] < tokenizer_size(tokenizer));
    char *back = NULL;
    size_t length;
    if (tokenizer_decode(tokenizer, list.ids, list.count, 0, &back, &length, &reason) ==
        STATUS_OK)
        memory_free(back);
    token_list_free(&list);
    tokenizer_close(tokenizer);
    return 0;
}
