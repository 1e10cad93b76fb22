/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kv_format: how the numbers of a KV cache are kept.  Codes stand in the log.
 *
 * INT8 keeps each head's key, or value, of a position as whole numbers in [-127, 127] and one f32,
 * a 127th of the largest magnitude among them: what is read is off by at most 1/254 of that
 * largest.  The same for a latent row as a whole.
 */
#ifndef TROUPE_PROTOCOL_KV_FORMAT_H
#define TROUPE_PROTOCOL_KV_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

enum kv_format {
    KV_FORMAT_NONE = 0, /* not said: the setting's, or the mode's */
    KV_F32 = 1,         /* exact mode, always and only there */
    KV_F16 = 2,
    KV_INT8 = 3,
    KV_FORMAT_END
};

/* "int8"; never NULL. */
const char *kv_format_name(uint32_t format);
/* The formats of fast mode: f16 and int8. */
bool kv_format_parse(const char *name, enum kv_format *format_out);

#endif
