/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/template/chat_template.h"

#include "actors/runner/engine/json_file.h"
#include "actors/runner/engine/template/evaluate.h"
#include "actors/runner/engine/template/json_value.h"
#include "actors/runner/engine/template/library.h"
#include "actors/runner/engine/template/unicode.h"
#include "protocol/memory.h"

#include <string.h>
#include <utf8proc.h>

enum {
    STEPS_MAX = 1000000,
    OUTPUT_SIZE_MAX = 1024 * 1024,
    MEMORY_SIZE_MAX = 256 * 1024 * 1024,
    TEMPLATE_SIZE_MAX = 1024 * 1024,
    TEMPLATE_MEMORY_MAX = 128 * 1024 * 1024,
    CONFIG_SIZE_MAX = 64 * 1024 * 1024,
};

struct variant {
    struct arena arena;
    struct node_list body;
    bool is_present;
    struct dialogue_style style;
};

struct chat_template {
    struct variant plain;
    struct variant with_tools; /* "tool_use" of a list of templates */
    json_t *special_tokens;
};

static bool is_utf8(const char *text, size_t size)
{
    utf8proc_int32_t letter;
    for (size_t at = 0; at < size;) {
        utf8proc_ssize_t step = utf8proc_iterate((const utf8proc_uint8_t *)text + at,
                                                 (utf8proc_ssize_t)(size - at), &letter);
        if (step <= 0)
            return false;
        at += (size_t)step;
    }
    return true;
}

static enum status variant_parse(struct variant *variant, const char *text, size_t size,
                                 struct reason *reason)
{
    if (size > TEMPLATE_SIZE_MAX)
        return refuse(reason, STATUS_TOO_LARGE, "the chat template is larger than %d bytes",
                      TEMPLATE_SIZE_MAX);
    if (!is_utf8(text, size))
        return refuse(reason, STATUS_MALFORMED, "the chat template is not valid UTF-8");
    arena_init(&variant->arena, TEMPLATE_MEMORY_MAX);
    variant->is_present = true;
    variant->style = dialogue_style_of(text, size);
    return syntax_parse(&variant->arena, (struct text){text, size}, &variant->body, reason);
}

enum status chat_template_parse(const char *text, size_t size, const json_t *special_tokens,
                                struct chat_template **template_out, struct reason *reason)
{
    struct chat_template *chat_template = memory_zeroed(1, sizeof(*chat_template));
    if (!chat_template)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for a chat template");
    enum status status = variant_parse(&chat_template->plain, text, size, reason);
    if (status == STATUS_OK && special_tokens) {
        chat_template->special_tokens = json_deep_copy(special_tokens);
        if (!chat_template->special_tokens)
            status = refuse(reason, STATUS_NO_MEMORY, "no memory for a chat template");
    }
    if (status != STATUS_OK) {
        chat_template_close(chat_template);
        return status;
    }
    *template_out = chat_template;
    return STATUS_OK;
}

struct dialogue_style chat_template_style(const struct chat_template *chat_template,
                                          bool has_tools)
{
    const bool is_other = has_tools && chat_template->with_tools.is_present;
    return is_other ? chat_template->with_tools.style : chat_template->plain.style;
}

void chat_template_close(struct chat_template *chat_template)
{
    if (!chat_template)
        return;
    arena_fini(&chat_template->plain.arena);
    arena_fini(&chat_template->with_tools.arena);
    json_decref(chat_template->special_tokens);
    memory_free(chat_template);
}

static enum status special_tokens_read(const json_t *config, json_t **tokens_out)
{
    static const char *const names[] = {"bos_token", "eos_token",  "unk_token", "sep_token",
                                        "pad_token", "cls_token", "mask_token"};
    json_t *tokens = json_object();
    for (size_t index = 0; tokens && index < COUNT_OF(names); index++) {
        json_t *token = json_object_get(config, names[index]);
        if (json_is_object(token))
            token = json_object_get(token, "content");
        if (json_is_string(token) && json_object_set(tokens, names[index], token) != 0) {
            json_decref(tokens);
            return STATUS_NO_MEMORY;
        }
    }
    *tokens_out = tokens;
    return tokens ? STATUS_OK : STATUS_NO_MEMORY;
}

static const json_t *named_template(const json_t *list, const char *name)
{
    for (size_t index = 0; index < json_array_size(list); index++) {
        const json_t *row = json_array_get(list, index);
        const char *row_name = json_string_value(json_object_get(row, "name"));
        if (row_name && strcmp(row_name, name) == 0)
            return json_object_get(row, "template");
    }
    return NULL;
}

static enum status parse_configured(struct chat_template *chat_template, const json_t *config,
                                    const char *directory, struct reason *reason)
{
    const json_t *source = json_object_get(config, "chat_template");
    const json_t *with_tools = NULL;
    if (json_is_array(source)) {
        with_tools = named_template(source, "tool_use");
        source = named_template(source, "default");
    }
    if (!json_is_string(source))
        return refuse(reason, STATUS_NOT_FOUND,
                      "%s has no chat template: neither chat_template.jinja nor chat_template in "
                      "tokenizer_config.json",
                      directory);
    enum status status = variant_parse(&chat_template->plain, json_string_value(source),
                                       json_string_length(source), reason);
    if (status == STATUS_OK && json_is_string(with_tools))
        status = variant_parse(&chat_template->with_tools, json_string_value(with_tools),
                               json_string_length(with_tools), reason);
    return status;
}

static enum status template_load(struct chat_template *chat_template, const char *directory,
                                 struct reason *reason)
{
    json_t *config = NULL;
    char *text = NULL;
    size_t size = 0;
    struct reason ignored = {""};
    enum status status = json_file_read_optional(directory, "tokenizer_config.json",
                                                 CONFIG_SIZE_MAX, &config, reason);
    if (status != STATUS_OK)
        return status;
    status = special_tokens_read(config, &chat_template->special_tokens);
    if (status == STATUS_OK)
        status = tokenizer_file_read(directory, "chat_template.jinja", TEMPLATE_SIZE_MAX, &text,
                                     &size, &ignored);
    if (status == STATUS_OK)
        status = variant_parse(&chat_template->plain, text, size, reason);
    else if (status == STATUS_NOT_FOUND)
        status = parse_configured(chat_template, config, directory, reason);
    else if (reason)
        *reason = ignored;
    memory_free(text);
    json_decref(config);
    return status;
}

enum status chat_template_open(const char *directory, struct chat_template **template_out,
                               struct reason *reason)
{
    struct chat_template *chat_template = memory_zeroed(1, sizeof(*chat_template));
    if (!chat_template)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for a chat template");
    enum status status = template_load(chat_template, directory, reason);
    if (status != STATUS_OK) {
        chat_template_close(chat_template);
        return status;
    }
    *template_out = chat_template;
    return STATUS_OK;
}

static bool context_put(struct rendering *rendering, const char *name, const json_t *json)
{
    struct value value = value_none();
    return (!json || json_value(rendering, json, &value)) &&
           dict_put(rendering, rendering->context, value_literal(name), value);
}

static bool context_put_all(struct rendering *rendering, const json_t *object)
{
    struct value value;
    if (!object)
        return true;
    if (!json_is_object(object))
        return rendering_fail(rendering, STATUS_INVALID,
                              "the template's further arguments must be an object");
    if (!json_value(rendering, object, &value))
        return false;
    for (size_t index = 0; index < value.as.dict->count; index++)
        if (!dict_put(rendering, rendering->context, value.as.dict->entries[index].key,
                      value.as.dict->entries[index].value))
            return false;
    return true;
}

static bool context_fill(struct rendering *rendering, const struct chat_template *chat_template,
                         const json_t *messages, const struct chat_prompt_options *options)
{
    rendering->context = dict_new(rendering, 32);
    return rendering->context && context_put(rendering, "messages", messages) &&
           context_put(rendering, "tools", options->tools) &&
           context_put(rendering, "documents", NULL) &&
           dict_put(rendering, rendering->context, value_literal("add_generation_prompt"),
                    value_bool(options->add_generation_prompt)) &&
           context_put_all(rendering, chat_template->special_tokens) &&
           context_put_all(rendering, options->arguments);
}

/* Stands behind the last message's text while that is to be continued, and shows where it came out.
 * A template may take its space away, as it would the message's own. */
#define FINAL_MARK "CONTINUE_FINAL_MESSAGE_TAG "

/* Cuts the text where the last message ends, so that the model writes on. */
static bool cut_at_mark(struct rendering *rendering, const json_t *final, struct text *text)
{
    const struct text whole = {FINAL_MARK, sizeof(FINAL_MARK) - 1};
    const struct text core = {FINAL_MARK, sizeof(FINAL_MARK) - 2};
    struct text message = {json_string_value(final), json_string_length(final)};
    message = text_stripped(message, (struct text){0}, true, true);
    size_t at = text_find_last(*text, core);
    if (at == SIZE_MAX || text_find(*text, message, 0) == SIZE_MAX)
        return rendering_fail(rendering, STATUS_INVALID,
                              "continue_final_message is set but the last message does not appear "
                              "in the text the chat template makes");
    bool keeps_spaces = text_starts(text_part(*text, at, text->size), whole);
    text->size = at;
    if (!keeps_spaces)
        *text = text_stripped(*text, (struct text){0}, false, true);
    return true;
}

static enum status text_copy(struct text text, char **text_out, size_t *size_out,
                             struct reason *reason)
{
    char *copy = memory_text(text.bytes, text.size);
    if (!copy)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for a prompt of %zu bytes", text.size);
    *text_out = copy;
    *size_out = text.size;
    return STATUS_OK;
}

static enum status render_within(struct rendering *rendering,
                                 const struct chat_template *chat_template,
                                 const json_t *messages,
                                 const json_t *final,
                                 const struct chat_prompt_options *options, char **text_out,
                                 size_t *size_out)
{
    bool has_tools = options->tools && !json_is_null(options->tools);
    const struct variant *variant = has_tools && chat_template->with_tools.is_present
                                        ? &chat_template->with_tools
                                        : &chat_template->plain;
    struct output output = {0};
    rendering->output = &output;
    if (!context_fill(rendering, chat_template, messages, options))
        return rendering->status;
    rendering->scope = scope_new(rendering, NULL);
    if (!rendering->scope || execute(rendering, &variant->body) == FLOW_FAIL)
        return rendering->status;
    struct text text = output_text(&output);
    if (final && !cut_at_mark(rendering, final, &text))
        return rendering->status;
    return text_copy(text, text_out, size_out, rendering->reason);
}

enum status chat_template_render(const struct chat_template *chat_template,
                                 const json_t *messages,
                                 const struct chat_prompt_options *options, char **text_out,
                                 size_t *size_out, struct reason *reason)
{
    struct arena arena;
    struct reason unread = {""};
    json_t *aliased = NULL;
    const json_t *final = NULL;
    enum status status = chat_messages_alias_reasoning(messages, &aliased, reason);
    if (status == STATUS_OK && options->continue_final_message)
        status = chat_messages_mark_final(aliased, FINAL_MARK, &final, reason);
    if (status != STATUS_OK) {
        json_decref(aliased);
        return status;
    }
    arena_init(&arena, options->memory_size_max ? options->memory_size_max : MEMORY_SIZE_MAX);
    struct rendering rendering = {
        .arena = &arena,
        .steps_left = options->steps_max ? options->steps_max : STEPS_MAX,
        .output_size_max = options->output_size_max ? options->output_size_max : OUTPUT_SIZE_MAX,
        .block_text = value_literal(""),
        .now = options->now,
        .reason = reason ? reason : &unread,
    };
    status =
        render_within(&rendering, chat_template, aliased, final, options, text_out, size_out);
    arena_fini(&arena);
    json_decref((json_t *)(uintptr_t)final);
    json_decref(aliased);
    return status;
}
