/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/crc32c.h"

#include <pthread.h>
#include <string.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#ifdef __linux__
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif
#endif

/* tables[k][b]: the checksum of byte b followed by k zero bytes, so that eight bytes go at once. */
static uint32_t tables[8][256];
static bool cpu_has_instruction;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static bool find_instruction(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("sse4.2");
#elif defined(__aarch64__) && defined(__linux__)
    return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
#elif defined(__aarch64__) && defined(__APPLE__)
    return true;
#else
    return false;
#endif
}

static void fill_tables(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ ((crc & 1) ? 0x82f63b78u : 0);
        tables[0][byte] = crc;
    }
    for (uint32_t byte = 0; byte < 256; byte++) {
        for (int k = 1; k < 8; k++)
            tables[k][byte] = (tables[k - 1][byte] >> 8) ^ tables[0][tables[k - 1][byte] & 0xff];
    }
    cpu_has_instruction = find_instruction();
}

uint32_t crc32c_by_tables(uint32_t before, const void *bytes, size_t size)
{
    pthread_once(&once, fill_tables);
    const uint8_t *at = bytes;
    uint32_t crc = ~before;
    for (; size >= 8; size -= 8, at += 8) {
        uint32_t low = crc ^ ((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
                              (uint32_t)at[3] << 24);
        crc = tables[7][low & 0xff] ^ tables[6][low >> 8 & 0xff] ^ tables[5][low >> 16 & 0xff] ^
              tables[4][low >> 24] ^ tables[3][at[4]] ^ tables[2][at[5]] ^ tables[1][at[6]] ^
              tables[0][at[7]];
    }
    for (; size > 0; size--)
        crc = (crc >> 8) ^ tables[0][(crc ^ *at++) & 0xff];
    return ~crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t before,
                                                                 const uint8_t *at, size_t size)
{
    uint64_t crc = ~before;
    for (; size >= 8; size -= 8, at += 8) {
        uint64_t eight;
        memcpy(&eight, at, sizeof(eight));
        crc = _mm_crc32_u64(crc, eight);
    }
    for (; size > 0; size--)
        crc = _mm_crc32_u8((uint32_t)crc, *at++);
    return ~(uint32_t)crc;
}
#elif defined(__aarch64__)
__attribute__((target("+crc"))) static uint32_t by_instruction(uint32_t before,
                                                               const uint8_t *at, size_t size)
{
    uint32_t crc = ~before;
    for (; size >= 8; size -= 8, at += 8) {
        uint64_t eight;
        memcpy(&eight, at, sizeof(eight));
        crc = __crc32cd(crc, eight);
    }
    for (; size > 0; size--)
        crc = __crc32cb(crc, *at++);
    return ~crc;
}
#else
static uint32_t by_instruction(uint32_t before, const uint8_t *at, size_t size)
{
    return crc32c_by_tables(before, at, size);
}
#endif

bool crc32c_by_cpu(uint32_t before, const void *bytes, size_t size, uint32_t *crc_out)
{
    pthread_once(&once, fill_tables);
    if (!cpu_has_instruction)
        return false;
    *crc_out = by_instruction(before, bytes, size);
    return true;
}

uint32_t crc32c(uint32_t before, const void *bytes, size_t size)
{
    uint32_t crc = 0;
    return crc32c_by_cpu(before, bytes, size, &crc) ? crc : crc32c_by_tables(before, bytes, size);
}
