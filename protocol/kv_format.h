/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kv_format: how the numbers of a KV cache are kept.  Codes stand in the log.
 *
 * BF16 is the upper half of an f32, rounded to nearest even: 8 bits of precision and the range of
 * an f32, so that no key or value is too large for it.  Of each whole 16 numbers of a head the
 * first eight lie at even places and the others between them: a shift makes f32 of eight words'
 * low halves, a mask of their high ones.
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
    KV_F16 = 2,  /* of former versions; no longer made nor read */
    KV_INT8 = 3,
    KV_BF16 = 4, /* fast mode's, where nothing else is said */
    KV_FORMAT_END
};

/* "int8"; never NULL. */
const char *kv_format_name(uint32_t format);
/* Whether fast mode keeps this one: bf16 and int8. */
bool kv_format_is_fast(uint32_t format);
/* The name of a format of fast mode. */
bool kv_format_parse(const char *name, enum kv_format *format_out);

#endif
