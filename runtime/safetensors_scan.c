/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/safetensors_scan.h"

#include "runtime/safetensors.h"

#include <stdbool.h>

#define DEPTH_MAX 3u
/* An entry has 3 keys and up to SAFETENSORS_RANK_MAX + 2 numbers. */
#define VALUES_MAX ((uint64_t)SAFETENSORS_TENSORS_MAX * 14)

/* Index after the closing quote, or `size` when there is none. */
static size_t skip_string(const char *text, size_t size, size_t i)
{
    for (i++; i < size; i++) {
        if (text[i] == '\\')
            i++;
        else if (text[i] == '"')
            return i + 1;
    }
    return size;
}

enum status safetensors_scan(const char *text, size_t size, const char *label,
                             struct reason *reason)
{
    uint64_t values = 0;
    uint64_t objects = 0;
    uint32_t depth = 0;
    for (size_t i = 0; i < size;) {
        char c = text[i];
        if (c == '"') {
            i = skip_string(text, size, i);
            continue;
        }
        if (c == '{' || c == '[') {
            objects += c == '{';
            if (++depth > DEPTH_MAX)
                return refuse(reason, STATUS_MALFORMED, "%s: header nested deeper than %u levels",
                              label, DEPTH_MAX);
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        } else if (c == ',' || c == ':') {
            values++;
        } else if (c == '-') {
            return refuse(reason, STATUS_MALFORMED, "%s: negative number in the header", label);
        }
        if (values > VALUES_MAX || objects > (uint64_t)SAFETENSORS_TENSORS_MAX + 2)
            return refuse(reason, STATUS_TOO_LARGE, "%s: more than %u tensors", label,
                          SAFETENSORS_TENSORS_MAX);
        i++;
    }
    return STATUS_OK;
}
