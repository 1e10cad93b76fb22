/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crc32c: the Castagnoli checksum (reflected polynomial 0x82f63b78), by the CPU's instruction
 * where it has one, else by tables; both give the same number.
 *
 * Threads  any.
 */
#ifndef TROUPE_RUNTIME_CRC32C_H
#define TROUPE_RUNTIME_CRC32C_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of nothing: 0.  Goes on from the checksum of what came before. */
uint32_t crc32c(uint32_t before, const void *bytes, size_t size);

/* The two ways, for tests; the first returns false where the CPU lacks the instruction. */
bool crc32c_by_cpu(uint32_t before, const void *bytes, size_t size, uint32_t *crc_out);
uint32_t crc32c_by_tables(uint32_t before, const void *bytes, size_t size);

#endif
