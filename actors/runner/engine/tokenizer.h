/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer: text to token ids and ids to bytes, as the model's own files say.
 *
 * Reads BPE from tokenizer.json, over bytes or (Gemma, Llama 2) over characters with bytes to fall
 * back to and spaces replaced by U+2581, or over bytes from vocab.json + merges.txt +
 * tokenizer_config.json.  Whatever those files ask for that is not done here is refused by name:
 * a tokenizer that is almost right would answer almost sensibly.
 *
 * Owner    the engine; one per model.
 * Memory   taken at open, about 100 bytes a token; encoding grows the caller's list.
 * Threads  read only once open: any number of threads may encode and ask for pieces.
 * Fails    STATUS_NOT_FOUND, STATUS_MALFORMED, STATUS_UNSUPPORTED, STATUS_TOO_LARGE,
 *          STATUS_NO_MEMORY.
 */
#ifndef TROUPE_ENGINE_TOKENIZER_H
#define TROUPE_ENGINE_TOKENIZER_H

#include "actors/runner/engine/bpe.h"
#include "actors/runner/engine/pretokenizer.h"
#include "actors/runner/engine/token_table.h"
#include "protocol/status.h"

#include <stddef.h>
#include <stdint.h>

enum {
    TOKENIZER_TEXT_MAX = 8 << 20, /* bytes of one text: above any context we promise */
    TOKENIZER_END_IDS_MAX = 32,
};

enum tokenizer_option {
    /* Special tokens found in the text are read as plain text: for content of users. */
    TOKENIZER_SPECIAL_AS_TEXT = 1,
    /* Puts what the post-processor adds (BOS) around: for plain text, never for a rendered
     * template, which has its own. */
    TOKENIZER_POST_PROCESS = 2,
};

struct tokenizer;

/* `directory` holds the model's files; weights are not needed. */
MUST_CHECK enum status tokenizer_open(const char *directory, struct tokenizer **tokenizer_out,
                                      struct reason *reason);
/* The same from the bytes of a tokenizer.json alone: nothing then names an end of text. */
MUST_CHECK enum status tokenizer_open_bytes(const char *bytes, size_t size,
                                            struct tokenizer **tokenizer_out,
                                            struct reason *reason);
/* Accepts NULL. */
void tokenizer_close(struct tokenizer *tokenizer);

/* Appends the ids of `text`, which must be valid UTF-8 of at most TOKENIZER_TEXT_MAX bytes.
 * `options` is a sum of tokenizer_option. */
MUST_CHECK enum status tokenizer_encode(const struct tokenizer *tokenizer, const char *text,
                                        size_t length, unsigned options,
                                        struct token_list *list, struct reason *reason);

/* Bytes and flags of an id; false for one that is not defined (out of range, or a logit row above
 * the vocabulary).  The bytes live as long as the tokenizer. */
int tokenizer_piece(const struct tokenizer *tokenizer, uint32_t id,
                    struct token_piece *piece_out);

/* One above the highest defined id. */
size_t tokenizer_size(const struct tokenizer *tokenizer);

/* The id of an added token or of a token with exactly these bytes; false when there is none. */
int tokenizer_find(const struct tokenizer *tokenizer, const char *text, size_t size,
                   uint32_t *id_out);

/* Ids that end a text: the union of generation_config.json, config.json (and its text_config),
 * tokenizer_config.json, special_tokens_map.json and of what is known to end a turn in the chat
 * template, ascending; ids the tokenizer does not define are left out. */
size_t tokenizer_end_ids(const struct tokenizer *tokenizer, const uint32_t **ids_out);
int tokenizer_is_end(const struct tokenizer *tokenizer, uint32_t id);

/* Text of all `ids`, invalid bytes as U+FFFD; the caller frees it with memory_free.  Refuses an
 * undefined id.  `skip_special` leaves special tokens out. */
MUST_CHECK enum status tokenizer_decode(const struct tokenizer *tokenizer, const uint32_t *ids,
                                        size_t count, int skip_special, char **text_out,
                                        size_t *length_out, struct reason *reason);

/* A text that begins with a space loses it when it is decoded: encoding put it there. */
int tokenizer_drops_first_space(const struct tokenizer *tokenizer);

/* For tests: the text after normalising (NULL when it is unchanged), and the splitter. */
MUST_CHECK enum status tokenizer_normalise(const struct tokenizer *tokenizer, const char *text,
                                           size_t length, char **text_out, size_t *length_out);
const struct pretokenizer *tokenizer_splitter(const struct tokenizer *tokenizer);

#endif
