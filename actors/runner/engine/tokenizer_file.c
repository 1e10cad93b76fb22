/* SPDX-License-Identifier: Apache-2.0 */
/* Reads tokenizer.json: which parts it has and what each asks for. */
#include "actors/runner/engine/json_file.h"
#include "actors/runner/engine/tokenizer_parts.h"
#include "protocol/memory.h"

#include <string.h>

enum {
    TOKENIZER_FILE_MAX = 96 << 20, /* the largest known has 33 MB */
    CONFIG_FILE_MAX = 16 << 20,
};

/* U+2581 */
#define SPACE_MARK "\xe2\x96\x81"

static const char *type_of(const json_t *part)
{
    const char *type = json_string_value(json_object_get(part, "type"));
    return type ? type : "(no type)";
}

static int is_absent(const json_t *value)
{
    return !value || json_is_null(value);
}

/* Calls `take` for a part, or for each element of its list when the part is a Sequence. */
static enum status take_parts(struct tokenizer *tokenizer, const json_t *part,
                              const char *list_key,
                              enum status (*take)(struct tokenizer *tokenizer,
                                                  const json_t *part, struct reason *reason),
                              struct reason *reason)
{
    if (is_absent(part))
        return STATUS_OK;
    if (strcmp(type_of(part), "Sequence") != 0)
        return take(tokenizer, part, reason);
    const json_t *list = json_object_get(part, list_key);
    if (!json_is_array(list) || json_array_size(list) > 64)
        return refuse(reason, STATUS_MALFORMED,
                      "tokenizer.json: a Sequence has no list \"%s\" of at most 64 parts",
                      list_key);
    for (size_t at = 0; at < json_array_size(list); at++) {
        enum status status = take(tokenizer, json_array_get(list, at), reason);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

/* {"pattern": {"String": from}, "content": to} */
static int is_replacement(const json_t *part, const char *from, const char *to)
{
    const char *pattern =
        json_string_value(json_object_get(json_object_get(part, "pattern"), "String"));
    const char *content = json_string_value(json_object_get(part, "content"));
    return strcmp(type_of(part), "Replace") == 0 && pattern && content &&
           strcmp(pattern, from) == 0 && strcmp(content, to) == 0;
}

static enum status take_normaliser(struct tokenizer *tokenizer, const json_t *part,
                                   struct reason *reason)
{
    if (tokenizer->has_characters && is_replacement(part, " ", SPACE_MARK)) {
        tokenizer->replaces_spaces = 1;
        return STATUS_OK;
    }
    const char *prefix = json_string_value(json_object_get(part, "prepend"));
    if (tokenizer->has_characters && strcmp(type_of(part), "Prepend") == 0 && prefix &&
        strcmp(prefix, SPACE_MARK) == 0) {
        tokenizer->space_before = SPACE_BEFORE_TEXT;
        return STATUS_OK;
    }
    if (strcmp(type_of(part), "NFC") != 0)
        return refuse(reason, STATUS_UNSUPPORTED,
                      "tokenizer.json: normaliser %.60s is not supported, only NFC is",
                      type_of(part));
    tokenizer->has_nfc = 1;
    return STATUS_OK;
}

static enum status take_split(struct tokenizer *tokenizer, const json_t *part,
                              struct reason *reason)
{
    const char *behavior = json_string_value(json_object_get(part, "behavior"));
    const int is_inverted = json_is_true(json_object_get(part, "invert"));
    const json_t *regex = json_object_get(json_object_get(part, "pattern"), "Regex");
    const char *pattern = json_string_value(regex);
    if (!pattern || strlen(pattern) != json_string_length(regex))
        return refuse(reason, STATUS_UNSUPPORTED,
                      "tokenizer.json: a Split has no pattern \"Regex\"; other patterns are not "
                      "supported");
    /* To remove what is no match is the same as to isolate matches that leave nothing between. */
    const int removes_nothing = behavior && strcmp(behavior, "Removed") == 0 && is_inverted &&
                                pattern_covers_all(pattern);
    if (!removes_nothing && (!behavior || strcmp(behavior, "Isolated") != 0 || is_inverted))
        return refuse(reason, STATUS_UNSUPPORTED,
                      "tokenizer.json: a Split with behaviour %.60s%s is not supported, only "
                      "Isolated is", behavior ? behavior : "(none)",
                      is_inverted ? " inverted" : "");
    return pretokenizer_add(tokenizer->splitter, pattern, 0, reason);
}

/* Replaces spaces itself, and says where one is put. */
static enum status take_metaspace(struct tokenizer *tokenizer, const json_t *part,
                                  struct reason *reason)
{
    const char *mark = json_string_value(json_object_get(part, "replacement"));
    const json_t *scheme = json_object_get(part, "prepend_scheme");
    const json_t *prefix = json_object_get(part, "add_prefix_space");
    const json_t *split = json_object_get(part, "split");
    const char *where = json_is_string(scheme)    ? json_string_value(scheme)
                        : json_is_false(prefix) ? "never"
                                                : "always";
    if (!mark || strcmp(mark, SPACE_MARK) != 0 || tokenizer->space_before != SPACE_BEFORE_NONE)
        return refuse(reason, STATUS_UNSUPPORTED,
                      "tokenizer.json: this Metaspace is not supported, only one of U+2581 is");
    if (strcmp(where, "always") == 0)
        tokenizer->space_before = SPACE_BEFORE_PIECE;
    else if (strcmp(where, "first") == 0)
        tokenizer->space_before = SPACE_BEFORE_FIRST;
    else if (strcmp(where, "never") != 0)
        return refuse(reason, STATUS_UNSUPPORTED,
                      "tokenizer.json: Metaspace with prepend_scheme %.60s is not supported",
                      where);
    tokenizer->has_metaspace = 1;
    tokenizer->replaces_late = !tokenizer->replaces_spaces; /* unless the normaliser did */
    tokenizer->replaces_spaces = 1;
    if (json_is_false(split))
        return STATUS_OK;
    return pretokenizer_add(tokenizer->splitter, pretokenizer_pattern_spaced, 0, reason);
}

static enum status take_pretokeniser(struct tokenizer *tokenizer, const json_t *part,
                                     struct reason *reason)
{
    if (tokenizer->has_characters) {
        if (strcmp(type_of(part), "Metaspace") == 0)
            return take_metaspace(tokenizer, part, reason);
        /* A cut at spaces finds none: they were replaced. */
        const char *pattern =
            json_string_value(json_object_get(json_object_get(part, "pattern"), "String"));
        if (strcmp(type_of(part), "Split") == 0 && pattern && strcmp(pattern, " ") == 0)
            return STATUS_OK;
        return refuse(reason, STATUS_UNSUPPORTED,
                      "tokenizer.json: pre-tokeniser %.60s is not supported without ByteLevel, "
                      "only Metaspace and Split at spaces are", type_of(part));
    }
    if (strcmp(type_of(part), "Digits") == 0)
        return pretokenizer_add(tokenizer->splitter,
                                json_is_true(json_object_get(part, "individual_digits"))
                                    ? pretokenizer_pattern_digit
                                    : pretokenizer_pattern_digits,
                                0, reason);
    if (strcmp(type_of(part), "Split") == 0)
        return take_split(tokenizer, part, reason);
    if (strcmp(type_of(part), "ByteLevel") != 0)
        return refuse(reason, STATUS_UNSUPPORTED,
                      "tokenizer.json: pre-tokeniser %.60s is not supported, only Split, "
                      "Digits and ByteLevel are", type_of(part));
    if (json_is_true(json_object_get(part, "add_prefix_space")))
        return refuse(reason, STATUS_UNSUPPORTED,
                      "tokenizer.json: ByteLevel with add_prefix_space is not supported");
    const json_t *use_regex = json_object_get(part, "use_regex");
    if (use_regex && !json_is_true(use_regex))
        return STATUS_OK;
    return pretokenizer_add(tokenizer->splitter, pretokenizer_pattern_gpt2, 0, reason);
}

/* Byte-level BPE needs the byte map somewhere in the sequence. */
static int has_byte_level(const json_t *part)
{
    if (strcmp(type_of(part), "ByteLevel") == 0)
        return 1;
    const json_t *list = json_object_get(part, "pretokenizers");
    for (size_t at = 0; at < json_array_size(list); at++) {
        if (strcmp(type_of(json_array_get(list, at)), "ByteLevel") == 0)
            return 1;
    }
    return 0;
}

/* {"type": "Strip", "content": " ", "start": 1, "stop": 0} */
static int is_first_space_dropped(const json_t *part)
{
    const char *content = json_string_value(json_object_get(part, "content"));
    return strcmp(type_of(part), "Strip") == 0 && content && strcmp(content, " ") == 0 &&
           json_integer_value(json_object_get(part, "start")) == 1 &&
           json_integer_value(json_object_get(part, "stop")) == 0;
}

static enum status take_decoder(struct tokenizer *tokenizer, const json_t *part,
                                struct reason *reason)
{
    const char *type = type_of(part);
    int is_known = tokenizer->has_characters ? strcmp(type, "ByteFallback") == 0 ||
                                                   is_replacement(part, SPACE_MARK, " ")
                                             : strcmp(type, "ByteLevel") == 0;
    if (is_known)
        return STATUS_OK;
    if (strcmp(type, "Fuse") == 0) {
        tokenizer->fuses = 1;
        return STATUS_OK;
    }
    if (tokenizer->has_characters && tokenizer->fuses && is_first_space_dropped(part)) {
        tokenizer->drops_first_space = 1;
        return STATUS_OK;
    }
    const char *known = tokenizer->has_characters
                            ? "ByteFallback, Fuse, Strip of a space and Replace of U+2581 are"
                            : "ByteLevel is";
    return refuse(reason, STATUS_UNSUPPORTED,
                  "tokenizer.json: decoder %.60s is not supported, only %s", type, known);
}

/* A merge is "left right" or ["left", "right"]. */
static enum status take_merge(struct tokenizer *tokenizer, const json_t *merge, size_t rank,
                              struct reason *reason)
{
    if (json_is_string(merge)) {
        const char *text = json_string_value(merge);
        size_t size = json_string_length(merge);
        const char *space = memchr(text, ' ', size);
        if (!space || space == text || space + 1 == text + size ||
            memchr(space + 1, ' ', size - (size_t)(space + 1 - text)))
            return refuse(reason, STATUS_MALFORMED,
                          "tokenizer.json: merge %zu is not two tokens with a space between",
                          rank);
        size_t left_size = (size_t)(space - text);
        return tokenizer_add_merge(tokenizer, text, left_size, space + 1, size - left_size - 1,
                                   rank, reason);
    }
    const json_t *left = json_array_get(merge, 0);
    const json_t *right = json_array_get(merge, 1);
    if (json_array_size(merge) != 2 || !json_is_string(left) || !json_is_string(right))
        return refuse(reason, STATUS_MALFORMED, "tokenizer.json: merge %zu is not a pair", rank);
    return tokenizer_add_merge(tokenizer, json_string_value(left), json_string_length(left),
                               json_string_value(right), json_string_length(right), rank,
                               reason);
}

static enum status refuse_options(const json_t *model, struct reason *reason)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t at = 0; at < COUNT_OF(affixes); at++) {
        const json_t *value = json_object_get(model, affixes[at]);
        if (!is_absent(value) && json_string_length(value) > 0)
            return refuse(reason, STATUS_UNSUPPORTED,
                          "tokenizer.json: model.%s is not supported", affixes[at]);
    }
    const json_t *dropout = json_object_get(model, "dropout");
    if (!is_absent(dropout) && json_number_value(dropout) != 0.0)
        return refuse(reason, STATUS_UNSUPPORTED,
                      "tokenizer.json: model.dropout is not supported");
    return STATUS_OK;
}

static enum status take_model(struct tokenizer *tokenizer, const json_t *model,
                              struct reason *reason)
{
    const json_t *type = json_object_get(model, "type");
    if (!json_is_object(model) || (type && strcmp(type_of(model), "BPE") != 0))
        return refuse(reason, STATUS_UNSUPPORTED,
                      "tokenizer.json: model type %.60s is not supported, only BPE is",
                      type_of(model));
    enum status status = refuse_options(model, reason);
    if (status != STATUS_OK)
        return status;
    tokenizer->ignores_merges = json_is_true(json_object_get(model, "ignore_merges"));
    const json_t *merges = json_object_get(model, "merges");
    if (!json_is_array(merges) || json_array_size(merges) > BPE_MERGES_MAX)
        return refuse(reason, STATUS_MALFORMED,
                      "tokenizer.json: model.merges is not a list of at most %d",
                      BPE_MERGES_MAX);
    status = tokenizer_take_vocabulary(tokenizer, json_object_get(model, "vocab"), reason);
    for (size_t at = 0; at < json_array_size(merges) && status == STATUS_OK; at++)
        status = take_merge(tokenizer, json_array_get(merges, at), at, reason);
    return status;
}

static enum status take_added_list(struct tokenizer *tokenizer, const json_t *list,
                                   struct reason *reason)
{
    if (is_absent(list))
        return STATUS_OK;
    if (!json_is_array(list))
        return refuse(reason, STATUS_MALFORMED, "tokenizer.json: added_tokens is not a list");
    for (size_t at = 0; at < json_array_size(list); at++) {
        const json_t *added = json_array_get(list, at);
        const json_t *id = json_object_get(added, "id");
        if (!json_is_integer(id))
            return refuse(reason, STATUS_MALFORMED,
                          "tokenizer.json: added token %zu has no whole number as id", at);
        enum status status =
            tokenizer_take_added(tokenizer, added, json_integer_value(id), reason);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

static enum status take_root(struct tokenizer *tokenizer, const json_t *root,
                             struct reason *reason)
{
    if (!json_is_object(root))
        return refuse(reason, STATUS_MALFORMED, "tokenizer.json is not a JSON object");
    const json_t *splitter = json_object_get(root, "pre_tokenizer");
    const json_t *model = json_object_get(root, "model");
    tokenizer->has_characters =
        !has_byte_level(splitter) && json_is_true(json_object_get(model, "byte_fallback"));
    if (!has_byte_level(splitter) && !tokenizer->has_characters)
        return refuse(reason, STATUS_UNSUPPORTED,
                      "tokenizer.json: pre-tokeniser %.60s without ByteLevel is not supported; "
                      "only byte-level BPE is, and BPE with byte_fallback", type_of(splitter));
    enum status status = take_parts(tokenizer, json_object_get(root, "normalizer"),
                                    "normalizers", take_normaliser, reason);
    if (tokenizer->replaces_spaces)
        added_tokens_keep_spaces(tokenizer->normalised);
    if (status == STATUS_OK)
        status = take_parts(tokenizer, splitter, "pretokenizers", take_pretokeniser, reason);
    if (status == STATUS_OK && tokenizer->has_characters && !tokenizer->replaces_spaces)
        return refuse(reason, STATUS_UNSUPPORTED,
                      "tokenizer.json: byte_fallback without a Metaspace, or a normaliser that "
                      "replaces spaces by U+2581, is not supported");
    if (status == STATUS_OK)
        status = take_parts(tokenizer, json_object_get(root, "decoder"), "decoders",
                            take_decoder, reason);
    if (status == STATUS_OK)
        status = take_model(tokenizer, model, reason);
    if (status == STATUS_OK)
        status = take_added_list(tokenizer, json_object_get(root, "added_tokens"), reason);
    if (status == STATUS_OK)
        status = take_parts(tokenizer, json_object_get(root, "post_processor"), "processors",
                            tokenizer_take_post_processor, reason);
    return status;
}

enum status tokenizer_read_bytes(struct tokenizer *tokenizer, const char *bytes, size_t size,
                                 struct reason *reason)
{
    json_t *root = NULL;
    if (size > TOKENIZER_FILE_MAX)
        return refuse(reason, STATUS_TOO_LARGE, "tokenizer.json has %zu bytes, more than %d",
                      size, TOKENIZER_FILE_MAX);
    enum status status = json_bytes_read("tokenizer.json", bytes, size, &root, reason);
    if (status == STATUS_OK)
        status = take_root(tokenizer, root, reason);
    json_decref(root);
    return status;
}

/* The added_tokens_decoder of tokenizer_config.json: those tokenizer.json does not list. */
static enum status take_decoder_list(struct tokenizer *tokenizer, const json_t *config,
                                     struct reason *reason)
{
    const char *key;
    json_t *added;
    json_t *list = json_object_get(config, "added_tokens_decoder");
    json_object_foreach(list, key, added)
    {
        json_int_t id = 0;
        size_t digits = strspn(key, "0123456789");
        if (digits == 0 || digits > 9 || key[digits] != '\0')
            return refuse(reason, STATUS_MALFORMED,
                          "tokenizer_config.json: added_tokens_decoder has a key that is no id");
        for (size_t at = 0; at < digits; at++)
            id = id * 10 + (key[at] - '0');
        const json_t *content = json_object_get(added, "content");
        uint32_t known;
        if (json_is_string(content) &&
            (added_tokens_get(tokenizer->raw, json_string_value(content),
                              json_string_length(content), &known) ||
             added_tokens_get(tokenizer->normalised, json_string_value(content),
                              json_string_length(content), &known)))
            continue;
        enum status status = tokenizer_take_added(tokenizer, added, id, reason);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

enum status tokenizer_read(struct tokenizer *tokenizer, const char *directory,
                           struct reason *reason)
{
    json_t *config = NULL;
    json_t *root = NULL;
    struct reason why = {""};
    enum status status = json_file_read_optional(directory, "tokenizer_config.json",
                                                 CONFIG_FILE_MAX, &config, reason);
    if (status != STATUS_OK)
        return status;
    status = json_file_read(directory, "tokenizer.json", TOKENIZER_FILE_MAX, &root, &why);
    if (status == STATUS_OK)
        status = take_root(tokenizer, root, reason);
    else if (status == STATUS_NOT_FOUND)
        status = tokenizer_read_older(tokenizer, directory, config, reason);
    else
        refuse(reason, status, "%s", why.text);
    json_decref(root);
    if (status == STATUS_OK)
        status = take_decoder_list(tokenizer, config, reason);
    if (status == STATUS_OK)
        status = tokenizer_take_ends(tokenizer, directory, config, reason);
    json_decref(config);
    /* The JSON of a large vocabulary took some 70 MB in a million small blocks. */
    memory_trim();
    return status;
}
