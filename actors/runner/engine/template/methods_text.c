/* SPDX-License-Identifier: Apache-2.0 */
/* Methods of strings that look, test and change; those that split are in methods_split.c. */
#include "actors/runner/engine/template/library.h"
#include "actors/runner/engine/template/unicode.h"

#include <utf8proc.h>

/* Results of a Markup string's methods are Markup again. */
static bool text_result(struct value self, struct text text, struct value *value_out)
{
    *value_out = value_text(text);
    value_out->is_markup = self.is_markup;
    return true;
}

#define RECASE_METHOD(name, to)                                                                    \
    static bool method_##name(struct rendering *rendering, struct value self,                      \
                              const struct invocation *invocation, struct value *value_out)        \
    {                                                                                              \
        (void)invocation;                                                                          \
        struct text text;                                                                          \
        return text_recased(rendering, self.as.text, to, &text) &&                                 \
               text_result(self, text, value_out);                                                 \
    }
RECASE_METHOD(upper, CASE_UPPER)
RECASE_METHOD(lower, CASE_LOWER)
RECASE_METHOD(title, CASE_TITLE)
RECASE_METHOD(capitalize, CASE_CAPITAL)
RECASE_METHOD(swapcase, CASE_SWAP)

static bool strip(struct rendering *rendering, struct value self,
                  const struct invocation *invocation, bool left, bool right,
                  struct value *value_out)
{
    struct text letters = {0};
    if (invocation->bound[0].kind != VALUE_NONE &&
        !argument_text(rendering, invocation->bound[0], NULL, &letters))
        return false;
    return rendering_charge(rendering, 1 + self.as.text.size * (1 + letters.size / 8) / 64) &&
           text_result(self, text_stripped(self.as.text, letters, left, right), value_out);
}

static bool method_strip(struct rendering *rendering, struct value self,
                         const struct invocation *invocation, struct value *value_out)
{
    return strip(rendering, self, invocation, true, true, value_out);
}

static bool method_lstrip(struct rendering *rendering, struct value self,
                          const struct invocation *invocation, struct value *value_out)
{
    return strip(rendering, self, invocation, true, false, value_out);
}

static bool method_rstrip(struct rendering *rendering, struct value self,
                          const struct invocation *invocation, struct value *value_out)
{
    return strip(rendering, self, invocation, false, true, value_out);
}

static bool method_replace(struct rendering *rendering, struct value self,
                           const struct invocation *invocation, struct value *value_out)
{
    struct text old, fresh, text;
    int64_t count;
    return argument_text(rendering, invocation->bound[0], "", &old) &&
           argument_text(rendering, invocation->bound[1], "", &fresh) &&
           argument_integer(rendering, invocation->bound[2], -1, &count) &&
           text_replaced(rendering, self.as.text, old, fresh, count, &text) &&
           text_result(self, text, value_out);
}

/* The part between two positions, as str.find(x, start, end) takes them. `beyond_out`: the start
 * lies behind the end of the text, where even "" is not found. */
static bool window(struct rendering *rendering, struct text text, struct value start,
                   struct value end, size_t *offset_out, struct text *window_out,
                   bool *beyond_out)
{
    int64_t count = (int64_t)text_count(text), from, to;
    if (start.kind == VALUE_NONE)
        start.kind = VALUE_MISSING;
    if (end.kind == VALUE_NONE)
        end.kind = VALUE_MISSING;
    if (!rendering_charge(rendering, 1 + text.size / 64) ||
        !argument_integer(rendering, start, 0, &from) ||
        !argument_integer(rendering, end, count, &to))
        return false;
    if (from < 0)
        from = from < -count ? 0 : from + count;
    if (to < 0)
        to = to < -count ? 0 : to + count;
    *beyond_out = from > count || from > to;
    *offset_out = text_offset(text, (size_t)from);
    *window_out = text_part(text, *offset_out, text_offset(text, (size_t)to));
    return true;
}

static bool find(struct rendering *rendering, struct value self,
                 const struct invocation *invocation, bool is_last, int64_t *position_out)
{
    struct text needle, part;
    size_t offset;
    bool beyond;
    if (!argument_text(rendering, invocation->bound[0], "", &needle) ||
        !window(rendering, self.as.text, invocation->bound[1], invocation->bound[2], &offset,
                &part, &beyond) ||
        (is_last && !text_charge_last(rendering, part, needle)))
        return false;
    size_t found = beyond ? SIZE_MAX
                   : is_last ? text_find_last(part, needle)
                             : text_find(part, needle, 0);
    *position_out = found == SIZE_MAX
                        ? -1
                        : (int64_t)text_count(text_part(self.as.text, 0, offset + found));
    return true;
}

static bool method_find_first(struct rendering *rendering, struct value self,
                              const struct invocation *invocation, struct value *value_out)
{
    int64_t position;
    if (!find(rendering, self, invocation, false, &position))
        return false;
    *value_out = value_int(position);
    return true;
}

static bool method_rfind(struct rendering *rendering, struct value self,
                         const struct invocation *invocation, struct value *value_out)
{
    int64_t position;
    if (!find(rendering, self, invocation, true, &position))
        return false;
    *value_out = value_int(position);
    return true;
}

static bool index_of(struct rendering *rendering, struct value self,
                     const struct invocation *invocation, bool is_last, struct value *value_out)
{
    int64_t position;
    if (!find(rendering, self, invocation, is_last, &position))
        return false;
    *value_out = value_int(position);
    return position >= 0 || rendering_fail(rendering, STATUS_INVALID,
                                           "substring not found (chat template, line %u)",
                                           rendering->line);
}

static bool method_index(struct rendering *rendering, struct value self,
                         const struct invocation *invocation, struct value *value_out)
{
    return index_of(rendering, self, invocation, false, value_out);
}

static bool method_rindex(struct rendering *rendering, struct value self,
                          const struct invocation *invocation, struct value *value_out)
{
    return index_of(rendering, self, invocation, true, value_out);
}

static bool method_count(struct rendering *rendering, struct value self,
                         const struct invocation *invocation, struct value *value_out)
{
    struct text needle, part;
    size_t offset;
    bool beyond;
    if (!argument_text(rendering, invocation->bound[0], "", &needle) ||
        !window(rendering, self.as.text, invocation->bound[1], invocation->bound[2], &offset,
                &part, &beyond))
        return false;
    int64_t count = 0;
    if (needle.size == 0)
        count = beyond ? 0 : (int64_t)text_count(part) + 1;
    else
        for (size_t at = text_find(part, needle, 0); at != SIZE_MAX;
             at = text_find(part, needle, at + needle.size))
            count++;
    *value_out = value_int(count);
    return true;
}

/* startswith and endswith take one string or a tuple of them. */
static bool affix(struct rendering *rendering, struct value self,
                  const struct invocation *invocation, bool is_end, struct value *value_out)
{
    struct value wanted = invocation->bound[0];
    struct list one = {.items = &wanted, .count = 1};
    const struct list *choices = wanted.kind == VALUE_TUPLE ? wanted.as.list : &one;
    struct text part;
    size_t offset;
    bool beyond, holds = false;
    if (!window(rendering, self.as.text, invocation->bound[1], invocation->bound[2], &offset,
                &part, &beyond) ||
        !rendering_charge(rendering, choices->count))
        return false;
    for (size_t index = 0; index < choices->count; index++) {
        if (choices->items[index].kind != VALUE_STRING)
            return type_refuse(rendering, "a prefix or suffix must be a string, not",
                               choices->items[index]);
        struct text choice = choices->items[index].as.text;
        holds = holds || (!beyond && (is_end ? text_ends(part, choice)
                                             : text_starts(part, choice)));
    }
    *value_out = value_bool(holds);
    return true;
}

static bool method_startswith(struct rendering *rendering, struct value self,
                              const struct invocation *invocation, struct value *value_out)
{
    return affix(rendering, self, invocation, false, value_out);
}

static bool method_endswith(struct rendering *rendering, struct value self,
                            const struct invocation *invocation, struct value *value_out)
{
    return affix(rendering, self, invocation, true, value_out);
}

static bool method_removeprefix(struct rendering *rendering, struct value self,
                                const struct invocation *invocation, struct value *value_out)
{
    struct text prefix, text = self.as.text;
    if (!argument_text(rendering, invocation->bound[0], "", &prefix))
        return false;
    if (text_starts(text, prefix))
        text = text_part(text, prefix.size, text.size);
    return text_result(self, text, value_out);
}

static bool method_removesuffix(struct rendering *rendering, struct value self,
                                const struct invocation *invocation, struct value *value_out)
{
    struct text suffix, text = self.as.text;
    if (!argument_text(rendering, invocation->bound[0], "", &suffix))
        return false;
    if (text_ends(text, suffix))
        text.size -= suffix.size;
    return text_result(self, text, value_out);
}

static bool pad(struct rendering *rendering, struct value self,
                const struct invocation *invocation, unsigned left_share,
                struct value *value_out)
{
    int64_t width, count = (int64_t)text_count(self.as.text);
    struct text filler;
    struct output output = {0};
    if (!argument_integer(rendering, invocation->bound[0], 0, &width) ||
        !argument_text(rendering, invocation->bound[1], " ", &filler))
        return false;
    if (text_count(filler) != 1)
        return rendering_fail(rendering, STATUS_INVALID,
                              "The fill character must be exactly one character long (chat "
                              "template, line %u)",
                              rendering->line);
    int64_t room = width > count ? width - count : 0;
    /* CPython's way to split an odd number of blanks. */
    int64_t left = left_share == 0   ? 0
                   : left_share == 2 ? room
                                     : room / 2 + (room & width & 1);
    return output_fill(rendering, &output, filler, (size_t)left) &&
           output_add(rendering, &output, self.as.text) &&
           output_fill(rendering, &output, filler, (size_t)(room - left)) &&
           text_result(self, output_text(&output), value_out);
}

static bool method_ljust(struct rendering *rendering, struct value self,
                         const struct invocation *invocation, struct value *value_out)
{
    return pad(rendering, self, invocation, 0, value_out);
}

static bool method_center(struct rendering *rendering, struct value self,
                          const struct invocation *invocation, struct value *value_out)
{
    return pad(rendering, self, invocation, 1, value_out);
}

static bool method_rjust(struct rendering *rendering, struct value self,
                         const struct invocation *invocation, struct value *value_out)
{
    return pad(rendering, self, invocation, 2, value_out);
}

static bool method_zfill(struct rendering *rendering, struct value self,
                         const struct invocation *invocation, struct value *value_out)
{
    struct text text = self.as.text;
    struct output output = {0};
    int64_t width, count = (int64_t)text_count(text);
    if (!argument_integer(rendering, invocation->bound[0], 0, &width))
        return false;
    size_t sign = text.size > 0 && (text.bytes[0] == '-' || text.bytes[0] == '+');
    return output_add(rendering, &output, text_part(text, 0, sign)) &&
           output_fill(rendering, &output, (struct text){"0", 1},
                       width > count ? (size_t)(width - count) : 0) &&
           output_add(rendering, &output, text_part(text, sign, text.size)) &&
           text_result(self, output_text(&output), value_out);
}

static bool method_expandtabs(struct rendering *rendering, struct value self,
                              const struct invocation *invocation, struct value *value_out)
{
    struct text text = self.as.text;
    struct output output = {0};
    int64_t width, column = 0;
    if (!argument_integer(rendering, invocation->bound[0], 8, &width))
        return false;
    for (size_t offset = 0; offset < text.size; offset += text_step(text, offset)) {
        uint32_t letter = text_letter(text, offset);
        bool done;
        if (letter == '\t') {
            int64_t blanks = width > 0 ? width - column % width : 0;
            column += blanks;
            done = output_fill(rendering, &output, (struct text){" ", 1}, (size_t)blanks);
        } else {
            column = letter == '\n' || letter == '\r' ? 0 : column + 1;
            done = output_add_letter(rendering, &output, letter);
        }
        if (!done)
            return false;
    }
    return text_result(self, output_text(&output), value_out);
}

static bool is_decimal(uint32_t letter)
{
    return utf8proc_category((utf8proc_int32_t)letter) == UTF8PROC_CATEGORY_ND;
}

static bool is_digit(uint32_t letter)
{
    return is_decimal(letter) || letter == 0xb2 || letter == 0xb3 || letter == 0xb9 ||
           (letter >= 0x2070 && letter <= 0x2089 && letter != 0x2071) ||
           (letter >= 0x2460 && letter <= 0x2468);
}

static bool is_numeric(uint32_t letter)
{
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)letter);
    return category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
}

static bool is_alphanumeric(uint32_t letter)
{
    return letter_is_alphabetic(letter) || is_numeric(letter);
}

static bool is_ascii(uint32_t letter)
{
    return letter < 0x80;
}

static bool is_printable(uint32_t letter)
{
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)letter);
    return letter == ' ' ||
           (category != UTF8PROC_CATEGORY_CN && category < UTF8PROC_CATEGORY_ZS);
}

static bool every(struct rendering *rendering, struct text text, bool (*holds)(uint32_t letter),
                  bool when_empty, struct value *value_out)
{
    bool all = text.size > 0 || when_empty;
    for (size_t offset = 0; all && offset < text.size; offset += text_step(text, offset))
        all = holds(text_letter(text, offset));
    *value_out = value_bool(all);
    return rendering_charge(rendering, text.size / 64);
}

#define EVERY_METHOD(name, holds, when_empty)                                                      \
    static bool method_##name(struct rendering *rendering, struct value self,                      \
                              const struct invocation *invocation, struct value *value_out)        \
    {                                                                                              \
        (void)invocation;                                                                          \
        return every(rendering, self.as.text, holds, when_empty, value_out);                       \
    }
EVERY_METHOD(isalnum, is_alphanumeric, false)
EVERY_METHOD(isalpha, letter_is_alphabetic, false)
EVERY_METHOD(isascii, is_ascii, true)
EVERY_METHOD(isdecimal, is_decimal, false)
EVERY_METHOD(isdigit, is_digit, false)
EVERY_METHOD(isnumeric, is_numeric, false)
EVERY_METHOD(isprintable, is_printable, true)
EVERY_METHOD(isspace, letter_is_space, false)

static bool all_cased(struct rendering *rendering, struct text text, bool upper,
                      struct value *value_out)
{
    bool found = false, all = true;
    for (size_t offset = 0; all && offset < text.size; offset += text_step(text, offset)) {
        uint32_t letter = text_letter(text, offset);
        found = found || (upper ? letter_is_upper(letter) : letter_is_lower(letter));
        all = !letter_is_title(letter) &&
              !(upper ? letter_is_lower(letter) : letter_is_upper(letter));
    }
    *value_out = value_bool(found && all);
    return rendering_charge(rendering, text.size / 64);
}

static bool method_islower(struct rendering *rendering, struct value self,
                           const struct invocation *invocation, struct value *value_out)
{
    (void)invocation;
    return all_cased(rendering, self.as.text, false, value_out);
}

static bool method_isupper(struct rendering *rendering, struct value self,
                           const struct invocation *invocation, struct value *value_out)
{
    (void)invocation;
    return all_cased(rendering, self.as.text, true, value_out);
}

static bool method_istitle(struct rendering *rendering, struct value self,
                           const struct invocation *invocation, struct value *value_out)
{
    (void)invocation;
    struct text text = self.as.text;
    bool found = false, all = true, after_cased = false;
    for (size_t offset = 0; all && offset < text.size; offset += text_step(text, offset)) {
        uint32_t letter = text_letter(text, offset);
        bool begins = letter_is_upper(letter) || letter_is_title(letter);
        bool goes_on = letter_is_lower(letter);
        all = begins ? !after_cased : !goes_on || after_cased;
        found = found || begins || goes_on;
        after_cased = begins || goes_on;
    }
    *value_out = value_bool(found && all);
    return rendering_charge(rendering, text.size / 64);
}

static bool method_isidentifier(struct rendering *rendering, struct value self,
                                const struct invocation *invocation, struct value *value_out)
{
    (void)invocation;
    struct text text = self.as.text;
    bool begins_well = text.size > 0 && !is_numeric(text_letter(text, 0));
    return every(rendering, begins_well ? text : (struct text){0}, letter_is_word, false,
                 value_out);
}

static bool method_format(struct rendering *rendering, struct value self,
                          const struct invocation *invocation, struct value *value_out)
{
    struct text text;
    return format_braces(rendering, self.as.text, invocation->all, &text) &&
           text_result(self, text, value_out);
}

const struct callable_row text_methods[] = {
    {"capitalize", "", 0, method_capitalize},
    {"casefold", "", 0, method_lower},
    {"center", "width fillchar", 1, method_center},
    {"count", "sub start end", 1, method_count},
    {"endswith", "suffix start end", 1, method_endswith},
    {"expandtabs", "tabsize", 0, method_expandtabs},
    {"find", "sub start end", 1, method_find_first},
    {"format", "*", 0, method_format},
    {"index", "sub start end", 1, method_index},
    {"isalnum", "", 0, method_isalnum},
    {"isalpha", "", 0, method_isalpha},
    {"isascii", "", 0, method_isascii},
    {"isdecimal", "", 0, method_isdecimal},
    {"isdigit", "", 0, method_isdigit},
    {"isidentifier", "", 0, method_isidentifier},
    {"islower", "", 0, method_islower},
    {"isnumeric", "", 0, method_isnumeric},
    {"isprintable", "", 0, method_isprintable},
    {"isspace", "", 0, method_isspace},
    {"istitle", "", 0, method_istitle},
    {"isupper", "", 0, method_isupper},
    {"ljust", "width fillchar", 1, method_ljust},
    {"lower", "", 0, method_lower},
    {"lstrip", "chars", 0, method_lstrip},
    {"removeprefix", "prefix", 1, method_removeprefix},
    {"removesuffix", "suffix", 1, method_removesuffix},
    {"replace", "old new count", 2, method_replace},
    {"rfind", "sub start end", 1, method_rfind},
    {"rindex", "sub start end", 1, method_rindex},
    {"rjust", "width fillchar", 1, method_rjust},
    {"rstrip", "chars", 0, method_rstrip},
    {"startswith", "prefix start end", 1, method_startswith},
    {"strip", "chars", 0, method_strip},
    {"swapcase", "", 0, method_swapcase},
    {"title", "", 0, method_title},
    {"upper", "", 0, method_upper},
    {"zfill", "width", 1, method_zfill},
    {NULL, NULL, 0, NULL},
};
