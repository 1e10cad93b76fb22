/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/gateway/http_pipe.h"

#include "protocol/assert.h"
#include "protocol/memory.h"

#include <string.h>

struct http_piece {
    struct http_piece *next;
    struct buffer bytes;
    size_t at;
    void *word;
};

void http_pipe_init(struct http_pipe *pipe, uint64_t size)
{
    *pipe = (struct http_pipe){.size = size};
}

/* The first; its word is the caller's. */
static void *drop_first(struct http_pipe *pipe)
{
    struct http_piece *piece = pipe->first;
    void *word = piece->word;
    pipe->first = piece->next;
    if (!pipe->first)
        pipe->last = NULL;
    buffer_fini(&piece->bytes);
    memory_free(piece);
    return word;
}

void http_pipe_fini(struct http_pipe *pipe, void (*word_free)(void *word))
{
    while (pipe->first) {
        void *word = drop_first(pipe);
        if (word)
            word_free(word);
    }
}

enum status http_pipe_put(struct http_pipe *pipe, struct buffer *bytes, void *word)
{
    ASSERT(bytes->size > 0 && bytes->size <= pipe->size - pipe->given);
    struct http_piece *piece = memory_zeroed(1, sizeof(*piece));
    if (!piece)
        return STATUS_NO_MEMORY;
    piece->bytes = *bytes;
    piece->word = word;
    buffer_init(bytes, bytes->ceiling);
    pipe->given += piece->bytes.size;
    if (pipe->last)
        pipe->last->next = piece;
    else
        pipe->first = piece;
    pipe->last = piece;
    return STATUS_OK;
}

size_t http_pipe_take(struct http_pipe *pipe, char *bytes_out, size_t size, void **word_out)
{
    struct http_piece *piece = pipe->first;
    *word_out = NULL;
    if (!piece)
        return 0;
    const size_t left = piece->bytes.size - piece->at;
    const size_t count = left < size ? left : size;
    memcpy(bytes_out, piece->bytes.bytes + piece->at, count);
    piece->at += count;
    if (piece->at == piece->bytes.size)
        *word_out = drop_first(pipe);
    return count;
}
