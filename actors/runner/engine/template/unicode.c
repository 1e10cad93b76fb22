/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/template/unicode.h"

#include "actors/runner/engine/template/case_rows.h"

#include <string.h>
#include <utf8proc.h>

size_t text_step(struct text text, size_t offset)
{
    unsigned char first = (unsigned char)text.bytes[offset];
    size_t size = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    size_t left = text.size - offset;
    return size < left ? size : left;
}

uint32_t text_letter(struct text text, size_t offset)
{
    unsigned char first = (unsigned char)text.bytes[offset];
    if (first < 0x80)
        return first;
    utf8proc_int32_t letter;
    utf8proc_ssize_t left = (utf8proc_ssize_t)(text.size - offset);
    if (utf8proc_iterate((const utf8proc_uint8_t *)text.bytes + offset, left, &letter) < 0)
        return 0xfffd;
    return (uint32_t)letter;
}

size_t text_count(struct text text)
{
    size_t count = 0;
    for (size_t offset = 0; offset < text.size; offset += text_step(text, offset))
        count++;
    return count;
}

size_t text_offset(struct text text, size_t position)
{
    size_t offset = 0;
    while (position > 0 && offset < text.size) {
        offset += text_step(text, offset);
        position--;
    }
    return offset;
}

struct text text_part(struct text text, size_t offset, size_t end)
{
    return (struct text){text.bytes + offset, end > offset ? end - offset : 0};
}

size_t text_find(struct text text, struct text needle, size_t offset)
{
    if (offset > text.size || needle.size > text.size - offset)
        return SIZE_MAX;
    if (needle.size == 0)
        return offset;
    const char *found = memmem(text.bytes + offset, text.size - offset, needle.bytes,
                               needle.size);
    return found ? (size_t)(found - text.bytes) : SIZE_MAX;
}

size_t text_find_last(struct text text, struct text needle)
{
    if (needle.size > text.size)
        return SIZE_MAX;
    for (size_t offset = text.size - needle.size;; offset--) {
        if (needle.size == 0 || memcmp(text.bytes + offset, needle.bytes, needle.size) == 0)
            return offset;
        if (offset == 0)
            return SIZE_MAX;
    }
}

bool text_charge_last(struct rendering *rendering, struct text text, struct text needle)
{
    uint64_t places = text.size >= needle.size ? text.size - needle.size : 0;
    return rendering_charge(rendering, 1 + places / 64 * (1 + needle.size / 64));
}

bool text_starts(struct text text, struct text prefix)
{
    return text.size >= prefix.size &&
           (prefix.size == 0 || memcmp(text.bytes, prefix.bytes, prefix.size) == 0);
}

bool text_ends(struct text text, struct text suffix)
{
    return text.size >= suffix.size &&
           (suffix.size == 0 ||
            memcmp(text.bytes + text.size - suffix.size, suffix.bytes, suffix.size) == 0);
}

bool letter_is_space(uint32_t letter)
{
    return (letter >= 9 && letter <= 13) || (letter >= 0x1c && letter <= 0x20) ||
           letter == 0x85 || letter == 0xa0 || letter == 0x1680 ||
           (letter >= 0x2000 && letter <= 0x200a) || letter == 0x2028 || letter == 0x2029 ||
           letter == 0x202f || letter == 0x205f || letter == 0x3000;
}

static utf8proc_category_t category_of(uint32_t letter)
{
    return utf8proc_category((utf8proc_int32_t)letter);
}

bool letter_is_alphabetic(uint32_t letter)
{
    utf8proc_category_t category = category_of(letter);
    return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

bool letter_is_word(uint32_t letter)
{
    utf8proc_category_t category = category_of(letter);
    return letter == '_' || letter_is_alphabetic(letter) || category == UTF8PROC_CATEGORY_ND ||
           category == UTF8PROC_CATEGORY_NL || category == UTF8PROC_CATEGORY_NO;
}

bool letter_is_upper(uint32_t letter)
{
    return category_of(letter) == UTF8PROC_CATEGORY_LU;
}

bool letter_is_lower(uint32_t letter)
{
    return category_of(letter) == UTF8PROC_CATEGORY_LL || letter == 0xaa || letter == 0xba;
}

bool letter_is_title(uint32_t letter)
{
    return category_of(letter) == UTF8PROC_CATEGORY_LT;
}

static bool is_stripped(struct text text, size_t offset, struct text letters)
{
    if (!letters.bytes)
        return letter_is_space(text_letter(text, offset));
    struct text letter = {text.bytes + offset, text_step(text, offset)};
    for (size_t at = 0; at < letters.size; at += text_step(letters, at)) {
        struct text one = {letters.bytes + at, text_step(letters, at)};
        if (texts_equal(one, letter))
            return true;
    }
    return false;
}

struct text text_stripped(struct text text, struct text letters, bool left, bool right)
{
    while (left && text.size > 0 && is_stripped(text, 0, letters))
        text = text_part(text, text_step(text, 0), text.size);
    while (right && text.size > 0) {
        size_t last = text.size - 1;
        while (last > 0 && ((unsigned char)text.bytes[last] & 0xc0) == 0x80)
            last--;
        if (!is_stripped(text, last, letters))
            break;
        text.size = last;
    }
    return text;
}

static const struct case_row *case_row_find(uint32_t letter)
{
    size_t low = 0, high = sizeof(case_rows) / sizeof(case_rows[0]);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (case_rows[middle].letter == letter)
            return &case_rows[middle];
        if (case_rows[middle].letter < letter)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static bool add_upper(struct rendering *rendering, struct output *output, uint32_t letter,
                      bool title)
{
    const struct case_row *row = letter < 0x80 ? NULL : case_row_find(letter);
    if (row)
        return output_add_literal(rendering, output, title ? row->title : row->upper);
    utf8proc_int32_t mapped = title ? utf8proc_totitle((utf8proc_int32_t)letter)
                                    : utf8proc_toupper((utf8proc_int32_t)letter);
    return output_add_letter(rendering, output, (uint32_t)mapped);
}

static bool is_cased(uint32_t letter)
{
    return letter_is_upper(letter) || letter_is_lower(letter) || letter_is_title(letter);
}

/* A sigma that ends a word has a lower form of its own. */
static bool is_final_sigma(struct text text, size_t offset)
{
    bool cased_before = false;
    for (size_t at = 0; at < offset; at += text_step(text, at))
        cased_before = is_cased(text_letter(text, at));
    size_t next = offset + text_step(text, offset);
    return cased_before && (next >= text.size || !is_cased(text_letter(text, next)));
}

static bool add_lower(struct rendering *rendering, struct output *output, struct text text,
                      size_t offset)
{
    uint32_t letter = text_letter(text, offset);
    if (letter == 0x130)
        return output_add_literal(rendering, output, "i\xcc\x87");
    if (letter == 0x3a3) {
        if (!rendering_charge(rendering, 1 + offset / 64))
            return false;
        return output_add_letter(rendering, output, is_final_sigma(text, offset) ? 0x3c2 : 0x3c3);
    }
    utf8proc_int32_t mapped = utf8proc_tolower((utf8proc_int32_t)letter);
    return output_add_letter(rendering, output, (uint32_t)mapped);
}

bool text_recased(struct rendering *rendering, struct text text, enum text_case to,
                  struct text *text_out)
{
    struct output output = {0};
    bool after_cased = false;
    if (!rendering_charge(rendering, text.size / 64))
        return false;
    for (size_t offset = 0; offset < text.size; offset += text_step(text, offset)) {
        uint32_t letter = text_letter(text, offset);
        bool upper = to == CASE_UPPER || (to == CASE_CAPITAL && offset == 0) ||
                     (to == CASE_TITLE && !after_cased) ||
                     (to == CASE_SWAP && letter_is_lower(letter));
        bool same = to == CASE_SWAP && !upper && !letter_is_upper(letter);
        bool title = to == CASE_TITLE || to == CASE_CAPITAL;
        after_cased = is_cased(letter);
        bool added = same    ? output_add_letter(rendering, &output, letter)
                     : upper ? add_upper(rendering, &output, letter, title)
                             : add_lower(rendering, &output, text, offset);
        if (!added)
            return false;
    }
    *text_out = output_text(&output);
    return true;
}

bool text_replaced(struct rendering *rendering, struct text text, struct text old,
                   struct text fresh, int64_t count_max, struct text *text_out)
{
    struct output output = {0};
    size_t from = 0;
    if (!rendering_charge(rendering, 1 + text.size / 256))
        return false;
    for (int64_t count = 0; count_max < 0 || count < count_max; count++) {
        size_t found = text_find(text, old, from);
        if (found == SIZE_MAX)
            break;
        if (old.size == 0) {
            /* Between all letters, and at both ends. */
            size_t step = from < text.size ? text_step(text, from) : 0;
            if (!output_add(rendering, &output, fresh) ||
                !output_add_bytes(rendering, &output, text.bytes + from, step))
                return false;
            from += step;
            if (step == 0)
                break;
            continue;
        }
        if (!output_add(rendering, &output, text_part(text, from, found)) ||
            !output_add(rendering, &output, fresh))
            return false;
        from = found + old.size;
    }
    if (!output_add(rendering, &output, text_part(text, from, text.size)))
        return false;
    *text_out = output_text(&output);
    return true;
}

/* What str.splitlines takes for an end of line; \r\n is one. */
static bool is_line_end(uint32_t letter)
{
    return (letter >= 10 && letter <= 13) || (letter >= 0x1c && letter <= 0x1e) ||
           letter == 0x85 || letter == 0x2028 || letter == 0x2029;
}

bool text_lines(struct rendering *rendering, struct text text, bool keep_ends,
                struct list **list_out)
{
    struct list *list = list_new(rendering, 0);
    if (!list || !rendering_charge(rendering, text.size / 64))
        return false;
    size_t begin = 0;
    for (size_t offset = 0; offset < text.size;) {
        uint32_t letter = text_letter(text, offset);
        size_t next = offset + text_step(text, offset);
        if (is_line_end(letter)) {
            if (letter == '\r' && next < text.size && text.bytes[next] == '\n')
                next++;
            struct text line = text_part(text, begin, keep_ends ? next : offset);
            if (!list_push(rendering, list, value_text(line)))
                return false;
            begin = next;
        }
        offset = next;
    }
    if (begin < text.size &&
        !list_push(rendering, list, value_text(text_part(text, begin, text.size))))
        return false;
    *list_out = list;
    return true;
}

bool output_add_bytes(struct rendering *rendering, struct output *output, const char *bytes,
                      size_t size)
{
    if (size == 0)
        return true;
    if (size > rendering->output_size_max - output->size)
        return rendering_fail(rendering, STATUS_TOO_LARGE,
                              "the chat template writes more than its limit of %zu bytes",
                              rendering->output_size_max);
    if (size > output->capacity - output->size) {
        size_t capacity = output->capacity < 128 ? 256 : output->capacity * 2;
        while (capacity < output->size + size)
            capacity *= 2;
        char *grown = rendering_take(rendering, capacity);
        if (!grown)
            return false;
        if (output->size > 0)
            memcpy(grown, output->bytes, output->size);
        output->bytes = grown;
        output->capacity = capacity;
    }
    memcpy(output->bytes + output->size, bytes, size);
    output->size += size;
    return true;
}

bool output_add(struct rendering *rendering, struct output *output, struct text text)
{
    return output_add_bytes(rendering, output, text.bytes, text.size);
}

bool output_add_literal(struct rendering *rendering, struct output *output,
                        const char *literal)
{
    return output_add_bytes(rendering, output, literal, strlen(literal));
}

size_t letter_encode(uint32_t letter, char *bytes_out)
{
    utf8proc_uint8_t bytes[4];
    utf8proc_ssize_t size = utf8proc_encode_char((utf8proc_int32_t)letter, bytes);
    if (size <= 0)
        size = utf8proc_encode_char(0xfffd, bytes);
    memcpy(bytes_out, bytes, (size_t)size);
    return (size_t)size;
}

bool output_add_letter(struct rendering *rendering, struct output *output, uint32_t letter)
{
    char bytes[4];
    size_t size = letter_encode(letter, bytes);
    return output_add_bytes(rendering, output, bytes, size);
}

bool output_fill(struct rendering *rendering, struct output *output, struct text text,
                 size_t count)
{
    if (text.size > 0 && !rendering_charge(rendering, count / 64))
        return false;
    for (size_t done = 0; text.size > 0 && done < count; done++)
        if (!output_add(rendering, output, text))
            return false;
    return true;
}

struct text output_text(const struct output *output)
{
    return (struct text){output->bytes ? output->bytes : "", output->size};
}
