/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories without tokenizer.json, and the files that name an end of text.
 *
 * vocab.json and merges.txt do not say how text is cut: that follows from tokenizer_class in
 * tokenizer_config.json, and only classes whose rules are known are taken.
 */
#include "actors/runner/engine/json_file.h"
#include "actors/runner/engine/tokenizer_parts.h"
#include "protocol/memory.h"
#include "protocol/utf8.h"

#include <string.h>

enum {
    VOCAB_FILE_MAX = 48 << 20,
    MERGES_FILE_MAX = 48 << 20,
    SMALL_FILE_MAX = 16 << 20,
};

static enum status take_class(struct tokenizer *tokenizer, const json_t *config,
                              struct reason *reason)
{
    const char *class = json_string_value(json_object_get(config, "tokenizer_class"));
    const json_t *code = json_object_get(json_object_get(config, "auto_map"), "AutoTokenizer");
    if (code)
        return refuse(reason, STATUS_UNSUPPORTED,
                      "there is no tokenizer.json, and the code that tokenizer_config.json names "
                      "in auto_map (class %.60s) is never run; copy tokenizer.json into the "
                      "directory", class ? class : "without a name");
    if (!class)
        return refuse(reason, STATUS_UNSUPPORTED,
                      "there is no tokenizer.json, and tokenizer_config.json names no "
                      "tokenizer_class; copy tokenizer.json into the directory");
    if (strcmp(class, "Qwen2Tokenizer") == 0 || strcmp(class, "Qwen2TokenizerFast") == 0) {
        tokenizer->has_nfc = 1;
        return pretokenizer_add(tokenizer->splitter, pretokenizer_pattern_qwen2, 0, reason);
    }
    if (strcmp(class, "GPT2Tokenizer") == 0 || strcmp(class, "GPT2TokenizerFast") == 0)
        return pretokenizer_add(tokenizer->splitter, pretokenizer_pattern_gpt2, 0, reason);
    return refuse(reason, STATUS_UNSUPPORTED,
                  "there is no tokenizer.json, and how the class %.60s cuts text is not known; "
                  "copy tokenizer.json into the directory", class);
}

static enum status take_merges_text(struct tokenizer *tokenizer, const char *text, size_t size,
                                    struct reason *reason)
{
    if (utf8_valid_prefix(text, size) != size)
        return refuse(reason, STATUS_MALFORMED, "merges.txt is not UTF-8");
    size_t rank = 0;
    for (size_t at = 0; at < size;) {
        const char *line = text + at;
        const char *newline = memchr(line, '\n', size - at);
        size_t length = newline ? (size_t)(newline - line) : size - at;
        at += length + 1;
        if (length > 0 && line[length - 1] == '\r')
            length--;
        if (length == 0 || (length >= 8 && memcmp(line, "#version", 8) == 0))
            continue;
        const char *space = memchr(line, ' ', length);
        if (!space || rank == BPE_MERGES_MAX)
            return refuse(reason, STATUS_MALFORMED,
                          "merges.txt: line for merge %zu is not two tokens, or is more than "
                          "the %d supported", rank, BPE_MERGES_MAX);
        size_t left_size = (size_t)(space - line);
        enum status status = tokenizer_add_merge(tokenizer, line, left_size, space + 1,
                                                 length - left_size - 1, rank, reason);
        if (status != STATUS_OK)
            return status;
        rank++;
    }
    return STATUS_OK;
}

enum status tokenizer_read_older(struct tokenizer *tokenizer, const char *directory,
                                 const json_t *config, struct reason *reason)
{
    json_t *vocabulary = NULL;
    struct reason why = {""};
    enum status status =
        json_file_read(directory, "vocab.json", VOCAB_FILE_MAX, &vocabulary, &why);
    if (status == STATUS_NOT_FOUND)
        return refuse(reason, status, "%.250s holds no tokenizer: neither tokenizer.json nor "
                      "vocab.json is there; copy the model's tokenizer files into it",
                      directory);
    if (status != STATUS_OK)
        return refuse(reason, status, "%s", why.text);
    status = take_class(tokenizer, config, reason);
    if (status == STATUS_OK)
        status = tokenizer_take_vocabulary(tokenizer, vocabulary, reason);
    json_decref(vocabulary);
    if (status != STATUS_OK)
        return status;
    char *merges = NULL;
    size_t size = 0;
    status = tokenizer_file_read(directory, "merges.txt", MERGES_FILE_MAX, &merges, &size, reason);
    if (status == STATUS_OK)
        status = take_merges_text(tokenizer, merges, size, reason);
    memory_free(merges);
    return status;
}

static void end_add(struct tokenizer *tokenizer, json_int_t id)
{
    struct token_piece piece;
    if (id < 0 || id >= TOKEN_TABLE_IDS_MAX || tokenizer->end_count == TOKENIZER_END_IDS_MAX ||
        !tokenizer_piece(tokenizer, (uint32_t)id, &piece) ||
        tokenizer_is_end(tokenizer, (uint32_t)id))
        return;
    size_t at = tokenizer->end_count++;
    for (; at > 0 && tokenizer->end_ids[at - 1] > (uint32_t)id; at--)
        tokenizer->end_ids[at] = tokenizer->end_ids[at - 1];
    tokenizer->end_ids[at] = (uint32_t)id;
}

static enum status take_end_value(struct tokenizer *tokenizer, const json_t *value,
                                  const char *file, struct reason *reason)
{
    if (!value || json_is_null(value))
        return STATUS_OK;
    if (json_is_integer(value)) {
        end_add(tokenizer, json_integer_value(value));
        return STATUS_OK;
    }
    if (!json_is_array(value) || json_array_size(value) > TOKENIZER_END_IDS_MAX)
        return refuse(reason, STATUS_MALFORMED,
                      "%s: eos_token_id is neither a number nor a list of at most %d numbers",
                      file, TOKENIZER_END_IDS_MAX);
    for (size_t at = 0; at < json_array_size(value); at++) {
        if (!json_is_integer(json_array_get(value, at)))
            return refuse(reason, STATUS_MALFORMED,
                          "%s: eos_token_id holds something that is no whole number", file);
        end_add(tokenizer, json_integer_value(json_array_get(value, at)));
    }
    return STATUS_OK;
}

/* "eos_token" of a file: a text, or an object with it. */
static void take_end_token(struct tokenizer *tokenizer, const json_t *config)
{
    const json_t *token = json_object_get(config, "eos_token");
    uint32_t id;
    if (json_is_object(token))
        token = json_object_get(token, "content");
    if (json_is_string(token) && tokenizer_find(tokenizer, json_string_value(token),
                                                json_string_length(token), &id))
        end_add(tokenizer, (json_int_t)id);
}

/* Tokens that end a turn wherever a template writes them; many directories name only the end of a
 * document, and their models would answer in the user's name next. */
static void take_turn_ends(struct tokenizer *tokenizer, const char *text)
{
    static const char *const ends[] = {"<|im_end|>", "<|eot_id|>", "<end_of_turn>",
                                       "<|return|>", "<|call|>"};
    for (size_t at = 0; at < COUNT_OF(ends); at++) {
        struct token_piece piece;
        uint32_t id;
        if (strstr(text, ends[at]) &&
            tokenizer_find(tokenizer, ends[at], strlen(ends[at]), &id) &&
            tokenizer_piece(tokenizer, id, &piece) && (piece.flags & TOKEN_SPECIAL))
            end_add(tokenizer, (json_int_t)id);
    }
}

static enum status take_template_ends(struct tokenizer *tokenizer, const char *directory,
                                      const json_t *config, struct reason *reason)
{
    char *text = NULL;
    size_t size = 0;
    struct reason why = {""};
    enum status status = tokenizer_file_read(directory, "chat_template.jinja", SMALL_FILE_MAX,
                                             &text, &size, &why);
    if (status == STATUS_OK) {
        take_turn_ends(tokenizer, text);
        memory_free(text);
        return STATUS_OK;
    }
    if (status != STATUS_NOT_FOUND)
        return refuse(reason, status, "%s", why.text);
    const json_t *source = json_object_get(config, "chat_template");
    if (json_is_string(source))
        take_turn_ends(tokenizer, json_string_value(source));
    for (size_t at = 0; at < json_array_size(source); at++) {
        const char *one =
            json_string_value(json_object_get(json_array_get(source, at), "template"));
        take_turn_ends(tokenizer, one ? one : "");
    }
    return STATUS_OK;
}

enum status tokenizer_take_ends(struct tokenizer *tokenizer, const char *directory,
                                const json_t *config, struct reason *reason)
{
    static const char *const files[] = {"generation_config.json", "config.json"};
    for (size_t at = 0; at < COUNT_OF(files); at++) {
        json_t *root = NULL;
        enum status status =
            json_file_read_optional(directory, files[at], SMALL_FILE_MAX, &root, reason);
        if (status == STATUS_OK)
            status = take_end_value(tokenizer, json_object_get(root, "eos_token_id"), files[at],
                                    reason);
        if (status == STATUS_OK)
            status = take_end_value(
                tokenizer,
                json_object_get(json_object_get(root, "text_config"), "eos_token_id"), files[at],
                reason);
        json_decref(root);
        if (status != STATUS_OK)
            return status;
    }
    json_t *special = NULL;
    enum status status = json_file_read_optional(directory, "special_tokens_map.json",
                                                 SMALL_FILE_MAX, &special, reason);
    if (status != STATUS_OK)
        return status;
    take_end_token(tokenizer, special);
    json_decref(special);
    take_end_token(tokenizer, config);
    return take_template_ends(tokenizer, directory, config, reason);
}
