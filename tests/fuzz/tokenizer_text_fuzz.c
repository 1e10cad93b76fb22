/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as text.  The first byte chooses tokenizer and options.  Valid UTF-8 comes back as it
 * was (after NFC where the tokenizer normalises), anything else is refused.
 */
#include "actors/runner/engine/text_stream.h"
#include "actors/runner/engine/tokenizer.h"
#include "protocol/memory.h"
#include "protocol/utf8.h"
#include "tests/support/scratch.h"

#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static const char *const names[] = {"qwen", "qwen35", "llama3", "deepseek3", "o200k",
                                    "gemma"};
/* Opened once; the process ends with them. */
static struct tokenizer *tokenizers[COUNT_OF(names)];

static const struct tokenizer *tokenizer_of(size_t number)
{
    if (!tokenizers[number]) {
        char relative[128];
        char path[512];
        snprintf(relative, sizeof(relative), "tests/golden/tokenizers/%s", names[number]);
        enum status status = tokenizer_open(source_path(relative, path), &tokenizers[number], NULL);
        ASSERT(status == STATUS_OK);
    }
    return tokenizers[number];
}

static void expect_back(const struct tokenizer *tokenizer, const struct token_list *list,
                        const char *text, size_t size)
{
    char *back = NULL;
    char *normalised = NULL;
    size_t back_size;
    size_t wanted;
    enum status status =
        tokenizer_decode(tokenizer, list->ids, list->count, 0, &back, &back_size, NULL);
    ASSERT(status == STATUS_OK);
    status = tokenizer_normalise(tokenizer, text, size, &normalised, &wanted);
    ASSERT(status == STATUS_OK && back_size == wanted);
    ASSERT(wanted == 0 || memcmp(back, normalised ? normalised : text, wanted) == 0);
    memory_free(back);
    memory_free(normalised);
}

/* The stream takes any bytes, and what it gives is always UTF-8. */
static void expect_text(const uint8_t *bytes, size_t size)
{
    const struct stop_string stop = {"<|", 2};
    struct text_stream *stream = NULL;
    enum status status = text_stream_open(&stop, 1, &stream, NULL);
    ASSERT(status == STATUS_OK);
    status = text_stream_push(stream, (const char *)bytes, size);
    ASSERT(status == STATUS_OK);
    status = text_stream_finish(stream);
    ASSERT(status == STATUS_OK);
    size_t length;
    const char *text = text_stream_text(stream, &length);
    ASSERT(utf8_valid_prefix(text, length) == length);
    text_stream_close(stream);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size == 0)
        return 0;
    const struct tokenizer *tokenizer = tokenizer_of(bytes[0] % COUNT_OF(names));
    unsigned options = bytes[0] & 0x80 ? (unsigned)TOKENIZER_SPECIAL_AS_TEXT : 0U;
    const char *text = (const char *)bytes + 1;
    size--;
    struct token_list list = {NULL, 0, 0};
    struct reason reason = {""};
    enum status status = tokenizer_encode(tokenizer, text, size, options, &list, &reason);
    if (utf8_valid_prefix(text, size) == size) {
        ASSERT(status == STATUS_OK);
        expect_back(tokenizer, &list, text, size);
    } else {
        ASSERT(status == STATUS_MALFORMED && list.count == 0);
    }
    token_list_free(&list);
    expect_text(bytes, size);
    return 0;
}
