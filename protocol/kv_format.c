/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/kv_format.h"

#include <string.h>

const char *kv_format_name(uint32_t format)
{
    static const char *const names[KV_FORMAT_END] = {"none", "f32", "f16", "int8", "bf16"};
    return format < KV_FORMAT_END ? names[format] : "unknown";
}

bool kv_format_is_fast(uint32_t format)
{
    return format == KV_BF16 || format == KV_INT8;
}

bool kv_format_parse(const char *name, enum kv_format *format_out)
{
    for (uint32_t format = KV_FORMAT_NONE; format < KV_FORMAT_END; format++) {
        if (!kv_format_is_fast(format) || strcmp(name, kv_format_name(format)) != 0)
            continue;
        *format_out = (enum kv_format)format;
        return true;
    }
    return false;
}
