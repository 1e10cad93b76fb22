/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_pipe: an answer of known size whose bytes come piece by piece, each handed over whole.
 *
 * Whoever puts hears when a piece was taken to its end, and keeps as few on the way as it likes.
 *
 * Owner    the exchange of its answer.
 * Memory   the pieces that were not taken yet; `word` of each comes back when it is.
 * Threads  one at a time.
 * Fails    http_pipe_put: NO_MEMORY; the piece then stays the caller's.
 */
#ifndef TROUPE_ACTORS_GATEWAY_HTTP_PIPE_H
#define TROUPE_ACTORS_GATEWAY_HTTP_PIPE_H

#include "protocol/buffer.h"

#include <stdbool.h>

struct http_piece; /* opaque */

struct http_pipe {
    struct http_piece *first;
    struct http_piece *last;
    uint64_t size;  /* of the whole answer */
    uint64_t given; /* of it, so far */
};

void http_pipe_init(struct http_pipe *pipe, uint64_t size);
/* `word_free` frees the words of pieces that were never taken. */
void http_pipe_fini(struct http_pipe *pipe, void (*word_free)(void *word));
/* Takes bytes and word.  More than the answer has is our own bug. */
MUST_CHECK enum status http_pipe_put(struct http_pipe *pipe, struct buffer *bytes, void *word);
/* At most `size` bytes; 0: none is there now.  `word_out` is the word of a piece that was taken to
 * its end, or NULL. */
size_t http_pipe_take(struct http_pipe *pipe, char *bytes_out, size_t size, void **word_out);

#endif
