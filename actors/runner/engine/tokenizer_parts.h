/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer_parts: what a tokenizer is made of; for the files that build it only.
 */
#ifndef TROUPE_ENGINE_TOKENIZER_PARTS_H
#define TROUPE_ENGINE_TOKENIZER_PARTS_H

#include "actors/runner/engine/added_tokens.h"
#include "actors/runner/engine/tokenizer.h"

#include <jansson.h>

enum { TOKENIZER_AFFIX_MAX = 8 };

/* Ids the post-processor puts before or after a text. */
struct token_affix {
    uint32_t ids[TOKENIZER_AFFIX_MAX];
    size_t count;
};

/* Where a text gets a space before it that it does not have. */
enum space_before {
    SPACE_BEFORE_NONE,
    SPACE_BEFORE_TEXT,  /* normalising: before each text between added tokens */
    SPACE_BEFORE_PIECE, /* Metaspace: the same, unless a space is there */
    SPACE_BEFORE_FIRST, /* Metaspace: only where the whole text begins */
};

struct tokenizer {
    struct token_table *table;
    struct bpe *bpe;
    struct pretokenizer *splitter;
    struct added_tokens *raw;        /* matched before normalising */
    struct added_tokens *normalised; /* matched after it */
    size_t added_count;
    int has_nfc;
    /* Merging begins with characters, bytes stand in for those without a token, and U+2581 is a
     * space: in text it is read as one, in tokens it is kept as one. */
    int has_characters;
    int replaces_spaces; /* the files say so */
    int replaces_late;   /* and only after looking for added tokens, not when normalising */
    int has_metaspace;
    enum space_before space_before;
    int fuses;             /* what its decoder does next concerns all of the text */
    int drops_first_space; /* decoding takes it away again */
    int ignores_merges; /* a piece that is a token is not merged */
    char has_byte[256]; /* with characters: the byte has a token of its own */
    struct token_affix prefix;
    struct token_affix suffix;
    uint32_t end_ids[TOKENIZER_END_IDS_MAX];
    size_t end_count;
};

/* Fill an empty tokenizer from `directory`: whichever files are there. */
MUST_CHECK enum status tokenizer_read(struct tokenizer *tokenizer, const char *directory,
                                      struct reason *reason);
MUST_CHECK enum status tokenizer_read_bytes(struct tokenizer *tokenizer, const char *bytes,
                                            size_t size, struct reason *reason);
/* The same without tokenizer.json, from vocab.json and merges.txt. */
MUST_CHECK enum status tokenizer_read_older(struct tokenizer *tokenizer, const char *directory,
                                            const json_t *config, struct reason *reason);

/* `model` has vocab; merges come from it or from tokenizer_add_merge. */
MUST_CHECK enum status tokenizer_take_vocabulary(struct tokenizer *tokenizer,
                                                 const json_t *vocabulary,
                                                 struct reason *reason);
MUST_CHECK enum status tokenizer_add_merge(struct tokenizer *tokenizer, const char *left,
                                           size_t left_size, const char *right,
                                           size_t right_size, size_t rank,
                                           struct reason *reason);
/* One element of added_tokens, or a value of added_tokens_decoder with its id. */
MUST_CHECK enum status tokenizer_take_added(struct tokenizer *tokenizer, const json_t *added,
                                            json_int_t id, struct reason *reason);
MUST_CHECK enum status tokenizer_take_post_processor(struct tokenizer *tokenizer,
                                                     const json_t *processor,
                                                     struct reason *reason);
/* Reads every file of `directory` that names an end of text.  `config` is tokenizer_config.json
 * or NULL. */
MUST_CHECK enum status tokenizer_take_ends(struct tokenizer *tokenizer, const char *directory,
                                           const json_t *config, struct reason *reason);

#endif
