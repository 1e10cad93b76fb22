/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/unicode_text.h"

#include "protocol/memory.h"

#include <string.h>
#include <utf8proc.h>

struct code_range {
    uint32_t first;
    uint32_t last;
    unsigned bits;
};

/* Assigned in Unicode 15.1 and 16; a utf8proc that knows them makes this table idle. */
static const struct code_range newer_ranges[] = {
    {0x897, 0x897, CLASS_M}, {0x1b4e, 0x1b4f, CLASS_P}, {0x1b7f, 0x1b7f, CLASS_P},
    {0x1c89, 0x1c89, CLASS_LU}, {0x1c8a, 0x1c8a, CLASS_LL}, {0x2427, 0x2429, CLASS_S},
    {0x2ffc, 0x2fff, CLASS_S}, {0x31e4, 0x31e5, CLASS_S}, {0x31ef, 0x31ef, CLASS_S},
    {0xa7cb, 0xa7cc, CLASS_LU}, {0xa7cd, 0xa7cd, CLASS_LL}, {0xa7da, 0xa7da, CLASS_LU},
    {0xa7db, 0xa7db, CLASS_LL}, {0xa7dc, 0xa7dc, CLASS_LU}, {0x105c0, 0x105f3, CLASS_LO},
    {0x10d40, 0x10d49, CLASS_N}, {0x10d4a, 0x10d4d, CLASS_LO}, {0x10d4e, 0x10d4e, CLASS_LM},
    {0x10d4f, 0x10d4f, CLASS_LO}, {0x10d50, 0x10d65, CLASS_LU}, {0x10d69, 0x10d6d, CLASS_M},
    {0x10d6e, 0x10d6e, CLASS_P}, {0x10d6f, 0x10d6f, CLASS_LM}, {0x10d70, 0x10d85, CLASS_LL},
    {0x10d8e, 0x10d8f, CLASS_S}, {0x10ec2, 0x10ec4, CLASS_LO}, {0x10efc, 0x10efc, CLASS_M},
    {0x11380, 0x11389, CLASS_LO}, {0x1138b, 0x1138b, CLASS_LO}, {0x1138e, 0x1138e, CLASS_LO},
    {0x11390, 0x113b5, CLASS_LO}, {0x113b7, 0x113b7, CLASS_LO}, {0x113b8, 0x113c0, CLASS_M},
    {0x113c2, 0x113c2, CLASS_M}, {0x113c5, 0x113c5, CLASS_M}, {0x113c7, 0x113ca, CLASS_M},
    {0x113cc, 0x113d0, CLASS_M}, {0x113d1, 0x113d1, CLASS_LO}, {0x113d2, 0x113d2, CLASS_M},
    {0x113d3, 0x113d3, CLASS_LO}, {0x113d4, 0x113d5, CLASS_P}, {0x113d7, 0x113d8, CLASS_P},
    {0x113e1, 0x113e2, CLASS_M}, {0x116d0, 0x116e3, CLASS_N}, {0x11bc0, 0x11be0, CLASS_LO},
    {0x11be1, 0x11be1, CLASS_P}, {0x11bf0, 0x11bf9, CLASS_N}, {0x11f5a, 0x11f5a, CLASS_M},
    {0x13460, 0x143fa, CLASS_LO}, {0x16100, 0x1611d, CLASS_LO}, {0x1611e, 0x1612f, CLASS_M},
    {0x16130, 0x16139, CLASS_N}, {0x16d40, 0x16d42, CLASS_LM}, {0x16d43, 0x16d6a, CLASS_LO},
    {0x16d6b, 0x16d6c, CLASS_LM}, {0x16d6d, 0x16d6f, CLASS_P}, {0x16d70, 0x16d79, CLASS_N},
    {0x18cff, 0x18cff, CLASS_LO}, {0x1cc00, 0x1ccef, CLASS_S}, {0x1ccf0, 0x1ccf9, CLASS_N},
    {0x1cd00, 0x1ceb3, CLASS_S}, {0x1e5d0, 0x1e5ed, CLASS_LO}, {0x1e5ee, 0x1e5ef, CLASS_M},
    {0x1e5f0, 0x1e5f0, CLASS_LO}, {0x1e5f1, 0x1e5fa, CLASS_N}, {0x1e5ff, 0x1e5ff, CLASS_P},
    {0x1f8b2, 0x1f8bb, CLASS_S}, {0x1f8c0, 0x1f8c1, CLASS_S}, {0x1fa89, 0x1fa89, CLASS_S},
    {0x1fa8f, 0x1fa8f, CLASS_S}, {0x1fabe, 0x1fabe, CLASS_S}, {0x1fac6, 0x1fac6, CLASS_S},
    {0x1fadc, 0x1fadc, CLASS_S}, {0x1fadf, 0x1fadf, CLASS_S}, {0x1fae9, 0x1fae9, CLASS_S},
    {0x1fbcb, 0x1fbef, CLASS_S}, {0x2ebf0, 0x2ee5d, CLASS_LO},
};

/* The bits of the range that holds `code`, 0 when none of them does. */
static unsigned range_bits(const struct code_range *ranges, size_t count, uint32_t code)
{
    size_t low = 0;
    size_t high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (code > ranges[middle].last)
            low = middle + 1;
        else if (code < ranges[middle].first)
            high = middle;
        else
            return ranges[middle].bits;
    }
    return 0;
}

static unsigned newer_class(uint32_t code)
{
    return range_bits(newer_ranges, COUNT_OF(newer_ranges), code);
}

static const uint16_t category_bits[] = {
    [UTF8PROC_CATEGORY_LU] = CLASS_LU, [UTF8PROC_CATEGORY_LL] = CLASS_LL,
    [UTF8PROC_CATEGORY_LT] = CLASS_LT, [UTF8PROC_CATEGORY_LM] = CLASS_LM,
    [UTF8PROC_CATEGORY_LO] = CLASS_LO, [UTF8PROC_CATEGORY_MN] = CLASS_M,
    [UTF8PROC_CATEGORY_MC] = CLASS_M,  [UTF8PROC_CATEGORY_ME] = CLASS_M,
    [UTF8PROC_CATEGORY_ND] = CLASS_N,  [UTF8PROC_CATEGORY_NL] = CLASS_N,
    [UTF8PROC_CATEGORY_NO] = CLASS_N,  [UTF8PROC_CATEGORY_PC] = CLASS_P,
    [UTF8PROC_CATEGORY_PD] = CLASS_P,  [UTF8PROC_CATEGORY_PS] = CLASS_P,
    [UTF8PROC_CATEGORY_PE] = CLASS_P,  [UTF8PROC_CATEGORY_PI] = CLASS_P,
    [UTF8PROC_CATEGORY_PF] = CLASS_P,  [UTF8PROC_CATEGORY_PO] = CLASS_P,
    [UTF8PROC_CATEGORY_SM] = CLASS_S,  [UTF8PROC_CATEGORY_SC] = CLASS_S,
    [UTF8PROC_CATEGORY_SK] = CLASS_S,  [UTF8PROC_CATEGORY_SO] = CLASS_S,
};

static int is_white_space(uint32_t code)
{
    return (code >= 0x09 && code <= 0x0d) || code == 0x20 || code == 0x85 || code == 0xa0 ||
           code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 ||
           code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}

unsigned unicode_class(uint32_t code)
{
    if (code < 0x80) {
        if ((code | 0x20) >= 'a' && (code | 0x20) <= 'z')
            return code & 0x20 ? CLASS_LL : CLASS_LU;
        if (code >= '0' && code <= '9')
            return CLASS_N;
    }
    if (is_white_space(code))
        return CLASS_SPACE;
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    if (category == UTF8PROC_CATEGORY_CN)
        return newer_class(code);
    return (size_t)category < COUNT_OF(category_bits) ? category_bits[category] : 0;
}

int unicode_is_word(uint32_t code)
{
    /* Circled and squared letters are alphabetic without being letters; then the joiners. */
    if ((code >= 0x24b6 && code <= 0x24e9) || (code >= 0x1f130 && code <= 0x1f149) ||
        (code >= 0x1f150 && code <= 0x1f169) || (code >= 0x1f170 && code <= 0x1f189) ||
        code == 0x200c || code == 0x200d)
        return 1;
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    if (category == UTF8PROC_CATEGORY_NO)
        return 0;
    return category == UTF8PROC_CATEGORY_PC ||
           (unicode_class(code) & (CLASS_L | CLASS_M | CLASS_N)) != 0;
}

uint32_t utf8_decode(const char *text, size_t *size_out)
{
    const unsigned char *byte = (const unsigned char *)text;
    if (byte[0] < 0x80) {
        *size_out = 1;
        return byte[0];
    }
    if (byte[0] < 0xe0) {
        *size_out = 2;
        return (byte[0] & 0x1fU) << 6 | (byte[1] & 0x3fU);
    }
    if (byte[0] < 0xf0) {
        *size_out = 3;
        return (byte[0] & 0x0fU) << 12 | (byte[1] & 0x3fU) << 6 | (byte[2] & 0x3fU);
    }
    *size_out = 4;
    return (byte[0] & 0x07U) << 18 | (byte[1] & 0x3fU) << 12 | (byte[2] & 0x3fU) << 6 |
           (byte[3] & 0x3fU);
}

size_t text_spaces(char *text, size_t length)
{
    size_t put = 0;
    for (size_t at = 0; at < length; put++) {
        int is_space = length - at >= 3 && memcmp(text + at, "\xe2\x96\x81", 3) == 0;
        text[put] = is_space ? ' ' : text[at];
        at += is_space ? 3 : 1;
    }
    return put;
}

size_t utf8_encode(uint32_t code, char bytes_out[4])
{
    if (code < 0x80) {
        bytes_out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        bytes_out[0] = (char)(0xc0 | code >> 6);
        bytes_out[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        bytes_out[0] = (char)(0xe0 | code >> 12);
        bytes_out[1] = (char)(0x80 | (code >> 6 & 0x3f));
        bytes_out[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    bytes_out[0] = (char)(0xf0 | code >> 18);
    bytes_out[1] = (char)(0x80 | (code >> 12 & 0x3f));
    bytes_out[2] = (char)(0x80 | (code >> 6 & 0x3f));
    bytes_out[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

/* Marks and parts of composed characters that came after Unicode 9, whose normalisation the
 * models' vocabularies were made with: none of them is reordered, composed or taken apart.  With
 * room in blocks that still grow. */
static const struct code_range unnormalised[] = {
    {0x7fd, 0x7fd, 1},     {0x897, 0x89f, 1},     {0x8ca, 0x8d3, 1},     {0x9fe, 0x9fe, 1},
    {0xc3c, 0xc3c, 1},     {0xd3b, 0xd3c, 1},     {0xeba, 0xeba, 1},     {0x1715, 0x1715, 1},
    {0x1abf, 0x1aff, 1},   {0x1df6, 0x1dfa, 1},   {0xa82c, 0xa82c, 1},   {0x105c9, 0x105e4, 1},
    {0x10d24, 0x10d27, 1}, {0x10d69, 0x10d6d, 1}, {0x10eab, 0x10eac, 1}, {0x10efa, 0x10eff, 1},
    {0x10f46, 0x10f50, 1}, {0x10f82, 0x10f85, 1}, {0x11070, 0x11070, 1}, {0x1133b, 0x1133b, 1},
    {0x11380, 0x113e2, 1}, {0x1145e, 0x1145e, 1}, {0x11839, 0x1183a, 1}, {0x11930, 0x11943, 1},
    {0x119e0, 0x119e0, 1}, {0x11a34, 0x11a34, 1}, {0x11a47, 0x11a47, 1}, {0x11a99, 0x11a99, 1},
    {0x11d42, 0x11d45, 1}, {0x11d97, 0x11d97, 1}, {0x11f41, 0x11f42, 1}, {0x16100, 0x1612f, 1},
    {0x16d40, 0x16d7f, 1}, {0x16ff0, 0x16ff1, 1}, {0x1e08f, 0x1e08f, 1}, {0x1e130, 0x1e136, 1},
    {0x1e2ae, 0x1e2ae, 1}, {0x1e2ec, 0x1e2ef, 1}, {0x1e4ec, 0x1e4ef, 1}, {0x1e5ee, 0x1e5ef, 1},
    {0x1e6e3, 0x1e6f5, 1},
};

static bool is_unnormalised(utf8proc_int32_t code)
{
    return range_bits(unnormalised, COUNT_OF(unnormalised), (uint32_t)code) != 0;
}

static int combining_class(utf8proc_int32_t code)
{
    int class = utf8proc_get_property(code)->combining_class;
    return class != 0 && is_unnormalised(code) ? 0 : class;
}

/* Stable sort of one run of marks by combining class.  A merge sort: text may hold a run as long
 * as itself, and utf8proc's own ordering is quadratic in it. */
static void run_sort(utf8proc_int32_t *run, size_t count, utf8proc_int32_t *spare)
{
    for (size_t width = 1; width < count; width *= 2) {
        for (size_t low = 0; low + width < count; low += 2 * width) {
            size_t middle = low + width;
            size_t high = middle + width < count ? middle + width : count;
            if (combining_class(run[middle - 1]) <= combining_class(run[middle]))
                continue;
            memcpy(spare, run + low, width * sizeof(*run));
            size_t left = 0;
            size_t right = middle;
            size_t put = low;
            while (left < width && right < high) {
                if (combining_class(spare[left]) <= combining_class(run[right]))
                    run[put++] = spare[left++];
                else
                    run[put++] = run[right++];
            }
            memcpy(run + put, spare + left, (width - left) * sizeof(*run));
        }
    }
}

static void marks_order(utf8proc_int32_t *codes, size_t count, utf8proc_int32_t *spare)
{
    size_t start = 0;
    while (start < count) {
        if (combining_class(codes[start]) == 0) {
            start++;
            continue;
        }
        size_t end = start + 1;
        while (end < count && combining_class(codes[end]) != 0)
            end++;
        run_sort(codes + start, end - start, spare);
        start = end;
    }
}

static size_t text_decompose(const char *text, size_t length, utf8proc_int32_t *codes)
{
    size_t count = 0;
    for (size_t at = 0; at < length;) {
        size_t size;
        uint32_t code = utf8_decode(text + at, &size);
        int boundary = 0;
        at += size;
        if (is_unnormalised((utf8proc_int32_t)code)) {
            codes[count++] = (utf8proc_int32_t)code;
            continue;
        }
        /* No canonical decomposition is longer than 4 code points. */
        utf8proc_ssize_t made =
            utf8proc_decompose_char((utf8proc_int32_t)code, codes + count, 4,
                                    UTF8PROC_STABLE | UTF8PROC_COMPOSE, &boundary);
        ASSERT(made >= 0 && made <= 4);
        count += (size_t)made;
    }
    return count;
}

/* Composes in place what lies between the characters that never compose; returns the new count. */
static size_t codes_compose(utf8proc_int32_t *codes, size_t count)
{
    size_t put = 0;
    for (size_t start = 0; start < count;) {
        size_t end = start;
        while (end < count && !is_unnormalised(codes[end]))
            end++;
        utf8proc_ssize_t kept =
            utf8proc_normalize_utf32(codes + start, (utf8proc_ssize_t)(end - start),
                                     UTF8PROC_STABLE | UTF8PROC_COMPOSE);
        ASSERT(kept >= 0 && (size_t)kept <= end - start);
        memmove(codes + put, codes + start, (size_t)kept * sizeof(*codes));
        put += (size_t)kept;
        for (start = end; start < count && is_unnormalised(codes[start]); start++)
            codes[put++] = codes[start];
    }
    return put;
}

/* Measured over every code point: 2 bytes become at most 3 code points (U+01D5), 3 bytes at most
 * 4 (U+1F82), so never more than 1.5 a byte; and room for 4 while the last one is written. */
static size_t codes_max(size_t length)
{
    return length + length / 2 + 4;
}

enum status text_nfc(const char *text, size_t length, char **normalised_out, size_t *length_out)
{
    size_t ascii = 0;
    while (ascii < length && (unsigned char)text[ascii] < 0x80)
        ascii++;
    if (ascii == length) {
        *normalised_out = NULL;
        *length_out = length;
        return STATUS_OK;
    }
    size_t room = codes_max(length);
    utf8proc_int32_t *codes = memory_zeroed(room, 2 * sizeof(*codes));
    if (!codes)
        return STATUS_NO_MEMORY;
    size_t count = text_decompose(text, length, codes);
    ASSERT(count <= room);
    marks_order(codes, count, codes + room);
    size_t kept = codes_compose(codes, count);
    char *bytes = memory_resized(NULL, kept + 1, 4);
    if (!bytes) {
        memory_free(codes);
        return STATUS_NO_MEMORY;
    }
    size_t size = 0;
    for (size_t at = 0; at < kept; at++)
        size += utf8_encode((uint32_t)codes[at], bytes + size);
    memory_free(codes);
    *normalised_out = bytes;
    *length_out = size;
    return STATUS_OK;
}
